// SPDX-License-Identifier: Apache-2.0
//! The configuration and what a broker tells of itself: codes 25, 26, 28.

use std::collections::HashMap;

use aerobee_broker::{Broker, Config};
use aerobee_daemon::Properties;
use serde_json::json;

use crate::support::{Client, Running};

async fn configured(client: &mut Client) -> HashMap<String, String> {
    let answer = client.ask(26, json!({}), &[]).await;
    assert!(
        answer.field("version").contains("\"counter\":"),
        "{answer:?}"
    );
    let text = String::from_utf8(answer.body).unwrap();
    let pair = |line: &str| {
        let (key, value) = line.split_once('=').unwrap();
        (key.to_owned(), value.to_owned())
    };
    text.lines().map(pair).collect()
}

#[tokio::test]
async fn a_change_counts_at_once_and_is_kept() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    let before = configured(&mut client).await;
    assert_eq!(before["brokerName"], "broker-a");
    assert_eq!(before["autoCreateSubscriptionGroup"], "true");
    let change = b"autoCreateSubscriptionGroup=false\nnoSuchKey=1\n";
    assert_eq!(client.ask(25, json!({}), change).await.code(), 0);
    let after = configured(&mut client).await;
    assert_eq!(after["autoCreateSubscriptionGroup"], "false");
    assert!(!after.contains_key("noSuchKey"));
    assert_eq!(client.ask(352, json!({"group": "g"}), &[]).await.code(), 26);
    let file = running.file("config/broker.properties");
    assert_eq!(file, "autoCreateSubscriptionGroup=false\n");
}

#[tokio::test]
async fn what_promises_users_or_replicas_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for key in [
        "aclEnable",
        "migrateAuthFromV1Enabled",
        "enableControllerMode",
        "enableDLegerCommitLog",
    ] {
        let store = directory.path().display();
        let text = format!("storePathRootDir={store}\nlistenPort=0\n{key}=true\n");
        let mut config = Config::default();
        config.apply(&Properties::parse(&text).unwrap());
        let refused = Broker::start(config).await.err().unwrap().to_string();
        let reason = format!("{key} = true: ");
        assert!(refused.starts_with(&reason), "{refused}");
    }
    // Nor may it be promised while the broker runs: the next start would not come up.
    let running = Running::start().await;
    let mut client = running.connect().await;
    let answer = client.ask(25, json!({}), b"aclEnable=true\n").await;
    assert_eq!(answer.code(), 29);
    assert!(answer.remark().contains("access lists"), "{answer:?}");
}

#[tokio::test]
async fn keys_without_effect_are_shown_kept_and_told_of() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    let before = configured(&mut client).await;
    assert_eq!(before["ackMessageThreadPoolNums"], "16");
    assert_eq!(before["transientStorePoolEnable"], "false");
    let answer = client
        .ask(
            25,
            json!({}),
            b"ackMessageThreadPoolNums=9\nlongPollingEnable=false\n",
        )
        .await;
    assert_eq!(answer.code(), 0);
    let remark = answer.remark();
    assert!(remark.starts_with("ackMessageThreadPoolNums "), "{remark}");
    assert!(remark.contains("no effect"), "{remark}");
    assert!(!remark.contains("longPollingEnable"), "{remark}");
    let after = configured(&mut client).await;
    assert_eq!(after["ackMessageThreadPoolNums"], "9");
    let file = running.file("config/broker.properties");
    assert!(file.contains("ackMessageThreadPoolNums=9"), "{file}");
    let told = client.ask(28, json!({}), &[]).await.json();
    assert_eq!(
        told["table"]["keysWithoutEffect"],
        "ackMessageThreadPoolNums"
    );
    let bad = b"ackMessageThreadPoolNums=many\n";
    assert_eq!(client.ask(25, json!({}), bad).await.code(), 29);
    // A change that counts has nothing to remark.
    let answer = client.ask(25, json!({}), b"longPollingEnable=true\n").await;
    assert_eq!((answer.code(), answer.remark()), (0, ""));
}

#[tokio::test]
async fn bad_changes_change_nothing() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    let fixed = b"longPollingEnable=false\nrocketmqHome=/tmp\n";
    let answer = client.ask(25, json!({}), fixed).await;
    let remark = "Can not update config in black list.";
    assert_eq!((answer.code(), answer.remark()), (16, remark));
    let answer = client
        .ask(
            25,
            json!({}),
            b"longPollingEnable=false\nbrokerPermission=9",
        )
        .await;
    assert_eq!(answer.code(), 29);
    assert!(
        answer.remark().contains("brokerPermission"),
        "{}",
        answer.remark()
    );
    assert_eq!(
        client
            .ask(25, json!({}), b"namesrvAddr=nowhere:port")
            .await
            .code(),
        29
    );
    assert_eq!(client.ask(25, json!({}), &[]).await.code(), 0);
    assert_eq!(configured(&mut client).await["longPollingEnable"], "true");
    assert!(
        !running
            .directory
            .path()
            .join("config/broker.properties")
            .exists()
    );
}

#[tokio::test]
async fn the_broker_tells_of_itself() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    client.create_topic("t", 1).await;
    for body in ["a", "b"] {
        assert_eq!(client.send("t", 0, body).await.code(), 0);
    }
    let pull = json!({
        "consumerGroup": "g", "topic": "t", "queueId": "0", "queueOffset": "0",
        "maxMsgNums": "32", "sysFlag": "4", "commitOffset": "0", "suspendTimeoutMillis": "0",
        "subscription": "*", "subVersion": "0", "expressionType": "TAG",
    });
    assert_eq!(client.ask(11, pull, &[]).await.code(), 0);
    let answer = client.ask(28, json!({}), &[]).await;
    let table = answer.json()["table"].clone();
    let text = |key: &str| table[key].as_str().unwrap_or_default().to_owned();
    assert_eq!(text("brokerVersionDesc"), "V5_5_0");
    assert_eq!(text("brokerVersion"), "513");
    assert_eq!(text("putMessageTimesTotal"), "2");
    assert_eq!(text("msgPutTotalTodayNow"), "2");
    let fetched: u64 = text("msgGetTotalTodayNow").parse().unwrap();
    assert!((1..=2).contains(&fetched), "{fetched}");
    assert!(text("commitLogMaxOffset").parse::<i64>().unwrap() > 100);
    assert!(text("runtime").starts_with("[ 0 days, 0 hours, "));
    assert_eq!(text("putTps").split(' ').count(), 3);
    let capacity = text("commitLogDirCapacity");
    assert!(
        capacity.starts_with("Total : ") && capacity.ends_with('.'),
        "{capacity}"
    );
    let ratio: f64 = text("commitLogDiskRatio").parse().unwrap();
    assert!((0.0..=1.0).contains(&ratio));
}
