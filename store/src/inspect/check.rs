// SPDX-License-Identifier: Apache-2.0
//! The check of a whole directory: one pass over the log with queues and index beside it.

use std::{collections::HashSet, ops::Range, path::PathBuf};

use aerobee_message::RecordView;

use super::{
    BRIDGE_TOPIC, Directory, InspectError, Kind, Progress, Report,
    batches::Batches,
    index::IndexCheck,
    log::{Step, Walk},
    queues::{Lateness, Queues},
    verdict,
};
use crate::{
    env::Env,
    error::OpenError,
    files::Files,
    layout,
    scan::{Frame, Scanner},
    summary,
};

/// Bytes of the log between two calls about progress.
const PROGRESS_BYTES: i64 = 8 << 20;

/// What the caller knows beside the store's own files.
#[derive(Debug, Default)]
pub struct Known {
    /// The topics of the broker, when its table of topics can be read: messages of others are those of topics that
    /// were deleted.
    pub topics: Option<HashSet<String>>,
}

/// What the walk over the log told, apart from defects.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) end: i64,
    /// The last record: where it starts, when it was stored.
    pub(super) last: Option<(i64, i64)>,
    /// The first place that is no record, and whether records follow it.
    pub(super) bad: Vec<(i64, bool)>,
    /// Bytes behind the end.
    pub(super) tail: Option<Range<i64>>,
}

impl Directory {
    /// Verifies all records, queue entries and index entries against one another, and the checkpoint and the summary
    /// against them. `known` helps to tell messages of deleted topics from lost queues. Changes nothing.
    ///
    /// # Errors
    /// A directory cannot be listed. Bytes that cannot be read are defects.
    pub fn check(
        &self,
        known: &Known,
        mut progress: impl FnMut(Progress),
    ) -> Result<Report, InspectError> {
        let mut report = Report::default();
        self.report_log_files(&mut report);
        let mut queues = Queues::open(self, known, &mut report)?;
        let mut batches = Batches::open(self)?;
        let mut index = IndexCheck::open(self, &mut report)?;
        let lateness = self.lateness()?;
        let mut found = Found::default();
        let first = self.log_first();
        let mut walk = Walk::new(&self.env, &self.log, first);
        let total = self.bytes_to_read();
        let mut next_progress = first;
        loop {
            if walk.position() >= next_progress {
                next_progress = walk.position() + PROGRESS_BYTES;
                progress(Progress {
                    part: "log, queues and index",
                    done: report.bytes,
                    total,
                });
            }
            let stepped = walk.step(|step| {
                self.see(
                    step,
                    &mut found,
                    (&mut queues, &mut batches),
                    &mut index,
                    lateness,
                    &mut report,
                )
            });
            match stepped {
                Some(seen) => seen?,
                None => break,
            }
            report.bytes = (walk.position() - first).cast_unsigned();
        }
        if found.tail.is_none() {
            found.end = walk.position();
        }
        report.log_end = found.end;
        progress(Progress {
            part: "ends of the queues",
            done: report.bytes,
            total: report.bytes,
        });
        queues.finish(found.end, &mut report)?;
        batches.finish(found.end, &mut report)?;
        queues.late += batches.late;
        queues.deleted += batches.deleted;
        index.finish(found.end, self.is_clean(), &mut report)?;
        self.check_checkpoint(&found, &mut report)?;
        self.check_summary(&mut report)?;
        if let Some(error) = &self.rocksdb {
            report.add(Kind::RocksDb, &self.root, None, error.to_string());
        }
        self.note(&queues, &found, &mut report);
        verdict::add(self, &found, &mut report)?;
        Ok(report)
    }

    /// Bytes of the log up to where the checkpoint knows its end; the last file is as long as the others from its start.
    fn bytes_to_read(&self) -> u64 {
        let own = self.checkpoint.as_ref().and_then(|content| content.own());
        let known = own.map(|own| own.flushed - self.log_first());
        let known = known.and_then(|known| u64::try_from(known).ok());
        known.filter(|known| *known > 0).unwrap_or(self.log_bytes)
    }

