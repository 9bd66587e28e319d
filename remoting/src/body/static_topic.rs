// SPDX-License-Identifier: Apache-2.0
//! Static topics: logical queues mapped to queues of brokers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Outline of the queues of a static topic on one broker. Apache: `TopicQueueMappingInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicQueueMapping {
    /// Name of the broker.
    pub bname: Option<String>,
    /// Logical queue id → queue id, of the queues that this broker serves now.
    pub curr_id_map: BTreeMap<i32, i32>,
    /// Whether the broker has marked it as being changed.
    pub dirty: bool,
    /// Version of the mapping.
    pub epoch: i64,
    /// Scope that the topic belongs to.
    pub scope: String,
    /// Name of the topic.
    pub topic: Option<String>,
    /// Number of logical queues.
    pub total_queues: i32,
}

/// Scope of topics that no tool has put into another one.
pub const GLOBAL_SCOPE: &str = "__global__";

impl Default for TopicQueueMapping {
    fn default() -> Self {
        Self {
            bname: None,
            curr_id_map: BTreeMap::new(),
            dirty: false,
            epoch: 0,
            scope: GLOBAL_SCOPE.to_owned(),
            topic: None,
            total_queues: 0,
        }
    }
}

/// The queues of a static topic on one broker with their history. Apache:
/// `TopicQueueMappingDetail`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicQueueMappingDetail {
    /// Name of the broker.
    pub bname: Option<String>,
    /// Logical queue id → queue id, of the queues that this broker serves now.
    pub curr_id_map: BTreeMap<i32, i32>,
    /// Whether the broker has marked it as being changed.
    pub dirty: bool,
    /// Version of the mapping.
    pub epoch: i64,
    /// Logical queue id → where its parts are, oldest first.
    pub hosted_queues: BTreeMap<i32, Vec<LogicalQueuePart>>,
    /// Scope that the topic belongs to.
    pub scope: String,
    /// Name of the topic.
    pub topic: Option<String>,
    /// Number of logical queues.
    pub total_queues: i32,
}

impl Default for TopicQueueMappingDetail {
    fn default() -> Self {
        Self {
            bname: None,
            curr_id_map: BTreeMap::new(),
            dirty: false,
            epoch: 0,
            hosted_queues: BTreeMap::new(),
            scope: GLOBAL_SCOPE.to_owned(),
            topic: None,
            total_queues: 0,
        }
    }
}

/// A run of a logical queue that lies in one queue of one broker. Apache:
/// `LogicQueueMappingItem`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LogicalQueuePart {
    /// Name of the broker.
    pub bname: Option<String>,
    /// End in the broker's queue, exclusive; undecided when not above the start.
    pub end_offset: i64,
    /// Generation, one more with each move.
    pub r#gen: i32,
    /// Where the part begins in the logical queue; -1 while undecided.
    pub logic_offset: i64,
    /// Queue of the broker.
    pub queue_id: i32,
    /// Start in the broker's queue.
    pub start_offset: i64,
    /// Time of the last message, -1 while unknown, in milliseconds since 1970.
    pub time_of_end: i64,
    /// Time of the first message, -1 while unknown, in milliseconds since 1970.
    pub time_of_start: i64,
}

impl Default for LogicalQueuePart {
    fn default() -> Self {
        Self {
            bname: None,
            end_offset: -1,
            r#gen: 0,
            logic_offset: 0,
            queue_id: 0,
            start_offset: 0,
            time_of_end: -1,
            time_of_start: -1,
        }
    }
}
