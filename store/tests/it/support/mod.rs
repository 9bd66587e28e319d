// SPDX-License-Identifier: Apache-2.0
//! What the tests of the store share.

use std::{
    fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use aerobee_message::{Record, RecordView, TagsCode, tags};
use aerobee_store::{
    Access, AppendError, Appended, Clock, Config, DiskSpace, Env, Faults, FlushMode, Flushed,
    IndexConfig, Operation, Queue, Read, ReadLimits, Store, Time, index::Geometry,
};
use parking_lot::Mutex;

/// Small files, so that rolling over is common.
pub(crate) fn config(dir: &Path) -> Config {
    Config {
        commit_log_file_bytes: 4096,
        queue_file_entries: 10,
        populate_bytes: 4096,
        sync_flush_timeout: Duration::from_secs(20),
        index: IndexConfig {
            geometry: Geometry {
                slots: 50,
                entries: 200,
            },
            ..IndexConfig::default()
        },
        ..Config::new(dir)
    }
}

pub(crate) fn sync_config(dir: &Path) -> Config {
    Config {
        flush_mode: FlushMode::Sync,
        ..config(dir)
    }
}

pub(crate) fn open(dir: &Path) -> Arc<Store> {
    Store::open(config(dir), roomy()).unwrap()
}

pub(crate) fn record<'a>(topic: &'a str, queue_id: i32, body: &'a [u8], tag: &str) -> Record<'a> {
    Record {
        topic,
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: "127.0.0.1:1".parse().unwrap(),
        store_host: "127.0.0.1:10911".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: if tag == "A" { &[b"TAGS\x01A\x02"] } else { &[] },
        tags_code: TagsCode::Hash(if tag == "A" { tags::code_of("A") } else { 0 }),
    }
}

pub(crate) fn append(store: &Store, queue: &Queue, body: &[u8]) -> Result<Appended, AppendError> {
    store.append(queue, &record(queue.topic(), queue.id(), body, ""))
}

/// Appends numbered bodies.
pub(crate) fn fill(store: &Store, queue: &Queue, numbers: std::ops::Range<u32>) {
    for number in numbers {
        append(store, queue, &body(number)).unwrap();
    }
}

pub(crate) fn body(number: u32) -> Vec<u8> {
    format!("message {number}").into_bytes()
}

pub(crate) const ALL: ReadLimits = ReadLimits {
    max_messages: 32,
    max_bytes: usize::MAX,
};

pub(crate) fn read(store: &Store, queue: &Queue, from: i64) -> Read {
    store.read(queue, from, ALL, Access::Any, |_: i64| true)
}

/// Bodies of all messages of a queue, with their offsets checked on the way.
pub(crate) fn bodies(store: &Store, queue: &Queue) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    let mut at = queue.min_offset();
    while at < queue.max_offset() {
        let read = read(store, queue, at);
        assert_eq!(read.status, aerobee_store::ReadStatus::Found, "at {at}");
        let mut offset = at;
        for run in &read.runs {
            let mut rest = run.as_slice();
            while !rest.is_empty() {
                let view = RecordView::parse(rest).unwrap();
                assert!(view.crc_matches());
                assert_eq!(view.queue_offset(), offset);
                assert_eq!(
                    (view.topic(), view.queue_id()),
                    (&**queue.topic(), queue.id())
                );
                bodies.push(view.body().to_vec());
                rest = &rest[view.total_len()..];
                offset += 1;
            }
        }
        assert_eq!(offset, read.next);
        at = read.next;
    }
    bodies
}

pub(crate) fn numbered(numbers: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    numbers.map(body).collect()
}

/// Copies a directory as a kill would leave it.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            // A file that is being made may get its name in between.
            match fs::copy(entry.path(), target) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                copied => assert!(copied.is_ok(), "{copied:?}"),
            }
        }
    }
}

/// Overwrites bytes of a file.
pub(crate) fn poke(path: &Path, at: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap()
        .write_all_at(bytes, at)
        .unwrap();
}

pub(crate) fn wait_flushed(store: &Store, end: i64) -> Flushed {
    let (sender, receiver) = mpsc::channel();
    store.when_flushed(end, Box::new(move |outcome| sender.send(outcome).unwrap()));
    receiver.recv_timeout(Duration::from_secs(60)).unwrap()
}

/// Waits for something that a background thread brings about.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::yield_now();
    }
}

type Rule = Box<dyn Fn(Operation, &Path) -> io::Result<()> + Send>;

/// Faults by a rule that a test can change.
#[derive(Default)]
pub(crate) struct Plan {
    rule: Mutex<Option<Rule>>,
}

impl Plan {
    pub(crate) fn set(&self, rule: impl Fn(Operation, &Path) -> io::Result<()> + Send + 'static) {
        *self.rule.lock() = Some(Box::new(rule));
    }

    pub(crate) fn clear(&self) {
        *self.rule.lock() = None;
    }
}

impl Faults for Plan {
    fn before(&self, operation: Operation, path: &Path) -> io::Result<()> {
        self.rule
            .lock()
            .as_ref()
            .map_or(Ok(()), |rule| rule(operation, path))
    }

    /// What else fills the disk of the machine that runs the tests must not change what they see.
    fn space(&self, _: &Path) -> Option<DiskSpace> {
        Some(ROOMY)
    }
}

/// A disk with space.
const ROOMY: DiskSpace = DiskSpace {
    total: 100 << 30,
    used: 10 << 30,
    usable: 90 << 30,
};

/// Nothing fails, and the disk has space.
pub(crate) fn roomy() -> Env {
    Env::with(Arc::new(Plan::default()), Clock::system())
}

/// A clock that stands still unless told.
#[derive(Default)]
pub(crate) struct Stopped(pub(crate) AtomicI64);

impl Time for Stopped {
    fn wall_millis(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed).unsigned_abs())
    }
}

pub(crate) fn faulty() -> (Arc<Plan>, Env) {
    let plan = Arc::new(Plan::default());
    (Arc::clone(&plan), Env::with(plan, Clock::system()))
}

pub(crate) fn is_in(path: &Path, dir: &str) -> bool {
    path.components().any(|part| part.as_os_str() == dir)
}
