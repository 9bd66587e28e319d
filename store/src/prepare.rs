// SPDX-License-Identifier: Apache-2.0
//! Files of the log are made ahead: really allocated, durable before their first use, and with their next pages
//! present, so that an append neither waits for the disk nor meets a full one. Where appends wait for syncs, the next
//! blocks are written before their first use as well: a sync of blocks that are only reserved takes three times as long
//! (`docs/decisions/0021-blocks-are-written-ahead.md`).

use std::{
    fs::File,
    io,
    ops::Range,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use crate::{
    background::{Turn, Work},
    config::{Config, FlushMode},
    env::Env,
    error::{AppendError, ReadOnlyReason},
    layout,
    log_dirs::Homes,
    mapped_file::{MappedFile, POPULATED_AT_ONCE},
    store::Inner,
};

/// So many times the usual pages are made present before a file is made: until that is done nobody makes more, and an
/// append that meets a page for the first time may wait for the journal of the file system, which is busy then.
const WINDOWS_FOR_A_FILE: i64 = 16;
/// So many times the usual pages are kept ahead where their blocks are written, too, which takes longer.
const WINDOWS_WRITTEN: i64 = 4;
/// Bytes that are written ahead in one go.
const WRITTEN_AT_ONCE: usize = 1 << 20;
/// How long to wait after a failed try.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Makes the log file that starts at `base`, in the directory whose turn it is or, if that has no space, in the next.
pub(crate) fn make_log_file(
    env: &Env,
    config: &Config,
    homes: &Homes,
    base: i64,
) -> io::Result<Arc<MappedFile>> {
    if homes.writable().len() > 1 {
        remove_left_over(env, homes, base)?;
    }
    let mut result = Err(io::ErrorKind::NotFound.into());
    for dir in homes.choices(base, config.commit_log_file_bytes) {
        result = make_log_file_in(env, config, homes, dir, base);
        match &result {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
            _ => break,
        }
    }
    result
}

/// A try that failed at its last step may have left the file in a directory whose turn it no longer is.
fn remove_left_over(env: &Env, homes: &Homes, base: i64) -> io::Result<()> {
    for dir in homes.writable() {
        let path = dir.join(layout::file_name(base));
        if env.exists(&path) {
            env.remove_file(&path)?;
            env.sync_dir(dir)?;
        }
    }
    Ok(())
}

/// The file gets its full length in a directory of its own, so that no broker ever finds a file of the log with another
/// length.
fn make_log_file_in(
    env: &Env,
    config: &Config,
    homes: &Homes,
    dir: &Path,
    base: i64,
) -> io::Result<Arc<MappedFile>> {
    let name = layout::file_name(base);
    let path = dir.join(&name);
    env.create_dir_all(dir)?;
    // The name of the directory itself: a try before may have failed at just that.
    if let Some(parent) = dir.parent()
        && !has_log_file(env, dir)?
    {
        env.sync_dir(parent)?;
    }
    let mut preparing = homes.preparing_for(dir);
    let file = loop {
        env.create_dir_all(&preparing)?;
        let temporary = preparing.join(&name);
        let made = fill_log_file(env, config, &temporary, &path, dir);
        if made.is_err() && env.exists(&temporary) {
            // What is left of it would keep the space that may be what is missing.
            env.remove_file(&temporary)?;
        }
        match made {
            // The directory of the log is a disk of its own.
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                let beside = dir.join(layout::PREPARING);
                if preparing == beside {
                    return Err(error);
                }
                preparing = beside;
            }
            made => break made?,
        }
    };
    homes.found(base, dir);
    let map = MappedFile::map(env, file, path, base, 0, true)?;
    let map = Arc::new(map);
    let ahead = usize::try_from(config.populate_bytes).unwrap_or(usize::MAX);
    Ahead::new(config).make_present(env, &map, 0, ahead);
    Ok(map)
}

