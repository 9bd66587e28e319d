// SPDX-License-Identifier: Apache-2.0
//! Stands in front of the processors of a server and lets in whoever may do what he asks for (Apache:
//! `broker/auth/pipeline/*.java`, `auth/authentication/strategy`, `auth/authorization/strategy`).
//!
//! A verdict depends on nothing but the user with its list, the request's resources and actions, and the
//! address of the other end. So a connection remembers what it was allowed for as long as the account is
//! the same object; a change of the user or its list makes another one. Only the signature is a matter of
//! each request, unless the configuration says that a connection is believed for a while.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use aerobee_remoting::{Command, Connection, header::auth::ACCESS_KEY};
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::{
    account::Account,
    authenticate,
    authorize::{self, Want, Wants},
    config::Settings,
    log::Log,
    policy::{Actions, Asked, Decision, ResourceType},
    user::{UserStatus, UserType},
};

/// Most resources that a connection remembers; with one more it begins anew.
const REMEMBERED_MAX: usize = 256;

/// Why a request is not let in; in Apache's words, where it has some.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Denied(pub String);

fn denied<T>(why: impl Into<String>) -> Result<T, Denied> {
    Err(Denied(why.into()))
}

/// What a connection was allowed.
#[derive(Debug, Default)]
pub struct Verdicts(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// For whom; whatever is remembered goes with it.
    account: Option<Arc<Account>>,
    /// When a signature of it was last found right.
    signed: Option<Instant>,
    /// Resources by name.
    allowed: HashMap<Box<str>, SmallVec<[(ResourceType, Actions); 2]>>,
}

impl Remembered {
    fn begin(&mut self, account: &Arc<Account>) {
        let known = self.account.as_ref();
        if !known.is_some_and(|known| Arc::ptr_eq(known, account)) {
            *self = Self {
                account: Some(Arc::clone(account)),
                ..Self::default()
            };
        }
    }

    fn is_signed(&self, within: Option<Duration>) -> bool {
        let signed = self.signed.zip(within);
        signed.is_some_and(|(signed, within)| signed.elapsed() < within)
    }

    fn is_allowed(&self, want: &Want<'_>) -> bool {
        let known = self.allowed.get(&*want.name);
        known.is_some_and(|known| known.contains(&(want.kind, want.actions)))
    }

    fn allow(&mut self, want: &Want<'_>) {
        if self.allowed.len() >= REMEMBERED_MAX && !self.allowed.contains_key(&*want.name) {
            self.allowed.clear();
        }
        let name: Box<str> = Box::from(&*want.name);
        self.allowed
            .entry(name)
            .or_default()
            .push((want.kind, want.actions));
    }
}

/// Who asks for what: a request of either protocol.
pub trait Claim {
    /// What it is called in the log.
    fn name(&self) -> &dyn fmt::Display;
    /// The user that it claims to be of; empty if of none.
    fn username(&self) -> &str;
    /// The other end.
    fn peer(&self) -> Option<SocketAddr>;
    /// Whether it needs no signature, and no right.
    fn is_listed(&self, settings: &Settings) -> (bool, bool);
    /// Whether the account's key has signed it.
    fn is_signed(&self, account: &Account) -> bool;
    /// What it needs.
    ///
    /// # Errors
    /// It does not say enough to tell.
    fn wants(&self) -> Result<Wants<'_>, Denied>;
}

/// A request of the remoting protocol.
struct Requested<'c, 'a> {
    command: &'c Command<'a>,
    username: &'a str,
    peer: SocketAddr,
    cluster: &'a str,
}

impl Claim for Requested<'_, '_> {
    fn name(&self) -> &dyn fmt::Display {
        &self.command.code
    }

    fn username(&self) -> &str {
        self.username
    }

    fn peer(&self) -> Option<SocketAddr> {
        Some(self.peer)
    }

    fn is_listed(&self, settings: &Settings) -> (bool, bool) {
        let code = self.command.code;
        (
            settings.unsigned.has_code(code),
            settings.free.has_code(code),
        )
    }

    fn is_signed(&self, account: &Account) -> bool {
        authenticate::is_signed(self.command, account)
    }

    fn wants(&self) -> Result<Wants<'_>, Denied> {
        authorize::wants(self.command, self.cluster).map_err(|authorize::Unreadable| {
            Denied("parse authorization context error.".to_owned())
        })
    }
}

/// Lets requests in, or does not.
#[derive(Debug)]
pub struct Guard {
    settings: Settings,
    /// Name of the cluster whose resources are meant.
    cluster: String,
    log: Log,
}

