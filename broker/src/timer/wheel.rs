// SPDX-License-Identifier: Apache-2.0
//! The wheel: for each time of delivery where its units in the timer log begin and end. The file
//! `timerwheel` has two times seven days of slots of 32 bytes, whatever the distance between times:
//!
//! | field | bytes | at |
//! |---|---|---|
//! | time, in units of the precision | 8 | 0 |
//! | position of the oldest unit in the timer log | 8 | 8 |
//! | position of the newest unit | 8 | 16 |
//! | messages less recalls | 4 | 24 |
//! | magic, 0 | 4 | 28 |
//!
//! The slot of a time is the one at `time mod slots`. Of a time long gone it keeps its content; such
//! slots are told by their time. In memory there are just the slots that are to come. Apache:
//! `TimerWheel`, `Slot`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use rustix::fs::{SeekFrom, seek};

/// Slots that a round of the wheel has room for; the file holds twice as many.
pub(super) const ROUND_SLOTS: i64 = 7 * 24 * 3600;
/// Slots kept free between the far end of the wheel and now.
pub(super) const BLANK_SLOTS: i64 = 60;
pub(super) const SLOTS: i64 = ROUND_SLOTS * 2;
pub(super) const SLOT_BYTES: usize = 32;
pub(super) const FILE_BYTES: u64 = SLOTS as u64 * SLOT_BYTES as u64;
/// Bytes read at once.
const CHUNK_BYTES: usize = 1 << 20;

const _: () = assert!(FILE_BYTES == 38_707_200 && CHUNK_BYTES.is_multiple_of(SLOT_BYTES));

/// The units of one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) num: i32,
    magic: i32,
}

/// The slots that are to come, by time in units of the precision.
#[derive(Debug)]
pub(super) struct Wheel {
    path: PathBuf,
    file: File,
    slots: BTreeMap<i64, Slot>,
    dirty: BTreeSet<i64>,
}

/// Why the wheel cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum WheelError {
    #[error(
        "{} has {found} bytes instead of {FILE_BYTES}: it is damaged or no timer wheel; move it away, it is made anew from the timer log",
        path.display()
    )]
    Length { path: PathBuf, found: u64 },
    #[error("cannot read {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl Wheel {
    /// Opens the file and reads the slots from a time on; and whether it was there.
    pub(super) fn open(path: &Path, from: i64) -> Result<(Self, bool), WheelError> {
        let failed = |source| WheelError::Io {
            path: path.to_owned(),
            source,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        let found = file.metadata().map_err(failed)?.len();
        if found != 0 && found != FILE_BYTES {
            return Err(WheelError::Length {
                path: path.to_owned(),
                found,
            });
        }
        file.set_len(FILE_BYTES).map_err(failed)?;
        let mut wheel = Self {
            path: path.to_owned(),
            file,
            slots: BTreeMap::new(),
            dirty: BTreeSet::new(),
        };
        wheel.read(from).map_err(failed)?;
        Ok((wheel, found != 0))
    }

    fn read(&mut self, from: i64) -> io::Result<()> {
        let slots = &mut self.slots;
        read_slots(&self.file, |index, time, slot| {
            let is_its = time % SLOTS == index.cast_signed();
            if time >= from && time > 0 && is_its && slot.last >= 0 {
                slots.insert(time, slot);
            }
            true
        })
    }

    pub(super) fn get(&self, time: i64) -> Option<Slot> {
        self.slots.get(&time).copied()
    }

    /// The times from one on, in order.
    pub(super) fn from(&self, time: i64) -> impl Iterator<Item = (i64, Slot)> + '_ {
        self.slots.range(time..).map(|(time, slot)| (*time, *slot))
    }

    /// The first time that has units.
    pub(super) fn first(&self) -> Option<(i64, Slot)> {
        self.slots
            .first_key_value()
            .map(|(time, slot)| (*time, *slot))
    }

    /// Times with units.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Messages that wait, as far as slots know.
    pub(super) fn messages(&self) -> i64 {
        self.slots.values().map(|slot| i64::from(slot.num)).sum()
    }

    /// Adds a unit to its time.
    pub(super) fn add(&mut self, time: i64, position: i64, by: i32) {
        let slot = self.slots.entry(time).or_insert(Slot {
            first: position,
            last: position,
            num: 0,
            magic: 0,
        });
        if slot.first < 0 {
            slot.first = position;
        }
        slot.last = position;
        slot.num = slot.num.saturating_add(by);
        self.dirty.insert(time);
    }

    /// Adds a unit that was found in the timer log, unless the slot knows it.
    pub(super) fn revise(&mut self, time: i64, position: i64, by: i32) {
        if self.get(time).is_none_or(|slot| slot.last < position) {
            self.add(time, position, by);
        }
    }

    /// Forgets a time that is done. The file keeps it, as Java's does.
    pub(super) fn remove(&mut self, time: i64) {
        self.slots.remove(&time);
        self.dirty.remove(&time);
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.dirty.clear();
    }

    /// Whether a slot points at or behind this position of the timer log.
    pub(super) fn points_behind(&self, end: i64) -> bool {
        self.slots.values().any(|slot| slot.last >= end)
    }

    /// Makes the file hold what is in memory.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.dirty.is_empty() {
            return Ok(());
        }
        for time in &self.dirty {
            let Some(slot) = self.slots.get(time) else {
                continue;
            };
            let at = (time % SLOTS).cast_unsigned() * SLOT_BYTES as u64;
            self.file.write_all_at(&bytes_of(*time, *slot), at)?;
        }
        self.file.sync_data()?;
        self.dirty.clear();
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Shows the slots of the file, with their numbers and times, until `each` returns `false`; not those in parts of it
/// that were never written.
pub(super) fn read_slots(
    file: &File,
    mut each: impl FnMut(u64, i64, Slot) -> bool,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = 0;
    while at < FILE_BYTES {
        match seek(file, SeekFrom::Data(at)) {
            Ok(data) => at = data - data % SLOT_BYTES as u64,
            Err(rustix::io::Errno::NXIO) => break,
            Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
        let len =
            usize::try_from(FILE_BYTES - at).map_or(CHUNK_BYTES, |rest| rest.min(CHUNK_BYTES));
        file.read_exact_at(&mut chunk[..len], at)?;
        let first = at / SLOT_BYTES as u64;
        for (index, bytes) in chunk[..len].chunks_exact(SLOT_BYTES).enumerate() {
            let (time, slot) = parse(bytes);
            if !each(first + index as u64, time, slot) {
                return Ok(());
            }
        }
        at += len as u64;
    }
    Ok(())
}

fn long(bytes: &[u8], at: usize) -> i64 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

fn int(bytes: &[u8], at: usize) -> i32 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |bytes| i32::from_be_bytes(*bytes))
}

