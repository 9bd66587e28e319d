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

/// The folder with the jars, fetched the first time. It is complete when it holds a copy of the `pom.xml` that asked
/// for them.
pub(crate) fn jars() -> Result<&'static Path> {
    static JARS: OnceLock<PathBuf> = OnceLock::new();
    let folder = build_dir("apache-servers")?;
    let lock = File::create(folder.join("lock")).trying(|| format!("lock {}", folder.display()))?;
    lock.lock()
        .trying(|| format!("lock {}", folder.display()))?;
    let pom = crate_dir()?.join("apache/pom.xml");
    let wanted = fs::read(&pom).trying(|| format!("read {}", pom.display()))?;
    let copy = folder.join("pom.xml");
    if fs::read(&copy).is_ok_and(|had| had == wanted) {
        return Ok(JARS.get_or_init(|| folder.join("lib")));
    }
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "-f"]).arg(&pom);
    maven.arg("org.apache.maven.plugins:maven-dependency-plugin:3.7.1:copy-dependencies");
    maven.arg(format!(
        "-DoutputDirectory={}",
        folder.join("lib").display()
    ));
    sdk::run("fetching the jars of Apache's servers", MAVEN, maven)?;
    fs::write(&copy, wanted).trying(|| format!("write {}", copy.display()))?;
    Ok(JARS.get_or_init(|| folder.join("lib")))
}

/// The command that starts a server in `home`, where all its files land.
pub(crate) fn command(role: Role, home: &Path) -> Result<Command> {
    let mut java = Command::new("java");
    java.args([
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-XX:-UsePerfData",
    ]);
    match role {
        Role::Namesrv => java.args(["-Xms64m", "-Xmx256m"]),
        Role::Broker => java.args(["-Xms512m", "-Xmx512m", "-XX:MaxDirectMemorySize=256m"]),
    };
    // The store unmaps files and Netty reaches into buffers by these doors.
    for door in ["java.base/java.nio", "java.base/sun.nio.ch"] {
        java.arg(format!("--add-opens={door}=ALL-UNNAMED"));
    }
    for door in ["java.base/sun.nio.ch", "java.base/jdk.internal.ref"] {
        java.arg(format!("--add-exports={door}=ALL-UNNAMED"));
    }
    java.arg(format!("-Duser.home={}", home.display()));
    java.arg(format!("-Drocketmq.home.dir={}", home.display()));
    java.arg("-cp").arg(jars()?.join("*"));
    java.arg(match role {
        Role::Namesrv => "org.apache.rocketmq.namesrv.NamesrvStartup",
        Role::Broker => "org.apache.rocketmq.broker.BrokerStartup",
    });
    Ok(java)
}
