// SPDX-License-Identifier: Apache-2.0
//! Popping: codes 200050 to 200055 and 200151, from the first pop to the retry.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aerobee_message::record::RecordView;
use aerobee_remoting::RequestCode;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{Client, Message, Running};

const POP: i32 = RequestCode::POP_MESSAGE.0;
const ACK: i32 = RequestCode::ACK_MESSAGE.0;
const PEEK: i32 = RequestCode::PEEK_MESSAGE.0;
const CHANGE: i32 = RequestCode::CHANGE_MESSAGE_INVISIBLETIME.0;
const NOTIFICATION: i32 = RequestCode::NOTIFICATION.0;
const POLLING_INFO: i32 = RequestCode::POLLING_INFO.0;
const BATCH_ACK: i32 = RequestCode::BATCH_ACK_MESSAGE.0;

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn fields(changes: &Value) -> Value {
    let mut fields = json!({
        "consumerGroup": "poppers", "topic": "orders", "queueId": "-1", "maxMsgNums": "32",
        "invisibleTime": "60000", "pollTime": "0", "bornTime": now().to_string(), "initMode": "0",
    });
    for (name, value) in changes.as_object().unwrap() {
        fields[name] = value.clone();
    }
    fields
}

async fn pop(client: &mut Client, changes: Value) -> Message {
    client.ask(POP, fields(&changes), &[]).await
}

/// A message as a consumer has it, with the handle that the Java client makes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Popped {
    body: String,
    topic: String,
    queue_id: i32,
    offset: i64,
    reconsumed: i32,
    handle: String,
}

impl Popped {
    /// The topic that it lies in.
    fn real_topic(&self) -> String {
        match self.handle.split(' ').nth(4).unwrap() {
            "0" => "orders".to_owned(),
            "1" => "%RETRY%poppers_orders".to_owned(),
            kind => {
                assert_eq!(kind, "2");
                "%RETRY%poppers+orders".to_owned()
            }
        }
    }

    fn fields(&self) -> Value {
        json!({
            "consumerGroup": "poppers", "topic": self.real_topic(), "queueId": self.queue_id.to_string(),
            "extraInfo": self.handle, "offset": self.offset.to_string(),
        })
    }
}

/// What `startOffsetInfo` says of a queue.
fn start_of(answer: &Message, kind: &str, queue_id: i32) -> i64 {
    let queue_id = queue_id.to_string();
    let entries = answer.field("startOffsetInfo").split(';');
    let mut found = entries.filter_map(|entry| {
        let mut parts = entry.split(' ');
        let is_it = parts.next() == Some(kind) && parts.next() == Some(queue_id.as_str());
        is_it.then(|| parts.next().unwrap().parse().unwrap())
    });
    let start = found.next().unwrap();
    assert!(found.next().is_none(), "one entry a queue");
    start
}

fn messages(answer: &Message) -> Vec<Popped> {
    assert_eq!((answer.code(), answer.remark()), (0, "FOUND"), "{answer:?}");
    let mut rest = &answer.body[..];
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let record = RecordView::parse(rest).unwrap();
        let made = record.properties().get("POP_CK").map(ToOwned::to_owned);
        let kind = made
            .as_ref()
            .map_or("0", |made| made.split(' ').nth(4).unwrap());
        let listed = format!("{kind} {} ", record.queue_id());
        let entry = answer
            .field("msgOffsetInfo")
            .split(';')
            .find_map(|entry| entry.strip_prefix(&listed))
            .unwrap();
        let offset = record.queue_offset();
        assert!(entry.split(',').any(|known| known == offset.to_string()));
        let handle = made.unwrap_or_else(|| {
            format!(
                "{} {} {} {} 0 broker-a {} {offset}",
                start_of(answer, "0", record.queue_id()),
                answer.field("popTime"),
                answer.field("invisibleTime"),
                answer.field("reviveQid"),
                record.queue_id(),
            )
        });
        messages.push(Popped {
            body: String::from_utf8(record.body().to_vec()).unwrap(),
            topic: record.topic().to_owned(),
            queue_id: record.queue_id(),
            offset,
            reconsumed: record.reconsume_times(),
            handle,
        });
        rest = &rest[record.total_len()..];
    }
    messages
}

