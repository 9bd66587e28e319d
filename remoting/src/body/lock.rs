// SPDX-License-Identifier: Apache-2.0
//! Queue locks of orderly consumers: codes 41 and 42.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::MessageQueue;

/// Body of 41 and 42: queues that a client wants to lock or unlock. Apache: `LockBatchRequestBody`,
/// `UnlockBatchRequestBody`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LockQueues {
    /// The client that holds the locks.
    pub client_id: String,
    /// Its group.
    pub consumer_group: String,
    /// The queues.
    pub mq_set: BTreeSet<MessageQueue>,
    /// Whether a broker asks this for a quorum; clients do not set it.
    pub only_this_broker: bool,
}

/// Answer to 41: the queues that the client holds now. Apache: `LockBatchResponseBody`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LockedQueues {
    /// The queues.
    #[serde(rename = "lockOKMQSet")]
    pub lock_ok_mq_set: BTreeSet<MessageQueue>,
}
