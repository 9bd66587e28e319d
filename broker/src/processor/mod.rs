// SPDX-License-Identifier: Apache-2.0
//! The request table of a broker: code → processor.
//!
//! A new code needs its typed header in `remoting/src/header`, a processor here, and a line in
//! [`Processors::handle`]; if clients must not use it on the fast port, one in [`is_fast`].

use std::sync::Arc;

use aerobee_remoting::{
    Command, Connection, Corked, Header, Reply, RequestCode, Service, call::Call,
};
use smallvec::SmallVec;

use crate::{
    clients::Clients,
    longpoll::pull::HeldPulls,
    topics::{QueueSlot, Topic, Topics},
};

pub(crate) mod admin;
pub(crate) mod consumer;
pub(crate) mod flushed;
pub(crate) mod heartbeat;
pub(crate) mod lock;
pub(crate) mod pull;
pub(crate) mod queue_offset;
pub(crate) mod send;
pub(crate) mod view;

/// State of one turn: the requests that one read of one connection brought.
#[derive(Default)]
pub(crate) struct Turn {
    /// The topic of the last request: the next one mostly names it again.
    topic: Option<Arc<Topic>>,
    /// Queues with new messages and waiting consumers, each once.
    arrivals: SmallVec<[Arc<QueueSlot>; 4]>,
}

impl Turn {
    /// Resolves a topic.
    #[inline]
    pub(crate) fn topic(&mut self, topics: &Topics, name: &str) -> Option<&Arc<Topic>> {
        let known = self
            .topic
            .as_ref()
            .is_some_and(|topic| &**topic.name() == name);
        if !known {
            self.topic = topics.find(name);
        }
        self.topic.as_ref()
    }

    /// A message has become visible in this queue.
    #[inline]
    pub(crate) fn arrived(&mut self, slot: &Arc<QueueSlot>) {
        if slot.waiters().any() && !self.arrivals.iter().any(|known| Arc::ptr_eq(known, slot)) {
            self.arrivals.push(Arc::clone(slot));
        }
    }

    /// Serves the consumers that wait for what this turn has stored.
    #[inline]
    pub(crate) fn deliver(&mut self, held: &Arc<HeldPulls>) {
        if self.arrivals.is_empty() {
            return;
        }
        let mut corked = Corked::default();
        for slot in self.arrivals.drain(..) {
            held.arrived(&slot, &mut corked);
        }
    }
}

/// The processors of a broker; each holds just the parts that it uses.
pub(crate) struct Processors {
    pub(crate) send: Arc<send::Send>,
    pub(crate) pull: pull::Pull,
    pub(crate) heartbeat: Arc<heartbeat::Heartbeat>,
    pub(crate) consumer: consumer::Consumer,
    pub(crate) queue_offset: queue_offset::QueueOffset,
    pub(crate) lock: lock::Lock,
    pub(crate) view: view::View,
    pub(crate) topic: Arc<admin::topic::TopicAdmin>,
    pub(crate) group: Arc<admin::group::GroupAdmin>,
    pub(crate) client: admin::client::ClientAdmin,
    pub(crate) config: Arc<admin::config::ConfigAdmin>,
    pub(crate) held: Arc<HeldPulls>,
    pub(crate) clients: Arc<Clients>,
}

impl Processors {
    #[inline]
    fn handle(&self, turn: &mut Turn, command: &Command<'_>, reply: Reply<'_>) {
        match RequestCode(command.code) {
            RequestCode::SEND_MESSAGE
            | RequestCode::SEND_MESSAGE_V2
            | RequestCode::SEND_BATCH_MESSAGE => {
                run(command, reply, |call| self.send.handle(turn, call));
            }
            RequestCode::PULL_MESSAGE | RequestCode::LITE_PULL_MESSAGE => {
                run(command, reply, |call| self.pull.handle(turn, call));
            }
            RequestCode::UPDATE_CONSUMER_OFFSET => {
                run(command, reply, |call| self.consumer.update_offset(call));
            }
            RequestCode::QUERY_CONSUMER_OFFSET => {
                run(command, reply, |call| self.consumer.query_offset(call));
            }
            RequestCode::HEART_BEAT => run(command, reply, |call| self.heartbeat.beat(call)),
            code => self.handle_rare(code, command, reply),
        }
    }

