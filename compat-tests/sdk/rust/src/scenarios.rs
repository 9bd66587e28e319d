// SPDX-License-Identifier: Apache-2.0

//! The scenarios. The topics PREFIX_normal, _fifo, _delay and _transaction and the groups PREFIX_group, _group2 and
//! _fifo_group are there before one begins.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rocketmq::model::{
    common::{FilterExpression, FilterType},
    message::MessageBuilder,
    transaction::{Transaction, TransactionResolution},
};
use serde_json::json;

use crate::context::{Context, Failed, all, bodies, body};

/// Messages that nothing holds back; a machine that is busy with others takes its time.
const SOON: Duration = Duration::from_secs(60);
/// What comes after the broker asked about it.
const ASKED: Duration = Duration::from_secs(150);

pub(crate) const NAMES: [&str; 9] = [
    "grpc_consume",
    "grpc_delayed_message_comes_in_time",
    "grpc_fifo_keeps_order",
    "grpc_produce",
    "grpc_send_and_receive",
    "grpc_tags_and_sql_filter",
    "grpc_transactions_commit_rollback_and_check",
    "grpc_unacknowledged_message_comes_again",
    "grpc_wrong_type_is_refused",
];

pub(crate) async fn perform(name: &str, c: &Context) -> Result<(), Failed> {
    match name {
        "grpc_consume" => consume(c).await,
        "grpc_delayed_message_comes_in_time" => delay(c).await,
        "grpc_fifo_keeps_order" => fifo(c).await,
        "grpc_produce" => produce(c).await,
        "grpc_send_and_receive" => send_and_receive(c).await,
        "grpc_tags_and_sql_filter" => filters(c).await,
        "grpc_transactions_commit_rollback_and_check" => transactions(c).await,
        "grpc_unacknowledged_message_comes_again" => again(c).await,
        "grpc_wrong_type_is_refused" => wrong_type(c).await,
        _ => Err(Failed(format!("no scenario '{name}'; known: {NAMES:?}"))),
    }
}

fn message(topic: &str, body: &str) -> MessageBuilder {
    MessageBuilder::builder()
        .set_topic(topic)
        .set_body(body.as_bytes().to_vec())
}

/// The time so many seconds from now.
fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(0)) + seconds
}

async fn send_and_receive(c: &Context) -> Result<(), Failed> {
    let topic = c.name("normal")?;
    let producer = c.producer(&topic).await?;
    let mut ids = BTreeMap::new();
    for i in 0..30 {
        let text = format!("größe-消息-{i:02}");
        let properties = HashMap::from([
            ("number".to_owned(), i.to_string()),
            ("städte".to_owned(), "Zürich 東京".to_owned()),
        ]);
        let one = message(&topic, &text)
            .set_tag("tag")
            .set_keys(vec![format!("k{i}"), "all".to_owned()])
            .set_properties(properties)
            .build()?;
        ids.insert(text, producer.send(one).await?.message_id().to_owned());
    }
    let consumer = c.simple(&c.name("group")?, &topic).await?;
    let everything = all();
    let got = c.take((&consumer, &topic, &everything), 30, SOON).await?;
    c.equal("bodies", ids.keys().cloned().collect(), bodies(&got))?;
    for one in &got {
        let number = one.properties().get("number").cloned().unwrap_or_default();
        c.equal("tag", Some("tag"), one.tag())?;
        c.equal(
            "keys",
            &[format!("k{number}"), "all".into()][..],
            one.keys(),
        )?;
        c.equal(
            "body and property",
            format!("größe-消息-{number:0>2}"),
            body(one),
        )?;
        let town = one.properties().get("städte").map(String::as_str);
        c.equal("property", Some("Zürich 東京"), town)?;
        c.equal("properties", 2, one.properties().len())?;
        c.equal("attempt", 1, one.delivery_attempt())?;
        c.equal(
            "id",
            ids.get(&body(one)).map(String::as_str),
            Some(one.message_id()),
        )?;
        c.equal("topic", topic.as_str(), one.topic())?;
        c.check(
            "born",
            !one.born_host().is_empty() && one.born_timestamp() > 0,
        )?;
    }
    let more = consumer.receive(&topic, &everything).await?;
    c.equal("nothing more", 0, more.len())?;
    consumer.shutdown().await?;
    producer.shutdown().await?;
    Ok(())
}

