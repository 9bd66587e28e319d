// SPDX-License-Identifier: Apache-2.0
//! `bench pull`: messages that were sent before, pulled over and over, each queue by one request at
//! a time.

use std::time::{Duration, Instant};

use aerobee_remoting::{
    Encoding, Output, RequestCode,
    header::{
        Empty,
        pull::{PullMessage, SUBSCRIPTION},
    },
};

use crate::{
    Error, Figures,
    answer::Scanner,
    args::{ServerArgs, Target, TimeArgs},
    connection::Connection,
    control::{self, Control},
    inflight::InFlight,
    poller::Poller,
    run::{self, Phases, Tally, Times, Worker},
    send::SendLoad,
    template::now_millis,
};

/// Consumer group of the load.
pub(crate) const CONSUMER_GROUP: &str = "bench-consumer";
/// Below the opaques of pulls: answers to the heartbeats in between.
const HEARTBEAT_OPAQUE: i32 = 1;
/// How often the group is kept alive; as SDKs do.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// How long sent messages may need until they can be pulled.
const DISPATCH: Duration = Duration::from_secs(30);
/// How long a server may hold a pull that asks for what is not there yet.
pub(crate) const SUSPEND_MILLIS: i64 = 20_000;

/// Options of `bench pull`.
#[derive(Debug, Clone, clap::Args)]
pub struct PullArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    times: TimeArgs,
    /// Topic; made new for this run when not given.
    #[arg(long)]
    topic: Option<String>,
    /// Queues of the topic.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    queues: u32,
    /// Messages to send before, 0 to pull what is there.
    #[arg(long, default_value_t = 1_000_000)]
    preload: u64,
    /// Bytes of a message's body.
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// Most messages of one answer.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(i32).range(1..=1024))]
    batch: i32,
    /// Connections.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    connections: u32,
    /// Most pulls in flight per connection, each of another queue.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    window: u32,
    /// End when so many messages were measured.
    #[arg(long)]
    count: Option<u64>,
}

impl PullArgs {
    /// Prepares the server, runs the load, and gives the figures.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn run(&self) -> Result<Figures, Error> {
        let topic = match &self.topic {
            Some(topic) => topic.clone(),
            None => format!("bench-pull-{}", now_millis()),
        };
        let target = self.server.prepare(&topic, self.queues)?;
        let load = PullLoad {
            target: &target,
            encoding: self.server.encoding.into(),
            batch: self.batch,
            connections: self.connections,
            window: self.window,
        };
        load.preload(self.preload, self.size)?;
        let times = Times {
            count: self.count,
            ..self.times.times()
        };
        load.measure(times, &self.server.pid)
    }
}

/// A load of pulls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PullLoad<'a> {
    pub(crate) target: &'a Target,
    pub(crate) encoding: Encoding,
    pub(crate) batch: i32,
    pub(crate) connections: u32,
    pub(crate) window: u32,
}

