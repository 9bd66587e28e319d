// SPDX-License-Identifier: Apache-2.0
//! The JSON header: `{"code":310,"extFields":{"a":"g"},"flag":0,"language":"JAVA","opaque":7,"version":513}`.
//!
//! A scanner reads what SDKs send in one pass, without allocation. Whatever it does not know
//! (nesting, fractions, escaped keys) goes to a general parser, which defines the meaning.

use std::io::Write as _;

use serde_json::Value;
use wide::u8x16;

use crate::{
    Language,
    command::{Decoder, FIELDS_MAX, FieldSpan, Head, Span},
    error::DecodeError,
    header::{FieldWriter, Name},
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

/// A place in the text. Reading past the end gives 0, which no rule accepts. Rare paths take and return the place instead
/// of a reference, so that it stays in a register.
struct Cursor<'a> {
    text: &'a str,
    /// In 32 bits, as in spans: what is added to it cannot overflow an index, which saves a check.
    at: u32,
}

impl<'a> Cursor<'a> {
    #[inline(always)]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at as usize).copied()
    }

    /// The next bytes, if there are so many.
    #[inline(always)]
    fn chunk<const N: usize>(&self) -> Option<&'a [u8; N]> {
        let start = self.at as usize;
        let bytes = self.text.as_bytes().get(start..start + N)?;
        bytes.try_into().ok()
    }

    #[inline(always)]
    fn byte(&mut self) -> u8 {
        match self.peek() {
            Some(byte) => {
                self.at += 1;
                byte
            }
            None => 0,
        }
    }

    /// The next byte that is not blank.
    #[inline(always)]
    fn token(&mut self) -> u8 {
        let byte = self.byte();
        // All blanks are below; what else is will be refused.
        if byte > b' ' {
            return byte;
        }
        let (byte, at) = after_blanks(self.text, self.at, byte);
        self.at = at;
        byte
    }

    /// Goes past `expected` if that comes next.
    #[inline(always)]
    fn skip<const N: usize>(&mut self, expected: &[u8; N]) -> bool {
        let comes = self.chunk() == Some(expected);
        if comes {
            self.at += N as u32;
        }
        comes
    }

    /// Goes past the first quote or backslash, which is returned; 0 when there is none.
    #[inline(always)]
    fn stop(&mut self) -> u8 {
        while let Some(block) = self.chunk() {
            if let Some(before) = stop_in(block) {
                self.at += before as u32 + 1;
                return block[before];
            }
            self.at += block.len() as u32;
        }
        while let Some(byte) = self.peek() {
            self.at += 1;
            if let b'"' | b'\\' = byte {
                return byte;
            }
        }
        0
    }

    /// As [`Cursor::stop`], and copies what is before it.
    #[inline(always)]
    fn copy_to_stop(&mut self, out: &mut Vec<u8>) -> u8 {
        // Copied with the search, and what was too much taken back: cheaper than a second walk.
        while let Some(block) = self.chunk() {
            out.extend_from_slice(block);
            if let Some(before) = stop_in(block) {
                out.truncate(out.len() - block.len() + before);
                self.at += before as u32 + 1;
                return block[before];
            }
            self.at += block.len() as u32;
        }
        while let Some(byte) = self.peek() {
            self.at += 1;
            if let b'"' | b'\\' = byte {
                return byte;
            }
            out.push(byte);
        }
        0
    }

    /// A member's name, whose opening quote is consumed, and the colon after it.
    #[inline(always)]
    fn name(&mut self) -> Result<Span, Unusual> {
        let start = self.at;
        if self.stop() != b'"' {
            return Err(Unusual);
        }
        let end = self.at - 1;
        self.colon()?;
        Ok(Span::in_text(start, end))
    }

    #[inline(always)]
    fn colon(&mut self) -> Result<(), Unusual> {
        match self.token() {
            b':' => Ok(()),
            _ => Err(Unusual),
        }
    }

    /// `separator`, a name of one letter and the opening quote of its value, if they come next: sends and batches have
    /// no other names.
    #[inline(always)]
    fn letter(&mut self, separator: u8) -> Option<Span> {
        // Two more bytes close the value and the fields at least.
        let start: &[u8; 8] = self.chunk()?;
        let frame = u64::from_le_bytes([separator, b'"', 0, b'"', b':', b'"', 0, 0]);
        let mask = u64::from_le_bytes([255, 255, 0, 255, 255, 255, 0, 0]);
        if u64::from_le_bytes(*start) & mask != frame || matches!(start[2], b'"' | b'\\') {
            return None;
        }
        let at = self.at + 2;
        self.at += 6;
        Some(Span::in_text(at, at + 1))
    }

    /// A string whose opening quote is consumed.
    #[inline(always)]
    fn string(&mut self, unescaped: &mut Vec<u8>) -> Result<Span, Unusual> {
        let start = self.at;
        match self.stop() {
            b'"' => Ok(Span::in_text(start, self.at - 1)),
            b'\\' => {
                let (span, at) = unescape(self.text, start, self.at, unescaped)?;
                self.at = at;
                Ok(span)
            }
            _ => Err(Unusual),
        }
    }

    #[cold]
    fn escape(&mut self, unescaped: &mut Vec<u8>) -> Result<(), Unusual> {
        let character = match self.byte() {
            b'u' => self.unicode()?,
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            same @ (b'"' | b'\\' | b'/') => char::from(same),
            _ => return Err(Unusual),
        };
        unescaped.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn unicode(&mut self) -> Result<char, Unusual> {
        let unit = self.hex4()?;
        if !(0xD800..=0xDFFF).contains(&unit) {
            return char::from_u32(unit).ok_or(Unusual);
        }
        // A surrogate pair; a lone half becomes the replacement character, as no UTF-8 exists for it.
        let back = self.at;
        if unit < 0xDC00 && self.byte() == b'\\' && self.byte() == b'u' {
            let low = self.hex4()?;
            if (0xDC00..=0xDFFF).contains(&low) {
                let scalar = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                return char::from_u32(scalar).ok_or(Unusual);
            }
        }
        self.at = back;
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hex4(&mut self) -> Result<u32, Unusual> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = char::from(self.byte()).to_digit(16).ok_or(Unusual)?;
            value = value << 4 | digit;
        }
        Ok(value)
    }

    /// A number, `true`, `false` or `null` that begins with `first`, which is consumed.
    #[inline]
    fn bare(&mut self, first: u8) -> Result<Option<Span>, Unusual> {
        if !matches!(first, b'-' | b'0'..=b'9' | b't' | b'f' | b'n') {
            return Err(Unusual);
        }
        let start = self.at - 1;
        while let Some(byte) = self.peek()
            && (byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.'))
        {
            self.at += 1;
        }
        let end = self.at;
        let word = self.text.get(start as usize..end as usize);
        let word = word.unwrap_or_default();
        match (first, word.as_bytes()) {
            (_, b"null") => Ok(None),
            (_, b"true" | b"false") | (b'-' | b'0'..=b'9', _) => {
                Ok(Some(Span::in_text(start, end)))
            }
            _ => Err(Unusual),
        }
    }

    #[inline(always)]
    fn int(&mut self) -> Result<i32, Unusual> {
        let mut digit = self.token();
        let negative = digit == b'-';
        if negative {
            digit = self.byte();
        }
        if !digit.is_ascii_digit() {
            return Err(Unusual);
        }
        let mut value = i64::from(digit - b'0');
        let start = self.at;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            value = value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
            self.at += 1;
        }
        // So many digits fit, whatever they are.
        if self.at - start > 16 {
            return Err(Unusual);
        }
        // Whatever else a number may have behind its digits is left to the general parser.
        if !matches!(
            self.peek(),
            Some(b',' | b'}' | b' ' | b'\n' | b'\r' | b'\t')
        ) {
            return Err(Unusual);
        }
        i32::try_from(if negative { -value } else { value }).map_err(|_| Unusual)
    }

    /// A scalar; nothing for `null`.
    #[inline(always)]
    fn value(&mut self, unescaped: &mut Vec<u8>) -> Result<Option<Span>, Unusual> {
        match self.token() {
            b'"' => self.string(unescaped).map(Some),
            first => self.bare(first),
        }
    }
}

