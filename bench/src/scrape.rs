// SPDX-License-Identifier: Apache-2.0
//! `bench scrape`: what a scrape of the metrics costs with many topics and groups, itself and the
//! sends beside it.

use std::{
    fmt,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use aerobee_remoting::{
    Encoding, Output, RequestCode,
    header::{Empty, offset::UpdateConsumerOffset},
};
use rustix::process::{Signal, setpriority_process};
use serde_json::json;

use crate::{
    Error, Figures, Latencies,
    args::Target,
    control::Control,
    latency::Short,
    own::{Own, OwnArgs},
    queues::{Many, WINDOW},
    run::Times,
    send::SendLoad,
};

const TOPIC: &str = "bench-first";
/// Topics that each group consumes.
const TOPICS_PER_GROUP: u32 = 10;
/// The lowest priority.
const NICE: i32 = 19;
/// Longest wait for a scrape.
const PATIENCE: Duration = Duration::from_secs(60);

/// Options of `bench scrape`.
#[derive(Debug, Clone, clap::Args)]
pub struct ScrapeArgs {
    #[command(flatten)]
    own: OwnArgs,
    /// Topics, with a message each.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    topics: u32,
    /// Consumer groups, each behind in ten topics.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    groups: u32,
    /// Sends per second beside the scrapes.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
    /// Seconds that sends are measured, once without scrapes and once with them.
    #[arg(long, default_value = "20", value_parser = crate::args::seconds, value_name = "SECONDS")]
    duration: Duration,
    /// Seconds from one scrape to the next.
    #[arg(long, default_value = "2", value_parser = crate::args::seconds, value_name = "SECONDS")]
    every: Duration,
}

/// What `bench scrape` found.
#[derive(Debug)]
pub struct Scrape {
    bytes: usize,
    samples: usize,
    scrapes: Latencies,
    alone: Figures,
    scraped: Figures,
}

impl ScrapeArgs {
    /// Fills a server, measures sends without and with scrapes beside them.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn run(&self) -> Result<Scrape, Error> {
        let mut own = Own::new(&self.own)?.with_http();
        own.start(TOPIC)?;
        let http = own.http_port()?;
        let many = Many {
            topics: self.topics,
            queues: 1,
        };
        many.create(&own)?;
        many.send_to_each(&own)?;
        self.commit(&own)?;
        let alone = self.sends(&own)?;
        let ended = AtomicBool::new(false);
        let (scraped, scrapes) = thread::scope(|scope| {
            let scraper = scope.spawn(|| scrape_until(http, self.every, &ended));
            let scraped = self.sends(&own);
            ended.store(true, Ordering::Release);
            let scrapes = scraper
                .join()
                .unwrap_or_else(|_| Err(Error::system("scrape")(std::io::ErrorKind::Other.into())));
            (scraped, scrapes)
        });
        let (scrapes, text) = scrapes?;
        own.stop(Signal::TERM)?;
        Ok(Scrape {
            bytes: text.len(),
            samples: text.lines().filter(|line| !line.starts_with('#')).count(),
            scrapes,
            alone,
            scraped: scraped?,
        })
    }

    /// Makes the groups and has each commit the start of its topics.
    fn commit(&self, own: &Own) -> Result<(), Error> {
        let mut control = Control::connect(&own.broker.to_string())?;
        let (mut output, mut count) = (Output::default(), 0);
        for number in 0..self.groups {
            let group = format!("bench-group-{number}");
            let config = json!({ "groupName": group }).to_string();
            let code = RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
            count += 1;
            output.request(
                Encoding::Json,
                code,
                count,
                false,
                &Empty,
                config.as_bytes(),
            );
            for at in 0..TOPICS_PER_GROUP {
                let topic = Many::name((number * TOPICS_PER_GROUP + at) % self.topics);
                let header = UpdateConsumerOffset {
                    consumer_group: &group,
                    topic: &topic,
                    queue_id: Some(0),
                    commit_offset: Some(0),
                };
                let code = RequestCode::UPDATE_CONSUMER_OFFSET;
                count += 1;
                output.request(Encoding::Json, code, count, false, &header, &[]);
            }
            let full = usize::try_from(count).unwrap_or(0) >= WINDOW;
            if full || number + 1 == self.groups {
                let answers = usize::try_from(count).unwrap_or(0);
                control.exchange_all(output.bytes(), answers, "a group and its offsets")?;
                (output, count) = (Output::default(), 0);
            }
        }
        Ok(())
    }

    fn sends(&self, own: &Own) -> Result<Figures, Error> {
        let target = Target {
            address: own.broker,
            broker_name: "broker-a".to_owned(),
            topic: TOPIC.to_owned(),
            queues: 1,
        };
        let load = SendLoad {
            target: &target,
            keys: None,
            encoding: Encoding::Json,
            size: 128,
            connections: 4,
            window: 64,
            rate: Some(self.rate),
            threads: 1,
        };
        let times = Times {
            warmup: Duration::from_secs(2),
            duration: self.duration,
            count: None,
        };
        load.measure(times, &[own.pid()])
    }
}

/// Scrapes until told to end: how long each took, and the last text.
fn scrape_until(
    port: u16,
    every: Duration,
    ended: &AtomicBool,
) -> Result<(Latencies, String), Error> {
    // Prometheus reads on another machine: what that costs is not to be taken from the sends. Where
    // it is not allowed, it counts.
    let _ = setpriority_process(None, NICE);
    let mut latencies = Latencies::default();
    let mut text = String::new();
    loop {
        let start = Instant::now();
        text = scrape(port, text)?;
        latencies.record(start.elapsed());
        while start.elapsed() < every {
            if ended.load(Ordering::Acquire) {
                return Ok((latencies, text));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn scrape(port: u16, mut text: String) -> Result<String, Error> {
    let broken = |source| Error::Broken {
        address: format!("127.0.0.1:{port}"),
        source,
    };
    text.clear();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(broken)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(broken)?;
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).map_err(broken)?;
    stream.read_to_string(&mut text).map_err(broken)?;
    if text.starts_with("HTTP/1.1 200") {
        Ok(text)
    } else {
        Err(broken(std::io::ErrorKind::InvalidData.into()))
    }
}

impl Scrape {
    /// The figures as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        json!({
            "samples": self.samples,
            "bytes": self.bytes,
            "scrape": self.scrapes.to_json(),
            "sends_without_scrapes": self.alone.to_json(),
            "sends_with_scrapes": self.scraped.to_json(),
        })
    }
}

impl fmt::Display for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |latencies: &Latencies, quantile| Short(latencies.quantile(quantile)).to_string();
        writeln!(
            f,
            "scrape                     {} samples, {} KiB, {} times: p50 {}, max {}",
            self.samples,
            self.bytes >> 10,
            self.scrapes.count(),
            at(&self.scrapes, 0.5),
            at(&self.scrapes, 1.0)
        )?;
        for (name, figures) in [
            ("sends without scrapes", &self.alone),
            ("sends with scrapes", &self.scraped),
        ] {
            let latencies = &figures.latencies;
            writeln!(
                f,
                "{name:<26} p50 {}, p99 {}, p99.9 {}, max {}",
                at(latencies, 0.5),
                at(latencies, 0.99),
                at(latencies, 0.999),
                at(latencies, 1.0)
            )?;
        }
        Ok(())
    }
}
