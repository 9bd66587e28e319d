// SPDX-License-Identifier: Apache-2.0
//! What a check found: defects, bounded in number, and what is worth knowing without being one.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Defects of one kind that are kept with their places; more are counted.
const KEPT_PER_KIND: usize = 100;
/// Notes that are kept.
const NOTES_MAX: usize = 100;

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Bytes in the middle of the log are no record.
    DamagedLog,
    /// The log ends in bytes that are no record.
    TornTail,
    /// A file in the middle of the log is missing.
    MissingLogFile,
    /// A log file has another length than the others.
    LogFileLength,
    /// A file of the log has a name that fits no position.
    StrayLogFile,
    /// A queue entry names another place than that of its message.
    WrongEntry,
    /// A message has no entry in its queue.
    MissingEntry,
    /// A queue entry refers to a message that the log does not have.
    LostMessage,
    /// Queue entries refer to what lies behind the end of the log.
    StaleEntry,
    /// Messages are in the log, the directory of their queue is missing.
    MissingQueue,
    /// A file in the middle of a queue is missing.
    MissingQueueFile,
    /// A queue file has another length than the others.
    QueueFileLength,
    /// A queue file has a name that fits no offset.
    StrayQueueFile,
    /// An index entry names another place than that of its message, or another key.
    WrongIndexEntry,
    /// A message with keys has no entry in an index that covers its time.
    MissingIndexEntry,
    /// The slots of an index file do not lead to its entries.
    WrongIndexSlot,
    /// The head of an index file contradicts its entries.
    WrongIndexHead,
    /// An index file has an unexpected length.
    IndexFileLength,
    /// The checkpoint contradicts the log.
    Checkpoint,
    /// The summary of the queues contradicts them.
    Summary,
    /// A configuration or state file cannot be understood.
    ConfigFile,
    /// A stored position lies outside its queue.
    Position,
    /// An extension of a queue entry contradicts its message, or is missing.
    Extension,
    /// The files of the timer contradict one another or the log.
    Timer,
    /// State is kept in `RocksDB`, which is not read here.
    RocksDb,
}

