// SPDX-License-Identifier: Apache-2.0
//! The files of a consume queue: found when they are needed, written by the keeper, given up when nobody uses them.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use smallvec::SmallVec;

use crate::{
    consume_queue::{ENTRY, Entry, Queue},
    env::{Env, Operation},
    files::{self, Descriptors, Files, Slot},
    layout::{self, ENTRY_BYTES},
    mend,
    queue_flags::Flag,
    queue_tail::{End, LIGHT_ENTRIES},
    watermark::Watermarks,
};

impl Queue {
    /// Start of the file that holds a position.
    pub(crate) fn base_for(&self, position: i64) -> i64 {
        position - position.rem_euclid(self.shared.file_bytes.cast_signed())
    }

    /// The files, listed now if they are not at hand. Not for a network thread.
    pub(crate) fn files_now(&self) -> io::Result<Arc<Files>> {
        if let Some(files) = self.files.load_full() {
            return Ok(files);
        }
        let _only_one = self.files_work.lock();
        self.files_locked()
    }

    /// As [`Queue::files_now`], by who holds `files_work`.
    pub(crate) fn files_locked(&self) -> io::Result<Arc<Files>> {
        if let Some(files) = self.files.load_full() {
            return Ok(files);
        }
        let (written, expected) = {
            let tail = self.tail.lock();
            if tail.retired {
                return Err(io::ErrorKind::NotFound.into());
            }
            let written = tail.written();
            (written, (written == tail.next).then_some(tail.max_physical))
        };
        self.verify_locked()?;
        let dir = self.dir();
        let env = &self.shared.env;
        let bases = files::list(env, &dir, self.shared.file_bytes).map_err(io::Error::other)?;
        if !bases.is_empty() {
            self.flags.put(Flag::HasDir, true);
        }
        let files = Files::new(dir, self.shared.file_bytes, Descriptors::Drop, Vec::new());
        files.replace(self.slots(&bases, written));
        if !self.is_complete(&files, written, expected)? {
            mend::mend(self, &files, written)?;
        }
        let files = Arc::new(files);
        self.files.store(Some(Arc::clone(&files)));
        self.touch();
        if let Some(me) = self.handle() {
            self.shared.opened(me);
        }
        Ok(files)
    }

