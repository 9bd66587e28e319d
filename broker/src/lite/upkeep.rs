// SPDX-License-Identifier: Apache-2.0
//! What happens to lite topics as time goes by: messages that are out come back, clients fall silent,
//! lite topics expire. Apache: `LiteEventDispatcher`, `AbstractLiteLifecycleManager`.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use aerobee_message::lite as names;
use tokio::time::{sleep, timeout};

use super::{Lite, expiration};

/// A queue without a message is deleted when it was seen so in more scans than these.
const EMPTY_SCANS: u32 = 5;
/// Lite topics that are deleted together: each time the store notes something, and finds no queue meanwhile.
const DELETED_AT_ONCE: usize = 64;
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

    /// Deletes lite topics that have had no message for too long. Ends with the task that runs it.
    pub(crate) async fn run_expiry(self: Arc<Self>) {
        let (least, every) = {
            let keys = &self.switches.config().broker;
            (
                millis(keys.min_lite_ttl),
                millis(keys.lite_ttl_check_interval),
            )
        };
        sleep(least).await;
        let mut empty_scans = HashMap::new();
        loop {
            let lite = Arc::clone(&self);
            let scans = std::mem::take(&mut empty_scans);
            match tokio::task::spawn_blocking(move || lite.expire(&scans)).await {
                Ok(scans) => empty_scans = scans,
                Err(_) => return,
            }
            sleep(every).await;
        }
    }

    /// One scan; `empty` counts how often a queue was seen without a message, and is returned anew.
    fn expire(&self, empty: &HashMap<Arc<str>, u32>) -> HashMap<Arc<str>, u32> {
        let now = self.clock().millis();
        let least = self.switches.config().broker.min_lite_ttl;
        let mut lives: HashMap<String, i64> = HashMap::new();
        let mut still_empty = HashMap::new();
        let mut expired = Vec::new();
        for name in self.store.topics_with_prefix(names::PREFIX) {
            let Some((parent, _)) = names::parse(&name) else {
                continue;
            };
            let life = *lives.entry(parent.to_owned()).or_insert_with(|| {
                let topic = self.topics.find(parent);
                topic.map_or(-1, |topic| i64::from(expiration(&topic)))
            });
            let Some(queue) = self.store.queue(&name, 0) else {
                continue;
            };
            let end = queue.max_offset();
            if end <= 0 {
                let scans = empty.get(&name).copied().unwrap_or(0) + 1;
                if scans > EMPTY_SCANS {
                    expired.push((name, end));
                } else {
                    still_empty.insert(name, scans);
                }
                continue;
            }
            if life <= 0 {
                continue;
            }
            let stored = self.store.store_time_of(&queue, end - 1);
            let age = stored.map_or(i64::MAX, |stored| now - stored);
            if age > least && age > life * 60_000 {
                expired.push((name, end));
            }
        }
        for some in expired.chunks(DELETED_AT_ONCE) {
            self.delete(some);
        }
        still_empty
    }

    /// Deletes lite topics that have got no message since they were seen to end there: their queues, what groups
    /// committed, who subscribes. Messages stay in the log until that is cleaned.
    fn delete(&self, expired: &[(Arc<str>, i64)]) {
        let (gone, removed) = self.store.delete_light_queues(expired);
        if let Err(error) = removed {
            tracing::error!(%error, "the files of expired lite topics cannot be deleted");
        }
        let groups = self.groups.all();
        for queue in gone {
            tracing::info!(queue, "lite topic expired");
            let parent = names::parse(queue).map(|(parent, _)| parent);
            for group in &groups {
                if super::bound_to(group) == parent {
                    self.offsets.delete_topic_of(group.name(), queue);
                    self.orders
                        .remove(&(Arc::from(queue), Arc::clone(group.name())));
                }
            }
            self.registry.lock().drop_queue(queue);
        }
    }
}

fn millis(value: i64) -> Duration {
    Duration::from_millis(u64::try_from(value).unwrap_or(0))
}