#[inline(always)]
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// The first byte that is not blank, of `byte` and those at `at`, and the place behind it.
#[cold]
fn after_blanks(text: &str, at: u32, mut byte: u8) -> (u8, u32) {
    let mut cursor = Cursor { text, at };
    while is_blank(byte) {
        byte = cursor.byte();
    }
    (byte, cursor.at)
}

/// A string that begins at `start` and has escapes, the first backslash before `at`. The string, and the place behind it.
fn unescape(
    text: &str,
    start: u32,
    at: u32,
    unescaped: &mut Vec<u8>,
) -> Result<(Span, u32), Unusual> {
    let mut cursor = Cursor { text, at };
    let from = unescaped.len() as u32;
    let before = text.as_bytes().get(start as usize..at as usize - 1);
    unescaped.extend_from_slice(before.ok_or(Unusual)?);
    loop {
        // The separators of properties are in nearly every message.
        if cursor.skip(b"u0001") {
            unescaped.push(1);
        } else if cursor.skip(b"u0002") {
            unescaped.push(2);
        } else {
            cursor.escape(unescaped)?;
        }
        match cursor.copy_to_stop(unescaped) {
            b'\\' => {}
            b'"' => return Ok((Span::in_unescaped(from, unescaped.len() as u32), cursor.at)),
            _ => return Err(Unusual),
        }
    }
}

