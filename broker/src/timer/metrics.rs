// SPDX-License-Identifier: Apache-2.0
//! How many messages of each topic are in the wheel: `config/timermetrics`. Apache: `TimerMetrics`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use aerobee_daemon::persist;
use aerobee_remoting::{body::DataVersion, fastjson};
use serde::{Deserialize, Serialize};

use crate::table::count_change;

/// Most topics that are counted; names come from clients.
const TOPICS_MAX: usize = 100_000;

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metric {
    count: i64,
    time_stamp: i64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Table {
    data_version: DataVersion,
    timing_count: BTreeMap<String, Metric>,
}

/// The counts and their file.
#[derive(Debug)]
pub(super) struct Metrics {
    path: PathBuf,
    table: Table,
    changed: bool,
}

impl Metrics {
    /// A file that cannot be read is begun anew: the counts are only shown.
    pub(super) fn open(path: &Path) -> Self {
        let table = persist::load(path, fastjson::from_slice).unwrap_or_else(|error| {
            tracing::warn!(%error, "counts of timer messages begin anew");
            None
        });
        Self {
            path: path.to_owned(),
            table: table.unwrap_or_default(),
            changed: false,
        }
    }

    pub(super) fn add(&mut self, topic: &str, by: i64, now: i64) {
        let counts = &mut self.table.timing_count;
        if !counts.contains_key(topic) {
            if counts.len() >= TOPICS_MAX {
                return;
            }
            counts.insert(topic.to_owned(), Metric::default());
        }
        let Some(metric) = counts.get_mut(topic) else {
            return;
        };
        metric.count += by;
        metric.time_stamp = now;
        self.changed = true;
    }

    /// Each topic and how many of its messages wait.
    pub(super) fn counts(&self) -> Vec<(String, i64)> {
        let counts = self.table.timing_count.iter();
        counts
            .map(|(topic, metric)| (topic.clone(), metric.count))
            .collect()
    }

    /// Writes the file if counts have changed.
    pub(super) fn persist(&mut self) -> Result<(), persist::Error> {
        if !self.changed {
            return Ok(());
        }
        count_change(&mut self.table.data_version);
        persist::save(&self.path, &fastjson::to_vec(&self.table))?;
        self.changed = false;
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn count(&self, topic: &str) -> i64 {
        self.table
            .timing_count
            .get(topic)
            .map_or(0, |metric| metric.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_javas() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("timermetrics");
        let text = r#"{"dataVersion":{"counter":2,"stateVersion":0,"timestamp":5},"timingCount":{"orders":{"count":3,"timeStamp":9}}}"#;
        std::fs::write(&path, text).unwrap();
        let mut metrics = Metrics::open(&path);
        metrics.add("orders", -1, 10);
        metrics.add("other", 1, 11);
        metrics.persist().unwrap();
        let metrics = Metrics::open(&path);
        assert_eq!((metrics.count("orders"), metrics.count("other")), (2, 1));
        assert_eq!(metrics.table.data_version.counter, 3);
    }
}
