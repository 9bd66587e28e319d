// SPDX-License-Identifier: Apache-2.0
//! How long something takes, told as Apache tells it: the longest, the shares of spans, percentiles.
//! Apache: `StoreStatsService`.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Ends of the spans, milliseconds, and their names.
const SPANS: [(u64, &str); 13] = [
    (1, "<=0ms"),
    (10, "0~10ms"),
    (50, "10~50ms"),
    (100, "50~100ms"),
    (200, "100~200ms"),
    (500, "200~500ms"),
    (1_000, "500ms~1s"),
    (2_000, "1~2s"),
    (3_000, "2~3s"),
    (4_000, "3~4s"),
    (5_000, "4~5s"),
    (10_000, "5~10s"),
    (u64::MAX, "10s~"),
];
/// Fine buckets for percentiles: four to each power of two of microseconds.
const FINE: usize = 128;

/// Counts of durations.
#[derive(Debug)]
pub(crate) struct Latencies {
    spans: [AtomicU64; SPANS.len()],
    fine: [AtomicU64; FINE],
    longest_millis: AtomicU64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            spans: [const { AtomicU64::new(0) }; SPANS.len()],
            fine: [const { AtomicU64::new(0) }; FINE],
            longest_millis: AtomicU64::new(0),
        }
    }
}

impl Latencies {
    /// Something took so long, so many times.
    #[inline]
    pub(crate) fn record(&self, took: Duration, times: u64) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let millis = micros / 1_000;
        let span = SPANS.iter().position(|(end, _)| millis < *end);
        self.spans[span.unwrap_or(SPANS.len() - 1)].fetch_add(times, Ordering::Relaxed);
        self.fine[fine_of(micros)].fetch_add(times, Ordering::Relaxed);
        if millis > self.longest_millis.load(Ordering::Relaxed) {
            self.longest_millis.fetch_max(millis, Ordering::Relaxed);
        }
    }

    /// The longest since the start, milliseconds.
    pub(crate) fn longest_millis(&self) -> u64 {
        self.longest_millis.load(Ordering::Relaxed)
    }

    /// What was recorded since this was last called.
    pub(crate) fn take(&self) -> Taken {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        let mut distribution = String::new();
        for ((_, name), count) in SPANS.iter().zip(&self.spans) {
            // Writing into a string cannot fail.
            let _ = write!(distribution, "[{name}]:{} ", take(count));
        }
        let fine: Vec<u64> = self.fine.iter().map(take).collect();
        Taken {
            distribution,
            p99_millis: percentile(&fine, 0.99),
            p999_millis: percentile(&fine, 0.999),
        }
    }
}

/// What was recorded in a minute.
#[derive(Debug, Clone, Default)]
pub(crate) struct Taken {
    /// How often each span was met, as text.
    pub(crate) distribution: String,
    pub(crate) p99_millis: f64,
    pub(crate) p999_millis: f64,
}

fn fine_of(micros: u64) -> usize {
    if micros < 4 {
        return usize::try_from(micros).unwrap_or(0);
    }
    let power = micros.ilog2();
    let quarter = (micros >> (power - 2)) & 3;
    let at = u64::from(power - 1) * 4 + quarter;
    usize::try_from(at).unwrap_or(FINE).min(FINE - 1)
}

/// End of a fine bucket, microseconds.
fn end_of(fine: usize) -> u64 {
    if fine < 4 {
        return fine as u64 + 1;
    }
    let power = fine / 4 + 1;
    (4 + fine as u64 % 4 + 1) << (power - 2)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a figure for people to read"
)]
fn percentile(fine: &[u64], share: f64) -> f64 {
    let total: u64 = fine.iter().sum();
    let wanted = (total as f64 * share).ceil() as u64;
    let mut counted = 0;
    for (at, count) in fine.iter().enumerate() {
        counted += count;
        if counted >= wanted && wanted > 0 {
            return end_of(at) as f64 / 1_000.0;
        }
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_apaches_spans() {
        let latencies = Latencies::default();
        for millis in [0, 5, 5, 70, 12_000] {
            latencies.record(Duration::from_millis(millis), 1);
        }
        assert_eq!(latencies.longest_millis(), 12_000);
        let text = latencies.take().distribution;
        for part in ["[<=0ms]:1 ", "[0~10ms]:2 ", "[50~100ms]:1 ", "[10s~]:1 "] {
            assert!(text.contains(part), "{text}");
        }
        assert!(latencies.take().distribution.starts_with("[<=0ms]:0 "));
    }

    #[test]
    fn percentiles_are_near() {
        let latencies = Latencies::default();
        latencies.record(Duration::from_micros(100), 990);
        latencies.record(Duration::from_millis(8), 10);
        let taken = latencies.take();
        assert!((0.1..0.13).contains(&taken.p99_millis), "{taken:?}");
        assert!((8.0..10.3).contains(&taken.p999_millis), "{taken:?}");
        for micros in [0, 1, 3, 4, 5, 7, 8, 100, 1_000_000] {
            let at = fine_of(micros);
            assert!(
                end_of(at) > micros && (at == 0 || end_of(at - 1) <= micros),
                "{micros}"
            );
        }
    }
}
