// SPDX-License-Identifier: Apache-2.0
//! The keeper: flushes consume queues, then writes the checkpoint, and expires those who wait for a flush in vain. Also
//! what makes an end clean.

use std::{collections::BTreeSet, io, path::PathBuf, sync::atomic::Ordering, time::Duration};

use crate::{
    background::{Turn, Work},
    checkpoint::State,
    error::{CloseError, OpenError},
    layout,
    store::Inner,
};

/// The thread that makes queues durable and writes the checkpoint.
#[derive(Debug)]
pub(crate) struct Keeper {
    /// When it last did.
    last: Duration,
}

impl Keeper {
    pub(crate) fn new(inner: &Inner) -> Keeper {
        Keeper {
            last: inner.env.clock().monotonic(),
        }
    }
}

impl Work for Keeper {
    fn turn(&mut self, inner: &Inner) -> Turn {
        let clock = inner.env.clock();
        let now = clock.monotonic();
        inner.waiters.expire(now);
        let has_work = !inner.log.peek().dirty.is_empty() && !inner.marks.has_sync_failed();
        let next = self.last + inner.config.queue_flush_interval;
        if has_work && now >= next {
            // A failure is noted where it happens and makes the store read-only.
            let _ = inner.keep();
            self.last = clock.monotonic();
            return Turn::Again;
        }
        let timeout = match (has_work, inner.waiters.is_empty()) {
            (true, _) => Some(next.saturating_sub(now)),
            (false, false) => Some(Duration::from_millis(200).min(inner.config.sync_flush_timeout)),
            (false, true) => None,
        };
        if timeout.is_none() {
            // Whoever appends from here on finds the keeper asleep and wakes it, by way of the flusher.
            inner.keeper_sleeps.store(true, Ordering::Release);
            if !inner.log.peek().dirty.is_empty() && !inner.marks.has_sync_failed() {
                inner.keeper_sleeps.store(false, Ordering::Release);
                return Turn::Again;
            }
        }
        Turn::Wait(timeout)
    }
}

impl Inner {
    /// Wakes the keeper if it has nothing to do. The caller has held the lock of the log since the last append.
    pub(crate) fn wake_keeper(&self) {
        if self.keeper_sleeps.swap(false, Ordering::AcqRel) {
            self.keep_signal.kick();
        }
    }

    /// Makes the queue entries durable of everything appended so far, then notes in the checkpoint how far that is.
    /// The log comes first: a queue must not know what the log may lose.
    pub(crate) fn keep(&self) -> io::Result<()> {
        // One at a time: the checkpoint must not pass over queues that another call is still flushing.
        let mut checkpoint = self.checkpoint.lock();
        let (dirty, end, start, timestamp) = {
            let mut appender = self.log.peek();
            appender.round += 1;
            (
                std::mem::take(&mut appender.dirty),
                appender.end(),
                appender.last_start,
                appender.last_timestamp,
            )
        };
        self.log.sync_until(end)?;
        self.serve_waiters();
        let mut new_dirs = BTreeSet::new();
        for queue in &dirty {
            match queue.flush() {
                Ok(true) => new_dirs.extend(queue.files.dir().parent().map(PathBuf::from)),
                Ok(false) => {}
                Err(error) => {
                    // The directory of a topic that is deleted meanwhile is no failure.
                    if !queue.tail().retired {
                        self.marks.sync_failed(queue.files.dir(), &error);
                        return Err(error);
                    }
                }
            }
        }
        self.sync_dirs(&new_dirs)?;
        let state = State {
            flushed: end,
            dispatched: end,
            forgotten: self.marks.forgotten(),
            last_start: start,
            last_timestamp: timestamp,
        };
        let written = checkpoint.write(&self.env, &state);
        if let Err(error) = &written {
            self.marks
                .sync_failed(&self.config.dir.join(layout::CHECKPOINT), error);
        }
        written
    }

    fn sync_dirs(&self, topics: &BTreeSet<PathBuf>) -> io::Result<()> {
        if topics.is_empty() {
            return Ok(());
        }
        for dir in topics {
            match self.env.sync_dir(dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    self.marks.sync_failed(dir, &error);
                    return Err(error);
                }
                _ => {}
            }
        }
        let parent = self.config.dir.join(layout::CONSUME_QUEUE);
        self.env
            .sync_dir(&parent)
            .inspect_err(|error| self.marks.sync_failed(&parent, error))
    }

    /// Flushes queues and checkpoint now; for the start.
    pub(crate) fn keep_now(&self) -> io::Result<()> {
        if self.log.peek().dirty.is_empty() {
            return Ok(());
        }
        self.keep()
    }

    /// Marks the directory as being in use.
    pub(crate) fn write_abort_file(&self) -> Result<(), OpenError> {
        let path = self.config.dir.join(layout::ABORT);
        let pid = std::process::id().to_string();
        let file = self
            .env
            .open_or_create(&path)
            .map_err(OpenError::io("create", &path))?;
        self.env
            .set_len(&file, &path, 0)
            .map_err(OpenError::io("write", &path))?;
        self.env
            .write_all_at(&file, &path, pid.as_bytes(), 0)
            .map_err(OpenError::io("write", &path))?;
        self.env
            .sync_all(&file, &path)
            .map_err(OpenError::io("sync", &path))?;
        self.env
            .sync_dir(&self.config.dir)
            .map_err(OpenError::io("sync", &self.config.dir))
    }

    /// The last acts of a store whose threads are gone. The abort file goes only when all else went well.
    pub(crate) fn finish(&self) -> Result<(), CloseError> {
        self.flush_log();
        if self.marks.has_sync_failed() {
            return Err(CloseError::SyncFailed);
        }
        let index = self.finish_index();
        self.keep().map_err(|_| CloseError::SyncFailed)?;
        index?;
        self.remove_unused_file()?;
        for queue in self.queues.read().values().flat_map(|ids| ids.values()) {
            queue
                .remove_unused_files()
                .map_err(|source| CloseError::Io {
                    what: "remove an unused file of",
                    path: queue.files.dir().to_owned(),
                    source,
                })?;
        }
        let path = self.config.dir.join(layout::ABORT);
        let io = |what, path: &PathBuf, source| CloseError::Io {
            what,
            path: path.clone(),
            source,
        };
        match self.env.remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io("remove", &path, error));
            }
            _ => {}
        }
        self.env
            .sync_dir(&self.config.dir)
            .map_err(|error| io("sync", &self.config.dir, error))
    }

    /// Removes the log file that was prepared and not needed, as Java does.
    fn remove_unused_file(&self) -> Result<(), CloseError> {
        let Some(unused) = self.log.peek().next_file.take() else {
            return Ok(());
        };
        let removed = self
            .env
            .remove_file(unused.path())
            .and_then(|()| self.env.sync_dir(self.log.files.dir()));
        removed.map_err(|source| CloseError::Io {
            what: "remove",
            path: unused.path().to_owned(),
            source,
        })
    }
}
