// SPDX-License-Identifier: Apache-2.0
//! Answers that wait for the disk: under synchronous flush a producer hears of its message, and a
//! consumer sees it, when a sync that covers it has returned.

use std::sync::Arc;

use aerobee_remoting::{Corked, Deferred, ResponseCode, header::send::SendReply};
use aerobee_store::{Flushed, Store};

use crate::{longpoll::pull::HeldPulls, topics::QueueSlot};

/// The answer to a send, kept until its message is durable.
pub(crate) struct Unflushed {
    reply: Deferred,
    message_id: String,
    queue_id: i32,
    queue_offset: i64,
    transaction_id: String,
    region: String,
    trace_on: bool,
}

impl Unflushed {
    pub(crate) fn new(reply: Deferred, header: &SendReply<'_>) -> Self {
        Self {
            reply,
            message_id: header.msg_id.to_owned(),
            queue_id: header.queue_id,
            queue_offset: header.queue_offset,
            transaction_id: header.transaction_id.unwrap_or_default().to_owned(),
            region: header.region.unwrap_or_default().to_owned(),
            trace_on: header.trace_on.unwrap_or_default(),
        }
    }

    fn answer(self, outcome: Flushed) {
        let header = SendReply {
            msg_id: &self.message_id,
            queue_id: self.queue_id,
            queue_offset: self.queue_offset,
            transaction_id: Some(&self.transaction_id),
            batch_uniq_id: None,
            region: Some(&self.region),
            trace_on: Some(self.trace_on),
        };
        let (code, remark) = match outcome {
            Flushed::Durable => (ResponseCode::SUCCESS, ""),
            // The message is in the log: clients count these as stored.
            Flushed::TimedOut => (
                ResponseCode::FLUSH_DISK_TIMEOUT,
                "the message is stored, but not flushed within syncFlushTimeout",
            ),
            Flushed::Failed => (
                ResponseCode::FLUSH_DISK_TIMEOUT,
                "the message is stored, but flushing the disk failed; the broker takes no more messages",
            ),
        };
        self.reply.respond(code, remark, &header, &[]);
    }
}

/// Waits for flushes.
pub(crate) struct Flushing {
    pub(crate) store: Arc<Store>,
    pub(crate) held: Arc<HeldPulls>,
}

impl Flushing {
    /// Answers `waiting`, if anybody waits, and serves the consumers of `slot` once the log is
    /// durable up to `end`.
    pub(crate) fn wait(&self, end: i64, waiting: Option<Unflushed>, slot: &Arc<QueueSlot>) {
        let (held, slot) = (Arc::clone(&self.held), Arc::clone(slot));
        self.store.when_flushed(
            end,
            Box::new(move |outcome| {
                if let Some(waiting) = waiting {
                    waiting.answer(outcome);
                }
                if slot.waiters().any() {
                    held.arrived(&slot, &mut Corked::default());
                }
            }),
        );
    }
}
