// SPDX-License-Identifier: Apache-2.0
//! A few threads for reads that may wait for the disk, so that others need not.

use std::{collections::VecDeque, fmt, panic::AssertUnwindSafe, sync::Weak};

use parking_lot::{Condvar, Mutex};

use crate::store::Store;

/// Something to do with the store, or without it when no thread is free for it or the store closes.
pub(crate) type Job = Box<dyn FnOnce(Result<&Store, ReadersBusy>) + Send>;

/// Too many reads are waiting already, or the store is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many reads are waiting for the disk")]
pub struct ReadersBusy;

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    stopped: bool,
}

/// The jobs that wait and the means to wake a reader.
pub(crate) struct Readers {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    limit: usize,
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl Readers {
    pub(crate) fn new(limit: usize) -> Readers {
        Readers {
            waiting: Mutex::default(),
            changed: Condvar::new(),
            limit,
        }
    }

    /// Takes a job, or gives it back.
    pub(crate) fn push(&self, job: Job) -> Result<(), Job> {
        {
            let mut waiting = self.waiting.lock();
            if waiting.stopped || waiting.jobs.len() >= self.limit {
                return Err(job);
            }
            waiting.jobs.push_back(job);
        }
        self.changed.notify_one();
        Ok(())
    }

    pub(crate) fn stop(&self) {
        let refused = {
            let mut waiting = self.waiting.lock();
            waiting.stopped = true;
            std::mem::take(&mut waiting.jobs)
        };
        self.changed.notify_all();
        // A job may call back into the store: not under the lock.
        for job in refused {
            call(job, Err(ReadersBusy));
        }
    }

    fn next(&self) -> Option<Job> {
        let mut waiting = self.waiting.lock();
        loop {
            if let Some(job) = waiting.jobs.pop_front() {
                return Some(job);
            }
            if waiting.stopped {
                return None;
            }
            self.changed.wait(&mut waiting);
        }
    }

    /// The life of one reader.
    pub(crate) fn run(&self, store: &Weak<Store>) {
        while let Some(job) = self.next() {
            let Some(store) = store.upgrade() else { return };
            call(job, Ok(&store));
        }
    }

    /// Runs one job, if any waits; whether there was one.
    pub(crate) fn run_one(&self, store: &Store) -> bool {
        let job = self.waiting.lock().jobs.pop_front();
        job.map(|job| call(job, Ok(store))).is_some()
    }
}

pub(crate) fn call(job: Job, store: Result<&Store, ReadersBusy>) {
    if std::panic::catch_unwind(AssertUnwindSafe(|| job(store))).is_err() {
        tracing::error!("a read from disk has panicked");
    }
}
