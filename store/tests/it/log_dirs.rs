// SPDX-License-Identifier: Apache-2.0
//! A log in several directories.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use aerobee_store::{
    Config, LogDirs, OpenError, Operation, Store,
    inspect::{Directory, Known, Sizes},
};

use crate::support::*;

fn dirs(root: &Path) -> [PathBuf; 3] {
    ["disk-a", "disk-b", "disk-c"].map(|name| root.join(name).join("log"))
}

fn spread(root: &Path) -> Config {
    Config {
        log_dirs: LogDirs {
            // The order of their names counts, not that in the list.
            writable: dirs(root).into_iter().rev().collect(),
            read_only: Vec::new(),
        },
        ..config(&root.join("store"))
    }
}

fn numbers_in(dir: &Path) -> Vec<i64> {
    let mut numbers: Vec<i64> = fs::read_dir(dir)
        .map(|entries| {
            let names = entries.map(|entry| entry.unwrap().file_name());
            let bases = names.filter_map(|name| name.to_str().unwrap().parse::<i64>().ok());
            bases.map(|base| base / 4096).collect()
        })
        .unwrap_or_default();
    numbers.sort_unstable();
    numbers
}

fn filled(config: Config, numbers: std::ops::Range<u32>) -> Arc<Store> {
    let store = Store::open(config, roomy()).unwrap();
    let queue = store.create_queue("T", 0).unwrap();
    fill(&store, &queue, numbers);
    store
}

fn bodies_with(config: Config) -> Vec<Vec<u8>> {
    let store = Store::open(config, roomy()).unwrap();
    let bodies = bodies(&store, &store.queue("T", 0).unwrap());
    store.close().unwrap();
    bodies
}

#[test]
fn files_go_round_and_are_found_again() {
    let root = tempfile::tempdir().unwrap();
    let store = filled(spread(root.path()), 0..300);
    assert_eq!(
        bodies(&store, &store.queue("T", 0).unwrap()),
        numbered(0..300)
    );
    store.close().unwrap();
    let files = store.max_physical() / 4096 + 1;
    for (at, dir) in dirs(root.path()).iter().enumerate() {
        let own: Vec<i64> = (0..files)
            .filter(|number| number % 3 == at as i64)
            .collect();
        assert!(own.len() > 1);
        assert_eq!(numbers_in(dir), own);
    }
    assert!(!root.path().join("store/commitlog").exists());
    drop(store);
    assert_eq!(bodies_with(spread(root.path())), numbered(0..300));
    // All that is made from the log is made again from all of its directories.
    fs::remove_dir_all(root.path().join("store/consumequeue")).unwrap();
    assert_eq!(bodies_with(spread(root.path())), numbered(0..300));
    let config = spread(root.path());
    let sizes = Sizes {
        queue_file_entries: Some(config.queue_file_entries),
        index: Some(config.index.geometry),
        ..Sizes::default()
    };
    let directory = Directory::open_at(&config.dir, &config.log_dirs, sizes).unwrap();
    let report = directory.check(&Known::default(), |_| {}).unwrap();
    assert!(report.is_clean(), "{:?}", report.defects());
    assert_eq!(directory.log_files() as i64, files);
}

#[test]
fn a_kill_loses_nothing_wherever_files_are() {
    let live = tempfile::tempdir().unwrap();
    let _running = filled(spread(live.path()), 0..200);
    let copied = tempfile::tempdir().unwrap();
    copy(live.path(), copied.path());
    assert_eq!(bodies_with(spread(copied.path())), numbered(0..200));
}

#[test]
fn a_full_directory_is_passed_over_while_others_have_space() {
    let root = tempfile::tempdir().unwrap();
    let (plan, env) = faulty();
    let store = Store::open(spread(root.path()), env).unwrap();
    let queue = store.create_queue("T", 0).unwrap();
    plan.set(|operation, path| {
        if operation == Operation::Allocate && is_in(path, "disk-b") {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    });
    fill(&store, &queue, 0..300);
    let [_, full, _] = dirs(root.path());
    assert_eq!(numbers_in(&full), [0; 0]);
    plan.clear();
    fill(&store, &queue, 300..500);
    assert!(!numbers_in(&full).is_empty());
    plan.set(|operation, path| {
        if operation == Operation::Allocate && is_in(path, "log") {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    });
    let refused = (0..200).any(|number| append(&store, &queue, &body(number)).is_err());
    assert!(refused, "no directory has space");
    plan.clear();
    eventually("there is space again", || {
        append(&store, &queue, b"again").is_ok()
    });
    store.close().unwrap();
    let count = usize::try_from(queue.max_offset()).unwrap();
    drop((store, queue));
    assert_eq!(bodies_with(spread(root.path())).len(), count);
}

#[test]
fn read_only_directories_are_read_and_get_nothing() {
    let root = tempfile::tempdir().unwrap();
    filled(spread(root.path()), 0..200).close().unwrap();
    let [old, one, two] = dirs(root.path());
    let kept = numbers_in(&old);
    let config = || Config {
        log_dirs: LogDirs {
            writable: vec![one.clone(), two.clone(), old.clone()],
            read_only: vec![old.clone()],
        },
        ..config(&root.path().join("store"))
    };
    let store = Store::open(config(), roomy()).unwrap();
    let queue = store.queue("T", 0).unwrap();
    fill(&store, &queue, 200..500);
    store.close().unwrap();
    drop((store, queue));
    assert_eq!(bodies_with(config()), numbered(0..500));
    assert!(numbers_in(&old).iter().all(|number| kept.contains(number)));
    assert!(numbers_in(&one).len() > kept.len());
}

#[test]
fn a_missing_directory_and_doubled_files_keep_the_store_closed() {
    let root = tempfile::tempdir().unwrap();
    filled(spread(root.path()), 0..300).close().unwrap();
    let [one, two, _] = dirs(root.path());
    let away = root.path().join("away");
    fs::rename(&two, &away).unwrap();
    let error = Store::open(spread(root.path()), roomy()).unwrap_err();
    assert!(matches!(error, OpenError::MissingFile { .. }), "{error}");
    fs::rename(&away, &two).unwrap();
    let doubled = one.join("00000000000000004096");
    fs::copy(two.join("00000000000000004096"), &doubled).unwrap();
    let error = Store::open(spread(root.path()), roomy()).unwrap_err();
    assert!(matches!(error, OpenError::TwoFiles { .. }), "{error}");
    assert!(error.to_string().contains("storePathCommitLog"));
    fs::remove_file(doubled).unwrap();
    // Somebody has forgotten where the log is.
    let elsewhere = config(&root.path().join("store"));
    let error = Store::open(elsewhere, roomy()).unwrap_err();
    assert!(matches!(error, OpenError::NoLog { .. }), "{error}");
    assert!(error.to_string().contains("storePathCommitLog"));
    assert_eq!(bodies_with(spread(root.path())), numbered(0..300));
}
