// SPDX-License-Identifier: Apache-2.0
//! What topics hold and how far groups are: GET_TOPIC_STATS_INFO (202), GET_CONSUME_STATS (208),
//! GET_BROKER_CONSUME_STATS (317), QUERY_TOPIC_CONSUME_BY_WHO (300), QUERY_TOPICS_BY_CONSUMER (343),
//! QUERY_SUBSCRIPTION_BY_CONSUMER (345), QUERY_CONSUME_TIME_SPAN (303), QUERY_CORRECTION_OFFSET (308),
//! QUERY_CONSUME_QUEUE (321), VIEW_BROKER_STATS_DATA (315).
//!
//! Times of messages are read from the log, so most of these run on a thread that may wait for the
//! disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aerobee_message::topic as names;
use aerobee_remoting::{
    Deferred, Reply, ResponseCode,
    body::{
        MessageQueue,
        replication::HaRuntimeInfo,
        stats::{
            ConsumeQueueData, ConsumeQueueEntries, ConsumeStats, ConsumeStatsList,
            ConsumeTimeSpans, CorrectionOffsets, GroupList, GroupOffset, QueueTimeSpan,
            SubscriptionOfGroup, TopicOffset, TopicStats,
        },
        topic::TopicList,
    },
    call::Call,
    fastjson,
    header::stats::{
        GetBrokerConsumeStats, GetConsumeStats, GetTopicStats, QueryConsumeQueue,
        QueryCorrectionOffset, QueryGroupsOfTopic, QuerySubscription, QueryTimeSpan,
        QueryTopicsOfGroup, ViewBrokerStats,
    },
};
use aerobee_store::{Queue, Store};
use serde::Serialize;

use crate::{
    clients::{broadcast, consumers::Consumers},
    config::Identity,
    groups::Groups,
    offsets::Offsets,
    stats::Stats,
    topics::{Topic, Topics},
};

/// Most entries of a queue in one answer.
const ENTRIES_MAX: i64 = 1_000;

/// Tells operators how far everything is.
pub(crate) struct Progress {
    pub(crate) store: Arc<Store>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) offsets: Arc<Offsets>,
    pub(crate) consumers: Arc<Consumers>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) stats: Arc<Stats>,
}

impl Progress {
    /// Answers with a body that takes reading files to make.
    fn answer_later<B: Serialize>(
        self: &Arc<Self>,
        reply: Reply<'_>,
        make: impl FnOnce(&Self) -> B + Send + 'static,
    ) {
        let (progress, reply) = (Arc::clone(self), reply.defer());
        tokio::task::spawn_blocking(move || body(reply, &make(&progress)));
    }

    fn topic(&self, name: &str) -> Result<Arc<Topic>, String> {
        let topic = self.topics.find(name);
        topic.ok_or_else(|| format!("topic[{name}] not exist"))
    }

    fn message_queue(&self, topic: &str, queue_id: i32) -> MessageQueue {
        MessageQueue::new(topic, self.identity.broker_name.as_str(), queue_id)
    }

    /// Store time of a message, 0 when it is not there.
    fn time_of(&self, queue: Option<&Queue>, offset: i64) -> i64 {
        let time = queue.and_then(|queue| self.store.store_time_of(queue, offset));
        time.unwrap_or(0)
    }

    /// Code 202.
    pub(crate) fn topic_stats(self: &Arc<Self>, call: Call<'_, GetTopicStats<'_>>) {
        let Call { request, reply, .. } = call;
        let topic = match self.topic(request.topic) {
            Ok(topic) => topic,
            Err(remark) => return reply.fail(ResponseCode::TOPIC_NOT_EXIST, remark),
        };
        self.answer_later(reply, move |progress| {
            let queues = topic.most_queues();
            let offsets = (0..queues).map(|id| {
                let queue = progress.store.queue(topic.name(), id);
                let queue = queue.as_deref();
                let (min, max) =
                    queue.map_or((0, 0), |queue| (queue.min_offset(), queue.max_offset()));
                let offset = TopicOffset {
                    last_update_timestamp: if max > 0 {
                        progress.time_of(queue, max - 1)
                    } else {
                        0
                    },
                    max_offset: max.max(0),
                    min_offset: min.max(0),
                };
                (progress.message_queue(topic.name(), id), offset)
            });
            TopicStats {
                offset_table: offsets.collect(),
                topic_put_tps: progress.stats.put_rate(topic.name()),
            }
        });
    }

