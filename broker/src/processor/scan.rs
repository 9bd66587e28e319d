// SPDX-License-Identifier: Apache-2.0
//! What one pass over the properties of a message finds: which kind it is, and what its storing needs.

use aerobee_message::{properties::keys, record::TagsCode, tags};
use aerobee_remoting::header::send::SendMessage;

/// What one pass over a message's properties finds.
#[derive(Debug, Default)]
pub(super) struct Scan<'a> {
    pub(super) tags: Option<&'a str>,
    pub(super) unique_key: Option<&'a str>,
    /// Whether the sender waits for flush and replication.
    pub(super) waits: bool,
    pub(super) is_delayed: bool,
    pub(super) is_timer: bool,
    pub(super) is_transaction: bool,
    /// Whether it has a sharding key.
    pub(super) is_ordered: bool,
    /// The lite topic below the topic that was sent to.
    pub(super) lite: Option<&'a str>,
    /// Priority of a message that has no other kind.
    pub(super) priority: Option<i32>,
    /// Whether it is of another kind, so that its priority is not kept.
    pub(super) loses_priority: bool,
    /// Names of light queues that the message is to stand in.
    pub(super) light_queues: Option<&'a str>,
    /// Whether it claims to hold several messages.
    pub(super) has_inner_number: bool,
    /// Whether there are properties that the broker replaces.
    pub(super) has_broker_keys: bool,
}

impl<'a> Scan<'a> {
    /// The number of the queue entry.
    #[inline]
    pub(super) fn tags_code(&self) -> TagsCode {
        TagsCode::Hash(self.tags.map_or(0, tags::code_of))
    }

    /// A message of another kind has no priority, and loses the property; what is no priority stays as it is. Apache:
    /// `TopicMessageType.parseFromMessageProperty`, to which a level of 0 is a delay as well.
    #[cold]
    fn take_priority(&mut self, text: &str, has_level: bool) {
        let Some(priority) = text.parse().ok().filter(|priority: &i32| *priority >= 0) else {
            return;
        };
        self.loses_priority = self.is_transaction || has_level || self.is_timer || self.is_ordered;
        self.has_broker_keys |= self.loses_priority;
        self.priority = (!self.loses_priority).then_some(priority);
    }

    /// Whether the message is the first half of a transaction. One that failed to be consumed and is
    /// sent to be tried again keeps the mark, but is none.
    #[inline]
    pub(super) fn is_half(&self, request: &SendMessage<'_>) -> bool {
        self.is_transaction && !(request.reconsume_times > 0 && self.is_delayed)
    }

    /// Goes over the properties, name and value of each.
    #[inline]
    pub(super) fn of(properties: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut scan = Self {
            waits: true,
            ..Self::default()
        };
        let mut priority = None;
        let mut has_level = false;
        for (name, value) in properties {
            match name {
                keys::TAGS => scan.tags = Some(value),
                keys::UNIQ_KEY => scan.unique_key = Some(value),
                keys::WAIT => scan.waits = value.eq_ignore_ascii_case("true"),
                keys::DELAY => {
                    has_level = true;
                    // What is no number is refused where delays are looked at.
                    scan.is_delayed = value.parse::<i32>().map_or(true, |level| level > 0);
                }
                keys::TIMER_DELAY_SEC | keys::TIMER_DELAY_MS | keys::TIMER_DELIVER_MS => {
                    scan.is_timer = true;
                }
                keys::INNER_MULTI_DISPATCH => scan.light_queues = Some(value),
                keys::TRAN_MSG => scan.is_transaction = value.eq_ignore_ascii_case("true"),
                keys::LITE_TOPIC => scan.lite = Some(value),
                keys::MSG_REGION | keys::TRACE_ON | keys::CLUSTER | keys::POP_CK => {
                    scan.has_broker_keys = true;
                }
                keys::INNER_NUM => scan.has_inner_number = true,
                keys::SHARDING_KEY => scan.is_ordered = true,
                keys::PRIORITY => priority = Some(value),
                _ => {}
            }
        }
        if let Some(priority) = priority {
            scan.take_priority(priority, has_level);
        }
        scan
    }
}
