// SPDX-License-Identifier: Apache-2.0
//! `bench compare`: the same loads against several servers, in turns, and a table of the medians.

mod servers;
mod table;

use std::{
    env,
    io::Write as _,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use aerobee_remoting::Encoding;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};

use crate::{
    Error, Figures,
    args::{self, HeaderEncoding, ServerArgs, Target},
    delay::{DelayArgs, Wait},
    deliver::DeliverLoad,
    grpc::{self, GrpcReceiveArgs, ProxyArgs},
    page_cache::Filler,
    pop::PopArgs,
    process,
    pull::PullLoad,
    retry::RetryArgs,
    run::Times,
    send::SendLoad,
    steps::StepArgs,
    transact::TransactArgs,
};
pub(crate) use servers::free_ports;
use servers::{Kind, Programs, Running};

/// Options of `bench compare`.
#[derive(Debug, Clone, clap::Args)]
pub struct CompareArgs {
    /// Servers, started one after the other in each round.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "echo,aerobee,apache"
    )]
    servers: Vec<Kind>,
    /// Loads; all by default.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "LOAD",
        value_parser = PossibleValuesParser::new(ROWS.map(|row| row.key))
    )]
    load: Vec<String>,
    /// Rounds; the table has the medians, and each round begins with another server.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Folder with the jars of Apache's servers; without it Apache is left out.
    #[arg(long, value_name = "DIR")]
    apache: Option<PathBuf>,
    /// Heap of Apache's broker.
    #[arg(long, default_value = "4g")]
    apache_heap: String,
    /// The server program; this one by default.
    #[arg(long, value_name = "PROGRAM")]
    aerobee: Option<PathBuf>,
    /// Seconds of load before the first row, for compilers at run time to settle.
    #[arg(long, default_value = "20", value_parser = args::seconds, value_name = "SECONDS")]
    settle: Duration,
    /// Seconds of each load before it is measured.
    #[arg(long, default_value = "3", value_parser = args::seconds, value_name = "SECONDS")]
    warmup: Duration,
    /// Seconds of each load that are measured.
    #[arg(long, default_value = "10", value_parser = args::seconds, value_name = "SECONDS")]
    duration: Duration,
    /// Seconds without load, after as many to come to rest, to measure what an idle server uses.
    #[arg(long, default_value = "10", value_parser = args::seconds, value_name = "SECONDS")]
    idle: Duration,
    /// Messages of 128 B, and a third as many of 1 KiB, to pull.
    #[arg(long, default_value_t = 900_000)]
    preload: u64,
    /// Messages of each load that is popped, transactional, delayed or given back, or received over gRPC.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    steps: u64,
    /// Fill the page cache before each server starts, as it is on a broker that has run for hours. Otherwise a virtual
    /// machine may have to ask its host for every page of the log.
    #[arg(long)]
    full_cache: bool,
    /// Folder for the servers' data; the system's for temporary files by default.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
struct Row {
    /// On the command line.
    key: &'static str,
    /// In the table.
    name: &'static str,
    load: Load,
}

#[derive(Debug, Clone, Copy)]
enum Load {
    Send {
        size: usize,
        connections: u32,
        window: u32,
    },
    Pull {
        size: usize,
    },
    Deliver,
    Steps(Steps),
    GrpcSend,
    GrpcReceive,
}

impl Load {
    fn is_grpc(self) -> bool {
        matches!(self, Self::GrpcSend | Self::GrpcReceive)
    }
}

/// Loads whose requests follow from answers, without a warm-up: all that the server does for a number
/// of messages counts, to the end.
#[derive(Debug, Clone, Copy)]
enum Steps {
    Pop,
    Transact,
    Delay(Wait),
    Retry,
}

const ROWS: [Row; 14] = [
    send("send-128-4x64", "128 B, 4 × 64", 128, 4, 64),
    send("send-1024-4x64", "1 KiB, 4 × 64", 1024, 4, 64),
    send("send-128-64x1", "128 B, 64 × 1", 128, 64, 1),
    send("send-128-1x1", "128 B, 1 × 1", 128, 1, 1),
    Row {
        key: "pull-128",
        name: "pull 128 B by 32",
        load: Load::Pull { size: 128 },
    },
    Row {
        key: "pull-1024",
        name: "pull 1 KiB by 32",
        load: Load::Pull { size: 1024 },
    },
    Row {
        key: "deliver-128",
        name: "deliver 128 B",
        load: Load::Deliver,
    },
    steps("pop-128", "pop 128 B by 32 and acknowledge", Steps::Pop),
    steps(
        "transact-128",
        "128 B in transactions, committed",
        Steps::Transact,
    ),
    steps(
        "delay-128",
        "128 B, delayed by level 1",
        Steps::Delay(Wait::Level),
    ),
    steps(
        "timer-128",
        "128 B, delivered after 1 s",
        Steps::Delay(Wait::Time),
    ),
    steps("retry-128", "128 B, given back at level 1", Steps::Retry),
    Row {
        key: "grpc-send",
        name: "gRPC: send 128 B, 4 × 64",
        load: Load::GrpcSend,
    },
    Row {
        key: "grpc-receive",
        name: "gRPC: receive 128 B and acknowledge each",
        load: Load::GrpcReceive,
    },
];

