// SPDX-License-Identifier: Apache-2.0
//! Appending what arrived together: records are encoded one by one without any lock, then all are copied to the log
//! under one lock. Threads that append at the same time then trade the lock, and all that it guards, once for many
//! messages.

use std::{ops::ControlFlow, sync::Arc};

use aerobee_message::{
    record::{Place, Record, set_place},
    sysflag,
};

use crate::{
    append::{Appended, NewEntry, put},
    consume_queue::Queue,
    error::AppendError,
    store::Store,
};

/// A record's place before the log knows it.
const NOWHERE: Place = Place {
    queue_offset: 0,
    physical_offset: 0,
    store_timestamp: 0,
};

/// Records that wait to be appended together, in their order. Keep it for the next ones: its buffers stay.
#[derive(Debug, Default)]
pub struct Staged {
    bytes: Vec<u8>,
    items: Vec<Item>,
    queues: Vec<Arc<Queue>>,
    done: Vec<Appended>,
}

#[derive(Debug, Clone, Copy)]
struct Item {
    queue: usize,
    start: usize,
    entry: NewEntry,
}

impl Staged {
    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes of all records.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets the records.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.items.clear();
        self.queues.clear();
        self.done.clear();
    }

    fn record(&self, item: Item) -> &[u8] {
        &self.bytes[item.start..item.start + item.entry.len]
    }

    fn queue_index(&mut self, queue: &Arc<Queue>) -> usize {
        // The last ones are the likeliest.
        match self
            .queues
            .iter()
            .rposition(|known| Arc::ptr_eq(known, queue))
        {
            Some(index) => index,
            None => {
                self.queues.push(Arc::clone(queue));
                self.queues.len() - 1
            }
        }
    }
}

impl Store {
    /// Encodes a record to be appended with others.
    ///
    /// # Errors
    /// Why it cannot be stored; it is not among the others then.
    #[inline]
    pub fn stage(
        &self,
        staged: &mut Staged,
        queue: &Arc<Queue>,
        record: &Record<'_>,
    ) -> Result<(), AppendError> {
        let measured = self.measure(queue, record)?;
        let start = staged.bytes.len();
        staged.bytes.resize(start + measured.len, 0);
        record.encode(&mut staged.bytes[start..], NOWHERE, measured.body_crc);
        let item = Item {
            queue: staged.queue_index(queue),
            start,
            entry: NewEntry {
                len: measured.len,
                is_queued: sysflag::is_queued(record.sys_flag),
                tags_code: record.tags_code,
            },
        };
        staged.items.push(item);
        Ok(())
    }

    /// Appends what was staged, in its order; `done` hears of each record, by its number, where it is or why it is not
    /// stored. Nothing is locked while it is called.
    pub fn append_staged(
        &self,
        staged: &mut Staged,
        mut done: impl FnMut(usize, Result<Appended, AppendError>),
    ) {
        self.append_each(staged, |number, appended| {
            done(number, appended);
            ControlFlow::Continue(())
        });
    }

    /// As [`Store::append_staged`], but what follows one that cannot be stored is not stored either: for a caller that
    /// begins again from there.
    ///
    /// # Errors
    /// Why that one is not stored.
    pub fn append_staged_in_order(
        &self,
        staged: &mut Staged,
        mut done: impl FnMut(usize, Appended),
    ) -> Result<(), AppendError> {
        let mut failed = Ok(());
        self.append_each(staged, |number, appended| match appended {
            Ok(appended) => {
                done(number, appended);
                ControlFlow::Continue(())
            }
            Err(error) => {
                failed = Err(error);
                ControlFlow::Break(())
            }
        });
        failed
    }

    #[inline]
    fn append_each(
        &self,
        staged: &mut Staged,
        mut done: impl FnMut(usize, Result<Appended, AppendError>) -> ControlFlow<()>,
    ) {
        let mut next = 0;
        while next < staged.items.len() {
            let mut way = self.make_way(staged, next);
            if way.is_ok() {
                let lacks_file = self.append_run(staged, next);
                for appended in staged.done.drain(..) {
                    // What is stored is told in any case.
                    let _ = done(next, Ok(appended));
                    next += 1;
                }
                if !lacks_file {
                    continue;
                }
                way = self.inner.prepare_next_file();
            }
            if let Err(error) = way {
                if done(next, Err(error)).is_break() {
                    return;
                }
                next += 1;
            }
        }
    }

    /// Sees to what the record `next` needs; the others have it too, mostly.
    #[inline]
    fn make_way(&self, staged: &Staged, next: usize) -> Result<(), AppendError> {
        self.inner.log.marks.takes_messages()?;
        let item = staged.items[next];
        let count = (staged.items.len() - next) as i64;
        staged.queues[item.queue].ensure_room(count)?;
        for queue in &staged.queues {
            // A queue that gets no room is told when it is its turn.
            let _ = queue.ensure_room(count);
        }
        self.inner.see_to_pages(staged.bytes.len() - item.start);
        Ok(())
    }

    /// Appends records from `next` on, up to one for which there is no room; their places land in `staged.done`.
    /// Whether the log needs its next file.
    #[inline]
    fn append_run(&self, staged: &mut Staged, next: usize) -> bool {
        let log = &self.inner.log;
        let mut lacks_file = false;
        let mut locked = log.lock();
        if log.marks.appendable().is_err() {
            return false;
        }
        let store_timestamp = locked.timestamp;
        for item in staged.items.get(next..).unwrap_or_default() {
            let queue = &staged.queues[item.queue];
            let mut tail = queue.tail();
            if tail.retired || !queue.has_room(tail.next + 1) {
                break;
            }
            if !locked.place(item.entry.len) {
                lacks_file = true;
                break;
            }
            let bytes = staged.record(*item);
            let appender = &mut *locked.appender;
            let appended = put(
                appender,
                queue,
                &mut tail,
                store_timestamp,
                item.entry,
                |out, place| {
                    out.copy_from_slice(bytes);
                    set_place(out, place);
                },
            );
            appender.mark_dirty(queue, &mut tail.dirty_round);
            drop(tail);
            staged.done.push(appended);
        }
        if staged.done.is_empty() {
            return lacks_file;
        }
        let appender = &mut *locked.appender;
        appender.writer.publish();
        let end = appender.end();
        log.marks.set_end(end);
        for queue in &staged.queues {
            queue.publish(&queue.tail());
        }
        let wakes = appender.wakes(end);
        drop(locked);
        self.wake(wakes);
        lacks_file
    }
}
