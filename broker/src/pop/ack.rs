// SPDX-License-Identifier: Apache-2.0
//! Acknowledging popped messages, and changing how long they stay invisible.

use aerobee_store::{Access, AppendError, Appended};

use crate::pop::{
    Pops,
    handle::{Handle, ORDER_QUEUE},
    journal::{Ack, CheckPoint},
    order::Next,
    table::{Claim, EARLY_PATIENCE, Key, OffsetList, Point},
};

/// Messages of one check point, named by a client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named<'a> {
    pub(crate) group: &'a str,
    /// The topic that they were popped from, maybe a retry topic; it exists and has the queue.
    pub(crate) topic: &'a str,
    pub(crate) queue_id: i32,
    pub(crate) handle: Handle<'a>,
    pub(crate) offsets: &'a [i64],
}

/// What became of an acknowledgement.
#[derive(Debug)]
pub(crate) enum Acked {
    /// It is written up to this position of the log.
    Written(i64),
    /// There was nothing left to do.
    Nothing,
    /// A message of an ordered batch that is not of that batch.
    Illegal,
    /// Whether there is something to do needs a look at the disk; only with [`Access::HotOnly`].
    Unsure,
}

/// The new times of a message that stays invisible longer, or shorter.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Changed {
    pub(crate) pop_time: i64,
    pub(crate) invisible_time: i64,
    pub(crate) revive_queue: i32,
    /// What has to be durable, where anything was written.
    pub(crate) end: Option<i64>,
}

impl Pops {
    /// Acknowledges messages. Handles that are old, forged or used twice change nothing.
    ///
    /// # Errors
    /// It could not be written; then the messages count as not acknowledged.
    pub(crate) fn acknowledge(
        &self,
        named: &Named<'_>,
        access: Access,
    ) -> Result<Acked, AppendError> {
        let handle = &named.handle;
        if handle.revive_queue == ORDER_QUEUE {
            return Ok(self.acknowledge_ordered(named));
        }
        let Some((index, table)) = self.table(handle.revive_queue) else {
            return Ok(Acked::Nothing);
        };
        let key = self.key_of(named);
        let mut claimed = OffsetList::new();
        let mut unknown = false;
        {
            let mut table = table.lock();
            for offset in named.offsets {
                match table.claim(key, *offset) {
                    Claim::Mine => claimed.push(*offset),
                    Claim::Nothing => {}
                    Claim::Unknown => unknown = true,
                }
            }
        }
        if unknown {
            return self.acknowledge_early(named, key, index, access);
        }
        if claimed.is_empty() {
            return Ok(Acked::Nothing);
        }
        let written = self.journal.ack(index, &ack_of(named, &claimed, None));
        let mut table = table.lock();
        for offset in &claimed {
            table.settle(key, *offset, written.is_ok());
        }
        let appended = written?;
        table.process(appended.queue_offset);
        Ok(Acked::Written(appended.end))
    }

    fn key_of(&self, named: &Named<'_>) -> Key {
        Key {
            lane: self.lanes.lane(named.group, named.topic, named.queue_id).id,
            start: named.handle.start,
            pop_time: named.handle.pop_time,
        }
    }

    /// Whether the check point of a handle, though unknown, may still come from a timer: of a broker
    /// that had this directory before. One that this broker has written is done with; whether it has
    /// is not known without a look at the disk.
    fn may_come(
        &self,
        index: usize,
        key: Key,
        handle: &Handle<'_>,
        access: Access,
    ) -> Result<Option<bool>, AppendError> {
        let is_old = handle.pop_time < self.started
            && handle.invisible_time > 0
            && handle.due().saturating_add(EARLY_PATIENCE) > self.now();
        if !is_old {
            return Ok(Some(false));
        }
        if access == Access::HotOnly {
            return Ok(None);
        }
        self.journal.make_ready()?;
        Ok(Some(!self.has_written(index, key)))
    }

    fn acknowledge_early(
        &self,
        named: &Named<'_>,
        key: Key,
        index: usize,
        access: Access,
    ) -> Result<Acked, AppendError> {
        match self.may_come(index, key, &named.handle, access)? {
            Some(true) => {}
            Some(false) => return Ok(Acked::Nothing),
            None => return Ok(Acked::Unsure),
        }
        let due = Some(named.handle.due());
        let appended = self
            .journal
            .ack(index, &ack_of(named, named.offsets, due))?;
        let mut table = self.tables[index].lock();
        table.acknowledged(key, named.offsets, appended.queue_offset, due);
        table.process(appended.queue_offset);
        Ok(Acked::Written(appended.end))
    }

