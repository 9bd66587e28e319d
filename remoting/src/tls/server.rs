// SPDX-License-Identifier: Apache-2.0
//! The server's side: the certificate, loaded again when its files change.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use rustls::{ServerConfig, server::WebPkiClientVerifier};

use super::{Files, Mode, Pair, Settings, TlsError, certificate::trusted};

/// How often the files are looked at.
const WATCH: Duration = Duration::from_secs(1);

/// Accepts TLS connections with the newest certificate.
#[derive(Debug)]
pub struct ServerTls {
    mode: Mode,
    settings: Settings,
    current: Mutex<Arc<ServerConfig>>,
}

impl ServerTls {
    /// Loads or makes a certificate; none when TLS is disabled, or there is nothing to begin with.
    ///
    /// # Errors
    /// Key, certificate or trusted certificates cannot be used, or are needed and missing.
    pub fn open(settings: Settings) -> Result<Option<Arc<Self>>, TlsError> {
        let mode = settings.mode()?;
        let has_files = settings.server.both()?.is_some();
        if mode == Mode::Disabled || (!has_files && !settings.test_mode) {
            if mode == Mode::Enforcing {
                return Err(TlsError::NoTrust(
                    "tls.server.mode=enforcing",
                    "tls.server.keyPath and tls.server.certPath, or tls.test.mode.enable=true",
                ));
            }
            return Ok(None);
        }
        let current = Mutex::new(Arc::new(load(&settings)?));
        Ok(Some(Arc::new(Self {
            mode,
            settings,
            current,
        })))
    }

    /// What connections may begin with.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// A session for a new connection.
    pub(crate) fn session(&self) -> Result<rustls::ServerConnection, rustls::Error> {
        let config = Arc::clone(&self.current.lock());
        rustls::ServerConnection::new(config)
    }

    fn files(&self) -> &Files {
        &self.settings.server
    }

    /// Loads the files again when they have changed, for ever. Files that do not load change nothing.
    pub(crate) async fn watch(self: Arc<Self>) {
        if self.files().key.is_none() {
            return std::future::pending().await;
        }
        let mut known = None;
        loop {
            let tls = Arc::clone(&self);
            let look = move || {
                let now = tls.files().changed_at();
                tls.reload(known, now);
                now
            };
            if let Ok(now) = tokio::task::spawn_blocking(look).await {
                known = Some(now);
            }
            tokio::time::sleep(WATCH).await;
        }
    }

    fn reload(&self, known: Option<[Option<SystemTime>; 2]>, now: [Option<SystemTime>; 2]) {
        if known.is_none_or(|known| known == now) {
            return;
        }
        match load(&self.settings) {
            Ok(config) => {
                *self.current.lock() = Arc::new(config);
                tracing::info!("certificate loaded again");
            }
            Err(error) => {
                tracing::warn!(%error, "the certificate changed but does not load; the old one serves on");
            }
        }
    }
}

fn load(settings: &Settings) -> Result<ServerConfig, TlsError> {
    let pair = match settings.server.pair()? {
        Some(pair) => pair,
        None => Pair::make()?,
    };
    let provider = || Arc::clone(&settings.suites.provider);
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&settings.suites.versions)
        .map_err(TlsError::Pair)?;
    let builder = match (asks(settings)?, settings.auth_client) {
        (Asks::Nothing, _) | (Asks::Maybe, false) => builder.with_no_client_auth(),
        (Asks::Always, false) => {
            return Err(TlsError::NoTrust(
                "tls.server.need.client.auth=require",
                "tls.server.authClient=true and tls.server.trustCertPath",
            ));
        }
        (asks, true) => {
            let path = settings.server_trust.as_deref().ok_or(TlsError::NoTrust(
                "tls.server.authClient",
                "tls.server.trustCertPath",
            ))?;
            let roots = Arc::new(trusted(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            let verifier = if asks == Asks::Maybe {
                verifier.allow_unauthenticated()
            } else {
                verifier
            };
            let verifier = verifier.build().map_err(|error| TlsError::Trust {
                path: path.to_owned(),
                why: error.to_string(),
            })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    Ok(builder.with_single_cert(pair.chain, pair.key)?)
}

/// Whether clients are asked for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    Nothing,
    /// They may have none.
    Maybe,
    Always,
}

fn asks(settings: &Settings) -> Result<Asks, TlsError> {
    match settings.need_client_auth.to_ascii_lowercase().as_str() {
        "none" => Ok(Asks::Nothing),
        "optional" => Ok(Asks::Maybe),
        "require" => Ok(Asks::Always),
        _ => Err(TlsError::Word {
            key: "tls.server.need.client.auth",
            value: settings.need_client_auth.clone(),
            words: "none, optional or require",
        }),
    }
}
