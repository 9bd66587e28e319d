// SPDX-License-Identifier: Apache-2.0
//! Evaluation: three-valued logic, with errors as the fourth value, which ends everything.

use std::cmp::Ordering;

use super::{Literal, Node, Order, Search, Slot};

/// Values of the properties that the expression reads, by their slots.
type Values<'a> = &'a [Option<&'a str>];

/// Something that Java throws an exception for: the message does not match.
struct Failed;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Value<'a> {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(&'a str),
}

impl<'a> Value<'a> {
    fn of(literal: &'a Literal) -> Self {
        match literal {
            Literal::Null => Value::Null,
            Literal::Bool(value) => Value::Bool(*value),
            Literal::Int(value) => Value::Int(*value),
            Literal::Long(value) => Value::Long(*value),
            Literal::Double(value) => Value::Double(*value),
            Literal::Text(text) => Value::Text(text),
        }
    }

    fn of_truth(truth: Option<bool>) -> Self {
        truth.map_or(Value::Null, Value::Bool)
    }
}

pub(super) fn matches(node: &Node, properties: Values<'_>) -> bool {
    matches!(evaluate(node, properties), Ok(Value::Bool(true)))
}

/// The order of two literals; `None` when either is null or they cannot be compared.
pub(super) fn compare_literals(left: &Literal, right: &Literal) -> Option<Ordering> {
    let (left, right) = (Value::of(left), Value::of(right));
    if left == Value::Null || right == Value::Null {
        return None;
    }
    compare(left, right).ok()
}

fn evaluate<'a>(node: &'a Node, properties: Values<'a>) -> Result<Value<'a>, Failed> {
    Ok(match node {
        Node::Literal(literal) => Value::of(literal),
        Node::Property(slot) => property(*slot, properties),
        Node::Cast(slot) => match property(*slot, properties) {
            Value::Null => Value::Null,
            _ => Value::Bool(false),
        },
        Node::Negated(operand) => match evaluate(operand, properties)? {
            Value::Int(value) => Value::Int(value.wrapping_neg()),
            Value::Long(value) => Value::Long(value.wrapping_neg()),
            Value::Double(value) => Value::Double(-value),
            _ => Value::Null,
        },
        Node::Not(operand) => Value::of_truth(truth(operand, properties)?.map(|value| !value)),
        Node::And(left, right) => Value::of_truth(connect(left, right, false, properties)?),
        Node::Or(left, right) => Value::of_truth(connect(left, right, true, properties)?),
        Node::Equal(left, right) => {
            equal(evaluate(left, properties)?, evaluate(right, properties)?)?
        }
        Node::Order(order, left, right) => ordered(
            *order,
            evaluate(left, properties)?,
            evaluate(right, properties)?,
        )?,
        Node::In {
            property: slot,
            texts,
            negated,
        } => match property(*slot, properties) {
            Value::Text(value) => {
                Value::Bool(texts.iter().any(|text| **text == *value) != *negated)
            }
            _ => Value::Null,
        },
        Node::Search {
            search,
            operand,
            text,
            negated,
        } => match evaluate(operand, properties)? {
            Value::Text(value) if !text.is_empty() => {
                let found = match search {
                    Search::Contains => value.contains(&**text),
                    Search::StartsWith => value.starts_with(&**text),
                    Search::EndsWith => value.ends_with(&**text),
                };
                Value::Bool(found != *negated)
            }
            _ => Value::Bool(false),
        },
    })
}

fn property<'a>(slot: Slot, properties: Values<'a>) -> Value<'a> {
    let value = properties.get(slot).copied().flatten();
    value.map_or(Value::Null, Value::Text)
}

fn truth(node: &Node, properties: Values<'_>) -> Result<Option<bool>, Failed> {
    match evaluate(node, properties)? {
        Value::Bool(value) => Ok(Some(value)),
        Value::Null => Ok(None),
        _ => Err(Failed),
    }
}

