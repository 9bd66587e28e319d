// SPDX-License-Identifier: Apache-2.0
//! Counts of what happens to some messages only: transactions that end, dead letters, timers,
//! retries after a pop; and how long operators waited for their topics and groups. The counts of
//! every message stand in its queue (`put_counts.rs`) and its group (`stats.rs`).

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;

/// Most names (or pairs of them) of one count; names come from clients.
const NAMES_MAX: usize = 100_000;

type Names = (Box<str>, Box<str>);

/// A count for each of some names.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<HashMap<Names, u64>>);

impl Tally {
    /// Counts some for a topic.
    pub(crate) fn topic(&self, topic: &str, more: u64) {
        self.add("", topic, more);
    }

    /// Counts one for a group in a topic.
    pub(crate) fn pair(&self, group: &str, topic: &str) {
        self.add(group, topic, 1);
    }

    fn add(&self, group: &str, topic: &str, more: u64) {
        let mut counts = self.0.lock();
        let names: Names = (group.into(), topic.into());
        if let Some(count) = counts.get_mut(&names) {
            *count += more;
        } else if counts.len() < NAMES_MAX {
            counts.insert(names, more);
        }
    }

    /// Group, topic and count of each.
    pub(crate) fn read(&self) -> Vec<(Names, u64)> {
        let counts = self.0.lock();
        let mut all: Vec<_> = counts
            .iter()
            .map(|(names, n)| (names.clone(), *n))
            .collect();
        drop(counts);
        all.sort_unstable();
        all
    }

    /// Forgets the topics for which `is_gone` says so.
    fn forget(&self, is_gone: &impl Fn(&str) -> bool) {
        self.0.lock().retain(|(_, topic), _| !is_gone(topic));
    }
}

/// Sizes by span, for each of some names. `N` is the number of bounds.
#[derive(Debug)]
pub(crate) struct Spread<const N: usize> {
    bounds: [u64; N],
    counts: Mutex<HashMap<Names, Sizes<N>>>,
}

/// What one name has in each span, and above.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes<const N: usize> {
    pub(crate) by_span: [u64; N],
    pub(crate) above: u64,
    pub(crate) sum: u64,
}

impl<const N: usize> Spread<N> {
    pub(crate) fn new(bounds: [u64; N]) -> Self {
        Self {
            bounds,
            counts: Mutex::default(),
        }
    }

    /// Records a size.
    pub(crate) fn record(&self, first: &str, second: &str, size: u64) {
        let span = self.bounds.iter().position(|end| size <= *end);
        let mut counts = self.counts.lock();
        let names: Names = (first.into(), second.into());
        if counts.len() >= NAMES_MAX && !counts.contains_key(&names) {
            return;
        }
        let empty = Sizes {
            by_span: [0; N],
            above: 0,
            sum: 0,
        };
        let sizes = counts.entry(names).or_insert(empty);
        match span {
            Some(span) => sizes.by_span[span] += 1,
            None => sizes.above += 1,
        }
        sizes.sum = sizes.sum.saturating_add(size);
    }

    /// The bounds as text.
    pub(crate) fn bounds(&self) -> [String; N] {
        self.bounds.map(|end| format!("{end}.0"))
    }

    /// The names and their sizes.
    pub(crate) fn read(&self) -> Vec<(Names, Sizes<N>)> {
        let counts = self.counts.lock();
        let mut all: Vec<_> = counts
            .iter()
            .map(|(names, n)| (names.clone(), *n))
            .collect();
        drop(counts);
        all.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        all
    }

