// SPDX-License-Identifier: Apache-2.0
//! Looking messages up: codes 12 and 33.

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

/// Asks for the messages that have a key. Apache: `QueryMessageRequestHeader`.
#[derive(Debug, Clone, Header)]
#[request(code = QUERY_MESSAGE)]
pub struct QueryMessage<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The key.
    pub key: &'a str,
    /// Most messages wanted.
    pub max_num: i32,
    /// Earliest store time, ms since 1970.
    pub begin_timestamp: i64,
    /// Latest store time, ms since 1970.
    pub end_timestamp: i64,
    /// `true` when the key is a unique key.
    #[field(name = "_UNIQUE_KEY_QUERY")]
    pub is_unique: Option<&'a str>,
    /// What the key is: `K`, also when missing, a key; `U` a unique key; `T` the tags.
    pub index_type: Option<&'a str>,
    /// Where the answer before ended; only for an index in `RocksDB`.
    pub last_key: Option<&'a str>,
}

/// How far the index is. Apache: `QueryMessageResponseHeader`.
#[derive(Debug, Clone, Default, Header)]
pub struct QueryReply {
    /// Store time of the last message indexed.
    pub index_last_update_timestamp: i64,
    /// Its commit log offset.
    pub index_last_update_phyoffset: i64,
}
