// SPDX-License-Identifier: Apache-2.0
//! Namespaces: a client that has one writes `NAMESPACE%name` for each topic and group, and takes it off again from what
//! it is told. To the broker these are names like others, on every way that a message goes.

use aerobee_message::{properties::keys, record::RecordView};
use aerobee_remoting::RequestCode;
use serde_json::{Value, json};

use crate::support::{
    Client, Message, Running,
    delayed::{Bench, count, take},
    heartbeat,
};

const POP: i32 = RequestCode::POP_MESSAGE.0;
const TOPIC: &str = "MQ_INST_1%orders";
const GROUP: &str = "MQ_INST_1%workers";

fn pull_fields(group: &str, topic: &str) -> Value {
    json!({
        "consumerGroup": group, "topic": topic, "queueId": "0", "queueOffset": "0",
        "maxMsgNums": "32", "sysFlag": "0", "commitOffset": "0", "suspendTimeoutMillis": "0",
        "subVersion": "0",
    })
}

/// Topics and bodies of the messages of an answer.
fn read(answer: &Message) -> Vec<(String, String)> {
    assert_eq!(answer.code(), 0, "{answer:?}");
    let mut rest = &answer.body[..];
    let mut all = Vec::new();
    while !rest.is_empty() {
        let record = RecordView::parse(rest).unwrap();
        let body = String::from_utf8(record.body().to_vec()).unwrap();
        all.push((record.topic().to_owned(), body));
        rest = &rest[record.total_len()..];
    }
    all
}

async fn exists(client: &mut Client, topic: &str) -> bool {
    client.ask(351, json!({"topic": topic}), &[]).await.code() == 0
}

#[tokio::test]
async fn namespaced_names_pass_untouched_through_send_heartbeat_pull_and_commit() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    // The first send creates it, as with any other name.
    let sent = client.send(TOPIC, 0, "m").await;
    assert_eq!(sent.code(), 0, "{sent:?}");
    assert_eq!(client.consume("c1", GROUP, TOPIC).await.code(), 0);
    let notice = client.requested().await;
    assert_eq!(notice.field("consumerGroup"), GROUP);
    assert!(exists(&mut client, "%RETRY%MQ_INST_1%workers").await);
    let list = client.ask(38, json!({"consumerGroup": GROUP}), &[]).await;
    assert_eq!(list.json()["consumerIdList"], json!(["c1"]));
    let shown = client.ask(203, json!({"consumerGroup": GROUP}), &[]).await;
    let subscriptions = shown.json()["subscriptionTable"].clone();
    let topics: Vec<&String> = subscriptions.as_object().unwrap().keys().collect();
    assert_eq!(topics, ["%RETRY%MQ_INST_1%workers", TOPIC]);
    let pulled = client.ask(11, pull_fields(GROUP, TOPIC), &[]).await;
    assert_eq!(read(&pulled), [(TOPIC.to_owned(), "m".to_owned())]);
    let commit = json!({
        "consumerGroup": GROUP, "topic": TOPIC, "queueId": "0", "commitOffset": "1",
    });
    assert_eq!(client.ask(15, commit, &[]).await.code(), 0);
    let topics = client.ask(343, json!({"group": GROUP}), &[]).await;
    assert_eq!(topics.json()["topicList"], json!([TOPIC]));
    let groups = client.ask(300, json!({"topic": TOPIC}), &[]).await;
    assert_eq!(groups.json()["groupList"], json!([GROUP]));
    drop(client);
    let running = running.restart().await;
    let mut client = running.connect().await;
    let asked = json!({"consumerGroup": GROUP, "topic": TOPIC, "queueId": "0"});
    let known = client.ask(14, asked, &[]).await;
    assert_eq!((known.code(), known.field("offset")), (0, "1"));
}

#[tokio::test]
async fn namespaces_do_not_see_each_other() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    for namespace in ["", "MQ_INST_1%", "MQ_INST_2%"] {
        let topic = format!("{namespace}orders");
        let sent = client.send(&topic, 0, &topic).await;
        assert_eq!((sent.code(), sent.field("queueOffset")), (0, "0"));
    }
    for namespace in ["", "MQ_INST_1%", "MQ_INST_2%"] {
        let (topic, group) = (format!("{namespace}orders"), format!("{namespace}workers"));
        let mut member = running.connect().await;
        assert_eq!(member.consume("c", &group, &topic).await.code(), 0);
        let pulled = member.ask(11, pull_fields(&group, &topic), &[]).await;
        assert_eq!(read(&pulled), [(topic.clone(), topic.clone())]);
        let list = client.ask(38, json!({"consumerGroup": group}), &[]).await;
        assert_eq!(list.json()["consumerIdList"], json!(["c"]));
        let commit = json!({
            "consumerGroup": group, "topic": topic, "queueId": "0", "commitOffset": "1",
        });
        assert_eq!(client.ask(15, commit, &[]).await.code(), 0);
    }
    // One of them is deleted, the others are as they were.
    let delete = json!({"topic": TOPIC});
    assert_eq!(client.ask(215, delete, &[]).await.code(), 0);
    let delete = json!({"groupName": GROUP, "cleanOffset": "true"});
    assert_eq!(client.ask(207, delete, &[]).await.code(), 0);
    for (topic, group, there) in [
        ("orders", "workers", true),
        (TOPIC, GROUP, false),
        ("MQ_INST_2%orders", "MQ_INST_2%workers", true),
    ] {
        assert_eq!(exists(&mut client, topic).await, there, "{topic}");
        let asked = json!({
            "consumerGroup": group, "topic": topic, "queueId": "0", "setZeroIfNotFound": "false",
        });
        let known = client.ask(14, asked, &[]).await;
        assert_eq!(known.code(), if there { 0 } else { 22 }, "{known:?}");
    }
}

