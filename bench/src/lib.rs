// SPDX-License-Identifier: Apache-2.0
//! Load against a RocketMQ server, and what it costs there: `aerobee bench …`.
//!
//! The generator has to be much cheaper than what it measures: one thread, non-blocking sockets
//! behind one [`poller`], request frames made beforehand and patched ([`template`]), answers found
//! by a scan ([`answer`]) and matched by their opaque ([`inflight`]). The loads are [`send`],
//! [`pull`] and [`deliver`], and those of [`grpc`]; [`echo`] is the server that does nothing and so
//! bounds what any server can reach; [`compare`] runs all of them against several servers in turns.
//! [`pop`], [`transact`], [`delay`] and [`retry`] are loads whose requests follow from answers ([`steps`]). [`queues`],
//! [`lite`], [`restart`], [`drain`], [`scrape`] and [`timers`] start our server themselves.

mod answer;
mod args;
mod compare;
mod connection;
mod control;
mod delay;
mod deliver;
mod drain;
mod echo;
mod error;
mod grpc;
mod inflight;
mod latency;
mod lite;
mod own;
mod page_cache;
mod poller;
mod pop;
mod process;
mod pull;
mod queues;
mod report;
mod restart;
mod retry;
mod run;
mod schedule;
mod scrape;
mod send;
mod steps;
mod template;
mod timers;
mod transact;

pub use args::{Args, Command};
pub use compare::CompareArgs;
pub use delay::DelayArgs;
pub use deliver::DeliverArgs;
pub use drain::{Drain, DrainArgs};
pub use echo::{EchoArgs, EchoServer};
pub use error::Error;
pub use grpc::{GrpcReceiveArgs, GrpcSendArgs, Telemetry, TelemetryArgs};
pub use latency::Latencies;
pub use lite::{Lite, LiteArgs};
pub use pop::PopArgs;
pub use pull::PullArgs;
pub use queues::{Queues, QueuesArgs};
pub use report::{Errors, Figures, ServerFigures};
pub use restart::{Restart, RestartArgs};
pub use retry::RetryArgs;
pub use scrape::{Scrape, ScrapeArgs};
pub use send::SendArgs;
pub use timers::{Timers, TimersArgs};
pub use transact::TransactArgs;

use std::{io::Write as _, process::ExitCode};

/// Runs the sub-command and prints what it found to standard output. The exit code is not zero when
/// a request failed.
///
/// # Errors
/// See [`Error`]: a server that cannot be reached, refuses the topic, closes a connection.
pub fn run(args: Args) -> Result<ExitCode, Error> {
    let (text, clean) = match args.command {
        Command::Send(send) => figures(&send.run()?, args.json),
        Command::Pull(pull) => figures(&pull.run()?, args.json),
        Command::Deliver(deliver) => figures(&deliver.run()?, args.json),
        Command::Pop(pop) => figures(&pop.run()?, args.json),
        Command::Transact(transact) => figures(&transact.run()?, args.json),
        Command::Delay(delay) => figures(&delay.run()?, args.json),
        Command::Retry(retry) => figures(&retry.run()?, args.json),
        Command::GrpcSend(send) => figures(&send.run()?, args.json),
        Command::GrpcReceive(receive) => figures(&receive.run()?, args.json),
        Command::Telemetry(telemetry) => {
            let found = telemetry.run()?;
            (text(&found, &found.to_json(), args.json), true)
        }
        Command::Echo(echo) => return echo.run().map(|()| ExitCode::SUCCESS),
        Command::Compare(compare) => compare.run(args.json)?,
        Command::Queues(queues) => {
            let found = queues.run()?;
            (text(&found, &found.to_json(), args.json), true)
        }
        Command::Scrape(scrape) => {
            let found = scrape.run()?;
            (text(&found, &found.to_json(), args.json), true)
        }
        Command::Drain(drain) => {
            let found = drain.run()?;
            (text(&found, &found.to_json(), args.json), true)
        }
        Command::Timers(timers) => {
            let found = timers.run()?;
            (text(&found, &found.to_json(), args.json), true)
        }
        Command::Lite(lite) => {
            let found = lite.run()?;
            (text(&found, &found.to_json(), args.json), true)
        }
        Command::Restart(restart) => {
            let found = restart.run()?;
            (text(&found, &found.to_json(), args.json), true)
        }
    };
    writeln!(std::io::stdout().lock(), "{text}").map_err(Error::Output)?;
    Ok(if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The text to print, and whether all went well.
fn figures(figures: &Figures, json: bool) -> (String, bool) {
    let text = if json {
        figures.to_json().to_string()
    } else {
        figures.to_string()
    };
    (text, figures.errors.is_empty() && figures.messages > 0)
}

fn text(found: &impl std::fmt::Display, as_json: &serde_json::Value, json: bool) -> String {
    if json {
        as_json.to_string()
    } else {
        found.to_string()
    }
}
