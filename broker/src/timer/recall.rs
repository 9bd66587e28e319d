// SPDX-License-Identifier: Apache-2.0
//! RECALL_MESSAGE (370): a producer takes a timer message back before it is due. A mark for the same
//! time goes into the wheel; when that time comes, marks are looked at first. Apache:
//! `RecallMessageProcessor`, `RecallMessageHandle`.

use std::sync::Arc;

use aerobee_message::properties::keys;
use aerobee_remoting::{
    Deferred, ResponseCode,
    call::Call,
    header::send::{RecallMessage, RecallReply},
};
use aerobee_store::{FlushMode, Flushed, Store};
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use crate::{
    config::{Identity, Switches},
    delays::Delays,
    processor::send::code_of,
    requeue::{Message, PutError, Requeue},
    topics::Topics,
};

const VERSION: &str = "v1";
/// Tag of marks.
const TAG: &str = "_RECALL_TAG_";
/// As Java's URL-safe coder: writes padding, reads with and without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a handle says, which is base64 of its parts with blanks between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecallHandle<'a> {
    pub(crate) topic: &'a str,
    pub(crate) broker: &'a str,
    /// A time at which a mark comes to lie beside the message, ms.
    pub(crate) time: i64,
    pub(crate) key: &'a str,
}

impl RecallHandle<'_> {
    pub(crate) fn encode(&self) -> String {
        let Self {
            topic,
            broker,
            time,
            key,
        } = self;
        BASE64.encode(format!("{VERSION} {topic} {broker} {time} {key}"))
    }
}

/// The text inside a handle.
fn decode(handle: &str) -> Option<String> {
    String::from_utf8(BASE64.decode(handle).ok()?).ok()
}

fn parse(text: &str) -> Option<RecallHandle<'_>> {
    let mut parts = text.split(' ');
    if parts.next() != Some(VERSION) {
        return None;
    }
    let (topic, broker, time, key) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some(RecallHandle {
        topic,
        broker,
        // A time that is none lies in the past.
        time: time.parse().unwrap_or(-1),
        key,
    })
}

/// Takes messages back.
pub(crate) struct Recall {
    pub(crate) store: Arc<Store>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) switches: Arc<Switches>,
    pub(crate) requeue: Arc<Requeue>,
    pub(crate) delays: Arc<Delays>,
}

type Refusal = (ResponseCode, String);

impl Recall {
    pub(crate) fn handle(self: &Arc<Self>, call: Call<'_, RecallMessage<'_>>) {
        let Call { request, reply, .. } = call;
        let born_host = reply.connection().peer();
        let mark = self.mark(&request, born_host);
        let (message, key) = match mark {
            Ok(mark) => mark,
            Err((code, remark)) => return reply.fail(code, remark),
        };
        let (recall, reply) = (Arc::clone(self), reply.defer());
        // The topic of the wheel may have to get its files.
        tokio::spawn(async move {
            match recall.requeue.put(&message).await {
                Ok(appended) => {
                    recall.delays.timer().stored();
                    let region = recall.identity.region.clone();
                    recall.answer_when_durable(appended.end, key, region, reply);
                }
                Err(error) => {
                    let code = match &error {
                        PutError::Append(error) => code_of(error),
                        _ => ResponseCode::SYSTEM_ERROR,
                    };
                    reply.fail(code, format_args!("recall failed, execute error: {error}"));
                }
            }
        });
    }

    fn answer_when_durable(&self, end: i64, key: String, region: String, reply: Deferred) {
        let answer = move |_: Flushed| {
            // As for sends: stored and not yet flushed is stored.
            reply.header(&RecallReply {
                msg_id: &key,
                region: Some(&region),
            });
        };
        match self.store.flush_mode() {
            FlushMode::Async => answer(Flushed::Durable),
            FlushMode::Sync => self.requeue.when_durable(end, answer),
        }
    }

