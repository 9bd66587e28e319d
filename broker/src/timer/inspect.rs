// SPDX-License-Identifier: Apache-2.0
//! The files of the timer looked at from outside, without a timer on them: `timerlog/`, `timerwheel`,
//! `config/timercheck`, against each other and the commit log. Nothing is changed.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::timer::{
    checkpoint,
    log::{Frame, UNIT_BYTES, Unit},
    wheel::{self, SLOTS, Slot},
};

/// Bytes read at once.
const WINDOW_BYTES: usize = 1 << 20;
/// Times whose newest units are remembered; units of others are looked up.
const TIMES_MAX: usize = 2 << 20;

/// A unit of the timer log: a message that waits, or waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerUnit {
    /// Where it is in the timer log.
    pub position: i64,
    /// The one before it of the same time, −1 for none.
    pub previous: i64,
    /// Its time is nearer than that of the message, which is put off again then.
    pub is_rolled: bool,
    /// It recalls another message.
    pub is_recall: bool,
    /// When it is due, ms.
    pub due: i64,
    /// Position of the message in the commit log.
    pub physical: i64,
    /// Bytes of the message.
    pub size: i32,
}

/// A slot of the wheel that is not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerSlot {
    /// Byte of the file.
    pub at: u64,
    /// Time in units of the precision.
    pub time: i64,
    /// The oldest unit.
    pub first: i64,
    /// The newest unit.
    pub last: i64,
    /// Messages less recalls, as counted when they came.
    pub messages: i32,
}

/// What `config/timercheck` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerMark {
    /// Messages due up to this time were delivered, ms.
    pub read_time: i64,
    /// The timer log is durable up to here.
    pub log_position: i64,
    /// Messages of the timer topic before this offset are sorted in.
    pub queue_offset: i64,
    /// Length of the file.
    pub bytes: u64,
}

/// What a message of the commit log says of its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedMessage {
    /// Its length.
    pub size: i32,
    /// Whether it is in the timer topic.
    pub is_timed: bool,
    /// When it is to be delivered, ms.
    pub due: Option<i64>,
}

/// What is wrong with the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimerFault {
    /// In which file.
    pub path: PathBuf,
    /// At which byte.
    pub at: Option<u64>,
    /// What.
    pub what: String,
    /// Whether that is no defect.
    pub usual: Usual,
}

/// After which ends of a broker something that does not fit is as it should be: a start puts it right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usual {
    /// It never is.
    Never,
    /// After a kill.
    AfterKill,
    /// After any: what is in the timer log behind the checkpoint is sorted in again. Apache's broker does not write the
    /// wheel when it ends, only every `timerFlushIntervalMs`.
    AfterAnyEnd,
}

/// What the check needs to know.
#[derive(Debug, Clone, Copy)]
pub struct TimerRules {
    /// Distance between times, ms (`timerPrecisionMs`).
    pub precision: i64,
    /// Where the commit log begins and ends.
    pub log: (i64, i64),
}

/// The files of the timer of a store.
#[derive(Debug)]
pub struct TimerFiles {
    dir: PathBuf,
    wheel: PathBuf,
    mark: PathBuf,
    file_bytes: i64,
    bases: Vec<i64>,
    faults: Vec<TimerFault>,
}

