// SPDX-License-Identifier: Apache-2.0
//! Automation of this repository: `cargo xtask test` runs every check and every test.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks to its user"
)]

mod arrows;
mod dist;
mod docs;
mod error;
mod metadata;
mod setup;
mod steps;
mod tidy;

use std::{env, process::ExitCode};

use crate::{
    error::{Error, Result},
    steps::Step,
};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test    all of the following, stopping at the first failure
  setup   install what the SDK tests need (JDK, Maven, Go, Python, Node.js), or say how to
  fmt     check the format
  clippy  run the lints, warnings are errors
  tidy    check licence lines, the map of folders and the arrows between crates
  unit    unit, protocol and crash tests of all crates
  build   build the server as users get it
  sdk     tests with the official SDKs and Apache's own servers

and besides

  docs            write the documents that are made from the code (configuration, request codes,
                  metrics), and from the last run of the SDK tests (compatibility)
  dist [--debug]  build the archive for users, unpack it and try it; --debug only tries the packaging";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [command] => run(command),
        [command, debug] if command == "dist" && debug == "--debug" => dist::run(false),
        _ => Err(Error::Usage),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Usage) => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &str) -> Result<()> {
    let steps = match command {
        "dist" => return dist::run(true),
        "docs" => return docs::run(),
        "test" => &Step::ALL[..],
        // The SDK tests drive the program that users get.
        "sdk" => &[Step::Setup, Step::Build, Step::Sdk],
        "setup" => &[Step::Setup],
        "fmt" => &[Step::Fmt],
        "clippy" => &[Step::Clippy],
        "tidy" => &[Step::Tidy],
        "unit" => &[Step::Unit],
        "build" => &[Step::Build],
        _ => return Err(Error::Usage),
    };
    steps::run(steps)
}
