// SPDX-License-Identifier: Apache-2.0
//! Queues of topics with `queue.type=BatchCQ`, whose records may hold several messages each: inner batches (Apache:
//! `queue/BatchConsumeQueue.java`).
//!
//! Here such a queue has an entry for each message, as any other, below `batchentries/`; all messages of a batch have
//! the same one. What Apache's broker reads, `batchconsumequeue/` with one unit of 46 bytes for each record, is written
//! beside by the keeper, before the checkpoint, and read when such a broker has written last.
//!
//! | unit | bytes |
//! |---|---|
//! | position of the record in the log 8, its length 4, tags code 8 | 20 |
//! | store time 8, queue offset of its first message 8, number of messages 2 | 18 |
//! | −1 4, reserved 4 | 8 |
//!
//! Where a unit is in its file says nothing about its offset.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use aerobee_message::{
    keys,
    record::{Record, store_timestamp_of},
    sysflag,
};
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::{
    append::{Appended, Outcome},
    consume_queue::{Chunk, Entry, Queue},
    env::Env,
    error::{AppendError, OpenError},
    files, layout,
    query::HEADER_BYTES,
    queue_files::clear_behind,
    read::Access,
    store::{Inner, Store},
};

pub(crate) const UNIT_BYTES: usize = 46;
const UNIT: i64 = UNIT_BYTES as i64;
/// Messages of one record, at most: their number has two bytes.
pub(crate) const MESSAGES_MAX: i64 = i16::MAX as i64;
/// What stands for the first offset of a queue of batches that never had a message (Apache:
/// `BatchConsumeQueue.minOffsetInQueue`).
pub(crate) const NO_OFFSET: i64 = -1;
/// Units that are written, or read, at once.
const UNITS_AT_ONCE: usize = 4096;

/// One record in a queue of batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) entry: Entry,
    pub(crate) store_time: i64,
    /// Queue offset of the first message.
    pub(crate) first: i64,
    pub(crate) messages: i16,
}

impl Unit {
    /// Nothing when the bytes are no unit.
    pub(crate) fn of_bytes(bytes: &[u8; UNIT_BYTES]) -> Option<Unit> {
        let (entry, rest) = bytes.split_first_chunk()?;
        let (store_time, rest) = rest.split_first_chunk()?;
        let (first, rest) = rest.split_first_chunk()?;
        let unit = Unit {
            entry: Entry::of_bytes(entry),
            store_time: i64::from_be_bytes(*store_time),
            first: i64::from_be_bytes(*first),
            messages: i16::from_be_bytes(*rest.first_chunk()?),
        };
        let is_one = unit.entry.physical >= 0
            && unit.entry.size > 0
            && (0..i64::MAX - MESSAGES_MAX).contains(&unit.first)
            && unit.messages > 0;
        is_one.then_some(unit)
    }

    pub(crate) fn to_bytes(self) -> [u8; UNIT_BYTES] {
        let mut bytes = [0; UNIT_BYTES];
        bytes[..20].copy_from_slice(&self.entry.to_bytes());
        bytes[20..28].copy_from_slice(&self.store_time.to_be_bytes());
        bytes[28..36].copy_from_slice(&self.first.to_be_bytes());
        bytes[36..38].copy_from_slice(&self.messages.to_be_bytes());
        bytes[38..42].copy_from_slice(&(-1_i32).to_be_bytes());
        bytes
    }

    /// Queue offset behind the last message.
    pub(crate) fn next(&self) -> i64 {
        self.first + i64::from(self.messages)
    }
}

/// How far the units of a queue go.
#[derive(Debug, Default)]
pub(crate) struct Units {
    /// Where the next one goes, in the row of files.
    position: i64,
    /// Messages before this offset have theirs.
    next: i64,
    /// The directories are there, and durable.
    has_dir: bool,
    /// Files were made whose names are not known to be durable.
    has_new_files: bool,
    /// Files were last looked at when the log began here.
    log_first: i64,
}

/// The units of one queue on disk.
#[derive(Debug)]
pub(crate) struct UnitFiles<'a> {
    env: &'a Env,
    dir: PathBuf,
    file_bytes: u64,
    bases: Vec<i64>,
}

