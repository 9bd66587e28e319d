// SPDX-License-Identifier: Apache-2.0
//! Transactional messages: half messages, END_TRANSACTION (37), CHECK_TRANSACTION_STATE (39),
//! RESUME_CHECK_HALF_MESSAGE (323). The time is the test's own; only the rounds of checks follow the
//! real one, often: a test waits for what such a round does, not for time.

use aerobee_message::RecordView;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Client, Hand, Message, Running};

const HALF: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
const OP: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
const GIVEN_UP: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
const COMMIT: i32 = 8;
const ROLLBACK: i32 = 12;
/// Rounds of checks come as often as they may; what they do depends on the test's clock.
const OFTEN: (&str, &str) = ("transactionCheckInterval", "50");

/// A message read back.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Read {
    body: String,
    properties: String,
    queue_offset: i64,
    physical: i64,
    sys_flag: i32,
    prepared: i64,
}

impl Read {
    fn property(&self, name: &str) -> Option<&str> {
        self.properties.split('\u{2}').find_map(|pair| {
            let (known, value) = pair.split_once('\u{1}')?;
            (known == name).then_some(value)
        })
    }
}

fn records(mut bytes: &[u8]) -> Vec<Read> {
    let mut read = Vec::new();
    while !bytes.is_empty() {
        let record = RecordView::parse(bytes).unwrap();
        read.push(Read {
            body: String::from_utf8(record.body().to_vec()).unwrap(),
            properties: String::from_utf8(record.properties().0.to_vec()).unwrap(),
            queue_offset: record.queue_offset(),
            physical: record.physical_offset(),
            sys_flag: record.sys_flag(),
            prepared: record.prepared_transaction_offset(),
        });
        bytes = &bytes[record.total_len()..];
    }
    read
}

/// All messages of queue 0.
async fn messages(client: &mut Client, topic: &str) -> Vec<Read> {
    let mut all = Vec::new();
    loop {
        let fields = json!({
            "consumerGroup": "readers", "topic": topic, "queueId": "0",
            "queueOffset": all.len().to_string(), "maxMsgNums": "32", "sysFlag": "4",
            "commitOffset": "0", "suspendTimeoutMillis": "0", "subscription": "*",
            "subVersion": "0", "expressionType": "TAG",
        });
        let answer = client.ask(11, fields, &[]).await;
        if answer.code() != 0 {
            return all;
        }
        all.extend(records(&answer.body));
    }
}

async fn bodies(client: &mut Client, topic: &str) -> Vec<String> {
    let read = messages(client, topic).await;
    read.into_iter().map(|message| message.body).collect()
}

