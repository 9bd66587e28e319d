// SPDX-License-Identifier: Apache-2.0
//! What users take for granted: whoever sends need not say hello, consumers of one group share, and
//! groups do not notice each other.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aerobee_message::record::RecordView;
use aerobee_remoting::RequestCode;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{Client, Message, Running};

const POP: i32 = RequestCode::POP_MESSAGE.0;
const ACK: i32 = RequestCode::ACK_MESSAGE.0;
const QUEUES: i32 = 4;
/// Longest wait for what has to come.
const PATIENCE: Duration = Duration::from_secs(60);

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

struct Taken {
    body: String,
    ack: Value,
}

/// Pops up to `most` messages, waiting half a second at most.
async fn pop(client: &mut Client, group: &str, most: usize) -> Vec<Taken> {
    let fields = json!({
        "consumerGroup": group, "topic": "t", "queueId": "-1", "maxMsgNums": most.to_string(),
        "invisibleTime": "300000", "pollTime": "500", "bornTime": now().to_string(),
        "initMode": "0",
    });
    let answer = client.ask(POP, fields, &[]).await;
    let mut taken = Vec::new();
    let mut rest = &answer.body[..];
    while let Ok(record) = RecordView::parse(rest) {
        rest = &rest[record.total_len()..];
        let (queue, offset) = (record.queue_id(), record.queue_offset());
        let listed = format!("0 {queue} ");
        let mut entries = answer.field("startOffsetInfo").split(';');
        let start = entries.find_map(|entry| entry.strip_prefix(&listed));
        let handle = format!(
            "{} {} {} {} 0 broker-a {queue} {offset}",
            start.unwrap(),
            answer.field("popTime"),
            answer.field("invisibleTime"),
            answer.field("reviveQid"),
        );
        taken.push(Taken {
            body: String::from_utf8(record.body().to_vec()).unwrap(),
            ack: json!({
                "consumerGroup": group, "topic": "t", "queueId": queue.to_string(),
                "extraInfo": handle, "offset": offset.to_string(),
            }),
        });
    }
    taken
}

async fn acknowledge(client: &mut Client, taken: &Taken) {
    let answer = client.ask(ACK, taken.ack.clone(), &[]).await;
    assert_eq!(answer.code(), 0, "{answer:?}");
}

/// Pops and acknowledges until `count` messages have come; how often each did.
async fn take_all(client: &mut Client, group: &str, count: usize) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    let taking = async {
        while times.len() < count {
            for taken in pop(client, group, 8).await {
                acknowledge(client, &taken).await;
                *times.entry(taken.body).or_default() += 1;
            }
        }
    };
    let ended = timeout(PATIENCE, taking).await;
    assert!(ended.is_ok(), "{group} got {times:?}");
    times
}

async fn send(client: &mut Client, word: &str, count: i32) {
    for number in 0..count {
        let sent = client
            .send("t", number % QUEUES, &format!("{word}{number}"))
            .await;
        assert_eq!(sent.code(), 0, "{sent:?}");
    }
}

async fn start(groups: &[&str]) -> (Running, Client) {
    let running = Running::start().await;
    let mut client = running.connect().await;
    client.create_topic("t", QUEUES).await;
    for group in groups {
        let id = format!("client of {group}");
        assert_eq!(client.consume(&id, group, "t").await.code(), 0);
    }
    (running, client)
}

async fn commit(client: &mut Client, group: &str, offset: i64) {
    let fields = json!({
        "consumerGroup": group, "topic": "t", "queueId": "0", "commitOffset": offset.to_string(),
    });
    assert_eq!(client.ask(15, fields, &[]).await.code(), 0);
}

async fn committed(client: &mut Client, group: &str) -> Message {
    let fields = json!({
        "consumerGroup": group, "topic": "t", "queueId": "0", "setZeroIfNotFound": "false",
    });
    client.ask(14, fields, &[]).await
}

