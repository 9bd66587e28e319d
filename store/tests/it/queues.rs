// SPDX-License-Identifier: Apache-2.0
//! Many queues: what a start reads, what stays open, what a crash leaves behind.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aerobee_store::{
    Access, Clock, Closed, Config, Env, Operation, ReadStatus, Store, Task, Time, Turn,
};
use parking_lot::Mutex;

use crate::support::*;

const QUEUES: i32 = 40;

fn fill_queues(store: &Store, numbers: std::ops::Range<u32>) {
    for number in numbers {
        for id in 0..QUEUES {
            let queue = store.create_queue("T", id).unwrap();
            append(store, &queue, &body(number)).unwrap();
        }
    }
}

fn check_queues(store: &Store, numbers: std::ops::Range<u32>) {
    for id in 0..QUEUES {
        let queue = store.queue("T", id).unwrap();
        assert_eq!(bodies(store, &queue), numbered(numbers.clone()), "{id}");
    }
}

/// Opens a store and counts what it does to files of queues.
fn open_counting(dir: &Path) -> (Arc<Store>, Arc<AtomicUsize>) {
    let (plan, env) = faulty();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    plan.set(move |operation, path| {
        let is_file = path.components().count() > 3
            && path
                .file_name()
                .is_some_and(|name| name.len() == 20 || name.to_str() == Some("0"));
        if is_in(path, "consumequeue") && is_file && operation != Operation::SyncDir {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    });
    (Store::open(config(dir), env).unwrap(), count)
}

#[test]
fn a_start_looks_at_no_queue_that_the_summary_knows() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill_queues(&store, 0..30);
    store.close().unwrap();
    let (store, count) = open_counting(dir.path());
    assert_eq!(store.queue("T", 7).unwrap().max_offset(), 30);
    assert_eq!(count.load(Ordering::Relaxed), 0);
    check_queues(&store, 0..30);
    assert!(count.load(Ordering::Relaxed) > 0);
    fill_queues(&store, 30..40);
    store.close().unwrap();
    // Without the summary every queue is looked at, and the result is the same.
    fs::remove_file(dir.path().join("queues.summary")).unwrap();
    let (store, count) = open_counting(dir.path());
    assert!(count.load(Ordering::Relaxed) >= 40);
    check_queues(&store, 0..40);
    store.close().unwrap();
}

#[test]
fn a_summary_from_before_somebody_elses_writes_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill_queues(&store, 0..3);
    store.close().unwrap();
    let old = fs::read(dir.path().join("queues.summary")).unwrap();
    let store = open(dir.path());
    fill_queues(&store, 3..9);
    store.close().unwrap();
    // A broker of Apache's has written the checkpoint since; the summary that lies there is from before.
    fs::write(dir.path().join("queues.summary"), &old).unwrap();
    let path = dir.path().join("checkpoint");
    let mut checkpoint = fs::read(&path).unwrap();
    checkpoint[7] ^= 1;
    fs::write(&path, checkpoint).unwrap();
    let store = open(dir.path());
    check_queues(&store, 0..9);
    store.close().unwrap();
    let new = fs::read(dir.path().join("queues.summary")).unwrap();
    assert_ne!(new, old);
}

#[test]
fn after_a_kill_queues_go_on_behind_the_summary() {
    let live = tempfile::tempdir().unwrap();
    let store = open(live.path());
    fill_queues(&store, 0..5);
    store.close().unwrap();
    let store = open(live.path());
    fill_queues(&store, 5..25);
    let new = store.create_queue("new", 3).unwrap();
    fill(&store, &new, 0..15);
    for round in 0..2 {
        let dir = tempfile::tempdir().unwrap();
        if round == 1 {
            // Some of it has reached the files.
            eventually("the keeper writes", || {
                live.path().join("consumequeue/new/3").exists()
            });
        }
        copy(live.path(), dir.path());
        let store = open(dir.path());
        check_queues(&store, 0..25);
        fill_queues(&store, 25..27);
        check_queues(&store, 0..27);
        let new = store.queue("new", 3).unwrap();
        assert_eq!(bodies(&store, &new), numbered(0..15));
        store.close().unwrap();
        drop(store);
        let store = open(dir.path());
        check_queues(&store, 0..27);
        store.close().unwrap();
    }
}

