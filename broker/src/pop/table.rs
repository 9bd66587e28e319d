// SPDX-License-Identifier: Apache-2.0
//! What is popped and not yet acknowledged, in memory: one table for each queue of the revive topic,
//! which is its journal. What the journal says can be applied again without harm.
//!
//! A message of a check point is *open*, or *done* with (acknowledged, or put back for another try).
//! An acknowledgement first claims its message here, is then written, and only then counts; a check
//! point goes to the revive thread when it is due and no acknowledgement is being written. So a
//! message that an acknowledgement was answered for never comes back.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap},
    sync::Arc,
};

use smallvec::SmallVec;

use crate::pop::{journal::MESSAGES_MAX, lane::Lane};

/// Offsets of messages.
pub(crate) type OffsetList = SmallVec<[i64; MESSAGES_MAX]>;

/// Names a check point within its queue of the revive topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) lane: u32,
    pub(crate) start: i64,
    pub(crate) pop_time: i64,
}

/// Distances of the messages of a check point from its start.
#[derive(Debug, Clone)]
pub(crate) enum Distances {
    /// A row from the start on.
    Row,
    Listed(Box<[i32]>),
}

/// A check point.
#[derive(Debug)]
pub(crate) struct Point {
    pub(crate) lane: Arc<Lane>,
    /// Where its record stands in the journal.
    pub(crate) position: i64,
    pub(crate) invisible_time: i64,
    /// When what is open goes back.
    pub(crate) due: i64,
    pub(crate) suspend: bool,
    /// How often putting messages back has failed.
    pub(crate) failures: u8,
    /// The broker that it names, where it is not this one.
    pub(crate) broker: Option<Box<str>>,
    distances: Distances,
    count: u8,
    /// Messages that are done with, or claimed.
    done: u32,
    /// Acknowledgements that are being written.
    claims: u8,
    /// The revive thread has it.
    reviving: bool,
}

impl Point {
    pub(crate) fn new(
        lane: Arc<Lane>,
        position: i64,
        invisible_time: i64,
        due: i64,
        distances: &[i32],
    ) -> Self {
        let distances = &distances[..distances.len().min(MESSAGES_MAX)];
        let is_row = (0..).zip(distances).all(|(row, distance)| row == *distance);
        Self {
            lane,
            position,
            invisible_time,
            due,
            suspend: false,
            failures: 0,
            broker: None,
            count: distances.len() as u8,
            distances: if is_row {
                Distances::Row
            } else {
                Distances::Listed(distances.into())
            },
            done: 0,
            claims: 0,
            reviving: false,
        }
    }

    fn index_of(&self, distance: i64) -> Option<u32> {
        let index = match &self.distances {
            Distances::Row => u32::try_from(distance).ok()?,
            Distances::Listed(distances) => {
                let at = distances
                    .iter()
                    .position(|known| i64::from(*known) == distance)?;
                u32::try_from(at).ok()?
            }
        };
        (index < u32::from(self.count)).then_some(index)
    }

    fn distance(&self, index: u32) -> i32 {
        match &self.distances {
            Distances::Row => index.cast_signed(),
            Distances::Listed(distances) => {
                distances.get(index as usize).copied().unwrap_or_default()
            }
        }
    }

    fn all(&self) -> u32 {
        u32::MAX
            .checked_shr(32 - u32::from(self.count))
            .unwrap_or(0)
    }

    fn is_finished(&self) -> bool {
        self.done & self.all() == self.all() && self.claims == 0 && !self.reviving
    }

    fn open(&self) -> impl Iterator<Item = u32> + '_ {
        (0..u32::from(self.count)).filter(|index| self.done >> index & 1 == 0)
    }

    /// Distances of the messages that are not done with.
    pub(crate) fn open_distances(&self) -> SmallVec<[i32; MESSAGES_MAX]> {
        self.open().map(|index| self.distance(index)).collect()
    }

    /// Marks those done whose bits, counted from the lowest, are set.
    pub(crate) fn mark_done(&mut self, bits: i64) {
        self.done |= (bits.cast_unsigned() & u64::from(self.all())) as u32;
    }

    fn set_done(&mut self, index: u32) {
        self.done |= 1 << index;
    }
}

/// What an acknowledgement finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The message is the claimant's; [`Table::settle`] has to follow.
    Mine,
    /// Nothing is left to do: it is acknowledged already, or on its way back, or not of this check
    /// point.
    Nothing,
    /// There is no such check point.
    Unknown,
}

/// An acknowledgement whose check point has not come yet: it is still with the timer of the broker
/// that had this directory before.
#[derive(Debug)]
struct Early {
    position: i64,
    due: i64,
    offsets: OffsetList,
}

