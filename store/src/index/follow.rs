// SPDX-License-Identifier: Apache-2.0
//! The thread that follows the log and enters its keys.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use aerobee_message::{RecordError, RecordView};

use super::{
    file::Filling,
    format,
    state::{State, StateFile},
};
use crate::{
    background::{Turn, Work},
    error::CloseError,
    layout, local_time,
    scan::Scanner,
    store::Inner,
};

/// Bytes of the log that are indexed before others may have a say.
const TURN_BYTES: i64 = 4 << 20;
/// Bytes read at once.
const STRETCH_BYTES: usize = 1 << 20;
/// Pause between batches: each costs a wake-up.
const BATCH_PAUSE: Duration = Duration::from_millis(100);
/// How long entries may stay without a sync; after a crash what came later is indexed anew.
const SYNC_EVERY: Duration = Duration::from_secs(30);
/// Pause after a failure.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long closing waits for the index.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// What is known of the log, and where its keys go.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    /// Some once the files are loaded.
    state: Option<StateFile>,
    filling: Option<Filling>,
    /// The log is indexed up to here.
    position: i64,
    skip: Option<i64>,
    /// When the oldest entry without a sync was made.
    unsynced_since: Option<Duration>,
    /// A sync has failed: what it was for may be lost, so nothing is vouched for any more.
    sync_failed: bool,
    failed: bool,
    buffer: Vec<u8>,
    topic: format::LastTopic,
}

impl Inner {
    /// Enters the keys of records that readers may see, of at most about `budget` bytes. Returns whether there are more.
    pub(super) fn follow(&self, follower: &mut Follower, budget: i64) -> io::Result<bool> {
        if follower.state.is_none() {
            let loaded = self.load_index()?;
            follower.position = loaded.position;
            self.index
                .position
                .store(loaded.position, Ordering::Release);
            follower.skip = loaded.skip;
            follower.state = Some(loaded.state);
            *self.index.files.write() = loaded.files;
        }
        if !self.config.index.write {
            return Ok(false);
        }
        let end = self.marks.confirmed();
        let until = end.min(follower.position.saturating_add(budget));
        let start = follower.position;
        let mut result = Ok(());
        while follower.position < until && result.is_ok() {
            follower.position = follower.position.max(self.marks.min());
            let mut buffer = std::mem::take(&mut follower.buffer);
            result = self.index_stretch(follower, end, &mut buffer);
            follower.buffer = buffer;
        }
        if let Some(filling) = &mut follower.filling {
            filling.publish();
        }
        if follower.position != start {
            self.index
                .position
                .store(follower.position, Ordering::Release);
            let now = self.env.clock().monotonic();
            follower.unsynced_since.get_or_insert(now);
        }
        result.map(|()| follower.position < end)
    }

    /// Indexes records that lie in one file of the log.
    fn index_stretch(
        &self,
        follower: &mut Follower,
        end: i64,
        buffer: &mut Vec<u8>,
    ) -> io::Result<()> {
        let at = follower.position;
        let Some(file) = self.log.file_of(at) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let from = usize::try_from(at - file.base()).unwrap_or(usize::MAX);
        let rest = usize::try_from(end.min(file.end()) - at).unwrap_or(0);
        let rest = rest.min(file.published().saturating_sub(from));
        let hot_bytes = i64::try_from(self.config.hot_bytes).unwrap_or(i64::MAX);
        let mut len = rest.min(STRETCH_BYTES);
        loop {
            let bytes = if end - at <= hot_bytes {
                file.slice(from, len).unwrap_or_default()
            } else {
                // Where pages may have to come from the disk, a bad sector is an error only to a plain read.
                let descriptor = file.file().ok_or(io::ErrorKind::NotFound)?;
                buffer.resize(len, 0);
                let read = self
                    .env
                    .read_at(descriptor, file.path(), buffer, from as u64)?;
                &buffer[..read]
            };
            match self.index_records(follower, bytes, len == rest)? {
                Stop::Stretch => return Ok(()),
                Stop::Blank => {
                    follower.position = file.end();
                    return Ok(());
                }
                // The first record is longer than what was read.
                Stop::Short(wanted) if wanted > len && wanted <= rest => len = wanted,
                Stop::Short(_) | Stop::Bad => {
                    return self.pass_over(follower, end.min(file.end()));
                }
            }
        }
    }

