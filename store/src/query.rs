// SPDX-License-Identifier: Apache-2.0
//! Looking single records up: by position, by time.

use aerobee_message::{RecordView, record::store_timestamp_of};

use crate::{
    consume_queue::{Entry, Queue},
    dispatch,
    light::starts_record,
    read::Run,
    store::{Inner, Store},
};

/// Which of the messages around a time is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// The first one stored at or after it.
    Lower,
    /// The last one stored at or before it.
    Upper,
}

/// An entry of a consume queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueEntry {
    /// Position of the record in the log.
    pub physical: i64,
    /// Bytes of the record.
    pub size: i32,
    /// Hash of the tags, or a time of delivery.
    pub tags_code: i64,
}

/// Bytes of a record up to the end of the store time, with any address.
pub(crate) const HEADER_BYTES: usize = 76;

impl Inner {
    /// The position from which on the log can be touched without waiting, when it ends at `end`: what was written
    /// lately, and by us.
    pub(crate) fn hot_from(&self, end: i64) -> i64 {
        let hot_bytes = i64::try_from(self.config.hot_bytes).unwrap_or(i64::MAX);
        end.saturating_sub(hot_bytes).max(self.opened_at)
    }

    /// Published bytes of the log by the mapping, when they were written lately.
    fn hot_bytes_at(&self, physical: i64, len: usize) -> Option<Run> {
        if physical < self.hot_from(self.marks.confirmed()) {
            return None;
        }
        let file = self.log.file_of(physical)?;
        let from = usize::try_from(physical - file.base()).ok()?;
        file.slice(from, len)?;
        Some(Run::mapped(file, from, len))
    }

    /// Published bytes of the log, by a plain read; fewer when the file ends before.
    pub(crate) fn bytes_at(&self, physical: i64, len: usize) -> Option<Vec<u8>> {
        let file = self.log.file_of(physical)?;
        let at = usize::try_from(physical - file.base()).ok()?;
        let len = len.min(file.published().checked_sub(at)?);
        let mut bytes = vec![0; len];
        let read = self
            .env
            .read_at(file.file()?, file.path(), &mut bytes, at as u64);
        match read {
            Ok(read) if read == len => Some(bytes),
            Ok(_) => None,
            Err(error) => {
                tracing::error!(path = %file.path().display(), at, %error, "the log cannot be read");
                None
            }
        }
    }
}

impl Store {
    /// The record that starts at a position, read from the file and checked in full; `None` when none does.
    #[must_use]
    pub fn record_at(&self, physical: i64) -> Option<Run> {
        if physical < self.min_physical() || physical >= self.confirmed() {
            return None;
        }
        let head = self.inner.bytes_at(physical, 8)?;
        let len = i32::from_be_bytes(*head.first_chunk()?);
        self.checked_record(physical, usize::try_from(len).ok()?)
    }

    /// The record that starts at a position and has this many bytes; `None` when none does. Lent where it was written
    /// lately; else read from the file, and checked in full.
    #[must_use]
    pub fn record_of(&self, physical: i64, size: i32) -> Option<Run> {
        if physical < self.min_physical() || physical >= self.confirmed() {
            return None;
        }
        let len = usize::try_from(size).ok()?;
        match self.inner.hot_bytes_at(physical, len) {
            Some(run) => starts_record(run.as_slice(), size, None, physical).then_some(run),
            None => self.checked_record(physical, len),
        }
    }

    /// The record that starts at a position, lent, when it was written lately; never waits for the disk. `None` when
    /// none does, or when it would have to be read: [`Store::record_at`] tells.
    #[must_use]
    pub fn recent_record_at(&self, physical: i64) -> Option<Run> {
        let head = self.inner.hot_bytes_at(physical, size_of::<i32>())?;
        let size = i32::from_be_bytes(*head.as_slice().first_chunk()?);
        let run = self
            .inner
            .hot_bytes_at(physical, usize::try_from(size).ok()?)?;
        let record = RecordView::parse(run.as_slice()).ok()?;
        (record.physical_offset() == physical).then_some(run)
    }

    /// The record of this length at a position, read from the file and checked in full.
    pub(crate) fn checked_record(&self, physical: i64, len: usize) -> Option<Run> {
        if len > self.inner.largest_append {
            return None;
        }
        let bytes = self.inner.bytes_at(physical, len)?;
        let record = RecordView::parse(&bytes).ok()?;
        // Fewer bytes come where the log ends before.
        let is_whole =
            bytes.len() == len && record.total_len() == len && record.physical_offset() == physical;
        (is_whole && record.crc_matches()).then(|| Run::owned(bytes, physical))
    }

