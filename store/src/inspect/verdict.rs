// SPDX-License-Identifier: Apache-2.0
//! What starting a broker on a directory would do.

use super::{Directory, Kind, Report, Writer, check::Found};
use crate::{
    error::OpenError,
    recovery::{self, Durable},
};

/// Where recovery starts in a directory that a broker of Apache's wrote last.
pub(super) fn foreign_start(directory: &Directory) -> Result<i64, OpenError> {
    let longs = directory
        .checkpoint
        .as_ref()
        .map_or([0; 6], |content| content.longs);
    recovery::foreign_start(
        &directory.env,
        &directory.log,
        longs,
        directory.abort.is_none(),
        i64::MAX,
    )
}

/// Adds the sentences.
pub(super) fn add(
    directory: &Directory,
    found: &Found,
    report: &mut Report,
) -> Result<(), OpenError> {
    let mut say = Vec::new();
    if let Some(pid) = directory.held_by {
        say.push(format!(
            "would refuse: process {pid} has the directory open"
        ));
    }
    if let Some(error) = &directory.rocksdb {
        say.push(format!("would refuse: {error}"));
    }
    let blocking = [
        Kind::StrayLogFile,
        Kind::MissingLogFile,
        Kind::LogFileLength,
    ];
    for defect in report.defects() {
        if blocking.contains(&defect.kind) {
            say.push(format!(
                "would refuse: {}: {}",
                defect.path.display(),
                defect.what
            ));
        }
    }
    if say.is_empty() {
        recover(directory, found, report, &mut say)?;
    }
    report.start = say;
    Ok(())
}

fn recover(
    directory: &Directory,
    found: &Found,
    report: &Report,
    say: &mut Vec<String>,
) -> Result<(), OpenError> {
    let own = directory
        .checkpoint
        .as_ref()
        .and_then(|content| content.own())
        .filter(|own| own.dispatched >= directory.log_first());
    let rebuilds = [Kind::MissingQueue, Kind::MissingQueueFile, Kind::StaleEntry];
    let rebuilds = rebuilds.iter().any(|kind| report.has(*kind));
    let (start, durable, by) = match own {
        Some(_) if rebuilds => (
            directory.log_first(),
            own.map_or(0, |own| own.flushed),
            "the beginning of the log, because queues are missing or too long",
        ),
        Some(own) => (own.dispatched, own.flushed, "the checkpoint"),
        None => (
            foreign_start(directory)?,
            found.end,
            match directory.writer {
                Writer::Unknown => "the beginning, because there is no checkpoint",
                _ => "the rules of Apache's broker, which wrote the directory last",
            },
        ),
    };
    let bad = found.bad.iter().find(|(at, _)| *at >= start);
    let durable = match own {
        Some(_) => Durable::Own(durable),
        None => Durable::Foreign(durable),
    };
    let end = bad.map_or(found.end, |(at, _)| *at);
    if durable.is_damage(end, bad.is_some_and(|(_, follows)| *follows)) {
        say.push(format!(
            "would refuse: the log is damaged at position {end}, before its durable end"
        ));
        return Ok(());
    }
    say.push(format!(
        "would recover from position {start} ({by}) and read {} bytes",
        (end - start).max(0)
    ));
    match bad {
        Some((at, true)) => say.push(format!(
            "would cut the log at position {at} and keep what follows in quarantine/"
        )),
        Some((at, false)) => say.push(format!(
            "would cut the log at position {at}, after its last record"
        )),
        None => {}
    }
    if let Some((at, _)) = found.bad.iter().find(|(at, _)| *at < start) {
        say.push(format!(
            "would not notice the damage at position {at}: messages there would be skipped when they are read"
        ));
    }
    Ok(())
}
