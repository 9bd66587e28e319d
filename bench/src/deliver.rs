// SPDX-License-Identifier: Apache-2.0
//! `bench deliver`: how long a message takes from the producer's call to a consumer that waits.

use std::time::{Duration, Instant};

use aerobee_remoting::{
    Encoding, Output, RequestCode,
    header::pull::{PullMessage, SUBSCRIPTION, SUSPEND},
};

use crate::{
    EchoServer, Error, Figures,
    answer::Scanner,
    args::{self, ServerArgs, Target, TimeArgs},
    connection::Connection,
    control::Control,
    inflight::InFlight,
    latency::Latencies,
    poller::Poller,
    pull::{CONSUMER_GROUP, SUSPEND_MILLIS},
    run::{self, Phases, Tally, Times, Worker},
    template::{Born, SendTemplate, Shape, now_millis},
};

/// Options of `bench deliver`.
#[derive(Debug, Clone, clap::Args)]
pub struct DeliverArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    times: TimeArgs,
    /// Topic; made new for this run when not given.
    #[arg(long)]
    topic: Option<String>,
    /// Bytes of a message's body.
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// Seconds between the pull and the send, so that the pull waits at the server by then.
    #[arg(long, default_value = "0.002", value_parser = args::seconds, value_name = "SECONDS")]
    gap: Duration,
    /// End when so many messages were measured.
    #[arg(long)]
    count: Option<u64>,
    /// Echo server to compare with; by default one of our own, in this process.
    #[arg(long, value_name = "HOST:PORT")]
    echo: Option<String>,
}

impl DeliverArgs {
    /// Prepares the server, runs the load, and gives the figures.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn run(&self) -> Result<Figures, Error> {
        let topic = match &self.topic {
            Some(topic) => topic.clone(),
            None => format!("bench-deliver-{}", now_millis()),
        };
        let target = self.server.prepare(&topic, 1)?;
        let load = DeliverLoad {
            target: &target,
            encoding: self.server.encoding.into(),
            size: self.size,
            gap: self.gap,
        };
        let times = Times {
            count: self.count,
            ..self.times.times()
        };
        let mut figures = load.measure(times, &self.server.pid)?;
        let echo = match &self.echo {
            Some(address) => load.echo(address)?,
            None => {
                let server = EchoServer::start(0)?;
                load.echo(&server.address().to_string())?
            }
        };
        figures.others.push(("echo", echo));
        Ok(figures)
    }
}

/// A load of single deliveries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeliverLoad<'a> {
    pub(crate) target: &'a Target,
    pub(crate) encoding: Encoding,
    pub(crate) size: usize,
    pub(crate) gap: Duration,
}

/// How long to wait for a delivery: longer than a server may hold a pull, so that a wake-up that it
/// missed shows as a latency and not as a failure.
const HELD: Duration = Duration::from_secs(30);

/// Round trips to an echo server that are measured, after as many that are not.
const ECHO_ROUNDS: u64 = 1000;

impl DeliverLoad<'_> {
    /// Connects, runs, and gives the figures: latencies are those of deliveries, round trips those
    /// of the sends.
    pub(crate) fn measure(&self, times: Times, pids: &[u32]) -> Result<Figures, Error> {
        let address = self.target.address.to_string();
        let poller = Poller::new()?;
        let mut consumer = Control::connect(&address)?;
        consumer.heartbeat(CONSUMER_GROUP, &self.target.topic)?;
        let (_, next) = consumer.offsets(&self.target.topic, 0)?;
        let producer = Control::connect(&address)?.into_stream();
        let worker = DeliverWorker {
            load: *self,
            consumer: Lane::new(Connection::new(consumer.into_stream(), &poller, 0)?),
            producer: Lane::new(Connection::new(producer, &poller, 1)?),
            template: self.template()?,
            poller,
            scanner: Scanner::default(),
            next,
            sent: 0,
        };
        let description = format!(
            "deliver {} B through {} to a waiting pull, one at a time",
            self.size, self.target.address
        );
        run::run(description, vec![worker], times, pids)
    }

    fn template(&self) -> Result<SendTemplate, Error> {
        let shape = Shape {
            topic: &self.target.topic,
            broker_name: &self.target.broker_name,
            size: self.size,
            encoding: self.encoding,
            keys: None,
        };
        SendTemplate::new(&shape, 0)
    }

    /// Round trips of the same sends, as far apart and waited for in the same way, to an echo server.
    pub(crate) fn echo(&self, address: &str) -> Result<Latencies, Error> {
        let poller = Poller::new()?;
        let stream = Control::connect(address)?.into_stream();
        let mut lane = Lane::new(Connection::new(stream, &poller, 0)?);
        let template = self.template()?;
        let mut scanner = Scanner::default();
        let mut latencies = Latencies::default();
        let mut events = Vec::new();
        for round in 0..2 * ECHO_ROUNDS {
            poller.wait(Some(self.gap), &mut events)?;
            let started = Instant::now();
            if let Some(opaque) = lane.flights.begin(started) {
                let output = &mut lane.connection.output;
                template.append(output, opaque, &Born::now(), round);
                lane.connection.flush(&poller)?;
            }
            while lane.is_waiting() {
                poller.wait(Some(run::DRAIN), &mut events)?;
                if events.is_empty() && started.elapsed() > run::DRAIN {
                    return Err(Error::Broken {
                        address: address.to_owned(),
                        source: std::io::ErrorKind::TimedOut.into(),
                    });
                }
                lane.connection.fill()?;
                let arrived = Instant::now();
                while let Some(frame) = lane.connection.next_frame()? {
                    let answer = scanner.scan(frame)?;
                    if lane.flights.end(answer.opaque).is_some() && round >= ECHO_ROUNDS {
                        latencies.record(arrived - started);
                    }
                }
            }
        }
        Ok(latencies)
    }
}

