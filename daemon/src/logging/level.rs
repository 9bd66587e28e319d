// SPDX-License-Identifier: Apache-2.0
//! What is logged: levels, for all or for parts, which may change while the process runs.

use std::{fmt, str::FromStr, sync::OnceLock};

use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::config::Value;

/// Words for levels.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Levels, as the flag and the key `logLevel` take them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels(String);

/// A text that is no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part:?} is not {}", Levels::EXPECTED)]
pub struct NoLevel {
    /// The part that is none.
    pub part: String,
}

impl FromStr for Levels {
    type Err = NoLevel;

    /// Stricter than the library, which takes an unknown word for the name of a part.
    fn from_str(text: &str) -> Result<Self, NoLevel> {
        let mut parts = text.split(',').map(str::trim);
        let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
        let bad = parts.find(|part| {
            let (target, level) = part.rsplit_once('=').unwrap_or(("all", part));
            target.trim().is_empty() || !is_level(level.trim())
        });
        match bad {
            Some(part) => Err(NoLevel {
                part: part.to_owned(),
            }),
            // The library takes no blanks.
            None => Ok(Self(text.split_whitespace().collect())),
        }
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Value for Levels {
    const EXPECTED: &'static str =
        "a level (off, error, warn, info, debug, trace), also for parts: info,aerobee_store=debug";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn text(&self) -> Option<String> {
        Some(self.0.clone())
    }
}

impl Levels {
    pub(super) fn filter(&self) -> Option<EnvFilter> {
        EnvFilter::try_new(&self.0).ok()
    }
}

pub(super) type Handle = reload::Handle<EnvFilter, Registry>;

static HANDLE: OnceLock<Handle> = OnceLock::new();

pub(super) fn keep(handle: Handle) {
    // A process has one log.
    let _ = HANDLE.set(handle);
}

/// Changes what is logged from now on; nothing happens before the log is started.
pub fn set_levels(levels: &Levels) {
    let (Some(handle), Some(filter)) = (HANDLE.get(), levels.filter()) else {
        return;
    };
    if handle.reload(filter).is_ok() {
        tracing::info!(%levels, "log level changed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_words_alone_or_for_parts() {
        for good in [
            "info",
            "WARN",
            "info,aerobee_store=debug",
            "off, aerobee::admin=info",
        ] {
            assert!(good.parse::<Levels>().unwrap().filter().is_some(), "{good}");
        }
        for bad in [
            "",
            "loud",
            "aerobee_store=loud",
            "info,",
            "=info",
            "info;debug",
        ] {
            assert!(bad.parse::<Levels>().is_err(), "{bad}");
        }
    }
}
