// SPDX-License-Identifier: Apache-2.0
//! What a new connection speaks, told by its first bytes, as Apache's `NettyRemotingServer` does.
//!
//! A frame starts with the top byte of a length below 16 MiB: 0, or 1 for exactly that much.

/// The protocols that may open a connection on a remoting port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Frames.
    Frames,
    /// A TLS handshake record.
    Tls,
    /// A PROXY protocol header, version 1 or 2, in front of one of the others.
    Proxy,
    /// Anything else, such as HTTP.
    Unknown,
}

/// Tells what `bytes`, which must not be empty, open.
pub fn classify(bytes: &[u8]) -> Opening {
    match bytes.first() {
        Some(0 | 1) => Opening::Frames,
        Some(0x16) => Opening::Tls,
        Some(0x0D | b'P') => Opening::Proxy,
        _ => Opening::Unknown,
    }
}
