// SPDX-License-Identifier: Apache-2.0
//! The store, and the wheel of timer messages.

use aerobee_daemon::exposition::{Exposition, Labels, Metric};
use aerobee_message::topic as topics;
use rustix::fs::statvfs;

use super::{CENSUS, Metrics, names};
use crate::{
    events::{Sizes, Tally},
    timer::census::BOUNDS,
};

/// Where messages are, for those who have several places.
const PLACE: Labels<'static> = &[("storage_type", "local"), ("storage_medium", "disk")];

impl Metrics {
    pub(super) fn write_store(&self, out: &mut Exposition) {
        let store = &self.store;
        let mut single = |metric: &Metric, value: i64| {
            out.metric(metric).add(PLACE, value);
        };
        if let Ok(disk) = statvfs(&self.directory) {
            let used = disk.f_blocks.saturating_sub(disk.f_bfree);
            let bytes = used.saturating_mul(disk.f_frsize);
            single(
                &names::STORAGE_SIZE,
                i64::try_from(bytes).unwrap_or(i64::MAX),
            );
        }
        let end = store.max_physical();
        single(&names::FLUSH_BEHIND, (end - store.flushed()).max(0));
        single(&names::DISPATCH_BEHIND, store.index_behind());
        let earliest = store.earliest_store_time();
        if earliest > 0 {
            let age = store.clock().millis() - earliest;
            single(&names::RESERVE_TIME, age.max(0));
        }
        out.single(&names::STORE_WRITABLE, i32::from(store.writable().is_ok()));
        if self.delays.timer_enabled() {
            self.write_timer(out);
        }
    }

    fn write_timer(&self, out: &mut Exposition) {
        let census = self.delays.timer().census(CENSUS);
        let standing = self.delays.timer().standing();
        let now = self.store.clock().millis();
        let stored = self.store.queue(topics::WHEEL_TIMER, 0);
        let stored = stored.as_deref();
        let behind = stored.map_or(0, |queue| queue.max_offset() - standing.queue_offset);
        let first = stored
            .filter(|_| behind > 0)
            .and_then(|queue| self.store.store_time_of(queue, standing.queue_offset));
        let late = match standing.read_time {
            0 => 0,
            time => (now - time).max(0),
        };
        for (metric, value) in [
            (&names::TIMER_ENQUEUE_LAG, behind.max(0)),
            (
                &names::TIMER_ENQUEUE_LATENCY,
                first.map_or(0, |time| (now - time).max(0)),
            ),
            (&names::TIMER_DEQUEUE_LAG, census.overdue),
            (&names::TIMER_DEQUEUE_LATENCY, late),
        ] {
            out.metric(metric).add(PLACE, value);
        }
        let mut samples = out.metric(&names::TIMING_MESSAGES);
        for (topic, count) in &census.by_topic {
            samples.add(&[PLACE[0], PLACE[1], ("topic", topic)], *count);
        }
        drop(samples);
        let mut samples = out.metric(&names::TIMER_SNAPSHOT);
        for (bound, count) in BOUNDS.iter().zip(census.by_time) {
            let bound = bound.to_string();
            samples.add(&[PLACE[0], PLACE[1], ("timer_bound_s", &bound)], count);
        }
        drop(samples);
        write_by_topic(out, &names::TIMER_ENQUEUED, &self.events.timers_in);
        write_by_topic(out, &names::TIMER_DEQUEUED, &self.events.timers_out);
        let bounds = self.events.delay.bounds();
        let bounds: Vec<&str> = bounds.iter().map(String::as_str).collect();
        let mut samples = out.metric(&names::DELAY);
        for ((_, topic), sizes) in self.events.delay.read() {
            let Sizes {
                by_span,
                above,
                sum,
            } = sizes;
            let labels = [PLACE[0], PLACE[1], ("topic", &*topic)];
            samples.histogram(&labels, &bounds, by_span.into_iter().chain([above]), sum);
        }
    }
}

fn write_by_topic(out: &mut Exposition, metric: &Metric, tally: &Tally) {
    let mut samples = out.metric(metric);
    for ((_, topic), count) in tally.read() {
        samples.add(&[PLACE[0], PLACE[1], ("topic", &topic)], count);
    }
}
