// SPDX-License-Identifier: Apache-2.0
//! The JSON of Apache's bodies and configuration files, which is not quite JSON.
//!
//! Java's library (fastjson) writes numeric map keys bare (`{0:"10.0.0.1:10911"}`) and objects as
//! map keys (`{{"brokerName":"b","queueId":0,"topic":"T"}:7}`), leaves out null fields, and reads
//! numbers in quotes, single quotes, and nulls for primitives; C++ clients send enums as ordinals.
//! [`from_slice`] reads all of that into any `Deserialize` type. What is written here is read by
//! every client and by every version of Java: numeric keys are quoted, objects as keys are not.
//! Apache: `RemotingSerializable`.

mod read;
mod write;

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

/// Deepest nesting that is read; real bodies stay below ten.
pub const DEPTH_MAX: u32 = 32;

/// Text that cannot be read, or not as the type asked for.
#[derive(Debug, thiserror::Error)]
#[error("{message} at byte {at}")]
pub struct JsonError {
    message: String,
    at: usize,
}

impl JsonError {
    /// Where reading stopped, in bytes from the start of the text.
    pub fn at(&self) -> usize {
        self.at
    }

    fn new(message: impl fmt::Display, at: usize) -> Self {
        Self {
            message: message.to_string(),
            at,
        }
    }
}

impl serde::de::Error for JsonError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message, 0)
    }
}

impl serde::ser::Error for JsonError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message, 0)
    }
}

/// Reads a body. Bytes that are not UTF-8 are replaced, as Java does. Nothing is allocated beyond
/// the value itself, so the caller's bound on `bytes` bounds the memory.
///
/// # Errors
/// The text is malformed, nested too deeply, or does not fit `T`.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => from_str(text),
        Err(_) => from_str(&String::from_utf8_lossy(bytes)),
    }
}

/// Reads a body or a header field that holds JSON.
///
/// # Errors
/// As [`from_slice`].
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, JsonError> {
    read::from_str(text)
}

/// Writes a body: compact, without null fields.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    write::to_vec(value, write::Style::Compact)
}

/// Writes a header field that holds JSON: as [`to_vec`], as text.
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> String {
    String::from_utf8(to_vec(value)).expect("the writer copies UTF-8 and adds ASCII")
}

/// Writes a configuration file as Java lays it out: a line a member, tabs, no blank after `:`.
pub fn to_pretty<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    write::to_vec(value, write::Style::Pretty)
}

/// Writes the route of code 105 as Java does for clients of strict JSON: `/` as `\/`, everything
/// beyond ASCII as `\uXXXX` (fastjson's `BrowserCompatible`).
pub fn to_browser_compatible<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    write::to_vec(value, write::Style::BrowserCompatible)
}

#[cfg(test)]
mod tests;
