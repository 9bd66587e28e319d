// SPDX-License-Identifier: Apache-2.0
//! Configuration: each key is declared once, with its Java name, type, bounds, default and meaning.
//!
//! ```
//! use aerobee_daemon::{Config, Properties, config, config_parts};
//!
//! config! {
//!     /// Keys of a store.
//!     pub struct StoreKeys {
//!         /// Longest time written bytes wait for a flush, in milliseconds.
//!         "flushIntervalCommitLog" => flush_interval_commit_log: i64 [1..=60_000] = 500,
//!         /// Where everything is kept.
//!         "storePathRootDir" important => store_path_root_dir: String = "./data".to_owned(),
//!     }
//! }
//! config! {
//!     /// Keys of a server.
//!     pub struct ServerKeys {
//!         /// Port of the server.
//!         "listenPort" => listen_port: u16 = 10911,
//!     }
//! }
//! config_parts! {
//!     /// All keys of a broker: one file, several parts.
//!     pub struct BrokerKeys {
//!         /// The store.
//!         pub store: StoreKeys,
//!         /// The server.
//!         pub server: ServerKeys,
//!     }
//! }
//!
//! let mut config = Config::<BrokerKeys>::default();
//! let file = Properties::parse("listenPort = 11911\nmine = 1\nflushIntervalCommitLog = soon")?;
//! let report = config.apply(&file);
//! assert_eq!(config.server.listen_port, 11911);
//! assert_eq!(report.unknown, ["mine"]);
//! assert_eq!(
//!     report.into_result().unwrap_err().to_string(),
//!     "line 3: flushIntervalCommitLog = \"soon\": expected a whole number",
//! );
//! assert_eq!(config.to_properties().get("mine"), Some("1"));
//! # Ok::<(), aerobee_daemon::properties::Error>(())
//! ```
//!
//! Keys that are unknown are kept, reported once and read back, as in Apache's `Configuration.java`.
//! A value that Apache would drop silently (`MixAll.properties2Object`) is an error here.

mod declare;
mod value;

use std::{
    fmt,
    ops::{Deref, DerefMut},
    path::Path,
    sync::Arc,
};

pub use value::{Secret, Value};

use crate::{Properties, properties};

/// A key and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Apache's name.
    pub name: &'static str,
    /// Whether `-m` prints it.
    pub important: bool,
    /// Meaning and unit, as at its field.
    pub doc: &'static str,
    /// The values that it takes, as a range; empty where its type is the only bound.
    pub bounds: &'static str,
    /// The value when nothing is configured; none where Apache has `null`.
    pub default: Option<String>,
}

/// A key of Apache's that is accepted, kept and read back, and changes nothing here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idle {
    /// Apache's name.
    pub name: &'static str,
    /// Apache's default; none where it has `null`. It tells the type as well.
    pub default: Option<String>,
}

impl Idle {
    /// What the key takes, if it does not take this value.
    fn refuses(&self, value: &str) -> Option<&'static str> {
        let (value, default) = (value.trim(), self.default.as_deref()?);
        if i64::parse(default).is_some() {
            return i64::parse(value).is_none().then_some(i64::EXPECTED);
        }
        if f64::parse(default).is_some() {
            return f64::parse(value).is_none().then_some(f64::EXPECTED);
        }
        None
    }
}

/// A value that its key does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadValue {
    /// Name of the key.
    pub key: String,
    /// The value as it was given.
    pub value: String,
    /// What the key takes.
    pub expected: String,
    /// Line of the entry in its text, from 1.
    pub line: Option<u32>,
    /// The file, when it came from one.
    pub source: Option<Arc<Path>>,
}

impl BadValue {
    /// Without a place; [`Config::apply`] adds it.
    #[must_use]
    pub fn new(key: &str, value: &str, expected: impl Into<String>) -> Self {
        Self {
            key: key.to_owned(),
            value: value.to_owned(),
            expected: expected.into(),
            line: None,
            source: None,
        }
    }

    fn at(mut self, properties: &Properties) -> Self {
        self.line = properties.line(&self.key);
        self.source = properties.source().cloned();
        self
    }
}

impl fmt::Display for BadValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            write!(formatter, "{}, ", source.display())?;
        }
        if let Some(line) = self.line {
            write!(formatter, "line {line}: ")?;
        }
        write!(
            formatter,
            "{} = {:?}: expected {}",
            self.key, self.value, self.expected
        )
    }
}

