// SPDX-License-Identifier: Apache-2.0
//! Lite topics: codes 200070, 200071, 200073 to 200079.

use std::time::{Duration, Instant};

use aerobee_message::record::RecordView;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{Client, Hand, Message, Running};

async fn with_parent() -> (Running, Client) {
    let running = Running::start().await;
    let mut client = running.connect().await;
    prepare(&mut client).await;
    (running, client)
}

async fn prepare(client: &mut Client) {
    let topic = json!({"topicConfigList": [{
        "topicName": "parent", "readQueueNums": 2, "writeQueueNums": 2, "perm": 6,
        "attributes": {"+message.type": "LITE", "+lite.topic.expiration": "60"},
    }]});
    assert_eq!(client.ask_json(18, &topic).await.code(), 0);
    group(client, "readers", json!({})).await;
}

async fn group(client: &mut Client, name: &str, more: Value) {
    let mut attributes = json!({"+lite.bind.topic": "parent"});
    for (key, value) in more.as_object().unwrap() {
        attributes[key] = value.clone();
    }
    let group = json!({"groupName": name, "attributes": attributes});
    let answer = client.ask_json(200, &group).await;
    assert_eq!(answer.code(), 0, "{answer:?}");
}

async fn send(client: &mut Client, lite: &str, body: &str) -> Message {
    let fields = json!({
        "a": "g", "b": "parent", "c": "TBW102", "d": "4", "e": "0", "f": "0", "g": "5", "h": "0",
        "i": format!("__LITE_TOPIC\u{1}{lite}\u{2}"),
    });
    client.ask(310, fields, body.as_bytes()).await
}

fn change(action: &str, id: &str, group: &str, topics: &[&str]) -> Value {
    json!({"subscriptionSet": [{
        "action": action, "clientId": id, "group": group, "topic": "parent",
        "liteTopicSet": topics, "version": 0,
    }]})
}

async fn subscribe(client: &mut Client, action: &str, id: &str, topics: &[&str]) {
    let body = change(action, id, "readers", topics);
    let answer = client.ask_json(200_071, &body).await;
    assert_eq!(answer.code(), 0, "{answer:?}");
}

fn pop(id: &str, group: &str, invisible: u32, poll: u32) -> Value {
    json!({
        "clientId": id, "consumerGroup": group, "topic": "parent", "maxMsgNum": "32",
        "invisibleTime": invisible.to_string(), "pollTime": poll.to_string(), "bornTime": "0",
    })
}

fn bodies(answer: &Message) -> Vec<String> {
    let mut rest = &answer.body[..];
    let mut bodies = Vec::new();
    while !rest.is_empty() {
        let record = RecordView::parse(rest).unwrap();
        assert_eq!(record.topic(), "parent");
        assert!(
            record
                .properties()
                .get("INNER_MULTI_QUEUE_OFFSET")
                .is_some()
        );
        bodies.push(String::from_utf8(record.body().to_vec()).unwrap());
        rest = &rest[record.total_len()..];
    }
    bodies
}

#[tokio::test]
async fn messages_of_subscribed_lite_topics_come_in_order() {
    let (_running, mut client) = with_parent().await;
    subscribe(&mut client, "PARTIAL_ADD", "c1", &["a", "b"]).await;
    for (lite, body) in [("a", "a0"), ("b", "b0"), ("a", "a1"), ("other", "no")] {
        assert_eq!(send(&mut client, lite, body).await.code(), 0);
    }
    let answer = client
        .ask(200_070, pop("c1", "readers", 60_000, 0), &[])
        .await;
    assert_eq!(answer.code(), 0, "{answer:?}");
    assert_eq!(bodies(&answer), ["a0", "a1", "b0"]);
    assert_eq!(answer.field("orderCountInfo"), "0;0;0");
    assert_eq!(answer.field("reviveQid"), "999");
    // While they are out nothing more of these lite topics comes.
    send(&mut client, "a", "a2").await;
    let answer = client
        .ask(200_070, pop("c1", "readers", 60_000, 0), &[])
        .await;
    assert_eq!((answer.code(), answer.body.len()), (210, 0));
}

