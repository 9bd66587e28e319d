// SPDX-License-Identifier: Apache-2.0
//! Pulls: codes 11 and 361, their checks, and what is held until a message comes.

use std::time::{Duration, Instant};

use aerobee_message::record::RecordView;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{Client, Message, Running};

const COMMIT: i32 = 1;
const SUSPEND: i32 = 2;
const SUBSCRIPTION: i32 = 4;

fn fields(offset: i64, flags: i32) -> Value {
    json!({
        "consumerGroup": "readers", "topic": "orders", "queueId": "0", "queueOffset": offset.to_string(),
        "maxMsgNums": "32", "sysFlag": flags.to_string(), "commitOffset": "0",
        "suspendTimeoutMillis": "15000", "subscription": "*", "subVersion": "0", "expressionType": "TAG",
    })
}

async fn pull(client: &mut Client, offset: i64, changes: Value) -> Message {
    let mut fields = fields(offset, SUBSCRIPTION);
    for (name, value) in changes.as_object().unwrap() {
        fields[name] = value.clone();
    }
    client.ask(11, fields, &[]).await
}

/// Bodies and queue offsets of the messages in a pull's answer.
fn messages(answer: &Message) -> Vec<(String, i64)> {
    let mut rest = &answer.body[..];
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let record = RecordView::parse(rest).unwrap();
        let body = String::from_utf8(record.body().to_vec()).unwrap();
        messages.push((body, record.queue_offset()));
        rest = &rest[record.total_len()..];
    }
    messages
}

async fn with_messages(count: usize) -> (Running, Client) {
    let running = Running::start().await;
    let mut client = running.connect().await;
    client.create_topic("orders", 2).await;
    for index in 0..count {
        assert_eq!(
            client.send("orders", 0, &format!("m{index}")).await.code(),
            0
        );
    }
    (running, client)
}

#[tokio::test]
async fn messages_come_in_order_and_say_where_to_go_on() {
    let (_running, mut client) = with_messages(50).await;
    let answer = pull(&mut client, 3, json!({"maxMsgNums": "10"})).await;
    assert_eq!((answer.code(), answer.remark()), (0, "FOUND"));
    let wanted: Vec<_> = (3..13).map(|index| (format!("m{index}"), index)).collect();
    assert_eq!(messages(&answer), wanted);
    for (name, value) in [
        ("nextBeginOffset", "13"),
        ("minOffset", "0"),
        ("maxOffset", "50"),
        ("suggestWhichBrokerId", "0"),
    ] {
        assert_eq!(answer.field(name), value, "{name}");
    }
    assert_eq!(
        messages(&pull(&mut client, 0, json!({"maxMsgNums": "1000"})).await).len(),
        32
    );
    assert_eq!(
        messages(&pull(&mut client, 0, json!({"maxMsgNums": "0"})).await).len(),
        1
    );
    let mut lite = fields(49, SUBSCRIPTION);
    lite["sysFlag"] = json!("20");
    assert_eq!(messages(&client.ask(361, lite, &[]).await).len(), 1);
}

#[tokio::test]
async fn offsets_outside_the_queue_are_told() {
    let (_running, mut client) = with_messages(5).await;
    for (offset, queue, code, next) in [
        (5, 0, 19, "5"),
        (6, 0, 21, "5"),
        (-1, 0, 21, "0"),
        (0, 1, 19, "0"),
        (5, 1, 21, "0"),
    ] {
        let answer = pull(&mut client, offset, json!({"queueId": queue.to_string()})).await;
        assert_eq!(
            (answer.code(), answer.field("nextBeginOffset")),
            (code, next),
            "{offset} {queue} {answer:?}"
        );
        assert!(answer.body.is_empty());
        assert!(!answer.field("minOffset").is_empty() && !answer.field("maxOffset").is_empty());
    }
}