fn bodies(answer: &Message) -> Vec<String> {
    let mut bodies: Vec<_> = messages(answer)
        .into_iter()
        .map(|message| message.body)
        .collect();
    bodies.sort();
    bodies
}

async fn with_messages(queues: i32, count: i32) -> (Running, Client) {
    let running = Running::start().await;
    let mut client = running.connect().await;
    client.create_topic("orders", queues).await;
    for index in 0..count {
        let sent = client
            .send("orders", index % queues, &format!("m{index:02}"))
            .await;
        assert_eq!(sent.code(), 0);
    }
    (running, client)
}

async fn acknowledge(client: &mut Client, message: &Popped) -> i64 {
    client.ask(ACK, message.fields(), &[]).await.code()
}

/// Pops until something comes, for at most some seconds.
async fn pop_soon(client: &mut Client) -> Message {
    for _ in 0..100 {
        let answer = pop(client, json!({"pollTime": "500"})).await;
        if answer.code() == 0 {
            return answer;
        }
    }
    panic!("nothing came back");
}

#[tokio::test]
async fn each_message_is_popped_once() {
    let (_running, mut client) = with_messages(2, 40).await;
    let first = pop(&mut client, json!({"maxMsgNums": "32"})).await;
    let second = pop(&mut client, json!({"maxMsgNums": "32"})).await;
    assert_eq!((messages(&first).len(), messages(&second).len()), (32, 8));
    let mut all = bodies(&first);
    all.extend(bodies(&second));
    all.sort();
    let wanted: Vec<_> = (0..40).map(|index| format!("m{index:02}")).collect();
    assert_eq!(all, wanted);
    let third = pop(&mut client, json!({})).await;
    assert_eq!((third.code(), third.body.len()), (210, 0));
    // Another group has all of them for itself.
    let other = pop(&mut client, json!({"consumerGroup": "others"})).await;
    assert_eq!(messages(&other).len(), 32);
}

#[tokio::test]
async fn one_queue_or_any() {
    let (_running, mut client) = with_messages(4, 8).await;
    let one = pop(&mut client, json!({"queueId": "2"})).await;
    assert_eq!(bodies(&one), ["m02", "m06"]);
    let rest = pop(&mut client, json!({})).await;
    assert_eq!(messages(&rest).len(), 6);
    assert_eq!(rest.field("restNum"), "0");
}

