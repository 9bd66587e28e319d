// SPDX-License-Identifier: Apache-2.0
//! What the store owes: every message it took, where it put it, and how sure it said that one is.

use std::collections::BTreeMap;

use aerobee_store::Appended;

/// A topic's number and a queue id.
pub type QueueId = (usize, i32);

#[derive(Debug, Clone)]
pub struct Message {
    pub queue: QueueId,
    /// Offset of its record: its own, or that of the first message of its batch.
    pub first: i64,
    /// Messages in its record.
    pub messages: usize,
    pub physical: i64,
    /// Position behind it.
    pub end: i64,
    pub number: u64,
    pub body_len: usize,
    /// The store said, or showed, that it is durable.
    pub durable: bool,
    /// The page cache has it: only a power cut takes it.
    pub cached: bool,
}

/// The body of a message, determined by its number.
pub fn body(number: u64, len: usize) -> Vec<u8> {
    let mut body = format!("{number:08}").into_bytes();
    let text = body.clone();
    while body.len() < len {
        body.extend_from_slice(&text);
    }
    body.truncate(len.max(8));
    body
}

#[derive(Debug, Default)]
pub struct Model {
    /// All messages in the order of the log.
    pub log: Vec<Message>,
    /// Indexes of messages by queue, in the order of their offsets.
    pub queues: BTreeMap<QueueId, Vec<usize>>,
    pub numbers: u64,
    /// Messages before this one are known to be durable.
    durable_until: usize,
    /// In a run whose log sync has failed: what was flushed until then.
    pub final_flushed: Option<i64>,
    pub acknowledged: u64,
}

impl Model {
    pub fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// The store has taken a record of so many messages; `ghost`: the process was already gone, so it may or may not be
    /// there.
    #[expect(clippy::too_many_arguments, reason = "a ledger has columns")]
    pub fn add(
        &mut self,
        queue: QueueId,
        number: u64,
        body_len: usize,
        messages: usize,
        appended: Appended,
        end: i64,
        ghost: bool,
    ) {
        let known = self.queues.entry(queue).or_default();
        assert_eq!(
            appended.queue_offset,
            known.len() as i64,
            "offsets of {queue:?} are not dense"
        );
        let last = self.log.last().map_or(0, |last| last.end);
        assert!(
            appended.physical >= last,
            "a record at {} overlaps the one before, which ends at {last}",
            appended.physical
        );
        for _ in 0..messages {
            known.push(self.log.len());
            self.log.push(Message {
                queue,
                first: appended.queue_offset,
                messages,
                physical: appended.physical,
                end,
                number,
                body_len,
                durable: false,
                cached: !ghost,
            });
        }
    }

    /// Everything before a position of the log is durable.
    pub fn durable_until(&mut self, position: i64) {
        while let Some(message) = self.log.get_mut(self.durable_until)
            && message.end <= position
        {
            message.durable = true;
            self.durable_until += 1;
        }
    }

    /// The page cache is gone.
    pub fn power_cut(&mut self) {
        for message in &mut self.log {
            message.cached = false;
        }
    }

    /// After a start: the log ends at `end`. Forgets what is gone, which must be nothing that was promised.
    pub fn recovered(&mut self, end: i64) {
        let kept = self.log.partition_point(|message| message.end <= end);
        for gone in &self.log[kept..] {
            assert!(
                !gone.durable && !gone.cached,
                "{gone:?} was promised and is gone: the log ends at {end}"
            );
        }
        self.log.truncate(kept);
        for known in self.queues.values_mut() {
            known.retain(|index| *index < kept);
        }
        for message in &mut self.log {
            message.cached = true;
        }
        self.durable_until = self.durable_until.min(kept);
    }

    pub fn of_queue(&self, queue: QueueId) -> impl Iterator<Item = &Message> {
        self.queues
            .get(&queue)
            .into_iter()
            .flatten()
            .map(|index| &self.log[*index])
    }
}
