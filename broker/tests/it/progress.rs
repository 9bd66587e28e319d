// SPDX-License-Identifier: Apache-2.0
//! What topics hold and how far groups are: codes 202, 208, 300, 303, 305, 308, 315, 317, 321, 343, 345.

use serde_json::{Value, json};

use crate::support::{Client, Message, Running};

/// Three messages in queue 0 and one in queue 1; the group has consumed two.
async fn with_progress() -> (Running, Client) {
    let running = Running::start().await;
    let mut client = running.connect().await;
    client.create_topic("orders", 2).await;
    for queue in [0, 0, 0, 1] {
        assert_eq!(client.send("orders", queue, "m").await.code(), 0);
    }
    client.consume("c1", "readers", "orders").await;
    commit(&mut client, "readers", 0, 2).await;
    (running, client)
}

async fn commit(client: &mut Client, group: &str, queue: i32, offset: i64) {
    let fields = json!({
        "consumerGroup": group, "topic": "orders", "queueId": queue.to_string(),
        "commitOffset": offset.to_string(),
    });
    assert_eq!(client.ask(15, fields, &[]).await.code(), 0);
}

/// A body whose map keys are objects, as JSON that a parser takes: keys in quotes.
fn table(message: &Message) -> String {
    String::from_utf8(message.body.clone()).unwrap()
}

