// SPDX-License-Identifier: Apache-2.0
//! The revive topic as the journal of pops: a record for each batch that was popped (check point,
//! tag `ck`) and for each acknowledgement (`ack`, `bAck`), with the bodies that Apache gives them.
//! Apache: `PopCheckPoint`, `AckMsg`, `BatchAckMsg`.
//!
//! Apache sends its records through the timer, so that they reach this topic when they are due. Ours
//! are written here at once, and state the time of writing as that of their delivery: Apache's broker
//! then takes them as read and waits until they are due.

use std::{
    cell::RefCell,
    io::Write as _,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use aerobee_message::{
    RecordView,
    properties::{Properties, keys},
    record::{Record, TagsCode},
    tags,
};
use aerobee_remoting::fastjson;
use aerobee_store::{AppendError, Appended, Staged, Store};
use serde::Deserialize;

use crate::topics::{QueueSlot, Topic};

/// Tag of a check point.
const CHECK_POINT: &str = "ck";
/// Tag of an acknowledgement of one message.
const ACK: &str = "ack";
/// Tag of an acknowledgement of several messages.
const BATCH_ACK: &str = "bAck";
/// Most messages of a check point: Java keeps its acknowledgements in the bits of an `int`.
pub(crate) const MESSAGES_MAX: usize = 32;
/// Bytes of a record buffer that is kept for the next record.
const KEEP_BYTES: usize = 16 << 10;

/// The messages of a check point, borrowed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CheckPoint<'a> {
    pub(crate) topic: &'a str,
    pub(crate) group: &'a str,
    pub(crate) queue_id: i32,
    pub(crate) broker: &'a str,
    pub(crate) start: i64,
    pub(crate) pop_time: i64,
    pub(crate) invisible_time: i64,
    /// Distances of the messages from the start.
    pub(crate) distances: &'a [i32],
    /// Whether the messages come back without counting this attempt.
    pub(crate) suspend: bool,
}

/// Messages of a check point that are done with, borrowed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ack<'a> {
    pub(crate) topic: &'a str,
    pub(crate) group: &'a str,
    pub(crate) queue_id: i32,
    pub(crate) broker: &'a str,
    pub(crate) start: i64,
    pub(crate) pop_time: i64,
    pub(crate) offsets: &'a [i64],
    /// When the check point ends; written where the check point may come after this record.
    pub(crate) due: Option<i64>,
}

/// A record that was read.
#[derive(Debug)]
pub(crate) enum Entry {
    CheckPoint(CheckPointEntry),
    Ack(AckEntry),
}

/// A check point as stored. Members that Java derives from others are passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CheckPointEntry {
    #[serde(rename = "so")]
    pub(crate) start: i64,
    #[serde(rename = "pt")]
    pub(crate) pop_time: i64,
    #[serde(rename = "it")]
    pub(crate) invisible_time: i64,
    #[serde(rename = "n")]
    pub(crate) count: i32,
    #[serde(rename = "q")]
    pub(crate) queue_id: i32,
    #[serde(rename = "t")]
    pub(crate) topic: Option<String>,
    #[serde(rename = "c")]
    pub(crate) group: Option<String>,
    #[serde(rename = "d")]
    pub(crate) distances: Option<Vec<i32>>,
    #[serde(rename = "bn")]
    pub(crate) broker: Option<String>,
    #[serde(rename = "sp")]
    pub(crate) suspend: bool,
    #[serde(rename = "bm")]
    pub(crate) bits: i64,
}

impl CheckPointEntry {
    /// When what is open goes back.
    pub(crate) fn due(&self) -> i64 {
        self.pop_time.saturating_add(self.invisible_time)
    }

    /// Distances of the messages; old brokers wrote none and meant a row.
    pub(crate) fn distances(&self) -> Vec<i32> {
        let count = usize::try_from(self.count).unwrap_or(0).min(MESSAGES_MAX);
        match &self.distances {
            Some(distances) if !distances.is_empty() => {
                distances.iter().copied().take(count).collect()
            }
            _ => (0..).take(count).collect(),
        }
    }
}

/// An acknowledgement as stored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct AckEntry {
    #[serde(rename = "ao", alias = "ackOffset")]
    offset: i64,
    #[serde(rename = "aol", alias = "ackOffsetList")]
    offsets: Option<Vec<i64>>,
    #[serde(rename = "so", alias = "startOffset")]
    pub(crate) start: i64,
    #[serde(rename = "c", alias = "consumerGroup")]
    pub(crate) group: Option<String>,
    #[serde(rename = "t", alias = "topic")]
    pub(crate) topic: Option<String>,
    #[serde(rename = "q", alias = "queueId")]
    pub(crate) queue_id: i32,
    #[serde(rename = "pt", alias = "popTime")]
    pub(crate) pop_time: i64,
    /// Ours alone, see [`Ack::due`].
    pub(crate) due: Option<i64>,
}

impl AckEntry {
    pub(crate) fn offsets(&self) -> &[i64] {
        match &self.offsets {
            Some(offsets) => offsets,
            None => std::slice::from_ref(&self.offset),
        }
    }
}

