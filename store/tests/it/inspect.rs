// SPDX-License-Identifier: Apache-2.0
//! Looking at directories in every condition, and repairing them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use aerobee_message::{Record, RecordView};
use aerobee_store::{
    Config, KeyQuery, Store,
    index::{Geometry, KeyKind},
    inspect::{self, Directory, Kind, Known, LogItem, Report, Sizes, Writer},
};

use crate::support::*;

const TOPICS: [&str; 2] = ["orders", "payments"];
/// Messages of each of the two queues of each topic.
const MESSAGES: u32 = 40;

fn sizes() -> Sizes {
    Sizes {
        index: Some(Geometry {
            slots: 50,
            entries: 200,
        }),
        ..Sizes::default()
    }
}

/// A directory with messages in four queues, all of them with keys, in several files of everything.
fn filled(dir: &Path) -> Vec<i64> {
    let store = open(dir);
    let places = fill_queues(&store);
    store.close().unwrap();
    places
}

fn fill_queues(store: &Store) -> Vec<i64> {
    let mut places = Vec::new();
    for number in 0..MESSAGES {
        for topic in TOPICS {
            for id in 0..2 {
                let queue = store.create_queue(topic, id).unwrap();
                let keys = format!("KEYS\x01k{number}\x02TAGS\x01A\x02");
                let body = body(number);
                let record = Record {
                    properties: &[keys.as_bytes()],
                    ..record(topic, id, &body, "A")
                };
                places.push(store.append(&queue, &record).unwrap().physical);
            }
        }
    }
    places
}

fn check(dir: &Path) -> Report {
    let before = content(dir);
    let report = Directory::open(dir, sizes())
        .unwrap()
        .check(&Known::default(), |_| ())
        .unwrap();
    assert!(content(dir) == before, "a check changed the directory");
    report
}

/// All files with what is in them.
fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                files.insert(path.clone(), fs::read(path).unwrap());
            }
        }
    }
    files
}

/// The only defects there are: their kinds with file and byte.
fn places(dir: &Path, report: &Report) -> Vec<(Kind, String, Option<u64>)> {
    let defects = report.defects().iter();
    defects
        .map(|defect| {
            let path = defect.path.strip_prefix(dir).unwrap();
            (defect.kind, path.display().to_string(), defect.at)
        })
        .collect()
}

/// Repairs, checks again, and opens a store, which must have all messages but those lost. Returns what was set aside.
fn repaired(dir: &Path, report: &Report, lost: usize) -> Vec<PathBuf> {
    let directory = Directory::open(dir, sizes()).unwrap();
    let done = inspect::repair(&directory, report, config(dir)).unwrap();
    assert!(!done.acts.is_empty());
    let again = check(dir);
    assert_eq!(again.defects(), [], "{:?}", done.acts);
    assert_eq!(again.start.len(), 1, "{:?}", again.start);
    let store = open(dir);
    let mut found = 0;
    for topic in TOPICS {
        for id in 0..2 {
            let queue = store.queue(topic, id).unwrap();
            assert_eq!(queue.max_offset(), i64::from(MESSAGES));
            found += read_all(&store, topic, id).len();
        }
    }
    assert_eq!(found, 4 * MESSAGES as usize - lost);
    let query = KeyQuery {
        topic: TOPICS[1],
        kind: KeyKind::Key,
        key: "k39",
        max_messages: 10,
        begin: 0,
        end: i64::MAX,
    };
    assert_eq!(store.query(&query).records.len(), 2);
    let queue = store.queue(TOPICS[0], 0).unwrap();
    append(&store, &queue, b"goes on").unwrap();
    store.close().unwrap();
    assert_eq!(check(dir).defects(), []);
    let folder = done.folder.map(|folder| content(&folder));
    folder.unwrap_or_default().into_keys().collect()
}

/// Bodies of a queue, over offsets without a message.
fn read_all(store: &Store, topic: &str, id: i32) -> Vec<Vec<u8>> {
    let queue = store.queue(topic, id).unwrap();
    let mut bodies = Vec::new();
    let mut at = queue.min_offset();
    while at < queue.max_offset() {
        let read = read(store, &queue, at);
        for run in &read.runs {
            let mut rest = run.as_slice();
            while !rest.is_empty() {
                let view = RecordView::parse(rest).unwrap();
                assert_eq!((view.topic(), view.queue_id()), (topic, id));
                bodies.push(view.body().to_vec());
                rest = &rest[view.total_len()..];
            }
        }
        assert!(read.next > at, "{:?} at {at}", read.status);
        at = read.next;
    }
    bodies
}