#[tokio::test]
async fn topics_tell_what_they_hold() {
    let (_running, mut client) = with_progress().await;
    let stats = client.ask(202, json!({"topic": "orders"}), &[]).await;
    assert_eq!(stats.code(), 0);
    let text = table(&stats);
    assert!(
        text.contains(
            r#"{"brokerName":"broker-a","queueId":0,"topic":"orders"}:{"lastUpdateTimestamp":1"#
        ),
        "{text}"
    );
    assert!(text.contains(r#""maxOffset":3,"minOffset":0"#), "{text}");
    assert!(text.contains(r#""maxOffset":1,"minOffset":0"#), "{text}");
    let unknown = client.ask(202, json!({"topic": "none"}), &[]).await;
    assert_eq!(unknown.code(), 17);
}

#[tokio::test]
async fn groups_tell_how_far_they_are() {
    let (_running, mut client) = with_progress().await;
    let ask = json!({"consumerGroup": "readers"});
    let text = table(&client.ask(208, ask, &[]).await);
    let key = r#"{"brokerName":"broker-a","queueId":0,"topic":"orders"}"#;
    let at = text.find(key).unwrap();
    let entry = &text[at + key.len()..];
    assert!(
        entry.starts_with(r#":{"brokerOffset":3,"consumerOffset":2,"lastTimestamp":1"#),
        "{text}"
    );
    let nobody = client
        .ask(208, json!({"consumerGroup": "nobody"}), &[])
        .await;
    assert_eq!(
        (nobody.code(), nobody.json()["offsetTable"].clone()),
        (0, json!({}))
    );
    // A group that is online and wants another topic only is not shown in this one.
    client.consume("c1", "readers", "other").await;
    let ask = json!({"consumerGroup": "readers", "topic": "orders"});
    assert!(!table(&client.ask(208, ask, &[]).await).contains("orders"));
    let ask = json!({"consumerGroup": "readers", "topicList": "orders;none"});
    assert!(table(&client.ask(208, ask, &[]).await).contains("orders"));
    let all = table(&client.ask(317, json!({"isOrder": "false"}), &[]).await);
    assert!(all.contains(r#""readers":["#), "{all}");
}

#[tokio::test]
async fn who_consumes_what() {
    let (_running, mut client) = with_progress().await;
    commit(&mut client, "readers", 1, 1).await;
    let groups = client
        .ask(300, json!({"topic": "orders"}), &[])
        .await
        .json();
    assert_eq!(groups["groupList"], json!(["readers"]));
    let topics = client
        .ask(343, json!({"group": "readers"}), &[])
        .await
        .json();
    assert_eq!(topics["topicList"], json!(["orders"]));
    let wanted = json!({"group": "readers", "topic": "orders"});
    let subscription = client.ask(345, wanted, &[]).await.json();
    assert_eq!(subscription["subscriptionData"]["subString"], "*");
    let offline = json!({"group": "nobody", "topic": "orders"});
    let subscription = client.ask(345, offline, &[]).await.json();
    assert_eq!(subscription.get("subscriptionData"), None);
    let system = client.ask(305, json!({}), &[]).await.json();
    let has = |name: &str| {
        system["topicList"]
            .as_array()
            .unwrap()
            .contains(&json!(name))
    };
    assert!(has("TBW102") && has("broker-a") && has("DefaultCluster") && !has("orders"));
    assert!(has("DefaultCluster_REPLY_TOPIC"));
}

#[tokio::test]
async fn times_and_entries_of_queues() {
    let (_running, mut client) = with_progress().await;
    let spans = json!({"topic": "orders", "group": "readers"});
    let spans = client.ask(303, spans, &[]).await.json();
    let spans = spans["consumeTimeSpanSet"].as_array().unwrap();
    assert_eq!(spans.len(), 2);
    assert!(spans[0]["consumeTimeStamp"].as_i64().unwrap() > 1_600_000_000_000);
    assert!(spans[0]["delayTime"].as_i64().unwrap() < 60_000);
    let entries = |index: i64| {
        json!({
            "topic": "orders", "queueId": "0", "index": index.to_string(), "count": "2",
            "consumerGroup": "readers",
        })
    };
    let body = client.ask(321, entries(1), &[]).await.json();
    assert_eq!(
        (&body["minQueueIndex"], &body["maxQueueIndex"]),
        (&json!(0), &json!(3))
    );
    let data = body["queueData"].as_array().unwrap();
    assert_eq!(data.len(), 2);
    assert_eq!(data[0]["eval"], true);
    assert_eq!(body.get("filterData"), None);
    assert!(data[1]["physicOffset"].as_i64() > data[0]["physicOffset"].as_i64());
    // Where nobody consumes the topic there is nothing to hold an entry against.
    for (group, said) in [
        ("nobody", json!("nobody@orders is not online!")),
        ("", json!(null)),
    ] {
        let mut asked = entries(1);
        asked["consumerGroup"] = json!(group);
        let body = client.ask(321, asked, &[]).await.json();
        assert_eq!(body["queueData"][0]["eval"], false);
        assert_eq!(body["filterData"], said);
    }
    let outside = client.ask(321, entries(3), &[]).await;
    assert_eq!((outside.code(), outside.body.len()), (0, 0));
    let missing = json!({"topic": "none", "queueId": "0", "index": "0", "count": "1"});
    assert_eq!(client.ask(321, missing, &[]).await.code(), 1);
}

#[tokio::test]
async fn offsets_to_go_back_to() {
    let (_running, mut client) = with_progress().await;
    for group in ["fast", "slow"] {
        client.consume("c2", group, "orders").await;
    }
    commit(&mut client, "fast", 0, 3).await;
    commit(&mut client, "slow", 0, 1).await;
    let ask = |filtered: &str, compared: &str| json!({"filterGroups": filtered, "compareGroup": compared, "topic": "orders"});
    let read = |message: Message| -> Value { message.json()["correctionOffsets"]["0"].clone() };
    assert_eq!(read(client.ask(308, ask("slow", "fast"), &[]).await), 2);
    assert_eq!(read(client.ask(308, ask("", "slow"), &[]).await), i64::MAX);
}

#[tokio::test]
async fn counts_begin_with_the_first_message() {
    let (_running, mut client) = with_progress().await;
    let ask = |name: &str, key: &str| json!({"statsName": name, "statsKey": key});
    for (name, key, code) in [
        ("TOPIC_PUT_NUMS", "orders", 0),
        ("TOPIC_PUT_SIZE", "orders", 0),
        ("BROKER_PUT_NUMS", "DefaultCluster", 0),
        ("TOPIC_PUT_NUMS", "none", 1),
        ("GROUP_GET_NUMS", "orders@readers", 1),
        ("NO_SUCH_KIND", "orders", 1),
    ] {
        let answer = client.ask(315, ask(name, key), &[]).await;
        assert_eq!(answer.code(), code, "{name} {key}: {}", answer.remark());
    }
    let pull = json!({
        "consumerGroup": "readers", "topic": "orders", "queueId": "0", "queueOffset": "0",
        "maxMsgNums": "32", "sysFlag": "0", "commitOffset": "0", "suspendTimeoutMillis": "15000",
        "subVersion": "0",
    });
    assert_eq!(client.ask(11, pull, &[]).await.code(), 0);
    let answer = client
        .ask(315, ask("GROUP_GET_NUMS", "orders@readers"), &[])
        .await;
    assert_eq!(answer.code(), 0);
    assert_eq!(answer.json()["statsMinute"]["sum"], 0);
}

#[tokio::test]
async fn what_is_not_there_is_refused_with_the_reason() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    for (code, answer, words) in [
        (2003, 3, "cold reads"),
        (354, 3, "RocksDB"),
        (1007, 1, "controller"),
        (99_999, 3, "not supported"),
    ] {
        let refused = client.ask(code, json!({}), &[]).await;
        assert_eq!(refused.code(), answer, "{code}");
        assert!(
            refused.remark().contains(words),
            "{code}: {}",
            refused.remark()
        );
    }
    let replication = client.ask(907, json!({}), &[]).await.json();
    assert_eq!(replication["master"], true);
}

#[tokio::test]
async fn the_wheel_is_the_only_engine_for_timer_messages() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    let switched = client.ask(5001, json!({"E_T": "F"}), &[]).await;
    assert_eq!(
        (switched.code(), switched.remark()),
        (0, "switch timer engine success")
    );
    for (fields, words) in [
        (json!({"E_T": "R"}), "only engine"),
        (json!({"E_T": "X"}), "param error"),
        (json!({}), "param error"),
    ] {
        let refused = client.ask(5001, fields, &[]).await;
        assert_eq!(refused.code(), 29);
        assert!(refused.remark().contains(words), "{refused:?}");
    }
    let stopped = b"timerStopEnqueue=true";
    assert_eq!(client.ask(25, json!({}), stopped).await.code(), 0);
    let refused = client.ask(5001, json!({"E_T": "F"}), &[]).await;
    assert_eq!(refused.code(), 1, "{refused:?}");
}

#[tokio::test]
async fn the_runtime_tells_all_that_tools_read() {
    let (_running, mut client) = with_progress().await;
    let table = client.ask(28, json!({}), &[]).await.json();
    let table = table["table"].as_object().unwrap();
    for key in [
        "putMessageEntireTimeMax",
        "getMessageEntireTimeMax",
        "putMessageDistributeTime",
        "putMessageFailedTimes",
        "putLatency99",
        "putLatency999",
        "msgPutTotalYesterdayMorning",
        "msgPutTotalTodayMorning",
        "msgGetTotalYesterdayMorning",
        "msgGetTotalTodayMorning",
        "earliestMessageTimeStamp",
    ] {
        assert!(table.contains_key(key), "{key}");
    }
    let earliest: i64 = table["earliestMessageTimeStamp"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(earliest > 1_600_000_000_000);
}
