// SPDX-License-Identifier: Apache-2.0
//! Many popped messages acknowledged at once: code 200151.

use serde::{Deserialize, Serialize};

/// Body of 200151. Apache: `BatchAckMessageRequestBody`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BatchAckMessages {
    /// An entry for each check point.
    pub acks: Vec<BatchAck>,
    /// The broker that the messages came from.
    pub broker_name: String,
}

/// Messages of one check point. Apache: `BatchAck`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchAck {
    /// Base64 of a Java `BitSet`: bit i, the lowest bit of the first byte first, stands for the
    /// message at `start_offset + i`.
    #[serde(rename = "b", alias = "bitSet")]
    pub bit_set: String,
    /// Group of the consumer.
    #[serde(rename = "c", alias = "consumerGroup")]
    pub consumer_group: String,
    /// How long the messages were to stay invisible, ms.
    #[serde(rename = "it", alias = "invisibleTime")]
    pub invisible_time: i64,
    /// When they were popped.
    #[serde(rename = "pt", alias = "popTime")]
    pub pop_time: i64,
    /// The queue.
    #[serde(rename = "q", alias = "queueId")]
    pub queue_id: i32,
    /// Which of the topics: `0` the topic itself, `1` and `2` its retry topics.
    #[serde(rename = "r", alias = "retry")]
    pub retry: String,
    /// Queue of the revive topic.
    #[serde(rename = "rq", alias = "reviveQueueId")]
    pub revive_queue_id: i32,
    /// Where the check point starts.
    #[serde(rename = "so", alias = "startOffset")]
    pub start_offset: i64,
    /// The topic.
    #[serde(rename = "t", alias = "topic")]
    pub topic: String,
}

impl BatchAck {
    /// The offsets that are acknowledged, at most `max` of them; `None` when the bits are no base64.
    pub fn offsets(&self, max: usize) -> Option<Vec<i64>> {
        let bytes = decode_base64(&self.bit_set)?;
        let set = |(at, byte): (usize, &u8)| {
            let byte = *byte;
            (0..8).filter_map(move |bit| (byte >> bit & 1 == 1).then_some(at * 8 + bit))
        };
        let bits = bytes.iter().enumerate().flat_map(set).take(max);
        let offset = |bit| {
            i64::try_from(bit)
                .ok()
                .and_then(|bit| self.start_offset.checked_add(bit))
        };
        Some(bits.filter_map(offset).collect())
    }
}

/// Standard base64, with or without padding.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let mut held = 0u32;
    let mut bits = 0u32;
    for character in text.bytes() {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        held = held << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_javas() {
        // BitSet {0, 2, 9} of Java: bytes 05 02.
        let ack = BatchAck {
            bit_set: "BQI=".to_owned(),
            start_offset: 100,
            ..BatchAck::default()
        };
        assert_eq!(ack.offsets(64), Some(vec![100, 102, 109]));
        assert_eq!(ack.offsets(2), Some(vec![100, 102]));
        let bad = BatchAck {
            bit_set: "B!".to_owned(),
            ..BatchAck::default()
        };
        assert_eq!(bad.offsets(64), None);
        let last = BatchAck {
            bit_set: "AQ==".to_owned(),
            start_offset: i64::MAX,
            ..BatchAck::default()
        };
        assert_eq!(last.offsets(64), Some(vec![i64::MAX]));
    }
}
