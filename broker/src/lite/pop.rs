// SPDX-License-Identifier: Apache-2.0
//! Popping from lite topics (code 200070), acknowledging, and pops that wait. Apache:
//! `PopLiteMessageProcessor`, `PopLiteLongPollingService`.

use std::{
    collections::HashSet,
    fmt::Write as _,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use aerobee_remoting::{Deferred, Reply, ResponseCode, header::lite::PopLiteReply};
use aerobee_store::{Access, Queue, Read, ReadLimits, ReadStatus};
use smallvec::SmallVec;

use super::{
    Ask, HELD_MAX, HELD_PER_CLIENT_MAX, Held, Lite,
    order::{Acked, Order},
};

/// Stands for a revive queue in handles: lite topics have none.
pub(crate) const REVIVE_QUEUE: i32 = 999;

/// What a pop has found.
#[derive(Debug, Default)]
struct Popped {
    reads: Vec<Read>,
    messages: u32,
    /// The same for all of them, as acknowledgements name it.
    pop_time: i64,
    /// For each message how often it was handed out before.
    counts: String,
}

/// What a pop comes to.
enum Outcome {
    Found(Popped),
    Nothing,
    /// Messages have to be read from the disk; the event is in line again.
    Cold,
}

/// What became of one queue.
enum Looked {
    Done,
    Cold,
}

impl Lite {
    /// Answers a pop, at once or when something comes.
    pub(crate) fn pop(self: &Arc<Self>, ask: Ask, poll_time: i64, reply: Reply<'_>) {
        match self.look(&ask, Access::HotOnly) {
            Outcome::Found(popped) => self.answer(&ask, &popped, reply),
            Outcome::Cold => self.pop_later(ask, poll_time, reply.defer()),
            Outcome::Nothing => self.wait(ask, poll_time, reply.defer()),
        }
    }

    /// The same on a thread that may wait for the disk.
    fn pop_later(self: &Arc<Self>, ask: Ask, poll_time: i64, reply: Deferred) {
        let lite = Arc::clone(self);
        tokio::task::spawn_blocking(move || match lite.look(&ask, Access::Any) {
            Outcome::Found(popped) => lite.answer(&ask, &popped, reply),
            Outcome::Nothing | Outcome::Cold => lite.wait(ask, poll_time, reply),
        });
    }

    /// Holds a pop until there is something for its client.
    fn wait(self: &Arc<Self>, ask: Ask, poll_time: i64, reply: Deferred) {
        if poll_time <= 0 {
            return self.nothing(&ask, ResponseCode::POLLING_TIMEOUT, reply);
        }
        let client = Arc::clone(&ask.client);
        let deadline = Instant::now() + Duration::from_millis(poll_time.unsigned_abs());
        {
            let mut held = self.held.lock();
            let of_client = held.entry(Arc::clone(&client)).or_default();
            if of_client.len() < HELD_PER_CLIENT_MAX
                && self.waiting.load(Ordering::Relaxed) < HELD_MAX
            {
                of_client.push_back(Held {
                    ask,
                    reply: reply.hold(),
                    deadline,
                });
                self.waiting.fetch_add(1, Ordering::Relaxed);
            } else {
                drop(held);
                return self.nothing(&ask, ResponseCode::POLLING_FULL, reply);
            }
        }
        self.earlier.notify_one();
        // An event may have come between the look and the wait.
        let has_event = self.registry.lock().has_event(&client);
        if has_event {
            self.wake(&client);
        }
    }

    /// Serves the pop of a client that waits longest.
    pub(super) fn wake(self: &Arc<Self>, client: &str) {
        let Some(held) = self.take_held(client) else {
            return;
        };
        if held.reply.connection().is_closed() {
            held.reply.discard();
            return self.wake(client);
        }
        match self.look(&held.ask, Access::HotOnly) {
            Outcome::Found(popped) => self.answer(&held.ask, &popped, held.reply),
            outcome => {
                let left = held.deadline.saturating_duration_since(Instant::now());
                let left = i64::try_from(left.as_millis()).unwrap_or(i64::MAX);
                match outcome {
                    Outcome::Cold => self.pop_later(held.ask, left, held.reply),
                    _ => self.wait(held.ask, left, held.reply),
                }
            }
        }
    }

    fn take_held(&self, client: &str) -> Option<Held> {
        let mut held = self.held.lock();
        let of_client = held.get_mut(client)?;
        let first = of_client.pop_front();
        if of_client.is_empty() {
            held.remove(client);
        }
        if first.is_some() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        first
    }

    /// Answers the pops whose time is up, all of them when the broker stops.
    pub(super) fn release(&self, now: Option<Instant>) {
        let mut over = Vec::new();
        self.held.lock().retain(|_, of_client| {
            let is_over = |held: &mut Held| {
                now.is_none_or(|now| held.deadline <= now) || held.reply.connection().is_closed()
            };
            let before = over.len();
            let mut left = std::collections::VecDeque::with_capacity(of_client.len());
            for mut held in of_client.drain(..) {
                if is_over(&mut held) {
                    over.push(held);
                } else {
                    left.push_back(held);
                }
            }
            *of_client = left;
            self.waiting
                .fetch_sub(over.len() - before, Ordering::Relaxed);
            !of_client.is_empty()
        });
        for held in over {
            if held.reply.connection().is_closed() {
                held.reply.discard();
            } else {
                self.nothing(&held.ask, ResponseCode::POLLING_TIMEOUT, held.reply);
            }
        }
    }

    /// Answers every pop that waits, as when the broker stops.
    pub(crate) fn release_all(&self) {
        self.release(None);
    }

    /// When the first pop's time is up.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let held = self.held.lock();
        let deadlines = held.values().flatten().map(|held| held.deadline);
        deadlines.min()
    }

    fn nothing(&self, ask: &Ask, code: ResponseCode, reply: Deferred) {
        let header = PopLiteReply {
            pop_time: self.clock().millis(),
            invisible_time: ask.invisible_time,
            revive_qid: REVIVE_QUEUE,
            order_count_info: Some(""),
        };
        reply.respond(code, "NO_MESSAGE_IN_QUEUE", &header, &[]);
    }

    fn answer(&self, ask: &Ask, popped: &Popped, reply: Reply<'_>) {
        let header = PopLiteReply {
            pop_time: popped.pop_time,
            invisible_time: ask.invisible_time,
            revive_qid: REVIVE_QUEUE,
            order_count_info: Some(&popped.counts),
        };
        let body: SmallVec<[&[u8]; 8]> = popped
            .reads
            .iter()
            .flat_map(|read| &read.runs)
            .map(|run| run.as_slice())
            .collect();
        reply.respond(ResponseCode::SUCCESS, "FOUND", &header, &body);
    }

    /// Takes the client's events, one after the other, until there are enough messages.
    fn look(self: &Arc<Self>, ask: &Ask, access: Access) -> Outcome {
        let mut popped = Popped {
            pop_time: self.clock().millis(),
            ..Popped::default()
        };
        let mut seen: HashSet<Arc<str>> = HashSet::new();
        while popped.messages < ask.max_messages {
            let event = self.registry.lock().take(&ask.client, Instant::now());
            let Some(queue) = event else {
                break;
            };
            if !seen.insert(Arc::clone(&queue)) {
                // New since it was looked at: for the next request.
                self.registry.lock().put_back(&ask.client, queue);
                break;
            }
            if let Looked::Cold = self.look_at(&queue, ask, access, &mut popped) {
                self.registry.lock().put_back(&ask.client, queue);
                if popped.messages == 0 {
                    return Outcome::Cold;
                }
                break;
            }
        }
        // What did not fit the line comes as soon as there is room again.
        if self.registry.lock().hurry(&ask.client, Instant::now()) {
            self.earlier.notify_one();
        }
        if popped.messages == 0 {
            Outcome::Nothing
        } else {
            Outcome::Found(popped)
        }
    }

    fn look_at(&self, name: &Arc<str>, ask: &Ask, access: Access, popped: &mut Popped) -> Looked {
        let Some(queue) = self.store.queue(name, 0) else {
            return Looked::Done;
        };
        let order = self.order(name, &ask.group);
        // Held while the queue is read: another pop of the group passes the queue by.
        let Some(mut order) = order.try_lock() else {
            return Looked::Done;
        };
        let now = self.clock().millis();
        if order.is_blocked(ask.attempt.as_deref(), now) {
            self.set_timer(&mut order, name, &ask.group);
            return Looked::Done;
        }
        let mut offset = self.begin(&queue, name, ask, &mut order);
        for again in [false, true] {
            let limits = ReadLimits {
                max_messages: ask.max_messages - popped.messages,
                max_bytes: usize::MAX,
            };
            let read = self
                .store
                .read(&queue, offset, limits, access, |_: i64| true);
            match read.status {
                ReadStatus::Cold => return Looked::Cold,
                ReadStatus::Found => {
                    self.found(read, offset, name, ask, &mut order, popped);
                    return Looked::Done;
                }
                _ if again || read.next == offset => break,
                _ => {
                    offset = read.next;
                    self.offsets.commit(&ask.group, name, 0, offset);
                }
            }
        }
        Looked::Done
    }

    /// Where the group goes on in a queue.
    fn begin(&self, queue: &Queue, name: &str, ask: &Ask, order: &mut Order) -> i64 {
        if let Some(offset) = self.offsets.take_reset(&ask.group, name, 0) {
            order.clear();
            return offset;
        }
        if let Some(offset) = self.offsets.query(&ask.group, name, 0) {
            return offset;
        }
        let from_start = queue.min_offset() <= 0 && self.store.is_in_memory(queue, 0);
        let offset = if from_start {
            0
        } else {
            (queue.max_offset() - 1).max(0)
        };
        self.offsets.commit(&ask.group, name, 0, offset);
        offset
    }

    fn found(
        &self,
        read: Read,
        from: i64,
        name: &Arc<str>,
        ask: &Ask,
        order: &mut Order,
        popped: &mut Popped,
    ) {
        // Entries follow each other without a gap; what was passed over was damaged or gone.
        let skipped = (read.next - from - i64::from(read.messages)).max(0);
        let first = from + skipped;
        let offsets: Vec<i64> = (first..first + i64::from(read.messages)).collect();
        let attempt = ask.attempt.as_deref();
        let counts = order.popped(&offsets, attempt, popped.pop_time, ask.invisible_time);
        for (offset, count) in offsets.iter().zip(counts) {
            if !popped.counts.is_empty() {
                popped.counts.push(';');
            }
            if count == 0 {
                popped.counts.push('0');
            } else {
                // Writing into a string cannot fail.
                let _ = write!(popped.counts, "0 qo0%{offset} {count}");
            }
        }
        self.set_timer(order, name, &ask.group);
        popped.messages += read.messages;
        popped.reads.push(read);
    }
    /// A message of a lite topic is done; what the group has of the queue is looked at again when
    /// nothing is out any more.
    pub(crate) fn ack(
        self: &Arc<Self>,
        queue: &str,
        parent: &str,
        group: &str,
        (offset, pop_time): (i64, i64),
    ) -> Acked {
        let Some(order) = self.known_order(queue, group) else {
            return Acked::Unknown;
        };
        let mut order = order.lock();
        let acked = order.ack(offset, pop_time);
        if let Acked::Next(next) = acked
            && !self.offsets.has_reset(group, queue, 0)
        {
            self.offsets.commit(group, queue, 0, next);
        }
        let is_free = !order.is_blocked(None, self.clock().millis());
        drop(order);
        if is_free && matches!(acked, Acked::Next(_)) {
            self.offer(queue, parent, Some(group));
        }
        acked
    }
    /// Changes when a message of a lite topic comes back; with `suspend` the whole batch, as if it
    /// had not been handed out.
    pub(crate) fn change_invisible(
        &self,
        queue: &str,
        group: &str,
        (offset, pop_time): (i64, i64),
        invisible_time: i64,
        suspend: bool,
    ) -> i64 {
        let visible_at = self.clock().millis().saturating_add(invisible_time);
        let line: super::Line = (queue.into(), group.into());
        let known = self.orders.get(&line).map(|order| Arc::clone(&order));
        if let Some(order) = known {
            let mut order = order.lock();
            if suspend {
                order.suspend(pop_time, visible_at);
            } else {
                order.change(offset, pop_time, visible_at);
            }
            order.timer_at = None;
            self.set_timer(&mut order, &line.0, &line.1);
        }
        visible_at
    }
}