    /// An entry that is in a file; where the files are not at hand it is read without taking them there. `None` when no
    /// file has it.
    pub(crate) fn entry_in_file(&self, offset: i64) -> io::Result<Option<Entry>> {
        if self.files.load().is_some() {
            return Ok(self.entry(offset));
        }
        let position = offset * ENTRY;
        let base = self.base_for(position);
        let path = self.dir().join(layout::file_name(base));
        match read_entry_of(&self.shared.env, &path, position - base) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read,
        }
    }

    /// Slots of files that hold entries up to `written`.
    pub(crate) fn slots(&self, bases: &[i64], written: i64) -> Vec<Arc<Slot>> {
        let file_bytes = self.shared.file_bytes.cast_signed();
        let published = |base: i64| (written * ENTRY - base).clamp(0, file_bytes);
        bases
            .iter()
            .map(|base| Slot::unmapped(*base, usize::try_from(published(*base)).unwrap_or(0)))
            .collect()
    }

    /// Whether the last entry is there that should be.
    fn is_complete(
        &self,
        files: &Files,
        written: i64,
        expected_end: Option<i64>,
    ) -> io::Result<bool> {
        let Some(last) = written
            .checked_sub(1)
            .filter(|last| *last >= self.min_offset())
        else {
            return Ok(true);
        };
        let Some(entry) = read_entry(&self.shared.env, files, last)? else {
            return Ok(false);
        };
        let is_as_expected = expected_end.is_none_or(|end| end == 0 || entry.end() == end);
        Ok(entry.size > 0 && (is_as_expected || entry.is_blank()))
    }

    /// Makes sure that nothing follows the last entry on disk, if that is not known.
    pub(crate) fn verify(&self) -> io::Result<()> {
        if !self.flags.has(Flag::Unverified) {
            return Ok(());
        }
        let _only_one = self.files_work.lock();
        self.verify_locked()
    }

    fn verify_locked(&self) -> io::Result<()> {
        if !self.flags.has(Flag::Unverified) {
            return Ok(());
        }
        let (written, waiting) = {
            let tail = self.tail.lock();
            if tail.retired {
                return Ok(());
            }
            (tail.written(), tail.pending().to_vec())
        };
        let (dir, from) = (self.dir(), written * ENTRY);
        let kept = clear_behind(
            &self.shared.env,
            &self.shared.marks,
            &dir,
            self.shared.file_bytes,
            from,
            &waiting,
        )?;
        if kept > from && self.base_for(kept - 1) >= from {
            // A file that begins there is from before the crash, and perhaps not known to its directory on the disk.
            self.tail.lock().has_new_files = true;
        }
        self.flags.put(Flag::Unverified, false);
        Ok(())
    }

    pub(crate) fn make_dir(&self) -> io::Result<()> {
        if !self.flags.has(Flag::HasDir) {
            self.shared.env.create_dir_all(&self.dir())?;
            self.flags.put(Flag::HasDir, true);
            self.tail.lock().has_new_files = true;
        }
        Ok(())
    }

    /// Writes entries that wait in memory to the files; they are not durable by that.
    pub(crate) fn write_out(&self) -> io::Result<()> {
        if self.tail.lock().pending().is_empty() {
            return Ok(());
        }
        let _only_one = self.files_work.lock();
        self.write_pending()
    }

    /// As [`Queue::write_out`], by who holds `files_work`.
    pub(crate) fn write_pending(&self) -> io::Result<()> {
        let (bytes, written) = {
            let tail = self.tail.lock();
            if tail.pending().is_empty() || tail.retired {
                return Ok(());
            }
            (tail.pending().to_vec(), tail.written())
        };
        self.verify_locked()?;
        self.make_dir()?;
        let env = &self.shared.env;
        let dir = self.dir();
        let file_bytes = self.shared.file_bytes;
        let files = self.files.load_full();
        let mut at = written * ENTRY;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let base = self.base_for(at);
            let in_file = (at - base).cast_unsigned();
            let count = usize::try_from(file_bytes - in_file)
                .map_or(rest.len(), |room| room.min(rest.len()));
            let path = dir.join(layout::file_name(base));
            let file = env.open_or_create(&path)?;
            if file.metadata()?.len() != file_bytes {
                // Noted first: what fails from here on is tried again, and then the file is there.
                self.tail.lock().has_new_files = true;
                env.set_len(&file, &path, file_bytes)?;
            }
            env.write_all_at(&file, &path, &rest[..count], in_file)?;
            let published = usize::try_from(in_file).unwrap_or(0) + count;
            if let Some(files) = &files {
                match files.slot(base) {
                    Some(slot) => slot.publish(published),
                    None => files.push(&Slot::unmapped(base, published)),
                }
            }
            rest = &rest[count..];
            at += count as i64;
        }
        if let Some(first) = bytes.first_chunk() {
            self.note_first(written, Entry::of_bytes(first));
        }
        let mut tail = self.tail.lock();
        let Some(End::Pending(pending)) = tail.end.as_deref_mut() else {
            return Ok(());
        };
        if pending.len() == bytes.len() {
            tail.end = None;
        } else {
            *pending = SmallVec::from_slice(&pending[bytes.len()..]);
        }
        self.shared.sub_pending(bytes.len());
        self.room_until.store(
            written + (bytes.len() / ENTRY_BYTES) as i64 + LIGHT_ENTRIES,
            Ordering::Release,
        );
        Ok(())
    }

    /// Makes the entries durable that were there when this was called; returns whether the directories above need a
    /// sync too.
    pub(crate) fn flush(&self) -> io::Result<bool> {
        self.write_out()?;
        let (from, until, new_files) = {
            let mut tail = self.tail.lock();
            if tail.retired {
                return Ok(false);
            }
            (
                tail.flushed,
                tail.written(),
                std::mem::take(&mut tail.has_new_files),
            )
        };
        let env = &self.shared.env;
        let mut at = from * ENTRY;
        while at < until * ENTRY {
            let base = self.base_for(at);
            let end = (base + self.shared.file_bytes.cast_signed()).min(until * ENTRY);
            let in_file = usize::try_from(at - base).unwrap_or(0);
            let len = usize::try_from(end - at).unwrap_or(0);
            let mapped = match &*self.files.load() {
                Some(files) => files.find(env, at)?,
                None => None,
            };
            match mapped {
                Some(file) => file.sync_range(env, in_file, len)?,
                None => {
                    let path = self.dir().join(layout::file_name(base));
                    let file = env.open(&path)?;
                    env.sync_data(&file, &path)?;
                }
            }
            at = end;
        }
        if new_files {
            env.sync_dir(&self.dir())?;
        }
        self.flushed(until);
        Ok(new_files)
    }

    /// How far the entries are in files; directories made since the last flush count as known.
    pub(crate) fn take_written(&self) -> i64 {
        let mut tail = self.tail.lock();
        tail.has_new_files = false;
        tail.written()
    }

    /// What has to be durable for the entries up to `until`.
    pub(crate) fn covered(&self, until: i64) -> Vec<(Operation, PathBuf)> {
        let dir = self.dir();
        let from = self.tail.lock().flushed;
        let mut covered = Vec::new();
        let mut base = self.base_for(from * ENTRY);
        while base < until * ENTRY {
            covered.push((Operation::Sync, dir.join(layout::file_name(base))));
            base += self.shared.file_bytes.cast_signed();
        }
        if let Some(topic) = dir.parent() {
            covered.push((Operation::SyncDir, topic.to_owned()));
        }
        covered.push((Operation::SyncDir, dir));
        covered
    }

    /// Notes that the entries below `until` are durable.
    pub(crate) fn flushed(&self, until: i64) {
        let mut tail = self.tail.lock();
        tail.flushed = tail.flushed.max(until);
    }

    /// Gives up files and mappings, unless somebody works with them or they are not written yet. A message that comes
    /// later waits in memory again.
    pub(crate) fn give_up_files(&self) -> bool {
        let Some(_only_one) = self.files_work.try_lock() else {
            return false;
        };
        let unused = {
            let mut tail = self.tail.lock();
            if tail.retired {
                self.files.store(None);
                return true;
            }
            if !tail.pending().is_empty() {
                return false;
            }
            let end = tail.end.take();
            if self.shared.marks.confirmed() >= tail.max_physical {
                // So that nobody has to open the files to see what is flushed.
                self.show(tail.next);
            }
            self.flags.put(Flag::IsMapped, false);
            self.room_until
                .store(tail.next + LIGHT_ENTRIES, Ordering::Release);
            let until = tail.next * ENTRY;
            let writers = match end.map(|end| *end) {
                Some(End::Mapped(mapped)) => mapped.writers,
                _ => VecDeque::new(),
            };
            writers
                .iter()
                .filter(|writer| writer.position() == 0 && writer.file().base() >= until)
                .map(|writer| writer.file().base())
                .find(|base| *base > 0)
        };
        let files = self.files.swap(None);
        let (Some(files), Some(unused)) = (files, unused) else {
            return true;
        };
        // The last one first, and with those that got no writer, as they could not be completed or mapped: a hole must
        // not stay.
        let bases = files.bases();
        for base in bases.iter().rev().take_while(|base| **base >= unused) {
            let path = files.path(*base);
            if let Err(error) = self.shared.env.remove_file(&path) {
                tracing::debug!(path = %path.display(), %error, "an unused file stays");
                break;
            }
        }
        true
    }

    /// Cuts the queue so that `next` is its next offset; what was behind is zero on disk. For recovery.
    pub(crate) fn cut(&self, next: i64) -> io::Result<()> {
        let last = next.checked_sub(1).and_then(|last| self.entry(last));
        let max_physical = last.filter(|entry| !entry.is_blank()).map_or(0, Entry::end);
        let _only_one = self.files_work.lock();
        self.write_pending()?;
        let files = self.files_locked()?;
        let mut tail = self.tail.lock();
        tail.end = None;
        let slots = cut_files(&self.shared.env, &files, &files.bases(), next)?;
        files.replace(slots);
        tail.next = next;
        tail.max_physical = max_physical;
        tail.flushed = tail.flushed.min(next);
        self.flags.put(Flag::IsMapped, false);
        self.set_next(next);
        self.room_until
            .store(next + LIGHT_ENTRIES, Ordering::Release);
        if next <= self.min_offset() {
            self.set_min(next);
        }
        Ok(())
    }
}

