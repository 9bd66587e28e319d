// SPDX-License-Identifier: Apache-2.0
//! The file `abort`, which is there while a store is open; one that finds it knows that the last end was none. Apache
//! looks at its presence only. It holds the process id, as Apache writes it, and in a second line what tells one start of
//! the machine from another: after a kill all is as it was written, after a power cut pages may be missing.

use crate::{env::Env, error::OpenError, layout};
use std::path::Path;

/// How the directory was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// In order.
    Clean,
    /// By a process that was killed; the machine has run on since.
    Killed,
    /// By who knows what.
    Unknown,
}

/// Longest content that is read.
const MOST_BYTES: usize = 256;

/// How a directory was left.
pub(crate) fn left(env: &Env, dir: &Path) -> Result<Left, OpenError> {
    let path = dir.join(layout::ABORT);
    if !env.exists(&path) {
        return Ok(Left::Clean);
    }
    let file = env.open(&path).map_err(OpenError::io("open", &path))?;
    let mut bytes = [0; MOST_BYTES];
    let read = env
        .read_at(&file, &path, &mut bytes, 0)
        .map_err(OpenError::io("read", &path))?;
    let text = String::from_utf8_lossy(bytes.get(..read).unwrap_or_default()).into_owned();
    let boot = text.lines().nth(1).map(str::to_owned);
    Ok(if boot.is_some() && boot == env.boot() {
        Left::Killed
    } else {
        Left::Unknown
    })
}

/// Marks a directory as being in use.
pub(crate) fn write(env: &Env, dir: &Path) -> Result<(), OpenError> {
    let path = dir.join(layout::ABORT);
    let text = format!(
        "{}\n{}\n",
        std::process::id(),
        env.boot().unwrap_or_default()
    );
    let file = env
        .open_or_create(&path)
        .map_err(OpenError::io("create", &path))?;
    env.set_len(&file, &path, 0)
        .map_err(OpenError::io("write", &path))?;
    env.write_all_at(&file, &path, text.as_bytes(), 0)
        .map_err(OpenError::io("write", &path))?;
    env.sync_all(&file, &path)
        .map_err(OpenError::io("sync", &path))?;
    env.sync_dir(dir).map_err(OpenError::io("sync", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_is_told_from_a_power_cut() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::real();
        assert_eq!(left(&env, dir.path()).unwrap(), Left::Clean);
        write(&env, dir.path()).unwrap();
        assert_eq!(left(&env, dir.path()).unwrap(), Left::Killed);
        let path = dir.path().join(layout::ABORT);
        // As Apache writes it, and as another start of the machine did.
        for text in ["4711", "4711\n6b2ee5d1-0000-0000-0000-000000000000\n", ""] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(left(&env, dir.path()).unwrap(), Left::Unknown);
        }
    }
}
