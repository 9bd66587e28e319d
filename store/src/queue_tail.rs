// SPDX-License-Identifier: Apache-2.0
//! The end of a consume queue, where entries are put, and the room for them.
//!
//! A light queue, one that gets few messages, keeps its new entries in memory until the keeper writes them: it needs
//! neither a mapping nor blocks ahead, and an idle queue can take a message without any file being touched. A crash
//! loses nothing, as the log has what the entries say. A queue that gets more than that becomes a mapped one: the end
//! of its file is mapped and has its blocks reserved, so that entries are written without a system call.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, atomic::Ordering},
};

use smallvec::SmallVec;

use crate::{
    consume_queue::{ENTRY, Entry, Queue},
    error::AppendError,
    files::Slot,
    layout::{ENTRY_BYTES, QUEUE_ALLOCATION_BYTES},
    mapped_file::FileWriter,
    queue_flags::Flag,
};

/// Entries that wait in memory before a queue is mapped, at most.
pub(crate) const LIGHT_ENTRIES: i64 = 1024;
/// Entries that wait in memory when the queue is to be mapped in the background.
const BUSY_ENTRIES: i64 = 64;
/// Entries of room below which more is made before it is needed.
const LOW_ROOM: i64 = (QUEUE_ALLOCATION_BYTES / 2) as i64 / ENTRY;

/// The end that is written.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) next: i64,
    /// End in the log of the last message.
    pub(crate) max_physical: i64,
    /// Entries below this are durable.
    pub(crate) flushed: i64,
    /// What an active queue needs.
    pub(crate) end: Option<Box<End>>,
    /// The round of the keeper in which this queue was put on its list.
    pub(crate) dirty_round: u32,
    /// A file, or a directory, was made that is not yet durable.
    pub(crate) has_new_files: bool,
    pub(crate) retired: bool,
}

/// The end of an active queue. There may be hundreds of thousands that have one message each: those take little.
#[derive(Debug)]
pub(crate) enum End {
    /// Entries of a light queue that are in no file yet: the last ones before `next`.
    Pending(SmallVec<[u8; ENTRY_BYTES]>),
    Mapped(Mapped),
}

/// The end of a queue that is written through mappings.
#[derive(Debug)]
pub(crate) struct Mapped {
    /// The file of the next entry and those prepared behind it.
    pub(crate) writers: VecDeque<FileWriter>,
    /// Bytes of the last writer's file whose blocks are reserved.
    pub(crate) allocated: u64,
}

impl Tail {
    pub(crate) fn new(next: i64, max_physical: i64) -> Tail {
        Tail {
            next,
            max_physical,
            flushed: next,
            end: None,
            dirty_round: 0,
            has_new_files: false,
            retired: false,
        }
    }

    /// Entries that wait in memory, as bytes.
    pub(crate) fn pending(&self) -> &[u8] {
        match self.end.as_deref() {
            Some(End::Pending(pending)) => pending,
            _ => &[],
        }
    }

    /// What an end that is mapped has.
    pub(crate) fn mapped(&self) -> Option<&Mapped> {
        match self.end.as_deref() {
            Some(End::Mapped(mapped)) => Some(mapped),
            _ => None,
        }
    }

    /// Entries below this are in files.
    pub(crate) fn written(&self) -> i64 {
        self.next - (self.pending().len() / ENTRY_BYTES) as i64
    }

    /// Adds an entry; the caller has checked that there is room. Returns how many bytes now wait in memory that did not
    /// before.
    #[inline]
    pub(crate) fn put(&mut self, entry: Entry) -> usize {
        let mut waits = 0;
        let end = self
            .end
            .get_or_insert_with(|| Box::new(End::Pending(SmallVec::new())));
        match &mut **end {
            End::Mapped(mapped) => {
                if mapped
                    .writers
                    .front()
                    .is_some_and(|writer| writer.remaining() < ENTRY_BYTES)
                {
                    mapped.writers.pop_front();
                }
                // Without room the entry would be lost silently; the caller's check makes that impossible.
                let writer = mapped.writers.front_mut().expect("room was checked before");
                write(writer, entry);
            }
            End::Pending(pending) => {
                pending.extend_from_slice(&entry.to_bytes());
                waits = ENTRY_BYTES;
            }
        }
        self.next += 1;
        self.max_physical = entry.end();
        waits
    }

