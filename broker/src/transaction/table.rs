// SPDX-License-Identifier: Apache-2.0
//! Which half messages are open, in memory: an end finds its transaction and a check finds those
//! that are due without a walk through the queue.
//!
//! A half message that is checked is written again, as in Apache; its transaction keeps the earlier
//! offsets, so that an end that names one of them still finds it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

/// A half message that waits for its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Half {
    /// Position of its record in the log.
    pub(crate) physical: i64,
    /// When the transaction was first stored, by the broker's clock, ms.
    pub(crate) first_stored: i64,
    /// From when on its producer is asked, ms.
    pub(crate) due: i64,
    /// Checks for which there was nobody to ask: they count, but are not in the record.
    pub(crate) unasked: i32,
}

/// What there is to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    /// Nobody else ends it now; the offset of its latest half message.
    Mine(i64),
    /// Somebody else is about to end or to check it.
    Busy,
    /// It has ended before.
    Done,
}

#[derive(Debug)]
struct Open {
    half: Half,
    busy: bool,
    /// Offsets that it had before.
    earlier: Vec<i64>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By the offset of the latest half message.
    open: BTreeMap<i64, Open>,
    due: BTreeSet<(i64, i64)>,
    /// Earlier offset → latest offset.
    latest: HashMap<i64, i64>,
    /// Every half message before this offset is known here, open or not.
    known_until: i64,
    /// Known ones behind that: appends become known in any order.
    known_ahead: BTreeSet<i64>,
    /// Op messages: offset → highest half offset in it.
    ops: BTreeMap<i64, i64>,
    /// Op messages before this offset are needed no more.
    ops_from: i64,
}

/// The open half messages.
#[derive(Debug, Default)]
pub(crate) struct Table {
    inner: Mutex<Inner>,
    settled: Condvar,
}

/// How far the half and the op queue are done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) half: i64,
    pub(crate) op: i64,
}

impl Table {
    /// Starts with nothing open: half messages before `known_until` and op messages before
    /// `ops_from` are done with.
    pub(crate) fn start(&self, known_until: i64, ops_from: i64) {
        let mut inner = self.inner.lock();
        inner.known_until = known_until;
        inner.ops_from = ops_from;
    }

    /// Number of open transactions.
    pub(crate) fn len(&self) -> usize {
        self.inner.lock().open.len()
    }

    /// A half message is stored.
    pub(crate) fn opened(&self, offset: i64, half: Half) {
        let mut inner = self.inner.lock();
        inner.know(offset);
        inner.insert(offset, half, Vec::new());
    }

    /// A half message is stored that needs no end.
    #[cfg(test)]
    pub(crate) fn known(&self, offset: i64) {
        self.inner.lock().know(offset);
    }

    /// Takes a transaction for ending or checking it. Whoever has it calls [`Table::finished`],
    /// [`Table::moved`] or [`Table::abandoned`].
    pub(crate) fn begin(&self, offset: i64) -> Begun {
        self.inner.lock().begin(offset)
    }

    /// As [`Table::begin`], but waits for whoever has it.
    pub(crate) fn begin_patiently(&self, offset: i64, patience: Duration) -> Begun {
        let mut inner = self.inner.lock();
        let mut begun = inner.begin(offset);
        while begun == Begun::Busy {
            if self.settled.wait_for(&mut inner, patience).timed_out() {
                return begun;
            }
            begun = inner.begin(offset);
        }
        begun
    }

    /// The half message at this offset, if its transaction is open.
    pub(crate) fn half(&self, offset: i64) -> Option<Half> {
        let inner = self.inner.lock();
        inner.open.get(&offset).map(|open| open.half)
    }

    /// It is open as before.
    pub(crate) fn abandoned(&self, offset: i64) {
        if let Some(open) = self.inner.lock().open.get_mut(&offset) {
            open.busy = false;
        }
        self.settled.notify_all();
    }

    /// It is open as before, and due later.
    pub(crate) fn postponed(&self, offset: i64, due: i64) {
        let mut inner = self.inner.lock();
        if let Some(open) = inner.remove(offset) {
            let half = Half { due, ..open.half };
            inner.insert(offset, half, open.earlier);
        }
        drop(inner);
        self.settled.notify_all();
    }

    /// There was nobody to ask about it; it is due later.
    pub(crate) fn nobody_asked(&self, offset: i64, due: i64) {
        let mut inner = self.inner.lock();
        if let Some(open) = inner.remove(offset) {
            let half = Half {
                due,
                unasked: open.half.unasked.saturating_add(1),
                ..open.half
            };
            inner.insert(offset, half, open.earlier);
        }
        drop(inner);
        self.settled.notify_all();
    }

    /// It has ended.
    pub(crate) fn finished(&self, offset: i64) {
        self.inner.lock().remove(offset);
        self.settled.notify_all();
    }

    /// Its half message was written again.
    pub(crate) fn moved(&self, from: i64, to: i64, half: Half) {
        let mut inner = self.inner.lock();
        inner.know(to);
        let mut earlier = inner
            .remove(from)
            .map_or_else(Vec::new, |open| open.earlier);
        earlier.push(from);
        inner.insert(to, half, earlier);
        drop(inner);
        self.settled.notify_all();
    }

    /// An op message is stored whose highest half offset is `highest`.
    pub(crate) fn op_stored(&self, op: i64, highest: i64) {
        self.inner.lock().ops.insert(op, highest);
    }

