// SPDX-License-Identifier: Apache-2.0
//! `bench drain`: one group reads what no memory holds any more: how fast, compared with reading the
//! same files one after the other, and what producers notice of it.

use std::{
    fmt,
    fs::{self, File},
    io::Read as _,
    os::unix::fs::FileExt as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use aerobee_remoting::Encoding;
use rustix::{
    fs::{Advice, fadvise},
    process::Signal,
};
use serde_json::json;

use crate::{
    Error, Figures,
    args::{Target, seconds},
    control::Control,
    own::{Own, OwnArgs},
    pull::PullLoad,
    run::Times,
    send::SendLoad,
};

const TOPIC: &str = "bench-drain";
/// Topic of the producers that go on meanwhile.
const OTHER_TOPIC: &str = "bench-drain-sends";
/// Bytes read at once when files are read one after the other.
const READ_BYTES: usize = 1 << 20;

/// Options of `bench drain`.
#[derive(Debug, Clone, clap::Args)]
pub struct DrainArgs {
    #[command(flatten)]
    own: OwnArgs,
    /// GiB of messages to drain.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=1024))]
    gib: u64,
    /// Bytes of a message's body.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Queues of the topic, each pulled by one request at a time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    queues: u32,
    /// Most messages of one answer.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(i32).range(1..=1024))]
    batch: i32,
    /// Messages per second that producers send meanwhile, in the second part.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rate: u64,
    /// Longest time that producers are measured, with the drain and without.
    #[arg(long, default_value = "10", value_parser = seconds, value_name = "SECONDS")]
    duration: Duration,
}

/// What `bench drain` found.
#[derive(Debug)]
pub struct Drain {
    messages: u64,
    bytes: u64,
    sequential: Duration,
    drained: Figures,
    alone: Figures,
    beside: Figures,
}

impl DrainArgs {
    /// Fills the log, drops it from memory, and reads it in both ways.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn run(&self) -> Result<Drain, Error> {
        let mut own = Own::new(&self.own)?;
        own.start(TOPIC)?;
        let broker = own.broker.to_string();
        let mut control = Control::connect(&broker)?;
        control.create_topic(TOPIC, self.queues)?;
        control.create_topic(OTHER_TOPIC, 4)?;
        drop(control);
        let target = |topic: &str, queues| Target {
            address: own.broker,
            broker_name: "broker-a".to_owned(),
            topic: topic.to_owned(),
            queues,
        };
        let (drained, other) = (target(TOPIC, self.queues), target(OTHER_TOPIC, 4));
        // Header, topic and properties of a message of this load take some 220 bytes.
        let messages = (self.gib << 30) / (self.size as u64 + 220);
        self.fill(&drained, messages)?;
        own.stop(Signal::TERM)?;

        let store = own.store();
        let bytes = record_bytes(&store)? * messages;
        forget(&store)?;
        let sequential = read_through(&store, bytes)?;
        forget(&store)?;
        own.start(TOPIC)?;
        let all = self.drain(&drained, Some(messages), Duration::from_secs(3600))?;
        own.stop(Signal::TERM)?;

        forget(&store)?;
        own.start(TOPIC)?;
        let alone = self.send(&other)?;
        let beside = thread::scope(|scope| {
            let draining = scope.spawn(|| self.drain(&drained, None, self.duration));
            let sent = self.send(&other);
            let drained = draining
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            drained.and(sent)
        })?;
        own.stop(Signal::TERM)?;
        Ok(Drain {
            messages,
            bytes,
            sequential,
            drained: all,
            alone,
            beside,
        })
    }

    fn fill(&self, target: &Target, messages: u64) -> Result<(), Error> {
        let load = SendLoad {
            target,
            keys: None,
            encoding: Encoding::Json,
            size: self.size,
            connections: 4,
            window: 64,
            rate: None,
            threads: 1,
        };
        let times = Times {
            warmup: Duration::ZERO,
            duration: Duration::from_secs(3600),
            count: Some(messages),
        };
        load.measure(times, &[]).map(|_| ())
    }

    fn drain(
        &self,
        target: &Target,
        count: Option<u64>,
        duration: Duration,
    ) -> Result<Figures, Error> {
        let load = PullLoad {
            target,
            encoding: Encoding::Json,
            batch: self.batch,
            connections: 1,
            window: self.queues,
        };
        let times = Times {
            warmup: Duration::ZERO,
            duration,
            count,
        };
        load.measure(times, &[])
    }

    fn send(&self, target: &Target) -> Result<Figures, Error> {
        let load = SendLoad {
            target,
            keys: None,
            encoding: Encoding::Json,
            size: self.size,
            connections: 2,
            window: 64,
            rate: Some(self.rate),
            threads: 1,
        };
        let times = Times {
            warmup: Duration::ZERO,
            duration: self.duration,
            count: None,
        };
        load.measure(times, &[])
    }
}

