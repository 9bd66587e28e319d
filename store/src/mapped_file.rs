// SPDX-License-Identifier: Apache-2.0
//! One mapped file, and most of the `unsafe` of this crate.
//!
//! A file has a published length that only grows. Readers get slices below it, the one [`FileWriter`] gets the bytes
//! above it: the two never meet, so both interfaces are safe as long as nobody else changes the file. The directory
//! lock sees to that.

use std::{
    fs::File,
    io,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use memmap2::{Advice, MmapRaw, UncheckedAdvice};

use crate::env::Env;

const PAGE_BYTES: usize = 4096;

/// Bytes that one call asks to be read ahead. Of a longer range Linux reads only what the disk takes at once
/// (`force_page_cache_ra`: the larger of `read_ahead_kb` and `max_sectors_kb`, 128 KiB at least by default) and forgets
/// the rest.
const ASKED_AT_ONCE: usize = 128 << 10;

/// Bytes that one call makes present. Kernels that preempt lazily (Linux since 6.13) take a core from a thread that is
/// in the kernel at the next tick only, up to 10 ms later: whoever waits for that core meanwhile is an append.
pub(crate) const POPULATED_AT_ONCE: usize = 128 << 10;

/// A range at least this long leaves the mapping before it is synced; of fewer pages write-protecting each costs less.
const LET_GO_BYTES: usize = 8 * PAGE_BYTES;

/// A file mapped over its whole length.
#[derive(Debug)]
pub(crate) struct MappedFile {
    map: MmapRaw,
    /// Position of the first byte in the file's row.
    base: i64,
    published: AtomicUsize,
    has_writer: AtomicBool,
    /// Somebody has read here since this was last asked.
    touched: AtomicBool,
    /// Kept where syncs and plain reads need it; queue files give theirs up.
    file: Option<File>,
    path: PathBuf,
}

impl MappedFile {
    /// Maps a file that has its full length.
    pub(crate) fn map(
        env: &Env,
        file: File,
        path: PathBuf,
        base: i64,
        published: usize,
        keep_descriptor: bool,
    ) -> io::Result<MappedFile> {
        env.before_map(&path)?;
        let map = MmapRaw::map_raw(&file)?;
        // What is read ahead, the store asks for itself. Left to the kernel, one fault or read can bring as much as the
        // disk allows, 8 MiB with some, and whoever waits for that core waits for 20 ms. Nothing is lost when the advice
        // is not taken.
        let _ = map.advise(Advice::Random);
        env.read_singly(&file);
        if published > map.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(MappedFile {
            map,
            base,
            published: AtomicUsize::new(published),
            has_writer: AtomicBool::new(false),
            touched: AtomicBool::new(true),
            file: keep_descriptor.then_some(file),
            path,
        })
    }

    pub(crate) fn base(&self) -> i64 {
        self.base
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn end(&self) -> i64 {
        self.base + self.map.len() as i64
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// Bytes that readers may see.
    #[inline]
    pub(crate) fn published(&self) -> usize {
        self.published.load(Ordering::Acquire)
    }

    /// Publishes bytes that were written to the file by other means than a [`FileWriter`], above what was published.
    pub(crate) fn publish_written(&self, until: usize) {
        self.published
            .fetch_max(until.min(self.map.len()), Ordering::AcqRel);
    }

    /// Notes that somebody reads here.
    #[inline]
    pub(crate) fn touch(&self) {
        if !self.touched.load(Ordering::Relaxed) {
            self.touched.store(true, Ordering::Relaxed);
        }
    }

    /// Whether somebody has read here since the last call.
    pub(crate) fn take_touched(&self) -> bool {
        self.touched.swap(false, Ordering::Relaxed)
    }

    /// Published bytes; `None` when any of them is not.
    #[inline]
    pub(crate) fn slice(&self, from: usize, len: usize) -> Option<&[u8]> {
        let end = from.checked_add(len)?;
        if end > self.published() {
            return None;
        }
        // SAFETY: the range lies below the published length, hence within the mapping, which lives as long as `self`.
        // Nobody writes there: the writer only hands out bytes above that length, and the length never shrinks.
        Some(unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(from), len) })
    }

    /// Whether all pages of a range are in memory.
    pub(crate) fn is_resident(&self, from: usize, len: usize) -> bool {
        let end = from.saturating_add(len).min(self.map.len());
        let mut at = from - from % PAGE_BYTES;
        let mut pages = [0u8; 128];
        while at < end {
            let part = (end - at).min(pages.len() * PAGE_BYTES);
            // SAFETY: the range starts on a page of the mapping and ends within its last page; `pages` has a byte for
            // each page of it.
            let result = unsafe {
                libc::mincore(
                    self.map.as_mut_ptr().add(at).cast(),
                    part,
                    pages.as_mut_ptr(),
                )
            };
            if result != 0
                || pages[..part.div_ceil(PAGE_BYTES)]
                    .iter()
                    .any(|page| page & 1 == 0)
            {
                return false;
            }
            at += part;
        }
        true
    }

    /// Makes the pages of a range present and writable. Where the kernel cannot, each is read once.
    pub(crate) fn populate(&self, from: usize, len: usize) {
        let end = from.saturating_add(len).min(self.map.len());
        let mut next = from;
        while next < end {
            // Whole pages, so that none is asked for twice.
            let until = (next - next % PAGE_BYTES)
                .saturating_add(POPULATED_AT_ONCE)
                .min(end);
            let range = std::mem::replace(&mut next, until)..until;
            self.will_need(range.start, range.len());
            if self
                .map
                .advise_range(Advice::PopulateWrite, range.start, range.len())
                .is_err()
            {
                for at in range.step_by(PAGE_BYTES) {
                    // SAFETY: within the mapping; a volatile read of a byte that a writer may be changing has some
                    // value.
                    unsafe { self.map.as_ptr().add(at).read_volatile() };
                }
            }
        }
    }

    /// Asks for a range to be read ahead.
    pub(crate) fn will_need(&self, from: usize, len: usize) {
        let end = from.saturating_add(len).min(self.map.len());
        for at in (from..end).step_by(ASKED_AT_ONCE) {
            // Advice: nothing is lost when it is not taken.
            let len = ASKED_AT_ONCE.min(end - at);
            let _ = self.map.advise_range(Advice::WillNeed, at, len);
        }
    }

    /// Writes pages of a range that hold nothing yet to the disk, as the zeros that they are, and makes them present once
    /// more. The next sync of one of them then finds a block that is in use: where a block is only reserved, the sync
    /// waits until the file system has noted its first use, too. Nobody relies on this; what is in the pages already is
    /// written as well. `descriptor` is to be one of its own: the kernel tells each descriptor once of a failure, and
    /// that of a record must reach whoever syncs records.
    pub(crate) fn write_ahead(&self, descriptor: &File, from: usize, len: usize) -> io::Result<()> {
        self.populate(from, len);
        self.let_go(from, len);
        let written = write_back(descriptor, from as u64, len as u64);
        self.populate(from, len);
        written
    }

    /// Takes whole pages out of the mapping, at once. A sync would write-protect each by itself and tell every other
    /// core of it. The next access to one fetches it from the page cache, where it stays as it is.
    fn let_go(&self, from: usize, len: usize) {
        let end = from.saturating_add(len).min(self.map.len());
        let from = from.next_multiple_of(PAGE_BYTES);
        let len = (end - end % PAGE_BYTES).saturating_sub(from);
        if len == 0 {
            return;
        }
        // SAFETY: the mapping is a shared one of a file, so that its contents are those of the page cache and stay the
        // same for whoever reads or writes them. It stays mapped.
        let advised = unsafe {
            self.map
                .unchecked_advise_range(UncheckedAdvice::DontNeed, from, len)
        };
        // Nothing is lost when the advice is not taken.
        let _ = advised;
    }

    /// Makes a mapped range durable.
    pub(crate) fn sync_range(&self, env: &Env, from: usize, len: usize) -> io::Result<()> {
        if len >= LET_GO_BYTES {
            self.let_go(from, len);
        }
        env.sync_map(&self.path, || self.map.flush_range(from, len))
    }

    /// The writer, if nobody has it.
    pub(crate) fn writer(self: &Arc<Self>) -> Option<FileWriter> {
        if self.has_writer.swap(true, Ordering::Acquire) {
            return None;
        }
        Some(FileWriter {
            position: self.published(),
            file: Arc::clone(self),
        })
    }
}

/// Has a range of a file written to the disk and waits for that. It is not durable after that: the disk may keep it in a
/// cache, and the file system what it knows of the blocks.
fn write_back(file: &File, from: u64, len: u64) -> io::Result<()> {
    let place = |value: u64| i64::try_from(value).map_err(|_| io::ErrorKind::InvalidInput);
    // SAFETY: a call without pointers, of a descriptor that is open.
    let result = unsafe {
        libc::sync_file_range(
            file.as_raw_fd(),
            place(from)?,
            place(len)?,
            libc::SYNC_FILE_RANGE_WAIT_BEFORE
                | libc::SYNC_FILE_RANGE_WRITE
                | libc::SYNC_FILE_RANGE_WAIT_AFTER,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Fills a file behind its published length. There is at most one for a file.
#[derive(Debug)]
pub(crate) struct FileWriter {
    file: Arc<MappedFile>,
    /// End of what is written; at or behind the published length.
    position: usize,
}

impl FileWriter {
    pub(crate) fn file(&self) -> &Arc<MappedFile> {
        &self.file
    }

    #[inline]
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    #[inline]
    pub(crate) fn remaining(&self) -> usize {
        self.file.len() - self.position
    }

    /// The bytes behind the written ones, up to the end of the file.
    #[inline]
    pub(crate) fn spare(&mut self) -> &mut [u8] {
        let len = self.remaining();
        // SAFETY: the range lies within the mapping and above the published length, so no reader has a slice of it;
        // this is the only writer, and it is borrowed for as long as the slice lives.
        unsafe {
            std::slice::from_raw_parts_mut(self.file.map.as_mut_ptr().add(self.position), len)
        }
    }

    /// Counts bytes of [`FileWriter::spare`] as written.
    #[inline]
    pub(crate) fn advance(&mut self, len: usize) {
        assert!(len <= self.remaining());
        self.position += len;
    }

    /// Shows readers what is written.
    #[inline]
    pub(crate) fn publish(&mut self) {
        self.file.published.store(self.position, Ordering::Release);
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        self.file.has_writer.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(len: u64) -> (tempfile::TempDir, Arc<MappedFile>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let env = Env::real();
        let file = env.open_or_create(&path).unwrap();
        file.set_len(len).unwrap();
        (
            dir,
            Arc::new(MappedFile::map(&env, file, path, 0, 0, true).unwrap()),
        )
    }

    #[test]
    fn readers_see_what_is_published() {
        let (_dir, file) = mapped(10_000);
        let mut writer = file.writer().unwrap();
        assert!(file.writer().is_none());
        writer.spare()[..3].copy_from_slice(b"abc");
        writer.advance(3);
        assert_eq!(file.slice(0, 1), None);
        writer.publish();
        assert_eq!(file.slice(0, 3), Some(&b"abc"[..]));
        assert_eq!(file.slice(0, 4), None);
        assert_eq!(file.slice(usize::MAX, 2), None);
        assert_eq!((writer.remaining(), writer.position()), (9_997, 3));
        drop(writer);
        assert_eq!(file.writer().unwrap().position(), 3);
    }

    #[test]
    fn what_is_written_stays_when_pages_are_let_go_or_written_ahead() {
        let (_dir, file) = mapped(1 << 20);
        let mut writer = file.writer().unwrap();
        let bytes: Vec<u8> = (0..100_000).map(|at| (at % 251) as u8).collect();
        writer.spare()[..bytes.len()].copy_from_slice(&bytes);
        writer.advance(bytes.len());
        writer.publish();
        // Also into what is let go the next moment.
        writer.spare()[..3].copy_from_slice(b"abc");
        file.let_go(1, (1 << 20) - 1);
        let descriptor = File::open(file.path()).unwrap();
        file.write_ahead(&descriptor, 0, 1 << 20).unwrap();
        assert!(file.is_resident(0, 1 << 20));
        writer.advance(3);
        writer.publish();
        file.sync_range(&Env::real(), 0, 200_000).unwrap();
        assert!(file.slice(0, bytes.len()).unwrap() == bytes);
        assert_eq!(file.slice(bytes.len(), 3).unwrap(), b"abc");
        let on_disk = std::fs::read(file.path()).unwrap();
        assert!(on_disk[..bytes.len()] == bytes);
        assert!(on_disk[bytes.len() + 3..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn populated_pages_are_resident() {
        let (_dir, file) = mapped(1 << 20);
        file.populate(0, 1 << 20);
        assert!(file.is_resident(5, (1 << 20) - 5));
    }
}
