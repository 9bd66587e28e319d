// SPDX-License-Identifier: Apache-2.0
//! One run of the simulation: a store on the forgetful disk, clients with a ledger, and one source of chance that
//! decides what happens next.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aerobee_message::{Record, RecordView, TagsCode};
use aerobee_store::{
    Access, AppendError, Config, Env, FlushMode, Flushed, Queue, ReadLimits, ReadOnlyReason,
    ReadStatus, Staged, Store, Task, Turn,
};
use parking_lot::Mutex;

use crate::{
    disk::{Crash, Disk, Trouble},
    model::{Message, Model, QueueId, body},
    random::Random,
};

const TOPICS: [&str; 3] = ["orders", "audit", "%RETRY%billing"];
const TASKS: [Task; 4] = [Task::Flusher, Task::Keeper, Task::Preparer, Task::Reader];

/// A run, from an empty disk to the last check.
pub struct World {
    pub disk: Arc<Disk>,
    root: PathBuf,
    random: Random,
    habits: Habits,
    shared: Arc<Shared>,
    store: Option<Arc<Store>>,
}

/// What the callbacks of a store share with the rest.
struct Shared {
    disk: Arc<Disk>,
    model: Mutex<Model>,
    /// Chooses what happens while a sync is under way.
    random: Mutex<Random>,
    largest_body: u64,
    may_meet: AtomicBool,
}

/// What one seed makes likely.
#[derive(Debug, Clone)]
struct Habits {
    config: Config,
    largest_body: u64,
    queues: i32,
    operations: u64,
    trouble_percent: u64,
    turn_percent: u64,
}

impl Habits {
    fn choose(random: &mut Random, root: &std::path::Path) -> Habits {
        let mode = *random.one_of(&[FlushMode::Sync, FlushMode::Async]);
        let config = Config {
            commit_log_file_bytes: *random.one_of(&[4096, 8192, 20_000, 65_536]),
            queue_file_entries: *random.one_of(&[5, 10, 300, 10_000]),
            flush_mode: mode,
            flush_bytes: *random.one_of(&[1000, 4 << 20]),
            populate_bytes: 4096,
            hot_bytes: *random.one_of(&[0, 64 << 20]),
            sync_flush_timeout: Duration::from_secs(5),
            flush_waiters: *random.one_of(&[3, 1000]),
            ..Config::new(root)
        };
        Habits {
            config,
            largest_body: *random.one_of(&[40, 300, 1500]),
            queues: *random.one_of(&[1, 2, 6]),
            operations: *random.one_of(&[20, 60, 150]),
            trouble_percent: *random.one_of(&[0, 2, 10]),
            turn_percent: *random.one_of(&[10, 30, 50]),
        }
    }
}

impl World {
    pub fn new(root: PathBuf, seed: u64, verbose: bool) -> World {
        let mut random = Random::new(seed);
        let habits = Habits::choose(&mut random, &root);
        if verbose {
            println!("{habits:?}");
        }
        let disk = Arc::new(Disk::new(root.clone(), random.fork(), verbose));
        let shared = Arc::new(Shared {
            disk: Arc::clone(&disk),
            model: Mutex::default(),
            random: Mutex::new(random.fork()),
            largest_body: habits.largest_body,
            may_meet: AtomicBool::new(false),
        });
        World {
            disk,
            root,
            random,
            habits,
            shared,
            store: None,
        }
    }

    /// Runs, ends and checks the store some times.
    pub fn run(&mut self) {
        for _ in 0..self.random.range(2..6) {
            self.start();
            let operations = self.random.below(self.habits.operations) + 5;
            for _ in 0..operations {
                self.operation();
                if self.disk.is_dead() {
                    break;
                }
                self.look();
            }
            self.end();
        }
        // The last start is undisturbed and ends cleanly.
        self.start_in_peace();
        self.look();
        self.close();
        assert!(!self.root.join("abort").exists());
        self.start_in_peace();
    }

