// SPDX-License-Identifier: Apache-2.0
//! What is so or not so of a consume queue, a bit each: there may be hundreds of thousands of queues.

use std::sync::atomic::{AtomicU8, Ordering};

/// One of the things that may be so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flag {
    /// A directory, and perhaps files, exist.
    HasDir = 1,
    /// What lies behind the last entry in the file is not known to be zero.
    Unverified = 2,
    /// Somebody has used the files since this was last asked.
    Touched = 4,
    /// The end of the last file is mapped for writing.
    IsMapped = 8,
    /// Room was asked for and is not there yet.
    HasAsked = 16,
    /// It is a queue of batches.
    IsBatch = 32,
}

/// The bits. Whoever sees one set sees what was done before that.
#[derive(Debug, Default)]
pub(crate) struct Flags(AtomicU8);

impl Flags {
    #[inline]
    pub(crate) fn has(&self, flag: Flag) -> bool {
        self.0.load(Ordering::Acquire) & flag as u8 != 0
    }

    /// Says whether it is so; whether it was before.
    #[inline]
    pub(crate) fn put(&self, flag: Flag, is_so: bool) -> bool {
        let before = match is_so {
            true => self.0.fetch_or(flag as u8, Ordering::AcqRel),
            false => self.0.fetch_and(!(flag as u8), Ordering::AcqRel),
        };
        before & flag as u8 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flag_is_one_of_its_own() {
        let flags = Flags::default();
        assert!(!flags.put(Flag::HasDir, true) && !flags.put(Flag::HasAsked, true));
        assert!(flags.put(Flag::HasDir, true));
        assert!(flags.has(Flag::HasDir) && flags.has(Flag::HasAsked) && !flags.has(Flag::IsMapped));
        assert!(flags.put(Flag::HasDir, false) && !flags.put(Flag::HasDir, false));
        assert!(!flags.has(Flag::HasDir) && flags.has(Flag::HasAsked));
    }
}
