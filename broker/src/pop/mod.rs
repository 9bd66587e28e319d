// SPDX-License-Identifier: Apache-2.0
//! Pop consumption: messages are handed out queue by queue to whoever asks, stay invisible for a
//! while, and come back through a retry topic unless they are acknowledged. Apache:
//! `PopMessageProcessor`, `PopBufferMergeService`, `AckMessageProcessor`,
//! `ChangeInvisibleTimeProcessor`.
//!
//! What is popped is written to the revive topic before it is handed out, and so is every
//! acknowledgement before it is answered ([`journal`]); the same is kept in memory ([`table`]) and
//! read back at start ([`recovery`]). One thread puts back what is due ([`revive`]).

pub(crate) mod ack;
mod ahead;
pub(crate) mod handle;
pub(crate) mod journal;
pub mod keys;
pub(crate) mod lane;
#[cfg(test)]
mod model;
pub(crate) mod order;
pub(crate) mod read;
pub(crate) mod recovery;
pub(crate) mod revive;
pub(crate) mod running;
mod standing;
pub(crate) mod table;

use std::sync::{
    Arc, OnceLock, Weak,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use aerobee_store::{AppendError, Store};
use parking_lot::Mutex;

use crate::{
    config::{Identity, Switches},
    groups::Groups,
    longpoll::pop::Polls,
    offsets::Offsets,
    pop::{journal::Journal, lane::Lanes, order::Orders, revive::Alarm, table::Table},
    requeue::Requeue,
    topics::Topics,
};

/// The group whose offset in the revive topic says how far its entries are done with: the last one.
pub(crate) const REVIVE_GROUP: &str = "CID_RMQ_SYS_REVIVE_GROUP";
/// The group whose offset in the revive topic says up to which check point the offsets of consumers
/// are in the same file. Ours alone.
pub(crate) const SEEN_GROUP: &str = "CID_RMQ_SYS_REVIVE_SEEN";
/// Most check points of one queue of the revive topic that are kept in memory.
const POINTS_MAX: usize = 250_000;

/// Why nothing was popped, where that is not for want of messages.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PopError {
    #[error("the check point cannot be written: {0}")]
    Append(#[from] AppendError),
    #[error(
        "{POINTS_MAX} batches are popped and not acknowledged in each queue of the revive topic: acknowledge, or shorten the invisible time"
    )]
    TooMany,
}

/// The parts that popping uses.
pub(crate) struct Parts {
    pub(crate) store: Arc<Store>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) offsets: Arc<Offsets>,
    pub(crate) switches: Arc<Switches>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) requeue: Arc<Requeue>,
}

/// Pop consumption.
pub(crate) struct Pops {
    parts: Parts,
    journal: Journal,
    /// One for each queue of the journal.
    tables: Vec<Mutex<Table>>,
    lanes: Lanes,
    orders: Orders,
    /// Handles from before may be of check points that a timer still holds.
    started: i64,
    /// Spreads check points over the queues of the journal.
    turn: AtomicU32,
    seed: AtomicU64,
    alarm: Alarm,
    polls: OnceLock<Weak<Polls>>,
}

impl Pops {
    /// Reads the journal from where it is not done with. Blocks.
    pub(crate) fn open(parts: Parts, journal: Journal, orders: Orders) -> Arc<Self> {
        let started = parts.store.clock().millis();
        let pops = Self {
            tables: journal.queues().iter().map(|_| Mutex::default()).collect(),
            journal,
            parts,
            lanes: Lanes::default(),
            orders,
            started,
            turn: AtomicU32::new(0),
            seed: AtomicU64::new(started.cast_unsigned()),
            alarm: Alarm::default(),
            polls: OnceLock::new(),
        };
        pops.recover();
        Arc::new(pops)
    }

    /// Says who waits for messages.
    pub(crate) fn set_polls(&self, polls: &Arc<Polls>) {
        // Set once, when the broker is put together.
        let _ = self.polls.set(Arc::downgrade(polls));
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.parts
    }

    pub(crate) fn orders(&self) -> &Orders {
        &self.orders
    }

    pub(crate) fn now(&self) -> i64 {
        self.parts.store.clock().millis()
    }

    /// Where a queue of the journal is kept in memory.
    fn table(&self, revive_queue: i32) -> Option<(usize, &Mutex<Table>)> {
        let index = usize::try_from(revive_queue).ok()?;
        Some((index, self.tables.get(index)?))
    }

    fn next_revive_queue(&self) -> usize {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) as usize;
        turn % self.tables.len().max(1)
    }

    /// A number that is spread evenly. Splitmix64.
    fn random(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut mixed = self
            .seed
            .fetch_add(STEP, Ordering::Relaxed)
            .wrapping_add(STEP);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Wakes a pop of the group that waits for the queue, or for any.
    fn wake(&self, topic: &str, group: &str, queue_id: i32) {
        if let Some(polls) = self.polls.get().and_then(Weak::upgrade) {
            polls.wake(topic, group, queue_id);
        }
    }
}
