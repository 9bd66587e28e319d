// SPDX-License-Identifier: Apache-2.0
//! Replies to requests of clients: PUSH_REPLY_MESSAGE_TO_CLIENT (326). A reply is sent with the
//! header of a send.

use crate::Header;

/// Hands a reply to the client that waits for it; the body is that of the reply. Apache:
/// `ReplyMessageRequestHeader`.
#[derive(Debug, Clone, Header)]
#[request(code = PUSH_REPLY_MESSAGE_TO_CLIENT)]
pub struct PushReply<'a> {
    /// Group of the one who replies.
    pub producer_group: &'a str,
    /// Topic of replies.
    pub topic: &'a str,
    /// As it was sent.
    pub default_topic: &'a str,
    /// As it was sent.
    pub default_topic_queue_nums: i32,
    /// As it was sent.
    pub queue_id: i32,
    /// As it was sent: tells whether the body is compressed.
    pub sys_flag: i32,
    /// When the reply was made, ms.
    pub born_timestamp: i64,
    /// As it was sent.
    pub flag: i32,
    /// Properties; the correlation id is among them.
    pub properties: Option<&'a str>,
    /// As it was sent.
    pub reconsume_times: Option<i32>,
    /// As it was sent.
    pub unit_mode: bool,
    /// Address of the one who replies, `ip:port`.
    pub born_host: &'a str,
    /// Address of the broker, `ip:port`.
    pub store_host: &'a str,
    /// When the broker got the reply, ms.
    pub store_timestamp: i64,
}
