// SPDX-License-Identifier: Apache-2.0
//! The JSON header: `{"code":310,"extFields":{"a":"g"},"flag":0,"language":"JAVA","opaque":7,"version":513}`.
//!
//! A scanner reads what SDKs send in one pass, without allocation. Whatever it does not know
//! (nesting, fractions, escaped keys) goes to a general parser, which defines the meaning.

use std::io::Write as _;

use serde_json::Value;

use crate::{
    Language,
    command::{Decoder, FIELDS_MAX, FieldSpan, Head, Span},
    error::DecodeError,
    header::FieldWriter,
};

/// Reads a header; names and values land in `decoder`.
#[inline]
pub(crate) fn read(text: &str, decoder: &mut Decoder) -> Result<Head, DecodeError> {
    if let Ok(head) = scan(text, decoder) {
        return Ok(head);
    }
    decoder.spans.clear();
    decoder.unescaped.clear();
    read_general(text, decoder)
}

/// The scanner met something that it leaves to the general parser.
struct Unusual;

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// The next byte that is not blank, consumed.
    #[inline]
    fn next(&mut self) -> Result<u8, Unusual> {
        self.skip_blanks();
        let byte = self.peek().ok_or(Unusual)?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    fn expect(&mut self, wanted: u8) -> Result<(), Unusual> {
        if self.next()? == wanted {
            Ok(())
        } else {
            Err(Unusual)
        }
    }

    /// A member's name and the colon after it.
    #[inline]
    fn name(&mut self) -> Result<(usize, usize), Unusual> {
        let start = self.at;
        let end = self.string_end(start)?;
        if self.bytes.get(end) != Some(&b'"') {
            return Err(Unusual);
        }
        self.at = end + 1;
        self.expect(b':')?;
        Ok((start, end))
    }

    /// Where the first quote or backslash at or after `from` stands.
    #[inline]
    fn string_end(&self, from: usize) -> Result<usize, Unusual> {
        // Most strings are a few bytes: a plain loop beats the set-up of a vector search.
        const SHORT: usize = 16;
        let rest = self.bytes.get(from..).ok_or(Unusual)?;
        for (index, byte) in rest.iter().take(SHORT).enumerate() {
            if matches!(byte, b'"' | b'\\') {
                return Ok(from + index);
            }
        }
        let rest = rest.get(SHORT..).ok_or(Unusual)?;
        memchr::memchr2(b'"', b'\\', rest)
            .map(|index| from + SHORT + index)
            .ok_or(Unusual)
    }

    /// A string whose opening quote is consumed.
    #[inline]
    fn string(&mut self, text: &str, unescaped: &mut String) -> Result<Span, Unusual> {
        let start = self.at;
        let end = self.string_end(start)?;
        if self.bytes.get(end) == Some(&b'"') {
            self.at = end + 1;
            return Ok(Span::in_text(start, end));
        }
        self.unescape(text, start, end, unescaped)
    }

    fn unescape(
        &mut self,
        text: &str,
        mut from: usize,
        mut stop: usize,
        unescaped: &mut String,
    ) -> Result<Span, Unusual> {
        let start = unescaped.len();
        loop {
            unescaped.push_str(text.get(from..stop).ok_or(Unusual)?);
            if self.bytes.get(stop) == Some(&b'"') {
                self.at = stop + 1;
                return Ok(Span::in_unescaped(start, unescaped.len()));
            }
            self.at = stop + 1;
            let escape = self.peek().ok_or(Unusual)?;
            self.at += 1;
            let character = match escape {
                b'u' => self.unicode()?,
                b'n' => '\n',
                b't' => '\t',
                b'r' => '\r',
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'"' | b'\\' | b'/' => char::from(escape),
                _ => return Err(Unusual),
            };
            unescaped.push(character);
            from = self.at;
            stop = self.string_end(from)?;
        }
    }

    fn unicode(&mut self) -> Result<char, Unusual> {
        let unit = self.hex4()?;
        if !(0xD800..=0xDFFF).contains(&unit) {
            return char::from_u32(unit).ok_or(Unusual);
        }
        // A surrogate pair; a lone half becomes the replacement character, as no UTF-8 exists for it.
        if unit < 0xDC00 && self.bytes.get(self.at..self.at + 2) == Some(b"\\u") {
            let back = self.at;
            self.at += 2;
            let low = self.hex4()?;
            if (0xDC00..=0xDFFF).contains(&low) {
                let scalar = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                return char::from_u32(scalar).ok_or(Unusual);
            }
            self.at = back;
        }
        Ok(char::REPLACEMENT_CHARACTER)
    }

    #[inline]
    fn hex4(&mut self) -> Result<u32, Unusual> {
        let digits = self.bytes.get(self.at..self.at + 4).ok_or(Unusual)?;
        self.at += 4;
        let mut value = 0;
        for digit in digits {
            let nibble = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                b'A'..=b'F' => digit - b'A' + 10,
                _ => return Err(Unusual),
            };
            value = value << 4 | u32::from(nibble);
        }
        Ok(value)
    }

    /// A number, `true`, `false` or `null` whose first byte is at the cursor.
    #[inline]
    fn bare(&mut self) -> Result<(usize, usize), Unusual> {
        let start = self.at;
        while let Some(byte) = self.peek() {
            if !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')) {
                break;
            }
            self.at += 1;
        }
        if self.at == start {
            return Err(Unusual);
        }
        Ok((start, self.at))
    }

    #[inline]
    fn int(&mut self) -> Result<i32, Unusual> {
        self.skip_blanks();
        let negative = self.peek() == Some(b'-');
        if negative {
            self.at += 1;
        }
        let start = self.at;
        let mut value: i64 = 0;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            value = value * 10 + i64::from(digit - b'0');
            self.at += 1;
            if self.at - start > 10 {
                return Err(Unusual);
            }
        }
        let ended = matches!(self.peek(), Some(b',' | b'}' | b' ' | b'\n' | b'\r' | b'\t'));
        if self.at == start || !ended {
            return Err(Unusual);
        }
        i32::try_from(if negative { -value } else { value }).map_err(|_| Unusual)
    }
}

