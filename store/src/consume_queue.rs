// SPDX-License-Identifier: Apache-2.0
//! The consume queue of one topic and queue id: an entry for each message, by which readers find it in the log
//! (Apache: `store/ConsumeQueue.java`).
//!
//! New entries wait in memory until the keeper writes them ([`crate::queue_files`]); a queue that gets many has the
//! end of its file mapped and is written through that ([`crate::queue_tail`]). Readers look in both places.

use std::{
    fmt, io,
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicI64, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use crate::{
    config::FlushMode,
    error::AppendError,
    files::Files,
    layout::{self, BLANK_ENTRY_SIZE, ENTRY_BYTES},
    mapped_file::MappedFile,
    queue_flags::{Flag, Flags},
    queue_table::Shared,
    queue_tail::{LIGHT_ENTRIES, Tail},
    read::Access,
};

pub(crate) const ENTRY: i64 = ENTRY_BYTES as i64;
/// A position that is not known.
pub(crate) const UNKNOWN: i64 = -1;

/// Where one message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) physical: i64,
    pub(crate) size: i32,
    pub(crate) tags_code: i64,
}

impl Entry {
    pub(crate) const BLANK: Entry = Entry {
        physical: 0,
        size: BLANK_ENTRY_SIZE,
        tags_code: 0,
    };

    #[inline]
    pub(crate) fn of_bytes(bytes: &[u8; ENTRY_BYTES]) -> Entry {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = *bytes;
        Entry {
            physical: i64::from_be_bytes([a, b, c, d, e, f, g, h]),
            size: i32::from_be_bytes([i, j, k, l]),
            tags_code: i64::from_be_bytes([m, n, o, p, q, r, s, t]),
        }
    }

    #[inline]
    pub(crate) fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..8].copy_from_slice(&self.physical.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.size.to_be_bytes());
        bytes[12..].copy_from_slice(&self.tags_code.to_be_bytes());
        bytes
    }

    /// End of the message in the log.
    pub(crate) fn end(self) -> i64 {
        self.physical.saturating_add(i64::from(self.size))
    }

    /// Whether the tags code is an address in Apache's extension files (`ConsumeQueueExt.isExtAddr`), which are not read:
    /// the record has what they say. They are not written either; Java reads plain codes beside addresses.
    #[inline]
    pub(crate) fn is_extended(self) -> bool {
        self.tags_code < i32::MIN as i64
    }

    /// Whether this only fills the space before the first entry of a queue that does not start at 0.
    pub(crate) fn is_blank(self) -> bool {
        self.size == BLANK_ENTRY_SIZE && self.physical == 0
    }
}

/// A consume queue. Handles stay valid when the topic is deleted; appends then fail.
pub struct Queue {
    topic: Arc<str>,
    id: i32,
    pub(crate) flags: Flags,
    /// Held while files are made, written without a mapping, listed or given up.
    pub(crate) files_work: Mutex<()>,
    me: Weak<Queue>,
    pub(crate) shared: Arc<Shared>,
    /// The files, while they are at hand.
    pub(crate) files: ArcSwapOption<Files>,
    min: AtomicI64,
    /// Position in the log of the message at `min`, if known.
    min_physical: AtomicI64,
    /// Offset of the next message. Everything below it can be read, but in sync mode perhaps not yet be shown.
    next: AtomicI64,
    /// In sync mode: what was known to be flushed when somebody last asked.
    visible: AtomicI64,
    /// Entries below this have a place: in memory, or in a mapped file with its blocks reserved.
    pub(crate) room_until: AtomicI64,
    /// Locked by appenders, always under the lock of the log, and by those who make room.
    pub(crate) tail: Mutex<Tail>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("topic", &self.topic)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if self.is_batch() {
            self.shared.forget_units_of(self);
        }
    }
}

/// What a queue is opened with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) min: i64,
    pub(crate) min_physical: i64,
    pub(crate) next: i64,
    pub(crate) max_physical: i64,
    pub(crate) has_dir: bool,
    pub(crate) unverified: bool,
    /// Directory and files may not be durable.
    pub(crate) is_new: bool,
}

impl Default for Found {
    fn default() -> Self {
        Found {
            min: 0,
            min_physical: UNKNOWN,
            next: 0,
            max_physical: 0,
            has_dir: false,
            unverified: false,
            is_new: false,
        }
    }
}

/// Some entries of a queue.
pub(crate) enum Chunk {
    /// In a file: from this byte, so many bytes.
    Mapped(Arc<MappedFile>, usize, usize),
    /// They were copied.
    Copied,
    /// The files are not at hand.
    Cold,
    /// They cannot be read.
    Missing,
}

