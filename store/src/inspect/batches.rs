// SPDX-License-Identifier: Apache-2.0
//! Queues of batches beside the log. Their units have no place of their own, but the order of their records.

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::Arc,
};

use aerobee_message::RecordView;

use super::{Directory, Kind, QueueRange, Report, queues::Lateness};
use crate::{
    batch_queue::{UNIT_BYTES, Unit, UnitFiles},
    consume_queue::Entry,
    dispatch,
    error::OpenError,
    layout,
};

/// Units that are read at once.
const WINDOW_UNITS: usize = 256;

/// One queue and how far it is compared.
struct Cursor<'a> {
    files: UnitFiles<'a>,
    /// Where the first unit of the window is.
    position: i64,
    window: VecDeque<Unit>,
    /// Of the first unit whose record is in the log.
    min: Option<i64>,
    next: i64,
    /// Records before this position are of a topic of the same name that was deleted.
    begins: i64,
}

/// All queues of batches.
pub(super) struct Batches<'a> {
    directory: &'a Directory,
    table: HashMap<Arc<str>, HashMap<i32, Cursor<'a>>>,
    pub(super) late: u64,
    pub(super) deleted: u64,
}

impl<'a> Batches<'a> {
    pub(super) fn open(directory: &'a Directory) -> Result<Batches<'a>, OpenError> {
        let mut table: HashMap<Arc<str>, HashMap<i32, Cursor<'a>>> = HashMap::new();
        for (topic, id) in directory.batch_queues()? {
            let files = directory.unit_files(&topic, id)?;
            let mut cursor = Cursor {
                position: files.bases().first().copied().unwrap_or(0),
                files,
                window: VecDeque::new(),
                min: None,
                next: 0,
                begins: 0,
            };
            if let Some(first) = cursor.peek()? {
                cursor.begins = first.entry.physical;
            }
            table.entry(topic).or_default().insert(id, cursor);
        }
        Ok(Batches {
            directory,
            table,
            late: 0,
            deleted: 0,
        })
    }

    /// Whether a topic has such queues.
    pub(super) fn has(&self, topic: &str) -> bool {
        self.table.contains_key(topic)
    }

    /// Compares the unit of a record of a topic that has such queues.
    pub(super) fn see(
        &mut self,
        record: &RecordView<'_>,
        lateness: Lateness,
        report: &mut Report,
    ) -> Result<(), OpenError> {
        if !dispatch::is_queued(record) {
            return Ok(());
        }
        let at = record.physical_offset();
        let ids = self.table.get_mut(record.topic());
        let cursor = ids.and_then(|ids| ids.get_mut(&record.queue_id()));
        let is_deleted = at < lateness.forgotten;
        let Some(cursor) = cursor else {
            if is_deleted {
                self.deleted += 1;
            } else if at >= lateness.entries_due {
                self.late += 1;
            } else {
                let dir = self.directory.units_dir(record.topic(), record.queue_id());
                let what = format!("the record at position {at} is in no queue: it is missing");
                report.add(Kind::MissingQueue, &dir, None, what);
            }
            return Ok(());
        };
        cursor.skip_before(at, self.directory.log_first(), report)?;
        let found = cursor.peek()?.filter(|unit| unit.entry.physical == at);
        let Some(unit) = found else {
            if is_deleted || at < cursor.begins {
                self.deleted += 1;
            } else if cursor.peek()?.is_none() && at >= lateness.entries_due {
                self.late += 1;
            } else {
                let what = format!("the record at position {at} has no entry");
                cursor.fault(Kind::MissingEntry, what, report);
            }
            return Ok(());
        };
        report.entries += 1;
        let expected = Unit {
            entry: Entry {
                physical: at,
                #[expect(clippy::cast_possible_truncation, reason = "read from four bytes")]
                size: record.total_len() as i32,
                tags_code: dispatch::tags_code(record, &[]),
            },
            store_time: record.store_timestamp(),
            first: record.queue_offset(),
            #[expect(clippy::cast_possible_truncation, reason = "read as a short")]
            messages: dispatch::inner_messages(record) as i16,
        };
        if unit != expected {
            let what = format!("it is {unit:?}, that of its record is {expected:?}");
            cursor.fault(Kind::WrongEntry, what, report);
        }
        cursor.min.get_or_insert(unit.first);
        cursor.pass();
        Ok(())
    }

    /// What is left when the log has ended at `end`.
    pub(super) fn finish(&mut self, end: i64, report: &mut Report) -> Result<(), OpenError> {
        for (topic, ids) in std::mem::take(&mut self.table) {
            for (id, mut cursor) in ids {
                cursor.skip_before(end, self.directory.log_first(), report)?;
                let next = cursor.next;
                if let Some(unit) = cursor.peek()? {
                    let what = format!(
                        "it names position {}, the log ends at {end}",
                        unit.entry.physical
                    );
                    cursor.fault(Kind::StaleEntry, what, report);
                }
                report.queues.push(QueueRange {
                    topic: Arc::clone(&topic),
                    id,
                    min: cursor.min.unwrap_or(next),
                    next,
                });
            }
        }
        report
            .queues
            .sort_unstable_by(|a, b| (&a.topic, a.id).cmp(&(&b.topic, b.id)));
        Ok(())
    }
}

impl Cursor<'_> {
    fn peek(&mut self) -> Result<Option<Unit>, OpenError> {
        if self.window.is_empty() {
            let units = self.files.units_at(self.position, WINDOW_UNITS)?;
            self.window = units.into();
        }
        Ok(self.window.front().copied())
    }

