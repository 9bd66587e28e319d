// SPDX-License-Identifier: Apache-2.0
//! What goes in comes out: order, limits, filters, files that roll over.

use std::{
    fs,
    sync::{Arc, atomic::Ordering},
};

use aerobee_message::{RecordView, tags};
use aerobee_store::{
    Access, AppendError, Boundary, Clock, Config, Env, ReadLimits, ReadOnlyReason, ReadStatus,
    Store, TransferLimits,
};

use crate::support::*;

#[test]
fn messages_come_back_over_many_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (a, b) = (
        store.create_queue("T", 0).unwrap(),
        store.create_queue("T", 7).unwrap(),
    );
    for number in 0..300 {
        append(&store, if number % 3 == 0 { &b } else { &a }, &body(number)).unwrap();
    }
    assert_eq!((a.max_offset(), b.max_offset()), (200, 100));
    assert_eq!(
        bodies(&store, &a),
        (0..300)
            .filter(|n| n % 3 != 0)
            .map(body)
            .collect::<Vec<_>>()
    );
    assert_eq!(
        bodies(&store, &b),
        (0..300)
            .filter(|n| n % 3 == 0)
            .map(body)
            .collect::<Vec<_>>()
    );
    store.close().unwrap();
    for entry in fs::read_dir(dir.path().join("commitlog")).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().len(), 4096);
    }
    for entry in fs::read_dir(dir.path().join("consumequeue/T/0")).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().len(), 200);
    }
    let first = fs::read(dir.path().join("commitlog/00000000000000000000")).unwrap();
    let view = RecordView::parse(&first).unwrap();
    assert_eq!(
        (view.queue_id(), view.physical_offset(), view.body()),
        (7, 0, &b"message 0"[..])
    );
}

#[test]
fn a_full_file_ends_in_a_blank_record_of_the_right_length() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let queue = store.create_queue("T", 0).unwrap();
    // 92 bytes besides the body: the first record leaves just the eight bytes that must stay free.
    let first = append(&store, &queue, &vec![b'x'; 4096 - 92 - 8]).unwrap();
    assert_eq!(first.end, 4088);
    let second = append(&store, &queue, b"y").unwrap();
    assert_eq!(second.physical, 4096);
    let file = fs::read(dir.path().join("commitlog/00000000000000000000")).unwrap();
    assert_eq!(&file[4088..], [0, 0, 0, 8, 0xCB, 0xD4, 0x31, 0x94]);
    // One byte more has no room in any file.
    let error = append(&store, &queue, &vec![b'x'; 4096 - 92 - 7]).unwrap_err();
    assert!(matches!(error, AppendError::TooLarge { .. }), "{error}");
    assert_eq!(queue.max_offset(), 2);
}

#[test]
fn a_batch_stays_in_one_file_or_does_not_exist() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let queue = store.create_queue("T", 0).unwrap();
    append(&store, &queue, &vec![b'x'; 3000]).unwrap();
    let (one, two) = (vec![b'1'; 600], vec![b'2'; 600]);
    let records = [record("T", 0, &one, ""), record("T", 0, &two, "A")];
    let mut out = Vec::new();
    store.append_batch(&queue, &records, &mut out).unwrap();
    assert_eq!(
        out.iter()
            .map(|a| (a.physical, a.queue_offset))
            .collect::<Vec<_>>(),
        [(4096, 1), (4096 + 692, 2)]
    );
    assert_eq!(out[0].end, out[1].end);
    let many = vec![record("T", 0, &one, ""); 7];
    assert!(matches!(
        store.append_batch(&queue, &many, &mut out),
        Err(AppendError::TooLarge { .. })
    ));
    assert_eq!(
        (queue.max_offset(), store.max_physical(), out.len()),
        (3, out[1].end, 2)
    );
    // More entries than one queue file holds.
    let small = vec![record("T", 0, b"s", ""); 35];
    store.append_batch(&queue, &small, &mut out).unwrap();
    assert_eq!(bodies(&store, &queue)[3..], vec![b"s".to_vec(); 35]);
}

