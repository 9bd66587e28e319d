// SPDX-License-Identifier: Apache-2.0
//! CPU time and memory of processes, from `/proc`.

use std::{fs, io, time::Duration};

use crate::Error;

/// CPU time that the processes have used, in user and kernel mode, all threads, ended ones included.
/// Its grain is the kernel's clock tick, mostly 10 ms.
pub(crate) fn cpu_time(pids: &[u32]) -> Result<Duration, Error> {
    let mut ticks = 0;
    for &pid in pids {
        let stat = read(pid, "stat")?;
        ticks += ticks_of(&stat).ok_or_else(|| malformed(pid))?;
    }
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// Anonymous memory of the processes that is in RAM, in bytes: heap, stacks, no file pages.
pub(crate) fn anonymous_bytes(pids: &[u32]) -> Result<u64, Error> {
    let mut bytes = 0;
    for &pid in pids {
        let status = read(pid, "status")?;
        bytes += anonymous_of(&status).ok_or_else(|| malformed(pid))?;
    }
    Ok(bytes)
}

fn read(pid: u32, file: &str) -> Result<String, Error> {
    fs::read_to_string(format!("/proc/{pid}/{file}"))
        .map_err(|source| Error::Process { pid, source })
}

fn malformed(pid: u32) -> Error {
    Error::Process {
        pid,
        source: io::ErrorKind::InvalidData.into(),
    }
}

/// utime + stime, fields 14 and 15; the name before them may hold blanks and parentheses.
fn ticks_of(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn anonymous_of(status: &str) -> Option<u64> {
    bytes_of(status, "RssAnon:")
}

/// A line of `/proc` that counts kilobytes, in bytes; the name has its colon.
pub(crate) fn bytes_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_stand_behind_any_name() {
        let stat = "42 (a ) (b) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 5 0 77";
        assert_eq!(ticks_of(stat), Some(300));
        assert_eq!(ticks_of("42 (x) S 1"), None);
    }

    #[test]
    fn anonymous_memory_is_in_kilobytes() {
        assert_eq!(
            anonymous_of("VmRSS:\t 9 kB\nRssAnon:\t    4096 kB\n"),
            Some(4 << 20)
        );
        assert_eq!(anonymous_of("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_has_both() {
        let pid = std::process::id();
        let before = cpu_time(&[pid]).unwrap();
        assert!(anonymous_bytes(&[pid]).unwrap() > 0);
        // Work until the clock moves: it must, as long as this loop is what uses the CPU.
        while cpu_time(&[pid]).unwrap() == before {}
        assert!(matches!(
            cpu_time(&[u32::MAX]),
            Err(Error::Process { pid: u32::MAX, .. })
        ));
    }
}
