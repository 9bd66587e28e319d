// SPDX-License-Identifier: Apache-2.0
//! How much goes through topics and groups, and how fast (code 315). Apache: `BrokerStatsManager`,
//! `StatsItem`.
//!
//! Whoever stores or reads counts in the handle that it has in hand. Every ten seconds all counts are
//! sampled; a span of time is the distance between its first and its last sample.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use aerobee_remoting::body::stats::{BrokerStats, SpanStats};
use aerobee_store::Clock;
use dashmap::DashMap;
use parking_lot::Mutex;

use crate::{config::Switches, groups::Groups, topics::Topics};

/// Time between samples.
const PERIOD: Duration = Duration::from_secs(10);
/// Samples between two looks for groups that read too slowly: three minutes.
const ROUNDS_TO_PROTECT: u64 = 18;
/// The spans: samples between two that are kept, and how many are.
const MINUTE: Span = Span { every: 1, keep: 7 };
const HOUR: Span = Span { every: 60, keep: 7 };
const DAY: Span = Span {
    every: 360,
    keep: 25,
};

/// What is counted of a group in a topic.
#[derive(Debug, Default)]
pub(crate) struct Consumption {
    got: Count,
    got_bytes: Count,
    sent_back: Count,
    acked: Count,
    check_points: Count,
    /// Bytes of the log behind what the last pull has read.
    behind: AtomicI64,
}

impl Consumption {
    /// Messages read, and their bytes.
    pub(crate) fn out(&self) -> (u64, u64) {
        (self.got.read().sum, self.got_bytes.read().sum)
    }

    /// Check points written, and messages acknowledged.
    pub(crate) fn popped(&self) -> (u64, u64) {
        (self.check_points.read().sum, self.acked.read().sum)
    }

    fn readings(&self) -> [(&'static str, Reading); 5] {
        [
            ("GROUP_GET_NUMS", self.got.read()),
            ("GROUP_GET_SIZE", self.got_bytes.read()),
            ("SNDBCK_PUT_NUMS", self.sent_back.read()),
            ("GROUP_ACK_NUMS", self.acked.read()),
            ("GROUP_CK_NUMS", self.check_points.read()),
        ]
    }

    /// So many bytes of the log are behind what a pull has read.
    #[inline]
    pub(crate) fn is_behind(&self, bytes: i64) {
        self.behind.store(bytes, Ordering::Relaxed);
    }

    /// A read has found messages.
    #[inline]
    pub(crate) fn got(&self, messages: u32, bytes: usize) {
        self.got.add(u64::from(messages));
        self.got_bytes.add(bytes as u64);
    }

    #[allow(dead_code, reason = "its users arrive one after the other")]
    /// A message was sent back for another try.
    pub(crate) fn sent_back(&self) {
        self.sent_back.add(1);
    }

    #[allow(dead_code, reason = "its users arrive one after the other")]
    /// Popped messages were acknowledged.
    pub(crate) fn acked(&self, messages: u64) {
        self.acked.add(messages);
    }

    #[allow(dead_code, reason = "its users arrive one after the other")]
    /// A check point of popped messages was kept.
    pub(crate) fn check_point(&self) {
        self.check_points.add(1);
    }
}

/// A number that only grows, and how many steps it grew in.
#[derive(Debug, Default)]
pub(crate) struct Count {
    sum: AtomicU64,
    calls: AtomicU64,
}

impl Count {
    #[inline]
    pub(crate) fn add(&self, by: u64) {
        self.sum.fetch_add(by, Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Reading {
        Reading {
            sum: self.sum.load(Ordering::Relaxed),
            calls: self.calls.load(Ordering::Relaxed),
        }
    }
}

/// What a count said at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) sum: u64,
    pub(crate) calls: u64,
}

impl Reading {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            sum: self.sum + other.sum,
            calls: self.calls + other.calls,
        }
    }
}

#[derive(Clone, Copy)]
struct Span {
    every: u64,
    keep: usize,
}

