// SPDX-License-Identifier: Apache-2.0
//! `bench restart`: how long our server takes from its start to its first answer: after a kill with
//! a large log, and when all queues have to be made again from the log.

use std::{fmt, time::Duration};

use rustix::process::Signal;
use serde_json::json;

use crate::{
    Error,
    args::Target,
    own::{Own, OwnArgs, log_bytes},
    run::Times,
    send::SendLoad,
};

const TOPIC: &str = "bench-restart";
const QUEUES: u32 = 8;

/// Options of `bench restart`.
#[derive(Debug, Clone, clap::Args)]
pub struct RestartArgs {
    #[command(flatten)]
    own: OwnArgs,
    /// GiB of log to fill before.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1024))]
    gib: u64,
    /// Bytes of a message's body.
    #[arg(long, default_value_t = 1024)]
    size: usize,
}

/// What `bench restart` found.
#[derive(Debug)]
pub struct Restart {
    messages: u64,
    log_gib: f64,
    empty: Duration,
    after_kill: Duration,
    after_stop: Duration,
    rebuild: Duration,
}

impl RestartArgs {
    /// Fills the log, then kills, starts, stops and starts the server.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn run(&self) -> Result<Restart, Error> {
        let mut own = Own::new(&self.own)?;
        let empty = own.start(TOPIC)?;
        crate::control::Control::connect(&own.broker.to_string())?.create_topic(TOPIC, QUEUES)?;
        let target = Target {
            address: own.broker,
            broker_name: "broker-a".to_owned(),
            topic: TOPIC.to_owned(),
            queues: QUEUES,
        };
        // Header, topic and properties of a message of this load take some 220 bytes.
        let messages = (self.gib << 30) / (self.size as u64 + 220);
        let figures = SendLoad {
            target: &target,
            keys: None,
            encoding: aerobee_remoting::Encoding::Json,
            size: self.size,
            connections: 4,
            window: 64,
            rate: None,
            threads: 1,
        }
        .measure(
            Times {
                warmup: Duration::ZERO,
                duration: Duration::from_secs(3600),
                count: Some(messages),
            },
            &[],
        )?;
        own.stop(Signal::KILL)?;
        let after_kill = own.start(TOPIC)?;
        own.stop(Signal::TERM)?;
        let after_stop = own.start(TOPIC)?;
        own.stop(Signal::TERM)?;
        let bytes = log_bytes(&own.store())?;
        for name in [
            "consumequeue",
            "index",
            "indexstate",
            "checkpoint",
            "queues.summary",
        ] {
            own.remove(name)?;
        }
        let rebuild = own.start(TOPIC)?;
        own.stop(Signal::TERM)?;
        Ok(Restart {
            messages: figures.messages,
            log_gib: bytes as f64 / f64::from(1 << 30),
            empty,
            after_kill,
            after_stop,
            rebuild,
        })
    }
}

impl Restart {
    fn rate(&self) -> f64 {
        self.log_gib / self.rebuild.as_secs_f64().max(1e-9)
    }

    /// The figures as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        json!({
            "messages": self.messages,
            "log_gib": self.log_gib,
            "first_answer_ms": {
                "empty": self.empty.as_secs_f64() * 1e3,
                "after_kill": self.after_kill.as_secs_f64() * 1e3,
                "after_stop": self.after_stop.as_secs_f64() * 1e3,
                "rebuild": self.rebuild.as_secs_f64() * 1e3,
            },
            "rebuild_gib_per_second": self.rate(),
        })
    }
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "log                {:.1} GiB, {} messages",
            self.log_gib, self.messages
        )?;
        writeln!(
            f,
            "from the start of the process to the first answered send:"
        )?;
        for (name, time) in [
            ("empty directory", self.empty),
            ("after SIGKILL", self.after_kill),
            ("after a clean end", self.after_stop),
            ("queues made again", self.rebuild),
        ] {
            writeln!(f, "  {name:<17}{:>9.1} ms", time.as_secs_f64() * 1e3)?;
        }
        write!(f, "rebuild            {:.2} GiB/s", self.rate())
    }
}
