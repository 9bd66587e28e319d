// SPDX-License-Identifier: Apache-2.0
//! Random interleavings of sends, pops, acknowledgements, changed times, passing time and crashes,
//! against a model: what was acknowledged never comes again, what was not is never lost, nobody gets
//! a message that somebody else has, and only what was tried often enough is among the dead letters.
//!
//! A crash drops all state in memory and reads it back from the log and from whatever files were
//! written before; in some of them the store itself is reopened as after a kill.
//!
//! `AEROBEE_POP_CASES=10000 cargo test -p aerobee-broker pop::model` runs ten thousand, from case
//! `AEROBEE_POP_FIRST` on, which should be the first of its hundred.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use aerobee_message::{RecordView, topic::dead_letter_topic};
use aerobee_store::{Access, Clock, Env, Faults, Operation, ReadLimits, Store, Time};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{
    config::{Config, Identity, Switches},
    filter::Filter,
    groups::Groups,
    longpoll::pull::HeldPulls,
    offsets::Offsets,
    pop::{
        Parts, Pops,
        ack::{Acked, Named},
        handle::{self, Handle},
        journal::Journal,
        order::Orders,
        read::{Piece, Popped, Wanted},
    },
    processor::{flushed::Flushing, pull::Puller},
    registration::{Registration, Settings},
    requeue::{Message, Requeue},
    schedule::levels::DelayLevels,
    stats::Stats,
    topics::{PERM_READ, PERM_WRITE, Topics},
};

/// Cases of an ordinary run.
const CASES: u64 = 60;
/// Cases that share a directory.
const CASES_PER_STORE: usize = 100;
/// Steps of a case.
const STEPS: u64 = 40;
const QUEUES: i32 = 2;
const TOPIC: &str = "orders";
const GROUP: &str = "poppers";
/// Longest invisible time, ms.
const INVISIBLE_MAX: u64 = 2_000;

struct Now(AtomicI64);

impl Time for Now {
    fn wall_millis(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.wall_millis().unsigned_abs())
    }
}

struct NoFaults;

