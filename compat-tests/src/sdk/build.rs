// SPDX-License-Identifier: Apache-2.0

//! One function for each language: it fetches and builds what changed, and returns where the program is.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use super::MAVEN;
use crate::{
    error::{Result, Trying},
    folders::{build_dir, crate_dir},
};

/// What the Python SDK needs.
const PYTHON: &str = "Python 3.9 or newer with venv and pip (python3, python3-venv)";

/// The folder with the jars of a program on an SDK for Java, `sdk/NAME`.
pub(super) fn java(name: &str) -> Result<PathBuf> {
    let (build, _lock) = locked_build_dir(name)?;
    let source = crate_dir()?.join("sdk").join(name);
    let jar = build.join(format!("sdk-{name}.jar"));
    let built = fs::metadata(&jar).and_then(|data| data.modified()).ok();
    if built.is_some_and(|built| newest(&source).is_ok_and(|changed| changed < built)) {
        return Ok(build);
    }
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "-f"]).arg(source.join("pom.xml"));
    maven
        .arg(format!("-Dbuild.dir={}", build.display()))
        .arg("package");
    super::run("building the program on the Java SDK", MAVEN, maven)?;
    Ok(build)
}

pub(super) fn go() -> Result<PathBuf> {
    let (build, _lock) = locked_build_dir("go")?;
    let program = build.join("sdk-go");
    let mut go = Command::new("go");
    go.current_dir(crate_dir()?.join("sdk/go"));
    go.args(["build", "-buildvcs=false", "-mod=readonly", "-o"])
        .arg(&program)
        .arg(".");
    super::run(
        "building the program on the Go SDK",
        "Go 1.24 or newer (go)",
        go,
    )?;
    Ok(program)
}

/// The interpreter of a virtual environment with what `requirements.txt` names. It is complete when it holds a copy of
/// that file.
pub(super) fn python() -> Result<PathBuf> {
    let (build, _lock) = locked_build_dir("python")?;
    let wanted = crate_dir()?.join("sdk/python/requirements.txt");
    let interpreter = build.join("venv/bin/python");
    let made = build.join("requirements.txt");
    if same(&wanted, &made) {
        return Ok(interpreter);
    }
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--clear"]).arg(build.join("venv"));
    super::run("making a place for the Python SDK", PYTHON, venv)?;
    let mut pip = Command::new(&interpreter);
    pip.args(["-m", "pip", "install", "-q", "--disable-pip-version-check"]);
    pip.args(["--require-hashes", "--only-binary", ":all:", "-r"])
        .arg(&wanted);
    super::run("fetching the Python SDK", PYTHON, pip)?;
    copy(&wanted, &made)?;
    Ok(interpreter)
}

/// The program on the Python SDK.
pub(super) fn python_program() -> Result<PathBuf> {
    Ok(crate_dir()?.join("sdk/python/main.py"))
}

/// The program on the Node.js SDK, copied beside what `package-lock.json` names.
pub(super) fn node() -> Result<PathBuf> {
    let (build, _lock) = locked_build_dir("node")?;
    let source = crate_dir()?.join("sdk/node");
    let lock = source.join("package-lock.json");
    let made = build.join("installed.json");
    for name in ["package.json", "package-lock.json"] {
        copy(&source.join(name), &build.join(name))?;
    }
    if !same(&lock, &made) {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(&build);
        super::run(
            "fetching the Node.js SDK",
            "Node.js 18 or newer and npm",
            npm,
        )?;
        copy(&lock, &made)?;
    }
    for entry in fs::read_dir(&source).trying(|| format!("list {}", source.display()))? {
        let path = entry
            .trying(|| format!("list {}", source.display()))?
            .path();
        if path.extension().is_some_and(|kind| kind == "js")
            && let Some(name) = path.file_name()
        {
            copy(&path, &build.join(name))?;
        }
    }
    Ok(build.join("main.js"))
}

/// The program on the Rust SDK, whose old dependencies have a lock file and a target folder of their own.
pub(super) fn rust() -> Result<PathBuf> {
    let (build, _lock) = locked_build_dir("rust")?;
    let manifest = crate_dir()?.join("sdk/rust/Cargo.toml");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--locked", "--manifest-path"])
        .arg(&manifest);
    cargo.arg("--target-dir").arg(&build);
    super::run(
        "building the program on the Rust SDK",
        "a Rust toolchain",
        cargo,
    )?;
    Ok(build.join("debug/sdk-rust"))
}

fn same(one: &Path, other: &Path) -> bool {
    match (fs::read(one), fs::read(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).trying(|| format!("copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// The folder of a build, and the lock under which two test runs do not build into it at once.
fn locked_build_dir(name: &str) -> Result<(PathBuf, File)> {
    let build = build_dir(name)?;
    let lock = File::create(build.join("lock")).trying(|| format!("lock {}", build.display()))?;
    lock.lock().trying(|| format!("lock {}", build.display()))?;
    Ok((build, lock))
}

/// The time of the newest file in the folder.
fn newest(folder: &Path) -> Result<SystemTime> {
    let mut time = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(folder).trying(|| format!("list {}", folder.display()))? {
        let path = entry
            .trying(|| format!("list {}", folder.display()))?
            .path();
        let data = fs::metadata(&path).trying(|| format!("look at {}", path.display()))?;
        let changed = if data.is_dir() {
            newest(&path)
        } else {
            data.modified()
                .trying(|| format!("look at {}", path.display()))
        };
        time = time.max(changed?);
    }
    Ok(time)
}
