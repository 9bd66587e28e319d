// SPDX-License-Identifier: Apache-2.0
//! The tables in `config/`: whether each can be understood, and whether the positions in them fit the queues.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

use aerobee_daemon::persist;
use aerobee_message::topic;
use aerobee_remoting::fastjson;
use aerobee_store::inspect::{Kind, QueueRange, Report};
use serde_json::Value;

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Files of JSON without that ending.
const PLAIN_NAMES: [&str; 2] = ["timermetrics", "transactionMetrics"];

/// What a file holds.
enum Content {
    Missing,
    Sound(Value),
    /// With the byte at which it stops making sense.
    Broken(String, Option<u64>),
}

fn read(path: &Path) -> Content {
    let bytes = match fs::metadata(path) {
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => {
            return Content::Broken("it is too large".to_owned(), None);
        }
        Ok(_) => fs::read(path),
        Err(error) => Err(error),
    };
    match bytes {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Content::Missing,
        Err(error) => Content::Broken(error.to_string(), None),
        Ok(bytes) => match fastjson::from_slice::<Value>(&bytes) {
            Ok(value @ Value::Object(_)) => Content::Sound(value),
            Ok(_) => Content::Broken("it is no JSON object".to_owned(), Some(0)),
            Err(error) => Content::Broken(error.to_string(), Some(error.at() as u64)),
        },
    }
}

/// Names of the tables in a directory, with or without a backup.
pub(super) fn names(config_dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(config_dir) else {
        return Vec::new();
    };
    let mut names = HashSet::new();
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let name = name.strip_suffix(".bak").unwrap_or(&name);
        let has_json = Path::new(name).extension().is_some_and(|end| end == "json");
        if has_json || PLAIN_NAMES.contains(&name) {
            names.insert(config_dir.join(name));
        }
    }
    let mut names: Vec<PathBuf> = names.into_iter().collect();
    names.sort_unstable();
    names
}

/// Tables that a start makes again as far as the rest of the store tells.
const REBUILT_NAMES: [&str; 2] = ["topics.json", "subscriptionGroup.json"];

/// The topics of the broker, if its table can be read.
pub(super) fn topics(config_dir: &Path) -> Option<HashSet<String>> {
    let table = content(&config_dir.join("topics.json"))?;
    let table = table.get("topicConfigTable")?.as_object()?;
    Some(table.keys().cloned().collect())
}

/// What a start would read.
fn content(path: &Path) -> Option<Value> {
    match read(path) {
        Content::Sound(value) => Some(value),
        _ => match read(&persist::backup_of(path)) {
            Content::Sound(value) => Some(value),
            _ => None,
        },
    }
}

/// Whether a table is broken and its backup is sound.
pub(super) fn is_mendable(path: &Path) -> bool {
    matches!(read(path), Content::Broken(..))
        && matches!(read(&persist::backup_of(path)), Content::Sound(_))
}

/// Checks all tables. `is_running`: a broker may be writing them.
pub(super) fn check(root: &Path, is_running: bool, report: &mut Report) {
    let dir = root.join("config");
    for path in names(&dir) {
        check_file(&path, report);
    }
    if !is_running {
        check_delays(&dir.join("delayOffset.json"), report);
        check_groups(&dir.join("consumerOffset.json"), report);
    }
}

fn check_file(path: &Path, report: &mut Report) {
    let backup = persist::backup_of(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match (read(path), read(&backup)) {
        (Content::Broken(reason, at), Content::Sound(_)) => {
            let what = format!(
                "it cannot be understood ({reason}); its backup is sound, and a start uses that"
            );
            report.add(Kind::ConfigFile, path, at, what);
        }
        (Content::Broken(reason, at), _) if REBUILT_NAMES.contains(&&*name) => {
            let what = format!(
                "it cannot be understood ({reason}) and there is no sound backup: a start makes it again from queues and positions, without permissions and attributes"
            );
            report.add(Kind::ConfigFile, path, at, what);
            report
                .start
                .push(format!("would make {} again", path.display()));
        }
        (Content::Broken(reason, at), _) => {
            let what = format!(
                "it cannot be understood ({reason}) and there is no sound backup: a start refuses"
            );
            report.add(Kind::ConfigFile, path, at, what);
            report.start.push(format!(
                "would refuse: {} cannot be understood",
                path.display()
            ));
        }
        (Content::Missing, Content::Sound(_)) => {
            report.note(format!("{name} is missing, its backup is used"));
        }
        (Content::Missing, Content::Broken(reason, at)) => {
            let what = format!("{name} is missing and this backup cannot be understood ({reason})");
            report.add(Kind::ConfigFile, &backup, at, what);
        }
        (Content::Sound(_), Content::Broken(reason, _)) => {
            report.note(format!(
                "the backup of {name} cannot be understood ({reason}); the file itself is sound"
            ));
        }
        (Content::Sound(_) | Content::Missing, _) => {}
    }
}

fn range<'a>(report: &'a Report, topic: &str, id: i32) -> Option<&'a QueueRange> {
    let key = (topic, id);
    let at = report
        .queues
        .binary_search_by(|range| (&*range.topic, range.id).cmp(&key));
    at.ok().map(|at| &report.queues[at])
}

fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// Positions of the delay levels lie within the queues of the levels; a level's queue has the number before its own.
fn check_delays(path: &Path, report: &mut Report) {
    let Some(table) = content(path) else { return };
    let Some(levels) = table.get("offsetTable").and_then(Value::as_object) else {
        return;
    };
    let mut wrong = Vec::new();
    for (level, offset) in levels {
        let (Some(level), Some(offset)) = (level.parse::<i32>().ok(), integer(offset)) else {
            continue;
        };
        let next = range(report, topic::SCHEDULE, level - 1).map_or(0, |range| range.next);
        if offset > next || offset < 0 {
            wrong.push(format!(
                "level {level} is at offset {offset}, its queue ends at {next}"
            ));
        }
    }
    for what in wrong {
        report.add(Kind::Position, path, None, what);
    }
}

/// Positions of groups do not lie behind the ends of their queues.
fn check_groups(path: &Path, report: &mut Report) {
    let Some(table) = content(path) else { return };
    let Some(groups) = table.get("offsetTable").and_then(Value::as_object) else {
        return;
    };
    let mut wrong = Vec::new();
    for (key, queues) in groups {
        let (Some((topic, group)), Some(queues)) = (key.split_once('@'), queues.as_object()) else {
            continue;
        };
        for (id, offset) in queues {
            let (Some(id), Some(offset)) = (id.parse::<i32>().ok(), integer(offset)) else {
                continue;
            };
            // A queue that is not there yet has nothing to lie behind of.
            if let Some(range) = range(report, topic, id)
                && offset > range.next
            {
                wrong.push(format!(
                    "group {group} is at offset {offset} of queue {id} of topic {topic}, which ends at {}",
                    range.next
                ));
            }
        }
    }
    wrong.sort_unstable();
    for what in wrong {
        report.add(Kind::Position, path, None, what);
    }
}
