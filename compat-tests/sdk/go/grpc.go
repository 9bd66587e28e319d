// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	grpc "github.com/apache/rocketmq-clients/golang/v5"
	"github.com/apache/rocketmq-clients/golang/v5/credentials"
	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
)

// The 5.x SDK, which speaks gRPC to a proxy: inside TLS, unless the environment of the process says otherwise
// (rocketmq.client.enableSsl=false). The topics PREFIX_normal, _fifo, _delay and _transaction and the groups PREFIX_group,
// _group2 and _fifo_group are there before a scenario begins.

func init() {
	scenarios["grpc_send_and_receive"] = grpcSendAndReceive
	scenarios["grpc_fifo_keeps_order"] = grpcFifo
	scenarios["grpc_delayed_message_comes_in_time"] = grpcDelay
	scenarios["grpc_recalled_message_never_comes"] = grpcRecall
	scenarios["grpc_transactions_commit_rollback_and_check"] = grpcTransaction
	scenarios["grpc_invisible_duration_changes"] = grpcInvisible
	scenarios["grpc_push_consumes_and_retries"] = grpcPush
	scenarios["grpc_tags_and_sql_filter"] = grpcFilters
	scenarios["grpc_wrong_type_is_refused"] = grpcWrongType
	scenarios["grpc_higher_priority_comes_first"] = grpcPriority
	scenarios["grpc_produce"] = grpcProduce
	scenarios["grpc_consume"] = grpcConsume
}

func (c *Context) grpcConfig(group string) *grpc.Config {
	return &grpc.Config{
		Endpoint:      c.get("endpoints"),
		ConsumerGroup: group,
		Credentials: &credentials.SessionCredentials{
			AccessKey: c.getOr("access_key", ""), AccessSecret: c.getOr("secret_key", ""),
		},
	}
}

func (c *Context) grpcProducer(options ...grpc.ProducerOption) grpc.Producer {
	made, err := grpc.NewProducer(c.grpcConfig(""), options...)
	c.must("make a producer", err)
	c.must("start the producer", made.Start())
	c.closing(made.GracefulStop)
	return made
}

func (c *Context) grpcSimple(group, topic string, filter *grpc.FilterExpression) grpc.SimpleConsumer {
	made, err := grpc.NewSimpleConsumer(c.grpcConfig(group),
		grpc.WithSimpleAwaitDuration(5*time.Second),
		grpc.WithSimpleSubscriptionExpressions(map[string]*grpc.FilterExpression{topic: filter}))
	c.must("make a simple consumer", err)
	c.must("start the simple consumer", made.Start())
	c.closing(made.GracefulStop)
	return made
}

func (c *Context) grpcPush(group, topic string, consume func(*grpc.MessageView) grpc.ConsumerResult) {
	made, err := grpc.NewPushConsumer(c.grpcConfig(group),
		grpc.WithPushAwaitDuration(5*time.Second),
		grpc.WithPushSubscriptionExpressions(map[string]*grpc.FilterExpression{topic: grpc.SUB_ALL}),
		grpc.WithPushMessageListener(&grpc.FuncMessageListener{Consume: consume}),
		grpc.WithPushConsumptionThreadCount(4))
	c.must("make a push consumer", err)
	c.must("start the push consumer", made.Start())
	c.closing(made.GracefulStop)
}

func (c *Context) grpcSend(producer grpc.Producer, message *grpc.Message) *grpc.SendReceipt {
	receipts, err := producer.Send(context.Background(), message)
	c.must("send", err)
	if len(receipts) != 1 {
		c.equal("receipts", 1, len(receipts))
	}
	return receipts[0]
}

// take receives and acknowledges until so many came or the time is over.
func (c *Context) take(consumer grpc.SimpleConsumer, count, seconds int) []*grpc.MessageView {
	var all []*grpc.MessageView
	deadline := time.Now().Add(time.Duration(seconds) * time.Second)
	for len(all) < count && time.Now().Before(deadline) {
		for _, view := range c.receive(consumer, 16) {
			c.must("acknowledge", consumer.Ack(context.Background(), view))
			all = append(all, view)
		}
	}
	return all
}

