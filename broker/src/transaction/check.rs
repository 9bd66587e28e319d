// SPDX-License-Identifier: Apache-2.0
//! Asks producers about transactions that were left open (CHECK_TRANSACTION_STATE, 39). Apache:
//! `TransactionalMessageServiceImpl.check`, `AbstractTransactionalMessageCheckListener`.
//!
//! Before it is asked about, a half message is written again with the number of checks in it, so
//! that the queue behind it can be forgotten and the number survives. Where there is no producer to
//! ask, the check counts in memory only: what nobody can decide costs next to nothing. After too many checks it is
//! put into a topic of its own, where an operator finds it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aerobee_message::{
    RecordView, id,
    properties::keys,
    record::{Place, Record, TagsCode},
    topic as names,
};
use aerobee_remoting::{Connection, RequestCode, header::transaction::CheckTransactionState};
use aerobee_store::Appended;
use tokio::time::{MissedTickBehavior, interval};

use super::{
    Transactions,
    message::{destination, given_up, rewritten},
    table::Half,
};
use crate::requeue::{Message, PutError};

/// Transactions checked before the next look at the clock and the end of the process.
const CHECKED_AT_ONCE: usize = 256;
/// A half message that is not yet to be checked is written again when so many came after it: the
/// next start reads all from the first open one on.
const LAG_MAX: i64 = 100_000;
/// Most half messages written again for that in one round.
const FORWARDED_AT_ONCE: usize = 10_000;
/// How often the counts of open transactions are written.
const COUNTS_PERIOD: Duration = Duration::from_secs(10);
const MILLIS_PER_HOUR: i64 = 3_600_000;

/// Half messages noted as done in one op message: with 20 digits each they stay below the 4096 bytes
/// of Apache's `transactionOpMsgMaxSize`.
const NOTED_AT_ONCE: usize = 128;

/// What a round leaves to be done for many transactions together.
#[derive(Default)]
struct Round {
    /// Half messages that were written again and are not noted as done.
    rewritten: Vec<i64>,
    /// Groups without a producer to ask, and how many transactions of theirs stay open.
    alone: BTreeMap<String, u64>,
}

impl Round {
    fn add_alone(&mut self, group: &str) {
        match self.alone.get_mut(group) {
            Some(transactions) => *transactions += 1,
            None => {
                self.alone.insert(group.to_owned(), 1);
            }
        }
    }
}

/// What became of a half message that was due.
enum Checked {
    /// It was written again.
    Moved,
    /// It is open as before, as there is nobody to ask.
    Waits,
    /// It is open no more.
    Over,
}

