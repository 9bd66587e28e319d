// SPDX-License-Identifier: Apache-2.0
//! END_TRANSACTION (37). Apache: `EndTransactionProcessor`.
//!
//! The half message was mostly stored a moment ago: it is read from memory and the transaction ended
//! on the thread that read the request. Whatever might block goes to a thread that may.

use std::{sync::Arc, time::Duration};

use aerobee_message::{RecordView, properties::keys, sysflag, topic as names};
use aerobee_remoting::{Reply, ResponseCode, call::Call, header::transaction::EndTransaction};
use aerobee_store::{Access, FlushMode, ReadLimits, Run};

use super::{
    QUEUE, Transactions,
    message::{committed, immunity_millis},
    table::Begun,
};
use crate::{processor::send::code_of, requeue::PutError};

/// Longest wait for somebody else who ends, or checks, the same transaction.
const PATIENCE: Duration = Duration::from_secs(2);
/// One half message, whatever its size.
const ONE: ReadLimits = ReadLimits {
    max_messages: 1,
    max_bytes: usize::MAX,
};

/// What a producer decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Commit,
    RollBack,
}

/// A request, owned.
#[derive(Debug, Clone)]
struct End {
    verdict: Verdict,
    group: String,
    half_offset: i64,
    physical: i64,
    was_asked: bool,
}

/// Why a transaction does not end.
struct Refusal {
    code: ResponseCode,
    remark: String,
}

fn refusal(code: ResponseCode, remark: impl Into<String>) -> Refusal {
    Refusal {
        code,
        remark: remark.into(),
    }
}

impl From<PutError> for Refusal {
    fn from(error: PutError) -> Self {
        let code = match &error {
            PutError::Append(error) => code_of(error),
            _ => ResponseCode::SYSTEM_ERROR,
        };
        refusal(code, error.to_string())
    }
}

/// How ending went so far.
enum Ending {
    /// It has ended; the log has to be durable up to here before the producer hears of it.
    Ended(Option<i64>),
    /// Something would have to be waited for.
    NotHere,
}

/// Whether waiting is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thread {
    Network,
    Patient,
}

impl Transactions {
    pub(crate) fn end(self: &Arc<Self>, call: Call<'_, EndTransaction<'_>>) {
        let Call { request, reply, .. } = call;
        let verdict = match request.commit_or_rollback {
            sysflag::TRANSACTION_COMMIT => Verdict::Commit,
            sysflag::TRANSACTION_ROLLBACK => Verdict::RollBack,
            // It stays open, and nobody is answered.
            _ => return reply.discard(),
        };
        let end = End {
            verdict,
            group: request.producer_group.to_owned(),
            half_offset: request.tran_state_table_offset,
            physical: request.commit_log_offset,
            was_asked: request.from_transaction_check,
        };
        let ended = match self.read_hot(&end) {
            Some(run) => self.end_record(&end, &run, Thread::Network),
            None => Ok(Ending::NotHere),
        };
        match ended {
            Ok(Ending::NotHere) => self.end_later(end, reply),
            ended => self.answer(ended, reply),
        }
    }

    /// The half message, if it can be read without waiting and is the one meant.
    fn read_hot(&self, end: &End) -> Option<Run> {
        let slot = self.slot()?;
        let read = self.store.read(
            slot.queue()?,
            end.half_offset,
            ONE,
            Access::HotOnly,
            |_: i64| true,
        );
        let run = read.runs.into_iter().next()?;
        (run.physical() == end.physical).then_some(run)
    }

    fn end_later(self: &Arc<Self>, end: End, reply: Reply<'_>) {
        let (transactions, reply) = (Arc::clone(self), reply.defer());
        let refused = self.store.read_later(Box::new(move |store| {
            let ended = match store.record_at(end.physical) {
                Some(run) => transactions.end_record(&end, &run, Thread::Patient),
                None => Err(not_found(end.physical)),
            };
            transactions.answer(ended, reply);
        }));
        if refused.is_err() {
            // The dropped job has answered SYSTEM_ERROR; the producer is asked later.
            tracing::debug!("too many cold reads are waiting");
        }
    }

    fn answer(&self, ended: Result<Ending, Refusal>, reply: Reply<'_>) {
        match ended {
            Ok(Ending::Ended(Some(end))) if self.store.flush_mode() == FlushMode::Sync => {
                let reply = reply.defer();
                // Whatever the flush comes to, the message is stored, as Apache has it.
                self.requeue.when_durable(end, move |_| reply.ok());
            }
            Ok(Ending::Ended(_)) => reply.ok(),
            Ok(Ending::NotHere) => reply.fail(
                ResponseCode::SYSTEM_ERROR,
                "the transaction is being ended or checked by another request",
            ),
            Err(Refusal { code, remark }) => reply.fail(code, remark),
        }
    }

