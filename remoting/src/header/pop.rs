// SPDX-License-Identifier: Apache-2.0
//! Popping: codes 200050 to 200055.

use crate::Header;

/// Takes messages of a topic, which stay invisible to others for a while. Apache:
/// `PopMessageRequestHeader`.
#[derive(Debug, Clone, Header)]
#[request(code = POP_MESSAGE)]
pub struct PopMessage<'a> {
    /// Group of the consumer.
    pub consumer_group: &'a str,
    /// The topic; its retry topics are read besides.
    pub topic: &'a str,
    /// The queue, −1 for any.
    pub queue_id: i32,
    /// Most messages wanted, at most 32.
    pub max_msg_nums: i32,
    /// How long the messages stay invisible, ms.
    pub invisible_time: i64,
    /// How long to wait when there is none, ms.
    #[field(default)]
    pub poll_time: i64,
    /// When the client asked, by its clock; 0 or missing is now.
    #[field(default)]
    pub born_time: i64,
    /// Where a new group starts: 0 at the first message, 1 at the last.
    #[field(default)]
    pub init_mode: i32,
    /// `TAG` (also when missing) or `SQL92`.
    pub exp_type: Option<&'a str>,
    /// Filter expression; without one all messages are wanted.
    pub exp: Option<&'a str>,
    /// Whether the messages of a queue go to one consumer at a time, in order.
    pub order: Option<bool>,
    /// Names an attempt of an ordered pop: the same attempt may get the same messages again.
    pub attempt_id: Option<&'a str>,
}

/// What was taken. Apache: `PopMessageResponseHeader`.
#[derive(Debug, Clone, Header)]
pub struct PopReply<'a> {
    /// When the messages were taken, by the broker's clock.
    pub pop_time: i64,
    /// How long they stay invisible, ms.
    pub invisible_time: i64,
    /// Queue of the revive topic; 999 for ordered pops.
    pub revive_qid: i32,
    /// Messages left behind.
    pub rest_num: i64,
    /// For each queue the offset at which its check point starts.
    pub start_offset_info: Option<&'a str>,
    /// For each queue the offsets of its messages.
    pub msg_offset_info: Option<&'a str>,
    /// How often messages were consumed before; of ordered pops.
    pub order_count_info: Option<&'a str>,
}

/// Looks at messages without taking them. Apache: `PeekMessageRequestHeader`.
#[derive(Debug, Clone, Header)]
#[request(code = PEEK_MESSAGE)]
pub struct PeekMessage<'a> {
    /// Group of the consumer.
    pub consumer_group: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// The queue, −1 for any.
    pub queue_id: i32,
    /// Most messages wanted, at most 32.
    pub max_msg_nums: i32,
}

/// Says that a popped message was consumed. Apache: `AckMessageRequestHeader`.
#[derive(Debug, Clone, Header)]
#[request(code = ACK_MESSAGE)]
pub struct AckMessage<'a> {
    /// Group of the consumer.
    pub consumer_group: &'a str,
    /// The topic that the message was popped from, maybe a retry topic.
    pub topic: &'a str,
    /// Its queue.
    pub queue_id: i32,
    /// The handle.
    pub extra_info: &'a str,
    /// Queue offset of the message.
    pub offset: i64,
    /// The lite topic below the topic that it was popped from.
    pub lite_topic: Option<&'a str>,
}

/// Changes how long a popped message stays invisible. Apache: `ChangeInvisibleTimeRequestHeader`.
#[derive(Debug, Clone, Header)]
#[request(code = CHANGE_MESSAGE_INVISIBLETIME)]
pub struct ChangeInvisibleTime<'a> {
    /// Group of the consumer.
    pub consumer_group: &'a str,
    /// The topic that the message was popped from, maybe a retry topic.
    pub topic: &'a str,
    /// Its queue.
    pub queue_id: i32,
    /// The handle.
    pub extra_info: &'a str,
    /// Queue offset of the message.
    pub offset: i64,
    /// How long it stays invisible from now on, ms.
    pub invisible_time: i64,
    /// Whether the message comes back without counting this attempt.
    #[field(default)]
    pub suspend: bool,
    /// The lite topic below the topic that it was popped from.
    pub lite_topic: Option<&'a str>,
}

/// What the new handle is made of. Apache: `ChangeInvisibleTimeResponseHeader`.
#[derive(Debug, Clone, Default, Header)]
pub struct ChangeInvisibleReply {
    /// The new pop time.
    pub pop_time: i64,
    /// Invisible so long from then on, ms.
    pub invisible_time: i64,
    /// Queue of the revive topic.
    pub revive_qid: i32,
}

/// Asks to be told when there is something to pop. Apache: `NotificationRequestHeader`.
#[derive(Debug, Clone, Header)]
#[request(code = NOTIFICATION)]
pub struct Notification<'a> {
    /// Group of the consumer.
    pub consumer_group: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// The queue, −1 for any.
    pub queue_id: i32,
    /// How long to wait, ms.
    #[field(default)]
    pub poll_time: i64,
    /// When the client asked, by its clock; 0 or missing is now.
    #[field(default)]
    pub born_time: i64,
    /// Whether for an ordered pop.
    pub order: Option<bool>,
    /// Attempt of the ordered pop.
    pub attempt_id: Option<&'a str>,
    /// `TAG` (also when missing) or `SQL92`.
    pub exp_type: Option<&'a str>,
    /// Filter expression.
    pub exp: Option<&'a str>,
}

/// Apache: `NotificationResponseHeader`.
#[derive(Debug, Clone, Default, Header)]
pub struct NotificationReply {
    /// Whether there is something.
    pub has_msg: bool,
    /// Whether too many wait already.
    pub polling_full: bool,
}

/// Asks how many pops wait. Apache: `PollingInfoRequestHeader`.
#[derive(Debug, Clone, Header)]
#[request(code = POLLING_INFO)]
pub struct PollingInfo<'a> {
    /// Group of the consumers.
    pub consumer_group: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// The queue that they asked for, −1 for those that asked for any.
    pub queue_id: i32,
}

/// Apache: `PollingInfoResponseHeader`.
#[derive(Debug, Clone, Header)]
pub struct PollingInfoReply {
    /// Pops that wait.
    pub polling_num: i32,
}
