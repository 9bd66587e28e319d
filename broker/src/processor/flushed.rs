// SPDX-License-Identifier: Apache-2.0
//! Answers that wait for the disk: under synchronous flush a producer hears of its message, and a
//! consumer sees it, when a sync that covers it has returned.

use std::sync::Arc;

use aerobee_remoting::{Corked, Deferred, Late, Replies, ResponseCode, header::send::SendReply};
use aerobee_store::{FlushMode, Flushed, Store};
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::runtime::Handle;

use crate::{
    config::Identity, longpoll::pull::HeldPulls, processor::staging::StoredSend, topics::QueueSlot,
};

/// The answer to a send, kept until its message is durable.
pub(crate) struct Unflushed {
    reply: Deferred,
    message_id: String,
    queue_id: i32,
    queue_offset: i64,
    transaction_id: String,
    batch_key: Option<String>,
    recall_handle: Option<String>,
    identity: Arc<Identity>,
}

impl Unflushed {
    pub(crate) fn new(reply: Deferred, header: &SendReply<'_>, identity: &Arc<Identity>) -> Self {
        Self {
            reply,
            message_id: header.msg_id.to_owned(),
            queue_id: header.queue_id,
            queue_offset: header.queue_offset,
            transaction_id: header.transaction_id.unwrap_or_default().to_owned(),
            batch_key: header.batch_uniq_id.map(str::to_owned),
            recall_handle: header.recall_handle.map(str::to_owned),
            identity: Arc::clone(identity),
        }
    }

    fn answer(self, outcome: Flushed, corked: &mut Corked) {
        let header = SendReply {
            transaction_id: Some(&self.transaction_id),
            batch_uniq_id: self.batch_key.as_deref(),
            recall_handle: self.recall_handle.as_deref(),
            ..self
                .identity
                .send_reply(&self.message_id, self.queue_id, self.queue_offset)
        };
        let (code, remark) = code_of(outcome);
        let reply = corked.attach(self.reply);
        reply.respond(code, remark, &header, &[]);
    }
}

/// Sends of one turn; of many connections with little to send each, turns have one.
pub(crate) type StoredSends = SmallVec<[StoredSend; 1]>;

/// The answers to the sends of one turn, kept until all of them are durable: one sync covers them.
pub(crate) struct UnflushedTurn {
    late: Late,
    sends: StoredSends,
    /// Their unique keys, one after the other.
    keys: Box<str>,
    identity: Arc<Identity>,
}

impl UnflushedTurn {
    /// Takes the answers from the turn.
    pub(crate) fn new(
        sends: StoredSends,
        keys: &str,
        identity: &Arc<Identity>,
        replies: &mut Replies<'_>,
    ) -> Self {
        Self {
            late: replies.defer(sends.iter().map(|send| &send.ticket)),
            sends,
            keys: keys.into(),
            identity: Arc::clone(identity),
        }
    }

    fn answer(self, outcome: Flushed, corked: &mut Corked) {
        let (code, remark) = code_of(outcome);
        corked.answer(self.late, |replies| {
            for send in self.sends {
                send.answer(code, remark, &self.keys, &self.identity, replies);
            }
        });
    }
}

/// How a producer hears of it.
fn code_of(outcome: Flushed) -> (ResponseCode, &'static str) {
    match outcome {
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
    }
}

/// Whom a flush is told.
pub(crate) enum Waiting {
    /// Consumers alone.
    Nobody,
    One(Unflushed),
    Turn(UnflushedTurn),
}

/// Queues with messages that become visible together.
pub(crate) type Slots = SmallVec<[Arc<QueueSlot>; 4]>;

/// Messages that a flush has, or has not, made durable.
struct Finished {
    waiting: Waiting,
    slots: Slots,
    outcome: Flushed,
}

/// Waits for flushes.
pub(crate) struct Flushing {
    store: Arc<Store>,
    held: Arc<HeldPulls>,
    /// Filled by the flusher, emptied by one task at a time: what one sync finishes makes one write
    /// per connection, and the flusher goes on with the next sync meanwhile. Bounded by those whom
    /// the store lets wait.
    finished: Mutex<Vec<Finished>>,
    runtime: Handle,
}

impl Flushing {
    /// Needs a running runtime.
    pub(crate) fn new(store: Arc<Store>, held: Arc<HeldPulls>) -> Arc<Self> {
        Arc::new(Self {
            store,
            held,
            finished: Mutex::default(),
            runtime: Handle::current(),
        })
    }

    pub(crate) fn held(&self) -> &Arc<HeldPulls> {
        &self.held
    }

    /// Answers those who wait, and serves the consumers of `slots`, once the log is durable up to `end`.
    pub(crate) fn wait(self: &Arc<Self>, end: i64, waiting: Waiting, slots: Slots) {
        let flushing = Arc::clone(self);
        self.store.when_flushed(
            end,
            Box::new(move |outcome| {
                flushing.finish(Finished {
                    waiting,
                    slots,
                    outcome,
                });
            }),
        );
    }

    /// The same for the consumers of one queue.
    pub(crate) fn wait_for(self: &Arc<Self>, end: i64, slot: &Arc<QueueSlot>) {
        let slots = Slots::from_iter([Arc::clone(slot)]);
        self.wait(end, Waiting::Nobody, slots);
    }

    /// A message that nobody is to be answered for is stored up to `end`: serves the consumers of its
    /// queue, under synchronous flush when it is durable.
    pub(crate) fn arrived(self: &Arc<Self>, slot: &Arc<QueueSlot>, end: i64) {
        match self.store.flush_mode() {
            FlushMode::Async if slot.waiters().any() => {
                // Called from threads of the broker's own as well; many waiters are served by a task.
                let _inside = self.runtime.enter();
                self.held.arrived(slot, &mut Corked::default());
            }
            FlushMode::Async => {}
            FlushMode::Sync => self.wait_for(end, slot),
        }
    }

    fn finish(self: &Arc<Self>, one: Finished) {
        let is_first = {
            let mut finished = self.finished.lock();
            finished.push(one);
            finished.len() == 1
        };
        if is_first {
            let flushing = Arc::clone(self);
            self.runtime.spawn(async move { flushing.answer() });
        }
    }

    fn answer(&self) {
        let finished = std::mem::take(&mut *self.finished.lock());
        let mut corked = Corked::default();
        let mut slots: Vec<Arc<QueueSlot>> = Vec::new();
        for one in finished {
            match one.waiting {
                Waiting::Nobody => {}
                Waiting::One(send) => send.answer(one.outcome, &mut corked),
                Waiting::Turn(sends) => sends.answer(one.outcome, &mut corked),
            }
            slots.extend(one.slots);
        }
        // Producers first.
        corked.flush();
        slots.sort_unstable_by_key(Arc::as_ptr);
        slots.dedup_by(|one, other| Arc::ptr_eq(one, other));
        for slot in slots {
            if slot.waiters().any() {
                self.held.arrived(&slot, &mut corked);
            }
        }
    }
}
