// SPDX-License-Identifier: Apache-2.0
//! Delivering the messages of a time that has come.

use std::{collections::HashSet, sync::atomic::Ordering};

use aerobee_message::{RecordView, properties::keys, topic as names};
use aerobee_store::Run;

use crate::{
    copies::Way,
    due::Unstored,
    requeue::Message,
    timer::{Stall, Worker, enqueue::is_recalled, log::Unit},
};

/// The messages of one time, while they are delivered.
pub(super) struct Round {
    /// The time, in units of the precision.
    time: i64,
    /// In the order in which they were stored.
    units: Vec<Unit>,
    next: usize,
    recalled: HashSet<String>,
}

impl Worker {
    /// Delivers the messages of all times that have come.
    pub(super) fn dequeue(&mut self) -> Result<(), Stall> {
        if self.switches.config().store.timer_stop_dequeue {
            return Ok(());
        }
        loop {
            if self.round.is_none() {
                let precision = self.settings.precision;
                match self.wheel.first() {
                    Some((time, slot)) if time * precision < self.write_time => {
                        self.read_time = time * precision;
                        self.round = Some(self.begin(time, slot.last)?);
                    }
                    _ => {
                        self.read_time = self.read_time.max(self.write_time);
                        return Ok(());
                    }
                }
            }
            self.finish_round()?;
        }
    }

    /// Reads the chain of a time, and the recalls in it.
    fn begin(&mut self, time: i64, last: i64) -> Result<Round, Stall> {
        let mut units = Vec::new();
        let mut at = last;
        while at >= 0 {
            let Some(unit) = self.log.unit(at)? else {
                tracing::error!(
                    position = at,
                    "the timer log does not have a unit that the wheel has"
                );
                break;
            };
            if unit.deliver_time().div_euclid(self.settings.precision) != time {
                tracing::error!(
                    position = at,
                    "a chain of the timer log runs into another time"
                );
                break;
            }
            units.push(unit);
            if unit.previous >= at {
                break;
            }
            at = unit.previous;
        }
        units.reverse();
        let mut recalled = HashSet::new();
        for unit in units
            .iter()
            .filter(|unit| unit.is_delete() && !unit.is_rolled())
        {
            if let Some(run) = self.run_of(unit)
                && let Ok(record) = RecordView::parse(run.as_slice())
                && let Some(key) = record.properties().get(keys::TIMER_DEL_UNIQKEY)
            {
                recalled.insert(key.to_owned());
            }
        }
        Ok(Round {
            time,
            units,
            next: 0,
            recalled,
        })
    }

    fn finish_round(&mut self) -> Result<(), Stall> {
        let Some(mut round) = self.round.take() else {
            return Ok(());
        };
        while round.next < round.units.len() {
            let before = round.next;
            let done = self.deliver_some(&mut round);
            let passed = i64::try_from(round.next - before).unwrap_or(0);
            self.gate.waiting.fetch_sub(passed, Ordering::Relaxed);
            if let Err(error) = done {
                self.round = Some(round);
                return Err(error);
            }
        }
        let precision = self.settings.precision;
        self.wheel.remove(round.time);
        if self.gate.counts_crowd.load(Ordering::Relaxed) {
            self.gate.crowd.lock().remove(&(round.time * precision));
        }
        self.read_time = (round.time + 1) * precision;
        self.done_time = self.read_time;
        Ok(())
    }

    /// At the end: what is left of a time gets a chain of its own, so that the next start goes on
    /// where this one ended.
    pub(super) fn keep_rest(&mut self) {
        let Some(round) = self.round.take() else {
            return;
        };
        if round.next == 0 {
            return;
        }
        self.wheel.remove(round.time);
        let mut previous = -1;
        for (index, unit) in round.units.iter().enumerate() {
            if index >= round.next || unit.is_delete() {
                let by = if unit.is_delete() { -1 } else { 1 };
                previous = self.log.append(Unit { previous, ..*unit });
                self.wheel.add(round.time, previous, by);
            }
        }
    }

    /// Delivers the next messages of a round that can go together, or puts off one.
    fn deliver_some(&mut self, round: &mut Round) -> Result<(), Stall> {
        if self.is_stopped() {
            return Err(Stall::Stopped);
        }
        if let Some(unit) = round.units.get(round.next)
            && unit.is_rolled()
        {
            self.put_off(unit, &round.recalled)?;
            round.next += 1;
            return Ok(());
        }
        let mut added = Ok(());
        let mut next = round.next;
        while self.has_room(next - round.next)
            && let Some(unit) = round.units.get(next)
            && !unit.is_rolled()
        {
            added = self.add_due(unit, &round.recalled, next);
            if added.is_err() {
                break;
            }
            next += 1;
        }
        self.commit_due(&mut round.next, next, true)?;
        added
    }

