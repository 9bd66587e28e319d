// SPDX-License-Identifier: Apache-2.0
//! Bodies on their way to clients: each SDK gets a compression that it reads, and always an MD5 over
//! exactly the bytes that it gets (SDKs disagree about the other digests).

use std::io::Read as _;

use aerobee_message::sysflag;
use bytes::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use md5::{Digest as _, Md5};

use crate::{
    caller::Sdk,
    v2::{Digest, DigestType, Encoding},
};

/// Largest body that is made of a compressed one.
const INFLATED_MAX: u64 = 64 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    Gzip,
    Zlib,
    Lz4,
    Zstd,
}

impl Compression {
    /// Old senders do not say; the bytes do.
    fn of(sys_flag: i32, body: &[u8]) -> Option<Self> {
        if sys_flag & sysflag::COMPRESSED == 0 {
            return None;
        }
        Some(match body {
            [0x1F, 0x8B, ..] => Self::Gzip,
            [0x04, 0x22, 0x4D, 0x18, ..] => Self::Lz4,
            [0x28, 0xB5, 0x2F, 0xFD, ..] => Self::Zstd,
            _ => match sys_flag & sysflag::COMPRESSION_TYPE_MASK {
                sysflag::COMPRESSION_LZ4 => Self::Lz4,
                sysflag::COMPRESSION_ZSTD => Self::Zstd,
                _ => Self::Zlib,
            },
        })
    }

    fn is_read_by(self, sdk: Sdk) -> bool {
        match sdk {
            Sdk::Java | Sdk::Other => true,
            Sdk::Rust => false,
            Sdk::Node => self == Self::Gzip,
            Sdk::Cpp => self == Self::Zlib,
            Sdk::Go | Sdk::DotNet | Sdk::Python => matches!(self, Self::Gzip | Self::Zlib),
        }
    }

    fn inflate(self, body: &[u8]) -> Option<Bytes> {
        let mut out = Vec::new();
        let read = match self {
            Self::Gzip => MultiGzDecoder::new(body)
                .take(INFLATED_MAX)
                .read_to_end(&mut out),
            Self::Zlib => ZlibDecoder::new(body)
                .take(INFLATED_MAX)
                .read_to_end(&mut out),
            Self::Lz4 => lz4_flex::frame::FrameDecoder::new(body)
                .take(INFLATED_MAX)
                .read_to_end(&mut out),
            Self::Zstd => zstd::stream::read::Decoder::new(body)
                .and_then(|decoder| decoder.take(INFLATED_MAX).read_to_end(&mut out)),
        };
        read.is_ok().then(|| Bytes::from(out))
    }
}

/// A body for a client, and how it is encoded. One that cannot be inflated stays as it is.
pub(crate) fn for_client(body: Bytes, sys_flag: i32, sdk: Sdk) -> (Bytes, Encoding) {
    match Compression::of(sys_flag, &body) {
        None => (body, Encoding::Identity),
        Some(compression) if compression.is_read_by(sdk) => (body, Encoding::Gzip),
        Some(compression) => match compression.inflate(&body) {
            Some(plain) => (plain, Encoding::Identity),
            None => (body, Encoding::Gzip),
        },
    }
}

/// The digest of a body.
pub(crate) fn digest(body: &[u8]) -> Digest {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut checksum = String::with_capacity(32);
    for byte in Md5::digest(body) {
        checksum.push(char::from(HEX[usize::from(byte >> 4)]));
        checksum.push(char::from(HEX[usize::from(byte & 15)]));
    }
    Digest {
        r#type: DigestType::Md5.into(),
        checksum,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{
        Compression as Level,
        write::{GzEncoder, ZlibEncoder},
    };

    use super::*;

    fn zlib() -> Bytes {
        let mut encoder = ZlibEncoder::new(Vec::new(), Level::default());
        encoder.write_all(b"hello hello hello").unwrap();
        Bytes::from(encoder.finish().unwrap())
    }

    fn gzip() -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Level::default());
        encoder.write_all(b"hello hello hello").unwrap();
        Bytes::from(encoder.finish().unwrap())
    }

    #[test]
    fn each_sdk_gets_what_it_reads() {
        let flag = sysflag::COMPRESSED;
        for (sdk, body, inflated) in [
            (Sdk::Java, zlib(), false),
            (Sdk::Rust, gzip(), true),
            (Sdk::Node, gzip(), false),
            (Sdk::Node, zlib(), true),
            (Sdk::Cpp, gzip(), true),
            (Sdk::Go, zlib(), false),
            (Sdk::Go, Bytes::from(lz4()), true),
            (
                Sdk::Python,
                Bytes::from(zstd::encode_all(&b"hello hello hello"[..], 1).unwrap()),
                true,
            ),
        ] {
            let (out, encoding) = for_client(body.clone(), flag, sdk);
            if inflated {
                assert_eq!(
                    (&out[..], encoding),
                    (&b"hello hello hello"[..], Encoding::Identity)
                );
            } else {
                assert_eq!((out, encoding), (body, Encoding::Gzip));
            }
        }
    }

    fn lz4() -> Vec<u8> {
        let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
        encoder.write_all(b"hello hello hello").unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn plain_and_broken_bodies_stay() {
        let plain = Bytes::from_static(b"\x1F\x8Bnot compressed");
        assert_eq!(
            for_client(plain.clone(), 0, Sdk::Rust),
            (plain.clone(), Encoding::Identity)
        );
        assert_eq!(
            for_client(plain.clone(), sysflag::COMPRESSED, Sdk::Rust),
            (plain, Encoding::Gzip)
        );
    }

    #[test]
    fn the_digest_is_upper_case() {
        assert_eq!(
            digest(b"hello").checksum,
            "5D41402ABC4B2A76B9719D911017C592"
        );
    }
}
