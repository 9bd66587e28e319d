// SPDX-License-Identifier: Apache-2.0
//! How a broker replicates: answer to 907. Apache: `HARuntimeInfo`.

use serde::{Deserialize, Serialize};

/// How a slave follows its master. Apache: `HAClientRuntimeInfo`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HaClient {
    /// Last time that it read, ms since 1970.
    pub last_read_timestamp: i64,
    /// Last time that it wrote, ms since 1970.
    pub last_write_timestamp: i64,
    /// Where the master is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master_addr: Option<String>,
    /// Up to where the master has flushed.
    pub master_flush_offset: i64,
    /// Up to where it has read.
    pub max_offset: i64,
    /// Bytes a second.
    pub transferred_byte_in_second: i64,
}

/// A slave as its master sees it. Apache: `HAConnectionRuntimeInfo`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HaConnection {
    /// Where the slave is.
    pub addr: String,
    /// Bytes that it is behind.
    pub diff: i64,
    /// Whether it counts as being in sync.
    pub in_sync: bool,
    /// Up to where it has acknowledged.
    pub slave_ack_offset: i64,
    /// Where it began.
    pub transfer_from_where: i64,
    /// Bytes a second.
    pub transferred_byte_in_second: i64,
}

/// Answer to 907.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HaRuntimeInfo {
    /// The broker as a slave.
    pub ha_client_runtime_info: HaClient,
    /// Its slaves.
    pub ha_connection_info: Vec<HaConnection>,
    /// Slaves in sync.
    pub in_sync_slave_nums: i32,
    /// Whether it is a master.
    pub master: bool,
    /// The end of a master's log.
    pub master_commit_log_max_offset: i64,
}
