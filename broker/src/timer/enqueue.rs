// SPDX-License-Identifier: Apache-2.0
//! Sorting messages of the timer topic into the wheel.

use std::{collections::HashSet, sync::atomic::Ordering};

use aerobee_message::{RecordView, properties::keys};
use aerobee_store::{Access, ReadLimits};

use crate::timer::{
    Batch, Stall, Worker,
    dequeue::note_missing,
    log::{MAGIC_DEFAULT, MAGIC_DELETE, MAGIC_ROLL, Unit, hash_of},
};

/// Messages read at once.
const BATCH: u32 = 512;
const BATCH_BYTES: usize = 1 << 20;

impl Worker {
    /// Sorts in all that is in the topic.
    pub(super) fn enqueue(&mut self) -> Result<(), Stall> {
        if self.switches.config().store.timer_stop_enqueue {
            return Ok(());
        }
        loop {
            if self.is_stopped() {
                return Err(Stall::Stopped);
            }
            if self.batch.is_none() && !self.read_batch() {
                return Ok(());
            }
            self.finish_batch()?;
        }
    }

    /// Reads the next messages: those to come get units, those whose time has come are kept. Whether
    /// there were any.
    fn read_batch(&mut self) -> bool {
        let Some(queue) = self.queue() else {
            return false;
        };
        if self.queue_offset < queue.min_offset() {
            tracing::warn!(
                offset = self.queue_offset,
                min = queue.min_offset(),
                "timer messages are gone before they were sorted in"
            );
            self.queue_offset = queue.min_offset();
        }
        if self.queue_offset >= queue.max_offset() {
            return false;
        }
        let limits = ReadLimits {
            max_messages: BATCH,
            max_bytes: BATCH_BYTES,
        };
        let read = self
            .store
            .read(&queue, self.queue_offset, limits, Access::Any, |_: i64| {
                true
            });
        let mut batch = Batch {
            end: read.next.max(self.queue_offset + 1),
            ..Batch::default()
        };
        for run in &read.runs {
            let mut bytes = run.as_slice();
            while let Ok(record) = RecordView::parse(bytes) {
                bytes = &bytes[record.total_len()..];
                if self.sort_in(&record, &mut batch.recalled) {
                    let size = i32::try_from(record.total_len()).unwrap_or(i32::MAX);
                    batch.late.push((record.physical_offset(), size));
                }
            }
        }
        self.batch = Some(batch);
        true
    }

    /// Gives a message its unit; whether its time has come and it gets none.
    fn sort_in(&mut self, record: &RecordView<'_>, recalled: &mut HashSet<String>) -> bool {
        if self.known.remove(&record.physical_offset()) {
            return false;
        }
        let properties = record.properties();
        let out = properties.get(keys::TIMER_OUT_MS);
        let topic = properties.get(keys::REAL_TOPIC);
        let (Some(out), Some(topic)) = (out.and_then(|out| out.parse::<i64>().ok()), topic) else {
            tracing::error!(
                position = record.physical_offset(),
                "a message in the timer topic has no time or no topic and is passed over"
            );
            return false;
        };
        let delete = properties.get(keys::TIMER_DEL_UNIQKEY);
        if out < self.write_time {
            if let Some(key) = delete {
                recalled.insert(key.to_owned());
                return false;
            }
            return true;
        }
        let mut magic = MAGIC_DEFAULT;
        let mut time = out;
        let reach = self.settings.roll_slots * self.settings.precision;
        let ahead = out - self.write_time;
        if ahead >= reach {
            magic |= MAGIC_ROLL;
            // What is left after the whole distance shall be enough for one more time.
            time = if ahead - reach < self.settings.roll_slots / 3 * self.settings.precision {
                self.write_time + self.settings.roll_slots / 2 * self.settings.precision
            } else {
                self.write_time + reach
            };
        }
        let by = if delete.is_some() { -1 } else { 1 };
        if delete.is_some() {
            magic |= MAGIC_DELETE;
        }
        let slot_time = time.div_euclid(self.settings.precision);
        let previous = self.wheel.get(slot_time).map_or(-1, |slot| slot.last);
        let position = self.log.append(Unit {
            previous,
            magic,
            write_time: self.write_time,
            delay: i32::try_from(time - self.write_time).unwrap_or(i32::MAX),
            physical: record.physical_offset(),
            size: i32::try_from(record.total_len()).unwrap_or(i32::MAX),
            topic_hash: hash_of(topic),
        });
        self.wheel.add(slot_time, position, by);
        self.count_crowd(slot_time * self.settings.precision, by);
        self.metrics
            .add(topic, i64::from(by), self.store.clock().millis());
        self.requeue
            .events()
            .timer(topic, out.saturating_sub(record.born_timestamp()));
        self.gate.enqueued.fetch_add(1, Ordering::Relaxed);
        self.gate.waiting.fetch_add(1, Ordering::Relaxed);
        false
    }

    fn count_crowd(&self, time: i64, by: i32) {
        if self.gate.counts_crowd.load(Ordering::Relaxed) {
            let mut crowd = self.gate.crowd.lock();
            let count = crowd.entry(time).or_insert(0);
            *count = count.saturating_add(by);
        }
    }

    /// Delivers what is late, then writes the units: whoever finds one on disk knows that everything
    /// before it in the topic is done.
    fn finish_batch(&mut self) -> Result<(), Stall> {
        let Some(mut batch) = self.batch.take() else {
            return Ok(());
        };
        while batch.next < batch.late.len() {
            if let Err(error) = self.deliver_late(&mut batch) {
                self.batch = Some(batch);
                return Err(error);
            }
        }
        if self.log.unwritten() > 0
            && let Err(error) = self.log.write()
        {
            self.batch = Some(batch);
            return Err(error.into());
        }
        self.queue_offset = batch.end;
        Ok(())
    }

    /// Delivers the next messages that can go together.
    fn deliver_late(&mut self, batch: &mut Batch) -> Result<(), Stall> {
        let mut added = Ok(());
        let mut next = batch.next;
        while self.has_room(next - batch.next)
            && let Some((position, size)) = batch.late.get(next)
        {
            let run = self.store.record_of(*position, *size);
            match run.as_ref().map(|run| RecordView::parse(run.as_slice())) {
                Some(Ok(record)) => {
                    added = self.add_record(&record, i64::MAX, &batch.recalled, next);
                }
                _ => note_missing(*position),
            }
            if added.is_err() {
                break;
            }
            next += 1;
        }
        self.commit_due(&mut batch.next, next, false)?;
        added
    }
}

/// Whether a message was taken back: by its unique key, as since 5.4, or with the topic before it.
pub(super) fn is_recalled(recalled: &HashSet<String>, message: &RecordView<'_>) -> bool {
    if recalled.is_empty() {
        return false;
    }
    let properties = message.properties();
    let Some(key) = properties.get(keys::UNIQ_KEY) else {
        return false;
    };
    let topic = properties.get(keys::REAL_TOPIC).unwrap_or_default();
    recalled.contains(key) || recalled.contains(&format!("{topic}+{key}"))
}
