// SPDX-License-Identifier: Apache-2.0
//! `aerobee store` as its users call it.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    os::unix::fs::FileExt,
    path::Path,
    process::{Command, Output},
};

use aerobee_message::{Record, TagsCode, tags};
use aerobee_store::{Config, Env, Store};
use serde_json::Value;

/// A record without a tag.
fn record<'a>(
    topic: &'a str,
    queue_id: i32,
    body: &'a [u8],
    properties: &'a [&'a [u8]],
) -> Record<'a> {
    Record {
        topic,
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: "127.0.0.1:1".parse().unwrap(),
        store_host: "127.0.0.1:10911".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties,
        tags_code: TagsCode::Hash(0),
    }
}

/// A store with ten messages in each of two queues, closed in order, and the positions of the messages.
fn filled(root: &Path) -> Vec<i64> {
    let store = Store::open(config(root), Env::real()).unwrap();
    let mut places = Vec::new();
    for number in 0..10 {
        for id in 0..2 {
            let queue = store.create_queue("orders", id).unwrap();
            let (body, keys) = (
                format!("order {number} of {id}"),
                format!("KEYS\x01k{number}\x02TAGS\x01paid\x02"),
            );
            let properties = [keys.as_bytes()];
            let record = Record {
                tags_code: TagsCode::Hash(tags::code_of("paid")),
                ..record("orders", id, body.as_bytes(), &properties)
            };
            places.push(store.append(&queue, &record).unwrap().physical);
        }
    }
    store.close().unwrap();
    let tables = root.join("config");
    fs::create_dir_all(&tables).unwrap();
    let topics = r#"{"dataVersion":{"counter":1},"topicConfigTable":{"orders":{"perm":6}}}"#;
    fs::write(tables.join("topics.json"), topics).unwrap();
    fs::write(tables.join("topics.json.bak"), topics).unwrap();
    fs::write(
        tables.join("consumerOffset.json"),
        "{\"offsetTable\":{\"orders@shop\":{0:10,1:7}}}",
    )
    .unwrap();
    places
}

fn config(root: &Path) -> Config {
    Config {
        commit_log_file_bytes: 1 << 20,
        queue_file_entries: 100,
        ..Config::new(root)
    }
}

fn aerobee(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_aerobee"))
        .arg("store")
        .args(args)
        .output()
        .unwrap()
}

fn run(args: &[&str], code: i32) -> String {
    let output = aerobee(args);
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{args:?}\n{text}\n{error}"
    );
    text
}

fn json(args: &[&str], code: i32) -> Value {
    serde_json::from_str(&run(args, code)).unwrap()
}

fn poke(path: &Path, at: u64, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, at).unwrap();
}

#[test]
fn a_check_tells_what_the_directory_is() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let root = dir.path().to_str().unwrap();
    let text = run(&["check", root], 0);
    for part in [
        "written by     aerobee, closed in order",
        "1 files of 1048576 bytes",
        "messages       20",
        "queues         2 of 1 topics, 100 entries each file, 20 entries compared",
        "index          40 entries compared",
        "no defects",
        "would recover from position",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let value = json(&["check", root, "--json"], 0);
    assert_eq!(value["clean"], true);
    assert_eq!(value["messages"], 20);
}

