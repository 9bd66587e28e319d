// SPDX-License-Identifier: Apache-2.0

//! Our own server program.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use crate::{
    error::Result,
    folders::{crate_dir, profile_dir, target_dir},
    sdk,
};

/// The path of the program `aerobee`: `AEROBEE_BIN`, else built by cargo beside this test.
pub(crate) fn aerobee() -> Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    if let Some(told) = env::var_os("AEROBEE_BIN") {
        return Ok(PathBuf::from(told));
    }
    let mut built = BUILT
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(path) = &*built {
        return Ok(path.clone());
    }
    let path = build()?;
    *built = Some(path.clone());
    Ok(path)
}

fn build() -> Result<PathBuf> {
    let (profile, target) = (profile_dir()?, target_dir()?);
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "-p", "aerobee", "--bin", "aerobee", "--target-dir"])
        .arg(&target);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let root = crate_dir()?;
    cargo.current_dir(root.parent().unwrap_or(Path::new(".")));
    sdk::run("building aerobee", "a Rust toolchain", cargo)?;
    Ok(profile.join("aerobee"))
}
