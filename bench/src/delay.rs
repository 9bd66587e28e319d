// SPDX-License-Identifier: Apache-2.0
//! `bench delay`: messages that wait, by level or until a time, up to the moment in which the last
//! one stands in its topic. All that the server does for them counts.

use std::time::Instant;

use aerobee_remoting::Command;
use clap::ValueEnum;

use crate::{
    Error, Figures,
    control::Control,
    run::Tally,
    steps::{self, Asks, Script, StepArgs},
    template::{SendTemplate, Shape, now_millis},
};

/// How messages wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wait {
    /// By a delay level.
    Level,
    /// By `TIMER_DELAY_SEC`.
    Time,
}

/// Options of `bench delay`.
#[derive(Debug, Clone, clap::Args)]
pub struct DelayArgs {
    #[command(flatten)]
    steps: StepArgs,
    /// How messages wait.
    #[arg(long, value_enum, default_value_t = Wait::Level)]
    by: Wait,
    /// The level, or the seconds. Level 1 is one second.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=3600))]
    delay: u32,
}

impl DelayArgs {
    /// Sends, waits for the deliveries, and gives the figures: latencies are those of the sends.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn run(&self) -> Result<Figures, Error> {
        let steps = &self.steps;
        let topic = format!("bench-delay-{}", now_millis());
        let target = steps.server.prepare(&topic, steps.queues)?;
        let shape = Shape {
            topic: &topic,
            broker_name: &target.broker_name,
            size: steps.size,
            encoding: steps.server.encoding.into(),
        };
        let more = match self.by {
            Wait::Level => format!("DELAY\u{1}{}\u{2}", self.delay),
            Wait::Time => format!("TIMER_DELAY_SEC\u{1}{}\u{2}", self.delay),
        };
        let templates = (0..steps.queues)
            .map(|queue| SendTemplate::with(&shape, queue as i32, 0, &more))
            .collect::<Result<Vec<_>, _>>()?;
        let script = Sends {
            templates,
            topic: &topic,
            queues: steps.queues,
            address: target.address.to_string(),
            wanted: steps.count,
            sent: 0,
        };
        let description = format!(
            "send {} B to {} that wait by {} {}, until all are delivered, {} connections × {} in flight",
            steps.size,
            target.address,
            match self.by {
                Wait::Level => "level",
                Wait::Time => "seconds:",
            },
            self.delay,
            steps.connections,
            steps.window
        );
        steps::measure(description, steps, &target, script, Control::connect)
    }
}

struct Sends<'t> {
    templates: Vec<SendTemplate>,
    topic: &'t str,
    queues: u32,
    address: String,
    wanted: u64,
    sent: u64,
}

impl Script for Sends<'_> {
    type Flight = ();
    const FOLLOWERS: u32 = 0;

    fn begin(&mut self, asks: &mut Asks<'_, ()>) -> bool {
        if self.sent >= self.wanted {
            return false;
        }
        let template = &self.templates[self.sent as usize % self.templates.len()];
        asks.send(template, self.sent, ());
        self.sent += 1;
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
        let mut control = Control::connect(&self.address)?;
        control.await_stored(self.topic, self.queues, self.wanted)?;
        tally.arrived(Instant::now(), self.wanted);
        Ok(())
    }
}
