// SPDX-License-Identifier: Apache-2.0
//! What a thread of the broker sleeps on.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

#[derive(Debug, Default)]
struct State {
    kicked: bool,
    stopped: bool,
}

/// Why a sleep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    Kicked,
    TimedOut,
    Stopped,
}

/// A sleep of one thread that others can end. Kicks while it is awake are remembered, once.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    state: Mutex<State>,
    changed: Condvar,
}

impl Pulse {
    /// There is something to do.
    pub(crate) fn kick(&self) {
        self.state.lock().kicked = true;
        self.changed.notify_one();
    }

    /// The thread shall end.
    pub(crate) fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.state.lock().stopped
    }

    /// Sleeps until a kick, the end, or the time.
    pub(crate) fn wait(&self, time: Duration) -> Wake {
        let deadline = Instant::now() + time;
        let mut state = self.state.lock();
        loop {
            if state.stopped {
                return Wake::Stopped;
            }
            if std::mem::take(&mut state.kicked) {
                return Wake::Kicked;
            }
            let late = self.changed.wait_until(&mut state, deadline).timed_out();
            if late && !state.stopped && !state.kicked {
                return Wake::TimedOut;
            }
        }
    }
}
