// SPDX-License-Identifier: Apache-2.0
//! Why a step failed.

use std::{io, path::PathBuf, process::ExitStatus};

/// Result of a step.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("unknown command")]
    Usage,
    #[error("cannot run `{command}`: {source}")]
    Start { command: String, source: io::Error },
    #[error("`{command}` failed: {status}")]
    Command { command: String, status: ExitStatus },
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the archive does not work: {0}")]
    Try(String),
    #[error("cannot understand the output of cargo metadata: {0}")]
    Metadata(#[from] serde_json::Error),
    #[error("{} found:\n  {}", count(.0.len()), .0.join("\n  "))]
    Tidy(Vec<String>),
    #[error("missing: {what}; {fix}")]
    Missing { what: String, fix: String },
    #[error("step {0} failed")]
    Step(&'static str),
}

fn count(faults: usize) -> String {
    if faults == 1 {
        "1 fault".to_owned()
    } else {
        format!("{faults} faults")
    }
}
