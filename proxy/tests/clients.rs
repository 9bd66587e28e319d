// SPDX-License-Identifier: Apache-2.0
//! Telemetry, heartbeats, terminations.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use aerobee_proxy::v2::{
    ClientType, Code, HeartbeatRequest, NotifyClientTerminationRequest, Publishing,
    QueryAssignmentRequest, Settings, Subscription, SubscriptionEntry, TelemetryCommand,
    retry_policy::Strategy, settings::PubSub, telemetry_command::Command,
};
use tokio::{sync::mpsc, time::timeout};
use tonic::{
    Request, Streaming,
    codegen::tokio_stream::{Stream, StreamExt as _},
};

use support::{Cluster, Grpc, PATIENCE, all, of, resource};

/// A stream of commands that a test holds the other end of.
fn commands() -> (
    mpsc::Sender<TelemetryCommand>,
    impl Stream<Item = TelemetryCommand>,
) {
    let (sender, mut receiver) = mpsc::channel(8);
    let stream = support_stream(move |context| receiver.poll_recv(context));
    (sender, stream)
}

fn support_stream<T>(
    poll: impl FnMut(&mut std::task::Context<'_>) -> std::task::Poll<Option<T>> + Unpin,
) -> impl Stream<Item = T> {
    struct Polled<F>(F);
    impl<T, F: FnMut(&mut std::task::Context<'_>) -> std::task::Poll<Option<T>> + Unpin> Stream
        for Polled<F>
    {
        type Item = T;
        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<T>> {
            (self.0)(context)
        }
    }
    Polled(poll)
}

async fn telemetry(
    grpc: &mut Grpc,
    client: &str,
) -> (mpsc::Sender<TelemetryCommand>, Streaming<TelemetryCommand>) {
    let (sender, stream) = commands();
    let mut request = Request::new(stream);
    request
        .metadata_mut()
        .insert("x-mq-client-id", client.parse().unwrap());
    request
        .metadata_mut()
        .insert("x-mq-language", "JAVA".parse().unwrap());
    // Nothing was sent yet: the headers come all the same.
    let opened = timeout(PATIENCE, grpc.telemetry(request)).await.unwrap();
    (sender, opened.unwrap().into_inner())
}

fn settings(kind: ClientType, pub_sub: PubSub) -> TelemetryCommand {
    TelemetryCommand {
        status: None,
        command: Some(Command::Settings(Settings {
            client_type: Some(kind.into()),
            pub_sub: Some(pub_sub),
            ..Settings::default()
        })),
    }
}

fn publishing(topic: &str) -> PubSub {
    PubSub::Publishing(Publishing {
        topics: vec![resource(topic)],
        ..Publishing::default()
    })
}

fn subscription(group: &str, topic: &str) -> PubSub {
    PubSub::Subscription(Subscription {
        group: Some(resource(group)),
        subscriptions: vec![SubscriptionEntry {
            topic: Some(resource(topic)),
            expression: Some(all()),
        }],
        ..Subscription::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_answered_on_their_stream() {
    let cluster = Cluster::start().await;
    cluster.topic("t", "NORMAL").await;
    let mut grpc = cluster.grpc().await;
    let (sender, mut stream) = telemetry(&mut grpc, "producer").await;
    sender
        .send(settings(ClientType::Producer, publishing("t")))
        .await
        .unwrap();
    let answer = timeout(PATIENCE, stream.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(answer.status.unwrap().code(), Code::Ok);
    let Some(Command::Settings(answer)) = answer.command else {
        panic!("no settings")
    };
    assert_eq!(answer.backoff_policy.unwrap().max_attempts, 3);
    let (sender, mut stream) = telemetry(&mut grpc, "consumer").await;
    sender
        .send(settings(ClientType::PushConsumer, subscription("g", "t")))
        .await
        .unwrap();
    let answer = timeout(PATIENCE, stream.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let Some(Command::Settings(answer)) = answer.command else {
        panic!("no settings")
    };
    let policy = answer.backoff_policy.unwrap();
    assert_eq!(policy.max_attempts, 17);
    assert!(matches!(
        policy.strategy,
        Some(Strategy::CustomizedBackoff(_))
    ));
    let Some(PubSub::Subscription(subscription)) = answer.pub_sub else {
        panic!("no subscription")
    };
    assert_eq!(subscription.receive_batch_size, Some(32));
    assert_eq!(subscription.long_polling_timeout.unwrap().seconds, 20);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_settings_end_the_stream() {
    let cluster = Cluster::start().await;
    let mut grpc = cluster.grpc().await;
    for command in [
        settings(ClientType::Producer, subscription("g", "t")),
        settings(ClientType::Producer, publishing("a b")),
        settings(ClientType::PushConsumer, subscription("a b", "t")),
        TelemetryCommand {
            status: None,
            command: Some(Command::Settings(Settings::default())),
        },
    ] {
        let (sender, mut stream) = telemetry(&mut grpc, "c").await;
        sender.send(command).await.unwrap();
        let error = timeout(PATIENCE, stream.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap_err();
        assert_eq!(error.code(), tonic::Code::InvalidArgument);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_need_a_type_or_settings() {
    let cluster = Cluster::start().await;
    let mut grpc = cluster.grpc().await;
    let mut code = async |client: &str, kind: ClientType, group: Option<&str>| {
        let request = HeartbeatRequest {
            group: group.map(resource),
            client_type: kind.into(),
        };
        let answer = grpc
            .heartbeat(of(client, request))
            .await
            .unwrap()
            .into_inner();
        answer.status.unwrap().code()
    };
    assert_eq!(
        code("a", ClientType::Unspecified, None).await,
        Code::UnrecognizedClientType
    );
    assert_eq!(
        code("a", ClientType::PushConsumer, None).await,
        Code::IllegalConsumerGroup
    );
    assert_eq!(
        code("a", ClientType::PushConsumer, Some("g")).await,
        Code::Ok
    );
    assert_eq!(code("a", ClientType::Unspecified, None).await, Code::Ok);
    assert_eq!(code("b", ClientType::Producer, None).await, Code::Ok);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_is_unknown_afterwards() {
    let cluster = Cluster::start().await;
    let mut grpc = cluster.grpc().await;
    let request = HeartbeatRequest {
        group: None,
        client_type: ClientType::Producer.into(),
    };
    grpc.heartbeat(of("p", request)).await.unwrap();
    let mut leave = async || {
        let request = NotifyClientTerminationRequest {
            group: Some(resource("")),
        };
        let answer = grpc
            .notify_client_termination(of("p", request))
            .await
            .unwrap();
        answer.into_inner().status.unwrap().code()
    };
    assert_eq!(leave().await, Code::Ok);
    assert_eq!(leave().await, Code::UnrecognizedClientType);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_consumer_is_assigned_every_broker() {
    let cluster = Cluster::start().await;
    cluster.topic("t", "NORMAL").await;
    let mut grpc = cluster.grpc().await;
    let mut assigned = async |topic: &str| {
        let request = QueryAssignmentRequest {
            topic: Some(resource(topic)),
            group: Some(resource("g")),
            endpoints: None,
        };
        grpc.query_assignment(of("c", request))
            .await
            .unwrap()
            .into_inner()
    };
    let answer = assigned("t").await;
    assert_eq!(answer.status.unwrap().code(), Code::Ok);
    assert_eq!(answer.assignments.len(), 1);
    assert_eq!(answer.assignments[0].message_queue.as_ref().unwrap().id, -1);
    let nowhere = assigned("nowhere").await;
    assert_eq!(nowhere.status.unwrap().code(), Code::TopicNotFound);
    cluster.stop().await;
}
