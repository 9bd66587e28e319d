// SPDX-License-Identifier: Apache-2.0
//! Sends: codes 10, 310 and 320, their checks in Apache's order, and what is stored.

use aerobee_message::{batch, properties::keys, record::RecordView};
use serde_json::{Value, json};

use crate::support::{Client, Message, Running};

const SEP: &str = "\u{1}";
const END: &str = "\u{2}";

/// A send with one-letter names; `changes` replace fields.
async fn send(client: &mut Client, changes: Value, body: &[u8]) -> Message {
    let mut fields = json!({
        "a": "producers", "b": "orders", "c": "TBW102", "d": "4", "e": "0", "f": "0",
        "g": "1700000000000", "h": "7", "i": format!("TAGS{SEP}red{END}KEYS{SEP}k1 k2{END}UNIQ_KEY{SEP}U1{END}"),
        "j": "0", "k": "false", "m": "false", "n": "broker-a",
    });
    for (name, value) in changes.as_object().unwrap() {
        fields[name] = value.clone();
    }
    let code = if fields["m"] == "true" { 320 } else { 310 };
    client.ask(code, fields, body).await
}

/// The message stored at the id of a send's answer.
async fn view(client: &mut Client, answer: &Message) -> Vec<u8> {
    let (_, offset) = aerobee_message::id::parse(answer.field("msgId")).unwrap();
    let view = client
        .ask(33, json!({"offset": offset.to_string()}), &[])
        .await;
    assert_eq!(view.code(), 0, "{view:?}");
    view.body
}

#[tokio::test]
async fn a_message_is_stored_with_what_the_broker_adds() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    let answer = send(&mut client, json!({}), "hällo".as_bytes()).await;
    assert_eq!(answer.code(), 0, "{answer:?}");
    assert_eq!(
        (answer.field("queueId"), answer.field("queueOffset")),
        ("0", "0")
    );
    assert_eq!(answer.field("transactionId"), "U1");
    assert_eq!(
        (answer.field("MSG_REGION"), answer.field("TRACE_ON")),
        ("DefaultRegion", "true")
    );
    let stored = view(&mut client, &answer).await;
    let record = RecordView::parse(&stored).unwrap();
    assert_eq!(
        (record.topic(), record.queue_id(), record.flag()),
        ("orders", 0, 7)
    );
    assert_eq!(record.body(), "hällo".as_bytes());
    assert!(record.crc_matches());
    assert_eq!(record.born_timestamp(), 1_700_000_000_000);
    assert_eq!(record.store_host(), running.broker.address());
    let properties = record.properties();
    for (name, value) in [
        (keys::TAGS, "red"),
        (keys::KEYS, "k1 k2"),
        (keys::UNIQ_KEY, "U1"),
        (keys::MSG_REGION, "DefaultRegion"),
        (keys::TRACE_ON, "true"),
        (keys::CLUSTER, "DefaultCluster"),
    ] {
        assert_eq!(properties.get(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn a_message_without_a_unique_key_gets_one() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    // The last separator may be missing.
    let answer = send(&mut client, json!({"i": format!("TAGS{SEP}red")}), b"x").await;
    assert_eq!(answer.code(), 0);
    let stored = view(&mut client, &answer).await;
    let record = RecordView::parse(&stored).unwrap();
    let key = record.properties().get(keys::UNIQ_KEY).unwrap();
    assert_eq!(key.len(), 32);
    assert_eq!(answer.field("transactionId"), key);
    assert_eq!(record.properties().get(keys::TAGS), Some("red"));
}

#[tokio::test]
async fn properties_that_the_broker_sets_are_replaced_not_doubled() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    let properties = format!(
        "MSG_REGION{SEP}elsewhere{END}POP_CK{SEP}1 2 3{END}TAGS{SEP}red{END}UNIQ_KEY{SEP}U{END}"
    );
    let answer = send(&mut client, json!({"i": properties}), b"x").await;
    let stored = view(&mut client, &answer).await;
    let record = RecordView::parse(&stored).unwrap();
    let names: Vec<&str> = record.properties().iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        ["TAGS", "UNIQ_KEY", "MSG_REGION", "TRACE_ON", "CLUSTER"]
    );
    assert_eq!(
        record.properties().get(keys::MSG_REGION),
        Some("DefaultRegion")
    );
}

