// SPDX-License-Identifier: Apache-2.0
//! Telemetry streams of clients.

use aerobee_proxy::v2::{
    ClientType, Publishing, Settings, Subscription, SubscriptionEntry, TelemetryCommand,
    settings::PubSub, telemetry_command::Command,
};
use tokio::{sync::mpsc, time::timeout};
use tonic::{Request, Streaming, codegen::tokio_stream::Stream};

use super::{Grpc, PATIENCE, all, resource};

/// A stream of commands that a test holds the other end of.
pub(crate) fn commands() -> (
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

pub(crate) async fn telemetry(
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

/// A stream whose first settings were answered.
pub(crate) async fn greet(
    grpc: &mut Grpc,
    client: &str,
    hello: TelemetryCommand,
) -> (mpsc::Sender<TelemetryCommand>, Streaming<TelemetryCommand>) {
    let (up, mut down) = telemetry(grpc, client).await;
    up.send(hello).await.unwrap();
    let answer = timeout(PATIENCE, down.message()).await.unwrap();
    let answer = answer.unwrap().unwrap();
    assert!(
        matches!(answer.command, Some(Command::Settings(_))),
        "{answer:?}"
    );
    (up, down)
}

pub(crate) fn settings(kind: ClientType, pub_sub: PubSub) -> TelemetryCommand {
    TelemetryCommand {
        status: None,
        command: Some(Command::Settings(Settings {
            client_type: Some(kind.into()),
            pub_sub: Some(pub_sub),
            ..Settings::default()
        })),
    }
}

pub(crate) fn publishing(topic: &str) -> PubSub {
    PubSub::Publishing(Publishing {
        topics: vec![resource(topic)],
        ..Publishing::default()
    })
}

pub(crate) fn subscription(group: &str, topic: &str) -> PubSub {
    PubSub::Subscription(Subscription {
        group: Some(resource(group)),
        subscriptions: vec![SubscriptionEntry {
            topic: Some(resource(topic)),
            expression: Some(all()),
        }],
        ..Subscription::default()
    })
}