    /// Code 208. An unknown group is nowhere.
    pub(crate) fn consume_stats(self: &Arc<Self>, call: Call<'_, GetConsumeStats<'_>>) {
        let Call { request, reply, .. } = call;
        let group = request.consumer_group.to_owned();
        let listed: Vec<String> = request
            .topic_list
            .unwrap_or_default()
            .split(';')
            .filter(|topic| !topic.is_empty())
            .map(str::to_owned)
            .collect();
        let one = request.topic.filter(|topic| !topic.is_empty());
        let is_list = !listed.is_empty();
        let topics = match one {
            _ if is_list => listed,
            Some(topic) => vec![topic.to_owned()],
            None => {
                let topics = self.offsets.topics_of(&group);
                topics.into_iter().map(String::from).collect()
            }
        };
        self.answer_later(reply, move |progress| {
            let mut stats = ConsumeStats::default();
            let mut rate = 0.0;
            for name in topics {
                let Some(topic) = progress.topics.find(&name) else {
                    continue;
                };
                if !is_list && progress.is_dropped(&group, &name) {
                    continue;
                }
                for id in 0..topic.read_queues() {
                    let at = progress.group_offset(&group, &name, id);
                    let queue = progress.message_queue(&name, id);
                    stats.offset_table.insert(queue, at);
                }
                rate += progress.stats.get_rate(&group, &name);
            }
            stats.consume_tps = rate;
            stats
        });
    }

    /// Whether a group that is online does not subscribe to the topic any more.
    fn is_dropped(&self, group: &str, topic: &str) -> bool {
        self.consumers.group(group).is_some_and(|online| {
            !online.subscriptions().is_empty() && online.subscription(topic).is_none()
        })
    }

    fn group_offset(&self, group: &str, topic: &str, queue_id: i32) -> GroupOffset {
        let queue = self.store.queue(topic, queue_id);
        let queue = queue.as_deref();
        let consumed = self
            .offsets
            .query(group, topic, queue_id)
            .unwrap_or(0)
            .max(0);
        GroupOffset {
            broker_offset: queue.map_or(0, |queue| queue.max_offset().max(0)),
            consumer_offset: consumed,
            last_timestamp: if consumed > 0 {
                self.time_of(queue, consumed - 1)
            } else {
                0
            },
            pull_offset: consumed,
        }
    }

    /// Code 317.
    pub(crate) fn broker_consume_stats(self: &Arc<Self>, call: Call<'_, GetBrokerConsumeStats>) {
        let Call { request, reply, .. } = call;
        self.answer_later(reply, move |progress| {
            progress.all_consume_stats(request.is_order)
        });
    }

    fn all_consume_stats(&self, only_ordered: bool) -> ConsumeStatsList {
        let mut list = ConsumeStatsList {
            broker_addr: self.identity.address.to_string(),
            ..ConsumeStatsList::default()
        };
        for group in self.groups.all() {
            let mut of_group = Vec::new();
            for name in self.offsets.topics_of(group.name()) {
                let Some(topic) = self.topics.find(&name) else {
                    continue;
                };
                if (only_ordered && !topic.config().order) || self.is_dropped(group.name(), &name) {
                    continue;
                }
                let mut stats = ConsumeStats {
                    consume_tps: self.stats.get_rate(group.name(), &name),
                    ..ConsumeStats::default()
                };
                for id in 0..topic.write_queues() {
                    let at = self.group_offset(group.name(), &name, id);
                    list.total_diff += (at.broker_offset - at.consumer_offset).max(0);
                    list.total_inflight_diff += at.pull_offset - at.consumer_offset;
                    stats.offset_table.insert(self.message_queue(&name, id), at);
                }
                of_group.push(stats);
            }
            let entry = BTreeMap::from([(group.name().to_string(), of_group)]);
            list.consume_stats_list.push(entry);
        }
        list
    }

