// SPDX-License-Identifier: Apache-2.0
//! The property text of a message: `name 0x01 value 0x02 name 0x01 value 0x02 …` in UTF-8
//! (Apache: `common/message/MessageDecoder.java`).

/// Ends a name.
pub const NAME_END: u8 = 1;
/// Ends a value; optional after the last one.
pub const VALUE_END: u8 = 2;
/// Longest property text a record can carry, in bytes.
pub const MAX_BYTES: usize = 32_767;

/// A borrowed property text. Reading it allocates nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Properties<'a>(pub &'a [u8]);

impl<'a> Properties<'a> {
    /// The pairs in order. Pairs without a separator, with an empty name or an empty value are skipped, as Java does.
    /// Text that is not UTF-8 is read up to the first bad byte.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        pairs(match std::str::from_utf8(self.0) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&self.0[..error.valid_up_to()]).unwrap_or_default(),
        })
    }

    /// The value of a name; of several the last, as in a Java map filled in order.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        // Searching for the text first skips the walk over the pairs when the name is absent, the usual case.
        memchr::memmem::find(self.0, name.as_bytes())?;
        self.iter()
            .filter(|(key, _)| *key == name)
            .last()
            .map(|(_, value)| value)
    }

    /// Whether the text ends so that another pair may follow directly.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.last().is_none_or(|last| *last == VALUE_END)
    }

    /// Appends one pair to a text, with its closing separator. The caller sees to it that neither part holds a
    /// separator; see [`is_clean`].
    pub fn push(text: &mut Vec<u8>, name: &str, value: &str) {
        text.reserve(name.len() + value.len() + 2);
        text.extend_from_slice(name.as_bytes());
        text.push(NAME_END);
        text.extend_from_slice(value.as_bytes());
        text.push(VALUE_END);
    }
}

/// The pairs of a property text in order, as [`Properties::iter`] gives them.
#[inline]
pub fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = find(VALUE_END, rest.as_bytes());
            let pair = &rest[..end];
            rest = rest.get(end + 1..).unwrap_or_default();
            let at = find(NAME_END, pair.as_bytes());
            if at > 0 && at + 1 < pair.len() {
                return Some((&pair[..at], &pair[at + 1..]));
            }
        }
        None
    })
}

/// Where the byte first stands, or the length. Names and values are mostly too short for the set-up of a vector search.
#[inline]
fn find(byte: u8, text: &[u8]) -> usize {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (words, tail) = text.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let differs = u64::from_le_bytes(*word) ^ (LOW * u64::from(byte));
        // The lowest mark is right, whatever stands above it.
        let equal = differs.wrapping_sub(LOW) & !differs & HIGH;
        if equal != 0 {
            return number * 8 + (equal.trailing_zeros() / 8) as usize;
        }
    }
    let before = text.len() - tail.len();
    before
        + tail
            .iter()
            .position(|one| *one == byte)
            .unwrap_or(tail.len())
}

/// Whether a name or value is free of separators.
#[must_use]
pub fn is_clean(part: &str) -> bool {
    memchr::memchr2(NAME_END, VALUE_END, part.as_bytes()).is_none()
}

