// SPDX-License-Identifier: Apache-2.0
//! Consume queues beside the log. Messages of a queue lie in the log in the order of their offsets, so each queue is
//! read once from its beginning to its end, through a small window.

use std::{collections::HashMap, ops::Range, path::PathBuf, sync::Arc};

use aerobee_message::{RecordView, topic};
use smallvec::SmallVec;

use super::{
    BRIDGE_TOPIC, Directory, Kind, QueueRange, Report,
    check::{Known, names},
    extensions::Extensions,
};
use crate::{
    consume_queue::Entry,
    dispatch::{self, QueuePlace},
    error::OpenError,
    layout::{self, ENTRY_BYTES},
    light,
};

/// Bytes of all windows together.
const WINDOWS_BYTES: usize = 64 << 20;
/// Entries of one window.
const WINDOW_ENTRIES: Range<usize> = 32..4096;
/// Tags codes up to this one are addresses of extensions (`ConsumeQueueExt.isExtAddr`).
const LAST_ADDRESS: i64 = i32::MIN as i64 - 1;
/// Damaged parts that are remembered.
const DAMAGES_MAX: usize = 10_000;

/// Which messages need not be in their queues.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lateness {
    /// A topic was deleted when the log ended here.
    pub(super) forgotten: i64,
    /// Starting adds the entries of messages from here on.
    pub(super) entries_due: i64,
}

/// One queue and how far it is compared.
struct Cursor {
    topic: Arc<str>,
    id: i32,
    bases: SmallVec<[i64; 1]>,
    /// Offset of the next entry to be compared.
    next: i64,
    /// Offset of the first entry whose message is in the log.
    min: Option<i64>,
    /// Entries from `window_from` on.
    window: Box<[u8]>,
    window_from: i64,
    /// Entries belong to messages from this position on: those before were of a topic of the same name.
    begins: Option<i64>,
    /// Blank entries behind the first one whose message is there.
    holes: u64,
    /// Faults of one kind in a row.
    row: Option<Row>,
}

/// Faults in a row.
struct Row {
    kind: Kind,
    offsets: Range<i64>,
    what: String,
}

/// All queues.
pub(super) struct Queues<'a> {
    directory: &'a Directory,
    known: &'a Known,
    table: HashMap<Arc<str>, HashMap<i32, Cursor>>,
    window_entries: usize,
    /// Queues that are missing, with how many messages they should have.
    missing: HashMap<(Arc<str>, i32), (i64, u64)>,
    damages: Vec<Range<i64>>,
    extensions: Extensions<'a>,
    pub(super) late: u64,
    pub(super) deleted: u64,
    pub(super) holes: u64,
    pub(super) extended: u64,
    pub(super) bridged: u64,
}

