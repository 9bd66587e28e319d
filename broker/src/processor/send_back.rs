// SPDX-License-Identifier: Apache-2.0
//! CONSUMER_SEND_MSG_BACK (36): a message that a consumer could not process is delivered to its group
//! again later, or becomes a dead letter. Apache: `AbstractSendMessageProcessor.consumerSendMsgBack`.
//!
//! A message that was stored lately is taken from memory by the thread that has the request; an older one, on a thread
//! that may wait for the disk.

use std::{net::SocketAddr, sync::Arc};

use aerobee_message::{RecordView, id, properties::keys, topic as names};
use aerobee_remoting::{Reply, ResponseCode, call::Call, header::send::SendMessageBack};
use aerobee_store::{Appended, FlushMode, Flushed, Run, Store};

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

/// A message as it is stored once more.
struct Again {
    message: Message,
    /// The topic that it was first sent to.
    origin: String,
    is_dead: bool,
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
        let back = Arc::clone(self);
        if self.requeue.topic(&job.retry_topic).is_some() {
            return back.start(job, reply);
        }
        let reply = reply.defer();
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

    /// Puts the message back at once when it is in memory and its queue there; else a thread does that may wait.
    fn start(self: Arc<Self>, job: Job, reply: Reply<'_>) {
        let Some(run) = self.store.recent_record_at(job.offset) else {
            return self.later(reply, move |back| {
                let stored = back.store.record_at(job.offset);
                let stored = stored.ok_or(BackError::Gone(job.offset))?;
                let again = back.again(&job, &stored)?;
                back.put_blocking(&job.group, &again)
            });
        };
        let again = match self.again(&job, &run) {
            Ok(again) => again,
            Err(error) => return self.answer(Err(error), reply),
        };
        match self.requeue.try_put(&again.message) {
            Some(put) => {
                let end = self.has_put(&job.group, &again, put);
                self.answer(end, reply);
            }
            None => self.later(reply, move |back| back.put_blocking(&job.group, &again)),
        }
    }

    /// Does what may have to wait on a thread that may.
    fn later(
        self: Arc<Self>,
        reply: Reply<'_>,
        put: impl FnOnce(&Self) -> Result<i64, BackError> + Send + 'static,
    ) {
        let (store, reply) = (Arc::clone(&self.store), reply.defer());
        let run = move |_: &Store| self.answer(put(&self), reply);
        if store.read_later(Box::new(run)).is_err() {
            // The dropped job has answered SYSTEM_ERROR; the client sends the message instead.
            tracing::debug!("too many cold reads are waiting");
        }
    }

    /// `end`: where the log ends after the message.
    fn answer(&self, end: Result<i64, BackError>, reply: Reply<'_>) {
        let end = match end {
            Ok(end) => end,
            Err(error @ BackError::Forbidden(_)) => {
                return reply.fail(ResponseCode::NO_PERMISSION, error);
            }
            Err(error) => return reply.fail(ResponseCode::SYSTEM_ERROR, error),
        };
        if self.store.flush_mode() == FlushMode::Async {
            return reply.ok();
        }
        let reply = reply.defer();
        self.requeue.when_durable(end, move |outcome| match outcome {
            Flushed::Durable => reply.ok(),
            Flushed::TimedOut => reply.fail(
                ResponseCode::SYSTEM_ERROR,
                "FLUSH_DISK_TIMEOUT: the message is stored, but not flushed within syncFlushTimeout",
            ),
            Flushed::Failed => reply.fail(
                ResponseCode::SYSTEM_ERROR,
                "FLUSH_DISK_TIMEOUT: flushing the disk failed; the broker takes no more messages",
            ),
        });
    }

    /// What is to be stored of a message that is given back.
    fn again(&self, job: &Job, stored: &Run) -> Result<Again, BackError> {
        let group = job.group.name();
        let topic = self
            .requeue
            .topic(&job.retry_topic)
            .ok_or_else(|| BackError::NoTopic(job.retry_topic.clone()))?;
        if topic.perm() & PERM_WRITE == 0 {
            return Err(BackError::Forbidden(job.retry_topic.clone()));
        }
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
        Ok(Again {
            message,
            origin,
            is_dead,
        })
    }

    fn put_blocking(&self, group: &Group, again: &Again) -> Result<i64, BackError> {
        self.has_put(group, again, self.requeue.put_blocking(&again.message))
    }

    /// Counts a message that was stored anew; where the log ends after it.
    fn has_put(
        &self,
        group: &Group,
        again: &Again,
        put: Result<Appended, PutError>,
    ) -> Result<i64, BackError> {
        let appended = put?;
        self.stats.of(group.name(), &again.origin).sent_back();
        if again.is_dead {
            let dead = &self.requeue.events().dead_letters;
            dead.pair(group.name(), &again.origin);
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
