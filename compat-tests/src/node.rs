// SPDX-License-Identifier: Apache-2.0

use std::{
    fmt::{self, Write},
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    apache, binary,
    error::{Result, Trying},
    ports::PortBlock,
    probe,
    process::Process,
};

/// When a start is given up. On a busy machine Apache's broker needs minutes between the end of its recovery and its first
/// answer, whatever its store is like: that is no failure.
const START_LIMIT: Duration = Duration::from_secs(600);

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Ours.
    Aerobee,
    /// Apache RocketMQ 5.5.0.
    Apache,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aerobee => "aerobee",
            Self::Apache => "apache",
        })
    }
}

/// What a server does in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Tells clients where topics are.
    Namesrv,
    /// Keeps the messages.
    Broker,
}

/// One server of a cluster: a place for its files, its ports, and its process while it runs. The files stay when it
/// is stopped or killed, and a server of the other kind may go on with them.
#[derive(Debug)]
pub struct Node {
    /// Whose server starts next.
    pub kind: Kind,
    role: Role,
    dir: PathBuf,
    ports: Arc<PortBlock>,
    conf: String,
    process: Option<Process>,
}

impl Node {
    /// The name under which the broker registers.
    pub const BROKER_NAME: &'static str = "broker-a";

    pub(crate) fn namesrv(kind: Kind, dir: PathBuf, ports: Arc<PortBlock>) -> Self {
        let conf = format!("listenPort={}\nbindAddress=127.0.0.1\n", ports.namesrv());
        Self {
            kind,
            role: Role::Namesrv,
            dir,
            ports,
            conf,
            process: None,
        }
    }

    pub(crate) fn broker(
        kind: Kind,
        dir: PathBuf,
        ports: Arc<PortBlock>,
        more: &[(&str, &str)],
    ) -> Self {
        let mut conf = broker_conf(&dir, &ports);
        for (key, value) in more {
            // Writing into a string cannot fail.
            let value = value
                .replace("{metrics}", &ports.metrics().to_string())
                .replace("{store}", &dir.join("store").display().to_string());
            let _ = writeln!(conf, "{key}={value}");
        }
        Self {
            kind,
            role: Role::Broker,
            dir,
            ports,
            conf,
            process: None,
        }
    }

    /// Starts the server and waits until the cluster can be used through it.
    pub fn start(&mut self) -> Result<()> {
        fs::create_dir_all(&self.dir).trying(|| format!("make {}", self.dir.display()))?;
        let conf = self.dir.join("server.conf");
        let mut lines = self.conf.clone();
        if (self.kind, self.role) == (Kind::Apache, Role::Broker)
            && !lines.contains(WHEEL_FLUSH_KEY)
        {
            let _ = writeln!(lines, "{WHEEL_FLUSH_KEY}={WHEEL_FLUSH_MS}");
        }
        fs::write(&conf, lines).trying(|| format!("write {}", conf.display()))?;
        let mut command = self.command()?;
        if self.role == Role::Broker {
            command
                .arg("-n")
                .arg(format!("127.0.0.1:{}", self.ports.namesrv()));
        }
        command.arg("-c").arg(&conf);
        self.launch(command)
    }

    fn command(&self) -> Result<Command> {
        if self.kind == Kind::Apache {
            return apache::command(self.role, &self.dir);
        }
        let mut command = Command::new(binary::aerobee()?);
        command.arg(match self.role {
            Role::Namesrv => "namesrv",
            Role::Broker => "broker",
        });
        Ok(command)
    }

    fn launch(&mut self, mut command: Command) -> Result<()> {
        command
            .current_dir(&self.dir)
            .env("HOME", &self.dir)
            .env("ROCKETMQ_HOME", &self.dir);
        command.env_remove("NAMESRV_ADDR");
        let name = match self.role {
            Role::Namesrv => format!("name server of {}", self.kind),
            Role::Broker => format!("broker of {}", self.kind),
        };
        let process = Process::spawn(&name, command, &self.dir.join("output.log"))?;
        self.process = Some(await_serving(process, || self.serves())?);
        Ok(())
    }

