// SPDX-License-Identifier: Apache-2.0

//! Builds the programs on the SDKs by the package managers of their languages.

mod build;

use std::{
    fmt,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    error::{Error, Result, Trying},
    folders::build_dir,
    tls,
};

/// What Maven builds need.
pub(crate) const MAVEN: &str = "a JDK 17 or newer and Maven (java, javac, mvn)";

/// Where gRPC of Python and of Node.js and the TLS of the Rust SDK look for authorities to trust: these SDKs check
/// certificates.
const ROOTS_OF_GRPC: &str = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH";
const ROOTS_OF_RUST: &str = "SSL_CERT_FILE";

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
    /// The Java SDK of this version with TLS on all its connections.
    JavaTls,
    /// `github.com/apache/rocketmq-client-go/v2`, and `rocketmq-clients/golang/v5` with TLS, its default.
    Go,
    /// The same program, whose 5.x SDK speaks plain gRPC: the SDK reads that once from the environment.
    GoPlain,
    /// `rocketmq-python-client`, gRPC only.
    Python,
    /// `rocketmq-client-nodejs`, gRPC only.
    Node,
    /// The crate `rocketmq`, gRPC only.
    Rust,
}

impl fmt::Display for Sdk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Java(Encoding::Json) => "java_json",
            Self::Java(Encoding::Rocketmq) => "java_rocketmq",
            Self::OldJava(Encoding::Json) => "java4_json",
            Self::OldJava(Encoding::Rocketmq) => "java4_rocketmq",
            Self::JavaTls => "java_tls",
            Self::Go => "go",
            Self::GoPlain => "go_plain",
            Self::Python => "python",
            Self::Node => "node",
            Self::Rust => "rust",
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
            Self::Java(encoding) | Self::OldJava(encoding) => self.java(home, encoding, false),
            Self::JavaTls => self.java(home, Encoding::Json, true),
            Self::Go => Ok(go(home)?),
            Self::GoPlain => {
                let mut go = go(home)?;
                go.env("rocketmq.client.enableSsl", "false");
                Ok(go)
            }
            Self::Python => {
                let mut python = Command::new(build::python()?);
                // Nothing is written beside the sources, and lines leave when they are printed.
                python.args(["-B", "-u"]).arg(build::python_program()?);
                python.env(ROOTS_OF_GRPC, tls::authority()?);
                Ok(python)
            }
            Self::Node => {
                let mut node = Command::new("node");
                node.arg(build::node()?);
                node.env(ROOTS_OF_GRPC, tls::authority()?);
                Ok(node)
            }
            Self::Rust => {
                let mut rust = Command::new(build::rust()?);
                rust.env(ROOTS_OF_RUST, tls::authority()?);
                Ok(rust)
            }
        }
    }

    fn java(self, home: &Path, encoding: Encoding, tls: bool) -> Result<Command> {
        let (name, main) = match self {
            Self::OldJava(_) => ("java4", "aerobee.old.Main"),
            _ => ("java", "aerobee.compat.Main"),
        };
        let build = build::java(name)?;
        let mut java = Command::new("java");
        java.args([
            "-Xmx256m",
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-XX:-UsePerfData",
        ]);
        java.arg(format!("-Duser.home={}", home.display()));
        java.arg(format!("-Dtls.enable={tls}"));
        java.arg(match encoding {
            Encoding::Json => "-Drocketmq.serialize.type=JSON",
            Encoding::Rocketmq => "-Drocketmq.serialize.type=ROCKETMQ",
        });
        java.arg("-cp");
        java.arg(format!("{0}/sdk-{name}.jar:{0}/lib/*", build.display()));
        java.arg(main);
        Ok(java)
    }
}

fn go(home: &Path) -> Result<Command> {
    let mut go = Command::new(build::go()?);
    go.env("rocketmq.client.logRoot", home.join("logs"));
    Ok(go)
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
