// SPDX-License-Identifier: Apache-2.0
//! Light queues: messages that stand in more queues than their own.

use std::{fs, sync::Arc};

use aerobee_message::{Record, RecordView, keys};
use aerobee_store::{AppendError, Appended, Queue, ReadStatus, Store};

use crate::support::*;

fn light(store: &Store, queue: &Queue, body: &[u8], names: &str) -> Result<Appended, AppendError> {
    let dispatch = format!("{}\u{1}{names}\u{2}", keys::INNER_MULTI_DISPATCH);
    let properties: [&[u8]; 1] = [dispatch.as_bytes()];
    let record = Record {
        properties: &properties,
        ..record(queue.topic(), queue.id(), body, "")
    };
    store.append_to_light(queue, &record, names)
}

/// Body and light offsets of each message of a queue.
fn messages(store: &Store, name: &str, id: i32) -> Vec<(String, String)> {
    let queue = store.queue(name, id).unwrap();
    let mut messages = Vec::new();
    let mut at = queue.min_offset();
    while at < queue.max_offset() {
        let read = read(store, &queue, at);
        assert_eq!(read.status, ReadStatus::Found, "{name} at {at}");
        for run in &read.runs {
            let mut rest = run.as_slice();
            while !rest.is_empty() {
                let view = RecordView::parse(rest).unwrap();
                let offsets = view.properties().get(keys::INNER_MULTI_QUEUE_OFFSET);
                messages.push((
                    String::from_utf8(view.body().to_vec()).unwrap(),
                    offsets.unwrap_or_default().to_owned(),
                ));
                rest = &rest[view.total_len()..];
            }
        }
        at = read.next;
    }
    messages
}

fn fill_lights(store: &Store, numbers: std::ops::Range<u32>) {
    let parent = store.create_queue("parent", 2).unwrap();
    for number in numbers {
        let names = format!("%LMQ%a,%LMQ%b{}", number % 3);
        light(store, &parent, &body(number), &names).unwrap();
    }
}

fn check_lights(store: &Store, count: u32) {
    let expected = |wanted: fn(u32) -> bool| -> Vec<(String, String)> {
        (0..count)
            .filter(|number| wanted(*number))
            .map(|number| {
                (
                    String::from_utf8(body(number)).unwrap(),
                    format!("{number},{}", number / 3),
                )
            })
            .collect()
    };
    assert_eq!(messages(store, "parent", 2), expected(|_| true));
    assert_eq!(messages(store, "%LMQ%a", 0), expected(|_| true));
    assert_eq!(messages(store, "%LMQ%b0", 0), expected(|n| n % 3 == 0));
    assert_eq!(messages(store, "%LMQ%b1", 0), expected(|n| n % 3 == 1));
    assert_eq!(messages(store, "%LMQ%b2", 0), expected(|n| n % 3 == 2));
}

#[test]
fn a_message_stands_in_all_its_queues_whatever_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill_lights(&store, 0..60);
    check_lights(&store, 60);
    // A kill before anything of the queues was written.
    let killed = tempfile::tempdir().unwrap();
    copy(dir.path(), killed.path());
    let after = open(killed.path());
    check_lights(&after, 60);
    fill_lights(&after, 60..75);
    check_lights(&after, 75);
    after.close().unwrap();
    drop(after);
    store.close().unwrap();
    drop(store);
    // A clean end, then one without what the last run knew of its queues.
    let store = open(dir.path());
    check_lights(&store, 60);
    store.close().unwrap();
    drop(store);
    fs::remove_file(dir.path().join("queues.summary")).unwrap();
    let store = open(dir.path());
    check_lights(&store, 60);
    store.close().unwrap();
    drop(store);
    // And with all queues made again from the log.
    fs::remove_dir_all(dir.path().join("consumequeue")).unwrap();
    let store = open(dir.path());
    check_lights(&store, 60);
    store.close().unwrap();
}