/// Waits until the topic holds as many messages; the rounds of checks run on their own.
async fn wait_for(client: &mut Client, topic: &str, count: usize) -> Vec<Read> {
    for _ in 0..6_000 {
        let read = messages(client, topic).await;
        if read.len() >= count {
            return read;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{topic} did not get {count} messages");
}

/// Waits until all that is due has been checked: what was due before this transaction of another
/// group has been asked about before it. It is rolled back.
async fn all_checked(running: &Running) {
    let mut other = running.connect().await;
    other.create_topic("others", 1).await;
    let beat = json!({"clientID": "p-other", "producerDataSet": [{"groupName": "others"}]});
    assert_eq!(other.ask_json(34, &beat).await.code(), 0);
    let properties = "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}others\u{2}UNIQ_KEY\u{1}key-other\u{2}CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}0\u{2}";
    let fields = json!({
        "a": "others", "b": "others", "c": "TBW102", "d": "4", "e": "0", "f": "4",
        "g": "1700000000000", "h": "7", "i": properties, "j": "0", "k": "false", "m": "false",
    });
    half_of(&other.ask(310, fields, b"other").await);
    let asked = asked_about(&other.requested().await);
    assert_eq!(asked.key, "key-other");
    let mut fields = end_fields(&asked, ROLLBACK, true);
    fields["producerGroup"] = json!("others");
    assert_eq!(other.ask(37, fields, &[]).await.code(), 0);
}

/// Where a half message is.
#[derive(Debug, Clone)]
struct Half {
    offset: String,
    physical: i64,
    key: String,
}

fn physical_of(message_id: &str) -> i64 {
    i64::from_str_radix(&message_id[message_id.len() - 16..], 16).unwrap()
}

async fn send_half_with(client: &mut Client, topic: &str, body: &str, more: &str) -> Message {
    let properties = format!(
        "KEYS\u{1}k\u{2}TAGS\u{1}a\u{2}TRAN_MSG\u{1}true\u{2}PGROUP\u{1}producers\u{2}UNIQ_KEY\u{1}key-{body}\u{2}WAIT\u{1}true\u{2}{more}"
    );
    let fields = json!({
        "a": "producers", "b": topic, "c": "TBW102", "d": "4", "e": "0", "f": "4",
        "g": "1700000000000", "h": "7", "i": properties, "j": "0", "k": "false", "m": "false",
    });
    client.ask(310, fields, body.as_bytes()).await
}

async fn send_half(client: &mut Client, topic: &str, body: &str) -> Half {
    half_of(&send_half_with(client, topic, body, "").await)
}

fn half_of(sent: &Message) -> Half {
    assert_eq!(sent.code(), 0, "{sent:?}");
    Half {
        offset: sent.field("queueOffset").to_owned(),
        physical: physical_of(sent.field("msgId")),
        key: sent.field("transactionId").to_owned(),
    }
}

fn end_fields(half: &Half, verdict: i32, asked: bool) -> Value {
    json!({
        "producerGroup": "producers", "tranStateTableOffset": half.offset,
        "commitLogOffset": half.physical.to_string(), "commitOrRollback": verdict.to_string(),
        "fromTransactionCheck": asked.to_string(), "msgId": half.key, "transactionId": half.key,
    })
}

async fn end(client: &mut Client, half: &Half, verdict: i32) -> i64 {
    client
        .ask(37, end_fields(half, verdict, false), &[])
        .await
        .code()
}

async fn be_producer(client: &mut Client, id: &str) {
    let beat = json!({"clientID": id, "producerDataSet": [{"groupName": "producers"}]});
    assert_eq!(client.ask_json(34, &beat).await.code(), 0);
}

/// The half message that a check is about.
fn asked_about(check: &Message) -> Half {
    assert_eq!(check.code(), 39);
    Half {
        offset: check.field("tranStateTableOffset").to_owned(),
        physical: check.field("commitLogOffset").parse().unwrap(),
        key: check.field("msgId").to_owned(),
    }
}

async fn start(clock: &Hand, keys: &[(&str, &str)]) -> Running {
    restart(tempfile::tempdir().unwrap(), clock, keys).await
}

async fn restart(directory: TempDir, clock: &Hand, keys: &[(&str, &str)]) -> Running {
    let keys: Vec<_> = keys.iter().copied().chain([OFTEN]).collect();
    Running::start_at(directory, &keys, clock).await
}

#[tokio::test]
async fn a_half_message_is_seen_when_it_is_committed() {
    let clock = Hand::new();
    let running = start(&clock, &[]).await;
    let mut client = running.connect().await;
    client.create_topic("t", 1).await;
    let sent = send_half_with(&mut client, "t", "one", "").await;
    assert_eq!(sent.field("queueId"), "0");
    assert_eq!(sent.field("transactionId"), "key-one");
    let half = half_of(&sent);
    assert!(messages(&mut client, "t").await.is_empty());
    let stored = &messages(&mut client, HALF).await[0];
    assert_eq!(stored.property("REAL_TOPIC"), Some("t"));
    assert_eq!(stored.property("REAL_QID"), Some("0"));
    assert_eq!(stored.property("__transactionId__"), Some("key-one"));
    assert_eq!(stored.sys_flag, 0);
    assert_eq!(end(&mut client, &half, COMMIT).await, 0);
    let read = messages(&mut client, "t").await;
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].body, "one");
    assert_eq!(read[0].sys_flag, COMMIT);
    assert_eq!(read[0].prepared, half.physical);
    assert_eq!(read[0].property("UNIQ_KEY"), Some("key-one"));
    let ops = messages(&mut client, OP).await;
    assert_eq!(ops[0].body, "0,");
    assert_eq!(ops[0].property("TAGS"), Some("d"));
    // Ending it again changes nothing.
    assert_eq!(end(&mut client, &half, COMMIT).await, 0);
    assert_eq!(end(&mut client, &half, ROLLBACK).await, 0);
    assert_eq!(bodies(&mut client, "t").await, ["one"]);
    assert_eq!(messages(&mut client, OP).await.len(), 1);
}

