// SPDX-License-Identifier: Apache-2.0
//! Keeps the name servers told of this broker and its topics. Apache: `BrokerController`,
//! `BrokerOuterAPI`.
//!
//! Each name server has a task of its own, so that a dead one holds nobody up: it registers
//! everything once in a period, sooner after a failure, and at once when the connection ends, which
//! is how a restarted name server learns of us within seconds. Changed topics are announced in
//! between; a name server that cannot be reached then gets them with its next full registration.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
    time::Duration,
};

use aerobee_remoting::{
    Client, Command, Connection, Reply, RequestCode, Response, Service,
    body::{
        DataVersion,
        kv::KvTable,
        registration::BrokerRegistration,
        route::TopicRoute,
        topic::{TopicConfig, TopicConfigTable},
    },
    client::Signer,
    fastjson,
    header::{
        register::{RegisterBroker, RegisterBrokerReply, UnregisterBroker},
        route::GetRoute,
    },
    tls::ClientTls,
};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    config::Identity,
    topics::{PERM_READ, PERM_WRITE, Topics},
};

/// The second full registration comes so soon after the first.
const FIRST_PERIOD: Duration = Duration::from_secs(10);
/// Bounds of the period between full registrations; above, the name server would forget us.
const PERIODS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));
/// Pause after a registration that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// Pause after a lost connection: name servers need a moment to restart.
const LOST_PAUSE: Duration = Duration::from_secs(1);
/// Longest time that a change of topics waits for its announcement; what is slower goes on without
/// its being waited for.
const ANNOUNCE_WAIT: Duration = Duration::from_secs(1);
/// Longest time that a name server has to take an announcement or a farewell.
const SHORT_TIMEOUT: Duration = Duration::from_secs(3);

/// What is configured.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Time between full registrations. Java key: `registerNameServerPeriod`.
    pub period: Duration,
    /// Longest time for a full registration. Java key: `registerBrokerTimeoutMills`.
    pub timeout: Duration,
    /// Permission of the broker: what it lacks, its topics lack. Java key: `brokerPermission`.
    pub permission: i32,
    /// How connections to name servers are made secure.
    pub tls: Option<Arc<ClientTls>>,
    /// Signs requests to name servers.
    pub signer: Option<Arc<dyn Signer>>,
}

/// Tells name servers of the broker.
#[derive(Debug)]
pub struct Registration {
    identity: Identity,
    topics: Arc<Topics>,
    client: Client<Link>,
    period: Duration,
    timeout: Duration,
    permission: AtomicI32,
    servers: Mutex<Vec<Arc<NameServer>>>,
    /// Names of topics to announce without anybody waiting for it.
    soon: Mutex<BTreeSet<String>>,
    soon_wake: Notify,
    stopped: AtomicBool,
}

#[derive(Debug)]
struct NameServer {
    address: String,
    state: watch::Sender<State>,
    /// The version that it was last sent. Locked while a registration is under way, so that they
    /// arrive in order.
    sent: tokio::sync::Mutex<Option<DataVersion>>,
    /// The connection was lost, or everything has to be sent anew.
    again: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Untried,
    Registered,
    Failed,
    /// No longer configured, or the broker is stopping.
    Dropped,
}

/// What a registration holds.
#[derive(Debug, Clone)]
enum Extent {
    /// All topics.
    Full,
    /// All topics, and every one is to be taken although no topic has changed.
    Anew,
    /// The topics of these names.
    Some(Vec<String>),
}

/// Our end of the connections to name servers.
#[derive(Debug)]
struct Link(Weak<Registration>);

impl Service for Link {
    type Turn = ();

    fn handle(&self, (): &mut (), command: &Command<'_>, reply: Reply<'_>) {
        reply.unsupported(command.code);
    }

    fn closed(&self, _: &Arc<Connection>) {
        if let Some(registration) = self.0.upgrade() {
            registration.lost();
        }
    }
}

