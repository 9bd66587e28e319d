// SPDX-License-Identifier: Apache-2.0
//! Writes values in the dialect.

use serde::{
    Serialize,
    ser::{self, Error as _},
};

use super::JsonError;

/// How the text is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Compact,
    Pretty,
    BrowserCompatible,
}

pub(super) fn to_vec<T: Serialize + ?Sized>(value: &T, style: Style) -> Vec<u8> {
    let mut writer = Writer {
        out: Vec::with_capacity(256),
        style,
        depth: 0,
    };
    value
        .serialize(&mut writer)
        .expect("bodies are made of structs, maps, lists, text and numbers");
    writer.out
}

struct Writer {
    out: Vec<u8>,
    style: Style,
    depth: usize,
}

impl Writer {
    fn display(&mut self, number: impl itoa::Integer) {
        self.out
            .extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    /// `Double.toString` of Java.
    fn double(&mut self, value: f64) {
        let magnitude = value.abs();
        let text = if !value.is_finite() {
            "null".to_owned()
        } else if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) {
            format!("{value:?}")
        } else {
            let text = format!("{value:E}");
            match text.split_once('E') {
                Some((mantissa, exponent)) if !mantissa.contains('.') => {
                    format!("{mantissa}.0E{exponent}")
                }
                _ => text,
            }
        };
        self.out.extend_from_slice(text.as_bytes());
    }

    fn text(&mut self, text: &str) {
        self.out.push(b'"');
        let mut plain = 0;
        for (at, character) in text.char_indices() {
            if !self.escapes(character) {
                continue;
            }
            self.out
                .extend_from_slice(text.get(plain..at).unwrap_or_default().as_bytes());
            plain = at + character.len_utf8();
            self.escape(character);
        }
        self.out
            .extend_from_slice(text.get(plain..).unwrap_or_default().as_bytes());
        self.out.push(b'"');
    }

    fn escapes(&self, character: char) -> bool {
        match character {
            '"' | '\\' | '\0'..='\x1f' | '\x7f' => true,
            '/' => self.style == Style::BrowserCompatible,
            _ => self.style == Style::BrowserCompatible && !character.is_ascii(),
        }
    }

    fn escape(&mut self, character: char) {
        let short = match character {
            '"' | '\\' | '/' => character as u8,
            '\n' => b'n',
            '\r' => b'r',
            '\t' => b't',
            '\x08' => b'b',
            '\x0c' => b'f',
            _ => {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    self.out
                        .extend_from_slice(format!("\\u{unit:04X}").as_bytes());
                }
                return;
            }
        };
        self.out.extend_from_slice(&[b'\\', short]);
    }

    fn open(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.depth += 1;
    }

    /// Begins a member or an element.
    fn separate(&mut self, first: bool) {
        if !first {
            self.out.push(b',');
        }
        self.new_line();
    }

    fn close(&mut self, empty: bool, bracket: u8) {
        self.depth -= 1;
        if !empty {
            self.new_line();
        }
        self.out.push(bracket);
    }

    fn new_line(&mut self) {
        if self.style == Style::Pretty {
            self.out.push(b'\n');
            self.out.resize(self.out.len() + self.depth, b'\t');
        }
    }
}

/// The members of an object or the elements of a list.
struct Members<'w> {
    writer: &'w mut Writer,
    empty: bool,
    closing: u8,
}

impl<'w> Members<'w> {
    fn open(writer: &'w mut Writer, opening: u8, closing: u8) -> Self {
        writer.open(opening);
        Self {
            writer,
            empty: true,
            closing,
        }
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        self.writer.separate(self.empty);
        self.empty = false;
        value.serialize(&mut *self.writer)
    }

    /// A member of a struct; nulls are left out.
    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), JsonError> {
        let start = self.writer.out.len();
        self.writer.separate(self.empty);
        self.writer.text(name);
        self.writer.out.push(b':');
        let value_at = self.writer.out.len();
        value.serialize(&mut *self.writer)?;
        if self.writer.out.get(value_at..) == Some(b"null") {
            self.writer.out.truncate(start);
        } else {
            self.empty = false;
        }
        Ok(())
    }

    fn close(self) {
        self.writer.close(self.empty, self.closing);
    }
}

impl ser::SerializeSeq for Members<'_> {
    type Ok = ();
    type Error = JsonError;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        self.element(value)
    }
    fn end(self) -> Result<(), JsonError> {
        self.close();
        Ok(())
    }
}

impl ser::SerializeTuple for Members<'_> {
    type Ok = ();
    type Error = JsonError;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        self.element(value)
    }
    fn end(self) -> Result<(), JsonError> {
        self.close();
        Ok(())
    }
}

impl ser::SerializeTupleStruct for Members<'_> {
    type Ok = ();
    type Error = JsonError;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        self.element(value)
    }
    fn end(self) -> Result<(), JsonError> {
        self.close();
        Ok(())
    }
}