    fn forget(&self, is_gone: &impl Fn(&str) -> bool) {
        self.counts.lock().retain(|(_, topic), _| !is_gone(topic));
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Events {
    /// Transactions, by topic.
    pub(crate) committed: Tally,
    pub(crate) rolled_back: Tally,
    /// Seconds from birth to commit, by topic.
    pub(crate) commit_age: Spread<6>,
    /// Dead letters, by group and topic.
    pub(crate) dead_letters: Tally,
    /// Timer messages sorted in and delivered, by topic.
    pub(crate) timers_in: Tally,
    pub(crate) timers_out: Tally,
    /// Seconds that timer messages are to wait, by topic.
    pub(crate) delay: Spread<6>,
    /// Messages put into retry topics after a pop, by group and topic.
    pub(crate) revived: Tally,
    /// Milliseconds to create or change a topic or group, by outcome and whether it is the system's.
    pub(crate) topic_changes: Spread<5>,
    pub(crate) group_changes: Spread<5>,
}

const MINUTE: u64 = 60;
const HOUR: u64 = 3_600;

impl Default for Events {
    fn default() -> Self {
        let changes = [10, 100, 1_000, 3_000, 5_000];
        Self {
            committed: Tally::default(),
            rolled_back: Tally::default(),
            commit_age: Spread::new([5, MINUTE, 10 * MINUTE, HOUR, 12 * HOUR, 24 * HOUR]),
            dead_letters: Tally::default(),
            timers_in: Tally::default(),
            timers_out: Tally::default(),
            delay: Spread::new([MINUTE, 10 * MINUTE, HOUR, 12 * HOUR, 24 * HOUR, 72 * HOUR]),
            revived: Tally::default(),
            topic_changes: Spread::new(changes),
            group_changes: Spread::new(changes),
        }
    }
}

impl Events {
    /// A transaction was committed, born at that time.
    pub(crate) fn commit(&self, topic: &str, born: i64, now: i64) {
        self.committed.topic(topic, 1);
        let seconds = now.saturating_sub(born).max(0).unsigned_abs() / 1_000;
        self.commit_age.record("", topic, seconds);
    }

    /// A timer message was sorted in, to be delivered so many milliseconds after its birth.
    pub(crate) fn timer(&self, topic: &str, delay: i64) {
        self.timers_in.topic(topic, 1);
        self.delay
            .record("", topic, delay.max(0).unsigned_abs() / 1_000);
    }

    /// Somebody waited so long for topics to be made or changed.
    pub(crate) fn topic_changed(&self, succeeded: bool, is_system: bool, took: Duration) {
        record(&self.topic_changes, succeeded, is_system, took);
    }

    /// Likewise for groups.
    pub(crate) fn group_changed(&self, succeeded: bool, is_system: bool, took: Duration) {
        record(&self.group_changes, succeeded, is_system, took);
    }

    /// Forgets the topics that are gone.
    pub(crate) fn forget(&self, is_gone: impl Fn(&str) -> bool) {
        for tally in [
            &self.committed,
            &self.rolled_back,
            &self.dead_letters,
            &self.timers_in,
            &self.timers_out,
            &self.revived,
        ] {
            tally.forget(&is_gone);
        }
        self.commit_age.forget(&is_gone);
        self.delay.forget(&is_gone);
    }
}

fn record(spread: &Spread<5>, succeeded: bool, is_system: bool, took: Duration) {
    let outcome = if succeeded { "success" } else { "failure" };
    let is_system = if is_system { "true" } else { "false" };
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    spread.record(outcome, is_system, millis);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_by_name_and_forgotten_with_their_topics() {
        let events = Events::default();
        events.commit("orders", 1_000, 8_000);
        events.commit("orders", 1_000, 2_000);
        events.dead_letters.pair("g", "orders");
        events.dead_letters.pair("g", "gone");
        let names = |first: &str, second: &str| (first.into(), second.into());
        assert_eq!(events.committed.read(), [(names("", "orders"), 2)]);
        let ages = events.commit_age.read();
        assert_eq!(ages[0].1.by_span, [1, 1, 0, 0, 0, 0]);
        assert_eq!((ages[0].1.sum, ages[0].1.above), (8, 0));
        events.forget(|topic| topic == "gone");
        assert_eq!(events.dead_letters.read(), [(names("g", "orders"), 1)]);
    }
}