/// Most acknowledgements without a check point in one table.
const EARLY_MAX: usize = 100_000;
/// How long after its time a check point may still come from a timer, ms. Apache: `reviveAckWaitMs`.
pub(crate) const EARLY_PATIENCE: i64 = 180_000;

/// What belongs to one queue of the revive topic.
#[derive(Debug, Default)]
pub(crate) struct Table {
    points: HashMap<Key, Point>,
    early: HashMap<Key, Early>,
    /// Who holds the journal back, by position; both of the above.
    positions: BTreeMap<i64, Key>,
    /// When to look at which check point; those that are gone are passed over.
    due: BinaryHeap<Reverse<(i64, Key)>>,
    /// Everything before is processed.
    processed: i64,
    /// Processed positions that lie further on.
    ahead: BTreeSet<i64>,
}

impl Table {
    /// Starts behind `processed` entries of the journal.
    pub(crate) fn new(processed: i64) -> Self {
        Self {
            processed,
            ..Self::default()
        }
    }

    /// Number of check points.
    pub(crate) fn len(&self) -> usize {
        self.points.len()
    }

    /// Adds a check point. One that is known already is the same one, written again.
    pub(crate) fn insert(&mut self, key: Key, mut point: Point) {
        if let Some(early) = self.early.remove(&key) {
            self.positions.remove(&early.position);
            for offset in early.offsets {
                if let Some(index) = point.index_of(offset.saturating_sub(key.start)) {
                    point.set_done(index);
                }
            }
        }
        if let Some(known) = self.points.get_mut(&key) {
            // The later record may list fewer messages: those that it lacks are done with.
            for index in 0..u32::from(known.count) {
                let distance = i64::from(known.distance(index));
                let left = point
                    .index_of(distance)
                    .is_some_and(|at| point.done >> at & 1 == 0);
                if !left {
                    known.set_done(index);
                }
            }
            self.positions.remove(&known.position);
            known.position = known.position.max(point.position);
            self.positions.insert(known.position, key);
            self.drop_finished(key);
            return;
        }
        if point.is_finished() {
            return;
        }
        point.lane.count_in_flight(i64::from(point.count));
        self.positions.insert(point.position, key);
        self.due.push(Reverse((point.due, key)));
        self.points.insert(key, point);
        if self.due.len() > 4 * self.points.len() + 4096 {
            self.due = self
                .points
                .iter()
                .map(|(key, point)| Reverse((point.due, *key)))
                .collect();
        }
    }

    /// Claims a message for an acknowledgement.
    pub(crate) fn claim(&mut self, key: Key, offset: i64) -> Claim {
        let Some(point) = self.points.get_mut(&key) else {
            return Claim::Unknown;
        };
        let Some(index) = point.index_of(offset.saturating_sub(key.start)) else {
            return Claim::Nothing;
        };
        if point.reviving || point.done >> index & 1 == 1 || point.claims == u8::MAX {
            return Claim::Nothing;
        }
        point.set_done(index);
        point.claims += 1;
        Claim::Mine
    }

    /// Ends a claim: the acknowledgement is written, or could not be.
    pub(crate) fn settle(&mut self, key: Key, offset: i64, written: bool) {
        let Some(point) = self.points.get_mut(&key) else {
            return;
        };
        point.claims = point.claims.saturating_sub(1);
        if written {
            point.lane.count_in_flight(-1);
        } else if let Some(index) = point.index_of(offset.saturating_sub(key.start)) {
            point.done &= !(1 << index);
        }
        self.drop_finished(key);
    }

    /// Applies an acknowledgement that was read. `due` says that its check point may come later.
    pub(crate) fn acknowledged(
        &mut self,
        key: Key,
        offsets: &[i64],
        position: i64,
        due: Option<i64>,
    ) {
        if let Some(point) = self.points.get_mut(&key) {
            for offset in offsets {
                let Some(index) = point.index_of(offset.saturating_sub(key.start)) else {
                    continue;
                };
                if point.done >> index & 1 == 0 && !point.reviving {
                    point.set_done(index);
                    point.lane.count_in_flight(-1);
                }
            }
            self.drop_finished(key);
        } else if let Some(due) = due {
            self.wait_for(key, offsets, position, due);
        }
    }

    /// Keeps an acknowledgement until its check point comes.
    fn wait_for(&mut self, key: Key, offsets: &[i64], position: i64, due: i64) {
        if let Some(early) = self.early.get_mut(&key) {
            let room = MESSAGES_MAX.saturating_sub(early.offsets.len());
            early.offsets.extend(offsets.iter().copied().take(room));
        } else if self.early.len() < EARLY_MAX {
            let early = Early {
                position,
                due,
                offsets: offsets.iter().copied().take(MESSAGES_MAX).collect(),
            };
            self.positions.insert(position, key);
            self.early.insert(key, early);
        }
    }

