// SPDX-License-Identifier: Apache-2.0
//! Queue assignment by the broker: codes 400 and 401.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{MessageQueue, heartbeat::MessageModel};

java_enum! {
    /// How a group gets the messages of a topic. Apache: `MessageRequestMode`.
    RequestMode {
        /// It pulls and commits offsets.
        #[default]
        Pull = "PULL",
        /// It pops and acknowledges messages.
        Pop = "POP",
    }
}

/// Body of 400. Apache: `QueryAssignmentRequestBody`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueryAssignment {
    /// The client that asks.
    pub client_id: String,
    /// Its group.
    pub consumer_group: String,
    /// How the group's members share.
    pub message_model: MessageModel,
    /// `AVG` or `AVG_BY_CIRCLE`.
    pub strategy_name: String,
    /// The topic.
    pub topic: String,
}

/// Answer to 400. Apache: `QueryAssignmentResponseBody`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Assignments {
    /// The queues of the client; missing when the broker cannot tell, then nothing changes.
    pub message_queue_assignments: Option<Vec<Assignment>>,
}

/// A queue of a client. Apache: `MessageQueueAssignment`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Assignment {
    /// Further properties.
    pub attachments: Option<BTreeMap<String, String>>,
    /// The queue; id -1 stands for all queues of the broker.
    pub message_queue: MessageQueue,
    /// How to get its messages.
    pub mode: RequestMode,
}

/// Body of 401, entry of the answer to 402. Apache: `SetMessageRequestModeRequestBody`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SetRequestMode {
    /// The group.
    pub consumer_group: String,
    /// How it gets messages.
    pub mode: RequestMode,
    /// How many further clients share a queue when popping.
    pub pop_share_queue_num: i32,
    /// The topic.
    pub topic: String,
}

/// Answer to 402, content of `messageRequestMode.json`. Apache:
/// `MessageRequestModeSerializeWrapper`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RequestModes {
    /// Topic → group → mode.
    pub message_request_mode_map: BTreeMap<String, BTreeMap<String, SetRequestMode>>,
}
