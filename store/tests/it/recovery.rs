// SPDX-License-Identifier: Apache-2.0
//! Directories of every condition: closed, killed, torn, damaged, foreign.

use std::{fs, path::Path};

use aerobee_store::{Config, OpenError, Store};
use proptest::prelude::*;

use crate::support::*;

const LOG: &str = "commitlog/00000000000000000000";

/// A directory with numbered messages in queue T/0, as a kill would leave it.
fn killed(dir: &Path, messages: u32) -> Vec<i64> {
    let live = tempfile::tempdir().unwrap();
    let store = open(live.path());
    let queue = store.create_queue("T", 0).unwrap();
    let places = (0..messages)
        .map(|n| append(&store, &queue, &body(n)).unwrap().physical)
        .collect();
    copy(live.path(), dir);
    places
}

fn bodies_in(dir: &Path) -> Vec<Vec<u8>> {
    let store = open(dir);
    let bodies = store
        .queue("T", 0)
        .map(|queue| bodies(&store, &queue))
        .unwrap_or_default();
    store.close().unwrap();
    bodies
}

/// Removes what has been written of the queues.
fn remove_queues(dir: &Path) {
    match fs::remove_dir_all(dir.join("consumequeue")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        removed => removed.unwrap(),
    }
}

fn open_error(dir: &Path) -> OpenError {
    Store::open(config(dir), roomy()).unwrap_err()
}

#[test]
fn a_clean_end_is_followed_by_a_short_start() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let store = open(dir.path());
        let queue = store.create_queue("T", 0).unwrap();
        assert_eq!(bodies(&store, &queue), numbered(0..round * 37));
        fill(&store, &queue, round * 37..(round + 1) * 37);
        assert_eq!(queue.max_offset(), i64::from((round + 1) * 37));
        store.close().unwrap();
    }
}

#[test]
fn a_kill_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    killed(dir.path(), 100);
    assert!(dir.path().join("abort").exists());
    assert_eq!(bodies_in(dir.path()), numbered(0..100));
    assert_eq!(bodies_in(dir.path()), numbered(0..100));
}

#[test]
fn queues_are_rebuilt_from_the_log() {
    for after_close in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        killed(dir.path(), 100);
        if after_close {
            bodies_in(dir.path());
        }
        remove_queues(dir.path());
        assert_eq!(bodies_in(dir.path()), numbered(0..100));
    }
}

#[test]
fn a_queue_that_lost_its_end_is_completed() {
    let dir = tempfile::tempdir().unwrap();
    killed(dir.path(), 100);
    bodies_in(dir.path());
    // The checkpoint says that all is dispatched; the last files of the queue, made durable once, are gone.
    let queue = dir.path().join("consumequeue/T/0");
    fs::remove_file(queue.join("00000000000000001800")).unwrap();
    poke(&queue.join("00000000000000001600"), 60, &[0; 140]);
    assert_eq!(bodies_in(dir.path()), numbered(0..100));
}

#[test]
fn a_torn_tail_is_cut_and_its_bytes_never_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let places = killed(dir.path(), 20);
    // The last record was half written: its body is not what its CRC says.
    let last = *places.last().unwrap();
    poke(&dir.path().join(LOG), last.cast_unsigned() + 90, b"??");
    remove_queues(dir.path());
    assert_eq!(bodies_in(dir.path()), numbered(0..19));
    let log = fs::read(dir.path().join(LOG)).unwrap();
    assert!(
        log[usize::try_from(last).unwrap()..]
            .iter()
            .all(|byte| *byte == 0)
    );
    assert_eq!(bodies_in(dir.path()), numbered(0..19));
}

