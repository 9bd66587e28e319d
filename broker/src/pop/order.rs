// SPDX-License-Identifier: Apache-2.0
//! Ordered pops: the last batch of each queue and group, kept in `config/consumerOrderInfo.json`.
//! While a message of it is neither acknowledged nor due again, the queue is blocked for the group.
//! Apache: `ConsumerOrderInfoManager`, 5.5 `QueueLevelConsumerManager`.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use aerobee_daemon::persist;
use aerobee_remoting::fastjson;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{
    error::StartError,
    groups::Groups,
    pop::{
        handle::{self, Kind},
        journal::MESSAGES_MAX,
    },
    table::{PersistError, Persisted},
    topics::Topics,
};

/// Batches not touched for so long are forgotten, ms.
const IDLE_MAX: i64 = 24 * 3_600_000;

/// The last batch of a queue. Apache: `OrderInfo`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Batch {
    #[serde(rename = "a")]
    attempt: Option<String>,
    /// Bit i stands for the message i: it is acknowledged.
    #[serde(rename = "cm")]
    done: i64,
    #[serde(rename = "i")]
    invisible_time: Option<i64>,
    /// When it was last popped.
    #[serde(rename = "l")]
    last_consumed: i64,
    /// The first offset, then distances from it.
    #[serde(rename = "o")]
    offsets: Vec<i64>,
    /// How often messages were popped before, where they were.
    #[serde(rename = "oc")]
    counts: Option<BTreeMap<i64, i32>>,
    /// When messages are visible again, where that was changed.
    #[serde(rename = "ot")]
    visible: Option<BTreeMap<i64, i64>>,
    #[serde(rename = "popTime")]
    pop_time: i64,
}

impl Batch {
    fn offset(&self, index: usize) -> Option<i64> {
        let first = *self.offsets.first()?;
        if index == 0 {
            return Some(first);
        }
        first.checked_add(*self.offsets.get(index)?)
    }

    fn all(&self) -> impl Iterator<Item = i64> + '_ {
        (0..self.offsets.len()).filter_map(|index| self.offset(index))
    }

    fn is_done(&self, index: usize) -> bool {
        index < 64 && self.done >> index & 1 == 1
    }

    fn open(&self) -> impl Iterator<Item = i64> + '_ {
        self.all()
            .enumerate()
            .filter(|(index, _)| !self.is_done(*index))
            .map(|(_, offset)| offset)
    }

    /// When the last of the open messages is visible again; `None` when none is open.
    fn blocked_until(&self, invisible_time: i64) -> Option<i64> {
        let invisible = self.invisible_time.filter(|time| *time > 0);
        let until = self
            .pop_time
            .saturating_add(invisible.unwrap_or(invisible_time));
        self.open()
            .map(|offset| {
                let changed = self.visible.as_ref().and_then(|times| times.get(&offset));
                changed.copied().unwrap_or(until)
            })
            .max()
    }

    fn is_attempt(&self, attempt: Option<&str>) -> bool {
        attempt.is_some() && self.attempt.as_deref() == attempt
    }
}

/// `config/consumerOrderInfo.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct File {
    table: BTreeMap<String, BTreeMap<i32, Batch>>,
}

/// What an acknowledgement of an ordered message means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The group goes on at this offset.
    Commit(i64),
    /// The message is not of the batch.
    Illegal,
    /// The batch was popped again since.
    Stale,
}

/// A batch that was popped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Update<'a> {
    pub(crate) attempt: Option<&'a str>,
    pub(crate) pop_time: i64,
    pub(crate) invisible_time: i64,
    pub(crate) offsets: &'a [i64],
}

/// Last batches of all ordered consumers.
#[derive(Debug)]
pub(crate) struct Orders {
    table: Arc<Mutex<File>>,
    file: Persisted,
}

impl Orders {
    /// Reads the file. Needs a running runtime.
    pub(crate) fn open(path: PathBuf) -> Result<Self, StartError> {
        let file: File = persist::load(&path, fastjson::from_slice)?.unwrap_or_default();
        let table = Arc::new(Mutex::new(file));
        let snapshot = {
            let table = Arc::clone(&table);
            move || fastjson::to_pretty(&*table.lock())
        };
        Ok(Self {
            table,
            file: Persisted::new(path, snapshot),
        })
    }

    /// When the queue is free, should it be blocked for the group at `now`.
    pub(crate) fn blocked_until(
        &self,
        group: &str,
        topic: &str,
        queue_id: i32,
        attempt: Option<&str>,
        invisible_time: i64,
        now: i64,
    ) -> Option<i64> {
        let table = self.table.lock();
        let batch = table.table.get(&key(topic, group))?.get(&queue_id)?;
        if batch.is_attempt(attempt) {
            return None;
        }
        batch
            .blocked_until(invisible_time)
            .filter(|until| now < *until)
    }

