// SPDX-License-Identifier: Apache-2.0
//! Small files that a crash cannot lose: `topics.json`, `consumerOffset.json` and their like.
//!
//! A file is written beside (`<name>.tmp`), synced, and put in the place of the current one, which
//! becomes `<name>.bak`. At every moment the current file or the backup is whole; a crash leaves
//! the old content or the new one. Apache reads the same names in the same order
//! (`ConfigManager.java`), so either side can go on with the other's files.

use std::{
    error,
    ffi::OsString,
    fs, io,
    io::{Read, Write},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// Largest file read. A million consumer offsets take about 100 MiB.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Mode of a file that only its owner may read and write.
const PRIVATE: u32 = 0o600;

/// Why a file could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing is lost: the previous content is still there, under its name or as backup. The write
    /// may be tried again.
    #[error("cannot {action} {}: {source}", path.display())]
    Write {
        /// What was tried, as in "sync".
        action: &'static str,
        /// The file or directory it was tried on.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// The file exists but cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// The file exists, makes no sense, and there is no backup that does. Starting without its
    /// content would lose it for good at the next write.
    #[error(
        "{} cannot be understood ({reason}) and there is no sound backup {}; \
         repair it, or move it away to start without its content",
        path.display(), backup_of(path).display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why the file was refused.
        reason: Box<dyn error::Error + Send + Sync>,
    },
    /// The file is missing, and its backup makes no sense.
    #[error(
        "{} is missing and its backup {} cannot be understood ({reason}); \
         repair the backup, or move it away to start without its content",
        path.display(), backup_of(path).display()
    )]
    BackupUnreadable {
        /// The file, not its backup.
        path: PathBuf,
        /// Why the backup was refused.
        reason: Box<dyn error::Error + Send + Sync>,
    },
}

/// What [`save`] had to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// The file has new content.
    Written,
    /// The file had this content already.
    Unchanged,
}

/// Makes `bytes` the durable content of `path`; the content before becomes `<name>.bak`.
///
/// Missing directories are created. The permissions of an existing file are kept. One path must not
/// be saved by two threads at a time: they would share `<name>.tmp`.
///
/// # Errors
/// [`Error::Write`]; see there.
pub fn save(path: &Path, bytes: &[u8]) -> Result<Saved, Error> {
    save_in_steps(path, bytes, Readers::AsBefore, &mut |_| Ok(()))
}

/// As [`save`], for what nobody but the owner may read: secrets. The file has mode 0600, whatever it had
/// before.
///
/// # Errors
/// [`Error::Write`]; see there.
pub fn save_private(path: &Path, bytes: &[u8]) -> Result<Saved, Error> {
    save_in_steps(path, bytes, Readers::Owner, &mut |_| Ok(()))
}

/// Who may read a file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readers {
    /// Those of the file that it replaces; of a new one, those that the process's mask leaves.
    AsBefore,
    /// Its owner alone.
    Owner,
}

/// Reads the content of `path` through `parse`; none if neither it nor its backup exists.
///
/// A file that is missing or that `parse` refuses is replaced by its backup, with a warning. The
/// refused file is moved to `<name>.broken`, so that the next [`save`] does not push the sound
/// backup out.
///
/// # Errors
/// The file or its backup exists and cannot be read or understood.
pub fn load<T, E>(path: &Path, parse: impl Fn(&[u8]) -> Result<T, E>) -> Result<Option<T>, Error>
where
    E: Into<Box<dyn error::Error + Send + Sync>>,
{
    let backup = backup_of(path);
    let refused = match read(path)? {
        Some(bytes) => match parse(&bytes) {
            Ok(content) => return Ok(Some(content)),
            Err(reason) => Some(reason.into()),
        },
        None => None,
    };
    let from_backup = read(&backup)?.map(|bytes| parse(&bytes).map_err(Into::into));
    match (refused, from_backup) {
        (None, None) => Ok(None),
        (None, Some(Ok(content))) => {
            tracing::warn!(file = %path.display(), "file is missing, its backup is used");
            Ok(Some(content))
        }
        (Some(reason), Some(Ok(content))) => {
            let broken = with_suffix(path, ".broken");
            rename(path, &broken)?;
            tracing::warn!(
                file = %path.display(), %reason, kept_as = %broken.display(),
                "file cannot be understood, its backup is used"
            );
            Ok(Some(content))
        }
        (Some(reason), _) => Err(Error::Unreadable {
            path: path.to_owned(),
            reason,
        }),
        (None, Some(Err(reason))) => Err(Error::BackupUnreadable {
            path: path.to_owned(),
            reason,
        }),
    }
}

