// SPDX-License-Identifier: Apache-2.0
//! From a directory as it was left, by us or by Apache's broker, cleanly or not, to a log and queues that agree.
//!
//! Decisions rest on positions, not on times. Nothing is removed that may hold a message: a tail that is not a record
//! is copied to `quarantine/` if it contains one, and damage before the durable end keeps the store from opening.

mod batches;
mod queues;
mod scan;
mod stretches;
mod summary;
mod tail;

use std::{collections::HashMap, io, path::Path, sync::Arc};

use self::scan::Scanned;
use crate::{
    abort_file::Left,
    checkpoint::{CheckpointFile, State},
    commit_log::{CommitLog, write_again},
    config::{Config, FlushMode},
    env::Env,
    error::OpenError,
    files::{Descriptors, Files, Slot},
    layout,
    log_dirs::Homes,
    prepare,
    queue_table::{Ids, QueueTable, Shared, SharedOwner},
    scan::{Frame, Scanner},
    watermark::Watermarks,
};

/// What a store starts with.
pub(crate) struct Recovered {
    pub(crate) log: CommitLog,
    pub(crate) queues: QueueTable,
    pub(crate) shared: SharedOwner,
    pub(crate) checkpoint: CheckpointFile,
    /// What the summary that holds says of the log.
    pub(crate) summarised: Option<i64>,
}

/// How far the bytes of a log are known to have been durable.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Durable {
    /// Our own checkpoint says so.
    Own(i64),
    /// A broker of Apache's wrote last: what its queues refer to was in the log.
    Foreign(i64),
}

impl Durable {
    /// Whether a log whose records end at `end` has lost something, rather than never had it. `goes_on`: records follow
    /// behind what is none.
    pub(crate) fn is_damage(self, end: i64, goes_on: bool) -> bool {
        match self {
            Durable::Own(durable) => end < durable,
            Durable::Foreign(known) => end < known && goes_on,
        }
    }
}

struct Recovery<'a> {
    config: &'a Config,
    env: &'a Env,
    marks: Arc<Watermarks>,
    log: Files,
    queues: QueueTable,
    shared: SharedOwner,
    left: Left,
    /// Queue entries for what lies before this position of the log are durable; none when only Apache knows.
    sure_until: Option<i64>,
}

