// SPDX-License-Identifier: Apache-2.0
//! The log from one end to the other, over everything in it that is no record.

use std::ops::Range;

use aerobee_message::RecordView;

use crate::{
    env::Env,
    files::Files,
    scan::{Frame, Scanner},
};

/// What comes next.
pub(super) enum Step<'a> {
    /// A whole record at a position.
    Record(i64, RecordView<'a>),
    /// The rest of a file is blank.
    Blank,
    /// No record, but there are more behind it.
    Damage(Range<i64>, String),
    /// Files are missing.
    Missing(Range<i64>),
    /// Bytes behind the last record that are not zero.
    Tail(Range<i64>, String),
}

/// Walks.
pub(super) struct Walk<'a> {
    files: &'a Files,
    scanner: Scanner<'a>,
    bases: Vec<i64>,
    at: i64,
    ended: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(env: &'a Env, files: &'a Files, from: i64) -> Walk<'a> {
        Walk {
            files,
            scanner: Scanner::new(env, files),
            bases: files.bases(),
            at: from,
            ended: false,
        }
    }

    /// Where the next step begins; where the log ends, after the last one.
    pub(super) fn position(&self) -> i64 {
        self.at
    }

    fn file_bytes(&self) -> i64 {
        self.files.file_bytes().cast_signed()
    }

    /// The next step; none at the end.
    pub(super) fn step<T>(&mut self, see: impl FnOnce(Step<'_>) -> T) -> Option<T> {
        if self.ended {
            return None;
        }
        let at = self.at;
        let file_end = self.files.base_for(at) + self.file_bytes();
        let reason = match self.scanner.frame(at) {
            Ok(Frame::Record(record)) => {
                self.at = at + record.total_len() as i64;
                return Some(see(Step::Record(at, record)));
            }
            Ok(Frame::Blank) => {
                self.at = file_end;
                return Some(see(Step::Blank));
            }
            Ok(Frame::NoFile) => {
                let Some(next) = self.bases.iter().copied().find(|base| *base > at) else {
                    self.ended = true;
                    return None;
                };
                self.at = next;
                return Some(see(Step::Missing(at..next)));
            }
            Ok(Frame::Bad(reason)) => reason,
            // A bad sector is damage as any other.
            Err(error) => error.to_string(),
        };
        if let Some(next) = self.next_record(at, file_end) {
            self.at = next;
            return Some(see(Step::Damage(at..next, reason)));
        }
        let data = self.data_in(at);
        if let Some(later) = self.next_file_in_use(at) {
            self.at = later;
            return Some(see(Step::Damage(at..file_end.min(later), reason)));
        }
        self.ended = true;
        // The first bytes of a record are mostly zero: what is there begins at the end of the last record.
        data.map(|data| see(Step::Tail(at..data.end, reason)))
    }

    /// The next whole record in the same file.
    fn next_record(&mut self, at: i64, file_end: i64) -> Option<i64> {
        self.data_from(at)?;
        self.scanner.next_record(at + 1..file_end).ok().flatten()
    }

    /// Whether the file may hold anything but zeros from a position on.
    fn data_from(&self, at: i64) -> Option<()> {
        self.scanner.may_hold_data(at).then_some(())
    }

    fn data_in(&mut self, at: i64) -> Option<Range<i64>> {
        self.scanner.data_behind(at, u64::MAX).ok().flatten()
    }

    /// The first later file that holds anything; the missing ones before it are met next.
    fn next_file_in_use(&mut self, at: i64) -> Option<i64> {
        let own = self.files.base_for(at);
        let next = own + self.file_bytes();
        let later: Vec<i64> = self.bases.iter().copied().filter(|b| *b > own).collect();
        let used = later.into_iter().find(|base| {
            matches!(
                self.scanner.frame(*base),
                Ok(Frame::Record(_) | Frame::Blank) | Err(_)
            ) || self.data_in(*base).is_some()
        });
        used.map(|_| next)
    }

    /// Whether a whole record of a queue at an offset stands at a position.
    pub(super) fn reads(
        &mut self,
        position: i64,
        is_it: impl FnOnce(&RecordView<'_>) -> bool,
    ) -> bool {
        matches!(self.scanner.frame(position), Ok(Frame::Record(record)) if is_it(&record))
    }
}
