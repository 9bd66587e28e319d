// SPDX-License-Identifier: Apache-2.0
//! TLS on remoting ports (Apache: `TlsSystemConfig`, `TlsHelper`, `NettyRemotingServer`).
//!
//! A server tells TLS from frames by the first byte of a connection. The session of a connection
//! ([`session`](self)) has no task and no socket of its own: it turns bytes into bytes where the
//! connection reads and writes. Plain connections have none.

mod certificate;
mod client;
mod server;
pub(crate) mod session;
mod suites;

use std::{io, path::PathBuf, sync::Arc};

pub use self::{
    certificate::{Files, Pair, Password},
    client::ClientTls,
    server::ServerTls,
    suites::Suites,
};

/// What connections may begin with. Key: `tls.server.mode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Frames only.
    Disabled,
    /// Frames or TLS, as the client likes.
    #[default]
    Permissive,
    /// TLS only.
    Enforcing,
}

/// Settings of both sides, by the names of Apache's system properties.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `tls.server.mode`: `disabled`, `permissive` or `enforcing`.
    pub server_mode: String,
    /// `tls.test.mode.enable`: without a certificate one is made, and others are not verified.
    pub test_mode: bool,
    /// `tls.server.need.client.auth`: `none`, `optional` or `require`.
    pub need_client_auth: String,
    /// `tls.server.keyPath` and `tls.server.certPath`.
    pub server: Files,
    /// `tls.server.authClient`: whether certificates of clients are verified.
    pub auth_client: bool,
    /// `tls.server.trustCertPath`: by which ones.
    pub server_trust: Option<PathBuf>,
    /// `tls.enable`: whether we connect with TLS.
    pub enable: bool,
    /// `tls.client.keyPath` and `tls.client.certPath`.
    pub client: Files,
    /// `tls.client.authServer`: whether certificates of servers are verified.
    pub auth_server: bool,
    /// `tls.client.trustCertPath`: by which ones.
    pub client_trust: Option<PathBuf>,
    /// `tls.ciphers` and `tls.protocols`: what both sides may use.
    pub suites: Suites,
}

impl Settings {
    /// Reads the settings through `get`, which gives the value of a key, if it has one.
    ///
    /// # Errors
    /// A key asks for what is not there.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, TlsError> {
        let text = |key: &str| get(key).filter(|value| !value.is_empty());
        let path = |key: &str| text(key).map(PathBuf::from);
        let is_set = |key: &str, unset: bool| {
            text(key).map_or(unset, |value| value.eq_ignore_ascii_case("true"))
        };
        let files = |side: &str| Files {
            key: path(&format!("tls.{side}.keyPath")),
            cert: path(&format!("tls.{side}.certPath")),
            password: text(&format!("tls.{side}.keyPassword")).map(Password),
        };
        Ok(Self {
            server_mode: text("tls.server.mode").unwrap_or_else(|| "permissive".to_owned()),
            test_mode: is_set("tls.test.mode.enable", true),
            need_client_auth: text("tls.server.need.client.auth")
                .unwrap_or_else(|| "none".to_owned()),
            server: files("server"),
            auth_client: is_set("tls.server.authClient", false),
            server_trust: path("tls.server.trustCertPath"),
            enable: is_set("tls.enable", false),
            client: files("client"),
            auth_server: is_set("tls.client.authServer", false),
            client_trust: path("tls.client.trustCertPath"),
            suites: Suites::of(
                &text("tls.ciphers").unwrap_or_default(),
                &text("tls.protocols").unwrap_or_default(),
            )?,
        })
    }

    /// What connections may begin with.
    ///
    /// # Errors
    /// The word is unknown.
    pub fn mode(&self) -> Result<Mode, TlsError> {
        match self.server_mode.to_ascii_lowercase().as_str() {
            "disabled" => Ok(Mode::Disabled),
            "permissive" => Ok(Mode::Permissive),
            "enforcing" => Ok(Mode::Enforcing),
            _ => Err(TlsError::Word {
                key: "tls.server.mode",
                value: self.server_mode.clone(),
                words: "disabled, permissive or enforcing",
            }),
        }
    }
}

/// Why a key, a certificate or a setting cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not PEM, or holds nothing of use.
    #[error("{} holds no {what} in PEM: {source}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// Key and certificate do not fit.
    #[error("key and certificate do not work together: {0}")]
    Pair(#[from] rustls::Error),
    /// No certificate could be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// A file cannot be written.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Only one of two paths was given.
    #[error("the paths of key and certificate go together; give both or none")]
    Half,
    /// A word that a key does not know.
    #[error("{key} \"{value}\" is unknown; use {words}")]
    Word {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        words: &'static str,
    },
    /// A private key is encrypted and stays so.
    #[error(
        "cannot decrypt the key {}: {why}; set tls.server.keyPassword (tls.client.keyPassword, tlsKeyPassword of the proxy), or write it anew: openssl pkcs8 -topk8 -v2 aes-256-cbc -in <key> -out <new key>", path.display()
    )]
    Encrypted {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Nothing is left that the sides could agree on.
    #[error("{key} = \"{value}\" leaves nothing to use; known are {known}")]
    Suites {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it may name.
        known: String,
    },
    /// Clients are to be verified, but by nothing.
    #[error(
        "{0} asks for certificates of the other side, but nothing says which to trust: set {1}"
    )]
    NoTrust(&'static str, &'static str),
    /// The certificates to trust are of no use.
    #[error("the trusted certificates of {} are of no use: {why}", path.display())]
    Trust {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// Both sides of a server's process.
#[derive(Debug, Clone, Default)]
pub struct Secure {
    /// For connections to its ports.
    pub server: Option<Arc<ServerTls>>,
    /// For connections that it makes.
    pub client: Option<Arc<ClientTls>>,
}

impl Secure {
    /// Both sides, by settings as [`Settings::read`] takes them.
    ///
    /// # Errors
    /// As [`ServerTls::open`] and [`ClientTls::open`].
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, TlsError> {
        let settings = Settings::read(get)?;
        Ok(Self {
            client: ClientTls::open(&settings)?,
            server: ServerTls::open(settings)?,
        })
    }
}