    /// Copies entries that wait in memory, from `at` up to `until`; whether there are any.
    pub(crate) fn copy_pending(&self, at: i64, until: i64, copied: &mut Vec<u8>) -> bool {
        let written = self.written();
        if at < written || at >= self.next {
            return false;
        }
        let from = usize::try_from(at - written).unwrap_or(0) * ENTRY_BYTES;
        let count = usize::try_from(until.min(self.next) - at).unwrap_or(0) * ENTRY_BYTES;
        let Some(bytes) = self.pending().get(from..from + count) else {
            return false;
        };
        copied.clear();
        copied.extend_from_slice(bytes);
        !copied.is_empty()
    }
}

#[inline]
fn write(writer: &mut FileWriter, entry: Entry) {
    writer.spare()[..ENTRY_BYTES].copy_from_slice(&entry.to_bytes());
    writer.advance(ENTRY_BYTES);
    writer.publish();
}

impl Queue {
    /// Adds an entry behind the last; the caller has locked the tail and checked that there is room.
    #[inline]
    pub(crate) fn put(&self, tail: &mut Tail, entry: Entry) {
        let waits = tail.put(entry);
        if waits > 0 {
            self.shared.add_pending(waits);
        }
    }

    /// Whether entries up to an offset have room.
    #[inline]
    pub(crate) fn has_room(&self, until: i64) -> bool {
        until <= self.room_until.load(Ordering::Acquire)
    }

    /// Sees to room for `count` more entries, outside the lock of the log. In the common case there is enough and
    /// nothing happens; when it gets scarce more is made in the background.
    #[inline]
    pub(crate) fn ensure_room(&self, count: i64) -> Result<(), AppendError> {
        let until = self.appended_offset() + count;
        if self.has_room(until + self.spare_room()) {
            return Ok(());
        }
        self.get_room(count, until)
    }

    #[cold]
    fn get_room(&self, count: i64, until: i64) -> Result<(), AppendError> {
        if !self.has_room(until) || self.shared.has_much_pending() {
            return self.make_room(count);
        }
        if !self.flags.put(Flag::HasAsked, true)
            && let Some(me) = self.handle()
        {
            self.shared.ask_for_room(me);
        }
        Ok(())
    }

    #[inline]
    fn spare_room(&self) -> i64 {
        if self.flags.has(Flag::IsMapped) {
            self.low_room()
        } else {
            LIGHT_ENTRIES - BUSY_ENTRIES
        }
    }

    fn low_room(&self) -> i64 {
        LOW_ROOM.min(self.shared.file_bytes.cast_signed() / ENTRY / 2)
    }

    /// Makes room for `count` more entries and some to spare.
    #[cold]
    pub(crate) fn make_room(&self, count: i64) -> Result<(), AppendError> {
        let result = {
            let _only_one = self.files_work.lock();
            self.flags.put(Flag::HasAsked, false);
            self.make_room_locked(count)
        };
        match &result {
            Err(AppendError::Io(error)) if error.kind() == io::ErrorKind::StorageFull => {
                tracing::warn!(dir = %self.dir().display(), "no space for a consume queue");
                Err(crate::ReadOnlyReason::DiskFull.into())
            }
            _ => result,
        }
    }

    fn make_room_locked(&self, count: i64) -> Result<(), AppendError> {
        let file_bytes = self.shared.file_bytes;
        loop {
            let (next, last, allocated, retired) = {
                let tail = self.tail.lock();
                let mapped = tail.mapped();
                (
                    tail.next,
                    mapped
                        .and_then(|mapped| mapped.writers.back())
                        .map(|writer| Arc::clone(writer.file())),
                    mapped.map_or(0, |mapped| mapped.allocated),
                    tail.retired,
                )
            };
            if retired {
                return Err(AppendError::QueueGone);
            }
            let wanted = next + count + self.low_room();
            let Some(last) = last else {
                self.become_mapped()?;
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
                let env = &self.shared.env;
                let file = env.open(last.path())?;
                env.allocate(&file, last.path(), allocated, target - allocated)?;
                let mut tail = self.tail.lock();
                if let Some(End::Mapped(mapped)) = tail.end.as_deref_mut() {
                    mapped.allocated = target;
                }
                self.room_until.store(
                    (last.base() + target.cast_signed()) / ENTRY,
                    Ordering::Release,
                );
            } else {
                self.add_writer(last.end(), 0)?;
            }
        }
    }

