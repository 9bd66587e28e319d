// SPDX-License-Identifier: Apache-2.0
//! Records that are appended together: one by one they would have got the same places.

use std::sync::Arc;

use aerobee_message::RecordView;
use aerobee_store::{AppendError, Queue, Staged, Store};

use crate::support::*;

/// Stages `count` messages, in turn for each of `queues`.
fn stage(store: &Store, staged: &mut Staged, queues: &[Arc<Queue>], count: usize) {
    for number in 0..count {
        let queue = &queues[number % queues.len()];
        let body = body(number as u32);
        let record = record(queue.topic(), queue.id(), &body, "tag");
        store.stage(staged, queue, &record).unwrap();
    }
}

#[test]
fn places_follow_each_other_over_many_files_of_log_and_queues() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let queues = [
        store.create_queue("T", 0).unwrap(),
        store.create_queue("T", 1).unwrap(),
    ];
    let mut staged = Staged::default();
    let mut end = 0;
    for round in 0..10 {
        stage(&store, &mut staged, &queues, 100);
        let mut count = 0;
        store.append_staged(&mut staged, |number, appended| {
            let appended = appended.unwrap();
            assert_eq!(number, count);
            assert_eq!(
                appended.queue_offset,
                (round * 50 + number / 2) as i64,
                "dense in its queue"
            );
            assert!(appended.physical >= end, "behind what was before");
            end = appended.end;
            let run = store.record_at(appended.physical).unwrap();
            let view = RecordView::parse(run.as_slice()).unwrap();
            assert_eq!(view.physical_offset(), appended.physical);
            assert_eq!(view.queue_offset(), appended.queue_offset);
            assert_eq!(view.store_timestamp(), appended.store_timestamp);
            assert_eq!(view.body(), body(number as u32));
            assert!(view.crc_matches());
            count += 1;
        });
        assert_eq!(count, 100);
        staged.clear();
        assert!(staged.is_empty());
    }
    assert_eq!(queues[0].max_offset(), 500);
    assert_eq!(bodies(&store, &queues[1]).len(), 500);
    store.close().unwrap();
    let store = open(dir.path());
    assert_eq!(store.queue("T", 1).unwrap().max_offset(), 500);
}

#[test]
fn threads_that_append_together_leave_no_gap() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let queues = [
        store.create_queue("T", 0).unwrap(),
        store.create_queue("T", 1).unwrap(),
    ];
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut staged = Staged::default();
                for _ in 0..50 {
                    stage(&store, &mut staged, &queues, 20);
                    store.append_staged(&mut staged, |_, appended| {
                        appended.unwrap();
                    });
                    staged.clear();
                    append(&store, &queues[0], b"alone").unwrap();
                }
            });
        }
    });
    assert_eq!(queues[0].max_offset(), 4 * 50 * 11);
    assert_eq!(bodies(&store, &queues[0]).len(), 4 * 50 * 11);
    assert_eq!(bodies(&store, &queues[1]).len(), 4 * 50 * 10);
}

#[test]
fn one_that_cannot_be_stored_does_not_hold_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let queues = [
        store.create_queue("gone", 0).unwrap(),
        store.create_queue("T", 0).unwrap(),
    ];
    let mut staged = Staged::default();
    stage(&store, &mut staged, &queues, 6);
    let too_large = vec![b'x'; 5000];
    let record = record("T", 0, &too_large, "");
    assert!(matches!(
        store.stage(&mut staged, &queues[1], &record),
        Err(AppendError::TooLarge { .. })
    ));
    assert_eq!(staged.len(), 6);
    store.delete_topic("gone").unwrap();
    let mut outcomes = Vec::new();
    store.append_staged(&mut staged, |_, appended| outcomes.push(appended.is_ok()));
    assert_eq!(outcomes, [false, true, false, true, false, true]);
    assert_eq!(queues[1].max_offset(), 3);
}

#[test]
fn in_order_nothing_is_stored_behind_one_that_cannot_be() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let queues = [
        store.create_queue("T", 0).unwrap(),
        store.create_queue("gone", 0).unwrap(),
    ];
    let mut staged = Staged::default();
    stage(&store, &mut staged, &queues[..1], 5);
    stage(&store, &mut staged, &queues, 6);
    store.delete_topic("gone").unwrap();
    let mut stored = Vec::new();
    let failed = store.append_staged_in_order(&mut staged, |number, appended| {
        stored.push((number, appended.queue_offset));
    });
    assert!(matches!(failed, Err(AppendError::QueueGone)), "{failed:?}");
    assert_eq!(stored, (0..6).map(|n| (n, n as i64)).collect::<Vec<_>>());
    assert_eq!(queues[0].max_offset(), 6);
    staged.clear();
    stage(&store, &mut staged, &queues[..1], 2);
    let mut stored = 0;
    store
        .append_staged_in_order(&mut staged, |_, _| stored += 1)
        .unwrap();
    assert_eq!((stored, queues[0].max_offset()), (2, 8));
}

#[test]
fn a_closed_store_refuses_every_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let queues = [store.create_queue("T", 0).unwrap()];
    let mut staged = Staged::default();
    stage(&store, &mut staged, &queues, 3);
    store.close().unwrap();
    let mut refused = 0;
    store.append_staged(&mut staged, |_, appended| {
        assert!(matches!(appended, Err(AppendError::ReadOnly(_))));
        refused += 1;
    });
    assert_eq!(refused, 3);
}