/// Values that their keys do not take; one at least.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct BadValues(pub Vec<BadValue>);

impl fmt::Display for BadValues {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, bad) in self.0.iter().enumerate() {
            let separator = if place == 0 { "" } else { "; " };
            write!(formatter, "{separator}{bad}")?;
        }
        Ok(())
    }
}

/// Why a configuration file does not configure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read, or is no `.properties` text.
    #[error(transparent)]
    Text(#[from] properties::Error),
    /// Values that their keys do not take.
    #[error(transparent)]
    Values(#[from] BadValues),
}

/// A struct of keys, made by [`crate::config!`] or [`crate::config_parts!`].
pub trait Keys: Clone + Default {
    /// Every key in the order of declaration.
    fn keys() -> Vec<Key>;

    /// The text of a value: none if the key is unknown, `Some(None)` where Apache has `null`.
    fn text(&self, key: &str) -> Option<Option<String>>;

    /// Sets a value; false if the key is unknown.
    ///
    /// # Errors
    /// The key does not take this value; nothing is changed.
    fn put(&mut self, key: &str, value: &str) -> Result<bool, BadValue>;

    /// What a value that is taken will be taken for, if that may surprise.
    fn doubt(key: &str, value: &str) -> Option<&'static str>;

    /// Keys that change nothing here, none of which is among the others.
    fn idle() -> Vec<Idle> {
        Vec::new()
    }
}

/// Keys with their values, and the entries that no key claims.
#[derive(Debug, Clone, Default)]
pub struct Config<K> {
    keys: K,
    unknown: Properties,
}

/// What [`Config::apply`] met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Keys that nothing here knows. They are kept.
    pub unknown: Vec<String>,
    /// Values that were not taken; their keys keep what they had.
    pub bad: Vec<BadValue>,
    /// Values that were taken for something that may surprise; `expected` says for what.
    pub doubtful: Vec<BadValue>,
}

impl Report {
    /// Logs, once, what does not hinder a start: keys without effect, with the reason where there is
    /// one, and doubtful values.
    pub fn log(&self, reason: impl Fn(&str) -> Option<&'static str>) {
        let mut nameless = Vec::new();
        for key in &self.unknown {
            match reason(key) {
                Some(reason) => {
                    tracing::warn!(
                        key,
                        reason,
                        "this configuration key of Apache's has no effect here"
                    );
                }
                None => nameless.push(key.as_str()),
            }
        }
        if !nameless.is_empty() {
            tracing::warn!(keys = %nameless.join(", "), "unknown configuration keys are kept but have no effect");
        }
        for doubtful in &self.doubtful {
            tracing::warn!(
                key = doubtful.key,
                value = doubtful.value,
                taken_as = doubtful.expected,
                line = doubtful.line,
                "configuration value may not mean what it says"
            );
        }
    }

    /// # Errors
    /// There were bad values.
    pub fn into_result(self) -> Result<(), BadValues> {
        if self.bad.is_empty() {
            Ok(())
        } else {
            Err(BadValues(self.bad))
        }
    }
}

/// A configuration after a change at run time.
#[derive(Debug, Clone)]
pub struct Update<K> {
    /// The new one, to be put in the place of the old.
    pub config: Config<K>,
    /// Keys whose value is another now, with the new values, in the order of the change.
    pub changed: Properties,
    /// Keys that do not exist here; their entries are dropped, as in Apache's
    /// `Configuration.update`.
    pub ignored: Vec<String>,
}

/// Which keys to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// `-p`.
    All,
    /// `-m`.
    Important,
}

impl<K: Keys> Config<K> {
    /// `keys` with their values, nothing unknown.
    #[must_use]
    pub fn new(keys: K) -> Self {
        Self {
            keys,
            unknown: Properties::new(),
        }
    }

    /// `keys`, overridden by a file.
    ///
    /// # Errors
    /// The file cannot be read, or holds values that their keys do not take.
    pub fn load(keys: K, path: &Path) -> Result<(Self, Report), Error> {
        let mut config = Self::new(keys);
        let report = config.apply(&Properties::load(path)?);
        if report.bad.is_empty() {
            Ok((config, report))
        } else {
            Err(BadValues(report.bad).into())
        }
    }

