// SPDX-License-Identifier: Apache-2.0
//! The keys of TLS on remoting ports, by the names of Apache's system properties
//! (`TlsSystemConfig`). They stand in the role's configuration, in the file that `tls.config.file`
//! names, which goes before it, or as `-Dkey=value` in `JAVA_OPT`, as Apache's scripts take them.

use std::path::Path;

use crate::{
    Properties, config,
    config::{Error, Keys as _},
    java_options::given,
};

config! {
    /// TLS of the ports and of connections to other servers.
    pub struct TlsKeys {
        /// What connections may begin with: `disabled`, `permissive` (plain or TLS) or `enforcing`.
        "tls.server.mode" => server_mode: String = given("tls.server.mode", "permissive"),
        /// Whether we connect with TLS to other servers.
        "tls.enable" => enable: bool = given("tls.enable", "false") == "true",
        /// Whether a self-signed certificate is made when none is configured.
        "tls.test.mode.enable" => test_mode_enable: bool = given("tls.test.mode.enable", "true") != "false",
        /// Private key in PEM.
        "tls.server.keyPath" => server_key_path: String = given("tls.server.keyPath", ""),
        /// Certificate chain in PEM.
        "tls.server.certPath" => server_cert_path: String = given("tls.server.certPath", ""),
        /// Password of the private key, if it is encrypted (PKCS #8).
        "tls.server.keyPassword" => server_key_password: String = given("tls.server.keyPassword", ""),
        /// Whether certificates of clients are asked for: `none`, `optional` or `require`.
        "tls.server.need.client.auth" => server_need_client_auth: String = given("tls.server.need.client.auth", "none"),
        /// Whether they are verified.
        "tls.server.authClient" => server_auth_client: bool = given("tls.server.authClient", "false") == "true",
        /// Certificates that clients are verified by, in PEM.
        "tls.server.trustCertPath" => server_trust_cert_path: String = given("tls.server.trustCertPath", ""),
        /// Private key that we show to other servers, in PEM.
        "tls.client.keyPath" => client_key_path: String = given("tls.client.keyPath", ""),
        /// Its certificate chain in PEM.
        "tls.client.certPath" => client_cert_path: String = given("tls.client.certPath", ""),
        /// Password of that key, if it is encrypted (PKCS #8).
        "tls.client.keyPassword" => client_key_password: String = given("tls.client.keyPassword", ""),
        /// Whether certificates of other servers are verified.
        "tls.client.authServer" => client_auth_server: bool = given("tls.client.authServer", "false") == "true",
        /// Certificates that they are verified by, in PEM.
        "tls.client.trustCertPath" => client_trust_cert_path: String = given("tls.client.trustCertPath", ""),
        /// Cipher suites that may be used, by Java's names, with commas; empty is all that are safe.
        "tls.ciphers" => ciphers: String = given("tls.ciphers", ""),
        /// Versions that may be used, of `TLSv1.2` and `TLSv1.3`, with commas; empty is both.
        "tls.protocols" => protocols: String = given("tls.protocols", ""),
        /// A file of these keys, which go before those here. It may be missing.
        "tls.config.file" => config_file: String = given("tls.config.file", "/etc/rocketmq/tls.properties"),
    }
}

impl TlsKeys {
    /// The value of each key, those of the file before ours.
    ///
    /// # Errors
    /// There is a file, and it cannot be read.
    pub fn values(&self) -> Result<impl Fn(&str) -> Option<String> + use<>, Error> {
        let path = Path::new(&self.config_file);
        let file = match path.try_exists() {
            Ok(true) => Some(Properties::load(path)?),
            _ => None,
        };
        let ours = self.clone();
        Ok(move |key: &str| {
            let of_file = file.as_ref().and_then(|file| file.get(key));
            match of_file {
                Some(value) => Some(value.trim().to_owned()),
                None => ours.text(key).flatten(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_goes_before_the_keys() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tls.properties");
        let mut keys = TlsKeys {
            config_file: path.display().to_string(),
            ..TlsKeys::default()
        };
        keys.put("tls.server.mode", "disabled").unwrap();
        let values = keys.values().unwrap();
        assert_eq!(values("tls.server.mode").as_deref(), Some("disabled"));
        assert_eq!(values("tls.enable").as_deref(), Some("false"));
        assert_eq!(values("nobody.knows"), None);
        std::fs::write(
            &path,
            "tls.server.mode = enforcing\ntls.server.keyPath=/k\n",
        )
        .unwrap();
        let values = keys.values().unwrap();
        assert_eq!(values("tls.server.mode").as_deref(), Some("enforcing"));
        assert_eq!(values("tls.server.keyPath").as_deref(), Some("/k"));
    }
}
