// SPDX-License-Identifier: Apache-2.0
//! Looking messages up: code 33.

use crate::Header;

/// Asks for the message at a commit log offset.
#[derive(Debug, Clone, Header)]
#[request(code = VIEW_MESSAGE_BY_ID)]
pub struct ViewMessage<'a> {
    /// Commit log offset.
    pub offset: i64,
    /// The topic; not needed to find the message.
    pub topic: Option<&'a str>,
}