const fn steps(key: &'static str, name: &'static str, steps: Steps) -> Row {
    Row {
        key,
        name,
        load: Load::Steps(steps),
    }
}

const fn send(
    key: &'static str,
    name: &'static str,
    size: usize,
    connections: u32,
    window: u32,
) -> Row {
    Row {
        key,
        name,
        load: Load::Send {
            size,
            connections,
            window,
        },
    }
}

/// Between a waiting pull and the send that it waits for.
const GAP: Duration = Duration::from_millis(2);

/// What one server showed in one round.
#[derive(Debug)]
struct Sample {
    server: Kind,
    start: Duration,
    idle_cpu: Duration,
    idle_bytes: u64,
    loaded_bytes: u64,
    rows: Vec<(&'static str, Figures)>,
}

impl CompareArgs {
    /// Runs everything and gives the text to print, and whether no request has failed.
    pub(crate) fn run(&self, as_json: bool) -> Result<(String, bool), Error> {
        let own = env::current_exe().map_err(Error::system("find this program"))?;
        let programs = Programs {
            aerobee: self.aerobee.clone().unwrap_or_else(|| own.clone()),
            own,
            apache: self.apache.clone(),
            apache_heap: self.apache_heap.clone(),
            folder: self.data.clone().unwrap_or_else(env::temp_dir),
        };
        let mut servers = self.servers.clone();
        if programs.apache.is_none() {
            progress(format_args!("without Apache: no --apache DIR is given"));
            servers.retain(|kind| *kind != Kind::Apache);
        }
        let mut filler = match self.full_cache {
            true => Some(Filler::new(&programs.folder).map_err(Error::system("make a file"))?),
            false => None,
        };
        let mut samples = Vec::new();
        for round in 0..self.rounds {
            for kind in &servers {
                progress(format_args!(
                    "round {} of {}: {}",
                    round + 1,
                    self.rounds,
                    kind.name()
                ));
                if let Some(filler) = &mut filler {
                    let filled = filler.fill();
                    filled.map_err(Error::system("fill the page cache"))?;
                }
                samples.push(self.sample(*kind, &programs)?);
            }
            let first = 1.min(servers.len());
            servers.rotate_left(first);
        }
        let text = if as_json {
            json!({"samples": samples.iter().map(Sample::to_json).collect::<Vec<_>>()}).to_string()
        } else {
            table::markdown(&self.rows(), &self.servers, &samples)
        };
        let mut all = samples.iter().flat_map(|sample| &sample.rows);
        Ok((text, all.all(|(_, figures)| figures.errors.is_empty())))
    }

    fn rows(&self) -> Vec<Row> {
        let wanted = |row: &Row| self.load.is_empty() || self.load.iter().any(|key| key == row.key);
        ROWS.into_iter().filter(wanted).collect()
    }

    fn sample(&self, kind: Kind, programs: &Programs) -> Result<Sample, Error> {
        let mut running = Running::start(kind, programs)?;
        let mut pids = running.pids();
        let (idle_cpu, idle_bytes) = self.idle(&pids)?;
        let mut sample = Sample {
            server: kind,
            start: running.started_in,
            idle_cpu,
            idle_bytes,
            loaded_bytes: 0,
            rows: Vec::new(),
        };
        self.settle(&running)?;
        for row in self.rows() {
            let follows =
                matches!(row.load, Load::Pull { .. } | Load::Steps(_)) || row.load.is_grpc();
            if kind == Kind::Echo && follows {
                continue;
            }
            if row.load.is_grpc() && running.start_proxy(programs)? {
                pids = running.pids();
                self.settle_proxy(&running)?;
            }
            let context = |source| Error::Load {
                load: row.name,
                server: kind.name(),
                source: Box::new(source),
            };
            let figures = self.measure(row, &running, &pids).map_err(context)?;
            progress(format_args!("{figures}"));
            sample.rows.push((row.name, figures));
        }
        sample.loaded_bytes = process::anonymous_bytes(&pids)?;
        Ok(sample)
    }

    /// CPU time and memory of a server that nobody asks anything.
    fn idle(&self, pids: &[u32]) -> Result<(Duration, u64), Error> {
        // What the start leaves to do in the background is not idleness yet.
        thread::sleep(self.idle);
        let before = process::cpu_time(pids)?;
        let start = Instant::now();
        thread::sleep(self.idle);
        let used = process::cpu_time(pids)?.saturating_sub(before);
        let per_second = used.as_secs_f64() / start.elapsed().as_secs_f64().max(1e-9);
        Ok((
            Duration::from_secs_f64(per_second),
            process::anonymous_bytes(pids)?,
        ))
    }

