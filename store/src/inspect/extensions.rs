// SPDX-License-Identifier: Apache-2.0
//! Extensions of queue entries, which Apache's broker keeps with `enableConsumeQueueExt`: what its filters know of each
//! message (`ConsumeQueueExt.java`). Nothing else reads them: records have what they say.
//!
//! | unit | bytes |
//! |---|---|
//! | its length 2, tags code 8, store time 8 | 18 |
//! | length of the bit map 2, bit map | 2 + n |
//!
//! A length of −1 ends a file. A queue entry has the position of its unit, less 2^63, in the place of its tags code.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use super::{Directory, InspectError, Kind, Report, directory::length};
use crate::{error::OpenError, layout};

const DIR: &str = "consumequeue_ext";
/// Bytes of a unit without its bit map.
const FIXED_BYTES: usize = 2 + 8 + 8 + 2;
/// Bytes read at once.
const WINDOW_BYTES: usize = 4096 + i16::MAX as usize;
/// Queues whose last bytes are kept.
const WINDOWS_MAX: usize = 256;

/// What is kept beside a queue entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// Where it is in the row of files.
    pub position: i64,
    /// Hash of the tags.
    pub tags_code: i64,
    /// When the message was stored.
    pub store_time: i64,
    /// Which of the known filters want the message.
    pub bit_map: Vec<u8>,
}

impl Extension {
    /// The position that stands in a queue entry in the place of a tags code.
    pub(super) fn position_of(address: i64) -> i64 {
        address.wrapping_sub(i64::MIN)
    }

    /// Nothing when there is none at the start of the bytes.
    fn of_bytes(position: i64, bytes: &[u8]) -> Option<Extension> {
        let (len, rest) = bytes.split_first_chunk()?;
        let (tags_code, rest) = rest.split_first_chunk()?;
        let (store_time, rest) = rest.split_first_chunk()?;
        let (map_len, rest) = rest.split_first_chunk()?;
        let map_len = usize::try_from(i16::from_be_bytes(*map_len)).ok()?;
        let is_whole = usize::try_from(i16::from_be_bytes(*len)) == Ok(FIXED_BYTES + map_len);
        Some(Extension {
            position,
            tags_code: i64::from_be_bytes(*tags_code),
            store_time: i64::from_be_bytes(*store_time),
            bit_map: rest.get(..map_len).filter(|_| is_whole)?.to_vec(),
        })
    }

    fn len(&self) -> usize {
        FIXED_BYTES + self.bit_map.len()
    }
}

/// The files of one queue.
#[derive(Debug)]
struct Row {
    dir: PathBuf,
    file_bytes: i64,
    bases: Vec<i64>,
}

impl Row {
    fn locate(&self, position: i64) -> (PathBuf, u64) {
        let in_file = position.rem_euclid(self.file_bytes);
        let path = self.dir.join(layout::file_name(position - in_file));
        (path, in_file.cast_unsigned())
    }
}

/// Bytes of one queue's extensions, and the files they are from.
struct Window {
    row: Row,
    at: i64,
    bytes: Vec<u8>,
}

/// The extensions beside the queues.
pub(super) struct Extensions<'a> {
    directory: &'a Directory,
    windows: HashMap<(Arc<str>, i32), Window>,
}