impl PullLoad<'_> {
    /// Sends `messages` of `size` bytes, evenly to all queues, and waits until they can be pulled.
    pub(crate) fn preload(&self, messages: u64, size: usize) -> Result<(), Error> {
        if messages == 0 {
            return Ok(());
        }
        let before = self.available()?;
        let load = SendLoad {
            target: self.target,
            keys: None,
            encoding: self.encoding,
            size,
            connections: 4,
            window: 64,
            rate: None,
            threads: 1,
        };
        let times = Times {
            warmup: Duration::ZERO,
            duration: Duration::from_secs(3600),
            count: Some(messages),
        };
        load.measure(times, &[])?;
        let wanted = before + messages;
        let deadline = Instant::now() + DISPATCH;
        loop {
            let found = self.available()?;
            if found >= wanted {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Error::NotThere {
                    topic: self.target.topic.clone(),
                    found,
                    wanted,
                });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn available(&self) -> Result<u64, Error> {
        let cursors = self.cursors()?;
        Ok(cursors
            .iter()
            .map(|cursor| (cursor.max - cursor.min) as u64)
            .sum())
    }

    /// All queues, at their beginnings.
    fn cursors(&self) -> Result<Vec<Cursor>, Error> {
        let mut control = Control::connect(&self.target.address.to_string())?;
        (0..self.target.queues)
            .map(|queue| {
                let (min, max) = control.offsets(&self.target.topic, queue)?;
                Ok(Cursor {
                    queue,
                    min,
                    max: max.max(min),
                    next: min,
                })
            })
            .collect()
    }

    /// Connects, runs, and gives the figures.
    pub(crate) fn measure(&self, times: Times, pids: &[u32]) -> Result<Figures, Error> {
        let mut cursors = self.cursors()?;
        cursors.retain(|cursor| cursor.max > cursor.min);
        if cursors.is_empty() {
            return Err(Error::NotThere {
                topic: self.target.topic.clone(),
                found: 0,
                wanted: 1,
            });
        }
        let description = format!(
            "pull by {} from {}, {} queues, {} connections × {} in flight",
            self.batch,
            self.target.address,
            cursors.len(),
            self.connections,
            self.window
        );
        let worker = self.worker(cursors)?;
        run::run(description, vec![worker], times, pids)
    }

    /// Spreads the queues over the connections; what exceeds the windows waits for no one, so that
    /// queues beyond `connections × window` are not read.
    fn worker(&self, cursors: Vec<Cursor>) -> Result<PullWorker<'_>, Error> {
        let poller = Poller::new()?;
        let mut lanes = Vec::new();
        for token in 0..self.connections as usize {
            let mut control = Control::connect(&self.target.address.to_string())?;
            control.heartbeat(CONSUMER_GROUP, &self.target.topic)?;
            lanes.push(Lane {
                connection: Connection::new(control.into_stream(), &poller, token)?,
                flights: InFlight::new(self.window),
                cursors: Vec::new(),
            });
        }
        let most = lanes.len() * self.window as usize;
        for (at, cursor) in cursors.into_iter().take(most).enumerate() {
            let lane = at % lanes.len();
            lanes[lane].cursors.push(cursor);
        }
        Ok(PullWorker {
            poller,
            lanes,
            scanner: Scanner::default(),
            topic: &self.target.topic,
            batch: self.batch,
            encoding: self.encoding,
            version: now_millis(),
        })
    }
}

/// How far a queue is read.
#[derive(Debug, Clone)]
struct Cursor {
    queue: u32,
    min: i64,
    max: i64,
    next: i64,
}

#[derive(Debug)]
struct Lane {
    connection: Connection,
    flights: InFlight<(Instant, Cursor)>,
    /// Queues that wait to be pulled.
    cursors: Vec<Cursor>,
}

/// The thread that pulls.
#[derive(Debug)]
struct PullWorker<'t> {
    poller: Poller,
    lanes: Vec<Lane>,
    scanner: Scanner,
    topic: &'t str,
    batch: i32,
    encoding: Encoding,
    version: i64,
}

impl Worker for PullWorker<'_> {
    fn run(mut self, phases: Phases) -> Result<Tally, Error> {
        let mut tally = Tally::new(phases);
        let give_up = phases.give_up();
        let mut heartbeat_at = phases.start + HEARTBEAT;
        let mut events = Vec::new();
        let mut ready: Vec<usize> = (0..self.lanes.len()).collect();
        loop {
            let now = Instant::now();
            let over = tally.is_over(now);
            if now >= heartbeat_at {
                heartbeat_at = now + HEARTBEAT;
                self.heartbeat();
                ready = (0..self.lanes.len()).collect();
            }
            for &lane in &ready {
                if !over {
                    self.ask(lane, now);
                }
                self.lanes[lane].connection.flush(&self.poller)?;
            }
            let owed: usize = self.lanes.iter().map(|lane| lane.flights.len()).sum();
            let timeout = match over {
                true => give_up.saturating_duration_since(now),
                false => phases.until_end(now),
            };
            if over && (owed == 0 || timeout.is_zero()) {
                tally.errors.unanswered(owed as u64);
                return Ok(tally);
            }
            ready.clear();
            self.poller.wait(Some(timeout), &mut events)?;
            for event in &events {
                if event.readable {
                    self.take_answers(event.token, &mut tally)?;
                }
                ready.push(event.token);
            }
        }
    }
}

