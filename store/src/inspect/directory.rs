// SPDX-License-Identifier: Apache-2.0
//! What a directory is, from its names and lengths alone.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use smallvec::SmallVec;

use super::{InspectError, Kind, Report, Sizes};
use crate::{
    abort_file,
    checkpoint::Content,
    config::Config,
    env::Env,
    error::OpenError,
    files::{Descriptors, Files, Slot},
    index::{Geometry, format},
    layout::{self, ENTRY_BYTES},
    lock_file::LockFile,
    log_dirs::{Homes, LogDirs},
    recovery,
};

/// Who has written a directory last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// This software.
    Aerobee,
    /// Apache's broker, after this software.
    ApacheAfterAerobee,
    /// Apache's broker.
    Apache,
    /// Nobody tells: there is no checkpoint.
    Unknown,
}

/// What the checkpoint says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// The longs of Apache's, in their order: store times of the last flushed record, queue entry and index file;
    /// flushed position of a master, confirmed position, position of the last record whose entry is flushed.
    pub longs: [i64; 6],
    /// Ours: the log is durable, and queue entries are, up to these positions.
    pub own: Option<(i64, i64)>,
}

/// One consume queue as it lies on disk.
#[derive(Debug)]
pub(super) struct QueueDir {
    pub(super) id: i32,
    /// First positions of its files, in order.
    pub(super) bases: SmallVec<[i64; 1]>,
}

