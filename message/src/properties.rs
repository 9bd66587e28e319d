// SPDX-License-Identifier: Apache-2.0
//! The property text of a message: `name 0x01 value 0x02 name 0x01 value 0x02 …` in UTF-8
//! (Apache: `common/message/MessageDecoder.java`).

use wide::u8x16;

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
    pub fn iter(&self) -> Pairs<'a> {
        pairs(match simdutf8::basic::from_utf8(self.0) {
            Ok(text) => text,
            Err(_) => self
                .0
                .utf8_chunks()
                .next()
                .map_or("", |chunk| chunk.valid()),
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
#[must_use]
pub fn pairs(text: &str) -> Pairs<'_> {
    let (blocks, tail) = text.as_bytes().as_chunks();
    Pairs {
        text,
        start: 0,
        blocks,
        tail,
        seen: 0,
        marks: 0,
    }
}

/// See [`pairs`]. Separators are found many bytes at a time, each byte being looked at once.
#[derive(Debug, Clone)]
pub struct Pairs<'a> {
    text: &'a str,
    /// Where the next pair starts.
    start: usize,
    blocks: &'a [[u8; BLOCK]],
    tail: &'a [u8],
    /// Blocks looked at, the tail included.
    seen: usize,
    /// A bit for each separator of the last of them that is not behind us, the lowest for its first byte.
    marks: u32,
}

const BLOCK: usize = 16;

impl Pairs<'_> {
    /// Where the next separator stands; the length when there is none.
    #[inline(always)]
    fn separator(&mut self) -> usize {
        while self.marks == 0 {
            let block = match self.blocks.get(self.seen) {
                Some(block) => *block,
                None if self.seen == self.blocks.len() && !self.tail.is_empty() => {
                    // Zero is no separator.
                    let mut block = [0; BLOCK];
                    block[..self.tail.len()].copy_from_slice(self.tail);
                    block
                }
                None => return self.text.len(),
            };
            let block = u8x16::new(block);
            let is = |byte| block.simd_eq(u8x16::splat(byte));
            self.marks = (is(NAME_END) | is(VALUE_END)).to_bitmask();
            self.seen += 1;
        }
        let at = self.marks.trailing_zeros() as usize;
        self.marks &= self.marks - 1;
        (self.seen - 1) * BLOCK + at
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    // In the caller's loop the state stays in registers.
    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let text = self.text;
        let ends_name = |at: usize| text.as_bytes().get(at) == Some(&NAME_END);
        while self.start < text.len() {
            let start = self.start;
            let name_end = self.separator();
            self.start = name_end + 1;
            if !ends_name(name_end) {
                continue;
            }
            let mut value_end = self.separator();
            while ends_name(value_end) {
                value_end = self.separator();
            }
            self.start = value_end + 1;
            if start < name_end && name_end + 1 < value_end {
                return Some((&text[start..name_end], &text[name_end + 1..value_end]));
            }
        }
        None
    }
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
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn any_text_is_cut_at_its_separators(text in "[\u{1}\u{2}aé]{0,80}") {
            let wanted = text.split('\u{2}').filter_map(|pair| pair.split_once('\u{1}'));
            let wanted = wanted.filter(|(name, value)| !name.is_empty() && !value.is_empty());
            let (wanted, found): (Vec<_>, Vec<_>) = (wanted.collect(), pairs(&text).collect());
            prop_assert_eq!(found, wanted);
        }
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
