// SPDX-License-Identifier: Apache-2.0
//! Offsets of groups and of queues: codes 14, 15, 29 to 32.

use crate::Header;

/// Asks for a group's committed offset.
#[derive(Debug, Clone, Header)]
#[request(code = QUERY_CONSUMER_OFFSET)]
pub struct QueryConsumerOffset<'a> {
    /// The group.
    pub consumer_group: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// The queue.
    pub queue_id: i32,
    /// `false` asks for QUERY_NOT_FOUND where a young queue would give 0.
    pub set_zero_if_not_found: Option<bool>,
}

/// Commits a group's offset.
#[derive(Debug, Clone, Header)]
#[request(code = UPDATE_CONSUMER_OFFSET)]
pub struct UpdateConsumerOffset<'a> {
    /// The group.
    pub consumer_group: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// The queue.
    pub queue_id: Option<i32>,
    /// The next offset to consume.
    pub commit_offset: Option<i64>,
}

/// Finds the offset of a time.
#[derive(Debug, Clone, Header)]
#[request(code = SEARCH_OFFSET_BY_TIMESTAMP)]
pub struct SearchOffset<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The queue.
    pub queue_id: i32,
    /// Store time, ms.
    pub timestamp: i64,
    /// `UPPER`, in any case; anything else is `LOWER`.
    pub boundary_type: Option<&'a str>,
}

/// Asks for the offset after the last message.
#[derive(Debug, Clone, Header)]
#[request(code = GET_MAX_OFFSET)]
pub struct GetMaxOffset<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The queue.
    pub queue_id: i32,
    /// Not read by Apache either.
    pub committed: Option<bool>,
}

/// Asks for the offset of the first message.
#[derive(Debug, Clone, Header)]
#[request(code = GET_MIN_OFFSET)]
pub struct GetMinOffset<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The queue.
    pub queue_id: i32,
}

/// Asks for the store time of the first message.
#[derive(Debug, Clone, Header)]
#[request(code = GET_EARLIEST_MSG_STORETIME)]
pub struct GetEarliestStoreTime<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The queue.
    pub queue_id: i32,
}

/// An offset.
#[derive(Debug, Clone, Header)]
pub struct OffsetReply {
    /// The offset.
    pub offset: i64,
}

/// A store time.
#[derive(Debug, Clone, Header)]
pub struct TimestampReply {
    /// Milliseconds; −1 when there is no message.
    pub timestamp: i64,
}