// receive tells of nothing received as no messages; the SDK makes it an error. It also takes the end of an answer for a
// deadline now and then, when the two race in it; what that answer held comes again after its invisible time of 10 s.
func (c *Context) receive(consumer grpc.SimpleConsumer, most int32) []*grpc.MessageView {
	views, err := consumer.Receive(context.Background(), most, 10*time.Second)
	var status *grpc.ErrRpcStatus
	switch {
	case err == nil:
	case errors.As(err, &status) && status.Code == int32(v2.Code_MESSAGE_NOT_FOUND):
	case strings.Contains(err.Error(), "DEADLINE_EXCEEDED"):
		c.step("lost", "error", err.Error())
	default:
		c.must("receive", err)
	}
	return views
}

func bodiesOf(views []*grpc.MessageView) []string {
	var bodies []string
	for _, view := range views {
		bodies = append(bodies, string(view.GetBody()))
	}
	sort.Strings(bodies)
	return bodies
}

func grpcMessage(topic, body string) *grpc.Message {
	return &grpc.Message{Topic: topic, Body: []byte(body)}
}

func grpcSendAndReceive(c *Context) error {
	topic := c.name("normal")
	producer := c.grpcProducer(grpc.WithTopics(topic))
	var sent []string
	ids := map[string]string{}
	for i := 0; i < 30; i++ {
		body := fmt.Sprintf("größe-消息-%02d", i)
		message := grpcMessage(topic, body)
		message.SetTag("tag")
		message.SetKeys("k"+strconv.Itoa(i), "all")
		message.AddProperty("number", strconv.Itoa(i))
		message.AddProperty("städte", "Zürich 東京")
		ids[body] = c.grpcSend(producer, message).MessageID
		sent = append(sent, body)
	}
	consumer := c.grpcSimple(c.name("group"), topic, grpc.SUB_ALL)
	got := c.take(consumer, 30, 60)
	c.equal("bodies", sent, bodiesOf(got))
	for _, view := range got {
		body := string(view.GetBody())
		number := view.GetProperties()["number"]
		c.equal("tag", "tag", *view.GetTag())
		c.equal("keys", []string{"k" + number, "all"}, view.GetKeys())
		c.equal("body and property", fmt.Sprintf("größe-消息-%02s", number), body)
		c.equal("property", "Zürich 東京", view.GetProperties()["städte"])
		c.equal("properties", 2, len(view.GetProperties()))
		c.check("attempt", view.GetDeliveryAttempt() >= 1)
		c.equal("id", ids[body], view.GetMessageId())
		c.equal("topic", topic, view.GetTopic())
		c.check("born", time.Since(*view.GetBornTimestamp()) < time.Hour && *view.GetBornHost() != "")
	}
	c.equal("nothing more", 0, len(c.receive(consumer, 16)))
	return nil
}

func grpcFifo(c *Context) error {
	topic := c.name("fifo")
	producer := c.grpcProducer(grpc.WithTopics(topic))
	expected := map[string][]string{}
	for i := 0; i < 30; i++ {
		message := grpcMessage(topic, strconv.Itoa(i))
		name := "g" + strconv.Itoa(i%3)
		message.SetMessageGroup(name)
		c.grpcSend(producer, message)
		expected[name] = append(expected[name], strconv.Itoa(i))
	}
	var lock sync.Mutex
	got, count := map[string][]string{}, 0
	c.grpcPush(c.name("fifo_group"), topic, func(view *grpc.MessageView) grpc.ConsumerResult {
		lock.Lock()
		defer lock.Unlock()
		name := *view.GetMessageGroup()
		got[name] = append(got[name], string(view.GetBody()))
		count++
		return grpc.SUCCESS
	})
	c.check("all came", within(90, &lock, func() bool { return count >= 30 }))
	lock.Lock()
	defer lock.Unlock()
	c.equal("order", expected, got)
	return nil
}

// within waits until the condition holds, which is looked at under the lock.
func within(seconds int, lock *sync.Mutex, held func() bool) bool {
	looked := func() bool {
		lock.Lock()
		defer lock.Unlock()
		return held()
	}
	for deadline := time.Now().Add(time.Duration(seconds) * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if looked() {
			return true
		}
	}
	return looked()
}

func grpcDelay(c *Context) error {
	topic := c.name("delay")
	producer := c.grpcProducer(grpc.WithTopics(topic))
	consumer := c.grpcSimple(c.name("group"), topic, grpc.SUB_ALL)
	due := time.Now().Add(4 * time.Second)
	message := grpcMessage(topic, "later")
	message.SetDelayTimestamp(due)
	c.grpcSend(producer, message)
	got := c.take(consumer, 1, 60)
	late := time.Since(due)
	c.equal("came", []string{"later"}, bodiesOf(got))
	c.check("not before its time", late > -1500*time.Millisecond, "late", late.Milliseconds())
	return nil
}

