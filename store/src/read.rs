// SPDX-License-Identifier: Apache-2.0
//! Reading messages of a queue in order (Apache: `DefaultMessageStore.getMessage`). What is returned are slices of the
//! log, not copies, except where a page may have to come from the disk.

use std::sync::{Arc, atomic::Ordering};

use aerobee_message::RecordView;
use smallvec::SmallVec;

use crate::{
    batch_queue::MESSAGES_MAX,
    consume_queue::{Chunk, Entry, Queue},
    dispatch,
    layout::ENTRY_BYTES,
    light::{record_queue_id, starts_record},
    mapped_file::MappedFile,
    store::Store,
};

/// How much a read may return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Messages; the configured limits hold besides.
    pub max_messages: u32,
    /// Bytes; the first message is returned whatever its size.
    pub max_bytes: usize,
}

/// Whether a read may wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Answers [`ReadStatus::Cold`] rather than touch a page that may not be in memory.
    HotOnly,
    /// Reads whatever is asked for.
    Any,
}

/// How a read ended. [`ReadStatus::name`] is Java's word (`GetMessageStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadStatus {
    /// Messages are returned.
    Found,
    /// The filter accepted none of those looked at.
    NoMatchedMessage,
    /// The log no longer has the messages.
    MessageWasRemoving,
    /// There is no such queue.
    NoMatchedLogicQueue,
    /// The queue was never written to.
    NoMessageInQueue,
    /// The entries cannot be read.
    OffsetFoundNull,
    /// The offset is that of the next message to come.
    OffsetOverflowOne,
    /// The offset lies further on.
    OffsetOverflowBadly,
    /// The offset lies before the first message.
    OffsetTooSmall,
    /// The messages may have to come from the disk; only with [`Access::HotOnly`].
    Cold,
}

impl ReadStatus {
    /// Java's name of the status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ReadStatus::Found => "FOUND",
            ReadStatus::NoMatchedMessage => "NO_MATCHED_MESSAGE",
            ReadStatus::MessageWasRemoving => "MESSAGE_WAS_REMOVING",
            ReadStatus::NoMatchedLogicQueue => "NO_MATCHED_LOGIC_QUEUE",
            ReadStatus::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
            ReadStatus::OffsetFoundNull => "OFFSET_FOUND_NULL",
            ReadStatus::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
            ReadStatus::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
            ReadStatus::OffsetTooSmall => "OFFSET_TOO_SMALL",
            ReadStatus::Cold => "COLD",
        }
    }
}

/// Records that stand one behind the other. A run of the mapping keeps its file alive.
#[derive(Debug, Clone)]
pub struct Run {
    bytes: Bytes,
    physical: i64,
}

#[derive(Debug, Clone)]
enum Bytes {
    Mapped {
        file: Arc<MappedFile>,
        from: usize,
        len: usize,
    },
    Owned(Arc<Vec<u8>>),
}

impl Run {
    pub(crate) fn mapped(file: Arc<MappedFile>, from: usize, len: usize) -> Run {
        let physical = file.base() + from as i64;
        Run {
            bytes: Bytes::Mapped { file, from, len },
            physical,
        }
    }

    pub(crate) fn owned(bytes: Vec<u8>, physical: i64) -> Run {
        Run {
            bytes: Bytes::Owned(Arc::new(bytes)),
            physical,
        }
    }

    /// The bytes.
    #[must_use]
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped { file, from, len } => file.slice(*from, *len).unwrap_or_default(),
            Bytes::Owned(bytes) => bytes,
        }
    }

    /// Position of the first byte in the log.
    #[must_use]
    pub fn physical(&self) -> i64 {
        self.physical
    }

    fn len(&self) -> usize {
        match &self.bytes {
            Bytes::Mapped { len, .. } => *len,
            Bytes::Owned(bytes) => bytes.len(),
        }
    }
}

