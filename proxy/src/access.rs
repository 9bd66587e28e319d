// SPDX-License-Identifier: Apache-2.0
//! Who may make which call (Apache: `proxy/grpc/pipeline/*.java`, `proxy/auth/*.java`, the gRPC half of
//! `DefaultAuthorizationContextBuilder.java`).
//!
//! Beside a broker the users are the broker's own. Elsewhere a broker is asked for them, and they are kept
//! for a while; a user that was changed counts as before until then.

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use aerobee_auth::{
    account::Account,
    authenticate::Authorization,
    authorize::Wants,
    config::Settings,
    guard::{Claim, Denied, Guard, Verdicts},
    policy::Acl,
    tables::Tables,
    user::{User, UserStatus, UserType},
};
use aerobee_remoting::{
    Command, Connection, RequestCode, ResponseCode,
    body::auth::{Acl as ToldAcl, User as ToldUser},
    fastjson,
    header::auth::{Subject, UserName},
};
use parking_lot::Mutex;
use tonic::metadata::MetadataMap;

use crate::{
    brokers::{Brokers, succeeded},
    caller::Peer,
    config::Config,
    needs::Needs,
    routes::Routes,
    status::Failure,
    v2::Code,
};

/// Lets calls in, or does not.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) guard: Arc<Guard>,
    pub(crate) users: Users,
}

/// Where users come from.
#[derive(Debug)]
pub(crate) enum Users {
    /// The broker of this process has them.
    Local(Arc<Tables>),
    /// A broker of the cluster is asked.
    Cluster(Cluster),
}

impl Access {
    /// Whether a call of gRPC is let in.
    ///
    /// # Errors
    /// It is not, or nobody can be asked for its user.
    pub(crate) async fn admit<T: Needs>(
        &self,
        caller: &Credential,
        message: &T,
    ) -> Result<(), Failure> {
        let authorization = caller.authorization.as_deref().unwrap_or_default();
        let date = caller.date.as_deref().unwrap_or_default();
        let authorization = match authorization {
            "" => Ok(Authorization::default()),
            // In this order with Apache.
            _ if date.is_empty() => Err("datetime is null.".to_owned()),
            text => Authorization::parse(text),
        };
        let authorization = authorization.map_err(|why| unauthorized(&Denied(why)))?;
        let call = Called {
            authorization,
            date,
            peer: caller.peer,
            message,
        };
        let account = self.account(call.username()).await?;
        self.guard
            .admit_claim(&call, &caller.verdicts, account.as_ref())
            .map_err(|denied| unauthorized(&denied))
    }

    /// Whether a request of a remoting client is let in.
    ///
    /// # Errors
    /// It is not, or nobody can be asked for its user.
    pub(crate) async fn admit_request(
        &self,
        command: &Command<'_>,
        connection: &Connection,
    ) -> Result<(), Failure> {
        let account = self.account(Guard::claimed(command)).await?;
        self.guard
            .admit(command, connection, account.as_ref())
            .map_err(|Denied(remark)| Failure::Broker {
                code: ResponseCode::NO_PERMISSION,
                remark,
            })
    }

    async fn account(&self, username: &str) -> Result<Option<Arc<Account>>, Failure> {
        if username.is_empty() {
            return Ok(None);
        }
        match &self.users {
            Users::Local(tables) => Ok(tables.account(username)),
            Users::Cluster(cluster) => cluster.account(username).await,
        }
    }
}

fn unauthorized(denied: &Denied) -> Failure {
    Failure::new(Code::Unauthorized, denied)
}

/// What the metadata of a call say of who makes it, and what its connection was allowed.
#[derive(Debug, Clone)]
pub(crate) struct Credential {
    authorization: Option<String>,
    date: Option<String>,
    peer: Option<SocketAddr>,
    verdicts: Arc<Verdicts>,
}

impl Credential {
    pub(crate) fn of<T>(request: &tonic::Request<T>) -> Self {
        let metadata = request.metadata();
        let extensions = request.extensions();
        Self {
            authorization: text(metadata, "authorization"),
            date: text(metadata, "x-mq-date-time"),
            peer: extensions.get::<Peer>().map(|peer| peer.0),
            verdicts: extensions
                .get::<Arc<Verdicts>>()
                .cloned()
                .unwrap_or_default(),
        }
    }
}

