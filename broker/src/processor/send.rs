// SPDX-License-Identifier: Apache-2.0
//! SEND_MESSAGE (10), SEND_MESSAGE_V2 (310), SEND_BATCH_MESSAGE (320). Apache:
//! `SendMessageProcessor`, `AbstractSendMessageProcessor`, `HookUtils`.
//!
//! The thread that read the request appends the message and writes the answer. Only what has to
//! wait for the disk or for a name server leaves it: a topic or queue that has to be created, and
//! the answer under synchronous flush.

use std::{fmt::Write as _, net::SocketAddr, sync::Arc, time::Instant};

use aerobee_message::{
    id,
    properties::{Properties, keys, pairs},
    record::{Record, TagsCode},
    sysflag, topic as names,
};
use aerobee_remoting::{
    Fields, Replies, Reply, ResponseCode,
    call::Call,
    header::send::{SendMessage, SendReply},
};
use aerobee_store::{AppendError, Appended, FlushMode, Store};
use smallvec::SmallVec;

use crate::{
    clients::locks::Locks,
    config::{Identity, Switches},
    delays::Delays,
    groups::Groups,
    lite::Lite,
    processor::{
        Turn,
        flushed::{Flushing, Slots, StoredSends, Unflushed, UnflushedTurn, Waiting},
        half_send::Half,
        light_send::LightMessage,
        scan::Scan,
        staging::{StagedSend, Staging, StoredSend},
    },
    registration::Registration,
    requeue::PropertyList,
    runtime::Traffic,
    topics::{QueueSlot, Topic, Topics},
    transaction::Transactions,
};

/// Senders from this version on say themselves how often a message may be retried.
const V3_4_9: i32 = 121;
/// A longer body is copied once only, straight into the log.
const STAGED_BODY_MAX: usize = 32 << 10;
/// Remark to a single message with the number of messages of a batch.
const NO_INNER_BATCH: &str =
    "the message is illegal: it has the property INNER_NUM, which the broker gives to batches";
/// Longest properties of a message, bytes.
pub(super) const PROPERTIES_MAX_BYTES: usize = i16::MAX as usize;

/// Stores messages of producers.
pub(crate) struct Send {
    pub(crate) store: Arc<Store>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) locks: Arc<Locks>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) switches: Arc<Switches>,
    pub(crate) registration: Arc<Registration>,
    pub(crate) flushing: Arc<Flushing>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) lite: Arc<Lite>,
    pub(crate) transactions: Arc<Transactions>,
    pub(crate) delays: Arc<Delays>,
}

/// Why a message was not stored.
pub(crate) struct Refusal {
    pub(crate) code: ResponseCode,
    pub(crate) remark: String,
}

/// Who sends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sender {
    pub(crate) version: i32,
    pub(crate) host: SocketAddr,
}

/// The queue that a message goes to.
pub(crate) struct Destination {
    pub(crate) topic: Arc<Topic>,
    pub(crate) slot: Arc<QueueSlot>,
    pub(crate) queue_id: i32,
}

/// What the checks came to.
pub(super) enum Checked {
    Ready(Target),
    /// Files have to be created, or name servers told, before the message can be stored in this
    /// queue; below zero when it is not chosen yet.
    NotYet(i32),
}

/// Where a message goes.
pub(super) struct Target {
    pub(super) topic: Arc<Topic>,
    /// Number of the queue's slot in the turn.
    pub(super) slot: usize,
    pub(super) queue_id: i32,
    /// A message that has failed too often goes to the dead letter topic instead.
    pub(super) is_dead_letter: bool,
}

/// What a request asks for, with the addresses that its message carries.
pub(super) struct Incoming<'a> {
    pub(super) request: &'a SendMessage<'a>,
    /// The header as received, for what has to be done later.
    pub(super) fields: &'a Fields<'a>,
    /// The queue asked for, or chosen once the topic is known; below zero while it is not.
    pub(super) queue_id: i32,
    pub(super) body: &'a [u8],
    pub(super) version: i32,
    pub(super) born_host: SocketAddr,
}

