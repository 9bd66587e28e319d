// SPDX-License-Identifier: Apache-2.0
//! Finding out at the start where the wheel was. Apache: `TimerMessageStore.recover`.

use std::{collections::HashSet, path::Path, sync::Arc, thread, time::Instant};

use crate::{
    config::Switches,
    copies::Copies,
    due::DueBatch,
    error::StartError,
    requeue::Requeue,
    timer::{
        Gate, Settings, Timer, TimerError, Worker,
        checkpoint::Checkpoint,
        log::TimerLog,
        metrics::Metrics,
        wheel::{BLANK_SLOTS, ROUND_SLOTS, Wheel},
    },
};

impl Timer {
    /// Recovers the wheel of a store and starts its thread. Blocks while it reads.
    ///
    /// # Errors
    /// A file cannot be read or is none of the wheel.
    pub(crate) fn start(
        root: &Path,
        requeue: &Arc<Requeue>,
        switches: &Arc<Switches>,
        gate: &Arc<Gate>,
        crashed: bool,
    ) -> Result<Self, StartError> {
        let mut worker = Worker::open(root, requeue, switches, gate).map_err(StartError::from)?;
        let thread = thread::Builder::new()
            .name("timer".to_owned())
            .spawn(move || {
                if crashed {
                    worker.find_copies();
                }
                worker.run();
            })
            .map_err(|source| StartError::Thread {
                name: "timer",
                source,
            })?;
        Ok(Self {
            gate: Arc::clone(gate),
            thread: Some(thread),
        })
    }
}

impl Worker {
    fn open(
        root: &Path,
        requeue: &Arc<Requeue>,
        switches: &Arc<Switches>,
        gate: &Arc<Gate>,
    ) -> Result<Self, TimerError> {
        let config = switches.config();
        let settings = Settings::of(&config.store);
        let store = Arc::clone(requeue.store());
        let now = settings.floor(store.clock().millis());
        let checkpoint =
            Checkpoint::open(&root.join("config/timercheck")).map_err(TimerError::Checkpoint)?;
        let mark = checkpoint.mark();
        let oldest = now - (ROUND_SLOTS - BLANK_SLOTS) * settings.precision;
        let read_time = settings.floor(mark.read_time.max(oldest));
        let first_slot = read_time.div_euclid(settings.precision);
        let (wheel, had_wheel) = Wheel::open(&root.join("timerwheel"), first_slot)?;
        let log = TimerLog::open(
            &root.join("timerlog"),
            config.store.mapped_file_size_timer_log,
        )
        .map_err(|source| TimerError::Log {
            action: "open",
            source,
        })?;
        let mut worker = Self {
            requeue: Arc::clone(requeue),
            switches: Arc::clone(switches),
            gate: Arc::clone(gate),
            settings,
            wheel,
            log,
            checkpoint,
            metrics: Metrics::open(&root.join("config/timermetrics")),
            read_time,
            write_time: now,
            queue_offset: mark.queue_offset,
            known: HashSet::new(),
            copies: Copies::default(),
            batch: None,
            round: None,
            due: DueBatch::new(requeue),
            delivered_until: 0,
            done_time: 0,
            pending: None,
            flushed_at: Instant::now(),
            cleaned_at: Instant::now(),
            store,
        };
        worker
            .recover(had_wheel, first_slot)
            .map_err(|source| TimerError::Log {
                action: "recover",
                source,
            })?;
        worker.clamp_offset();
        worker.show();
        let waiting = worker.wheel.messages();
        gate.waiting
            .store(waiting, std::sync::atomic::Ordering::Relaxed);
        if worker.wheel.len() > 0 {
            tracing::info!(
                times = worker.wheel.len(),
                from = worker.read_time,
                offset = worker.queue_offset,
                wheel = %worker.wheel.path().display(),
                "timer messages wait"
            );
        }
        Ok(worker)
    }

    /// Looks into the log for what was delivered since the checkpoint was written.
    fn find_copies(&mut self) {
        let due = self
            .wheel
            .first()
            .map(|(time, _)| time * self.settings.precision);
        let queued = self
            .queue()
            .and_then(|queue| self.store.store_time_of(&queue, self.queue_offset));
        // What is not due yet was not delivered.
        let due = due.filter(|due| *due < self.write_time);
        if let Some(first) = due.into_iter().chain(queued).min() {
            self.copies = Copies::since(&self.store, first);
        }
    }

    /// Brings the wheel in step with the timer log.
    fn recover(&mut self, had_wheel: bool, first_slot: i64) -> std::io::Result<()> {
        if self.log.is_empty() {
            self.wheel.clear();
            return Ok(());
        }
        let mark = self.checkpoint.mark();
        let from = (mark.log_position - self.log.file_bytes()).max(0);
        let from = if had_wheel { from } else { 0 };
        self.revise(from, mark.log_position, first_slot)?;
        if self.wheel.points_behind(self.log.end()) {
            // The log has lost units that the wheel knows: their chains are built anew.
            tracing::warn!(
                end = self.log.end(),
                "the timer wheel points behind the timer log and is made anew"
            );
            self.wheel.clear();
            self.known.clear();
            self.revise(0, mark.log_position, first_slot)?;
        }
        Ok(())
    }

    fn revise(&mut self, from: i64, durable: i64, first_slot: i64) -> std::io::Result<()> {
        let precision = self.settings.precision;
        let end_of_messages = self.store.confirmed();
        let (wheel, known) = (&mut self.wheel, &mut self.known);
        self.log.recover(from, |position, unit| {
            // A crash of the system may have taken the message, and with it all that came later.
            if unit.physical >= end_of_messages {
                return false;
            }
            let time = unit.deliver_time().div_euclid(precision);
            if time >= first_slot {
                wheel.revise(time, position, if unit.is_delete() { -1 } else { 1 });
            }
            if position >= durable {
                known.insert(unit.physical);
            }
            true
        })
    }

    /// The offset in the topic, within the queue.
    fn clamp_offset(&mut self) {
        let (min, max) = match self.queue() {
            Some(queue) => (queue.min_offset(), queue.max_offset()),
            None => (0, 0),
        };
        let inside = self.queue_offset.clamp(min, max.max(min));
        if inside != self.queue_offset {
            tracing::warn!(
                offset = self.queue_offset,
                min,
                max,
                "the offset of the timer lies outside its queue"
            );
            self.queue_offset = inside;
        }
    }
}