fn text(metadata: &MetadataMap, name: &str) -> Option<String> {
    let value = metadata.get(name)?.to_str().ok()?;
    Some(value.to_owned())
}

/// A call.
struct Called<'a, T> {
    authorization: Authorization<'a>,
    date: &'a str,
    peer: Option<SocketAddr>,
    message: &'a T,
}

impl<T: Needs> Claim for Called<'_, T> {
    fn name(&self) -> &dyn fmt::Display {
        &T::NAME
    }

    fn username(&self) -> &str {
        self.authorization.username.unwrap_or_default()
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    fn is_listed(&self, settings: &Settings) -> (bool, bool) {
        (
            settings.unsigned.has_message(T::NAME),
            settings.free.has_message(T::NAME),
        )
    }

    fn is_signed(&self, account: &Account) -> bool {
        self.authorization.is_signed(self.date, account)
    }

    fn wants(&self) -> Result<Wants<'_>, Denied> {
        let wants = self.message.needs();
        let wants = wants.map_err(|why| Denied(why.to_owned()))?;
        Ok(Wants::Each(wants.into()))
    }
}

/// Users of a cluster, as a broker of it has them.
#[derive(Debug)]
pub(crate) struct Cluster {
    brokers: Arc<Brokers>,
    routes: Arc<Routes>,
    /// The name of the cluster is a topic whose route has its brokers.
    name: String,
    refresh: Duration,
    expire: Duration,
    known: Mutex<Kept>,
}

/// Users that are kept for a while.
#[derive(Debug)]
struct Kept {
    users: HashMap<String, Known>,
    expire: Duration,
    max: usize,
}

#[derive(Debug, Clone)]
struct Known {
    account: Option<Arc<Account>>,
    at: Instant,
}

impl Kept {
    /// Keeps what a broker told, and the same object for the same user: connections remember by it.
    fn keep(
        &mut self,
        username: &str,
        fetched: Option<(User, Option<Acl>)>,
    ) -> Option<Arc<Account>> {
        let before = self.users.get(username);
        let before = before.and_then(|known| known.account.clone());
        let account = fetched.map(|(user, acl)| match before {
            Some(before) if *before.user() == user && before.acl() == acl.as_ref() => before,
            _ => Arc::new(Account::new(user, acl)),
        });
        if self.users.len() >= self.max && !self.users.contains_key(username) {
            // Strangers may ask for any number of names: those that lead to nobody go first.
            let expire = self.expire;
            self.users
                .retain(|_, known| known.account.is_some() && known.at.elapsed() < expire);
            if self.users.len() >= self.max {
                self.users.clear();
            }
        }
        let at = Instant::now();
        let kept = Known {
            account: account.clone(),
            at,
        };
        self.users.insert(username.to_owned(), kept);
        account
    }
}

impl Cluster {
    pub(crate) fn new(brokers: &Arc<Brokers>, routes: &Arc<Routes>, config: &Config) -> Self {
        let expire = Duration::from_secs(config.user_cache_expired_seconds.max(1));
        Self {
            brokers: Arc::clone(brokers),
            routes: Arc::clone(routes),
            name: config.rocketmq_cluster_name.clone(),
            refresh: Duration::from_secs(config.user_cache_refresh_seconds.max(1)),
            expire,
            known: Mutex::new(Kept {
                users: HashMap::new(),
                expire,
                max: config.user_cache_max_num.max(1),
            }),
        }
    }