func grpcRecall(c *Context) error {
	topic := c.name("delay")
	producer := c.grpcProducer(grpc.WithTopics(topic))
	later := func(body string) *grpc.SendReceipt {
		message := grpcMessage(topic, body)
		message.SetDelayTimestamp(time.Now().Add(8 * time.Second))
		return c.grpcSend(producer, message)
	}
	recalled := later("recalled")
	later("stays")
	id, err := producer.Recall(context.Background(), topic, recalled.RecallHandle)
	c.must("recall", err)
	c.equal("id", recalled.MessageID, id)
	consumer := c.grpcSimple(c.name("group"), topic, grpc.SUB_ALL)
	c.equal("only the other", []string{"stays"}, bodiesOf(c.take(consumer, 1, 60)))
	c.equal("nothing more", 0, len(c.receive(consumer, 16)))
	return nil
}

func grpcTransaction(c *Context) error {
	topic := c.name("transaction")
	var lock sync.Mutex
	asked := map[string]bool{}
	producer := c.grpcProducer(grpc.WithTopics(topic), grpc.WithTransactionChecker(&grpc.TransactionChecker{
		Check: func(view *grpc.MessageView) grpc.TransactionResolution {
			lock.Lock()
			defer lock.Unlock()
			asked[string(view.GetBody())] = true
			return grpc.COMMIT
		},
	}))
	send := func(body string) grpc.Transaction {
		transaction := producer.BeginTransaction()
		_, err := producer.SendWithTransaction(context.Background(), grpcMessage(topic, body), transaction)
		c.must("send "+body, err)
		return transaction
	}
	committed, rolledBack := send("committed"), send("rolled back")
	send("checked")
	consumer := c.grpcSimple(c.name("group"), topic, grpc.SUB_ALL)
	c.must("commit", committed.Commit())
	c.must("roll back", rolledBack.RollBack())
	c.equal("committed", []string{"committed"}, bodiesOf(c.take(consumer, 1, 60)))
	c.equal("checked", []string{"checked"}, bodiesOf(c.take(consumer, 1, 150)))
	lock.Lock()
	defer lock.Unlock()
	c.equal("asked about", map[string]bool{"checked": true}, asked)
	return nil
}

func grpcInvisible(c *Context) error {
	topic := c.name("normal")
	c.grpcSend(c.grpcProducer(grpc.WithTopics(topic)), grpcMessage(topic, "again"))
	consumer := c.grpcSimple(c.name("group"), topic, grpc.SUB_ALL)
	var first *grpc.MessageView
	for deadline := time.Now().Add(60 * time.Second); first == nil && time.Now().Before(deadline); {
		for _, view := range c.receive(consumer, 1) {
			first = view
		}
	}
	c.check("came", first != nil)
	before := first.GetReceiptHandle()
	changed := time.Now()
	c.must("change", consumer.ChangeInvisibleDuration(first, 4*time.Second))
	c.check("another receipt", first.GetReceiptHandle() != before)
	got := c.take(consumer, 1, 60)
	waited := time.Since(changed)
	c.equal("came again", []string{"again"}, bodiesOf(got))
	c.check("after its time", waited > 3*time.Second, "waited", waited.Milliseconds())
	c.check("counted", got[0].GetDeliveryAttempt() > first.GetDeliveryAttempt())
	c.equal("the same", first.GetMessageId(), got[0].GetMessageId())
	c.equal("gone", 0, len(c.receive(consumer, 16)))
	return nil
}

func grpcPush(c *Context) error {
	topic := c.name("normal")
	producer := c.grpcProducer(grpc.WithTopics(topic))
	var lock sync.Mutex
	attempts, done := map[string][]int32{}, map[string]bool{}
	c.grpcPush(c.name("group"), topic, func(view *grpc.MessageView) grpc.ConsumerResult {
		lock.Lock()
		defer lock.Unlock()
		body := string(view.GetBody())
		attempts[body] = append(attempts[body], view.GetDeliveryAttempt())
		if body == "m7" && len(attempts[body]) == 1 {
			return grpc.FAILURE
		}
		done[body] = true
		return grpc.SUCCESS
	})
	for i := 0; i < 30; i++ {
		c.grpcSend(producer, grpcMessage(topic, "m"+strconv.Itoa(i)))
	}
	c.check("all came", within(120, &lock, func() bool { return len(done) >= 30 }))
	lock.Lock()
	defer lock.Unlock()
	tries := attempts["m7"]
	c.check("the failed one twice", len(tries) == 2 && tries[1] > tries[0], "attempts", tries)
	return nil
}

