// SPDX-License-Identifier: Apache-2.0
//! A file system that fails, and waiting for one that works.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use aerobee_store::{
    AppendError, Clock, Config, Env, Flushed, OpenError, Operation, ReadOnlyReason, ReadStatus,
    Store, Task,
};
use parking_lot::Mutex;

use crate::support::*;

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

fn enospc() -> io::Error {
    io::Error::from_raw_os_error(28)
}

/// The first sync of the log says that it has begun, then lasts until it is told to go on. Where a test fails before
/// that, its handle is gone: nothing waits for ever.
fn hold_first_sync(plan: &Plan) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (in_sync, reached) = mpsc::channel();
    let (go, may_sync) = mpsc::channel();
    let may_sync = Mutex::new(may_sync);
    let first = AtomicUsize::new(0);
    plan.set(move |operation, path| {
        if operation == Operation::Sync
            && is_in(path, "commitlog")
            && first.fetch_add(1, Ordering::SeqCst) == 0
        {
            let _ = in_sync.send(());
            let _ = may_sync.lock().recv();
        }
        Ok(())
    });
    (reached, go)
}

#[test]
fn in_sync_mode_nothing_is_seen_before_it_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, env) = faulty();
    let store = Store::open(sync_config(dir.path()), env).unwrap();
    let queue = store.create_queue("T", 0).unwrap();
    let (reached, go) = hold_first_sync(&plan);
    let one = append(&store, &queue, b"one").unwrap();
    let (sender, receiver) = mpsc::channel();
    store.when_flushed(
        one.end,
        Box::new(move |outcome| sender.send(outcome).unwrap()),
    );
    reached.recv().unwrap();
    // The sync is under way: nothing is promised yet.
    let two = append(&store, &queue, b"two").unwrap();
    assert_eq!(
        (queue.max_offset(), store.confirmed(), store.flushed()),
        (0, 0, 0)
    );
    assert_eq!(read(&store, &queue, 0).status, ReadStatus::NoMessageInQueue);
    assert!(store.record_at(one.physical).is_none());
    assert!(receiver.try_recv().is_err());
    go.send(()).unwrap();
    assert_eq!(receiver.recv().unwrap(), Flushed::Durable);
    assert!(queue.max_offset() >= 1);
    assert_eq!(wait_flushed(&store, two.end), Flushed::Durable);
    assert_eq!(queue.max_offset(), 2);
    assert_eq!(bodies(&store, &queue), [b"one".to_vec(), b"two".to_vec()]);
    // What is durable is known at once.
    assert_eq!(wait_flushed(&store, one.end), Flushed::Durable);
}

#[test]
fn waiters_share_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, env) = faulty();
    let config = Config {
        commit_log_file_bytes: 1 << 20,
        ..sync_config(dir.path())
    };
    let store = Store::open(config, env).unwrap();
    let queue = store.create_queue("T", 0).unwrap();
    let syncs = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&syncs);
    plan.set(move |operation, path| {
        if operation == Operation::Sync && is_in(path, "commitlog") {
            count.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    });
    let (sender, receiver) = mpsc::channel();
    for number in 0..1000 {
        let sender = sender.clone();
        let appended = append(&store, &queue, &body(number)).unwrap();
        store.when_flushed(
            appended.end,
            Box::new(move |outcome| sender.send((number, outcome)).unwrap()),
        );
    }
    drop(sender);
    let all: Vec<_> = receiver.iter().collect();
    assert_eq!(all.len(), 1000);
    assert!(all.iter().all(|(_, outcome)| *outcome == Flushed::Durable));
    assert!(syncs.load(Ordering::SeqCst) < 1000);
}

#[test]
fn a_failed_sync_is_final() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, env) = faulty();
    let store = Store::open(sync_config(dir.path()), env).unwrap();
    let queue = store.create_queue("T", 0).unwrap();
    let good = append(&store, &queue, b"good").unwrap();
    assert_eq!(wait_flushed(&store, good.end), Flushed::Durable);
    plan.set(|operation, path| {
        if operation == Operation::Sync && is_in(path, "commitlog") {
            Err(eio())
        } else {
            Ok(())
        }
    });
    let bad = append(&store, &queue, b"bad").unwrap();
    assert_eq!(wait_flushed(&store, bad.end), Flushed::Failed);
    // The disk pretends to be well again; that is not believed.
    plan.clear();
    assert_eq!(wait_flushed(&store, bad.end), Flushed::Failed);
    assert_eq!(store.writable(), Err(ReadOnlyReason::SyncFailed));
    assert!(matches!(
        append(&store, &queue, b"x"),
        Err(AppendError::ReadOnly(ReadOnlyReason::SyncFailed))
    ));
    assert_eq!(bodies(&store, &queue), [b"good".to_vec()]);
    assert!(store.close().is_err());
    assert_eq!(store.flushed(), good.end);
    assert!(dir.path().join("abort").exists());
}

