// SPDX-License-Identifier: Apache-2.0
//! What cargo knows of the workspace.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::error::{Error, Result};

/// The workspace as far as the steps need it.
#[derive(Debug)]
pub(crate) struct Metadata {
    /// Where cargo puts what it builds.
    pub(crate) target: PathBuf,
    /// Every crate with the names of the packages that it depends on directly, for whatever purpose.
    pub(crate) crates: Vec<(String, Vec<String>)>,
}

/// The top folder of the repository.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Asks cargo, without any network.
pub(crate) fn read() -> Result<Metadata> {
    let output = cargo()
        .args(["metadata", "--no-deps", "--format-version=1"])
        .output()
        .map_err(|source| Error::Start {
            command: "cargo metadata".to_owned(),
            source,
        })?;
    if !output.status.success() {
        return Err(Error::Command {
            command: "cargo metadata".to_owned(),
            status: output.status,
        });
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let crates = list(&metadata, "packages")
        .iter()
        .map(|package| {
            let dependencies = list(package, "dependencies");
            let names = dependencies.iter().map(name);
            (name(package), names.collect())
        })
        .collect();
    let target = metadata.get("target_directory").and_then(Value::as_str);
    Ok(Metadata {
        target: target.map_or_else(|| root().join("target"), PathBuf::from),
        crates,
    })
}

fn list<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value
        .get(field)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn name(value: &Value) -> String {
    let name = value.get("name").and_then(Value::as_str);
    name.unwrap_or_default().to_owned()
}