    /// Keeps a batch that was popped; tells how often its messages were before.
    pub(crate) fn popped(
        &self,
        group: &str,
        topic: &str,
        queue_id: i32,
        update: Update<'_>,
        counts: &mut String,
    ) {
        let first = update.offsets.first().copied().unwrap_or_default();
        let distance = |(index, offset): (usize, &i64)| {
            if index == 0 { *offset } else { offset - first }
        };
        let mut batch = Batch {
            attempt: update.attempt.map(ToOwned::to_owned),
            invisible_time: Some(update.invisible_time),
            last_consumed: update.pop_time,
            offsets: update
                .offsets
                .iter()
                .take(MESSAGES_MAX)
                .enumerate()
                .map(distance)
                .collect(),
            pop_time: update.pop_time,
            ..Batch::default()
        };
        let mut table = self.table.lock();
        let queues = table.table.entry(key(topic, group)).or_default();
        let mut known = queues.remove(&queue_id);
        let consumed = match &mut known {
            None => None,
            Some(known) if known.is_attempt(update.attempt) => known.counts.take(),
            Some(known) => {
                let before = known.counts.take().unwrap_or_default();
                let again = |offset: &i64| known.all().any(|known| known == *offset);
                let count = |offset: &i64| before.get(offset).map_or(1, |count| count + 1);
                let counts = update.offsets.iter().filter(|offset| again(offset));
                Some(counts.map(|offset| (*offset, count(offset))).collect())
            }
        };
        let consumed: BTreeMap<i64, i32> = consumed.unwrap_or_default();
        let kind = Kind::of(topic);
        for (offset, count) in &consumed {
            handle::push_count(counts, kind, queue_id, *offset, *count);
        }
        let least = if consumed.len() == batch.offsets.len() {
            consumed.values().min().copied().unwrap_or(0)
        } else {
            0
        };
        handle::push_least_count(counts, kind, queue_id, least);
        batch.counts = Some(consumed);
        queues.insert(queue_id, batch);
    }

    /// Acknowledges a message.
    pub(crate) fn acknowledge(
        &self,
        group: &str,
        topic: &str,
        queue_id: i32,
        offset: i64,
        pop_time: i64,
    ) -> Next {
        let mut table = self.table.lock();
        let batch = table
            .table
            .get_mut(&key(topic, group))
            .and_then(|queues| queues.get_mut(&queue_id));
        let Some(batch) = batch else {
            return Next::Commit(offset.saturating_add(1));
        };
        if batch.offsets.is_empty() {
            return Next::Illegal;
        }
        if batch.pop_time != pop_time {
            return Next::Stale;
        }
        let Some(index) = batch.all().position(|known| known == offset) else {
            return Next::Illegal;
        };
        if index < 64 {
            batch.done |= 1 << index;
        }
        let open = batch.open().next();
        let last = batch.all().last();
        match open.or_else(|| last.map(|last| last + 1)) {
            Some(next) => Next::Commit(next),
            None => Next::Illegal,
        }
    }

    /// Says when a message is visible again; `false` when it is not of the batch that was popped at
    /// that time.
    pub(crate) fn change_visible(
        &self,
        group: &str,
        topic: &str,
        queue_id: i32,
        (offset, pop_time): (i64, i64),
        visible: i64,
    ) -> bool {
        let mut table = self.table.lock();
        let batch = table
            .table
            .get_mut(&key(topic, group))
            .and_then(|queues| queues.get_mut(&queue_id));
        match batch {
            Some(batch)
                if batch.pop_time == pop_time && batch.all().any(|known| known == offset) =>
            {
                batch
                    .visible
                    .get_or_insert_default()
                    .insert(offset, visible);
                true
            }
            _ => false,
        }
    }

    /// Forgets the batch of a queue, as when its offset was reset.
    pub(crate) fn clear(&self, group: &str, topic: &str, queue_id: i32) {
        if let Some(queues) = self.table.lock().table.get_mut(&key(topic, group)) {
            queues.remove(&queue_id);
        }
    }

    /// Forgets what is of no use any more, and has the file written.
    pub(crate) fn flush(&self, topics: &Topics, groups: &Groups, now: i64) {
        {
            let mut table = self.table.lock();
            if table.table.is_empty() {
                return;
            }
            table.table.retain(|key, queues| {
                let Some((topic, group)) = key.split_once('@') else {
                    return false;
                };
                let Some(topic) = topics.find(topic) else {
                    return false;
                };
                let read_queues = topic.read_queues();
                queues
                    .retain(|id, batch| *id < read_queues && now - batch.last_consumed <= IDLE_MAX);
                groups.find(group).is_some() && !queues.is_empty()
            });
        }
        self.file.changed();
    }

