// SPDX-License-Identifier: Apache-2.0
//! The loads as the command line runs them, against the echo server and against a broker that keeps
//! its messages in memory.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use aerobee_bench::{Args, Command, EchoServer, Error, Figures};
use aerobee_remoting::{
    Deferred, Limits, Reply, RequestCode, ResponseCode, Server, Service,
    call::Call,
    header::{
        offset::{GetMaxOffset, GetMinOffset, OffsetReply},
        pull::{PullMessage, PullReply, SUBSCRIPTION, SUSPEND},
        send::{SendMessage, SendReply},
        topic::UpdateTopic,
    },
};
use clap::Parser as _;

fn run(address: impl std::fmt::Display, words: &[&str]) -> Result<Figures, Error> {
    let address = address.to_string();
    let mut line = vec!["bench"];
    line.extend_from_slice(words);
    line.extend_from_slice(&["--broker", &address, "--warmup", "0"]);
    match Args::parse_from(line).command {
        Command::Send(send) => send.run(),
        Command::Pull(pull) => pull.run(),
        Command::Deliver(deliver) => deliver.run(),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn clean(figures: Result<Figures, Error>) -> Figures {
    let figures = figures.expect("the load runs");
    assert!(figures.errors.is_empty(), "{}", figures.errors);
    figures
}

/// What the broker does wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Every tenth send is refused.
    Busy,
    /// Pulled messages are one further than asked for.
    Skips,
}

/// A broker as far as the loads need one.
struct Memory {
    fault: Fault,
    sends: AtomicU64,
    queues: Mutex<HashMap<(String, i32), Queue>>,
}

#[derive(Default)]
struct Queue {
    messages: i64,
    waiting: Option<(i64, Deferred)>,
}

/// The fixed part of a record with an empty topic and no properties.
fn record(offset: i64) -> Vec<u8> {
    let mut bytes = 91_u32.to_be_bytes().to_vec();
    bytes.extend_from_slice(&0xDAA3_20A7_u32.to_be_bytes());
    bytes.resize(20, 0);
    bytes.extend_from_slice(&offset.to_be_bytes());
    bytes.resize(91, 0);
    bytes
}

impl Memory {
    fn send(&self, call: Call<'_, SendMessage<'_>>) {
        let request = &call.request;
        assert!(request.properties.contains("UNIQ_KEY\u{1}"));
        let sends = self.sends.fetch_add(1, Ordering::Relaxed);
        if self.fault == Fault::Busy && sends % 10 == 9 {
            return call
                .reply
                .fail(ResponseCode::SYSTEM_BUSY, "busy on purpose");
        }
        let mut queues = self.queues();
        let key = (request.topic.to_owned(), request.queue_id);
        let queue = queues.entry(key).or_default();
        let queue_offset = queue.messages;
        queue.messages += 1;
        if let Some((offset, reply)) = queue.waiting.take() {
            self.found(reply, offset, queue.messages, 32);
        }
        call.reply.header(&SendReply {
            msg_id: "00",
            queue_id: request.queue_id,
            queue_offset,
            transaction_id: None,
            batch_uniq_id: None,
            recall_handle: None,
            region: None,
            trace_on: None,
        });
    }

    fn pull(&self, call: Call<'_, PullMessage<'_>>) {
        let request = &call.request;
        assert_eq!(request.sys_flag & SUBSCRIPTION, SUBSCRIPTION);
        let mut queues = self.queues();
        let key = (request.topic.to_owned(), request.queue_id);
        let queue = queues.entry(key).or_default();
        let offset = request.queue_offset;
        if request.sys_flag & SUSPEND == 0 {
            let batch = i64::from(request.max_msg_nums);
            assert_eq!(
                offset % batch,
                0,
                "each pull goes on where the last one ended"
            );
        }
        if offset < queue.messages {
            let most = request.max_msg_nums.into();
            self.found(call.reply, offset, queue.messages, most);
        } else {
            assert_eq!(request.sys_flag & SUSPEND, SUSPEND);
            queue.waiting = Some((offset, call.reply.defer()));
        }
    }

    fn found(&self, reply: Reply<'_>, offset: i64, end: i64, most: i64) {
        let next = end.min(offset + most);
        let shift = i64::from(self.fault == Fault::Skips);
        let body: Vec<u8> = (offset..next)
            .flat_map(|offset| record(offset + shift))
            .collect();
        let header = PullReply {
            next_begin_offset: next,
            max_offset: end,
            ..PullReply::default()
        };
        reply.respond(ResponseCode::SUCCESS, "", &header, &[&body]);
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<(String, i32), Queue>> {
        self.queues.lock().expect("no test panics with the lock")
    }

    fn messages(&self, topic: &str, queue: i32) -> i64 {
        let queues = self.queues();
        queues
            .get(&(topic.to_owned(), queue))
            .map_or(0, |queue| queue.messages)
    }
}

impl Service for Memory {
    type Turn = ();

    fn handle(&self, (): &mut (), command: &aerobee_remoting::Command<'_>, reply: Reply<'_>) {
        match RequestCode(command.code) {
            RequestCode::SEND_MESSAGE_V2 => {
                self.send(Call::read(command, reply).expect("a send"));
            }
            RequestCode::PULL_MESSAGE => {
                self.pull(Call::read(command, reply).expect("a pull"));
            }
            RequestCode::GET_MIN_OFFSET => {
                let call: Call<'_, GetMinOffset<'_>> = Call::read(command, reply).expect("a queue");
                call.reply.header(&OffsetReply { offset: 0 });
            }
            RequestCode::GET_MAX_OFFSET => {
                let call: Call<'_, GetMaxOffset<'_>> = Call::read(command, reply).expect("a queue");
                let offset = self.messages(call.request.topic, call.request.queue_id);
                call.reply.header(&OffsetReply { offset });
            }
            RequestCode::UPDATE_AND_CREATE_TOPIC => {
                let call: Call<'_, UpdateTopic<'_>> = Call::read(command, reply).expect("a topic");
                assert_eq!(call.request.perm, 6);
                call.reply.ok();
            }
            RequestCode::HEART_BEAT => reply.ok(),
            _ => reply.unsupported(command.code),
        }
    }
}

/// A broker on a runtime of its own.
struct Broker {
    server: Server,
    _runtime: tokio::runtime::Runtime,
}

impl Broker {
    fn start(fault: Fault) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let _context = runtime.enter();
        let memory = Memory {
            fault,
            sends: AtomicU64::new(0),
            queues: Mutex::default(),
        };
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let server = Server::bind(address, Arc::new(memory), Limits::default()).expect("a port");
        drop(_context);
        Self {
            server,
            _runtime: runtime,
        }
    }

    fn run(&self, words: &[&str]) -> Result<Figures, Error> {
        run(self.server.address(), words)
    }
}

#[test]
fn a_closed_window_counts_what_it_was_told_to() {
    let server = EchoServer::start(0).expect("an echo server");
    for more in [
        &["--encoding", "json"],
        &["--encoding", "rocketmq"],
        &["--threads", "2"],
    ] {
        let words = [&["send", "--count", "5000"], &more[..]].concat();
        let figures = clean(run(server.address(), &words));
        assert_eq!(figures.messages, 5000);
        assert!(figures.latencies.count() >= 5000);
        assert!(figures.rate() > 0.0);
    }
}

#[test]
fn an_open_loop_keeps_its_rate_and_charges_for_waiting() {
    let server = EchoServer::start(0).expect("an echo server");
    let words = ["send", "--rate", "2000", "--duration", "0.5"];
    let figures = clean(run(server.address(), &words));
    assert!(figures.messages <= 1001, "{}", figures.messages);
    assert!(figures.messages > 500, "{}", figures.messages);

    // Far more than one connection with one message in flight can do: what waits, waits long.
    let words = [
        "send",
        "--rate",
        "10000000",
        "--duration",
        "0.5",
        "--connections",
        "1",
        "--window",
        "1",
    ];
    let figures = clean(run(server.address(), &words));
    assert!(figures.unsent > 0);
    let median = figures.latencies.quantile(0.5).as_millis();
    assert!(median > 100, "{median} ms since the intended time");
}

#[test]
fn pulls_go_through_all_queues_again_and_again() {
    let broker = Broker::start(Fault::None);
    let words = [
        "pull",
        "--preload",
        "1000",
        "--queues",
        "5",
        "--count",
        "20000",
    ];
    let figures = clean(broker.run(&words));
    assert!(figures.messages >= 20_000);
    assert!(figures.messages < 20_032);
}

#[test]
fn deliveries_reach_the_waiting_pull() {
    let broker = Broker::start(Fault::None);
    let figures = clean(broker.run(&["deliver", "--count", "50", "--gap", "0.0001"]));
    assert_eq!(figures.messages, 50);
    let names: Vec<_> = figures.others.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["round trip", "echo"]);
    assert!(
        figures
            .others
            .iter()
            .all(|(_, latencies)| latencies.count() >= 49)
    );
}

