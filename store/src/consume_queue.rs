// SPDX-License-Identifier: Apache-2.0
//! The consume queue of one topic and queue id: an entry for each message, by which readers find it in the log
//! (Apache: `store/ConsumeQueue.java`).

use std::{
    collections::VecDeque,
    fmt, io,
    sync::{
        Arc, Weak,
        atomic::{AtomicI64, Ordering},
    },
};

use parking_lot::Mutex;

use crate::{
    config::FlushMode,
    env::Env,
    error::AppendError,
    files::{Files, Slot},
    layout::{BLANK_ENTRY_SIZE, ENTRY_BYTES, QUEUE_ALLOCATION_BYTES},
    mapped_file::{FileWriter, MappedFile},
    watermark::Watermarks,
};

const ENTRY: i64 = ENTRY_BYTES as i64;
/// Entries of room below which more is made before it is needed.
const LOW_ROOM: i64 = (QUEUE_ALLOCATION_BYTES / 2) as i64 / ENTRY;

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

    /// Whether this only fills the space before the first entry of a queue that does not start at 0.
    pub(crate) fn is_blank(self) -> bool {
        self.size == BLANK_ENTRY_SIZE && self.physical == 0
    }
}

/// A consume queue. Handles stay valid when the topic is deleted; appends then fail.
pub struct Queue {
    topic: Arc<str>,
    id: i32,
    me: Weak<Queue>,
    env: Env,
    marks: Arc<Watermarks>,
    pub(crate) files: Files,
    min: AtomicI64,
    /// Offset of the next message. Everything below it can be read, but in sync mode perhaps not yet be shown.
    next: AtomicI64,
    /// In sync mode: what was known to be flushed when somebody last asked.
    visible: AtomicI64,
    /// Entries below this have their blocks reserved and a writer.
    room_until: AtomicI64,
    /// Locked by appenders, always under the lock of the log, and by those who make room.
    tail: Mutex<Tail>,
    /// Held while files are made, so that only one does.
    preparing: Mutex<()>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("topic", &self.topic)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The end that is written.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    pub(crate) next: i64,
    /// End in the log of the last message.
    pub(crate) max_physical: i64,
    /// The file of the next entry and those prepared behind it.
    writers: VecDeque<FileWriter>,
    /// Bytes of the last writer's file whose blocks are reserved.
    allocated: u64,
    /// The round of the keeper in which this queue was put on its list.
    pub(crate) dirty_round: u64,
    /// Entries below this are durable.
    pub(crate) flushed: i64,
    /// A file, or a directory, was made that is not yet durable.
    has_new_files: bool,
    pub(crate) retired: bool,
}

impl Tail {
    /// Adds an entry; the caller has checked that there is room.
    #[inline]
    pub(crate) fn put(&mut self, entry: Entry) {
        if self
            .writers
            .front()
            .is_some_and(|writer| writer.remaining() < ENTRY_BYTES)
        {
            self.writers.pop_front();
        }
        // Without room the entry would be lost silently; the caller's check makes that impossible.
        let writer = self.writers.front_mut().expect("room was checked before");
        writer.spare()[..ENTRY_BYTES].copy_from_slice(&entry.to_bytes());
        writer.advance(ENTRY_BYTES);
        writer.publish();
        self.next += 1;
        self.max_physical = entry.end();
    }
}

/// What a queue is opened with.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) min: i64,
    pub(crate) next: i64,
    pub(crate) max_physical: i64,
}

