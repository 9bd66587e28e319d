// SPDX-License-Identifier: Apache-2.0
//! A table in memory kept in step with its file: every change gets a generation, one task writes
//! snapshots, and whoever has to answer for a change waits until its generation is on the disk.
//!
//! Changes that come while a snapshot is being written share the next one, so a burst of a thousand
//! creations costs a few writes. Apache: `ConfigManager.persist`, which writes once a change.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aerobee_daemon::persist;
use aerobee_remoting::body::DataVersion;
use aerobee_store::{Flushed, Store};
use tokio::{
    sync::{Notify, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

/// First pause after a write that failed; doubled up to [`RETRY_PAUSE_MAX`].
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(500);
/// Longest pause between two attempts to write.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Counts the changes of a table: a file of generation n holds the first n changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(u64);

/// Counts a change in the version of a table; brokers and name servers compare versions.
pub fn count_change(version: &mut DataVersion) {
    // A clock before 1970 is as good as 1970: the counter tells versions apart.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    *version = version.next(version.state_version, now);
}

/// Why a change is not known to be on the disk.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PersistError {
    /// The file could not be written. The change stays in memory and is written with a later
    /// attempt, but whoever asked for it must not be told that it is durable.
    #[error("cannot write {}: {cause}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What failed.
        #[source]
        cause: Arc<persist::Error>,
    },
    /// The broker is stopping and writes no more.
    #[error("{} is no longer written: the broker is stopping", path.display())]
    Closed {
        /// The file.
        path: PathBuf,
    },
    /// The log is not durable up to what the file would claim, so it is not written yet.
    #[error("{} is not written: the log is not durable ({outcome:?}), look after its disk", path.display())]
    Ahead {
        /// The file.
        path: PathBuf,
        /// What became of the log's sync.
        outcome: Flushed,
    },
}

/// The file of a table. Dropped without [`Persisted::close`] it ends as in a crash: what was not yet
/// written is lost.
pub struct Persisted {
    shared: Arc<Shared>,
    writer: JoinHandle<()>,
}

struct Shared {
    path: PathBuf,
    /// Runs on a thread that may block; it sees at least the changes counted before it is called.
    snapshot: Box<dyn Fn() -> Vec<u8> + Send + Sync>,
    /// Whose log has to be durable up to its end of after the snapshot before that is written.
    behind: Option<Arc<Store>>,
    /// Changes so far; the owner of the table adds, after it changed the table.
    changed: AtomicU64,
    closing: AtomicBool,
    /// There is a change to write, or the end.
    wake: Notify,
    progress: watch::Sender<Progress>,
}

#[derive(Debug, Clone, Default)]
struct Progress {
    written: u64,
    /// The last attempt when it failed, and up to which change it went.
    failed: Option<(u64, PersistError)>,
    ended: bool,
}

impl Persisted {
    /// Keeps `path` in step with the table that `snapshot` encodes. Needs a running runtime.
    pub fn new(path: PathBuf, snapshot: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::behind(path, snapshot, None)
    }

    /// The same for a table that speaks of what is in a log: the file never claims what a power cut
    /// could take back from the log.
    pub fn behind(
        path: PathBuf,
        snapshot: impl Fn() -> Vec<u8> + Send + Sync + 'static,
        store: Option<Arc<Store>>,
    ) -> Self {
        let shared = Arc::new(Shared {
            path,
            snapshot: Box::new(snapshot),
            behind: store,
            changed: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            wake: Notify::new(),
            progress: watch::Sender::default(),
        });
        let writer = tokio::spawn(write_changes(Arc::clone(&shared)));
        Self { shared, writer }
    }

    /// Says that the table has changed; call it after the change. The file follows by itself.
    pub fn changed(&self) -> Generation {
        let generation = self.shared.changed.fetch_add(1, Ordering::AcqRel) + 1;
        self.shared.wake.notify_one();
        Generation(generation)
    }

    /// Waits until the file holds everything up to `generation`.
    ///
    /// # Errors
    /// The attempt that should have written it failed, or the table is closed.
    pub async fn durable(&self, generation: Generation) -> Result<(), PersistError> {
        let mut progress = self.shared.progress.subscribe();
        let settled = progress
            .wait_for(|progress| progress.outcome(generation).is_some() || progress.ended)
            .await;
        let outcome = settled
            .ok()
            .and_then(|progress| progress.outcome(generation));
        outcome.unwrap_or_else(|| {
            Err(PersistError::Closed {
                path: self.shared.path.clone(),
            })
        })
    }

    /// Writes what is not yet written and ends. Later changes are not written.
    ///
    /// # Errors
    /// The last write failed.
    pub async fn close(&self) -> Result<(), PersistError> {
        self.shared.closing.store(true, Ordering::Release);
        self.shared.wake.notify_one();
        let last = Generation(self.shared.changed.load(Ordering::Acquire));
        self.durable(last).await
    }
}

impl Drop for Persisted {
    fn drop(&mut self) {
        self.writer.abort();
    }
}

impl fmt::Debug for Persisted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Persisted")
            .field("path", &self.shared.path)
            .field("changed", &self.shared.changed)
            .finish_non_exhaustive()
    }
}

impl Progress {
    fn outcome(&self, generation: Generation) -> Option<Result<(), PersistError>> {
        if self.written >= generation.0 {
            return Some(Ok(()));
        }
        match &self.failed {
            Some((attempted, error)) if *attempted >= generation.0 => Some(Err(error.clone())),
            _ => None,
        }
    }
}

