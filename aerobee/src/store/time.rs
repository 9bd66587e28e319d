// SPDX-License-Identifier: Apache-2.0
//! Times as people write and read them.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use super::Error;

/// Milliseconds since 1970 of a time in UTC, in local time without a zone, or in milliseconds.
pub(super) fn parse(given: &str) -> Result<i64, Error> {
    if let Ok(millis) = given.parse::<i64>() {
        return Ok(millis);
    }
    if let Ok(time) = given.parse::<Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let local = given
        .parse::<DateTime>()
        .ok()
        .and_then(|time| TimeZone::system().to_timestamp(time).ok());
    local
        .map(|time| time.as_millisecond())
        .ok_or_else(|| Error::Time {
            given: given.to_owned(),
        })
}

/// A time in UTC.
pub(super) fn text(millis: i64) -> String {
    Timestamp::from_millisecond(millis)
        .map_or_else(|_| format!("{millis} ms"), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form() {
        assert_eq!(parse("1795638241123").ok(), Some(1_795_638_241_123));
        let utc = parse("2026-11-25T20:24:01.123Z").ok();
        assert_eq!(utc, Some(1_795_638_241_123));
        assert!(parse("2026-11-25 20:24:01").is_ok());
        assert!(parse("yesterday").is_err());
        assert_eq!(text(1_795_638_241_123), "2026-11-25T20:24:01.123Z");
    }
}
