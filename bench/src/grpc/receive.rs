// SPDX-License-Identifier: Apache-2.0
//! `bench grpc-receive`: receive what was sent before and acknowledge it, each message by a call of
//! its own, as the SDKs do.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use aerobee_remoting::{
    RequestCode, body::group::SubscriptionGroupConfig, fastjson, header::Empty,
};
use tokio::task::JoinSet;

use super::{Client, ProxyArgs, block_on, client_id, refusal, resource, send::send, v2};
use crate::{
    Error, Figures,
    args::ServerArgs,
    control::Control,
    run::{self, Phases, Tally, Times, Worker},
    template::now_millis,
};

const GROUP: &str = "bench-grpc-readers";
/// Longest run.
const MOST: Duration = Duration::from_secs(600);
/// How long a message stays with its client, s.
const INVISIBLE: i64 = 60;
/// How long a receive waits, s.
const POLL: i64 = 2;

/// Options of `bench grpc-receive`.
#[derive(Debug, Clone, clap::Args)]
pub struct GrpcReceiveArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    proxy: ProxyArgs,
    /// Messages that are received and acknowledged; some more are sent before.
    #[arg(long, default_value_t = 200_000)]
    count: u64,
    /// Queues of the topic, which is made for this run.
    #[arg(long, default_value_t = 8)]
    queues: u32,
    /// Bytes of a message's body.
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// Most messages of one receive.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(i32).range(1..=32))]
    batch: i32,
    /// Acknowledge all messages of a receive in one call.
    #[arg(long)]
    ack_together: bool,
}

impl GrpcReceiveArgs {
    /// So many messages of 128 B, as the command line has them by default.
    pub(crate) fn new(server: ServerArgs, proxy: ProxyArgs, count: u64) -> Self {
        Self {
            server,
            proxy,
            count,
            queues: 8,
            size: 128,
            batch: 32,
            ack_together: false,
        }
    }

    /// Sends the messages, runs the load, and gives the figures.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn run(&self) -> Result<Figures, Error> {
        let run = now_millis();
        let (topic, group) = (format!("bench-grpc-{run}"), format!("{GROUP}-{run}"));
        let target = self.server.prepare(&topic, self.queues)?;
        make_group(&target.address.to_string(), &group)?;
        // What one connection takes too many of must not be missing to another.
        let lanes = u64::from(self.proxy.connections) * u64::from(self.proxy.window);
        let sent = self.count + self.count / 10 + lanes * u64::from(self.batch.unsigned_abs());
        let times = |count| Times {
            warmup: Duration::ZERO,
            duration: MOST,
            count: Some(count),
        };
        let filled = send(&self.proxy, &topic, self.size, times(sent), &[])?;
        if !filled.errors.is_empty() {
            return Ok(filled);
        }
        let workers = (0..self.proxy.connections.into())
            .map(|number| ReceiveWorker {
                load: self.clone(),
                topic: topic.clone(),
                group: group.clone(),
                broker: target.broker_name.clone(),
                number,
            })
            .collect();
        let load = format!(
            "receive {} B over gRPC from {} and acknowledge {}, {} × {} in flight",
            self.size,
            self.proxy.endpoints,
            if self.ack_together {
                "together"
            } else {
                "each"
            },
            self.proxy.connections,
            self.proxy.window
        );
        run::run(load, workers, times(self.count), &self.server.pid)
    }
}

/// A group that begins with the first message.
fn make_group(broker: &str, name: &str) -> Result<(), Error> {
    let group = SubscriptionGroupConfig {
        group_name: name.to_owned(),
        ..SubscriptionGroupConfig::default()
    };
    let code = RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
    Control::connect(broker)?
        .ask(code, &Empty, &fastjson::to_vec(&group))?
        .accept("the creation of a group")?;
    Ok(())
}

struct ReceiveWorker {
    load: GrpcReceiveArgs,
    topic: String,
    group: String,
    broker: String,
    number: usize,
}