/// As [`load`], for content that can be made again from elsewhere: where neither the file nor its backup can be
/// understood they are kept as `<name>.broken` and `<name>.bak.broken`, `rebuild` makes the content, and what `encode`
/// makes of that is the file when this returns.
///
/// # Errors
/// A file cannot be read, kept or written.
pub fn load_or_rebuild<T, E>(
    path: &Path,
    parse: impl Fn(&[u8]) -> Result<T, E>,
    rebuild: impl FnOnce() -> T,
    encode: impl FnOnce(&T) -> Vec<u8>,
) -> Result<Option<T>, Error>
where
    E: Into<Box<dyn error::Error + Send + Sync>>,
{
    let reason = match load(path, parse) {
        Err(Error::Unreadable { reason, .. } | Error::BackupUnreadable { reason, .. }) => reason,
        loaded => return loaded,
    };
    // The file itself stays until there is a new one: a crash in between must not leave nothing, which is what a
    // directory without any content looks like.
    for file in [path, &backup_of(path)] {
        if let Some(bytes) = read(file)? {
            save(&with_suffix(file, ".broken"), &bytes)?;
        }
    }
    let content = rebuild();
    save(path, &encode(&content))?;
    let backup = backup_of(path);
    match fs::remove_file(&backup) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(Error::Write {
                action: "remove",
                path: backup,
                source,
            });
        }
        _ => {}
    }
    tracing::error!(
        file = %path.display(), %reason, kept_as = %with_suffix(path, ".broken").display(),
        "neither the file nor its backup can be understood: its content is made again as far as the store tells; look what is missing"
    );
    Ok(Some(content))
}

/// Where the content before the last [`save`] is kept.
#[must_use]
pub fn backup_of(path: &Path) -> PathBuf {
    with_suffix(path, ".bak")
}

/// The steps of a save, in order. A crash may happen before each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    CreateDirectory,
    WriteNew,
    SyncNew,
    KeepOld,
    Replace,
    SyncDirectory,
}

/// `before` may fail a step in its place.
type Hook<'a> = &'a mut dyn FnMut(Step) -> io::Result<()>;

fn save_in_steps(
    path: &Path,
    bytes: &[u8],
    readers: Readers,
    before: Hook<'_>,
) -> Result<Saved, Error> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let current = match fs::File::open(path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => {
            return Err(Error::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    if let Some(file) = &current
        && has_content(file, bytes)
        && (readers == Readers::AsBefore || is_private(file))
    {
        // An earlier save may have failed between its rename and its sync: what is already there
        // counts only once it is known to be durable.
        step(Step::SyncNew, "sync", path, before, || file.sync_all())?;
        sync_directory(directory, before)?;
        return Ok(Saved::Unchanged);
    }
    create_directory(directory, before)?;
    let new = with_suffix(path, ".tmp");
    write_new(&new, bytes, current.as_ref(), readers, before)?;
    if let Some(current) = &current {
        let backup = backup_of(path);
        if readers == Readers::Owner && !is_private(current) {
            let private = fs::Permissions::from_mode(PRIVATE);
            step(Step::KeepOld, "close to others", path, before, || {
                current.set_permissions(private)
            })?;
        }
        step(Step::KeepOld, "rename to its backup", path, before, || {
            fs::rename(path, &backup)
        })?;
    }
    step(Step::Replace, "put in place", path, before, || {
        fs::rename(&new, path)
    })?;
    sync_directory(directory, before)?;
    Ok(Saved::Written)
}

fn write_new(
    new: &Path,
    bytes: &[u8],
    current: Option<&fs::File>,
    readers: Readers,
    before: Hook<'_>,
) -> Result<(), Error> {
    let mut file = step(Step::WriteNew, "write", new, before, || {
        let mut options = fs::File::options();
        options.write(true).create(true).truncate(true);
        let mut file = match readers {
            Readers::AsBefore => options.open(new)?,
            // What a crash left there may have another mode: nothing is written before it is right.
            Readers::Owner => options.mode(PRIVATE).open(new)?,
        };
        match (readers, current) {
            (Readers::Owner, _) => file.set_permissions(fs::Permissions::from_mode(PRIVATE))?,
            (Readers::AsBefore, Some(current)) => {
                file.set_permissions(current.metadata()?.permissions())?;
            }
            (Readers::AsBefore, None) => {}
        }
        file.write_all(bytes)?;
        Ok(file)
    })?;
    step(Step::SyncNew, "sync", new, before, || {
        file.flush()?;
        file.sync_all()
    })
}

fn is_private(file: &fs::File) -> bool {
    file.metadata()
        .is_ok_and(|metadata| metadata.permissions().mode() & 0o777 == PRIVATE)
}

fn has_content(file: &fs::File, bytes: &[u8]) -> bool {
    let same_length = file
        .metadata()
        .is_ok_and(|metadata| metadata.len() == bytes.len() as u64);
    if !same_length {
        return false;
    }
    let mut rest = bytes;
    let mut buffer = [0; 8192];
    let mut reader = file;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return rest.is_empty(),
            Ok(count) => match (buffer.get(..count), rest.split_at_checked(count)) {
                (Some(read), Some((expected, after))) if read == expected => rest = after,
                _ => return false,
            },
            // Writing it anew is always right.
            Err(_) => return false,
        }
    }
}