impl<'a> Queues<'a> {
    pub(super) fn open(
        directory: &'a Directory,
        known: &'a Known,
        report: &mut Report,
    ) -> Result<Queues<'a>, OpenError> {
        let mut table = HashMap::new();
        let mut count = 0usize;
        for topic in directory.topic_names()? {
            let dirs = directory.queue_dirs(&topic, report)?;
            count += dirs.len();
            let cursors = dirs.into_iter().map(|dir| {
                let first = dir.bases.first().copied().unwrap_or(0);
                let cursor = Cursor {
                    topic: Arc::clone(&topic),
                    id: dir.id,
                    bases: dir.bases,
                    next: first / ENTRY_BYTES as i64,
                    min: None,
                    window: Box::default(),
                    window_from: 0,
                    begins: None,
                    holes: 0,
                    row: None,
                };
                (cursor.id, cursor)
            });
            table.insert(Arc::clone(&topic), cursors.collect());
        }
        let window_entries = WINDOWS_BYTES / ENTRY_BYTES / count.max(1);
        Ok(Queues {
            directory,
            known,
            table,
            window_entries: window_entries.clamp(WINDOW_ENTRIES.start, WINDOW_ENTRIES.end),
            missing: HashMap::new(),
            damages: Vec::new(),
            extensions: Extensions::new(directory),
            late: 0,
            deleted: 0,
            holes: 0,
            extended: 0,
            bridged: 0,
        })
    }

    /// A part of the log cannot be read.
    pub(super) fn damaged(&mut self, range: Range<i64>) {
        if self.damages.len() < DAMAGES_MAX {
            self.damages.push(range);
        }
    }

    /// Compares the entries of a record.
    pub(super) fn see(
        &mut self,
        record: &RecordView<'_>,
        lateness: Lateness,
        report: &mut Report,
    ) -> Result<(), OpenError> {
        for place in dispatch::places(record, &[]) {
            self.see_place(&place, record, lateness, report)?;
        }
        Ok(())
    }

    fn see_place(
        &mut self,
        place: &QueuePlace<'_>,
        record: &RecordView<'_>,
        lateness: Lateness,
        report: &mut Report,
    ) -> Result<(), OpenError> {
        let at = place.entry.physical;
        let cursor = self
            .table
            .get_mut(place.topic)
            .and_then(|ids| ids.get_mut(&place.queue_id));
        let Some(cursor) = cursor else {
            self.without_queue(place, lateness);
            return Ok(());
        };
        let offset = place.offset;
        let found = cursor.entry(self.directory, self.window_entries, offset)?;
        report.entries += 1;
        if cursor.begins.is_some_and(|begins| at < begins) {
            self.deleted += 1;
            return Ok(());
        }
        match found {
            Some(entry) if entry.physical == at && entry.size == place.entry.size => {
                cursor.skip_to(
                    self.directory,
                    self.window_entries,
                    offset,
                    &self.damages,
                    report,
                )?;
                cursor.next = cursor.next.max(offset + 1);
                cursor.min.get_or_insert(offset);
                if entry.tags_code <= LAST_ADDRESS {
                    self.extended += 1;
                    let expected = (place.entry.tags_code, record.store_timestamp());
                    let (topic, id) = (&cursor.topic, cursor.id);
                    self.extensions
                        .see(topic, id, entry.tags_code, expected, report)?;
                } else if !has_code(entry.tags_code, place, record) {
                    let what = format!(
                        "the tags code is {}, that of the message at position {at} is {}",
                        entry.tags_code, place.entry.tags_code
                    );
                    cursor.fault(self.directory, Kind::WrongEntry, offset, what, report);
                }
                return Ok(());
            }
            _ => {}
        }
        // Entries of a topic that was deleted and made again belong to later messages.
        if cursor.belongs_later(self.directory, self.window_entries, at, offset, found)? {
            self.deleted += 1;
            return Ok(());
        }
        if at < lateness.forgotten && found.is_none() {
            self.deleted += 1;
            return Ok(());
        }
        if found.is_none() && at >= lateness.entries_due {
            self.late += 1;
            return Ok(());
        }
        cursor.skip_to(
            self.directory,
            self.window_entries,
            offset,
            &self.damages,
            report,
        )?;
        cursor.next = cursor.next.max(offset + 1);
        let (kind, what) = match found {
            Some(entry) if !entry.is_blank() => (
                Kind::WrongEntry,
                format!(
                    "it names position {} and {} bytes; its message is at position {at} and has {}",
                    entry.physical, entry.size, place.entry.size
                ),
            ),
            _ => (
                Kind::MissingEntry,
                format!("the message at position {at} has no entry"),
            ),
        };
        cursor.fault(self.directory, kind, offset, what, report);
        Ok(())
    }

    fn without_queue(&mut self, place: &QueuePlace<'_>, lateness: Lateness) {
        let at = place.entry.physical;
        let is_known = self
            .known
            .topics
            .as_ref()
            .is_none_or(|topics| topics.contains(place.topic));
        // Light queues are made only where they are switched on; they stand in no table of topics.
        let is_deleted = at < lateness.forgotten || light::is_light(place.topic) || !is_known;
        if is_deleted {
            self.deleted += 1;
        } else if at >= lateness.entries_due {
            self.late += 1;
        } else {
            let key = (Arc::from(place.topic), place.queue_id);
            self.missing.entry(key).or_insert((at, 0)).1 += 1;
        }
    }

    /// What is left when the log has ended at `end`.
    pub(super) fn finish(&mut self, end: i64, report: &mut Report) -> Result<(), OpenError> {
        self.extensions.finish(report)?;
        let mut cursors: Vec<Cursor> = std::mem::take(&mut self.table)
            .into_values()
            .flat_map(HashMap::into_values)
            .collect();
        cursors.sort_unstable_by(|a, b| (&a.topic, a.id).cmp(&(&b.topic, b.id)));
        for cursor in &mut cursors {
            let entries_end = cursor.entries_end(self.directory, self.window_entries)?;
            cursor.rest(
                self.directory,
                self.window_entries,
                entries_end,
                end,
                &self.damages,
                report,
            )?;
            cursor.end_row(self.directory, report);
            self.holes += cursor.holes;
            report.queues.push(QueueRange {
                topic: Arc::clone(&cursor.topic),
                id: cursor.id,
                min: cursor.min.unwrap_or(cursor.next),
                next: cursor.next,
            });
        }
        let mut missing: Vec<_> = self.missing.drain().collect();
        missing.sort_unstable();
        for ((topic, id), (first, count)) in missing {
            let dir = layout::queue_dir(&self.directory.root, layout::CONSUME_QUEUE, &topic, id);
            let what = format!(
                "{count} messages of queue {id} of topic {topic} are in the log, the first at position {first}: the queue is missing"
            );
            report.add(Kind::MissingQueue, &dir, None, what);
        }
        Ok(())
    }
}

