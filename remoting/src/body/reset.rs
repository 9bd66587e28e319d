// SPDX-License-Identifier: Apache-2.0
//! Offsets that consumers go on at or are at: codes 220 to 223.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::MessageQueue;

/// Answer to 222 and body of 220. Apache: `ResetOffsetBody`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResetOffsets {
    /// Where each queue goes on.
    pub offset_table: BTreeMap<MessageQueue, i64>,
}

/// Body of 220 for C++ clients, which read no other. Apache: `ResetOffsetBodyForC`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResetOffsetsForC {
    /// Where each queue goes on.
    pub offset_table: Vec<QueueOffset>,
}

/// A queue and an offset. Apache: `MessageQueueForC`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueueOffset {
    /// Name of the broker.
    pub broker_name: String,
    /// The offset.
    pub offset: i64,
    /// The queue.
    pub queue_id: i32,
    /// The topic.
    pub topic: String,
}

/// Answer to 223, and of a client to 221. Apache: `GetConsumerStatusBody`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerStatus {
    /// Client id → its offsets.
    pub consumer_table: BTreeMap<String, BTreeMap<MessageQueue, i64>>,
    /// The offsets of one client.
    pub message_queue_table: BTreeMap<MessageQueue, i64>,
}
