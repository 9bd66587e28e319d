// SPDX-License-Identifier: Apache-2.0
//! What operators ask of lite topics: codes 200074 to 200079. Apache: `LiteManagerProcessor`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aerobee_message::{lite as names, topic::LMQ_PREFIX};
use aerobee_remoting::{
    Reply, ResponseCode,
    body::{
        lite::{
            BrokerLiteInfo, LiteClientInfo, LiteGroupInfo, LiteLag, LiteTopicInfo, ParentTopicInfo,
        },
        stats::{GroupOffset, TopicOffset},
    },
    call::Call,
    fastjson,
    header::lite::{
        GetLiteClient, GetLiteGroup, GetLiteTopic, GetParentTopic, TriggerLiteDispatch,
    },
};
use aerobee_store::Store;

use crate::{
    config::Switches,
    groups::Groups,
    lite::{Lite, bound_to, expiration, is_parent},
    offsets::Offsets,
    topics::{Topic, Topics},
};

/// Most names of lite topics in one answer.
const NAMES_MAX: usize = 10_000;

/// Why there is no answer.
type Refused = (ResponseCode, String);

/// Tells operators of lite topics.
pub(crate) struct LiteAdmin {
    pub(crate) lite: Arc<Lite>,
    pub(crate) store: Arc<Store>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) offsets: Arc<Offsets>,
    pub(crate) switches: Arc<Switches>,
}

impl LiteAdmin {
    /// Code 200074.
    pub(crate) fn broker(&self, reply: Reply<'_>) {
        let (pairs, clients, orders) = self.lite.counts();
        let topics = self.topics.all();
        let parents = topics.iter().filter(|topic| is_parent(topic));
        let mut group_meta: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for group in self.groups.all() {
            if let Some(parent) = bound_to(&group) {
                let groups = group_meta.entry(parent.to_owned()).or_default();
                groups.insert(group.name().to_string());
            }
        }
        let light = self.store.topics_with_prefix(LMQ_PREFIX).len();
        let info = BrokerLiteInfo {
            cq_table_size: count(self.store.topics_with_prefix("").len()),
            current_lmq_num: count(light),
            event_map_size: count(clients),
            group_meta,
            lite_subscription_count: count(pairs),
            max_lmq_num: self.switches.config().broker.max_lmq_consume_queue_num,
            offset_table_size: count(self.offsets.len()),
            order_info_count: count(orders),
            store_type: "default".to_owned(),
            topic_meta: parents
                .map(|topic| (topic.name().to_string(), expiration(topic)))
                .collect(),
        };
        reply.body(&fastjson::to_vec(&info));
    }

    fn parent(&self, name: &str) -> Result<Arc<Topic>, Refused> {
        let Some(topic) = self.topics.find(name) else {
            let remark = format!("Topic [{name}] not exist.");
            return Err((ResponseCode::TOPIC_NOT_EXIST, remark));
        };
        if !is_parent(&topic) {
            let remark = format!("Topic [{name}] type not match: message.type is not LITE.");
            return Err((ResponseCode::INVALID_PARAMETER, remark));
        }
        Ok(topic)
    }

    /// Code 200075.
    pub(crate) fn parent_topic(&self, call: Call<'_, GetParentTopic<'_>>) {
        let Call { request, reply, .. } = call;
        let topic = match self.parent(request.topic) {
            Ok(topic) => topic,
            Err((code, remark)) => return reply.fail(code, remark),
        };
        let groups = self.groups.all();
        let bound = groups
            .iter()
            .filter(|group| bound_to(group) == Some(request.topic))
            .map(|group| group.name().to_string());
        let info = ParentTopicInfo {
            groups: bound.collect(),
            lite_topic_count: count(self.lite.queues_below(request.topic).len()),
            lmq_num: count(self.store.topics_with_prefix(LMQ_PREFIX).len()),
            topic: request.topic.to_owned(),
            ttl: expiration(&topic),
        };
        reply.body(&fastjson::to_vec(&info));
    }

    /// Code 200076.
    pub(crate) fn lite_topic(self: &Arc<Self>, call: Call<'_, GetLiteTopic<'_>>) {
        let Call { request, reply, .. } = call;
        if let Err((code, remark)) = self.parent(request.parent_topic) {
            return reply.fail(code, remark);
        }
        let name = names::queue_of(request.parent_topic, request.lite_topic);
        let (parent_topic, lite_topic) = (
            request.parent_topic.to_owned(),
            request.lite_topic.to_owned(),
        );
        let (admin, reply) = (Arc::clone(self), reply.defer());
        tokio::task::spawn_blocking(move || {
            let info = LiteTopicInfo {
                sharding_to_broker: true,
                subscriber: admin.lite.subscribers(&name, &parent_topic),
                topic_offset: admin.offset_of(&name),
                lite_topic,
                parent_topic,
            };
            reply.body(&fastjson::to_vec(&info));
        });
    }

    fn offset_of(&self, name: &str) -> TopicOffset {
        let Some(queue) = self.store.queue(name, 0) else {
            return TopicOffset::default();
        };
        let max = queue.max_offset();
        TopicOffset {
            last_update_timestamp: self.store.store_time_of(&queue, max - 1).unwrap_or(0),
            max_offset: max.max(0),
            min_offset: queue.min_offset().max(0),
        }
    }

