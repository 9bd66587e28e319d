// SPDX-License-Identifier: Apache-2.0
//! `bench retry`: messages that a consumer gives back, up to the moment in which the last one stands
//! in the retry topic of its group.

use std::time::Instant;

use aerobee_message::RecordView;
use aerobee_remoting::{
    Command, RequestCode, ResponseCode,
    header::{
        pull::{PullMessage, SUBSCRIPTION},
        send::SendMessageBack,
    },
};

use crate::{
    Error, Figures,
    args::Target,
    control::Control,
    pull::PullLoad,
    run::Tally,
    steps::{self, Asks, Script, StepArgs},
    template::now_millis,
};

/// Options of `bench retry`.
#[derive(Debug, Clone, clap::Args)]
pub struct RetryArgs {
    #[command(flatten)]
    steps: StepArgs,
    /// Delay level of the retries. Level 1 is one second.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=18))]
    level: i32,
}

impl RetryArgs {
    /// Sends messages, pulls them, gives all back, waits for the retries, and gives the figures:
    /// latencies are those of the giving back.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn run(&self) -> Result<Figures, Error> {
        let steps = &self.steps;
        let run = now_millis();
        let target = steps
            .server
            .prepare(&format!("bench-retry-{run}"), steps.queues)?;
        let preload = PullLoad {
            target: &target,
            encoding: steps.server.encoding.into(),
            batch: 32,
            connections: 1,
            window: 1,
        };
        preload.preload(steps.count, steps.size)?;
        let group = format!("bench-retrier-{run}");
        let open = |address: &str| {
            let mut control = Control::connect(address)?;
            control.heartbeat(&group, &target.topic)?;
            Ok(control)
        };
        let address = target.address.to_string();
        // The group has to be there, with its retry topic, before anything is pulled.
        let mut control = open(&address)?;
        let mut positions = positions(&mut control, &target, &group)?;
        positions.truncate(usize::try_from(steps.count).unwrap_or(usize::MAX));
        let script = Backs {
            wanted: positions.len() as u64,
            positions: positions.into_iter(),
            topic: &target.topic,
            group: &group,
            level: self.level,
            address,
        };
        let description = format!(
            "messages given back to {} at level {}, until all are retried, {} connections × {} in flight",
            target.address, self.level, steps.connections, steps.window
        );
        steps::measure(description, steps, &target, script, open)
    }
}

/// Positions in the log of all messages of the topic.
fn positions(control: &mut Control, target: &Target, group: &str) -> Result<Vec<i64>, Error> {
    let mut positions = Vec::new();
    for queue in 0..target.queues {
        let (mut next, max) = control.offsets(&target.topic, queue)?;
        while next < max {
            let pull = PullMessage {
                consumer_group: group,
                topic: &target.topic,
                queue_id: queue as i32,
                queue_offset: next,
                max_msg_nums: 1024,
                sys_flag: SUBSCRIPTION,
                commit_offset: 0,
                suspend_timeout_millis: 0,
                subscription: Some("*"),
                sub_version: now_millis(),
                expression_type: Some("TAG"),
                max_msg_bytes: Some(i32::MAX),
                request_source: None,
                proxy_froward_client_id: None,
            };
            let answer = control.ask(RequestCode::PULL_MESSAGE, &pull, &[])?;
            let mut rest = &answer.body[..];
            let before = next;
            while let Ok(record) = RecordView::parse(rest) {
                rest = rest.get(record.total_len()..).unwrap_or_default();
                positions.push(record.physical_offset());
                next = record.queue_offset() + 1;
            }
            if answer.code != ResponseCode::SUCCESS || next == before {
                return Err(Error::Refused {
                    request: "a pull of what was sent",
                    code: answer.code.0,
                    remark: answer.remark,
                });
            }
        }
    }
    Ok(positions)
}

struct Backs<'t> {
    positions: std::vec::IntoIter<i64>,
    topic: &'t str,
    group: &'t str,
    level: i32,
    address: String,
    wanted: u64,
}

impl Script for Backs<'_> {
    type Flight = ();
    const FOLLOWERS: u32 = 0;

    fn begin(&mut self, asks: &mut Asks<'_, ()>) -> bool {
        let Some(offset) = self.positions.next() else {
            return false;
        };
        let back = SendMessageBack {
            offset,
            group: self.group,
            delay_level: self.level,
            origin_msg_id: None,
            origin_topic: Some(self.topic),
            unit_mode: false,
            max_reconsume_times: Some(16),
        };
        asks.ask(RequestCode::CONSUMER_SEND_MSG_BACK, &back, ());
        true
    }

    fn answered(
        &mut self,
        (): (),
        answer: &Command<'_>,
        started: Instant,
        asks: &mut Asks<'_, ()>,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        if answer.code == 0 {
            tally.answered(started, asks.now, 0);
        } else {
            tally.errors.code(answer.code, answer.remark);
        }
        Ok(())
    }

    fn finish(&mut self, tally: &mut Tally) -> Result<(), Error> {
        if !tally.errors.is_empty() {
            return Ok(());
        }
        let retry = format!("%RETRY%{}", self.group);
        let mut control = Control::connect(&self.address)?;
        control.await_stored(&retry, 1, self.wanted)?;
        tally.arrived(Instant::now(), self.wanted);
        Ok(())
    }
}
