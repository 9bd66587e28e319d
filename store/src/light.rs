// SPDX-License-Identifier: Apache-2.0
//! Light queues: consume queues of names that start with `%LMQ%`, id 0. A message is stored once, in its own topic,
//! and gets an entry in each light queue that its property `INNER_MULTI_DISPATCH` names; its offsets there stand in
//! `INNER_MULTI_QUEUE_OFFSET` (Apache: `queue/MultiDispatchUtils.java`, `common/MixAll.java`).

use aerobee_message::topic;

/// What names of light queues start with.
pub(crate) const LIGHT_PREFIX: &str = topic::LMQ_PREFIX;
/// Light queues that one message may be put in; Apache has no bound, but all are written under the lock of the log.
pub(crate) const LIGHT_QUEUES_MAX: usize = 256;

/// Whether a name is that of a light queue.
#[must_use]
pub(crate) fn is_light(name: &str) -> bool {
    name.starts_with(LIGHT_PREFIX)
}

/// The names in the property of a message.
pub(crate) fn names(property: &str) -> impl Iterator<Item = &str> {
    property.split(',').take(LIGHT_QUEUES_MAX)
}

/// Whether messages of a topic may be put in light queues.
#[must_use]
pub(crate) fn is_allowed_in(name: &str) -> bool {
    !name.starts_with(topic::RETRY_PREFIX)
        && !name.starts_with(topic::DLQ_PREFIX)
        && !name.starts_with(topic::SYSTEM_PREFIX)
        && name != topic::SCHEDULE
}
