// SPDX-License-Identifier: Apache-2.0
//! The answer to a pop: messages, and the three texts that tell where each of them is (Apache:
//! `remoting/protocol/header/ExtraInfoUtil.java`, `client/impl/MQClientAPIImpl.java`).
//!
//! Each text holds entries separated by `;`: kind of topic, queue, value, separated by blanks.

use std::collections::HashMap;

use aerobee_message::{properties::keys, record::RecordView};
use aerobee_remoting::Response;
use bytes::Bytes;

use crate::{
    handle::{Handle, Kind},
    outgoing::records,
    status::Failure,
    v2::Code,
    wire::PopReply,
};

/// A popped message.
#[derive(Debug)]
pub(crate) struct Popped {
    /// The record.
    pub(crate) bytes: Bytes,
    pub(crate) handle: Handle,
    /// How often it was consumed in vain; of a group that keeps order it is not in the record.
    pub(crate) reconsume_times: Option<i32>,
    /// Whether it is the first of its lite topic in the answer.
    pub(crate) leads_lite: bool,
}

/// The messages of an answer.
pub(crate) fn popped(
    response: &Response,
    (group, broker, order): (&str, &str, bool),
) -> Result<Vec<Popped>, Failure> {
    let reply: PopReply<'_> = response.header()?;
    let starts = starts(reply.start_offset_info.unwrap_or_default());
    let offsets = offsets(reply.msg_offset_info.unwrap_or_default());
    let counts = order.then(|| counts(reply.order_count_info.unwrap_or_default()));
    let mut taken: HashMap<(Kind, i32), usize> = HashMap::new();
    let mut all = Vec::new();
    for bytes in records(&response.body) {
        let record = RecordView::parse(&bytes)
            .map_err(|error| Failure::new(Code::InternalServerError, error))?;
        let mut handle = match record
            .properties()
            .get(keys::POP_CK)
            .and_then(Handle::parse)
        {
            // A retried message carries its handle: its topic was rewritten.
            Some(handle) => handle,
            None => {
                let kind = Kind::of(record.topic(), group);
                let queue = (kind, record.queue_id());
                let at = taken.entry(queue).or_default();
                let offset = offsets
                    .get(&queue)
                    .and_then(|offsets| offsets.get(*at).copied())
                    .unwrap_or_else(|| record.queue_offset());
                *at += 1;
                Handle {
                    start_offset: starts.get(&queue).copied().unwrap_or(offset),
                    pop_time: reply.pop_time,
                    invisible_time: reply.invisible_time,
                    revive_queue: reply.revive_qid,
                    kind,
                    broker: broker.to_owned(),
                    queue_id: record.queue_id(),
                    offset,
                    log_offset: -1,
                    lite_topic: None,
                }
            }
        };
        handle.log_offset = record.physical_offset();
        let reconsume_times = counts
            .as_ref()
            .map(|counts| counts.of(handle.kind, handle.queue_id, handle.offset));
        all.push(Popped {
            bytes,
            handle,
            reconsume_times,
            leads_lite: false,
        });
    }
    Ok(all)
}

fn entries(text: &str) -> impl Iterator<Item = (Kind, &str, &str)> {
    text.split(';').filter_map(|entry| {
        let mut fields = entry.split(' ');
        Some((Kind::parse(fields.next()?)?, fields.next()?, fields.next()?))
    })
}

fn starts(text: &str) -> HashMap<(Kind, i32), i64> {
    entries(text)
        .filter_map(|(kind, queue, start)| Some(((kind, queue.parse().ok()?), start.parse().ok()?)))
        .collect()
}

fn offsets(text: &str) -> HashMap<(Kind, i32), Vec<i64>> {
    entries(text)
        .filter_map(|(kind, queue, list)| {
            let list = list
                .split(',')
                .filter_map(|offset| offset.parse().ok())
                .collect();
            Some(((kind, queue.parse().ok()?), list))
        })
        .collect()
}

/// How often the messages of ordered queues were consumed in vain.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    queues: HashMap<(Kind, i32), i32>,
    messages: HashMap<(Kind, i32, i64), i32>,
}

impl Counts {
    fn of(&self, kind: Kind, queue: i32, offset: i64) -> i32 {
        self.messages
            .get(&(kind, queue, offset))
            .or_else(|| self.queues.get(&(kind, queue)))
            .copied()
            .unwrap_or(0)
    }
}

fn counts(text: &str) -> Counts {
    let mut counts = Counts::default();
    for (kind, place, count) in entries(text) {
        let Ok(count) = count.parse() else { continue };
        // `qo3%1200` is one message, `3` a queue.
        match place
            .strip_prefix("qo")
            .and_then(|place| place.split_once('%'))
        {
            Some((queue, offset)) => {
                if let (Ok(queue), Ok(offset)) = (queue.parse(), offset.parse()) {
                    counts.messages.insert((kind, queue, offset), count);
                }
            }
            None => {
                if let Ok(queue) = place.parse() {
                    counts.queues.insert((kind, queue), count);
                }
            }
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_a_pop_are_read() {
        let starts = starts("0 3 1200;1 0 15");
        assert_eq!(starts[&(Kind::Normal, 3)], 1200);
        assert_eq!(starts[&(Kind::RetryV1, 0)], 15);
        let offsets = offsets("0 3 1200,1201,1203;1 0 15");
        assert_eq!(offsets[&(Kind::Normal, 3)], [1200, 1201, 1203]);
        let counts = counts("0 qo3%1200 2;0 3 1");
        assert_eq!(counts.of(Kind::Normal, 3, 1200), 2);
        assert_eq!(counts.of(Kind::Normal, 3, 1201), 1);
        assert_eq!(counts.of(Kind::Normal, 4, 0), 0);
    }

    #[test]
    fn nonsense_is_passed_over() {
        assert!(starts("").is_empty() && offsets("x;0 1").is_empty());
        assert_eq!(counts("0 qox%1 1;9 1 1"), Counts::default());
    }
}
