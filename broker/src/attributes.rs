// SPDX-License-Identifier: Apache-2.0
//! Attributes of topics and groups: which there are, and how a request changes them.
//!
//! A request lists changes: `+name` with a value adds or replaces, `-name` removes. What is stored
//! carries no sign. Apache: `AttributeUtil`, `AttributeParser`, `TopicAttributes`,
//! `SubscriptionGroupAttributes`; the leading words of the errors are theirs.

use std::collections::BTreeMap;

/// Stored attributes, or changes to them.
pub type Attributes = BTreeMap<String, String>;

/// Most changes in one request.
const CHANGES_MAX: usize = 1024;

/// Why a change of attributes is refused; nothing was changed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// No sign, no name, or a sign within the name.
    #[error("kv string format wrong.")]
    Format,
    /// A value without `+`.
    #[error("add/alter attribute format is wrong: {0}")]
    AddFormat(String),
    /// No value and no `-`.
    #[error("delete attribute format is wrong: {0}")]
    DeleteFormat(String),
    /// A name without a sign.
    #[error("wrong format key: {0}")]
    NoSign(String),
    /// The same name twice.
    #[error("alter duplication key. key: {0}")]
    Duplicate(String),
    /// What does not exist yet has nothing to remove.
    #[error("only add attribute is supported while creating topic. key: {0}")]
    OnlyAdd(String),
    /// There is nothing of that name to remove.
    #[error("attempt to delete a nonexistent key: {0}")]
    Missing(String),
    /// There is no such attribute.
    #[error("unsupported key: {0}")]
    Unsupported(String),
    /// The attribute is fixed once the topic exists.
    #[error("attempt to update an unchangeable attribute. key: {0}")]
    Unchangeable(String),
    /// The value is none of the allowed ones.
    #[error("value is not in set: [{}]; {key} was {value}", allowed.join(", "))]
    NotInSet {
        /// The attribute.
        key: String,
        /// The value given.
        value: String,
        /// What it may be.
        allowed: &'static [&'static str],
    },
    /// The value is no number within the bounds.
    #[error("value is not in range({min}, {max}); {key} was {value}")]
    NotInRange {
        /// The attribute.
        key: String,
        /// The value given.
        value: String,
        /// Least value.
        min: i64,
        /// Greatest value.
        max: i64,
    },
    /// The value is neither true nor false.
    #[error("boolean attribute format is wrong. {key} was {value}")]
    NotBoolean {
        /// The attribute.
        key: String,
        /// The value given.
        value: String,
    },
    /// So many changes are no honest request.
    #[error("too many attributes: {0}, at most 1024 in one request")]
    TooMany(usize),
}

/// What values an attribute takes.
#[derive(Debug, Clone, Copy)]
enum Kind {
    OneOf(&'static [&'static str]),
    Range(i64, i64),
    Boolean,
    Text,
}

/// One attribute that exists.
#[derive(Debug)]
pub struct Attribute {
    name: &'static str,
    changeable: bool,
    kind: Kind,
}

const fn changeable(name: &'static str, kind: Kind) -> Attribute {
    Attribute {
        name,
        changeable: true,
        kind,
    }
}

const fn fixed(name: &'static str, kind: Kind) -> Attribute {
    Attribute {
        name,
        changeable: false,
        kind,
    }
}

/// Attributes of topics.
pub const TOPIC: &[Attribute] = &[
    fixed("queue.type", Kind::OneOf(&["BatchCQ", "SimpleCQ"])),
    fixed("cleanup.policy", Kind::OneOf(&["COMPACTION", "DELETE"])),
    changeable(
        "message.type",
        Kind::OneOf(&[
            "DELAY",
            "FIFO",
            "LITE",
            "MIXED",
            "NORMAL",
            "PRIORITY",
            "TRANSACTION",
            "UNSPECIFIED",
        ]),
    ),
    changeable("reserve.time", Kind::Range(-1, i64::MAX)),
    changeable("lite.topic.expiration", Kind::Range(-1, 43_200)),
];