/// Before its first message, whether it has been made or not.
#[tokio::test]
async fn a_queue_of_batches_without_messages_has_no_first_offset() {
    let (_running, mut client) = with_messages(0).await;
    let create = json!({
        "topic": "batches", "defaultTopic": "TBW102", "readQueueNums": "1", "writeQueueNums": "1",
        "perm": "6", "topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false",
        "attributes": "+queue.type=BatchCQ",
    });
    assert_eq!(client.ask(17, create, &[]).await.code(), 0);
    for (topic, first) in [("batches", "-1"), ("orders", "0")] {
        let answer = pull(&mut client, 0, json!({"topic": topic})).await;
        let bounds = (answer.field("minOffset"), answer.field("maxOffset"));
        assert_eq!((answer.code(), bounds), (19, (first, "0")), "{answer:?}");
        let queue = json!({"topic": topic, "queueId": "0"});
        assert_eq!(client.ask(31, queue, &[]).await.field("offset"), first);
    }
}

#[tokio::test]
async fn tags_choose_messages() {
    let (_running, mut client) = with_messages(0).await;
    for (index, tag) in ["red", "blue", "red", "green", "blue"].iter().enumerate() {
        let fields = json!({
            "a": "g", "b": "orders", "c": "TBW102", "d": "4", "e": "0", "f": "0", "g": "5", "h": "0",
            "i": format!("TAGS\u{1}{tag}\u{2}"),
        });
        assert_eq!(
            client
                .ask(310, fields, format!("m{index}").as_bytes())
                .await
                .code(),
            0
        );
    }
    let bodies = |answer: &Message| {
        messages(answer)
            .into_iter()
            .map(|(body, _)| body)
            .collect::<Vec<_>>()
    };
    let answer = pull(&mut client, 0, json!({"subscription": "red || green"})).await;
    assert_eq!(bodies(&answer), ["m0", "m2", "m3"]);
    assert_eq!(answer.field("nextBeginOffset"), "5");
    let none = pull(&mut client, 0, json!({"subscription": "yellow"})).await;
    assert_eq!((none.code(), none.field("nextBeginOffset")), (20, "5"));
    assert_eq!(
        bodies(&pull(&mut client, 0, json!({"subscription": ""})).await).len(),
        5
    );
}

/// A send with properties.
fn with_properties(properties: &str) -> Value {
    json!({
        "a": "g", "b": "orders", "c": "TBW102", "d": "4", "e": "0", "f": "0", "g": "5", "h": "0",
        "i": properties,
    })
}

#[tokio::test]
async fn sql_expressions_are_matched_with_the_properties() {
    let (running, mut client) = with_messages(1).await;
    for (properties, body) in [
        ("a\u{1}3\u{2}b\u{1}x", "first"),
        ("a\u{1}1\u{2}", "second"),
        ("TAGS\u{1}t\u{2}a\u{1}7\u{2}", "third"),
    ] {
        let answer = client
            .ask(310, with_properties(properties), body.as_bytes())
            .await;
        assert_eq!(answer.code(), 0);
    }
    let sql = |expression: &str| json!({"expressionType": "SQL92", "subscription": expression});
    let answer = pull(&mut client, 0, sql("a > 2")).await;
    let wanted = [("first".to_owned(), 1), ("third".to_owned(), 3)];
    assert_eq!(messages(&answer), wanted);
    let none = pull(&mut client, 0, sql("a > 100")).await;
    assert_eq!((none.code(), none.field("nextBeginOffset")), (20, "4"));
    let bad = pull(&mut client, 0, sql("a > 'x'")).await;
    assert_eq!(bad.code(), 23);
    assert!(bad.remark().contains("cannot be compared"), "{bad:?}");
    assert_eq!(
        pull(&mut client, 0, json!({"expressionType": "LUA"}))
            .await
            .code(),
        23
    );

    // A held pull goes on waiting until something matches.
    let mut consumer = running.connect().await;
    let mut held = fields(4, SUBSCRIPTION | SUSPEND);
    held["expressionType"] = json!("SQL92");
    held["subscription"] = json!("a BETWEEN 5 AND 6");
    let mut waiting = std::pin::pin!(consumer.ask(11, held, &[]));
    let early = timeout(Duration::from_millis(30), &mut waiting).await;
    assert!(early.is_err());
    client
        .ask(310, with_properties("a\u{1}4\u{2}"), b"no")
        .await;
    client
        .ask(310, with_properties("a\u{1}5\u{2}"), b"yes")
        .await;
    assert_eq!(messages(&waiting.await), [("yes".to_owned(), 5)]);
}