/// Recovers a locked directory.
pub(crate) fn recover(config: &Config, env: &Env, left: Left) -> Result<Recovered, OpenError> {
    refuse_rocksdb(env, &config.dir)?;
    let clean_before = left == Left::Clean;
    let homes = Arc::new(Homes::new(config)?);
    for dir in homes.preparing() {
        remove_preparing(env, &dir)?;
    }
    let checkpoint = CheckpointFile::open(env, &config.dir)?;
    let bases = homes.list(env, config.commit_log_file_bytes)?;
    let file_bytes = usize::try_from(config.commit_log_file_bytes).unwrap_or(usize::MAX);
    let slots = bases
        .iter()
        .map(|base| Slot::unmapped(*base, file_bytes))
        .collect();
    let log = Files::of_log(
        &homes,
        config.commit_log_file_bytes,
        Descriptors::Keep,
        slots,
    );
    let first = log.first().unwrap_or(0);
    let own = checkpoint.own().filter(|own| own.dispatched >= first);
    if let Some(own) = own.filter(|own| own.flushed > 0 && log.first().is_none()) {
        // Else the store would start without its messages and nobody would notice the mistake.
        return Err(OpenError::NoLog {
            path: homes.first().to_owned(),
            position: own.flushed,
        });
    }
    let marks = Arc::new(Watermarks::new(config.flush_mode, first, i64::MAX));
    let mut recovery = Recovery {
        config,
        env,
        shared: SharedOwner::new(Shared::new(config, env, &marks, &homes)),
        marks,
        log,
        queues: HashMap::new(),
        left,
        sure_until: own.map(|own| own.dispatched),
    };
    let trusted = match &own {
        Some(own) if recovery.has_last_record(own)? => Some(own),
        _ => None,
    };
    recovery.find_batch_topics()?;
    let summary = recovery.load_summary(trusted, clean_before)?;
    if summary.is_none() {
        recovery.load_queues()?;
    }
    let imported = recovery.import_batches(own.is_none())?;

    recovery.queues.values_mut().for_each(Ids::shrink_to_fit);

    let known = recovery.queues.values().flat_map(Ids::values);
    let known = known
        .map(|queue| queue.tail().max_physical)
        .max()
        .unwrap_or(0);
    recovery
        .marks
        .set_forgotten(own.map_or(0, |own| own.forgotten));
    let (start, durable, last) = match own {
        // What the summary says holds for the log up to where it was written.
        Some(own) if let Some(summarised) = summary => (
            summarised.position.max(first),
            Durable::Own(own.flushed),
            (own.last_start, own.last_timestamp),
        ),
        // Queues that know less than the checkpoint says were removed: all of the log is dispatched again.
        Some(own) if known < own.dispatched && own.forgotten < own.dispatched => {
            (first, Durable::Own(own.flushed), (0, 0))
        }
        Some(own) => (
            own.dispatched,
            Durable::Own(own.flushed),
            (own.last_start, own.last_timestamp),
        ),
        None => (
            foreign_start(env, &recovery.log, checkpoint.longs, clean_before, known)?,
            Durable::Foreign(known),
            (0, 0),
        ),
    };
    let mut read_from = start;
    let began = env.clock().monotonic();
    let mut scanned = match recovery.scan(start, last, start == first)? {
        Some(scanned) => scanned,
        None => {
            tracing::warn!("queue entries are missing: all of the log is dispatched again");
            read_from = first;
            recovery
                .scan(first, (0, 0), true)?
                .ok_or_else(|| OpenError::Io {
                    what: "recover",
                    path: config.dir.clone(),
                    source: io::Error::other("queues have gaps after a full scan"),
                })?
        }
    };
    let end = scanned.end;
    recovery.check_tail(&scanned, durable)?;
    let is_cut = recovery.cut_queues(end)?;
    if summary.is_none_or(|summarised| summarised.log_first != first) {
        recovery.correct_mins();
    }
    tracing::info!(
        clean = clean_before,
        own_checkpoint = own.is_some(),
        from = read_from,
        end,
        bytes = end - read_from,
        records = scanned.records,
        seconds = (env.clock().monotonic().saturating_sub(began)).as_secs_f64(),
        summary = summary.is_some(),
        queues = recovery.queues.values().map(Ids::len).sum::<usize>(),
        "the store is recovered"
    );
    let mut dirty = std::mem::take(&mut scanned.dirty);
    dirty.extend(imported);
    dirty.extend(recovery.recover_units()?);
    let log = recovery.open_log(end, scanned.last, start)?;
    {
        // Makes sure that the first flush of the queues happens although nothing was appended.
        let mut appender = log.peek();
        let round = appender.round;
        appender.dirty = dirty;
        for queue in &appender.dirty {
            queue.tail().dirty_round = round;
        }
    }
    Ok(Recovered {
        log,
        queues: recovery.queues,
        shared: recovery.shared,
        checkpoint,
        summarised: summary
            .filter(|_| !is_cut)
            .map(|summarised| summarised.position),
    })
}

