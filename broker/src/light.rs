// SPDX-License-Identifier: Apache-2.0
//! Light queues as topics. Nobody creates them and nothing of them is kept: with `enableLmq` any name that starts with
//! `%LMQ%` is a topic with one queue, for as long as somebody uses it. Apache: `LmqTopicConfigManager`.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use aerobee_message::topic::LMQ_PREFIX;
use aerobee_remoting::body::topic::TopicConfig;
use aerobee_store::Store;
use dashmap::DashMap;

use crate::topics::{PERM_READ, PERM_WRITE, QueueSlot, Topic};

/// Names that are kept before those of topics that nobody uses any more are forgotten.
const FORGET_FROM: usize = 1024;

/// The light topics in use. A handle lives as long as a request or a held pull that has it.
#[derive(Debug, Default)]
pub(crate) struct LightTopics {
    enabled: AtomicBool,
    topics: DashMap<Arc<str>, Weak<Topic>>,
    /// Number of names at which the unused ones are forgotten.
    forget_at: AtomicUsize,
}

impl LightTopics {
    pub(crate) fn enable(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::Relaxed);
    }

    /// The topic of a light queue; nothing for other names, and while light queues are off.
    #[cold]
    pub(crate) fn find(&self, name: &str, store: &Arc<Store>) -> Option<Arc<Topic>> {
        if !self.enabled.load(Ordering::Relaxed) || !name.starts_with(LMQ_PREFIX) {
            return None;
        }
        if let Some(topic) = self.topics.get(name).and_then(|topic| topic.upgrade()) {
            return Some(topic);
        }
        let forget_at = self.forget_at.load(Ordering::Relaxed).max(FORGET_FROM);
        if self.topics.len() >= forget_at {
            self.topics.retain(|_, topic| topic.strong_count() > 0);
            self.forget_at
                .store(self.topics.len() * 2, Ordering::Relaxed);
        }
        let mut entry = self.topics.entry(name.into()).or_default();
        if let Some(topic) = entry.upgrade() {
            return Some(topic);
        }
        let config = TopicConfig {
            topic_name: name.to_owned(),
            read_queue_nums: 1,
            write_queue_nums: 1,
            perm: PERM_READ | PERM_WRITE,
            ..TopicConfig::default()
        };
        let topic = Arc::new(Topic::new(config, store));
        *entry = Arc::downgrade(&topic);
        Some(topic)
    }

    /// The queue of a light topic that somebody uses, now that it has a message.
    pub(crate) fn slot_in_use(&self, name: &str, store: &Store) -> Option<Arc<QueueSlot>> {
        let topic = self.topics.get(name)?.upgrade()?;
        let slot = topic.queue(0)?;
        // The queue exists, so this makes no file.
        slot.create_queue(store).ok()?;
        Some(slot)
    }
}
