// SPDX-License-Identifier: Apache-2.0
//! Brokers as a whole: codes 354, 355, 902, 903, 2004, 5001.

use crate::Header;

/// Has a container start a broker.
#[derive(Debug, Clone, Header)]
#[request(code = ADD_BROKER)]
pub struct AddBroker<'a> {
    /// File with its configuration, on the host of the container.
    pub config_path: &'a str,
}

/// Has a container stop a broker.
#[derive(Debug, Clone, Header)]
#[request(code = REMOVE_BROKER)]
pub struct RemoveBroker<'a> {
    /// Its name.
    pub broker_name: &'a str,
    /// Its cluster.
    pub broker_cluster_name: &'a str,
    /// Its id.
    pub broker_id: i64,
}

/// Has a broker write its `RocksDB` tables out as JSON.
#[derive(Debug, Clone, Header)]
#[request(code = EXPORT_ROCKSDB_CONFIG_TO_JSON)]
pub struct ExportRocksDb<'a> {
    /// `topics`, `subscriptionGroups`, `consumerOffsets`, separated by `;`.
    pub config_type: &'a str,
}

/// Has a broker compare its queues in files with those in `RocksDB`.
#[derive(Debug, Clone, Header)]
#[request(code = CHECK_ROCKSDB_CQ_WRITE_PROGRESS)]
pub struct CheckRocksDbQueues<'a> {
    /// The topic; all when missing.
    pub topic: Option<&'a str>,
    /// From which store time on, ms since 1970.
    pub check_store_time: i64,
}

/// Tells how far to read ahead in the log.
#[derive(Debug, Clone, Header)]
#[request(code = SET_COMMITLOG_READ_MODE)]
pub struct SetReadAhead<'a> {
    /// 0 normal, 1 random.
    #[field(name = "READ_AHEAD_MODE")]
    pub mode: &'a str,
}

/// Tells what keeps timer messages.
#[derive(Debug, Clone, Header)]
#[request(code = SWITCH_TIMER_ENGINE)]
pub struct SwitchTimerEngine<'a> {
    /// `R` the time line in `RocksDB`, `F` the wheel in files.
    #[field(name = "E_T")]
    pub engine: Option<&'a str>,
}
