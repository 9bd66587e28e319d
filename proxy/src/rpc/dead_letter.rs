// SPDX-License-Identifier: Apache-2.0
//! ForwardMessageToDeadLetterQueue (Apache:
//! `proxy/grpc/v2/consumer/ForwardMessageToDLQActivity.java`): the broker copies the message, then it
//! is acknowledged.

use super::{
    Parts,
    ack::{ack_handle, parse},
};
use crate::{
    caller::{group_of, topic_of},
    handle::Handle,
    status::{Failure, ok},
    v2::{Code, ForwardMessageToDeadLetterQueueRequest, ForwardMessageToDeadLetterQueueResponse},
    wire::SendBack,
};

pub(crate) async fn answer(
    parts: &Parts,
    request: tonic::Request<ForwardMessageToDeadLetterQueueRequest>,
) -> Result<ForwardMessageToDeadLetterQueueResponse, Failure> {
    parts.caller(&request)?;
    let request = request.into_inner();
    let topic = topic_of(request.topic.as_ref())?;
    let group = group_of(request.group.as_ref())?;
    let handle = parse(&request.receipt_handle)?.of_lite(request.lite_topic.as_deref());
    let kept = parts.receipts.take(group, &request.receipt_handle).await;
    let current = kept.as_ref().map_or(&handle, |kept| &kept.current);
    let forwarded = forward(parts, (group, topic), current, &request.message_id).await;
    if let (Err(_), Some(kept)) = (&forwarded, kept) {
        parts.receipts.put_back(&request.receipt_handle, kept);
    }
    forwarded?;
    Ok(ForwardMessageToDeadLetterQueueResponse { status: Some(ok()) })
}

/// Moves a message to the dead letter topic of its group.
pub(crate) async fn forward(
    parts: &Parts,
    (group, topic): (&str, &str),
    handle: &Handle,
    message_id: &str,
) -> Result<(), Failure> {
    if handle.log_offset < 0 {
        return Err(Failure::new(
            Code::InvalidReceiptHandle,
            "receipt handle is invalid: it lacks the position of the message in the log",
        ));
    }
    let address = parts
        .routes
        .address(topic, &handle.broker)
        .await
        .map_err(Failure::of_receipt)?;
    let real_topic = handle.kind.topic(topic, group);
    let header = SendBack {
        offset: handle.log_offset,
        group,
        delay_level: -1,
        origin_msg_id: Some(message_id),
        origin_topic: Some(&real_topic),
        unit_mode: Some(false),
        max_reconsume_times: Some(0),
        broker_name: Some(&handle.broker),
    };
    parts.brokers.call(&address, &header, &[]).await?;
    ack_handle(parts, (group, topic), handle).await
}
