// SPDX-License-Identifier: Apache-2.0
//! Why a server did not start: one line with the cause and what to do about it.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::{config, flags::AddressError, persist};

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another program, or another instance, has the port.
    #[error(
        "the {what} cannot listen on {address}: the port is in use; end the program that uses it or choose another port with {choose}"
    )]
    PortInUse {
        /// What wanted to listen, as in "broker".
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// How to choose another port: a flag or a key.
        choose: &'static str,
    },
    /// The address is not one of this machine.
    #[error(
        "the {what} cannot listen on {address}: no interface of this machine has that address; choose another with {choose}"
    )]
    AddressNotHere {
        /// What wanted to listen.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// How to choose another address: a flag or a key.
        choose: &'static str,
    },
    /// Ports below 1024 need a privilege.
    #[error(
        "the {what} cannot listen on {address}: not permitted; choose a port from 1024 on with {choose}, or give the process the right to bind it"
    )]
    PortNotPermitted {
        /// What wanted to listen.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// How to choose another port: a flag or a key.
        choose: &'static str,
    },
    /// Listening failed otherwise.
    #[error("the {what} cannot listen on {address}: {source}")]
    Listen {
        /// What wanted to listen.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// What failed.
        source: io::Error,
    },
    /// No permission to write into the directory.
    #[error("the {what} {} is not writable; change its permissions or choose another with {choose}", path.display())]
    DirectoryNotWritable {
        /// What it is for, as in "store directory".
        what: &'static str,
        /// The directory.
        path: PathBuf,
        /// How to choose another: a flag or a key.
        choose: &'static str,
    },
    /// Something else has the name of the directory, or of one above it.
    #[error("the {what} {} is not a directory; move away what is there or choose another with {choose}", path.display())]
    NotADirectory {
        /// What it is for.
        what: &'static str,
        /// The directory.
        path: PathBuf,
        /// How to choose another: a flag or a key.
        choose: &'static str,
    },
    /// Another process works on the directory.
    #[error("the {what} {} is locked: another process works on it; end that process or choose another directory with {choose}", path.display())]
    DirectoryLocked {
        /// What it is for.
        what: &'static str,
        /// The directory.
        path: PathBuf,
        /// How to choose another: a flag or a key.
        choose: &'static str,
    },
    /// No space on the device.
    #[error("the {what} {} is on a full file system; free space or choose another with {choose}", path.display())]
    DirectoryFull {
        /// What it is for.
        what: &'static str,
        /// The directory.
        path: PathBuf,
        /// How to choose another: a flag or a key.
        choose: &'static str,
    },
    /// The directory cannot be used for another reason.
    #[error("the {what} {} cannot be used: {source}; choose another with {choose}", path.display())]
    Directory {
        /// What it is for.
        what: &'static str,
        /// The directory.
        path: PathBuf,
        /// How to choose another: a flag or a key.
        choose: &'static str,
        /// What failed.
        source: io::Error,
    },
    /// The configuration file cannot be read or holds bad values; the message names file and line.
    #[error("bad configuration: {0}")]
    Config(#[from] config::Error),
    /// An address of the command line, the file or the environment is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A small file cannot be read or written; the message says what to do.
    #[error(transparent)]
    Persist(#[from] persist::Error),
    /// The log level is none.
    #[error(
        "\"{given}\" is not a log level ({reason}); use error, warn, info, debug or trace, also for parts: info,aerobee_store=debug"
    )]
    LogLevel {
        /// As given.
        given: String,
        /// Why it is none.
        reason: String,
    },
    /// The log file cannot be opened.
    #[error("cannot open the log file {}: {source}; choose another with --log-file", path.display())]
    LogFile {
        /// The file.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// The system refused something that every start needs: a thread, a signal handler.
    #[error("cannot {action}: {source}; look at the limits of the process (ulimit -a)")]
    System {
        /// What was tried, as in "start threads".
        action: &'static str,
        /// What failed.
        source: io::Error,
    },
}

