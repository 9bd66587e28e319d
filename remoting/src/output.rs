// SPDX-License-Identifier: Apache-2.0
//! Outgoing frames, written one after the other into one buffer.

use crate::{
    Encoding, Language, RequestCode,
    command::{FLAG_ONEWAY, FLAG_RESPONSE},
    encoding::{
        compact::CompactFields,
        json::{JsonFields, write_int, write_string},
    },
    frame::PREFIX_BYTES,
    header::WriteFields,
    latency::TurnAnswers,
};

/// What we say of ourselves in every command: clients of all languages know Java's name, and take
/// the version for that of the broker.
pub(crate) const LANGUAGE: Language = Language::Java;
/// Ordinal of V5_5_0 in Apache's `MQVersion`.
pub const VERSION: i32 = 513;

/// The fixed parts of a command to write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) code: i32,
    pub(crate) flag: i32,
    pub(crate) opaque: i32,
    pub(crate) remark: &'a str,
}

/// A buffer of whole frames.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    /// The answers among them, if this is the output of a turn.
    pub(crate) answers: TurnAnswers,
}

impl Output {
    /// The frames.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether there is nothing to send.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
    }

    /// Empties the buffer; gives the memory back when it grew beyond `keep_bytes`.
    pub(crate) fn clear(&mut self, keep_bytes: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(keep_bytes);
    }

    /// Appends a request.
    pub fn request<H: WriteFields + ?Sized>(
        &mut self,
        encoding: Encoding,
        code: RequestCode,
        opaque: i32,
        oneway: bool,
        header: &H,
        body: &[u8],
    ) {
        let head = Head {
            code: code.0,
            flag: if oneway { FLAG_ONEWAY } else { 0 },
            opaque,
            remark: "",
        };
        self.frame(encoding, head, header, &[body]);
    }

    /// Appends a response whose body is the pieces of `body`, one after the other.
    #[inline]
    pub fn response<H: WriteFields + ?Sized>(
        &mut self,
        encoding: Encoding,
        code: i32,
        opaque: i32,
        remark: &str,
        header: &H,
        body: &[&[u8]],
    ) {
        let head = Head {
            code,
            flag: FLAG_RESPONSE,
            opaque,
            remark,
        };
        self.frame(encoding, head, header, body);
    }

    #[inline]
    fn frame<H: WriteFields + ?Sized>(
        &mut self,
        encoding: Encoding,
        head: Head<'_>,
        header: &H,
        body: &[&[u8]],
    ) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; PREFIX_BYTES]);
        match encoding {
            Encoding::Json => write_json(&mut self.bytes, head, header),
            Encoding::Compact => write_compact(&mut self.bytes, head, header),
        }
        let header_bytes = self.bytes.len() - start - PREFIX_BYTES;
        for piece in body {
            self.bytes.extend_from_slice(piece);
        }
        let length = (self.bytes.len() - start - 4) as u32;
        let word = u32::from(encoding.byte()) << 24 | header_bytes as u32;
        if let Some(prefix) = self.bytes.get_mut(start..start + PREFIX_BYTES) {
            let (first, second) = prefix.split_at_mut(4);
            first.copy_from_slice(&length.to_be_bytes());
            second.copy_from_slice(&word.to_be_bytes());
        }
    }
}

/// What stands behind `opaque` and `remark` in every JSON header of ours.
const JSON_END: &[u8] = b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":513}";

#[inline]
fn write_json<H: WriteFields + ?Sized>(out: &mut Vec<u8>, head: Head<'_>, header: &H) {
    out.extend_from_slice(b"{\"code\":");
    write_int(out, head.code.into());
    // C++ dereferences the fields, Java reads the region from them: they are always there.
    out.extend_from_slice(b",\"extFields\":{");
    let mut fields = JsonFields::new(out);
    header.write(&mut fields);
    fields.end();
    out.extend_from_slice(b"},\"flag\":");
    write_int(out, head.flag.into());
    out.extend_from_slice(b",\"language\":\"JAVA\",\"opaque\":");
    write_int(out, head.opaque.into());
    if !head.remark.is_empty() {
        out.extend_from_slice(b",\"remark\":");
        write_string(out, head.remark);
    }
    out.extend_from_slice(JSON_END);
}

#[inline]
fn write_compact<H: WriteFields + ?Sized>(out: &mut Vec<u8>, head: Head<'_>, header: &H) {
    out.extend_from_slice(&(head.code as i16).to_be_bytes());
    out.push(LANGUAGE.code());
    out.extend_from_slice(&(VERSION as i16).to_be_bytes());
    out.extend_from_slice(&head.opaque.to_be_bytes());
    out.extend_from_slice(&head.flag.to_be_bytes());
    out.extend_from_slice(&(head.remark.len() as u32).to_be_bytes());
    out.extend_from_slice(head.remark.as_bytes());
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    header.write(&mut CompactFields(out));
    let fields_bytes = (out.len() - at - 4) as u32;
    if let Some(length) = out.get_mut(at..at + 4) {
        length.copy_from_slice(&fields_bytes.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::Decoder,
        frame::{Cut, cut},
        header::Empty,
    };

    #[test]
    fn both_encodings_say_who_we_are() {
        for encoding in [Encoding::Json, Encoding::Compact] {
            let mut out = Output::default();
            out.response(encoding, 12, -3, "why", &Empty, &[b"bo", b"dy"]);
            let Ok(Cut::Frame(frame, _)) = cut(out.bytes()) else {
                panic!("a whole frame");
            };
            let mut decoder = Decoder::default();
            let command = decoder.decode(frame).unwrap();
            assert_eq!((command.language, command.version), (LANGUAGE, VERSION));
            assert_eq!((command.code, command.opaque), (12, -3));
            assert_eq!((command.flag, command.remark), (FLAG_RESPONSE, "why"));
            assert_eq!(command.body, b"body");
        }
    }
}
