// SPDX-License-Identifier: Apache-2.0
//! Topics as operators see them: codes 17, 21, 215, 351.

use serde_json::{Value, json};

use crate::support::{Client, Message, Running};

fn fields(topic: &str) -> Value {
    json!({
        "topic": topic, "defaultTopic": "TBW102", "readQueueNums": "3", "writeQueueNums": "2",
        "perm": "6", "topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false",
    })
}

async fn create(client: &mut Client, changes: Value) -> Message {
    let mut fields = fields("t");
    for (key, value) in changes.as_object().unwrap() {
        fields[key] = value.clone();
    }
    client.ask(17, fields, &[]).await
}

async fn get(client: &mut Client, topic: &str) -> Message {
    client.ask(351, json!({"topic": topic}), &[]).await
}

#[tokio::test]
async fn a_created_topic_is_durable() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    let answer = get(&mut client, "t").await;
    assert_eq!(
        (answer.code(), answer.remark()),
        (17, "No topic in this broker. topic: t")
    );
    let answer = create(&mut client, json!({"attributes": "+message.type=FIFO"})).await;
    assert_eq!(answer.code(), 0, "{}", answer.remark());
    // In the file before it was answered: a kill now loses nothing.
    let file = running.file("config/topics.json");
    assert!(file.contains("\t\t\"t\":{"), "{file}");
    drop(client);
    let running = running.restart().await;
    let mut client = running.connect().await;
    let topic = get(&mut client, "t").await.json();
    assert_eq!(topic["readQueueNums"], 3);
    assert_eq!(topic["writeQueueNums"], 2);
    assert_eq!(topic["attributes"]["message.type"], "FIFO");
    assert_eq!(topic["topicFilterType"], "SINGLE_TAG");
}

#[tokio::test]
async fn what_cannot_be_a_topic_is_refused() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    for (changes, code, remark) in [
        (json!({"topic": " "}), 29, "The specified topic is blank."),
        (
            json!({"topic": "../etc"}),
            29,
            "The specified topic: ../etc, contains illegal",
        ),
        (
            json!({"topic": "x".repeat(128)}),
            29,
            "The specified topic: x",
        ),
        (
            json!({"topic": "TBW102"}),
            29,
            "The topic[TBW102] is conflict with system topic.",
        ),
        (
            json!({"topic": "broker-a"}),
            29,
            "The topic[broker-a] is conflict",
        ),
        (
            json!({"topic": "rmq_sys_x"}),
            29,
            "The topic[rmq_sys_x] is conflict",
        ),
        (
            json!({"topicFilterType": "BOTH"}),
            1,
            "topicFilterType = [BOTH] value invalid",
        ),
        (json!({"readQueueNums": "-1"}), 29, "-1 queues are outside"),
        (
            json!({"writeQueueNums": "70000"}),
            29,
            "70000 queues are outside",
        ),
        (
            json!({"writeQueueNums": "many"}),
            1,
            "the custom field <writeQueueNums>",
        ),
        (json!({"perm": "99"}), 29, "perm 99 is outside"),
        (
            json!({"attributes": "+message.type=MIXED"}),
            29,
            "MIXED message type is not supported.",
        ),
        (
            json!({"attributes": "+no.such=1"}),
            1,
            "unsupported key: no.such",
        ),
        (
            json!({"attributes": "-message.type"}),
            1,
            "only add attribute is supported",
        ),
    ] {
        let answer = create(&mut client, changes.clone()).await;
        assert_eq!(answer.code(), code, "{changes}: {}", answer.remark());
        assert!(
            answer.remark().starts_with(remark),
            "{changes}: {}",
            answer.remark()
        );
    }
    assert_eq!(get(&mut client, "t").await.code(), 17);
}

#[tokio::test]
async fn a_change_keeps_what_it_does_not_name() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    create(&mut client, json!({"attributes": "+message.type=FIFO"})).await;
    let version = |table: &Value| table["dataVersion"]["counter"].as_i64().unwrap();
    let before = version(&client.ask(21, json!({}), &[]).await.json());
    // Nothing new is no change.
    assert_eq!(create(&mut client, json!({})).await.code(), 0);
    assert_eq!(
        version(&client.ask(21, json!({}), &[]).await.json()),
        before
    );
    assert_eq!(create(&mut client, json!({"perm": "4"})).await.code(), 0);
    let topic = get(&mut client, "t").await.json();
    assert_eq!(topic["perm"], 4);
    assert_eq!(topic["attributes"]["message.type"], "FIFO");
    assert_eq!(
        version(&client.ask(21, json!({}), &[]).await.json()),
        before + 1
    );
}

#[tokio::test]
async fn all_topics_come_at_once() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    create(&mut client, json!({})).await;
    let page = json!({"topicSeq": "0", "maxTopicNum": "1", "dataVersion": ""});
    for fields in [json!({}), page] {
        let answer = client.ask(21, fields, &[]).await;
        let table = answer.json();
        let topics = table["topicConfigTable"].as_object().unwrap();
        assert!(topics.contains_key("t") && topics.contains_key("SELF_TEST_TOPIC"));
        assert_eq!(answer.field("totalTopicNum"), topics.len().to_string());
    }
}

#[tokio::test]
async fn a_deleted_topic_takes_its_offsets_along() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    create(&mut client, json!({})).await;
    client.consume("c1", "g", "t").await;
    let commit = json!({"consumerGroup": "g", "topic": "t", "queueId": "0", "commitOffset": "7"});
    assert_eq!(client.ask(15, commit, &[]).await.code(), 0);
    let delete = |topic: &str| json!({"topic": topic});
    assert_eq!(client.ask(215, delete(" "), &[]).await.code(), 29);
    assert_eq!(
        client
            .ask(215, delete("SCHEDULE_TOPIC_XXXX"), &[])
            .await
            .code(),
        29
    );
    assert_eq!(client.ask(215, delete("t"), &[]).await.code(), 0);
    assert_eq!(client.ask(215, delete("t"), &[]).await.code(), 0);
    assert!(!running.file("config/topics.json").contains("\t\t\"t\":{"));
    let query = json!({"consumerGroup": "g", "topic": "t", "queueId": "0"});
    assert_eq!(client.ask(14, query, &[]).await.code(), 22);
}

#[tokio::test]
async fn a_burst_of_creations_is_all_durable() {
    let running = Running::start().await;
    let mut clients = Vec::new();
    for number in 0..100 {
        let mut client = running.connect().await;
        clients.push(tokio::spawn(async move {
            client.create_topic(&format!("burst-{number}"), 1).await;
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
    let file = running.file("config/topics.json");
    for number in 0..100 {
        assert!(file.contains(&format!("\"burst-{number}\":{{")), "{number}");
    }
}

#[tokio::test]
async fn topics_for_messages_of_every_kind_need_a_switch() {
    let mixed = json!({"attributes": "+message.type=MIXED"});
    let running = Running::start().await;
    let mut client = running.connect().await;
    let refused = create(&mut client, mixed.clone()).await;
    assert_eq!(refused.code(), 29);
    assert!(refused.remark().contains("enableMixedMessageType"));
    let running = Running::start_with(&[("enableMixedMessageType", "true")]).await;
    let mut client = running.connect().await;
    assert_eq!(create(&mut client, mixed).await.code(), 0);
}