#[tokio::test]
async fn a_new_group_starts_at_the_end_when_it_wants_to() {
    let running = Running::start_with(&[("initPopOffsetByCheckMsgInMem", "false")]).await;
    let mut client = running.connect().await;
    client.create_topic("orders", 1).await;
    for index in 0..5 {
        client.send("orders", 0, &format!("m{index}")).await;
    }
    let answer = pop(&mut client, json!({"initMode": "1"})).await;
    assert_eq!(bodies(&answer), ["m4"]);
    // An empty queue: what comes after the first pop is wanted.
    client.create_topic("later", 1).await;
    let nothing = pop(&mut client, json!({"topic": "later", "initMode": "1"})).await;
    assert_eq!(nothing.code(), 210);
    client.send("later", 0, "first").await;
    client.send("later", 0, "second").await;
    let answer = pop(&mut client, json!({"topic": "later", "initMode": "1"})).await;
    assert_eq!(bodies(&answer), ["first", "second"]);
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_back_and_what_is_does_not() {
    let (_running, mut client) = with_messages(1, 3).await;
    let answer = pop(&mut client, json!({"invisibleTime": "6000"})).await;
    let popped = messages(&answer);
    assert_eq!(acknowledge(&mut client, &popped[1]).await, 0);
    let early = pop(&mut client, json!({})).await;
    assert_eq!(early.code(), 210, "it is invisible");
    let mut back = Vec::new();
    while back.len() < 2 {
        back.extend(messages(&pop_soon(&mut client).await));
    }
    back.sort_by(|one, other| one.body.cmp(&other.body));
    let seen: Vec<_> = back
        .iter()
        .map(|message| (message.body.as_str(), message.reconsumed))
        .collect();
    assert_eq!(seen, [("m00", 1), ("m02", 1)]);
    for message in &back {
        assert_eq!(message.topic, "orders", "under the name of its topic");
        assert_eq!(message.real_topic(), "%RETRY%poppers_orders");
        assert_eq!(acknowledge(&mut client, message).await, 0);
    }
    let nothing = pop(&mut client, json!({"pollTime": "300"})).await;
    assert_eq!(nothing.code(), 210);
}

#[tokio::test]
async fn a_message_may_stay_invisible_longer_or_shorter() {
    let (_running, mut client) = with_messages(1, 2).await;
    let popped = messages(&pop(&mut client, json!({"invisibleTime": "1000"})).await);
    let mut longer = popped[0].fields();
    longer["invisibleTime"] = json!("60000");
    let answer = client.ask(CHANGE, longer, &[]).await;
    assert_eq!((answer.code(), answer.field("invisibleTime")), (0, "60000"));
    let pop_time: i64 = answer.field("popTime").parse().unwrap();
    assert!(pop_time >= now() - 5_000);
    let back = messages(&pop_soon(&mut client).await);
    assert_eq!(back.len(), 1, "only the other one");
    assert_eq!(back[0].body, "m01");
    // The new handle, as the Java client makes it.
    let handle = format!(
        "{offset} {pop_time} 60000 {} 0 broker-a 0 {offset}",
        answer.field("reviveQid"),
        offset = popped[0].offset
    );
    let renewed = Popped {
        handle,
        ..popped[0].clone()
    };
    let mut shorter = renewed.fields();
    shorter["invisibleTime"] = json!("10");
    shorter["suspend"] = json!("true");
    assert_eq!(client.ask(CHANGE, shorter, &[]).await.code(), 0);
    let back = messages(&pop_soon(&mut client).await);
    // Suspended: the attempt does not count.
    assert_eq!((back[0].body.as_str(), back[0].reconsumed), ("m00", 0));
}

#[tokio::test]
async fn many_are_acknowledged_at_once() {
    let (_running, mut client) = with_messages(1, 10).await;
    let answer = pop(&mut client, json!({"invisibleTime": "800"})).await;
    let popped = messages(&answer);
    // All but the fourth: bits 0-2 and 4-9 are F7 03.
    let body = json!({
        "brokerName": "broker-a",
        "acks": [{
            "c": "poppers", "t": "orders", "r": "0", "so": start_of(&answer, "0", 0), "q": 0,
            "rq": answer.field("reviveQid").parse::<i32>().unwrap(),
            "pt": answer.field("popTime").parse::<i64>().unwrap(), "it": 800, "b": "9wM=",
        }],
    });
    assert_eq!(client.ask_json(BATCH_ACK, &body).await.code(), 0);
    let back = messages(&pop_soon(&mut client).await);
    assert_eq!(back.len(), 1);
    assert_eq!(back[0].body, popped[3].body);
    assert_eq!(
        client
            .ask_json(BATCH_ACK, &json!({"acks": []}))
            .await
            .code(),
        208
    );
    assert_eq!(client.ask(BATCH_ACK, json!({}), &[]).await.code(), 208);
}

#[tokio::test]
async fn a_waiting_pop_is_answered_by_the_next_message() {
    let (running, mut producer) = with_messages(4, 0).await;
    producer.send("orders", 0, "makes the files").await;
    let first = pop(&mut producer, json!({})).await;
    assert_eq!(first.code(), 0);
    let mut slowest = Duration::ZERO;
    for round in 0..20 {
        let mut consumer = running.connect().await;
        let wanted = fields(&json!({"pollTime": "15000"}));
        let mut waiting = std::pin::pin!(consumer.ask(POP, wanted, &[]));
        let early = timeout(Duration::from_millis(20), &mut waiting).await;
        assert!(early.is_err(), "nothing is there yet");
        let info = json!({"consumerGroup": "poppers", "topic": "orders", "queueId": "-1"});
        let asked = Instant::now();
        loop {
            let info = producer.ask(POLLING_INFO, info.clone(), &[]).await;
            if info.field("pollingNum") == "1" {
                break;
            }
            assert!(asked.elapsed() < Duration::from_secs(12), "{info:?}");
        }
        producer.send("orders", round % 4, "new").await;
        let started = Instant::now();
        let answer = waiting.await;
        slowest = slowest.max(started.elapsed());
        assert_eq!(bodies(&answer), ["new"]);
    }
    assert!(
        slowest < Duration::from_secs(12),
        "not by its deadline: {slowest:?}"
    );
}

#[tokio::test]
async fn waiting_pops_share_what_comes() {
    let (running, mut producer) = with_messages(2, 0).await;
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let mut consumer = running.connect().await;
        let wanted = fields(&json!({"pollTime": "15000", "maxMsgNums": "1"}));
        waiting.spawn(async move { consumer.ask(POP, wanted, &[]).await });
    }
    for index in 0..10 {
        producer
            .send("orders", index % 2, &format!("m{index}"))
            .await;
    }
    let mut seen = Vec::new();
    while let Some(answer) = waiting.join_next().await {
        seen.extend(bodies(&answer.unwrap()));
    }
    seen.sort();
    let wanted: Vec<_> = (0..10).map(|index| format!("m{index}")).collect();
    assert_eq!(seen, wanted);
}