#[test]
fn in_async_mode_a_failed_sync_is_noticed_too() {
    for file in ["commitlog", "consumequeue"] {
        let dir = tempfile::tempdir().unwrap();
        let (plan, env) = faulty();
        let config = Config {
            flush_interval: Duration::from_millis(1),
            queue_flush_interval: Duration::from_millis(1),
            ..config(dir.path())
        };
        let store = Store::open(config, env).unwrap();
        let queue = store.create_queue("T", 0).unwrap();
        plan.set(move |operation, path| {
            if operation == Operation::Sync && is_in(path, file) {
                Err(eio())
            } else {
                Ok(())
            }
        });
        append(&store, &queue, b"x").unwrap();
        eventually("the failed sync is noticed", || {
            store.writable() == Err(ReadOnlyReason::SyncFailed)
        });
    }
}

/// Waits in an environment that takes no turns by itself.
fn flushed_by_step(store: &Store, end: i64) -> Flushed {
    let (sender, receiver) = mpsc::channel();
    store.when_flushed(end, Box::new(move |outcome| sender.send(outcome).unwrap()));
    store.step(Task::Flusher).unwrap();
    receiver.try_recv().unwrap()
}

#[test]
fn what_a_killed_process_left_is_written_again_before_it_counts_as_durable() {
    for (is_sync, fails) in [(false, false), (false, true), (true, false)] {
        let dir = tempfile::tempdir().unwrap();
        let config = if is_sync {
            sync_config(dir.path())
        } else {
            config(dir.path())
        };
        let plan = Arc::new(Plan::default());
        let env = Env::stepped(Arc::clone(&plan) as _, Clock::system());
        let store = Store::open(config.clone(), env.clone()).unwrap();
        let queue = store.create_queue("T", 0).unwrap();
        fill(&store, &queue, 0..100);
        let found = store.max_physical();
        assert_eq!(store.flushed(), 0, "nobody has flushed");
        store.abandon();
        drop((store, queue));

        let done = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&done);
        plan.set(move |operation, path| {
            let is_log = is_in(path, "commitlog");
            if is_log && matches!(operation, Operation::Write | Operation::Sync) {
                noted.lock().push((operation, path.to_owned()));
            }
            let is_refused = fails && is_log && operation == Operation::Write;
            if is_refused { Err(eio()) } else { Ok(()) }
        });
        let store = Store::open(config, env).unwrap();
        let queue = store.queue("T", 0).unwrap();
        if is_sync {
            assert_eq!(store.flushed(), found, "readers see it");
        } else {
            assert_eq!(*done.lock(), [], "a start does not wait for the disk");
            assert_eq!(store.flushed(), 0);
            append(&store, &queue, &body(100)).unwrap();
            assert_eq!(bodies(&store, &queue), numbered(0..101));
            let outcome = flushed_by_step(&store, found);
            if fails {
                assert_eq!(outcome, Flushed::Failed);
                assert_eq!(store.flushed(), 0);
                assert_eq!(store.writable(), Err(ReadOnlyReason::SyncFailed));
                continue;
            }
            assert_eq!(outcome, Flushed::Durable);
        }
        assert!(store.flushed() >= found);
        // Each file was written, and then synced.
        let done = done.lock();
        let (pairs, rest) = done.as_chunks::<2>();
        assert!(pairs.len() > 1 && rest.is_empty(), "{done:?}");
        for [(first, written), (second, synced)] in pairs {
            assert_eq!((*first, *second), (Operation::Write, Operation::Sync));
            assert_eq!(written, synced);
        }
    }
}

#[test]
fn waiting_has_an_end_and_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, env) = faulty();
    let config = Config {
        sync_flush_timeout: Duration::from_millis(20),
        flush_waiters: 1,
        ..sync_config(dir.path())
    };
    let store = Store::open(config, env).unwrap();
    let queue = store.create_queue("T", 0).unwrap();
    let (reached, go) = hold_first_sync(&plan);
    let one = append(&store, &queue, b"one").unwrap();
    let (sender, receiver) = mpsc::channel();
    let of_first = sender.clone();
    store.when_flushed(
        one.end,
        Box::new(move |outcome| of_first.send(outcome).unwrap()),
    );
    store.when_flushed(
        one.end,
        Box::new(move |outcome| sender.send(outcome).unwrap()),
    );
    reached.recv().unwrap();
    // One is told because there is no room, one because its time is up, while the sync still hangs.
    assert_eq!(receiver.recv().unwrap(), Flushed::TimedOut);
    assert_eq!(receiver.recv().unwrap(), Flushed::TimedOut);
    go.send(()).unwrap();
}

