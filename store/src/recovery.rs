// SPDX-License-Identifier: Apache-2.0
//! From a directory as it was left, by us or by Apache's broker, cleanly or not, to a log and queues that agree.
//!
//! Decisions rest on positions, not on times. Nothing is removed that may hold a message: a tail that is not a record
//! is copied to `quarantine/` if it contains one, and damage before the durable end keeps the store from opening.

use std::{collections::HashMap, io, path::Path, sync::Arc};

use crate::{
    checkpoint::CheckpointFile,
    commit_log::CommitLog,
    config::Config,
    consume_queue::{Entry, Found, Queue, cut_files},
    dispatch::{self, Dispatched},
    env::Env,
    error::{AppendError, OpenError},
    files::{self, Descriptors, Files, Slot},
    layout::{self, ENTRY_BYTES},
    prepare,
    scan::{Frame, Scanner},
    store::{QueueTable, make_queue},
    watermark::Watermarks,
};

/// What a store starts with.
pub(crate) struct Recovered {
    pub(crate) log: CommitLog,
    pub(crate) queues: QueueTable,
    pub(crate) checkpoint: CheckpointFile,
}

/// How far the bytes of a log are known to have been durable.
#[derive(Debug, Clone, Copy)]
enum Durable {
    /// Our own checkpoint says so.
    Own(i64),
    /// A broker of Apache's wrote last: what its queues refer to was in the log.
    Foreign(i64),
}

/// Where a scan ended.
struct Scanned {
    end: i64,
    /// Why the bytes there are no record; `None` when there is no file.
    reason: Option<String>,
    last: (i64, i64),
    records: u64,
    dirty: Vec<Arc<Queue>>,
}

struct Recovery<'a> {
    config: &'a Config,
    env: &'a Env,
    marks: Arc<Watermarks>,
    log: Files,
    queues: QueueTable,
}

/// Recovers a locked directory.
pub(crate) fn recover(config: &Config, env: &Env) -> Result<Recovered, OpenError> {
    refuse_rocksdb(env, &config.dir)?;
    let clean_before = !env.exists(&config.dir.join(layout::ABORT));
    remove_preparing(env, &config.dir)?;
    let checkpoint = CheckpointFile::open(env, &config.dir)?;
    let dir = config.dir.join(layout::COMMIT_LOG);
    let bases = files::list(env, &dir, config.commit_log_file_bytes)?;
    let file_bytes = usize::try_from(config.commit_log_file_bytes).unwrap_or(usize::MAX);
    let slots = bases
        .iter()
        .map(|base| Slot::unmapped(*base, file_bytes))
        .collect();
    let log = Files::new(dir, config.commit_log_file_bytes, Descriptors::Keep, slots);
    let first = log.first().unwrap_or(0);
    let marks = Arc::new(Watermarks::new(config.flush_mode, first, i64::MAX));
    let mut recovery = Recovery {
        config,
        env,
        marks,
        log,
        queues: HashMap::new(),
    };
    recovery.load_queues()?;

    let known = recovery.queues.values().flat_map(|ids| ids.values());
    let known = known
        .map(|queue| queue.tail().max_physical)
        .max()
        .unwrap_or(0);
    let own = checkpoint.own().filter(|own| own.dispatched >= first);
    let (start, durable, last) = match own {
        // Queues that know less than the checkpoint says were removed: all of the log is dispatched again.
        Some(own) if known < own.dispatched => (first, Durable::Own(own.flushed), (0, 0)),
        Some(own) => (
            own.dispatched,
            Durable::Own(own.flushed),
            (own.last_start, own.last_timestamp),
        ),
        None => (
            recovery.foreign_start(&checkpoint, clean_before, known)?,
            Durable::Foreign(known),
            (0, 0),
        ),
    };
    let mut scanned = match recovery.scan(start, last, start == first)? {
        Some(scanned) => scanned,
        None => {
            tracing::warn!("queue entries are missing: all of the log is dispatched again");
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
    recovery.cut_queues(end)?;
    recovery.correct_mins();
    tracing::info!(
        clean = clean_before,
        own_checkpoint = own.is_some(),
        from = start,
        end,
        records = scanned.records,
        queues = recovery
            .queues
            .values()
            .map(std::collections::BTreeMap::len)
            .sum::<usize>(),
        "the store is recovered"
    );
    let dirty = std::mem::take(&mut scanned.dirty);
    let log = recovery.open_log(end, scanned.last)?;
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
        checkpoint,
    })
}