fn has_log_file(env: &Env, dir: &Path) -> io::Result<bool> {
    let listed = env.list(dir)?;
    let mut files = listed.iter().filter(|entry| !entry.is_dir);
    Ok(files.any(|entry| layout::base_of(&entry.name).is_some()))
}

fn fill_log_file(
    env: &Env,
    config: &Config,
    temporary: &Path,
    path: &Path,
    dir: &Path,
) -> io::Result<File> {
    let file = env.open_or_create(temporary)?;
    env.set_len(&file, temporary, 0)?;
    env.allocate(&file, temporary, 0, config.commit_log_file_bytes)?;
    env.sync_all(&file, temporary)?;
    env.rename(temporary, path)?;
    env.sync_dir(dir)?;
    Ok(file)
}

impl Inner {
    /// Makes the next file unless it is there; called by the preparer in good time, by an appender when it is late.
    pub(crate) fn prepare_next_file(&self) -> Result<(), AppendError> {
        let mut last_failure = self.preparing.lock();
        let base = {
            let appender = self.log.peek();
            if appender.next_file.is_some() {
                return Ok(());
            }
            appender.writer.file().end()
        };
        let now = self.env.clock().monotonic();
        if self.marks.is_disk_full()
            && last_failure.is_some_and(|at| now.saturating_sub(at) < RETRY_AFTER)
        {
            return Err(ReadOnlyReason::DiskFull.into());
        }
        self.marks.appendable()?;
        match make_log_file(&self.env, &self.config, &self.shared.homes, base) {
            Ok(file) => {
                self.marks.set_disk_full(false);
                *last_failure = None;
                self.log.peek().next_file = Some(file);
                Ok(())
            }
            Err(error) => {
                *last_failure = Some(now);
                tracing::warn!(file = layout::file_name(base), %error, "the next file of the log cannot be made");
                if error.kind() == io::ErrorKind::StorageFull {
                    self.marks.set_disk_full(true);
                    return Err(ReadOnlyReason::DiskFull.into());
                }
                Err(error.into())
            }
        }
    }

    /// Sees to the pages for an append of so many bytes. Whoever overtakes the preparer takes a piece of its work, before
    /// it locks the log: met one by one, under the lock, pages cost more, and all others wait.
    #[inline]
    pub(crate) fn see_to_pages(&self, bytes: usize) {
        let end = self.marks.end().saturating_add_unsigned(bytes as u64);
        if end > self.present_until.load(Ordering::Relaxed) && self.config.populate_bytes > 0 {
            self.help_preparer();
        }
    }

    #[cold]
    fn help_preparer(&self) {
        let (file, position) = {
            let appender = self.log.peek();
            let writer = &appender.writer;
            (Arc::clone(writer.file()), writer.position() as i64)
        };
        let from = file.base() + position;
        if let Some(piece) = self.claim_pages(&file, from, file.end(), POPULATED_AT_ONCE) {
            file.populate(piece.start, piece.len());
        }
    }

    /// Takes it over to make the next pages of `file` present, up to `most` bytes of those between the positions `from`,
    /// what is before is in use already, and `until`. Returns where in the file they are; `None` when others have taken
    /// all of them.
    fn claim_pages(
        &self,
        file: &MappedFile,
        from: i64,
        until: i64,
        most: usize,
    ) -> Option<Range<usize>> {
        let in_file = |at: i64| usize::try_from(at - file.base()).unwrap_or(0);
        let most = most as i64;
        let present = &self.present_until;
        let mut known = present.load(Ordering::Relaxed);
        loop {
            let start = known.max(from);
            // Pieces end at multiples of their length, so that none ends within a page.
            let end = (start / most + 1).saturating_mul(most).min(until);
            if start >= end {
                return None;
            }
            match present.compare_exchange_weak(known, end, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(in_file(start)..in_file(end)),
                Err(other) => known = other,
            }
        }
    }
}

