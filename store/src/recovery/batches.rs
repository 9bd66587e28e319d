// SPDX-License-Identifier: Apache-2.0
//! Queues of batches as they are found: a broker of Apache's has only its units written, this one also entries.

use std::sync::Arc;

use super::Recovery;
use crate::{
    abort_file::Left,
    batch_queue::{Unit, UnitFiles},
    consume_queue::Queue,
    error::OpenError,
    layout,
    queue_table::{Ids, queue_in},
    scan::Scanner,
};

impl Recovery<'_> {
    /// Takes the topics for such with queues of batches that have any.
    pub(super) fn find_batch_topics(&self) -> Result<(), OpenError> {
        for kind in [layout::BATCH_QUEUE, layout::BATCH_ENTRIES] {
            for topic in self.dirs_in(kind)? {
                self.shared.add_batch_topic(&topic);
            }
        }
        Ok(())
    }

    fn dirs_in(&self, name: &str) -> Result<Vec<String>, OpenError> {
        let dir = self.config.dir.join(name);
        let listed = self.env.list(&dir).map_err(OpenError::io("list", &dir))?;
        let dirs = listed.into_iter().filter(|entry| entry.is_dir);
        Ok(dirs.map(|entry| entry.name).collect())
    }

    /// Makes the entries of queues of batches from their units, where a broker of Apache's has written last or there are
    /// none.
    pub(super) fn import_batches(
        &mut self,
        is_foreign: bool,
    ) -> Result<Vec<Arc<Queue>>, OpenError> {
        let mut imported = Vec::new();
        let entries = self.config.dir.join(layout::BATCH_ENTRIES);
        if is_foreign && self.env.exists(&entries) {
            // What is there is from before that broker.
            self.env
                .remove_dir_all(&entries)
                .map_err(OpenError::io("remove", &entries))?;
            let shared = Arc::clone(&self.shared);
            self.queues.retain(|topic, _| !shared.is_batch_topic(topic));
        }
        for topic in self.dirs_in(layout::BATCH_QUEUE)? {
            if self.queues.contains_key(&*topic) {
                continue;
            }
            let dir = self.config.dir.join(layout::BATCH_QUEUE).join(&topic);
            for entry in self.env.list(&dir).map_err(OpenError::io("list", &dir))? {
                let id = entry.name.parse::<i32>().ok();
                let id = id.filter(|id| *id >= 0 && entry.is_dir && id.to_string() == entry.name);
                if let Some(id) = id {
                    imported.push(self.import(&topic, id)?);
                }
            }
        }
        Ok(imported)
    }

    fn import(&mut self, topic: &str, id: i32) -> Result<Arc<Queue>, OpenError> {
        let dir = layout::queue_dir(&self.config.dir, layout::BATCH_QUEUE, topic, id);
        let files = UnitFiles::open(self.env, dir.clone(), self.shared.unit_file_bytes)?;
        let log_start = self.log.first().unwrap_or(i64::MAX);
        let log_end = self.log_end();
        let mut scanner = Scanner::new(self.env, &self.log);
        // What refers to a file that is gone cannot be checked, and keeps the queue from starting anew.
        let (end, last) = files.end_of(|Unit { entry, .. }| {
            Ok(entry.physical < log_start
                || (entry.end() <= log_end
                    && scanner.starts_record(entry.physical, entry.size, Some(id))?))
        })?;
        let queue = queue_in(&mut self.queues, &self.shared, topic, id);
        let queue = queue.map_err(|error| self.dispatch_error(error))?;
        let failed = |error| self.dispatch_error(error);
        for base in files.bases().iter().filter(|base| **base < end) {
            let read = files.read(*base, |at, unit| {
                let is_gone = unit.entry.physical < log_start;
                if base + at.cast_signed() >= end || is_gone {
                    return Ok(());
                }
                let next = queue.appended_offset();
                let filled = match next {
                    0 if unit.first > 0 => queue.start_at(unit.first),
                    _ => queue.fill_until(unit.first),
                };
                filled.map_err(std::io::Error::other)?;
                for _ in 0..unit.messages {
                    queue
                        .put_recovered(unit.entry)
                        .map_err(std::io::Error::other)?;
                }
                Ok(())
            });
            read.map_err(OpenError::io("read", &dir))?;
        }
        if let Some(last) = last.filter(|last| queue.appended_offset() < last.next()) {
            // All of its messages are gone; its offsets go on.
            queue.start_at(last.next()).map_err(failed)?;
        }
        Ok(queue)
    }

    /// Brings the units of all queues of batches in line with their entries; those that lack some.
    pub(super) fn recover_units(&self) -> Result<Vec<Arc<Queue>>, OpenError> {
        let sure_until = self.sure_until.filter(|_| self.left != Left::Clean);
        let mut lacking = Vec::new();
        for queue in self.queues.values().flat_map(Ids::values) {
            if queue.is_batch() && queue.recover_units(sure_until)? {
                lacking.push(Arc::clone(queue));
            }
        }
        Ok(lacking)
    }
}
