// SPDX-License-Identifier: Apache-2.0
//! Loads over gRPC, at our proxy or Apache's: [`send`](GrpcSendArgs), [`receive`](GrpcReceiveArgs),
//! and [`telemetry`](TelemetryArgs) streams that do nothing. Each connection has a thread and, as an
//! SDK has, a client id and a telemetry stream with its settings.

mod receive;
mod send;
mod telemetry;

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{runtime, sync::mpsc, task::LocalSet};
use tonic::{
    Request, Streaming,
    codegen::tokio_stream::Stream,
    transport::{Channel, Endpoint},
};

pub(crate) use self::send::send;
use self::v2::{
    ClientType, Code, Resource, Settings, TelemetryCommand,
    messaging_service_client::MessagingServiceClient, settings::PubSub, telemetry_command::Command,
};
pub use self::{
    receive::GrpcReceiveArgs,
    send::GrpcSendArgs,
    telemetry::{Telemetry, TelemetryArgs},
};
use crate::Error;

/// Apache's protobuf files, as Rust.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    dead_code,
    clippy::all,
    clippy::pedantic,
    reason = "made from Apache's files"
)]
mod v2 {
    tonic::include_proto!("apache.rocketmq.v2");
}

/// How long anything but a poll may take.
const PATIENCE: Duration = Duration::from_secs(30);

type Grpc = MessagingServiceClient<Channel>;

/// The proxy under load.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ProxyArgs {
    /// The proxy.
    #[arg(long, default_value = "127.0.0.1:8081", value_name = "HOST:PORT")]
    endpoints: String,
    /// Connections, each with a thread.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// Requests in flight on each connection.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    window: u16,
}

impl ProxyArgs {
    /// The proxy at an address, with connections and requests as the command line has them by default.
    pub(crate) fn new(endpoints: String) -> Self {
        Self {
            endpoints,
            connections: 4,
            window: 64,
        }
    }
}

/// A client: a connection, and the telemetry stream that goes with it.
struct Client {
    grpc: Grpc,
    id: String,
    _up: mpsc::Sender<TelemetryCommand>,
    _down: Streaming<TelemetryCommand>,
}

/// What goes up a telemetry stream.
struct Commands(mpsc::Receiver<TelemetryCommand>);

impl Stream for Commands {
    type Item = TelemetryCommand;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

impl Client {
    /// Connects, and waits for the answer to the settings.
    async fn start(
        endpoints: &str,
        id: String,
        kind: ClientType,
        pub_sub: PubSub,
    ) -> Result<Self, Error> {
        Self::on(connect(endpoints).await?, id, kind, pub_sub).await
    }

    async fn on(
        channel: Channel,
        id: String,
        kind: ClientType,
        pub_sub: PubSub,
    ) -> Result<Self, Error> {
        let mut grpc = MessagingServiceClient::new(channel).max_decoding_message_size(64 << 20);
        let (up, commands) = mpsc::channel(4);
        let settings = Settings {
            client_type: Some(kind.into()),
            pub_sub: Some(pub_sub),
            ..Settings::default()
        };
        let command = TelemetryCommand {
            status: None,
            command: Some(Command::Settings(settings)),
        };
        // There is room.
        let _ = up.try_send(command);
        let stream = Request::new(Commands(commands));
        let mut down = grpc.telemetry(named(&id, stream)?).await?.into_inner();
        let answer = down.message().await?;
        let is_settings =
            answer.is_some_and(|answer| matches!(answer.command, Some(Command::Settings(_))));
        if !is_settings {
            return Err(tonic::Status::unknown("settings were not answered").into());
        }
        Ok(Self {
            grpc,
            id,
            _up: up,
            _down: down,
        })
    }

    /// A request of this client.
    fn of<T>(&self, message: T) -> Result<Request<T>, Error> {
        let mut request = named(&self.id, Request::new(message))?;
        request.set_timeout(PATIENCE);
        Ok(request)
    }
}

async fn connect(endpoints: &str) -> Result<Channel, Error> {
    let failed = |source: tonic::transport::Error| Error::Grpc(Box::new(source));
    let endpoint = Endpoint::from_shared(format!("http://{endpoints}")).map_err(failed)?;
    endpoint
        .tcp_nodelay(true)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(8 << 20)
        .connect()
        .await
        .map_err(failed)
}

/// A request with the metadata that every SDK sends.
fn named<T>(id: &str, mut request: Request<T>) -> Result<Request<T>, Error> {
    let metadata = request.metadata_mut();
    let id = id
        .parse()
        .map_err(|_| tonic::Status::invalid_argument("client id"))?;
    metadata.insert("x-mq-client-id", id);
    for (name, value) in [
        ("x-mq-language", "JAVA"),
        ("x-mq-protocol", "v2"),
        ("x-mq-client-version", "5.2.0"),
    ] {
        metadata.insert(name, tonic::metadata::MetadataValue::from_static(value));
    }
    Ok(request)
}

fn client_id(number: usize) -> String {
    format!("bench@{}@{number}", std::process::id())
}

fn resource(name: &str) -> Resource {
    Resource {
        resource_namespace: String::new(),
        name: name.to_owned(),
    }
}

/// The code of an answer and what it says, if it is no success.
fn refusal(status: Option<&v2::Status>) -> Option<(i32, &str)> {
    let status = status?;
    (status.code() != Code::Ok).then_some((status.code, status.message.as_str()))
}

/// Runs a future on this thread alone.
fn block_on<T>(future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::system("make a runtime"))?;
    LocalSet::new().block_on(&runtime, future)
}
