// SPDX-License-Identifier: Apache-2.0
//! Reading the log record by record with plain reads, so that a bad sector is an error and not the end of the process.

use std::{fs::File, io, ops::Range, path::PathBuf};

use aerobee_message::record::{AT_PHYSICAL_OFFSET, BLANK_BYTES, RecordError, RecordView};

use crate::{env::Env, error::OpenError, files::Files};

/// Bytes read at once.
const WINDOW_BYTES: usize = 1 << 20;
/// Bytes read at once where one frame is wanted.
const SINGLE_BYTES: usize = 4 << 10;
/// No record of any configuration is longer.
const LONGEST_RECORD_BYTES: usize = 128 << 20;

/// What is at a position of the log.
#[derive(Debug)]
pub(crate) enum Frame<'a> {
    Record(RecordView<'a>),
    /// The rest of the file is blank.
    Blank,
    /// No record, for this reason.
    Bad(String),
    /// No file holds the position.
    NoFile,
}

/// Records that stand one behind the other in one file, read and checked in full, and what comes behind them.
#[derive(Debug, Default)]
pub(crate) struct Stretch {
    /// Position of the first record.
    start: i64,
    /// Position behind all that is here: of the next record, if there is one.
    end: i64,
    bytes: Vec<u8>,
    /// Where the first record starts in `bytes`.
    from: usize,
    lens: Vec<usize>,
    after: After,
}

/// What comes behind a stretch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum After {
    /// Perhaps more records.
    #[default]
    More,
    /// No record, for this reason.
    Bad(String),
    /// No file.
    NoFile,
}

impl Stretch {
    /// Position behind it.
    pub(crate) fn end(&self) -> i64 {
        self.end
    }

    pub(crate) fn after(&self) -> &After {
        &self.after
    }

    pub(crate) fn goes_on(&self) -> bool {
        self.after == After::More
    }

    /// The records, each with its position.
    pub(crate) fn records(&self) -> impl Iterator<Item = (i64, RecordView<'_>)> {
        let (mut position, mut from) = (self.start, self.from);
        self.lens.iter().map_while(move |len| {
            let bytes = self.bytes.get(from..from + len)?;
            let at = position;
            from += len;
            position += *len as i64;
            // They were read before.
            RecordView::parse(bytes).ok().map(|record| (at, record))
        })
    }
}

/// One file, seen through a moving window.
#[derive(Debug)]
struct Window {
    base: i64,
    path: PathBuf,
    file: File,
    bytes: Vec<u8>,
    at: u64,
}