impl TimerFiles {
    /// Looks at names and lengths.
    ///
    /// # Errors
    /// They cannot be listed.
    pub fn open(root: &Path) -> io::Result<TimerFiles> {
        let dir = root.join("timerlog");
        let mut found: Vec<(i64, u64)> = Vec::new();
        match fs::read_dir(&dir) {
            Ok(entries) => {
                for entry in entries {
                    let entry = entry?;
                    let name = entry.file_name();
                    let base = name.to_str().filter(|name| name.len() == 20);
                    if let Some(base) = base.and_then(|name| name.parse().ok()) {
                        found.push((base, entry.metadata()?.len()));
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        found.sort_unstable();
        let file_bytes = found.first().map_or(1, |(_, len)| (*len).max(1));
        let mut files = TimerFiles {
            wheel: root.join("timerwheel"),
            mark: root.join("config/timercheck"),
            file_bytes: i64::try_from(file_bytes).unwrap_or(i64::MAX),
            bases: Vec::new(),
            faults: Vec::new(),
            dir,
        };
        for (base, len) in found {
            let (path, _) = files.locate(base);
            let expected = files.bases.last().map(|last| last + files.file_bytes);
            let what = if len != file_bytes {
                format!("{len} bytes, not {file_bytes}")
            } else if base.rem_euclid(files.file_bytes) != 0 {
                format!("the name is no multiple of {file_bytes}")
            } else if expected.is_some_and(|expected| expected != base) {
                "the file before it is missing".to_owned()
            } else {
                files.bases.push(base);
                continue;
            };
            let path = if base.rem_euclid(files.file_bytes) == 0 {
                path
            } else {
                files.dir.join(format!("{base:020}"))
            };
            files.faults.push(fault(path, None, what));
            break;
        }
        Ok(files)
    }

    fn locate(&self, position: i64) -> (PathBuf, u64) {
        let in_file = position.rem_euclid(self.file_bytes);
        let name = format!("{:020}", position - in_file);
        (self.dir.join(name), in_file.unsigned_abs())
    }

    /// Whether there is nothing of a timer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bases.is_empty() && !self.wheel.exists()
    }

    /// What the checkpoint says; nothing when there is none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn mark(&self) -> io::Result<Option<TimerMark>> {
        let bytes = match fs::read(&self.mark) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        Ok(checkpoint::read(&bytes).map(|mark| TimerMark {
            read_time: mark.read_time,
            log_position: mark.log_position,
            queue_offset: mark.queue_offset,
            bytes: bytes.len() as u64,
        }))
    }

    /// Shows the units from the file of a position on, until `each` returns `false`; where they end.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn units(
        &self,
        from: i64,
        mut each: impl FnMut(TimerUnit) -> io::Result<bool>,
    ) -> io::Result<i64> {
        let from = from - from.rem_euclid(self.file_bytes);
        let mut end = self.bases.first().copied().unwrap_or(0);
        for base in self.bases.iter().copied().filter(|base| *base >= from) {
            let file = File::open(self.locate(base).0)?;
            let mut at = 0;
            loop {
                let bytes = read_some(&file, at, self.file_bytes.unsigned_abs())?;
                let before = at;
                for unit in bytes.chunks(UNIT_BYTES) {
                    end = base + at.cast_signed();
                    match Unit::parse(unit) {
                        Frame::Unit(unit) => {
                            if !each(shown(end, &unit))? {
                                return Ok(end);
                            }
                            at += UNIT_BYTES as u64;
                            end = base + at.cast_signed();
                        }
                        // The last bytes of what was read may be a part of a unit.
                        Frame::Bad if unit.len() < UNIT_BYTES && at > before => break,
                        Frame::Bad => return Ok(end),
                        Frame::Blank => {
                            at = u64::MAX;
                            break;
                        }
                    }
                }
                if at == u64::MAX {
                    end = base + self.file_bytes;
                    break;
                }
                if at == before {
                    return Ok(end);
                }
            }
        }
        Ok(end)
    }

    /// The unit at a position.
    fn unit(&self, position: i64) -> io::Result<Option<Unit>> {
        let (path, at) = self.locate(position);
        if !self.bases.contains(&(position - at.cast_signed())) {
            return Ok(None);
        }
        let mut bytes = [0; UNIT_BYTES];
        let read = File::open(path)?.read_at(&mut bytes, at)?;
        Ok(match Unit::parse(&bytes[..read]) {
            Frame::Unit(unit) => Some(unit),
            Frame::Blank | Frame::Bad => None,
        })
    }

    /// Shows the slots that are not empty, in the order of the file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn slots(&self, mut each: impl FnMut(TimerSlot) -> bool) -> io::Result<()> {
        let file = match File::open(&self.wheel) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        wheel::read_slots(&file, |index, time, slot: Slot| {
            let is_empty = time == 0 && slot.first == 0 && slot.last == 0 && slot.num == 0;
            is_empty
                || each(TimerSlot {
                    at: index * wheel::SLOT_BYTES as u64,
                    time,
                    first: slot.first,
                    last: slot.last,
                    messages: slot.num,
                })
        })
    }

