// SPDX-License-Identifier: Apache-2.0
//! What is kept, and for how long: the thread that removes the oldest files of the log when their time is up or space
//! runs short, and what depended on them (Apache: `DefaultMessageStore.CleanCommitLogService`, `CleanConsumeQueueService`,
//! `CorrectLogicOffsetService`).
//!
//! First the messages count as gone, then the file leaves the directory. A reader that has it keeps it: its blocks are
//! freed when the last one lets go, so nobody waits for anybody.

use std::{
    io,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    background::{Turn, Work},
    consume_queue::{ENTRY, Queue},
    layout, local_time,
    signal::Signal,
    store::{Inner, Store},
};

/// When and how files are removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// How long a file of the log is kept after its last change (`fileReservedTime`).
    pub keep_for: Duration,
    /// Hours of the day, local time, at which expired files are removed (`deleteWhen`).
    pub delete_hours: Vec<u8>,
    /// How often to look (`cleanResourceInterval`); each second while the log grows or space is short.
    pub every: Duration,
    /// Pause between two files (`deleteCommitLogFilesInterval`).
    pub pause: Duration,
    /// Most files at a time (`deleteFileBatchMax`).
    pub batch: usize,
    /// Expired files are removed at any hour when more than so many per cent of the disk are used
    /// (`diskMaxUsedSpaceRatio`, 10 to 95).
    pub expired_above: u32,
    /// The oldest files are removed whatever their age above this (`diskSpaceCleanForciblyRatio`, 30 to 85).
    pub any_above: u32,
    /// Messages are refused above this (`diskSpaceWarningLevelRatio`, 35 to 90).
    pub refuse_above: u32,
    /// Whether files may be removed before their time (`cleanFileForciblyEnable`).
    pub removes_early: bool,
    /// Brokers that share the disk (`replicasPerDiskPartition`).
    pub sharers: u32,
    /// With several of them: files are removed whatever their age when more than so many per cent of this broker's share
    /// are used (`logicalDiskSpaceCleanForciblyThreshold`).
    pub share_any_above: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            keep_for: Duration::from_secs(72 * 3600),
            delete_hours: vec![4],
            every: Duration::from_secs(10),
            pause: Duration::from_millis(100),
            batch: 10,
            expired_above: 75,
            any_above: 85,
            refuse_above: 90,
            removes_early: true,
            sharers: 1,
            share_any_above: 80,
        }
    }
}

/// Space on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes in all.
    pub total: u64,
    /// Bytes in use.
    pub used: u64,
    /// Bytes that may still be used; fewer than are free, where some are reserved.
    pub usable: u64,
}

impl DiskSpace {
    /// Per cent in use, rounded up, as `df` does (Apache: `UtilAll.getDiskPartitionSpaceUsedPercent`).
    #[must_use]
    pub fn used_percent(&self) -> u32 {
        let entire = u128::from(self.used) + u128::from(self.usable);
        let percent = (u128::from(self.used) * 100).div_ceil(entire.max(1));
        u32::try_from(percent).unwrap_or(100)
    }
}

/// How often to look while the log grows or space is short.
const BUSY_EVERY: Duration = Duration::from_secs(1);
/// Rounds in which expired files are removed after somebody asked for it.
const MANUAL_ROUNDS: u32 = 20;
/// When the wall clock has jumped by more than this, nobody knows how old a file is.
const LARGEST_JUMP_MILLIS: i64 = 5 * 60 * 1000;

/// What the thread and those who direct it share.
#[derive(Debug, Default)]
pub(crate) struct Cleaning {
    pub(crate) settings: Mutex<Retention>,
    pub(crate) signal: Signal,
    manual_rounds: AtomicU32,
    /// Somebody wants the thread to look at once.
    asked: AtomicBool,
}

impl Cleaning {
    pub(crate) fn new(settings: Retention) -> Cleaning {
        Cleaning {
            settings: Mutex::new(settings),
            ..Cleaning::default()
        }
    }
}

/// Which files have to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    None,
    Expired,
    Any,
}

/// The files of one round.
#[derive(Debug, Clone, Copy)]
struct Round {
    left: usize,
    any_age: bool,
    /// What is unchanged since then has expired.
    expired_before: i64,
}

/// The thread.
#[derive(Debug, Default)]
pub(crate) struct Cleaner {
    /// Wall clock and monotonic clock at the last look.
    last: Option<(i64, Duration)>,
    next: Duration,
    round: Option<Round>,
    /// End of the log at the last look.
    seen: i64,
}

