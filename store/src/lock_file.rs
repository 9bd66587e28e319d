// SPDX-License-Identifier: Apache-2.0
//! The lock on a store directory: the POSIX record lock that Java's broker takes too, and within this process a list.

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;

use crate::{env::Env, error::OpenError, layout};

/// Directories that this process has locked. A record lock does not keep a process from itself, and closing a second
/// descriptor of the file would drop it.
static LOCKED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The lock, until dropped.
#[derive(Debug)]
pub(crate) struct LockFile {
    dir: PathBuf,
    /// The only descriptor of the file in this process; some until dropped.
    file: Option<File>,
}

impl LockFile {
    pub(crate) fn take(env: &Env, dir: &Path) -> Result<LockFile, OpenError> {
        let path = dir.join(layout::LOCK);
        let dir = env.canonical(dir).map_err(OpenError::io("examine", dir))?;
        if !LOCKED.lock().insert(dir.clone()) {
            return Err(OpenError::Locked { path });
        }
        match Self::lock(env, &path) {
            Ok(file) => Ok(LockFile {
                dir,
                file: Some(file),
            }),
            Err(error) => {
                LOCKED.lock().remove(&dir);
                Err(error)
            }
        }
    }

    /// Who holds the lock on a directory, 0 when it cannot be told. Takes nothing and changes nothing.
    pub(crate) fn holder(env: &Env, dir: &Path) -> io::Result<Option<i32>> {
        let path = dir.join(layout::LOCK);
        if !env.exists(&path) {
            return Ok(None);
        }
        let dir = env.canonical(dir)?;
        let locked = LOCKED.lock();
        if locked.contains(&dir) {
            // A look at the file would drop the lock.
            return Ok(Some(std::process::id().cast_signed()));
        }
        env.lock_holder(&path)
    }

    fn lock(env: &Env, path: &Path) -> Result<File, OpenError> {
        let file = env
            .open_or_create(path)
            .map_err(OpenError::io("create", path))?;
        if !env
            .try_lock(&file, path)
            .map_err(OpenError::io("lock", path))?
        {
            return Err(OpenError::Locked {
                path: path.to_owned(),
            });
        }
        env.write_all_at(&file, path, b"lock", 0)
            .map_err(OpenError::io("write", path))?;
        Ok(file)
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // First: closing it later would drop the lock of whoever takes the directory next.
        self.file = None;
        LOCKED.lock().remove(&self.dir);
    }
}
