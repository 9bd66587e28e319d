// SPDX-License-Identifier: Apache-2.0
//! Messages by key (12), and removing what is no longer needed (306, 316, 329).

use aerobee_message::RecordView;
use serde_json::{Value, json};

use crate::support::{Client, Message, Running};

async fn send(client: &mut Client, body: &str, properties: &str) {
    let fields = json!({
        "a": "producers", "b": "orders", "c": "TBW102", "d": "4", "e": "0", "f": "0",
        "g": "1700000000000", "h": "0", "i": properties, "j": "0", "k": "false", "m": "false",
    });
    assert_eq!(client.ask(310, fields, body.as_bytes()).await.code(), 0);
}

fn fields(key: &str) -> Value {
    json!({
        "topic": "orders", "key": key, "maxNum": "32", "beginTimestamp": "0",
        "endTimestamp": i64::MAX.to_string(),
    })
}

fn with(key: &str, name: &str, value: &str) -> Value {
    let mut fields = fields(key);
    fields[name] = json!(value);
    fields
}

fn bodies(message: &Message) -> Vec<String> {
    let mut bodies = Vec::new();
    let mut rest = &message.body[..];
    while !rest.is_empty() {
        let record = RecordView::parse(rest).unwrap();
        bodies.push(String::from_utf8(record.body().to_vec()).unwrap());
        rest = &rest[record.total_len()..];
    }
    bodies
}

async fn with_messages(keys: &[(&str, &str)]) -> (Running, Client) {
    let running = Running::start_with(keys).await;
    let mut client = running.connect().await;
    client.create_topic("orders", 1).await;
    send(
        &mut client,
        "one",
        "KEYS\x01a b\x02UNIQ_KEY\x01U1\x02TAGS\x01red\x02",
    )
    .await;
    send(&mut client, "two", "KEYS\x01b\x02UNIQ_KEY\x01U2\x02").await;
    (running, client)
}

#[tokio::test]
async fn messages_are_found_by_keys_unique_keys_and_tags() {
    let (_running, mut client) = with_messages(&[]).await;
    for (fields, expected) in [
        (fields("a"), vec!["one"]),
        (fields("b"), vec!["one", "two"]),
        (with("U2", "_UNIQUE_KEY_QUERY", "true"), vec!["two"]),
        (with("U2", "indexType", "U"), vec!["two"]),
        (with("b", "indexType", "K"), vec!["one", "two"]),
        (with("red", "indexType", "T"), vec!["one"]),
        (with("b", "maxNum", "1"), vec!["two"]),
    ] {
        let answer = client.ask(12, fields.clone(), &[]).await;
        assert_eq!(answer.code(), 0, "{fields}");
        assert_eq!(bodies(&answer), expected, "{fields}");
        let at: i64 = answer.field("indexLastUpdatePhyoffset").parse().unwrap();
        let time: i64 = answer.field("indexLastUpdateTimestamp").parse().unwrap();
        assert!(at > 0 && time > 1_700_000_000_000);
    }
}

#[tokio::test]
async fn what_is_not_found_is_said_in_apaches_words() {
    let (_running, mut client) = with_messages(&[]).await;
    for fields in [
        fields("none"),
        fields("red"),
        with("a", "endTimestamp", "1000"),
        with("a", "maxNum", "-1"),
        with("a", "topic", "none"),
    ] {
        let answer = client.ask(12, fields.clone(), &[]).await;
        assert_eq!(answer.code(), 22, "{fields}");
        assert_eq!(
            answer.remark(),
            "can not find message, maybe time range not correct"
        );
        assert_eq!(answer.field("indexLastUpdatePhyoffset"), "0");
        assert!(answer.body.is_empty());
    }
    let mut lacking = fields("a");
    lacking.as_object_mut().unwrap().remove("topic");
    assert_eq!(client.ask(12, lacking, &[]).await.code(), 1);
}

#[tokio::test]
async fn keys_are_not_found_where_that_is_switched_off() {
    let (_running, mut client) = with_messages(&[("messageIndexEnable", "false")]).await;
    assert_eq!(client.ask(12, fields("a"), &[]).await.code(), 22);
    let (_running, mut client) = with_messages(&[("indexFileReadEnable", "false")]).await;
    assert_eq!(client.ask(12, fields("a"), &[]).await.code(), 22);
    let (_running, mut client) = with_messages(&[("maxMsgsNumBatch", "1")]).await;
    assert_eq!(bodies(&client.ask(12, fields("b"), &[]).await), ["two"]);
}

#[tokio::test]
async fn queues_and_offsets_of_topics_without_configuration_go() {
    let (running, mut client) = with_messages(&[]).await;
    let offsets = |topic: &str| json!({"consumerGroup": "g", "topic": topic, "queueId": "0"});
    client.consume("c1", "g", "orders").await;
    for topic in ["orders", "gone"] {
        let mut fields = offsets(topic);
        fields["commitOffset"] = json!("1");
        client.ask(15, fields, &[]).await;
    }
    let queues = running.directory.path().join("consumequeue");
    running.broker.stop().await.unwrap();
    std::fs::create_dir_all(queues.join("gone/0")).unwrap();
    let running = Running::start_in(running.directory, &[]).await;
    let mut client = running.connect().await;
    assert_eq!(client.ask(316, json!({}), &[]).await.code(), 0);
    assert!(queues.join("orders/0").exists());
    assert!(!queues.join("gone").exists());
    assert_eq!(
        client.ask(14, offsets("orders"), &[]).await.field("offset"),
        "1"
    );
    assert_eq!(client.ask(14, offsets("gone"), &[]).await.code(), 22);
}

#[tokio::test]
async fn an_operator_has_expired_files_removed() {
    let (running, mut client) = with_messages(&[]).await;
    let body = "x".repeat(100_000);
    for _ in 0..35 {
        send(&mut client, &body, "").await;
    }
    let log = running.directory.path().join("commitlog");
    let count = || std::fs::read_dir(&log).unwrap().count();
    assert!(count() >= 4);
    assert_eq!(client.ask(329, json!({}), &[]).await.code(), 0);
    assert_eq!(client.ask(306, json!({}), &[]).await.code(), 0);
    assert!(count() >= 4, "none has expired");
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(100 * 3600);
    let mut files: Vec<_> = std::fs::read_dir(&log)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for path in &files[..2] {
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_modified(old).unwrap();
    }
    assert_eq!(client.ask(329, json!({}), &[]).await.code(), 0);
    // The broker removes them in its own time; the consumer is told where it may go on.
    let pull = json!({
        "consumerGroup": "g", "topic": "orders", "queueId": "0", "queueOffset": "0",
        "maxMsgNums": "1", "sysFlag": "4", "subscription": "*", "subVersion": "0",
        "commitOffset": "0", "suspendTimeoutMillis": "0", "expressionType": "TAG",
    });
    let moved = loop {
        let answer = client.ask(11, pull.clone(), &[]).await;
        if answer.code() == 21 && !files[1].exists() {
            break answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    let min: i64 = moved.field("minOffset").parse().unwrap();
    assert!(min > 2);
    assert_eq!(moved.field("nextBeginOffset"), min.to_string());
    assert!(!files[0].exists() && files[2].exists());
    assert_eq!(
        client
            .ask(31, json!({"topic": "orders", "queueId": "0"}), &[])
            .await
            .field("offset"),
        min.to_string()
    );
}
