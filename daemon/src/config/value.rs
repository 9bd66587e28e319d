// SPDX-License-Identifier: Apache-2.0
//! How the value of a key is read and written.

use std::{fmt, net::SocketAddr, time::Duration};

/// A type that keys can have.
pub trait Value: Sized {
    /// What is expected, for messages: "a whole number".
    const EXPECTED: &'static str;

    /// Reads a value without surrounding blanks; none if it is not one.
    fn parse(text: &str) -> Option<Self>;

    /// Writes a value as Java does; none where Java has `null`.
    fn text(&self) -> Option<String>;

    /// What a text will be taken for, if that may surprise.
    fn doubt(text: &str) -> Option<&'static str> {
        let _ = text;
        None
    }
}

/// Java's `Boolean.parseBoolean`: "true" in any case is true, everything else is false.
impl Value for bool {
    const EXPECTED: &'static str = "true or false";

    fn parse(text: &str) -> Option<Self> {
        Some(text.eq_ignore_ascii_case("true"))
    }

    fn text(&self) -> Option<String> {
        Some(self.to_string())
    }

    fn doubt(text: &str) -> Option<&'static str> {
        let text = text.trim();
        let clear = ["true", "false"]
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word));
        (!clear).then_some("false")
    }
}

macro_rules! numbers {
    ($($number:ty => $expected:literal),+ $(,)?) => {
        $(impl Value for $number {
            const EXPECTED: &'static str = $expected;

            fn parse(text: &str) -> Option<Self> {
                text.parse().ok()
            }

            fn text(&self) -> Option<String> {
                Some(self.to_string())
            }
        })+
    };
}

numbers! {
    u16 => "a whole number from 0 to 65535",
    i32 => "a whole number",
    u32 => "a whole number, not negative",
    i64 => "a whole number",
    u64 => "a whole number, not negative",
    usize => "a whole number, not negative",
}

impl Value for f64 {
    const EXPECTED: &'static str = "a number";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|number: &Self| number.is_finite())
    }

    /// Java's `Double.toString` for the sizes that configurations have: `1.0`, not `1`.
    fn text(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

impl Value for String {
    const EXPECTED: &'static str = "a text";

    fn parse(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn text(&self) -> Option<String> {
        Some(self.clone())
    }
}

/// A text that is told to nobody: it is read from the file and shown as stars.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

impl Value for Secret {
    const EXPECTED: &'static str = "a text";

    fn parse(text: &str) -> Option<Self> {
        Some(Self(text.to_owned()))
    }

    fn text(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| "******".to_owned())
    }
}

/// An address to listen on.
impl Value for SocketAddr {
    const EXPECTED: &'static str = "an IP address and a port, as in 127.0.0.1:8080";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn text(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// Milliseconds, the unit of most of Apache's times. Keys in other units are whole numbers.
impl Value for Duration {
    const EXPECTED: &'static str = "a time in whole milliseconds";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self::from_millis)
    }

    fn text(&self) -> Option<String> {
        Some(self.as_millis().to_string())
    }
}

/// A key that Apache leaves `null`; an empty text unsets it.
impl<V: Value> Value for Option<V> {
    const EXPECTED: &'static str = V::EXPECTED;

    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            Some(None)
        } else {
            V::parse(text).map(Some)
        }
    }

    fn text(&self) -> Option<String> {
        self.as_ref().and_then(Value::text)
    }

    fn doubt(text: &str) -> Option<&'static str> {
        if text.trim().is_empty() {
            None
        } else {
            V::doubt(text)
        }
    }
}
