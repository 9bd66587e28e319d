// SPDX-License-Identifier: Apache-2.0
//! How much of the log is asked for ahead of whoever reads old messages. A reader that goes on where it was gets more
//! each time, up to a few megabytes, and the next ones before it has come to the end of the last, so that it need not
//! wait for the disk; one that jumps about gets little, so that memory and disk are not spent on what nobody wants.

use std::ops::Range;

use parking_lot::Mutex;

use crate::store::Inner;

/// Readers that are remembered.
const STREAMS: usize = 64;
/// Bytes for a reader that is new.
const LEAST: i64 = 256 << 10;
/// Bytes for one that has gone on for a while.
const MOST: i64 = 16 << 20;
/// A reader that comes this far behind what it was given still goes on.
const SLACK: i64 = 1 << 20;

#[derive(Debug, Clone, Copy)]
struct Stream {
    /// Which queue is read.
    queue: usize,
    at: i64,
    /// Everything before this was asked for.
    asked: i64,
    window: i64,
}

/// The readers, the latest last.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead(Mutex<Vec<Stream>>);

impl ReadAhead {
    /// What to ask for when a reader of a queue has met what is not in memory at a position.
    pub(crate) fn met(&self, queue: usize, at: i64) -> Range<i64> {
        let mut streams = self.0.lock();
        let known = streams.iter().position(|stream| stream.queue == queue);
        let before = known.map(|known| streams.remove(known));
        let window = match before {
            Some(before) if (before.at..=before.asked + SLACK).contains(&at) => {
                (before.window * 2).min(MOST)
            }
            _ => LEAST,
        };
        if streams.len() >= STREAMS {
            streams.remove(0);
        }
        let asked = at.saturating_add(window);
        streams.push(Stream {
            queue,
            at,
            asked,
            window,
        });
        at..asked
    }

    /// What to ask for when a reader has come to a position that is in memory: the next bytes, once it has used an eighth
    /// of what was asked for it, so that the disk always has something to do; nothing for one that nothing was asked for.
    pub(crate) fn went_on(&self, queue: usize, at: i64) -> Option<Range<i64>> {
        let mut streams = self.0.lock();
        let stream = streams.iter_mut().find(|stream| stream.queue == queue)?;
        if !(stream.at..stream.asked).contains(&at)
            || stream.asked - at > stream.window - stream.window / 8
        {
            return None;
        }
        stream.window = (stream.window * 2).min(MOST);
        let next = stream.asked..at.saturating_add(stream.window);
        stream.at = at;
        stream.asked = next.end;
        Some(next)
    }
}

impl Inner {
    /// Has bytes of the log brought into memory, as far as there are any.
    pub(crate) fn ask_for(&self, range: Range<i64>) {
        let mut at = range.start;
        while at < range.end.min(self.marks.end()) {
            let Some(file) = self.log.file_of(at) else {
                return;
            };
            let end = range.end.min(file.end());
            let from = usize::try_from(at - file.base()).unwrap_or(usize::MAX);
            file.will_need(from, usize::try_from(end - at).unwrap_or(0));
            at = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_goes_on_gets_more_and_who_jumps_gets_little() {
        let ahead = ReadAhead::default();
        let mut at = 0;
        let mut windows = Vec::new();
        for _ in 0..8 {
            let asked = ahead.met(1, at);
            assert_eq!(asked.start, at);
            windows.push((asked.end - at) >> 10);
            at = asked.end;
        }
        assert_eq!(windows, [256, 512, 1024, 2048, 4096, 8192, 16384, 16384]);
        let least = |queue, at: i64| ahead.met(queue, at) == (at..at + LEAST);
        assert!(least(2, at), "another queue");
        assert!(least(1, 0), "back");
        assert!(least(1, 100 << 20), "far on");
    }

    #[test]
    fn who_goes_on_is_given_the_next_bytes_before_it_needs_them() {
        let ahead = ReadAhead::default();
        assert_eq!(ahead.went_on(1, 0), None, "nobody has waited yet");
        let first = ahead.met(1, 1000);
        assert_eq!(ahead.went_on(1, 1000 + LEAST / 8 - 1), None, "not yet");
        let at = 1000 + LEAST / 8;
        let next = ahead.went_on(1, at).unwrap();
        assert_eq!(next, first.end..at + 2 * LEAST);
        assert_eq!(ahead.went_on(1, at), None, "once only");
        assert_eq!(ahead.went_on(1, 0), None, "back");
        assert_eq!(ahead.went_on(1, next.end), None, "beyond");
        assert_eq!(ahead.went_on(2, 1000 + LEAST), None, "another queue");
        // All of it is asked for, without a gap, and in larger and larger parts.
        let mut asked = next;
        for _ in 0..8 {
            let more = ahead.went_on(1, asked.end - 1).unwrap();
            assert_eq!(more.start, asked.end);
            assert!(more.end - more.start >= asked.end - asked.start);
            asked = more;
        }
        assert_eq!(asked.end - (asked.start - 1), MOST);
    }

    #[test]
    fn few_readers_are_remembered() {
        let ahead = ReadAhead::default();
        for queue in 0..1000 {
            ahead.met(queue, 0);
        }
        assert_eq!(ahead.0.lock().len(), STREAMS);
    }
}
