// SPDX-License-Identifier: Apache-2.0
//! What topics hold and how far groups are: answers to 202, 208, 300, 303, 308, 315, 317, 321, 345.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{MessageQueue, heartbeat::SubscriptionData};

/// What a queue holds. Apache: `TopicOffset`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicOffset {
    /// Store time of the last message, 0 when empty, in milliseconds since 1970.
    pub last_update_timestamp: i64,
    /// The next offset to be written.
    pub max_offset: i64,
    /// The first offset still there.
    pub min_offset: i64,
}

/// Answer to 202. Apache: `TopicStatsTable`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicStats {
    /// Each queue.
    pub offset_table: BTreeMap<MessageQueue, TopicOffset>,
    /// Messages a second of the last minute.
    pub topic_put_tps: f64,
}

/// How far a group is in a queue. Apache: `OffsetWrapper`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroupOffset {
    /// The next offset to be written.
    pub broker_offset: i64,
    /// The next offset to be consumed.
    pub consumer_offset: i64,
    /// Store time of the last message consumed, in milliseconds since 1970.
    pub last_timestamp: i64,
    /// The next offset to be pulled.
    pub pull_offset: i64,
}

/// Answer to 208. Apache: `ConsumeStats`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeStats {
    /// Messages a second of the last minute; Java sends null for "no sample".
    pub consume_tps: f64,
    /// Each queue.
    pub offset_table: BTreeMap<MessageQueue, GroupOffset>,
}

/// Answer to 317. Apache: `ConsumeStatsList`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeStatsList {
    /// Address of the broker.
    pub broker_addr: String,
    /// Group → one entry a topic, each group in a map of its own.
    pub consume_stats_list: Vec<BTreeMap<String, Vec<ConsumeStats>>>,
    /// Messages not yet consumed.
    pub total_diff: i64,
    /// Messages pulled but not yet consumed.
    pub total_inflight_diff: i64,
}

/// Answer to 300. Apache: `GroupList`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroupList {
    /// Names of groups.
    pub group_list: BTreeSet<String>,
}

/// Answer to 345. Apache: `QuerySubscriptionResponseBody`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionOfGroup {
    /// The group.
    pub group: String,
    /// What it wants; nothing while it is offline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<SubscriptionData>,
    /// The topic.
    pub topic: String,
}

/// Times of a queue and of its consumption, in milliseconds since 1970. Apache: `QueueTimeSpan`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueueTimeSpan {
    /// Store time of the last message consumed.
    pub consume_time_stamp: i64,
    /// How long the next message has been waiting.
    pub delay_time: i64,
    /// Store time of the last message.
    pub max_time_stamp: i64,
    /// The queue.
    pub message_queue: MessageQueue,
    /// Store time of the first message.
    pub min_time_stamp: i64,
}

/// Answer to 303. Apache: `QueryConsumeTimeSpanBody`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeTimeSpans {
    /// Each queue.
    pub consume_time_span_set: Vec<QueueTimeSpan>,
}

/// Answer to 308. Apache: `QueryCorrectionOffsetBody`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CorrectionOffsets {
    /// Queue → offset.
    pub correction_offsets: BTreeMap<i32, i64>,
}

/// One entry of a queue. Apache: `ConsumeQueueData`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeQueueData {
    /// Whether the group's filter accepts the message.
    pub eval: bool,
    /// What the filter was tried on, or why it could not be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg: Option<String>,
    /// Position of the message in the log.
    pub physic_offset: i64,
    /// Its bytes there.
    pub physic_size: i32,
    /// Hash of its tags.
    pub tags_code: i64,
}

/// Answer to 321. Apache: `QueryConsumeQueueResponseBody`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeQueueEntries {
    /// The SQL92 expression of the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_data: Option<String>,
    /// The offset after the last entry.
    pub max_queue_index: i64,
    /// The first offset.
    pub min_queue_index: i64,
    /// The entries.
    pub queue_data: Vec<ConsumeQueueData>,
    /// What the group wants of the topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<SubscriptionData>,
}

/// Counts of one span. Apache: `BrokerStatsItem`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SpanStats {
    /// Average of one call.
    pub avgpt: f64,
    /// Number within the span.
    pub sum: i64,
    /// Number a second.
    pub tps: f64,
}

/// Answer to 315. Apache: `BrokerStatsData`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerStats {
    /// The last day.
    pub stats_day: SpanStats,
    /// The last hour.
    pub stats_hour: SpanStats,
    /// The last minute.
    pub stats_minute: SpanStats,
}
