// SPDX-License-Identifier: Apache-2.0
//! `bench retry`: messages that a consumer gives back, up to the moment in which the last one stands
//! in the retry topic of its group.

use std::time::Instant;

use aerobee_remoting::{RequestCode, header::send::SendMessageBack};

use crate::{
    Error, Figures,
    control::Control,
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
    /// As the command line has it by default.
    pub(crate) fn new(steps: StepArgs) -> Self {
        Self { steps, level: 1 }
    }

    /// Sends messages, pulls them, gives all back, waits for the retries, and gives the figures:
    /// latencies are those of the giving back.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn run(&self) -> Result<Figures, Error> {
        let steps = &self.steps;
        let run = now_millis();
        let target = steps.preloaded(&format!("bench-retry-{run}"))?;
        let group = format!("bench-retrier-{run}");
        let open = |address: &str| {
            let mut control = Control::connect(address)?;
            control.heartbeat(&group, &target.topic)?;
            Ok(control)
        };
        let address = target.address.to_string();
        // The group has to be there, with its retry topic, before anything is pulled.
        let mut control = open(&address)?;
        let mut positions = Vec::new();
        control.read_all(&target, &group, |record| {
            positions.push(record.physical_offset());
        })?;
        positions.truncate(usize::try_from(steps.count).unwrap_or(usize::MAX));
        let script = Backs {
            wanted: positions.len() as u64,
            positions: positions.into_iter(),
            topic: &target.topic,
            group: &group,
            level: self.level,
            address,
        };
        let what = format!(
            "messages given back to {} at level {}, until all are retried",
            target.address, self.level
        );
        steps::measure(&what, steps, &target, script, open)
    }
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