    /// What is not on the path of every message.
    fn handle_rare(&self, code: RequestCode, command: &Command<'_>, reply: Reply<'_>) {
        match code {
            RequestCode::UNREGISTER_CLIENT => {
                run(command, reply, |call| self.heartbeat.unregister(call));
            }
            RequestCode::CHECK_CLIENT_CONFIG => heartbeat::check_client_config(command.body, reply),
            RequestCode::GET_CONSUMER_LIST_BY_GROUP => {
                run(command, reply, |call| self.consumer.list(call));
            }
            RequestCode::LOCK_BATCH_MQ => run(command, reply, |call| self.lock.lock(call)),
            RequestCode::UNLOCK_BATCH_MQ => run(command, reply, |call| self.lock.unlock(call)),
            RequestCode::SEARCH_OFFSET_BY_TIMESTAMP => {
                run(command, reply, |call| self.queue_offset.search(call));
            }
            RequestCode::GET_MAX_OFFSET => run(command, reply, |call| self.queue_offset.max(call)),
            RequestCode::GET_MIN_OFFSET => run(command, reply, |call| self.queue_offset.min(call)),
            RequestCode::GET_EARLIEST_MSG_STORETIME => {
                run(command, reply, |call| self.queue_offset.earliest(call));
            }
            RequestCode::VIEW_MESSAGE_BY_ID => run(command, reply, |call| self.view.handle(call)),
            RequestCode::UPDATE_AND_CREATE_TOPIC => {
                run(command, reply, |call| self.topic.update(call));
            }
            RequestCode::DELETE_TOPIC_IN_BROKER => {
                run(command, reply, |call| self.topic.delete(call));
            }
            RequestCode::GET_ALL_TOPIC_CONFIG => run(command, reply, |call| self.topic.all(call)),
            RequestCode::GET_TOPIC_CONFIG => run(command, reply, |call| self.topic.get(call)),
            RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => {
                run(command, reply, |call| self.group.update(call));
            }
            RequestCode::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => {
                run(command, reply, |call| self.group.all(call));
            }
            RequestCode::DELETE_SUBSCRIPTIONGROUP => {
                run(command, reply, |call| self.group.delete(call));
            }
            RequestCode::GET_SUBSCRIPTIONGROUP_CONFIG => {
                run(command, reply, |call| self.group.get(call));
            }
            RequestCode::GET_CONSUMER_CONNECTION_LIST => {
                run(command, reply, |call| self.client.consumers(call));
            }
            RequestCode::GET_PRODUCER_CONNECTION_LIST => {
                run(command, reply, |call| self.client.producers(call));
            }
            RequestCode::GET_BROKER_CONFIG => run(command, reply, |call| self.config.get(call)),
            RequestCode::UPDATE_BROKER_CONFIG => {
                run(command, reply, |call| self.config.update(call));
            }
            RequestCode::GET_BROKER_RUNTIME_INFO => {
                run(command, reply, |call| self.config.runtime_info(call));
            }
            code => reply.unsupported(code.0),
        }
    }
}

/// Reads the typed header and hands the call on; a header that does not read is answered here.
#[inline]
fn run<'t, R: Header<'t>>(
    command: &'t Command<'t>,
    reply: Reply<'t>,
    handle: impl FnOnce(Call<'t, R>),
) {
    if let Some(call) = Call::read(command, reply) {
        handle(call);
    }
}

/// The port that a request came in on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    /// `listenPort`.
    Main,
    /// `listenPort` − 2, the VIP port: everything but pulling.
    Fast,
}

/// One port of a broker.
pub(crate) struct Listener {
    pub(crate) port: Port,
    pub(crate) processors: Arc<Processors>,
}

impl Service for Listener {
    type Turn = Turn;

    #[inline]
    fn handle(&self, turn: &mut Turn, command: &Command<'_>, reply: Reply<'_>) {
        if self.port == Port::Fast && !is_fast(RequestCode(command.code)) {
            return reply.unsupported(command.code);
        }
        self.processors.handle(turn, command, reply);
    }

    #[inline]
    fn end_turn(&self, turn: &mut Turn) {
        turn.deliver(&self.processors.held);
    }

    fn closed(&self, connection: &Arc<Connection>) {
        self.processors.clients.closed(connection);
    }
}

/// Whether the fast port serves a code; Apache registers all but these there.
fn is_fast(code: RequestCode) -> bool {
    !matches!(
        code,
        RequestCode::PULL_MESSAGE | RequestCode::LITE_PULL_MESSAGE
    )
}