#[tokio::test]
async fn consumers_that_wait_get_what_is_committed() {
    let clock = Hand::new();
    let running = start(&clock, &[]).await;
    let mut client = running.connect().await;
    client.create_topic("t", 1).await;
    // The queue has to exist for a pull to wait on it like any other.
    let half = send_half(&mut client, "t", "one").await;
    let mut consumer = running.connect().await;
    let fields = json!({
        "consumerGroup": "readers", "topic": "t", "queueId": "0", "queueOffset": "0",
        "maxMsgNums": "32", "sysFlag": "6", "commitOffset": "0",
        "suspendTimeoutMillis": "15000", "subscription": "*", "subVersion": "0",
    });
    consumer.park(11, fields).await;
    assert_eq!(end(&mut client, &half, COMMIT).await, 0);
    let answer = consumer.parked().await;
    assert_eq!(answer.code(), 0);
    assert_eq!(records(&answer.body)[0].body, "one");
}

#[tokio::test]
async fn a_rolled_back_message_is_never_seen() {
    let clock = Hand::new();
    let running = start(&clock, &[]).await;
    let mut client = running.connect().await;
    client.create_topic("t", 1).await;
    let half = send_half(&mut client, "t", "one").await;
    assert_eq!(end(&mut client, &half, ROLLBACK).await, 0);
    assert_eq!(end(&mut client, &half, COMMIT).await, 0);
    be_producer(&mut client, "p1").await;
    clock.forward(3_600_000);
    all_checked(&running).await;
    assert!(client.is_left_alone().await);
    assert!(messages(&mut client, "t").await.is_empty());
    assert_eq!(messages(&mut client, OP).await[0].body, "0,");
}

#[tokio::test]
async fn an_end_is_checked_and_changes_nothing_when_refused() {
    let clock = Hand::new();
    let running = start(&clock, &[]).await;
    let mut client = running.connect().await;
    client.create_topic("t", 1).await;
    let plain = client.send("t", 0, "plain").await;
    let half = send_half(&mut client, "t", "one").await;
    let refused = async |client: &mut Client, fields: Value| {
        let answer = client.ask(37, fields, &[]).await;
        (answer.code(), answer.remark().to_owned())
    };
    let right = end_fields(&half, COMMIT, false);
    let mut fields = right.clone();
    fields["producerGroup"] = json!("others");
    let wrong = (1, "The producer group wrong".to_owned());
    assert_eq!(refused(&mut client, fields).await, wrong);
    let mut fields = right.clone();
    fields["tranStateTableOffset"] = json!("7");
    let wrong = (1, "The transaction state table offset wrong".to_owned());
    assert_eq!(refused(&mut client, fields).await, wrong);
    for position in [
        physical_of(plain.field("msgId")),
        half.physical + 1,
        -1,
        i64::MAX,
    ] {
        let mut fields = right.clone();
        fields["commitLogOffset"] = json!(position.to_string());
        let (code, remark) = refused(&mut client, fields).await;
        assert_eq!(code, 1);
        assert!(remark.starts_with("Find prepared transaction message failed"));
    }
    // Unknown, and what is no verdict: nobody is answered.
    for verdict in [0, 5] {
        client
            .tell(37, end_fields(&half, verdict, false), &[])
            .await;
    }
    assert_eq!(bodies(&mut client, "t").await, ["plain"]);
    assert!(messages(&mut client, OP).await.is_empty());
    assert_eq!(end(&mut client, &half, COMMIT).await, 0);
    assert_eq!(bodies(&mut client, "t").await, ["plain", "one"]);
}

#[tokio::test]
async fn after_its_own_time_only_an_asked_producer_may_end_it() {
    let clock = Hand::new();
    let running = start(&clock, &[("transactionTimeOut", "1000")]).await;
    let mut client = running.connect().await;
    client.create_topic("t", 1).await;
    let immunity = "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}10\u{2}";
    let half = half_of(&send_half_with(&mut client, "t", "one", immunity).await);
    be_producer(&mut client, "p1").await;
    clock.forward(9_999);
    all_checked(&running).await;
    assert!(client.is_left_alone().await);
    clock.forward(2);
    assert_eq!(end(&mut client, &half, COMMIT).await, 604);
    let asked = asked_about(&client.requested().await);
    let answer = client.ask(37, end_fields(&asked, COMMIT, true), &[]).await;
    assert_eq!(answer.code(), 0);
    assert_eq!(bodies(&mut client, "t").await, ["one"]);
}