#[tokio::test]
async fn long_names_are_read_too() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    let fields = json!({
        "producerGroup": "g", "topic": "long", "defaultTopic": "TBW102", "defaultTopicQueueNums": 4,
        "queueId": 1, "sysFlag": 0, "bornTimestamp": 1, "flag": 0, "properties": "", "maxReconsumeTimes": 0,
        "reconsumeTimes": 0, "unitMode": false, "batch": false,
    });
    let answer = client.ask(10, fields, b"x").await;
    assert_eq!((answer.code(), answer.field("queueId")), (0, "1"));
}

#[tokio::test]
async fn an_unknown_topic_is_created_after_its_template() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    let answer = send(&mut client, json!({"b": "fresh", "d": "4", "e": "3"}), b"x").await;
    assert_eq!((answer.code(), answer.field("queueId")), (0, "3"));
    let topic = client.ask(351, json!({"topic": "fresh"}), &[]).await.json();
    assert_eq!(
        (topic["readQueueNums"].clone(), topic["perm"].clone()),
        (json!(4), json!(6))
    );
    // Never more queues than the template has.
    assert_eq!(
        send(&mut client, json!({"b": "wide", "d": "99"}), b"x")
            .await
            .code(),
        0
    );
    let topic = client.ask(351, json!({"topic": "wide"}), &[]).await.json();
    assert_eq!(topic["writeQueueNums"], 8);
    // It is in the file before the send is answered.
    assert!(running.file("config/topics.json").contains("\"wide\""));
    for template in ["", "nobody", "orders-template"] {
        let answer = send(&mut client, json!({"b": "orphan", "c": template}), b"x").await;
        assert_eq!(answer.code(), 17, "{template}");
        assert!(
            answer
                .remark()
                .starts_with("topic[orphan] not exist, apply first please!")
        );
    }
}

#[tokio::test]
async fn without_automatic_creation_an_unknown_topic_is_refused() {
    let running = Running::start_with(&[("autoCreateTopicEnable", "false")]).await;
    let mut client = running.connect().await;
    assert_eq!(send(&mut client, json!({}), b"x").await.code(), 17);
}

#[tokio::test]
async fn a_queue_below_zero_is_chosen_by_the_broker() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    client.create_topic("spread", 4).await;
    let mut seen = [false; 4];
    for _ in 0..16 {
        let answer = send(&mut client, json!({"b": "spread", "e": "-1"}), b"x").await;
        assert_eq!(answer.code(), 0);
        seen[answer.field("queueId").parse::<usize>().unwrap()] = true;
    }
    assert_eq!(seen, [true; 4]);
}

