// SPDX-License-Identifier: Apache-2.0
//! Keys of what the store keeps beside the log, and for how long (`MessageStoreConfig`).

use std::time::Duration;

use aerobee_daemon::config;
use aerobee_store::{IndexConfig, Retention, index::Geometry};

use crate::config::StoreKeys;

config! {
    /// The index by keys.
    pub struct IndexKeys {
        /// Whether messages are found by their keys.
        "messageIndexEnable" => message_index_enable: bool = true,
        /// Whether keys of new messages are entered into files of the index.
        "indexFileWriteEnable" => index_file_write_enable: bool = true,
        /// Whether files of the index are searched.
        "indexFileReadEnable" => index_file_read_enable: bool = true,
        /// Slots of a file of the index; a directory keeps to one number.
        "maxHashSlotNum" => max_hash_slot_num: i32 [1..=500_000_000] = 5_000_000,
        /// Entries of a file of the index; a directory keeps to one number.
        "maxIndexNum" => max_index_num: i32 [2..=100_000_000] = 20_000_000,
        /// Most messages that one query returns.
        "maxMsgsNumBatch" => max_msgs_num_batch: i32 [1..=10_000] = 64,
        /// Most messages that a query by unique key returns.
        "defaultQueryMaxNum" => default_query_max_num: i32 [1..=10_000] = 32,
    }
}

config! {
    /// Removing old files.
    pub struct RetentionKeys {
        /// How often the store looks for files to remove, ms.
        "cleanResourceInterval" => clean_resource_interval: i64 [100..=3_600_000] = 10_000,
        /// Pause between the removal of two files, ms.
        "deleteCommitLogFilesInterval" => delete_commit_log_files_interval: i64 [0..=600_000] = 100,
        /// Most files removed at a time.
        "deleteFileBatchMax" => delete_file_batch_max: i32 [1..=10_000] = 10,
        /// Above so many per cent of the disk expired files are removed at any hour; at least 10, at
        /// most 95.
        "diskMaxUsedSpaceRatio" => disk_max_used_space_ratio: i32 [0..=100] = 75,
        /// Above so many per cent the oldest files are removed whatever their age; at least 30, at
        /// most 85.
        "diskSpaceCleanForciblyRatio" => disk_space_clean_forcibly_ratio: i32 [0..=100] = 85,
        /// Above so many per cent messages are refused; at least 35, at most 90.
        "diskSpaceWarningLevelRatio" => disk_space_warning_level_ratio: i32 [0..=100] = 90,
        /// Whether files may be removed before their time.
        "cleanFileForciblyEnable" => clean_file_forcibly_enable: bool = true,
        /// Brokers that share the disk.
        "replicasPerDiskPartition" => replicas_per_disk_partition: i32 [1..=1_000] = 1,
        /// With several brokers on the disk: the part of its share above which the oldest files of
        /// this one are removed whatever their age.
        "logicalDiskSpaceCleanForciblyThreshold" => logical_disk_space_clean_forcibly_threshold: f64 = 0.8,
    }
}

/// Most messages of a query, whatever the configuration says later.
const QUERY_MAX: usize = 10_000;

impl IndexKeys {
    pub(crate) fn to_store(&self) -> IndexConfig {
        IndexConfig {
            write: self.message_index_enable && self.index_file_write_enable,
            read: self.index_file_read_enable,
            geometry: Geometry {
                slots: self.max_hash_slot_num.unsigned_abs(),
                entries: self.max_index_num.unsigned_abs(),
            },
            max_messages: QUERY_MAX,
        }
    }
}

impl RetentionKeys {
    pub(crate) fn to_store(&self, store: &StoreKeys) -> Retention {
        let hours = store.delete_when.split(';');
        let hours = hours.filter_map(|hour| hour.trim().parse().ok());
        let share = self.logical_disk_space_clean_forcibly_threshold;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 100"
        )]
        let share_any_above = (share.clamp(0.0, 1.0) * 100.0) as u32;
        let hour = Duration::from_secs(3600);
        Retention {
            keep_for: hour * store.file_reserved_time.unsigned_abs(),
            delete_hours: hours.filter(|hour| *hour < 24).collect(),
            every: Duration::from_millis(self.clean_resource_interval.unsigned_abs()),
            pause: Duration::from_millis(self.delete_commit_log_files_interval.unsigned_abs()),
            batch: self.delete_file_batch_max.unsigned_abs() as usize,
            expired_above: self.disk_max_used_space_ratio.unsigned_abs(),
            any_above: self.disk_space_clean_forcibly_ratio.unsigned_abs(),
            refuse_above: self.disk_space_warning_level_ratio.unsigned_abs(),
            removes_early: self.clean_file_forcibly_enable,
            sharers: self.replicas_per_disk_partition.unsigned_abs(),
            share_any_above,
        }
    }
}
