// SPDX-License-Identifier: Apache-2.0
//! What strangers may send: each is answered with Apache's code and changes nothing. More of it
//! stands beside what is right: impossible times in `timers.rs`, ends of foreign and finished
//! transactions in `transactions.rs`, files in `damaged_files.rs`.

use std::time::{Duration, Instant};

use aerobee_message::record::RecordView;
use aerobee_remoting::RequestCode;
use serde_json::{Value, json};

use crate::support::{Client, Message, Running, heartbeat};

const POP: i32 = RequestCode::POP_MESSAGE.0;
const ACK: i32 = RequestCode::ACK_MESSAGE.0;
const CHANGE: i32 = RequestCode::CHANGE_MESSAGE_INVISIBLETIME.0;
const NOTIFICATION: i32 = RequestCode::NOTIFICATION.0;
const BATCH_ACK: i32 = RequestCode::BATCH_ACK_MESSAGE.0;
const PATIENCE: Duration = Duration::from_secs(60);

async fn start() -> (Running, Client) {
    let running = Running::start().await;
    let mut client = running.connect().await;
    client.create_topic("t", 1).await;
    (running, client)
}

fn pop_fields(invisible: &str) -> Value {
    json!({
        "consumerGroup": "g", "topic": "t", "queueId": "-1", "maxMsgNums": "32",
        "invisibleTime": invisible, "pollTime": "0", "bornTime": "0", "initMode": "0",
    })
}

fn handle(answer: &Message, offset: i64) -> String {
    let starts = answer.field("startOffsetInfo");
    let start = starts.strip_prefix("0 0 ").unwrap();
    format!(
        "{start} {} {} {} 0 broker-a 0 {offset}",
        answer.field("popTime"),
        answer.field("invisibleTime"),
        answer.field("reviveQid"),
    )
}

fn bodies(answer: &Message) -> Vec<String> {
    let mut rest = &answer.body[..];
    let mut bodies = Vec::new();
    while let Ok(record) = RecordView::parse(rest) {
        rest = &rest[record.total_len()..];
        bodies.push(String::from_utf8(record.body().to_vec()).unwrap());
    }
    bodies
}