#[tokio::test]
async fn refusals_carry_apaches_codes() {
    // A message has to fit a file of the log.
    let running = Running::start_with(&[("mappedFileSizeCommitLog", "16777216")]).await;
    let mut client = running.connect().await;
    client.create_topic("orders", 4).await;
    for (changes, body, code, remark) in [
        (json!({"b": "bad/../name"}), "x", 29, "The specified topic"),
        (json!({"b": ""}), "x", 29, "The specified topic"),
        (
            json!({"b": "t".repeat(128)}),
            "x",
            29,
            "The specified topic",
        ),
        (
            json!({"b": "SCHEDULE_TOPIC_XXXX"}),
            "x",
            16,
            "Sending message to topic[SCHEDULE_TOPIC_XXXX] is forbidden.",
        ),
        (json!({"e": "4"}), "x", 29, "request queueId[4] is illegal"),
        (
            json!({"e": "4", "b": "TBW102x", "c": "none"}),
            "x",
            17,
            "topic[TBW102x] not exist",
        ),
        (json!({}), "", 13, "the message is illegal"),
        (
            json!({"i": format!("TIMER_DELAY_SEC{SEP}soon{END}")}),
            "x",
            13,
            "timer message illegal, the delay time",
        ),
        (json!({"e": "zero"}), "x", 1, "the custom field <queueId>"),
        (
            json!({"i": format!("a{SEP}{}{END}", "v".repeat(32_760))}),
            "x",
            13,
            "message properties length",
        ),
        (
            json!({"b": "%RETRY%bad/group"}),
            "x",
            29,
            "The specified topic",
        ),
    ] {
        let answer = send(&mut client, changes.clone(), body.as_bytes()).await;
        assert_eq!(answer.code(), code, "{changes} {answer:?}");
        assert!(
            answer.remark().starts_with(remark),
            "{changes} {}",
            answer.remark()
        );
    }
    let too_large = vec![b'x'; (4 << 20) + 1];
    assert_eq!(send(&mut client, json!({}), &too_large).await.code(), 13);
    assert_eq!(
        send(&mut client, json!({}), &too_large[1..]).await.code(),
        0
    );
    // A missing field is named.
    let answer = client
        .ask(310, json!({"a": "g", "b": "orders"}), b"x")
        .await;
    assert_eq!(
        (answer.code(), answer.remark()),
        (1, "the custom field <queueId> is null")
    );
}

#[tokio::test]
async fn a_batch_is_stored_as_single_messages_in_a_row() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    client.create_topic("orders", 4).await;
    let mut body = Vec::new();
    for index in 0..10 {
        let properties = format!("TAGS{SEP}t{index}{END}UNIQ_KEY{SEP}U{index}{END}");
        batch::push(
            &mut body,
            index,
            format!("body {index}").as_bytes(),
            properties.as_bytes(),
        );
    }
    for (offset, code) in [(0, 320), (10, 310)] {
        let fields = json!({
            "a": "g", "b": "orders", "c": "TBW102", "d": "4", "e": "2", "f": "0", "g": "5", "h": "0",
            "i": format!("WAIT{SEP}true{END}"), "m": "true",
        });
        let answer = client.ask(code, fields, &body).await;
        assert_eq!(
            (answer.code(), answer.field("queueOffset")),
            (0, offset.to_string().as_str())
        );
        let ids: Vec<&str> = answer.field("msgId").split(',').collect();
        assert_eq!(ids.len(), 10);
        let (_, at) = aerobee_message::id::parse(ids[9]).unwrap();
        let last = client
            .ask(33, json!({"offset": at.to_string()}), &[])
            .await
            .body;
        let last = RecordView::parse(&last).unwrap();
        assert_eq!(
            (last.queue_offset(), last.flag(), last.body()),
            (offset + 9, 9, &b"body 9"[..])
        );
        let names: Vec<&str> = last.properties().iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            ["TAGS", "UNIQ_KEY"],
            "items keep their properties as they are"
        );
    }
}

