// SPDX-License-Identifier: Apache-2.0
//! What the log tells of operators, and how it is changed while the server runs.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Instant,
};

use serde_json::Value;

use crate::support::{PATIENCE, Server, port_in};

/// UPDATE_BROKER_CONFIG.
const UPDATE: i32 = 25;

/// The code of an answer, its whole header, and our address.
fn update(port: u16, body: &str) -> (i64, String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let header =
        format!(r#"{{"code":{UPDATE},"flag":0,"language":"OTHER","opaque":1,"version":0}}"#);
    let length = |bytes: usize| u32::try_from(bytes).unwrap().to_be_bytes();
    stream
        .write_all(&length(4 + header.len() + body.len()))
        .unwrap();
    stream.write_all(&length(header.len())).unwrap();
    stream.write_all(header.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes).unwrap();
    let total = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
    let mut rest = vec![0; total - 4];
    stream.read_exact(&mut rest).unwrap();
    let answer: Value = serde_json::from_slice(&rest).unwrap();
    let peer = stream.local_addr().unwrap().to_string();
    (answer["code"].as_i64().unwrap(), answer.to_string(), peer)
}

/// Waits for a line of the log for which `wanted` says so.
fn line(server: &Server, wanted: impl Fn(&Value) -> bool) -> Value {
    let path = server.directory.path().join("a.log");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut lines = whole.lines().map(|line| {
            serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        });
        if let Some(found) = lines.find(&wanted) {
            return found;
        }
        assert!(Instant::now() < deadline, "not in the log: {text}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn acts_of_operators_are_told_with_their_address() {
    let server = Server::start(&["--no-http", "--log-format", "json", "--log-file", "a.log"]);
    server.bench(&[
        "bench", "send", "--topic", "told", "--count", "1", "--warmup", "0",
    ]);
    let act = line(&server, |line| line["request"] == "UPDATE_AND_CREATE_TOPIC");
    assert_eq!(act["code"], 17, "{act}");
    assert!(
        act["peer"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{act}"
    );
    assert!(act["fields"].as_str().unwrap().contains("told"), "{act}");

    let broker = port_in(&server.greeting, "broker");
    let (code, answer, peer) = update(
        broker,
        "logLevel=info,aerobee_store=debug\nbrokerName=other\n",
    );
    assert_eq!(code, 0, "{answer}");
    let change = line(&server, |line| line["key"] == "logLevel");
    assert_eq!(change["peer"], peer.as_str(), "{change}");
    assert_eq!(change["now"], "info,aerobee_store=debug", "{change}");
    assert_eq!(change["counts"], "at once", "{change}");
    let change = line(&server, |line| line["key"] == "brokerName");
    assert_eq!(
        (&change["before"], &change["counts"]),
        (
            &Value::from("broker-a"),
            &Value::from("from the next start on")
        ),
        "{change}"
    );
    line(&server, |line| line["message"] == "log level changed");

    let (code, answer, _) = update(broker, "logLevel=loud\n");
    assert_ne!(code, 0, "{answer}");
    assert!(
        answer.contains("logLevel") && answer.contains("loud"),
        "{answer}"
    );
}
