// SPDX-License-Identifier: Apache-2.0
//! What the sub-commands have in common on the command line.

use std::{net::SocketAddr, time::Duration};

use aerobee_auth::sign::Credentials;
use aerobee_remoting::Encoding;
use clap::{Parser, Subcommand, ValueEnum};

use crate::{
    CompareArgs, DelayArgs, DeliverArgs, DrainArgs, EchoArgs, Error, GrpcReceiveArgs, GrpcSendArgs,
    LiteArgs, PopArgs, PullArgs, QueuesArgs, RestartArgs, RetryArgs, ScrapeArgs, SendArgs,
    TelemetryArgs, TimersArgs, TransactArgs,
    control::{self, Control},
    run::Times,
};

/// Load against a RocketMQ server, and what it costs there.
#[derive(Debug, Parser)]
pub struct Args {
    /// Print one JSON object instead of text.
    #[arg(long, global = true)]
    pub json: bool,
    /// The load.
    #[command(subcommand)]
    pub command: Command,
}

/// The loads.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send messages: a closed window per connection, or a fixed rate.
    Send(SendArgs),
    /// Pull messages that were sent before.
    Pull(PullArgs),
    /// Send one message at a time to a pull that waits for it.
    Deliver(DeliverArgs),
    /// Pop messages that were sent before, and acknowledge each.
    Pop(PopArgs),
    /// Send messages in transactions, each committed when its half is stored.
    Transact(TransactArgs),
    /// Send messages that wait, by level or until a time, until the last one is delivered.
    Delay(DelayArgs),
    /// Give messages back to the broker, until the last one is in the retry topic.
    Retry(RetryArgs),
    /// Send messages over gRPC, one a call.
    GrpcSend(GrpcSendArgs),
    /// Receive and acknowledge messages over gRPC.
    GrpcReceive(GrpcReceiveArgs),
    /// Open telemetry streams that do nothing, and read what they cost the proxy.
    Telemetry(TelemetryArgs),
    /// Serve answers without doing anything: the bound for every server.
    Echo(EchoArgs),
    /// Run all loads against echo, aerobee and Apache RocketMQ in turns.
    Compare(CompareArgs),
    /// Start our server with many queues: time to create, memory when idle, time to start again.
    Queues(QueuesArgs),
    /// Start our server with many lite topics: memory when idle, time to start again, time of a
    /// message to a client that subscribes to many.
    Lite(LiteArgs),
    /// Start our server after a kill with a large log, and with queues to be made again from it.
    Restart(RestartArgs),
    /// Start our server and read messages that no memory holds, compared with reading its files.
    Drain(DrainArgs),
    /// Start our server with many topics and groups, and scrape its metrics beside a load.
    Scrape(ScrapeArgs),
    /// Start our server, leave timers and transactions open, and tell what it uses when idle.
    Timers(TimersArgs),
}

/// The server under load.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ServerArgs {
    /// Name server, which is asked for a broker and for the topic's route.
    #[arg(short, long, env = "NAMESRV_ADDR", default_value = "127.0.0.1:9876")]
    pub(crate) namesrv: String,
    /// Broker, spoken to without asking a name server.
    #[arg(long, visible_alias = "target", value_name = "HOST:PORT")]
    pub(crate) broker: Option<String>,
    /// Process of the server, to report its CPU time and memory; may be given several times.
    #[arg(long, value_delimiter = ',')]
    pub(crate) pid: Vec<u32>,
    /// Encoding of the request headers.
    #[arg(long, value_enum, default_value_t = HeaderEncoding::Json)]
    pub(crate) encoding: HeaderEncoding,
}

/// The two header encodings, by the names of Apache's `rocketmq.serialize.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HeaderEncoding {
    /// JSON, as SDKs send unless told otherwise.
    Json,
    /// The compact encoding.
    Rocketmq,
}

impl From<HeaderEncoding> for Encoding {
    fn from(encoding: HeaderEncoding) -> Self {
        match encoding {
            HeaderEncoding::Json => Self::Json,
            HeaderEncoding::Rocketmq => Self::Compact,
        }
    }
}

/// How long a load runs.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct TimeArgs {
    /// Seconds of load before anything is measured.
    #[arg(long, default_value = "3", value_parser = seconds, value_name = "SECONDS")]
    pub(crate) warmup: Duration,
    /// Seconds that are measured.
    #[arg(long, default_value = "10", value_parser = seconds, value_name = "SECONDS")]
    pub(crate) duration: Duration,
}

impl TimeArgs {
    pub(crate) fn times(self) -> Times {
        Times {
            warmup: self.warmup,
            duration: self.duration,
            count: None,
        }
    }
}

/// Reads a number of seconds.
pub(crate) fn seconds(text: &str) -> Result<Duration, Error> {
    text.strip_suffix('s')
        .unwrap_or(text)
        .parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| Error::Seconds(text.to_owned()))
}

/// A broker that has the topic wanted.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) broker_name: String,
    pub(crate) topic: String,
    pub(crate) queues: u32,
}

impl ServerArgs {
    /// Makes sure of the topic as a tool would, and finds its broker as a client would.
    pub(crate) fn prepare(&self, topic: &str, queues: u32) -> Result<Target, Error> {
        self.prepare_as(None, topic, queues)
    }

    /// The same as a user who may make the topic.
    pub(crate) fn prepare_as(
        &self,
        keys: Option<&Credentials>,
        topic: &str,
        queues: u32,
    ) -> Result<Target, Error> {
        let target = |address, broker_name| Target {
            address,
            broker_name,
            topic: topic.to_owned(),
            queues,
        };
        if let Some(broker) = &self.broker {
            let mut control = Control::connect(broker)?.signed(keys);
            control.create_topic(topic, queues)?;
            return Ok(target(control.peer(), "broker-a".to_owned()));
        }
        let mut namesrv = Control::connect(&self.namesrv)?;
        let (broker, _) = namesrv.any_master()?;
        let mut control = Control::connect(&broker)?.signed(keys);
        control.create_topic(topic, queues)?;
        let (broker, name) = namesrv.await_route(topic, &broker)?;
        Ok(target(control::resolve(&broker)?, name))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn seconds_may_be_fractions() {
        assert_eq!(seconds("10").unwrap(), Duration::from_secs(10));
        assert_eq!(seconds("0.25s").unwrap(), Duration::from_millis(250));
        assert!(seconds("-1").is_err());
        assert!(seconds("soon").is_err());
    }

    #[test]
    fn a_target_is_a_broker() {
        let args = Args::try_parse_from(["bench", "send", "--target", "h:1", "--pid", "1,2"]);
        let Ok(Args {
            command: Command::Send(send),
            ..
        }) = args
        else {
            panic!("{args:?}");
        };
        assert_eq!(send.server.broker.as_deref(), Some("h:1"));
        assert_eq!(send.server.pid, [1, 2]);
    }
}
