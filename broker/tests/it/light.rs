// SPDX-License-Identifier: Apache-2.0
//! Light queues: messages that name them, and pulls from them.

use aerobee_message::{properties::keys, record::RecordView};
use serde_json::json;

use crate::support::{Client, Message, Running};

const ON: [(&str, &str); 2] = [("enableLmq", "true"), ("enableMultiDispatch", "true")];

async fn send(client: &mut Client, names: &str, body: &str) -> Message {
    let properties = format!(
        "{}\u{1}{names}\u{2}WAIT\u{1}true\u{2}",
        keys::INNER_MULTI_DISPATCH
    );
    let fields = json!({
        "a": "producers", "b": "parent", "c": "TBW102", "d": "1", "e": "0", "f": "0",
        "g": "1700000000000", "h": "0", "i": properties,
        "j": "0", "k": "false", "m": "false", "n": "broker-a",
    });
    client.ask(310, fields, body.as_bytes()).await
}

fn pull(topic: &str, offset: i64, suspend: bool) -> serde_json::Value {
    json!({
        "consumerGroup": "g", "topic": topic, "queueId": "0", "queueOffset": offset.to_string(),
        "maxMsgNums": "32", "sysFlag": if suspend { "6" } else { "4" }, "commitOffset": "0",
        "suspendTimeoutMillis": "10000", "subscription": "*", "subVersion": "0",
    })
}

fn bodies(answer: &Message) -> Vec<(String, String)> {
    let mut rest = &answer.body[..];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let record = RecordView::parse(rest).unwrap();
        found.push((
            String::from_utf8(record.body().to_vec()).unwrap(),
            record
                .properties()
                .get(keys::INNER_MULTI_QUEUE_OFFSET)
                .unwrap_or_default()
                .to_owned(),
        ));
        rest = &rest[record.total_len()..];
    }
    found
}

#[tokio::test]
async fn messages_are_pulled_from_the_light_queues_that_they_name() {
    for flush in ["ASYNC_FLUSH", "SYNC_FLUSH"] {
        let keys = [ON[0], ON[1], ("flushDiskType", flush)];
        let running = Running::start_with(&keys).await;
        let mut producer = running.connect().await;
        let mut consumer = running.connect().await;
        // Waits for the first message of a queue that does not exist yet.
        let (pulled, answer) = tokio::join!(
            consumer.ask(11, pull("%LMQ%a", 0, true), &[]),
            send(&mut producer, "%LMQ%a,%LMQ%b", "one")
        );
        assert_eq!(answer.code(), 0, "{answer:?}");
        assert_eq!(pulled.code(), 0, "{pulled:?}");
        assert_eq!(bodies(&pulled), [("one".to_owned(), "0,0".to_owned())]);
        assert_eq!(send(&mut producer, "%LMQ%b", "two").await.code(), 0);
        let pulled = consumer.ask(11, pull("%LMQ%b", 0, false), &[]).await;
        let expected = [("one", "0,0"), ("two", "1")];
        let expected = expected.map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(bodies(&pulled), expected);
        let max = consumer
            .ask(30, json!({"topic": "%LMQ%b", "queueId": "0"}), &[])
            .await;
        assert_eq!(max.field("offset"), "2");
        running.broker.stop().await.unwrap();
    }
}

#[tokio::test]
async fn without_the_switches_light_queues_are_nothing_special() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    assert_eq!(send(&mut client, "%LMQ%a", "one").await.code(), 0);
    let pulled = client.ask(11, pull("%LMQ%a", 0, false), &[]).await;
    assert_eq!(pulled.code(), 17, "{pulled:?}");
    let pulled = client.ask(11, pull("parent", 0, false), &[]).await;
    assert_eq!(bodies(&pulled), [("one".to_owned(), String::new())]);
}