impl Queue {
    pub(crate) fn new(topic: Arc<str>, id: i32, shared: Arc<Shared>, found: &Found) -> Arc<Queue> {
        let flags = Flags::default();
        flags.put(Flag::IsBatch, shared.is_batch_topic(&topic));
        flags.put(Flag::HasDir, found.has_dir);
        flags.put(Flag::Unverified, found.unverified);
        Arc::new_cyclic(|me| Queue {
            topic,
            id,
            flags,
            files_work: Mutex::new(()),
            me: Weak::clone(me),
            shared,
            files: ArcSwapOption::empty(),
            min: found.min.into(),
            min_physical: found.min_physical.into(),
            next: found.next.into(),
            visible: found.next.into(),
            room_until: (found.next + LIGHT_ENTRIES).into(),
            tail: Mutex::new(Tail {
                has_new_files: found.is_new,
                ..Tail::new(found.next, found.max_physical)
            }),
        })
    }

    /// A new queue. Its directory is made with its first file.
    pub(crate) fn create(
        topic: Arc<str>,
        id: i32,
        shared: Arc<Shared>,
    ) -> Result<Arc<Queue>, AppendError> {
        if !layout::is_directory_name(&topic) || id < 0 {
            return Err(AppendError::Name {
                topic: topic.to_string(),
                id,
            });
        }
        Ok(Queue::new(topic, id, shared, &Found::default()))
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// The queue id.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.id
    }

    /// Whether the topic has `queue.type=BatchCQ`: a record may hold several messages.
    #[must_use]
    #[inline]
    pub fn is_batch(&self) -> bool {
        self.flags.has(Flag::IsBatch)
    }

    /// Where its files are.
    pub(crate) fn dir(&self) -> PathBuf {
        let kind = layout::entries_of(self.is_batch());
        layout::queue_dir(&self.shared.root, kind, &self.topic, self.id)
    }

    /// Offset of the first message that can be read.
    #[must_use]
    #[inline]
    pub fn min_offset(&self) -> i64 {
        self.min.load(Ordering::Acquire)
    }

    /// Offset after the last message that readers may see: in sync mode after the last one flushed.
    #[must_use]
    #[inline]
    pub fn max_offset(&self) -> i64 {
        match self.shared.marks.mode() {
            FlushMode::Async => self.appended_offset(),
            FlushMode::Sync => self.flushed_offset(),
        }
    }

    /// End in the log of the last message appended; 0 when that is not known.
    #[must_use]
    pub fn max_physical(&self) -> i64 {
        self.tail.lock().max_physical
    }

    /// Offset after the last message appended.
    #[inline]
    pub(crate) fn appended_offset(&self) -> i64 {
        self.next.load(Ordering::Acquire)
    }

    fn flushed_offset(&self) -> i64 {
        let next = self.appended_offset();
        let visible = self.visible.load(Ordering::Acquire);
        if visible >= next {
            return visible;
        }
        let confirmed = self.shared.marks.confirmed();
        let is_shown = |offset: i64| {
            self.entry(offset)
                .is_some_and(|entry| entry.end() <= confirmed)
        };
        // Mostly all or nothing of what came is flushed; otherwise halve.
        let mut shown = visible;
        let mut hidden = next;
        if is_shown(next - 1) {
            shown = next;
        } else {
            while shown < hidden {
                let middle = shown + (hidden - shown) / 2;
                if is_shown(middle) {
                    shown = middle + 1;
                } else {
                    hidden = middle;
                }
            }
        }
        self.visible.fetch_max(shown, Ordering::AcqRel).max(shown)
    }

    pub(crate) fn handle(&self) -> Option<Arc<Queue>> {
        self.me.upgrade()
    }

    /// Notes that somebody uses the files.
    #[inline]
    pub(crate) fn touch(&self) {
        if !self.flags.has(Flag::Touched) {
            self.flags.put(Flag::Touched, true);
        }
    }

    /// Whether somebody has used the files since the last call.
    pub(crate) fn take_touched(&self) -> bool {
        self.flags.put(Flag::Touched, false)
    }

    /// The mapped file of an entry, if the files are at hand.
    #[inline]
    fn mapped_at(&self, offset: i64) -> io::Result<Option<Arc<MappedFile>>> {
        let files = self.files.load();
        let (Some(files), Some(position)) = (&*files, offset.checked_mul(ENTRY)) else {
            return Ok(None);
        };
        self.touch();
        files.find(&self.shared.env, position)
    }

    /// Entries from `at` on, at most up to `until` and the end of a file. Those that are copied replace what is in
    /// `copied`.
    #[inline]
    pub(crate) fn chunk(&self, at: i64, until: i64, access: Access, copied: &mut Vec<u8>) -> Chunk {
        if let Ok(Some(file)) = self.mapped_at(at) {
            let in_file = usize::try_from(at * ENTRY - file.base()).unwrap_or(usize::MAX);
            let written = file.published().saturating_sub(in_file) / ENTRY_BYTES;
            let count = written.min(usize::try_from(until - at).unwrap_or(0));
            if count > 0 {
                return Chunk::Mapped(file, in_file, count * ENTRY_BYTES);
            }
        }
        self.chunk_elsewhere(at, until, access, copied)
    }

