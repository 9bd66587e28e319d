// SPDX-License-Identifier: Apache-2.0
//! Users. Apache: `auth/authentication/model/User.java`.

use std::fmt;

use aerobee_remoting::body::auth::User as Told;
use serde::{Deserialize, Serialize};

/// What a user is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserType {
    /// May do everything.
    Super,
    /// May do what the access list says.
    Normal,
}

impl UserType {
    /// By Apache's name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Super, Self::Normal]
            .into_iter()
            .find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    /// Apache's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Super => "Super",
            Self::Normal => "Normal",
        }
    }
}

/// Whether a user is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserStatus {
    /// Let in.
    Enable,
    /// Kept out, whatever it signs.
    Disable,
}

impl UserStatus {
    /// By Apache's name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Enable, Self::Disable]
            .into_iter()
            .find(|status| status.name().eq_ignore_ascii_case(name))
    }

    /// Apache's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Enable => "enable",
            Self::Disable => "disable",
        }
    }
}

/// A user.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// The name, which clients send as their access key.
    pub username: String,
    /// The password, which clients sign with as their secret key. Signatures need it as it is, so no
    /// digest of it could be kept in its place.
    pub password: String,
    /// What it is.
    pub user_type: UserType,
    /// Whether it is let in.
    pub user_status: UserStatus,
}

impl User {
    /// As it is told over the wire.
    #[must_use]
    pub fn told(&self, with_password: bool) -> Told {
        Told {
            password: with_password.then(|| self.password.clone()),
            user_status: Some(self.user_status.name().to_owned()),
            user_type: Some(self.user_type.name().to_owned()),
            username: Some(self.username.clone()),
        }
    }
}

impl fmt::Debug for User {
    /// Without the password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("User")
            .field("username", &self.username)
            .field("user_type", &self.user_type)
            .field("user_status", &self.user_status)
            .finish_non_exhaustive()
    }
}

/// What of a user is to be another; what is `None` stays.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct UserChange {
    /// The name.
    pub username: String,
    /// A new password; a blank one is none.
    pub password: Option<String>,
    /// What it is.
    pub user_type: Option<UserType>,
    /// Whether it is let in.
    pub user_status: Option<UserStatus>,
}

impl UserChange {
    /// What a request says of the user `username`. As with Apache, names of types and states that are
    /// unknown say nothing.
    #[must_use]
    pub fn of(username: &str, told: Told) -> Self {
        Self {
            username: username.to_owned(),
            password: told.password,
            user_type: told.user_type.as_deref().and_then(UserType::from_name),
            user_status: told.user_status.as_deref().and_then(UserStatus::from_name),
        }
    }
}

impl fmt::Debug for UserChange {
    /// Without the password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("UserChange")
            .field("username", &self.username)
            .field("user_type", &self.user_type)
            .field("user_status", &self.user_status)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_in_any_case_and_passwords_are_not_printed() {
        assert_eq!(UserType::from_name("SUPER"), Some(UserType::Super));
        assert_eq!(UserStatus::from_name("Disable"), Some(UserStatus::Disable));
        assert_eq!(UserType::from_name("root"), None);
        let told = Told {
            password: Some("hidden".to_owned()),
            user_type: Some("normal".to_owned()),
            ..Told::default()
        };
        let change = UserChange::of("a", told);
        assert_eq!(change.user_type, Some(UserType::Normal));
        assert!(!format!("{change:?}").contains("hidden"));
        let user = User {
            username: "a".to_owned(),
            password: "hidden".to_owned(),
            user_type: UserType::Super,
            user_status: UserStatus::Enable,
        };
        assert!(!format!("{user:?}").contains("hidden"));
        assert_eq!(user.told(false).password, None);
    }
}