#[tokio::test]
async fn a_waiting_pop_is_served_by_the_send() {
    let (running, mut producer) = with_parent().await;
    let mut consumer = running.connect().await;
    subscribe(&mut consumer, "PARTIAL_ADD", "c1", &["a"]).await;
    let mut waiting =
        std::pin::pin!(consumer.ask(200_070, pop("c1", "readers", 60_000, 15_000), &[]));
    let early = timeout(Duration::from_millis(50), &mut waiting).await;
    assert!(early.is_err());
    let started = Instant::now();
    send(&mut producer, "a", "new").await;
    assert_eq!(bodies(&waiting.await), ["new"]);
    assert!(started.elapsed() < Duration::from_secs(12));
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again() {
    let (_running, mut client) = with_parent().await;
    subscribe(&mut client, "PARTIAL_ADD", "c1", &["a"]).await;
    send(&mut client, "a", "again").await;
    let first = client.ask(200_070, pop("c1", "readers", 200, 0), &[]).await;
    assert_eq!(bodies(&first), ["again"]);
    let second = client
        .ask(200_070, pop("c1", "readers", 200, 10_000), &[])
        .await;
    assert_eq!(bodies(&second), ["again"]);
    assert_eq!(second.field("orderCountInfo"), "0 qo0%0 1");
}

#[tokio::test]
async fn a_poll_ends_with_its_time() {
    let (_running, mut client) = with_parent().await;
    let started = Instant::now();
    let answer = client
        .ask(200_070, pop("c9", "readers", 200, 300), &[])
        .await;
    assert_eq!(answer.code(), 210);
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert!(started.elapsed() < Duration::from_secs(12));
}

#[tokio::test]
async fn messages_that_are_there_already_are_found_and_members_share() {
    let (running, mut one) = with_parent().await;
    for lite in ["a", "b", "c", "d"] {
        send(&mut one, lite, lite).await;
    }
    let mut other = running.connect().await;
    subscribe(&mut one, "COMPLETE_ADD", "c1", &["a", "b", "c", "d"]).await;
    subscribe(&mut other, "COMPLETE_ADD", "c2", &["a", "b", "c", "d"]).await;
    let first = one.ask(200_070, pop("c1", "readers", 60_000, 0), &[]).await;
    let second = other
        .ask(200_070, pop("c2", "readers", 60_000, 0), &[])
        .await;
    let mut all = bodies(&first);
    all.extend(bodies(&second));
    all.sort();
    assert_eq!(all, ["a", "b", "c", "d"]);
    // Another group gets all of it.
    group(&mut one, "others", json!({})).await;
    let body = change("PARTIAL_ADD", "c3", "others", &["a"]);
    assert_eq!(one.ask_json(200_071, &body).await.code(), 0);
    let answer = one.ask(200_070, pop("c3", "others", 60_000, 0), &[]).await;
    assert_eq!(bodies(&answer), ["a"]);
}

#[tokio::test]
async fn an_exclusive_lite_topic_goes_to_the_last_subscriber() {
    let (running, mut one) = with_parent().await;
    group(&mut one, "alone", json!({"+lite.sub.model": "Exclusive"})).await;
    let mut other = running.connect().await;
    let body = change("PARTIAL_ADD", "c1", "alone", &["a"]);
    assert_eq!(one.ask_json(200_071, &body).await.code(), 0);
    let body = change("PARTIAL_ADD", "c2", "alone", &["a"]);
    assert_eq!(other.ask_json(200_071, &body).await.code(), 0);
    let notice = one.requested().await;
    assert_eq!(notice.code(), 200_073);
    assert_eq!(
        (
            notice.field("liteTopic"),
            notice.field("clientId"),
            notice.field("consumerGroup")
        ),
        ("a", "c1", "alone")
    );
    send(&mut one, "a", "m").await;
    let answer = one.ask(200_070, pop("c1", "alone", 60_000, 0), &[]).await;
    assert_eq!(answer.code(), 210);
    let answer = other.ask(200_070, pop("c2", "alone", 60_000, 0), &[]).await;
    assert_eq!(bodies(&answer), ["m"]);
}

#[tokio::test]
async fn a_wildcard_group_gets_everything() {
    let (_running, mut client) = with_parent().await;
    group(&mut client, "all", json!({"+lite.sub.wildcard": "true"})).await;
    let body = change("PARTIAL_ADD", "w", "all", &["a"]);
    assert_eq!(client.ask_json(200_071, &body).await.code(), 604);
    let body = change("COMPLETE_ADD", "w", "all", &[]);
    assert_eq!(client.ask_json(200_071, &body).await.code(), 0);
    send(&mut client, "a", "1").await;
    send(&mut client, "b", "2").await;
    let answer = client
        .ask(200_070, pop("w", "all", 60_000, 5_000), &[])
        .await;
    assert_eq!(bodies(&answer), ["1", "2"]);
}

#[tokio::test]
async fn a_subscriber_may_begin_at_the_end() {
    let (_running, mut client) = with_parent().await;
    send(&mut client, "a", "old").await;
    let mut body = change("PARTIAL_ADD", "c1", "readers", &["a"]);
    body["subscriptionSet"][0]["offsetOption"] = json!({"type": "POLICY", "value": 2});
    assert_eq!(client.ask_json(200_071, &body).await.code(), 0);
    send(&mut client, "a", "new").await;
    let answer = client
        .ask(200_070, pop("c1", "readers", 60_000, 1_000), &[])
        .await;
    assert_eq!(bodies(&answer), ["new"]);
}

#[tokio::test]
async fn refusals_carry_apaches_codes() {
    let (_running, mut client) = with_parent().await;
    client.create_topic("plain", 1).await;
    let base = pop("c1", "readers", 100, 0);
    let altered = |name: &str, value: &str| {
        let mut fields = base.clone();
        fields[name] = json!(value);
        fields
    };
    for (fields, code) in [
        (altered("maxMsgNum", "33"), 29),
        (altered("topic", "unknown"), 17),
        (altered("topic", "plain"), 29),
        (altered("consumerGroup", "unbound"), 29),
        (altered("bornTime", "1"), 210),
    ] {
        assert_eq!(
            client.ask(200_070, fields.clone(), &[]).await.code(),
            code,
            "{fields}"
        );
    }
    assert_eq!(client.ask(200_071, json!({}), &[]).await.code(), 604);
    assert_eq!(
        client
            .ask_json(200_071, &json!({"subscriptionSet": []}))
            .await
            .code(),
        604
    );
    let unknown = change("PARTIAL_ADD", "c1", "nobody", &["a"]);
    assert_eq!(client.ask_json(200_071, &unknown).await.code(), 604);
    assert_eq!(send(&mut client, "a,b", "m").await.code(), 13);
    assert_eq!(send(&mut client, "../x", "m").await.code(), 13);
    assert_eq!(client.ask(200_072, json!({}), &[]).await.code(), 3);
}

#[tokio::test]
async fn quotas_are_kept() {
    let keys = [
        ("enableLmqQuota", "true"),
        ("maxLmqConsumeQueueNum", "1"),
        ("maxLiteSubscriptionCount", "1"),
    ];
    let running = Running::start_with(&keys).await;
    let mut client = running.connect().await;
    prepare(&mut client).await;
    assert_eq!(send(&mut client, "a", "m").await.code(), 0);
    assert_eq!(send(&mut client, "b", "m").await.code(), 2017);
    assert_eq!(send(&mut client, "a", "m").await.code(), 0);
    subscribe(&mut client, "PARTIAL_ADD", "c1", &["a"]).await;
    let more = change("PARTIAL_ADD", "c1", "readers", &["b"]);
    assert_eq!(client.ask_json(200_071, &more).await.code(), 2018);
}

#[tokio::test]
async fn operators_see_lite_topics() {
    let (_running, mut client) = with_parent().await;
    subscribe(&mut client, "PARTIAL_ADD", "c1", &["a", "b"]).await;
    send(&mut client, "a", "m").await;
    let broker = client.ask(200_074, json!({}), &[]).await.json();
    assert_eq!(broker["currentLmqNum"], 1);
    assert_eq!(broker["liteSubscriptionCount"], 2);
    assert_eq!(broker["topicMeta"], json!({"parent": 60}));
    assert_eq!(broker["groupMeta"], json!({"parent": ["readers"]}));
    let parent = client
        .ask(200_075, json!({"topic": "parent"}), &[])
        .await
        .json();
    assert_eq!(
        (&parent["liteTopicCount"], &parent["ttl"]),
        (&json!(1), &json!(60))
    );
    let ask = json!({"parentTopic": "parent", "liteTopic": "a"});
    let topic = client.ask(200_076, ask, &[]).await.json();
    assert_eq!(topic["topicOffset"]["maxOffset"], 1);
    assert_eq!(
        topic["subscriber"],
        json!([{"clientId": "c1", "group": "readers"}])
    );
    let ask = json!({"parentTopic": "parent", "group": "readers", "clientId": "c1"});
    let known = client.ask(200_077, ask, &[]).await.json();
    assert_eq!(known["liteTopicCount"], 2);
    assert_eq!(
        known["liteTopicSet"],
        json!(["%LMQ%$parent$a", "%LMQ%$parent$b"])
    );
    client
        .ask(200_070, pop("c1", "readers", 60_000, 0), &[])
        .await;
    let ask = json!({"group": "readers", "liteTopic": "a", "topK": "5"});
    let group = client.ask(200_078, ask, &[]).await.json();
    assert_eq!(
        (&group["totalLagCount"], &group["parentTopic"]),
        (&json!(1), &json!("parent"))
    );
    let all = client
        .ask(200_078, json!({"group": "readers", "topK": "5"}), &[])
        .await
        .json();
    assert_eq!(all["lagCountTopK"][0]["liteTopic"], "a");
    assert_eq!(
        client
            .ask(200_079, json!({"group": "readers"}), &[])
            .await
            .code(),
        0
    );
    assert_eq!(
        client
            .ask(200_079, json!({"group": "nobody"}), &[])
            .await
            .code(),
        26
    );
    assert_eq!(
        client
            .ask(200_075, json!({"topic": "TBW102"}), &[])
            .await
            .code(),
        29
    );
}

#[tokio::test]
async fn lite_topics_survive_a_restart_and_clients_come_back() {
    let (running, mut client) = with_parent().await;
    subscribe(&mut client, "PARTIAL_ADD", "c1", &["a"]).await;
    send(&mut client, "a", "kept").await;
    client
        .ask(200_070, pop("c1", "readers", 60_000, 0), &[])
        .await;
    let running = running.restart().await;
    let mut client = running.connect().await;
    subscribe(&mut client, "COMPLETE_ADD", "c1", &["a"]).await;
    let answer = client
        .ask(200_070, pop("c1", "readers", 60_000, 1_000), &[])
        .await;
    assert_eq!(bodies(&answer), ["kept"]);
}

#[tokio::test]
async fn expired_lite_topics_are_deleted_and_the_others_stay() {
    let keys = [("minLiteTTl", "0"), ("liteTtlCheckInterval", "20")];
    let clock = Hand::new();
    let running = Running::start_at(tempfile::tempdir().unwrap(), &keys, &clock).await;
    let mut client = running.connect().await;
    prepare(&mut client).await;
    send(&mut client, "a", "m").await;
    send(&mut client, "b", "m").await;
    // Their parent gives them an hour.
    clock.forward(30 * 60_000);
    send(&mut client, "b", "m").await;
    clock.forward(31 * 60_000);
    let count = json!({"topic": "parent"});
    let gone = async {
        while client.ask(200_075, count.clone(), &[]).await.json()["liteTopicCount"] != 1 {}
    };
    timeout(Duration::from_secs(60), gone).await.unwrap();
    let ask = json!({"parentTopic": "parent", "liteTopic": "b"});
    let left = client.ask(200_076, ask, &[]).await.json();
    assert_eq!(left["topicOffset"]["maxOffset"], 2);
}

fn handle(popped: &Message) -> String {
    format!(
        "0 {} {} 999 0 broker-a 0 0",
        popped.field("popTime"),
        popped.field("invisibleTime")
    )
}

fn ack(lite: &str, offset: i64, handle: &str) -> Value {
    json!({
        "consumerGroup": "readers", "topic": "parent", "queueId": "0", "offset": offset.to_string(),
        "extraInfo": handle, "liteTopic": lite,
    })
}

#[tokio::test]
async fn the_next_messages_come_when_all_are_acknowledged() {
    let (_running, mut client) = with_parent().await;
    subscribe(&mut client, "PARTIAL_ADD", "c1", &["a"]).await;
    send(&mut client, "a", "m0").await;
    send(&mut client, "a", "m1").await;
    let popped = client
        .ask(200_070, pop("c1", "readers", 60_000, 0), &[])
        .await;
    assert_eq!(bodies(&popped), ["m0", "m1"]);
    let handle = handle(&popped);
    send(&mut client, "a", "m2").await;
    assert_eq!(
        client.ask(200_051, ack("a", 0, &handle), &[]).await.code(),
        0
    );
    let blocked = client
        .ask(200_070, pop("c1", "readers", 60_000, 0), &[])
        .await;
    assert_eq!(blocked.code(), 210);
    assert_eq!(
        client.ask(200_051, ack("a", 1, &handle), &[]).await.code(),
        0
    );
    let next = client
        .ask(200_070, pop("c1", "readers", 60_000, 1_000), &[])
        .await;
    assert_eq!(bodies(&next), ["m2"]);
    for (fields, code) in [
        (ack("a", 0, &handle), 0),
        (ack("a", 9, &handle), 208),
        (ack("a", 2, "0 1 1 0 0 broker-a 0 0"), 29),
        (ack("a", 2, "0"), 1),
    ] {
        assert_eq!(
            client.ask(200_051, fields.clone(), &[]).await.code(),
            code,
            "{fields}"
        );
    }
}

#[tokio::test]
async fn a_message_can_be_given_back_early() {
    let (_running, mut client) = with_parent().await;
    subscribe(&mut client, "PARTIAL_ADD", "c1", &["a"]).await;
    send(&mut client, "a", "m0").await;
    let popped = client
        .ask(200_070, pop("c1", "readers", 60_000, 0), &[])
        .await;
    let mut change = ack("a", 0, &handle(&popped));
    change["invisibleTime"] = json!("100");
    let changed = client.ask(200_053, change, &[]).await;
    assert_eq!((changed.code(), changed.field("reviveQid")), (0, "999"));
    let again = client
        .ask(200_070, pop("c1", "readers", 60_000, 5_000), &[])
        .await;
    assert_eq!(bodies(&again), ["m0"]);
}