/// A store directory, looked at from outside.
pub struct Directory {
    pub(super) env: Env,
    pub(super) root: PathBuf,
    pub(super) log_dirs: LogDirs,
    pub(super) log: Files,
    pub(super) checkpoint: Option<Content>,
    pub(super) checkpoint_len: u64,
    pub(super) queue_file_bytes: u64,
    pub(super) geometry: Option<Geometry>,
    /// Entries of a file of a queue of batches, if there is one.
    batch_queue_file_entries: Option<u32>,
    /// What is wrong with names and lengths of log files.
    log_faults: Vec<(Kind, PathBuf, Option<u64>, String)>,
    /// Who wrote it last.
    pub writer: Writer,
    /// The process that the abort file names, which is there while a broker runs and after one that did not close it.
    pub abort: Option<String>,
    /// The machine has run on since that process ended, so nothing was lost that had been written.
    pub ran_on: bool,
    /// The process that has the directory open; 0 when it cannot be told which.
    pub held_by: Option<i32>,
    /// What would keep a store from opening it before anything else: state in `RocksDB`.
    pub rocksdb: Option<OpenError>,
    /// Bytes of all log files.
    pub log_bytes: u64,
    /// Topics with consume queues.
    pub topics: usize,
    /// What else was found: names of files and directories with what they are.
    pub parts: Vec<(String, &'static str)>,
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

const PARTS: [(&str, &str); 16] = [
    ("consumequeue_ext", "extensions of consume queues (Apache)"),
    (layout::BATCH_QUEUE, "queues of batches"),
    (
        layout::BATCH_ENTRIES,
        "entries of queues of batches (aerobee)",
    ),
    (layout::INDEX, "index by keys"),
    ("timerwheel", "wheel of the timer"),
    ("timerlog", "log of the timer"),
    ("compaction", "compacted topics (Apache)"),
    ("rocksdbstore", "RocksDB (Apache)"),
    ("config", "topics, groups, offsets"),
    ("abort.bak", "a copy of the abort file (Apache)"),
    ("epochFileCheckpoint", "epochs of a controlled broker"),
    ("brokerIdentity", "identity of a controlled broker"),
    (layout::SUMMARY, "summary of the queues (aerobee)"),
    (layout::INDEX_STATE, "durable end of the index (aerobee)"),
    (layout::PREPARING, "log files being made (aerobee)"),
    (layout::QUARANTINE, "what recovery cut off (aerobee)"),
];

impl Directory {
    /// Looks at names and lengths. Changes nothing.
    ///
    /// # Errors
    /// It is no store, or cannot be read.
    pub fn open(root: &Path, sizes: Sizes) -> Result<Directory, InspectError> {
        Self::open_at(root, &LogDirs::default(), sizes)
    }

    /// As [`Directory::open`], of a store whose log is elsewhere.
    ///
    /// # Errors
    /// It is no store, or cannot be read.
    pub fn open_at(root: &Path, dirs: &LogDirs, sizes: Sizes) -> Result<Directory, InspectError> {
        let env = Env::reading();
        let homes = Arc::new(Homes::at(root, dirs)?);
        let has_log = homes.all().any(|dir| dir.is_dir());
        for (is_there, missing) in [
            (root.is_dir(), "directory of that name"),
            (has_log, "commitlog"),
        ] {
            if !is_there {
                return Err(InspectError::NoStore {
                    path: root.to_owned(),
                    missing,
                });
            }
        }
        let mut log_faults = Vec::new();
        let (log, log_bytes) =
            look_at_log(&env, &homes, sizes.commit_log_file_bytes, &mut log_faults)?;
        let read = Content::read(&env, root)
            .map_err(OpenError::io("read", root.join(layout::CHECKPOINT)))?;
        let checkpoint_len = read.as_ref().map_or(0, |(_, len)| *len);
        let checkpoint = read.map(|(content, _)| content);
        let writer = match &checkpoint {
            None => Writer::Unknown,
            Some(content) if content.own().is_some() => Writer::Aerobee,
            Some(content) if content.has_slots() => Writer::ApacheAfterAerobee,
            Some(_) => Writer::Apache,
        };
        let ran_on = abort_file::left(&env, root)? == abort_file::Left::Killed;
        let abort = root.join(layout::ABORT);
        let abort = env
            .exists(&abort)
            .then(|| read_line(&env, &abort).unwrap_or_default());
        let queues_dir = root.join(layout::CONSUME_QUEUE);
        let topics = env
            .list(&queues_dir)
            .map_err(OpenError::io("list", &queues_dir))?;
        let queue_file_bytes = match sizes.queue_file_entries {
            Some(entries) => u64::from(entries) * ENTRY_BYTES as u64,
            None => queue_length(&env, &queues_dir)?,
        };
        let geometry = match sizes.index {
            Some(geometry) => Some(geometry),
            None => index_geometry(&env, &root.join(layout::INDEX))?,
        };
        let mut directory = Directory {
            batch_queue_file_entries: None,
            held_by: LockFile::holder(&env, root)
                .map_err(OpenError::io("examine", root.join(layout::LOCK)))?,
            rocksdb: recovery::refuse_rocksdb(&env, root).err(),
            parts: PARTS
                .iter()
                .filter(|(name, _)| env.exists(&root.join(name)))
                .map(|(name, what)| ((*name).to_owned(), *what))
                .collect(),
            topics: topics.iter().filter(|entry| entry.is_dir).count(),
            root: root.to_owned(),
            log_dirs: dirs.clone(),
            log,
            checkpoint,
            checkpoint_len,
            queue_file_bytes,
            geometry,
            log_faults,
            writer,
            abort,
            ran_on,
            log_bytes,
            env,
        };
        // Now, as a repair moves them aside.
        directory.batch_queue_file_entries = directory.look_at_batch_queues()?;
        Ok(directory)
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Bytes of a log file.
    #[must_use]
    pub fn log_file_bytes(&self) -> u64 {
        self.log.file_bytes()
    }

    /// How many log files there are.
    #[must_use]
    pub fn log_files(&self) -> usize {
        self.log.bases().len()
    }

    /// Entries of a consume queue file.
    #[must_use]
    pub fn queue_file_entries(&self) -> u64 {
        self.queue_file_bytes / ENTRY_BYTES as u64
    }

    /// Where the log begins.
    #[must_use]
    pub fn log_first(&self) -> i64 {
        self.log.first().unwrap_or(0)
    }

    /// What the checkpoint says, if there is one.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.checkpoint.as_ref().map(|content| Checkpoint {
            longs: content.longs,
            own: content.own().map(|own| (own.flushed, own.dispatched)),
        })
    }

