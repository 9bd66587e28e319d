// SPDX-License-Identifier: Apache-2.0
//! Index files beside the log. Keys are entered in the order of the log, so the files are read once, from the oldest to
//! the newest; the slots of one file are kept, to follow the chains.

use std::{ops::Range, path::PathBuf};

use aerobee_message::{RecordView, keys};
use smallvec::SmallVec;

use super::{Directory, Kind, Report, directory::length};
use crate::{
    error::OpenError,
    index::{
        Geometry,
        format::{self, ENTRY_BYTES, Entry, HEADER_BYTES, Header, SLOT_BYTES},
    },
    layout,
};

/// Entries that are read at once.
const WINDOW_ENTRIES: u32 = 32 << 10;
/// Slots that are read at once.
const WINDOW_SLOTS: u32 = 256 << 10;

/// One file.
struct IndexFile {
    path: PathBuf,
    header: Header,
}

/// The newest of what was read.
struct Open {
    file: IndexFile,
    /// Number of the next entry.
    next: u32,
    window: Vec<u8>,
    window_from: u32,
    /// What the slots should be after the entries so far.
    slots: Vec<u32>,
    slots_used: u32,
    last: i64,
}

/// The check of all files.
pub(super) struct IndexCheck<'a> {
    directory: &'a Directory,
    geometry: Geometry,
    /// Files to come, the newest first.
    files: Vec<IndexFile>,
    open: Option<Open>,
    /// Records from here to there should be in the index.
    covered: Option<Range<i64>>,
    /// Records with keys that are in no file, in a row.
    missing: Option<(i64, u64)>,
    /// The last part of the log that cannot be read, and how many entries refer to such parts.
    damage: Range<i64>,
    lost: u64,
    topic: format::LastTopic,
}

