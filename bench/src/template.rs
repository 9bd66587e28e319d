// SPDX-License-Identifier: Apache-2.0
//! Requests made beforehand, of which only a few bytes change from message to message.

use std::{
    ops::Range,
    time::{SystemTime, UNIX_EPOCH},
};

use aerobee_auth::sign::Credentials;
use aerobee_remoting::{
    Encoding, Output, OwnedFields, RequestCode,
    client::Signer as _,
    frame::{FRAME_MAX_BYTES, PREFIX_BYTES},
    header::{WriteFields as _, auth::SIGNATURE, send::SendMessage},
};
use memchr::memmem;

use crate::{Error, inflight::OPAQUE_MIN};

/// What the messages of a load look like.
#[derive(Debug, Clone)]
pub(crate) struct Shape<'a> {
    pub(crate) topic: &'a str,
    pub(crate) broker_name: &'a str,
    /// Bytes of the body.
    pub(crate) size: usize,
    pub(crate) encoding: Encoding,
    /// Who signs them, if anybody does.
    pub(crate) keys: Option<&'a Credentials>,
}

/// Producer group of the load.
pub(crate) const PRODUCER_GROUP: &str = "bench-producer";
/// Placeholders, patched in every message. They occur nowhere else in a header.
const BORN: i64 = 1_888_888_888_888;
const KEY_TAIL: &str = "BE9C4A11CE5D";
/// Hexadecimal digits of a unique key: 20 that stay, 12 that count.
const KEY_DIGITS: usize = 32;

/// The frame of a send to one queue, as the Java SDK makes it: code 310, one-letter names, the
/// properties that every message has. Opaque, time of birth and unique key are patched.
#[derive(Debug)]
pub(crate) struct SendTemplate {
    bytes: Vec<u8>,
    opaque: Range<usize>,
    born: Range<usize>,
    key: Range<usize>,
    encoding: Encoding,
    signed: Option<Signed>,
}

/// What is signed of a message, and where the signature goes.
#[derive(Debug)]
struct Signed {
    keys: Credentials,
    /// The values in the order of their fields' names.
    values: Vec<u8>,
    born: Range<usize>,
    key: Range<usize>,
    body: Vec<u8>,
    /// In the frame.
    signature: Range<usize>,
}

impl SendTemplate {
    /// Makes the frame.
    ///
    /// # Errors
    /// The body does not fit a frame.
    pub(crate) fn new(shape: &Shape<'_>, queue_id: i32) -> Result<Self, Error> {
        Self::with(shape, queue_id, 0, "")
    }

    /// As [`SendTemplate::new`], with flag bits and further properties.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn with(
        shape: &Shape<'_>,
        queue_id: i32,
        sys_flag: i32,
        more: &str,
    ) -> Result<Self, Error> {
        if shape.size > FRAME_MAX_BYTES / 2 {
            return Err(Error::TooLarge(shape.size));
        }
        let key = format!("{}{KEY_TAIL}", key_head());
        let properties =
            format!("UNIQ_KEY\u{1}{key}\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}{more}");
        let header = SendMessage {
            producer_group: PRODUCER_GROUP,
            topic: shape.topic,
            default_topic: "TBW102",
            default_topic_queue_nums: 4,
            queue_id,
            sys_flag,
            born_timestamp: BORN,
            flag: 0,
            properties: &properties,
            reconsume_times: 0,
            unit_mode: false,
            max_reconsume_times: None,
            batch: false,
            broker_name: Some(shape.broker_name),
        };
        let body = body(shape.size);
        let mut fields = OwnedFields::default();
        header.write(&mut fields);
        if let Some(keys) = shape.keys {
            keys.sign(&mut fields, &body);
        }
        let mut output = Output::default();
        output.request(
            shape.encoding,
            RequestCode::SEND_MESSAGE_V2,
            OPAQUE_MIN,
            false,
            &fields,
            &body,
        );
        let bytes = output.bytes().to_vec();
        let head = &bytes[..bytes.len() - shape.size];
        let signed = shape
            .keys
            .map(|keys| Signed::new(keys, &fields, head, body));
        Ok(Self {
            opaque: match shape.encoding {
                Encoding::Json => place(head, &format!("\"opaque\":{OPAQUE_MIN}"), 10),
                // Behind code, language and version.
                Encoding::Compact => PREFIX_BYTES + 5..PREFIX_BYTES + 9,
            },
            born: place(head, &BORN.to_string(), 13),
            key: place(head, KEY_TAIL, KEY_TAIL.len()),
            encoding: shape.encoding,
            signed,
            bytes,
        })
    }

    /// Appends a message to `out`. `key` makes its unique key, `born` is its time of birth.
    #[inline]
    pub(crate) fn append(&self, out: &mut Vec<u8>, opaque: i32, born: &Born, key: u64) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let frame = &mut out[start..];
        match self.encoding {
            Encoding::Json => put_decimal(&mut frame[self.opaque.clone()], opaque as u64),
            Encoding::Compact => {
                frame[self.opaque.clone()].copy_from_slice(&opaque.to_be_bytes());
            }
        }
        frame[self.born.clone()].copy_from_slice(&born.0);
        put_hex(&mut frame[self.key.clone()], key);
        if let Some(signed) = &self.signed {
            signed.sign(frame, born, key);
        }
    }
}

