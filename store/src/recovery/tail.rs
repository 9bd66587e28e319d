// SPDX-License-Identifier: Apache-2.0
//! What lies behind the last good record of the log.

use super::{Durable, Recovery, Scanned};
use crate::{abort_file::Left, error::OpenError, files::Slot, layout, scan::Scanner};

/// So many zeros, or twice the longest record, prove that the rest of the file is as empty, where that is enough.
const ZEROS_ENOUGH: u64 = 64 << 20;

/// How many zeros behind the last record are read before the rest is believed to be zero, too. The search has a bound
/// because pages ahead of the writer may be in memory, and the file system calls them data, up to a whole file of them.
fn zeros_enough(left: Left, durable: Durable, max_record_bytes: usize) -> u64 {
    match (left, durable) {
        // While the machine runs on, everything that was written is there, in order: behind the last record there is at
        // most one that was being written, and then nothing. After an orderly end of ours there is not even that.
        (Left::Killed, _) | (Left::Clean, Durable::Own(_)) => {
            ZEROS_ENOUGH.max(2 * max_record_bytes as u64)
        }
        // After a power cut, or another program, only what is nowhere on the disk is known to be empty.
        (Left::Clean, Durable::Foreign(_)) | (Left::Unknown, _) => u64::MAX,
    }
}

impl Recovery<'_> {
    /// Decides what the bytes behind the last good record are, and makes them zero if they may go.
    pub(super) fn check_tail(
        &mut self,
        scanned: &Scanned,
        durable: Durable,
    ) -> Result<(), OpenError> {
        let end = scanned.end;
        let later: Vec<i64> = self
            .log
            .bases()
            .into_iter()
            .filter(|base| *base >= end)
            .collect();
        let zeros = zeros_enough(self.left, durable, self.config.max_record_bytes);
        let mut data = Vec::new();
        let mut scanner = Scanner::new(self.env, &self.log);
        let own_file = self.log.base_for(end);
        let holders = std::iter::once(end)
            .filter(|_| later.first() != Some(&end))
            .chain(later.iter().copied());
        for position in holders {
            data.extend(scanner.data_behind(position, zeros)?);
        }
        let mut next_record = None;
        for range in &data {
            // The first bytes of a record, those of its length, are mostly zero.
            let from = (range.start - 3).max(end + 1);
            next_record = next_record.or(scanner.next_record(from..range.end)?);
        }
        let reason = scanned
            .reason
            .clone()
            .unwrap_or_else(|| "the file is missing".to_owned());
        if durable.is_damage(end, next_record.is_some()) {
            let (path, at_byte) = scanner.locate(end);
            let resumes = match next_record {
                Some(at) => format!("records can be read again from position {at}"),
                None => "no record follows".to_owned(),
            };
            return Err(OpenError::Damaged {
                path,
                at_byte,
                position: end,
                reason,
                resumes,
            });
        }
        if !data.is_empty() {
            tracing::warn!(
                position = end,
                reason,
                "the log ends in bytes that are no record: they are cut off"
            );
            if next_record.is_some() {
                self.quarantine(end, &data)?;
            }
        }
        self.cut_log(own_file, end, &later, !data.is_empty())
    }

    /// Copies ranges of the log aside, one file each.
    fn quarantine(&self, end: i64, ranges: &[std::ops::Range<i64>]) -> Result<(), OpenError> {
        let dir = self.config.dir.join(layout::QUARANTINE);
        self.env
            .create_dir_all(&dir)
            .map_err(OpenError::io("create", &dir))?;
        let now = self.env.clock().millis();
        for range in ranges {
            let base = self.log.base_for(range.start);
            // Records start with zero bytes, so the range begins a little late.
            let from = if base == self.log.base_for(end) {
                end
            } else {
                base
            };
            let source_path = self.log.path(base);
            let source = self
                .env
                .open(&source_path)
                .map_err(OpenError::io("open", &source_path))?;
            let path = dir.join(format!("{}-{now}", layout::file_name(from)));
            let copy = self
                .env
                .open_or_create(&path)
                .map_err(OpenError::io("create", &path))?;
            let mut buffer = vec![0; 1 << 20];
            let mut at = from;
            while at < range.end {
                let want = usize::try_from(range.end - at)
                    .unwrap_or(usize::MAX)
                    .min(buffer.len());
                let in_file = (at - base).cast_unsigned();
                let read = self
                    .env
                    .read_at(&source, &source_path, &mut buffer[..want], in_file);
                let read = read.map_err(OpenError::io("read", &source_path))?;
                if read == 0 {
                    break;
                }
                let written = self.env.write_all_at(
                    &copy,
                    &path,
                    &buffer[..read],
                    (at - from).cast_unsigned(),
                );
                written.map_err(OpenError::io("write", &path))?;
                at += read as i64;
            }
            self.env
                .sync_all(&copy, &path)
                .map_err(OpenError::io("sync", &path))?;
            tracing::warn!(path = %path.display(), from, to = range.end, "bytes behind the end of the log are kept here");
        }
        self.env.sync_dir(&dir).map_err(OpenError::io("sync", &dir))
    }

    /// Removes files behind the end, the last first, and makes the rest of the last one zero.
    fn cut_log(
        &mut self,
        own_file: i64,
        end: i64,
        later: &[i64],
        has_data: bool,
    ) -> Result<(), OpenError> {
        let gone: Vec<i64> = later
            .iter()
            .copied()
            .filter(|base| *base != own_file)
            .collect();
        for base in gone.iter().rev() {
            let path = self.log.path(*base);
            self.env
                .remove_file(&path)
                .map_err(OpenError::io("remove", &path))?;
        }
        let homes = &self.shared.homes;
        homes
            .sync_dirs_of(self.env, gone.iter().copied())
            .map_err(|(dir, error)| OpenError::io("sync", dir)(error))?;
        gone.iter().for_each(|base| homes.gone(*base));
        if has_data && self.log.bases().contains(&own_file) {
            let path = self.log.path(own_file);
            let file = self.env.open(&path).map_err(OpenError::io("open", &path))?;
            let used = (end - own_file).cast_unsigned();
            let rest = self.config.commit_log_file_bytes - used;
            self.env
                .zero_range(&file, &path, used, rest)
                .map_err(OpenError::io("zero the end of", &path))?;
            self.env
                .sync_all(&file, &path)
                .map_err(OpenError::io("sync", &path))?;
        }
        let file_bytes = self.config.commit_log_file_bytes.cast_signed();
        let published = |base: i64| usize::try_from((end - base).clamp(0, file_bytes)).unwrap_or(0);
        let kept = self
            .log
            .bases()
            .into_iter()
            .filter(|base| !gone.contains(base));
        self.log.replace(
            kept.map(|base| Slot::unmapped(base, published(base)))
                .collect(),
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_end_that_is_known_spares_the_search_of_the_whole_file() {
        let (own, foreign) = (Durable::Own(7), Durable::Foreign(7));
        for (left, durable) in [
            (Left::Killed, own),
            (Left::Killed, foreign),
            (Left::Clean, own),
        ] {
            assert_eq!(zeros_enough(left, durable, 100), ZEROS_ENOUGH);
            assert_eq!(zeros_enough(left, durable, 48 << 20), 96 << 20);
        }
        for (left, durable) in [
            (Left::Clean, foreign),
            (Left::Unknown, own),
            (Left::Unknown, foreign),
        ] {
            assert_eq!(zeros_enough(left, durable, 100), u64::MAX);
        }
    }
}
