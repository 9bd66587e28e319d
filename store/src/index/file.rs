// SPDX-License-Identifier: Apache-2.0
//! One index file: looked up by plain reads, filled through a mapping.

use std::{fs::File, io, path::PathBuf, sync::Arc};

use parking_lot::Mutex;

use super::format::{ENTRY_BYTES, Entry, Geometry, HEADER_BYTES, Header, SLOT_BYTES};
use crate::{env::Env, mapped_words::MappedWords};

/// Blocks of entries are reserved so far ahead.
const ALLOCATION_BYTES: u64 = 1 << 20;
/// Entries read at once.
const WINDOW_ENTRIES: u32 = 32 << 10;

/// A file as readers see it.
#[derive(Debug)]
pub(crate) struct IndexFile {
    /// What its name says.
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) geometry: Geometry,
    file: File,
    header: Mutex<Header>,
}

impl IndexFile {
    /// Takes a file that has its full length, with its header as it is on disk.
    pub(crate) fn open(
        env: &Env,
        file: File,
        number: u64,
        path: PathBuf,
        geometry: Geometry,
    ) -> io::Result<IndexFile> {
        let mut header = [0; HEADER_BYTES];
        env.read_at(&file, &path, &mut header, 0)?;
        Ok(IndexFile {
            number,
            path,
            geometry,
            file,
            header: Mutex::new(Header::of_bytes(&header)),
        })
    }

    /// What is filled in by now.
    pub(crate) fn header(&self) -> Header {
        *self.header.lock()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.header().count >= self.geometry.entries
    }

    fn read<const N: usize>(&self, env: &Env, at: u64) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        let read = env.read_at(&self.file, &self.path, &mut bytes, at)?;
        if read < N {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }

    /// Calls `each` with the entries of a hash, the newest first, until it returns `false`
    /// (`selectPhyOffset`): those stored in a stretch of time, as exactly as entries know theirs.
    pub(crate) fn find(
        &self,
        env: &Env,
        hash: u32,
        (begin, end): (i64, i64),
        mut each: impl FnMut(i64) -> bool,
    ) -> io::Result<()> {
        let header = self.header();
        let slot = self.geometry.slot_at(self.geometry.slot_of(hash));
        let mut number = u32::from_be_bytes(self.read::<SLOT_BYTES>(env, slot)?);
        if number > header.count {
            return Ok(());
        }
        // Each step leads to a smaller number, so the walk ends; a damaged file cannot make it go round.
        while number > 0 {
            let bytes = self.read::<ENTRY_BYTES>(env, self.geometry.entry_at(number))?;
            let entry = Entry::of_bytes(&bytes);
            if entry.seconds < 0 {
                break;
            }
            let time = header.begin_timestamp + i64::from(entry.seconds) * 1000;
            if entry.hash == hash && begin <= time && time <= end && !each(entry.physical) {
                break;
            }
            if entry.previous >= number || time < begin {
                break;
            }
            number = entry.previous;
        }
        Ok(())
    }