/// Where the first quote or backslash is.
#[inline(always)]
fn stop_in(block: &[u8; 16]) -> Option<usize> {
    let block = u8x16::new(*block);
    let is = |byte| block.simd_eq(u8x16::splat(byte));
    let found = (is(b'"') | is(b'\\')).to_bitmask();
    (found != 0).then_some(found.trailing_zeros() as usize & 15)
}

/// A member of the header whose name was read.
enum Member<'a> {
    Number(&'a mut i32),
    Fields,
    /// Java's language, value included.
    Java,
    /// A member that does not matter, value included.
    Done,
    /// Any other, whose name is not read yet.
    Text,
}

fn scan(text: &str, decoder: &mut Decoder) -> Result<Head, Unusual> {
    let mut cursor = Cursor { text, at: 0 };
    let mut head = Head::default();
    if cursor.token() != b'{' {
        return Err(Unusual);
    }
    loop {
        match cursor.token() {
            b'"' => {}
            b'}' => return Ok(head),
            _ => return Err(Unusual),
        }
        let member = match cursor.peek() {
            Some(b'c') if cursor.skip(b"code\"") => Member::Number(&mut head.code),
            Some(b'f') if cursor.skip(b"flag\"") => Member::Number(&mut head.flag),
            Some(b'o') if cursor.skip(b"opaque\"") => Member::Number(&mut head.opaque),
            Some(b'v') if cursor.skip(b"version\"") => Member::Number(&mut head.version),
            Some(b'e') if cursor.skip(b"extFields\"") => Member::Fields,
            Some(b'l') if cursor.skip(b"language\":\"JAVA\"") => Member::Java,
            // Says what the frame says already.
            Some(b's') if cursor.skip(b"serializeTypeCurrentRPC\":\"JSON\"") => Member::Done,
            _ => Member::Text,
        };
        match member {
            Member::Number(number) => {
                cursor.colon()?;
                *number = cursor.int()?;
            }
            Member::Fields => {
                cursor.colon()?;
                cursor.at = scan_fields(text, cursor.at, decoder)?;
            }
            Member::Java => head.language = Language::Java,
            Member::Done => {}
            Member::Text => cursor.at = scan_text(text, cursor.at, &mut head, decoder)?,
        }
        match cursor.token() {
            b',' => {}
            b'}' => return Ok(head),
            _ => return Err(Unusual),
        }
    }
}

/// A member at `at` that is neither a number nor the fields; the place behind it.
#[inline(never)]
fn scan_text(text: &str, at: u32, head: &mut Head, decoder: &mut Decoder) -> Result<u32, Unusual> {
    let mut cursor = Cursor { text, at };
    let name = cursor.name()?;
    let value = cursor.value(&mut decoder.unescaped)?;
    match (name.bytes(text.as_bytes(), &[]), value) {
        (b"remark", Some(span)) => head.remark = span,
        (b"language", Some(span)) => {
            let name = span.bytes(text.as_bytes(), &decoder.unescaped);
            head.language = language(&String::from_utf8_lossy(name));
        }
        _ => {}
    }
    Ok(cursor.at)
}

