// SPDX-License-Identifier: Apache-2.0
//! The timer log: a unit of 52 bytes for each message in the wheel, in files of a fixed size named
//! after the position of their first byte. Units of one time are chained from the newest to the
//! oldest.
//!
//! | field | bytes | at |
//! |---|---|---|
//! | bytes of the unit | 4 | 0 |
//! | position of the unit before it, −1 for none | 8 | 4 |
//! | magic: 1, with 2 for a message put off, with 4 for a recall | 4 | 12 |
//! | time of the wheel when it was written, ms | 8 | 16 |
//! | time of delivery less that, ms | 4 | 24 |
//! | position of the message in the commit log | 8 | 28 |
//! | bytes of the message | 4 | 36 |
//! | Java's hash of the real topic | 4 | 40 |
//! | 0 | 8 | 44 |
//!
//! The rest of a file that has no room for a unit begins with its length, eight zeros and a magic.
//! Apache: `TimerLog`.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

pub(super) const UNIT_BYTES: usize = 52;
const UNIT: i64 = UNIT_BYTES as i64;
const BLANK_BYTES: usize = 4 + 8 + 4;
const MAGIC_BLANK: i32 = 0xCBD4_3194_u32.cast_signed();
pub(super) const MAGIC_DEFAULT: i32 = 1;
pub(super) const MAGIC_ROLL: i32 = 1 << 1;
pub(super) const MAGIC_DELETE: i32 = 1 << 2;
const MAGIC_BITS: i32 = 0xF;
/// Bytes read at once.
const WINDOW_BYTES: i64 = 64 << 10;

/// A message in the wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) previous: i64,
    pub(super) magic: i32,
    pub(super) write_time: i64,
    pub(super) delay: i32,
    pub(super) physical: i64,
    pub(super) size: i32,
    pub(super) topic_hash: i32,
}

impl Unit {
    pub(super) fn deliver_time(&self) -> i64 {
        self.write_time.saturating_add(i64::from(self.delay))
    }

    pub(super) fn is_rolled(&self) -> bool {
        self.magic & MAGIC_ROLL != 0
    }

    pub(super) fn is_delete(&self) -> bool {
        self.magic & MAGIC_DELETE != 0
    }

