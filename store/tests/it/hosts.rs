// SPDX-License-Identifier: Apache-2.0
//! Addresses of sixteen bytes: records of clients and brokers that speak IPv6.

use std::{fs, net::SocketAddr, path::Path};

use aerobee_message::{Record, RecordView};
use aerobee_store::{
    Boundary, KeyKind, KeyQuery, Staged, Store,
    inspect::{Directory, Known, LogItem, Sizes},
};

use crate::support::*;

const BORN: [&str; 2] = ["127.0.0.1:41", "[2001:db8::7:1]:41"];
const STORED: [&str; 2] = ["10.1.2.3:10911", "[fe80::a:b:c]:10911"];

/// Who sent and who stored the message of a number: every mixture of addresses.
fn hosts(number: usize) -> (SocketAddr, SocketAddr) {
    let (born, stored) = (BORN[number % 2], STORED[number / 2 % 2]);
    (born.parse().unwrap(), stored.parse().unwrap())
}

fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 }
        })
    }) ^ !0
}

/// A record as Apache's broker writes it, field by field.
fn apache_record(number: usize, position: usize) -> Vec<u8> {
    let (born, stored) = hosts(number);
    let body = body(u32::try_from(number).unwrap());
    let host = |host: SocketAddr| match host {
        SocketAddr::V4(v4) => [&v4.ip().octets()[..], &i32::from(v4.port()).to_be_bytes()].concat(),
        SocketAddr::V6(v6) => [&v6.ip().octets()[..], &i32::from(v6.port()).to_be_bytes()].concat(),
    };
    let flags = i32::from(born.is_ipv6()) << 4 | i32::from(stored.is_ipv6()) << 5;
    let properties = format!("KEYS\x01k{number}\x02");
    let rest = [
        &0xDAA3_20A7_u32.to_be_bytes()[..],
        &(crc(&body) & 0x7FFF_FFFF).to_be_bytes(),
        &0_i32.to_be_bytes(),
        &0_i32.to_be_bytes(),
        &(number as i64).to_be_bytes(),
        &(position as i64).to_be_bytes(),
        &flags.to_be_bytes(),
        &1_i64.to_be_bytes(),
        &host(born),
        &(1_000 * number as i64 + 1_000).to_be_bytes(),
        &host(stored),
        &0_i32.to_be_bytes(),
        &0_i64.to_be_bytes(),
        &i32::try_from(body.len()).unwrap().to_be_bytes(),
        &body,
        &[5],
        b"hosts",
        &i16::try_from(properties.len()).unwrap().to_be_bytes(),
        properties.as_bytes(),
    ]
    .concat();
    let total = i32::try_from(rest.len() + 4).unwrap();
    [&total.to_be_bytes()[..], &rest].concat()
}

/// A directory as Apache's broker leaves it when it is killed before its queues are flushed.
fn from_apache(dir: &Path, count: usize) {
    let mut log = Vec::new();
    for number in 0..count {
        let record = apache_record(number, log.len());
        // Records go to the next file when eight bytes are not left behind them.
        assert!(log.len() + record.len() + 8 <= 4096, "one file is enough");
        log.extend(record);
    }
    log.resize(4096, 0);
    fs::create_dir_all(dir.join("commitlog")).unwrap();
    fs::write(dir.join("commitlog/00000000000000000000"), log).unwrap();
    fs::write(dir.join("abort"), b"1").unwrap();
}

/// All messages are there, with their hosts, by every way to ask for them.
fn check(store: &Store, count: usize, times: bool) {
    let queue = store.queue("hosts", 0).unwrap();
    let numbers = 0..u32::try_from(count).unwrap();
    assert_eq!(bodies(store, &queue), numbered(numbers));
    for number in 0..count {
        let entry = store.entry_at(&queue, number as i64).unwrap();
        let run = store.record_at(entry.physical).unwrap();
        let record = RecordView::parse(run.as_slice()).unwrap();
        assert_eq!((record.born_host(), record.store_host()), hosts(number));
        let stored = store.store_time_of(&queue, number as i64).unwrap();
        assert_eq!(stored, record.store_timestamp());
        if times {
            let found = store.offset_by_time(&queue, stored, Boundary::Lower);
            assert_eq!(found, number as i64);
        }
        let key = format!("k{number}");
        eventually("the key is in the index", || {
            let query = KeyQuery {
                topic: "hosts",
                key: &key,
                kind: KeyKind::Key,
                max_messages: 8,
                begin: 0,
                end: i64::MAX,
            };
            let found = store.query(&query).records;
            found.iter().any(|run| run.physical() == entry.physical)
        });
    }
}

fn check_directory(dir: &Path, count: usize) {
    let directory = Directory::open(dir, Sizes::default()).unwrap();
    let report = directory.check(&Known::default(), |_| {}).unwrap();
    assert!(report.is_clean(), "{:?}", report.defects());
    let mut seen = 0;
    directory.read_log(0..i64::MAX, |item| {
        if let LogItem::Record(_, record) = item {
            assert_eq!((record.born_host(), record.store_host()), hosts(seen));
            seen += 1;
        }
        true
    });
    assert_eq!(seen, count);
}

#[test]
fn records_of_apache_with_long_addresses_are_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    from_apache(dir.path(), 20);
    let store = open(dir.path());
    check(&store, 20, true);
    store.close().unwrap();
    drop(store);
    check_directory(dir.path(), 20);
    // Damage in such a record is noticed.
    let first = apache_record(0, 0).len();
    let second = apache_record(1, first).len();
    poke(
        &dir.path().join("commitlog/00000000000000000000"),
        (first + second - 16) as u64,
        b"#",
    );
    let directory = Directory::open(dir.path(), Sizes::default()).unwrap();
    let report = directory.check(&Known::default(), |_| {}).unwrap();
    assert!(!report.is_clean());
}

#[test]
fn records_with_long_addresses_are_written_as_apache_writes_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let queue = store.create_queue("hosts", 0).unwrap();
    let mut staged = Staged::default();
    for number in 0..200 {
        let (born_host, store_host) = hosts(number);
        let properties = format!("KEYS\x01k{number}\x02");
        let body = body(u32::try_from(number).unwrap());
        let record = Record {
            born_host,
            store_host,
            properties: &[properties.as_bytes()],
            ..record("hosts", 0, &body, "")
        };
        if number % 3 == 0 {
            store.append(&queue, &record).unwrap();
        } else {
            store.stage(&mut staged, &queue, &record).unwrap();
            store.append_staged(&mut staged, |_, appended| {
                appended.unwrap();
            });
            staged.clear();
        }
    }
    for number in [0, 1, 2, 3] {
        let entry = store.entry_at(&queue, number).unwrap();
        let run = store.record_at(entry.physical).unwrap();
        let number = usize::try_from(number).unwrap();
        let mut expected = apache_record(number, usize::try_from(entry.physical).unwrap());
        let view = RecordView::parse(run.as_slice()).unwrap();
        let at = 56 + if number % 2 == 1 { 12 } else { 0 };
        expected[at..at + 8].copy_from_slice(&view.store_timestamp().to_be_bytes());
        assert_eq!(run.as_slice(), expected, "{number}");
    }
    check(&store, 200, false);
    let killed = tempfile::tempdir().unwrap();
    copy(dir.path(), killed.path());
    let after = open(killed.path());
    check(&after, 200, false);
    after.close().unwrap();
    drop(after);
    check_directory(killed.path(), 200);
    store.close().unwrap();
}