    #[cold]
    fn chunk_elsewhere(&self, at: i64, until: i64, access: Access, copied: &mut Vec<u8>) -> Chunk {
        if self.tail.lock().copy_pending(at, until, copied) {
            return Chunk::Copied;
        }
        let had_files = self.files.load().is_some();
        if !had_files && access == Access::HotOnly {
            return Chunk::Cold;
        }
        if let Err(error) = self.files_now() {
            tracing::warn!(dir = %self.dir().display(), offset = at, %error, "a consume queue cannot be read");
            return Chunk::Missing;
        }
        match self.mapped_at(at) {
            Ok(Some(file)) => {
                let in_file = usize::try_from(at * ENTRY - file.base()).unwrap_or(usize::MAX);
                let written = file.published().saturating_sub(in_file) / ENTRY_BYTES;
                let count = written.min(usize::try_from(until - at).unwrap_or(0));
                if count > 0 {
                    return Chunk::Mapped(file, in_file, count * ENTRY_BYTES);
                }
                Chunk::Missing
            }
            Ok(None) => Chunk::Missing,
            Err(error) => {
                tracing::warn!(dir = %self.dir().display(), offset = at, %error, "a consume queue file cannot be read");
                Chunk::Missing
            }
        }
    }

    /// The entry at an offset. Opens the files if need be: not for a network thread, unless the entry is new.
    pub(crate) fn entry(&self, offset: i64) -> Option<Entry> {
        let mut copied = Vec::new();
        match self.chunk(offset, offset + 1, Access::Any, &mut copied) {
            Chunk::Mapped(file, from, _) => file
                .slice(from, ENTRY_BYTES)?
                .first_chunk()
                .map(Entry::of_bytes),
            Chunk::Copied => copied.first_chunk().map(Entry::of_bytes),
            Chunk::Cold | Chunk::Missing => None,
        }
    }

    /// The tail, locked. Appenders hold the lock of the log.
    #[inline]
    pub(crate) fn tail(&self) -> parking_lot::MutexGuard<'_, Tail> {
        self.tail.lock()
    }

    /// Shows readers the entries put so far.
    #[inline]
    pub(crate) fn publish(&self, tail: &Tail) {
        self.next.store(tail.next, Ordering::Release);
    }

    /// Sets the offset of the next message, where nobody appends.
    pub(crate) fn set_next(&self, next: i64) {
        self.next.store(next, Ordering::Release);
        self.visible.store(next, Ordering::Release);
    }

    /// Everything below `next` can be shown. For recovery, and when all is durable.
    pub(crate) fn show(&self, next: i64) {
        self.visible.fetch_max(next, Ordering::AcqRel);
    }

    pub(crate) fn set_min(&self, min: i64) {
        self.min.store(min, Ordering::Release);
        self.min_physical.store(UNKNOWN, Ordering::Release);
    }

    /// Position in the log of the first message, if known without reading.
    pub(crate) fn min_physical(&self) -> Option<i64> {
        let physical = self.min_physical.load(Ordering::Acquire);
        (physical >= 0).then_some(physical)
    }

    /// Notes where the message at an offset is, if that is the first.
    pub(crate) fn note_first(&self, offset: i64, entry: Entry) {
        if offset == self.min_offset() && !entry.is_blank() {
            self.min_physical.store(entry.physical, Ordering::Release);
        }
    }

    /// Moves the first offset to the first message that is not before `first` in the log (Apache:
    /// `ConsumeQueue.correctMinOffset`). Reads entries only when messages are gone.
    pub(crate) fn correct_min(&self, first: i64) {
        if self.min_physical().is_some_and(|known| known >= first) {
            return;
        }
        let (mut low, mut high) = (self.min_offset(), self.appended_offset());
        if low >= high {
            return;
        }
        let max_physical = self.max_physical();
        if max_physical > 0 && max_physical <= first {
            self.set_min(high);
            return;
        }
        while low < high {
            let middle = low + (high - low) / 2;
            let is_gone = self
                .entry(middle)
                .is_none_or(|entry| entry.is_blank() || entry.physical < first);
            if is_gone {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.set_min(low);
        if let Some(entry) = self.entry(low) {
            self.note_first(low, entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_queue_is_small() {
        // With the two counts of its `Arc` and the word of the allocator it fills ten blocks of 16 bytes.
        assert!(size_of::<Queue>() <= 136, "{}", size_of::<Queue>());
    }
}
