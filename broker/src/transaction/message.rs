// SPDX-License-Identifier: Apache-2.0
//! The messages of a transaction: what is made of a half message, and the op message that says that
//! half messages are done. Apache: `TransactionalMessageBridge`, `EndTransactionProcessor`,
//! `TransactionalMessageUtil`.

use std::{fmt::Write as _, net::SocketAddr};

use aerobee_message::{RecordView, properties::keys, sysflag, topic as names};

use crate::requeue::{Message, PropertyList};

/// The group whose offsets say how far the half and the op queue are done with.
pub(crate) const GROUP: &str = "CID_RMQ_SYS_TRANS";
/// The queue of half messages, and that of their op messages.
pub(crate) const QUEUE: i32 = 0;
/// Tag of an op message: its half messages are removed.
const REMOVE_TAG: &str = "d";
/// Stands behind each offset in an op message.
const SEPARATOR: char = ',';

/// Asks for a first check later than usual. Java's `getImmunityTime`: what is no number, and −1,
/// stands for the usual time.
pub(crate) fn immunity_millis(property: Option<&str>, usual: i64) -> i64 {
    match property.and_then(|seconds| seconds.trim().parse::<i64>().ok()) {
        None | Some(-1) => usual,
        Some(seconds) => seconds.saturating_mul(1_000),
    }
}

/// Where a half message wants to go.
pub(crate) fn destination(properties: &PropertyList) -> Option<(&str, i32)> {
    let topic = properties.get(keys::REAL_TOPIC)?;
    Some((topic, properties.number(keys::REAL_QID)?))
}

/// The message that a commit puts into its topic. Its properties stay as they are, those of the
/// transaction included, but where it was to go, as Apache stores them; `None` when it does not say
/// where it goes.
pub(crate) fn committed(half: &RecordView<'_>) -> Option<Message> {
    let mut message = Message::of(half);
    let (topic, queue_id) = destination(&message.properties)?;
    let topic = topic.to_owned();
    message.queue_id = queue_id;
    message.topic = topic;
    message.properties.remove(keys::REAL_TOPIC);
    message.properties.remove(keys::REAL_QID);
    message.sys_flag = message.sys_flag & !sysflag::TRANSACTION_MASK | sysflag::TRANSACTION_COMMIT;
    message.prepared_transaction_offset = half.physical_offset();
    Some(message)
}

/// A half message written once more. It names the offset of its first writing, as Apache's does when
/// it is not yet to be checked.
pub(crate) fn rewritten(half: &RecordView<'_>, check_times: Option<i32>) -> Message {
    let mut message = Message::of(half);
    if let Some(times) = check_times {
        message.properties.set(keys::TRANSACTION_CHECK_TIMES, times);
    }
    if message
        .properties
        .get(keys::TRAN_PREPARED_QUEUE_OFFSET)
        .is_none()
    {
        let first = half.queue_offset();
        message
            .properties
            .set(keys::TRAN_PREPARED_QUEUE_OFFSET, first);
    }
    message
}

/// A half message that is given up.
pub(crate) fn given_up(half: &RecordView<'_>) -> Message {
    let mut message = Message::of(half);
    names::TRANS_CHECK_MAX_TIME.clone_into(&mut message.topic);
    message.queue_id = 0;
    message
}

/// A half message that was given up, to be asked about again from the beginning.
pub(crate) fn resumed(given_up: &RecordView<'_>) -> Message {
    let mut message = Message::of(given_up);
    names::TRANS_HALF.clone_into(&mut message.topic);
    message.queue_id = QUEUE;
    message.properties.set(keys::TRANSACTION_CHECK_TIMES, 0);
    message.properties.remove(keys::TRAN_PREPARED_QUEUE_OFFSET);
    message
}

/// An op message for these half messages.
pub(crate) fn op(half_offsets: &[i64], now: i64, broker: SocketAddr) -> Message {
    let mut body = String::with_capacity(half_offsets.len() * 12);
    for offset in half_offsets {
        // Writing into a string cannot fail.
        let _ = write!(body, "{offset}{SEPARATOR}");
    }
    let topic = names::TRANS_OP_HALF.to_owned();
    let mut message = Message::new(topic, QUEUE, body.into_bytes(), (now, broker));
    message.properties.set(keys::TAGS, REMOVE_TAG);
    message.properties.set(keys::WAIT, false);
    message
}

