// SPDX-License-Identifier: Apache-2.0
//! RecallMessage: takes a delayed message back (Apache: `proxy/grpc/v2/producer/RecallMessageActivity.java`).
//!
//! The handle is base64 (URL alphabet) of `v1 topic broker time messageId`.

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::Parts;
use crate::{
    caller::topic_of,
    status::{Failure, ok},
    v2::{Code, MessageType, RecallMessageRequest, RecallMessageResponse},
    wire::{RecallMessage, RecallReply},
};

/// Takes handles with padding and without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(crate) async fn answer(
    parts: &Parts,
    request: tonic::Request<RecallMessageRequest>,
) -> Result<RecallMessageResponse, Failure> {
    parts.caller(&request)?;
    let request = request.into_inner();
    let topic = topic_of(request.topic.as_ref())?;
    let route = parts.routes.topic(topic).await?;
    if parts.config.enable_topic_message_type_check && !route.topic_type.takes(MessageType::Delay) {
        return Err(Failure::new(
            Code::MessagePropertyConflictWithType,
            format_args!(
                "topic {topic} accepts {}, only messages of topics with message.type=DELAY or MIXED can be recalled",
                route.topic_type.name()
            ),
        ));
    }
    let broker = broker_of(&request.recall_handle, topic)?;
    let address = parts.routes.address(topic, &broker).await?;
    let header = RecallMessage {
        producer_group: Some(topic),
        topic,
        recall_handle: &request.recall_handle,
        broker_name: Some(&broker),
    };
    let response = parts.brokers.call(&address, &header, &[]).await?;
    let recalled: RecallReply<'_> = response.header()?;
    Ok(RecallMessageResponse {
        status: Some(ok()),
        message_id: recalled.msg_id.to_owned(),
    })
}

/// The broker that a handle names.
fn broker_of(handle: &str, topic: &str) -> Result<String, Failure> {
    let bad = || {
        Failure::new(
            Code::BadRequest,
            "recall handle is invalid: give the one of the answer to the send",
        )
    };
    let text = BASE64
        .decode(handle)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let text = text.ok_or_else(bad)?;
    let fields: Vec<&str> = text.split(' ').collect();
    match fields[..] {
        ["v1", of, broker, _, _, ..] if of == topic => Ok(broker.to_owned()),
        ["v1", of, _, _, _, ..] => Err(Failure::new(
            Code::BadRequest,
            format_args!("recall handle is of topic {of}, not of {topic}"),
        )),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_name_their_broker() {
        let handle = BASE64.encode("v1 t broker-a 1700000000000 01AB");
        assert_eq!(broker_of(&handle, "t").unwrap(), "broker-a");
        for (handle, topic) in [
            (&*handle, "other"),
            ("???", "t"),
            ("", "t"),
            (&*BASE64.encode("v2 t b 1 x"), "t"),
        ] {
            assert_eq!(
                broker_of(handle, topic).unwrap_err().code(),
                Code::BadRequest
            );
        }
    }
}
