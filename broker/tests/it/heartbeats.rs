// SPDX-License-Identifier: Apache-2.0
//! Clients come, are known, and go: codes 34, 35, 38, 40, 46, 203, 204.

use serde_json::{Value, json};

use crate::support::{Client, Running, heartbeat};

async fn ids(client: &mut Client, group: &str) -> Vec<String> {
    let answer = client.ask(38, json!({"consumerGroup": group}), &[]).await;
    if answer.code() != 0 {
        assert_eq!(answer.code(), 1);
        assert_eq!(
            answer.remark(),
            format!("no consumer for this group, {group}")
        );
        return Vec::new();
    }
    let body = answer.json();
    let list = body["consumerIdList"].as_array().unwrap();
    let mut ids: Vec<String> = list
        .iter()
        .map(|id| id.as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    ids
}

/// The next request must be the notice that `group` has changed.
async fn told(client: &mut Client, group: &str) {
    let notice = client.requested().await;
    assert_eq!(notice.code(), 40);
    assert_eq!(notice.field("consumerGroup"), group);
    assert_eq!(notice.header["flag"].as_i64().unwrap() & 2, 2, "one-way");
}

#[tokio::test]
async fn members_are_listed_and_told_of_each_other() {
    let running = Running::start().await;
    let (mut one, mut two) = (running.connect().await, running.connect().await);
    assert!(ids(&mut one, "g").await.is_empty());
    let answer = one.consume("c1", "g", "t").await;
    assert_eq!(answer.code(), 0);
    assert_eq!(answer.field("IS_SUPPORT_HEART_BEAT_V2"), "true");
    assert_eq!(answer.field("IS_SUB_CHANGE"), "true");
    assert_eq!(ids(&mut one, "g").await, ["c1"]);
    told(&mut one, "g").await;
    two.consume("c2", "g", "t").await;
    assert_eq!(ids(&mut two, "g").await, ["c1", "c2"]);
    told(&mut one, "g").await;
    told(&mut two, "g").await;
    // A heartbeat that says nothing new concerns nobody.
    two.consume("c2", "g", "t").await;
    assert!(one.is_left_alone().await);
    drop(two);
    told(&mut one, "g").await;
    assert_eq!(ids(&mut one, "g").await, ["c1"]);
}

#[tokio::test]
async fn a_client_that_says_farewell_is_gone() {
    let running = Running::start().await;
    let (mut one, mut two) = (running.connect().await, running.connect().await);
    one.consume("c1", "g", "t").await;
    told(&mut one, "g").await;
    two.consume("c2", "g", "t").await;
    told(&mut one, "g").await;
    // C++ sends an empty text for the group that it does not mean.
    let fields = json!({"clientID": "c2", "producerGroup": "", "consumerGroup": "g"});
    assert_eq!(two.ask(35, fields, &[]).await.code(), 0);
    told(&mut one, "g").await;
    assert_eq!(ids(&mut two, "g").await, ["c1"]);
}

#[tokio::test]
async fn the_retry_topic_of_a_group_is_created() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    let ask = json!({"topic": "%RETRY%g"});
    assert_eq!(client.ask(351, ask.clone(), &[]).await.code(), 17);
    client.consume("c1", "g", "t").await;
    let topic = client.ask(351, ask, &[]).await.json();
    assert_eq!(topic["readQueueNums"], 1);
    assert_eq!(topic["writeQueueNums"], 1);
    assert_eq!(topic["perm"], 6);
}

#[tokio::test]
async fn the_heartbeat_of_cpp_is_understood() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    let body = "{\"clientID\":\"cpp\",\"consumerDataSet\":[{\"consumeFromWhere\":4,\"consumeType\":1,\"groupName\":\"g\",\"messageModel\":0,\"subscriptionDataSet\":[{\"codeSet\":[\"2598919\"],\"subString\":\"TagA\",\"subVersion\":\"1700000000000\",\"tagsSet\":[\"TagA\"],\"topic\":\"t\"}]}]}\n";
    let answer = client.ask(34, json!({}), body.as_bytes()).await;
    assert_eq!(answer.code(), 0, "{}", answer.remark());
    let answer = client.ask(203, json!({"consumerGroup": "g"}), &[]).await;
    let shown = answer.json();
    assert_eq!(shown["messageModel"], "BROADCASTING");
    assert_eq!(shown["consumeType"], "CONSUME_PASSIVELY");
    assert_eq!(shown["consumeFromWhere"], "CONSUME_FROM_FIRST_OFFSET");
    let subscription = &shown["subscriptionTable"]["t"];
    assert_eq!(subscription["subVersion"], 1_700_000_000_000_i64);
    assert_eq!(subscription["expressionType"], "TAG");
}

