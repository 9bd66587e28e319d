// SPDX-License-Identifier: Apache-2.0
//! Store directories from the command line: `aerobee store check` and `aerobee store dump`.

mod check;
mod dump;
mod repair;
mod show;
mod tables;
mod time;
mod timers;

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use aerobee_store::{
    Config, LogDirs,
    inspect::{Directory, InspectError, Sizes},
};
use clap::{Args as ClapArgs, Subcommand};

/// What `aerobee store` does.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Verify a store directory, and say what starting a broker on it would do
    Check(check::Args),
    /// Print messages, queue entries, index entries or the checkpoint of a store directory
    Dump(dump::Args),
}

/// Where the store is, and how it was written.
#[derive(Debug, ClapArgs)]
struct Place {
    /// The store directory: storePathRootDir of a broker, data/store of the standalone server
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// A broker.conf with the file sizes of the directory; without it they are taken from the files
    #[arg(short = 'c', long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Place {
    fn open(&self) -> Result<Directory, Error> {
        let settings = self.settings()?;
        let sizes = match &self.config {
            None => Sizes::default(),
            Some(_) => Sizes {
                commit_log_file_bytes: Some(settings.commit_log_file_bytes),
                queue_file_entries: Some(settings.queue_file_entries),
                index: Some(settings.index.geometry),
            },
        };
        // A copy of a store has its log beside it, wherever the original keeps it.
        let is_same = self.dir.canonicalize().ok() == settings.dir.canonicalize().ok();
        let dirs = if self.config.is_some() && is_same {
            settings.log_dirs
        } else {
            LogDirs::default()
        };
        Ok(Directory::open_at(&self.dir, &dirs, sizes)?)
    }

    /// Settings of the store that the configuration file asks for.
    fn settings(&self) -> Result<Config, Error> {
        let keys = aerobee_broker::run::load(self.config.as_deref())?;
        let levels = keys.store.delay_levels()?;
        Ok(keys.to_store(&levels))
    }

    /// Distance between times of the timer, ms.
    fn timer_precision(&self) -> Result<i64, Error> {
        let keys = aerobee_broker::run::load(self.config.as_deref())?;
        Ok(keys.store.timer_precision())
    }
}

/// Why nothing could be said of a directory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Inspect(#[from] InspectError),
    #[error(transparent)]
    Config(#[from] aerobee_broker::StartError),
    #[error("cannot write the result: {0}")]
    Output(#[from] io::Error),
    #[error("a repair changes the directory: say --yes, or answer on a terminal")]
    NotAsked,
    #[error("cannot {what} {}: {source}", path.display())]
    Table {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(transparent)]
    Save(#[from] aerobee_daemon::persist::Error),
    #[error(
        "{given:?} is no time: write 2026-11-25T20:15:00Z, 2026-11-25 20:15:00 (local), or milliseconds since 1970"
    )]
    Time { given: String },
    #[error("{0}")]
    Filters(&'static str),
}

/// Exit code when nothing could be said.
const CANNOT: u8 = 2;

/// Does what was asked.
pub(crate) fn run(args: Args) -> ExitCode {
    let done = match args.act {
        Act::Check(args) => check::run(&args),
        Act::Dump(args) => dump::run(&args),
    };
    match done {
        Ok(code) => code,
        // Whoever read the output has had enough.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            use io::Write as _;
            // If even stderr is gone, the exit code still tells.
            let _ = writeln!(io::stderr(), "aerobee: {error}");
            ExitCode::from(CANNOT)
        }
    }
}

/// A path as seen from the store.
fn below<'a>(root: &Path, path: &'a Path) -> std::path::Display<'a> {
    path.strip_prefix(root).unwrap_or(path).display()
}
