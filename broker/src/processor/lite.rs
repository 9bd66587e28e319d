// SPDX-License-Identifier: Apache-2.0
//! Lite topics: POP_LITE_MESSAGE (200070), LITE_SUBSCRIPTION_CTL (200071), and the parts of
//! ACK_MESSAGE and CHANGE_MESSAGE_INVISIBLETIME that name a lite topic. Apache:
//! `PopLiteMessageProcessor`, `LiteSubscriptionCtlProcessor`, `AckMessageProcessor.ackLite`.

use std::sync::Arc;

use aerobee_message::lite as names;
use aerobee_remoting::{
    Empty, ResponseCode,
    body::lite::LiteSubscriptions,
    call::Call,
    fastjson,
    header::{
        lite::PopLite,
        pop::{AckMessage, ChangeInvisibleReply, ChangeInvisibleTime},
    },
};

use crate::{
    config::Switches,
    groups::Groups,
    lite::{Acked, Ask, Lite, REVIVE_QUEUE, bound_to, is_parent},
    pop::handle::Handle,
    processor::pop::Refusal,
    topics::{PERM_READ, Topics},
};

/// Most messages of one pop.
const MESSAGES_MAX: i32 = 32;
/// A request that was under way for so much longer than it was to wait is not served, ms.
const LATE: i64 = 500;
/// Most changes of subscriptions in one request.
const CHANGES_MAX: usize = 10_000;

/// Serves clients of lite topics.
pub(crate) struct LiteTopics {
    pub(crate) lite: Arc<Lite>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) switches: Arc<Switches>,
    pub(crate) clock: aerobee_store::Clock,
}

impl LiteTopics {
    /// Code 200070.
    pub(crate) fn pop(&self, call: Call<'_, PopLite<'_>>) {
        let Call { request, reply, .. } = call;
        match self.check(&request) {
            Ok(ask) => self.lite.pop(ask, request.poll_time, reply),
            Err((code, remark)) => reply.fail(code, remark),
        }
    }

