// SPDX-License-Identifier: Apache-2.0
//! Waiting pops and notifications. Whoever finds nothing waits on its topic, under its group and the
//! queue that it asked for; a message in one of the queues serves one pop of each group, and that
//! one the next when it leaves messages behind. Deadlines are kept by one task that sleeps until the
//! next of them.
//!
//! Apache: `PopLongPollingService`, which looks for deadlines every 20 ms.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering, fence},
    },
    time::Duration,
};

use aerobee_remoting::{Corked, Deferred, header::pop::NotificationReply};
use aerobee_store::Access;
use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::Notify, time::timeout};

use crate::{
    pop::{
        Pops,
        read::{Popped, Wanted},
    },
    processor::pop::answer,
    topics::{QueueSlot, Topic},
};

/// Answers leave so long before the client's time is over, ms.
pub(crate) const MARGIN: i64 = 50;
/// Deadlines that lie closer together are looked at together, ms.
const GRAIN: i64 = 20;
/// Longest sleep between two looks, ms; clocks may be set.
const SLEEP_MAX: i64 = 1_000;
/// Pops that one message serves on the thread that stored it; the rest are served by a task.
const SERVED_INLINE: usize = 16;
/// How often a pop is tried again on the spot because something came while it was put aside.
const ROUNDS: usize = 8;

/// What somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Messages.
    Pop,
    /// To hear that there are messages.
    Notification,
}

/// Somebody who waits.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) reply: Deferred,
    pub(crate) wanted: Wanted,
    pub(crate) purpose: Purpose,
    /// Until when, by the clock of the store.
    pub(crate) deadline: i64,
    /// When a queue that was blocked is free.
    pub(crate) again: Option<i64>,
}

/// Why somebody may not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Too many wait already.
    Full,
    /// The time is over.
    Late,
}

/// Those who asked for one queue, or for any.
#[derive(Debug, Default)]
struct Line {
    pops: VecDeque<Held>,
    notifications: VecDeque<Held>,
}

#[derive(Debug, Default)]
struct State {
    lines: HashMap<Arc<str>, HashMap<i32, Line>>,
    count: usize,
    /// The topic whose queues know that somebody waits, and how many of them.
    marked: Option<(Arc<Topic>, i32)>,
}

/// Those who wait for a topic.
#[derive(Debug, Default)]
struct TopicPolls {
    state: Mutex<State>,
}

/// All who wait.
pub(crate) struct Polls {
    pops: Arc<Pops>,
    topics: DashMap<Arc<str>, Arc<TopicPolls>>,
    total: AtomicUsize,
    stopped: AtomicBool,
    /// When the task looks next.
    next: AtomicI64,
    earlier: Notify,
    runtime: Handle,
}

impl Polls {
    /// Needs a running runtime.
    pub(crate) fn new(pops: Arc<Pops>) -> Arc<Self> {
        let polls = Arc::new(Self {
            pops,
            topics: DashMap::new(),
            total: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            next: AtomicI64::new(i64::MAX),
            earlier: Notify::new(),
            runtime: Handle::current(),
        });
        polls.pops.set_polls(&polls);
        polls
    }

    /// The end of a wait, by the broker's clock; the client's clock may be another.
    pub(crate) fn deadline(born: i64, poll: i64, now: i64) -> i64 {
        let left = born.saturating_add(poll).saturating_sub(now);
        now.saturating_add(left.min(poll)).saturating_sub(MARGIN)
    }

