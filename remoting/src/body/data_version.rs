// SPDX-License-Identifier: Apache-2.0
//! Versions of tables.

use serde::{Deserialize, Serialize};

/// Says which state of a table somebody has. Two states are the same when all members are equal.
/// Apache: `DataVersion`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DataVersion {
    /// Number of changes.
    pub counter: i64,
    /// Epoch of the master that made the change, 0 without a controller. Brokers before 5.0 do not
    /// send it.
    pub state_version: i64,
    /// When the last change was made, in milliseconds since 1970.
    pub timestamp: i64,
}

impl DataVersion {
    /// The version after one more change, made at `now_ms` under `state_version`.
    #[must_use]
    pub fn next(self, state_version: i64, now_ms: i64) -> Self {
        Self {
            counter: self.counter.wrapping_add(1),
            state_version,
            timestamp: now_ms,
        }
    }
}