#[tokio::test]
async fn a_waiting_pop_hears_in_time_that_there_is_nothing() {
    let (_running, mut client) = with_messages(1, 0).await;
    let started = Instant::now();
    let answer = pop(&mut client, json!({"pollTime": "400"})).await;
    assert_eq!(answer.code(), 210);
    let waited = started.elapsed();
    assert!(waited >= Duration::from_millis(300), "{waited:?}");
    assert!(waited < Duration::from_secs(20), "{waited:?}");
}

/// Many begin to wait while others cease, so that the end of a wait is looked for just when there was nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_of_many_pops_that_wait_at_odd_moments_hears_in_time() {
    let (running, _client) = with_messages(1, 0).await;
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let mut consumer = running.connect().await;
        waiting.spawn(async move {
            for _ in 0..300 {
                let poll = json!({"pollTime": "70"});
                assert_eq!(pop(&mut consumer, poll).await.code(), 210);
            }
        });
    }
    let all = async { while waiting.join_next().await.transpose().unwrap().is_some() {} };
    assert!(
        timeout(Duration::from_secs(90), all).await.is_ok(),
        "a pop waits on after its time"
    );
}

#[tokio::test]
async fn a_retried_message_wakes_its_group() {
    let (running, mut client) = with_messages(1, 1).await;
    let popped = messages(&pop(&mut client, json!({"invisibleTime": "600"})).await);
    let mut consumer = running.connect().await;
    let started = Instant::now();
    let answer = pop(&mut consumer, json!({"pollTime": "15000"})).await;
    assert_eq!(bodies(&answer), [popped[0].body.clone()]);
    assert!(started.elapsed() < Duration::from_secs(13));
}

#[tokio::test]
async fn tags_choose_messages() {
    let (_running, mut client) = with_messages(1, 0).await;
    for (index, tag) in ["red", "blue", "red", "green"].iter().enumerate() {
        let fields = json!({
            "a": "g", "b": "orders", "c": "TBW102", "d": "4", "e": "0", "f": "0", "g": "5", "h": "0",
            "i": format!("TAGS\u{1}{tag}\u{2}colour\u{1}{tag}\u{2}"),
        });
        let body = format!("m{index}");
        assert_eq!(client.ask(310, fields, body.as_bytes()).await.code(), 0);
    }
    let red = pop(
        &mut client,
        json!({"exp": "red", "expType": "TAG", "invisibleTime": "500"}),
    )
    .await;
    assert_eq!(bodies(&red), ["m0", "m2"]);
    assert_eq!(red.field("msgOffsetInfo"), "0 0 0,2");
    for message in messages(&red) {
        assert_eq!(acknowledge(&mut client, &message).await, 0);
    }
    let sql = json!({"consumerGroup": "sql", "exp": "colour = 'green'", "expType": "SQL92"});
    assert_eq!(bodies(&pop(&mut client, sql).await), ["m3"]);
    for bad in [
        json!({"exp": "||", "expType": "TAG"}),
        json!({"exp": "a >", "expType": "SQL92"}),
    ] {
        assert_eq!(pop(&mut client, bad).await.code(), 23);
    }
}

