// SPDX-License-Identifier: Apache-2.0
//! The loads of the load generator whose requests follow from answers, against our own server.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aerobee"));
    command
        .current_dir(directory)
        .env("HOME", directory)
        .env_remove("NAMESRV_ADDR")
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// A port that is free, as are the two below, for the fast port, and the one above, for the name
/// server.
fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if port > 2000 && (port - 2..=port + 1).all(free) {
            return port;
        }
    }
}

/// The figures of a load, which has to end without an error.
fn bench(directory: &Path, namesrv: &str, words: &[&str]) -> Value {
    let output = command(directory)
        .args(["bench", "--json"])
        .args(words)
        .args(["-n", &format!("127.0.0.1:{namesrv}"), "--count", "300"])
        .args(["--queues", "2", "--connections", "2"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{words:?}: {text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn what_follows_from_answers_is_counted_to_the_last_message() {
    let directory = tempfile::tempdir().unwrap();
    let broker = free_port();
    let (namesrv, broker) = ((broker + 1).to_string(), broker.to_string());
    let child = command(directory.path())
        .args(["standalone", "--namesrv-port", &namesrv])
        .args(["--broker-port", &broker, "--proxy-port", "0"])
        .arg("--data")
        .arg(directory.path().join("data"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let _server = Server(child);
    let deadline = Instant::now() + Duration::from_secs(60);
    let registered = || {
        let send = ["bench", "send", "--count", "1", "--warmup", "0", "-n"];
        let status = command(directory.path())
            .args(send)
            .arg(format!("127.0.0.1:{namesrv}"))
            .stdout(Stdio::null())
            .status();
        status.unwrap().success()
    };
    while !registered() {
        assert!(Instant::now() < deadline, "the server does not answer");
        std::thread::sleep(Duration::from_millis(50));
    }
    for words in [
        &["pop"][..],
        &["transact"],
        &["delay"],
        &["delay", "--by", "time", "--delay", "1"],
        &["retry"],
    ] {
        let figures = bench(directory.path(), &namesrv, words);
        assert_eq!(figures["messages"], 300, "{words:?}: {figures}");
    }
}