#[tokio::test]
async fn the_short_heartbeat_is_enough_while_nothing_changes() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    let beat = |fingerprint: i32, without: bool| {
        let mut body = heartbeat("c1", "g", "t");
        body["heartbeatFingerprint"] = json!(fingerprint);
        if without {
            body["withoutSub"] = json!(true);
            body["consumerDataSet"][0]["subscriptionDataSet"] = json!([]);
        }
        body
    };
    let changed = |answer: &crate::support::Message| answer.field("IS_SUB_CHANGE").to_owned();
    // A short one to a broker that knows nothing asks for a full one.
    assert_eq!(changed(&client.ask_json(34, &beat(7, true)).await), "true");
    assert_eq!(
        changed(&client.ask_json(34, &beat(7, false)).await),
        "false"
    );
    assert_eq!(changed(&client.ask_json(34, &beat(7, true)).await), "false");
    let shown = client
        .ask(203, json!({"consumerGroup": "g"}), &[])
        .await
        .json();
    assert!(shown["subscriptionTable"]["t"].is_object());
    assert_eq!(changed(&client.ask_json(34, &beat(8, true)).await), "true");
    assert_eq!(changed(&client.ask_json(34, &beat(8, true)).await), "false");
}

#[tokio::test]
async fn connections_are_shown_to_operators() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    let answer = client.ask(203, json!({"consumerGroup": "g"}), &[]).await;
    assert_eq!(
        (answer.code(), answer.remark()),
        (206, "the consumer group[g] not online")
    );
    let answer = client.ask(204, json!({"producerGroup": "p"}), &[]).await;
    assert_eq!(
        (answer.code(), answer.remark()),
        (1, "the producer group[p] not exist")
    );
    client.consume("c1", "g", "t").await;
    let one = |shown: &Value| shown["connectionSet"][0].clone();
    let consumer = one(&client
        .ask(203, json!({"consumerGroup": "g"}), &[])
        .await
        .json());
    assert_eq!(consumer["clientId"], "c1");
    assert_eq!(consumer["language"], "JAVA");
    assert_eq!(consumer["version"], 513);
    assert!(
        consumer["clientAddr"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.1:")
    );
    let group = json!({"producerGroup": "CLIENT_INNER_PRODUCER"});
    assert_eq!(
        one(&client.ask(204, group, &[]).await.json())["clientId"],
        "c1"
    );
}

#[tokio::test]
async fn bad_heartbeats_are_refused_or_passed_over() {
    let running = Running::start_with(&[("autoCreateSubscriptionGroup", "false")]).await;
    let mut client = running.connect().await;
    assert_eq!(client.ask(34, json!({}), b"{\"clientID\":").await.code(), 1);
    assert_eq!(client.consume("c1", "unknown", "t").await.code(), 0);
    assert!(ids(&mut client, "unknown").await.is_empty());
    assert_eq!(client.ask(35, json!({}), &[]).await.code(), 1);
    // The connection has survived all of it.
    assert!(client.is_left_alone().await);
}

#[tokio::test]
async fn filters_are_checked_before_a_consumer_starts() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    let check = |kind: &str, expression: &str| {
        json!({
            "clientId": "c1", "group": "g", "namespace": "",
            "subscriptionData": {"expressionType": kind, "subString": expression, "topic": "t"},
        })
    };
    for (kind, expression, code) in [
        ("TAG", "a > 1", 0),
        ("SQL92", "a > 1", 0),
        ("SQL92", "a >", 23),
        ("LUA", "a > 1", 23),
    ] {
        let answer = client.ask_json(46, &check(kind, expression)).await;
        assert_eq!(answer.code(), code, "{kind} {expression}: {answer:?}");
    }
    let off = Running::start_with(&[("enablePropertyFilter", "false")]).await;
    let mut client = off.connect().await;
    let answer = client.ask_json(46, &check("SQL92", "a > 1")).await;
    assert_eq!(answer.code(), 1);
    let remark = "The broker does not support consumer to filter message by SQL92";
    assert!(answer.remark().starts_with(remark));
}
