// SPDX-License-Identifier: Apache-2.0
//! How far the log is appended, flushed and kept, and whether it takes more.

use std::{
    io,
    path::Path,
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
};

use crate::{config::FlushMode, error::ReadOnlyReason};

/// Positions in the log that all parts share. `min <= flushed <= end`.
#[derive(Debug)]
pub(crate) struct Watermarks {
    mode: FlushMode,
    min: AtomicI64,
    end: AtomicI64,
    flushed: AtomicI64,
    /// End of the log when a topic was last deleted.
    forgotten: AtomicI64,
    closed: AtomicBool,
    sync_failed: AtomicBool,
    disk_full: AtomicBool,
    /// So much of the disk is used that no more messages are taken.
    crowded: AtomicBool,
    /// Frames that were met and not handed out.
    pub(crate) bad_frames: AtomicU64,
}

impl Watermarks {
    pub(crate) fn new(mode: FlushMode, min: i64, end: i64) -> Watermarks {
        Watermarks {
            mode,
            min: min.into(),
            end: end.into(),
            flushed: end.into(),
            forgotten: 0.into(),
            closed: false.into(),
            sync_failed: false.into(),
            disk_full: false.into(),
            crowded: false.into(),
            bad_frames: 0.into(),
        }
    }

    /// Sets the positions that recovery found.
    pub(crate) fn recovered(&self, min: i64, flushed: i64, end: i64) {
        self.min.store(min, Ordering::Release);
        self.end.store(end, Ordering::Release);
        self.flushed.store(flushed, Ordering::Release);
    }

    pub(crate) fn forgotten(&self) -> i64 {
        self.forgotten.load(Ordering::Acquire)
    }

    pub(crate) fn set_forgotten(&self, end: i64) {
        self.forgotten.fetch_max(end, Ordering::AcqRel);
    }

    pub(crate) fn mode(&self) -> FlushMode {
        self.mode
    }

    #[inline]
    pub(crate) fn min(&self) -> i64 {
        self.min.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn end(&self) -> i64 {
        self.end.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn set_end(&self, end: i64) {
        self.end.store(end, Ordering::Release);
    }

    #[inline]
    pub(crate) fn flushed(&self) -> i64 {
        self.flushed.load(Ordering::Acquire)
    }

    pub(crate) fn set_flushed(&self, flushed: i64) {
        self.flushed.fetch_max(flushed, Ordering::AcqRel);
    }

    /// What readers may see.
    #[inline]
    pub(crate) fn confirmed(&self) -> i64 {
        match self.mode {
            FlushMode::Async => self.end(),
            FlushMode::Sync => self.flushed(),
        }
    }

    /// Records a failed sync, which is final, and says so in the log.
    pub(crate) fn sync_failed(&self, path: &Path, error: &io::Error) {
        if !self.sync_failed.swap(true, Ordering::AcqRel) {
            tracing::error!(path = %path.display(), %error, "a sync failed: no more messages are taken until a restart");
        }
    }

    pub(crate) fn has_sync_failed(&self) -> bool {
        self.sync_failed.load(Ordering::Acquire)
    }

    pub(crate) fn set_disk_full(&self, full: bool) {
        self.disk_full.store(full, Ordering::Release);
    }

    pub(crate) fn is_disk_full(&self) -> bool {
        self.disk_full.load(Ordering::Acquire)
    }

    /// Whether this call has changed it.
    pub(crate) fn set_crowded(&self, crowded: bool) -> bool {
        self.crowded.swap(crowded, Ordering::AcqRel) != crowded
    }

    pub(crate) fn is_crowded(&self) -> bool {
        self.crowded.load(Ordering::Acquire)
    }

    pub(crate) fn set_min(&self, min: i64) {
        self.min.fetch_max(min, Ordering::AcqRel);
    }

    /// Whether new messages are taken, as far as that is known before a file is needed.
    #[inline]
    pub(crate) fn takes_messages(&self) -> Result<(), ReadOnlyReason> {
        if self.is_crowded() {
            return Err(ReadOnlyReason::DiskFull);
        }
        self.appendable()
    }

    /// Whether this call was the first.
    pub(crate) fn close(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    /// Whether nothing final keeps messages out. A full disk does so only where a new file is needed.
    #[inline]
    pub(crate) fn appendable(&self) -> Result<(), ReadOnlyReason> {
        if self.closed.load(Ordering::Acquire) {
            return Err(ReadOnlyReason::Closed);
        }
        if self.has_sync_failed() {
            return Err(ReadOnlyReason::SyncFailed);
        }
        Ok(())
    }

    pub(crate) fn writable(&self) -> Result<(), ReadOnlyReason> {
        self.appendable()?;
        if self.is_disk_full() || self.is_crowded() {
            Err(ReadOnlyReason::DiskFull)
        } else {
            Ok(())
        }
    }
}
