// SPDX-License-Identifier: Apache-2.0
//! Old files go when their time is up or space runs short, and what depended on them with them.

use std::{
    fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use aerobee_store::{
    Access, AppendError, Clock, Config, DiskSpace, Env, Faults, KeyKind, KeyQuery, Operation,
    Queue, ReadOnlyReason, ReadStatus, Retention, Staged, Store, Task, Time, Turn,
};
use parking_lot::Mutex;

use crate::support::{ALL, body, fill};

const HOUR: u64 = 3_600_000;
/// Three o'clock on some day, in milliseconds since 1970.
const THREE: u64 = 20_000 * 24 * HOUR + 3 * HOUR;

/// A machine whose clocks and disk do as they are told.
struct Machine {
    wall: AtomicU64,
    monotonic: AtomicU64,
    used_percent: AtomicU32,
    refused: Mutex<Option<Operation>>,
}

impl Machine {
    fn new() -> Arc<Machine> {
        Arc::new(Machine {
            wall: THREE.into(),
            monotonic: 0.into(),
            used_percent: 10.into(),
            refused: Mutex::new(None),
        })
    }

    fn env(self: &Arc<Self>) -> Env {
        Env::stepped(Arc::clone(self) as _, Clock::given(Arc::clone(self) as _))
    }

    fn pass(&self, millis: u64) {
        self.wall.fetch_add(millis, Ordering::Relaxed);
        self.monotonic.fetch_add(millis, Ordering::Relaxed);
    }

    fn use_percent(&self, percent: u32) {
        self.used_percent.store(percent, Ordering::Relaxed);
    }
}

impl Time for Machine {
    fn wall_millis(&self) -> i64 {
        self.wall.load(Ordering::Relaxed).cast_signed()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic.load(Ordering::Relaxed))
    }
}