/// Creates `directory` and makes the entries of all new directories durable.
fn create_directory(directory: &Path, before: Hook<'_>) -> Result<(), Error> {
    if directory.is_dir() {
        return Ok(());
    }
    step(Step::CreateDirectory, "create", directory, before, || {
        let missing: Vec<_> = directory
            .ancestors()
            .take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.is_dir())
            .collect();
        fs::create_dir_all(directory)?;
        for created in missing {
            if let Some(parent) = created.parent() {
                let parent = if parent.as_os_str().is_empty() {
                    Path::new(".")
                } else {
                    parent
                };
                fs::File::open(parent)?.sync_all()?;
            }
        }
        Ok(())
    })
}

fn sync_directory(directory: &Path, before: Hook<'_>) -> Result<(), Error> {
    step(Step::SyncDirectory, "sync", directory, before, || {
        fs::File::open(directory)?.sync_all()
    })
}

fn step<T>(
    step: Step,
    action: &'static str,
    path: &Path,
    before: Hook<'_>,
    run: impl FnOnce() -> io::Result<T>,
) -> Result<T, Error> {
    before(step)
        .and_then(|()| run())
        .map_err(|source| Error::Write {
            action,
            path: path.to_owned(),
            source,
        })
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(|source| Error::Write {
        action: "move away",
        path: from.to_owned(),
        source,
    })
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(Some(bytes))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [Step; 6] = [
        Step::CreateDirectory,
        Step::WriteNew,
        Step::SyncNew,
        Step::KeepOld,
        Step::Replace,
        Step::SyncDirectory,
    ];

    /// Content of the tests: a number in brackets, so that a cut file is refused.
    fn parse(bytes: &[u8]) -> Result<u32, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        let digits = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        digits
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| format!("not a number in brackets: {text:?}"))
    }

    fn content(number: u32) -> Vec<u8> {
        format!("[{number}]").into_bytes()
    }

    fn fail_at(failing: Step) -> impl FnMut(Step) -> io::Result<()> {
        move |step| {
            if step == failing {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            } else {
                Ok(())
            }
        }
    }

    #[test]
    fn saved_content_is_loaded_and_the_one_before_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/table.json");
        assert_eq!(load(&path, parse).unwrap(), None);
        assert_eq!(save(&path, &content(1)).unwrap(), Saved::Written);
        assert_eq!(save(&path, &content(2)).unwrap(), Saved::Written);
        assert_eq!(load(&path, parse).unwrap(), Some(2));
        assert_eq!(fs::read(backup_of(&path)).unwrap(), content(1));
        assert!(!with_suffix(&path, ".tmp").exists());
    }

    #[test]
    fn equal_content_is_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.json");
        save(&path, &content(1)).unwrap();
        save(&path, &content(2)).unwrap();
        assert_eq!(save(&path, &content(2)).unwrap(), Saved::Unchanged);
        assert_eq!(fs::read(backup_of(&path)).unwrap(), content(1));
        assert_eq!(save(&path, &content(3)).unwrap(), Saved::Written);
        let long = vec![b'x'; 100_000];
        save(&path, &long).unwrap();
        assert_eq!(save(&path, &long).unwrap(), Saved::Unchanged);
    }

    /// A failure at any step, once or again and again, leaves the old or the new content, and the
    /// next save succeeds.
    #[test]
    fn no_failed_step_loses_the_content() {
        for failing in STEPS {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("config/table.json");
            if failing != Step::CreateDirectory {
                save(&path, &content(1)).unwrap();
                save(&path, &content(2)).unwrap();
            }
            for attempt in 0..3 {
                let error =
                    save_in_steps(&path, &content(3), Readers::AsBefore, &mut fail_at(failing));
                assert!(error.is_err(), "{failing:?} did not fail");
                let loaded = load(&path, parse).unwrap();
                let expected = match failing {
                    Step::CreateDirectory => None,
                    Step::SyncDirectory => Some(3),
                    _ => Some(2),
                };
                assert_eq!(loaded, expected, "{failing:?}, attempt {attempt}");
            }
            save(&path, &content(4)).unwrap();
            assert_eq!(load(&path, parse).unwrap(), Some(4), "{failing:?}");
        }
    }

    #[test]
    fn a_failed_directory_sync_is_repeated_before_unchanged_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.json");
        save_in_steps(
            &path,
            &content(1),
            Readers::AsBefore,
            &mut fail_at(Step::SyncDirectory),
        )
        .unwrap_err();
        let mut seen = Vec::new();
        let saved = save_in_steps(&path, &content(1), Readers::AsBefore, &mut |step| {
            seen.push(step);
            Ok(())
        });
        assert_eq!(saved.unwrap(), Saved::Unchanged);
        assert_eq!(seen, [Step::SyncNew, Step::SyncDirectory]);
    }

    #[test]
    fn the_steps_come_in_the_order_that_survives_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config/table.json");
        let mut seen = Vec::new();
        for number in 1..=2 {
            save_in_steps(&path, &content(number), Readers::AsBefore, &mut |step| {
                seen.push(step);
                Ok(())
            })
            .unwrap();
        }
        let first = [0, 1, 2, 4, 5].map(|place| STEPS[place]);
        let second = [1, 2, 3, 4, 5].map(|place| STEPS[place]);
        assert_eq!(seen, [first, second].concat());
    }

    #[test]
    fn a_broken_file_is_replaced_by_its_backup_which_survives_the_next_save() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.json");
        save(&path, &content(1)).unwrap();
        save(&path, &content(2)).unwrap();
        fs::write(&path, "[").unwrap();
        assert_eq!(load(&path, parse).unwrap(), Some(1));
        assert_eq!(fs::read(with_suffix(&path, ".broken")).unwrap(), b"[");
        save_in_steps(
            &path,
            &content(3),
            Readers::AsBefore,
            &mut fail_at(Step::Replace),
        )
        .unwrap_err();
        assert_eq!(load(&path, parse).unwrap(), Some(1));
    }

    #[test]
    fn content_that_can_be_made_again_is_and_what_was_there_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.json");
        let load = |rebuilt| {
            let encode = |number: &u32| content(*number);
            load_or_rebuild(&path, parse, || rebuilt, encode).unwrap()
        };
        assert_eq!(load(7), None);
        fs::write(&path, "[").unwrap();
        fs::write(backup_of(&path), "{").unwrap();
        assert_eq!(load(7), Some(7));
        assert_eq!(fs::read(with_suffix(&path, ".broken")).unwrap(), b"[");
        let kept = with_suffix(&backup_of(&path), ".broken");
        assert_eq!(fs::read(kept).unwrap(), b"{");
        // From now on it is a file like any other.
        assert_eq!(load(8), Some(7));
        fs::remove_file(&path).unwrap();
        fs::write(backup_of(&path), "{").unwrap();
        assert_eq!(load(9), Some(9));
    }

    #[test]
    fn a_missing_file_is_replaced_by_its_backup() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.json");
        fs::write(backup_of(&path), content(5)).unwrap();
        assert_eq!(load(&path, parse).unwrap(), Some(5));
    }

    #[test]
    fn content_that_exists_but_makes_no_sense_is_an_error_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.json");
        for (current, backup) in [
            (Some("["), None),
            (Some(""), None),
            (Some("["), Some("x")),
            (None, Some("x")),
        ] {
            let _ = fs::remove_file(&path);
            let _ = fs::remove_file(backup_of(&path));
            if let Some(text) = current {
                fs::write(&path, text).unwrap();
            }
            if let Some(text) = backup {
                fs::write(backup_of(&path), text).unwrap();
            }
            let error = load(&path, parse).unwrap_err().to_string();
            assert!(error.contains("table.json"), "{error}");
            assert!(error.contains("move it away"), "{error}");
            assert_eq!(path.exists(), current.is_some());
            assert_eq!(backup_of(&path).exists(), backup.is_some());
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_taken_for_missing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.json");
        fs::create_dir(&path).unwrap();
        fs::write(backup_of(&path), content(5)).unwrap();
        assert!(matches!(load(&path, parse), Err(Error::Read { .. })));
    }

    #[test]
    fn permissions_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret.conf");
        save(&path, b"1").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        save(&path, b"2").unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn secrets_are_for_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config").join("table.json");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        save_private(&path, &content(1)).unwrap();
        assert_eq!(mode(&path), 0o600);
        // Somebody has opened it to others: that ends with the next save, for the backup as well.
        let open = || fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        open();
        assert_eq!(save_private(&path, &content(2)).unwrap(), Saved::Written);
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&backup_of(&path)), 0o600);
        open();
        assert_eq!(save_private(&path, &content(2)).unwrap(), Saved::Written);
        assert_eq!(mode(&path), 0o600);
        assert_eq!(save_private(&path, &content(2)).unwrap(), Saved::Unchanged);
    }
}
