// SPDX-License-Identifier: Apache-2.0
//! Clients that are cut off without a farewell: their process was killed, or the network is gone.

use std::time::{Duration, Instant};

use aerobee_message::record::RecordView;
use aerobee_remoting::RequestCode;
use serde_json::{Value, json};

use crate::support::{Client, Running, heartbeat};

const POP: i32 = RequestCode::POP_MESSAGE.0;
const PATIENCE: Duration = Duration::from_secs(60);

async fn members(client: &mut Client, group: &str) -> Vec<String> {
    let answer = client.ask(38, json!({"consumerGroup": group}), &[]).await;
    if answer.code() != 0 {
        return Vec::new();
    }
    let mut ids: Vec<String> =
        serde_json::from_value(answer.json()["consumerIdList"].clone()).unwrap();
    ids.sort();
    ids
}

/// Waits until the broker has noticed.
async fn until_members_are(client: &mut Client, group: &str, wanted: &[&str]) {
    let deadline = Instant::now() + PATIENCE;
    while members(client, group).await != wanted {
        assert!(Instant::now() < deadline, "{group} is not {wanted:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The groups of the next notices.
async fn told(client: &mut Client, count: usize) -> Vec<String> {
    let mut groups = Vec::new();
    for _ in 0..count {
        let notice = client.requested().await;
        assert_eq!(notice.code(), 40);
        groups.push(notice.field("consumerGroup").to_owned());
    }
    groups.sort();
    groups
}

fn lock(client: &str) -> Value {
    json!({
        "clientId": client, "consumerGroup": "g",
        "mqSet": [{"brokerName": "broker-a", "queueId": 0, "topic": "t"}],
    })
}

async fn locks(client: &mut Client, id: &str) -> bool {
    let answer = client.ask_json(41, &lock(id)).await.json();
    !answer["lockOKMQSet"].as_array().unwrap().is_empty()
}

#[tokio::test]
async fn a_vanished_client_leaves_all_its_groups_and_their_members_are_told() {
    let running = Running::start().await;
    let (mut stays, mut goes) = (running.connect().await, running.connect().await);
    for group in ["g", "h"] {
        assert_eq!(stays.consume("c1", group, "t").await.code(), 0);
        assert_eq!(told(&mut stays, 1).await, [group]);
        assert_eq!(goes.consume("c2", group, "t").await.code(), 0);
        assert_eq!(told(&mut stays, 1).await, [group]);
    }
    assert_eq!(goes.consume("c2", "alone", "t").await.code(), 0);
    assert_eq!(members(&mut stays, "g").await, ["c1", "c2"]);
    let producers = json!({"producerGroup": "CLIENT_INNER_PRODUCER"});
    goes.vanish().await;
    assert_eq!(told(&mut stays, 2).await, ["g", "h"]);
    for (group, left) in [("g", &["c1"][..]), ("h", &["c1"]), ("alone", &[])] {
        until_members_are(&mut stays, group, left).await;
    }
    let answer = stays.ask(203, json!({"consumerGroup": "alone"}), &[]).await;
    assert_eq!(answer.code(), 206, "{answer:?}");
    let connections = stays.ask(204, producers, &[]).await.json();
    assert_eq!(connections["connectionSet"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_lock_of_a_vanished_client_is_kept_for_it_and_for_nobody_else() {
    let running = Running::start().await;
    let (mut stays, mut goes) = (running.connect().await, running.connect().await);
    stays.consume("c1", "g", "t").await;
    goes.consume("c2", "g", "t").await;
    assert!(locks(&mut goes, "c2").await);
    goes.vanish().await;
    until_members_are(&mut stays, "g", &["c1"]).await;
    // It may be cut off only, and at work on a message: another one has to wait until the lock has expired.
    assert!(!locks(&mut stays, "c1").await);
    let mut again = running.connect().await;
    again.consume("c2", "g", "t").await;
    assert!(locks(&mut again, "c2").await);
    assert_eq!(again.ask_json(42, &lock("c2")).await.code(), 0);
    assert!(locks(&mut stays, "c1").await);
}

#[tokio::test]
async fn a_client_that_is_back_before_its_old_connection_is_found_dead_is_one_member() {
    let running = Running::start().await;
    let (mut old, mut other) = (running.connect().await, running.connect().await);
    old.consume("c1", "g", "t").await;
    other.consume("c2", "g", "t").await;
    let mut new = running.connect().await;
    new.consume("c1", "g", "t").await;
    // Twice in the list, it would leave queues to a member that nobody is.
    assert_eq!(members(&mut other, "g").await, ["c1", "c2"]);
    // Operators see what there is.
    let shown = other
        .ask(203, json!({"consumerGroup": "g"}), &[])
        .await
        .json();
    assert_eq!(shown["connectionSet"].as_array().unwrap().len(), 3);
    old.vanish().await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shown = other
            .ask(203, json!({"consumerGroup": "g"}), &[])
            .await
            .json();
        if shown["connectionSet"].as_array().unwrap().len() == 2 {
            break;
        }
        assert!(Instant::now() < deadline, "{shown}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(members(&mut other, "g").await, ["c1", "c2"]);
}

#[tokio::test]
async fn messages_are_not_given_to_the_waiting_requests_of_a_vanished_client() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    client.create_topic("t", 1).await;
    let pop = json!({
        "consumerGroup": "g", "topic": "t", "queueId": "-1", "maxMsgNums": "32",
        "invisibleTime": "600000", "pollTime": "50000", "bornTime": "0", "initMode": "0",
    });
    let mut goes = running.connect().await;
    assert_eq!(
        goes.ask_json(34, &heartbeat("c1", "g", "t")).await.code(),
        0
    );
    // Nothing but answers is read by `park`.
    assert_eq!(goes.requested().await.code(), 40);
    goes.park(POP, pop.clone()).await;
    goes.park(POP, pop.clone()).await;
    let mut stays = running.connect().await;
    stays.park(POP, pop).await;
    goes.vanish().await;
    until_members_are(&mut client, "g", &[]).await;
    assert_eq!(client.send("t", 0, "m").await.code(), 0);
    let popped = stays.parked().await;
    assert_eq!(popped.code(), 0, "{popped:?}");
    assert_eq!(RecordView::parse(&popped.body).unwrap().body(), b"m");
}

#[tokio::test]
async fn offsets_that_a_vanished_client_has_committed_are_where_the_next_one_begins() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    client.create_topic("t", 1).await;
    for body in ["a", "b", "c"] {
        assert_eq!(client.send("t", 0, body).await.code(), 0);
    }
    let mut goes = running.connect().await;
    goes.consume("c1", "g", "t").await;
    let commit = json!({
        "consumerGroup": "g", "topic": "t", "queueId": "0", "commitOffset": "2",
    });
    // Nobody waits for an answer that cannot come any more.
    goes.tell(15, commit, &[]).await;
    assert_eq!(goes.ask(-1, json!({}), &[]).await.code(), 3);
    goes.vanish().await;
    until_members_are(&mut client, "g", &[]).await;
    let asked = json!({"consumerGroup": "g", "topic": "t", "queueId": "0"});
    let known = client.ask(14, asked, &[]).await;
    assert_eq!((known.code(), known.field("offset")), (0, "2"));
}
