// SPDX-License-Identifier: Apache-2.0
//! Measures starts: `cargo run --release -p aerobee-store --example restart [directory [MiB [bytes of a body]]]`. Fills
//! a log, opens it after an end that was none, and after its queues and index were removed. CPU times are those of the
//! whole process.

use std::{
    error::Error,
    fs,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use aerobee_message::{Record, TagsCode};
use aerobee_store::{Config, Env, Store};

const QUEUES: i32 = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args
        .next()
        .map_or_else(std::env::temp_dir, Into::into)
        .join("aerobee-restart");
    let mib: i64 = args.next().map_or(Ok(1024), |text| text.parse())?;
    let body_len = args.next().map_or(Ok(1024), |text| text.parse())?;
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    let store = open(&dir)?;
    let records = fill(&store, mib << 20, body_len)?;
    report(format_args!(
        "{mib} MiB of log, {records} records with bodies of {body_len} B"
    ));
    store.abandon();
    drop(store);
    let store = measured(&dir, "start after an end that was none", mib)?;
    store.close()?;
    drop(store);
    let store = measured(&dir, "start after an orderly end", mib)?;
    store.close()?;
    drop(store);
    for _ in 0..3 {
        for name in ["consumequeue", "index"] {
            fs::remove_dir_all(dir.join(name))?;
        }
        for name in ["checkpoint", "queues.summary", "indexstate"] {
            fs::remove_file(dir.join(name))?;
        }
        let store = measured(&dir, "queues and index made again", mib)?;
        store.close()?;
    }
    fs::remove_dir_all(&dir)?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is what the example is for")]
fn report(line: std::fmt::Arguments<'_>) {
    println!("{line}");
}

fn open(dir: &Path) -> Result<Arc<Store>, Box<dyn Error>> {
    Ok(Store::open(Config::new(dir), Env::real())?)
}

/// CPU time of this process, in steps of the kernel's 10 ms.
fn cpu() -> Result<Duration, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

fn measured(dir: &Path, what: &str, mib: i64) -> Result<Arc<Store>, Box<dyn Error>> {
    let (start, before) = (Instant::now(), cpu()?);
    let store = open(dir)?;
    let (opened, used) = (start.elapsed(), cpu()? - before);
    while store.index_behind() > 0 {
        thread::sleep(Duration::from_millis(2));
    }
    let (indexed, in_all) = (start.elapsed(), cpu()? - before);
    let gib = mib as f64 / 1024.0;
    report(format_args!(
        "{what}: open after {opened:.2?} ({used:.2?} of CPU), {:.2} GiB/s; indexed after {indexed:.2?} ({in_all:.2?} of CPU), {:.2} GiB/s",
        gib / opened.as_secs_f64(),
        gib / indexed.as_secs_f64(),
    ));
    Ok(store)
}

fn fill(store: &Store, bytes: i64, body_len: usize) -> Result<u64, Box<dyn Error>> {
    let queues = (0..QUEUES)
        .map(|id| store.create_queue("T", id))
        .collect::<Result<Vec<_>, _>>()?;
    let body = vec![b'x'; body_len];
    let mut records = 0;
    while store.max_physical() < bytes {
        let key = format!("AC110001A5F418B4AAC2{records:012X}");
        let properties: [&[u8]; 3] = [
            b"UNIQ_KEY\x01",
            key.as_bytes(),
            b"\x02WAIT\x01true\x02TAGS\x01TagA\x02CLUSTER\x01DefaultCluster\x02MSG_REGION\x01DefaultRegion\x02TRACE_ON\x01true\x02",
        ];
        let queue = &queues[(records % QUEUES as u64) as usize];
        let record = Record {
            topic: "T",
            queue_id: queue.id(),
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
        store.append(queue, &record)?;
        records += 1;
    }
    Ok(records)
}
