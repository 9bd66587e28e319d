// SPDX-License-Identifier: Apache-2.0

use std::{env, fs, path::Path, process::Command, sync::Arc};

use rustix::fs::statvfs;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    apache, binary,
    error::{Error, Result, Trying},
    node::{Kind, Node, await_serving},
    ports::PortBlock,
    probe,
    process::Process,
    tls::{self, Certificate},
};

/// Commit log files of 64 MiB and queue files of 10,000 entries: small, because ours are really allocated and every
/// queue of every topic has one, and because a run should roll them.
const SMALL_FILES: [(&str, &str); 2] = [
    ("mappedFileSizeCommitLog", "67108864"),
    ("mappedFileSizeConsumeQueue", "200000"),
];

/// Above so many per cent no cluster is started: above 90 both brokers refuse messages, whatever their configuration.
const DISK_USED_MAX: u64 = 88;

/// Which servers make up a cluster.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// Whose name server.
    pub namesrv: Kind,
    /// Whose broker.
    pub broker: Kind,
    /// More lines of `broker.conf`.
    pub conf: &'a [(&'a str, &'a str)],
}

impl Plan<'_> {
    /// Both servers of one kind, with small files.
    pub fn of(kind: Kind) -> Self {
        Self::mixed(kind, kind)
    }

    /// Servers of two kinds, with small files.
    pub fn mixed(namesrv: Kind, broker: Kind) -> Self {
        Self {
            namesrv,
            broker,
            conf: &SMALL_FILES,
        }
    }
}

/// A name server and a broker on loopback ports of their own, with their files in a temporary directory that goes with
/// the value (or stays when `AEROBEE_KEEP` is set).
#[derive(Debug)]
pub struct Cluster {
    // Dropped before the directory: the servers write into it.
    /// The broker.
    pub broker: Node,
    /// The name server.
    pub namesrv: Node,
    ports: Arc<PortBlock>,
    dir: TempDir,
}

impl Cluster {
    /// Starts both servers and waits until a client could use them.
    pub fn start(plan: Plan<'_>) -> Result<Self> {
        let mut cluster = Self::prepare(plan)?;
        cluster.namesrv.start()?;
        cluster.broker.start()?;
        Ok(cluster)
    }

    /// Makes ports and directories, and starts nothing.
    pub fn prepare(plan: Plan<'_>) -> Result<Self> {
        let mut dir = TempDir::with_prefix("aerobee-compat-")
            .trying(|| "make a temporary directory".into())?;
        dir.disable_cleanup(env::var_os("AEROBEE_KEEP").is_some());
        check_disk(dir.path())?;
        let ports = Arc::new(PortBlock::lease()?);
        Ok(Self {
            broker: Node::broker(
                plan.broker,
                dir.path().join("broker"),
                Arc::clone(&ports),
                plan.conf,
            ),
            namesrv: Node::namesrv(plan.namesrv, dir.path().join("namesrv"), Arc::clone(&ports)),
            ports,
            dir,
        })
    }

    /// Starts our standalone server in place of the two.
    pub fn standalone(&self) -> Result<Process> {
        let mut command = Command::new(binary::aerobee()?);
        command
            .args(["standalone", "--namesrv-port"])
            .arg(self.ports.namesrv().to_string());
        command
            .arg("--broker-port")
            .arg(self.ports.broker().to_string());
        command
            .arg("--proxy-port")
            .arg(self.ports.proxy().to_string());
        command.arg("--data").arg(self.dir.path().join("data"));
        command
            .current_dir(self.dir.path())
            .env("HOME", self.dir.path())
            .env_remove("NAMESRV_ADDR");
        let process = Process::spawn(
            "standalone server",
            command,
            &self.dir.path().join("standalone.log"),
        )?;
        let (namesrv, broker) = (self.ports.namesrv(), self.ports.broker());
        await_serving(process, || {
            probe::listens(broker)
                && probe::cluster_info(namesrv).is_ok_and(|info| info.contains("brokerName"))
        })
    }

    /// Starts a proxy in front of the two: ours or Apache's.
    pub fn proxy(&self, kind: Kind) -> Result<Process> {
        self.proxy_with(kind, &[])
    }