    /// Topics that have queues and whose names begin so, in no order.
    #[must_use]
    pub fn topics_with_prefix(&self, prefix: &str) -> Vec<std::sync::Arc<str>> {
        let queues = self.inner.queues.read();
        let named = queues.keys().filter(|topic| topic.starts_with(prefix));
        named.cloned().collect()
    }

    /// The entry of a queue at an offset. Reads the file.
    #[must_use]
    pub fn entry_at(&self, queue: &Queue, offset: i64) -> Option<QueueEntry> {
        if offset < queue.min_offset() || offset >= queue.max_offset() {
            return None;
        }
        let entry = queue.entry(offset)?;
        let tags_code = if entry.is_extended() {
            let run = self.record_at(entry.physical)?;
            let record = RecordView::parse(run.as_slice()).ok()?;
            dispatch::tags_code(&record, &self.inner.config.delay_levels)
        } else {
            entry.tags_code
        };
        Some(QueueEntry {
            physical: entry.physical,
            size: entry.size,
            tags_code,
        })
    }

    /// When the first message that is kept was stored, milliseconds since 1970; −1 when there is none. Reads the file.
    #[must_use]
    pub fn earliest_store_time(&self) -> i64 {
        let first = self.min_physical();
        if first >= self.confirmed() {
            return -1;
        }
        let head = self.inner.bytes_at(first, HEADER_BYTES);
        head.and_then(|head| store_timestamp_of(&head))
            .unwrap_or(-1)
    }

    /// When the message at an offset was stored.
    #[must_use]
    pub fn store_time_of(&self, queue: &Queue, offset: i64) -> Option<i64> {
        if offset < queue.min_offset() || offset >= queue.max_offset() {
            return None;
        }
        self.time_of(queue.entry(offset)?)
    }

    fn time_of(&self, entry: Entry) -> Option<i64> {
        if entry.is_blank() || entry.physical < self.min_physical() {
            return None;
        }
        match self.inner.hot_bytes_at(entry.physical, HEADER_BYTES) {
            Some(head) => store_timestamp_of(head.as_slice()),
            None => self.inner.store_time_at(entry.physical),
        }
    }

    /// The offset that belongs to a time, between the first offset and the one after the last (Apache:
    /// `ConsumeQueue.binarySearchInQueueByTime`). Messages that are gone count as older than any time.
    #[must_use]
    pub fn offset_by_time(&self, queue: &Queue, timestamp: i64, boundary: Boundary) -> i64 {
        let (min, max) = (queue.min_offset(), queue.max_offset());
        // The first offset whose message is too late to count as lying before the boundary.
        let is_before =
            |offset: i64| match queue.entry(offset).and_then(|entry| self.time_of(entry)) {
                None => true,
                Some(time) => match boundary {
                    Boundary::Lower => time < timestamp,
                    Boundary::Upper => time <= timestamp,
                },
            };
        let (mut low, mut high) = (min, max);
        while low < high {
            let middle = low + (high - low) / 2;
            if is_before(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let found = match boundary {
            Boundary::Lower => low,
            Boundary::Upper => (low - 1).clamp(min, max),
        };
        if queue.is_batch() {
            queue.first_of_batch(found)
        } else {
            found
        }
    }

    /// Whether the pages of the message at an offset are in memory, as the kernel knows it.
    #[must_use]
    pub fn is_in_memory(&self, queue: &Queue, offset: i64) -> bool {
        if offset < queue.min_offset() || offset >= queue.max_offset() {
            return false;
        }
        if offset == queue.min_offset()
            && let Some(physical) = queue.min_physical()
        {
            // The first message can be told without its queue's files.
            return self.inner.log.file_of(physical).is_some_and(|file| {
                file.is_resident(usize::try_from(physical - file.base()).unwrap_or(0), 1)
            });
        }
        let Some(entry) = queue.entry(offset).filter(|entry| !entry.is_blank()) else {
            return false;
        };
        let Some(file) = self.inner.log.file_of(entry.physical) else {
            return false;
        };
        let from = usize::try_from(entry.physical - file.base()).unwrap_or(0);
        file.is_resident(from, usize::try_from(entry.size).unwrap_or(0))
    }
}