impl Recovery<'_> {
    fn log_end(&self) -> i64 {
        self.log.bases().last().map_or(0, |base| {
            base + self.config.commit_log_file_bytes.cast_signed()
        })
    }

    /// Whether the last record that a checkpoint knows is still there: else the log has lost something.
    fn has_last_record(&self, own: &State) -> Result<bool, OpenError> {
        if own.dispatched == self.log.first().unwrap_or(0) {
            return Ok(true);
        }
        Ok(
            match Scanner::new(self.env, &self.log).frame(own.last_start)? {
                Frame::Record(record) => {
                    own.last_start + record.total_len() as i64 == own.dispatched
                }
                _ => false,
            },
        )
    }

    /// The log, ready to append. What was not known to be durable is synced, and written again before: after a failed
    /// sync the kernel takes pages for clean that never reached the disk, and a sync by the next process would not write
    /// them either. Where the process was killed, nothing of what is there is in doubt while the machine runs on; unless
    /// readers may see durable messages only, the flusher sees to that while the store already serves.
    fn open_log(&mut self, end: i64, last: (i64, i64), start: i64) -> Result<CommitLog, OpenError> {
        let writes_again = self.sure_until.is_some() && self.left != Left::Clean;
        let is_put_off = self.sure_until.is_some()
            && self.left == Left::Killed
            && self.config.flush_mode == FlushMode::Async;
        let sure_until = self.sure_until.unwrap_or(start);
        let dir = self.log.dir().to_owned();
        let bases = self.log.bases();
        if !bases.contains(&self.log.base_for(end)) {
            let made = prepare::make_log_file(
                self.env,
                self.config,
                &self.shared.homes,
                self.log.base_for(end),
            );
            let made = made.map_err(OpenError::io("create a file of the log in", &dir))?;
            self.log.push(&Slot::mapped(made));
        }
        let first = self.log.first().unwrap_or(0);
        let from = self.log.base_for(sure_until.min(end));
        for base in self.log.bases().into_iter().filter(|base| *base >= from) {
            let path = self.log.path(base);
            let file = self.env.open(&path).map_err(OpenError::io("open", &path))?;
            let len = self.config.commit_log_file_bytes;
            if base == self.log.base_for(end) {
                // The file may be sparse, as Java makes them: without blocks a full disk would end the process.
                self.env
                    .allocate(&file, &path, 0, len)
                    .map_err(OpenError::io("allocate", &path))?;
            }
            if is_put_off {
                continue;
            }
            if writes_again {
                let until = (end - base).clamp(0, len.cast_signed()).cast_unsigned();
                let from = (sure_until - base).max(0).cast_unsigned();
                write_again(self.env, &file, &path, from..until)
                    .map_err(OpenError::io("write again", &path))?;
            }
            self.env
                .sync_all(&file, &path)
                .map_err(OpenError::io("sync", &path))?;
        }
        let synced = self.log.bases().into_iter().filter(|base| *base >= from);
        self.shared
            .homes
            .sync_dirs_of(self.env, synced)
            .map_err(|(dir, error)| OpenError::io("sync", dir)(error))?;
        let map = self
            .log
            .find(self.env, end)
            .map_err(OpenError::io("map a file of the log in", &dir))?;
        let writer = map
            .and_then(|map| map.writer())
            .ok_or_else(|| OpenError::Io {
                what: "map a file of the log in",
                path: dir.clone(),
                source: io::ErrorKind::NotFound.into(),
            })?;
        let flushed = if is_put_off {
            sure_until.clamp(first, end)
        } else {
            end
        };
        self.marks.recovered(first, flushed, end);
        let files = std::mem::replace(
            &mut self.log,
            Files::new(dir, 1, Descriptors::Keep, Vec::new()),
        );
        Ok(CommitLog::new(
            files,
            Arc::clone(&self.marks),
            self.env.clone(),
            writer,
            last,
        ))
    }
}

/// Where to start in a directory that a broker of Apache's wrote last; its own rules (`CommitLog.java`,
/// `isMappedFileMatchedRecover`), and the first file when they find none. Queues know the log up to `known`.
pub(crate) fn foreign_start(
    env: &Env,
    log: &Files,
    checkpoint: [i64; 6],
    clean: bool,
    known: i64,
) -> Result<i64, OpenError> {
    let bases = log.bases();
    let mut scanner = Scanner::new(env, log);
    let [physical_time, logical_time, .., dispatched] = checkpoint;
    for base in bases.iter().rev() {
        let Frame::Record(record) = scanner.frame(*base)? else {
            continue;
        };
        let matches = if clean {
            *base <= known
        } else if dispatched > 0 {
            *base <= dispatched.min(known)
        } else {
            record.store_timestamp() <= physical_time.min(logical_time) - 3000
        };
        if matches && record.store_timestamp() != 0 {
            return Ok(*base);
        }
    }
    Ok(bases.first().copied().unwrap_or(0))
}

