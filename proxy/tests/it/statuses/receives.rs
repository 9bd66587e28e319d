// SPDX-License-Identifier: Apache-2.0
//! Receives that cannot be.

use aerobee_proxy::v2::{ClientType, Code, FilterExpression, FilterType, ReceiveMessageRequest};
use tonic::Request;

use crate::support::{
    of, resource,
    statuses::{Answer::Is as I, Trial, both, read, receiving, span},
    telemetry::{settings, subscription},
};

#[tokio::test(flavor = "multi_thread")]
async fn receives_that_cannot_be() {
    let mut trial = Trial::start().await;
    trial.topic("empty", "NORMAL").await;
    trial.group("g").await;
    // Apache's proxy serves nobody whose settings it has not.
    let hello = settings(ClientType::SimpleConsumer, subscription("g", "empty"));
    let (_up, _down, told) = trial.connect("consumer", hello).await;
    trial.is("settings", told, I(Code::Ok), I(Code::Ok));
    let changed = |change: &dyn Fn(&mut ReceiveMessageRequest)| {
        let mut request = receiving("empty");
        change(&mut request);
        request
    };
    let invisible = |ms: i64| changed(&|r| r.invisible_duration = span(ms));
    let filter = |kind: FilterType, expression: &str| {
        changed(&|r| {
            r.filter_expression = Some(FilterExpression {
                r#type: kind.into(),
                expression: expression.to_owned(),
            });
        })
    };
    use Code as C;
    for (name, request, [ours, apache]) in [
        (
            "nothing there",
            receiving("empty"),
            both(C::MessageNotFound),
        ),
        (
            "unknown topic",
            receiving("nowhere"),
            both(C::TopicNotFound),
        ),
        ("illegal topic", receiving("a b"), both(C::IllegalTopic)),
        (
            "illegal group",
            changed(&|r| r.group = Some(resource("a b"))),
            both(C::IllegalConsumerGroup),
        ),
        (
            "no queue",
            changed(&|r| r.message_queue = None),
            both(C::IllegalTopic),
        ),
        ("too short", invisible(9999), both(C::IllegalInvisibleTime)),
        ("shortest", invisible(10_000), both(C::MessageNotFound)),
        ("longest", invisible(43_200_000), both(C::MessageNotFound)),
        (
            "too long",
            invisible(43_200_001),
            both(C::IllegalInvisibleTime),
        ),
        ("negative", invisible(-1), both(C::IllegalInvisibleTime)),
        (
            "no invisible time",
            changed(&|r| r.invisible_duration = None),
            both(C::IllegalInvisibleTime),
        ),
        (
            "bad SQL",
            filter(FilterType::Sql, "a >"),
            [C::IllegalFilterExpression, C::InternalServerError],
        ),
        (
            "tags that are none",
            filter(FilterType::Tag, "||"),
            both(C::IllegalFilterExpression),
        ),
        (
            "no filter",
            changed(&|r| r.filter_expression = None),
            both(C::MessageNotFound),
        ),
        (
            "batch of nothing",
            changed(&|r| r.batch_size = 0),
            both(C::MessageNotFound),
        ),
        (
            "negative batch",
            changed(&|r| r.batch_size = -1),
            [C::MessageNotFound, C::InternalServerError],
        ),
        (
            "batch too large",
            changed(&|r| r.batch_size = 33),
            both(C::MessageNotFound),
        ),
        (
            "broker that is none",
            changed(&|r| {
                r.message_queue
                    .as_mut()
                    .unwrap()
                    .broker
                    .as_mut()
                    .unwrap()
                    .name = "x".to_owned();
            }),
            both(C::MessageNotFound),
        ),
    ] {
        let (answer, _) = trial.receive(request).await;
        trial.is(name, answer, I(ours), I(apache));
    }
    // No deadline.
    let mut endless = Request::new(changed(&|r| {
        r.long_polling_timeout = span(1000);
    }));
    let metadata = endless.metadata_mut();
    metadata.insert("x-mq-client-id", "consumer".parse().unwrap());
    let answer = trial.grpc.receive_message(endless).await;
    let (answer, _) = read(answer.map(tonic::Response::into_inner)).await;
    trial.is(
        "no deadline",
        answer,
        I(C::MessageNotFound),
        I(C::InternalServerError),
    );
    // A client of which nothing is known.
    let request = of("unheard", receiving("empty"));
    let answer = trial.grpc.receive_message(request).await;
    let (answer, _) = read(answer.map(tonic::Response::into_inner)).await;
    trial.is(
        "no settings",
        answer,
        I(C::MessageNotFound),
        I(C::InternalServerError),
    );
    trial.end().await;
}
