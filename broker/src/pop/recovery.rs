// SPDX-License-Identifier: Apache-2.0
//! Reading the journal back: at start all of it that is not done with, later what others wrote into
//! it, which is the timer that still held records of the broker before.

use aerobee_message::{RecordView, properties::keys};
use aerobee_store::{Access, Boundary, ReadLimits, ReadStatus};

use crate::pop::{
    Pops, REVIVE_GROUP, SEEN_GROUP,
    journal::{AckEntry, CheckPointEntry, Entry},
    table::{Key, Point, Table},
};

/// Queue ids that a topic can have lie below.
const QUEUE_ID_END: i32 = 65_536;
/// A record that is younger may be one that this broker is about to process, ms.
const SETTLED_AFTER: i64 = 1_000;
/// A check point is written so soon before or after its pop time, ms.
const WRITTEN_WITHIN: i64 = 1_000;
/// Most entries that are looked through for one.
const WRITTEN_SCAN_MAX: i64 = 50_000;
/// How long after its time a check point that came through a timer waits for acknowledgements that
/// come the same way, ms. Apache waits 2 s, and knows how far its timer is.
const TIMER_SLACK: i64 = 5_000;

/// A record of the journal.
struct Found {
    position: i64,
    store_timestamp: i64,
    /// It came through a timer, and so from another broker.
    is_timed: bool,
    entry: Option<Entry>,
}

impl Pops {
    /// Reads all that is not done with.
    pub(super) fn recover(&self) {
        let mut entries = 0u64;
        for index in 0..self.tables.len() {
            let Some(queue) = self.journal.queues()[index].queue() else {
                continue;
            };
            let committed = |group| self.journal_offset(group, index);
            let seen = committed(SEEN_GROUP).unwrap_or(0);
            let done = committed(REVIVE_GROUP).unwrap_or(-1);
            let end = queue.max_offset();
            let start = (done + 1).clamp(queue.min_offset(), end.max(queue.min_offset()));
            *self.tables[index].lock() = Table::new(start);
            let mut next = start;
            while next < end {
                let (found, after) = self.journal_entries(index, next);
                entries += found.len() as u64;
                let mut table = self.tables[index].lock();
                for found in found {
                    if let Some(Entry::CheckPoint(point)) = &found.entry
                        && found.position >= seen
                        && !found.is_timed
                    {
                        self.lift_offset(point);
                    }
                    self.apply(&mut table, &found);
                }
                table.skip_to(after);
                next = after;
            }
        }
        let points: usize = self.tables.iter().map(|table| table.lock().len()).sum();
        if entries > 0 {
            tracing::info!(entries, points, "popped messages that are not acknowledged");
        }
    }

    /// Whether this broker has written a check point, be it done with or not. Blocks.
    pub(super) fn has_written(&self, index: usize, key: Key) -> bool {
        let Some(queue) = self.journal.queues()[index].queue() else {
            return false;
        };
        let (from, until) = (key.pop_time - WRITTEN_WITHIN, key.pop_time + WRITTEN_WITHIN);
        let mut next = self
            .parts
            .store
            .offset_by_time(queue, from, Boundary::Lower);
        let last = queue.max_offset().min(next + WRITTEN_SCAN_MAX);
        while next < last {
            let (entries, after) = self.journal_entries(index, next);
            for found in entries {
                if found.store_timestamp > until {
                    return false;
                }
                if let Some(Entry::CheckPoint(point)) = &found.entry
                    && (point.start, point.pop_time) == (key.start, key.pop_time)
                    && !found.is_timed
                    && self.lane_of_entry(point) == Some(key.lane)
                {
                    return true;
                }
            }
            next = after;
        }
        false
    }

    fn lane_of_entry(&self, point: &CheckPointEntry) -> Option<u32> {
        let (topic, group) = (point.topic.as_ref()?, point.group.as_ref()?);
        Some(self.lanes.lane(group, topic, point.queue_id).id)
    }

    fn journal_offset(&self, group: &str, index: usize) -> Option<i64> {
        let queue_id = i32::try_from(index).ok()?;
        self.parts
            .offsets
            .query(group, self.journal.topic(), queue_id)
    }

    /// The offsets of consumers are written every few seconds; check points say how far they were.
    fn lift_offset(&self, point: &CheckPointEntry) {
        let (Some(topic), Some(group)) = (&point.topic, &point.group) else {
            return;
        };
        let last = point.distances().last().copied().unwrap_or_default();
        let next = point
            .start
            .saturating_add(i64::from(last))
            .saturating_add(1);
        let offsets = &self.parts.offsets;
        let known = offsets.query(group, topic, point.queue_id);
        if known.is_none_or(|known| known < next) {
            offsets.commit(group, topic, point.queue_id, next);
        }
    }

