// SPDX-License-Identifier: Apache-2.0
//! Keys and certificates (Apache: `proxy/service/cert/TlsCertificateManager.java`): configured ones,
//! loaded again when their files change, or one that we make at the first start and keep.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use aerobee_remoting::tls::{Pair, Password, Suites};
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

use crate::{
    config::{Config, TlsMode},
    error::TlsError,
};

/// gRPC clients refuse a connection that does not settle on this.
const HTTP2: &[u8] = b"h2";
/// File names of the certificate that we make.
const OWN_KEY: &str = "proxy.key";
const OWN_CERT: &str = "proxy.crt";

/// Accepts TLS connections with the newest certificate.
#[derive(Debug)]
pub(crate) struct Tls {
    config: ArcSwap<ServerConfig>,
    key: PathBuf,
    cert: PathBuf,
    password: Option<Password>,
    suites: Suites,
}

impl Tls {
    /// Loads or makes a certificate; none when TLS is disabled, or there is nothing to begin with.
    pub(crate) fn open(config: &Config, mode: TlsMode) -> Result<Option<Arc<Self>>, TlsError> {
        if mode == TlsMode::Disabled {
            return Ok(None);
        }
        let (key, cert) = match (config.tls_key_path.as_str(), config.tls_cert_path.as_str()) {
            ("", "") if config.tls_test_mode_enable => own(&config.tls_directory)?,
            ("", "") => return Ok(None),
            ("", _) | (_, "") => return Err(TlsError::Half),
            (key, cert) => (PathBuf::from(key), PathBuf::from(cert)),
        };
        let password = Some(&config.tls_key_password).filter(|password| !password.is_empty());
        let password = password.cloned().map(Password);
        let suites = Suites::of(&config.tls_ciphers, &config.tls_protocols)?;
        let loaded = load(&key, &cert, password.as_ref(), &suites)?;
        Ok(Some(Arc::new(Self {
            config: ArcSwap::from_pointee(loaded),
            key,
            cert,
            password,
            suites,
        })))
    }

    /// For one connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }

    /// Loads the files again when they have changed, for ever. Files that do not load change nothing.
    pub(crate) async fn watch(self: Arc<Self>, period: Duration) {
        let mut known = self.changed_at();
        loop {
            tokio::time::sleep(period).await;
            let now = self.changed_at();
            if now == known {
                continue;
            }
            known = now;
            match load(&self.key, &self.cert, self.password.as_ref(), &self.suites) {
                Ok(config) => {
                    self.config.store(Arc::new(config));
                    tracing::info!(certificate = %self.cert.display(), "certificate loaded again");
                }
                Err(error) => {
                    tracing::warn!(%error, "the certificate changed but does not load; the old one serves on");
                }
            }
        }
    }

    fn changed_at(&self) -> [Option<SystemTime>; 2] {
        [&self.key, &self.cert].map(|path| fs::metadata(path).and_then(|file| file.modified()).ok())
    }
}

fn load(
    key: &Path,
    cert: &Path,
    password: Option<&Password>,
    suites: &Suites,
) -> Result<ServerConfig, TlsError> {
    let Pair { chain, key } = Pair::load(key, cert, password)?;
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&suites.provider))
        .with_protocol_versions(&suites.versions)?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![HTTP2.to_vec()];
    Ok(config)
}

/// The certificate that we made, now or at an earlier start.
fn own(directory: &Path) -> Result<(PathBuf, PathBuf), TlsError> {
    let (key, cert) = (directory.join(OWN_KEY), directory.join(OWN_CERT));
    if key.exists() && cert.exists() {
        return Ok((key, cert));
    }
    fs::create_dir_all(directory).map_err(|source| TlsError::File {
        path: directory.to_owned(),
        source,
    })?;
    Pair::make_in(&key, &cert)?;
    tracing::info!(
        certificate = %cert.display(),
        "made a self-signed certificate; configure tlsKeyPath and tlsCertPath for one that clients can verify"
    );
    Ok((key, cert))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(directory: &Path) -> Config {
        Config {
            tls_directory: directory.to_owned(),
            ..Config::default()
        }
    }

    #[test]
    fn a_certificate_is_made_once_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path());
        assert!(Tls::open(&config, TlsMode::Permissive).unwrap().is_some());
        let first = fs::read(directory.path().join(OWN_CERT)).unwrap();
        assert!(Tls::open(&config, TlsMode::Enforcing).unwrap().is_some());
        assert_eq!(fs::read(directory.path().join(OWN_CERT)).unwrap(), first);
        assert!(Tls::open(&config, TlsMode::Disabled).unwrap().is_none());
    }

    #[test]
    fn files_that_do_not_fit_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = config(directory.path());
        config.tls_cert_path = "x.crt".to_owned();
        assert!(matches!(
            Tls::open(&config, TlsMode::Permissive),
            Err(TlsError::Half)
        ));
        config.tls_key_path = directory.path().join("missing.key").display().to_string();
        assert!(matches!(
            Tls::open(&config, TlsMode::Permissive),
            Err(TlsError::Certificate(
                aerobee_remoting::tls::TlsError::Pem { .. }
            ))
        ));
    }

    #[tokio::test]
    async fn a_changed_certificate_is_loaded_a_bad_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path());
        let tls = Tls::open(&config, TlsMode::Permissive).unwrap().unwrap();
        let watch = tokio::spawn(Arc::clone(&tls).watch(Duration::from_millis(10)));
        tokio::time::sleep(Duration::from_millis(50)).await;
        let first = tls.config.load_full();
        let cert = directory.path().join(OWN_CERT);
        fs::write(&cert, "nonsense").unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(Arc::ptr_eq(&first, &tls.config.load_full()));
        fs::remove_file(&cert).unwrap();
        own(directory.path()).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!Arc::ptr_eq(&first, &tls.config.load_full()));
        watch.abort();
    }
}
