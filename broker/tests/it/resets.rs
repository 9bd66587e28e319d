// SPDX-License-Identifier: Apache-2.0
//! Groups that are moved to other offsets: INVOKE_BROKER_TO_RESET_OFFSET (222), CLONE_GROUP_OFFSET
//! (314), and what consumers see of it.

use serde_json::{Value, json};

use crate::support::{Client, Message, Running};

const OFFSET_MOVED: i64 = 21;

async fn fill(client: &mut Client, topic: &str, queue: i32, count: i32) {
    for number in 0..count {
        let sent = client.send(topic, queue, &number.to_string()).await;
        assert_eq!(sent.code(), 0);
    }
}

async fn commit(client: &mut Client, group: &str, queue: &str, offset: &str) -> Message {
    let fields = json!({
        "consumerGroup": group, "topic": "t", "queueId": queue, "commitOffset": offset,
    });
    client.ask(15, fields, &[]).await
}

async fn committed(client: &mut Client, group: &str, queue: &str) -> String {
    let fields = json!({
        "consumerGroup": group, "topic": "t", "queueId": queue, "setZeroIfNotFound": "false",
    });
    let answer = client.ask(14, fields, &[]).await;
    answer.field("offset").to_owned()
}

fn pull_fields(group: &str, offset: &str, suspend: &str) -> Value {
    json!({
        "consumerGroup": group, "topic": "t", "queueId": "0", "queueOffset": offset,
        "maxMsgNums": "32", "sysFlag": if suspend == "0" { "5" } else { "7" },
        "commitOffset": offset, "suspendTimeoutMillis": suspend, "subscription": "*",
        "subVersion": "0", "expressionType": "TAG",
    })
}

fn reset_fields(timestamp: i64) -> Value {
    json!({"topic": "t", "group": "g", "timestamp": timestamp.to_string(), "isForce": "true"})
}

/// The offsets of the answer to a reset, by queue. Its keys are objects, which is no JSON.
fn offsets(answer: &Message) -> Vec<(i32, i64)> {
    assert_eq!(answer.code(), 0, "{answer:?}");
    let body: aerobee_remoting::body::reset::ResetOffsets =
        aerobee_remoting::fastjson::from_slice(&answer.body).unwrap();
    let queues = body.offset_table.into_iter();
    queues
        .map(|(queue, offset)| {
            assert_eq!((&*queue.topic, &*queue.broker_name), ("t", "broker-a"));
            (queue.queue_id, offset)
        })
        .collect()
}

#[tokio::test]
async fn the_next_read_begins_where_the_reset_says() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    client.create_topic("t", 2).await;
    client.consume("c1", "g", "t").await;
    fill(&mut client, "t", 0, 5).await;
    fill(&mut client, "t", 1, 3).await;
    for queue in ["0", "1"] {
        assert_eq!(commit(&mut client, "g", queue, "3").await.code(), 0);
    }
    let answer = client.ask(222, reset_fields(0), &[]).await;
    assert_eq!(offsets(&answer), [(0, 0), (1, 0)]);
    assert_eq!(committed(&mut client, "g", "0").await, "0");
    // A commit that was under way does not undo it.
    let late = commit(&mut client, "g", "0", "4").await;
    let remark = "Offset has been previously reset";
    assert_eq!((late.code(), late.remark()), (0, remark));
    let pulled = client.ask(11, pull_fields("g", "3", "0"), &[]).await;
    assert_eq!(
        (pulled.code(), pulled.remark()),
        (OFFSET_MOVED, "OFFSET_RESET")
    );
    assert_eq!(pulled.field("nextBeginOffset"), "0");
    assert_eq!(committed(&mut client, "g", "0").await, "0");
    // From then on everything is as ever.
    let pulled = client.ask(11, pull_fields("g", "0", "0"), &[]).await;
    assert_eq!((pulled.code(), pulled.field("nextBeginOffset")), (0, "5"));
    assert_eq!(commit(&mut client, "g", "0", "5").await.remark(), "");
    assert_eq!(committed(&mut client, "g", "0").await, "5");
    // The other queue still waits for its reader.
    assert_eq!(commit(&mut client, "g", "1", "3").await.remark(), remark);
}

