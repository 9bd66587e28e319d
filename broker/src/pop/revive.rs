// SPDX-License-Identifier: Apache-2.0
//! Putting back what was not acknowledged in time: into the retry topic, or, when it was tried too
//! often, among the dead letters of the group. Apache: `PopReviveService`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use aerobee_message::{
    RecordView,
    properties::keys,
    topic::{RETRY_PREFIX, dead_letter_topic},
};
use aerobee_store::{Access, ReadLimits, ReadStatus};
use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;

use crate::{
    groups::Group,
    pop::{
        Pops, handle,
        journal::{Ack, CheckPoint},
        lane::Lane,
        table::{Key, OffsetList, Point},
    },
    requeue::{Message, PutError},
};

/// Longest sleep of the thread: the journal is looked at, and marks are put down.
const PERIOD: i64 = 1_000;
/// Pauses before what could not be put back is tried again, s. Apache: `ckRewriteIntervalsInSeconds`.
const PAUSES: [i64; 17] = [
    10, 20, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200,
];
/// A check point that stands further back in the journal is written anew at its end.
const LAG_MAX: i64 = 100_000;
/// How long after the start messages wait for a group, or topic, that is not known, ms.
const GROUP_PATIENCE: i64 = 120_000;
/// Check points of a queue written anew in one turn.
const MOVES_MAX: usize = 1_000;
/// Messages that were stored later than they were popped are others, of a topic made anew, ms.
const CLOCK_SLACK: i64 = 1_000;

/// Wakes the thread in time.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    /// When the thread wakes by itself; low while it works, so that nothing is missed.
    next: AtomicI64,
    state: Mutex<AlarmState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct AlarmState {
    rings: bool,
    stopped: bool,
}

impl Alarm {
    /// Something is due at that time.
    #[inline]
    pub(crate) fn set(&self, due: i64) {
        if due < self.next.load(Ordering::SeqCst) {
            self.state.lock().rings = true;
            self.changed.notify_one();
        }
    }

    fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Says that all times count as early from now on.
    fn begin_work(&self) {
        self.next.store(i64::MAX, Ordering::SeqCst);
    }

    /// Sleeps until `next`, or until something earlier is set. `false` at the end.
    fn sleep(&self, next: i64, now: i64) -> bool {
        self.next.store(next, Ordering::SeqCst);
        let mut state = self.state.lock();
        if !state.rings && !state.stopped && next > now {
            let time = Duration::from_millis((next - now).unsigned_abs());
            self.changed.wait_for(&mut state, time);
        }
        state.rings = false;
        !state.stopped
    }
}

/// A check point that is due.
struct Work {
    key: Key,
    lane: Arc<Lane>,
    offsets: OffsetList,
    suspend: bool,
    failures: u8,
    broker: Option<Box<str>>,
}

impl Work {
    fn of(key: Key, point: &Point) -> Self {
        let offset = |distance: &i32| key.start.saturating_add(i64::from(*distance));
        Self {
            key,
            lane: Arc::clone(&point.lane),
            offsets: point.open_distances().iter().map(offset).collect(),
            suspend: point.suspend,
            failures: point.failures,
            broker: point.broker.clone(),
        }
    }
}

/// What became of a message that was to be put back.
enum Back {
    Put,
    /// It is no longer there, nor who wanted it.
    Gone,
    Later,
}

impl Pops {
    /// Starts the thread. Needs a running runtime.
    ///
    /// # Errors
    /// The system gives none.
    pub(crate) fn start(self: &Arc<Self>) -> std::io::Result<JoinHandle<()>> {
        let (pops, runtime) = (Arc::clone(self), Handle::current());
        std::thread::Builder::new()
            .name("pop-revive".to_owned())
            .spawn(move || {
                // Whoever is woken may be served by a task.
                let _entered = runtime.enter();
                pops.run();
            })
    }

    /// Ends the thread and puts down how far it came.
    pub(crate) fn stop(&self, thread: JoinHandle<()>) {
        self.alarm.stop();
        if thread.join().is_err() {
            tracing::error!("the revive thread has panicked");
        }
        self.commit_marks();
        self.orders
            .flush(&self.parts.topics, &self.parts.groups, self.now());
    }

    /// Tells the thread to end, without waiting for it.
    pub(crate) fn end(&self) {
        self.alarm.stop();
    }

    fn run(&self) {
        let mut ordered = self.now();
        let mut ticked = 0;
        loop {
            self.alarm.begin_work();
            let now = self.now();
            let next = self.revive(now);
            if now - ticked >= PERIOD || now < ticked {
                ticked = now;
                self.keep(now);
            }
            if now - ordered >= 10 * PERIOD || now < ordered {
                ordered = now;
                self.orders
                    .flush(&self.parts.topics, &self.parts.groups, now);
            }
            let next = next.unwrap_or(i64::MAX).min(ticked + PERIOD);
            if !self.alarm.sleep(next, self.now()) {
                return;
            }
        }
    }