impl Signed {
    fn new(keys: &Credentials, fields: &OwnedFields, head: &[u8], body: Vec<u8>) -> Self {
        let mut sorted: Vec<_> = fields.fields().iter().collect();
        sorted.sort_unstable();
        let mut values = Vec::new();
        let mut signature = "";
        for (name, value) in sorted {
            if name == SIGNATURE {
                signature = value;
            } else {
                values.extend_from_slice(value.as_bytes());
            }
        }
        Self {
            keys: keys.clone(),
            born: place(&values, &BORN.to_string(), 13),
            key: place(&values, KEY_TAIL, KEY_TAIL.len()),
            values,
            body,
            signature: place(head, signature, signature.len()),
        }
    }

    fn sign(&self, frame: &mut [u8], born: &Born, key: u64) {
        let mut values = self.values.clone();
        values[self.born.clone()].copy_from_slice(&born.0);
        put_hex(&mut values[self.key.clone()], key);
        let signature = self.keys.signature(&values, &self.body);
        frame[self.signature.clone()].copy_from_slice(signature.as_bytes());
    }
}

/// A time of birth as the header has it: milliseconds since 1970 in 13 digits, enough until 2286.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Born([u8; 13]);

impl Born {
    /// Now; taken once for all messages of a write, as their times differ by microseconds.
    pub(crate) fn now() -> Self {
        let mut digits = [0; 13];
        put_decimal(&mut digits, now_millis().max(0) as u64);
        Self(digits)
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_millis() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64)
}

/// The part of unique keys that stays for a run: address, process, class loader, as Java's.
fn key_head() -> String {
    let run = now_millis() as u32;
    format!("7F000001{:04X}{run:08X}", std::process::id() & 0xFFFF)
}

const _: () = assert!(KEY_DIGITS == 20 + KEY_TAIL.len());

/// A body of printable noise, so that no layer can profit from its emptiness.
fn body(size: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    (0..size)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            b'!' + (state % 94) as u8
        })
        .collect()
}

/// Where the last `width` bytes of `pattern` stand in `header`.
fn place(header: &[u8], pattern: &str, width: usize) -> Range<usize> {
    let at = memmem::find(header, pattern.as_bytes())
        .expect("the frame was written with the placeholder");
    let end = at + pattern.len();
    end - width..end
}

