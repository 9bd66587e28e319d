// SPDX-License-Identifier: Apache-2.0
//! `bench send`: messages to a broker, in a closed window per connection or at a fixed rate.

use std::{
    net::{SocketAddr, TcpStream},
    time::Instant,
};

use aerobee_auth::sign::Credentials;

use crate::{
    Error, Figures,
    answer::Scanner,
    args::{ServerArgs, Target, TimeArgs},
    connection::Connection,
    control::Control,
    inflight::InFlight,
    poller::Poller,
    run::{self, Phases, Tally, Times, Worker},
    schedule::Schedule,
    template::{Born, SendTemplate, Shape},
};

/// Options of `bench send`.
#[derive(Debug, Clone, clap::Args)]
pub struct SendArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    times: TimeArgs,
    /// Topic; created when it is not there.
    #[arg(long, default_value = "bench-send")]
    topic: String,
    /// Queues of the topic, used in turn.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    queues: u32,
    /// Bytes of a message's body.
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// Connections.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    connections: u32,
    /// Most messages that wait for their answers, per connection.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    window: u32,
    /// Messages per second, whatever the server does; latency counts from the intended time.
    /// Without it each answer lets the next message go.
    #[arg(long, value_name = "PER SECOND", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    rate: Option<u64>,
    /// End when so many messages were measured.
    #[arg(long)]
    count: Option<u64>,
    /// Threads of the generator.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: u32,
    /// User that signs, for servers that ask who asks.
    #[arg(long, value_name = "NAME", requires = "secret_key")]
    access_key: Option<String>,
    /// Its password.
    #[arg(long, value_name = "PASSWORD", requires = "access_key")]
    secret_key: Option<String>,
}

impl SendArgs {
    /// Prepares the server, runs the load, and gives the figures.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn run(&self) -> Result<Figures, Error> {
        let keys = self.access_key.as_ref().zip(self.secret_key.as_ref());
        let keys = keys.map(|(name, password)| Credentials::new(name, password, None));
        let target = self
            .server
            .prepare_as(keys.as_ref(), &self.topic, self.queues)?;
        SendLoad {
            target: &target,
            keys: keys.as_ref(),
            encoding: self.server.encoding.into(),
            size: self.size,
            connections: self.connections,
            window: self.window,
            rate: self.rate,
            threads: self.threads.min(self.connections),
        }
        .measure(
            Times {
                count: self.count,
                ..self.times.times()
            },
            &self.server.pid,
        )
    }
}

/// A load of sends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SendLoad<'a> {
    pub(crate) target: &'a Target,
    /// Who signs, if anybody does.
    pub(crate) keys: Option<&'a Credentials>,
    pub(crate) encoding: aerobee_remoting::Encoding,
    pub(crate) size: usize,
    pub(crate) connections: u32,
    pub(crate) window: u32,
    pub(crate) rate: Option<u64>,
    pub(crate) threads: u32,
}

impl SendLoad<'_> {
    /// Connects, runs, and gives the figures.
    pub(crate) fn measure(&self, times: Times, pids: &[u32]) -> Result<Figures, Error> {
        let templates = self.templates()?;
        let threads = self.threads.max(1);
        let workers = (0..threads)
            .map(|thread| self.worker(&templates, thread, threads))
            .collect::<Result<Vec<_>, _>>()?;
        run::run(self.describe(), workers, times, pids)
    }

    fn describe(&self) -> String {
        let loop_ = match self.rate {
            Some(rate) => format!("at {rate} per second, window {}", self.window),
            None => format!("{} in flight", self.window),
        };
        format!(
            "send {} B to {}, {} connections × {loop_}",
            self.size, self.target.address, self.connections
        )
    }

    fn templates(&self) -> Result<Vec<SendTemplate>, Error> {
        let shape = Shape {
            topic: &self.target.topic,
            broker_name: &self.target.broker_name,
            size: self.size,
            encoding: self.encoding,
            keys: self.keys,
        };
        (0..self.target.queues)
            .map(|queue| SendTemplate::new(&shape, queue as i32))
            .collect()
    }

    /// Thread `thread` of `threads`: its share of the connections and of the rate.
    fn worker<'t>(
        &self,
        templates: &'t [SendTemplate],
        thread: u32,
        threads: u32,
    ) -> Result<SendWorker<'t>, Error> {
        let share = |total: u64| {
            let (thread, threads) = (u64::from(thread), u64::from(threads));
            total / threads + u64::from(thread < total % threads)
        };
        let poller = Poller::new()?;
        let lanes = (0..share(self.connections.into()))
            .map(|at| Lane::connect(self.target.address, &poller, at as usize, self.window))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(SendWorker {
            poller,
            lanes,
            scanner: Scanner::default(),
            source: Source {
                templates,
                next_template: thread as usize,
                next_key: u64::from(thread) << 40,
                born: Born::now(),
            },
            rate: self.rate.map(share),
        })
    }
}

/// A connection and what waits on it.
#[derive(Debug)]
struct Lane {
    connection: Connection,
    flights: InFlight<Instant>,
}

impl Lane {
    fn connect(
        address: SocketAddr,
        poller: &Poller,
        token: usize,
        window: u32,
    ) -> Result<Self, Error> {
        let stream: TcpStream = Control::connect(&address.to_string())?.into_stream();
        Ok(Self {
            connection: Connection::new(stream, poller, token)?,
            flights: InFlight::new(window),
        })
    }
}

/// Where messages come from.
#[derive(Debug)]
struct Source<'t> {
    templates: &'t [SendTemplate],
    next_template: usize,
    next_key: u64,
    born: Born,
}

