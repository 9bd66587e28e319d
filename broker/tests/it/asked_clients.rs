// SPDX-License-Identifier: Apache-2.0
//! What the broker asks clients for others: running info (307), direct consumption (309), offsets
//! (223), answers to requests (324, 325 and 326), and the list of producers (328).

use serde_json::{Value, json};

use crate::support::{Client, Message, Running};

const SEP: char = '\u{1}';
const END: char = '\u{2}';

/// A consumer's next question of a kind, past notices of changed groups.
async fn asked(client: &mut Client, code: i64) -> Message {
    loop {
        let message = client.requested().await;
        if message.code() == code {
            return message;
        }
        assert_eq!(message.code(), 40);
    }
}

#[tokio::test]
async fn running_info_is_passed_on_as_the_client_wrote_it() {
    let running = Running::start().await;
    let mut operator = running.connect().await;
    let fields = json!({"consumerGroup": "g", "clientId": "c1", "jstackEnable": "true"});
    let answer = operator.ask(307, fields.clone(), &[]).await;
    let remark = "The Consumer <g> <c1> not online";
    assert_eq!((answer.code(), answer.remark()), (1, remark));

    let mut consumer = running.connect().await;
    consumer.consume("c1", "g", "t").await;
    let client = tokio::spawn(async move {
        let question = asked(&mut consumer, 307).await;
        assert_eq!(question.field("jstackEnable"), "true");
        assert_eq!(question.field("clientId"), "c1");
        // As C++ writes it: no JSON.
        consumer
            .answer(&question, 0, "", b"{ {\"a\":1} : 2 }")
            .await;
        let question = asked(&mut consumer, 307).await;
        consumer.answer(&question, 1, "no such group", b"").await;
        consumer
    });
    let answer = operator.ask(307, fields.clone(), &[]).await;
    assert_eq!(
        (answer.code(), &*answer.body),
        (0, &b"{ {\"a\":1} : 2 }"[..])
    );
    let answer = operator.ask(307, fields, &[]).await;
    assert_eq!((answer.code(), answer.remark()), (1, "no such group"));
    client.await.unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_while_it_is_asked_is_no_answer() {
    let running = Running::start().await;
    let mut operator = running.connect().await;
    let mut consumer = running.connect().await;
    consumer.consume("c1", "g", "t").await;
    let client = tokio::spawn(async move {
        asked(&mut consumer, 307).await;
    });
    let fields = json!({"consumerGroup": "g", "clientId": "c1", "jstackEnable": "false"});
    let answer = operator.ask(307, fields, &[]).await;
    assert_eq!(answer.code(), 1);
    assert!(
        answer
            .remark()
            .starts_with("invoke consumer <g> <c1> Exception")
    );
    client.await.unwrap();
}

#[tokio::test]
async fn a_consumer_is_given_one_message_to_consume() {
    let running = Running::start().await;
    let mut operator = running.connect().await;
    operator.create_topic("t", 1).await;
    let sent = operator.send("t", 0, "the body").await;
    let mut consumer = running.connect().await;
    consumer.consume("c1", "g", "t").await;
    let client = tokio::spawn(async move {
        let question = asked(&mut consumer, 309).await;
        assert_eq!(question.field("brokerName"), "broker-a");
        assert_eq!(question.field("topicSysFlag"), "0");
        assert_eq!(question.field("groupSysFlag"), "0");
        let record = aerobee_message::RecordView::parse(&question.body).unwrap();
        assert_eq!(record.body(), b"the body");
        let result = b"{\"consumeResult\":\"CR_SUCCESS\"}";
        consumer.answer(&question, 0, "", result).await;
        consumer
    });
    let mut fields = json!({
        "consumerGroup": "g", "clientId": "c1", "msgId": sent.field("msgId"), "topic": "t",
    });
    let answer = operator.ask(309, fields.clone(), &[]).await;
    assert_eq!(answer.code(), 0);
    assert_eq!(answer.json()["consumeResult"], "CR_SUCCESS");
    let _consumer = client.await.unwrap();
    fields["msgId"] = json!("7F0000010000000000000000000FFFFF");
    assert_eq!(operator.ask(309, fields.clone(), &[]).await.code(), 1);
    fields["msgId"] = json!("none");
    assert_eq!(operator.ask(309, fields, &[]).await.code(), 1);
}

#[tokio::test]
async fn offsets_of_all_consumers_are_gathered() {
    let running = Running::start().await;
    let mut operator = running.connect().await;
    let fields = json!({"topic": "t", "group": "g"});
    let answer = operator.ask(223, fields.clone(), &[]).await;
    let remark = "No Any Consumer online in the consumer group: [g]";
    assert_eq!((answer.code(), answer.remark()), (1, remark));
    let mut clients = Vec::new();
    for (id, offset) in [("c1", 5), ("c2", 6)] {
        let mut consumer = running.connect().await;
        consumer.consume(id, "g", "t").await;
        clients.push(tokio::spawn(async move {
            let question = asked(&mut consumer, 221).await;
            assert_eq!((question.field("topic"), question.field("group")), ("t", "g"));
            let body = format!(
                "{{\"messageQueueTable\":{{{{\"brokerName\":\"broker-a\",\"queueId\":0,\"topic\":\"t\"}}:{offset}}}}}"
            );
            consumer.answer(&question, 0, "", body.as_bytes()).await;
            consumer
        }));
    }
    let answer = operator.ask(223, fields, &[]).await;
    assert_eq!(answer.code(), 0);
    let status: aerobee_remoting::body::reset::ConsumerStatus =
        aerobee_remoting::fastjson::from_slice(&answer.body).unwrap();
    let offsets: Vec<(String, Vec<i64>)> = status
        .consumer_table
        .into_iter()
        .map(|(id, queues)| (id, queues.into_values().collect()))
        .collect();
    assert_eq!(
        offsets,
        [("c1".to_owned(), vec![5]), ("c2".to_owned(), vec![6])]
    );
    for client in clients {
        client.await.unwrap();
    }
}

#[tokio::test]
async fn producers_are_listed() {
    let running = Running::start().await;
    let mut producer = running.connect().await;
    let beat = json!({"clientID": "p1", "producerDataSet": [{"groupName": "pg"}]});
    producer.ask_json(34, &beat).await;
    let answer = producer.ask(328, json!({}), &[]).await;
    let info = &answer.json()["data"]["pg"][0];
    assert_eq!(
        (&info["clientId"], &info["language"]),
        (&json!("p1"), &json!("JAVA"))
    );
    assert!(
        info["remoteIP"]
            .as_str()
            .unwrap()
            .starts_with("/127.0.0.1:")
    );
    assert!(info["lastUpdateTimestamp"].as_i64().unwrap() > 1_600_000_000_000);
    assert_eq!(info["version"], 513);
}

fn reply_fields(client: Option<&str>) -> Value {
    let mut properties = format!("CORRELATION_ID{SEP}id-1{END}MSG_TYPE{SEP}reply{END}");
    if let Some(client) = client {
        properties.push_str(&format!("REPLY_TO_CLIENT{SEP}{client}{END}"));
    }
    json!({
        "a": "answerers", "b": "DefaultCluster_REPLY_TOPIC", "c": "TBW102", "d": "4", "e": "0",
        "f": "1", "g": "1700000000000", "h": "3", "i": properties, "j": "0", "k": "false",
        "m": "false",
    })
}

#[tokio::test]
async fn an_answer_reaches_the_client_that_asked() {
    let running = Running::start().await;
    let mut answerer = running.connect().await;
    let answer = answerer.ask(325, reply_fields(None), b"answer").await;
    let remark = "reply message properties[REPLY_TO_CLIENT] is null";
    assert_eq!((answer.code(), answer.remark()), (1, remark));
    let answer = answerer.ask(325, reply_fields(Some("p1")), b"answer").await;
    assert_eq!(answer.code(), 1);
    assert!(
        answer
            .remark()
            .starts_with("push reply message fail, channel of <p1> not found.")
    );

    let mut producer = running.connect().await;
    let beat = json!({"clientID": "p1", "producerDataSet": [{"groupName": "pg"}]});
    producer.ask_json(34, &beat).await;
    let client = tokio::spawn(async move {
        let push = asked(&mut producer, 326).await;
        assert_eq!(push.body, b"answer");
        assert_eq!(push.field("topic"), "DefaultCluster_REPLY_TOPIC");
        assert_eq!((push.field("flag"), push.field("sysFlag")), ("3", "1"));
        assert!(push.field("bornHost").starts_with("127.0.0.1:"));
        assert!(push.field("storeHost").starts_with("127.0.0.1:"));
        let properties = push.field("properties");
        assert!(properties.contains(&format!("CORRELATION_ID{SEP}id-1{END}")));
        assert!(properties.contains(&format!("PUSH_REPLY_TIME{SEP}")));
        producer.answer(&push, 0, "", b"").await;
        let push = asked(&mut producer, 326).await;
        producer.answer(&push, 1, "nobody waits", b"").await;
        producer
    });
    let answer = answerer.ask(325, reply_fields(Some("p1")), b"answer").await;
    assert_eq!(answer.code(), 0, "{answer:?}");
    // Those before were stored as well, in vain as they were.
    assert_eq!(answer.field("queueOffset"), "2");
    assert_eq!(answer.field("msgId").len(), 32);
    let long: Value = json!({
        "producerGroup": "answerers", "topic": "DefaultCluster_REPLY_TOPIC",
        "defaultTopic": "TBW102", "defaultTopicQueueNums": "4", "queueId": "0", "sysFlag": "0",
        "bornTimestamp": "1", "flag": "0", "properties": reply_fields(Some("p1"))["i"],
    });
    let answer = answerer.ask(324, long, b"answer").await;
    assert_eq!(answer.code(), 1);
    assert!(answer.remark().starts_with("push reply message to p1fail."));
    client.await.unwrap();
}

#[tokio::test]
async fn answers_are_not_stored_where_that_is_off() {
    let running = Running::start_with(&[("storeReplyMessageEnable", "false")]).await;
    let mut producer = running.connect().await;
    let beat = json!({"clientID": "p1", "producerDataSet": [{"groupName": "pg"}]});
    producer.ask_json(34, &beat).await;
    let client = tokio::spawn(async move {
        let push = asked(&mut producer, 326).await;
        producer.answer(&push, 0, "", b"").await;
        producer
    });
    let mut answerer = running.connect().await;
    let answer = answerer.ask(325, reply_fields(Some("p1")), b"answer").await;
    assert_eq!((answer.code(), answer.field("msgId")), (0, "0"));
    let end = json!({"topic": "DefaultCluster_REPLY_TOPIC", "queueId": "0"});
    assert_eq!(answerer.ask(30, end, &[]).await.field("offset"), "0");
    client.await.unwrap();
}
