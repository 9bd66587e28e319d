// SPDX-License-Identifier: Apache-2.0
//! Popping itself: which queues are read in which order, from where, and what is handed out.

use std::sync::Arc;

use aerobee_message::{
    RecordView,
    properties::{Properties, keys},
    record::{AT_QUEUE_OFFSET, Place, Record, TagsCode},
};
use aerobee_store::{Access, Read, ReadLimits, ReadStatus, Run};
use smallvec::SmallVec;

use crate::{
    filter::Filter,
    pop::{
        POINTS_MAX, PopError, Pops,
        handle::{self, Handle, Kind, ORDER_QUEUE},
        journal::CheckPoint,
        lane::{Lane, TopicLanes},
        order::Update,
        table::{Key, OffsetList, Point},
    },
    stats::Consumption,
    topics::{QueueSlot, Topic},
};

/// What somebody wants to pop, or to look at.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) topic: Arc<Topic>,
    pub(crate) group: Arc<str>,
    /// −1 for any.
    pub(crate) queue_id: i32,
    pub(crate) max_messages: u32,
    pub(crate) invisible_time: i64,
    /// A new group starts at the last message.
    pub(crate) from_last: bool,
    pub(crate) filter: Filter,
    pub(crate) order: bool,
    pub(crate) attempt: Option<Box<str>>,
    pub(crate) consumption: Arc<Consumption>,
    /// Nothing is taken.
    pub(crate) peek: bool,
}

/// Bytes of messages for a client.
#[derive(Debug)]
pub(crate) enum Piece {
    /// As stored.
    Stored(Run),
    /// Written anew.
    Made(Vec<u8>),
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Stored(run) => run.as_slice(),
            Self::Made(bytes) => bytes,
        }
    }
}

/// What was popped.
#[derive(Debug, Default)]
pub(crate) struct Popped {
    pub(crate) pieces: SmallVec<[Piece; 4]>,
    pub(crate) messages: u32,
    pub(crate) bytes: usize,
    pub(crate) pop_time: i64,
    pub(crate) revive_queue: i32,
    /// Messages left behind in the queues that were looked at.
    pub(crate) rest: i64,
    pub(crate) starts: String,
    pub(crate) offsets: String,
    pub(crate) counts: String,
    /// Finding out more may need the disk.
    pub(crate) cold: bool,
    /// When the first of the blocked queues of an ordered pop is free.
    pub(crate) blocked_until: Option<i64>,
    pub(crate) error: Option<PopError>,
}

/// The queues of a topic in the order in which a pop looks at them.
#[derive(Debug, Clone, Copy)]
struct Scan {
    first: i32,
    down: bool,
}

impl Pops {
    /// Pops. With [`Access::HotOnly`] it never blocks.
    pub(crate) fn pop(&self, wanted: &Wanted, access: Access) -> Popped {
        let mut popped = Popped {
            pop_time: self.now(),
            revive_queue: ORDER_QUEUE,
            ..Popped::default()
        };
        if !wanted.order && !wanted.peek {
            let queue = self.next_revive_queue();
            popped.revive_queue = i32::try_from(queue).unwrap_or(0);
            if !self.journal.is_ready() {
                if access == Access::HotOnly {
                    popped.cold = true;
                    return popped;
                }
                if let Err(error) = self.journal.make_ready() {
                    popped.error = Some(error.into());
                    return popped;
                }
            }
            if self.tables[queue].lock().len() >= POINTS_MAX {
                popped.error = Some(PopError::TooMany);
                return popped;
            }
        }
        self.pop_topics(wanted, access, &mut popped);
        popped
    }

