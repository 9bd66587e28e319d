// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// loadCreate: parameters topic, queues.
func loadCreate(c *Context) error {
	c.createTopic(c.get("topic"), c.number("queues", 4))
	return nil
}

// loadProduce: parameters topic, word, threads, count (of acknowledged messages, 0 for until told), padding, pause_ms. A message that is not
// acknowledged is not sent again: the next number follows.
func loadProduce(c *Context) error {
	timeout := 3 * time.Second
	if c.number("count", 0) > 0 {
		timeout = 30 * time.Second
	}
	one := c.newProducer(producer.WithRetry(0), producer.WithSendMsgTimeout(timeout))
	var waiting sync.WaitGroup
	for i := 0; i < c.number("threads", 1); i++ {
		word := fmt.Sprint(c.get("word"), i)
		waiting.Add(1)
		go func() {
			defer waiting.Done()
			c.produce(one, word)
		}()
	}
	waiting.Wait()
	return nil
}

func (c *Context) produce(one rocketmq.Producer, word string) {
	count := c.number("count", 0)
	padding := strings.Repeat(" ", c.number("padding", 0))
	pause := time.Duration(c.number("pause_ms", 0)) * time.Millisecond
	acknowledged := 0
	for i := 0; !c.stopped() && (count == 0 || acknowledged < count && i < 2*count); i++ {
		body := fmt.Sprintf("%s:%d", word, i)
		message := primitive.NewMessage(c.get("topic"), []byte(body+padding))
		message.WithTag([]string{"even", "odd"}[i%2]).WithKeys([]string{fmt.Sprint(word, i)})
		result, err := one.SendSync(context.Background(), message)
		switch {
		case err != nil:
			c.step("failed", "body", body, "error", err.Error())
			time.Sleep(100 * time.Millisecond)
		case result.Status == primitive.SendOK:
			acknowledged++
			c.step("acked", "body", body, "queue", result.MessageQueue.QueueId, "broker", result.MessageQueue.BrokerName,
				"offset", result.QueueOffset)
			time.Sleep(pause)
		default:
			c.step("unsure", "body", body, "status", result.Status)
		}
	}
}

// loadConsume: parameters topic, group, orderly (false), expression (*). Goes on until told.
func loadConsume(c *Context) error {
	made, err := rocketmq.NewPushConsumer(
		consumer.WithNameServer(c.namesrv()),
		consumer.WithGroupName(c.get("group")),
		consumer.WithInstance(c.instance()),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
		consumer.WithConsumerOrder(c.getOr("orderly", "false") == "true"),
		consumer.WithConsumeGoroutineNums(2),
	)
	c.must("make a consumer", err)
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: c.getOr("expression", "*")}
	err = made.Subscribe(c.get("topic"), selector, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, message := range messages {
			c.step("got", "body", strings.TrimSpace(string(message.Body)), "queue", message.Queue.QueueId, "offset", message.QueueOffset,
				"tag", message.GetTags(), "keys", strings.TrimSpace(message.GetKeys()))
		}
		return consumer.ConsumeSuccess, nil
	})
	c.must("subscribe", err)
	c.must("start the consumer", made.Start())
	c.step("started")
	<-c.stopping
	return made.Shutdown()
}