impl<'a> IndexCheck<'a> {
    pub(super) fn open(
        directory: &'a Directory,
        report: &mut Report,
    ) -> Result<IndexCheck<'a>, OpenError> {
        let mut check = IndexCheck {
            directory,
            geometry: directory.geometry.unwrap_or_default(),
            files: Vec::new(),
            open: None,
            covered: None,
            missing: None,
            damage: 0..0,
            lost: 0,
            topic: format::LastTopic::default(),
        };
        let dir = directory.root.join(layout::INDEX);
        let listed = directory
            .env
            .list(&dir)
            .map_err(OpenError::io("list", &dir))?;
        let names = listed
            .into_iter()
            .filter(|entry| !entry.is_dir && format::number_of(&entry.name).is_some());
        let paths: Vec<PathBuf> = names.map(|entry| dir.join(entry.name)).collect();
        if directory.geometry.is_none() && !paths.is_empty() {
            report.note("the index is not checked: its files have not the usual length, and only the settings maxHashSlotNum and maxIndexNum tell where its entries are (--config)");
            return Ok(check);
        }
        for path in paths {
            check.add(path, report)?;
        }
        check.covered = match (check.files.first(), check.files.last()) {
            (Some(first), Some(last)) => {
                Some(first.header.begin_physical..last.header.end_physical)
            }
            _ => None,
        };
        check.files.reverse();
        check.next_file()?;
        Ok(check)
    }

    fn add(&mut self, path: PathBuf, report: &mut Report) -> Result<(), OpenError> {
        let expected = self.geometry.file_bytes();
        let len = length(&self.directory.env, &path)?;
        if len == 0 {
            return Ok(());
        }
        if len != expected {
            let what = format!("{len} bytes, not {expected}");
            report.add(Kind::IndexFileLength, &path, None, what);
            return Ok(());
        }
        let mut bytes = [0; HEADER_BYTES];
        self.read(&path, &mut bytes, 0)?;
        let header = Header::of_bytes(&bytes);
        if header.count > self.geometry.entries {
            let what = format!(
                "it counts {} entries, {} fit in",
                header.count, self.geometry.entries
            );
            report.add(Kind::WrongIndexHead, &path, Some(36), what);
            return Ok(());
        }
        if header.count > 1 {
            self.files.push(IndexFile { path, header });
        }
        Ok(())
    }

    fn read(&self, path: &PathBuf, bytes: &mut [u8], at: u64) -> Result<usize, OpenError> {
        let env = &self.directory.env;
        let file = env.open(path).map_err(OpenError::io("open", path))?;
        env.read_at(&file, path, bytes, at)
            .map_err(OpenError::io("read", path))
    }

    fn next_file(&mut self) -> Result<(), OpenError> {
        self.open = self.files.pop().map(|file| Open {
            next: 1,
            window: Vec::new(),
            window_from: 0,
            slots: vec![0; self.geometry.slots as usize],
            slots_used: 0,
            last: 0,
            file,
        });
        Ok(())
    }

    /// The next entry, which stays the next one.
    fn peek(&mut self, report: &mut Report) -> Result<Option<Entry>, OpenError> {
        loop {
            let Some(open) = &self.open else {
                return Ok(None);
            };
            if open.next < open.file.header.count {
                return self.entry(open.next);
            }
            self.end_file(report)?;
            self.next_file()?;
        }
    }

    fn entry(&mut self, number: u32) -> Result<Option<Entry>, OpenError> {
        let Some(open) = &self.open else {
            return Ok(None);
        };
        let held = open.window_from..open.window_from + (open.window.len() / ENTRY_BYTES) as u32;
        if !held.contains(&number) {
            let count = (open.file.header.count - number).min(WINDOW_ENTRIES);
            let mut window = vec![0; count as usize * ENTRY_BYTES];
            let path = open.file.path.clone();
            let at = self.geometry.entry_at(number);
            let read = self.read(&path, &mut window, at)?;
            window.truncate(read);
            if let Some(open) = &mut self.open {
                open.window = window;
                open.window_from = number;
            }
        }
        let open = self.open.as_ref();
        let bytes = open.and_then(|open| {
            let at = (number - open.window_from) as usize * ENTRY_BYTES;
            open.window.get(at..)?.first_chunk()
        });
        Ok(bytes.map(Entry::of_bytes))
    }

    /// Whether the entry behind the next one lies before it in the log, so that the next one is wrong.
    fn is_out_of_order(&mut self, entry: &Entry) -> Result<bool, OpenError> {
        let Some(open) = &self.open else {
            return Ok(false);
        };
        let number = open.next + 1;
        if number >= open.file.header.count {
            return Ok(false);
        }
        let after = self.entry(number)?;
        Ok(after.is_some_and(|after| after.physical < entry.physical))
    }

    /// Compares the entries of a record.
    pub(super) fn see(
        &mut self,
        record: &RecordView<'_>,
        report: &mut Report,
    ) -> Result<(), OpenError> {
        let at = record.physical_offset();
        let mut hashes: SmallVec<[u32; 8]> = SmallVec::new();
        let mut has_read = false;
        let mut found = 0;
        while let Some(entry) = self.peek(report)? {
            if entry.physical > at && !self.is_out_of_order(&entry)? {
                break;
            }
            if entry.physical == at {
                if !has_read {
                    format::hashes_of(record, &mut self.topic, |hash| hashes.push(hash));
                    has_read = true;
                }
                found += 1;
                self.compare(&entry, &hashes, record, report);
            } else if self.damage.contains(&entry.physical) {
                self.lost += 1;
            } else if entry.physical >= self.directory.log_first() || entry.physical < 0 {
                let what = format!(
                    "it names log position {}: no message is there",
                    entry.physical
                );
                self.fault(&what, report);
            }
            self.follow(&entry, report);
        }
        if found == 0
            && self
                .covered
                .as_ref()
                .is_some_and(|covered| covered.contains(&at))
        {
            self.lacks(record, report);
        } else if found > 0 {
            self.end_missing(report);
        }
        Ok(())
    }

    /// A part of the log cannot be read.
    pub(super) fn damaged(&mut self, range: Range<i64>) {
        // One may follow another without a record in between.
        let start = if range.start == self.damage.end {
            self.damage.start
        } else {
            range.start
        };
        self.damage = start..range.end;
    }

    fn compare(
        &mut self,
        entry: &Entry,
        hashes: &[u32],
        record: &RecordView<'_>,
        report: &mut Report,
    ) {
        report.index_entries += 1;
        let at = entry.physical;
        if !hashes.contains(&entry.hash) {
            let what = format!(
                "its key has the hash {}; the message at log position {at} has no such key",
                entry.hash
            );
            self.fault(&what, report);
            return;
        }
        let Some(open) = &self.open else { return };
        let seconds = open.file.header.seconds_of(record.store_timestamp());
        if entry.seconds != seconds {
            let what = format!(
                "it is {} s after the first of the file; the message at log position {at} was stored {seconds} s after it",
                entry.seconds
            );
            self.fault(&what, report);
        }
    }

    fn lacks(&mut self, record: &RecordView<'_>, report: &mut Report) {
        let mut is_keyed = false;
        format::hashes_of(record, &mut self.topic, |_| is_keyed = true);
        // Tags are indexed since version 5.5 only.
        let properties = record.properties();
        let has_key =
            properties.get(keys::UNIQ_KEY).is_some() || properties.get(keys::KEYS).is_some();
        if is_keyed && has_key {
            let at = record.physical_offset();
            self.missing.get_or_insert((at, 0)).1 += 1;
        } else if is_keyed {
            self.end_missing(report);
        }
    }

    fn end_missing(&mut self, report: &mut Report) {
        let Some((at, count)) = self.missing.take() else {
            return;
        };
        let (path, at_byte) = self.directory.locate(at);
        let what = format!(
            "{count} messages with keys, the first at log position {at}, are not in the index although it covers their time"
        );
        report.add(Kind::MissingIndexEntry, &path, Some(at_byte), what);
    }

    /// Adds a fault of the next entry.
    fn fault(&self, what: &str, report: &mut Report) {
        let Some(open) = &self.open else { return };
        let at = self.geometry.entry_at(open.next);
        let what = format!("entry {}: {what}", open.next);
        report.add(Kind::WrongIndexEntry, &open.file.path, Some(at), what);
    }

    /// Goes on behind an entry, along its chain.
    fn follow(&mut self, entry: &Entry, report: &mut Report) {
        let slot = self.geometry.slot_of(entry.hash) as usize;
        let Some(open) = &mut self.open else { return };
        let before = open.slots.get(slot).copied().unwrap_or(0);
        let number = open.next;
        if entry.previous != before {
            let what = format!(
                "it goes on to entry {}, the one before in its slot is {before}",
                entry.previous
            );
            self.fault(&what, report);
        }
        let Some(open) = &mut self.open else { return };
        open.slots_used += u32::from(before == 0);
        if let Some(slot) = open.slots.get_mut(slot) {
            *slot = number;
        }
        open.last = entry.physical;
        open.next += 1;
    }

    /// Compares the slots of a file that was read to its end, and its head.
    fn end_file(&mut self, report: &mut Report) -> Result<(), OpenError> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let path = &open.file.path;
        let mut wrong: Option<(u32, u64, String)> = None;
        let mut first = 0;
        while first < self.geometry.slots {
            let count = (self.geometry.slots - first).min(WINDOW_SLOTS);
            let mut bytes = vec![0; count as usize * SLOT_BYTES];
            self.read(path, &mut bytes, self.geometry.slot_at(first))?;
            let (slots, _) = bytes.as_chunks::<SLOT_BYTES>();
            for (slot, bytes) in (first..).zip(slots) {
                let expected = open.slots.get(slot as usize).copied().unwrap_or(0);
                let is = u32::from_be_bytes(*bytes);
                // A broker that runs, or was killed, may have entered more than the head counts yet.
                let is_ahead = !self.directory.is_clean() && is >= open.file.header.count;
                if is != expected && !is_ahead {
                    let what =
                        || format!("slot {slot} leads to entry {is}, its newest is {expected}");
                    wrong.get_or_insert_with(|| (slot, 0, what())).1 += 1;
                }
            }
            first += count;
        }
        if let Some((slot, count, what)) = wrong {
            let more = match count - 1 {
                0 => String::new(),
                more => format!(" (so are {more} others)"),
            };
            let at = self.geometry.slot_at(slot);
            report.add(
                Kind::WrongIndexSlot,
                path,
                Some(at),
                format!("{what}{more}"),
            );
        } else if open.file.header.slots_used != open.slots_used && self.directory.is_clean() {
            let what = format!(
                "it counts {} slots in use, there are {}",
                open.file.header.slots_used, open.slots_used
            );
            report.add(Kind::WrongIndexHead, path, Some(32), what);
        }
        if open.file.header.end_physical != open.last {
            let what = format!(
                "it says that the last message is at log position {}, its last entry names {}",
                open.file.header.end_physical, open.last
            );
            report.add(Kind::WrongIndexHead, path, Some(24), what);
        }
        Ok(())
    }

    /// What is left when the log has ended at `end`; a broker that was killed may not have finished its last entries.
    pub(super) fn finish(
        &mut self,
        end: i64,
        is_clean: bool,
        report: &mut Report,
    ) -> Result<(), OpenError> {
        let mut unfinished = 0u64;
        while let Some(entry) = self.peek(report)? {
            let is_gone = (0..self.directory.log_first()).contains(&entry.physical);
            if self.damage.contains(&entry.physical) {
                self.lost += 1;
            } else if !is_gone && is_clean {
                let what = format!(
                    "it names log position {}, the log ends at {end}",
                    entry.physical
                );
                self.fault(&what, report);
            }
            unfinished += u64::from(!is_gone && !is_clean);
            self.follow(&entry, report);
        }
        if unfinished > 0 {
            report.note(format!(
                "{unfinished} index entries name messages behind the end of the log: starting removes them"
            ));
        }
        if self.lost > 0 {
            report.note(format!(
                "{} index entries refer to messages in damaged or missing parts of the log",
                self.lost
            ));
        }
        self.missing = None;
        Ok(())
    }
}
