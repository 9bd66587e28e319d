// SPDX-License-Identifier: Apache-2.0
//! Builds the table of open transactions at the start, from the half and the op queue, whoever wrote
//! them: Apache's broker, or this one before a stop or a crash.
//!
//! Two things may be missing after a crash. A commit may be stored without the note that its half
//! message is done: those that were stored shortly before the end are looked for in the queues that
//! the open half messages go to. And a half message may have been written again without the note
//! that the earlier one is done: one replaces the other.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use aerobee_message::{RecordView, properties::keys, sysflag, topic as names};
use aerobee_store::{Access, Queue, ReadLimits, ReadStatus, Store};

use super::{
    GROUP, Parts, QUEUE, Transactions,
    counts::Counts,
    message::{immunity_millis, op_offsets},
    table::{Half, Table},
};
use crate::requeue::PutError;

/// Commits whose note may be missing were stored so shortly before the end at most. Apache collects
/// notes for 3 s.
const NOTES_WITHIN_MILLIS: i64 = 10_000;
/// Most messages looked at for such commits in one queue.
const COMMITS_LOOKED_AT: i64 = 1_000_000;

const LIMITS: ReadLimits = ReadLimits {
    max_messages: 512,
    max_bytes: 4 << 20,
};

/// What tells a half message that was written again from another one: only those of one attempt to
/// send share both.
type Attempt = (String, i64);

/// An open half message as the queue has it.
struct Found {
    half: Half,
    topic: String,
    queue_id: i32,
    attempt: Attempt,
    check_times: i32,
    first_offset: i64,
}

/// The half messages that are open.
#[derive(Default)]
struct Scan {
    open: BTreeMap<i64, Found>,
    /// Replaced by a later one, without a note of it.
    replaced: Vec<i64>,
    /// Found to be committed, without a note of it.
    committed: Vec<i64>,
}

impl Transactions {
    /// Reads both queues. Blocks.
    pub(crate) fn open(parts: &Parts<'_>, directory: &Path) -> Arc<Self> {
        let transactions = Arc::new(Self {
            store: Arc::clone(parts.store),
            topics: Arc::clone(parts.topics),
            offsets: Arc::clone(parts.offsets),
            clients: Arc::clone(parts.clients),
            requeue: Arc::clone(parts.requeue),
            delays: Arc::clone(parts.delays),
            identity: Arc::clone(parts.identity),
            switches: Arc::clone(parts.switches),
            table: Table::default(),
            counts: Counts::open(directory),
        });
        transactions.fill();
        transactions
    }

    fn fill(&self) {
        let half = self.store.queue(names::TRANS_HALF, QUEUE);
        let op = self.store.queue(names::TRANS_OP_HALF, QUEUE);
        let half_from = half
            .as_ref()
            .map_or(0, |queue| self.committed_offset(queue));
        let op_from = op.as_ref().map_or(0, |queue| self.committed_offset(queue));
        let half_end = half.as_ref().map_or(0, |queue| queue.max_offset());
        self.table.start(half_end, op_from);
        let Some(half) = half else { return };
        let done = op.map_or_else(HashSet::new, |op| self.read_ops(&op, op_from, half_from));
        let mut scan = self.read_halves(&half, half_from, &done);
        find_commits(&self.store, &mut scan);
        for (offset, found) in &scan.open {
            self.table.opened(*offset, found.half);
            self.counts.add(&found.topic, 1, found.half.first_stored);
        }
        if let Err(error) = self.note_found(&scan) {
            // They are found once more at the next start.
            tracing::warn!(%error, "half messages that are done could not be noted as such");
        }
        if !scan.open.is_empty() {
            tracing::info!(
                open = scan.open.len(),
                committed = scan.committed.len(),
                "transactions are open"
            );
        }
    }

    /// How far the queue is done with; where nothing is known, its beginning.
    fn committed_offset(&self, queue: &Queue) -> i64 {
        let known = self.offsets.query(GROUP, queue.topic(), QUEUE);
        let min = queue.min_offset().max(0);
        known.unwrap_or(min).clamp(min, queue.max_offset().max(min))
    }

    /// Half messages at or behind `half_from` that are done.
    fn read_ops(&self, queue: &Queue, from: i64, half_from: i64) -> HashSet<i64> {
        let mut done = HashSet::new();
        let mut next = from;
        walk(&self.store, queue, from, |record| {
            // A record that cannot be read says nothing, and is not waited for.
            for passed in next..record.queue_offset() {
                self.table.op_stored(passed, -1);
            }
            next = record.queue_offset() + 1;
            let mut highest = -1;
            for offset in op_offsets(record).filter(|offset| *offset >= half_from) {
                highest = highest.max(offset);
                done.insert(offset);
            }
            self.table.op_stored(record.queue_offset(), highest);
        });
        for passed in next..queue.max_offset() {
            self.table.op_stored(passed, -1);
        }
        done
    }

