// SPDX-License-Identifier: Apache-2.0
//! Signs requests, for servers with access lists.
//!
//! The signature is the HMAC-SHA1 of the values of all fields, in the order of their names, and of the
//! body. Apache: `AclClientRPCHook`, `AclUtils`, `AclSigner`.

use std::{fmt, path::Path};

use aerobee_remoting::{
    OwnedFields, client::Signer, header::FieldWriter as _, header::auth as names,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac;
use serde::Deserialize;

/// Who signs.
#[derive(Clone)]
pub struct Credentials {
    access_key: String,
    key: hmac::Key,
    security_token: Option<String>,
}

impl fmt::Debug for Credentials {
    /// Without the secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

/// Why there are no credentials to sign with.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A key is missing.
    #[error("{place} has no {key}")]
    Missing {
        /// File or configuration key.
        place: String,
        /// What is missing.
        key: &'static str,
    },
    /// It is no JSON.
    #[error(
        r#"{place} must be {{"accessKey":"NAME","secretKey":"PASSWORD"}}: not readable as JSON at column {column}"#
    )]
    Json {
        /// The configuration key.
        place: &'static str,
        /// Where it went wrong. The text itself is not told: it holds a secret.
        column: usize,
    },
}

/// Apache: `SessionCredentials`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Given {
    #[serde(default)]
    access_key: String,
    #[serde(default)]
    secret_key: String,
    security_token: Option<String>,
}

impl Credentials {
    /// These.
    #[must_use]
    pub fn new(access_key: &str, secret_key: &str, security_token: Option<&str>) -> Self {
        Self {
            access_key: access_key.to_owned(),
            key: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret_key.as_bytes()),
            security_token: security_token.map(str::to_owned),
        }
    }

    /// Those of a text `{"accessKey":"NAME","secretKey":"PASSWORD"}`; `place` is where it stands. The
    /// secret key is returned, too.
    ///
    /// # Errors
    /// It is another text.
    pub fn from_json(text: &str, place: &'static str) -> Result<(Self, String), CredentialsError> {
        let given: Given = serde_json::from_str(text).map_err(|error| CredentialsError::Json {
            place,
            column: error.column(),
        })?;
        for (key, value) in [
            ("accessKey", &given.access_key),
            ("secretKey", &given.secret_key),
        ] {
            if value.trim().is_empty() {
                let place = place.to_owned();
                return Err(CredentialsError::Missing { place, key });
            }
        }
        let token = given.security_token.as_deref();
        let credentials = Self::new(&given.access_key, &given.secret_key, token);
        Ok((credentials, given.secret_key))
    }

    /// Those of a text of lines `key: value`, with or without quotes, such as Apache's `tools.yml`.
    ///
    /// # Errors
    /// It lacks one of the keys.
    pub fn from_yaml(text: &str, path: &Path) -> Result<Self, CredentialsError> {
        let get = |wanted: &str| {
            text.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                let value = value.trim().trim_matches(['"', '\'']);
                (key.trim() == wanted && !value.is_empty()).then(|| value.to_owned())
            })
        };
        let need = |key: &'static str| {
            get(key).ok_or_else(|| CredentialsError::Missing {
                place: path.display().to_string(),
                key,
            })
        };
        let (access_key, secret_key) = (need("accessKey")?, need("secretKey")?);
        let token = get("securityToken");
        Ok(Self::new(&access_key, &secret_key, token.as_deref()))
    }

    /// The signature of a request, whose values in the order of their fields' names are `values`: always 28
    /// letters.
    #[must_use]
    pub fn signature(&self, values: &[u8], body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(values);
        context.update(body);
        STANDARD.encode(context.sign())
    }

    /// The name of the user.
    #[must_use]
    pub fn access_key(&self) -> &str {
        &self.access_key
    }
}

impl Signer for Credentials {
    fn sign(&self, fields: &mut OwnedFields, body: &[u8]) {
        fields.pair(names::ACCESS_KEY, &self.access_key);
        if let Some(token) = &self.security_token {
            fields.pair(names::SECURITY_TOKEN, token);
        }
        let mut sorted: Vec<_> = fields.fields().iter().collect();
        sorted.sort_unstable();
        let mut context = hmac::Context::with_key(&self.key);
        for (_, value) in sorted {
            context.update(value.as_bytes());
        }
        context.update(body);
        fields.pair(names::SIGNATURE, &STANDARD.encode(context.sign()));
    }
}

#[cfg(test)]
mod tests {
    use aerobee_remoting::header::{WriteFields as _, route::GetRoute};

    use super::*;

    #[test]
    fn keys_are_read_with_and_without_quotes() {
        let read = |text: &str| Credentials::from_yaml(text, Path::new("tools.yml"));
        let keys = read("# mine\naccessKey: rocketmq2\nsecretKey: \"12345678\"\n").unwrap();
        assert_eq!(keys.access_key(), "rocketmq2");
        assert_eq!(keys.security_token, None);
        let missing = read("accessKey: a\n").unwrap_err().to_string();
        assert_eq!(missing, "tools.yml has no secretKey");
        assert!(!format!("{keys:?}").contains("12345678"));
    }

    #[test]
    fn json_is_read_and_its_errors_do_not_tell_the_secret() {
        let read =
            |text: &str| Credentials::from_json(text, "innerClientAuthenticationCredentials");
        let (keys, secret) = read(r#"{"accessKey":"a","secretKey":"hidden"}"#).unwrap();
        assert_eq!((keys.access_key(), secret.as_str()), ("a", "hidden"));
        for bad in [
            r#"{"accessKey":"a","secretKey":"hidden"#,
            r#"{"secretKey":"hidden"}"#,
        ] {
            let error = read(bad).unwrap_err().to_string();
            assert!(!error.contains("hidden"), "{error}");
        }
    }

    #[test]
    fn the_signature_is_that_of_apaches_signer() {
        let header = GetRoute {
            topic: "TopicTest",
            accept_standard_json_only: Some(true),
            zone_mode: None,
            zone_name: None,
        };
        let mut fields = OwnedFields::default();
        header.write(&mut fields);
        Credentials::new("rocketmq2", "12345678", None).sign(&mut fields, b"body");
        let signature = fields.fields().get("Signature");
        assert_eq!(signature, Some("vIUqXZlj1CFmAmuZaQ1kmmLK7pE="));
    }
}
