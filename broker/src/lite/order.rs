// SPDX-License-Identifier: Apache-2.0
//! Order within one lite topic and group: the batch that was popped last, and what became of each of
//! its messages. While one of them is out, nothing more is handed out. Apache:
//! `MemoryConsumerOrderInfoManager`, `ConsumerOrderInfoManager.OrderInfo`.
//!
//! It is kept in memory only: after a restart what was not acknowledged comes again.

/// A message of the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Out {
    offset: i64,
    acked: bool,
    /// When it may be popped again, if that was changed, milliseconds since 1970.
    visible_at: Option<i64>,
    /// How often it was handed out before.
    count: i32,
}

/// The batch that was popped last.
#[derive(Debug, Default)]
pub(crate) struct Order {
    batch: Vec<Out>,
    pop_time: i64,
    invisible_time: i64,
    attempt: Option<String>,
    /// When the timer that looks at it again is due, if one runs.
    pub(crate) timer_at: Option<i64>,
}

/// What an acknowledgement comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acked {
    /// The group goes on at this offset.
    Next(i64),
    /// The message is of an earlier batch: nothing changes.
    Stale,
    /// The message is not of the batch.
    Unknown,
}

impl Order {
    /// Whether messages are out, for anybody but the one that repeats its last attempt.
    pub(crate) fn is_blocked(&self, attempt: Option<&str>, now: i64) -> bool {
        let repeats = attempt
            .is_some_and(|attempt| !attempt.is_empty() && self.attempt.as_deref() == Some(attempt));
        !repeats && self.out().any(|out| now < self.visible_at(out))
    }

    fn out(&self) -> impl Iterator<Item = &Out> {
        self.batch.iter().filter(|out| !out.acked)
    }

    fn visible_at(&self, out: &Out) -> i64 {
        out.visible_at
            .unwrap_or_else(|| self.pop_time.saturating_add(self.invisible_time))
    }

    /// When the last of what is out comes back.
    pub(crate) fn free_at(&self) -> Option<i64> {
        self.out().map(|out| self.visible_at(out)).max()
    }

    /// Whether nothing is known: there is no batch, or all of it is done.
    pub(crate) fn is_idle(&self) -> bool {
        self.out().next().is_none()
    }

    /// A batch was popped; returns how often each of its messages was handed out before.
    pub(crate) fn popped(
        &mut self,
        offsets: &[i64],
        attempt: Option<&str>,
        pop_time: i64,
        invisible_time: i64,
    ) -> Vec<i32> {
        let attempt = attempt.filter(|attempt| !attempt.is_empty());
        let repeats = attempt.is_some() && self.attempt.as_deref() == attempt;
        let before = std::mem::take(&mut self.batch);
        self.batch = offsets
            .iter()
            .map(|offset| {
                let known = before
                    .iter()
                    .find(|out| out.offset == *offset && !out.acked);
                Out {
                    offset: *offset,
                    acked: false,
                    visible_at: None,
                    count: known.map_or(0, |out| out.count + i32::from(!repeats)),
                }
            })
            .collect();
        self.attempt = attempt.map(str::to_owned);
        self.pop_time = pop_time;
        self.invisible_time = invisible_time;
        self.batch.iter().map(|out| out.count).collect()
    }

    /// A message is done.
    pub(crate) fn ack(&mut self, offset: i64, pop_time: i64) -> Acked {
        let same = self.pop_time == pop_time;
        let Some(out) = self.batch.iter_mut().find(|out| out.offset == offset) else {
            return Acked::Unknown;
        };
        if !same {
            return Acked::Stale;
        }
        out.acked = true;
        let next = self.out().next().map(|out| out.offset);
        let last = self.batch.last().map_or(offset, |out| out.offset);
        Acked::Next(next.unwrap_or(last + 1))
    }

    /// A message that is out comes back at another time.
    pub(crate) fn change(&mut self, offset: i64, pop_time: i64, visible_at: i64) {
        if self.pop_time != pop_time {
            return;
        }
        let out = self.batch.iter_mut().find(|out| out.offset == offset);
        if let Some(out) = out {
            out.visible_at = Some(visible_at);
        }
    }

    /// The whole batch comes back then, and this delivery does not count.
    pub(crate) fn suspend(&mut self, pop_time: i64, visible_at: i64) {
        if self.pop_time != pop_time {
            return;
        }
        self.invisible_time = visible_at - self.pop_time;
        for out in &mut self.batch {
            out.visible_at = None;
            if out.count > 0 {
                out.count -= 1;
            }
        }
    }

    /// Forgets the batch, as when the group is set to another offset.
    pub(crate) fn clear(&mut self) {
        self.batch.clear();
        self.attempt = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_blocks_until_all_of_it_is_done_or_back() {
        let mut order = Order::default();
        assert!(!order.is_blocked(None, 0) && order.is_idle());
        assert_eq!(order.popped(&[5, 6, 7], Some("a"), 1_000, 100), [0, 0, 0]);
        assert!(order.is_blocked(None, 1_099) && order.is_blocked(Some("b"), 1_099));
        assert!(
            !order.is_blocked(Some("a"), 1_000),
            "the same attempt again"
        );
        assert!(!order.is_blocked(None, 1_100));
        assert_eq!(order.ack(5, 1_000), Acked::Next(6));
        assert_eq!(order.ack(7, 1_000), Acked::Next(6));
        assert_eq!(order.ack(6, 999), Acked::Stale);
        assert_eq!(order.ack(8, 1_000), Acked::Unknown);
        assert_eq!(order.ack(6, 1_000), Acked::Next(8));
        assert!(order.is_idle() && !order.is_blocked(None, 1_000));
    }

    #[test]
    fn what_comes_again_is_counted() {
        let mut order = Order::default();
        order.popped(&[0, 1], None, 0, 10);
        order.ack(0, 0);
        assert_eq!(order.popped(&[1, 2], Some("x"), 20, 10), [1, 0]);
        // The same attempt repeated is the same delivery.
        assert_eq!(order.popped(&[1, 2], Some("x"), 21, 10), [1, 0]);
        assert_eq!(order.popped(&[1, 2], None, 40, 10), [2, 1]);
    }

    #[test]
    fn times_can_be_changed() {
        let mut order = Order::default();
        order.popped(&[0, 1], None, 0, 100);
        order.change(0, 0, 300);
        order.change(1, 7, 900);
        assert_eq!(order.free_at(), Some(300));
        assert!(order.is_blocked(None, 299) && !order.is_blocked(None, 300));
        order.popped(&[0, 1], None, 300, 100);
        order.suspend(300, 350);
        assert_eq!(order.free_at(), Some(350));
        assert_eq!(order.popped(&[0, 1], None, 350, 100), [1, 1]);
    }
}