#[tokio::test]
async fn an_sql_subscription_comes_with_the_heartbeat() {
    let (running, mut client) = with_messages(1).await;
    client
        .ask(310, with_properties("a\u{1}3\u{2}"), b"yes")
        .await;
    let mut beat = crate::support::heartbeat("c1", "readers", "orders");
    let wanted = &mut beat["consumerDataSet"][0]["subscriptionDataSet"][0];
    wanted["expressionType"] = json!("SQL92");
    wanted["subString"] = json!("a = 3");
    assert_eq!(client.ask_json(34, &beat).await.code(), 0);
    let answer = client.ask(11, fields(0, 0), &[]).await;
    assert_eq!(messages(&answer), [("yes".to_owned(), 1)]);

    let mut broken = beat.clone();
    let wanted = &mut broken["consumerDataSet"][0]["subscriptionDataSet"][0];
    wanted["subString"] = json!("a >");
    wanted["subVersion"] = json!(1_800_000_000_000_i64);
    assert_eq!(client.ask_json(34, &broken).await.code(), 0);
    assert_eq!(client.ask(11, fields(0, 0), &[]).await.code(), 27);

    drop(running);
    let off = Running::start_with(&[("enablePropertyFilter", "false")]).await;
    let mut client = off.connect().await;
    client.create_topic("orders", 2).await;
    let sql = json!({"expressionType": "SQL92", "subscription": "a > 1"});
    assert_eq!(pull(&mut client, 0, sql).await.code(), 1);
}

#[tokio::test]
async fn checks_carry_apaches_codes() {
    let (_running, mut client) = with_messages(1).await;
    for (changes, code) in [
        (json!({"topic": "unknown"}), 17),
        (json!({"queueId": "2"}), 29),
        (json!({"queueId": "-1"}), 29),
        (json!({"consumerGroup": "bad/group"}), 26),
        (json!({"queueOffset": "x"}), 1),
        // Without a subscription of its own the heartbeat's counts, and there was none.
        (json!({"sysFlag": "0"}), 24),
    ] {
        let answer = pull(&mut client, 0, changes.clone()).await;
        assert_eq!(answer.code(), code, "{changes} {answer:?}");
    }
    client.consume("c1", "readers", "orders").await;
    let version = 1_700_000_000_000_i64;
    assert_eq!(
        pull(
            &mut client,
            0,
            json!({"sysFlag": "0", "subVersion": version.to_string()})
        )
        .await
        .code(),
        0
    );
    assert_eq!(
        pull(
            &mut client,
            0,
            json!({"sysFlag": "0", "subVersion": (version + 1).to_string()})
        )
        .await
        .code(),
        25
    );
    client.create_topic("other", 1).await;
    assert_eq!(
        pull(&mut client, 0, json!({"sysFlag": "0", "topic": "other"}))
            .await
            .code(),
        24
    );
    let fields = json!({
        "topic": "orders", "defaultTopic": "TBW102", "readQueueNums": "2", "writeQueueNums": "2", "perm": "2",
        "topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false",
    });
    assert_eq!(client.ask(17, fields, &[]).await.code(), 0);
    let answer = pull(&mut client, 0, json!({})).await;
    assert_eq!((answer.code(), answer.field("forbiddenType")), (16, "3"));
}

#[tokio::test]
async fn a_pull_may_commit_an_offset() {
    let (_running, mut client) = with_messages(5).await;
    pull(
        &mut client,
        4,
        json!({"sysFlag": (COMMIT | SUBSCRIPTION).to_string(), "commitOffset": "4"}),
    )
    .await;
    let committed = client
        .ask(
            14,
            json!({"consumerGroup": "readers", "topic": "orders", "queueId": "0"}),
            &[],
        )
        .await;
    assert_eq!(committed.field("offset"), "4");
}

