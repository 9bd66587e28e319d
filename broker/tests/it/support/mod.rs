// SPDX-License-Identifier: Apache-2.0
//! A broker on port 0 with a store of its own, and a client that speaks frames.

pub(crate) mod delayed;
pub(crate) mod gate;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use aerobee_auth::sign::Credentials;
use aerobee_broker::{Broker, Config};
use aerobee_remoting::{OwnedFields, client::Signer as _, header::FieldWriter as _};
use aerobee_store::{Clock, DiskSpace, Env, Faults, Operation, Time};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longest wait for anything that has to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running broker and its directory.
pub(crate) struct Running {
    pub(crate) broker: Broker,
    pub(crate) directory: TempDir,
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(keys: &[(&str, &str)]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), keys).await
    }

    pub(crate) async fn start_in(directory: TempDir, keys: &[(&str, &str)]) -> Self {
        let env = Env::with(Arc::new(NoFaults), Clock::system());
        Self::start_on(directory, keys, env).await
    }

    /// As [`Running::start_in`], with a clock that stands still until it is told otherwise.
    pub(crate) async fn start_at(directory: TempDir, keys: &[(&str, &str)], clock: &Hand) -> Self {
        let clock = Clock::given(Arc::new(clock.clone()));
        Self::start_on(directory, keys, Env::with(Arc::new(NoFaults), clock)).await
    }

    /// As [`Running::start_in`], on a file system of the test's.
    pub(crate) async fn start_on(directory: TempDir, keys: &[(&str, &str)], env: Env) -> Self {
        let config = config(directory.path(), keys);
        let broker = Broker::start_in(config, env).await.unwrap();
        Self { broker, directory }
    }

    /// As [`Running::start`], on a port that has room for the fast port two below it.
    pub(crate) async fn start_with_fast_port() -> Self {
        for _ in 0..1_000 {
            let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let port = probe.local_addr().unwrap().port().to_string();
            drop(probe);
            let directory = tempfile::tempdir().unwrap();
            let config = config(directory.path(), &[("listenPort", &port)]);
            let env = Env::with(Arc::new(NoFaults), Clock::system());
            // Somebody else may have one of the two ports.
            if let Ok(broker) = Broker::start_in(config, env).await {
                return Self { broker, directory };
            }
        }
        panic!("no two free ports were found");
    }

    /// A copy of the directory as a crash in this moment would leave it.
    pub(crate) fn crashed(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        copy_tree(self.directory.path(), copy.path());
        copy
    }

    pub(crate) async fn connect(&self) -> Client {
        Client::connect(self.broker.address()).await
    }

    /// Stops the broker and starts another one on its directory.
    pub(crate) async fn restart(self) -> Self {
        self.restart_with(&[]).await
    }

    pub(crate) async fn restart_with(self, keys: &[(&str, &str)]) -> Self {
        self.broker.stop().await.unwrap();
        Self::start_in(self.directory, keys).await
    }

    pub(crate) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap()
    }
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A clock that is moved by hand.
#[derive(Debug, Clone)]
pub(crate) struct Hand {
    millis: Arc<AtomicI64>,
    start: Instant,
}

