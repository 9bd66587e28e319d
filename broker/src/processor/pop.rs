// SPDX-License-Identifier: Apache-2.0
//! POP_MESSAGE (200050) and PEEK_MESSAGE (200052). Apache: `PopMessageProcessor`,
//! `PeekMessageProcessor`.

use std::sync::Arc;

use aerobee_remoting::{
    Corked, Reply, ResponseCode,
    call::Call,
    header::pop::{PeekMessage, PopMessage},
};
use aerobee_store::Access;

use crate::{
    filter::{Filter, NO_PROPERTY_FILTER, is_tag_type},
    groups::Group,
    longpoll::pop::{Held, Polls, Purpose},
    pop::{Pops, journal::MESSAGES_MAX, read::Wanted},
    processor::Turn,
    stats::Stats,
    topics::{PERM_READ, Topic},
};

/// How late a request may be before nobody waits for its answer, ms.
const LATE_MAX: i64 = 500;

/// Answers pops.
pub(crate) struct Pop {
    pub(crate) pops: Arc<Pops>,
    pub(crate) polls: Arc<Polls>,
    pub(crate) stats: Arc<Stats>,
}

/// Why a request is refused before anything is read.
pub(crate) struct Refusal {
    code: ResponseCode,
    remark: String,
}

impl Refusal {
    #[cold]
    pub(crate) fn new(code: ResponseCode, remark: String) -> Self {
        Self { code, remark }
    }

    pub(crate) fn answer(self, reply: Reply<'_>) {
        reply.fail(self.code, self.remark);
    }
}

/// The parts of a request that are checked alike.
pub(crate) struct Asked<'a> {
    pub(crate) group: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) queue_id: i32,
}