    /// Puts back all that is due; when the next is. Blocks, so not on a thread of the runtime.
    pub(crate) fn revive(&self, now: i64) -> Option<i64> {
        let mut next = None;
        for (index, table) in self.tables.iter().enumerate() {
            loop {
                let work = {
                    let mut table = table.lock();
                    let due = table.take_due(now);
                    due.map(|(key, point)| Work::of(key, point))
                };
                let Some(work) = work else { break };
                self.put_back(index, &work);
            }
            let due = table.lock().next_due();
            next = match (next, due) {
                (Some(next), Some(due)) => Some(i64::min(next, due)),
                (next, due) => next.or(due),
            };
        }
        next
    }

    /// What is to be done from time to time.
    pub(crate) fn keep(&self, now: i64) {
        for (index, table) in self.tables.iter().enumerate() {
            self.scan(index, now);
            table.lock().expire_early(now);
            self.move_lagging(index);
        }
        self.commit_marks();
    }

    fn put_back(&self, index: usize, work: &Work) {
        let lane = &work.lane;
        let topic = handle::normal_topic(&lane.topic, &lane.group);
        let group = self.parts.groups.find(&lane.group);
        let group = group.filter(|_| self.parts.topics.find(topic).is_some());
        let mut done = OffsetList::new();
        let mut put = false;
        for offset in &work.offsets {
            let back = match &group {
                // A group that was made just before a crash comes back with its clients.
                None if self.now() - self.started < GROUP_PATIENCE => Back::Later,
                None => Back::Gone,
                Some(group) => self.put_message_back(work, group, topic, *offset),
            };
            match back {
                Back::Put => {
                    put = true;
                    done.push(*offset);
                }
                Back::Gone => done.push(*offset),
                Back::Later => {}
            }
        }
        self.note_done(index, work, &done);
        let pause = PAUSES[usize::from(work.failures).min(PAUSES.len() - 1)];
        {
            let mut table = self.tables[index].lock();
            table.revived(work.key, &done);
            table.postpone(work.key, self.now() + pause * 1_000);
        }
        if put {
            self.wake(topic, &lane.group, -1);
        }
    }

    /// Writes down that messages are done with.
    fn note_done(&self, index: usize, work: &Work, done: &[i64]) {
        if done.is_empty() {
            return;
        }
        let broker = work.broker.as_deref();
        let ack = Ack {
            topic: &work.lane.topic,
            group: &work.lane.group,
            queue_id: work.lane.queue_id,
            broker: broker.unwrap_or(&self.parts.identity.broker_name),
            start: work.key.start,
            pop_time: work.key.pop_time,
            offsets: done,
            due: None,
        };
        match self.journal.ack(index, &ack) {
            Ok(appended) => self.tables[index].lock().process(appended.queue_offset),
            Err(error) => {
                tracing::warn!(%error, "retried messages may be retried again after a restart");
            }
        }
    }

    fn put_message_back(&self, work: &Work, group: &Group, topic: &str, offset: i64) -> Back {
        let message = match self.popped_message(work, offset) {
            Ok(Some(message)) => message,
            Ok(None) => return Back::Gone,
            Err(status) => {
                tracing::warn!(topic = %work.lane.topic, queue = work.lane.queue_id, offset, status = status.name(), "a message to be retried cannot be read");
                return Back::Later;
            }
        };
        let is_dead = message.reconsume_times >= group.retry_max_times() && !work.suspend;
        let message = if is_dead {
            dead_letter(message, group, topic)
        } else {
            self.retried(message, work, group, topic)
        };
        match self.put_again(&message, group) {
            Ok(()) => {
                let events = self.parts.requeue.events();
                let counts = if is_dead {
                    &events.dead_letters
                } else {
                    &events.revived
                };
                counts.pair(group.name(), topic);
                Back::Put
            }
            Err(error) => {
                tracing::warn!(topic = %message.topic, %error, "a message cannot be retried yet");
                Back::Later
            }
        }
    }

    fn put_again(&self, message: &Message, group: &Group) -> Result<(), PutError> {
        let offsets = &self.parts.offsets;
        let is_retry = message.topic.starts_with(RETRY_PREFIX);
        if is_retry && message.queue_id > 0 {
            self.parts
                .requeue
                .widen_blocking(&message.topic, self.retry_queues(message, group))?;
        }
        if is_retry
            && offsets
                .query(group.name(), &message.topic, message.queue_id)
                .is_none()
        {
            offsets.commit(group.name(), &message.topic, message.queue_id, 0);
        }
        self.parts.requeue.put_blocking(message).map(|_| ())
    }