impl AsRef<[u8]> for Run {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

/// Runs of a read that need no memory of their own.
const RUNS_INLINE: usize = 4;
/// Most runs for which room is made at once.
const RUNS_RESERVED: u32 = 64;

/// What a read returns.
#[derive(Debug, Clone)]
pub struct Read {
    /// How it ended.
    pub status: ReadStatus,
    /// Offset to go on from.
    pub next: i64,
    /// First offset of the queue.
    pub min: i64,
    /// Offset after the last message that may be seen.
    pub max: i64,
    /// The records, adjacent ones in one run.
    pub runs: SmallVec<[Run; RUNS_INLINE]>,
    /// Bytes in all runs.
    pub bytes: usize,
    /// Messages in all runs.
    pub messages: u32,
    /// The messages lie so far back that a slave should serve the next ones.
    pub suggest_slave: bool,
    /// Some were not written lately, and are in memory by chance or because they were read ahead.
    pub is_old: bool,
}

impl Read {
    /// A read of nothing.
    #[must_use]
    pub fn none(status: ReadStatus) -> Read {
        Read {
            status,
            next: 0,
            min: 0,
            max: 0,
            runs: SmallVec::new(),
            bytes: 0,
            messages: 0,
            suggest_slave: false,
            is_old: false,
        }
    }
}

/// Entries looked at in one read, at least; more when more messages are wanted. As in Java, whose
/// `maxFilterMessageSize` is 16,000 bytes of entries.
const SCAN_ENTRIES: i64 = 800;
/// Entries this near the end of a queue count as being in memory: five pages, should they not be.
const HOT_ENTRIES: i64 = 1 << 10;
/// Bytes of entries that are read ahead.
const ENTRIES_AHEAD_BYTES: usize = 256 << 10;
/// Bytes asked about at once when it is not known whether pages are in memory.
const RESIDENCY_BYTES: usize = 256 << 10;

/// What became of one entry.
enum Taken {
    Yes,
    /// Its record is not wanted.
    Unwanted,
    /// Its record is gone from the log.
    Removed,
    /// Its record is damaged.
    Bad,
    /// A limit is reached.
    Full,
    Cold,
}

/// Decides which messages of a queue are read. A closure that takes the tags code is one.
pub trait Accept {
    /// Whether an entry with this tags code can be wanted.
    fn code(&mut self, code: i64) -> bool;

    /// Whether a stored record, whose code was accepted, is wanted.
    #[inline]
    fn record(&mut self, _record: &[u8]) -> bool {
        true
    }
}

impl<F: FnMut(i64) -> bool> Accept for F {
    #[inline]
    fn code(&mut self, code: i64) -> bool {
        self(code)
    }
}

/// The state of one read.
struct Reader<'a> {
    store: &'a Store,
    /// Tells queues apart.
    queue: usize,
    queue_id: Option<i32>,
    limits: ReadLimits,
    access: Access,
    end: i64,
    /// The file of the last record.
    file: Option<Arc<MappedFile>>,
    /// Positions from here on count as being in memory.
    hot_from: i64,
    /// Positions of which the kernel has said so.
    resident: std::ops::Range<i64>,
    read: Read,
}

impl Store {
    /// Reads messages of a queue from an offset on. `accept` sees the tags code of each entry, then the record; those
    /// it refuses are passed over.
    #[must_use]
    pub fn read(
        &self,
        queue: &Queue,
        from: i64,
        limits: ReadLimits,
        access: Access,
        mut accept: impl Accept,
    ) -> Read {
        let (max, min) = (queue.max_offset(), queue.min_offset());
        let mut read = Read {
            next: from,
            min: queue.told_min_offset(),
            max,
            ..Read::none(ReadStatus::NoMatchedMessage)
        };
        if let Some((status, next)) = outside(from, min, max) {
            read.status = status;
            read.next = next;
            return read;
        }
        let end = self.inner.marks.confirmed();
        let mut reader = Reader {
            queue: std::ptr::from_ref(queue).addr(),
            store: self,
            queue_id: record_queue_id(queue.topic(), queue.id()),
            limits,
            access,
            end,
            file: None,
            resident: 0..0,
            hot_from: self.inner.hot_from(end),
            read,
        };
        reader.scan(queue, &mut accept);
        reader.read
    }
}