#[test]
fn exit_codes_tell_defects_from_what_cannot_be_checked() {
    let dir = tempfile::tempdir().unwrap();
    let output = aerobee(&["check", dir.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("no store directory"), "{error}");
}

#[test]
fn a_repair_asks_and_then_leaves_a_clean_directory() {
    let dir = tempfile::tempdir().unwrap();
    let places = filled(dir.path());
    let root = dir.path().to_str().unwrap();
    let log = dir.path().join("commitlog/00000000000000000000");
    let file = fs::OpenOptions::new().write(true).open(log).unwrap();
    file.write_all_at(b"?", places[5].cast_unsigned() + 90)
        .unwrap();
    // A table cut in half.
    let topics = dir.path().join("config/topics.json");
    let content = fs::read(&topics).unwrap();
    fs::write(&topics, &content[..content.len() / 2]).unwrap();
    let value = json(&["check", root, "--json"], 1);
    let find = |kind: &str| {
        let defects = value["defects"].as_array().unwrap().iter();
        let found: Vec<_> = defects.filter(|defect| defect["kind"] == kind).collect();
        assert!(!found.is_empty(), "{kind} in {value}");
        (
            found[0]["file"].as_str().unwrap().to_owned(),
            found[0]["byte"].as_i64(),
        )
    };
    assert_eq!(
        find("damaged-log"),
        ("commitlog/00000000000000000000".to_owned(), Some(places[5]))
    );
    let half = i64::try_from(content.len() / 2).unwrap();
    assert_eq!(
        find("config-file"),
        ("config/topics.json".to_owned(), Some(half))
    );
    assert_eq!(find("lost-message").1, Some(2 * 20));
    // Nobody sits there to be asked.
    let output = aerobee(&["check", root, "--repair"]);
    assert_eq!(output.status.code(), Some(2));
    let text = run(&["check", root, "--repair", "--yes"], 0);
    assert!(
        text.contains("aerobee-repair-") && text.contains("bridged log positions"),
        "{text}"
    );
    assert_eq!(fs::read(&topics).unwrap(), content);
    let value = json(&["check", root, "--json"], 0);
    assert_eq!(value["messages"], 20, "19 and the one that bridges the gap");
    let store = Store::open(config(dir.path()), Env::real()).unwrap();
    assert_eq!(store.queue("orders", 1).unwrap().max_offset(), 10);
    store.close().unwrap();
}

#[test]
fn positions_behind_the_end_of_a_queue_are_told() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let root = dir.path().to_str().unwrap();
    let tables = dir.path().join("config");
    fs::write(
        tables.join("consumerOffset.json"),
        "{\"offsetTable\":{\"orders@shop\":{0:11,1:7}}}",
    )
    .unwrap();
    fs::write(tables.join("delayOffset.json"), "{\"offsetTable\":{3:5}}").unwrap();
    let text = run(&["check", root], 1);
    assert!(
        text.contains("group shop is at offset 11 of queue 0"),
        "{text}"
    );
    assert!(
        text.contains("level 3 is at offset 5, its queue ends at 0"),
        "{text}"
    );
    assert!(text.contains("2 defects"), "{text}");
}

#[test]
fn a_dump_shows_messages_entries_index_and_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let places = filled(dir.path());
    let root = dir.path().to_str().unwrap();
    let text = run(&["dump", root, "--limit", "2", "--body", "text"], 0);
    assert!(
        text.contains("order 0 of 1") && !text.contains("order 1 of 0"),
        "{text}"
    );
    assert!(
        text.contains("KEYS = k0") && text.contains("topic orders queue 1 offset 0"),
        "{text}"
    );

    let of_queue = [
        "dump",
        root,
        "--topic",
        "orders",
        "--queue-id",
        "1",
        "--from",
        "4",
        "--to",
        "6",
        "--json",
    ];
    let lines = run(&of_queue, 0);
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let found: Vec<_> = lines
        .iter()
        .map(|line| (line["offset"].as_i64(), line["position"].as_i64()))
        .collect();
    assert_eq!(
        found,
        [(Some(4), Some(places[9])), (Some(5), Some(places[11]))]
    );
    assert_eq!(lines[0]["properties"]["TAGS"], "paid");

    let position = (places[7] + 1).to_string();
    let one = [
        "dump",
        root,
        "--from-position",
        &position,
        "--limit",
        "1",
        "--body",
        "hex",
        "--json",
    ];
    let value = json(&one, 0);
    assert_eq!(value["position"].as_i64(), Some(places[8]));
    assert!(value["body"].as_str().unwrap().starts_with("6f72646572"));

    let entries = run(
        &["dump", root, "--queue", "--topic", "orders", "--limit", "0"],
        0,
    );
    assert_eq!(entries.lines().count(), 20);
    assert!(
        entries.lines().all(|line| line.ends_with("message found")),
        "{entries}"
    );
    let index = run(&["dump", root, "--index", "--limit", "0"], 0);
    assert_eq!(index.lines().count(), 41);
    let checkpoint = json(&["dump", root, "--checkpoint", "--json"], 0);
    assert_eq!(
        checkpoint["logicsPhysicalOffset"].as_i64(),
        places.last().copied()
    );
    let none = run(&["dump", root, "--until", "2000-01-01T00:00:00Z"], 0);
    assert_eq!(none, "");
    let all = run(
        &["dump", root, "--since", "2000-01-01T00:00:00Z", "--json"],
        0,
    );
    assert_eq!(all.lines().count(), 20);
}