impl Pop {
    /// Code 200050.
    pub(crate) fn pop(&self, turn: &mut Turn, call: Call<'_, PopMessage<'_>>) {
        let Call { request, reply, .. } = call;
        let now = self.pops.now();
        let born = if request.born_time == 0 {
            now
        } else {
            request.born_time
        };
        let wanted = match self.wanted(turn, &request, now, born) {
            Ok(wanted) => wanted,
            Err(refusal) => return refusal.answer(reply),
        };
        let popped = self.pops.pop(&wanted, Access::HotOnly);
        if popped.messages > 0 || popped.error.is_some() {
            answer::popped(&popped, &wanted, reply);
            return self.polls.pass_on(&popped, &wanted);
        }
        let held = |reply: Reply<'_>, wanted| Held {
            reply: if popped.cold {
                reply.defer()
            } else {
                reply.hold()
            },
            wanted,
            purpose: Purpose::Pop,
            deadline: if request.poll_time > 0 {
                Polls::deadline(born, request.poll_time, now)
            } else {
                i64::MIN
            },
            again: popped.blocked_until,
        };
        if popped.cold {
            self.polls.serve_later(held(reply, wanted));
        } else if request.poll_time <= 0 {
            answer::none(&popped, &wanted, reply);
        } else {
            let mut corked = Corked::default();
            self.polls.hold(held(reply, wanted), &mut corked);
        }
    }

    /// The checks, in Apache's order.
    fn wanted(
        &self,
        turn: &mut Turn,
        request: &PopMessage<'_>,
        now: i64,
        born: i64,
    ) -> Result<Wanted, Refusal> {
        let late = now.saturating_sub(born).saturating_sub(request.poll_time);
        if late > LATE_MAX {
            let remark = format!(
                "the broker pop message is timeout too much: the request is {late} ms older than its pollTime, by the clock of the broker"
            );
            return Err(Refusal::new(ResponseCode::POLLING_TIMEOUT, remark));
        }
        self.check_readable("pop message is forbidden")?;
        if usize::try_from(request.max_msg_nums).is_ok_and(|wanted| wanted > MESSAGES_MAX) {
            let remark = format!(
                "the broker pop message's num is greater than {MESSAGES_MAX}: {}",
                request.max_msg_nums
            );
            return Err(Refusal::new(ResponseCode::INVALID_PARAMETER, remark));
        }
        let asked = Asked {
            group: request.consumer_group,
            topic: request.topic,
            queue_id: request.queue_id,
        };
        let (topic, group) = self.check(turn, &asked)?;
        let filter = self.filter(request.exp_type, request.exp)?;
        Ok(Wanted {
            consumption: self.stats.of(group.name(), topic.name()),
            topic,
            group: Arc::clone(group.name()),
            queue_id: request.queue_id,
            max_messages: u32::try_from(request.max_msg_nums).unwrap_or(0),
            invisible_time: request.invisible_time,
            from_last: request.init_mode != 0,
            filter,
            order: request.order.unwrap_or(false),
            attempt: request.attempt_id.map(Into::into),
            peek: false,
        })
    }

    pub(crate) fn check_readable(&self, what: &str) -> Result<(), Refusal> {
        let parts = self.pops.parts();
        if parts.switches.readable() {
            return Ok(());
        }
        let remark = format!(
            "the broker[{}] {what}: its brokerPermission lacks 4 (read)",
            parts.identity.address.ip()
        );
        Err(Refusal::new(ResponseCode::NO_PERMISSION, remark))
    }

    /// Topic, queue and group.
    pub(crate) fn check(
        &self,
        turn: &mut Turn,
        asked: &Asked<'_>,
    ) -> Result<(Arc<Topic>, Arc<Group>), Refusal> {
        let parts = self.pops.parts();
        let Some(topic) = turn.topic(&parts.topics, asked.topic) else {
            let remark = format!(
                "topic[{}] not exist, apply first please! Create it, or send a first message where autoCreateTopicEnable is on",
                asked.topic
            );
            return Err(Refusal::new(ResponseCode::TOPIC_NOT_EXIST, remark));
        };
        if topic.perm() & PERM_READ == 0 {
            let remark = format!(
                "the topic[{}] peeking message is forbidden: its permission lacks 4 (read)",
                asked.topic
            );
            return Err(Refusal::new(ResponseCode::NO_PERMISSION, remark));
        }
        let queues = topic.read_queues();
        if asked.queue_id >= queues {
            let remark = format!(
                "queueId[{}] is illegal, topic:[{}] topicConfig.readQueueNums:[{queues}]",
                asked.queue_id, asked.topic
            );
            return Err(Refusal::new(ResponseCode::INVALID_PARAMETER, remark));
        }
        let topic = Arc::clone(topic);
        let group = parts.groups.find_or_create(asked.group).map_err(|error| {
            let remark = format!(
                "subscription group [{}] does not exist, {error}",
                asked.group
            );
            Refusal::new(ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST, remark)
        })?;
        if !group.consume_enable() {
            let remark = format!(
                "subscription group no permission, {}: consumeEnable is false",
                asked.group
            );
            return Err(Refusal::new(ResponseCode::NO_PERMISSION, remark));
        }
        Ok((topic, group))
    }

    /// What a request wants of the topic; without an expression everything.
    pub(crate) fn filter(
        &self,
        kind: Option<&str>,
        expression: Option<&str>,
    ) -> Result<Filter, Refusal> {
        let Some(expression) = expression.filter(|expression| !expression.is_empty()) else {
            return Ok(Filter::ALL);
        };
        if !is_tag_type(kind) && !self.pops.parts().switches.filters_properties() {
            let remark = NO_PROPERTY_FILTER.to_owned();
            return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
        }
        Filter::parse(kind, expression).map_err(|error| {
            let remark = format!("parse the consumer's subscription failed: {error}");
            Refusal::new(ResponseCode::SUBSCRIPTION_PARSE_FAILED, remark)
        })
    }

    /// Code 200052.
    pub(crate) fn peek(&self, turn: &mut Turn, call: Call<'_, PeekMessage<'_>>) {
        let Call { request, reply, .. } = call;
        let asked = Asked {
            group: request.consumer_group,
            topic: request.topic,
            queue_id: request.queue_id,
        };
        let checked = self
            .check_readable("peeking message is forbidden")
            .and_then(|()| self.check(turn, &asked));
        let (topic, group) = match checked {
            Ok(checked) => checked,
            Err(refusal) => return refusal.answer(reply),
        };
        let wanted = Wanted {
            consumption: self.stats.of(group.name(), topic.name()),
            topic,
            group: Arc::clone(group.name()),
            queue_id: request.queue_id,
            max_messages: u32::try_from(request.max_msg_nums)
                .unwrap_or(0)
                .min(MESSAGES_MAX as u32),
            invisible_time: 0,
            from_last: false,
            filter: Filter::ALL,
            order: false,
            attempt: None,
            peek: true,
        };
        let popped = self.pops.pop(&wanted, Access::HotOnly);
        if !popped.cold || popped.messages > 0 {
            return answer::peeked(&popped, reply);
        }
        let (pops, reply) = (Arc::clone(&self.pops), reply.defer());
        let store = Arc::clone(&self.pops.parts().store);
        let refused = store.read_later(Box::new(move |_| {
            answer::peeked(&pops.pop(&wanted, Access::Any), reply);
        }));
        if refused.is_err() {
            tracing::debug!("too many cold reads are waiting");
        }
    }
}

