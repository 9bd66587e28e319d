// SPDX-License-Identifier: Apache-2.0
//! Popping: what was written down, and what waits.

use aerobee_daemon::exposition::Exposition;

use super::{Metrics, names};

impl Metrics {
    pub(super) fn write_pop(&self, out: &mut Exposition) {
        let mut all = self.stats.consumptions();
        all.retain(|(_, _, counts)| counts.popped() != (0, 0));
        all.sort_unstable_by(|one, other| (&one.1, &one.0).cmp(&(&other.1, &other.0)));
        let mut samples = out.metric(&names::REVIVE_IN);
        for (group, topic, counts) in &all {
            let (check_points, acknowledged) = counts.popped();
            for (kind, count) in [("CK", check_points), ("ACK", acknowledged)] {
                if count > 0 {
                    let labels = [
                        ("consumer_group", &**group),
                        ("topic", &**topic),
                        ("revive_message_type", kind),
                        ("put_status", "PUT_OK"),
                    ];
                    samples.add(&labels, count);
                }
            }
        }
        drop(samples);
        let mut samples = out.metric(&names::REVIVE_RETRY);
        for ((group, topic), count) in self.events.revived.read() {
            let labels = [
                ("consumer_group", &*group),
                ("topic", &*topic),
                ("put_status", "PUT_OK"),
            ];
            samples.add(&labels, count);
        }
        drop(samples);
        let queues = self.pops.standing();
        let mut samples = out.metric(&names::REVIVE_LAG);
        for (id, queue) in queues.iter().enumerate() {
            samples.add(&[("queue_id", &id.to_string())], queue.needed);
        }
        drop(samples);
        let mut samples = out.metric(&names::REVIVE_LATENCY);
        for (id, queue) in queues.iter().enumerate() {
            samples.add(&[("queue_id", &id.to_string())], queue.late);
        }
        drop(samples);
        let open: usize = queues.iter().map(|queue| queue.open).sum();
        out.single(&names::CHECKPOINTS, open);
    }
}
