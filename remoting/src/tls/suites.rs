// SPDX-License-Identifier: Apache-2.0
//! Versions of TLS and cipher suites that may be used, by the names that Java gives them.

use std::sync::Arc;

use rustls::{
    ALL_VERSIONS, CipherSuite, ProtocolVersion, SupportedProtocolVersion,
    crypto::{CryptoProvider, ring},
};

use super::TlsError;

/// What both sides of a connection may use.
#[derive(Debug, Clone)]
pub struct Suites {
    /// Cipher suites, with what they are made of.
    pub provider: Arc<CryptoProvider>,
    /// Versions of the protocol.
    pub versions: Vec<&'static SupportedProtocolVersion>,
}

impl Default for Suites {
    fn default() -> Self {
        Self {
            provider: Arc::new(ring::default_provider()),
            versions: ALL_VERSIONS.to_vec(),
        }
    }
}

impl Suites {
    /// Those of two lists with commas, as `tls.ciphers` and `tls.protocols` have them; an empty one
    /// stands for all that are known. What is not known is passed over, as it is not safe or does not
    /// exist, and told in the log.
    ///
    /// # Errors
    /// Nothing is left.
    pub fn of(ciphers: &str, protocols: &str) -> Result<Self, TlsError> {
        let mut suites = Self::default();
        let versions = choose("tls.protocols", protocols, &suites.versions, |version| {
            version_name(version.version)
        })?;
        let mut provider = ring::default_provider();
        provider
            .cipher_suites
            .retain(|suite| versions.contains(&suite.version()));
        provider.cipher_suites =
            choose("tls.ciphers", ciphers, &provider.cipher_suites, |suite| {
                suite_name(suite.suite())
            })?;
        // A version without a suite could not be agreed on.
        let usable = |version: &&&'static SupportedProtocolVersion| {
            let mut all = provider.cipher_suites.iter();
            all.any(|suite| suite.version() == **version)
        };
        suites.versions = versions.iter().filter(usable).copied().collect();
        suites.provider = Arc::new(provider);
        Ok(suites)
    }
}

/// Those of `known` that a list names, in its order.
fn choose<T: Copy>(
    key: &'static str,
    list: &str,
    known: &[T],
    name: impl Fn(&T) -> String,
) -> Result<Vec<T>, TlsError> {
    let mut wanted = list
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    let mut chosen = Vec::new();
    let mut is_empty = true;
    for one in &mut wanted {
        is_empty = false;
        match known.iter().find(|known| name(known) == one) {
            Some(found) => chosen.push(*found),
            None => tracing::warn!(key, name = one, "not known here, or not safe: passed over"),
        }
    }
    if is_empty {
        return Ok(known.to_vec());
    }
    if chosen.is_empty() {
        let all: Vec<String> = known.iter().map(name).collect();
        return Err(TlsError::Suites {
            key,
            value: list.to_owned(),
            known: all.join(", "),
        });
    }
    Ok(chosen)
}

fn version_name(version: ProtocolVersion) -> String {
    match version {
        ProtocolVersion::TLSv1_2 => "TLSv1.2".to_owned(),
        ProtocolVersion::TLSv1_3 => "TLSv1.3".to_owned(),
        other => format!("{other:?}"),
    }
}

fn suite_name(suite: CipherSuite) -> String {
    // Ours tells the version, Java's does not.
    format!("{suite:?}").replacen("TLS13_", "TLS_", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(suites: &Suites) -> (Vec<String>, Vec<String>) {
        let versions = suites.versions.iter();
        let ciphers = suites.provider.cipher_suites.iter();
        (
            ciphers.map(|suite| suite_name(suite.suite())).collect(),
            versions
                .map(|version| version_name(version.version))
                .collect(),
        )
    }

    #[test]
    fn without_lists_all_that_is_safe_may_be_used() {
        let (ciphers, versions) = names(&Suites::of("", " ").unwrap());
        assert_eq!(versions.len(), 2);
        assert!(ciphers.len() > 6, "{ciphers:?}");
    }

    #[test]
    fn lists_choose_and_keep_their_order() {
        let ciphers = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, SSL_RSA_WITH_RC4_128_MD5,TLS_AES_256_GCM_SHA384";
        let (ciphers, versions) = names(&Suites::of(ciphers, "TLSv1.1,TLSv1.2,TLSv1.3").unwrap());
        assert_eq!(
            ciphers,
            [
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
                "TLS_AES_256_GCM_SHA384"
            ]
        );
        assert_eq!(versions, ["TLSv1.2", "TLSv1.3"]);
        // A version whose suites are all left out is left out too.
        let (_, versions) = names(&Suites::of("TLS_AES_256_GCM_SHA384", "").unwrap());
        assert_eq!(versions, ["TLSv1.3"]);
    }

    #[test]
    fn nothing_left_is_refused_with_what_there_is() {
        for (ciphers, protocols) in [
            ("SSL_RSA_WITH_RC4_128_MD5", ""),
            ("", "SSLv3"),
            ("TLS_AES_256_GCM_SHA384", "TLSv1.2"),
        ] {
            let error = Suites::of(ciphers, protocols).unwrap_err().to_string();
            assert!(error.contains("known are TLS"), "{error}");
        }
    }
}
