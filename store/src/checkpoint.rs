// SPDX-License-Identifier: Apache-2.0
//! The checkpoint file: 4,096 bytes, six big-endian longs of Java's at the start, two slots of ours further on
//! (Apache: `store/StoreCheckpoint.java`).
//!
//! | at | what |
//! |---|---|
//! | 0 | store time of the last flushed record |
//! | 8 | store time of the last record whose queue entry is flushed |
//! | 16 | end time of the last full index file; kept as found |
//! | 24 | flushed offset of the master; kept as found |
//! | 32 | confirmed offset |
//! | 40 | position of the last record whose queue entry is flushed |
//! | 512, 1024 | our slots, written in turn |
//!
//! A slot: magic 8, version 4, sequence 8, durable end of the log 8, end of what queues durably know 8, end of the log
//! when a topic was last deleted 8, a copy of the six longs 48, CRC-32 of all that 4. The slot counts only if its copy agrees with the longs: otherwise a broker of
//! Apache's has written the file since. A new slot is made durable before the longs change, so that at any moment one
//! slot agrees with them.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use crate::{env::Env, error::OpenError, layout};

const FILE_BYTES: usize = 4096;
const LONGS: usize = 6;
const SLOTS_AT: [usize; 2] = [512, 1024];
const MAGIC: &[u8; 8] = b"aerobee1";
const VERSION: u32 = 1;
const SLOT_BYTES: usize = 8 + 4 + 8 + 8 + 8 + 8 + 8 * LONGS + 4;

const _: () =
    assert!(SLOTS_AT[0] + SLOT_BYTES <= SLOTS_AT[1] && SLOTS_AT[1] + SLOT_BYTES <= FILE_BYTES);

/// What a checkpoint says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    /// The log is durable up to here.
    pub(crate) flushed: i64,
    /// Queue entries are durable for the log up to here.
    pub(crate) dispatched: i64,
    /// A topic was deleted when the log was this long: queues may know nothing of the records before.
    pub(crate) forgotten: i64,
    pub(crate) last_start: i64,
    pub(crate) last_timestamp: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    sequence: u64,
    flushed: i64,
    dispatched: i64,
    forgotten: i64,
    longs: [i64; LONGS],
}

impl Slot {
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SLOT_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.flushed.to_be_bytes());
        bytes.extend_from_slice(&self.dispatched.to_be_bytes());
        bytes.extend_from_slice(&self.forgotten.to_be_bytes());
        for long in self.longs {
            bytes.extend_from_slice(&long.to_be_bytes());
        }
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        bytes
    }

    fn of_bytes(bytes: &[u8]) -> Option<Slot> {
        let (content, crc) = bytes.get(..SLOT_BYTES)?.split_at(SLOT_BYTES - 4);
        if crc32fast::hash(content).to_be_bytes() != crc || !content.starts_with(MAGIC) {
            return None;
        }
        let content = &content[8..];
        if content.first_chunk() != Some(&VERSION.to_be_bytes()) {
            return None;
        }
        let slot = Slot {
            sequence: long(content, 4).cast_unsigned(),
            flushed: long(content, 12),
            dispatched: long(content, 20),
            forgotten: long(content, 28),
            longs: std::array::from_fn(|index| long(content, 36 + 8 * index)),
        };
        (0 <= slot.dispatched && slot.dispatched <= slot.flushed).then_some(slot)
    }
}

fn long(bytes: &[u8], at: usize) -> i64 {
    bytes
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |long| i64::from_be_bytes(*long))
}

/// Whether longs begin as the new ones and end as those before: the write of them was cut short, and nobody else has
/// written. Taken for a foreign broker's, they would say nothing true of what is durable.
fn is_torn(bytes: &[u8], new: [i64; LONGS], before: [i64; LONGS]) -> bool {
    let new = new.map(i64::to_be_bytes).concat();
    let before = before.map(i64::to_be_bytes).concat();
    (1..bytes.len()).any(|cut| bytes[..cut] == new[..cut] && bytes[cut..] == before[cut..])
}

/// What the bytes of a file say.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    pub(crate) longs: [i64; LONGS],
    /// Ours, if nobody else has written since, and where it stands.
    slot: Option<(Slot, usize)>,
    /// The highest of all our slots; 0 when there is none.
    sequence: u64,
}