    /// Writes what is not yet written.
    pub(crate) async fn close(&self) -> Result<(), PersistError> {
        self.file.close().await
    }
}

fn key(topic: &str, group: &str) -> String {
    format!("{topic}@{group}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> (tempfile::TempDir, Orders) {
        let dir = tempfile::tempdir().unwrap();
        let orders = Orders::open(dir.path().join("consumerOrderInfo.json")).unwrap();
        (dir, orders)
    }

    fn pop(orders: &Orders, attempt: Option<&str>, pop_time: i64, offsets: &[i64]) -> String {
        let mut counts = String::new();
        let update = Update {
            attempt,
            pop_time,
            invisible_time: 100,
            offsets,
        };
        orders.popped("g", "t", 0, update, &mut counts);
        counts
    }

    fn is_blocked(orders: &Orders, attempt: Option<&str>, now: i64) -> bool {
        orders
            .blocked_until("g", "t", 0, attempt, 100, now)
            .is_some()
    }

    #[tokio::test]
    async fn a_queue_is_blocked_until_its_batch_is_done_or_due() {
        let (_dir, orders) = orders();
        assert!(!is_blocked(&orders, None, 0));
        assert_eq!(pop(&orders, Some("a"), 1000, &[5, 6, 8]), "0 0 0");
        assert!(is_blocked(&orders, Some("b"), 1099));
        assert!(is_blocked(&orders, None, 1099));
        assert!(!is_blocked(&orders, Some("a"), 1099));
        assert!(!is_blocked(&orders, Some("b"), 1100));
        let acknowledge = |offset| orders.acknowledge("g", "t", 0, offset, 1000);
        assert_eq!(acknowledge(6), Next::Commit(5));
        assert_eq!(acknowledge(5), Next::Commit(8));
        assert_eq!(acknowledge(7), Next::Illegal);
        assert_eq!(orders.acknowledge("g", "t", 0, 8, 999), Next::Stale);
        assert!(is_blocked(&orders, None, 1050));
        assert_eq!(acknowledge(8), Next::Commit(9));
        assert!(!is_blocked(&orders, None, 1050));
        assert_eq!(orders.acknowledge("g", "other", 0, 8, 999), Next::Commit(9));
    }

    #[tokio::test]
    async fn a_changed_time_counts_for_its_message() {
        let (_dir, orders) = orders();
        pop(&orders, None, 1000, &[5, 6]);
        assert!(orders.change_visible("g", "t", 0, (5, 1000), 5000));
        assert!(!orders.change_visible("g", "t", 0, (9, 1000), 5000));
        assert!(!orders.change_visible("g", "t", 0, (5, 1001), 5000));
        assert!(is_blocked(&orders, None, 4999));
        assert!(!is_blocked(&orders, None, 5000));
        orders.acknowledge("g", "t", 0, 5, 1000);
        assert!(!is_blocked(&orders, None, 1100));
    }

    #[tokio::test]
    async fn messages_are_counted_when_they_come_again() {
        let (_dir, orders) = orders();
        pop(&orders, Some("a"), 1000, &[5, 6]);
        // The same attempt again does not count.
        assert_eq!(pop(&orders, Some("a"), 1010, &[5, 6]), "0 0 0");
        assert_eq!(
            pop(&orders, Some("b"), 1200, &[5, 6]),
            "0 qo0%5 1;0 qo0%6 1;0 0 1"
        );
        assert_eq!(pop(&orders, Some("c"), 1400, &[6, 7]), "0 qo0%6 2;0 0 0");
    }

    #[tokio::test]
    async fn the_file_is_javas() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("consumerOrderInfo.json");
        let java = "{\"orderInfoCount\":1,\"table\":{\"t@g\":{0:{\"a\":\"x\",\"cm\":1,\"i\":100,\"l\":1000,\"o\":[5,1,3],\"oc\":{6:2},\"ot\":{8:7000},\"popTime\":1000}}}}";
        std::fs::write(&path, java).unwrap();
        let orders = Orders::open(path.clone()).unwrap();
        assert!(is_blocked(&orders, None, 6999));
        assert_eq!(orders.acknowledge("g", "t", 0, 8, 1000), Next::Commit(6));
        orders.file.changed();
        orders.close().await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let orders = Orders::open(path).unwrap();
        assert!(text.contains("\"cm\":5"), "{text}");
        assert_eq!(orders.acknowledge("g", "t", 0, 6, 1000), Next::Commit(9));
    }
}