fn scan(text: &str, decoder: &mut Decoder) -> Result<Head, Unusual> {
    let mut cursor = Cursor {
        bytes: text.as_bytes(),
        at: 0,
    };
    let mut head = Head::default();
    cursor.expect(b'{')?;
    loop {
        match cursor.next()? {
            b'"' => {}
            b'}' => return Ok(head),
            _ => return Err(Unusual),
        }
        let (start, end) = cursor.name()?;
        match cursor.bytes.get(start..end).unwrap_or_default() {
            b"code" => head.code = cursor.int()?,
            b"flag" => head.flag = cursor.int()?,
            b"opaque" => head.opaque = cursor.int()?,
            b"version" => head.version = cursor.int()?,
            b"extFields" => scan_fields(&mut cursor, text, decoder)?,
            name => {
                let value = scan_value(&mut cursor, text, &mut decoder.unescaped)?;
                match (name, value) {
                    (b"remark", Some(span)) => head.remark = span,
                    (b"language", Some(span)) => {
                        head.language = language(span.resolve(text, &decoder.unescaped));
                    }
                    _ => {}
                }
            }
        }
        match cursor.next()? {
            b',' => {}
            b'}' => return Ok(head),
            _ => return Err(Unusual),
        }
    }
}

/// A scalar; nothing for `null`.
#[inline]
fn scan_value(
    cursor: &mut Cursor<'_>,
    text: &str,
    unescaped: &mut String,
) -> Result<Option<Span>, Unusual> {
    cursor.skip_blanks();
    if cursor.peek() == Some(b'"') {
        cursor.at += 1;
        return cursor.string(text, unescaped).map(Some);
    }
    let (start, end) = cursor.bare()?;
    match cursor.bytes.get(start..end).unwrap_or_default() {
        b"null" => Ok(None),
        b"true" | b"false" => Ok(Some(Span::in_text(start, end))),
        [b'-' | b'0'..=b'9', ..] => Ok(Some(Span::in_text(start, end))),
        _ => Err(Unusual),
    }
}

