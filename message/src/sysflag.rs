// SPDX-License-Identifier: Apache-2.0
//! Bits of the `sysFlag` field of a record (Apache: `common/sysflag/MessageSysFlag.java`).

/// The body is compressed.
pub const COMPRESSED: i32 = 0x1;
/// The topic filters by several tags.
pub const MULTI_TAGS: i32 = 0x2;
/// Mask of the transaction state; 0 means the message takes part in none.
pub const TRANSACTION_MASK: i32 = 0xC;
/// A prepared (half) message of the old kind.
pub const TRANSACTION_PREPARED: i32 = 0x4;
/// A committed message.
pub const TRANSACTION_COMMIT: i32 = 0x8;
/// A rolled back message.
pub const TRANSACTION_ROLLBACK: i32 = 0xC;
/// The born host takes 20 bytes, not 8.
pub const BORN_HOST_V6: i32 = 0x10;
/// The store host takes 20 bytes, not 8.
pub const STORE_HOST_V6: i32 = 0x20;
/// Clients have to split the body as a batch.
pub const NEED_UNWRAP: i32 = 0x40;
/// The record holds an inner batch.
pub const INNER_BATCH: i32 = 0x80;
/// Mask of the compression type: 0 zlib of old senders, 1 LZ4, 2 Zstandard, 3 zlib.
pub const COMPRESSION_TYPE_MASK: i32 = 0x700;
/// LZ4 frame.
pub const COMPRESSION_LZ4: i32 = 0x100;
/// Zstandard frame.
pub const COMPRESSION_ZSTD: i32 = 0x200;
/// zlib stream (RFC 1950).
pub const COMPRESSION_ZLIB: i32 = 0x300;

/// Whether a record with these flags gets a place in a consume queue and a queue offset of its own. Prepared and
/// rolled back records of the old transactions do not.
#[must_use]
pub const fn is_queued(sys_flag: i32) -> bool {
    !matches!(
        sys_flag & TRANSACTION_MASK,
        TRANSACTION_PREPARED | TRANSACTION_ROLLBACK
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_half_messages_take_no_queue_offset() {
        assert!(is_queued(0) && is_queued(TRANSACTION_COMMIT | COMPRESSED));
        assert!(!is_queued(TRANSACTION_PREPARED) && !is_queued(TRANSACTION_ROLLBACK));
    }
}
