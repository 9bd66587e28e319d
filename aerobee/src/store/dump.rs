// SPDX-License-Identifier: Apache-2.0
//! `aerobee store dump`.

use std::{
    io::{self, BufWriter, Write},
    ops::Range,
    process::ExitCode,
};

use aerobee_message::RecordView;
use aerobee_store::inspect::{Directory, LogItem, QueueItem};
use clap::Args as ClapArgs;
use serde_json::json;

use super::{
    Error, Place, below,
    show::{self, Body},
    time, timers,
};

/// Flags of the dump.
#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Without a filter it prints the records of the log from its beginning. A position is a byte of the log, as queue \
entries and message ids name it; an offset is the number of a message in its queue. Nothing is opened for writing, \
and it may run beside a broker.

Examples:
  the first messages of a queue, with their bodies
    aerobee store dump data/store --topic orders --queue-id 0 --body text
  what was stored in a minute, as lines of JSON
    aerobee store dump data/store --since 2026-11-25T20:15:00Z --until 2026-11-25T20:16:00Z --limit 0 --json
  the record at a position
    aerobee store dump data/store --from-position 73014444032 --limit 1
  entries of a queue, and whether each finds its message
    aerobee store dump data/store --queue --topic orders --queue-id 0 --from 1000 --to 1100
  the checkpoint, and the heads of the index files
    aerobee store dump data/store --checkpoint
    aerobee store dump data/store --index --limit 0")]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,

    /// Only messages of this topic
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,

    /// Only messages of this queue of the topic
    #[arg(long, value_name = "ID", requires = "topic")]
    queue_id: Option<i32>,

    /// From this offset in the queue on
    #[arg(long, value_name = "OFFSET", requires = "topic")]
    from: Option<i64>,

    /// Up to this offset in the queue, which is not printed
    #[arg(long, value_name = "OFFSET", requires = "topic")]
    to: Option<i64>,

    /// From the first record at or behind this position of the log on
    #[arg(long, value_name = "POSITION")]
    from_position: Option<i64>,

    /// Up to this position of the log
    #[arg(long, value_name = "POSITION")]
    to_position: Option<i64>,

    /// Only messages stored at or after this time
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Only messages stored before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// Most records or entries to print; 0 for all
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: u64,

    /// How to print bodies
    #[arg(long, value_enum, default_value_t = Body::None)]
    body: Body,

    /// Print lines of JSON
    #[arg(long)]
    json: bool,

    /// Print the entries of queues instead of messages
    #[arg(long, group = "what", requires = "topic")]
    queue: bool,

    /// Print the heads and entries of the index files
    #[arg(long, group = "what")]
    index: bool,

    /// Print the checkpoint
    #[arg(long, group = "what")]
    checkpoint: bool,

    /// Print the timer: its checkpoint, the slots that are to come, the units of its log
    #[arg(long, group = "what")]
    timer: bool,

    /// Print the extensions of queue entries (enableConsumeQueueExt of Apache's broker)
    #[arg(long, group = "what", requires = "topic")]
    ext: bool,
}

/// Prints until the limit.
pub(super) struct Printer<W> {
    out: W,
    left: u64,
    json: bool,
    failed: Option<io::Error>,
    stopped: bool,
}