impl Transactions {
    /// Checks every `transactionCheckInterval`. Ends with the task that runs it.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut counts = interval(COUNTS_PERIOD);
        counts.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut checked = tokio::time::Instant::now();
        loop {
            // Read anew each time: operators may change it.
            let period = self.switches.config().broker.transaction_check_interval;
            let next = checked + Duration::from_millis(period.unsigned_abs());
            tokio::select! {
                () = tokio::time::sleep_until(next) => {
                    let transactions = Arc::clone(&self);
                    let round = tokio::task::spawn_blocking(move || transactions.check_round());
                    if round.await.is_err() {
                        tracing::error!("a round of transaction checks has panicked");
                    }
                    checked = tokio::time::Instant::now();
                }
                _ = counts.tick() => self.counts.flush(),
            }
        }
    }

    /// Checks all that are due. Blocks.
    pub(crate) fn check_round(&self) {
        let now = self.store.clock().millis();
        let mut round = Round::default();
        if self.store.writable().is_ok() {
            loop {
                // What is written again is due in the next round, not in this one.
                let due = self.table.take_due(now, CHECKED_AT_ONCE);
                if due.is_empty() {
                    break;
                }
                for offset in due {
                    self.check_one(&mut round, offset, now);
                }
            }
            for _ in 0..FORWARDED_AT_ONCE {
                match self.table.take_straggler(LAG_MAX) {
                    Some(offset) => {
                        self.settle(offset, now, |half| self.forward(&mut round, offset, half));
                    }
                    None => break,
                }
            }
        }
        self.note_rewritten(&mut round);
        for (group, transactions) in &round.alone {
            tracing::info!(
                group,
                transactions,
                "no producer of the group is connected: its transactions stay open"
            );
        }
        self.keep_progress();
    }

    fn check_one(&self, round: &mut Round, offset: i64, now: i64) {
        self.settle(offset, now, |half| self.check(round, offset, half, now));
    }

    /// Notes the earlier half messages as done. Should this fail, the next start finds out that one
    /// replaces the other.
    fn note_rewritten(&self, round: &mut Round) {
        if round.rewritten.is_empty() {
            return;
        }
        if let Err(error) = self.note_done_blocking(&round.rewritten) {
            tracing::warn!(%error, half_messages = round.rewritten.len(), "half messages that were written again are not noted as done");
        }
        round.rewritten.clear();
    }

    /// Does something with the half message of a transaction that was taken from the table.
    fn settle(
        &self,
        offset: i64,
        now: i64,
        act: impl FnOnce(&RecordView<'_>) -> Result<Checked, PutError>,
    ) {
        let Some(open) = self.table.half(offset) else {
            return;
        };
        let run = self.store.record_at(open.physical);
        let half = run.as_ref().and_then(|run| {
            let half = RecordView::parse(run.as_slice()).ok()?;
            (half.topic() == names::TRANS_HALF && half.queue_offset() == offset).then_some(half)
        });
        let Some(half) = half else {
            return self.unreadable(offset, open, now);
        };
        match act(&half) {
            Ok(Checked::Moved | Checked::Waits) => {}
            Ok(Checked::Over) => {
                if let Some(topic) = half.properties().get(keys::REAL_TOPIC) {
                    self.counts.add(topic, -1, now);
                }
                self.table.finished(offset);
            }
            Err(error) => {
                tracing::warn!(%error, offset, "a half message could not be checked; it is tried again");
                self.table.postponed(offset, now + 1);
            }
        }
    }

    fn unreadable(&self, offset: i64, open: Half, now: i64) {
        if open.physical < self.store.min_physical() {
            tracing::error!(
                offset,
                "an open half message is gone with the old files of the log"
            );
            return self.table.finished(offset);
        }
        // Under synchronous flush it may not be durable yet.
        tracing::warn!(
            offset,
            position = open.physical,
            "an open half message cannot be read; it is tried again"
        );
        self.table.postponed(offset, now + 1);
    }

    fn check(
        &self,
        round: &mut Round,
        offset: i64,
        half: &RecordView<'_>,
        now: i64,
    ) -> Result<Checked, PutError> {
        let config = self.switches.config();
        let times = half.properties().get(keys::TRANSACTION_CHECK_TIMES);
        let times = times.map_or(0, |times| times.parse::<i32>().unwrap_or(-1));
        let (first_stored, unasked) = self
            .table
            .half(offset)
            .map_or((now, 0), |open| (open.first_stored, open.unasked));
        let times = times.saturating_add(unasked);
        let reserved = i64::from(config.store.file_reserved_time) * MILLIS_PER_HOUR;
        let is_over = times >= config.broker.transaction_check_max || now - first_stored > reserved;
        if is_over {
            tracing::warn!(
                offset,
                checks = times,
                "a half message is given up and put into {}",
                names::TRANS_CHECK_MAX_TIME
            );
            self.requeue.put_blocking(&given_up(half))?;
            self.note_done_blocking(&[offset])?;
            return Ok(Checked::Over);
        }
        let group = half.properties().get(keys::PGROUP).unwrap_or_default();
        let producers = &self.clients.producers;
        let Some(producer) = producers.pick(group, |known| !known.is_closed()) else {
            round.add_alone(group);
            self.table.nobody_asked(offset, now + 1);
            return Ok(Checked::Waits);
        };
        let message = rewritten(half, Some(times.saturating_add(1)));
        let appended = self.rewrite(round, offset, &message, (now + 1, 0))?;
        self.ask(&producer, &message, half, appended);
        Ok(Checked::Moved)
    }

    /// Writes a half message again that is not to be checked yet.
    fn forward(
        &self,
        round: &mut Round,
        offset: i64,
        half: &RecordView<'_>,
    ) -> Result<Checked, PutError> {
        let (due, unasked) = self
            .table
            .half(offset)
            .map_or((0, 0), |open| (open.due, open.unasked));
        self.rewrite(round, offset, &rewritten(half, None), (due, unasked))?;
        Ok(Checked::Moved)
    }

    fn rewrite(
        &self,
        round: &mut Round,
        offset: i64,
        message: &Message,
        (due, unasked): (i64, i32),
    ) -> Result<Appended, PutError> {
        let appended = self.requeue.put_blocking(message)?;
        let first_stored = self.table.half(offset).map(|open| open.first_stored);
        let half = Half {
            physical: appended.physical,
            first_stored: first_stored.unwrap_or(appended.store_timestamp),
            due,
            unasked,
        };
        self.table.moved(offset, appended.queue_offset, half);
        round.rewritten.push(offset);
        if round.rewritten.len() >= NOTED_AT_ONCE {
            self.note_rewritten(round);
        }
        Ok(appended)
    }

    fn ask(
        &self,
        producer: &Connection,
        message: &Message,
        half: &RecordView<'_>,
        appended: Appended,
    ) {
        let properties = half.properties();
        let Some(body) = self.body(message, half, appended) else {
            return;
        };
        let mut id = id::Buffer::new();
        let unique_key = properties.get(keys::UNIQ_KEY);
        let header = CheckTransactionState {
            topic: Some(names::TRANS_HALF),
            tran_state_table_offset: appended.queue_offset,
            commit_log_offset: appended.physical,
            msg_id: unique_key,
            transaction_id: unique_key,
            offset_msg_id: Some(id.format(self.identity.address, appended.physical)),
            broker_name: Some(&self.identity.broker_name),
        };
        if let Err(error) = producer.oneway(RequestCode::CHECK_TRANSACTION_STATE, &header, &body) {
            tracing::info!(%error, "a producer could not be asked about a transaction");
        }
    }

    /// The message as its consumers would get it, at the place of the half message.
    fn body(
        &self,
        message: &Message,
        half: &RecordView<'_>,
        appended: Appended,
    ) -> Option<Vec<u8>> {
        let (topic, queue_id) = destination(&message.properties)?;
        let properties = message.properties.to_text();
        let record = Record {
            topic,
            queue_id,
            flag: message.flag,
            sys_flag: message.sys_flag,
            born_timestamp: message.born_timestamp,
            born_host: message.born_host,
            store_host: half.store_host(),
            reconsume_times: message.reconsume_times,
            prepared_transaction_offset: message.prepared_transaction_offset,
            body: &message.body,
            properties: &[&properties],
            tags_code: TagsCode::Hash(0),
        };
        let mut bytes = vec![0; record.encoded_len()];
        let place = Place {
            queue_offset: appended.queue_offset,
            physical_offset: appended.physical,
            store_timestamp: appended.store_timestamp,
        };
        record.encode(&mut bytes, place, record.body_crc());
        Some(bytes)
    }
}
