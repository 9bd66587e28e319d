// SPDX-License-Identifier: Apache-2.0
//! Signs requests, for servers with access lists.
//!
//! The signature is the HMAC-SHA1 of the values of all fields, in the order of their names, and of the
//! body. Apache: `AclClientRPCHook`, `AclUtils`.

use std::path::Path;

use aerobee_daemon::flags::rocketmq_home;
use aerobee_remoting::{WriteFields, header::FieldWriter};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac;

use crate::error::Error;

/// Who signs.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    access_key: String,
    secret_key: String,
    security_token: Option<String>,
}

impl std::fmt::Debug for Credentials {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Those of `conf/tools.yml` under `ROCKETMQ_HOME`, where Apache's tools have them; none without
    /// such a file.
    ///
    /// # Errors
    /// The file cannot be read, or lacks one of the keys.
    pub(crate) fn find() -> Result<Option<Self>, Error> {
        let Some(path) = rocketmq_home().map(|home| home.join("conf/tools.yml")) else {
            return Ok(None);
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, &path).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::File { path, source }),
        }
    }

    /// Reads lines of `key: value`, with or without quotes.
    fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let get = |wanted: &str| {
            text.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                let value = value.trim().trim_matches(['"', '\'']);
                (key.trim() == wanted && !value.is_empty()).then(|| value.to_owned())
            })
        };
        let need = |key: &str| {
            get(key).ok_or_else(|| Error::NotFound(format!("{} has no {key}", path.display())))
        };
        Ok(Self {
            access_key: need("accessKey")?,
            secret_key: need("secretKey")?,
            security_token: get("securityToken"),
        })
    }

    /// The fields of a request, signed.
    pub(crate) fn sign<H: WriteFields + ?Sized>(
        &self,
        header: &H,
        body: &[u8],
    ) -> Vec<(String, String)> {
        let mut fields = Fields::default();
        header.write(&mut fields);
        let mut fields = fields.0;
        fields.push(("AccessKey".to_owned(), self.access_key.clone()));
        if let Some(token) = &self.security_token {
            fields.push(("SecurityToken".to_owned(), token.clone()));
        }
        fields.sort();
        let mut content: Vec<u8> = fields.iter().flat_map(|(_, value)| value.bytes()).collect();
        content.extend_from_slice(body);
        let key = hmac::Key::new(
            hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            self.secret_key.as_bytes(),
        );
        let signature = STANDARD.encode(hmac::sign(&key, &content));
        fields.push(("Signature".to_owned(), signature));
        fields
    }
}

/// Fields as they go over the wire.
#[derive(Default)]
struct Fields(Vec<(String, String)>);

impl FieldWriter for Fields {
    fn pair(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), value.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use aerobee_remoting::header::route::GetRoute;

    use super::*;

    fn credentials(text: &str) -> Result<Credentials, Error> {
        Credentials::parse(text, Path::new("tools.yml"))
    }

    #[test]
    fn keys_are_read_with_and_without_quotes() {
        let plain =
            credentials("# mine\naccessKey: rocketmq2\nsecretKey: \"12345678\"\n").expect("keys");
        assert_eq!(plain.access_key, "rocketmq2");
        assert_eq!(plain.secret_key, "12345678");
        assert_eq!(plain.security_token, None);
        assert!(credentials("accessKey: a\n").is_err());
        assert!(!format!("{plain:?}").contains("12345678"));
    }

    #[test]
    fn the_signature_is_that_of_apaches_signer() {
        let keys = credentials("accessKey: rocketmq2\nsecretKey: 12345678").expect("keys");
        let header = GetRoute {
            topic: "TopicTest",
            accept_standard_json_only: Some(true),
            zone_mode: None,
            zone_name: None,
        };
        let fields = keys.sign(&header, b"body");
        let signature = fields
            .iter()
            .find(|(name, _)| name == "Signature")
            .map(|(_, value)| value.as_str());
        assert_eq!(signature, Some("vIUqXZlj1CFmAmuZaQ1kmmLK7pE="));
    }
}
