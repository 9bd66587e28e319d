// SPDX-License-Identifier: Apache-2.0
//! What happens to lite topics as time goes by: messages that are out come back, clients fall silent.
//! Apache: `LiteEventDispatcher`.

use std::{
    cmp::Reverse,
    sync::Arc,
    time::{Duration, Instant},
};

use aerobee_message::lite as names;
use tokio::time::{sleep, timeout};

use super::Lite;

/// Wakes at most so often: what is due meanwhile is done together.
const STEP: Duration = Duration::from_millis(20);
/// Longest sleep while anything is registered.
const IDLE: Duration = Duration::from_secs(3600);

impl Lite {
    /// Does what is due. Ends with the task that runs it.
    pub(crate) async fn run(self: Arc<Self>) {
        let (check, silence) = {
            let keys = &self.switches.config().broker;
            (
                millis(keys.lite_event_check_interval),
                millis(keys.lite_subscription_check_interval),
            )
        };
        let mut stuck_at = Instant::now() + check;
        let mut silent_at = Instant::now() + silence;
        loop {
            let nap = self.until_due(stuck_at.min(silent_at));
            let _ = timeout(nap, self.earlier.notified()).await;
            sleep(STEP).await;
            let now = Instant::now();
            self.release(Some(now));
            self.fire_timers();
            self.walk(now);
            if now >= stuck_at {
                stuck_at = now + check;
                self.redistribute(now);
            }
            if now >= silent_at {
                silent_at = now + silence;
                self.forget_silent(now);
            }
        }
    }

    /// How long there is nothing to do.
    fn until_due(&self, scan: Instant) -> Duration {
        let now = Instant::now();
        let timer = self.timers.lock().peek().map(|Reverse((at, _))| *at);
        let timer = timer.map(|at| millis(at - self.clock().millis()));
        let until = |at: Option<Instant>| at.map(|at| at.saturating_duration_since(now));
        let (walk, is_empty) = {
            let registry = self.registry.lock();
            (registry.next_walk(), registry.clients() == 0)
        };
        let scan = (!is_empty).then_some(scan);
        [timer, until(self.next_deadline()), until(walk), until(scan)]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(IDLE)
    }

    /// Offers the queues whose messages are back.
    fn fire_timers(self: &Arc<Self>) {
        let now = self.clock().millis();
        let mut due = Vec::new();
        {
            let mut timers = self.timers.lock();
            while timers.peek().is_some_and(|Reverse((at, _))| *at <= now) {
                if let Some(Reverse((at, line))) = timers.pop() {
                    due.push((at, line));
                }
            }
        }
        for (at, line) in due {
            let Some(order) = self.orders.get(&line).map(|order| Arc::clone(&order)) else {
                continue;
            };
            let mut order = order.lock();
            // A later timer has taken over.
            if order.timer_at != Some(at) {
                continue;
            }
            order.timer_at = None;
            if order.is_idle() {
                continue;
            }
            if order.is_blocked(None, now) {
                self.set_timer(&mut order, &line.0, &line.1);
                continue;
            }
            drop(order);
            if let Some((parent, _)) = names::parse(&line.0) {
                self.offer(&line.0, parent, Some(&line.1));
            }
        }
    }

    /// Looks at all that clients subscribe to whose lines were full.
    fn walk(self: &Arc<Self>, now: Instant) {
        let due = self.registry.lock().due(now, self.walk_delay());
        for client in due {
            self.walk_client(&client);
        }
    }

    fn walk_client(self: &Arc<Self>, client: &str) {
        let known = {
            let registry = self.registry.lock();
            registry.client(client).map(|client| {
                let queues: Vec<Arc<str>> = client.queues.iter().cloned().collect();
                let (group, parent) = (Arc::clone(&client.group), Arc::clone(&client.parent));
                (group, parent, client.wildcard, queues)
            })
        };
        let Some((group, parent, wildcard, queues)) = known else {
            return;
        };
        let queues = if wildcard {
            self.queues_below(&parent)
        } else {
            queues
        };
        for queue in queues {
            if !self.is_behind(&queue, &group) {
                continue;
            }
            let later = self.walk_delay();
            let accepted =
                self.registry
                    .lock()
                    .offer(&queue, &parent, Some(&group), later, Instant::now());
            if accepted.is_empty() {
                // The line is full again, and a later walk is set.
                return;
            }
            for client in accepted {
                self.wake(&client);
            }
        }
    }

    fn is_behind(&self, queue: &str, group: &str) -> bool {
        let end = self.end_of(queue);
        end > 0 && self.offsets.query(group, queue, 0).unwrap_or(-1) < end
    }

    /// Queues of the lite topics below a parent.
    pub(crate) fn queues_below(&self, parent: &str) -> Vec<Arc<str>> {
        let prefix = names::queue_of(parent, "");
        self.store.topics_with_prefix(&prefix)
    }

    /// Clients that do not poll lose their events to others.
    fn redistribute(self: &Arc<Self>, now: Instant) {
        let taken = self.registry.lock().take_from_stuck(now);
        for (queue, group) in taken {
            if let Some((parent, _)) = names::parse(&queue) {
                self.offer(&queue, parent, Some(&group));
            }
        }
        self.orders.retain(|_, order| {
            // Somebody who holds it is about to use it.
            Arc::strong_count(order) > 1 || !order.lock().is_idle()
        });
    }

    fn forget_silent(self: &Arc<Self>, now: Instant) {
        let patience = self
            .switches
            .config()
            .broker
            .lite_subscription_check_timeout_mills;
        let Some(then) = now.checked_sub(millis(patience)) else {
            return;
        };
        let silent = self.registry.lock().silent_since(then);
        for client in silent {
            self.forget(&client);
        }
    }
}

pub(super) fn millis(value: i64) -> Duration {
    Duration::from_millis(u64::try_from(value).unwrap_or(0))
}