/// Why a name server does not know us as we are.
#[derive(Debug, thiserror::Error)]
enum RegisterError {
    #[error(transparent)]
    Request(#[from] aerobee_remoting::ClientError),
    #[error("refused with code {}: {}", .0.code.0, .0.remark)]
    Refused(Box<Response>),
    #[error("the broker is stopping")]
    Stopping,
}

impl Registration {
    /// A registration that knows no name server yet. Needs a running runtime.
    pub fn new(identity: Identity, topics: Arc<Topics>, settings: &Settings) -> Arc<Self> {
        Arc::new_cyclic(|registration| Self {
            identity,
            topics,
            client: Client::with_service(Arc::new(Link(Weak::clone(registration))))
                .secured(settings.tls.clone())
                .signed(settings.signer.clone()),
            period: settings.period.clamp(PERIODS.0, PERIODS.1),
            timeout: settings.timeout,
            permission: AtomicI32::new(settings.permission),
            servers: Mutex::default(),
            soon: Mutex::default(),
            soon_wake: Notify::new(),
            stopped: AtomicBool::new(false),
        })
    }

    /// Registers with these name servers (`host:port`) from now on; with those that are new at
    /// once, with those that are missing no more.
    pub fn set_servers(self: &Arc<Self>, addresses: &[String]) {
        if self.stopped.load(Ordering::Acquire) {
            return;
        }
        let mut servers = self.servers.lock();
        servers.retain(|server| {
            let kept = addresses.contains(&server.address);
            if !kept {
                server.drop_it();
            }
            kept
        });
        for address in addresses {
            if servers.iter().any(|server| server.address == *address) {
                continue;
            }
            let server = Arc::new(NameServer::new(address));
            servers.push(Arc::clone(&server));
            tokio::spawn(Arc::clone(self).keep_registered(server));
        }
    }

    /// Waits until each name server has been tried once, but no longer than `within`.
    pub async fn started(&self, within: Duration) {
        let tried = async {
            for server in self.servers() {
                let mut state = server.state.subscribe();
                // The sender lives in `server`.
                let _ = state.wait_for(|state| *state != State::Untried).await;
            }
        };
        // Trying goes on in any case.
        let _ = timeout(within, tried).await;
    }

    /// Tells the name servers of changed topics, and waits for those that can be reached, a moment
    /// at most. The configuration sent is the topic's at that time.
    pub async fn announce(self: &Arc<Self>, topics: Vec<TopicConfig>) {
        let names = topics.into_iter().map(|topic| topic.topic_name).collect();
        self.announce_names(names).await;
    }

    /// As [`Registration::announce`], for those who cannot wait; [`Registration::run`] does it.
    pub fn announce_soon(&self, topic: TopicConfig) {
        self.soon.lock().insert(topic.topic_name);
        self.soon_wake.notify_one();
    }

    /// Announces what nobody waits for. Ends with the task that runs it.
    pub async fn run(self: Arc<Self>) {
        loop {
            self.soon_wake.notified().await;
            let names = std::mem::take(&mut *self.soon.lock());
            self.announce_names(names.into_iter().collect()).await;
        }
    }

    /// The permission of the broker has changed, and with it that of all topics.
    pub async fn set_permission(self: &Arc<Self>, permission: i32) {
        self.permission.store(permission, Ordering::Release);
        self.tell(&Extent::Anew).await;
    }

    /// Takes the broker out of the name servers that know it, each within [`SHORT_TIMEOUT`].
    /// Nothing is registered afterwards.
    pub async fn unregister(self: &Arc<Self>) {
        self.stopped.store(true, Ordering::Release);
        let mut farewells = JoinSet::new();
        for server in self.servers() {
            let knows_us = server.is_registered();
            server.drop_it();
            if knows_us {
                farewells.spawn(Arc::clone(self).unregister_from(server));
            }
        }
        farewells.join_all().await;
        self.client.close();
    }