    fn env(&self) -> Env {
        let clock = aerobee_store::Clock::given(Arc::clone(&self.disk.time) as _);
        Env::stepped(Arc::clone(&self.disk) as _, clock)
    }

    /// Opens the store, perhaps with a crash or with trouble on the way.
    fn start(&mut self) {
        while self.random.percent(25) {
            if self.random.percent(60) {
                let crash = *self.random.one_of(&[Crash::Kill, Crash::PowerCut]);
                let within = self.random.below(60) + 1;
                self.disk.crash_within(within, crash);
            } else {
                let trouble = *self.random.one_of(&[
                    Trouble::Sync,
                    Trouble::Write,
                    Trouble::Read,
                    Trouble::Full,
                    Trouble::Open,
                ]);
                self.disk.set_trouble(Some((trouble, 10)));
            }
            // What fails here fails again or not; whatever it leaves must not hurt.
            match Store::open(self.habits.config.clone(), self.env()) {
                Ok(store) if !self.disk.is_dead() => {
                    self.disk.calm();
                    self.opened(&store);
                    self.end_by(Crash::Kill);
                }
                outcome => {
                    let crash = self.disk.is_dead();
                    if let Err(error) = outcome {
                        self.check_text(&error.to_string());
                        assert!(
                            crash || matches!(error, aerobee_store::OpenError::Io { .. }),
                            "{error}"
                        );
                    }
                    self.after_crash();
                }
            }
        }
        self.start_in_peace();
    }

    fn start_in_peace(&mut self) {
        let crash = self.disk.restart();
        self.forget(crash);
        let store = Store::open(self.habits.config.clone(), self.env())
            .unwrap_or_else(|error| panic!("the store does not open: {error}"));
        self.opened(&store);
    }

    fn check_text(&self, text: &str) {
        assert!(
            text.contains(self.root.to_str().unwrap()),
            "no path in: {text}"
        );
    }

    /// The store is open: what it has must be what it owes.
    fn opened(&mut self, store: &Arc<Store>) {
        {
            let mut model = self.shared.model.lock();
            let end = store.max_physical();
            model.recovered(end);
            // What a start shows is durable: it is visible, and the next power cut must not take it.
            model.durable_until(store.flushed());
            model.final_flushed = None;
            assert!(store.flushed() <= end && store.min_physical() <= end);
            assert!(store.writable().is_ok(), "{:?}", store.writable());
        }
        self.check_all(store);
        self.store = Some(Arc::clone(store));
        let (shared, weak) = (Arc::clone(&self.shared), Arc::downgrade(store));
        let queues = self.habits.queues;
        self.disk
            .set_meanwhile(Some(Arc::new(move || shared.meanwhile(&weak, queues))));
    }

    /// Every queue, read to its end, is what the model says, and has nothing more.
    fn check_all(&self, store: &Store) {
        let model = self.shared.model.lock();
        for (topic, name) in TOPICS.iter().enumerate() {
            for id in 0..self.habits.queues {
                let owed: Vec<&Message> = model.of_queue((topic, id)).collect();
                let Some(queue) = store.queue(name, id) else {
                    assert!(owed.is_empty(), "{name}/{id} is missing");
                    continue;
                };
                assert_eq!(
                    queue.max_offset(),
                    owed.len() as i64,
                    "the end of {name}/{id}"
                );
                let mut at = queue.min_offset();
                while at < queue.max_offset() {
                    at = check_read(store, &queue, at, &owed, true);
                }
            }
        }
    }

    /// One thing happens.
    fn operation(&mut self) {
        if self.random.percent(self.habits.turn_percent) {
            return self.turn();
        }
        match self.random.below(100) {
            0..50 => self.append(),
            50..58 => self.append_batch(),
            58..70 => self.append_staged(),
            70..80 => self.read(),
            80..86 => self.disk.time.pass(self.random.below(1500)),
            86..88 => self.jump(),
            88..91 => self.disk.write_back(),
            91..93 => {
                let (slow, short) = (self.random.percent(30), self.random.percent(50));
                self.disk.set_habits(slow, short);
            }
            93..96 => self.trouble(),
            96..98 => self.look_closely(),
            _ => {
                let crash = *self.random.one_of(&[Crash::Kill, Crash::PowerCut]);
                let within = self.random.below(40) + 1;
                self.disk.crash_within(within, crash);
            }
        }
    }