fn at<'a>(path: &'a Path) -> impl Fn(std::io::Error) -> Error + 'a {
    |source| Error::File {
        path: path.to_owned(),
        source,
    }
}

/// Bytes of one record of the load. The first record of the log is the one that the start has sent.
fn record_bytes(store: &Path) -> Result<u64, Error> {
    let path = store.join("commitlog").join("0".repeat(20));
    let file = File::open(&path).map_err(at(&path))?;
    let mut size = [0; 4];
    file.read_exact_at(&mut size, 0).map_err(at(&path))?;
    let first = u64::from(u32::from_be_bytes(size));
    file.read_exact_at(&mut size, first).map_err(at(&path))?;
    Ok(u64::from(u32::from_be_bytes(size)))
}

/// Has the memory give up all files below a directory.
fn forget(dir: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let path = entry.map_err(at(dir))?.path();
        if path.is_dir() {
            forget(&path)?;
            continue;
        }
        let file = File::open(&path).map_err(at(&path))?;
        file.sync_all().map_err(at(&path))?;
        fadvise(&file, 0, None, Advice::DontNeed)
            .map_err(std::io::Error::from)
            .map_err(at(&path))?;
    }
    Ok(())
}

/// Reads so many bytes of the log, one file after the other; how long that takes.
fn read_through(store: &Path, bytes: u64) -> Result<Duration, Error> {
    let log = store.join("commitlog");
    let entries = fs::read_dir(&log).map_err(at(&log))?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(at(&log))?;
    paths.sort();
    let mut buffer = vec![0; READ_BYTES];
    let mut left = bytes;
    let start = Instant::now();
    for path in paths {
        let mut file = File::open(&path).map_err(at(&path))?;
        while left > 0 {
            let read = file.read(&mut buffer).map_err(at(&path))?;
            if read == 0 {
                break;
            }
            left = left.saturating_sub(read as u64);
        }
    }
    Ok(start.elapsed())
}

impl Drain {
    fn rates(&self) -> (f64, f64) {
        let mib = self.bytes as f64 / f64::from(1 << 20);
        let rate = |time: Duration| mib / time.as_secs_f64().max(1e-9);
        (rate(self.drained.elapsed), rate(self.sequential))
    }

    /// The figures as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        let (drain, sequential) = self.rates();
        json!({
            "messages": self.messages,
            "bytes": self.bytes,
            "drain_mib_per_second": drain,
            "sequential_mib_per_second": sequential,
            "ratio": drain / sequential,
            "drain": self.drained.to_json(),
            "sends_alone": self.alone.to_json(),
            "sends_beside": self.beside.to_json(),
        })
    }
}

impl fmt::Display for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (drain, sequential) = self.rates();
        writeln!(
            f,
            "drained            {} messages, {:.1} GiB, none of them in memory",
            self.messages,
            self.bytes as f64 / f64::from(1 << 30)
        )?;
        writeln!(f, "drain              {drain:.0} MiB/s")?;
        writeln!(f, "sequential read    {sequential:.0} MiB/s")?;
        writeln!(f, "ratio              {:.2}", drain / sequential)?;
        let tail = |figures: &Figures| figures.latencies.quantile(0.99).as_secs_f64() * 1e3;
        let (alone, beside) = (tail(&self.alone), tail(&self.beside));
        write!(
            f,
            "p99 of sends       {alone:.3} ms alone, {beside:.3} ms beside a drain ({:.2} ×)",
            beside / alone.max(1e-9)
        )
    }
}
