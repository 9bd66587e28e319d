// SPDX-License-Identifier: Apache-2.0

//! Asks name servers and brokers, with frames made by hand: the harness must not depend on the code that it judges.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

const UPDATE_AND_CREATE_TOPIC: u16 = 17;
const GET_ROUTEINFO_BY_TOPIC: u16 = 105;
const GET_BROKER_CLUSTER_INFO: u16 = 106;
const UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: u16 = 200;
const TIMEOUT: Duration = Duration::from_secs(2);
/// A broker that is busy with others may take its time to write a topic.
const CREATE_TIMEOUT: Duration = Duration::from_secs(30);
const ROUTE_LIMIT: Duration = Duration::from_secs(60);
const MAX_ANSWER_BYTES: u32 = 1 << 20;

/// Whether something accepts connections there.
pub(crate) fn listens(port: u16) -> bool {
    connect(port, TIMEOUT).is_ok()
}

/// The brokers that the name server knows, as its JSON.
pub(crate) fn cluster_info(namesrv: u16) -> io::Result<String> {
    ask(namesrv, GET_BROKER_CLUSTER_INFO, &json!({}), b"", TIMEOUT)
}

/// Makes a topic whose messages are of one type.
pub(crate) fn create_topic(broker: u16, name: &str, kind: &str, queues: u32) -> io::Result<()> {
    let queues = queues.to_string();
    let fields = json!({
        "topic": name, "defaultTopic": "TBW102", "readQueueNums": queues, "writeQueueNums": queues, "perm": "6",
        "topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false",
        "attributes": format!("+message.type={kind}"),
    });
    succeed(broker, UPDATE_AND_CREATE_TOPIC, &fields, b"")
}

/// Makes a group of consumers with these attributes, each key behind a plus.
pub(crate) fn create_group(
    broker: u16,
    name: &str,
    orderly: bool,
    retries: u32,
    attributes: &Value,
) -> io::Result<()> {
    let group = json!({
        "groupName": name, "consumeEnable": true, "consumeFromMinEnable": true, "consumeBroadcastEnable": true,
        "consumeMessageOrderly": orderly, "retryQueueNums": 1, "retryMaxTimes": retries, "brokerId": 0,
        "whichBrokerWhenConsumeSlowly": 1, "notifyConsumerIdsChangedEnable": true,
        "attributes": attributes,
    });
    succeed(
        broker,
        UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
        &json!({}),
        group.to_string().as_bytes(),
    )
}

/// Waits until the name server tells where the topic is.
pub(crate) fn await_route(namesrv: u16, topic: &str) -> io::Result<()> {
    let deadline = Instant::now() + ROUTE_LIMIT;
    loop {
        let fields = json!({"topic": topic});
        let told = ask(namesrv, GET_ROUTEINFO_BY_TOPIC, &fields, b"", TIMEOUT);
        match told {
            Ok(answer) if answer.contains("brokerDatas") => return Ok(()),
            Ok(answer) if Instant::now() > deadline => return Err(io::Error::other(answer)),
            Err(error) if Instant::now() > deadline => return Err(error),
            Ok(_) | Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn succeed(port: u16, code: u16, fields: &Value, body: &[u8]) -> io::Result<()> {
    let answer = ask(port, code, fields, body, CREATE_TIMEOUT)?;
    // The header is a JSON object of its own in front of the body.
    let mut values = serde_json::Deserializer::from_str(&answer).into_iter::<Value>();
    match values.next() {
        Some(Ok(header)) if header["code"] == 0 => Ok(()),
        _ => Err(io::Error::other(format!(
            "the answer to {code} is {answer}"
        ))),
    }
}

/// The header and the body of the answer, one after the other.
fn ask(port: u16, code: u16, fields: &Value, body: &[u8], limit: Duration) -> io::Result<String> {
    let mut stream = connect(port, limit)?;
    let header = json!({
        "code": code, "flag": 0, "language": "OTHER", "opaque": 1, "version": 0, "extFields": fields,
    })
    .to_string();
    let header_bytes = u32::try_from(header.len()).map_err(io::Error::other)?;
    let body_bytes = u32::try_from(body.len()).map_err(io::Error::other)?;
    let mut frame = Vec::new();
    frame.extend_from_slice(&(header_bytes + 4 + body_bytes).to_be_bytes());
    frame.extend_from_slice(&header_bytes.to_be_bytes());
    frame.extend_from_slice(header.as_bytes());
    frame.extend_from_slice(body);
    stream.write_all(&frame)?;
    let mut sizes = [0; 8];
    stream.read_exact(&mut sizes)?;
    let [a, b, c, d, ..] = sizes;
    let length = u32::from_be_bytes([a, b, c, d]);
    if !(4..=MAX_ANSWER_BYTES).contains(&length) {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    let mut answer = Vec::new();
    stream
        .take(u64::from(length) - 4)
        .read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn connect(port: u16, limit: Duration) -> io::Result<TcpStream> {
    let stream =
        TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), TIMEOUT)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    Ok(stream)
}