    async fn unregister_from(self: Arc<Self>, server: Arc<NameServer>) {
        let (address, cluster) = (self.identity.address.to_string(), &self.identity.cluster);
        let header = UnregisterBroker {
            broker_name: &self.identity.broker_name,
            broker_addr: &address,
            cluster_name: cluster,
            broker_id: self.identity.broker_id,
        };
        let request = async {
            // What is under way arrives before.
            let _turn = server.sent.lock().await;
            let code = RequestCode::UNREGISTER_BROKER;
            self.client
                .request(&server.address, code, &header, &[], SHORT_TIMEOUT)
                .await
        };
        match timeout(SHORT_TIMEOUT, request).await {
            Ok(Ok(response)) if response.is_success() => {
                tracing::info!(namesrv = %server.address, "unregistered");
            }
            Ok(Ok(response)) => {
                tracing::warn!(namesrv = %server.address, code = response.code.0, remark = %response.remark, "not unregistered");
            }
            Ok(Err(error)) => {
                tracing::warn!(namesrv = %server.address, %error, "not unregistered");
            }
            Err(_) => tracing::warn!(namesrv = %server.address, "not unregistered in time"),
        }
    }

    /// Whether a name server knows the broker, or there is none to know it.
    pub fn is_known(&self) -> bool {
        let servers = self.servers();
        servers.is_empty() || servers.iter().any(|server| server.is_registered())
    }

    fn servers(&self) -> Vec<Arc<NameServer>> {
        self.servers.lock().clone()
    }

    /// A connection has ended, whichever: every name server is looked after.
    fn lost(&self) {
        if !self.stopped.load(Ordering::Acquire) {
            for server in self.servers() {
                server.again.notify_one();
            }
        }
    }

    async fn announce_names(self: &Arc<Self>, names: Vec<String>) {
        if !names.is_empty() {
            self.tell(&Extent::Some(names)).await;
        }
    }

    /// Sends to the name servers that know us, in parallel; what takes long goes on by itself.
    async fn tell(self: &Arc<Self>, extent: &Extent) {
        let told: Vec<_> = self
            .servers()
            .into_iter()
            .filter(|server| server.is_registered())
            .map(|server| {
                let (registration, extent) = (Arc::clone(self), extent.clone());
                tokio::spawn(async move { registration.register(&server, extent).await })
            })
            .collect();
        let all = async {
            for telling in told {
                // Failures are logged and tried again by the name server's own task.
                let _ = telling.await;
            }
        };
        let _ = timeout(ANNOUNCE_WAIT, all).await;
    }

    /// The task of one name server.
    async fn keep_registered(self: Arc<Self>, server: Arc<NameServer>) {
        let mut pause = FIRST_PERIOD;
        loop {
            let registered = self.register(&server, Extent::Full).await;
            if server.is_dropped() {
                return;
            }
            let due = Instant::now() + if registered { pause } else { RETRY_PAUSE };
            pause = self.period;
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = server.again.notified() => {
                    tokio::time::sleep(LOST_PAUSE.min(due - Instant::now())).await;
                }
            }
            if server.is_dropped() {
                return;
            }
        }
    }

    /// Sends a registration; whether the name server has taken it.
    async fn register(&self, server: &NameServer, extent: Extent) -> bool {
        let partial = matches!(extent, Extent::Some(_));
        let mut sent = server.sent.lock().await;
        let result = self.send(server, &mut sent, extent).await;
        drop(sent);
        match result {
            Ok(order) => {
                if server.become_registered() {
                    tracing::info!(namesrv = %server.address, broker = %self.identity.broker_name, "registered");
                }
                self.apply_order(order);
                true
            }
            Err(RegisterError::Stopping) => false,
            Err(error) => {
                if server.become_failed() {
                    tracing::warn!(namesrv = %server.address, %error, "not registered; trying again");
                }
                if partial {
                    // It may have been restarted and want everything.
                    server.again.notify_one();
                }
                false
            }
        }
    }

