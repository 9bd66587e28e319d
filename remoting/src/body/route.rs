// SPDX-License-Identifier: Apache-2.0
//! Where topics are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::static_topic::TopicQueueMapping;

/// Id of a master; slaves have greater ones.
pub const MASTER_ID: i64 = 0;

/// A master and its slaves, which share a name. Apache: `BrokerData`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerData {
    /// Broker id → `host:port`.
    pub broker_addrs: BTreeMap<i64, String>,
    /// The name they share.
    pub broker_name: String,
    /// Their cluster.
    pub cluster: String,
    /// Whether the smallest slave id acts for a missing master.
    pub enable_acting_master: bool,
    /// Their zone.
    pub zone_name: Option<String>,
}

/// The queues of a topic on one broker name. Apache: `QueueData`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueueData {
    /// Name of the broker.
    pub broker_name: String,
    /// Permission bits: 1 inherit, 2 write, 4 read.
    pub perm: i32,
    /// Queues that consumers read.
    pub read_queue_nums: i32,
    /// 1 unit, 2 unit subscription.
    pub topic_sys_flag: i32,
    /// Queues that producers write.
    pub write_queue_nums: i32,
}

/// Answer to 105, body of 217. Apache: `TopicRouteData`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicRoute {
    /// The brokers.
    pub broker_datas: Vec<BrokerData>,
    /// Broker address → filter servers; always empty today.
    pub filter_server_table: BTreeMap<String, Option<Vec<String>>>,
    /// `brokerName:queues;…` of a topic that is ordered over brokers.
    pub order_topic_conf: Option<String>,
    /// The queues.
    pub queue_datas: Vec<QueueData>,
    /// Mappings of a static topic by broker name.
    pub topic_queue_mapping_by_broker: Option<BTreeMap<String, TopicQueueMapping>>,
}
