// SPDX-License-Identifier: Apache-2.0
//! Clients in unit mode: what `unitMode` of sends and heartbeats makes of topics, and who is told.

use serde_json::{Value, json};

use crate::support::{Client, Message, Running, heartbeat};

/// Bit of `topicSysFlag`: messages of the topic belong to a unit.
const UNIT: i64 = 1;
/// Bit of `topicSysFlag`: consumers of the topic belong to a unit.
const UNIT_SUBSCRIPTION: i64 = 2;

/// Sends as the SDK does that calls itself a unit, or not.
async fn send(client: &mut Client, topic: &str, template: &str, unit: bool) -> Message {
    let fields = json!({
        "a": "producers", "b": topic, "c": template, "d": "4", "e": "0", "f": "0",
        "g": "1700000000000", "h": "0", "i": "", "j": "0", "k": unit.to_string(), "m": "false",
    });
    client.ask(310, fields, b"m").await
}

async fn beat(client: &mut Client, id: &str, group: &str, unit: bool) {
    let mut body = heartbeat(id, group, "t");
    body["consumerDataSet"][0]["unitMode"] = json!(unit);
    assert_eq!(client.ask_json(34, &body).await.code(), 0);
}

async fn flags(client: &mut Client, topic: &str) -> Value {
    let answer = client.ask(351, json!({"topic": topic}), &[]).await;
    assert_eq!(answer.code(), 0, "{topic}: {answer:?}");
    answer.json()["topicSysFlag"].clone()
}

#[tokio::test]
async fn a_topic_that_a_producer_in_unit_mode_creates_is_one_of_a_unit() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    for (topic, unit, wanted) in [("units", true, UNIT), ("plain", false, 0)] {
        let sent = send(&mut client, topic, "TBW102", unit).await;
        assert_eq!(sent.code(), 0, "{sent:?}");
        assert_eq!(flags(&mut client, topic).await, wanted, "{topic}");
        // What is there is not changed by the next one.
        assert_eq!(send(&mut client, topic, "TBW102", !unit).await.code(), 0);
        assert_eq!(flags(&mut client, topic).await, wanted, "{topic}");
    }
}

#[tokio::test]
async fn a_retry_topic_that_a_client_in_unit_mode_creates_has_consumers_of_a_unit() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    // By a heartbeat.
    for (group, unit, wanted) in [("g", true, UNIT_SUBSCRIPTION), ("h", false, 0)] {
        beat(&mut client, group, group, unit).await;
        let topic = format!("%RETRY%{group}");
        assert_eq!(flags(&mut client, &topic).await, wanted, "{group}");
        beat(&mut client, group, group, !unit).await;
        assert_eq!(flags(&mut client, &topic).await, wanted, "{group}");
    }
    // By a client that sends a message back itself, whether the template that it names is there or not.
    for (group, template) in [("i", "TBW102"), ("j", "no such topic")] {
        let topic = format!("%RETRY%{group}");
        let create = json!({"groupName": group, "retryQueueNums": 1, "retryMaxTimes": 16});
        assert_eq!(client.ask_json(200, &create).await.code(), 0);
        let sent = send(&mut client, &topic, template, true).await;
        assert_eq!(sent.code(), 0, "{sent:?}");
        assert_eq!(
            flags(&mut client, &topic).await,
            UNIT_SUBSCRIPTION,
            "{group}"
        );
    }
}

#[tokio::test]
async fn consumers_are_told_the_flags_of_topic_and_group() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    let group = json!({
        "groupName": "g", "retryQueueNums": 1, "retryMaxTimes": 16, "groupSysFlag": 1,
    });
    assert_eq!(client.ask_json(200, &group).await.code(), 0);
    assert_eq!(send(&mut client, "t", "TBW102", true).await.code(), 0);
    for offset in ["0", "1"] {
        let fields = json!({
            "consumerGroup": "g", "topic": "t", "queueId": "0", "queueOffset": offset,
            "maxMsgNums": "32", "sysFlag": "4", "commitOffset": "0", "suspendTimeoutMillis": "0",
            "subscription": "*", "subVersion": "0", "expressionType": "TAG",
        });
        let answer = client.ask(11, fields, &[]).await;
        let told = (answer.field("topicSysFlag"), answer.field("groupSysFlag"));
        assert_eq!(told, ("1", "1"), "{answer:?}");
    }
}

#[tokio::test]
async fn an_operator_sets_and_clears_the_flags_of_a_topic() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    for flag in [UNIT | UNIT_SUBSCRIPTION, UNIT_SUBSCRIPTION, 0] {
        let fields = json!({
            "topic": "t", "defaultTopic": "TBW102", "readQueueNums": "1", "writeQueueNums": "1",
            "perm": "6", "topicFilterType": "SINGLE_TAG", "topicSysFlag": flag.to_string(),
            "order": "false",
        });
        let answer = client.ask(17, fields, &[]).await;
        assert_eq!(answer.code(), 0, "{answer:?}");
        assert_eq!(flags(&mut client, "t").await, flag);
    }
    drop(client);
    let running = running.restart().await;
    let mut client = running.connect().await;
    assert_eq!(flags(&mut client, "t").await, 0);
}
