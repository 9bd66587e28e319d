// SPDX-License-Identifier: Apache-2.0
//! Lite topics: codes 200070 to 200079.

use crate::Header;

/// Pops messages of the lite topics that a client subscribes to. Apache:
/// `PopLiteMessageRequestHeader`.
#[derive(Debug, Clone, Header)]
#[request(code = POP_LITE_MESSAGE)]
pub struct PopLite<'a> {
    /// The client.
    pub client_id: &'a str,
    /// Its group.
    pub consumer_group: &'a str,
    /// The parent of the lite topics.
    pub topic: &'a str,
    /// Most messages wanted.
    pub max_msg_num: i32,
    /// How long they are not shown to others, ms.
    pub invisible_time: i64,
    /// How long to wait for some, ms.
    pub poll_time: i64,
    /// When the request was made, ms since 1970; 0 for now.
    #[field(default)]
    pub born_time: i64,
    /// The same in repetitions of one request.
    pub attempt_id: Option<&'a str>,
}

/// Answer to a pop of lite topics.
#[derive(Debug, Clone, Default, Header)]
pub struct PopLiteReply<'a> {
    /// When it was popped, ms since 1970.
    pub pop_time: i64,
    /// As asked for.
    pub invisible_time: i64,
    /// 999: there is no revive queue.
    pub revive_qid: i32,
    /// For each message how often it was handed out before, joined by `;`.
    pub order_count_info: Option<&'a str>,
}

/// Tells a client that it has lost a lite topic to another one of its group.
#[derive(Debug, Clone, Header)]
#[request(code = NOTIFY_UNSUBSCRIBE_LITE)]
pub struct NotifyUnsubscribeLite<'a> {
    /// The lite topic.
    pub lite_topic: &'a str,
    /// The group.
    pub consumer_group: &'a str,
    /// The client.
    pub client_id: &'a str,
}

/// Asks for the parent of lite topics.
#[derive(Debug, Clone, Header)]
#[request(code = GET_PARENT_TOPIC_INFO)]
pub struct GetParentTopic<'a> {
    /// The parent.
    pub topic: &'a str,
}

/// Asks for a lite topic.
#[derive(Debug, Clone, Header)]
#[request(code = GET_LITE_TOPIC_INFO)]
pub struct GetLiteTopic<'a> {
    /// The parent.
    pub parent_topic: &'a str,
    /// The lite topic.
    pub lite_topic: &'a str,
}

/// Asks for a client's lite topics.
#[derive(Debug, Clone, Header)]
#[request(code = GET_LITE_CLIENT_INFO)]
pub struct GetLiteClient<'a> {
    /// The parent.
    pub parent_topic: &'a str,
    /// The group.
    pub group: &'a str,
    /// The client.
    pub client_id: &'a str,
    /// Most names wanted; 1,000 when missing.
    pub max_count: Option<i32>,
}

/// Asks how far a group is in its lite topics.
#[derive(Debug, Clone, Header)]
#[request(code = GET_LITE_GROUP_INFO)]
pub struct GetLiteGroup<'a> {
    /// The group.
    pub group: &'a str,
    /// One lite topic; those furthest behind when it is missing.
    pub lite_topic: Option<&'a str>,
    /// How many of those.
    #[field(default)]
    pub top_k: i32,
}

/// Has all that a client, or a group, subscribes to looked at.
#[derive(Debug, Clone, Header)]
#[request(code = TRIGGER_LITE_DISPATCH)]
pub struct TriggerLiteDispatch<'a> {
    /// The group.
    pub group: &'a str,
    /// The client; all of the group when it is missing.
    pub client_id: Option<&'a str>,
}