    fn acknowledge_ordered(&self, named: &Named<'_>) -> Acked {
        let Named {
            group,
            topic,
            queue_id,
            handle,
            offsets,
        } = *named;
        let lane = self.lanes.lane(group, topic, queue_id);
        let taken = lane.take_patiently();
        let mut outcome = Acked::Nothing;
        for offset in offsets {
            let committed = self.parts.offsets.query(group, topic, queue_id);
            if committed.is_some_and(|committed| *offset < committed) {
                continue;
            }
            match self
                .orders
                .acknowledge(group, topic, queue_id, *offset, handle.pop_time)
            {
                Next::Commit(next) => {
                    self.parts.offsets.commit(group, topic, queue_id, next);
                }
                Next::Illegal => outcome = Acked::Illegal,
                Next::Stale => {}
            }
        }
        drop(taken);
        let now = self.now();
        let blocked =
            self.orders
                .blocked_until(group, topic, queue_id, None, handle.invisible_time, now);
        if blocked.is_none() || lane.was_missed() {
            self.wake(topic, group, queue_id);
        }
        outcome
    }

    /// Has a message stay invisible for so long from now on; nothing when whether it can needs a look
    /// at the disk, only with [`Access::HotOnly`].
    ///
    /// # Errors
    /// It could not be written; then nothing has changed.
    pub(crate) fn change(
        &self,
        named: &Named<'_>,
        invisible_time: i64,
        suspend: bool,
        access: Access,
    ) -> Result<Option<Changed>, AppendError> {
        let handle = &named.handle;
        let offset = named.offsets.first().copied().unwrap_or_default();
        let now = self.now();
        if handle.revive_queue == ORDER_QUEUE {
            return Ok(Some(self.change_ordered(named, offset, invisible_time)));
        }
        // Never that of the check point that is replaced: the two would be the same.
        let pop_time = now.max(handle.pop_time.saturating_add(1));
        let mut changed = Changed {
            pop_time,
            invisible_time,
            revive_queue: handle.revive_queue,
            end: None,
        };
        let Some((index, table)) = self.table(handle.revive_queue) else {
            return Ok(Some(changed));
        };
        let key = self.key_of(named);
        let claim = table.lock().claim(key, offset);
        let is_early = claim == Claim::Unknown
            && match self.may_come(index, key, handle, access)? {
                Some(may) => may,
                None => return Ok(None),
            };
        if claim != Claim::Mine && !is_early {
            return Ok(Some(changed));
        }
        let due_of_old = is_early.then(|| handle.due());
        let point = CheckPoint {
            topic: named.topic,
            group: named.group,
            queue_id: named.queue_id,
            broker: handle.broker,
            start: offset,
            pop_time,
            invisible_time,
            distances: &[0],
            suspend,
        };
        let written = self
            .journal
            .replace(index, &point, &ack_of(named, &[offset], due_of_old));
        let mut table = table.lock();
        if claim == Claim::Mine {
            table.settle(key, offset, written.is_ok());
        }
        let (point, ack) = written?;
        if is_early {
            table.acknowledged(key, &[offset], ack.queue_offset, due_of_old);
        }
        let due = pop_time.saturating_add(invisible_time);
        table.insert(
            Key {
                start: offset,
                pop_time,
                ..key
            },
            self.changed_point(named, &point, invisible_time, due, suspend),
        );
        table.process(point.queue_offset);
        table.process(ack.queue_offset);
        drop(table);
        self.alarm.set(due);
        changed.end = Some(ack.end);
        Ok(Some(changed))
    }

    fn changed_point(
        &self,
        named: &Named<'_>,
        appended: &Appended,
        invisible_time: i64,
        due: i64,
        suspend: bool,
    ) -> Point {
        let lane = self.lanes.lane(named.group, named.topic, named.queue_id);
        let mut point = Point::new(lane, appended.queue_offset, invisible_time, due, &[0]);
        point.suspend = suspend;
        if named.handle.broker != self.parts.identity.broker_name {
            point.broker = Some(named.handle.broker.into());
        }
        point
    }

    fn change_ordered(&self, named: &Named<'_>, offset: i64, invisible_time: i64) -> Changed {
        let Named {
            group,
            topic,
            queue_id,
            handle,
            ..
        } = *named;
        let lane = self.lanes.lane(group, topic, queue_id);
        let taken = lane.take_patiently();
        let committed = self.parts.offsets.query(group, topic, queue_id);
        if committed.is_some_and(|committed| offset < committed) {
            return Changed::default();
        }
        let visible = self.now().saturating_add(invisible_time);
        self.orders
            .change_visible(group, topic, queue_id, (offset, handle.pop_time), visible);
        drop(taken);
        // Whoever waits may have to wait shorter.
        self.wake(topic, group, queue_id);
        Changed {
            pop_time: handle.pop_time,
            invisible_time: visible - handle.pop_time,
            revive_queue: handle.revive_queue,
            end: None,
        }
    }
}

fn ack_of<'a>(named: &Named<'a>, offsets: &'a [i64], due: Option<i64>) -> Ack<'a> {
    Ack {
        topic: named.topic,
        group: named.group,
        queue_id: named.queue_id,
        broker: named.handle.broker,
        start: named.handle.start,
        pop_time: named.handle.pop_time,
        offsets,
        due,
    }
}
