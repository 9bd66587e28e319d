// SPDX-License-Identifier: Apache-2.0
//! `bench delay`: messages that wait, by level or until a time, up to the moment in which the last
//! one stands in its topic. All that the server does for them counts.

use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::{
    Error, Figures,
    control::Control,
    run::Tally,
    steps::{self, Asks, Script, Sends, StepArgs},
    template::now_millis,
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
    /// Reads what was delivered, and tells how late each message came: behind the delay, from when
    /// it was made. Reading is in the server's CPU time then. Levels other than 1 are not known.
    #[arg(long)]
    lateness: bool,
}

impl DelayArgs {
    /// As the command line has it by default.
    pub(crate) fn new(steps: StepArgs, by: Wait) -> Self {
        Self {
            steps,
            by,
            delay: 1,
            lateness: false,
        }
    }

    /// Sends, waits for the deliveries, and gives the figures: latencies are those of the sends.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn run(&self) -> Result<Figures, Error> {
        let steps = &self.steps;
        let topic = format!("bench-delay-{}", now_millis());
        let more = match self.by {
            Wait::Level => format!("DELAY\u{1}{}\u{2}", self.delay),
            Wait::Time => format!("TIMER_DELAY_SEC\u{1}{}\u{2}", self.delay),
        };
        let script = Delayed {
            sends: steps.sends(&topic, 0, &more)?,
            due_after: self.lateness.then_some(i64::from(self.delay) * 1_000),
        };
        let target = script.sends.target.clone();
        let what = format!(
            "send {} B to {} that wait by {} {}, until all are delivered",
            steps.size,
            target.address,
            match self.by {
                Wait::Level => "level",
                Wait::Time => "seconds:",
            },
            self.delay,
        );
        steps::measure(&what, steps, &target, script, Control::connect)
    }
}

struct Delayed {
    sends: Sends,
    /// Milliseconds, when it is wanted how late messages come.
    due_after: Option<i64>,
}

impl Script for Delayed {
    type Flight = ();
    const FOLLOWERS: u32 = 0;

    fn begin(&mut self, asks: &mut Asks<'_, ()>) -> bool {
        self.sends.send(asks, ())
    }

    fn finish(&mut self, tally: &mut Tally) -> Result<(), Error> {
        if !tally.errors.is_empty() {
            return Ok(());
        }
        self.sends.await_all()?;
        tally.arrived(Instant::now(), self.sends.wanted);
        let Some(due_after) = self.due_after else {
            return Ok(());
        };
        let target = &self.sends.target;
        let mut control = Control::connect(&target.address.to_string())?;
        control.read_all(target, "bench-delay-reader", |record| {
            let due = record.born_timestamp() + due_after;
            let late = u64::try_from(record.store_timestamp() - due).unwrap_or(0);
            tally.lateness.record(Duration::from_millis(late));
        })
    }
}
