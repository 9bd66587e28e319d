// SPDX-License-Identifier: Apache-2.0
//! What there is to pop: for those who look without taking, and those who wait.

use std::sync::Arc;

use aerobee_store::{Access, ReadLimits, ReadStatus};

use crate::{
    filter::Filter,
    pop::{
        Pops,
        handle::{self, Kind},
        lane::Lane,
        read::{Popped, Wanted},
    },
    topics::{QueueSlot, Topic},
};

impl Pops {
    /// Shows the messages that are next.
    pub(super) fn peek_queue(
        &self,
        wanted: &Wanted,
        slot: &Arc<QueueSlot>,
        lane: &Arc<Lane>,
        access: Access,
        popped: &mut Popped,
    ) {
        let Some(queue) = slot.queue() else {
            return;
        };
        let committed = self.committed(lane);
        let offset = committed.unwrap_or_else(|| queue.min_offset());
        let limits = ReadLimits {
            max_messages: wanted.max_messages - popped.messages,
            max_bytes: usize::MAX,
        };
        let store = &self.parts.store;
        let mut read = store.read(queue, offset, limits, access, &wanted.filter);
        if matches!(
            read.status,
            ReadStatus::OffsetTooSmall | ReadStatus::OffsetOverflowBadly
        ) {
            read = store.read(queue, read.next, limits, access, &wanted.filter);
        }
        if read.status == ReadStatus::Cold {
            popped.cold = true;
            return;
        }
        self.add(wanted, Kind::of(&lane.topic), offset, &read, popped);
        popped.rest += (read.max - read.next).max(0);
    }

    /// Whether the group has something to pop; for a filter by tags the newest entries are looked at.
    pub(crate) fn has_messages(&self, wanted: &Wanted) -> bool {
        let topic = &wanted.topic;
        let queues = topic.read_queues();
        let has = if wanted.queue_id >= 0 {
            self.queue_has_messages(wanted, topic, wanted.queue_id)
        } else {
            (0..queues).any(|queue_id| self.queue_has_messages(wanted, topic, queue_id))
        };
        has || (!wanted.order && self.retry_has_messages(wanted))
    }

    fn retry_has_messages(&self, wanted: &Wanted) -> bool {
        let (v1, v2) = {
            let config = self.parts.switches.config();
            let v2 = config.pop.enable_retry_topic_v2;
            (
                !v2 || config.pop.retrieve_message_from_pop_retry_topic_v1,
                v2,
            )
        };
        let all = Wanted {
            filter: Filter::ALL,
            ..wanted.clone()
        };
        [(v1, false), (v2, true)].into_iter().any(|(reads, v2)| {
            let name = handle::retry_topic(&wanted.group, wanted.topic.name(), v2);
            reads
                && self.parts.topics.find(&name).is_some_and(|topic| {
                    (0..topic.read_queues())
                        .any(|queue_id| self.queue_has_messages(&all, &topic, queue_id))
                })
        })
    }

    fn queue_has_messages(&self, wanted: &Wanted, topic: &Topic, queue_id: i32) -> bool {
        let Some(slot) = topic.queue(queue_id) else {
            return false;
        };
        let lane = self.lanes.lane(&wanted.group, topic.name(), queue_id);
        if wanted.order
            && self
                .orders
                .blocked_until(
                    &wanted.group,
                    topic.name(),
                    queue_id,
                    wanted.attempt.as_deref(),
                    0,
                    self.now(),
                )
                .is_some()
        {
            return false;
        }
        let behind = self.behind(&lane, &slot);
        if behind <= 0 {
            return false;
        }
        let looks = {
            let config = self.parts.switches.config();
            config.pop.use_message_filter_for_notification
                && behind < i64::from(config.pop.max_message_filter_num_for_notification)
        };
        let Filter::Tags(tags) = &wanted.filter else {
            return true;
        };
        let Some(queue) = slot.queue().filter(|_| looks && !tags.is_all()) else {
            return true;
        };
        let offset = self
            .committed(&lane)
            .unwrap_or_else(|| queue.min_offset())
            .max(queue.min_offset());
        let mut matched = false;
        let look = |code: i64| {
            matched |= tags.matches(code);
            false
        };
        let limits = ReadLimits {
            max_messages: 1,
            max_bytes: 0,
        };
        let read = self
            .parts
            .store
            .read(queue, offset, limits, Access::HotOnly, look);
        matched || read.status == ReadStatus::Cold
    }

    /// Whether a queue has something for the group that no other request is about to take; in the
    /// retry topic, whether there is anything.
    pub(crate) fn is_ahead(&self, wanted: &Wanted) -> bool {
        let is_ahead = |topic: &Topic, queue_id: i32| {
            topic.queue(queue_id).is_some_and(|slot| {
                let lane = self.lanes.lane(&wanted.group, topic.name(), queue_id);
                !lane.is_taken() && self.behind(&lane, &slot) > 0 && !self.has_too_many(&lane)
            })
        };
        let topic = &wanted.topic;
        if self.retry_has_messages(wanted) {
            return true;
        }
        if wanted.queue_id >= 0 {
            is_ahead(topic, wanted.queue_id)
        } else {
            (0..topic.read_queues()).any(|queue_id| is_ahead(topic, queue_id))
        }
    }

    /// When the first of the queues that are blocked for an ordered pop is free.
    pub(crate) fn blocked_until(&self, wanted: &Wanted, now: i64) -> Option<i64> {
        let topic = &wanted.topic;
        let queues = if wanted.queue_id >= 0 {
            wanted.queue_id..wanted.queue_id + 1
        } else {
            0..topic.read_queues()
        };
        let attempt = wanted.attempt.as_deref();
        queues
            .filter_map(|queue_id| {
                self.orders
                    .blocked_until(&wanted.group, topic.name(), queue_id, attempt, 0, now)
            })
            .min()
    }
}