/// Reads an entry without a mapping; `None` when no file has it.
pub(crate) fn read_entry(env: &Env, files: &Files, offset: i64) -> io::Result<Option<Entry>> {
    let position = offset * ENTRY;
    let base = files.base_for(position);
    if files.slot(base).is_none() {
        return Ok(None);
    }
    read_entry_of(env, &files.path(base), position - base)
}

/// The entry at a byte of a file; `None` when the file ends before.
fn read_entry_of(env: &Env, path: &Path, at: i64) -> io::Result<Option<Entry>> {
    let file = env.open(path)?;
    let mut bytes = [0; ENTRY_BYTES];
    let read = env.read_at(&file, path, &mut bytes, at.cast_unsigned())?;
    Ok((read == ENTRY_BYTES).then(|| Entry::of_bytes(&bytes)))
}

/// Removes files behind a position and makes the rest of its own zero, where it is not. What is there was written
/// before a crash, for messages that may be gone. As far as it is just what waits to be written there it stays: after a
/// kill that is so for all queues, and making each zero first would cost a sync each, and take entries from a broker of
/// Apache's that the checkpoint says are there. Returns how far that is. A sync that fails here is final, as everywhere:
/// nobody knows any more what the disk has.
pub(crate) fn clear_behind(
    env: &Env,
    marks: &Watermarks,
    dir: &Path,
    file_bytes: u64,
    position: i64,
    waiting: &[u8],
) -> io::Result<i64> {
    let start_of = |position: i64| position - position.rem_euclid(file_bytes.cast_signed());
    let mut removed = false;
    let listed = env.list(dir)?;
    let files = || {
        let files = listed.iter().filter(|entry| !entry.is_dir);
        files.filter_map(|entry| Some((layout::base_of(&entry.name)?, dir.join(&entry.name))))
    };
    let first = files().next().map(|(base, _)| base);
    let mut end = position;
    let mut rest = waiting;
    for (base, path) in files() {
        if base != start_of(end) || rest.is_empty() {
            continue;
        }
        let room = (base + file_bytes.cast_signed() - end).cast_unsigned();
        let count = usize::try_from(room).map_or(rest.len(), |room| room.min(rest.len()));
        let same = same_entries(env, &path, (end - base).cast_unsigned(), &rest[..count])?;
        end += same as i64;
        rest = &rest[same..];
        if same < count {
            break;
        }
    }
    let own = start_of(end);
    for (base, path) in files().collect::<Vec<_>>().into_iter().rev() {
        // A file that would hold the next entry only may not be durable itself; it is made again when it is needed. The
        // only one stays, as it tells where the queue goes on.
        if base > own || (base == end && (base == 0 || first != Some(base))) {
            env.remove_file(&path)?;
            removed = true;
        } else if base == own {
            let file = env.open(&path)?;
            let used = (end - base).cast_unsigned();
            let len = file.metadata()?.len();
            if used < len && has_data(env, &file, &path, used, len)? {
                env.clear_range(&file, &path, used, len - used)?;
                env.sync_all(&file, &path)
                    .inspect_err(|error| marks.sync_failed(&path, error))?;
            }
        }
    }
    if removed {
        env.sync_dir(dir)
            .inspect_err(|error| marks.sync_failed(dir, error))?;
    }
    Ok(end)
}

