// SPDX-License-Identifier: Apache-2.0
//! Held pulls. A pull that finds nothing waits on its queue; whoever appends to the queue serves it,
//! or its deadline does. No list of all queues is scanned and nobody polls.
//!
//! Apache: `PullRequestHoldService`, which re-checks every 5 s; here a waiter registers first and
//! looks at the end of its queue again afterwards, so no arrival is missed.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering, fence},
    },
    time::{Duration, Instant},
};

use aerobee_remoting::{Corked, Deferred};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    filter::Filter,
    longpoll::pop::Polls,
    processor::pull::{Asker, Pulled, Puller},
    stats::Consumption,
    topics::QueueSlot,
};

/// Most held pulls in the broker; one more is answered at once.
const HELD_MAX: usize = 500_000;
/// Most held pulls of one queue.
const HELD_PER_QUEUE_MAX: usize = 10_000;
/// How often deadlines are looked at while pulls are held: an answer is late by this much at most.
const SWEEP_PERIOD: Duration = Duration::from_millis(200);
/// Waiters that the appender serves itself; the rest are served by a task, for the sake of the
/// producer whose thread this is.
const SERVED_INLINE: usize = 32;

/// A pull that waits.
#[derive(Debug)]
pub(crate) struct HeldPull {
    pub(crate) reply: Deferred,
    pub(crate) asker: Asker,
    /// The next queue offset to look at; moves past entries that the filter refused.
    pub(crate) offset: i64,
    pub(crate) max_messages: u32,
    pub(crate) filter: Filter,
    pub(crate) deadline: Instant,
}

/// The waiters of one queue.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    held: Mutex<Vec<HeldPull>>,
    count: AtomicUsize,
    /// Whether the sweep knows this queue.
    swept: AtomicBool,
    /// Whether pops, or those who want to hear of messages, wait for the topic.
    polled: AtomicBool,
}

impl Waiters {
    /// Whether anybody waits. Call after the message is visible: the fence pairs with the one in
    /// [`HeldPulls::hold`], so that either the appender sees the waiter or the waiter the message.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        fence(Ordering::SeqCst);
        self.count.load(Ordering::Relaxed) > 0 || self.polled.load(Ordering::Relaxed)
    }

    /// Says whether pops wait for the topic.
    pub(crate) fn set_polled(&self, polled: bool) {
        self.polled.store(polled, Ordering::SeqCst);
    }

    fn take(&self) -> Vec<HeldPull> {
        let mut held = self.held.lock();
        self.count.store(0, Ordering::Relaxed);
        std::mem::take(&mut held)
    }

    /// Those of one group.
    fn take_of(&self, consumption: &Arc<Consumption>) -> Vec<HeldPull> {
        let mut held = self.held.lock();
        let taken = held
            .extract_if(.., |pull| pull.asker.is_of(consumption))
            .collect();
        self.count.store(held.len(), Ordering::Relaxed);
        taken
    }
}

/// All held pulls.
#[derive(Debug)]
pub(crate) struct HeldPulls {
    puller: Arc<Puller>,
    total: AtomicUsize,
    /// Queues that have, or recently had, waiters; the sweep drops those without.
    queues: Mutex<Vec<Arc<QueueSlot>>>,
    /// There are queues to sweep.
    filled: Notify,
    /// Who pops from the same queues.
    polls: OnceLock<Weak<Polls>>,
}

impl HeldPulls {
    pub(crate) fn new(puller: Arc<Puller>) -> Arc<Self> {
        Arc::new(Self {
            puller,
            total: AtomicUsize::new(0),
            queues: Mutex::default(),
            filled: Notify::new(),
            polls: OnceLock::new(),
        })
    }

    /// Says who pops from the same queues.
    pub(crate) fn set_polls(&self, polls: &Arc<Polls>) {
        // Set once, when the broker is put together.
        let _ = self.polls.set(Arc::downgrade(polls));
    }

    /// Holds a pull until a message for it arrives or its time is over.
    pub(crate) fn hold(self: &Arc<Self>, slot: &Arc<QueueSlot>, pull: HeldPull) {
        if let Some(refused) = self.enlist(slot, pull) {
            // Too many wait already: this one hears at once that there is nothing.
            self.puller
                .answer_held(slot, refused, &mut Corked::default());
            return;
        }
        self.serve_if_behind(slot);
    }

    /// Adds a waiter; gives it back when there are too many.
    fn enlist(&self, slot: &Arc<QueueSlot>, pull: HeldPull) -> Option<HeldPull> {
        if self.total.fetch_add(1, Ordering::Relaxed) >= HELD_MAX {
            self.total.fetch_sub(1, Ordering::Relaxed);
            return Some(pull);
        }
        let waiters = slot.waiters();
        {
            let mut held = waiters.held.lock();
            if held.len() >= HELD_PER_QUEUE_MAX {
                drop(held);
                self.total.fetch_sub(1, Ordering::Relaxed);
                return Some(pull);
            }
            held.push(pull);
            waiters.count.store(held.len(), Ordering::Relaxed);
        }
        if !waiters.swept.swap(true, Ordering::AcqRel) {
            self.queues.lock().push(Arc::clone(slot));
            self.filled.notify_one();
        }
        None
    }

    /// A message may have come between the read that found nothing and the registration.
    fn serve_if_behind(self: &Arc<Self>, slot: &Arc<QueueSlot>) {
        if is_behind(slot) {
            let mut corked = Corked::default();
            self.arrived(slot, &mut corked);
        }
    }

