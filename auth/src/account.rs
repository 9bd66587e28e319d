// SPDX-License-Identifier: Apache-2.0
//! A user with all that is decided by: its prepared key and its access list. Never changed; a change of
//! the user or of the list makes another one, so whoever remembers a verdict remembers it together with
//! the account that it was made for.

use std::fmt;

use ring::hmac;

use crate::{policy::Acl, user::User};

/// A user, ready to be checked.
pub struct Account {
    user: User,
    key: hmac::Key,
    acl: Option<Acl>,
}

impl Account {
    /// Prepares the key.
    #[must_use]
    pub fn new(user: User, acl: Option<Acl>) -> Self {
        let key = hmac::Key::new(
            hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            user.password.as_bytes(),
        );
        Self { user, key, acl }
    }

    /// The user.
    #[must_use]
    pub fn user(&self) -> &User {
        &self.user
    }

    /// The access list, if there is one.
    #[must_use]
    pub fn acl(&self) -> Option<&Acl> {
        self.acl.as_ref()
    }

    /// What signatures are made with.
    pub(crate) fn key(&self) -> &hmac::Key {
        &self.key
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Account")
            .field("user", &self.user)
            .field("acl", &self.acl)
            .finish_non_exhaustive()
    }
}
