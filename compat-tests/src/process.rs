// SPDX-License-Identifier: Apache-2.0

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{Error, Result, Trying};

const TAIL_BYTES: usize = 4000;

/// A program that this test started and that does not outlive it. It is killed when the value is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the program with its output appended to `log`.
    pub(crate) fn spawn(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let (out, err) = (append_to(log)?, append_to(log)?);
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        Self::start(name, command, log)
    }

    /// Starts the program with its standard input and output as pipes, its errors appended to `log`.
    pub(crate) fn spawn_piped(
        name: &str,
        mut command: Command,
        log: &Path,
    ) -> Result<(Self, ChildStdin, ChildStdout)> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(append_to(log)?);
        let mut process = Self::start(name, command, log)?;
        match (process.child.stdin.take(), process.child.stdout.take()) {
            (Some(stdin), Some(stdout)) => Ok((process, stdin, stdout)),
            _ => Err(process.failed("has no pipes")),
        }
    }

    fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let child = command
            .spawn()
            .trying(|| format!("start {name} ({})", command.get_program().display()))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_path_buf(),
        })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How the program ended, if it did.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .trying(|| format!("ask after {}", self.name))
    }

    /// Sends SIGTERM, waits until the program is gone, and tells how it ended and how long that took.
    pub fn terminate(mut self, limit: Duration) -> Result<(ExitStatus, Duration)> {
        let start = Instant::now();
        // A program that ended by itself in between cannot be told to; the wait below finds its status.
        if self.ended()?.is_none() {
            kill_process(Pid::from_child(&self.child), Signal::TERM)
                .trying(|| format!("stop {}", self.name))?;
        }
        loop {
            if let Some(status) = self.ended()? {
                return Ok((status, start.elapsed()));
            }
            if start.elapsed() > limit {
                return Err(self.failed(&format!("still runs {limit:?} after SIGTERM")));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills the program (SIGKILL) and waits until it is gone.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().trying(|| format!("kill {}", self.name))?;
        self.child
            .wait()
            .trying(|| format!("wait for {}", self.name))?;
        Ok(())
    }

    /// An error about this program with the end of its output.
    pub(crate) fn failed(&self, why: &str) -> Error {
        Error::Server {
            name: self.name.clone(),
            why: why.to_owned(),
            log: self.log.display().to_string(),
            tail: tail(&self.log),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only when the program is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn append_to(path: &Path) -> Result<File> {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .trying(|| format!("open {}", path.display()))
}

/// The last lines of a file, without what Apache's logging says about itself.
pub(crate) fn tail(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains("|-INFO in org.apache.rocketmq.logging"))
        .collect();
    let mut length = 0;
    let kept = lines.iter().rev().take_while(|line| {
        length += line.len() + 1;
        length <= TAIL_BYTES
    });
    let mut kept: Vec<&str> = kept.copied().collect();
    kept.reverse();
    kept.join("\n")
}
