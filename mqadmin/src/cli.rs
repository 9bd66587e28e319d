// SPDX-License-Identifier: Apache-2.0
//! The command line: finds the command, reads its flags, runs it, and turns the outcome into an exit code.

use std::{
    ffi::OsString,
    future::Future,
    io::{self, BufWriter, IsTerminal as _, Write as _},
    pin::Pin,
    process::ExitCode,
    time::Duration,
};

use clap::{Arg, ArgAction, ArgMatches, Args};

use crate::{
    admin::Admin,
    commands::{COMMANDS, TWO_LETTERS},
    error::Error,
    out::{Form, Out, warn},
};

/// A command: its flags, and what it does.
pub(crate) trait Command: Args + Send + Sync {
    /// Does it.
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error>;

    /// For commands that cannot be undone: what would be done.
    fn would(&self) -> String {
        String::new()
    }
}

/// What a command does to the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Reads; may be repeated with `--watch`.
    Read,
    /// Changes something.
    Write,
    /// Does what cannot be undone: asks first when a person sits there.
    Destroy,
}

type Running<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + 'a>>;

/// A command in the list of all.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) kind: Kind,
    /// A command line to begin with, without the program.
    pub(crate) example: &'static str,
    pub(crate) flags: fn(clap::Command) -> clap::Command,
    pub(crate) run: for<'a> fn(&'a ArgMatches, &'a Admin, &'a mut Out) -> Running<'a>,
    pub(crate) would: fn(&ArgMatches) -> Result<String, clap::Error>,
}

/// Runs a command whose flags were read; for [`Entry::run`].
pub(crate) fn start<'a, C: Command>(
    matches: &'a ArgMatches,
    admin: &'a Admin,
    out: &'a mut Out,
) -> Running<'a> {
    Box::pin(async move {
        // The same flags were read before by `would`, which reports what is wrong with them.
        let Ok(command) = C::from_arg_matches(matches) else {
            return Ok(());
        };
        command.run(admin, out).await
    })
}

/// What a command would do; for [`Entry::would`].
pub(crate) fn would<C: Command>(matches: &ArgMatches) -> Result<String, clap::Error> {
    C::from_arg_matches(matches).map(|command| command.would())
}

/// Runs `mqadmin` with the arguments that follow its name.
pub fn run(args: Vec<OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let Some(first) = args.next() else {
        return written(&print_list());
    };
    let rest: Vec<_> = args.collect();
    let word = first.to_string_lossy();
    match &*word {
        "help" | "-h" | "--help" => help(&rest),
        "completion" => complete(&rest),
        name => match find(name) {
            Some(entry) => run_command(entry, rest),
            None => unknown(name),
        },
    }
}

fn written(result: &io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn find(name: &str) -> Option<&'static Entry> {
    COMMANDS
        .iter()
        .find(|entry| entry.name.eq_ignore_ascii_case(name))
}

fn print_list() -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    writeln!(out, "The most commonly used mqadmin commands are:")?;
    for entry in COMMANDS {
        writeln!(out, "   {:<35} {}", entry.name, entry.about)?;
    }
    writeln!(
        out,
        "\nSee 'mqadmin help <command>' for more information on a specific command."
    )?;
    out.flush()
}

fn unknown(name: &str) -> ExitCode {
    warn(format_args!("The sub command {name} not exist."));
    let lower = name.to_ascii_lowercase();
    let near: Vec<_> = COMMANDS
        .iter()
        .map(|entry| entry.name)
        .filter(|known| {
            let known = known.to_ascii_lowercase();
            known.contains(&lower) || lower.contains(&known)
        })
        .collect();
    if near.is_empty() {
        warn(format_args!("`mqadmin` alone lists all commands"));
    } else {
        warn(format_args!("did you mean: {}?", near.join(", ")));
    }
    ExitCode::FAILURE
}

