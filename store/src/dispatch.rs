// SPDX-License-Identifier: Apache-2.0
//! From a record in the log to its place in a consume queue. Appends write queue entries themselves; this is for
//! records that are read back, of which the queue may or may not know (Apache: `DefaultMessageStore.java`,
//! `CommitLog.checkMessageAndReturnSize`).

use aerobee_message::{RecordView, keys, sysflag, tags, topic};
use smallvec::SmallVec;

use crate::{
    consume_queue::{Entry, Queue},
    error::AppendError,
    light,
    queue_flags::Flag,
};

/// Delay of a level where none is configured, as in Java.
const UNKNOWN_LEVEL_MILLIS: i64 = 1000;

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dispatched {
    Added,
    /// The queue has it, or records of its kind have no place in queues.
    Known,
    /// The queue lacks entries before this one; nothing was added.
    Gap,
}

/// The properties that say where a record belongs, found in one walk over them. Of several with one name the last
/// counts, as in a Java map filled in order.
#[derive(Default)]
struct Placing<'a> {
    tags: Option<&'a str>,
    delay: Option<&'a str>,
    inner_messages: Option<&'a str>,
    light_names: Option<&'a str>,
    light_offsets: Option<&'a str>,
}

impl<'a> Placing<'a> {
    fn of(record: &RecordView<'a>) -> Placing<'a> {
        let mut placing = Placing::default();
        for (name, value) in record.properties().iter() {
            let property = match name {
                keys::TAGS => &mut placing.tags,
                keys::DELAY => &mut placing.delay,
                keys::INNER_NUM => &mut placing.inner_messages,
                keys::INNER_MULTI_DISPATCH => &mut placing.light_names,
                keys::INNER_MULTI_QUEUE_OFFSET => &mut placing.light_offsets,
                _ => continue,
            };
            *property = Some(value);
        }
        placing
    }

    fn tags_code(&self, record: &RecordView<'_>, levels: &[i64]) -> i64 {
        if record.topic() == topic::SCHEDULE
            && let Some(level) = self.delay.and_then(|level| level.parse::<usize>().ok())
            && level > 0
        {
            let delay = levels.get(level.min(levels.len()).wrapping_sub(1));
            return record
                .store_timestamp()
                .saturating_add(delay.copied().unwrap_or(UNKNOWN_LEVEL_MILLIS));
        }
        self.tags.map_or(0, tags::code_of)
    }

    fn inner_messages(&self, record: &RecordView<'_>) -> i64 {
        if record.sys_flag() & sysflag::INNER_BATCH == 0 {
            return 1;
        }
        let count = self.inner_messages;
        let count = count.and_then(|count| count.parse::<i16>().ok());
        count.map_or(1, |count| i64::from(count.max(1)))
    }
}

/// The tags code of a stored record; `levels` are the delays of the levels, in milliseconds.
pub(crate) fn tags_code(record: &RecordView<'_>, levels: &[i64]) -> i64 {
    Placing::of(record).tags_code(record, levels)
}

/// How many messages a record holds: more than one only if it is an inner batch (Apache:
/// `CommitLog.setBatchSizeIfNeeded`).
pub(crate) fn inner_messages(record: &RecordView<'_>) -> i64 {
    Placing::of(record).inner_messages(record)
}

/// Whether a record has a place in a queue.
pub(crate) fn is_queued(record: &RecordView<'_>) -> bool {
    sysflag::is_queued(record.sys_flag()) && record.queue_id() >= 0 && record.queue_offset() >= 0
}

/// A place of a record in a queue: its own, or that in a light queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueuePlace<'a> {
    pub(crate) topic: &'a str,
    pub(crate) queue_id: i32,
    pub(crate) offset: i64,
    pub(crate) entry: Entry,
    /// How many messages the record holds, for a queue of batches.
    pub(crate) messages: i64,
}

/// All places of a record, `levels` being the delays of the levels: none for records of the kind that has none; light
/// queues follow the queue of its own (Apache: `queue/MultiDispatchUtils.java`).
pub(crate) fn places<'a>(record: &RecordView<'a>, levels: &[i64]) -> SmallVec<[QueuePlace<'a>; 1]> {
    let mut places = SmallVec::new();
    if !is_queued(record) {
        return places;
    }
    let placing = Placing::of(record);
    #[expect(clippy::cast_possible_truncation, reason = "read from four bytes")]
    let size = record.total_len() as i32;
    let entry = Entry {
        physical: record.physical_offset(),
        size,
        tags_code: placing.tags_code(record, levels),
    };
    places.push(QueuePlace {
        topic: record.topic(),
        queue_id: record.queue_id(),
        offset: record.queue_offset(),
        entry,
        messages: placing.inner_messages(record),
    });
    if let Some(offsets) = placing.light_offsets
        && let Some(names) = placing.light_names
        && light::is_allowed_in(record.topic())
    {
        let pairs = light::names(names).zip(offsets.split(','));
        places.extend(pairs.filter_map(|(topic, offset)| {
            let offset = offset.parse().ok().filter(|offset| *offset >= 0)?;
            light::is_light(topic).then_some(QueuePlace {
                topic,
                queue_id: 0,
                offset,
                entry,
                messages: 1,
            })
        }));
    }
    places
}

/// Adds an entry to its queue unless it is there. `fills_gaps`: where entries are missing, put blank ones.
pub(crate) fn dispatch(
    queue: &Queue,
    place: &QueuePlace<'_>,
    fills_gaps: bool,
) -> Result<Dispatched, AppendError> {
    let entry = place.entry;
    let (next, max_physical) = {
        let tail = queue.tail();
        (tail.next, tail.max_physical)
    };
    // As in Java: what ends before the end of the last entry was dispatched before.
    if entry.end() <= max_physical {
        return Ok(Dispatched::Known);
    }
    let offset = place.offset;
    if offset > next {
        let is_empty = next == 0 && !queue.flags.has(Flag::HasDir);
        if is_empty {
            queue.start_at(offset)?;
        } else if fills_gaps {
            tracing::warn!(topic = %queue.topic(), queue = queue.id(), from = next, to = offset, "queue entries are lost");
            queue.fill_until(offset)?;
        } else {
            return Ok(Dispatched::Gap);
        }
    } else if offset < next {
        // The topic was deleted and made again: later records count from 0 anew.
        queue.cut(offset)?;
    }
    for _ in 0..if queue.is_batch() { place.messages } else { 1 } {
        queue.put_recovered(entry)?;
    }
    Ok(Dispatched::Added)
}
