// SPDX-License-Identifier: Apache-2.0
//! Putting right what the log can put right. Not a byte of the log is lost: what cannot stay is copied or moved into a
//! folder of its own first. What is derived from the log is moved there, too, and made anew by the recovery that every
//! start goes through.

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use aerobee_message::{
    Place, Record, TagsCode,
    record::{BLANK_BYTES, MAGIC_BLANK},
    sysflag,
};

use super::{
    BRIDGE_TOPIC, Directory, InspectError, Kind, Report, Sizes,
    log::{Step, Walk},
};
use crate::{
    config::Config, env::Env, error::OpenError, files::Files, layout, local_time,
    lock_file::LockFile, store::Store,
};

/// Bytes that are copied at once.
const COPY_BYTES: usize = 1 << 20;
/// Longest record that bridges a gap; a longer gap takes several.
const BRIDGE_BYTES: i64 = 1 << 20;

/// What a repair did.
#[derive(Debug, Default)]
pub struct Repaired {
    /// Where everything is that was moved; none when nothing was.
    pub folder: Option<PathBuf>,
    /// What was done, one sentence each.
    pub acts: Vec<String>,
}

struct Repair<'a> {
    env: &'a Env,
    directory: &'a Directory,
    folder: PathBuf,
    done: Repaired,
}

/// Repairs a directory for which a check has given `report`, with the settings of `base` where the directory itself
/// tells nothing. Takes the lock, so no broker may run on it.
///
/// # Errors
/// The directory is locked, or something cannot be read or written: what was done until then stays.
pub fn repair(
    directory: &Directory,
    report: &Report,
    base: Config,
) -> Result<Repaired, InspectError> {
    let env = Env::real();
    let lock = LockFile::take(&env, &directory.root)?;
    if let Some(error) = crate::recovery::refuse_rocksdb(&env, &directory.root).err() {
        return Err(error.into());
    }
    let mut repair = Repair {
        env: &env,
        directory,
        folder: folder_for_repair(directory),
        done: Repaired::default(),
    };
    repair.log_names(report)?;
    let sizes = Sizes {
        commit_log_file_bytes: Some(directory.log_file_bytes()),
        ..Sizes::default()
    };
    // Names and lengths may have changed.
    let renewed = Directory::open_at(&directory.root, &directory.log_dirs, sizes)?;
    repair.log_content(&renewed.log)?;
    repair.derived(report)?;
    let done = repair.done;
    drop(lock);
    rebuild(directory, base)?;
    Ok(done)
}

/// The folder in which a repair that begins now keeps what it moves; it is not made.
#[must_use]
pub fn folder_for_repair(directory: &Directory) -> PathBuf {
    let clock = directory.env.clock();
    let number = local_time::number_of(clock, clock.millis());
    directory.root.join(format!("aerobee-repair-{number}"))
}

/// A directory that no broker can open, as long as this lives.
#[derive(Debug)]
pub struct Lock {
    _file: LockFile,
}

/// Takes the lock of a directory, for repairs of files that are not the store's.
///
/// # Errors
/// Somebody has it.
pub fn lock(directory: &Directory) -> Result<Lock, InspectError> {
    let file = LockFile::take(&Env::real(), &directory.root)?;
    Ok(Lock { _file: file })
}

/// Starts a store, which makes anew what is missing, and ends it.
fn rebuild(directory: &Directory, base: Config) -> Result<(), InspectError> {
    let config = Config {
        // What was made is to be there.
        queues_at_end: usize::MAX,
        ..directory.config(base)
    };
    let root = config.dir.clone();
    let store = Store::open(config, Env::real())?;
    store.close().map(drop).map_err(|error| {
        OpenError::io("close the store in", root)(io::Error::other(error.to_string())).into()
    })
}

