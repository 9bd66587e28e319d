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

// Push is a push consumer that keeps what it gets, in the order it got it.
type Push struct {
	consumer rocketmq.PushConsumer
	lock     sync.Mutex
	messages []*primitive.MessageExt
	once     sync.Once
}

// push starts a consumer of the tags in an expression, from the first offset.
func (c *Context) push(group, topic, expression string, options ...consumer.Option) *Push {
	return c.pushAll(group, consumer.MessageSelector{Type: consumer.TAG, Expression: expression}, []string{topic}, options...)
}

// pushAll starts a consumer of several topics.
func (c *Context) pushAll(group string, selector consumer.MessageSelector, topics []string, options ...consumer.Option) *Push {
	all := append([]consumer.Option{
		consumer.WithNameServer(c.namesrv()),
		consumer.WithGroupName(group),
		consumer.WithInstance(c.instance()),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
		consumer.WithConsumeGoroutineNums(2),
	}, options...)
	if key := c.getOr("access_key", ""); key != "" {
		all = append(all, consumer.WithCredentials(primitive.Credentials{AccessKey: key, SecretKey: c.getOr("secret_key", "")}))
	}
	made, err := rocketmq.NewPushConsumer(all...)
	c.must("make a consumer", err)
	push := &Push{consumer: made}
	for _, topic := range topics {
		err = made.Subscribe(topic, selector, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			push.lock.Lock()
			defer push.lock.Unlock()
			push.messages = append(push.messages, messages...)
			return consumer.ConsumeSuccess, nil
		})
		c.must("subscribe", err)
	}
	c.must("start the consumer", made.Start())
	c.closing(push.shutdown)
	return push
}

func (p *Push) shutdown() error {
	var err error
	p.once.Do(func() { err = p.consumer.Shutdown() })
	return err
}

func (p *Push) all() []*primitive.MessageExt {
	p.lock.Lock()
	defer p.lock.Unlock()
	return append([]*primitive.MessageExt(nil), p.messages...)
}

func (p *Push) clear() {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.messages = nil
}

func (p *Push) bodies() []string {
	var bodies []string
	for _, message := range p.all() {
		bodies = append(bodies, string(message.Body))
	}
	return bodies
}

func (p *Push) queues() map[int]bool {
	queues := map[int]bool{}
	for _, message := range p.all() {
		queues[message.Queue.QueueId] = true
	}
	return queues
}

// consumed waits until all that came is consumed, which is a little later: only then a restart repeats none.
func (p *Push) consumed(topic string) bool {
	return until(30, func() bool {
		left, known := p.consumer.GetOffsetDiffMap()[topic]
		return known && left == 0
	})
}

// await waits until that many messages have come.
func (p *Push) await(seconds, count int) bool {
	return until(seconds, func() bool { return len(p.all()) >= count })
}

// awaitBodies waits until each of these bodies has come to one of the consumers.
func awaitBodies(seconds int, wanted []string, pushes ...*Push) bool {
	return until(seconds, func() bool {
		got := map[string]bool{}
		for _, push := range pushes {
			for _, body := range push.bodies() {
				got[body] = true
			}
		}
		for _, body := range wanted {
			if !got[body] {
				return false
			}
		}
		return true
	})
}

func until(seconds int, holds func() bool) bool {
	deadline := time.Now().Add(time.Duration(seconds) * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(2 * time.Millisecond)
	}
	return true
}
