// SPDX-License-Identifier: Apache-2.0
//! A process that is asked to end by signals. The process is this test program itself, started again
//! with a role in its environment.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of these tests are test code, too"
)]

use std::{
    env,
    io::{BufRead, BufReader, Lines},
    os::unix::process::ExitStatusExt,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use aerobee_daemon::{
    Shutdown,
    logging::{self, LogFlags},
};
use rustix::process::{Pid, Signal, kill_process};

const ROLE: &str = "AEROBEE_TEST_ROLE";

/// Not a test by itself: what the child processes of the tests below run.
#[test]
fn child() {
    let Ok(role) = env::var(ROLE) else {
        return;
    };
    let log_level = "info".to_owned();
    logging::start(&LogFlags {
        log_level,
        ..LogFlags::default()
    })
    .unwrap();
    let limit = match role.as_str() {
        "hanging briefly" => Duration::from_millis(50),
        _ => Duration::from_secs(600),
    };
    let shutdown = Shutdown::on_signals(limit).unwrap();
    println!("\nready");
    while !shutdown.wait_timeout(Duration::from_secs(600)) {}
    println!("draining");
    if role != "draining" {
        // A drain that never ends.
        loop {
            thread::park();
        }
    }
}

struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(role: &str) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(ROLE, role)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut running = Self { child, lines };
        running.wait_for("ready");
        running
    }

    fn wait_for(&mut self, expected: &str) {
        let found = self.lines.any(|line| line.unwrap() == expected);
        assert!(found, "the child ended before it was {expected}");
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its exit code; a signal that ends it without one is a failure.
    fn code(mut self) -> Option<i32> {
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), None);
        status.code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A child that has ended by itself is no error.
        let _ = self.child.kill();
    }
}

#[test]
fn the_first_signal_drains() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut running = Running::start("draining");
        running.send(signal);
        running.wait_for("draining");
        assert_eq!(running.code(), Some(0));
    }
}

#[test]
fn the_second_signal_ends_at_once() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut running = Running::start("hanging");
        running.send(Signal::TERM);
        running.wait_for("draining");
        running.send(signal);
        assert_eq!(running.code(), Some(code));
    }
}

#[test]
fn a_drain_that_hangs_is_ended() {
    let mut running = Running::start("hanging briefly");
    running.send(Signal::TERM);
    running.wait_for("draining");
    assert_eq!(running.code(), Some(1));
}

#[test]
fn a_closed_terminal_does_not_end_the_process() {
    let mut running = Running::start("draining");
    running.send(Signal::HUP);
    running.send(Signal::TERM);
    running.wait_for("draining");
    assert_eq!(running.code(), Some(0));
}
