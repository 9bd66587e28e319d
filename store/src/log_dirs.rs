// SPDX-License-Identifier: Apache-2.0
//! The directories that hold the files of the log (Apache: `store/MultiPathMappedFileQueue.java`). Mostly there is one,
//! `commitlog`; with several, perhaps on several disks, each new file goes to the next one, and one that is full is
//! passed over while others have space. A file is read from wherever it is found.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use parking_lot::RwLock;

use crate::{config::Config, env::Env, error::OpenError, files, layout};

/// Where the log may be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogDirs {
    /// Directories that get new files (`storePathCommitLog`); none for `commitlog` below the root of the store.
    pub writable: Vec<PathBuf>,
    /// Directories whose files are read, and removed in time, but that get no new ones
    /// (`readOnlyCommitLogStorePaths`). One that is named in both lists is one of these.
    pub read_only: Vec<PathBuf>,
}

impl LogDirs {
    /// Takes lists apart as they stand in a configuration: paths with `splitter` between them, a comma if that is empty.
    #[must_use]
    pub fn of_lists(writable: &str, read_only: &str, splitter: &str) -> LogDirs {
        let splitter = if splitter.is_empty() { "," } else { splitter };
        let paths = |list: &str| {
            let paths = list.split(splitter).map(str::trim);
            paths
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
                .collect()
        };
        LogDirs {
            writable: paths(writable),
            read_only: paths(read_only),
        }
    }
}

/// The directories of an open log, and which file is in which.
#[derive(Debug)]
pub(crate) struct Homes {
    root: PathBuf,
    /// Those that get new files, in the order of their names; never empty.
    writable: Vec<PathBuf>,
    read_only: Vec<PathBuf>,
    /// Those that had too little space when somebody last looked.
    full: RwLock<Vec<PathBuf>>,
    /// The directory of the file that starts at a position.
    of_files: RwLock<BTreeMap<i64, PathBuf>>,
}

impl Homes {
    pub(crate) fn new(config: &Config) -> Result<Homes, OpenError> {
        Self::at(&config.dir, &config.log_dirs)
    }

    pub(crate) fn at(root: &Path, dirs: &LogDirs) -> Result<Homes, OpenError> {
        let mut writable = dirs.writable.clone();
        if writable.is_empty() {
            writable.push(root.join(layout::COMMIT_LOG));
        }
        writable.retain(|dir| !dirs.read_only.contains(dir));
        writable.sort();
        writable.dedup();
        if writable.is_empty() {
            return Err(OpenError::NoLogDir);
        }
        let mut read_only = dirs.read_only.clone();
        read_only.sort();
        read_only.dedup();
        Ok(Homes {
            root: root.to_owned(),
            writable,
            read_only,
            full: RwLock::default(),
            of_files: RwLock::default(),
        })
    }