/// The fields, which stand at `at`; the place behind them. Not inlined: alone it has registers enough.
#[inline(never)]
fn scan_fields(text: &str, at: u32, decoder: &mut Decoder) -> Result<u32, Unusual> {
    let mut cursor = Cursor { text, at };
    let mut separator = b'{';
    loop {
        let (name, value) = match cursor.letter(separator) {
            Some(name) => (name, Some(cursor.string(&mut decoder.unescaped)?)),
            None => match (separator, cursor.token()) {
                (b'{', b'{') | (b',', b',') => match cursor.token() {
                    b'"' => (cursor.name()?, cursor.value(&mut decoder.unescaped)?),
                    b'}' => return Ok(cursor.at),
                    _ => return Err(Unusual),
                },
                (b',', b'}') => return Ok(cursor.at),
                (b'{', b'n') => {
                    return match cursor.bare(b'n')? {
                        None => Ok(cursor.at),
                        Some(_) => Err(Unusual),
                    };
                }
                _ => return Err(Unusual),
            },
        };
        if let Some(value) = value {
            if decoder.spans.len() >= FIELDS_MAX {
                return Err(Unusual);
            }
            decoder.spans.push(FieldSpan { name, value });
        }
        separator = b',';
    }
}

/// Language by name; C++ and old Java may send the ordinal.
#[inline]
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

pub(crate) fn keep(unescaped: &mut Vec<u8>, text: &str) -> Span {
    let start = unescaped.len() as u32;
    unescaped.extend_from_slice(text.as_bytes());
    Span::in_unescaped(start, unescaped.len() as u32)
}

/// Writes the members of `extFields`, whose values are all strings. The closing quote of the last one is left to what
/// follows, [`JsonFields::end`] at last, so that a field is two pieces: name and value.
pub(crate) struct JsonFields<'a> {
    out: &'a mut Vec<u8>,
    is_open: bool,
}

impl<'a> JsonFields<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            is_open: false,
        }
    }

    #[inline(always)]
    fn name(&mut self, name: Name) {
        let name = if std::mem::replace(&mut self.is_open, true) {
            name.next
        } else {
            name.first
        };
        self.out.extend_from_slice(name.as_bytes());
    }

    #[inline(always)]
    pub(crate) fn end(self) {
        if self.is_open {
            self.out.push(b'"');
        }
    }
}

impl FieldWriter for JsonFields<'_> {
    #[inline(always)]
    fn text(&mut self, name: Name, value: &str) {
        self.name(name);
        write_escaped(self.out, value);
    }

    #[inline(always)]
    fn int(&mut self, name: Name, value: i64) {
        self.name(name);
        write_int(self.out, value);
    }

    #[inline(always)]
    fn flag(&mut self, name: Name, value: bool) {
        self.name(name);
        self.out
            .extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn pair(&mut self, name: &str, value: &str) {
        if std::mem::replace(&mut self.is_open, true) {
            self.out.extend_from_slice(b"\",");
        }
        write_string(self.out, name);
        self.out.extend_from_slice(b":\"");
        write_escaped(self.out, value);
    }
}

/// Writes a number in decimal.
#[inline(always)]
pub(crate) fn write_int(out: &mut Vec<u8>, value: i64) {
    match value {
        // Most: codes, flags, queues.
        0..=9 => out.push(b'0' + value as u8),
        _ => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
    }
}

/// Writes `text` as a JSON string.
#[inline]
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    write_escaped(out, text);
    out.push(b'"');
}

/// Writes what stands between the quotes of a JSON string.
#[inline(always)]
fn write_escaped(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    // Looks at every byte, without an early end, so that it is done many bytes at a time.
    let escapes = bytes
        .iter()
        .fold(false, |any, byte| any | needs_escape(*byte));
    if escapes {
        write_escapes(out, bytes);
    } else {
        out.extend_from_slice(bytes);
    }
}

#[inline(always)]
fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