#[cold]
pub(super) fn refusal<T>(code: ResponseCode, remark: String) -> Result<T, Refusal> {
    Err(Refusal { code, remark })
}

impl Send {
    #[inline]
    pub(crate) fn handle(self: &Arc<Self>, turn: &mut Turn, call: Call<'_, SendMessage<'_>>) {
        let Call {
            request,
            body,
            command,
            reply,
        } = call;
        let incoming = Incoming {
            queue_id: request.queue_id,
            request: &request,
            fields: &command.fields,
            body,
            version: command.version,
            born_host: reply.connection().peer(),
        };
        match self.check(turn, &incoming) {
            Ok(Checked::Ready(target)) => {
                self.store(turn, &incoming, &target, reply);
                turn.keep_topic(target.topic);
            }
            Ok(Checked::NotYet(queue_id)) => {
                self.prepare_later(&incoming, queue_id, reply);
            }
            Err(refusal) => reply.fail(refusal.code, refusal.remark),
        }
    }

    /// The checks, in Apache's order.
    pub(super) fn check(
        &self,
        turn: &mut Turn,
        incoming: &Incoming<'_>,
    ) -> Result<Checked, Refusal> {
        let request = incoming.request;
        if !turn.takes_messages {
            self.check_broker()?;
            turn.takes_messages = true;
        }
        let Some(topic) = turn.take_topic(&self.topics, request.topic) else {
            names::validate_topic(request.topic)
                .or_else(|error| refusal(ResponseCode::INVALID_PARAMETER, error.to_string()))?;
            self.check_sendable(request.topic, names::is_not_sendable(request.topic))?;
            return Ok(Checked::NotYet(incoming.queue_id));
        };
        if !self.switches.writable() && topic.config().order {
            return refusal(
                ResponseCode::NO_PERMISSION,
                format!(
                    "the broker[{}] sending message is forbidden: its brokerPermission lacks 2 (write)",
                    self.identity.address.ip()
                ),
            );
        }
        self.check_sendable(request.topic, topic.is_closed_to_clients())?;
        let queue_id = choose_queue(&topic, incoming.queue_id)?;
        let is_retry = request.topic.starts_with(names::RETRY_PREFIX);
        if request.batch && (is_retry || request.topic.len() > names::TOPIC_MAX_BYTES) {
            return refusal(
                ResponseCode::MESSAGE_ILLEGAL,
                "batch request does not support retry topics or topics longer than 127 bytes"
                    .to_owned(),
            );
        }
        if is_retry && self.is_dead_letter(incoming)? {
            return self.dead_letter_target(turn, request);
        }
        Ok(target(turn, topic, queue_id, false))
    }

    fn check_broker(&self) -> Result<(), Refusal> {
        let held = self.store.lock_held_millis();
        if held > self.switches.page_cache_busy_millis() {
            return refusal(
                ResponseCode::SYSTEM_BUSY,
                format!(
                    "[PC_SYNCHRONIZED]broker busy, start flow control for a while; the log has been locked for {held} ms"
                ),
            );
        }
        let starts_at = self.switches.accepts_sends_from();
        if starts_at > 0 && self.store.clock().millis() < starts_at {
            return refusal(
                ResponseCode::SYSTEM_ERROR,
                format!(
                    "broker unable to service, until {starts_at} (startAcceptSendRequestTimeStamp)"
                ),
            );
        }
        Ok(())
    }

    fn check_sendable(&self, topic: &str, is_closed: bool) -> Result<(), Refusal> {
        if is_closed {
            return refusal(
                ResponseCode::NO_PERMISSION,
                format!("Sending message to topic[{topic}] is forbidden."),
            );
        }
        Ok(())
    }