impl Work for Cleaner {
    fn turn(&mut self, inner: &Inner) -> Turn {
        let settings = inner.cleaning.settings.lock().clone();
        let now = inner.env.clock().monotonic();
        if let Some(round) = &mut self.round {
            if round.left > 0 && inner.remove_oldest(*round) {
                round.left -= 1;
                inner.clean_derived();
                return Turn::Wait(Some(settings.pause));
            }
            self.round = None;
        }
        let is_asked = inner.cleaning.asked.swap(false, Ordering::AcqRel);
        if now < self.next && !is_asked {
            return Turn::Wait(Some(self.next - now));
        }
        let need = self.look(inner, &settings);
        let end = inner.marks.end();
        let is_manual = inner.cleaning.manual_rounds.load(Ordering::Acquire) > 0;
        let is_short = need == Need::Any || inner.marks.is_crowded();
        let is_busy = end != self.seen || is_short || is_manual;
        self.seen = end;
        self.next = now
            + if is_busy {
                BUSY_EVERY.min(settings.every)
            } else {
                settings.every
            };
        if need == Need::None {
            return Turn::Wait(Some(self.next - now));
        }
        let keep_for = i64::try_from(settings.keep_for.as_millis()).unwrap_or(i64::MAX);
        self.round = Some(Round {
            left: settings.batch,
            any_age: need == Need::Any && settings.removes_early,
            expired_before: inner.env.clock().millis().saturating_sub(keep_for),
        });
        Turn::Again
    }
}

impl Cleaner {
    /// Looks at the clock and the disks, and says what has to go.
    fn look(&mut self, inner: &Inner, settings: &Retention) -> Need {
        let clock = inner.env.clock();
        let (wall, monotonic) = (clock.millis(), clock.monotonic());
        let jumped = self.last.replace((wall, monotonic)).is_some_and(|last| {
            let passed = (monotonic.saturating_sub(last.1)).as_millis();
            let passed = i64::try_from(passed).unwrap_or(i64::MAX);
            (wall.saturating_sub(last.0)).saturating_sub(passed).abs() > LARGEST_JUMP_MILLIS
        });
        let by_space = inner.look_at_space(settings);
        let rounds = &inner.cleaning.manual_rounds;
        let is_manual = rounds
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
                left.checked_sub(1)
            })
            .is_ok();
        let hour = local_time::hour_of(clock, wall);
        let by_time = is_manual || settings.delete_hours.contains(&hour);
        let need = by_space.max(if by_time { Need::Expired } else { Need::None });
        if jumped && need == Need::Expired {
            tracing::warn!(
                "the clock has jumped: no file of the log is taken for expired this time"
            );
            return Need::None;
        }
        need
    }
}

impl Inner {
    /// Looks how full the disks are; refuses messages above the last mark, and takes them again below the one before.
    fn look_at_space(&self, settings: &Retention) -> Need {
        let refuse_above = settings.refuse_above.clamp(35, 90);
        let any_above = settings.any_above.clamp(30, 85);
        let expired_above = settings.expired_above.clamp(10, 95);
        let queues = self.config.dir.join(layout::CONSUME_QUEUE);
        let log = self.log_space(any_above);
        let mut need = Need::None;
        for space in [log, self.space_of(&queues)].into_iter().flatten() {
            let percent = space.used_percent();
            if percent > refuse_above {
                if self.marks.set_crowded(true) {
                    tracing::error!(percent, refuse_above, dir = %self.config.dir.display(), "the disk is nearly full: messages are refused until there is space");
                }
                return Need::Any;
            }
            if percent > any_above {
                return Need::Any;
            }
            if self.marks.set_crowded(false) {
                tracing::info!(
                    percent,
                    "there is space on the disk again: messages are taken"
                );
            }
            if percent > expired_above && settings.sharers <= 1 {
                need = Need::Expired;
            }
        }
        if settings.sharers > 1
            && let Some(log) = log
        {
            let share = log.total / u64::from(settings.sharers);
            let kept = (self.marks.end() - self.marks.min()).cast_unsigned();
            let percent = u128::from(kept) * 100 / u128::from(share.max(1));
            if percent > u128::from(settings.share_any_above) {
                return Need::Any;
            }
            if percent > u128::from(expired_above) {
                need = Need::Expired;
            }
        }
        need
    }

    /// Of several directories the one with most space decides; those that are filled above the mark get no new files.
    fn log_space(&self, any_above: u32) -> Option<DiskSpace> {
        let mut best: Option<DiskSpace> = None;
        let mut full = Vec::new();
        for dir in self.shared.homes.writable() {
            let Some(space) = self.space_of(dir) else {
                continue;
            };
            if space.used_percent() > any_above {
                full.push(dir.clone());
            }
            if best.is_none_or(|best| space.used_percent() < best.used_percent()) {
                best = Some(space);
            }
        }
        self.shared.homes.set_full(full);
        best
    }

