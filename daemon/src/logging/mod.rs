// SPDX-License-Identifier: Apache-2.0
//! The log of the process: one line an event, to stderr, stdout or a file, as text or as JSON.

mod level;
mod rotate;

use std::{
    io::{self, IsTerminal},
    panic,
    path::PathBuf,
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use tracing_subscriber::{
    Layer, fmt::MakeWriter, layer::SubscriberExt as _, registry::LookupSpan, reload,
    util::SubscriberInitExt as _,
};

pub use self::level::{Levels, NoLevel, set_levels};
pub(crate) use self::rotate::reopen;
use self::rotate::{Rotating, Rule};
use crate::StartError;

/// The form of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: time, level, part, message, key=value
    #[default]
    Text,
    /// For machines: one JSON object a line
    Json,
}

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

    /// Append the log to a file instead of writing it to stderr; - is stdout. SIGHUP opens it anew
    #[arg(long, value_name = "FILE", global = true)]
    pub log_file: Option<PathBuf>,

    /// Form of the lines
    #[arg(
        long,
        value_name = "FORM",
        value_enum,
        default_value = "text",
        global = true
    )]
    pub log_format: Format,

    /// Put the log file aside when it would exceed so many MiB; 0 lets it grow
    #[arg(long, value_name = "MIB", default_value_t = 0, global = true)]
    pub log_file_size: u32,

    /// Files put aside that are kept, as FILE.1, FILE.2 and so on
    #[arg(long, value_name = "COUNT", default_value_t = 10, global = true)]
    pub log_files: u32,
}

/// Starts the log; call it once, before anything else of the process. Panics are logged, too.
///
/// Times are UTC. Colours appear only on a terminal, and not if `NO_COLOR` is set.
///
/// # Errors
/// The level is none, or the file cannot be opened.
pub fn start(flags: &LogFlags) -> Result<(), StartError> {
    let level = match flags.log_level.as_str() {
        "" => "info",
        level => level,
    };
    let bad = |reason: &dyn std::fmt::Display| StartError::LogLevel {
        given: level.to_owned(),
        reason: reason.to_string(),
    };
    let levels: Levels = level.parse().map_err(|error| bad(&error))?;
    let filter = levels
        .filter()
        .ok_or_else(|| bad(&"it is not understood"))?;
    let (filter, handle) = reload::Layer::new(filter);
    let lines = match flags.log_file.as_deref() {
        None => lines(flags.log_format, colours(&io::stderr()), io::stderr),
        Some(path) if path.as_os_str() == "-" => {
            lines(flags.log_format, colours(&io::stdout()), io::stdout)
        }
        Some(path) => {
            let rule = Rule {
                bytes: u64::from(flags.log_file_size) << 20,
                keep: flags.log_files,
            };
            let file = Rotating::open(path, rule).map_err(|source| StartError::LogFile {
                path: path.to_owned(),
                source,
            })?;
            // Each event comes as one write.
            lines(flags.log_format, false, Mutex::new(file))
        }
    };
    let started = tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init();
    if started.is_ok() {
        level::keep(handle);
        log_panics();
    }
    // Fails only if there is a log already: a test in the same process has started it.
    Ok(())
}

fn lines<S, W>(format: Format, ansi: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(ansi)
        .with_writer(writer);
    match format {
        Format::Text => layer.compact().boxed(),
        Format::Json => layer
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
    }
}

fn colours(stream: &impl IsTerminal) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !refused
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
            ..LogFlags::default()
        };
        let error = start(&flags).unwrap_err().to_string();
        assert!(error.contains("aerobee_store=loud"), "{error}");
        assert!(error.contains("info"), "{error}");
    }
}