    /// The mark to be stored, and the unique key of the message that it takes back.
    fn mark(
        &self,
        request: &RecallMessage<'_>,
        born_host: std::net::SocketAddr,
    ) -> Result<(Message, String), Refusal> {
        let now = self.store.clock().millis();
        self.check_broker(now)?;
        if self.topics.find(request.topic).is_none() {
            return Err((
                ResponseCode::TOPIC_NOT_EXIST,
                format!("recall failed, the topic[{}] not exist", request.topic),
            ));
        }
        let text = decode(request.recall_handle);
        let handle = text.as_deref().and_then(parse);
        let Some(handle) = handle else {
            return illegal(
                "recall handle is invalid; it is what the answer to the send told".to_owned(),
            );
        };
        if handle.topic != request.topic {
            return illegal(format!(
                "recall failed, topic not match: the message was sent to {}",
                handle.topic
            ));
        }
        if handle.broker != self.identity.broker_name {
            return illegal(format!(
                "recall failed, broker service not available: the message is kept by {}, this is {}",
                handle.broker, self.identity.broker_name
            ));
        }
        let left = handle.time.saturating_sub(now);
        let max = self
            .switches
            .config()
            .store
            .timer_max_delay_sec
            .saturating_mul(1000);
        if left <= 0 || left >= max {
            return illegal(format!(
                "recall failed, timestamp invalid: the message is due in {left} ms; it can be taken back until then, and no more than {max} ms before"
            ));
        }
        let mut message = Message::new(handle.topic.to_owned(), 0, b"0".to_vec(), (now, born_host));
        let append_topic = self
            .switches
            .config()
            .broker
            .append_topic_for_timer_delete_key;
        let delete = if append_topic {
            format!("{}+{}", handle.topic, handle.key)
        } else {
            handle.key.to_owned()
        };
        for (name, value) in [
            (keys::TIMER_DEL_UNIQKEY, delete.as_str()),
            (keys::UNIQ_KEY, handle.key),
            (keys::TIMER_DELIVER_MS, &handle.time.to_string()),
            (keys::BORN_TIMESTAMP, &now.to_string()),
            (keys::PGROUP, request.producer_group.unwrap_or_default()),
            (keys::TAGS, TAG),
        ] {
            message.properties.set(name, value);
        }
        if message.properties.get(keys::TIMER_DEL_UNIQKEY).is_none() {
            return illegal(
                "recall handle is invalid; it is what the answer to the send told".to_owned(),
            );
        }
        match self.delays.divert(&mut message) {
            Ok(Some(_)) => Ok((message, handle.key.to_owned())),
            Ok(None) => illegal("recall failed, timestamp invalid: the message is due".to_owned()),
            Err(error) => Err((
                ResponseCode::SYSTEM_ERROR,
                format!("recall failed, execute error: {error}"),
            )),
        }
    }

    fn check_broker(&self, now: i64) -> Result<(), Refusal> {
        let config = self.switches.config();
        if !config.broker.recall_message_enable {
            return Err((
                ResponseCode::NO_PERMISSION,
                "recall failed, operation is forbidden (recallMessageEnable)".to_owned(),
            ));
        }
        if now < config.broker.start_accept_send_request_time_stamp {
            return Err((
                ResponseCode::SERVICE_NOT_AVAILABLE,
                "recall failed, broker service not available until startAcceptSendRequestTimeStamp"
                    .to_owned(),
            ));
        }
        if !self.switches.writable() && !config.broker.allow_recall_when_broker_not_writeable {
            return Err((
                ResponseCode::SERVICE_NOT_AVAILABLE,
                "recall failed, broker service not available (brokerPermission)".to_owned(),
            ));
        }
        Ok(())
    }
}

fn illegal<T>(remark: String) -> Result<T, Refusal> {
    Err((ResponseCode::ILLEGAL_OPERATION, remark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_javas() {
        let handle = RecallHandle {
            topic: "orders",
            broker: "broker-a",
            time: 1_700_000_000_001,
            key: "K1",
        };
        let text = handle.encode();
        assert_eq!(text, "djEgb3JkZXJzIGJyb2tlci1hIDE3MDAwMDAwMDAwMDEgSzE=");
        assert_eq!(parse(&decode(&text).unwrap()), Some(handle));
        // Without padding, as Go writes it.
        assert_eq!(
            parse(&decode(text.trim_end_matches('=')).unwrap()),
            Some(handle)
        );
    }

    #[test]
    fn forged_handles_are_none() {
        for text in ["", "x", "djE=", "djIgYSBiIDEgYw==", "!!!!", "djEgYSBiIDE="] {
            let decoded = decode(text);
            assert_eq!(decoded.as_deref().and_then(parse), None, "{text}");
        }
        let decoded = decode(&BASE64.encode("v1 a b soon c")).unwrap();
        assert_eq!(parse(&decoded).unwrap().time, -1);
    }
}