impl<'a> Extensions<'a> {
    pub(super) fn new(directory: &'a Directory) -> Extensions<'a> {
        Extensions {
            directory,
            windows: HashMap::new(),
        }
    }

    /// Compares the extension that an entry refers to with what it should say.
    pub(super) fn see(
        &mut self,
        topic: &Arc<str>,
        id: i32,
        address: i64,
        (tags_code, store_time): (i64, i64),
        report: &mut Report,
    ) -> Result<(), OpenError> {
        let position = Extension::position_of(address);
        let key = (Arc::clone(topic), id);
        if !self.windows.contains_key(&key) {
            if self.windows.len() >= WINDOWS_MAX {
                self.windows.clear();
            }
            let window = Window {
                row: self.directory.extension_row(topic, id)?,
                at: 0,
                bytes: Vec::new(),
            };
            self.windows.insert(key.clone(), window);
        }
        let Some(window) = self.windows.get_mut(&key) else {
            return Ok(());
        };
        let found = window.unit(self.directory, position)?;
        let what = match found {
            None => "a queue entry refers to an extension here, and there is none".to_owned(),
            Some(unit) if (unit.tags_code, unit.store_time) != (tags_code, store_time) => format!(
                "the extension has tags code {} and store time {}, its message {tags_code} and {store_time}",
                unit.tags_code, unit.store_time
            ),
            Some(_) => return Ok(()),
        };
        let (path, at) = window.row.locate(position);
        report.add(Kind::Extension, &path, Some(at), what);
        Ok(())
    }

    /// Looks at the files of all queues that have extensions: units follow each other to the end.
    pub(super) fn finish(&self, report: &mut Report) -> Result<(), OpenError> {
        for (topic, id) in self.directory.extended_queues()? {
            let row = self.directory.extension_row(&topic, id)?;
            let end = self.directory.walk_extensions(&row, |_| true)?;
            if row.bases.iter().any(|base| *base > end) {
                let (path, at) = row.locate(end);
                let what = "bytes in the middle of extensions are none".to_owned();
                report.add(Kind::Extension, &path, Some(at), what);
            }
        }
        Ok(())
    }
}

impl Window {
    fn unit(
        &mut self,
        directory: &Directory,
        position: i64,
    ) -> Result<Option<Extension>, OpenError> {
        for is_loaded in [false, true] {
            let from = usize::try_from(position.saturating_sub(self.at)).ok();
            let bytes = from.and_then(|from| self.bytes.get(from..));
            if let Some(unit) = bytes.and_then(|bytes| Extension::of_bytes(position, bytes)) {
                return Ok(Some(unit));
            }
            if !is_loaded {
                self.at = position;
                self.bytes = directory.extension_bytes(&self.row, position)?;
            }
        }
        Ok(None)
    }
}

impl Directory {
    fn extension_row(&self, topic: &str, id: i32) -> Result<Row, OpenError> {
        let dir = layout::queue_dir(&self.root, DIR, topic, id);
        let listed = self.env.list(&dir).map_err(OpenError::io("list", &dir))?;
        let named = listed.iter().filter(|entry| !entry.is_dir);
        let mut bases: Vec<i64> = named
            .filter_map(|entry| layout::base_of(&entry.name))
            .collect();
        bases.sort_unstable();
        let file_bytes = match bases.first() {
            Some(base) => length(&self.env, &dir.join(layout::file_name(*base)))?,
            None => 1,
        };
        Ok(Row {
            dir,
            file_bytes: file_bytes.max(1).cast_signed(),
            bases,
        })
    }

    fn extension_bytes(&self, row: &Row, position: i64) -> Result<Vec<u8>, OpenError> {
        let (path, at) = row.locate(position);
        if position < 0 || !row.bases.contains(&(position - at.cast_signed())) {
            return Ok(Vec::new());
        }
        let file = self.env.open(&path).map_err(OpenError::io("open", &path))?;
        let rest = usize::try_from(row.file_bytes.cast_unsigned() - at).unwrap_or(usize::MAX);
        let mut bytes = vec![0; rest.min(WINDOW_BYTES)];
        let read = self.env.read_at(&file, &path, &mut bytes, at);
        bytes.truncate(read.map_err(OpenError::io("read", &path))?);
        Ok(bytes)
    }

    /// Shows units from the first on, until `each` returns `false`; where they end.
    fn walk_extensions(
        &self,
        row: &Row,
        mut each: impl FnMut(&Extension) -> bool,
    ) -> Result<i64, OpenError> {
        let mut at = row.bases.first().copied().unwrap_or(0);
        for base in &row.bases {
            if *base > at {
                break;
            }
            'file: loop {
                let bytes = self.extension_bytes(row, at)?;
                let mut rest = &bytes[..];
                let start = at;
                while let Some(unit) = Extension::of_bytes(at, rest) {
                    if !each(&unit) {
                        return Ok(i64::MAX);
                    }
                    at += unit.len() as i64;
                    rest = rest.get(unit.len()..).unwrap_or_default();
                }
                let is_last = rest.starts_with(&[0xFF, 0xFF]) || at == base + row.file_bytes;
                if is_last {
                    at = base + row.file_bytes;
                    break 'file;
                }
                if at == start {
                    return Ok(at);
                }
            }
        }
        Ok(at)
    }

    fn extended_queues(&self) -> Result<Vec<(Arc<str>, i32)>, OpenError> {
        self.queues_below(DIR)
    }

    /// Shows the extensions of a queue, until `each` returns `false`.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn read_extensions(
        &self,
        topic: &str,
        id: i32,
        mut each: impl FnMut(&Extension) -> bool,
    ) -> Result<(), InspectError> {
        if layout::is_directory_name(topic) {
            let row = self.extension_row(topic, id)?;
            self.walk_extensions(&row, &mut each)?;
        }
        Ok(())
    }

    /// Ids of the queues of a topic that have extensions.
    ///
    /// # Errors
    /// They cannot be listed.
    pub fn extended_ids(&self, topic: &str) -> Result<Vec<i32>, InspectError> {
        let queues = self.extended_queues()?;
        let own = queues.into_iter().filter(|(name, _)| **name == *topic);
        Ok(own.map(|(_, id)| id).collect())
    }
}
