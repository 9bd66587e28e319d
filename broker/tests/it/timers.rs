// SPDX-License-Identifier: Apache-2.0
//! Messages for any time: the wheel, its files, putting off, recalls (code 370).

use std::time::Duration;

use aerobee_message::properties::keys;
use serde_json::json;

use crate::support::{
    Client, Message,
    delayed::{Bench, count, take},
};

/// Long enough for the timer's thread to look at a moved clock.
const TICK: Duration = Duration::from_millis(1_200);

async fn later(client: &mut Client, body: &str, millis: i64) -> Message {
    let delay = millis.to_string();
    let properties = [
        (keys::TIMER_DELAY_MS, delay.as_str()),
        (keys::UNIQ_KEY, body),
    ];
    let answer = client.send_with("orders", body, &properties).await;
    assert_eq!(answer.code(), 0, "{answer:?}");
    answer
}

/// Waits until so many messages are in the wheel, and none waits to be sorted in.
async fn sorted_in(client: &mut Client, messages: i64) {
    for _ in 0..2_400 {
        let table = client.ask(28, json!({}), &[]).await.json()["table"].clone();
        let number = |key: &str| table[key].as_str().unwrap().parse::<i64>().unwrap();
        if number("timerOffsetBehind") == 0 && number("timerCongestNum") == messages {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{messages} messages are never in the wheel");
}

async fn recall(client: &mut Client, handle: &str) -> Message {
    let fields = json!({"topic": "orders", "recallHandle": handle, "producerGroup": "producers"});
    client.ask(370, fields, &[]).await
}

#[tokio::test]
async fn a_timer_message_comes_at_its_time() {
    let bench = Bench::new();
    let (_broker, mut client) = bench.start().await;
    client.create_topic("orders", 1).await;
    let sent = bench.shift.now();
    let answer = later(&mut client, "later", 600_000).await;
    assert_eq!(
        (answer.field("queueId"), answer.field("queueOffset")),
        ("0", "0")
    );
    // Time also passes by itself, but not a minute and a half.
    bench.shift.advance(500_000);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        count(&mut client, "orders", 0).await,
        0,
        "not before its time"
    );
    bench.shift.advance(100_000);
    let got = take(&mut client, "orders", 1).await.remove(0);
    assert!(bench.shift.now() - sent >= 600_000);
    assert_eq!(got.property(keys::REAL_TOPIC), Some("orders"));
    let time = |name| got.property(name).unwrap().parse::<i64>().unwrap();
    assert!(time(keys::TIMER_DEQUEUE_MS) - sent >= 600_000);
    assert!(time(keys::TIMER_ENQUEUE_MS) <= time(keys::TIMER_OUT_MS));
}

#[tokio::test]
async fn all_three_ways_to_say_when() {
    let bench = Bench::new();
    let (_broker, mut client) = bench.start().await;
    client.create_topic("orders", 1).await;
    let at = (bench.shift.now() + 120_000).to_string();
    for (name, value) in [
        (keys::TIMER_DELAY_SEC, "120"),
        (keys::TIMER_DELAY_MS, "120000"),
        (keys::TIMER_DELIVER_MS, at.as_str()),
    ] {
        let answer = client.send_with("orders", name, &[(name, value)]).await;
        assert_eq!(answer.code(), 0, "{answer:?}");
        assert!(!answer.field("recallHandle").is_empty());
    }
    assert_eq!(count(&mut client, "rmq_sys_wheel_timer", 0).await, 3);
    bench.shift.advance(121_000);
    take(&mut client, "orders", 3).await;
    // A time that is past is now; a level counts before a time.
    let answer = client
        .send_with("orders", "past", &[(keys::TIMER_DELIVER_MS, "1000")])
        .await;
    assert_eq!((answer.code(), answer.field("recallHandle")), (0, ""));
    assert_eq!(take(&mut client, "orders", 4).await[3].body, "past");
    let both = [(keys::DELAY, "1"), (keys::TIMER_DELAY_SEC, "100")];
    client.send_with("orders", "level", &both).await;
    assert_eq!(count(&mut client, "SCHEDULE_TOPIC_XXXX", 0).await, 1);
}

#[tokio::test]
async fn impossible_times_are_refused() {
    let bench = Bench::new();
    let (broker, mut client) = bench.start().await;
    client.create_topic("orders", 1).await;
    let far = (259_200 + 10).to_string();
    for (name, value) in [
        (keys::TIMER_DELAY_SEC, far.as_str()),
        (keys::TIMER_DELAY_SEC, "9223372036854775807"),
        (keys::TIMER_DELAY_MS, "soon"),
        (keys::TIMER_DELIVER_MS, "99999999999999999999"),
    ] {
        let answer = client.send_with("orders", "x", &[(name, value)]).await;
        assert_eq!(answer.code(), 13, "{name} {value} {answer:?}");
        assert!(
            answer
                .remark()
                .starts_with("timer message illegal, the delay time")
        );
    }
    let late = [
        (keys::TIMER_DELIVER_MS, "1"),
        (keys::TIMER_DEL_UNIQKEY, "K"),
    ];
    assert_eq!(client.send_with("orders", "x", &late).await.code(), 13);
    assert_eq!(count(&mut client, "orders", 0).await, 0);
    broker.stop().await.unwrap();
    let (_broker, mut client) = bench.start_with(&[("timerWheelEnable", "false")]).await;
    let answer = client
        .send_with("orders", "x", &[(keys::TIMER_DELAY_SEC, "1")])
        .await;
    assert_eq!(answer.code(), 1);
    assert!(
        answer
            .remark()
            .starts_with("accurate timer message is not enabled, timerWheelEnable is false")
    );
}

#[tokio::test]
async fn a_recalled_message_never_comes() {
    let bench = Bench::new();
    let (_broker, mut client) = bench.start().await;
    client.create_topic("orders", 1).await;
    let keep = later(&mut client, "keep", 30_000).await;
    let gone = later(&mut client, "gone", 30_000).await;
    let answer = recall(&mut client, gone.field("recallHandle")).await;
    assert_eq!(
        (answer.code(), answer.field("msgId")),
        (0, "gone"),
        "{answer:?}"
    );
    bench.shift.advance(31_000);
    assert_eq!(take(&mut client, "orders", 1).await[0].body, "keep");
    tokio::time::sleep(TICK).await;
    assert_eq!(count(&mut client, "orders", 0).await, 1);
    let late = recall(&mut client, keep.field("recallHandle")).await;
    assert_eq!(late.code(), 604);
    assert!(
        late.remark()
            .starts_with("recall failed, timestamp invalid")
    );
    for handle in ["", "x", "djEgb3JkZXJz"] {
        let answer = recall(&mut client, handle).await;
        assert_eq!(answer.code(), 604, "{handle} {answer:?}");
        assert!(answer.remark().starts_with("recall handle is invalid"));
    }
    let other = json!({"topic": "nowhere", "recallHandle": "x", "producerGroup": "p"});
    assert_eq!(client.ask(370, other, &[]).await.code(), 17);
}

#[tokio::test]
async fn recalls_can_be_forbidden() {
    let bench = Bench::new();
    let (_broker, mut client) = bench.start_with(&[("recallMessageEnable", "false")]).await;
    client.create_topic("orders", 1).await;
    let answer = recall(&mut client, "x").await;
    assert_eq!(answer.code(), 16);
    assert!(
        answer
            .remark()
            .starts_with("recall failed, operation is forbidden")
    );
}

#[tokio::test]
async fn timers_survive_a_restart_and_the_loss_of_the_wheel() {
    let bench = Bench::new();
    let (broker, mut client) = bench.start().await;
    client.create_topic("orders", 1).await;
    for number in 0..50 {
        later(&mut client, &format!("m{number}"), 60_000 + number * 100).await;
    }
    later(&mut client, "soon", 2_000).await;
    bench.shift.advance(4_000);
    assert_eq!(take(&mut client, "orders", 1).await[0].body, "soon");
    broker.stop().await.unwrap();
    let metrics: serde_json::Value =
        serde_json::from_str(&bench.file("config/timermetrics")).unwrap();
    assert_eq!(metrics["timingCount"]["orders"]["count"], 50);
    let wheel = bench.directory.path().join("timerwheel");
    assert_eq!(std::fs::metadata(&wheel).unwrap().len(), 38_707_200);
    std::fs::remove_file(&wheel).unwrap();
    let (broker, mut client) = bench.start().await;
    tokio::time::sleep(TICK).await;
    assert_eq!(count(&mut client, "orders", 0).await, 1);
    broker.stop().await.unwrap();
    // Due while the broker is down.
    bench.shift.advance(120_000);
    let (_broker, mut client) = bench.start().await;
    let all = take(&mut client, "orders", 51).await;
    assert!(
        all[1..]
            .iter()
            .enumerate()
            .all(|(at, got)| got.body == format!("m{at}"))
    );
    tokio::time::sleep(TICK).await;
    assert_eq!(count(&mut client, "orders", 0).await, 51);
}

#[tokio::test]
async fn a_crash_loses_and_doubles_nothing() {
    let bench = Bench::new();
    let (broker, mut client) = bench.start().await;
    client.create_topic("orders", 1).await;
    for number in 0..20 {
        later(&mut client, &format!("m{number}"), 30_000).await;
    }
    // Sorted in, but the checkpoint may not know it.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let copy = crate::support::copy(bench.directory.path());
    drop(client);
    drop(broker);
    let crashed = Bench {
        directory: copy,
        shift: std::sync::Arc::clone(&bench.shift),
    };
    let (_broker, mut client) = crashed.start().await;
    crashed.shift.advance(31_000);
    take(&mut client, "orders", 20).await;
    tokio::time::sleep(TICK).await;
    assert_eq!(count(&mut client, "orders", 0).await, 20);
}

#[tokio::test]
async fn far_times_are_put_off_and_reached() {
    let bench = Bench::new();
    let keys = [
        ("timerRollWindowSlot", "100"),
        ("timerMaxDelaySec", "3456000"),
    ];
    let (broker, mut client) = bench.start_with(&keys).await;
    client.create_topic("orders", 1).await;
    later(&mut client, "far", 250_000).await;
    let gone = later(&mut client, "gone", 250_000).await;
    later(&mut client, "forty days", 3_456_000_000 - 5_000).await;
    // The mark is put off together with its message.
    let answer = recall(&mut client, gone.field("recallHandle")).await;
    assert_eq!(answer.code(), 0, "{answer:?}");
    let mut put_off = count(&mut client, "rmq_sys_wheel_timer", 0).await;
    assert_eq!(put_off, 4);
    sorted_in(&mut client, 4).await;
    for _ in 0..2 {
        bench.shift.advance(105_000);
        let mut now = put_off;
        for _ in 0..600 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            now = count(&mut client, "rmq_sys_wheel_timer", 0).await;
            if now >= put_off + 4 {
                break;
            }
        }
        assert_eq!(now, put_off + 4);
        sorted_in(&mut client, 4).await;
        put_off = now;
    }
    broker.stop().await.unwrap();
    let (_broker, mut client) = bench.start_with(&keys).await;
    assert_eq!(count(&mut client, "orders", 0).await, 0);
    bench.shift.advance(42_000);
    let got = take(&mut client, "orders", 1).await;
    assert_eq!(got[0].body, "far");
    assert!(
        got[0]
            .property(keys::TIMER_ROLL_TIMES)
            .unwrap()
            .parse::<i32>()
            .unwrap()
            >= 2
    );
    tokio::time::sleep(TICK).await;
    assert_eq!(count(&mut client, "orders", 0).await, 1);
}

