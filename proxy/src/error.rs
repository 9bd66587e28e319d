// SPDX-License-Identifier: Apache-2.0
//! Why a proxy did not start.

use std::{io, path::PathBuf};

use aerobee_daemon::flags::AddressError;

/// Why a proxy did not start, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Where metrics are to be served is no address.
    #[error(
        "metricsPromExporterHost = {0:?} is not an IP address; write one of this machine, or leave it out for all"
    )]
    ExporterHost(String),
    /// A reason that every server has.
    #[error(transparent)]
    Process(#[from] aerobee_daemon::StartError),
    /// The name servers are no addresses.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The configuration file cannot be read.
    #[error("cannot read the configuration {}: {source}; give another with -pc", path.display())]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The configuration file is not what it should be.
    #[error("bad configuration {}: {source}", path.display())]
    ConfigText {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The keys of users and access lists contradict each other, or one of them cannot be read.
    #[error(transparent)]
    Auth(#[from] aerobee_auth::config::ConfigError),
    /// There is nothing to sign with.
    #[error(
        r#"enableAclRpcHookForClusterMode=true, and there is nothing to sign with: set innerClientAuthenticationCredentials={{"accessKey":"NAME","secretKey":"PASSWORD"}} of a super user, or write conf/tools.yml below ROCKETMQ_HOME"#
    )]
    NoCredentials,
    /// The file with what to sign with cannot be used.
    #[error("cannot sign with the keys of {}: {why}", path.display())]
    CredentialsFile {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A value is not what its key takes.
    #[error("bad configuration {}: {bad}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Which and why.
        bad: aerobee_daemon::config::BadValue,
    },
    /// The mode is unknown.
    #[error("proxyMode \"{0}\" is unknown; use LOCAL or CLUSTER")]
    Mode(String),
    /// The TLS mode is unknown.
    #[error("tls.server.mode \"{0}\" is unknown; use disabled, permissive or enforcing")]
    TlsMode(String),
    /// The listening address is none.
    #[error("bindAddress \"{0}\" is not an IP address")]
    BindAddress(String),
    /// A proxy for a cluster needs a name server.
    #[error("no name server: give one with -n, namesrvAddr or NAMESRV_ADDR")]
    NoNameServer,
    /// Key or certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The same for connections to brokers.
    #[error(transparent)]
    Upstream(aerobee_remoting::tls::TlsError),
}

/// Why a key or a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("cannot use {}: {source}; look at tlsKeyPath, tlsCertPath and tlsDirectory", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not PEM, or no certificate could be made.
    #[error(transparent)]
    Certificate(#[from] aerobee_remoting::tls::TlsError),
    /// Key and certificate do not fit.
    #[error("key and certificate do not work together: {0}")]
    Pair(#[from] rustls::Error),
    /// Only one of two paths was given.
    #[error("tlsKeyPath and tlsCertPath go together; give both or none")]
    Half,
}
