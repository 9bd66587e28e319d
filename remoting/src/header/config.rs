// SPDX-License-Identifier: Apache-2.0
//! Configuration of servers: codes 26 and 319.

use crate::Header;

/// Which version of the configuration the body holds.
#[derive(Debug, Clone, Header)]
pub struct ConfigReply<'a> {
    /// JSON of the data version.
    pub version: Option<&'a str>,
}
