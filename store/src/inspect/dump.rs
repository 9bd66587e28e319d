// SPDX-License-Identifier: Apache-2.0
//! What is in a directory, one by one.

use std::{ops::Range, path::PathBuf};

use aerobee_message::RecordView;

use super::{
    Directory, InspectError,
    log::{Step, Walk},
};
use crate::{
    batch_queue::UNIT_BYTES,
    consume_queue::Entry,
    error::OpenError,
    index::format::{self, ENTRY_BYTES as INDEX_ENTRY_BYTES, HEADER_BYTES},
    layout::{self, ENTRY_BYTES},
    scan::{Frame, Scanner},
};

/// Entries that are read at once.
const WINDOW_ENTRIES: usize = 4096;

/// What is met in the log.
#[derive(Debug)]
pub enum LogItem<'a> {
    /// A record and its position.
    Record(i64, RecordView<'a>),
    /// From here to there is no record, for this reason.
    NoRecord(Range<i64>, String),
}

/// An entry of a queue as it lies on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueItem {
    /// Its offset in the queue.
    pub offset: i64,
    /// Position of the message in the log.
    pub physical: i64,
    /// Bytes of the message; `i32::MAX` in entries before the first one of a queue that starts late.
    pub size: i32,
    /// Hash of the tags, a time of delivery, or the address of an extension.
    pub tags_code: i64,
    /// In a queue of batches: how many messages the record has from that offset on, and when it was stored.
    pub batch: Option<(i16, i64)>,
}

/// An index file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexItem {
    /// The file.
    pub path: PathBuf,
    /// What it says of itself.
    pub header: format::Header,
}

