// SPDX-License-Identifier: Apache-2.0
//! What of a topic a consumer wants: some tags, or what an SQL92 expression says. Apache:
//! `ExpressionMessageFilter`, `FilterAPI`.

pub mod sql;

use std::{collections::HashMap, sync::Arc};

use aerobee_message::{
    RecordView,
    properties::keys,
    tags::{TagError, TagFilter},
};
use aerobee_store::Accept;

use sql::{Sql, SqlError};

/// Name of the expression type of SQL92.
pub const SQL92: &str = "SQL92";
/// Says that filters by properties are turned off.
pub(crate) const NO_PROPERTY_FILTER: &str = "The broker does not support consumer to filter message by SQL92: enablePropertyFilter is false";

/// A compiled subscription expression. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Filter {
    /// Matched by the code in the queue entry.
    Tags(TagFilter),
    /// Matched by the properties of the stored message.
    Sql(Arc<Sql>),
    /// As [`Filter::Sql`], each message by what is wanted of the topic that it was sent to.
    Retried(Arc<ByTopic>),
}

/// Expressions of a group by topic.
#[derive(Debug)]
pub struct ByTopic(HashMap<Box<str>, Arc<Sql>>);

impl ByTopic {
    /// What a group wants; topics of which it wants tags do not count.
    pub fn new<'a>(wanted: impl Iterator<Item = (&'a str, &'a Filter)>) -> Self {
        Self(
            wanted
                .filter_map(|(topic, filter)| match filter {
                    Filter::Sql(sql) => Some((topic.into(), Arc::clone(sql))),
                    Filter::Tags(_) | Filter::Retried(_) => None,
                })
                .collect(),
        )
    }

    /// A message of a topic without an expression matches.
    fn matches(&self, record: &RecordView<'_>) -> bool {
        let properties = record.properties();
        properties
            .get(keys::RETRY_TOPIC)
            .and_then(|topic| self.0.get(topic))
            .is_none_or(|sql| sql.matches(properties))
    }
}

/// Why an expression was refused.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// It names no tag.
    #[error(transparent)]
    Tags(#[from] TagError),
    /// It is no SQL92 expression.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The type is neither TAG nor SQL92.
    #[error("expression type {0} is unknown; there are TAG and SQL92")]
    Kind(String),
}

impl Filter {
    /// The filter that accepts every message.
    pub const ALL: Self = Self::Tags(TagFilter::ALL);

    /// Compiles an expression; without a type it consists of tags.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(kind: Option<&str>, expression: &str) -> Result<Self, FilterError> {
        match kind {
            kind if is_tag_type(kind) => Ok(Self::Tags(TagFilter::parse(expression)?)),
            Some(SQL92) => Ok(Self::Sql(Arc::new(Sql::parse(expression)?))),
            kind => Err(FilterError::Kind(kind.unwrap_or_default().to_owned())),
        }
    }

    /// Whether a message can match, going by the code of its queue entry.
    #[inline]
    pub fn accepts_code(&self, code: i64) -> bool {
        match self {
            Self::Tags(tags) => tags.matches(code),
            Self::Sql(_) | Self::Retried(_) => true,
        }
    }

    /// Whether a stored message, whose code was accepted, matches.
    #[inline]
    pub fn accepts_record(&self, record: &[u8]) -> bool {
        match self {
            Self::Tags(_) => true,
            Self::Sql(sql) => {
                RecordView::parse(record).is_ok_and(|record| sql.matches(record.properties()))
            }
            Self::Retried(by_topic) => {
                RecordView::parse(record).is_ok_and(|record| by_topic.matches(&record))
            }
        }
    }
}

impl Accept for &Filter {
    #[inline]
    fn code(&mut self, code: i64) -> bool {
        self.accepts_code(code)
    }

    #[inline]
    fn record(&mut self, record: &[u8]) -> bool {
        self.accepts_record(record)
    }
}

/// Whether an expression type, which may be missing, stands for tags.
pub fn is_tag_type(kind: Option<&str>) -> bool {
    matches!(kind, None | Some("" | "TAG"))
}
