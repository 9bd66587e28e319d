// SPDX-License-Identifier: Apache-2.0
//! Keys of Apache's that change what clients see, and are off (or on) unless an operator wants it
//! otherwise.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, Message, Running, heartbeat};

const PATIENCE: Duration = Duration::from_secs(60);
const SUBSCRIPTION: i32 = 4;

async fn pull(client: &mut Client, changes: Value) -> Message {
    let mut fields = json!({
        "consumerGroup": "g", "topic": "t", "queueId": "0", "queueOffset": "0",
        "maxMsgNums": "32", "sysFlag": SUBSCRIPTION.to_string(), "commitOffset": "0",
        "suspendTimeoutMillis": "0", "subscription": "*", "subVersion": "0",
        "expressionType": "TAG",
    });
    for (name, value) in changes.as_object().unwrap() {
        fields[name] = value.clone();
    }
    client.ask(11, fields, &[]).await
}

async fn pop(client: &mut Client, invisible: &str) -> Message {
    let fields = json!({
        "consumerGroup": "g", "topic": "t", "queueId": "-1", "maxMsgNums": "32",
        "invisibleTime": invisible, "pollTime": "0", "bornTime": "0", "initMode": "0",
    });
    client.ask(200_050, fields, &[]).await
}

async fn queues_of(client: &mut Client, topic: &str) -> Option<i64> {
    let answer = client.ask(351, json!({"topic": topic}), &[]).await;
    (answer.code() == 0).then(|| answer.json()["writeQueueNums"].as_i64().unwrap())
}

