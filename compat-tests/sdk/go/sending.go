// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"strings"
	"sync"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

func sendSync(c *Context) error {
	topic := c.topic("sync", 4)
	sent := primitive.NewMessage(topic, []byte("grüße, 世界 \U0001F41D"))
	sent.WithTag("tag-ü").WithKeys([]string{"key-1", "key-2"})
	sent.WithProperty("plain", "value")
	sent.WithProperty("ключ", "значение=x;\"quoted\" \\ {json}")
	sent.Flag = 77
	result := c.sendOne(sent)
	c.equal("region", "DefaultRegion", result.RegionID)
	c.equal("trace on", true, result.TraceOn)
	c.equal("first offset of the queue", int64(0), result.QueueOffset)

	got := c.read(result.MessageQueue, 1)[0]
	c.equal("body", "grüße, 世界 \U0001F41D", string(got.Body))
	c.equal("tag", "tag-ü", got.GetTags())
	c.equal("keys", "key-1 key-2", strings.TrimSpace(got.GetKeys()))
	c.equal("property", "value", got.GetProperty("plain"))
	c.equal("unicode property", "значение=x;\"quoted\" \\ {json}", got.GetProperty("ключ"))
	c.equal("flag", int32(77), got.Flag)
	c.equal("queue", result.MessageQueue.QueueId, got.Queue.QueueId)
	c.equal("message id", result.MsgID, got.MsgId)
	c.equal("offset id", result.OffsetMsgID, got.OffsetMsgId)
	return nil
}

func sendAsync(c *Context) error {
	topic := c.topic("async", 4)
	const count = 100
	var waiting sync.WaitGroup
	var lock sync.Mutex
	places := map[string]bool{}
	var failures []string
	waiting.Add(count)
	for i := 0; i < count; i++ {
		err := c.producer().SendAsync(context.Background(), func(_ context.Context, result *primitive.SendResult, err error) {
			defer waiting.Done()
			lock.Lock()
			defer lock.Unlock()
			if err != nil || result.Status != primitive.SendOK {
				failures = append(failures, fmt.Sprint(result, err))
				return
			}
			places[fmt.Sprint(result.MessageQueue.QueueId, "@", result.QueueOffset)] = true
		}, primitive.NewMessage(topic, []byte(fmt.Sprintf("async-%d", i))))
		c.must("send", err)
	}
	waiting.Wait()
	c.equal("no failure", []string(nil), failures)
	c.equal("places are different", count, len(places))
	push := c.push(c.name("async_group"), topic, "*")
	c.check("all came", push.await(60, count), "got", len(push.all()))
	return nil
}

func sendOneway(c *Context) error {
	topic := c.topic("oneway", 2)
	for i := 0; i < 20; i++ {
		c.must("send", c.producer().SendOneWay(context.Background(), primitive.NewMessage(topic, []byte(fmt.Sprintf("oneway-%d", i)))))
	}
	push := c.push(c.name("oneway_group"), topic, "*")
	c.check("all came", push.await(60, 20), "got", len(push.all()))
	return nil
}

func sendBatch(c *Context) error {
	topic := c.topic("batch", 1)
	var messages []*primitive.Message
	for i := 0; i < 50; i++ {
		message := primitive.NewMessage(topic, []byte(fmt.Sprintf("batch-%d", i)))
		message.WithTag([]string{"even", "odd"}[i%2])
		message.WithProperty("number", fmt.Sprint(i))
		messages = append(messages, message)
	}
	result, err := c.producer().SendSync(context.Background(), messages...)
	c.must("send", err)
	c.equal("status", primitive.SendOK, result.Status)
	c.equal("offset of the first", int64(0), result.QueueOffset)
	c.equal("an offset id for each", 50, len(strings.Split(result.OffsetMsgID, ",")))
	got := c.read(result.MessageQueue, 50)
	for i, message := range got {
		same := message.QueueOffset == int64(i) && string(message.Body) == fmt.Sprintf("batch-%d", i) &&
			message.GetTags() == []string{"even", "odd"}[i%2] && message.GetProperty("number") == fmt.Sprint(i)
		c.check(fmt.Sprint("message ", i), same, "got", message.String())
	}
	c.equal("offset after the batch", int64(50), c.sendOne(primitive.NewMessage(topic, []byte("after"))).QueueOffset)
	return nil
}

// sendBodies: above 4 KiB the SDK compresses; random bytes stay large all the same.
func sendBodies(c *Context) error {
	topic := c.topic("bodies", 1)
	const limit = 4 << 20
	random := rand.New(rand.NewSource(7))
	var bodies [][]byte
	for _, size := range []int{1, 2, 127, 128, 4095, 4096, 4097, 65_536, 1_000_000, limit - 4096} {
		noise := make([]byte, size)
		random.Read(noise)
		text := make([]byte, size)
		for i := range text {
			text[i] = byte('a' + i%23)
		}
		bodies = append(bodies, noise, text)
	}
	bodies = append(bodies, make([]byte, 4097))
	var queue *primitive.MessageQueue
	for _, body := range bodies {
		queue = c.sendOne(primitive.NewMessage(topic, body)).MessageQueue
	}
	got := c.read(queue, len(bodies))
	for i, body := range bodies {
		c.check(fmt.Sprint("body ", i, " of ", len(body)), bytes.Equal(body, got[i].Body), "length", len(got[i].Body))
	}
	return nil
}

// sendTooLarge: this SDK has no limit of its own.
func sendTooLarge(c *Context) error {
	topic := c.topic("too_large", 1)
	noise := make([]byte, 4<<20+1)
	rand.New(rand.NewSource(9)).Read(noise)
	result, err := c.newProducer(producer.WithRetry(0)).SendSync(context.Background(), primitive.NewMessage(topic, noise))
	words := fmt.Sprint(result, err)
	c.check("refused", err != nil || result.Status != primitive.SendOK, "answer", words)
	c.check("by Apache's code", strings.Contains(words, "CODE: 13"), "answer", words)
	c.sendOne(primitive.NewMessage(topic, []byte("small")))
	return nil
}

func sendOneQueue(c *Context) error {
	topic := c.topic("one_queue", 8)
	one := c.newProducer(producer.WithQueueSelector(producer.NewHashQueueSelector()))
	chosen := -1
	for i := 0; i < 100; i++ {
		message := primitive.NewMessage(topic, []byte(fmt.Sprintf("order-%d", i)))
		message.WithShardingKey("one key")
		result, err := one.SendSync(context.Background(), message)
		c.must("send", err)
		if i == 0 {
			chosen = result.MessageQueue.QueueId
		}
		c.check(fmt.Sprint("message ", i), result.MessageQueue.QueueId == chosen && result.QueueOffset == int64(i), "result", result.String())
		if i == 99 {
			for at, message := range c.read(result.MessageQueue, 100) {
				c.equal(fmt.Sprint("order ", at), fmt.Sprintf("order-%d", at), string(message.Body))
			}
		}
	}
	return nil
}
