// SPDX-License-Identifier: Apache-2.0
//! Making durable how far the wheel is: the timer log, then the wheel, then the checkpoint that
//! claims them, and that claims a delivery only when the delivered message is durable itself.

use std::{io, time::Instant};

use crate::timer::{CLEAN_EVERY, Worker, checkpoint::Mark};

/// A mark that waits until the commit log is durable up to a position.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    until: i64,
    mark: Mark,
}

impl Worker {
    pub(super) fn flush_in_time(&mut self) {
        if self.cleaned_at.elapsed() >= CLEAN_EVERY {
            self.cleaned_at = Instant::now();
            if let Err(error) = self.log.clean(self.store.min_physical()) {
                tracing::warn!(%error, "old files of the timer log cannot be removed");
            }
        }
        if self.flushed_at.elapsed() < self.settings.flush_every {
            return;
        }
        self.flushed_at = Instant::now();
        self.count_if_moved();
        if let Err(error) = self.flush() {
            tracing::error!(%error, "timer messages cannot be made durable in their wheel; trying again");
        }
        if let Err(error) = self.metrics.persist() {
            tracing::warn!(%error, "counts of timer messages cannot be written");
        }
    }

    /// At the end: what waits for the commit log is claimed as well, as the log is about to be
    /// made durable.
    pub(super) fn flush_now(&mut self) {
        // A unit on disk says that all before it is done; with late messages left, it is not.
        if self.batch.is_none() {
            self.keep_rest();
        } else {
            tracing::info!("timer messages are left to be sorted in at the next start");
        }
        let flushed = self.flush_log_and_wheel().and_then(|()| {
            let mark = self.mark();
            self.checkpoint.write(mark)
        });
        if let Err(error) = flushed {
            tracing::error!(%error, "how far the timer wheel is could not be written: messages delivered lately will be delivered again");
        }
        if let Err(error) = self.metrics.persist() {
            tracing::warn!(%error, "counts of timer messages cannot be written");
        }
    }

    fn mark(&self) -> Mark {
        Mark {
            read_time: self.read_time,
            log_position: self.log.flushed(),
            queue_offset: self.queue_offset,
        }
    }

    fn flush_log_and_wheel(&mut self) -> io::Result<()> {
        if self.batch.is_none() {
            self.log.flush()?;
            self.wheel.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flush_log_and_wheel()?;
        if self.pending.is_none() {
            let mark = self.mark();
            let old = self.checkpoint.mark();
            // While nothing happens only the time goes on, which need not be kept.
            let is_same =
                (mark.queue_offset, mark.log_position) == (old.queue_offset, old.log_position);
            if is_same && old.read_time >= self.done_time {
                return Ok(());
            }
            self.pending = Some(Pending {
                until: self.delivered_until,
                mark,
            });
        }
        if let Some(pending) = self.pending
            && pending.until <= self.store.flushed()
        {
            self.checkpoint.write(pending.mark)?;
            self.pending = None;
        }
        Ok(())
    }
}
