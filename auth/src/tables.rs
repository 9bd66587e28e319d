// SPDX-License-Identifier: Apache-2.0
//! Users and access lists of a broker, and the file that keeps them (Apache:
//! `auth/authentication/manager/*.java`, `auth/authorization/manager/*.java`).
//!
//! Apache keeps them in two RocksDB databases below `config`, `users` and `acls`; here they are one small
//! file, `config/auth.json`, which Apache's broker does not look at. Readers take a snapshot. A change is
//! written to the file first and counts only then, so what was answered is durable.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use aerobee_daemon::persist;
use aerobee_remoting::body::auth::{Acl as ToldAcl, User as ToldUser};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{
    account::Account,
    policy::{Acl, BadAcl, PolicyType, Resource},
    user::{User, UserChange, UserStatus, UserType},
};

/// Most users.
pub const USERS_MAX: usize = 100_000;
/// Longest name of a user and longest password, bytes.
pub const NAME_BYTES_MAX: usize = 1024;
/// What stands before the name of a user where a subject is meant.
const USER_PREFIX: &str = "User:";

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// It asks for something that cannot be; Apache's words, where it has some.
    #[error("{0}")]
    Refused(String),
    /// It could not be written; nothing has changed.
    #[error(transparent)]
    Persist(#[from] persist::Error),
}

impl From<BadAcl> for ChangeError {
    fn from(bad: BadAcl) -> Self {
        Self::Refused(bad.0.to_owned())
    }
}

fn refused<T>(why: impl Into<String>) -> Result<T, ChangeError> {
    Err(ChangeError::Refused(why.into()))
}

/// All users with their lists, by name.
type Accounts = BTreeMap<Arc<str>, Arc<Account>>;

/// The file's content.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    /// Of this file's form, for versions to come.
    version: u32,
    users: Vec<Line>,
}

/// A user in the file.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    user: User,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    acl: Option<ToldAcl>,
}

/// Form of the file.
const VERSION: u32 = 1;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
enum ContentError {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("version {0} of this file is newer than this program")]
    Version(u32),
    #[error("the access list of user {user}: {source}")]
    Acl { user: String, source: BadAcl },
}

impl Content {
    fn parse(bytes: &[u8]) -> Result<Accounts, ContentError> {
        let content: Self = serde_json::from_slice(bytes)?;
        if content.version > VERSION {
            return Err(ContentError::Version(content.version));
        }
        let users = content.users.into_iter().map(|Line { user, acl }| {
            let acl = acl.as_ref().map(Acl::of).transpose();
            let acl = acl.map_err(|source| ContentError::Acl {
                user: user.username.clone(),
                source,
            })?;
            let name = Arc::from(user.username.as_str());
            Ok((name, Arc::new(Account::new(user, acl))))
        });
        users.collect()
    }

    fn of(accounts: &Accounts) -> Self {
        let line = |account: &Arc<Account>| Line {
            user: account.user().clone(),
            acl: account
                .acl()
                .map(|acl| acl.told(&subject_of(&account.user().username), None)),
        };
        Self {
            version: VERSION,
            users: accounts.values().map(line).collect(),
        }
    }
}

/// `User:name`.
fn subject_of(username: &str) -> String {
    format!("{USER_PREFIX}{username}")
}

/// The name of the user that a subject is.
///
/// # Errors
/// It is none.
pub fn user_of(subject: &str) -> Result<&str, ChangeError> {
    let kind = subject.get(..USER_PREFIX.len());
    let is_user = kind.is_some_and(|kind| kind.eq_ignore_ascii_case(USER_PREFIX));
    match subject.get(USER_PREFIX.len()..) {
        Some(name) if is_user => Ok(name),
        _ => refused("The subject type is null."),
    }
}

/// Users and access lists.
#[derive(Debug)]
pub struct Tables {
    accounts: ArcSwap<Accounts>,
    /// Held from reading the accounts until the changed ones are in the file.
    changing: Mutex<()>,
    file: PathBuf,
}

impl Tables {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// It cannot be read or understood, nor can its backup.
    pub fn open(file: &Path) -> Result<Self, persist::Error> {
        let accounts = persist::load(file, Content::parse)?;
        Ok(Self {
            accounts: ArcSwap::from_pointee(accounts.unwrap_or_default()),
            changing: Mutex::default(),
            file: file.to_owned(),
        })
    }

