// SPDX-License-Identifier: Apache-2.0
//! The timer's files: whether they fit the log, and what is in them.

use std::io::Write;

use aerobee_broker::timer_files::{TimedMessage, TimerFiles, TimerRules, Usual};
use aerobee_message::{RecordView, keys, topic};
use aerobee_store::inspect::{Directory, Kind, Report};
use serde_json::json;

use super::{Error, dump::Printer, time};

/// Checks wheel, log and checkpoint of the timer.
pub(super) fn check(
    directory: &Directory,
    precision: i64,
    report: &mut Report,
) -> Result<(), Error> {
    let files = TimerFiles::open(directory.root())?;
    if files.is_empty() || directory.held_by.is_some() {
        // A broker that runs keeps the newest units and slots in memory.
        return Ok(());
    }
    let rules = TimerRules {
        precision,
        log: (directory.log_first(), report.log_end),
    };
    let mut unfinished = 0u64;
    let mut faults = Vec::new();
    let units = files.check(
        rules,
        |physical| directory.record_at(physical, timed),
        |fault| {
            let is_usual = match fault.usual {
                Usual::Never => false,
                Usual::AfterKill => !directory.is_clean(),
                Usual::AfterAnyEnd => true,
            };
            if is_usual {
                unfinished += 1;
            } else {
                faults.push(fault);
            }
        },
    )?;
    for fault in faults {
        report.add(Kind::Timer, &fault.path, fault.at, fault.what);
    }
    if unfinished > 0 {
        report.note(format!(
            "{unfinished} units or slots of the timer were not finished: starting puts them right"
        ));
    }
    if units > 0 {
        report.note(format!("{units} units of the timer log compared"));
    }
    check_mark(directory, &files, report)
}

fn check_mark(directory: &Directory, files: &TimerFiles, report: &mut Report) -> Result<(), Error> {
    let Some(mark) = files.mark()? else {
        return Ok(());
    };
    let path = directory.root().join("config/timercheck");
    if mark.bytes != 4096 {
        let what = format!("{} bytes, not 4096", mark.bytes);
        report.add(Kind::Timer, &path, None, what);
    }
    let key = (topic::WHEEL_TIMER, 0);
    let queue = report
        .queues
        .binary_search_by(|range| (&*range.topic, range.id).cmp(&key));
    let next = queue.map_or(0, |at| report.queues[at].next);
    if mark.queue_offset > next {
        let what = format!(
            "messages before offset {} are said to be in the wheel, the queue of {} ends at {next}",
            mark.queue_offset,
            topic::WHEEL_TIMER
        );
        report.add(Kind::Timer, &path, Some(16), what);
    } else if mark.queue_offset < next {
        report.note(format!(
            "{} messages are not in the wheel yet: starting puts them there",
            next - mark.queue_offset
        ));
    }
    Ok(())
}

fn timed(record: &RecordView<'_>) -> TimedMessage {
    let due = record.properties().get(keys::TIMER_OUT_MS);
    TimedMessage {
        #[expect(clippy::cast_possible_truncation, reason = "read from four bytes")]
        #[expect(clippy::cast_possible_wrap, reason = "read from four signed bytes")]
        size: record.total_len() as i32,
        is_timed: record.topic() == topic::WHEEL_TIMER,
        due: due.and_then(|due| due.parse().ok()),
    }
}

/// Prints checkpoint, slots that are to come, and units.
pub(super) fn dump<W: Write>(
    directory: &Directory,
    precision: i64,
    printer: &mut Printer<W>,
) -> Result<(), Error> {
    let files = TimerFiles::open(directory.root())?;
    let mark = files.mark()?;
    let read_time = mark.map_or(0, |mark| mark.read_time);
    if let Some(mark) = mark {
        printer.print(
            || {
                json!({"timercheck": {
                    "lastReadTimeMs": mark.read_time, "lastTimerLogFlushPos": mark.log_position,
                    "lastTimerQueueOffset": mark.queue_offset,
                }})
            },
            || {
                format!(
                    "delivered up to {}, timer log durable to position {}, timer topic sorted in to offset {}",
                    time::text(mark.read_time), mark.log_position, mark.queue_offset
                )
            },
        );
    }
    files.slots(|slot| {
        let due = slot.time.saturating_mul(precision);
        due <= read_time
            || printer.print(
                || {
                    json!({"slot": {
                        "byte": slot.at, "due": due, "first": slot.first, "last": slot.last,
                        "messages": slot.messages,
                    }})
                },
                || {
                    format!(
                        "slot at byte {} due {} units {} to {} messages {}",
                        slot.at,
                        time::text(due),
                        slot.first,
                        slot.last,
                        slot.messages
                    )
                },
            )
    })?;
    files.units(0, |unit| {
        let found = directory.record_at(unit.physical, timed);
        let state = match found {
            Some(message) if message.size == unit.size && message.is_timed => "message found",
            Some(_) => "another record is there",
            None => "no record there",
        };
        let kind = match (unit.is_recall, unit.is_rolled) {
            (true, _) => "recall",
            (_, true) => "put off",
            _ => "message",
        };
        Ok(printer.print(
            || {
                json!({"unit": {
                    "position": unit.position, "previous": unit.previous, "kind": kind,
                    "due": unit.due, "message": unit.physical, "length": unit.size, "state": state,
                    "delivered": unit.due <= read_time,
                }})
            },
            || {
                let due = if unit.due <= read_time {
                    "was due"
                } else {
                    "due"
                };
                format!(
                    "unit {} before it {} {kind} {due} {} message {} length {}: {state}",
                    unit.position,
                    unit.previous,
                    time::text(unit.due),
                    unit.physical,
                    unit.size
                )
            },
        ))
    })?;
    Ok(())
}
