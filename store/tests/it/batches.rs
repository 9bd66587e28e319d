// SPDX-License-Identifier: Apache-2.0
//! Queues of batches (`queue.type=BatchCQ`): records that hold several messages.

use std::{
    fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use aerobee_message::{Record, RecordView, keys, sysflag};
use aerobee_store::{
    Access, AppendError, Appended, Boundary, Config, Env, Operation, Queue, ReadLimits, ReadStatus,
    Store,
    inspect::{Directory, Kind, Known, Sizes},
};

use crate::support::*;

const TOPIC: &str = "batches";
const UNIT: usize = 46;

fn batch_config(dir: &Path) -> Config {
    Config {
        batch_topics: vec![TOPIC.to_owned()],
        batch_queue_file_entries: 4,
        ..config(dir)
    }
}

fn open_batches(dir: &Path) -> Arc<Store> {
    Store::open(batch_config(dir), roomy()).unwrap()
}

fn inner(
    store: &Store,
    queue: &Queue,
    body: &[u8],
    messages: usize,
) -> Result<Appended, AppendError> {
    let properties = format!("{}\u{1}{messages}\u{2}", keys::INNER_NUM);
    let properties: [&[u8]; 1] = [properties.as_bytes()];
    let record = Record {
        sys_flag: sysflag::INNER_BATCH | sysflag::NEED_UNWRAP,
        properties: &properties,
        ..record(TOPIC, queue.id(), body, "")
    };
    store.append_inner_batch(queue, &record, messages)
}

/// Appends batches of the given sizes; those of one are plain messages.
fn put(store: &Store, sizes: &[usize]) {
    let queue = store.create_queue(TOPIC, 0).unwrap();
    for size in sizes {
        let (at, body) = (queue.max_offset(), body(u32::try_from(*size).unwrap()));
        let appended = match size {
            1 => append(store, &queue, &body).unwrap(),
            _ => inner(store, &queue, &body, *size).unwrap(),
        };
        assert_eq!(appended.queue_offset, at);
        assert_eq!(queue.max_offset(), at + i64::try_from(*size).unwrap());
    }
}

/// First offset, number of messages and number of records of each read from the first offset on.
fn seen(store: &Store) -> Vec<(i64, usize)> {
    let queue = store.queue(TOPIC, 0).unwrap();
    assert!(queue.is_batch());
    let mut seen = Vec::new();
    let mut at = queue.min_offset();
    while at < queue.max_offset() {
        let read = read(store, &queue, at);
        assert_eq!(read.status, ReadStatus::Found, "at {at}");
        let mut messages = 0;
        for run in &read.runs {
            let mut rest = run.as_slice();
            while !rest.is_empty() {
                let view = RecordView::parse(rest).unwrap();
                let properties = view.properties();
                let count: usize = properties
                    .get(keys::INNER_NUM)
                    .map_or(1, |count| count.parse().unwrap());
                if count > 1 {
                    let base = properties.get(keys::INNER_BASE).unwrap();
                    assert_eq!(base, view.queue_offset().to_string());
                    assert_ne!(view.sys_flag() & sysflag::INNER_BATCH, 0);
                }
                assert_eq!(view.body(), body(u32::try_from(count).unwrap()));
                seen.push((view.queue_offset(), count));
                messages += count;
                rest = &rest[view.total_len()..];
            }
        }
        assert_eq!(read.messages as usize, messages);
        assert_eq!(read.next, at + i64::try_from(messages).unwrap());
        at = read.next;
    }
    seen
}

fn expected(sizes: &[usize]) -> Vec<(i64, usize)> {
    let mut next = 0;
    let place = |size: &usize| {
        let first = next;
        next += i64::try_from(*size).unwrap();
        (first, *size)
    };
    sizes.iter().map(place).collect()
}

/// First offsets and counts as they stand in the files that Apache's broker reads.
fn units(dir: &Path) -> Vec<(i64, usize)> {
    let queue = dir.join("batchconsumequeue").join(TOPIC).join("0");
    let mut names: Vec<_> = fs::read_dir(queue)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    let mut units = Vec::new();
    for name in names {
        let bytes = fs::read(name).unwrap();
        assert_eq!(bytes.len(), 4 * UNIT);
        for unit in bytes.chunks(UNIT).filter(|unit| unit[11] != 0) {
            let base = i64::from_be_bytes(unit[28..36].try_into().unwrap());
            let count = u16::from_be_bytes(unit[36..38].try_into().unwrap());
            assert_eq!(unit[38..], [255, 255, 255, 255, 0, 0, 0, 0]);
            units.push((base, usize::from(count)));
        }
    }
    units
}

fn defects(dir: &Path) -> Vec<Kind> {
    let directory = Directory::open(dir, Sizes::default()).unwrap();
    let report = directory.check(&Known::default(), |_| {}).unwrap();
    report.defects().iter().map(|defect| defect.kind).collect()
}

const SIZES: [usize; 11] = [3, 1, 1, 40, 2, 900, 1, 7, 7, 1, 64];

#[test]
fn batches_take_as_many_offsets_as_messages_whatever_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_batches(dir.path());
    put(&store, &SIZES[..6]);
    assert_eq!(seen(&store), expected(&SIZES[..6]));
    // A kill before anything of the queues was written.
    let killed = tempfile::tempdir().unwrap();
    copy(dir.path(), killed.path());
    let after = open_batches(killed.path());
    put(&after, &SIZES[6..]);
    assert_eq!(seen(&after), expected(&SIZES));
    after.close().unwrap();
    drop(after);
    assert_eq!(units(killed.path()), expected(&SIZES));
    assert_eq!(defects(killed.path()), []);
    store.close().unwrap();
    drop(store);
    assert_eq!(units(dir.path()), expected(&SIZES[..6]));
    // The kind of the topic need not be told again.
    let store = Store::open(
        Config {
            batch_topics: Vec::new(),
            ..batch_config(dir.path())
        },
        roomy(),
    )
    .unwrap();
    put(&store, &SIZES[6..]);
    assert_eq!(seen(&store), expected(&SIZES));
    store.close().unwrap();
    drop(store);
    assert_eq!(units(dir.path()), expected(&SIZES));
}

