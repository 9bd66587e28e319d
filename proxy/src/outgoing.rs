// SPDX-License-Identifier: Apache-2.0
//! Stored records become messages for clients (Apache: `proxy/grpc/v2/common/GrpcConverter.java`).

use aerobee_message::{properties::keys, record::RecordView};
use bytes::Bytes;

use crate::{
    body,
    caller::Sdk,
    properties,
    time::{now_ms, timestamp},
    v2::{DeadLetterQueue, Message, MessageType, Resource, SystemProperties},
};

/// The records of an answer's body, as slices of it. What comes after a malformed one is lost.
pub(crate) fn records(body: &Bytes) -> impl Iterator<Item = Bytes> + use<> {
    let mut rest = body.clone();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        match RecordView::parse(&rest).map(|record| record.total_len()) {
            Ok(len) => Some(rest.split_to(len)),
            Err(error) => {
                tracing::warn!(%error, "a broker sent a malformed record");
                None
            }
        }
    })
}

/// What the record does not say about a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About<'a> {
    /// The topic that the client asked for.
    pub(crate) topic: &'a str,
    pub(crate) sdk: Sdk,
    /// The receipt handle; none for messages that were not popped.
    pub(crate) receipt: Option<&'a str>,
    /// How often it was consumed in vain, when that is not in the record.
    pub(crate) reconsume_times: Option<i32>,
}

/// The message that a record holds; `bytes` are those of the record.
pub(crate) fn message(bytes: &Bytes, record: &RecordView<'_>, about: About<'_>) -> Message {
    let mut message = Message {
        topic: Some(resource(about.topic)),
        ..Message::default()
    };
    let mut system = SystemProperties {
        born_host: record.born_host().to_string(),
        born_timestamp: Some(timestamp(record.born_timestamp())),
        store_host: record.store_host().to_string(),
        store_timestamp: Some(timestamp(record.store_timestamp())),
        queue_id: record.queue_id(),
        queue_offset: Some(record.queue_offset()),
        receipt_handle: about.receipt.map(str::to_owned),
        delivery_attempt: Some(
            about
                .reconsume_times
                .unwrap_or_else(|| record.reconsume_times())
                .saturating_add(1),
        ),
        ..SystemProperties::default()
    };
    let mut seen = Seen::default();
    for (name, value) in record.properties().iter() {
        read(name, value, &mut system, &mut seen, &mut message);
    }
    system.message_type = seen.kind().into();
    if system.message_id.is_empty() {
        let mut id = aerobee_message::id::Buffer::new();
        id.format(record.store_host(), record.physical_offset())
            .clone_into(&mut system.message_id);
    }
    if let (Some(topic), Some(message_id)) = (seen.dead_topic, seen.dead_id) {
        system.dead_letter_queue = Some(DeadLetterQueue { topic, message_id });
    }
    let (body, encoding) =
        body::for_client(bytes.slice_ref(record.body()), record.sys_flag(), about.sdk);
    system.body_digest = Some(body::digest(&body));
    system.body_encoding = encoding.into();
    message.body = body;
    message.system_properties = Some(system);
    message
}

/// A name without namespace.
pub(crate) fn resource(name: &str) -> Resource {
    Resource {
        resource_namespace: String::new(),
        name: name.to_owned(),
    }
}

/// What tells the type of a message, in the order of Apache's `TopicMessageType`.
#[derive(Debug, Default)]
struct Seen {
    transaction: bool,
    delay: bool,
    fifo: bool,
    priority: bool,
    lite: bool,
    dead_topic: Option<String>,
    dead_id: Option<String>,
}

impl Seen {
    fn kind(&self) -> MessageType {
        if self.transaction {
            MessageType::Transaction
        } else if self.delay {
            MessageType::Delay
        } else if self.fifo {
            MessageType::Fifo
        } else if self.priority {
            MessageType::Priority
        } else if self.lite {
            MessageType::Lite
        } else {
            MessageType::Normal
        }
    }
}

