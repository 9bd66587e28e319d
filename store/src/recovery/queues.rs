// SPDX-License-Identifier: Apache-2.0
//! Consume queues as they are found: how far their entries count, and what has to be cut from them.

use std::{path::Path, sync::Arc};

use super::Recovery;
use crate::{
    abort_file::Left,
    consume_queue::{Entry, Found, Queue},
    env::Env,
    error::OpenError,
    files::{self, Descriptors, Files},
    layout::{self, ENTRY_BYTES},
    light,
    queue_files::cut_files,
    queue_table::sorted,
    scan::Scanner,
    summary,
};

impl Recovery<'_> {
    pub(super) fn load_queues(&mut self) -> Result<(), OpenError> {
        for topic in self.listed_topics()? {
            self.load_topic(&topic)?;
        }
        Ok(())
    }

    /// Names of all topics that have directories of queues.
    pub(super) fn listed_topics(&self) -> Result<Vec<String>, OpenError> {
        let mut topics = Vec::new();
        for is_batch in [false, true] {
            let root = self.config.dir.join(layout::entries_of(is_batch));
            let listed = self.env.list(&root).map_err(OpenError::io("list", &root))?;
            let dirs = listed.into_iter().filter(|entry| entry.is_dir);
            // The kind of a topic decides which of two directories is its.
            let named = dirs.map(|entry| entry.name);
            topics.extend(named.filter(|name| self.shared.is_batch_topic(name) == is_batch));
        }
        Ok(topics)
    }

    /// Queues of one topic.
    pub(super) fn load_topic(&mut self, topic: &str) -> Result<(), OpenError> {
        let name: Arc<str> = topic.into();
        for id in self.listed_ids(topic)? {
            let queue = self.load_queue(&name, id)?;
            self.queues
                .entry(Arc::clone(&name))
                .or_default()
                .insert(queue);
        }
        Ok(())
    }

    /// Ids of the queues of a topic that have directories.
    pub(super) fn listed_ids(&self, topic: &str) -> Result<Vec<i32>, OpenError> {
        let kind = layout::entries_of(self.shared.is_batch_topic(topic));
        let dir = self.config.dir.join(kind).join(topic);
        let listed = self.env.list(&dir).map_err(OpenError::io("list", &dir))?;
        let dirs = listed.iter().filter(|entry| entry.is_dir);
        let ids = dirs.filter_map(|entry| {
            let id = entry.name.parse::<i32>().ok()?;
            (id >= 0 && id.to_string() == entry.name).then_some(id)
        });
        Ok(ids.collect())
    }

    /// Examines one queue: its entries count up to the first that is none, or that its last record does not confirm.
    /// After a crash only those that are known to be durable count; the log has the others.
    fn load_queue(&self, topic: &Arc<str>, id: i32) -> Result<Arc<Queue>, OpenError> {
        let is_batch = self.shared.is_batch_topic(topic);
        let kind = layout::entries_of(is_batch);
        let dir = layout::queue_dir(&self.config.dir, kind, topic, id);
        let file_bytes = u64::from(self.config.queue_file_entries) * ENTRY_BYTES as u64;
        let sure_until = self.sure_until.filter(|_| self.left != Left::Clean);
        let bases = match sure_until {
            None => files::list(self.env, &dir, file_bytes)?,
            Some(_) => self.list_to_hole(&dir, file_bytes)?,
        };
        let first = bases.first().map_or(0, |base| base / ENTRY_BYTES as i64);
        let files = Files::new(dir.clone(), file_bytes, Descriptors::Drop, Vec::new());
        let mut found = Found {
            min: first,
            next: first,
            has_dir: true,
            ..Found::default()
        };
        let queue_id = light::record_queue_id(topic, id);
        let mut has_stale_tail = false;
        for base in bases.iter().rev() {
            let entries = read_entries(self.env, &files, *base, is_batch)?;
            let start = base / ENTRY_BYTES as i64;
            let mut valid = entries.valid;
            has_stale_tail |= self.drop_unconfirmed(&mut valid, queue_id, sure_until)?;
            has_stale_tail |= entries.has_more;
            if *base == bases[0]
                && let Some(entry) = valid.first().filter(|entry| !entry.is_blank())
            {
                found.min_physical = entry.physical;
            }
            if !valid.is_empty() || *base == bases[0] {
                found.next = start + valid.len() as i64;
                found.max_physical = valid
                    .last()
                    .filter(|last| !last.is_blank())
                    .map_or(0, |last| last.end());
                break;
            }
            // An empty file behind the end, made ahead, goes too.
            has_stale_tail = true;
        }
        found.is_new = self.left != Left::Clean && found.next == first;
        if found.is_new && self.log.first() == Some(0) && first > 0 {
            // Nothing was ever removed from the log: this queue has lost its first files, not yet durable, to a power
            // cut.
            self.remove_files(&dir, &bases)?;
            (found.min, found.next) = (0, 0);
        } else if has_stale_tail {
            cut_files(self.env, &files, &bases, found.next).map_err(OpenError::io("cut", &dir))?;
        }
        Ok(Queue::new(
            Arc::clone(topic),
            id,
            Arc::clone(&self.shared),
            &found,
        ))
    }

    /// Drops entries from the end that are not known to be durable, or whose record is not there; whether there were
    /// any.
    fn drop_unconfirmed(
        &self,
        valid: &mut Vec<Entry>,
        queue_id: Option<i32>,
        sure_until: Option<i64>,
    ) -> Result<bool, OpenError> {
        let count = valid.len();
        let mut scanner = Scanner::new(self.env, &self.log);
        let log_start = self.log.first().unwrap_or(i64::MAX);
        while let Some(last) = valid.last().filter(|last| !last.is_blank()) {
            let is_unsure = sure_until.is_some_and(|sure| last.physical >= sure);
            // What refers to a file that is gone cannot be checked, and keeps the queue from starting anew.
            let mut is_confirmed = || {
                Ok::<_, OpenError>(
                    last.physical < log_start
                        || (last.end() <= self.log_end()
                            && scanner.starts_record(last.physical, last.size, queue_id)?),
                )
            };
            if !is_unsure && is_confirmed()? {
                break;
            }
            valid.pop();
        }
        Ok(valid.len() < count)
    }

    /// The files of a row that a power cut may have left with holes, up to the first. What follows was not yet durable
    /// and is removed; the log has what it says.
    fn list_to_hole(&self, dir: &Path, file_bytes: u64) -> Result<Vec<i64>, OpenError> {
        let row = files::list_to_hole(self.env, dir, file_bytes)?;
        if !row.behind_hole.is_empty() {
            tracing::warn!(dir = %dir.display(), "a file of a consume queue is missing or empty: the queue is made again from there");
            self.remove_files(dir, &row.behind_hole)?;
        }
        Ok(row.bases)
    }

    fn remove_files(&self, dir: &Path, bases: &[i64]) -> Result<(), OpenError> {
        for base in bases.iter().rev() {
            let path = dir.join(layout::file_name(*base));
            self.env
                .remove_file(&path)
                .map_err(OpenError::io("remove", &path))?;
        }
        self.env.sync_dir(dir).map_err(OpenError::io("sync", dir))
    }

    /// Cuts from all queues what lies behind the end of the log; whether there was anything. Then a summary that knows
    /// it holds no more, and goes first.
    pub(super) fn cut_queues(&self, end: i64) -> Result<bool, OpenError> {
        let mut is_cut = false;
        for queue in sorted(&self.queues) {
            if queue.tail().max_physical <= end {
                continue;
            }
            if !std::mem::replace(&mut is_cut, true) {
                let root = &self.config.dir;
                summary::remove(self.env, root)
                    .map_err(OpenError::io("remove", root.join(layout::SUMMARY)))?;
            }
            let mut next = queue.appended_offset();
            while next > queue.min_offset()
                && queue
                    .entry(next - 1)
                    .is_some_and(|e| !e.is_blank() && e.end() > end)
            {
                next -= 1;
            }
            queue.cut(next).map_err(OpenError::io("cut", queue.dir()))?;
        }
        Ok(is_cut)
    }

    /// Sets the first readable offset of each queue: the first entry whose record is still in the log.
    pub(super) fn correct_mins(&self) {
        let first = self.log.first().unwrap_or(0);
        for queue in sorted(&self.queues) {
            queue.correct_min(first);
        }
    }
}