#[tokio::test]
async fn checks_carry_apaches_codes() {
    let (_running, mut client) = with_messages(2, 2).await;
    for (changes, code) in [
        (json!({"bornTime": (now() - 5_000).to_string()}), 210),
        (json!({"maxMsgNums": "33"}), 29),
        (json!({"topic": "unknown"}), 17),
        (json!({"queueId": "2"}), 29),
        (json!({"consumerGroup": "bad/group"}), 26),
        (json!({"queueId": "x"}), 1),
    ] {
        let answer = pop(&mut client, changes.clone()).await;
        assert_eq!(answer.code(), code, "{changes} {answer:?}");
    }
    let popped = messages(&pop(&mut client, json!({"queueId": "0"})).await);
    for (changes, ack, change) in [
        (json!({"topic": "unknown"}), 17, 17),
        (json!({"queueId": "2"}), 13, 13),
        (json!({"queueId": "-1"}), 13, 13),
        (json!({"offset": "9"}), 208, 208),
        (json!({"offset": "1"}), 0, 208),
        (json!({"extraInfo": "no handle"}), 1, 1),
        (json!({"extraInfo": "0 1 2 3 0"}), 1, 1),
        // Forged: nothing happens.
        (json!({"extraInfo": "0 17 60000 3 0 broker-a 0 0"}), 0, 0),
        (json!({"extraInfo": "0 17 60000 500 0 broker-a 0 0"}), 0, 0),
        (json!({"consumerGroup": "strangers"}), 0, 0),
    ] {
        let mut fields = popped[0].fields();
        for (name, value) in changes.as_object().unwrap() {
            fields[name] = value.clone();
        }
        let answer = client.ask(ACK, fields.clone(), &[]).await;
        assert_eq!(answer.code(), ack, "ack {changes} {answer:?}");
        fields["invisibleTime"] = json!("1000");
        let answer = client.ask(CHANGE, fields, &[]).await;
        assert_eq!(answer.code(), change, "change {changes} {answer:?}");
    }
}

#[tokio::test]
async fn peeking_takes_nothing() {
    let (_running, mut client) = with_messages(2, 4).await;
    let fields =
        json!({"consumerGroup": "poppers", "topic": "orders", "queueId": "-1", "maxMsgNums": "32"});
    for _ in 0..2 {
        let answer = client.ask(PEEK, fields.clone(), &[]).await;
        assert_eq!(answer.code(), 0);
        let mut rest = &answer.body[..];
        let mut count = 0;
        while let Ok(record) = RecordView::parse(rest) {
            rest = &rest[record.total_len()..];
            count += 1;
        }
        assert_eq!(count, 4);
    }
    assert_eq!(messages(&pop(&mut client, json!({})).await).len(), 4);
    assert_eq!(client.ask(PEEK, fields, &[]).await.code(), 19);
}

#[tokio::test]
async fn notifications_tell_of_messages() {
    let (running, mut client) = with_messages(1, 0).await;
    let wanted = |poll: i64| {
        json!({
            "consumerGroup": "poppers", "topic": "orders", "queueId": "-1",
            "pollTime": poll.to_string(), "bornTime": now().to_string(),
        })
    };
    let none = client.ask(NOTIFICATION, wanted(200), &[]).await;
    assert_eq!((none.code(), none.field("hasMsg")), (0, "false"));
    let mut consumer = running.connect().await;
    let mut waiting = std::pin::pin!(consumer.ask(NOTIFICATION, wanted(15_000), &[]));
    assert!(
        timeout(Duration::from_millis(50), &mut waiting)
            .await
            .is_err()
    );
    client.send("orders", 0, "new").await;
    let told = waiting.await;
    assert_eq!((told.code(), told.field("hasMsg")), (0, "true"));
    // Nothing was taken.
    assert_eq!(messages(&pop(&mut client, json!({})).await).len(), 1);
}

