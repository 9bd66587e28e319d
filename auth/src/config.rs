// SPDX-License-Identifier: Apache-2.0
//! Keys of Apache's `AuthConfig`, which stand in `broker.conf` and in `rmq-proxy.json`.

use std::{collections::BTreeSet, time::Duration};

use aerobee_daemon::{config, config::Secret};
use serde::Deserialize;

use crate::sign::{Credentials, CredentialsError};

/// Names that Apache's keys for providers and strategies may have, without their package.
const PROVIDERS: &[(&str, &[&str])] = &[
    ("authenticationProvider", &["DefaultAuthenticationProvider"]),
    ("authorizationProvider", &["DefaultAuthorizationProvider"]),
    (
        "authenticationMetadataProvider",
        &[
            "LocalAuthenticationMetadataProvider",
            "ProxyAuthenticationMetadataProvider",
        ],
    ),
    (
        "authorizationMetadataProvider",
        &[
            "LocalAuthorizationMetadataProvider",
            "ProxyAuthorizationMetadataProvider",
        ],
    ),
];

config! {
    /// Users and access lists.
    pub struct AuthKeys {
        /// Whether requests must be signed by a user.
        "authenticationEnabled" important => authentication_enabled: bool = false,
        /// Whether users may do only what their access lists allow; needs `authenticationEnabled`.
        "authorizationEnabled" important => authorization_enabled: bool = false,
        /// How signatures are checked: empty or Apache's `DefaultAuthenticationProvider`.
        "authenticationProvider" => authentication_provider: String = String::new(),
        /// How access is decided: empty or Apache's `DefaultAuthorizationProvider`.
        "authorizationProvider" => authorization_provider: String = String::new(),
        /// Where users come from: empty or one of Apache's; the broker has its own file, a proxy asks a broker.
        "authenticationMetadataProvider" => authentication_metadata_provider: String = String::new(),
        /// Where access lists come from: empty or one of Apache's.
        "authorizationMetadataProvider" => authorization_metadata_provider: String = String::new(),
        /// `StatelessAuthenticationStrategy` (as when empty) checks the signature of each request,
        /// `StatefulAuthenticationStrategy` that of the first of a user on a connection.
        "authenticationStrategy" => authentication_strategy: String = String::new(),
        /// `StatelessAuthorizationStrategy` (as when empty) or `StatefulAuthorizationStrategy`: both remember
        /// what a connection was allowed until the user or its list changes.
        "authorizationStrategy" => authorization_strategy: String = String::new(),
        /// Request codes, and names of gRPC messages, that need no signature, separated by commas.
        "authenticationWhitelist" => authentication_whitelist: String = String::new(),
        /// Request codes, and names of gRPC messages, that every user may use, separated by commas.
        "authorizationWhitelist" => authorization_whitelist: String = String::new(),
        /// The first super user, `{"username":"NAME","password":"PASSWORD"}`: made at the start if there is none
        /// of this name.
        "initAuthenticationUser" => init_authentication_user: Secret = Secret::default(),
        /// What requests to other servers are signed with, `{"accessKey":"NAME","secretKey":"PASSWORD"}`: on the
        /// broker a super user, too, made at the start if there is none of this name.
        "innerClientAuthenticationCredentials" => inner_client_authentication_credentials: Secret = Secret::default(),
        /// How long a connection is believed with `StatefulAuthenticationStrategy`, s.
        "statefulAuthenticationCacheExpiredSecond" => stateful_authentication_cache_expired_second: i32 [1..=86_400] = 60,
    }
}

/// What is wrong with these keys.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Nobody would know who asks.
    #[error(
        "authorizationEnabled=true needs authenticationEnabled=true: without signatures anybody could claim to be anybody; set both, or neither"
    )]
    AuthorizationAlone,
    /// A class of somebody else cannot be loaded.
    #[error("{key}={value}: only Apache's own are known here ({known}); remove the key")]
    Provider {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        known: String,
    },
    /// A code is no number.
    #[error(
        "{key}: {value:?} is neither a request code nor the full name of a gRPC message such as apache.rocketmq.v2.QueryRouteRequest"
    )]
    Whitelist {
        /// The key.
        key: &'static str,
        /// The entry.
        value: String,
    },
    /// The credentials cannot be read.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The first user cannot be read. The text itself is not told: it holds a secret.
    #[error(
        r#"initAuthenticationUser must be {{"username":"NAME","password":"PASSWORD"}}, both not blank"#
    )]
    InitUser,
}

