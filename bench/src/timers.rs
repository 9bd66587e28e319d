// SPDX-License-Identifier: Apache-2.0
//! `bench timers`: what our server uses when it is idle but for messages that wait for their time and
//! transactions that are open: nothing may look through them again and again.

use std::{
    fmt, thread,
    time::{Duration, Instant},
};

use aerobee_message::sysflag;
use aerobee_remoting::Encoding;
use rustix::process::Signal;
use serde_json::json;

use crate::{
    Error,
    args::seconds,
    control::Control,
    inflight::OPAQUE_MIN,
    own::{Own, OwnArgs},
    process,
    template::{Born, PRODUCER_GROUP, SendTemplate, Shape},
};

const TOPIC: &str = "bench-timers";
/// Messages written before their answers are read.
const BATCH: u64 = 500;

/// Options of `bench timers`.
#[derive(Debug, Clone, clap::Args)]
pub struct TimersArgs {
    #[command(flatten)]
    own: OwnArgs,
    /// Messages that wait, for an hour.
    #[arg(long, default_value_t = 100_000)]
    timers: u64,
    /// Transactions that stay open.
    #[arg(long, default_value_t = 10_000)]
    transactions: u64,
    /// Seconds that are measured, before and after.
    #[arg(long, default_value = "10", value_parser = seconds, value_name = "SECONDS")]
    duration: Duration,
    /// Seconds for the server to come to rest.
    #[arg(long, default_value = "5", value_parser = seconds, value_name = "SECONDS")]
    rest: Duration,
}

/// What `bench timers` found.
#[derive(Debug)]
pub struct Timers {
    timers: u64,
    transactions: u64,
    /// Shares of one core.
    empty: f64,
    waiting: f64,
    bytes: [u64; 2],
}

impl TimersArgs {
    /// Fills the server and watches it.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn run(&self) -> Result<Timers, Error> {
        let mut own = Own::new(&self.own)?;
        own.start(TOPIC)?;
        let pids = [own.pid()];
        let empty = self.idle(&pids)?;
        let before = process::anonymous_bytes(&pids)?;
        let mut control = Control::connect(&own.broker.to_string())?;
        fill(
            &mut control,
            self.timers,
            0,
            "TIMER_DELAY_SEC\u{1}3600\u{2}",
        )?;
        let more = format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}{PRODUCER_GROUP}\u{2}");
        let prepared = sysflag::TRANSACTION_PREPARED;
        fill(&mut control, self.transactions, prepared, &more)?;
        drop(control);
        let waiting = self.idle(&pids)?;
        let after = process::anonymous_bytes(&pids)?;
        own.stop(Signal::TERM)?;
        Ok(Timers {
            timers: self.timers,
            transactions: self.transactions,
            empty,
            waiting,
            bytes: [before, after],
        })
    }

    /// The share of a core that the server uses when nobody asks.
    fn idle(&self, pids: &[u32]) -> Result<f64, Error> {
        thread::sleep(self.rest);
        let (start, before) = (Instant::now(), process::cpu_time(pids)?);
        thread::sleep(self.duration);
        let used = process::cpu_time(pids)?.saturating_sub(before);
        Ok(used.as_secs_f64() / start.elapsed().as_secs_f64())
    }
}

fn fill(control: &mut Control, count: u64, sys_flag: i32, more: &str) -> Result<(), Error> {
    let shape = Shape {
        topic: TOPIC,
        broker_name: "broker-a",
        size: 128,
        encoding: Encoding::Json,
        keys: None,
    };
    let template = SendTemplate::with(&shape, 0, sys_flag, more)?;
    let mut sent = 0;
    while sent < count {
        let batch = BATCH.min(count - sent);
        let mut frames = Vec::new();
        for number in sent..sent + batch {
            let opaque = OPAQUE_MIN + (number - sent) as i32;
            template.append(&mut frames, opaque, &Born::now(), number);
        }
        control.exchange_all(&frames, batch as usize, "messages that wait")?;
        sent += batch;
    }
    Ok(())
}

impl Timers {
    /// The figures as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        json!({
            "timers": self.timers,
            "transactions": self.transactions,
            "idle_share_empty": self.empty,
            "idle_share_waiting": self.waiting,
            "anonymous_bytes_empty": self.bytes[0],
            "anonymous_bytes_waiting": self.bytes[1],
        })
    }
}

impl fmt::Display for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        writeln!(
            f,
            "waiting            {} timers, {} transactions",
            self.timers, self.transactions
        )?;
        writeln!(
            f,
            "idle CPU           {:.2} % of a core, {:.2} % before",
            self.waiting * 100.0,
            self.empty * 100.0
        )?;
        write!(
            f,
            "anonymous memory   {:.1} MiB, {:.1} MiB before",
            mib(self.bytes[1]),
            mib(self.bytes[0])
        )
    }
}
