// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"sort"
	"strconv"
	"sync"
	"time"

	grpc "github.com/apache/rocketmq-clients/golang/v5"
	"github.com/apache/rocketmq-clients/golang/v5/credentials"
)

// The 5.x SDK, which speaks gRPC to a proxy, inside TLS unless the environment says otherwise.

func init() {
	scenarios["grpc_send_and_receive"] = grpcSendAndReceive
	scenarios["grpc_fifo_keeps_order"] = grpcFifo
	scenarios["grpc_delayed_message_comes_in_time"] = grpcDelay
	scenarios["grpc_transactions_commit_and_check"] = grpcTransaction
	scenarios["grpc_invisible_duration_changes"] = grpcInvisible
	scenarios["grpc_push_consumes_and_retries"] = grpcPush
	// It logs into the home of the user, which is the trial's.
	os.Setenv("rocketmq.client.logRoot", os.TempDir())
}

// ask sends one remoting request to the broker and expects success.
func (c *Context) ask(code int, fields map[string]string, body []byte) {
	conn, err := net.DialTimeout("tcp", c.get("broker"), 10*time.Second)
	c.must("connect to the broker", err)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	header, err := json.Marshal(map[string]any{
		"code": code, "language": "JAVA", "version": 433, "opaque": 1, "flag": 0, "extFields": fields,
	})
	c.must("write a header", err)
	var frame bytes.Buffer
	_ = binary.Write(&frame, binary.BigEndian, int32(4+len(header)+len(body)))
	_ = binary.Write(&frame, binary.BigEndian, int32(len(header)))
	frame.Write(header)
	frame.Write(body)
	_, err = conn.Write(frame.Bytes())
	c.must("ask the broker", err)
	var sizes [8]byte
	_, err = io.ReadFull(conn, sizes[:])
	c.must("read the answer", err)
	answer := make([]byte, binary.BigEndian.Uint32(sizes[4:])&0xFFFFFF)
	_, err = io.ReadFull(conn, answer)
	c.must("read the answer", err)
	var head struct{ Code int }
	c.must("read the answer", json.Unmarshal(answer, &head))
	c.equal(fmt.Sprintf("answer to %d", code), 0, head.Code)
}

// typed makes a topic whose messages are of one type.
func (c *Context) typed(suffix, kind string, queues int) string {
	topic := c.name(suffix)
	c.ask(17, map[string]string{
		"topic": topic, "defaultTopic": "TBW102", "readQueueNums": strconv.Itoa(queues),
		"writeQueueNums": strconv.Itoa(queues), "perm": "6", "topicFilterType": "SINGLE_TAG",
		"topicSysFlag": "0", "order": "false", "attributes": "+message.type=" + kind,
	}, nil)
	return topic
}

func (c *Context) group(suffix string, orderly bool) string {
	group := c.name(suffix)
	body, err := json.Marshal(map[string]any{
		"groupName": group, "consumeEnable": true, "consumeMessageOrderly": orderly, "retryMaxTimes": 16,
		"retryQueueNums": 1, "consumeBroadcastEnable": true, "brokerId": 0, "whichBrokerWhenConsumeSlowly": 1,
		"notifyConsumerIdsChangedEnable": true, "consumeFromMinEnable": true,
	})
	c.must("write a group", err)
	c.ask(200, map[string]string{}, body)
	return group
}

func (c *Context) grpcConfig(group string) *grpc.Config {
	return &grpc.Config{
		Endpoint:      c.get("endpoints"),
		ConsumerGroup: group,
		Credentials:   &credentials.SessionCredentials{},
	}
}

func (c *Context) grpcProducer(options ...grpc.ProducerOption) grpc.Producer {
	made, err := grpc.NewProducer(c.grpcConfig(""), options...)
	c.must("make a producer", err)
	c.must("start the producer", made.Start())
	c.closing(made.GracefulStop)
	return made
}

