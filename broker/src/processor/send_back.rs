// SPDX-License-Identifier: Apache-2.0
//! CONSUMER_SEND_MSG_BACK (36): a message that a consumer could not process is delivered to its group
//! again later, or becomes a dead letter. Apache: `AbstractSendMessageProcessor.consumerSendMsgBack`.
//!
//! The message may be of any age, so all of it runs on a thread that may wait for the disk.

use std::{net::SocketAddr, sync::Arc};

use aerobee_message::{RecordView, id, properties::keys, topic as names};
use aerobee_remoting::{Deferred, ResponseCode, call::Call, header::send::SendMessageBack};
use aerobee_store::{Flushed, Store};

use crate::{
    config::{Identity, Switches},
    delays::{Delays, random_below},
    groups::{Group, Groups},
    requeue::{Message, PutError, Requeue},
    stats::Stats,
    topics::{PERM_WRITE, UNIT_SUBSCRIPTION},
};

/// Clients from this version on say themselves how often a message may be retried.
const V3_4_9: i32 = 121;
/// Delay level of the first retry.
const FIRST_RETRY_LEVEL: i32 = 3;

/// Takes messages back.
pub(crate) struct SendBack {
    pub(crate) store: Arc<Store>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) switches: Arc<Switches>,
    pub(crate) requeue: Arc<Requeue>,
    pub(crate) delays: Arc<Delays>,
    pub(crate) stats: Arc<Stats>,
}

/// A request without its connection.
struct Job {
    offset: i64,
    group: Arc<Group>,
    retry_topic: String,
    delay_level: i32,
    unit_mode: bool,
    max_reconsume_times: i32,
}

#[derive(Debug, thiserror::Error)]
enum BackError {
    #[error("the topic[{0}] sending message is forbidden; give it the permission to write")]
    Forbidden(String),
    #[error("topic[{0}] not exist; it has just been deleted")]
    NoTopic(String),
    #[error("look message by offset failed, {0}; it may have been deleted for its age")]
    Gone(i64),
    #[error("{0}")]
    Put(#[from] PutError),
}

impl SendBack {
    pub(crate) fn handle(self: &Arc<Self>, call: Call<'_, SendMessageBack<'_>>) {
        let Call {
            request,
            command,
            reply,
            ..
        } = call;
        let Ok(group) = self.groups.find_or_create(request.group) else {
            return reply.fail(
                ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST,
                format_args!(
                    "subscription group not exist, {}; create it first, or switch autoCreateSubscriptionGroup on",
                    request.group
                ),
            );
        };
        if !self.switches.writable() {
            return reply.fail(
                ResponseCode::NO_PERMISSION,
                format_args!(
                    "the broker[{}] sending message is forbidden (brokerPermission)",
                    self.identity.address.ip()
                ),
            );
        }
        if group.retry_queues() <= 0 {
            return reply.ok();
        }
        let max_reconsume_times = match request.max_reconsume_times {
            Some(times) if command.version >= V3_4_9 => times,
            _ => group.retry_max_times(),
        };
        let job = Job {
            offset: request.offset,
            retry_topic: names::retry_topic(group.name()),
            group,
            delay_level: request.delay_level,
            unit_mode: request.unit_mode,
            max_reconsume_times,
        };
        let (back, reply) = (Arc::clone(self), reply.defer());
        if self.requeue.topic(&job.retry_topic).is_some() {
            return back.start(job, reply);
        }
        tokio::spawn(async move {
            let queues = job.group.retry_queues();
            let flag = if job.unit_mode { UNIT_SUBSCRIPTION } else { 0 };
            match back
                .requeue
                .ensure_topic(&job.retry_topic, queues, flag)
                .await
            {
                Ok(_) => back.start(job, reply),
                Err(error) => reply.fail(ResponseCode::SYSTEM_ERROR, error),
            }
        });
    }

    fn start(self: Arc<Self>, job: Job, reply: Deferred) {
        let store = Arc::clone(&self.store);
        let run = move |_: &Store| self.run(&job, reply);
        if store.read_later(Box::new(run)).is_err() {
            // The dropped job has answered SYSTEM_ERROR; the client sends the message instead.
            tracing::debug!("too many cold reads are waiting");
        }
    }