    fn store(&self) -> Arc<Store> {
        Arc::clone(self.store.as_ref().unwrap())
    }

    fn turn(&mut self) {
        let task = *self.random.one_of(&TASKS);
        self.shared.may_meet.store(true, Ordering::Relaxed);
        let turn = self.store().step(task);
        self.shared.may_meet.store(false, Ordering::Relaxed);
        if let Some(Turn::Wait(Some(time))) = turn
            && self.random.percent(20)
        {
            self.disk
                .time
                .pass(u64::try_from(time.as_millis()).unwrap());
        }
    }

    fn jump(&mut self) {
        let step = i64::try_from(self.random.below(10_000_000)).unwrap();
        let sign = if self.random.percent(50) { 1 } else { -1 };
        self.disk
            .time
            .wall
            .fetch_add(sign * step, Ordering::Relaxed);
    }

    fn trouble(&mut self) {
        let trouble = if self.random.percent(self.habits.trouble_percent * 10) {
            let kind = *self.random.one_of(&[
                Trouble::Sync,
                Trouble::Write,
                Trouble::Read,
                Trouble::Full,
                Trouble::Full,
                Trouble::Open,
            ]);
            Some((kind, *self.random.one_of(&[10, 50, 100])))
        } else {
            None
        };
        self.disk.set_trouble(trouble);
    }

    fn queue_id(&mut self) -> QueueId {
        choose_queue(&mut self.random, self.habits.queues)
    }

    fn append(&mut self) {
        let id = self.queue_id();
        let store = self.store();
        let Some(queue) = self.shared.queue(&store, id) else {
            return;
        };
        let len = self.shared.body_len(&mut self.random);
        self.shared.append(&store, &queue, id, len);
    }

    fn append_batch(&mut self) {
        let id = self.queue_id();
        let store = self.store();
        let Some(queue) = self.shared.queue(&store, id) else {
            return;
        };
        let lens: Vec<usize> = (0..self.random.range(1..5))
            .map(|_| self.shared.body_len(&mut self.random) / 4 + 8)
            .collect();
        let mut model = self.shared.model.lock();
        let bodies: Vec<(u64, Vec<u8>)> = lens
            .iter()
            .map(|len| {
                let number = model.next_number();
                (number, body(number, *len))
            })
            .collect();
        let records: Vec<Record<'_>> = bodies.iter().map(|(_, body)| record(id, body)).collect();
        let mut places = Vec::new();
        // Not locked while the store works: it may call back.
        drop(model);
        let was_dead = self.disk.is_dead();
        match store.append_batch(&queue, &records, &mut places) {
            Ok(()) => {
                let mut model = self.shared.model.lock();
                for (index, place) in places.iter().enumerate() {
                    let end = places
                        .get(index + 1)
                        .map_or(place.end, |next| next.physical);
                    let (number, body) = &bodies[index];
                    model.add(id, *number, body.len(), *place, end, was_dead);
                }
                drop(model);
                if let Some(last) = places.last() {
                    self.shared.wait(&store, last.end);
                }
            }
            Err(error) => self.shared.refused(&error),
        }
    }

    fn append_staged(&mut self) {
        let store = self.store();
        let mut staged = Staged::default();
        let mut items = Vec::new();
        for _ in 0..self.random.range(1..8) {
            let id = self.queue_id();
            let Some(queue) = self.shared.queue(&store, id) else {
                continue;
            };
            let len = self.shared.body_len(&mut self.random);
            let number = self.shared.model.lock().next_number();
            let body = body(number, len);
            match store.stage(&mut staged, &queue, &record(id, &body)) {
                Ok(()) => items.push((id, number, body.len())),
                Err(error) => self.shared.refused(&error),
            }
        }
        let mut ends = Vec::new();
        store.append_staged(&mut staged, |index, outcome| {
            let (id, number, len) = items[index];
            match outcome {
                Ok(place) => {
                    let ghost = self.disk.is_dead();
                    let mut model = self.shared.model.lock();
                    model.add(id, number, len, place, place.end, ghost);
                    ends.push(place.end);
                }
                Err(error) => self.shared.refused(&error),
            }
        });
        for end in ends {
            self.shared.wait(&store, end);
        }
    }

