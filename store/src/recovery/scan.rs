// SPDX-License-Identifier: Apache-2.0
//! The part of the log that queues may not know: read record by record, and entered.

use std::{collections::HashSet, io, sync::Arc, thread};

use aerobee_message::{RecordView, sysflag};

use super::{Recovery, stretches::Stretches};
use crate::{
    abort_file::Left,
    consume_queue::Queue,
    dispatch::{self, Dispatched},
    error::{AppendError, OpenError},
    files::{Descriptors, Files, Slot},
    layout,
    queue_flags::Flag,
    queue_table::queue_in,
    scan::{After, Stretch},
};

/// Where a scan ended.
pub(super) struct Scanned {
    pub(super) end: i64,
    /// Why the bytes there are no record; `None` when there is no file.
    pub(super) reason: Option<String>,
    pub(super) last: (i64, i64),
    pub(super) records: u64,
    pub(super) dirty: Vec<Arc<Queue>>,
}

impl Recovery<'_> {
    /// Reads the log from `start` to its end and dispatches what it finds; `None` when a queue lacks entries that only
    /// an earlier part of the log has.
    pub(super) fn scan(
        &mut self,
        start: i64,
        last: (i64, i64),
        is_whole: bool,
    ) -> Result<Option<Scanned>, OpenError> {
        let mut scanned = Scanned {
            end: start,
            reason: None,
            last,
            records: 0,
            dirty: Vec::new(),
        };
        let mut noted: HashSet<*const Queue> = HashSet::new();
        let mut note = |dirty: &mut Vec<Arc<Queue>>, queue: Arc<Queue>| {
            if noted.insert(Arc::as_ptr(&queue)) {
                dirty.push(queue);
            }
        };
        let log = Files::of_log(
            &self.shared.homes,
            self.log.file_bytes(),
            Descriptors::Keep,
            self.log
                .bases()
                .iter()
                .map(|base| Slot::unmapped(*base, 0))
                .collect(),
        );
        let env = self.env;
        thread::scope(|scope| {
            let mut stretches = Stretches::begin(scope, env, &log, start)?;
            let mut stretch = Stretch::default();
            loop {
                stretch = stretches.next(stretch)?;
                for (at, record) in stretch.records() {
                    if self.may_be_torn(at) && is_torn(&record, at - log.base_for(at)) {
                        scanned.reason = Some("a part of the record is missing".to_owned());
                        return Ok(Some(scanned));
                    }
                    if !self.enter(&record, is_whole, |queue| note(&mut scanned.dirty, queue))? {
                        return Ok(None);
                    }
                    scanned.last = (at, record.store_timestamp());
                    scanned.end = at + record.total_len() as i64;
                    scanned.records += 1;
                }
                scanned.end = stretch.end();
                match stretch.after() {
                    After::More => {}
                    After::NoFile => return Ok(Some(scanned)),
                    After::Bad(reason) => {
                        scanned.reason = Some(reason.clone());
                        return Ok(Some(scanned));
                    }
                }
            }
        })
    }

    /// Dispatches one record of a scan; tells of each queue that has to be flushed, and returns whether none lacks
    /// entries before.
    fn enter(
        &mut self,
        record: &RecordView<'_>,
        is_whole: bool,
        mut dirty: impl FnMut(Arc<Queue>),
    ) -> Result<bool, OpenError> {
        if record.sys_flag() & sysflag::INNER_BATCH != 0 {
            // Only queues of batches hold such records.
            self.shared.add_batch_topic(record.topic());
        }
        for place in dispatch::places(record, &self.config.delay_levels) {
            let queue = self.queue_of(place.topic, place.queue_id);
            let queue = queue.map_err(|error| self.dispatch_error(error))?;
            let dispatched = dispatch::dispatch(&queue, &place, is_whole);
            match dispatched.map_err(|error| self.dispatch_error(error))? {
                Dispatched::Gap => return Ok(false),
                Dispatched::Known if self.sure_until.is_some() => {}
                Dispatched::Known => {
                    // A broker of Apache's may have been killed before it synced them.
                    let mut tail = queue.tail();
                    tail.flushed = place.offset.min(tail.flushed);
                    tail.has_new_files = true;
                    drop(tail);
                    dirty(queue);
                }
                Dispatched::Added => dirty(queue),
            }
        }
        Ok(true)
    }

    /// Whether a power cut may have left a record at a position in part.
    fn may_be_torn(&self, position: i64) -> bool {
        self.left == Left::Unknown && self.sure_until.is_some_and(|sure| position >= sure)
    }

    pub(super) fn dispatch_error(&self, error: AppendError) -> OpenError {
        let source = match error {
            AppendError::Io(error) => error,
            other => io::Error::other(other),
        };
        OpenError::Io {
            what: "rebuild",
            path: self.config.dir.join(layout::CONSUME_QUEUE),
            source,
        }
    }

    fn queue_of(&mut self, topic: &str, id: i32) -> Result<Arc<Queue>, AppendError> {
        if let Some(queue) = self.queues.get(topic).and_then(|ids| ids.get(id)) {
            return Ok(Arc::clone(queue));
        }
        let queue = queue_in(&mut self.queues, &self.shared, topic, id)?;
        // Files of a queue that nobody has noted yet may be there from before a crash.
        queue.flags.put(Flag::Unverified, true);
        Ok(queue)
    }
}

/// Whether a sector of a record's topic and properties never reached the disk. Its lengths and its body are checked
/// otherwise; these bytes are not, but they are never all zero. `at`: where the record is in its file.
fn is_torn(record: &RecordView<'_>, at: i64) -> bool {
    const SECTOR: usize = 512;
    let bytes = record.as_bytes();
    let properties = record.properties().0.len();
    let topic_end = bytes.len().saturating_sub(properties + 2);
    let topic_start = topic_end.saturating_sub(record.topic().len());
    let in_sector = usize::try_from(at.rem_euclid(SECTOR as i64)).unwrap_or(0);
    let mut start = 0;
    let mut end = SECTOR - in_sector;
    while start < bytes.len() {
        let piece = bytes.get(start..end.min(bytes.len())).unwrap_or_default();
        // Between the two stands the length of the properties, which may be zero.
        let has_names =
            (end > topic_start && start < topic_end) || (properties > 0 && end > topic_end + 2);
        if has_names && piece.iter().all(|byte| *byte == 0) {
            return true;
        }
        start = end;
        end += SECTOR;
    }
    false
}
