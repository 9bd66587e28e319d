// SPDX-License-Identifier: Apache-2.0
//! What operators forbid and limit: each with Apache's code, and the key to change after it. The
//! limits of messages themselves are tried in `sends.rs`, those of requests to pull in `pulls.rs`.

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{Client, Message, Running};

const NO_PERMISSION: i64 = 16;

fn topic(changes: &Value) -> Value {
    let mut fields = json!({
        "topic": "t", "defaultTopic": "TBW102", "readQueueNums": "1", "writeQueueNums": "1",
        "perm": "6", "topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false",
    });
    for (name, value) in changes.as_object().unwrap() {
        fields[name] = value.clone();
    }
    fields
}

async fn pull(client: &mut Client) -> Message {
    let fields = json!({
        "consumerGroup": "g", "topic": "t", "queueId": "0", "queueOffset": "0",
        "maxMsgNums": "32", "sysFlag": "4", "commitOffset": "0", "suspendTimeoutMillis": "0",
        "subscription": "*", "subVersion": "0", "expressionType": "TAG",
    });
    client.ask(11, fields, &[]).await
}

async fn pop(client: &mut Client) -> Message {
    let fields = json!({
        "consumerGroup": "g", "topic": "t", "queueId": "-1", "maxMsgNums": "32",
        "invisibleTime": "60000", "pollTime": "0", "bornTime": "0", "initMode": "0",
    });
    client.ask(200_050, fields, &[]).await
}

fn now() -> u128 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()
}

/// A broker with a topic, a group and a message.
async fn start(keys: &[(&str, &str)]) -> (Running, Client) {
    let running = Running::start_with(keys).await;
    let mut client = running.connect().await;
    client.create_topic("t", 1).await;
    client.consume("c1", "g", "t").await;
    assert_eq!(client.send("t", 0, "m").await.code(), 0);
    (running, client)
}

#[track_caller]
fn refused(answer: &Message, words: &str, key: &str) {
    assert_eq!(answer.code(), NO_PERMISSION, "{answer:?}");
    assert!(answer.remark().starts_with(words), "{answer:?}");
    assert!(answer.remark().contains(key), "{answer:?}");
}

#[tokio::test]
async fn a_broker_without_permission_to_read_gives_out_nothing() {
    let (_running, mut client) = start(&[("brokerPermission", "2")]).await;
    let pulled = pull(&mut client).await;
    refused(
        &pulled,
        "the broker[127.0.0.1] pulling message is forbidden",
        "brokerPermission",
    );
    assert_eq!(pulled.field("forbiddenType"), "1");
    let popped = pop(&mut client).await;
    refused(
        &popped,
        "the broker[127.0.0.1] pop message is forbidden",
        "brokerPermission",
    );
}

/// Name servers tell producers of other topics not to send here; Apache's broker checks no more.
#[tokio::test]
async fn a_broker_without_permission_to_write_takes_no_messages_of_order_topics() {
    let (_running, mut client) = start(&[("brokerPermission", "4")]).await;
    let ordered = topic(&json!({"order": "true"}));
    assert_eq!(client.ask(17, ordered, &[]).await.code(), 0);
    let sent = client.send("t", 0, "m").await;
    refused(
        &sent,
        "the broker[127.0.0.1] sending message is forbidden",
        "brokerPermission",
    );
}

