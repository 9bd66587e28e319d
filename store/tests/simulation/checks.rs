// SPDX-License-Identifier: Apache-2.0
//! What the store shows, beside what it owes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use aerobee_message::{RecordView, keys};
use aerobee_store::{
    Access, Config, FlushMode, KeyKind, KeyQuery, Queue, ReadLimits, ReadStatus, Store,
};

use crate::{
    clients::{TOPICS, key},
    model::{Message, Model, QueueId, body},
};

/// Every queue, read to its end, is what the model says, and has nothing more.
pub fn check_all(store: &Store, model: &Model, queues: i32) {
    for (topic, name) in TOPICS.iter().enumerate() {
        for id in 0..queues {
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

/// Every message is found by its key.
pub fn check_keys(store: &Store, model: &Model) {
    for message in model.log.iter().step_by(5) {
        let found = store.query(&KeyQuery {
            topic: TOPICS[message.queue.0],
            key: &key(message.number),
            kind: KeyKind::Key,
            max_messages: 64,
            begin: 0,
            end: i64::MAX,
        });
        assert!(
            found
                .records
                .iter()
                .any(|run| run.physical() == message.physical),
            "{message:?} is not in the index"
        );
    }
}

/// The files of a directory that was closed, seen without the store. After an early end, which says so by leaving the
/// abort file, queues have at least the entries that Apache's broker does not make again: up to the record in the
/// checkpoint.
pub fn check_files(root: &Path, config: &Config, store: &Store, model: &Model, is_early: bool) {
    let sure = if is_early {
        let checkpoint = fs::read(root.join("checkpoint")).unwrap();
        let last = i64::from_be_bytes(*checkpoint[40..].first_chunk().unwrap());
        // 0 is that there is none, too.
        if last > 0 { last } else { -1 }
    } else {
        i64::MAX
    };
    let entries = u64::from(config.queue_file_entries);
    for id in model.queues.keys() {
        let is_batch = config
            .batch_topics
            .iter()
            .any(|topic| topic == TOPICS[id.0]);
        if is_batch {
            check_units(root, config, model, *id, sure);
        }
        let dir = root
            .join(if is_batch {
                "batchentries"
            } else {
                "consumequeue"
            })
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
                    Some(message) if message.physical > sure && is_empty(entry) => {
                        owed.by_ref().for_each(drop);
                    }
                    Some(message) => assert_eq!(
                        (physical, physical + i64::from(size)),
                        (message.physical, message.end),
                        "{}",
                        name.display()
                    ),
                    None => assert!(is_empty(entry), "stale entries in {}", name.display()),
                }
            }
        }
        assert!(
            owed.next().is_none_or(|message| message.physical > sure),
            "entries are missing in {}",
            dir.display()
        );
    }
    let file_bytes = config.commit_log_file_bytes.cast_signed();
    let mut log_dirs = config.log_dirs.writable.clone();
    if log_dirs.is_empty() {
        log_dirs.push(root.join("commitlog"));
    }
    let log_files = log_dirs
        .iter()
        .filter_map(|dir| fs::read_dir(dir).ok())
        .flatten();
    for entry in log_files {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
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

fn is_empty(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// What Apache's broker reads of a queue of batches: one unit for each record, whether it is a batch or not.
fn check_units(root: &Path, config: &Config, model: &Model, id: QueueId, sure: i64) {
    const UNIT: usize = 46;
    let dir = root.join("batchconsumequeue").join(TOPICS[id.0]);
    let dir = dir.join(id.1.to_string());
    let mut names: Vec<PathBuf> = fs::read_dir(&dir)
        .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
        .unwrap_or_default();
    names.sort();
    let mut owed = model.of_queue(id).enumerate();
    for name in names {
        let bytes = fs::read(&name).unwrap();
        assert_eq!(bytes.len(), config.batch_queue_file_entries as usize * UNIT);
        for unit in bytes.chunks(UNIT) {
            let long = |at: usize| i64::from_be_bytes(*unit[at..].first_chunk().unwrap());
            match owed.next() {
                Some((_, message)) if message.physical > sure && is_empty(unit) => {
                    owed.by_ref().for_each(drop);
                }
                Some((offset, message)) => {
                    let messages = u16::try_from(message.messages).unwrap();
                    assert_eq!(
                        (long(0), long(28), &unit[36..38]),
                        (
                            message.physical,
                            i64::try_from(offset).unwrap(),
                            &messages.to_be_bytes()[..]
                        ),
                        "{}",
                        name.display()
                    );
                    assert_eq!(message.first, long(28), "{}", name.display());
                    // The others of the batch have no unit.
                    (1..messages).for_each(|_| assert!(owed.next().is_some()));
                }
                None => assert!(is_empty(unit), "stale units in {}", name.display()),
            }
        }
    }
    assert!(
        owed.next()
            .is_none_or(|(_, message)| message.physical > sure),
        "units are missing in {}",
        dir.display()
    );
}

/// Reads from an offset and compares; returns where to go on. `must`: everything there can be read.
pub fn check_read(store: &Store, queue: &Queue, from: i64, owed: &[&Message], must: bool) -> i64 {
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
                // Every read from the first offset on ends behind a record.
                assert_eq!(offset, at.map_or(from, |at: i64| at + 1));
            }
            if store.flush_mode() == FlushMode::Sync {
                assert!(message.end <= store.flushed(), "seen before it is durable");
            }
            at = Some(offset + i64::try_from(message.messages).unwrap() - 1);
            rest = &rest[view.total_len()..];
        }
    }
    if must {
        assert_eq!(read.next, at.unwrap() + 1);
    }
    read.next
}

pub fn check_record(view: &RecordView<'_>, message: &Message, topic: usize, id: i32) {
    assert!(view.crc_matches());
    assert_eq!((view.topic(), view.queue_id()), (TOPICS[topic], id));
    assert_eq!(
        (view.queue_offset(), view.physical_offset()),
        (message.first, message.physical)
    );
    let properties = view.properties();
    if message.messages > 1 {
        let (count, base) = (message.messages.to_string(), message.first.to_string());
        assert_eq!(properties.get(keys::INNER_NUM), Some(&*count));
        assert_eq!(properties.get(keys::INNER_BASE), Some(&*base));
    }
    assert_eq!(
        view.body(),
        body(message.number, message.body_len),
        "the content of {message:?} has changed"
    );
}