async fn fifo(c: &Context) -> Result<(), Failed> {
    let topic = c.name("fifo")?;
    let producer = c.producer(&topic).await?;
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for i in 0..30 {
        let group = format!("g{}", i % 3);
        let one = message(&topic, &i.to_string()).set_message_group(&group);
        producer.send(one.build()?).await?;
        expected.entry(group).or_default().push(i.to_string());
    }
    let consumer = c.simple(&c.name("fifo_group")?, &topic).await?;
    let mut got: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in c.take((&consumer, &topic, &all()), 30, SOON).await? {
        let group = one.message_group().unwrap_or_default().to_owned();
        got.entry(group).or_default().push(body(&one));
    }
    c.equal("order", expected, got)?;
    consumer.shutdown().await?;
    producer.shutdown().await?;
    Ok(())
}

async fn delay(c: &Context) -> Result<(), Failed> {
    let topic = c.name("delay")?;
    let producer = c.producer(&topic).await?;
    let consumer = c.simple(&c.name("group")?, &topic).await?;
    let due = in_seconds(5);
    let later = message(&topic, "later")
        .set_delivery_timestamp(due)
        .build()?;
    producer.send(later).await?;
    let got = c.take((&consumer, &topic, &all()), 1, SOON).await?;
    c.equal("came", vec!["later".to_owned()], bodies(&got))?;
    c.check("not before its time", in_seconds(0) >= due - 1)?;
    consumer.shutdown().await?;
    producer.shutdown().await?;
    Ok(())
}

async fn transactions(c: &Context) -> Result<(), Failed> {
    let topic = c.name("transaction")?;
    let asked: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let noted = Arc::clone(&asked);
    let checker = Box::new(move |_, one: rocketmq::model::message::MessageView| {
        if let Ok(mut noted) = noted.lock() {
            noted.insert(body(&one));
        }
        TransactionResolution::COMMIT
    });
    let producer = c.transactional(&topic, checker).await?;
    let half = |body: &str| {
        MessageBuilder::transaction_message_builder(&topic, body.as_bytes().to_vec()).build()
    };
    let committed = producer
        .send_transaction_message(half("committed")?)
        .await?;
    let rolled_back = producer
        .send_transaction_message(half("rolled back")?)
        .await?;
    producer.send_transaction_message(half("checked")?).await?;
    let consumer = c.simple(&c.name("group")?, &topic).await?;
    committed.commit().await?;
    rolled_back.rollback().await?;
    let everything = all();
    let first = c.take((&consumer, &topic, &everything), 1, SOON).await?;
    c.equal("committed", vec!["committed".to_owned()], bodies(&first))?;
    let second = c.take((&consumer, &topic, &everything), 1, ASKED).await?;
    c.equal("checked", vec!["checked".to_owned()], bodies(&second))?;
    let asked = asked.lock().map(|asked| asked.clone()).unwrap_or_default();
    c.equal("asked about", BTreeSet::from(["checked".to_owned()]), asked)?;
    consumer.shutdown().await?;
    producer.shutdown().await?;
    Ok(())
}

/// The SDK changes no invisible duration: a message that nobody acknowledges waits for its own.
async fn again(c: &Context) -> Result<(), Failed> {
    let topic = c.name("normal")?;
    let producer = c.producer(&topic).await?;
    producer.send(message(&topic, "again").build()?).await?;
    let consumer = c.simple(&c.name("group")?, &topic).await?;
    let (everything, invisible) = (all(), Duration::from_secs(10));
    let mut first = None;
    let begin = Instant::now();
    while first.is_none() && begin.elapsed() < SOON {
        let got = consumer
            .receive_with(&topic, &everything, 1, invisible)
            .await?;
        first = got.into_iter().next();
    }
    let first = first.ok_or_else(|| Failed("nothing came".into()))?;
    let handed_out = Instant::now();
    let second = c.take((&consumer, &topic, &everything), 1, SOON).await?;
    let waited = handed_out.elapsed();
    c.equal("came again", vec!["again".to_owned()], bodies(&second))?;
    c.check("after its time", waited > Duration::from_secs(8))?;
    c.equal("counted", 2, second[0].delivery_attempt())?;
    c.equal("the same", first.message_id(), second[0].message_id())?;
    c.equal(
        "gone",
        0,
        consumer.receive(&topic, &everything).await?.len(),
    )?;
    consumer.shutdown().await?;
    producer.shutdown().await?;
    Ok(())
}

