// SPDX-License-Identifier: Apache-2.0
//! Reads the dialect straight into values.

use std::borrow::Cow;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess,
    SeqAccess, Visitor,
};

use super::{DEPTH_MAX, JsonError};

pub(super) fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, JsonError> {
    let mut reader = Reader {
        text,
        at: 0,
        depth: 0,
    };
    let read = T::deserialize(&mut reader).and_then(|value| match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.error("text after the end of the value")),
    });
    read.map_err(|mut error| {
        if error.at == 0 {
            error.at = reader.at;
        }
        error
    })
}

struct Reader<'de> {
    text: &'de str,
    at: usize,
    depth: u32,
}

impl<'de> Reader<'de> {
    fn error(&self, message: &str) -> JsonError {
        JsonError::new(message, self.at)
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn slice(&self, from: usize, to: usize) -> Result<&'de str, JsonError> {
        self.text
            .get(from..to)
            .ok_or_else(|| self.error("unexpected character"))
    }

    /// The next byte that is not blank, which stays unread.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r' | b'\x0c' | b'\x08') = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    fn expect(&mut self, wanted: u8, message: &str) -> Result<(), JsonError> {
        if self.peek() != Some(wanted) {
            return Err(self.error(message));
        }
        self.at += 1;
        Ok(())
    }

    fn enter(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.error("nested too deeply"));
        }
        Ok(())
    }

    /// Whether an object or list goes on; eats the comma before its next member. `closing` is eaten.
    fn next_member(&mut self, first: bool, closing: u8) -> Result<bool, JsonError> {
        if !first && self.peek() == Some(b',') {
            self.at += 1;
        } else if !first && self.peek() != Some(closing) {
            return Err(self.error("expected `,` or the end of an object or list"));
        }
        if self.peek() == Some(closing) {
            self.at += 1;
            self.depth -= 1;
            return Ok(false);
        }
        Ok(true)
    }

    /// A number, `true`, `null` or a bare name: everything up to the next mark.
    fn token(&mut self) -> Result<&'de str, JsonError> {
        self.peek();
        let start = self.at;
        while let Some(byte) = self.byte() {
            if byte.is_ascii_control() || b" ,:{}[]\"'".contains(&byte) {
                break;
            }
            self.at += 1;
        }
        if self.at == start {
            return Err(self.error("expected a value"));
        }
        self.slice(start, self.at)
    }

    /// Text in double or single quotes.
    fn quoted(&mut self, quote: u8) -> Result<Cow<'de, str>, JsonError> {
        self.at += 1;
        let mut unescaped = String::new();
        let mut plain = self.at;
        loop {
            let Some(byte) = self.byte() else {
                return Err(self.error("text without its closing quote"));
            };
            if byte == quote {
                let rest = self.slice(plain, self.at)?;
                self.at += 1;
                return Ok(if unescaped.is_empty() {
                    Cow::Borrowed(rest)
                } else {
                    unescaped.push_str(rest);
                    Cow::Owned(unescaped)
                });
            }
            if byte != b'\\' {
                self.at += 1;
                continue;
            }
            unescaped.push_str(self.slice(plain, self.at)?);
            self.at += 1;
            unescaped.push(self.escape()?);
            plain = self.at;
        }
    }

    /// What stands behind a backslash.
    fn escape(&mut self) -> Result<char, JsonError> {
        let Some(byte) = self.byte() else {
            return Err(self.error("text without its closing quote"));
        };
        self.at += 1;
        Ok(match byte {
            b'"' | b'\'' | b'\\' | b'/' => char::from(byte),
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'b' => '\x08',
            b'f' => '\x0c',
            b'v' => '\x0b',
            b'0' => '\0',
            b'x' => char::from_u32(self.hex(2)?).unwrap_or(char::REPLACEMENT_CHARACTER),
            b'u' => self.utf16()?,
            _ => {
                self.at -= 1;
                return Err(self.error("unknown escape"));
            }
        })
    }

    /// A UTF-16 unit, or a pair of them; half a pair becomes the replacement character.
    fn utf16(&mut self) -> Result<char, JsonError> {
        let first = self.hex(4)?;
        let pair = (0xd800..0xdc00).contains(&first)
            && self
                .text
                .as_bytes()
                .get(self.at..)
                .is_some_and(|rest| rest.starts_with(b"\\u"));
        if !pair {
            return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let start = self.at;
        self.at += 2;
        let second = self.hex(4)?;
        if (0xdc00..0xe000).contains(&second) {
            let point = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            return Ok(char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        // The second unit stands for itself.
        self.at = start;
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hex(&mut self, digits: usize) -> Result<u32, JsonError> {
        let digits = self.slice(self.at, self.at.saturating_add(digits))?;
        let all_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        match u32::from_str_radix(digits, 16) {
            Ok(value) if all_hex => {
                self.at += digits.len();
                Ok(value)
            }
            _ => Err(self.error("expected hexadecimal digits")),
        }
    }

    /// The text of anything but an object or a list; `None` for null.
    fn scalar(&mut self) -> Result<Option<Cow<'de, str>>, JsonError> {
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.quoted(quote).map(Some),
            _ => {
                let token = self.token()?;
                Ok((!is_null(token)).then_some(Cow::Borrowed(token)))
            }
        }
    }

    fn is_null_next(&mut self) -> bool {
        if !matches!(self.peek(), Some(b'n' | b'N')) {
            return false;
        }
        let start = self.at;
        let null = self.token().is_ok_and(is_null);
        if !null {
            self.at = start;
        }
        null
    }

    /// A whole number: bare, in quotes, as a fraction that is cut, or null for 0.
    fn integer<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, JsonError> {
        let text = self.scalar()?;
        let text = text.as_deref().unwrap_or_default().trim();
        if let Ok(value) = text.parse::<i64>() {
            return visitor.visit_i64(value);
        }
        if let Ok(value) = text.parse::<u64>() {
            return visitor.visit_u64(value);
        }
        match text {
            "" | "false" => return visitor.visit_i64(0),
            "true" => return visitor.visit_i64(1),
            _ => {}
        }
        // 2^63 as a fraction is out of range, everything below is exact after cutting.
        match text.parse::<f64>() {
            Ok(value) if value.abs() < 9.2e18 => visitor.visit_i64(value as i64),
            _ => Err(self.error("expected a whole number")),
        }
    }

    fn map<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, JsonError> {
        if self.is_null_next() {
            return visitor.visit_map(Nothing);
        }
        if self.peek() != Some(b'{') {
            return Err(self.error("expected an object"));
        }
        self.enter()?;
        let mut members = Members::new(self);
        let value = visitor.visit_map(&mut members)?;
        if !members.ended {
            return Err(members
                .reader
                .error("an object with more members than expected"));
        }
        Ok(value)
    }

    fn list<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, JsonError> {
        if self.is_null_next() {
            return visitor.visit_seq(Nothing);
        }
        if self.peek() != Some(b'[') {
            return Err(self.error("expected a list"));
        }
        self.enter()?;
        let mut members = Members::new(self);
        let value = visitor.visit_seq(&mut members)?;
        // A tuple has read what it wants and left the end of the list.
        if !members.ended && members.reader.next_member(false, b']')? {
            return Err(members
                .reader
                .error("a list with more elements than expected"));
        }
        Ok(value)
    }

    fn skip(&mut self) -> Result<(), JsonError> {
        let closing = match self.peek() {
            Some(b'{') => b'}',
            Some(b'[') => b']',
            _ => return self.scalar().map(drop),
        };
        self.enter()?;
        let mut first = true;
        while self.next_member(first, closing)? {
            first = false;
            self.skip()?;
            if closing == b'}' {
                self.expect(b':', "expected `:`")?;
                self.skip()?;
            }
        }
        Ok(())
    }
}

fn is_null(token: &str) -> bool {
    matches!(token, "null" | "NaN" | "undefined")
}

fn visit_text<'de, V: Visitor<'de>>(
    visitor: V,
    text: Cow<'de, str>,
) -> Result<V::Value, JsonError> {
    match text {
        Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
        Cow::Owned(text) => visitor.visit_string(text),
    }
}

/// What a null gives to a type that wants members.
struct Nothing;

impl<'de> MapAccess<'de> for Nothing {
    type Error = JsonError;
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        _: K,
    ) -> Result<Option<K::Value>, JsonError> {
        Ok(None)
    }
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, _: V) -> Result<V::Value, JsonError> {
        Err(JsonError::custom("null has no members"))
    }
}

