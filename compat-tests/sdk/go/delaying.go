// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func delayByLevel(c *Context) error {
	topic := c.topic("levels", 2)
	push := c.push(c.name("levels_group"), topic, "*")
	c.sendOne(primitive.NewMessage(topic, []byte("at once")))
	c.check("ready", awaitBodies(60, []string{"at once"}, push))
	start := time.Now()
	c.sendOne(primitive.NewMessage(topic, []byte("level 2")).WithDelayTimeLevel(2))
	c.check("came", awaitBodies(60, []string{"level 2"}, push))
	late := time.Since(start) - 5*time.Second
	c.check("in time", late >= 0 && late <= 2500*time.Millisecond, "late", late.Milliseconds())
	c.equal("each once", 2, len(push.all()))
	return nil
}

// retryUntilDead: retried twice after a second each, then a dead letter.
func retryUntilDead(c *Context) error {
	topic, group := c.topic("retried", 2), c.name("retried_group")
	made, err := rocketmq.NewPushConsumer(
		consumer.WithNameServer(c.namesrv()),
		consumer.WithGroupName(group),
		consumer.WithInstance(c.instance()),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
		consumer.WithMaxReconsumeTimes(2),
	)
	c.must("make a consumer", err)
	var lock sync.Mutex
	var got []*primitive.MessageExt
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}
	err = made.Subscribe(topic, selector, func(ctx context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		lock.Lock()
		defer lock.Unlock()
		got = append(got, messages...)
		if concurrently, known := primitive.GetConcurrentlyCtx(ctx); known {
			concurrently.DelayLevelWhenNextConsume = 1
		}
		return consumer.ConsumeRetryLater, nil
	})
	c.must("subscribe", err)
	c.must("start the consumer", made.Start())
	c.closing(made.Shutdown)
	c.sendOne(primitive.NewMessage(topic, []byte("bad")).WithTag("red"))
	count := func() int {
		lock.Lock()
		defer lock.Unlock()
		return len(got)
	}
	c.check("tried three times", until(90, func() bool { return count() >= 3 }), "got", count())
	lock.Lock()
	for attempt, message := range got {
		c.equal("reconsume times", int32(attempt), message.ReconsumeTimes)
		c.equal("topic", topic, message.Topic)
		c.equal("tags", "red", message.GetTags())
	}
	lock.Unlock()
	c.awaitTopic("%DLQ%"+group, 1)
	dead := c.push(c.name("dead_readers"), "%DLQ%"+group, "*")
	c.check("a dead letter", awaitBodies(60, []string{"bad"}, dead))
	c.equal("its origin", topic, dead.all()[0].GetProperty("RETRY_TOPIC"))
	c.equal("no fourth time", 3, count())
	return nil
}
