// SPDX-License-Identifier: Apache-2.0
//! GET_CONSUMER_LIST_BY_GROUP (38), QUERY_CONSUMER_OFFSET (14), UPDATE_CONSUMER_OFFSET (15). Apache:
//! `ConsumerManageProcessor`.

use std::{collections::BTreeSet, sync::Arc};

use aerobee_remoting::{
    Empty, ResponseCode,
    body::connection::ConsumerIds,
    call::Call,
    fastjson,
    header::{
        client::GetConsumerList,
        offset::{OffsetReply, QueryConsumerOffset, UpdateConsumerOffset},
    },
};
use aerobee_store::Store;

use crate::{clients::consumers::Consumers, groups::Groups, offsets::Offsets, topics::Topics};

/// Who consumes, and from where.
pub(crate) struct Consumer {
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) consumers: Arc<Consumers>,
    pub(crate) offsets: Arc<Offsets>,
    pub(crate) store: Arc<Store>,
}

impl Consumer {
    /// Code 38.
    pub(crate) fn list(&self, call: Call<'_, GetConsumerList<'_>>) {
        let Call { request, reply, .. } = call;
        let group = self.consumers.group(request.consumer_group);
        // A client that is back before its old connection is found dead has two; each entry here is a share of queues.
        let ids: BTreeSet<_> = group
            .map(|group| group.client_ids())
            .unwrap_or_default()
            .into_iter()
            .collect();
        if ids.is_empty() {
            return reply.fail(
                ResponseCode::SYSTEM_ERROR,
                format_args!("no consumer for this group, {}", request.consumer_group),
            );
        }
        let consumer_id_list = ids.iter().map(ToString::to_string).collect();
        reply.body(&fastjson::to_vec(&ConsumerIds { consumer_id_list }));
    }

    /// Code 14. QUERY_NOT_FOUND is a normal answer: the client then starts where it is configured to.
    pub(crate) fn query_offset(&self, call: Call<'_, QueryConsumerOffset<'_>>) {
        let Call { request, reply, .. } = call;
        // After a reset that is what it says, until the next read takes it.
        let stored = self
            .offsets
            .query(request.consumer_group, request.topic, request.queue_id);
        if let Some(offset) = stored.filter(|offset| *offset >= 0) {
            return reply.header(&OffsetReply { offset });
        }
        if request.set_zero_if_not_found == Some(false) {
            return reply.fail(
                ResponseCode::QUERY_NOT_FOUND,
                "Not found, do not set to zero, maybe this group boot first",
            );
        }
        if self.starts_at_zero(request.topic, request.queue_id) {
            return reply.header(&OffsetReply { offset: 0 });
        }
        reply.fail(
            ResponseCode::QUERY_NOT_FOUND,
            "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first",
        );
    }

    /// Whether the queue still begins at 0 and its first message is in memory: a new group then
    /// starts there, whatever it is configured to. An old surprise that clients count on.
    ///
    /// So does a queue without messages, of which Apache's broker answers QUERY_NOT_FOUND: a client that begins at
    /// the end asks for the end next, and would never see what is stored between its two questions.
    fn starts_at_zero(&self, topic: &str, queue_id: i32) -> bool {
        let Some(topic) = self.topics.find(topic) else {
            return false;
        };
        if !(0..topic.read_queues()).contains(&queue_id) {
            return false;
        }
        self.store
            .queue(topic.name(), queue_id)
            .is_none_or(|queue| {
                queue.min_offset() <= 0
                    && (queue.max_offset() <= 0 || self.store.is_in_memory(&queue, 0))
            })
    }

    /// Code 15.
    pub(crate) fn update_offset(&self, call: Call<'_, UpdateConsumerOffset<'_>>) {
        let Call { request, reply, .. } = call;
        let UpdateConsumerOffset {
            consumer_group: group,
            topic,
            queue_id,
            commit_offset,
        } = request;
        if self.groups.find(group).is_none() {
            return reply.fail(
                ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST,
                format_args!("Group {group} not exist!"),
            );
        }
        if self.topics.find(topic).is_none() {
            return reply.fail(
                ResponseCode::TOPIC_NOT_EXIST,
                format_args!("Topic {topic} not exist!"),
            );
        }
        let Some(queue_id) = queue_id else {
            return reply.fail(
                ResponseCode::INVALID_PARAMETER,
                format_args!("QueueId is null, topic is {topic}"),
            );
        };
        let Some(offset) = commit_offset else {
            return reply.fail(
                ResponseCode::INVALID_PARAMETER,
                format_args!("Offset is null, topic is {topic}"),
            );
        };
        if self.offsets.has_reset(group, topic, queue_id) {
            // The consumer has not yet heard where to go on.
            let remark = "Offset has been previously reset";
            return reply.respond(ResponseCode::SUCCESS, remark, &Empty, &[]);
        }
        if !self.offsets.commit(group, topic, queue_id, offset) {
            return reply.fail(
                ResponseCode::INVALID_PARAMETER,
                format_args!("queueId {queue_id} is illegal, topic is {topic}"),
            );
        }
        reply.ok();
    }
}
