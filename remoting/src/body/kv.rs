// SPDX-License-Identifier: Apache-2.0
//! Key-value tables: answers to 103, 219 and 28.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Keys and values. Apache: `KVTable`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KvTable {
    /// Values by key.
    pub table: BTreeMap<String, String>,
}
