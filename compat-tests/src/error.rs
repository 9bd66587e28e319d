// SPDX-License-Identifier: Apache-2.0

use std::{io, path::PathBuf, process::ExitStatus};

/// Why a test could not be carried out or did not hold.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine refused something: a file, a pipe, a program that does not exist.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The answer of the operating system.
        source: io::Error,
    },
    /// A build or a download ended with an error.
    #[error("{what} failed ({status}); it needs the network once, and {needs}\n{output}")]
    Build {
        /// What was built.
        what: &'static str,
        /// How the tool ended.
        status: ExitStatus,
        /// The tools that must be installed.
        needs: &'static str,
        /// What the tool said.
        output: String,
    },
    /// No ten free ports in a row were found.
    #[error("no block of free loopback ports between {first} and {last}")]
    NoPorts {
        /// The first port tried.
        first: u16,
        /// The last port tried.
        last: u16,
    },
    /// Brokers would refuse messages here.
    #[error(
        "the disk of {} is {percent} % used, and brokers refuse messages above 90 %: free some, or name a folder on another disk in TMPDIR",
        dir.display()
    )]
    DiskFull {
        /// A folder on that disk.
        dir: PathBuf,
        /// How much of it is used.
        percent: u64,
    },
    /// A server ended, or did not answer in time.
    #[error("{name} {why}\n--- end of its output, {log}\n{tail}")]
    Server {
        /// Which server.
        name: String,
        /// What happened.
        why: String,
        /// Where its output is.
        log: String,
        /// The last lines of its output.
        tail: String,
    },
    /// The SDK program is gone or cannot be talked to.
    #[error("{name}: {why}\n{tail}")]
    Driver {
        /// Which SDK program.
        name: String,
        /// What happened.
        why: String,
        /// The last lines of its error output.
        tail: String,
    },
    /// A scenario reported that something did not hold, or did not end.
    #[error("{scenario} with {sdk}: {why}\n{steps}")]
    Scenario {
        /// Its name.
        scenario: String,
        /// The SDK that performed it.
        sdk: String,
        /// What it said.
        why: String,
        /// Its last steps.
        steps: String,
    },
}

/// The result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Names what was tried when the machine refuses it.
pub(crate) trait Trying<T> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Trying<T> for std::result::Result<T, E> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io {
            what: what(),
            source: source.into(),
        })
    }
}
