// SPDX-License-Identifier: Apache-2.0
//! Small files that were cut or scribbled on: the backup takes their place; where there is none that makes sense they are
//! made again from what else is there, or the broker says so and does not start empty.

use std::fs;

use aerobee_broker::Broker;
use serde_json::json;

use crate::support::{Client, Running, config};

async fn create(client: &mut Client, topic: &str) {
    let fields = json!({
        "topic": topic, "defaultTopic": "TBW102", "readQueueNums": 3, "writeQueueNums": 2,
        "perm": 6, "topicFilterType": "SINGLE_TAG", "topicSysFlag": 0, "order": "false",
    });
    let answer = client.ask(17, fields, &[]).await;
    assert_eq!(answer.code(), 0, "{}", answer.remark());
}

async fn exists(client: &mut Client, topic: &str) -> bool {
    client.ask(351, json!({"topic": topic}), &[]).await.code() == 0
}

#[tokio::test]
async fn topics_cut_in_half_come_back_from_their_backup() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    create(&mut client, "first").await;
    create(&mut client, "second").await;
    drop(client);
    running.broker.stop().await.unwrap();
    let directory = running.directory;
    let path = directory.path().join("config/topics.json");
    let whole = fs::read(&path).unwrap();
    let half = &whole[..whole.len() / 2];
    fs::write(&path, half).unwrap();
    let running = Running::start_in(directory, &[]).await;
    let mut client = running.connect().await;
    assert!(exists(&mut client, "first").await);
    // What could not be read is kept aside, and later changes are written as ever.
    let broken = running.directory.path().join("config/topics.json.broken");
    assert_eq!(fs::read(&broken).unwrap(), half);
    create(&mut client, "third").await;
    drop(client);
    let running = running.restart().await;
    let mut client = running.connect().await;
    assert!(exists(&mut client, "first").await && exists(&mut client, "third").await);
}