impl PullWorker<'_> {
    /// Pulls every queue of the lane that waits for it.
    fn ask(&mut self, lane: usize, now: Instant) {
        let mut output = Output::default();
        let lane = &mut self.lanes[lane];
        while lane.flights.has_room()
            && let Some(cursor) = lane.cursors.pop()
        {
            let pull = pull_request(self.topic, &cursor, self.batch, self.version);
            if let Some(opaque) = lane.flights.begin((now, cursor)) {
                let code = RequestCode::PULL_MESSAGE;
                output.request(self.encoding, code, opaque, false, &pull, &[]);
            }
        }
        lane.connection.output.extend_from_slice(output.bytes());
    }

    fn heartbeat(&mut self) {
        for lane in &mut self.lanes {
            let mut output = Output::default();
            output.request(
                Encoding::Json,
                RequestCode::HEART_BEAT,
                HEARTBEAT_OPAQUE,
                false,
                &Empty,
                &control::heartbeat_body(CONSUMER_GROUP, self.topic, lane.connection.local()),
            );
            lane.connection.output.extend_from_slice(output.bytes());
        }
    }

    fn take_answers(&mut self, lane: usize, tally: &mut Tally) -> Result<(), Error> {
        let lane = &mut self.lanes[lane];
        lane.connection.fill()?;
        let arrived = Instant::now();
        while let Some(frame) = lane.connection.next_frame()? {
            let answer = self.scanner.scan(frame)?;
            if !answer.is_response || answer.opaque == HEARTBEAT_OPAQUE {
                continue;
            }
            let Some((started, mut cursor)) = lane.flights.end(answer.opaque) else {
                tally.errors.unasked();
                continue;
            };
            if answer.code == 0 {
                let count = count_records(frame.body, cursor.next);
                match count {
                    Some(count) => {
                        cursor.next += count as i64;
                        tally.answered(started, arrived, count);
                    }
                    None => tally.errors.out_of_order(),
                }
            } else {
                let remark = self.scanner.decode(frame)?.remark;
                tally.errors.code(answer.code, remark);
                cursor.next = cursor.min;
            }
            if cursor.next >= cursor.max {
                cursor.next = cursor.min;
            }
            lane.cursors.push(cursor);
        }
        Ok(())
    }
}

fn pull_request<'a>(topic: &'a str, cursor: &Cursor, batch: i32, version: i64) -> PullMessage<'a> {
    PullMessage {
        consumer_group: CONSUMER_GROUP,
        topic,
        queue_id: cursor.queue as i32,
        queue_offset: cursor.next,
        max_msg_nums: batch,
        sys_flag: SUBSCRIPTION,
        commit_offset: 0,
        suspend_timeout_millis: SUSPEND_MILLIS,
        subscription: Some("*"),
        sub_version: version,
        expression_type: Some("TAG"),
        max_msg_bytes: Some(i32::MAX),
        request_source: None,
        proxy_froward_client_id: None,
    }
}

/// Counts the records of a pulled body, whose queue offsets must follow one another from `first` on.
/// Each begins with its size (4 bytes), a magic (4) and twelve more, then the queue offset (8).
pub(crate) fn count_records(body: &[u8], first: i64) -> Option<u64> {
    const OFFSET_AT: usize = 20;
    /// Without topic, properties and body, the first version's length with IPv4 addresses.
    const RECORD_MIN: usize = 91;
    /// First three bytes of the magics of both versions.
    const MAGIC: [u8; 3] = [0xDA, 0xA3, 0x20];
    let mut rest = body;
    let mut count = 0;
    while !rest.is_empty() {
        let size = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        let magic = rest.get(4..7)?;
        let offset = rest.get(OFFSET_AT..)?.first_chunk()?;
        if size < RECORD_MIN || magic != MAGIC || i64::from_be_bytes(*offset) != first + count {
            return None;
        }
        rest = rest.get(size..)?;
        count += 1;
    }
    (count > 0).then_some(count as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: i64, size: u32) -> Vec<u8> {
        let mut bytes = size.to_be_bytes().to_vec();
        bytes.extend_from_slice(&0xDAA3_20A7_u32.to_be_bytes());
        bytes.resize(20, 0);
        bytes.extend_from_slice(&offset.to_be_bytes());
        bytes.resize(size as usize, 0);
        bytes
    }

    #[test]
    fn records_are_counted_when_their_offsets_are_dense() {
        let body = [record(7, 91), record(8, 300), record(9, 120)].concat();
        assert_eq!(count_records(&body, 7), Some(3));
        assert_eq!(count_records(&body, 6), None, "another first offset");
        let gap = [record(7, 91), record(9, 91)].concat();
        assert_eq!(count_records(&gap, 7), None, "a gap");
        assert_eq!(count_records(&body[..body.len() - 1], 7), None, "cut off");
        let mut lying = record(7, 91);
        lying[..4].copy_from_slice(&12_u32.to_be_bytes());
        assert_eq!(count_records(&lying, 7), None, "a size that lies");
        assert_eq!(count_records(&[], 7), None, "nothing");
        assert_eq!(count_records(&[0; 200], 0), None, "no records");
    }
}
