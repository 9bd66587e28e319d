// SPDX-License-Identifier: Apache-2.0
//! An open loop: when each message ought to leave, whatever the server does.

use std::time::{Duration, Instant};

/// Messages at a fixed rate from a start on. The latency of a message counts from its time here, so
/// a server that stalls is charged for the messages that had to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    start: Instant,
    per_second: u64,
}

const NANOS: u128 = 1_000_000_000;

impl Schedule {
    /// `per_second` messages from `start` on; at least one.
    pub(crate) fn new(start: Instant, per_second: u64) -> Self {
        Self {
            start,
            per_second: per_second.max(1),
        }
    }

    /// When message `index`, counted from 0, ought to leave.
    pub(crate) fn intended(&self, index: u64) -> Instant {
        let nanos = u128::from(index) * NANOS / u128::from(self.per_second);
        self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How many messages ought to have left at `now`.
    pub(crate) fn due(&self, now: Instant) -> u64 {
        let Some(passed) = now.checked_duration_since(self.start) else {
            return 0;
        };
        let whole = passed.as_nanos() * u128::from(self.per_second) / NANOS;
        u64::try_from(whole).unwrap_or(u64::MAX).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_leave_evenly() {
        let start = Instant::now();
        let schedule = Schedule::new(start, 4);
        assert_eq!(schedule.intended(0), start);
        assert_eq!(schedule.intended(3), start + Duration::from_millis(750));
        assert_eq!(schedule.intended(4_000), start + Duration::from_secs(1000));
    }

    #[test]
    fn what_is_due_has_its_time_behind_it() {
        let start = Instant::now() + Duration::from_secs(1);
        for rate in [1, 3, 7, 1_000, 95_001, 1_000_003] {
            let schedule = Schedule::new(start, rate);
            assert_eq!(schedule.due(start - Duration::from_nanos(1)), 0);
            assert_eq!(schedule.due(start), 1);
            let now = start + Duration::from_nanos(123_456_789);
            let due = schedule.due(now);
            assert!(schedule.intended(due - 1) <= now);
            assert!(schedule.intended(due + 1) > now);
        }
    }
}
