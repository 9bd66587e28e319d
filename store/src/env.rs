// SPDX-License-Identifier: Apache-2.0
//! The door to the file system and to the clock. Nothing else in this crate opens, writes, syncs, renames or removes a
//! file, or asks for the time; so a test can fail any of it, and a simulation can replace the time.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::fs::{FallocateFlags, SeekFrom};

use crate::{byte_lock, retention::DiskSpace};

/// What is about to be done to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the operation of that name")]
pub enum Operation {
    CreateDir,
    Create,
    Open,
    Map,
    Allocate,
    SetLength,
    ZeroRange,
    Read,
    Write,
    Sync,
    SyncDir,
    Rename,
    Remove,
    List,
    Lock,
    Space,
}

impl Operation {
    /// Whether it leaves everything as it was.
    const fn only_reads(self) -> bool {
        matches!(
            self,
            Operation::Open | Operation::Read | Operation::List | Operation::Space
        )
    }
}

/// Decides which operations fail. Called before each; what it returns is the result of the operation when it is an
/// error.
pub trait Faults: Send + Sync {
    /// May fail an operation on a path.
    ///
    /// # Errors
    /// The error that the operation is to end with.
    fn before(&self, operation: Operation, path: &Path) -> io::Result<()>;

    /// An operation on a path has succeeded.
    fn after(&self, _operation: Operation, _path: &Path) {}

    /// Bytes of a file were written through a descriptor.
    fn written(&self, _path: &Path, _at: u64, _len: u64) {}

    /// A file has got another name.
    fn after_rename(&self, _from: &Path, _to: &Path) {}

    /// What tells one start of the machine from another; none to ask the machine.
    fn boot(&self) -> Option<String> {
        None
    }

    /// Space on the disk that holds a path, if it is not to be asked.
    fn space(&self, _path: &Path) -> Option<DiskSpace> {
        None
    }

    /// How many of `len` bytes one write takes; fewer make a short write.
    fn write_limit(&self, _path: &Path, len: usize) -> usize {
        len
    }
}

/// A source of time.
pub trait Time: Send + Sync {
    /// Milliseconds since 1970; may jump.
    fn wall_millis(&self) -> i64;
    /// Time since some start; never goes back.
    fn monotonic(&self) -> Duration;
}

/// The clock of a store. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System(Instant),
    Given(Arc<dyn Time>),
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl Clock {
    /// The machine's clocks.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System(Instant::now()))
    }

    /// A clock under somebody's control.
    #[must_use]
    pub fn given(time: Arc<dyn Time>) -> Self {
        Self(Source::Given(time))
    }

    /// Whether these are the machine's clocks.
    pub(crate) fn is_system(&self) -> bool {
        matches!(self.0, Source::System(_))
    }

    /// Milliseconds since 1970; may jump.
    #[must_use]
    #[inline]
    pub fn millis(&self) -> i64 {
        match &self.0 {
            Source::System(_) => {
                let since = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
                i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
            }
            Source::Given(time) => time.wall_millis(),
        }
    }

    /// Time since some start; never goes back.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        match &self.0 {
            Source::System(start) => start.elapsed(),
            Source::Given(time) => time.monotonic(),
        }
    }
}

/// File system and clock. Cheap to clone.
#[derive(Clone)]
pub struct Env {
    faults: Option<Arc<dyn Faults>>,
    clock: Clock,
    takes_turns: bool,
    reads_only: bool,
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env")
            .field("faults", &self.faults.is_some())
            .finish_non_exhaustive()
    }
}

impl Env {
    /// The machine's file system and clocks.
    #[must_use]
    pub fn real() -> Self {
        Self {
            faults: None,
            clock: Clock::system(),
            takes_turns: false,
            reads_only: false,
        }
    }

    /// The machine's file system, of which nothing is changed: files are opened for reading, and whatever would
    /// change something fails.
    pub(crate) fn reading() -> Self {
        Self {
            reads_only: true,
            ..Self::real()
        }
    }

    /// The machine's file system with faults, and a clock.
    #[must_use]
    pub fn with(faults: Arc<dyn Faults>, clock: Clock) -> Self {
        Self {
            faults: Some(faults),
            clock,
            takes_turns: false,
            reads_only: false,
        }
    }

    /// As [`Env::with`]; and a store in it starts no threads: whoever made the environment takes their turns
    /// ([`crate::Store::step`]).
    #[must_use]
    pub fn stepped(faults: Arc<dyn Faults>, clock: Clock) -> Self {
        Self {
            takes_turns: true,
            ..Self::with(faults, clock)
        }
    }

    pub(crate) fn takes_turns(&self) -> bool {
        self.takes_turns
    }

