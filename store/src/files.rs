// SPDX-License-Identifier: Apache-2.0
//! A row of files of equal length, each named after the position of its first byte. Files are mapped when first
//! touched.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::{env::Env, error::OpenError, layout, log_dirs::Homes, mapped_file::MappedFile};

/// One file of a row.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) base: i64,
    /// Published length to map with.
    published: AtomicUsize,
    map: ArcSwapOption<MappedFile>,
}

impl Slot {
    pub(crate) fn unmapped(base: i64, published: usize) -> Arc<Slot> {
        Arc::new(Slot {
            base,
            published: published.into(),
            map: ArcSwapOption::empty(),
        })
    }

    pub(crate) fn mapped(file: Arc<MappedFile>) -> Arc<Slot> {
        Arc::new(Slot {
            base: file.base(),
            published: file.published().into(),
            map: ArcSwapOption::from(Some(file)),
        })
    }

    /// Shows readers bytes that were written to the file without its mapping.
    pub(crate) fn publish(&self, until: usize) {
        self.published.fetch_max(until, Ordering::AcqRel);
        if let Some(map) = &*self.map.load() {
            map.publish_written(until);
        }
    }

    /// Gives the mapping up, unless somebody else holds it; whether it did.
    fn unmap(&self) -> bool {
        let Some(map) = self.map.load_full() else {
            return false;
        };
        // One reference is the slot's, one is ours. A reader that comes now keeps what it gets.
        if Arc::strong_count(&map) > 2 || map.take_touched() {
            return false;
        }
        self.published.fetch_max(map.published(), Ordering::AcqRel);
        self.map.store(None);
        true
    }
}

/// Whether files keep their descriptors after mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Descriptors {
    Keep,
    Drop,
}

/// The row.
#[derive(Debug)]
pub(crate) struct Files {
    dir: PathBuf,
    /// Of the log, which may have several directories.
    homes: Option<Arc<Homes>>,
    file_bytes: u64,
    descriptors: Descriptors,
    slots: ArcSwap<Vec<Arc<Slot>>>,
}

impl Files {
    pub(crate) fn new(
        dir: PathBuf,
        file_bytes: u64,
        descriptors: Descriptors,
        slots: Vec<Arc<Slot>>,
    ) -> Files {
        Files {
            dir,
            homes: None,
            file_bytes,
            descriptors,
            slots: ArcSwap::from_pointee(slots),
        }
    }

    /// The row of the log.
    pub(crate) fn of_log(
        homes: &Arc<Homes>,
        file_bytes: u64,
        descriptors: Descriptors,
        slots: Vec<Arc<Slot>>,
    ) -> Files {
        Files {
            homes: Some(Arc::clone(homes)),
            ..Files::new(homes.first().to_owned(), file_bytes, descriptors, slots)
        }
    }

    /// The directory; of a log with several the first one.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    pub(crate) fn path(&self, base: i64) -> PathBuf {
        match &self.homes {
            Some(homes) => homes.path(base),
            None => self.dir.join(layout::file_name(base)),
        }
    }

    /// Start of the file that holds a position.
    pub(crate) fn base_for(&self, position: i64) -> i64 {
        position - position.rem_euclid(self.file_bytes.cast_signed())
    }

    /// Start of the first file.
    pub(crate) fn first(&self) -> Option<i64> {
        self.slots.load().first().map(|slot| slot.base)
    }

    pub(crate) fn bases(&self) -> Vec<i64> {
        self.slots.load().iter().map(|slot| slot.base).collect()
    }

    /// Adds a file behind the last.
    pub(crate) fn push(&self, slot: &Arc<Slot>) {
        self.slots.rcu(|slots| {
            let mut slots = Vec::clone(slots);
            slots.push(Arc::clone(slot));
            slots
        });
    }

    /// Takes the first file, which starts at `base`, from the row. Who has it keeps it.
    pub(crate) fn remove_first(&self, base: i64) {
        self.slots.rcu(|slots| {
            let mut slots = Vec::clone(slots);
            if slots.first().is_some_and(|first| first.base == base) {
                slots.remove(0);
            }
            slots
        });
    }

    /// Replaces all files; for recovery.
    pub(crate) fn replace(&self, slots: Vec<Arc<Slot>>) {
        self.slots.store(Arc::new(slots));
    }

    /// The file that holds a position, mapped now if it is not yet; `None` when there is none.
    #[inline]
    pub(crate) fn find(&self, env: &Env, position: i64) -> io::Result<Option<Arc<MappedFile>>> {
        let slots = self.slots.load();
        let Some(first) = slots.first() else {
            return Ok(None);
        };
        let Some(distance) = position
            .checked_sub(first.base)
            .filter(|distance| *distance >= 0)
        else {
            return Ok(None);
        };
        let index =
            usize::try_from(distance.cast_unsigned() / self.file_bytes).unwrap_or(usize::MAX);
        let Some(slot) = slots.get(index) else {
            return Ok(None);
        };
        match slot.map.load_full() {
            Some(map) => Ok(Some(map)),
            None => self.map(env, slot).map(Some),
        }
    }

    /// All slots.
    pub(crate) fn slots(&self) -> Vec<Arc<Slot>> {
        Vec::clone(&self.slots.load())
    }

    /// How many files are mapped.
    pub(crate) fn mapped_count(&self) -> usize {
        let slots = self.slots.load();
        slots
            .iter()
            .filter(|slot| slot.map.load().is_some())
            .count()
    }

    /// The slot of the file that starts at `base`.
    pub(crate) fn slot(&self, base: i64) -> Option<Arc<Slot>> {
        let slots = self.slots.load();
        slots.iter().find(|slot| slot.base == base).cloned()
    }

    /// Unmaps all files before `base` that nobody has touched since this was last called; how many.
    pub(crate) fn unmap_idle(&self, base: i64) -> usize {
        let slots = self.slots.load();
        let old = slots.iter().filter(|slot| slot.base < base);
        old.filter(|slot| slot.unmap()).count()
    }

    #[cold]
    fn map(&self, env: &Env, slot: &Slot) -> io::Result<Arc<MappedFile>> {
        let path = self.path(slot.base);
        let file = env.open(&path)?;
        let keep = self.descriptors == Descriptors::Keep;
        let published = slot.published.load(Ordering::Acquire);
        let map = Arc::new(MappedFile::map(
            env, file, path, slot.base, published, keep,
        )?);
        let before = slot
            .map
            .compare_and_swap(&None::<Arc<MappedFile>>, Some(Arc::clone(&map)));
        // Somebody may have been faster; then theirs is the one.
        let map = before.as_ref().map_or(map, Arc::clone);
        map.publish_written(slot.published.load(Ordering::Acquire));
        Ok(map)
    }
}

