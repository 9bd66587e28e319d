// SPDX-License-Identifier: Apache-2.0
//! NOTIFICATION (200054) and POLLING_INFO (200055). Apache: `NotificationProcessor`,
//! `PollingInfoProcessor`.

use std::sync::Arc;

use aerobee_remoting::{
    Corked,
    call::Call,
    header::pop::{Notification, NotificationReply, PollingInfo, PollingInfoReply},
};

use crate::{
    longpoll::pop::{Held, Polls, Purpose},
    pop::read::Wanted,
    processor::{
        Turn,
        pop::{Asked, Pop, Refusal},
    },
};

impl Pop {
    /// Code 200054.
    pub(crate) fn notify(&self, turn: &mut Turn, call: Call<'_, Notification<'_>>) {
        let Call { request, reply, .. } = call;
        let wanted = match self.watched(turn, &request) {
            Ok(wanted) => wanted,
            Err(refusal) => return refusal.answer(reply),
        };
        if self.pops.has_messages(&wanted) || request.poll_time <= 0 {
            return reply.header(&NotificationReply {
                has_msg: self.pops.has_messages(&wanted),
                polling_full: false,
            });
        }
        let now = self.pops.now();
        let born = if request.born_time == 0 {
            now
        } else {
            request.born_time
        };
        let again = wanted
            .order
            .then(|| self.pops.blocked_until(&wanted, now))
            .flatten();
        let held = Held {
            reply: reply.hold(),
            wanted,
            purpose: Purpose::Notification,
            deadline: Polls::deadline(born, request.poll_time, now),
            again,
        };
        let mut corked = Corked::default();
        self.polls.hold(held, &mut corked);
    }

    fn watched(&self, turn: &mut Turn, request: &Notification<'_>) -> Result<Wanted, Refusal> {
        self.check_readable("peeking message is forbidden")?;
        let asked = Asked {
            group: request.consumer_group,
            topic: request.topic,
            queue_id: request.queue_id,
        };
        let (topic, group) = self.check(turn, &asked)?;
        Ok(Wanted {
            consumption: self.stats.of(group.name(), topic.name()),
            topic,
            group: Arc::clone(group.name()),
            queue_id: request.queue_id,
            max_messages: 1,
            invisible_time: 0,
            from_last: false,
            filter: self.filter(request.exp_type, request.exp)?,
            order: request.order.unwrap_or(false),
            attempt: request.attempt_id.map(Into::into),
            peek: true,
        })
    }

    /// Code 200055.
    pub(crate) fn polling_info(&self, turn: &mut Turn, call: Call<'_, PollingInfo<'_>>) {
        let Call { request, reply, .. } = call;
        let asked = Asked {
            group: request.consumer_group,
            topic: request.topic,
            queue_id: request.queue_id,
        };
        let checked = self
            .check_readable("peeking message is forbidden")
            .and_then(|()| self.check(turn, &asked));
        if let Err(refusal) = checked {
            return refusal.answer(reply);
        }
        let waiting = self
            .polls
            .count(request.topic, request.consumer_group, request.queue_id);
        reply.header(&PollingInfoReply {
            polling_num: i32::try_from(waiting).unwrap_or(i32::MAX),
        });
    }
}
