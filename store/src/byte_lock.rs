// SPDX-License-Identifier: Apache-2.0
//! The lock that Java's `FileChannel.tryLock(0, 1, false)` takes: a POSIX record lock on the first byte of a file.

use std::{fs::File, io, os::fd::AsRawFd as _};

/// Takes the lock without waiting; `false` when another process has it.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the constants of the kernel fit the fields that it has for them"
)]
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    // SAFETY: all fields of this structure are numbers, for which zero is a value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = 0;
    lock.l_len = 1;
    // SAFETY: the descriptor is open as long as `file` is borrowed, and `lock` outlives the call.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const lock) } == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EAGAIN) => Ok(false),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_byte_is_locked() {
        let file = tempfile::tempfile().unwrap();
        assert!(try_lock(&file).unwrap());
        // The kernel lists each lock with process and range.
        let mine = std::process::id().to_string();
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        let ranges: Vec<&str> = locks
            .lines()
            .filter(|line| line.contains("POSIX") && line.split_whitespace().nth(4) == Some(&mine))
            .collect();
        assert!(
            ranges.iter().any(|line| line.ends_with(" 0 0")),
            "{ranges:?}"
        );
        assert!(
            ranges.iter().all(|line| !line.ends_with("EOF")),
            "{ranges:?}"
        );
    }
}