    /// Makes the file end before entry `count`, with `end` as position and time of the last record if they are known.
    /// Whatever a crash has left in the slots is put right: they are made anew from the entries, which are good up
    /// there. Entries that are none end the file earlier. Everything is durable then.
    pub(crate) fn cut(&self, env: &Env, count: u32, end: Option<(i64, i64)>) -> io::Result<()> {
        let mut header = self.header();
        let mut slots = vec![0u32; self.geometry.slots as usize];
        header.slots_used = 0;
        let mut last: Option<Entry> = None;
        let count = count.min(self.geometry.entries);
        let mut number = 1;
        'windows: while number < count {
            let wanted = (count - number).min(WINDOW_ENTRIES);
            let mut bytes = vec![0; wanted as usize * ENTRY_BYTES];
            let at = self.geometry.entry_at(number);
            if env.read_at(&self.file, &self.path, &mut bytes, at)? < bytes.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let (entries, _) = bytes.as_chunks::<ENTRY_BYTES>();
            for bytes in entries {
                let entry = Entry::of_bytes(bytes);
                let slot = &mut slots[self.geometry.slot_of(entry.hash) as usize];
                let continues = entry.physical >= last.map_or(0, |last| last.physical);
                if !continues || entry.seconds < 0 || entry.previous != *slot {
                    break 'windows;
                }
                header.slots_used += u32::from(*slot == 0);
                *slot = number;
                last = Some(entry);
                number += 1;
            }
        }
        let is_whole = number == count;
        header.count = number;
        if let Some(last) = last {
            header.end_physical = last.physical;
            header.end_timestamp = header.begin_timestamp + i64::from(last.seconds) * 1000;
        }
        if let (Some((physical, timestamp)), true) = (end, is_whole) {
            header.end_physical = physical;
            header.end_timestamp = timestamp;
        }
        let bytes: Vec<u8> = slots.iter().flat_map(|slot| slot.to_be_bytes()).collect();
        env.write_all_at(&self.file, &self.path, &bytes, HEADER_BYTES as u64)?;
        env.write_all_at(&self.file, &self.path, &header.to_bytes(), 0)?;
        env.sync_all(&self.file, &self.path)?;
        *self.header.lock() = header;
        Ok(())
    }

    /// Number of the first entry of a record that starts at `position` or behind it.
    pub(crate) fn entries_before(&self, env: &Env, position: i64) -> io::Result<u32> {
        let (mut low, mut high) = (1, self.header().count.min(self.geometry.entries).max(1));
        while low < high {
            let middle = low + (high - low) / 2;
            let bytes = self.read::<ENTRY_BYTES>(env, self.geometry.entry_at(middle))?;
            if Entry::of_bytes(&bytes).physical < position {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}

/// The file that is filled.
#[derive(Debug)]
pub(crate) struct Filling {
    pub(crate) file: Arc<IndexFile>,
    words: MappedWords,
    header: Header,
    /// Entries below this have their blocks.
    room_until: u32,
}

impl Filling {
    /// Makes a new file behind one that ends with this header.
    pub(crate) fn create(
        env: &Env,
        number: u64,
        path: PathBuf,
        geometry: Geometry,
        before: Option<Header>,
    ) -> io::Result<Filling> {
        let file = env.open_or_create(&path)?;
        let made = env
            .set_len(&file, &path, geometry.file_bytes())
            .and_then(|()| env.allocate(&file, &path, 0, geometry.entry_at(0)));
        if let Err(error) = made {
            // What is left of it would keep the space that may be what is missing.
            env.remove_file(&path)?;
            return Err(error);
        }
        env.sync_all(&file, &path)?;
        let file = IndexFile::open(env, file, number, path, geometry)?;
        if let Some(before) = before {
            let mut header = file.header.lock();
            header.begin_physical = before.end_physical;
            header.end_physical = before.end_physical;
            header.begin_timestamp = before.end_timestamp;
            header.end_timestamp = before.end_timestamp;
        }
        Filling::of(env, Arc::new(file))
    }

    /// Goes on filling a file.
    pub(crate) fn of(env: &Env, file: Arc<IndexFile>) -> io::Result<Filling> {
        Ok(Filling {
            words: MappedWords::map(env, &file.file, &file.path)?,
            header: file.header(),
            file,
            room_until: 0,
        })
    }

    pub(crate) fn header(&self) -> Header {
        self.header
    }

    pub(crate) fn is_full(&self) -> bool {
        self.header.count >= self.file.geometry.entries
    }

    /// Enters one key of a record (`putKey`); the caller has seen to it that the file is not full.
    #[inline]
    pub(crate) fn put(
        &mut self,
        env: &Env,
        hash: u32,
        physical: i64,
        store_timestamp: i64,
    ) -> io::Result<()> {
        let header = &mut self.header;
        let number = header.count;
        if number >= self.room_until {
            self.room_until = make_room(env, &self.file, self.room_until, number)?;
        }
        let geometry = self.file.geometry;
        let slot = HEADER_BYTES / 4 + geometry.slot_of(hash) as usize;
        let mut previous = self.words.load(slot);
        if previous >= number {
            previous = 0;
        }
        let entry = Entry {
            hash,
            physical,
            seconds: header.seconds_of(store_timestamp),
            previous,
        };
        let at = HEADER_BYTES / 4 + geometry.slots as usize + number as usize * (ENTRY_BYTES / 4);
        for (word, value) in entry.to_words().into_iter().enumerate() {
            self.words.store(at + word, value);
        }
        self.words.store(slot, number);
        if number <= 1 {
            header.begin_physical = physical;
            header.begin_timestamp = store_timestamp;
        }
        header.slots_used += u32::from(previous == 0);
        header.count += 1;
        header.end_physical = physical;
        header.end_timestamp = store_timestamp;
        Ok(())
    }

    /// Shows readers, Java's included, what was put.
    pub(crate) fn publish(&mut self) {
        let bytes = self.header.to_bytes();
        let (words, _) = bytes.as_chunks::<4>();
        for (number, word) in words.iter().enumerate() {
            self.words.store(number, u32::from_be_bytes(*word));
        }
        *self.file.header.lock() = self.header;
    }

    /// Makes all of it durable.
    pub(crate) fn sync(&mut self, env: &Env) -> io::Result<()> {
        self.publish();
        self.words.sync(env)
    }
}

/// Reserves blocks for entries from `number` on: a store to a page without a block would end the process when the disk
/// is full. Those before `known` have theirs. Returns the first number without.
#[cold]
fn make_room(env: &Env, file: &IndexFile, known: u32, number: u32) -> io::Result<u32> {
    let geometry = file.geometry;
    // From the start at first: a file of Java's has holes everywhere. What has its blocks costs nothing.
    let from = if known == 0 {
        0
    } else {
        geometry.entry_at(known)
    };
    let until = (geometry.entry_at(number) + ALLOCATION_BYTES).min(geometry.file_bytes());
    env.allocate(&file.file, &file.path, from, until - from)?;
    let entries = (until - geometry.entry_at(0)) / ENTRY_BYTES as u64;
    Ok(u32::try_from(entries).unwrap_or(geometry.entries))
}
