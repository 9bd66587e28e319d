// SPDX-License-Identifier: Apache-2.0
//! `bench telemetry`: what clients that do nothing cost the proxy: memory of idle telemetry streams.

use std::{fmt, thread, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use super::{Client, block_on, client_id, connect, resource, v2};
use crate::{Error, args::ServerArgs, process};

/// Streams that are opened at once.
const AT_ONCE: usize = 64;

/// Options of `bench telemetry`.
#[derive(Debug, Clone, clap::Args)]
pub struct TelemetryArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The proxy; its process is given by --pid.
    #[arg(long, default_value = "127.0.0.1:8081", value_name = "HOST:PORT")]
    endpoints: String,
    /// Streams, each of a client of its own.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    streams: u32,
    /// Streams of one connection.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    per_connection: u32,
    /// Seconds to come to rest before memory is read.
    #[arg(long, default_value = "10", value_parser = crate::args::seconds, value_name = "SECONDS")]
    idle: Duration,
}

/// What `bench telemetry` found.
#[derive(Debug)]
pub struct Telemetry {
    streams: u64,
    connections: u64,
    before: u64,
    after: u64,
}

impl TelemetryArgs {
    /// Opens the streams and reads the memory of the server's processes.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn run(&self) -> Result<Telemetry, Error> {
        const TOPIC: &str = "bench-grpc";
        self.server.prepare(TOPIC, 8)?;
        raise_descriptors()?;
        block_on(async {
            // The first of everything is made before.
            let first = start(connect(&self.endpoints).await?, usize::MAX, TOPIC).await?;
            let before = process::anonymous_bytes(&self.server.pid)?;
            let mut clients = Vec::new();
            let mut connections = 0;
            let mut numbers = 0..self.streams as usize;
            while !numbers.is_empty() {
                let channel = connect(&self.endpoints).await?;
                connections += 1;
                let mut opening = tokio::task::JoinSet::new();
                for number in numbers.by_ref().take(self.per_connection as usize) {
                    let channel = channel.clone();
                    opening.spawn_local(async move { start(channel, number, TOPIC).await });
                    if opening.len() >= AT_ONCE {
                        clients.extend(joined(&mut opening).await?);
                    }
                }
                while let Some(client) = joined(&mut opening).await? {
                    clients.push(client);
                }
            }
            tokio::time::sleep(self.idle).await;
            let after = process::anonymous_bytes(&self.server.pid)?;
            let streams = clients.len() as u64;
            drop((first, clients));
            Ok(Telemetry {
                streams,
                connections,
                before,
                after,
            })
        })
    }
}

async fn joined(
    opening: &mut tokio::task::JoinSet<Result<Client, Error>>,
) -> Result<Option<Client>, Error> {
    match opening.join_next().await {
        None => Ok(None),
        Some(Ok(client)) => client.map(Some),
        Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
    }
}

async fn start(
    channel: tonic::transport::Channel,
    number: usize,
    topic: &str,
) -> Result<Client, Error> {
    let publishing = v2::settings::PubSub::Publishing(v2::Publishing {
        topics: vec![resource(topic)],
        ..v2::Publishing::default()
    });
    Client::on(
        channel,
        client_id(number),
        v2::ClientType::Producer,
        publishing,
    )
    .await
}

/// Each connection has a descriptor.
fn raise_descriptors() -> Result<(), Error> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised)
        .map_err(std::io::Error::from)
        .map_err(Error::system("raise the limit of descriptors"))?;
    // Nothing else waits for it; the limit counts from now on.
    thread::yield_now();
    Ok(())
}

impl Telemetry {
    fn per_stream(&self) -> f64 {
        self.after.saturating_sub(self.before) as f64 / self.streams.max(1) as f64
    }

    /// The figures as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        json!({
            "streams": self.streams,
            "connections": self.connections,
            "anonymous_bytes_before": self.before,
            "anonymous_bytes": self.after,
            "bytes_per_stream": self.per_stream(),
        })
    }
}

impl fmt::Display for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        writeln!(
            f,
            "{} idle telemetry streams on {} connections: {:.0} B of anonymous memory each ({:.1} MiB before, {:.1} MiB with them)",
            self.streams,
            self.connections,
            self.per_stream(),
            mebibytes(self.before),
            mebibytes(self.after)
        )
    }
}
