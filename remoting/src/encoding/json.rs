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
        let ended = matches!(
            self.peek(),
            Some(b',' | b'}' | b' ' | b'\n' | b'\r' | b'\t')
        );
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
fn scan_fields(cursor: &mut Cursor<'_>, text: &str, decoder: &mut Decoder) -> Result<(), Unusual> {
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
            assert_eq!(command.unwrap().language, Language::Cpp)
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
    fn the_last_of_equal_names_counts() {
        assert_eq!(
            field(r#"{"extFields":{"a":"1","a":"2"}}"#, "a").as_deref(),
            Some("2")
        );
    }

    #[test]
    fn escapes_are_undone() {
        let text = r#"{"extFields":{"a":"\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00\uD83Dx"}}"#;
        let wanted = "\"\\/\u{8}\u{c}\n\r\té😀\u{FFFD}x";
        assert_eq!(field(text, "a").as_deref(), Some(wanted));
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
        let resolve = |span: Span| span.resolve(text, &decoder.unescaped).to_owned();
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
