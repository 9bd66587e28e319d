// SPDX-License-Identifier: Apache-2.0
//! The index: from keys to the records that have them (Apache: `store/index/`).

pub mod format;
