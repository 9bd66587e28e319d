// SPDX-License-Identifier: Apache-2.0
//! SQL92 filters: a boolean expression over the properties of a message.
//!
//! The language is that of Apache's `filter` module (`SelectorParser.jj`,
//! `ComparisonExpression`, `UnaryExpression`, `LogicExpression`), with what it does differently from
//! SQL: properties are texts, a comparison turns the text into the class of the literal beside it,
//! and an error anywhere means that the message does not match.

mod eval;
mod lex;
mod parse;

use aerobee_message::properties::Properties;
use smallvec::SmallVec;

/// Longest expression, bytes.
pub(crate) const TEXT_MAX_BYTES: usize = 8 << 10;
/// Most parts of an expression that stand inside each other.
pub(crate) const DEPTH_MAX: usize = 64;
/// Most comparisons, connections and literals of an expression.
pub(crate) const TERMS_MAX: usize = 1024;

/// Why an expression was refused. The words follow Apache's exception.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what each is")]
pub enum SqlError {
    #[error("Invalid MessageSelector. unexpected character '{found}' at {at}")]
    Character { found: char, at: usize },
    #[error("Invalid MessageSelector. the text that begins at {at} has no closing quote")]
    OpenText { at: usize },
    #[error("Invalid MessageSelector. expected {expected} at {at}")]
    Expected { expected: &'static str, at: usize },
    #[error("Invalid MessageSelector. the number {text} is out of range")]
    Number { text: String },
    #[error("Invalid MessageSelector. {what} before {at} cannot be compared so")]
    Operand { what: &'static str, at: usize },
    #[error("Invalid MessageSelector. Expression will not result in a boolean value, at {at}")]
    NotBoolean { at: usize },
    #[error(
        "Invalid MessageSelector. Illegal values of between: the left value must be less than or equal to the right value, at {at}"
    )]
    Between { at: usize },
    #[error("Invalid MessageSelector. it has {bytes} bytes, at most {TEXT_MAX_BYTES} are taken")]
    TooLong { bytes: usize },
    #[error(
        "Invalid MessageSelector. it is too large: at most {DEPTH_MAX} parts inside each other and {TERMS_MAX} terms are taken"
    )]
    TooLarge,
}

/// A compiled expression.
#[derive(Debug, PartialEq)]
pub struct Sql {
    node: Node,
    /// The properties that it reads: one walk over a message's properties finds them all.
    names: Vec<Box<str>>,
}

/// Place of a property among the names of its expression.
type Slot = usize;

