// SPDX-License-Identifier: Apache-2.0
//! What the SDK tests need beyond Rust: a JDK, Maven, Go, Python with its venv, Node.js and npm.
//!
//! What is missing is installed if that is possible without a question (Debian and its kin, as root);
//! otherwise the command to run is printed. Debian 12's Go is older than the official SDK wants: then
//! a newer one comes as the module `golang.org/toolchain`, the way newer Go versions update
//! themselves.

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    error::{Error, Result},
    metadata,
    steps::run_command,
};

/// Oldest Java that the test programs are compiled for.
const JAVA_MIN: Version = (17, 0);
/// Oldest Python that has wheels of what `requirements.txt` pins.
const PYTHON_MIN: Version = (3, 10);
/// Says which Python it is, if it can make virtual environments: Debian keeps that in a package of its own.
const PYTHON_WITH_VENV: &str =
    "import ensurepip, platform, venv; print('Python', platform.python_version())";
/// Oldest Node.js that its SDK recommends.
const NODE_MIN: Version = (18, 0);
/// The Go to get where the system's is too old.
const GO_TOOLCHAIN: &str = "1.24.13";
/// Says which Go the test program needs.
const GO_MOD: &str = "compat-tests/sdk/go/go.mod";

type Version = (u32, u32);

/// Returns if everything is there, after installing what was not.
pub(crate) fn check_or_install() -> Result<()> {
    let go_min = go_needed()?;
    let packages = missing_packages();
    if !packages.is_empty() {
        install(&packages)?;
        let still = missing_packages();
        if !still.is_empty() {
            return Err(missing(&still));
        }
    }
    if go_version("go") < Some(go_min) && newer_go()?.is_none() {
        fetch_go()?;
        if newer_go()?.is_none() {
            return Err(Error::Missing {
                what: format!("Go {}.{} or newer", go_min.0, go_min.1),
                fix: "install it from https://go.dev/dl and put it into PATH".to_owned(),
            });
        }
    }
    Ok(())
}

/// PATH with a Go that is new enough in front, where the system's is not.
pub(crate) fn path_with_go() -> Result<Option<OsString>> {
    if go_version("go") >= Some(go_needed()?) {
        return Ok(None);
    }
    let Some(go) = newer_go()? else {
        return Ok(None);
    };
    let mut path = go.parent().map(OsString::from).unwrap_or_default();
    if let Some(before) = env::var_os("PATH") {
        path.push(":");
        path.push(before);
    }
    Ok(Some(path))
}

fn missing_packages() -> Vec<&'static str> {
    let mut packages = Vec::new();
    // The compiler is asked: a runtime alone is not enough.
    if version_of("javac", &["-version"], "javac ") < Some(JAVA_MIN) {
        packages.push("openjdk-17-jdk-headless");
    }
    if version_of("mvn", &["-version"], "Apache Maven ").is_none() {
        packages.push("maven");
    }
    if go_version("go").is_none() {
        packages.push("golang-go");
    }
    if version_of("python3", &["-c", PYTHON_WITH_VENV], "Python ") < Some(PYTHON_MIN) {
        packages.push("python3-venv");
    }
    if version_of("node", &["--version"], "v") < Some(NODE_MIN) {
        packages.push("nodejs");
    }
    if version_of("npm", &["--version"], "").is_none() {
        packages.push("npm");
    }
    packages
}