#[test]
fn limits_filters_and_statuses() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let queue = store.create_queue("T", 0).unwrap();
    let status = |from| {
        let read = read(&store, &queue, from);
        (read.status, read.next)
    };
    assert_eq!(status(5), (ReadStatus::NoMessageInQueue, 0));
    for number in 0..40u32 {
        let tag = if number % 4 == 0 { "A" } else { "" };
        store
            .append(&queue, &record("T", 0, &body(number), tag))
            .unwrap();
    }
    assert_eq!(status(-1), (ReadStatus::OffsetTooSmall, 0));
    assert_eq!(status(40), (ReadStatus::OffsetOverflowOne, 40));
    assert_eq!(status(41), (ReadStatus::OffsetOverflowBadly, 40));
    let all = read(&store, &queue, 0);
    assert_eq!(
        (all.status, all.messages, all.next, all.min, all.max),
        (ReadStatus::Found, 32, 32, 0, 40)
    );
    assert_eq!(
        all.bytes,
        all.runs
            .iter()
            .map(|run| run.as_slice().len())
            .sum::<usize>()
    );
    assert!(all.runs.len() < 4, "adjacent records are in one run");
    let tagged = store.read(&queue, 0, ALL, Access::HotOnly, |code: i64| {
        code == tags::code_of("A")
    });
    assert_eq!((tagged.messages, tagged.next), (10, 40));
    let none = store.read(&queue, 3, ALL, Access::HotOnly, |code: i64| code == 1);
    assert_eq!((none.status, none.next), (ReadStatus::NoMatchedMessage, 40));
    let few = store.read(
        &queue,
        3,
        ReadLimits {
            max_messages: 5,
            max_bytes: 1 << 20,
        },
        Access::Any,
        |_| true,
    );
    assert_eq!((few.messages, few.next), (5, 8));
    let small = store.read(
        &queue,
        0,
        ReadLimits {
            max_messages: 32,
            max_bytes: 1,
        },
        Access::Any,
        |_| true,
    );
    assert_eq!((small.messages, small.next), (1, 1));
}

#[test]
fn the_configured_limits_hold_besides() {
    let dir = tempfile::tempdir().unwrap();
    let transfer = TransferLimits {
        memory_messages: 3,
        ..TransferLimits::default()
    };
    let store = Store::open(
        Config {
            transfer,
            ..config(dir.path())
        },
        roomy(),
    )
    .unwrap();
    let queue = store.create_queue("T", 0).unwrap();
    fill(&store, &queue, 0..9);
    assert_eq!(read(&store, &queue, 0).messages, 3);
}

#[test]
fn cold_messages_are_read_without_the_mapping() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(
        Config {
            hot_bytes: 0,
            ..config(dir.path())
        },
        roomy(),
    )
    .unwrap();
    let queue = store.create_queue("T", 0).unwrap();
    fill(&store, &queue, 0..100);
    // In memory or not, the content is the same.
    assert_eq!(bodies(&store, &queue), numbered(0..100));
    assert!(store.is_in_memory(&queue, 99) && !store.is_in_memory(&queue, 100));
    let (sender, receiver) = std::sync::mpsc::channel();
    let job_queue = Arc::clone(&queue);
    store
        .read_later(Box::new(move |store| {
            sender.send(bodies(store, &job_queue).len()).unwrap();
        }))
        .unwrap();
    assert_eq!(receiver.recv().unwrap(), 100);
    store.close().unwrap();
    assert!(store.read_later(Box::new(|_| ())).is_err());
}

#[test]
fn single_records_are_found_by_position() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let queue = store.create_queue("T", 0).unwrap();
    let places: Vec<_> = (0..60)
        .map(|n| append(&store, &queue, &body(n)).unwrap())
        .collect();
    for (number, place) in (0..).zip(&places) {
        let run = store.record_at(place.physical).unwrap();
        assert_eq!(
            RecordView::parse(run.as_slice()).unwrap().body(),
            body(number)
        );
        assert_eq!(run.physical(), place.physical);
        assert!(store.record_at(place.physical + 1).is_none());
    }
    for outside in [-1, i64::MIN, store.max_physical(), i64::MAX] {
        assert!(store.record_at(outside).is_none());
        assert!(store.record_of(outside, 100).is_none());
    }
}

#[test]
fn a_record_of_known_size_is_lent_when_it_is_new_and_read_when_it_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let queue = store.create_queue("T", 0).unwrap();
    let places: Vec<_> = (0..60)
        .map(|n| append(&store, &queue, &body(n)).unwrap())
        .collect();
    let check = |store: &Store| {
        for (number, place) in (0..).zip(&places) {
            let size = i32::try_from(place.end - place.physical).unwrap();
            let run = store.record_of(place.physical, size).unwrap();
            let record = RecordView::parse(run.as_slice()).unwrap();
            assert_eq!(record.body(), body(number));
            assert_eq!(record.total_len(), run.as_slice().len());
            assert_eq!(run.physical(), place.physical);
            for (position, size) in [
                (place.physical + 1, size),
                (place.physical, size - 1),
                (place.physical, size + 1),
                (place.physical, 0),
                (place.physical, -1),
                (place.physical, i32::MAX),
            ] {
                assert!(store.record_of(position, size).is_none());
            }
        }
    };
    check(&store);
    store.close().unwrap();
    drop(store);
    // Nothing of this was written since the start.
    check(&open(dir.path()));
}

