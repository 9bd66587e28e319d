// SPDX-License-Identifier: Apache-2.0
//! Messages, ends of transactions, recalls.

use aerobee_proxy::v2::{
    ClientType, Code, Message, MessageType, RecallMessageRequest, SystemProperties,
    TransactionResolution,
};

use crate::support::{
    message, of, resource,
    statuses::{
        Answer::{Grpc as G, Is as I},
        Trial, at, both, status, with,
    },
    telemetry::{publishing, settings},
};

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_cannot_be_sent() {
    let mut trial = Trial::start().await;
    for (topic, kind) in [
        ("normal", "NORMAL"),
        ("fifo", "FIFO"),
        ("delay", "DELAY"),
        ("transaction", "TRANSACTION"),
    ] {
        trial.topic(topic, kind).await;
    }
    let body = |bytes: usize| with("normal", |m, _| m.body = vec![b'x'; bytes].into());
    let property = |name: &str, value: &str| {
        with("normal", |m, _| {
            m.user_properties.insert(name.to_owned(), value.to_owned());
        })
    };
    let properties = |count: usize| {
        with("normal", |m, _| {
            m.user_properties
                .extend((0..count).map(|n| (n.to_string(), "v".to_owned())));
        })
    };
    let system = |change: fn(&mut SystemProperties)| with("normal", |_, system| change(system));
    let fifo = |group: &str| with("fifo", |_, s| s.message_group = Some(group.to_owned()));
    let delay = |ms: i64| with("delay", |_, s| s.delivery_timestamp = Some(at(ms)));
    let epoch = |seconds: i64, nanos: i32| {
        with("delay", |_, s| {
            s.delivery_timestamp = Some(prost_types::Timestamp { seconds, nanos });
        })
    };
    let transaction = |seconds: i64| {
        with("transaction", |_, s| {
            s.message_type = MessageType::Transaction.into();
            s.orphaned_transaction_recovery_duration =
                Some(prost_types::Duration { seconds, nanos: 0 });
        })
    };
    let two = |mut one: Vec<Message>, other: Vec<Message>| {
        one.extend(other);
        one
    };
    let none = with("normal", |m, _| m.topic = None);
    let mut bare = vec![message("normal", "x")];
    bare[0].system_properties = None;
    use Code as C;
    let wrong_type = C::MessagePropertyConflictWithType;
    for (name, messages, [ours, apache]) in [
        ("nothing", vec![], both(C::MessageCorrupted)),
        ("no topic", none, both(C::IllegalTopic)),
        (
            "two topics",
            vec![message("normal", "x"), message("fifo", "x")],
            both(C::MessageCorrupted),
        ),
        ("no system properties", bare, both(C::IllegalMessageId)),
        (
            "blank id",
            system(|s| s.message_id = " ".to_owned()),
            both(C::IllegalMessageId),
        ),
        ("empty body", body(0), both(C::MessageBodyEmpty)),
        ("largest body", body(4 << 20), both(C::Ok)),
        (
            "body too large",
            body((4 << 20) + 1),
            both(C::MessageBodyTooLarge),
        ),
        (
            "batch that the broker finds too large",
            two(body(3 << 20), body(3 << 20)),
            [C::BadRequest, C::InternalServerError],
        ),
        ("most properties", properties(128), both(C::Ok)),
        (
            "too many properties",
            properties(129),
            both(C::MessagePropertiesTooLarge),
        ),
        (
            "properties too large",
            property("k", &"v".repeat(16 << 10)),
            both(C::MessagePropertiesTooLarge),
        ),
        (
            "reserved property",
            property("KEYS", "v"),
            both(C::IllegalMessagePropertyKey),
        ),
        (
            "control character in a name",
            property("a\u{1}", "v"),
            both(C::IllegalMessagePropertyKey),
        ),
        (
            "control character in a value",
            property("a", "\u{2}"),
            both(C::IllegalMessagePropertyKey),
        ),
        (
            "nameless property",
            property("", "v"),
            [C::IllegalMessagePropertyKey, C::Ok],
        ),
        (
            "blank tag",
            system(|s| s.tag = Some(" ".to_owned())),
            both(C::IllegalMessageTag),
        ),
        (
            "tag of two",
            system(|s| s.tag = Some("a|b".to_owned())),
            both(C::IllegalMessageTag),
        ),
        (
            "control character in a key",
            system(|s| s.keys = vec!["a\u{2}".to_owned()]),
            both(C::IllegalMessageKey),
        ),
        (
            "blank key",
            system(|s| s.keys = vec![" ".to_owned()]),
            both(C::IllegalMessageKey),
        ),
        (
            "blank message group",
            fifo(" "),
            both(C::IllegalMessageGroup),
        ),
        (
            "message group too long",
            fifo(&"g".repeat(64)),
            both(C::IllegalMessageGroup),
        ),
        ("longest message group", fifo(&"g".repeat(63)), both(C::Ok)),
        (
            "delay too long",
            delay(25 * 3_600_000),
            both(C::IllegalDeliveryTime),
        ),
        ("delay into the past", delay(-60_000), both(C::Ok)),
        ("delay to 1970", epoch(0, 0), both(C::Ok)),
        ("delay to before 1970", epoch(-1, 0), both(C::Ok)),
        (
            "delay to the end of time",
            epoch(i64::MAX, 0),
            [C::IllegalDeliveryTime, C::InternalServerError],
        ),
        ("recovery after an hour", transaction(3600), both(C::Ok)),
        ("recovery too late", transaction(3601), both(C::BadRequest)),
        ("recovery before the send", transaction(-1), both(C::Ok)),
        ("normal to FIFO", with("fifo", |_, _| {}), both(wrong_type)),
        (
            "FIFO to normal",
            system(|s| s.message_group = Some("g".to_owned())),
            both(wrong_type),
        ),
        (
            "delay to normal",
            system(|s| s.delivery_timestamp = Some(at(1000))),
            both(wrong_type),
        ),
        (
            "transaction to normal",
            system(|s| s.message_type = MessageType::Transaction.into()),
            both(wrong_type),
        ),
        (
            "priority to normal",
            system(|s| s.priority = Some(3)),
            both(wrong_type),
        ),
        (
            "lite to normal",
            system(|s| s.lite_topic = Some("l".to_owned())),
            both(wrong_type),
        ),
        (
            "lite topic with a bad name",
            system(|s| s.lite_topic = Some("a b".to_owned())),
            both(C::IllegalLiteTopic),
        ),
        (
            "two groups in a batch",
            two(fifo("a"), fifo("b")),
            [C::MessageCorrupted, C::Ok],
        ),
        (
            "two delays in a batch",
            two(delay(1000), delay(1000)),
            [C::MessageCorrupted, C::InternalServerError],
        ),
        (
            "two transactions in a batch",
            two(transaction(30), transaction(30)),
            [C::MessageCorrupted, C::InternalServerError],
        ),
    ] {
        let answer = trial.send(messages).await;
        trial.is(name, answer, I(ours), I(apache));
    }
    // More than one call may carry at all: gRPC's own status.
    let limit = if trial.own.is_some() { 20 } else { 130 };
    let large = body(1 << 20).remove(0);
    let answer = trial.send(vec![large; limit + 1]).await;
    // Apache's proxy resets the stream.
    let (ours, apache) = (G(tonic::Code::OutOfRange), G(tonic::Code::Unknown));
    trial.is("larger than a call may be", answer, ours, apache);
    // And the connection serves on.
    let answer = trial.send(vec![message("normal", "x")]).await;
    trial.is("a good one after all", answer, I(C::Ok), I(C::Ok));
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_are_nobodys_or_over() {
    let mut trial = Trial::start().await;
    trial.topic("transaction", "TRANSACTION").await;
    trial.topic("other", "TRANSACTION").await;
    let hello = settings(ClientType::Producer, publishing("transaction"));
    let (_up, _down, told) = trial.connect("producer", hello).await;
    trial.is("settings", told, I(Code::Ok), I(Code::Ok));
    let half = || {
        with("transaction", |_, s| {
            s.message_type = MessageType::Transaction.into();
        })
    };
    use Code as C;
    use TransactionResolution as R;
    let (invalid, failed, ok) = (
        I(C::InvalidTransactionId),
        I(C::InternalServerError),
        I(C::Ok),
    );
    for (name, id, ours, apache) in [
        ("blank", " ", invalid, invalid),
        ("nonsense", "nonsense", invalid, failed),
        ("made up", "id#broker-a#99#99", invalid, failed),
        (
            "of another broker",
            "id#elsewhere#0#0",
            I(C::BadRequest),
            failed,
        ),
    ] {
        let answer = trial.end_transaction("transaction", id, R::Commit).await;
        trial.is(name, answer, ours, apache);
    }
    let (sent, answer) = trial.sent(half()).await;
    trial.is("half message", sent, ok, ok);
    let id = answer.entries[0].transaction_id.clone();
    let answer = trial.end_transaction("other", &id, R::Commit).await;
    trial.is("of another topic", answer, invalid, failed);
    let answer = trial
        .end_transaction("transaction", &id, R::Unspecified)
        .await;
    trial.is("undecided", answer, ok, ok);
    let (_, answer) = trial.sent(half()).await;
    let id = answer.entries[0].transaction_id.clone();
    let answer = trial.end_transaction("transaction", &id, R::Commit).await;
    trial.is("commit", answer, ok, ok);
    let answer = trial.end_transaction("transaction", &id, R::Rollback).await;
    // It is over, and the broker remembers no more of it.
    trial.is("rollback after the commit", answer, ok, failed);
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recalls_that_cannot_be() {
    let mut trial = Trial::start().await;
    trial.topic("delay", "DELAY").await;
    trial.topic("normal", "NORMAL").await;
    let (_, answer) = trial
        .sent(with("delay", |_, s| {
            s.delivery_timestamp = Some(at(3_600_000));
        }))
        .await;
    let good = answer.entries[0].recall_handle.clone();
    assert!(!good.is_empty(), "{answer:?}");
    use Code as C;
    let (bad, failed) = (I(C::BadRequest), I(C::InternalServerError));
    for (name, topic, handle, ours, apache) in [
        ("empty", "delay", "", bad, failed),
        ("nonsense", "delay", "nonsense", bad, failed),
        (
            "of a normal topic",
            "normal",
            &*good,
            I(C::MessagePropertyConflictWithType),
            I(C::MessagePropertyConflictWithType),
        ),
        (
            "of a topic that nobody made",
            "nowhere",
            &*good,
            I(C::TopicNotFound),
            I(C::MessagePropertyConflictWithType),
        ),
        ("good", "delay", &*good, I(C::Ok), I(C::Ok)),
    ] {
        let request = RecallMessageRequest {
            topic: Some(resource(topic)),
            recall_handle: handle.to_owned(),
        };
        let answer = trial.grpc.recall_message(of("producer", request)).await;
        let answer = status(answer, |answer| answer.status);
        trial.is(name, answer, ours, apache);
    }
    trial.end().await;
}
