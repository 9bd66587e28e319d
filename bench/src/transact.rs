// SPDX-License-Identifier: Apache-2.0
//! `bench transact`: messages sent in transactions: the half message, and its commit as soon as that
//! is stored.

use std::{
    thread,
    time::{Duration, Instant},
};

use aerobee_message::sysflag;
use aerobee_remoting::{
    Command, Header as _, RequestCode,
    header::{send::SendReply, transaction::EndTransaction},
};

use crate::{
    Error, Figures,
    control::Control,
    run::Tally,
    steps::{self, Asks, Script, Sends, StepArgs},
    template::{PRODUCER_GROUP, now_millis},
};

/// Commits.
const COMMIT: i32 = sysflag::TRANSACTION_COMMIT;
/// Apache's broker notes ended transactions after up to 3 s: that is part of their price.
const NOTED: Duration = Duration::from_secs(4);

/// Options of `bench transact`.
#[derive(Debug, Clone, clap::Args)]
pub struct TransactArgs {
    #[command(flatten)]
    steps: StepArgs,
}

impl TransactArgs {
    /// As the command line has it by default.
    pub(crate) fn new(steps: StepArgs) -> Self {
        Self { steps }
    }

    /// Sends and commits, makes sure that all messages are in the topic, and gives the figures.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn run(&self) -> Result<Figures, Error> {
        let steps = &self.steps;
        let topic = format!("bench-transact-{}", now_millis());
        let more = format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}{PRODUCER_GROUP}\u{2}");
        let prepared = sysflag::TRANSACTION_PREPARED;
        let script = Transactions(steps.sends(&topic, prepared, &more)?);
        let target = script.0.target.clone();
        let what = format!(
            "transactions with {} B to {}, committed",
            steps.size, target.address
        );
        steps::measure(&what, steps, &target, script, |address| {
            let mut control = Control::connect(address)?;
            control.heartbeat("bench-transact-consumer", &topic)?;
            Ok(control)
        })
    }
}

struct Transactions(Sends);

#[derive(Debug)]
enum Asked {
    Half,
    /// The half message was sent then.
    End(Instant),
}

impl Script for Transactions {
    type Flight = Asked;
    const FOLLOWERS: u32 = 1;

    fn begin(&mut self, asks: &mut Asks<'_, Asked>) -> bool {
        self.0.send(asks, Asked::Half)
    }

    fn answered(
        &mut self,
        flight: Asked,
        answer: &Command<'_>,
        started: Instant,
        asks: &mut Asks<'_, Asked>,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        if answer.code != 0 {
            tally.errors.code(answer.code, answer.remark);
            return Ok(());
        }
        match flight {
            Asked::Half => {
                tally.round_trip(started, asks.now);
                let reply = SendReply::read(&answer.fields).map_err(|source| Error::Field {
                    request: "a half message",
                    source,
                })?;
                let end = EndTransaction {
                    topic: Some(&self.0.target.topic),
                    producer_group: PRODUCER_GROUP,
                    tran_state_table_offset: reply.queue_offset,
                    commit_log_offset: position_of(reply.msg_id),
                    commit_or_rollback: COMMIT,
                    from_transaction_check: false,
                    msg_id: reply.transaction_id,
                    transaction_id: reply.transaction_id,
                    broker_name: Some(&self.0.target.broker_name),
                };
                asks.ask(RequestCode::END_TRANSACTION, &end, Asked::End(started));
            }
            Asked::End(begun) => tally.answered(begun, asks.now, 1),
        }
        Ok(())
    }

    fn finish(&mut self, tally: &mut Tally) -> Result<(), Error> {
        // What was refused is not awaited; it is told as a failure.
        if tally.errors.is_empty() {
            self.0.await_all()?;
        }
        thread::sleep(NOTED);
        Ok(())
    }
}

/// The position in the log that an offset message id ends in; −1 when it is none.
fn position_of(id: &str) -> i64 {
    let digits = id.len().checked_sub(16).and_then(|at| id.get(at..));
    digits
        .and_then(|digits| i64::from_str_radix(digits, 16).ok())
        .unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_the_end_of_an_id() {
        assert_eq!(position_of("7F00000100002A9F00000000000001F4"), 500);
        assert_eq!(position_of("7F"), -1);
        assert_eq!(position_of("7F00000100002A9F00000000000001FX"), -1);
    }
}
