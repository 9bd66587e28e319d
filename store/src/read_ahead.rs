// SPDX-License-Identifier: Apache-2.0
//! How much of the log is asked for ahead of whoever reads old messages. A reader that goes on where it was gets more
//! each time, up to a few megabytes; one that jumps about gets little, so that memory and disk are not spent on what
//! nobody wants.

use parking_lot::Mutex;

/// Readers that are remembered.
const STREAMS: usize = 64;
/// Bytes for a reader that is new.
const LEAST: usize = 256 << 10;
/// Bytes for one that has gone on for a while.
const MOST: usize = 8 << 20;
/// A reader that comes this far behind what it was given still goes on.
const SLACK: i64 = 1 << 20;

#[derive(Debug, Clone, Copy)]
struct Stream {
    /// Which queue is read.
    queue: usize,
    at: i64,
    window: usize,
}

/// The readers, the latest last.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead(Mutex<Vec<Stream>>);

impl ReadAhead {
    /// Bytes to ask for from a position on, at which a reader of a queue has met what is not in memory.
    pub(crate) fn window(&self, queue: usize, at: i64) -> usize {
        let mut streams = self.0.lock();
        let known = streams.iter().position(|stream| stream.queue == queue);
        let before = known.map(|known| streams.remove(known));
        let window = match before {
            Some(before)
                if (before.at..=before.at + before.window as i64 + SLACK).contains(&at) =>
            {
                (before.window * 2).min(MOST)
            }
            _ => LEAST,
        };
        if streams.len() >= STREAMS {
            streams.remove(0);
        }
        streams.push(Stream { queue, at, window });
        window
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
            let window = ahead.window(1, at);
            at += window as i64;
            windows.push(window >> 10);
        }
        assert_eq!(windows, [256, 512, 1024, 2048, 4096, 8192, 8192, 8192]);
        assert_eq!(ahead.window(2, at), LEAST, "another queue");
        assert_eq!(ahead.window(1, 0), LEAST, "back");
        assert_eq!(ahead.window(1, 100 << 20), LEAST, "far on");
    }

    #[test]
    fn few_readers_are_remembered() {
        let ahead = ReadAhead::default();
        for queue in 0..1000 {
            ahead.window(queue, 0);
        }
        assert_eq!(ahead.0.lock().len(), STREAMS);
    }
}
