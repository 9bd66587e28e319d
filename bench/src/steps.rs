// SPDX-License-Identifier: Apache-2.0
//! Loads whose requests follow from answers: a pop and its acknowledgements, a half message and its
//! commit. A [`Script`] says what is asked first and what after which answer; the loop is the same.

use std::{fmt, time::Instant};

use aerobee_remoting::{Command, Encoding, Output, RequestCode, header::WriteFields};

use crate::{
    Error, Figures,
    answer::Scanner,
    args::{ServerArgs, Target},
    connection::Connection,
    control::Control,
    inflight::InFlight,
    poller::Poller,
    pull::PullLoad,
    run::{self, Phases, Tally, Times, Worker},
    template::{Born, SendTemplate, Shape},
};

/// What all these loads have on the command line.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct StepArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Messages.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(crate) count: u64,
    /// Bytes of a message's body.
    #[arg(long, default_value_t = 128)]
    pub(crate) size: usize,
    /// Queues of the topic, which is made new for this run.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) queues: u32,
    /// Connections.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) connections: u32,
    /// Requests in flight per connection below which another one is begun.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) window: u32,
}

impl StepArgs {
    /// So many messages of 128 B, as the command line has them by default.
    pub(crate) fn new(server: ServerArgs, count: u64) -> Self {
        Self {
            server,
            count,
            size: 128,
            queues: 8,
            connections: 4,
            window: 16,
        }
    }

    /// A new topic that holds the messages already.
    pub(crate) fn preloaded(&self, topic: &str) -> Result<Target, Error> {
        let target = self.server.prepare(topic, self.queues)?;
        let preload = PullLoad {
            target: &target,
            encoding: self.server.encoding.into(),
            batch: 32,
            connections: 1,
            window: 1,
        };
        preload.preload(self.count, self.size)?;
        Ok(target)
    }

    /// A new topic to send to, and a message for each of its queues, with these flags and further
    /// properties.
    pub(crate) fn sends(&self, topic: &str, flags: i32, properties: &str) -> Result<Sends, Error> {
        let target = self.server.prepare(topic, self.queues)?;
        let shape = Shape {
            topic,
            broker_name: &target.broker_name,
            size: self.size,
            encoding: self.server.encoding.into(),
            keys: None,
        };
        let templates = (0..self.queues)
            .map(|queue| SendTemplate::with(&shape, queue as i32, flags, properties))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Sends {
            target,
            templates,
            wanted: self.count,
            sent: 0,
        })
    }
}

/// Messages to send, spread over the queues of a topic.
pub(crate) struct Sends {
    pub(crate) target: Target,
    templates: Vec<SendTemplate>,
    pub(crate) wanted: u64,
    sent: u64,
}

impl Sends {
    /// Sends the next one; `false` when all are sent.
    pub(crate) fn send<F>(&mut self, asks: &mut Asks<'_, F>, flight: F) -> bool {
        if self.sent >= self.wanted {
            return false;
        }
        let template = &self.templates[self.sent as usize % self.templates.len()];
        asks.send(template, self.sent, flight);
        self.sent += 1;
        true
    }

    /// Waits until all stand in the topic.
    pub(crate) fn await_all(&self) -> Result<(), Error> {
        let mut control = Control::connect(&self.target.address.to_string())?;
        control.await_stored(&self.target.topic, self.target.queues, self.wanted)
    }
}

/// What is asked, and what follows.
pub(crate) trait Script: Send {
    /// What is remembered of a request until its answer comes.
    type Flight: Send + fmt::Debug;
    /// Most requests that follow from one.
    const FOLLOWERS: u32;

    /// Asks the first request of the next message, or messages; `false` when there are no more.
    fn begin(&mut self, asks: &mut Asks<'_, Self::Flight>) -> bool;

    /// Takes an answer to what was asked at `started`, and asks what follows: nothing, unless a script
    /// says otherwise.
    ///
    /// # Errors
    /// The answer lacks what is needed.
    fn answered(
        &mut self,
        _flight: Self::Flight,
        answer: &Command<'_>,
        started: Instant,
        asks: &mut Asks<'_, Self::Flight>,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        if answer.code == 0 {
            tally.answered(started, asks.now, 0);
        } else {
            tally.errors.code(answer.code, answer.remark);
        }
        Ok(())
    }

    /// Waits until the server has done what is left to it.
    ///
    /// # Errors
    /// It does not.
    fn finish(&mut self, _tally: &mut Tally) -> Result<(), Error> {
        Ok(())
    }
}

