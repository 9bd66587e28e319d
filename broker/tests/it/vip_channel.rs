// SPDX-License-Identifier: Apache-2.0
//! The fast port, two below the broker's: where Java clients with `vipChannelEnabled` and slaves ask.

use aerobee_message::record::RecordView;
use aerobee_remoting::RequestCode;
use serde_json::{Value, json};

use crate::support::{Client, Running};

const POP: i32 = RequestCode::POP_MESSAGE.0;
const ACK: i32 = RequestCode::ACK_MESSAGE.0;
const PEEK: i32 = RequestCode::PEEK_MESSAGE.0;
const CHANGE: i32 = RequestCode::CHANGE_MESSAGE_INVISIBLETIME.0;
const NOTIFICATION: i32 = RequestCode::NOTIFICATION.0;
const POLLING_INFO: i32 = RequestCode::POLLING_INFO.0;
const POP_LITE: i32 = RequestCode::POP_LITE_MESSAGE.0;

/// A client of the main port, and one of the fast port.
async fn start() -> (Running, Client, Client) {
    let running = Running::start_with_fast_port().await;
    let (main, fast) = (
        running.broker.address(),
        running.broker.fast_address().unwrap(),
    );
    assert_eq!(main.port() - 2, fast.port());
    assert_eq!(main.ip(), fast.ip());
    let main = running.connect().await;
    let fast = Client::connect(fast).await;
    (running, main, fast)
}

fn offset_of(id: &str) -> i64 {
    i64::from_str_radix(&id[id.len() - 16..], 16).unwrap()
}

fn queue() -> Value {
    json!({"topic": "t", "queueId": "0"})
}

#[tokio::test]
async fn the_vip_channel_serves_what_java_clients_ask_there() {
    let (_running, mut main, mut fast) = start().await;
    fast.create_topic("t", 1).await;
    let sent = fast.send("t", 0, "m").await;
    assert_eq!(sent.code(), 0, "{sent:?}");
    // It is the same broker.
    let place = offset_of(sent.field("msgId"));
    let view = json!({"offset": place.to_string()});
    for client in [&mut main, &mut fast] {
        let viewed = client.ask(33, view.clone(), &[]).await;
        assert_eq!(viewed.code(), 0, "{viewed:?}");
        assert_eq!(RecordView::parse(&viewed.body).unwrap().body(), b"m");
        for (code, field, wanted) in [(30, "offset", "1"), (31, "offset", "0")] {
            let answer = client.ask(code, queue(), &[]).await;
            assert_eq!((answer.code(), answer.field(field)), (0, wanted));
        }
    }
    // Who beats here is a member there, and hears of others.
    assert_eq!(fast.consume("c1", "g", "t").await.code(), 0);
    let group = json!({"consumerGroup": "g"});
    let list = main.ask(38, group.clone(), &[]).await;
    assert_eq!(list.json()["consumerIdList"], json!(["c1"]));
    assert_eq!(fast.requested().await.code(), 40);
    assert_eq!(main.consume("c2", "g", "t").await.code(), 0);
    assert_eq!(fast.requested().await.code(), 40);
    let commit = json!({
        "consumerGroup": "g", "topic": "t", "queueId": "0", "commitOffset": "1",
    });
    assert_eq!(fast.ask(15, commit, &[]).await.code(), 0);
    let asked = json!({"consumerGroup": "g", "topic": "t", "queueId": "0"});
    let known = main.ask(14, asked, &[]).await;
    assert_eq!((known.code(), known.field("offset")), (0, "1"));
    let lock = |client: &str| {
        json!({
            "clientId": client, "consumerGroup": "g",
            "mqSet": [{"brokerName": "broker-a", "queueId": 0, "topic": "t"}],
        })
    };
    let locked = fast.ask_json(41, &lock("c1")).await.json();
    assert_eq!(locked["lockOKMQSet"].as_array().unwrap().len(), 1);
    let refused = main.ask_json(41, &lock("c2")).await.json();
    assert!(refused["lockOKMQSet"].as_array().unwrap().is_empty());
    let back = json!({
        "offset": place.to_string(), "group": "g", "delayLevel": "-1", "originMsgId": "",
        "originTopic": "t", "unitMode": "false", "maxReconsumeTimes": "16",
    });
    assert_eq!(fast.ask(36, back, &[]).await.code(), 0);
    let dead = json!({"topic": "%DLQ%g", "queueId": "0"});
    assert_eq!(main.ask(30, dead, &[]).await.field("offset"), "1");
    let farewell = json!({"clientID": "c1", "consumerGroup": "g"});
    assert_eq!(fast.ask(35, farewell, &[]).await.code(), 0);
    let list = main.ask(38, group, &[]).await;
    assert_eq!(list.json()["consumerIdList"], json!(["c2"]));
    // What operators ask, too.
    let shown = fast.ask(28, json!({}), &[]).await;
    assert_eq!(shown.code(), 0, "{shown:?}");
    assert_eq!(fast.ask(351, json!({"topic": "t"}), &[]).await.code(), 0);
}

