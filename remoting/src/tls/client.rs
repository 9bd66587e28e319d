// SPDX-License-Identifier: Apache-2.0
//! The client's side: what we show to servers, and which of them we trust.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::{Settings, TlsError, certificate::trusted};

/// Connects with TLS.
#[derive(Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
}

impl ClientTls {
    /// Loads what is needed; none when `tls.enable` is not set.
    ///
    /// # Errors
    /// Key, certificate or trusted certificates cannot be used, or are needed and missing.
    pub fn open(settings: &Settings) -> Result<Option<Arc<Self>>, TlsError> {
        if !settings.enable {
            return Ok(None);
        }
        let provider = || Arc::clone(&settings.suites.provider);
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&settings.suites.versions)
            .map_err(TlsError::Pair)?;
        let builder = if settings.auth_server {
            let path = settings.client_trust.as_deref().ok_or(TlsError::NoTrust(
                "tls.client.authServer",
                "tls.client.trustCertPath",
            ))?;
            builder.with_root_certificates(trusted(path)?)
        } else {
            let verifier = Arc::new(Anybody(provider()));
            builder
                .dangerous()
                .with_custom_certificate_verifier(verifier)
        };
        let config = match settings.client.pair()? {
            Some(pair) => builder.with_client_auth_cert(pair.chain, pair.key)?,
            None => builder.with_no_client_auth(),
        };
        Ok(Some(Arc::new(Self {
            config: Arc::new(config),
        })))
    }

    /// A session with a server at `address` (`host:port`).
    pub(crate) fn session(&self, address: &str) -> Result<rustls::ClientConnection, rustls::Error> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| rustls::Error::General(format!("{host} is no name of a server")))?;
        rustls::ClientConnection::new(Arc::clone(&self.config), name)
    }
}

/// Trusts every server, as Apache's clients do unless `tls.client.authServer` is set; that it has
/// the key of its certificate is checked.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