#[tokio::test]
async fn too_many_for_one_time_are_refused() {
    let bench = Bench::new();
    let (_broker, mut client) = bench.start_with(&[("timerCongestNumEachSlot", "3")]).await;
    client.create_topic("orders", 1).await;
    let at = (bench.shift.now() + 600_000).to_string();
    let mut refused = None;
    for _ in 0..1_000 {
        let answer = client
            .send_with("orders", "x", &[(keys::TIMER_DELIVER_MS, &at)])
            .await;
        if answer.code() != 0 {
            refused = Some(answer);
            break;
        }
        // Messages are counted when they are sorted in.
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let refused = refused.unwrap();
    assert_eq!(refused.code(), 1);
    assert!(
        refused
            .remark()
            .starts_with("timer message is under flow control, max num limit is 6")
    );
}

#[tokio::test]
async fn what_was_delivered_before_a_crash_is_not_delivered_again() {
    let bench = Bench::new();
    let (broker, mut client) = bench.start().await;
    client.create_topic("orders", 1).await;
    // How far levels and wheel are is from before any delivery.
    let old = crate::support::copy(bench.directory.path());
    for number in 0..10 {
        later(&mut client, &format!("t{number}"), 30_000).await;
        let level = [(keys::DELAY, "3"), (keys::UNIQ_KEY, "same")];
        client
            .send_with("orders", &format!("l{number}"), &level)
            .await;
    }
    bench.shift.advance(31_000);
    take(&mut client, "orders", 20).await;
    later(&mut client, "to come", 5_000).await;
    let crashed = crate::support::copy(bench.directory.path());
    drop(client);
    drop(broker);
    for name in ["config/delayOffset.json", "config/timercheck"] {
        let (from, to) = (old.path().join(name), crashed.path().join(name));
        if from.exists() {
            std::fs::copy(from, to).unwrap();
        } else if to.exists() {
            std::fs::remove_file(to).unwrap();
        }
    }
    let crashed = Bench {
        directory: crashed,
        shift: std::sync::Arc::clone(&bench.shift),
    };
    let (_broker, mut client) = crashed.start().await;
    crashed.shift.advance(6_000);
    let all = take(&mut client, "orders", 21).await;
    assert_eq!(all[20].body, "to come");
    tokio::time::sleep(TICK).await;
    assert_eq!(count(&mut client, "orders", 0).await, 21);
}