/// Requests that need no check: codes, and names of gRPC messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whitelist {
    codes: BTreeSet<i32>,
    messages: BTreeSet<String>,
}

impl Whitelist {
    fn parse(key: &'static str, list: &str) -> Result<Self, ConfigError> {
        let mut whitelist = Self::default();
        for entry in list.split(',').map(str::trim) {
            if let Ok(code) = entry.parse() {
                whitelist.codes.insert(code);
            } else if entry.contains('.') {
                whitelist.messages.insert(entry.to_owned());
            } else if !entry.is_empty() {
                let value = entry.to_owned();
                return Err(ConfigError::Whitelist { key, value });
            }
        }
        Ok(whitelist)
    }

    /// Whether it holds this code.
    #[must_use]
    pub fn has_code(&self, code: i32) -> bool {
        !self.codes.is_empty() && self.codes.contains(&code)
    }

    /// Whether it holds this message.
    #[must_use]
    pub fn has_message(&self, name: &str) -> bool {
        !self.messages.is_empty() && self.messages.contains(name)
    }
}

/// The keys, understood.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether requests must be signed.
    pub authentication: bool,
    /// Whether access lists count.
    pub authorization: bool,
    /// What needs no signature.
    pub unsigned: Whitelist,
    /// What every user may do.
    pub free: Whitelist,
    /// How long a connection is believed; `None` checks each signature.
    pub believed: Option<Duration>,
    /// The first super user and its password.
    pub first_user: Option<(String, String)>,
    /// What we sign with.
    pub credentials: Option<Credentials>,
    /// The secret key of that, to make a user of.
    pub credentials_secret: Option<String>,
}

/// Apache: `User`, as the key has it.
#[derive(Deserialize)]
struct FirstUser {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

impl AuthKeys {
    /// Understands the keys.
    ///
    /// # Errors
    /// They contradict each other, or one of them cannot be read.
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        if self.authorization_enabled && !self.authentication_enabled {
            return Err(ConfigError::AuthorizationAlone);
        }
        for (key, known) in PROVIDERS {
            known_class(key, self.provider(key), known)?;
        }
        let stateful = |key, value: &str, names: [&'static str; 2]| {
            known_class(key, value, &names).map(|()| class_of(value) == names[1])
        };
        let believed = stateful(
            "authenticationStrategy",
            &self.authentication_strategy,
            [
                "StatelessAuthenticationStrategy",
                "StatefulAuthenticationStrategy",
            ],
        )?;
        stateful(
            "authorizationStrategy",
            &self.authorization_strategy,
            [
                "StatelessAuthorizationStrategy",
                "StatefulAuthorizationStrategy",
            ],
        )?;
        let (credentials, credentials_secret) = self.credentials()?.unzip();
        let seconds = self
            .stateful_authentication_cache_expired_second
            .unsigned_abs();
        Ok(Settings {
            authentication: self.authentication_enabled,
            authorization: self.authorization_enabled,
            unsigned: Whitelist::parse("authenticationWhitelist", &self.authentication_whitelist)?,
            free: Whitelist::parse("authorizationWhitelist", &self.authorization_whitelist)?,
            believed: believed.then(|| Duration::from_secs(seconds.into())),
            first_user: self.first_user()?,
            credentials,
            credentials_secret,
        })
    }

    fn provider(&self, key: &str) -> &str {
        match key {
            "authenticationProvider" => &self.authentication_provider,
            "authorizationProvider" => &self.authorization_provider,
            "authenticationMetadataProvider" => &self.authentication_metadata_provider,
            _ => &self.authorization_metadata_provider,
        }
    }

    fn first_user(&self) -> Result<Option<(String, String)>, ConfigError> {
        let text = self.init_authentication_user.reveal().trim();
        if text.is_empty() {
            return Ok(None);
        }
        let user: FirstUser = serde_json::from_str(text).map_err(|_| ConfigError::InitUser)?;
        if user.username.trim().is_empty() || user.password.trim().is_empty() {
            return Err(ConfigError::InitUser);
        }
        Ok(Some((user.username, user.password)))
    }