    fn to_bytes(self) -> [u8; UNIT_BYTES] {
        let mut bytes = [0; UNIT_BYTES];
        #[expect(clippy::cast_possible_truncation, reason = "it is 52")]
        #[expect(clippy::cast_possible_wrap, reason = "it is 52")]
        bytes[..4].copy_from_slice(&(UNIT_BYTES as i32).to_be_bytes());
        bytes[4..12].copy_from_slice(&self.previous.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.magic.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.write_time.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.delay.to_be_bytes());
        bytes[28..36].copy_from_slice(&self.physical.to_be_bytes());
        bytes[36..40].copy_from_slice(&self.size.to_be_bytes());
        bytes[40..44].copy_from_slice(&self.topic_hash.to_be_bytes());
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Frame {
        let int = |at: usize| {
            bytes
                .get(at..)
                .and_then(|rest| rest.first_chunk())
                .map(|bytes| i32::from_be_bytes(*bytes))
        };
        let long = |at: usize| {
            bytes
                .get(at..)
                .and_then(|rest| rest.first_chunk())
                .map_or(0, |bytes| i64::from_be_bytes(*bytes))
        };
        let (Some(size), Some(magic)) = (int(0), int(12)) else {
            return Frame::Bad;
        };
        if magic == MAGIC_BLANK {
            return Frame::Blank;
        }
        if usize::try_from(size) != Ok(UNIT_BYTES)
            || magic & !MAGIC_BITS != 0
            || bytes.len() < UNIT_BYTES
        {
            return Frame::Bad;
        }
        Frame::Unit(Self {
            previous: long(4),
            magic,
            write_time: long(16),
            delay: int(24).unwrap_or(0),
            physical: long(28),
            size: int(36).unwrap_or(0),
            topic_hash: int(40).unwrap_or(0),
        })
    }
}

/// What is at a position.
pub(super) enum Frame {
    Unit(Unit),
    Blank,
    Bad,
}

#[derive(Debug)]
struct Segment {
    file: File,
    path: PathBuf,
    dirty: bool,
}

/// The files, and the units that are not yet written.
#[derive(Debug)]
pub(super) struct TimerLog {
    dir: PathBuf,
    file_bytes: i64,
    files: BTreeMap<i64, Segment>,
    /// Position of the next unit.
    end: i64,
    /// Units from `written` to `end`.
    buffer: Vec<u8>,
    written: i64,
    flushed: i64,
    /// Bytes read last, and where they begin.
    window: (i64, Vec<u8>),
}

impl TimerLog {
    /// Opens the files that are there. The end is found by [`TimerLog::recover`].
    pub(super) fn open(dir: &Path, file_bytes: i64) -> io::Result<Self> {
        let mut log = Self {
            dir: dir.to_owned(),
            file_bytes,
            files: BTreeMap::new(),
            end: 0,
            buffer: Vec::new(),
            written: 0,
            flushed: 0,
            window: (0, Vec::new()),
        };
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(log),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let base = name.to_str().filter(|name| name.len() == 20);
            let Some(base) = base.and_then(|name| name.parse::<i64>().ok()) else {
                continue;
            };
            let path = entry.path();
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            let len = file.metadata()?.len().cast_signed();
            if len != file_bytes || base % file_bytes != 0 {
                let text = format!(
                    "{} has {len} bytes, mappedFileSizeTimerLog is {file_bytes}: set it to what the files have",
                    path.display()
                );
                return Err(io::Error::other(text));
            }
            log.files.insert(
                base,
                Segment {
                    file,
                    path,
                    dirty: false,
                },
            );
        }
        Ok(log)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Position behind the last unit.
    pub(super) fn end(&self) -> i64 {
        self.end
    }

    /// Everything before this is durable.
    pub(super) fn flushed(&self) -> i64 {
        self.flushed
    }

    /// Bytes of one file.
    pub(super) fn file_bytes(&self) -> i64 {
        self.file_bytes
    }

    fn base_of(&self, position: i64) -> i64 {
        position - position.rem_euclid(self.file_bytes)
    }

    /// Walks the units from the file that holds `from` on, up to the first position that holds none
    /// or whose unit `each` refuses; what is behind it is removed.
    pub(super) fn recover(
        &mut self,
        from: i64,
        mut each: impl FnMut(i64, &Unit) -> bool,
    ) -> io::Result<()> {
        let Some((first, last)) = self.bounds() else {
            return Ok(());
        };
        self.end = last + self.file_bytes;
        let mut at = self.base_of(from.clamp(first, last));
        loop {
            if !self.files.contains_key(&self.base_of(at)) {
                break;
            }
            match Unit::parse(self.bytes_at(at)?) {
                Frame::Unit(unit) => {
                    if !each(at, &unit) {
                        break;
                    }
                    at += UNIT;
                }
                Frame::Blank => at = self.base_of(at) + self.file_bytes,
                Frame::Bad => break,
            }
        }
        self.truncate(at)
    }

    fn bounds(&self) -> Option<(i64, i64)> {
        let first = *self.files.first_key_value()?.0;
        let last = *self.files.last_key_value()?.0;
        Some((first, last))
    }

    /// Removes everything behind a position; later files go, the rest of its own becomes zeros, so
    /// that nothing old comes back.
    fn truncate(&mut self, end: i64) -> io::Result<()> {
        let base = self.base_of(end);
        while let Some(last) = self.files.last_entry()
            && *last.key() > base
        {
            fs::remove_file(&last.get().path)?;
            last.remove();
        }
        if let Some(segment) = self.files.get(&base) {
            segment.file.set_len((end - base).cast_unsigned())?;
            segment.file.set_len(self.file_bytes.cast_unsigned())?;
            segment.file.sync_all()?;
        }
        self.end = end;
        self.written = end;
        self.flushed = end;
        self.window = (0, Vec::new());
        Ok(())
    }