/// How pages ahead of the writer are made present.
#[derive(Debug)]
struct Ahead {
    /// Their blocks are to be written, too.
    writes: bool,
    /// The file in which that is done, and a descriptor of it.
    file: Option<(i64, File)>,
}

impl Ahead {
    fn new(config: &Config) -> Ahead {
        Ahead {
            writes: config.flush_mode == FlushMode::Sync,
            file: None,
        }
    }

    fn make_present(&mut self, env: &Env, file: &MappedFile, from: usize, len: usize) {
        if !self.writes {
            return file.populate(from, len);
        }
        let descriptor = match self.file.take() {
            Some((base, descriptor)) if base == file.base() => Ok(descriptor),
            _ => env.open(file.path()),
        };
        let written = descriptor.and_then(|descriptor| {
            let end = from.saturating_add(len).min(file.len());
            for at in (from..end).step_by(WRITTEN_AT_ONCE) {
                file.write_ahead(&descriptor, at, WRITTEN_AT_ONCE.min(end - at))?;
            }
            self.file = Some((file.base(), descriptor));
            Ok(())
        });
        if let Err(error) = written {
            // Syncs take longer then, no more; what is lost of a record, the sync of that record tells.
            tracing::debug!(path = %file.path().display(), %error, "blocks of the log are not written ahead");
            file.populate(from, len);
        }
    }
}

/// The thread that makes files ahead.
#[derive(Debug)]
pub(crate) struct Preparer {
    ahead: Ahead,
}

impl Preparer {
    pub(crate) fn new(inner: &Inner) -> Preparer {
        Preparer {
            ahead: Ahead::new(&inner.config),
        }
    }
}

impl Work for Preparer {
    fn turn(&mut self, inner: &Inner) -> Turn {
        for queue in inner.shared.take_asks() {
            // An append that finds no room then makes it itself, or says why it cannot.
            if let Err(error) = queue.make_room(1) {
                tracing::debug!(?queue, %error, "no room was made");
            }
        }
        let usual = i64::try_from(inner.config.populate_bytes).unwrap_or(i64::MAX);
        let window = match self.ahead.writes {
            true => usual.saturating_mul(WINDOWS_WRITTEN),
            false => usual,
        };
        let file_bytes = inner.config.commit_log_file_bytes.cast_signed();
        let prepare_behind = file_bytes / 10 * 7;
        let (file, position, has_next) = {
            let appender = inner.log.peek();
            let writer = &appender.writer;
            (
                Arc::clone(writer.file()),
                writer.position() as i64,
                appender.next_file.is_some(),
            )
        };
        let needs_file = !has_next && position >= prepare_behind;
        // Pages ahead are made present in steps of half a window.
        let ahead = match needs_file {
            true => usual.saturating_mul(WINDOWS_FOR_A_FILE),
            false => window,
        };
        let from = file.base() + position;
        let until = from.saturating_add(ahead).min(file.end());
        let at_once = match self.ahead.writes {
            true => WRITTEN_AT_ONCE,
            false => POPULATED_AT_ONCE,
        };
        while let Some(piece) =
            inner.claim_pages(&file, from.max(inner.marks.end()), until, at_once)
        {
            self.ahead
                .make_present(&inner.env, &file, piece.start, piece.len());
            // Whoever waits for the core may be an append.
            std::thread::yield_now();
        }
        let failed = needs_file && inner.prepare_next_file().is_err();
        let mut appender = inner.log.peek();
        let end = appender.end();
        let present = inner.present_until.load(Ordering::Relaxed);
        let mut alarm = present - window / 2;
        if present >= file.end() || window == 0 {
            alarm = file.end() + 1;
        }
        if appender.next_file.is_none() && !failed {
            alarm = alarm.min(file.base() + prepare_behind.max(position + 1));
        }
        // What was appended meanwhile may be the last for long.
        if alarm <= end && end > file.base() + position && !failed {
            return Turn::Again;
        }
        appender.wake_preparer_at = alarm.max(end + 1);
        Turn::Wait(failed.then_some(RETRY_AFTER))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    };