impl Entry {
    /// Reads a record of the revive topic; nothing when it is neither.
    pub(crate) fn read(record: &RecordView<'_>) -> Option<Self> {
        let entry = match record.properties().get(keys::TAGS)? {
            CHECK_POINT => fastjson::from_slice(record.body()).map(Self::CheckPoint),
            ACK | BATCH_ACK => fastjson::from_slice(record.body()).map(Self::Ack),
            _ => return None,
        };
        entry
            .inspect_err(|error| {
                tracing::warn!(position = record.physical_offset(), %error, "a record of the revive topic cannot be read");
            })
            .ok()
    }
}

/// The queues of the revive topic.
#[derive(Debug)]
pub(crate) struct Journal {
    store: Arc<Store>,
    topic: Arc<Topic>,
    queues: Vec<Arc<QueueSlot>>,
    host: SocketAddr,
    ready: AtomicBool,
}

thread_local! {
    /// Where a body is put together.
    static BODY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Journal {
    pub(crate) fn new(store: Arc<Store>, topic: Arc<Topic>, host: SocketAddr) -> Self {
        let count = topic.most_queues();
        let queues: Vec<_> = (0..count).filter_map(|id| topic.queue(id)).collect();
        let ready = queues.iter().all(|slot| slot.queue().is_some());
        Self {
            store,
            topic,
            queues,
            host,
            ready: AtomicBool::new(ready),
        }
    }

    /// The revive topic.
    pub(crate) fn topic(&self) -> &str {
        self.topic.name()
    }

    /// Its queues.
    pub(crate) fn queues(&self) -> &[Arc<QueueSlot>] {
        &self.queues
    }

    /// Whether all queues exist, so that writing makes no files.
    #[inline]
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Makes the queues. Not for a network thread.
    pub(crate) fn make_ready(&self) -> Result<(), AppendError> {
        if !self.is_ready() {
            for slot in &self.queues {
                slot.create_queue(&self.store)?;
            }
            self.ready.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Writes a check point.
    pub(crate) fn check_point(
        &self,
        queue: usize,
        point: &CheckPoint<'_>,
    ) -> Result<Appended, AppendError> {
        BODY.with_borrow_mut(|body| {
            body.clear();
            write_check_point(body, point);
            let appended = self.append(queue, CHECK_POINT, body);
            body.shrink_to(KEEP_BYTES);
            appended
        })
    }

    /// Writes an acknowledgement.
    pub(crate) fn ack(&self, queue: usize, ack: &Ack<'_>) -> Result<Appended, AppendError> {
        BODY.with_borrow_mut(|body| {
            body.clear();
            write_ack(body, ack);
            let appended = self.append(queue, ack.tag(), body);
            body.shrink_to(KEEP_BYTES);
            appended
        })
    }

    /// Writes a check point and the acknowledgement of what it replaces, one behind the other under
    /// one lock; where they stand.
    pub(crate) fn replace(
        &self,
        queue: usize,
        point: &CheckPoint<'_>,
        ack: &Ack<'_>,
    ) -> Result<(Appended, Appended), AppendError> {
        let (mut body, mut staged) = (Vec::new(), Staged::default());
        write_check_point(&mut body, point);
        self.stage(&mut staged, queue, CHECK_POINT, &body)?;
        body.clear();
        write_ack(&mut body, ack);
        self.stage(&mut staged, queue, ack.tag(), &body)?;
        let mut results = [Err(AppendError::QueueGone), Err(AppendError::QueueGone)];
        self.store.append_staged(&mut staged, |number, result| {
            if let Some(slot) = results.get_mut(number) {
                *slot = result;
            }
        });
        let [point, ack] = results;
        Ok((point?, ack?))
    }

    fn append(&self, queue: usize, tag: &str, body: &[u8]) -> Result<Appended, AppendError> {
        let slot = self.queues.get(queue).ok_or(AppendError::QueueGone)?;
        self.with_record(queue, tag, body, |record| slot.append(&self.store, record))
    }

    fn stage(
        &self,
        staged: &mut Staged,
        queue: usize,
        tag: &str,
        body: &[u8],
    ) -> Result<(), AppendError> {
        let slot = self.queues.get(queue).ok_or(AppendError::QueueGone)?;
        let stored = slot.queue().ok_or(AppendError::QueueGone)?;
        self.with_record(queue, tag, body, |record| {
            self.store.stage(staged, stored, record)
        })
    }

    fn with_record<T>(
        &self,
        queue: usize,
        tag: &str,
        body: &[u8],
        then: impl FnOnce(&Record<'_>) -> T,
    ) -> T {
        let now = self.store.clock().millis();
        let mut digits = itoa::Buffer::new();
        let mut properties = Vec::with_capacity(48);
        Properties::push(&mut properties, keys::TAGS, tag);
        Properties::push(&mut properties, keys::TIMER_DELIVER_MS, digits.format(now));
        then(&Record {
            topic: self.topic.name(),
            queue_id: i32::try_from(queue).unwrap_or(i32::MAX),
            flag: 0,
            sys_flag: 0,
            born_timestamp: now,
            born_host: self.host,
            store_host: self.host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties: &[&properties],
            tags_code: TagsCode::Hash(tags::code_of(tag)),
        })
    }
}

impl Ack<'_> {
    fn tag(&self) -> &'static str {
        if self.offsets.len() == 1 {
            ACK
        } else {
            BATCH_ACK
        }
    }
}

fn write_check_point(out: &mut Vec<u8>, point: &CheckPoint<'_>) {
    out.extend_from_slice(b"{\"bm\":0,\"bn\":");
    text(out, point.broker);
    out.extend_from_slice(b",\"c\":");
    text(out, point.group);
    out.extend_from_slice(b",\"d\":[");
    list(out, point.distances);
    out.extend_from_slice(b"],\"it\":");
    number(out, point.invisible_time);
    out.extend_from_slice(b",\"n\":");
    number(out, point.distances.len() as i64);
    out.extend_from_slice(b",\"pt\":");
    number(out, point.pop_time);
    out.extend_from_slice(b",\"q\":");
    number(out, i64::from(point.queue_id));
    out.extend_from_slice(b",\"reviveTime\":");
    number(out, point.pop_time.saturating_add(point.invisible_time));
    out.extend_from_slice(b",\"ro\":0,\"so\":");
    number(out, point.start);
    // Writing into a vector cannot fail.
    let _ = write!(out, ",\"sp\":{},\"t\":", point.suspend);
    text(out, point.topic);
    out.push(b'}');
}

fn write_ack(out: &mut Vec<u8>, ack: &Ack<'_>) {
    out.extend_from_slice(b"{\"ao\":");
    match ack.offsets {
        [offset] => number(out, *offset),
        offsets => {
            out.extend_from_slice(b"-1,\"aol\":[");
            list(out, offsets);
            out.push(b']');
        }
    }
    out.extend_from_slice(b",\"bn\":");
    text(out, ack.broker);
    out.extend_from_slice(b",\"c\":");
    text(out, ack.group);
    if let Some(due) = ack.due {
        out.extend_from_slice(b",\"due\":");
        number(out, due);
    }
    out.extend_from_slice(b",\"pt\":");
    number(out, ack.pop_time);
    out.extend_from_slice(b",\"q\":");
    number(out, i64::from(ack.queue_id));
    out.extend_from_slice(b",\"so\":");
    number(out, ack.start);
    out.extend_from_slice(b",\"t\":");
    text(out, ack.topic);
    out.push(b'}');
}

fn number(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn list<T: itoa::Integer + Copy>(out: &mut Vec<u8>, values: &[T]) {
    let mut digits = itoa::Buffer::new();
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(digits.format(*value).as_bytes());
    }
}

/// A JSON text; names of topics and groups need no escapes, those of brokers may.
fn text(out: &mut Vec<u8>, value: &str) {
    let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if value.bytes().all(is_plain) {
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(&fastjson::to_vec(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_javas() {
        let mut body = Vec::new();
        write_check_point(
            &mut body,
            &CheckPoint {
                topic: "T",
                group: "G",
                queue_id: 2,
                broker: "b\"1",
                start: 7,
                pop_time: 1000,
                invisible_time: 60,
                distances: &[0, 2],
                suspend: false,
            },
        );
        assert_eq!(
            String::from_utf8(body.clone()).unwrap(),
            r#"{"bm":0,"bn":"b\"1","c":"G","d":[0,2],"it":60,"n":2,"pt":1000,"q":2,"reviveTime":1060,"ro":0,"so":7,"sp":false,"t":"T"}"#
        );
        let read: CheckPointEntry = fastjson::from_slice(&body).unwrap();
        assert_eq!(read.distances(), [0, 2]);
        assert_eq!(read.broker.as_deref(), Some("b\"1"));
        let mut ack = Ack {
            topic: "T",
            group: "G",
            queue_id: 2,
            broker: "b",
            start: 7,
            pop_time: 1000,
            offsets: &[9],
            due: None,
        };
        let mut body = Vec::new();
        write_ack(&mut body, &ack);
        assert_eq!(
            String::from_utf8(body.clone()).unwrap(),
            r#"{"ao":9,"bn":"b","c":"G","pt":1000,"q":2,"so":7,"t":"T"}"#
        );
        let read: AckEntry = fastjson::from_slice(&body).unwrap();
        assert_eq!(read.offsets(), [9]);
        ack.offsets = &[7, 9];
        ack.due = Some(5);
        body.clear();
        write_ack(&mut body, &ack);
        let read: AckEntry = fastjson::from_slice(&body).unwrap();
        assert_eq!((read.offsets(), read.due), (&[7, 9][..], Some(5)));
    }

    #[test]
    fn old_check_points_are_rows() {
        let body = br#"{"bm":0,"c":"G","n":3,"it":1,"pt":2,"q":0,"ro":0,"so":5,"t":"T"}"#;
        let read: CheckPointEntry = fastjson::from_slice(body).unwrap();
        assert_eq!(read.distances(), [0, 1, 2]);
        assert!(!read.suspend);
    }
}
