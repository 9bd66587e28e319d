// SPDX-License-Identifier: Apache-2.0
//! A log file that is put aside when it is large, and opened anew on request.
//!
//! `tracing-appender` puts files aside by time only, which bounds no disk; hence these few lines.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

/// Set by whoever has moved the file away; the next line opens it anew.
static REOPEN: AtomicBool = AtomicBool::new(false);

/// Has the log file opened anew before the next line, as after another program has moved it.
pub(crate) fn reopen() {
    REOPEN.store(true, Ordering::Release);
}

/// When a file is put aside, and how many of those are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    /// Bytes; 0 for never.
    pub(super) bytes: u64,
    /// Files beside the current one.
    pub(super) keep: u32,
}

/// The file. Lines are written whole: each `write` is one.
#[derive(Debug)]
pub(super) struct Rotating {
    path: PathBuf,
    rule: Rule,
    file: File,
    written: u64,
}

impl Rotating {
    pub(super) fn open(path: &Path, rule: Rule) -> io::Result<Self> {
        let (file, written) = open(path)?;
        Ok(Self {
            path: path.to_owned(),
            rule,
            file,
            written,
        })
    }

    /// `name.1` is the youngest of those put aside; the oldest is overwritten.
    fn rotate(&mut self) -> io::Result<()> {
        let numbered = |number: u32| {
            let mut name = OsString::from(self.path.as_os_str());
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..self.rule.keep).rev() {
            match fs::rename(numbered(number), numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.rule.keep == 0 {
            fs::remove_file(&self.path)?;
        } else {
            fs::rename(&self.path, numbered(1))?;
        }
        self.open_anew()
    }

    fn open_anew(&mut self) -> io::Result<()> {
        (self.file, self.written) = open(&self.path)?;
        Ok(())
    }
}

/// Appending, so that whoever rotates the file may also copy and truncate it.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let written = file.metadata()?.len();
    Ok((file, written))
}

impl Write for Rotating {
    /// A file that cannot be put aside, or opened, grows on: a line too many is better than one too
    /// few.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if REOPEN.load(Ordering::Acquire) && REOPEN.swap(false, Ordering::AcqRel) {
            let _ = self.open_anew();
        }
        let is_full = self.rule.bytes > 0
            && self.written > 0
            && self.written.saturating_add(line.len() as u64) > self.rule.bytes;
        if is_full && self.rotate().is_err() {
            // Not again for every line.
            self.written = 0;
        }
        self.file.write_all(line)?;
        self.written = self.written.saturating_add(line.len() as u64);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_put_aside_by_size_and_number() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let rule = Rule { bytes: 10, keep: 2 };
        let mut file = Rotating::open(&path, rule).unwrap();
        for line in [
            "one 67\n",
            "two 67\n",
            "three\n",
            "four 7\n",
            "a line that is longer\n",
        ] {
            file.write_all(line.as_bytes()).unwrap();
        }
        let read = |name: &str| fs::read_to_string(dir.path().join(name));
        assert_eq!(read("a.log").unwrap(), "a line that is longer\n");
        assert_eq!(read("a.log.1").unwrap(), "four 7\n");
        assert_eq!(read("a.log.2").unwrap(), "three\n");
        assert!(read("a.log.3").is_err());
    }

    #[test]
    fn a_file_begun_before_counts_what_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        fs::write(&path, "from before\n").unwrap();
        let rule = Rule { bytes: 14, keep: 1 };
        let mut file = Rotating::open(&path, rule).unwrap();
        file.write_all(b"now\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "now\n");
    }
}
