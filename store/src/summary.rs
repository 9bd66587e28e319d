// SPDX-License-Identifier: Apache-2.0
//! What is known of all queues, in one file, so that a start need not look at each: `queues.summary` beside the
//! directories. Apache's broker ignores it; without it every queue is examined once.
//!
//! It is written at the end, and now and then when the log has grown; what came since is read from the log. All
//! numbers are big-endian.
//!
//! | part | bytes |
//! |---|---|
//! | magic `aeroqsum`, version 4, reserved 4 | 16 |
//! | the log up to here is in the queues 8, first position of the log 8 | 16 |
//! | for each topic: length of its name 2, name, number of its queues 4 | |
//! | · for each of its queues: id 4, flags 4, first offset 8, position of that message in the log or −1 8, next offset 8, end of the last message in the log 8 | 40 |
//! | a name of length 0 | 2 |
//! | CRC-32 of all that | 4 |
//!
//! Flag 1: what follows the last entry on disk is not known to be zero.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use smallvec::SmallVec;

use crate::{
    consume_queue::{Found, Queue},
    env::Env,
    layout,
    queue_flags::Flag,
};

const MAGIC: &[u8; 8] = b"aeroqsum";
const VERSION: u32 = 1;
const UNVERIFIED: u32 = 1;
/// Bytes that are written at once.
const STEP_BYTES: usize = 256 << 10;
/// The log may grow by so much before the next summary, or by [`GROWTH`] times its size if that is more.
const GROWN_BYTES: u64 = 256 << 20;
const GROWTH: u64 = 16;

/// The queues of one topic, by id. Most of many topics have one queue: a buffer for each would leave holes in the heap.
pub(crate) type OfTopic = (Arc<str>, SmallVec<[(i32, Found); 1]>);

/// What a summary says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) position: i64,
    pub(crate) log_first: i64,
    pub(crate) topics: Vec<OfTopic>,
}

/// When the next summary is due.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// What the last one says of the log; nothing when there is none that holds.
    last: Option<i64>,
    bytes: u64,
}

impl Due {
    pub(crate) fn since(last: Option<i64>) -> Due {
        Due { last, bytes: 0 }
    }

    /// The last one holds no more: a topic was deleted.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }

    pub(crate) fn is_due(&self, end: i64) -> bool {
        let Some(last) = self.last else { return true };
        let most = GROWN_BYTES.max(self.bytes.saturating_mul(GROWTH));
        end.saturating_sub(last).cast_unsigned() >= most
    }

    pub(crate) fn is_missing(&self) -> bool {
        self.last.is_none()
    }

    pub(crate) fn is_at(&self, end: i64) -> bool {
        self.last == Some(end)
    }

    pub(crate) fn written(&mut self, position: i64, bytes: u64) {
        self.last = Some(position);
        self.bytes = bytes;
    }
}

fn path_in(root: &Path) -> PathBuf {
    root.join(layout::SUMMARY)
}

/// Removes the file, if there is one.
pub(crate) fn remove(env: &Env, root: &Path) -> io::Result<()> {
    let path = path_in(root);
    if env.exists(&path) {
        env.remove_file(&path)?;
        env.sync_dir(root)?;
    }
    Ok(())
}

/// What is durable of a queue; nothing when no entry of it is.
fn state_of(queue: &Queue) -> io::Result<Option<Found>> {
    let (flushed, known_end, has_new_files) = {
        let tail = queue.tail();
        if tail.retired {
            return Ok(None);
        }
        let known_end = (tail.flushed == tail.next).then_some(tail.max_physical);
        (tail.flushed, known_end, tail.has_new_files)
    };
    let min = queue.min_offset().min(flushed);
    // A file made since the last flush is no reason to leave out what is durable in those before it: after a kill nobody
    // else knows of entries for the log before the summary.
    if !queue.flags.has(Flag::HasDir) || (has_new_files && flushed <= min) {
        return Ok(None);
    }
    let max_physical = match known_end {
        Some(end) => end,
        None if flushed <= min => 0,
        None => match queue.entry_in_file(flushed - 1)? {
            Some(entry) if entry.is_blank() => 0,
            Some(entry) if entry.size > 0 => entry.end(),
            _ if queue.tail().retired => return Ok(None),
            _ => {
                let dir = queue.dir();
                return Err(io::Error::other(format!(
                    "{} has no entry {}",
                    dir.display(),
                    flushed - 1
                )));
            }
        },
    };
    Ok(Some(Found {
        min,
        min_physical: queue
            .min_physical()
            .unwrap_or(crate::consume_queue::UNKNOWN),
        next: flushed,
        max_physical,
        has_dir: true,
        unverified: queue.flags.has(Flag::Unverified),
        is_new: false,
    }))
}