struct Entries {
    valid: Vec<Entry>,
    /// Something follows that is not zero.
    has_more: bool,
}

/// Reads a consume queue file up to the first entry that is none, or that does not continue the one before. In a queue
/// of batches entries of one record repeat.
fn read_entries(env: &Env, files: &Files, base: i64, is_batch: bool) -> Result<Entries, OpenError> {
    let path = files.path(base);
    let file = env.open(&path).map_err(OpenError::io("open", &path))?;
    let len = usize::try_from(files.file_bytes()).unwrap_or(usize::MAX);
    let mut valid: Vec<Entry> = Vec::new();
    let mut buffer = vec![0; (64 << 10) / ENTRY_BYTES * ENTRY_BYTES];
    let mut at = 0usize;
    let mut ended = false;
    while at < len {
        let position = if ended {
            match env
                .next_data(&file, &path, at as u64)
                .map_err(OpenError::io("read", &path))?
            {
                Some(data) => usize::try_from(data).unwrap_or(len),
                None => break,
            }
        } else {
            at
        };
        let want = buffer.len().min(len.saturating_sub(position));
        let read = env.read_at(&file, &path, &mut buffer[..want], position as u64);
        let read = read.map_err(OpenError::io("read", &path))?;
        if read == 0 {
            break;
        }
        let mut rest = &buffer[..read];
        while !ended && let Some((bytes, after)) = rest.split_first_chunk::<ENTRY_BYTES>() {
            let entry = Entry::of_bytes(bytes);
            let continues = valid.last().is_none_or(|last| {
                last.is_blank() || entry.physical >= last.end() || (is_batch && entry == *last)
            });
            if entry.physical < 0 || entry.size <= 0 || !continues {
                ended = true;
            } else {
                valid.push(entry);
                rest = after;
            }
        }
        if ended && rest.iter().any(|byte| *byte != 0) {
            return Ok(Entries {
                valid,
                has_more: true,
            });
        }
        at = position + read;
    }
    Ok(Entries {
        valid,
        has_more: false,
    })
}
