// SPDX-License-Identifier: Apache-2.0
//! The program as its users start and stop it.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{TcpListener, TcpStream},
    os::unix::fs::symlink,
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

fn aerobee(args: &[&str], directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aerobee"));
    command
        .args(args)
        .current_dir(directory)
        .env_remove("NAMESRV_ADDR")
        .env("HOME", directory)
        .stdin(Stdio::null());
    command
}

/// A port that is free, as are the two below, for the fast port, and the one above, for the name
/// server.
fn free_port() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if port > 2000 && (port - 2..=port + 1).all(free) {
            return port;
        }
    }
}

/// A standalone server in a directory of its own.
struct Standalone {
    child: Child,
    greeting: String,
    port: u16,
    directory: TempDir,
}

impl Standalone {
    fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), free_port())
    }

    fn start_in(directory: TempDir, port: u16) -> Self {
        let (broker, namesrv) = (port.to_string(), (port + 1).to_string());
        let args = [
            "--broker-port",
            &broker,
            "--namesrv-port",
            &namesrv,
            "--proxy-port",
            "0",
        ];
        let mut child = aerobee(&args, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut greeting = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while !greeting.contains("Ctrl-C") {
            let line = lines.next().expect("a greeting before the end").unwrap();
            greeting.push_str(&line);
            greeting.push('\n');
        }
        Self {
            child,
            greeting,
            port,
            directory,
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn end(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "it has to end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn fails_with(output: &Output, words: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    let last = error.trim().lines().last().unwrap_or_default();
    assert!(!output.status.success(), "{error}");
    for word in words {
        assert!(last.contains(word), "{word:?} in {last:?}");
    }
}

#[test]
fn it_says_what_listens_where_and_ends_on_a_signal() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Standalone::start();
        for part in [
            format!("127.0.0.1:{}", server.port),
            format!("127.0.0.1:{}", server.port + 1),
            format!("fast port {}", server.port - 2),
            "data".to_owned(),
        ] {
            assert!(
                server.greeting.contains(&part),
                "{part} in {}",
                server.greeting
            );
        }
        for port in [server.port, server.port + 1, server.port - 2] {
            TcpStream::connect(("127.0.0.1", port)).unwrap();
        }
        let store = server.directory.path().join("data/store");
        assert!(store.join("abort").exists(), "the mark of a running store");
        server.signal(signal);
        let status = server.end();
        assert!(status.success(), "{status}");
        assert!(!store.join("abort").exists(), "a clean end");
    }
}

#[test]
fn a_second_server_on_a_port_or_directory_in_use_names_cause_and_fix() {
    let server = Standalone::start();
    let elsewhere = tempfile::tempdir().unwrap();
    let (broker, namesrv) = (server.port.to_string(), (server.port + 1).to_string());
    let other = free_port();
    let (free_broker, free_namesrv) = (other.to_string(), (other + 1).to_string());
    let start = |broker: &str, namesrv: &str, directory: &Path| {
        let args = [
            "--broker-port",
            broker,
            "--namesrv-port",
            namesrv,
            "--proxy-port",
            "0",
        ];
        aerobee(&args, directory).output().unwrap()
    };
    let output = start(&free_broker, &namesrv, elsewhere.path());
    fails_with(
        &output,
        &["name server", &namesrv, "in use", "--namesrv-port"],
    );
    let output = start(&broker, &free_namesrv, elsewhere.path());
    fails_with(&output, &["broker", &broker, "in use", "--broker-port"]);
    let output = start(&free_broker, &free_namesrv, server.directory.path());
    fails_with(&output, &["data/store", "another"]);
}

#[test]
fn bad_values_and_directories_name_cause_and_fix() {
    let directory = tempfile::tempdir().unwrap();
    let start = |args: &[&str]| aerobee(args, directory.path()).output().unwrap();
    fs::write(
        directory.path().join("bad.conf"),
        "brokerName=b\nlistenPort=many\n",
    )
    .unwrap();
    fs::write(directory.path().join("file"), "").unwrap();
    fails_with(
        &start(&["broker", "-c", "bad.conf"]),
        &["bad.conf, line 2", "listenPort", "many"],
    );
    fails_with(&start(&["broker", "-c", "none.conf"]), &["none.conf"]);
    fails_with(
        &start(&["broker", "-n", "nonsense"]),
        &["nonsense", "HOST:PORT"],
    );
    let port = free_port();
    let (broker, namesrv) = (port.to_string(), (port + 1).to_string());
    let on_a_file = [
        "--data",
        "file",
        "--broker-port",
        &broker,
        "--namesrv-port",
        &namesrv,
    ];
    fails_with(&start(&on_a_file), &["file"]);
    assert!(!start(&["--broker-port", "70000"]).status.success());
    assert!(!start(&["no-such-role"]).status.success());
}

#[test]
fn links_by_apaches_names_print_apaches_keys() {
    let directory = tempfile::tempdir().unwrap();
    for (name, entry) in [
        ("mqbroker", "brokerClusterName=DefaultCluster"),
        ("mqnamesrv", "listenPort=9876"),
    ] {
        let link = directory.path().join(name);
        symlink(env!("CARGO_BIN_EXE_aerobee"), &link).unwrap();
        let output = Command::new(&link)
            .arg("-p")
            .env("HOME", directory.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{output:?}");
        assert!(text.contains(entry), "{entry} in {text}");
    }
}

#[test]
fn a_killed_server_starts_again_on_its_directory() {
    let mut server = Standalone::start();
    server.signal(Signal::KILL);
    server.end();
    let directory = std::mem::replace(&mut server.directory, tempfile::tempdir().unwrap());
    assert!(directory.path().join("data/store/abort").exists());
    let again = Standalone::start_in(directory, free_port());
    assert!(again.greeting.contains("ready"));
}

#[test]
fn help_names_every_role() {
    let directory = tempfile::tempdir().unwrap();
    let help = |args: &[&str]| {
        let output = aerobee(args, directory.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let overview = help(&["--help"]);
    for role in ["standalone", "namesrv", "broker", "proxy", "bench"] {
        assert!(overview.contains(role), "{role} in {overview}");
        assert!(help(&[role, "--help"]).contains("Usage"));
    }
}
