// SPDX-License-Identifier: Apache-2.0
//! The commit log: one row of files, one lock to append under. The same lock hands out queue offsets, so that the order
//! in the log and in each queue agree (Apache: `store/CommitLog.java`).

use std::{
    fs::File,
    io,
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use aerobee_message::record::{BLANK_BYTES, MAGIC_BLANK};
use parking_lot::{Mutex, MutexGuard};

use crate::{
    consume_queue::Queue,
    env::Env,
    files::{Files, Slot},
    mapped_file::{FileWriter, MappedFile},
    watermark::Watermarks,
};

/// How far the wall clock may step back without store times following it.
const LARGEST_STEP_BACK_MILLIS: i64 = 3_600_000;

/// The log.
#[derive(Debug)]
pub(crate) struct CommitLog {
    pub(crate) files: Files,
    pub(crate) marks: Arc<Watermarks>,
    env: Env,
    appender: Mutex<Appender>,
    /// When the lock was taken, in milliseconds since 1970; 0 while it is free.
    held_since: AtomicI64,
    /// What is not durable before this was found at the start, and is written again before it is synced.
    found_until: i64,
    syncing: Mutex<()>,
}

/// What the lock guards.
#[derive(Debug)]
pub(crate) struct Appender {
    pub(crate) writer: FileWriter,
    pub(crate) next_file: Option<Arc<MappedFile>>,
    pub(crate) last_timestamp: i64,
    /// Start of the last record; 0 before the first.
    pub(crate) last_start: i64,
    /// Counts the rounds of the keeper; a queue that has an older number is not on the list yet.
    pub(crate) round: u32,
    pub(crate) dirty: Vec<Arc<Queue>>,
    /// An append that reaches this wakes the flusher.
    pub(crate) wake_flusher_at: i64,
    /// An append that reaches this wakes the preparer.
    pub(crate) wake_preparer_at: i64,
}

impl Appender {
    /// End of the log, as the appender sees it.
    #[inline]
    pub(crate) fn end(&self) -> i64 {
        self.writer.file().base() + self.writer.position() as i64
    }

    /// Puts a queue on the keeper's list, once in each of its rounds.
    #[inline]
    pub(crate) fn mark_dirty(&mut self, queue: &Queue, dirty_round: &mut u32) {
        if *dirty_round != self.round {
            *dirty_round = self.round;
            self.dirty.extend(queue.handle());
        }
    }

    /// Which threads an append up to `end` has to wake; each is woken once until it asks again.
    #[inline]
    pub(crate) fn wakes(&mut self, end: i64) -> Wakes {
        let flusher = end >= self.wake_flusher_at;
        if flusher {
            self.wake_flusher_at = i64::MAX;
        }
        let preparer = end >= self.wake_preparer_at;
        if preparer {
            self.wake_preparer_at = i64::MAX;
        }
        Wakes { flusher, preparer }
    }

    /// The store time for a record: the clock, but not before the last record unless the clock was set back a lot.
    #[inline]
    fn timestamp(&mut self, now: i64) -> i64 {
        let last = self.last_timestamp;
        if now < last && last - now <= LARGEST_STEP_BACK_MILLIS {
            return last;
        }
        self.last_timestamp = now;
        now
    }
}

/// Threads to wake after an append, once the lock is released.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wakes {
    pub(crate) flusher: bool,
    pub(crate) preparer: bool,
}

/// The lock, held.
pub(crate) struct Locked<'a> {
    log: &'a CommitLog,
    pub(crate) appender: MutexGuard<'a, Appender>,
    pub(crate) timestamp: i64,
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.log.held_since.store(0, Ordering::Relaxed);
    }
}

impl Locked<'_> {
    /// Makes sure that `len` bytes and a blank record fit, going on to the prepared file if need be; `false` when no
    /// file is prepared.
    #[inline]
    pub(crate) fn place(&mut self, len: usize) -> bool {
        if self.appender.writer.remaining() >= len + BLANK_BYTES {
            return true;
        }
        self.roll()
    }

    #[cold]
    fn roll(&mut self) -> bool {
        let Some(next) = self.appender.next_file.take() else {
            return false;
        };
        let Some(next_writer) = next.writer() else {
            return false;
        };
        let writer = &mut self.appender.writer;
        let rest = writer.remaining();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a log file is shorter than 4 GiB, see Config"
        )]
        let rest_field = rest as u32;
        let out = writer.spare();
        out[..4].copy_from_slice(&rest_field.to_be_bytes());
        out[4..BLANK_BYTES].copy_from_slice(&MAGIC_BLANK.to_be_bytes());
        writer.advance(rest);
        writer.publish();
        self.log.files.push(&Slot::mapped(next));
        self.appender.writer = next_writer;
        true
    }
}

