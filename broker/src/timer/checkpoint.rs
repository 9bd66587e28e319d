// SPDX-License-Identifier: Apache-2.0
//! How far the wheel is: `config/timercheck`, 4096 bytes of which 56 are used.
//!
//! | field | bytes | at |
//! |---|---|---|
//! | time of delivery that is done up to, ms | 8 | 0 |
//! | position up to which the timer log is durable | 8 | 8 |
//! | offset in the timer topic that is sorted in up to | 8 | 16 |
//! | the same offset of the master | 8 | 24 |
//! | version: state version, timestamp, counter | 24 | 32 |
//!
//! Apache: `TimerCheckpoint`.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use aerobee_remoting::body::DataVersion;

use crate::table::count_change;

const FILE_BYTES: u64 = 4096;
const USED_BYTES: usize = 56;

/// What the file says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) read_time: i64,
    pub(super) log_position: i64,
    pub(super) queue_offset: i64,
}

/// The mark in the content of the file; nothing when it is too short.
pub(super) fn read(bytes: &[u8]) -> Option<Mark> {
    (bytes.len() >= USED_BYTES).then(|| Mark {
        read_time: long(bytes, 0),
        log_position: long(bytes, 8),
        // A master that was a slave has both; the smaller one is safe.
        queue_offset: long(bytes, 16).min(long(bytes, 24)),
    })
}

fn long(bytes: &[u8], at: usize) -> i64 {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

/// The file.
#[derive(Debug)]
pub(super) struct Checkpoint {
    file: File,
    mark: Mark,
    version: DataVersion,
}

impl Checkpoint {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let mut bytes = [0; USED_BYTES];
        if file.metadata()?.len() >= USED_BYTES as u64 {
            file.read_exact_at(&mut bytes, 0)?;
        }
        if file.metadata()?.len() < FILE_BYTES {
            file.set_len(FILE_BYTES)?;
            file.sync_all()?;
        }
        let long = |at| long(&bytes, at);
        Ok(Self {
            file,
            mark: read(&bytes).unwrap_or_default(),
            version: DataVersion {
                state_version: long(32),
                timestamp: long(40),
                counter: long(48),
            },
        })
    }

    pub(super) fn mark(&self) -> Mark {
        self.mark
    }

    /// Writes a mark and makes it durable.
    pub(super) fn write(&mut self, mark: Mark) -> io::Result<()> {
        if mark == self.mark {
            return Ok(());
        }
        if (mark.read_time, mark.queue_offset) != (self.mark.read_time, self.mark.queue_offset) {
            count_change(&mut self.version);
        }
        let mut bytes = [0; USED_BYTES];
        let values = [
            mark.read_time,
            mark.log_position,
            mark.queue_offset,
            mark.queue_offset,
            self.version.state_version,
            self.version.timestamp,
            self.version.counter,
        ];
        for (chunk, value) in bytes.chunks_exact_mut(8).zip(values) {
            chunk.copy_from_slice(&value.to_be_bytes());
        }
        self.file.write_all_at(&bytes, 0)?;
        self.file.sync_data()?;
        self.mark = mark;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("timercheck");
        let mut checkpoint = Checkpoint::open(&path).unwrap();
        assert_eq!(checkpoint.mark(), Mark::default());
        let mark = Mark {
            read_time: 1_700_000_000_000,
            log_position: 520,
            queue_offset: 10,
        };
        checkpoint.write(mark).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 4096);
        assert_eq!(bytes[24..32], 10i64.to_be_bytes());
        let again = Checkpoint::open(&path).unwrap();
        assert_eq!((again.mark(), again.version.counter), (mark, 1));
    }
}
