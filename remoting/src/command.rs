// SPDX-License-Identifier: Apache-2.0
//! Commands: the decoded header of a frame beside its body, still borrowing the bytes received.

use std::ops::Range;

use simdutf8::basic::from_utf8;

use crate::{
    Encoding, Language,
    encoding::{compact, json},
    error::DecodeError,
    frame::Frame,
    header::{FieldWriter, WriteFields},
};

/// Bit 0 of `flag`: the command answers another one.
pub const FLAG_RESPONSE: i32 = 1;
/// Bit 1 of `flag`: the sender wants no answer, whatever happens.
pub const FLAG_ONEWAY: i32 = 2;
/// Most fields in one header.
pub const FIELDS_MAX: usize = 4096;

/// A request or a response. Everything but the numbers borrows the frame or its [`Decoder`].
#[derive(Debug, Clone, Copy)]
pub struct Command<'a> {
    /// Request code, or response code when [`Command::is_response`].
    pub code: i32,
    /// Language of the sender.
    pub language: Language,
    /// Version ordinal of the sender, 0 when it sent none.
    pub version: i32,
    /// Chosen by the requester, repeated by the answer.
    pub opaque: i32,
    /// [`FLAG_RESPONSE`] and [`FLAG_ONEWAY`].
    pub flag: i32,
    /// Free text, mostly the reason of a failure; empty when there is none.
    pub remark: &'a str,
    /// The named fields.
    pub fields: Fields<'a>,
    /// The body.
    pub body: &'a [u8],
    /// How the header was written, and how the answer has to be.
    pub encoding: Encoding,
}

impl Command<'_> {
    /// Whether this answers a request of ours.
    #[inline]
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// Whether the sender wants no answer.
    #[inline]
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }
}

/// The named fields of a header, in the order received. A name may come twice; the last one counts.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    spans: &'a [FieldSpan],
    text: &'a str,
    unescaped: &'a str,
}

impl<'a> Fields<'a> {
    /// Name and value of each field.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let Self {
            spans,
            text,
            unescaped,
        } = *self;
        spans.iter().map(move |span| {
            let name = span.name.resolve(text, unescaped);
            (name, span.value.resolve(text, unescaped))
        })
    }

    /// Name, as bytes to compare, and value of each field.
    #[inline(always)]
    pub fn iter_by_bytes(&self) -> impl Iterator<Item = (&'a [u8], &'a str)> + use<'a> {
        let Self {
            spans,
            text,
            unescaped,
        } = *self;
        spans.iter().map(move |span| {
            let name = span.name.bytes(text.as_bytes(), unescaped.as_bytes());
            (name, span.value.resolve(text, unescaped))
        })
    }

    /// The value of `name`, if it was sent.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.iter()
            .filter(|(key, _)| *key == name)
            .last()
            .map(|(_, value)| value)
    }

    /// Copies of all fields, together.
    pub fn to_owned_fields(&self) -> OwnedFields {
        let mut owned = OwnedFields::default();
        for (name, value) in self.iter() {
            owned.pair(name, value);
        }
        owned
    }

    /// Copies of all pairs.
    pub fn to_owned_pairs(&self) -> Vec<(String, String)> {
        self.iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }
}

/// Fields that outlive what they were received in, or that were never bytes of a frame: one text, and
/// where each name and value stands in it.
#[derive(Debug, Clone, Default)]
pub struct OwnedFields {
    text: String,
    spans: Vec<FieldSpan>,
}

impl OwnedFields {
    /// The fields that a header writes.
    pub(crate) fn of<H: WriteFields + ?Sized>(header: &H) -> Self {
        let mut fields = Self::default();
        header.write(&mut fields);
        fields
    }

    /// To be read.
    #[inline]
    pub fn fields(&self) -> Fields<'_> {
        Fields {
            spans: &self.spans,
            text: &self.text,
            unescaped: "",
        }
    }

    /// Bytes of all names and values.
    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    /// Removes all fields; gives the memory back when it grew unusually large.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.spans.clear();
        if self.text.capacity() > KEEP_BYTES {
            self.text.shrink_to(KEEP_BYTES);
            self.spans.shrink_to(KEEP_BYTES / size_of::<FieldSpan>());
        }
    }

    #[inline]
    fn push(&mut self, text: &str) -> Span {
        let start = self.text.len() as u32;
        self.text.push_str(text);
        Span::in_text(start, self.text.len() as u32)
    }
}