    fn settle(&self, running: &Running) -> Result<(), Error> {
        if self.settle.is_zero() {
            return Ok(());
        }
        let target = prepare(running, "bench-settle", 8)?;
        let times = Times {
            warmup: Duration::ZERO,
            duration: self.settle,
            count: None,
        };
        sends(&target, 128, 4, 64).measure(times, &[]).map(drop)
    }

    /// The same over gRPC, both ways.
    fn settle_proxy(&self, running: &Running) -> Result<(), Error> {
        if self.settle.is_zero() {
            return Ok(());
        }
        let times = Times {
            warmup: Duration::ZERO,
            duration: self.settle,
            count: None,
        };
        let settled = self.grpc_send(running, times, &[])?;
        if settled.errors.is_empty() {
            let count = settled.messages.clamp(1, self.steps);
            GrpcReceiveArgs::new(server(running), proxy(running), count).run()?;
        }
        Ok(())
    }

    fn grpc_send(&self, running: &Running, times: Times, pids: &[u32]) -> Result<Figures, Error> {
        let target = prepare(running, "bench-grpc", 8)?;
        grpc::send(&proxy(running), &target.topic, 128, times, pids)
    }

    fn measure(&self, row: Row, running: &Running, pids: &[u32]) -> Result<Figures, Error> {
        let times = Times {
            warmup: self.warmup,
            duration: self.duration,
            count: None,
        };
        match row.load {
            Load::Send {
                size,
                connections,
                window,
            } => {
                let target = prepare(running, "bench-send", 8)?;
                sends(&target, size, connections, window).measure(times, pids)
            }
            Load::Pull { size } => {
                let target = prepare(running, &format!("bench-pull-{size}"), 16)?;
                let load = PullLoad {
                    target: &target,
                    encoding: Encoding::Json,
                    batch: 32,
                    connections: 4,
                    window: 4,
                };
                let messages = if size > 128 {
                    self.preload / 3
                } else {
                    self.preload
                };
                load.preload(messages, size)?;
                load.measure(times, pids)
            }
            Load::Deliver => {
                let target = prepare(running, "bench-deliver", 1)?;
                let load = DeliverLoad {
                    target: &target,
                    encoding: Encoding::Json,
                    size: 128,
                    gap: GAP,
                };
                match running.kind {
                    // What a delivery is compared with: a round trip of a send, as far apart.
                    Kind::Echo => {
                        let mut figures = Figures::new("round trips to echo".to_owned());
                        figures.latencies = load.echo(&running.broker.to_string())?;
                        Ok(figures)
                    }
                    Kind::Aerobee | Kind::Apache => load.measure(times, pids),
                }
            }
            Load::Steps(steps) => self.steps(steps, running, pids),
            Load::GrpcSend => self.grpc_send(running, times, pids),
            Load::GrpcReceive => {
                let mut server = server(running);
                server.pid = pids.to_vec();
                GrpcReceiveArgs::new(server, proxy(running), self.steps).run()
            }
        }
    }
}

impl CompareArgs {
    fn steps(&self, load: Steps, running: &Running, pids: &[u32]) -> Result<Figures, Error> {
        let mut server = server(running);
        server.pid = pids.to_vec();
        let steps = StepArgs::new(server, self.steps);
        match load {
            Steps::Pop => PopArgs::new(steps).run(),
            Steps::Transact => TransactArgs::new(steps).run(),
            Steps::Delay(wait) => DelayArgs::new(steps, wait).run(),
            Steps::Retry => RetryArgs::new(steps).run(),
        }
    }
}

fn sends(target: &Target, size: usize, connections: u32, window: u32) -> SendLoad<'_> {
    SendLoad {
        target,
        keys: None,
        encoding: Encoding::Json,
        size,
        connections,
        window,
        rate: None,
        threads: 1,
    }
}

fn server(running: &Running) -> ServerArgs {
    ServerArgs {
        namesrv: running
            .namesrv
            .map_or_else(String::new, |address| address.to_string()),
        broker: match running.namesrv {
            Some(_) => None,
            None => Some(running.broker.to_string()),
        },
        pid: Vec::new(),
        encoding: HeaderEncoding::Json,
    }
}

fn proxy(running: &Running) -> ProxyArgs {
    ProxyArgs::new(running.proxy.to_string())
}

fn prepare(running: &Running, topic: &str, queues: u32) -> Result<Target, Error> {
    server(running).prepare(topic, queues)
}

impl Sample {
    fn to_json(&self) -> Value {
        let rows: serde_json::Map<_, _> = self
            .rows
            .iter()
            .map(|(name, figures)| ((*name).to_owned(), figures.to_json()))
            .collect();
        json!({
            "server": self.server.name(),
            "start_seconds": self.start.as_secs_f64(),
            "idle_cpu_share": self.idle_cpu.as_secs_f64(),
            "idle_anonymous_bytes": self.idle_bytes,
            "loaded_anonymous_bytes": self.loaded_bytes,
            "loads": rows,
        })
    }
}

/// Says what is going on, beside the result.
fn progress(text: std::fmt::Arguments<'_>) {
    // Nobody may be there to read it.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
