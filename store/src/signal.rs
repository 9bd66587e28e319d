// SPDX-License-Identifier: Apache-2.0
//! What a background thread sleeps on, here and in the broker.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

#[derive(Debug, Default)]
struct State {
    kicked: bool,
    stopped: bool,
}

/// A sleep of one thread that others can end. Kicks while it is awake are remembered, once.
#[derive(Debug, Default)]
pub struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Something is to do.
    Kicked,
    /// The time is over.
    TimedOut,
    /// The thread shall end.
    Stopped,
}

impl Signal {
    /// There is something to do.
    pub fn kick(&self) {
        self.state.lock().kicked = true;
        self.changed.notify_one();
    }

    /// The thread shall end.
    pub fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Whether the thread shall end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.state.lock().stopped
    }

    /// Sleeps until a kick, the end, or the time; without a time until one of the others.
    pub fn wait(&self, timeout: Option<Duration>) -> Wake {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut state = self.state.lock();
        loop {
            if state.stopped {
                return Wake::Stopped;
            }
            if std::mem::take(&mut state.kicked) {
                return Wake::Kicked;
            }
            match deadline {
                None => self.changed.wait(&mut state),
                Some(deadline) => {
                    let late = self.changed.wait_until(&mut state, deadline).timed_out();
                    if late && !state.stopped && !state.kicked {
                        return Wake::TimedOut;
                    }
                }
            }
        }
    }
}
