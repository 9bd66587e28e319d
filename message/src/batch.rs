// SPDX-License-Identifier: Apache-2.0
//! The body of a client batch (request 320): messages one after the other, nothing around them.
//!
//! | field | bytes |
//! |---|---|
//! | length of this item, itself included | 4 |
//! | magic, unused | 4 |
//! | body CRC, unused | 4 |
//! | flag | 4 |
//! | body length, body | 4 + n |
//! | properties length, properties | 2 + n |
//!
//! Apache: `common/message/MessageDecoder.java`, `decodeMessages`.

/// Bytes of an item without body and properties.
pub const ITEM_FIXED_BYTES: usize = 4 + 4 + 4 + 4 + 4 + 2;

/// One message of a batch, borrowed from the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item<'a> {
    /// The user's flag.
    pub flag: i32,
    /// The body as sent.
    pub body: &'a [u8],
    /// The property text as sent.
    pub properties: &'a [u8],
}

/// Why a batch body was refused. Positions are bytes from the start of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The body ends inside an item, or a length is negative.
    #[error("batch item at byte {0} reaches past the end of the batch body")]
    Truncated(usize),
    /// The item's own length differs from the sum of its parts.
    #[error("batch item at byte {at} says it has {said} bytes, its parts have {real}")]
    Length {
        /// Where the item starts.
        at: usize,
        /// The length it states.
        said: i32,
        /// The length its parts add up to.
        real: usize,
    },
}

/// Iterates the messages of a batch body; after the first error it ends.
#[derive(Debug, Clone)]
pub struct Items<'a> {
    body: &'a [u8],
    at: usize,
}

/// The messages of a batch body.
#[must_use]
pub fn items(body: &[u8]) -> Items<'_> {
    Items { body, at: 0 }
}

/// Checks a whole batch body and counts its messages.
///
/// # Errors
/// The first bad item.
pub fn count(body: &[u8]) -> Result<usize, BatchError> {
    items(body).try_fold(0, |n, item| item.map(|_| n + 1))
}

/// Appends one message in the form of a batch body.
pub fn push(batch: &mut Vec<u8>, flag: i32, body: &[u8], properties: &[u8]) {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a message is at most a few MiB, properties below 32 KiB"
    )]
    let (total, body_len, properties_len) = (
        (ITEM_FIXED_BYTES + body.len() + properties.len()) as i32,
        body.len() as i32,
        properties.len() as u16,
    );
    batch.extend_from_slice(&total.to_be_bytes());
    batch.extend_from_slice(&[0; 8]);
    batch.extend_from_slice(&flag.to_be_bytes());
    batch.extend_from_slice(&body_len.to_be_bytes());
    batch.extend_from_slice(body);
    batch.extend_from_slice(&properties_len.to_be_bytes());
    batch.extend_from_slice(properties);
}

impl<'a> Items<'a> {
    fn item(&self) -> Result<(Item<'a>, usize), BatchError> {
        let truncated = BatchError::Truncated(self.at);
        let rest = &self.body[self.at..];
        let (head, after) = rest.split_first_chunk::<20>().ok_or(truncated)?;
        let int =
            |at: usize| i32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let body_len = usize::try_from(int(16)).map_err(|_| truncated)?;
        let (body, after) = after.split_at_checked(body_len).ok_or(truncated)?;
        let (len, after) = after.split_first_chunk::<2>().ok_or(truncated)?;
        let properties_len = usize::try_from(i16::from_be_bytes(*len)).map_err(|_| truncated)?;
        let properties = after.get(..properties_len).ok_or(truncated)?;
        let real = ITEM_FIXED_BYTES + body_len + properties_len;
        if usize::try_from(int(0)) != Ok(real) {
            return Err(BatchError::Length {
                at: self.at,
                said: int(0),
                real,
            });
        }
        Ok((
            Item {
                flag: int(12),
                body,
                properties,
            },
            real,
        ))
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.body.len() {
            return None;
        }
        Some(match self.item() {
            Ok((item, len)) => {
                self.at += len;
                Ok(item)
            }
            Err(error) => {
                self.at = self.body.len();
                Err(error)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Vec<u8> {
        let mut batch = Vec::new();
        push(&mut batch, 7, b"hello", b"k\x01v\x02");
        push(&mut batch, -1, b"", b"");
        batch
    }

    #[test]
    fn items_come_back() {
        let batch = two();
        let read: Vec<_> = items(&batch).map(Result::unwrap).collect();
        assert_eq!(
            read[0],
            Item {
                flag: 7,
                body: b"hello",
                properties: b"k\x01v\x02"
            }
        );
        assert_eq!(
            read[1],
            Item {
                flag: -1,
                body: b"",
                properties: b""
            }
        );
        assert_eq!(count(&batch), Ok(2));
        assert_eq!(count(&[]), Ok(0));
    }

    #[test]
    fn bad_bodies_are_refused_once() {
        let batch = two();
        for cut in 1..batch.len() {
            let whole_first = 22 + 5 + 4;
            if cut != whole_first {
                assert!(count(&batch[..cut]).is_err(), "cut at {cut}");
            }
        }
        let mut negative = two();
        negative[16] = 0xFF;
        assert_eq!(count(&negative), Err(BatchError::Truncated(0)));
        assert_eq!(items(&negative).count(), 1);
        let mut lying = two();
        lying[3] += 1;
        assert!(matches!(
            count(&lying),
            Err(BatchError::Length { at: 0, .. })
        ));
    }
}