#[tokio::test]
async fn a_waiting_pull_is_answered_by_the_next_message() {
    let (running, mut producer) = with_messages(2).await;
    for round in 0..20 {
        let mut consumer = running.connect().await;
        let mut waiting =
            std::pin::pin!(consumer.ask(11, fields(2 + round, SUBSCRIPTION | SUSPEND), &[]));
        let early = timeout(Duration::from_millis(20), &mut waiting).await;
        assert!(early.is_err(), "nothing is there yet");
        let started = Instant::now();
        producer.send("orders", 0, "new").await;
        let answer = waiting.await;
        assert!(
            started.elapsed() < Duration::from_secs(12),
            "not by its deadline"
        );
        assert_eq!(messages(&answer), [("new".to_owned(), 2 + round)]);
    }
}

#[tokio::test]
async fn many_waiting_pulls_all_get_the_message() {
    let (running, mut producer) = with_messages(0).await;
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let mut consumer = running.connect().await;
        waiting.spawn(async move {
            consumer
                .ask(11, fields(0, SUBSCRIPTION | SUSPEND), &[])
                .await
        });
    }
    // The first message of the queue also makes its files.
    producer.send("orders", 0, "one for all").await;
    while let Some(answer) = waiting.join_next().await {
        let answer = answer.unwrap();
        assert_eq!(messages(&answer), [("one for all".to_owned(), 0)]);
    }
}

#[tokio::test]
async fn a_waiting_pull_passes_over_what_its_tags_refuse() {
    let (running, mut producer) = with_messages(0).await;
    producer.send("orders", 0, "first").await;
    let mut consumer = running.connect().await;
    let mut wanted = fields(1, SUBSCRIPTION | SUSPEND);
    wanted["subscription"] = json!("red");
    let mut waiting = std::pin::pin!(consumer.ask(11, wanted, &[]));
    assert!(
        timeout(Duration::from_millis(50), &mut waiting)
            .await
            .is_err()
    );
    let tagged = |tag: &str| {
        json!({
            "a": "g", "b": "orders", "c": "TBW102", "d": "4", "e": "0", "f": "0", "g": "5", "h": "0",
            "i": format!("TAGS\u{1}{tag}\u{2}"),
        })
    };
    producer.ask(310, tagged("blue"), b"no").await;
    assert!(
        timeout(Duration::from_millis(100), &mut waiting)
            .await
            .is_err()
    );
    producer.ask(310, tagged("red"), b"yes").await;
    assert_eq!(messages(&waiting.await), [("yes".to_owned(), 2)]);
}

#[tokio::test]
async fn a_waiting_pull_hears_at_its_deadline_that_there_is_nothing() {
    let (_running, mut client) = with_messages(1).await;
    let started = Instant::now();
    let mut wanted = fields(1, SUBSCRIPTION | SUSPEND);
    wanted["suspendTimeoutMillis"] = json!("300");
    let answer = client.ask(11, wanted, &[]).await;
    assert_eq!((answer.code(), answer.field("nextBeginOffset")), (19, "1"));
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert!(started.elapsed() < Duration::from_secs(14));
}

#[tokio::test]
async fn a_stopping_broker_answers_waiting_pulls() {
    let (running, _client) = with_messages(1).await;
    let mut consumer = running.connect().await;
    consumer.park(11, fields(1, SUBSCRIPTION | SUSPEND)).await;
    running.broker.stop().await.unwrap();
    assert_eq!(consumer.parked().await.code(), 19);
}

#[tokio::test]
async fn under_synchronous_flush_a_waiting_pull_gets_what_is_durable() {
    let running = Running::start_with(&[("flushDiskType", "SYNC_FLUSH")]).await;
    let mut producer = running.connect().await;
    producer.create_topic("orders", 1).await;
    producer.send("orders", 0, "first").await;
    let mut consumer = running.connect().await;
    let mut waiting = std::pin::pin!(consumer.ask(11, fields(1, SUBSCRIPTION | SUSPEND), &[]));
    assert!(
        timeout(Duration::from_millis(50), &mut waiting)
            .await
            .is_err()
    );
    producer.send("orders", 0, "second").await;
    assert_eq!(messages(&waiting.await), [("second".to_owned(), 1)]);
}