    /// Compares all files with each other and with the commit log; `message_at` tells what is at a position of that.
    /// Returns how many units there are.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn check(
        &self,
        rules: TimerRules,
        mut message_at: impl FnMut(i64) -> Option<TimedMessage>,
        mut found: impl FnMut(TimerFault),
    ) -> io::Result<u64> {
        self.faults.iter().cloned().for_each(&mut found);
        let mark = self.mark()?;
        let first = self.bases.first().copied().unwrap_or(0);
        let mut newest: HashMap<i64, i64> = HashMap::new();
        let mut count = 0;
        let end = self.units(first, |unit| {
            count += 1;
            let time = unit.due.div_euclid(rules.precision);
            if let Some(what) = self.wrong_chain(&unit, &newest, first, rules.precision)? {
                let (path, at) = self.locate(unit.position);
                found(fault(path, Some(at + 4), what));
            }
            if let Some(wrong) = wrong_message(&unit, rules, &mut message_at) {
                let (path, at) = self.locate(unit.position);
                found(TimerFault {
                    // The unit is written when its message is, not when that is durable.
                    usual: if unit.physical >= rules.log.1 {
                        Usual::AfterKill
                    } else {
                        Usual::Never
                    },
                    ..fault(path, Some(at + 28), wrong)
                });
            }
            if newest.len() < TIMES_MAX || newest.contains_key(&time) {
                newest.insert(time, unit.position);
            }
            Ok(true)
        })?;
        self.check_rest(end, &mut found)?;
        self.check_wheel((first, end), mark, &newest, rules, &mut found)?;
        if let Some(mark) = mark.filter(|mark| mark.log_position > end) {
            let what = format!(
                "the timer log is said to be durable up to position {}, it ends at {end}",
                mark.log_position
            );
            found(fault(self.mark.clone(), Some(8), what));
        }
        Ok(count)
    }

    /// Why the unit before one is not that of its time.
    fn wrong_chain(
        &self,
        unit: &TimerUnit,
        newest: &HashMap<i64, i64>,
        first: i64,
        precision: i64,
    ) -> io::Result<Option<String>> {
        let time = unit.due.div_euclid(precision);
        let previous = unit.previous;
        if previous == -1 || (0..first).contains(&previous) || newest.get(&time) == Some(&previous)
        {
            return Ok(None);
        }
        if previous < -1 || previous >= unit.position {
            return Ok(Some(format!(
                "the unit before it is said to be at position {previous}, which is not before its own"
            )));
        }
        Ok(match self.unit(previous)? {
            None => Some(format!(
                "the unit before it is said to be at position {previous}, where there is none"
            )),
            Some(other) if other.deliver_time().div_euclid(precision) != time => Some(format!(
                "the unit before it, at position {previous}, is due at {} and not at {}",
                other.deliver_time(),
                unit.due
            )),
            Some(_) => None,
        })
    }

    /// Behind the last unit there are zeros, and no further file.
    fn check_rest(&self, end: i64, found: &mut impl FnMut(TimerFault)) -> io::Result<()> {
        let (path, from) = self.locate(end);
        let base = end - from.cast_signed();
        if let Some(later) = self.bases.iter().find(|other| **other > base) {
            let what = "bytes in the middle of the timer log are no unit".to_owned();
            found(fault(path, Some(from), what));
            let (later, _) = self.locate(*later);
            found(fault(later, None, "a start removes it".to_owned()));
            return Ok(());
        }
        if !self.bases.contains(&base) {
            return Ok(());
        }
        let file = File::open(&path)?;
        let mut at = from;
        loop {
            let bytes = read_some(&file, at, self.file_bytes.unsigned_abs())?;
            if bytes.iter().any(|byte| *byte != 0) {
                let what =
                    format!("the timer log ends at position {end} in bytes that are no unit");
                found(TimerFault {
                    usual: Usual::AfterKill,
                    ..fault(path, Some(from), what)
                });
                return Ok(());
            }
            if bytes.is_empty() {
                return Ok(());
            }
            at += bytes.len() as u64;
        }
    }

    fn check_wheel(
        &self,
        (first, end): (i64, i64),
        mark: Option<TimerMark>,
        newest: &HashMap<i64, i64>,
        rules: TimerRules,
        found: &mut impl FnMut(TimerFault),
    ) -> io::Result<()> {
        let length = match fs::metadata(&self.wheel) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            metadata => metadata?.len(),
        };
        if length != 0 && length != wheel::FILE_BYTES {
            let what = format!("{length} bytes, not {}", wheel::FILE_BYTES);
            found(fault(self.wheel.clone(), None, what));
            return Ok(());
        }
        let (read_time, durable) = mark.map_or((0, 0), |mark| (mark.read_time, mark.log_position));
        let usual_of = |newest: i64| {
            if newest >= durable {
                Usual::AfterAnyEnd
            } else {
                Usual::AfterKill
            }
        };
        let is_due = |time: i64| time.saturating_mul(rules.precision) > read_time;
        let mut due: HashMap<i64, i64> = newest
            .iter()
            .filter(|(time, _)| is_due(**time))
            .map(|(time, position)| (*time, *position))
            .collect();
        let mut error = None;
        self.slots(|slot| {
            let index = slot.at / wheel::SLOT_BYTES as u64;
            if slot.time.rem_euclid(SLOTS).unsigned_abs() != index {
                let what = format!("slot {index} has the time {}, which has another", slot.time);
                found(fault(self.wheel.clone(), Some(slot.at), what));
                return true;
            }
            if !is_due(slot.time) || slot.last < 0 {
                return true;
            }
            let known = due.remove(&slot.time);
            if let Some(known) = known.filter(|known| slot.last < *known && slot.last < end) {
                let what = format!(
                    "its newest unit is said to be at position {}, there is one at {known}",
                    slot.last
                );
                found(TimerFault {
                    usual: usual_of(known),
                    ..fault(self.wheel.clone(), Some(slot.at + 16), what)
                });
                return true;
            }
            match self.wrong_slot(&slot, first, end, rules.precision) {
                Ok(Some((at, what, usual))) => found(TimerFault {
                    usual,
                    ..fault(self.wheel.clone(), Some(slot.at + at), what)
                }),
                Ok(None) => {}
                Err(read) => error = Some(read),
            }
            error.is_none()
        })?;
        if let Some(error) = error {
            return Err(error);
        }
        let mut missing: Vec<_> = due.into_iter().collect();
        missing.sort_unstable();
        for (time, position) in missing {
            let what = format!(
                "messages due at {} have no slot; the newest is at position {position} of the timer log",
                time.saturating_mul(rules.precision)
            );
            let at = time.rem_euclid(SLOTS).unsigned_abs() * wheel::SLOT_BYTES as u64;
            found(TimerFault {
                usual: usual_of(position),
                ..fault(self.wheel.clone(), Some(at), what)
            });
        }
        Ok(())
    }

    /// What is wrong with a slot that is to come, at which of its bytes, and when that is usual.
    fn wrong_slot(
        &self,
        slot: &TimerSlot,
        first: i64,
        end: i64,
        precision: i64,
    ) -> io::Result<Option<(u64, String, Usual)>> {
        let (oldest, last) = (slot.first, slot.last);
        if last >= end {
            let what = format!("it names position {last}, the timer log ends at {end}");
            return Ok(Some((16, what, Usual::AfterKill)));
        }
        for (at, position) in [(16, last), (8, oldest)] {
            // The oldest may have left with its file.
            if at == 8 && (0..first).contains(&position) {
                continue;
            }
            let unit = self.unit(position)?;
            let is_of_time =
                unit.is_some_and(|unit| unit.deliver_time().div_euclid(precision) == slot.time);
            if !is_of_time {
                let what =
                    format!("at position {position} of the timer log there is no unit of its time");
                return Ok(Some((at, what, Usual::Never)));
            }
        }
        if oldest > last {
            let what = format!("its oldest unit, at {oldest}, is behind its newest, at {last}");
            return Ok(Some((8, what, Usual::Never)));
        }
        Ok(None)
    }
}