    /// Puts somebody aside until something comes or the time is over.
    pub(crate) fn hold(self: &Arc<Self>, held: Held, corked: &mut Corked) {
        let mut held = held;
        for _ in 0..ROUNDS {
            let (topic, group) = (
                Arc::clone(&held.wanted.topic),
                Arc::clone(&held.wanted.group),
            );
            let probe = Held::probe(&held);
            let queue_id = held.wanted.queue_id;
            if let Some((held, refused)) = self.enlist(held) {
                return self.refuse(held, refused, corked);
            }
            // What came between the read and the enlisting has served nobody.
            fence(Ordering::SeqCst);
            if !probe.is_ready(&self.pops) {
                return;
            }
            let Some(taken) = self.take(topic.name(), &group, queue_id, probe.purpose) else {
                return;
            };
            match self.try_again(taken, Access::HotOnly, corked) {
                Some(again) => held = again,
                None => return,
            }
        }
        if let Some((held, refused)) = self.enlist(held) {
            self.refuse(held, refused, corked);
        }
    }

    fn refuse(&self, held: Held, refused: Refused, corked: &mut Corked) {
        let reply = corked.attach(held.reply);
        match held.purpose {
            Purpose::Pop => answer::nothing(refused, &held.wanted, self.pops.now(), reply),
            Purpose::Notification => reply.header(&NotificationReply {
                has_msg: false,
                polling_full: refused == Refused::Full,
            }),
        }
    }

    /// Adds somebody; gives back who may not wait.
    fn enlist(&self, held: Held) -> Option<(Held, Refused)> {
        let (most, most_of_line) = {
            let config = self.pops.parts().switches.config();
            (
                config.pop.max_pop_polling_size.unsigned_abs() as usize,
                config.pop.pop_polling_size.unsigned_abs() as usize,
            )
        };
        if self.stopped.load(Ordering::Acquire) || held.deadline <= self.pops.now() {
            return Some((held, Refused::Late));
        }
        if self.total.load(Ordering::Relaxed) >= most {
            return Some((held, Refused::Full));
        }
        let wakes = held.again.unwrap_or(i64::MAX).min(held.deadline);
        let polls = self.topic(held.wanted.topic.name());
        {
            let mut state = polls.state.lock();
            let topic = Arc::clone(&held.wanted.topic);
            let lines = state
                .lines
                .entry(Arc::clone(&held.wanted.group))
                .or_default();
            let line = lines.entry(held.wanted.queue_id).or_default();
            let waiting = line.of(held.purpose);
            if waiting.len() > most_of_line {
                return Some((held, Refused::Full));
            }
            waiting.push_back(held);
            state.count += 1;
            state.mark(&topic);
            // Before anybody can take it: the total never lacks one that waits.
            self.total.fetch_add(1, Ordering::Relaxed);
        }
        if wakes < self.next.load(Ordering::SeqCst) {
            self.earlier.notify_one();
        }
        None
    }

    fn topic(&self, name: &Arc<str>) -> Arc<TopicPolls> {
        if let Some(polls) = self.topics.get(name) {
            return Arc::clone(&polls);
        }
        Arc::clone(&self.topics.entry(Arc::clone(name)).or_default())
    }

    /// Takes one who waits for the queue.
    fn take(&self, topic: &str, group: &str, queue_id: i32, purpose: Purpose) -> Option<Held> {
        let polls = Arc::clone(&*self.topics.get(topic)?);
        let mut state = polls.state.lock();
        let held = state.take(group, queue_id, purpose)?;
        self.total.fetch_sub(1, Ordering::Relaxed);
        Some(held)
    }

    /// Pops that wait under a queue id.
    pub(crate) fn count(&self, topic: &str, group: &str, queue_id: i32) -> usize {
        let Some(polls) = self.topics.get(topic).map(|polls| Arc::clone(&polls)) else {
            return 0;
        };
        let state = polls.state.lock();
        let line = state
            .lines
            .get(group)
            .and_then(|lines| lines.get(&queue_id));
        line.map_or(0, |line| line.pops.len())
    }

