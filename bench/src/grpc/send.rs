// SPDX-License-Identifier: Apache-2.0
//! `bench grpc-send`: one message a call, a fixed number of calls in flight on each connection.

use std::{cell::RefCell, rc::Rc, time::Instant};

use tokio::task::JoinSet;

use super::{Client, ProxyArgs, block_on, client_id, refusal, resource, v2};
use crate::{
    Error, Figures,
    args::{ServerArgs, TimeArgs},
    run::{self, Phases, Tally, Times, Worker},
    template::now_millis,
};

/// Options of `bench grpc-send`.
#[derive(Debug, Clone, clap::Args)]
pub struct GrpcSendArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    proxy: ProxyArgs,
    #[command(flatten)]
    times: TimeArgs,
    /// Topic; made if it is not there.
    #[arg(long, default_value = "bench-grpc")]
    topic: String,
    /// Queues of the topic.
    #[arg(long, default_value_t = 8)]
    queues: u32,
    /// Bytes of a message's body.
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// End when so many messages were measured.
    #[arg(long)]
    count: Option<u64>,
}

impl GrpcSendArgs {
    /// Prepares the topic, runs the load, and gives the figures.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn run(&self) -> Result<Figures, Error> {
        self.server.prepare(&self.topic, self.queues)?;
        let times = Times {
            count: self.count,
            ..self.times.times()
        };
        send(&self.proxy, &self.topic, self.size, times, &self.server.pid)
    }
}

/// The load, to a topic that is there.
pub(crate) fn send(
    proxy: &ProxyArgs,
    topic: &str,
    size: usize,
    times: Times,
    pids: &[u32],
) -> Result<Figures, Error> {
    let workers = (0..proxy.connections.into())
        .map(|number| SendWorker {
            proxy: proxy.clone(),
            topic: topic.to_owned(),
            size,
            number,
        })
        .collect();
    let load = format!(
        "send {size} B over gRPC to {}, {} × {} in flight",
        proxy.endpoints, proxy.connections, proxy.window
    );
    run::run(load, workers, times, pids)
}

struct SendWorker {
    proxy: ProxyArgs,
    topic: String,
    size: usize,
    number: usize,
}

impl Worker for SendWorker {
    fn run(self, phases: Phases) -> Result<Tally, Error> {
        block_on(async move {
            let publishing = v2::settings::PubSub::Publishing(v2::Publishing {
                topics: vec![resource(&self.topic)],
                ..v2::Publishing::default()
            });
            let kind = v2::ClientType::Producer;
            let id = client_id(self.number);
            let client = Rc::new(Client::start(&self.proxy.endpoints, id, kind, publishing).await?);
            let tally = Rc::new(RefCell::new(Tally::new(phases)));
            let mut lanes = JoinSet::new();
            for lane in 0..self.proxy.window {
                let lane = Lane {
                    client: Rc::clone(&client),
                    tally: Rc::clone(&tally),
                    topic: self.topic.clone(),
                    body: vec![b'x'; self.size].into(),
                    name: format!("01{:016X}{lane:04X}", self.number),
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

/// One call after the other.
struct Lane {
    client: Rc<Client>,
    tally: Rc<RefCell<Tally>>,
    topic: String,
    body: bytes::Bytes,
    name: String,
}

impl Lane {
    async fn run(self) -> Result<(), Error> {
        let mut grpc = self.client.grpc.clone();
        for number in 0_u64.. {
            let started = Instant::now();
            if self.tally.borrow().is_over(started) {
                break;
            }
            let messages = vec![self.message(number)];
            let request = self.client.of(v2::SendMessageRequest { messages })?;
            let answer = grpc.send_message(request).await?.into_inner();
            let mut tally = self.tally.borrow_mut();
            match refusal(answer.status.as_ref()) {
                None => tally.answered(started, Instant::now(), 1),
                Some((code, message)) => tally.errors.code(code, message),
            }
        }
        Ok(())
    }

    fn message(&self, number: u64) -> v2::Message {
        let now = now_millis();
        v2::Message {
            topic: Some(resource(&self.topic)),
            body: self.body.clone(),
            system_properties: Some(v2::SystemProperties {
                message_id: format!("{}{number:012X}", self.name),
                message_type: v2::MessageType::Normal.into(),
                body_encoding: v2::Encoding::Identity.into(),
                born_host: "bench".to_owned(),
                born_timestamp: Some(prost_types::Timestamp {
                    seconds: now / 1_000,
                    nanos: (now % 1_000) as i32 * 1_000_000,
                }),
                ..v2::SystemProperties::default()
            }),
            ..v2::Message::default()
        }
    }
}
