// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"sort"
	"strconv"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

func pushTagFilter(c *Context) error {
	topic := c.topic("tags", 4)
	some := c.push(c.name("tags_some"), topic, "a || b")
	all := c.push(c.name("tags_all"), topic, "*")
	tags := []string{"a", "b", "c", ""}
	for i := 0; i < 60; i++ {
		message := primitive.NewMessage(topic, []byte(fmt.Sprintf("%s-%d", tags[i%4], i)))
		if tags[i%4] != "" {
			message.WithTag(tags[i%4])
		}
		c.sendOne(message)
	}
	c.check("all tags", all.await(60, 60), "got", len(all.all()))
	c.check("a || b", some.await(60, 30), "got", len(some.all()))
	found := map[string]int{}
	for _, message := range some.all() {
		found[message.GetTags()]++
	}
	c.equal("only a and b", map[string]int{"a": 15, "b": 15}, found)
	return nil
}

func pushBroadcast(c *Context) error {
	topic := c.topic("broadcast", 4)
	var both []*Push
	for i := 0; i < 2; i++ {
		both = append(both, c.push(c.name("broadcast_group"), topic, "*", consumer.WithConsumerModel(consumer.BroadCasting)))
	}
	sent := c.send(topic, "broadcast", 40)
	for _, push := range both {
		c.check("one gets all", awaitBodies(60, sent, push), "got", len(push.all()))
	}
	return nil
}

// pushFromWhere: on a queue that still holds its offset 0 Apache's broker answers 0 to every new group, wherever it
// wants to begin.
func pushFromWhere(c *Context) error {
	topic := c.topic("from", 2)
	all := c.send(topic, "old", 10)
	pushes := map[string]*Push{
		"first":     c.push(c.name("from_first"), topic, "*", consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset)),
		"last":      c.push(c.name("from_last"), topic, "*", consumer.WithConsumeFromWhere(consumer.ConsumeFromLastOffset)),
		"timestamp": c.push(c.name("from_timestamp"), topic, "*", consumer.WithConsumeFromWhere(consumer.ConsumeFromTimestamp)),
	}
	all = append(all, c.send(topic, "new", 10)...)
	for where, push := range pushes {
		c.check(where, awaitBodies(60, all, push), "got", push.bodies())
	}
	return nil
}

func pushOrderly(c *Context) error {
	topic := c.topic("orderly", 4)
	one := c.newProducer(producer.WithQueueSelector(producer.NewHashQueueSelector()))
	var wanted []string
	for i := 0; i < 200; i++ {
		message := primitive.NewMessage(topic, []byte(strconv.Itoa(i)))
		message.WithShardingKey(strconv.Itoa(i % 7))
		_, err := one.SendSync(context.Background(), message)
		c.must("send", err)
		wanted = append(wanted, strconv.Itoa(i))
	}
	push := c.push(c.name("orderly_group"), topic, "*", consumer.WithConsumerOrder(true))
	c.check("all came", awaitBodies(90, wanted, push), "got", len(push.all()))
	last := map[int]int{}
	for _, message := range push.all() {
		number, err := strconv.Atoi(string(message.Body))
		c.must("number", err)
		before, found := last[message.Queue.QueueId]
		if found && number <= before {
			c.check("in queue order", false, "queue", message.Queue.QueueId, "number", number, "before", before)
		}
		last[message.Queue.QueueId] = number
	}
	return nil
}

// pushLatency: only the order of magnitude. A held pull must be answered by the arrival, not by a timer of seconds.
func pushLatency(c *Context) error {
	topic := c.topic("latency", 1)
	push := c.push(c.name("latency_group"), topic, "*")
	c.send(topic, "warm", 1)
	c.check("warm", push.await(60, 1))
	var took []time.Duration
	for i := 0; i < 40; i++ {
		start := time.Now()
		c.send(topic, fmt.Sprintf("at-%d", i), 1)
		c.check(fmt.Sprint("came ", i), push.await(60, i+2))
		took = append(took, time.Since(start))
	}
	sort.Slice(took, func(i, j int) bool { return took[i] < took[j] })
	c.check("median under a second", took[20] < time.Second, "median_us", took[20].Microseconds(), "worst_us", took[39].Microseconds())
	return nil
}

// pushBacklog: more messages than one pull takes.
func pushBacklog(c *Context) error {
	topic := c.topic("backlog", 4)
	var wanted []string
	for i := 0; i < 20; i++ {
		var batch []*primitive.Message
		for j := 0; j < 200; j++ {
			body := fmt.Sprintf("backlog-%d", i*200+j)
			wanted = append(wanted, body)
			batch = append(batch, primitive.NewMessage(topic, []byte(body)))
		}
		_, err := c.producer().SendSync(context.Background(), batch...)
		c.must("send", err)
	}
	push := c.push(c.name("backlog_group"), topic, "*")
	c.check("all came", awaitBodies(60, wanted, push), "got", len(push.all()))
	return nil
}