#[test]
fn a_start_after_a_kill_looks_at_no_queue_that_came_after_the_summary() {
    let live = tempfile::tempdir().unwrap();
    let store = open(live.path());
    fill_queues(&store, 0..1);
    let topics: Vec<String> = (0..20).map(|number| format!("new-{number}")).collect();
    for topic in &topics {
        for id in [0, 3] {
            let queue = store.create_queue(topic, id).unwrap();
            fill(&store, &queue, 0..15);
        }
    }
    // All of it is in files, too, two of each queue.
    let written = |topic: &String| {
        let dir = live.path().join("consumequeue").join(topic).join("3");
        fs::read(dir.join("00000000000000000200"))
            .is_ok_and(|bytes| bytes.get(80..100).is_some_and(|entry| entry != [0; 20]))
    };
    eventually("the keeper writes", || topics.iter().all(written));
    let dir = tempfile::tempdir().unwrap();
    copy(live.path(), dir.path());
    let plan = Arc::new(Plan::default());
    let operations = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&operations);
    plan.set(move |operation, path| {
        let is_file = path.file_name().is_some_and(|name| name.len() == 20);
        if is_in(path, "consumequeue") && is_file {
            noted.lock().push(operation);
        }
        Ok(())
    });
    let time = Arc::new(Stopped::default());
    // No thread runs, so that what the start does is told from what the keeper does.
    let clock = Clock::given(Arc::clone(&time) as Arc<dyn Time>);
    let config = Config {
        // The start leaves the files to the keeper.
        queues_at_end: 0,
        ..config(dir.path())
    };
    let store = Store::open(config, Env::stepped(plan, clock)).unwrap();
    assert!(
        operations.lock().is_empty(),
        "a start looks at files of queues"
    );
    a_minute_passes(&store, &time);
    // What is there is what belongs there: it is neither removed nor made zero first.
    let done = std::mem::take(&mut *operations.lock());
    assert!(done.contains(&Operation::Write));
    assert!(
        !done.contains(&Operation::ZeroRange) && !done.contains(&Operation::Remove),
        "{done:?}"
    );
    for topic in &topics {
        for id in [0, 3] {
            let queue = store.queue(topic, id).unwrap();
            assert_eq!(bodies(&store, &queue), numbered(0..15), "{topic}/{id}");
            append(&store, &queue, &body(15)).unwrap();
        }
    }
    a_minute_passes(&store, &time);
    assert_eq!(store.close().unwrap(), Closed::Complete);
    for topic in &topics {
        let dir = dir.path().join("consumequeue").join(topic).join("3");
        let bytes = fs::read(dir.join("00000000000000000200")).unwrap();
        assert!(bytes[100..120].iter().any(|byte| *byte != 0));
        assert!(bytes[120..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn an_end_does_not_wait_for_the_files_of_very_many_queues() {
    let dir = tempfile::tempdir().unwrap();
    let few = || Config {
        queues_at_end: 10,
        // The keeper writes nothing of its own accord.
        queue_flush_interval: Duration::from_secs(3600),
        ..config(dir.path())
    };
    let store = Store::open(few(), roomy()).unwrap();
    fill_queues(&store, 0..7);
    assert_eq!(store.close().unwrap(), Closed::Early);
    assert_eq!(store.close().unwrap(), Closed::Before);
    drop(store);
    assert!(!dir.path().join("consumequeue/T").exists());
    // By this Apache's broker knows that its queues are not complete, and from where on.
    assert!(dir.path().join("abort").exists());
    let checkpoint = fs::read(dir.path().join("checkpoint")).unwrap();
    assert_eq!(checkpoint[40..48], [0; 8]);
    // What waits for files is all there, again and again.
    for round in 1..4 {
        let store = Store::open(few(), roomy()).unwrap();
        check_queues(&store, 0..7 * round);
        fill_queues(&store, 7 * round..7 * (round + 1));
        check_queues(&store, 0..7 * (round + 1));
        assert_eq!(store.close().unwrap(), Closed::Early);
    }
    let store = open(dir.path());
    check_queues(&store, 0..28);
    assert_eq!(store.close().unwrap(), Closed::Complete);
    assert!(!dir.path().join("abort").exists());
    let file = dir.path().join("consumequeue/T/39/00000000000000000400");
    let bytes = fs::read(file).unwrap();
    assert!(bytes[140..160].iter().any(|byte| *byte != 0) && bytes[160..] == [0; 40]);
}

#[test]
fn stale_entries_behind_the_end_are_gone_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill_queues(&store, 0..13);
    store.close().unwrap();
    drop(store);
    // What a power cut may leave: entries of messages that the log has lost, in this file and in one more.
    let queue = dir.path().join("consumequeue/T/5");
    let stale = [
        0, 0, 0, 0, 0, 0, 0xFF, 0, 0, 0, 0, 90, 0, 0, 0, 0, 0, 0, 0, 1,
    ];
    poke(&queue.join("00000000000000000200"), 60, &stale);
    fs::write(queue.join("00000000000000000400"), [1; 200]).unwrap();
    fs::write(dir.path().join("abort"), b"1").unwrap();
    let store = open(dir.path());
    assert_eq!(store.queue("T", 5).unwrap().max_offset(), 13);
    store.close().unwrap();
    assert!(!queue.join("00000000000000000400").exists());
    let bytes = fs::read(queue.join("00000000000000000200")).unwrap();
    assert!(bytes[60..].iter().all(|byte| *byte == 0));
    assert!(bytes[..60].iter().any(|byte| *byte != 0));
}

#[test]
fn a_queue_that_is_cut_gives_blocks_back_and_takes_none() {
    let dir = tempfile::tempdir().unwrap();
    let long = || Config {
        queue_file_entries: 300_000,
        ..config(dir.path())
    };
    let store = Store::open(long(), Env::real()).unwrap();
    fill_queues(&store, 0..3);
    store.close().unwrap();
    drop(store);
    let file = dir.path().join("consumequeue/T/5/00000000000000000000");
    let before = fs::metadata(&file).unwrap().blocks();
    poke(&file, 60, &[1; 20]);
    fs::write(dir.path().join("abort"), b"1").unwrap();
    let store = Store::open(long(), Env::real()).unwrap();
    check_queues(&store, 0..3);
    store.close().unwrap();
    let after = fs::metadata(&file).unwrap();
    assert_eq!(after.len(), 6_000_000);
    assert!(
        after.blocks() <= before,
        "{} blocks, {before} before",
        after.blocks()
    );
    let bytes = fs::read(&file).unwrap();
    assert!(bytes[60..].iter().all(|byte| *byte == 0));
}

#[test]
fn deleted_topics_stay_away_after_a_kill() {
    let live = tempfile::tempdir().unwrap();
    let store = open(live.path());
    fill_queues(&store, 0..5);
    let kept = store.create_queue("kept", 0).unwrap();
    fill(&store, &kept, 0..5);
    store.close().unwrap();
    let store = open(live.path());
    store.delete_topic("T").unwrap();
    let dir = tempfile::tempdir().unwrap();
    copy(live.path(), dir.path());
    let store = open(dir.path());
    assert!(store.queue("T", 0).is_none());
    assert_eq!(store.queue("kept", 0).unwrap().max_offset(), 5);
    store.close().unwrap();
}

/// Mappings of files of queues in this process.
fn mapped(dir: &Path) -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let prefix = dir.join("consumequeue");
    maps.lines()
        .filter(|line| line.contains(prefix.to_str().unwrap()))
        .count()
}

#[test]
fn few_queues_have_their_files_mapped() {
    let dir = tempfile::tempdir().unwrap();
    let bounded = Config {
        open_queues: 4,
        queue_file_entries: 300,
        commit_log_file_bytes: 1 << 20,
        ..config(dir.path())
    };
    let store = Store::open(bounded, roomy()).unwrap();
    fill_queues(&store, 0..70);
    check_queues(&store, 0..70);
    fill_queues(&store, 70..150);
    check_queues(&store, 0..150);
    eventually("surplus files are unmapped", || mapped(dir.path()) <= 12);
    check_queues(&store, 0..150);
    store.close().unwrap();
    drop(store);
    let store = open_big(dir.path());
    check_queues(&store, 0..150);
    store.close().unwrap();
}

fn big_config(dir: &Path) -> Config {
    Config {
        queue_file_entries: 300,
        commit_log_file_bytes: 1 << 20,
        queue_idle: Duration::from_secs(60),
        ..config(dir)
    }
}

fn open_big(dir: &Path) -> Arc<Store> {
    Store::open(big_config(dir), roomy()).unwrap()
}

/// Lets a minute pass and the keeper do what it has to do then.
fn a_minute_passes(store: &Store, time: &Stopped) {
    time.0.fetch_add(60_000, Ordering::Relaxed);
    while store.step(Task::Keeper) == Some(Turn::Again) {}
}

/// Has the files of a queue leave memory.
fn forget_pages(dir: &Path) {
    for file in fs::read_dir(dir).unwrap() {
        let file = fs::File::open(file.unwrap().path()).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
}

#[test]
fn entries_that_are_not_in_memory_are_for_those_who_may_wait() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        queue_file_entries: 100_000,
        ..config(dir.path())
    };
    let count = 5_000;
    let store = Store::open(config.clone(), roomy()).unwrap();
    let queue = store.create_queue("T", 0).unwrap();
    for number in 0..count {
        append(&store, &queue, &body(number)).unwrap();
    }
    store.close().unwrap();
    drop((queue, store));
    forget_pages(&dir.path().join("consumequeue/T/0"));
    let store = Store::open(config, roomy()).unwrap();
    let queue = store.queue("T", 0).unwrap();
    // Has the files at hand, and in memory what is at the end of the queue.
    assert_eq!(read(&store, &queue, 4_990).status, ReadStatus::Found);
    let refused = |_: i64| false;
    let status = |access| store.read(&queue, 0, ALL, access, refused).status;
    assert_eq!(status(Access::HotOnly), ReadStatus::Cold);
    assert_eq!(status(Access::Any), ReadStatus::NoMatchedMessage);
    // Whoever waited has brought the next ones, too.
    assert_eq!(status(Access::HotOnly), ReadStatus::NoMatchedMessage);
    store.close().unwrap();
}