    /// The checks, in Apache's order.
    fn check(&self, request: &PopLite<'_>) -> Result<Ask, (ResponseCode, String)> {
        let now = self.clock.millis();
        let born = if request.born_time > 0 {
            request.born_time
        } else {
            now
        };
        if now.saturating_sub(born).saturating_sub(request.poll_time) > LATE {
            let remark = "the poll is over: the request was under way for too long";
            return Err((ResponseCode::POLLING_TIMEOUT, remark.to_owned()));
        }
        if !self.switches.readable() {
            let remark = "the broker pop message is forbidden: its brokerPermission lacks 4 (read)";
            return Err((ResponseCode::NO_PERMISSION, remark.to_owned()));
        }
        if request.max_msg_num > MESSAGES_MAX {
            let remark = format!("the broker pop message's num is greater than {MESSAGES_MAX}");
            return Err((ResponseCode::INVALID_PARAMETER, remark));
        }
        let Some(topic) = self.topics.find(request.topic) else {
            let remark = format!(
                "topic[{}] not exist, apply first please! Create it with message.type=LITE",
                request.topic
            );
            return Err((ResponseCode::TOPIC_NOT_EXIST, remark));
        };
        if topic.perm() & PERM_READ == 0 {
            let remark = format!("the topic[{}] pop message is forbidden", request.topic);
            return Err((ResponseCode::NO_PERMISSION, remark));
        }
        if !is_parent(&topic) {
            let remark = format!(
                "the topic[{}] message type not match: it is no parent of lite topics, message.type is not LITE",
                request.topic
            );
            return Err((ResponseCode::INVALID_PARAMETER, remark));
        }
        let Ok(group) = self.groups.find_or_create(request.consumer_group) else {
            let remark = format!(
                "subscription group [{}] does not exist, create it with the attribute lite.bind.topic={}",
                request.consumer_group, request.topic
            );
            return Err((ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
        };
        if !group.consume_enable() {
            let remark = format!(
                "subscription group no permission, {}: consumeEnable is false",
                request.consumer_group
            );
            return Err((ResponseCode::NO_PERMISSION, remark));
        }
        if bound_to(&group) != Some(request.topic) {
            let remark = format!(
                "subscription bind topic not match, {}: its attribute lite.bind.topic is not {}",
                request.consumer_group, request.topic
            );
            return Err((ResponseCode::INVALID_PARAMETER, remark));
        }
        Ok(Ask {
            client: request.client_id.into(),
            group: Arc::clone(group.name()),
            max_messages: u32::try_from(request.max_msg_num).unwrap_or(0).max(1),
            invisible_time: request.invisible_time.max(0),
            attempt: request.attempt_id.map(Box::from),
        })
    }

    /// Code 200051 with a lite topic.
    pub(crate) fn ack(&self, lite: &str, call: Call<'_, AckMessage<'_>>) {
        let Call { request, reply, .. } = call;
        if self.topics.find(request.topic).is_none() {
            return reply.fail(
                ResponseCode::TOPIC_NOT_EXIST,
                format_args!("the topic[{}] does not exist", request.topic),
            );
        }
        let group = self.groups.find(request.consumer_group);
        if group.is_none_or(|group| bound_to(&group) != Some(request.topic)) {
            return reply.fail(
                ResponseCode::INVALID_PARAMETER,
                format_args!(
                    "subscription bind topic not match, {}: its attribute lite.bind.topic is not {}",
                    request.consumer_group, request.topic
                ),
            );
        }
        let queue = names::queue_of(request.topic, lite);
        let end = self.lite.end_of(&queue);
        if request.offset > end {
            return outside(request.offset, end).answer(reply);
        }
        let handle = match Handle::parse(request.extra_info) {
            Ok(handle) => handle,
            Err(error) => return reply.fail(ResponseCode::SYSTEM_ERROR, error),
        };
        if request.queue_id != 0 || handle.revive_queue != REVIVE_QUEUE {
            return reply.fail(
                ResponseCode::INVALID_PARAMETER,
                "the handle is none of a lite topic: its queue is not 0 or its revive queue not 999",
            );
        }
        let group = request.consumer_group;
        if self.lite.is_before(&queue, group, request.offset) {
            return reply.ok();
        }
        let place = (request.offset, handle.pop_time);
        match self.lite.ack(&queue, request.topic, group, place) {
            Acked::Next(_) | Acked::Stale => reply.ok(),
            Acked::Unknown => reply.fail(
                ResponseCode::MESSAGE_ILLEGAL,
                format_args!("offset {} was not popped", request.offset),
            ),
        }
    }

    /// Code 200053 with a lite topic.
    pub(crate) fn change(&self, lite: &str, call: Call<'_, ChangeInvisibleTime<'_>>) {
        let Call { request, reply, .. } = call;
        let queue = names::queue_of(request.topic, lite);
        let end = self.lite.end_of(&queue);
        if request.offset > end {
            return outside(request.offset, end).answer(reply);
        }
        let group = request.consumer_group;
        if self.lite.is_before(&queue, group, request.offset) {
            return reply.header(&ChangeInvisibleReply::default());
        }
        let handle = match Handle::parse(request.extra_info) {
            Ok(handle) => handle,
            Err(error) => return reply.fail(ResponseCode::SYSTEM_ERROR, error),
        };
        let place = (request.offset, handle.pop_time);
        let (invisible, suspend) = (request.invisible_time, request.suspend);
        let visible_at = self
            .lite
            .change_invisible(&queue, group, place, invisible, suspend);
        reply.header(&ChangeInvisibleReply {
            pop_time: handle.pop_time,
            invisible_time: visible_at - handle.pop_time,
            revive_qid: REVIVE_QUEUE,
        });
    }

    /// Code 200071.
    pub(crate) fn subscribe(&self, call: Call<'_, Empty>) {
        let Call { body, reply, .. } = call;
        let illegal = ResponseCode::ILLEGAL_OPERATION;
        if body.is_empty() {
            return reply.fail(illegal, "Request body is null.");
        }
        let changes: LiteSubscriptions = match fastjson::from_slice(body) {
            Ok(changes) => changes,
            Err(error) => return reply.fail(ResponseCode::SYSTEM_ERROR, error),
        };
        if changes.subscription_set.is_empty() {
            return reply.fail(illegal, "LiteSubscriptionCtlRequestBody is empty.");
        }
        if changes.subscription_set.len() > CHANGES_MAX {
            let remark = format!("more than {CHANGES_MAX} changes in one request");
            return reply.fail(illegal, remark);
        }
        for change in &changes.subscription_set {
            if let Err(refused) = self.lite.subscribe(change, reply.connection()) {
                return reply.fail(refused.code, refused.remark);
            }
        }
        reply.ok();
    }
}

/// An offset that a lite topic does not have.
fn outside(offset: i64, end: i64) -> Refusal {
    Refusal::new(
        ResponseCode::NO_MESSAGE,
        format!("offset {offset} is behind the end {end} of the lite topic"),
    )
}