    /// The clock.
    #[must_use]
    #[inline]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    fn before(&self, operation: Operation, path: &Path) -> io::Result<()> {
        if self.reads_only && !operation.only_reads() {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.faults
            .as_ref()
            .map_or(Ok(()), |faults| faults.before(operation, path))
    }

    fn after(&self, operation: Operation, path: &Path) {
        if let Some(faults) = &self.faults {
            faults.after(operation, path);
        }
    }

    /// Does what is to be done to a path, between the two calls that tell of it.
    fn told<T>(
        &self,
        operation: Operation,
        path: &Path,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        self.before(operation, path)?;
        let done = act()?;
        self.after(operation, path);
        Ok(done)
    }

    pub(crate) fn before_map(&self, path: &Path) -> io::Result<()> {
        self.before(Operation::Map, path)
    }

    pub(crate) fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.told(Operation::CreateDir, path, || fs::create_dir_all(path))
    }

    /// Opens for reading and writing; creates when missing.
    pub(crate) fn open_or_create(&self, path: &Path) -> io::Result<File> {
        self.told(Operation::Create, path, || {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
        })
    }

    /// Opens for reading and writing.
    pub(crate) fn open(&self, path: &Path) -> io::Result<File> {
        self.before(Operation::Open, path)?;
        OpenOptions::new()
            .read(true)
            .write(!self.reads_only)
            .open(path)
    }

    pub(crate) fn set_len(&self, file: &File, path: &Path, len: u64) -> io::Result<()> {
        self.told(Operation::SetLength, path, || file.set_len(len))
    }

    /// Reserves blocks for a range and makes the file at least that long.
    pub(crate) fn allocate(&self, file: &File, path: &Path, from: u64, len: u64) -> io::Result<()> {
        self.told(Operation::Allocate, path, || {
            Ok(rustix::fs::fallocate(
                file,
                FallocateFlags::empty(),
                from,
                len,
            )?)
        })
    }

    /// Makes a range zero; its blocks stay reserved where the file system can do that.
    pub(crate) fn zero_range(
        &self,
        file: &File,
        path: &Path,
        from: u64,
        len: u64,
    ) -> io::Result<()> {
        self.make_zero(file, path, from, len, FallocateFlags::ZERO_RANGE)
    }

    /// Makes a range zero and gives its blocks back where the file system can do that. What was a hole stays one.
    pub(crate) fn clear_range(
        &self,
        file: &File,
        path: &Path,
        from: u64,
        len: u64,
    ) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        self.make_zero(file, path, from, len, flags)
    }

    fn make_zero(
        &self,
        file: &File,
        path: &Path,
        from: u64,
        len: u64,
        flags: FallocateFlags,
    ) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        self.before(Operation::ZeroRange, path)?;
        match rustix::fs::fallocate(file, flags, from, len) {
            Err(rustix::io::Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
            Ok(()) => {
                if let Some(faults) = &self.faults {
                    faults.written(path, from, len);
                }
                return Ok(());
            }
        }
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        let mut at = 0;
        while at < len {
            let part = (len - at).min(ZEROS.len() as u64);
            #[expect(
                clippy::cast_possible_truncation,
                reason = "at most the length of ZEROS"
            )]
            self.write_all_at(file, path, &ZEROS[..part as usize], from + at)?;
            at += part;
        }
        Ok(())
    }

    pub(crate) fn write_all_at(
        &self,
        file: &File,
        path: &Path,
        mut bytes: &[u8],
        mut at: u64,
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            self.before(Operation::Write, path)?;
            let limit = self
                .faults
                .as_ref()
                .map_or(bytes.len(), |faults| faults.write_limit(path, bytes.len()));
            let written = file.write_at(&bytes[..limit.min(bytes.len())], at)?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            if let Some(faults) = &self.faults {
                faults.written(path, at, written as u64);
            }
            bytes = &bytes[written..];
            at += written as u64;
        }
        Ok(())
    }

    /// Reads until the buffer is full or the file ends; returns the bytes read.
    pub(crate) fn read_at(
        &self,
        file: &File,
        path: &Path,
        buffer: &mut [u8],
        at: u64,
    ) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            self.before(Operation::Read, path)?;
            match file.read_at(&mut buffer[done..], at + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// The first position at or behind `from` that may hold something else than zeros; `None` when the rest is a hole.
    pub(crate) fn next_data(&self, file: &File, path: &Path, from: u64) -> io::Result<Option<u64>> {
        self.before(Operation::Read, path)?;
        match rustix::fs::seek(file, SeekFrom::Data(from)) {
            Ok(at) => Ok(Some(at)),
            Err(rustix::io::Errno::NXIO) => Ok(None),
            Err(rustix::io::Errno::INVAL) => Ok(Some(from)),
            Err(error) => Err(error.into()),
        }
    }

    /// Advises the kernel to read just what is asked for.
    pub(crate) fn read_singly(&self, file: &File) {
        // Nothing is lost when the advice is not taken.
        let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Random);
    }

    pub(crate) fn sync_data(&self, file: &File, path: &Path) -> io::Result<()> {
        self.told(Operation::Sync, path, || file.sync_data())
    }

    pub(crate) fn sync_all(&self, file: &File, path: &Path) -> io::Result<()> {
        self.told(Operation::Sync, path, || file.sync_all())
    }

    /// Syncs mapped bytes by the given means.
    pub(crate) fn sync_map(
        &self,
        path: &Path,
        sync: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        self.told(Operation::Sync, path, sync)
    }

    pub(crate) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.told(Operation::SyncDir, path, || File::open(path)?.sync_all())
    }

    /// Makes everything durable that was written to the file system of a directory; `covered` names what the caller
    /// relies on. One such call costs less than a sync of each of many files.
    pub(crate) fn sync_file_system(
        &self,
        dir: &Path,
        covered: impl Fn() -> Vec<(Operation, PathBuf)>,
    ) -> io::Result<()> {
        let covered = self.faults.as_ref().map(|_| covered()).unwrap_or_default();
        for (operation, path) in &covered {
            self.before(*operation, path)?;
        }
        rustix::fs::syncfs(File::open(dir)?)?;
        for (operation, path) in &covered {
            self.after(*operation, path);
        }
        Ok(())
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.before(Operation::Rename, from)?;
        fs::rename(from, to)?;
        if let Some(faults) = &self.faults {
            faults.after_rename(from, to);
        }
        Ok(())
    }

    pub(crate) fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.told(Operation::Remove, path, || fs::remove_file(path))
    }

    pub(crate) fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.told(Operation::Remove, path, || fs::remove_dir_all(path))
    }

    pub(crate) fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    /// Length of a file.
    pub(crate) fn len_of(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    /// Names in a directory in order; empty when the directory is missing.
    pub(crate) fn list(&self, path: &Path) -> io::Result<Vec<Listed>> {
        self.before(Operation::List, path)?;
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut listed = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            listed.push(Listed {
                name,
                is_dir: entry.file_type()?.is_dir(),
            });
        }
        listed.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    pub(crate) fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    /// Takes the lock on a file that Java's `FileChannel.tryLock` takes: a POSIX record lock. It is gone when any
    /// descriptor of that file is closed in this process, so there must be one only. `false` when somebody has it.
    pub(crate) fn try_lock(&self, file: &File, path: &Path) -> io::Result<bool> {
        self.before(Operation::Lock, path)?;
        byte_lock::try_lock(file)
    }

    /// What tells one start of the machine from another: the page cache lives as long as that. `None` when nobody tells.
    pub(crate) fn boot(&self) -> Option<String> {
        if let Some(boot) = self.faults.as_ref().and_then(|faults| faults.boot()) {
            return Some(boot);
        }
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(text.trim().to_owned()).filter(|boot| !boot.is_empty())
    }

    /// The process that holds the lock on a file ([`Env::try_lock`]), 0 when it cannot be told; `None` when none does.
    /// This process must have no other descriptor of the file.
    pub(crate) fn lock_holder(&self, path: &Path) -> io::Result<Option<i32>> {
        use rustix::process::{Flock, FlockType, fcntl_getlk};
        let file = self.open(path)?;
        let held = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))?;
        Ok(held.map(|held| held.pid.map_or(0, |pid| pid.as_raw_nonzero().get())))
    }

    /// Space on the disk that holds a path.
    pub(crate) fn disk_space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.before(Operation::Space, path)?;
        if let Some(space) = self.faults.as_ref().and_then(|faults| faults.space(path)) {
            return Ok(space);
        }
        let stat = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(DiskSpace {
            total: bytes(stat.f_blocks),
            used: bytes(stat.f_blocks.saturating_sub(stat.f_bfree)),
            usable: bytes(stat.f_bavail),
        })
    }

    /// When a file was last changed, in milliseconds since 1970.
    pub(crate) fn modified_millis(&self, path: &Path) -> io::Result<i64> {
        let modified = fs::metadata(path)?.modified()?;
        let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// Bytes of memory in this machine; a guess of 4 GiB when nobody tells.
    pub(crate) fn memory_bytes(&self) -> u64 {
        const GUESS: u64 = 4 << 30;
        let Ok(text) = fs::read_to_string("/proc/meminfo") else {
            return GUESS;
        };
        let kib = text.lines().find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .trim()
                .strip_suffix("kB")?
                .trim()
                .parse()
                .ok()
        });
        kib.map_or(GUESS, |kib: u64| kib << 10)
    }
}

/// An entry of a directory.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) is_dir: bool,
}