    fn read(&mut self) {
        let id = self.queue_id();
        let store = self.store();
        let Some(queue) = store.queue(TOPICS[id.0], id.1) else {
            return;
        };
        let model = self.shared.model.lock();
        let owed: Vec<&Message> = model.of_queue(id).collect();
        let max = queue.max_offset();
        assert!(max <= owed.len() as i64);
        let from = i64::try_from(self.random.below(max.unsigned_abs() + 2)).unwrap();
        check_read(&store, &queue, from, &owed, false);
        if let Some(message) = owed.get(usize::try_from(from).unwrap())
            && let Some(run) = store.record_at(message.physical)
        {
            check_record(
                &RecordView::parse(run.as_slice()).unwrap(),
                message,
                id.0,
                id.1,
            );
        }
    }

    /// What the store says of itself after each step.
    fn look(&self) {
        let store = self.store();
        let mut model = self.shared.model.lock();
        let (flushed, end) = (store.flushed(), store.max_physical());
        assert!(flushed <= end, "flushed {flushed}, end {end}");
        let file_bytes = self.habits.config.commit_log_file_bytes.cast_signed();
        let last = model.log.last().map_or(0, |last| last.end);
        assert!(
            last == end || (last < end && end % file_bytes == 0),
            "the log ends at {end}, its last message at {last}"
        );
        if self.disk.failed_syncs() > 0 {
            assert_eq!(store.writable(), Err(ReadOnlyReason::SyncFailed));
        }
        if let Some(limit) = model.final_flushed {
            assert_eq!(flushed, limit, "something was flushed after a failed sync");
        }
        if store.writable() == Err(ReadOnlyReason::SyncFailed) {
            model.final_flushed = Some(flushed);
        }
        model.durable_until(flushed);
        if store.flush_mode() == FlushMode::Sync {
            assert_eq!(store.confirmed(), flushed);
        }
    }

    /// All queues, while the store runs.
    fn look_closely(&self) {
        let store = self.store();
        let model = self.shared.model.lock();
        for id in model.queues.keys() {
            let Some(queue) = store.queue(TOPICS[id.0], id.1) else {
                continue;
            };
            let owed: Vec<&Message> = model.of_queue(*id).collect();
            let mut at = queue.min_offset();
            while at < queue.max_offset() {
                let next = check_read(&store, &queue, at, &owed, false);
                if next <= at {
                    break;
                }
                at = next;
            }
        }
    }

    /// Ends the run in one of the ways there are.
    fn end(&mut self) {
        if self.disk.is_dead() {
            return self.after_crash();
        }
        match self.random.below(10) {
            0..3 => self.end_by(Crash::Kill),
            3..7 => self.end_by(Crash::PowerCut),
            7 => {
                // In the middle of closing.
                let crash = *self.random.one_of(&[Crash::Kill, Crash::PowerCut]);
                let within = self.random.below(30) + 1;
                self.disk.crash_within(within, crash);
                self.close();
            }
            _ => {
                if self.random.percent(70) {
                    self.disk.set_trouble(None);
                }
                self.close();
            }
        }
    }

    fn end_by(&mut self, crash: Crash) {
        self.look();
        self.disk.crash(crash);
        self.after_crash();
    }

    fn after_crash(&mut self) {
        self.disk.set_meanwhile(None);
        self.store = None;
        let crash = self.disk.restart();
        self.forget(crash);
    }