func (c *Context) grpcSimple(group, topic string) grpc.SimpleConsumer {
	made, err := grpc.NewSimpleConsumer(c.grpcConfig(group),
		grpc.WithSimpleAwaitDuration(5*time.Second),
		grpc.WithSimpleSubscriptionExpressions(map[string]*grpc.FilterExpression{topic: grpc.SUB_ALL}))
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

// take receives and acknowledges until so many came or the time is over.
func (c *Context) take(consumer grpc.SimpleConsumer, count, seconds int) []*grpc.MessageView {
	var all []*grpc.MessageView
	deadline := time.Now().Add(time.Duration(seconds) * time.Second)
	for len(all) < count && time.Now().Before(deadline) {
		// An empty receive is an error of this SDK.
		views, err := consumer.Receive(context.Background(), 16, 30*time.Second)
		if err != nil {
			continue
		}
		for _, view := range views {
			c.must("acknowledge", consumer.Ack(context.Background(), view))
			all = append(all, view)
		}
	}
	return all
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
	topic := c.typed("normal", "NORMAL", 4)
	group := c.group("simple", false)
	producer := c.grpcProducer(grpc.WithTopics(topic))
	var sent []string
	for i := 0; i < 30; i++ {
		body := fmt.Sprintf("größe-%02d", i)
		message := grpcMessage(topic, body)
		message.SetTag("tag")
		message.SetKeys("k"+strconv.Itoa(i), "all")
		message.AddProperty("number", strconv.Itoa(i))
		receipts, err := producer.Send(context.Background(), message)
		c.must("send", err)
		c.equal("one receipt", 1, len(receipts))
		sent = append(sent, body)
	}
	got := c.take(c.grpcSimple(group, topic), 30, 60)
	c.equal("bodies", sent, bodiesOf(got))
	c.equal("tag", "tag", *got[0].GetTag())
	c.equal("keys", 2, len(got[0].GetKeys()))
	c.equal("attempt", int32(1), got[0].GetDeliveryAttempt())
	return nil
}

func grpcFifo(c *Context) error {
	topic := c.typed("fifo", "FIFO", 4)
	group := c.group("fifo_group", true)
	producer := c.grpcProducer(grpc.WithTopics(topic))
	expected := map[string][]string{}
	for i := 0; i < 30; i++ {
		message := grpcMessage(topic, strconv.Itoa(i))
		name := "g" + strconv.Itoa(i%3)
		message.SetMessageGroup(name)
		_, err := producer.Send(context.Background(), message)
		c.must("send", err)
		expected[name] = append(expected[name], strconv.Itoa(i))
	}
	var lock sync.Mutex
	got, count := map[string][]string{}, 0
	c.grpcPush(group, topic, func(view *grpc.MessageView) grpc.ConsumerResult {
		lock.Lock()
		defer lock.Unlock()
		name := *view.GetMessageGroup()
		got[name] = append(got[name], string(view.GetBody()))
		count++
		return grpc.SUCCESS
	})
	c.check("all came", until(90, func() bool { lock.Lock(); defer lock.Unlock(); return count >= 30 }))
	lock.Lock()
	defer lock.Unlock()
	c.equal("order", expected, got)
	return nil
}


func grpcDelay(c *Context) error {
	topic := c.typed("delay", "DELAY", 2)
	group := c.group("delay_group", false)
	producer := c.grpcProducer(grpc.WithTopics(topic))
	consumer := c.grpcSimple(group, topic)
	due := time.Now().Add(5 * time.Second)
	message := grpcMessage(topic, "later")
	message.SetDelayTimestamp(due)
	_, err := producer.Send(context.Background(), message)
	c.must("send", err)
	got := c.take(consumer, 1, 60)
	late := time.Since(due)
	c.equal("came", []string{"later"}, bodiesOf(got))
	c.check("in time", late > -1500*time.Millisecond && late < 6*time.Second, "late", late.Milliseconds())
	return nil
}

func grpcTransaction(c *Context) error {
	topic := c.typed("transaction", "TRANSACTION", 2)
	group := c.group("transaction_group", false)
	producer := c.grpcProducer(grpc.WithTopics(topic), grpc.WithTransactionChecker(&grpc.TransactionChecker{
		Check: func(view *grpc.MessageView) grpc.TransactionResolution { return grpc.COMMIT },
	}))
	send := func(body string) grpc.Transaction {
		transaction := producer.BeginTransaction()
		_, err := producer.SendWithTransaction(context.Background(), grpcMessage(topic, body), transaction)
		c.must("send "+body, err)
		return transaction
	}
	committed, rolledBack := send("committed"), send("rolled back")
	send("checked")
	c.must("commit", committed.Commit())
	c.must("roll back", rolledBack.RollBack())
	got := c.take(c.grpcSimple(group, topic), 2, 120)
	c.equal("committed and checked", []string{"checked", "committed"}, bodiesOf(got))
	return nil
}

func grpcInvisible(c *Context) error {
	topic := c.typed("invisible", "NORMAL", 1)
	group := c.group("invisible_group", false)
	_, err := c.grpcProducer(grpc.WithTopics(topic)).Send(context.Background(), grpcMessage(topic, "again"))
	c.must("send", err)
	consumer := c.grpcSimple(group, topic)
	var first *grpc.MessageView
	found := until(30, func() bool {
		views, err := consumer.Receive(context.Background(), 1, 30*time.Second)
		if err == nil && len(views) > 0 {
			first = views[0]
		}
		return first != nil
	})
	c.check("came", found)
	changed := time.Now()
	c.must("change", consumer.ChangeInvisibleDuration(first, 5*time.Second))
	got := c.take(consumer, 1, 60)
	waited := time.Since(changed)
	c.equal("came again", 1, len(got))
	c.check("after its time", waited > 3500*time.Millisecond, "waited", waited.Milliseconds())
	c.equal("counted", int32(2), got[0].GetDeliveryAttempt())
	return nil
}

func grpcPush(c *Context) error {
	topic := c.typed("push", "NORMAL", 2)
	group := c.group("push_group", false)
	producer := c.grpcProducer(grpc.WithTopics(topic))
	var lock sync.Mutex
	attempts, done := map[string]int{}, map[string]bool{}
	c.grpcPush(group, topic, func(view *grpc.MessageView) grpc.ConsumerResult {
		lock.Lock()
		defer lock.Unlock()
		body := string(view.GetBody())
		attempts[body]++
		if body == "m7" && attempts[body] == 1 {
			return grpc.FAILURE
		}
		done[body] = true
		return grpc.SUCCESS
	})
	for i := 0; i < 30; i++ {
		_, err := producer.Send(context.Background(), grpcMessage(topic, "m"+strconv.Itoa(i)))
		c.must("send", err)
	}
	c.check("all came", until(90, func() bool { lock.Lock(); defer lock.Unlock(); return len(done) >= 30 }))
	lock.Lock()
	defer lock.Unlock()
	c.equal("the failed one twice", 2, attempts["m7"])
	return nil
}