#[test]
fn what_apache_wrote_is_read_and_what_it_lost_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_batches(dir.path());
    put(&store, &SIZES);
    store.close().unwrap();
    drop(store);
    let whole = units(dir.path());
    // As after a broker of Apache's: nothing of ours, or what was ours is old.
    for removed in [
        &["checkpoint", "queues.summary", "batchentries"][..],
        &["checkpoint", "queues.summary"],
        &["batchentries"],
        &["batchconsumequeue"],
        &["batchconsumequeue", "batchentries", "checkpoint"],
    ] {
        let other = tempfile::tempdir().unwrap();
        copy(dir.path(), other.path());
        for name in removed {
            let path = other.path().join(name);
            let is_dir = path.is_dir();
            if is_dir {
                fs::remove_dir_all(path).unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
        }
        let store = open_batches(other.path());
        assert_eq!(seen(&store), expected(&SIZES), "{removed:?}");
        put(&store, &[5]);
        store.close().unwrap();
        drop(store);
        assert_eq!(units(other.path())[..SIZES.len()], whole, "{removed:?}");
        assert_eq!(units(other.path()).len(), SIZES.len() + 1);
        assert_eq!(defects(other.path()), [], "{removed:?}");
    }
}

#[test]
fn a_batch_whose_entries_cannot_all_be_read_gets_no_unit_of_a_part() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, env) = faulty();
    let store = Store::open(batch_config(dir.path()), env).unwrap();
    // Its entries are in three files, of which only the first can be read.
    plan.set(|operation, path| {
        if operation == Operation::Map && path.ends_with("batches/0/00000000000000000200") {
            Err(io::Error::from_raw_os_error(5))
        } else {
            Ok(())
        }
    });
    put(&store, &[25]);
    eventually("the failure is noticed", || store.writable().is_err());
    assert!(store.close().is_err());
    drop(store);
    plan.clear();
    let store = open_batches(dir.path());
    put(&store, &[2]);
    store.close().unwrap();
    drop(store);
    assert_eq!(units(dir.path()), expected(&[25, 2]));
    assert_eq!(defects(dir.path()), []);
    // Where a part has a unit all the same, it is replaced.
    let dir = tempfile::tempdir().unwrap();
    let store = open_batches(dir.path());
    put(&store, &[25]);
    store.close().unwrap();
    drop(store);
    let file = "batchconsumequeue/batches/0/00000000000000000000";
    poke(&dir.path().join(file), 36, &10_u16.to_be_bytes());
    assert_eq!(units(dir.path()), [(0, 10)]);
    open_batches(dir.path()).close().unwrap();
    assert_eq!(units(dir.path()), expected(&[25]));
}