    fn pass(&mut self) {
        if let Some(unit) = self.window.pop_front() {
            self.next = unit.next();
            self.position += UNIT_BYTES as i64;
        }
    }

    /// Passes units of records before a position; they are lost if the log should have them.
    fn skip_before(
        &mut self,
        at: i64,
        log_first: i64,
        report: &mut Report,
    ) -> Result<(), OpenError> {
        while let Some(unit) = self.peek()?.filter(|unit| unit.entry.physical < at) {
            if unit.entry.physical >= log_first {
                let what = format!(
                    "its record was at position {}, where the log is damaged or has another one",
                    unit.entry.physical
                );
                self.fault(Kind::LostMessage, what, report);
            }
            self.pass();
        }
        Ok(())
    }

    fn fault(&self, kind: Kind, what: String, report: &mut Report) {
        let (path, at) = self.files.locate(self.position);
        report.add(kind, &path, Some(at), what);
    }
}

impl Directory {
    /// Topics and ids of the queues of batches.
    pub(super) fn batch_queues(&self) -> Result<Vec<(Arc<str>, i32)>, OpenError> {
        self.queues_below(layout::BATCH_QUEUE)
    }

    /// Topics and ids of the queues in one of the directories of the store.
    pub(super) fn queues_below(&self, kind: &str) -> Result<Vec<(Arc<str>, i32)>, OpenError> {
        let root = self.root.join(kind);
        let mut queues = Vec::new();
        let list = |dir: &PathBuf| self.env.list(dir).map_err(OpenError::io("list", dir));
        for topic in list(&root)?.into_iter().filter(|entry| entry.is_dir) {
            let name: Arc<str> = topic.name.as_str().into();
            for queue in list(&root.join(&topic.name))? {
                let id = queue.name.parse().ok();
                if let Some(id) = id.filter(|id: &i32| *id >= 0 && queue.is_dir) {
                    queues.push((Arc::clone(&name), id));
                }
            }
        }
        queues.sort_unstable();
        Ok(queues)
    }

    pub(super) fn units_dir(&self, topic: &str, id: i32) -> PathBuf {
        layout::queue_dir(&self.root, layout::BATCH_QUEUE, topic, id)
    }

    /// Entries of a file of such a queue, if there is one.
    pub(super) fn look_at_batch_queues(&self) -> Result<Option<u32>, OpenError> {
        for (topic, id) in self.batch_queues()? {
            let files = self.unit_files(&topic, id)?;
            if !files.bases().is_empty() {
                return Ok(u32::try_from(files.file_bytes() / UNIT_BYTES as u64).ok());
            }
        }
        Ok(None)
    }

    pub(super) fn unit_files(&self, topic: &str, id: i32) -> Result<UnitFiles<'_>, OpenError> {
        UnitFiles::look(&self.env, self.units_dir(topic, id))
    }
}