    /// Where a topic is, as the first name server that answers knows it.
    pub async fn route(&self, topic: &str) -> Option<TopicRoute> {
        let header = GetRoute {
            topic,
            accept_standard_json_only: Some(true),
            zone_mode: None,
            zone_name: None,
        };
        for server in self.servers() {
            let code = RequestCode::GET_ROUTEINFO_BY_TOPIC;
            let address = &server.address;
            let request = self
                .client
                .request(address, code, &header, &[], SHORT_TIMEOUT);
            match request.await {
                Ok(response) if response.is_success() => {
                    return fastjson::from_slice(&response.body).ok();
                }
                Ok(_) => return None,
                Err(error) => tracing::debug!(%address, %error, "no route"),
            }
        }
        None
    }

    async fn send(
        &self,
        server: &NameServer,
        sent: &mut Option<DataVersion>,
        extent: Extent,
    ) -> Result<Option<KvTable>, RegisterError> {
        if server.is_dropped() {
            return Err(RegisterError::Stopping);
        }
        let within = match extent {
            Extent::Some(_) => SHORT_TIMEOUT,
            Extent::Full | Extent::Anew => self.timeout,
        };
        let (version, body) = self.body(extent, *sent).await?;
        let address = self.identity.address.to_string();
        let ha_address = self.identity.ha_address.to_string();
        let header = RegisterBroker {
            broker_name: &self.identity.broker_name,
            broker_addr: &address,
            cluster_name: &self.identity.cluster,
            ha_server_addr: &ha_address,
            broker_id: self.identity.broker_id,
            heartbeat_timeout_millis: None,
            enable_acting_master: Some(false),
            compressed: false,
            body_crc32: (crc32fast::hash(&body) & 0x7fff_ffff).cast_signed(),
            zone_name: None,
        };
        let code = RequestCode::REGISTER_BROKER;
        // Whatever becomes of it, it may have arrived.
        *sent = Some(version);
        let response = self
            .client
            .request(&server.address, code, &header, &body, within)
            .await?;
        if !response.is_success() {
            return Err(RegisterError::Refused(Box::new(response)));
        }
        Ok(order_table(&response))
    }

    /// The body, made where it may take its time, and the version in it.
    async fn body(
        &self,
        extent: Extent,
        sent: Option<DataVersion>,
    ) -> Result<(DataVersion, Vec<u8>), RegisterError> {
        let topics = Arc::clone(&self.topics);
        let permission = self.permission.load(Ordering::Acquire);
        tokio::task::spawn_blocking(move || {
            let registration = registration_of(&topics, &extent, sent, permission);
            (registration.topics.data_version, registration.to_json())
        })
        .await
        .map_err(|_| RegisterError::Stopping)
    }

    /// Topics that the name server knows as ordered become so. Apache:
    /// `TopicConfigManager.updateOrderTopicConfig`.
    fn apply_order(&self, order: Option<KvTable>) {
        for name in order.unwrap_or_default().table.keys() {
            if let Some(topic) = self.topics.find(name)
                && !topic.config().order
            {
                let mut config = (*topic.config()).clone();
                config.order = true;
                self.topics.put(config);
                tracing::info!(topic = name, "the topic is ordered, says the name server");
            }
        }
    }
}

impl NameServer {
    fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            state: watch::Sender::new(State::Untried),
            sent: tokio::sync::Mutex::new(None),
            again: Notify::new(),
        }
    }

    fn is_registered(&self) -> bool {
        *self.state.borrow() == State::Registered
    }

    fn is_dropped(&self) -> bool {
        *self.state.borrow() == State::Dropped
    }

    fn become_registered(&self) -> bool {
        self.enter(State::Registered)
    }

    fn become_failed(&self) -> bool {
        self.enter(State::Failed)
    }

    fn drop_it(&self) {
        self.enter(State::Dropped);
        self.again.notify_one();
    }

    /// Whether the state is another one now; a dropped server stays dropped.
    fn enter(&self, state: State) -> bool {
        self.state.send_if_modified(|known| {
            let entered = *known != state && *known != State::Dropped;
            if entered {
                *known = state;
            }
            entered
        })
    }
}

