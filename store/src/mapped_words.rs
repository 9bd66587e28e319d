// SPDX-License-Identifier: Apache-2.0
//! A mapped file that one thread writes to here and there: as words of four bytes, each read and written as a whole.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use memmap2::MmapRaw;

use crate::env::Env;

/// Bytes of a word.
const WORD_BYTES: usize = 4;

/// A file mapped over its whole length. The words are big-endian in the file.
#[derive(Debug)]
pub(crate) struct MappedWords {
    map: MmapRaw,
    path: PathBuf,
}

impl MappedWords {
    /// Maps a file that has its full length.
    pub(crate) fn map(env: &Env, file: &File, path: &Path) -> io::Result<MappedWords> {
        env.before_map(path)?;
        Ok(MappedWords {
            map: MmapRaw::map_raw(file)?,
            path: path.to_owned(),
        })
    }

    #[inline]
    fn word(&self, number: usize) -> &AtomicU32 {
        assert!(number < self.map.len() / WORD_BYTES);
        // SAFETY: the word lies within the mapping, which lives as long as `self` and starts on a page, so it is
        // aligned; all access through the mapping is atomic.
        unsafe { AtomicU32::from_ptr(self.map.as_mut_ptr().add(number * WORD_BYTES).cast()) }
    }

    /// Reads a word.
    #[inline]
    pub(crate) fn load(&self, number: usize) -> u32 {
        u32::from_be(self.word(number).load(Ordering::Relaxed))
    }

    /// Writes a word, after all that were written before.
    #[inline]
    pub(crate) fn store(&self, number: usize, value: u32) {
        self.word(number).store(value.to_be(), Ordering::Release);
    }

    /// Makes all of it durable.
    pub(crate) fn sync(&self, env: &Env) -> io::Result<()> {
        env.sync_map(&self.path, || self.map.flush())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_big_endian_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let env = Env::real();
        let file = env.open_or_create(&path).unwrap();
        file.set_len(12).unwrap();
        let words = MappedWords::map(&env, &file, &path).unwrap();
        words.store(1, 0x0102_0304);
        assert_eq!((words.load(0), words.load(1)), (0, 0x0102_0304));
        words.sync(&env).unwrap();
        assert_eq!(std::fs::read(&path).unwrap()[4..8], [1, 2, 3, 4]);
    }
}