#[test]
fn offsets_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let time = Arc::new(Stopped::default());
    let env = Env::with(
        Arc::new(Plan::default()),
        Clock::given(Arc::clone(&time) as _),
    );
    let store = Store::open(config(dir.path()), env).unwrap();
    let queue = store.create_queue("T", 0).unwrap();
    let find = |at, boundary| store.offset_by_time(&queue, at, boundary);
    assert_eq!(find(5, Boundary::Lower), 0);
    // Store times 10, 20, 20, 20, 30, 40, …
    for (number, at) in (0..).zip([10, 20, 20, 20, 30, 40, 50, 60, 70, 80, 90, 100]) {
        time.0.store(at, Ordering::Relaxed);
        append(&store, &queue, &body(number)).unwrap();
    }
    let both = |at| (find(at, Boundary::Lower), find(at, Boundary::Upper));
    assert_eq!(both(5), (0, 0));
    assert_eq!(both(10), (0, 0));
    assert_eq!(both(20), (1, 3));
    assert_eq!(both(25), (4, 3));
    assert_eq!(both(100), (11, 11));
    assert_eq!(both(101), (12, 11));
    assert_eq!(store.store_time_of(&queue, 4), Some(30));
    assert_eq!(store.store_time_of(&queue, 12), None);
}

#[test]
fn what_does_not_belong_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for topic in ["", ".", "..", "a/b", "a\0b", &"x".repeat(256)] {
        assert!(
            matches!(store.create_queue(topic, 0), Err(AppendError::Name { .. })),
            "{topic:?}"
        );
    }
    assert!(store.create_queue("T", -1).is_err());
    let queue = store.create_queue("T", 0).unwrap();
    for other in [record("U", 0, b"x", ""), record("T", 1, b"x", "")] {
        assert!(matches!(
            store.append(&queue, &other),
            Err(AppendError::OtherQueue)
        ));
    }
    let big = vec![b'p'; 32_768];
    let pieces: [&[u8]; 1] = [&big];
    let mut record = record("T", 0, b"x", "");
    record.properties = &pieces;
    assert!(matches!(
        store.append(&queue, &record),
        Err(AppendError::TooLarge { limit: 32_767, .. })
    ));
    assert_eq!(store.max_physical(), 0);
    assert!(store.queue("T", 1).is_none() && store.queue("U", 0).is_none());
    assert!(!dir.path().join("consumequeue/U").exists());
}

#[test]
fn deleted_topics_are_gone_and_can_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let queue = store.create_queue("T", 0).unwrap();
    fill(&store, &queue, 0..20);
    let held = read(&store, &queue, 0);
    store.delete_topic("T").unwrap();
    store.delete_topic("../..").unwrap();
    assert!(store.queue("T", 0).is_none() && !dir.path().join("consumequeue/T").exists());
    assert!(matches!(
        append(&store, &queue, b"late"),
        Err(AppendError::QueueGone)
    ));
    assert_eq!(
        RecordView::parse(held.runs[0].as_slice()).unwrap().body(),
        body(0)
    );
    drop((store, queue, held));
    // Neither after a kill nor after a clean end does the topic come back by itself.
    for _ in 0..2 {
        let store = open(dir.path());
        assert!(store.queues().is_empty());
        store.close().unwrap();
    }
    let store = open(dir.path());
    let again = store.create_queue("T", 0).unwrap();
    fill(&store, &again, 20..30);
    assert_eq!(bodies(&store, &again), numbered(20..30));
    store.close().unwrap();
    drop((store, again));
    // A rebuild of all queues ends with the later life of the topic.
    fs::remove_dir_all(dir.path().join("consumequeue")).unwrap();
    let store = open(dir.path());
    assert_eq!(
        bodies(&store, &store.queue("T", 0).unwrap()),
        numbered(20..30)
    );
}

#[test]
fn after_closing_nothing_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let queue = store.create_queue("T", 0).unwrap();
    assert!(dir.path().join("abort").exists());
    store.close().unwrap();
    store.close().unwrap();
    assert!(!dir.path().join("abort").exists());
    assert!(matches!(
        append(&store, &queue, b"x"),
        Err(AppendError::ReadOnly(ReadOnlyReason::Closed))
    ));
    assert_eq!(store.writable(), Err(ReadOnlyReason::Closed));
}

#[test]
fn many_threads_get_dense_offsets() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let queue = store.create_queue("T", 0).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let (store, queue) = (&store, &queue);
            scope.spawn(move || fill(store, queue, thread * 1000..thread * 1000 + 500));
        }
    });
    let mut all = bodies(&store, &queue);
    assert_eq!(all.len(), 2000);
    for thread in 0..4u32 {
        let mine: Vec<_> = numbered(thread * 1000..thread * 1000 + 500);
        let in_order: Vec<_> = all
            .iter()
            .filter(|body| mine.contains(body))
            .cloned()
            .collect();
        assert_eq!(in_order, mine);
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 2000);
}