#[test]
fn records_behind_a_torn_one_are_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    let places = killed(dir.path(), 20);
    fs::remove_file(dir.path().join("checkpoint")).unwrap();
    remove_queues(dir.path());
    poke(
        &dir.path().join(LOG),
        places[15].cast_unsigned() + 90,
        b"??",
    );
    assert_eq!(bodies_in(dir.path()), numbered(0..15));
    let kept: Vec<_> = fs::read_dir(dir.path().join("quarantine"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    assert_eq!(kept.len(), 1);
    let bytes = fs::read(&kept[0]).unwrap();
    assert!(bytes.windows(10).any(|window| window == b"message 19"));
}

#[test]
fn damage_before_the_durable_end_keeps_the_store_closed() {
    let dir = tempfile::tempdir().unwrap();
    let places = killed(dir.path(), 60);
    bodies_in(dir.path());
    let log = dir.path().join(LOG);
    poke(&log, places[10].cast_unsigned() + 90, b"??");
    // So that the damaged part is scanned at all.
    remove_queues(dir.path());
    let before = fs::read(&log).unwrap();
    let error = open_error(dir.path());
    let OpenError::Damaged { path, position, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((path, *position), (&log, places[10]));
    let text = error.to_string();
    assert!(
        text.contains(&format!("from position {}", places[11])) && text.contains("CRC"),
        "{text}"
    );
    assert_eq!(fs::read(&log).unwrap(), before);
}

#[test]
fn a_log_that_ends_before_its_durable_end_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    killed(dir.path(), 100);
    bodies_in(dir.path());
    let mut files: Vec<_> = fs::read_dir(dir.path().join("commitlog"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    fs::remove_file(files.last().unwrap()).unwrap();
    assert!(matches!(open_error(dir.path()), OpenError::Damaged { .. }));
}

#[test]
fn wrong_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    killed(dir.path(), 200);
    let second = dir.path().join("commitlog/00000000000000004096");
    let content = fs::read(&second).unwrap();
    fs::remove_file(&second).unwrap();
    assert!(matches!(open_error(dir.path()), OpenError::MissingFile { path } if path == second));
    fs::write(&second, &content[..4095]).unwrap();
    assert!(
        matches!(open_error(dir.path()), OpenError::FileLength { path, actual: 4095, .. } if path == second)
    );
    fs::write(&second, content).unwrap();
    let stray = dir.path().join("commitlog/00000000000000000100");
    fs::write(&stray, b"").unwrap();
    assert!(matches!(open_error(dir.path()), OpenError::StrayFile { path } if path == stray));
    fs::remove_file(stray).unwrap();
    fs::write(dir.path().join("commitlog/notes.txt"), b"left alone").unwrap();
    let empty_last = dir
        .path()
        .join("commitlog")
        .join(format!("{:020}", 4096 * 20));
    assert!(!empty_last.exists());
    assert_eq!(bodies_in(dir.path()), numbered(0..200));
    assert!(dir.path().join("commitlog/notes.txt").exists());
    let other_size = Config {
        commit_log_file_bytes: 8192,
        ..config(dir.path())
    };
    assert!(matches!(
        Store::open(other_size, roomy()),
        Err(OpenError::StrayFile { .. } | OpenError::FileLength { .. })
    ));
}

#[test]
fn rocksdb_directories_are_refused() {
    for name in [
        "consumequeue/CURRENT",
        "config/metadata/x",
        "rocksdbstore/000008.sst",
        "kvStore/x",
        "rocksdbstore/000004.log",
        "consumequeue_rocksdb/CURRENT",
        "config/rdb/CURRENT",
        "config/topics/CURRENT",
        "config/subscriptionGroups/CURRENT",
        "config/consumerOffsets/x",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"x").unwrap();
        let error = open_error(dir.path());
        let text = error.to_string();
        let OpenError::RocksDb { path: named, .. } = error else {
            panic!("{name}: {text}");
        };
        // The file or directory, the cause, the remedy; and nothing has changed.
        assert!(path.starts_with(&named) && named != dir.path(), "{text}");
        for part in [named.to_str().unwrap(), "RocksDB", "storeType=default"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(fs::read(&path).unwrap(), b"x");
        assert!(!dir.path().join("commitlog").exists());
    }
    // Empty, as Apache's broker always makes it.
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("rocksdbstore")).unwrap();
    fs::write(
        dir.path().join("rocksdbstore/CURRENT"),
        b"MANIFEST-000004\n",
    )
    .unwrap();
    fs::write(dir.path().join("rocksdbstore/000004.log"), b"").unwrap();
    open(dir.path()).close().unwrap();
}

#[test]
fn what_is_kept_in_forms_that_are_not_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = dir.path().join("timerwheel.1048576");
    fs::write(&snapshot, b"").unwrap();
    let error = open_error(dir.path());
    assert!(matches!(&error, OpenError::WheelSnapshot { path } if *path == snapshot));
    fs::remove_file(snapshot).unwrap();
    open(dir.path()).close().unwrap();
}

#[test]
fn tags_codes_in_extension_files_are_found_in_the_records() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let queue = store.create_queue("T", 0).unwrap();
    for (number, tag) in ["A", "", "A", ""].iter().enumerate() {
        let body = body(u32::try_from(number).unwrap());
        store.append(&queue, &record("T", 0, &body, tag)).unwrap();
    }
    store.close().unwrap();
    drop((queue, store));
    // As Java has it with enableConsumeQueueExt: the code is an address in other files.
    let file = dir.path().join("consumequeue/T/0/00000000000000000000");
    for at in 0..4u64 {
        let address = i64::MIN + 20 * at.cast_signed();
        poke(&file, at * 20 + 12, &address.to_be_bytes());
    }
    let store = open(dir.path());
    let queue = store.queue("T", 0).unwrap();
    let wanted = aerobee_message::tags::code_of("A");
    let found = store.read(&queue, 0, ALL, aerobee_store::Access::Any, |code: i64| {
        code == wanted
    });
    assert_eq!((found.messages, found.next), (2, 4));
    assert_eq!(store.entry_at(&queue, 0).unwrap().tags_code, wanted);
    assert_eq!(store.entry_at(&queue, 1).unwrap().tags_code, 0);
    assert_eq!(bodies(&store, &queue), numbered(0..4));
    store.close().unwrap();
}