impl Source<'_> {
    /// Appends the next message to the lane's output; false when its window is full.
    #[inline]
    fn next(&mut self, lane: &mut Lane, started: Instant) -> bool {
        let Some(opaque) = lane.flights.begin(started) else {
            return false;
        };
        let template = &self.templates[self.next_template % self.templates.len()];
        template.append(
            &mut lane.connection.output,
            opaque,
            &self.born,
            self.next_key,
        );
        self.next_template += 1;
        self.next_key += 1;
        true
    }
}

/// One thread that sends.
#[derive(Debug)]
struct SendWorker<'t> {
    poller: Poller,
    lanes: Vec<Lane>,
    scanner: Scanner,
    source: Source<'t>,
    rate: Option<u64>,
}

impl Worker for SendWorker<'_> {
    fn run(mut self, phases: Phases) -> Result<Tally, Error> {
        let mut tally = Tally::new(phases);
        match self.rate {
            Some(rate) => self.open_loop(&phases, rate, &mut tally)?,
            None => self.closed_loop(&phases, &mut tally)?,
        }
        self.drain(&phases, &mut tally)?;
        Ok(tally)
    }
}

impl SendWorker<'_> {
    /// Keeps each window full.
    fn closed_loop(&mut self, phases: &Phases, tally: &mut Tally) -> Result<(), Error> {
        for lane in &mut self.lanes {
            let now = Instant::now();
            while self.source.next(lane, now) {}
            lane.connection.flush(&self.poller)?;
        }
        let mut ready = Vec::new();
        loop {
            let now = Instant::now();
            if tally.is_over(now) {
                return Ok(());
            }
            self.poller.wait(Some(phases.until_end(now)), &mut ready)?;
            self.source.born = Born::now();
            for event in &ready {
                let lane = &mut self.lanes[event.token];
                if event.readable {
                    take_answers(lane, &mut self.scanner, tally)?;
                    let now = Instant::now();
                    if !tally.is_over(now) {
                        while self.source.next(lane, now) {}
                    }
                }
                lane.connection.flush(&self.poller)?;
            }
        }
    }

    /// Sends at the intended times, on the connections in turn; what finds all windows full leaves
    /// as soon as there is room, late.
    fn open_loop(&mut self, phases: &Phases, rate: u64, tally: &mut Tally) -> Result<(), Error> {
        let schedule = Schedule::new(phases.start, rate);
        let mut sent = 0;
        let mut all_full = false;
        let mut turn = 0;
        let mut ready = Vec::new();
        loop {
            let now = Instant::now();
            let due = schedule.due(now);
            if tally.is_over(now) {
                // A wait that ends late leaves some over as well, but not because of the server.
                tally.unsent = if all_full { due - sent } else { 0 };
                return Ok(());
            }
            self.source.born = Born::now();
            while sent < due && self.send_in_turn(&mut turn, schedule.intended(sent)) {
                sent += 1;
            }
            all_full = sent < due;
            for lane in &mut self.lanes {
                if !lane.connection.output.is_empty() {
                    lane.connection.flush(&self.poller)?;
                }
            }
            let now = Instant::now();
            let next = schedule.intended(sent).saturating_duration_since(now);
            let timeout = match all_full {
                // Only an answer helps.
                true => phases.until_end(now),
                false => next.min(phases.until_end(now)),
            };
            self.poller.wait(Some(timeout), &mut ready)?;
            for event in ready.iter().filter(|event| event.readable) {
                take_answers(&mut self.lanes[event.token], &mut self.scanner, tally)?;
            }
        }
    }

    /// Sends on the next connection whose window has room; false when none has.
    fn send_in_turn(&mut self, turn: &mut usize, intended: Instant) -> bool {
        for _ in 0..self.lanes.len() {
            let at = *turn % self.lanes.len();
            *turn = at + 1;
            if self.source.next(&mut self.lanes[at], intended) {
                return true;
            }
        }
        false
    }

    /// Waits for the answers still owed.
    fn drain(&mut self, phases: &Phases, tally: &mut Tally) -> Result<(), Error> {
        let mut ready = Vec::new();
        let give_up = phases.give_up().min(Instant::now() + run::DRAIN);
        loop {
            let owed: usize = self.lanes.iter().map(|lane| lane.flights.len()).sum();
            let left = give_up.saturating_duration_since(Instant::now());
            if owed == 0 || left.is_zero() {
                tally.errors.unanswered(owed as u64);
                return Ok(());
            }
            self.poller.wait(Some(left), &mut ready)?;
            for event in &ready {
                let lane = &mut self.lanes[event.token];
                if event.readable {
                    take_answers(lane, &mut self.scanner, tally)?;
                }
                lane.connection.flush(&self.poller)?;
            }
        }
    }
}

/// Reads once and takes the answers that came.
fn take_answers(lane: &mut Lane, scanner: &mut Scanner, tally: &mut Tally) -> Result<(), Error> {
    lane.connection.fill()?;
    let arrived = Instant::now();
    while let Some(frame) = lane.connection.next_frame()? {
        let answer = scanner.scan(frame)?;
        if !answer.is_response {
            continue;
        }
        let Some(started) = lane.flights.end(answer.opaque) else {
            tally.errors.unasked();
            continue;
        };
        if answer.code == 0 {
            tally.answered(started, arrived, 1);
        } else {
            let remark = scanner.decode(frame)?.remark;
            tally.errors.code(answer.code, remark);
        }
    }
    Ok(())
}