    /// Whether one more message may go together with so many. While there are copies each goes alone: a
    /// copy counts once, so nothing before it may have to be tried again.
    pub(super) fn has_room(&self, messages: usize) -> bool {
        !self.due.is_full() && (messages == 0 || self.copies.is_empty())
    }

    /// Adds the message of a unit, if it is still to be delivered, to those that are due.
    fn add_due(
        &mut self,
        unit: &Unit,
        recalled: &HashSet<String>,
        number: usize,
    ) -> Result<(), Stall> {
        if unit.is_delete() {
            return Ok(());
        }
        let Some(run) = self.run_of(unit) else {
            note_missing(unit.physical);
            return Ok(());
        };
        match RecordView::parse(run.as_slice()) {
            Ok(record) => self.add_record(&record, unit.write_time, recalled, number),
            Err(_) => Ok(()),
        }
    }

    /// Adds a message that waits, unless it was delivered before a crash or taken back, to those that
    /// are due.
    pub(super) fn add_record(
        &mut self,
        record: &RecordView<'_>,
        sorted_in: i64,
        recalled: &HashSet<String>,
        number: usize,
    ) -> Result<(), Stall> {
        if self.copies.take(Way::Timer, record) || is_recalled(recalled, record) {
            return Ok(());
        }
        let times = [
            (keys::TIMER_ENQUEUE_MS, sorted_in),
            (keys::TIMER_DEQUEUE_MS, self.store.clock().millis()),
        ];
        let token = i64::try_from(number).unwrap_or(i64::MAX);
        self.due.add(record, &times, token)?;
        Ok(())
    }

    /// Stores the messages that are due, up to the number `until`, and moves `next` behind those that
    /// are done. `were_sorted` says whether they are counted as waiting.
    pub(super) fn commit_due(
        &mut self,
        next: &mut usize,
        until: usize,
        were_sorted: bool,
    ) -> Result<(), Stall> {
        let now = self.store.clock().millis();
        let committed = self.due.commit(|topic, messages| {
            let count = i64::try_from(messages).unwrap_or(i64::MAX);
            if were_sorted {
                self.metrics.add(topic, -count, now);
            }
            self.requeue.events().timers_out.topic(topic, messages);
            self.gate.dequeued.fetch_add(count, Ordering::Relaxed);
        });
        let (end, failed) = match committed {
            Ok(end) => {
                *next = until;
                (end, Ok(()))
            }
            Err(Unstored { token, end, error }) => {
                *next = usize::try_from(token).unwrap_or(*next);
                (end, Err(error))
            }
        };
        self.delivered_until = self.delivered_until.max(end);
        Ok(failed?)
    }

    /// Stores a message whose time is still far in the timer topic once more.
    fn put_off(&mut self, unit: &Unit, recalled: &HashSet<String>) -> Result<(), Stall> {
        let Some(run) = self.run_of(unit) else {
            note_missing(unit.physical);
            return Ok(());
        };
        let Ok(record) = RecordView::parse(run.as_slice()) else {
            return Ok(());
        };
        let mut message = Message::of(&record);
        let times: i32 = message
            .properties
            .number(keys::TIMER_ROLL_TIMES)
            .unwrap_or(0);
        let times = times.saturating_add(1);
        if self.copies.take(Way::PutOff(times), &record) || is_recalled(recalled, &record) {
            return Ok(());
        }
        let now = self.store.clock().millis();
        let properties = &mut message.properties;
        properties.set(keys::TIMER_ROLL_TIMES, times);
        properties.set(keys::TIMER_ENQUEUE_MS, unit.write_time);
        properties.set(keys::TIMER_DEQUEUE_MS, now);
        names::WHEEL_TIMER.clone_into(&mut message.topic);
        message.queue_id = 0;
        let appended = self.requeue.put_blocking(&message)?;
        self.delivered_until = self.delivered_until.max(appended.end);
        if let Some(topic) = record.properties().get(keys::REAL_TOPIC) {
            let by = if unit.is_delete() { 1 } else { -1 };
            self.metrics.add(topic, by, now);
        }
        Ok(())
    }

    /// The message of a unit, if it still is where the unit says.
    fn run_of(&self, unit: &Unit) -> Option<Run> {
        let run = self.store.record_of(unit.physical, unit.size)?;
        let record = RecordView::parse(run.as_slice()).ok()?;
        if record.topic() != names::WHEEL_TIMER {
            return None;
        }
        let out: i64 = record.properties().get(keys::TIMER_OUT_MS)?.parse().ok()?;
        let precision = self.settings.precision;
        let fits = out.div_euclid(precision) == unit.deliver_time().div_euclid(precision);
        (fits || unit.is_rolled()).then_some(run)
    }
}

pub(super) fn note_missing(position: i64) {
    tracing::error!(
        position,
        "a timer message is gone from the log, or another one lies in its place; it is passed over"
    );
}
