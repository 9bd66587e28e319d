// SPDX-License-Identifier: Apache-2.0
//! Typed headers: one struct a request, one a reply, both read from and written to either encoding.

use crate::{RequestCode, command::Fields, error::FieldError};

pub mod auth;
pub mod broker;
pub mod client;
pub mod config;
pub mod controller;
pub mod lite;
pub mod offset;
pub mod pop;
pub mod pull;
pub mod query;
pub mod register;
pub mod replication;
pub mod reply;
pub mod route;
pub mod send;
pub mod stats;
pub mod topic;
pub mod transaction;

/// A header that can be read from received fields. Derived; unknown fields are ignored, a name
/// that comes twice counts by its last value.
pub trait Header<'a>: Sized {
    /// Reads the header.
    ///
    /// # Errors
    /// A required field is missing, or a value does not parse as its type.
    fn read(fields: &Fields<'a>) -> Result<Self, FieldError>;
}

/// A header that can be written. Derived; fields that are `None` are left out.
pub trait WriteFields {
    /// Writes each field.
    fn write<W: FieldWriter>(&self, out: &mut W);
}

/// A request header, which knows its code.
pub trait Request: WriteFields {
    /// The code to send it with.
    const CODE: RequestCode;
}

/// The name of a field, beside the forms that JSON needs, made when the derive is expanded.
#[derive(Debug, Clone, Copy)]
pub struct Name {
    /// `queueId`
    pub plain: &'static str,
    /// `"queueId":"`, ready for the value.
    pub first: &'static str,
    /// `","queueId":"`, which closes the value before as well.
    pub next: &'static str,
}

/// Takes fields one by one; the two encodings implement it.
pub trait FieldWriter {
    /// A field whose name is not known beforehand.
    fn pair(&mut self, name: &str, value: &str);
    /// A text.
    #[inline]
    fn text(&mut self, name: Name, value: &str) {
        self.pair(name.plain, value);
    }
    /// A number.
    #[inline]
    fn int(&mut self, name: Name, value: i64) {
        self.pair(name.plain, itoa::Buffer::new().format(value));
    }
    /// A boolean.
    #[inline]
    fn flag(&mut self, name: Name, value: bool) {
        self.pair(name.plain, if value { "true" } else { "false" });
    }
}

/// A header without fields.
#[derive(Debug, Clone, Copy, Default)]
pub struct Empty;

impl WriteFields for Empty {
    #[inline]
    fn write<W: FieldWriter>(&self, _: &mut W) {}
}

impl Header<'_> for Empty {
    fn read(_: &Fields<'_>) -> Result<Self, FieldError> {
        Ok(Self)
    }
}

/// Owned pairs, for headers whose names are not known beforehand.
impl WriteFields for [(String, String)] {
    fn write<W: FieldWriter>(&self, out: &mut W) {
        for (name, value) in self {
            out.pair(name, value);
        }
    }
}

/// Two headers, one after the other.
impl<A: WriteFields, B: WriteFields> WriteFields for (&A, &B) {
    fn write<W: FieldWriter>(&self, out: &mut W) {
        self.0.write(out);
        self.1.write(out);
    }
}

/// A field's type: how its text is read and written. Conversions are Java's.
pub trait Value<'a>: Sized {
    /// Names the type in errors.
    const EXPECTED: &'static str;
    /// Reads the text of a field.
    fn parse(text: &'a str) -> Option<Self>;
    /// What a missing field means; `None` makes the field required.
    fn missing() -> Option<Self> {
        None
    }
    /// Writes the field.
    fn write<W: FieldWriter>(&self, name: Name, out: &mut W);
}

impl<'a> Value<'a> for &'a str {
    const EXPECTED: &'static str = "text";
    #[inline]
    fn parse(text: &'a str) -> Option<Self> {
        Some(text)
    }
    #[inline]
    fn write<W: FieldWriter>(&self, name: Name, out: &mut W) {
        out.text(name, self);
    }
}

impl Value<'_> for String {
    const EXPECTED: &'static str = "text";
    fn parse(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
    fn write<W: FieldWriter>(&self, name: Name, out: &mut W) {
        out.text(name, self);
    }
}

/// Java's `parseInt` and `parseLong`: decimal, optional sign, no blanks.
macro_rules! number {
    ($type:ty, $expected:literal) => {
        impl Value<'_> for $type {
            const EXPECTED: &'static str = $expected;
            #[inline]
            fn parse(text: &str) -> Option<Self> {
                match text.as_bytes() {
                    // Most: queues, flags, counts.
                    [digit @ b'0'..=b'9'] => Some((digit - b'0').into()),
                    _ => text.parse().ok(),
                }
            }
            #[inline]
            fn write<W: FieldWriter>(&self, name: Name, out: &mut W) {
                out.int(name, i64::from(*self));
            }
        }
    };
}
number!(i32, "a 32-bit number");
number!(i64, "a 64-bit number");

impl Value<'_> for bool {
    const EXPECTED: &'static str = "a boolean";
    /// Java's `parseBoolean`: everything but `true` is false.
    #[inline]
    fn parse(text: &str) -> Option<Self> {
        Some(text.eq_ignore_ascii_case("true"))
    }
    #[inline]
    fn write<W: FieldWriter>(&self, name: Name, out: &mut W) {
        out.flag(name, *self);
    }
}

impl<'a, T: Value<'a>> Value<'a> for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    #[inline]
    fn parse(text: &'a str) -> Option<Self> {
        T::parse(text).map(Some)
    }
    #[inline]
    fn missing() -> Option<Self> {
        Some(None)
    }
    #[inline]
    fn write<W: FieldWriter>(&self, name: Name, out: &mut W) {
        if let Some(value) = self {
            value.write(name, out);
        }
    }
}

/// Used by the derive: the value of one field.
#[doc(hidden)]
#[inline]
pub fn field<'a, T: Value<'a>>(text: Option<&'a str>, name: &'static str) -> Result<T, FieldError> {
    match text {
        Some(text) => T::parse(text).ok_or_else(|| invalid::<T>(name, text)),
        None => T::missing().ok_or(FieldError::Missing(name)),
    }
}

/// Used by the derive: the value of a field that has a default.
#[doc(hidden)]
#[inline]
pub fn field_or<'a, T: Value<'a>>(
    text: Option<&'a str>,
    name: &'static str,
    default: T,
) -> Result<T, FieldError> {
    match text {
        Some(text) => T::parse(text).ok_or_else(|| invalid::<T>(name, text)),
        None => Ok(default),
    }
}

#[cold]
fn invalid<'a, T: Value<'a>>(name: &'static str, text: &str) -> FieldError {
    FieldError::Invalid {
        name,
        value: text.chars().take(64).collect(),
        expected: T::EXPECTED,
    }
}