/// Reads frames.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    env: &'a Env,
    files: &'a Files,
    window: Option<Window>,
    /// Bytes read at once, if the frame is not longer.
    window_bytes: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(env: &'a Env, files: &'a Files) -> Scanner<'a> {
        Scanner {
            env,
            files,
            window: None,
            window_bytes: WINDOW_BYTES,
        }
    }

    /// For frames here and there: no more is read than a small one needs.
    pub(crate) fn of_single_frames(env: &'a Env, files: &'a Files) -> Scanner<'a> {
        Scanner {
            window_bytes: SINGLE_BYTES,
            ..Scanner::new(env, files)
        }
    }

    /// Path and position in its file of a position in the log.
    pub(crate) fn locate(&self, position: i64) -> (PathBuf, u64) {
        let base = self.files.base_for(position);
        (self.files.path(base), (position - base).cast_unsigned())
    }

    /// Bytes of the file that holds `position`, from there on: `len` of them, fewer at the end of the file. `None`
    /// when there is no such file.
    fn bytes(&mut self, position: i64, len: usize) -> Result<Option<&[u8]>, OpenError> {
        let base = self.files.base_for(position);
        if self
            .window
            .as_ref()
            .is_none_or(|window| window.base != base)
        {
            if !self.files.bases().contains(&base) {
                return Ok(None);
            }
            let path = self.files.path(base);
            let file = self.env.open(&path).map_err(OpenError::io("open", &path))?;
            self.window = Some(Window {
                base,
                path,
                file,
                bytes: Vec::new(),
                at: 0,
            });
        }
        let Some(window) = &mut self.window else {
            return Ok(None);
        };
        let at = (position - base).cast_unsigned();
        let rest = usize::try_from(self.files.file_bytes() - at).unwrap_or(usize::MAX);
        let len = len.min(rest);
        let held = window.at..window.at.saturating_add(window.bytes.len() as u64);
        if at < held.start || at + len as u64 > held.end {
            window.bytes.resize(len.max(self.window_bytes).min(rest), 0);
            window.at = at;
            let read = self
                .env
                .read_at(&window.file, &window.path, &mut window.bytes, at);
            let read = read.map_err(OpenError::io("read", &window.path))?;
            window.bytes.truncate(read);
        }
        let from = usize::try_from(at - window.at).unwrap_or(usize::MAX);
        let until = from.saturating_add(len).min(window.bytes.len());
        Ok(Some(window.bytes.get(from..until).unwrap_or_default()))
    }

    /// The frame at a position, checked in full: lengths, its own position, the CRC of its body.
    pub(crate) fn frame(&mut self, position: i64) -> Result<Frame<'_>, OpenError> {
        let rest =
            self.files.file_bytes().cast_signed() - (position - self.files.base_for(position));
        let Some(head) = self.bytes(position, BLANK_BYTES)? else {
            return Ok(Frame::NoFile);
        };
        let len = match RecordView::parse(head) {
            Err(RecordError::Blank(len)) if i64::from(len) == rest => return Ok(Frame::Blank),
            Err(RecordError::Truncated) if head.len() == BLANK_BYTES => {
                i32::from_be_bytes([head[0], head[1], head[2], head[3]])
            }
            Err(error) => return Ok(Frame::Bad(error.to_string())),
            Ok(_) => return Ok(Frame::Bad("a record shorter than its header".to_owned())),
        };
        let Some(len) = usize::try_from(len)
            .ok()
            .filter(|len| *len as i64 <= rest && *len <= LONGEST_RECORD_BYTES)
        else {
            return Ok(Frame::Bad(RecordError::Length(len).to_string()));
        };
        let Some(bytes) = self.bytes(position, len)? else {
            return Ok(Frame::NoFile);
        };
        Ok(match RecordView::parse(bytes) {
            Err(error) => Frame::Bad(error.to_string()),
            Ok(record) if record.physical_offset() != position => Frame::Bad(format!(
                "a record that belongs at position {}",
                record.physical_offset()
            )),
            Ok(record) if record.topic().contains('\0') => {
                Frame::Bad("a part of the topic is missing".to_owned())
            }
            Ok(record) if !record.crc_matches() => {
                Frame::Bad("the CRC of the body does not match".to_owned())
            }
            Ok(record) => Frame::Record(record),
        })
    }

    /// The records from a position on, as many as a window holds. The memory of `spare` is used for the next one.
    pub(crate) fn stretch(&mut self, position: i64, spare: Stretch) -> Result<Stretch, OpenError> {
        let Stretch {
            bytes: spare,
            mut lens,
            ..
        } = spare;
        lens.clear();
        let (mut at, mut after) = (position, After::More);
        // The first frame is read wherever it is, others only where the window has all of them.
        while at == position || self.holds_frame(at) {
            match self.frame(at)? {
                Frame::Record(record) => {
                    let len = record.total_len();
                    lens.push(len);
                    at += len as i64;
                }
                Frame::Blank => {
                    at = self.files.base_for(at) + self.files.file_bytes().cast_signed();
                    break;
                }
                Frame::Bad(reason) => {
                    after = After::Bad(reason);
                    break;
                }
                Frame::NoFile => {
                    after = After::NoFile;
                    break;
                }
            }
        }
        let (mut bytes, mut from) = (spare, 0);
        if let Some(window) = self.window.as_mut().filter(|_| !lens.is_empty()) {
            std::mem::swap(&mut bytes, &mut window.bytes);
            let start = (position - window.base).cast_unsigned();
            from = usize::try_from(start - window.at).unwrap_or(usize::MAX);
            // What is there now is from elsewhere.
            window.at = u64::MAX;
        }
        Ok(Stretch {
            start: position,
            end: at,
            bytes,
            from,
            lens,
            after,
        })
    }

    /// Whether the window has all of the frame at a position, as far as its length tells.
    fn holds_frame(&self, position: i64) -> bool {
        let Some(window) = &self.window else {
            return false;
        };
        let held = usize::try_from(position - window.base)
            .ok()
            .zip(usize::try_from(window.at).ok())
            .and_then(|(at, start)| window.bytes.get(at.checked_sub(start)?..));
        held.and_then(|held| {
            let head = held.first_chunk::<BLANK_BYTES>()?;
            let len = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
            // A blank frame is never read to its end.
            let is_blank = matches!(RecordView::parse(head), Err(RecordError::Blank(_)));
            Some(is_blank || held.len() >= len as usize)
        })
        .unwrap_or(false)
    }

    /// Whether the record at a position has this length and, if given, queue; reads its header only.
    pub(crate) fn starts_record(
        &mut self,
        position: i64,
        len: i32,
        queue_id: Option<i32>,
    ) -> Result<bool, OpenError> {
        let Some(head) = self.bytes(position, AT_PHYSICAL_OFFSET + 8)? else {
            return Ok(false);
        };
        Ok(crate::light::starts_record(head, len, queue_id, position))
    }

    /// The range behind `position` in its file that holds anything but zeros, its end rounded to what was read. After
    /// `zeros` bytes of nothing else the rest is taken for zero, too.
    pub(crate) fn data_behind(
        &mut self,
        position: i64,
        zeros: u64,
    ) -> Result<Option<Range<i64>>, OpenError> {
        let base = self.files.base_for(position);
        let path = self.files.path(base);
        let file = match self.env.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OpenError::io("open", path)(error)),
        };
        // What is read ahead counts as data of the file from then on, zeros or not.
        self.env.read_singly(&file);
        let mut found: Option<Range<i64>> = None;
        let mut at = (position - base).cast_unsigned();
        let mut buffer = vec![0; WINDOW_BYTES];
        let mut zeros_read = 0;
        while at < self.files.file_bytes() && zeros_read < zeros {
            let Some(data) = self
                .env
                .next_data(&file, &path, at)
                .map_err(OpenError::io("read", &path))?
            else {
                break;
            };
            // Up to a round position: what is read in part counts as data of the file to its end.
            let want = WINDOW_BYTES - usize::try_from(data % WINDOW_BYTES as u64).unwrap_or(0);
            let read = self
                .env
                .read_at(&file, &path, &mut buffer[..want], data)
                .map_err(OpenError::io("read", &path))?;
            if read == 0 {
                break;
            }
            zeros_read += read as u64;
            if let Some(range) = non_zero(&buffer[..read]) {
                zeros_read = 0;
                let start = base + data.cast_signed();
                let range = start + range.start as i64..start + range.end as i64;
                found = Some(found.map_or(range.clone(), |found| found.start..range.end));
            }
            at = data + read as u64;
        }
        Ok(found)
    }

    /// Whether the file of a position may hold anything but zeros from there on; quick where the rest is a hole.
    pub(crate) fn may_hold_data(&self, position: i64) -> bool {
        let base = self.files.base_for(position);
        let path = self.files.path(base);
        let found = self.env.open(&path).and_then(|file| {
            self.env
                .next_data(&file, &path, (position - base).cast_unsigned())
        });
        !matches!(found, Ok(None))
    }

    /// The first position in a range at which a whole record stands that belongs there.
    pub(crate) fn next_record(&mut self, range: Range<i64>) -> Result<Option<i64>, OpenError> {
        let mut at = range.start;
        while at < range.end {
            let want = usize::try_from(range.end - at)
                .unwrap_or(usize::MAX)
                .min(WINDOW_BYTES);
            let Some(bytes) = self.bytes(at, want)? else {
                return Ok(None);
            };
            let candidates: Vec<i64> = memchr_magic(bytes)
                .map(|found| at + found as i64 - 4)
                .collect();
            let step = bytes.len().saturating_sub(7).max(1) as i64;
            for candidate in candidates
                .into_iter()
                .filter(|candidate| *candidate >= range.start)
            {
                if matches!(self.frame(candidate)?, Frame::Record(_)) {
                    return Ok(Some(candidate));
                }
            }
            at += step;
        }
        Ok(None)
    }
}