/// A part of an expression.
#[derive(Debug, PartialEq)]
enum Node {
    Literal(Literal),
    Property(Slot),
    /// A property where a boolean is wanted: none is one, so false, or null when it is missing.
    Cast(Slot),
    Negated(Box<Node>),
    Not(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Equal(Box<Node>, Box<Node>),
    Order(Order, Box<Node>, Box<Node>),
    In {
        property: Slot,
        texts: Vec<Box<str>>,
        negated: bool,
    },
    Search {
        search: Search,
        operand: Box<Node>,
        text: Box<str>,
        negated: bool,
    },
}

#[derive(Debug, Clone, PartialEq)]
enum Literal {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(Box<str>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Search {
    Contains,
    StartsWith,
    EndsWith,
}

impl Sql {
    /// Compiles an expression.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(text: &str) -> Result<Self, SqlError> {
        let (node, names) = parse::parse(text)?;
        Ok(Self { node, names })
    }

    /// Whether a message with these properties matches.
    pub fn matches(&self, properties: Properties<'_>) -> bool {
        let mut values: SmallVec<[Option<&str>; 8]> = SmallVec::from_elem(None, self.names.len());
        for (name, value) in properties.iter() {
            // Of several the last one counts, as in Java's map.
            if let Some(slot) = self.names.iter().position(|wanted| **wanted == *name) {
                values[slot] = Some(value);
            }
        }
        eval::matches(&self.node, &values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(properties: &[(&str, &str)]) -> Vec<u8> {
        let mut text = Vec::new();
        for (name, value) in properties {
            Properties::push(&mut text, name, value);
        }
        text
    }

    #[track_caller]
    fn check(expression: &str, properties: &[(&str, &str)], expected: bool) {
        let sql = Sql::parse(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
        let text = text_of(properties);
        assert_eq!(
            sql.matches(Properties(&text)),
            expected,
            "{expression} on {properties:?}"
        );
    }

    #[test]
    fn comparisons_take_the_class_of_the_literal() {
        check("a > 3", &[("a", "4")], true);
        check("a > 3", &[("a", "3.5")], false);
        check("a > 3.0", &[("a", "3.5")], true);
        check("a > 3", &[("a", "3000000000")], false);
        check("a > 3L", &[("a", "3000000000")], false);
        check("a > 3000000000", &[("a", "3000000001")], true);
        check("a > 3", &[("a", "x")], false);
        check("a <> 3", &[("a", "x")], false);
        check("a <> 3", &[("a", "4")], true);
        check("a = 'x'", &[("a", "x")], true);
        check("a = 3", &[("a", "3")], true);
        check("3 = a", &[("a", "3")], true);
        check("a = TRUE", &[("a", "TrUe")], true);
        check("a = FALSE", &[("a", "anything")], true);
        check("TRUE = a", &[("a", "true")], false);
        check("a >= -5", &[("a", "-5")], true);
        check("a > b", &[("a", "10"), ("b", "9")], true);
        check("a > b", &[("a", "10"), ("b", "x")], false);
        check("1 = 1.0", &[], true);
        check("1 = 'a'", &[], false);
    }

    #[test]
    fn missing_properties_are_null() {
        check("a = 'x'", &[], false);
        check("NOT (a = 'x')", &[], false);
        check("'x' <> a", &[], true);
        check("a <> 'x'", &[], false);
        check("a = b", &[], true);
        check("a IS NULL", &[], true);
        check("a IS NOT NULL", &[("a", "x")], true);
        check("a > 1 OR b = 'x'", &[("b", "x")], true);
        check("a > 1 AND b = 'x'", &[("b", "x")], false);
        check("NOT (a > 1 AND b = 'y')", &[("b", "x")], true);
        check("a IN ('x')", &[], false);
        check("a NOT IN ('x')", &[], false);
    }

    #[test]
    fn lists_ranges_and_searches() {
        check("a IN ('x', 'y')", &[("a", "y")], true);
        check("a NOT IN ('x', 'y')", &[("a", "z")], true);
        check("a BETWEEN 1 AND 3", &[("a", "3")], true);
        check("a NOT BETWEEN 1 AND 3", &[("a", "4")], true);
        check(
            "a BETWEEN 1 AND 3 AND b = 'x'",
            &[("a", "2"), ("b", "x")],
            true,
        );
        check("a CONTAINS 'bc'", &[("a", "abcd")], true);
        check(
            "a STARTSWITH 'ab' AND a ENDSWITH 'cd'",
            &[("a", "abcd")],
            true,
        );
        check("a NOT CONTAINS 'x'", &[("a", "abcd")], true);
        check("a NOT CONTAINS 'x'", &[], false);
        check("NOT (a CONTAINS 'x')", &[], true);
        check("a CONTAINS ''", &[("a", "b")], false);
        check("a NOT STARTSWITH 'b'", &[("a", "abcd")], true);
        check("a NOT ENDSWITH 'd'", &[("a", "abcd")], false);
    }

    #[test]
    fn precedence() {
        check("a = '1' OR b = '1' AND c = '1'", &[("a", "1")], true);
        check("(a = '1' OR b = '1') AND c = '1'", &[("a", "1")], false);
        // NOT binds more tightly than a comparison: (NOT a) = 'b'.
        check("NOT a = FALSE", &[("a", "b")], false);
        check("NOT a = TRUE", &[("a", "b")], true);
        check("a", &[("a", "true")], false);
        check("NOT a", &[("a", "true")], true);
        check("TRUE", &[], true);
        check("NULL", &[], false);
        check("- a = 5", &[("a", "5")], false);
    }

    #[test]
    fn an_error_means_no_match_whatever_comes_after() {
        check("a > 1 OR b = 'x'", &[("a", "y"), ("b", "x")], false);
        check("b = 'x' OR a > 1", &[("a", "y"), ("b", "x")], true);
    }

    #[test]
    fn what_cannot_continue_is_passed_over() {
        check("a = 'x' b", &[("a", "x")], true);
        check("a = 007", &[("a", "0")], true);
        assert!(Sql::parse("a = 'x' !").is_err());
    }

    #[test]
    fn refused() {
        for wrong in [
            "",
            "a >",
            "a > 'x'",
            "a > TRUE",
            "a > NULL",
            "a = NULL",
            "(a = 'b') > 1",
            "TRUE = 1",
            "a BETWEEN 3 AND 1",
            "a BETWEEN NULL AND 1",
            "'x'",
            "5",
            "a AND 5",
            "NOT 5",
            "-a",
            "a IN (1)",
            "5 IN ('x')",
            "(a = 'b') IN ('x')",
            "a IN ()",
            "a != 'x'",
            "(a = 'x'",
            "a IS 5",
            "a > 0.0",
            "a > 99999999999999999999",
            "a > 1e999",
            "a = 'x",
        ] {
            assert!(Sql::parse(wrong).is_err(), "{wrong}");
        }
        let deep = format!("{}a{}", "(".repeat(200), ")".repeat(200));
        assert_eq!(Sql::parse(&deep), Err(SqlError::TooLarge));
        let long = vec!["a = 'x'"; 600].join(" OR ");
        assert!(Sql::parse(&long).is_err());
        let huge = format!("a = '{}'", "x".repeat(TEXT_MAX_BYTES));
        assert!(matches!(Sql::parse(&huge), Err(SqlError::TooLong { .. })));
    }
}
