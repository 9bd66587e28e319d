// SPDX-License-Identifier: Apache-2.0
//! `bench pop`: messages that were sent before, popped by 32, each acknowledged by a request of its
//! own, as clients do.

use std::time::Instant;

use aerobee_message::RecordView;
use aerobee_remoting::{
    Command, Header as _, RequestCode,
    header::pop::{AckMessage, PopMessage, PopReply},
};

use crate::{
    Error, Figures,
    control::Control,
    run::Tally,
    steps::{self, Asks, Script, StepArgs},
    template::now_millis,
};

/// How long popped messages stay invisible, and how long a pop may wait, ms.
const INVISIBLE_MILLIS: i64 = 300_000;
const POLL_MILLIS: i64 = 1_000;
/// Answers to a pop that found nothing.
const NOTHING: [i32; 3] = [19, 209, 210];

/// Options of `bench pop`.
#[derive(Debug, Clone, clap::Args)]
pub struct PopArgs {
    #[command(flatten)]
    steps: StepArgs,
    /// Most messages of one answer.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(i32).range(1..=32))]
    batch: i32,
}

impl PopArgs {
    /// As the command line has it by default.
    pub(crate) fn new(steps: StepArgs) -> Self {
        Self { steps, batch: 32 }
    }

    /// Sends the messages, pops and acknowledges them, and gives the figures.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn run(&self) -> Result<Figures, Error> {
        let steps = &self.steps;
        let run = now_millis();
        let target = steps.preloaded(&format!("bench-pop-{run}"))?;
        let group = format!("bench-popper-{run}");
        let script = Pops {
            topic: &target.topic,
            broker: &target.broker_name,
            group: &group,
            batch: self.batch,
            wanted: steps.count,
            acknowledged: 0,
        };
        let what = format!(
            "pop by {} from {} and acknowledge each",
            self.batch, target.address
        );
        steps::measure(&what, steps, &target, script, |address| {
            let mut control = Control::connect(address)?;
            control.heartbeat(&group, &target.topic)?;
            Ok(control)
        })
    }
}

struct Pops<'t> {
    topic: &'t str,
    broker: &'t str,
    group: &'t str,
    batch: i32,
    wanted: u64,
    acknowledged: u64,
}

#[derive(Debug)]
enum Asked {
    Pop,
    Ack,
}

impl Script for Pops<'_> {
    type Flight = Asked;
    const FOLLOWERS: u32 = 32;

    fn begin(&mut self, asks: &mut Asks<'_, Asked>) -> bool {
        if self.acknowledged >= self.wanted {
            return false;
        }
        let pop = PopMessage {
            consumer_group: self.group,
            topic: self.topic,
            queue_id: -1,
            max_msg_nums: self.batch,
            invisible_time: INVISIBLE_MILLIS,
            poll_time: POLL_MILLIS,
            born_time: now_millis(),
            init_mode: 0,
            exp_type: None,
            exp: None,
            order: None,
            attempt_id: None,
        };
        asks.ask(RequestCode::POP_MESSAGE, &pop, Asked::Pop);
        true
    }

    fn answered(
        &mut self,
        flight: Asked,
        answer: &Command<'_>,
        started: Instant,
        asks: &mut Asks<'_, Asked>,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        match flight {
            Asked::Pop if NOTHING.contains(&answer.code) => {}
            Asked::Pop if answer.code == 0 => {
                tally.round_trip(started, asks.now);
                self.acknowledge(answer, asks, tally)?;
            }
            Asked::Ack if answer.code == 0 => {
                self.acknowledged += 1;
                tally.answered(started, asks.now, 1);
            }
            Asked::Pop | Asked::Ack => tally.errors.code(answer.code, answer.remark),
        }
        Ok(())
    }
}

impl Pops<'_> {
    fn acknowledge(
        &self,
        answer: &Command<'_>,
        asks: &mut Asks<'_, Asked>,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        let reply = PopReply::read(&answer.fields).map_err(|source| Error::Field {
            request: "the pop",
            source,
        })?;
        let starts = reply.start_offset_info.unwrap_or_default();
        let mut rest = answer.body;
        while let Ok(record) = RecordView::parse(rest) {
            rest = rest.get(record.total_len()..).unwrap_or_default();
            let (queue, offset) = (record.queue_id(), record.queue_offset());
            let listed = format!("0 {queue} ");
            let start = starts
                .split(';')
                .find_map(|entry| entry.strip_prefix(&listed));
            let Some(start) = start else {
                // From a retry topic: it came too late.
                tally.errors.out_of_order();
                continue;
            };
            let handle = format!(
                "{start} {} {} {} 0 {} {queue} {offset}",
                reply.pop_time, reply.invisible_time, reply.revive_qid, self.broker
            );
            let ack = AckMessage {
                consumer_group: self.group,
                topic: self.topic,
                queue_id: queue,
                extra_info: &handle,
                offset,
                lite_topic: None,
            };
            asks.ask(RequestCode::ACK_MESSAGE, &ack, Asked::Ack);
        }
        Ok(())
    }
}