async fn filters(c: &Context) -> Result<(), Failed> {
    let topic = c.name("normal")?;
    let producer = c.producer(&topic).await?;
    for i in 0..12 {
        let one = message(&topic, &format!("m{i}"))
            .set_tag(format!("t{}", i % 3))
            .set_properties(HashMap::from([("n".to_owned(), i.to_string())]));
        producer.send(one.build()?).await?;
    }
    let of = |numbers: &[i32]| -> Vec<String> {
        let sorted: BTreeSet<String> = numbers.iter().map(|n| format!("m{n}")).collect();
        sorted.into_iter().collect()
    };
    let tags = c.simple(&c.name("group")?, &topic).await?;
    let filter = FilterExpression::new(FilterType::Tag, "t0 || t2");
    let got = c.take((&tags, &topic, &filter), 8, SOON).await?;
    c.equal("by tag", of(&[0, 2, 3, 5, 6, 8, 9, 11]), bodies(&got))?;
    tags.shutdown().await?;
    if c.get_or("sql", "true") == "true" {
        let sql = c.simple(&c.name("group2")?, &topic).await?;
        let filter = FilterExpression::new(FilterType::Sql, "n IS NOT NULL AND n > 8");
        let got = c.take((&sql, &topic, &filter), 3, SOON).await?;
        c.equal("by SQL", of(&[9, 10, 11]), bodies(&got))?;
        sql.shutdown().await?;
    }
    producer.shutdown().await?;
    Ok(())
}

async fn wrong_type(c: &Context) -> Result<(), Failed> {
    let topic = c.name("normal")?;
    let producer = c.producer(&topic).await?;
    let grouped = message(&topic, "x").set_message_group("g").build()?;
    c.check("refused", producer.send(grouped).await.is_err())?;
    let nowhere = message(&c.name("nowhere")?, "x").build()?;
    c.check("unknown topic", producer.send(nowhere).await.is_err())?;
    producer.send(message(&topic, "fine").build()?).await?;
    producer.shutdown().await?;
    Ok(())
}

/// Parameters topic, word, count, and type: normal, fifo or delay.
async fn produce(c: &Context) -> Result<(), Failed> {
    let (topic, word) = (c.get("topic")?, c.get("word")?);
    let producer = c.producer(topic).await?;
    let count: usize = c.get_or("count", "1").parse().unwrap_or(1);
    for i in 0..count {
        let text = format!("{word}:{i}");
        let mut one = message(topic, &text)
            .set_tag(["even", "odd"][i % 2])
            .set_keys(vec![format!("{word}{i}"), "all".to_owned()])
            .set_properties(HashMap::from([("from".to_owned(), word.to_owned())]));
        match c.get_or("type", "normal") {
            "fifo" => one = one.set_message_group("one"),
            "delay" => one = one.set_delivery_timestamp(in_seconds(3)),
            _ => {}
        }
        let sent = producer.send(one.build()?).await?;
        c.step("sent", json!({"body": text, "msg": sent.message_id()}));
    }
    producer.shutdown().await?;
    Ok(())
}

/// Parameters topic, group; until told to stop.
async fn consume(c: &Context) -> Result<(), Failed> {
    let (topic, everything) = (c.get("topic")?, all());
    let consumer = c.simple(c.get("group")?, topic).await?;
    c.step("ready", json!({}));
    while !c.stopped() {
        for one in consumer.receive(topic, &everything).await? {
            let from = one.properties().get("from").cloned().unwrap_or_default();
            c.step(
                "message",
                json!({
                    "body": body(&one), "tag": one.tag().unwrap_or_default(), "keys": one.keys().join(" "),
                    "from": from, "msg": one.message_id(),
                }),
            );
            consumer.ack(&one).await?;
        }
    }
    consumer.shutdown().await?;
    Ok(())
}