    fn serves(&self) -> bool {
        match self.role {
            Role::Namesrv => probe::cluster_info(self.ports.namesrv()).is_ok(),
            Role::Broker => {
                // The port first: while the new process is not up, the list may still hold the old one.
                probe::listens(self.ports.broker())
                    && probe::cluster_info(self.ports.namesrv())
                        .is_ok_and(|info| info.contains(Self::BROKER_NAME))
            }
        }
    }

    /// Stops the server in order (SIGTERM) and tells how long it took.
    pub fn stop(&mut self) -> Result<Duration> {
        let limit = match self.kind {
            Kind::Aerobee => Duration::from_secs(10),
            Kind::Apache => Duration::from_secs(60),
        };
        match self.process.take() {
            Some(process) => Ok(process.terminate(limit)?.1),
            None => Ok(Duration::ZERO),
        }
    }

    /// Kills the server (SIGKILL).
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), Process::kill)
    }

    /// Waits until the running broker is known to the name server.
    pub(crate) fn await_registered(&mut self) -> Result<()> {
        if let Some(process) = self.process.take() {
            self.process = Some(await_serving(process, || self.serves())?);
        }
        Ok(())
    }

    /// What `aerobee store check` says of the broker's store: its exit code and its JSON.
    pub fn check_store(&self) -> Result<(Option<i32>, serde_json::Value)> {
        let store = self.dir.join("store");
        let mut command = Command::new(binary::aerobee()?);
        command
            .args(["store", "check", "--json", "--quiet", "-c"])
            .arg(self.dir.join("server.conf"))
            .arg(&store);
        let output = command
            .output()
            .trying(|| format!("check {}", store.display()))?;
        let said = serde_json::from_slice(&output.stdout).trying(|| {
            let error = String::from_utf8_lossy(&output.stderr);
            format!("read what the check of {} says ({error})", store.display())
        })?;
        Ok((output.status.code(), said))
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Waits until a server that was just started can be used, and hands it back.
pub(crate) fn await_serving(mut process: Process, serves: impl Fn() -> bool) -> Result<Process> {
    let deadline = Instant::now() + START_LIMIT;
    while !serves() {
        if let Some(status) = process.ended()? {
            return Err(process.failed(&format!("ended at start ({status})")));
        }
        if Instant::now() > deadline {
            return Err(process.failed(&format!("does not serve {START_LIMIT:?} after its start")));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(process)
}

/// Apache's broker writes the whole wheel of its timers, 37 MiB, each time: at the default of a second that is a third of
/// a core in every trial, for nothing that most of them look at. Those that do set the key themselves.
const WHEEL_FLUSH_KEY: &str = "timerFlushIntervalMs";
const WHEEL_FLUSH_MS: u32 = 20_000;

/// The last lines keep brokers from what is not the question here: Apache's from refusing sends (2) when the machine is
/// busy, both from removing the oldest files, whatever their age, when the machine's disk is full for other reasons.
fn broker_conf(dir: &Path, ports: &PortBlock) -> String {
    let store = dir.join("store");
    format!(
        "brokerClusterName=DefaultCluster\nbrokerName={name}\nbrokerId=0\nbrokerIP1=127.0.0.1\nbindAddress=127.0.0.1\n\
         listenPort={port}\nhaListenPort={replication}\nstorePathRootDir={store}\nstorePathCommitLog={store}/commitlog\n\
         recallMessageEnable=true\nenablePropertyFilter=true\nautoCreateTopicEnable=true\nflushDiskType=ASYNC_FLUSH\nregisterNameServerPeriod=10000\n\
         waitTimeMillsInSendQueue=10000\nosPageCacheBusyTimeOutMills=10000\n\
         cleanFileForciblyEnable=false\n",
        name = Node::BROKER_NAME,
        port = ports.broker(),
        replication = ports.replication(),
        store = store.display(),
    )
}
