// SPDX-License-Identifier: Apache-2.0
//! What name servers hear of a broker: codes 103 and 104.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

use crate::support::{Message, Running, heartbeat, read, write};

const REGISTER: i64 = 103;
const UNREGISTER: i64 = 104;

/// A name server that answers what it is told to, and hands on what it hears.
struct NameServer {
    address: String,
    heard: mpsc::UnboundedReceiver<Message>,
    task: tokio::task::JoinHandle<()>,
}

impl NameServer {
    async fn start(answer: Value) -> Self {
        Self::start_at("127.0.0.1:0", answer).await
    }

    async fn start_at(address: &str, answer: Value) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, heard) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                while stream.readable().await.is_ok() && !is_over(&stream).await {
                    let message = read(&mut stream).await;
                    let header = json!({
                        "code": 0, "flag": 1, "language": "JAVA", "version": 513,
                        "opaque": message.header["opaque"], "extFields": {},
                    });
                    write(&mut stream, &header, answer.to_string().as_bytes()).await;
                    sender.send(message).unwrap();
                }
            }
        });
        Self {
            address,
            heard,
            task,
        }
    }

    async fn next(&mut self) -> Message {
        let heard = timeout(Duration::from_secs(60), self.heard.recv()).await;
        heard.unwrap().unwrap()
    }
}

async fn is_over(stream: &TcpStream) -> bool {
    stream.peek(&mut [0]).await.is_ok_and(|bytes| bytes == 0)
}

