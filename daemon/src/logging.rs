// SPDX-License-Identifier: Apache-2.0
//! The log of the process: one line an event, to stderr or to a file.

use std::{
    fs::OpenOptions,
    io::{self, IsTerminal},
    panic,
    path::PathBuf,
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Args;
use tracing_subscriber::EnvFilter;

use crate::StartError;

/// Flags of the log.
#[derive(Debug, Clone, Default, Args)]
pub struct LogFlags {
    /// What to log: error, warn, info, debug or trace, also for parts: info,aerobee_store=debug
    #[arg(
        long,
        value_name = "LEVEL",
        env = "AEROBEE_LOG",
        default_value = "info",
        global = true
    )]
    pub log_level: String,

    /// Append the log to a file instead of writing it to stderr
    #[arg(long, value_name = "FILE", global = true)]
    pub log_file: Option<PathBuf>,
}

/// Starts the log; call it once, before anything else of the process. Panics are logged, too.
///
/// Times are UTC. Colours appear only on a terminal, and not if `NO_COLOR` is set.
///
/// # Errors
/// The level is none, or the file cannot be opened.
pub fn start(flags: &LogFlags) -> Result<(), StartError> {
    let level = if flags.log_level.is_empty() {
        "info"
    } else {
        &flags.log_level
    };
    let filter = EnvFilter::try_new(level).map_err(|error| StartError::LogLevel {
        given: level.to_owned(),
        reason: error.to_string(),
    })?;
    let builder = tracing_subscriber::fmt().compact().with_env_filter(filter);
    let started = match &flags.log_file {
        Some(path) => {
            // Appending, so that whoever rotates the file may copy and truncate it.
            let file = OpenOptions::new().create(true).append(true).open(path);
            let file = file.map_err(|source| StartError::LogFile {
                path: path.clone(),
                source,
            })?;
            builder
                .with_ansi(false)
                .with_writer(Mutex::new(file))
                .try_init()
        }
        None => builder
            .with_ansi(colours())
            .with_writer(io::stderr)
            .try_init(),
    };
    if started.is_ok() {
        log_panics();
    }
    // Fails only if there is a log already: a test in the same process has started it.
    Ok(())
}

fn colours() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !refused
}

fn log_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        tracing::error!(%panic, "panic");
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            before(panic);
        }
    }));
}

/// Start of the gates' time.
static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A gate for events that repeat: lets one through an interval and counts the others. Used by
/// [`warn_every!`](crate::warn_every), or kept in a field.
#[derive(Debug)]
pub struct Every {
    interval_ms: u64,
    /// Milliseconds since [`BEGIN`] from when on the next event passes.
    next_ms: AtomicU64,
    withheld: AtomicU64,
}

impl Every {
    /// A gate that lets the next event through.
    #[must_use]
    pub const fn new(interval: Duration) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "intervals are far below 2^64 milliseconds, and `try_from` is not const"
        )]
        let interval_ms = interval.as_millis() as u64;
        Self {
            interval_ms,
            next_ms: AtomicU64::new(0),
            withheld: AtomicU64::new(0),
        }
    }

    /// If this event may pass: how many did not since the last one that did.
    pub fn admit(&self) -> Option<u64> {
        let elapsed = BEGIN.elapsed().as_millis();
        self.admit_at(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    fn admit_at(&self, now_ms: u64) -> Option<u64> {
        let next_ms = self.next_ms.load(Ordering::Relaxed);
        let then = now_ms.saturating_add(self.interval_ms);
        let passes = now_ms >= next_ms
            && self
                .next_ms
                .compare_exchange(next_ms, then, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if passes {
            Some(self.withheld.swap(0, Ordering::Relaxed))
        } else {
            self.withheld.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

/// A warning that appears at most once an interval, with the number of those withheld:
/// `warn_every!(Duration::from_secs(10), peer = %peer, "connection refused")`.
#[macro_export]
macro_rules! warn_every {
    ($interval:expr, $($event:tt)+) => {{
        static GATE: $crate::logging::Every = $crate::logging::Every::new($interval);
        if let Some(withheld) = GATE.admit() {
            $crate::tracing::warn!(withheld, $($event)+);
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_opens_once_an_interval() {
        let gate = Every::new(Duration::from_millis(100));
        let passed: Vec<_> = [0, 1, 99, 100, 101, 500, 500]
            .iter()
            .map(|now_ms| gate.admit_at(*now_ms))
            .collect();
        assert_eq!(passed, [Some(0), None, None, Some(2), None, Some(1), None]);
    }

    #[test]
    fn threads_share_a_gate() {
        let gate = Every::new(Duration::from_secs(600));
        let passed: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..1000).filter(|_| gate.admit().is_some()).count()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(passed, 1);
    }

    #[test]
    fn a_level_that_is_none_is_named() {
        let flags = LogFlags {
            log_level: "aerobee_store=loud".to_owned(),
            log_file: None,
        };
        let error = start(&flags).unwrap_err().to_string();
        assert!(error.contains("aerobee_store=loud"), "{error}");
        assert!(error.contains("info"), "{error}");
    }
}
