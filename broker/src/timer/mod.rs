// SPDX-License-Identifier: Apache-2.0
//! Messages for any time. They are stored in `rmq_sys_wheel_timer`, sorted by time into the wheel
//! (`timerwheel`, `timerlog`), and put into their own queue when their time has come. What lies
//! further ahead than the wheel reaches is put off: stored in the topic again when part of its time
//! has passed. Apache: `TimerMessageStore`.
//!
//! One thread sorts in and delivers. It sleeps until the next time of delivery; whoever stores a
//! timer message wakes it so that it sorts in early.

pub(crate) mod census;
mod checkpoint;
mod dequeue;
mod enqueue;
mod flush;
pub mod inspect;
mod log;
mod metrics;
mod open;
pub(crate) mod recall;
mod wheel;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use aerobee_message::topic as names;
use aerobee_store::{Queue, Signal, Store, Wake};
use parking_lot::Mutex;

use crate::{
    config::{StoreKeys, Switches},
    copies::Copies,
    due::DueBatch,
    requeue::{PutError, Requeue},
    schedule::millis,
    timer::{
        checkpoint::Checkpoint,
        dequeue::Round,
        flush::Pending,
        log::TimerLog,
        metrics::Metrics,
        wheel::{BLANK_SLOTS, ROUND_SLOTS, Wheel, WheelError},
    },
};

/// After being woken the thread waits so long, for more to come.
const GATHER: Duration = Duration::from_millis(20);
/// Pause after something could not be stored or written.
const PAUSE: Duration = Duration::from_millis(100);
/// How often old files are looked for.
const CLEAN_EVERY: Duration = Duration::from_secs(30);
/// Shortest distance after which messages are put off, in slots.
const ROLL_SLOTS_MIN: i64 = 2;

/// Why the wheel does not start.
#[derive(Debug, thiserror::Error)]
pub enum TimerError {
    #[error(transparent)]
    Wheel(#[from] WheelError),
    #[error("cannot {action} the timer log: {source}")]
    Log {
        action: &'static str,
        source: std::io::Error,
    },
    #[error("cannot open config/timercheck: {0}")]
    Checkpoint(std::io::Error),
}

/// Why the thread cannot go on for now.
#[derive(Debug, thiserror::Error)]
enum Stall {
    #[error(transparent)]
    Put(#[from] PutError),
    #[error("the timer log cannot be written: {0}")]
    Log(#[from] std::io::Error),
    #[error("the broker is stopping")]
    Stopped,
}

/// Settings that are fixed while the broker runs.
#[derive(Debug, Clone, Copy)]
struct Settings {
    precision: i64,
    roll_slots: i64,
    flush_every: Duration,
}

impl Settings {
    fn of(keys: &StoreKeys) -> Self {
        let furthest = ROUND_SLOTS - BLANK_SLOTS;
        let roll_slots = match keys.timer_roll_window_slot {
            slots if (ROLL_SLOTS_MIN..=furthest).contains(&slots) => slots,
            _ => furthest,
        };
        Self {
            precision: keys.timer_precision(),
            roll_slots,
            flush_every: millis(keys.timer_flush_interval_ms),
        }
    }

    fn floor(&self, time: i64) -> i64 {
        time.div_euclid(self.precision) * self.precision
    }
}

/// What others may know and do.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    pulse: Signal,
    /// Whether the thread wants to hear of new messages.
    listens: AtomicBool,
    /// Messages by time, while their number is bounded (`timerCongestNumEachSlot`).
    crowd: Mutex<std::collections::HashMap<i64, i32>>,
    counts_crowd: AtomicBool,
    read_time: AtomicI64,
    queue_offset: AtomicI64,
    booth: census::Booth,
    waiting: AtomicI64,
    enqueued: AtomicI64,
    dequeued: AtomicI64,
}

/// Numbers for tools.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Standing {
    /// The time up to which everything is delivered, ms.
    pub(crate) read_time: i64,
    /// Offset in the timer topic that is sorted in up to.
    pub(crate) queue_offset: i64,
    /// Messages in the wheel.
    pub(crate) waiting: i64,
    /// Messages sorted in since the start.
    pub(crate) enqueued: i64,
    /// Messages delivered since the start.
    pub(crate) dequeued: i64,
}

impl Gate {
    /// A timer message was stored.
    pub(crate) fn stored(&self) {
        if self.listens.load(Ordering::Relaxed) && self.listens.swap(false, Ordering::AcqRel) {
            self.pulse.kick();
        }
    }

