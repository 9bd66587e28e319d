// SPDX-License-Identifier: Apache-2.0

package main

import (
	"sort"
	"strconv"
	"sync"
	"time"

	grpc "github.com/apache/rocketmq-clients/golang/v5"
)

// Lite topics by the 5.x SDK, below the parent PREFIX_lite and for the group PREFIX_lite_group, which are there before.

func init() {
	scenarios["grpc_lite_push_subscribes_and_unsubscribes"] = grpcLitePush
}

func grpcLitePush(c *Context) error {
	parent := c.name("lite")
	producer := c.grpcProducer(grpc.WithTopics(parent))
	send := func(lite, body string) {
		message := grpcMessage(parent, body)
		message.SetLiteTopic(lite)
		c.grpcSend(producer, message)
	}
	var lock sync.Mutex
	got, count, refused := map[string][]string{}, 0, 0
	consumer, err := grpc.NewLitePushConsumer(c.grpcConfig(c.name("lite_group")),
		grpc.NewLitePushConsumerConfig(parent, 30*time.Second),
		grpc.WithPushAwaitDuration(5*time.Second),
		grpc.WithPushConsumptionThreadCount(4),
		grpc.WithPushMessageListener(&grpc.FuncMessageListener{Consume: func(view *grpc.MessageView) grpc.ConsumerResult {
			lock.Lock()
			defer lock.Unlock()
			body := string(view.GetBody())
			if body == "a3" {
				refused++
				if refused == 1 {
					return grpc.FAILURE
				}
			}
			got[view.GetLiteTopic()] = append(got[view.GetLiteTopic()], body)
			count++
			return grpc.SUCCESS
		}}))
	c.must("make a lite push consumer", err)
	c.must("start the lite push consumer", consumer.Start())
	c.closing(consumer.GracefulStop)
	c.must("subscribe", consumer.SubscribeLite("a"))
	c.must("subscribe", consumer.SubscribeLite("b"))
	inOrder := map[string][]string{}
	for i := 0; i < 5; i++ {
		for _, lite := range []string{"a", "b", "nobody"} {
			body := lite + strconv.Itoa(i)
			send(lite, body)
			if lite != "nobody" {
				inOrder[lite] = append(inOrder[lite], body)
			}
		}
	}
	c.check("all came", within(90, &lock, func() bool { return count >= 10 }))
	lock.Lock()
	// The SDK 5.1.4 goes on with what it received together with a message that waits for its next attempt.
	sort.Strings(got["a"])
	c.equal("in order, without what nobody wants", inOrder, got)
	c.equal("one came again", 2, refused)
	lock.Unlock()
	c.must("unsubscribe", consumer.UnSubscribeLite("b"))
	send("b", "b5")
	send("a", "a5")
	c.check("what is left", within(60, &lock, func() bool { return len(got["a"]) == 6 }))
	lock.Lock()
	defer lock.Unlock()
	c.equal("nothing of the other", inOrder["b"], got["b"])
	return nil
}
