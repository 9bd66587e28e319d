// SPDX-License-Identifier: Apache-2.0
//! What consumers say of themselves: answers to 307 and 309.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};

use super::{MessageQueue, heartbeat::SubscriptionData};

/// A queue that a consumer pulls. Apache: `ProcessQueueInfo`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProcessQueue {
    /// Messages held.
    pub cached_msg_count: i32,
    /// Greatest offset held.
    pub cached_msg_max_offset: i64,
    /// Smallest offset held.
    pub cached_msg_min_offset: i64,
    /// Size of the messages held, in MiB.
    #[serde(rename = "cachedMsgSizeInMiB")]
    pub cached_msg_size_in_mib: i32,
    /// Committed offset.
    pub commit_offset: i64,
    /// Whether the consumer has given it up; spelled so.
    pub droped: bool,
    /// When it last consumed, ms since 1970.
    pub last_consume_timestamp: i64,
    /// When it last locked the queue.
    pub last_lock_timestamp: i64,
    /// When it last pulled.
    pub last_pull_timestamp: i64,
    /// Whether it holds the lock.
    pub locked: bool,
    /// Messages being consumed in order.
    pub transaction_msg_count: i32,
    /// Greatest offset of those.
    pub transaction_msg_max_offset: i64,
    /// Smallest offset of those.
    pub transaction_msg_min_offset: i64,
    /// How often it tried to unlock.
    pub try_unlock_times: i64,
}

/// A queue that a consumer pops. Apache: `PopProcessQueueInfo`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PopQueue {
    /// Whether the consumer has given it up; spelled so.
    pub droped: bool,
    /// When it last popped, ms since 1970.
    pub last_pop_timestamp: i64,
    /// Messages not yet acknowledged.
    pub wait_ack_count: i32,
}

/// How fast a consumer consumes a topic. Apache: `ConsumeStatus`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsumeRates {
    /// Failures within the last hour.
    #[serde(rename = "consumeFailedMsgs")]
    pub consume_failed_msgs: i64,
    /// Failures a second.
    #[serde(rename = "consumeFailedTPS")]
    pub consume_failed_tps: f64,
    /// Successes a second.
    #[serde(rename = "consumeOKTPS")]
    pub consume_ok_tps: f64,
    /// Milliseconds to consume one.
    #[serde(rename = "consumeRT")]
    pub consume_rt: f64,
    /// Milliseconds of a pull.
    #[serde(rename = "pullRT")]
    pub pull_rt: f64,
    /// Messages pulled a second.
    #[serde(rename = "pullTPS")]
    pub pull_tps: f64,
}

/// Values that are texts, or numbers or booleans to be read as such.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Value {
        Text(String),
        Flag(bool),
        Int(i64),
        Float(f64),
        Null(()),
    }
    let values = BTreeMap::<String, Value>::deserialize(deserializer)?;
    let text = |value| match value {
        Value::Text(text) => text,
        Value::Flag(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Null(()) => "null".to_owned(),
    };
    Ok(values
        .into_iter()
        .map(|(key, value)| (key, text(value)))
        .collect())
}

/// Answer to 307. Apache: `ConsumerRunningInfo`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerRunningInfo {
    /// The stacks of its threads, when they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jstack: Option<String>,
    /// The queues that it pops.
    pub mq_pop_table: BTreeMap<MessageQueue, PopQueue>,
    /// The queues that it pulls.
    pub mq_table: BTreeMap<MessageQueue, ProcessQueue>,
    /// Its settings.
    #[serde(deserialize_with = "texts")]
    pub properties: BTreeMap<String, String>,
    /// How fast it is, by topic.
    pub status_table: BTreeMap<String, ConsumeRates>,
    /// What it wants.
    pub subscription_set: Vec<SubscriptionData>,
    /// What the application adds.
    pub user_consumer_info: BTreeMap<String, String>,
}

impl ConsumerRunningInfo {
    /// Whether the SDK calls the application, and not the reverse.
    pub fn is_push(&self) -> bool {
        self.properties
            .get("PROP_CONSUME_TYPE")
            .is_some_and(|kind| kind == "CONSUME_PASSIVELY")
    }

    /// Its subscriptions: topic and expression.
    pub fn subscriptions(&self) -> BTreeSet<(&str, &str)> {
        self.subscription_set
            .iter()
            .map(|data| (data.topic.as_str(), data.sub_string.as_str()))
            .collect()
    }
}

/// Answer to 309. Apache: `ConsumeMessageDirectlyResult`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DirectlyConsumed {
    /// Whether the consumer commits by itself.
    pub auto_commit: bool,
    /// `CR_SUCCESS`, `CR_LATER`, …
    pub consume_result: Option<String>,
    /// Whether it consumes in order.
    pub order: bool,
    /// What went wrong.
    pub remark: Option<String>,
    /// How long it took, ms.
    pub spent_time_mills: i64,
}
