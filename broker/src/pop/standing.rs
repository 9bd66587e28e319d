// SPDX-License-Identifier: Apache-2.0
//! Numbers of popping for operators.

use super::Pops;

/// One queue of the revive topic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueStanding {
    /// Open check points.
    pub(crate) open: usize,
    /// Entries from the first that is still needed on.
    pub(crate) needed: i64,
    /// Milliseconds since the oldest check point that is due should have been dealt with.
    pub(crate) late: i64,
}

impl Pops {
    /// The queues of the revive topic.
    pub(crate) fn standing(&self) -> Vec<QueueStanding> {
        let now = self.now();
        let queues = self.tables.iter().zip(self.journal.queues());
        queues
            .map(|(table, slot)| {
                let table = table.lock();
                let needed = slot.max_offset() - (table.mark() + 1);
                QueueStanding {
                    open: table.len(),
                    needed: needed.max(0),
                    late: table.next_due().map_or(0, |due| (now - due).max(0)),
                }
            })
            .collect()
    }

    /// Messages of a topic that a group has popped and that are neither acknowledged nor back, by
    /// queue.
    pub(crate) fn in_flight(&self, group: &str, topic: &str) -> Vec<i64> {
        self.lanes.in_flight(group, topic)
    }
}