fn log_file(position: i64) -> String {
    format!("commitlog/{:020}", position / 4096 * 4096)
}

fn in_file(position: i64) -> u64 {
    (position % 4096).cast_unsigned()
}

#[test]
fn a_directory_that_was_closed_is_clean() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let report = check(dir.path());
    assert_eq!(report.defects(), []);
    assert_eq!(report.notes(), [""; 0]);
    let messages = u64::from(4 * MESSAGES);
    assert_eq!((report.records, report.entries), (messages, messages));
    // The key and the tags of each.
    assert_eq!(report.index_entries, 2 * messages);
    assert_eq!(report.queues.len(), 4);
    assert!(
        report
            .queues
            .iter()
            .all(|range| (range.min, range.next) == (0, 40))
    );
    assert!(
        report.start[0].contains("the checkpoint"),
        "{:?}",
        report.start
    );
    let directory = Directory::open(dir.path(), sizes()).unwrap();
    assert_eq!(directory.writer, Writer::Aerobee);
    assert_eq!(directory.log_file_bytes(), 4096);
    assert_eq!(directory.queue_file_entries(), 10);
    assert!(directory.is_clean());
}

#[test]
fn a_directory_of_a_killed_broker_has_work_left_and_no_defect() {
    let live = tempfile::tempdir().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let store = open(live.path());
    fill_queues(&store);
    copy(live.path(), dir.path());
    let report = check(dir.path());
    assert_eq!(report.defects(), []);
    let live_report = check_live(live.path());
    assert_eq!(live_report.defects(), []);
    assert!(live_report.notes()[0].contains(&std::process::id().to_string()));
    assert!(live_report.start[0].starts_with("would refuse"));
    // The lock is still held.
    assert!(Store::open(config(live.path()), roomy()).is_err());
    store.close().unwrap();
}

fn check_live(dir: &Path) -> Report {
    let directory = Directory::open(dir, sizes()).unwrap();
    assert!(directory.held_by.is_some());
    directory.check(&Known::default(), |_| ()).unwrap()
}

#[test]
fn a_flipped_bit_in_a_body() {
    let dir = tempfile::tempdir().unwrap();
    let at = filled(dir.path())[50];
    let path = dir.path().join(log_file(at));
    poke(&path, in_file(at) + 90, b"?");
    let report = check(dir.path());
    let places = places(dir.path(), &report);
    assert_eq!(
        places[0],
        (Kind::DamagedLog, log_file(at), Some(in_file(at)))
    );
    // Message 50 is the 12th of payments/0.
    let entry = (
        "consumequeue/payments/0/00000000000000000200".to_owned(),
        Some(40),
    );
    assert!(places.contains(&(Kind::LostMessage, entry.0, entry.1)));
    assert_eq!(places.len(), 2, "{places:?}");
    // The index has the key and the tags of it.
    assert!(
        report.notes()[0].starts_with("2 index entries refer"),
        "{:?}",
        report.notes()
    );
    assert!(report.defects()[0].what.contains("CRC"));
    assert!(
        report
            .start
            .iter()
            .any(|line| line.contains("would not notice")),
        "{:?}",
        report.start
    );
    let aside = repaired(dir.path(), &report, 1);
    let kept = aside
        .iter()
        .find(|path| path.to_string_lossy().contains("-bytes-"));
    let kept = fs::read(kept.unwrap()).unwrap();
    assert_eq!(RecordView::parse(&kept).unwrap().total_len(), kept.len());
}

#[test]
fn a_flipped_bit_in_a_length() {
    let dir = tempfile::tempdir().unwrap();
    let at = filled(dir.path())[77];
    let path = dir.path().join(log_file(at));
    poke(&path, in_file(at) + 2, &[0x40]);
    let report = check(dir.path());
    let first = &places(dir.path(), &report)[0];
    assert_eq!(*first, (Kind::DamagedLog, log_file(at), Some(in_file(at))));
    repaired(dir.path(), &report, 1);
}

#[test]
fn the_last_record_of_a_file_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let places_of = filled(dir.path());
    let next = places_of.iter().position(|at| *at >= 8192).unwrap();
    let at = places_of[next - 1];
    let path = dir.path().join(log_file(at));
    // The blank rest of the file behind it is no record to go on with.
    poke(&path, in_file(at) + 4, b"????");
    let report = check(dir.path());
    let first = &places(dir.path(), &report)[0];
    assert_eq!(*first, (Kind::DamagedLog, log_file(at), Some(in_file(at))));
    repaired(dir.path(), &report, 1);
}