    /// What a crash took is no longer owed: what the process had, and what the page cache had.
    fn forget(&self, crash: Option<Crash>) {
        if crash == Some(Crash::PowerCut) {
            self.shared.model.lock().power_cut();
        }
    }

    fn close(&mut self) {
        self.disk.set_meanwhile(None);
        let store = self.store.take().unwrap();
        let outcome = store.close();
        if !self.disk.is_dead() {
            let mut model = self.shared.model.lock();
            match outcome {
                Ok(()) => {
                    model.durable_until(i64::MAX);
                    drop(model);
                    self.check_files(&store);
                }
                Err(error) => {
                    assert!(self.root.join("abort").exists(), "{error}");
                    model.durable_until(store.flushed());
                }
            }
        }
        drop(store);
        self.after_crash();
    }

    /// The files of a directory that was closed, seen without the store.
    fn check_files(&self, store: &Store) {
        let model = self.shared.model.lock();
        let entries = u64::from(self.habits.config.queue_file_entries);
        for id in model.queues.keys() {
            let dir = self
                .root
                .join("consumequeue")
                .join(TOPICS[id.0])
                .join(id.1.to_string());
            let mut owed = model.of_queue(*id);
            let mut names: Vec<PathBuf> = fs::read_dir(&dir)
                .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
                .unwrap_or_default();
            names.sort();
            for name in names {
                let bytes = fs::read(&name).unwrap();
                assert_eq!(bytes.len() as u64, entries * 20);
                for entry in bytes.chunks(20) {
                    let physical = i64::from_be_bytes(*entry.first_chunk().unwrap());
                    let size = i32::from_be_bytes(*entry[8..].first_chunk().unwrap());
                    match owed.next() {
                        Some(message) => assert_eq!(
                            (physical, physical + i64::from(size)),
                            (message.physical, message.end),
                            "{}",
                            name.display()
                        ),
                        None => assert!(
                            entry.iter().all(|byte| *byte == 0),
                            "stale entries in {}",
                            name.display()
                        ),
                    }
                }
            }
            assert!(
                owed.next().is_none(),
                "entries are missing in {}",
                dir.display()
            );
        }
        let file_bytes = self.habits.config.commit_log_file_bytes.cast_signed();
        for entry in fs::read_dir(self.root.join("commitlog")).unwrap() {
            let path = entry.unwrap().path();
            let base: i64 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
            let bytes = fs::read(&path).unwrap();
            assert_eq!(bytes.len() as i64, file_bytes);
            let used = (store.max_physical() - base).clamp(0, file_bytes);
            assert!(
                bytes[usize::try_from(used).unwrap()..]
                    .iter()
                    .all(|byte| *byte == 0),
                "bytes behind the end in {}",
                path.display()
            );
        }
    }

    pub fn acknowledged(&self) -> u64 {
        self.shared.model.lock().acknowledged
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // It holds the disk, which holds it.
        self.disk.set_meanwhile(None);
    }
}

impl Shared {
    fn body_len(&self, random: &mut Random) -> usize {
        usize::try_from(random.below(self.largest_body) + 8).unwrap()
    }

    fn queue(&self, store: &Arc<Store>, (topic, id): QueueId) -> Option<Arc<Queue>> {
        match store.create_queue(TOPICS[topic], id) {
            Ok(queue) => Some(queue),
            Err(error) => {
                self.refused(&error);
                None
            }
        }
    }

    fn append(self: &Arc<Self>, store: &Arc<Store>, queue: &Arc<Queue>, id: QueueId, len: usize) {
        let number = self.model.lock().next_number();
        let body = body(number, len);
        let was_dead = self.disk.is_dead();
        match store.append(queue, &record(id, &body)) {
            Ok(place) => {
                self.model
                    .lock()
                    .add(id, number, body.len(), place, place.end, was_dead);
                self.wait(store, place.end);
            }
            Err(error) => self.refused(&error),
        }
    }