/// Writes `value` over all of `digits`, in decimal with leading zeros.
#[inline]
fn put_decimal(digits: &mut [u8], mut value: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Writes the low bits of `value` over all of `digits`, in upper-case hexadecimal.
#[inline]
fn put_hex(digits: &mut [u8], mut value: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789ABCDEF"[(value & 15) as usize];
        value >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use aerobee_auth::{
        account::Account,
        authenticate::is_signed,
        user::{User, UserStatus, UserType},
    };
    use aerobee_remoting::{Decoder, Header as _, frame};

    use super::*;

    fn template(encoding: Encoding, size: usize) -> SendTemplate {
        let shape = Shape {
            topic: "orders",
            broker_name: "broker-a",
            size,
            encoding,
            keys: None,
        };
        SendTemplate::new(&shape, 3).unwrap()
    }

    #[test]
    fn signed_frames_carry_the_signature_of_what_was_patched_in() {
        let keys = Credentials::new("loader", "secret", None);
        let user = User {
            username: "loader".to_owned(),
            password: "secret".to_owned(),
            user_type: UserType::Normal,
            user_status: UserStatus::Enable,
        };
        let account = Account::new(user, None);
        for encoding in [Encoding::Json, Encoding::Compact] {
            let shape = Shape {
                topic: "orders",
                broker_name: "broker-a",
                size: 64,
                encoding,
                keys: Some(&keys),
            };
            let template = SendTemplate::new(&shape, 3).unwrap();
            for key in [1, 0xFFFF] {
                let mut out = Vec::new();
                template.append(&mut out, 1_234_567_890, &Born(*b"1700000000123"), key);
                let Ok(frame::Cut::Frame(frame, _)) = frame::cut(&out) else {
                    panic!("a whole frame");
                };
                let mut decoder = Decoder::default();
                let command = decoder.decode(frame).unwrap();
                assert!(is_signed(&command, &account), "{command:?}");
            }
        }
    }

    #[test]
    fn patched_frames_decode_to_what_was_patched_in() {
        for encoding in [Encoding::Json, Encoding::Compact] {
            let template = template(encoding, 128);
            let mut out = b"before".to_vec();
            let born = Born(*b"1700000000123");
            template.append(&mut out, 1_234_567_890, &born, 0xABC);
            template.append(&mut out, 1_999_999_999, &born, 0xFFFF_FFFF_FFFF);
            let mut rest = &out[6..];
            let mut decoder = Decoder::default();
            for (opaque, tail) in [
                (1_234_567_890, "000000000ABC"),
                (1_999_999_999, "FFFFFFFFFFFF"),
            ] {
                let Ok(frame::Cut::Frame(frame, used)) = frame::cut(rest) else {
                    panic!("a whole frame");
                };
                rest = &rest[used..];
                let command = decoder.decode(frame).unwrap();
                let header = SendMessage::read(&command.fields).unwrap();
                assert_eq!((command.code, command.opaque), (310, opaque));
                assert_eq!(header.born_timestamp, 1_700_000_000_123);
                assert_eq!((header.topic, header.queue_id), ("orders", 3));
                let (key, rest_of_them) = header.properties.split_at(9 + KEY_DIGITS);
                assert!(key.starts_with("UNIQ_KEY\u{1}7F000001"), "{key}");
                assert!(key.ends_with(tail), "{key}");
                assert_eq!(rest_of_them, "\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}");
                assert_eq!(command.body.len(), 128);
            }
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn json_headers_have_escaped_separators_and_one_letter_names() {
        let template = template(Encoding::Json, 0);
        let text = String::from_utf8_lossy(&template.bytes[PREFIX_BYTES..]).into_owned();
        assert!(text.contains(r#""i":"UNIQ_KEY\u0001"#), "{text}");
        assert!(
            text.contains(r#"\u0002WAIT\u0001true\u0002TAGS\u0001TagA\u0002""#),
            "{text}"
        );
        assert!(text.contains(r#""b":"orders""#), "{text}");
    }

    #[test]
    fn bodies_are_printable_and_of_the_size_asked() {
        let body = body(1000);
        assert_eq!(body.len(), 1000);
        assert!(body.iter().all(u8::is_ascii_graphic));
        assert!(
            SendTemplate::new(
                &Shape {
                    topic: "t",
                    broker_name: "b",
                    size: FRAME_MAX_BYTES,
                    encoding: Encoding::Json,
                    keys: None,
                },
                0
            )
            .is_err()
        );
    }
}
