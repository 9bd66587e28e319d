// SPDX-License-Identifier: Apache-2.0
//! Replicas and their epochs: answers to 1006 and 1007.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One of the brokers that share a name. Apache: `ReplicaIdentity`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Replica {
    /// Whether the controller hears from it.
    pub alive: Option<bool>,
    /// Its address.
    pub broker_address: String,
    /// Its id.
    pub broker_id: i64,
    /// Its name.
    pub broker_name: String,
}

/// The brokers that share a name. Apache: `ReplicasInfo`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Replicas {
    /// Those in sync.
    pub in_sync_replicas: Vec<Replica>,
    /// Address of the master.
    pub master_address: Option<String>,
    /// Id of the master.
    pub master_broker_id: Option<i64>,
    /// Epoch of the master.
    pub master_epoch: i32,
    /// The others.
    pub not_in_sync_replicas: Vec<Replica>,
    /// Epoch of the set of those in sync.
    pub sync_state_set_epoch: i32,
}

/// Answer to 1006. Apache: `BrokerReplicasInfo`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AllReplicas {
    /// By broker name.
    pub replicas_info_table: BTreeMap<String, Replicas>,
}

/// From where to where a master was one. Apache: `EpochEntry`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Epoch {
    /// End in the log, exclusive; the greatest number while it lasts.
    pub end_offset: i64,
    /// The number of the epoch.
    pub epoch: i32,
    /// Start in the log.
    pub start_offset: i64,
}

/// Answer to 1007. Apache: `EpochEntryCache`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Epochs {
    /// Id of the broker.
    pub broker_id: i64,
    /// Name of the broker.
    pub broker_name: String,
    /// Its cluster.
    pub cluster_name: String,
    /// The epochs, oldest first.
    pub epoch_list: Vec<Epoch>,
    /// End of its log.
    pub max_offset: i64,
}
