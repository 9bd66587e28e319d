# SPDX-License-Identifier: Apache-2.0

"""The scenarios. The topics PREFIX_normal, _fifo, _delay and _transaction and the groups PREFIX_group, _group2 and
_fifo_group are there before one begins."""

import threading
import time

from context import bodies, message
from rocketmq import ConsumeResult, FilterExpression, TransactionChecker, TransactionResolution
from rocketmq.grpc_protocol import FilterType


def send_and_receive(c):
    topic = c.name("normal")
    producer = c.producer(topic)
    ids = {}
    for i in range(30):
        one = message(topic, f"größe-消息-{i:02}")
        one.tag = "tag"
        one.keys = f"k{i}"
        one.keys = "all"
        one.add_property("number", str(i))
        one.add_property("städte", "Zürich 東京")
        ids[one.body.decode()] = producer.send(one).message_id
    consumer = c.simple(c.name("group"), topic)
    got = c.take(consumer, 30, 60)
    c.equal("bodies", sorted(ids), bodies(got))
    for one in got:
        body, number = one.body.decode(), one.properties["number"]
        c.equal("tag", "tag", one.tag)
        c.equal("keys", {f"k{number}", "all"}, set(one.keys))
        c.equal("body and property", f"größe-消息-{number:0>2}", body)
        c.equal("properties", {"number": number, "städte": "Zürich 東京"}, dict(one.properties))
        c.equal("attempt", 1, one.delivery_attempt)
        c.equal("id", ids[body], one.message_id)
        c.equal("topic", topic, one.topic)
        c.check("whole", not one.corrupted and one.born_host)
    c.equal("nothing more", [], consumer.receive(16, 30) or [])


def fifo(c):
    topic = c.name("fifo")
    producer = c.producer(topic)
    expected, got, lock = {}, {}, threading.Lock()
    for i in range(30):
        one = message(topic, str(i))
        one.message_group = f"g{i % 3}"
        producer.send(one)
        expected.setdefault(one.message_group, []).append(i)

    def consume(one):
        with lock:
            got.setdefault(one.message_group, []).append(int(one.body))
        return ConsumeResult.SUCCESS

    c.push(c.name("fifo_group"), topic, consume)
    c.check("all came", c.within(90, lambda: sum(map(len, list(got.values()))) >= 30))
    c.equal("order", expected, got)


def delay(c):
    topic = c.name("delay")
    producer = c.producer(topic)
    consumer = c.simple(c.name("group"), topic)
    one = message(topic, "later")
    due = int(time.time()) + 5
    one.delivery_timestamp = due
    producer.send(one)
    got = c.take(consumer, 1, 60)
    late = time.time() - due
    c.equal("came", ["later"], bodies(got))
    c.check("not before its time", late > -1.5, late=late)


def recall(c):
    topic = c.name("delay")
    producer = c.producer(topic)
    receipts = {}
    for body in ["recalled", "stays"]:
        one = message(topic, body)
        one.delivery_timestamp = int(time.time()) + 8
        receipts[body] = producer.send(one)
    answer = producer.recall_message(topic, receipts["recalled"].recall_handle)
    c.equal("id", receipts["recalled"].message_id, answer)
    consumer = c.simple(c.name("group"), topic)
    c.equal("only the other", ["stays"], bodies(c.take(consumer, 1, 60)))
    c.equal("nothing more", [], consumer.receive(16, 30) or [])


class Checker(TransactionChecker):
    def __init__(self):
        self.asked = set()

    def check(self, one):
        self.asked.add(one.body.decode())
        return TransactionResolution.COMMIT


def transactions(c):
    topic = c.name("transaction")
    checker = Checker()
    producer = c.producer(topic, checker)
    transaction = {}
    for body in ["committed", "rolled back", "checked"]:
        transaction[body] = producer.begin_transaction()
        producer.send(message(topic, body), transaction[body])
    consumer = c.simple(c.name("group"), topic)
    transaction["committed"].commit()
    transaction["rolled back"].rollback()
    c.equal("committed", ["committed"], bodies(c.take(consumer, 1, 60)))
    c.equal("checked", ["checked"], bodies(c.take(consumer, 1, 150)))
    c.equal("asked about", {"checked"}, checker.asked)