#[inline]
fn scan_fields(
    cursor: &mut Cursor<'_>,
    text: &str,
    decoder: &mut Decoder,
) -> Result<(), Unusual> {
    match cursor.next()? {
        b'{' => {}
        b'n' => {
            cursor.at -= 1;
            let (start, end) = cursor.bare()?;
            return match cursor.bytes.get(start..end) {
                Some(b"null") => Ok(()),
                _ => Err(Unusual),
            };
        }
        _ => return Err(Unusual),
    }
    loop {
        match cursor.next()? {
            b'"' => {}
            b'}' => return Ok(()),
            _ => return Err(Unusual),
        }
        let (start, end) = cursor.name()?;
        if let Some(value) = scan_value(cursor, text, &mut decoder.unescaped)? {
            if decoder.spans.len() >= FIELDS_MAX {
                return Err(Unusual);
            }
            decoder.spans.push(FieldSpan {
                name: Span::in_text(start, end),
                value,
            });
        }
        match cursor.next()? {
            b',' => {}
            b'}' => return Ok(()),
            _ => return Err(Unusual),
        }
    }
}

/// Language by name; C++ and old Java may send the ordinal.
fn language(text: &str) -> Language {
    match text.parse::<u8>() {
        Ok(code) => Language::from_u8(code),
        Err(_) => Language::from_name(text),
    }
}

#[cold]
fn read_general(text: &str, decoder: &mut Decoder) -> Result<Head, DecodeError> {
    let value: Value =
        serde_json::from_str(text).map_err(|_| DecodeError::Header("not a JSON object"))?;
    let Value::Object(members) = value else {
        return Err(DecodeError::Header("not a JSON object"));
    };
    let mut head = Head::default();
    for (name, value) in members {
        match name.as_str() {
            "code" => head.code = general_int(&value)?,
            "flag" => head.flag = general_int(&value)?,
            "opaque" => head.opaque = general_int(&value)?,
            "version" => head.version = general_int(&value)?,
            "language" => {
                if let Some(text) = general_text(&value) {
                    head.language = language(&text);
                }
            }
            "remark" => {
                if let Some(text) = general_text(&value) {
                    head.remark = keep(&mut decoder.unescaped, &text);
                }
            }
            "extFields" => general_fields(&value, decoder)?,
            _ => {}
        }
    }
    Ok(head)
}

fn general_fields(value: &Value, decoder: &mut Decoder) -> Result<(), DecodeError> {
    let fields = match value {
        Value::Null => return Ok(()),
        Value::Object(fields) => fields,
        _ => return Err(DecodeError::Header("extFields is not an object")),
    };
    if fields.len() > FIELDS_MAX {
        return Err(DecodeError::TooManyFields(FIELDS_MAX));
    }
    for (name, value) in fields {
        if let Some(text) = general_text(value) {
            let name = keep(&mut decoder.unescaped, name);
            let value = keep(&mut decoder.unescaped, &text);
            decoder.spans.push(FieldSpan { name, value });
        }
    }
    Ok(())
}

fn general_int(value: &Value) -> Result<i32, DecodeError> {
    let number = match value {
        Value::Null => Some(0),
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number
        .and_then(|number| i32::try_from(number).ok())
        .ok_or(DecodeError::Header("a number is missing or out of range"))
}

fn general_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

pub(crate) fn keep(unescaped: &mut String, text: &str) -> Span {
    let start = unescaped.len();
    unescaped.push_str(text);
    Span::in_unescaped(start, unescaped.len())
}

/// Writes the members of `extFields`.
pub(crate) struct JsonFields<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> JsonFields<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, first: true }
    }

    #[inline]
    fn name(&mut self, name: &str) {
        if self.first {
            self.first = false;
        } else {
            self.out.push(b',');
        }
        write_string(self.out, name);
        self.out.push(b':');
    }
}

impl FieldWriter for JsonFields<'_> {
    #[inline]
    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        write_string(self.out, value);
    }

    #[inline]
    fn int(&mut self, name: &str, value: i64) {
        self.name(name);
        self.out.push(b'"');
        self.out
            .extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        self.out.push(b'"');
    }

    #[inline]
    fn flag(&mut self, name: &str, value: bool) {
        self.text(name, if value { "true" } else { "false" });
    }
}

/// Writes `text` as a JSON string.
#[inline]
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    if bytes.iter().any(|byte| needs_escape(*byte)) {
        write_escaped(out, bytes);
    } else {
        out.extend_from_slice(bytes);
    }
    out.push(b'"');
}

#[inline]
fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

#[cold]
fn write_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control if *control < 0x20 => {
                // Writing into a vector cannot fail.
                let _ = write!(out, "\\u{control:04x}");
            }
            other => out.push(*other),
        }
    }
}