    /// Code 300.
    pub(crate) fn groups_of_topic(&self, call: Call<'_, QueryGroupsOfTopic<'_>>) {
        let Call { request, reply, .. } = call;
        let online = self.consumers.groups_of(request.topic).into_iter();
        let subscribed = online.map(|group| group.to_string());
        let committed = self.offsets.groups_of(request.topic).into_iter();
        let committed = committed.filter(|group| !broadcast::is_committed_group(group));
        let group_list = subscribed.chain(committed.map(String::from)).collect();
        reply.body(&fastjson::to_vec(&GroupList { group_list }));
    }

    /// Code 343.
    pub(crate) fn topics_of_group(&self, call: Call<'_, QueryTopicsOfGroup<'_>>) {
        let Call { request, reply, .. } = call;
        let topics = self.offsets.topics_of(request.group);
        let list = TopicList {
            broker_addr: Some(self.identity.address.to_string()),
            topic_list: topics.into_iter().map(String::from).collect(),
        };
        reply.body(&fastjson::to_vec(&list));
    }

    /// Code 345.
    pub(crate) fn subscription(&self, call: Call<'_, QuerySubscription<'_>>) {
        let Call { request, reply, .. } = call;
        let subscription = self.consumers.subscription(request.group, request.topic);
        let answer = SubscriptionOfGroup {
            group: request.group.to_owned(),
            subscription_data: subscription.map(|subscription| subscription.data().clone()),
            topic: request.topic.to_owned(),
        };
        reply.body(&fastjson::to_vec(&answer));
    }

    /// Code 303.
    pub(crate) fn time_spans(self: &Arc<Self>, call: Call<'_, QueryTimeSpan<'_>>) {
        let Call { request, reply, .. } = call;
        let topic = match self.topic(request.topic) {
            Ok(topic) => topic,
            Err(remark) => return reply.fail(ResponseCode::TOPIC_NOT_EXIST, remark),
        };
        let group = request.group.to_owned();
        self.answer_later(reply, move |progress| ConsumeTimeSpans {
            consume_time_span_set: (0..topic.write_queues())
                .map(|id| progress.time_span(&group, topic.name(), id))
                .collect(),
        });
    }

    fn time_span(&self, group: &str, topic: &str, id: i32) -> QueueTimeSpan {
        let queue = self.store.queue(topic, id);
        let queue = queue.as_deref();
        let (min, max) = queue.map_or((0, 0), |queue| (queue.min_offset(), queue.max_offset()));
        let consumed = self.offsets.query(group, topic, id).unwrap_or(-1);
        let min_time_stamp = self.time_of(queue, min);
        let waiting = (consumed < max).then(|| self.time_of(queue, consumed.max(min)));
        let delay_time = match waiting {
            Some(stored) if stored > 0 => self.store.clock().millis() - stored,
            _ => 0,
        };
        QueueTimeSpan {
            consume_time_stamp: if consumed > 0 {
                self.time_of(queue, consumed - 1)
            } else {
                min_time_stamp
            },
            delay_time,
            max_time_stamp: self.time_of(queue, max - 1),
            message_queue: self.message_queue(topic, id),
            min_time_stamp,
        }
    }

    /// Code 308: for each queue the smallest offset of all groups but the filtered ones, and "no
    /// limit" where the compared group is behind all others.
    pub(crate) fn correction_offsets(&self, call: Call<'_, QueryCorrectionOffset<'_>>) {
        let Call { request, reply, .. } = call;
        let left_out: BTreeSet<&str> = request
            .filter_groups
            .unwrap_or_default()
            .split(',')
            .collect();
        let mut correction_offsets: BTreeMap<i32, i64> = BTreeMap::new();
        for group in self.offsets.groups_of(request.topic) {
            if left_out.contains(&*group) {
                continue;
            }
            for (id, offset) in self.offsets.queues(&group, request.topic) {
                let smallest = correction_offsets.entry(id).or_insert(offset);
                *smallest = offset.min(*smallest);
            }
        }
        for (id, offset) in self.offsets.queues(request.compare_group, request.topic) {
            if let Some(smallest) = correction_offsets.get_mut(&id)
                && *smallest >= offset
            {
                *smallest = i64::MAX;
            }
        }
        reply.body(&fastjson::to_vec(&CorrectionOffsets { correction_offsets }));
    }

