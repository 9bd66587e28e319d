// SPDX-License-Identifier: Apache-2.0
//! A process that appends under load is killed again and again: what it acknowledged is there, in order, once.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use aerobee_store::{Config, FlushMode, Store};

use crate::support::*;

const DIR: &str = "AEROBEE_KILL_TEST_DIR";
const MODE: &str = "AEROBEE_KILL_TEST_MODE";
const KILLS: u32 = 12;

fn mode_config(dir: &Path, mode: &str) -> Config {
    let flush_mode = if mode == "sync" {
        FlushMode::Sync
    } else {
        FlushMode::Async
    };
    Config {
        commit_log_file_bytes: 64 << 10,
        queue_file_entries: 100,
        flush_mode,
        ..config(dir)
    }
}

/// The victim: appends to two queues and says so on its output, one line for each acknowledged message. Run as a test
/// without the variables it has nothing to do.
#[test]
fn victim() {
    let (Ok(dir), Ok(mode)) = (env::var(DIR), env::var(MODE)) else {
        return;
    };
    let store = Store::open(mode_config(&PathBuf::from(dir), &mode), roomy()).unwrap();
    let queues = [
        store.create_queue("T", 0).unwrap(),
        store.create_queue("T", 1).unwrap(),
    ];
    let mut out = std::io::stdout().lock();
    for number in 0.. {
        let queue = &queues[number % 2];
        let appended = append(&store, queue, &body(u32::try_from(queue.id()).unwrap())).unwrap();
        if mode == "sync" {
            wait_flushed(&store, appended.end);
        }
        writeln!(
            out,
            "stored {} {} {}",
            queue.id(),
            appended.queue_offset,
            appended.physical
        )
        .unwrap();
    }
}

/// Starts a victim, kills it after some lines, and returns what it acknowledged.
fn run_and_kill(dir: &Path, mode: &str, lines: u32) -> Vec<(i32, i64, i64)> {
    let mut child = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "kill::victim",
            "--nocapture",
            "--test-threads",
            "1",
        ])
        .env(DIR, dir)
        .env(MODE, mode)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut stored = Vec::new();
    let mut line = String::new();
    let mut is_killed = false;
    loop {
        line.clear();
        // Lines still in the pipe were acknowledged before the kill.
        if out.read_line(&mut line).unwrap() == 0 {
            break;
        }
        if !line.ends_with('\n') {
            continue;
        }
        let mut words = line.trim_end().rsplit(' ');
        if let (Some(physical), Some(offset), Some(id), Some(word)) =
            (words.next(), words.next(), words.next(), words.next())
            && word.ends_with("stored")
        {
            stored.push((
                id.parse().unwrap(),
                offset.parse().unwrap(),
                physical.parse().unwrap(),
            ));
        }
        if !is_killed && stored.len() as u32 >= lines {
            child.kill().unwrap();
            is_killed = true;
        }
    }
    child.wait().unwrap();
    assert!(is_killed, "the victim ended by itself");
    stored
}

fn kill_repeatedly(mode: &str, lines_at_most: u32) {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..KILLS {
        acknowledged.extend(run_and_kill(
            dir.path(),
            mode,
            1 + round * lines_at_most / KILLS,
        ));
        // Each round is checked on a copy, so that the next victim recovers what the kill left and not what we repaired.
        let checked = tempfile::tempdir().unwrap();
        copy(dir.path(), checked.path());
        let store = Store::open(mode_config(checked.path(), mode), roomy()).unwrap();
        for id in [0, 1] {
            let queue = store.create_queue("T", id).unwrap();
            let all = bodies(&store, &queue);
            assert_eq!(all.len() as i64, queue.max_offset());
            assert!(
                all.iter()
                    .all(|one| *one == body(u32::try_from(id).unwrap()))
            );
            let mut offsets: Vec<i64> = acknowledged
                .iter()
                .filter(|a: &&(i32, _, _)| a.0 == id)
                .map(|a| a.1)
                .collect();
            assert!(
                offsets.iter().all(|offset| *offset < queue.max_offset()),
                "an acknowledged message is missing"
            );
            let count = offsets.len();
            offsets.dedup();
            assert_eq!(offsets.len(), count, "an offset was given twice");
        }
        for (id, offset, physical) in &acknowledged {
            let run = store.record_at(*physical).unwrap();
            let view = aerobee_message::RecordView::parse(run.as_slice()).unwrap();
            assert_eq!((view.queue_id(), view.queue_offset()), (*id, *offset));
        }
        store.close().unwrap();
        assert!(fs::exists(dir.path().join("abort")).unwrap());
    }
}

#[test]
fn kills_lose_nothing_acknowledged() {
    kill_repeatedly("async", 20_000);
}

#[test]
fn kills_under_synchronous_flush_lose_nothing_acknowledged() {
    kill_repeatedly("sync", 300);
}

/// A second process is refused too, by the lock of the operating system.
#[test]
fn another_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(mode_config(dir.path(), "async"), roomy()).unwrap();
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "kill::victim", "--nocapture"])
        .env(DIR, dir.path())
        .env(MODE, "async")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(
        !output.status.success() && said.contains("Locked"),
        "{said}"
    );
    store.close().unwrap();
}
