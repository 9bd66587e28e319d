// SPDX-License-Identifier: Apache-2.0
//! `aerobee store check --repair`.

use std::{
    fs,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::PathBuf,
};

use aerobee_daemon::persist;
use aerobee_store::{
    Config,
    inspect::{self, Directory, Kind, Report},
};

use super::{Error, tables};

/// What was done.
pub(super) struct Done {
    pub(super) folder: Option<PathBuf>,
    pub(super) acts: Vec<String>,
}

/// Asks whoever sits there.
pub(super) fn is_agreed(directory: &Directory) -> Result<bool, Error> {
    if !io::stdin().is_terminal() {
        return Err(Error::NotAsked);
    }
    let mut err = io::stderr();
    write!(
        err,
        "\nRepair {}? What cannot stay is moved aside within it. [y/N] ",
        directory.root().display()
    )?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Repairs what can be repaired.
pub(super) fn run(directory: &Directory, report: &Report, settings: Config) -> Result<Done, Error> {
    let is_table = |kind| {
        matches!(
            kind,
            Kind::ConfigFile | Kind::Position | Kind::Extension | Kind::Timer
        )
    };
    let mut done = Done {
        folder: None,
        acts: Vec::new(),
    };
    if report.counts().any(|(kind, _)| !is_table(kind)) {
        let repaired = inspect::repair(directory, report, settings)?;
        done.folder = repaired.folder;
        done.acts = repaired.acts;
    }
    if report.has(Kind::ConfigFile) {
        let _lock = inspect::lock(directory)?;
        mend_tables(directory, &mut done)?;
    }
    Ok(done)
}

/// Puts sound backups in the place of broken tables.
fn mend_tables(directory: &Directory, done: &mut Done) -> Result<(), Error> {
    for path in tables::names(&directory.root().join("config")) {
        if !tables::is_mendable(&path) {
            continue;
        }
        let folder = done
            .folder
            .get_or_insert_with(|| inspect::folder_for_repair(directory))
            .join("config");
        let failed = |what, path: &PathBuf| {
            let path = path.clone();
            move |source| Error::Table { what, path, source }
        };
        fs::create_dir_all(&folder).map_err(failed("create", &folder))?;
        let aside = folder.join(path.file_name().unwrap_or_default());
        fs::rename(&path, &aside).map_err(failed("move", &path))?;
        let backup = persist::backup_of(&path);
        let content = fs::read(&backup).map_err(failed("read", &backup))?;
        persist::save(&path, &content)?;
        done.acts
            .push(format!("put the backup of {} in its place", path.display()));
    }
    Ok(())
}
