// SPDX-License-Identifier: Apache-2.0
//! Subscription groups.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use super::data_version::DataVersion;

java_enum! {
    /// Which policy spaces the retries of a group. Apache: `GroupRetryPolicyType`.
    RetryPolicyType {
        /// Ever longer waits.
        Exponential = "EXPONENTIAL",
        /// A list of waits.
        #[default]
        Customized = "CUSTOMIZED",
    }
}

/// How long a message waits between its retries. Apache: `GroupRetryPolicy`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RetryPolicy {
    /// The waits of [`RetryPolicyType::Customized`]; missing: the 18 delay levels.
    pub customized_retry_policy: Option<CustomizedRetryPolicy>,
    /// The waits of [`RetryPolicyType::Exponential`]; missing: the 18 delay levels.
    pub exponential_retry_policy: Option<ExponentialRetryPolicy>,
    /// Which one counts.
    #[serde(rename = "type")]
    pub policy_type: RetryPolicyType,
}

/// A list of waits. Apache: `CustomizedRetryPolicy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CustomizedRetryPolicy {
    /// Waits in milliseconds; the third is the first retry's.
    pub next: Vec<i64>,
}

impl Default for CustomizedRetryPolicy {
    /// The delay levels of a broker with its default configuration.
    fn default() -> Self {
        let seconds = [
            1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200,
        ];
        Self {
            next: seconds.iter().map(|wait| wait * 1000).collect(),
        }
    }
}

/// Ever longer waits. Apache: `ExponentialRetryPolicy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExponentialRetryPolicy {
    /// First wait in milliseconds.
    pub initial: i64,
    /// Longest wait in milliseconds.
    pub max: i64,
    /// Factor from one wait to the next.
    pub multiplier: i64,
}

impl Default for ExponentialRetryPolicy {
    fn default() -> Self {
        Self {
            initial: 5_000,
            max: 7_200_000,
            multiplier: 2,
        }
    }
}

/// A subscription kept with a group. Apache: `SimpleSubscriptionData`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SimpleSubscription {
    /// The expression.
    pub expression: String,
    /// `TAG` or `SQL92`.
    pub expression_type: String,
    /// The topic.
    pub topic: String,
    /// When it was made, in milliseconds since 1970.
    pub version: i64,
}

/// How a consumer group is set up on one broker. Apache: `SubscriptionGroupConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionGroupConfig {
    /// Attributes such as `lite.bind.topic`; in requests that change them the keys begin with `+`
    /// or `-`.
    pub attributes: BTreeMap<String, String>,
    /// Broker that consumers are told to read from.
    pub broker_id: i64,
    /// Whether broadcasting consumers may read.
    pub consume_broadcast_enable: bool,
    /// Whether consumers may read at all.
    pub consume_enable: bool,
    /// Whether consumers may begin at the smallest offset.
    pub consume_from_min_enable: bool,
    /// Whether pop keeps the order of queues.
    pub consume_message_orderly: bool,
    /// Minutes after which a message that is being consumed is given back.
    pub consume_timeout_minute: i32,
    /// The name.
    pub group_name: String,
    /// How long messages wait between retries.
    pub group_retry_policy: RetryPolicy,
    /// 1 unit.
    pub group_sys_flag: i32,
    /// Whether members are told when others come or go.
    pub notify_consumer_ids_changed_enable: bool,
    /// Retries before a message goes to the dead letter topic.
    pub retry_max_times: i32,
    /// Queues of the retry topic.
    pub retry_queue_nums: i32,
    /// Subscriptions kept with the group.
    pub subscription_data_set: Option<Vec<SimpleSubscription>>,
    /// Broker to read from when this one is slow.
    pub which_broker_when_consume_slowly: i64,
}

impl Default for SubscriptionGroupConfig {
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: false,
            consume_timeout_minute: 15,
            group_name: String::new(),
            group_retry_policy: RetryPolicy::default(),
            group_sys_flag: 0,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            subscription_data_set: None,
            which_broker_when_consume_slowly: 1,
        }
    }
}

/// The groups of a broker: answer to 201, content of `subscriptionGroup.json`. Apache:
/// `SubscriptionGroupWrapper`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionGroupTable {
    /// Version of the groups.
    pub data_version: DataVersion,
    /// Group → topic → bits of what is forbidden.
    pub forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
    /// Groups by name.
    pub subscription_group_table: BTreeMap<String, SubscriptionGroupConfig>,
}

/// Answer to 353. Apache: `GroupForbidden`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroupForbiddenBody {
    /// The group.
    pub group: String,
    /// Whether it may read.
    pub readable: bool,
    /// The topic.
    pub topic: String,
}

/// Body of 225: groups to create or change. Apache: `SubscriptionGroupList`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionGroupList {
    /// The groups.
    pub group_config_list: Vec<SubscriptionGroupConfig>,
}