    /// Writes what waits in memory and goes on through a mapping.
    fn become_mapped(&self) -> Result<(), AppendError> {
        self.files_locked()?;
        loop {
            self.write_pending()?;
            let written = self.tail.lock().written();
            let in_bytes = (written * ENTRY).cast_unsigned();
            let base = self.base_for(written * ENTRY);
            let (mut writer, allocated) = self.make_writer(base, in_bytes)?;
            let until = (base + allocated.cast_signed()) / ENTRY;
            let mut tail = self.tail.lock();
            if tail.retired {
                return Err(AppendError::QueueGone);
            }
            if tail.next > until {
                // What came meanwhile does not fit: it is written first.
                continue;
            }
            let pending = tail.pending();
            writer.spare()[..pending.len()].copy_from_slice(pending);
            writer.advance(pending.len());
            writer.publish();
            self.shared.sub_pending(pending.len());
            tail.end = Some(Box::new(End::Mapped(Mapped {
                writers: VecDeque::from([writer]),
                allocated,
            })));
            self.flags.put(Flag::IsMapped, true);
            self.room_until.store(until, Ordering::Release);
            return Ok(());
        }
    }

    fn add_writer(&self, base: i64, used_until: u64) -> Result<(), AppendError> {
        let (writer, allocated) = self.make_writer(base, used_until)?;
        let mut tail = self.tail.lock();
        let Some(End::Mapped(mapped)) = tail.end.as_deref_mut() else {
            return Err(AppendError::QueueGone);
        };
        mapped.writers.push_back(writer);
        mapped.allocated = allocated;
        self.room_until
            .store((base + allocated.cast_signed()) / ENTRY, Ordering::Release);
        Ok(())
    }

    /// Opens or makes the file at `base` and reserves its blocks from `used_until` on; a writer for it, and how far
    /// its blocks are reserved.
    fn make_writer(&self, base: i64, used_until: u64) -> Result<(FileWriter, u64), AppendError> {
        let files = self.files_locked()?;
        let file_bytes = self.shared.file_bytes;
        let env = &self.shared.env;
        let path = files.path(base);
        let in_file = used_until
            .saturating_sub(base.cast_unsigned())
            .min(file_bytes);
        let allocated =
            (in_file - in_file % QUEUE_ALLOCATION_BYTES + QUEUE_ALLOCATION_BYTES).min(file_bytes);
        let is_known = files.slot(base).is_some();
        if !is_known {
            self.make_dir()?;
        }
        let file = env.open_or_create(&path)?;
        if !is_known {
            // Known from here on, whatever fails now: when the queue is given up it goes with the others, as a hole in
            // their row would make the queue unreadable.
            files.push(&Slot::unmapped(base, 0));
            self.tail.lock().has_new_files = true;
        }
        if file.metadata()?.len() != file_bytes {
            env.set_len(&file, &path, file_bytes)?;
        }
        env.allocate(&file, &path, 0, allocated)?;
        drop(file);
        let map = files.find(env, base)?.ok_or(AppendError::QueueGone)?;
        let writer = map.writer().ok_or(AppendError::QueueGone)?;
        Ok((writer, allocated))
    }

    /// No more appends; for deletion, under the lock of the log.
    pub(crate) fn retire(&self) {
        let mut tail = self.tail.lock();
        tail.retired = true;
        self.shared.sub_pending(tail.pending().len());
        tail.end = None;
        self.room_until.store(i64::MIN, Ordering::Release);
    }

    /// Starts an empty queue at an offset other than 0, as Java does when earlier messages are gone: the space before
    /// it in its file is filled with blank entries. For recovery.
    pub(crate) fn start_at(&self, offset: i64) -> Result<(), AppendError> {
        let first = self.base_for(offset * ENTRY) / ENTRY;
        {
            let mut tail = self.tail.lock();
            tail.next = first;
            tail.flushed = first;
            self.set_next(first);
            self.room_until
                .store(first + LIGHT_ENTRIES, Ordering::Release);
        }
        self.fill_until(offset)?;
        self.set_min(offset);
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
        if !self.has_room(self.appended_offset() + 1) || self.shared.has_much_pending() {
            self.make_room(1)?;
        }
        let mut tail = self.tail.lock();
        let max_physical = tail.max_physical;
        self.put(&mut tail, entry);
        if entry.is_blank() {
            tail.max_physical = max_physical;
        }
        self.note_first(tail.next - 1, entry);
        self.publish(&tail);
        self.show(tail.next);
        Ok(())
    }
}
