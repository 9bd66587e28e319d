// SPDX-License-Identifier: Apache-2.0
//! How many half messages are open for each topic, kept in `config/transactionMetrics` as Apache
//! does (`TransactionMetrics`). Nothing depends on it but what operators are shown.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use aerobee_daemon::persist;
use aerobee_remoting::{body::DataVersion, fastjson};
use dashmap::DashMap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::table::{PersistError, Persisted, count_change};

/// Most topics counted; they are those of committed messages, so no stranger makes them up freely.
const TOPICS_MAX: usize = 100_000;

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Count {
    count: i64,
    time_stamp: i64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    data_version: DataVersion,
    transaction_count: BTreeMap<String, Count>,
}

#[derive(Debug, Default)]
struct Table {
    topics: DashMap<Box<str>, Count>,
    version: Mutex<DataVersion>,
}

/// Open half messages by topic.
pub(super) struct Counts {
    table: Arc<Table>,
    file: Persisted,
    /// Whether there is something that the file does not hold.
    changed: AtomicBool,
}

impl Counts {
    /// Takes the last known version; the counts themselves are those of [`Counts::add`], which tells
    /// of what is really open.
    pub(super) fn open(directory: &Path) -> Self {
        let path = directory.join("transactionMetrics");
        let known = match persist::load(&path, fastjson::from_slice::<File>) {
            Ok(known) => known.unwrap_or_default(),
            Err(error) => {
                tracing::warn!(%error, "the counts of open transactions begin anew");
                File::default()
            }
        };
        let table = Arc::new(Table {
            topics: DashMap::new(),
            version: Mutex::new(known.data_version),
        });
        let snapshot = {
            let table = Arc::clone(&table);
            move || table.to_json()
        };
        Self {
            table,
            file: Persisted::new(path, snapshot),
            changed: AtomicBool::new(false),
        }
    }

    /// Counts.
    pub(super) fn add(&self, topic: &str, change: i64, now: i64) {
        self.changed.store(true, Ordering::Release);
        let put = |count: &mut Count| {
            count.count += change;
            count.time_stamp = now;
        };
        if let Some(mut count) = self.table.topics.get_mut(topic) {
            return put(&mut count);
        }
        if self.table.topics.len() < TOPICS_MAX {
            put(&mut self.table.topics.entry(topic.into()).or_default());
        }
    }

    /// Each topic and how many of its half messages are open.
    pub(super) fn read(&self) -> Vec<(Box<str>, i64)> {
        let topics = self.table.topics.iter();
        topics
            .map(|topic| (topic.key().clone(), topic.value().count))
            .collect()
    }

    /// Has the file written if anything has changed.
    pub(super) fn flush(&self) {
        if !self.changed.swap(false, Ordering::AcqRel) {
            return;
        }
        count_change(&mut self.table.version.lock());
        self.file.changed();
    }

    pub(super) async fn close(&self) -> Result<(), PersistError> {
        self.flush();
        self.file.close().await
    }
}

impl Table {
    fn to_json(&self) -> Vec<u8> {
        let transaction_count = self
            .topics
            .iter()
            .map(|entry| (entry.key().to_string(), *entry.value()))
            .collect();
        fastjson::to_vec(&File {
            data_version: *self.version.lock(),
            transaction_count,
        })
    }
}