impl Queue {
    pub(crate) fn new(
        topic: Arc<str>,
        id: i32,
        env: Env,
        marks: Arc<Watermarks>,
        files: Files,
        found: &Found,
        is_new: bool,
    ) -> Arc<Queue> {
        Arc::new_cyclic(|me| Queue {
            topic,
            id,
            me: Weak::clone(me),
            env,
            marks,
            files,
            min: found.min.into(),
            next: found.next.into(),
            visible: found.next.into(),
            room_until: found.next.into(),
            tail: Mutex::new(Tail {
                next: found.next,
                max_physical: found.max_physical,
                flushed: found.next,
                has_new_files: is_new,
                ..Tail::default()
            }),
            preparing: Mutex::new(()),
        })
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
        match self.marks.mode() {
            FlushMode::Async => self.appended_offset(),
            FlushMode::Sync => self.flushed_offset(),
        }
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
        let confirmed = self.marks.confirmed();
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

    /// The file of an entry. A file that cannot be mapped counts as missing.
    pub(crate) fn file_of(&self, offset: i64) -> Option<Arc<MappedFile>> {
        match self.files.find(&self.env, offset.checked_mul(ENTRY)?) {
            Ok(file) => file,
            Err(error) => {
                tracing::warn!(dir = %self.files.dir().display(), offset, %error, "a consume queue file cannot be read");
                None
            }
        }
    }

    /// The entry at an offset.
    pub(crate) fn entry(&self, offset: i64) -> Option<Entry> {
        let file = self.file_of(offset)?;
        let at = usize::try_from(offset * ENTRY - file.base()).ok()?;
        file.slice(at, ENTRY_BYTES)?
            .first_chunk()
            .map(Entry::of_bytes)
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

    /// Whether entries up to an offset have room.
    #[inline]
    pub(crate) fn has_room(&self, until: i64) -> bool {
        until <= self.room_until.load(Ordering::Acquire)
    }

    /// Makes room for `count` more entries and some to spare, outside the lock of the log. In the common case there is
    /// enough and nothing happens.
    #[inline]
    pub(crate) fn ensure_room(&self, count: i64) -> Result<(), AppendError> {
        if self.has_room(self.appended_offset() + count + self.low_room()) {
            return Ok(());
        }
        self.make_room(count)
    }

    #[inline]
    fn low_room(&self) -> i64 {
        LOW_ROOM.min(self.files.file_bytes().cast_signed() / ENTRY / 2)
    }

    #[cold]
    fn make_room(&self, count: i64) -> Result<(), AppendError> {
        let _only_one = self.preparing.lock();
        let result = self.make_room_locked(count);
        match &result {
            Err(AppendError::Io(error)) if error.kind() == io::ErrorKind::StorageFull => {
                tracing::warn!(dir = %self.files.dir().display(), "no space for a consume queue");
                Err(crate::ReadOnlyReason::DiskFull.into())
            }
            _ => result,
        }
    }

    fn make_room_locked(&self, count: i64) -> Result<(), AppendError> {
        let file_bytes = self.files.file_bytes();
        loop {
            let (next, last, allocated, retired) = {
                let tail = self.tail.lock();
                (
                    tail.next,
                    tail.writers.back().map(|writer| Arc::clone(writer.file())),
                    tail.allocated,
                    tail.retired,
                )
            };
            if retired {
                return Err(AppendError::QueueGone);
            }
            let wanted = next + count + self.low_room();
            let Some(last) = last else {
                self.add_writer(
                    self.files.base_for(next * ENTRY),
                    (next * ENTRY).cast_unsigned(),
                )?;
                continue;
            };
            let until = (last.base() + allocated.cast_signed()) / ENTRY;
            if until >= wanted {
                return Ok(());
            }
            if allocated < file_bytes {
                let more = QUEUE_ALLOCATION_BYTES
                    .max((wanted - until).cast_unsigned() * ENTRY_BYTES as u64);
                let target = (allocated + more).min(file_bytes);
                let file = self.env.open(last.path())?;
                self.env
                    .allocate(&file, last.path(), allocated, target - allocated)?;
                let mut tail = self.tail.lock();
                tail.allocated = target;
                self.room_until.store(
                    (last.base() + target.cast_signed()) / ENTRY,
                    Ordering::Release,
                );
            } else {
                self.add_writer(last.end(), 0)?;
            }
        }
    }

    /// Opens or makes the file at `base`, reserves its first blocks, and lets the tail write to it.
    fn add_writer(&self, base: i64, used_until: u64) -> Result<(), AppendError> {
        let file_bytes = self.files.file_bytes();
        let path = self.files.path(base);
        let in_file = used_until
            .saturating_sub(base.cast_unsigned())
            .min(file_bytes);
        let allocated =
            (in_file - in_file % QUEUE_ALLOCATION_BYTES + QUEUE_ALLOCATION_BYTES).min(file_bytes);
        let is_known = self.files.bases().contains(&base);
        let file = self.env.open_or_create(&path)?;
        if file.metadata()?.len() != file_bytes {
            self.env.set_len(&file, &path, file_bytes)?;
        }
        self.env.allocate(&file, &path, 0, allocated)?;
        if !is_known {
            drop(file);
            self.files.push(&Slot::unmapped(base, 0));
        }
        let map = self
            .files
            .find(&self.env, base)?
            .ok_or(AppendError::QueueGone)?;
        let writer = map.writer().ok_or(AppendError::QueueGone)?;
        let mut tail = self.tail.lock();
        tail.has_new_files |= !is_known;
        tail.writers.push_back(writer);
        tail.allocated = allocated;
        self.room_until
            .store((base + allocated.cast_signed()) / ENTRY, Ordering::Release);
        Ok(())
    }

    /// Makes the entries durable that were there when this was called; returns whether the directories above need a
    /// sync too.
    pub(crate) fn flush(&self) -> io::Result<bool> {
        let (from, until, new_files) = {
            let mut tail = self.tail.lock();
            if tail.retired {
                return Ok(false);
            }
            (
                tail.flushed,
                tail.next,
                std::mem::take(&mut tail.has_new_files),
            )
        };
        let mut at = from * ENTRY;
        while at < until * ENTRY {
            let Some(file) = self.files.find(&self.env, at)? else {
                break;
            };
            let end = file.end().min(until * ENTRY);
            let in_file = usize::try_from(at - file.base()).unwrap_or(0);
            let len = usize::try_from(end - at).unwrap_or(0);
            file.sync_range(&self.env, in_file, len)?;
            at = end;
        }
        if new_files {
            self.env.sync_dir(self.files.dir())?;
        }
        self.tail.lock().flushed = until;
        Ok(new_files)
    }

    /// Removes files that were made ahead and hold nothing; for the end, when nobody appends any more.
    pub(crate) fn remove_unused_files(&self) -> io::Result<()> {
        let mut tail = self.tail.lock();
        let first = self.files.first();
        while let Some(unused) = tail
            .writers
            .pop_back_if(|writer| writer.position() == 0 && Some(writer.file().base()) != first)
        {
            self.env.remove_file(unused.file().path())?;
        }
        Ok(())
    }

    /// No more appends; for deletion, under the lock of the log.
    pub(crate) fn retire(&self) {
        let mut tail = self.tail.lock();
        tail.retired = true;
        tail.writers.clear();
        self.room_until.store(i64::MIN, Ordering::Release);
    }

    /// Starts an empty queue at an offset other than 0, as Java does when earlier messages are gone: the space before
    /// it in its file is filled with blank entries. For recovery.
    pub(crate) fn start_at(&self, offset: i64) -> Result<(), AppendError> {
        let first = self.files.base_for(offset * ENTRY) / ENTRY;
        {
            let mut tail = self.tail.lock();
            tail.next = first;
            tail.flushed = first;
            self.next.store(first, Ordering::Release);
        }
        self.fill_until(offset)?;
        self.min.store(offset, Ordering::Release);
        Ok(())
    }

    /// Adds blank entries up to an offset. For recovery.
    pub(crate) fn fill_until(&self, offset: i64) -> Result<(), AppendError> {
        while self.appended_offset() < offset {
            self.put_recovered(Entry::BLANK)?;
        }
        Ok(())
    }

    /// Adds an entry. For recovery, where nobody else appends.
    pub(crate) fn put_recovered(&self, entry: Entry) -> Result<(), AppendError> {
        self.ensure_room(1)?;
        let mut tail = self.tail.lock();
        let max_physical = tail.max_physical;
        tail.put(entry);
        if entry.is_blank() {
            tail.max_physical = max_physical;
        }
        self.publish(&tail);
        self.visible.store(tail.next, Ordering::Release);
        Ok(())
    }

    /// Cuts the queue so that `next` is its next offset; what was behind is zero on disk. For recovery.
    pub(crate) fn cut(&self, next: i64) -> io::Result<()> {
        let mut tail = self.tail.lock();
        tail.writers.clear();
        let max_physical = match next.checked_sub(1).and_then(|last| self.entry(last)) {
            Some(entry) if !entry.is_blank() => entry.end(),
            _ => 0,
        };
        let bases = self.files.bases();
        let slots = cut_files(&self.env, &self.files, &bases, next)?;
        self.files.replace(slots);
        tail.next = next;
        tail.max_physical = max_physical;
        tail.flushed = tail.flushed.min(next);
        tail.allocated = 0;
        self.next.store(next, Ordering::Release);
        self.visible.store(next, Ordering::Release);
        self.room_until.store(next, Ordering::Release);
        self.min.fetch_min(next, Ordering::AcqRel);
        Ok(())
    }

    pub(crate) fn set_min(&self, min: i64) {
        self.min.store(min, Ordering::Release);
    }
}

/// Removes the files behind entry `next`, the last first, and makes the rest of its own file zero; all of it durable.
pub(crate) fn cut_files(
    env: &Env,
    files: &Files,
    bases: &[i64],
    next: i64,
) -> io::Result<Vec<Arc<Slot>>> {
    let position = next * ENTRY;
    let file_bytes = files.file_bytes().cast_signed();
    let mut slots = Vec::new();
    let mut removed = false;
    for base in bases.iter().rev() {
        let path = files.path(*base);
        if *base > position || (*base == position && bases.len() > 1 && *base != bases[0]) {
            env.remove_file(&path)?;
            removed = true;
            continue;
        }
        let used = (position - base).min(file_bytes);
        if used < file_bytes {
            let file = env.open(&path)?;
            env.zero_range(
                &file,
                &path,
                used.cast_unsigned(),
                (file_bytes - used).cast_unsigned(),
            )?;
            env.sync_all(&file, &path)?;
        }
        slots.push(Slot::unmapped(*base, usize::try_from(used).unwrap_or(0)));
    }
    if removed {
        env.sync_dir(files.dir())?;
    }
    slots.reverse();
    Ok(slots)
}
