// SPDX-License-Identifier: Apache-2.0
//! The two encodings of a header; nothing outside this crate tells them apart.

pub mod compact;
pub mod json;