/// Where a script puts its requests.
pub(crate) struct Asks<'l, F> {
    output: &'l mut Vec<u8>,
    flights: &'l mut InFlight<(Instant, F)>,
    encoding: Encoding,
    /// When the answer came that the requests follow from.
    pub(crate) now: Instant,
}

impl<F> Asks<'_, F> {
    /// Asks with a typed header.
    pub(crate) fn ask<H: WriteFields + ?Sized>(
        &mut self,
        code: RequestCode,
        header: &H,
        flight: F,
    ) {
        if let Some(opaque) = self.flights.begin((self.now, flight)) {
            let mut output = Output::default();
            output.request(self.encoding, code, opaque, false, header, &[]);
            self.output.extend_from_slice(output.bytes());
        }
    }

    /// Sends a message.
    pub(crate) fn send(&mut self, template: &SendTemplate, key: u64, flight: F) {
        if let Some(opaque) = self.flights.begin((self.now, flight)) {
            template.append(self.output, opaque, &Born::now(), key);
        }
    }
}

#[derive(Debug)]
struct Lane<F> {
    connection: Connection,
    flights: InFlight<(Instant, F)>,
}

/// Runs a script on the connections that `args` asks for, each opened by `open`, and gives the
/// figures of all of it: there is no warm-up, so that what is left to the server counts. `what` says
/// what was done.
pub(crate) fn measure<S: Script>(
    what: &str,
    args: &StepArgs,
    target: &Target,
    script: S,
    open: impl Fn(&str) -> Result<Control, Error>,
) -> Result<Figures, Error> {
    let poller = Poller::new()?;
    let room = args.window.saturating_mul(S::FOLLOWERS + 1);
    let lanes = (0..args.connections as usize)
        .map(|token| {
            let stream = open(&target.address.to_string())?.into_stream();
            Ok(Lane {
                connection: Connection::new(stream, &poller, token)?,
                flights: InFlight::new(room),
            })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let worker = StepWorker {
        poller,
        lanes,
        scanner: Scanner::default(),
        script,
        encoding: args.server.encoding.into(),
        window: args.window as usize,
    };
    let times = Times {
        warmup: std::time::Duration::ZERO,
        duration: std::time::Duration::from_secs(3600),
        count: Some(args.count),
    };
    let description = format!(
        "{what}, {} connections × {} in flight",
        args.connections, args.window
    );
    run::run(description, vec![worker], times, &args.server.pid)
}

struct StepWorker<S: Script> {
    poller: Poller,
    lanes: Vec<Lane<S::Flight>>,
    scanner: Scanner,
    script: S,
    encoding: Encoding,
    window: usize,
}

impl<S: Script> Worker for StepWorker<S> {
    fn run(mut self, phases: Phases) -> Result<Tally, Error> {
        let mut tally = Tally::new(phases);
        let mut events = Vec::new();
        let mut more = true;
        loop {
            let now = Instant::now();
            more &= !tally.is_over(now);
            for lane in &mut self.lanes {
                while more && lane.flights.len() < self.window {
                    let mut asks = Asks {
                        output: &mut lane.connection.output,
                        flights: &mut lane.flights,
                        encoding: self.encoding,
                        now,
                    };
                    more = self.script.begin(&mut asks);
                }
                lane.connection.flush(&self.poller)?;
            }
            let owed: usize = self.lanes.iter().map(|lane| lane.flights.len()).sum();
            let left = match more {
                true => phases.until_end(now),
                false => phases.give_up().saturating_duration_since(now),
            };
            if !more && (owed == 0 || left.is_zero()) {
                tally.errors.unanswered(owed as u64);
                self.script.finish(&mut tally)?;
                return Ok(tally);
            }
            self.poller.wait(Some(left), &mut events)?;
            for event in events.iter().filter(|event| event.readable) {
                self.take_answers(event.token, &mut tally)?;
            }
        }
    }
}

impl<S: Script> StepWorker<S> {
    fn take_answers(&mut self, lane: usize, tally: &mut Tally) -> Result<(), Error> {
        let lane = &mut self.lanes[lane];
        lane.connection.fill()?;
        let arrived = Instant::now();
        let mut follow = Vec::new();
        while let Some(frame) = lane.connection.next_frame()? {
            let answer = self.scanner.decode(frame)?;
            if !answer.is_response() {
                continue;
            }
            let Some((started, flight)) = lane.flights.end(answer.opaque) else {
                tally.errors.unasked();
                continue;
            };
            let mut asks = Asks {
                output: &mut follow,
                flights: &mut lane.flights,
                encoding: self.encoding,
                now: arrived,
            };
            self.script
                .answered(flight, &answer, started, &mut asks, tally)?;
        }
        lane.connection.output.extend_from_slice(&follow);
        Ok(())
    }
}