#[tokio::test]
async fn a_producer_of_the_group_is_asked_about_what_was_left_open() {
    let clock = Hand::new();
    let running = start(&clock, &[]).await;
    let mut client = running.connect().await;
    client.create_topic("t", 1).await;
    let mut first = running.connect().await;
    be_producer(&mut first, "p1").await;
    let half = send_half(&mut first, "t", "one").await;
    clock.forward(5_999);
    all_checked(&running).await;
    assert!(first.is_left_alone().await);
    drop(first);
    let mut second = running.connect().await;
    be_producer(&mut second, "p2").await;
    clock.forward(1);
    let check = second.requested().await;
    let asked = asked_about(&check);
    assert_eq!(check.header["flag"], 2, "no answer is wanted");
    assert_eq!(check.field("topic"), HALF);
    assert_eq!((&*asked.key, check.field("bname")), ("key-one", "broker-a"));
    assert_eq!(physical_of(check.field("offsetMsgId")), asked.physical);
    assert_ne!(asked.offset, half.offset, "it was written again");
    let shown = &records(&check.body)[0];
    assert_eq!(shown.body, "one");
    assert_eq!(shown.physical, asked.physical);
    assert_eq!(shown.property("TRANSACTION_CHECK_TIMES"), Some("1"));
    let record = RecordView::parse(&check.body).unwrap();
    assert_eq!(
        (record.topic(), record.queue_id(), record.flag()),
        ("t", 0, 7)
    );
    // It may be ended by either place, but once.
    assert_eq!(end(&mut client, &half, COMMIT).await, 0);
    let answer = second.ask(37, end_fields(&asked, COMMIT, true), &[]).await;
    assert_eq!(answer.code(), 0);
    assert_eq!(bodies(&mut client, "t").await, ["one"]);
    clock.forward(60_000);
    all_checked(&running).await;
    assert!(second.is_left_alone().await);
}

/// What the message says of its birth is not what its checks go by.
#[tokio::test]
async fn a_half_message_of_a_producer_whose_clock_is_off_is_checked_in_time() {
    for off in [-6 * 3_600_000, 6 * 3_600_000] {
        let clock = Hand::new();
        let running = start(&clock, &[]).await;
        let mut client = running.connect().await;
        client.create_topic("t", 1).await;
        be_producer(&mut client, "p1").await;
        let fields = json!({
            "a": "producers", "b": "t", "c": "TBW102", "d": "4", "e": "0", "f": "4",
            "g": (clock.now() + off).to_string(), "h": "0",
            "i": "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}producers\u{2}UNIQ_KEY\u{1}key\u{2}",
            "j": "0", "k": "false", "m": "false",
        });
        let half = half_of(&client.ask(310, fields, b"one").await);
        clock.forward(5_999);
        all_checked(&running).await;
        assert!(client.is_left_alone().await, "{off}");
        clock.forward(1);
        // It is asked about again, and not given up for its age.
        for times in ["1", "2"] {
            let check = client.requested().await;
            let shown = &records(&check.body)[0];
            assert_eq!(shown.property("TRANSACTION_CHECK_TIMES"), Some(times));
            clock.forward(6_000);
        }
        assert_eq!(end(&mut client, &half, COMMIT).await, 0);
        assert_eq!(bodies(&mut client, "t").await, ["one"]);
    }
}

#[tokio::test]
async fn a_half_message_that_nobody_decides_is_given_up_and_resumed() {
    let clock = Hand::new();
    let running = start(&clock, &[("transactionCheckMax", "3")]).await;
    let mut client = running.connect().await;
    client.create_topic("t", 1).await;
    send_half(&mut client, "t", "one").await;
    let mut producer = running.connect().await;
    be_producer(&mut producer, "p1").await;
    for times in 1..=3 {
        clock.forward(6_000);
        let check = producer.requested().await;
        let shown = &records(&check.body)[0];
        let wanted = times.to_string();
        assert_eq!(shown.property("TRANSACTION_CHECK_TIMES"), Some(&*wanted));
    }
    clock.forward(6_000);
    let given_up = wait_for(&mut client, GIVEN_UP, 1).await;
    assert_eq!(given_up[0].body, "one");
    assert_eq!(given_up[0].property("REAL_TOPIC"), Some("t"));
    clock.forward(6_000);
    all_checked(&running).await;
    assert!(producer.is_left_alone().await);

    let id = format!("7F00000100000000{:016X}", given_up[0].physical);
    let resume = |id: &str| json!({"topic": GIVEN_UP, "msgId": id});
    let answer = client.ask(323, resume(&id), &[]).await;
    assert_eq!(answer.code(), 0, "{answer:?}");
    clock.forward(6_000);
    let check = producer.requested().await;
    let shown = &records(&check.body)[0];
    assert_eq!(shown.property("TRANSACTION_CHECK_TIMES"), Some("1"));
    let asked = asked_about(&check);
    let answer = producer
        .ask(37, end_fields(&asked, COMMIT, true), &[])
        .await;
    assert_eq!(answer.code(), 0);
    let plain = &messages(&mut client, "t").await[0];
    assert_eq!(plain.body, "one");
    // What is no half message is not put back.
    for bad in [
        "xyz".to_owned(),
        format!("7F00000100000000{:016X}", plain.physical),
    ] {
        let answer = client.ask(323, resume(&bad), &[]).await;
        assert_eq!(answer.code(), 1);
        assert!(
            answer
                .remark()
                .starts_with("Put message back to RMQ_SYS_TRANS_HALF_TOPIC failed.")
        );
    }
}

