// SPDX-License-Identifier: Apache-2.0
//! The store as a whole: its parts, its queues, its end.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64},
    },
};

use parking_lot::{Mutex, RwLock};

use crate::{
    abort_file::{self, Left},
    background::Background,
    checkpoint::CheckpointFile,
    cold::{self, Readers, ReadersBusy},
    commit_log::CommitLog,
    config::{Config, FlushMode},
    consume_queue::{Queue, UNKNOWN},
    env::{Clock, Env},
    error::{AppendError, CloseError, OpenError, ReadOnlyReason},
    flush::{Flushed, Waiters},
    index::Index,
    layout, light,
    lock_file::LockFile,
    queue_table::{Ids, QueueTable, SharedOwner, queue_in},
    read_ahead::ReadAhead,
    recovery,
    retention::Cleaning,
    signal::Signal,
    summary::Due,
    watermark::Watermarks,
};

/// What the threads of a store share.
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) env: Env,
    pub(crate) marks: Arc<Watermarks>,
    pub(crate) log: CommitLog,
    pub(crate) queues: RwLock<QueueTable>,
    pub(crate) shared: SharedOwner,
    pub(crate) waiters: Waiters,
    pub(crate) checkpoint: Mutex<CheckpointFile>,
    /// When the queues are to be summarised.
    pub(crate) summary_due: Mutex<Due>,
    pub(crate) flush_signal: Signal,
    pub(crate) keep_signal: Signal,
    /// Whether the keeper waits for somebody to wake it.
    pub(crate) keeper_sleeps: AtomicBool,
    /// The queues are durable for the log up to here by what this process did; −1 before it has done anything.
    pub(crate) kept: AtomicI64,
    /// The threads are gone, and the last acts are under way.
    pub(crate) finishing: AtomicBool,
    /// Held by the one who makes the next file of the log.
    pub(crate) preparing: Mutex<Option<std::time::Duration>>,
    /// Pages of the log are present, or somebody makes them so, up to here.
    pub(crate) present_until: AtomicI64,
    /// Longest record or batch that fits into a file of the log.
    pub(crate) largest_append: usize,
    /// Distance from the end of the log behind which messages count as being on disk.
    pub(crate) memory_distance: i64,
    pub(crate) readers: Readers,
    pub(crate) read_ahead: ReadAhead,
    /// End of the log when the store was opened: of what is before, nobody knows whether it is in memory.
    pub(crate) opened_at: i64,
    pub(crate) index: Index,
    pub(crate) cleaning: Cleaning,
}

/// How a store was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// All of its files are complete.
    Complete,
    /// So many queues had changed that the next start makes their entries again from the log, as after a kill, rather
    /// than this end wait for their files. All messages are durable. The file `abort` is there, by which Apache's broker
    /// knows that it has to do the same.
    Early,
    /// It was closed already.
    Before,
}

