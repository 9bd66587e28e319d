// SPDX-License-Identifier: Apache-2.0
//! A commit log in several directories, by the keys of a broker.

use serde_json::json;

use crate::support::Running;

#[tokio::test]
async fn the_log_may_lie_in_several_directories() {
    let disks = tempfile::tempdir().unwrap();
    let dirs = ["one", "two"].map(|name| disks.path().join(name));
    let list = format!("{},{}", dirs[1].display(), dirs[0].display());
    let keys = [
        ("storePathCommitLog", list.as_str()),
        ("mappedFileSizeCommitLog", "1048576"),
        ("maxMessageSize", "262144"),
    ];
    let running = Running::start_with(&keys).await;
    let mut client = running.connect().await;
    client.create_topic("orders", 1).await;
    let body = "x".repeat(100_000);
    for _ in 0..25 {
        assert_eq!(client.send("orders", 0, &body).await.code(), 0);
    }
    let has = |dir: usize, base: usize| dirs[dir].join(format!("{:020}", base << 20)).exists();
    assert!(has(0, 0) && has(1, 1) && has(0, 2) && !has(1, 0));
    assert!(!running.directory.path().join("commitlog").exists());
    let table = client.ask(28, json!({}), &[]).await.json()["table"].clone();
    let ratio = |key: &str| table[key].as_str().unwrap().parse::<f64>().unwrap();
    for dir in &dirs {
        assert!(ratio(&format!("commitLogDiskRatio_{}", dir.display())) > 0.0);
    }
    assert!(ratio("commitLogDiskRatio") > 0.0);
    drop(client);
    running.broker.stop().await.unwrap();
    let list = list.replace(',', "::");
    let keys = [
        ("storePathCommitLog", list.as_str()),
        ("multiPathSplitter", "::"),
        ("mappedFileSizeCommitLog", "1048576"),
    ];
    let running = Running::start_in(running.directory, &keys).await;
    let mut client = running.connect().await;
    let read = client.pull("orders", 0, 24).await;
    assert_eq!((read.code(), read.field("maxOffset")), (0, "25"));
}