    /// Takes those that are due, the oldest first; at most `most`.
    pub(crate) fn take_due(&self, now: i64, most: usize) -> Vec<i64> {
        let mut inner = self.inner.lock();
        let due: Vec<i64> = inner
            .due
            .range(..=(now, i64::MAX))
            .map(|(_, offset)| *offset)
            .filter(|offset| inner.open.get(offset).is_some_and(|open| !open.busy))
            .take(most)
            .collect();
        for offset in &due {
            if let Some(open) = inner.open.get_mut(offset) {
                open.busy = true;
            }
        }
        due
    }

    /// Takes the oldest when it lies more than `lag` behind the end of the queue.
    pub(crate) fn take_straggler(&self, lag: i64) -> Option<i64> {
        let mut inner = self.inner.lock();
        let end = inner.known_until;
        let (offset, open) = inner.open.iter_mut().next()?;
        if *offset >= end - lag || open.busy {
            return None;
        }
        open.busy = true;
        Some(*offset)
    }

    /// How far everything is done: the offset of the first half message that is open, and of the
    /// first op message that says something of one at or behind it.
    pub(crate) fn progress(&self) -> Progress {
        let mut inner = self.inner.lock();
        let first_open = inner.open.keys().next().copied();
        let half = first_open.map_or(inner.known_until, |open| open.min(inner.known_until));
        while let Some((op, highest)) = inner.ops.first_key_value().map(|(op, high)| (*op, *high)) {
            if op != inner.ops_from || highest >= half {
                break;
            }
            inner.ops.remove(&op);
            inner.ops_from = op + 1;
        }
        Progress {
            half,
            op: inner.ops_from,
        }
    }
}

impl Inner {
    fn know(&mut self, offset: i64) {
        if offset != self.known_until {
            if offset > self.known_until {
                self.known_ahead.insert(offset);
            }
            return;
        }
        self.known_until += 1;
        while self.known_ahead.remove(&self.known_until) {
            self.known_until += 1;
        }
    }

    fn insert(&mut self, offset: i64, half: Half, earlier: Vec<i64>) {
        for before in &earlier {
            self.latest.insert(*before, offset);
        }
        self.due.insert((half.due, offset));
        let open = Open {
            half,
            busy: false,
            earlier,
        };
        self.open.insert(offset, open);
    }

    fn remove(&mut self, offset: i64) -> Option<Open> {
        let open = self.open.remove(&offset)?;
        self.due.remove(&(open.half.due, offset));
        for before in &open.earlier {
            self.latest.remove(before);
        }
        Some(open)
    }

    fn begin(&mut self, offset: i64) -> Begun {
        let latest = self.latest.get(&offset).copied().unwrap_or(offset);
        match self.open.get_mut(&latest) {
            None => Begun::Done,
            Some(open) if open.busy => Begun::Busy,
            Some(open) => {
                open.busy = true;
                Begun::Mine(latest)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half(due: i64) -> Half {
        Half {
            physical: 0,
            first_stored: 0,
            due,
            unasked: 0,
        }
    }

    #[test]
    fn progress_stops_at_the_first_open_half_and_at_gaps() {
        let table = Table::default();
        table.start(5, 7);
        table.opened(6, half(0));
        // The append of 5 is not known yet: nobody may pass it.
        assert_eq!(table.progress(), Progress { half: 5, op: 7 });
        table.opened(5, half(0));
        assert_eq!(table.begin(5), Begun::Mine(5));
        table.finished(5);
        table.op_stored(7, 5);
        assert_eq!(table.progress(), Progress { half: 6, op: 8 });
        table.known(7);
        table.op_stored(9, 6);
        table.finished(6);
        // Op message 8 is being stored.
        assert_eq!(table.progress(), Progress { half: 8, op: 8 });
        table.op_stored(8, 3);
        assert_eq!(table.progress(), Progress { half: 8, op: 10 });
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn an_end_happens_once_and_finds_a_half_that_has_moved() {
        let table = Table::default();
        table.start(0, 0);
        table.opened(0, half(10));
        assert_eq!(table.take_due(9, 10), Vec::<i64>::new());
        assert_eq!(table.take_due(10, 10), [0]);
        assert_eq!(table.begin(0), Begun::Busy);
        assert!(table.take_due(10, 10).is_empty());
        table.moved(0, 1, half(20));
        assert_eq!(table.take_due(20, 10), [1]);
        table.moved(1, 2, half(30));
        assert_eq!(table.begin(0), Begun::Mine(2));
        table.abandoned(2);
        assert_eq!(table.begin(1), Begun::Mine(2));
        table.finished(2);
        for offset in 0..3 {
            assert_eq!(table.begin(offset), Begun::Done);
        }
        assert!(table.inner.lock().latest.is_empty());
        assert!(table.inner.lock().due.is_empty());
        assert_eq!(table.progress().half, 3);
    }

    #[test]
    fn stragglers_are_those_far_behind_the_end() {
        let table = Table::default();
        table.start(0, 0);
        table.opened(0, half(1_000));
        for offset in 1..=100 {
            table.known(offset);
        }
        assert_eq!(table.take_straggler(101), None);
        assert_eq!(table.take_straggler(100), Some(0));
        assert_eq!(table.take_straggler(100), None);
        table.postponed(0, 50);
        assert_eq!(table.take_due(50, 1), [0]);
    }
}