    /// Entries of a queue of the journal from a position on, and where to go on.
    fn journal_entries(&self, index: usize, from: i64) -> (Vec<Found>, i64) {
        let Some(queue) = self.journal.queues()[index].queue() else {
            return (Vec::new(), from);
        };
        let limits = ReadLimits {
            max_messages: 256,
            max_bytes: usize::MAX,
        };
        let store = &self.parts.store;
        let read = store.read(queue, from, limits, Access::Any, |_| true);
        let next = match read.status {
            ReadStatus::Found
            | ReadStatus::NoMatchedMessage
            | ReadStatus::MessageWasRemoving
            | ReadStatus::OffsetFoundNull
            | ReadStatus::OffsetTooSmall => read.next.max(from + 1),
            _ => queue.max_offset().max(from + 1),
        };
        let mut found = Vec::new();
        for run in &read.runs {
            let mut rest = run.as_slice();
            while let Ok(record) = RecordView::parse(rest) {
                rest = rest.get(record.total_len()..).unwrap_or_default();
                found.push(Found::of(&record));
            }
        }
        (found, next)
    }

    /// Applies what others wrote into the journal.
    pub(super) fn scan(&self, index: usize, now: i64) {
        loop {
            let from = self.tables[index].lock().processed();
            let Some(queue) = self.journal.queues()[index].queue() else {
                return;
            };
            if from >= queue.max_offset() {
                return;
            }
            let (found, next) = self.journal_entries(index, from);
            let mut table = self.tables[index].lock();
            for found in found {
                if found.store_timestamp > now - SETTLED_AFTER {
                    return;
                }
                if !table.is_processed(found.position) {
                    self.apply(&mut table, &found);
                }
            }
            table.skip_to(next);
        }
    }

    fn apply(&self, table: &mut Table, found: &Found) {
        let position = found.position;
        match &found.entry {
            Some(Entry::CheckPoint(point)) => {
                self.apply_point(table, position, found.is_timed, point);
            }
            Some(Entry::Ack(ack)) => self.apply_ack(table, position, ack),
            None => {}
        }
        table.process(position);
    }

    fn apply_point(
        &self,
        table: &mut Table,
        position: i64,
        is_timed: bool,
        entry: &CheckPointEntry,
    ) {
        let (Some(topic), Some(group)) = (&entry.topic, &entry.group) else {
            return;
        };
        if !(0..QUEUE_ID_END).contains(&entry.queue_id) {
            return;
        }
        let due = entry.due();
        let due = if is_timed {
            due.max(self.now()).saturating_add(TIMER_SLACK)
        } else {
            due
        };
        let lane = self.lanes.lane(group, topic, entry.queue_id);
        let key = Key {
            lane: lane.id,
            start: entry.start,
            pop_time: entry.pop_time,
        };
        let distances = entry.distances();
        let mut point = Point::new(lane, position, entry.invisible_time, due, &distances);
        point.suspend = entry.suspend;
        point.mark_done(entry.bits);
        if let Some(broker) = &entry.broker
            && *broker != self.parts.identity.broker_name
        {
            point.broker = Some(broker.as_str().into());
        }
        table.insert(key, point);
    }

    fn apply_ack(&self, table: &mut Table, position: i64, entry: &AckEntry) {
        let (Some(topic), Some(group)) = (&entry.topic, &entry.group) else {
            return;
        };
        if !(0..QUEUE_ID_END).contains(&entry.queue_id) {
            return;
        }
        let lane = self.lanes.lane(group, topic, entry.queue_id);
        let key = Key {
            lane: lane.id,
            start: entry.start,
            pop_time: entry.pop_time,
        };
        table.acknowledged(key, entry.offsets(), position, entry.due);
    }

    /// Puts down how far the journal is done with, for the next start.
    pub(super) fn commit_marks(&self) {
        for (index, table) in self.tables.iter().enumerate() {
            let (mark, seen) = {
                let table = table.lock();
                (table.mark(), table.processed())
            };
            let Ok(queue_id) = i32::try_from(index) else {
                continue;
            };
            let topic = self.journal.topic();
            for (group, offset) in [(REVIVE_GROUP, mark), (SEEN_GROUP, seen)] {
                if offset >= 0 && self.journal_offset(group, index) != Some(offset) {
                    self.parts.offsets.commit(group, topic, queue_id, offset);
                }
            }
        }
    }
}

impl Found {
    fn of(record: &RecordView<'_>) -> Self {
        Self {
            position: record.queue_offset(),
            store_timestamp: record.store_timestamp(),
            // Ours have no key.
            is_timed: record.properties().get(keys::UNIQ_KEY).is_some(),
            entry: Entry::read(record),
        }
    }
}