#[tokio::test]
async fn a_restart_forgets_neither_what_is_popped_nor_what_is_acknowledged() {
    let (running, mut client) = with_messages(1, 4).await;
    let popped = messages(&pop(&mut client, json!({"invisibleTime": "12000"})).await);
    assert_eq!(acknowledge(&mut client, &popped[0]).await, 0);
    drop(client);
    let running = running.restart().await;
    let mut client = running.connect().await;
    assert_eq!(
        pop(&mut client, json!({})).await.code(),
        210,
        "still invisible"
    );
    // Handles of before the restart are good.
    assert_eq!(acknowledge(&mut client, &popped[2]).await, 0);
    let mut back = Vec::new();
    while back.len() < 2 {
        back.extend(messages(&pop_soon(&mut client).await));
    }
    back.sort_by(|one, other| one.body.cmp(&other.body));
    assert_eq!(
        (back[0].body.as_str(), back[1].body.as_str()),
        ("m01", "m03")
    );
    for message in &back {
        assert_eq!(acknowledge(&mut client, message).await, 0);
    }
    drop(client);
    let running = running.restart().await;
    let mut client = running.connect().await;
    let nothing = pop(&mut client, json!({"pollTime": "1500"})).await;
    assert_eq!(nothing.code(), 210);
}

#[tokio::test]
async fn a_stopping_broker_answers_waiting_pops() {
    let (running, _client) = with_messages(1, 0).await;
    let mut consumer = running.connect().await;
    let wanted = fields(&json!({"pollTime": "15000"}));
    consumer.park(POP, wanted).await;
    running.broker.stop().await.unwrap();
    assert_eq!(consumer.parked().await.code(), 210);
}

#[tokio::test]
async fn retry_topics_of_the_second_kind() {
    let running = Running::start_with(&[("enableRetryTopicV2", "true")]).await;
    let mut client = running.connect().await;
    client.create_topic("orders", 1).await;
    client.send("orders", 0, "m").await;
    let first = pop(&mut client, json!({"invisibleTime": "400"})).await;
    assert_eq!(first.code(), 0);
    let back = messages(&pop_soon(&mut client).await);
    assert_eq!(back[0].real_topic(), "%RETRY%poppers+orders");
    assert_eq!(acknowledge(&mut client, &back[0]).await, 0);
}

#[tokio::test]
async fn a_message_that_fails_too_often_is_a_dead_letter() {
    let (_running, mut client) = with_messages(1, 1).await;
    let group = json!({
        "groupName": "poppers", "consumeEnable": true, "consumeBroadcastEnable": true,
        "retryQueueNums": 1, "retryMaxTimes": 1, "brokerId": 0, "whichBrokerWhenConsumeSlowly": 1,
    });
    assert_eq!(client.ask_json(200, &group).await.code(), 0);
    let first = pop(&mut client, json!({"invisibleTime": "100"})).await;
    assert_eq!(first.code(), 0);
    let mut tries = 0;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = pop(
            &mut client,
            json!({"invisibleTime": "100", "pollTime": "200"}),
        )
        .await;
        if answer.code() == 0 {
            tries += 1;
        }
        let fields = json!({"topic": "%DLQ%poppers", "queueId": "0"});
        let dead = client.ask(30, fields, &[]).await;
        if dead.field("offset") == "1" {
            break;
        }
        assert!(Instant::now() < deadline, "no dead letter");
    }
    assert_eq!(tries, 1);
}