    /// Adds a unit; it is read from here at once, and written by [`TimerLog::write`].
    pub(super) fn append(&mut self, unit: Unit) -> i64 {
        let rest = self.file_bytes - self.end % self.file_bytes;
        if rest < UNIT + BLANK_BYTES as i64 {
            let mut blank = vec![0; usize::try_from(rest).unwrap_or(0)];
            // A file is shorter than two gibibytes.
            let length = i32::try_from(rest).unwrap_or(i32::MAX);
            blank[..4].copy_from_slice(&length.to_be_bytes());
            blank[12..16].copy_from_slice(&MAGIC_BLANK.to_be_bytes());
            self.buffer.extend_from_slice(&blank);
            self.end += rest;
        }
        let position = self.end;
        self.buffer.extend_from_slice(&unit.to_bytes());
        self.end += UNIT;
        position
    }

    /// Bytes that are not yet written.
    pub(super) fn unwritten(&self) -> usize {
        self.buffer.len()
    }

    /// Writes what was added. Tried again after an error, nothing is lost.
    pub(super) fn write(&mut self) -> io::Result<()> {
        let mut done = 0;
        // It may hold the place of what is written now.
        self.window.1.clear();
        while done < self.buffer.len() {
            let base = self.base_of(self.written);
            self.ensure_file(base)?;
            let room = usize::try_from(base + self.file_bytes - self.written).unwrap_or(0);
            let part = room.min(self.buffer.len() - done);
            let Some(segment) = self.files.get_mut(&base) else {
                break;
            };
            let at = (self.written - base).cast_unsigned();
            let written = segment
                .file
                .write_all_at(&self.buffer[done..done + part], at);
            segment.dirty = true;
            if let Err(error) = written {
                self.buffer.drain(..done);
                return Err(error);
            }
            done += part;
            self.written += part as i64;
        }
        self.buffer.clear();
        Ok(())
    }

    fn ensure_file(&mut self, base: i64) -> io::Result<()> {
        if self.files.contains_key(&base) {
            return Ok(());
        }
        fs::create_dir_all(&self.dir)?;
        let path = self.dir.join(format!("{base:020}"));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        file.set_len(self.file_bytes.cast_unsigned())?;
        file.sync_all()?;
        File::open(&self.dir)?.sync_all()?;
        self.files.insert(
            base,
            Segment {
                file,
                path,
                dirty: true,
            },
        );
        Ok(())
    }

    /// Makes what was written durable.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.write()?;
        for segment in self.files.values_mut().filter(|segment| segment.dirty) {
            segment.file.sync_data()?;
            segment.dirty = false;
        }
        self.flushed = self.written;
        Ok(())
    }

    /// The unit at a position.
    pub(super) fn unit(&mut self, position: i64) -> io::Result<Option<Unit>> {
        if position < 0 || position >= self.end {
            return Ok(None);
        }
        if position >= self.written {
            let at = usize::try_from(position - self.written).unwrap_or(usize::MAX);
            let bytes = self.buffer.get(at..).unwrap_or_default();
            return Ok(unit_of(bytes));
        }
        Ok(unit_of(self.bytes_at(position)?))
    }

    /// Written bytes at a position, through the window.
    fn bytes_at(&mut self, position: i64) -> io::Result<&[u8]> {
        let base = self.base_of(position);
        let (start, bytes) = &self.window;
        let held = *start..start + bytes.len() as i64;
        let file_end = base + self.file_bytes;
        let wanted = (position + UNIT).min(file_end);
        if !(held.start <= position && wanted <= held.end) {
            let Some(segment) = self.files.get(&base) else {
                return Ok(&[]);
            };
            // Chains run backwards and recovery forwards: some of both.
            let from = (position - WINDOW_BYTES / 2).max(base);
            let until = (from + WINDOW_BYTES).min(file_end).max(wanted);
            let mut bytes = std::mem::take(&mut self.window.1);
            bytes.resize(usize::try_from(until - from).unwrap_or(0), 0);
            segment
                .file
                .read_exact_at(&mut bytes, (from - base).cast_unsigned())?;
            self.window = (from, bytes);
        }
        let (start, bytes) = &self.window;
        let at = usize::try_from(position - start).unwrap_or(usize::MAX);
        let until = usize::try_from(wanted - start).unwrap_or(usize::MAX);
        Ok(bytes.get(at..until).unwrap_or_default())
    }