/// When the timer messages of the tests are due.
const DUE: i64 = 4_000_000_000_000;
const SLOT: u64 = (DUE as u64 / 1000 % 1_209_600) * 32;

/// A store with three messages that wait for the same time, in wheel and log of the timer as `store-format` says.
fn with_timer(root: &Path) {
    let store = Store::open(config(root), Env::real()).unwrap();
    let queue = store.create_queue("rmq_sys_wheel_timer", 0).unwrap();
    let property = format!("TIMER_OUT_MS\x01{DUE}\x02REAL_TOPIC\x01orders\x02");
    let mut log = vec![0; 5200];
    for number in 0..3_usize {
        let properties = [property.as_bytes()];
        let record = record("rmq_sys_wheel_timer", 0, b"later", &properties);
        let placed = store.append(&queue, &record).unwrap();
        let at = number * 52;
        let previous = if number == 0 { -1 } else { at as i64 - 52 };
        let unit = &mut log[at..at + 52];
        unit[..4].copy_from_slice(&52_i32.to_be_bytes());
        unit[4..12].copy_from_slice(&previous.to_be_bytes());
        unit[12..16].copy_from_slice(&1_i32.to_be_bytes());
        unit[16..24].copy_from_slice(&(DUE - 9_000).to_be_bytes());
        unit[24..28].copy_from_slice(&9_000_i32.to_be_bytes());
        unit[28..36].copy_from_slice(&placed.physical.to_be_bytes());
        let size = i32::try_from(placed.end - placed.physical).unwrap();
        unit[36..40].copy_from_slice(&size.to_be_bytes());
    }
    store.close().unwrap();
    fs::create_dir_all(root.join("timerlog")).unwrap();
    fs::create_dir_all(root.join("config")).unwrap();
    fs::write(root.join("timerlog/00000000000000000000"), log).unwrap();
    let wheel = fs::File::create(root.join("timerwheel")).unwrap();
    wheel.set_len(38_707_200).unwrap();
    let slot = [DUE / 1000, 0, 104, 3 << 32].map(i64::to_be_bytes).concat();
    wheel.write_all_at(&slot, SLOT).unwrap();
    let mut mark = [1_000_i64, 156, 3, 3].map(i64::to_be_bytes).concat();
    mark.resize(4096, 0);
    fs::write(root.join("config/timercheck"), mark).unwrap();
}

#[test]
fn the_timer_is_compared_with_its_log_and_the_messages() {
    let dir = tempfile::tempdir().unwrap();
    with_timer(dir.path());
    let root = dir.path().to_str().unwrap();
    let text = run(&["check", root], 0);
    assert!(text.contains("3 units of the timer log compared"), "{text}");
    let text = run(&["dump", root, "--timer", "--json"], 0);
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["timercheck"]["lastTimerQueueOffset"], 3);
    assert_eq!(
        (&lines[1]["slot"]["due"], &lines[1]["slot"]["last"]),
        (&DUE.into(), &104.into())
    );
    assert_eq!(lines[4]["unit"]["previous"], 52);
    assert_eq!(lines[4]["unit"]["state"], "message found");
    assert_eq!(lines.len(), 5);
    assert!(run(&["dump", root, "--timer"], 0).contains("unit 104 before it 52 message due"));

    let log = "timerlog/00000000000000000000";
    let far = 9_000_000_i64.to_be_bytes();
    for (file, at, bytes, byte) in [
        // Of a unit: the one before it, its time, its message, that one's length; no unit at all.
        (log, 56, &far[..], Some(56)),
        (log, 76, &[0, 1, 0, 0], Some(80)),
        (log, 28, &far, Some(28)),
        (log, 39, &[1], Some(28)),
        (log, 64, &[0xFF], Some(52)),
        // Of the wheel: the newest unit, the oldest, the time.
        ("timerwheel", SLOT + 16, &far, Some(SLOT + 16)),
        (
            "timerwheel",
            SLOT + 8,
            &[0, 0, 0, 0, 0, 0, 0, 9],
            Some(SLOT + 8),
        ),
        ("timerwheel", SLOT, &far, Some(SLOT)),
        // Of the checkpoint: the end of the log, that of the queue.
        ("config/timercheck", 8, &far, Some(8)),
        ("config/timercheck", 16, &[far, far].concat(), Some(16)),
    ] {
        let other = tempfile::tempdir().unwrap();
        with_timer(other.path());
        poke(&other.path().join(file), at, bytes);
        let value = json(&["check", other.path().to_str().unwrap(), "--json"], 1);
        let defects = value["defects"].as_array().unwrap();
        assert!(
            defects.iter().any(|defect| defect["kind"] == "timer"
                && defect["file"] == file
                && defect["byte"] == serde_json::json!(byte)),
            "{file} {at}: {defects:#?}"
        );
    }
    // The newest unit has no slot yet: after a kill that is as it should be, and after any end where the checkpoint does
    // not say that the log is durable up to behind it.
    let is_unfinished = || {
        let value = json(&["check", root, "--json"], 0);
        assert!(
            value["notes"].to_string().contains("not finished"),
            "{value}"
        );
    };
    let mark = dir.path().join("config/timercheck");
    for wheel in [
        b"".to_vec(),
        fs::read(dir.path().join("timerwheel")).unwrap(),
    ] {
        fs::write(dir.path().join("timerwheel"), &wheel).unwrap();
        if !wheel.is_empty() {
            poke(
                &dir.path().join("timerwheel"),
                SLOT + 16,
                &52_i64.to_be_bytes(),
            );
        }
        json(&["check", root, "--json"], 1);
        fs::write(dir.path().join("abort"), b"1").unwrap();
        is_unfinished();
        fs::remove_file(dir.path().join("abort")).unwrap();
        poke(&mark, 8, &104_i64.to_be_bytes());
        is_unfinished();
        poke(&mark, 8, &156_i64.to_be_bytes());
    }
}