#[tokio::test]
async fn a_namespaced_message_given_back_comes_again_and_ends_as_a_dead_letter() {
    let bench = Bench::new();
    let (_broker, mut client) = bench.start().await;
    client.create_topic(TOPIC, 1).await;
    client
        .send_with(TOPIC, "bad", &[(keys::UNIQ_KEY, "U1")])
        .await;
    let mut got = take(&mut client, TOPIC, 1).await[0].clone();
    for code in [0, 0] {
        let fields = json!({
            "offset": got.physical.to_string(), "group": GROUP, "delayLevel": "0",
            "originMsgId": "", "originTopic": TOPIC, "unitMode": "false",
            "maxReconsumeTimes": "1",
        });
        let answer = client.ask(36, fields, &[]).await;
        assert_eq!(answer.code(), code, "{answer:?}");
        if got.reconsume_times == 0 {
            bench.shift.advance(10_000);
            let again = take(&mut client, "%RETRY%MQ_INST_1%workers", 1).await;
            got = again[0].clone();
            assert_eq!((got.body.as_str(), got.reconsume_times), ("bad", 1));
            assert_eq!(got.property(keys::RETRY_TOPIC), Some(TOPIC));
        }
    }
    let dead = take(&mut client, "%DLQ%MQ_INST_1%workers", 1).await;
    assert_eq!(dead[0].body, "bad");
    assert_eq!(dead[0].property(keys::RETRY_TOPIC), Some(TOPIC));
    assert_eq!(dead[0].property(keys::DLQ_ORIGIN_TOPIC), Some(TOPIC));
    for bare in ["%RETRY%workers", "%DLQ%workers", "orders"] {
        assert!(!exists(&mut client, bare).await, "{bare}");
    }
}

#[tokio::test]
async fn a_namespaced_message_that_the_client_sends_back_itself_becomes_a_dead_letter() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    assert_eq!(client.consume("c1", GROUP, TOPIC).await.code(), 0);
    let retry = "%RETRY%MQ_INST_1%workers";
    let fields = json!({
        "a": GROUP, "b": retry, "c": "TBW102", "d": "4", "e": "0", "f": "0",
        "g": "1700000000000", "h": "0", "i": format!("{}\u{1}{TOPIC}\u{2}", keys::RETRY_TOPIC),
        "j": "3", "k": "false", "l": "2", "m": "false",
    });
    let sent = client.ask(310, fields, b"bad").await;
    assert_eq!(sent.code(), 0, "{sent:?}");
    assert_eq!(count(&mut client, retry, 0).await, 0);
    assert_eq!(count(&mut client, "%DLQ%MQ_INST_1%workers", 0).await, 1);
}

#[tokio::test]
async fn a_namespaced_message_that_is_popped_and_left_comes_again() {
    let bench = Bench::new();
    let (_broker, mut client) = bench.start().await;
    client.create_topic(TOPIC, 1).await;
    assert_eq!(client.send(TOPIC, 0, "m").await.code(), 0);
    let pop = |poll: &str| {
        json!({
            "consumerGroup": GROUP, "topic": TOPIC, "queueId": "-1", "maxMsgNums": "32",
            "invisibleTime": "600000", "pollTime": poll, "bornTime": "0", "initMode": "0",
        })
    };
    let popped = client.ask(POP, pop("0"), &[]).await;
    assert_eq!(read(&popped), [(TOPIC.to_owned(), "m".to_owned())]);
    bench.shift.advance(601_000);
    let again = client.ask(POP, pop("50000"), &[]).await;
    // Under the topic's own name; where it lies is told beside it.
    assert_eq!(read(&again), [(TOPIC.to_owned(), "m".to_owned())]);
    let record = RecordView::parse(&again.body).unwrap();
    assert_eq!(record.reconsume_times(), 1);
    assert!(exists(&mut client, &format!("%RETRY%{GROUP}_{TOPIC}")).await);
}

/// Clients that speak `namespaceV2` write it beside the bare name.
#[tokio::test]
async fn a_namespace_beside_the_name_changes_no_name() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    let fields = json!({
        "a": "producers", "b": "orders", "c": "TBW102", "d": "4", "e": "0", "f": "0",
        "g": "1700000000000", "h": "0", "i": "", "j": "0", "k": "false", "m": "false",
        "ns": "MQ_INST_1", "nsd": "true",
    });
    let sent = client.ask(310, fields, b"m").await;
    assert_eq!(sent.code(), 0, "{sent:?}");
    assert!(!exists(&mut client, TOPIC).await);
    assert_eq!(
        client
            .ask_json(34, &heartbeat("c1", "workers", "orders"))
            .await
            .code(),
        0
    );
    let mut fields = pull_fields("workers", "orders");
    fields["ns"] = json!("MQ_INST_1");
    fields["nsd"] = json!("true");
    let pulled = client.ask(11, fields, &[]).await;
    assert_eq!(read(&pulled), [("orders".to_owned(), "m".to_owned())]);
}