impl FieldWriter for OwnedFields {
    #[inline]
    fn pair(&mut self, name: &str, value: &str) {
        if self.spans.is_empty() {
            // Most headers fit, so that each is two allocations.
            self.text.reserve(256);
            self.spans.reserve(16);
        }
        let name = self.push(name);
        let value = self.push(value);
        self.spans.push(FieldSpan { name, value });
    }
}

impl WriteFields for OwnedFields {
    fn write<W: FieldWriter>(&self, out: &mut W) {
        for (name, value) in self.fields().iter() {
            out.pair(name, value);
        }
    }
}

/// Where a name or a value stands: in the header text, or, when it had escapes, in the decoder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    /// The top bit says that it is in the decoder.
    start: u32,
    end: u32,
}

const UNESCAPED: u32 = 1 << 31;

impl Span {
    /// Both ends are below the header limit of 1 MiB.
    #[inline]
    pub(crate) fn in_text(start: u32, end: u32) -> Self {
        Self { start, end }
    }

    #[inline]
    pub(crate) fn in_unescaped(start: u32, end: u32) -> Self {
        let start = start | UNESCAPED;
        Self { start, end }
    }

    #[inline(always)]
    fn is_unescaped(self) -> bool {
        self.start & UNESCAPED != 0
    }

    #[inline(always)]
    fn range(self) -> Range<usize> {
        (self.start & !UNESCAPED) as usize..self.end as usize
    }

    #[inline(always)]
    pub(crate) fn bytes<'a>(self, text: &'a [u8], unescaped: &'a [u8]) -> &'a [u8] {
        // A branch, not a choice of the place: nearly all are in the text.
        if self.is_unescaped() {
            return unescaped.get(self.range()).unwrap_or_default();
        }
        text.get(self.range()).unwrap_or_default()
    }

    #[inline(always)]
    fn resolve<'a>(self, text: &'a str, unescaped: &'a str) -> &'a str {
        if self.is_unescaped() {
            return unescaped.get(self.range()).unwrap_or_default();
        }
        text.get(self.range()).unwrap_or_default()
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct FieldSpan {
    pub(crate) name: Span,
    pub(crate) value: Span,
}

/// The fixed parts of a header as an encoding found them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) code: i32,
    pub(crate) language: Language,
    pub(crate) version: i32,
    pub(crate) opaque: i32,
    pub(crate) flag: i32,
    pub(crate) remark: Span,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            code: 0,
            language: Language::Java,
            version: 0,
            opaque: 0,
            flag: 0,
            remark: Span::in_text(0, 0),
        }
    }
}

/// Decodes headers. Reused from frame to frame so that nothing is allocated per command.
#[derive(Debug, Default)]
pub struct Decoder {
    pub(crate) spans: Vec<FieldSpan>,
    /// Text that had escapes, or came in the compact encoding.
    pub(crate) unescaped: Vec<u8>,
}

/// Above this a decoder gives its buffers back after an unusually large header.
const KEEP_BYTES: usize = 64 << 10;

impl Decoder {
    /// Decodes the header of `frame`.
    ///
    /// # Errors
    /// The header is not valid in its encoding; the connection has to be closed.
    #[inline]
    pub fn decode<'a>(&'a mut self, frame: Frame<'a>) -> Result<Command<'a>, DecodeError> {
        self.spans.clear();
        self.unescaped.clear();
        if self.unescaped.capacity() > KEEP_BYTES {
            self.unescaped.shrink_to(KEEP_BYTES);
            self.spans.shrink_to(KEEP_BYTES / size_of::<FieldSpan>());
        }
        let (head, text) = match frame.encoding {
            Encoding::Json => {
                let text = from_utf8(frame.header)
                    .map_err(|_| DecodeError::Header("JSON is not UTF-8"))?;
                (json::read(text, self)?, text)
            }
            // Names and values stand between binary numbers: they are copied, not spanned.
            Encoding::Compact => (compact::read(frame.header, self)?, ""),
        };
        let unescaped =
            from_utf8(&self.unescaped).map_err(|_| DecodeError::Header("text is not UTF-8"))?;
        Ok(Command {
            code: head.code,
            language: head.language,
            version: head.version,
            opaque: head.opaque,
            flag: head.flag,
            remark: head.remark.resolve(text, unescaped),
            fields: Fields {
                spans: &self.spans,
                text,
                unescaped,
            },
            body: frame.body,
            encoding: frame.encoding,
        })
    }
}