    fn run(&self, job: &Job, reply: Deferred) {
        match self.put_back(job) {
            Ok(end) => self.requeue.when_durable(end, move |outcome| match outcome {
                Flushed::Durable => reply.ok(),
                Flushed::TimedOut => reply.fail(
                    ResponseCode::SYSTEM_ERROR,
                    "FLUSH_DISK_TIMEOUT: the message is stored, but not flushed within syncFlushTimeout",
                ),
                Flushed::Failed => reply.fail(
                    ResponseCode::SYSTEM_ERROR,
                    "FLUSH_DISK_TIMEOUT: flushing the disk failed; the broker takes no more messages",
                ),
            }),
            Err(error @ BackError::Forbidden(_)) => {
                reply.fail(ResponseCode::NO_PERMISSION, error);
            }
            Err(error) => reply.fail(ResponseCode::SYSTEM_ERROR, error),
        }
    }

    /// Stores the message anew; where the log ends after it.
    fn put_back(&self, job: &Job) -> Result<i64, BackError> {
        let group = job.group.name();
        let topic = self
            .requeue
            .topic(&job.retry_topic)
            .ok_or_else(|| BackError::NoTopic(job.retry_topic.clone()))?;
        if topic.perm() & PERM_WRITE == 0 {
            return Err(BackError::Forbidden(job.retry_topic.clone()));
        }
        let stored = self
            .store
            .record_at(job.offset)
            .ok_or(BackError::Gone(job.offset))?;
        let record =
            RecordView::parse(stored.as_slice()).map_err(|_| BackError::Gone(job.offset))?;
        let mut message = copy_of(&record);
        let origin = message
            .properties
            .get(keys::RETRY_TOPIC)
            .unwrap_or_default()
            .to_owned();
        let is_dead = record.reconsume_times() >= job.max_reconsume_times || job.delay_level < 0;
        if is_dead {
            message.topic = names::dead_letter_topic(group);
            message.queue_id = 0;
            message.properties.set(keys::DELAY, 0);
            mark_dead(&mut message, &origin);
            tracing::info!(%group, topic = %origin, key = message.properties.get(keys::UNIQ_KEY), reconsume_times = record.reconsume_times(), "a message has become a dead letter");
        } else {
            message.topic.clone_from(&job.retry_topic);
            message.queue_id = random_below(job.group.retry_queues());
            self.delay(&mut message, job, record.reconsume_times());
        }
        let appended = self.requeue.put_blocking(&message)?;
        self.stats.of(group, &origin).sent_back();
        if is_dead {
            self.requeue.events().dead_letters.pair(group, &origin);
        }
        Ok(appended.end)
    }

    /// Makes a message wait for its next attempt.
    fn delay(&self, message: &mut Message, job: &Job, reconsume_times: i32) {
        let level = match job.delay_level {
            0 => FIRST_RETRY_LEVEL.saturating_add(reconsume_times),
            level => level,
        };
        message.properties.set(keys::DELAY, level);
        if let Err(error) = self.delays.divert(message) {
            // A level is never refused.
            tracing::error!(%error, "a message is retried without delay");
        }
    }
}

/// What is stored again of a message.
fn copy_of(record: &RecordView<'_>) -> Message {
    let mut message = Message::of(record);
    let properties = &mut message.properties;
    if properties.get(keys::RETRY_TOPIC).is_none() {
        properties.set(keys::RETRY_TOPIC, record.topic());
    }
    let is_blank = |id: &str| id.trim().is_empty();
    if properties.get(keys::ORIGIN_MESSAGE_ID).is_none_or(is_blank) {
        let mut buffer = id::Buffer::new();
        let host: SocketAddr = record.store_host();
        properties.set(
            keys::ORIGIN_MESSAGE_ID,
            buffer.format(host, record.physical_offset()),
        );
    }
    message.reconsume_times = record.reconsume_times().saturating_add(1);
    message.prepared_transaction_offset = 0;
    message
}

/// Says of a dead letter what it was, for clients of the proxy.
fn mark_dead(message: &mut Message, topic: &str) {
    let properties = &mut message.properties;
    let id = properties
        .get(keys::UNIQ_KEY)
        .or_else(|| properties.get(keys::ORIGIN_MESSAGE_ID))
        .unwrap_or_default()
        .to_owned();
    properties.set(keys::DLQ_ORIGIN_TOPIC, topic);
    properties.set(keys::DLQ_ORIGIN_MESSAGE_ID, id);
}
