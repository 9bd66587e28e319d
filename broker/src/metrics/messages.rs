// SPDX-License-Identifier: Apache-2.0
//! Messages that come in and go out, by topic and group.

use std::sync::Arc;

use aerobee_daemon::exposition::Exposition;
use aerobee_message::topic as topics;

use super::{Metrics, flag, names};
use crate::{
    pop::handle,
    put_counts::{Put, SIZE_BOUNDS},
};

/// What was put into a topic, as one kind of messages.
struct Incoming {
    topic: Arc<str>,
    kind: &'static str,
    put: Put,
}

impl Metrics {
    pub(super) fn write_messages(&self, out: &mut Exposition) {
        let incoming = self.incoming();
        for (metric, count) in [
            (&names::MESSAGES_IN, Count::Messages),
            (&names::BYTES_IN, Count::Bytes),
            (&names::MESSAGE_SIZE, Count::Sizes),
        ] {
            let mut samples = out.metric(metric);
            for Incoming { topic, kind, put } in &incoming {
                let labels = [
                    ("topic", &**topic),
                    ("message_type", kind),
                    ("is_system", flag(self.identity.is_system_topic(topic))),
                ];
                match count {
                    Count::Messages => samples.add(&labels, put.messages),
                    Count::Bytes => samples.add(&labels, put.bytes),
                    Count::Sizes => {
                        samples.histogram(&labels, &SIZE_BOUNDS, put.by_size, put.bytes);
                    }
                }
            }
        }
        self.write_outgoing(out);
        out.single(&names::PUT_FAILED, self.traffic.failed_puts());
    }

    /// Topics that messages were put into. Those of retries and dead letters are left out, as in
    /// Apache's broker.
    fn incoming(&self) -> Vec<Incoming> {
        let mut all = self.topics.all();
        all.retain(|topic| !is_retry_or_dead(topic.name()));
        all.sort_unstable_by(|one, other| one.name().cmp(other.name()));
        let mut incoming = Vec::with_capacity(all.len());
        for topic in all {
            let (plain, ordered) = topic.puts();
            let kinds = [(kind_of(topic.name()), plain), ("fifo", ordered)];
            for (kind, put) in kinds.into_iter().filter(|(_, put)| put.calls > 0) {
                incoming.push(Incoming {
                    topic: Arc::clone(topic.name()),
                    kind,
                    put,
                });
            }
        }
        incoming
    }

    fn write_outgoing(&self, out: &mut Exposition) {
        let mut all = self.stats.consumptions();
        all.sort_unstable_by(|one, other| (&one.1, &one.0).cmp(&(&other.1, &other.0)));
        for (metric, is_bytes) in [(&names::MESSAGES_OUT, false), (&names::BYTES_OUT, true)] {
            let mut samples = out.metric(metric);
            for (group, topic, counts) in &all {
                let (messages, bytes) = counts.out();
                // What is read again after a pop counts for the topic that it was popped from.
                let origin = handle::normal_topic(topic, group);
                let is_again = origin.len() != topic.len();
                if messages == 0 || (!is_again && is_retry_or_dead(topic)) {
                    continue;
                }
                let labels = [
                    ("topic", origin),
                    ("consumer_group", &**group),
                    ("is_system", flag(self.is_system(topic, group))),
                    ("is_retry", flag(is_again)),
                ];
                // Only what is popped is told by that, as in Apache's broker.
                let is_popped = is_again || counts.popped() != (0, 0);
                let used = if is_popped { &labels[..] } else { &labels[..3] };
                samples.add(used, if is_bytes { bytes } else { messages });
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Count {
    Messages,
    Bytes,
    Sizes,
}

/// Messages of these kinds wait in topics of the system.
fn kind_of(topic: &str) -> &'static str {
    match topic {
        topics::SCHEDULE | topics::WHEEL_TIMER => "delay",
        topics::TRANS_HALF => "transaction",
        _ => "normal",
    }
}

pub(super) fn is_retry_or_dead(topic: &str) -> bool {
    topic.starts_with(topics::RETRY_PREFIX) || topic.starts_with(topics::DLQ_PREFIX)
}
