// SPDX-License-Identifier: Apache-2.0
//! How much was put into a queue since the start, by size.
//!
//! Counting is on the path of every message: an ordinary small one touches three numbers. What is
//! rarer (large messages, ordered ones) has its numbers elsewhere, made when they are first needed.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

use crate::stats::Reading;

/// Ends of the spans of sizes, bytes, as in Apache's `rocketmq_message_size`.
pub(crate) const SIZES: [u64; 6] = [1 << 10, 4 << 10, 512 << 10, 1 << 20, 2 << 20, 4 << 20];
/// The same as text.
pub(crate) const SIZE_BOUNDS: [&str; 6] = [
    "1024.0",
    "4096.0",
    "524288.0",
    "1048576.0",
    "2097152.0",
    "4194304.0",
];

/// Counts of one kind of messages in one queue.
#[derive(Debug, Default)]
struct Counts {
    messages: AtomicU64,
    calls: AtomicU64,
    bytes: AtomicU64,
    /// Messages larger than the first span, by span.
    larger: OnceLock<Box<[AtomicU64; SIZES.len()]>>,
}

impl Counts {
    #[inline]
    fn add(&self, messages: u64, bytes: u64) {
        self.messages.fetch_add(messages, Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let each = bytes / messages.max(1);
        if each > SIZES[0] {
            self.add_larger(messages, each);
        }
    }

    fn add_larger(&self, messages: u64, each: u64) {
        let span = SIZES[1..].iter().position(|end| each <= *end);
        let span = span.unwrap_or(SIZES.len() - 1);
        self.larger.get_or_init(Box::default)[span].fetch_add(messages, Ordering::Relaxed);
    }

    fn read_into(&self, put: &mut Put) {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let messages = load(&self.messages);
        put.messages += messages;
        put.calls += load(&self.calls);
        put.bytes += load(&self.bytes);
        let mut small = messages;
        if let Some(larger) = self.larger.get() {
            for (span, count) in larger.iter().enumerate() {
                let count = load(count);
                put.by_size[span + 1] += count;
                small = small.saturating_sub(count);
            }
        }
        put.by_size[0] += small;
    }
}

/// What was put into one queue.
#[derive(Debug, Default)]
pub(crate) struct PutCounts {
    plain: Counts,
    /// Messages with a sharding key.
    ordered: OnceLock<Box<Counts>>,
}

impl PutCounts {
    /// So many messages were stored, which take so many bytes of the log.
    #[inline]
    pub(crate) fn add(&self, messages: usize, bytes: u64) {
        self.plain.add(messages as u64, bytes);
    }

    /// As [`PutCounts::add`], of messages with a sharding key.
    pub(crate) fn add_ordered(&self, messages: usize, bytes: u64) {
        self.ordered
            .get_or_init(Box::default)
            .add(messages as u64, bytes);
    }

    /// Adds what the counts say now.
    pub(crate) fn read_into(&self, plain: &mut Put, ordered: &mut Put) {
        self.plain.read_into(plain);
        if let Some(counts) = self.ordered.get() {
            counts.read_into(ordered);
        }
    }
}

/// What was put into some queues.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Put {
    pub(crate) messages: u64,
    pub(crate) calls: u64,
    pub(crate) bytes: u64,
    /// Messages by the spans of [`SIZES`], and above the last.
    pub(crate) by_size: [u64; SIZES.len() + 1],
}

impl Put {
    /// Messages, and how many requests they came with.
    pub(crate) fn messages(&self) -> Reading {
        Reading {
            sum: self.messages,
            calls: self.calls,
        }
    }

    /// Bytes, likewise.
    pub(crate) fn bytes(&self) -> Reading {
        Reading {
            sum: self.bytes,
            calls: self.calls,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_by_size_and_kind() {
        let counts = PutCounts::default();
        counts.add(1, 100);
        counts.add(4, 400);
        counts.add(1, 1 << 10);
        counts.add(1, (1 << 10) + 1);
        counts.add(2, 6 << 20);
        counts.add(1, 5 << 20);
        counts.add_ordered(1, 200);
        let (mut plain, mut ordered) = (Put::default(), Put::default());
        counts.read_into(&mut plain, &mut ordered);
        assert_eq!((plain.messages, plain.calls), (10, 6));
        assert_eq!(plain.by_size, [6, 1, 0, 0, 0, 2, 1]);
        assert_eq!(ordered.messages(), Reading { sum: 1, calls: 1 });
        assert_eq!(ordered.bytes(), Reading { sum: 200, calls: 1 });
    }
}
