// SPDX-License-Identifier: Apache-2.0
//! What waits in the wheel, counted when somebody asks: by topic, and by how soon it is due. Apache:
//! `TimerMetrics`, gauges `rocketmq_timing_messages` and `rocketmq_timer_message_snapshot`.
//!
//! Wheel and counts belong to the timer's thread, which counts between two of its turns; whoever
//! asks waits a moment, and else gets what was counted before.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use super::{Gate, Worker};

/// Seconds from now up to which messages are counted together.
pub(crate) const BOUNDS: [i64; 8] = [5, 60, 300, 900, 3_600, 14_400, 28_800, 86_400];

/// What waits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Census {
    /// Messages by topic.
    pub(crate) by_topic: Vec<(String, i64)>,
    /// Messages due within each of [`BOUNDS`], without those of the one before.
    pub(crate) by_time: [i64; BOUNDS.len()],
    /// Messages whose time has come.
    pub(crate) overdue: i64,
}

/// Where the thread leaves what it counted.
#[derive(Debug, Default)]
pub(super) struct Booth {
    wanted: AtomicBool,
    /// Messages sorted in and delivered when it was last counted.
    moved: AtomicI64,
    last: Mutex<(u64, Arc<Census>)>,
    counted: Condvar,
}

impl Gate {
    /// What waits now, or what waited when it was last counted if the thread does not come to it.
    pub(crate) fn census(&self, within: Duration) -> Arc<Census> {
        let deadline = Instant::now() + within;
        let mut last = self.booth.last.lock();
        let before = last.0;
        self.booth.wanted.store(true, Ordering::Release);
        self.pulse.kick();
        while last.0 == before {
            if self
                .booth
                .counted
                .wait_until(&mut last, deadline)
                .timed_out()
            {
                break;
            }
        }
        Arc::clone(&last.1)
    }
}

impl Worker {
    /// Counts if somebody waits for it.
    pub(super) fn count_if_wanted(&self) {
        let booth = &self.gate.booth;
        if booth.wanted.load(Ordering::Acquire) && booth.wanted.swap(false, Ordering::AcqRel) {
            self.publish();
        }
    }

    /// Counts if messages have come or gone: whoever asks while the thread is busy gets that.
    pub(super) fn count_if_moved(&self) {
        let gate = &self.gate;
        let moved = gate.enqueued.load(Ordering::Relaxed) + gate.dequeued.load(Ordering::Relaxed);
        if gate.booth.moved.swap(moved, Ordering::Relaxed) != moved {
            self.publish();
        }
    }

    fn publish(&self) {
        let census = Arc::new(self.count());
        let mut last = self.gate.booth.last.lock();
        *last = (last.0 + 1, census);
        self.gate.booth.counted.notify_all();
    }

    fn count(&self) -> Census {
        let precision = self.settings.precision;
        let now = self.settings.floor(self.store.clock().millis()) / precision;
        let (mut by_time, mut overdue) = ([0; BOUNDS.len()], 0);
        for (time, slot) in self.wheel.from(i64::MIN) {
            if time < now {
                overdue += i64::from(slot.num);
                continue;
            }
            let seconds = (time - now) * precision / 1_000;
            match BOUNDS.iter().position(|bound| seconds < *bound) {
                Some(span) => by_time[span] += i64::from(slot.num),
                // Slots come in the order of their times.
                None => break,
            }
        }
        Census {
            by_topic: self.metrics.counts(),
            by_time,
            overdue,
        }
    }
}