    /// A queue of a topic has new messages: serves one pop of each group, and all who want to hear.
    pub(crate) fn arrived(self: &Arc<Self>, slot: &QueueSlot, corked: &mut Corked) {
        let Some(polls) = self
            .topics
            .get(slot.topic())
            .map(|polls| Arc::clone(&polls))
        else {
            return;
        };
        let mut woken = polls.state.lock().take_for(slot.id());
        self.total.fetch_sub(woken.len(), Ordering::Relaxed);
        if woken.len() > SERVED_INLINE {
            let rest = woken.split_off(SERVED_INLINE);
            let polls = Arc::clone(self);
            self.runtime.spawn(async move {
                let mut corked = Corked::default();
                for held in rest {
                    polls.serve(held, Access::HotOnly, &mut corked);
                }
            });
        }
        for held in woken {
            self.serve(held, Access::HotOnly, corked);
        }
    }

    /// Serves one pop of a group that waits for the queue or for any, and all of it who want to hear;
    /// −1 for whoever waits.
    pub(crate) fn wake(self: &Arc<Self>, topic: &str, group: &str, queue_id: i32) {
        let Some(polls) = self.topics.get(topic).map(|polls| Arc::clone(&polls)) else {
            return;
        };
        let woken = polls.state.lock().take_of(group, queue_id);
        if woken.is_empty() {
            return;
        }
        self.total.fetch_sub(woken.len(), Ordering::Relaxed);
        // Not on this thread, which may hold what they need.
        let polls = Arc::clone(self);
        self.runtime.spawn(async move {
            let mut corked = Corked::default();
            for held in woken {
                polls.serve(held, Access::HotOnly, &mut corked);
            }
        });
    }

    /// Tries again; who finds nothing waits on.
    pub(crate) fn serve(self: &Arc<Self>, held: Held, access: Access, corked: &mut Corked) {
        if let Some(again) = self.try_again(held, access, corked) {
            self.hold(again, corked);
        }
    }

    /// Tries again; gives back who finds nothing.
    fn try_again(
        self: &Arc<Self>,
        mut held: Held,
        access: Access,
        corked: &mut Corked,
    ) -> Option<Held> {
        if held.reply.connection().is_closed() {
            held.reply.discard();
            return None;
        }
        if held.purpose == Purpose::Notification {
            if !self.pops.has_messages(&held.wanted) {
                return Some(held);
            }
            corked.attach(held.reply).header(&NotificationReply {
                has_msg: true,
                polling_full: false,
            });
            return None;
        }
        let popped = self.pops.pop(&held.wanted, access);
        if popped.messages == 0 && popped.error.is_none() {
            if popped.cold {
                self.serve_later(held);
                return None;
            }
            held.again = popped.blocked_until;
            return Some(held);
        }
        let Held { reply, wanted, .. } = held;
        answer::popped(&popped, &wanted, corked.attach(reply));
        self.pass_on(&popped, &wanted);
        None
    }

    /// Serves on a thread that may wait for the disk.
    pub(crate) fn serve_later(self: &Arc<Self>, held: Held) {
        let polls = Arc::clone(self);
        let store = Arc::clone(&self.pops.parts().store);
        let refused = store.read_later(Box::new(move |_| {
            polls.serve(held, Access::Any, &mut Corked::default());
        }));
        if refused.is_err() {
            // The dropped job has answered SYSTEM_ERROR: clients pop again after a pause.
            tracing::debug!("too many cold reads are waiting");
        }
    }

    /// Messages were left behind: the next one may have them.
    pub(crate) fn pass_on(self: &Arc<Self>, popped: &Popped, wanted: &Wanted) {
        if popped.messages > 0 && popped.rest > 0 {
            self.wake(wanted.topic.name(), &wanted.group, wanted.queue_id);
        }
    }

    /// Answers those whose time is over. Ends with the task that runs it.
    pub(crate) async fn sweep(self: Arc<Self>) {
        loop {
            let now = self.pops.now();
            self.next.store(i64::MAX, Ordering::SeqCst);
            let next = self.answer_overdue(now).max(now + GRAIN);
            self.next.store(next, Ordering::SeqCst);
            let wait = (next - now).clamp(GRAIN, SLEEP_MAX).unsigned_abs();
            // By what was seen, not by the total: whoever came later than the look has found no time noted that is
            // earlier than its own, and wakes this task.
            if next == i64::MAX {
                self.earlier.notified().await;
            } else {
                // Elapsed is the common case.
                let _ = timeout(Duration::from_millis(wait), self.earlier.notified()).await;
            }
        }
    }

