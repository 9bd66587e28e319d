// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"
)

func groupsEach(c *Context) error {
	topic := c.topic("groups", 4)
	pushes := []*Push{c.push(c.name("group_a"), topic, "*"), c.push(c.name("group_b"), topic, "*")}
	sent := c.send(topic, "both", 200)
	for _, push := range pushes {
		c.check("group gets all", awaitBodies(60, sent, push), "got", len(push.all()))
		c.equal("once", 200, len(push.all()))
	}
	return nil
}

func groupTakeOver(c *Context) error {
	topic := c.topic("share", 8)
	group := c.name("share_group")
	first := c.push(group, topic, "*")
	second := c.push(group, topic, "*")
	split := false
	for deadline, round := time.Now().Add(80*time.Second), 0; !split && time.Now().Before(deadline); round++ {
		first.clear()
		second.clear()
		now := c.send(topic, fmt.Sprintf("round%d", round), 32)
		c.check("the group gets all", awaitBodies(60, now, first, second))
		one, two := first.queues(), second.queues()
		every := map[int]bool{}
		for queue := range one {
			every[queue] = true
		}
		for queue := range two {
			every[queue] = true
		}
		split = len(one) == 4 && len(two) == 4 && len(every) == 8
	}
	c.check("four queues each", split, "first", first.queues(), "second", second.queues())
	c.must("shutdown", second.shutdown())
	first.clear()
	rest := c.send(topic, "alone", 32)
	c.check("the one left gets all", awaitBodies(60, rest, first), "queues", first.queues())
	return nil
}

func groupRestart(c *Context) error {
	topic := c.topic("restart", 4)
	group := c.name("restart_group")
	before := c.send(topic, "before", 40)
	first := c.push(group, topic, "*")
	c.check("the first gets all", awaitBodies(60, before, first))
	c.check("and consumes it", first.consumed(topic))
	c.must("shutdown", first.shutdown())
	wanted := c.send(topic, "between", 40)
	second := c.push(group, topic, "*")
	wanted = append(wanted, c.send(topic, "after", 40)...)
	c.check("the second goes on", awaitBodies(60, wanted, second), "got", len(second.all()))
	c.equal("each once", 80, len(second.all()))
	return nil
}