#[test]
fn a_torn_tail_is_not_damage_in_the_middle() {
    let dir = tempfile::tempdir().unwrap();
    let at = *filled(dir.path()).last().unwrap();
    let path = dir.path().join(log_file(at));
    poke(&path, in_file(at) + 90, b"?");
    let report = check(dir.path());
    let places = places(dir.path(), &report);
    assert_eq!(places[0], (Kind::TornTail, log_file(at), Some(in_file(at))));
    assert!(report.has(Kind::StaleEntry) && !report.has(Kind::DamagedLog));
    // It was durable, so this is loss.
    assert!(report.has(Kind::Checkpoint), "{places:?}");
    assert!(
        report.start[0].contains("would refuse"),
        "{:?}",
        report.start
    );
    let directory = Directory::open(dir.path(), sizes()).unwrap();
    inspect::repair(&directory, &report, config(dir.path())).unwrap();
    assert_eq!(check(dir.path()).defects(), []);
    let store = open(dir.path());
    assert_eq!(store.queue("payments", 1).unwrap().max_offset(), 39);
    store.close().unwrap();
}

#[test]
fn a_missing_file_in_the_middle() {
    let dir = tempfile::tempdir().unwrap();
    let all = filled(dir.path());
    let path = dir.path().join(log_file(8192));
    fs::remove_file(&path).unwrap();
    let report = check(dir.path());
    let first = &places(dir.path(), &report)[0];
    assert_eq!(*first, (Kind::MissingLogFile, log_file(8192), None));
    assert!(
        report.start[0].contains("would refuse"),
        "{:?}",
        report.start
    );
    let lost = all.iter().filter(|at| (8192..12288).contains(*at)).count();
    repaired(dir.path(), &report, lost);
}

#[test]
fn a_short_file() {
    let dir = tempfile::tempdir().unwrap();
    let all = filled(dir.path());
    let path = dir.path().join(log_file(4096));
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1000)
        .unwrap();
    let report = check(dir.path());
    let first = &places(dir.path(), &report)[0];
    assert_eq!(*first, (Kind::LogFileLength, log_file(4096), Some(1000)));
    let whole = all
        .iter()
        .filter(|at| (4096..8192).contains(*at))
        .collect::<Vec<_>>();
    let kept = whole
        .windows(2)
        .filter(|pair| *pair[1] <= 4096 + 1000)
        .count();
    repaired(dir.path(), &report, whole.len() - kept);
}

#[test]
fn a_queue_entry_points_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let all = filled(dir.path());
    let name = "consumequeue/orders/1/00000000000000000200";
    // Entry 13 gets the position of entry 12.
    let position = all[12 * 4 + 1].to_be_bytes();
    poke(&dir.path().join(name), 60, &position);
    let report = check(dir.path());
    let found = places(dir.path(), &report);
    assert_eq!(found, [(Kind::WrongEntry, name.to_owned(), Some(60))]);
    // A later position, of another queue's message.
    poke(&dir.path().join(name), 60, &all[100].to_be_bytes());
    assert_eq!(places(dir.path(), &check(dir.path())), found);
    repaired(dir.path(), &report, 0);
}

#[test]
fn a_tags_code_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let name = "consumequeue/orders/0/00000000000000000000";
    poke(&dir.path().join(name), 19, b"x");
    let report = check(dir.path());
    let found = places(dir.path(), &report);
    assert_eq!(found, [(Kind::WrongEntry, name.to_owned(), Some(0))]);
    assert!(report.defects()[0].what.contains("tags code"));
    repaired(dir.path(), &report, 0);
}

#[test]
fn queue_files_and_queues_are_missing() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let name = "consumequeue/orders/1/00000000000000000400";
    fs::remove_file(dir.path().join(name)).unwrap();
    fs::remove_dir_all(dir.path().join("consumequeue/payments/0")).unwrap();
    let report = check(dir.path());
    let found = places(dir.path(), &report);
    assert!(
        found.contains(&(Kind::MissingQueueFile, name.to_owned(), None)),
        "{found:?}"
    );
    assert!(
        found.contains(&(Kind::MissingEntry, name.to_owned(), Some(0))),
        "{found:?}"
    );
    let queue = "consumequeue/payments/0".to_owned();
    assert!(
        found.contains(&(Kind::MissingQueue, queue, None)),
        "{found:?}"
    );
    assert_eq!(found.len(), 3);
    repaired(dir.path(), &report, 0);
}

