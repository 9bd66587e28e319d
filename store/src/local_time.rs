// SPDX-License-Identifier: Apache-2.0
//! Local time, which Java names index files after and in which operators say when to delete.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use crate::env::Clock;

fn local(clock: &Clock, millis: i64) -> DateTime {
    let zone = if clock.is_system() {
        TimeZone::system()
    } else {
        TimeZone::UTC
    };
    let time = Timestamp::from_millisecond(millis).unwrap_or_default();
    zone.to_datetime(time)
}

/// A time as the number `yyyyMMddHHmmssSSS`; of a clock under somebody's control in UTC.
pub(crate) fn number_of(clock: &Clock, millis: i64) -> u64 {
    let time = local(clock, millis);
    let part = |value: i16| u64::from(value.unsigned_abs());
    let parts = [
        (i16::from(time.month()), 100),
        (i16::from(time.day()), 100),
        (i16::from(time.hour()), 100),
        (i16::from(time.minute()), 100),
        (i16::from(time.second()), 100),
        (time.millisecond(), 1000),
    ];
    parts
        .into_iter()
        .fold(part(time.year()), |number, (value, factor)| {
            number * factor + part(value)
        })
}

/// The hour of the day.
pub(crate) fn hour_of(clock: &Clock, millis: i64) -> u8 {
    local(clock, millis).hour().unsigned_abs()
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::env::Time;

    struct Still;

    impl Time for Still {
        fn wall_millis(&self) -> i64 {
            0
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    #[test]
    fn a_given_clock_is_in_utc() {
        let clock = Clock::given(Arc::new(Still));
        assert_eq!(number_of(&clock, 1_795_638_241_123), 20_261_125_202_401_123);
        assert_eq!(hour_of(&clock, 1_795_638_241_123), 20);
        assert_eq!(number_of(&clock, 0), 19_700_101_000_000_000);
    }
}
