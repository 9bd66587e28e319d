// SPDX-License-Identifier: Apache-2.0
//! What can go wrong on the wire.

use std::{io, time::Duration};

/// Received bytes that are not a command. The connection that sent them is closed.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The frame is shorter than its own header word or longer than the limit.
    #[error("frame of {bytes} bytes is outside 8..=16777216")]
    FrameLength {
        /// Length of the frame, its length field included.
        bytes: usize,
    },
    /// The header does not fit the frame or exceeds its limit.
    #[error(
        "header of {header_bytes} bytes does not fit a frame of {frame_bytes} bytes or the limit of 1 MiB"
    )]
    HeaderLength {
        /// Declared length of the header.
        header_bytes: usize,
        /// Length of the whole frame.
        frame_bytes: usize,
    },
    /// The encoding byte is neither JSON (0) nor compact (1).
    #[error("unknown header encoding {0}")]
    UnknownEncoding(u8),
    /// The header is not valid in its encoding.
    #[error("malformed header: {0}")]
    Header(&'static str),
    /// The header has more fields than the limit.
    #[error("header has more than {0} fields")]
    TooManyFields(usize),
}

/// A typed header could not be read from the fields received; answered with SYSTEM_ERROR.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FieldError {
    /// A required field is missing.
    #[error("the custom field <{0}> is null")]
    Missing(&'static str),
    /// A field does not parse as its type.
    #[error("the custom field <{name}> has the value {value:?}, which is not {expected}")]
    Invalid {
        /// Name of the field.
        name: &'static str,
        /// What was received, shortened.
        value: String,
        /// What is expected.
        expected: &'static str,
    },
}

/// Why a request to another server got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is not `host:port`, or does not resolve.
    #[error("address {address:?} cannot be resolved: {source}")]
    Address {
        /// The address as given.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// No connection could be made.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The address as given.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The connection ended before the answer came; whether the request was carried out is unknown.
    #[error("connection to {0} closed before the answer came")]
    Closed(String),
    /// No answer came in time; whether the request was carried out is unknown.
    #[error("no answer from {address} within {timeout:?}")]
    Timeout {
        /// The address as given.
        address: String,
        /// How long was waited.
        timeout: Duration,
    },
    /// The request is too large for a frame; it was not sent.
    #[error("request of {0} bytes exceeds the frame limit")]
    TooLarge(usize),
    /// The answer's header lacks a field or has a wrong one.
    #[error("answer from {address}: {source}")]
    Answer {
        /// The address as given.
        address: String,
        /// Why.
        source: FieldError,
    },
}
