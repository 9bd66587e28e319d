// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// decider decides by the first word of the body, and what was left open when it is asked.
type decider struct {
	lock  sync.Mutex
	asked []string
}

func (d *decider) ExecuteLocalTransaction(message *primitive.Message) primitive.LocalTransactionState {
	switch {
	case strings.HasPrefix(string(message.Body), "commit"):
		return primitive.CommitMessageState
	case strings.HasPrefix(string(message.Body), "rollback"):
		return primitive.RollbackMessageState
	}
	return primitive.UnknowState
}

func (d *decider) CheckLocalTransaction(message *primitive.MessageExt) primitive.LocalTransactionState {
	d.lock.Lock()
	defer d.lock.Unlock()
	d.asked = append(d.asked, string(message.Body))
	if strings.HasPrefix(string(message.Body), "later_commit") {
		return primitive.CommitMessageState
	}
	return primitive.RollbackMessageState
}

func transactions(c *Context) error {
	topic := c.topic("transaction", 4)
	d := &decider{}
	sender, err := rocketmq.NewTransactionProducer(d,
		producer.WithNameServer(c.namesrv()),
		producer.WithGroupName(c.name("transaction_producer")),
		producer.WithInstanceName(c.instance()),
	)
	c.must("transaction producer", err)
	c.must("start", sender.Start())
	c.closing(sender.Shutdown)
	push := c.push(c.name("transaction_group"), topic, "*")
	for _, word := range []string{"commit", "rollback", "later_commit", "later_rollback"} {
		for i := 0; i < 10; i++ {
			message := primitive.NewMessage(topic, []byte(fmt.Sprint(word, ":", i)))
			result, err := sender.SendMessageInTransaction(context.Background(), message)
			c.must("send", err)
			c.check("sent", result.Status == primitive.SendOK, "result", result.String())
		}
	}
	// By default open transactions are looked at every 30 s.
	c.check("all that are committed came", push.await(120, 20), "got", len(push.all()))
	c.equal("each once", 20, len(push.all()))
	for _, message := range push.all() {
		body := string(message.Body)
		c.check("committed", strings.HasPrefix(body, "commit") || strings.HasPrefix(body, "later_commit"), "got", body)
	}
	d.lock.Lock()
	defer d.lock.Unlock()
	for _, body := range d.asked {
		c.check("asked about what was open", strings.HasPrefix(body, "later_"), "got", body)
	}
	return nil
}