#[tokio::test]
async fn the_vip_channel_takes_acknowledgements_of_what_was_popped_elsewhere() {
    let (_running, mut main, mut fast) = start().await;
    main.create_topic("t", 1).await;
    for body in ["a", "b"] {
        assert_eq!(main.send("t", 0, body).await.code(), 0);
    }
    let pop = json!({
        "consumerGroup": "g", "topic": "t", "queueId": "0", "maxMsgNums": "32",
        "invisibleTime": "600000", "pollTime": "0", "bornTime": "0", "initMode": "0",
    });
    let popped = main.ask(POP, pop, &[]).await;
    assert_eq!(popped.code(), 0, "{popped:?}");
    let start = popped
        .field("startOffsetInfo")
        .strip_prefix("0 0 ")
        .unwrap();
    let fields = |offset: i64| {
        let handle = format!(
            "{start} {} {} {} 0 broker-a 0 {offset}",
            popped.field("popTime"),
            popped.field("invisibleTime"),
            popped.field("reviveQid"),
        );
        json!({
            "consumerGroup": "g", "topic": "t", "queueId": "0", "offset": offset.to_string(),
            "extraInfo": handle, "invisibleTime": "600000",
        })
    };
    assert_eq!(fast.ask(ACK, fields(0), &[]).await.code(), 0);
    let changed = fast.ask(CHANGE, fields(1), &[]).await;
    assert_eq!(changed.code(), 0, "{changed:?}");
    assert!(!changed.field("popTime").is_empty());
}

#[tokio::test]
async fn the_vip_channel_leaves_reading_to_the_main_port() {
    let (_running, mut main, mut fast) = start().await;
    main.create_topic("t", 1).await;
    assert_eq!(main.send("t", 0, "m").await.code(), 0);
    let fields = json!({
        "consumerGroup": "g", "topic": "t", "queueId": "0", "queueOffset": "0", "maxMsgNums": "32",
        "sysFlag": "4", "commitOffset": "0", "suspendTimeoutMillis": "0", "subscription": "*",
        "subVersion": "0", "expressionType": "TAG", "invisibleTime": "600000", "pollTime": "0",
        "bornTime": "0", "initMode": "0", "clientId": "c", "maxMsgNum": "32",
    });
    for code in [11, 361, POP, PEEK, NOTIFICATION, POLLING_INFO, POP_LITE] {
        let answer = fast.ask(code, fields.clone(), &[]).await;
        let remark = format!(" request type {code} not supported");
        assert_eq!((answer.code(), answer.remark()), (3, &*remark));
    }
    // And nothing was taken.
    let popped = main.ask(POP, fields, &[]).await;
    assert_eq!(popped.code(), 0, "{popped:?}");
}
