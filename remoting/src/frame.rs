// SPDX-License-Identifier: Apache-2.0
//! Frames: how a connection's bytes are cut into commands.
//!
//! | part | width |
//! |---|---|
//! | length of what follows | 4, big-endian |
//! | encoding (0 JSON, 1 compact) | 1 |
//! | header length | 3, big-endian |
//! | header | header length |
//! | body | length − 4 − header length |
//!
//! Follows Apache's `NettyDecoder` and `RemotingCommand`.

use crate::error::DecodeError;

/// Longest frame, its length field included; as `com.rocketmq.remoting.frameMaxLength` of Apache.
pub const FRAME_MAX_BYTES: usize = 16_777_216;
/// Longest header. Apache allows what fits the frame; nothing real comes near 1 MiB.
pub const HEADER_MAX_BYTES: usize = 1 << 20;
/// Bytes before the header: frame length, encoding, header length.
pub const PREFIX_BYTES: usize = 8;
const LENGTH_BYTES: usize = 4;

/// How the header of a frame is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// One JSON object; what every SDK sends unless told otherwise.
    Json,
    /// Apache's `ROCKETMQ` serialize type: fixed fields, then length-prefixed pairs.
    Compact,
}

impl Encoding {
    /// The byte that names this encoding in a frame.
    pub fn byte(self) -> u8 {
        match self {
            Self::Json => 0,
            Self::Compact => 1,
        }
    }
}

/// One frame, borrowed from the bytes received.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// How `header` is written.
    pub encoding: Encoding,
    /// The header bytes.
    pub header: &'a [u8],
    /// The body bytes, often none.
    pub body: &'a [u8],
}

/// What stands at the start of a buffer.
#[derive(Debug)]
pub enum Cut<'a> {
    /// A whole frame, and how many bytes it took.
    Frame(Frame<'a>, usize),
    /// An incomplete frame; the buffer must hold at least this many bytes before another try.
    Need(usize),
}

/// Cuts the first frame off `bytes`.
///
/// # Errors
/// Lengths that lie or exceed the limits, or an unknown encoding: the connection cannot go on.
#[inline]
pub fn cut(bytes: &[u8]) -> Result<Cut<'_>, DecodeError> {
    let Some(prefix) = bytes.first_chunk::<PREFIX_BYTES>() else {
        // The length alone is enough to refuse an oversized frame early.
        if let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() {
            checked_total(*length)?;
        }
        return Ok(Cut::Need(PREFIX_BYTES));
    };
    let [l0, l1, l2, l3, encoding, h0, h1, h2] = *prefix;
    let total = checked_total([l0, l1, l2, l3])?;
    let encoding = match encoding {
        0 => Encoding::Json,
        1 => Encoding::Compact,
        other => return Err(DecodeError::UnknownEncoding(other)),
    };
    let header_bytes = u32::from_be_bytes([0, h0, h1, h2]) as usize;
    let header_end = PREFIX_BYTES + header_bytes;
    if header_end > total || header_bytes > HEADER_MAX_BYTES {
        return Err(DecodeError::HeaderLength {
            header_bytes,
            frame_bytes: total,
        });
    }
    let Some(frame) = bytes.get(..total) else {
        return Ok(Cut::Need(total));
    };
    let (head, body) = frame.split_at(header_end);
    let header = head.get(PREFIX_BYTES..).unwrap_or_default();
    Ok(Cut::Frame(
        Frame {
            encoding,
            header,
            body,
        },
        total,
    ))
}

fn checked_total(length: [u8; 4]) -> Result<usize, DecodeError> {
    let length = u32::from_be_bytes(length) as usize;
    let total = length.saturating_add(LENGTH_BYTES);
    if length < LENGTH_BYTES || total > FRAME_MAX_BYTES {
        return Err(DecodeError::FrameLength { bytes: total });
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(length: u32, word: u32, rest: usize) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&word.to_be_bytes());
        out.resize(out.len() + rest, b'x');
        out
    }

    #[test]
    fn a_frame_is_cut_at_its_length() {
        let mut two = bytes(4 + 3 + 2, 3, 5);
        two.extend_from_slice(b"next");
        let Ok(Cut::Frame(frame, used)) = cut(&two) else {
            panic!("a whole frame");
        };
        assert_eq!((frame.header.len(), frame.body.len(), used), (3, 2, 13));
    }

    #[test]
    fn a_piece_of_a_frame_says_how_much_is_needed() {
        let whole = bytes(4 + 3 + 2, 3, 5);
        for end in 0..whole.len() {
            let Ok(Cut::Need(need)) = cut(&whole[..end]) else {
                panic!("{end} bytes are not a frame");
            };
            assert!(need > end);
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        assert!(cut(&bytes(3, 0, 0)).is_err());
        assert!(cut(&bytes(u32::MAX, 0, 0)).is_err());
        assert!(cut(&bytes(16_777_213, 0, 0)).is_err());
        assert!(matches!(cut(&bytes(16_777_212, 0, 0)), Ok(Cut::Need(_))));
        assert!(cut(&bytes(10, 7, 6)).is_err());
        assert!(cut(&bytes(10, 0x0200_0001, 6)).is_err());
        assert!(cut(&u32::MAX.to_be_bytes()).is_err());
    }
}
