// SPDX-License-Identifier: Apache-2.0
//! `aerobee store check`.

use std::{
    io::{self, BufWriter, IsTerminal as _, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

use aerobee_store::inspect::{Directory, Known, Progress, Report, Writer};
use clap::Args as ClapArgs;
use serde_json::json;

use super::{Error, Place, below, repair, tables, time, timers};

/// Flags of the check.
#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
The check reads every record of the log once, and beside it every entry of every queue and of the index; memory does \
not grow with the messages. It opens nothing for writing and takes no lock, so it may run beside a broker; what that \
one is writing meanwhile may then look unfinished.

Exit codes: 0 nothing is wrong, 1 there are defects, 2 the directory cannot be checked.

Examples:
  aerobee store check data/store
  aerobee store check /var/lib/rocketmq/store -c /etc/rocketmq/broker.conf --json
  aerobee store check data/store --repair

A repair needs the directory for itself. It makes queues, index and checkpoint anew from the log. No byte of the log \
is deleted: what cannot stay - a torn end, a damaged part - is kept in the folder aerobee-repair-<time> of the store, \
and records over which every reader goes on take the place of a damaged part. What was there is lost unless a copy or \
a replica has it, so look for one first.")]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,

    /// Put right what can be made anew from the log
    #[arg(long)]
    repair: bool,

    /// Do not ask before a repair
    #[arg(long, requires = "repair")]
    yes: bool,

    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,

    /// Print no progress
    #[arg(long, short)]
    quiet: bool,

    /// Most defects that are printed; more are counted
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Error> {
    let (directory, mut report) = look(args)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut repaired = None;
    if args.repair && !report.is_clean() {
        if !args.json {
            print(&mut out, args, &directory, &report)?;
            out.flush()?;
        }
        if !args.yes && !repair::is_agreed(&directory)? {
            return Ok(ExitCode::FAILURE);
        }
        let done = repair::run(&directory, &report, args.place.settings()?)?;
        if !args.json {
            print_acts(&mut out, &done)?;
        }
        repaired = Some(done);
        let (again, after) = look(args)?;
        report = after;
        if !args.json {
            let left = if report.is_clean() {
                "a check finds nothing wrong any more"
            } else {
                "what could not be repaired:"
            };
            writeln!(out, "\n{left}")?;
        }
        if args.json || !report.is_clean() {
            emit(&mut out, args, &again, &report, repaired.as_ref())?;
        }
    } else {
        emit(&mut out, args, &directory, &report, repaired.as_ref())?;
    }
    out.flush()?;
    Ok(if report.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn look(args: &Args) -> Result<(Directory, Report), Error> {
    let directory = args.place.open()?;
    let known = Known {
        topics: tables::topics(&directory.root().join("config")),
    };
    let mut meter = Meter::new(args.quiet);
    let checked = directory.check(&known, |progress| meter.show(progress));
    meter.end();
    let mut report = checked?;
    tables::check(directory.root(), directory.held_by.is_some(), &mut report);
    timers::check(&directory, args.place.timer_precision()?, &mut report)?;
    Ok((directory, report))
}

fn emit(
    out: &mut impl Write,
    args: &Args,
    directory: &Directory,
    report: &Report,
    repaired: Option<&repair::Done>,
) -> io::Result<()> {
    if args.json {
        let value = as_json(args, directory, report, repaired);
        writeln!(out, "{value}")
    } else {
        print(out, args, directory, report)
    }
}

/// Who wrote a directory, in words.
fn writer(directory: &Directory) -> &'static str {
    match directory.writer {
        Writer::Aerobee => "aerobee",
        Writer::Apache => "Apache RocketMQ",
        Writer::ApacheAfterAerobee => "Apache RocketMQ, after aerobee",
        Writer::Unknown => "nobody tells, there is no checkpoint",
    }
}

/// How it ended, in words.
fn ending(directory: &Directory) -> String {
    match (directory.held_by, &directory.abort) {
        (Some(0), _) => "in use by a process".to_owned(),
        (Some(pid), _) => format!("in use by process {pid}"),
        (None, Some(pid)) if pid.is_empty() => "not closed in order".to_owned(),
        (None, Some(pid)) if directory.ran_on => {
            format!("process {pid} was killed, the machine has run on since")
        }
        (None, Some(pid)) => format!("not closed in order by process {pid}"),
        (None, None) => "closed in order".to_owned(),
    }
}

fn print(
    out: &mut impl Write,
    args: &Args,
    directory: &Directory,
    report: &Report,
) -> io::Result<()> {
    writeln!(out, "{}", directory.root().display())?;
    writeln!(
        out,
        "  written by     {}, {}",
        writer(directory),
        ending(directory)
    )?;
    writeln!(
        out,
        "  log            {} files of {} bytes, positions {} to {}",
        directory.log_files(),
        directory.log_file_bytes(),
        directory.log_first(),
        report.log_end
    )?;
    let times = report.times.map_or_else(String::new, |(first, last)| {
        format!(", stored {} to {}", time::text(first), time::text(last))
    });
    writeln!(out, "  messages       {}{times}", report.records)?;
    writeln!(
        out,
        "  queues         {} of {} topics, {} entries each file, {} entries compared",
        report.queues.len(),
        directory.topics,
        directory.queue_file_entries(),
        report.entries
    )?;
    writeln!(
        out,
        "  index          {} entries compared",
        report.index_entries
    )?;
    print_checkpoint(out, directory)?;
    for (name, what) in &directory.parts {
        writeln!(out, "  {name:<14} {what}")?;
    }
    print_defects(out, args.limit, directory, report)?;
    print_list(out, "worth knowing", report.notes())?;
    print_list(out, "starting a broker on it", &report.start)
}

fn print_checkpoint(out: &mut impl Write, directory: &Directory) -> io::Result<()> {
    let Some(checkpoint) = directory.checkpoint() else {
        return writeln!(out, "  checkpoint     none");
    };
    match checkpoint.own {
        Some((flushed, dispatched)) => writeln!(
            out,
            "  checkpoint     log durable to position {flushed}, queues to {dispatched}"
        ),
        None => writeln!(
            out,
            "  checkpoint     log flushed up to {}, queues up to {}",
            time::text(checkpoint.longs[0]),
            time::text(checkpoint.longs[1])
        ),
    }
}

fn print_defects(
    out: &mut impl Write,
    limit: usize,
    directory: &Directory,
    report: &Report,
) -> io::Result<()> {
    match report.total() {
        0 => return writeln!(out, "\nno defects"),
        1 => writeln!(out, "\n1 defect")?,
        total => writeln!(out, "\n{total} defects")?,
    }
    let mut shown = 0u64;
    let mut last = None;
    for defect in report.defects().iter().take(limit) {
        let at = defect
            .at
            .map_or_else(String::new, |at| format!(" byte {at}"));
        writeln!(
            out,
            "  {}  {}{at}\n    {}",
            defect.kind.name(),
            below(directory.root(), &defect.path),
            defect.what
        )?;
        if last != Some(defect.kind) {
            writeln!(out, "    cause: {}", defect.kind.cause())?;
            writeln!(out, "    fix:   {}", defect.kind.fix())?;
        }
        last = Some(defect.kind);
        shown += 1;
    }
    if shown < report.total() {
        let counts: Vec<String> = report
            .counts()
            .map(|(kind, count)| format!("{count} {}", kind.name()))
            .collect();
        writeln!(
            out,
            "  and {} more; in all: {}",
            report.total() - shown,
            counts.join(", ")
        )?;
    }
    Ok(())
}

fn print_list(out: &mut impl Write, title: &str, lines: &[String]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{title}")?;
    lines.iter().try_for_each(|line| writeln!(out, "  {line}"))
}

fn print_acts(out: &mut impl Write, done: &repair::Done) -> io::Result<()> {
    print_list(out, "repaired", &done.acts)?;
    match &done.folder {
        Some(folder) => writeln!(out, "  what was moved is in {}", folder.display()),
        None => Ok(()),
    }
}

fn as_json(
    args: &Args,
    directory: &Directory,
    report: &Report,
    repaired: Option<&repair::Done>,
) -> serde_json::Value {
    let defects: Vec<_> = report
        .defects()
        .iter()
        .take(args.limit)
        .map(|defect| {
            json!({
                "kind": defect.kind.name(),
                "file": below(directory.root(), &defect.path).to_string(),
                "byte": defect.at,
                "what": defect.what,
                "cause": defect.kind.cause(),
                "fix": defect.kind.fix(),
            })
        })
        .collect();
    let counts: serde_json::Map<_, _> = report
        .counts()
        .map(|(kind, count)| (kind.name().to_owned(), json!(count)))
        .collect();
    let checkpoint = directory.checkpoint().map(|checkpoint| {
        json!({
            "longs": checkpoint.longs,
            "durable": checkpoint.own.map(|own| own.0),
            "dispatched": checkpoint.own.map(|own| own.1),
        })
    });
    json!({
        "directory": directory.root().display().to_string(),
        "clean": report.is_clean(),
        "writer": writer(directory),
        "ending": ending(directory),
        "heldBy": directory.held_by,
        "log": {
            "files": directory.log_files(),
            "fileBytes": directory.log_file_bytes(),
            "first": directory.log_first(),
            "end": report.log_end,
        },
        "messages": report.records,
        "firstStored": report.times.map(|times| times.0),
        "lastStored": report.times.map(|times| times.1),
        "topics": directory.topics,
        "queues": report.queues.len(),
        "queueEntries": report.entries,
        "indexEntries": report.index_entries,
        "checkpoint": checkpoint,
        "parts": directory.parts.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        "defectCount": report.total(),
        "defectCounts": counts,
        "defects": defects,
        "notes": report.notes(),
        "start": report.start,
        "repaired": repaired.map(|done| json!({
            "acts": done.acts,
            "folder": done.folder.as_ref().map(|folder| folder.display().to_string()),
        })),
    })
}

/// Says how far it is: in place on a terminal, else a line every few seconds.
struct Meter {
    quiet: bool,
    in_place: bool,
    start: Instant,
    last: Option<Instant>,
}

impl Meter {
    fn new(quiet: bool) -> Meter {
        Meter {
            quiet,
            in_place: io::stderr().is_terminal(),
            start: Instant::now(),
            last: None,
        }
    }

    fn show(&mut self, progress: Progress) {
        let pause = if self.in_place {
            Duration::from_millis(200)
        } else {
            Duration::from_secs(5)
        };
        // The first line only when it takes longer than that.
        if self.quiet || self.last.unwrap_or(self.start).elapsed() < pause {
            return;
        }
        self.last = Some(Instant::now());
        let line = line_of(progress, self.start.elapsed());
        let (before, after) = if self.in_place {
            ("\r", "\x1b[K")
        } else {
            ("", "\n")
        };
        // Without stderr there is nobody to tell.
        let _ = write!(io::stderr(), "{before}{line}{after}");
    }

    fn end(&self) {
        if self.in_place && self.last.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// Bytes, rate, time left.
fn line_of(progress: Progress, elapsed: Duration) -> String {
    const MIB: f64 = 1048576.0;
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let (done, total) = (progress.done as f64 / MIB, progress.total as f64 / MIB);
    let rate = done / elapsed.as_secs_f64().max(0.001);
    let left = if rate > 0.0 {
        format!(", about {:.0} s left", (total - done).max(0.0) / rate)
    } else {
        String::new()
    };
    format!(
        "{}: {done:.0} of {total:.0} MiB, {rate:.0} MiB/s{left}",
        progress.part
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_tells_bytes_rate_and_time_left() {
        let progress = Progress {
            part: "log",
            done: 512 << 20,
            total: 2048 << 20,
        };
        assert_eq!(
            line_of(progress, Duration::from_secs(2)),
            "log: 512 of 2048 MiB, 256 MiB/s, about 6 s left"
        );
    }
}
