// SPDX-License-Identifier: Apache-2.0
//! Why a name server does not start.

use aerobee_daemon::persist;

/// Why a name server did not start: one line with the cause and the fix.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Port, configuration, or a file.
    #[error(transparent)]
    Process(#[from] aerobee_daemon::StartError),
    /// The address to listen on is none.
    #[error(
        "bindAddress = {0:?} is not an IP address; write one of this machine, or 0.0.0.0 for all"
    )]
    BindAddress(String),
    /// The configuration asks for something that this version does not do.
    #[error("{key} = true: {instead}")]
    Unsupported {
        /// The key.
        key: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// Keys, certificates or settings of TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] aerobee_remoting::tls::TlsError),
    /// Opening was interrupted by the end of the process.
    #[error("starting was interrupted")]
    Interrupted,
}

impl From<persist::Error> for StartError {
    fn from(error: persist::Error) -> Self {
        Self::Process(error.into())
    }
}