impl<'de> SeqAccess<'de> for Nothing {
    type Error = JsonError;
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        _: T,
    ) -> Result<Option<T::Value>, JsonError> {
        Ok(None)
    }
}

struct Members<'r, 'de> {
    reader: &'r mut Reader<'de>,
    first: bool,
    ended: bool,
}

impl<'r, 'de> Members<'r, 'de> {
    fn new(reader: &'r mut Reader<'de>) -> Self {
        Self {
            reader,
            first: true,
            ended: false,
        }
    }

    fn advance(&mut self, closing: u8) -> Result<bool, JsonError> {
        if !self.ended {
            self.ended = !self.reader.next_member(self.first, closing)?;
            self.first = false;
        }
        Ok(!self.ended)
    }
}

impl<'de> MapAccess<'de> for &mut Members<'_, 'de> {
    type Error = JsonError;
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, JsonError> {
        if !self.advance(b'}')? {
            return Ok(None);
        }
        seed.deserialize(Key(self.reader)).map(Some)
    }
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, JsonError> {
        self.reader.expect(b':', "expected `:`")?;
        seed.deserialize(&mut *self.reader)
    }
}

impl<'de> SeqAccess<'de> for &mut Members<'_, 'de> {
    type Error = JsonError;
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, JsonError> {
        if !self.advance(b']')? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

macro_rules! integers {
    ($($method:ident)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
            self.integer(visitor)
        }
    )+};
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = JsonError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.peek() {
            Some(b'{') => self.map(visitor),
            Some(b'[') => self.list(visitor),
            Some(quote @ (b'"' | b'\'')) => visit_text(visitor, self.quoted(quote)?),
            _ => {
                let start = self.at;
                match self.token()? {
                    "true" => visitor.visit_bool(true),
                    "false" => visitor.visit_bool(false),
                    token if is_null(token) => visitor.visit_unit(),
                    token if token.contains(['.', 'e', 'E']) => match token.parse() {
                        Ok(value) => visitor.visit_f64(value),
                        Err(_) => Err(self.error("expected a value")),
                    },
                    token
                        if token.starts_with(|c: char| c.is_ascii_digit() || "+-".contains(c)) =>
                    {
                        self.at = start;
                        self.integer(visitor)
                    }
                    _ => Err(self.error("expected a value")),
                }
            }
        }
    }

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.scalar()?.as_deref() {
            Some("true" | "TRUE" | "True" | "1" | "Y" | "T") => visitor.visit_bool(true),
            Some("false" | "FALSE" | "False" | "0" | "N" | "F" | "") | None => {
                visitor.visit_bool(false)
            }
            Some(_) => Err(self.error("expected a boolean")),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.scalar()?.as_deref().map_or(Ok(0.0), str::parse::<f64>) {
            Ok(value) => visitor.visit_f64(value),
            Err(_) => Err(self.error("expected a number")),
        }
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        if matches!(self.peek(), Some(b'{' | b'[')) {
            return Err(self.error("expected text"));
        }
        let text = self.scalar()?.unwrap_or_default();
        visit_text(visitor, text)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        if self.is_null_next() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.skip()?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.list(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        self.list(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        self.list(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.map(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        self.map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        let text = self.scalar()?.unwrap_or_default();
        let ordinal = text.parse::<usize>().ok().and_then(|at| variants.get(at));
        let name = ordinal.copied().unwrap_or(&text);
        visitor.visit_enum(name.into_deserializer())
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_unit(visitor)
    }
}

/// A map key: an object, or text with or without quotes.
struct Key<'r, 'de>(&'r mut Reader<'de>);

macro_rules! as_value {
    ($($method:ident)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
            self.0.$method(visitor)
        }
    )+};
}

impl<'de> Deserializer<'de> for Key<'_, 'de> {
    type Error = JsonError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.0.peek() {
            Some(b'{') => self.0.map(visitor),
            Some(quote @ (b'"' | b'\'')) => visit_text(visitor, self.0.quoted(quote)?),
            _ => visitor.visit_borrowed_str(self.0.token()?),
        }
    }

    as_value! {
        deserialize_bool deserialize_f32 deserialize_f64
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_ignored_any
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    serde::forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
    }
}
