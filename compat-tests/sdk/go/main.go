// SPDX-License-Identifier: Apache-2.0

// Scenarios on the official Go SDK.
//
//	run SCENARIO key=value...   one scenario; exit code 0 when every step held
//	serve                       scenarios asked for on standard input, many at a time, until it ends
//	list                        the names of the scenarios
//
// The lines asked for and answered are those of the Java program beside this one.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

// Scenario does one thing; it returns nil when everything held.
type Scenario func(c *Context) error

var scenarios = map[string]Scenario{
	"delay_by_level":                             delayByLevel,
	"delay_by_time":                              delayByTime,
	"ordered_across_rebalancing":                 orderedRebalanced,
	"ordered_queue_is_suspended":                 orderedSuspended,
	"trace_to_the_system_topic":                  traceSystem,
	"trace_to_a_topic_of_ones_own":               traceOwn,
	"request_gets_its_reply":                     requestReplied,
	"push_sql_filter":                            pushSQL,
	"push_broadcast_continues_after_restart":     broadcastContinues,
	"push_subscribes_many_topics":                subscribesMany,
	"groups_slow_one_holds_back_nobody":          slowHoldsBackNobody,
	"retry_straight_to_dead_letters":             deadAtOnce,
	"retry_until_dead_letter":                    retryUntilDead,
	"transaction_commit_rollback_and_check_back": transactions,
	"send_sync":                                  sendSync,
	"send_async":                                 sendAsync,
	"send_oneway":                                sendOneway,
	"send_batch":                                 sendBatch,
	"send_bodies_of_all_sizes":                   sendBodies,
	"send_too_large_is_refused":                  sendTooLarge,
	"send_to_one_queue_keeps_order":              sendOneQueue,
	"push_tag_filter":                            pushTagFilter,
	"push_broadcast_reaches_all":                 pushBroadcast,
	"push_from_first_last_timestamp":             pushFromWhere,
	"push_orderly_keeps_queue_order":             pushOrderly,
	"push_waiting_consumer_gets_message_at_once": pushLatency,
	"push_concurrent_backlog":                    pushBacklog,
	"groups_each_get_every_message":              groupsEach,
	"group_members_split_queues_and_take_over":   groupTakeOver,
	"group_continues_after_restart":              groupRestart,
	"pull_from_any_offset":                       pullFrom,
	"pull_poll_and_continue":                     pullPoll,
	"topic_created_by_request":                   topicCreated,
	"topic_created_by_first_send":                topicAutomatic,
	"create":                                     loadCreate,
	"produce":                                    loadProduce,
	"consume":                                    loadConsume,
}

func main() {
	rlog.SetLogLevel("error")
	// An asynchronous send that gets no answer in time makes this SDK read a nil pointer (producer.go, sendAsync), after
	// its callback has the error. That must not end the program, and with it all other scenarios.
	primitive.PanicHandler = func(reason interface{}) {
		fmt.Fprintf(os.Stderr, "panic in the SDK: %v\n%s", reason, debug.Stack())
	}
	command := ""
	if len(os.Args) > 1 {
		command = os.Args[1]
	}
	switch command {
	case "run":
		if !runOne(os.Args[2:]) {
			os.Exit(1)
		}
	case "serve":
		serve()
	case "list":
		for _, name := range names() {
			fmt.Println(name)
		}
	default:
		fmt.Fprintln(os.Stderr, "usage: run SCENARIO namesrv=HOST:PORT broker=HOST:PORT [prefix=WORD] [key=value...] | serve | list")
		os.Exit(2)
	}
}

func names() []string {
	all := make([]string, 0, len(scenarios))
	for name := range scenarios {
		all = append(all, name)
	}
	sort.Strings(all)
	return all
}

func runOne(args []string) bool {
	with := map[string]string{"prefix": fmt.Sprintf("p%d", time.Now().UnixMilli())}
	name := ""
	if len(args) > 0 {
		name = args[0]
		args = args[1:]
	}
	for _, arg := range args {
		key, value, found := strings.Cut(arg, "=")
		if !found {
			fmt.Fprintln(os.Stderr, "not key=value:", arg)
			os.Exit(2)
		}
		with[key] = value
	}
	c := newContext(0, with)
	// A scenario that goes on until told ends with the first line or the end of standard input.
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		c.stop()
	}()
	return perform(name, c)
}

func serve() {
	var running sync.Map
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var asked struct {
			ID       int64             `json:"id"`
			Stop     *int64            `json:"stop"`
			Scenario string            `json:"scenario"`
			With     map[string]string `json:"with"`
		}
		if err := json.Unmarshal(in.Bytes(), &asked); err != nil {
			fmt.Fprintln(os.Stderr, "cannot read the line:", err)
			os.Exit(2)
		}
		if asked.Stop != nil {
			if c, found := running.Load(*asked.Stop); found {
				c.(*Context).stop()
			}
			continue
		}
		c := newContext(asked.ID, asked.With)
		running.Store(asked.ID, c)
		go func() {
			perform(asked.Scenario, c)
			running.Delete(asked.ID)
		}()
	}
}

func perform(name string, c *Context) bool {
	err := guarded(name, c)
	if closing := c.close(); err == nil {
		err = closing
	}
	c.done(err)
	return err == nil
}

func guarded(name string, c *Context) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			if failed, is := cause.(checkFailed); is {
				err = failed
				return
			}
			err = fmt.Errorf("%v\n%s", cause, debug.Stack())
		}
	}()
	scenario, found := scenarios[name]
	if !found {
		return fmt.Errorf("no scenario '%s'; known: %v", name, names())
	}
	return scenario(c)
}