impl<W: Write> Printer<W> {
    /// Prints a line of JSON, or text; whether to go on.
    pub(super) fn print(
        &mut self,
        json: impl FnOnce() -> serde_json::Value,
        text: impl FnOnce() -> String,
    ) -> bool {
        if self.left == 0 {
            self.stopped = true;
            return false;
        }
        self.left -= 1;
        let written = if self.json {
            writeln!(self.out, "{}", json())
        } else {
            writeln!(self.out, "{}", text())
        };
        self.failed = written.err();
        self.failed.is_none()
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Error> {
    let directory = args.place.open()?;
    let mut printer = Printer {
        out: BufWriter::new(io::stdout().lock()),
        left: if args.limit == 0 {
            u64::MAX
        } else {
            args.limit
        },
        json: args.json,
        failed: None,
        stopped: false,
    };
    if args.checkpoint {
        checkpoint(&directory, &mut printer);
    } else if args.index {
        index(&directory, args, &mut printer)?;
    } else if args.timer {
        timers::dump(&directory, args.place.timer_precision()?, &mut printer)?;
    } else if args.ext {
        extensions(&directory, args, &mut printer)?;
    } else if args.queue {
        queues(&directory, args, &mut printer)?;
    } else {
        records(&directory, args, &mut printer)?;
    }
    if let Some(error) = printer.failed {
        return Err(error.into());
    }
    printer.out.flush()?;
    if printer.stopped {
        writeln!(
            io::stderr(),
            "there is more: --limit 0 prints all, --from, --from-position and --since go on elsewhere"
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What messages are asked for.
struct Filter<'a> {
    args: &'a Args,
    times: Range<i64>,
}

impl<'a> Filter<'a> {
    fn new(args: &'a Args) -> Result<Filter<'a>, Error> {
        let time =
            |given: &Option<String>, otherwise| given.as_deref().map_or(Ok(otherwise), time::parse);
        Ok(Filter {
            args,
            times: time(&args.since, i64::MIN)?..time(&args.until, i64::MAX)?,
        })
    }

    fn offsets(&self) -> Range<i64> {
        self.args.from.unwrap_or(0)..self.args.to.unwrap_or(i64::MAX)
    }

    fn positions(&self) -> Range<i64> {
        self.args.from_position.unwrap_or(0)..self.args.to_position.unwrap_or(i64::MAX)
    }

    fn wants(&self, record: &RecordView<'_>) -> bool {
        let args = self.args;
        args.topic
            .as_deref()
            .is_none_or(|topic| topic == record.topic())
            && args.queue_id.is_none_or(|id| id == record.queue_id())
            && (args.topic.is_none() || self.offsets().contains(&record.queue_offset()))
            && self.times.contains(&record.store_timestamp())
    }
}

fn records<W: Write>(
    directory: &Directory,
    args: &Args,
    printer: &mut Printer<W>,
) -> Result<(), Error> {
    let filter = Filter::new(args)?;
    if let (Some(topic), Some(id)) = (&args.topic, args.queue_id)
        && directory.queue_ids(topic)?.contains(&id)
    {
        return of_queue(directory, &filter, topic, id, printer);
    }
    let mut positions = filter.positions();
    if args.from_position.is_none() && args.since.is_some() {
        positions.start = directory.position_by_time(filter.times.start);
    }
    directory.read_log(positions, |item| match item {
        // Times of the log do not go back by more than a clock that is set right.
        LogItem::Record(_, record) if filter.wants(&record) => record_line(&record, args, printer),
        LogItem::Record(..) => true,
        LogItem::NoRecord(range, reason) => printer.print(
            || json!({"noRecord": {"from": range.start, "to": range.end, "reason": reason}}),
            || {
                format!(
                    "no record from position {} to {}: {reason}\n",
                    range.start, range.end
                )
            },
        ),
    });
    Ok(())
}

fn record_line<W: Write>(record: &RecordView<'_>, args: &Args, printer: &mut Printer<W>) -> bool {
    printer.print(
        || show::json(record, args.body),
        || show::text(record, args.body),
    )
}

/// Messages of one queue, found through its entries.
fn of_queue<W: Write>(
    directory: &Directory,
    filter: &Filter<'_>,
    topic: &str,
    id: i32,
    printer: &mut Printer<W>,
) -> Result<(), Error> {
    let positions = filter.positions();
    directory.read_queue(topic, id, filter.offsets(), |item| {
        if !positions.contains(&item.physical) || is_blank(&item) {
            return item.physical < positions.end;
        }
        let shown = directory.record_at(item.physical, |record| {
            // Light queues hold messages of other topics, so only the time is asked.
            if filter.times.contains(&record.store_timestamp()) {
                record_line(record, filter.args, printer)
            } else {
                true
            }
        });
        shown.unwrap_or_else(|| {
            printer.print(
                || json!({"noRecord": {"offset": item.offset, "position": item.physical}}),
                || {
                    format!(
                        "offset {}: no record at position {}\n",
                        item.offset, item.physical
                    )
                },
            )
        })
    })?;
    Ok(())
}

fn is_blank(item: &QueueItem) -> bool {
    item.size == i32::MAX && item.physical == 0
}

fn queues<W: Write>(
    directory: &Directory,
    args: &Args,
    printer: &mut Printer<W>,
) -> Result<(), Error> {
    let Some(topic) = &args.topic else {
        return Err(Error::Filters("--queue needs --topic"));
    };
    let filter = Filter::new(args)?;
    let ids = match args.queue_id {
        Some(id) => vec![id],
        None => directory.queue_ids(topic)?,
    };
    for id in ids {
        directory.read_queue(topic, id, filter.offsets(), |item| {
            let found = directory.record_at(item.physical, |record| {
                record.total_len() as i64 == i64::from(item.size)
            });
            let state = match found {
                _ if is_blank(&item) => "no message",
                Some(true) => "message found",
                Some(false) => "a record of another length is there",
                None => "no record there",
            };
            printer.print(
                || {
                    json!({
                        "topic": topic, "queue": id, "offset": item.offset,
                        "messages": item.batch.map(|(messages, _)| messages),
                        "stored": item.batch.map(|(_, stored)| stored),
                        "position": item.physical, "length": item.size,
                        "tagsCode": item.tags_code, "state": state,
                    })
                },
                || {
                    let batch = item.batch.map_or_else(String::new, |(messages, stored)| {
                        format!(" messages {messages} stored {}", time::text(stored))
                    });
                    format!(
                        "queue {id} offset {}{batch} position {} length {} tags code {}: {state}",
                        item.offset, item.physical, item.size, item.tags_code
                    )
                },
            )
        })?;
    }
    Ok(())
}

fn extensions<W: Write>(
    directory: &Directory,
    args: &Args,
    printer: &mut Printer<W>,
) -> Result<(), Error> {
    let topic = args.topic.as_deref().unwrap_or_default();
    for id in directory.extended_ids(topic)? {
        if args.queue_id.is_some_and(|wanted| wanted != id) {
            continue;
        }
        directory.read_extensions(topic, id, |unit| {
            let bits: String = unit
                .bit_map
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            printer.print(
                || {
                    json!({
                        "topic": topic, "queue": id, "position": unit.position,
                        "tagsCode": unit.tags_code, "stored": unit.store_time, "bitMap": bits,
                    })
                },
                || {
                    format!(
                        "queue {id} extension {} tags code {} stored {} bit map {bits}",
                        unit.position,
                        unit.tags_code,
                        time::text(unit.store_time)
                    )
                },
            )
        })?;
    }
    Ok(())
}

fn index<W: Write>(
    directory: &Directory,
    args: &Args,
    printer: &mut Printer<W>,
) -> Result<(), Error> {
    let positions = Filter::new(args)?.positions();
    for file in directory.index_files()? {
        let name = below(directory.root(), &file.path).to_string();
        let head = file.header;
        let goes_on = printer.print(
            || {
                json!({
                    "file": name, "entries": head.count.saturating_sub(1),
                    "slotsUsed": head.slots_used,
                    "beginPosition": head.begin_physical, "endPosition": head.end_physical,
                    "begin": head.begin_timestamp, "end": head.end_timestamp,
                })
            },
            || {
                format!(
                    "{name}: {} entries in {} slots, positions {} to {}, stored {} to {}",
                    head.count.saturating_sub(1),
                    head.slots_used,
                    head.begin_physical,
                    head.end_physical,
                    time::text(head.begin_timestamp),
                    time::text(head.end_timestamp)
                )
            },
        );
        if !goes_on {
            return Ok(());
        }
        if !directory.knows_index() {
            return Err(Error::Filters(
                "the index files have not the usual length: name maxHashSlotNum and maxIndexNum with --config",
            ));
        }
        directory.read_index(&file, |number, entry| {
            if !positions.contains(&entry.physical) {
                return true;
            }
            printer.print(
                || {
                    json!({
                        "entry": number, "hash": entry.hash, "position": entry.physical,
                        "seconds": entry.seconds, "previous": entry.previous,
                    })
                },
                || {
                    format!(
                        "  entry {number} hash {} position {} after {} s, before it in its slot {}",
                        entry.hash, entry.physical, entry.seconds, entry.previous
                    )
                },
            )
        })?;
    }
    Ok(())
}

fn checkpoint<W: Write>(directory: &Directory, printer: &mut Printer<W>) {
    let Some(checkpoint) = directory.checkpoint() else {
        printer.print(|| json!(null), || "there is no checkpoint".to_owned());
        return;
    };
    let longs = checkpoint.longs;
    printer.print(
        || {
            json!({
                "physicMsgTimestamp": longs[0], "logicsMsgTimestamp": longs[1],
                "indexMsgTimestamp": longs[2], "masterFlushedOffset": longs[3],
                "confirmPhyOffset": longs[4], "logicsPhysicalOffset": longs[5],
                "durable": checkpoint.own.map(|own| own.0),
                "dispatched": checkpoint.own.map(|own| own.1),
            })
        },
        || {
            let own = match checkpoint.own {
                Some((flushed, dispatched)) => format!(
                    "aerobee wrote last: the log is durable to position {flushed}, queue entries to {dispatched}"
                ),
                None => "aerobee's own part is missing, or Apache's broker has written since".to_owned(),
            };
            format!(
                "physicMsgTimestamp   {} ({})\nlogicsMsgTimestamp   {} ({})\nindexMsgTimestamp    {} ({})\n\
                 masterFlushedOffset  {}\nconfirmPhyOffset     {}\nlogicsPhysicalOffset {}\n{own}",
                longs[0], time::text(longs[0]), longs[1], time::text(longs[1]), longs[2], time::text(longs[2]),
                longs[3], longs[4], longs[5]
            )
        },
    );
}