#[test]
fn names_that_are_no_light_queues_get_no_entry() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let queue = store.create_queue("T", 0).unwrap();
    light(&store, &queue, b"x", "other,%LMQ%a/b,%LMQ%a,%LMQ%a").unwrap();
    let expected = [("x".to_owned(), ",,0,1".to_owned())];
    assert_eq!(messages(&store, "T", 0), expected);
    assert_eq!(
        messages(&store, "%LMQ%a", 0),
        [expected[0].clone(), expected[0].clone()]
    );
    assert!(store.queue("other", 0).is_none());
    // A light queue's own messages may stand in it again.
    let own = store.create_queue("%LMQ%own", 0).unwrap();
    for _ in 0..100 {
        light(&store, &own, b"twice", "%LMQ%own").unwrap();
    }
    let found = messages(&store, "%LMQ%own", 0);
    assert_eq!((found.len(), &*found[198].1), (200, "199"));
    // Retries of a message are no messages of its light queues.
    let retry = store.create_queue("%RETRY%g", 0).unwrap();
    light(&store, &retry, b"again", "%LMQ%a").unwrap();
    assert_eq!(store.queue("%LMQ%a", 0).unwrap().max_offset(), 2);
    let many = vec!["%LMQ%m"; 300].join(",");
    assert!(matches!(
        light(&store, &queue, b"x", &many),
        Err(AppendError::TooLarge { .. })
    ));
    store.close().unwrap();
}

#[test]
fn threads_that_share_light_queues_leave_no_gap() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_roomy(dir.path());
    let threads: Vec<_> = (0..4)
        .map(|id| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || {
                let queue = store.create_queue("parent", id).unwrap();
                for _ in 0..1500 {
                    light(&store, &queue, b"x", "%LMQ%one,%LMQ%two").unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    for name in ["%LMQ%one", "%LMQ%two"] {
        let found = messages(&store, name, 0);
        assert_eq!(found.len(), 6000);
        for (offset, (_, offsets)) in found.iter().enumerate() {
            assert_eq!(*offsets, format!("{offset},{offset}"));
        }
    }
    store.close().unwrap();
}

#[test]
fn light_queues_that_have_grown_since_are_not_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_roomy(dir.path());
    let queue = store.create_queue("parent", 0).unwrap();
    let names: Vec<Arc<str>> = (0..5).map(|n| format!("%LMQ%n{n}").into()).collect();
    for name in &names {
        light(&store, &queue, b"x", name).unwrap();
    }
    let mut seen: Vec<(Arc<str>, i64)> = names.iter().map(|name| (Arc::clone(name), 1)).collect();
    light(&store, &queue, b"y", &names[2]).unwrap();
    seen.push(("parent".into(), 6));
    let (gone, removed) = store.delete_light_queues(&seen);
    removed.unwrap();
    assert_eq!(gone, ["%LMQ%n0", "%LMQ%n1", "%LMQ%n3", "%LMQ%n4"]);
    for round in 0..2 {
        let left: Vec<&Arc<str>> = names
            .iter()
            .filter(|name| store.queue(name, 0).is_some())
            .collect();
        assert_eq!(left, [&names[2]]);
        assert_eq!(messages(&store, "%LMQ%n2", 0).len(), 2);
        assert_eq!(messages(&store, "parent", 0).len(), 6);
        let dirs = fs::read_dir(dir.path().join("consumequeue")).unwrap();
        assert_eq!(dirs.count(), 2);
        if round == 1 {
            break;
        }
        // Those that are there, once more: nothing is to be done, and nothing fails.
        assert_eq!(store.delete_light_queues(&seen).0.len(), 0);
    }
    // It begins anew.
    light(&store, &queue, b"z", &names[0]).unwrap();
    assert_eq!(messages(&store, "%LMQ%n0", 0).len(), 1);
    store.close().unwrap();
    drop(store);
    let store = open_roomy(dir.path());
    assert_eq!(messages(&store, "%LMQ%n0", 0).len(), 1);
    assert!(store.queue(&names[1], 0).is_none());
    store.close().unwrap();
}

fn open_roomy(dir: &std::path::Path) -> Arc<Store> {
    let config = aerobee_store::Config {
        commit_log_file_bytes: 1 << 20,
        queue_file_entries: 2000,
        ..config(dir)
    };
    Store::open(config, roomy()).unwrap()
}