#[test]
fn refusals_are_counted_and_not_taken_for_messages() {
    let broker = Broker::start(Fault::Busy);
    let figures = broker.run(&["send", "--count", "900"]).expect("figures");
    assert_eq!(figures.messages, 900);
    let errors = figures.errors.to_string();
    assert!(errors.contains("code 2 (busy on purpose)"), "{errors}");
}

#[test]
fn messages_that_do_not_follow_each_other_are_noticed() {
    let broker = Broker::start(Fault::Skips);
    let words = ["pull", "--preload", "1000", "--duration", "0.2"];
    let figures = broker.run(&words).expect("figures");
    assert_eq!(figures.messages, 0);
    let errors = figures.errors.to_string();
    assert!(errors.contains("pulls out of order"), "{errors}");
}

#[test]
fn the_server_s_cost_is_read_from_its_process() {
    let server = EchoServer::start(0).expect("an echo server");
    let pid = std::process::id().to_string();
    let words = ["send", "--duration", "0.3", "--pid", &pid];
    let figures = clean(run(server.address(), &words));
    let used = figures.server.expect("figures of the process");
    assert!(used.anonymous_bytes > 0);
    assert!(figures.cpu_per_million().expect("messages") > 0.0);
    assert!(used.cpu.as_secs_f64() > 0.05, "{used:?}");
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let error = run("127.0.0.1:1", &["send"]).expect_err("nobody listens on port 1");
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}
