// SPDX-License-Identifier: Apache-2.0
//! Synchronous flushes while blocks of the log are written ahead of the records, and pages leave the mapping before
//! they are synced: no record is lost or changed by that.

use std::path::Path;

use aerobee_store::{Config, Flushed, Operation, Store};

use crate::support::*;

/// Messages of each producer.
const EACH: usize = 1500;
const PRODUCERS: i32 = 4;

fn config(dir: &Path) -> Config {
    Config {
        commit_log_file_bytes: 1 << 20,
        queue_file_entries: 100_000,
        populate_bytes: 16 << 10,
        ..sync_config(dir)
    }
}

fn body_of(queue: i32, number: usize) -> Vec<u8> {
    let mut body = format!("{queue} {number} ").into_bytes();
    body.resize(500 + number % 3000, b'x');
    body
}

fn has_all(store: &Store) {
    for id in 0..PRODUCERS {
        let queue = store.queue("T", id).unwrap();
        let found = bodies(store, &queue);
        assert_eq!(found.len(), EACH);
        for (number, body) in found.into_iter().enumerate() {
            assert!(body == body_of(id, number), "{id} {number}");
        }
    }
}

/// Several producers, faster than blocks are written ahead, and now and then one that waits for the sync.
#[test]
fn records_are_untouched_by_what_is_written_ahead_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(dir.path()), roomy()).unwrap();
    std::thread::scope(|scope| {
        for id in 0..PRODUCERS {
            let store = &store;
            scope.spawn(move || {
                let queue = store.create_queue("T", id).unwrap();
                for number in 0..EACH {
                    let appended = append(store, &queue, &body_of(id, number)).unwrap();
                    if number % 64 == 0 {
                        assert_eq!(wait_flushed(store, appended.end), Flushed::Durable);
                    }
                }
            });
        }
    });
    assert_eq!(wait_flushed(&store, store.max_physical()), Flushed::Durable);
    has_all(&store);
    store.close().unwrap();
    let store = Store::open(config(dir.path()), roomy()).unwrap();
    has_all(&store);
    store.close().unwrap();
}

/// Writing ahead is for speed alone: where it cannot be done, everything else goes on.
#[test]
fn a_log_that_cannot_be_written_ahead_takes_messages_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, env) = faulty();
    let store = Store::open(config(dir.path()), env).unwrap();
    plan.set(|operation, path| {
        if operation == Operation::Open && is_in(path, "commitlog") {
            return Err(std::io::ErrorKind::PermissionDenied.into());
        }
        Ok(())
    });
    let queue = store.create_queue("T", 0).unwrap();
    let mut count = 0;
    while store.max_physical() < 3 << 20 {
        append(&store, &queue, &body(count)).unwrap();
        count += 1;
    }
    assert_eq!(wait_flushed(&store, store.max_physical()), Flushed::Durable);
    plan.clear();
    assert_eq!(bodies(&store, &queue).len(), count as usize);
    store.close().unwrap();
}