    /// Indexes the records at the start of `bytes`, which start at the follower's position.
    fn index_records(
        &self,
        follower: &mut Follower,
        bytes: &[u8],
        is_all: bool,
    ) -> io::Result<Stop> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let record = match RecordView::parse(rest) {
                Ok(record) if record.physical_offset() == follower.position => record,
                Err(RecordError::Blank(_)) => return Ok(Stop::Blank),
                Err(RecordError::Truncated) if !is_all => {
                    if rest.len() < bytes.len() {
                        return Ok(Stop::Stretch);
                    }
                    let wanted = rest.first_chunk().map_or(0, |len| u32::from_be_bytes(*len));
                    return Ok(Stop::Short(wanted as usize));
                }
                _ => return Ok(Stop::Bad),
            };
            self.index_record(follower, &record)?;
            follower.position += record.total_len() as i64;
            rest = &rest[record.total_len()..];
        }
        Ok(Stop::Stretch)
    }

    fn index_record(&self, follower: &mut Follower, record: &RecordView<'_>) -> io::Result<()> {
        let (physical, timestamp) = (record.physical_offset(), record.store_timestamp());
        if follower.skip == Some(physical) {
            return Ok(());
        }
        let mut topic = std::mem::take(&mut follower.topic);
        let mut result = Ok(());
        format::hashes_of(record, &mut topic, |hash| {
            if result.is_ok() {
                result = self.enter(follower, hash, physical, timestamp);
            }
        });
        follower.topic = topic;
        result
    }

    #[inline]
    fn enter(
        &self,
        follower: &mut Follower,
        hash: u32,
        physical: i64,
        timestamp: i64,
    ) -> io::Result<()> {
        if follower.filling.as_ref().is_none_or(Filling::is_full) {
            self.next_index_file(follower)?;
        }
        match &mut follower.filling {
            Some(filling) => filling.put(&self.env, hash, physical, timestamp),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Takes the newest file, or makes one.
    #[cold]
    fn next_index_file(&self, follower: &mut Follower) -> io::Result<()> {
        let newest = self.index.files.read().last().cloned();
        if follower.filling.is_none()
            && let Some(newest) = newest.as_ref().filter(|newest| !newest.is_full())
        {
            follower.filling = Some(Filling::of(&self.env, Arc::clone(newest))?);
            return Ok(());
        }
        if let Some(filling) = &mut follower.filling {
            // As in Java a full file is made durable, and the checkpoint says up to when that is. The log comes first: were
            // it cut below what the index has, other records would later stand where those stood.
            self.log.sync_until(follower.position)?;
            filling
                .sync(&self.env)
                .inspect_err(|_| follower.sync_failed = true)?;
            self.checkpoint.lock().longs[2] = filling.header().end_timestamp;
        }
        let dir = self.config.dir.join(layout::INDEX);
        self.env.create_dir_all(&dir)?;
        let clock = self.env.clock();
        // Behind the file that our note names, too, which a crash may have taken: with a clock that was set back a new
        // file would stand before it and count as durable.
        let noted = follower.state.as_ref().and_then(|state| state.state);
        let last = newest.as_ref().map_or(0, |newest| newest.number);
        let last = last.max(noted.map_or(0, |noted| noted.file));
        let number = local_time::number_of(clock, clock.millis()).max(last + 1);
        let path = dir.join(format::name_of(number));
        let before = newest.map(|newest| newest.header());
        let filling = Filling::create(&self.env, number, path, self.config.index.geometry, before)?;
        self.env.sync_dir(&dir)?;
        self.env.sync_dir(&self.config.dir)?;
        self.index.files.write().push(Arc::clone(&filling.file));
        follower.filling = Some(filling);
        Ok(())
    }

    /// Goes on behind bytes that are no record.
    #[cold]
    fn pass_over(&self, follower: &mut Follower, until: i64) -> io::Result<()> {
        let at = follower.position;
        let mut scanner = Scanner::new(&self.env, &self.log.files);
        let next = scanner.next_record(at + 1..until);
        follower.position = next.map_err(io::Error::other)?.unwrap_or(until);
        tracing::error!(
            from = at,
            to = follower.position,
            "bytes of the log that are no record are not indexed"
        );
        Ok(())
    }

    /// Makes the index durable and notes how far it is.
    fn sync_index(&self, follower: &mut Follower) -> io::Result<()> {
        if follower.unsynced_since.is_none() {
            return Ok(());
        }
        if follower.sync_failed {
            return Err(io::Error::other("an earlier sync of the index failed"));
        }
        // The log comes first: what the index vouches for must not be cut off by the next start.
        self.log.sync_until(follower.position)?;
        let (mut file, mut header) = (0, None);
        if let Some(filling) = &mut follower.filling {
            filling
                .sync(&self.env)
                .inspect_err(|_| follower.sync_failed = true)?;
            file = filling.file.number;
            header = Some(filling.header());
        } else if let Some(newest) = self.index.files.read().last() {
            file = newest.number;
            header = Some(newest.header());
        }
        let state = State {
            file,
            count: header.map_or(0, |header| header.count),
            end_physical: header.map_or(0, |header| header.end_physical),
            end_timestamp: header.map_or(0, |header| header.end_timestamp),
            position: follower.position,
        };
        if let Some(state_file) = &mut follower.state {
            state_file
                .write(&self.env, state)
                .inspect_err(|_| follower.sync_failed = true)?;
        }
        follower.unsynced_since = None;
        Ok(())
    }

    /// Brings the index up to the end of the log, if that does not take long, and makes it durable. For the end, when
    /// nobody appends any more.
    pub(crate) fn finish_index(&self) -> Result<(), CloseError> {
        let mut follower = self.index.follower.lock();
        let clock = self.env.clock();
        let deadline = clock.monotonic() + CLOSE_WITHIN;
        loop {
            match self.follow(&mut follower, TURN_BYTES) {
                Ok(true) if clock.monotonic() < deadline => {}
                Ok(true) => {
                    tracing::warn!(
                        position = follower.position,
                        "the index is not up to the end of the log; the next start goes on with it"
                    );
                    break;
                }
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(position = follower.position, %error, "the index cannot be written; the next start goes on with it");
                    break;
                }
            }
        }
        // Files that could not even be loaded may be torn: the next start must not rely on them.
        let is_loaded = follower.state.is_some();
        let synced = self.sync_index(&mut follower);
        let error = match synced {
            Ok(()) if is_loaded => return Ok(()),
            Ok(()) => io::Error::other("its files cannot be read"),
            Err(error) => error,
        };
        Err(CloseError::Io {
            what: "flush the index in",
            path: self.config.dir.join(layout::INDEX),
            source: error,
        })
    }
}

