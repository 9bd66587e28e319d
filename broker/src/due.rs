// SPDX-License-Identifier: Apache-2.0
//! Stored messages whose time has come, on their way into the queues that they were sent to. What
//! falls due together is copied into the log under one lock, and each queue's consumers are served
//! once.

use std::{io::Write as _, sync::Arc};

use aerobee_message::{
    RecordView,
    properties::{Properties, VALUE_END, keys},
    record::{Record, TagsCode},
    sysflag, tags, topic as names,
};
use aerobee_store::{AppendError, Staged};

use crate::{
    requeue::{PropertyList, PutError, Requeue},
    topics::QueueSlot,
};

/// Messages put together at most: bounds how long the log is locked.
const MESSAGES_MAX: usize = 256;
/// Bytes from which on no more messages are added.
const BYTES_MAX: usize = 256 << 10;

/// Messages that are put into their queues together.
pub(crate) struct DueBatch {
    requeue: Arc<Requeue>,
    staged: Staged,
    items: Vec<Item>,
    destinations: Vec<Destination>,
    /// Text of the properties that are added to a message.
    text: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Item {
    destination: usize,
    /// What the caller calls it.
    token: i64,
}

/// A queue, and what went there.
struct Destination {
    slot: Arc<QueueSlot>,
    messages: u64,
    end: i64,
}

/// Why not all messages of a batch were stored.
pub(crate) struct Unstored {
    /// The first that is not; none behind it is, all before it are.
    pub(crate) token: i64,
    /// Where the log ends after the last that is; 0 when none is.
    pub(crate) end: i64,
    pub(crate) error: PutError,
}

impl DueBatch {
    pub(crate) fn new(requeue: &Arc<Requeue>) -> Self {
        Self {
            requeue: Arc::clone(requeue),
            staged: Staged::default(),
            items: Vec::new(),
            destinations: Vec::new(),
            text: Vec::new(),
        }
    }

    /// Whether it is to be committed before there may be more.
    pub(crate) fn is_full(&self) -> bool {
        self.items.len() >= MESSAGES_MAX || self.staged.bytes() >= BYTES_MAX
    }