    /// How many queues a retry topic has when messages keep their queues: as many as the topic.
    fn retry_queues(&self, message: &Message, group: &Group) -> i32 {
        let topic = handle::normal_topic(&message.topic, group.name());
        let topic = self.parts.topics.find(topic);
        let queues = topic.map_or(0, |topic| topic.config().write_queue_nums);
        queues.max(message.queue_id.saturating_add(1))
    }

    fn retried(&self, mut message: Message, work: &Work, group: &Group, topic: &str) -> Message {
        let counted = i32::from(!work.suspend);
        if message.reconsume_times == 0 || message.properties.get(keys::FIRST_POP_TIME).is_none() {
            message
                .properties
                .set(keys::FIRST_POP_TIME, work.key.pop_time);
        }
        message.properties.set(keys::ORIGIN_GROUP, group.name());
        message.reconsume_times = message.reconsume_times.saturating_add(counted);
        if !message.topic.starts_with(RETRY_PREFIX) {
            let v2 = self.parts.switches.config().pop.enable_retry_topic_v2;
            message.topic = handle::retry_topic(group.name(), topic, v2);
        }
        if !self.parts.switches.config().pop.use_separate_retry_queue {
            message.queue_id = 0;
        }
        message.born_host = self.parts.identity.address;
        message.prepared_transaction_offset = 0;
        message
    }

    /// The message at an offset, as it was when it was popped; nothing when it is gone.
    fn popped_message(&self, work: &Work, offset: i64) -> Result<Option<Message>, ReadStatus> {
        let lane = &work.lane;
        let slot = self
            .parts
            .topics
            .find(&lane.topic)
            .and_then(|topic| topic.queue(lane.queue_id));
        let Some(slot) = slot else {
            return Ok(None);
        };
        let Some(queue) = slot.queue() else {
            return Ok(None);
        };
        if offset < queue.min_offset() || offset >= queue.max_offset() {
            return Ok(None);
        }
        let limits = ReadLimits {
            max_messages: 1,
            max_bytes: usize::MAX,
        };
        let store = &self.parts.store;
        let read = store.read(queue, offset, limits, Access::Any, |_| true);
        if read.status == ReadStatus::MessageWasRemoving {
            return Ok(None);
        }
        let record = read
            .runs
            .first()
            .and_then(|run| RecordView::parse(run.as_slice()).ok());
        match record {
            Some(record) if record.queue_offset() == offset => {
                let latest = work.key.pop_time.saturating_add(CLOCK_SLACK);
                let is_same = record.store_timestamp() <= latest;
                Ok(is_same.then(|| Message::of(&record)))
            }
            // The read has passed over it: it is damaged.
            Some(_) => Err(ReadStatus::OffsetFoundNull),
            None => Err(read.status),
        }
    }

    /// Writes check points that hold the journal back anew at its end.
    fn move_lagging(&self, index: usize) {
        // Under the lock, so that no message is acknowledged between the two records.
        let mut table = self.tables[index].lock();
        for _ in 0..MOVES_MAX {
            let Some((key, point)) = table.lagging(LAG_MAX) else {
                return;
            };
            let distances = point.open_distances();
            let broker = point.broker.as_deref();
            let record = CheckPoint {
                topic: &point.lane.topic,
                group: &point.lane.group,
                queue_id: point.lane.queue_id,
                broker: broker.unwrap_or(&self.parts.identity.broker_name),
                start: key.start,
                pop_time: key.pop_time,
                invisible_time: point.invisible_time,
                distances: &distances,
                suspend: point.suspend,
            };
            match self.journal.check_point(index, &record) {
                Ok(appended) => {
                    table.move_to(key, appended.queue_offset);
                    table.process(appended.queue_offset);
                }
                Err(error) => {
                    tracing::warn!(%error, "an old check point cannot be written anew");
                    return;
                }
            }
        }
    }
}

fn dead_letter(mut message: Message, group: &Group, topic: &str) -> Message {
    if message.properties.get(keys::RETRY_TOPIC).is_none() {
        message.properties.set(keys::RETRY_TOPIC, topic);
    }
    message.properties.set(keys::DLQ_ORIGIN_TOPIC, topic);
    message.topic = dead_letter_topic(group.name());
    message.queue_id = 0;
    message.reconsume_times = message.reconsume_times.saturating_add(1);
    message.prepared_transaction_offset = 0;
    message
}
