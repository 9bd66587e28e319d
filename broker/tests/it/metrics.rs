// SPDX-License-Identifier: Apache-2.0
//! What is told of requests. Apache: `RemotingMetricsManager`.

use std::time::{Duration, Instant};

use aerobee_daemon::exposition::Exposition;
use serde_json::json;

use crate::support::{Client, Running};

/// Most requests of a kind are counted just after their answer has left.
const PATIENCE: Duration = Duration::from_secs(60);

fn latencies(running: &Running) -> Vec<String> {
    let mut out = Exposition::default();
    running.broker.metrics().write(&mut out);
    let text = out.into_text();
    let lines = text.lines().map(str::to_owned);
    lines
        .filter(|line| line.starts_with("rocketmq_rpc_latency_milliseconds"))
        .collect()
}

/// Waits until the number of answers of a kind is told.
async fn wait_for(running: &Running, kind: &str, count: u64) {
    let wanted = format!("{kind}}} {count}");
    let started = Instant::now();
    loop {
        let told = latencies(running);
        if told
            .iter()
            .any(|line| line.contains("_count{") && line.ends_with(&wanted))
        {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{wanted}: {told:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn requests_are_told_by_code_and_outcome() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    client.create_topic("T", 1).await;
    for number in 0..3 {
        client.send("T", 0, &number.to_string()).await;
    }
    assert_eq!(
        client.ask(31, json!({"topic": "none"}), &[]).await.code(),
        1
    );
    assert_eq!(client.ask(999_999, json!({}), &[]).await.code(), 3);
    client.tell(34, json!({}), b"{\"clientID\":\"c\"}").await;
    for (kind, count) in [
        (
            r#"protocol_type="remoting",is_long_polling="false",request_code="send_message_v2",response_code="success",result="success""#,
            3,
        ),
        (
            r#"is_long_polling="false",request_code="unknown",response_code="request_code_not_supported",result="success""#,
            1,
        ),
        (
            r#"request_code="heart_beat",response_code="success",result="oneway""#,
            1,
        ),
    ] {
        wait_for(&running, kind, count).await;
    }
    // Both ports are told of together.
    let fast = running.broker.fast_address();
    if let Some(fast) = fast {
        Client::connect(fast).await.send("T", 0, "4").await;
        let kind = r#"request_code="send_message_v2",response_code="success",result="success""#;
        wait_for(&running, kind, 4).await;
    }
}

#[tokio::test]
async fn a_held_pull_is_told_with_the_time_that_it_was_held() {
    let running = Running::start().await;
    let mut consumer = running.connect().await;
    consumer.create_topic("T", 1).await;
    consumer.consume("c", "g", "T").await;
    let held = json!({
        "consumerGroup": "g", "topic": "T", "queueId": "0", "queueOffset": "0", "maxMsgNums": "1",
        "sysFlag": "6", "commitOffset": "0", "suspendTimeoutMillis": "30000", "subscription": "*",
        "subVersion": "0",
    });
    consumer.park(11, held).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    running.connect().await.send("T", 0, "a").await;
    assert_eq!(consumer.parked().await.code(), 0);
    let kind = r#"is_long_polling="true",request_code="pull_message",response_code="success",result="success""#;
    wait_for(&running, kind, 1).await;
    // Longer than ten milliseconds, so it is in none of the spans up to there.
    let told = latencies(&running);
    let of_pull = told.iter().filter(|line| line.contains(kind));
    let within: Vec<_> = of_pull
        .filter(|line| line.contains("le=\"10.0\"") && line.ends_with(" 0"))
        .collect();
    assert_eq!(within.len(), 1, "{told:#?}");
}
