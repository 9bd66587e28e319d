// SPDX-License-Identifier: Apache-2.0

//! Where the sources of the SDK programs are and where their builds go.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use crate::error::{Result, Trying};

/// The folder of this crate: told by cargo, or found from the working directory when the test runs by hand.
pub(crate) fn crate_dir() -> Result<PathBuf> {
    if let Some(told) = env::var_os("CARGO_MANIFEST_DIR") {
        return Ok(PathBuf::from(told));
    }
    let here = env::current_dir().trying(|| "tell the working directory".into())?;
    here.ancestors()
        .flat_map(|folder| [folder.to_path_buf(), folder.join("compat-tests")])
        .find(|folder| folder.join("sdk/java/pom.xml").is_file())
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        .trying(|| format!("find the folder compat-tests from {}", here.display()))
}

/// The folder `debug` or `release` that this test program was built into.
pub(crate) fn profile_dir() -> Result<PathBuf> {
    let exe = env::current_exe().trying(|| "tell the path of this program".into())?;
    let deps = exe.parent().unwrap_or(Path::new("."));
    let profile = if deps.ends_with("deps") {
        deps.parent()
    } else {
        None
    };
    Ok(profile.unwrap_or(deps).to_path_buf())
}

/// The target folder of cargo.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let profile = profile_dir()?;
    Ok(profile.parent().unwrap_or(&profile).to_path_buf())
}

/// A folder under cargo's target folder for builds that are not cargo's, made when it is missing.
pub(crate) fn build_dir(name: &str) -> Result<PathBuf> {
    let folder = target_dir()?.join("compat").join(name);
    fs::create_dir_all(&folder).trying(|| format!("make {}", folder.display()))?;
    Ok(folder)
}

/// Where a run of the trials leaves what came of each.
pub fn results_file() -> Result<PathBuf> {
    let folder = target_dir()?.join("compat");
    fs::create_dir_all(&folder).trying(|| format!("make {}", folder.display()))?;
    Ok(folder.join("results.json"))
}
