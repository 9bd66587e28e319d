// SPDX-License-Identifier: Apache-2.0
//! Light queues: consume queues of names that start with `%LMQ%`, id 0. A message is stored once, in its own topic,
//! and gets an entry in each light queue that its property `INNER_MULTI_DISPATCH` names; its offsets there stand in
//! `INNER_MULTI_QUEUE_OFFSET` (Apache: `queue/MultiDispatchUtils.java`, `common/MixAll.java`).

use std::{fmt::Write as _, sync::Arc};

use aerobee_message::{
    keys, properties,
    record::{self, AT_QUEUE_ID, Record},
    sysflag, topic,
};
use smallvec::SmallVec;

use crate::{
    append::{Appended, Outcome},
    consume_queue::Queue,
    error::AppendError,
    layout,
    store::Store,
};

/// What names of light queues start with.
pub(crate) const LIGHT_PREFIX: &str = topic::LMQ_PREFIX;
/// Light queues that one message may be put in; Apache has no bound, but all are written under the lock of the log.
pub(crate) const LIGHT_QUEUES_MAX: usize = 256;

/// Whether a name is that of a light queue.
#[must_use]
pub(crate) fn is_light(name: &str) -> bool {
    name.starts_with(LIGHT_PREFIX)
}

/// The names in the property of a message.
pub(crate) fn names(property: &str) -> impl Iterator<Item = &str> {
    property.split(',').take(LIGHT_QUEUES_MAX)
}

/// Whether messages of a topic may be put in light queues.
#[must_use]
pub(crate) fn is_allowed_in(name: &str) -> bool {
    !name.starts_with(topic::RETRY_PREFIX)
        && !name.starts_with(topic::DLQ_PREFIX)
        && !name.starts_with(topic::SYSTEM_PREFIX)
        && name != topic::SCHEDULE
}

/// The queue id that records of a queue have: those of a light queue may have any.
pub(crate) fn record_queue_id(topic: &str, id: i32) -> Option<i32> {
    (!is_light(topic)).then_some(id)
}

/// Whether bytes start a record of this length at this position, of a queue id if that is given.
#[inline]
pub(crate) fn starts_record(bytes: &[u8], len: i32, queue_id: Option<i32>, physical: i64) -> bool {
    let own = || {
        let id = bytes.get(AT_QUEUE_ID..)?.first_chunk()?;
        Some(i32::from_be_bytes(*id))
    };
    queue_id
        .or_else(own)
        .is_some_and(|id| record::starts_record(bytes, len, id, physical))
}

/// Characters of an offset and a comma, at most.
const OFFSET_CHARS: usize = 21;

/// The light queues of one message, in the order of their names; nothing for a name that is not that of one.
type Lights = SmallVec<[Option<Arc<Queue>>; 4]>;

impl Store {
    /// Appends one message and puts it in light queues as well. `names` is the value of `INNER_MULTI_DISPATCH` among
    /// the record's properties; `INNER_MULTI_QUEUE_OFFSET` is added to them. Light queues that do not exist are made.
    /// Where the topic allows no light queues, the message is appended as any other.
    ///
    /// # Errors
    /// Why it is not stored, in no queue.
    pub fn append_to_light(
        &self,
        queue: &Queue,
        record: &Record<'_>,
        names: &str,
    ) -> Result<Appended, AppendError> {
        if !is_allowed_in(record.topic) || !sysflag::is_queued(record.sys_flag) {
            return self.append(queue, record);
        }
        let lights = self.lights(names)?;
        let measured = self.measure(queue, record)?;
        let more = keys::INNER_MULTI_QUEUE_OFFSET.len() + 2 + lights.len() * OFFSET_CHARS;
        let bytes = record.properties_len() + more;
        if bytes > properties::MAX_BYTES {
            return Err(AppendError::TooLarge {
                what: "property text",
                bytes,
                limit: properties::MAX_BYTES,
            });
        }
        if measured.len + more > self.inner.largest_append {
            return Err(AppendError::TooLarge {
                what: "message",
                bytes: measured.len + more,
                limit: self.inner.largest_append,
            });
        }
        // One may be named more than once, or be the queue itself.
        let count = lights.len() as i64 + 1;
        loop {
            self.inner.log.marks.takes_messages()?;
            queue.ensure_room(1)?;
            for light in lights.iter().flatten() {
                light.ensure_room(count)?;
            }
            match self.try_append_to_light(queue, record, &lights, measured.body_crc)? {
                Outcome::Done(appended) => return Ok(appended),
                Outcome::NoRoom => {}
                Outcome::NoFile => self.inner.prepare_next_file()?,
            }
        }
    }

    fn lights(&self, property: &str) -> Result<Lights, AppendError> {
        let count = property.split(',').count();
        if count > LIGHT_QUEUES_MAX {
            return Err(AppendError::TooLarge {
                what: "list of light queues",
                bytes: count,
                limit: LIGHT_QUEUES_MAX,
            });
        }
        names(property)
            .map(|name| {
                if !is_light(name) || !layout::is_directory_name(name) {
                    return Ok(None);
                }
                self.create_queue(name, 0).map(Some)
            })
            .collect()
    }

    fn try_append_to_light(
        &self,
        queue: &Queue,
        record: &Record<'_>,
        lights: &Lights,
        body_crc: u32,
    ) -> Result<Outcome<Appended>, AppendError> {
        let log = &self.inner.log;
        let mut locked = log.lock();
        log.marks.appendable()?;
        let mut offsets = String::new();
        // Nobody else appends while the log is locked, so what is read of a tail here still holds below.
        for (at, light) in lights.iter().enumerate() {
            if at > 0 {
                offsets.push(',');
            }
            let Some(light) = light else { continue };
            let tail = light.tail();
            let before = lights[..at].iter().flatten().map(|other| &**other);
            let put_before = before
                .chain([queue])
                .filter(|other| std::ptr::eq(*other, &**light))
                .count();
            let offset = tail.next + put_before as i64;
            if tail.retired {
                return Err(AppendError::QueueGone);
            }
            if !light.has_room(offset + 1) {
                return Ok(Outcome::NoRoom);
            }
            // Writing into a string cannot fail.
            let _ = write!(offsets, "{offset}");
        }
        let mut pieces: SmallVec<[&[u8]; 12]> = SmallVec::from_slice(record.properties);
        let (name, offsets) = (
            keys::INNER_MULTI_QUEUE_OFFSET.as_bytes(),
            offsets.as_bytes(),
        );
        pieces.extend_from_slice(&[name, b"\x01", offsets, b"\x02"]);
        let record = Record {
            properties: &pieces,
            ..*record
        };
        let outcome = self.append_locked(&mut locked, queue, &record, body_crc, 1)?;
        let (appended, entry) = match outcome {
            Outcome::Done(done) => done,
            Outcome::NoRoom => return Ok(Outcome::NoRoom),
            Outcome::NoFile => return Ok(Outcome::NoFile),
        };
        let appender = &mut *locked.appender;
        for light in lights.iter().flatten() {
            let mut tail = light.tail();
            light.put(&mut tail, entry);
            appender.mark_dirty(light, &mut tail.dirty_round);
            light.publish(&tail);
        }
        let wakes = appender.wakes(appended.end);
        drop(locked);
        self.wake(wakes);
        Ok(Outcome::Done(appended))
    }
}
