// SPDX-License-Identifier: Apache-2.0
//! A file system whose syncs of the log wait, or fail, as a test says.

use std::{
    io,
    path::Path,
    sync::{Arc, Condvar, Mutex},
};

use aerobee_store::{Clock, Env, Faults, Operation};

/// What becomes of syncs of the log.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syncs {
    #[default]
    Pass,
    Wait,
    Fail,
}

/// Decides it.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    syncs: Mutex<Syncs>,
    changed: Condvar,
}

impl Gate {
    pub(crate) fn set(&self, syncs: Syncs) {
        *self.syncs.lock().unwrap() = syncs;
        self.changed.notify_all();
    }

    /// The file system.
    pub(crate) fn env(self: &Arc<Self>) -> Env {
        let faults: Arc<dyn Faults> = Arc::<Self>::clone(self);
        Env::with(faults, Clock::system())
    }
}

impl Faults for Gate {
    fn before(&self, operation: Operation, path: &Path) -> io::Result<()> {
        let is_log = path
            .components()
            .any(|part| part.as_os_str() == "commitlog");
        if operation != Operation::Sync || !is_log {
            return Ok(());
        }
        let syncs = self.syncs.lock().unwrap();
        let waits = |syncs: &mut Syncs| *syncs == Syncs::Wait;
        match *self.changed.wait_while(syncs, waits).unwrap() {
            Syncs::Fail => Err(io::ErrorKind::Other.into()),
            Syncs::Pass | Syncs::Wait => Ok(()),
        }
    }
}

/// Opens the gate however the test ends: the broker's end waits for its threads.
pub(crate) struct Opens(pub(crate) Arc<Gate>);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.set(Syncs::Pass);
    }
}
