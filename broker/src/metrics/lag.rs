// SPDX-License-Identifier: Apache-2.0
//! How far groups are behind. Apache: `ConsumerLagCalculator`.
//!
//! Apache tells of groups that are online. Here a group that has committed offsets is told of as
//! well: one that went away with messages waiting is what an alert is for.
//!
//! When a message was stored stands in the log, maybe on the disk alone. Times once read are kept
//! while the group stays where it is, and reading takes a bounded time of a scrape; what was not
//! read then is left out of this scrape, and the next one begins there.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use aerobee_daemon::exposition::Exposition;
use aerobee_message::topic as topics;
use aerobee_remoting::body::heartbeat::ConsumeType;
use parking_lot::Mutex;

use super::{Metrics, flag, messages::is_retry_or_dead, names};
use crate::{
    pop::handle,
    topics::{QueueSlot, Topic},
};

/// Longest time of a scrape for times of messages.
const READING: Duration = Duration::from_millis(80);

/// A message: topic, queue and offset. Its store time does not change.
type Place = (Arc<str>, i32, i64);

/// What the last scrape has read.
#[derive(Debug, Default)]
pub(crate) struct Times(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// Store times that it needed.
    times: HashMap<Place, i64>,
    /// Where, of all that are behind, its time was over.
    next: usize,
}

/// The oldest message of a queue that a group has not consumed, and its queue.
type Waiting<Q> = (Place, Q);

/// One group in one topic, whose retry topic counts apart.
struct Lag {
    group: Arc<str>,
    topic: Arc<str>,
    is_retry: bool,
    is_pop: bool,
    messages: i64,
    in_flight: i64,
    /// Milliseconds since the oldest message that is not consumed was stored; none if it was not
    /// read.
    age: Option<i64>,
    /// Which of those that wait are this group's.
    waiting: Range<usize>,
}

impl Metrics {
    pub(super) fn write_lag(&self, out: &mut Exposition) {
        let lags = self.lags();
        let mut write = |metric, pops_only: bool, value: &dyn Fn(&Lag) -> Option<i64>| {
            let mut samples = out.metric(metric);
            for lag in lags.iter().filter(|lag| lag.is_pop || !pops_only) {
                let Some(value) = value(lag) else {
                    continue;
                };
                let labels = [
                    ("consumer_group", &*lag.group),
                    ("topic", &*lag.topic),
                    ("is_retry", flag(lag.is_retry)),
                    ("is_system", flag(self.is_system(&lag.topic, &lag.group))),
                ];
                samples.add(&labels, value);
            }
        };
        write(&names::LAG_MESSAGES, false, &|lag| {
            Some(lag.messages + lag.in_flight)
        });
        write(&names::LAG_LATENCY, false, &|lag| lag.age);
        write(&names::INFLIGHT_MESSAGES, true, &|lag| Some(lag.in_flight));
        write(&names::QUEUEING_LATENCY, true, &|lag| lag.age);
        write(&names::READY_MESSAGES, true, &|lag| Some(lag.messages));
        let mut samples = out.metric(&names::DEAD_LETTERS);
        for ((group, topic), count) in self.events.dead_letters.read() {
            let labels = [
                ("consumer_group", &*group),
                ("topic", &*topic),
                ("is_system", flag(self.is_system(&topic, &group))),
            ];
            samples.add(&labels, count);
        }
    }

    fn lags(&self) -> Vec<Lag> {
        let mut groups = self.groups.all();
        groups.sort_unstable_by(|one, other| one.name().cmp(other.name()));
        let (mut lags, mut waiting) = (Vec::new(), Vec::new());
        for group in groups {
            let online = self.clients.consumers.group(group.name());
            let mut names: BTreeSet<Box<str>> =
                self.offsets.topics_of(group.name()).into_iter().collect();
            let mut is_pop = false;
            if let Some(online) = online {
                is_pop = online.mode().consume_type == ConsumeType::Pop;
                let wanted = online.subscriptions();
                names.extend(wanted.iter().map(|wanted| wanted.topic().into()));
            }
            for name in names {
                let Some(topic) = self.topics.find(&name) else {
                    continue;
                };
                let origin = handle::normal_topic(&name, group.name());
                let is_retry = origin.len() != name.len();
                let is_hidden = !is_retry && is_retry_or_dead(&name);
                if is_hidden || name.starts_with(topics::LMQ_PREFIX) {
                    continue;
                }
                let mut lag = Lag {
                    group: Arc::clone(group.name()),
                    topic: origin.into(),
                    is_retry,
                    is_pop: is_pop || is_retry,
                    messages: 0,
                    in_flight: 0,
                    age: Some(0),
                    waiting: 0..0,
                };
                self.measure(&topic, &mut lag, &mut waiting);
                lag.is_pop |= lag.in_flight > 0;
                lags.push(lag);
            }
        }
        let mut kept = std::mem::take(&mut *self.times.0.lock());
        let (now, deadline) = (self.store.clock().millis(), Instant::now() + READING);
        let read = |slot: &Arc<QueueSlot>, offset| self.store.store_time_of(slot.queue()?, offset);
        let has_time = || Instant::now() < deadline;
        fill_ages(&mut lags, &waiting, &mut kept, now, read, has_time);
        *self.times.0.lock() = kept;
        lags
    }

