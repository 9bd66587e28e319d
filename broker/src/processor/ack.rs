// SPDX-License-Identifier: Apache-2.0
//! ACK_MESSAGE (200051), BATCH_ACK_MESSAGE (200151), CHANGE_MESSAGE_INVISIBLETIME (200053). Apache:
//! `AckMessageProcessor`, `ChangeInvisibleTimeProcessor`.

use std::sync::Arc;

use aerobee_remoting::{
    Empty, Reply, ResponseCode,
    body::ack::{BatchAck, BatchAckMessages},
    call::Call,
    fastjson,
    header::pop::{AckMessage, ChangeInvisibleReply, ChangeInvisibleTime},
};
use aerobee_store::{Access, AppendError, FlushMode};

use crate::{
    pop::{
        Pops,
        ack::{Acked, Changed, Named},
        handle::{self, Handle, HandleError},
        journal::MESSAGES_MAX,
    },
    processor::{Turn, pop::Refusal},
    stats::Stats,
    topics::Topic,
};

/// Most check points of one batch of acknowledgements.
const BATCH_MAX: usize = 4_096;

/// Acknowledges.
#[derive(Clone)]
pub(crate) struct Ack {
    pub(crate) pops: Arc<Pops>,
    pub(crate) stats: Arc<Stats>,
}

/// The message that a request names.
struct Meant<'a> {
    group: &'a str,
    topic: &'a str,
    queue_id: i32,
    info: &'a str,
    offset: [i64; 1],
}

impl Meant<'_> {
    fn offset(&self) -> i64 {
        let [offset] = self.offset;
        offset
    }

    fn named(&self) -> Result<Named<'_>, HandleError> {
        Ok(Named {
            group: self.group,
            topic: self.topic,
            queue_id: self.queue_id,
            handle: Handle::parse(self.info)?,
            offsets: &self.offset,
        })
    }
}

/// The same, kept until a thread that may wait for the disk looks at it.
struct Kept {
    group: String,
    topic: String,
    queue_id: i32,
    info: String,
    offset: [i64; 1],
}

impl Kept {
    fn of(meant: &Meant<'_>) -> Self {
        Self {
            group: meant.group.to_owned(),
            topic: meant.topic.to_owned(),
            queue_id: meant.queue_id,
            info: meant.info.to_owned(),
            offset: meant.offset,
        }
    }

    fn meant(&self) -> Meant<'_> {
        Meant {
            group: &self.group,
            topic: &self.topic,
            queue_id: self.queue_id,
            info: &self.info,
            offset: self.offset,
        }
    }
}

/// What became of a batch so far.
#[derive(Debug, Clone, Copy, Default)]
struct Outcome {
    end: Option<i64>,
    illegal: bool,
}

impl Outcome {
    fn add(&mut self, acked: &Acked) {
        match acked {
            Acked::Written(end) => self.end = self.end.max(Some(*end)),
            Acked::Illegal => self.illegal = true,
            Acked::Nothing | Acked::Unsure => {}
        }
    }
}

/// Offsets that a queue has: from the first up to the one after the last.
struct Range {
    min: i64,
    max: i64,
}

/// The last offset of a queue that a request may name. Apache: both processors have their own test.
#[derive(Clone, Copy)]
enum Last {
    /// That of the last message.
    Message,
    /// That of the next one, too.
    Next,
}

impl Range {
    fn has(&self, offset: i64, last: Last) -> bool {
        let end = match last {
            Last::Message => self.max,
            Last::Next => self.max.saturating_add(1),
        };
        (self.min..end).contains(&offset)
    }
}

impl Ack {
    /// Code 200051.
    pub(crate) fn ack(&self, turn: &mut Turn, call: Call<'_, AckMessage<'_>>) {
        let Call { request, reply, .. } = call;
        let meant = Meant {
            group: request.consumer_group,
            topic: request.topic,
            queue_id: request.queue_id,
            info: request.extra_info,
            offset: [request.offset],
        };
        let named = match self.find(turn, &meant, Last::Next) {
            Ok(Some(named)) => named,
            Ok(None) => return reply.ok(),
            Err(refusal) => return refusal.answer(reply),
        };
        match self.pops.acknowledge(&named, Access::HotOnly) {
            Ok(Acked::Unsure) => {
                let reply = reply.defer();
                self.later_with(&meant, move |this, named| {
                    let acked = this.pops.acknowledge(named, Access::Any);
                    this.answer_ack(named, acked, reply);
                });
            }
            acked => self.answer_ack(&named, acked, reply),
        }
    }

