// SPDX-License-Identifier: Apache-2.0
//! From the index files as they were left to ones that agree with the log. Apache removes after a crash every file that
//! it does not know to be durable; so does this, but for one that our own state vouches for up to an entry.

use std::{io, path::Path, sync::Arc};

use super::{
    file::IndexFile,
    format,
    state::{State, StateFile},
};
use crate::{layout, store::Inner};

/// What was found.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) files: Vec<Arc<IndexFile>>,
    pub(super) state: StateFile,
    /// The log is indexed up to here.
    pub(super) position: i64,
    /// Position of a record that is indexed although it lies at or behind that.
    pub(super) skip: Option<i64>,
}

impl Inner {
    pub(super) fn load_index(&self) -> io::Result<Loaded> {
        let state_file = StateFile::open(&self.env, &self.config.dir)?;
        let state = state_file.state;
        let files = self.load_index_files(state)?;
        let min = self.marks.min();
        let last = files.last().map(|file| (file.number, file.header()));
        let (mut position, mut skip) = (min, None);
        if let Some((_, header)) = last {
            position = header.end_physical;
            skip = self.index.clean.then_some(position);
        }
        // Ours knows of the records without keys as well; if nobody else has written since.
        let vouched = |state: &State| {
            let (number, count) = last.map_or((0, 0), |(number, header)| (number, header.count));
            state.file == number && state.count == count && state.position <= self.index.opened_at
        };
        if let Some(state) = state.filter(vouched) {
            position = state.position.max(position);
            // A record at that position has perhaps some of its keys only.
            skip = None;
        }
        if position < self.index.opened_at {
            let behind = self.index.opened_at - position.max(min);
            tracing::info!(
                from = position,
                bytes = behind,
                "the index is brought up to the end of the log"
            );
        }
        Ok(Loaded {
            files,
            state: state_file,
            position: position.max(min),
            skip,
        })
    }

    fn load_index_files(&self, state: Option<State>) -> io::Result<Vec<Arc<IndexFile>>> {
        let dir = self.config.dir.join(layout::INDEX);
        let mut files = Vec::new();
        let mut is_broken = false;
        for entry in self.env.list(&dir)? {
            let path = dir.join(&entry.name);
            let Some(number) = format::number_of(&entry.name).filter(|_| !entry.is_dir) else {
                tracing::warn!(path = %path.display(), "not an index file; it is left alone");
                continue;
            };
            let Some(file) = self.open_index_file(number, &path)? else {
                continue;
            };
            // Behind a file that has lost entries others may not stay: keys are entered in the order of the log.
            if !is_broken && self.is_usable(&file, state)? {
                files.push(Arc::new(file));
                continue;
            }
            is_broken = true;
            tracing::warn!(path = %path.display(), "an index file may lack what a crash has lost: it is made anew");
            self.env.remove_file(&path)?;
        }
        Ok(files)
    }

    fn open_index_file(&self, number: u64, path: &Path) -> io::Result<Option<IndexFile>> {
        let geometry = self.config.index.geometry;
        let file = self.env.open(path)?;
        let len = file.metadata()?.len();
        if len == 0 {
            self.env.remove_file(path)?;
            return Ok(None);
        }
        if len != geometry.file_bytes() {
            tracing::warn!(
                path = %path.display(),
                len,
                expected = geometry.file_bytes(),
                "an index file of another size is left alone and not searched: set maxHashSlotNum and maxIndexNum as they were when it was written, or remove it"
            );
            return Ok(None);
        }
        IndexFile::open(&self.env, file, number, path.to_owned(), geometry).map(Some)
    }

    /// Whether what a file says can be relied on, after cutting off what cannot.
    fn is_usable(&self, file: &IndexFile, state: Option<State>) -> io::Result<bool> {
        let header = file.header();
        let [_, _, durable_until, ..] = self.checkpoint.lock().longs;
        if header.count > file.geometry.entries || header.count <= 1 {
            return Ok(false);
        }
        // Times tell only where Apache wrote last, which keeps nothing better: files that end within one millisecond are
        // not told apart by them, and a clock that was set back makes new files look old.
        let is_known = self.index.clean
            || (!self.index.is_ours && durable_until > 0 && header.end_timestamp <= durable_until)
            || state.is_some_and(|state| state.file > file.number && file.is_full());
        if !is_known {
            let Some(state) = state.filter(|state| state.file == file.number) else {
                return Ok(false);
            };
            let end = (state.end_physical, state.end_timestamp);
            file.cut(&self.env, state.count, Some(end))?;
        }
        if file.header().end_physical >= self.index.opened_at {
            // The log has lost its end.
            let count = file.entries_before(&self.env, self.index.opened_at)?;
            file.cut(&self.env, count, None)?;
        }
        Ok(file.header().count > 1)
    }
}