    /// Forgets acknowledgements whose check points did not come.
    pub(crate) fn expire_early(&mut self, now: i64) {
        let positions = &mut self.positions;
        self.early.retain(|_, early| {
            let waits = now <= early.due.saturating_add(EARLY_PATIENCE);
            if !waits {
                positions.remove(&early.position);
            }
            waits
        });
    }

    /// An entry of the journal needs no more reading.
    pub(crate) fn process(&mut self, position: i64) {
        if position == self.processed {
            self.processed += 1;
            while self.ahead.remove(&self.processed) {
                self.processed += 1;
            }
        } else if position > self.processed {
            self.ahead.insert(position);
        }
    }

    /// The first entry that was not processed.
    pub(crate) fn processed(&self) -> i64 {
        self.processed
    }

    /// Whether an entry was processed.
    pub(crate) fn is_processed(&self, position: i64) -> bool {
        position < self.processed || self.ahead.contains(&position)
    }

    /// Entries that are no longer there count as processed.
    pub(crate) fn skip_to(&mut self, position: i64) {
        if position > self.processed {
            self.processed = position;
            self.ahead = self.ahead.split_off(&position);
            while self.ahead.remove(&self.processed) {
                self.processed += 1;
            }
        }
    }

    /// The last entry that is needed no more, nor any before it; −1 for none.
    pub(crate) fn mark(&self) -> i64 {
        let first = self.positions.first_key_value();
        first.map_or(self.processed, |(position, _)| {
            self.processed.min(*position)
        }) - 1
    }

    /// When the next check point is due.
    pub(crate) fn next_due(&self) -> Option<i64> {
        self.due.peek().map(|Reverse((due, _))| *due)
    }

    /// Hands out a check point that is due; [`Table::revived`] or [`Table::postpone`] has to follow.
    pub(crate) fn take_due(&mut self, now: i64) -> Option<(Key, &Point)> {
        let key = loop {
            let Reverse((due, key)) = *self.due.peek()?;
            if due > now {
                return None;
            }
            self.due.pop();
            let Some(point) = self.points.get_mut(&key) else {
                continue;
            };
            if point.reviving || point.due != due {
                continue;
            }
            if point.claims > 0 {
                // It is looked at again in a moment.
                point.due = now + 10;
                self.due.push(Reverse((point.due, key)));
                continue;
            }
            point.reviving = true;
            break key;
        };
        Some((key, self.points.get(&key)?))
    }

    /// Messages of a check point are back, or gone for good.
    pub(crate) fn revived(&mut self, key: Key, offsets: &[i64]) {
        let Some(point) = self.points.get_mut(&key) else {
            return;
        };
        for offset in offsets {
            if let Some(index) = point.index_of(offset.saturating_sub(key.start))
                && point.done >> index & 1 == 0
            {
                point.set_done(index);
                point.lane.count_in_flight(-1);
            }
        }
    }

    /// The revive thread is done with a check point; what is still open is tried again at `due`.
    pub(crate) fn postpone(&mut self, key: Key, due: i64) {
        if let Some(point) = self.points.get_mut(&key) {
            point.reviving = false;
            if !point.is_finished() {
                point.failures = point.failures.saturating_add(1);
                point.due = due;
                self.due.push(Reverse((due, key)));
            }
        }
        self.drop_finished(key);
    }

    /// The check point that holds the journal back most, if it stands more than `distance` entries
    /// behind and nobody works on it.
    pub(crate) fn lagging(&self, distance: i64) -> Option<(Key, &Point)> {
        let (position, key) = self.positions.first_key_value()?;
        if self.processed - position <= distance {
            return None;
        }
        let point = self.points.get(key)?;
        (point.claims == 0 && !point.reviving).then_some((*key, point))
    }

    /// A check point was written anew.
    pub(crate) fn move_to(&mut self, key: Key, position: i64) {
        if let Some(point) = self.points.get_mut(&key) {
            self.positions.remove(&point.position);
            point.position = position;
            self.positions.insert(position, key);
        }
    }

    /// A check point, for those who look.
    #[cfg(test)]
    pub(crate) fn point(&self, key: Key) -> Option<&Point> {
        self.points.get(&key)
    }