    /// Serves the waiters of a queue that has a new message.
    pub(crate) fn arrived(self: &Arc<Self>, slot: &Arc<QueueSlot>, corked: &mut Corked) {
        let mut waiting = slot.waiters().take();
        self.total.fetch_sub(waiting.len(), Ordering::Relaxed);
        if waiting.len() > SERVED_INLINE {
            let rest = waiting.split_off(SERVED_INLINE);
            let (held_pulls, slot) = (Arc::clone(self), Arc::clone(slot));
            tokio::spawn(async move {
                let mut rest = rest.into_iter();
                while rest.len() > 0 {
                    held_pulls.serve(
                        &slot,
                        rest.by_ref().take(SERVED_INLINE),
                        &mut Corked::default(),
                    );
                    tokio::task::yield_now().await;
                }
            });
        }
        self.serve(slot, waiting.into_iter(), corked);
        if slot.waiters().polled.load(Ordering::Relaxed)
            && let Some(polls) = self.polls.get().and_then(Weak::upgrade)
        {
            polls.arrived(slot, corked);
        }
    }

    fn serve(
        self: &Arc<Self>,
        slot: &Arc<QueueSlot>,
        waiting: impl Iterator<Item = HeldPull>,
        corked: &mut Corked,
    ) {
        let mut again = false;
        for pull in waiting {
            match self.puller.retry(slot, pull, corked) {
                Pulled::Answered => {}
                Pulled::Nothing(pull) => {
                    if let Some(refused) = self.enlist(slot, pull) {
                        self.puller.answer_held(slot, refused, corked);
                    } else {
                        again = true;
                    }
                }
            }
        }
        if again {
            // Registered anew: the same look at the end of the queue is due, but outside this
            // call, which a producer's thread is in; one more message serves them anyway.
            if is_behind(slot) {
                let (held_pulls, slot) = (Arc::clone(self), Arc::clone(slot));
                tokio::spawn(async move { held_pulls.arrived(&slot, &mut Corked::default()) });
            }
        }
    }

    /// Answers what is overdue, forgets what lost its connection. Ends with the task that runs it.
    pub(crate) async fn sweep(self: Arc<Self>) {
        loop {
            let idle = self.queues.lock().is_empty();
            if idle {
                self.filled.notified().await;
            }
            tokio::time::sleep(SWEEP_PERIOD).await;
            let queues = self.queues.lock().clone();
            let now = Instant::now();
            let mut corked = Corked::default();
            for (index, slot) in queues.iter().enumerate() {
                self.answer_overdue(slot, now, &mut corked);
                if index % 256 == 255 {
                    tokio::task::yield_now().await;
                }
            }
            drop(corked);
            self.queues.lock().retain(|slot| {
                let waiters = slot.waiters();
                let held = waiters.held.lock();
                if held.is_empty() {
                    waiters.swept.store(false, Ordering::Release);
                }
                !held.is_empty()
            });
        }
    }

    fn answer_overdue(&self, slot: &Arc<QueueSlot>, now: Instant, corked: &mut Corked) {
        let over =
            |pull: &mut HeldPull| pull.deadline <= now || pull.reply.connection().is_closed();
        let overdue: Vec<HeldPull> = {
            let waiters = slot.waiters();
            let mut held = waiters.held.lock();
            let overdue = held.extract_if(.., over).collect();
            waiters.count.store(held.len(), Ordering::Relaxed);
            overdue
        };
        self.total.fetch_sub(overdue.len(), Ordering::Relaxed);
        for pull in overdue {
            self.puller.answer_held(slot, pull, corked);
        }
    }

    /// Answers every held pull of one queue at once, as if its time were over.
    pub(crate) fn release(&self, slot: &Arc<QueueSlot>) {
        self.answer_now(slot, slot.waiters().take());
    }

    /// Answers the held pulls of one group on a queue, as when its offset is reset: it comes again at
    /// once, and nobody else notices.
    pub(crate) fn release_of(&self, slot: &Arc<QueueSlot>, consumption: &Arc<Consumption>) {
        self.answer_now(slot, slot.waiters().take_of(consumption));
    }

    /// Answers the held pulls of a group, which are known by its counts in each topic, as when it may
    /// consume no longer: it comes again at once, and hears why not.
    pub(crate) fn release_group(&self, counts: &HashMap<Box<str>, Arc<Consumption>>) {
        let queues = self.queues.lock().clone();
        for slot in &queues {
            if let Some(consumption) = counts.get(&**slot.topic()) {
                self.release_of(slot, consumption);
            }
        }
    }

    fn answer_now(&self, slot: &Arc<QueueSlot>, waiting: Vec<HeldPull>) {
        self.total.fetch_sub(waiting.len(), Ordering::Relaxed);
        let mut corked = Corked::default();
        for pull in waiting {
            self.puller.answer_held(slot, pull, &mut corked);
        }
    }

    /// Answers every held pull at once, as when the broker stops.
    pub(crate) fn release_all(&self) {
        let queues = std::mem::take(&mut *self.queues.lock());
        for slot in queues {
            slot.waiters().swept.store(false, Ordering::Release);
            self.release(&slot);
        }
    }
}

/// Whether the queue has, after a registration, what a held pull of it waits for.
fn is_behind(slot: &QueueSlot) -> bool {
    fence(Ordering::SeqCst);
    let end = slot.max_offset();
    let held = slot.waiters().held.lock();
    held.iter().any(|pull| pull.offset != end)
}
