// SPDX-License-Identifier: Apache-2.0
//! `bench lite`: what very many lite topics cost our server: to fill, to hold idle, to start with;
//! and how long a message takes to a client that subscribes to many of them.

use std::{
    collections::BTreeSet,
    fmt, fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use aerobee_remoting::{
    Encoding, Output, RequestCode, ResponseCode,
    body::{
        group::SubscriptionGroupConfig,
        lite::{LiteAction, LiteSubscription, LiteSubscriptions, OffsetOption, OffsetOptionType},
    },
    fastjson,
    header::{
        Empty, Request, WriteFields, lite::PopLite, pop::AckMessage, send::SendMessage,
        topic::UpdateTopic,
    },
};
use rustix::process::Signal;
use serde_json::json;

use crate::{
    Error, Latencies,
    control::{Answered, Control},
    own::{Own, OwnArgs},
    process,
    template::{PRODUCER_GROUP, now_millis},
};

const FIRST: &str = "bench-first";
const PARENT: &str = "bench-parent";
const GROUP: &str = "bench-lite-readers";
const CLIENT: &str = "bench-lite-client";
/// Sends in flight while lite topics are filled.
const WINDOW: usize = 256;
/// Lite topics that are subscribed to in one request.
const NAMES: usize = 2_000;
/// How long a pop waits, and a message stays with its client, ms.
const WAIT_MILLIS: i64 = 15_000;
const INVISIBLE_MILLIS: i64 = 60_000;
/// A message without words.
const BODY: [u8; 128] = [b'x'; 128];

/// Options of `bench lite`.
#[derive(Debug, Clone, clap::Args)]
pub struct LiteArgs {
    #[command(flatten)]
    own: OwnArgs,
    /// Lite topics, each with one message.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    topics: u32,
    /// How many of them one client subscribes to.
    #[arg(long, default_value_t = 10_000)]
    subscribed: u32,
    /// Messages whose way to the client is measured.
    #[arg(long, default_value_t = 2_000)]
    messages: u32,
    /// Seconds between the pop and the send, so that the pop waits at the server by then.
    #[arg(long, default_value = "0.002", value_parser = crate::args::seconds, value_name = "SECONDS")]
    gap: Duration,
    /// Seconds to come to rest before memory is read.
    #[arg(long, default_value = "10", value_parser = crate::args::seconds, value_name = "SECONDS")]
    idle: Duration,
}

/// What the server uses.
#[derive(Debug, Clone, Copy)]
struct Used {
    anonymous: u64,
    descriptors: u64,
    files: u64,
    disk: u64,
}

/// What `bench lite` found.
#[derive(Debug)]
pub struct Lite {
    topics: u64,
    subscribed: u64,
    fill: Duration,
    before: Used,
    filled: Used,
    restarted: Used,
    with_subscriber: Used,
    stop: Duration,
    after_stop: Duration,
    after_kill: Duration,
    subscribe: Duration,
    deliveries: Latencies,
}

impl LiteArgs {
    /// Fills the lite topics, restarts the server, subscribes and delivers.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn run(&self) -> Result<Lite, Error> {
        let subscribed = self.subscribed.min(self.topics);
        let mut own = Own::new(&self.own)?;
        own.start(FIRST)?;
        prepare(&own, subscribed)?;
        thread::sleep(self.idle);
        let before = used(&own)?;
        let start = Instant::now();
        self.fill(&own)?;
        let fill = start.elapsed();
        thread::sleep(self.idle);
        let filled = used(&own)?;
        let stop = own.stop(Signal::TERM)?;
        let after_stop = own.start(FIRST)?;
        thread::sleep(self.idle);
        let restarted = used(&own)?;
        own.stop(Signal::KILL)?;
        let after_kill = own.start(FIRST)?;
        let mut consumer = Consumer::connect(&own)?;
        let start = Instant::now();
        consumer.subscribe(subscribed)?;
        let subscribe = start.elapsed();
        let deliveries = self.deliver(&own, &mut consumer, subscribed)?;
        let with_subscriber = used(&own)?;
        own.stop(Signal::TERM)?;
        Ok(Lite {
            topics: self.topics.into(),
            subscribed: subscribed.into(),
            fill,
            before,
            filled,
            restarted,
            with_subscriber,
            stop,
            after_stop,
            after_kill,
            subscribe,
            deliveries,
        })
    }

    /// A message to each lite topic.
    fn fill(&self, own: &Own) -> Result<(), Error> {
        let mut control = Control::connect(&own.broker.to_string())?;
        let mut output = Output::default();
        let mut count = 0;
        for number in 0..self.topics {
            count += 1;
            append_send(&mut output, count, &name(number));
            if count as usize == WINDOW || number + 1 == self.topics {
                control.exchange_all(output.bytes(), count as usize, "a send")?;
                output = Output::default();
                count = 0;
            }
        }
        Ok(())
    }

    /// Sends one message at a time, to lite topics here and there, to a pop that waits.
    fn deliver(
        &self,
        own: &Own,
        consumer: &mut Consumer,
        subscribed: u32,
    ) -> Result<Latencies, Error> {
        let mut producer = Control::connect(&own.broker.to_string())?;
        let mut latencies = Latencies::default();
        if subscribed == 0 {
            return Ok(latencies);
        }
        // One message is there already.
        let mut next = vec![1_i64; subscribed as usize];
        let mut state = 0x2545_F491_4F6C_DD1D_u64;
        for _ in 0..self.messages {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let number = ((state >> 33) % u64::from(subscribed)) as usize;
            let lite = name(number as u32);
            let popping = consumer.begin_pop(WAIT_MILLIS)?;
            thread::sleep(self.gap);
            let mut output = Output::default();
            append_send(&mut output, 1, &lite);
            let sent = Instant::now();
            producer.write(output.bytes())?;
            let popped = consumer.control.await_answer(popping)?;
            latencies.record(sent.elapsed());
            let popped = popped.accept("a pop")?;
            producer.await_answer(1)?.accept("a send")?;
            consumer.ack(&lite, next[number], &popped)?;
            next[number] += 1;
        }
        Ok(latencies)
    }
}