    fn pop_topics(&self, wanted: &Wanted, access: Access, popped: &mut Popped) {
        let random = self.random();
        let percent = i32::try_from(random % 100).unwrap_or(0);
        let (by_priority, down, retry_percent, v2, both) = {
            let config = self.parts.switches.config();
            let keys = &config.pop;
            let by_priority =
                !wanted.order && percent < keys.priority_factor && is_priority_topic(&wanted.topic);
            let retry_percent = if by_priority {
                keys.pop_from_retry_probability_for_priority
            } else {
                keys.pop_from_retry_probability
            };
            let v2 = keys.enable_retry_topic_v2;
            let both = v2 && keys.retrieve_message_from_pop_retry_topic_v1;
            (
                by_priority,
                keys.priority_order_asc,
                retry_percent,
                v2,
                both,
            )
        };
        let reads_retry = !wanted.order;
        let retry_first = percent < retry_percent;
        // Both kinds of retry topics share the fields of the answer, so one is read at a time.
        let v2 = v2 && !(both && random >> 32 & 1 == 0);
        if reads_retry && retry_first {
            self.pop_retry(wanted, v2, access, popped);
        }
        let lanes = self.lanes.of(&wanted.group, wanted.topic.name());
        if wanted.queue_id >= 0 {
            self.pop_queue(
                wanted,
                &wanted.topic,
                &lanes,
                wanted.queue_id,
                access,
                popped,
            );
        } else {
            let queues = wanted.topic.read_queues().max(1);
            let random_queue = || {
                let queues = u64::from(queues.unsigned_abs());
                i32::try_from((random >> 16) % queues).unwrap_or(0)
            };
            let scan = match (by_priority, down) {
                (true, true) => Scan {
                    first: queues - 1,
                    down: true,
                },
                (true, false) => Scan {
                    first: 0,
                    down: false,
                },
                (false, _) => Scan {
                    first: random_queue(),
                    down: true,
                },
            };
            self.pop_queues(wanted, &wanted.topic, &lanes, scan, access, popped);
        }
        if reads_retry && !retry_first && popped.messages < wanted.max_messages {
            self.pop_retry(wanted, v2, access, popped);
        }
    }

    fn pop_retry(&self, wanted: &Wanted, v2: bool, access: Access, popped: &mut Popped) {
        let name = handle::retry_topic(&wanted.group, wanted.topic.name(), v2);
        let Some(topic) = self.parts.topics.find(&name) else {
            return;
        };
        let lanes = self.lanes.of(&wanted.group, &name);
        let scan = Scan {
            first: 0,
            down: true,
        };
        self.pop_queues(wanted, &topic, &lanes, scan, access, popped);
    }

    fn pop_queues(
        &self,
        wanted: &Wanted,
        topic: &Arc<Topic>,
        lanes: &TopicLanes,
        scan: Scan,
        access: Access,
        popped: &mut Popped,
    ) {
        let queues = topic.read_queues();
        for step in 0..queues {
            let step = if scan.down { -step } else { step };
            let queue_id = (scan.first + step).rem_euclid(queues);
            self.pop_queue(wanted, topic, lanes, queue_id, access, popped);
        }
    }

    fn pop_queue(
        &self,
        wanted: &Wanted,
        topic: &Arc<Topic>,
        lanes: &TopicLanes,
        queue_id: i32,
        access: Access,
        popped: &mut Popped,
    ) {
        let Some(slot) = topic.queue(queue_id) else {
            return;
        };
        let lane = self.lanes.lane_of(lanes, queue_id);
        let is_full = popped.messages >= wanted.max_messages;
        if wanted.peek {
            if !is_full {
                self.peek_queue(wanted, &slot, &lane, access, popped);
            }
            return;
        }
        if is_full {
            popped.rest += self.behind(&lane, &slot);
            return;
        }
        let Some(taken) = lane.take() else {
            if !wanted.order {
                popped.rest += self.behind(&lane, &slot);
            }
            return;
        };
        self.pop_taken(wanted, &slot, &lane, access, popped);
        drop(taken);
        if lane.was_missed() {
            self.wake(wanted.topic.name(), &wanted.group, queue_id);
        }
    }

    /// Pops from a lane that is ours for the moment.
    fn pop_taken(
        &self,
        wanted: &Wanted,
        slot: &Arc<QueueSlot>,
        lane: &Arc<Lane>,
        access: Access,
        popped: &mut Popped,
    ) {
        if self.has_too_many(lane) {
            popped.rest += self.behind(lane, slot);
            return;
        }
        let offset = self.start_of(lane, slot, wanted.from_last);
        if wanted.order
            && let Some(until) = self.orders.blocked_until(
                &lane.group,
                &lane.topic,
                lane.queue_id,
                wanted.attempt.as_deref(),
                wanted.invisible_time,
                popped.pop_time,
            )
        {
            popped.blocked_until =
                Some(popped.blocked_until.map_or(until, |first| first.min(until)));
            return;
        }
        let max = wanted.max_messages - popped.messages;
        let (offset, read) = self.read(slot, lane, offset, max, &wanted.filter, access);
        if read.status == ReadStatus::Cold {
            popped.cold = true;
            return;
        }
        if read.messages > 0 {
            if let Err(error) = self.hand_out(wanted, lane, offset, &read, popped) {
                tracing::warn!(topic = %lane.topic, group = %lane.group, %error, "messages cannot be popped");
                popped.error = Some(error);
                return;
            }
        } else if matches!(
            read.status,
            ReadStatus::NoMatchedMessage
                | ReadStatus::OffsetFoundNull
                | ReadStatus::MessageWasRemoving
        ) {
            self.commit(lane, read.next);
        }
        popped.rest += (read.max - read.next).max(0);
    }

