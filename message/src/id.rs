// SPDX-License-Identifier: Apache-2.0
//! Message ids: the place of a message as hexadecimal text, and the unique key that clients normally make.

use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        LazyLock,
        atomic::{AtomicI64, AtomicU16, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// The two upper-case hexadecimal digits of each byte.
const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789ABCDEF";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < pairs.len() {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};
/// Characters of an id with an IPv4 address.
pub const V4_CHARS: usize = 2 * (4 + 4 + 8);
/// Characters of an id with an IPv6 address.
pub const V6_CHARS: usize = 2 * (16 + 4 + 8);

/// Writes bytes as upper-case hexadecimal; returns the characters written.
fn hex(out: &mut [u8], bytes: &[u8]) -> usize {
    let (pairs, _) = out.as_chunks_mut();
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        *pair = HEX[usize::from(*byte)];
    }
    bytes.len() * 2
}

fn unhex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Room for one offset message id, so that making one allocates nothing.
#[derive(Debug, Clone)]
pub struct Buffer([u8; V6_CHARS]);

impl Default for Buffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Buffer {
    /// An empty buffer.
    #[must_use]
    pub const fn new() -> Self {
        Self([0; V6_CHARS])
    }

    /// The offset message id: upper-case hexadecimal of address (4 or 16 bytes), port (4) and physical offset (8).
    #[inline]
    pub fn format(&mut self, store_host: SocketAddr, physical: i64) -> &str {
        let out = &mut self.0;
        let mut at = match store_host.ip() {
            IpAddr::V4(ip) => hex(out, &ip.octets()),
            IpAddr::V6(ip) => hex(out, &ip.octets()),
        };
        at += hex(&mut out[at..], &u32::from(store_host.port()).to_be_bytes());
        at += hex(&mut out[at..], &physical.to_be_bytes());
        std::str::from_utf8(&out[..at]).unwrap_or_default()
    }
}

/// Reads an offset message id; `None` for anything else. Ports above 65,535 and negative offsets are refused.
#[must_use]
pub fn parse(id: &str) -> Option<(SocketAddr, i64)> {
    let digits = id.as_bytes();
    if digits.len() != V4_CHARS && digits.len() != V6_CHARS {
        return None;
    }
    let mut bytes = [0u8; V6_CHARS / 2];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = unhex(pair[0])? << 4 | unhex(pair[1])?;
    }
    let (ip, rest): (IpAddr, &[u8]) = if digits.len() == V4_CHARS {
        let (ip, rest) = bytes.split_first_chunk::<4>()?;
        (Ipv4Addr::from(*ip).into(), rest)
    } else {
        let (ip, rest) = bytes.split_first_chunk::<16>()?;
        (Ipv6Addr::from(*ip).into(), rest)
    };
    let (port, rest) = rest.split_first_chunk::<4>()?;
    let port = u16::try_from(u32::from_be_bytes(*port)).ok()?;
    let physical = i64::from_be_bytes(*rest.first_chunk::<8>()?);
    (physical >= 0).then_some((SocketAddr::new(ip, port), physical))
}

/// A unique key made here, as text of 32 characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UniqueKey([u8; V4_CHARS]);

impl UniqueKey {
    /// The text.
    #[must_use]
    #[inline]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Makes keys for messages that arrive without one. Layout as Java's `MessageClientIDSetter`: address 4, process id 2,
/// a number of this process 4, milliseconds since the start of the month 4, counter 2.
///
/// This crate asks nobody for the machine's address: its place is filled with random bytes, as Java does when it finds
/// no address. The month is that of UTC.
#[derive(Debug)]
pub struct UniqueKeys {
    /// Address, process id and random number.
    prefix: [u8; 10],
    counter: AtomicU16,
    month_start: AtomicI64,
    month_end: AtomicI64,
}

impl UniqueKeys {
    /// A generator whose first ten bytes are `prefix`.
    #[must_use]
    pub const fn new(prefix: [u8; 10]) -> Self {
        Self {
            prefix,
            counter: AtomicU16::new(0),
            month_start: AtomicI64::new(0),
            month_end: AtomicI64::new(0),
        }
    }

    fn of_process() -> Self {
        let random = RandomState::new().hash_one("unique key").to_be_bytes();
        let pid = std::process::id().to_be_bytes();
        let [a, b, c, d, e, f, g, h] = random;
        Self::new([a, b, c, d, pid[2], pid[3], e, f, g, h])
    }