    fn see(
        &self,
        step: Step<'_>,
        found: &mut Found,
        (queues, batches): (&mut Queues<'_>, &mut Batches<'_>),
        index: &mut IndexCheck<'_>,
        lateness: Lateness,
        report: &mut Report,
    ) -> Result<(), OpenError> {
        match step {
            Step::Record(at, record) => {
                self.see_record(at, &record, found, report);
                if record.topic() == BRIDGE_TOPIC {
                    queues.bridged += 1;
                } else if batches.has(record.topic()) {
                    batches.see(&record, lateness, report)?;
                } else {
                    queues.see(&record, lateness, report)?;
                }
                index.see(&record, report)?;
            }
            Step::Blank => {}
            Step::Damage(range, reason) => {
                found.bad.push((range.start, true));
                queues.damaged(range.clone());
                index.damaged(range.clone());
                let (path, at) = self.locate(range.start);
                let what = format!(
                    "no record at log position {}: {reason}; records can be read again from position {}",
                    range.start, range.end
                );
                report.add(Kind::DamagedLog, &path, Some(at), what);
            }
            Step::Missing(range) => {
                // Its name is reported with the other names.
                found.bad.push((range.start, true));
                index.damaged(range.clone());
                queues.damaged(range);
            }
            Step::Tail(range, reason) => {
                found.bad.push((range.start, false));
                found.end = range.start;
                let (path, at) = self.locate(range.start);
                let what = format!(
                    "the log ends at position {} in {} bytes that are no record: {reason}",
                    range.start,
                    range.end - range.start
                );
                report.add(Kind::TornTail, &path, Some(at), what);
                found.tail = Some(range);
            }
        }
        Ok(())
    }

    fn see_record(&self, at: i64, record: &RecordView<'_>, found: &mut Found, report: &mut Report) {
        let time = record.store_timestamp();
        let (first, last) = report.times.get_or_insert((time, time));
        *first = (*first).min(time);
        *last = (*last).max(time);
        report.records += 1;
        found.last = Some((at, time));
    }

    /// Path and byte of a position of the log.
    pub(super) fn locate(&self, position: i64) -> (PathBuf, u64) {
        let base = self.log.base_for(position);
        (self.log.path(base), (position - base).cast_unsigned())
    }

    /// From where on messages may still lack their entries.
    fn lateness(&self) -> Result<Lateness, OpenError> {
        let own = self.checkpoint.as_ref().and_then(|content| content.own());
        let forgotten = own.map_or(0, |own| own.forgotten);
        let entries_due = match own {
            _ if self.is_clean() => i64::MAX,
            Some(own) => own.dispatched,
            None => verdict::foreign_start(self)?,
        };
        Ok(Lateness {
            forgotten,
            entries_due,
        })
    }

    fn check_checkpoint(&self, found: &Found, report: &mut Report) -> Result<(), OpenError> {
        let path = self.root.join(layout::CHECKPOINT);
        let Some(content) = &self.checkpoint else {
            report.note("there is no checkpoint: all of the log is read at the start");
            return Ok(());
        };
        if self.checkpoint_len != 4096 {
            let what = format!("{} bytes, not 4096", self.checkpoint_len);
            report.add(Kind::Checkpoint, &path, None, what);
        }
        let end = found.end;
        if let (Some(own), Some(at)) = (content.own(), content.slot_at()) {
            let at = Some(at as u64);
            if own.flushed > end && self.held_by.is_none() {
                let what = format!(
                    "the log was durable up to position {}, its records end at {end}",
                    own.flushed
                );
                report.add(Kind::Checkpoint, &path, at, what);
            } else if self.is_clean() && own.flushed < end {
                let what = format!(
                    "it says that the log ends at position {}, but it ends at {end} and was closed in order",
                    own.flushed
                );
                report.add(Kind::Checkpoint, &path, at, what);
            } else if own.dispatched > self.log_first()
                && own.dispatched <= end
                && !self.ends_at(own.last_start, own.dispatched)?
            {
                let what = format!(
                    "it names a record from position {} to {}: there is none",
                    own.last_start, own.dispatched
                );
                report.add(Kind::Checkpoint, &path, at, what);
            }
            return Ok(());
        }
        let [physical_time, logical_time, .., dispatched] = content.longs;
        if dispatched > end {
            let what = format!(
                "queues are said to be flushed for the message at position {dispatched}, the log ends at {end}"
            );
            report.add(Kind::Checkpoint, &path, Some(40), what);
        }
        for (at, time) in [(0, physical_time), (8, logical_time)] {
            if let Some((_, last)) = found.last
                && time > last
                && self.held_by.is_none()
            {
                let what = format!(
                    "it names the time {time}, the last message of the log was stored at {last}"
                );
                report.add(Kind::Checkpoint, &path, Some(at), what);
            }
        }
        Ok(())
    }