#[test]
fn a_full_disk_refuses_messages_until_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, env) = faulty();
    let store = Store::open(config(dir.path()), env).unwrap();
    let queue = store.create_queue("T", 0).unwrap();
    plan.set(|operation, path| {
        if operation == Operation::Allocate && is_in(path, "preparing") {
            Err(enospc())
        } else {
            Ok(())
        }
    });
    let mut stored = 0;
    let refused = loop {
        match append(&store, &queue, &body(stored)) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(refused, AppendError::ReadOnly(ReadOnlyReason::DiskFull)),
        "{refused}"
    );
    assert_eq!(store.writable(), Err(ReadOnlyReason::DiskFull));
    assert_eq!(bodies(&store, &queue), numbered(0..stored));
    plan.clear();
    eventually("there is space again", || store.writable().is_ok());
    fill(&store, &queue, stored..stored + 50);
    assert_eq!(bodies(&store, &queue), numbered(0..stored + 50));
    store.close().unwrap();
}

#[test]
fn a_full_disk_under_the_queues_leaves_no_half_message() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, env) = faulty();
    let store = Store::open(config(dir.path()), env).unwrap();
    let queue = store.create_queue("T", 0).unwrap();
    plan.set(|operation, path| {
        let takes_space = matches!(
            operation,
            Operation::Allocate | Operation::SetLength | Operation::Write
        );
        if takes_space && is_in(path, "consumequeue") {
            Err(enospc())
        } else {
            Ok(())
        }
    });
    let mut stored = 0;
    // Entries wait in memory, but not without bound.
    while append(&store, &queue, &body(stored)).is_ok() {
        stored += 1;
    }
    let end = store.max_physical();
    assert!(append(&store, &queue, b"no").is_err());
    assert_eq!(
        (store.max_physical(), queue.max_offset()),
        (end, i64::from(stored))
    );
    plan.clear();
    fill(&store, &queue, stored..stored + 50);
    assert_eq!(bodies(&store, &queue), numbered(0..stored + 50));
}

#[test]
fn a_start_that_fails_says_where() {
    for operation in [
        Operation::Create,
        Operation::Lock,
        Operation::Allocate,
        Operation::Map,
        Operation::Sync,
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (plan, env) = faulty();
        plan.set(move |now, _| if now == operation { Err(eio()) } else { Ok(()) });
        let error = Store::open(config(dir.path()), env.clone()).unwrap_err();
        assert!(
            matches!(error, OpenError::Io { .. }),
            "{operation:?}: {error}"
        );
        assert!(
            error.to_string().contains(dir.path().to_str().unwrap()),
            "{operation:?}: {error}"
        );
        // Nothing is left that keeps the next start from working.
        plan.clear();
        Store::open(config(dir.path()), env)
            .unwrap()
            .close()
            .unwrap();
    }
}

/// Queues and what they share know each other: whoever tries again and again would run out of descriptors.
#[test]
fn a_start_that_fails_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, env) = faulty();
    let store = Store::open(sync_config(dir.path()), env).unwrap();
    let queue = store.create_queue("T", 0).unwrap();
    for number in 0..1000 {
        append(&store, &queue, &body(number)).unwrap();
    }
    store.abandon();
    drop((queue, store));
    assert_eq!(Arc::strong_count(&plan), 1);
    // The entries are made again from the log.
    std::fs::remove_dir_all(dir.path().join("consumequeue")).unwrap();
    plan.set(|operation, path| {
        if operation == Operation::Sync && path.ends_with("abort") {
            Err(eio())
        } else {
            Ok(())
        }
    });
    let env = Env::with(Arc::clone(&plan) as _, Clock::system());
    let error = Store::open(sync_config(dir.path()), env).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
    assert_eq!(Arc::strong_count(&plan), 1);
}

/// Queue files without a checkpoint of ours would be taken for those of another broker.
#[test]
fn a_checkpoint_that_a_killed_process_left_is_durable_before_anything_is_built_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(dir.path()), Env::real()).unwrap();
    store.abandon();
    drop(store);
    let (plan, env) = faulty();
    let first = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&first);
    plan.set(move |operation, path| {
        let is_checkpoint = path.ends_with("checkpoint");
        if operation == Operation::Sync && (is_checkpoint || path.ends_with("abort")) {
            seen.lock().get_or_insert(is_checkpoint);
        }
        Ok(())
    });
    let store = Store::open(config(dir.path()), env).unwrap();
    assert_eq!(*first.lock(), Some(true));
    store.close().unwrap();
}
