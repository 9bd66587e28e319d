// SPDX-License-Identifier: Apache-2.0
//! The program as users run it, for several tests.
#![allow(
    missing_docs,
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "parts of tests, not all used by each"
)]

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Server {
    pub child: Child,
    pub http: u16,
    pub namesrv: String,
    pub greeting: String,
    pub directory: TempDir,
}

pub fn aerobee(args: &[&str], directory: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aerobee"));
    command
        .args(args)
        .current_dir(directory.path())
        .env("HOME", directory.path())
        .env_remove("NAMESRV_ADDR")
        .stdin(Stdio::null());
    command
}

/// The port of an address in a line of the greeting.
pub fn port_in(greeting: &str, word: &str) -> u16 {
    let line = greeting
        .lines()
        .find(|line| line.trim_start().starts_with(word));
    let (_, rest) = line.unwrap().split_once("127.0.0.1:").unwrap();
    let digits = rest.split(|letter: char| !letter.is_ascii_digit()).next();
    digits.unwrap().parse().unwrap()
}

impl Server {
    pub fn start(more: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut args = vec![
            "standalone",
            "--broker-port",
            "0",
            "--namesrv-port",
            "0",
            "--proxy-port",
            "0",
        ];
        args.extend(more);
        let mut child = aerobee(&args, &directory)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut greeting = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while !greeting.contains("Ctrl-C") {
            greeting.push_str(&lines.next().expect("a greeting").unwrap());
            greeting.push('\n');
        }
        let http = if more.contains(&"--no-http") {
            0
        } else {
            port_in(&greeting, "HTTP")
        };
        let namesrv = format!("127.0.0.1:{}", port_in(&greeting, "name server"));
        Self {
            child,
            http,
            namesrv,
            greeting,
            directory,
        }
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        ask(self.http, &format!("GET {path} HTTP/1.1")).unwrap()
    }

    /// The value of a sample of `/metrics`, by its text before the value.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples
            .map(|line| {
                let (name, value) = line.rsplit_once(' ').unwrap();
                (name.to_owned(), value.parse().unwrap())
            })
            .collect()
    }

    pub fn bench(&self, args: &[&str]) {
        let output = aerobee(args, &self.directory)
            .args(["--namesrv", &self.namesrv])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Status and body of an answer; nothing where nobody answers.
pub fn ask(port: u16, head: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}