#[test]
fn units_that_could_not_all_be_written_are_written_again_in_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, env) = faulty();
    let store = Store::open(batch_config(dir.path()), env).unwrap();
    // The first file takes four units, the second none yet.
    let second = format!("batches/0/{:020}", 4 * UNIT);
    let failed = Arc::new(AtomicBool::new(false));
    let fails = Arc::clone(&failed);
    plan.set(move |operation, path| {
        if operation == Operation::Write && path.ends_with(&second) {
            fails.store(true, Ordering::SeqCst);
            return Err(io::Error::from_raw_os_error(28));
        }
        Ok(())
    });
    put(&store, &[2; 6]);
    eventually("the disk is full", || failed.load(Ordering::SeqCst));
    plan.clear();
    store.close().unwrap();
    drop(store);
    assert_eq!(units(dir.path()), expected(&[2; 6]));
    assert_eq!(defects(dir.path()), []);
}

#[test]
fn units_whose_sync_failed_are_written_again_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, env) = faulty();
    let store = Store::open(batch_config(dir.path()), env).unwrap();
    plan.set(|operation, path| {
        if operation == Operation::Sync && is_in(path, "batchconsumequeue") {
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    });
    put(&store, &[2, 3]);
    eventually("the failure is noticed", || store.writable().is_err());
    assert!(store.close().is_err());
    drop(store);
    // They are seen, and yet may not be on the disk.
    assert_eq!(units(dir.path()), expected(&[2, 3]));
    let (plan, env) = faulty();
    let writes = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&writes);
    plan.set(move |operation, path| {
        if operation == Operation::Write && is_in(path, "batchconsumequeue") {
            count.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    });
    let store = Store::open(batch_config(dir.path()), env).unwrap();
    store.close().unwrap();
    drop(store);
    assert!(writes.load(Ordering::SeqCst) > 0);
    assert_eq!(units(dir.path()), expected(&[2, 3]));
}

#[test]
fn a_file_that_cannot_be_completed_or_mapped_leaves_no_hole_behind() {
    for (fails, error) in [(Operation::Map, 24), (Operation::Allocate, 28)] {
        let dir = tempfile::tempdir().unwrap();
        let (plan, env) = faulty();
        // The thread that writes queues out stays away, however slow the machine is.
        let config = Config {
            queue_flush_interval: Duration::from_secs(3600),
            ..batch_config(dir.path())
        };
        let store = Store::open(config, env).unwrap();
        // More than wait in memory.
        let mut before = vec![1; 1_101];
        put(&store, &before);
        // The batch wants files for 1110 and 1120, of ten entries each, and does not get the second.
        let second = format!("batches/0/{:020}", 1_120 * 20);
        plan.set(move |operation, path| {
            if operation == fails && path.ends_with(&second) {
                return Err(io::Error::from_raw_os_error(error));
            }
            Ok(())
        });
        let queue = store.queue(TOPIC, 0).unwrap();
        // It may have been stored all the same: in memory, or in files that were made ahead just before.
        if inner(&store, &queue, &body(19), 19).is_ok() {
            before.push(19);
        }
        plan.clear();
        store.close().unwrap();
        drop(store);
        let store = open_batches(dir.path());
        assert_eq!(seen(&store), expected(&before));
        put(&store, &[19]);
        store.close().unwrap();
        drop(store);
        assert_eq!(defects(dir.path()), []);
    }
}

