// SPDX-License-Identifier: Apache-2.0
//! The request table of a broker: code → processor.
//!
//! A new code needs its typed header in `remoting/src/header`, a processor here, and a line in
//! [`Processors::handle`]; if clients must not use it on the fast port, one in [`is_fast`].

use std::sync::Arc;

use aerobee_auth::{guard::Guard, tables::Tables};
use aerobee_message::record::Record;

use aerobee_remoting::{
    Command, Connection, Corked, Replies, Reply, RequestCode, ResponseCode, Service, audit,
    call::{Call, run},
    header::pop::{AckMessage, ChangeInvisibleTime},
};
use aerobee_store::{AppendError, Store};
use smallvec::SmallVec;

use crate::{
    clients::Clients,
    longpoll::pull::HeldPulls,
    processor::staging::Staging,
    timer::recall::Recall,
    topics::{QueueSlot, Topic, Topics},
    transaction::Transactions,
};

pub(crate) mod ack;
pub(crate) mod admin;
pub(crate) mod answer;
pub(crate) mod assignment;
mod batch_send;
pub(crate) mod consumer;
mod delayed;
pub(crate) mod flushed;
mod half_send;
pub(crate) mod heartbeat;
mod light_send;
pub(crate) mod lite;
mod lite_send;
pub(crate) mod lock;
pub(crate) mod notification;
pub(crate) mod pop;
mod prepare;
pub(crate) mod pull;
pub(crate) mod query;
pub(crate) mod queue_offset;
mod scan;
pub(crate) mod send;
pub(crate) mod send_back;
mod staging;
pub(crate) mod view;

/// State of one turn: the requests that one read of one connection brought. Handles looked up once
/// serve all of them: counting references to what every thread uses costs more than the work itself.
#[derive(Default)]
pub(crate) struct Turn {
    /// The topic of the last request: the next one mostly names it again.
    topic: Option<Arc<Topic>>,
    /// Slots of queues that were sent to.
    slots: SmallVec<[Arc<QueueSlot>; 8]>,
    /// Sends that are not appended yet.
    staging: Option<Box<Staging>>,
    /// Whether the broker takes messages was looked at for this turn.
    takes_messages: bool,
    /// Messages stored so far.
    stored: usize,
    /// Queues with new messages and waiting consumers, each once.
    arrivals: SmallVec<[Arc<QueueSlot>; 4]>,
}

/// Remark of the answer when no thread is free to wait for the disk.
pub(crate) const READS_BUSY: &str =
    "[READS_BUSY]broker busy, too many reads are waiting for the disk; try again later";