/// Attributes of groups.
pub const GROUP: &[Attribute] = &[
    changeable("priority.factor", Kind::Range(0, 100)),
    changeable("lite.bind.topic", Kind::Text),
    changeable("lite.sub.model", Kind::OneOf(&["Exclusive", "Shared"])),
    changeable("lite.sub.reset.offset.exclusive", Kind::Boolean),
    changeable("lite.sub.reset.offset.unsubscribe", Kind::Boolean),
    changeable("lite.sub.client.quota", Kind::Range(-1, i64::MAX)),
    changeable("lite.sub.client.max.event.cnt", Kind::Range(10, i64::MAX)),
    changeable("lite.sub.wildcard", Kind::Boolean),
];

/// Reads the changes of a header: `+name=value,-name`.
///
/// # Errors
/// See the variants of [`AttributeError`].
pub fn parse_changes(text: &str) -> Result<Attributes, AttributeError> {
    let mut changes = Attributes::new();
    if text.is_empty() {
        return Ok(changes);
    }
    for part in text.split(',') {
        let (key, value) = match part.split_once('=') {
            Some((key, _)) if !key.contains('+') => {
                return Err(AttributeError::AddFormat(key.to_owned()));
            }
            Some(pair) => pair,
            None if !part.contains('-') => {
                return Err(AttributeError::DeleteFormat(part.to_owned()));
            }
            None => (part, ""),
        };
        if changes.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(AttributeError::Duplicate(key.to_owned()));
        }
        if changes.len() > CHANGES_MAX {
            return Err(AttributeError::TooMany(changes.len()));
        }
    }
    Ok(changes)
}

/// Applies changes to the attributes of something that exists, or, without `current`, is created.
///
/// # Errors
/// See the variants of [`AttributeError`].
pub fn alter(
    known: &[Attribute],
    current: Option<&Attributes>,
    changes: &Attributes,
) -> Result<Attributes, AttributeError> {
    if changes.len() > CHANGES_MAX {
        return Err(AttributeError::TooMany(changes.len()));
    }
    let mut altered = current.cloned().unwrap_or_default();
    let mut seen = Vec::with_capacity(changes.len());
    for (key, value) in changes {
        let change = Change::read(key)?;
        let name = change.name();
        if seen.contains(&name) {
            return Err(AttributeError::Duplicate(name.to_owned()));
        }
        seen.push(name);
        match (change, current) {
            (Change::Set(_), None) => {
                find(known, name)?.check(value)?;
                altered.insert(name.to_owned(), value.clone());
            }
            (_, None) => return Err(AttributeError::OnlyAdd(name.to_owned())),
            (Change::Set(_), Some(_)) => {
                let attribute = find(known, name)?;
                attribute.check_changeable()?;
                attribute.check(value)?;
                altered.insert(name.to_owned(), value.clone());
            }
            (Change::Remove(_), Some(current)) => {
                if !current.contains_key(name) {
                    return Err(AttributeError::Missing(name.to_owned()));
                }
                find(known, name)?.check_changeable()?;
                altered.remove(name);
            }
            (Change::Unsigned(_), Some(_)) => {
                return Err(AttributeError::NoSign(name.to_owned()));
            }
        }
    }
    Ok(altered)
}

enum Change<'a> {
    Set(&'a str),
    Remove(&'a str),
    Unsigned(&'a str),
}

impl<'a> Change<'a> {
    /// The first character is the sign, whatever it is; the rest is the name.
    fn read(key: &'a str) -> Result<Self, AttributeError> {
        let mut rest = key.chars();
        let sign = rest.next();
        let name = rest.as_str();
        if name.is_empty() || name.contains(['+', '-']) {
            return Err(AttributeError::Format);
        }
        Ok(match sign {
            Some('+') => Self::Set(name),
            Some('-') => Self::Remove(name),
            _ => Self::Unsigned(name),
        })
    }

    fn name(&self) -> &'a str {
        match self {
            Self::Set(name) | Self::Remove(name) | Self::Unsigned(name) => name,
        }
    }
}

fn find<'a>(known: &'a [Attribute], name: &str) -> Result<&'a Attribute, AttributeError> {
    known
        .iter()
        .find(|attribute| attribute.name == name)
        .ok_or_else(|| AttributeError::Unsupported(name.to_owned()))
}

impl Attribute {
    fn check_changeable(&self) -> Result<(), AttributeError> {
        if self.changeable {
            Ok(())
        } else {
            Err(AttributeError::Unchangeable(self.name.to_owned()))
        }
    }

