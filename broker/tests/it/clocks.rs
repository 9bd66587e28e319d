// SPDX-License-Identifier: Apache-2.0
//! Clients whose clocks are hours off, in either direction: what waits, waits by the broker's clock.

use std::time::Duration;

use aerobee_message::record::RecordView;
use aerobee_remoting::RequestCode;
use serde_json::{Value, json};

use crate::support::{
    Client, Message, Running,
    delayed::{Bench, count, take},
    heartbeat,
};

const POP: i32 = RequestCode::POP_MESSAGE.0;
const ACK: i32 = RequestCode::ACK_MESSAGE.0;
const NOTIFICATION: i32 = RequestCode::NOTIFICATION.0;
/// How far the clocks of clients are off, ms.
const OFF: [i64; 2] = [-6 * 3_600_000, 6 * 3_600_000];
/// The delay level of ten minutes.
const TEN_MINUTES: &str = "14";
/// Long enough for whoever delivers to look at a moved clock.
const LOOK: Duration = Duration::from_millis(1_200);

/// Sends as a client does that says it is `now`.
async fn send(
    client: &mut Client,
    topic: &str,
    now: i64,
    body: &str,
    properties: &[(&str, &str)],
) -> Message {
    let sent = client.send_born(topic, now, body, properties).await;
    assert_eq!(sent.code(), 0, "{sent:?}");
    sent
}

#[tokio::test]
async fn delays_of_a_producer_whose_clock_is_off_are_counted_by_the_brokers() {
    let bench = Bench::new();
    let (_broker, mut client) = bench.start().await;
    for (topic, name, value) in [
        ("levels", "DELAY", TEN_MINUTES),
        ("seconds", "TIMER_DELAY_SEC", "600"),
        ("millis", "TIMER_DELAY_MS", "600000"),
    ] {
        client.create_topic(topic, 1).await;
        for off in OFF {
            let now = bench.shift.now() + off;
            send(&mut client, topic, now, "m", &[(name, value)]).await;
        }
    }
    bench.shift.advance(300_000);
    tokio::time::sleep(LOOK).await;
    for topic in ["levels", "seconds", "millis"] {
        assert_eq!(count(&mut client, topic, 0).await, 0, "{topic}");
    }
    bench.shift.advance(301_000);
    for topic in ["levels", "seconds", "millis"] {
        assert_eq!(take(&mut client, topic, 2).await.len(), 2, "{topic}");
    }
}

#[tokio::test]
async fn a_message_of_a_producer_whose_clock_is_off_is_retried_in_time() {
    let bench = Bench::new();
    let (_broker, mut client) = bench.start().await;
    client.create_topic("t", 1).await;
    for off in OFF {
        let now = bench.shift.now() + off;
        send(&mut client, "t", now, &off.to_string(), &[]).await;
    }
    for got in take(&mut client, "t", 2).await {
        let fields = json!({
            "offset": got.physical.to_string(), "group": "workers", "delayLevel": TEN_MINUTES,
            "originMsgId": "", "originTopic": "t", "unitMode": "false", "maxReconsumeTimes": "16",
        });
        assert_eq!(client.ask(36, fields, &[]).await.code(), 0);
    }
    bench.shift.advance(300_000);
    tokio::time::sleep(LOOK).await;
    assert_eq!(count(&mut client, "%RETRY%workers", 0).await, 0);
    bench.shift.advance(301_000);
    let again = take(&mut client, "%RETRY%workers", 2).await;
    let mut bodies: Vec<i64> = again.iter().map(|got| got.body.parse().unwrap()).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, OFF);
    assert!(again.iter().all(|got| got.reconsume_times == 1));
}

#[tokio::test]
async fn a_timestamp_is_looked_up_by_when_the_broker_stored_a_message() {
    let bench = Bench::new();
    let (_broker, mut client) = bench.start().await;
    client.create_topic("t", 1).await;
    let start = bench.shift.now();
    // Born in an order that is not theirs.
    for (body, off) in [("a", OFF[1]), ("b", OFF[0])] {
        let now = bench.shift.now() + off;
        send(&mut client, "t", now, body, &[("KEYS", "k")]).await;
        bench.shift.advance(3_600_000);
    }
    let at = |timestamp: i64| {
        json!({
            "topic": "t", "queueId": "0", "timestamp": timestamp.to_string(),
            "boundaryType": "LOWER",
        })
    };
    for (timestamp, offset) in [
        (start + OFF[0], "0"),
        (start + 1_800_000, "1"),
        // What a consumer asks for whose clock is ahead, and begins now by it.
        (start + OFF[1], "2"),
    ] {
        let answer = client.ask(29, at(timestamp), &[]).await;
        assert_eq!((answer.code(), answer.field("offset")), (0, offset));
    }
    let query = json!({
        "topic": "t", "key": "k", "maxNum": "32", "beginTimestamp": (start + 1_800_000).to_string(),
        "endTimestamp": (start + 5_400_000).to_string(),
    });
    let found = client.ask(12, query, &[]).await;
    assert_eq!(found.code(), 0, "{found:?}");
    let record = RecordView::parse(&found.body).unwrap();
    assert_eq!(record.body(), b"b");
    assert_eq!(record.total_len(), found.body.len(), "and no other");
}

