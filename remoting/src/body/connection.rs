// SPDX-License-Identifier: Apache-2.0
//! Who is connected: answers to 38, 203, 204 and 328.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::heartbeat::{ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData};
use crate::Language;

/// Answer to 38: the members of a consumer group. Apache: `GetConsumerListByGroupResponseBody`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerIds {
    /// Their client ids.
    pub consumer_id_list: Vec<String>,
}

/// One connected client. Apache: `Connection`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClientConnection {
    /// Its address, `ip:port`.
    pub client_addr: String,
    /// Its id.
    pub client_id: String,
    /// What it is written in.
    pub language: Language,
    /// Its version ordinal.
    pub version: i32,
}

/// Answer to 203. Apache: `ConsumerConnection`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerConnections {
    /// The members of the group.
    pub connection_set: Vec<ClientConnection>,
    /// Where it began.
    pub consume_from_where: ConsumeFromWhere,
    /// How it gets messages.
    pub consume_type: ConsumeType,
    /// How its members share.
    pub message_model: MessageModel,
    /// Its subscriptions by topic.
    pub subscription_table: BTreeMap<String, SubscriptionData>,
}

/// Answer to 204. Apache: `ProducerConnection`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProducerConnections {
    /// The members of the group.
    pub connection_set: Vec<ClientConnection>,
}

/// One connected producer. Apache: `ProducerInfo`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProducerInfo {
    /// Its id.
    pub client_id: String,
    /// What it is written in.
    pub language: Language,
    /// When it was last heard of, ms.
    pub last_update_timestamp: i64,
    /// Its address, as Java writes one: `/ip:port`.
    #[serde(rename = "remoteIP")]
    pub remote_ip: String,
    /// Its version ordinal.
    pub version: i32,
}

/// Answer to 328. Apache: `ProducerTableInfo`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProducerTable {
    /// Group → its members.
    pub data: BTreeMap<String, Vec<ProducerInfo>>,
}