    /// A client waits for the disk; when it is told that its message is durable, that is a promise.
    fn wait(self: &Arc<Self>, store: &Arc<Store>, end: i64) {
        let shared = Arc::clone(self);
        store.when_flushed(
            end,
            Box::new(move |outcome| {
                if outcome != Flushed::Durable || shared.disk.is_dead() {
                    return;
                }
                let mut model = shared.model.lock();
                if let Some(limit) = model.final_flushed {
                    assert!(end <= limit, "acknowledged after a failed sync");
                }
                model.durable_until(end);
                model.acknowledged += 1;
            }),
        );
    }

    /// A client was refused: there must be a reason.
    fn refused(&self, error: &AppendError) {
        assert!(
            matches!(error, AppendError::ReadOnly(_) | AppendError::Io(_)),
            "{error}"
        );
    }

    /// Other clients go on while the disk works.
    fn meanwhile(self: &Arc<Self>, store: &Weak<Store>, queues: i32) {
        if !self.may_meet.load(Ordering::Relaxed) {
            return;
        }
        let Some(store) = store.upgrade() else { return };
        let (count, ids, lens) = {
            let mut random = self.random.lock();
            let count = random.below(4);
            let ids: Vec<QueueId> = (0..count)
                .map(|_| choose_queue(&mut random, queues))
                .collect();
            let lens: Vec<usize> = (0..count).map(|_| self.body_len(&mut random)).collect();
            (count, ids, lens)
        };
        // Making files syncs too: not again from there.
        self.may_meet.store(false, Ordering::Relaxed);
        for (id, len) in ids
            .into_iter()
            .zip(lens)
            .take(usize::try_from(count).unwrap())
        {
            if let Some(queue) = self.queue(&store, id) {
                self.append(&store, &queue, id, len);
            }
        }
        self.may_meet.store(true, Ordering::Relaxed);
    }
}

fn choose_queue(random: &mut Random, queues: i32) -> QueueId {
    let topic = usize::try_from(random.below(TOPICS.len() as u64)).unwrap();
    let id = i32::try_from(random.below(u64::from(queues.unsigned_abs()))).unwrap();
    (topic, id)
}

fn record(id: QueueId, body: &[u8]) -> Record<'_> {
    Record {
        topic: TOPICS[id.0],
        queue_id: id.1,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: "127.0.0.1:1".parse().unwrap(),
        store_host: "127.0.0.1:10911".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: &[],
        tags_code: TagsCode::Hash(0),
    }
}

/// Reads from an offset and compares; returns where to go on. `must`: everything there can be read.
fn check_read(store: &Store, queue: &Queue, from: i64, owed: &[&Message], must: bool) -> i64 {
    let limits = ReadLimits {
        max_messages: 7,
        max_bytes: 100_000,
    };
    let read = store.read(queue, from, limits, Access::Any, |_| true);
    if must {
        assert_eq!(read.status, ReadStatus::Found, "{queue:?} at {from}");
    }
    let mut at = None;
    for run in &read.runs {
        let mut rest = run.as_slice();
        while !rest.is_empty() {
            let view = RecordView::parse(rest).unwrap();
            let offset = view.queue_offset();
            let message = owed[usize::try_from(offset).unwrap()];
            let (topic, id) = message.queue;
            check_record(&view, message, topic, id);
            if must {
                assert_eq!(offset, at.map_or(from, |at: i64| at + 1));
            }
            if store.flush_mode() == FlushMode::Sync {
                assert!(message.end <= store.flushed(), "seen before it is durable");
            }
            at = Some(offset);
            rest = &rest[view.total_len()..];
        }
    }
    if must {
        assert_eq!(read.next, at.unwrap() + 1);
    }
    read.next
}

fn check_record(view: &RecordView<'_>, message: &Message, topic: usize, id: i32) {
    assert!(view.crc_matches());
    assert_eq!((view.topic(), view.queue_id()), (TOPICS[topic], id));
    assert_eq!(
        (view.queue_offset(), view.physical_offset()),
        (message.offset, message.physical)
    );
    assert_eq!(
        view.body(),
        body(message.number, message.body_len),
        "the content of {message:?} has changed"
    );
}
