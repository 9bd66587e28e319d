// SPDX-License-Identifier: Apache-2.0
//! `bench queues`: what many queues cost our server: to create, to hold idle, to start with.

use std::{
    fmt, fs, thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::json;

use aerobee_remoting::{Encoding, Output, RequestCode, header::topic::UpdateTopic};

use crate::{
    Error,
    control::Control,
    own::{Own, OwnArgs},
    process,
    template::{Born, SendTemplate, Shape},
};

const FIRST: &str = "bench-first";
/// Requests in flight.
pub(crate) const WINDOW: usize = 256;

/// Options of `bench queues`.
#[derive(Debug, Clone, clap::Args)]
pub struct QueuesArgs {
    #[command(flatten)]
    own: OwnArgs,
    /// Topics.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    topics: u32,
    /// Queues of each topic.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1024))]
    queues: u32,
    /// Seconds to come to rest before memory is read.
    #[arg(long, default_value = "10", value_parser = crate::args::seconds, value_name = "SECONDS")]
    idle: Duration,
}

/// What an idle server uses.
#[derive(Debug, Clone, Copy)]
struct Idle {
    anonymous: u64,
    descriptors: u64,
    mappings: u64,
}

/// What `bench queues` found.
#[derive(Debug)]
pub struct Queues {
    queues: u64,
    create_topics: Duration,
    first_messages: Duration,
    before: Idle,
    used: Idle,
    restarted: Idle,
    stop: Duration,
    after_stop: Duration,
    after_kill: Duration,
    second_messages: Duration,
}

impl QueuesArgs {
    /// Creates the topics, puts a message in each queue, and restarts the server.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn run(&self) -> Result<Queues, Error> {
        let mut own = Own::new(&self.own)?;
        let many = Many {
            topics: self.topics,
            queues: self.queues,
        };
        own.start(FIRST)?;
        thread::sleep(self.idle);
        let before = idle(own.pid())?;
        let start = Instant::now();
        many.create(&own)?;
        let create_topics = start.elapsed();
        let start = Instant::now();
        many.send_to_each(&own)?;
        let first_messages = start.elapsed();
        thread::sleep(self.idle);
        let used = idle(own.pid())?;
        let stop = own.stop(Signal::TERM)?;
        let after_stop = own.start(FIRST)?;
        thread::sleep(self.idle);
        let restarted = idle(own.pid())?;
        let start = Instant::now();
        many.send_to_each(&own)?;
        let second_messages = start.elapsed();
        thread::sleep(Duration::from_secs(2).min(self.idle));
        own.stop(Signal::KILL)?;
        let after_kill = own.start(FIRST)?;
        own.stop(Signal::TERM)?;
        Ok(Queues {
            queues: u64::from(self.topics) * u64::from(self.queues),
            create_topics,
            first_messages,
            before,
            used,
            restarted,
            stop,
            after_stop,
            after_kill,
            second_messages,
        })
    }
}

/// Many topics of our server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Many {
    pub(crate) topics: u32,
    /// Queues of each.
    pub(crate) queues: u32,
}

impl Many {
    /// The name of a topic.
    pub(crate) fn name(number: u32) -> String {
        format!("bench-queues-{number}")
    }

    pub(crate) fn create(&self, own: &Own) -> Result<(), Error> {
        let mut control = Control::connect(&own.broker.to_string())?;
        let queues = i32::try_from(self.queues).unwrap_or(i32::MAX);
        let names: Vec<String> = (0..self.topics).map(Self::name).collect();
        for names in names.chunks(WINDOW) {
            let mut output = Output::default();
            for (opaque, topic) in (1..).zip(names) {
                let header = UpdateTopic {
                    topic,
                    default_topic: Some("TBW102"),
                    read_queue_nums: queues,
                    write_queue_nums: queues,
                    perm: 6,
                    topic_filter_type: "SINGLE_TAG",
                    topic_sys_flag: Some(0),
                    order: false,
                    attributes: None,
                    force: None,
                };
                let code = RequestCode::UPDATE_AND_CREATE_TOPIC;
                output.request(Encoding::Json, code, opaque, false, &header, &[]);
            }
            control.exchange_all(output.bytes(), names.len(), "the creation of a topic")?;
        }
        Ok(())
    }