#[test]
fn a_second_broker_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert!(matches!(open_error(dir.path()), OpenError::Locked { .. }));
    assert_eq!(fs::read(dir.path().join("lock")).unwrap(), b"lock");
    store.close().unwrap();
    open(dir.path()).close().unwrap();
}

#[test]
fn a_directory_that_apache_wrote_last_is_recovered_by_its_rules() {
    for (clean, longs) in [
        (true, [0i64; 6]),
        (false, [0; 6]),
        (false, [i64::MAX, i64::MAX, 0, 0, 0, 4096]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        killed(dir.path(), 150);
        bodies_in(dir.path());
        fs::write(dir.path().join("abort"), b"1").unwrap();
        // Java's longs and none of our slots.
        let mut checkpoint = vec![0; 4096];
        for (at, long) in longs.iter().enumerate() {
            checkpoint[at * 8..at * 8 + 8].copy_from_slice(&long.to_be_bytes());
        }
        fs::write(dir.path().join("checkpoint"), checkpoint).unwrap();
        if clean {
            fs::remove_file(dir.path().join("abort")).unwrap();
        }
        fs::write(dir.path().join("abort.bak"), b"").unwrap();
        // The last entries were never dispatched.
        let queue = dir.path().join("consumequeue/T/0");
        fs::remove_file(queue.join("00000000000000002800")).unwrap();
        let prepared = queue.join("00000000000000003000");
        if prepared.exists() {
            fs::remove_file(prepared).unwrap();
        }
        assert_eq!(bodies_in(dir.path()), numbered(0..150), "{clean} {longs:?}");
        assert!(dir.path().join("abort.bak").exists());
    }
}

#[test]
fn queues_whose_beginning_is_gone_start_with_blank_entries() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = open(dir.path());
        let other = store.create_queue("U", 0).unwrap();
        append(&store, &other, &[b'x'; 300]).unwrap();
        let queue = store.create_queue("T", 0).unwrap();
        fill(&store, &queue, 0..150);
    }
    fs::remove_file(dir.path().join("checkpoint")).unwrap();
    fs::remove_file(dir.path().join(LOG)).unwrap();
    remove_queues(dir.path());
    let store = open(dir.path());
    let queue = store.queue("T", 0).unwrap();
    let min = queue.min_offset();
    assert!(min > 10 && min % 10 != 0, "{min}");
    assert_eq!(
        bodies(&store, &queue),
        numbered(u32::try_from(min).unwrap()..150)
    );
    assert_eq!(store.min_physical(), 4096);
    let file = fs::read(
        dir.path()
            .join("consumequeue/T/0")
            .join(format!("{:020}", min / 10 * 200)),
    )
    .unwrap();
    assert_eq!(
        file[..20],
        [
            0, 0, 0, 0, 0, 0, 0, 0, 0x7F, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0
        ]
    );
    store.close().unwrap();
    drop(store);
    let store = open(dir.path());
    let queue = store.queue("T", 0).unwrap();
    assert_eq!((queue.min_offset(), queue.max_offset()), (min, 150));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// A log cut anywhere and filled up with any bytes gives back the records before the cut, and takes new ones.
    #[test]
    fn any_tail_is_recovered(cut in 0usize..4000, garbage in prop::collection::vec(any::<u8>(), 0..200)) {
        let dir = tempfile::tempdir().unwrap();
        let places = killed(dir.path(), 30);
        fs::remove_file(dir.path().join("checkpoint")).unwrap();
        remove_queues(dir.path());
        let path = dir.path().join(LOG);
        let mut log = fs::read(&path).unwrap();
        let end = cut + garbage.len().min(log.len() - cut);
        let garbage = &garbage[..end - cut];
        log[cut..].fill(0);
        log[cut..end].copy_from_slice(garbage);
        fs::write(&path, &log).unwrap();
        for other in fs::read_dir(dir.path().join("commitlog")).unwrap() {
            let other = other.unwrap().path();
            if other != path {
                fs::remove_file(other).unwrap();
            }
        }
        let whole = places.windows(2).take_while(|pair| pair[1] <= cut as i64).count();
        let store = open(dir.path());
        let queue = store.create_queue("T", 0).unwrap();
        let found = bodies(&store, &queue).len();
        // A cut record is whole again only if the garbage is what was there.
        prop_assert!(found >= whole.min(29) && found <= whole + 1);
        append(&store, &queue, b"new").unwrap();
        store.close().unwrap();
        drop((store, queue));
        let all = bodies_in(dir.path());
        prop_assert_eq!(all.len(), found + 1);
        prop_assert_eq!(all.last().unwrap(), b"new");
    }
}