fn install(packages: &[&'static str]) -> Result<()> {
    let debian = Path::new("/etc/debian_version").exists();
    if !debian || !is_root() {
        return Err(missing(packages));
    }
    run_command(Command::new("apt-get").args(["update", "-qq"]))?;
    let mut install = Command::new("apt-get");
    install
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive");
    run_command(&mut install)
}

fn missing(packages: &[&str]) -> Error {
    let packages = packages.join(" ");
    Error::Missing {
        what: "what the SDK tests need".to_owned(),
        fix: format!("run: sudo apt-get install {packages} (or the like of your system)"),
    }
}

fn is_root() -> bool {
    let user = Command::new("id").arg("-u").output();
    user.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// The `go` line of the test program's `go.mod`.
fn go_needed() -> Result<Version> {
    let path = metadata::root().join(GO_MOD);
    let text = fs::read_to_string(&path).map_err(|source| Error::Read {
        path: path.clone(),
        source,
    })?;
    let line = text.lines().find_map(|line| line.strip_prefix("go "));
    line.and_then(parse_version).ok_or_else(|| Error::Read {
        path,
        source: io::Error::new(io::ErrorKind::InvalidData, "no line `go VERSION`"),
    })
}

fn go_version(go: impl Into<OsString>) -> Option<Version> {
    version_of(go, &["version"], "go version go")
}

/// The version that a program prints after `prefix`; none if there is no such program.
fn version_of(program: impl Into<OsString>, arguments: &[&str], prefix: &str) -> Option<Version> {
    // Outside the module, so that Go does not fetch what the module asks for.
    let output = Command::new(program.into())
        .args(arguments)
        .current_dir(env::temp_dir())
        .output()
        .ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let (_, version) = text.split_once(prefix)?;
    parse_version(version)
}

fn parse_version(text: &str) -> Option<Version> {
    let mut numbers = text
        .split(|letter: char| !letter.is_ascii_digit())
        .map(str::parse);
    let major = numbers.next()?.ok()?;
    let minor = numbers.next().and_then(std::result::Result::ok);
    Some((major, minor.unwrap_or(0)))
}

fn toolchain_module() -> String {
    let processor = match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("golang.org/toolchain@v0.0.1-go{GO_TOOLCHAIN}.linux-{processor}")
}

/// The Go that [`fetch_go`] got earlier.
fn newer_go() -> Result<Option<PathBuf>> {
    let Ok(output) = Command::new("go").args(["env", "GOMODCACHE"]).output() else {
        return Ok(None);
    };
    let cache = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let go = Path::new(&cache).join(toolchain_module()).join("bin/go");
    Ok((go_version(&go) >= Some(go_needed()?)).then_some(go))
}

/// Gets a newer Go by the older one, which checks it against Go's checksum database.
fn fetch_go() -> Result<()> {
    let module = toolchain_module();
    let mut download = Command::new("go");
    download
        .args(["mod", "download", &module])
        .current_dir(env::temp_dir());
    run_command(&mut download)?;
    let output = Command::new("go").args(["env", "GOMODCACHE"]).output();
    let output = output.map_err(|source| Error::Start {
        command: "go env GOMODCACHE".to_owned(),
        source,
    })?;
    let cache = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    // Modules carry no permissions: the programs must be made executable.
    let home = Path::new(&cache).join(module);
    make_executable(&home.join("bin"))?;
    make_executable(&home.join("pkg/tool"))
}

fn make_executable(folder: &Path) -> Result<()> {
    let failed = |source| Error::Read {
        path: folder.to_owned(),
        source,
    };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            make_executable(&path)?;
        } else {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o555)).map_err(failed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared() {
        assert_eq!(parse_version("1.22\n"), Some((1, 22)));
        assert_eq!(parse_version("1.19.8 linux/amd64"), Some((1, 19)));
        assert_eq!(parse_version("21"), Some((21, 0)));
        assert_eq!(parse_version("17.0.15"), Some((17, 0)));
        assert_eq!(parse_version("x"), None);
        assert!(parse_version("1.9") < parse_version("1.22"));
        assert!(None < parse_version("1.22"));
    }

    #[test]
    fn a_program_that_is_not_there_has_no_version() {
        assert_eq!(version_of("no-such-program-here", &[], ""), None);
    }

    #[test]
    fn the_toolchain_satisfies_the_sdk() {
        assert!(parse_version(GO_TOOLCHAIN) >= Some(go_needed().unwrap()));
    }
}