    fn answer_ack(&self, named: &Named<'_>, acked: Result<Acked, AppendError>, reply: Reply<'_>) {
        match acked {
            Ok(Acked::Written(end)) => {
                self.count(named, 1);
                self.answer(end, reply);
            }
            Ok(Acked::Nothing | Acked::Unsure) => reply.ok(),
            Ok(Acked::Illegal) => reply.fail(
                ResponseCode::MESSAGE_ILLEGAL,
                format_args!(
                    "offset is illegal, key:{}@{}@{}, offset {:?} is not of the batch that was popped last",
                    named.topic, named.group, named.queue_id, named.offsets
                ),
            ),
            Err(error) => reply.fail(ResponseCode::SYSTEM_ERROR, error),
        }
    }

    /// Runs a job on a thread that may wait for the disk. One that is not run has its reply say
    /// SYSTEM_ERROR.
    fn later(&self, job: impl FnOnce(&Self) + Send + 'static) {
        let this = self.clone();
        let store = Arc::clone(&self.pops.parts().store);
        if store.read_later(Box::new(move |_| job(&this))).is_err() {
            tracing::debug!("too many cold reads are waiting");
        }
    }

    /// As [`Ack::later`], with a message that a request named.
    fn later_with(&self, meant: &Meant<'_>, job: impl FnOnce(&Self, &Named<'_>) + Send + 'static) {
        let kept = Kept::of(meant);
        self.later(move |this| {
            // It was read before.
            if let Ok(named) = kept.meant().named() {
                job(this, &named);
            }
        });
    }

    /// The message that is meant; none when its group is not there, as nothing was popped by it.
    fn find<'m>(
        &self,
        turn: &mut Turn,
        meant: &'m Meant<'_>,
        last: Last,
    ) -> Result<Option<Named<'m>>, Refusal> {
        let Some(topic) = turn.topic(&self.pops.parts().topics, meant.topic) else {
            let remark = format!("topic[{}] not exist, apply first please!", meant.topic);
            return Err(Refusal::new(ResponseCode::TOPIC_NOT_EXIST, remark));
        };
        let queues = topic.read_queues();
        if !(0..queues).contains(&meant.queue_id) {
            let remark = format!(
                "queueId[{}] is illegal, topic:[{}] topicConfig.readQueueNums:[{queues}]",
                meant.queue_id, meant.topic
            );
            return Err(Refusal::new(ResponseCode::MESSAGE_ILLEGAL, remark));
        }
        let range = range_of(topic, meant.queue_id);
        if !range.has(meant.offset(), last) {
            return Err(outside(meant, &range));
        }
        let named = meant
            .named()
            .map_err(|error| Refusal::new(ResponseCode::SYSTEM_ERROR, error.to_string()))?;
        Ok(self.knows_group(meant.group).then_some(named))
    }

    fn knows_group(&self, group: &str) -> bool {
        self.pops.parts().groups.find(group).is_some()
    }

    fn count(&self, named: &Named<'_>, messages: u64) {
        self.stats.of(named.group, named.topic).acked(messages);
    }

    /// SUCCESS, when the acknowledgement is as safe as messages are.
    fn answer(&self, end: i64, reply: Reply<'_>) {
        let parts = self.pops.parts();
        match parts.store.flush_mode() {
            FlushMode::Async => reply.ok(),
            FlushMode::Sync => {
                let reply = reply.defer();
                parts.requeue.when_durable(end, move |_| reply.ok());
            }
        }
    }

    /// Code 200151.
    pub(crate) fn batch(&self, call: Call<'_, Empty>) {
        let Call { body, reply, .. } = call;
        let batch: BatchAckMessages = match fastjson::from_slice(body) {
            Ok(batch) => batch,
            Err(error) if body.is_empty() => {
                return reply.fail(
                    ResponseCode::NO_MESSAGE,
                    format_args!("the body names no messages: {error}"),
                );
            }
            Err(error) => return reply.fail(ResponseCode::SYSTEM_ERROR, error),
        };
        if batch.acks.is_empty() || batch.acks.len() > BATCH_MAX {
            return reply.fail(
                ResponseCode::NO_MESSAGE,
                format_args!(
                    "between 1 and {BATCH_MAX} check points are acknowledged at once, not {}",
                    batch.acks.len()
                ),
            );
        }
        let mut outcome = Outcome::default();
        for (index, ack) in batch.acks.iter().enumerate() {
            match self.batch_entry(ack, &batch.broker_name, Access::HotOnly) {
                Ok(Acked::Unsure) => {
                    // The rest may wait for the disk.
                    let reply = reply.defer();
                    return self.later(move |this| {
                        let rest = batch.acks.iter().skip(index);
                        for ack in rest {
                            match this.batch_entry(ack, &batch.broker_name, Access::Any) {
                                Ok(acked) => outcome.add(&acked),
                                Err(refusal) => return refusal.answer(reply),
                            }
                        }
                        this.answer_batch(&outcome, reply);
                    });
                }
                Ok(acked) => outcome.add(&acked),
                Err(refusal) => return refusal.answer(reply),
            }
        }
        self.answer_batch(&outcome, reply);
    }

    fn answer_batch(&self, outcome: &Outcome, reply: Reply<'_>) {
        let Outcome { end, illegal } = *outcome;
        if illegal {
            return reply.fail(
                ResponseCode::MESSAGE_ILLEGAL,
                "offset is illegal: a message is not of the batch that was popped last",
            );
        }
        match end {
            Some(end) => self.answer(end, reply),
            None => reply.ok(),
        }
    }

    /// One check point of a batch. What is not there is passed over.
    fn batch_entry(&self, ack: &BatchAck, broker: &str, access: Access) -> Result<Acked, Refusal> {
        let parts = self.pops.parts();
        let topic = handle::real_topic(&ack.consumer_group, &ack.topic, &ack.retry);
        let Some(topic) = topic.and_then(|topic| parts.topics.find(&topic)) else {
            return Ok(Acked::Nothing);
        };
        let has_queue = (0..topic.read_queues()).contains(&ack.queue_id);
        if !has_queue || !self.knows_group(&ack.consumer_group) {
            return Ok(Acked::Nothing);
        }
        let Some(mut offsets) = ack.offsets(MESSAGES_MAX) else {
            let remark = "the bit set of a batch is no base64".to_owned();
            return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
        };
        let range = range_of(&topic, ack.queue_id);
        offsets.retain(|offset| range.has(*offset, Last::Next));
        let named = Named {
            group: &ack.consumer_group,
            topic: topic.name(),
            queue_id: ack.queue_id,
            handle: Handle {
                start: ack.start_offset,
                pop_time: ack.pop_time,
                invisible_time: ack.invisible_time,
                revive_queue: ack.revive_queue_id,
                broker,
            },
            offsets: &offsets,
        };
        if offsets.is_empty() {
            return Ok(Acked::Nothing);
        }
        let acked = self
            .pops
            .acknowledge(&named, access)
            .map_err(|error| Refusal::new(ResponseCode::SYSTEM_ERROR, error.to_string()))?;
        if matches!(acked, Acked::Written(_)) {
            self.count(&named, offsets.len() as u64);
        }
        Ok(acked)
    }

    /// Code 200053.
    pub(crate) fn change(&self, turn: &mut Turn, call: Call<'_, ChangeInvisibleTime<'_>>) {
        let Call { request, reply, .. } = call;
        let meant = Meant {
            group: request.consumer_group,
            topic: request.topic,
            queue_id: request.queue_id,
            info: request.extra_info,
            offset: [request.offset],
        };
        let named = match self.find(turn, &meant, Last::Message) {
            Ok(Some(named)) => named,
            Ok(None) => return self.answer_change(Ok(Some(Changed::default())), reply),
            Err(refusal) => return refusal.answer(reply),
        };
        let (time, suspend) = (request.invisible_time, request.suspend);
        match self.pops.change(&named, time, suspend, Access::HotOnly) {
            Ok(None) => {
                let reply = reply.defer();
                self.later_with(&meant, move |this, named| {
                    let changed = this.pops.change(named, time, suspend, Access::Any);
                    this.answer_change(changed, reply);
                });
            }
            changed => self.answer_change(changed, reply),
        }
    }

    fn answer_change(&self, changed: Result<Option<Changed>, AppendError>, reply: Reply<'_>) {
        let changed = match changed {
            Ok(changed) => changed.unwrap_or_default(),
            Err(error) => return reply.fail(ResponseCode::SYSTEM_ERROR, error),
        };
        let header = ChangeInvisibleReply {
            pop_time: changed.pop_time,
            invisible_time: changed.invisible_time,
            revive_qid: changed.revive_queue,
        };
        let parts = self.pops.parts();
        match (parts.store.flush_mode(), changed.end) {
            (FlushMode::Sync, Some(end)) => {
                let reply = reply.defer();
                parts
                    .requeue
                    .when_durable(end, move |_| reply.header(&header));
            }
            _ => reply.header(&header),
        }
    }
}

fn range_of(topic: &Topic, queue_id: i32) -> Range {
    let slot = topic.queue(queue_id);
    let queue = slot.as_ref().and_then(|slot| slot.queue());
    Range {
        min: queue.map_or(0, |queue| queue.min_offset()),
        max: queue.map_or(0, |queue| queue.max_offset()),
    }
}

#[cold]
fn outside(meant: &Meant<'_>, range: &Range) -> Refusal {
    let remark = format!(
        "offset is illegal, key:{}@{}, commit:{}, store:{}~{}",
        meant.topic,
        meant.queue_id,
        meant.offset(),
        range.min,
        range.max
    );
    Refusal::new(ResponseCode::NO_MESSAGE, remark)
}
