// SPDX-License-Identifier: Apache-2.0
//! Servers that the comparison starts on loopback, on free ports, in folders of their own, and ends.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use aerobee_remoting::{Encoding, ResponseCode};
use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    Error,
    control::Control,
    inflight::OPAQUE_MIN,
    template::{Born, SendTemplate, Shape},
};

/// A server to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The server that does nothing.
    Echo,
    /// Ours: name server, broker and proxy in one process.
    Aerobee,
    /// Apache RocketMQ's name server and broker, and for gRPC its proxy in front of them.
    Apache,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Aerobee => "aerobee",
            Self::Apache => "Apache",
        }
    }
}

/// What the servers are started from.
#[derive(Debug)]
pub(crate) struct Programs {
    /// The program with `bench echo`.
    pub(crate) own: PathBuf,
    /// The program with `standalone`.
    pub(crate) aerobee: PathBuf,
    /// Folder of Apache's jars.
    pub(crate) apache: Option<PathBuf>,
    /// Heap of Apache's broker, and of its proxy, as `-Xmx` has it.
    pub(crate) apache_heap: String,
    /// Where the folders of the servers are made.
    pub(crate) folder: PathBuf,
}

/// How long a server may need to its first answer.
const START: Duration = Duration::from_secs(120);
/// How long a server may need to end by itself.
const END: Duration = Duration::from_secs(60);

/// A running server; ended, and its folder removed, when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) kind: Kind,
    pub(crate) broker: SocketAddr,
    pub(crate) namesrv: Option<SocketAddr>,
    /// Where the proxy is, or will be.
    pub(crate) proxy: SocketAddr,
    /// Whether it runs.
    has_proxy: bool,
    /// From the start of its first process to its first acknowledged message.
    pub(crate) started_in: Duration,
    /// Ended in reverse order.
    children: Vec<Child>,
    folder: TempDir,
}

impl Running {
    /// Starts a server on an empty store and waits until it has acknowledged a message.
    pub(crate) fn start(kind: Kind, programs: &Programs) -> Result<Self, Error> {
        let folder = TempDir::with_prefix_in("aerobee-bench-", &programs.folder)
            .map_err(at(&programs.folder))?;
        let (namesrv, broker) = free_ports()?;
        let mut running = Self {
            kind,
            broker,
            namesrv: (kind != Kind::Echo).then_some(namesrv),
            proxy: free_port()?,
            has_proxy: kind == Kind::Aerobee,
            started_in: Duration::ZERO,
            children: Vec::new(),
            folder,
        };
        let start = Instant::now();
        let deadline = start + START;
        match kind {
            Kind::Echo => {
                let mut command = Command::new(&programs.own);
                command.args(["bench", "echo", "--serve", &broker.port().to_string()]);
                running.spawn(command)?;
            }
            Kind::Aerobee => {
                let mut command = Command::new(&programs.aerobee);
                command.arg("standalone");
                command.args(["--namesrv-port", &namesrv.port().to_string()]);
                command.args(["--broker-port", &broker.port().to_string()]);
                command.args(["--proxy-port", &running.proxy.port().to_string()]);
                command
                    .arg("--data")
                    .arg(running.folder.path().join("data"));
                running.spawn(command)?;
            }
            Kind::Apache => running.start_apache(programs, deadline)?,
        }
        running.await_port(broker, deadline)?;
        running.await_answer(deadline)?;
        running.started_in = start.elapsed();
        Ok(running)
    }

    /// Process ids.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }

    fn start_apache(&mut self, programs: &Programs, deadline: Instant) -> Result<(), Error> {
        let home = self.folder.path().to_owned();
        let (namesrv, broker) = (self.namesrv.unwrap_or(self.broker), self.broker);
        let conf = home.join("namesrv.conf");
        write(
            &conf,
            &format!("bindAddress=127.0.0.1\nlistenPort={}\n", namesrv.port()),
        )?;
        let mut command = java(programs, &home, "512m");
        command.arg("org.apache.rocketmq.namesrv.NamesrvStartup");
        command.arg("-c").arg(conf);
        self.spawn(command)?;
        self.await_port(namesrv, deadline)?;

        let conf = home.join("broker.conf");
        write(&conf, &broker_conf(&home, broker.port()))?;
        let mut command = java(programs, &home, &programs.apache_heap);
        command.arg("org.apache.rocketmq.broker.BrokerStartup");
        command.args(["-n", &namesrv.to_string(), "-c"]).arg(conf);
        self.spawn(command)
    }

    /// Starts Apache's proxy if it does not run yet; whether it did that.
    pub(crate) fn start_proxy(&mut self, programs: &Programs) -> Result<bool, Error> {
        let (false, Some(namesrv)) = (self.has_proxy, self.namesrv) else {
            return Ok(false);
        };
        let home = self.folder.path().to_owned();
        let conf = home.join("rmq-proxy.json");
        let settings = serde_json::json!({
            "rocketMQClusterName": "DefaultCluster",
            "namesrvAddr": namesrv.to_string(),
            "grpcServerPort": self.proxy.port(),
            "remotingListenPort": free_port()?.port(),
        });
        write(&conf, &settings.to_string())?;
        let mut command = java(programs, &home, &programs.apache_heap);
        command.arg("org.apache.rocketmq.proxy.ProxyStartup");
        command.args(["-pm", "cluster", "-pc"]).arg(conf);
        self.spawn(command)?;
        self.await_port(self.proxy, Instant::now() + START)?;
        self.has_proxy = true;
        Ok(true)
    }

