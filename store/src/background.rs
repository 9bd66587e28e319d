// SPDX-License-Identifier: Apache-2.0
//! The store's own threads. Each does its work in turns and sleeps between them, so that a simulation can take the
//! turns itself, one at a time and in any order, and nothing depends on the operating system's choice.

use std::{io, sync::Arc, thread, time::Duration};

use parking_lot::Mutex;

use crate::{
    flush::Flusher,
    index::Indexer,
    keeper::Keeper,
    prepare::Preparer,
    retention::Cleaner,
    signal::{Signal, Wake},
    store::{Inner, Store},
};

/// One of the threads of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// Makes the log durable.
    Flusher,
    /// Makes queues durable and writes the checkpoint.
    Keeper,
    /// Makes files of the log ahead.
    Preparer,
    /// Enters keys into the index.
    Indexer,
    /// Removes old files.
    Cleaner,
    /// Reads that may wait for the disk.
    Reader,
}

/// What is to come after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// There may be more to do at once.
    Again,
    /// Nothing to do until somebody wakes the thread, or this time has passed.
    Wait(Option<Duration>),
}

/// The work of one thread.
pub(crate) trait Work: Send {
    /// Does what there is to do now.
    fn turn(&mut self, inner: &Inner) -> Turn;
}

/// The threads of a store, or the work that they would do.
#[derive(Default)]
pub(crate) struct Background {
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
    stepped: Mutex<Vec<(Task, Box<dyn Work>)>>,
}

/// The work of all threads, with what wakes them.
fn works(inner: &Inner) -> Vec<(Task, &'static str, Box<dyn Work>)> {
    vec![
        (Task::Flusher, "store-flusher", Box::<Flusher>::default()),
        (Task::Keeper, "store-keeper", Box::new(Keeper::new(inner))),
        (
            Task::Preparer,
            "store-preparer",
            Box::new(Preparer::new(inner)),
        ),
        (Task::Indexer, "store-indexer", Box::<Indexer>::default()),
        (Task::Cleaner, "store-cleaner", Box::<Cleaner>::default()),
    ]
}

fn signal_of(inner: &Inner, task: Task) -> Option<&Signal> {
    match task {
        Task::Flusher => Some(&inner.flush_signal),
        Task::Keeper => Some(&inner.keep_signal),
        Task::Indexer => Some(&inner.index.signal),
        Task::Preparer => Some(&inner.shared.prepare_signal),
        Task::Cleaner => Some(&inner.cleaning.signal),
        Task::Reader => None,
    }
}

/// Takes turns until the end.
fn run(inner: &Inner, work: &mut dyn Work, signal: &Signal) {
    loop {
        match work.turn(inner) {
            Turn::Again => {
                if signal.is_stopped() {
                    return;
                }
            }
            Turn::Wait(timeout) => {
                if signal.wait(timeout) == Wake::Stopped {
                    return;
                }
            }
        }
    }
}

impl Background {
    /// Starts the threads; where the environment takes the turns itself, only gets ready for that.
    pub(crate) fn start(&self, store: &Arc<Store>) -> io::Result<()> {
        let inner = &store.inner;
        if inner.env.takes_turns() {
            let works = works(inner).into_iter();
            *self.stepped.lock() = works.map(|(task, _, work)| (task, work)).collect();
            return Ok(());
        }
        let mut threads = self.threads.lock();
        for number in 0..inner.config.cold_readers.max(1) {
            let (inner, me) = (Arc::clone(inner), Arc::downgrade(store));
            let thread = thread::Builder::new().name(format!("store-reader-{number}"));
            threads.push(thread.spawn(move || inner.readers.run(&me))?);
        }
        for (task, name, mut work) in works(inner) {
            let inner = Arc::clone(inner);
            let thread = thread::Builder::new().name(name.to_owned());
            threads.push(thread.spawn(move || {
                if let Some(signal) = signal_of(&inner, task) {
                    run(&inner, &mut *work, signal);
                }
            })?);
        }
        Ok(())
    }

    /// Ends the threads and waits for that.
    pub(crate) fn stop(&self, inner: &Inner) {
        for signal in [
            &inner.flush_signal,
            &inner.keep_signal,
            &inner.index.signal,
            &inner.shared.prepare_signal,
            &inner.cleaning.signal,
        ] {
            signal.stop();
        }
        inner.readers.stop();
        for thread in self.threads.lock().drain(..) {
            // A reader's job may be what drops the last handle: a thread does not wait for itself.
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                tracing::error!("a thread of the store has panicked");
            }
        }
        self.stepped.lock().clear();
    }

    fn step(&self, inner: &Inner, task: Task) -> Option<Turn> {
        let mut works = self.stepped.lock();
        let (_, work) = works.iter_mut().find(|(known, _)| *known == task)?;
        Some(work.turn(inner))
    }
}

impl Store {
    /// Takes one turn of one of the store's threads, in an environment that takes the turns itself ([`crate::Env::stepped`]);
    /// `None` where the thread runs by itself or the store is closed.
    pub fn step(&self, task: Task) -> Option<Turn> {
        if task == Task::Reader {
            return self.inner.env.takes_turns().then(|| {
                if self.inner.readers.run_one(self) {
                    Turn::Again
                } else {
                    Turn::Wait(None)
                }
            });
        }
        self.background.step(&self.inner, task)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Config, Env, Store};

    #[test]
    fn threads_have_names() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(Config::new(dir.path()), Env::real()).unwrap();
        let names: Vec<String> = {
            let threads = store.background.threads.lock();
            let names = threads.iter().filter_map(|thread| thread.thread().name());
            names.map(str::to_owned).collect()
        };
        assert_eq!(names.len(), 7);
        // The kernel keeps fifteen bytes of a name.
        assert!(
            names
                .iter()
                .all(|name| name.starts_with("store-") && name.len() <= 15),
            "{names:?}"
        );
        store.close().unwrap();
    }
}
