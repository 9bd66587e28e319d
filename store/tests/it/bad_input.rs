// SPDX-License-Identifier: Apache-2.0
//! Directories and disks that are not as they should be: each is refused, or lived with, in words that name the file,
//! the cause and the remedy; and nothing of what is there is changed.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use aerobee_store::{AppendError, Env, OpenError, Operation, ReadOnlyReason, Store};

use crate::support::*;

/// All files with their content.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(snapshot(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

/// What was there is still there.
fn assert_untouched(dir: &Path, before: &BTreeMap<PathBuf, Vec<u8>>) {
    let after = snapshot(dir);
    for (path, content) in before {
        if path.ends_with("lock") || path.ends_with("checkpoint") {
            continue;
        }
        assert_eq!(after.get(path), Some(content), "{}", path.display());
    }
}

fn refusal(dir: &Path, env: Env) -> String {
    Store::open(config(dir), env).unwrap_err().to_string()
}

fn with_messages(dir: &Path) {
    let store = open(dir);
    let queue = store.create_queue("T", 0).unwrap();
    fill(&store, &queue, 0..100);
    store.close().unwrap();
}

#[test]
fn directories_of_other_programs_are_refused() {
    for (name, owner) in [
        ("meta.properties", "Kafka"),
        ("recovery-point-offset-checkpoint", "Kafka"),
        ("current/VERSION", "BookKeeper"),
        ("kahadb/db.data", "ActiveMQ"),
        ("jetstream/x", "NATS"),
        ("msg_stores/x", "RabbitMQ"),
        ("dledger-n0/data/00000000000000000000", "DLedger"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"theirs").unwrap();
        let before = snapshot(dir.path());
        let text = refusal(dir.path(), roomy());
        let sign = name.split('/').next().unwrap();
        assert!(
            text.contains(owner) && text.contains(sign) && text.contains("storePathRootDir"),
            "{text}"
        );
        assert_untouched(dir.path(), &before);
        assert!(!dir.path().join("commitlog").exists());
    }
}

#[test]
fn files_of_a_wrong_size_are_named_and_stay() {
    for (name, expected) in [
        ("commitlog/00000000000000000000", 4096),
        ("consumequeue/T/0/00000000000000000000", 200),
    ] {
        let dir = tempfile::tempdir().unwrap();
        with_messages(dir.path());
        // So that each queue is looked at.
        fs::remove_file(dir.path().join("queues.summary")).unwrap();
        let path = dir.path().join(name);
        let content = fs::read(&path).unwrap();
        fs::write(&path, &content[..content.len() - 7]).unwrap();
        let before = snapshot(dir.path());
        let text = refusal(dir.path(), roomy());
        assert!(
            text.contains(path.to_str().unwrap())
                && text.contains(&format!("{} bytes, not {expected}", expected - 7))
                && text.contains("restore"),
            "{text}"
        );
        assert_untouched(dir.path(), &before);
        fs::write(&path, content).unwrap();
        let store = open(dir.path());
        let queue = store.queue("T", 0).unwrap();
        assert_eq!(bodies(&store, &queue), numbered(0..100));
    }
}

#[test]
fn a_file_in_the_place_of_a_directory_is_named() {
    for name in ["commitlog", "consumequeue"] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), b"in the way").unwrap();
        let before = snapshot(dir.path());
        let text = refusal(dir.path(), roomy());
        assert!(text.contains(name), "{text}");
        assert_untouched(dir.path(), &before);
    }
}

/// The permissions themselves, where the test does not run as the one user whom they do not bind; and the errors that
/// they lead to, anywhere.
#[test]
fn missing_rights_and_read_only_file_systems_are_told() {
    let dir = tempfile::tempdir().unwrap();
    with_messages(dir.path());
    let before = snapshot(dir.path());
    let mode = |bits| fs::set_permissions(dir.path(), fs::Permissions::from_mode(bits)).unwrap();
    mode(0o500);
    let probe = fs::write(dir.path().join("probe"), b"");
    if probe.is_err() {
        let text = refusal(dir.path(), roomy());
        assert!(text.contains("right to read and write"), "{text}");
    }
    mode(0o700);
    let _ = fs::remove_file(dir.path().join("probe"));
    for (errno, remedy) in [
        (13, "right to read and write"),
        (30, "mount it for writing"),
        (28, "free some space"),
        (5, "check it"),
        (24, "ulimit -n"),
    ] {
        for operation in [
            Operation::Create,
            Operation::Open,
            Operation::Write,
            Operation::Sync,
        ] {
            let (plan, env) = faulty();
            plan.set(move |now, _| {
                if now == operation {
                    Err(io::Error::from_raw_os_error(errno))
                } else {
                    Ok(())
                }
            });
            let text = refusal(dir.path(), env);
            assert!(
                text.contains(remedy) && text.contains(dir.path().to_str().unwrap()),
                "{operation:?}: {text}"
            );
            assert_untouched(dir.path(), &before);
        }
    }
    let store = open(dir.path());
    let queue = store.queue("T", 0).unwrap();
    assert_eq!(bodies(&store, &queue), numbered(0..100));
}

/// A file system that turns read-only under a running store: the next sync says so, and from then on no message is
/// taken. What was read before can still be read.
#[test]
fn a_file_system_that_turns_read_only_stops_the_store_from_taking_messages() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, env) = faulty();
    let store = Store::open(config(dir.path()), env).unwrap();
    let queue = store.create_queue("T", 0).unwrap();
    fill(&store, &queue, 0..10);
    plan.set(|operation, _| match operation {
        Operation::Read | Operation::Open | Operation::Map | Operation::List => Ok(()),
        _ => Err(io::Error::from_raw_os_error(30)),
    });
    fill(&store, &queue, 10..11);
    eventually("the store notices", || {
        store.writable() == Err(ReadOnlyReason::SyncFailed)
    });
    assert!(matches!(
        append(&store, &queue, b"no"),
        Err(AppendError::ReadOnly(ReadOnlyReason::SyncFailed))
    ));
    assert_eq!(bodies(&store, &queue), numbered(0..11));
    assert!(store.close().is_err());
    drop(store);
    plan.clear();
    let store = open(dir.path());
    let queue = store.queue("T", 0).unwrap();
    assert_eq!(bodies(&store, &queue), numbered(0..11));
    fill(&store, &queue, 11..20);
    store.close().unwrap();
}

/// A checkpoint that is nonsense, or of another length, is made anew: it says only where a start may begin to look.
#[test]
fn a_damaged_checkpoint_costs_time_and_no_message() {
    for content in [&b""[..], &[0xFF; 4096], &[7; 100], &[0; 9000]] {
        let dir = tempfile::tempdir().unwrap();
        with_messages(dir.path());
        fs::write(dir.path().join("checkpoint"), content).unwrap();
        let store = open(dir.path());
        let queue = store.queue("T", 0).unwrap();
        assert_eq!(bodies(&store, &queue), numbered(0..100));
        store.close().unwrap();
        assert_eq!(fs::read(dir.path().join("checkpoint")).unwrap().len(), 4096);
    }
}

#[test]
fn the_lock_of_another_broker_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let text = refusal(dir.path(), roomy());
    assert!(
        text.contains(dir.path().join("lock").to_str().unwrap()) && text.contains("stop that one"),
        "{text}"
    );
    let error = Store::open(config(dir.path()), roomy()).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }));
    store.close().unwrap();
}
