// SPDX-License-Identifier: Apache-2.0
//! Few rules that no lint knows: licence lines, the map of folders, the arrows between crates.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    arrows,
    error::{Error, Result},
    metadata,
};

/// Ends of names of the files that carry the licence line.
const SOURCES: &[&str] = &["rs", "java", "go", "c", "h", "py", "sh", "proto", "xml"];
/// The same for files without such an end.
const SOURCE_FILES: &[&str] = &[".ci/run"];
/// In which of the first lines the licence line stands: a `#!` or `<?xml` line may come before it.
const LICENCE_LINES: usize = 2;
const LICENCE: &str = "SPDX-License-Identifier: Apache-2.0";

/// Folders that hold no source of ours, wherever they are.
const BUILT: &[&str] = &["target", ".git", "node_modules"];
/// The same, as paths from the top; Apache's protocol files stay as they are, beside their licence.
const BUILT_AT: &[&str] = &[
    "data",
    "fuzz/corpus",
    "fuzz/artifacts",
    "fuzz/coverage",
    "proxy/proto",
];

const MAP: &str = "ARCHITECTURE.md";

/// Checks all rules and names every fault.
pub(crate) fn check() -> Result<()> {
    let root = metadata::root();
    let mut faults = arrows::faults(&metadata::read()?);
    faults.extend(without_licence(root)?);
    faults.extend(off_the_map(root)?);
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Error::Tidy(faults))
    }
}

fn without_licence(root: &Path) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for path in files_below(root)? {
        let local = path.strip_prefix(root).unwrap_or(&path);
        let end = local.extension().and_then(|end| end.to_str());
        let is_source = end.is_some_and(|end| SOURCES.contains(&end))
            || SOURCE_FILES.iter().any(|file| local == Path::new(file));
        if is_source && !has_licence(&read(&path)?) {
            faults.push(format!(
                "{}: no line \"{LICENCE}\" at its beginning",
                local.display()
            ));
        }
    }
    Ok(faults)
}

fn has_licence(text: &str) -> bool {
    text.lines()
        .take(LICENCE_LINES)
        .any(|line| line.contains(LICENCE))
}

/// Folders that the map lacks, and folders of the map that are not there. The map is a table with the
/// name of a folder in its first column: "| `store` | the log on disk |".
fn off_the_map(root: &Path) -> Result<Vec<String>> {
    let map = root.join(MAP);
    let named = folders_named(&read(&map)?);
    let mut there = BTreeSet::new();
    for path in entries(root)? {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        // Hidden folders configure tools; they are no part of the product's shape.
        if path.is_dir() && !name.starts_with('.') && !is_built(root, &path) {
            there.insert(name.to_owned());
        }
    }
    let missing = there
        .difference(&named)
        .map(|name| format!("{MAP} does not name the folder {name}/"));
    let gone = named
        .difference(&there)
        .filter(|name| !root.join(name).is_dir())
        .map(|name| format!("{MAP} names the folder {name}/, which is not there"));
    Ok(missing.chain(gone).collect())
}

fn folders_named(map: &str) -> BTreeSet<String> {
    map.lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|rest| rest.split_once('`'))
        // Folders below a top folder may have rows of their own.
        .filter_map(|(path, _)| path.split('/').next())
        .map(str::to_owned)
        .collect()
}

fn files_below(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in entries(&folder)? {
            if path.is_symlink() {
                continue;
            }
            if !path.is_dir() {
                files.push(path);
            } else if !is_built(root, &path) {
                folders.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn is_built(root: &Path, folder: &Path) -> bool {
    let name = folder.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| BUILT.contains(&name))
        || BUILT_AT.iter().any(|built| folder == root.join(built))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |source| Error::Read {
        path: folder.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    Ok(paths)
}

fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_a_tree_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for folder in [
            "store/src",
            "broker",
            "target/debug",
            ".git",
            "data/commitlog",
        ] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::write(root.join("store/src/a.rs"), format!("// {LICENCE}\n")).unwrap();
        fs::write(root.join("store/src/b.rs"), "\n\n// nothing\n").unwrap();
        fs::write(
            root.join("store/src/pom.xml"),
            format!("<?xml?>\n<!-- {LICENCE} -->"),
        )
        .unwrap();
        fs::write(root.join("target/debug/c.rs"), "").unwrap();
        fs::write(root.join("store/notes.md"), "").unwrap();
        let map = "| folder | is |\n| `store` | here |\n| `store/src` | x |\n| `auth` | later |\n\n`bench`";
        fs::write(root.join(MAP), map).unwrap();
        assert_eq!(
            without_licence(root).unwrap(),
            [format!(
                "store/src/b.rs: no line \"{LICENCE}\" at its beginning"
            )]
        );
        assert_eq!(
            off_the_map(root).unwrap(),
            [
                "ARCHITECTURE.md does not name the folder broker/",
                "ARCHITECTURE.md names the folder auth/, which is not there",
            ]
        );
    }

    #[test]
    fn a_missing_map_is_a_fault() {
        let dir = tempfile::tempdir().unwrap();
        assert!(off_the_map(dir.path()).is_err());
    }
}
