// SPDX-License-Identifier: Apache-2.0
//! Sends of one turn that are appended together, under one lock of the log.
//!
//! Each is checked and encoded when it is read; its answer is put off to the end of the turn, or to
//! the next request that is not a send, so that requests of a connection keep their order.

use std::{cell::Cell, ops::Range};

use aerobee_message::id;
use aerobee_remoting::{Replies, ResponseCode, Ticket, header::send::SendReply};
use aerobee_store::{Appended, Staged};

use crate::config::Identity;

/// Sends appended together at most: bounds how long the lock is held.
const SENDS_MAX: usize = 128;
/// Bytes appended together at most.
const BYTES_MAX: usize = 256 << 10;

/// Sends that wait for the end of their turn.
#[derive(Debug, Default)]
pub(crate) struct Staging {
    pub(crate) staged: Staged,
    pub(crate) sends: Vec<StagedSend>,
    /// Their unique keys, one after the other.
    pub(crate) keys: String,
}

/// What the answer to a staged send needs beside its place.
#[derive(Debug)]
pub(crate) struct StagedSend {
    pub(crate) ticket: Ticket,
    /// Number of the queue's slot in the turn.
    pub(crate) slot: usize,
    pub(crate) queue_id: i32,
    pub(crate) key: Range<usize>,
    pub(crate) waits: bool,
    /// Whether it has a sharding key.
    pub(crate) is_ordered: bool,
}

/// A staged send that is in the log, and not answered yet.
#[derive(Debug)]
pub(crate) struct StoredSend {
    pub(crate) ticket: Ticket,
    pub(crate) queue_id: i32,
    pub(crate) appended: Appended,
    /// Its unique key among those of the turn.
    pub(crate) key: Range<usize>,
}

impl StoredSend {
    /// Answers the producer.
    #[inline]
    pub(crate) fn answer(
        self,
        code: ResponseCode,
        remark: &str,
        keys: &str,
        identity: &Identity,
        replies: &mut Replies<'_>,
    ) {
        let mut message_id = id::Buffer::new();
        let message_id = message_id.format(identity.address, self.appended.physical);
        let queue_offset = self.appended.queue_offset;
        let header = SendReply {
            transaction_id: Some(keys.get(self.key).unwrap_or_default()),
            ..identity.send_reply(message_id, self.queue_id, queue_offset)
        };
        replies
            .reply(self.ticket)
            .respond(code, remark, &header, &[]);
    }
}

thread_local! {
    /// Buffers of one worker thread, in use by one turn at a time.
    static SPARE: Cell<Option<Box<Staging>>> = const { Cell::new(None) };
}

impl Staging {
    /// An empty one.
    pub(crate) fn take() -> Box<Self> {
        SPARE.take().unwrap_or_default()
    }

    /// Gives the buffers back.
    pub(crate) fn release(mut self: Box<Self>) {
        self.staged.clear();
        self.sends.clear();
        self.keys.clear();
        SPARE.set(Some(self));
    }

    /// Whether what is here has to be appended before there may be more.
    pub(crate) fn is_full(&self) -> bool {
        self.sends.len() >= SENDS_MAX || self.staged.bytes() >= BYTES_MAX
    }

    /// Keeps a unique key until its send is answered.
    pub(crate) fn keep_key(&mut self, key: &str) -> Range<usize> {
        let start = self.keys.len();
        self.keys.push_str(key);
        start..self.keys.len()
    }
}