def invisible(c):
    topic = c.name("normal")
    c.producer(topic).send(message(topic, "again"))
    consumer = c.simple(c.name("group"), topic)
    got = []

    def came():
        got.extend(consumer.receive(1, 30) or [])
        return got

    c.check("came", c.within(60, came))
    first = got[0]
    before, changed = first.receipt_handle, time.monotonic()
    consumer.change_invisible_duration(first, 4)
    c.check("another receipt", first.receipt_handle != before)
    again = c.take(consumer, 1, 60)
    waited = time.monotonic() - changed
    c.equal("came again", ["again"], bodies(again))
    c.check("after its time", waited > 3, waited=waited)
    c.equal("counted", 2, again[0].delivery_attempt)
    c.equal("the same", first.message_id, again[0].message_id)
    c.equal("gone", [], consumer.receive(16, 30) or [])


def push(c):
    topic = c.name("normal")
    producer = c.producer(topic)
    attempts, done, lock = {}, set(), threading.Lock()

    def consume(one):
        body = one.body.decode()
        with lock:
            tries = attempts.setdefault(body, [])
            tries.append(one.delivery_attempt)
            if body == "m7" and len(tries) == 1:
                return ConsumeResult.FAILURE
            done.add(body)
        return ConsumeResult.SUCCESS

    c.push(c.name("group"), topic, consume)
    for i in range(30):
        producer.send(message(topic, f"m{i}"))
    c.check("all came", c.within(120, lambda: len(done) >= 30))
    c.equal("the failed one twice", [1, 2], attempts["m7"])
    c.equal("each other once", 29, sum(len(tries) == 1 for tries in attempts.values()))


def filters(c):
    topic = c.name("normal")
    producer = c.producer(topic)
    for i in range(12):
        one = message(topic, f"m{i}")
        one.tag = f"t{i % 3}"
        one.add_property("n", str(i))
        producer.send(one)
    tags = c.simple(c.name("group"), topic, FilterExpression("t0 || t2"))
    c.equal("by tag", ["m0", "m11", "m2", "m3", "m5", "m6", "m8", "m9"], bodies(c.take(tags, 8, 60)))
    if c.get("sql", "true") == "true":
        sql = c.simple(c.name("group2"), topic, FilterExpression("n IS NOT NULL AND n > 8", FilterType.SQL))
        c.equal("by SQL", ["m10", "m11", "m9"], bodies(c.take(sql, 3, 60)))


def wrong_type(c):
    topic = c.name("normal")
    producer = c.producer(topic)
    grouped = message(topic, "x")
    grouped.message_group = "g"
    for step, one in [("refused", grouped), ("unknown topic", message(c.name("nowhere"), "x"))]:
        why = ""
        try:
            producer.send(one)
        except Exception as failed:
            why = repr(failed)
        c.check(step, why, why=why)
    producer.send(message(topic, "fine"))


def produce(c):
    """Parameters topic, word, count, and type: normal, fifo or delay."""
    topic, word = c.get("topic"), c.get("word")
    producer = c.producer(topic)
    for i in range(int(c.get("count", "1"))):
        one = message(topic, f"{word}:{i}")
        one.tag = ["even", "odd"][i % 2]
        one.keys = f"{word}{i}"
        one.keys = "all"
        one.add_property("from", word)
        if c.get("type", "normal") == "fifo":
            one.message_group = "one"
        elif c.get("type", "normal") == "delay":
            one.delivery_timestamp = int(time.time()) + 3
        c.step("sent", body=one.body.decode(), msg=producer.send(one).message_id)


def consume(c):
    """Parameters topic, group; until told to stop."""
    consumer = c.simple(c.get("group"), c.get("topic"))
    c.step("ready")
    while not c.stopped():
        for one in consumer.receive(16, 30) or []:
            c.step("message", body=one.body.decode(), tag=one.tag or "", keys=" ".join(one.keys),
                   msg=one.message_id, **{"from": one.properties.get("from", "")})
            consumer.ack(one)


def priority(c):
    topic = c.name("priority")
    producer = c.producer(topic)
    for level in (1, 2):
        one = message(topic, str(level))
        one.priority = level
        producer.send(one)
    consumer = c.simple(c.name("group"), topic)
    order, deadline = [], time.monotonic() + 60
    while len(order) < 2 and time.monotonic() < deadline:
        for one in consumer.receive(1, 30) or []:
            consumer.ack(one)
            order.append((one.body.decode(), one.priority))
    c.equal("order", [("2", 2), ("1", 1)], order)


def send_lite(producer, parent, lite, body):
    one = message(parent, body)
    one.lite_topic = lite
    producer.send(one)