    fn check(&self, value: &str) -> Result<(), AttributeError> {
        let (key, value_owned) = (|| self.name.to_owned(), || value.to_owned());
        match self.kind {
            Kind::OneOf(allowed) if !allowed.contains(&value) => Err(AttributeError::NotInSet {
                key: key(),
                value: value_owned(),
                allowed,
            }),
            Kind::Range(min, max)
                if !value
                    .parse()
                    .is_ok_and(|number: i64| (min..=max).contains(&number)) =>
            {
                Err(AttributeError::NotInRange {
                    key: key(),
                    value: value_owned(),
                    min,
                    max,
                })
            }
            Kind::Boolean
                if !value.eq_ignore_ascii_case("true") && !value.eq_ignore_ascii_case("false") =>
            {
                Err(AttributeError::NotBoolean {
                    key: key(),
                    value: value_owned(),
                })
            }
            Kind::OneOf(_) | Kind::Range(..) | Kind::Boolean | Kind::Text => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(pairs: &[(&str, &str)]) -> Attributes {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_header_lists_changes() {
        let changes = parse_changes("+message.type=FIFO,-reserve.time").unwrap();
        assert_eq!(
            changes,
            attributes(&[("+message.type", "FIFO"), ("-reserve.time", "")])
        );
        assert!(parse_changes("").unwrap().is_empty());
        assert!(matches!(
            parse_changes("a=b"),
            Err(AttributeError::AddFormat(_))
        ));
        assert!(matches!(
            parse_changes("+a"),
            Err(AttributeError::DeleteFormat(_))
        ));
        assert!(matches!(
            parse_changes("+a=1,+a=2"),
            Err(AttributeError::Duplicate(_))
        ));
    }

    #[test]
    fn creating_takes_additions_only() {
        let altered = alter(TOPIC, None, &attributes(&[("+queue.type", "BatchCQ")])).unwrap();
        assert_eq!(altered, attributes(&[("queue.type", "BatchCQ")]));
        let removed = alter(TOPIC, None, &attributes(&[("-queue.type", "")]));
        assert_eq!(removed, Err(AttributeError::OnlyAdd("queue.type".into())));
    }

    #[test]
    fn changing_replaces_adds_and_removes() {
        let current = attributes(&[("message.type", "FIFO"), ("reserve.time", "1")]);
        let changes = attributes(&[("+message.type", "DELAY"), ("-reserve.time", "")]);
        let altered = alter(TOPIC, Some(&current), &changes).unwrap();
        assert_eq!(altered, attributes(&[("message.type", "DELAY")]));
        let none = alter(TOPIC, Some(&current), &Attributes::new()).unwrap();
        assert_eq!(none, current);
    }

    #[test]
    fn bad_changes_are_refused() {
        let current = attributes(&[("queue.type", "SimpleCQ")]);
        for (key, value, expected) in [
            (
                "+queue.type",
                "BatchCQ",
                "attempt to update an unchangeable attribute. key: queue.type",
            ),
            ("+no.such", "1", "unsupported key: no.such"),
            (
                "-reserve.time",
                "",
                "attempt to delete a nonexistent key: reserve.time",
            ),
            ("message.type", "FIFO", "wrong format key: essage.type"),
            ("+a-b", "1", "kv string format wrong."),
            ("+", "1", "kv string format wrong."),
            (
                "+reserve.time",
                "-2",
                "value is not in range(-1, 9223372036854775807); reserve.time was -2",
            ),
            (
                "+reserve.time",
                "x",
                "value is not in range(-1, 9223372036854775807); reserve.time was x",
            ),
        ] {
            let error = alter(TOPIC, Some(&current), &attributes(&[(key, value)])).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
        let both = attributes(&[("+reserve.time", "1"), ("-reserve.time", "")]);
        let error = alter(TOPIC, Some(&current), &both).unwrap_err();
        assert_eq!(error, AttributeError::Duplicate("reserve.time".into()));
        let error = alter(GROUP, None, &attributes(&[("+lite.sub.model", "shared")])).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("value is not in set: [Exclusive, Shared]")
        );
        assert!(alter(GROUP, None, &attributes(&[("+lite.sub.wildcard", "TRUE")])).is_ok());
        assert!(alter(GROUP, None, &attributes(&[("+lite.sub.wildcard", "1")])).is_err());
    }
}