    /// A user, ready to be checked.
    #[must_use]
    pub fn account(&self, username: &str) -> Option<Arc<Account>> {
        self.accounts.load().get(username).cloned()
    }

    /// Whether there is no user.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accounts.load().is_empty()
    }

    /// Makes a user who can do everything, if there is none of this name. May block.
    ///
    /// # Errors
    /// The name or the password is blank or too long, or it could not be written.
    pub fn ensure_super(&self, username: &str, password: &str) -> Result<bool, ChangeError> {
        if self.account(username).is_some() {
            return Ok(false);
        }
        self.create_user(UserChange {
            username: username.to_owned(),
            password: Some(password.to_owned()),
            user_type: Some(UserType::Super),
            user_status: None,
        })?;
        Ok(true)
    }

    /// Makes a user. May block.
    ///
    /// # Errors
    /// It exists, or lacks a name or a password, or it could not be written.
    pub fn create_user(&self, user: UserChange) -> Result<(), ChangeError> {
        let UserChange {
            username,
            password,
            user_type,
            user_status,
        } = user;
        check_text(&username, "username")?;
        let password = password.unwrap_or_default();
        check_text(&password, "password")?;
        self.change(|accounts| {
            if accounts.contains_key(username.as_str()) {
                return refused("The user is existed");
            }
            if accounts.len() >= USERS_MAX {
                return refused(format!("There are {USERS_MAX} users already: delete some"));
            }
            let user = User {
                username: username.clone(),
                password,
                user_type: user_type.unwrap_or(UserType::Normal),
                user_status: user_status.unwrap_or(UserStatus::Enable),
            };
            accounts.insert(username.into(), Arc::new(Account::new(user, None)));
            Ok(())
        })
    }

    /// Changes a user. May block.
    ///
    /// # Errors
    /// There is none, or it could not be written.
    pub fn update_user(&self, change: UserChange) -> Result<(), ChangeError> {
        check_text(&change.username, "username")?;
        let password = change
            .password
            .filter(|password| !password.trim().is_empty());
        if let Some(password) = &password {
            check_text(password, "password")?;
        }
        self.change(|accounts| {
            let Some(account) = accounts.get_mut(change.username.as_str()) else {
                return refused("The user is not exist");
            };
            let mut user = account.user().clone();
            user.password = password.unwrap_or(user.password);
            user.user_type = change.user_type.unwrap_or(user.user_type);
            user.user_status = change.user_status.unwrap_or(user.user_status);
            *account = Arc::new(Account::new(user, account.acl().cloned()));
            Ok(())
        })
    }

    /// Deletes a user and its access list; one that is not there is a success. May block.
    ///
    /// # Errors
    /// It could not be written.
    pub fn delete_user(&self, username: &str) -> Result<(), ChangeError> {
        self.change(|accounts| {
            accounts.remove(username);
            Ok(())
        })
    }

    /// The users whose names hold `filter`, by name.
    #[must_use]
    pub fn users(&self, filter: Option<&str>, with_passwords: bool) -> Vec<ToldUser> {
        let filter = filter.filter(|filter| !filter.trim().is_empty());
        let accounts = self.accounts.load();
        accounts
            .values()
            .map(|account| account.user())
            .filter(|user| filter.is_none_or(|filter| user.username.contains(filter)))
            .map(|user| user.told(with_passwords))
            .collect()
    }

    /// Adds to the access list of a user, or replaces what it says of the same resources. May block.
    ///
    /// # Errors
    /// There is no such user, the list says too little, or it could not be written.
    pub fn put_acl(&self, subject: &str, told: &ToldAcl) -> Result<(), ChangeError> {
        let username = user_of(subject)?;
        let acl = Acl::of(told)?;
        self.change(|accounts| {
            let Some(account) = accounts.get_mut(username) else {
                return refused(format!("The subject of {subject} is not exist."));
            };
            let mut whole = account.acl().cloned().unwrap_or_default();
            whole.update(&acl)?;
            *account = Arc::new(Account::new(account.user().clone(), Some(whole)));
            Ok(())
        })
    }

    /// Deletes the access list of a user, or what it says of one resource. May block.
    ///
    /// # Errors
    /// There is no such user or no list, or it could not be written.
    pub fn delete_acl(
        &self,
        subject: &str,
        kind: Option<PolicyType>,
        resource: Option<&str>,
    ) -> Result<(), ChangeError> {
        let username = user_of(subject)?;
        let resource = resource.filter(|resource| !resource.trim().is_empty());
        // Apache takes a resource that it cannot read for none, and deletes the whole list.
        let resource = match resource.map(Resource::parse) {
            Some(None) => return refused("The resource is null."),
            Some(Some(resource)) => Some(resource),
            None => None,
        };
        self.change(|accounts| {
            let Some(account) = accounts.get_mut(username) else {
                return refused("The subject is not exist.");
            };
            let Some(mut acl) = account.acl().cloned() else {
                return refused("The acl is not exist.");
            };
            match &resource {
                Some(resource) => acl.remove(kind.unwrap_or(PolicyType::Custom), resource),
                None => acl = Acl::default(),
            }
            let acl = (!acl.is_empty()).then_some(acl);
            *account = Arc::new(Account::new(account.user().clone(), acl));
            Ok(())
        })
    }

    /// The access list of a user, if it has one.
    ///
    /// # Errors
    /// There is no such user.
    pub fn acl(&self, subject: &str) -> Result<Option<ToldAcl>, ChangeError> {
        let username = user_of(subject)?;
        let Some(account) = self.account(username) else {
            return refused("The subject is not exist.");
        };
        Ok(account
            .acl()
            .map(|acl| acl.told(&subject_of(username), None)))
    }

    /// The access lists of subjects that hold one text, with what they say of resources that hold another.
    #[must_use]
    pub fn acls(&self, subjects: Option<&str>, resources: Option<&str>) -> Vec<ToldAcl> {
        let given = |filter: Option<&'_ str>| {
            filter
                .filter(|filter| !filter.trim().is_empty())
                .map(str::to_owned)
        };
        let (subjects, resources) = (given(subjects), given(resources));
        let accounts = self.accounts.load();
        accounts
            .values()
            .filter_map(|account| {
                let subject = subject_of(&account.user().username);
                let wanted = subjects.as_ref().is_none_or(|text| subject.contains(text));
                let acl = account.acl().filter(|_| wanted)?;
                let told = acl.told(&subject, resources.as_deref());
                (!told.policies.is_empty()).then_some(told)
            })
            .collect()
    }

    /// Makes a change that counts when it is in the file.
    fn change(
        &self,
        change: impl FnOnce(&mut Accounts) -> Result<(), ChangeError>,
    ) -> Result<(), ChangeError> {
        let _changing = self.changing.lock();
        let mut accounts = Accounts::clone(&self.accounts.load());
        change(&mut accounts)?;
        let bytes = serde_json::to_vec_pretty(&Content::of(&accounts));
        let bytes = bytes.map_err(|error| ChangeError::Refused(error.to_string()))?;
        persist::save_private(&self.file, &bytes)?;
        self.accounts.store(Arc::new(accounts));
        Ok(())
    }
}

