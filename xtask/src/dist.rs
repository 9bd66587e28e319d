// SPDX-License-Identifier: Apache-2.0
//! The archive that users get: builds it, then unpacks and tries it.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    error::{Error, Result},
    metadata,
    steps::run_command,
};

/// A target whose binaries need nothing of the machine.
const STATIC: &str = "x86_64-unknown-linux-musl";
/// The C compiler for it: zstd and ring have parts in C.
const STATIC_CC: &str = "musl-gcc";
/// Names of Apache's start scripts.
const NAMES: [&str; 4] = ["mqnamesrv", "mqbroker", "mqproxy", "mqadmin"];
/// What goes into the archive besides the program, from the top of the repository.
const DOCUMENTS: [&str; 3] = ["README.md", "CHANGELOG.md", "LICENSE"];
/// Longest wait for a server to start or end.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is built.
struct Plan {
    /// None for the machine's own.
    target: Option<&'static str>,
    is_release: bool,
    /// Name of the archive and of the folder in it.
    name: String,
    folder: PathBuf,
}

/// Builds the archive and tries it; `is_release` is off only to try the packaging itself.
pub(crate) fn run(is_release: bool) -> Result<()> {
    let plan = Plan::make(is_release)?;
    let program = build(&plan)?;
    let stage = plan.folder.join(&plan.name);
    assemble(&stage, &program)?;
    let archive = pack(&plan)?;
    attempt(&plan, &archive)?;
    println!("{} is made and works", archive.display());
    Ok(())
}

impl Plan {
    fn make(is_release: bool) -> Result<Self> {
        let target = can_be_static()?.then_some(STATIC);
        let suffix = match target {
            Some(_) => "linux-x86_64".to_owned(),
            None => format!("linux-{}-gnu", env::consts::ARCH),
        };
        Ok(Self {
            target,
            is_release,
            name: format!("aerobee-{}-{suffix}", env!("CARGO_PKG_VERSION")),
            folder: metadata::read()?.target.join("dist"),
        })
    }
}

/// Whether the static target is there; says what is missing if it is not.
fn can_be_static() -> Result<bool> {
    let installed = output(Command::new("rustup").args(["target", "list", "--installed"]));
    let has_target = installed.is_ok_and(|list| list.lines().any(|target| target == STATIC));
    let has_compiler = find(STATIC_CC);
    if has_target && has_compiler {
        return Ok(true);
    }
    println!(
        "the binary will need the machine's C library: for a static one run `rustup target add {STATIC}` and install {STATIC_CC} (Debian: musl-tools)"
    );
    Ok(false)
}

fn find(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn build(plan: &Plan) -> Result<PathBuf> {
    let mut cargo = metadata::cargo();
    cargo.args(["build", "--locked", "--package", "aerobee"]);
    if plan.is_release {
        cargo.arg("--release");
    }
    if let Some(target) = plan.target {
        cargo.args(["--target", target]);
        cargo.env("CC_x86_64_unknown_linux_musl", STATIC_CC);
    }
    let mut git = Command::new("git");
    git.current_dir(metadata::root())
        .args(["rev-parse", "--short=12", "HEAD"]);
    // Without git, as in an unpacked archive of the sources, the revision stays unknown.
    if let Ok(revision) = output(&mut git) {
        cargo.env("AEROBEE_REVISION", revision.trim());
    }
    run_command(&mut cargo)?;
    let mut program = metadata::read()?.target;
    program.extend(plan.target);
    program.push(if plan.is_release { "release" } else { "debug" });
    Ok(program.join("aerobee"))
}

/// Puts everything into the folder that becomes the archive.
fn assemble(stage: &Path, program: &Path) -> Result<()> {
    if stage.exists() {
        fs::remove_dir_all(stage).map_err(|source| write_error(stage, source))?;
    }
    let root = metadata::root();
    copy_all(&root.join("dist"), stage)?;
    // The README of the whole comes beside it.
    let (own, install) = (stage.join("README.md"), stage.join("INSTALL.md"));
    fs::rename(&own, &install).map_err(|source| write_error(&own, source))?;
    copy_all(&root.join("docs"), &stage.join("docs"))?;
    for document in DOCUMENTS {
        copy(&root.join(document), &stage.join(document))?;
    }
    let binary = stage.join("bin/aerobee");
    copy(program, &binary)?;
    set_mode(&binary, 0o755)?;
    set_mode(&stage.join("bin/mqshutdown"), 0o755)?;
    for name in NAMES {
        let link = stage.join("bin").join(name);
        symlink("aerobee", &link).map_err(|source| write_error(&link, source))?;
    }
    // The image starts with an empty folder for data that belongs to its user.
    let data = stage.join("data");
    fs::create_dir_all(&data).map_err(|source| write_error(&data, source))?;
    let sums =
        "find . -type f ! -name SHA256SUMS -print0 | sort -z | xargs -0 sha256sum > SHA256SUMS";
    run_command(Command::new("sh").current_dir(stage).args(["-c", sums]))
}

/// The archive, with its sum beside it. The same content makes the same bytes.
fn pack(plan: &Plan) -> Result<PathBuf> {
    let file = format!("{}.tar.gz", plan.name);
    let mut tar = Command::new("tar");
    tar.current_dir(&plan.folder);
    tar.args([
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mtime=2026-01-01 00:00Z",
        "--use-compress-program=gzip -n",
        "-cf",
    ]);
    tar.arg(&file).arg(&plan.name);
    run_command(&mut tar)?;
    let sum = format!("sha256sum {file} > {file}.sha256");
    run_command(
        Command::new("sh")
            .current_dir(&plan.folder)
            .args(["-c", &sum]),
    )?;
    Ok(plan.folder.join(file))
}

/// Unpacks the archive, checks its sums, starts the server as a user would, sends a message, looks at
/// its health and stops it.
fn attempt(plan: &Plan, archive: &Path) -> Result<()> {
    let folder = plan.folder.join("try");
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|source| write_error(&folder, source))?;
    }
    fs::create_dir_all(&folder).map_err(|source| write_error(&folder, source))?;
    run_command(
        Command::new("tar")
            .arg("-xf")
            .arg(archive)
            .arg("-C")
            .arg(&folder),
    )?;
    let home = folder.join(&plan.name);
    run_command(Command::new("sha256sum").current_dir(&home).args([
        "--quiet",
        "-c",
        "SHA256SUMS",
    ]))?;
    for (name, key) in [("mqbroker", "brokerName"), ("mqnamesrv", "listenPort")] {
        let listed = output(Command::new(home.join("bin").join(name)).arg("-p"))?;
        if !listed.contains(key) {
            return Err(Error::Try(format!("{name} -p does not name {key}")));
        }
    }
    let mut server = Server::start(&home)?;
    let http = server.port("HTTP")?;
    if !ask(http, "/readyz")?.contains("ready") {
        return Err(Error::Try(
            "/readyz does not say that it is ready".to_owned(),
        ));
    }
    let namesrv = format!("127.0.0.1:{}", server.port("name server")?);
    let mut bench = Command::new(home.join("bin/aerobee"));
    bench.args(["bench", "send", "--namesrv", &namesrv]);
    bench.args(["--topic", "tried", "--count", "1", "--warmup", "0"]);
    run_command(&mut bench)?;
    if !ask(http, "/metrics")?.contains("aerobee_build_info") {
        return Err(Error::Try(
            "/metrics does not say what was built".to_owned(),
        ));
    }
    server.stop()
}

