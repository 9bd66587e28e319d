// SPDX-License-Identifier: Apache-2.0
//! Remoting through the proxy (Apache: `proxy/remoting/activity/*.java`): routes name the proxy for
//! every broker, requests go on to the broker that they name.
//!
//! Each client has connections of its own to brokers, so that brokers see it as if it had come
//! directly, and ask it directly: locks, notices and checks of transactions need no table here.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use aerobee_remoting::{
    Client, Command, Connection, Deferred, Encoding, Language, OwnedFields, Reply, RequestCode,
    Response, ResponseCode, Service,
    body::route::TopicRoute,
    fastjson,
    header::{
        FieldWriter as _,
        auth::{ACCESS_KEY, SECURITY_TOKEN, SIGNATURE},
        route::GetRoute,
    },
};
use dashmap::DashMap;
use parking_lot::Mutex;
use serde_json::Value;

use crate::{
    access::Access,
    brokers::{Brokers, WITHIN, succeeded},
    config::Config,
    routes::Routes,
    status::Failure,
};

/// What a broker may take beyond the time that a client lets it hold its request.
const SLACK: Duration = Duration::from_secs(5);
/// Longest hold that a client may ask for.
const HOLD_MAX_MS: u64 = 120_000;
/// Brokers of one client.
const BROKERS_MAX: usize = 1024;

/// Serves remoting clients.
#[derive(Debug)]
pub(crate) struct Forward {
    brokers: Arc<Brokers>,
    routes: Arc<Routes>,
    config: Arc<Config>,
    /// Who may do what, where that is asked.
    access: Option<Arc<Access>>,
    sessions: DashMap<u64, Arc<Session>>,
}

/// One remoting client and its connections to brokers.
#[derive(Debug)]
struct Session {
    upstream: Client<Back>,
    /// Brokers of the routes that the client was told.
    told: Mutex<BTreeSet<Arc<str>>>,
}

/// Hands requests of brokers to the client.
#[derive(Debug)]
struct Back(Weak<Connection>);

/// A request kept until its broker is found.
#[derive(Debug)]
struct Request {
    code: RequestCode,
    /// Of the client: it decides what is signed.
    version: i32,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn of(command: &Command<'_>) -> Self {
        Self {
            code: RequestCode(command.code),
            version: command.version,
            fields: command.fields.to_owned_pairs(),
            body: command.body.to_vec(),
        }
    }

    /// Whether the client may make it.
    async fn admit(&self, access: &Access, connection: &Connection) -> Result<(), Failure> {
        let mut fields = OwnedFields::default();
        for (name, value) in &self.fields {
            fields.pair(name, value);
        }
        let command = Command {
            code: self.code.0,
            language: Language::Other,
            version: self.version,
            opaque: 0,
            flag: 0,
            remark: "",
            fields: fields.fields(),
            body: &self.body,
            encoding: Encoding::Json,
        };
        access.admit_request(&command, connection).await
    }

    /// Without what proves who made it, for those who are told that we do.
    fn unsign(&mut self) {
        let proofs = [ACCESS_KEY, SIGNATURE, SECURITY_TOKEN];
        self.fields
            .retain(|(name, _)| !proofs.contains(&name.as_str()));
    }

    fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().rev().find(|(key, _)| key == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// The topic that the request is about.
    fn topic(&self) -> Option<&str> {
        self.field("topic")
            .or_else(|| self.field("b"))
            .or_else(|| self.field("originTopic"))
    }

    /// The broker that the request names, in its header or its body.
    fn broker(&self) -> Option<String> {
        let short = matches!(
            self.code,
            RequestCode::SEND_MESSAGE_V2 | RequestCode::SEND_BATCH_MESSAGE
        );
        let in_header = self
            .field("bname")
            .or_else(|| self.field("n").filter(|_| short));
        if let Some(name) = in_header {
            return Some(name.to_owned());
        }
        let in_body = matches!(
            self.code,
            RequestCode::LOCK_BATCH_MQ
                | RequestCode::UNLOCK_BATCH_MQ
                | RequestCode::BATCH_ACK_MESSAGE
        );
        if !in_body {
            return None;
        }
        let body: Value = fastjson::from_slice(&self.body).ok()?;
        let name = body
            .get("brokerName")
            .or_else(|| body.get("mqSet")?.get(0)?.get("brokerName"));
        Some(name?.as_str()?.to_owned())
    }

    /// How long the broker may hold the request.
    fn hold(&self) -> Duration {
        let named = match self.code {
            RequestCode::PULL_MESSAGE | RequestCode::LITE_PULL_MESSAGE => {
                self.field("suspendTimeoutMillis")
            }
            RequestCode::POP_MESSAGE | RequestCode::NOTIFICATION => self.field("pollTime"),
            _ => None,
        };
        let asked = named.and_then(|text| text.parse().ok()).unwrap_or(0_u64);
        Duration::from_millis(asked.min(HOLD_MAX_MS)) + SLACK
    }
}

/// Requests that go on to one broker; as Apache's proxy, nothing of an operator's.
fn is_forwarded(code: RequestCode) -> bool {
    matches!(
        code,
        RequestCode::SEND_MESSAGE
            | RequestCode::SEND_MESSAGE_V2
            | RequestCode::SEND_BATCH_MESSAGE
            | RequestCode::SEND_REPLY_MESSAGE
            | RequestCode::SEND_REPLY_MESSAGE_V2
            | RequestCode::CONSUMER_SEND_MSG_BACK
            | RequestCode::END_TRANSACTION
            | RequestCode::RECALL_MESSAGE
            | RequestCode::PULL_MESSAGE
            | RequestCode::LITE_PULL_MESSAGE
            | RequestCode::POP_MESSAGE
            | RequestCode::ACK_MESSAGE
            | RequestCode::BATCH_ACK_MESSAGE
            | RequestCode::CHANGE_MESSAGE_INVISIBLETIME
            | RequestCode::NOTIFICATION
            | RequestCode::QUERY_ASSIGNMENT
            | RequestCode::QUERY_CONSUMER_OFFSET
            | RequestCode::UPDATE_CONSUMER_OFFSET
            | RequestCode::SEARCH_OFFSET_BY_TIMESTAMP
            | RequestCode::GET_MAX_OFFSET
            | RequestCode::GET_MIN_OFFSET
            | RequestCode::GET_EARLIEST_MSG_STORETIME
            | RequestCode::GET_CONSUMER_LIST_BY_GROUP
            | RequestCode::GET_CONSUMER_CONNECTION_LIST
            | RequestCode::CHECK_CLIENT_CONFIG
            | RequestCode::LOCK_BATCH_MQ
            | RequestCode::UNLOCK_BATCH_MQ
    )
}

impl Service for Forward {
    type Turn = ();

