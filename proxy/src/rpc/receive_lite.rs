// SPDX-License-Identifier: Apache-2.0
//! What is special in receiving for clients of lite topics: one poll covers all lite topics of the
//! client, and what comes is of several of them (Apache: `proxy/processor/ConsumerProcessor.java`,
//! `popLiteMessage`; `client/impl/MQClientAPIImpl.java`, `processPopLiteResponse`).

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use aerobee_message::{lite, properties::keys, record::RecordView};
use aerobee_remoting::{
    Response,
    header::lite::{PopLite, PopLiteReply},
};
use bytes::Bytes;

use super::{Parts, receive::Wanted};
use crate::{
    handle::{Handle, Kind},
    lite::{is_lite, repeat},
    outgoing::records,
    pop::Popped,
    status::Failure,
    time::now_ms,
    v2::Code,
};

/// Asks the broker for messages of the client's lite topics, unless it has too many already.
pub(crate) async fn pop(parts: &Parts, wanted: &Wanted) -> Result<Response, Failure> {
    let client = &wanted.caller.client_id;
    let held = parts.receipts.lite_of(client, &wanted.group);
    let most = parts.config.max_lite_renew_num_per_channel;
    if held > i64::from(most) {
        return Err(Failure::new(
            Code::Forbidden,
            format!(
                "The client [{client}] has too many unacked messages. Unacked count: {held}, more than {most} \
                 (maxLiteRenewNumPerChannel); acknowledge some first"
            ),
        ));
    }
    if let Some(client) = parts.clients.get(&wanted.caller.client_id) {
        repeat(&parts.brokers, &wanted.address, &client).await?;
    }
    let header = PopLite {
        client_id: &wanted.caller.client_id,
        consumer_group: &wanted.group,
        topic: &wanted.topic,
        max_msg_num: wanted.batch,
        invisible_time: wanted.invisible_ms,
        poll_time: i64::try_from(wanted.poll.as_millis()).unwrap_or(i64::MAX),
        born_time: now_ms(),
        attempt_id: wanted.attempt_id.as_deref(),
    };
    let mut hasher = DefaultHasher::new();
    wanted.caller.client_id.hash(&mut hasher);
    parts
        .brokers
        .poll(&wanted.address, hasher.finish(), &header, wanted.poll)
        .await
}

/// Whether a client is one of lite topics, by its settings.
pub(crate) fn is_lite_client(parts: &Parts, client: &str) -> bool {
    let client = parts.clients.get(client);
    let settings = client.and_then(|client| client.settings());
    settings.is_some_and(|settings| is_lite(settings.client_type()))
}

/// The messages of an answer.
pub(crate) fn popped(response: &Response, broker: &str) -> Result<Vec<Popped>, Failure> {
    let reply: PopLiteReply<'_> = response.header()?;
    let all: Vec<Bytes> = records(&response.body).collect();
    let counts = counts(reply.order_count_info.unwrap_or_default(), all.len());
    let mut popped: Vec<Popped> = Vec::with_capacity(all.len());
    for (bytes, count) in all.into_iter().zip(counts) {
        let record = RecordView::parse(&bytes)
            .map_err(|error| Failure::new(Code::InternalServerError, error))?;
        let (name, offset) = place(&record).ok_or_else(|| {
            Failure::new(
                Code::InternalServerError,
                "unreadable answer of the broker: a message without its place in a lite topic",
            )
        })?;
        let leads_lite = popped
            .last()
            .is_none_or(|last| last.handle.lite_topic.as_deref() != Some(name));
        let handle = Handle {
            start_offset: 0,
            pop_time: reply.pop_time,
            invisible_time: reply.invisible_time,
            revive_queue: reply.revive_qid,
            kind: Kind::Normal,
            broker: broker.to_owned(),
            queue_id: 0,
            offset,
            log_offset: record.physical_offset(),
            lite_topic: Some(name.to_owned()),
        };
        popped.push(Popped {
            bytes,
            handle,
            reconsume_times: Some(count),
            leads_lite,
        });
    }
    Ok(popped)
}

/// Lite topic and offset of a message, which is in the queue of that one and of its parent only.
fn place<'a>(record: &RecordView<'a>) -> Option<(&'a str, i64)> {
    let queue = record.properties().get(keys::INNER_MULTI_DISPATCH)?;
    let offset = record.properties().get(keys::INNER_MULTI_QUEUE_OFFSET)?;
    let (_, name) = lite::parse(queue)?;
    let offset = offset.parse().ok().filter(|offset| *offset >= 0)?;
    Some((name, offset))
}

/// How often each message was handed out before: a number, or the third word of `0 qo0%7 2`. A list
/// that does not fit says nothing.
fn counts(text: &str, messages: usize) -> Vec<i32> {
    let counts: Vec<i32> = text
        .split(';')
        .map(|entry| {
            let word = entry.split(' ').nth(2).unwrap_or(entry);
            word.parse().unwrap_or(0)
        })
        .collect();
    if counts.len() == messages {
        counts
    } else {
        vec![0; messages]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_in_both_forms() {
        assert_eq!(counts("0;0 qo0%1 3;2", 3), [0, 3, 2]);
        assert_eq!(counts("0;0", 3), [0, 0, 0]);
        assert_eq!(counts("", 1), [0]);
        assert_eq!(counts("x y z", 1), [0]);
    }
}