fn check_text(text: &str, what: &str) -> Result<(), ChangeError> {
    if text.trim().is_empty() {
        return refused(format!("{what} can not be blank"));
    }
    if text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
        return refused(format!(
            "{what} can not have more than {NAME_BYTES_MAX} bytes, nor control characters"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use aerobee_remoting::body::auth::{Policy, PolicyEntry};

    use super::*;

    fn open(dir: &Path) -> Tables {
        Tables::open(&dir.join("config").join("auth.json")).unwrap()
    }

    fn user(name: &str, password: &str) -> UserChange {
        UserChange {
            username: name.to_owned(),
            password: Some(password.to_owned()),
            ..UserChange::default()
        }
    }

    fn acl(resources: &[&str]) -> ToldAcl {
        let entry = |resource: &&str| PolicyEntry {
            actions: Some(vec!["Pub".to_owned()]),
            decision: Some("Allow".to_owned()),
            resource: Some((*resource).to_owned()),
            source_ips: None,
        };
        ToldAcl {
            policies: vec![Policy {
                entries: resources.iter().map(entry).collect(),
                policy_type: None,
            }],
            subject: None,
        }
    }

    fn refusal<T: std::fmt::Debug>(outcome: Result<T, ChangeError>) -> String {
        match outcome.unwrap_err() {
            ChangeError::Refused(why) => why,
            ChangeError::Persist(error) => panic!("{error}"),
        }
    }

    #[test]
    fn users_and_lists_are_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let tables = open(dir.path());
        assert!(tables.is_empty());
        tables.create_user(user("a", "secret")).unwrap();
        tables.create_user(user("b", "other")).unwrap();
        tables
            .put_acl("User:a", &acl(&["Topic:t", "Group:g*"]))
            .unwrap();
        let again = open(dir.path());
        let account = again.account("a").unwrap();
        assert_eq!(account.user(), tables.account("a").unwrap().user());
        assert_eq!(account.acl(), tables.account("a").unwrap().acl());
        assert_eq!(again.users(None, true), tables.users(None, true));
        assert_eq!(again.users(Some("b"), false)[0].password, None);
    }

    #[test]
    fn refusals_are_in_apaches_words() {
        let dir = tempfile::tempdir().unwrap();
        let tables = open(dir.path());
        tables.create_user(user("a", "secret")).unwrap();
        let word = |outcome| refusal::<()>(outcome);
        assert_eq!(
            word(tables.create_user(user("a", "x"))),
            "The user is existed"
        );
        assert_eq!(
            word(tables.create_user(user(" ", "x"))),
            "username can not be blank"
        );
        assert_eq!(
            word(tables.create_user(user("b", ""))),
            "password can not be blank"
        );
        assert_eq!(
            word(tables.update_user(user("b", "x"))),
            "The user is not exist"
        );
        tables.delete_user("nobody").unwrap();
        let list = acl(&["Topic:t"]);
        assert_eq!(
            word(tables.put_acl("User:b", &list)),
            "The subject of User:b is not exist."
        );
        assert_eq!(
            word(tables.put_acl("Role:b", &list)),
            "The subject type is null."
        );
        assert_eq!(
            word(tables.delete_acl("User:b", None, None)),
            "The subject is not exist."
        );
        assert_eq!(
            word(tables.delete_acl("User:a", None, None)),
            "The acl is not exist."
        );
        assert_eq!(refusal(tables.acl("User:b")), "The subject is not exist.");
        assert_eq!(tables.acl("User:a").unwrap(), None);
    }

    #[test]
    fn lists_are_changed_by_resource() {
        let dir = tempfile::tempdir().unwrap();
        let tables = open(dir.path());
        tables.create_user(user("a", "secret")).unwrap();
        tables
            .put_acl("user:a", &acl(&["Topic:t", "Topic:u"]))
            .unwrap();
        tables
            .put_acl("User:a", &acl(&["Topic:t", "Group:g"]))
            .unwrap();
        let entries = |filter| tables.acls(None, filter)[0].policies[0].entries.len();
        assert_eq!(entries(None), 3);
        assert_eq!(entries(Some("Topic")), 2);
        assert!(tables.acls(Some("User:b"), None).is_empty());
        // A resource that cannot be read must not delete everything.
        assert_eq!(
            refusal(tables.delete_acl("User:a", None, Some("nothing"))),
            "The resource is null."
        );
        tables.delete_acl("User:a", None, Some("Topic:t")).unwrap();
        assert_eq!(entries(None), 2);
        tables.delete_acl("User:a", None, None).unwrap();
        assert_eq!(tables.acl("User:a").unwrap(), None);
    }

    #[test]
    fn a_change_makes_another_account_and_leaves_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let tables = open(dir.path());
        tables.create_user(user("a", "secret")).unwrap();
        tables.create_user(user("b", "secret")).unwrap();
        let (a, b) = (tables.account("a").unwrap(), tables.account("b").unwrap());
        tables
            .update_user(UserChange {
                username: "a".to_owned(),
                user_status: Some(UserStatus::Disable),
                ..UserChange::default()
            })
            .unwrap();
        let changed = tables.account("a").unwrap();
        assert!(!Arc::ptr_eq(&a, &changed));
        assert!(Arc::ptr_eq(&b, &tables.account("b").unwrap()));
        assert_eq!(changed.user().user_status, UserStatus::Disable);
        assert_eq!(changed.user().password, "secret");
        tables.delete_user("a").unwrap();
        assert!(tables.account("a").is_none());
        assert!(!tables.ensure_super("b", "x").unwrap());
        assert!(tables.ensure_super("root", "x").unwrap());
        assert_eq!(
            tables.account("root").unwrap().user().user_type,
            UserType::Super
        );
    }

    #[test]
    fn what_cannot_be_written_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let tables = open(dir.path());
        // A file where the folder should be.
        std::fs::write(dir.path().join("config"), "in the way").unwrap();
        let outcome = tables.create_user(user("a", "secret"));
        assert!(matches!(outcome, Err(ChangeError::Persist(_))));
        assert!(tables.is_empty());
    }
}
