// SPDX-License-Identifier: Apache-2.0
//! The compact header, Apache's serialize type `ROCKETMQ`. All numbers are big-endian.
//!
//! | field | width |
//! |---|---|
//! | code | 2 |
//! | language | 1 |
//! | version | 2 |
//! | opaque | 4 |
//! | flag | 4 |
//! | remark length, remark | 4 + n |
//! | fields length, fields | 4 + n |
//!
//! A field is a name (length 2) and a value (length 4). Follows Apache's `RocketMQSerializable`.

use crate::{
    Language,
    command::{Decoder, FIELDS_MAX, FieldSpan, Head, Span},
    encoding::json::keep,
    error::DecodeError,
    header::FieldWriter,
};

/// Codes from 200 000 on do not fit 16 bits: senders write the low half. The pop family arrives so,
/// and no other code of the protocol lies there.
const TRUNCATED: [i32; 7] = [
    200_050, 200_051, 200_052, 200_053, 200_054, 200_055, 200_151,
];

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    #[inline]
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(DecodeError::Header("compact header ends early"))?;
        self.0 = rest;
        Ok(*head)
    }

    #[inline]
    fn bytes(&mut self, length: i64) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = usize::try_from(length)
            .ok()
            .and_then(|length| self.0.split_at_checked(length))
            .ok_or(DecodeError::Header("compact header has a length that lies"))?;
        self.0 = rest;
        Ok(head)
    }

    #[inline]
    fn int(&mut self) -> Result<i32, DecodeError> {
        self.take().map(i32::from_be_bytes)
    }
}

/// Reads a header; names, values and the remark are copied into `decoder.unescaped`.
#[inline]
pub(crate) fn read(header: &[u8], decoder: &mut Decoder) -> Result<Head, DecodeError> {
    let mut cursor = Cursor(header);
    let code = i32::from(i16::from_be_bytes(cursor.take()?));
    let [language] = cursor.take()?;
    let version = i32::from(i16::from_be_bytes(cursor.take()?));
    let opaque = cursor.int()?;
    let flag = cursor.int()?;
    let remark_length = cursor.int()?;
    let remark = cursor.bytes(i64::from(remark_length))?;
    let remark = text(remark, decoder)?;
    let fields_length = cursor.int()?;
    let mut fields = Cursor(cursor.bytes(i64::from(fields_length))?);
    while !fields.0.is_empty() {
        if decoder.spans.len() >= FIELDS_MAX {
            return Err(DecodeError::TooManyFields(FIELDS_MAX));
        }
        let name_length = i16::from_be_bytes(fields.take()?);
        let name = fields.bytes(i64::from(name_length))?;
        let value_length = fields.int()?;
        let value = fields.bytes(i64::from(value_length))?;
        // Java reads an empty name or value back as null, which is a missing field.
        if name.is_empty() || value.is_empty() {
            continue;
        }
        let name = text(name, decoder)?;
        let value = text(value, decoder)?;
        decoder.spans.push(FieldSpan { name, value });
    }
    let is_request = flag & crate::command::FLAG_RESPONSE == 0;
    Ok(Head {
        code: if is_request { widen(code) } else { code },
        language: Language::from_u8(language),
        version,
        opaque,
        flag,
        remark,
    })
}

#[inline]
fn widen(code: i32) -> i32 {
    TRUNCATED
        .into_iter()
        .find(|full| i32::from(*full as i16) == code)
        .unwrap_or(code)
}

#[inline]
fn text(bytes: &[u8], decoder: &mut Decoder) -> Result<Span, DecodeError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| DecodeError::Header("compact header has text that is not UTF-8"))?;
    Ok(keep(&mut decoder.unescaped, text))
}

/// Writes the fields of a header, length-prefixed.
pub(crate) struct CompactFields<'a>(pub(crate) &'a mut Vec<u8>);

impl FieldWriter for CompactFields<'_> {
    fn pair(&mut self, name: &str, value: &str) {
        // Neither exceeds its width: names are ours, and a value is shorter than a frame.
        let (Ok(name_length), Ok(value_length)) =
            (i16::try_from(name.len()), i32::try_from(value.len()))
        else {
            return;
        };
        self.0.extend_from_slice(&name_length.to_be_bytes());
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(&value_length.to_be_bytes());
        self.0.extend_from_slice(value.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Encoding, Output, RequestCode,
        frame::{Cut, Frame, cut},
    };

    fn header(fields: &[(String, String)]) -> Vec<u8> {
        let mut output = Output::default();
        output.request(Encoding::Compact, RequestCode(310), 7, false, fields, b"");
        let Ok(Cut::Frame(frame, _)) = cut(output.bytes()) else {
            panic!("a whole frame");
        };
        frame.header.to_vec()
    }

    type Decoded = (i32, i32, Vec<(String, String)>);

    fn decode(header: &[u8]) -> Result<Decoded, DecodeError> {
        let frame = Frame {
            encoding: Encoding::Compact,
            header,
            body: b"",
        };
        let mut decoder = Decoder::default();
        let command = decoder.decode(frame)?;
        Ok((
            command.code,
            command.opaque,
            command.fields.to_owned_pairs(),
        ))
    }

    #[test]
    fn pop_codes_that_lost_their_upper_half_are_told() {
        for code in TRUNCATED {
            let mut bytes = header(&[]);
            bytes[..2].copy_from_slice(&(code as i16).to_be_bytes());
            assert_eq!(decode(&bytes).unwrap().0, code);
        }
    }

    #[test]
    fn fields_may_not_run_past_their_block() {
        let mut bytes = header(&[("ab".to_owned(), "cd".to_owned())]);
        let length_of_value = bytes.len() - 3;
        bytes[length_of_value] = 3;
        assert!(decode(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            fields in proptest::collection::vec(("[a-z]{1,9}", "\\PC{1,40}"), 0..20),
        ) {
            let (code, opaque, read) = decode(&header(&fields)).unwrap();
            prop_assert_eq!((code, opaque, read), (310, 7, fields));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn mutations_are_read_or_refused(at in any::<usize>(), byte in any::<u8>(), cut_at in any::<usize>()) {
            let mut bytes = header(&[("a".to_owned(), "group".to_owned()), ("i".to_owned(), "x".repeat(50))]);
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(bytes.len() - cut_at % 8);
            let _ = decode(&bytes);
        }
    }
}
