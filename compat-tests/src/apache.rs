// SPDX-License-Identifier: Apache-2.0

//! Apache's own servers, from the jars of Maven Central.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::{
    error::{Result, Trying},
    folders::{build_dir, crate_dir},
    node::Role,
    sdk::{self, MAVEN},
};

/// Jars of some of Apache's servers: the folder of their `pom.xml`, and where they are once fetched.
struct Jars {
    what: &'static str,
    pom: &'static str,
    folder: OnceLock<PathBuf>,
}

static SERVERS: Jars = Jars::of("apache-servers", "apache/pom.xml");
/// The proxy has jars of its own, which only those runs fetch that judge it.
static PROXY: Jars = Jars::of("apache-proxy", "apache/proxy/pom.xml");

impl Jars {
    const fn of(what: &'static str, pom: &'static str) -> Self {
        Self {
            what,
            pom,
            folder: OnceLock::new(),
        }
    }

    /// The folder with the jars, fetched the first time. It is complete when it holds a copy of the `pom.xml` that
    /// asked for them.
    fn fetch(&self) -> Result<&Path> {
        let folder = build_dir(self.what)?;
        let lock =
            File::create(folder.join("lock")).trying(|| format!("lock {}", folder.display()))?;
        lock.lock()
            .trying(|| format!("lock {}", folder.display()))?;
        let pom = crate_dir()?.join(self.pom);
        let wanted = fs::read(&pom).trying(|| format!("read {}", pom.display()))?;
        let copy = folder.join("pom.xml");
        if !fs::read(&copy).is_ok_and(|had| had == wanted) {
            let mut maven = Command::new("mvn");
            maven.args(["-q", "-B", "-f"]).arg(&pom);
            maven.arg("org.apache.maven.plugins:maven-dependency-plugin:3.7.1:copy-dependencies");
            maven.arg(format!(
                "-DoutputDirectory={}",
                folder.join("lib").display()
            ));
            sdk::run("fetching the jars of Apache's servers", MAVEN, maven)?;
            fs::write(&copy, wanted).trying(|| format!("write {}", copy.display()))?;
        }
        Ok(self.folder.get_or_init(|| folder.join("lib")))
    }
}

/// The folder with the jars of name server and broker, which hold those of the admin tool too.
pub(crate) fn jars() -> Result<&'static Path> {
    SERVERS.fetch()
}

/// The command that starts a server in `home`, where all its files land.
pub(crate) fn command(role: Role, home: &Path) -> Result<Command> {
    let (heap, main): (&[&str], _) = match role {
        Role::Namesrv => (
            &["-Xms64m", "-Xmx256m"],
            "org.apache.rocketmq.namesrv.NamesrvStartup",
        ),
        Role::Broker => (
            &["-Xms512m", "-Xmx512m", "-XX:MaxDirectMemorySize=256m"],
            "org.apache.rocketmq.broker.BrokerStartup",
        ),
    };
    java(heap, &SERVERS, home, main)
}

/// The same for the proxy, in cluster mode.
pub(crate) fn proxy_command(home: &Path) -> Result<Command> {
    let heap = ["-Xms128m", "-Xmx512m", "-XX:MaxDirectMemorySize=256m"];
    let mut command = java(
        &heap,
        &PROXY,
        home,
        "org.apache.rocketmq.proxy.ProxyStartup",
    )?;
    command.args(["-pm", "cluster"]);
    Ok(command)
}

fn java(heap: &[&str], jars: &'static Jars, home: &Path, main: &str) -> Result<Command> {
    let mut java = Command::new("java");
    java.args([
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-XX:-UsePerfData",
    ]);
    java.args(heap);
    // The store unmaps files and Netty reaches into buffers by these doors.
    for door in ["java.base/java.nio", "java.base/sun.nio.ch"] {
        java.arg(format!("--add-opens={door}=ALL-UNNAMED"));
    }
    for door in ["java.base/sun.nio.ch", "java.base/jdk.internal.ref"] {
        java.arg(format!("--add-exports={door}=ALL-UNNAMED"));
    }
    java.arg(format!("-Duser.home={}", home.display()));
    java.arg(format!("-Drocketmq.home.dir={}", home.display()));
    java.arg("-cp").arg(jars.fetch()?.join("*"));
    java.arg(main);
    Ok(java)
}