impl Faults for Machine {
    fn before(&self, operation: Operation, path: &Path) -> io::Result<()> {
        if *self.refused.lock() == Some(operation) && crate::support::is_in(path, "commitlog") {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(())
    }

    fn space(&self, _path: &Path) -> Option<DiskSpace> {
        let used = u64::from(self.used_percent.load(Ordering::Relaxed));
        Some(DiskSpace {
            total: 100,
            used,
            usable: 100 - used,
        })
    }
}

/// A store with some files, all of them changed just now.
fn filled(machine: &Arc<Machine>, dir: &Path) -> (Arc<Store>, Arc<Queue>) {
    filled_with(machine, crate::support::config(dir))
}

fn filled_with(machine: &Arc<Machine>, config: Config) -> (Arc<Store>, Arc<Queue>) {
    let dir = config.dir.clone();
    let store = Store::open(config, machine.env()).unwrap();
    let queue = store.create_queue("t", 0).unwrap();
    fill(&store, &queue, 0..400);
    flush(machine, &store);
    for path in log_files(&dir) {
        let time = UNIX_EPOCH + Duration::from_millis(machine.wall.load(Ordering::Relaxed));
        let file = fs::OpenOptions::new()
            .write(true)
            .open(dir.join("commitlog").join(path))
            .unwrap();
        file.set_modified(time).unwrap();
    }
    (store, queue)
}

fn flush(machine: &Machine, store: &Store) {
    machine.pass(1000);
    for task in [Task::Flusher, Task::Keeper] {
        while store.step(task) == Some(Turn::Again) {}
        machine.pass(1000);
        while store.step(task) == Some(Turn::Again) {}
    }
    assert_eq!(store.flushed(), store.max_physical());
}

/// Lets the cleaner do what it has to do within a minute.
fn clean(machine: &Machine, store: &Store) {
    for _ in 0..600 {
        store.step(Task::Cleaner);
        machine.pass(100);
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn log_files(dir: &Path) -> Vec<String> {
    names(&dir.join("commitlog"))
}

#[test]
fn expired_files_go_at_the_hour_and_the_rest_follows() {
    let machine = Machine::new();
    let dir = tempfile::tempdir().unwrap();
    let (store, queue) = filled(&machine, dir.path());
    let before = log_files(dir.path());
    assert!(before.len() > 10, "{before:?}");
    clean(&machine, &store);
    machine.pass(71 * HOUR - 120_000);
    clean(&machine, &store);
    assert_eq!(log_files(dir.path()), before, "not before their time");
    // Another half hour, and it is three o'clock still.
    machine.pass(HOUR);
    clean(&machine, &store);
    assert_eq!(log_files(dir.path()), before, "not before the hour");
    machine.pass(HOUR);
    // Moving the clock by hand moves both, so nothing has jumped.
    clean(&machine, &store);
    let after = log_files(dir.path());
    assert_eq!(after.len(), 1, "the one written to stays: {after:?}");
    assert_eq!(store.min_physical(), after[0].parse::<i64>().unwrap());

    let min = queue.min_offset();
    assert!(min > 0 && min < 400);
    let first = store.read(&queue, min, ALL, Access::Any, |_| true);
    assert_eq!((first.status, first.min), (ReadStatus::Found, min));
    let gone = store.read(&queue, min - 1, ALL, Access::Any, |_| true);
    assert_eq!((gone.status, gone.next), (ReadStatus::OffsetTooSmall, min));
    // Ten entries a file.
    let queue_files = names(&dir.path().join("consumequeue/t/0"));
    assert_eq!(queue_files[0].parse::<i64>().unwrap(), min / 10 * 200);

    store.close().unwrap();
    let store = Store::open(crate::support::config(dir.path()), machine.env()).unwrap();
    let queue = store.queue("t", 0).unwrap();
    assert_eq!((queue.min_offset(), queue.max_offset()), (min, 400));
    assert_eq!(
        crate::support::append(&store, &queue, &body(400))
            .unwrap()
            .queue_offset,
        400
    );
}

#[test]
fn a_few_files_at_a_time_with_a_pause() {
    let machine = Machine::new();
    let dir = tempfile::tempdir().unwrap();
    let (store, _queue) = filled(&machine, dir.path());
    let before = log_files(dir.path()).len();
    store.set_retention(Retention {
        keep_for: Duration::ZERO,
        delete_hours: vec![3],
        batch: 3,
        ..Retention::default()
    });
    machine.pass(10);
    let mut pauses = 0;
    loop {
        match store.step(Task::Cleaner).unwrap() {
            Turn::Again => {}
            Turn::Wait(Some(pause)) if pause == Duration::from_millis(100) => pauses += 1,
            Turn::Wait(_) => break,
        }
    }
    assert_eq!((pauses, log_files(dir.path()).len()), (3, before - 3));
}

#[test]
fn above_the_first_mark_expired_files_go_at_any_hour() {
    let machine = Machine::new();
    let dir = tempfile::tempdir().unwrap();
    let (store, _queue) = filled(&machine, dir.path());
    let before = log_files(dir.path());
    machine.use_percent(76);
    clean(&machine, &store);
    assert_eq!(log_files(dir.path()), before, "none has expired");
    store.set_retention(Retention {
        keep_for: Duration::from_secs(1),
        ..Retention::default()
    });
    machine.use_percent(75);
    clean(&machine, &store);
    assert_eq!(log_files(dir.path()), before);
    machine.use_percent(76);
    clean(&machine, &store);
    assert_eq!(log_files(dir.path()).len(), 1);
}

#[test]
fn above_the_second_mark_the_oldest_go_and_above_the_third_messages_are_refused() {
    let machine = Machine::new();
    let dir = tempfile::tempdir().unwrap();
    let (store, queue) = filled(&machine, dir.path());
    store.add_batch_topic("b");
    let batches = store.create_queue("b", 0).unwrap();
    let before = log_files(dir.path());
    store.set_retention(Retention {
        removes_early: false,
        ..Retention::default()
    });
    machine.use_percent(91);
    clean(&machine, &store);
    assert_eq!(
        log_files(dir.path()),
        before,
        "not before their time, where that is forbidden"
    );
    // Whichever way they come.
    let body = body(1);
    let record = crate::support::record("t", 0, &body, "");
    let mut staged = Staged::default();
    store.stage(&mut staged, &queue, &record).unwrap();
    let mut refused = vec![
        store.append(&queue, &record),
        store.append_to_light(&queue, &record, "%LMQ%a"),
        store.append_inner_batch(&batches, &crate::support::record("b", 0, &body, ""), 2),
    ];
    store.append_staged(&mut staged, |_, outcome| refused.push(outcome));
    assert_eq!(refused.len(), 4);
    for (way, refused) in refused.iter().enumerate() {
        assert!(
            matches!(
                refused,
                Err(AppendError::ReadOnly(ReadOnlyReason::DiskFull))
            ),
            "way {way}: {refused:?}"
        );
    }
    assert_eq!(store.writable(), Err(ReadOnlyReason::DiskFull));
    // Between the marks it stays as it is.
    machine.use_percent(86);
    clean(&machine, &store);
    assert!(store.writable().is_err());
    store.set_retention(Retention::default());
    clean(&machine, &store);
    assert_eq!(log_files(dir.path()).len(), 1);
    machine.use_percent(85);
    clean(&machine, &store);
    assert_eq!(store.writable(), Ok(()));
    crate::support::append(&store, &queue, &body).unwrap();
}

#[test]
fn whoever_reads_a_file_keeps_it() {
    let machine = Machine::new();
    let dir = tempfile::tempdir().unwrap();
    let (store, queue) = filled(&machine, dir.path());
    let read = store.read(&queue, 0, ALL, Access::Any, |_| true);
    let held = read.runs[0].clone();
    let bytes = held.as_slice().to_vec();
    machine.use_percent(88);
    clean(&machine, &store);
    assert_eq!(log_files(dir.path()).len(), 1);
    assert_eq!(held.as_slice(), bytes);
}

#[test]
fn after_a_jump_of_the_clock_nothing_counts_as_expired() {
    let machine = Machine::new();
    let dir = tempfile::tempdir().unwrap();
    let (store, _queue) = filled(&machine, dir.path());
    store.set_retention(Retention {
        delete_hours: (0..24).collect(),
        ..Retention::default()
    });
    store.step(Task::Cleaner);
    machine.wall.fetch_add(1000 * HOUR, Ordering::Relaxed);
    machine.pass(10_000);
    let before = log_files(dir.path());
    assert!(matches!(store.step(Task::Cleaner), Some(Turn::Wait(_))));
    assert!(matches!(store.step(Task::Cleaner), Some(Turn::Wait(_))));
    assert_eq!(log_files(dir.path()), before);
    // A clock that stays there is believed.
    clean(&machine, &store);
    assert_eq!(log_files(dir.path()).len(), 1);
}

#[test]
fn who_asks_for_it_has_expired_files_removed_at_any_hour() {
    let machine = Machine::new();
    let dir = tempfile::tempdir().unwrap();
    let (store, _queue) = filled(&machine, dir.path());
    store.set_retention(Retention {
        keep_for: Duration::from_secs(1),
        ..Retention::default()
    });
    clean(&machine, &store);
    assert!(log_files(dir.path()).len() > 10);
    store.remove_expired();
    clean(&machine, &store);
    assert_eq!(log_files(dir.path()).len(), 1);
}

#[test]
fn a_file_that_cannot_be_removed_keeps_those_behind_it() {
    let machine = Machine::new();
    let dir = tempfile::tempdir().unwrap();
    let (store, queue) = filled(&machine, dir.path());
    let before = log_files(dir.path());
    machine.use_percent(88);
    *machine.refused.lock() = Some(Operation::Remove);
    clean(&machine, &store);
    assert_eq!(log_files(dir.path()), before);
    *machine.refused.lock() = None;
    clean(&machine, &store);
    assert_eq!(log_files(dir.path()).len(), 1);
    assert!(queue.min_offset() > 0);
}

#[test]
fn index_files_go_with_the_log() {
    let machine = Machine::new();
    let dir = tempfile::tempdir().unwrap();
    let mut config = crate::support::config(dir.path());
    config.index.geometry = aerobee_store::index::Geometry {
        slots: 5,
        entries: 8,
    };
    let store = Store::open(config, machine.env()).unwrap();
    let queue = store.create_queue("t", 0).unwrap();
    for number in 0..200u32 {
        let key = format!("KEYS\x01k{number}\x02");
        let body = body(number);
        let record = aerobee_message::Record {
            properties: &[key.as_bytes()],
            ..crate::support::record("t", 0, &body, "")
        };
        store.append(&queue, &record).unwrap();
    }
    flush(&machine, &store);
    while store.step(Task::Indexer) == Some(Turn::Again) {}
    let before = names(&dir.path().join("index"));
    assert!(before.len() > 20);
    machine.use_percent(88);
    clean(&machine, &store);
    let after = names(&dir.path().join("index"));
    assert!(
        after.len() < before.len() / 2 && before.ends_with(&after),
        "{after:?}"
    );
    let find = |number: i64| {
        let query = KeyQuery {
            topic: "t",
            key: &format!("k{number}"),
            kind: KeyKind::Key,
            max_messages: 10,
            begin: 0,
            end: i64::MAX,
        };
        store.query(&query).records.len()
    };
    let min = queue.min_offset();
    assert_eq!((find(min - 1), find(min), find(199)), (0, 1, 1));
}
