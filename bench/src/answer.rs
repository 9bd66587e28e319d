// SPDX-License-Identifier: Apache-2.0
//! Answers, read only as far as a load needs them.

use aerobee_remoting::{
    Command, DecodeError, Decoder, Encoding, command::FLAG_RESPONSE, frame::Frame,
};
use memchr::memmem::Finder;

/// What a load has to know of a received frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Response code.
    pub(crate) code: i32,
    /// Opaque of the request answered.
    pub(crate) opaque: i32,
    /// Whether it is an answer at all; servers send notices too.
    pub(crate) is_response: bool,
}

/// Finds the three numbers of a header without decoding it; what looks unusual is decoded.
#[derive(Debug)]
pub(crate) struct Scanner {
    code: Finder<'static>,
    flag: Finder<'static>,
    opaque: Finder<'static>,
    decoder: Decoder,
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            code: Finder::new(b"\"code\":"),
            flag: Finder::new(b"\"flag\":"),
            opaque: Finder::new(b"\"opaque\":"),
            decoder: Decoder::default(),
        }
    }
}

impl Scanner {
    /// Reads `frame` as far as needed.
    ///
    /// # Errors
    /// The header is not a header.
    pub(crate) fn scan(&mut self, frame: Frame<'_>) -> Result<Answer, DecodeError> {
        let found = match frame.encoding {
            Encoding::Json => self.scan_json(frame.header),
            Encoding::Compact => scan_compact(frame.header),
        };
        match found {
            Some(answer) => Ok(answer),
            None => self.decode(frame).map(|command| Answer {
                code: command.code,
                opaque: command.opaque,
                is_response: command.is_response(),
            }),
        }
    }

    /// Decodes `frame` wholly.
    ///
    /// # Errors
    /// The header is not a header.
    pub(crate) fn decode<'a>(&'a mut self, frame: Frame<'a>) -> Result<Command<'a>, DecodeError> {
        self.decoder.decode(frame)
    }

    fn scan_json(&self, header: &[u8]) -> Option<Answer> {
        let flag = member(&self.flag, header)?;
        Some(Answer {
            code: member(&self.code, header)?,
            opaque: member(&self.opaque, header)?,
            is_response: flag & FLAG_RESPONSE != 0,
        })
    }
}

/// The number of a member. Inside a JSON string a quote is escaped, so the pattern, which ends in
/// `":`, can only be a name; a field of that name has a value in quotes and is not a number.
fn member(name: &Finder<'_>, header: &[u8]) -> Option<i32> {
    let at = name.find(header)? + name.needle().len();
    let text = header.get(at..)?;
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, text),
    };
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    if end == 0 || end > 10 || !matches!(digits[end], b',' | b'}') {
        return None;
    }
    let value = digits[..end]
        .iter()
        .fold(0_i64, |value, digit| value * 10 + i64::from(digit - b'0'));
    i32::try_from(if negative { -value } else { value }).ok()
}

/// Code 2, language 1, version 2, opaque 4, flag 4.
fn scan_compact(header: &[u8]) -> Option<Answer> {
    let [c0, c1, _, _, _, o0, o1, o2, o3, f0, f1, f2, f3] = *header.first_chunk()?;
    Some(Answer {
        code: i16::from_be_bytes([c0, c1]).into(),
        opaque: i32::from_be_bytes([o0, o1, o2, o3]),
        is_response: i32::from_be_bytes([f0, f1, f2, f3]) & FLAG_RESPONSE != 0,
    })
}

#[cfg(test)]
mod tests {
    use aerobee_remoting::{Output, frame, header::send::SendReply};

    use super::*;

    fn reply(encoding: Encoding, code: i32, opaque: i32, remark: &str) -> Vec<u8> {
        let header = SendReply {
            msg_id: "7F00000100002A9F0000000000000000",
            queue_id: 3,
            queue_offset: 17,
            transaction_id: None,
            batch_uniq_id: None,
            recall_handle: None,
            region: Some("DefaultRegion"),
            trace_on: Some(true),
        };
        let mut output = Output::default();
        output.response(encoding, code, opaque, remark, &header, &[]);
        output.bytes().to_vec()
    }

    fn scan(bytes: &[u8]) -> Answer {
        let Ok(frame::Cut::Frame(frame, _)) = frame::cut(bytes) else {
            panic!("a frame");
        };
        Scanner::default().scan(frame).unwrap()
    }

    fn json(header: &str) -> Answer {
        let mut scanner = Scanner::default();
        let frame = Frame {
            encoding: Encoding::Json,
            header: header.as_bytes(),
            body: &[],
        };
        let scanned = scanner.scan(frame).unwrap();
        let decoded = scanner.decode(frame).unwrap();
        assert_eq!(
            scanned,
            Answer {
                code: decoded.code,
                opaque: decoded.opaque,
                is_response: decoded.is_response(),
            },
            "{header}"
        );
        scanned
    }

    #[test]
    fn both_encodings_are_scanned() {
        for encoding in [Encoding::Json, Encoding::Compact] {
            for (code, opaque) in [(0, 1_000_000_000), (2, 7), (14, -3), (17, i32::MAX)] {
                let answer = scan(&reply(encoding, code, opaque, "why"));
                let wanted = Answer {
                    code,
                    opaque,
                    is_response: true,
                };
                assert_eq!(answer, wanted);
            }
        }
    }

    #[test]
    fn the_scan_agrees_with_the_decoder() {
        for header in [
            r#"{"code":0,"extFields":{},"flag":1,"language":"JAVA","opaque":5,"version":513}"#,
            r#"{"version":513, "opaque" : 5, "flag": 1, "code": 3}"#,
            r#"{"code":0,"flag":1,"opaque":5,"remark":"\"opaque\":9,\"code\":8,\"flag\":0"}"#,
            r#"{"extFields":{"opaque":"77","code":"8","flag":"0"},"code":1,"flag":1,"opaque":-5}"#,
            r#"{"code":40,"extFields":{"consumerGroup":"g"},"flag":2,"opaque":9}"#,
            r#"{"flag":1,"opaque":5}"#,
            "{\"code\":0,\"flag\":1,\"opaque\":123}\n",
        ] {
            json(header);
        }
        assert!(!json(r#"{"code":40,"flag":2,"opaque":9}"#).is_response);
    }
}