    /// When the next has to be looked at.
    fn answer_overdue(self: &Arc<Self>, now: i64) -> i64 {
        let mut next = i64::MAX;
        let all: Vec<_> = self
            .topics
            .iter()
            .map(|polls| Arc::clone(polls.value()))
            .collect();
        let mut corked = Corked::default();
        for polls in all {
            let overdue = polls.state.lock().take_overdue(now, &mut next);
            self.total.fetch_sub(overdue.len(), Ordering::Relaxed);
            for mut held in overdue {
                if held.reply.connection().is_closed() {
                    held.reply.discard();
                } else if held.deadline > now {
                    held.again = None;
                    self.serve(held, Access::HotOnly, &mut corked);
                } else {
                    self.refuse(held, Refused::Late, &mut corked);
                }
            }
        }
        self.topics
            .retain(|_, polls| Arc::strong_count(polls) > 1 || !polls.state.lock().is_done());
        next
    }

    /// Answers those of one group, as when it may consume no longer: they come again at once, and hear
    /// why not.
    pub(crate) fn release_group(&self, group: &str) {
        let all: Vec<_> = self
            .topics
            .iter()
            .map(|polls| Arc::clone(polls.value()))
            .collect();
        for polls in all {
            self.answer_now(polls.state.lock().take_group(group));
        }
    }

    /// The same for all that wait on a topic.
    pub(crate) fn release_topic(&self, topic: &str) {
        let Some(polls) = self.topics.get(topic).map(|polls| Arc::clone(&polls)) else {
            return;
        };
        let mut next = i64::MAX;
        let all = polls.state.lock().take_overdue(i64::MAX, &mut next);
        self.answer_now(all);
    }

    fn answer_now(&self, waiting: Vec<Held>) {
        self.total.fetch_sub(waiting.len(), Ordering::Relaxed);
        let mut corked = Corked::default();
        for held in waiting {
            self.refuse(held, Refused::Late, &mut corked);
        }
    }

    /// Answers everybody, and lets nobody wait any more.
    pub(crate) fn release_all(&self) {
        self.stopped.store(true, Ordering::Release);
        let mut corked = Corked::default();
        for polls in &self.topics {
            let mut next = i64::MAX;
            let all = polls.state.lock().take_overdue(i64::MAX, &mut next);
            for held in all {
                self.refuse(held, Refused::Late, &mut corked);
            }
        }
    }
}

/// What is needed to look whether there is something for somebody.
struct Probe {
    wanted: Wanted,
    purpose: Purpose,
}

impl Held {
    fn probe(held: &Self) -> Probe {
        Probe {
            wanted: held.wanted.clone(),
            purpose: held.purpose,
        }
    }
}

impl Probe {
    fn is_ready(&self, pops: &Pops) -> bool {
        if self.purpose == Purpose::Notification || self.wanted.order {
            pops.has_messages(&self.wanted)
        } else {
            pops.is_ahead(&self.wanted)
        }
    }
}

impl Line {
    fn of(&mut self, purpose: Purpose) -> &mut VecDeque<Held> {
        match purpose {
            Purpose::Pop => &mut self.pops,
            Purpose::Notification => &mut self.notifications,
        }
    }

    /// The first pop whose client is still there.
    fn next_pop(&mut self, taken: &mut Vec<Held>) -> bool {
        while let Some(held) = self.pops.pop_front() {
            let lives = !held.reply.connection().is_closed();
            taken.push(held);
            if lives {
                return true;
            }
        }
        false
    }
}