    /// Code 321.
    pub(crate) fn entries(self: &Arc<Self>, call: Call<'_, QueryConsumeQueue<'_>>) {
        let Call { request, reply, .. } = call;
        let Some(queue) = self.store.queue(request.topic, request.queue_id) else {
            return reply.fail(
                ResponseCode::SYSTEM_ERROR,
                format_args!("{}@{} is not exist!", request.queue_id, request.topic),
            );
        };
        let (min, max) = (queue.min_offset(), queue.max_offset());
        if request.index < min || request.index >= max {
            let remark = format!("Index {} is out of range [{min}, {max})", request.index);
            return reply.respond(
                ResponseCode::SUCCESS,
                &remark,
                &aerobee_remoting::Empty,
                &[],
            );
        }
        let group = request.consumer_group.filter(|group| !group.is_empty());
        let subscription =
            group.and_then(|group| self.consumers.subscription(group, request.topic));
        let not_online = group
            .filter(|_| subscription.is_none())
            .map(|group| format!("{group}@{} is not online!", request.topic));
        let count = i64::from(request.count).clamp(0, ENTRIES_MAX);
        let range = request.index..max.min(request.index + count);
        self.answer_later(reply, move |progress| {
            let filter = subscription.as_ref().and_then(|wanted| wanted.filter());
            let data = |offset| {
                let entry = progress.store.entry_at(&queue, offset)?;
                let record = filter.and_then(|_| progress.store.record_at(entry.physical));
                // Without a group that consumes the topic there is nothing to hold an entry against.
                let eval = match (&subscription, filter) {
                    (None, _) => false,
                    (Some(_), None) => true,
                    (Some(_), Some(filter)) => {
                        filter.accepts_code(entry.tags_code)
                            && record
                                .as_ref()
                                .is_some_and(|record| filter.accepts_record(record.as_slice()))
                    }
                };
                Some(ConsumeQueueData {
                    eval,
                    msg: None,
                    physic_offset: entry.physical,
                    physic_size: entry.size,
                    tags_code: entry.tags_code,
                })
            };
            ConsumeQueueEntries {
                filter_data: not_online.clone(),
                max_queue_index: max,
                min_queue_index: min,
                queue_data: range.filter_map(data).collect(),
                subscription_data: subscription.as_ref().map(|wanted| wanted.data().clone()),
            }
        });
    }

    /// Code 315.
    pub(crate) fn broker_stats(&self, call: Call<'_, ViewBrokerStats<'_>>) {
        let Call { request, reply, .. } = call;
        match self.stats.view(request.stats_name, request.stats_key) {
            Some(stats) => reply.body(&fastjson::to_vec(&stats)),
            None => reply.fail(
                ResponseCode::SYSTEM_ERROR,
                format_args!(
                    "The stats <{}> <{}> not exist",
                    request.stats_name, request.stats_key
                ),
            ),
        }
    }

    /// Code 907: a master without slaves.
    pub(crate) fn replication(&self, reply: Reply<'_>) {
        reply.body(&fastjson::to_vec(&HaRuntimeInfo {
            master: true,
            master_commit_log_max_offset: self.store.max_physical(),
            ..HaRuntimeInfo::default()
        }));
    }

    /// Code 305: the system's topics, those named after the cluster and the broker among them.
    pub(crate) fn system_topics(&self, reply: Reply<'_>) {
        let mut topic_list: BTreeSet<String> = names::SYSTEM_TOPICS
            .iter()
            .map(ToString::to_string)
            .collect();
        let present = self.topics.all();
        let present = present.iter().map(|topic| topic.name().to_string());
        topic_list.extend(present.filter(|name| self.identity.is_system_topic(name)));
        let list = TopicList {
            broker_addr: None,
            topic_list: topic_list.into_iter().collect(),
        };
        reply.body(&fastjson::to_vec(&list));
    }
}

fn body(reply: Deferred, value: &impl Serialize) {
    reply.body(&fastjson::to_vec(value));
}