    async fn account(&self, username: &str) -> Result<Option<Arc<Account>>, Failure> {
        let known = self.known.lock().users.get(username).cloned();
        if let Some(known) = &known
            && known.at.elapsed() < self.refresh
        {
            return Ok(known.account.clone());
        }
        match self.fetch(username).await {
            Ok(fetched) => Ok(self.known.lock().keep(username, fetched)),
            // While no broker answers, those that are known are believed; whoever is not, is not.
            Err(failure) => match known {
                Some(Known {
                    account: Some(account),
                    at,
                }) if at.elapsed() < self.expire => Ok(Some(account)),
                _ => {
                    aerobee_daemon::warn_every!(
                        Duration::from_secs(10),
                        %failure,
                        "users cannot be looked up: calls are refused; look at the brokers, and at innerClientAuthenticationCredentials"
                    );
                    Err(failure)
                }
            },
        }
    }

    /// Asks a broker for a user and its access list.
    async fn fetch(&self, username: &str) -> Result<Option<(User, Option<Acl>)>, Failure> {
        let route = self.routes.topic(&self.name).await?;
        let Some(address) = route.masters.values().next() else {
            return Err(Failure::new(
                Code::InternalServerError,
                format_args!("cluster {} has no broker to ask for users", self.name),
            ));
        };
        let code = RequestCode::AUTH_GET_USER;
        let asked = UserName { username };
        let answer = succeeded(self.brokers.ask(address, code, &asked, &[]).await?)?;
        if answer.body.is_empty() {
            return Ok(None);
        }
        let user = user_of(username, fastjson::from_slice(&answer.body)?)?;
        let code = RequestCode::AUTH_GET_ACL;
        let subject = format!("User:{username}");
        let asked = Subject { subject: &subject };
        let answer = succeeded(self.brokers.ask(address, code, &asked, &[]).await?)?;
        if answer.body.is_empty() {
            return Ok(Some((user, None)));
        }
        let told: ToldAcl = fastjson::from_slice(&answer.body)?;
        if told.policies.is_empty() {
            return Ok(Some((user, None)));
        }
        let acl = Acl::of(&told).map_err(|error| {
            let what = format_args!("unreadable access list of {username}: {error}");
            Failure::new(Code::InternalServerError, what)
        })?;
        Ok(Some((user, Some(acl))))
    }
}

fn user_of(username: &str, told: ToldUser) -> Result<User, Failure> {
    let Some(password) = told.password else {
        return Err(Failure::new(
            Code::InternalServerError,
            "the broker tells no passwords: innerClientAuthenticationCredentials must be those of a super user",
        ));
    };
    let status = told.user_status.as_deref();
    let kind = told.user_type.as_deref();
    Ok(User {
        username: username.to_owned(),
        password,
        // What cannot be read must not open anything.
        user_type: kind
            .and_then(UserType::from_name)
            .unwrap_or(UserType::Normal),
        user_status: match status {
            None => UserStatus::Enable,
            Some(status) => UserStatus::from_name(status).unwrap_or(UserStatus::Disable),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, password: &str) -> Option<(User, Option<Acl>)> {
        let told = ToldUser {
            password: Some(password.to_owned()),
            ..ToldUser::default()
        };
        Some((user_of(name, told).unwrap(), None))
    }

    #[test]
    fn names_that_lead_to_nobody_do_not_push_users_out() {
        let mut kept = Kept {
            users: HashMap::new(),
            expire: Duration::from_secs(300),
            max: 10,
        };
        let account = kept.keep("a", user("a", "secret")).unwrap();
        for name in 0..1_000 {
            assert!(kept.keep(&name.to_string(), None).is_none());
            assert!(kept.users.len() <= 10);
        }
        // The same user is the same object, a changed one is another.
        let again = kept.keep("a", user("a", "secret")).unwrap();
        assert!(Arc::ptr_eq(&account, &again));
        let changed = kept.keep("a", user("a", "other")).unwrap();
        assert!(!Arc::ptr_eq(&account, &changed));
    }

    #[test]
    fn what_a_broker_does_not_tell_opens_nothing() {
        assert!(user_of("a", ToldUser::default()).is_err());
        let told = ToldUser {
            password: Some("secret".to_owned()),
            user_status: Some("sleeping".to_owned()),
            user_type: Some("Emperor".to_owned()),
            username: None,
        };
        let user = user_of("a", told).unwrap();
        assert_eq!(user.user_type, UserType::Normal);
        assert_eq!(user.user_status, UserStatus::Disable);
    }
}