#[test]
fn idle_queues_give_up_their_files_and_take_them_back() {
    let dir = tempfile::tempdir().unwrap();
    let time = Arc::new(Stopped::default());
    // Time stands still and no thread runs, so that files go when this test says so.
    let env = Env::stepped(
        Arc::new(Plan::default()),
        Clock::given(Arc::clone(&time) as Arc<dyn Time>),
    );
    let store = Store::open(big_config(dir.path()), env).unwrap();
    fill_queues(&store, 0..100);
    // What waits in memory is written, then read from files.
    a_minute_passes(&store, &time);
    check_queues(&store, 0..100);
    assert!(mapped(dir.path()) > 0);
    a_minute_passes(&store, &time);
    assert!(mapped(dir.path()) > 0, "used within the last minute");
    a_minute_passes(&store, &time);
    assert_eq!(mapped(dir.path()), 0);
    let queue = store.queue("T", 1).unwrap();
    let hot = |from| store.read(&queue, from, ALL, Access::HotOnly, |_: i64| true);
    // A network thread does not wait for files; whoever may wait finds them.
    assert_eq!(hot(0).status, ReadStatus::Cold);
    assert_eq!(read(&store, &queue, 0).status, ReadStatus::Found);
    assert_eq!(hot(0).status, ReadStatus::Found);
    a_minute_passes(&store, &time);
    a_minute_passes(&store, &time);
    assert_eq!(hot(0).status, ReadStatus::Cold);
    fill_queues(&store, 100..102);
    // What was just appended can be read whether there are files or not.
    assert_eq!(hot(100).status, ReadStatus::Found);
    assert_eq!(hot(101).status, ReadStatus::Found);
    check_queues(&store, 0..102);
    store.close().unwrap();
}