impl Guard {
    /// A guard, if there is something to guard.
    #[must_use]
    pub fn new(settings: Settings, cluster: &str) -> Option<Self> {
        settings.authentication.then(|| Self {
            settings,
            cluster: cluster.to_owned(),
            log: Log::default(),
        })
    }

    /// The user that a request of the remoting protocol claims to be of; empty if of none.
    #[must_use]
    pub fn claimed<'a>(command: &Command<'a>) -> &'a str {
        command.fields.get(ACCESS_KEY).unwrap_or_default()
    }

    /// Whether a request of the remoting protocol is let in; `account` is that of [`Guard::claimed`].
    ///
    /// # Errors
    /// It is not.
    #[inline]
    pub fn admit(
        &self,
        command: &Command<'_>,
        connection: &Connection,
        account: Option<&Arc<Account>>,
    ) -> Result<(), Denied> {
        let claim = Requested {
            command,
            username: Self::claimed(command),
            peer: connection.peer(),
            cluster: &self.cluster,
        };
        match connection.attached() {
            Some(verdicts) => self.admit_claim(&claim, verdicts, account),
            None => self.admit_claim(&claim, &Verdicts::default(), account),
        }
    }

    /// Whether a request of any protocol is let in; `verdicts` are those of its connection, `account` is
    /// that of the user that it claims to be of.
    ///
    /// # Errors
    /// It is not.
    pub fn admit_claim(
        &self,
        claim: &dyn Claim,
        verdicts: &Verdicts,
        account: Option<&Arc<Account>>,
    ) -> Result<(), Denied> {
        let outcome = self.decide(claim, verdicts, account);
        if let Err(Denied(reason)) = &outcome {
            self.log
                .refused(claim.username(), claim.name(), claim.peer(), reason);
        }
        outcome
    }

    fn decide(
        &self,
        claim: &dyn Claim,
        verdicts: &Verdicts,
        account: Option<&Arc<Account>>,
    ) -> Result<(), Denied> {
        let (unsigned, free) = claim.is_listed(&self.settings);
        let free = free || !self.settings.authorization;
        if unsigned && free {
            return Ok(());
        }
        if unsigned && claim.username().is_empty() {
            // Apache's builder of contexts fails here, with these words.
            return match claim.wants()? {
                Wants::Each(wants) if wants.is_empty() => Ok(()),
                _ => {
                    denied("Authorization failed. Please verify your access rights and try again.")
                }
            };
        }
        // A request that needs no signature but claims to be of somebody has to prove it all the same
        // where the rights of a user count.
        let username = claim.username();
        if username.is_empty() {
            return denied("username cannot be null.");
        }
        let Some(account) = account else {
            return denied(format!("User:{username} is not found."));
        };
        let user = account.user();
        if user.user_status == UserStatus::Disable {
            return denied(format!("User:{username} is disabled."));
        }
        let mut remembered = verdicts.0.lock();
        remembered.begin(account);
        if !remembered.is_signed(self.settings.believed) {
            if !claim.is_signed(account) {
                return denied("check signature failed.");
            }
            if self.settings.believed.is_some() {
                remembered.signed = Some(Instant::now());
            }
        }
        if free || user.user_type == UserType::Super {
            return Ok(());
        }
        let from = claim.peer().map(|peer| peer.ip());
        match claim.wants()? {
            Wants::Each(wants) => wants.iter().try_for_each(|want| {
                if remembered.is_allowed(want) {
                    return Ok(());
                }
                allows(account, want, from)?;
                remembered.allow(want);
                Ok(())
            }),
            Wants::Super => {
                let (what, from) = (claim.name(), Place(from));
                denied(format!(
                    "User:{username} has no permission to access Request:{what} from {from}, only super users have."
                ))
            }
        }
    }
}

fn allows(account: &Account, want: &Want<'_>, from: Option<IpAddr>) -> Result<(), Denied> {
    let asked = Asked {
        kind: want.kind,
        name: &want.name,
        actions: want.actions,
        from,
    };
    let why = match account.acl().and_then(|acl| acl.decide(&asked)) {
        Some(Decision::Allow) => return Ok(()),
        Some(Decision::Deny) => "the decision is deny.",
        None => "no matched policies.",
    };
    denied(format!(
        "User:{} has no permission to access {}:{} from {}, {why}",
        account.user().username,
        want.kind.name(),
        want.name,
        Place(from),
    ))
}

/// Where a request comes from.
struct Place(Option<IpAddr>);

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(formatter),
            None => formatter.write_str("null"),
        }
    }
}

#[cfg(test)]
mod tests;