func grpcPriority(c *Context) error {
	topic := c.name("priority")
	producer := c.grpcProducer(grpc.WithTopics(topic))
	for priority := 1; priority <= 2; priority++ {
		message := grpcMessage(topic, strconv.Itoa(priority))
		c.must("set the priority", message.SetPriority(int32(priority)))
		c.grpcSend(producer, message)
	}
	consumer := c.grpcSimple(c.name("group"), topic, grpc.SUB_ALL)
	var order []string
	for deadline := time.Now().Add(60 * time.Second); len(order) < 2 && time.Now().Before(deadline); {
		for _, view := range c.receive(consumer, 1) {
			c.must("acknowledge", consumer.Ack(context.Background(), view))
			order = append(order, string(view.GetBody()))
		}
	}
	c.equal("order", []string{"2", "1"}, order)
	return nil
}

func grpcFilters(c *Context) error {
	topic := c.name("normal")
	producer := c.grpcProducer(grpc.WithTopics(topic))
	for i := 0; i < 12; i++ {
		message := grpcMessage(topic, "m"+strconv.Itoa(i))
		message.SetTag("t" + strconv.Itoa(i%3))
		message.AddProperty("n", strconv.Itoa(i))
		c.grpcSend(producer, message)
	}
	tags := c.grpcSimple(c.name("group"), topic, grpc.NewFilterExpression("t0 || t2"))
	c.equal("by tag", []string{"m0", "m11", "m2", "m3", "m5", "m6", "m8", "m9"}, bodiesOf(c.take(tags, 8, 60)))
	if c.getOr("sql", "true") == "true" {
		filter := grpc.NewFilterExpressionWithType("n IS NOT NULL AND n > 8", grpc.SQL92)
		sql := c.grpcSimple(c.name("group2"), topic, filter)
		c.equal("by SQL", []string{"m10", "m11", "m9"}, bodiesOf(c.take(sql, 3, 60)))
	}
	return nil
}

func grpcWrongType(c *Context) error {
	topic := c.name("normal")
	producer := c.grpcProducer(grpc.WithTopics(topic))
	message := grpcMessage(topic, "x")
	message.SetMessageGroup("g")
	_, err := producer.Send(context.Background(), message)
	c.check("refused", err != nil)
	_, err = producer.Send(context.Background(), grpcMessage(c.name("nowhere"), "x"))
	c.check("unknown topic", err != nil)
	c.step("why", "error", err.Error())
	c.grpcSend(producer, grpcMessage(topic, "fine"))
	return nil
}

// grpcProduce: parameters topic, word, count, and type: normal, fifo or delay.
func grpcProduce(c *Context) error {
	topic := c.get("topic")
	producer := c.grpcProducer(grpc.WithTopics(topic))
	for i := 0; i < c.number("count", 1); i++ {
		body := fmt.Sprintf("%s:%d", c.get("word"), i)
		message := grpcMessage(topic, body)
		message.SetTag([]string{"even", "odd"}[i%2])
		message.SetKeys(c.get("word")+strconv.Itoa(i), "all")
		message.AddProperty("from", c.get("word"))
		switch c.getOr("type", "normal") {
		case "fifo":
			message.SetMessageGroup("one")
		case "delay":
			message.SetDelayTimestamp(time.Now().Add(3 * time.Second))
		}
		c.step("sent", "body", body, "msg", c.grpcSend(producer, message).MessageID)
	}
	return nil
}

// grpcConsume: parameters topic, group; until told to stop.
func grpcConsume(c *Context) error {
	consumer := c.grpcSimple(c.get("group"), c.get("topic"), grpc.SUB_ALL)
	c.step("ready")
	for !c.stopped() {
		for _, view := range c.receive(consumer, 16) {
			tag := ""
			if view.GetTag() != nil {
				tag = *view.GetTag()
			}
			c.step("message", "body", string(view.GetBody()), "tag", tag, "keys", strings.Join(view.GetKeys(), " "),
				"from", view.GetProperties()["from"], "msg", view.GetMessageId())
			c.must("acknowledge", consumer.Ack(context.Background(), view))
		}
	}
	return nil
}