/// Up to so many messages a turn is light.
const LIGHT_SENDS: usize = 4;

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

    /// As [`Turn::topic`], but moved out; [`Turn::keep_topic`] puts it back.
    #[inline]
    pub(crate) fn take_topic(&mut self, topics: &Topics, name: &str) -> Option<Arc<Topic>> {
        self.topic(topics, name)?;
        self.topic.take()
    }

    #[inline]
    pub(crate) fn keep_topic(&mut self, topic: Arc<Topic>) {
        self.topic = Some(topic);
    }

    /// The slot of a queue, if anything was ever stored in it: its number in this turn.
    #[inline]
    pub(crate) fn slot(&mut self, topic: &Topic, queue_id: i32) -> Option<usize> {
        let known = self.slots.iter().rposition(|slot| slot.is(topic, queue_id));
        if known.is_some() {
            return known;
        }
        let slot = topic.queue(queue_id)?;
        slot.queue()?;
        self.slots.push(slot);
        Some(self.slots.len() - 1)
    }

    /// The slot of that number.
    pub(crate) fn slot_ref(&self, number: usize) -> &Arc<QueueSlot> {
        &self.slots[number]
    }

    /// As [`Turn::slot_ref`], for as long as the turn is changed.
    pub(crate) fn slot_at(&self, number: usize) -> Arc<QueueSlot> {
        Arc::clone(&self.slots[number])
    }

    /// Whether the sends put off so far have to be appended before there may be more.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.staging
            .as_ref()
            .is_some_and(|staging| staging.is_full())
    }

    /// Encodes a record to be appended at the end of the turn.
    #[inline]
    pub(crate) fn stage(
        &mut self,
        store: &Store,
        slot: usize,
        record: &Record<'_>,
    ) -> Result<&mut Staging, AppendError> {
        let queue = self.slots[slot].queue().ok_or(AppendError::QueueGone)?;
        let staging = self.staging.get_or_insert_with(Staging::take);
        store.stage(&mut staging.staged, queue, record)?;
        Ok(staging)
    }

    pub(crate) fn take_staging(&mut self) -> Option<Box<Staging>> {
        let staging = self.staging.take()?;
        self.stored += staging.sends.len();
        Some(staging)
    }

    /// Whether the turn stored little, and somebody waits for it.
    #[inline]
    pub(crate) fn is_light(&self) -> bool {
        self.arrivals.len() == 1 && self.stored <= LIGHT_SENDS
    }

    /// The queues that were sent to.
    pub(crate) fn all_slots(&self) -> flushed::Slots {
        self.slots.iter().cloned().collect()
    }

    /// Messages have become visible in the queues that were sent to.
    pub(crate) fn all_arrived(&mut self) {
        let Self {
            slots, arrivals, ..
        } = self;
        for slot in slots {
            note_arrival(arrivals, slot);
        }
    }

    /// A message has become visible in this queue.
    #[inline]
    pub(crate) fn arrived(&mut self, slot: &Arc<QueueSlot>) {
        note_arrival(&mut self.arrivals, slot);
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

#[inline]
fn note_arrival(arrivals: &mut SmallVec<[Arc<QueueSlot>; 4]>, slot: &Arc<QueueSlot>) {
    if slot.waiters().any() && !arrivals.iter().any(|known| Arc::ptr_eq(known, slot)) {
        arrivals.push(Arc::clone(slot));
    }
}

/// The processors of a broker; each holds just the parts that it uses.
pub(crate) struct Processors {
    pub(crate) send: Arc<send::Send>,
    pub(crate) send_back: Arc<send_back::SendBack>,
    pub(crate) recall: Arc<Recall>,
    pub(crate) pull: pull::Pull,
    pub(crate) pop: pop::Pop,
    pub(crate) ack: ack::Ack,
    pub(crate) assignment: Arc<assignment::Assignment>,
    pub(crate) heartbeat: Arc<heartbeat::Heartbeat>,
    pub(crate) consumer: consumer::Consumer,
    pub(crate) queue_offset: queue_offset::QueueOffset,
    pub(crate) lock: lock::Lock,
    pub(crate) view: view::View,
    pub(crate) query: query::Query,
    pub(crate) topic: Arc<admin::topic::TopicAdmin>,
    pub(crate) group: Arc<admin::group::GroupAdmin>,
    pub(crate) client: admin::client::ClientAdmin,
    pub(crate) config: Arc<admin::config::ConfigAdmin>,
    pub(crate) cleaning: Arc<admin::cleaning::Cleaning>,
    pub(crate) progress: Arc<admin::progress::Progress>,
    pub(crate) lite: lite::LiteTopics,
    pub(crate) lite_admin: Arc<admin::lite::LiteAdmin>,
    pub(crate) transactions: Arc<Transactions>,
    pub(crate) forward: admin::forward::Forward,
    pub(crate) reset: Arc<admin::reset::Reset>,
    pub(crate) answer: Arc<answer::Answer>,
    pub(crate) auth: admin::auth::AuthAdmin,
    pub(crate) held: Arc<HeldPulls>,
    pub(crate) clients: Arc<Clients>,
}

impl Processors {
    #[inline]
    fn handle(&self, turn: &mut Turn, command: &Command<'_>, mut reply: Reply<'_>) {
        let code = RequestCode(command.code);
        if is_send(code) {
            return run(command, reply, |call| self.send.handle(turn, call));
        }
        if let Some(mut replies) = reply.replies() {
            self.send.commit(turn, &mut replies);
        }
        match code {
            RequestCode::PULL_MESSAGE | RequestCode::LITE_PULL_MESSAGE => {
                run(command, reply, |call| self.pull.handle(turn, call));
            }
            RequestCode::ACK_MESSAGE => {
                run(command, reply, |call: Call<'_, AckMessage<'_>>| match call
                    .request
                    .lite_topic
                    .filter(|lite| !lite.is_empty())
                {
                    Some(lite) => self.lite.ack(lite, call),
                    None => self.ack.ack(turn, call),
                });
            }
            RequestCode::POP_MESSAGE => run(command, reply, |call| self.pop.pop(turn, call)),
            RequestCode::CHANGE_MESSAGE_INVISIBLETIME => {
                run(
                    command,
                    reply,
                    |call: Call<'_, ChangeInvisibleTime<'_>>| match call
                        .request
                        .lite_topic
                        .filter(|lite| !lite.is_empty())
                    {
                        Some(lite) => self.lite.change(lite, call),
                        None => self.ack.change(turn, call),
                    },
                );
            }
            RequestCode::BATCH_ACK_MESSAGE => run(command, reply, |call| self.ack.batch(call)),
            RequestCode::NOTIFICATION => run(command, reply, |call| self.pop.notify(turn, call)),
            RequestCode::PEEK_MESSAGE => run(command, reply, |call| self.pop.peek(turn, call)),
            RequestCode::POLLING_INFO => {
                run(command, reply, |call| self.pop.polling_info(turn, call));
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
        if audit::is_administrative(code) {
            audit::note(command, reply.connection());
        }
        match code {
            RequestCode::CONSUMER_SEND_MSG_BACK => {
                run(command, reply, |call| self.send_back.handle(call));
            }
            RequestCode::RECALL_MESSAGE => run(command, reply, |call| self.recall.handle(call)),
            RequestCode::UNREGISTER_CLIENT => {
                run(command, reply, |call| self.heartbeat.unregister(call));
            }
            RequestCode::CHECK_CLIENT_CONFIG => {
                heartbeat::check_client_config(&self.pull.switches, command.body, reply);
            }
            RequestCode::GET_CONSUMER_LIST_BY_GROUP => {
                run(command, reply, |call| self.consumer.list(call));
            }
            RequestCode::QUERY_ASSIGNMENT => {
                run(command, reply, |call| self.assignment.query(call));
            }
            RequestCode::SET_MESSAGE_REQUEST_MODE => {
                run(command, reply, |call| self.assignment.set_mode(call));
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
            RequestCode::QUERY_MESSAGE => run(command, reply, |call| self.query.handle(call)),
            RequestCode::DELETE_EXPIRED_COMMITLOG => {
                run(command, reply, |call| self.cleaning.expired_log(call));
            }
            RequestCode::CLEAN_EXPIRED_CONSUMEQUEUE => {
                run(command, reply, |call| self.cleaning.expired_queues(call));
            }
            RequestCode::CLEAN_UNUSED_TOPIC => {
                run(command, reply, |call| self.cleaning.unused_topics(call));
            }
            RequestCode::VIEW_MESSAGE_BY_ID => run(command, reply, |call| self.view.handle(call)),
            RequestCode::UPDATE_AND_CREATE_TOPIC => {
                run(command, reply, |call| self.topic.update(call));
            }
            RequestCode::UPDATE_AND_CREATE_TOPIC_LIST => {
                run(command, reply, |call| self.topic.update_list(call));
            }
            RequestCode::DELETE_TOPIC_IN_BROKER => {
                run(command, reply, |call| self.topic.delete(call));
            }
            RequestCode::GET_ALL_TOPIC_CONFIG => run(command, reply, |call| self.topic.all(call)),
            RequestCode::GET_TOPIC_CONFIG => run(command, reply, |call| self.topic.get(call)),
            RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => {
                run(command, reply, |call| self.group.update(call));
            }
            RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => {
                run(command, reply, |call| self.group.update_list(call));
            }
            RequestCode::UPDATE_AND_GET_GROUP_FORBIDDEN => {
                run(command, reply, |call| self.group.forbidden(call));
            }
            RequestCode::GET_ALL_CONSUMER_OFFSET => {
                run(command, reply, |call| self.group.all_offsets(call));
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
            RequestCode::GET_ALL_PRODUCER_INFO => {
                run(command, reply, |call| self.client.all_producers(call));
            }
            RequestCode::GET_CONSUMER_RUNNING_INFO => {
                run(command, reply, |call| self.forward.running_info(call));
            }
            RequestCode::CONSUME_MESSAGE_DIRECTLY => {
                run(command, reply, |call| self.forward.consume_directly(call));
            }
            RequestCode::INVOKE_BROKER_TO_GET_CONSUMER_STATUS => {
                run(command, reply, |call| self.forward.status(call));
            }
            RequestCode::INVOKE_BROKER_TO_RESET_OFFSET => {
                run(command, reply, |call| self.reset.reset(call));
            }
            RequestCode::CLONE_GROUP_OFFSET => {
                run(command, reply, |call| self.reset.clone_offsets(call));
            }
            RequestCode::SEND_REPLY_MESSAGE | RequestCode::SEND_REPLY_MESSAGE_V2 => {
                run(command, reply, |call| self.answer.handle(call));
            }
            RequestCode::END_TRANSACTION => run(command, reply, |call| self.transactions.end(call)),
            RequestCode::RESUME_CHECK_HALF_MESSAGE => {
                run(command, reply, |call| self.transactions.resume(call));
            }
            RequestCode::GET_BROKER_CONFIG => run(command, reply, |call| self.config.get(call)),
            RequestCode::UPDATE_BROKER_CONFIG => {
                run(command, reply, |call| self.config.update(call));
            }
            RequestCode::GET_BROKER_RUNTIME_INFO => {
                run(command, reply, |call| self.config.runtime_info(call));
            }
            RequestCode::SWITCH_TIMER_ENGINE => {
                run(command, reply, |call| self.config.switch_timer_engine(call));
            }
            code if (3_001..=3_010).contains(&code.0) => self.handle_auth(code, command, reply),
            code if (200_070..200_080).contains(&code.0) => {
                self.handle_lite(code, command, reply);
            }
            code => self.handle_progress(code, command, reply),
        }
    }

    /// Lite topics.
    fn handle_lite(&self, code: RequestCode, command: &Command<'_>, reply: Reply<'_>) {
        let admin = &self.lite_admin;
        match code {
            RequestCode::POP_LITE_MESSAGE => run(command, reply, |call| self.lite.pop(call)),
            RequestCode::LITE_SUBSCRIPTION_CTL => {
                run(command, reply, |call| self.lite.subscribe(call));
            }
            RequestCode::GET_BROKER_LITE_INFO => admin.broker(reply),
            RequestCode::GET_PARENT_TOPIC_INFO => {
                run(command, reply, |call| admin.parent_topic(call));
            }
            RequestCode::GET_LITE_TOPIC_INFO => run(command, reply, |call| admin.lite_topic(call)),
            RequestCode::GET_LITE_CLIENT_INFO => run(command, reply, |call| admin.client(call)),
            RequestCode::GET_LITE_GROUP_INFO => run(command, reply, |call| admin.group(call)),
            RequestCode::TRIGGER_LITE_DISPATCH => run(command, reply, |call| admin.trigger(call)),
            code => reply.unsupported(code.0),
        }
    }

    /// Users and access lists.
    fn handle_auth(&self, code: RequestCode, command: &Command<'_>, reply: Reply<'_>) {
        let auth = &self.auth;
        match code {
            RequestCode::AUTH_CREATE_USER => run(command, reply, |call| auth.create_user(call)),
            RequestCode::AUTH_UPDATE_USER => run(command, reply, |call| auth.update_user(call)),
            RequestCode::AUTH_DELETE_USER => run(command, reply, |call| auth.delete_user(call)),
            RequestCode::AUTH_GET_USER => run(command, reply, |call| auth.get_user(call)),
            RequestCode::AUTH_LIST_USER => run(command, reply, |call| auth.list_users(call)),
            RequestCode::AUTH_CREATE_ACL | RequestCode::AUTH_UPDATE_ACL => {
                run(command, reply, |call| auth.put_acl(call));
            }
            RequestCode::AUTH_DELETE_ACL => run(command, reply, |call| auth.delete_acl(call)),
            RequestCode::AUTH_GET_ACL => run(command, reply, |call| auth.get_acl(call)),
            RequestCode::AUTH_LIST_ACL => run(command, reply, |call| auth.list_acls(call)),
            code => reply.unsupported(code.0),
        }
    }

    /// How far topics and groups are.
    fn handle_progress(&self, code: RequestCode, command: &Command<'_>, reply: Reply<'_>) {
        let progress = &self.progress;
        match code {
            RequestCode::GET_TOPIC_STATS_INFO => {
                run(command, reply, |call| progress.topic_stats(call));
            }
            RequestCode::GET_CONSUME_STATS => {
                run(command, reply, |call| progress.consume_stats(call));
            }
            RequestCode::GET_BROKER_CONSUME_STATS => {
                run(command, reply, |call| progress.broker_consume_stats(call));
            }
            RequestCode::QUERY_TOPIC_CONSUME_BY_WHO => {
                run(command, reply, |call| progress.groups_of_topic(call));
            }
            RequestCode::QUERY_TOPICS_BY_CONSUMER => {
                run(command, reply, |call| progress.topics_of_group(call));
            }
            RequestCode::QUERY_SUBSCRIPTION_BY_CONSUMER => {
                run(command, reply, |call| progress.subscription(call));
            }
            RequestCode::QUERY_CONSUME_TIME_SPAN => {
                run(command, reply, |call| progress.time_spans(call));
            }
            RequestCode::QUERY_CORRECTION_OFFSET => {
                run(command, reply, |call| progress.correction_offsets(call));
            }
            RequestCode::QUERY_CONSUME_QUEUE => run(command, reply, |call| progress.entries(call)),
            RequestCode::VIEW_BROKER_STATS_DATA => {
                run(command, reply, |call| progress.broker_stats(call));
            }
            RequestCode::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => progress.system_topics(reply),
            RequestCode::GET_BROKER_HA_STATUS => progress.replication(reply),
            code => admin::absent::refuse(code, reply),
        }
    }
}

#[inline]
fn is_send(code: RequestCode) -> bool {
    matches!(
        code,
        RequestCode::SEND_MESSAGE | RequestCode::SEND_MESSAGE_V2 | RequestCode::SEND_BATCH_MESSAGE
    )
}

/// The port that a request came in on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    /// `listenPort`.
    Main,
    /// `listenPort` − 2, the VIP port: everything but reading messages.
    Fast,
}

/// One port of a broker.
pub(crate) struct Listener {
    pub(crate) port: Port,
    pub(crate) processors: Arc<Processors>,
    /// Who may do what, where that is asked.
    pub(crate) access: Option<Access>,
}

/// Lets requests in, or does not.
pub(crate) struct Access {
    pub(crate) guard: Arc<Guard>,
    pub(crate) tables: Arc<Tables>,
}

impl Access {
    /// The reply to a request that is let in; any other is answered here.
    fn admit<'t>(&self, command: &Command<'_>, reply: Reply<'t>) -> Option<Reply<'t>> {
        // Who asks in this process has checked whom he asks for.
        if reply.is_local() {
            return Some(reply);
        }
        let account = self.tables.account(Guard::claimed(command));
        let connection = reply.connection();
        match self.guard.admit(command, connection, account.as_ref()) {
            Ok(()) => Some(reply),
            Err(denied) => {
                reply.fail(ResponseCode::NO_PERMISSION, denied);
                None
            }
        }
    }
}

impl Service for Listener {
    type Turn = Turn;

    #[inline]
    fn handle(&self, turn: &mut Turn, command: &Command<'_>, reply: Reply<'_>) {
        if self.port == Port::Fast && !is_fast(RequestCode(command.code)) {
            return reply.unsupported(command.code);
        }
        let reply = match &self.access {
            None => reply,
            Some(access) => match access.admit(command, reply) {
                Some(reply) => reply,
                None => return,
            },
        };
        self.processors.handle(turn, command, reply);
    }

    #[inline]
    fn finish(&self, turn: &mut Turn, replies: &mut Replies<'_>) {
        self.processors.send.commit(turn, replies);
        // Few messages for one queue: whoever waits for them comes first, as its answer is all that
        // is left to do. After many, their producers come first.
        if turn.is_light() {
            turn.deliver(&self.processors.held);
        }
    }

    #[inline]
    fn end_turn(&self, turn: &mut Turn) {
        turn.deliver(&self.processors.held);
    }

    fn closed(&self, connection: &Arc<Connection>) {
        self.processors.clients.closed(connection);
    }
}

/// Whether the fast port serves a code. Apache registers there all but those that read messages and may wait for them:
/// they would keep others from being served at once.
fn is_fast(code: RequestCode) -> bool {
    !matches!(
        code,
        RequestCode::PULL_MESSAGE
            | RequestCode::LITE_PULL_MESSAGE
            | RequestCode::POP_MESSAGE
            | RequestCode::PEEK_MESSAGE
            | RequestCode::NOTIFICATION
            | RequestCode::POLLING_INFO
            | RequestCode::POP_LITE_MESSAGE
    )
}