    /// Counts what a group has not consumed, and notes what is the oldest of it.
    fn measure(
        &self,
        topic: &Arc<Topic>,
        lag: &mut Lag,
        waiting: &mut Vec<Waiting<Arc<QueueSlot>>>,
    ) {
        let first = waiting.len();
        let offsets = self.offsets.queues(&lag.group, topic.name());
        let popped = self.pops.in_flight(&lag.group, topic.name());
        for id in 0..topic.most_queues() {
            let in_flight = usize::try_from(id).ok().and_then(|id| popped.get(id));
            lag.in_flight += in_flight.copied().unwrap_or(0).max(0);
            // A queue that was never used has no slot, and asking for one would make it.
            let Some(slot) = topic.used_queue(id) else {
                continue;
            };
            // A group that has not committed begins at the end, as far as anybody knows.
            let Some(consumed) = offsets.get(&id) else {
                continue;
            };
            let (min, max) = slot
                .queue()
                .map_or((0, 0), |queue| (queue.min_offset(), queue.max_offset()));
            let next = (*consumed).max(min);
            if next >= max {
                continue;
            }
            lag.messages += max - next;
            waiting.push(((Arc::clone(slot.topic()), id, next), slot));
        }
        lag.waiting = first..waiting.len();
    }
}

/// Fills in how old the oldest messages are: what is known, and what can be read while there is time,
/// from where it was over in the last scrape.
fn fill_ages<Q>(
    lags: &mut [Lag],
    waiting: &[Waiting<Q>],
    kept: &mut Kept,
    now: i64,
    read: impl Fn(&Q, i64) -> Option<i64>,
    mut has_time: impl FnMut() -> bool,
) {
    let known = std::mem::take(&mut kept.times);
    let first = kept.next.min(lags.len());
    let mut stopped = None;
    for at in (first..lags.len()).chain(0..first) {
        let lag = &mut lags[at];
        for (place, queue) in &waiting[lag.waiting.clone()] {
            let time = match known.get(place) {
                Some(time) => Some(*time),
                None if stopped.is_none() && has_time() => read(queue, place.2),
                None => {
                    stopped.get_or_insert(at);
                    None
                }
            };
            if let Some(time) = time {
                kept.times.insert(place.clone(), time);
            }
            lag.age = match (lag.age, time) {
                (Some(age), Some(time)) => Some(age.max(now - time)),
                _ => None,
            };
        }
    }
    kept.next = stopped.unwrap_or(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A group with one queue in which it is behind.
    fn lag(at: usize) -> Lag {
        Lag {
            group: "g".into(),
            topic: "t".into(),
            is_retry: false,
            is_pop: false,
            messages: 1,
            in_flight: 0,
            age: Some(0),
            waiting: at..at + 1,
        }
    }

    #[test]
    fn groups_that_move_are_all_told_of_in_turn() {
        const GROUPS: usize = 10;
        let mut kept = Kept::default();
        let mut told = [0; GROUPS];
        for scrape in 0..5_i64 {
            let place = |at: usize| (Arc::from(format!("t{at}")), 0, scrape);
            let waiting: Vec<Waiting<i64>> = (0..GROUPS).map(|at| (place(at), 1_000)).collect();
            let mut lags: Vec<Lag> = (0..GROUPS).map(lag).collect();
            // There is time for four of them.
            let mut left = 4;
            let has_time = || {
                left -= 1;
                left >= 0
            };
            let read = |start: &i64, offset| Some(start + offset);
            fill_ages(&mut lags, &waiting, &mut kept, 2_000, read, has_time);
            for (count, lag) in told.iter_mut().zip(&lags) {
                *count += usize::from(lag.age == Some(1_000 - scrape));
            }
            assert_eq!(lags.iter().filter(|lag| lag.age.is_some()).count(), 4);
        }
        assert_eq!(told, [2; GROUPS]);
    }

    #[test]
    fn what_was_read_before_takes_no_time() {
        let mut kept = Kept::default();
        for (scrape, expected) in [2, 4, 5, 5].into_iter().enumerate() {
            let waiting: Vec<Waiting<()>> = (0..5).map(|id| (("t".into(), id, 7), ())).collect();
            let mut lags: Vec<Lag> = (0..5).map(lag).collect();
            let mut left = 2;
            let has_time = || {
                left -= 1;
                left >= 0
            };
            fill_ages(&mut lags, &waiting, &mut kept, 9, |(), _| Some(5), has_time);
            let told = lags.iter().filter(|lag| lag.age == Some(4)).count();
            assert_eq!(told, expected, "scrape {scrape}");
        }
    }
}
