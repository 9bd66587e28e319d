// SPDX-License-Identifier: Apache-2.0
//! Entries that a queue should have and its files have not, because somebody removed or changed them: they are made
//! again from the log.

use std::{io, sync::Arc};

use crate::{
    consume_queue::{ENTRY, Entry, Queue},
    dispatch,
    files::{Descriptors, Files, Slot},
    queue_files::read_entry,
    scan::{Frame, Scanner},
};

/// Completes the files of a queue up to entry `until`. The caller holds `files_work`, nobody reads yet.
pub(crate) fn mend(queue: &Queue, files: &Files, until: i64) -> io::Result<()> {
    let shared = &queue.shared;
    let env = &shared.env;
    let (mut good, mut from) = last_good(queue, files, until)?;
    tracing::warn!(
        dir = %files.dir().display(), from = good, to = until,
        "entries of a consume queue are missing or changed: they are made again from the log"
    );
    let bases = shared
        .homes
        .list(env, shared.log_file_bytes)
        .map_err(io::Error::other)?;
    let slots = bases.iter().map(|base| Slot::unmapped(*base, 0)).collect();
    let log = Files::of_log(
        &shared.homes,
        shared.log_file_bytes,
        Descriptors::Drop,
        slots,
    );
    from = from.max(log.first().unwrap_or(0));
    let mut scanner = Scanner::new(env, &log);
    let mut entries: Vec<(i64, Entry)> = Vec::new();
    while good < until {
        match scanner.frame(from).map_err(io::Error::other)? {
            Frame::NoFile | Frame::Bad(_) => break,
            Frame::Blank => from = log.base_for(from) + log.file_bytes().cast_signed(),
            Frame::Record(record) => {
                for place in dispatch::places(&record, &shared.delay_levels) {
                    if place.queue_id == queue.id()
                        && *place.topic == **queue.topic()
                        && place.offset == good
                    {
                        let messages = if queue.is_batch() { place.messages } else { 1 };
                        for _ in 0..messages {
                            entries.push((good, place.entry));
                            good += 1;
                        }
                    }
                }
                from += record.total_len() as i64;
            }
        }
        if entries.len() >= 4096 {
            write(queue, files, &mut entries)?;
        }
    }
    write(queue, files, &mut entries)?;
    if good < until {
        return Err(io::Error::other(format!(
            "the log does not have the messages {good} to {until} of this queue"
        )));
    }
    Ok(())
}

/// How far the entries are good from the first on, and the end in the log of the last good one.
fn last_good(queue: &Queue, files: &Files, until: i64) -> io::Result<(i64, i64)> {
    let min = queue.min_offset();
    let (mut good, mut end) = (min, 0);
    while good < until {
        match read_entry(&queue.shared.env, files, good)? {
            Some(entry) if entry.size > 0 && (entry.physical >= end || entry.end() == end) => {
                if !entry.is_blank() {
                    end = entry.end();
                }
                good += 1;
            }
            _ => break,
        }
    }
    // All look good and yet the last is not the one that is expected: none is believed.
    if good == until {
        Ok((min, 0))
    } else {
        Ok((good, end))
    }
}

fn write(queue: &Queue, files: &Files, entries: &mut Vec<(i64, Entry)>) -> io::Result<()> {
    let env = &queue.shared.env;
    for (offset, entry) in entries.drain(..) {
        let position = offset * ENTRY;
        let base = files.base_for(position);
        let path = files.path(base);
        env.create_dir_all(files.dir())?;
        let file = env.open_or_create(&path)?;
        if file.metadata()?.len() != files.file_bytes() {
            env.set_len(&file, &path, files.file_bytes())?;
        }
        let in_file = position - base;
        env.write_all_at(&file, &path, &entry.to_bytes(), in_file.cast_unsigned())?;
        let published = usize::try_from(in_file + ENTRY).unwrap_or(0);
        match files.slot(base) {
            Some(slot) => slot.publish(published),
            None => insert(files, base, published),
        }
        env.sync_data(&file, &path)?;
    }
    env.sync_dir(files.dir())
}

fn insert(files: &Files, base: i64, published: usize) {
    let mut slots: Vec<Arc<Slot>> = files.slots();
    let at = slots.partition_point(|slot| slot.base < base);
    slots.insert(at, Slot::unmapped(base, published));
    files.replace(slots);
}
