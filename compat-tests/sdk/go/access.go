// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	grpc "github.com/apache/rocketmq-clients/golang/v5"
)

// A user (the parameters access_key and secret_key) who may use topic and group, and not forbidden.

func init() {
	scenarios["access"] = access
	scenarios["grpc_access"] = grpcAccess
}

const denial = "has no permission to access Topic:"

func (c *Context) bodiesToSend() []string {
	var bodies []string
	for i := 0; i < 5; i++ {
		bodies = append(bodies, c.name(fmt.Sprintf("body%d", i)))
	}
	return bodies
}

// allCame tells whether every body is among those that came: the topic may hold those of other runs.
func allCame(bodies, came []string) bool {
	known := map[string]bool{}
	for _, body := range came {
		known[body] = true
	}
	for _, body := range bodies {
		if !known[body] {
			return false
		}
	}
	return true
}

func access(c *Context) error {
	bodies := c.bodiesToSend()
	for _, body := range bodies {
		c.sendOne(primitive.NewMessage(c.get("topic"), []byte(body)))
	}
	_, err := c.producer().SendSync(context.Background(), primitive.NewMessage(c.get("forbidden"), []byte("x")))
	c.check("forbidden", err != nil && strings.Contains(err.Error(), denial), "error", fmt.Sprint(err))
	push := c.push(c.get("group"), c.get("topic"), "*")
	var came []string
	for deadline := time.Now().Add(90 * time.Second); time.Now().Before(deadline) && !allCame(bodies, came); time.Sleep(50 * time.Millisecond) {
		came = nil
		for _, message := range push.all() {
			came = append(came, string(message.Body))
		}
	}
	c.check("all came", allCame(bodies, came), "came", fmt.Sprint(came))
	return nil
}

func grpcAccess(c *Context) error {
	topic, forbidden := c.get("topic"), c.get("forbidden")
	producer := c.grpcProducer(grpc.WithTopics(topic))
	bodies := c.bodiesToSend()
	for _, body := range bodies {
		c.grpcSend(producer, grpcMessage(topic, body))
	}
	_, err := producer.Send(context.Background(), grpcMessage(forbidden, "x"))
	c.check("forbidden", err != nil && strings.Contains(err.Error(), denial), "error", fmt.Sprint(err))
	consumer := c.grpcSimple(c.get("group"), topic, grpc.SUB_ALL)
	var came []string
	for deadline := time.Now().Add(90 * time.Second); time.Now().Before(deadline) && !allCame(bodies, came); {
		for _, view := range c.receive(consumer, 16) {
			c.must("acknowledge", consumer.Ack(context.Background(), view))
			came = append(came, string(view.GetBody()))
		}
	}
	c.check("all came", allCame(bodies, came), "came", fmt.Sprint(came))
	return nil
}
