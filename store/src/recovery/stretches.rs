// SPDX-License-Identifier: Apache-2.0
//! The log in stretches for recovery: one thread reads and checks, the other makes queue entries of what it was handed.

use std::{
    io,
    sync::mpsc::{self, Receiver, Sender, SyncSender},
    thread::{self, Scope},
};

use crate::{
    env::Env,
    error::OpenError,
    files::Files,
    scan::{Scanner, Stretch},
};

/// Stretches that are read before somebody takes them.
const AHEAD: usize = 3;

/// Stretches of the log, one after the other.
pub(super) enum Stretches<'a> {
    /// Read when they are asked for: what is done to the disk has one order, that a simulation can repeat.
    Inline(Scanner<'a>, i64),
    /// Read ahead by a thread.
    Ahead {
        read: Receiver<Result<Stretch, OpenError>>,
        /// Used ones, whose memory is used again.
        used: Sender<Stretch>,
    },
}

impl<'a> Stretches<'a> {
    /// The stretches from the start of a record on. The thread ends with the last one, or when this is dropped.
    pub(super) fn begin<'scope>(
        scope: &'scope Scope<'scope, 'a>,
        env: &'a Env,
        log: &'a Files,
        start: i64,
    ) -> Result<Stretches<'a>, OpenError> {
        let scanner = Scanner::new(env, log);
        if env.takes_turns() {
            return Ok(Stretches::Inline(scanner, start));
        }
        let (hand_over, read) = mpsc::sync_channel(AHEAD);
        let (used, spares) = mpsc::channel();
        thread::Builder::new()
            .name("store-recovery".to_owned())
            .spawn_scoped(scope, move || {
                read_ahead(scanner, start, &hand_over, &spares);
            })
            .map_err(OpenError::io("start a thread for", log.dir()))?;
        Ok(Stretches::Ahead { read, used })
    }

    /// The next stretch; not to be called after one at whose end the log ends. `spare`: one that was used.
    pub(super) fn next(&mut self, spare: Stretch) -> Result<Stretch, OpenError> {
        match self {
            Stretches::Inline(scanner, at) => {
                let stretch = scanner.stretch(*at, spare)?;
                *at = stretch.end();
                Ok(stretch)
            }
            Stretches::Ahead { read, used } => {
                // The reader may have ended already: then nobody needs it.
                let _ = used.send(spare);
                read.recv().unwrap_or_else(|_| {
                    let ended = io::Error::other("the thread that reads it has ended");
                    Err(OpenError::io("read", "the log")(ended))
                })
            }
        }
    }
}

fn read_ahead(
    mut scanner: Scanner<'_>,
    start: i64,
    hand_over: &SyncSender<Result<Stretch, OpenError>>,
    spares: &Receiver<Stretch>,
) {
    let mut at = start;
    loop {
        let stretch = scanner.stretch(at, spares.try_recv().unwrap_or_default());
        let goes_on = stretch.as_ref().is_ok_and(Stretch::goes_on);
        if let Ok(stretch) = &stretch {
            at = stretch.end();
        }
        if hand_over.send(stretch).is_err() || !goes_on {
            return;
        }
    }
}
