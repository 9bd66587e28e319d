// SPDX-License-Identifier: Apache-2.0
//! A full page cache, as every broker has that ran for some hours. New pages of a log then come from old ones that the
//! kernel gives up. Free memory is another matter in a virtual machine: it may have been given back to the host, and
//! asking for it again costs several times as much as all that a broker does for a message.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
};

use crate::process::bytes_of;

/// Free memory that is left: the kernel keeps about as much for itself.
const LEFT_PER_CENT: u64 = 3;
const STEP: usize = 1 << 20;

/// A file without a name and without content, of which all that was read stays cached.
#[derive(Debug)]
pub(crate) struct Filler {
    file: File,
    read: u64,
}

impl Filler {
    pub(crate) fn new(dir: &Path) -> io::Result<Filler> {
        Ok(Filler {
            file: tempfile::tempfile_in(dir)?,
            read: 0,
        })
    }

    /// Reads until hardly any memory is free.
    pub(crate) fn fill(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; STEP];
        loop {
            let (free, total) = memory(&fs::read_to_string("/proc/meminfo")?)
                .ok_or_else(|| io::Error::other("/proc/meminfo says nothing of memory"))?;
            let surplus = free.saturating_sub(total / 100 * LEFT_PER_CENT);
            if surplus < STEP as u64 {
                return Ok(());
            }
            // A little at a time: what else runs takes and gives memory, too.
            let until = self.read + surplus.min(256 << 20);
            self.file.set_len(until)?;
            while self.read < until {
                let step = usize::try_from(until - self.read).map_or(STEP, |rest| rest.min(STEP));
                self.file.read_exact_at(&mut buffer[..step], self.read)?;
                self.read += step as u64;
            }
        }
    }
}

/// Free and total bytes.
fn memory(text: &str) -> Option<(u64, u64)> {
    Some((bytes_of(text, "MemFree:")?, bytes_of(text, "MemTotal:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let text = "MemTotal:       24683520 kB\nMemFree:          123456 kB\nBuffers: 1 kB\n";
        assert_eq!(memory(text), Some((123_456 << 10, 24_683_520 << 10)));
        assert_eq!(memory("MemTotal: 1 kB\n"), None);
    }
}
