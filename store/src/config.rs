// SPDX-License-Identifier: Apache-2.0
//! What a store can be told. Defaults are Apache's (`store/config/MessageStoreConfig.java`).

use std::{path::PathBuf, time::Duration};

use crate::{index::IndexConfig, log_dirs::LogDirs, retention::Retention};

/// When an append counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushMode {
    /// When the bytes are in the page cache.
    Async,
    /// When a sync that covers the bytes has returned; readers see nothing earlier.
    Sync,
}

/// How much one read may take, by where the messages are. The first message is always taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferLimits {
    /// Messages, near the end of the log (`maxTransferCountOnMessageInMemory`).
    pub memory_messages: u32,
    /// Bytes, near the end of the log (`maxTransferBytesOnMessageInMemory`).
    pub memory_bytes: usize,
    /// Messages, further back (`maxTransferCountOnMessageInDisk`).
    pub disk_messages: u32,
    /// Bytes, further back (`maxTransferBytesOnMessageInDisk`).
    pub disk_bytes: usize,
}

impl Default for TransferLimits {
    fn default() -> Self {
        Self {
            memory_messages: 32,
            memory_bytes: 256 << 10,
            disk_messages: 8,
            disk_bytes: 64 << 10,
        }
    }
}

/// Settings of a [`crate::Store`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Root directory (`storePathRootDir`).
    pub dir: PathBuf,
    /// Where the log is, if not in `commitlog` below the root.
    pub log_dirs: LogDirs,
    /// Bytes of one log file (`mappedFileSizeCommitLog`).
    pub commit_log_file_bytes: u64,
    /// Entries of one consume queue file (`mappedFileSizeConsumeQueue` / 20).
    pub queue_file_entries: u32,
    /// Entries of one file of a queue of batches (`mapperFileSizeBatchConsumeQueue` / 46).
    pub batch_queue_file_entries: u32,
    /// Topics with `queue.type=BatchCQ`; those that have such queues already need not be named.
    pub batch_topics: Vec<String>,
    /// When an append counts as done (`flushDiskType`).
    pub flush_mode: FlushMode,
    /// Longest time that bytes stay unflushed (`flushIntervalCommitLog`).
    pub flush_interval: Duration,
    /// Unflushed bytes that start a flush before its time.
    pub flush_bytes: u64,
    /// How long [`crate::Store::when_flushed`] waits (`syncFlushTimeout`).
    pub sync_flush_timeout: Duration,
    /// How often consume queues and checkpoint are flushed (`flushIntervalConsumeQueue`).
    pub queue_flush_interval: Duration,
    /// Longest record, all of it: `maxMessageSize` and 64 KiB.
    pub max_record_bytes: usize,
    /// Bytes ahead of the writer whose pages are made present in the background.
    pub populate_bytes: u64,
    /// Bytes before the end of the log that count as resident without asking.
    pub hot_bytes: u64,
    /// Messages farther from the end of the log than so many per cent of the memory count as being on disk
    /// (`accessMessageInMemoryMaxRatio`).
    pub memory_percent: u32,
    /// How much one read may take.
    pub transfer: TransferLimits,
    /// Threads for reads that wait for the disk.
    pub cold_readers: usize,
    /// Reads that may wait for those threads.
    pub cold_queue: usize,
    /// The index by keys.
    pub index: IndexConfig,
    /// Consume queues that may have files mapped at once; others are opened when they are needed.
    pub open_queues: usize,
    /// Queues whose files nobody has used for so long give them up.
    pub queue_idle: Duration,
    /// Changed queues whose files a start or an end waits for; where more have changed, files are written later, or
    /// their entries made again from the log by the next start ([`crate::Closed::Early`]).
    pub queues_at_end: usize,
    /// When old files are removed.
    pub retention: Retention,
    /// Callers that may wait for a flush at once; one more is told that its time is up.
    pub flush_waiters: usize,
    /// Delays of the levels of `SCHEDULE_TOPIC_XXXX` in milliseconds, the first level first (`messageDelayLevel`):
    /// recovery computes from them when a message is due.
    pub delay_levels: Vec<i64>,
}

/// Apache's delay levels, in seconds.
const DELAY_SECONDS: [i64; 18] = [
    1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1_200, 1_800, 3_600, 7_200,
];

impl Config {
    /// Apache's defaults for a directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            log_dirs: LogDirs::default(),
            commit_log_file_bytes: 1 << 30,
            queue_file_entries: 300_000,
            batch_queue_file_entries: 300_000,
            batch_topics: Vec::new(),
            flush_mode: FlushMode::Async,
            flush_interval: Duration::from_millis(500),
            flush_bytes: 4 << 20,
            sync_flush_timeout: Duration::from_secs(5),
            queue_flush_interval: Duration::from_secs(1),
            max_record_bytes: (4 << 20) + (64 << 10),
            populate_bytes: 4 << 20,
            hot_bytes: 64 << 20,
            memory_percent: 40,
            transfer: TransferLimits::default(),
            cold_readers: 2,
            cold_queue: 4096,
            index: IndexConfig::default(),
            open_queues: 16_384,
            queue_idle: Duration::from_secs(60),
            queues_at_end: 4096,
            retention: Retention::default(),
            flush_waiters: 1 << 16,
            delay_levels: DELAY_SECONDS.map(|seconds| seconds * 1000).to_vec(),
        }
    }
}
