// SPDX-License-Identifier: Apache-2.0
//! Pulling: PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361).

use crate::Header;

/// Bit of [`PullMessage::sys_flag`]: commit `commit_offset` first.
pub const COMMIT_OFFSET: i32 = 1;
/// Bit: hold the request while there is nothing.
pub const SUSPEND: i32 = 2;
/// Bit: `subscription` counts, not the one of the last heartbeat.
pub const SUBSCRIPTION: i32 = 4;
/// Bit: filter by class, which no broker supports any more.
pub const CLASS_FILTER: i32 = 8;
/// Bit: sent by a lite pull consumer.
pub const LITE_PULL: i32 = 16;

/// Fetches a run of messages from one queue. Apache: `PullMessageRequestHeader`.
#[derive(Debug, Clone, Header)]
#[request(code = PULL_MESSAGE)]
pub struct PullMessage<'a> {
    /// Group of the consumer.
    pub consumer_group: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// The queue.
    pub queue_id: i32,
    /// First queue offset wanted.
    pub queue_offset: i64,
    /// Most messages wanted.
    pub max_msg_nums: i32,
    /// The bits above.
    #[field(default)]
    pub sys_flag: i32,
    /// Offset to commit for the group, with [`COMMIT_OFFSET`].
    #[field(default)]
    pub commit_offset: i64,
    /// How long to hold, ms, with [`SUSPEND`].
    #[field(default)]
    pub suspend_timeout_millis: i64,
    /// Filter expression, with [`SUBSCRIPTION`].
    pub subscription: Option<&'a str>,
    /// Version of the subscription that the client has.
    #[field(default)]
    pub sub_version: i64,
    /// `TAG` (also when missing) or `SQL92`.
    pub expression_type: Option<&'a str>,
    /// Most bytes wanted; Apache's broker does not read it.
    pub max_msg_bytes: Option<i32>,
    /// Who asks: a client (−1) or one of the proxy's parts.
    pub request_source: Option<i32>,
    /// Client behind a proxy; spelled so.
    pub proxy_froward_client_id: Option<&'a str>,
}

/// Where to go on. Apache: `PullMessageResponseHeader`.
#[derive(Debug, Clone, Default, Header)]
pub struct PullReply {
    /// Broker id to pull from next.
    pub suggest_which_broker_id: i64,
    /// Queue offset to pull next.
    pub next_begin_offset: i64,
    /// First offset of the queue.
    pub min_offset: i64,
    /// Offset after the last of the queue.
    pub max_offset: i64,
    /// For static topics: what to add to each queue offset.
    pub offset_delta: Option<i64>,
    /// Flags of the topic.
    pub topic_sys_flag: Option<i32>,
    /// Flags of the group.
    pub group_sys_flag: Option<i32>,
    /// Why NO_PERMISSION was answered.
    pub forbidden_type: Option<i32>,
}
