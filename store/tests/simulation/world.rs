// SPDX-License-Identifier: Apache-2.0
//! One run of the simulation: a store on the forgetful disk, clients with a ledger, and one source of chance that
//! decides what happens next.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aerobee_message::{Record, RecordView};
use aerobee_store::{
    CloseError, Closed, Config, Env, FlushMode, ReadOnlyReason, Staged, Store, Task, Turn,
    index::Geometry,
};
use parking_lot::Mutex;

use crate::{
    checks::{check_all, check_files, check_keys, check_read, check_record},
    clients::{Shared, TOPICS, choose_queue, messages_for, properties, record},
    disk::{Crash, Disk, Trouble},
    model::{Message, QueueId, body},
    random::Random,
};

const TASKS: [Task; 5] = [
    Task::Flusher,
    Task::Keeper,
    Task::Preparer,
    Task::Indexer,
    Task::Reader,
];

/// A run, from an empty disk to the last check.
pub struct World {
    pub disk: Arc<Disk>,
    root: PathBuf,
    random: Random,
    habits: Habits,
    shared: Arc<Shared>,
    store: Option<Arc<Store>>,
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
    /// The wall clock jumps.
    jumps: bool,
}

impl Habits {
    fn choose(random: &mut Random, root: &std::path::Path) -> Habits {
        let mode = *random.one_of(&[FlushMode::Sync, FlushMode::Async]);
        let mut config = Config {
            commit_log_file_bytes: *random.one_of(&[4096, 8192, 20_000, 65_536]),
            queue_file_entries: *random.one_of(&[5, 10, 300, 10_000]),
            flush_mode: mode,
            flush_bytes: *random.one_of(&[1000, 4 << 20]),
            populate_bytes: 4096,
            hot_bytes: *random.one_of(&[0, 64 << 20]),
            sync_flush_timeout: Duration::from_secs(5),
            flush_waiters: *random.one_of(&[3, 1000]),
            queues_at_end: *random.one_of(&[0, 2, 4096, 4096]),
            ..Config::new(root)
        };
        config.index.geometry = *random.one_of(&[
            Geometry {
                slots: 5,
                entries: 8,
            },
            Geometry {
                slots: 100,
                entries: 1000,
            },
        ]);
        let mut habits = Habits {
            config,
            largest_body: *random.one_of(&[40, 300, 1500]),
            queues: *random.one_of(&[1, 2, 6]),
            operations: *random.one_of(&[20, 60, 150]),
            trouble_percent: *random.one_of(&[0, 2, 10]),
            turn_percent: *random.one_of(&[10, 30, 50]),
            jumps: random.percent(50),
        };
        if random.percent(25) {
            // Full disks and crashes meet a log that is spread.
            habits.config.log_dirs.writable = vec![root.join("one"), root.join("two")];
        }
        if random.percent(30) {
            habits.config.batch_topics = vec![TOPICS[1].to_owned()];
            habits.config.batch_queue_file_entries = *random.one_of(&[3, 300]);
        }
        habits
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
        self.habits.config.queues_at_end = usize::MAX;
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
        let model = self.shared.model.lock();
        check_all(store, &model, self.habits.queues);
        check_keys(store, &model);
        drop(model);
        self.store = Some(Arc::clone(store));
        let (shared, weak) = (Arc::clone(&self.shared), Arc::downgrade(store));
        let queues = self.habits.queues;
        self.disk
            .set_meanwhile(Some(Arc::new(move || shared.meanwhile(&weak, queues))));
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
            86..88 if self.habits.jumps => self.jump(),
            86..88 => {}
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
        let messages = messages_for(&queue, &mut self.random);
        self.shared.append(&store, &queue, id, len, messages);
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
        let texts: Vec<Vec<u8>> = bodies
            .iter()
            .map(|(number, _)| properties(*number))
            .collect();
        let texts: Vec<[&[u8]; 1]> = texts.iter().map(|text| [&text[..]]).collect();
        let records: Vec<Record<'_>> = bodies
            .iter()
            .zip(&texts)
            .map(|((_, body), properties)| record(id, body, properties))
            .collect();
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
                    model.add(id, *number, body.len(), 1, *place, end, was_dead);
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
            let properties = properties(number);
            match store.stage(&mut staged, &queue, &record(id, &body, &[&properties])) {
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
                    model.add(id, number, len, 1, place, place.end, ghost);
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
                Ok(closed) => {
                    model.durable_until(i64::MAX);
                    drop(model);
                    let is_early = closed == Closed::Early;
                    assert_eq!(self.root.join("abort").exists(), is_early);
                    check_files(
                        &self.root,
                        &self.habits.config,
                        &store,
                        &self.shared.model.lock(),
                        is_early,
                    );
                }
                Err(error) => {
                    // It goes last. What fails after that is the sync of the directory that it was in.
                    let is_last = matches!(error, CloseError::Io { what: "sync", .. });
                    assert!(self.root.join("abort").exists() || is_last, "{error}");
                    model.durable_until(store.flushed());
                }
            }
        }
        drop(store);
        self.after_crash();
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