impl Worker for ReceiveWorker {
    fn run(self, phases: Phases) -> Result<Tally, Error> {
        block_on(async move {
            let subscription = v2::settings::PubSub::Subscription(v2::Subscription {
                group: Some(resource(&self.group)),
                subscriptions: vec![v2::SubscriptionEntry {
                    topic: Some(resource(&self.topic)),
                    expression: Some(everything()),
                }],
                ..v2::Subscription::default()
            });
            let kind = v2::ClientType::SimpleConsumer;
            // Not the id of the producer before.
            let id = client_id(1_000 + self.number);
            let endpoints = &self.load.proxy.endpoints;
            let client = Rc::new(Client::start(endpoints, id, kind, subscription).await?);
            let tally = Rc::new(RefCell::new(Tally::new(phases)));
            let worker = Rc::new(self);
            let mut lanes = JoinSet::new();
            for _ in 0..worker.load.proxy.window {
                let lane = Lane {
                    worker: Rc::clone(&worker),
                    client: Rc::clone(&client),
                    tally: Rc::clone(&tally),
                };
                lanes.spawn_local(lane.run());
            }
            while let Some(ended) = lanes.join_next().await {
                ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
            }
            Ok(tally.replace(Tally::new(phases)))
        })
    }
}

fn everything() -> v2::FilterExpression {
    v2::FilterExpression {
        r#type: v2::FilterType::Tag.into(),
        expression: "*".to_owned(),
    }
}

/// One receive after the other.
struct Lane {
    worker: Rc<ReceiveWorker>,
    client: Rc<Client>,
    tally: Rc<RefCell<Tally>>,
}

impl Lane {
    async fn run(self) -> Result<(), Error> {
        loop {
            let started = Instant::now();
            if self.tally.borrow().is_over(started) {
                return Ok(());
            }
            let entries = self.receive().await?;
            if entries.is_empty() {
                continue;
            }
            if self.worker.load.ack_together {
                self.ack(entries, started).await?;
                continue;
            }
            for entry in entries {
                self.ack(vec![entry], started).await?;
            }
        }
    }

    async fn receive(&self) -> Result<Vec<v2::AckMessageEntry>, Error> {
        let span = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let request = v2::ReceiveMessageRequest {
            group: Some(resource(&self.worker.group)),
            message_queue: Some(v2::MessageQueue {
                topic: Some(resource(&self.worker.topic)),
                id: -1,
                broker: Some(v2::Broker {
                    name: self.worker.broker.clone(),
                    ..v2::Broker::default()
                }),
                ..v2::MessageQueue::default()
            }),
            filter_expression: Some(everything()),
            batch_size: self.worker.load.batch,
            invisible_duration: span(INVISIBLE),
            auto_renew: false,
            long_polling_timeout: span(POLL),
            attempt_id: None,
        };
        let mut grpc = self.client.grpc.clone();
        let mut stream = grpc
            .receive_message(self.client.of(request)?)
            .await?
            .into_inner();
        let mut entries = Vec::new();
        while let Some(frame) = stream.message().await? {
            match frame.content {
                Some(v2::receive_message_response::Content::Status(status)) => {
                    let nothing = status.code() == v2::Code::MessageNotFound;
                    if let Some((code, message)) = refusal(Some(&status)).filter(|_| !nothing) {
                        self.tally.borrow_mut().errors.code(code, message);
                    }
                }
                Some(v2::receive_message_response::Content::Message(message)) => {
                    let system = message.system_properties.unwrap_or_default();
                    entries.push(v2::AckMessageEntry {
                        message_id: system.message_id,
                        receipt_handle: system.receipt_handle.unwrap_or_default(),
                        lite_topic: None,
                    });
                }
                _ => {}
            }
        }
        Ok(entries)
    }

    async fn ack(&self, entries: Vec<v2::AckMessageEntry>, started: Instant) -> Result<(), Error> {
        let count = entries.len() as u64;
        let request = v2::AckMessageRequest {
            group: Some(resource(&self.worker.group)),
            topic: Some(resource(&self.worker.topic)),
            entries,
        };
        let mut grpc = self.client.grpc.clone();
        let answer = grpc
            .ack_message(self.client.of(request)?)
            .await?
            .into_inner();
        let mut tally = self.tally.borrow_mut();
        match refusal(answer.status.as_ref()) {
            None => tally.answered(started, Instant::now(), count),
            Some((code, message)) => tally.errors.code(code, message),
        }
        Ok(())
    }
}