    /// All directories.
    pub(crate) fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.writable.iter().chain(&self.read_only)
    }

    /// Directories that get new files.
    pub(crate) fn writable(&self) -> &[PathBuf] {
        &self.writable
    }

    /// The directory that counts where there is but one.
    pub(crate) fn first(&self) -> &Path {
        &self.writable[0]
    }

    /// Path of the file that starts at a position; where it would be looked for if there is none.
    pub(crate) fn path(&self, base: i64) -> PathBuf {
        let of_files = self.of_files.read();
        let dir = of_files.get(&base).map_or(self.first(), PathBuf::as_path);
        dir.join(layout::file_name(base))
    }

    /// Notes where a file is.
    pub(crate) fn found(&self, base: i64, dir: &Path) {
        self.of_files.write().insert(base, dir.to_owned());
    }

    /// Forgets a file that is gone.
    pub(crate) fn gone(&self, base: i64) {
        self.of_files.write().remove(&base);
    }

    /// Sets which directories have too little space for new files.
    pub(crate) fn set_full(&self, full: Vec<PathBuf>) {
        if *self.full.read() != full {
            *self.full.write() = full;
        }
    }

    /// Directories for a new file, the best one first: Apache's choice, by the number of the file among those that are
    /// not full, then the others of these, then the full ones.
    pub(crate) fn choices(&self, base: i64, file_bytes: u64) -> Vec<&Path> {
        let full = self.full.read();
        let (mut choices, rest): (Vec<&Path>, Vec<&Path>) = self
            .writable
            .iter()
            .map(PathBuf::as_path)
            .partition(|dir| !full.iter().any(|full| full == dir));
        let number = base.cast_unsigned() / file_bytes.max(1);
        let turn = |dirs: &mut Vec<&Path>| {
            if let Some(count) = u64::try_from(dirs.len()).ok().filter(|count| *count > 0) {
                dirs.rotate_left(usize::try_from(number % count).unwrap_or(0));
            }
        };
        turn(&mut choices);
        let mut rest = rest;
        turn(&mut rest);
        choices.extend(rest);
        choices
    }

    /// Where files on their way to a directory are made: on the same disk, and where no broker takes them for files of
    /// the log.
    pub(crate) fn preparing_for(&self, dir: &Path) -> PathBuf {
        if dir == self.root.join(layout::COMMIT_LOG) {
            self.root.join(layout::PREPARING)
        } else {
            dir.join(layout::PREPARING)
        }
    }

    /// All places where files may have been on their way.
    pub(crate) fn preparing(&self) -> Vec<PathBuf> {
        let mut places = vec![self.root.join(layout::PREPARING)];
        places.extend(self.writable.iter().map(|dir| dir.join(layout::PREPARING)));
        places
    }

    /// The files of the log in all directories, in order and checked as [`files::list`] does; notes where each is.
    pub(crate) fn list(&self, env: &Env, file_bytes: u64) -> Result<Vec<i64>, OpenError> {
        let mut all = Vec::new();
        for dir in self.all() {
            files::collect(env, dir, file_bytes, &mut all)?;
        }
        all.sort();
        if let Some(pair) = all.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let path = |(base, dir): &(i64, &Path)| dir.join(layout::file_name(*base));
            return Err(OpenError::TwoFiles {
                path: path(&pair[0]),
                other: path(&pair[1]),
            });
        }
        for (base, dir) in &all {
            self.found(*base, dir);
        }
        files::whole_row(files::row(env, &all, file_bytes)?, self.first(), file_bytes)
    }

    /// Makes the names of some files durable.
    pub(crate) fn sync_dirs_of(
        &self,
        env: &Env,
        bases: impl Iterator<Item = i64>,
    ) -> Result<(), (PathBuf, io::Error)> {
        let mut dirs: Vec<PathBuf> = bases
            .filter_map(|base| self.path(base).parent().map(Path::to_owned))
            .collect();
        dirs.sort();
        dirs.dedup();
        for dir in dirs {
            env.sync_dir(&dir).map_err(|error| (dir, error))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn homes(writable: &str, read_only: &str) -> Homes {
        Homes::at(
            Path::new("/s"),
            &LogDirs::of_lists(writable, read_only, ","),
        )
        .unwrap()
    }

    #[test]
    fn new_files_go_round_and_full_directories_are_passed_over() {
        let homes = homes("/c, /a,/b,/r", "/r");
        let first = |number: i64| homes.choices(number * 100, 100)[0].to_owned();
        let names: Vec<PathBuf> = (0..4).map(first).collect();
        assert_eq!(names, ["/a", "/b", "/c", "/a"].map(PathBuf::from));
        homes.set_full(vec!["/b".into()]);
        let first = |number: i64| homes.choices(number * 100, 100)[0].to_owned();
        let names: Vec<PathBuf> = (0..3).map(first).collect();
        assert_eq!(names, ["/a", "/c", "/a"].map(PathBuf::from));
        assert_eq!(homes.choices(0, 100).len(), 3);
        homes.set_full(vec!["/a".into(), "/b".into(), "/c".into()]);
        assert_eq!(homes.choices(100, 100)[0], Path::new("/b"));
    }

    #[test]
    fn something_else_than_a_comma_may_separate_paths() {
        let paths = |splitter| LogDirs::of_lists("/a,1::/b:2", "/c::/d", splitter);
        let names = |paths: Vec<PathBuf>, expected: &[&str]| {
            assert!(paths.iter().eq(expected.iter().map(Path::new)), "{paths:?}");
        };
        names(paths("::").writable, &["/a,1", "/b:2"]);
        names(paths("::").read_only, &["/c", "/d"]);
        for comma in [",", ""] {
            names(paths(comma).writable, &["/a", "1::/b:2"]);
        }
        // Not a pattern, as Java takes it.
        names(LogDirs::of_lists("/a|/b", "", "|").writable, &["/a", "/b"]);
    }

    #[test]
    fn without_a_list_the_log_is_below_the_root() {
        let dirs = homes("", "");
        assert_eq!(dirs.first(), Path::new("/s/commitlog"));
        assert_eq!(
            dirs.preparing_for(dirs.first()),
            Path::new("/s/preparing"),
            "where it always was"
        );
        assert_eq!(
            homes("/x", "").preparing_for(Path::new("/x")),
            Path::new("/x/preparing")
        );
        let all_read_only = LogDirs::of_lists("/x", "/x", ",");
        assert!(matches!(
            Homes::at(Path::new("/s"), &all_read_only),
            Err(OpenError::NoLogDir)
        ));
    }
}
