// SPDX-License-Identifier: Apache-2.0
//! Offsets of topics and groups: answers to 202, 208 and 317.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::MessageQueue;

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