#[tokio::test]
async fn ordered_pops_block_a_queue_until_it_is_acknowledged() {
    let (running, mut client) = with_messages(1, 6).await;
    let ordered = |attempt: &str, max: i32| {
        json!({
            "order": "true", "attemptId": attempt, "maxMsgNums": max.to_string(),
            "invisibleTime": "60000",
        })
    };
    let answer = pop(&mut client, ordered("a", 2)).await;
    assert_eq!(answer.field("reviveQid"), "999");
    assert_eq!(answer.field("orderCountInfo"), "0 0 0");
    let popped = messages(&answer);
    assert_eq!(bodies(&answer), ["m00", "m01"]);
    assert_eq!(pop(&mut client, ordered("b", 2)).await.code(), 210);
    // The same attempt again: the answer was lost.
    let again = pop(&mut client, ordered("a", 2)).await;
    assert_eq!(bodies(&again), ["m00", "m01"]);
    let popped_again = messages(&again);
    // The handle of the first answer is stale now.
    assert_eq!(acknowledge(&mut client, &popped[0]).await, 0);
    assert_eq!(pop(&mut client, ordered("b", 2)).await.code(), 210);
    let mut waiter = running.connect().await;
    let mut wanted = fields(&ordered("b", 2));
    wanted["pollTime"] = json!("15000");
    let mut waiting = std::pin::pin!(waiter.ask(POP, wanted, &[]));
    assert!(
        timeout(Duration::from_millis(50), &mut waiting)
            .await
            .is_err()
    );
    for message in &popped_again {
        assert_eq!(acknowledge(&mut client, message).await, 0);
    }
    let next = waiting.await;
    assert_eq!(bodies(&next), ["m02", "m03"]);
    let mut illegal = messages(&next)[0].clone();
    illegal.offset = 5;
    assert_eq!(acknowledge(&mut client, &illegal).await, 13);
    // Visible at once: they come again, counted.
    for message in messages(&next) {
        let mut fields = message.fields();
        fields["invisibleTime"] = json!("0");
        let changed = client.ask(CHANGE, fields, &[]).await;
        assert_eq!(
            (changed.code(), changed.field("popTime")),
            (0, next.field("popTime"))
        );
    }
    let again = pop(&mut client, ordered("c", 2)).await;
    assert_eq!(bodies(&again), ["m02", "m03"]);
    assert_eq!(again.field("orderCountInfo"), "0 qo0%2 1;0 qo0%3 1;0 0 1");
}

#[tokio::test]
async fn a_restart_keeps_an_ordered_queue_blocked_and_its_handles_good() {
    let (running, mut client) = with_messages(1, 4).await;
    let ordered = |attempt: &str| {
        json!({
            "order": "true", "attemptId": attempt, "maxMsgNums": "2", "invisibleTime": "600000",
        })
    };
    let popped = messages(&pop(&mut client, ordered("a")).await);
    assert_eq!(acknowledge(&mut client, &popped[0]).await, 0);
    let running = running.restart().await;
    let mut client = running.connect().await;
    assert_eq!(pop(&mut client, ordered("b")).await.code(), 210);
    assert_eq!(acknowledge(&mut client, &popped[1]).await, 0);
    let next = pop(&mut client, ordered("b")).await;
    assert_eq!(bodies(&next), ["m02", "m03"]);
    assert_eq!(next.field("orderCountInfo"), "0 0 0");
}

/// The file as Apache's broker of 5.5.0 writes it, with the getters that its JSON library adds.
#[tokio::test]
async fn an_ordered_queue_that_apaches_broker_left_is_taken_over() {
    let (running, mut client) = with_messages(1, 4).await;
    assert_eq!(client.consume("c", "poppers", "orders").await.code(), 0);
    running.broker.stop().await.unwrap();
    let pop_time = now();
    let left = format!(
        "{{\n\t\"orderInfoCount\":1,\n\t\"orderedConsumptionLevel\":\"QUEUE\",\n\t\"table\":{{\"orders@poppers\":{{0:{{\
         \"a\":\"x\",\"cm\":1,\"i\":600000,\"l\":{pop_time},\"o\":[0,1],\"oc\":{{1:2}},\"popTime\":{pop_time}}}}}}}\n}}"
    );
    let path = running
        .directory
        .path()
        .join("config/consumerOrderInfo.json");
    std::fs::write(path, left).unwrap();
    let running = Running::start_in(running.directory, &[]).await;
    let mut client = running.connect().await;
    let ordered = |attempt: &str| {
        json!({
            "order": "true", "attemptId": attempt, "maxMsgNums": "2", "invisibleTime": "600000",
        })
    };
    assert_eq!(pop(&mut client, ordered("y")).await.code(), 210);
    // The second message of two is open; its handle is of the broker before.
    let fields = json!({
        "consumerGroup": "poppers", "topic": "orders", "queueId": "0", "offset": "1",
        "extraInfo": format!("0 {pop_time} 600000 999 0 broker-a 0 1"),
    });
    assert_eq!(client.ask(ACK, fields, &[]).await.code(), 0);
    assert_eq!(
        bodies(&pop(&mut client, ordered("y")).await),
        ["m02", "m03"]
    );
}

