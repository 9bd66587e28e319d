// SPDX-License-Identifier: Apache-2.0
//! The steps of `cargo xtask test`, in their order.

use std::{
    env,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    error::{Error, Result},
    metadata, setup, tidy,
};

/// One step. Cheap ones come first, so that most faults show within seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Setup,
    Fmt,
    Tidy,
    Clippy,
    Unit,
    Build,
    Sdk,
}

impl Step {
    pub(crate) const ALL: [Self; 7] = [
        Self::Setup,
        Self::Fmt,
        Self::Tidy,
        Self::Clippy,
        Self::Unit,
        Self::Build,
        Self::Sdk,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Fmt => "fmt",
            Self::Tidy => "tidy",
            Self::Clippy => "clippy",
            Self::Unit => "unit",
            Self::Build => "build",
            Self::Sdk => "sdk",
        }
    }

    fn run(self) -> Result<()> {
        match self {
            Self::Setup => setup::check_or_install(),
            Self::Fmt => cargo(&["fmt", "--all", "--check"]),
            Self::Tidy => tidy::check(),
            Self::Clippy => cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ]),
            Self::Unit => cargo(&["test", "--workspace", "--exclude", "aerobee-compat-tests"]),
            Self::Build => cargo(&["build", "--release", "--package", "aerobee"]),
            Self::Sdk => sdk(),
        }
    }
}

/// Runs the steps until one fails, and says how long each took.
pub(crate) fn run(steps: &[Step]) -> Result<()> {
    let begin = Instant::now();
    let mut done: Vec<(Step, Duration)> = Vec::new();
    for step in steps {
        println!("== {}", step.name());
        let step_begin = Instant::now();
        let outcome = step.run();
        let took = step_begin.elapsed();
        match outcome {
            Ok(()) => println!("== {} passed in {:.1} s\n", step.name(), took.as_secs_f64()),
            Err(error) => {
                eprintln!("{error}");
                println!(
                    "== {} FAILED after {:.1} s\n",
                    step.name(),
                    took.as_secs_f64()
                );
                println!("{}", summary(&done, begin.elapsed()));
                return Err(Error::Step(step.name()));
            }
        }
        done.push((*step, took));
    }
    println!("{}; all passed", summary(&done, begin.elapsed()));
    Ok(())
}

fn summary(done: &[(Step, Duration)], total: Duration) -> String {
    let steps: Vec<_> = done
        .iter()
        .map(|(step, took)| format!("{} {:.1} s", step.name(), took.as_secs_f64()))
        .collect();
    let total = total.as_secs_f64();
    if steps.is_empty() {
        format!("xtask: nothing passed, {total:.1} s in all")
    } else {
        format!("xtask: {}; {total:.1} s in all", steps.join(", "))
    }
}

fn cargo(arguments: &[&str]) -> Result<()> {
    let mut command = metadata::cargo();
    command.args(arguments);
    run_command(&mut command)
}

/// The SDK programs drive the release build: it is what users run.
fn sdk() -> Result<()> {
    let mut command = metadata::cargo();
    command
        .args(["test", "--package", "aerobee-compat-tests"])
        .env("AEROBEE_BIN", binary()?);
    if let Some(path) = setup::path_with_go()? {
        command.env("PATH", path);
    }
    run_command(&mut command)
}

fn binary() -> Result<PathBuf> {
    Ok(metadata::read()?.target.join("release").join("aerobee"))
}

/// Runs a command that talks to the user by itself.
pub(crate) fn run_command(command: &mut Command) -> Result<()> {
    if env::var_os("CI").is_some() {
        command
            .env("CARGO_TERM_COLOR", "never")
            .env("NO_COLOR", "1");
    }
    let text = text_of(command);
    println!("$ {text}");
    let status = command.status().map_err(|source| Error::Start {
        command: text.clone(),
        source,
    })?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::Command {
            command: text,
            status,
        })
    }
}

fn text_of(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program());
    let words = std::iter::once(name).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}