/// Answers to pops.
pub(crate) mod answer {
    use aerobee_remoting::{Reply, ResponseCode, header::pop::PopReply};
    use smallvec::SmallVec;

    use crate::{
        longpoll::pop::Refused,
        pop::read::{Popped, Wanted},
    };

    /// Messages, or why there are none.
    pub(crate) fn popped(popped: &Popped, wanted: &Wanted, reply: Reply<'_>) {
        if popped.messages > 0 {
            respond(
                ResponseCode::SUCCESS,
                "FOUND",
                popped,
                wanted.invisible_time,
                reply,
            );
        } else if let Some(error) = &popped.error {
            reply.fail(ResponseCode::SYSTEM_ERROR, error);
        } else {
            none(popped, wanted, reply);
        }
    }

    /// There is nothing, and nobody waits.
    pub(crate) fn none(popped: &Popped, wanted: &Wanted, reply: Reply<'_>) {
        let code = ResponseCode::POLLING_TIMEOUT;
        let remark = "NO_MESSAGE_IN_QUEUE";
        respond(code, remark, popped, wanted.invisible_time, reply);
    }

    /// There is nothing, and waiting is over or not possible.
    pub(crate) fn nothing(refused: Refused, wanted: &Wanted, now: i64, reply: Reply<'_>) {
        let popped = Popped {
            pop_time: now,
            ..Popped::default()
        };
        let code = match refused {
            Refused::Full => ResponseCode::POLLING_FULL,
            Refused::Late => ResponseCode::POLLING_TIMEOUT,
        };
        respond(
            code,
            "NO_MESSAGE_IN_QUEUE",
            &popped,
            wanted.invisible_time,
            reply,
        );
    }

    /// Messages that were looked at.
    pub(crate) fn peeked(popped: &Popped, reply: Reply<'_>) {
        let (code, remark) = if popped.messages > 0 {
            (ResponseCode::SUCCESS, "FOUND")
        } else {
            (ResponseCode::PULL_NOT_FOUND, "NO_MESSAGE_IN_QUEUE")
        };
        respond(code, remark, popped, 0, reply);
    }

    fn respond(
        code: ResponseCode,
        remark: &str,
        popped: &Popped,
        invisible_time: i64,
        reply: Reply<'_>,
    ) {
        let header = PopReply {
            pop_time: popped.pop_time,
            invisible_time,
            revive_qid: popped.revive_queue,
            rest_num: popped.rest,
            start_offset_info: Some(&popped.starts),
            msg_offset_info: Some(&popped.offsets),
            order_count_info: (!popped.counts.is_empty()).then_some(&popped.counts),
        };
        let body: SmallVec<[&[u8]; 8]> = popped.pieces.iter().map(AsRef::as_ref).collect();
        reply.respond(code, remark, &header, &body);
    }
}