async fn popped_again(client: &mut Client) -> Message {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let answer = pop(client, "60000").await;
        if answer.code() == 0 {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nothing came back");
}

#[tokio::test]
async fn with_separate_retry_queues_a_message_comes_back_in_its_queue() {
    for (separate, queue, queues) in [("true", 3, 4), ("false", 0, 1)] {
        let running = Running::start_with(&[("useSeparateRetryQueue", separate)]).await;
        let mut client = running.connect().await;
        client.create_topic("t", 4).await;
        assert_eq!(client.send("t", 3, "m").await.code(), 0);
        let first = pop(&mut client, "300").await;
        assert!(
            first.field("startOffsetInfo").starts_with("0 3 "),
            "{first:?}"
        );
        let again = popped_again(&mut client).await;
        let expected = format!("1 {queue} ");
        assert!(
            again.field("startOffsetInfo").contains(&expected),
            "{again:?}"
        );
        assert_eq!(queues_of(&mut client, "%RETRY%g_t").await, Some(queues));
    }
}

#[tokio::test]
async fn with_filter_support_for_retries_the_expression_of_the_topic_counts() {
    for (supported, code) in [("true", 0), ("false", 20)] {
        let running = Running::start_with(&[("filterSupportRetry", supported)]).await;
        let mut client = running.connect().await;
        client.create_topic("t", 1).await;
        let mut beat = heartbeat("c", "g", "t");
        let wanted = &mut beat["consumerDataSet"][0]["subscriptionDataSet"][0];
        wanted["expressionType"] = json!("SQL92");
        wanted["subString"] = json!("a = 3");
        assert_eq!(client.ask_json(34, &beat).await.code(), 0);
        for (number, origin) in [("4", "t"), ("3", "t")] {
            let properties = [("RETRY_TOPIC", origin), ("a", number)];
            let sent = client.send_with("%RETRY%g", number, &properties).await;
            assert_eq!(sent.code(), 0, "{sent:?}");
        }
        let sql = json!({
            "topic": "%RETRY%g", "expressionType": "SQL92", "subscription": "a = 9",
        });
        let pulled = pull(&mut client, sql).await;
        assert_eq!(pulled.code(), code, "{pulled:?}");
        if code == 0 {
            let record = aerobee_message::record::RecordView::parse(&pulled.body).unwrap();
            assert_eq!(record.body(), b"3");
            assert_eq!(
                record.total_len(),
                pulled.body.len(),
                "the other one is refused"
            );
        }
    }
}

#[tokio::test]
async fn consumers_that_pull_by_themselves_may_be_refused() {
    let running = Running::start_with(&[("rejectPullConsumerEnable", "true")]).await;
    let mut client = running.connect().await;
    client.create_topic("t", 1).await;
    client.send("t", 0, "m").await;
    let mut active = heartbeat("c", "g", "t");
    active["consumerDataSet"][0]["consumeType"] = json!("CONSUME_ACTIVELY");
    assert_eq!(client.ask_json(34, &active).await.code(), 0);
    let refused = pull(&mut client, json!({})).await;
    assert_eq!(refused.code(), 24, "{refused:?}");
    assert!(
        refused.remark().contains("rejectPullConsumerEnable"),
        "{refused:?}"
    );
    // Tools and those that are pushed to go on.
    let tools = pull(&mut client, json!({"consumerGroup": "TOOLS_CONSUMER"})).await;
    assert_eq!(tools.code(), 0, "{tools:?}");
    client.consume("c", "g", "t").await;
    assert_eq!(pull(&mut client, json!({})).await.code(), 0);
}

#[tokio::test]
async fn lite_pulls_may_be_refused() {
    let running = Running::start_with(&[("litePullMessageEnable", "false")]).await;
    let mut client = running.connect().await;
    client.create_topic("t", 1).await;
    client.send("t", 0, "m").await;
    let fields = json!({
        "consumerGroup": "g", "topic": "t", "queueId": "0", "queueOffset": "0",
        "maxMsgNums": "32", "sysFlag": "4", "commitOffset": "0", "suspendTimeoutMillis": "0",
        "subscription": "*", "subVersion": "0", "expressionType": "TAG",
    });
    let refused = client.ask(361, fields, &[]).await;
    assert_eq!(
        (refused.code(), refused.field("forbiddenType")),
        (16, "1"),
        "{refused:?}"
    );
    assert!(
        refused.remark().contains("litePullMessageEnable"),
        "{refused:?}"
    );
    assert_eq!(pull(&mut client, json!({})).await.code(), 0);
}

#[tokio::test]
async fn producers_are_not_registered_where_nobody_asks_them_anything() {
    let off = ("enableRegisterProducer", "false");
    for (keys, known) in [
        (&[off][..], true),
        (&[off, ("rejectTransactionMessage", "true")][..], false),
    ] {
        let running = Running::start_with(keys).await;
        let mut client = running.connect().await;
        client.consume("c", "g", "t").await;
        let fields = json!({"producerGroup": "CLIENT_INNER_PRODUCER", "topic": "t"});
        let answer = client.ask(204, fields, &[]).await;
        assert_eq!(answer.code() == 0, known, "{answer:?}");
    }
}

#[tokio::test]
async fn topics_of_the_system_and_of_retries_are_protected_unless_told_otherwise() {
    for kept in [false, true] {
        let running = Running::start_with(&[
            (
                "clearRetryTopicWhenDeleteTopic",
                if kept { "false" } else { "true" },
            ),
            (
                "validateSystemTopicWhenUpdateTopic",
                if kept { "false" } else { "true" },
            ),
        ])
        .await;
        let mut client = running.connect().await;
        client.create_topic("t", 1).await;
        client.create_topic("%RETRY%g_t", 1).await;
        client.send("t", 0, "m").await;
        assert_eq!(pop(&mut client, "60000").await.code(), 0);
        assert_eq!(client.ask(215, json!({"topic": "t"}), &[]).await.code(), 0);
        assert_eq!(queues_of(&mut client, "t").await, None);
        assert_eq!(queues_of(&mut client, "%RETRY%g_t").await.is_some(), kept);
        let system = json!({
            "topic": "SELF_TEST_TOPIC", "defaultTopic": "TBW102", "readQueueNums": "3",
            "writeQueueNums": "3", "perm": "6", "topicFilterType": "SINGLE_TAG",
            "topicSysFlag": "0", "order": "false",
        });
        let changed = client.ask(17, system, &[]).await;
        assert_eq!(changed.code(), if kept { 0 } else { 29 }, "{changed:?}");
    }
}
