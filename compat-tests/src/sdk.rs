// SPDX-License-Identifier: Apache-2.0

//! Builds the programs on the SDKs by the package managers of their languages.

use std::{
    fmt,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::SystemTime,
};

use crate::{
    error::{Error, Result, Trying},
    folders::{build_dir, crate_dir},
};

/// What Maven builds need.
pub(crate) const MAVEN: &str = "a JDK 17 or newer and Maven (java, javac, mvn)";

/// How the Java SDK writes the headers of its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// JSON text, the default of every SDK.
    Json,
    /// The compact one.
    Rocketmq,
}

/// An official SDK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sdk {
    /// `org.apache.rocketmq:rocketmq-client` 5.5.0.
    Java(Encoding),
    /// `org.apache.rocketmq:rocketmq-client` 4.9.8, the last one of before version 5.
    OldJava(Encoding),
    /// `github.com/apache/rocketmq-client-go/v2`.
    Go,
}

impl fmt::Display for Sdk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Java(Encoding::Json) => "java_json",
            Self::Java(Encoding::Rocketmq) => "java_rocketmq",
            Self::OldJava(Encoding::Json) => "java4_json",
            Self::OldJava(Encoding::Rocketmq) => "java4_rocketmq",
            Self::Go => "go",
        })
    }
}

impl Sdk {
    /// The names of the scenarios that its program knows.
    pub fn scenarios(self) -> Result<Vec<String>> {
        let mut command = self.command(&build_dir("home")?)?;
        let listed = command
            .arg("list")
            .output()
            .trying(|| format!("list the scenarios of {self}"))?;
        Ok(String::from_utf8_lossy(&listed.stdout)
            .lines()
            .map(str::to_owned)
            .collect())
    }

    /// The command of its program, without arguments; `home` is where the SDK keeps files.
    pub(crate) fn command(self, home: &Path) -> Result<Command> {
        match self {
            Self::Java(encoding) | Self::OldJava(encoding) => {
                let (name, main) = match self {
                    Self::OldJava(_) => ("java4", "aerobee.old.Main"),
                    _ => ("java", "aerobee.compat.Main"),
                };
                let build = build_java(name)?;
                let mut java = Command::new("java");
                java.args([
                    "-Xmx256m",
                    "-XX:TieredStopAtLevel=1",
                    "-XX:+UseSerialGC",
                    "-XX:-UsePerfData",
                ]);
                java.arg(format!("-Duser.home={}", home.display()));
                java.arg(match encoding {
                    Encoding::Json => "-Drocketmq.serialize.type=JSON",
                    Encoding::Rocketmq => "-Drocketmq.serialize.type=ROCKETMQ",
                });
                java.arg("-cp");
                java.arg(format!("{0}/sdk-{name}.jar:{0}/lib/*", build.display()));
                java.arg(main);
                Ok(java)
            }
            Self::Go => Ok(Command::new(build_go()?)),
        }
    }
}

fn build_java(name: &str) -> Result<PathBuf> {
    let (build, _lock) = locked_build_dir(name)?;
    let source = crate_dir()?.join("sdk").join(name);
    let jar = build.join(format!("sdk-{name}.jar"));
    let built = fs::metadata(&jar).and_then(|data| data.modified()).ok();
    if built.is_some_and(|built| newest(&source).is_ok_and(|changed| changed < built)) {
        return Ok(build);
    }
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "-f"]).arg(source.join("pom.xml"));
    maven
        .arg(format!("-Dbuild.dir={}", build.display()))
        .arg("package");
    run("building the program on the Java SDK", MAVEN, maven)?;
    Ok(build)
}

fn build_go() -> Result<PathBuf> {
    let (build, _lock) = locked_build_dir("go")?;
    let program = build.join("sdk-go");
    let mut go = Command::new("go");
    go.current_dir(crate_dir()?.join("sdk/go"));
    go.args(["build", "-buildvcs=false", "-mod=readonly", "-o"])
        .arg(&program)
        .arg(".");
    run(
        "building the program on the Go SDK",
        "Go 1.22 or newer (go)",
        go,
    )?;
    Ok(program)
}

/// The folder of a build, and the lock under which two test runs do not build into it at once.
fn locked_build_dir(name: &str) -> Result<(PathBuf, File)> {
    let build = build_dir(name)?;
    let lock = File::create(build.join("lock")).trying(|| format!("lock {}", build.display()))?;
    lock.lock().trying(|| format!("lock {}", build.display()))?;
    Ok((build, lock))
}

/// The time of the newest file in the folder.
fn newest(folder: &Path) -> Result<SystemTime> {
    let mut time = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(folder).trying(|| format!("list {}", folder.display()))? {
        let path = entry
            .trying(|| format!("list {}", folder.display()))?
            .path();
        let data = fs::metadata(&path).trying(|| format!("look at {}", path.display()))?;
        let changed = if data.is_dir() {
            newest(&path)
        } else {
            data.modified()
                .trying(|| format!("look at {}", path.display()))
        };
        time = time.max(changed?);
    }
    Ok(time)
}

/// Runs a build tool to its end.
pub(crate) fn run(what: &'static str, needs: &'static str, mut command: Command) -> Result<()> {
    let program = command.get_program().display().to_string();
    let ended = command
        .stdin(Stdio::null())
        .output()
        .trying(|| format!("run {program} for {what}, which needs {needs}"))?;
    if ended.status.success() {
        return Ok(());
    }
    let output = [ended.stdout, ended.stderr].concat();
    let output = String::from_utf8_lossy(&output).into_owned();
    Err(Error::Build {
        what,
        status: ended.status,
        needs,
        output,
    })
}
