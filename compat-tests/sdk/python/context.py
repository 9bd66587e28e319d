# SPDX-License-Identifier: Apache-2.0

"""One run of a scenario: its parameters, its output, and the clients to close after it."""

import json
import sys
import threading
import time

from rocketmq import (ClientConfiguration, Credentials, FilterExpression, LitePushConsumer, LiteSimpleConsumer, Message,
                      MessageListener, Producer, PushConsumer, SimpleConsumer)

OUTPUT = threading.Lock()


class CheckFailed(Exception):
    """Something that should hold did not."""


class Listener(MessageListener):
    """Hands each message to a function."""

    def __init__(self, consume):
        self._consume = consume

    def consume(self, message):
        return self._consume(message)


class Context:
    def __init__(self, number, given):
        self._number = number
        self._given = given
        self._begin = time.monotonic()
        self._stopping = threading.Event()
        self._closings = []

    def get(self, key, absent=None):
        value = self._given.get(key, absent)
        if value is None:
            raise CheckFailed(f"the parameter '{key}' is missing")
        return value

    def name(self, suffix):
        """A name of this run's own, for a topic or a group."""
        return f"{self.get('prefix')}_{suffix}"

    def step(self, step, **more):
        took = int((time.monotonic() - self._begin) * 1000)
        self._say({"id": self._number, "step": step, "ms": took, **more})

    def check(self, step, held, **more):
        self.step(step, ok=bool(held), **more)
        if not held:
            raise CheckFailed(step)

    def equal(self, step, expected, actual):
        if expected == actual:
            self.check(step, True)
        else:
            self.check(step, False, expected=repr(expected)[:600], actual=repr(actual)[:600])

    def done(self, error):
        line = {"id": self._number, "done": True, "ok": error is None}
        if error is not None:
            line["error"] = error
        self._say(line)

    @staticmethod
    def _say(line):
        with OUTPUT:
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()

    def stop(self):
        self._stopping.set()

    def stopped(self):
        return self._stopping.is_set()

    def close(self):
        """Closes the clients, last first, and returns the first error."""
        error = None
        for client in reversed(self._closings):
            try:
                client.shutdown()
            except Exception as failed:
                error = error or f"shutdown: {failed!r}"
        return error

    def within(self, seconds, held):
        deadline = time.monotonic() + seconds
        while not held():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def _configuration(self):
        credentials = Credentials(self.get("access_key", ""), self.get("secret_key", ""))
        return ClientConfiguration(self.get("endpoints"), credentials, request_timeout=10)

    def _tls(self):
        return self.get("ssl", "false") == "true"

    def _start(self, client):
        client.startup()
        self._closings.append(client)
        return client

    def producer(self, topic, checker=None):
        return self._start(Producer(self._configuration(), (topic,), checker=checker, tls_enable=self._tls()))

    def simple(self, group, topic, expression=None):
        return self._start(SimpleConsumer(
            self._configuration(), group, {topic: expression or FilterExpression()}, await_duration=5,
            tls_enable=self._tls()))

    def push(self, group, topic, consume):
        return self._start(PushConsumer(
            self._configuration(), group, Listener(consume), {topic: FilterExpression()}, consumption_thread_count=4,
            tls_enable=self._tls()))

    def lite_push(self, group, parent, consume):
        return self._start(LitePushConsumer(
            self._configuration(), group, parent, Listener(consume), consumption_thread_count=4,
            tls_enable=self._tls()))

    def lite_simple(self, group, parent):
        return self._start(LiteSimpleConsumer(
            parent, self._configuration(), group, await_duration=5, tls_enable=self._tls()))

    def take(self, consumer, count, seconds):
        """Receives and acknowledges until so many came or the time is over."""
        everything = []
        deadline = time.monotonic() + seconds
        while len(everything) < count and time.monotonic() < deadline:
            for message in consumer.receive(16, 30) or []:
                consumer.ack(message)
                everything.append(message)
        return everything


def message(topic, body):
    made = Message()
    made.topic = topic
    made.body = body.encode()
    return made


def bodies(messages):
    return sorted(one.body.decode() for one in messages)
