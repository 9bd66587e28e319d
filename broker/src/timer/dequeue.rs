// SPDX-License-Identifier: Apache-2.0
//! Delivering the messages of a time that has come.

use std::{collections::HashSet, sync::atomic::Ordering};

use aerobee_message::{RecordView, properties::keys, topic as names};

use crate::{
    copies::Way,
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
            if let Some(message) = self.message_of(unit)
                && let Some(key) = message.properties.get(keys::TIMER_DEL_UNIQKEY)
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
        while let Some(unit) = round.units.get(round.next).copied() {
            let done = if self.is_stopped() {
                Err(Stall::Stopped)
            } else {
                self.deliver_unit(&unit, &round.recalled)
            };
            if let Err(error) = done {
                self.round = Some(round);
                return Err(error);
            }
            round.next += 1;
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

    fn deliver_unit(&mut self, unit: &Unit, recalled: &HashSet<String>) -> Result<(), Stall> {
        self.gate.waiting.fetch_sub(1, Ordering::Relaxed);
        if unit.is_delete() && !unit.is_rolled() {
            return Ok(());
        }
        if self.was_delivered(unit) {
            return Ok(());
        }
        let Some(mut message) = self.message_of(unit) else {
            tracing::error!(
                position = unit.physical,
                "a timer message is gone from the log, or another one lies in its place; it is passed over"
            );
            return Ok(());
        };
        if is_recalled(recalled, &message) {
            return Ok(());
        }
        let delivered = if unit.is_rolled() {
            self.put_off(&mut message, unit)
        } else {
            message
                .properties
                .set(keys::TIMER_ENQUEUE_MS, unit.write_time);
            self.put_due(&mut message)
        };
        if let Err(error) = delivered {
            self.gate.waiting.fetch_add(1, Ordering::Relaxed);
            return Err(error);
        }
        if let Some(topic) = message.properties.get(keys::REAL_TOPIC) {
            let by = if unit.is_delete() { 1 } else { -1 };
            self.metrics.add(topic, by, self.store.clock().millis());
        }
        Ok(())
    }

    /// Stores a message whose time is still far in the timer topic once more.
    fn put_off(&mut self, message: &mut Message, unit: &Unit) -> Result<(), Stall> {
        let times: i32 = message
            .properties
            .number(keys::TIMER_ROLL_TIMES)
            .unwrap_or(0);
        let now = self.store.clock().millis();
        message
            .properties
            .set(keys::TIMER_ROLL_TIMES, times.saturating_add(1));
        message
            .properties
            .set(keys::TIMER_ENQUEUE_MS, unit.write_time);
        message.properties.set(keys::TIMER_DEQUEUE_MS, now);
        names::WHEEL_TIMER.clone_into(&mut message.topic);
        message.queue_id = 0;
        let appended = self.requeue.put_blocking(message)?;
        self.delivered_until = self.delivered_until.max(appended.end);
        Ok(())
    }

    /// Whether a message was delivered, or put off, before a crash.
    fn was_delivered(&mut self, unit: &Unit) -> bool {
        if self.copies.is_empty() {
            return false;
        }
        let run = self.store.record_at(unit.physical);
        let record = run.as_ref().map(|run| RecordView::parse(run.as_slice()));
        let Some(Ok(record)) = record else {
            return false;
        };
        let times = record.properties().get(keys::TIMER_ROLL_TIMES);
        let times: i32 = times.and_then(|times| times.parse().ok()).unwrap_or(0);
        let way = if unit.is_rolled() {
            Way::PutOff(times.saturating_add(1))
        } else {
            Way::Timer
        };
        self.copies.take(way, &record)
    }

    /// The message of a unit, if it still is where the unit says.
    fn message_of(&self, unit: &Unit) -> Option<Message> {
        let run = self.store.record_at(unit.physical)?;
        let record = RecordView::parse(run.as_slice()).ok()?;
        if record.topic() != names::WHEEL_TIMER
            || i32::try_from(record.total_len()) != Ok(unit.size)
        {
            return None;
        }
        let message = Message::of(&record);
        let out: i64 = message.properties.number(keys::TIMER_OUT_MS)?;
        let precision = self.settings.precision;
        let fits = out.div_euclid(precision) == unit.deliver_time().div_euclid(precision);
        (fits || unit.is_rolled()).then_some(message)
    }
}
