// SPDX-License-Identifier: Apache-2.0
//! Settings, and clients of which nothing is known.

use aerobee_proxy::v2::{
    ClientType, Code, HeartbeatRequest, LiteSubscriptionAction, NotifyClientTerminationRequest,
    Resource, Settings, SyncLiteSubscriptionRequest, TelemetryCommand, telemetry_command::Command,
};

use crate::support::{
    of, resource,
    statuses::{
        Answer::{Grpc as G, Is as I},
        Trial, read, receiving, status,
    },
    telemetry::{publishing, settings, subscription},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_nobody_made_when_groups_are_not_made_by_use() {
    let mut trial = Trial::start().await;
    trial.topic("normal", "NORMAL").await;
    let told = trial
        .told(
            "stranger",
            settings(ClientType::PushConsumer, subscription("nobody", "normal")),
        )
        .await;
    let refused = G(tonic::Code::InvalidArgument);
    trial.is("settings", told, refused, refused);
    let mut request = receiving("normal");
    request.group = Some(resource("nobody"));
    let answer = trial.grpc.receive_message(of("stranger", request)).await;
    let (answer, _) = read(answer.map(tonic::Response::into_inner)).await;
    // Apache's proxy has no settings of the client.
    let (missing, failed) = (I(Code::ConsumerGroupNotFound), I(Code::InternalServerError));
    trial.is("ReceiveMessage", answer, missing, failed);
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_contradict_themselves_or_name_what_is_not_there() {
    let mut trial = Trial::start().await;
    trial.topic("normal", "NORMAL").await;
    trial.group("g").await;
    let nothing = TelemetryCommand {
        status: None,
        command: Some(Command::Settings(Settings::default())),
    };
    let ok = I(Code::Ok);
    let invalid = G(tonic::Code::InvalidArgument);
    use ClientType as T;
    for (name, command, ours, apache) in [
        ("neither side", nothing, invalid, invalid),
        (
            "producer that subscribes",
            settings(T::Producer, subscription("g", "normal")),
            invalid,
            G(tonic::Code::Internal),
        ),
        (
            "consumer that publishes",
            settings(T::PushConsumer, publishing("normal")),
            invalid,
            ok,
        ),
        (
            "illegal topic to publish to",
            settings(T::Producer, publishing("a b")),
            invalid,
            invalid,
        ),
        (
            "unknown topic to publish to",
            settings(T::Producer, publishing("nowhere")),
            ok,
            ok,
        ),
        (
            "illegal group",
            settings(T::PushConsumer, subscription("a b", "normal")),
            invalid,
            invalid,
        ),
        (
            "illegal topic to subscribe to",
            settings(T::PushConsumer, subscription("g", "a b")),
            invalid,
            ok,
        ),
        (
            "unknown topic to subscribe to",
            settings(T::PushConsumer, subscription("g", "nowhere")),
            ok,
            ok,
        ),
        (
            "lite consumer of a plain group",
            settings(T::LitePushConsumer, subscription("g", "normal")),
            invalid,
            invalid,
        ),
    ] {
        let told = trial.told(&name.replace(' ', "-"), command).await;
        trial.is(name, told, ours, apache);
    }
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_which_nothing_is_known() {
    let mut trial = Trial::start().await;
    trial.topic("normal", "NORMAL").await;
    trial.group("g").await;
    let unknown = I(Code::UnrecognizedClientType);
    let illegal = I(Code::IllegalConsumerGroup);
    let heartbeat = |group: Option<&str>, kind: ClientType| HeartbeatRequest {
        group: group.map(resource),
        client_type: kind.into(),
    };
    for (client, request, ours, apache) in [
        (
            "h1",
            heartbeat(None, ClientType::Unspecified),
            unknown,
            unknown,
        ),
        (
            "h2",
            heartbeat(Some("g"), ClientType::PushConsumer),
            I(Code::Ok),
            unknown,
        ),
        (
            "h3",
            heartbeat(Some("a b"), ClientType::PushConsumer),
            illegal,
            unknown,
        ),
        (
            "h4",
            heartbeat(None, ClientType::Producer),
            I(Code::Ok),
            unknown,
        ),
    ] {
        let answer = trial.grpc.heartbeat(of(client, request)).await;
        let answer = status(answer, |answer| answer.status);
        trial.is(("Heartbeat", client), answer, ours, apache);
    }
    for group in [Some(resource("g")), Some(Resource::default()), None] {
        let request = NotifyClientTerminationRequest { group };
        let request = of("never-seen", request);
        let answer = trial.grpc.notify_client_termination(request).await;
        let answer = status(answer, |answer| answer.status);
        trial.is("NotifyClientTermination", answer, unknown, unknown);
    }
    let request = SyncLiteSubscriptionRequest {
        action: LiteSubscriptionAction::PartialAdd.into(),
        topic: Some(resource("normal")),
        group: Some(resource("g")),
        lite_topic_set: vec!["l".to_owned()],
        ..SyncLiteSubscriptionRequest::default()
    };
    let answer = trial.grpc.sync_lite_subscription(of("h5", request)).await;
    let answer = status(answer, |answer| answer.status);
    trial.is(
        "SyncLiteSubscription of a plain group",
        answer,
        I(Code::IllegalTopic),
        I(Code::IllegalTopic),
    );
    trial.end().await;
}
