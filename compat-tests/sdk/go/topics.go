// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func topicCreated(c *Context) error {
	topic := c.topic("created", 6)
	push := c.push(c.name("created_group"), topic, "*")
	sent := c.send(topic, "created", 12)
	c.check("all came", awaitBodies(60, sent, push), "got", push.bodies())
	c.equal("in all queues", 6, len(push.queues()))
	return nil
}

func topicAutomatic(c *Context) error {
	topic := c.name("automatic")
	result := c.sendOne(primitive.NewMessage(topic, []byte("first")))
	c.check("one of four queues", result.MessageQueue.QueueId < 4, "queue", result.MessageQueue.QueueId)
	push := c.push(c.name("automatic_group"), topic, "*")
	c.check("the first message is there", awaitBodies(60, []string{"first"}, push))
	return nil
}
