// SPDX-License-Identifier: Apache-2.0
//! Ten thousand connections that say nothing.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::{
    io::{BufRead as _, BufReader},
    net::TcpStream,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use aerobee_remoting::{Client, Empty, Limits, RequestCode, Server, client::NoRequests};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const WANTED: usize = 10_000;
/// Tells the second process, which is this test binary again, where to connect to.
const ADDRESS: &str = "AEROBEE_TEST_SILENT_ADDRESS";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_silent_connections_leave_the_server_answering_and_cost_little() {
    if let Ok(address) = std::env::var(ADDRESS) {
        return be_silent(&address);
    }
    allow_files(WANTED as u64 + 200);
    let server = Server::bind(
        "127.0.0.1:0".parse().unwrap(),
        Arc::new(NoRequests),
        Limits::default(),
    )
    .unwrap();
    let address = server.address().to_string();
    let before = anonymous_kib();
    let mut other = Command::new(std::env::current_exe().unwrap())
        .arg("--nocapture")
        .env(ADDRESS, &address)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(other.stdout.take().unwrap()).lines();
    let connected = lines
        .map_while(Result::ok)
        .any(|line| line.contains("connected"));
    assert!(connected);
    let answer = Client::new()
        .request(
            &address,
            RequestCode(4711),
            &Empty,
            b"",
            Duration::from_secs(10),
        )
        .await
        .unwrap();
    assert_eq!(answer.code.0, 3);
    assert!(server.connections() >= WANTED, "{}", server.connections());
    let each_bytes = (anonymous_kib() - before) * 1024 / WANTED as u64;
    assert!(
        each_bytes <= 2048,
        "a silent connection costs {each_bytes} bytes"
    );
    other.kill().unwrap();
    other.wait().unwrap();
}

/// The other end: connects and waits to be killed.
fn be_silent(address: &str) {
    allow_files(WANTED as u64 + 200);
    let silent: Vec<TcpStream> = (0..WANTED)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    println!("connected");
    std::thread::sleep(Duration::from_secs(60));
    drop(silent);
}

fn allow_files(wanted: u64) {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX).max(wanted);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(current),
            maximum: limit.maximum,
        },
    )
    .expect("the hard limit of open files allows this test");
}

fn anonymous_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