    pub(crate) fn send_to_each(&self, own: &Own) -> Result<(), Error> {
        let mut control = Control::connect(&own.broker.to_string())?;
        let mut frames = Vec::new();
        let mut count = 0;
        for topic in (0..self.topics).map(Self::name) {
            let shape = Shape {
                topic: &topic,
                broker_name: "broker-a",
                size: 128,
                encoding: Encoding::Json,
                keys: None,
            };
            for queue in 0..self.queues {
                let template = SendTemplate::new(&shape, queue as i32)?;
                let opaque = crate::inflight::OPAQUE_MIN + count as i32;
                template.append(&mut frames, opaque, &Born::now(), count as u64);
                count += 1;
                if count == WINDOW {
                    control.exchange_all(&frames, count, "a send")?;
                    frames.clear();
                    count = 0;
                }
            }
        }
        control.exchange_all(&frames, count, "a send")
    }
}

fn idle(pid: u32) -> Result<Idle, Error> {
    let count = |what: &str| -> Result<u64, Error> {
        let path = format!("/proc/{pid}/{what}");
        let at = |source| Error::Process { pid, source };
        Ok(match what {
            "fd" => fs::read_dir(path).map_err(at)?.count() as u64,
            _ => fs::read_to_string(path).map_err(at)?.lines().count() as u64,
        })
    };
    Ok(Idle {
        anonymous: process::anonymous_bytes(&[pid])?,
        descriptors: count("fd")?,
        mappings: count("maps")?,
    })
}

impl Queues {
    fn bytes_per_queue(&self, idle: &Idle) -> f64 {
        idle.anonymous.saturating_sub(self.before.anonymous) as f64 / self.queues.max(1) as f64
    }

    /// The figures as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        let idle = |idle: &Idle| {
            json!({
                "anonymous_bytes": idle.anonymous,
                "bytes_per_queue": self.bytes_per_queue(idle),
                "descriptors": idle.descriptors,
                "mappings": idle.mappings,
            })
        };
        json!({
            "queues": self.queues,
            "create_topics_seconds": self.create_topics.as_secs_f64(),
            "first_messages_seconds": self.first_messages.as_secs_f64(),
            "messages_after_restart_seconds": self.second_messages.as_secs_f64(),
            "stop_ms": self.stop.as_secs_f64() * 1e3,
            "first_answer_ms": {
                "after_stop": self.after_stop.as_secs_f64() * 1e3,
                "after_kill": self.after_kill.as_secs_f64() * 1e3,
            },
            "without_queues": idle(&self.before),
            "idle": idle(&self.used),
            "idle_after_restart": idle(&self.restarted),
        })
    }
}

impl fmt::Display for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "queues                     {}", self.queues)?;
        for (name, time) in [
            ("create the topics", self.create_topics),
            ("a message to each queue", self.first_messages),
            ("the same after a restart", self.second_messages),
            ("clean end", self.stop),
            ("start after it, first send", self.after_stop),
            ("start after SIGKILL", self.after_kill),
        ] {
            writeln!(f, "{name:<26} {:.3} s", time.as_secs_f64())?;
        }
        for (name, idle) in [
            ("without the queues", &self.before),
            ("idle", &self.used),
            ("idle after a restart", &self.restarted),
        ] {
            writeln!(
                f,
                "{name:<26} {:.1} MiB anonymous ({:.0} B per queue), {} descriptors, {} mappings",
                idle.anonymous as f64 / f64::from(1 << 20),
                self.bytes_per_queue(idle),
                idle.descriptors,
                idle.mappings
            )?;
        }
        Ok(())
    }
}