impl State {
    /// Tells the queues that somebody waits, or that nobody does any more.
    fn mark(&mut self, topic: &Arc<Topic>) {
        if self.count == 0 {
            if let Some((topic, queues)) = self.marked.take() {
                set_polled(&topic, queues, false);
            }
            return;
        }
        let queues = topic.read_queues().max(topic.write_queues());
        let known = self
            .marked
            .as_ref()
            .is_some_and(|(known, count)| Arc::ptr_eq(known, topic) && *count >= queues);
        if !known {
            set_polled(topic, queues, true);
            self.marked = Some((Arc::clone(topic), queues));
        }
    }

    fn taken(&mut self, count: usize) {
        self.count -= count;
        if let Some((topic, _)) = self.marked.as_ref().filter(|_| self.count == 0) {
            let topic = Arc::clone(topic);
            self.mark(&topic);
        }
    }

    fn take(&mut self, group: &str, queue_id: i32, purpose: Purpose) -> Option<Held> {
        let line = self.lines.get_mut(group)?.get_mut(&queue_id)?;
        let held = line.of(purpose).pop_back()?;
        self.taken(1);
        Some(held)
    }

    fn take_for(&mut self, queue_id: i32) -> Vec<Held> {
        let mut taken = Vec::new();
        for lines in self.lines.values_mut() {
            for id in [-1, queue_id] {
                if let Some(line) = lines.get_mut(&id) {
                    line.next_pop(&mut taken);
                    taken.extend(line.notifications.drain(..));
                }
            }
        }
        self.taken(taken.len());
        taken
    }

    fn take_of(&mut self, group: &str, queue_id: i32) -> Vec<Held> {
        let mut taken = Vec::new();
        if let Some(lines) = self.lines.get_mut(group) {
            let mut served = false;
            for (id, line) in lines.iter_mut() {
                if queue_id < 0 || *id < 0 || *id == queue_id {
                    served = served || line.next_pop(&mut taken);
                    taken.extend(line.notifications.drain(..));
                }
            }
        }
        self.taken(taken.len());
        taken
    }

    fn take_group(&mut self, group: &str) -> Vec<Held> {
        let lines = self.lines.remove(group).unwrap_or_default();
        let taken: Vec<Held> = lines
            .into_values()
            .flat_map(|line| line.pops.into_iter().chain(line.notifications))
            .collect();
        self.taken(taken.len());
        taken
    }

    fn take_overdue(&mut self, now: i64, next: &mut i64) -> Vec<Held> {
        let mut overdue = Vec::new();
        for lines in self.lines.values_mut() {
            for line in lines.values_mut() {
                for waiting in [&mut line.pops, &mut line.notifications] {
                    take_overdue(waiting, now, next, &mut overdue);
                }
            }
            lines.retain(|_, line| !line.pops.is_empty() || !line.notifications.is_empty());
        }
        self.lines.retain(|_, lines| !lines.is_empty());
        self.taken(overdue.len());
        overdue
    }

    fn is_done(&self) -> bool {
        self.count == 0
    }
}

fn take_overdue(waiting: &mut VecDeque<Held>, now: i64, next: &mut i64, overdue: &mut Vec<Held>) {
    let mut kept = VecDeque::with_capacity(0);
    let is_over = |held: &Held| {
        held.deadline <= now
            || held.again.is_some_and(|again| again <= now)
            || held.reply.connection().is_closed()
    };
    if waiting.iter().any(is_over) {
        for held in waiting.drain(..) {
            if is_over(&held) {
                overdue.push(held);
            } else {
                kept.push_back(held);
            }
        }
        *waiting = kept;
    }
    for held in waiting.iter() {
        let wakes = held.again.unwrap_or(i64::MAX).min(held.deadline);
        *next = wakes.min(*next);
    }
}

fn set_polled(topic: &Topic, queues: i32, polled: bool) {
    for id in 0..queues {
        if let Some(slot) = topic.queue(id) {
            slot.waiters().set_polled(polled);
        }
    }
}