struct Writer<'a> {
    env: &'a Env,
    file: File,
    path: PathBuf,
    bytes: Vec<u8>,
    at: u64,
    crc: crc32fast::Hasher,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() >= STEP_BYTES {
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> io::Result<()> {
        self.crc.update(&self.bytes);
        self.env
            .write_all_at(&self.file, &self.path, &self.bytes, self.at)?;
        self.at += self.bytes.len() as u64;
        self.bytes.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<u64> {
        self.step()?;
        let crc = std::mem::take(&mut self.crc).finalize();
        self.env
            .write_all_at(&self.file, &self.path, &crc.to_be_bytes(), self.at)?;
        self.env.sync_all(&self.file, &self.path)?;
        Ok(self.at + 4)
    }
}

/// Writes the summary of queues, those of one topic one after the other; returns its length. All entries for the log
/// up to `position` are durable.
pub(crate) fn write(
    env: &Env,
    root: &Path,
    position: i64,
    log_first: i64,
    queues: &[Arc<Queue>],
) -> io::Result<u64> {
    let temporary = root.join(format!("{}.tmp", layout::SUMMARY));
    let file = env.open_or_create(&temporary)?;
    env.set_len(&file, &temporary, 0)?;
    let mut writer = Writer {
        env,
        file,
        path: temporary.clone(),
        bytes: Vec::with_capacity(STEP_BYTES + 1024),
        at: 0,
        crc: crc32fast::Hasher::new(),
    };
    writer.put(MAGIC)?;
    writer.put(&VERSION.to_be_bytes())?;
    writer.put(&[0; 4])?;
    writer.put(&position.to_be_bytes())?;
    writer.put(&log_first.to_be_bytes())?;
    for of_topic in queues.chunk_by(|a, b| a.topic() == b.topic()) {
        let mut states: Vec<(i32, Found)> = Vec::new();
        for queue in of_topic {
            states.extend(state_of(queue)?.map(|found| (queue.id(), found)));
        }
        let (Some(first), false) = (of_topic.first(), states.is_empty()) else {
            continue;
        };
        let name = first.topic().as_bytes();
        // Names of directories have at most 255 bytes.
        writer.put(&u16::try_from(name.len()).unwrap_or(0).to_be_bytes())?;
        writer.put(name)?;
        writer.put(&u32::try_from(states.len()).unwrap_or(0).to_be_bytes())?;
        for (id, found) in states {
            let flags = if found.unverified { UNVERIFIED } else { 0 };
            writer.put(&id.to_be_bytes())?;
            writer.put(&flags.to_be_bytes())?;
            for long in [
                found.min,
                found.min_physical,
                found.next,
                found.max_physical,
            ] {
                writer.put(&long.to_be_bytes())?;
            }
        }
    }
    writer.put(&[0; 2])?;
    let bytes = writer.finish()?;
    env.rename(&temporary, &path_in(root))?;
    env.sync_dir(root)?;
    Ok(bytes)
}

/// Reads the summary; nothing when there is none or it is damaged.
pub(crate) fn read(env: &Env, root: &Path) -> io::Result<Option<Summary>> {
    let path = path_in(root);
    if !env.exists(&path) {
        return Ok(None);
    }
    let file = env.open(&path)?;
    let len = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    let mut bytes = vec![0; len];
    let read = env.read_at(&file, &path, &mut bytes, 0)?;
    bytes.truncate(read);
    Ok(parse(&bytes))
}

/// Takes parts off the front.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn long(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }

    fn text(&mut self, len: usize) -> Option<&'a str> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        std::str::from_utf8(head).ok()
    }
}