    /// Adds a message that waits in this record, with some properties set. What can never be stored
    /// is dropped with an error in the log of the process. For threads that may block: topic and
    /// queue are made when they are missing.
    ///
    /// # Errors
    /// Why it cannot be stored now.
    pub(crate) fn add(
        &mut self,
        waiting: &RecordView<'_>,
        more: &[(&str, i64)],
        token: i64,
    ) -> Result<(), PutError> {
        let position = waiting.physical_offset();
        let properties = waiting.properties();
        let (mut topic, mut queue_id, mut tags_code) = (None, None, 0);
        for (name, value) in properties.iter() {
            match name {
                keys::REAL_TOPIC => topic = Some(value),
                keys::REAL_QID => queue_id = value.trim().parse::<i32>().ok(),
                keys::TAGS => tags_code = tags::code_of(value),
                _ => {}
            }
        }
        let (Some(topic), Some(queue_id)) = (topic, queue_id) else {
            tracing::error!(
                position,
                "a message that is due does not say where it goes and is dropped"
            );
            return Ok(());
        };
        if topic == names::TRANS_HALF || topic == names::WHEEL_TIMER {
            tracing::error!(position, %topic, "a message that is due for a topic of the system is dropped");
            return Ok(());
        }
        let staged = self.stage(waiting, (topic, queue_id), more, tags_code);
        match staged {
            Ok(destination) => {
                self.items.push(Item { destination, token });
                Ok(())
            }
            Err(
                error @ (PutError::NoQueue { .. }
                | PutError::Append(AppendError::TooLarge { .. } | AppendError::Name { .. })),
            ) => {
                tracing::error!(position, %topic, queue = queue_id, %error, "a message that is due cannot be stored and is dropped");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn stage(
        &mut self,
        waiting: &RecordView<'_>,
        (topic, queue_id): (&str, i32),
        more: &[(&str, i64)],
        tags_code: i64,
    ) -> Result<usize, PutError> {
        let destination = self.destination(topic, queue_id)?;
        let slot = &self.destinations[destination].slot;
        let queue = slot.queue().ok_or(AppendError::QueueGone)?;
        let properties = waiting.properties();
        let rebuilt;
        self.text.clear();
        let pieces: [&[u8]; 2] = if more.iter().any(|(name, _)| properties.get(name).is_some()) {
            let mut list = PropertyList::of(properties);
            for (name, value) in more {
                list.set(name, value);
            }
            rebuilt = list.to_text();
            [&rebuilt, &[]]
        } else {
            add_numbers(&mut self.text, properties, more);
            [properties.0, &self.text]
        };
        let record = Record {
            topic: slot.topic(),
            queue_id: slot.id(),
            flag: waiting.flag(),
            sys_flag: waiting.sys_flag() & !(sysflag::BORN_HOST_V6 | sysflag::STORE_HOST_V6),
            born_timestamp: waiting.born_timestamp(),
            born_host: waiting.born_host(),
            store_host: self.requeue.store_host(),
            reconsume_times: waiting.reconsume_times(),
            prepared_transaction_offset: 0,
            body: waiting.body(),
            properties: &pieces,
            tags_code: TagsCode::Hash(tags_code),
        };
        self.requeue
            .store()
            .stage(&mut self.staged, queue, &record)?;
        Ok(destination)
    }

    /// The number of a queue in this batch.
    fn destination(&mut self, topic: &str, queue_id: i32) -> Result<usize, PutError> {
        let is_it =
            |known: &Destination| known.slot.id() == queue_id && **known.slot.topic() == *topic;
        // The last ones are the likeliest.
        if let Some(index) = self.destinations.iter().rposition(is_it) {
            return Ok(index);
        }
        let slot = match self.requeue.queue_blocking(topic, queue_id) {
            // The topic was deleted and made again with fewer queues.
            Err(PutError::NoQueue { .. }) if queue_id != 0 => self.requeue.queue_blocking(topic, 0),
            found => found,
        }?;
        self.destinations.push(Destination {
            slot,
            messages: 0,
            end: 0,
        });
        Ok(self.destinations.len() - 1)
    }

    /// Stores what was added, in its order, and serves the consumers that wait for it: under
    /// synchronous flush when it is durable. `stored` hears how many messages went into a topic. Where
    /// the log ends after the last one; 0 when there is none.
    ///
    /// # Errors
    /// Which could not be stored.
    pub(crate) fn commit(&mut self, mut stored: impl FnMut(&str, u64)) -> Result<i64, Unstored> {
        let Self {
            requeue,
            staged,
            items,
            destinations,
            ..
        } = self;
        let (mut done, mut last) = (0, 0);
        let appended = requeue
            .store()
            .append_staged_in_order(staged, |number, appended| {
                let to = &mut destinations[items[number].destination];
                to.slot.count(1, false, &appended);
                to.messages += 1;
                to.end = appended.end;
                (done, last) = (number + 1, appended.end);
            });
        let token = items.get(done).map(|item| item.token);
        items.clear();
        staged.clear();
        // The next ones look their queues up again: topics come and go.
        for to in destinations.drain(..).filter(|to| to.messages > 0) {
            stored(to.slot.topic(), to.messages);
            requeue.arrived(&to.slot, to.end);
        }
        match (appended, token) {
            (Err(error), Some(token)) => Err(Unstored {
                token,
                end: last,
                error: error.into(),
            }),
            _ => Ok(last),
        }
    }
}

/// Writes properties that follow a text.
fn add_numbers(out: &mut Vec<u8>, text: Properties<'_>, more: &[(&str, i64)]) {
    if !text.is_closed() && !more.is_empty() {
        out.push(VALUE_END);
    }
    for (name, value) in more {
        // Writing to memory does not fail.
        let _ = write!(out, "{name}\u{1}{value}\u{2}");
    }
}