#[tokio::test]
async fn what_sends_are_held_to_changes_while_running() {
    let (_running, mut client) = start(&[]).await;
    let ordered = topic(&json!({"order": "true"}));
    assert_eq!(client.ask(17, ordered, &[]).await.code(), 0);
    assert_eq!(client.send("t", 0, "0123456789").await.code(), 0);
    let change = b"maxMessageSize=9\nbrokerPermission=6";
    assert_eq!(client.ask(25, json!({}), change).await.code(), 0);
    assert_eq!(client.send("t", 0, "0123456789").await.code(), 13);
    assert_eq!(client.send("t", 0, "012345678").await.code(), 0);
    let change = b"brokerPermission=4";
    assert_eq!(client.ask(25, json!({}), change).await.code(), 0);
    assert_eq!(client.send("t", 0, "m").await.code(), NO_PERMISSION);
    let change = b"brokerPermission=6";
    assert_eq!(client.ask(25, json!({}), change).await.code(), 0);
    // Read queues count as well as write queues.
    for (read, write) in [(4, 5), (5, 4)] {
        let queues = json!({"order": "true", "readQueueNums": read.to_string(), "writeQueueNums": write.to_string()});
        assert_eq!(client.ask(17, topic(&queues), &[]).await.code(), 0);
        assert_eq!(client.send("t", 4, "m").await.code(), 0);
        assert_eq!(client.send("t", 5, "m").await.code(), 29);
    }
}

#[tokio::test]
async fn a_disabled_group_gets_nothing_and_others_do() {
    let (_running, mut client) = start(&[]).await;
    let disabled = json!({"groupName": "g", "consumeEnable": false});
    assert_eq!(client.ask_json(200, &disabled).await.code(), 0);
    let words = "subscription group no permission, g";
    let pulled = pull(&mut client).await;
    refused(&pulled, words, "consumeEnable");
    assert_eq!(pulled.field("forbiddenType"), "2");
    refused(&pop(&mut client).await, words, "consumeEnable");
    client.consume("c2", "pullers", "t").await;
    assert_eq!(client.pull("t", 0, 0).await.code(), 0);
    let enabled = json!({"groupName": "g", "consumeEnable": true});
    assert_eq!(client.ask_json(200, &enabled).await.code(), 0);
    assert_eq!(pull(&mut client).await.code(), 0);
    assert_eq!(pop(&mut client).await.code(), 0);
}

/// What waits when a group may read no longer does not get the next message: it comes back and hears why not.
#[tokio::test]
async fn who_may_read_no_longer_waits_no_longer() {
    let (running, mut client) = start(&[]).await;
    // The one message is given out, and the next pop waits.
    assert_eq!(pop(&mut client).await.code(), 0);
    let waits = json!({
        "consumerGroup": "g", "topic": "t", "queueId": "0", "queueOffset": "1",
        "maxMsgNums": "32", "sysFlag": "6", "commitOffset": "0", "suspendTimeoutMillis": "600000",
        "subscription": "*", "subVersion": "0", "expressionType": "TAG",
    });
    let mut popping = running.connect().await;
    let polls = json!({
        "consumerGroup": "g", "topic": "t", "queueId": "-1", "maxMsgNums": "32", "invisibleTime": "60000",
        "pollTime": "600000", "bornTime": now().to_string(), "initMode": "1",
    });
    let disabled = json!({"groupName": "g", "consumeEnable": false});
    let enabled = json!({"groupName": "g", "consumeEnable": true});
    let forbidden = json!({"group": "g", "topic": "t", "readable": "false"});
    let allowed = json!({"group": "g", "topic": "t", "readable": "true"});
    let unreadable = topic(&json!({"perm": "2"}));
    let readable = topic(&json!({"perm": "6"}));
    for round in 0..3 {
        let mut pulling = running.connect().await;
        let mut waiting = std::pin::pin!(pulling.ask(11, waits.clone(), &[]));
        let mut polling = std::pin::pin!(popping.ask(200_050, polls.clone(), &[]));
        let early = Duration::from_millis(30);
        assert!(timeout(early, &mut waiting).await.is_err());
        assert!(timeout(early, &mut polling).await.is_err());
        let off = match round {
            0 => client.ask_json(200, &disabled).await,
            1 => client.ask(353, forbidden.clone(), &[]).await,
            _ => client.ask(17, unreadable.clone(), &[]).await,
        };
        assert_eq!(off.code(), 0);
        let (pulled, popped) = tokio::join!(waiting, polling);
        // On a busy machine they may come only now, and hear it at once.
        for answer in [pulled, popped] {
            assert!(
                [19, 210, NO_PERMISSION].contains(&answer.code()),
                "{answer:?}"
            );
            assert_eq!(answer.body.len(), 0, "{answer:?}");
        }
        let again = match round {
            0 => client.ask_json(200, &enabled).await,
            1 => client.ask(353, allowed.clone(), &[]).await,
            _ => client.ask(17, readable.clone(), &[]).await,
        };
        assert_eq!(again.code(), 0);
    }
    // Nobody waits any more who would take it.
    assert_eq!(client.send("t", 0, "next").await.code(), 0);
    assert_eq!(client.pull("t", 0, 1).await.code(), 0);
}

