// SPDX-License-Identifier: Apache-2.0
//! Subscription groups as operators see them: codes 200, 201, 207, 352.

use serde_json::json;

use crate::support::Running;

#[tokio::test]
async fn a_created_group_is_durable() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    let group = json!({"groupName": "g", "retryMaxTimes": 3, "consumeBroadcastEnable": false});
    assert_eq!(client.ask_json(200, &group).await.code(), 0);
    let file = running.file("config/subscriptionGroup.json");
    assert!(file.contains("\"retryMaxTimes\":3"), "{file}");
    drop(client);
    let running = running.restart().await;
    let mut client = running.connect().await;
    let group = client.ask(352, json!({"group": "g"}), &[]).await.json();
    assert_eq!(group["retryMaxTimes"], 3);
    assert_eq!(group["consumeBroadcastEnable"], false);
    assert_eq!(group["consumeEnable"], true);
    assert_eq!(group["groupRetryPolicy"]["type"], "CUSTOMIZED");
}

#[tokio::test]
async fn what_cannot_be_a_group_is_refused() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    for (group, code, remark) in [
        (
            json!({"groupName": ""}),
            29,
            "The specified group is blank.",
        ),
        (
            json!({"groupName": "a b"}),
            29,
            "The specified group: a b, contains illegal",
        ),
        (
            json!({"groupName": "g", "attributes": {"+x": "1"}}),
            1,
            "unsupported key: x",
        ),
        (
            json!({"groupName": "g", "attributes": {"priority.factor": "1"}}),
            1,
            "only add",
        ),
    ] {
        let answer = client.ask_json(200, &group).await;
        assert_eq!(answer.code(), code, "{group}: {}", answer.remark());
        assert!(
            answer.remark().starts_with(remark),
            "{group}: {}",
            answer.remark()
        );
    }
    assert_eq!(
        client.ask(200, json!({}), b"{\"groupName\"").await.code(),
        1
    );
    assert_eq!(client.ask(200, json!({}), &[]).await.code(), 0);
}

#[tokio::test]
async fn groups_are_listed_and_deleted() {
    let running = Running::start_with(&[("autoCreateSubscriptionGroup", "false")]).await;
    let mut client = running.connect().await;
    client.ask_json(200, &json!({"groupName": "g"})).await;
    client.create_topic("t", 1).await;
    let commit = json!({"consumerGroup": "g", "topic": "t", "queueId": "0", "commitOffset": "7"});
    assert_eq!(client.ask(15, commit, &[]).await.code(), 0);
    let answer = client.ask(201, json!({}), &[]).await;
    let table = answer.json();
    let groups = table["subscriptionGroupTable"].as_object().unwrap();
    assert!(groups.contains_key("g") && groups.contains_key("CID_RMQ_SYS_TRANS"));
    assert_eq!(answer.field("totalGroupNum"), groups.len().to_string());
    let delete = |clean: &str| json!({"groupName": "g", "cleanOffset": clean});
    let query =
        json!({"consumerGroup": "g", "topic": "t", "queueId": "0", "setZeroIfNotFound": "false"});
    assert_eq!(client.ask(207, delete("false"), &[]).await.code(), 0);
    assert_eq!(
        client.ask(14, query.clone(), &[]).await.field("offset"),
        "7"
    );
    assert_eq!(client.ask(207, delete("true"), &[]).await.code(), 0);
    assert_eq!(client.ask(14, query, &[]).await.code(), 22);
    let answer = client.ask(352, json!({"group": "g"}), &[]).await;
    assert_eq!(answer.code(), 26);
    assert!(answer.remark().starts_with("No group in this broker"));
    assert!(
        !running
            .file("config/subscriptionGroup.json")
            .contains("\"g\":{")
    );
}

#[tokio::test]
async fn lists_of_topics_and_groups_are_taken_whole() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    let topics = |second: &str| {
        json!({"topicConfigList": [
            {"topicName": "first", "readQueueNums": 3, "writeQueueNums": 3, "perm": 6,
             "attributes": {"+message.type": "FIFO"}},
            {"topicName": second, "readQueueNums": 2, "writeQueueNums": 2, "perm": 6},
        ]})
    };
    assert_eq!(client.ask_json(18, &topics("bad/name")).await.code(), 29);
    let ask = json!({"topic": "first"});
    assert_eq!(client.ask(351, ask.clone(), &[]).await.code(), 17);
    assert_eq!(client.ask_json(18, &topics("second")).await.code(), 0);
    let first = client.ask(351, ask, &[]).await.json();
    assert_eq!(first["attributes"]["message.type"], "FIFO");
    assert_eq!(first["readQueueNums"], 3);
    let groups = json!({"groupConfigList": [
        {"groupName": "g1", "retryMaxTimes": 3}, {"groupName": "g2"},
    ]});
    assert_eq!(client.ask_json(225, &groups).await.code(), 0);
    let group = client.ask(352, json!({"group": "g1"}), &[]).await.json();
    assert_eq!(group["retryMaxTimes"], 3);
    let bad = json!({"groupConfigList": [{"groupName": "bad/name"}]});
    assert_eq!(client.ask_json(225, &bad).await.code(), 29);
}

#[tokio::test]
async fn a_group_can_be_kept_from_a_topic() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    client.create_topic("orders", 2).await;
    client.send("orders", 0, "m").await;
    client.consume("c1", "readers", "orders").await;
    let pull = json!({
        "consumerGroup": "readers", "topic": "orders", "queueId": "0", "queueOffset": "0",
        "maxMsgNums": "32", "sysFlag": "0", "commitOffset": "0", "suspendTimeoutMillis": "15000",
        "subVersion": "0",
    });
    let ask = |readable: Option<bool>| {
        let mut fields = json!({"group": "readers", "topic": "orders"});
        if let Some(readable) = readable {
            fields["readable"] = json!(readable.to_string());
        }
        fields
    };
    assert_eq!(
        client.ask(353, ask(None), &[]).await.json()["readable"],
        true
    );
    let forbidden = client.ask(353, ask(Some(false)), &[]).await.json();
    assert_eq!(
        forbidden,
        json!({"group": "readers", "readable": false, "topic": "orders"})
    );
    let refused = client.ask(11, pull.clone(), &[]).await;
    assert_eq!((refused.code(), refused.field("forbiddenType")), (16, "5"));
    let running = running.restart().await;
    let mut client = running.connect().await;
    client.consume("c1", "readers", "orders").await;
    assert_eq!(
        client.ask(353, ask(None), &[]).await.json()["readable"],
        false
    );
    assert_eq!(
        client.ask(353, ask(Some(true)), &[]).await.json()["readable"],
        true
    );
    assert_eq!(client.ask(11, pull, &[]).await.code(), 0);
}

#[tokio::test]
async fn the_table_of_offsets_can_be_had() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    client.create_topic("orders", 2).await;
    client.consume("c1", "readers", "orders").await;
    let commit = json!({
        "consumerGroup": "readers", "topic": "orders", "queueId": "1", "commitOffset": "7",
    });
    assert_eq!(client.ask(15, commit, &[]).await.code(), 0);
    let table = client.ask(43, json!({}), &[]).await.json();
    assert_eq!(table["offsetTable"]["orders@readers"]["1"], 7);
}
