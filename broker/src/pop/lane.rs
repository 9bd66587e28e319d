// SPDX-License-Identifier: Apache-2.0
//! Lanes: one for each queue that a group pops from. A lane is popped from by one request at a time.
//! Apache: `QueueLockManager`, `PopInflightMessageCounter`.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering},
    },
};

use dashmap::DashMap;
use parking_lot::RwLock;

/// A queue as a group pops from it.
#[derive(Debug)]
pub(crate) struct Lane {
    /// Tells lanes apart.
    pub(crate) id: u32,
    /// The topic, maybe a retry topic.
    pub(crate) topic: Arc<str>,
    pub(crate) group: Arc<str>,
    pub(crate) queue_id: i32,
    taken: AtomicBool,
    /// Somebody found the lane taken.
    missed: AtomicBool,
    /// Messages that are popped and neither acknowledged nor back.
    in_flight: AtomicI64,
}

/// A lane that this request has for itself.
#[derive(Debug)]
pub(crate) struct Taken<'a>(&'a Lane);

impl Lane {
    /// Takes the lane, unless another request has it.
    #[inline]
    pub(crate) fn take(&self) -> Option<Taken<'_>> {
        if self.taken.swap(true, Ordering::SeqCst) {
            self.missed.store(true, Ordering::SeqCst);
            // The owner may have left before it could see that.
            if self.taken.swap(true, Ordering::SeqCst) {
                return None;
            }
        }
        Some(Taken(self))
    }

    /// Takes the lane, which others hold for moments only.
    pub(crate) fn take_patiently(&self) -> Taken<'_> {
        let mut tries = 0u32;
        loop {
            if !self.taken.swap(true, Ordering::SeqCst) {
                return Taken(self);
            }
            tries += 1;
            if tries < 64 {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }

    /// Whether somebody found the lane taken since the last call.
    pub(crate) fn was_missed(&self) -> bool {
        self.missed.load(Ordering::SeqCst) && self.missed.swap(false, Ordering::SeqCst)
    }

    pub(crate) fn is_taken(&self) -> bool {
        self.taken.load(Ordering::SeqCst)
    }

    pub(crate) fn in_flight(&self) -> i64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn count_in_flight(&self, change: i64) {
        self.in_flight.fetch_add(change, Ordering::Relaxed);
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.taken.store(false, Ordering::SeqCst);
    }
}

/// Lanes of one topic and group.
#[derive(Debug)]
pub(crate) struct TopicLanes {
    topic: Arc<str>,
    group: Arc<str>,
    lanes: RwLock<Vec<Option<Arc<Lane>>>>,
}

type GroupLanes = RwLock<HashMap<Arc<str>, Arc<TopicLanes>>>;

/// All lanes. Made on first use, for topics, groups and queues that exist.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    groups: DashMap<Arc<str>, Arc<GroupLanes>>,
    count: AtomicU32,
}

impl Lanes {
    /// The lanes of a group in a topic.
    pub(crate) fn of(&self, group: &str, topic: &str) -> Arc<TopicLanes> {
        let known = self.groups.get(group).map(|lanes| Arc::clone(&lanes));
        let lanes =
            known.unwrap_or_else(|| Arc::clone(&self.groups.entry(group.into()).or_default()));
        if let Some(lanes) = lanes.read().get(topic) {
            return Arc::clone(lanes);
        }
        let mut topics = lanes.write();
        let topic: Arc<str> = topic.into();
        let lanes = topics.entry(Arc::clone(&topic)).or_insert_with(|| {
            Arc::new(TopicLanes {
                topic,
                group: group.into(),
                lanes: RwLock::default(),
            })
        });
        Arc::clone(lanes)
    }

    /// One lane. The queue id is one that the topic has.
    pub(crate) fn lane(&self, group: &str, topic: &str, queue_id: i32) -> Arc<Lane> {
        self.of(group, topic).lane(queue_id, &self.count)
    }

    /// Messages in flight of a group in a topic, by queue. Makes no lane.
    pub(crate) fn in_flight(&self, group: &str, topic: &str) -> Vec<i64> {
        let Some(topics) = self.groups.get(group).map(|topics| Arc::clone(&topics)) else {
            return Vec::new();
        };
        let topics = topics.read();
        let Some(lanes) = topics.get(topic) else {
            return Vec::new();
        };
        let count = |lane: &Option<Arc<Lane>>| lane.as_ref().map_or(0, |lane| lane.in_flight());
        lanes.lanes.read().iter().map(count).collect()
    }

    /// As [`Lanes::lane`], where the lanes of the topic are at hand.
    pub(crate) fn lane_of(&self, lanes: &TopicLanes, queue_id: i32) -> Arc<Lane> {
        lanes.lane(queue_id, &self.count)
    }
}

impl TopicLanes {
    fn lane(&self, queue_id: i32, count: &AtomicU32) -> Arc<Lane> {
        let index = usize::try_from(queue_id).unwrap_or(0);
        if let Some(Some(lane)) = self.lanes.read().get(index) {
            return Arc::clone(lane);
        }
        let mut lanes = self.lanes.write();
        if lanes.len() <= index {
            lanes.resize(index + 1, None);
        }
        let lane = lanes[index].get_or_insert_with(|| {
            Arc::new(Lane {
                id: count.fetch_add(1, Ordering::Relaxed),
                topic: Arc::clone(&self.topic),
                group: Arc::clone(&self.group),
                queue_id,
                taken: AtomicBool::new(false),
                missed: AtomicBool::new(false),
                in_flight: AtomicI64::new(0),
            })
        });
        Arc::clone(lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_at_a_time() {
        let lanes = Lanes::default();
        let lane = lanes.lane("g", "t", 3);
        assert!(Arc::ptr_eq(&lane, &lanes.lane("g", "t", 3)));
        assert_ne!(lane.id, lanes.lane("g", "t", 2).id);
        assert_ne!(lane.id, lanes.lane("h", "t", 3).id);
        let taken = lane.take().unwrap();
        assert!(!lane.was_missed());
        assert!(lane.take().is_none());
        drop(taken);
        assert!(lane.was_missed());
        assert!(!lane.was_missed());
        assert!(lane.take().is_some());
    }
}