#[test]
fn units_behind_the_end_of_the_log_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_batches(dir.path());
    put(&store, &[3, 4]);
    store.close().unwrap();
    drop(store);
    let short = tempfile::tempdir().unwrap();
    copy(dir.path(), short.path());
    let store = open_batches(dir.path());
    put(&store, &[5, 6, 7]);
    store.close().unwrap();
    drop(store);
    // The queue knows more than the log.
    copy(
        &dir.path().join("batchconsumequeue"),
        &short.path().join("batchconsumequeue"),
    );
    assert_eq!(defects(short.path()), [Kind::StaleEntry]);
    let store = open_batches(short.path());
    assert_eq!(seen(&store), expected(&[3, 4]));
    put(&store, &[2]);
    store.close().unwrap();
    drop(store);
    assert_eq!(units(short.path()), expected(&[3, 4, 2]));
    assert_eq!(defects(short.path()), []);
}

#[test]
fn a_batch_is_read_as_a_whole_from_any_of_its_offsets() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_batches(dir.path());
    put(&store, &[10, 10, 10, 1]);
    let queue = store.queue(TOPIC, 0).unwrap();
    let limits = ReadLimits {
        max_messages: 15,
        ..ALL
    };
    for (from, next) in [(0, 10), (1, 10), (9, 20), (10, 20), (25, 31), (30, 31)] {
        let read = store.read(&queue, from, limits, Access::Any, |_: i64| true);
        assert_eq!(
            (read.status, read.next),
            (ReadStatus::Found, next),
            "{from}"
        );
        let first = RecordView::parse(read.runs[0].as_slice()).unwrap();
        assert_eq!(first.queue_offset(), from / 10 * 10);
    }
    // One that is longer than what is asked for comes all the same.
    let one = ReadLimits {
        max_messages: 1,
        ..ALL
    };
    let read = store.read(&queue, 10, one, Access::Any, |_: i64| true);
    assert_eq!((read.messages, read.next), (10, 20));
    // Refused ones are passed over as a whole.
    let read = store.read(&queue, 0, one, Access::Any, |_: i64| false);
    assert_eq!(read.status, ReadStatus::NoMatchedMessage);
    assert_eq!(read.next, 31);
}

#[test]
fn a_time_finds_the_first_message_of_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(Stopped::default());
    let env = Env::with(
        Arc::new(Plan::default()),
        aerobee_store::Clock::given(Arc::clone(&clock) as _),
    );
    let store = Store::open(batch_config(dir.path()), env).unwrap();
    for time in [1000, 2000, 3000] {
        clock.0.store(time, Ordering::Relaxed);
        put(&store, &[10]);
    }
    let queue = store.queue(TOPIC, 0).unwrap();
    let at = |time, boundary| store.offset_by_time(&queue, time, boundary);
    for (time, lower, upper) in [
        (500, 0, 0),
        (1000, 0, 0),
        (1500, 10, 0),
        (2000, 10, 10),
        (3000, 20, 20),
        (4000, 20, 20),
    ] {
        assert_eq!(at(time, Boundary::Lower), lower, "{time}");
        assert_eq!(at(time, Boundary::Upper), upper, "{time}");
    }
}