/// The status of an offset at which there is nothing to read, and the offset to go on from.
fn outside(from: i64, min: i64, max: i64) -> Option<(ReadStatus, i64)> {
    if max == 0 {
        Some((ReadStatus::NoMessageInQueue, 0))
    } else if from < min {
        Some((ReadStatus::OffsetTooSmall, min))
    } else if from == max {
        Some((ReadStatus::OffsetOverflowOne, from))
    } else if from > max {
        Some((ReadStatus::OffsetOverflowBadly, max))
    } else {
        None
    }
}

impl Reader<'_> {
    fn scan(&mut self, queue: &Queue, accept: &mut impl Accept) {
        let enough = self.read.next + SCAN_ENTRIES.max(i64::from(self.limits.max_messages));
        let is_batch = queue.is_batch();
        // A batch is taken as a whole.
        let until = self
            .read
            .max
            .min(enough + if is_batch { MESSAGES_MAX } else { 0 });
        let mut batch = None;
        let mut removed = false;
        let mut copied = Vec::new();
        let mut mapped;
        'entries: while self.read.next < until {
            let at = self.read.next;
            let entries = match queue.chunk(at, until, self.access, &mut copied) {
                Chunk::Mapped(found, from, len) => {
                    if self.read.max - at > HOT_ENTRIES && !found.is_resident(from, len) {
                        if self.access == Access::HotOnly {
                            return self.finish(ReadStatus::Cold);
                        }
                        found.will_need(from, ENTRIES_AHEAD_BYTES);
                    }
                    mapped = found;
                    mapped.slice(from, len).unwrap_or_default()
                }
                Chunk::Copied => &copied,
                Chunk::Cold => return self.finish(ReadStatus::Cold),
                Chunk::Missing => {
                    let per_file = (queue.shared.file_bytes / ENTRY_BYTES as u64).cast_signed();
                    self.read.next = (at - at.rem_euclid(per_file) + per_file).min(self.read.max);
                    return self.finish(ReadStatus::OffsetFoundNull);
                }
            };
            let mut entries = entries.chunks_exact(ENTRY_BYTES);
            while let Some(bytes) = entries.next() {
                let Some(entry) = bytes.first_chunk().map(Entry::of_bytes) else {
                    return;
                };
                if is_batch {
                    match batch {
                        Some((seen, messages)) if seen == entry => {
                            self.read.next += 1;
                            self.read.messages += messages;
                            continue;
                        }
                        _ if self.read.next >= enough
                            || self.lacks_room_for(bytes, entries.clone()) =>
                        {
                            break 'entries;
                        }
                        _ => {}
                    }
                }
                let before = self.read.messages;
                if entry.is_extended() || accept.code(entry.tags_code) {
                    match self.take(entry, accept) {
                        Taken::Yes | Taken::Unwanted => {}
                        Taken::Removed => removed = true,
                        Taken::Bad => self.note_bad(queue, entry),
                        Taken::Full => return self.finish(ReadStatus::Found),
                        Taken::Cold => return self.finish(ReadStatus::Cold),
                    }
                }
                self.read.next += 1;
                if is_batch {
                    batch = Some((entry, self.read.messages - before));
                } else if self.has_all() {
                    return self.finish(ReadStatus::Found);
                }
            }
        }
        self.finish(if removed {
            ReadStatus::MessageWasRemoving
        } else {
            ReadStatus::NoMatchedMessage
        });
    }

    /// Whether a batch has more messages than are still wanted: its entry and those that follow.
    fn lacks_room_for(&self, entry: &[u8], next: std::slice::ChunksExact<'_, u8>) -> bool {
        let most = self.limits.max_messages.saturating_sub(self.read.messages) as usize;
        let same = next.take_while(|other| *other == entry);
        self.read.messages > 0 && 1 + same.take(most).count() > most
    }

    /// Whether as many messages were found as are wanted.
    #[inline]
    fn has_all(&self) -> bool {
        self.read.messages >= self.limits.max_messages && self.read.messages > 0
    }

    /// Sets the status; what was found before counts for more.
    fn finish(&mut self, status: ReadStatus) {
        self.read.status = if self.read.messages > 0 {
            ReadStatus::Found
        } else {
            status
        };
    }

    #[inline]
    fn take(&mut self, entry: Entry, accept: &mut impl Accept) -> Taken {
        let Ok(size) = usize::try_from(entry.size) else {
            return Taken::Bad;
        };
        if entry.is_blank() || entry.physical < self.store.inner.marks.min() {
            return Taken::Removed;
        }
        if self.is_full(entry, size) {
            return Taken::Full;
        }
        // Moved out and back: the count of its holders is shared by all threads that read.
        let file = match self.file.take() {
            Some(file) if (file.base()..file.end()).contains(&entry.physical) => file,
            _ => match self.store.inner.log.file_of(entry.physical) {
                Some(file) => file,
                None => return Taken::Removed,
            },
        };
        let taken = self.take_from(&file, entry, size, accept);
        self.file = Some(file);
        taken
    }

    #[inline]
    fn take_from(
        &mut self,
        file: &Arc<MappedFile>,
        entry: Entry,
        size: usize,
        accept: &mut impl Accept,
    ) -> Taken {
        let Ok(from) = usize::try_from(entry.physical - file.base()) else {
            return Taken::Bad;
        };
        if !self.is_hot(file, from, size, entry.physical) {
            if self.access == Access::HotOnly {
                return Taken::Cold;
            }
            return self.take_from_disk(file, from, entry, accept);
        }
        let Some(bytes) = file.slice(from, size) else {
            return Taken::Bad;
        };
        if !starts_record(bytes, entry.size, self.queue_id, entry.physical) {
            return Taken::Bad;
        }
        if !self.is_wanted(entry, bytes, accept) {
            return Taken::Unwanted;
        }
        match self.read.runs.last_mut() {
            Some(Run {
                bytes:
                    Bytes::Mapped {
                        file: last,
                        from,
                        len,
                    },
                ..
            }) if Arc::ptr_eq(last, file)
                && last.base() + (*from + *len) as i64 == entry.physical =>
            {
                *len += size;
            }
            _ => {
                if self.read.runs.len() == RUNS_INLINE {
                    // Messages of other queues stand between: each will be a run.
                    let most = self.limits.max_messages.min(RUNS_RESERVED);
                    self.read.runs.reserve(most as usize);
                }
                self.read
                    .runs
                    .push(Run::mapped(Arc::clone(file), from, size));
            }
        }
        self.count(entry, size)
    }

    /// Whether a record is wanted. Of an entry whose tags code is kept elsewhere it is computed from the record.
    #[inline]
    fn is_wanted(&self, entry: Entry, bytes: &[u8], accept: &mut impl Accept) -> bool {
        if entry.is_extended() {
            let levels = &self.store.inner.config.delay_levels;
            let code = RecordView::parse(bytes).map(|record| dispatch::tags_code(&record, levels));
            if !code.is_ok_and(|code| accept.code(code)) {
                return false;
            }
        }
        accept.record(bytes)
    }

    /// Whether a record can be touched without waiting. Asking the kernel costs more than reading a record, so it is
    /// asked about a longer stretch first.
    fn is_hot(&mut self, file: &MappedFile, from: usize, size: usize, physical: i64) -> bool {
        let end = physical + size as i64;
        if physical >= self.hot_from {
            return true;
        }
        self.read.is_old = true;
        if self.resident.start <= physical && end <= self.resident.end {
            return true;
        }
        let stretch = RESIDENCY_BYTES
            .max(size)
            .min(file.published().saturating_sub(from));
        if file.is_resident(from, stretch) {
            self.resident = physical..physical + stretch as i64;
            self.ask_ahead(physical);
            return true;
        }
        file.is_resident(from, size)
    }

    /// Has the next bytes brought into memory for a reader of old messages, so that it need not wait for them.
    fn ask_ahead(&self, physical: i64) {
        let inner = &self.store.inner;
        let Some(next) = inner.read_ahead.went_on(self.queue, physical) else {
            return;
        };
        match self.access {
            Access::Any => inner.ask_for(next),
            // Asking takes some time, too.
            Access::HotOnly => {
                let job = move |store: &Store| store.inner.ask_for(next);
                // Without it the reader waits when it gets there.
                let _ = self.store.read_later(Box::new(job));
            }
        }
    }

    /// Reads a record without the mapping: a bad sector is an error there, through the mapping a signal.
    #[cold]
    fn take_from_disk(
        &mut self,
        file: &MappedFile,
        from: usize,
        entry: Entry,
        accept: &mut impl Accept,
    ) -> Taken {
        let Ok(size) = usize::try_from(entry.size) else {
            return Taken::Bad;
        };
        let Some(descriptor) = file.file() else {
            return Taken::Bad;
        };
        if from + size > file.published() {
            return Taken::Bad;
        }
        if self.read.messages == 0 {
            // Whoever reads old messages goes on reading.
            let inner = &self.store.inner;
            inner.ask_for(inner.read_ahead.met(self.queue, entry.physical));
        }
        let mut bytes = vec![0; size];
        match self
            .store
            .inner
            .env
            .read_at(descriptor, file.path(), &mut bytes, from as u64)
        {
            Ok(read)
                if read == size
                    && starts_record(&bytes, entry.size, self.queue_id, entry.physical) => {}
            Ok(_) => return Taken::Bad,
            Err(error) => {
                tracing::error!(path = %file.path().display(), at = from, %error, "the log cannot be read");
                return Taken::Bad;
            }
        }
        if !self.is_wanted(entry, &bytes, accept) {
            return Taken::Unwanted;
        }
        match self.read.runs.last_mut() {
            Some(run) if run.physical + run.len() as i64 == entry.physical => {
                match &mut run.bytes {
                    Bytes::Owned(owned) => Arc::make_mut(owned).extend_from_slice(&bytes),
                    Bytes::Mapped { .. } => self.read.runs.push(Run::owned(bytes, entry.physical)),
                }
            }
            _ => self.read.runs.push(Run::owned(bytes, entry.physical)),
        }
        self.count(entry, size)
    }

    fn count(&mut self, entry: Entry, size: usize) -> Taken {
        self.read.bytes += size;
        self.read.messages += 1;
        self.read.suggest_slave = self.end - entry.physical > self.store.inner.memory_distance;
        Taken::Yes
    }

    /// Whether one more record would be too much (Apache: `isTheBatchFull`).
    fn is_full(&self, entry: Entry, size: usize) -> bool {
        let read = &self.read;
        if read.messages == 0 {
            return false;
        }
        if read.messages >= self.limits.max_messages || read.bytes + size > self.limits.max_bytes {
            return true;
        }
        let transfer = &self.store.inner.config.transfer;
        let (messages, bytes) = if self.end - entry.physical > self.store.inner.memory_distance {
            (transfer.disk_messages, transfer.disk_bytes)
        } else {
            (transfer.memory_messages, transfer.memory_bytes)
        };
        read.messages >= messages || read.bytes + size > bytes
    }

    /// A damaged record is passed over, counted, and named in the log of the process.
    #[cold]
    fn note_bad(&self, queue: &Queue, entry: Entry) {
        self.store
            .inner
            .marks
            .bad_frames
            .fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            topic = %queue.topic(),
            queue = queue.id(),
            offset = self.read.next,
            position = entry.physical,
            "a record is damaged and is passed over"
        );
    }
}
