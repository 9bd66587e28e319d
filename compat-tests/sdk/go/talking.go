// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// requestReplied: a reply that comes before the broker knows who asked is lost with this SDK, so it asks again.
func requestReplied(c *Context) error {
	topic := c.topic("requests", 2)
	replier := c.newProducer(producer.WithGroupName(c.name("repliers")))
	c.listen(c.name("request_group"), topic, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, message := range messages {
			reply, err := consumer.CreateReplyMessage(message, nil)
			if err != nil {
				continue
			}
			// The SDK takes the body for properties and leaves it out.
			reply.Body = []byte("reply to " + string(message.Body))
			_, _ = replier.SendSync(context.Background(), reply)
		}
		return consumer.ConsumeSuccess, nil
	})
	asker, err := producer.NewDefaultProducer(
		producer.WithNameServer(c.namesrv()),
		producer.WithGroupName(c.name("askers")),
		producer.WithInstanceName(c.instance()),
	)
	c.must("make a producer", err)
	c.must("start the producer", asker.Start())
	c.closing(asker.Shutdown)
	var reply *primitive.Message
	var failure error
	question := ""
	for i, deadline := 0, time.Now().Add(120*time.Second); reply == nil && time.Now().Before(deadline); i++ {
		question = fmt.Sprint("question ", i)
		reply, failure = asker.Request(context.Background(), 10*time.Second, primitive.NewMessage(topic, []byte(question)))
	}
	c.check("a reply comes", reply != nil, "error", fmt.Sprint(failure))
	c.equal("to the question", "reply to "+question, string(reply.Body))
	return nil
}

func pushSQL(c *Context) error {
	topic := c.topic("sql", 2)
	expression := "(a BETWEEN 10 AND 19 AND colour IN ('red', 'blue')) OR note IS NOT NULL"
	some := c.pushAll(c.name("sql_some"), consumer.MessageSelector{Type: consumer.SQL92, Expression: expression}, []string{topic})
	all := c.push(c.name("sql_all"), topic, "*")
	wanted := map[string]bool{}
	colours := []string{"red", "green", "blue"}
	for i := 0; i < 60; i++ {
		message := primitive.NewMessage(topic, []byte(strconv.Itoa(i)))
		message.WithProperty("a", strconv.Itoa(i))
		message.WithProperty("colour", colours[i%3])
		if i == 50 {
			message.WithProperty("note", "x")
		}
		c.sendOne(message)
		if i == 50 || i >= 10 && i < 20 && i%3 != 1 {
			wanted[string(message.Body)] = true
		}
	}
	c.check("without an expression all come", all.await(60, 60), "got", len(all.all()))
	c.check("what matches comes", some.await(60, len(wanted)), "got", some.bodies())
	for _, body := range some.bodies() {
		c.check("nothing else", wanted[body], "got", body)
	}
	return nil
}

// broadcastContinues: with this SDK a member of a broadcast keeps how far it came in a file of its own.
func broadcastContinues(c *Context) error {
	topic, group, instance := c.topic("kept", 2), c.name("kept_group"), c.instance()
	member := func() *Push {
		return c.push(group, topic, "*", consumer.WithConsumerModel(consumer.BroadCasting), consumer.WithInstance(instance))
	}
	before := c.send(topic, "before", 40)
	first := member()
	c.check("the first run gets all", awaitBodies(60, before, first), "got", len(first.all()))
	c.check("and consumes it", first.consumed(topic))
	c.must("shutdown", first.shutdown())
	between := c.send(topic, "between", 40)
	second := member()
	c.check("the second gets what came between", awaitBodies(60, between, second), "got", len(second.all()))
	c.equal("and nothing again", 40, len(second.all()))
	return nil
}

func deadAtOnce(c *Context) error {
	topic, group := c.topic("hopeless", 1), c.name("hopeless_group")
	var lock sync.Mutex
	tries := 0
	c.listen(group, topic, func(ctx context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		lock.Lock()
		defer lock.Unlock()
		tries += len(messages)
		if concurrently, known := primitive.GetConcurrentlyCtx(ctx); known {
			concurrently.DelayLevelWhenNextConsume = -1
		}
		return consumer.ConsumeRetryLater, nil
	})
	c.sendOne(primitive.NewMessage(topic, []byte("hopeless")))
	letters := "%DLQ%" + group
	tried := func() int {
		lock.Lock()
		defer lock.Unlock()
		return tries
	}
	c.check("tried", until(60, func() bool { return tried() > 0 }))
	c.awaitTopic(letters, 1)
	dead := c.push(c.name("hopeless_readers"), letters, "*")
	c.check("a dead letter", awaitBodies(60, []string{"hopeless"}, dead))
	c.check("long before it was tried for the last time", tried() < 16, "tries", tried())
	return nil
}

func delayByTime(c *Context) error {
	topic := c.topic("timed", 1)
	push := c.push(c.name("timed_group"), topic, "*")
	c.sendOne(primitive.NewMessage(topic, []byte("at once")))
	c.check("ready", awaitBodies(60, []string{"at once"}, push))
	due := time.Now().Add(4 * time.Second)
	message := primitive.NewMessage(topic, []byte("later"))
	message.WithProperty("TIMER_DELIVER_MS", strconv.FormatInt(due.UnixMilli(), 10))
	c.sendOne(message)
	c.check("came", awaitBodies(60, []string{"later"}, push))
	// Times are rounded down to whole seconds, as Apache does it.
	c.check("not early", time.Now().After(due.Add(-time.Second)), "before_ms", time.Until(due).Milliseconds())
	c.equal("each once", 2, len(push.all()))
	return nil
}

func subscribesMany(c *Context) error {
	var topics, wanted []string
	for i := 0; i < 10; i++ {
		topics = append(topics, c.topic(fmt.Sprint("many", i), 1))
	}
	push := c.pushAll(c.name("many_group"), consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}, topics)
	for i, topic := range topics {
		wanted = append(wanted, c.send(topic, fmt.Sprint("to", i), 5)...)
	}
	c.check("all topics come", awaitBodies(90, wanted, push), "got", len(push.all()))
	return nil
}

// slowHoldsBackNobody: a group whose member takes its time, and whose SDK therefore stops pulling, beside a quick one.
func slowHoldsBackNobody(c *Context) error {
	topic := c.topic("slow", 1)
	release := make(chan struct{})
	var once sync.Once
	free := func() { once.Do(func() { close(release) }) }
	defer free()
	var lock sync.Mutex
	got := map[string]bool{}
	c.listen(c.name("slow_group"), topic, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		<-release
		lock.Lock()
		defer lock.Unlock()
		for _, message := range messages {
			got[string(message.Body)] = true
		}
		return consumer.ConsumeSuccess, nil
	}, consumer.WithPullThresholdForQueue(8), consumer.WithConsumeGoroutineNums(2))
	quick := c.push(c.name("quick_group"), topic, "*")
	sent := c.send(topic, "m", 200)
	c.check("the quick group gets all", awaitBodies(60, sent, quick), "got", len(quick.all()))
	lock.Lock()
	c.equal("while the slow one has none", 0, len(got))
	lock.Unlock()
	free()
	all := until(120, func() bool {
		lock.Lock()
		defer lock.Unlock()
		return len(got) == len(sent)
	})
	c.check("which then gets all too", all, "got", len(got))
	return nil
}
