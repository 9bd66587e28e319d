// SPDX-License-Identifier: Apache-2.0
//! Small files that were cut or scribbled on: the backup takes their place; where there is none that makes sense the
//! broker says so and does not start empty.

mod support;

use std::fs;

use aerobee_broker::Broker;
use serde_json::json;
use support::{Client, Running, config};

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
async fn without_a_sound_backup_the_broker_does_not_start_empty() {
    for name in [
        "topics.json",
        "subscriptionGroup.json",
        "consumerOffset.json",
    ] {
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
        // Moved away, as the message says: it starts.
        let other = tempfile::tempdir().unwrap();
        fs::create_dir(other.path().join("config")).unwrap();
        fs::rename(&path, other.path().join("config/aside")).unwrap();
        Running::start_in(other, &[]).await;
    }
}
