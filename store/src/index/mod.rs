// SPDX-License-Identifier: Apache-2.0
//! The index: from keys to the records that have them, in Apache's files (`store/index/IndexService.java`).
//!
//! A thread of its own follows the log and enters what it finds; appends do nothing for it. It is woken after a flush
//! and works in batches. Who asks for a key does first what that thread has not done yet, so a key is found as soon as
//! its message is visible. The index is derived: whatever is doubtful after a crash is made anew from the log, in the
//! background, while the store already serves.

mod file;
mod follow;
pub mod format;
mod load;
mod query;
mod state;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};

pub(crate) use self::follow::Indexer;
use self::{file::IndexFile, follow::Follower};
use crate::{signal::Signal, store::Inner};

pub use self::{
    format::{Geometry, KeyKind},
    query::{KeyQuery, KeysFound},
};

/// Settings of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexConfig {
    /// Whether messages are entered (`messageIndexEnable` and `indexFileWriteEnable`).
    pub write: bool,
    /// Whether keys are looked up (`indexFileReadEnable`).
    pub read: bool,
    /// Slots and entries of a file (`maxHashSlotNum`, `maxIndexNum`).
    pub geometry: Geometry,
    /// Most messages that one query returns (`maxMsgsNumBatch`).
    pub max_messages: usize,
}

impl Default for IndexConfig {
    fn default() -> Self {
        Self {
            write: true,
            read: true,
            geometry: Geometry::default(),
            max_messages: 64,
        }
    }
}

/// The index of a store.
pub(crate) struct Index {
    /// All files, the oldest first.
    files: RwLock<Vec<Arc<IndexFile>>>,
    follower: Mutex<Follower>,
    pub(crate) signal: Signal,
    /// Whether the thread waits for somebody to wake it.
    sleeps: AtomicBool,
    /// The log is indexed up to here.
    position: AtomicI64,
    /// Whether the store was closed cleanly before.
    clean: bool,
    /// Whether the checkpoint found at the start was ours: then our own state says what is durable.
    is_ours: bool,
    /// End of the log when the store was opened.
    opened_at: i64,
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl Index {
    /// The index of a log that ends at `end`; its files are loaded later. `is_ours`: nobody else has written the
    /// directory since we did.
    pub(crate) fn new(clean: bool, is_ours: bool, end: i64) -> Index {
        Index {
            files: RwLock::default(),
            follower: Mutex::default(),
            signal: Signal::default(),
            sleeps: AtomicBool::new(false),
            position: AtomicI64::new(0),
            clean,
            is_ours,
            opened_at: end,
        }
    }

    fn files(&self) -> Vec<Arc<IndexFile>> {
        self.files.read().clone()
    }
}

impl crate::Store {
    /// Bytes of the log whose keys are not in the index yet; 0 without an index.
    #[must_use]
    pub fn index_behind(&self) -> i64 {
        if !self.inner.config.index.write {
            return 0;
        }
        let position = self.inner.index.position.load(Ordering::Acquire);
        (self.max_physical() - position).max(0)
    }
}

impl Inner {
    /// Wakes the thread of the index if it has nothing to do.
    pub(crate) fn wake_indexer(&self) {
        if self.index.sleeps.swap(false, Ordering::AcqRel) {
            self.index.signal.kick();
        }
    }

    /// Removes files whose messages the log no longer has, never the newest (`deleteExpiredFile`). Returns how many.
    pub(crate) fn clean_index(&self) -> usize {
        let min = self.marks.min();
        let mut removed = Vec::new();
        {
            let mut files = self.index.files.write();
            while files.len() > 1 && files[0].header().end_physical < min {
                removed.push(files.remove(0));
            }
        }
        for file in &removed {
            match self.env.remove_file(&file.path) {
                Ok(()) => {
                    tracing::info!(path = %file.path.display(), "an index file is removed, its messages are gone");
                }
                Err(error) => {
                    tracing::warn!(path = %file.path.display(), %error, "an index file cannot be removed");
                }
            }
        }
        removed.len()
    }
}
