// SPDX-License-Identifier: Apache-2.0
//! Looking messages up by key.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use aerobee_message::{Record, RecordView, TagsCode, sysflag};
use aerobee_store::{
    Clock, Config, Env, KeyKind, KeyQuery, KeysFound, Queue, Store, Task, Turn, index::Geometry,
};

const TOPIC: &str = "orders";
const GEOMETRY: Geometry = Geometry {
    slots: 5,
    entries: 8,
};

fn config(dir: &Path) -> Config {
    let mut config = crate::support::config(dir);
    config.index.geometry = GEOMETRY;
    config
}

/// No thread follows the log, so that each query finds the index free and brings it up to date itself.
fn env() -> Env {
    Env::stepped(Arc::new(crate::support::Plan::default()), Clock::system())
}

fn open(dir: &Path) -> (Arc<Store>, Arc<Queue>) {
    let store = Store::open(config(dir), env()).unwrap();
    let queue = store.create_queue(TOPIC, 0).unwrap();
    (store, queue)
}

fn properties(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, value) in pairs {
        aerobee_message::properties::Properties::push(&mut text, name, value);
    }
    text
}

fn append_with(store: &Store, queue: &Queue, body: &str, pairs: &[(&str, &str)], sys_flag: i32) {
    let text = properties(pairs);
    let record = Record {
        sys_flag,
        properties: &[&text],
        tags_code: TagsCode::Hash(0),
        ..crate::support::record(TOPIC, 0, body.as_bytes(), "")
    };
    store.append(queue, &record).unwrap();
}

fn append(store: &Store, queue: &Queue, body: &str, pairs: &[(&str, &str)]) {
    append_with(store, queue, body, pairs, 0);
}

fn query(key: &str) -> KeyQuery<'_> {
    KeyQuery {
        topic: TOPIC,
        key,
        kind: KeyKind::Key,
        max_messages: 32,
        begin: 0,
        end: i64::MAX,
    }
}

fn bodies(found: &KeysFound) -> Vec<String> {
    let body = |run: &aerobee_store::Run| {
        let record = RecordView::parse(run.as_slice()).unwrap();
        String::from_utf8(record.body().to_vec()).unwrap()
    };
    found.records.iter().map(body).collect()
}

fn found(store: &Store, key: &str) -> Vec<String> {
    bodies(&store.query(&query(key)))
}

fn index_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir.join("index"))
        .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
        .unwrap_or_default();
    files.sort();
    files
}

#[test]
fn a_message_is_found_by_each_of_its_keys_as_soon_as_it_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let (store, queue) = open(dir.path());
    let pairs = [("UNIQ_KEY", "U1"), ("KEYS", "k1  k2"), ("TAGS", "red")];
    append(&store, &queue, "one", &pairs);
    append(&store, &queue, "two", &[("KEYS", "k2")]);
    append(&store, &queue, "none", &[]);
    for (key, expected) in [
        ("U1", &["one"][..]),
        ("k1", &["one"]),
        ("k2", &["one", "two"]),
        ("", &[]),
        ("red", &[]),
    ] {
        assert_eq!(found(&store, key), expected, "{key}");
    }
    let tags = KeyQuery {
        kind: KeyKind::Tags,
        ..query("red")
    };
    assert_eq!(bodies(&store.query(&tags)), ["one"]);
    let other = KeyQuery {
        topic: "other",
        ..query("k1")
    };
    assert_eq!(bodies(&store.query(&other)), [""; 0]);
}

/// The index knows hashes only, as Apache's: who asks looks at the keys of what comes, which counts against the number
/// that was asked for.
#[test]
fn keys_of_one_hash_are_found_together() {
    let dir = tempfile::tempdir().unwrap();
    let (store, queue) = open(dir.path());
    // Java gives both the same hash.
    for (body, key) in [
        ("one", "Aa"),
        ("two", "BB"),
        ("three", "Ab"),
        ("four", "Aa"),
    ] {
        append(&store, &queue, body, &[("KEYS", key)]);
    }
    assert_eq!(found(&store, "Aa"), ["one", "two", "four"]);
    assert_eq!(found(&store, "BB"), ["one", "two", "four"]);
    assert_eq!(found(&store, "Ab"), ["three"]);
    let two = KeyQuery {
        max_messages: 2,
        ..query("Aa")
    };
    assert_eq!(bodies(&store.query(&two)), ["two", "four"]);
}