#[tokio::test]
async fn topics_and_groups_without_a_sound_backup_are_made_again() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    client.create_topic("orders", 4).await;
    client.create_topic("empty", 4).await;
    for queue in 0..4 {
        assert_eq!(client.send("orders", queue, "kept").await.code(), 0);
    }
    client.consume("c1", "readers", "orders").await;
    let commit = json!({
        "consumerGroup": "readers", "topic": "orders", "queueId": "1", "commitOffset": "1",
    });
    assert_eq!(client.ask(15, commit, &[]).await.code(), 0);
    drop(client);
    running.broker.stop().await.unwrap();
    let folder = running.directory.path().join("config");
    // Where all clients of a broadcasting group are: no group that consumes, and none to be made again.
    let positions = folder.join("consumerOffset.json");
    let text = fs::read_to_string(&positions).unwrap();
    let own = "\"orders@readers\"";
    assert!(text.contains(own), "{text}");
    let shared = "\"orders@viewers@broadcast\":{1:1},";
    fs::write(&positions, text.replace(own, &format!("{shared}{own}"))).unwrap();
    for name in ["topics.json", "subscriptionGroup.json"] {
        fs::write(folder.join(name), r#"{"dataVersion":{"coun"#).unwrap();
        fs::write(folder.join(format!("{name}.bak")), "{").unwrap();
    }
    let running = Running::start_in(
        running.directory,
        &[("autoCreateSubscriptionGroup", "false")],
    )
    .await;
    let mut client = running.connect().await;
    let topic = client
        .ask(351, json!({"topic": "orders"}), &[])
        .await
        .json();
    assert_eq!(
        (&topic["readQueueNums"], &topic["writeQueueNums"]),
        (&json!(4), &json!(4))
    );
    assert_eq!(topic["perm"], 6);
    // Nothing in the store speaks of this one.
    assert!(!exists(&mut client, "empty").await);
    let end = client
        .ask(30, json!({"topic": "orders", "queueId": "3"}), &[])
        .await;
    assert_eq!(end.field("offset"), "1");
    let group = client
        .ask(352, json!({"group": "readers"}), &[])
        .await
        .json();
    assert_eq!(group["groupName"], "readers");
    let groups = client.ask(201, json!({}), &[]).await.json();
    let groups = groups["subscriptionGroupTable"].as_object().unwrap();
    assert!(!groups.contains_key("viewers@broadcast"), "{groups:?}");
    let shared = json!({"consumerGroup": "viewers@broadcast", "topic": "orders", "queueId": "1"});
    assert_eq!(client.ask(14, shared, &[]).await.field("offset"), "1");
    let consuming = client.ask(300, json!({"topic": "orders"}), &[]).await;
    assert_eq!(consuming.json()["groupList"], json!(["readers"]));
    let position = json!({"consumerGroup": "readers", "topic": "orders", "queueId": "1"});
    assert_eq!(client.ask(14, position, &[]).await.field("offset"), "1");
    for name in ["topics.json.broken", "subscriptionGroup.json.broken"] {
        let kept = fs::read(running.directory.path().join("config").join(name)).unwrap();
        assert_eq!(kept, br#"{"dataVersion":{"coun"#);
    }
}

#[tokio::test]
async fn without_positions_that_make_sense_the_broker_does_not_start() {
    for name in ["consumerOffset.json"] {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("config");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        let backup = folder.join(format!("{name}.bak"));
        fs::write(&path, r#"{"dataVersion":{"coun"#).unwrap();
        fs::write(&backup, "").unwrap();
        let error = Broker::start(config(directory.path(), &[]))
            .await
            .err()
            .unwrap();
        let text = error.to_string();
        assert!(
            text.contains(path.to_str().unwrap()) && text.contains("move it away"),
            "{name}: {text}"
        );
        assert_eq!(fs::read(&path).unwrap(), br#"{"dataVersion":{"coun"#);
        assert_eq!(fs::read(&backup).unwrap(), b"");
        // Moved away, as the message says: it starts, in the same process and directory.
        fs::rename(&path, folder.join("aside")).unwrap();
        fs::remove_file(&backup).unwrap();
        Running::start_in(directory, &[]).await;
    }
}

/// The lines of a table that are not its version.
fn content(text: &str) -> Vec<&str> {
    let is_version = |line: &&str| {
        ["counter", "timestamp", "stateVersion"]
            .iter()
            .any(|name| line.contains(name))
    };
    text.lines().filter(|line| !is_version(line)).collect()
}

#[tokio::test]
async fn every_table_cut_in_half_comes_back_from_its_backup() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    client.create_topic("orders", 2).await;
    assert_eq!(client.send("orders", 1, "kept").await.code(), 0);
    client.consume("c1", "readers", "orders").await;
    let commit = json!({
        "consumerGroup": "readers", "topic": "orders", "queueId": "1", "commitOffset": "1",
    });
    assert_eq!(client.ask(15, commit, &[]).await.code(), 0);
    let mode = json!({
        "topic": "orders", "consumerGroup": "readers", "mode": "POP", "popShareQueueNum": 1,
    });
    assert_eq!(client.ask_json(401, &mode).await.code(), 0);
    client.consume("c2", "poppers", "orders").await;
    let pop = json!({
        "consumerGroup": "poppers", "topic": "orders", "queueId": "1", "maxMsgNums": "1",
        "invisibleTime": "60000", "pollTime": "0", "bornTime": "0", "initMode": "0", "order": "true",
    });
    let popped = client.ask(200_050, pop, &[]).await;
    assert_eq!(popped.code(), 0, "{}", popped.remark());
    drop(client);
    running.broker.stop().await.unwrap();
    let folder = running.directory.path().join("config");
    let mut tables: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".json"))
        .collect();
    tables.sort();
    for name in [
        "consumerOffset.json",
        "consumerOrderInfo.json",
        "delayOffset.json",
        "messageRequestMode.json",
        "subscriptionGroup.json",
        "topics.json",
    ] {
        assert!(
            tables.iter().any(|table| table == name),
            "{name}: {tables:?}"
        );
    }
    let mut directory = running.directory;
    for name in &tables {
        let (path, backup) = (folder.join(name), folder.join(format!("{name}.bak")));
        let whole = fs::read(&path).unwrap();
        let half = &whole[..whole.len() / 2];
        fs::write(&backup, &whole).unwrap();
        fs::write(&path, half).unwrap();
        let running = Running::start_in(directory, &[]).await;
        let broken = folder.join(format!("{name}.broken"));
        assert_eq!(fs::read(&broken).unwrap(), half, "{name}");
        running.broker.stop().await.unwrap();
        directory = running.directory;
        // Unchanged content may stay where it is.
        let after = fs::read(&path).or_else(|_| fs::read(&backup)).unwrap();
        let (after, whole) = (
            String::from_utf8(after).unwrap(),
            String::from_utf8(whole).unwrap(),
        );
        assert_eq!(content(&after), content(&whole), "{name}");
    }
}
