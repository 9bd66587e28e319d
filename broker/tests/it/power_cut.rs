// SPDX-License-Identifier: Apache-2.0
//! Positions of groups on the disk never run ahead of the log: what a power cut takes from the log,
//! messages and check points of pops, is not told as consumed by `consumerOffset.json`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{
    Client, Running,
    gate::{Gate, Opens, Syncs},
};

/// How long a file that must not be written is watched: it would be within a few periods of 100 ms.
const WATCHED: Duration = Duration::from_millis(1_000);

async fn commit(client: &mut Client, offset: i64) {
    let fields = json!({
        "consumerGroup": "pullers", "topic": "orders", "queueId": "0",
        "commitOffset": offset.to_string(),
    });
    assert_eq!(client.ask(15, fields, &[]).await.code(), 0);
}

async fn eventually(running: &Running, text: &str) {
    let path = running.directory.path().join("config/consumerOffset.json");
    let has = || std::fs::read_to_string(&path).is_ok_and(|file| file.contains(text));
    let deadline = Instant::now() + Duration::from_secs(60);
    while !has() {
        assert!(Instant::now() < deadline, "{text} is not in the file");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_written_after_the_log() {
    let gate = Arc::new(Gate::default());
    let keys = [("flushConsumerOffsetInterval", "100")];
    let running = Running::start_on(tempfile::tempdir().unwrap(), &keys, gate.env()).await;
    let _opens = Opens(Arc::clone(&gate));
    let mut client = running.connect().await;
    client.create_topic("orders", 1).await;
    client.consume("c1", "pullers", "orders").await;
    client.send("orders", 0, "durable").await;
    commit(&mut client, 1).await;
    eventually(&running, "orders@pullers").await;
    gate.set(Syncs::Wait);
    client.send("orders", 0, "in memory").await;
    let popped = json!({
        "consumerGroup": "poppers", "topic": "orders", "queueId": "0", "maxMsgNums": "32",
        "invisibleTime": "60000", "pollTime": "0", "bornTime": "0", "initMode": "0",
    });
    let answer = client.ask(200_050, popped, &[]).await;
    assert_eq!(answer.code(), 0, "{answer:?}");
    commit(&mut client, 2).await;
    tokio::time::sleep(WATCHED).await;
    let offsets = running.file("config/consumerOffset.json");
    assert!(!offsets.contains("orders@poppers"), "{offsets}");
    assert!(offsets.contains(r#""0":1"#), "{offsets}");
    gate.set(Syncs::Pass);
    eventually(&running, "orders@poppers").await;
    running.broker.stop().await.unwrap();
}