#[tokio::test]
async fn a_batch_for_a_topic_with_queues_of_batches_stays_one_record() {
    let mut running = Running::start().await;
    let mut client = running.connect().await;
    let fields = json!({
        "topic": "whole", "defaultTopic": "TBW102", "readQueueNums": "1", "writeQueueNums": "1",
        "perm": "6", "topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false",
        "attributes": "+queue.type=BatchCQ",
    });
    assert_eq!(client.ask(17, fields, &[]).await.code(), 0);
    // Such a queue has no first offset while it is empty.
    let queue = json!({"topic": "whole", "queueId": "0", "timestamp": "0"});
    for (code, offset) in [(30, "0"), (31, "-1"), (29, "0")] {
        let answer = client.ask(code, queue.clone(), &[]).await;
        assert_eq!(answer.field("offset"), offset, "code {code}");
    }
    let mut body = Vec::new();
    for index in 0..7 {
        batch::push(&mut body, index, format!("body {index}").as_bytes(), b"");
    }
    let fields = |unique: &str| {
        json!({
            "a": "g", "b": "whole", "c": "TBW102", "d": "4", "e": "0", "f": "0", "g": "5", "h": "0",
            "i": format!("WAIT{SEP}true{END}TAGS{SEP}t{END}{unique}"), "m": "true",
        })
    };
    let keyed = fields(&format!("UNIQ_KEY{SEP}U1{END}"));
    for (number, offset) in [(0, "0"), (1, "7"), (2, "15")] {
        if number == 2 {
            assert_eq!(
                client.send("whole", 0, "single").await.field("queueOffset"),
                "14"
            );
            running = running.restart().await;
            client = running.connect().await;
        }
        let answer = client.ask(320, keyed.clone(), &body).await;
        assert_eq!((answer.code(), answer.field("queueOffset")), (0, offset));
        assert_eq!(answer.field("batchUniqId"), "U1");
        assert_eq!(answer.field("msgId").len(), 32, "one id for all");
    }
    // Without a key of its own a batch is taken apart, as in Apache's broker.
    let answer = client.ask(320, fields(""), &body).await;
    assert_eq!(answer.field("queueOffset"), "22");
    assert_eq!(answer.field("msgId").split(',').count(), 7);
    for (code, offset) in [(30, "29"), (31, "0"), (29, "0")] {
        let answer = client.ask(code, queue.clone(), &[]).await;
        assert_eq!(answer.field("offset"), offset, "code {code}");
    }
    let pulled = client.pull("whole", 0, 3).await;
    assert_eq!((pulled.code(), pulled.field("nextBeginOffset")), (0, "29"));
    let first = RecordView::parse(&pulled.body).unwrap();
    assert_eq!((first.queue_offset(), first.body()), (0, &body[..]));
    assert_eq!(first.sys_flag(), 0xC0);
    let properties = first.properties();
    let property = |name| properties.get(name);
    assert_eq!(property(keys::INNER_NUM), Some("7"));
    assert_eq!(property(keys::INNER_BASE), Some("0"));
    assert_eq!(property(keys::TAGS), Some("t"));
    assert!(property(keys::CLUSTER).is_some());
    let lied = json!({
        "a": "g", "b": "whole", "c": "TBW102", "d": "4", "e": "0", "f": "0", "g": "5", "h": "0",
        "i": format!("INNER_NUM{SEP}5{END}"), "m": "false",
    });
    assert_eq!(client.ask(310, lied, b"x").await.code(), 13);
}

#[tokio::test]
async fn bad_batches_are_refused_whole() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    client.create_topic("orders", 4).await;
    let mut good = Vec::new();
    batch::push(&mut good, 0, b"one", b"");
    let mut cut_off = good.clone();
    cut_off.extend_from_slice(&good[..good.len() - 1]);
    let mut delayed = good.clone();
    batch::push(
        &mut delayed,
        0,
        b"two",
        format!("DELAY{SEP}1{END}").as_bytes(),
    );
    let mut lying = good.clone();
    lying[..4].copy_from_slice(&i32::MAX.to_be_bytes());
    for body in [
        &cut_off,
        &delayed,
        &lying,
        &b"nonsense".to_vec(),
        &vec![0; 40],
    ] {
        let answer = send(&mut client, json!({"m": "true", "i": ""}), body).await;
        assert_eq!(answer.code(), 13, "{answer:?}");
    }
    let retry = send(
        &mut client,
        json!({"m": "true", "b": "%RETRY%g", "i": ""}),
        &good,
    )
    .await;
    assert_eq!(retry.code(), 13, "{retry:?}");
    let end = client
        .ask(30, json!({"topic": "orders", "queueId": "0"}), &[])
        .await;
    assert_eq!(end.field("offset"), "0");
}

