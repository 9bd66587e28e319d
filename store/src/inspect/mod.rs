// SPDX-License-Identifier: Apache-2.0
//! Looking at a store directory without starting a store on it: what it is, whether its parts agree, what is in it.
//!
//! Nothing is opened for writing and no lock is taken, so this may be done beside a running broker; what that one is
//! writing meanwhile may then look unfinished. Everything is read once, in order: the log record by record, and beside
//! it the queues and the index, which have their entries in the same order. Memory does not grow with the messages.
//!
//! [`Directory::open`] looks around, [`Directory::check`] verifies, [`Directory::read_log`] and its siblings show what
//! is there, and [`repair`] puts right what can be made anew from the log.

mod batches;
mod check;
mod directory;
mod dump;
mod extensions;
mod index;
mod log;
mod queues;
mod repair;
mod report;
mod verdict;

use std::path::PathBuf;

use crate::{error::OpenError, index::Geometry};

pub use self::{
    check::Known,
    directory::{Checkpoint, Directory, Writer},
    dump::{IndexItem, LogItem, QueueItem},
    extensions::Extension,
    repair::{Lock, Repaired, folder_for_repair, lock, repair},
    report::{Defect, Kind, Progress, QueueRange, Report},
};

/// Topic of a record that bridges a part of the log that could not be read. It has the flags of a rolled back
/// transaction, so that neither Apache's broker nor this one puts it in a queue or the index.
pub const BRIDGE_TOPIC: &str = "aerobee_repaired_gap";

/// Sizes with which a directory was written, where they are known; else they are taken from the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Bytes of a log file (`mappedFileSizeCommitLog`).
    pub commit_log_file_bytes: Option<u64>,
    /// Entries of a queue file (`mappedFileSizeConsumeQueue` / 20).
    pub queue_file_entries: Option<u32>,
    /// Slots and entries of an index file (`maxHashSlotNum`, `maxIndexNum`).
    pub index: Option<Geometry>,
}

/// Why a directory cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// There is no directory, or nothing of a store in it.
    #[error("{} is no store directory: there is no {missing} in it; name the storePathRootDir of a broker (the standalone server keeps it in data/store)", path.display())]
    NoStore {
        /// What was looked at.
        path: PathBuf,
        /// What is missing.
        missing: &'static str,
    },
    /// Something cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A filter names what is not there.
    #[error("there is no queue {id} of topic {topic} in {}", path.display())]
    NoQueue {
        /// The store.
        path: PathBuf,
        /// The topic.
        topic: String,
        /// The queue.
        id: i32,
    },
}