fn parse(bytes: &[u8]) -> (i64, Slot) {
    let slot = Slot {
        first: long(bytes, 8),
        last: long(bytes, 16),
        num: int(bytes, 24),
        magic: int(bytes, 28),
    };
    (long(bytes, 0), slot)
}

fn bytes_of(time: i64, slot: Slot) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    bytes[..8].copy_from_slice(&time.to_be_bytes());
    bytes[8..16].copy_from_slice(&slot.first.to_be_bytes());
    bytes[16..24].copy_from_slice(&slot.last.to_be_bytes());
    bytes[24..28].copy_from_slice(&slot.num.to_be_bytes());
    bytes[28..].copy_from_slice(&slot.magic.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_lie_where_java_has_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("timerwheel");
        let (mut wheel, known) = Wheel::open(&path, 0).unwrap();
        assert!(!known);
        let time = 1_700_000_000;
        wheel.add(time, 104, 1);
        wheel.add(time, 208, 1);
        wheel.add(time, 260, -1);
        wheel.flush().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 38_707_200);
        let at = usize::try_from(time % 1_209_600).unwrap() * 32;
        let mut expected = Vec::new();
        expected.extend(time.to_be_bytes());
        expected.extend(104i64.to_be_bytes());
        expected.extend(260i64.to_be_bytes());
        expected.extend([0, 0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(bytes[at..at + 32], expected);
        drop(wheel);
        let (wheel, known) = Wheel::open(&path, time).unwrap();
        assert!(known);
        let slot = wheel.get(time).unwrap();
        assert_eq!((slot.first, slot.last, slot.num), (104, 260, 1));
        // What is past is not read again.
        assert_eq!(Wheel::open(&path, time + 1).unwrap().0.len(), 0);
    }

    #[test]
    fn a_file_of_another_length_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("timerwheel");
        std::fs::write(&path, "x").unwrap();
        assert!(matches!(
            Wheel::open(&path, 0),
            Err(WheelError::Length { found: 1, .. })
        ));
    }
}