fn shown(position: i64, unit: &Unit) -> TimerUnit {
    TimerUnit {
        position,
        previous: unit.previous,
        is_rolled: unit.is_rolled(),
        is_recall: unit.is_delete(),
        due: unit.deliver_time(),
        physical: unit.physical,
        size: unit.size,
    }
}

/// Why the message of a unit is not what it says.
fn wrong_message(
    unit: &TimerUnit,
    rules: TimerRules,
    message_at: &mut impl FnMut(i64) -> Option<TimedMessage>,
) -> Option<String> {
    let (first, end) = rules.log;
    if (0..first).contains(&unit.physical) {
        return None;
    }
    if unit.physical >= end || unit.physical < 0 {
        return Some(format!(
            "its message is said to be at position {}, the commit log ends at {end}",
            unit.physical
        ));
    }
    let at = unit.physical;
    let Some(message) = message_at(at) else {
        return Some(format!("there is no message at position {at}"));
    };
    if message.size != unit.size {
        return Some(format!(
            "the message at position {at} has {} bytes, not {}",
            message.size, unit.size
        ));
    }
    if !message.is_timed {
        return Some(format!(
            "the message at position {at} is not one that waits"
        ));
    }
    let floor = |time: i64| time.div_euclid(rules.precision);
    let is_its_time = message
        .due
        .is_none_or(|due| unit.is_rolled || floor(due) == floor(unit.due));
    (!is_its_time).then(|| {
        format!(
            "it is due at {}, its message, at position {at}, at {}",
            unit.due,
            message.due.unwrap_or_default()
        )
    })
}

fn fault(path: PathBuf, at: Option<u64>, what: String) -> TimerFault {
    TimerFault {
        path,
        at,
        what,
        usual: Usual::Never,
    }
}

fn read_some(file: &File, at: u64, end: u64) -> io::Result<Vec<u8>> {
    let rest = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; rest.min(WINDOW_BYTES)];
    let read = file.read_at(&mut bytes, at)?;
    bytes.truncate(read);
    Ok(bytes)
}
