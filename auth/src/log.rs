// SPDX-License-Identifier: Apache-2.0
//! The lines of the log that tell who was kept out. Strangers can cause any number of them, so a second
//! has a few, and the next one tells how many were left out.

use std::{
    fmt,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

/// Most lines of a second.
const LINES_MAX: u64 = 20;

/// Writes the lines.
#[derive(Debug)]
pub(crate) struct Log {
    start: Instant,
    /// The second that is counted, and the lines of it: 32 bits each.
    window: AtomicU64,
    left_out: AtomicU64,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            window: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
        }
    }
}

impl Log {
    /// Somebody was refused. Names are told, signatures and keys are not.
    #[cold]
    pub(crate) fn refused(
        &self,
        user: &str,
        what: impl fmt::Display,
        peer: Option<SocketAddr>,
        reason: &str,
    ) {
        let Some(left_out) = self.line() else {
            return;
        };
        tracing::warn!(
            target: "aerobee::auth",
            peer = peer.map(tracing::field::display),
            user = ?user,
            request = %what,
            reason = ?reason,
            left_out = (left_out > 0).then_some(left_out),
            "request refused"
        );
    }

    /// Whether there may be one more line; with it the number of those that there was no room for.
    fn line(&self) -> Option<u64> {
        let second = self.start.elapsed().as_secs();
        let count = |window: u64| {
            let lines = if window >> 32 == second {
                window & u64::from(u32::MAX)
            } else {
                0
            };
            (lines < LINES_MAX).then_some(second << 32 | (lines + 1))
        };
        let counted = self
            .window
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, count);
        if counted.is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.left_out.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_has_a_few_lines_and_is_counted() {
        let log = Log::default();
        let lines = (0..10_000).filter(|_| log.line().is_some()).count();
        // The flood may reach into a second or two more.
        assert!(lines >= LINES_MAX as usize && lines < 5_000, "{lines}");
        assert!(log.left_out.load(Ordering::Relaxed) > 0);
    }
}