/// A connection with at most one request.
#[derive(Debug)]
struct Lane {
    connection: Connection,
    flights: InFlight<Instant>,
}

impl Lane {
    fn new(connection: Connection) -> Self {
        Self {
            connection,
            flights: InFlight::new(1),
        }
    }

    fn is_waiting(&self) -> bool {
        self.flights.len() > 0
    }
}

#[derive(Debug)]
struct DeliverWorker<'t> {
    load: DeliverLoad<'t>,
    consumer: Lane,
    producer: Lane,
    template: SendTemplate,
    poller: Poller,
    scanner: Scanner,
    /// Queue offset of the next message.
    next: i64,
    sent: u64,
}

impl Worker for DeliverWorker<'_> {
    fn run(mut self, phases: Phases) -> Result<Tally, Error> {
        let mut tally = Tally::new(phases);
        loop {
            let now = Instant::now();
            if tally.is_over(now) {
                return Ok(tally);
            }
            self.pull(now)?;
            self.poll_until(now + self.load.gap, &mut tally, |worker| {
                !worker.consumer.is_waiting()
            })?;
            if !self.consumer.is_waiting() {
                // The pull came back before anything was sent: ask again.
                continue;
            }
            self.send()?;
            let deadline = Instant::now() + HELD;
            self.poll_until(deadline, &mut tally, |worker| {
                !worker.consumer.is_waiting() && !worker.producer.is_waiting()
            })?;
            if self.consumer.is_waiting() || self.producer.is_waiting() {
                tally.errors.unanswered(1);
                return Ok(tally);
            }
        }
    }
}

impl DeliverWorker<'_> {
    /// Asks for the message that is not there yet.
    fn pull(&mut self, now: Instant) -> Result<(), Error> {
        let header = PullMessage {
            consumer_group: CONSUMER_GROUP,
            topic: &self.load.target.topic,
            queue_id: 0,
            queue_offset: self.next,
            max_msg_nums: 32,
            sys_flag: SUBSCRIPTION | SUSPEND,
            commit_offset: 0,
            suspend_timeout_millis: SUSPEND_MILLIS,
            subscription: Some("*"),
            sub_version: now_millis(),
            expression_type: Some("TAG"),
            max_msg_bytes: Some(i32::MAX),
            request_source: None,
            proxy_froward_client_id: None,
        };
        if let Some(opaque) = self.consumer.flights.begin(now) {
            let mut output = Output::default();
            let code = RequestCode::PULL_MESSAGE;
            output.request(self.load.encoding, code, opaque, false, &header, &[]);
            let connection = &mut self.consumer.connection;
            connection.output.extend_from_slice(output.bytes());
            connection.flush(&self.poller)?;
        }
        Ok(())
    }

    /// Sends the message. The delivery counts from here as well.
    fn send(&mut self) -> Result<(), Error> {
        let started = Instant::now();
        if let Some(opaque) = self.producer.flights.begin(started) {
            let connection = &mut self.producer.connection;
            let born = Born::now();
            self.template
                .append(&mut connection.output, opaque, &born, self.sent);
            connection.flush(&self.poller)?;
            self.sent += 1;
            self.consumer.flights.restart(started);
        }
        Ok(())
    }

    fn poll_until(
        &mut self,
        deadline: Instant,
        tally: &mut Tally,
        done: impl Fn(&Self) -> bool,
    ) -> Result<(), Error> {
        let mut events = Vec::new();
        while !done(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.poller.wait(Some(left), &mut events)?;
            // The consumer first: its latency is the one that is asked for.
            if events.iter().any(|event| event.token == 0) {
                self.take_pulled(tally)?;
            }
            if events.iter().any(|event| event.token == 1) {
                self.take_sent(tally)?;
            }
        }
        Ok(())
    }

    fn take_pulled(&mut self, tally: &mut Tally) -> Result<(), Error> {
        self.consumer.connection.fill()?;
        let arrived = Instant::now();
        while let Some(frame) = self.consumer.connection.next_frame()? {
            let answer = self.scanner.scan(frame)?;
            if !answer.is_response {
                continue;
            }
            let Some(started) = self.consumer.flights.end(answer.opaque) else {
                tally.errors.unasked();
                continue;
            };
            match answer.code {
                0 => match crate::pull::count_records(frame.body, self.next) {
                    Some(count) => {
                        self.next += count as i64;
                        tally.answered(started, arrived, count);
                    }
                    None => tally.errors.out_of_order(),
                },
                PULL_NOT_FOUND | PULL_RETRY => {}
                code => {
                    let remark = self.scanner.decode(frame)?.remark;
                    tally.errors.code(code, remark);
                }
            }
        }
        Ok(())
    }

    fn take_sent(&mut self, tally: &mut Tally) -> Result<(), Error> {
        self.producer.connection.fill()?;
        let arrived = Instant::now();
        while let Some(frame) = self.producer.connection.next_frame()? {
            let answer = self.scanner.scan(frame)?;
            if !answer.is_response {
                continue;
            }
            match self.producer.flights.end(answer.opaque) {
                Some(started) if answer.code == 0 => tally.round_trip(started, arrived),
                Some(_) => {
                    let remark = self.scanner.decode(frame)?.remark;
                    tally.errors.code(answer.code, remark);
                }
                None => tally.errors.unasked(),
            }
        }
        Ok(())
    }
}

/// A held pull whose time is over.
const PULL_NOT_FOUND: i32 = aerobee_remoting::ResponseCode::PULL_NOT_FOUND.0;
/// A held pull that the server wants to be asked again at once.
const PULL_RETRY: i32 = aerobee_remoting::ResponseCode::PULL_RETRY_IMMEDIATELY.0;