    use parking_lot::Mutex;

    use super::*;
    use crate::{Operation, Store};

    /// Longer than any step takes on a busy machine.
    const LONG: Duration = Duration::from_secs(60);

    /// Holds the one who makes a file of the log durable, until the test goes on or has ended.
    struct Slow {
        is_on: AtomicBool,
        reached: mpsc::SyncSender<()>,
        goes_on: Mutex<mpsc::Receiver<()>>,
    }

    impl crate::Faults for Slow {
        fn before(&self, operation: Operation, path: &Path) -> io::Result<()> {
            let is_new = path
                .parent()
                .is_some_and(|dir| dir.ends_with(layout::PREPARING));
            if operation == Operation::Sync && is_new && self.is_on.swap(false, Ordering::SeqCst) {
                let _ = self.reached.send(());
                let _ = self.goes_on.lock().recv();
            }
            Ok(())
        }
    }

    #[test]
    fn each_page_is_made_present_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            populate_bytes: 0,
            ..Config::new(dir.path())
        };
        let store = Store::open(config, Env::real()).unwrap();
        let inner = &store.inner;
        let file = inner.log.file_of(0).unwrap();
        let (from, until) = (5_000, 1_000_000);
        let claim_next = || inner.claim_pages(&file, from, until, 1 << 12);
        let claim = || std::iter::from_fn(claim_next).collect::<Vec<_>>();
        let mut pieces = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(claim)).collect();
            let claimed = threads.into_iter().map(|thread| thread.join().unwrap());
            claimed.flatten().collect::<Vec<_>>()
        });
        pieces.sort_unstable_by_key(|piece| piece.start);
        assert_eq!((pieces[0].clone(), pieces.len()), (5_000..8_192, 244));
        assert_eq!(pieces.last().unwrap().end, 1_000_000);
        assert!(pieces.windows(2).all(|pair| pair[0].end == pair[1].start));
        // What appends have used meanwhile is no longer anybody's.
        assert_eq!(
            inner.claim_pages(&file, 1_500_000, 2_000_000, 1 << 20),
            Some(1_500_000..2_000_000)
        );
        store.close().unwrap();
    }

    #[test]
    fn pages_are_present_while_the_next_file_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let (reached, is_reached) = mpsc::sync_channel(1);
        let (goes_on, may_go_on) = mpsc::channel();
        let slow = Arc::new(Slow {
            is_on: AtomicBool::new(false),
            reached,
            goes_on: Mutex::new(may_go_on),
        });
        let env = Env::with(Arc::clone(&slow) as _, crate::Clock::system());
        let config = Config {
            commit_log_file_bytes: 8 << 20,
            populate_bytes: 64 << 10,
            ..Config::new(dir.path())
        };
        let store = Store::open(config, env).unwrap();
        slow.is_on.store(true, Ordering::SeqCst);
        let queue = store.create_queue("T", 0).unwrap();
        let body = vec![b'x'; 32 << 10];
        let record = aerobee_message::Record {
            topic: "T",
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 1,
            born_host: "127.0.0.1:1".parse().unwrap(),
            store_host: "127.0.0.1:10911".parse().unwrap(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &body,
            properties: &[],
            tags_code: aerobee_message::TagsCode::Hash(0),
        };
        while store.max_physical() < 6 << 20 {
            store.append(&queue, &record).unwrap();
        }
        is_reached.recv_timeout(LONG).unwrap();
        let file = store.inner.log.file_of(0).unwrap();
        let position = usize::try_from(store.max_physical()).unwrap();
        // The preparer may have looked some records ago.
        let is_present = file.is_resident(position, 512 << 10);
        // A failed test must not leave the thread waiting: the end of the store waits for it.
        goes_on.send(()).unwrap();
        store.close().unwrap();
        assert!(is_present);
    }
}