    /// Whether it was left in order.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.abort.is_none() && self.held_by.is_none()
    }

    /// Settings with which a store opens it.
    pub(super) fn config(&self, base: Config) -> Config {
        let mut config = Config {
            dir: self.root.clone(),
            log_dirs: self.log_dirs.clone(),
            commit_log_file_bytes: self.log.file_bytes(),
            queue_file_entries: u32::try_from(self.queue_file_entries()).unwrap_or(u32::MAX),
            ..base
        };
        if let Some(geometry) = self.geometry {
            config.index.geometry = geometry;
        }
        if let Some(entries) = self.batch_queue_file_entries {
            config.batch_queue_file_entries = entries;
        }
        config
    }

    /// Adds what names and lengths of log files told.
    pub(super) fn report_log_files(&self, report: &mut Report) {
        for (kind, path, at, what) in &self.log_faults {
            report.add(*kind, path, *at, what.clone());
        }
    }

    /// The queues of a topic, with the faults of their names and lengths.
    pub(super) fn queue_dirs(
        &self,
        topic: &str,
        report: &mut Report,
    ) -> Result<Vec<QueueDir>, OpenError> {
        let dir = self.root.join(layout::CONSUME_QUEUE).join(topic);
        let mut dirs = Vec::new();
        for entry in self.env.list(&dir).map_err(OpenError::io("list", &dir))? {
            let id = entry
                .name
                .parse()
                .ok()
                .filter(|id: &i32| entry.is_dir && *id >= 0 && id.to_string() == entry.name);
            let Some(id) = id else { continue };
            let dir = dir.join(&entry.name);
            let mut bases: SmallVec<[i64; 1]> = SmallVec::new();
            for entry in self.env.list(&dir).map_err(OpenError::io("list", &dir))? {
                let Some(base) = layout::base_of(&entry.name).filter(|_| !entry.is_dir) else {
                    continue;
                };
                let path = dir.join(&entry.name);
                if base.rem_euclid(self.queue_file_bytes.cast_signed()) != 0 {
                    let what = format!("the name is no multiple of {}", self.queue_file_bytes);
                    report.add(Kind::StrayQueueFile, &path, None, what);
                    continue;
                }
                if let Some(last) = bases.last().copied() {
                    let expected = last + self.queue_file_bytes.cast_signed();
                    if base != expected {
                        let missing = dir.join(layout::file_name(expected));
                        report.add(
                            Kind::MissingQueueFile,
                            &missing,
                            None,
                            "the file is missing, later ones are there",
                        );
                    }
                }
                let len = length(&self.env, &path)?;
                if len == 0 {
                    // A crash may leave one that was just made; starting removes it.
                    continue;
                }
                if len != self.queue_file_bytes {
                    let what = format!("{len} bytes, not {}", self.queue_file_bytes);
                    report.add(Kind::QueueFileLength, &path, Some(len), what);
                }
                bases.push(base);
            }
            dirs.push(QueueDir { id, bases });
        }
        dirs.sort_unstable_by_key(|dir| dir.id);
        Ok(dirs)
    }

    /// Names of the topics that have consume queues.
    pub(super) fn topic_names(&self) -> Result<Vec<Arc<str>>, OpenError> {
        let dir = self.root.join(layout::CONSUME_QUEUE);
        let listed = self.env.list(&dir).map_err(OpenError::io("list", &dir))?;
        let dirs = listed.into_iter().filter(|entry| entry.is_dir);
        Ok(dirs.map(|entry| entry.name.into()).collect())
    }
}