/// A server from the archive.
struct Server {
    child: Child,
    greeting: String,
}

impl Server {
    fn start(home: &Path) -> Result<Self> {
        let mut command = Command::new(home.join("bin/aerobee"));
        command
            .args(["standalone", "--data"])
            .arg(home.join("data"));
        for port in [
            "--namesrv-port",
            "--broker-port",
            "--proxy-port",
            "--http-port",
        ] {
            command.args([port, "0"]);
        }
        let text = "bin/aerobee standalone".to_owned();
        println!("$ {text}");
        let mut child = command
            .env_remove("NAMESRV_ADDR")
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|source| Error::Start {
                command: text.clone(),
                source,
            })?;
        let mut greeting = String::new();
        if let Some(out) = child.stdout.take() {
            for line in BufReader::new(out).lines().map_while(std::io::Result::ok) {
                greeting.push_str(&line);
                greeting.push('\n');
                if line.contains("Ctrl-C") {
                    return Ok(Self { child, greeting });
                }
            }
        }
        let _ = child.kill();
        Err(Error::Try(format!("it did not start: {greeting}")))
    }

    /// The port in the line of the greeting that begins with a word.
    fn port(&self, word: &str) -> Result<u16> {
        let line = self
            .greeting
            .lines()
            .find(|line| line.trim_start().starts_with(word));
        let port = line
            .and_then(|line| line.split_once("127.0.0.1:"))
            .and_then(|(_, rest)| {
                let end = rest.find(|letter: char| !letter.is_ascii_digit());
                rest.get(..end.unwrap_or(rest.len()))?.parse().ok()
            });
        port.ok_or_else(|| Error::Try(format!("no port of the {word} in: {}", self.greeting)))
    }

    fn stop(&mut self) -> Result<()> {
        run_command(Command::new("kill").args(["-TERM", &self.child.id().to_string()]))?;
        let begin = Instant::now();
        loop {
            let ended = self.child.try_wait().map_err(|source| Error::Start {
                command: "wait for the server".to_owned(),
                source,
            })?;
            match ended {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(Error::Try(format!("it ended with {status}"))),
                None if begin.elapsed() > PATIENCE => {
                    return Err(Error::Try("it does not end".to_owned()));
                }
                None => sleep(Duration::from_millis(20)),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(port: u16, path: &str) -> Result<String> {
    let failed = |source| Error::Start {
        command: format!("GET http://127.0.0.1:{port}{path}"),
        source,
    };
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed)?;
    if answer.starts_with("HTTP/1.1 200") {
        Ok(answer)
    } else {
        Err(Error::Try(format!("GET {path}: {answer}")))
    }
}

/// What a command prints.
fn output(command: &mut Command) -> Result<String> {
    let text = format!("{command:?}");
    let output = command.output().map_err(|source| Error::Start {
        command: text.clone(),
        source,
    })?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(Error::Command {
            command: text,
            status: output.status,
        })
    }
}

fn copy_all(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(|source| write_error(to, source))?;
    let failed = |source| Error::Read {
        path: from.to_owned(),
        source,
    };
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &target)?;
        } else {
            copy(&entry.path(), &target)?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map_err(|source| Error::Read {
        path: from.to_owned(),
        source,
    })?;
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|source| write_error(path, source))
}

fn write_error(path: &Path, source: std::io::Error) -> Error {
    Error::Write {
        path: path.to_owned(),
        source,
    }
}
