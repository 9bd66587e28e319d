// SPDX-License-Identifier: Apache-2.0
//! The keeper: flushes consume queues, then writes the checkpoint, and expires those who wait for a flush in vain. Also
//! what makes an end clean.

use std::{
    collections::BTreeSet,
    io,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use crate::{
    background::{Turn, Work},
    checkpoint::State,
    consume_queue::{Queue, UNKNOWN},
    env::Operation,
    error::CloseError,
    layout,
    queue_flags::Flag,
    queue_table::sorted,
    store::{Closed, Inner},
    summary,
};

/// From so many queues on one sync of the file system is cheaper than one for each.
const MANY_QUEUES: usize = 64;
/// Queues that are written and made durable in one go: the end waits for so many at most that are under way.
const QUEUES_AT_ONCE: usize = 1024;
/// Queues that are looked at in one turn after a crash, and the pause after that.
const VERIFIED_AT_ONCE: usize = 128;
const VERIFY_PAUSE: Duration = Duration::from_millis(20);

/// The thread that makes queues durable and writes the checkpoint.
#[derive(Debug)]
pub(crate) struct Keeper {
    /// When it last did.
    last: Duration,
    /// When queues last gave up files that nobody uses.
    last_idle: Duration,
    /// Queues whose ends on disk are to be looked at, after a crash.
    unverified: Vec<Arc<Queue>>,
}

impl Keeper {
    pub(crate) fn new(inner: &Inner) -> Keeper {
        let now = inner.env.clock().monotonic();
        let mut unverified = sorted(&inner.queues.read());
        unverified.retain(|queue| queue.flags.has(Flag::Unverified));
        Keeper {
            // What a start has left to be kept is not kept waiting: after the next kill a start reads all that was not.
            last: now.saturating_sub(inner.config.queue_flush_interval),
            last_idle: now,
            unverified,
        }
    }

    /// After a crash: sees to it that nothing follows the last entries of some more queues. Until then a broker of
    /// Apache's would take what is there for entries.
    fn verify_some(&mut self) -> Option<Duration> {
        let rest = self.unverified.len().saturating_sub(VERIFIED_AT_ONCE);
        for queue in self.unverified.drain(rest..) {
            if let Err(error) = queue.verify() {
                tracing::warn!(dir = %queue.dir().display(), %error, "the end of a consume queue cannot be examined");
            }
        }
        if self.unverified.is_empty() {
            self.unverified.shrink_to_fit();
            return None;
        }
        Some(VERIFY_PAUSE)
    }

    /// Lets queues and the log give up what nobody uses; when to look again.
    fn close_idle(&mut self, inner: &Inner, now: Duration) -> Option<Duration> {
        let next = self.last_idle + inner.config.queue_idle;
        if now < next {
            let has_open = inner.shared.open_count() > 0 || inner.log.files.mapped_count() > 2;
            return has_open.then(|| next.saturating_sub(now));
        }
        self.last_idle = now;
        inner.shared.close_idle();
        let files = &inner.log.files;
        files.unmap_idle(files.base_for(inner.marks.flushed()));
        Some(inner.config.queue_idle)
    }
}

impl Work for Keeper {
    fn turn(&mut self, inner: &Inner) -> Turn {
        let clock = inner.env.clock();
        let now = clock.monotonic();
        inner.waiters.expire(now);
        let soonest = [self.verify_some(), self.close_idle(inner, now)];
        let soonest = soonest.into_iter().flatten().min();
        let has_work = inner.has_to_keep();
        let next = self.last + inner.config.queue_flush_interval;
        if has_work && now >= next {
            // A failure is noted where it happens and makes the store read-only.
            let _ = inner.keep();
            inner.shared.close_surplus(usize::MAX);
            self.last = clock.monotonic();
            return Turn::Again;
        }
        let due = match (has_work, inner.waiters.is_empty()) {
            (true, _) => Some(next.saturating_sub(now)),
            (false, false) => Some(Duration::from_millis(200).min(inner.config.sync_flush_timeout)),
            (false, true) => None,
        };
        let timeout = match (due, soonest) {
            (Some(due), Some(soonest)) => Some(due.min(soonest)),
            (due, soonest) => due.or(soonest),
        };
        if due.is_none() {
            // Whoever appends from here on finds the keeper asleep and wakes it, by way of the flusher.
            inner.keeper_sleeps.store(true, Ordering::Release);
            if inner.has_to_keep() {
                inner.keeper_sleeps.store(false, Ordering::Release);
                return Turn::Again;
            }
        }
        Turn::Wait(timeout)
    }
}

impl Inner {
    fn has_to_keep(&self) -> bool {
        let has_dirty = !self.log.peek().dirty.is_empty();
        (has_dirty || self.lacks_summary()) && !self.marks.has_sync_failed()
    }

    fn lacks_summary(&self) -> bool {
        self.summary_due.lock().is_missing() && !self.queues.read().is_empty()
    }

    /// Wakes the keeper if it has nothing to do. The caller has held the lock of the log since the last append.
    pub(crate) fn wake_keeper(&self) {
        if self.keeper_sleeps.swap(false, Ordering::AcqRel) {
            self.keep_signal.kick();
        }
    }

    /// Makes the queue entries durable of everything appended so far, then notes in the checkpoint how far that is.
    /// The log comes first: a queue must not know what the log may lose.
    pub(crate) fn keep(&self) -> io::Result<()> {
        let end = self.keep_queues()?;
        self.summarise(end, false)
    }

    /// As [`Inner::keep`], but leaves the summary to the next time; returns how far everything is durable. Between some
    /// queues and the next it gives up when the store is closing: how many are still to be written then is for the end
    /// to decide.
    pub(crate) fn keep_queues(&self) -> io::Result<i64> {
        // One at a time: the checkpoint must not pass over queues that another call is still flushing.
        let mut checkpoint = self.checkpoint.lock();
        let (dirty, end, start, timestamp) = {
            let mut appender = self.log.peek();
            appender.round = appender.round.wrapping_add(1);
            (
                std::mem::take(&mut appender.dirty),
                appender.end(),
                appender.last_start,
                appender.last_timestamp,
            )
        };
        self.log.sync_until(end)?;
        self.serve_waiters();
        let mut rest = &dirty[..];
        while !rest.is_empty() {
            if self.keep_signal.is_stopped() && !self.finishing.load(Ordering::Acquire) {
                self.log.peek().dirty.extend_from_slice(rest);
                return Err(io::ErrorKind::Interrupted.into());
            }
            let (some, behind) = rest.split_at(rest.len().min(QUEUES_AT_ONCE));
            self.keep_some(some).inspect_err(|error| {
                if error.kind() == io::ErrorKind::StorageFull {
                    // Nothing is lost: the entries wait in memory, and the next round tries again.
                    self.log.peek().dirty.extend_from_slice(rest);
                }
            })?;
            rest = behind;
        }
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
        written?;
        self.kept.store(end, Ordering::Release);
        Ok(end)
    }

    /// Writes what waits of some queues and makes it durable.
    fn keep_some(&self, queues: &[Arc<Queue>]) -> io::Result<()> {
        for queue in queues {
            let written = queue.write_out().and_then(|()| queue.write_units(self));
            if let Err(error) = written
                && !queue.tail().retired
            {
                if error.kind() == io::ErrorKind::StorageFull {
                    tracing::warn!(dir = %queue.dir().display(), "no space for a consume queue");
                } else {
                    self.marks.sync_failed(&queue.dir(), &error);
                }
                return Err(error);
            }
        }
        if queues.len() > MANY_QUEUES {
            self.flush_together(queues)
        } else {
            self.flush_each(queues)
        }
    }

    fn flush_each(&self, queues: &[Arc<Queue>]) -> io::Result<()> {
        let mut new_dirs = BTreeSet::new();
        for queue in queues {
            match queue.flush() {
                Ok(true) => new_dirs.extend(queue.dir().parent().map(PathBuf::from)),
                Ok(false) => {}
                Err(error) => {
                    // The directory of a topic that is deleted meanwhile is no failure.
                    if !queue.tail().retired {
                        self.marks.sync_failed(&queue.dir(), &error);
                        return Err(error);
                    }
                }
            }
        }
        self.sync_dirs(&new_dirs)
    }

    /// Makes many queues durable by one sync of the file system.
    fn flush_together(&self, queues: &[Arc<Queue>]) -> io::Result<()> {
        let ends: Vec<i64> = queues.iter().map(|queue| queue.take_written()).collect();
        let root = self.config.dir.join(layout::CONSUME_QUEUE);
        self.env
            .sync_file_system(&root, || {
                let mut covered: Vec<_> = queues
                    .iter()
                    .zip(&ends)
                    .flat_map(|(queue, end)| queue.covered(*end))
                    .collect();
                covered.extend(self.entry_roots().map(|root| (Operation::SyncDir, root)));
                covered
            })
            .inspect_err(|error| self.marks.sync_failed(&root, error))?;
        for (queue, end) in queues.iter().zip(ends) {
            queue.flushed(end);
        }
        Ok(())
    }

    /// Writes the summary of the queues if it is due, or at the end. What it says of the log is `position`, up to which
    /// everything is durable. Without it the next start takes longer and loses nothing.
    fn summarise(&self, position: i64, at_end: bool) -> io::Result<()> {
        let mut due = self.summary_due.lock();
        if !(due.is_due(position) || (at_end && !due.is_at(position))) {
            return Ok(());
        }
        let queues = sorted(&self.queues.read());
        let first = self.log.files.first().unwrap_or(0);
        match summary::write(&self.env, &self.config.dir, position, first, &queues) {
            Ok(bytes) => due.written(position, bytes),
            Err(error) => {
                tracing::warn!(%error, "the summary of the queues cannot be written: the next start takes longer");
                due.written(position, 0);
                summary::remove(&self.env, &self.config.dir)?;
            }
        }
        Ok(())
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
        for parent in self.entry_roots() {
            self.env
                .sync_dir(&parent)
                .inspect_err(|error| self.marks.sync_failed(&parent, error))?;
        }
        Ok(())
    }

    /// The directories that hold those of topics.
    fn entry_roots(&self) -> impl Iterator<Item = PathBuf> {
        let queues = self.config.dir.join(layout::CONSUME_QUEUE);
        let batches = self.config.dir.join(layout::BATCH_ENTRIES);
        let batches = self
            .env
            .exists(&batches)
            .then(|| [batches, self.config.dir.clone()]);
        [queues].into_iter().chain(batches.into_iter().flatten())
    }

    /// Flushes queues and checkpoint now, so that what a start has found is durable from here on; for the start. Not
    /// where that is put off for the log, too: the threads then see to both.
    pub(crate) fn keep_now(&self) -> io::Result<()> {
        let end = self.marks.end();
        if self.marks.flushed() < end {
            return Ok(());
        }
        let own = self.checkpoint.lock().own();
        let is_known = own.is_some_and(|own| own.flushed == end && own.dispatched == end);
        if is_known && self.log.peek().dirty.is_empty() {
            return Ok(());
        }
        if own.is_some() && self.has_many_changed() {
            // The log has what they say; a start does not wait for their files.
            return Ok(());
        }
        self.keep()
    }

    /// Whether more queues have changed than a start or an end waits for.
    fn has_many_changed(&self) -> bool {
        self.log.peek().dirty.len() > self.config.queues_at_end
    }

    /// The last acts of a store whose threads are gone. The abort file goes only when all else went well, and when the
    /// files of all queues are complete: Apache's broker takes what it finds for all there is after an orderly end.
    pub(crate) fn finish(&self) -> Result<Closed, CloseError> {
        self.finishing.store(true, Ordering::Release);
        self.flush_log();
        if self.marks.has_sync_failed() {
            return Err(CloseError::SyncFailed);
        }
        let index = self.finish_index();
        // Also of queues whose files were made and never written to: a clean end says that directories are durable.
        let mut new = sorted(&self.queues.read());
        new.retain(|queue| queue.tail().has_new_files);
        self.log.peek().dirty.extend(new);
        let own = self.checkpoint.lock().own();
        // Where a topic was deleted since, records before that must not be taken for new ones.
        let own = own.filter(|own| self.marks.forgotten() <= own.dispatched);
        let late = own.filter(|_| self.has_many_changed());
        match &late {
            Some(own) => self.finish_late(own)?,
            None => self.keep().map_err(|_| CloseError::SyncFailed)?,
        }
        index?;
        self.remove_unused_file()?;
        self.shared.close_idle();
        self.shared.close_idle();
        for queue in sorted(&self.queues.read()) {
            queue.verify().map_err(|source| CloseError::Io {
                what: "clear the end of",
                path: queue.dir(),
                source,
            })?;
        }
        // Before anything was kept here the summary that the start found still says how far the queues are durable.
        let summarised = match (late, self.kept.load(Ordering::Acquire)) {
            (None, _) => self.summarise(self.marks.end(), true),
            (Some(_), UNKNOWN) => Ok(()),
            (Some(_), kept) => self.summarise(kept, true),
        };
        summarised.map_err(|source| CloseError::Io {
            what: "remove the summary in",
            path: self.config.dir.clone(),
            source,
        })?;
        if late.is_some() {
            return Ok(Closed::Early);
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
            .map_err(|error| io("sync", &self.config.dir, error))?;
        Ok(Closed::Complete)
    }

    /// Notes that the log is durable to its end, while queues are as far as `own` says: the next start makes the rest of
    /// their entries again from the log.
    fn finish_late(&self, own: &State) -> Result<(), CloseError> {
        tracing::info!(
            queues = self.log.peek().dirty.len(),
            from = own.dispatched,
            "many queues have changed: the next start makes their entries again from the log"
        );
        let state = State {
            flushed: self.marks.end(),
            ..*own
        };
        let written = self.checkpoint.lock().write(&self.env, &state);
        written.map_err(|error| {
            let path = self.config.dir.join(layout::CHECKPOINT);
            self.marks.sync_failed(&path, &error);
            CloseError::SyncFailed
        })
    }

    /// Removes the log file that was prepared and not needed, as Java does.
    fn remove_unused_file(&self) -> Result<(), CloseError> {
        let Some(unused) = self.log.peek().next_file.take() else {
            return Ok(());
        };
        let removed =
            self.env
                .remove_file(unused.path())
                .and_then(|()| match unused.path().parent() {
                    Some(dir) => self.env.sync_dir(dir),
                    None => Ok(()),
                });
        removed.map_err(|source| CloseError::Io {
            what: "remove",
            path: unused.path().to_owned(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{Closed, Config, Env, Faults, Operation, Store};

    struct Nothing;

    impl Faults for Nothing {
        fn before(&self, _: Operation, _: &Path) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_end_does_not_wait_for_the_keeper_to_write_all_queues() {
        let dir = tempfile::tempdir().unwrap();
        let clock = crate::Clock::system();
        // No thread runs: the test is the keeper.
        let env = Env::stepped(Arc::new(Nothing), clock);
        let config = Config {
            queues_at_end: 0,
            ..Config::new(dir.path())
        };
        let store = Store::open(config, env).unwrap();
        let queue = store.create_queue("T", 0).unwrap();
        store.inner.log.peek().dirty.push(Arc::clone(&queue));
        store.inner.keep_signal.stop();
        let error = store.inner.keep_queues().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        assert!(store.writable().is_ok(), "nothing has failed");
        // It is still known what has changed.
        assert_eq!(store.inner.log.peek().dirty.len(), 1);
        assert_eq!(store.close().unwrap(), Closed::Early);
    }
}
