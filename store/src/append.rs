// SPDX-License-Identifier: Apache-2.0
//! Appending: everything that can be checked is checked before the lock, no system call is made under it.

use aerobee_message::{
    properties,
    record::{MAX_TOPIC_BYTES, Place, Record, TagsCode},
    sysflag,
};
use smallvec::SmallVec;

use crate::{
    commit_log::{Appender, Locked, Wakes},
    consume_queue::{Entry, Queue},
    error::AppendError,
    queue_tail::Tail,
    store::Store,
};

/// Where a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Position of the record in the log.
    pub physical: i64,
    /// Offset in the queue.
    pub queue_offset: i64,
    /// Store time, milliseconds since 1970.
    pub store_timestamp: i64,
    /// Position behind the record; of a batch, behind its last record.
    pub end: i64,
}

/// What is known of a record before the lock.
pub(crate) struct Measured {
    pub(crate) len: usize,
    pub(crate) body_crc: u32,
}

/// How a try under the lock ends.
pub(crate) enum Outcome<T> {
    Done(T),
    /// The queue has no room for the entries.
    NoRoom,
    /// The log needs its next file, and none is prepared.
    NoFile,
}

impl Store {
    /// Appends one message and returns its place. Readers see it at once, in sync mode when it is flushed.
    ///
    /// # Errors
    /// Why it is not stored.
    #[inline]
    pub fn append(&self, queue: &Queue, record: &Record<'_>) -> Result<Appended, AppendError> {
        let mut place = None;
        self.append_all(queue, std::slice::from_ref(record), |appended| {
            place = Some(appended);
        })?;
        place.ok_or(AppendError::OtherQueue)
    }

