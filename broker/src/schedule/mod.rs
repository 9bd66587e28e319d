// SPDX-License-Identifier: Apache-2.0
//! Delay levels: messages wait in the queue of their level in `SCHEDULE_TOPIC_XXXX`, in the order in
//! which they are due, and are delivered from its head. `config/delayOffset.json` says how far each
//! level is. Apache: `ScheduleMessageService`.
//!
//! One thread delivers all levels. It sleeps until the next message is due; what is stored while it
//! sleeps is due no earlier than the shortest delay of a level without messages, which bounds the
//! sleep too, so nobody has to wake it.

pub(crate) mod levels;
pub(crate) mod progress;

use std::{path::Path, sync::Arc, thread, time::Duration};

use aerobee_message::{RecordView, topic as names};
use aerobee_store::{Access, Queue, ReadLimits, Signal, Store, Wake};
use parking_lot::Mutex;

use crate::{
    copies::{Copies, Way},
    due::{DueBatch, Unstored},
    error::StartError,
    requeue::{PutError, Requeue},
    schedule::{levels::DelayLevels, progress::Progress},
};

/// Longest sleep; bounds how late a jump of the clock is noticed.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Progress is written at least so often while messages are delivered, whatever is configured: what
/// was delivered since is delivered again after a crash.
const PERSIST_AT_LEAST: Duration = Duration::from_secs(1);
/// Shortest sleep, and the pause after a message could not be stored.
const PAUSE: Duration = Duration::from_millis(100);
/// Messages read at once.
const BATCH: u32 = 256;
/// Bytes read at once.
const BATCH_BYTES: usize = 1 << 20;
/// Tags codes up to this are addresses of Apache's queue extension, which we do not read.
const EXTENSION_ADDRESS_MAX: i64 = i32::MIN as i64 - 1;

/// Delivers delayed messages.
pub(crate) struct Schedule {
    inner: Arc<Inner>,
    thread: Option<thread::JoinHandle<()>>,
}

struct Inner {
    store: Arc<Store>,
    requeue: Arc<Requeue>,
    levels: Arc<DelayLevels>,
    progress: Arc<Progress>,
    pulse: Signal,
    /// Messages that were delivered before a crash although progress does not say so.
    copies: Mutex<Copies>,
}

/// How the delivery of a level ended for now.
enum Pause {
    /// The next message is due, or may be stored and due, after this time.
    Until(Duration),
    /// A message could not be stored.
    Failed,
    Stopped,
}

impl Schedule {
    /// Reads how far the levels are and starts to deliver. Needs a running runtime.
    ///
    /// # Errors
    /// The file exists but neither it nor its backup can be read.
    pub(crate) fn start(
        directory: &Path,
        requeue: &Arc<Requeue>,
        levels: &Arc<DelayLevels>,
        persist_every: Duration,
        crashed: bool,
    ) -> Result<Self, StartError> {
        let store = Arc::clone(requeue.store());
        let inner = Arc::new(Inner {
            progress: Arc::new(Progress::open(
                &directory.join("delayOffset.json"),
                persist_every.min(PERSIST_AT_LEAST),
            )?),
            store,
            requeue: Arc::clone(requeue),
            levels: Arc::clone(levels),
            pulse: Signal::default(),
            copies: Mutex::default(),
        });
        inner.clamp_all();
        let running = Arc::clone(&inner);
        let thread = thread::Builder::new()
            .name("schedule".to_owned())
            .spawn(move || {
                if crashed {
                    running.find_copies();
                }
                running.run();
            })
            .map_err(|error| StartError::Thread {
                name: "schedule",
                source: error,
            })?;
        Ok(Self {
            inner,
            thread: Some(thread),
        })
    }

    /// How far the levels are.
    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.inner.progress
    }

    /// Delivers no more and writes how far the levels are. Blocks.
    pub(crate) fn stop(mut self) {
        self.inner.pulse.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the delay levels has panicked");
        }
        if let Err(error) = self.inner.progress.persist_now() {
            tracing::error!(%error, "progress of the delay levels is not kept: messages delivered lately will be delivered again");
        }
    }
}

impl Drop for Schedule {
    /// Without [`Schedule::stop`] it ends as in a crash.
    fn drop(&mut self) {
        self.inner.pulse.stop();
    }
}

impl Inner {
    fn run(&self) {
        let mut batch = DueBatch::new(&self.requeue);
        loop {
            let mut sleep = SLEEP_MAX;
            let mut failed = false;
            for (index, delay) in self.levels.all().iter().enumerate() {
                let level = i32::try_from(index + 1).unwrap_or(i32::MAX);
                match self.deliver(&mut batch, level, *delay) {
                    Pause::Until(time) => sleep = sleep.min(time),
                    Pause::Failed => {
                        sleep = sleep.min(PAUSE);
                        failed = true;
                    }
                    Pause::Stopped => return,
                }
            }
            if !failed {
                // All that was due is delivered: nothing old can be delivered again.
                *self.copies.lock() = Copies::default();
            }
            if let Err(error) = self.progress.persist_in_time(self.store.flushed()) {
                tracing::error!(%error, "cannot keep the progress of the delay levels; trying again");
            }
            if self.pulse.wait(Some(sleep.max(Duration::from_millis(1)))) == Wake::Stopped {
                return;
            }
        }
    }

    fn queue(&self, level: i32) -> Option<Arc<Queue>> {
        self.store.queue(names::SCHEDULE, level - 1)
    }