/// Whether an entry has the tags code of its message. Times of delivery depend on settings that are not in the store.
fn has_code(code: i64, place: &QueuePlace<'_>, record: &RecordView<'_>) -> bool {
    if place.topic == topic::SCHEDULE {
        code >= record.store_timestamp()
    } else {
        code == place.entry.tags_code
    }
}

impl Cursor {
    /// The entry at an offset; `None` where no file has one.
    fn entry(
        &mut self,
        directory: &Directory,
        window_entries: usize,
        offset: i64,
    ) -> Result<Option<Entry>, OpenError> {
        let held = self.window.len() / ENTRY_BYTES;
        if offset < self.window_from || offset >= self.window_from + held as i64 {
            self.load(directory, window_entries, offset)?;
        }
        let at = usize::try_from(offset - self.window_from).unwrap_or(usize::MAX);
        let bytes = self
            .window
            .get(at.saturating_mul(ENTRY_BYTES)..)
            .and_then(<[u8]>::first_chunk);
        Ok(bytes.map(Entry::of_bytes).filter(|entry| entry.size != 0))
    }

    fn load(
        &mut self,
        directory: &Directory,
        window_entries: usize,
        offset: i64,
    ) -> Result<(), OpenError> {
        self.window = Box::default();
        self.window_from = offset;
        let position = offset.saturating_mul(ENTRY_BYTES as i64);
        let base = position - position.rem_euclid(directory.queue_file_bytes.cast_signed());
        if self.bases.binary_search(&base).is_err() {
            return Ok(());
        }
        let in_file = (position - base).cast_unsigned();
        let rest = usize::try_from(directory.queue_file_bytes - in_file).unwrap_or(usize::MAX);
        let mut bytes = vec![0; rest.min(window_entries * ENTRY_BYTES)];
        let path = self.dir(directory).join(layout::file_name(base));
        let file = directory
            .env
            .open(&path)
            .map_err(OpenError::io("open", &path))?;
        let read = directory.env.read_at(&file, &path, &mut bytes, in_file);
        let read = read.map_err(OpenError::io("read", &path))?;
        bytes.truncate(read / ENTRY_BYTES * ENTRY_BYTES);
        self.window = bytes.into_boxed_slice();
        Ok(())
    }

    fn dir(&self, directory: &Directory) -> PathBuf {
        layout::queue_dir(&directory.root, layout::CONSUME_QUEUE, &self.topic, self.id)
    }

    /// File and byte of an entry.
    fn locate(&self, directory: &Directory, offset: i64) -> (PathBuf, u64) {
        let position = offset.saturating_mul(ENTRY_BYTES as i64);
        let in_file = position.rem_euclid(directory.queue_file_bytes.cast_signed());
        let path = self
            .dir(directory)
            .join(layout::file_name(position - in_file));
        (path, in_file.cast_unsigned())
    }

    /// Whether a message at a position, which is not the one that the entry at its offset names, is of a topic that was
    /// deleted: the entry, or the first one of the queue, names a later message with the same place.
    fn belongs_later(
        &mut self,
        directory: &Directory,
        window_entries: usize,
        at: i64,
        offset: i64,
        found: Option<Entry>,
    ) -> Result<bool, OpenError> {
        let (offset, entry) = match found.filter(|entry| !entry.is_blank()) {
            Some(entry) => (offset, entry),
            // The queue is shorter than it was: its first entry tells.
            None => {
                let first = self
                    .bases
                    .first()
                    .map_or(0, |base| base / ENTRY_BYTES as i64);
                match self.entry(directory, window_entries, first)? {
                    Some(entry) if !entry.is_blank() && offset > first => (first, entry),
                    _ => return Ok(false),
                }
            }
        };
        if entry.physical <= at {
            return Ok(false);
        }
        let is_later = names(&directory.env, &directory.log, entry.physical, |record| {
            dispatch::places(record, &[]).iter().any(|place| {
                place.offset == offset && place.queue_id == self.id && *place.topic == *self.topic
            })
        });
        if is_later {
            self.begins = Some(entry.physical);
        }
        Ok(is_later)
    }

