// SPDX-License-Identifier: Apache-2.0
//! Latencies and their percentiles.

use std::{fmt, time::Duration};

use hdrhistogram::Histogram;
use serde_json::json;

/// Longest latency told apart; longer ones count as this.
const MAX: Duration = Duration::from_secs(120);

/// A histogram of durations with three significant digits, from 1 ns to 120 s.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, MAX.as_nanos() as u64, 3);
        Self(histogram.expect("the bounds are constants that the histogram allows"))
    }
}

/// The percentiles printed, with their names.
const PERCENTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("max", 1.0),
];

impl Latencies {
    /// Counts one latency.
    pub(crate) fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.0.saturating_record(nanos.max(1));
    }

    /// Adds all of `other`.
    pub(crate) fn add(&mut self, other: &Self) {
        self.0
            .add(&other.0)
            .expect("both histograms have the same bounds");
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that the share `quantile` (0 to 1) of all did not exceed; zero without any.
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(quantile))
    }

    /// Percentiles in microseconds by name.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let micros = |quantile| micros(self.quantile(quantile));
        PERCENTILES
            .iter()
            .map(|(name, quantile)| ((*name).to_owned(), json!(micros(*quantile))))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

/// Microseconds with their fraction.
pub(crate) fn micros(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e3
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, quantile)) in PERCENTILES.iter().enumerate() {
            let gap = if at == 0 { "" } else { "  " };
            write!(f, "{gap}{name} {}", Short(self.quantile(*quantile)))?;
        }
        Ok(())
    }
}

/// A duration in the unit that suits it.
pub(crate) struct Short(pub(crate) Duration);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = micros(self.0);
        match micros {
            ..1e3 => write!(f, "{micros:.0} µs"),
            ..1e6 => write!(f, "{:.2} ms", micros / 1e3),
            _ => write!(f, "{:.2} s", micros / 1e6),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_known_set() {
        let mut latencies = Latencies::default();
        for millis in 1..=1000 {
            latencies.record(Duration::from_millis(millis));
        }
        let near = |quantile, millis: f64| {
            let found = latencies.quantile(quantile).as_secs_f64() * 1e3;
            assert!((found / millis - 1.0).abs() < 0.002, "{found} for {millis}");
        };
        near(0.5, 500.0);
        near(0.99, 990.0);
        near(1.0, 1000.0);
    }

    #[test]
    fn extremes_are_kept_in_bounds() {
        let mut latencies = Latencies::default();
        latencies.record(Duration::ZERO);
        latencies.record(Duration::from_secs(3600));
        let mut sum = Latencies::default();
        sum.add(&latencies);
        assert_eq!(sum.count(), 2);
        assert!(sum.quantile(1.0) >= Duration::from_secs(119));
    }
}