#[tokio::test]
async fn checks_without_a_producer_count_and_write_nothing() {
    let clock = Hand::new();
    let running = start(&clock, &[("transactionCheckMax", "3")]).await;
    let mut client = running.connect().await;
    client.create_topic("t", 1).await;
    send_half(&mut client, "t", "one").await;
    for _ in 0..3 {
        clock.forward(6_000);
        all_checked(&running).await;
        assert!(messages(&mut client, GIVEN_UP).await.is_empty());
    }
    clock.forward(6_000);
    all_checked(&running).await;
    assert_eq!(bodies(&mut client, GIVEN_UP).await, ["one"]);
    let halves = bodies(&mut client, HALF).await;
    let written = halves.iter().filter(|body| **body == "one").count();
    assert_eq!(written, 1, "{halves:?}");
    let noted = bodies(&mut client, OP).await;
    assert!(noted.contains(&"0,".to_owned()), "{noted:?}");
}

#[tokio::test]
async fn open_transactions_outlive_a_restart_and_done_ones_do_not() {
    let clock = Hand::new();
    let running = start(&clock, &[]).await;
    let mut client = running.connect().await;
    client.create_topic("t", 1).await;
    let mut halves = Vec::new();
    for body in ["a", "b", "c", "d"] {
        halves.push(send_half(&mut client, "t", body).await);
    }
    assert_eq!(end(&mut client, &halves[0], COMMIT).await, 0);
    assert_eq!(end(&mut client, &halves[2], ROLLBACK).await, 0);
    running.broker.stop().await.unwrap();
    let offsets =
        std::fs::read_to_string(running.directory.path().join("config/consumerOffset.json"))
            .unwrap();
    assert!(offsets.contains(&format!("\"{HALF}@CID_RMQ_SYS_TRANS\"")));
    let counts =
        std::fs::read_to_string(running.directory.path().join("config/transactionMetrics"))
            .unwrap();
    assert!(counts.contains("\"count\":2"), "{counts}");

    let running = restart(running.directory, &clock, &[]).await;
    let mut client = running.connect().await;
    for ended in [&halves[0], &halves[2]] {
        assert_eq!(end(&mut client, ended, COMMIT).await, 0);
    }
    assert_eq!(end(&mut client, &halves[1], COMMIT).await, 0);
    assert_eq!(bodies(&mut client, "t").await, ["a", "b"]);
    be_producer(&mut client, "p1").await;
    clock.forward(6_000);
    let asked = asked_about(&client.requested().await);
    assert_eq!(asked.key, "key-d");
    let answer = client.ask(37, end_fields(&asked, COMMIT, true), &[]).await;
    assert_eq!(answer.code(), 0);
    // Four transactions and one that was written again.
    wait_for(&mut client, OP, 5).await;
    running.broker.stop().await.unwrap();
    // Nothing is left: both queues are done with.
    let running = restart(running.directory, &clock, &[]).await;
    let mut client = running.connect().await;
    assert_eq!(bodies(&mut client, "t").await, ["a", "b", "d"]);
    let committed = async |client: &mut Client, topic: &str| {
        let fields = json!({
            "consumerGroup": "CID_RMQ_SYS_TRANS", "topic": topic, "queueId": "0",
        });
        client.ask(14, fields, &[]).await.field("offset").to_owned()
    };
    assert_eq!(committed(&mut client, HALF).await, "5");
    assert_eq!(committed(&mut client, OP).await, "5");
}