#[test]
fn old_units_leave_with_the_log_and_offsets_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_batches(dir.path());
    let sizes = [200; 30];
    let long = vec![b'x'; 900];
    let queue = store.create_queue(TOPIC, 0).unwrap();
    for size in sizes {
        inner(&store, &queue, &long, size).unwrap();
    }
    store.close().unwrap();
    drop(store);
    let before = units(dir.path());
    let log = dir.path().join("commitlog");
    for base in [0, 4096, 8192, 12288] {
        fs::remove_file(log.join(format!("{base:020}"))).unwrap();
    }
    let store = open_batches(dir.path());
    store.clean_derived();
    let queue = store.queue(TOPIC, 0).unwrap();
    assert!(queue.min_offset() > 0 && queue.min_offset() % 200 == 0);
    assert_eq!(queue.max_offset(), 6000);
    let first = read(&store, &queue, queue.min_offset());
    assert_eq!(first.status, ReadStatus::Found);
    inner(&store, &queue, &long, 3).unwrap();
    store.close().unwrap();
    drop(store);
    let after = units(dir.path());
    assert!(after.len() < before.len() && after.last() == Some(&(6000, 3)));
    assert!(before.ends_with(&after[..after.len() - 1]));
    assert_eq!(defects(dir.path()), []);
    // A broker of Apache's has the same offsets to go on from.
    fs::remove_file(dir.path().join("checkpoint")).unwrap();
    let store = open_batches(dir.path());
    let queue = store.queue(TOPIC, 0).unwrap();
    assert_eq!(queue.max_offset(), 6003);
    assert_eq!(queue.min_offset() % 200, 0);
    store.close().unwrap();
}

#[test]
fn a_deleted_topic_leaves_nothing_and_may_come_back_as_another_kind() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_batches(dir.path());
    put(&store, &[3, 4]);
    store.delete_topic(TOPIC).unwrap();
    for name in ["batchconsumequeue", "batchentries"] {
        assert!(!dir.path().join(name).join(TOPIC).exists());
    }
    let queue = store.create_queue(TOPIC, 0).unwrap();
    assert!(!queue.is_batch());
    assert!(inner(&store, &queue, b"x", 2).is_err());
    append(&store, &queue, b"x").unwrap();
    store.close().unwrap();
    drop(store);
    store_again(dir.path());
}

fn store_again(dir: &Path) {
    let store = open(dir);
    let queue = store.queue(TOPIC, 0).unwrap();
    assert!(!queue.is_batch());
    assert_eq!(queue.max_offset(), 1);
    store.close().unwrap();
}

#[test]
fn what_is_wrong_with_units_is_found_and_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_batches(dir.path());
    put(&store, &SIZES);
    store.close().unwrap();
    drop(store);
    let file = |dir: &Path| {
        dir.join("batchconsumequeue")
            .join(TOPIC)
            .join("0/00000000000000000000")
    };
    for (at, bytes, kind) in [
        (36, &[0, 4][..], Kind::WrongEntry),
        (20, &[9], Kind::WrongEntry),
        (12, &[9], Kind::WrongEntry),
        (8, &[1], Kind::WrongEntry),
        (46 + 35, &[9], Kind::WrongEntry),
        (7, &[1], Kind::LostMessage),
    ] {
        let other = tempfile::tempdir().unwrap();
        copy(dir.path(), other.path());
        poke(&file(other.path()), at, bytes);
        let found = defects(other.path());
        assert!(found.contains(&kind), "{at}: {found:?}");
        let directory = Directory::open(other.path(), Sizes::default()).unwrap();
        let report = directory.check(&Known::default(), |_| {}).unwrap();
        aerobee_store::inspect::repair(&directory, &report, Config::new(other.path())).unwrap();
        assert_eq!(defects(other.path()), [], "{at}");
        assert_eq!(units(other.path()), expected(&SIZES), "{at}");
    }
}

#[test]
fn too_many_messages_or_none_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        queue_file_entries: 40_000,
        ..batch_config(dir.path())
    };
    let store = Store::open(config, roomy()).unwrap();
    let queue = store.create_queue(TOPIC, 0).unwrap();
    assert!(inner(&store, &queue, b"x", 0).is_err());
    assert!(inner(&store, &queue, b"x", 40_000).is_err());
    let other = store.create_queue("other", 0).unwrap();
    let refused = store.append_inner_batch(&other, &record("other", 0, b"x", ""), 2);
    assert!(refused.is_err());
    assert_eq!(queue.max_offset(), 0);
    inner(&store, &queue, &body(32_767), 32_767).unwrap();
    assert_eq!(seen(&store), [(0, 32_767)]);
    store.close().unwrap();
    drop(store);
    assert_eq!(units(dir.path()), [(0, 32_767)]);
}