/// An open store directory.
pub struct Store {
    pub(crate) inner: Arc<Inner>,
    pub(crate) background: Background,
    /// Some while the store is open.
    lock: Mutex<Option<LockFile>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("dir", &self.inner.config.dir)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Locks the directory, recovers what is there and starts the background threads.
    ///
    /// # Errors
    /// Why not, with path, cause and remedy. Damaged data is never removed to get on.
    pub fn open(config: Config, env: Env) -> Result<Arc<Store>, OpenError> {
        check(&config)?;
        env.create_dir_all(&config.dir)
            .map_err(OpenError::io("create", &config.dir))?;
        recovery::refuse_others(&env, &config.dir)?;
        let lock = LockFile::take(&env, &config.dir)?;
        let left = abort_file::left(&env, &config.dir)?;
        let queues_dir = config.dir.join(layout::CONSUME_QUEUE);
        env.create_dir_all(&queues_dir)
            .map_err(OpenError::io("create", &queues_dir))?;
        let recovered = recovery::recover(&config, &env, left)?;
        let memory_distance =
            i64::try_from(env.memory_bytes() / 100 * u64::from(config.memory_percent))
                .unwrap_or(i64::MAX);
        let largest_append = usize::try_from(config.commit_log_file_bytes).unwrap_or(usize::MAX)
            - aerobee_message::record::BLANK_BYTES;
        let recovered_end = recovered.log.marks.end();
        let is_ours = recovered.checkpoint.own().is_some();
        let inner = Arc::new(Inner {
            marks: Arc::clone(&recovered.log.marks),
            log: recovered.log,
            queues: RwLock::new(recovered.queues),
            shared: recovered.shared,
            waiters: Waiters::new(config.flush_waiters),
            checkpoint: Mutex::new(recovered.checkpoint),
            summary_due: Mutex::new(Due::since(recovered.summarised)),
            flush_signal: Signal::default(),
            keep_signal: Signal::default(),
            keeper_sleeps: AtomicBool::new(false),
            kept: AtomicI64::new(UNKNOWN),
            finishing: AtomicBool::new(false),
            preparing: Mutex::new(None),
            present_until: AtomicI64::new(0),
            largest_append,
            memory_distance,
            readers: Readers::new(config.cold_queue),
            read_ahead: ReadAhead::default(),
            opened_at: recovered_end,
            index: Index::new(left == Left::Clean, is_ours, recovered_end),
            cleaning: Cleaning::new(config.retention.clone()),
            config,
            env,
        });
        inner
            .keep_now()
            .map_err(OpenError::io("flush", &inner.config.dir))?;
        if inner.marks.has_sync_failed() {
            // Whatever is built on it now might be gone after the next power cut.
            let error = io::Error::other("a file of a queue could not be made durable");
            return Err(OpenError::io("sync", &inner.config.dir)(error));
        }
        abort_file::write(&inner.env, &inner.config.dir)?;
        let store = Arc::new(Store {
            inner,
            background: Background::default(),
            lock: Mutex::new(Some(lock)),
        });
        store
            .background
            .start(&store)
            .map_err(OpenError::io("start a thread for", &store.inner.config.dir))?;
        Ok(store)
    }

    /// Takes no more messages, makes everything durable and releases the directory. Only when all of that succeeds, and
    /// no more than [`Config::queues_at_end`] queues had to be written, does the next start count as one after a clean
    /// end. Calling it again does nothing.
    ///
    /// # Errors
    /// What failed; the store is closed all the same.
    pub fn close(&self) -> Result<Closed, CloseError> {
        let mut lock = self.lock.lock();
        let Some(held) = lock.take() else {
            return Ok(Closed::Before);
        };
        {
            // Under the lock of the log, so that no append is half done.
            let _appender = self.inner.log.peek();
            self.inner.marks.close();
        }
        self.background.stop(&self.inner);
        let result = self.inner.finish();
        drop(held);
        result
    }

    /// Lets go of the directory as the end of the process would, so that it can be opened again: threads stop, nothing is
    /// flushed, and the next start counts as one after a crash. For whoever cannot go on with a store just opened.
    pub fn abandon(&self) {
        let mut lock = self.lock.lock();
        self.inner.marks.close();
        self.background.stop(&self.inner);
        *lock = None;
    }

    /// The queue, if it exists. Never makes one.
    #[must_use]
    pub fn queue(&self, topic: &str, id: i32) -> Option<Arc<Queue>> {
        self.inner.queues.read().get(topic)?.get(id).cloned()
    }

    /// The queue, made if need be. Files are made when there is something to write.
    ///
    /// # Errors
    /// Why it cannot be made.
    pub fn create_queue(&self, topic: &str, id: i32) -> Result<Arc<Queue>, AppendError> {
        if let Some(queue) = self.queue(topic, id) {
            return Ok(queue);
        }
        self.inner.marks.appendable()?;
        let mut queues = self.inner.queues.write();
        queue_in(&mut queues, &self.inner.shared, topic, id)
    }

    /// All queues, in no order.
    #[must_use]
    pub fn queues(&self) -> Vec<Arc<Queue>> {
        self.inner
            .queues
            .read()
            .values()
            .flat_map(Ids::values)
            .cloned()
            .collect()
    }

