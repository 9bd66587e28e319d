// SPDX-License-Identifier: Apache-2.0
//! Replication, as admin tools ask for it: code 908.

use crate::Header;

/// Tells a slave up to where its master has flushed. Apache: `ResetMasterFlushOffsetHeader`.
#[derive(Debug, Clone, Header)]
#[request(code = RESET_MASTER_FLUSH_OFFSET)]
pub struct ResetMasterFlushOffset {
    /// The offset.
    pub master_flush_offset: Option<i64>,
}