fn pop_fields(now: i64, poll: &str) -> Value {
    json!({
        "consumerGroup": "g", "topic": "t", "queueId": "-1", "maxMsgNums": "32",
        "invisibleTime": "600000", "pollTime": poll, "bornTime": now.to_string(), "initMode": "0",
    })
}

#[tokio::test]
async fn a_pop_of_a_client_whose_clock_is_ahead_is_held_no_longer_than_it_asks() {
    let bench = Bench::new();
    let (_broker, mut client) = bench.start().await;
    client.create_topic("t", 1).await;
    let ahead = bench.shift.now() + OFF[1];
    // It would be held for six hours.
    let nothing = client.ask(POP, pop_fields(ahead, "300"), &[]).await;
    assert_eq!(nothing.code(), 210, "{nothing:?}");
    let heard = client
        .ask(NOTIFICATION, pop_fields(ahead, "300"), &[])
        .await;
    assert_eq!((heard.code(), heard.field("hasMsg")), (0, "false"));
    send(&mut client, "t", ahead, "m", &[]).await;
    let popped = client.ask(POP, pop_fields(ahead, "300"), &[]).await;
    assert_eq!(popped.code(), 0, "{popped:?}");
    // It is given back and acknowledged by the broker's clock, too.
    let time: i64 = popped.field("popTime").parse().unwrap();
    assert!((time - bench.shift.now()).abs() < 3_600_000);
    let start = popped
        .field("startOffsetInfo")
        .strip_prefix("0 0 ")
        .unwrap();
    let handle = format!(
        "{start} {time} 600000 {} 0 broker-a 0 0",
        popped.field("reviveQid")
    );
    let ack = json!({
        "consumerGroup": "g", "topic": "t", "queueId": "0", "offset": "0", "extraInfo": handle,
    });
    assert_eq!(client.ask(ACK, ack, &[]).await.code(), 0);
    bench.shift.advance(601_000);
    tokio::time::sleep(LOOK).await;
    let more = client.ask(POP, pop_fields(0, "300"), &[]).await;
    assert_eq!(more.code(), 210, "{more:?}");
}

/// As from Apache's broker, which takes such a pop for one that its client has given up; ours says how late it is.
#[tokio::test]
async fn a_pop_of_a_client_whose_clock_is_behind_is_told_so_and_takes_nothing() {
    let bench = Bench::new();
    let (_broker, mut client) = bench.start().await;
    client.create_topic("t", 1).await;
    let behind = bench.shift.now() + OFF[0];
    send(&mut client, "t", behind, "m", &[]).await;
    let refused = client.ask(POP, pop_fields(behind, "300"), &[]).await;
    assert_eq!(refused.code(), 210, "{refused:?}");
    assert!(refused.remark().contains("by the clock of the broker"));
    let heard = client
        .ask(NOTIFICATION, pop_fields(behind, "300"), &[])
        .await;
    assert_eq!((heard.code(), heard.field("hasMsg")), (0, "true"));
    // A client that leaves its time out is served.
    let popped = client.ask(POP, pop_fields(0, "300"), &[]).await;
    assert_eq!(popped.code(), 0, "{popped:?}");
}

/// The version of a subscription is the time at which its client made it.
#[tokio::test]
async fn members_whose_clocks_are_off_consume_in_one_group() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    client.create_topic("t", 1).await;
    assert_eq!(client.send("t", 0, "m").await.code(), 0);
    let now = 1_700_000_000_000_i64;
    let pull = |version: i64| {
        json!({
            "consumerGroup": "g", "topic": "t", "queueId": "0", "queueOffset": "0",
            "maxMsgNums": "32", "sysFlag": "0", "commitOffset": "0", "suspendTimeoutMillis": "0",
            "subVersion": version.to_string(),
        })
    };
    let mut members = Vec::new();
    for (number, off) in [0, OFF[1], OFF[0]].into_iter().enumerate() {
        let mut member = running.connect().await;
        let mut beat = heartbeat(&format!("c{number}"), "g", "t");
        for subscription in beat["consumerDataSet"][0]["subscriptionDataSet"]
            .as_array_mut()
            .unwrap()
        {
            subscription["subVersion"] = json!(now + off);
        }
        assert_eq!(member.ask_json(34, &beat).await.code(), 0);
        members.push((member, beat, now + off));
    }
    // However often and in which order they beat.
    for _ in 0..2 {
        for (member, beat, version) in &mut members {
            let pulled = member.ask(11, pull(*version), &[]).await;
            assert_eq!(pulled.code(), 0, "{version}: {pulled:?}");
            assert_eq!(member.ask_json(34, beat).await.code(), 0);
        }
    }
    let list = client.ask(38, json!({"consumerGroup": "g"}), &[]).await;
    let ids = list.json()["consumerIdList"].as_array().unwrap().len();
    assert_eq!(ids, 3);
}