    fn handle(&self, (): &mut (), command: &Command<'_>, reply: Reply<'_>) {
        let code = RequestCode(command.code);
        let all = matches!(
            code,
            RequestCode::HEART_BEAT | RequestCode::UNREGISTER_CLIENT
        );
        if code != RequestCode::GET_ROUTEINFO_BY_TOPIC && !all && !is_forwarded(code) {
            return reply.unsupported(command.code);
        }
        let request = Request::of(command);
        let connection = Arc::clone(reply.connection());
        let oneway = reply.is_oneway();
        let work = Work {
            session: self.session(&connection),
            brokers: Arc::clone(&self.brokers),
            routes: Arc::clone(&self.routes),
            access: self.access(&connection),
        };
        let access = self.access.clone();
        let reply = reply.defer();
        tokio::spawn(async move {
            let mut request = request;
            if let Some(access) = access {
                if let Err(failure) = request.admit(&access, reply.connection()).await {
                    return fail(reply, failure);
                }
                if work.brokers.signer.is_some() {
                    request.unsign();
                }
            }
            if code == RequestCode::GET_ROUTEINFO_BY_TOPIC {
                work.route(&request, reply).await;
            } else if all {
                work.to_all(&request, reply).await;
            } else {
                work.to_one(&request, oneway, reply).await;
            }
        });
    }

    fn closed(&self, connection: &Arc<Connection>) {
        self.sessions.remove(&connection.id());
    }
}

impl Forward {
    pub(crate) fn new(
        brokers: Arc<Brokers>,
        routes: Arc<Routes>,
        config: Arc<Config>,
        access: Option<Arc<Access>>,
    ) -> Self {
        Self {
            brokers,
            routes,
            config,
            access,
            sessions: DashMap::new(),
        }
    }

    fn session(&self, connection: &Arc<Connection>) -> Arc<Session> {
        let entry = self.sessions.entry(connection.id()).or_insert_with(|| {
            let client = Client::with_service(Arc::new(Back(Arc::downgrade(connection))))
                .secured(self.brokers.tls.clone());
            // Whoever was let in here is not asked again: the broker of this process trusts us, another one
            // is told that it is us who ask. Without anything to sign with it gets the client's signature.
            let upstream = match &self.access {
                None => client,
                Some(_) => client
                    .signed(self.brokers.signer.clone())
                    .beside(self.brokers.local.clone()),
            };
            Arc::new(Session {
                upstream,
                told: Mutex::default(),
            })
        });
        Arc::clone(&entry)
    }

    /// Where clients reach the proxy.
    fn access(&self, connection: &Connection) -> String {
        let local = connection.local();
        match self.config.remoting_access_addr.as_str() {
            "" => local.to_string(),
            host => match host.parse() {
                Ok(ip) => SocketAddr::new(ip, local.port()).to_string(),
                Err(_) => format!("{host}:{}", local.port()),
            },
        }
    }
}

/// What serving one request needs.
struct Work {
    session: Arc<Session>,
    brokers: Arc<Brokers>,
    routes: Arc<Routes>,
    access: String,
}

impl Work {
    /// The route with the proxy in the place of every broker.
    async fn route(&self, request: &Request, reply: Deferred) {
        let Some(topic) = request.field("topic") else {
            return reply.fail(
                ResponseCode::SYSTEM_ERROR,
                "the custom field <topic> is null",
            );
        };
        match self.fetch(topic).await {
            Ok(mut route) => {
                for broker in &mut route.broker_datas {
                    for address in broker.broker_addrs.values_mut() {
                        self.session.tell(address);
                        address.clone_from(&self.access);
                    }
                }
                reply.body(&fastjson::to_vec(&route));
            }
            Err(failure) => fail(reply, failure),
        }
    }