impl StartError {
    /// For a listener that could not be bound. `choose` is the flag or key of the port or address, as
    /// in `listenPort`.
    #[must_use]
    pub fn listen(
        what: &'static str,
        address: SocketAddr,
        choose: &'static str,
        source: io::Error,
    ) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::PortInUse {
                what,
                address,
                choose,
            },
            io::ErrorKind::AddrNotAvailable => Self::AddressNotHere {
                what,
                address,
                choose,
            },
            io::ErrorKind::PermissionDenied => Self::PortNotPermitted {
                what,
                address,
                choose,
            },
            _ => Self::Listen {
                what,
                address,
                source,
            },
        }
    }

    /// For a directory that could not be used. An error of kind `WouldBlock` or `ResourceBusy` means
    /// that another process holds its lock.
    #[must_use]
    pub fn directory(
        what: &'static str,
        path: &Path,
        choose: &'static str,
        source: io::Error,
    ) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::DirectoryNotWritable { what, path, choose }
            }
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                Self::NotADirectory { what, path, choose }
            }
            io::ErrorKind::WouldBlock | io::ErrorKind::ResourceBusy => {
                Self::DirectoryLocked { what, path, choose }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DirectoryFull { what, path, choose }
            }
            _ => Self::Directory {
                what,
                path,
                choose,
                source,
            },
        }
    }
}

/// Creates a directory with those above it if it is missing, and makes sure that files can be made in
/// it, so that a server that cannot write says so before it listens.
///
/// # Errors
/// The directory cannot be created or written into.
pub fn prepare_directory(
    what: &'static str,
    path: &Path,
    choose: &'static str,
) -> Result<(), StartError> {
    let failed = |source| StartError::directory(what, path, choose, source);
    fs::create_dir_all(path).map_err(failed)?;
    let trial = path.join(format!(".writable-{}", std::process::id()));
    fs::File::create(&trial).map_err(failed)?;
    fs::remove_file(&trial).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_port_in_use_is_told_with_the_way_out() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = holder.local_addr().unwrap();
        let source = TcpListener::bind(address).unwrap_err();
        let error = StartError::listen("broker", address, "listenPort", source);
        assert_eq!(
            error.to_string(),
            format!(
                "the broker cannot listen on {address}: the port is in use; end the program that \
                 uses it or choose another port with listenPort"
            )
        );
    }

    #[test]
    fn an_address_of_another_machine_is_told() {
        let address: SocketAddr = "192.0.2.1:0".parse().unwrap();
        let source = TcpListener::bind(address).unwrap_err();
        let error = StartError::listen("broker", address, "bindAddress", source);
        assert!(
            matches!(error, StartError::AddressNotHere { .. }),
            "{error}"
        );
    }

    #[test]
    fn a_directory_is_made_and_left_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        prepare_directory("store directory", &path, "--data").unwrap();
        prepare_directory("store directory", &path, "--data").unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    }

    #[test]
    fn a_file_in_the_way_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("below")] {
            let error = prepare_directory("store directory", &path, "--data").unwrap_err();
            assert!(matches!(error, StartError::NotADirectory { .. }), "{error}");
            assert!(!error.to_string().contains('\n'));
        }
    }

    #[test]
    fn kinds_of_failure_have_their_own_words() {
        let path = Path::new("/d");
        for (kind, words) in [
            (io::ErrorKind::PermissionDenied, "not writable"),
            (io::ErrorKind::ReadOnlyFilesystem, "not writable"),
            (io::ErrorKind::WouldBlock, "locked"),
            (io::ErrorKind::StorageFull, "full"),
            (io::ErrorKind::TimedOut, "cannot be used"),
        ] {
            let error = StartError::directory("data", path, "--data", kind.into()).to_string();
            assert!(error.contains(words) && error.contains("--data"), "{error}");
        }
    }
}
