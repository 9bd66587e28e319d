// SPDX-License-Identifier: Apache-2.0
//! The request to end the process.
//!
//! The first SIGTERM or SIGINT asks for it: whoever holds the token stops accepting, finishes what it
//! began and makes it durable. A second one, or too long a drain, ends the process at once; the next
//! start then recovers as after a crash. SIGHUP has the log file opened anew, and ends nothing, so that
//! a server outlives the terminal that started it. SIGPIPE is ignored by Rust's runtime: a peer that is gone is an error of its
//! connection alone.

use std::{
    io,
    process::exit,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::sleep,
};

use crate::logging;

/// Longest drain of a server that is asked to end.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// Exit code after a drain that took too long.
const EXIT_DRAIN_TOO_LONG: i32 = 1;

/// A token that says whether the process is asked to end. Clones share one request.
#[derive(Debug, Clone)]
pub struct Shutdown {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// For tasks.
    requested: watch::Sender<bool>,
    /// For threads: written with `requested`, read by those that wait for `changed`.
    for_threads: Mutex<bool>,
    changed: Condvar,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A token that only [`Shutdown::request`] sets.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                requested: watch::Sender::new(false),
                for_threads: Mutex::new(false),
                changed: Condvar::new(),
            }),
        }
    }

    /// A token that SIGTERM and SIGINT set, too. A second signal ends the process with 128 and the
    /// number of the signal, a drain of more than `drain_limit` ends it with 1.
    ///
    /// Signals are taken by a thread of their own, so that a runtime that is stuck cannot hinder the
    /// end. Call it once, before the roles start.
    ///
    /// # Errors
    /// The handlers cannot be installed or the thread cannot be started.
    pub fn on_signals(drain_limit: Duration) -> io::Result<Self> {
        let shutdown = Self::new();
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let signals = {
            let _entered = runtime.enter();
            Signals {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                // With a handler of ours the default, to end, is gone.
                hang_up: signal(SignalKind::hangup())?,
            }
        };
        let token = shutdown.clone();
        thread::Builder::new()
            .name("signals".to_owned())
            .stack_size(256 << 10)
            .spawn(move || runtime.block_on(watch_signals(signals, token, drain_limit)))?;
        Ok(shutdown)
    }

    /// Asks the process to end.
    pub fn request(&self) {
        let mut requested = self
            .shared
            .for_threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *requested = true;
        self.shared.requested.send_replace(true);
        self.shared.changed.notify_all();
    }

    /// Whether the process is asked to end.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.shared.requested.borrow()
    }

    /// Returns when the process is asked to end. May be dropped and called again.
    pub async fn requested(&self) {
        // Fails only when the sender is gone, which `self` holds.
        let _ = self.subscribe().wait_for(|requested| *requested).await;
    }

    /// A view for loops that select.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<bool> {
        self.shared.requested.subscribe()
    }

    /// For threads: sleeps for `pause` or until the process is asked to end, and says whether it is.
    #[must_use]
    pub fn wait_timeout(&self, pause: Duration) -> bool {
        let deadline = Instant::now() + pause;
        let mut requested = self
            .shared
            .for_threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while !*requested {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            requested = self
                .shared
                .changed
                .wait_timeout(requested, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// The next signal that asks for the end: its name, and the exit code if it ends the process.
    async fn next(&mut self) -> (&'static str, i32) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {
                    return ("SIGTERM", 128 + SignalKind::terminate().as_raw_value());
                }
                _ = self.interrupt.recv() => {
                    return ("SIGINT", 128 + SignalKind::interrupt().as_raw_value());
                }
                _ = self.hang_up.recv() => logging::reopen(),
            }
        }
    }
}

/// Runs until the process ends.
async fn watch_signals(mut signals: Signals, shutdown: Shutdown, drain_limit: Duration) {
    let mut requested = shutdown.subscribe();
    tokio::select! {
        (name, _) = signals.next() => {
            shutdown.request();
            tracing::info!(signal = name, "ending; a second signal ends at once");
        }
        _ = requested.wait_for(|requested| *requested) => {}
    }
    tokio::select! {
        // No log line before the exit: a log that blocks may be why there is a second signal.
        (_, code) = signals.next() => exit(code),
        () = sleep(drain_limit) => {
            tracing::error!(?drain_limit, "the drain took too long; ending without it");
            exit(EXIT_DRAIN_TOO_LONG);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_reaches_tasks_and_threads() {
        let shutdown = Shutdown::new();
        assert!(!shutdown.is_requested());
        assert!(!shutdown.wait_timeout(Duration::ZERO));
        let task = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.requested().await }
        });
        let thread = thread::spawn({
            let shutdown = shutdown.clone();
            move || shutdown.wait_timeout(Duration::from_secs(600))
        });
        shutdown.request();
        task.await.unwrap();
        assert!(thread.join().unwrap());
        assert!(shutdown.is_requested());
        shutdown.requested().await;
        assert!(shutdown.wait_timeout(Duration::from_secs(600)));
    }
}