    /// Messages that are to be delivered at a time, while they are counted.
    pub(crate) fn crowd_at(&self, time: i64) -> i32 {
        self.counts_crowd.store(true, Ordering::Relaxed);
        self.crowd.lock().get(&time).copied().unwrap_or(0)
    }

    pub(crate) fn standing(&self) -> Standing {
        let load = |value: &AtomicI64| value.load(Ordering::Relaxed);
        Standing {
            read_time: load(&self.read_time),
            queue_offset: load(&self.queue_offset),
            waiting: load(&self.waiting),
            enqueued: load(&self.enqueued),
            dequeued: load(&self.dequeued),
        }
    }
}

/// The thread, from outside.
pub(crate) struct Timer {
    gate: Arc<Gate>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Timer {
    /// Sorts in no more, delivers no more, and makes durable how far it is. Blocks.
    pub(crate) fn stop(mut self) {
        self.gate.pulse.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the timer's thread has panicked");
        }
    }
}

impl Drop for Timer {
    /// Without [`Timer::stop`] it ends as in a crash.
    fn drop(&mut self) {
        self.gate.pulse.stop();
    }
}

/// Messages of the timer topic that were read, whose time has come already.
#[derive(Default)]
struct Batch {
    /// Their positions and sizes in the log.
    late: Vec<(i64, i32)>,
    /// Those before are delivered.
    next: usize,
    /// Keys of those that were taken back.
    recalled: HashSet<String>,
    /// Offset to go on from when all are delivered.
    end: i64,
}

/// The state of the thread.
struct Worker {
    store: Arc<Store>,
    requeue: Arc<Requeue>,
    switches: Arc<Switches>,
    gate: Arc<Gate>,
    settings: Settings,
    wheel: Wheel,
    log: TimerLog,
    checkpoint: Checkpoint,
    metrics: Metrics,
    /// Times before this are delivered.
    read_time: i64,
    /// Now, rounded down; never goes back.
    write_time: i64,
    /// Offset in the timer topic that is sorted in up to.
    queue_offset: i64,
    /// Messages of the topic, by position, whose units a crash has left in the timer log; up to the
    /// position.
    known: HashSet<i64>,
    /// Messages that were delivered before a crash although the checkpoint does not say so.
    copies: Copies,
    batch: Option<Batch>,
    round: Option<Round>,
    /// Messages that are delivered together; empty between turns.
    due: DueBatch,
    /// Where the commit log ended after the last delivery.
    delivered_until: i64,
    /// `read_time` after the last delivery.
    done_time: i64,
    pending: Option<Pending>,
    flushed_at: Instant,
    cleaned_at: Instant,
}

impl Worker {
    fn run(mut self) {
        let mut sleep = Duration::from_millis(1);
        loop {
            self.gate.listens.store(true, Ordering::Release);
            match self.gate.pulse.wait(Some(sleep)) {
                Wake::Stopped => break,
                Wake::Kicked if self.gate.pulse.wait(Some(GATHER)) == Wake::Stopped => break,
                Wake::Kicked | Wake::TimedOut => {}
            }
            sleep = match self.turn() {
                Ok(()) => self.until_next(),
                Err(Stall::Stopped) => break,
                Err(error) => {
                    tracing::warn!(%error, "timer messages have to wait");
                    PAUSE
                }
            };
        }
        self.flush_now();
    }

    /// Sorts in what has come and delivers what is due.
    fn turn(&mut self) -> Result<(), Stall> {
        let now = self.store.clock().millis();
        self.write_time = self.write_time.max(self.settings.floor(now));
        let sorted = self.enqueue();
        self.show();
        sorted?;
        let delivered = self.dequeue();
        if delivered.is_ok() && !self.copies.is_empty() {
            // All that was due is delivered: nothing old can be delivered again.
            self.copies = Copies::default();
        }
        self.show();
        self.flush_in_time();
        delivered
    }

    /// How long nothing is to be done.
    fn until_next(&self) -> Duration {
        let now = self.store.clock().millis();
        let next = self.write_time + self.settings.precision;
        let wait = (next - now).clamp(1, self.settings.precision);
        millis(wait)
    }

    fn queue(&self) -> Option<Arc<Queue>> {
        self.store.queue(names::WHEEL_TIMER, 0)
    }

    fn is_stopped(&self) -> bool {
        self.gate.pulse.is_stopped()
    }

    /// Tells others how far it is.
    fn show(&self) {
        let gate = &self.gate;
        gate.read_time.store(self.read_time, Ordering::Relaxed);
        gate.queue_offset
            .store(self.queue_offset, Ordering::Relaxed);
        self.count_if_wanted();
    }
}