impl Repair<'_> {
    /// The folder, made when it is first needed.
    fn folder(&mut self, below: &str) -> Result<PathBuf, OpenError> {
        let dir = self.folder.join(below);
        self.env
            .create_dir_all(&dir)
            .map_err(OpenError::io("create", &dir))?;
        self.env
            .sync_dir(&self.directory.root)
            .map_err(OpenError::io("sync", &self.directory.root))?;
        self.done.folder = Some(self.folder.clone());
        Ok(dir)
    }

    /// Moves a file or directory aside.
    fn put_aside(&mut self, path: &Path) -> Result<(), OpenError> {
        if !self.env.exists(path) {
            return Ok(());
        }
        let below = path.strip_prefix(&self.directory.root).unwrap_or(path);
        let parent = below.parent().unwrap_or(Path::new(""));
        let parent = parent.to_string_lossy().into_owned();
        let to = self
            .folder(&parent)?
            .join(path.file_name().unwrap_or_default());
        self.env
            .rename(path, &to)
            .map_err(OpenError::io("move", path))?;
        for dir in [path.parent(), to.parent()].into_iter().flatten() {
            self.env.sync_dir(dir).map_err(OpenError::io("sync", dir))?;
        }
        self.done
            .acts
            .push(format!("moved {} aside", path.display()));
        Ok(())
    }

    /// Copies a range of the log aside, durably.
    fn copy_aside(&mut self, path: &Path, from: u64, to: u64) -> Result<(), OpenError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let dir = self.folder(layout::COMMIT_LOG)?;
        let copy_path = dir.join(format!("{name}-bytes-{from}-{to}"));
        let source = self.env.open(path).map_err(OpenError::io("open", path))?;
        let copy = self
            .env
            .open_or_create(&copy_path)
            .map_err(OpenError::io("create", &copy_path))?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut at = from;
        while at < to {
            let wanted = usize::try_from(to - at)
                .unwrap_or(usize::MAX)
                .min(COPY_BYTES);
            let part = self.readable(&source, path, &mut buffer[..wanted], at)?;
            if part == 0 {
                break;
            }
            self.env
                .write_all_at(&copy, &copy_path, &buffer[..part], at - from)
                .map_err(OpenError::io("write", &copy_path))?;
            at += part as u64;
        }
        self.env
            .sync_all(&copy, &copy_path)
            .map_err(OpenError::io("sync", &copy_path))?;
        self.env
            .sync_dir(&dir)
            .map_err(OpenError::io("sync", &dir))?;
        self.done.acts.push(format!(
            "copied bytes {from} to {to} of {} aside",
            path.display()
        ));
        Ok(())
    }

    /// Reads what can be read: a sector that cannot counts as zeros, which is all that can be kept of it.
    fn readable(
        &mut self,
        file: &File,
        path: &Path,
        buffer: &mut [u8],
        at: u64,
    ) -> Result<usize, OpenError> {
        const SECTOR: usize = 4096;
        if let Ok(read) = self.env.read_at(file, path, buffer, at) {
            return Ok(read);
        }
        let mut done = 0;
        for sector in buffer.chunks_mut(SECTOR) {
            match self.env.read_at(file, path, sector, at + done as u64) {
                Ok(read) => done += read,
                Err(error) => {
                    self.done.acts.push(format!(
                        "byte {} of {} cannot be read ({error}): zeros take its place",
                        at + done as u64,
                        path.display()
                    ));
                    sector.fill(0);
                    done += sector.len();
                }
            }
        }
        Ok(done)
    }

    /// Files of the log with wrong names, wrong lengths, or missing.
    fn log_names(&mut self, report: &Report) -> Result<(), OpenError> {
        let file_bytes = self.directory.log_file_bytes();
        for defect in report.defects() {
            match defect.kind {
                Kind::StrayLogFile => self.put_aside(&defect.path)?,
                Kind::LogFileLength => self.set_length(&defect.path, file_bytes)?,
                _ => {}
            }
        }
        let bases = self.directory.log.bases();
        let step = file_bytes.cast_signed();
        for pair in bases.windows(2) {
            let mut missing = pair[0] + step;
            while missing < pair[1] {
                let path = self.directory.log.path(missing);
                self.set_length(&path, file_bytes)?;
                self.write_blank(&path, 0, file_bytes)?;
                self.done.acts.push(format!(
                    "made {} as an empty file: its messages are lost",
                    path.display()
                ));
                missing += step;
            }
        }
        Ok(())
    }

    fn set_length(&mut self, path: &Path, len: u64) -> Result<(), OpenError> {
        let file = self
            .env
            .open_or_create(path)
            .map_err(OpenError::io("create", path))?;
        let actual = file
            .metadata()
            .map_err(OpenError::io("examine", path))?
            .len();
        if actual > len {
            self.copy_aside(path, len, actual)?;
        }
        self.env
            .set_len(&file, path, len)
            .map_err(OpenError::io("set the length of", path))?;
        self.env
            .allocate(&file, path, 0, len)
            .map_err(OpenError::io("allocate", path))?;
        self.sync(&file, path)?;
        self.done.acts.push(format!(
            "gave {} its length of {len} bytes (it had {actual})",
            path.display()
        ));
        Ok(())
    }

    fn sync(&self, file: &File, path: &Path) -> Result<(), OpenError> {
        self.env
            .sync_all(file, path)
            .map_err(OpenError::io("sync", path))?;
        let dir = path.parent().unwrap_or(path);
        self.env.sync_dir(dir).map_err(OpenError::io("sync", dir))
    }

    /// Makes the rest of a log file blank.
    fn write_blank(&mut self, path: &Path, at: u64, file_bytes: u64) -> Result<(), OpenError> {
        let rest = u32::try_from(file_bytes - at).unwrap_or(u32::MAX);
        let mut blank = [0; BLANK_BYTES];
        blank[..4].copy_from_slice(&rest.to_be_bytes());
        blank[4..].copy_from_slice(&MAGIC_BLANK.to_be_bytes());
        let file = self.env.open(path).map_err(OpenError::io("open", path))?;
        self.env
            .zero_range(&file, path, at, file_bytes - at)
            .map_err(OpenError::io("clear", path))?;
        self.env
            .write_all_at(&file, path, &blank, at)
            .map_err(OpenError::io("write", path))?;
        self.sync(&file, path)
    }

    /// Parts of the log that are no records: bridged where records follow, cut where none do.
    fn log_content(&mut self, log: &Files) -> Result<(), OpenError> {
        let first = log.first().unwrap_or(0);
        let reading = Env::reading();
        let mut walk = Walk::new(&reading, log, first);
        let mut damages: Vec<Range<i64>> = Vec::new();
        let mut tail = None;
        while walk
            .step(|step| match step {
                Step::Damage(range, _) => damages.push(range),
                Step::Tail(range, _) => tail = Some(range),
                Step::Record(..) | Step::Blank | Step::Missing(_) => {}
            })
            .is_some()
        {}
        for damage in damages {
            self.bridge(log, damage)?;
        }
        if let Some(tail) = tail {
            self.cut(log, tail)?;
        }
        Ok(())
    }

    /// Puts something in the place of a damaged part over which every reader goes on.
    fn bridge(&mut self, log: &Files, damage: Range<i64>) -> Result<(), OpenError> {
        let base = log.base_for(damage.start);
        let path = log.path(base);
        let file_bytes = log.file_bytes();
        let from = (damage.start - base).cast_unsigned();
        let to = (damage.end - base).cast_unsigned().min(file_bytes);
        self.copy_aside(&path, from, to)?;
        if to == file_bytes {
            self.write_blank(&path, from, file_bytes)?;
        } else {
            self.write_bridges(&path, base, damage.start..damage.end)?;
        }
        self.done.acts.push(format!(
            "bridged log positions {} to {}: messages there are lost",
            damage.start, damage.end
        ));
        Ok(())
    }

    fn write_bridges(
        &mut self,
        path: &Path,
        base: i64,
        range: Range<i64>,
    ) -> Result<(), OpenError> {
        let empty = bridge(&[]);
        let least = empty.encoded_len() as i64;
        let file = self.env.open(path).map_err(OpenError::io("open", path))?;
        let time = self
            .directory
            .record_at(range.end, |record| record.store_timestamp());
        let mut at = range.start;
        while at < range.end {
            let rest = range.end - at;
            // The last one must have room, too.
            let len = if rest <= BRIDGE_BYTES {
                rest
            } else {
                (rest - least).min(BRIDGE_BYTES)
            };
            let Some(body) = usize::try_from(len - least).ok() else {
                // Records are longer than this, so the part that is damaged began with something else.
                return Err(OpenError::io("bridge a gap in", path)(io::Error::other(
                    format!("position {at}: {rest} bytes are too few for a record"),
                )));
            };
            let body = vec![0; body];
            let record = bridge(&body);
            let mut bytes = vec![0; record.encoded_len()];
            let place = Place {
                queue_offset: 0,
                physical_offset: at,
                store_timestamp: time.unwrap_or(0),
            };
            record.encode(&mut bytes, place, record.body_crc());
            self.env
                .write_all_at(&file, path, &bytes, (at - base).cast_unsigned())
                .map_err(OpenError::io("write", path))?;
            at += bytes.len() as i64;
        }
        self.sync(&file, path)
    }

    /// Cuts what follows the last record.
    fn cut(&mut self, log: &Files, tail: Range<i64>) -> Result<(), OpenError> {
        let base = log.base_for(tail.start);
        let path = log.path(base);
        let from = (tail.start - base).cast_unsigned();
        self.copy_aside(&path, from, (tail.end - base).cast_unsigned())?;
        let file = self.env.open(&path).map_err(OpenError::io("open", &path))?;
        self.env
            .zero_range(&file, &path, from, log.file_bytes() - from)
            .map_err(OpenError::io("clear", &path))?;
        self.sync(&file, &path)?;
        self.done.acts.push(format!(
            "cut the log at position {}, after its last record",
            tail.start
        ));
        Ok(())
    }

    /// Moves aside what is to be made anew from the log.
    fn derived(&mut self, report: &Report) -> Result<(), OpenError> {
        let root = self.directory.root.clone();
        let queues_dir = root.join(layout::CONSUME_QUEUE);
        let batches_dir = root.join(layout::BATCH_QUEUE);
        let mut dirs: BTreeSet<PathBuf> = BTreeSet::new();
        let (mut log, mut queues, mut index, mut checkpoint) = (false, false, false, false);
        for (kind, count) in report.counts() {
            match kind {
                Kind::DamagedLog
                | Kind::TornTail
                | Kind::MissingLogFile
                | Kind::LogFileLength
                | Kind::StrayLogFile => log = true,
                Kind::WrongEntry
                | Kind::MissingEntry
                | Kind::LostMessage
                | Kind::StaleEntry
                | Kind::MissingQueue
                | Kind::MissingQueueFile
                | Kind::QueueFileLength
                | Kind::StrayQueueFile => {
                    queues = true;
                    let kept = report.defects().iter().filter(|defect| defect.kind == kind);
                    if kept.clone().count() as u64 == count {
                        for defect in kept {
                            dirs.extend(queue_of(&queues_dir, &defect.path));
                            if let Some(dir) = queue_of(&batches_dir, &defect.path) {
                                dirs.insert(dir);
                                // A start makes them of what Apache's broker reads.
                                dirs.insert(root.join(layout::BATCH_ENTRIES));
                            }
                        }
                    } else {
                        // There are too many to name them all.
                        dirs.insert(queues_dir.clone());
                        dirs.insert(root.join(layout::BATCH_ENTRIES));
                        for (topic, id) in self.directory.batch_queues()? {
                            dirs.insert(self.directory.units_dir(&topic, id));
                        }
                    }
                }
                Kind::WrongIndexEntry
                | Kind::MissingIndexEntry
                | Kind::WrongIndexSlot
                | Kind::WrongIndexHead
                | Kind::IndexFileLength => index = true,
                Kind::Checkpoint | Kind::Summary => checkpoint = true,
                Kind::ConfigFile
                | Kind::Position
                | Kind::Extension
                | Kind::Timer
                | Kind::RocksDb => {}
            }
        }
        if dirs.contains(&queues_dir) {
            dirs.retain(|dir| *dir == queues_dir || !dir.starts_with(&queues_dir));
        }
        for dir in dirs {
            self.put_aside(&dir)?;
        }
        if index || log {
            self.put_aside(&root.join(layout::INDEX))?;
            self.put_aside(&root.join(layout::INDEX_STATE))?;
        }
        if log || queues || index || checkpoint {
            // Without them, and after what looks like a crash, all of the log is read.
            self.put_aside(&root.join(layout::CHECKPOINT))?;
            self.put_aside(&root.join(layout::SUMMARY))?;
            let path = root.join(layout::ABORT);
            let file = self
                .env
                .open_or_create(&path)
                .map_err(OpenError::io("create", &path))?;
            self.sync(&file, &path)?;
            self.done
                .acts
                .push("made queues, index and checkpoint anew from the log".to_owned());
        }
        Ok(())
    }
}

/// The directory of the queue that a path is in.
fn queue_of(queues_dir: &Path, path: &Path) -> Option<PathBuf> {
    let below = path.strip_prefix(queues_dir).ok()?;
    let mut parts = below.components();
    let (topic, id) = (parts.next()?, parts.next()?);
    Some(queues_dir.join(topic).join(id))
}

/// A record that no queue and no index takes.
fn bridge(body: &[u8]) -> Record<'_> {
    let nobody = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
    Record {
        topic: BRIDGE_TOPIC,
        queue_id: 0,
        flag: 0,
        sys_flag: sysflag::TRANSACTION_ROLLBACK,
        born_timestamp: 0,
        born_host: nobody,
        store_host: nobody,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: &[],
        tags_code: TagsCode::Hash(0),
    }
}