impl Content {
    fn of_bytes(bytes: &[u8; FILE_BYTES]) -> Content {
        let longs = std::array::from_fn(|index| long(bytes, 8 * index));
        let slots = SLOTS_AT.map(|at| Slot::of_bytes(&bytes[at..]).map(|slot| (slot, at)));
        let mut found: Vec<(Slot, usize)> = slots.into_iter().flatten().collect();
        found.sort_by_key(|(slot, _)| slot.sequence);
        let newest = found.last().copied();
        let before = match &found[..] {
            [(before, _), _] => before.longs,
            _ => [0; LONGS],
        };
        let is_torn = |(slot, _): &(Slot, usize)| is_torn(&bytes[..8 * LONGS], slot.longs, before);
        Content {
            longs,
            sequence: newest.map_or(0, |(slot, _)| slot.sequence),
            slot: found
                .into_iter()
                .rfind(|(slot, _)| slot.longs == longs)
                .or(newest.filter(is_torn)),
        }
    }

    /// Reads a file as it is; `None` when there is none, its length beside what it says.
    pub(crate) fn read(env: &Env, dir: &Path) -> io::Result<Option<(Content, u64)>> {
        let path = dir.join(layout::CHECKPOINT);
        if !env.exists(&path) {
            return Ok(None);
        }
        let file = env.open(&path)?;
        let len = file.metadata()?.len();
        let mut bytes = [0; FILE_BYTES];
        env.read_at(&file, &path, &mut bytes, 0)?;
        Ok(Some((Content::of_bytes(&bytes), len)))
    }

    /// Whether we ever wrote it.
    pub(crate) fn has_slots(&self) -> bool {
        self.sequence > 0
    }

    /// Where our slot stands that counts.
    pub(crate) fn slot_at(&self) -> Option<usize> {
        self.slot.map(|(_, at)| at)
    }

    /// What we wrote ourselves, if nobody else has written since.
    pub(crate) fn own(&self) -> Option<State> {
        self.slot.map(|(slot, _)| State {
            flushed: slot.flushed,
            dispatched: slot.dispatched,
            forgotten: slot.forgotten,
            last_start: slot.longs[5],
            last_timestamp: slot.longs[0],
        })
    }
}

/// The file, open.
#[derive(Debug)]
pub(crate) struct CheckpointFile {
    file: File,
    path: PathBuf,
    pub(crate) longs: [i64; LONGS],
    own: Option<State>,
    sequence: u64,
}

impl CheckpointFile {
    pub(crate) fn open(env: &Env, dir: &Path) -> Result<CheckpointFile, OpenError> {
        let path = dir.join(layout::CHECKPOINT);
        let file = env
            .open_or_create(&path)
            .map_err(OpenError::io("open", &path))?;
        let len = file
            .metadata()
            .map_err(OpenError::io("examine", &path))?
            .len();
        if len != FILE_BYTES as u64 {
            env.set_len(&file, &path, FILE_BYTES as u64)
                .map_err(OpenError::io("lengthen", &path))?;
        }
        // So that a full disk cannot keep it from being written.
        env.allocate(&file, &path, 0, FILE_BYTES as u64)
            .map_err(OpenError::io("allocate", &path))?;
        let mut bytes = [0; FILE_BYTES];
        env.read_at(&file, &path, &mut bytes, 0)
            .map_err(OpenError::io("read", &path))?;
        let content = Content::of_bytes(&bytes);
        if content.own().is_some() {
            // A process that was killed may have left it in memory only. What is built on it must not outlive it: files
            // of queues without a checkpoint of ours are taken for a foreign broker's.
            env.sync_data(&file, &path)
                .map_err(OpenError::io("sync", &path))?;
        }
        Ok(CheckpointFile {
            file,
            path,
            longs: content.longs,
            own: content.own(),
            sequence: content.sequence,
        })
    }

    /// What we wrote ourselves, if nobody else has written since.
    pub(crate) fn own(&self) -> Option<State> {
        self.own
    }