/// AND and OR: `dominant` decides whatever the other side is, null included.
fn connect(
    left: &Node,
    right: &Node,
    dominant: bool,
    properties: Values<'_>,
) -> Result<Option<bool>, Failed> {
    let left = truth(left, properties)?;
    if left == Some(dominant) {
        return Ok(left);
    }
    let right = truth(right, properties)?;
    if right == Some(dominant) {
        return Ok(right);
    }
    Ok(left.and(right))
}

fn equal<'a>(left: Value<'a>, right: Value<'a>) -> Result<Value<'a>, Failed> {
    Ok(match (left, right) {
        (Value::Null, Value::Null) => Value::Bool(true),
        (Value::Null, _) => Value::Null,
        (_, Value::Null) => Value::Bool(false),
        (left, right) => Value::Bool(compare(left, right)? == Ordering::Equal),
    })
}

fn ordered<'a>(order: Order, left: Value<'a>, right: Value<'a>) -> Result<Value<'a>, Failed> {
    let ordering = match (left, right) {
        (Value::Null, _) | (_, Value::Null) => return Ok(Value::Null),
        // Two texts, so two properties: their numbers are compared.
        (Value::Text(left), Value::Text(right)) => double(left)?.total_cmp(&double(right)?),
        (left, right) => compare(left, right)?,
    };
    Ok(Value::Bool(match order {
        Order::Less => ordering.is_lt(),
        Order::LessOrEqual => ordering.is_le(),
        Order::Greater => ordering.is_gt(),
        Order::GreaterOrEqual => ordering.is_ge(),
    }))
}

/// Compares values that are not null. Those without a common class count as "less", as in Java.
#[expect(clippy::cast_precision_loss, reason = "as Java widens a long")]
fn compare(left: Value<'_>, right: Value<'_>) -> Result<Ordering, Failed> {
    use Value::{Bool, Double, Int, Long, Text};
    Ok(match (left, right) {
        (Bool(left), Bool(right)) => left.cmp(&right),
        (Bool(_), Text(_)) => return Err(Failed),
        (Int(left), Int(right)) => left.cmp(&right),
        (Int(left), Long(right)) => i64::from(left).cmp(&right),
        (Long(left), Int(right)) => left.cmp(&i64::from(right)),
        (Long(left), Long(right)) => left.cmp(&right),
        (Double(left), Double(right)) => left.total_cmp(&right),
        (Int(left), Double(right)) => f64::from(left).total_cmp(&right),
        (Double(left), Int(right)) => left.total_cmp(&f64::from(right)),
        (Long(left), Double(right)) => (left as f64).total_cmp(&right),
        (Double(left), Long(right)) => left.total_cmp(&(right as f64)),
        (Text(left), Text(right)) => left.cmp(right),
        (Text(left), Bool(right)) => left.eq_ignore_ascii_case("true").cmp(&right),
        (Text(left), Int(right)) => int(left)?.cmp(&right),
        (Int(left), Text(right)) => left.cmp(&int(right)?),
        (Text(left), Long(right)) => long(left)?.cmp(&right),
        (Long(left), Text(right)) => left.cmp(&long(right)?),
        (Text(left), Double(right)) => double(left)?.total_cmp(&right),
        (Double(left), Text(right)) => left.total_cmp(&double(right)?),
        _ => Ordering::Less,
    })
}

fn int(text: &str) -> Result<i32, Failed> {
    text.parse().map_err(|_| Failed)
}

fn long(text: &str) -> Result<i64, Failed> {
    text.parse().map_err(|_| Failed)
}

/// Java's `Double.valueOf`: space around it and a letter of the type behind it are allowed.
fn double(text: &str) -> Result<f64, Failed> {
    let text = text.trim_matches(|c: char| c <= ' ');
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, "NaN" | "Infinity") {
        return text.parse().map_err(|_| Failed);
    }
    // Rust takes more words for these two than Java does.
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Err(Failed);
    }
    let digits = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    digits.parse().map_err(|_| Failed)
}
