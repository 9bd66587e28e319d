// SPDX-License-Identifier: Apache-2.0
//! How far groups are behind. Apache: `ConsumerLagCalculator`.
//!
//! Apache tells of groups that are online. Here a group that has committed offsets is told of as
//! well: one that went away with messages waiting is what an alert is for.
//!
//! When a message was stored stands in the log, maybe on the disk alone. Times once read are kept
//! while the group stays where it is, and reading takes a bounded time of a scrape; what was not
//! read then is left out of this scrape.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use aerobee_daemon::exposition::Exposition;
use aerobee_message::topic as topics;
use aerobee_remoting::body::heartbeat::ConsumeType;
use parking_lot::Mutex;

use super::{Metrics, flag, is_system, messages::is_retry_or_dead, names};
use crate::{
    pop::handle,
    topics::{QueueSlot, Topic},
};

/// Longest time of a scrape for times of messages.
const READING: Duration = Duration::from_millis(80);

/// A message: topic, queue and offset. Its store time does not change.
type Place = (Arc<str>, i32, i64);

/// Store times that the last scrape needed.
#[derive(Debug, Default)]
pub(crate) struct Times(Mutex<HashMap<Place, i64>>);

/// Reads store times within the time of one scrape.
struct Reader<'m> {
    metrics: &'m Metrics,
    known: HashMap<Place, i64>,
    used: HashMap<Place, i64>,
    deadline: Instant,
}

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
                    ("is_system", flag(is_system(&lag.topic, &lag.group))),
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
                ("is_system", flag(is_system(&topic, &group))),
            ];
            samples.add(&labels, count);
        }
    }

    fn lags(&self) -> Vec<Lag> {
        let mut reader = Reader {
            metrics: self,
            known: std::mem::take(&mut *self.times.0.lock()),
            used: HashMap::new(),
            deadline: Instant::now() + READING,
        };
        let mut groups = self.groups.all();
        groups.sort_unstable_by(|one, other| one.name().cmp(other.name()));
        let mut lags = Vec::new();
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
                };
                reader.measure(&topic, &mut lag);
                lag.is_pop |= lag.in_flight > 0;
                lags.push(lag);
            }
        }
        *self.times.0.lock() = reader.used;
        lags
    }
}

impl Reader<'_> {
    fn measure(&mut self, topic: &Arc<Topic>, lag: &mut Lag) {
        let now = self.metrics.store.clock().millis();
        let offsets = self.metrics.offsets.queues(&lag.group, topic.name());
        let popped = self.metrics.pops.in_flight(&lag.group, topic.name());
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
            lag.age = match (lag.age, self.time_of(&slot, next)) {
                (Some(age), Some(time)) => Some(age.max(now - time)),
                _ => None,
            };
        }
    }

    fn time_of(&mut self, slot: &QueueSlot, offset: i64) -> Option<i64> {
        let place: Place = (Arc::clone(slot.topic()), slot.id(), offset);
        let time = match self.known.get(&place) {
            Some(time) => *time,
            None if Instant::now() > self.deadline => return None,
            None => self.metrics.store.store_time_of(slot.queue()?, offset)?,
        };
        self.used.insert(place, time);
        Some(time)
    }
}