#[tokio::test]
async fn a_message_that_failed_too_often_goes_to_the_dead_letters() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    let retry = |times: &str, most: &str| json!({"b": "%RETRY%g", "j": times, "l": most, "i": format!("UNIQ_KEY{SEP}U{END}")});
    assert_eq!(send(&mut client, retry("3", "3"), b"again").await.code(), 0);
    let answer = send(&mut client, retry("4", "3"), b"dead").await;
    assert_eq!(answer.code(), 0, "{answer:?}");
    let stored = view(&mut client, &answer).await;
    assert_eq!(RecordView::parse(&stored).unwrap().topic(), "%DLQ%g");
}

#[tokio::test]
async fn oneway_sends_are_stored_and_not_answered() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    client.create_topic("orders", 1).await;
    for _ in 0..5 {
        client.tell(310, json!({
            "a": "g", "b": "orders", "c": "TBW102", "d": "4", "e": "0", "f": "0", "g": "5", "h": "0", "i": "",
        }), b"x").await;
    }
    // The first made the queue, which happens aside; the others may overtake it.
    loop {
        let end = client
            .ask(30, json!({"topic": "orders", "queueId": "0"}), &[])
            .await;
        if end.field("offset") == "5" {
            break;
        }
    }
}

#[tokio::test]
async fn synchronous_flush_answers_when_the_message_is_durable() {
    let running = Running::start_with(&[("flushDiskType", "SYNC_FLUSH")]).await;
    let mut client = running.connect().await;
    for offset in 0..20 {
        let answer = send(&mut client, json!({}), b"x").await;
        assert_eq!(
            (answer.code(), answer.field("queueOffset")),
            (0, offset.to_string().as_str())
        );
        let end = client
            .ask(30, json!({"topic": "orders", "queueId": "0"}), &[])
            .await;
        assert_eq!(end.field("offset"), (offset + 1).to_string());
    }
}

#[tokio::test]
async fn messages_survive_a_restart() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    for _ in 0..100 {
        assert_eq!(send(&mut client, json!({}), &[b'x'; 1000]).await.code(), 0);
    }
    let last = send(&mut client, json!({}), b"last").await;
    let running = running.restart().await;
    let mut client = running.connect().await;
    let stored = view(&mut client, &last).await;
    assert_eq!(RecordView::parse(&stored).unwrap().body(), b"last");
    let answer = send(&mut client, json!({}), b"next").await;
    assert_eq!(answer.field("queueOffset"), "101");
}

#[tokio::test]
async fn the_priority_of_a_message_is_its_queue() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    client.create_topic("p", 4).await;
    let priority = |value: &str, more: &str| json!({"b": "p", "e": "0", "i": format!("_SYS_MSG_PRIORITY_{SEP}{value}{END}{more}")});
    for (value, queue) in [("2", "2"), ("0", "0"), ("3", "3"), ("99", "3"), ("2", "2")] {
        let sent = send(&mut client, priority(value, ""), b"x").await;
        assert_eq!((sent.code(), sent.field("queueId")), (0, queue), "{value}");
    }
    // A message of another kind keeps its queue and loses the property; what is no priority is not looked at.
    for (value, other, kept) in [
        ("2", "__SHARDINGKEY\u{1}k", None),
        ("2", "DELAY\u{1}1", None),
        ("2", "DELAY\u{1}0", None),
        ("2", "TIMER_DELAY_SEC\u{1}9", None),
        ("2", "TRAN_MSG\u{1}true", None),
        ("-1", "other\u{1}x", Some("-1")),
        ("high", "other\u{1}x", Some("high")),
    ] {
        let fields = priority(value, &format!("{other}{END}"));
        let sent = send(&mut client, fields, b"x").await;
        let chosen = (sent.code(), sent.field("queueId"));
        assert_eq!(chosen, (0, "0"), "{other}");
        let stored = view(&mut client, &sent).await;
        let record = RecordView::parse(&stored).unwrap();
        let found = record.properties().get("_SYS_MSG_PRIORITY_");
        assert_eq!(found, kept, "{other}");
    }
}