/// Samples of one count: when, in milliseconds, and what it said.
#[derive(Debug, Default)]
struct Series {
    minute: VecDeque<(i64, Reading)>,
    hour: VecDeque<(i64, Reading)>,
    day: VecDeque<(i64, Reading)>,
}

impl Series {
    fn take(&mut self, tick: u64, at: i64, reading: Reading) {
        for (samples, span) in [
            (&mut self.minute, MINUTE),
            (&mut self.hour, HOUR),
            (&mut self.day, DAY),
        ] {
            if samples.is_empty() || tick.is_multiple_of(span.every) {
                samples.push_back((at, reading));
                if samples.len() > span.keep {
                    samples.pop_front();
                }
            }
        }
    }

    fn stats(&self) -> BrokerStats {
        BrokerStats {
            stats_day: span_of(&self.day),
            stats_hour: span_of(&self.hour),
            stats_minute: span_of(&self.minute),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "rates for people to read")]
fn span_of(samples: &VecDeque<(i64, Reading)>) -> SpanStats {
    let (Some((start, first)), Some((end, last))) = (samples.front(), samples.back()) else {
        return SpanStats::default();
    };
    let sum = last.sum.saturating_sub(first.sum);
    let calls = last.calls.saturating_sub(first.calls);
    let millis = end - start;
    SpanStats {
        avgpt: if calls == 0 {
            0.0
        } else {
            sum as f64 / calls as f64
        },
        sum: i64::try_from(sum).unwrap_or(i64::MAX),
        // One sample says nothing of the speed; Java shows null then.
        tps: if millis <= 0 {
            0.0
        } else {
            sum as f64 * 1000.0 / millis as f64
        },
    }
}

/// The counts of a group.
type ByTopic = HashMap<Box<str>, Arc<Consumption>>;

/// All counts of a broker.
#[derive(Debug)]
pub(crate) struct Stats {
    cluster: String,
    clock: Clock,
    topics: Arc<Topics>,
    groups: Arc<Groups>,
    /// Group, then topic.
    consumption: DashMap<Box<str>, Mutex<ByTopic>>,
    sampled: Mutex<Sampled>,
}

#[derive(Debug, Default)]
struct Sampled {
    ticks: u64,
    /// By kind, then by key.
    series: BTreeMap<&'static str, HashMap<Box<str>, Series>>,
}

impl Stats {
    pub(crate) fn new(
        cluster: &str,
        clock: Clock,
        topics: &Arc<Topics>,
        groups: &Arc<Groups>,
    ) -> Arc<Self> {
        Arc::new(Self {
            cluster: cluster.to_owned(),
            clock,
            topics: Arc::clone(topics),
            groups: Arc::clone(groups),
            consumption: DashMap::new(),
            sampled: Mutex::default(),
        })
    }

    /// The counts of a group in a topic.
    #[inline]
    pub(crate) fn of(&self, group: &str, topic: &str) -> Arc<Consumption> {
        if let Some(topics) = self.consumption.get(group)
            && let Some(known) = topics.lock().get(topic)
        {
            return Arc::clone(known);
        }
        let topics = self.consumption.entry(group.into()).or_default();
        let mut topics = topics.lock();
        Arc::clone(topics.entry(topic.into()).or_default())
    }

    /// The counts of a group in each topic that it ever had something of.
    pub(crate) fn of_group(&self, group: &str) -> HashMap<Box<str>, Arc<Consumption>> {
        let topics = self.consumption.get(group);
        topics
            .map(|topics| topics.lock().clone())
            .unwrap_or_default()
    }

    /// Samples all counts, and disables groups that read too slowly if they shall be. Ends with the
    /// task that runs it.
    pub(crate) async fn run(self: Arc<Self>, switches: Arc<Switches>) {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut rounds = 0_u64;
        loop {
            ticks.tick().await;
            self.sample();
            rounds += 1;
            let config = switches.config();
            let broker = &config.broker;
            if rounds.is_multiple_of(ROUNDS_TO_PROTECT)
                && broker.disable_consume_if_consumer_read_slowly
            {
                self.disable_slow(broker.consumer_fallbehind_threshold);
            }
        }
    }