impl Hand {
    pub(crate) fn new() -> Self {
        Self {
            millis: Arc::new(AtomicI64::new(1_700_000_000_000)),
            start: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> i64 {
        self.millis.load(Ordering::SeqCst)
    }

    pub(crate) fn forward(&self, millis: i64) {
        self.millis.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Time for Hand {
    fn wall_millis(&self) -> i64 {
        self.now()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

#[derive(Debug)]
struct NoFaults;

impl Faults for NoFaults {
    fn before(&self, _: Operation, _: &Path) -> std::io::Result<()> {
        Ok(())
    }

    /// What else fills the disk of the machine that runs the tests must not change what they see.
    fn space(&self, _: &Path) -> Option<DiskSpace> {
        Some(DiskSpace {
            total: 100 << 30,
            used: 10 << 30,
            usable: 90 << 30,
        })
    }
}

pub(crate) fn config(directory: &Path, keys: &[(&str, &str)]) -> Config {
    let mut config = Config::default();
    let fixed = [
        ("listenPort", "0"),
        ("bindAddress", "127.0.0.1"),
        ("brokerIP1", "127.0.0.1"),
        ("brokerIP2", "127.0.0.1"),
        ("brokerName", "broker-a"),
        ("storePathRootDir", directory.to_str().unwrap()),
        ("mappedFileSizeCommitLog", "1048576"),
        ("maxHashSlotNum", "1000"),
        ("maxIndexNum", "4000"),
    ];
    for (key, value) in fixed.iter().chain(keys) {
        config.set(key, value).unwrap();
    }
    config
}

/// A command that came over the wire.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) header: Value,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn code(&self) -> i64 {
        self.header["code"].as_i64().unwrap()
    }

    pub(crate) fn remark(&self) -> &str {
        self.header["remark"].as_str().unwrap_or_default()
    }

    pub(crate) fn field(&self, name: &str) -> &str {
        self.header["extFields"][name].as_str().unwrap_or_default()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn is_response(&self) -> bool {
        self.header["flag"].as_i64().unwrap_or(0) & 1 != 0
    }
}

/// Reads one frame with a JSON header.
pub(crate) async fn read(stream: &mut TcpStream) -> Message {
    let length = stream.read_u32().await.unwrap() as usize;
    let word = stream.read_u32().await.unwrap();
    assert_eq!(word >> 24, 0, "answers to JSON are JSON");
    let header_length = (word & 0x00ff_ffff) as usize;
    let mut header = vec![0; header_length];
    stream.read_exact(&mut header).await.unwrap();
    let mut body = vec![0; length - 4 - header_length];
    stream.read_exact(&mut body).await.unwrap();
    Message {
        header: serde_json::from_slice(&header).unwrap(),
        body,
    }
}

/// Writes one frame with a JSON header.
pub(crate) async fn write(stream: &mut TcpStream, header: &Value, body: &[u8]) {
    stream.write_all(&frame(header, body)).await.unwrap();
}

fn frame(header: &Value, body: &[u8]) -> Vec<u8> {
    let header = header.to_string();
    let length = 4 + header.len() + body.len();
    let mut frame = u32::try_from(length).unwrap().to_be_bytes().to_vec();
    frame.extend(u32::try_from(header.len()).unwrap().to_be_bytes());
    frame.extend(header.as_bytes());
    frame.extend(body);
    frame
}

/// A client as an SDK is one.
pub(crate) struct Client {
    stream: TcpStream,
    opaque: i64,
    /// Requests of the broker that came between answers.
    requests: VecDeque<Message>,
    /// Who signs what is asked.
    keys: Option<Credentials>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            opaque: 0,
            requests: VecDeque::new(),
            keys: None,
        }
    }

    /// The same as a user: what it asks and tells is signed.
    pub(crate) fn signed(mut self, user: &str, password: &str) -> Self {
        self.keys = Some(Credentials::new(user, password, None));
        self
    }

    /// The same connection, and nothing is signed from now on.
    pub(crate) fn unsigned(mut self) -> Self {
        self.keys = None;
        self
    }

    fn sign(&self, fields: Value, body: &[u8]) -> Value {
        let Some(keys) = &self.keys else {
            return fields;
        };
        let mut signed = OwnedFields::default();
        for (name, value) in fields.as_object().unwrap() {
            signed.pair(name, value.as_str().unwrap());
        }
        keys.sign(&mut signed, body);
        let pairs = signed.fields().to_owned_pairs().into_iter();
        pairs
            .map(|(name, value)| (name, Value::from(value)))
            .collect()
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn ask(&mut self, code: i32, fields: Value, body: &[u8]) -> Message {
        self.opaque += 1;
        let fields = self.sign(fields, body);
        let header = json!({
            "code": code, "extFields": fields, "flag": 0, "language": "JAVA",
            "opaque": self.opaque, "serializeTypeCurrentRPC": "JSON", "version": 513,
        });
        write(&mut self.stream, &header, body).await;
        loop {
            let message = timeout(PATIENCE, read(&mut self.stream)).await.unwrap();
            if !message.is_response() {
                self.requests.push_back(message);
                continue;
            }
            assert_eq!(message.header["opaque"], self.opaque);
            return message;
        }
    }

    /// Sends a request that is going to wait, and returns when the broker has it.
    pub(crate) async fn park(&mut self, code: i32, fields: Value) {
        self.opaque += 1;
        let header = json!({
            "code": code, "extFields": fields, "flag": 0, "language": "JAVA",
            "opaque": self.opaque, "serializeTypeCurrentRPC": "JSON", "version": 513,
        });
        write(&mut self.stream, &header, &[]).await;
        // Requests of one connection are taken one after the other, so this one is answered when that one waits.
        assert_eq!(self.ask(-1, json!({}), &[]).await.code(), 3);
    }

    /// Sends requests in one piece, without waiting for answers; the number of the first, from which
    /// the others are counted on.
    pub(crate) async fn ask_at_once(&mut self, requests: &[(i32, Value, &[u8])]) -> i64 {
        let first = self.opaque + 1;
        let mut piece = Vec::new();
        for (code, fields, body) in requests {
            self.opaque += 1;
            let header = json!({
                "code": code, "extFields": fields, "flag": 0, "language": "JAVA",
                "opaque": self.opaque, "serializeTypeCurrentRPC": "JSON", "version": 513,
            });
            piece.extend(frame(&header, body));
        }
        self.stream.write_all(&piece).await.unwrap();
        first
    }

    /// Sends so many equal requests without reading anything, unless the broker closes the
    /// connection; the number of the last.
    pub(crate) async fn ask_many(&mut self, code: i32, fields: &Value, count: i64) -> i64 {
        for _ in 0..count {
            self.opaque += 1;
            let header = json!({
                "code": code, "extFields": fields, "flag": 0, "language": "JAVA",
                "opaque": self.opaque, "serializeTypeCurrentRPC": "JSON", "version": 513,
            });
            if self.stream.write_all(&frame(&header, &[])).await.is_err() {
                break;
            }
        }
        self.opaque
    }

    /// The answer to what waited.
    pub(crate) async fn parked(&mut self) -> Message {
        let message = timeout(PATIENCE, read(&mut self.stream)).await.unwrap();
        assert!(message.is_response());
        message
    }

    /// Is gone in the middle of a request, without a farewell: the connection is reset.
    pub(crate) async fn vanish(mut self) {
        self.stream.write_all(&[0, 0, 1]).await.unwrap();
        self.stream.set_zero_linger().unwrap();
    }

    /// Sends a request that is not answered.
    pub(crate) async fn tell(&mut self, code: i32, fields: Value, body: &[u8]) {
        self.opaque += 1;
        let fields = self.sign(fields, body);
        let header = json!({
            "code": code, "extFields": fields, "flag": 2, "language": "JAVA",
            "opaque": self.opaque, "version": 513,
        });
        write(&mut self.stream, &header, body).await;
    }

    /// As [`Client::ask`], with a JSON body.
    pub(crate) async fn ask_json(&mut self, code: i32, body: &Value) -> Message {
        self.ask(code, json!({}), body.to_string().as_bytes()).await
    }

    /// The next request of the broker.
    pub(crate) async fn requested(&mut self) -> Message {
        if let Some(message) = self.requests.pop_front() {
            return message;
        }
        let message = timeout(PATIENCE, read(&mut self.stream)).await.unwrap();
        assert!(!message.is_response());
        message
    }

    /// Answers a request of the broker.
    pub(crate) async fn answer(&mut self, request: &Message, code: i32, remark: &str, body: &[u8]) {
        let header = json!({
            "code": code, "flag": 1, "language": "JAVA", "opaque": request.header["opaque"],
            "remark": remark, "serializeTypeCurrentRPC": "JSON", "version": 513,
        });
        write(&mut self.stream, &header, body).await;
    }

    /// Whether the broker has asked nothing so far.
    pub(crate) async fn is_left_alone(&mut self) -> bool {
        // Whatever was sent before this answer has arrived before it.
        let answer = self.ask(-1, json!({}), &[]).await;
        assert_eq!(answer.code(), 3);
        self.requests.is_empty()
    }

    /// A heartbeat of a consumer of `topic`.
    pub(crate) async fn consume(&mut self, id: &str, group: &str, topic: &str) -> Message {
        self.ask_json(34, &heartbeat(id, group, topic)).await
    }

    /// Creates a topic.
    pub(crate) async fn create_topic(&mut self, topic: &str, queues: i32) {
        let queues = queues.to_string();
        let fields = json!({
            "topic": topic, "defaultTopic": "TBW102", "readQueueNums": queues,
            "writeQueueNums": queues, "perm": "6", "topicFilterType": "SINGLE_TAG",
            "topicSysFlag": "0", "order": "false",
        });
        let answer = self.ask(17, fields, &[]).await;
        assert_eq!(answer.code(), 0, "{answer:?}");
    }

    /// Sends a message; the answer.
    pub(crate) async fn send(&mut self, topic: &str, queue_id: i32, body: &str) -> Message {
        let fields = json!({
            "a": "producers", "b": topic, "c": "TBW102", "d": "4", "e": queue_id.to_string(),
            "f": "0", "g": "1700000000000", "h": "0", "i": "", "j": "0", "k": "false",
            "m": "false",
        });
        self.ask(310, fields, body.as_bytes()).await
    }
}

/// The body of a consumer's heartbeat.
pub(crate) fn heartbeat(id: &str, group: &str, topic: &str) -> Value {
    json!({
        "clientID": id,
        "consumerDataSet": [{
            "consumeFromWhere": "CONSUME_FROM_LAST_OFFSET",
            "consumeType": "CONSUME_PASSIVELY",
            "groupName": group,
            "messageModel": "CLUSTERING",
            "subscriptionDataSet": [
                {
                    "classFilterMode": false, "codeSet": [], "expressionType": "TAG",
                    "subString": "*", "subVersion": 1_700_000_000_000_i64, "tagsSet": [],
                    "topic": topic,
                },
                {
                    "classFilterMode": false, "codeSet": [], "expressionType": "TAG",
                    "subString": "*", "subVersion": 1_700_000_000_000_i64, "tagsSet": [],
                    "topic": format!("%RETRY%{group}"),
                },
            ],
            "unitMode": false,
        }],
        "producerDataSet": [{"groupName": "CLIENT_INNER_PRODUCER"}],
    })
}

/// Wall-clock time that a test moves.
#[derive(Debug, Default)]
pub(crate) struct Shift(AtomicI64);

impl Shift {
    /// Lets so much time pass.
    pub(crate) fn advance(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> i64 {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        i64::try_from(now.as_millis()).unwrap() + self.0.load(Ordering::SeqCst)
    }
}

/// The shifted clock of a store.
struct Shifted(Arc<Shift>);

impl Time for Shifted {
    fn wall_millis(&self) -> i64 {
        self.0.now()
    }

    fn monotonic(&self) -> Duration {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }
}

/// A broker whose clock a test moves, on a directory that outlives it.
pub(crate) async fn start_shifted(
    directory: &Path,
    shift: &Arc<Shift>,
    keys: &[(&str, &str)],
) -> Broker {
    let clock = Clock::given(Arc::new(Shifted(Arc::clone(shift))));
    let env = Env::with(Arc::new(NoFaults), clock);
    Broker::start_in(config(directory, keys), env)
        .await
        .unwrap()
}

impl Client {
    /// Sends a message with properties; the answer.
    pub(crate) async fn send_with(
        &mut self,
        topic: &str,
        body: &str,
        properties: &[(&str, &str)],
    ) -> Message {
        self.send_born(topic, 1_700_000_000_000, body, properties)
            .await
    }

    /// The same from a client that says it is `now`.
    pub(crate) async fn send_born(
        &mut self,
        topic: &str,
        now: i64,
        body: &str,
        properties: &[(&str, &str)],
    ) -> Message {
        let mut text = String::new();
        for (name, value) in properties {
            text.push_str(&format!("{name}\u{1}{value}\u{2}"));
        }
        let fields = json!({
            "a": "producers", "b": topic, "c": "TBW102", "d": "4", "e": "0",
            "f": "0", "g": now.to_string(), "h": "0", "i": text, "j": "0", "k": "false",
            "m": "false",
        });
        self.ask(310, fields, body.as_bytes()).await
    }

    /// Pulls from an offset, waiting up to ten seconds for a message.
    pub(crate) async fn pull(&mut self, topic: &str, queue_id: i32, offset: i64) -> Message {
        let fields = json!({
            "consumerGroup": "pullers", "topic": topic, "queueId": queue_id.to_string(),
            "queueOffset": offset.to_string(), "maxMsgNums": "32", "sysFlag": "6",
            "commitOffset": "0", "suspendTimeoutMillis": "10000", "subscription": "*",
            "subVersion": "0", "expressionType": "TAG",
        });
        self.ask(11, fields, &[]).await
    }
}

/// A copy of a directory as a crash in this moment would leave it.
pub(crate) fn copy(from: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_tree(from, copy.path());
    copy
}