impl Directory {
    /// Shows the log from the first record at or behind a position to one at or behind another, until `each` returns
    /// `false`. Returns where it ended.
    pub fn read_log(&self, range: Range<i64>, mut each: impl FnMut(LogItem<'_>) -> bool) -> i64 {
        let first = self.log_first();
        let from = range.start.max(first);
        let mut walk = Walk::new(&self.env, &self.log, from);
        // The position need not be one of a record.
        let base = self.log.base_for(from);
        if from != base && !walk.reads(from, |_| true) {
            let end = base + self.log.file_bytes().cast_signed();
            let next = Scanner::new(&self.env, &self.log).next_record(from..end);
            walk = Walk::new(&self.env, &self.log, next.ok().flatten().unwrap_or(end));
        }
        while walk.position() < range.end {
            let goes_on = walk.step(|step| match step {
                Step::Record(at, record) => each(LogItem::Record(at, record)),
                Step::Blank => true,
                Step::Damage(range, reason) | Step::Tail(range, reason) => {
                    each(LogItem::NoRecord(range, reason))
                }
                Step::Missing(range) => {
                    each(LogItem::NoRecord(range, "the file is missing".to_owned()))
                }
            });
            if goes_on != Some(true) {
                break;
            }
        }
        walk.position()
    }

    /// The first position from which on messages may have been stored at or after a time: the start of a log file.
    #[must_use]
    pub fn position_by_time(&self, millis: i64) -> i64 {
        let mut scanner = Scanner::new(&self.env, &self.log);
        let bases = self.log.bases();
        let is_later = |scanner: &mut Scanner<'_>, base: i64| matches!(scanner.frame(base), Ok(Frame::Record(record)) if record.store_timestamp() >= millis);
        let later = bases.iter().position(|base| is_later(&mut scanner, *base));
        let at = later.unwrap_or(bases.len()).saturating_sub(1);
        bases.get(at).copied().unwrap_or(0)
    }

    /// The record at a position.
    pub fn record_at<T>(&self, position: i64, see: impl FnOnce(&RecordView<'_>) -> T) -> Option<T> {
        match Scanner::of_single_frames(&self.env, &self.log).frame(position) {
            Ok(Frame::Record(record)) => Some(see(&record)),
            _ => None,
        }
    }

    /// Shows the entries of a queue from an offset to another, until `each` returns `false`.
    ///
    /// # Errors
    /// There is no such queue, or it cannot be read.
    pub fn read_queue(
        &self,
        topic: &str,
        id: i32,
        range: Range<i64>,
        mut each: impl FnMut(QueueItem) -> bool,
    ) -> Result<(), InspectError> {
        if layout::is_directory_name(topic) && self.units_dir(topic, id).is_dir() {
            return self.read_units(topic, id, range, each);
        }
        let dir = layout::queue_dir(&self.root, layout::CONSUME_QUEUE, topic, id);
        if !layout::is_directory_name(topic) || !dir.is_dir() {
            return Err(InspectError::NoQueue {
                path: self.root.clone(),
                topic: topic.to_owned(),
                id,
            });
        }
        let listed = self.env.list(&dir).map_err(OpenError::io("list", &dir))?;
        let bases = listed
            .iter()
            .filter(|entry| !entry.is_dir)
            .filter_map(|entry| layout::base_of(&entry.name));
        let width = ENTRY_BYTES as i64;
        for base in bases {
            let (first, count) = (base / width, self.queue_file_entries().cast_signed());
            let mut at = first.max(range.start);
            let end = (first + count).min(range.end);
            let path = dir.join(layout::file_name(base));
            if at >= end {
                continue;
            }
            let file = self.env.open(&path).map_err(OpenError::io("open", &path))?;
            while at < end {
                let wanted = usize::try_from(end - at)
                    .unwrap_or(usize::MAX)
                    .min(WINDOW_ENTRIES);
                let mut bytes = vec![0; wanted * ENTRY_BYTES];
                let in_file = ((at - first) * width).cast_unsigned();
                let read = self.env.read_at(&file, &path, &mut bytes, in_file);
                bytes.truncate(read.map_err(OpenError::io("read", &path))?);
                let (entries, _) = bytes.as_chunks::<ENTRY_BYTES>();
                for bytes in entries {
                    let entry = Entry::of_bytes(bytes);
                    let item = QueueItem {
                        offset: at,
                        physical: entry.physical,
                        size: entry.size,
                        tags_code: entry.tags_code,
                        batch: None,
                    };
                    if entry.size == 0 || !each(item) {
                        return Ok(());
                    }
                    at += 1;
                }
                if entries.len() < wanted {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// As [`Directory::read_queue`], of a queue of batches.
    fn read_units(
        &self,
        topic: &str,
        id: i32,
        range: Range<i64>,
        mut each: impl FnMut(QueueItem) -> bool,
    ) -> Result<(), InspectError> {
        let files = self.unit_files(topic, id)?;
        for base in files.bases() {
            let mut at = *base;
            loop {
                let units = files.units_at(at, WINDOW_ENTRIES)?;
                for unit in &units {
                    let item = QueueItem {
                        offset: unit.first,
                        physical: unit.entry.physical,
                        size: unit.entry.size,
                        tags_code: unit.entry.tags_code,
                        batch: Some((unit.messages, unit.store_time)),
                    };
                    let is_in_range = unit.first < range.end && unit.next() > range.start;
                    if is_in_range && !each(item) {
                        return Ok(());
                    }
                }
                if units.is_empty() {
                    break;
                }
                at += (units.len() * UNIT_BYTES) as i64;
                if files.locate(at).1 == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Ids of the queues of a topic.
    ///
    /// # Errors
    /// They cannot be listed.
    pub fn queue_ids(&self, topic: &str) -> Result<Vec<i32>, InspectError> {
        if !layout::is_directory_name(topic) {
            return Ok(Vec::new());
        }
        let dirs = self.queue_dirs(topic, &mut super::Report::default())?;
        let batches = self.batch_queues()?;
        let batches = batches.into_iter().filter(|(name, _)| **name == *topic);
        let ids = dirs.into_iter().map(|dir| dir.id);
        Ok(ids.chain(batches.map(|(_, id)| id)).collect())
    }

    /// Names of all topics with queues.
    ///
    /// # Errors
    /// They cannot be listed.
    pub fn topics_with_queues(&self) -> Result<Vec<String>, InspectError> {
        let names = self.topic_names()?;
        Ok(names.iter().map(|name| (**name).to_owned()).collect())
    }

    /// The index files, the oldest first.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn index_files(&self) -> Result<Vec<IndexItem>, InspectError> {
        let dir = self.root.join(layout::INDEX);
        let mut files = Vec::new();
        for entry in self.env.list(&dir).map_err(OpenError::io("list", &dir))? {
            if entry.is_dir || format::number_of(&entry.name).is_none() {
                continue;
            }
            let path = dir.join(entry.name);
            let file = self.env.open(&path).map_err(OpenError::io("open", &path))?;
            let mut bytes = [0; HEADER_BYTES];
            self.env
                .read_at(&file, &path, &mut bytes, 0)
                .map_err(OpenError::io("read", &path))?;
            files.push(IndexItem {
                header: format::Header::of_bytes(&bytes),
                path,
            });
        }
        Ok(files)
    }

    /// Shows the entries of an index file with their numbers, until `each` returns `false`. Nothing when only the
    /// settings tell where entries are, and they were not given.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_index(
        &self,
        item: &IndexItem,
        mut each: impl FnMut(u32, format::Entry) -> bool,
    ) -> Result<(), InspectError> {
        let Some(geometry) = self.geometry else {
            return Ok(());
        };
        let path = &item.path;
        let file = self.env.open(path).map_err(OpenError::io("open", path))?;
        let mut number = 1;
        let count = item.header.count.min(geometry.entries);
        while number < count {
            let wanted = (count - number) as usize;
            let mut bytes = vec![0; wanted.min(WINDOW_ENTRIES) * INDEX_ENTRY_BYTES];
            let read = self
                .env
                .read_at(&file, path, &mut bytes, geometry.entry_at(number));
            bytes.truncate(read.map_err(OpenError::io("read", path))?);
            let (entries, _) = bytes.as_chunks::<INDEX_ENTRY_BYTES>();
            if entries.is_empty() {
                break;
            }
            for bytes in entries {
                if !each(number, format::Entry::of_bytes(bytes)) {
                    return Ok(());
                }
                number += 1;
            }
        }
        Ok(())
    }

    /// Whether it is known where the entries of index files are.
    #[must_use]
    pub fn knows_index(&self) -> bool {
        self.geometry.is_some()
    }
}