    /// The topics that have queues, in no order.
    #[must_use]
    pub fn topic_names(&self) -> Vec<Arc<str>> {
        self.inner.queues.read().keys().cloned().collect()
    }

    /// Removes the queues of a topic. Its messages stay in the log until that is cleaned.
    ///
    /// # Errors
    /// The directory could not be removed; the queues are gone all the same.
    pub fn delete_topic(&self, topic: &str) -> io::Result<()> {
        if !layout::is_directory_name(topic) {
            return Ok(());
        }
        self.delete_topics(&[(topic, None)]).1
    }

    /// Removes light queues that still end where their caller has seen them end: one that got a message since stays.
    /// Nobody finds or makes a queue meanwhile, so they are to be few at a time. Returns those that are gone.
    ///
    /// # Errors
    /// Their files could not be removed, or none is gone as nothing could be made durable.
    pub fn delete_light_queues<'a>(
        &self,
        seen: &'a [(Arc<str>, i64)],
    ) -> (Vec<&'a str>, io::Result<()>) {
        // What others have to be written is written before.
        if let Err(error) = self.inner.keep_queues() {
            return (Vec::new(), Err(error));
        }
        let light = seen.iter().filter(|(name, _)| light::is_light(name));
        let light: Vec<_> = light.map(|(name, end)| (&**name, Some(*end))).collect();
        self.delete_topics(&light)
    }

    /// Removes the queues of topics, those of which an end is given only if they all end there; returns the topics that
    /// are gone.
    fn delete_topics<'a>(
        &self,
        topics: &[(&'a str, Option<i64>)],
    ) -> (Vec<&'a str>, io::Result<()>) {
        let mut gone = Vec::new();
        let mut queues = self.inner.queues.write();
        {
            let appender = self.inner.log.peek();
            let mut removed = Vec::new();
            for (topic, end) in topics {
                let ids = queues.get(*topic);
                let has_grown = |end: i64| {
                    ids.is_none_or(|ids| ids.values().any(|queue| queue.tail().next != end))
                };
                if end.is_some_and(has_grown) {
                    continue;
                }
                removed.push(queues.remove(*topic).unwrap_or_default());
                gone.push(*topic);
            }
            if gone.is_empty() {
                return (gone, Ok(()));
            }
            let removed = removed.iter().flat_map(Ids::values);
            removed.clone().for_each(|queue| queue.retire());
            self.inner.marks.set_forgotten(appender.end());
            drop(appender);
            // Whoever writes files of these queues ends before they are removed.
            removed.for_each(|queue| drop(queue.files_work.lock()));
        }
        let files = self.remove_topics(&gone);
        drop(queues);
        (gone, files)
    }

    /// Removes the directories of topics whose queues are retired.
    fn remove_topics(&self, topics: &[&str]) -> io::Result<()> {
        self.inner.summary_due.lock().forget();
        // First the note that queues know less than the log, so that the next start does not bring the topics back.
        self.inner.keep_queues()?;
        self.inner.keep_signal.kick();
        for topic in topics {
            self.inner.shared.remove_batch_topic(topic);
        }
        let env = &self.inner.env;
        for kind in [
            layout::CONSUME_QUEUE,
            layout::BATCH_QUEUE,
            layout::BATCH_ENTRIES,
        ] {
            let parent = self.inner.config.dir.join(kind);
            let dirs = topics.iter().map(|topic| parent.join(topic));
            let there: Vec<_> = dirs.filter(|dir| env.exists(dir)).collect();
            for dir in &there {
                env.remove_dir_all(dir)?;
            }
            if !there.is_empty() {
                env.sync_dir(&parent)?;
            }
        }
        Ok(())
    }

    /// Runs a job on a thread that may wait for the disk.
    ///
    /// # Errors
    /// Too many wait already, or the store is closed; the job is dropped.
    pub fn read_later(&self, job: Box<dyn FnOnce(&Store) + Send>) -> Result<(), ReadersBusy> {
        let with_store = move |store: Result<&Store, ReadersBusy>| {
            if let Ok(store) = store {
                job(store);
            }
        };
        let pushed = self.inner.readers.push(Box::new(with_store));
        pushed.map_err(|_| ReadersBusy)
    }

    /// As [`Store::read_later`], for a job that is told when it is refused: it is called in any case, with an error on
    /// this thread when too many wait already, or when the store closes before its turn.
    pub fn read_or_refuse(&self, job: impl FnOnce(Result<&Store, ReadersBusy>) + Send + 'static) {
        if let Err(job) = self.inner.readers.push(Box::new(job)) {
            cold::call(job, Err(ReadersBusy));
        }
    }

    /// Calls `done` once the log is durable up to `end`, the sync failed, or the time is up: on the flusher's thread,
    /// or on this one when it is known at once. It must not block.
    pub fn when_flushed(&self, end: i64, done: Box<dyn FnOnce(Flushed) + Send>) {
        self.inner.when_flushed(end, done);
    }

    /// Directories that get new files of the log.
    #[must_use]
    pub fn log_dirs(&self) -> Vec<std::path::PathBuf> {
        self.inner.shared.homes.writable().to_vec()
    }

    /// Position of the first byte kept.
    #[must_use]
    pub fn min_physical(&self) -> i64 {
        self.inner.marks.min()
    }

    /// Position behind the last record.
    #[must_use]
    pub fn max_physical(&self) -> i64 {
        self.inner.marks.end()
    }

    /// Everything before this is durable.
    #[must_use]
    pub fn flushed(&self) -> i64 {
        self.inner.marks.flushed()
    }

    /// Readers see what is before this.
    #[must_use]
    pub fn confirmed(&self) -> i64 {
        self.inner.marks.confirmed()
    }

    /// When an append counts as done.
    #[must_use]
    pub fn flush_mode(&self) -> FlushMode {
        self.inner.config.flush_mode
    }

    /// Whether messages are taken.
    ///
    /// # Errors
    /// Why not.
    pub fn writable(&self) -> Result<(), ReadOnlyReason> {
        self.inner.marks.writable()
    }

    /// The clock that gives store times.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        self.inner.env.clock()
    }

    /// How long the lock of the log has been held by the append that has it; 0 when none has.
    #[must_use]
    pub fn lock_held_millis(&self) -> i64 {
        self.inner.log.held_millis()
    }

    /// Records that were met damaged while reading, since the start.
    #[must_use]
    pub fn bad_frames(&self) -> u64 {
        self.inner
            .marks
            .bad_frames
            .load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl Drop for Store {
    /// Without [`Store::close`] the end counts as unclean: threads stop, nothing is flushed.
    fn drop(&mut self) {
        self.inner.marks.close();
        self.background.stop(&self.inner);
    }
}

fn check(config: &Config) -> Result<(), OpenError> {
    let log = config.commit_log_file_bytes;
    // Blank records keep lengths in four bytes, which Java reads as signed.
    if !(4096..=i32::MAX as u64).contains(&log) {
        let rule = "a log file has between 4,096 and 2,147,483,647 bytes";
        return Err(OpenError::Setting {
            setting: "mappedFileSizeCommitLog",
            value: log,
            rule,
        });
    }
    for (setting, entries, most, rule) in [
        (
            "mappedFileSizeConsumeQueue",
            config.queue_file_entries,
            50_000_000,
            "a consume queue file has between 1 and 50,000,000 entries of 20 bytes",
        ),
        (
            "mapperFileSizeBatchConsumeQueue",
            config.batch_queue_file_entries,
            46_000_000,
            "a file of a queue of batches has between 1 and 46,000,000 entries of 46 bytes",
        ),
    ] {
        let value = u64::from(entries);
        if !(1..=most).contains(&value) {
            return Err(OpenError::Setting {
                setting,
                value,
                rule,
            });
        }
    }
    Ok(())
}