    /// Whether a message for a retry topic has had its attempts. Apache: `handleRetryAndDLQ`.
    pub(super) fn is_dead_letter(&self, incoming: &Incoming<'_>) -> Result<bool, Refusal> {
        let request = incoming.request;
        let name = names::group_of_retry_topic(request.topic);
        let group = match self.groups.find_or_create(name) {
            Ok(group) => group,
            Err(_) => {
                return refusal(
                    ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST,
                    format!("subscription group not exist, {name}"),
                );
            }
        };
        let most = match request.max_reconsume_times {
            Some(most) if incoming.version >= V3_4_9 => most,
            _ => group.retry_max_times(),
        };
        // Only an orderly consumer holds locks, and it sends a message here when it gives it up.
        Ok(request.reconsume_times > most || self.locks.has_any(name))
    }

    fn dead_letter_target(
        &self,
        turn: &mut Turn,
        request: &SendMessage<'_>,
    ) -> Result<Checked, Refusal> {
        let group = names::group_of_retry_topic(request.topic);
        let Some(topic) = self.topics.find(&names::dead_letter_topic(group)) else {
            return Ok(Checked::NotYet(0));
        };
        Ok(target(turn, topic, 0, true))
    }

    #[inline]
    pub(super) fn store(
        self: &Arc<Self>,
        turn: &mut Turn,
        incoming: &Incoming<'_>,
        target: &Target,
        reply: Reply<'_>,
    ) {
        if incoming.request.batch {
            self.store_batch(turn, incoming, target, reply);
        } else {
            self.store_one(turn, incoming, target, reply);
        }
    }

    #[inline]
    fn store_one(
        self: &Arc<Self>,
        turn: &mut Turn,
        incoming: &Incoming<'_>,
        target: &Target,
        mut reply: Reply<'_>,
    ) {
        let request = incoming.request;
        let scan = Scan::of(pairs(request.properties));
        if let Err(refusal) = self.check_message(incoming) {
            return reply.fail(refusal.code, refusal.remark);
        }
        if scan.has_inner_number {
            return reply.fail(ResponseCode::MESSAGE_ILLEGAL, NO_INNER_BATCH);
        }
        if (scan.is_delayed || scan.is_timer) && !scan.is_half(request) {
            return self.store_delayed(turn, incoming, target, &scan, reply);
        }
        if let Some(lite) = scan.lite
            && !scan.is_half(request)
            && !target.is_dead_letter
        {
            return self.store_lite(turn, incoming, target, (&scan, lite), reply);
        }
        let made_key;
        let unique_key = match scan.unique_key {
            Some(key) => key,
            None => {
                made_key = id::unique_key();
                made_key.as_str()
            }
        };
        let rebuilt;
        let mut pieces: SmallVec<[&[u8]; 6]> = SmallVec::new();
        if scan.has_broker_keys || target.is_dead_letter {
            rebuilt = rebuild(
                request.properties.as_bytes(),
                target.is_dead_letter,
                scan.loses_priority,
            );
            pieces.push(&rebuilt);
        } else if !request.properties.is_empty() {
            pieces.push(request.properties.as_bytes());
            if !request.properties.ends_with('\u{2}') {
                pieces.push(b"\x02");
            }
        }
        pieces.push(&self.identity.properties);
        if scan.unique_key.is_none() {
            let name: &[u8] = keys::UNIQ_KEY.as_bytes();
            pieces.extend_from_slice(&[name, b"\x01", unique_key.as_bytes(), b"\x02"]);
        }
        let properties_bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
        if properties_bytes > PROPERTIES_MAX_BYTES {
            return reply.fail(
                ResponseCode::MESSAGE_ILLEGAL,
                format_args!("message properties length is {properties_bytes}, the limit is {PROPERTIES_MAX_BYTES} bytes"),
            );
        }
        if scan.is_half(request) {
            let half = Half {
                scan: &scan,
                unique_key,
                pieces,
            };
            return self.store_half(turn, incoming, target, half, reply);
        }
        let mut at = (target.slot, target.queue_id);
        if let Some(priority) = scan.priority {
            let queue_id = queue_of_priority(&target.topic, priority);
            match turn.slot(&target.topic, queue_id) {
                Some(slot) => at = (slot, queue_id),
                None if reply.replies().is_some() => {
                    return self.prepare_later(incoming, queue_id, reply);
                }
                None => {}
            }
        }
        let (slot_number, queue_id) = at;
        let record = Record {
            queue_id,
            ..self.record(incoming, target, &pieces, scan.tags_code())
        };
        if let Some(names) = scan.light_queues
            && self.switches.light_queues()
        {
            let message = LightMessage {
                record: &record,
                names,
                unique_key,
                waits: scan.waits,
            };
            return self.store_light(turn, target, &message, reply);
        }
        if let Some(mut replies) = reply.replies() {
            let is_small = incoming.body.len() <= STAGED_BODY_MAX;
            if !is_small || turn.is_full() {
                self.commit(turn, &mut replies);
            }
            if is_small {
                return match turn.stage(&self.store, slot_number, &record) {
                    Ok(staging) => {
                        let key = staging.keep_key(unique_key);
                        staging.sends.push(StagedSend {
                            ticket: reply.ticket(),
                            slot: slot_number,
                            queue_id,
                            key,
                            waits: scan.waits,
                            is_ordered: scan.is_ordered,
                        });
                    }
                    Err(error) => fail(&error, reply),
                };
            }
        }
        let slot = turn.slot_at(slot_number);
        let started = Instant::now();
        let result = slot.append_as(&self.store, &record, scan.is_ordered);
        self.traffic.put.record(started.elapsed(), 1);
        match result {
            Ok(appended) => {
                let stored = Stored::new(&slot, queue_id, appended, unique_key, scan.waits);
                self.stored(turn, &stored, reply);
            }
            Err(error) => {
                self.traffic.put_failed();
                fail(&error, reply);
            }
        }
    }

