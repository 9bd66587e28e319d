// SPDX-License-Identifier: Apache-2.0
//! Why a broker does not start, or does not stop cleanly.

use aerobee_daemon::{persist, properties};

use crate::{schedule::levels::LevelError, table::PersistError, timer::TimerError};

/// Why a broker did not start: one line with the cause and the fix.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Ports, directories, configuration.
    #[error(transparent)]
    Process(#[from] aerobee_daemon::StartError),
    /// Keys, certificates or settings of TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] aerobee_remoting::tls::TlsError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] aerobee_store::OpenError),
    /// The configuration asks for something that this version does not do.
    #[error("{key} = {value}: {reason}")]
    Unsupported {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What to do instead.
        reason: &'static str,
    },
    /// The keys of users and access lists contradict each other, or one of them cannot be read.
    #[error(transparent)]
    Auth(#[from] aerobee_auth::config::ConfigError),
    /// The file of users and access lists cannot be used.
    #[error(transparent)]
    Users(persist::Error),
    /// A user of the configuration cannot be made.
    #[error("a super user of the configuration cannot be made: {0}")]
    FirstUser(aerobee_auth::tables::ChangeError),
    /// Nobody could get in, not even to make a user.
    #[error(
        r#"authenticationEnabled=true, and there is no user: name the first super user with initAuthenticationUser={{"username":"NAME","password":"PASSWORD"}}"#
    )]
    NoUsers,
    /// An address to listen on or to advertise is none.
    #[error(
        "{key} = {value:?} is not an IP address: brokerIP1 is where clients reach this broker, bindAddress is where it listens"
    )]
    NotAnIp {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// Where metrics are to be served is no address.
    #[error(
        "metricsPromExporterHost = {value:?} is not an IP address; write one of this machine, or leave it out for brokerIP1"
    )]
    ExporterHost {
        /// Its value.
        value: String,
    },
    /// The delays of the levels cannot be read.
    #[error("messageDelayLevel = {value:?}: {source}")]
    DelayLevels {
        /// The value.
        value: String,
        /// What is wrong with it.
        source: LevelError,
    },
    /// A thread of the broker cannot be started.
    #[error(
        "cannot start the thread {name}: {source}; the system has too many threads or too little memory"
    )]
    Thread {
        /// Its name.
        name: &'static str,
        /// What failed.
        source: std::io::Error,
    },
    /// The timer wheel cannot be opened.
    #[error(transparent)]
    Timer(#[from] TimerError),
    /// Opening was interrupted by the end of the process.
    #[error("starting was interrupted")]
    Interrupted,
}

impl From<persist::Error> for StartError {
    fn from(error: persist::Error) -> Self {
        Self::Process(error.into())
    }
}

impl From<properties::Error> for StartError {
    fn from(error: properties::Error) -> Self {
        Self::Process(aerobee_daemon::config::Error::from(error).into())
    }
}

/// Why a broker did not stop cleanly: what was acknowledged is safe, but the next start recovers.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// A table could not be written.
    #[error(transparent)]
    Table(#[from] PersistError),
    /// The store could not be closed.
    #[error(transparent)]
    Store(#[from] aerobee_store::CloseError),
    /// Stopping was interrupted.
    #[error("stopping was interrupted")]
    Interrupted,
}
