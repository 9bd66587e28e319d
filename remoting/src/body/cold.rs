// SPDX-License-Identifier: Apache-2.0
//! Limits of cold reads: answer to 2003.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How much a group has read of cold data. Apache: `AccAndTimeStamp`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ColdReads {
    /// Bytes of the current span.
    pub cold_acc: i64,
    /// When it was first seen, ms since 1970.
    pub create_time_mills: i64,
    /// When it last read cold data, ms since 1970.
    pub last_cold_read_time_mills: i64,
}

/// Answer to 2003.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ColdDataFlow {
    /// Limit of a group without one of its own, bytes.
    pub cg_cold_read_threshold: i64,
    /// Limits of groups.
    pub config_table: BTreeMap<String, i64>,
    /// Bytes of all groups.
    pub global_acc: i64,
    /// Limit of all groups together.
    pub global_cold_read_threshold: i64,
    /// What each group has read.
    pub runtime_table: BTreeMap<String, ColdReads>,
}

/// Answer to 354. Apache: `CheckRocksdbCqWriteResult`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RocksDbQueueCheck {
    /// What went wrong.
    pub check_result: Option<String>,
    /// 0 equal, 1 different, 2 in progress, 3 failed.
    pub check_status: i32,
}