    /// Appends the sends of the turn that were put off, and answers them: at once, or, under synchronous
    /// flush, all together when they are durable.
    #[inline]
    pub(crate) fn commit(&self, turn: &mut Turn, replies: &mut Replies<'_>) {
        let Some(mut staging) = turn.take_staging() else {
            return;
        };
        let Staging {
            staged,
            sends,
            keys,
        } = &mut *staging;
        let started = Instant::now();
        let count = sends.len();
        let is_sync = self.store.flush_mode() == FlushMode::Sync;
        let mut unflushed = StoredSends::with_capacity(if is_sync { count } else { 0 });
        let mut stored_up_to = None;
        let mut sends = sends.drain(..);
        self.store.append_staged(staged, |_, result| {
            let Some(sent) = sends.next() else {
                return;
            };
            let appended = match result {
                Ok(appended) => appended,
                Err(error) => {
                    self.traffic.put_failed();
                    return fail(&error, replies.reply(sent.ticket));
                }
            };
            turn.slot_ref(sent.slot)
                .count(1, sent.is_ordered, &appended);
            stored_up_to = Some(appended.end);
            let send = StoredSend {
                ticket: sent.ticket,
                queue_id: sent.queue_id,
                appended,
                key: sent.key,
            };
            if is_sync && sent.waits {
                unflushed.push(send);
            } else {
                send.answer(ResponseCode::SUCCESS, "", keys, &self.identity, replies);
            }
        });
        drop(sends);
        self.traffic.put.record(started.elapsed(), count as u64);
        match stored_up_to {
            Some(_) if !is_sync => turn.all_arrived(),
            Some(end) => {
                let waiting = if unflushed.is_empty() {
                    Waiting::Nobody
                } else {
                    let sends = UnflushedTurn::new(unflushed, keys, &self.identity, replies);
                    Waiting::Turn(sends)
                };
                self.flushing.wait(end, waiting, turn.all_slots());
            }
            None => {}
        }
        staging.release();
    }

