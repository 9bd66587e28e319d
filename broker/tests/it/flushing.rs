// SPDX-License-Identifier: Apache-2.0
//! Synchronous flush: who is answered when, and how, by the sends of one turn.

use std::sync::Arc;

use aerobee_message::batch;
use serde_json::{Value, json};

use crate::support::{
    Client, Message, Running,
    gate::{Gate, Opens, Syncs},
};

const SUCCESS: i64 = 0;
const FLUSH_DISK_TIMEOUT: i64 = 10;
const MESSAGE_ILLEGAL: i64 = 13;

/// A send to a queue with these properties, and a key.
fn send(queue: i32, key: &str, more: &str) -> (i32, Value, &'static [u8]) {
    let fields = json!({
        "a": "producers", "b": "orders", "c": "TBW102", "d": "4", "e": queue.to_string(), "f": "0",
        "g": "1700000000000", "h": "0", "i": format!("UNIQ_KEY\u{1}{key}\u{2}{more}"),
        "j": "0", "k": "false", "m": "false", "n": "broker-a",
    });
    (310, fields, b"x")
}

/// Number of a request, code, key, queue and offset of an answer.
fn told(answer: &Message) -> (i64, i64, String, String) {
    let place = format!(
        "{}:{}",
        answer.field("queueId"),
        answer.field("queueOffset")
    );
    let number = answer.header["opaque"].as_i64().unwrap();
    (
        number,
        answer.code(),
        answer.field("transactionId").to_owned(),
        place,
    )
}

fn expected(number: i64, code: i64, key: &str, place: &str) -> (i64, i64, String, String) {
    (number, code, key.to_owned(), place.to_owned())
}

async fn start(gate: &Arc<Gate>) -> (Running, Client) {
    let keys = [("flushDiskType", "SYNC_FLUSH")];
    let running = Running::start_on(tempfile::tempdir().unwrap(), &keys, gate.env()).await;
    let mut client = running.connect().await;
    client.create_topic("orders", 2).await;
    // The queues are made by their first messages, aside.
    client.send("orders", 0, "first").await;
    client.send("orders", 1, "first").await;
    (running, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_of_one_turn_are_answered_when_they_are_durable() {
    let gate = Arc::new(Gate::default());
    let _opens = Opens(Arc::clone(&gate));
    let (running, mut client) = start(&gate).await;
    let mut consumer = running.connect().await;
    let pull = json!({
        "consumerGroup": "g", "topic": "orders", "queueId": "1", "queueOffset": "1", "maxMsgNums": "32",
        "sysFlag": "6", "commitOffset": "0", "suspendTimeoutMillis": "60000", "subscription": "*",
        "subVersion": "0", "expressionType": "TAG",
    });
    consumer.park(11, pull).await;
    gate.set(Syncs::Wait);
    let first = client
        .ask_at_once(&[
            send(0, "a", ""),
            send(1, "b", ""),
            send(0, "c", "WAIT\u{1}false\u{2}"),
            send(0, "d", "INNER_NUM\u{1}2\u{2}"),
            send(0, "e", ""),
        ])
        .await;
    // Those who do not wait, and those who have nothing to wait for, come first.
    let refused = told(&client.parked().await);
    assert_eq!(refused, expected(first + 3, MESSAGE_ILLEGAL, "", ":"));
    let careless = told(&client.parked().await);
    assert_eq!(careless, expected(first + 2, SUCCESS, "c", "0:2"));
    // Nobody sees what is not durable.
    let end = json!({"topic": "orders", "queueId": "0"});
    assert_eq!(client.ask(30, end, &[]).await.field("offset"), "1");
    gate.set(Syncs::Pass);
    let mut durable = Vec::new();
    for _ in 0..3 {
        durable.push(told(&client.parked().await));
    }
    assert_eq!(
        durable,
        [
            expected(first, SUCCESS, "a", "0:1"),
            expected(first + 1, SUCCESS, "b", "1:1"),
            expected(first + 4, SUCCESS, "e", "0:3"),
        ]
    );
    let pulled = consumer.parked().await;
    assert_eq!(
        (pulled.code(), pulled.field("nextBeginOffset")),
        (SUCCESS, "2")
    );
    running.broker.stop().await.unwrap();
}

#[tokio::test]
async fn a_batch_that_stays_whole_is_answered_with_its_key() {
    let running = Running::start_with(&[("flushDiskType", "SYNC_FLUSH")]).await;
    let mut client = running.connect().await;
    let whole = json!({
        "topic": "whole", "defaultTopic": "TBW102", "readQueueNums": "1", "writeQueueNums": "1",
        "perm": "6", "topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false",
        "attributes": "+queue.type=BatchCQ",
    });
    assert_eq!(client.ask(17, whole, &[]).await.code(), SUCCESS);
    let mut body = Vec::new();
    for text in [b"one", b"two"] {
        batch::push(&mut body, 0, text, b"");
    }
    let fields = json!({
        "a": "producers", "b": "whole", "c": "TBW102", "d": "4", "e": "0", "f": "0", "g": "5", "h": "0",
        "i": "UNIQ_KEY\u{1}U1\u{2}", "m": "true",
    });
    let answer = client.ask(320, fields, &body).await;
    let keys = ["transactionId", "batchUniqId"].map(|name| answer.field(name).to_owned());
    assert_eq!(
        (answer.code(), keys),
        (SUCCESS, ["U1", "U1"].map(str::to_owned))
    );
    running.broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_of_one_turn_hear_of_a_sync_that_fails() {
    let gate = Arc::new(Gate::default());
    let (running, mut client) = start(&gate).await;
    gate.set(Syncs::Fail);
    let first = client
        .ask_at_once(&[send(0, "a", ""), send(1, "b", "")])
        .await;
    for (number, key, place) in [(first, "a", "0:1"), (first + 1, "b", "1:1")] {
        let answer = client.parked().await;
        assert_eq!(
            told(&answer),
            expected(number, FLUSH_DISK_TIMEOUT, key, place)
        );
        assert!(
            answer.remark().contains("flushing the disk failed"),
            "{answer:?}"
        );
    }
    gate.set(Syncs::Pass);
    // What a failed sync has lost, a later one does not bring back.
    let (code, fields, body) = send(0, "c", "");
    assert_eq!(client.ask(code, fields, body).await.code(), 14);
    let _ = running.broker.stop().await;
}