impl Kind {
    /// A short name for machines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::DamagedLog => "damaged-log",
            Kind::TornTail => "torn-tail",
            Kind::MissingLogFile => "missing-log-file",
            Kind::LogFileLength => "log-file-length",
            Kind::StrayLogFile => "stray-log-file",
            Kind::WrongEntry => "wrong-entry",
            Kind::MissingEntry => "missing-entry",
            Kind::LostMessage => "lost-message",
            Kind::StaleEntry => "stale-entry",
            Kind::MissingQueue => "missing-queue",
            Kind::MissingQueueFile => "missing-queue-file",
            Kind::QueueFileLength => "queue-file-length",
            Kind::StrayQueueFile => "stray-queue-file",
            Kind::WrongIndexEntry => "wrong-index-entry",
            Kind::MissingIndexEntry => "missing-index-entry",
            Kind::WrongIndexSlot => "wrong-index-slot",
            Kind::WrongIndexHead => "wrong-index-head",
            Kind::IndexFileLength => "index-file-length",
            Kind::Checkpoint => "checkpoint",
            Kind::Summary => "summary",
            Kind::ConfigFile => "config-file",
            Kind::Position => "position",
            Kind::Extension => "extension",
            Kind::Timer => "timer",
            Kind::RocksDb => "rocksdb",
        }
    }

    /// What usually causes it.
    #[must_use]
    pub const fn cause(self) -> &'static str {
        match self {
            Kind::DamagedLog => {
                "a bad disk, a file system that lost writes, or a file changed by hand"
            }
            Kind::TornTail => "the machine lost power, or the process ended, while it was written",
            Kind::MissingLogFile | Kind::MissingQueue | Kind::MissingQueueFile => {
                "the files were removed by hand, or not copied with the rest"
            }
            Kind::LogFileLength | Kind::QueueFileLength => {
                "a copy that was cut short, a full disk, or another configured file size"
            }
            Kind::StrayLogFile | Kind::StrayQueueFile => {
                "another configured file size, or a file copied here by hand"
            }
            Kind::WrongEntry | Kind::MissingEntry | Kind::Extension => {
                "a write that never reached the disk, or a file changed by hand"
            }
            Kind::LostMessage => "its part of the log is damaged or missing",
            Kind::StaleEntry => "the end of the log was lost, its queues were not",
            Kind::WrongIndexEntry
            | Kind::MissingIndexEntry
            | Kind::WrongIndexSlot
            | Kind::WrongIndexHead => {
                "index files are not synced with each message: a crash, or a file changed by hand"
            }
            Kind::IndexFileLength => "other configured numbers of slots and entries, or a cut copy",
            Kind::Checkpoint | Kind::Summary => {
                "a file restored from another time, or files of the store removed by hand"
            }
            Kind::ConfigFile => "a write that was interrupted, or a change by hand",
            Kind::Position => "a file restored from another time than the log",
            Kind::Timer => "a write that never reached the disk, or files of different times",
            Kind::RocksDb => "Apache's broker was configured to keep its state there",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn fix(self) -> &'static str {
        match self {
            Kind::DamagedLog | Kind::MissingLogFile => {
                "restore the file from a copy or a replica; else --repair moves what is damaged aside and bridges the gap"
            }
            Kind::TornTail => "--repair moves it aside; starting cuts it off, too",
            Kind::LogFileLength => {
                "name the file size with --config, restore the file, or let --repair complete it"
            }
            Kind::StrayLogFile => "move the file away, or name the file size with --config",
            Kind::WrongEntry
            | Kind::MissingEntry
            | Kind::StaleEntry
            | Kind::MissingQueue
            | Kind::MissingQueueFile
            | Kind::QueueFileLength
            | Kind::StrayQueueFile => "--repair makes the queue anew from the log",
            Kind::LostMessage => {
                "restore the log from a copy or a replica; --repair makes the queue skip the offset"
            }
            Kind::WrongIndexEntry
            | Kind::MissingIndexEntry
            | Kind::WrongIndexSlot
            | Kind::WrongIndexHead
            | Kind::IndexFileLength => "--repair makes the index anew from the log",
            Kind::Checkpoint => "--repair makes it anew after a scan of the log",
            Kind::Summary => {
                "--repair makes it anew; without it every queue is examined at the start"
            }
            Kind::ConfigFile => "--repair puts its backup in its place if that one is sound",
            Kind::Position => "reset the position with an admin tool once the broker runs",
            Kind::Extension => {
                "nothing is lost: aerobee reads the message instead; for Apache's broker remove consumequeue_ext and the queue, or switch enableConsumeQueueExt off"
            }
            Kind::Timer => "restore both files from the same copy",
            Kind::RocksDb => {
                "let Apache's broker write it back to files (storeType=default, the RocksDB switches off)"
            }
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defect {
    /// What kind it is.
    pub kind: Kind,
    /// In which file or directory.
    pub path: PathBuf,
    /// At which byte of the file; none when all of it is meant.
    pub at: Option<u64>,
    /// What is wrong, in one sentence.
    pub what: String,
}

/// What the queues of the store span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRange {
    /// Topic.
    pub topic: Arc<str>,
    /// Queue of the topic.
    pub id: i32,
    /// First offset that has a message in the log.
    pub min: i64,
    /// The next offset.
    pub next: i64,
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Report {
    defects: Vec<Defect>,
    counts: BTreeMap<Kind, u64>,
    notes: Vec<String>,
    /// Records read.
    pub records: u64,
    /// Bytes of the log read.
    pub bytes: u64,
    /// Queue entries compared with the log.
    pub entries: u64,
    /// Index entries compared with the log.
    pub index_entries: u64,
    /// Where the log ends.
    pub log_end: i64,
    /// Store times of the first and the last record.
    pub times: Option<(i64, i64)>,
    /// All queues that were found.
    pub queues: Vec<QueueRange>,
    /// What starting a broker on the directory would do, one sentence each.
    pub start: Vec<String>,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }

    /// Defects with their places: the first of each kind.
    #[must_use]
    pub fn defects(&self) -> &[Defect] {
        &self.defects
    }

    /// How many there are of each kind, those without a place included.
    pub fn counts(&self) -> impl Iterator<Item = (Kind, u64)> {
        self.counts.iter().map(|(kind, count)| (*kind, *count))
    }

    /// How many defects there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Whether there is one of a kind.
    #[must_use]
    pub fn has(&self, kind: Kind) -> bool {
        self.counts.contains_key(&kind)
    }

    /// What is worth knowing without being a defect.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Adds a defect.
    pub fn add(&mut self, kind: Kind, path: &Path, at: Option<u64>, what: impl Into<String>) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= KEPT_PER_KIND as u64 {
            self.defects.push(Defect {
                kind,
                path: path.to_owned(),
                at,
                what: what.into(),
            });
        }
    }

    /// Adds a note.
    pub fn note(&mut self, what: impl Into<String>) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(what.into());
        }
    }
}

/// How far a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being read.
    pub part: &'static str,
    /// Bytes read.
    pub done: u64,
    /// Bytes to read.
    pub total: u64,
}