#[tokio::test]
async fn the_bits_of_a_topic_allow_reading_or_writing() {
    let (_running, mut client) = start(&[]).await;
    let changed = topic(&json!({"perm": "2"}));
    assert_eq!(client.ask(17, changed, &[]).await.code(), 0);
    let words = "the topic[t] pulling message is forbidden";
    refused(&pull(&mut client).await, words, "");
    assert_eq!(pop(&mut client).await.code(), NO_PERMISSION);
    assert_eq!(client.send("t", 0, "m").await.code(), 0);
    // What cannot be read can still be given up: the bits are about messages.
    let changed = topic(&json!({"perm": "6"}));
    assert_eq!(client.ask(17, changed, &[]).await.code(), 0);
    assert_eq!(pull(&mut client).await.code(), 0);
}

#[tokio::test]
async fn sends_before_the_time_to_accept_them_are_refused() {
    let later = "99999999999999";
    let running = Running::start_with(&[("startAcceptSendRequestTimeStamp", later)]).await;
    let mut client = running.connect().await;
    client.create_topic("t", 1).await;
    let sent = client.send("t", 0, "m").await;
    assert_eq!(sent.code(), 1, "{sent:?}");
    assert!(
        sent.remark().starts_with("broker unable to service, until"),
        "{sent:?}"
    );
}

/// Most pulls of one queue that wait at a time.
const HELD_MAX: i64 = 10_000;

#[tokio::test]
async fn suspended_pulls_of_a_queue_are_bounded_and_one_more_hears_that_there_is_nothing() {
    let (running, mut client) = start(&[]).await;
    let suspended = json!({
        "consumerGroup": "g", "topic": "t", "queueId": "0", "queueOffset": "1",
        "maxMsgNums": "32", "sysFlag": "6", "commitOffset": "0",
        "suspendTimeoutMillis": "29000", "subscription": "*", "subVersion": "0",
        "expressionType": "TAG",
    });
    let started = Instant::now();
    let mut consumer = running.connect().await;
    let last = consumer.ask_many(11, &suspended, HELD_MAX + 1).await;
    // Requests of one connection are taken one after the other: what is answered at once is answered before this one.
    let ping = consumer.ask_many(-1, &json!({}), 1).await;
    let refused = consumer.parked().await;
    if refused.header["opaque"] == json!(1) && started.elapsed() > Duration::from_secs(25) {
        // So slow a machine shows nothing: the time of the first is over.
        return;
    }
    assert_eq!(refused.header["opaque"], json!(last), "{refused:?}");
    assert_eq!(refused.code(), 19, "{refused:?}");
    assert_eq!(refused.field("nextBeginOffset"), "1");
    assert_eq!(consumer.parked().await.header["opaque"], json!(ping));
    // The others still wait, and each is answered once when there is a message: with it, or that it is to ask again when
    // more of them have to be read from the disk than there are threads for that.
    assert_eq!(client.send("t", 0, "next").await.code(), 0);
    let mut answered = std::collections::BTreeSet::new();
    for _ in 0..HELD_MAX {
        let answer = consumer.parked().await;
        let code = answer.code();
        let is_over = code == 19 && started.elapsed() > Duration::from_secs(25);
        assert!(code == 0 || code == 20 || is_over, "{answer:?}");
        assert!(answered.insert(answer.header["opaque"].as_i64().unwrap()));
    }
    assert!(!answered.contains(&last));
}
