// SPDX-License-Identifier: Apache-2.0
//! The process as the system sees it, under the names that Prometheus' own libraries use.

use std::{fs, time::SystemTime};

use aerobee_daemon::exposition::{Exposition, Metric};
use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

const CPU: Metric = Metric::counter(
    "process_cpu_seconds_total",
    "Processor time of the process.",
);
const RESIDENT: Metric = Metric::gauge("process_resident_memory_bytes", "Memory in use.");
const VIRTUAL: Metric = Metric::gauge("process_virtual_memory_bytes", "Address space in use.");
const THREADS: Metric = Metric::gauge("process_threads", "Threads.");
const START: Metric = Metric::gauge(
    "process_start_time_seconds",
    "When the process was started, seconds since 1970.",
);
const OPEN_FILES: Metric = Metric::gauge("process_open_fds", "Open files and connections.");
const MAX_FILES: Metric = Metric::gauge("process_max_fds", "Most open files and connections.");

/// All of them.
#[cfg(test)]
pub(super) const ALL: &[Metric] = &[
    CPU, RESIDENT, VIRTUAL, THREADS, START, OPEN_FILES, MAX_FILES,
];

/// What `/proc/self/stat` tells, in the system's units.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

pub(super) fn write(out: &mut Exposition) {
    let stat = fs::read_to_string("/proc/self/stat").ok();
    if let Some(stat) = stat.as_deref().and_then(parse) {
        #[expect(clippy::cast_precision_loss, reason = "seconds for people to read")]
        let seconds = |ticks: u64| ticks as f64 / clock_ticks_per_second() as f64;
        out.single(&CPU, seconds(stat.cpu_ticks));
        let page = u64::try_from(page_size()).unwrap_or(4096);
        out.single(&RESIDENT, stat.resident_pages.saturating_mul(page));
        out.single(&VIRTUAL, stat.virtual_bytes);
        out.single(&THREADS, stat.threads);
        if let Some(booted) = booted() {
            out.single(&START, booted + seconds(stat.start_ticks));
        }
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        // The one that counts is open as well.
        out.single(&OPEN_FILES, files.count().saturating_sub(1));
    }
    if let Some(limit) = getrlimit(Resource::Nofile).current {
        out.single(&MAX_FILES, limit);
    }
}

/// When the system was started, seconds since 1970.
fn booted() -> Option<f64> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split(' ').next()?.parse().ok()?;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()?;
    Some(now.as_secs_f64() - uptime)
}

/// Reads the text: the name of the program, in brackets, may hold anything.
fn parse(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // Numbers of the manual, less the two before the bracket's end and one as they count from one.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Stat {
        cpu_ticks: field(14)? + field(15)?,
        threads: field(20)?,
        start_ticks: field(22)?,
        virtual_bytes: field(23)?,
        resident_pages: field(24)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_text_is_read() {
        let text = "7 (a b) c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 9 0 12345 4096000 321 184467 1 1 0";
        let expected = Stat {
            cpu_ticks: 300,
            threads: 9,
            start_ticks: 12_345,
            virtual_bytes: 4_096_000,
            resident_pages: 321,
        };
        assert_eq!(parse(text), Some(expected));
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn the_process_tells_of_itself() {
        let mut out = Exposition::default();
        write(&mut out);
        let text = out.into_text();
        for metric in ALL {
            assert!(text.contains(&format!("\n{} ", metric.name)), "{text}");
        }
    }
}