    /// Takes every entry: known keys get their values, unknown ones are kept.
    pub fn apply(&mut self, properties: &Properties) -> Report {
        let mut report = Report::default();
        let idle = K::idle();
        for (key, value) in properties.iter() {
            match self.keys.put(key, value) {
                Ok(true) => {
                    if let Some(taken_as) = K::doubt(key, value) {
                        let doubtful = BadValue::new(key, value, taken_as);
                        report.doubtful.push(doubtful.at(properties));
                    }
                }
                Ok(false) => match refused(&idle, key, value) {
                    Some(bad) => report.bad.push(bad.at(properties)),
                    None => {
                        self.unknown.set(key, value);
                        report.unknown.push(key.to_owned());
                    }
                },
                Err(bad) => report.bad.push(bad.at(properties)),
            }
        }
        report
    }

    /// The configuration with `changes`, which go to keys that exist here or were in the file.
    ///
    /// # Errors
    /// Some key does not take its value. Then no change is made at all.
    pub fn updated(&self, changes: &Properties) -> Result<Update<K>, BadValues> {
        let mut config = self.clone();
        let mut changed = Properties::new();
        let mut ignored = Vec::new();
        let mut bad = Vec::new();
        for (key, value) in changes.iter() {
            match config.set(key, value) {
                Ok(Change::Made) => {
                    changed.set(key, config.get(key).unwrap_or_default());
                }
                Ok(Change::Same) => {}
                Ok(Change::Unknown) => ignored.push(key.to_owned()),
                Err(error) => bad.push(error.at(changes)),
            }
        }
        if bad.is_empty() {
            Ok(Update {
                config,
                changed,
                ignored,
            })
        } else {
            Err(BadValues(bad))
        }
    }

    /// Sets one key that exists here or was in the file.
    ///
    /// # Errors
    /// The key does not take this value; nothing is changed.
    pub fn set(&mut self, key: &str, value: &str) -> Result<Change, BadValue> {
        let before = self.get(key);
        if !self.keys.put(key, value)? {
            let idle = K::idle();
            if before.is_none() && !idle.iter().any(|idle| idle.name == key) {
                return Ok(Change::Unknown);
            }
            if let Some(bad) = refused(&idle, key, value) {
                return Err(bad);
            }
            self.unknown.set(key, value);
        }
        if before == self.get(key) {
            Ok(Change::Same)
        } else {
            Ok(Change::Made)
        }
    }

    /// The value of a key, known or not, as text.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<String> {
        match self.keys.text(key) {
            Some(value) => value,
            None => match self.unknown.get(key) {
                Some(value) => Some(value.to_owned()),
                None => K::idle().into_iter().find(|idle| idle.name == key)?.default,
            },
        }
    }

    /// The keys that were given and that nothing here knows: they are kept and do nothing.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        self.unknown.iter().map(|(key, _)| key)
    }

    /// Everything: known keys in the order of declaration, those that change nothing, then the unknown.
    /// Keys without a value (Apache: `null`) are left out.
    #[must_use]
    pub fn to_properties(&self) -> Properties {
        let mut properties: Properties = K::keys()
            .iter()
            .filter_map(|key| Some((key.name, self.keys.text(key.name)??)))
            .collect();
        for idle in K::idle() {
            if let Some(default) = idle.default {
                properties.set(idle.name, default);
            }
        }
        for (key, value) in self.unknown.iter() {
            properties.set(key, value);
        }
        properties
    }

    /// What `-p` and `-m` print: `key=value` lines.
    #[must_use]
    pub fn listing(&self, listing: Listing) -> String {
        let properties = self.to_properties();
        if listing == Listing::All {
            return properties.to_string();
        }
        let keys = K::keys();
        let important = keys.iter().filter(|key| key.important);
        let pairs = important.map(|key| (key.name, self.get(key.name).unwrap_or_default()));
        Properties::from_iter(pairs).to_string()
    }
}

/// The error about a value that a key without effect does not take either.
fn refused(idle: &[Idle], key: &str, value: &str) -> Option<BadValue> {
    let idle = idle.iter().find(|idle| idle.name == key)?;
    let expected = idle.refuses(value)?;
    Some(BadValue::new(key, value, expected))
}

/// What [`Config::set`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The key has another value now.
    Made,
    /// It had this value already.
    Same,
    /// There is no such key; nothing was set.
    Unknown,
}

impl<K> Deref for Config<K> {
    type Target = K;

    fn deref(&self) -> &K {
        &self.keys
    }
}

impl<K> DerefMut for Config<K> {
    fn deref_mut(&mut self) -> &mut K {
        &mut self.keys
    }
}

#[cfg(test)]
mod tests;