/// How many bytes of these entries stand at a place of a file, in whole entries.
fn same_entries(env: &Env, path: &Path, at: u64, entries: &[u8]) -> io::Result<usize> {
    let file = env.open(path)?;
    let mut found = vec![0; entries.len()];
    let read = env.read_at(&file, path, &mut found, at)?;
    let pairs = found[..read]
        .chunks_exact(ENTRY_BYTES)
        .zip(entries.chunks_exact(ENTRY_BYTES));
    let same = pairs.take_while(|(found, entry)| found == entry).count();
    Ok(same * ENTRY_BYTES)
}

/// Whether a range of a file holds anything but zeros.
fn has_data(
    env: &Env,
    file: &std::fs::File,
    path: &Path,
    from: u64,
    until: u64,
) -> io::Result<bool> {
    env.read_singly(file);
    let mut buffer = vec![0; 16 << 10];
    let mut at = from;
    while at < until
        && let Some(data) = env.next_data(file, path, at)?
    {
        // Up to a round position: what is read in part counts as data of the file to its end.
        let want = buffer.len() - usize::try_from(data % buffer.len() as u64).unwrap_or(0);
        let read = env.read_at(file, path, &mut buffer[..want], data)?;
        if read == 0 {
            return Ok(false);
        }
        if buffer[..read].iter().any(|byte| *byte != 0) {
            return Ok(true);
        }
        at = data + read as u64;
    }
    Ok(false)
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
            // Files of queues have blocks just ahead of their end: a queue with one message is not to get 6 MB of them.
            env.clear_range(
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