    /// Reads, once more from where there is something when there is nothing at the offset.
    fn read(
        &self,
        slot: &QueueSlot,
        lane: &Arc<Lane>,
        offset: i64,
        max_messages: u32,
        filter: &Filter,
        access: Access,
    ) -> (i64, Read) {
        let Some(queue) = slot.queue() else {
            return (offset, Read::none(ReadStatus::NoMatchedLogicQueue));
        };
        let limits = ReadLimits {
            max_messages,
            max_bytes: usize::MAX,
        };
        let read = self.parts.store.read(queue, offset, limits, access, filter);
        match read.status {
            ReadStatus::OffsetTooSmall
            | ReadStatus::OffsetOverflowBadly
            | ReadStatus::OffsetFoundNull => {
                let next = read.next;
                self.commit(lane, next);
                (
                    next,
                    self.parts.store.read(queue, next, limits, access, filter),
                )
            }
            _ => (offset, read),
        }
    }

    /// Writes down who has the messages, then hands them out.
    fn hand_out(
        &self,
        wanted: &Wanted,
        lane: &Arc<Lane>,
        start: i64,
        read: &Read,
        popped: &mut Popped,
    ) -> Result<(), PopError> {
        let offsets = offsets_of(read);
        if wanted.order {
            let update = Update {
                attempt: wanted.attempt.as_deref(),
                pop_time: popped.pop_time,
                invisible_time: wanted.invisible_time,
                offsets: &offsets,
            };
            self.orders.popped(
                &lane.group,
                &lane.topic,
                lane.queue_id,
                update,
                &mut popped.counts,
            );
            self.commit(lane, start);
        } else {
            self.check_point(wanted, lane, start, &offsets, read.next, popped)?;
        }
        wanted.consumption.got(read.messages, read.bytes);
        let kind = Kind::of(&lane.topic);
        handle::push_start(&mut popped.starts, kind, lane.queue_id, start);
        handle::push_offsets(&mut popped.offsets, kind, lane.queue_id, &offsets);
        self.add(wanted, kind, start, read, popped);
        Ok(())
    }

    fn check_point(
        &self,
        wanted: &Wanted,
        lane: &Arc<Lane>,
        start: i64,
        offsets: &[i64],
        next: i64,
        popped: &Popped,
    ) -> Result<(), PopError> {
        let distances: SmallVec<[i32; 32]> = offsets
            .iter()
            .map(|offset| i32::try_from(offset - start).unwrap_or(i32::MAX))
            .collect();
        let (index, table) = self
            .table(popped.revive_queue)
            .ok_or(PopError::Append(aerobee_store::AppendError::QueueGone))?;
        let appended = self.journal.check_point(
            index,
            &CheckPoint {
                topic: &lane.topic,
                group: &lane.group,
                queue_id: lane.queue_id,
                broker: &self.parts.identity.broker_name,
                start,
                pop_time: popped.pop_time,
                invisible_time: wanted.invisible_time,
                distances: &distances,
                suspend: false,
            },
        )?;
        self.commit(lane, next);
        let due = popped.pop_time.saturating_add(wanted.invisible_time);
        let key = Key {
            lane: lane.id,
            start,
            pop_time: popped.pop_time,
        };
        let point = Point::new(
            Arc::clone(lane),
            appended.queue_offset,
            wanted.invisible_time,
            due,
            &distances,
        );
        {
            let mut table = table.lock();
            table.insert(key, point);
            table.process(appended.queue_offset);
        }
        wanted.consumption.check_point();
        self.alarm.set(due);
        Ok(())
    }

    /// Adds the bytes of messages; those of retry topics are handed out under the name of the topic.
    pub(super) fn add(
        &self,
        wanted: &Wanted,
        kind: Kind,
        start: i64,
        read: &Read,
        popped: &mut Popped,
    ) {
        popped.messages += read.messages;
        popped.bytes += read.bytes;
        let actual = self
            .parts
            .switches
            .config()
            .pop
            .pop_response_return_actual_retry_topic;
        if kind == Kind::Normal || actual || wanted.peek {
            popped
                .pieces
                .extend(read.runs.iter().cloned().map(Piece::Stored));
            return;
        }
        let handle = Handle {
            start,
            pop_time: popped.pop_time,
            invisible_time: wanted.invisible_time,
            revive_queue: popped.revive_queue,
            broker: &self.parts.identity.broker_name,
        };
        let mut made = Vec::with_capacity(read.bytes + 128 * read.messages as usize);
        for bytes in records_of(read) {
            match RecordView::parse(bytes) {
                Ok(record) => {
                    let handle = handle.text(kind, record.queue_id(), record.queue_offset());
                    push_renamed(&mut made, &record, wanted.topic.name(), &handle);
                }
                Err(_) => made.extend_from_slice(bytes),
            }
        }
        popped.pieces.push(Piece::Made(made));
    }