    fn read_halves(&self, queue: &Queue, from: i64, done: &HashSet<i64>) -> Scan {
        let usual = self.switches.config().broker.transaction_time_out;
        let mut scan = Scan::default();
        // Open half messages by attempt, and by the offset of their first writing.
        let mut attempts: HashMap<Attempt, Vec<i64>> = HashMap::new();
        walk(&self.store, queue, from, |record| {
            if done.contains(&record.queue_offset()) {
                return;
            }
            let Some(found) = Found::of(record, usual) else {
                tracing::warn!(
                    offset = record.queue_offset(),
                    "a half message does not say where it goes; it is passed over"
                );
                scan.replaced.push(record.queue_offset());
                return;
            };
            let same = attempts.entry(found.attempt.clone()).or_default();
            let earlier = same.iter().position(|earlier| {
                let earlier = scan.open.get(earlier);
                earlier.is_some_and(|earlier| found.replaces(earlier))
            });
            if let Some(at) = earlier {
                let earlier = same.swap_remove(at);
                scan.open.remove(&earlier);
                scan.replaced.push(earlier);
            }
            same.push(record.queue_offset());
            scan.open.insert(record.queue_offset(), found);
        });
        scan
    }

    fn note_found(&self, scan: &Scan) -> Result<(), PutError> {
        let offsets: Vec<i64> = [&scan.replaced[..], &scan.committed[..]].concat();
        for some in offsets.chunks(256) {
            self.note_done_blocking(some)?;
        }
        Ok(())
    }
}

impl Found {
    fn of(record: &RecordView<'_>, usual: i64) -> Option<Self> {
        let properties = record.properties();
        let number = |name: &str| properties.get(name)?.trim().parse::<i64>().ok();
        let check_times = number(keys::TRANSACTION_CHECK_TIMES).unwrap_or(0);
        let first_offset = number(keys::TRAN_PREPARED_QUEUE_OFFSET);
        let (born, stored) = (record.born_timestamp(), record.store_timestamp());
        // Of one that was written again, the producer's clock tells the age, unless it is wrong.
        let was_rewritten = check_times > 0 || first_offset.is_some();
        let first_stored = if was_rewritten {
            born.min(stored)
        } else {
            stored
        };
        let immunity = properties.get(keys::CHECK_IMMUNITY_TIME_IN_SECONDS);
        Some(Self {
            half: Half {
                physical: record.physical_offset(),
                first_stored,
                due: first_stored.saturating_add(immunity_millis(immunity, usual)),
                unasked: 0,
            },
            topic: properties.get(keys::REAL_TOPIC)?.to_owned(),
            queue_id: i32::try_from(number(keys::REAL_QID)?).ok()?,
            attempt: (
                properties
                    .get(keys::UNIQ_KEY)
                    .unwrap_or_default()
                    .to_owned(),
                born,
            ),
            check_times: i32::try_from(check_times).unwrap_or(i32::MAX),
            first_offset: first_offset.unwrap_or(record.queue_offset()),
        })
    }

    /// Whether this one was written in place of an earlier one of the same attempt.
    fn replaces(&self, earlier: &Self) -> bool {
        self.first_offset == earlier.first_offset
            // Apache leaves the first offset out when it checks.
            || self.check_times > 0 && self.check_times == earlier.check_times + 1
    }
}

/// Calls `each` for every record from `from` on that can be read.
fn walk(store: &Store, queue: &Queue, from: i64, mut each: impl FnMut(&RecordView<'_>)) {
    let mut at = from;
    let end = queue.max_offset();
    while at < end {
        let read = store.read(queue, at, LIMITS, Access::Any, |_: i64| true);
        for run in &read.runs {
            let mut rest = run.as_slice();
            while let Ok(record) = RecordView::parse(rest) {
                each(&record);
                rest = rest.get(record.total_len()..).unwrap_or_default();
            }
        }
        let moved = read.next > at;
        at = if moved { read.next } else { at + 1 };
        if matches!(
            read.status,
            ReadStatus::NoMatchedLogicQueue | ReadStatus::NoMessageInQueue
        ) {
            return;
        }
    }
}

/// Takes out half messages whose commit is in its queue already.
fn find_commits(store: &Store, scan: &mut Scan) {
    let mut queues: HashMap<(String, i32), HashMap<i64, i64>> = HashMap::new();
    for (offset, found) in &scan.open {
        queues
            .entry((found.topic.clone(), found.queue_id))
            .or_default()
            .insert(found.half.physical, *offset);
    }
    let mut latest = i64::MIN;
    let mut tails = Vec::new();
    for ((topic, queue_id), halves) in queues {
        let Some(queue) = store.queue(&topic, queue_id) else {
            continue;
        };
        let last = store.store_time_of(&queue, queue.max_offset() - 1);
        latest = latest.max(last.unwrap_or(i64::MIN));
        tails.push((queue, halves));
    }
    if let Some(half) = store.queue(names::TRANS_HALF, QUEUE) {
        let last = store.store_time_of(&half, half.max_offset() - 1);
        latest = latest.max(last.unwrap_or(i64::MIN));
    }
    let since = latest.saturating_sub(NOTES_WITHIN_MILLIS);
    for (queue, halves) in tails {
        let first = (queue.max_offset() - COMMITS_LOOKED_AT).max(queue.min_offset());
        let by_time = store.offset_by_time(&queue, since, aerobee_store::Boundary::Lower);
        walk(store, &queue, by_time.max(first), |record| {
            let is_commit =
                record.sys_flag() & sysflag::TRANSACTION_MASK == sysflag::TRANSACTION_COMMIT;
            let half = halves.get(&record.prepared_transaction_offset());
            if let (true, Some(offset)) = (is_commit, half)
                && scan.open.remove(offset).is_some()
            {
                scan.committed.push(*offset);
            }
        });
    }
}