#[tokio::test]
async fn a_group_that_waits_hears_of_a_reset_at_once() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    client.create_topic("t", 1).await;
    client.consume("c1", "g", "t").await;
    fill(&mut client, "t", 0, 2).await;
    let mut consumer = running.connect().await;
    consumer.park(11, pull_fields("g", "2", "25000")).await;
    let answer = client.ask(222, reset_fields(0), &[]).await;
    assert_eq!(offsets(&answer), [(0, 0)]);
    assert_eq!(consumer.parked().await.code(), 19);
    let second = consumer.ask(11, pull_fields("g", "2", "25000"), &[]).await;
    assert_eq!(second.field("nextBeginOffset"), "0");
}

#[tokio::test]
async fn resets_of_offline_groups_outlive_a_restart() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    client.create_topic("t", 1).await;
    client.consume("c1", "g", "t").await;
    fill(&mut client, "t", 0, 3).await;
    let at_end = client.ask(222, reset_fields(-1), &[]).await;
    assert_eq!(offsets(&at_end), [(0, 3)]);
    drop(client);
    let running = running.restart().await;
    let mut client = running.connect().await;
    assert_eq!(committed(&mut client, "g", "0").await, "3");
}

#[tokio::test]
async fn resets_are_checked() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    let answer = client.ask(222, reset_fields(0), &[]).await;
    let remark = "Topic t does not exist";
    assert_eq!((answer.code(), answer.remark()), (17, remark));
    client.create_topic("t", 1).await;
    let answer = client.ask(222, reset_fields(0), &[]).await;
    let remark = "Group g does not exist";
    assert_eq!((answer.code(), answer.remark()), (26, remark));
    client.consume("c1", "g", "t").await;
    fill(&mut client, "t", 0, 3).await;
    let mut fields = reset_fields(0);
    fields["queueId"] = json!("0");
    fields["offset"] = json!("5");
    let answer = client.ask(222, fields.clone(), &[]).await;
    let remark = "Target offset 5 not in consume queue range [0-3]";
    assert_eq!((answer.code(), answer.remark()), (1, remark));
    fields["offset"] = json!("2");
    let answer = client.ask(222, fields.clone(), &[]).await;
    assert_eq!(offsets(&answer), [(0, 2)]);
    fields["queueId"] = json!("2147483647");
    assert_eq!(client.ask(222, fields, &[]).await.code(), 29);
}

#[tokio::test]
async fn consumers_are_told_where_the_broker_does_not_reset() {
    let running = Running::start_with(&[("useServerSideResetOffset", "false")]).await;
    let mut client = running.connect().await;
    client.create_topic("t", 1).await;
    client.consume("c1", "g", "t").await;
    fill(&mut client, "t", 0, 3).await;
    let answer = client.ask(222, reset_fields(0), &[]).await;
    let remark = "THe consumer group <g> not exist";
    assert_eq!((answer.code(), answer.remark()), (1, remark));
    assert_eq!(commit(&mut client, "g", "0", "3").await.code(), 0);
    let mut operator = running.connect().await;
    let answer = operator.ask(222, reset_fields(0), &[]).await;
    assert_eq!(offsets(&answer), [(0, 0)]);
    let mut told = client.requested().await;
    while told.code() == 40 {
        told = client.requested().await;
    }
    assert_eq!(told.code(), 220);
    assert_eq!((told.field("topic"), told.field("group")), ("t", "g"));
    assert!(String::from_utf8_lossy(&told.body).contains("{\"offsetTable\":{{"));
    drop(client);
    // Nobody is connected: the tool has to do it another way.
    for _ in 0..3_000 {
        let answer = operator.ask(222, reset_fields(0), &[]).await;
        if answer.code() == 206 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the consumer did not leave");
}

#[tokio::test]
async fn offsets_are_cloned() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    client.create_topic("t", 2).await;
    client.consume("c1", "g", "t").await;
    assert_eq!(commit(&mut client, "g", "0", "7").await.code(), 0);
    assert_eq!(commit(&mut client, "g", "1", "9").await.code(), 0);
    let fields = json!({"srcGroup": "g", "destGroup": "h", "topic": "", "offline": "true"});
    assert_eq!(client.ask(314, fields, &[]).await.code(), 0);
    assert_eq!(committed(&mut client, "h", "0").await, "7");
    assert_eq!(committed(&mut client, "h", "1").await, "9");
    // Of a topic that the connected group does not consume nothing is taken.
    let other = json!({"srcGroup": "g", "destGroup": "i", "topic": "u", "offline": "false"});
    assert_eq!(client.ask(314, other, &[]).await.code(), 0);
    drop(client);
    let running = running.restart().await;
    let mut client = running.connect().await;
    assert_eq!(committed(&mut client, "h", "1").await, "9");
}