/// Log files that were being made when the process ended.
fn remove_preparing(env: &Env, dir: &Path) -> Result<(), OpenError> {
    for entry in env.list(dir).map_err(OpenError::io("list", dir))? {
        if layout::base_of(&entry.name).is_some() && !entry.is_dir {
            let path = dir.join(&entry.name);
            env.remove_file(&path)
                .map_err(OpenError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Directories of other programs, by files that each of them makes. Their names do not clash with ours, so a store would
/// start empty among them and nobody would notice the mistake.
pub(crate) fn refuse_others(env: &Env, root: &Path) -> Result<(), OpenError> {
    let signs = [
        ("meta.properties", "Apache Kafka"),
        ("recovery-point-offset-checkpoint", "Apache Kafka"),
        ("current/VERSION", "Apache BookKeeper"),
        ("kahadb/db.data", "Apache ActiveMQ"),
        ("db.data", "Apache ActiveMQ"),
        ("jetstream", "NATS"),
        ("msg_stores", "RabbitMQ"),
    ];
    for (name, owner) in signs {
        let path = root.join(name);
        if env.exists(&path) {
            return Err(OpenError::OtherOwner { path, owner });
        }
    }
    // Apache's broker with DLedger keeps its log there and nothing in `commitlog`.
    let listed = env.list(root).map_err(OpenError::io("list", root))?;
    let dledger = listed
        .into_iter()
        .find(|entry| entry.is_dir && entry.name.starts_with("dledger-"));
    dledger.map_or(Ok(()), |entry| {
        Err(OpenError::OtherOwner {
            path: root.join(entry.name),
            owner: "a broker with DLedger (enableDLegerCommitLog), whose log has another format",
        })
    })
}

/// With `timerWheelSnapshotFlush` Apache keeps its timers in numbered copies of the wheel.
fn refuse_wheel_snapshot(env: &Env, root: &Path) -> Result<(), OpenError> {
    let listed = env.list(root).map_err(OpenError::io("list", root))?;
    let snapshot = listed.into_iter().find(|entry| {
        let number = entry.name.strip_prefix("timerwheel.");
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
    });
    match snapshot {
        Some(snapshot) => Err(OpenError::WheelSnapshot {
            path: root.join(snapshot.name),
        }),
        None => Ok(()),
    }
}

/// Apache can keep state in `RocksDB`; without it messages or positions would be missing silently.
pub(crate) fn refuse_rocksdb(env: &Env, root: &Path) -> Result<(), OpenError> {
    let places = [
        ("consumequeue/CURRENT", "consume queues"),
        ("consumequeue_rocksdb", "consume queues"),
        ("kvStore", "pop state"),
        ("config/metadata", "topics, groups and offsets"),
        ("config/rdb", "topics, groups and offsets"),
        ("config/topics", "topics"),
        ("config/subscriptionGroups", "groups"),
        ("config/consumerOffsets", "offsets"),
    ];
    for (name, kept) in places {
        let path = root.join(name);
        if env.exists(&path) {
            return Err(OpenError::RocksDb { path, kept });
        }
    }
    let dir = root.join("rocksdbstore");
    for entry in env.list(&dir).map_err(OpenError::io("list", &dir))? {
        // What was written last stands in a log file, before there is any table.
        let is_log =
            entry.name.ends_with(".log") && env.len_of(&dir.join(&entry.name)).unwrap_or(0) > 0;
        if entry.name.ends_with(".sst") || is_log {
            return Err(OpenError::RocksDb {
                path: dir.join(entry.name),
                kept: "index, timers or transactions",
            });
        }
    }
    refuse_wheel_snapshot(env, root)
}
