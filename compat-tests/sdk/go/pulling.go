// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func (c *Context) puller(group, topic string) rocketmq.PullConsumer {
	made, err := rocketmq.NewPullConsumer(
		consumer.WithNameServer(c.namesrv()),
		consumer.WithGroupName(group),
		consumer.WithInstance(c.instance()),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	)
	c.must("make a pull consumer", err)
	c.must("subscribe", made.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}))
	c.must("start the pull consumer", made.Start())
	return made
}

// read pulls the first messages of a queue; their offsets have no holes.
func (c *Context) read(queue *primitive.MessageQueue, count int) []*primitive.MessageExt {
	puller := c.puller(c.name("reader"), queue.Topic)
	defer func() { _ = puller.Shutdown() }()
	var all []*primitive.MessageExt
	for len(all) < count {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		result, err := puller.PullFrom(ctx, queue, int64(len(all)), 32)
		cancel()
		c.must("pull", err)
		if result.Status != primitive.PullFound {
			c.check("pull", false, "status", result.Status, "offset", len(all), "wanted", count)
		}
		for _, message := range result.GetMessageExts() {
			if message.QueueOffset != int64(len(all)) {
				c.check("offsets have no holes", false, "offset", message.QueueOffset, "expected", len(all))
			}
			all = append(all, message)
		}
	}
	return all
}

func pullFrom(c *Context) error {
	topic := c.topic("pull", 1)
	c.send(topic, "pull", 40)
	queue := c.sendOne(primitive.NewMessage(topic, []byte("last"))).MessageQueue
	puller := c.puller(c.name("pull_group"), topic)
	c.closing(puller.Shutdown)
	found, err := puller.PullFrom(context.Background(), queue, 35, 32)
	c.must("pull", err)
	c.equal("status", primitive.PullFound, found.Status)
	c.equal("messages", 6, len(found.GetMessageExts()))
	c.equal("next", int64(41), found.NextBeginOffset)
	c.equal("min", int64(0), found.MinOffset)
	c.equal("max", int64(41), found.MaxOffset)
	some, err := puller.PullFrom(context.Background(), queue, 0, 7)
	c.must("pull", err)
	c.equal("as many as asked for", 7, len(some.GetMessageExts()))
	beyond, err := puller.PullFrom(context.Background(), queue, 1000, 7)
	c.must("pull", err)
	c.equal("beyond the end", primitive.PullOffsetIllegal, beyond.Status)
	c.equal("beyond corrected", int64(41), beyond.NextBeginOffset)
	return nil
}

func pullPoll(c *Context) error {
	topic := c.topic("poll", 4)
	group := c.name("poll_group")
	first := c.send(topic, "first", 40)
	c.pollAll(group, topic, first)
	second := c.send(topic, "second", 40)
	got := c.pollAll(group, topic, second)
	for _, body := range first {
		c.check("goes on where the other ended", !got[body], "again", body)
	}
	return nil
}

// pollAll polls and acknowledges until each body has come, and leaves the broker with the positions of all queues.
func (c *Context) pollAll(group, topic string, wanted []string) map[string]bool {
	puller := c.puller(group, topic)
	got := map[string]bool{}
	next := map[primitive.MessageQueue]int64{}
	missing := len(wanted)
	for deadline := time.Now().Add(60 * time.Second); missing > 0 && time.Now().Before(deadline); {
		polled, err := puller.Poll(context.Background(), time.Second)
		if consumer.IsNoNewMsgError(err) {
			continue
		}
		c.must("poll", err)
		for _, message := range polled.GetMsgList() {
			got[string(message.Body)] = true
			next[*polled.GetMQ()] = max(next[*polled.GetMQ()], message.QueueOffset+1)
		}
		puller.ACK(context.Background(), polled, consumer.ConsumeSuccess)
		missing = 0
		for _, body := range wanted {
			if !got[body] {
				missing++
			}
		}
	}
	// A second rebalancing at the start may make the SDK forget what it acknowledged of a queue.
	for queue, offset := range next {
		c.must("set the position", puller.UpdateOffset(&queue, offset))
	}
	c.must("persist", puller.PersistOffset(context.Background(), topic))
	// It tells positions without waiting for an answer. What is asked behind them is answered behind them.
	for queue, offset := range next {
		_, err := puller.PullFrom(context.Background(), &queue, offset-1, 1)
		c.must("pull the last", err)
	}
	c.must("shutdown", puller.Shutdown())
	c.check(fmt.Sprint("polled all of ", wanted[0]), missing == 0, "missing", missing)
	return got
}