/// Pops until these have come, and nothing else.
async fn comes_again(client: &mut Client, wanted: &[&str]) {
    let mut got = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while got.len() < wanted.len() && Instant::now() < deadline {
        got.extend(bodies(&client.ask(POP, pop_fields("600000"), &[]).await));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    got.sort();
    assert_eq!(got, wanted);
}

#[tokio::test]
async fn handles_that_are_forged_cut_or_old_change_nothing() {
    let (_running, mut client) = start().await;
    for body in ["a", "b"] {
        assert_eq!(client.send("t", 0, body).await.code(), 0);
    }
    let popped = client.ask(POP, pop_fields("2000"), &[]).await;
    assert_eq!(bodies(&popped), ["a", "b"]);
    let right = handle(&popped, 0);
    let words: Vec<&str> = right.split(' ').collect();
    let with = |at: usize, word: &str| {
        let mut words = words.clone();
        words[at] = word;
        words.join(" ")
    };
    let cut = |length: usize| words[..length].join(" ");
    for (what, text, code) in [
        ("empty", String::new(), 1),
        ("no handle", "no handle".to_owned(), 1),
        ("cut", cut(5), 1),
        ("of another pop", with(1, "17"), 0),
        ("of no time", with(1, "-9223372036854775808"), 0),
        ("with another start", with(0, "9223372036854775807"), 0),
        ("of no revive queue", with(3, "2147483647"), 0),
        ("of a negative revive queue", with(3, "-1"), 0),
        ("with letters", with(1, "soon"), 1),
        ("with a huge number", with(1, "99999999999999999999"), 1),
    ] {
        let fields = json!({
            "consumerGroup": "g", "topic": "t", "queueId": "0", "offset": "0", "extraInfo": text,
        });
        let answer = client.ask(ACK, fields.clone(), &[]).await;
        assert_eq!(answer.code(), code, "ack, {what}: {answer:?}");
        let mut fields = fields;
        fields["invisibleTime"] = json!("600000");
        let answer = client.ask(CHANGE, fields, &[]).await;
        assert_eq!(answer.code(), code, "change, {what}: {answer:?}");
    }
    for body in [
        "",
        "{",
        r#"{"acks":[{}]}"#,
        r#"{"acks":[{"b":"AA==","c":"g","t":"t","r":"9","rq":77,"q":0,"so":0,"pt":1,"it":1}]}"#,
    ] {
        let answer = client.ask(BATCH_ACK, json!({}), body.as_bytes()).await;
        assert!(
            matches!(answer.code(), 0 | 1 | 13 | 17 | 29 | 208),
            "{body}: {answer:?}"
        );
    }
    // Nothing was acknowledged and nothing put off.
    comes_again(&mut client, &["a", "b"]).await;
    // By now the handle is old: what it spoke of is with somebody else.
    let fields = json!({
        "consumerGroup": "g", "topic": "t", "queueId": "0", "offset": "0", "extraInfo": right,
    });
    assert_eq!(client.ask(ACK, fields, &[]).await.code(), 0);
    let more = client.ask(POP, pop_fields("600000"), &[]).await;
    assert!(bodies(&more).is_empty(), "{more:?}");
}

#[tokio::test]
async fn a_filter_that_cannot_compile_is_refused_wherever_it_comes() {
    let (_running, mut client) = start().await;
    assert_eq!(client.send("t", 0, "m").await.code(), 0);
    let bad = "a BETWEEN 1 AND";
    let mut pop = pop_fields("600000");
    pop["expType"] = json!("SQL92");
    pop["exp"] = json!(bad);
    assert_eq!(client.ask(POP, pop.clone(), &[]).await.code(), 23);
    assert_eq!(client.ask(NOTIFICATION, pop, &[]).await.code(), 23);
    let pull = json!({
        "consumerGroup": "g", "topic": "t", "queueId": "0", "queueOffset": "0",
        "maxMsgNums": "32", "sysFlag": "4", "commitOffset": "0", "suspendTimeoutMillis": "0",
        "subscription": bad, "subVersion": "0", "expressionType": "SQL92",
    });
    assert_eq!(client.ask(11, pull, &[]).await.code(), 23);
    let check = json!({
        "clientId": "c", "group": "g", "namespace": "",
        "subscriptionData": {"expressionType": "SQL92", "subString": bad, "topic": "t"},
    });
    assert_eq!(client.ask_json(46, &check).await.code(), 23);
    // And none of it has taken the message.
    let popped = client.ask(POP, pop_fields("600000"), &[]).await;
    assert_eq!(bodies(&popped), ["m"]);
}

#[tokio::test]
async fn delays_that_are_negative_past_or_beyond_the_last_level_are_what_apache_makes_of_them() {
    let (_running, mut client) = start().await;
    for (name, value) in [
        ("DELAY", "-1"),
        ("DELAY", "0"),
        ("TIMER_DELIVER_MS", "1"),
        ("TIMER_DELAY_SEC", "-5"),
    ] {
        let sent = client.send_with("t", value, &[(name, value)]).await;
        assert_eq!(sent.code(), 0, "{name} {value}: {sent:?}");
    }
    // At once, all of them.
    let deadline = Instant::now() + PATIENCE;
    let mut got = Vec::new();
    while got.len() < 4 && Instant::now() < deadline {
        got.extend(bodies(&client.ask(POP, pop_fields("600000"), &[]).await));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    got.sort();
    assert_eq!(got, ["-1", "-5", "0", "1"]);
    // Lowered to the last one, which is two hours.
    let sent = client.send_with("t", "99", &[("DELAY", "99")]).await;
    assert_eq!(sent.code(), 0, "{sent:?}");
    let bounds = json!({"topic": "SCHEDULE_TOPIC_XXXX", "queueId": "17"});
    assert_eq!(client.ask(30, bounds, &[]).await.field("offset"), "1");
}

#[tokio::test]
async fn offsets_out_of_range_are_told_and_change_nothing() {
    let (_running, mut client) = start().await;
    for body in ["a", "b", "c"] {
        assert_eq!(client.send("t", 0, body).await.code(), 0);
    }
    for (offset, next) in [
        (i64::MIN, "0"),
        (-1, "0"),
        (4, "3"),
        (i64::MAX - 1, "3"),
        (i64::MAX, "3"),
    ] {
        let fields = json!({
            "consumerGroup": "g", "topic": "t", "queueId": "0", "queueOffset": offset.to_string(),
            "maxMsgNums": "32", "sysFlag": "6", "commitOffset": "0",
            "suspendTimeoutMillis": "60000", "subscription": "*", "subVersion": "0",
            "expressionType": "TAG",
        });
        // At once: nobody is held for what cannot come.
        let pulled = client.ask(11, fields, &[]).await;
        let told = (pulled.code(), pulled.field("nextBeginOffset"));
        assert_eq!(told, (21, next), "{offset}: {pulled:?}");
        let entries = json!({
            "topic": "t", "queueId": "0", "index": offset.to_string(), "count": "10",
        });
        let shown = client.ask(321, entries, &[]).await;
        assert!(matches!(shown.code(), 0 | 1), "{offset}: {shown:?}");
    }
    // Places in the log, and times.
    for place in [i64::MIN, -1, 1, i64::MAX] {
        let viewed = client
            .ask(33, json!({"offset": place.to_string()}), &[])
            .await;
        let remark = format!("can not find message by the offset, {place}");
        assert_eq!((viewed.code(), viewed.remark()), (1, &*remark));
    }
    for (time, offset) in [(i64::MIN, "0"), (-1, "0"), (i64::MAX, "3")] {
        let fields = json!({
            "topic": "t", "queueId": "0", "timestamp": time.to_string(), "boundaryType": "LOWER",
        });
        let found = client.ask(29, fields, &[]).await;
        assert_eq!((found.code(), found.field("offset")), (0, offset), "{time}");
    }
    // A group may commit what it likes, as with Apache's broker; below zero it is as if it had not.
    assert_eq!(client.consume("c1", "g", "t").await.code(), 0);
    let asked = json!({
        "consumerGroup": "g", "topic": "t", "queueId": "0", "setZeroIfNotFound": "false",
    });
    for (offset, code) in [(i64::MIN, 22), (-1, 22), (i64::MAX, 0)] {
        let commit = json!({
            "consumerGroup": "g", "topic": "t", "queueId": "0", "commitOffset": offset.to_string(),
        });
        assert_eq!(client.ask(15, commit, &[]).await.code(), 0);
        assert_eq!(client.ask(14, asked.clone(), &[]).await.code(), code);
    }
    // All is there for the next.
    let mut pop = pop_fields("600000");
    pop["consumerGroup"] = json!("others");
    let popped = client.ask(POP, pop, &[]).await;
    assert_eq!(bodies(&popped), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_heartbeat_with_thousands_of_groups_is_taken_and_forgotten_with_its_client() {
    const GROUPS: usize = 3_000;
    let (running, mut client) = start().await;
    let one = heartbeat("c", "g", "t");
    let groups: Vec<Value> = (0..GROUPS)
        .map(|number| {
            let mut group = one["consumerDataSet"][0].clone();
            group["groupName"] = json!(format!("g{number}"));
            group["subscriptionDataSet"].as_array_mut().unwrap().pop();
            group
        })
        .collect();
    let beat = json!({"clientID": "c", "consumerDataSet": groups, "producerDataSet": []});
    let mut stranger = running.connect().await;
    assert_eq!(stranger.ask_json(34, &beat).await.code(), 0);
    let last = json!({"consumerGroup": format!("g{}", GROUPS - 1)});
    assert_eq!(client.ask(38, last.clone(), &[]).await.code(), 0);
    // Too long a name, none, and no list of groups.
    for group in ["x".repeat(300), String::new()] {
        let mut beat = one.clone();
        beat["consumerDataSet"][0]["groupName"] = json!(group);
        assert_eq!(stranger.ask_json(34, &beat).await.code(), 0);
    }
    assert_eq!(stranger.ask(34, json!({}), b"[]").await.code(), 1);
    drop(stranger);
    let deadline = Instant::now() + PATIENCE;
    while client.ask(38, last.clone(), &[]).await.code() == 0 {
        assert!(Instant::now() < deadline, "the client is still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(client.send("t", 0, "m").await.code(), 0);
}