/// The half messages that an op message lists.
pub(crate) fn op_offsets<'a>(op: &RecordView<'a>) -> impl Iterator<Item = i64> + use<'a> {
    let removes = op.properties().get(keys::TAGS) == Some(REMOVE_TAG);
    let text = std::str::from_utf8(op.body()).unwrap_or_default();
    text.split(SEPARATOR)
        .filter(move |_| removes)
        .filter_map(|offset| offset.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use aerobee_message::record::{Place, Record, TagsCode};

    use super::*;

    fn encoded(message: &Message, queue_offset: i64, physical_offset: i64) -> Vec<u8> {
        let properties = message.properties.to_text();
        let record = Record {
            topic: &message.topic,
            queue_id: message.queue_id,
            flag: message.flag,
            sys_flag: message.sys_flag,
            born_timestamp: message.born_timestamp,
            born_host: message.born_host,
            store_host: message.born_host,
            reconsume_times: message.reconsume_times,
            prepared_transaction_offset: message.prepared_transaction_offset,
            body: &message.body,
            properties: &[&properties],
            tags_code: TagsCode::Hash(0),
        };
        let mut bytes = vec![0; record.encoded_len()];
        let place = Place {
            queue_offset,
            physical_offset,
            store_timestamp: 77,
        };
        record.encode(&mut bytes, place, record.body_crc());
        bytes
    }

    fn half() -> Message {
        let host = "127.0.0.1:1".parse().unwrap();
        let topic = names::TRANS_HALF.to_owned();
        let mut half = Message::new(topic, QUEUE, b"body".to_vec(), (5, host));
        half.flag = 9;
        half.reconsume_times = 2;
        half.sys_flag = sysflag::COMPRESSED;
        for (name, value) in [("TRAN_MSG", "true"), ("REAL_TOPIC", "t"), ("REAL_QID", "3")] {
            half.properties.set(name, value);
        }
        half
    }

    #[test]
    fn a_commit_goes_where_the_half_message_says() {
        let bytes = encoded(&half(), 4, 1_000);
        let message = committed(&RecordView::parse(&bytes).unwrap()).unwrap();
        assert_eq!((&*message.topic, message.queue_id), ("t", 3));
        assert_eq!(message.prepared_transaction_offset, 1_000);
        let flags = sysflag::COMPRESSED | sysflag::TRANSACTION_COMMIT;
        assert_eq!(message.sys_flag, flags);
        assert_eq!((message.flag, message.reconsume_times), (9, 2));
        assert_eq!(message.properties.get("TRAN_MSG"), Some("true"));
        assert_eq!(message.properties.get(keys::REAL_TOPIC), None);
        assert_eq!(message.properties.get(keys::REAL_QID), None);
        let mut homeless = half();
        homeless.properties.remove(keys::REAL_QID);
        let bytes = encoded(&homeless, 4, 1_000);
        assert!(committed(&RecordView::parse(&bytes).unwrap()).is_none());
    }

    #[test]
    fn rewriting_counts_and_keeps_the_first_offset() {
        let bytes = encoded(&half(), 4, 1_000);
        let once = rewritten(&RecordView::parse(&bytes).unwrap(), Some(1));
        let bytes = encoded(&once, 9, 2_000);
        let twice = rewritten(&RecordView::parse(&bytes).unwrap(), Some(2));
        let number = |name| twice.properties.number::<i64>(name);
        assert_eq!(number(keys::TRAN_PREPARED_QUEUE_OFFSET), Some(4));
        assert_eq!(number(keys::TRANSACTION_CHECK_TIMES), Some(2));
        assert_eq!((twice.flag, twice.reconsume_times), (9, 2));
        let bytes = encoded(&given_up(&RecordView::parse(&bytes).unwrap()), 0, 3_000);
        let again = resumed(&RecordView::parse(&bytes).unwrap());
        assert_eq!(again.topic, names::TRANS_HALF);
        assert_eq!(again.properties.get(keys::TRAN_PREPARED_QUEUE_OFFSET), None);
        assert_eq!(
            again.properties.get(keys::TRANSACTION_CHECK_TIMES),
            Some("0")
        );
    }

    #[test]
    fn op_messages_are_lists() {
        let host = "127.0.0.1:1".parse().unwrap();
        let message = op(&[7, 12], 1, host);
        assert_eq!(message.body, b"7,12,");
        let bytes = encoded(&message, 0, 0);
        let view = RecordView::parse(&bytes).unwrap();
        assert_eq!(Vec::from_iter(op_offsets(&view)), [7, 12]);
        let mut other = op(&[7], 1, host);
        other.properties.set(keys::TAGS, "x");
        let bytes = encoded(&other, 0, 0);
        assert_eq!(op_offsets(&RecordView::parse(&bytes).unwrap()).count(), 0);
    }

    #[test]
    fn immunity_follows_java() {
        for (property, millis) in [(None, 6_000), (Some("-1"), 6_000), (Some("x"), 6_000)] {
            assert_eq!(immunity_millis(property, 6_000), millis);
        }
        assert_eq!(immunity_millis(Some("2"), 6_000), 2_000);
        assert_eq!(immunity_millis(Some("60"), 6_000), 60_000);
    }
}