    fn spawn(&mut self, mut command: Command) -> Result<(), Error> {
        let log = self.log();
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(at(&log))?;
        let errors = output.try_clone().map_err(at(&log))?;
        command.current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = command.spawn().map_err(|source| Error::Start {
            program: command.get_program().display().to_string(),
            source,
        })?;
        self.children.push(child);
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("output")
    }

    fn await_port(&mut self, address: SocketAddr, deadline: Instant) -> Result<(), Error> {
        while Control::connect(&address.to_string()).is_err() {
            self.pause(deadline)?;
        }
        Ok(())
    }

    /// Sends to a topic that does not exist, as a new user's first program does, until it is taken.
    fn await_answer(&mut self, deadline: Instant) -> Result<(), Error> {
        let shape = Shape {
            topic: "bench-first",
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
                return Ok(());
            }
            self.pause(deadline)?;
        }
    }

    /// Waits a moment before another try, as long as the server may still come up.
    fn pause(&mut self, deadline: Instant) -> Result<(), Error> {
        let ended = self
            .children
            .iter_mut()
            .any(|child| !matches!(child.try_wait(), Ok(None)));
        if ended || Instant::now() > deadline {
            let output = fs::read_to_string(self.log()).unwrap_or_default();
            let tail: Vec<&str> = output.lines().rev().take(20).collect();
            return Err(Error::Silent {
                server: self.kind.name(),
                seconds: START.as_secs(),
                output: tail.into_iter().rev().collect::<Vec<_>>().join("\n"),
            });
        }
        thread::sleep(Duration::from_millis(1));
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            end(child);
        }
    }
}

/// Asks a process to end, and makes it when it does not.
fn end(child: &mut Child) {
    let asked = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
    let deadline = Instant::now() + END;
    while asked && Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    // Both fail only when the process is gone already.
    let _ = child.kill();
    let _ = child.wait();
}

/// The virtual machine as Apache's start scripts set it up, but for sizes.
fn java(programs: &Programs, home: &Path, heap: &str) -> Command {
    let mut command = Command::new("java");
    command.args([
        "-server",
        &format!("-Xms{heap}"),
        &format!("-Xmx{heap}"),
        "-XX:+UseG1GC",
        "-XX:G1HeapRegionSize=16m",
        "-XX:-OmitStackTraceInFastThrow",
        "-XX:MaxDirectMemorySize=4g",
        "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
        "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
        "--add-opens=java.base/java.nio=ALL-UNNAMED",
        "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    ]);
    command.arg(format!("-Duser.home={}", home.display()));
    command.arg(format!("-Drocketmq.home.dir={}", home.display()));
    let jars = programs.apache.clone().unwrap_or_default();
    command.arg("-cp").arg(jars.join("*"));
    command
}

/// The two last lines keep the broker from refusing sends (code 2) where another load holds it up, as
/// what is done for those that it takes is the question.
fn broker_conf(home: &Path, port: u16) -> String {
    format!(
        "brokerClusterName=DefaultCluster\n\
         brokerName=broker-a\n\
         brokerId=0\n\
         brokerIP1=127.0.0.1\n\
         bindAddress=127.0.0.1\n\
         listenPort={port}\n\
         haListenPort={}\n\
         storePathRootDir={home}/store\n\
         storePathCommitLog={home}/store/commitlog\n\
         autoCreateTopicEnable=true\n\
         flushDiskType=ASYNC_FLUSH\n\
         waitTimeMillsInSendQueue=10000\n\
         osPageCacheBusyTimeOutMills=10000\n",
        port + 1,
        home = home.display()
    )
}

/// A port for a name server, and one for a broker whose neighbours, which it takes as well (two
/// below for its fast port, one above for replication), are free.
pub(crate) fn free_ports() -> Result<(SocketAddr, SocketAddr), Error> {
    let bind = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let bound = || -> std::io::Result<_> {
        loop {
            let namesrv = bind(0)?.local_addr()?;
            let listener = bind(0)?;
            let broker = listener.local_addr()?;
            let neighbours = [broker.port().wrapping_sub(2), broker.port().wrapping_add(1)];
            let taken =
                |port: &u16| *port < 1024 || *port == namesrv.port() || bind(*port).is_err();
            if broker != namesrv && !neighbours.iter().any(taken) {
                return Ok((namesrv, broker));
            }
        }
    };
    bound().map_err(Error::system("find free ports"))
}

fn free_port() -> Result<SocketAddr, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(Error::system("find a free port"))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_does_not_come_up_shows_its_output() {
        let folder = TempDir::new().unwrap();
        let programs = Programs {
            own: PathBuf::from("/bin/false"),
            aerobee: PathBuf::from("/bin/echo"),
            apache: None,
            apache_heap: "1g".to_owned(),
            folder: folder.path().to_owned(),
        };
        let error = Running::start(Kind::Aerobee, &programs).unwrap_err();
        let Error::Silent { server, output, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(*server, "aerobee");
        assert!(output.starts_with("standalone --namesrv-port"), "{output}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "removed");
    }

    #[test]
    fn ports_are_apart() {
        let (namesrv, broker) = free_ports().unwrap();
        assert_ne!(namesrv.port(), broker.port());
        assert!(broker.port() > 1024);
    }
}