    /// Consumers see a message at once, or, under synchronous flush, when it is flushed.
    pub(super) fn arrived(&self, turn: &mut Turn, slot: &Arc<QueueSlot>) {
        if self.store.flush_mode() == FlushMode::Async {
            turn.arrived(slot);
        }
    }

    pub(super) fn check_message(&self, incoming: &Incoming<'_>) -> Result<(), Refusal> {
        let limit = self.switches.max_message_bytes();
        if incoming.body.is_empty() || incoming.body.len() > limit {
            return refusal(
                ResponseCode::MESSAGE_ILLEGAL,
                format!(
                    "the message is illegal, maybe msg body or properties length not matched. msg body length limit {limit}B, msg properties length limit 32KB; the body has {} bytes",
                    incoming.body.len()
                ),
            );
        }
        Ok(())
    }

    /// The properties of a message with those that the broker sets, open to change.
    pub(super) fn editable_properties(
        &self,
        incoming: &Incoming<'_>,
        unique_key: &str,
    ) -> PropertyList {
        let text = incoming.request.properties.as_bytes();
        let mut properties = PropertyList::of(Properties(text));
        properties.remove(keys::POP_CK);
        for (name, value) in Properties(&self.identity.properties).iter() {
            properties.set(name, value);
        }
        properties.set(keys::UNIQ_KEY, unique_key);
        properties
    }

    /// The record of a message as it goes to its own queue, with these properties.
    #[inline]
    pub(super) fn record<'r>(
        &self,
        incoming: &Incoming<'r>,
        target: &'r Target,
        properties: &'r [&'r [u8]],
        tags_code: TagsCode,
    ) -> Record<'r> {
        let request = incoming.request;
        Record {
            topic: target.topic.name(),
            queue_id: target.queue_id,
            flag: request.flag,
            sys_flag: stored_sys_flag(request.sys_flag, &target.topic),
            born_timestamp: request.born_timestamp,
            born_host: incoming.born_host,
            store_host: self.identity.address,
            reconsume_times: request.reconsume_times,
            prepared_transaction_offset: 0,
            body: incoming.body,
            properties,
            tags_code,
        }
    }

    /// One message is in the log: its producer is answered, and its consumers are served.
    #[inline]
    pub(super) fn stored(&self, turn: &mut Turn, stored: &Stored<'_>, reply: Reply<'_>) {
        self.answer(stored, &[stored.first], reply);
        self.arrived(turn, stored.slot);
    }

    /// Answers the producer.
    #[inline]
    pub(super) fn answer(&self, stored: &Stored<'_>, all: &[Appended], reply: Reply<'_>) {
        let mut ids = String::new();
        let mut single = id::Buffer::new();
        let message_id = match all {
            [one] => single.format(self.identity.address, one.physical),
            many => {
                for one in many {
                    let comma = if ids.is_empty() { "" } else { "," };
                    let mut buffer = id::Buffer::new();
                    // Writing into a string cannot fail.
                    let _ = write!(
                        ids,
                        "{comma}{}",
                        buffer.format(self.identity.address, one.physical)
                    );
                }
                &ids
            }
        };
        let queue_offset = stored.first.queue_offset;
        let header = SendReply {
            transaction_id: Some(stored.transaction_id),
            batch_uniq_id: stored.batch_key,
            recall_handle: stored.recall_handle,
            ..self
                .identity
                .send_reply(message_id, stored.queue_id, queue_offset)
        };
        match self.store.flush_mode() {
            FlushMode::Async => reply.header(&header),
            // Consumers see the message when it is flushed, whether the producer waits or not.
            FlushMode::Sync => {
                let waiting = if stored.waits {
                    Waiting::One(Unflushed::new(reply.defer(), &header, &self.identity))
                } else {
                    reply.header(&header);
                    Waiting::Nobody
                };
                let slots = Slots::from_iter([Arc::clone(stored.slot)]);
                self.flushing.wait(stored.first.end, waiting, slots);
            }
        }
    }
}