    fn end_record(&self, end: &End, run: &Run, thread: Thread) -> Result<Ending, Refusal> {
        let Ok(half) = RecordView::parse(run.as_slice()) else {
            return Err(not_found(end.physical));
        };
        self.check_end(end, &half)?;
        let begun = match thread {
            Thread::Network => self.table.begin(end.half_offset),
            Thread::Patient => self.table.begin_patiently(end.half_offset, PATIENCE),
        };
        let latest = match begun {
            Begun::Mine(latest) => latest,
            Begun::Busy => return Ok(Ending::NotHere),
            // Ended before: once more would store the message twice.
            Begun::Done => return Ok(Ending::Ended(None)),
        };
        let ended = match end.verdict {
            Verdict::Commit => self.commit(&half, latest, thread),
            Verdict::RollBack => self.roll_back(latest, thread),
        };
        match &ended {
            Ok(Ending::Ended(_)) => {
                self.table.finished(latest);
                if let Some(topic) = half.properties().get(keys::REAL_TOPIC) {
                    let (now, events) = (self.store.clock().millis(), self.requeue.events());
                    self.counts.add(topic, -1, now);
                    match end.verdict {
                        Verdict::Commit => events.commit(topic, half.born_timestamp(), now),
                        Verdict::RollBack => events.rolled_back.topic(topic, 1),
                    }
                }
            }
            _ => self.table.abandoned(latest),
        }
        ended
    }

    /// The checks, in Apache's order.
    fn check_end(&self, end: &End, half: &RecordView<'_>) -> Result<(), Refusal> {
        if half.topic() != names::TRANS_HALF || half.queue_id() != QUEUE {
            // Apache does not look at the topic; any message of the log could be repeated that way.
            return Err(not_found(end.physical));
        }
        let properties = half.properties();
        let immunity = properties.get(keys::CHECK_IMMUNITY_TIME_IN_SECONDS);
        if !end.was_asked && immunity.is_some() {
            let usual = self.switches.config().broker.transaction_time_out;
            let immune = immunity_millis(immunity, usual).max(usual);
            // By the broker's clock: that of the producer may be wrong.
            let age = self.store.clock().millis() - half.store_timestamp();
            if age > immune {
                return Err(refusal(
                    ResponseCode::ILLEGAL_OPERATION,
                    format!(
                        "the transaction is {age} ms old, its CHECK_IMMUNITY_TIME_IN_SECONDS allows {immune} ms: the broker asks for its end"
                    ),
                ));
            }
        }
        let wrong = |what: &str| Err(refusal(ResponseCode::SYSTEM_ERROR, what));
        if properties.get(keys::PGROUP) != Some(&end.group) {
            return wrong("The producer group wrong");
        }
        if half.queue_offset() != end.half_offset {
            return wrong("The transaction state table offset wrong");
        }
        if half.physical_offset() != end.physical {
            return wrong("The commit log offset wrong");
        }
        Ok(())
    }

    fn commit(
        &self,
        half: &RecordView<'_>,
        latest: i64,
        thread: Thread,
    ) -> Result<Ending, Refusal> {
        let Some(mut message) = committed(half) else {
            return Err(refusal(
                ResponseCode::SYSTEM_ERROR,
                "the half message does not say which topic and queue it goes to",
            ));
        };
        if let Some(open) = self.table.half(latest) {
            // The half message that the next start would find open.
            message.prepared_transaction_offset = open.physical;
        }
        // A delay counts from the commit.
        if let Err(error) = self.delays.divert(&mut message) {
            return Err(refusal(error.code(), error.to_string()));
        }
        let stored = match thread {
            Thread::Network if !self.can_note_done() => return Ok(Ending::NotHere),
            Thread::Network => match self.requeue.try_put(&message) {
                Some(stored) => stored?,
                None => return Ok(Ending::NotHere),
            },
            Thread::Patient => self.requeue.put_blocking(&message)?,
        };
        // From here on it is committed, noted or not: without the note the next start finds out.
        let noted = match thread {
            Thread::Network => self.note_done(&[latest]),
            Thread::Patient => Some(self.note_done_blocking(&[latest])),
        };
        if let Some(Err(error)) = noted {
            tracing::error!(%error, "a committed half message could not be noted as done");
        }
        Ok(Ending::Ended(Some(stored.end)))
    }

    fn roll_back(&self, latest: i64, thread: Thread) -> Result<Ending, Refusal> {
        match thread {
            Thread::Network => match self.note_done(&[latest]) {
                Some(noted) => noted?,
                None => return Ok(Ending::NotHere),
            },
            Thread::Patient => self.note_done_blocking(&[latest])?,
        }
        Ok(Ending::Ended(None))
    }
}

fn not_found(physical: i64) -> Refusal {
    refusal(
        ResponseCode::SYSTEM_ERROR,
        format!(
            "Find prepared transaction message failed: there is no half message at position {physical} of the log"
        ),
    )
}