/// The client that subscribes.
struct Consumer {
    control: Control,
    opaque: i32,
}

impl Consumer {
    fn connect(own: &Own) -> Result<Self, Error> {
        Ok(Self {
            control: Control::connect(&own.broker.to_string())?,
            opaque: 1 << 20,
        })
    }

    /// Subscribes to so many lite topics, behind what they hold, and empties the line of those.
    fn subscribe(&mut self, subscribed: u32) -> Result<(), Error> {
        let names: Vec<String> = (0..subscribed).map(name).collect();
        for names in names.chunks(NAMES) {
            let change = LiteSubscription {
                action: LiteAction::PartialAdd,
                client_id: CLIENT.to_owned(),
                group: GROUP.to_owned(),
                lite_topic_set: names.iter().cloned().collect::<BTreeSet<_>>(),
                offset_option: Some(OffsetOption {
                    kind: OffsetOptionType::Policy,
                    value: 2,
                }),
                topic: PARENT.to_owned(),
                version: 0,
            };
            let body = fastjson::to_vec(&LiteSubscriptions {
                subscription_set: vec![change],
            });
            let code = RequestCode::LITE_SUBSCRIPTION_CTL;
            self.control
                .ask(code, &Empty, &body)?
                .accept("a subscription")?;
        }
        // Whatever is in line leads to nothing; the server may have more to put there.
        let mut idle = 0;
        while idle < 5 {
            let popping = self.begin_pop(200)?;
            let answer = self.control.await_answer(popping)?;
            if answer.code == ResponseCode::SUCCESS {
                return Err(Error::Refused {
                    request: "a subscription at the end",
                    code: answer.code.0,
                    remark: "messages of before it came".to_owned(),
                });
            }
            idle += 1;
        }
        Ok(())
    }

    fn begin_pop(&mut self, poll_time: i64) -> Result<i32, Error> {
        let header = PopLite {
            client_id: CLIENT,
            consumer_group: GROUP,
            topic: PARENT,
            max_msg_num: 32,
            invisible_time: INVISIBLE_MILLIS,
            poll_time,
            born_time: now_millis(),
            attempt_id: None,
        };
        self.begin(&header)
    }

    fn begin<H: Request + WriteFields>(&mut self, header: &H) -> Result<i32, Error> {
        self.opaque += 1;
        let mut output = Output::default();
        output.request(Encoding::Json, H::CODE, self.opaque, false, header, &[]);
        self.control.write(output.bytes())?;
        Ok(self.opaque)
    }

    fn ack(&mut self, lite: &str, offset: i64, popped: &Answered) -> Result<(), Error> {
        let pop_time = popped.fields.fields().get("popTime").unwrap_or("0");
        let handle = format!("0 {pop_time} {INVISIBLE_MILLIS} 999 0 broker-a 0 {offset}");
        let header = AckMessage {
            consumer_group: GROUP,
            topic: PARENT,
            queue_id: 0,
            extra_info: &handle,
            offset,
            lite_topic: Some(lite),
        };
        let acked = self.begin(&header)?;
        self.control
            .await_answer(acked)?
            .accept("an acknowledgement")?;
        Ok(())
    }
}

/// Makes the parent and the group.
fn prepare(own: &Own, subscribed: u32) -> Result<(), Error> {
    let mut control = Control::connect(&own.broker.to_string())?;
    let header = UpdateTopic {
        topic: PARENT,
        default_topic: Some("TBW102"),
        read_queue_nums: 4,
        write_queue_nums: 4,
        perm: 6,
        topic_filter_type: "SINGLE_TAG",
        topic_sys_flag: Some(0),
        order: false,
        attributes: Some("+message.type=LITE,+lite.topic.expiration=-1"),
        force: None,
    };
    let code = RequestCode::UPDATE_AND_CREATE_TOPIC;
    control
        .ask(code, &header, &[])?
        .accept("the creation of the parent")?;
    let attributes = [
        ("+lite.bind.topic", PARENT.to_owned()),
        ("+lite.sub.client.quota", subscribed.max(2_000).to_string()),
    ];
    let group = SubscriptionGroupConfig {
        group_name: GROUP.to_owned(),
        attributes: attributes
            .map(|(key, value)| (key.to_owned(), value))
            .into(),
        ..SubscriptionGroupConfig::default()
    };
    let code = RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
    control
        .ask(code, &Empty, &fastjson::to_vec(&group))?
        .accept("the creation of the group")?;
    Ok(())
}