/// A message, or a batch, that is in the log.
pub(super) struct Stored<'a> {
    pub(super) slot: &'a Arc<QueueSlot>,
    pub(super) queue_id: i32,
    /// The first message; its `end` is that of the last.
    pub(super) first: Appended,
    pub(super) transaction_id: &'a str,
    pub(super) recall_handle: Option<&'a str>,
    /// Of a batch that stays one record.
    pub(super) batch_key: Option<&'a str>,
    pub(super) waits: bool,
}

impl<'a> Stored<'a> {
    /// One message that cannot be recalled.
    #[inline]
    pub(super) fn new(
        slot: &'a Arc<QueueSlot>,
        queue_id: i32,
        first: Appended,
        transaction_id: &'a str,
        waits: bool,
    ) -> Self {
        Self {
            slot,
            queue_id,
            first,
            transaction_id,
            recall_handle: None,
            batch_key: None,
            waits,
        }
    }
}

pub(super) fn target(
    turn: &mut Turn,
    topic: Arc<Topic>,
    queue_id: i32,
    is_dead_letter: bool,
) -> Checked {
    match turn.slot(&topic, queue_id) {
        Some(slot) => Checked::Ready(Target {
            topic,
            slot,
            queue_id,
            is_dead_letter,
        }),
        None => Checked::NotYet(queue_id),
    }
}

pub(super) fn choose_queue(topic: &Topic, wanted: i32) -> Result<i32, Refusal> {
    if wanted < 0 {
        return Ok(topic.next_write_queue());
    }
    if wanted >= topic.most_queues() {
        return illegal_queue(topic, wanted);
    }
    Ok(wanted)
}

/// The queue of a priority, whatever the sender asked for; 0 is the lowest.
pub(super) fn queue_of_priority(topic: &Topic, priority: i32) -> i32 {
    priority.min(topic.write_queues() - 1).max(0)
}

#[cold]
pub(super) fn illegal_queue<T>(topic: &Topic, wanted: i32) -> Result<T, Refusal> {
    refusal(
        ResponseCode::INVALID_PARAMETER,
        format!(
            "request queueId[{wanted}] is illegal, topic[{}] has {} write and {} read queues",
            topic.name(),
            topic.write_queues(),
            topic.read_queues()
        ),
    )
}

/// Transaction bits without a transaction would hide the message from consumers; inner batches
/// come with topics of their own.
pub(crate) fn stored_sys_flag(requested: i32, topic: &Topic) -> i32 {
    let kept = requested & (sysflag::COMPRESSED | sysflag::COMPRESSION_TYPE_MASK);
    if topic.is_multi_tag() {
        kept | sysflag::MULTI_TAGS
    } else {
        kept
    }
}

/// The properties without those that the broker sets itself.
#[cold]
fn rebuild(properties: &[u8], is_dead_letter: bool, loses_priority: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(properties.len() + 16);
    for (name, value) in Properties(properties).iter() {
        let dropped = matches!(
            name,
            keys::MSG_REGION | keys::TRACE_ON | keys::CLUSTER | keys::POP_CK
        ) || (is_dead_letter && name == keys::DELAY)
            || (loses_priority && name == keys::PRIORITY);
        if !dropped {
            Properties::push(&mut out, name, value);
        }
    }
    out
}

#[cold]
pub(super) fn fail(error: &AppendError, reply: Reply<'_>) {
    let refusal = refusal_of(error);
    reply.fail(refusal.code, refusal.remark);
}

pub(super) fn refusal_of(error: &AppendError) -> Refusal {
    Refusal {
        code: code_of(error),
        remark: error.to_string(),
    }
}

/// The one place where errors of the store become response codes. In every case nothing is stored.
pub(crate) fn code_of(error: &AppendError) -> ResponseCode {
    match error {
        AppendError::ReadOnly(_) => ResponseCode::SERVICE_NOT_AVAILABLE,
        AppendError::TooLarge { .. } => ResponseCode::MESSAGE_ILLEGAL,
        _ => ResponseCode::SYSTEM_ERROR,
    }
}
