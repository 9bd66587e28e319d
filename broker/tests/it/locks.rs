// SPDX-License-Identifier: Apache-2.0
//! Queue locks: codes 41 and 42.

use serde_json::{Value, json};

use crate::support::Running;

fn body(client: &str, queues: &[i32]) -> Value {
    let queue = |id: &i32| json!({"brokerName": "broker-a", "queueId": id, "topic": "t"});
    // C++ and Go leave onlyThisBroker out.
    json!({
        "clientId": client, "consumerGroup": "g",
        "mqSet": queues.iter().map(queue).collect::<Vec<Value>>(),
    })
}

fn locked(answer: &crate::support::Message) -> Vec<i64> {
    let body = answer.json();
    let queues = body["lockOKMQSet"].as_array().unwrap();
    queues
        .iter()
        .map(|queue| queue["queueId"].as_i64().unwrap())
        .collect()
}

#[tokio::test]
async fn a_queue_belongs_to_one_client() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    assert_eq!(
        locked(&client.ask_json(41, &body("c1", &[0, 1])).await),
        [0, 1]
    );
    assert_eq!(
        locked(&client.ask_json(41, &body("c2", &[1, 2])).await),
        [2]
    );
    assert_eq!(
        locked(&client.ask_json(41, &body("c1", &[0, 1])).await),
        [0, 1]
    );
    // Only the holder can give it back.
    assert_eq!(client.ask_json(42, &body("c2", &[1])).await.code(), 0);
    assert!(locked(&client.ask_json(41, &body("c2", &[1])).await).is_empty());
    assert_eq!(client.ask_json(42, &body("c1", &[1])).await.code(), 0);
    assert_eq!(locked(&client.ask_json(41, &body("c2", &[1])).await), [1]);
    assert_eq!(client.ask(41, json!({}), b"[").await.code(), 1);
}
