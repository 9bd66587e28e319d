// SPDX-License-Identifier: Apache-2.0
//! Measures appends and reads: `cargo run --release -p aerobee-store --example append [directory]`.

use std::{error::Error, time::Instant};

use aerobee_message::{Record, TagsCode};
use aerobee_store::{Access, Config, Env, Queue, ReadLimits, ReadStatus, Store};

const APPENDS: u32 = 2_000_000;
const READS: u32 = 400_000;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args()
        .nth(1)
        .map_or_else(std::env::temp_dir, Into::into)
        .join("aerobee-append");
    for (name, body_len, appends) in [("128 B", 128, APPENDS), ("1 KiB", 1024, APPENDS / 4)] {
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        let store = Store::open(Config::new(&dir), Env::real())?;
        let queue = store.create_queue("T", 0)?;
        let nanos = append(&store, &queue, body_len, appends)?;
        report(format_args!("append of {name}: {nanos:.0} ns"));
        let nanos = read(&store, &queue, i64::from(appends))?;
        report(format_args!(
            "read of up to 32 messages of {name}: {nanos:.0} ns"
        ));
        store.close()?;
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is what the example is for")]
fn report(line: std::fmt::Arguments<'_>) {
    println!("{line}");
}

fn append(
    store: &Store,
    queue: &Queue,
    body_len: usize,
    appends: u32,
) -> Result<f64, Box<dyn Error>> {
    let body = vec![b'x'; body_len];
    let properties: [&[u8]; 2] = [
        b"UNIQ_KEY\x01AC110001A5F418B4AAC20A1B2C3D0000\x02WAIT\x01true\x02TAGS\x01TagA\x02",
        b"CLUSTER\x01DefaultCluster\x02MSG_REGION\x01DefaultRegion\x02TRACE_ON\x01true\x02",
    ];
    let record = Record {
        topic: "T",
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: store.clock().millis(),
        born_host: "127.0.0.1:54321".parse()?,
        store_host: "127.0.0.1:10911".parse()?,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: &body,
        properties: &properties,
        tags_code: TagsCode::Hash(7),
    };
    let start = Instant::now();
    for _ in 0..appends {
        store.append(queue, &record)?;
    }
    Ok(start.elapsed().as_nanos() as f64 / f64::from(appends))
}

fn read(store: &Store, queue: &Queue, max: i64) -> Result<f64, Box<dyn Error>> {
    let limits = ReadLimits {
        max_messages: 32,
        max_bytes: usize::MAX,
    };
    let start = Instant::now();
    // Near the end of the log, as consumers that keep up read.
    let first = (max - 20_000).max(0);
    let mut from = first;
    for _ in 0..READS {
        let read = store.read(queue, from, limits, Access::HotOnly, |code| code == 7);
        if read.status != ReadStatus::Found {
            return Err(format!("read at {from}: {}", read.status.name()).into());
        }
        from = if read.next + 32 > max {
            first
        } else {
            read.next
        };
    }
    Ok(start.elapsed().as_nanos() as f64 / f64::from(READS))
}