fn topics(message: &Message) -> Value {
    message.json()["topicConfigSerializeWrapper"]["topicConfigTable"].clone()
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[tokio::test]
async fn a_broker_registers_and_unregisters() {
    let mut server = NameServer::start(json!({"table": {}})).await;
    let running = Running::start_with(&[("namesrvAddr", &server.address)]).await;
    let address = running.broker.advertised().to_string();
    let message = server.next().await;
    assert_eq!(message.code(), REGISTER);
    assert_eq!(message.field("brokerName"), "broker-a");
    assert_eq!(message.field("brokerAddr"), address);
    assert_eq!(message.field("clusterName"), "DefaultCluster");
    assert_eq!(message.field("brokerId"), "0");
    assert_eq!(message.field("enableActingMaster"), "false");
    assert_eq!(message.field("compressed"), "false");
    assert!(message.field("haServerAddr").starts_with("127.0.0.1:"));
    let crc = crc32(&message.body) & 0x7fff_ffff;
    assert_eq!(message.field("bodyCrc32"), crc.to_string());
    assert_eq!(topics(&message)["TBW102"]["perm"], 7);
    assert_eq!(message.json()["filterServerList"], json!([]));
    running.broker.stop().await.unwrap();
    let message = server.next().await;
    assert_eq!(message.code(), UNREGISTER);
    assert_eq!(message.field("brokerName"), "broker-a");
    assert_eq!(message.field("brokerAddr"), address);
    assert_eq!(message.field("clusterName"), "DefaultCluster");
    assert_eq!(message.field("brokerId"), "0");
}

#[tokio::test]
async fn a_new_topic_is_announced_before_it_is_answered() {
    let mut server = NameServer::start(json!({"table": {}})).await;
    let running = Running::start_with(&[("namesrvAddr", &server.address)]).await;
    let full = server.next().await;
    let version =
        |message: &Message| message.json()["topicConfigSerializeWrapper"]["dataVersion"].clone();
    let mut client = running.connect().await;
    client.create_topic("t", 2).await;
    let message = server.heard.try_recv().unwrap();
    assert_eq!(topics(&message).as_object().unwrap().len(), 1);
    assert_eq!(topics(&message)["t"]["writeQueueNums"], 2);
    assert_ne!(version(&message), version(&full));
    // So is a topic that a first message creates.
    assert_eq!(client.send("fresh", 0, "x").await.code(), 0);
    let message = server.heard.try_recv().unwrap();
    assert!(topics(&message)["fresh"].is_object());
    // A retry topic follows without anybody waiting.
    client.consume("c1", "g", "t").await;
    assert!(topics(&server.next().await)["%RETRY%g"].is_object());
}

#[tokio::test]
async fn name_servers_hear_which_topics_are_of_units() {
    let mut server = NameServer::start(json!({"table": {}})).await;
    let running = Running::start_with(&[("namesrvAddr", &server.address)]).await;
    server.next().await;
    let mut client = running.connect().await;
    let fields = json!({
        "a": "producers", "b": "units", "c": "TBW102", "d": "4", "e": "0", "f": "0",
        "g": "1700000000000", "h": "0", "i": "", "j": "0", "k": "true", "m": "false",
    });
    assert_eq!(client.ask(310, fields, b"m").await.code(), 0);
    assert_eq!(topics(&server.next().await)["units"]["topicSysFlag"], 1);
    let mut beat = heartbeat("c1", "g", "units");
    beat["consumerDataSet"][0]["unitMode"] = json!(true);
    assert_eq!(client.ask_json(34, &beat).await.code(), 0);
    assert_eq!(topics(&server.next().await)["%RETRY%g"]["topicSysFlag"], 2);
}

#[tokio::test]
async fn order_topics_come_from_the_name_server() {
    let order = json!({"table": {"SELF_TEST_TOPIC": "broker-a:1", "unknown": "broker-a:1"}});
    let mut server = NameServer::start(order).await;
    let running = Running::start_with(&[("namesrvAddr", &server.address)]).await;
    server.next().await;
    let mut client = running.connect().await;
    let topic = client
        .ask(351, json!({"topic": "SELF_TEST_TOPIC"}), &[])
        .await
        .json();
    assert_eq!(topic["order"], true);
    assert_eq!(
        client
            .ask(351, json!({"topic": "unknown"}), &[])
            .await
            .code(),
        17
    );
}

#[tokio::test]
async fn a_dead_name_server_holds_nobody_up() {
    let mut server = NameServer::start(json!({"table": {}})).await;
    // It takes connections and never says a word.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let servers = format!("{};{}", mute.local_addr().unwrap(), server.address);
    let running = Running::start_with(&[("namesrvAddr", &servers)]).await;
    server.next().await;
    let mut client = running.connect().await;
    let started = Instant::now();
    for number in 0..5 {
        client.create_topic(&format!("t{number}"), 1).await;
        assert!(topics(&server.next().await)[format!("t{number}")].is_object());
    }
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_restarted_name_server_hears_of_us_soon() {
    let mut server = NameServer::start(json!({"table": {}})).await;
    let running = Running::start_with(&[("namesrvAddr", &server.address)]).await;
    server.next().await;
    let address = server.address.clone();
    server.task.abort();
    let _ = server.task.await;
    let started = Instant::now();
    let mut server = NameServer::start_at(&address, json!({"table": {}})).await;
    let message = server.next().await;
    assert_eq!(message.code(), REGISTER);
    assert!(
        topics(&message).as_object().unwrap().len() > 1,
        "everything"
    );
    assert!(
        started.elapsed() < Duration::from_secs(9),
        "{:?}",
        started.elapsed()
    );
    drop(running);
}

#[tokio::test]
async fn permissions_and_name_servers_change_while_running() {
    let mut one = NameServer::start(json!({"table": {}})).await;
    let mut two = NameServer::start(json!({"table": {}})).await;
    let running = Running::start_with(&[("namesrvAddr", &one.address)]).await;
    one.next().await;
    let mut client = running.connect().await;
    let change = "brokerPermission=4";
    assert_eq!(client.ask(25, json!({}), change.as_bytes()).await.code(), 0);
    let message = one.next().await;
    assert_eq!(topics(&message)["SELF_TEST_TOPIC"]["perm"], 4);
    assert_eq!(topics(&message)["TBW102"]["perm"], 4);
    let change = format!("namesrvAddr={}", two.address);
    assert_eq!(client.ask(25, json!({}), change.as_bytes()).await.code(), 0);
    assert_eq!(two.next().await.code(), REGISTER);
    client.create_topic("t", 1).await;
    assert!(topics(&two.next().await)["t"].is_object());
    assert!(one.heard.try_recv().is_err(), "no longer asked for");
}
