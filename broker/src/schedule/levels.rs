// SPDX-License-Identifier: Apache-2.0
//! The delays of the levels (`messageDelayLevel`). Apache: `ScheduleMessageService.parseDelayLevel`.

use thiserror::Error;

/// Most levels: each has a queue of its own.
const LEVELS_MAX: usize = 1024;
/// Longest delay of a level: a hundred years, so that sums with times do not overflow.
const DELAY_MAX_MILLIS: i64 = 100 * 365 * 86_400_000;

/// Why delays cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LevelError {
    /// A part is no number with a unit.
    #[error("{0:?} is no delay: write a number and one of s, m, h, d, as in \"1s 5s 10s 30s 1m\"")]
    Delay(String),
    /// Too many of them.
    #[error("{0} levels are too many, at most {LEVELS_MAX}")]
    TooMany(usize),
}

/// Delays in milliseconds, that of level 1 first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayLevels(Vec<i64>);

impl DelayLevels {
    /// Reads delays as they are configured: `1s 5s 10s`.
    ///
    /// # Errors
    /// A part is no delay, or there are too many.
    pub fn parse(text: &str) -> Result<Self, LevelError> {
        let delays: Result<Vec<i64>, LevelError> = text.split(' ').map(delay).collect();
        let delays = delays?;
        if delays.len() > LEVELS_MAX {
            return Err(LevelError::TooMany(delays.len()));
        }
        Ok(Self(delays))
    }

    /// The highest level, which is the number of levels.
    pub fn highest(&self) -> i32 {
        i32::try_from(self.0.len()).unwrap_or(i32::MAX)
    }

    /// The level that counts for a level asked for: none below 1, the highest for a higher one.
    pub fn clamp(&self, level: i32) -> Option<i32> {
        (level > 0).then(|| level.min(self.highest()))
    }

    /// The delay of a level that exists, in milliseconds.
    pub fn millis(&self, level: i32) -> Option<i64> {
        let index = usize::try_from(level.checked_sub(1)?).ok()?;
        self.0.get(index).copied()
    }

    /// All delays in milliseconds, that of level 1 first.
    pub fn all(&self) -> &[i64] {
        &self.0
    }
}

fn delay(text: &str) -> Result<i64, LevelError> {
    let refused = || LevelError::Delay(text.to_owned());
    let unit = match text.chars().last() {
        Some('s') => 1_000,
        Some('m') => 60_000,
        Some('h') => 3_600_000,
        Some('d') => 86_400_000,
        _ => return Err(refused()),
    };
    let number: i64 = text[..text.len() - 1].parse().map_err(|_| refused())?;
    number
        .checked_mul(unit)
        .filter(|millis| (0..=DELAY_MAX_MILLIS).contains(millis))
        .ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_have_units() {
        let levels = DelayLevels::parse("1s 5m 2h 1d").unwrap();
        assert_eq!(levels.all(), [1_000, 300_000, 7_200_000, 86_400_000]);
        assert_eq!((levels.clamp(0), levels.clamp(-1)), (None, None));
        assert_eq!((levels.clamp(3), levels.clamp(99)), (Some(3), Some(4)));
        assert_eq!(
            (levels.millis(4), levels.millis(5)),
            (Some(86_400_000), None)
        );
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "1",
            "s",
            "1s  5s",
            "1x",
            "-1s",
            "99999999999999999d",
            "1ß",
        ] {
            assert!(DelayLevels::parse(text).is_err(), "{text}");
        }
    }
}
