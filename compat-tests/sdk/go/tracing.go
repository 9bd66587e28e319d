// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

const systemTraces = "RMQ_SYS_TRACE_TOPIC"

// traceSystem: this SDK only writes to a topic of traces that has a route, so it is made by a first message.
func traceSystem(c *Context) error {
	c.sendOne(primitive.NewMessage(systemTraces, []byte("first")))
	made, err := admin.NewAdmin(admin.WithResolver(primitive.NewPassthroughResolver(c.namesrv())))
	c.must("make an admin client", err)
	defer func() { _ = made.Close() }()
	routed := until(60, func() bool {
		found, err := made.FetchPublishMessageQueues(context.Background(), systemTraces)
		return err == nil && len(found) > 0
	})
	c.check("the topic of traces is there", routed)
	return traced(c, systemTraces)
}

func traceOwn(c *Context) error { return traced(c, c.topic("traces", 1)) }

// traced: each step of a message is told of in the topic of traces. The SDK drops traces that it cannot write, so
// messages are sent until all steps of one are there.
func traced(c *Context, traces string) error {
	topic := c.topic("traced", 1)
	config := func() *primitive.TraceConfig {
		return &primitive.TraceConfig{
			TraceTopic: traces,
			GroupName:  c.name("tracers"),
			Access:     primitive.Local,
			Resolver:   primitive.NewPassthroughResolver(c.namesrv()),
		}
	}
	push := c.push(c.name("trace_readers"), traces, "*")
	sender := c.newProducer(producer.WithTrace(config()))
	c.push(c.name("traced_group"), topic, "*", consumer.WithTrace(config()))
	found := map[string]map[string]bool{}
	seen := 0
	look := func() bool {
		all := push.all()
		for ; seen < len(all); seen++ {
			for _, line := range strings.Split(string(all[seen].Body), "\x02") {
				fields := strings.Split(line, "\x01")
				for id, kinds := range found {
					if strings.Contains(line, id) {
						kinds[fields[0]] = true
					}
				}
			}
		}
		for _, kinds := range found {
			if kinds["Pub"] && kinds["SubBefore"] && kinds["SubAfter"] {
				return true
			}
		}
		return false
	}
	whole := false
	for deadline := time.Now().Add(120 * time.Second); !whole && time.Now().Before(deadline); {
		message := primitive.NewMessage(topic, []byte("traced")).WithKeys([]string{"key-of-the-traced"})
		result, err := sender.SendSync(context.Background(), message)
		c.must("send", err)
		found[result.MsgID] = map[string]bool{}
		whole = until(2, look)
	}
	c.check("all steps are traced", whole, "found", found)
	return nil
}