impl CommitLog {
    pub(crate) fn new(
        files: Files,
        marks: Arc<Watermarks>,
        env: Env,
        writer: FileWriter,
        last: (i64, i64),
    ) -> CommitLog {
        let (last_start, last_timestamp) = last;
        let found_until = marks.end();
        CommitLog {
            files,
            marks,
            env,
            appender: Mutex::new(Appender {
                writer,
                next_file: None,
                last_timestamp,
                last_start,
                round: 1,
                dirty: Vec::new(),
                wake_flusher_at: 0,
                wake_preparer_at: 0,
            }),
            held_since: AtomicI64::new(0),
            found_until,
            syncing: Mutex::new(()),
        }
    }

    /// Takes the lock to append.
    #[inline]
    pub(crate) fn lock(&self) -> Locked<'_> {
        let mut appender = self.appender.lock();
        let now = self.env.clock().millis();
        self.held_since.store(now, Ordering::Relaxed);
        let timestamp = appender.timestamp(now);
        Locked {
            log: self,
            appender,
            timestamp,
        }
    }

    /// Takes the lock to look, or to change what is not a record.
    pub(crate) fn peek(&self) -> MutexGuard<'_, Appender> {
        self.appender.lock()
    }

    /// How long the lock has been held, in milliseconds; 0 while it is free.
    pub(crate) fn held_millis(&self) -> i64 {
        match self.held_since.load(Ordering::Relaxed) {
            0 => 0,
            since => self.env.clock().millis().saturating_sub(since).max(0),
        }
    }

    /// The file that holds a position. One that cannot be mapped counts as missing.
    pub(crate) fn file_of(&self, position: i64) -> Option<Arc<MappedFile>> {
        match self.files.find(&self.env, position) {
            Ok(file) => file.inspect(|file| file.touch()),
            Err(error) => {
                tracing::warn!(position, %error, "a file of the commit log cannot be mapped");
                None
            }
        }
    }

    /// Makes the log durable up to a position. One thread at a time: of two that sync one file the kernel tells only one
    /// that something was lost. Never again after a failure.
    pub(crate) fn sync_until(&self, target: i64) -> io::Result<()> {
        let _only_one = self.syncing.lock();
        if self.marks.has_sync_failed() {
            return Err(io::Error::other("an earlier sync failed"));
        }
        let mut at = self.marks.flushed();
        while at < target {
            let file = match self.files.find(&self.env, at) {
                Ok(Some(file)) => file,
                Ok(None) => return Err(io::ErrorKind::NotFound.into()),
                Err(error) => {
                    self.marks
                        .sync_failed(&self.files.path(self.files.base_for(at)), &error);
                    return Err(error);
                }
            };
            // Not the whole file: pages made present ahead of the writer would be written as zeros, and the first store
            // to each would fault once more.
            let until = target.min(file.end());
            let (from, len) = (at - file.base(), until - at);
            self.write_found_again(&file, at..until)
                .and_then(|()| file.sync_range(&self.env, from as usize, len as usize))
                .inspect_err(|error| self.marks.sync_failed(file.path(), error))?;
            at = until;
        }
        self.marks.set_flushed(target);
        Ok(())
    }

    /// Writes a part of a file again that an earlier process has left, as far as it has.
    fn write_found_again(&self, file: &MappedFile, range: Range<i64>) -> io::Result<()> {
        let until = range.end.min(self.found_until);
        let Some(descriptor) = file.file().filter(|_| range.start < until) else {
            return Ok(());
        };
        let range =
            (range.start - file.base()).cast_unsigned()..(until - file.base()).cast_unsigned();
        write_again(&self.env, descriptor, file.path(), range)
    }
}

/// Reads a range and writes it to the same place, so that the next sync covers it whatever became of earlier ones.
pub(crate) fn write_again(
    env: &Env,
    file: &File,
    path: &Path,
    range: Range<u64>,
) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut at = range.start;
    while at < range.end {
        let want =
            usize::try_from(range.end - at).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        let read = env.read_at(file, path, &mut buffer[..want], at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        env.write_all_at(file, path, &buffer[..read], at)?;
        at += read as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_times_do_not_follow_small_steps_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let env = Env::real();
        let file = env.open_or_create(&path).unwrap();
        file.set_len(4096).unwrap();
        let map = Arc::new(MappedFile::map(&env, file, path, 0, 0, true).unwrap());
        let mut appender = Appender {
            writer: map.writer().unwrap(),
            next_file: None,
            last_timestamp: 0,
            last_start: 0,
            round: 1,
            dirty: Vec::new(),
            wake_flusher_at: 0,
            wake_preparer_at: 0,
        };
        let start = 10_000_000;
        assert_eq!(appender.timestamp(start), start);
        assert_eq!(appender.timestamp(start - 3_600_000), start);
        assert_eq!(appender.timestamp(start - 3_600_001), start - 3_600_001);
    }
}
