// SPDX-License-Identifier: Apache-2.0
//! Telemetry, heartbeats, terminations.

use aerobee_proxy::v2::{
    ClientType, Code, HeartbeatRequest, NotifyClientTerminationRequest, QueryAssignmentRequest,
    Settings, TelemetryCommand, retry_policy::Strategy, settings::PubSub,
    telemetry_command::Command,
};
use tokio::time::timeout;
use tonic::codegen::tokio_stream::StreamExt as _;

use crate::support::{
    Cluster, PATIENCE, of, resource,
    telemetry::{publishing, settings, subscription, telemetry},
};

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