/// The order topics that come with the answer, when there are any.
fn order_table(response: &Response) -> Option<KvTable> {
    if let Ok(reply) = response.header::<RegisterBrokerReply<'_>>() {
        tracing::trace!(?reply, "registration answered");
    }
    if response.body.is_empty() {
        return None;
    }
    match fastjson::from_slice(&response.body) {
        Ok(table) => Some(table),
        Err(error) => {
            tracing::warn!(%error, "the order topics of the name server make no sense");
            None
        }
    }
}

fn registration_of(
    topics: &Topics,
    extent: &Extent,
    sent: Option<DataVersion>,
    permission: i32,
) -> BrokerRegistration {
    // The version first: a change in between makes it too old, and the next registration differs.
    let version = topics.data_version();
    let chosen = match extent {
        Extent::Full | Extent::Anew => topics.all(),
        Extent::Some(names) => names.iter().filter_map(|name| topics.find(name)).collect(),
    };
    let data_version = match extent {
        Extent::Full => version,
        Extent::Anew | Extent::Some(_) => unlike(version, sent),
    };
    let topic_config_table = chosen
        .iter()
        .map(|topic| {
            (
                topic.name().to_string(),
                masked(&topic.config(), permission),
            )
        })
        .collect();
    BrokerRegistration {
        filter_server_list: Some(Vec::new()),
        topics: TopicConfigTable {
            data_version,
            mapping_data_version: Some(DataVersion::default()),
            topic_config_table,
            topic_queue_mapping_detail_map: Some(BTreeMap::new()),
            topic_queue_mapping_info_map: Some(BTreeMap::new()),
        },
    }
}

/// A version that differs from the one sent last: a name server overlooks changed topics that come
/// with the version it knows, as when two topics were changed before the first was announced. The
/// next full registration has the true version again, and differs from this one.
fn unlike(version: DataVersion, sent: Option<DataVersion>) -> DataVersion {
    if sent != Some(version) {
        return version;
    }
    DataVersion {
        timestamp: version.timestamp.wrapping_sub(1),
        ..version
    }
}

/// What clients may do with a topic of a broker that may not all.
fn masked(config: &TopicConfig, permission: i32) -> TopicConfig {
    let all = PERM_READ | PERM_WRITE;
    let mut config = config.clone();
    if permission & all != all {
        config.perm &= permission;
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: DataVersion = DataVersion {
        counter: 3,
        state_version: 0,
        timestamp: 1_700_000_000_000,
    };

    #[test]
    fn a_version_is_never_sent_twice_with_changes() {
        assert_eq!(unlike(VERSION, None), VERSION);
        let first = unlike(VERSION, Some(VERSION));
        assert_ne!(first, VERSION);
        assert_eq!(unlike(VERSION, Some(first)), VERSION);
    }

    #[test]
    fn topics_lack_what_the_broker_lacks() {
        let config = TopicConfig {
            perm: 7,
            ..TopicConfig::default()
        };
        assert_eq!(masked(&config, 6).perm, 7);
        assert_eq!(masked(&config, 4).perm, 4);
        assert_eq!(masked(&config, 2).perm, 2);
        assert_eq!(masked(&config, 0).perm, 0);
    }

    #[tokio::test]
    async fn a_dropped_name_server_stays_dropped() {
        let server = NameServer::new("127.0.0.1:1");
        assert!(server.become_registered());
        assert!(!server.become_registered());
        server.drop_it();
        assert!(!server.become_registered());
        assert!(!server.become_failed());
        assert!(server.is_dropped());
    }
}