impl<'a> UnitFiles<'a> {
    /// The files up to one that is missing.
    pub(crate) fn open(
        env: &'a Env,
        dir: PathBuf,
        file_bytes: u64,
    ) -> Result<UnitFiles<'a>, OpenError> {
        let bases = files::list_to_hole(env, &dir, file_bytes)?.bases;
        Ok(UnitFiles {
            env,
            dir,
            file_bytes,
            bases,
        })
    }

    /// As [`UnitFiles::open`], for who only looks: the files are as long as the first one, whatever the settings say, and
    /// those of other lengths or names are passed over.
    pub(crate) fn look(env: &'a Env, dir: PathBuf) -> Result<UnitFiles<'a>, OpenError> {
        let listed = env.list(&dir).map_err(OpenError::io("list", &dir))?;
        let named = listed.iter().filter(|entry| !entry.is_dir);
        let mut bases: Vec<i64> = named
            .filter_map(|entry| layout::base_of(&entry.name))
            .collect();
        bases.sort_unstable();
        let len = |base: i64| {
            let path = dir.join(layout::file_name(base));
            env.len_of(&path).map_err(OpenError::io("examine", path))
        };
        let file_bytes = bases.first().map_or(Ok(0), |base| len(*base))?;
        let file_bytes = file_bytes.max(UNIT_BYTES as u64);
        bases.retain(|base| base.rem_euclid(file_bytes.cast_signed()) == 0);
        Ok(UnitFiles {
            env,
            dir,
            file_bytes,
            bases,
        })
    }

    /// File and byte of a position.
    pub(crate) fn locate(&self, position: i64) -> (PathBuf, u64) {
        let in_file = position.rem_euclid(self.file_bytes.cast_signed());
        (self.path(position - in_file), in_file.cast_unsigned())
    }

    /// Units from a position on, at most so many, up to the first that is none or the end of the file.
    pub(crate) fn units_at(&self, position: i64, most: usize) -> Result<Vec<Unit>, OpenError> {
        let (path, at) = self.locate(position);
        if !self.bases.contains(&(position - at.cast_signed())) {
            return Ok(Vec::new());
        }
        let room = usize::try_from((self.file_bytes - at) / UNIT_BYTES as u64);
        let mut bytes = vec![0; room.map_or(most, |room| room.min(most)) * UNIT_BYTES];
        let file = self.env.open(&path).map_err(OpenError::io("open", &path))?;
        let read = self.env.read_at(&file, &path, &mut bytes, at);
        bytes.truncate(read.map_err(OpenError::io("read", &path))?);
        Ok(bytes
            .as_chunks()
            .0
            .iter()
            .map_while(Unit::of_bytes)
            .collect())
    }

    pub(crate) fn path(&self, base: i64) -> PathBuf {
        self.dir.join(layout::file_name(base))
    }

    pub(crate) fn bases(&self) -> &[i64] {
        &self.bases
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Calls `each` for the units of a file, with their positions in it, up to the first that is none or does not
    /// continue the one before; where that is.
    pub(crate) fn read(
        &self,
        base: i64,
        mut each: impl FnMut(u64, &Unit) -> io::Result<()>,
    ) -> io::Result<u64> {
        let path = self.path(base);
        let file = self.env.open(&path)?;
        let mut buffer = vec![0; UNITS_AT_ONCE * UNIT_BYTES];
        let mut before: Option<Unit> = None;
        let mut at = 0;
        loop {
            let read = self.env.read_at(&file, &path, &mut buffer, at)?;
            let (units, _) = buffer[..read].as_chunks::<UNIT_BYTES>();
            for bytes in units {
                let unit = Unit::of_bytes(bytes).filter(|unit| {
                    before.is_none_or(|before| {
                        unit.first >= before.next() && unit.entry.physical >= before.entry.end()
                    })
                });
                let Some(unit) = unit else { return Ok(at) };
                each(at, &unit)?;
                before = Some(unit);
                at += UNIT_BYTES as u64;
            }
            if units.is_empty() {
                return Ok(at);
            }
        }
    }

    /// Position behind the last unit.
    pub(crate) fn end(&self) -> io::Result<i64> {
        for base in self.bases.iter().rev() {
            let used = self.read(*base, |_, _| Ok(()))?;
            if used > 0 {
                return Ok(base + used.cast_signed());
            }
        }
        Ok(self.bases.first().copied().unwrap_or(0))
    }

    /// The unit that ends at a position.
    pub(crate) fn before(&self, position: i64) -> Result<Option<Unit>, OpenError> {
        Ok(self.units_at(position - UNIT, 1)?.pop())
    }

    /// Steps back from the end over units that do not count; where those that do end, and the last of them. A place with
    /// no unit does not count either: a file that was removed may be back after a power cut, behind one that was cut.
    pub(crate) fn end_of(
        &self,
        mut counts: impl FnMut(&Unit) -> Result<bool, OpenError>,
    ) -> Result<(i64, Option<Unit>), OpenError> {
        let end = self.end().map_err(OpenError::io("read", &self.dir));
        let mut position = end?;
        while self.bases.first().is_some_and(|first| *first < position) {
            match self.before(position)? {
                Some(unit) if counts(&unit)? => return Ok((position, Some(unit))),
                _ => position -= UNIT,
            }
        }
        Ok((position, None))
    }
}

impl Queue {
    /// Where the units are.
    pub(crate) fn units_dir(&self) -> PathBuf {
        layout::queue_dir(
            &self.shared.root,
            layout::BATCH_QUEUE,
            self.topic(),
            self.id(),
        )
    }

    fn units(&self) -> Option<Arc<Mutex<Units>>> {
        self.is_batch().then(|| self.shared.units_of(self))
    }

    /// Finds out how far the units go, and makes zero what lies behind: units of records that the log has lost. Whether
    /// some are missing. For recovery, when the entries are known.
    ///
    /// Units of records behind `sure_until` are made again, whatever is there: after a failed sync the kernel shows what
    /// the disk does not have.
    pub(crate) fn recover_units(&self, sure_until: Option<i64>) -> Result<bool, OpenError> {
        let Some(units) = self.units() else {
            return Ok(false);
        };
        let dir = self.units_dir();
        let env = &self.shared.env;
        let unit_files = UnitFiles::open(env, dir.clone(), self.shared.unit_file_bytes)?;
        let (position, last) = unit_files.end_of(|unit| {
            let entry = (unit.first >= self.min_offset()).then(|| self.entry(unit.first));
            let is_same = entry.is_none_or(|entry| {
                entry.is_some_and(|entry| {
                    (entry.physical, entry.size) == (unit.entry.physical, unit.entry.size)
                })
            });
            // A part of a batch is none.
            let is_whole = || {
                let next = (unit.next() < self.appended_offset()).then(|| self.entry(unit.next()));
                next.flatten()
                    .is_none_or(|entry| entry.physical != unit.entry.physical)
            };
            let is_sure = sure_until.is_none_or(|sure| unit.entry.physical < sure);
            Ok(unit.next() <= self.appended_offset() && is_sure && is_same && is_whole())
        })?;
        if !unit_files.bases.is_empty() {
            clear_behind(
                env,
                &self.shared.marks,
                &dir,
                self.shared.unit_file_bytes,
                position,
                &[],
            )
            .map_err(OpenError::io("clear the end of", &dir))?;
        }
        let mut units = units.lock();
        units.position = position;
        units.next = last.map_or(0, |last| last.next()).max(self.min_offset());
        Ok(units.next < self.appended_offset())
    }

    /// Writes the units of messages that have none yet; they are durable by that.
    pub(crate) fn write_units(&self, inner: &Inner) -> io::Result<()> {
        let Some(units) = self.units() else {
            return Ok(());
        };
        let mut units = units.lock();
        let until = self.appended_offset();
        units.next = units.next.max(self.min_offset());
        while units.next < until {
            let mut made = Vec::new();
            let next = self.make_units(inner, units.next, until, &mut made)?;
            self.put_units(&mut units, &made)?;
            if next == units.next {
                return Err(io::Error::other(
                    "entries of a queue of batches are missing",
                ));
            }
            units.next = next;
        }
        Ok(())
    }

    /// Makes units of entries from an offset on, at most [`UNITS_AT_ONCE`]; the offset behind them.
    fn make_units(
        &self,
        inner: &Inner,
        from: i64,
        until: i64,
        made: &mut Vec<Unit>,
    ) -> io::Result<i64> {
        let mut copied = Vec::new();
        let mut at = from;
        while at < until {
            let mapped;
            let bytes = match self.chunk(at, until, Access::Any, &mut copied) {
                Chunk::Mapped(file, from, len) => {
                    mapped = file;
                    mapped.slice(from, len).unwrap_or_default()
                }
                Chunk::Copied => &copied,
                // A unit of a part of a batch would stay: the last one is left for when its end is known.
                Chunk::Cold | Chunk::Missing => {
                    return Ok(made.pop().map_or(at, |last| last.first));
                }
            };
            let (entries, _) = bytes.as_chunks();
            for bytes in entries {
                let entry = Entry::of_bytes(bytes);
                let count = made.len();
                match made.last_mut() {
                    Some(unit)
                        if unit.entry == entry && i64::from(unit.messages) < MESSAGES_MAX =>
                    {
                        unit.messages += 1;
                    }
                    _ if count == UNITS_AT_ONCE => return Ok(at),
                    _ if entry.is_blank() || entry.physical < inner.marks.min() => {}
                    _ => made.push(Unit {
                        entry,
                        store_time: inner.store_time_at(entry.physical).ok_or_else(|| {
                            io::Error::other("a record of a queue of batches cannot be read")
                        })?,
                        first: at,
                        messages: 1,
                    }),
                }
                at += 1;
            }
        }
        Ok(at)
    }

    /// Writes units behind the last ones and makes them durable: all of them, or what is there of them is written again
    /// by the next call, in the same place.
    fn put_units(&self, units: &mut Units, made: &[Unit]) -> io::Result<()> {
        // Whoever deletes the topic waits for this lock before the directories go.
        let _only_one = self.files_work.lock();
        if made.is_empty() || self.tail().retired {
            return Ok(());
        }
        let env = &self.shared.env;
        let file_bytes = self.shared.unit_file_bytes;
        let dir = self.units_dir();
        let mut rest = made;
        let mut position = units.position;
        while !rest.is_empty() {
            let in_file = position.rem_euclid(file_bytes.cast_signed());
            let base = position - in_file;
            let room = (file_bytes - in_file.cast_unsigned()) / UNIT_BYTES as u64;
            let count = usize::try_from(room).map_or(rest.len(), |room| room.min(rest.len()));
            let (now, later) = rest.split_at(count);
            let path = dir.join(layout::file_name(base));
            if !units.has_dir {
                env.create_dir_all(&dir)?;
            }
            let file = env.open_or_create(&path)?;
            if file.metadata()?.len() != file_bytes {
                units.has_new_files = true;
                env.set_len(&file, &path, file_bytes)?;
            }
            let bytes: Vec<u8> = now.iter().flat_map(|unit| unit.to_bytes()).collect();
            env.write_all_at(&file, &path, &bytes, in_file.cast_unsigned())?;
            env.sync_all(&file, &path)?;
            position += bytes.len() as i64;
            rest = later;
        }
        if units.has_new_files || !units.has_dir {
            let parents = dir.ancestors().take(if units.has_dir { 1 } else { 4 });
            parents
                .map(Path::to_owned)
                .try_for_each(|dir| env.sync_dir(&dir))?;
            units.has_dir = true;
            units.has_new_files = false;
        }
        units.position = position;
        Ok(())
    }

    /// Removes files of units that hold none but such of records before `first` in the log; never the last one. How
    /// many.
    pub(crate) fn forget_units_before(&self, first: i64) -> io::Result<usize> {
        let Some(units) = self.units() else {
            return Ok(0);
        };
        let mut units = units.lock();
        if first <= units.log_first {
            return Ok(0);
        }
        let env = &self.shared.env;
        let unit_files = UnitFiles::open(env, self.units_dir(), self.shared.unit_file_bytes)
            .map_err(io::Error::other)?;
        let mut removed = 0;
        for pair in unit_files.bases.windows(2) {
            let [base, next] = *pair else { break };
            let last = unit_files.before(next).map_err(io::Error::other)?;
            if next > units.position || last.is_none_or(|last| last.entry.physical >= first) {
                break;
            }
            env.remove_file(&unit_files.path(base))?;
            removed += 1;
        }
        units.log_first = first;
        Ok(removed)
    }

    /// The first offset, as clients are told; for a queue of any kind.
    pub(crate) fn told_min_offset(&self) -> i64 {
        if self.max_offset() == 0 && self.is_batch() {
            NO_OFFSET
        } else {
            self.min_offset()
        }
    }

    /// The offset of a time (Apache: `BatchConsumeQueue.getOffsetInQueueByTime`): that of the first message of a
    /// batch, and never the one behind the last. `found` is the offset by the rules of other queues.
    pub(crate) fn first_of_batch(&self, found: i64) -> i64 {
        let max = self.max_offset();
        let found = found.min(max - 1);
        let Some(entry) = self.entry(found) else {
            return found.max(self.min_offset());
        };
        let is_earlier = |offset: i64| self.entry(offset).is_some_and(|other| other != entry);
        let (mut low, mut high) = (self.min_offset().max(found + 1 - MESSAGES_MAX), found);
        // Entries of one record are neighbours.
        while low < high {
            let middle = low + (high - low) / 2;
            if is_earlier(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

impl Inner {
    /// When the record at a position was stored.
    pub(crate) fn store_time_at(&self, physical: i64) -> Option<i64> {
        store_timestamp_of(&self.bytes_at(physical, HEADER_BYTES)?)
    }
}

impl Store {
    /// Makes the queues of a topic queues of batches; before its first message.
    pub fn add_batch_topic(&self, topic: &str) {
        self.inner.shared.add_batch_topic(topic);
    }

    /// The first offset of a queue, as Apache's broker tells it: 0 of one that does not exist, and [`NO_OFFSET`] of a
    /// queue of batches that never had a message.
    #[must_use]
    pub fn first_offset(&self, topic: &str, id: i32) -> i64 {
        match self.queue(topic, id) {
            Some(queue) => queue.told_min_offset(),
            None if self.inner.shared.is_batch_topic(topic) => NO_OFFSET,
            None => 0,
        }
    }

    /// Appends a record whose body is a batch of `messages` messages, and stays one: it takes as many offsets. The flags
    /// of an inner batch and the property `INNER_NUM` are the caller's, `INNER_BASE` is added.
    ///
    /// # Errors
    /// Why it is not stored: the queue is none of batches, the number of messages none, ...
    pub fn append_inner_batch(
        &self,
        queue: &Queue,
        record: &Record<'_>,
        messages: usize,
    ) -> Result<Appended, AppendError> {
        let messages = i64::try_from(messages).unwrap_or(i64::MAX);
        if !queue.is_batch() || !sysflag::is_queued(record.sys_flag) {
            return Err(AppendError::OtherQueue);
        }
        if !(1..=MESSAGES_MAX).contains(&messages) {
            return Err(AppendError::TooLarge {
                what: "batch",
                bytes: usize::try_from(messages).unwrap_or(usize::MAX),
                limit: i16::MAX as usize,
            });
        }
        // The offset is known under the lock only; with the longest one the record has its greatest length.
        let longest = with_base(record, i64::MAX, |record| self.measure(queue, record))?;
        if longest.len > self.inner.largest_append {
            return Err(AppendError::TooLarge {
                what: "message",
                bytes: longest.len,
                limit: self.inner.largest_append,
            });
        }
        loop {
            self.inner.log.marks.takes_messages()?;
            queue.ensure_room(messages)?;
            match self.try_append_inner_batch(queue, record, messages, longest.body_crc)? {
                Outcome::Done(appended) => return Ok(appended),
                Outcome::NoRoom => {}
                Outcome::NoFile => self.inner.prepare_next_file()?,
            }
        }
    }

    fn try_append_inner_batch(
        &self,
        queue: &Queue,
        record: &Record<'_>,
        messages: i64,
        body_crc: u32,
    ) -> Result<Outcome<Appended>, AppendError> {
        let log = &self.inner.log;
        let mut locked = log.lock();
        log.marks.appendable()?;
        // Nobody else appends while the log is locked, so this is the offset.
        let first = queue.tail().next;
        let outcome = with_base(record, first, |record| {
            self.append_locked(&mut locked, queue, record, body_crc, messages)
        })?;
        let (appended, _) = match outcome {
            Outcome::Done(done) => done,
            Outcome::NoRoom => return Ok(Outcome::NoRoom),
            Outcome::NoFile => return Ok(Outcome::NoFile),
        };
        let wakes = locked.appender.wakes(appended.end);
        drop(locked);
        self.wake(wakes);
        Ok(Outcome::Done(appended))
    }
}

/// Calls `then` with the record as it is when its first message has this offset.
fn with_base<T>(
    record: &Record<'_>,
    first: i64,
    then: impl FnOnce(&Record<'_>) -> Result<T, AppendError>,
) -> Result<T, AppendError> {
    let property = format!("{}\u{1}{first}\u{2}", keys::INNER_BASE);
    let mut pieces: SmallVec<[&[u8]; 12]> = SmallVec::from_slice(record.properties);
    pieces.push(property.as_bytes());
    then(&Record {
        properties: &pieces,
        ..*record
    })
}
