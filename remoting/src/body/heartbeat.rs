// SPDX-License-Identifier: Apache-2.0
//! Heartbeats of clients: code 34, and 46.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

java_enum! {
    /// How a group gets messages. Apache: `ConsumeType`.
    ConsumeType {
        /// The application pulls.
        Actively = "CONSUME_ACTIVELY",
        /// The SDK pulls and calls the application.
        #[default]
        Passively = "CONSUME_PASSIVELY",
        /// The SDK pops.
        Pop = "CONSUME_POP",
    }
}

java_enum! {
    /// How the members of a group share messages. Apache: `MessageModel`.
    MessageModel {
        /// Each member gets every message.
        Broadcasting = "BROADCASTING",
        /// Each message goes to one member.
        #[default]
        Clustering = "CLUSTERING",
        /// Each message of a lite topic goes to a member that subscribes to it.
        LiteSelective = "LITE_SELECTIVE",
    }
}

java_enum! {
    /// Where a new group begins. Apache: `ConsumeFromWhere`.
    ConsumeFromWhere {
        /// At the end.
        #[default]
        LastOffset = "CONSUME_FROM_LAST_OFFSET",
        /// Deprecated: as the one before.
        LastOffsetAndFromMinWhenBootFirst = "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        /// Deprecated: at the beginning.
        MinOffset = "CONSUME_FROM_MIN_OFFSET",
        /// Deprecated: at the end.
        MaxOffset = "CONSUME_FROM_MAX_OFFSET",
        /// At the beginning.
        FirstOffset = "CONSUME_FROM_FIRST_OFFSET",
        /// At a time that the client knows.
        Timestamp = "CONSUME_FROM_TIMESTAMP",
    }
}

/// What a group wants of a topic. Apache: `SubscriptionData`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionData {
    /// Historic; false.
    pub class_filter_mode: bool,
    /// Hash codes of the tags.
    pub code_set: BTreeSet<i32>,
    /// `TAG` or `SQL92`.
    pub expression_type: String,
    /// The expression, `*` for all.
    pub sub_string: String,
    /// When it was made, in milliseconds since 1970; the greater one wins. C++ sends it as text.
    pub sub_version: i64,
    /// The tags.
    pub tags_set: BTreeSet<String>,
    /// The topic.
    pub topic: String,
}

impl Default for SubscriptionData {
    fn default() -> Self {
        Self {
            class_filter_mode: false,
            code_set: BTreeSet::new(),
            expression_type: "TAG".to_owned(),
            sub_string: String::new(),
            sub_version: 0,
            tags_set: BTreeSet::new(),
            topic: String::new(),
        }
    }
}

/// A consumer group that a client is in. Apache: `ConsumerData`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerData {
    /// Where a new group begins.
    pub consume_from_where: ConsumeFromWhere,
    /// How it gets messages.
    pub consume_type: ConsumeType,
    /// The group.
    pub group_name: String,
    /// How its members share.
    pub message_model: MessageModel,
    /// What it wants, one entry a topic.
    pub subscription_data_set: Vec<SubscriptionData>,
    /// Whether it belongs to a unit.
    pub unit_mode: bool,
}

/// A producer group that a client is in. Apache: `ProducerData`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProducerData {
    /// The group.
    pub group_name: String,
}

/// Body of 34. C++ leaves out sets that are empty. Apache: `HeartbeatData`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HeartbeatData {
    /// Id of the client.
    #[serde(rename = "clientID")]
    pub client_id: String,
    /// Groups that it consumes in.
    pub consumer_data_set: Vec<ConsumerData>,
    /// Hash of the subscriptions; 0 in heartbeats of the first version.
    pub heartbeat_fingerprint: i32,
    /// Groups that it produces in.
    pub producer_data_set: Vec<ProducerData>,
    /// Whether the subscriptions were left out because they are as before.
    pub without_sub: bool,
}

/// Body of 46: a subscription to check. Apache: `CheckClientRequestBody`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CheckClientConfig {
    /// Id of the client.
    pub client_id: String,
    /// Its group.
    pub group: String,
    /// Its namespace.
    pub namespace: Option<String>,
    /// The subscription.
    pub subscription_data: SubscriptionData,
}