    async fn fetch(&self, topic: &str) -> Result<TopicRoute, Failure> {
        let asked = GetRoute {
            topic,
            accept_standard_json_only: Some(true),
            zone_mode: None,
            zone_name: None,
        };
        let response = succeeded(self.brokers.ask_name_server(&asked).await?)?;
        Ok(fastjson::from_slice(&response.body)?)
    }

    async fn to_one(&self, request: &Request, oneway: bool, reply: Deferred) {
        let address = match self.address(request).await {
            Ok(address) => address,
            Err(failure) => return fail(reply, failure),
        };
        let (fields, body) = (&request.fields[..], &request.body[..]);
        if oneway {
            let sent = self
                .session
                .upstream
                .oneway(&address, request.code, fields, body, WITHIN)
                .await;
            if let Err(error) = sent {
                tracing::debug!(%error, "a one-way request did not reach its broker");
            }
            return reply.discard();
        }
        let answer = self
            .session
            .upstream
            .request(&address, request.code, fields, body, request.hold())
            .await;
        match answer {
            Ok(answer) => pass_on(reply, &answer),
            Err(error) => fail(reply, error.into()),
        }
    }

    /// Every broker that the client was told of hears of it; the last answer is the client's.
    async fn to_all(&self, request: &Request, reply: Deferred) {
        let mut addresses: Vec<Arc<str>> = self.session.told.lock().iter().cloned().collect();
        if addresses.is_empty() {
            addresses = self.routes.brokers_seen();
        }
        let mut outcome: Option<Result<Response, Failure>> = None;
        for address in addresses {
            let (fields, body) = (&request.fields[..], &request.body[..]);
            let answer = self
                .session
                .upstream
                .request(&address, request.code, fields, body, WITHIN)
                .await;
            match (&outcome, answer) {
                // One broker that is down must not make the client believe that all are.
                (Some(Ok(_)), Err(_)) => {}
                (_, answer) => outcome = Some(answer.map_err(Failure::from)),
            }
        }
        match outcome {
            Some(Ok(answer)) => pass_on(reply, &answer),
            Some(Err(failure)) => fail(reply, failure),
            // A client that knows no topic yet has nobody to tell.
            None => reply.ok(),
        }
    }

    async fn address(&self, request: &Request) -> Result<Arc<str>, Failure> {
        let name = request.broker();
        if let Some(topic) = request.topic() {
            let route = self.routes.topic(topic).await;
            let known = route.as_ref().ok().and_then(|route| match &name {
                Some(name) => route.address(name).cloned(),
                None => route.masters.values().next().cloned(),
            });
            if let Some(address) = known {
                return Ok(address);
            }
        }
        if let Some(address) = name
            .as_deref()
            .and_then(|name| self.routes.broker_seen(name))
        {
            return Ok(address);
        }
        let told = self.session.told.lock().iter().next().cloned();
        told.or_else(|| self.routes.brokers_seen().into_iter().next()).ok_or_else(|| Failure::Broker {
            code: ResponseCode::SYSTEM_ERROR,
            remark: "the request names no broker and no topic that the proxy has a route of: ask for the route first".to_owned(),
        })
    }
}

impl Session {
    fn tell(&self, address: &str) {
        let mut told = self.told.lock();
        if told.len() < BROKERS_MAX {
            told.insert(Arc::from(address));
        }
    }
}

impl Service for Back {
    type Turn = ();

    fn handle(&self, (): &mut (), command: &Command<'_>, reply: Reply<'_>) {
        let Some(client) = self.0.upgrade() else {
            return reply.fail(ResponseCode::SYSTEM_ERROR, "the client has left the proxy");
        };
        let request = Request::of(command);
        if reply.is_oneway() {
            if let Err(error) = client.oneway(request.code, &request.fields[..], &request.body) {
                tracing::debug!(%error, "a notice did not reach the client");
            }
            return reply.discard();
        }
        let reply = reply.defer();
        tokio::spawn(async move {
            let answer = client
                .request(
                    request.code,
                    &request.fields[..],
                    &request.body,
                    Duration::from_secs(10),
                )
                .await;
            match answer {
                Ok(answer) => pass_on(reply, &answer),
                Err(error) => fail(reply, error.into()),
            }
        });
    }
}

fn pass_on(reply: Deferred, answer: &Response) {
    reply.respond(answer.code, &answer.remark, &answer.fields, &[&answer.body]);
}

fn fail(reply: Deferred, failure: Failure) {
    match failure {
        Failure::Broker { code, remark } => reply.fail(code, remark),
        Failure::Refused {
            code: crate::v2::Code::TopicNotFound,
            message,
        } => reply.fail(ResponseCode::TOPIC_NOT_EXIST, message),
        other => reply.fail(ResponseCode::SYSTEM_ERROR, other),
    }
}
