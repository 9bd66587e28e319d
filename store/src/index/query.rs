// SPDX-License-Identifier: Apache-2.0
//! Looking messages up by key and time (Apache: `DefaultMessageStore.queryMessage`, `IndexService.queryOffset`).

use std::time::Duration;

use aerobee_message::RecordView;

use super::format::{self, KeyKind};
use crate::{read::Run, store::Store};

/// How long a query waits for others that bring the index up to date.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// Bytes of the log that a query indexes itself.
const CATCH_UP_BYTES: i64 = 64 << 20;
/// Rounds with an earlier end when the messages of one are gone from the log.
const ROUNDS: usize = 3;
/// Most bytes returned: one frame of the protocol has to hold them. The first message is returned whatever its size.
const LARGEST_ANSWER: usize = 15 << 20;

/// What to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyQuery<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The key, one word of `KEYS`, the unique key, or all of `TAGS`.
    pub key: &'a str,
    /// Which of these it is.
    pub kind: KeyKind,
    /// Most messages wanted; the configured number holds besides.
    pub max_messages: usize,
    /// Earliest store time, in milliseconds since 1970; the index keeps times to the second.
    pub begin: i64,
    /// Latest store time.
    pub end: i64,
}

/// What was found. Keys are compared by hash, so that others may be among the messages; clients look at the keys
/// themselves.
#[derive(Debug, Clone, Default)]
pub struct KeysFound {
    /// The records, the oldest first.
    pub records: Vec<Run>,
    /// Store time of the last record indexed; 0 when nothing was found.
    pub last_timestamp: i64,
    /// Position of the last record indexed; 0 when nothing was found.
    pub last_physical: i64,
}

impl Store {
    /// Looks messages up by key. It reads files, so it is for threads that may wait.
    #[must_use]
    pub fn query(&self, query: &KeyQuery<'_>) -> KeysFound {
        let mut found = KeysFound::default();
        if !self.inner.config.index.read {
            return found;
        }
        self.catch_up();
        let mut end = query.end;
        for _ in 0..ROUNDS {
            let mut positions = self.positions(query, end, &mut found);
            positions.sort_unstable();
            let Some(first) = positions.first() else {
                break;
            };
            // The next round, if any, looks before the oldest of this one.
            if let Some(time) = self.store_time_at(*first) {
                end = time;
            }
            let mut bytes = 0;
            for record in positions.iter().filter_map(|at| self.record_at(*at)) {
                bytes += record.as_slice().len();
                if bytes > LARGEST_ANSWER && !found.records.is_empty() {
                    break;
                }
                found.records.push(record);
            }
            if !found.records.is_empty() || end < query.begin {
                break;
            }
        }
        found
    }

    /// Brings the index up to what is visible now, unless that would take long.
    fn catch_up(&self) {
        let inner = &self.inner;
        let Some(mut follower) = inner.index.follower.try_lock_for(LONGEST_WAIT) else {
            return;
        };
        if let Err(error) = inner.follow(&mut follower, CATCH_UP_BYTES) {
            tracing::debug!(%error, "the index cannot be brought up to date");
        }
        drop(follower);
        // Its thread sees to the sync.
        inner.wake_indexer();
    }

    /// Positions of records, the newest first, each once.
    fn positions(&self, query: &KeyQuery<'_>, end: i64, found: &mut KeysFound) -> Vec<i64> {
        let hash = format::hash_of(query.topic, query.kind, query.key);
        let max = query.max_messages.min(self.inner.config.index.max_messages);
        let files = self.inner.index.files();
        let mut positions: Vec<i64> = Vec::new();
        for file in files.iter().rev() {
            let header = file.header();
            if header.overlaps(query.begin, end) {
                let result = file.find(&self.inner.env, hash, (query.begin, end), |physical| {
                    if positions.len() < max && positions.last() != Some(&physical) {
                        positions.push(physical);
                    }
                    positions.len() < max
                });
                if let Err(error) = result {
                    tracing::error!(path = %file.path.display(), %error, "an index file cannot be read");
                }
            }
            if header.begin_timestamp < query.begin || positions.len() >= max {
                break;
            }
        }
        if let (Some(newest), false) = (files.last(), positions.is_empty()) {
            let header = newest.header();
            found.last_timestamp = header.end_timestamp;
            found.last_physical = header.end_physical;
        }
        positions
    }

    fn store_time_at(&self, physical: i64) -> Option<i64> {
        let record = self.record_at(physical)?;
        RecordView::parse(record.as_slice())
            .ok()
            .map(|record| record.store_timestamp())
    }
}