impl Faults for NoFaults {
    fn before(&self, _: Operation, _: &std::path::Path) -> std::io::Result<()> {
        Ok(())
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// What is lost in a crash.
struct Memory {
    store: Arc<Store>,
    offsets: Arc<Offsets>,
    topics: Arc<Topics>,
    groups: Arc<Groups>,
    requeue: Arc<Requeue>,
    stats: Arc<Stats>,
    pops: Arc<Pops>,
}

struct Bench {
    runtime: Runtime,
    directory: TempDir,
    now: Arc<Now>,
}

impl Bench {
    fn new() -> Self {
        Self {
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap(),
            directory: tempfile::tempdir().unwrap(),
            now: Arc::new(Now(AtomicI64::new(1_700_000_000_000))),
        }
    }

    fn config(&self) -> Config {
        let mut config = Config::default();
        let root = self.directory.path().display().to_string();
        for (key, value) in [
            ("brokerName", "broker-a"),
            ("brokerIP1", "127.0.0.1"),
            ("brokerIP2", "127.0.0.1"),
            ("storePathRootDir", root.as_str()),
            ("mappedFileSizeCommitLog", "4194304"),
            ("reviveQueueNum", "2"),
        ] {
            config.set(key, value).unwrap();
        }
        config
    }

    fn open_store(&self) -> Arc<Store> {
        let time: Arc<dyn Time> = self.now.clone();
        let env = Env::with(Arc::new(NoFaults), Clock::given(time));
        let levels = DelayLevels::parse("1s").unwrap();
        Store::open(self.config().to_store(&levels), env).unwrap()
    }

    fn files(&self) -> PathBuf {
        self.directory.path().join("config")
    }

    /// All state, from the log and the files.
    fn open(&self, store: Arc<Store>) -> Memory {
        let _entered = self.runtime.enter();
        let config = self.config();
        let identity = Identity::new(&config, 10_911).unwrap();
        std::fs::create_dir_all(self.files()).unwrap();
        let topics = Topics::open(&self.files().join("topics.json"), &store, Vec::new()).unwrap();
        let perm = PERM_READ | PERM_WRITE;
        topics.ensure(TOPIC, QUEUES, perm, 0);
        let (journal, _) = topics.ensure("rmq_sys_REVIVE_LOG_DefaultCluster", 2, perm, 0);
        let groups = Groups::open(&self.files().join("subscriptionGroup.json")).unwrap();
        groups.find_or_create(GROUP).unwrap();
        let offsets = Offsets::open(&self.files()).unwrap();
        let settings = Settings {
            period: Duration::from_secs(30),
            timeout: Duration::from_secs(1),
            permission: 6,
            tls: None,
            signer: None,
        };
        let registration = Registration::new(identity.clone(), Arc::clone(&topics), &settings);
        let held = HeldPulls::new(Puller::new(Arc::clone(&store), Arc::default()));
        let flushing = Flushing::new(Arc::clone(&store), held);
        let requeue = Requeue::new(&store, &topics, &flushing, &registration, &identity);
        let stats = Stats::new("c", store.clock().clone(), &topics, &groups);
        let identity = Arc::new(identity);
        let parts = Parts {
            store: Arc::clone(&store),
            topics: Arc::clone(&topics),
            groups: Arc::clone(&groups),
            offsets: Arc::clone(&offsets),
            switches: Switches::new(config),
            requeue: Arc::clone(&requeue),
            identity: Arc::clone(&identity),
        };
        let orders = Orders::open(self.files().join("consumerOrderInfo.json")).unwrap();
        let journal = Journal::new(Arc::clone(&store), journal, identity.address);
        let pops = Pops::open(parts, journal, orders);
        Memory {
            store,
            offsets,
            topics,
            groups,
            requeue,
            stats,
            pops,
        }
    }

    fn crash(&self, memory: Memory, with_store: bool) -> Memory {
        let store = Arc::clone(&memory.store);
        drop(memory);
        let store = if with_store {
            // Whatever still holds it lets go soon.
            let mut store = Some(store);
            for _ in 0..5_000 {
                store = store.and_then(|store| Arc::try_unwrap(store).err());
                if store.is_none() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(store.is_none(), "somebody still holds the store");
            self.open_store()
        } else {
            store
        };
        self.open(store)
    }
}

/// A message that somebody has.
#[derive(Debug, Clone)]
struct Held {
    id: u64,
    topic: String,
    queue_id: i32,
    offset: i64,
    start: i64,
    pop_time: i64,
    invisible_time: i64,
    revive_queue: i32,
}

impl Held {
    fn named<'a>(&'a self, offsets: &'a [i64]) -> Named<'a> {
        Named {
            group: GROUP,
            topic: &self.topic,
            queue_id: self.queue_id,
            handle: Handle {
                start: self.start,
                pop_time: self.pop_time,
                invisible_time: self.invisible_time,
                revive_queue: self.revive_queue,
                broker: "broker-a",
            },
            offsets,
        }
    }

    fn due(&self) -> i64 {
        self.pop_time + self.invisible_time
    }
}

#[derive(Default)]
struct Model {
    sent: u64,
    acknowledged: BTreeSet<u64>,
    /// How often each was handed out.
    received: BTreeMap<u64, i32>,
    dead: BTreeSet<u64>,
    /// Who has what, by message: the handle given out last.
    held: BTreeMap<u64, Held>,
    /// Handles given out before.
    stale: Vec<Held>,
}

struct Walk<'a> {
    bench: &'a Bench,
    memory: Memory,
    model: Model,
    random: Random,
    seed: u64,
}

impl Walk<'_> {
    fn now(&self) -> i64 {
        self.bench.now.wall_millis()
    }

    fn step(&mut self) {
        match self.random.below(16) {
            0..=3 => self.send(),
            4..=7 => self.pop(),
            8..=10 => self.acknowledge(),
            11 => self.acknowledge_stale(),
            12 => self.change(),
            13 => self.pass_time(),
            14 => self.flush_offsets(),
            _ => self.revive(),
        }
    }

    fn send(&mut self) {
        let id = self.model.sent;
        self.model.sent += 1;
        let queue_id = i32::try_from(self.random.below(QUEUES as u64)).unwrap();
        let address = "127.0.0.1:1".parse().unwrap();
        let body = id.to_string().into_bytes();
        let message = Message::new(TOPIC.to_owned(), queue_id, body, (self.now(), address));
        self.memory.requeue.put_blocking(&message).unwrap();
    }

    fn pop(&mut self) {
        let any = self.random.below(2) == 0;
        let wanted = Wanted {
            topic: self.memory.topics.find(TOPIC).unwrap(),
            group: GROUP.into(),
            queue_id: if any { -1 } else { 0 },
            max_messages: 1 + self.random.below(8) as u32,
            invisible_time: 1 + self.random.below(INVISIBLE_MAX) as i64,
            from_last: false,
            filter: Filter::ALL,
            order: false,
            attempt: None,
            consumption: self.memory.stats.of(GROUP, TOPIC),
            peek: false,
        };
        assert!(self.memory.groups.find(GROUP).is_some());
        let popped = self.memory.pops.pop(&wanted, Access::Any);
        assert!(popped.error.is_none(), "{:?}", popped.error);
        for held in received(&popped, wanted.invisible_time) {
            self.receive(&held);
        }
    }

    fn receive(&mut self, held: &Held) {
        let (now, seed) = (self.now(), self.seed);
        assert!(
            !self.model.acknowledged.contains(&held.id),
            "case {seed}: message {} was acknowledged and comes again: {held:?}",
            held.id
        );
        assert!(
            !self.model.dead.contains(&held.id),
            "case {seed}: message {} is a dead letter and comes again: {held:?}",
            held.id
        );
        *self.model.received.entry(held.id).or_default() += 1;
        if let Some(before) = self.model.held.insert(held.id, held.clone()) {
            assert!(
                before.due() <= now,
                "case {seed}: at {now} somebody still has {before:?}, now {held:?}"
            );
            self.model.stale.push(before);
        }
    }

    fn any_held(&mut self) -> Option<Held> {
        let count = self.model.held.len() as u64;
        if count == 0 {
            return None;
        }
        let at = usize::try_from(self.random.below(count)).unwrap();
        self.model.held.values().nth(at).cloned()
    }

    fn acknowledge(&mut self) {
        let Some(held) = self.any_held() else { return };
        let outcome = self
            .memory
            .pops
            .acknowledge(&held.named(&[held.offset]), Access::Any);
        if let Acked::Written(_) = outcome.unwrap() {
            self.model.held.remove(&held.id);
            assert!(self.model.acknowledged.insert(held.id));
        } else {
            let now = self.now();
            assert!(held.due() <= now, "case {}: {held:?} at {now}", self.seed);
        }
    }

    /// Handles of before mean nothing.
    fn acknowledge_stale(&mut self) {
        if let Some(held) = self.model.stale.pop() {
            let outcome = self
                .memory
                .pops
                .acknowledge(&held.named(&[held.offset]), Access::Any);
            // One whose check point might still be with a timer is written down, without effect.
            assert!(outcome.is_ok(), "case {}", self.seed);
        }
    }

    fn change(&mut self) {
        let Some(held) = self.any_held() else { return };
        let invisible_time = self.random.below(INVISIBLE_MAX) as i64;
        let changed = self
            .memory
            .pops
            .change(
                &held.named(&[held.offset]),
                invisible_time,
                false,
                Access::Any,
            )
            .unwrap()
            .unwrap();
        let renewed = Held {
            start: held.offset,
            pop_time: changed.pop_time,
            invisible_time: changed.invisible_time,
            ..held.clone()
        };
        if changed.end.is_some() {
            self.model.held.insert(held.id, renewed);
            self.model.stale.push(held);
        }
    }

    fn pass_time(&mut self) {
        let time = self.random.below(INVISIBLE_MAX) as i64;
        self.bench.now.0.fetch_add(time, Ordering::SeqCst);
    }

    fn revive(&mut self) {
        self.memory.pops.revive(self.now());
        self.memory.pops.keep(self.now());
    }

    fn flush_offsets(&mut self) {
        let offsets = Arc::clone(&self.memory.offsets);
        let written = async move {
            if let Some(generation) = offsets.flush() {
                offsets.durable(generation).await.unwrap();
            }
        };
        self.bench.runtime.block_on(written);
    }

    /// Looks through the dead letters.
    fn bury(&mut self) {
        let Some(topic) = self.memory.topics.find(&dead_letter_topic(GROUP)) else {
            return;
        };
        let slot = topic.queue(0).unwrap();
        let queue = slot.queue().unwrap();
        let limits = ReadLimits {
            max_messages: 1,
            max_bytes: usize::MAX,
        };
        let (seed, group) = (self.seed, self.memory.groups.find(GROUP).unwrap());
        for offset in self.model.dead.len() as i64..queue.max_offset() {
            let store = &self.memory.store;
            let read = store.read(queue, offset, limits, Access::Any, |_| true);
            let record = RecordView::parse(read.runs[0].as_slice()).unwrap();
            let id = std::str::from_utf8(record.body()).unwrap().parse().unwrap();
            let times = self.model.received.get(&id).copied().unwrap_or_default();
            assert!(
                times > group.retry_max_times() && !self.model.acknowledged.contains(&id),
                "case {seed}: message {id} is a dead letter after {times} times"
            );
            self.model.held.remove(&id);
            assert!(self.model.dead.insert(id), "case {seed}: {id} died twice");
        }
    }

    /// Consumes everything: whatever was sent has to come, once for good.
    fn drain(&mut self) {
        for _ in 0..10_000 {
            self.bury();
            if (self.model.acknowledged.len() + self.model.dead.len()) as u64 == self.model.sent {
                return;
            }
            self.pop();
            while let Some(held) = self.any_held() {
                let outcome = self
                    .memory
                    .pops
                    .acknowledge(&held.named(&[held.offset]), Access::Any);
                self.model.held.remove(&held.id);
                match outcome.unwrap() {
                    Acked::Written(_) => assert!(self.model.acknowledged.insert(held.id)),
                    _ => self.model.stale.push(held),
                }
            }
            self.bench
                .now
                .0
                .fetch_add(INVISIBLE_MAX as i64, Ordering::SeqCst);
            self.revive();
        }
        let lost: Vec<u64> = (0..self.model.sent)
            .filter(|id| !self.model.acknowledged.contains(id) && !self.model.dead.contains(id))
            .collect();
        panic!("case {}: lost {lost:?}", self.seed);
    }
}

/// The messages of a pop, with their handles.
fn received(popped: &Popped, invisible_time: i64) -> Vec<Held> {
    let mut all = Vec::new();
    for piece in &popped.pieces {
        let mut rest: &[u8] = piece.as_ref();
        while let Ok(record) = RecordView::parse(rest) {
            rest = &rest[record.total_len()..];
            let made = record
                .properties()
                .get("POP_CK")
                .filter(|_| matches!(piece, Piece::Made(_)));
            let (kind, start) = match made {
                Some(made) => {
                    let parsed = Handle::parse(made).unwrap();
                    (made.split(' ').nth(4).unwrap().to_owned(), parsed.start)
                }
                None => {
                    let listed = format!("0 {} ", record.queue_id());
                    let mut entries = popped.starts.split(';');
                    let start = entries.find_map(|entry| entry.strip_prefix(&listed));
                    ("0".to_owned(), start.unwrap().parse().unwrap())
                }
            };
            all.push(Held {
                id: std::str::from_utf8(record.body()).unwrap().parse().unwrap(),
                topic: handle::real_topic(GROUP, TOPIC, &kind).unwrap(),
                queue_id: record.queue_id(),
                offset: record.queue_offset(),
                start,
                pop_time: popped.pop_time,
                invisible_time,
                revive_queue: popped.revive_queue,
            });
        }
    }
    all
}

/// Walks through cases, a new directory for each hundred; the dead letters of the last one.
fn walk_through(cases: Range<u64>) -> usize {
    let mut dead = 0;
    for first in cases.clone().step_by(CASES_PER_STORE) {
        let bench = Bench::new();
        let memory = bench.open(bench.open_store());
        let mut walk = Walk {
            bench: &bench,
            memory,
            model: Model::default(),
            random: Random(1),
            seed: 0,
        };
        for seed in first..(first + CASES_PER_STORE as u64).min(cases.end) {
            walk.seed = seed;
            walk.random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
            for _ in 0..STEPS {
                walk.step();
            }
            let with_store = walk.random.below(20) == 0;
            walk.memory = bench.crash(walk.memory, with_store);
            for _ in 0..STEPS / 2 {
                walk.step();
            }
            // Not always: what is open goes into the next case.
            if walk.random.below(4) == 0 {
                walk.drain();
            }
        }
        walk.drain();
        dead = walk.model.dead.len();
    }
    dead
}

#[test]
fn nothing_acknowledged_comes_again_and_nothing_else_is_lost() {
    let number = |name| std::env::var(name).ok()?.parse().ok();
    let first = number("AEROBEE_POP_FIRST").unwrap_or(0);
    walk_through(first..number("AEROBEE_POP_CASES").unwrap_or(CASES));
}

/// Here nobody acknowledges message 27 for so long that the broker gives it up.
#[test]
fn what_is_tried_too_often_is_a_dead_letter_and_not_lost() {
    assert_eq!(walk_through(1_500..1_523), 1);
}