    fn drop_finished(&mut self, key: Key) {
        if self.points.get(&key).is_some_and(Point::is_finished)
            && let Some(point) = self.points.remove(&key)
        {
            self.positions.remove(&point.position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pop::lane::Lanes;

    fn key(start: i64) -> Key {
        Key {
            lane: 0,
            start,
            pop_time: 1000,
        }
    }

    fn point(position: i64, due: i64, distances: &[i32]) -> Point {
        let lane = Lanes::default().lane("g", "t", 0);
        Point::new(lane, position, 60, due, distances)
    }

    fn with(points: &[(i64, i64, &[i32])]) -> Table {
        let mut table = Table::new(0);
        for (position, due, distances) in points {
            table.insert(key(*position * 100), point(*position, *due, distances));
            table.process(*position);
        }
        table
    }

    fn acknowledge(table: &mut Table, start: i64, offset: i64) {
        assert_eq!(table.claim(key(start), offset), Claim::Mine);
        table.settle(key(start), offset, true);
    }

    #[test]
    fn the_mark_follows_the_first_open_check_point() {
        let mut table = with(&[(0, 50, &[0, 1]), (1, 50, &[0]), (2, 50, &[3, 7])]);
        assert_eq!(table.mark(), -1);
        acknowledge(&mut table, 100, 100);
        assert_eq!(table.mark(), -1);
        acknowledge(&mut table, 0, 0);
        acknowledge(&mut table, 0, 1);
        assert_eq!(table.mark(), 1);
        acknowledge(&mut table, 200, 203);
        acknowledge(&mut table, 200, 207);
        assert_eq!((table.mark(), table.len()), (2, 0));
    }

    #[test]
    fn a_message_is_acknowledged_once() {
        let mut table = with(&[(0, 50, &[0, 2])]);
        assert_eq!(table.claim(key(0), 1), Claim::Nothing);
        assert_eq!(table.claim(key(0), 2), Claim::Mine);
        assert_eq!(table.claim(key(0), 2), Claim::Nothing);
        assert_eq!(table.claim(key(1), 2), Claim::Unknown);
        // Not written: it may be tried again.
        table.settle(key(0), 2, false);
        assert_eq!(table.claim(key(0), 2), Claim::Mine);
    }

    #[test]
    fn what_is_being_acknowledged_does_not_come_back() {
        let mut table = with(&[(0, 50, &[0, 1])]);
        assert!(table.take_due(49).is_none());
        assert_eq!(table.claim(key(0), 0), Claim::Mine);
        assert!(table.take_due(60).is_none());
        table.settle(key(0), 0, true);
        let (_, due) = table.take_due(70).unwrap();
        assert_eq!(due.open_distances().as_slice(), [1]);
        // Too late: it is on its way back.
        assert_eq!(table.claim(key(0), 1), Claim::Nothing);
        table.revived(key(0), &[1]);
        table.postpone(key(0), 100);
        assert_eq!((table.mark(), table.len()), (0, 0));
        assert_eq!(table.claim(key(0), 1), Claim::Unknown);
    }

    #[test]
    fn what_could_not_be_put_back_is_tried_again() {
        let mut table = with(&[(0, 50, &[0, 1])]);
        assert!(table.take_due(50).is_some());
        table.revived(key(0), &[0]);
        table.postpone(key(0), 80);
        assert!(table.take_due(79).is_none());
        let (_, due) = table.take_due(80).unwrap();
        assert_eq!(due.open_distances().as_slice(), [1]);
        assert_eq!(due.failures, 1);
    }

    #[test]
    fn a_check_point_may_come_after_its_acknowledgement() {
        let mut table = Table::new(5);
        table.acknowledged(key(0), &[1], 5, Some(100));
        table.process(5);
        assert_eq!(table.mark(), 4);
        table.acknowledged(key(7), &[1], 6, None);
        table.process(6);
        table.insert(key(0), point(7, 100, &[0, 1]));
        table.process(7);
        assert_eq!(table.mark(), 6);
        acknowledge(&mut table, 0, 0);
        assert_eq!(table.mark(), 7);
        // One that never gets its check point is given up.
        table.acknowledged(key(9), &[9], 8, Some(100));
        table.process(8);
        table.expire_early(100 + EARLY_PATIENCE);
        assert_eq!(table.mark(), 7);
        table.expire_early(101 + EARLY_PATIENCE);
        assert_eq!(table.mark(), 8);
    }

    #[test]
    fn entries_are_processed_in_any_order() {
        let mut table = Table::new(0);
        for position in [2, 0, 5, 1] {
            table.process(position);
        }
        assert_eq!(table.processed(), 3);
        assert!(table.is_processed(5) && !table.is_processed(4) && table.is_processed(1));
        table.skip_to(5);
        assert_eq!(table.processed(), 6);
    }

    #[test]
    fn a_check_point_written_again_keeps_what_is_done() {
        let mut table = with(&[(0, 50, &[0, 1, 2])]);
        acknowledge(&mut table, 0, 0);
        table.insert(key(0), point(4, 50, &[1, 2]));
        table.insert(key(0), point(6, 50, &[0, 2]));
        assert_eq!(table.mark(), 0);
        let known = table.point(key(0)).unwrap();
        assert_eq!(
            (known.open_distances().as_slice(), known.position),
            (&[2][..], 6)
        );
    }
}