#[test]
fn rolled_back_marks_are_not_indexed_and_half_messages_are() {
    let dir = tempfile::tempdir().unwrap();
    let (store, queue) = open(dir.path());
    for (body, flag) in [
        ("half", sysflag::TRANSACTION_PREPARED),
        ("back", sysflag::TRANSACTION_ROLLBACK),
        ("commit", sysflag::TRANSACTION_COMMIT),
    ] {
        append_with(&store, &queue, body, &[("KEYS", "k")], flag);
    }
    assert_eq!(found(&store, "k"), ["half", "commit"]);
}

#[test]
fn the_newest_are_returned_in_order_and_no_more_than_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (store, queue) = open(dir.path());
    for number in 0..100 {
        append(&store, &queue, &number.to_string(), &[("KEYS", "k")]);
    }
    let some = KeyQuery {
        max_messages: 3,
        ..query("k")
    };
    let answer = store.query(&some);
    assert_eq!(bodies(&answer), ["97", "98", "99"]);
    let last = RecordView::parse(answer.records[2].as_slice()).unwrap();
    assert_eq!(answer.last_physical, last.physical_offset());
    assert_eq!(answer.last_timestamp, last.store_timestamp());
    let all = KeyQuery {
        max_messages: usize::MAX,
        ..query("k")
    };
    assert_eq!(store.query(&all).records.len(), 64);
    assert!(index_files(dir.path()).len() > 10);
}

#[test]
fn times_limit_what_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(crate::support::Stopped(1_000_000.into()));
    let env = Env::with(
        Arc::new(crate::support::Plan::default()),
        Clock::given(Arc::clone(&clock) as _),
    );
    let store = Store::open(config(dir.path()), env).unwrap();
    let queue = store.create_queue(TOPIC, 0).unwrap();
    for number in 0..30 {
        clock
            .0
            .store(1_000_000 + number * 10_000, Ordering::Relaxed);
        append(&store, &queue, &number.to_string(), &[("KEYS", "k")]);
    }
    let within = |begin, end| {
        let query = KeyQuery {
            begin,
            end,
            ..query("k")
        };
        bodies(&store.query(&query))
    };
    assert_eq!(within(1_100_000, 1_120_000), ["10", "11", "12"]);
    assert_eq!(within(0, 1_010_000), ["0", "1"]);
    assert_eq!(within(1_280_000, i64::MAX), ["28", "29"]);
    assert_eq!(within(0, 999_999), [""; 0]);
    assert_eq!(within(1_290_001, i64::MAX), [""; 0]);
}

#[test]
fn a_clean_restart_keeps_the_files_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let (store, queue) = open(dir.path());
    for number in 0..20 {
        append(
            &store,
            &queue,
            &number.to_string(),
            &[("KEYS", "k"), ("TAGS", "t")],
        );
    }
    append(&store, &queue, "no keys", &[]);
    store.close().unwrap();
    let before: Vec<_> = index_files(dir.path())
        .iter()
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    assert!(before.len() > 3);
    assert!(
        before
            .iter()
            .all(|(_, bytes)| bytes.len() as u64 == GEOMETRY.file_bytes())
    );
    let (store, queue) = open(dir.path());
    assert_eq!(found(&store, "k").len(), 20);
    store.close().unwrap();
    for (path, bytes) in before {
        assert_eq!(fs::read(&path).unwrap(), bytes, "{}", path.display());
    }
    drop(queue);
}

#[test]
fn a_start_knows_that_the_index_is_complete() {
    let dir = tempfile::tempdir().unwrap();
    let (store, queue) = open(dir.path());
    append(&store, &queue, "1", &[("KEYS", "a")]);
    assert!(store.index_behind() > 0);
    store.close().unwrap();
    let (store, _) = open(dir.path());
    store.step(Task::Indexer).unwrap();
    assert_eq!(store.index_behind(), 0);
}

#[test]
fn what_a_crash_has_torn_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (store, queue) = open(dir.path());
    for number in 0..33 {
        append(&store, &queue, &number.to_string(), &[("KEYS", "k")]);
    }
    assert_eq!(found(&store, "k").len(), 32);
    drop((store, queue));
    // The newest file has lost its table but not its header.
    let newest = index_files(dir.path()).pop().unwrap();
    let file = fs::OpenOptions::new().write(true).open(&newest).unwrap();
    file.write_all_at(&vec![0xEE; GEOMETRY.file_bytes() as usize - 40], 40)
        .unwrap();
    let (store, queue) = open(dir.path());
    append(&store, &queue, "last", &[("KEYS", "k")]);
    let some = KeyQuery {
        max_messages: 64,
        ..query("k")
    };
    let expected: Vec<String> = (0..33).map(|number| number.to_string()).collect();
    let all = bodies(&store.query(&some));
    assert_eq!(all[..33], expected);
    assert_eq!(all[33..], ["last"]);
}