    /// What requests to other servers are signed with, and its secret key.
    ///
    /// # Errors
    /// The text cannot be read.
    pub fn credentials(&self) -> Result<Option<(Credentials, String)>, ConfigError> {
        let text = self.inner_client_authentication_credentials.reveal().trim();
        if text.is_empty() {
            return Ok(None);
        }
        let place = "innerClientAuthenticationCredentials";
        Ok(Some(Credentials::from_json(text, place)?))
    }
}

/// The name of a Java class without its package.
fn class_of(name: &str) -> &str {
    name.trim().rsplit('.').next().unwrap_or_default()
}

fn known_class(key: &'static str, value: &str, known: &[&str]) -> Result<(), ConfigError> {
    let class = class_of(value);
    if class.is_empty() || known.contains(&class) {
        return Ok(());
    }
    Err(ConfigError::Provider {
        key,
        value: value.to_owned(),
        known: known.join(", "),
    })
}

#[cfg(test)]
mod tests {
    use aerobee_daemon::config::Keys as _;

    use super::*;

    fn keys(pairs: &[(&str, &str)]) -> AuthKeys {
        let mut keys = AuthKeys::default();
        for (key, value) in pairs {
            assert!(keys.put(key, value).unwrap(), "{key}");
        }
        keys
    }

    fn error(pairs: &[(&str, &str)]) -> String {
        keys(pairs).settings().unwrap_err().to_string()
    }

    #[test]
    fn authorization_needs_authentication() {
        let settings = keys(&[]).settings().unwrap();
        assert!(!settings.authentication && !settings.authorization);
        assert!(error(&[("authorizationEnabled", "true")]).contains("authenticationEnabled"));
        let both = [
            ("authorizationEnabled", "true"),
            ("authenticationEnabled", "true"),
        ];
        assert!(keys(&both).settings().unwrap().authorization);
    }

    #[test]
    fn apaches_classes_are_known_and_no_others() {
        let package = "org.apache.rocketmq.auth.authentication";
        let local = format!("{package}.provider.LocalAuthenticationMetadataProvider");
        let stateful = format!("{package}.strategy.StatefulAuthenticationStrategy");
        let settings = keys(&[
            ("authenticationMetadataProvider", &local),
            ("authenticationStrategy", &stateful),
            ("statefulAuthenticationCacheExpiredSecond", "5"),
        ])
        .settings()
        .unwrap();
        assert_eq!(settings.believed, Some(Duration::from_secs(5)));
        for key in ["authenticationProvider", "authorizationStrategy"] {
            let refused = error(&[(key, "com.example.Mine")]);
            assert!(
                refused.starts_with(&format!("{key}=com.example.Mine")),
                "{refused}"
            );
        }
    }

    #[test]
    fn white_lists_hold_codes_and_names_of_messages() {
        let list = [(
            "authenticationWhitelist",
            " 105, 34 ,apache.rocketmq.v2.QueryRouteRequest,",
        )];
        let settings = keys(&list).settings().unwrap();
        assert!(settings.unsigned.has_code(105) && settings.unsigned.has_code(34));
        assert!(!settings.unsigned.has_code(10) && !settings.free.has_code(105));
        assert!(
            settings
                .unsigned
                .has_message("apache.rocketmq.v2.QueryRouteRequest")
        );
        assert!(error(&[("authorizationWhitelist", "10,all")]).contains("\"all\""));
    }

    #[test]
    fn secrets_are_read_and_never_shown() {
        let keys = keys(&[
            (
                "initAuthenticationUser",
                r#"{"username":"root","password":"hidden1"}"#,
            ),
            (
                "innerClientAuthenticationCredentials",
                r#"{"accessKey":"in","secretKey":"hidden2"}"#,
            ),
        ]);
        let settings = keys.settings().unwrap();
        let first = settings.first_user.unwrap();
        assert_eq!(first, ("root".to_owned(), "hidden1".to_owned()));
        assert_eq!(settings.credentials.unwrap().access_key(), "in");
        assert_eq!(settings.credentials_secret.as_deref(), Some("hidden2"));
        let mut shown = format!("{keys:?}");
        for key in [
            "initAuthenticationUser",
            "innerClientAuthenticationCredentials",
        ] {
            shown += &keys.text(key).flatten().unwrap();
        }
        assert!(!shown.contains("hidden"), "{shown}");
        for bad in [
            r#"{"username":"root","password":"hidden"#,
            r#"{"username":"root"}"#,
        ] {
            let error = error(&[("initAuthenticationUser", bad)]);
            assert!(!error.contains("hidden"), "{error}");
        }
    }
}
