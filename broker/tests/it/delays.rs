// SPDX-License-Identifier: Apache-2.0
//! Delay levels and messages that consumers give back: code 36, retry topics, dead letters.

use std::time::Duration;

use aerobee_broker::Broker;
use aerobee_message::properties::keys;
use serde_json::json;

use crate::support::{
    Client, Message,
    delayed::{Bench, Got, count, messages, take},
};

#[tokio::test]
async fn a_message_waits_for_its_level_and_no_longer() {
    let bench = Bench::new();
    let (_broker, mut client) = bench.start().await;
    client.create_topic("orders", 1).await;
    let sent_at = bench.shift.now();
    let level = [
        (keys::DELAY, "9"),
        (keys::TAGS, "red"),
        (keys::UNIQ_KEY, "U1"),
    ];
    let answer = client.send_with("orders", "later", &level).await;
    assert_eq!(answer.code(), 0, "{answer:?}");
    // The place is that in the schedule topic, the queue that of the message.
    assert_eq!(
        (answer.field("queueId"), answer.field("queueOffset")),
        ("0", "0")
    );
    assert_eq!(count(&mut client, "SCHEDULE_TOPIC_XXXX", 8).await, 1);
    // The table of the broker tells how much of the level was delivered, and nothing of others.
    let standing = async |client: &mut Client| {
        let table = client.ask(28, json!({}), &[]).await.json()["table"].clone();
        (1..=18)
            .filter_map(|level| {
                let text = table[format!("scheduleMessageOffset_{level}")].as_str()?;
                Some((level, text.to_owned()))
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(standing(&mut client).await, [(9, "0,1".to_owned())]);
    // Time also passes by itself, but not a minute and a half.
    bench.shift.advance(200_000);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        count(&mut client, "orders", 0).await,
        0,
        "not before its time"
    );
    bench.shift.advance(100_000);
    let got = take(&mut client, "orders", 1).await;
    assert!(bench.shift.now() - sent_at >= 300_000);
    // It is counted a moment after it can be pulled.
    let counted = async {
        while standing(&mut client).await != [(9, "1,1".to_owned())] {
            tokio::task::yield_now().await;
        }
    };
    let counted = tokio::time::timeout(Duration::from_secs(30), counted).await;
    counted.expect("what was delivered is counted");
    assert_eq!(got[0].body, "later");
    assert_eq!(got[0].property(keys::TAGS), Some("red"));
    assert_eq!(got[0].property(keys::UNIQ_KEY), Some("U1"));
    assert_eq!(got[0].property(keys::REAL_TOPIC), Some("orders"));
}

#[tokio::test]
async fn a_level_that_is_no_number_is_refused() {
    let bench = Bench::new();
    let (_broker, mut client) = bench.start().await;
    client.create_topic("orders", 1).await;
    for level in ["x", " 3", "3.0", "2147483648"] {
        let answer = client
            .send_with("orders", "never", &[(keys::DELAY, level)])
            .await;
        assert_eq!(answer.code(), 1, "{level:?}: {answer:?}");
        assert!(answer.remark().contains("delay level"), "{answer:?}");
    }
    assert_eq!(count(&mut client, "orders", 0).await, 0);
    // As Java reads numbers; none of these waits.
    for level in ["0", "-1", "+0"] {
        let answer = client
            .send_with("orders", "at once", &[(keys::DELAY, level)])
            .await;
        assert_eq!(answer.code(), 0, "{level:?}: {answer:?}");
    }
    assert_eq!(count(&mut client, "orders", 0).await, 3);
}

#[tokio::test]
async fn levels_deliver_in_order_and_once_across_restarts() {
    let bench = Bench::new();
    let (broker, mut client) = bench.start().await;
    client.create_topic("orders", 1).await;
    for number in 0..300 {
        let body = format!("m{number}");
        client
            .send_with("orders", &body, &[(keys::DELAY, "2")])
            .await;
    }
    bench.shift.advance(5_000);
    let first = take(&mut client, "orders", 300).await;
    assert!(
        first
            .iter()
            .enumerate()
            .all(|(at, got)| got.body == format!("m{at}"))
    );
    client
        .send_with("orders", "last", &[(keys::DELAY, "1")])
        .await;
    broker.stop().await.unwrap();
    let file: serde_json::Value =
        serde_json::from_str(&bench.file("config/delayOffset.json")).unwrap();
    assert_eq!(file["offsetTable"]["2"], 300);
    // Due while the broker is down.
    bench.shift.advance(60_000);
    let (_broker, mut client) = bench.start().await;
    let all = take(&mut client, "orders", 301).await;
    assert_eq!(all[300].body, "last");
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(count(&mut client, "orders", 0).await, 301);
}

#[tokio::test]
async fn what_falls_due_together_goes_to_its_own_queue_in_order() {
    let bench = Bench::new();
    let (broker, mut client) = bench.start().await;
    let topics = ["orders", "bills"];
    for topic in topics.iter().chain(&["remade"]) {
        client.create_topic(topic, 4).await;
    }
    let large = "x".repeat(300_000);
    let body = |number: usize| match number % 100 {
        99 => format!("m{number} {large}"),
        _ => format!("m{number}"),
    };
    // The first half by level, the second until a time.
    for number in 0..600 {
        let by = if number < 300 {
            (keys::DELAY, "2")
        } else {
            (keys::TIMER_DELAY_MS, "20000")
        };
        let answer = client
            .send_with(topics[number % 2], &body(number), &[by, (keys::TAGS, "a")])
            .await;
        assert_eq!(answer.code(), 0, "{answer:?}");
    }
    // The queue of these is gone when they are due.
    for by in ["DELAY\u{1}2\u{2}", "TIMER_DELAY_MS\u{1}20000\u{2}"] {
        let fields = json!({
            "a": "producers", "b": "remade", "c": "TBW102", "d": "4", "e": "3",
            "f": "0", "g": "1700000000000", "h": "0", "i": by, "j": "0", "k": "false",
            "m": "false",
        });
        assert_eq!(client.ask(310, fields, b"moved").await.code(), 0);
    }
    let deleted = client.ask(215, json!({"topic": "remade"}), &[]).await;
    assert_eq!(deleted.code(), 0, "{deleted:?}");
    client.create_topic("remade", 1).await;
    let mut waiting = Client::connect(broker.address()).await;
    for half in [0..300, 300..600] {
        let first = half.start / 2;
        let fields = json!({
            "consumerGroup": "waiters", "topic": "bills", "queueId": "0",
            "queueOffset": first.to_string(), "maxMsgNums": "1", "sysFlag": "6",
            "commitOffset": "0", "suspendTimeoutMillis": "120000", "subscription": "*",
            "subVersion": "0", "expressionType": "TAG",
        });
        waiting.park(11, fields).await;
        bench.shift.advance(10_000);
        let served = messages(&waiting.parked().await);
        assert_eq!(served[0].body, body(half.start + 1));
        for (index, topic) in topics.iter().enumerate() {
            let all = take(&mut client, topic, half.end / 2).await;
            for (at, got) in all.iter().enumerate().skip(first) {
                assert!(got.body == body(at * 2 + index), "{topic} {at}");
                assert_eq!(got.property(keys::TAGS), Some("a"));
                let is_timer = got.property(keys::TIMER_DEQUEUE_MS).is_some();
                assert_eq!(is_timer, at >= 150);
            }
        }
    }
    let moved = take(&mut client, "remade", 2).await;
    assert!(moved.iter().all(|got| got.body == "moved"));
    for (topic, queue, wanted) in [("orders", 0, 300), ("bills", 0, 300), ("remade", 0, 2)] {
        assert_eq!(count(&mut client, topic, queue).await, wanted);
    }
}

#[tokio::test]
async fn levels_are_configured_and_higher_ones_lowered() {
    let bench = Bench::new();
    let keys = [("messageDelayLevel", "1s 1h")];
    let (broker, mut client) = bench.start_with(&keys).await;
    client.create_topic("orders", 1).await;
    let answer = client
        .send_with("orders", "x", &[(keys::DELAY, "40")])
        .await;
    assert_eq!(answer.code(), 0, "{answer:?}");
    assert_eq!(count(&mut client, "SCHEDULE_TOPIC_XXXX", 1).await, 1);
    // Queue files are lost: recovery computes the same time from the configured levels.
    broker.stop().await.unwrap();
    std::fs::remove_dir_all(
        bench
            .directory
            .path()
            .join("consumequeue/SCHEDULE_TOPIC_XXXX"),
    )
    .unwrap();
    std::fs::write(bench.directory.path().join("abort"), "").unwrap();
    let (_broker, mut client) = bench.start_with(&keys).await;
    bench.shift.advance(3_500_000);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(count(&mut client, "orders", 0).await, 0);
    bench.shift.advance(100_000);
    assert_eq!(take(&mut client, "orders", 1).await[0].body, "x");
}

#[tokio::test]
async fn levels_that_cannot_be_read_stop_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = aerobee_broker::Config::default();
    config.set("listenPort", "0").unwrap();
    config
        .set("storePathRootDir", directory.path().to_str().unwrap())
        .unwrap();
    config.set("messageDelayLevel", "1s 5x").unwrap();
    let Err(error) = Broker::start(config).await else {
        panic!("it started");
    };
    assert!(error.to_string().contains("messageDelayLevel"), "{error}");
}

/// Gives a message back.
async fn give_back(client: &mut Client, got: &Got, changes: serde_json::Value) -> Message {
    let mut fields = json!({
        "offset": got.physical.to_string(), "group": "workers", "delayLevel": "0",
        "originMsgId": "", "originTopic": "orders", "unitMode": "false",
        "maxReconsumeTimes": "2",
    });
    for (name, value) in changes.as_object().unwrap() {
        fields[name] = value.clone();
    }
    client.ask(36, fields, &[]).await
}

#[tokio::test]
async fn a_message_given_back_comes_again_and_ends_as_a_dead_letter() {
    let bench = Bench::new();
    let (_broker, mut client) = bench.start().await;
    client.create_topic("orders", 1).await;
    client
        .send_with(
            "orders",
            "bad",
            &[(keys::UNIQ_KEY, "U1"), (keys::KEYS, "k")],
        )
        .await;
    let mut got = take(&mut client, "orders", 1).await[0].clone();
    let first = got.physical;
    for (attempt, delay) in [(1, 10_000), (2, 30_000)] {
        let answer = give_back(&mut client, &got, json!({})).await;
        assert_eq!(answer.code(), 0, "{answer:?}");
        assert_eq!(
            count(&mut client, "%RETRY%workers", 0).await,
            i64::from(attempt) - 1
        );
        bench.shift.advance(delay);
        got = take(&mut client, "%RETRY%workers", attempt as usize)
            .await
            .pop()
            .unwrap();
        assert_eq!((got.body.as_str(), got.reconsume_times), ("bad", attempt));
        assert_eq!(got.property(keys::RETRY_TOPIC), Some("orders"));
        assert_eq!(got.property(keys::UNIQ_KEY), Some("U1"));
        let origin = got.property(keys::ORIGIN_MESSAGE_ID).unwrap();
        assert_eq!(aerobee_message::id::parse(origin).unwrap().1, first);
    }
    assert_eq!(give_back(&mut client, &got, json!({})).await.code(), 0);
    let dead = take(&mut client, "%DLQ%workers", 1).await.pop().unwrap();
    assert_eq!((dead.body.as_str(), dead.reconsume_times), ("bad", 3));
    assert_eq!(dead.property(keys::RETRY_TOPIC), Some("orders"));
    assert_eq!(dead.property(keys::DLQ_ORIGIN_TOPIC), Some("orders"));
    let config = client
        .ask(351, json!({"topic": "%DLQ%workers"}), &[])
        .await
        .json();
    assert_eq!(
        (&config["perm"], &config["readQueueNums"]),
        (&json!(6), &json!(1))
    );
}

#[tokio::test]
async fn a_consumer_may_choose_the_delay_or_the_dead_letters() {
    let bench = Bench::new();
    let (_broker, mut client) = bench.start().await;
    client.create_topic("orders", 1).await;
    client.send_with("orders", "bad", &[]).await;
    let got = take(&mut client, "orders", 1).await[0].clone();
    assert_eq!(
        give_back(
            &mut client,
            &got,
            json!({"delayLevel": "1", "unitMode": "true"})
        )
        .await
        .code(),
        0
    );
    bench.shift.advance(1_000);
    assert_eq!(
        take(&mut client, "%RETRY%workers", 1).await[0].reconsume_times,
        1
    );
    let config = client
        .ask(351, json!({"topic": "%RETRY%workers"}), &[])
        .await
        .json();
    assert_eq!(
        (&config["topicSysFlag"], &config["perm"]),
        (&json!(2), &json!(6))
    );
    assert_eq!(
        give_back(&mut client, &got, json!({"delayLevel": "-1"}))
            .await
            .code(),
        0
    );
    assert_eq!(take(&mut client, "%DLQ%workers", 1).await[0].body, "bad");
}

#[tokio::test]
async fn what_cannot_be_given_back_is_refused_without_effect() {
    let bench = Bench::new();
    let (_broker, mut client) = bench
        .start_with(&[("autoCreateSubscriptionGroup", "false")])
        .await;
    client.create_topic("orders", 1).await;
    client.send_with("orders", "x", &[]).await;
    let got = take_anyway(&mut client).await;
    let answer = give_back(&mut client, &got, json!({})).await;
    assert_eq!(answer.code(), 26);
    assert!(
        answer
            .remark()
            .starts_with("subscription group not exist, workers")
    );
    let group = json!({"groupName": "workers", "retryQueueNums": 1, "retryMaxTimes": 16});
    assert_eq!(client.ask_json(200, &group).await.code(), 0);
    for offset in [got.physical + 1, -1, i64::MAX] {
        let answer = give_back(&mut client, &got, json!({"offset": offset.to_string()})).await;
        assert_eq!(answer.code(), 1);
        assert!(
            answer
                .remark()
                .starts_with(&format!("look message by offset failed, {offset}"))
        );
    }
    // Without retry queues a message is given up, and that is a success.
    let group = json!({"groupName": "workers", "retryQueueNums": 0, "retryMaxTimes": 16});
    assert_eq!(client.ask_json(200, &group).await.code(), 0);
    assert_eq!(give_back(&mut client, &got, json!({})).await.code(), 0);
    assert_eq!(count(&mut client, "SCHEDULE_TOPIC_XXXX", 2).await, 0);
}

/// The first message of `orders`, found without a group.
async fn take_anyway(client: &mut Client) -> Got {
    let view = client.ask(33, json!({"offset": "0"}), &[]).await;
    messages(&view).pop().unwrap()
}