fn append_send(output: &mut Output, opaque: i32, lite: &str) {
    let properties = format!("__LITE_TOPIC\u{1}{lite}\u{2}WAIT\u{1}true\u{2}");
    let header = SendMessage {
        producer_group: PRODUCER_GROUP,
        topic: PARENT,
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id: 0,
        sys_flag: 0,
        born_timestamp: now_millis(),
        flag: 0,
        properties: &properties,
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
        broker_name: Some("broker-a"),
    };
    let code = RequestCode::SEND_MESSAGE_V2;
    output.request(Encoding::Json, code, opaque, false, &header, &BODY);
}

fn name(number: u32) -> String {
    format!("customer-{number}")
}

fn used(own: &Own) -> Result<Used, Error> {
    let pid = own.pid();
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))
        .map_err(|source| Error::Process { pid, source })?
        .count() as u64;
    let (mut files, mut disk) = (0, 0);
    count(&own.store(), &mut files, &mut disk)?;
    Ok(Used {
        anonymous: process::anonymous_bytes(&[pid])?,
        descriptors,
        files,
        disk,
    })
}

/// Files below a folder, and the bytes that they take of the disk.
fn count(folder: &Path, files: &mut u64, disk: &mut u64) -> Result<(), Error> {
    use std::os::unix::fs::MetadataExt as _;
    let at = |source| Error::File {
        path: folder.to_owned(),
        source,
    };
    for entry in fs::read_dir(folder).map_err(at)? {
        let entry = entry.map_err(at)?;
        let Ok(data) = entry.metadata() else {
            // Gone meanwhile.
            continue;
        };
        if data.is_dir() {
            count(&entry.path(), files, disk)?;
        } else {
            *files += 1;
            *disk += data.blocks() * 512;
        }
    }
    Ok(())
}

impl Lite {
    fn bytes_per_topic(&self, used: &Used) -> f64 {
        used.anonymous.saturating_sub(self.before.anonymous) as f64 / self.topics.max(1) as f64
    }

    /// The figures as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        let used = |used: &Used| {
            json!({
                "anonymous_bytes": used.anonymous,
                "bytes_per_lite_topic": self.bytes_per_topic(used),
                "descriptors": used.descriptors,
                "files": used.files,
                "disk_bytes": used.disk,
            })
        };
        json!({
            "lite_topics": self.topics,
            "subscribed": self.subscribed,
            "fill_seconds": self.fill.as_secs_f64(),
            "stop_ms": self.stop.as_secs_f64() * 1e3,
            "first_answer_ms": {
                "after_stop": self.after_stop.as_secs_f64() * 1e3,
                "after_kill": self.after_kill.as_secs_f64() * 1e3,
            },
            "subscribe_seconds": self.subscribe.as_secs_f64(),
            "delivery_us": self.deliveries.to_json(),
            "without": used(&self.before),
            "idle": used(&self.filled),
            "idle_after_restart": used(&self.restarted),
            "with_subscriber": used(&self.with_subscriber),
        })
    }
}

impl fmt::Display for Lite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "lite topics                {}", self.topics)?;
        writeln!(f, "subscribed by one client   {}", self.subscribed)?;
        for (name, time) in [
            ("a message to each", self.fill),
            ("clean end", self.stop),
            ("start after it, first send", self.after_stop),
            ("start after SIGKILL", self.after_kill),
            ("subscribe, come to rest", self.subscribe),
        ] {
            writeln!(f, "{name:<26} {:.3} s", time.as_secs_f64())?;
        }
        writeln!(
            f,
            "a message to its client    median {:.3} ms, 99 % within {:.3} ms, {} messages",
            self.deliveries.quantile(0.5).as_secs_f64() * 1e3,
            self.deliveries.quantile(0.99).as_secs_f64() * 1e3,
            self.deliveries.count()
        )?;
        for (name, used) in [
            ("without lite topics", &self.before),
            ("idle", &self.filled),
            ("idle after a restart", &self.restarted),
            ("with the subscriber", &self.with_subscriber),
        ] {
            writeln!(
                f,
                "{name:<26} {:.1} MiB anonymous ({:.0} B per lite topic), {} descriptors, {} files, {:.1} MiB of disk",
                used.anonymous as f64 / f64::from(1 << 20),
                self.bytes_per_topic(used),
                used.descriptors,
                used.files,
                used.disk as f64 / f64::from(1 << 20),
            )?;
        }
        Ok(())
    }
}