    /// The next key at a wall-clock time in milliseconds.
    pub fn next(&self, now: i64) -> UniqueKey {
        let mut start = self.month_start.load(Relaxed);
        if now >= self.month_end.load(Relaxed) || now < start {
            let (first, end) = month_around(now);
            self.month_start.store(first, Relaxed);
            self.month_end.store(end, Relaxed);
            start = first;
        }
        let mut bytes = [0; 16];
        bytes[..10].copy_from_slice(&self.prefix);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a month has fewer than 2^32 milliseconds"
        )]
        bytes[10..14].copy_from_slice(&((now - start) as u32).to_be_bytes());
        bytes[14..].copy_from_slice(&self.counter.fetch_add(1, Relaxed).to_be_bytes());
        let mut text = [0; V4_CHARS];
        hex(&mut text, &bytes);
        UniqueKey(text)
    }
}

/// A key from the generator of this process, at the time of the system clock.
#[must_use]
pub fn unique_key() -> UniqueKey {
    static KEYS: LazyLock<UniqueKeys> = LazyLock::new(UniqueKeys::of_process);
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    KEYS.next(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

const DAY_MILLIS: i64 = 86_400_000;

/// Start of the UTC month that holds a time, and of the next one.
fn month_around(now: i64) -> (i64, i64) {
    let day = now.div_euclid(DAY_MILLIS);
    // Days are counted in years that start in March, so that the leap day is the last of a year.
    let from_march_0 = day + 719_468;
    let era = from_march_0.div_euclid(146_097);
    let day_of_era = from_march_0.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let first_of_month = (153 * month + 2) / 5;
    let year = era * 400 + year_of_era;
    let days = match month {
        1 | 3 | 6 | 8 => 30,
        11 => {
            28 + i64::from((year + 1) % 4 == 0 && ((year + 1) % 100 != 0 || (year + 1) % 400 == 0))
        }
        _ => 31,
    };
    let start = day - (day_of_year - first_of_month);
    (start * DAY_MILLIS, (start + days) * DAY_MILLIS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_ids() {
        let mut buffer = Buffer::new();
        let host = "192.168.0.1:10911".parse().unwrap();
        assert_eq!(buffer.format(host, 16), "C0A8000100002A9F0000000000000010");
        assert_eq!(parse("c0a8000100002A9F0000000000000010"), Some((host, 16)));
        let six = "[2001:db8::7]:9".parse().unwrap();
        let text = buffer.format(six, i64::MAX).to_owned();
        assert_eq!(text.len(), V6_CHARS);
        assert_eq!(parse(&text), Some((six, i64::MAX)));
        for bad in [
            "",
            "C0A8000100002A9F000000000000001",
            "C0A80001FFFFFFFF0000000000000010",
            "xx",
        ] {
            assert_eq!(parse(bad), None);
        }
        assert_eq!(parse("C0A8000100002A9FF000000000000010"), None);
        assert_eq!(parse("C0A8000100002A9F00000000000000é"), None);
    }

    #[test]
    fn months() {
        let day = |days: i64| days * DAY_MILLIS;
        assert_eq!(month_around(0), (0, day(31)));
        assert_eq!(month_around(day(31)), (day(31), day(59)));
        // February 2024 has 29 days: 2024-02-01 is day 19,754.
        assert_eq!(month_around(day(19_782) + 5), (day(19_754), day(19_783)));
        // Each month ends where the next begins, for 800 years.
        let mut at = 0;
        for _ in 0..800 * 12 {
            let (start, end) = month_around(at);
            assert_eq!(start, at);
            assert_eq!(month_around(end - 1), (start, end));
            at = end;
        }
        assert_eq!(at, day(2 * 146_097));
    }

    #[test]
    fn unique_keys_differ_and_tell_the_time() {
        let keys = UniqueKeys::new(*b"\x0A\x00\x00\x01\x12\x34abcd");
        let (one, two) = (keys.next(5), keys.next(5));
        assert_eq!(one.as_str(), "0A000001123461626364000000050000");
        assert_eq!(two.as_str(), "0A000001123461626364000000050001");
        assert_ne!(unique_key(), unique_key());
    }
}
