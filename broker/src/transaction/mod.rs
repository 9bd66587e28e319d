// SPDX-License-Identifier: Apache-2.0
//! Transactional messages. Apache: `TransactionalMessageServiceImpl`, `EndTransactionProcessor`.
//!
//! A half message lies in a queue of its own until its producer commits it, when it is put into its
//! topic, or rolls it back; either way an op message notes that it is done. What is open is known in
//! memory ([`table`]), built anew at the start from both queues ([`open`]). Of those left open too
//! long a producer of the group is asked ([`check`]).
//!
//! Each step is one append, and every order of steps survives a crash: the message is stored before
//! the note that its half message is done, and a half message that is written again before the
//! earlier one is noted as done.

mod check;
mod counts;
mod end;
mod message;
mod open;
mod resume;
mod table;

use std::sync::Arc;

use aerobee_message::{record::Record, topic as names};
use aerobee_store::{Appended, Store};

use self::{
    counts::Counts,
    message::{GROUP, QUEUE},
    table::{Half, Table},
};
use crate::{
    clients::Clients,
    config::{Identity, Switches},
    delays::Delays,
    offsets::Offsets,
    requeue::{PutError, Requeue},
    topics::{QueueSlot, Topics},
};

/// Most open transactions; beyond, half messages are refused. Each takes about 200 bytes of memory.
const OPEN_MAX: usize = 2_000_000;

/// The transactions of a broker.
pub(crate) struct Transactions {
    store: Arc<Store>,
    topics: Arc<Topics>,
    offsets: Arc<Offsets>,
    clients: Arc<Clients>,
    requeue: Arc<Requeue>,
    delays: Arc<Delays>,
    identity: Arc<Identity>,
    switches: Arc<Switches>,
    table: Table,
    counts: Counts,
}

/// What a transaction needs of the broker.
pub(crate) struct Parts<'a> {
    pub(crate) store: &'a Arc<Store>,
    pub(crate) topics: &'a Arc<Topics>,
    pub(crate) offsets: &'a Arc<Offsets>,
    pub(crate) clients: &'a Arc<Clients>,
    pub(crate) requeue: &'a Arc<Requeue>,
    pub(crate) delays: &'a Arc<Delays>,
    pub(crate) identity: &'a Arc<Identity>,
    pub(crate) switches: &'a Arc<Switches>,
}

impl Transactions {
    /// Why no half message is taken, if none is.
    pub(crate) fn refusal(&self) -> Option<HalfRefusal> {
        if self.switches.config().broker.reject_transaction_message {
            return Some(HalfRefusal::Rejected);
        }
        let open = self.table.len();
        (open >= OPEN_MAX).then_some(HalfRefusal::TooMany(open))
    }

    /// The queue of half messages.
    pub(crate) fn slot(&self) -> Option<Arc<QueueSlot>> {
        self.topics.find(names::TRANS_HALF)?.queue(QUEUE)
    }

    /// Makes the queues of transactions where they are missing.
    ///
    /// # Errors
    /// Why they cannot be made.
    pub(crate) async fn ensure_queues(&self) -> Result<(), PutError> {
        for name in [names::TRANS_HALF, names::TRANS_OP_HALF] {
            self.requeue.ensure_queue(name, QUEUE).await?;
        }
        Ok(())
    }

    /// Stores a half message that goes to `topic`. Its queue has to exist.
    ///
    /// # Errors
    /// Why it is not stored.
    pub(crate) fn prepare(
        &self,
        slot: &QueueSlot,
        record: &Record<'_>,
        topic: &str,
        immunity: Option<&str>,
    ) -> Result<Appended, aerobee_store::AppendError> {
        let appended = slot.append(&self.store, record)?;
        let usual = self.switches.config().broker.transaction_time_out;
        let half = Half {
            physical: appended.physical,
            first_stored: appended.store_timestamp,
            due: appended
                .store_timestamp
                .saturating_add(message::immunity_millis(immunity, usual)),
            unasked: 0,
        };
        self.table.opened(appended.queue_offset, half);
        self.counts.add(topic, 1, appended.store_timestamp);
        Ok(appended)
    }

    /// Whether the queue of op messages exists.
    fn can_note_done(&self) -> bool {
        let topic = self.topics.find(names::TRANS_OP_HALF);
        let slot = topic.and_then(|topic| topic.queue(QUEUE));
        slot.is_some_and(|slot| slot.queue().is_some())
    }

    /// Notes that half messages are done; nothing happens where there is no queue for that yet.
    fn note_done(&self, half_offsets: &[i64]) -> Option<Result<(), PutError>> {
        let now = self.store.clock().millis();
        let op = message::op(half_offsets, now, self.identity.address);
        let stored = self.requeue.try_put(&op)?;
        Some(stored.map(|appended| self.op_stored(appended, half_offsets)))
    }

    /// As [`Transactions::note_done`], for threads that may block.
    fn note_done_blocking(&self, half_offsets: &[i64]) -> Result<(), PutError> {
        let now = self.store.clock().millis();
        let op = message::op(half_offsets, now, self.identity.address);
        let appended = self.requeue.put_blocking(&op)?;
        self.op_stored(appended, half_offsets);
        Ok(())
    }

    fn op_stored(&self, appended: Appended, half_offsets: &[i64]) {
        let highest = half_offsets.iter().copied().max().unwrap_or(-1);
        self.table.op_stored(appended.queue_offset, highest);
    }

    /// Commits how far both queues are done with.
    fn keep_progress(&self) {
        let progress = self.table.progress();
        for (topic, offset) in [
            (names::TRANS_HALF, progress.half),
            (names::TRANS_OP_HALF, progress.op),
        ] {
            if self.offsets.query(GROUP, topic, QUEUE) != Some(offset) {
                self.offsets.commit(GROUP, topic, QUEUE, offset);
            }
        }
    }

    /// Topics and how many transactions of theirs are open.
    pub(crate) fn open_by_topic(&self) -> Vec<(Box<str>, i64)> {
        self.counts.read()
    }

    /// Keeps what has to be kept at the end; no request is under way any more.
    pub(crate) async fn close(&self) -> Result<(), crate::table::PersistError> {
        self.keep_progress();
        self.counts.close().await
    }
}

/// Why half messages are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HalfRefusal {
    /// `rejectTransactionMessage` is on.
    Rejected,
    /// So many are open.
    TooMany(usize),
}