    /// Disables groups that are so many bytes behind: reading from the disk all the time they hold
    /// up the others. An operator enables them again. Apache: `BrokerController.protectBroker`.
    fn disable_slow(&self, most: i64) {
        for (name, topic, counts) in self.consumptions() {
            let behind = counts.behind.load(Ordering::Relaxed);
            let group = self.groups.find(&name);
            let Some(group) = group.filter(|group| behind > most && group.consume_enable()) else {
                continue;
            };
            let mut config = group.config().clone();
            config.consume_enable = false;
            config.attributes.clear();
            match self.groups.update(config) {
                Ok(_) => {
                    tracing::warn!(group = %name, %topic, behind, most, "group disabled, as it consumes too slowly: enable it with updateSubGroup");
                }
                Err(error) => {
                    tracing::warn!(group = %name, %error, "a slow group cannot be disabled");
                }
            }
        }
    }

    fn sample(&self) {
        self.forget_deleted();
        let now = self.clock.millis();
        let counts = self.read();
        let mut sampled = self.sampled.lock();
        let tick = sampled.ticks;
        sampled.ticks += 1;
        for (kind, readings) in counts {
            let known = sampled.series.entry(kind).or_default();
            known.retain(|key, _| readings.contains_key(key));
            for (key, reading) in readings {
                known.entry(key).or_default().take(tick, now, reading);
            }
        }
    }