def lite_push(c):
    parent, got, lock, refused = c.name("lite"), {}, threading.Lock(), []
    producer = c.producer(parent)

    def consume(one):
        with lock:
            if one.body == b"a3" and not refused:
                refused.append(one)
                return ConsumeResult.FAILURE
            got.setdefault(one.lite_topic, []).append(one.body.decode())
        return ConsumeResult.SUCCESS

    consumer = c.lite_push(c.name("lite_group"), parent, consume)
    consumer.subscribe_lite("a")
    consumer.subscribe_lite("b")
    for i in range(5):
        for lite in ("a", "b", "nobody"):
            send_lite(producer, parent, lite, f"{lite}{i}")
    in_order = {lite: [f"{lite}{i}" for i in range(5)] for lite in ("a", "b")}
    c.check("all came", c.within(90, lambda: sum(map(len, list(got.values()))) >= 10))
    c.equal("in order, without what nobody wants", in_order, got)
    c.equal("one came again", 1, len(refused))
    consumer.unsubscribe_lite("b")
    send_lite(producer, parent, "b", "b5")
    send_lite(producer, parent, "a", "a5")
    c.check("what is left", c.within(60, lambda: "a5" in got["a"]))
    c.equal("nothing of the other", in_order["b"], got["b"])


def lite_simple(c):
    parent = c.name("lite")
    producer = c.producer(parent)
    consumer = c.lite_simple(c.name("lite_group"), parent)
    consumer.subscribe_lite("a")
    for i in range(3):
        send_lite(producer, parent, "a", f"a{i}")
        send_lite(producer, parent, "nobody", f"n{i}")

    def take(count):
        """In the order in which they come."""
        taken, deadline = [], time.monotonic() + 60
        while len(taken) < count and time.monotonic() < deadline:
            for one in consumer.receive(16, 30) or []:
                c.equal("lite topic", "a", one.lite_topic)
                consumer.ack(one)
                taken.append(one.body.decode())
        return taken

    c.equal("in order", ["a0", "a1", "a2"], take(3))
    c.equal("nothing more", [], bodies(consumer.receive(16, 30) or []))
    send_lite(producer, parent, "a", "a3")
    left = []
    c.check("came", c.within(60, lambda: left.extend(consumer.receive(16, 10) or []) or left))
    c.equal("the next", ["a3"], bodies(left))
    c.equal("it came again", ["a3"], take(1))
    consumer.unsubscribe_lite("a")
    send_lite(producer, parent, "a", "a4")
    c.equal("not subscribed", [], bodies(consumer.receive(16, 30) or []))
    consumer.subscribe_lite("a")
    c.equal("subscribed again", ["a4"], take(1))


def access(c):
    """A user (access_key, secret_key) who may use topic and group, and not forbidden."""
    topic, forbidden = c.get("topic"), c.get("forbidden")
    producer = c.producer(topic)
    sent = {c.name(f"body{i}") for i in range(5)}
    for body in sent:
        producer.send(message(topic, body))
    refusal = ""
    try:
        c.producer(forbidden).send(message(forbidden, "x"))
    except Exception as refused:
        refusal = repr(refused)
    # The SDK tells that the route could not be fetched, and not why.
    c.check("forbidden", refusal, refusal=refusal)
    consumer = c.simple(c.get("group"), topic)
    got, deadline = set(), time.monotonic() + 90
    while not sent <= got and time.monotonic() < deadline:
        got |= set(bodies(c.take(consumer, 1, 10)))
    c.check("all came", sent <= got, got=sorted(got))


SCENARIOS = {
    "grpc_access": access,
    "grpc_consume": consume,
    "grpc_delayed_message_comes_in_time": delay,
    "grpc_fifo_keeps_order": fifo,
    "grpc_higher_priority_comes_first": priority,
    "grpc_invisible_duration_changes": invisible,
    "grpc_lite_push_subscribes_and_unsubscribes": lite_push,
    "grpc_lite_simple_receives_in_order": lite_simple,
    "grpc_produce": produce,
    "grpc_push_consumes_and_retries": push,
    "grpc_recalled_message_never_comes": recall,
    "grpc_send_and_receive": send_and_receive,
    "grpc_tags_and_sql_filter": filters,
    "grpc_transactions_commit_rollback_and_check": transactions,
    "grpc_wrong_type_is_refused": wrong_type,
}