    /// Whether a record stands at a position that ends at another one.
    fn ends_at(&self, position: i64, end: i64) -> Result<bool, OpenError> {
        let mut walk = Walk::new(&self.env, &self.log, position);
        Ok(walk.reads(position, |record| {
            position + record.total_len() as i64 == end
        }))
    }

    fn check_summary(&self, report: &mut Report) -> Result<(), OpenError> {
        let path = self.root.join(layout::SUMMARY);
        if !self.env.exists(&path)
            || self.held_by.is_some()
            || self.writer != super::Writer::Aerobee
        {
            return Ok(());
        }
        let read = summary::read(&self.env, &self.root).map_err(OpenError::io("read", &path))?;
        let Some(summary) = read else {
            report.add(Kind::Summary, &path, None, "its CRC does not match");
            return Ok(());
        };
        if !self.is_clean() {
            return Ok(());
        }
        let mut wrong = Vec::new();
        for (topic, queues) in &summary.topics {
            for (id, found) in queues {
                let known = report
                    .queues
                    .binary_search_by(|range| (&*range.topic, range.id).cmp(&(&**topic, *id)));
                let next = known.ok().map(|at| report.queues[at].next);
                if next.is_some_and(|next| next != found.next) {
                    wrong.push(format!(
                        "it says that queue {id} of topic {topic} ends at offset {}, but it ends at {}",
                        found.next,
                        next.unwrap_or_default()
                    ));
                }
            }
        }
        for what in wrong {
            report.add(Kind::Summary, &path, None, what);
        }
        Ok(())
    }

    fn note(&self, queues: &Queues<'_>, found: &Found, report: &mut Report) {
        if let Some(pid) = self.held_by {
            report.note(format!(
                "process {pid} has the directory open: what it writes during the check may look unfinished"
            ));
        }
        if queues.late > 0 {
            report.note(format!(
                "{} messages at the end of the log are not in their queues yet: starting adds them",
                queues.late
            ));
        }
        if queues.deleted > 0 {
            report.note(format!(
                "{} messages belong to topics that were deleted, or deleted and made again",
                queues.deleted
            ));
        }
        if queues.holes > 0 {
            report.note(format!(
                "{} queue offsets have no message: it was lost before, and readers skip them",
                queues.holes
            ));
        }
        if queues.extended > 0 {
            report.note(format!(
                "{} queue entries refer to extensions (consumequeue_ext)",
                queues.extended
            ));
        }
        if queues.bridged > 0 {
            report.note(format!(
                "{} records stand for parts of the log that an earlier repair moved aside",
                queues.bridged
            ));
        }
        if found.last.is_none() {
            report.note("the log has no message");
        }
    }
}

/// Whether a record with the given place in a queue stands at a position.
pub(super) fn names(
    env: &Env,
    log: &Files,
    position: i64,
    is_it: impl FnOnce(&RecordView<'_>) -> bool,
) -> bool {
    matches!(
        Scanner::of_single_frames(env, log).frame(position),
        Ok(Frame::Record(record)) if is_it(&record)
    )
}