    /// Makes a state durable.
    pub(crate) fn write(&mut self, env: &Env, state: &State) -> io::Result<()> {
        let [_, _, index_timestamp, master_flushed, _, _] = self.longs;
        let longs = [
            state.last_timestamp,
            state.last_timestamp,
            index_timestamp,
            master_flushed,
            state.flushed,
            state.last_start,
        ];
        self.sequence += 1;
        let slot = Slot {
            sequence: self.sequence,
            flushed: state.flushed,
            dispatched: state.dispatched,
            forgotten: state.forgotten,
            longs,
        };
        let at = SLOTS_AT[usize::from(!self.sequence.is_multiple_of(2))];
        env.write_all_at(&self.file, &self.path, &slot.to_bytes(), at as u64)?;
        env.sync_data(&self.file, &self.path)?;
        let mut bytes = [0; 8 * LONGS];
        for (bytes, long) in bytes.chunks_exact_mut(8).zip(longs) {
            bytes.copy_from_slice(&long.to_be_bytes());
        }
        env.write_all_at(&self.file, &self.path, &bytes, 0)?;
        env.sync_data(&self.file, &self.path)?;
        self.longs = longs;
        self.own = Some(*state);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: State = State {
        flushed: 500,
        dispatched: 400,
        forgotten: 3,
        last_start: 390,
        last_timestamp: 17,
    };

    fn reopened(dir: &Path) -> CheckpointFile {
        CheckpointFile::open(&Env::real(), dir).unwrap()
    }

    #[test]
    fn states_come_back_and_longs_are_javas() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = reopened(dir.path());
        assert_eq!(file.own(), None);
        file.write(&Env::real(), &STATE).unwrap();
        let later = State {
            flushed: 900,
            ..STATE
        };
        file.write(&Env::real(), &later).unwrap();
        assert_eq!(reopened(dir.path()).own(), Some(later));
        let bytes = std::fs::read(dir.path().join("checkpoint")).unwrap();
        assert_eq!(bytes.len(), 4096);
        assert_eq!(
            (long(&bytes, 0), long(&bytes, 8), long(&bytes, 40)),
            (17, 17, 390)
        );
    }

    #[test]
    fn a_foreign_write_makes_the_slots_count_no_more() {
        let dir = tempfile::tempdir().unwrap();
        reopened(dir.path()).write(&Env::real(), &STATE).unwrap();
        let path = dir.path().join("checkpoint");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[7] += 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(reopened(dir.path()).own(), None);
    }

    #[test]
    fn longs_cut_short_are_ours_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        let mut file = reopened(dir.path());
        let mut before = vec![0; FILE_BYTES];
        for number in 1..4 {
            let state = State {
                flushed: 500 + number,
                last_start: 390 + number,
                last_timestamp: 17 + number,
                ..STATE
            };
            file.write(&Env::real(), &state).unwrap();
            let whole = std::fs::read(&path).unwrap();
            for cut in 1..8 * LONGS {
                let mut torn = whole.clone();
                torn[cut..8 * LONGS].copy_from_slice(&before[cut..8 * LONGS]);
                std::fs::write(&path, &torn).unwrap();
                // What equals the longs before has the state before, if there is one.
                let own = reopened(dir.path()).own();
                let is_before = torn[..8 * LONGS] == before[..8 * LONGS];
                assert!(
                    own == Some(state) || (is_before && own.is_some()),
                    "{cut}: {own:?}"
                );
            }
            std::fs::write(&path, &whole).unwrap();
            before = whole;
        }
    }

    #[test]
    fn a_torn_slot_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = reopened(dir.path());
        file.write(&Env::real(), &STATE).unwrap();
        let path = dir.path().join("checkpoint");
        let before = std::fs::read(&path).unwrap();
        file.write(
            &Env::real(),
            &State {
                flushed: 900,
                ..STATE
            },
        )
        .unwrap();
        let after = std::fs::read(&path).unwrap();
        // The crash came after the new slot, before the longs.
        let mut torn = after;
        torn[..48].copy_from_slice(&before[..48]);
        torn[512 + 20] ^= 1;
        std::fs::write(&path, &torn).unwrap();
        assert_eq!(reopened(dir.path()).own(), Some(STATE));
    }
}