#[cold]
fn write_escapes(out: &mut Vec<u8>, bytes: &[u8]) {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Encoding, command::Command, frame::Frame};

    fn with<T>(text: &str, check: impl FnOnce(Result<Command<'_>, DecodeError>) -> T) -> T {
        let frame = Frame {
            encoding: Encoding::Json,
            header: text.as_bytes(),
            body: b"",
        };
        check(Decoder::default().decode(frame))
    }

    fn field(text: &str, name: &str) -> Option<String> {
        with(text, |command| {
            command.unwrap().fields.get(name).map(str::to_owned)
        })
    }

    #[test]
    fn a_java_header_is_read() {
        let text = r#"{"code":310,"extFields":{"a":"group","e":"3","i":"KEYS\u0001k\u0002WAIT\u0001true\u0002"},"flag":0,"language":"JAVA","opaque":17,"serializeTypeCurrentRPC":"JSON","version":513}"#;
        with(text, |command| {
            let command = command.unwrap();
            assert_eq!(
                (command.code, command.opaque, command.version),
                (310, 17, 513)
            );
            assert_eq!(command.fields.get("a"), Some("group"));
            assert_eq!(
                command.fields.get("i"),
                Some("KEYS\u{1}k\u{2}WAIT\u{1}true\u{2}")
            );
        });
    }

    #[test]
    fn a_cpp_header_is_read() {
        let text = "{\"code\":11,\"language\":\"CPP\",\"version\":373,\"opaque\":-1,\"flag\":0,\"remark\":\"\",\"extFields\":{\"queueId\":3,\"lo\":false,\"x\":null,\"f\":1.5e3}}\n";
        assert_eq!(field(text, "queueId").as_deref(), Some("3"));
        assert_eq!(field(text, "lo").as_deref(), Some("false"));
        assert_eq!(field(text, "x"), None);
        assert_eq!(field(text, "f").as_deref(), Some("1.5e3"));
        with(text, |command| {
            assert_eq!(command.unwrap().language, Language::Cpp);
        });
    }

    #[test]
    fn missing_and_null_parts_have_defaults() {
        for text in [
            "{}",
            r#"{"extFields":null,"remark":null}"#,
            r#" { "extFields" : { } , "unknown" : [1,{"a":2}] } "#,
        ] {
            with(text, |command| {
                let command = command.unwrap();
                assert_eq!((command.code, command.version, command.remark), (0, 0, ""));
                assert_eq!(command.fields.iter().count(), 0);
            });
        }
    }

    #[test]
    fn what_the_scanner_leaves_the_general_parser_reads() {
        assert_eq!(
            field(r#"{"extFields":{"\u0061":"b"}}"#, "a").as_deref(),
            Some("b")
        );
        assert_eq!(
            field(r#"{"extFields":{"a":{"b":1}}}"#, "a").as_deref(),
            Some(r#"{"b":1}"#)
        );
        with(r#"{"code":"310","opaque":"5","language":12}"#, |command| {
            let command = command.unwrap();
            assert_eq!((command.code, command.opaque), (310, 5));
        });
    }

    #[test]
    fn blanks_may_stand_between_all_parts() {
        let texts = [
            r#"{"code":310,"extFields":{"a":"g","bc":"x\u0001y","d":5},"flag":2,"language":"JAVA","opaque":-7,"serializeTypeCurrentRPC":"JSON","version":513}"#,
            r#" { "code" : 310 , "extFields" : { "a" : "g" , "bc" : "x\u0001y" , "d" : 5 } , "flag" : 2 , "language" : "JAVA" , "opaque" : -7 , "serializeTypeCurrentRPC" : "JSON" , "version" : 513 } "#,
        ];
        for text in texts {
            let mut decoder = Decoder::default();
            let Ok(head) = scan(text, &mut decoder) else {
                panic!("the scanner reads {text}");
            };
            assert_eq!(head.language, Language::Java);
            let (numbers, _, fields) = view(head, &decoder, text);
            assert_eq!(numbers, [310, 2, -7, 513]);
            let fields: Vec<_> = fields.iter().map(|(a, b)| (&**a, &**b)).collect();
            assert_eq!(fields, [("a", "g"), ("bc", "x\u{1}y"), ("d", "5")]);
        }
    }

    #[test]
    fn the_last_of_equal_names_counts() {
        with(r#"{"language":"GO","language":"JAVA"}"#, |command| {
            assert_eq!(command.unwrap().language, Language::Java);
        });
        with(r#"{"language":"JAVA","language":"GO"}"#, |command| {
            assert_eq!(command.unwrap().language, Language::Go);
        });
        assert_eq!(
            field(r#"{"extFields":{"a":"1","a":"2"}}"#, "a").as_deref(),
            Some("2")
        );
    }

    #[test]
    fn strings_of_any_length_end_at_their_quote() {
        for length in 0..40 {
            let (plain, tail) = ("é".repeat(length), "x".repeat(length % 7));
            let text = format!(r#"{{"extFields":{{"a":"{plain}","bc":"{plain}\n{tail}"}}}}"#);
            assert_eq!(field(&text, "a"), Some(plain.clone()));
            assert_eq!(field(&text, "bc"), Some(format!("{plain}\n{tail}")));
        }
    }

    #[test]
    fn escapes_are_undone() {
        let text = r#"{"extFields":{"a":"\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00\uD83Dx"}}"#;
        let wanted = "\"\\/\u{8}\u{c}\n\r\té😀\u{FFFD}x";
        assert_eq!(field(text, "a").as_deref(), Some(wanted));
    }

    #[test]
    fn fields_are_written_as_strings() {
        let written = |write: &dyn Fn(&mut JsonFields<'_>)| {
            let mut bytes = Vec::new();
            let mut fields = JsonFields::new(&mut bytes);
            write(&mut fields);
            fields.end();
            String::from_utf8(bytes).unwrap()
        };
        let name = Name {
            plain: "n",
            first: r#""n":""#,
            next: r#"","n":""#,
        };
        assert_eq!(written(&|_| {}), "");
        assert_eq!(written(&|fields| fields.int(name, -5)), r#""n":"-5""#);
        let mixed = written(&|fields| {
            fields.pair("a\"", "b\n");
            fields.text(name, "x\"y");
            fields.flag(name, true);
            fields.pair("z", "");
        });
        assert_eq!(mixed, r#""a\"":"b\n","n":"x\"y","n":"true","z":"""#);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in [
            "",
            "null",
            "[]",
            "{",
            r#"{"code":}"#,
            r#"{"code":99999999999}"#,
            r#"{"code":99999999999999999999999999999999}"#,
            r#"{"extFields":5}"#,
            r#"{"a":"\u12"}"#,
        ] {
            with(text, |command| assert!(command.is_err(), "{text}"));
        }
    }

    /// What both readers make of a text, in one form.
    fn view(
        head: Head,
        decoder: &Decoder,
        text: &str,
    ) -> (Vec<i32>, String, Vec<(String, String)>) {
        let resolve = |span: Span| {
            String::from_utf8(span.bytes(text.as_bytes(), &decoder.unescaped).to_vec()).unwrap()
        };
        let mut fields: Vec<_> = decoder
            .spans
            .iter()
            .map(|field| (resolve(field.name), resolve(field.value)))
            .collect();
        fields.sort();
        (
            vec![head.code, head.flag, head.opaque, head.version],
            resolve(head.remark),
            fields,
        )
    }

    proptest! {
        #[test]
        fn the_scanner_agrees_with_the_general_parser(
            code in any::<i32>(),
            opaque in any::<i32>(),
            remark in any::<String>(),
            fields in proptest::collection::btree_map("[a-zA-Z]{1,8}", any::<String>(), 0..20),
        ) {
            let mut text = serde_json::json!({
                "code": code, "opaque": opaque, "remark": remark, "extFields": fields,
            }).to_string();
            let mut scanned = Decoder::default();
            let head = scan(&text, &mut scanned);
            prop_assert!(head.is_ok(), "{text}");
            let scanned = view(head.ok().unwrap(), &scanned, &text);
            let mut general = Decoder::default();
            let head = read_general(&text, &mut general).unwrap();
            prop_assert_eq!(scanned, view(head, &general, &text));
            // What we write ourselves is read back.
            text.clear();
            let mut bytes = Vec::new();
            write_string(&mut bytes, &remark);
            let back: String = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(back, remark);
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = with(&text, |command| command.is_ok());
        }

        #[test]
        fn a_mutated_header_is_read_or_refused(at in 0usize..200, byte in any::<u8>()) {
            let mut bytes = br#"{"code":310,"extFields":{"a":"g","e":"3","i":"KEYS\u0001k\u0002W\uD83D\uDE00"},"flag":0,"language":"JAVA","opaque":17,"version":513}"#.to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            let frame = Frame { encoding: Encoding::Json, header: &bytes, body: b"" };
            let _ = Decoder::default().decode(frame).map(|command| command.fields.to_owned_pairs());
        }
    }
}