    /// Removes files whose last unit's message is gone from the commit log; the last file stays.
    pub(super) fn clean(&mut self, min_physical: i64) -> io::Result<()> {
        while let Some((first, last)) = self.bounds()
            && first < last
        {
            let units = (self.file_bytes - BLANK_BYTES as i64) / UNIT;
            let Some(unit) = self.unit(first + (units - 1) * UNIT)? else {
                return Ok(());
            };
            if unit.physical >= min_physical {
                return Ok(());
            }
            if let Some(segment) = self.files.remove(&first) {
                fs::remove_file(&segment.path)?;
            }
        }
        Ok(())
    }
}

fn unit_of(bytes: &[u8]) -> Option<Unit> {
    match Unit::parse(bytes) {
        Frame::Unit(unit) => Some(unit),
        Frame::Blank | Frame::Bad => None,
    }
}

/// Java's hash of a text.
pub(super) fn hash_of(text: &str) -> i32 {
    text.encode_utf16().fold(0, |hash: i32, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(physical: i64, previous: i64) -> Unit {
        Unit {
            previous,
            magic: MAGIC_DEFAULT,
            write_time: 1_700_000_000_000,
            delay: 5_000,
            physical,
            size: 100,
            topic_hash: hash_of("orders"),
        }
    }

    #[test]
    fn units_are_javas() {
        let bytes = unit(7, -1).to_bytes();
        let mut expected = vec![0, 0, 0, 52];
        expected.extend((-1i64).to_be_bytes());
        expected.extend([0, 0, 0, 1]);
        expected.extend(1_700_000_000_000i64.to_be_bytes());
        expected.extend(5_000i32.to_be_bytes());
        expected.extend(7i64.to_be_bytes());
        expected.extend(100i32.to_be_bytes());
        // "orders".hashCode()
        expected.extend((-1_008_770_331i32).to_be_bytes());
        expected.extend([0; 8]);
        assert_eq!(bytes.as_slice(), expected);
    }

    #[test]
    fn files_end_with_a_blank_and_are_found_again() {
        let dir = tempfile::tempdir().unwrap();
        // Room for three units and the blank: 3 * 52 + 16 = 172.
        let mut log = TimerLog::open(dir.path(), 200).unwrap();
        let positions: Vec<i64> = (0..7).map(|number| log.append(unit(number, -1))).collect();
        assert_eq!(positions, [0, 52, 104, 200, 252, 304, 400]);
        assert_eq!(log.unit(252).unwrap().unwrap().physical, 4);
        log.flush().unwrap();
        assert_eq!(log.unit(252).unwrap().unwrap().physical, 4);
        let first = fs::read(dir.path().join("00000000000000000000")).unwrap();
        assert_eq!(first.len(), 200);
        assert_eq!(first[156..160], 44i32.to_be_bytes());
        assert_eq!(first[168..172], MAGIC_BLANK.to_be_bytes());
        let mut again = TimerLog::open(dir.path(), 200).unwrap();
        let mut seen = Vec::new();
        again
            .recover(0, |at, unit| {
                seen.push((at, unit.physical));
                unit.physical < 5
            })
            .unwrap();
        assert_eq!(seen.last(), Some(&(304, 5)));
        assert_eq!(again.end(), 304);
        // The refused unit and all behind it are gone.
        assert_eq!(again.append(unit(9, -1)), 304);
        again.flush().unwrap();
        let mut third = TimerLog::open(dir.path(), 200).unwrap();
        third.recover(400, |_, _| true).unwrap();
        assert_eq!(third.end(), 356);
        third.clean(4).unwrap();
        assert_eq!(third.bounds(), Some((200, 200)));
    }
}
