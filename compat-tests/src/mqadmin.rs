// SPDX-License-Identifier: Apache-2.0

//! Apache's mqadmin and ours, run for the same command lines.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use crate::{
    apache, binary,
    error::{Error, Result, Trying},
    folders::crate_dir,
};

/// What a command line did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What it printed.
    pub out: String,
    /// What it wrote to the error stream.
    pub err: String,
    /// Its exit code.
    pub code: i32,
}

/// Apache's mqadmin in one JVM, which ends with the value.
#[derive(Debug)]
pub struct ApacheAdmin {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl ApacheAdmin {
    /// Starts the JVM; its files land in `home`.
    pub fn start(home: &Path) -> Result<Self> {
        let mut java = Command::new("java");
        java.args([
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-XX:-UsePerfData",
            "-Xmx256m",
            "-Djava.security.manager=allow",
            "-Duser.timezone=UTC",
        ]);
        java.arg(format!("-Duser.home={}", home.display()));
        java.arg("-cp").arg(apache::jars()?.join("*"));
        java.arg(crate_dir()?.join("apache/Mqadmin.java"));
        // Where the keys to sign with are, if there are any.
        java.current_dir(home).env("ROCKETMQ_HOME", home);
        java.stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = java
            .spawn()
            .trying(|| "start java, which has to be in the path".into())?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(ended("has no pipes"));
        };
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
        })
    }

    /// Runs one command line.
    pub fn run(&mut self, args: &[&str]) -> Result<Outcome> {
        let line = format!("{}\n", args.join("\t"));
        self.input
            .write_all(line.as_bytes())
            .trying(|| "write to mqadmin".into())?;
        self.input.flush().trying(|| "write to mqadmin".into())?;
        let mut parts = [String::new(), String::new()];
        let mut at = None;
        loop {
            let mut line = String::new();
            let read = self
                .output
                .read_line(&mut line)
                .trying(|| "read from mqadmin".into())?;
            if read == 0 {
                return Err(ended("ended before its time"));
            }
            match line.strip_prefix('\u{1}').map(str::trim_end) {
                Some("begin") => at = Some(0),
                Some("stderr") => at = Some(1),
                Some(end) => {
                    let code = end.strip_prefix("end ").and_then(|code| code.parse().ok());
                    let [out, err] = parts;
                    return Ok(Outcome {
                        out,
                        err,
                        code: code.unwrap_or(-1),
                    });
                }
                // What the start of the JVM prints comes before the first command.
                None => {
                    if let Some(at) = at {
                        parts[at].push_str(&line);
                    }
                }
            }
        }
    }
}

impl Drop for ApacheAdmin {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ended(why: &str) -> Error {
    Error::Driver {
        name: "Apache's mqadmin".to_owned(),
        why: why.to_owned(),
        tail: String::new(),
    }
}

/// Runs one command line of ours.
pub fn our_admin(home: &Path, args: &[&str]) -> Result<Outcome> {
    ours(home, "mqadmin", args)
}

/// Runs our doctor.
pub fn doctor(home: &Path, args: &[&str]) -> Result<Outcome> {
    ours(home, "doctor", args)
}

fn ours(home: &Path, command: &str, args: &[&str]) -> Result<Outcome> {
    let output = Command::new(binary::aerobee()?)
        .arg(command)
        .args(args)
        .env("TZ", "UTC")
        .env_remove("NAMESRV_ADDR")
        .env("ROCKETMQ_HOME", home)
        .current_dir(home)
        .stdin(Stdio::null())
        .output()
        .trying(|| "run aerobee mqadmin".into())?;
    Ok(Outcome {
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
        code: output.status.code().unwrap_or(-1),
    })
}
