// SPDX-License-Identifier: Apache-2.0
//! Offsets of groups and of queues, and single messages: codes 14, 15, 29 to 33.

use serde_json::{Value, json};

use crate::support::{Client, Message, Running};

async fn commit(client: &mut Client, fields: Value) -> Message {
    client.ask(15, fields, &[]).await
}

async fn query(client: &mut Client, group: &str, topic: &str, queue: &str) -> (i64, String) {
    let fields = json!({"consumerGroup": group, "topic": topic, "queueId": queue});
    let answer = client.ask(14, fields, &[]).await;
    (answer.code(), answer.field("offset").to_owned())
}

#[tokio::test]
async fn commits_are_checked_in_order() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    let fields = json!({"consumerGroup": "g", "topic": "t", "queueId": "0", "commitOffset": "5"});
    let answer = commit(&mut client, fields.clone()).await;
    assert_eq!((answer.code(), answer.remark()), (26, "Group g not exist!"));
    client.consume("c1", "g", "t").await;
    let answer = commit(&mut client, fields.clone()).await;
    assert_eq!((answer.code(), answer.remark()), (17, "Topic t not exist!"));
    client.create_topic("t", 2).await;
    let without_queue = json!({"consumerGroup": "g", "topic": "t", "commitOffset": "5"});
    let answer = commit(&mut client, without_queue).await;
    assert_eq!(
        (answer.code(), answer.remark()),
        (29, "QueueId is null, topic is t")
    );
    let without_offset = json!({"consumerGroup": "g", "topic": "t", "queueId": "0"});
    let answer = commit(&mut client, without_offset).await;
    assert_eq!(
        (answer.code(), answer.remark()),
        (29, "Offset is null, topic is t")
    );
    let mut impossible = fields.clone();
    impossible["queueId"] = json!("2147483647");
    assert_eq!(commit(&mut client, impossible).await.code(), 29);
    assert_eq!(commit(&mut client, fields.clone()).await.code(), 0);
    assert_eq!(query(&mut client, "g", "t", "0").await, (0, "5".into()));
    let mut smaller = fields;
    smaller["commitOffset"] = json!("3");
    assert_eq!(commit(&mut client, smaller).await.code(), 0);
    assert_eq!(query(&mut client, "g", "t", "0").await, (0, "3".into()));
}

#[tokio::test]
async fn a_new_group_on_a_young_queue_starts_at_its_beginning() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    client.create_topic("t", 2).await;
    // Also before there is a message: it may be stored before the client has asked where the queue ends.
    assert_eq!(query(&mut client, "g", "t", "0").await, (0, "0".into()));
    assert_eq!(client.send("t", 0, "first").await.code(), 0);
    assert_eq!(query(&mut client, "g", "t", "0").await, (0, "0".into()));
    for (topic, queue) in [("t", "2"), ("t", "-1"), ("missing", "0")] {
        assert_eq!(query(&mut client, "g", topic, queue).await.0, 22);
    }
    let asked = json!({
        "consumerGroup": "g", "topic": "t", "queueId": "0", "setZeroIfNotFound": "false",
    });
    assert_eq!(client.ask(14, asked, &[]).await.code(), 22);
}

#[tokio::test]
async fn commits_survive_a_restart() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    client.create_topic("t", 2).await;
    client.consume("c1", "g", "t").await;
    let fields = json!({"consumerGroup": "g", "topic": "t", "queueId": "1", "commitOffset": "42"});
    assert_eq!(commit(&mut client, fields).await.code(), 0);
    drop(client);
    let running = running.restart().await;
    let mut client = running.connect().await;
    assert_eq!(query(&mut client, "g", "t", "1").await, (0, "42".into()));
    assert!(
        running
            .file("config/consumerOffset.json")
            .contains("\"t@g\"")
    );
}

#[tokio::test]
async fn queues_tell_where_they_begin_and_end() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    let queue = |id: &str| json!({"topic": "t", "queueId": id});
    // Unknown queues are empty ones.
    assert_eq!(client.ask(30, queue("0"), &[]).await.field("offset"), "0");
    assert_eq!(client.ask(31, queue("0"), &[]).await.field("offset"), "0");
    assert_eq!(
        client.ask(32, queue("0"), &[]).await.field("timestamp"),
        "-1"
    );
    client.create_topic("t", 1).await;
    for body in ["a", "b", "c"] {
        assert_eq!(client.send("t", 0, body).await.code(), 0);
    }
    assert_eq!(client.ask(30, queue("0"), &[]).await.field("offset"), "3");
    assert_eq!(client.ask(31, queue("0"), &[]).await.field("offset"), "0");
    let stored: i64 = client
        .ask(32, queue("0"), &[])
        .await
        .field("timestamp")
        .parse()
        .unwrap();
    assert!(stored > 0);
    let at = |timestamp: i64, boundary: &str| {
        json!({
            "topic": "t", "queueId": "0", "timestamp": timestamp.to_string(),
            "boundaryType": boundary,
        })
    };
    let past_all = stored + 86_400_000;
    assert_eq!(
        client.ask(29, at(0, "LOWER"), &[]).await.field("offset"),
        "0"
    );
    assert_eq!(
        client
            .ask(29, at(past_all, "LOWER"), &[])
            .await
            .field("offset"),
        "3"
    );
    assert_eq!(
        client
            .ask(29, at(past_all, "upper"), &[])
            .await
            .field("offset"),
        "2"
    );
    let other = json!({"topic": "t", "queueId": "9", "timestamp": "1"});
    assert_eq!(client.ask(29, other, &[]).await.field("offset"), "0");
    assert_eq!(
        client
            .ask(29, json!({"topic": "t", "queueId": "x"}), &[])
            .await
            .code(),
        1
    );
}

#[tokio::test]
async fn a_message_is_viewed_by_its_place() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    client.create_topic("t", 1).await;
    let sent = client.send("t", 0, "the body").await;
    // The last 16 digits of the id are the place in the log.
    let id = sent.field("msgId").to_owned();
    let offset = i64::from_str_radix(&id[id.len() - 16..], 16).unwrap();
    let answer = client
        .ask(33, json!({"offset": offset.to_string()}), &[])
        .await;
    assert_eq!(answer.code(), 0);
    let size = u32::from_be_bytes(answer.body[..4].try_into().unwrap()) as usize;
    assert_eq!(answer.body.len(), size, "exactly one message");
    assert!(answer.body.windows(8).any(|bytes| bytes == b"the body"));
    let answer = client.ask(33, json!({"offset": "999999"}), &[]).await;
    let remark = "can not find message by the offset, 999999";
    assert_eq!((answer.code(), answer.remark()), (1, remark));
}