/// Why records end.
enum Stop {
    /// All of them are indexed.
    Stretch,
    /// The rest of the file is blank.
    Blank,
    /// The first one is longer than the bytes.
    Short(usize),
    /// There is none.
    Bad,
}

/// The thread of the index.
#[derive(Debug, Default)]
pub(crate) struct Indexer;

impl Work for Indexer {
    fn turn(&mut self, inner: &Inner) -> Turn {
        let mut follower = inner.index.follower.lock();
        let before = follower.position;
        match inner.follow(&mut follower, TURN_BYTES) {
            Ok(true) => return Turn::Again,
            Ok(false) => follower.failed = false,
            Err(error) => {
                if !std::mem::replace(&mut follower.failed, true) {
                    tracing::warn!(position = follower.position, %error, "the index cannot be written; it is tried again");
                }
                return Turn::Wait(Some(RETRY_AFTER));
            }
        }
        let now = inner.env.clock().monotonic();
        let due = follower.unsynced_since.map(|since| since + SYNC_EVERY);
        if due.is_some_and(|due| due <= now) {
            if let Err(error) = inner.sync_index(&mut follower) {
                tracing::warn!(%error, "the index cannot be made durable: after a crash more of it is made anew");
                follower.unsynced_since = Some(now);
            }
            return Turn::Again;
        }
        if follower.position != before {
            return Turn::Wait(Some(BATCH_PAUSE));
        }
        // Whoever flushes from here on finds the thread asleep and wakes it.
        inner.index.sleeps.store(true, Ordering::Release);
        let has_more = inner.config.index.write && follower.position < inner.marks.confirmed();
        if has_more && inner.index.sleeps.swap(false, Ordering::AcqRel) {
            return Turn::Again;
        }
        Turn::Wait(due.map(|due| due.saturating_sub(now)))
    }
}