#[tokio::test]
async fn a_blocked_queue_is_tried_again_when_it_is_free() {
    let (running, mut client) = with_messages(1, 1).await;
    let first = pop(
        &mut client,
        json!({"order": "true", "invisibleTime": "500"}),
    )
    .await;
    assert_eq!(first.code(), 0);
    let mut waiter = running.connect().await;
    let started = Instant::now();
    let again = pop(&mut waiter, json!({"order": "true", "pollTime": "15000"})).await;
    assert_eq!(bodies(&again), ["m00"]);
    assert!(started.elapsed() < Duration::from_secs(13));
}

#[tokio::test]
async fn queues_are_assigned() {
    let (running, mut client) = with_messages(4, 1).await;
    client.consume("c1", "poppers", "orders").await;
    let query = json!({
        "topic": "orders", "consumerGroup": "poppers", "clientId": "c1", "strategyName": "AVG",
        "messageModel": "CLUSTERING",
    });
    let answer = client.ask_json(400, &query).await;
    let assigned = &answer.json()["messageQueueAssignments"];
    assert_eq!(assigned.as_array().unwrap().len(), 4, "{answer:?}");
    assert_eq!(assigned[0]["mode"], "PULL");
    let mode = json!({"topic": "orders", "consumerGroup": "poppers", "mode": "POP", "popShareQueueNum": 0});
    assert_eq!(client.ask_json(401, &mode).await.code(), 0);
    let popping = json!([{
        "messageQueue": {"brokerName": "broker-a", "queueId": -1, "topic": "orders"}, "mode": "POP",
    }]);
    let answer = client.ask_json(400, &query).await;
    assert_eq!(answer.json()["messageQueueAssignments"], popping);
    for (changes, code) in [
        (json!({"topic": "%RETRY%poppers"}), 16),
        (json!({"topic": "unknown"}), 17),
        (json!({"consumerGroup": "strangers"}), 0),
        (json!({"consumerGroup": "no group"}), 26),
    ] {
        let mut mode = mode.clone();
        for (name, value) in changes.as_object().unwrap() {
            mode[name] = value.clone();
        }
        assert_eq!(client.ask_json(401, &mode).await.code(), code, "{changes}");
    }
    let mut unknown = query.clone();
    unknown["strategyName"] = json!("MINE");
    let answer = client.ask_json(400, &unknown).await;
    assert_eq!(answer.json(), json!({}));
    assert!(
        running
            .file("config/messageRequestMode.json")
            .contains("POP")
    );
    drop(client);
    let running = running.restart().await;
    let mut client = running.connect().await;
    client.consume("c1", "poppers", "orders").await;
    let answer = client.ask_json(400, &query).await;
    assert_eq!(answer.json()["messageQueueAssignments"], popping);
}

/// Apache's broker keeps check points in its timer until they are due; before that nothing of them is
/// in the revive topic, which may not even have queues.
#[tokio::test]
async fn a_handle_of_the_broker_before_is_acknowledged_though_its_check_point_is_with_the_timer() {
    let (running, _) = with_messages(1, 4).await;
    let running = running.restart().await;
    let mut client = running.connect().await;
    client.consume("c1", "poppers", "orders").await;
    let handle = |at: i64| format!("0 {at} 60000 0 0 broker-a 0 2");
    let fields = |at: i64| {
        json!({
            "consumerGroup": "poppers", "topic": "orders", "queueId": "0",
            "extraInfo": handle(at), "offset": "2",
        })
    };
    let written = json!({"topic": "rmq_sys_REVIVE_LOG_DefaultCluster", "queueId": "0"});
    // One that is long over means nothing.
    let old = client.ask(ACK, fields(now() - 600_000), &[]).await;
    assert_eq!(old.code(), 0);
    let none = client.ask(30, written.clone(), &[]).await;
    assert_ne!(none.field("offset"), "1");
    let recent = now() - 30_000;
    assert_eq!(client.ask(ACK, fields(recent), &[]).await.code(), 0);
    let one = client.ask(30, written.clone(), &[]).await;
    assert_eq!(one.field("offset"), "1");
    let mut longer = fields(recent - 1);
    longer["invisibleTime"] = json!("30000");
    assert_eq!(client.ask(CHANGE, longer, &[]).await.code(), 0);
    let three = client.ask(30, written, &[]).await;
    assert_eq!(three.field("offset"), "3");
}