impl ser::SerializeMap for Members<'_> {
    type Ok = ();
    type Error = JsonError;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), JsonError> {
        self.writer.separate(self.empty);
        self.empty = false;
        write_key(self.writer, key)?;
        self.writer.out.push(b':');
        Ok(())
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        value.serialize(&mut *self.writer)
    }
    fn end(self) -> Result<(), JsonError> {
        self.close();
        Ok(())
    }
}

impl ser::SerializeStruct for Members<'_> {
    type Ok = ();
    type Error = JsonError;
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), JsonError> {
        self.field(name, value)
    }
    fn end(self) -> Result<(), JsonError> {
        self.close();
        Ok(())
    }
}

/// Text stays text, an object stays an object on one line, everything else gets quotes.
fn write_key<T: Serialize + ?Sized>(writer: &mut Writer, key: &T) -> Result<(), JsonError> {
    let style = writer.style;
    if style == Style::Pretty {
        writer.style = Style::Compact;
    }
    let start = writer.out.len();
    let written = key.serialize(&mut *writer);
    writer.style = style;
    written?;
    match writer.out.get(start) {
        Some(b'"' | b'{') => {}
        Some(_) => {
            writer.out.insert(start, b'"');
            writer.out.push(b'"');
        }
        None => return Err(JsonError::custom("a map key without text")),
    }
    Ok(())
}

type Never = ser::Impossible<(), JsonError>;

impl<'w> ser::Serializer for &'w mut Writer {
    type Ok = ();
    type Error = JsonError;
    type SerializeSeq = Members<'w>;
    type SerializeTuple = Members<'w>;
    type SerializeTupleStruct = Members<'w>;
    type SerializeTupleVariant = Never;
    type SerializeMap = Members<'w>;
    type SerializeStruct = Members<'w>;
    type SerializeStructVariant = Never;

    fn serialize_bool(self, value: bool) -> Result<(), JsonError> {
        let text: &[u8] = if value { b"true" } else { b"false" };
        self.out.extend_from_slice(text);
        Ok(())
    }
    fn serialize_i8(self, value: i8) -> Result<(), JsonError> {
        self.display(value);
        Ok(())
    }
    fn serialize_i16(self, value: i16) -> Result<(), JsonError> {
        self.display(value);
        Ok(())
    }
    fn serialize_i32(self, value: i32) -> Result<(), JsonError> {
        self.display(value);
        Ok(())
    }
    fn serialize_i64(self, value: i64) -> Result<(), JsonError> {
        self.display(value);
        Ok(())
    }
    fn serialize_u8(self, value: u8) -> Result<(), JsonError> {
        self.display(value);
        Ok(())
    }
    fn serialize_u16(self, value: u16) -> Result<(), JsonError> {
        self.display(value);
        Ok(())
    }
    fn serialize_u32(self, value: u32) -> Result<(), JsonError> {
        self.display(value);
        Ok(())
    }
    fn serialize_u64(self, value: u64) -> Result<(), JsonError> {
        self.display(value);
        Ok(())
    }
    fn serialize_f32(self, value: f32) -> Result<(), JsonError> {
        self.double(f64::from(value));
        Ok(())
    }
    fn serialize_f64(self, value: f64) -> Result<(), JsonError> {
        self.double(value);
        Ok(())
    }
    fn serialize_char(self, value: char) -> Result<(), JsonError> {
        self.text(value.encode_utf8(&mut [0; 4]));
        Ok(())
    }
    fn serialize_str(self, value: &str) -> Result<(), JsonError> {
        self.text(value);
        Ok(())
    }
    fn serialize_bytes(self, _: &[u8]) -> Result<(), JsonError> {
        Err(JsonError::custom("bytes have to be encoded as text first"))
    }
    fn serialize_none(self) -> Result<(), JsonError> {
        self.serialize_unit()
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), JsonError> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<(), JsonError> {
        self.out.extend_from_slice(b"null");
        Ok(())
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), JsonError> {
        self.serialize_unit()
    }
    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), JsonError> {
        self.text(variant);
        Ok(())
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), JsonError> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), JsonError> {
        Err(JsonError::custom("Java's enums carry no values"))
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Members<'w>, JsonError> {
        Ok(Members::open(self, b'[', b']'))
    }
    fn serialize_tuple(self, _: usize) -> Result<Members<'w>, JsonError> {
        Ok(Members::open(self, b'[', b']'))
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Members<'w>, JsonError> {
        Ok(Members::open(self, b'[', b']'))
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Never, JsonError> {
        Err(JsonError::custom("Java's enums carry no values"))
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Members<'w>, JsonError> {
        Ok(Members::open(self, b'{', b'}'))
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Members<'w>, JsonError> {
        Ok(Members::open(self, b'{', b'}'))
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Never, JsonError> {
        Err(JsonError::custom("Java's enums carry no values"))
    }
}