/// Reserved property names (Apache: `common/message/MessageConst.java`).
#[expect(
    missing_docs,
    reason = "the value says what the constant is; the table of meanings is Apache's"
)]
pub mod keys {
    pub const KEYS: &str = "KEYS";
    pub const TAGS: &str = "TAGS";
    pub const WAIT: &str = "WAIT";
    pub const DELAY: &str = "DELAY";
    pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
    pub const REAL_TOPIC: &str = "REAL_TOPIC";
    pub const REAL_QID: &str = "REAL_QID";
    pub const TRAN_MSG: &str = "TRAN_MSG";
    pub const PGROUP: &str = "PGROUP";
    pub const MIN_OFFSET: &str = "MIN_OFFSET";
    pub const MAX_OFFSET: &str = "MAX_OFFSET";
    pub const BUYER_ID: &str = "BUYER_ID";
    pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
    pub const TRANSFER_FLAG: &str = "TRANSFER_FLAG";
    pub const CORRECTION_FLAG: &str = "CORRECTION_FLAG";
    pub const MQ2_FLAG: &str = "MQ2_FLAG";
    pub const RECONSUME_TIME: &str = "RECONSUME_TIME";
    pub const MAX_RECONSUME_TIMES: &str = "MAX_RECONSUME_TIMES";
    pub const MSG_REGION: &str = "MSG_REGION";
    pub const TRACE_ON: &str = "TRACE_ON";
    pub const UNIQ_KEY: &str = "UNIQ_KEY";
    pub const EXTEND_UNIQ_INFO: &str = "EXTEND_UNIQ_INFO";
    pub const CONSUME_START_TIME: &str = "CONSUME_START_TIME";
    pub const INNER_NUM: &str = "INNER_NUM";
    pub const INNER_BASE: &str = "INNER_BASE";
    pub const DUP_INFO: &str = "DUP_INFO";
    pub const CHECK_IMMUNITY_TIME_IN_SECONDS: &str = "CHECK_IMMUNITY_TIME_IN_SECONDS";
    pub const TRAN_PREPARED_QUEUE_OFFSET: &str = "TRAN_PREPARED_QUEUE_OFFSET";
    pub const TRANSACTION_ID: &str = "__transactionId__";
    pub const TRANSACTION_CHECK_TIMES: &str = "TRANSACTION_CHECK_TIMES";
    pub const INSTANCE_ID: &str = "INSTANCE_ID";
    pub const CORRELATION_ID: &str = "CORRELATION_ID";
    pub const REPLY_TO_CLIENT: &str = "REPLY_TO_CLIENT";
    pub const TTL: &str = "TTL";
    pub const ARRIVE_TIME: &str = "ARRIVE_TIME";
    pub const PUSH_REPLY_TIME: &str = "PUSH_REPLY_TIME";
    pub const CLUSTER: &str = "CLUSTER";
    pub const MSG_TYPE: &str = "MSG_TYPE";
    pub const POP_CK: &str = "POP_CK";
    pub const POP_CK_OFFSET: &str = "POP_CK_OFFSET";
    pub const FIRST_POP_TIME: &str = "1ST_POP_TIME";
    pub const SHARDING_KEY: &str = "__SHARDINGKEY";
    pub const PROPERTY_FORWARD_QUEUE_ID: &str = "PROPERTY_FORWARD_QUEUE_ID";
    pub const REDIRECT: &str = "REDIRECT";
    pub const INNER_MULTI_DISPATCH: &str = "INNER_MULTI_DISPATCH";
    pub const INNER_MULTI_QUEUE_OFFSET: &str = "INNER_MULTI_QUEUE_OFFSET";
    pub const TRACE_CONTEXT: &str = "TRACE_CONTEXT";
    pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
    pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
    pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
    pub const TIMER_OUT_MS: &str = "TIMER_OUT_MS";
    pub const TIMER_ENQUEUE_MS: &str = "TIMER_ENQUEUE_MS";
    pub const TIMER_DEQUEUE_MS: &str = "TIMER_DEQUEUE_MS";
    pub const TIMER_ROLL_TIMES: &str = "TIMER_ROLL_TIMES";
    pub const TIMER_DELAY_LEVEL: &str = "TIMER_DELAY_LEVEL";
    pub const TIMER_DEL_UNIQKEY: &str = "TIMER_DEL_UNIQKEY";
    pub const TIMER_ROLL_LABEL: &str = "TIMER_ROLL_LABEL";
    pub const TRANS_OFFSET: &str = "TRANS_OFFSET";
    pub const BORN_HOST: &str = "__BORNHOST";
    pub const BORN_TIMESTAMP: &str = "BORN_TIMESTAMP";
    pub const TRANSIENT_PREFIX: &str = "__RMQ.TRANSIENT.";
    pub const START_DELIVER_TIME: &str = "__STARTDELIVERTIME";
    pub const CRC32: &str = "__CRC32#";
    pub const ORIGIN_GROUP: &str = "ORIGIN_GROUP";
    pub const DLQ_ORIGIN_TOPIC: &str = "DLQ_ORIGIN_TOPIC";
    pub const DLQ_ORIGIN_MESSAGE_ID: &str = "DLQ_ORIGIN_MESSAGE_ID";
    pub const LITE_TOPIC: &str = "__LITE_TOPIC";
    pub const PRIORITY: &str = "_SYS_MSG_PRIORITY_";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_and_oddities() {
        let text = b"a\x01b\x02nosep\x02\x01x\x02y\x01\x02k\x01v=\x01w\x02a\x01last";
        let pairs: Vec<_> = Properties(text).iter().collect();
        assert_eq!(pairs, [("a", "b"), ("k", "v=\x01w"), ("a", "last")]);
        assert_eq!(Properties(text).get("a"), Some("last"));
        assert_eq!(Properties(text).get("nosep"), None);
        assert!(!Properties(text).is_closed() && Properties(b"").is_closed());
    }

    #[test]
    fn names_and_values_of_any_length_are_found() {
        for (name, value) in (1..20).flat_map(|name| (1..20).map(move |value| (name, value))) {
            // Neighbours of the separators, and bytes with the top bit, are none.
            let (name, value) = ("n\u{3}é".repeat(name), "\u{3}\0v".repeat(value));
            let text = format!("{name}\u{1}{value}\u{2}k\u{1}w");
            let found: Vec<_> = pairs(&text).collect();
            assert_eq!(found, [(&*name, &*value), ("k", "w")]);
        }
    }

    #[test]
    fn a_name_inside_a_value_is_not_a_name() {
        assert_eq!(Properties(b"X\x01KEYS\x02").get(keys::KEYS), None);
        assert_eq!(Properties(b"XKEYS\x01v\x02").get(keys::KEYS), None);
    }

    #[test]
    fn bad_text_is_read_up_to_the_bad_byte() {
        assert_eq!(
            Properties(b"a\x01b\x02c\x01\xFF\x02d\x01e\x02")
                .iter()
                .collect::<Vec<_>>(),
            [("a", "b")]
        );
    }

    #[test]
    fn written_pairs_are_read_back() {
        let mut text = Vec::new();
        Properties::push(&mut text, keys::TAGS, "t");
        Properties::push(&mut text, keys::WAIT, "true");
        assert_eq!(Properties(&text).get(keys::WAIT), Some("true"));
        assert!(is_clean("ok") && !is_clean("a\x02"));
    }
}