#[test]
fn after_a_crash_the_index_goes_on_from_its_last_sync() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(crate::support::Stopped(1_000_000.into()));
    let env = || {
        Env::stepped(
            Arc::new(crate::support::Plan::default()),
            Clock::given(Arc::clone(&clock) as _),
        )
    };
    let store = Store::open(config(dir.path()), env()).unwrap();
    let queue = store.create_queue(TOPIC, 0).unwrap();
    for number in 0..10 {
        append(&store, &queue, &number.to_string(), &[("KEYS", "k")]);
    }
    store.step(Task::Indexer);
    clock.0.fetch_add(30_000, Ordering::Relaxed);
    assert_eq!(store.step(Task::Indexer), Some(Turn::Again));
    append(&store, &queue, "10", &[("KEYS", "k")]);
    store.step(Task::Indexer);
    drop((store, queue));
    let files = index_files(dir.path());
    assert_eq!(files.len(), 2);
    // The table of the newest file is torn; the entries that were synced are not: it has three of them.
    let newest = fs::OpenOptions::new().write(true).open(&files[1]).unwrap();
    newest.write_all_at(&[0xEE; 5 * 4], 40).unwrap();
    newest.write_all_at(&[0xEE; 4 * 20], 60 + 4 * 20).unwrap();
    let store = Store::open(config(dir.path()), env()).unwrap();
    let expected: Vec<String> = (0..11).map(|number| number.to_string()).collect();
    assert_eq!(found(&store, "k"), expected);
    assert_eq!(index_files(dir.path()), files);
}

#[test]
fn files_that_are_gone_are_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (store, queue) = open(dir.path());
    for number in 0..20 {
        append(&store, &queue, &number.to_string(), &[("KEYS", "k")]);
    }
    store.close().unwrap();
    drop((store, queue));
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (store, _queue) = open(dir.path());
    assert_eq!(found(&store, "k").len(), 20);
}

#[test]
fn an_index_that_knows_more_than_the_log_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let (store, queue) = open(dir.path());
    append(&store, &queue, "kept", &[("KEYS", "k")]);
    store.close().unwrap();
    drop((store, queue));
    // Everything but the index is put back to how it was.
    let copy = tempfile::tempdir().unwrap();
    crate::support::copy(dir.path(), copy.path());
    let (store, queue) = open(dir.path());
    append(&store, &queue, "lost", &[("KEYS", "k")]);
    store.close().unwrap();
    drop((store, queue));
    fs::remove_dir_all(copy.path().join("index")).unwrap();
    crate::support::copy(&dir.path().join("index"), &copy.path().join("index"));
    fs::copy(
        dir.path().join("indexstate"),
        copy.path().join("indexstate"),
    )
    .unwrap();
    let (store, queue) = open(copy.path());
    assert_eq!(found(&store, "k"), ["kept"]);
    append(&store, &queue, "new", &[("KEYS", "k")]);
    assert_eq!(found(&store, "k"), ["kept", "new"]);
}

#[test]
fn records_longer_than_a_read_and_blank_ends_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    let large = Config {
        commit_log_file_bytes: 4 << 20,
        hot_bytes: 0,
        ..config(dir.path())
    };
    let store = Store::open(large, crate::support::roomy()).unwrap();
    let queue = store.create_queue(TOPIC, 0).unwrap();
    let body = "x".repeat(1_500_000);
    for number in 0..5 {
        append(&store, &queue, &body, &[("KEYS", &*format!("k{number}"))]);
    }
    for number in 0..5 {
        assert_eq!(found(&store, &format!("k{number}")).len(), 1);
    }
}

#[test]
fn switched_off_nothing_is_written_and_what_is_there_is_still_found() {
    let dir = tempfile::tempdir().unwrap();
    let (store, queue) = open(dir.path());
    append(&store, &queue, "one", &[("KEYS", "k")]);
    store.close().unwrap();
    drop((store, queue));
    let mut off = config(dir.path());
    off.index.write = false;
    let store = Store::open(off.clone(), crate::support::roomy()).unwrap();
    let queue = store.create_queue(TOPIC, 0).unwrap();
    append(&store, &queue, "two", &[("KEYS", "k")]);
    assert_eq!(found(&store, "k"), ["one"]);
    store.close().unwrap();
    drop((store, queue));
    off.index.read = false;
    let store = Store::open(off, crate::support::roomy()).unwrap();
    assert_eq!(found(&store, "k"), [""; 0]);
    store.close().unwrap();
    drop(store);
    // Switched on again, the index takes up what it has missed.
    let (store, _queue) = open(dir.path());
    assert_eq!(found(&store, "k"), ["one", "two"]);
}
