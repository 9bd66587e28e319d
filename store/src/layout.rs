// SPDX-License-Identifier: Apache-2.0
//! Names and widths within a store directory (Apache: `store/config/StorePathConfigHelper.java`).

use std::path::{Path, PathBuf};

pub(crate) const COMMIT_LOG: &str = "commitlog";
pub(crate) const CONSUME_QUEUE: &str = "consumequeue";
/// Queues whose entries say how many messages a record holds.
pub(crate) const BATCH_QUEUE: &str = "batchconsumequeue";
/// Ours: an entry for each message of those queues. Apache ignores it.
pub(crate) const BATCH_ENTRIES: &str = "batchentries";
pub(crate) const CHECKPOINT: &str = "checkpoint";
pub(crate) const ABORT: &str = "abort";
pub(crate) const LOCK: &str = "lock";
pub(crate) const INDEX: &str = "index";
/// Ours: how far the index is durable. Apache ignores it.
pub(crate) const INDEX_STATE: &str = "indexstate";
/// Ours: what is known of all queues. Apache ignores it.
pub(crate) const SUMMARY: &str = "queues.summary";
/// Ours: log files on their way to their full length. Apache ignores it.
pub(crate) const PREPARING: &str = "preparing";
/// Ours: what recovery cut off. Apache ignores it.
pub(crate) const QUARANTINE: &str = "quarantine";

/// One consume queue entry: log position 8, record length 4, tags code 8; big-endian.
pub(crate) const ENTRY_BYTES: usize = 8 + 4 + 8;
/// Length in the entries that Apache puts before the first one of a queue that does not start at 0.
pub(crate) const BLANK_ENTRY_SIZE: i32 = i32::MAX;

/// Consume queue files have their full length from the start, but blocks only this far ahead.
pub(crate) const QUEUE_ALLOCATION_BYTES: u64 = 64 << 10;

/// Digits of a file name.
const NAME_DIGITS: usize = 20;

const _: () = assert!(ENTRY_BYTES == 20);

/// The name of the file that starts at a position.
pub(crate) fn file_name(base: i64) -> String {
    format!("{base:0NAME_DIGITS$}")
}

/// The position a file name stands for; `None` for names of other things.
pub(crate) fn base_of(name: &str) -> Option<i64> {
    if name.len() != NAME_DIGITS || !name.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    name.parse().ok()
}

/// The directory of a queue below one of the directories of queues.
pub(crate) fn queue_dir(root: &Path, kind: &str, topic: &str, id: i32) -> PathBuf {
    root.join(kind).join(topic).join(id.to_string())
}

/// Where the entries of a topic's queues are.
pub(crate) fn entries_of(is_batch: bool) -> &'static str {
    if is_batch {
        BATCH_ENTRIES
    } else {
        CONSUME_QUEUE
    }
}

/// Whether a topic can be the name of a directory, and nothing but that.
pub(crate) fn is_directory_name(topic: &str) -> bool {
    !topic.is_empty()
        && topic.len() <= 255
        && topic != "."
        && topic != ".."
        && !topic.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(file_name(1 << 30), "00000000001073741824");
        assert_eq!(base_of("00000000001073741824"), Some(1 << 30));
        for other in [
            "1073741824",
            "0000000000107374182x",
            "99999999999999999999",
            "+0000000000000000001",
        ] {
            assert_eq!(base_of(other), None);
        }
        assert!(
            is_directory_name("%RETRY%g") && !is_directory_name("..") && !is_directory_name("a/b")
        );
    }
}