    /// The same with more keys of its file.
    pub fn proxy_with(&self, kind: Kind, more: &[(&str, &str)]) -> Result<Process> {
        let home = self.dir.path().join("proxy");
        fs::create_dir_all(&home).trying(|| format!("make {}", home.display()))?;
        let config = home.join("rmq-proxy.json");
        let Certificate { chain, key } = tls::certificate()?;
        let mut settings = json!({
            "rocketMQClusterName": "DefaultCluster", "namesrvAddr": self.namesrv_addr(),
            "grpcServerPort": self.ports.proxy(), "localServeAddr": "127.0.0.1",
            "tlsTestModeEnable": false, "tlsCertPath": chain, "tlsKeyPath": key,
        });
        let mut command = match kind {
            Kind::Aerobee => {
                settings["bindAddress"] = json!("127.0.0.1");
                settings["remotingListenPort"] = json!(0);
                let mut command = Command::new(binary::aerobee()?);
                command.arg("proxy");
                command
            }
            Kind::Apache => {
                settings["remotingListenPort"] = json!(self.ports.proxy_remoting());
                apache::proxy_command(&home)?
            }
        };
        for (key, value) in more {
            settings[*key] = match *value {
                "true" => json!(true),
                text => json!(text),
            };
        }
        fs::write(&config, settings.to_string())
            .trying(|| format!("write {}", config.display()))?;
        command
            .args(["-n", &self.namesrv_addr(), "-pc"])
            .arg(&config);
        command
            .current_dir(&home)
            .env("HOME", &home)
            .env("ROCKETMQ_HOME", &home)
            .env_remove("NAMESRV_ADDR");
        let process = Process::spawn("proxy", command, &self.dir.path().join("proxy.log"))?;
        let port = self.ports.proxy();
        await_serving(process, || probe::listens(port))
    }

    /// Makes a topic whose messages are of one type, such as `FIFO`, and waits until the name server tells its route.
    pub fn create_topic(&self, name: &str, kind: &str, queues: u32) -> Result<()> {
        probe::create_topic(self.ports.broker(), name, kind, queues)
            .trying(|| format!("make the topic {name}"))?;
        probe::await_route(self.ports.namesrv(), name).trying(|| format!("see the topic {name}"))
    }

    /// Waits until the name server tells the route of a topic.
    pub fn await_topic(&self, name: &str) -> Result<()> {
        probe::await_route(self.ports.namesrv(), name).trying(|| format!("see the topic {name}"))
    }

    /// Makes a group of consumers; an orderly one gets messages of a message group one after another.
    pub fn create_group(&self, name: &str, orderly: bool, retries: u32) -> Result<()> {
        probe::create_group(self.ports.broker(), name, orderly, retries, &json!({}))
            .trying(|| format!("make the group {name}"))
    }

    /// Makes an orderly group of consumers of the lite topics below a parent.
    pub fn create_lite_group(&self, name: &str, parent: &str, retries: u32) -> Result<()> {
        let attributes = json!({"+lite.bind.topic": parent});
        probe::create_group(self.ports.broker(), name, true, retries, &attributes)
            .trying(|| format!("make the group {name}"))
    }

    /// What gRPC clients take as the endpoints.
    pub fn proxy_addr(&self) -> String {
        format!("127.0.0.1:{}", self.ports.proxy())
    }

    /// What remoting clients of a proxy of that kind take as the address of the name server: ours tells both protocols
    /// apart on one port.
    pub fn remoting_proxy_addr(&self, kind: Kind) -> String {
        let port = match kind {
            Kind::Aerobee => self.ports.proxy(),
            Kind::Apache => self.ports.proxy_remoting(),
        };
        format!("127.0.0.1:{port}")
    }

    /// Stops the broker in order.
    pub fn stop_broker(&mut self) -> Result<()> {
        self.broker.stop().map(|_| ())
    }

    /// Kills the broker.
    pub fn kill_broker(&mut self) -> Result<()> {
        self.broker.kill()
    }

    /// Waits until the name server, started anew, knows the broker again.
    pub fn await_broker(&mut self) -> Result<()> {
        self.broker.await_registered()
    }

    /// What clients take as the address of the name server.
    pub fn namesrv_addr(&self) -> String {
        format!("127.0.0.1:{}", self.ports.namesrv())
    }

    /// The port for the broker's metrics, where `{metrics}` in its configuration asks for one.
    pub fn metrics_port(&self) -> u16 {
        self.ports.metrics()
    }

    /// The address of the broker.
    pub fn broker_addr(&self) -> String {
        format!("127.0.0.1:{}", self.ports.broker())
    }

    /// Where the files of this cluster are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// Fails when the disk of `dir` is too full for a broker to take messages.
fn check_disk(dir: &Path) -> Result<()> {
    let disk = statvfs(dir).trying(|| format!("look at the disk of {}", dir.display()))?;
    let used = disk.f_blocks.saturating_sub(disk.f_bfree);
    let percent = used.saturating_mul(100) / (used + disk.f_bavail).max(1);
    if percent > DISK_USED_MAX {
        return Err(Error::DiskFull {
            dir: dir.to_owned(),
            percent,
        });
    }
    Ok(())
}
