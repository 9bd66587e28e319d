// SPDX-License-Identifier: Apache-2.0
//! What a broker that crashed had delivered already. How far the delay levels and the wheel are is
//! written after the deliveries; after a crash the log itself tells which of the messages that seem
//! to wait were delivered, so that they are not delivered twice.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use aerobee_message::{
    RecordView,
    properties::{Properties, keys},
    topic as names,
};
use aerobee_store::Store;

/// Most copies that are remembered: what exceeds it is delivered twice rather than to fill the
/// memory.
const COPIES_MAX: usize = 4 << 20;

/// Which of the two ways a message waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    Level,
    Timer,
    /// It was put off, for the time of that number.
    PutOff(i32),
}

/// Copies of messages that waited, found in the log; each counts once.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    found: HashMap<u64, u32>,
    hasher: RandomState,
}

impl Copies {
    /// Reads the log for copies stored at or after a time.
    pub(crate) fn since(store: &Store, time: i64) -> Self {
        let mut copies = Self::default();
        let from = store.position_before(time);
        let mut full = false;
        let end = store.walk(from, |record| {
            if record.store_timestamp() < time {
                return;
            }
            let Some(way) = way_of_copy(record) else {
                return;
            };
            if copies.found.len() >= COPIES_MAX {
                full = true;
                return;
            }
            let key = copies.key(way, record);
            *copies.found.entry(key).or_insert(0) += 1;
        });
        tracing::info!(
            from,
            end,
            found = copies.found.len(),
            full,
            "looked for delayed messages that were delivered before the crash"
        );
        copies
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether the message that waits in this record was delivered, which then counts no more.
    pub(crate) fn take(&mut self, way: Way, waiting: &RecordView<'_>) -> bool {
        if self.found.is_empty() {
            return false;
        }
        let key = self.key(way, waiting);
        let Some(count) = self.found.get_mut(&key) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            self.found.remove(&key);
        }
        true
    }

    /// What a message and its copy have in common and other messages have not.
    fn key(&self, way: Way, record: &RecordView<'_>) -> u64 {
        let mut sum = 0u64;
        let wanted = |name: &str| {
            matches!(
                name,
                keys::REAL_TOPIC
                    | keys::REAL_QID
                    | keys::UNIQ_KEY
                    | keys::DELAY
                    | keys::TIMER_OUT_MS
            )
        };
        // Java writes properties in any order.
        for (name, value) in record.properties().iter() {
            if wanted(name) {
                sum = sum.wrapping_add(self.hasher.hash_one((name, value)));
            }
        }
        let rest = (
            way,
            record.reconsume_times(),
            record.born_timestamp(),
            record.body_crc(),
        );
        sum.wrapping_add(self.hasher.hash_one(rest))
    }
}

/// How the message waited of which this record is the copy, if it is one.
fn way_of_copy(record: &RecordView<'_>) -> Option<Way> {
    let properties = record.properties();
    let topic = record.topic();
    if topic == names::WHEEL_TIMER {
        return Some(Way::PutOff(number(properties, keys::TIMER_ROLL_TIMES)?));
    }
    if topic == names::SCHEDULE || properties.get(keys::REAL_TOPIC)? != topic {
        return None;
    }
    // A level counts before a time, and what once was in the wheel may be retried by level.
    if number(properties, keys::DELAY).is_some_and(|level| level > 0) {
        return Some(Way::Level);
    }
    properties
        .get(keys::TIMER_DEQUEUE_MS)
        .is_some()
        .then_some(Way::Timer)
}

fn number(properties: Properties<'_>, name: &str) -> Option<i32> {
    properties.get(name)?.parse().ok()
}