#[test]
fn extensions_of_queue_entries_are_compared_with_the_messages() {
    let dir = tempfile::tempdir().unwrap();
    let places = filled(dir.path());
    let root = dir.path().to_str().unwrap();
    let queue = dir
        .path()
        .join("consumequeue/orders/0/00000000000000000000");
    let ext = dir.path().join("consumequeue_ext/orders/0");
    fs::create_dir_all(&ext).unwrap();
    let ext = ext.join("00000000000000000000");
    let log = fs::read(dir.path().join("commitlog/00000000000000000000")).unwrap();
    // Two files of 100 bytes, four units of 23 in the first.
    let mut files = [0; 200];
    for number in 0..6_usize {
        let at = if number < 4 {
            number * 23
        } else {
            100 + (number - 4) * 23
        };
        let message = usize::try_from(places[number * 2]).unwrap();
        let unit = &mut files[at..at + 23];
        unit[..2].copy_from_slice(&23_i16.to_be_bytes());
        unit[2..10].copy_from_slice(&tags::code_of("paid").to_be_bytes());
        unit[10..18].copy_from_slice(&log[message + 56..message + 64]);
        unit[18..20].copy_from_slice(&3_i16.to_be_bytes());
        unit[20..].copy_from_slice(&[1, 2, 0xF3]);
        let address = i64::MIN + at as i64;
        poke(&queue, number as u64 * 20 + 12, &address.to_be_bytes());
    }
    files[92..94].copy_from_slice(&[0xFF, 0xFF]);
    fs::write(&ext, &files[..100]).unwrap();
    let second = ext.with_file_name("00000000000000000100");
    fs::write(&second, &files[100..]).unwrap();
    let text = run(&["check", root], 0);
    assert!(
        text.contains("6 queue entries refer to extensions"),
        "{text}"
    );
    let text = run(&["dump", root, "--ext", "--topic", "orders"], 0);
    assert_eq!(text.lines().count(), 6);
    assert!(text.contains("queue 0 extension 123 tags code") && text.contains("bit map 0102f3"));

    for (at, bytes, byte) in [
        (25, &[1][..], 23),
        (23 + 17, &[0x77], 23),
        (46 + 1, &[9], 46),
        (92, &[0, 0], 92),
    ] {
        fs::write(&ext, &files[..100]).unwrap();
        poke(&ext, at, bytes);
        let value = json(&["check", root, "--json"], 1);
        let defects = value["defects"].as_array().unwrap();
        assert!(
            defects.iter().any(|defect| defect["kind"] == "extension"
                && defect["file"] == "consumequeue_ext/orders/0/00000000000000000000"
                && defect["byte"] == serde_json::json!(byte)),
            "{at}: {defects:#?}"
        );
    }
}