    /// Appends messages one behind the other in one file, all or none, with consecutive queue offsets; adds their
    /// places to `out`. All have the `end` of the last.
    ///
    /// # Errors
    /// Why none is stored.
    pub fn append_batch(
        &self,
        queue: &Queue,
        records: &[Record<'_>],
        out: &mut Vec<Appended>,
    ) -> Result<(), AppendError> {
        let start = out.len();
        out.reserve(records.len());
        self.append_all(queue, records, |appended| out.push(appended))?;
        if let Some(last) = out.last().copied() {
            out[start..]
                .iter_mut()
                .for_each(|appended| appended.end = last.end);
        }
        Ok(())
    }

    #[inline]
    fn append_all(
        &self,
        queue: &Queue,
        records: &[Record<'_>],
        mut done: impl FnMut(Appended),
    ) -> Result<(), AppendError> {
        let mut measured: SmallVec<[Measured; 8]> = SmallVec::with_capacity(records.len());
        let mut total = 0usize;
        for record in records {
            let one = self.measure(queue, record)?;
            total = total.saturating_add(one.len);
            measured.push(one);
        }
        if total > self.inner.largest_append {
            return Err(AppendError::TooLarge {
                what: "batch",
                bytes: total,
                limit: self.inner.largest_append,
            });
        }
        loop {
            self.inner.log.marks.takes_messages()?;
            queue.ensure_room(records.len() as i64)?;
            self.inner.see_to_pages(total);
            match self.try_append(queue, records, &measured, total, &mut done)? {
                Outcome::Done(wakes) => {
                    self.wake(wakes);
                    return Ok(());
                }
                Outcome::NoRoom => {}
                Outcome::NoFile => self.inner.prepare_next_file()?,
            }
        }
    }

    /// Wakes the threads whose time has come.
    pub(crate) fn wake(&self, wakes: Wakes) {
        if wakes.flusher {
            self.inner.flush_signal.kick();
        }
        if wakes.preparer {
            self.inner.shared.prepare_signal.kick();
        }
    }

    /// Checks a record against the handle and the limits.
    #[inline]
    pub(crate) fn measure(
        &self,
        queue: &Queue,
        record: &Record<'_>,
    ) -> Result<Measured, AppendError> {
        if record.queue_id != queue.id() || *record.topic != **queue.topic() {
            return Err(AppendError::OtherQueue);
        }
        let too_large = |what, bytes, limit| Err(AppendError::TooLarge { what, bytes, limit });
        if record.topic.len() > MAX_TOPIC_BYTES {
            return too_large("topic", record.topic.len(), MAX_TOPIC_BYTES);
        }
        let properties = record.properties_len();
        if properties > properties::MAX_BYTES {
            return too_large("property text", properties, properties::MAX_BYTES);
        }
        let len = record.encoded_len();
        let limit = self
            .inner
            .config
            .max_record_bytes
            .min(self.inner.largest_append);
        if len > limit {
            return too_large("message", len, limit);
        }
        Ok(Measured {
            len,
            body_crc: record.body_crc(),
        })
    }

    #[inline]
    fn try_append(
        &self,
        queue: &Queue,
        records: &[Record<'_>],
        measured: &[Measured],
        total: usize,
        done: &mut impl FnMut(Appended),
    ) -> Result<Outcome<Wakes>, AppendError> {
        let log = &self.inner.log;
        let mut locked = log.lock();
        // Closing and failing are decided under this lock, so nothing is appended after them.
        log.marks.appendable()?;
        let mut tail = queue.tail();
        if tail.retired {
            return Err(AppendError::QueueGone);
        }
        if !queue.has_room(tail.next + records.len() as i64) {
            return Ok(Outcome::NoRoom);
        }
        if !locked.place(total) {
            return Ok(Outcome::NoFile);
        }
        let store_timestamp = locked.timestamp;
        let appender = &mut *locked.appender;
        for (record, measured) in records.iter().zip(measured) {
            let entry = NewEntry {
                len: measured.len,
                is_queued: sysflag::is_queued(record.sys_flag),
                tags_code: record.tags_code,
            };
            done(put(
                appender,
                queue,
                &mut tail,
                store_timestamp,
                entry,
                |out, place| {
                    record.encode(out, place, measured.body_crc);
                },
            ));
        }
        appender.writer.publish();
        let end = appender.end();
        log.marks.set_end(end);
        appender.mark_dirty(queue, &mut tail.dirty_round);
        queue.publish(&tail);
        Ok(Outcome::Done(appender.wakes(end)))
    }

    /// Appends one record that has `entries` entries in its queue, all the same, and shows it to readers; where it is,
    /// and the entry. The caller has locked the log, and wakes threads when that is over.
    pub(crate) fn append_locked(
        &self,
        locked: &mut Locked<'_>,
        queue: &Queue,
        record: &Record<'_>,
        body_crc: u32,
        entries: i64,
    ) -> Result<Outcome<(Appended, Entry)>, AppendError> {
        let mut tail = queue.tail();
        if tail.retired {
            return Err(AppendError::QueueGone);
        }
        if !queue.has_room(tail.next + entries) {
            return Ok(Outcome::NoRoom);
        }
        let new = NewEntry {
            len: record.encoded_len(),
            is_queued: sysflag::is_queued(record.sys_flag),
            tags_code: record.tags_code,
        };
        if !locked.place(new.len) {
            return Ok(Outcome::NoFile);
        }
        let store_timestamp = locked.timestamp;
        let appender = &mut *locked.appender;
        let appended = put(
            appender,
            queue,
            &mut tail,
            store_timestamp,
            new,
            |out, place| {
                record.encode(out, place, body_crc);
            },
        );
        let entry = new.entry(appended.physical, store_timestamp);
        for _ in 1..entries {
            queue.put(&mut tail, entry);
        }
        appender.mark_dirty(queue, &mut tail.dirty_round);
        appender.writer.publish();
        self.inner.log.marks.set_end(appender.end());
        queue.publish(&tail);
        Ok(Outcome::Done((appended, entry)))
    }
}

/// What stands in the log and in the queue for one message, but for its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewEntry {
    pub(crate) len: usize,
    pub(crate) is_queued: bool,
    pub(crate) tags_code: TagsCode,
}

impl NewEntry {
    /// The queue entry of the record.
    #[inline]
    pub(crate) fn entry(self, physical: i64, store_timestamp: i64) -> Entry {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a record is shorter than a file, that than 2 GiB"
        )]
        let size = self.len as i32;
        Entry {
            physical,
            size,
            tags_code: self.tags_code.at(store_timestamp),
        }
    }
}

/// Writes one record and its entry behind the last ones; `write` fills the record's bytes. The caller has seen to the
/// room for both, and publishes them.
#[inline]
pub(crate) fn put(
    appender: &mut Appender,
    queue: &Queue,
    tail: &mut Tail,
    store_timestamp: i64,
    entry: NewEntry,
    write: impl FnOnce(&mut [u8], Place),
) -> Appended {
    let physical = appender.end();
    let queue_offset = if entry.is_queued { tail.next } else { 0 };
    let place = Place {
        queue_offset,
        physical_offset: physical,
        store_timestamp,
    };
    write(&mut appender.writer.spare()[..entry.len], place);
    appender.writer.advance(entry.len);
    appender.last_start = physical;
    if entry.is_queued {
        queue.put(tail, entry.entry(physical, store_timestamp));
    }
    Appended {
        physical,
        queue_offset,
        store_timestamp,
        end: physical + entry.len as i64,
    }
}