/// The range of bytes that holds all that are not zero.
fn non_zero(bytes: &[u8]) -> Option<Range<usize>> {
    const BLOCK: usize = 4096;
    // Without an end before the last byte of a block this is done many bytes at a time.
    let is_zero = |block: &[u8]| block.iter().fold(0, |all, byte| all | byte) == 0;
    let first = bytes.chunks(BLOCK).position(|block| !is_zero(block))? * BLOCK;
    let last = bytes.chunks(BLOCK).rposition(|block| !is_zero(block))? * BLOCK;
    let start = first + bytes[first..].iter().position(|byte| *byte != 0)?;
    let end = bytes.len().min(last + BLOCK);
    let end = last + bytes[last..end].iter().rposition(|byte| *byte != 0)? + 1;
    Some(start..end)
}

/// Positions of what may be the magic of a record.
fn memchr_magic(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    bytes
        .windows(4)
        .enumerate()
        .filter(|(_, four)| matches!(four, [0xDA, 0xA3, 0x20, 0xA7 | 0xAB]))
        .map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_behind_the_end_stops_after_many_zeros() {
        let dir = tempfile::tempdir().unwrap();
        let len = 8 * WINDOW_BYTES;
        let mut bytes = vec![0; len];
        bytes[WINDOW_BYTES + 5] = 1;
        bytes[6 * WINDOW_BYTES] = 1;
        // Written zeros, so that the file system takes none of them for a hole.
        std::fs::write(dir.path().join("00000000000000000000"), bytes).unwrap();
        let slot = crate::files::Slot::unmapped(0, 0);
        let files = Files::new(
            dir.path().to_owned(),
            len as u64,
            crate::files::Descriptors::Drop,
            vec![slot],
        );
        let env = Env::real();
        let mut scanner = Scanner::new(&env, &files);
        let first = WINDOW_BYTES as i64 + 5;
        let found = |zeros| scanner.data_behind(3, zeros).unwrap().unwrap();
        let both = [u64::MAX, 5 * WINDOW_BYTES as u64].map(found);
        assert!(
            both.iter()
                .all(|range| *range == (first..6 * WINDOW_BYTES as i64 + 1))
        );
        let mut scanner = Scanner::new(&env, &files);
        let near = scanner.data_behind(3, 4 * WINDOW_BYTES as u64);
        assert_eq!(near.unwrap().unwrap(), first..first + 1);
        let none = scanner.data_behind(3, WINDOW_BYTES as u64 / 2);
        assert_eq!(none.unwrap(), None);
    }

    /// Where records start and how long they are, and why the log ends behind them.
    type Found = (Vec<(i64, usize)>, Option<String>);

    fn by_frames(scanner: &mut Scanner<'_>) -> Found {
        let (mut at, mut found) = (0, Vec::new());
        loop {
            match scanner.frame(at).unwrap() {
                Frame::Record(record) => {
                    found.push((at, record.total_len()));
                    at += record.total_len() as i64;
                }
                Frame::Blank => {
                    let file_bytes = scanner.files.file_bytes().cast_signed();
                    at = scanner.files.base_for(at) + file_bytes;
                }
                Frame::Bad(reason) => return (found, Some(reason)),
                Frame::NoFile => return (found, None),
            }
        }
    }

    fn by_stretches(scanner: &mut Scanner<'_>) -> Found {
        let (mut stretch, mut found) = (Stretch::default(), Vec::new());
        loop {
            stretch = scanner.stretch(stretch.end(), stretch).unwrap();
            found.extend(
                stretch
                    .records()
                    .map(|(at, record)| (at, record.total_len())),
            );
            match stretch.after() {
                After::More => {}
                After::Bad(reason) => return (found, Some(reason.clone())),
                After::NoFile => return (found, None),
            }
        }
    }

    #[test]
    fn stretches_have_the_frames_that_are_read_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let config = crate::Config {
            commit_log_file_bytes: 3 << 20,
            ..crate::Config::new(dir.path())
        };
        let store = crate::Store::open(config, Env::real()).unwrap();
        let queue = store.create_queue("T", 0).unwrap();
        // Longer than a window, and of many other lengths.
        let body = vec![b'x'; WINDOW_BYTES + WINDOW_BYTES / 2];
        let mut places = Vec::new();
        for number in 0..120 {
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
                body: match number % 40 {
                    0 => &body,
                    rest => &body[..rest * 977],
                },
                properties: &[],
                tags_code: aerobee_message::TagsCode::Hash(0),
            };
            places.push(store.append(&queue, &record).unwrap().physical);
        }
        store.abandon();
        let log = dir.path().join(crate::layout::COMMIT_LOG);
        let env = Env::real();
        let bases = crate::files::list(&env, &log, 3 << 20).unwrap();
        let slots = bases
            .iter()
            .map(|base| crate::files::Slot::unmapped(*base, 0));
        let descriptors = crate::files::Descriptors::Drop;
        let files = Files::new(log, 3 << 20, descriptors, slots.collect());
        let both = || {
            let frames = by_frames(&mut Scanner::new(&env, &files));
            let stretches = by_stretches(&mut Scanner::new(&env, &files));
            assert_eq!(stretches, frames);
            frames
        };
        let (found, reason) = both();
        let starts: Vec<i64> = found.iter().map(|(at, _)| *at).collect();
        assert_eq!(starts, places);
        assert!(reason.is_some(), "zeros follow");
        // A byte of a body in the middle is not what it was.
        let base = files.base_for(places[57]);
        let file = env.open(&files.path(base)).unwrap();
        let in_file = (places[57] - base).cast_unsigned() + 200;
        env.write_all_at(&file, &files.path(base), b"y", in_file)
            .unwrap();
        let (found, reason) = both();
        assert_eq!(found.len(), 57);
        assert!(reason.unwrap().contains("CRC"));
    }

    #[test]
    fn bytes_that_are_not_zero_are_found() {
        let mut bytes = vec![0; 20_000];
        assert_eq!(non_zero(&bytes), None);
        bytes[4095] = 1;
        assert_eq!(non_zero(&bytes), Some(4095..4096));
        bytes[19_999] = 7;
        assert_eq!(non_zero(&bytes), Some(4095..20_000));
        bytes[0] = 7;
        assert_eq!(non_zero(&bytes), Some(0..20_000));
        assert_eq!(non_zero(&[]), None);
    }
}
