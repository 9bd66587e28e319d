// SPDX-License-Identifier: Apache-2.0
//! What can go wrong. Messages name the path, the cause and what to do.

use std::{io, path::PathBuf};

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or this one, has the directory open.
    #[error("{} is in use by another broker: stop that one, or choose another store directory", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A file system operation failed.
    #[error("cannot {what} {}: {source}; {}", path.display(), remedy(source))]
    Io {
        /// What was tried, as in "create".
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A setting makes no sense.
    #[error("the setting {setting} is {value}: {rule}")]
    Setting {
        /// Which one.
        setting: &'static str,
        /// Its value.
        value: u64,
        /// What it should be.
        rule: &'static str,
    },
    /// A data file has a length that the settings do not explain.
    #[error(
        "{} has {actual} bytes, not {expected}: set the file size that the directory was written with, or restore the file",
        path.display()
    )]
    FileLength {
        /// The file.
        path: PathBuf,
        /// Its length.
        actual: u64,
        /// The configured length.
        expected: u64,
    },
    /// A file in the middle of a row is missing.
    #[error("{} is missing, later files are there: restore it from a copy", path.display())]
    MissingFile {
        /// The file that should be there.
        path: PathBuf,
    },
    /// A file stands where none of that name belongs.
    #[error("{} does not belong there: its name is no multiple of the file size; set the file size that the directory was written with, or move it away", path.display())]
    StrayFile {
        /// The file.
        path: PathBuf,
    },
    /// Two directories of the log have a file of the same name.
    #[error("{} and {} have the same name: each file of the log is in one of the directories that storePathCommitLog and readOnlyCommitLogStorePaths name; look which one is right and move the other away", path.display(), other.display())]
    TwoFiles {
        /// One of them.
        path: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// There was a log, and now there is no file of it.
    #[error("there is no file of the log in {}, which had messages up to position {position}: set storePathCommitLog to where its files are, or restore them; to begin anew, use another storePathRootDir", path.display())]
    NoLog {
        /// Where it was looked for.
        path: PathBuf,
        /// How long it was.
        position: i64,
    },
    /// Nowhere may files of the log be made.
    #[error(
        "storePathCommitLog has no directory that is not in readOnlyCommitLogStorePaths: name one for new files"
    )]
    NoLogDir,
    /// Bytes that were durable are no longer readable.
    #[error(
        "{} is damaged at byte {at_byte} (log position {position}): {reason}; {resumes}; nothing was changed: restore the file from a copy or a replica",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        at_byte: u64,
        /// Where in the log.
        position: i64,
        /// What is wrong there.
        reason: String,
        /// Where records can be read again.
        resumes: String,
    },
    /// The directory belongs to something else.
    #[error(
        "{} shows that this is a directory of {owner}: nothing was changed; choose another store directory (storePathRootDir), or move that data away",
        path.display()
    )]
    OtherOwner {
        /// What was found.
        path: PathBuf,
        /// Whose it is.
        owner: &'static str,
    },
    /// Timers are kept in a form that is not read here.
    #[error(
        "{} is a snapshot of the timer wheel (timerWheelSnapshotFlush=true): let Apache's broker run once with timerWheelSnapshotFlush=false and remove the snapshots, or remove them if no timer message is waiting",
        path.display()
    )]
    WheelSnapshot {
        /// The snapshot.
        path: PathBuf,
    },
    /// The directory keeps its state in `RocksDB`, which is not read here.
    #[error(
        "{} shows that this directory keeps state in RocksDB ({kept}): let Apache's broker write it back to files (storeType=default, the RocksDB switches off), or remove it if that state is not needed",
        path.display()
    )]
    RocksDb {
        /// What was found.
        path: PathBuf,
        /// What is kept there.
        kept: &'static str,
    },
}

/// What to do about an error of the file system.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "give the user that runs the broker the right to read and write there"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "the file system is read-only: look into the system's log why, and mount it for writing"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk is full: free some space"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
            "a file stands where a directory belongs, or the other way round: move it away"
        }
        _ => match error.raw_os_error() {
            // EIO
            Some(5) => "the disk reports an error: check it, and the system's log",
            // EMFILE, ENFILE
            Some(23 | 24) => "raise the limit of open files (ulimit -n)",
            // ENOMEM, also for too many mappings
            Some(12) => "there is too little memory, or vm.max_map_count is too low",
            _ => "check that the directory exists, is writable and has space",
        },
    }
}

impl OpenError {
    pub(crate) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> OpenError {
        let path = path.into();
        move |source| OpenError::Io { what, path, source }
    }
}

/// Why a store takes no more messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadOnlyReason {
    /// It is closed or closing.
    #[error("the store is closed")]
    Closed,
    /// A sync failed: what the kernel holds is no longer known to reach the disk, ever. Final.
    #[error("a sync of the disk failed; check the disk, then restart")]
    SyncFailed,
    /// No space for the next file. Ends by itself when there is space again.
    #[error("the disk is full; free some space")]
    DiskFull,
}

/// Why a message was not stored. In every case nothing of it, or of its batch, is in the log.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The store takes no messages.
    #[error("the store is not writable: {0}")]
    ReadOnly(#[from] ReadOnlyReason),
    /// A message, its properties or a batch are larger than the store takes.
    #[error("the {what} has {bytes} bytes, more than {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A topic that cannot be the name of a directory, or a negative queue id.
    #[error("{topic:?} with queue {id} cannot be stored: not a name for a directory")]
    Name {
        /// The topic.
        topic: String,
        /// The queue.
        id: i32,
    },
    /// The record names another topic or queue than the handle.
    #[error("the record belongs to another queue")]
    OtherQueue,
    /// The queue was deleted.
    #[error("the queue was deleted")]
    QueueGone,
    /// A file could not be made or mapped.
    #[error("cannot prepare a file: {0}")]
    Io(#[from] io::Error),
}

/// Why a store did not close cleanly. It is closed all the same; the next start recovers.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// A sync failed, now or earlier.
    #[error("a sync of the disk failed: the next start checks the log")]
    SyncFailed,
    /// A file could not be written or removed.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}
