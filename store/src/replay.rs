// SPDX-License-Identifier: Apache-2.0
//! Walking the log record by record while the store is open, for those who have to find out at the start what they had
//! stored before a crash.

use aerobee_message::{
    RecordView,
    record::{RecordError, store_timestamp_of},
};

use crate::store::Store;

/// Bytes read at once.
const WINDOW_BYTES: usize = 1 << 20;
/// Bytes of a record up to the end of the store time, with any address.
const HEADER_BYTES: usize = 76;

impl Store {
    /// Calls `each` for every record from a position, which must be that of a record, up to the end of the log. Reads
    /// by plain reads; what cannot be read ends the walk. Returns where it ended.
    pub fn walk(&self, from: i64, mut each: impl FnMut(&RecordView<'_>)) -> i64 {
        let end = self.confirmed();
        let file_bytes = self.inner.config.commit_log_file_bytes.cast_signed();
        let mut at = from.max(self.min_physical());
        let mut wanted = WINDOW_BYTES;
        while at < end {
            let Some(window) = self
                .inner
                .bytes_at(at, wanted)
                .filter(|bytes| !bytes.is_empty())
            else {
                return at;
            };
            let mut rest = &window[..];
            let start = at;
            loop {
                if at >= end {
                    return at;
                }
                match RecordView::parse(rest) {
                    Ok(record) => {
                        each(&record);
                        let len = record.total_len();
                        at += len as i64;
                        rest = &rest[len..];
                        if rest.is_empty() {
                            break;
                        }
                    }
                    Err(RecordError::Blank(_)) => {
                        at += file_bytes - at.rem_euclid(file_bytes);
                        break;
                    }
                    // The window ends within a record.
                    Err(RecordError::Truncated) => break,
                    Err(_) => return at,
                }
            }
            if at > start {
                wanted = WINDOW_BYTES;
            } else if wanted <= self.inner.largest_append {
                wanted *= 2;
            } else {
                return at;
            }
        }
        at
    }

    /// The position of a record such that all records stored at or after a time lie at or behind it: the first one of
    /// the last file that begins earlier.
    #[must_use]
    pub fn position_before(&self, time: i64) -> i64 {
        let file_bytes = self.inner.config.commit_log_file_bytes.cast_signed();
        let min = self.min_physical();
        let mut base = self.confirmed().saturating_sub(1).max(min);
        base -= base.rem_euclid(file_bytes);
        while base > min {
            let stored = self
                .inner
                .bytes_at(base, HEADER_BYTES)
                .and_then(|bytes| store_timestamp_of(&bytes));
            if stored.is_some_and(|stored| stored < time) {
                return base;
            }
            base -= file_bytes;
        }
        min
    }
}