    /// What the counts say now, of those that were ever used.
    fn read(&self) -> BTreeMap<&'static str, HashMap<Box<str>, Reading>> {
        let mut counts: BTreeMap<&'static str, HashMap<Box<str>, Reading>> = BTreeMap::new();
        let mut put = |kind: &'static str, key: Box<str>, reading: Reading| {
            if reading.calls > 0 {
                counts.entry(kind).or_default().insert(key, reading);
            }
        };
        let mut all_put = Reading::default();
        for topic in self.topics.all() {
            let (messages, bytes) = topic.put_counts();
            put("TOPIC_PUT_NUMS", topic.name().as_ref().into(), messages);
            put("TOPIC_PUT_SIZE", topic.name().as_ref().into(), bytes);
            all_put = all_put.plus(messages);
        }
        let (mut all_got, mut all_acked) = (Reading::default(), Reading::default());
        for group in &self.consumption {
            for (topic, counts) in group.value().lock().iter() {
                for (kind, reading) in counts.readings() {
                    put(kind, format!("{topic}@{}", group.key()).into(), reading);
                }
                all_got = all_got.plus(counts.got.read());
                all_acked = all_acked.plus(counts.acked.read());
            }
        }
        for (kind, reading) in [
            ("BROKER_PUT_NUMS", all_put),
            ("BROKER_GET_NUMS", all_got),
            ("BROKER_ACK_NUMS", all_acked),
        ] {
            put(kind, self.cluster.as_str().into(), reading);
        }
        counts
    }

    /// All that groups got and did: group, topic and counts. Takes each lock for a moment only.
    pub(crate) fn consumptions(&self) -> Vec<(Box<str>, Box<str>, Arc<Consumption>)> {
        let groups: Vec<Box<str>> = self
            .consumption
            .iter()
            .map(|group| group.key().clone())
            .collect();
        let mut all = Vec::with_capacity(groups.len());
        for group in groups {
            let Some(topics) = self.consumption.get(&group) else {
                continue;
            };
            let topics = topics.lock();
            let counts = topics.iter();
            all.extend(
                counts.map(|(topic, counts)| (group.clone(), topic.clone(), Arc::clone(counts))),
            );
        }
        all
    }

    /// Counts of topics and groups that are gone.
    fn forget_deleted(&self) {
        self.consumption.retain(|group, topics| {
            if self.groups.find(group).is_none() {
                return false;
            }
            let topics = topics.get_mut();
            topics.retain(|topic, _| self.topics.find(topic).is_some());
            !topics.is_empty()
        });
    }

    /// The counts of a kind; nothing where nothing was ever counted.
    pub(crate) fn view(&self, kind: &str, key: &str) -> Option<BrokerStats> {
        if let Some(series) = self.sampled.lock().series.get(kind)
            && let Some(series) = series.get(key)
        {
            return Some(series.stats());
        }
        // Counted for the first time since the last sample.
        self.is_counted(kind, key).then(BrokerStats::default)
    }

    /// Whether anything was counted of one key: tools ask for each topic, so others are not read.
    fn is_counted(&self, kind: &str, key: &str) -> bool {
        match kind {
            "TOPIC_PUT_NUMS" | "TOPIC_PUT_SIZE" => {
                let topic = self.topics.find(key);
                topic.is_some_and(|topic| topic.put_counts().0.calls > 0)
            }
            "BROKER_PUT_NUMS" | "BROKER_GET_NUMS" | "BROKER_ACK_NUMS" => {
                key == self.cluster && self.read().contains_key(kind)
            }
            _ => key.split_once('@').is_some_and(|(topic, group)| {
                let topics = self.consumption.get(group);
                let counts = topics.and_then(|topics| topics.lock().get(topic).cloned());
                counts.is_some_and(|counts| {
                    let of_kind =
                        |(known, reading): (&str, Reading)| known == kind && reading.calls > 0;
                    counts.readings().into_iter().any(of_kind)
                })
            }),
        }
    }

    /// Messages a second that go into a topic, over the last minute.
    pub(crate) fn put_rate(&self, topic: &str) -> f64 {
        self.minute_rate("TOPIC_PUT_NUMS", topic)
    }

    /// Messages a second that a group reads from a topic, over the last minute.
    pub(crate) fn get_rate(&self, group: &str, topic: &str) -> f64 {
        self.minute_rate("GROUP_GET_NUMS", &format!("{topic}@{group}"))
    }

    fn minute_rate(&self, kind: &str, key: &str) -> f64 {
        let sampled = self.sampled.lock();
        let series = sampled.series.get(kind).and_then(|keys| keys.get(key));
        series.map_or(0.0, |series| span_of(&series.minute).tps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(sum: u64, calls: u64) -> Reading {
        Reading { sum, calls }
    }

    #[test]
    fn spans_go_from_their_first_to_their_last_sample() {
        let mut series = Series::default();
        // Ten messages in two calls every ten seconds.
        for tick in 0..800 {
            series.take(
                tick,
                tick.cast_signed() * 10_000,
                reading(tick * 10, tick * 2),
            );
        }
        let stats = series.stats();
        let expected = |sum| SpanStats {
            avgpt: 5.0,
            sum,
            tps: 1.0,
        };
        assert_eq!(stats.stats_minute, expected(60));
        assert_eq!(stats.stats_hour, expected(3_600));
        assert_eq!(stats.stats_day, expected(7_200));
        assert_eq!(
            (series.minute.len(), series.hour.len(), series.day.len()),
            (7, 7, 3)
        );
    }

    #[tokio::test]
    async fn a_group_that_is_too_far_behind_is_disabled_and_the_others_go_on() {
        let directory = tempfile::tempdir().unwrap();
        let config = aerobee_store::Config::new(directory.path());
        let store = aerobee_store::Store::open(config, aerobee_store::Env::real()).unwrap();
        let file = |name: &str| directory.path().join(name);
        let topics = Topics::open(&file("topics.json"), &store, Vec::new()).unwrap();
        let groups = Groups::open(&file("groups.json")).unwrap();
        let stats = Stats::new("c", store.clock().clone(), &topics, &groups);
        for (group, behind) in [("slow", 101), ("quick", 100)] {
            groups.find_or_create(group).unwrap();
            stats.of(group, "t").is_behind(behind);
        }
        stats.disable_slow(100);
        let enabled = |group: &str| groups.find(group).unwrap().consume_enable();
        assert!(!enabled("slow"));
        assert!(enabled("quick"));
    }

    #[test]
    fn one_sample_has_no_speed() {
        let mut series = Series::default();
        series.take(0, 5, reading(3, 1));
        assert_eq!(series.stats(), BrokerStats::default());
    }
}