/// The first line of a small file.
fn read_line(env: &Env, path: &Path) -> io::Result<String> {
    let file = env.open(path)?;
    let mut bytes = vec![0; 64];
    let read = env.read_at(&file, path, &mut bytes, 0)?;
    let text = String::from_utf8_lossy(&bytes[..read]);
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

pub(super) fn length(env: &Env, path: &Path) -> Result<u64, OpenError> {
    let file = env.open(path).map_err(OpenError::io("open", path))?;
    let metadata = file.metadata().map_err(OpenError::io("examine", path))?;
    Ok(metadata.len())
}

/// The row of log files as it is, and how many bytes they have. Files of other lengths take part: what is in them is
/// read as far as it goes.
fn look_at_log(
    env: &Env,
    homes: &Arc<Homes>,
    file_bytes: Option<u64>,
    faults: &mut Vec<(Kind, PathBuf, Option<u64>, String)>,
) -> Result<(Files, u64), OpenError> {
    let mut found = Vec::new();
    for dir in homes.all() {
        for entry in env.list(dir).map_err(OpenError::io("list", dir))? {
            let Some(base) = layout::base_of(&entry.name).filter(|_| !entry.is_dir) else {
                continue;
            };
            homes.found(base, dir);
            found.push((base, length(env, &dir.join(entry.name))?));
        }
    }
    found.sort_unstable();
    let file_bytes = file_bytes.unwrap_or_else(|| usual_length(&found));
    let step = file_bytes.cast_signed();
    let mut slots = Vec::new();
    let mut expected: Option<i64> = None;
    let last = found.last().map(|(base, _)| *base);
    for (base, len) in &found {
        let path = homes.path(*base);
        if base.rem_euclid(step) != 0 {
            let what = format!("the name is no multiple of {file_bytes}");
            faults.push((Kind::StrayLogFile, path, None, what));
            continue;
        }
        if *len == 0 && last == Some(*base) {
            // Nothing was written to it; starting removes it.
            continue;
        }
        if let Some(expected) = expected.filter(|expected| expected != base) {
            let files = (base - expected) / step;
            let what = match files {
                1 => "the file is missing, later ones are there".to_owned(),
                files => format!("{files} files from here on are missing, later ones are there"),
            };
            let path = homes.path(expected);
            faults.push((Kind::MissingLogFile, path, None, what));
        }
        if *len != file_bytes {
            let what = format!("{len} bytes, not {file_bytes}");
            faults.push((Kind::LogFileLength, path, Some(*len.min(&file_bytes)), what));
        }
        expected = Some(base + step);
        slots.push(Slot::unmapped(*base, 0));
    }
    let bytes = found.iter().map(|(_, len)| len).sum();
    let files = Files::of_log(homes, file_bytes, Descriptors::Drop, slots);
    Ok((files, bytes))
}

/// The length that most files have; with as many of each the greater one, because files are cut more often than they
/// grow. The distance of two names counts for them.
fn usual_length(found: &[(i64, u64)]) -> u64 {
    let mut votes: BTreeMap<u64, usize> = BTreeMap::new();
    for (_, len) in found.iter().filter(|(_, len)| *len > 0) {
        *votes.entry(*len).or_default() += 1;
    }
    for pair in found.windows(2) {
        if let [(before, _), (base, _)] = pair {
            *votes.entry(base.abs_diff(*before)).or_default() += 1;
        }
    }
    let most = votes.into_iter().max_by_key(|(len, votes)| (*votes, *len));
    most.map_or(1 << 30, |(len, _)| len)
}

/// The length of queue files, from the first topics that have any.
fn queue_length(env: &Env, dir: &Path) -> Result<u64, OpenError> {
    const ENOUGH: usize = 64;
    let mut found = Vec::new();
    'topics: for topic in env.list(dir).map_err(OpenError::io("list", dir))? {
        let topic = dir.join(topic.name);
        if !topic.is_dir() {
            continue;
        }
        for queue in env.list(&topic).map_err(OpenError::io("list", &topic))? {
            let queue = topic.join(queue.name);
            if !queue.is_dir() {
                continue;
            }
            for file in env.list(&queue).map_err(OpenError::io("list", &queue))? {
                if layout::base_of(&file.name).is_some() && !file.is_dir {
                    found.push((0, length(env, &queue.join(file.name))?));
                }
                if found.len() >= ENOUGH {
                    break 'topics;
                }
            }
        }
    }
    found.retain(|(_, len)| *len > 0 && len % ENTRY_BYTES as u64 == 0);
    let mut votes: BTreeMap<u64, usize> = BTreeMap::new();
    for (_, len) in &found {
        *votes.entry(*len).or_default() += 1;
    }
    let most = votes.into_iter().max_by_key(|(len, votes)| (*votes, *len));
    let usual = u64::from(Config::new("").queue_file_entries) * ENTRY_BYTES as u64;
    Ok(most.map_or(usual, |(len, _)| len))
}

/// Slots and entries of index files, where their length tells: that of the defaults.
fn index_geometry(env: &Env, dir: &Path) -> Result<Option<Geometry>, OpenError> {
    let usual = Geometry::default();
    for entry in env.list(dir).map_err(OpenError::io("list", dir))? {
        if format::number_of(&entry.name).is_none() || entry.is_dir {
            continue;
        }
        let len = length(env, &dir.join(entry.name))?;
        return Ok((len == usual.file_bytes()).then_some(usual));
    }
    Ok(Some(usual))
}