#[test]
fn a_stale_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let queue = store.create_queue("orders", 0).unwrap();
    fill(&store, &queue, 0..5);
    store.close().unwrap();
    let old = fs::read(dir.path().join("checkpoint")).unwrap();
    fs::remove_dir_all(dir.path()).unwrap();
    filled(dir.path());
    let path = dir.path().join("checkpoint");
    fs::write(&path, old).unwrap();
    let report = check(dir.path());
    let found = places(dir.path(), &report);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(matches!(found[0], (Kind::Checkpoint, _, Some(512 | 1024))));
    repaired(dir.path(), &report, 0);
}

#[test]
fn an_index_points_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let all = filled(dir.path());
    let index = fs::read_dir(dir.path().join("index")).unwrap();
    let mut files: Vec<_> = index.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 1);
    let relative = files[0]
        .strip_prefix(dir.path())
        .unwrap()
        .display()
        .to_string();
    let at = 40 + 50 * 4 + 20 * 7;
    // The position of entry 7, of message 3, becomes one of another message, then one of none.
    for position in [all[90], all[90] + 1, all[0], i64::MAX] {
        poke(&files[0], at + 4, &position.to_be_bytes());
        let found = places(dir.path(), &check(dir.path()));
        assert!(
            found.contains(&(Kind::WrongIndexEntry, relative.clone(), Some(at))),
            "{position}: {found:?}"
        );
        assert!(found.len() <= 2, "{position}: {found:?}");
    }
    poke(&files[0], at + 4, &all[3].to_be_bytes());
    assert_eq!(check(dir.path()).defects(), []);
    // A slot that leads nowhere.
    poke(&files[1], 40, &[0, 0, 0, 199]);
    let report = check(dir.path());
    assert_eq!(report.defects()[0].kind, Kind::WrongIndexSlot);
    repaired(dir.path(), &report, 0);
}

#[test]
fn topics_deleted_and_made_again_are_no_defect() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill_queues(&store);
    store.delete_topic(TOPICS[0]).unwrap();
    store.delete_topic(TOPICS[1]).unwrap();
    let queue = store.create_queue(TOPICS[0], 0).unwrap();
    fill(&store, &queue, 0..15);
    store.close().unwrap();
    let report = check(dir.path());
    assert_eq!(report.defects(), []);
    assert!(
        report.notes()[0].starts_with("160 messages"),
        "{:?}",
        report.notes()
    );
}

#[test]
fn what_is_no_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = Directory::open(dir.path(), Sizes::default()).unwrap_err();
    assert!(error.to_string().contains("commitlog"), "{error}");
    assert!(Directory::open(&dir.path().join("x"), Sizes::default()).is_err());
}

#[test]
fn a_repair_needs_the_directory_for_itself() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let directory = Directory::open(dir.path(), sizes()).unwrap();
    let error = inspect::repair(&directory, &Report::default(), Config::new("")).unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    store.close().unwrap();
}

#[test]
fn records_and_entries_are_shown() {
    let dir = tempfile::tempdir().unwrap();
    let all = filled(dir.path());
    let directory = Directory::open(dir.path(), sizes()).unwrap();
    let mut seen = Vec::new();
    directory.read_log(all[3] + 1..all[9], |item| {
        if let LogItem::Record(at, record) = item {
            seen.push((at, record.queue_offset()));
        }
        true
    });
    let expected: Vec<_> = (4..9).map(|n| (all[n], n as i64 / 4)).collect();
    assert_eq!(seen, expected);
    let mut entries = Vec::new();
    directory
        .read_queue(TOPICS[0], 1, 8..i64::MAX, |item| {
            entries.push((item.offset, item.physical));
            entries.len() < 5
        })
        .unwrap();
    let expected: Vec<_> = (8..13).map(|n| (n as i64, all[n * 4 + 1])).collect();
    assert_eq!(entries, expected);
    assert!(
        directory
            .read_queue("../orders", 1, 0..1, |_| true)
            .is_err()
    );
    let index = directory.index_files().unwrap();
    let mut positions = Vec::new();
    directory
        .read_index(&index[0], |number, entry| {
            positions.push((number, entry.physical));
            number < 4
        })
        .unwrap();
    assert_eq!(
        positions,
        [(1, all[0]), (2, all[0]), (3, all[1]), (4, all[1])]
    );
}