fn read(
    name: &str,
    value: &str,
    system: &mut SystemProperties,
    seen: &mut Seen,
    message: &mut Message,
) {
    match name {
        keys::UNIQ_KEY => value.clone_into(&mut system.message_id),
        keys::TAGS => system.tag = Some(value.to_owned()),
        keys::KEYS => {
            system.keys = value
                .split(' ')
                .filter(|key| !key.is_empty())
                .map(str::to_owned)
                .collect();
        }
        keys::TRAN_MSG => seen.transaction = value.eq_ignore_ascii_case("true"),
        keys::DELAY => seen.delay = true,
        keys::TIMER_DELIVER_MS => {
            seen.delay = true;
            system.delivery_timestamp = value.parse().ok().map(timestamp);
        }
        keys::TIMER_DELAY_SEC => {
            seen.delay = true;
            let seconds: Option<i64> = value.parse().ok();
            system.delivery_timestamp = seconds
                .map(|seconds| timestamp(now_ms().saturating_add(seconds.saturating_mul(1000))));
        }
        keys::SHARDING_KEY => {
            seen.fifo = true;
            system.message_group = Some(value.to_owned());
        }
        keys::LITE_TOPIC => {
            seen.lite = true;
            system.lite_topic = Some(value.to_owned());
        }
        keys::PRIORITY => {
            seen.priority = true;
            system.priority = value.parse().ok();
        }
        keys::TRACE_CONTEXT => system.trace_context = Some(value.to_owned()),
        keys::BORN_HOST => value.clone_into(&mut system.born_host),
        keys::DLQ_ORIGIN_TOPIC => seen.dead_topic = Some(value.to_owned()),
        keys::DLQ_ORIGIN_MESSAGE_ID => seen.dead_id = Some(value.to_owned()),
        _ if properties::is_system(name) => {}
        _ => {
            message
                .user_properties
                .insert(name.to_owned(), value.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use aerobee_message::record::Record;

    use super::*;

    fn record(properties: &[u8]) -> Bytes {
        let record = Record {
            topic: "t",
            queue_id: 3,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 1_700_000_000_123,
            born_host: "127.0.0.1:5000".parse().unwrap(),
            store_host: "127.0.0.1:10911".parse().unwrap(),
            reconsume_times: 2,
            prepared_transaction_offset: 0,
            body: b"hello",
            properties: &[properties],
            tags_code: aerobee_message::record::TagsCode::Hash(0),
        };
        let place = aerobee_message::record::Place {
            queue_offset: 7,
            physical_offset: 4096,
            store_timestamp: 1_700_000_000_456,
        };
        let mut bytes = vec![0; record.encoded_len()];
        record.encode(&mut bytes, place, 0);
        Bytes::from(bytes)
    }

    fn convert(properties: &[u8]) -> Message {
        let bytes = record(properties);
        let view = RecordView::parse(&bytes).unwrap();
        let about = About {
            topic: "t",
            sdk: Sdk::Java,
            receipt: Some("r"),
            reconsume_times: None,
        };
        message(&bytes, &view, about)
    }

    #[test]
    fn every_field_has_its_place() {
        let message = convert(
            b"UNIQ_KEY\x01id\x02TAGS\x01a\x02KEYS\x01k1 k2\x02__SHARDINGKEY\x01g\x02user\x01v\x02WAIT\x01true\x02",
        );
        let system = message.system_properties.unwrap();
        assert_eq!(system.message_id, "id");
        assert_eq!(system.tag.as_deref(), Some("a"));
        assert_eq!(system.keys, ["k1", "k2"]);
        assert_eq!(system.message_type, i32::from(MessageType::Fifo));
        assert_eq!(system.message_group.as_deref(), Some("g"));
        assert_eq!(system.delivery_attempt, Some(3));
        assert_eq!(message.user_properties.len(), 1);
        assert_eq!(message.user_properties["user"], "v");
        assert_eq!(&message.body[..], b"hello");
    }

    #[test]
    fn types_have_their_order() {
        for (properties, kind) in [
            (&b"_SYS_MSG_PRIORITY_\x013\x02"[..], MessageType::Priority),
            (b"__LITE_TOPIC\x01l\x02", MessageType::Lite),
            (
                b"TIMER_DELIVER_MS\x017\x02__SHARDINGKEY\x01g\x02",
                MessageType::Delay,
            ),
            (
                b"TRAN_MSG\x01true\x02DELAY\x011\x02",
                MessageType::Transaction,
            ),
            (b"", MessageType::Normal),
        ] {
            let system = convert(properties).system_properties.unwrap();
            assert_eq!(system.message_type, i32::from(kind));
        }
    }

    #[test]
    fn an_answer_is_cut_into_its_records() {
        let mut both = record(b"").to_vec();
        both.extend_from_slice(&record(b"a\x01b\x02"));
        both.extend_from_slice(b"rest");
        assert_eq!(records(&Bytes::from(both)).count(), 2);
    }
}