    pub(super) fn has_too_many(&self, lane: &Lane) -> bool {
        let config = self.parts.switches.config();
        config.pop.enable_pop_message_threshold
            && lane.in_flight() > config.pop.pop_inflight_message_threshold
    }

    /// Messages that the group has not popped.
    pub(super) fn behind(&self, lane: &Arc<Lane>, slot: &QueueSlot) -> i64 {
        let Some(queue) = slot.queue() else {
            return 0;
        };
        let offset = self.committed(lane).unwrap_or_else(|| queue.min_offset());
        (queue.max_offset() - offset).max(0)
    }

    pub(super) fn committed(&self, lane: &Lane) -> Option<i64> {
        let offset = self
            .parts
            .offsets
            .query(&lane.group, &lane.topic, lane.queue_id);
        offset.filter(|offset| *offset >= 0)
    }

    fn commit(&self, lane: &Arc<Lane>, offset: i64) {
        self.parts
            .offsets
            .commit(&lane.group, &lane.topic, lane.queue_id, offset);
    }

    /// Where the group goes on; a new one is given its start.
    fn start_of(&self, lane: &Arc<Lane>, slot: &QueueSlot, from_last: bool) -> i64 {
        let (group, topic, queue_id) = (&lane.group, &lane.topic, lane.queue_id);
        if let Some(offset) = self.parts.offsets.take_reset(group, topic, queue_id) {
            self.orders.clear(group, topic, queue_id);
            self.commit(lane, offset);
            return offset;
        }
        if let Some(offset) = self.committed(lane) {
            return offset;
        }
        let offset = match slot.queue() {
            None => 0,
            Some(queue) => {
                let (min, max) = (queue.min_offset(), queue.max_offset());
                let config = self.parts.switches.config();
                let whole = || {
                    config.pop.init_pop_offset_by_check_msg_in_mem
                        && min <= 0
                        && self.parts.store.is_in_memory(queue, 0)
                };
                if !from_last || Kind::of(&lane.topic) != Kind::Normal {
                    min
                } else if whole() {
                    0
                } else {
                    (max - 1).max(0)
                }
            }
        };
        self.commit(lane, offset);
        offset
    }
}

fn is_priority_topic(topic: &Topic) -> bool {
    let config = topic.config();
    let kind = config.attributes.get("message.type");
    kind.is_some_and(|kind| kind == "PRIORITY")
}

/// The records of a read, which has checked their lengths.
fn records_of(read: &Read) -> impl Iterator<Item = &[u8]> {
    read.runs.iter().flat_map(|run| {
        let mut rest = run.as_slice();
        std::iter::from_fn(move || {
            let length = usize::try_from(u32::from_be_bytes(*rest.first_chunk()?)).ok()?;
            let (record, after) = rest.split_at_checked(length.max(1))?;
            rest = after;
            Some(record)
        })
    })
}

fn offsets_of(read: &Read) -> OffsetList {
    records_of(read)
        .filter_map(|record| record.get(AT_QUEUE_OFFSET..)?.first_chunk().copied())
        .map(i64::from_be_bytes)
        .collect()
}

/// Writes a record under another topic, with its handle.
fn push_renamed(out: &mut Vec<u8>, record: &RecordView<'_>, topic: &str, handle: &str) {
    let properties = record.properties();
    let mut added = Vec::new();
    if properties.get(keys::POP_CK).is_none() {
        Properties::push(&mut added, keys::POP_CK, handle);
    }
    let end: &[u8] = if properties.is_closed() { b"" } else { b"\x02" };
    let renamed = Record {
        topic,
        queue_id: record.queue_id(),
        flag: record.flag(),
        sys_flag: record.sys_flag(),
        born_timestamp: record.born_timestamp(),
        born_host: record.born_host(),
        store_host: record.store_host(),
        reconsume_times: record.reconsume_times(),
        prepared_transaction_offset: record.prepared_transaction_offset(),
        body: record.body(),
        properties: &[properties.0, end, &added],
        tags_code: TagsCode::Hash(0),
    };
    let place = Place {
        queue_offset: record.queue_offset(),
        physical_offset: record.physical_offset(),
        store_timestamp: record.store_timestamp(),
    };
    let start = out.len();
    out.resize(start + renamed.encoded_len(), 0);
    if let Some(out) = out.get_mut(start..) {
        renamed.encode(out, place, record.body_crc());
    }
}