    fn space_of(&self, path: &Path) -> Option<DiskSpace> {
        match self.env.disk_space(path) {
            Ok(space) => Some(space),
            // Before the first queue there is no directory of queues.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "nobody tells how full the disk is");
                None
            }
        }
    }

    /// Removes the oldest file of the log if its time is up, or whatever its age; never the one that is written, nor one
    /// that is not durable. Whether it did.
    fn remove_oldest(&self, round: Round) -> bool {
        let files = &self.log.files;
        let bases = files.bases();
        let [oldest, next, ..] = bases[..] else {
            return false;
        };
        if self.marks.flushed() < next || self.marks.has_sync_failed() {
            return false;
        }
        let path = files.path(oldest);
        let is_expired = || match self.env.modified_millis(&path) {
            Ok(modified) => modified <= round.expired_before,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "nobody tells how old a file of the log is");
                false
            }
        };
        if !round.any_age && !is_expired() {
            return false;
        }
        self.marks.set_min(next);
        let removed = match self.env.remove_file(&path) {
            // Somebody else was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        // A file that stays is the oldest still: those behind it must not go, or there would be a hole.
        let dir = path.parent().unwrap_or(files.dir());
        if let Err(error) = removed.and_then(|()| self.env.sync_dir(dir)) {
            tracing::error!(path = %path.display(), %error, "a file of the log cannot be removed; its messages are no longer read");
            return false;
        }
        files.remove_first(oldest);
        self.shared.homes.gone(oldest);
        tracing::info!(path = %path.display(), any_age = round.any_age, "the oldest file of the log is removed");
        true
    }

    /// Lets queues and index forget what the log has lost.
    pub(crate) fn clean_derived(&self) -> usize {
        let queues: Vec<_> = {
            let table = self.queues.read();
            table
                .values()
                .flat_map(|ids| ids.values())
                .cloned()
                .collect()
        };
        let mut removed = self.clean_index();
        for queue in queues {
            match queue.forget_before(self) {
                Ok(files) => removed += files,
                Err(error) => {
                    tracing::warn!(dir = %queue.dir().display(), %error, "a file of a consume queue cannot be removed");
                }
            }
        }
        removed
    }
}

impl Queue {
    /// Puts the first offset behind messages that are gone, and removes files that hold none but such; never the last
    /// one, so that offsets go on. How many.
    fn forget_before(&self, inner: &Inner) -> io::Result<usize> {
        let old = self.min_offset();
        self.correct_min(inner.marks.min());
        let min = self.min_offset();
        let mut removed = self.forget_units_before(inner.marks.min())?;
        if self.base_for(old * ENTRY) == self.base_for(min * ENTRY) {
            return Ok(removed);
        }
        let _only_one = self.files_work.lock();
        let durable = {
            let tail = self.tail();
            if tail.retired {
                return Ok(removed);
            }
            tail.flushed.min(min) * ENTRY
        };
        let files = self.files_locked()?;
        for pair in files.bases().windows(2) {
            let [base, next] = *pair else { break };
            if next > durable {
                break;
            }
            match inner.env.remove_file(&files.path(base)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => files.remove_first(base),
            }
            removed += 1;
        }
        Ok(removed)
    }
}

impl Store {
    /// Changes how files are removed.
    pub fn set_retention(&self, retention: Retention) {
        *self.inner.cleaning.settings.lock() = retention;
        self.inner.cleaning.signal.kick();
    }

    /// Has expired files of the log removed now, whatever the hour.
    pub fn remove_expired(&self) {
        let rounds = &self.inner.cleaning.manual_rounds;
        rounds.store(MANUAL_ROUNDS, Ordering::Release);
        self.inner.cleaning.asked.store(true, Ordering::Release);
        self.inner.cleaning.signal.kick();
    }

    /// Removes files of queues and of the index that refer to nothing but messages that are gone. How many.
    pub fn clean_derived(&self) -> usize {
        self.inner.clean_derived()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn per_cent_are_rounded_up() {
        let percent = |used, usable| {
            DiskSpace {
                total: 1000,
                used,
                usable,
            }
            .used_percent()
        };
        assert_eq!(percent(75, 25), 75);
        assert_eq!(percent(751, 249), 76);
        assert_eq!(percent(0, 100), 0);
        assert_eq!(percent(0, 0), 0);
        assert_eq!(percent(u64::MAX, 0), 100);
    }
}
