// SPDX-License-Identifier: Apache-2.0
//! Lite topics: body of 200071, answers to 200074 to 200078.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::stats::{GroupOffset, TopicOffset};

java_enum! {
    /// What becomes of a client's lite topics. Apache: `LiteSubscriptionAction`.
    LiteAction {
        /// Those named come to what it has.
        #[default]
        PartialAdd = "PARTIAL_ADD",
        /// Those named go.
        PartialRemove = "PARTIAL_REMOVE",
        /// It has those named and no others.
        CompleteAdd = "COMPLETE_ADD",
        /// It has none, and is gone.
        CompleteRemove = "COMPLETE_REMOVE",
    }
}

java_enum! {
    /// Where a client begins in a lite topic. Apache: `OffsetOption.Type`.
    OffsetOptionType {
        /// 0 where the group is, 1 at the beginning, 2 at the end.
        #[default]
        Policy = "POLICY",
        /// At this offset.
        Offset = "OFFSET",
        /// So many messages before where the group is.
        TailN = "TAIL_N",
        /// At a time; not acted on.
        Timestamp = "TIMESTAMP",
    }
}

/// Where a client begins. Apache: `OffsetOption`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OffsetOption {
    /// What the value means.
    #[serde(rename = "type")]
    pub kind: OffsetOptionType,
    /// The value.
    pub value: i64,
}

/// A change of one client's lite topics. Apache: `LiteSubscriptionDTO`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LiteSubscription {
    /// What becomes of them.
    pub action: LiteAction,
    /// The client.
    pub client_id: String,
    /// Its group.
    pub group: String,
    /// The lite topics.
    pub lite_topic_set: BTreeSet<String>,
    /// Where it begins in them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset_option: Option<OffsetOption>,
    /// Their parent.
    pub topic: String,
    /// Never read.
    pub version: i64,
}

/// Body of 200071. Apache: `LiteSubscriptionCtlRequestBody`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LiteSubscriptions {
    /// The changes.
    pub subscription_set: Vec<LiteSubscription>,
}

/// Answer to 200074. Apache: `GetBrokerLiteInfoResponseBody`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerLiteInfo {
    /// Queues of all kinds.
    pub cq_table_size: i32,
    /// Light queues.
    pub current_lmq_num: i32,
    /// Clients with a line of events.
    pub event_map_size: i32,
    /// Parent → groups bound to it.
    pub group_meta: BTreeMap<String, BTreeSet<String>>,
    /// Subscriptions of a client to a lite topic each.
    pub lite_subscription_count: i32,
    /// Most light queues.
    pub max_lmq_num: i32,
    /// Committed offsets.
    pub offset_table_size: i32,
    /// Lite topics with messages out.
    pub order_info_count: i32,
    /// Kind of the store.
    pub store_type: String,
    /// Parent → minutes that its lite topics live.
    pub topic_meta: BTreeMap<String, i32>,
}

/// Answer to 200075. Apache: `GetParentTopicInfoResponseBody`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ParentTopicInfo {
    /// Groups bound to it.
    pub groups: BTreeSet<String>,
    /// Its lite topics.
    pub lite_topic_count: i32,
    /// Light queues of the broker.
    pub lmq_num: i32,
    /// The topic.
    pub topic: String,
    /// Minutes that its lite topics live.
    pub ttl: i32,
}

/// A client of a group. Apache: `ClientGroup`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClientOfGroup {
    /// The client; `*` for a group that gets everything.
    pub client_id: String,
    /// The group.
    pub group: String,
}

/// Answer to 200076. Apache: `GetLiteTopicInfoResponseBody`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LiteTopicInfo {
    /// The lite topic.
    pub lite_topic: String,
    /// Its parent.
    pub parent_topic: String,
    /// Whether it belongs to this broker.
    pub sharding_to_broker: bool,
    /// Who subscribes.
    pub subscriber: BTreeSet<ClientOfGroup>,
    /// What it holds.
    pub topic_offset: TopicOffset,
}

/// Answer to 200077. Apache: `GetLiteClientInfoResponseBody`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LiteClientInfo {
    /// The client.
    pub client_id: String,
    /// Its group.
    pub group: String,
    /// When it last asked for messages, ms since 1970; −1 when never.
    pub last_access_time: i64,
    /// Always 0.
    pub last_consume_time: i64,
    /// How many it subscribes to; −1 when the client is unknown.
    pub lite_topic_count: i32,
    /// Names of their queues.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lite_topic_set: Option<BTreeSet<String>>,
    /// Their parent.
    pub parent_topic: String,
}

/// How far a group is behind in a lite topic. Apache: `LiteLagInfo`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LiteLag {
    /// Store time of the first message that is not consumed, ms since 1970.
    pub earliest_unconsumed_timestamp: i64,
    /// Messages.
    pub lag_count: i64,
    /// The lite topic.
    pub lite_topic: String,
}

/// Answer to 200078. Apache: `GetLiteGroupInfoResponseBody`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LiteGroupInfo {
    /// Store time of the first message that is not consumed, ms since 1970.
    pub earliest_unconsumed_timestamp: i64,
    /// The group.
    pub group: String,
    /// Those furthest behind by messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_count_top_k: Option<Vec<LiteLag>>,
    /// Those furthest behind by time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_timestamp_top_k: Option<Vec<LiteLag>>,
    /// The lite topic asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lite_topic: Option<String>,
    /// How far the group is in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lite_topic_offset_wrapper: Option<GroupOffset>,
    /// The parent that the group is bound to.
    pub parent_topic: String,
    /// Messages not consumed.
    pub total_lag_count: i64,
}