fn parse(bytes: &[u8]) -> Option<Summary> {
    let (content, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    if crc32fast::hash(content).to_be_bytes() != crc || !content.starts_with(MAGIC) {
        return None;
    }
    let mut parts = Parts(&content[MAGIC.len()..]);
    if parts.take() != Some(VERSION.to_be_bytes()) {
        return None;
    }
    let [_, _, _, _] = parts.take()?;
    let (position, log_first) = (parts.long()?, parts.long()?);
    let mut topics = Vec::new();
    loop {
        let len = usize::from(u16::from_be_bytes(parts.take()?));
        if len == 0 {
            break;
        }
        let name: Arc<str> = parts
            .text(len)
            .filter(|name| layout::is_directory_name(name))?
            .into();
        let count = u32::from_be_bytes(parts.take()?) as usize;
        let mut queues = SmallVec::with_capacity(count.min(parts.0.len() / 40));
        for _ in 0..count {
            let id = i32::from_be_bytes(parts.take()?);
            let flags = u32::from_be_bytes(parts.take()?);
            let found = Found {
                min: parts.long()?,
                min_physical: parts.long()?,
                next: parts.long()?,
                max_physical: parts.long()?,
                has_dir: true,
                unverified: flags & UNVERIFIED != 0,
                is_new: false,
            };
            if id < 0 || found.min < 0 || found.next < found.min || found.max_physical < 0 {
                return None;
            }
            queues.push((id, found));
        }
        topics.push((name, queues));
    }
    parts.0.is_empty().then_some(Summary {
        position,
        log_first,
        topics,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, config::FlushMode, queue_table::Shared, watermark::Watermarks};

    fn queue(shared: &Arc<Shared>, topic: &str, id: i32, next: i64) -> Arc<Queue> {
        let found = Found {
            min: 3,
            min_physical: 70,
            next,
            max_physical: 1000,
            has_dir: true,
            unverified: id == 1,
            is_new: false,
        };
        Queue::new(topic.into(), id, Arc::clone(shared), &found)
    }

    #[test]
    fn a_summary_comes_back_and_a_damaged_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::real();
        let marks = Arc::new(Watermarks::new(FlushMode::Async, 0, 0));
        let config = Config::new(dir.path());
        let homes = Arc::new(crate::log_dirs::Homes::new(&config).unwrap());
        let shared = Shared::new(&config, &env, &marks, &homes);
        let queues = [
            queue(&shared, "T", 0, 10),
            queue(&shared, "T", 1, 20),
            queue(&shared, "ü", 7, 3),
            Queue::create("new".into(), 0, Arc::clone(&shared)).unwrap(),
        ];
        assert_eq!(read(&env, dir.path()).unwrap(), None);
        write(&env, dir.path(), 4096, 64, &queues).unwrap();
        let summary = read(&env, dir.path()).unwrap().unwrap();
        assert_eq!((summary.position, summary.log_first), (4096, 64));
        let names: Vec<&str> = summary.topics.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["T", "ü"]);
        let (id, found) = summary.topics[0].1[1];
        assert_eq!(id, 1);
        assert!(found.unverified);
        assert_eq!((found.min, found.min_physical), (3, 70));
        assert_eq!((found.next, found.max_physical), (20, 1000));
        let path = dir.path().join(layout::SUMMARY);
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert_eq!(parse(&damaged), None, "byte {at}");
            assert_eq!(parse(&bytes[..at]), None, "cut at {at}");
        }
        remove(&env, dir.path()).unwrap();
        assert_eq!(read(&env, dir.path()).unwrap(), None);
    }

    #[test]
    fn what_is_durable_of_a_queue_counts_while_its_next_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::real();
        let config = Config::new(dir.path());
        let homes = Arc::new(crate::log_dirs::Homes::new(&config).unwrap());
        let marks = Arc::new(Watermarks::new(FlushMode::Async, 0, 0));
        let shared = Shared::new(&config, &env, &marks, &homes);
        let queues = [queue(&shared, "T", 0, 10), queue(&shared, "empty", 0, 3)];
        queues
            .iter()
            .for_each(|queue| queue.tail().has_new_files = true);
        write(&env, dir.path(), 4096, 0, &queues).unwrap();
        let summary = read(&env, dir.path()).unwrap().unwrap();
        assert_eq!(summary.topics.len(), 1);
        let (name, states) = &summary.topics[0];
        assert_eq!((&**name, states[0].1.next), ("T", 10));
        // What its last durable entry says must be known.
        queues[0].tail().next = 11;
        assert!(write(&env, dir.path(), 4096, 0, &queues).is_err());
    }

    #[test]
    fn a_summary_is_due_when_the_log_has_grown_or_none_holds() {
        let mut due = Due::since(None);
        assert!(due.is_due(0));
        due.written(0, 100 << 20);
        assert!(!due.is_due(256 << 20) && due.is_due(1600 << 20));
        due.forget();
        assert!(due.is_due(0) && due.is_missing());
    }
}