impl Recovery<'_> {
    fn load_queues(&mut self) -> Result<(), OpenError> {
        let root = self.config.dir.join(layout::CONSUME_QUEUE);
        for topic in self.env.list(&root).map_err(OpenError::io("list", &root))? {
            if !topic.is_dir {
                continue;
            }
            let name: Arc<str> = topic.name.as_str().into();
            let dir = root.join(&topic.name);
            for entry in self.env.list(&dir).map_err(OpenError::io("list", &dir))? {
                let id = entry
                    .name
                    .parse::<i32>()
                    .ok()
                    .filter(|id| *id >= 0 && id.to_string() == entry.name);
                let Some(id) = id.filter(|_| entry.is_dir) else {
                    continue;
                };
                let queue = self.load_queue(&name, id)?;
                self.queues
                    .entry(Arc::clone(&name))
                    .or_default()
                    .insert(id, queue);
            }
        }
        Ok(())
    }

    /// Opens one queue: its entries count up to the first that is none, or that its last record does not confirm.
    fn load_queue(&self, topic: &Arc<str>, id: i32) -> Result<Arc<Queue>, OpenError> {
        let dir = layout::queue_dir(&self.config.dir, topic, id);
        let file_bytes = u64::from(self.config.queue_file_entries) * ENTRY_BYTES as u64;
        let bases = files::list(self.env, &dir, file_bytes)?;
        let first = bases.first().map_or(0, |base| base / ENTRY_BYTES as i64);
        let files = Files::new(dir.clone(), file_bytes, Descriptors::Drop, Vec::new());
        let mut found = Found {
            min: first,
            next: first,
            max_physical: 0,
        };
        let mut has_stale_tail = false;
        let mut scanner = Scanner::new(self.env, &self.log);
        for base in bases.iter().rev() {
            let entries = read_entries(self.env, &files, *base)?;
            let start = base / ENTRY_BYTES as i64;
            let mut valid = entries.valid;
            while let Some(last) = valid.last().filter(|last| !last.is_blank()) {
                if last.end() <= self.log_end()
                    && scanner.starts_record(last.physical, last.size, id)?
                {
                    break;
                }
                valid.pop();
                has_stale_tail = true;
            }
            has_stale_tail |= entries.has_more;
            if !valid.is_empty() || *base == bases[0] {
                found.next = start + valid.len() as i64;
                found.max_physical = valid
                    .last()
                    .filter(|last| !last.is_blank())
                    .map_or(0, |last| last.end());
                break;
            }
            // An empty file behind the end, made ahead, goes too.
            has_stale_tail = true;
        }
        let slots = if has_stale_tail {
            cut_files(self.env, &files, &bases, found.next).map_err(OpenError::io("cut", &dir))?
        } else {
            let published = |base: i64| {
                (found.next * ENTRY_BYTES as i64 - base).clamp(0, file_bytes.cast_signed())
            };
            bases
                .iter()
                .map(|base| Slot::unmapped(*base, usize::try_from(published(*base)).unwrap_or(0)))
                .collect()
        };
        files.replace(slots);
        let marks = Arc::clone(&self.marks);
        Ok(Queue::new(
            Arc::clone(topic),
            id,
            self.env.clone(),
            marks,
            files,
            &found,
            false,
        ))
    }

    fn log_end(&self) -> i64 {
        self.log.bases().last().map_or(0, |base| {
            base + self.config.commit_log_file_bytes.cast_signed()
        })
    }

    /// Where to start in a directory that a broker of Apache's wrote last; its own rules (`CommitLog.java`,
    /// `isMappedFileMatchedRecover`), and the first file when they find none.
    fn foreign_start(
        &self,
        checkpoint: &CheckpointFile,
        clean: bool,
        known: i64,
    ) -> Result<i64, OpenError> {
        let bases = self.log.bases();
        let mut scanner = Scanner::new(self.env, &self.log);
        let [physical_time, logical_time, .., dispatched] = checkpoint.longs;
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

    /// Reads the log from `start` to its end and dispatches what it finds; `None` when a queue lacks entries that only
    /// an earlier part of the log has.
    fn scan(
        &mut self,
        start: i64,
        last: (i64, i64),
        is_whole: bool,
    ) -> Result<Option<Scanned>, OpenError> {
        let mut scanned = Scanned {
            end: start,
            reason: None,
            last,
            records: 0,
            dirty: Vec::new(),
        };
        let mut dirty: HashMap<*const Queue, Arc<Queue>> = HashMap::new();
        let log = Files::new(
            self.log.dir().to_owned(),
            self.log.file_bytes(),
            Descriptors::Keep,
            self.log
                .bases()
                .iter()
                .map(|base| Slot::unmapped(*base, 0))
                .collect(),
        );
        let mut scanner = Scanner::new(self.env, &log);
        loop {
            match scanner.frame(scanned.end)? {
                Frame::NoFile => break,
                Frame::Bad(reason) => {
                    scanned.reason = Some(reason);
                    break;
                }
                Frame::Blank => {
                    scanned.end = log.base_for(scanned.end) + log.file_bytes().cast_signed();
                }
                Frame::Record(record) => {
                    if dispatch::is_queued(&record) {
                        let queue = self.queue_of(record.topic(), record.queue_id());
                        let queue = queue.map_err(|error| self.dispatch_error(error))?;
                        let dispatched = dispatch::dispatch(&queue, &record, is_whole);
                        match dispatched.map_err(|error| self.dispatch_error(error))? {
                            Dispatched::Gap => return Ok(None),
                            Dispatched::Known => {}
                            Dispatched::Added => {
                                dirty.entry(Arc::as_ptr(&queue)).or_insert(queue);
                            }
                        }
                    }
                    scanned.last = (scanned.end, record.store_timestamp());
                    scanned.end += record.total_len() as i64;
                    scanned.records += 1;
                }
            }
        }
        scanned.dirty = dirty.into_values().collect();
        Ok(Some(scanned))
    }

    fn dispatch_error(&self, error: AppendError) -> OpenError {
        let source = match error {
            AppendError::Io(error) => error,
            other => io::Error::other(other),
        };
        OpenError::Io {
            what: "rebuild",
            path: self.config.dir.join(layout::CONSUME_QUEUE),
            source,
        }
    }

    fn queue_of(&mut self, topic: &str, id: i32) -> Result<Arc<Queue>, AppendError> {
        if let Some(queue) = self.queues.get(topic).and_then(|ids| ids.get(&id)) {
            return Ok(Arc::clone(queue));
        }
        let queue = make_queue(self.config, self.env, &self.marks, topic, id)?;
        self.queues
            .entry(Arc::clone(queue.topic()))
            .or_default()
            .insert(id, Arc::clone(&queue));
        Ok(queue)
    }

    /// Decides what the bytes behind the last good record are, and makes them zero if they may go.
    fn check_tail(&mut self, scanned: &Scanned, durable: Durable) -> Result<(), OpenError> {
        let end = scanned.end;
        let later: Vec<i64> = self
            .log
            .bases()
            .into_iter()
            .filter(|base| *base >= end)
            .collect();
        let mut data = Vec::new();
        let mut scanner = Scanner::new(self.env, &self.log);
        let own_file = self.log.base_for(end);
        let holders = std::iter::once(end)
            .filter(|_| later.first() != Some(&end))
            .chain(later.iter().copied());
        for position in holders {
            data.extend(scanner.data_behind(position)?);
        }
        let mut next_record = None;
        for range in &data {
            next_record = next_record.or(scanner.next_record(range.start.max(end + 1)..range.end)?);
        }
        let reason = scanned
            .reason
            .clone()
            .unwrap_or_else(|| "the file is missing".to_owned());
        let is_damage = match durable {
            Durable::Own(durable) => end < durable,
            Durable::Foreign(known) => end < known && next_record.is_some(),
        };
        if is_damage {
            let (path, at_byte) = scanner.locate(end);
            let resumes = match next_record {
                Some(at) => format!("records can be read again from position {at}"),
                None => "no record follows".to_owned(),
            };
            return Err(OpenError::Damaged {
                path,
                at_byte,
                position: end,
                reason,
                resumes,
            });
        }
        if !data.is_empty() {
            tracing::warn!(
                position = end,
                reason,
                "the log ends in bytes that are no record: they are cut off"
            );
            if next_record.is_some() {
                self.quarantine(end, &data)?;
            }
        }
        self.cut_log(own_file, end, &later, !data.is_empty())
    }

    /// Copies ranges of the log aside, one file each.
    fn quarantine(&self, end: i64, ranges: &[std::ops::Range<i64>]) -> Result<(), OpenError> {
        let dir = self.config.dir.join(layout::QUARANTINE);
        self.env
            .create_dir_all(&dir)
            .map_err(OpenError::io("create", &dir))?;
        let now = self.env.clock().millis();
        for range in ranges {
            let base = self.log.base_for(range.start);
            let from = range.start.max(end.min(range.start));
            let source_path = self.log.path(base);
            let source = self
                .env
                .open(&source_path)
                .map_err(OpenError::io("open", &source_path))?;
            let path = dir.join(format!("{}-{now}", layout::file_name(from)));
            let copy = self
                .env
                .open_or_create(&path)
                .map_err(OpenError::io("create", &path))?;
            let mut buffer = vec![0; 1 << 20];
            let mut at = from;
            while at < range.end {
                let want = usize::try_from(range.end - at)
                    .unwrap_or(usize::MAX)
                    .min(buffer.len());
                let in_file = (at - base).cast_unsigned();
                let read = self
                    .env
                    .read_at(&source, &source_path, &mut buffer[..want], in_file);
                let read = read.map_err(OpenError::io("read", &source_path))?;
                if read == 0 {
                    break;
                }
                let written = self.env.write_all_at(
                    &copy,
                    &path,
                    &buffer[..read],
                    (at - from).cast_unsigned(),
                );
                written.map_err(OpenError::io("write", &path))?;
                at += read as i64;
            }
            self.env
                .sync_all(&copy, &path)
                .map_err(OpenError::io("sync", &path))?;
            tracing::warn!(path = %path.display(), from, to = range.end, "bytes behind the end of the log are kept here");
        }
        self.env.sync_dir(&dir).map_err(OpenError::io("sync", &dir))
    }

    /// Removes files behind the end, the last first, and makes the rest of the last one zero.
    fn cut_log(
        &mut self,
        own_file: i64,
        end: i64,
        later: &[i64],
        has_data: bool,
    ) -> Result<(), OpenError> {
        let dir = self.log.dir().to_owned();
        let gone: Vec<i64> = later
            .iter()
            .copied()
            .filter(|base| *base != own_file)
            .collect();
        for base in gone.iter().rev() {
            let path = self.log.path(*base);
            self.env
                .remove_file(&path)
                .map_err(OpenError::io("remove", &path))?;
        }
        if !gone.is_empty() {
            self.env
                .sync_dir(&dir)
                .map_err(OpenError::io("sync", &dir))?;
        }
        if has_data && self.log.bases().contains(&own_file) {
            let path = self.log.path(own_file);
            let file = self.env.open(&path).map_err(OpenError::io("open", &path))?;
            let used = (end - own_file).cast_unsigned();
            let rest = self.config.commit_log_file_bytes - used;
            self.env
                .zero_range(&file, &path, used, rest)
                .map_err(OpenError::io("zero the end of", &path))?;
            self.env
                .sync_all(&file, &path)
                .map_err(OpenError::io("sync", &path))?;
        }
        let file_bytes = self.config.commit_log_file_bytes.cast_signed();
        let published = |base: i64| usize::try_from((end - base).clamp(0, file_bytes)).unwrap_or(0);
        let kept = self
            .log
            .bases()
            .into_iter()
            .filter(|base| !gone.contains(base));
        self.log.replace(
            kept.map(|base| Slot::unmapped(base, published(base)))
                .collect(),
        );
        Ok(())
    }

    /// Cuts from all queues what lies behind the end of the log.
    fn cut_queues(&self, end: i64) -> Result<(), OpenError> {
        for queue in self.queues.values().flat_map(|ids| ids.values()) {
            if queue.tail().max_physical <= end {
                continue;
            }
            let mut next = queue.appended_offset();
            while next > queue.min_offset()
                && queue
                    .entry(next - 1)
                    .is_some_and(|e| !e.is_blank() && e.end() > end)
            {
                next -= 1;
            }
            queue
                .cut(next)
                .map_err(OpenError::io("cut", queue.files.dir()))?;
        }
        Ok(())
    }

    /// Sets the first readable offset of each queue: the first entry whose record is still in the log.
    fn correct_mins(&self) {
        let first = self.log.first().unwrap_or(0);
        for queue in self.queues.values().flat_map(|ids| ids.values()) {
            let (mut low, mut high) = (queue.min_offset(), queue.appended_offset());
            let starts_at = queue
                .files
                .first()
                .map_or(0, |base| base / ENTRY_BYTES as i64);
            low = low.min(starts_at);
            while low < high {
                let middle = low + (high - low) / 2;
                let is_gone = queue
                    .entry(middle)
                    .is_none_or(|entry| entry.is_blank() || entry.physical < first);
                if is_gone {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            queue.set_min(low);
        }
    }

    /// The log, ready to append, durable up to its end.
    fn open_log(&mut self, end: i64, last: (i64, i64)) -> Result<CommitLog, OpenError> {
        let dir = self.log.dir().to_owned();
        let bases = self.log.bases();
        if !bases.contains(&self.log.base_for(end)) {
            let made = prepare::make_log_file(self.env, self.config, self.log.base_for(end));
            let made = made.map_err(OpenError::io("create a file of the log in", &dir))?;
            self.log.push(&Slot::mapped(made));
        }
        let first = self.log.first().unwrap_or(0);
        let synced = self.log.bases();
        for base in synced.iter().rev().take(2) {
            let path = self.log.path(*base);
            let file = self.env.open(&path).map_err(OpenError::io("open", &path))?;
            // The file may be sparse, as Java makes them: without blocks a full disk would end the process.
            let len = self.config.commit_log_file_bytes;
            if *base == self.log.base_for(end) {
                self.env
                    .allocate(&file, &path, 0, len)
                    .map_err(OpenError::io("allocate", &path))?;
            }
            self.env
                .sync_all(&file, &path)
                .map_err(OpenError::io("sync", &path))?;
        }
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
        self.marks.recovered(first, end);
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

struct Entries {
    valid: Vec<Entry>,
    /// Something follows that is not zero.
    has_more: bool,
}

/// Reads a consume queue file up to the first entry that is none, or that does not continue the one before.
fn read_entries(env: &Env, files: &Files, base: i64) -> Result<Entries, OpenError> {
    let path = files.path(base);
    let file = env.open(&path).map_err(OpenError::io("open", &path))?;
    let len = usize::try_from(files.file_bytes()).unwrap_or(usize::MAX);
    let mut valid: Vec<Entry> = Vec::new();
    let mut buffer = vec![0; (64 << 10) / ENTRY_BYTES * ENTRY_BYTES];
    let mut at = 0usize;
    let mut ended = false;
    while at < len {
        let position = if ended {
            match env
                .next_data(&file, &path, at as u64)
                .map_err(OpenError::io("read", &path))?
            {
                Some(data) => usize::try_from(data).unwrap_or(len),
                None => break,
            }
        } else {
            at
        };
        let want = buffer.len().min(len.saturating_sub(position));
        let read = env.read_at(&file, &path, &mut buffer[..want], position as u64);
        let read = read.map_err(OpenError::io("read", &path))?;
        if read == 0 {
            break;
        }
        let mut rest = &buffer[..read];
        while !ended && let Some((bytes, after)) = rest.split_first_chunk::<ENTRY_BYTES>() {
            let entry = Entry::of_bytes(bytes);
            let continues = valid
                .last()
                .is_none_or(|last| last.is_blank() || entry.physical >= last.end());
            if entry.physical < 0 || entry.size <= 0 || !continues {
                ended = true;
            } else {
                valid.push(entry);
                rest = after;
            }
        }
        if ended && rest.iter().any(|byte| *byte != 0) {
            return Ok(Entries {
                valid,
                has_more: true,
            });
        }
        at = position + read;
    }
    Ok(Entries {
        valid,
        has_more: false,
    })
}

/// Log files that were being made when the process ended.
fn remove_preparing(env: &Env, root: &Path) -> Result<(), OpenError> {
    let dir = root.join(layout::PREPARING);
    for entry in env.list(&dir).map_err(OpenError::io("list", &dir))? {
        if layout::base_of(&entry.name).is_some() && !entry.is_dir {
            let path = dir.join(&entry.name);
            env.remove_file(&path)
                .map_err(OpenError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Apache can keep state in `RocksDB`; without it messages or positions would be missing silently.
fn refuse_rocksdb(env: &Env, root: &Path) -> Result<(), OpenError> {
    let places = [
        ("consumequeue/CURRENT", "consume queues"),
        ("consumequeue_rocksdb", "consume queues"),
        ("kvStore", "pop state"),
        ("config/metadata", "topics, groups and offsets"),
        ("config/rdb", "topics, groups and offsets"),
        ("config/topics", "topics"),
    ];
    for (name, kept) in places {
        let path = root.join(name);
        if env.exists(&path) {
            return Err(OpenError::RocksDb { path, kept });
        }
    }
    let dir = root.join("rocksdbstore");
    for entry in env.list(&dir).map_err(OpenError::io("list", &dir))? {
        if entry.name.ends_with(".sst") {
            return Err(OpenError::RocksDb {
                path: dir.join(entry.name),
                kept: "index, timers or transactions",
            });
        }
    }
    Ok(())
}