/// Writes a snapshot whenever there are changes that the file lacks; ends after the one that
/// follows [`Persisted::close`].
async fn write_changes(shared: Arc<Shared>) {
    let mut pause = RETRY_PAUSE_MIN;
    let mut written = 0;
    loop {
        let closing = shared.closing.load(Ordering::Acquire);
        let wanted = shared.changed.load(Ordering::Acquire);
        if wanted > written {
            match write_snapshot(&shared).await {
                Ok(()) => {
                    pause = RETRY_PAUSE_MIN;
                    written = wanted;
                    shared.progress.send_modify(|progress| {
                        progress.written = wanted;
                        progress.failed = None;
                    });
                }
                Err(error) => {
                    tracing::error!(%error, "a table is not durable");
                    shared
                        .progress
                        .send_modify(|progress| progress.failed = Some((wanted, error)));
                    if !closing {
                        // Only the end cuts the pause short: changes would make it spin.
                        wait_for_closing(&shared, pause).await;
                        pause = (pause * 2).min(RETRY_PAUSE_MAX);
                        continue;
                    }
                }
            }
        }
        if closing {
            shared
                .progress
                .send_modify(|progress| progress.ended = true);
            return;
        }
        if shared.changed.load(Ordering::Acquire) == written {
            shared.wake.notified().await;
        }
    }
}

async fn write_snapshot(shared: &Arc<Shared>) -> Result<(), PersistError> {
    let job = Arc::clone(shared);
    // The runtime is ending, or the snapshot panicked: either way nothing was written.
    let closed = |_| PersistError::Closed {
        path: shared.path.clone(),
    };
    let bytes = tokio::task::spawn_blocking(move || (job.snapshot)())
        .await
        .map_err(closed)?;
    if let Some(store) = &shared.behind {
        let outcome = flushed(store, store.max_physical()).await;
        if outcome != Flushed::Durable {
            return Err(PersistError::Ahead {
                path: shared.path.clone(),
                outcome,
            });
        }
    }
    let job = Arc::clone(shared);
    let save = move || persist::save(&job.path, &bytes);
    match tokio::task::spawn_blocking(save).await.map_err(closed)? {
        Ok(_) => Ok(()),
        Err(cause) => Err(PersistError::Write {
            path: shared.path.clone(),
            cause: Arc::new(cause),
        }),
    }
}

/// Waits until the log is durable up to `end`.
async fn flushed(store: &Store, end: i64) -> Flushed {
    let (tell, told) = oneshot::channel();
    // Nobody listens any more when the writer has ended.
    let done = move |outcome| {
        let _ = tell.send(outcome);
    };
    store.when_flushed(end, Box::new(done));
    told.await.unwrap_or(Flushed::Failed)
}

async fn wait_for_closing(shared: &Shared, pause: Duration) {
    let closing = async {
        while !shared.closing.load(Ordering::Acquire) {
            shared.wake.notified().await;
        }
    };
    // Elapsed is the common case.
    let _ = timeout(pause, closing).await;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn counting(path: PathBuf) -> (Persisted, Arc<AtomicU64>, Arc<AtomicUsize>) {
        let value = Arc::new(AtomicU64::new(0));
        let writes = Arc::new(AtomicUsize::new(0));
        let (table, count) = (Arc::clone(&value), Arc::clone(&writes));
        let persisted = Persisted::new(path, move || {
            count.fetch_add(1, Ordering::Relaxed);
            table.load(Ordering::Acquire).to_string().into_bytes()
        });
        (persisted, value, writes)
    }

    #[tokio::test]
    async fn a_durable_change_is_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.json");
        let (persisted, value, _) = counting(path.clone());
        value.store(7, Ordering::Release);
        let generation = persisted.changed();
        persisted.durable(generation).await.unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "7");
    }

    #[tokio::test]
    async fn a_burst_shares_writes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.json");
        let (persisted, value, writes) = counting(path.clone());
        let waiters = (0..1000).map(|_| {
            value.fetch_add(1, Ordering::AcqRel);
            persisted.durable(persisted.changed())
        });
        for waiter in waiters.collect::<Vec<_>>() {
            waiter.await.unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), "1000");
        assert!(writes.load(Ordering::Relaxed) < 20);
    }

    #[tokio::test]
    async fn closing_writes_the_last_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.json");
        let (persisted, value, writes) = counting(path.clone());
        persisted.changed();
        value.store(9, Ordering::Release);
        persisted.changed();
        persisted.close().await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "9");
        let before = writes.load(Ordering::Relaxed);
        let late = persisted.changed();
        assert!(matches!(
            persisted.durable(late).await,
            Err(PersistError::Closed { .. })
        ));
        assert_eq!(writes.load(Ordering::Relaxed), before);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_write_is_told_and_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("config");
        // A file where the folder should be: nothing can be written below it.
        std::fs::write(&folder, "in the way").unwrap();
        let path = folder.join("table.json");
        let (persisted, value, _) = counting(path.clone());
        value.store(3, Ordering::Release);
        let generation = persisted.changed();
        assert!(matches!(
            persisted.durable(generation).await,
            Err(PersistError::Write { .. })
        ));
        std::fs::remove_file(&folder).unwrap();
        std::fs::create_dir(&folder).unwrap();
        persisted
            .shared
            .progress
            .subscribe()
            .wait_for(|progress| progress.written >= generation.0)
            .await
            .unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "3");
    }
}