    /// Code 200077.
    pub(crate) fn client(&self, call: Call<'_, GetLiteClient<'_>>) {
        let Call { request, reply, .. } = call;
        let checked = self.parent(request.parent_topic).and_then(|_| {
            let group = self.groups.find(request.group);
            let Some(group) = group else {
                let remark = format!("Group [{}] not exist.", request.group);
                return Err((ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
            };
            if bound_to(&group) == Some(request.parent_topic) {
                return Ok(());
            }
            let remark = format!(
                "Subscription [{}]-[{}] not match.",
                request.group, request.parent_topic
            );
            Err((ResponseCode::INVALID_PARAMETER, remark))
        });
        if let Err((code, remark)) = checked {
            return reply.fail(code, remark);
        }
        let most = usize::try_from(request.max_count.unwrap_or(1_000)).unwrap_or(0);
        let known = self.lite.client(request.client_id, most.min(NAMES_MAX));
        let info = LiteClientInfo {
            client_id: request.client_id.to_owned(),
            group: request.group.to_owned(),
            last_access_time: known.as_ref().map_or(-1, |known| known.asked),
            last_consume_time: 0,
            lite_topic_count: known.as_ref().map_or(-1, |known| count(known.subscribed)),
            lite_topic_set: known.map(|known| known.queues),
            parent_topic: request.parent_topic.to_owned(),
        };
        reply.body(&fastjson::to_vec(&info));
    }

    fn lite_group(&self, name: &str) -> Result<String, Refused> {
        let Some(group) = self.groups.find(name) else {
            let remark = format!("Group [{name}] not exist.");
            return Err((ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
        };
        bound_to(&group).map(str::to_owned).ok_or_else(|| {
            let remark = format!("Group [{name}] is not a LITE group: it has no lite.bind.topic.");
            (ResponseCode::INVALID_PARAMETER, remark)
        })
    }

    /// Code 200078.
    pub(crate) fn group(self: &Arc<Self>, call: Call<'_, GetLiteGroup<'_>>) {
        let Call { request, reply, .. } = call;
        let parent_topic = match self.lite_group(request.group) {
            Ok(parent) => parent,
            Err((code, remark)) => return reply.fail(code, remark),
        };
        let group = request.group.to_owned();
        let lite = request
            .lite_topic
            .filter(|lite| !lite.is_empty())
            .map(str::to_owned);
        let top = usize::try_from(request.top_k).unwrap_or(0).min(NAMES_MAX);
        let (admin, reply) = (Arc::clone(self), reply.defer());
        tokio::task::spawn_blocking(move || {
            let info = match lite {
                Some(lite) => admin.lag_of_one(group, parent_topic, lite),
                None => admin.lag_of_all(group, parent_topic, top),
            };
            reply.body(&fastjson::to_vec(&info));
        });
    }

    fn lag_of_one(&self, group: String, parent_topic: String, lite: String) -> LiteGroupInfo {
        let name = names::queue_of(&parent_topic, &lite);
        let mut info = LiteGroupInfo {
            earliest_unconsumed_timestamp: -1,
            total_lag_count: -1,
            lite_topic: Some(lite),
            ..LiteGroupInfo::default()
        };
        if let Some(queue) = self.store.queue(&name, 0)
            && queue.max_offset() > 0
            && let Some(consumed) = self.offsets.query(&group, &name, 0)
        {
            let end = queue.max_offset();
            info.total_lag_count = end - consumed;
            let next = self.store.store_time_of(&queue, consumed);
            info.earliest_unconsumed_timestamp = next.unwrap_or(0);
            info.lite_topic_offset_wrapper = Some(GroupOffset {
                broker_offset: end,
                consumer_offset: consumed,
                last_timestamp: self.store.store_time_of(&queue, consumed - 1).unwrap_or(0),
                pull_offset: consumed,
            });
        }
        info.group = group;
        info.parent_topic = parent_topic;
        info
    }

    fn lag_of_all(&self, group: String, parent_topic: String, top: usize) -> LiteGroupInfo {
        let mut lags = Vec::new();
        let mut total = 0;
        let mut earliest = -1;
        for name in self.lite.queues_below(&parent_topic) {
            let Some(consumed) = self.offsets.query(&group, &name, 0) else {
                continue;
            };
            let Some((_, lite)) = names::parse(&name) else {
                continue;
            };
            let queue = self.store.queue(&name, 0);
            let lag = queue
                .as_ref()
                .map_or(0, |queue| queue.max_offset() - consumed);
            if lag <= 0 {
                continue;
            }
            total += lag;
            let waiting = queue.and_then(|queue| self.store.store_time_of(&queue, consumed));
            let waiting = waiting.unwrap_or(0);
            if waiting > 0 && (earliest < 0 || waiting < earliest) {
                earliest = waiting;
            }
            lags.push(LiteLag {
                earliest_unconsumed_timestamp: waiting,
                lag_count: lag,
                lite_topic: lite.to_owned(),
            });
        }
        let mut by_time = lags.clone();
        lags.sort_by_key(|lag| std::cmp::Reverse(lag.lag_count));
        by_time.sort_by_key(|lag| lag.earliest_unconsumed_timestamp);
        lags.truncate(top);
        by_time.truncate(top);
        LiteGroupInfo {
            earliest_unconsumed_timestamp: earliest,
            group,
            lag_count_top_k: Some(lags),
            lag_timestamp_top_k: Some(by_time),
            parent_topic,
            total_lag_count: total,
            ..LiteGroupInfo::default()
        }
    }

    /// Code 200079.
    pub(crate) fn trigger(&self, call: Call<'_, TriggerLiteDispatch<'_>>) {
        let Call { request, reply, .. } = call;
        if let Err((code, remark)) = self.lite_group(request.group) {
            return reply.fail(code, remark);
        }
        match request.client_id.filter(|client| !client.is_empty()) {
            Some(client) => self.lite.walk_soon(client),
            None => self.lite.walk_group_soon(request.group),
        }
        reply.ok();
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