#[tokio::test]
async fn a_crash_after_any_step_loses_and_doubles_nothing() {
    let clock = Hand::new();
    let running = start(&clock, &[]).await;
    let mut client = running.connect().await;
    client.create_topic("t", 1).await;
    let half = send_half(&mut client, "t", "one").await;

    // After the half message.
    let after_half = restart(running.crashed(), &clock, &[]).await;
    let mut there = after_half.connect().await;
    assert_eq!(end(&mut there, &half, COMMIT).await, 0);
    assert_eq!(bodies(&mut there, "t").await, ["one"]);

    // After a check: the half message is there twice, the earlier one noted as done.
    be_producer(&mut client, "p1").await;
    clock.forward(6_000);
    let asked = asked_about(&client.requested().await);
    let after_check = restart(running.crashed(), &clock, &[]).await;
    let mut there = after_check.connect().await;
    be_producer(&mut there, "p1").await;
    assert_eq!(end(&mut there, &asked, COMMIT).await, 0);
    clock.forward(6_000);
    all_checked(&after_check).await;
    assert!(there.is_left_alone().await);
    assert_eq!(bodies(&mut there, "t").await, ["one"]);

    // After the end.
    assert_eq!(end(&mut client, &asked, COMMIT).await, 0);
    let after_end = restart(running.crashed(), &clock, &[]).await;
    let mut there = after_end.connect().await;
    be_producer(&mut there, "p1").await;
    clock.forward(6_000);
    all_checked(&after_end).await;
    assert!(there.is_left_alone().await);
    assert_eq!(bodies(&mut there, "t").await, ["one"]);
}

#[tokio::test]
async fn a_commit_without_its_note_is_found_at_the_start() {
    let clock = Hand::new();
    // Nothing is flushed: of what is known to be durable nothing may be missing.
    let unflushed = [
        ("flushIntervalCommitLog", "60000"),
        ("flushIntervalConsumeQueue", "60000"),
    ];
    let running = start(&clock, &unflushed).await;
    let mut client = running.connect().await;
    client.create_topic("t", 1).await;
    let half = send_half(&mut client, "t", "one").await;
    let open = send_half(&mut client, "t", "two").await;
    assert_eq!(end(&mut client, &half, COMMIT).await, 0);
    let crashed = running.crashed();
    // As if the crash had come between the two: the queue of notes is as it was before.
    match std::fs::remove_dir_all(crashed.path().join("consumequeue").join(OP)) {
        // Its entry was still waiting to be written.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        removed => removed.unwrap(),
    }
    cut_last_note(crashed.path());
    let running = restart(crashed, &clock, &[]).await;
    let mut client = running.connect().await;
    be_producer(&mut client, "p1").await;
    clock.forward(6_000);
    let asked = asked_about(&client.requested().await);
    assert_eq!(asked.key, open.key, "only the other one is open");
    assert_eq!(bodies(&mut client, "t").await, ["one"]);
    assert_eq!(messages(&mut client, OP).await[0].body, "0,");
}

/// Overwrites the last record of the log, which is an op message, with zeros: it was never written.
fn cut_last_note(directory: &std::path::Path) {
    let path = directory.join("commitlog/00000000000000000000");
    let mut log = std::fs::read(&path).unwrap();
    let (mut at, mut last) = (0, 0);
    while let Ok(record) = RecordView::parse(&log[at..]) {
        assert_eq!(record.physical_offset(), i64::try_from(at).unwrap());
        last = at;
        at += record.total_len();
    }
    assert_eq!(RecordView::parse(&log[last..]).unwrap().topic(), OP);
    log[last..at].fill(0);
    std::fs::write(&path, log).unwrap();
}

#[tokio::test]
async fn half_messages_are_refused_where_they_are_not_wanted() {
    let clock = Hand::new();
    let running = start(&clock, &[("rejectTransactionMessage", "true")]).await;
    let mut client = running.connect().await;
    client.create_topic("t", 1).await;
    let answer = send_half_with(&mut client, "t", "one", "").await;
    assert_eq!(answer.code(), 16);
    assert!(
        answer
            .remark()
            .contains("sending transaction message is forbidden")
    );
    assert!(messages(&mut client, HALF).await.is_empty());
}

#[tokio::test]
async fn commits_wait_for_the_disk_under_synchronous_flush() {
    let clock = Hand::new();
    let running = start(&clock, &[("flushDiskType", "SYNC_FLUSH")]).await;
    let mut client = running.connect().await;
    client.create_topic("t", 1).await;
    for number in 0..20 {
        let half = send_half(&mut client, "t", &number.to_string()).await;
        assert_eq!(end(&mut client, &half, COMMIT).await, 0);
    }
    assert_eq!(bodies(&mut client, "t").await.len(), 20);
}
