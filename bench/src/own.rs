// SPDX-License-Identifier: Apache-2.0
//! Our server, started, ended and started again on one directory.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use aerobee_remoting::{Encoding, ResponseCode};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    Error,
    compare::free_ports,
    control::Control,
    inflight::OPAQUE_MIN,
    template::{Born, SendTemplate, Shape},
};

/// How long a start or an end may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Where the server's program and its data are.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct OwnArgs {
    /// The server program; this one by default.
    #[arg(long, value_name = "PROGRAM")]
    aerobee: Option<PathBuf>,
    /// Folder in which the server's data is made, and removed at the end; the system's for temporary
    /// files by default.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// The server; killed, and its data removed, when dropped.
#[derive(Debug)]
pub(crate) struct Own {
    program: PathBuf,
    namesrv: SocketAddr,
    pub(crate) broker: SocketAddr,
    child: Option<Child>,
    /// Whether it serves HTTP, on a port of its own choice.
    http: bool,
    folder: tempfile::TempDir,
}

impl Own {
    /// Starts the server on an empty directory.
    pub(crate) fn new(args: &OwnArgs) -> Result<Self, Error> {
        let program = match &args.aerobee {
            Some(program) => program.clone(),
            None => std::env::current_exe().map_err(Error::system("find this program"))?,
        };
        let parent = args.data.clone().unwrap_or_else(std::env::temp_dir);
        let folder =
            tempfile::TempDir::with_prefix_in("aerobee-bench-", &parent).map_err(|source| {
                Error::File {
                    path: parent,
                    source,
                }
            })?;
        let (namesrv, broker) = free_ports()?;
        Ok(Self {
            program,
            namesrv,
            broker,
            child: None,
            http: false,
            folder,
        })
    }

    /// The same, serving HTTP.
    pub(crate) fn with_http(mut self) -> Self {
        self.http = true;
        self
    }

    /// The port of its HTTP, once it has started.
    pub(crate) fn http_port(&self) -> Result<u16, Error> {
        let log = self.folder.path().join("output");
        let start = Instant::now();
        loop {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let line = text
                .lines()
                .find(|line| line.trim_start().starts_with("HTTP "));
            let port = line
                .and_then(|line| line.split_once("127.0.0.1:"))
                .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
            match port {
                Some(port) => return Ok(port),
                // The greeting comes when everything has started.
                None if start.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
                None => {
                    return Err(Error::Silent {
                        server: "aerobee",
                        seconds: PATIENCE.as_secs(),
                        output: text,
                    });
                }
            }
        }
    }

    /// The store's directory.
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join("data/store")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Starts the server and waits for the answer to a first send to a topic; how long that took.
    pub(crate) fn start(&mut self, topic: &str) -> Result<Duration, Error> {
        let log = self.folder.path().join("output");
        let at = |source| Error::File {
            path: log.clone(),
            source,
        };
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(at)?;
        let errors = output.try_clone().map_err(at)?;
        let start = Instant::now();
        let child = Command::new(&self.program)
            .arg("standalone")
            .args(["--namesrv-port", &self.namesrv.port().to_string()])
            .args(["--broker-port", &self.broker.port().to_string()])
            // Nobody asks the proxy, but it wants a port that no other server has.
            .args(["--proxy-port", "0"])
            .arg("--data")
            .arg(self.folder.path().join("data"))
            .args(self.http.then_some(["--http-port", "0"]).iter().flatten())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(|source| Error::Start {
                program: self.program.display().to_string(),
                source,
            })?;
        self.child = Some(child);
        let shape = Shape {
            topic,
            broker_name: "broker-a",
            size: 128,
            encoding: Encoding::Json,
            keys: None,
        };
        let template = SendTemplate::new(&shape, 0)?;
        let mut frame = Vec::new();
        template.append(&mut frame, OPAQUE_MIN, &Born::now(), 0);
        loop {
            let answer = Control::connect(&self.broker.to_string())
                .and_then(|mut control| control.exchange(&frame, OPAQUE_MIN));
            if answer.is_ok_and(|answer| answer.code == ResponseCode::SUCCESS) {
                return Ok(start.elapsed());
            }
            let ended = self
                .child
                .as_mut()
                .is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            if ended || start.elapsed() > PATIENCE {
                let output = fs::read_to_string(&log).unwrap_or_default();
                let tail: Vec<&str> = output.lines().rev().take(20).collect();
                return Err(Error::Silent {
                    server: "aerobee",
                    seconds: PATIENCE.as_secs(),
                    output: tail.into_iter().rev().collect::<Vec<_>>().join("\n"),
                });
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends the server; how long it took.
    pub(crate) fn stop(&mut self, signal: Signal) -> Result<Duration, Error> {
        let Some(mut child) = self.child.take() else {
            return Ok(Duration::ZERO);
        };
        let start = Instant::now();
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, signal)
                .map_err(std::io::Error::from)
                .map_err(Error::system("end the server"))?;
        }
        child.wait().map_err(Error::system("wait for the server"))?;
        Ok(start.elapsed())
    }

    /// Removes a file or directory of the store.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.store().join(name);
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        match removed {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::File { path, source })
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Both fail only when the process is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Bytes of all files of the log, as far as they have content.
pub(crate) fn log_bytes(store: &Path) -> Result<u64, Error> {
    let path = store.join("commitlog");
    let at = |source| Error::File {
        path: path.clone(),
        source,
    };
    let mut bytes = 0;
    for entry in fs::read_dir(&path).map_err(at)? {
        bytes += entry.and_then(|entry| entry.metadata()).map_err(at)?.len();
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_one_that_another_server_may_have() {
        let args = OwnArgs {
            aerobee: Some("/bin/echo".into()),
            data: None,
        };
        let mut own = Own::new(&args).unwrap();
        let Err(Error::Silent { output, .. }) = own.start("t") else {
            panic!("it is no server");
        };
        for usual in ["--namesrv-port 9876", "--broker-port 10911"] {
            assert!(!output.contains(usual), "{output}");
        }
        assert!(output.contains("--proxy-port 0"), "{output}");
    }
}
