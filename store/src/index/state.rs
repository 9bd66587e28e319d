// SPDX-License-Identifier: Apache-2.0
//! How far the index is durable. A file of ours beside Apache's, which ignores it: without it the newest index file is
//! made anew after a crash, as Apache does.
//!
//! Two slots, written in turn, at 0 and 512: magic 8, sequence 8, number of the newest file 8, its count 4, end position 8
//! and time 8 of its last record, position up to which the log is indexed 8, CRC-32 of all that 4; big-endian.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use crate::{env::Env, layout};

const MAGIC: &[u8; 8] = b"aeroidx1";
const SLOT_BYTES: usize = 8 + 8 + 8 + 4 + 8 + 8 + 8 + 4;
const SLOTS_AT: [u64; 2] = [0, 512];

/// What is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct State {
    /// The newest file; 0 for none.
    pub(crate) file: u64,
    /// Its count.
    pub(crate) count: u32,
    /// Position of its last record.
    pub(crate) end_physical: i64,
    /// Store time of its last record.
    pub(crate) end_timestamp: i64,
    /// The log is indexed up to here.
    pub(crate) position: i64,
}

impl State {
    fn to_bytes(self, sequence: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SLOT_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&sequence.to_be_bytes());
        bytes.extend_from_slice(&self.file.to_be_bytes());
        bytes.extend_from_slice(&self.count.to_be_bytes());
        bytes.extend_from_slice(&self.end_physical.to_be_bytes());
        bytes.extend_from_slice(&self.end_timestamp.to_be_bytes());
        bytes.extend_from_slice(&self.position.to_be_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        bytes
    }

    fn of_bytes(bytes: &[u8; SLOT_BYTES]) -> Option<(u64, State)> {
        let (content, crc) = bytes.split_at(SLOT_BYTES - 4);
        if crc32fast::hash(content).to_be_bytes() != crc {
            return None;
        }
        if !content.starts_with(MAGIC) {
            return None;
        }
        let long = |at: usize| Some(i64::from_be_bytes(*content.get(at..)?.first_chunk()?));
        let count = u32::from_be_bytes(*content.get(24..)?.first_chunk()?);
        let state = State {
            file: long(16)?.cast_unsigned(),
            count,
            end_physical: long(28)?,
            end_timestamp: long(36)?,
            position: long(44)?,
        };
        Some((long(8)?.cast_unsigned(), state))
    }
}

/// The file, open.
#[derive(Debug)]
pub(crate) struct StateFile {
    file: File,
    path: PathBuf,
    sequence: u64,
    /// What was found in it, or written last.
    pub(crate) state: Option<State>,
}

impl StateFile {
    pub(crate) fn open(env: &Env, dir: &Path) -> io::Result<StateFile> {
        let path = dir.join(layout::INDEX_STATE);
        let is_new = !env.exists(&path);
        let file = env.open_or_create(&path)?;
        if is_new {
            env.sync_dir(dir)?;
        }
        let mut newest: Option<(u64, State)> = None;
        for at in SLOTS_AT {
            let mut bytes = [0; SLOT_BYTES];
            env.read_at(&file, &path, &mut bytes, at)?;
            let found = State::of_bytes(&bytes);
            newest = match (newest, found) {
                (Some(newest), Some(found)) if newest.0 > found.0 => Some(newest),
                (newest, found) => found.or(newest),
            };
        }
        Ok(StateFile {
            file,
            path,
            sequence: newest.map_or(0, |(sequence, _)| sequence),
            state: newest.map(|(_, state)| state),
        })
    }

    /// Makes a state durable.
    pub(crate) fn write(&mut self, env: &Env, state: State) -> io::Result<()> {
        self.sequence += 1;
        let at = SLOTS_AT[usize::from(!self.sequence.is_multiple_of(2))];
        env.write_all_at(&self.file, &self.path, &state.to_bytes(self.sequence), at)?;
        env.sync_data(&self.file, &self.path)?;
        self.state = Some(state);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_slot_counts() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::real();
        let state = |position| State {
            file: 20_261_125_202_401_123,
            count: 2,
            end_physical: 3,
            end_timestamp: 4,
            position,
        };
        let mut file = StateFile::open(&env, dir.path()).unwrap();
        assert_eq!(file.state, None);
        for position in 1..4 {
            file.write(&env, state(position)).unwrap();
            let again = StateFile::open(&env, dir.path()).unwrap();
            assert_eq!(again.state, Some(state(position)));
        }
        let path = dir.path().join(layout::INDEX_STATE);
        let mut bytes = std::fs::read(&path).unwrap();
        // The third one is in the second slot.
        bytes[512 + 20] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let again = StateFile::open(&env, dir.path()).unwrap();
        assert_eq!(again.state, Some(state(2)));
    }
}
