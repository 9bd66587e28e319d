// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

type listener func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error)

// listen starts a consumer from the first offset with a listener of its own; what is returned ends it.
func (c *Context) listen(group, topic string, heard listener, options ...consumer.Option) func() error {
	all := append([]consumer.Option{
		consumer.WithNameServer(c.namesrv()),
		consumer.WithGroupName(group),
		consumer.WithInstance(c.instance()),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	}, options...)
	made, err := rocketmq.NewPushConsumer(all...)
	c.must("make a consumer", err)
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}
	c.must("subscribe", made.Subscribe(topic, selector, heard))
	c.must("start the consumer", made.Start())
	var once sync.Once
	end := func() (err error) {
		once.Do(func() { err = made.Shutdown() })
		return err
	}
	c.closing(end)
	return end
}

// toQueues sends messages to given queues, by the number before the colon in the body.
func (c *Context) toQueues(topic string, queues, each int, from int) {
	made, err := admin.NewAdmin(admin.WithResolver(primitive.NewPassthroughResolver(c.namesrv())))
	c.must("make an admin client", err)
	defer func() { _ = made.Close() }()
	route, err := made.FetchPublishMessageQueues(context.Background(), topic)
	c.must("route", err)
	one := c.newProducer(producer.WithQueueSelector(producer.NewManualQueueSelector()))
	for i := from; i < from+each; i++ {
		for queue := 0; queue < queues; queue++ {
			message := primitive.NewMessage(topic, []byte(fmt.Sprintf("%d:%d", queue, i)))
			message.Queue = &primitive.MessageQueue{Topic: topic, BrokerName: route[0].BrokerName, QueueId: queue}
			result, err := one.SendSync(context.Background(), message)
			c.must("send", err)
			if result.MessageQueue.QueueId != queue {
				c.check("sent to its queue", false, "result", result.String())
			}
		}
	}
}

// order keeps what came of each queue, whoever got it. This SDK lets go of its queues before it says how far it came,
// so messages may come again when a member ends; none may be passed over.
type order struct {
	lock     sync.Mutex
	furthest map[int]int64
	wrong    []string
	bodies   map[string]bool
}

func (o *order) see(message *primitive.MessageExt) {
	o.lock.Lock()
	defer o.lock.Unlock()
	queue := message.Queue.QueueId
	before, found := o.furthest[queue]
	if !found {
		before = -1
	}
	if message.QueueOffset > before+1 {
		o.wrong = append(o.wrong, fmt.Sprintf("queue %d goes from %d to %d", queue, before, message.QueueOffset))
	}
	if message.QueueOffset > before {
		o.furthest[queue] = message.QueueOffset
	}
	o.bodies[string(message.Body)] = true
}

func (o *order) count() int {
	o.lock.Lock()
	defer o.lock.Unlock()
	return len(o.bodies)
}

func orderedRebalanced(c *Context) error {
	topic, group := c.topic("ordered", 4), c.name("ordered_group")
	seen := &order{furthest: map[int]int64{}, bodies: map[string]bool{}}
	member := func() func() error {
		return c.listen(group, topic, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			for _, message := range messages {
				seen.see(message)
			}
			time.Sleep(2 * time.Millisecond)
			return consumer.ConsumeSuccess, nil
		}, consumer.WithConsumerOrder(true), consumer.WithConsumeMessageBatchMaxSize(1))
	}
	end := member()
	for round := 0; round < 4; round++ {
		c.toQueues(topic, 4, 50, round*50)
		switch round {
		case 0:
			c.check("the first member consumes", until(60, func() bool { return seen.count() >= 200 }), "got", seen.count())
		case 1:
			// Takes over some of the queues while they are full.
			member()
		case 2:
			c.must("shutdown", end())
		}
	}
	came := until(180, func() bool { return seen.count() >= 800 })
	seen.lock.Lock()
	defer seen.lock.Unlock()
	c.check("all come", came, "got", len(seen.bodies), "wrong", seen.wrong)
	c.equal("order", []string(nil), seen.wrong)
	c.equal("queues", 4, len(seen.furthest))
	return nil
}

func orderedSuspended(c *Context) error {
	topic := c.topic("suspended", 2)
	c.toQueues(topic, 2, 10, 0)
	var lock sync.Mutex
	var tried, came []string
	known := map[string]bool{}
	c.listen(c.name("suspended_group"), topic, func(ctx context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		lock.Lock()
		defer lock.Unlock()
		body := string(messages[0].Body)
		tried = append(tried, body)
		if body == "0:5" && strings.Count(strings.Join(tried, " ")+" ", body+" ") <= 3 {
			return consumer.SuspendCurrentQueueAMoment, nil
		}
		// A busy machine may make it come again; what counts is when it came first.
		if !known[body] {
			known[body] = true
			came = append(came, body)
		}
		return consumer.ConsumeSuccess, nil
	}, consumer.WithConsumerOrder(true), consumer.WithConsumeMessageBatchMaxSize(1))
	all := until(120, func() bool {
		lock.Lock()
		defer lock.Unlock()
		return len(came) >= 20
	})
	lock.Lock()
	defer lock.Unlock()
	c.check("all come", all, "got", came, "tried", tried)
	attempts := 0
	of := map[string][]string{}
	for _, body := range came {
		of[body[:2]] = append(of[body[:2]], body)
	}
	for _, body := range tried {
		if body == "0:5" {
			attempts++
		}
	}
	for _, queue := range []string{"0:", "1:"} {
		var wanted []string
		for i := 0; i < 10; i++ {
			wanted = append(wanted, fmt.Sprint(queue, i))
		}
		c.equal("order of queue "+queue, wanted, of[queue])
	}
	c.check("attempts", attempts >= 4, "attempts", attempts)
	return nil
}