fn help(rest: &[OsString]) -> ExitCode {
    let Some(name) = rest.first() else {
        return written(&print_list());
    };
    let name = name.to_string_lossy();
    match find(&name) {
        Some(entry) => written(&parser(entry).print_long_help()),
        None => unknown(&name),
    }
}

fn complete(rest: &[OsString]) -> ExitCode {
    let shell = rest
        .first()
        .and_then(|shell| shell.to_str()?.parse::<clap_complete::Shell>().ok());
    let Some(shell) = shell else {
        warn(format_args!(
            "completion needs the name of a shell: bash, zsh, fish, elvish or powershell, as in `source <(mqadmin completion bash)`"
        ));
        return ExitCode::FAILURE;
    };
    let mut all = clap::Command::new("mqadmin");
    for entry in COMMANDS {
        all = all.subcommand(parser(entry));
    }
    clap_complete::generate(shell, &mut all, "mqadmin", &mut io::stdout());
    ExitCode::SUCCESS
}

/// The parser of a command: its own flags and those that all have.
pub(crate) fn parser(entry: &Entry) -> clap::Command {
    let about = format!(
        "{}\n\nExample:\n  mqadmin {} {}",
        entry.about, entry.name, entry.example
    );
    let mut command = (entry.flags)(clap::Command::new(entry.name))
        .bin_name(format!("mqadmin {}", entry.name))
        .about(entry.about)
        .long_about(about)
        .infer_long_args(true)
        .args_override_self(true);
    // Apache's commands come first: some have a flag of their own where we would have ours.
    let free = |command: &clap::Command, short| {
        command
            .get_arguments()
            .all(|arg| arg.get_short() != Some(short))
    };
    let mut namesrv = Arg::new("namesrvAddr")
        .long("namesrvAddr")
        .alias("nameserverAddr")
        .value_name("HOST:PORT;…")
        .help_heading("Every command")
        .help("Name servers, separated by ';' [else: the environment's NAMESRV_ADDR]");
    if free(&command, 'n') {
        namesrv = namesrv.short('n');
    }
    let mut output = Arg::new("output")
        .long("output")
        .value_parser(clap::builder::EnumValueParser::<Form>::new())
        .default_value("text")
        .help_heading("Every command")
        .help("Form of what is printed");
    if free(&command, 'o') {
        output = output.short('o');
    }
    command = command.arg(namesrv).arg(output);
    match entry.kind {
        Kind::Read => command.arg(
            Arg::new("watch")
                .long("watch")
                .value_name("SECONDS")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("2")
                .value_parser(clap::value_parser!(u64).range(1..=86_400))
                .help_heading("Every command")
                .help("Repeat until interrupted"),
        ),
        Kind::Destroy => command.arg(
            Arg::new("yes")
                .long("yes")
                .action(ArgAction::SetTrue)
                .help_heading("Every command")
                .help("Do not ask before doing what cannot be undone; without a terminal nothing is asked"),
        ),
        Kind::Write => command,
    }
}

/// Spells flags of one dash and two letters, which are two flags elsewhere, with their long names, and
/// trims values as Apache's tools do.
fn spelled(entry: &Entry, args: Vec<OsString>) -> Vec<OsString> {
    args.into_iter()
        .map(|arg| {
            let Some(text) = arg.to_str() else { return arg };
            let long = TWO_LETTERS.iter().find_map(|(command, short, long)| {
                let rest = text.strip_prefix(short)?;
                let fits = *command == entry.name && (rest.is_empty() || rest.starts_with('='));
                fits.then(|| format!("{long}{rest}"))
            });
            long.map_or_else(|| OsString::from(text.trim()), OsString::from)
        })
        .collect()
}

fn run_command(entry: &'static Entry, args: Vec<OsString>) -> ExitCode {
    let line = std::iter::once(OsString::from(entry.name)).chain(spelled(entry, args));
    let matches = match parser(entry).try_get_matches_from(line) {
        Ok(matches) => matches,
        Err(error) => return explain(&error),
    };
    match (entry.would)(&matches) {
        Ok(would) => {
            if entry.kind == Kind::Destroy && !matches.get_flag("yes") && !confirmed(&would) {
                return failed(entry, &Error::NotConfirmed);
            }
        }
        Err(error) => return explain(&error),
    }
    match run_matched(entry, &matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(entry, &error),
    }
}

