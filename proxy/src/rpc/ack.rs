// SPDX-License-Identifier: Apache-2.0
//! AckMessage (Apache: `proxy/grpc/v2/consumer/AckMessageActivity.java`).
//!
//! A handle whose time is over is refused, as by Apache's proxy: its message goes to another client, and
//! a broker would answer that all is well. Whether one counts otherwise is for the broker to say.

use super::Parts;
use crate::{
    caller::{group_of, topic_of},
    handle::Handle,
    status::{self, Failure, over},
    time::now_ms,
    v2::{AckMessageEntry, AckMessageRequest, AckMessageResponse, AckMessageResultEntry, Code},
    wire::AckMessage,
};

/// Most entries of one request.
const ENTRIES_MAX: usize = 4096;

pub(crate) async fn answer(
    parts: &Parts,
    request: tonic::Request<AckMessageRequest>,
) -> Result<AckMessageResponse, Failure> {
    parts.caller(&request)?;
    let request = request.into_inner();
    let topic = topic_of(request.topic.as_ref())?;
    let group = group_of(request.group.as_ref())?;
    if request.entries.len() > ENTRIES_MAX {
        return Err(Failure::new(
            Code::BadRequest,
            format_args!("at most {ENTRIES_MAX} receipts in one request"),
        ));
    }
    let mut entries = Vec::with_capacity(request.entries.len());
    for entry in request.entries {
        let outcome = ack(parts, group, topic, &entry).await;
        entries.push(AckMessageResultEntry {
            status: Some(status::of(&outcome)),
            message_id: entry.message_id,
            receipt_handle: entry.receipt_handle,
        });
    }
    let statuses = entries.iter().filter_map(|entry| entry.status.as_ref());
    Ok(AckMessageResponse {
        status: Some(over(statuses)),
        entries,
    })
}

async fn ack(
    parts: &Parts,
    group: &str,
    topic: &str,
    entry: &AckMessageEntry,
) -> Result<(), Failure> {
    let handle = parse(&entry.receipt_handle)?.of_lite(entry.lite_topic.as_deref());
    let kept = parts.receipts.take(group, &entry.receipt_handle).await;
    let current = kept.as_ref().map_or(&handle, |kept| &kept.current);
    let acked = match check_current(current) {
        Ok(()) => ack_handle(parts, (group, topic), current).await,
        Err(failure) => Err(failure),
    };
    match (acked, kept) {
        (Err(failure), Some(kept)) if failure.code() != Code::InvalidReceiptHandle => {
            // The client tries again, by the same name.
            parts.receipts.put_back(&entry.receipt_handle, kept);
            Err(failure)
        }
        (acked, _) => acked,
    }
}

/// Reads a handle of a client.
pub(crate) fn parse(text: &str) -> Result<Handle, Failure> {
    Handle::parse(text).ok_or_else(|| {
        Failure::new(
            Code::InvalidReceiptHandle,
            "receipt handle is invalid: give the one that came with the message",
        )
    })
}

/// Refuses the handle of a message that is visible again.
pub(crate) fn check_current(handle: &Handle) -> Result<(), Failure> {
    if handle.visible_at() > now_ms() {
        return Ok(());
    }
    Err(Failure::new(
        Code::InvalidReceiptHandle,
        "receipt handle is expired (INVALID_RECEIPT_HANDLE): the message is visible again; ask for a longer invisible duration, or consume faster",
    ))
}

/// Tells the broker that a message was consumed.
pub(crate) async fn ack_handle(
    parts: &Parts,
    (group, topic): (&str, &str),
    handle: &Handle,
) -> Result<(), Failure> {
    let address = parts
        .routes
        .address(topic, &handle.broker)
        .await
        .map_err(Failure::of_receipt)?;
    let real_topic = handle.kind.topic(topic, group);
    let header = AckMessage {
        consumer_group: group,
        topic: &real_topic,
        queue_id: handle.queue_id,
        extra_info: &handle.extra_info(),
        offset: handle.offset,
        lite_topic: handle.lite_topic.as_deref(),
        broker_name: Some(&handle.broker),
    };
    parts
        .brokers
        .call(&address, &header, &[])
        .await
        .map_err(Failure::of_receipt)?;
    Ok(())
}