    /// Offsets outside their queues, as after a loss of the log's end, are brought back into them.
    fn clamp_all(&self) {
        for level in 1..=self.levels.highest() {
            if let Some(queue) = self.queue(level) {
                self.clamped(level, &queue);
            }
        }
    }

    fn clamped(&self, level: i32, queue: &Queue) -> i64 {
        let offset = self.progress.get(level);
        let (min, max) = (queue.min_offset(), queue.max_offset());
        let inside = offset.clamp(min, max.max(min));
        if inside != offset {
            tracing::warn!(
                level,
                offset,
                min,
                max,
                "the offset of a delay level lies outside its queue"
            );
            self.progress.set(level, inside, self.store.confirmed());
        }
        inside
    }

    /// Delivers what is due in a level.
    fn deliver(&self, batch: &mut DueBatch, level: i32, delay: i64) -> Pause {
        // What is stored from now on is due after the delay of its level.
        let nothing = Pause::Until(millis(delay).clamp(PAUSE, SLEEP_MAX));
        let Some(queue) = self.queue(level) else {
            return nothing;
        };
        let mut offset = self.clamped(level, &queue);
        loop {
            if self.pulse.is_stopped() {
                return Pause::Stopped;
            }
            if offset >= queue.max_offset() {
                return nothing;
            }
            let (due, wait) = self.count_due(&queue, offset, level, delay);
            if due == 0 {
                return Pause::Until(wait.unwrap_or(PAUSE));
            }
            let until = offset + i64::from(due);
            match self.deliver_range(batch, &queue, level, offset..until) {
                Ok(next) => offset = next,
                Err(error) => {
                    tracing::warn!(level, %error, "a delayed message cannot be delivered yet");
                    return Pause::Failed;
                }
            }
        }
    }

    /// Looks into the log for what was delivered since progress was written.
    fn find_copies(&self) {
        let now = self.store.clock().millis();
        let heads = (1..=self.levels.highest()).filter_map(|level| {
            let queue = self.queue(level)?;
            let entry = self.store.entry_at(&queue, self.progress.get(level))?;
            (entry.tags_code > EXTENSION_ADDRESS_MAX).then_some(entry.tags_code)
        });
        // What is not due yet was not delivered.
        if let Some(first) = heads.filter(|due| *due <= now).min() {
            *self.copies.lock() = Copies::since(&self.store, first);
        }
    }

    /// How many messages from an offset on are due, and if none is, how long the first one waits.
    fn count_due(
        &self,
        queue: &Queue,
        offset: i64,
        level: i32,
        delay: i64,
    ) -> (u32, Option<Duration>) {
        let now = self.store.clock().millis();
        let mut due = 0;
        while due < BATCH {
            let at = offset + i64::from(due);
            if at >= queue.max_offset() {
                break;
            }
            // An entry that cannot be read holds nobody up.
            if let Some(entry) = self.store.entry_at(queue, at) {
                let mut time = entry.tags_code;
                if time <= EXTENSION_ADDRESS_MAX {
                    let stored = self.store.store_time_of(queue, at).unwrap_or(now);
                    time = stored.saturating_add(self.levels.millis(level).unwrap_or(1000));
                }
                // Further off than its delay: the clock went back, or the delay was made shorter.
                let waits = time.saturating_sub(now);
                if waits > 0 && waits <= delay {
                    return (due, Some(millis(waits)));
                }
            }
            due += 1;
        }
        (due, None)
    }

    /// Delivers the messages at these offsets in order; the offset to go on from.
    fn deliver_range(
        &self,
        batch: &mut DueBatch,
        queue: &Queue,
        level: i32,
        offsets: std::ops::Range<i64>,
    ) -> Result<i64, PutError> {
        let limits = ReadLimits {
            max_messages: u32::try_from(offsets.end - offsets.start).unwrap_or(1),
            max_bytes: BATCH_BYTES,
        };
        let read = self
            .store
            .read(queue, offsets.start, limits, Access::Any, |_: i64| true);
        for run in &read.runs {
            let mut bytes = run.as_slice();
            while let Ok(record) = RecordView::parse(bytes) {
                bytes = &bytes[record.total_len()..];
                let at = record.queue_offset();
                if at >= offsets.end {
                    self.commit(batch, level, offsets.end)?;
                    return Ok(offsets.end);
                }
                let is_done = self.copies.lock().take(Way::Level, &record);
                if !is_done {
                    let added = batch.add(&record, &[], at);
                    // A copy counts once: nothing before it may have to be tried again.
                    let is_alone = !self.copies.lock().is_empty();
                    if batch.is_full() || is_alone || added.is_err() {
                        let done = at + i64::from(added.is_ok());
                        self.commit(batch, level, done)?;
                        added?;
                    }
                }
                if self.pulse.is_stopped() {
                    self.commit(batch, level, at + 1)?;
                    return Ok(at + 1);
                }
            }
        }
        let next = read.next.clamp(offsets.start + 1, offsets.end);
        self.commit(batch, level, next)?;
        Ok(next)
    }

    /// Stores the messages of the batch, which are those before `next` that are not stored yet.
    fn commit(&self, batch: &mut DueBatch, level: i32, next: i64) -> Result<(), PutError> {
        match batch.commit(|_, _| {}) {
            Ok(end) => {
                self.progress.set(level, next, end);
                Ok(())
            }
            Err(Unstored { token, end, error }) => {
                self.progress.set(level, token, end);
                Err(error)
            }
        }
    }
}

pub(crate) fn millis(value: i64) -> Duration {
    Duration::from_millis(u64::try_from(value).unwrap_or(0))
}