/// Names and checks the files of a row: multiples of the file length without a gap, all of that length. An empty last
/// file, which a crash may leave, is removed. Other names and directories are left alone.
pub(crate) fn list(env: &Env, dir: &Path, file_bytes: u64) -> Result<Vec<i64>, OpenError> {
    whole_row(list_to_hole(env, dir, file_bytes)?, dir, file_bytes)
}

/// The files of a row without a hole.
pub(crate) fn whole_row(row: Row, dir: &Path, file_bytes: u64) -> Result<Vec<i64>, OpenError> {
    let Some(hole) = row.behind_hole.first() else {
        return Ok(row.bases);
    };
    let end = row
        .bases
        .last()
        .map_or(*hole, |last| last + file_bytes.cast_signed());
    let path = dir.join(layout::file_name(end));
    Err(if *hole == end {
        OpenError::FileLength {
            path,
            actual: 0,
            expected: file_bytes,
        }
    } else {
        OpenError::MissingFile { path }
    })
}

/// The files of a row up to a hole in it, and those behind.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) bases: Vec<i64>,
    /// Not empty when a file in the middle is missing or empty.
    pub(crate) behind_hole: Vec<i64>,
}

/// As [`list`], for rows that can be made again: a power cut may leave them with a hole where a file was not yet
/// durable.
pub(crate) fn list_to_hole(env: &Env, dir: &Path, file_bytes: u64) -> Result<Row, OpenError> {
    let mut all = Vec::new();
    collect(env, dir, file_bytes, &mut all)?;
    row(env, &all, file_bytes)
}

/// Adds the files of a directory, each with where it is.
pub(crate) fn collect<'a>(
    env: &Env,
    dir: &'a Path,
    file_bytes: u64,
    all: &mut Vec<(i64, &'a Path)>,
) -> Result<(), OpenError> {
    for entry in env.list(dir).map_err(OpenError::io("list", dir))? {
        let Some(base) = layout::base_of(&entry.name).filter(|_| !entry.is_dir) else {
            continue;
        };
        if base.rem_euclid(file_bytes.cast_signed()) != 0 {
            return Err(OpenError::StrayFile {
                path: dir.join(entry.name),
            });
        }
        all.push((base, dir));
    }
    Ok(())
}

/// Checks files in the order of their names.
pub(crate) fn row(env: &Env, all: &[(i64, &Path)], file_bytes: u64) -> Result<Row, OpenError> {
    let behind = |index: usize| all[index..].iter().map(|(base, _)| *base).collect();
    let mut bases: Vec<i64> = Vec::new();
    for (index, (base, dir)) in all.iter().enumerate() {
        let is_next = bases
            .last()
            .is_none_or(|last| last + file_bytes.cast_signed() == *base);
        if !is_next {
            return Ok(Row {
                bases,
                behind_hole: behind(index),
            });
        }
        let path = dir.join(layout::file_name(*base));
        let file = env.open(&path).map_err(OpenError::io("open", &path))?;
        let actual = file
            .metadata()
            .map_err(OpenError::io("examine", &path))?
            .len();
        if actual == 0 {
            if index + 1 == all.len() {
                env.remove_file(&path)
                    .map_err(OpenError::io("remove", &path))?;
                break;
            }
            return Ok(Row {
                bases,
                behind_hole: behind(index),
            });
        }
        if actual != file_bytes {
            return Err(OpenError::FileLength {
                path,
                actual,
                expected: file_bytes,
            });
        }
        bases.push(*base);
    }
    Ok(Row {
        bases,
        behind_hole: Vec::new(),
    })
}
