// SPDX-License-Identifier: Apache-2.0
//! How far the delay levels are: `config/delayOffset.json`. Apache: `DelayOffsetSerializeWrapper`.
//!
//! An offset is written only when the messages delivered before it are durable: a crash repeats
//! messages rather than lose them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aerobee_daemon::persist;
use aerobee_remoting::{body::DataVersion, fastjson};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{error::StartError, table::count_change};

/// Changes of an offset that make one change of the version. Apache: `delayOffsetUpdateVersionStep`.
const CHANGES_PER_VERSION: u64 = 200;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    data_version: DataVersion,
    /// Next offset by level.
    offset_table: BTreeMap<i32, i64>,
}

#[derive(Debug)]
struct State {
    file: File,
    changes: u64,
    /// Where the log ended after the last delivery.
    delivered_until: i64,
    /// What is to be written once the log is durable up to there.
    marked: Option<(i64, File)>,
    written: File,
    tried: Instant,
}

/// The offsets and their file.
#[derive(Debug)]
pub(crate) struct Progress {
    path: PathBuf,
    every: Duration,
    state: Mutex<State>,
}

impl Progress {
    /// # Errors
    /// The file exists but neither it nor its backup can be read.
    pub(crate) fn open(path: &Path, every: Duration) -> Result<Self, StartError> {
        let file: File = persist::load(path, fastjson::from_slice)?.unwrap_or_default();
        Ok(Self {
            path: path.to_owned(),
            every,
            state: Mutex::new(State {
                written: file.clone(),
                file,
                changes: 0,
                delivered_until: 0,
                marked: None,
                tried: Instant::now(),
            }),
        })
    }

    /// Next offset of a level.
    pub(crate) fn get(&self, level: i32) -> i64 {
        let state = self.state.lock();
        state.file.offset_table.get(&level).copied().unwrap_or(0)
    }

    /// Moves a level; the message before the offset ends at `end` in the log.
    pub(crate) fn set(&self, level: i32, offset: i64, end: i64) {
        let mut state = self.state.lock();
        state.delivered_until = state.delivered_until.max(end);
        if state.file.offset_table.insert(level, offset) == Some(offset) {
            return;
        }
        state.changes += 1;
        if state.changes.is_multiple_of(CHANGES_PER_VERSION) {
            count_change(&mut state.file.data_version);
        }
    }

    /// Writes the file if it is time to, as far as the log is durable.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn persist_in_time(&self, flushed: i64) -> Result<(), persist::Error> {
        let file = {
            let mut state = self.state.lock();
            if state.marked.is_none() {
                if state.file == state.written || state.tried.elapsed() < self.every {
                    return Ok(());
                }
                state.marked = Some((state.delivered_until, state.file.clone()));
            }
            match &state.marked {
                Some((end, file)) if *end <= flushed => file.clone(),
                _ => return Ok(()),
            }
        };
        let saved = self.save(file);
        let mut state = self.state.lock();
        state.marked = None;
        state.tried = Instant::now();
        saved
    }

    /// Writes the file as it is now.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn persist_now(&self) -> Result<(), persist::Error> {
        let file = self.state.lock().file.clone();
        self.save(file)
    }

    fn save(&self, file: File) -> Result<(), persist::Error> {
        persist::save(&self.path, &fastjson::to_pretty(&file))?;
        self.state.lock().written = file;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_written_when_what_was_delivered_is_durable() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("delayOffset.json");
        let progress = Progress::open(&path, Duration::ZERO).unwrap();
        progress.set(3, 7, 1000);
        progress.persist_in_time(999).unwrap();
        assert!(!path.exists());
        // What comes meanwhile waits for the next time.
        progress.set(3, 8, 2000);
        progress.persist_in_time(1000).unwrap();
        let read = || Progress::open(&path, Duration::ZERO).unwrap().get(3);
        assert_eq!(read(), 7);
        progress.persist_in_time(2000).unwrap();
        assert_eq!(read(), 8);
    }

    #[test]
    fn javas_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("delayOffset.json");
        let text = r#"{"dataVersion":{"counter":2,"stateVersion":0,"timestamp":5},"offsetTable":{1:12,3:4}}"#;
        std::fs::write(&path, text).unwrap();
        let progress = Progress::open(&path, Duration::ZERO).unwrap();
        assert_eq!(
            (1..=3).map(|level| progress.get(level)).collect::<Vec<_>>(),
            [12, 0, 4]
        );
    }
}