    /// Looks at the entries before an offset that no message has claimed.
    fn skip_to(
        &mut self,
        directory: &Directory,
        window_entries: usize,
        offset: i64,
        damages: &[Range<i64>],
        report: &mut Report,
    ) -> Result<(), OpenError> {
        let first = directory.log_first();
        while self.next < offset {
            let next = self.next;
            match self.entry(directory, window_entries, next)? {
                Some(entry) if entry.is_blank() => self.holes += u64::from(self.min.is_some()),
                // Gone with old files of the log.
                Some(entry) if (0..first).contains(&entry.physical) => {}
                Some(entry) => self.unclaimed(directory, next, entry, i64::MAX, damages, report),
                None if self.min.is_some() => {
                    let what = "an entry is missing, later ones are there".to_owned();
                    self.fault(directory, Kind::MissingEntry, next, what, report);
                }
                None => {}
            }
            self.next += 1;
        }
        Ok(())
    }

    /// An entry that belongs to no message of the log, which ends at `end`.
    fn unclaimed(
        &mut self,
        directory: &Directory,
        offset: i64,
        entry: Entry,
        end: i64,
        damages: &[Range<i64>],
        report: &mut Report,
    ) {
        let at = entry.physical;
        if let Some(row) = &mut self.row
            && row.kind == Kind::WrongEntry
            && row.offsets.end == offset
            && at < end
        {
            // A whole queue may be wrong; one look at the log for each would take long.
            row.offsets.end += 1;
            return;
        }
        let (kind, what) = if entry.physical >= end {
            (
                Kind::StaleEntry,
                format!("it names position {at}, the log ends at {end}"),
            )
        } else if damages.iter().any(|damage| damage.contains(&at))
            || names(&directory.env, &directory.log, at, |record| {
                record.topic() == BRIDGE_TOPIC
            })
        {
            (
                Kind::LostMessage,
                format!("its message was at position {at}, where the log is damaged or missing"),
            )
        } else {
            (
                Kind::WrongEntry,
                format!("it names position {at}: no message of this queue and offset is there"),
            )
        };
        self.fault(directory, kind, offset, what, report);
    }

    /// Where the entries of the last file end.
    fn entries_end(
        &mut self,
        directory: &Directory,
        window_entries: usize,
    ) -> Result<i64, OpenError> {
        let mut at = self.next;
        while self.entry(directory, window_entries, at)?.is_some() {
            at += 1;
        }
        Ok(at)
    }

    /// Looks at what follows the last entry that a message claimed.
    fn rest(
        &mut self,
        directory: &Directory,
        window_entries: usize,
        entries_end: i64,
        end: i64,
        damages: &[Range<i64>],
        report: &mut Report,
    ) -> Result<(), OpenError> {
        let first = directory.log_first();
        let claimed = self.next;
        while self.next < entries_end {
            let next = self.next;
            if let Some(entry) = self.entry(directory, window_entries, next)? {
                if entry.is_blank() {
                    self.holes += u64::from(self.min.is_some());
                } else if !(0..first).contains(&entry.physical) {
                    self.unclaimed(directory, next, entry, end, damages, report);
                }
            }
            self.next += 1;
        }
        // Offsets behind the end of the log do not count.
        if self
            .row
            .as_ref()
            .is_some_and(|row| row.kind == Kind::StaleEntry)
        {
            self.next = claimed;
        }
        Ok(())
    }

    /// Adds a fault at an offset to those before it, or begins a new row.
    fn fault(
        &mut self,
        directory: &Directory,
        kind: Kind,
        offset: i64,
        what: String,
        report: &mut Report,
    ) {
        if let Some(row) = &mut self.row
            && row.kind == kind
            && row.offsets.end == offset
        {
            row.offsets.end += 1;
            return;
        }
        self.end_row(directory, report);
        self.row = Some(Row {
            kind,
            offsets: offset..offset + 1,
            what,
        });
    }

    fn end_row(&mut self, directory: &Directory, report: &mut Report) {
        let Some(row) = self.row.take() else { return };
        let (path, at) = self.locate(directory, row.offsets.start);
        let count = row.offsets.end - row.offsets.start;
        let more = match count - 1 {
            0 => String::new(),
            more => format!(" (so are the {more} after it)"),
        };
        let what = format!(
            "entry {} of queue {} of topic {}: {}{more}",
            row.offsets.start, self.id, self.topic, row.what
        );
        report.add(row.kind, &path, Some(at), what);
    }
}
