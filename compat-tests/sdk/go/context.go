// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

var (
	instances int64
	output    sync.Mutex
)

// checkFailed is what a check throws: something that should hold did not.
type checkFailed string

func (f checkFailed) Error() string { return string(f) }

// Context is one run of a scenario: its parameters, its output, and the clients to close after it.
type Context struct {
	id       int64
	with     map[string]string
	start    time.Time
	stopping chan struct{}
	once     sync.Once
	lock     sync.Mutex
	closings []func() error
	shared   rocketmq.Producer
}

func newContext(id int64, with map[string]string) *Context {
	return &Context{id: id, with: with, start: time.Now(), stopping: make(chan struct{})}
}

func (c *Context) get(key string) string {
	value, found := c.with[key]
	if !found {
		panic(checkFailed("the parameter '" + key + "' is missing"))
	}
	return value
}

func (c *Context) getOr(key, absent string) string {
	if value, found := c.with[key]; found {
		return value
	}
	return absent
}

func (c *Context) number(key string, absent int) int {
	number, err := strconv.Atoi(c.getOr(key, strconv.Itoa(absent)))
	c.must(key, err)
	return number
}

// name is a name of this run's own, for a topic or a group.
func (c *Context) name(suffix string) string { return c.get("prefix") + "_" + suffix }

// instance is a name that no other client of the process has, so that clients share no connection.
func (c *Context) instance() string {
	return fmt.Sprintf("g%dx%d", os.Getpid(), atomic.AddInt64(&instances, 1))
}

func (c *Context) namesrv() primitive.NamesrvAddr { return primitive.NamesrvAddr{c.get("namesrv")} }

func (c *Context) step(step string, pairs ...any) {
	line := map[string]any{"id": c.id, "step": step, "ms": time.Since(c.start).Milliseconds()}
	for i := 0; i+1 < len(pairs); i += 2 {
		line[pairs[i].(string)] = pairs[i+1]
	}
	write(line)
}

func (c *Context) check(step string, held bool, pairs ...any) {
	c.step(step, append([]any{"ok", held}, pairs...)...)
	if !held {
		panic(checkFailed(step))
	}
}

func (c *Context) equal(step string, expected, actual any) {
	if reflect.DeepEqual(expected, actual) {
		c.check(step, true)
		return
	}
	c.check(step, false, "expected", shortened(expected), "actual", shortened(actual))
}

func (c *Context) must(step string, err error) {
	if err != nil {
		c.check(step, false, "error", err.Error())
	}
}

func shortened(value any) string {
	text := fmt.Sprint(value)
	if len(text) > 600 {
		return text[:600] + "..."
	}
	return text
}

func (c *Context) done(err error) {
	line := map[string]any{"id": c.id, "done": true, "ok": err == nil}
	if err != nil {
		line["error"] = err.Error()
	}
	write(line)
}

func write(line map[string]any) {
	text, err := json.Marshal(line)
	if err != nil {
		text = []byte(`{"error":"a line that is no JSON"}`)
	}
	output.Lock()
	defer output.Unlock()
	_, _ = os.Stdout.Write(append(text, '\n'))
}

func (c *Context) stop() { c.once.Do(func() { close(c.stopping) }) }

func (c *Context) stopped() bool {
	select {
	case <-c.stopping:
		return true
	default:
		return false
	}
}

// closing remembers a client to close at the end of the scenario, last first.
func (c *Context) closing(closing func() error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.closings = append(c.closings, closing)
}

func (c *Context) close() error {
	c.lock.Lock()
	defer c.lock.Unlock()
	var first error
	for i := len(c.closings) - 1; i >= 0; i-- {
		if err := c.closings[i](); err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (c *Context) newProducer(options ...producer.Option) rocketmq.Producer {
	all := append([]producer.Option{
		producer.WithNameServer(c.namesrv()),
		producer.WithGroupName(c.name("producer")),
		producer.WithInstanceName(c.instance()),
		producer.WithSendMsgTimeout(10 * time.Second),
	}, options...)
	if key := c.getOr("access_key", ""); key != "" {
		all = append(all, producer.WithCredentials(primitive.Credentials{AccessKey: key, SecretKey: c.getOr("secret_key", "")}))
	}
	made, err := rocketmq.NewProducer(all...)
	c.must("make a producer", err)
	c.must("start the producer", made.Start())
	c.closing(made.Shutdown)
	return made
}

// producer is that of this scenario, started.
func (c *Context) producer() rocketmq.Producer {
	if c.shared == nil {
		c.shared = c.newProducer()
	}
	return c.shared
}

// topic makes a new topic with that many queues and returns its name once the name server tells its route.
func (c *Context) topic(suffix string, queues int) string {
	topic := c.name(suffix)
	c.createTopic(topic, queues)
	return topic
}

func (c *Context) createTopic(topic string, queues int) {
	made, err := admin.NewAdmin(admin.WithResolver(primitive.NewPassthroughResolver(c.namesrv())))
	c.must("make an admin client", err)
	defer func() { _ = made.Close() }()
	err = made.CreateTopic(context.Background(), admin.WithTopicCreate(topic), admin.WithBrokerAddrCreate(c.get("broker")),
		admin.WithReadQueueNums(queues), admin.WithWriteQueueNums(queues))
	c.must("create the topic", err)
	c.awaitRoute(made, topic, queues)
}

// awaitTopic waits until the name server tells the route of a topic that the broker makes.
func (c *Context) awaitTopic(topic string, queues int) {
	made, err := admin.NewAdmin(admin.WithResolver(primitive.NewPassthroughResolver(c.namesrv())))
	c.must("make an admin client", err)
	defer func() { _ = made.Close() }()
	c.awaitRoute(made, topic, queues)
}

func (c *Context) awaitRoute(made admin.Admin, topic string, queues int) {
	seen := 0
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		found, err := made.FetchPublishMessageQueues(context.Background(), topic)
		if err == nil {
			seen = len(found)
		}
		if seen == queues {
			return
		}
	}
	c.check("route of "+topic, false, "queues", seen, "wanted", queues)
}

// send sends one message to each body and returns the bodies.
func (c *Context) send(topic, word string, count int) []string {
	bodies := make([]string, 0, count)
	for i := 0; i < count; i++ {
		body := fmt.Sprintf("%s-%d", word, i)
		c.sendOne(primitive.NewMessage(topic, []byte(body)))
		bodies = append(bodies, body)
	}
	return bodies
}

func (c *Context) sendOne(message *primitive.Message) *primitive.SendResult {
	result, err := c.producer().SendSync(context.Background(), message)
	c.must("send", err)
	if result.Status != primitive.SendOK {
		c.check("send", false, "result", result.String())
	}
	return result
}