async fn pull(client: &mut Client, group: &str, offset: i64, suspend: &str) -> Message {
    let fields = json!({
        "consumerGroup": group, "topic": "t", "queueId": "0", "queueOffset": offset.to_string(),
        "maxMsgNums": "32", "sysFlag": "6", "commitOffset": "0",
        "suspendTimeoutMillis": suspend, "subscription": "*", "subVersion": "0",
        "expressionType": "TAG",
    });
    client.ask(11, fields, &[]).await
}

#[tokio::test]
async fn producers_without_registration_send_at_once() {
    let running = Running::start().await;
    // Each on a connection of its own that has never sent a heartbeat, to a topic that is not there.
    for number in 0..5 {
        let mut client = running.connect().await;
        let sent = client.send("t", 0, &format!("m{number}")).await;
        assert_eq!(sent.code(), 0, "{sent:?}");
        assert_eq!(sent.field("queueOffset"), number.to_string());
    }
    let mut client = running.connect().await;
    let fields = json!({"producerGroup": "producers", "topic": "t"});
    let known = client.ask(204, fields, &[]).await;
    assert_ne!(known.code(), 0, "nobody has registered: {known:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn competing_consumers_of_a_group_take_each_message_once() {
    const MESSAGES: usize = 400;
    const MEMBERS: usize = 5;
    let (running, mut client) = start(&["g"]).await;
    send(&mut client, "m", MESSAGES as i32).await;
    let got = Arc::new(AtomicUsize::new(0));
    let mut members = Vec::new();
    for _ in 0..MEMBERS {
        let mut member = running.connect().await;
        let got = Arc::clone(&got);
        members.push(tokio::spawn(async move {
            let mut bodies = Vec::new();
            while got.load(Ordering::SeqCst) < MESSAGES {
                for taken in pop(&mut member, "g", 4).await {
                    acknowledge(&mut member, &taken).await;
                    bodies.push(taken.body);
                    got.fetch_add(1, Ordering::SeqCst);
                }
            }
            bodies
        }));
    }
    let mut all = Vec::new();
    for member in members {
        all.extend(timeout(PATIENCE, member).await.unwrap().unwrap());
    }
    all.sort();
    let mut wanted: Vec<_> = (0..MESSAGES).map(|number| format!("m{number}")).collect();
    wanted.sort();
    assert_eq!(all, wanted);
    assert!(pop(&mut client, "g", 32).await.is_empty());
}

#[tokio::test]
async fn each_group_takes_all_messages() {
    let groups = ["a", "b", "c"];
    let (_running, mut client) = start(&groups).await;
    send(&mut client, "m", 60).await;
    for group in groups {
        let times = take_all(&mut client, group, 60).await;
        assert!(
            times.values().all(|times| *times == 1),
            "{group}: {times:?}"
        );
    }
    // One that pulls, and begins when the others are done, has all of them too.
    let answer = pull(&mut client, "late", 0, "0").await;
    assert_eq!(
        (answer.code(), answer.field("nextBeginOffset")),
        (0, "15"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_stalled_group_changes_nothing_for_others() {
    let (running, mut client) = start(&["stalled", "quick"]).await;
    send(&mut client, "m", 40).await;
    // It has taken messages, acknowledges none, and one of its requests waits.
    assert_eq!(pop(&mut client, "stalled", 32).await.len(), 32);
    let mut other = running.connect().await;
    let waiting =
        tokio::spawn(async move { pull(&mut other, "stalled", 1_000, "600000").await.code() });
    let times = take_all(&mut client, "quick", 40).await;
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    send(&mut client, "more", 40).await;
    let times = take_all(&mut client, "quick", 40).await;
    assert!(times.keys().all(|body| body.starts_with("more")));
    // What the stalled one has left is there for it.
    assert_eq!(take_all(&mut client, "stalled", 48).await.len(), 48);
    waiting.abort();
}

#[tokio::test]
async fn a_reset_group_changes_nothing_for_others() {
    let (running, mut client) = start(&["reset", "other"]).await;
    send(&mut client, "m", 40).await;
    for group in ["reset", "other"] {
        take_all(&mut client, group, 20).await;
        commit(&mut client, group, 7).await;
    }
    let mut waiter = running.connect().await;
    let waiting = tokio::spawn(async move { pull(&mut waiter, "other", 10, "60000").await });
    let reset = json!({"topic": "t", "group": "reset", "timestamp": "0", "isForce": "true"});
    assert_eq!(client.ask(222, reset, &[]).await.code(), 0);
    assert_eq!(committed(&mut client, "reset").await.field("offset"), "0");
    assert_eq!(committed(&mut client, "other").await.field("offset"), "7");
    // The pull of the other one still waits, and gets the next message.
    client.send("t", 0, "next").await;
    let answer = timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert_eq!(
        (answer.code(), answer.field("nextBeginOffset")),
        (0, "11"),
        "{answer:?}"
    );
    // Its commits count as ever.
    commit(&mut client, "other", 9).await;
    assert_eq!(committed(&mut client, "other").await.field("offset"), "9");
}

#[tokio::test]
async fn a_deleted_group_changes_nothing_for_others() {
    let (running, mut client) = start(&["deleted", "other"]).await;
    send(&mut client, "m", 40).await;
    let held = pop(&mut client, "other", 16).await;
    assert_eq!(pop(&mut client, "deleted", 16).await.len(), 16);
    commit(&mut client, "deleted", 3).await;
    let before = committed(&mut client, "other")
        .await
        .field("offset")
        .to_owned();
    let mut waiter = running.connect().await;
    let waiting = tokio::spawn(async move { pull(&mut waiter, "other", 10, "60000").await });
    let delete = json!({"groupName": "deleted", "cleanOffset": "true"});
    assert_eq!(client.ask(207, delete, &[]).await.code(), 0);
    assert_eq!(committed(&mut client, "deleted").await.code(), 22);
    assert_eq!(
        committed(&mut client, "other").await.field("offset"),
        before
    );
    // What the other has popped is still its own, and only the rest comes.
    for taken in &held {
        acknowledge(&mut client, taken).await;
    }
    let times = take_all(&mut client, "other", 40 - held.len()).await;
    assert!(held.iter().all(|taken| !times.contains_key(&taken.body)));
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    client.send("t", 0, "next").await;
    let answer = timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert_eq!(answer.code(), 0, "{answer:?}");
}

/// As a consumer whose process has no time, or whose network is slow: it asks and does not read.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_consumer_of_one_group_never_holds_back_the_others() {
    const MESSAGES: usize = 32;
    const ASKED: i64 = 2_000;
    let (running, mut client) = start(&["slow", "quick"]).await;
    let body = "x".repeat(8 << 10);
    for _ in 0..MESSAGES {
        assert_eq!(client.send("t", 0, &body).await.code(), 0);
    }
    let mut slow = running.connect().await;
    let fields = json!({
        "consumerGroup": "slow", "topic": "t", "queueId": "0", "queueOffset": "0",
        "maxMsgNums": "32", "sysFlag": "6", "commitOffset": "0", "suspendTimeoutMillis": "0",
        "subscription": "*", "subVersion": "0", "expressionType": "TAG",
    });
    // Half a gigabyte of answers, if the broker kept them all: it does not read on, or closes the connection.
    let (asked, asking) = tokio::sync::oneshot::channel();
    let slow = tokio::spawn(async move {
        slow.ask_many(11, &fields, 100).await;
        asked.send(()).unwrap();
        slow.ask_many(11, &fields, ASKED).await;
        std::future::pending::<()>().await;
    });
    asking.await.unwrap();
    let quick = async {
        for round in 0..20 {
            let mut offset = 0;
            while offset < MESSAGES as i64 + round {
                let answer = pull(&mut client, "quick", offset, "0").await;
                // 20: what has to be read from the disk may have to wait its turn.
                assert!(matches!(answer.code(), 0 | 20), "{answer:?}");
                offset = answer.field("nextBeginOffset").parse().unwrap();
            }
            commit(&mut client, "quick", offset).await;
            assert_eq!(client.send("t", 0, "next").await.code(), 0);
        }
    };
    timeout(PATIENCE, quick).await.unwrap();
    slow.abort();
    // It comes back as if nothing had been.
    let answer = pull(&mut client, "slow", 0, "0").await;
    assert!(matches!(answer.code(), 0 | 20), "{answer:?}");
}
