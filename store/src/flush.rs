// SPDX-License-Identifier: Apache-2.0
//! Makes the log durable: by time and volume, and at once when somebody waits. All who wait while a sync runs are
//! served by the next one (group commit).

use std::{
    fmt,
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    background::{Turn, Work},
    store::Inner,
};

/// How waiting for a flush ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    /// The bytes are durable.
    Durable,
    /// They are in the log; whether they are durable was not known in time, or too many waited.
    TimedOut,
    /// They are in the log; a sync failed, so they may never be durable.
    Failed,
}

struct Waiter {
    end: i64,
    deadline: Duration,
    done: Box<dyn FnOnce(Flushed) + Send>,
}

impl Waiter {
    fn call(self, outcome: Flushed) {
        if std::panic::catch_unwind(AssertUnwindSafe(|| (self.done)(outcome))).is_err() {
            tracing::error!("a callback after a flush has panicked");
        }
    }
}

/// Those who wait for a flush, in order of arrival.
pub(crate) struct Waiters {
    list: Mutex<Vec<Waiter>>,
    /// Length of the list, to see without the lock that nobody waits.
    count: AtomicUsize,
    limit: usize,
}

impl fmt::Debug for Waiters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiters")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl Waiters {
    pub(crate) fn new(limit: usize) -> Waiters {
        Waiters {
            list: Mutex::new(Vec::new()),
            count: AtomicUsize::new(0),
            limit,
        }
    }

    fn push(&self, waiter: Waiter) -> Result<(), Waiter> {
        let mut list = self.list.lock();
        if list.len() >= self.limit {
            return Err(waiter);
        }
        list.push(waiter);
        self.count.store(list.len(), Ordering::Release);
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Takes those out that match, calls them when the lock is released.
    fn finish(&self, outcome: Flushed, matches: impl Fn(&Waiter) -> bool) {
        if self.is_empty() {
            return;
        }
        let finished: Vec<Waiter> = {
            let mut list = self.list.lock();
            let finished = list.extract_if(.., |waiter| matches(waiter)).collect();
            self.count.store(list.len(), Ordering::Release);
            finished
        };
        for waiter in finished {
            waiter.call(outcome);
        }
    }

    /// Tells those whose time is up.
    pub(crate) fn expire(&self, now: Duration) {
        self.finish(Flushed::TimedOut, |waiter| waiter.deadline <= now);
    }
}

impl Inner {
    pub(crate) fn when_flushed(&self, end: i64, done: Box<dyn FnOnce(Flushed) + Send>) {
        let deadline = self.env.clock().monotonic() + self.config.sync_flush_timeout;
        let waiter = Waiter {
            end,
            deadline,
            done,
        };
        if self.marks.flushed() >= end {
            return waiter.call(Flushed::Durable);
        }
        if self.marks.has_sync_failed() {
            return waiter.call(Flushed::Failed);
        }
        match self.waiters.push(waiter) {
            Ok(()) => {}
            Err(waiter) => return waiter.call(Flushed::TimedOut),
        }
        self.flush_signal.kick();
        // The flusher may have finished, failed or stopped in between, and not see the newcomer any more.
        if self.marks.has_sync_failed()
            || self.marks.flushed() >= end
            || self.flush_signal.is_stopped()
        {
            self.serve_waiters();
        }
    }

    /// Tells those who wait for what is flushed by now.
    pub(crate) fn serve_waiters(&self) {
        let flushed = self.marks.flushed();
        self.waiters
            .finish(Flushed::Durable, |waiter| waiter.end <= flushed);
        if self.marks.has_sync_failed() {
            self.waiters.finish(Flushed::Failed, |_| true);
        }
    }

    /// Syncs the log up to its present end and serves those who wait for that. Never again after a failure.
    pub(crate) fn flush_log(&self) {
        // The log notes a failure itself; those who wait are told below.
        let _ = self.log.sync_until(self.marks.end());
        self.serve_waiters();
    }
}

/// The thread that makes the log durable.
#[derive(Debug, Default)]
pub(crate) struct Flusher {
    /// When the oldest unflushed byte has to be flushed.
    due: Option<Duration>,
}

impl Work for Flusher {
    fn turn(&mut self, inner: &Inner) -> Turn {
        let now = inner.env.clock().monotonic();
        let (end, flushed) = {
            // Under the lock no append can come between looking and setting its alarm.
            let mut appender = inner.log.peek();
            let (end, flushed) = (appender.end(), inner.marks.flushed());
            let is_idle = end <= flushed || inner.marks.has_sync_failed();
            appender.wake_flusher_at = match is_idle {
                true if inner.marks.has_sync_failed() => i64::MAX,
                true => 0,
                false => flushed.saturating_add_unsigned(inner.config.flush_bytes),
            };
            self.due = if is_idle {
                None
            } else {
                self.due.or(Some(now + inner.config.flush_interval))
            };
            (end, flushed)
        };
        let is_large = (end - flushed).cast_unsigned() >= inner.config.flush_bytes;
        let is_due = self.due.is_some_and(|due| due <= now);
        if self.due.is_some() && (is_due || is_large || !inner.waiters.is_empty()) {
            inner.wake_keeper();
            inner.flush_log();
            inner.wake_indexer();
            self.due = None;
            return Turn::Again;
        }
        Turn::Wait(self.due.map(|due| due.saturating_sub(now)))
    }
}