/// Help goes to where output goes; what is wrong with the flags is a failure, as in Apache's tools.
fn explain(error: &clap::Error) -> ExitCode {
    // If even stderr is gone, the exit code still tells.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn failed(entry: &Entry, error: &Error) -> ExitCode {
    if matches!(error, Error::Output(cause) if cause.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::FAILURE;
    }
    warn(format_args!("mqadmin {}: {error}", entry.name));
    if let Some(fix) = error.fix() {
        warn(format_args!("  {fix}"));
    }
    ExitCode::FAILURE
}

/// Asks the person at the terminal; without one, whoever wrote the script has decided.
fn confirmed(would: &str) -> bool {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return true;
    }
    let mut asked = io::stderr();
    let said =
        write!(asked, "{would} This cannot be undone. Go on? [y/N] ").and_then(|()| asked.flush());
    let mut answer = String::new();
    said.is_ok()
        && io::stdin().read_line(&mut answer).is_ok()
        && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

fn run_matched(entry: &Entry, matches: &ArgMatches) -> Result<(), Error> {
    let form = matches
        .get_one::<Form>("output")
        .copied()
        .unwrap_or_default();
    let mut out = Out::new(form, Box::new(BufWriter::new(io::stdout())));
    let watch = (entry.kind == Kind::Read)
        .then(|| matches.get_one::<u64>("watch").copied())
        .flatten();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let admin = Admin::new(matches.get_one::<String>("namesrvAddr").map(String::as_str))?;
        let outcome = match watch {
            Some(seconds) => repeat(entry, matches, &admin, &mut out, seconds).await,
            None => (entry.run)(matches, &admin, &mut out).await,
        };
        // What was told before a failure is told.
        let finished = match &outcome {
            Ok(()) => out.finish(),
            Err(_) => out.flush(),
        };
        admin.close();
        outcome.and(finished.map_err(Error::from))
    })
}

async fn repeat(
    entry: &Entry,
    matches: &ArgMatches,
    admin: &Admin,
    out: &mut Out,
    seconds: u64,
) -> Result<(), Error> {
    let clear = io::stdout().is_terminal();
    loop {
        if clear {
            out.text("\x1b[H\x1b[2J")?;
        }
        out.text(&format!(
            "every {seconds} s: mqadmin {}    {}\n\n",
            entry.name,
            crate::format::time(crate::format::now())
        ))?;
        (entry.run)(matches, admin, out).await?;
        out.finish()?;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_line_is_consistent_and_every_example_is_one() {
        for entry in COMMANDS {
            parser(entry).debug_assert();
            let words = entry
                .example
                .split(' ')
                .filter(|word| !word.is_empty())
                .map(OsString::from);
            let line =
                std::iter::once(OsString::from(entry.name)).chain(spelled(entry, words.collect()));
            if let Err(error) = parser(entry).try_get_matches_from(line) {
                panic!("the example of {} does not parse: {error}", entry.name);
            }
        }
    }

    #[test]
    fn the_commands_are_those_of_apache_in_its_order() {
        let names: Vec<_> = COMMANDS.iter().map(|entry| entry.name).collect();
        assert_eq!(names.len(), 96);
        assert_eq!(names[0], "updateTopic");
        assert_eq!(names[95], "triggerLiteDispatch");
        for (at, name) in names.iter().enumerate() {
            assert!(!names[at + 1..].contains(name), "{name} comes twice");
        }
    }

    #[test]
    fn names_are_found_in_any_case() {
        assert!(find("QUERYMSGTRACEBYID").is_some());
        assert!(find("topiclist").is_some());
        assert!(find("topic").is_none());
    }
}
