// SPDX-License-Identifier: Apache-2.0
//! A running broker: binds, has the parts built, serves, and stops in order.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use aerobee_auth::{guard::Guard, tables::Tables};
use aerobee_daemon::{
    StartError as ProcessError,
    flags::{Address, parse_addresses},
    logging::set_levels,
};
use aerobee_remoting::{Bound, Local, Server, tls::Secure};
use aerobee_store::{Env, Store};
use tokio::task::{JoinSet, spawn_blocking};

use crate::{
    StartError, StopError,
    config::{BrokerRole, Config, Identity, broken_promise},
    groups::Groups,
    lite::Lite,
    longpoll::pull::HeldPulls,
    metrics::Metrics,
    offsets::Offsets,
    parts::{Opened, Parts},
    pop::running::Popping,
    processor::{Listener, Port, flushed::Flushing, pull::Puller},
    registration::Registration,
    requeue::Requeue,
    schedule::Schedule,
    timer::Timer,
    topics::{self, Topics},
    transaction::Transactions,
};

/// Longest wait for requests that are under way when the broker stops.
const DRAIN: Duration = Duration::from_secs(1);
/// Longest wait for the name servers when the broker starts: those that are down are tried again
/// later.
const FIRST_REGISTRATION: Duration = Duration::from_secs(2);

/// How to choose another port.
const CHOOSE_PORT: &str = "listenPort, or --broker-port of the standalone server";
/// Stands in for an address that the system does not tell.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A running broker.
pub struct Broker {
    main: Server,
    fast: Option<Server>,
    identity: Arc<Identity>,
    store: Arc<Store>,
    topics: Arc<Topics>,
    groups: Arc<Groups>,
    offsets: Arc<Offsets>,
    held: Arc<HeldPulls>,
    popping: Popping,
    registration: Arc<Registration>,
    transactions: Arc<Transactions>,
    metrics: Arc<Metrics>,
    lite: Arc<Lite>,
    tables: Arc<Tables>,
    guard: Option<Arc<Guard>>,
    loops: JoinSet<()>,
    schedule: Schedule,
    timer: Option<Timer>,
}

impl Broker {
    /// Opens the store, recovers it, listens, and registers with the name servers.
    ///
    /// # Errors
    /// The store or a table cannot be opened, or a port cannot be bound; the error names the fix.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::start_in(config, Env::real()).await
    }

    /// As [`Broker::start`], on a file system and by a clock of the caller.
    ///
    /// # Errors
    /// As there.
    pub async fn start_in(config: Config, env: Env) -> Result<Self, StartError> {
        refuse_unsupported(&config)?;
        if let Some(levels) = &config.metrics.log_level {
            set_levels(levels);
        }
        let name_servers = parse_addresses(config.broker.namesrv_addr.as_deref().unwrap_or(""))
            .map_err(ProcessError::from)?;
        let ports = bind(&config)?;
        let values = config.tls.values().map_err(ProcessError::from)?;
        let secure = Secure::read(values)?;
        let levels = Arc::new(config.store.delay_levels()?);
        let root = PathBuf::from(&config.store.store_path_root_dir);
        let store_config = aerobee_store::Config {
            batch_topics: topics::batch_topics(&root.join("config").join("topics.json")),
            ..config.to_store(&levels)
        };
        let crashed = root.join("abort").exists();
        let store = spawn_blocking(move || Store::open(store_config, env))
            .await
            .map_err(|_| StartError::Interrupted)??;
        let opened = Opened {
            store: Arc::clone(&store),
            levels,
            crashed,
        };
        let started = Self::start_on(config, opened, ports, secure, &name_servers).await;
        if started.is_err() {
            // Whatever still runs of this try keeps a handle of the store, which must not keep the directory. What was
            // there after a crash is there for the next start, too.
            spawn_blocking(move || store.abandon())
                .await
                .map_err(|_| StartError::Interrupted)?;
        }
        started
    }

    /// Starts all parts on a store.
    async fn start_on(
        config: Config,
        opened: Opened,
        ports: Ports,
        secure: Secure,
        name_servers: &[Address],
    ) -> Result<Self, StartError> {
        let parts = Parts::open(config, ports.port(), opened, secure.client)?;
        let puller = Puller::new(
            Arc::clone(&parts.store),
            Arc::clone(parts.runtime.traffic()),
        );
        let held = HeldPulls::new(Arc::clone(&puller));
        let flushing = Flushing::new(Arc::clone(&parts.store), Arc::clone(&held));
        let requeue = Requeue::new(
            &parts.store,
            &parts.topics,
            &flushing,
            &parts.registration,
            &parts.identity,
        );
        let transactions = parts.transactions(&requeue).await?;
        let popping = parts.popping(&requeue).await?;
        held.set_polls(&popping.polls);
        let processors =
            Arc::new(parts.processors(puller, &flushing, &requeue, &transactions, &popping));
        let limits = parts.limits();
        let serve = |port, bound: Bound| {
            let listener = Arc::new(Listener {
                port,
                processors: Arc::clone(&processors),
                access: parts.access(),
            });
            let address = bound.address().unwrap_or(NOWHERE);
            bound
                .serve(listener, limits.clone(), secure.server.clone())
                .map_err(|error| ProcessError::listen("broker", address, CHOOSE_PORT, error))
        };
        let main = serve(Port::Main, ports.main)?;
        let fast = ports.fast.map(|fast| serve(Port::Fast, fast)).transpose()?;
        let mut loops = parts.loops(&held);
        loops.spawn(Arc::clone(&transactions).run());
        let schedule = parts.schedule(&requeue)?;
        loops.spawn(Arc::clone(&popping.polls).sweep());
        let timer = parts.timer(&requeue).await?;
        let rpc = [Some(&main), fast.as_ref()].into_iter().flatten();
        let rpc = rpc.map(|port| Arc::clone(port.latencies())).collect();
        let metrics = parts.metrics(&requeue, &transactions, &popping, rpc);
        let servers: Vec<String> = name_servers.iter().map(ToString::to_string).collect();
        parts.registration.set_servers(&servers);
        parts.registration.started(FIRST_REGISTRATION).await;
        let Parts {
            identity,
            store,
            topics,
            groups,
            offsets,
            registration,
            lite,
            tables,
            guard,
            ..
        } = parts;
        Ok(Self {
            main,
            fast,
            identity,
            store,
            topics,
            groups,
            offsets,
            held,
            popping,
            registration,
            transactions,
            metrics,
            lite,
            tables,
            guard,
            loops,
            schedule,
            timer,
        })
    }

    /// Where the broker listens.
    pub fn address(&self) -> SocketAddr {
        self.main.address()
    }

    /// The broker for clients in this process.
    pub fn local(&self) -> Local {
        self.main.local()
    }

    /// Its users and access lists.
    pub fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// Who lets requests in; none if everybody may do everything.
    pub fn guard(&self) -> Option<&Arc<Guard>> {
        self.guard.as_ref()
    }

    /// Where the fast port listens, if there is room for one below the port.
    pub fn fast_address(&self) -> Option<SocketAddr> {
        self.fast.as_ref().map(Server::address)
    }

    /// Where clients are told to find the broker.
    pub fn advertised(&self) -> SocketAddr {
        self.identity.address
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.identity.broker_name
    }

    /// What it tells Prometheus, and whether it can be used.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Leaves the name servers, answers what is under way, makes everything durable and ends.
    ///
    /// # Errors
    /// Something could not be written; what was acknowledged is safe all the same, but the next
    /// start recovers as after a crash.
    pub async fn stop(mut self) -> Result<(), StopError> {
        self.main.stop_accepting();
        if let Some(fast) = &self.fast {
            fast.stop_accepting();
        }
        self.registration.unregister().await;
        self.held.release_all();
        self.lite.release_all();
        self.popping.polls.release_all();
        self.main.close(DRAIN).await;
        if let Some(fast) = &self.fast {
            fast.close(DRAIN).await;
        }
        self.loops.shutdown().await;
        let (schedule, timer) = (self.schedule, self.timer);
        let stop = move || {
            schedule.stop();
            if let Some(timer) = timer {
                timer.stop();
            }
        };
        spawn_blocking(stop)
            .await
            .map_err(|_| StopError::Interrupted)?;
        let tables = [
            // These commit offsets.
            self.transactions.close().await,
            self.popping.stop().await,
            self.offsets.close().await,
            self.topics.close().await,
            self.groups.close().await,
        ];
        let store = self.store;
        spawn_blocking(move || store.close())
            .await
            .map_err(|_| StopError::Interrupted)??;
        for table in tables {
            table?;
        }
        Ok(())
    }
}

fn refuse_unsupported(config: &Config) -> Result<(), StartError> {
    if config.store.broker_role == BrokerRole::Slave || config.broker.broker_id != 0 {
        return Err(StartError::Unsupported {
            key: "brokerId",
            value: config.broker.broker_id.to_string(),
            reason: "slaves are not supported by this version; start a master (brokerId=0, brokerRole=ASYNC_MASTER)",
        });
    }
    if config.store.in_sync_replicas > 1 {
        return Err(StartError::Unsupported {
            key: "inSyncReplicas",
            value: config.store.in_sync_replicas.to_string(),
            reason: "replication is not supported by this version; set it to 1",
        });
    }
    for key in config.unknown() {
        let value = config.get(key).unwrap_or_default();
        if let Some((key, reason)) = broken_promise(key, &value) {
            return Err(StartError::Unsupported { key, value, reason });
        }
    }
    Ok(())
}

/// The ports of a broker, bound before the store is opened: a port in use is told at once.
struct Ports {
    main: Bound,
    /// Two ports below the main one, if there are any.
    fast: Option<Bound>,
}

impl Ports {
    fn port(&self) -> u16 {
        self.main.address().map_or(0, |address| address.port())
    }
}

fn bind(config: &Config) -> Result<Ports, StartError> {
    let bind = |port| -> Result<Bound, StartError> {
        let address = config.server.bind(port)?;
        let bound = Bound::new(address)
            .map_err(|error| ProcessError::listen("broker", address, CHOOSE_PORT, error))?;
        Ok(bound)
    };
    let port = config.server.listen_port;
    // Port 0 takes any port, as tests do; nothing says that the one two below is free as well.
    let fast = port.checked_sub(2).filter(|fast| *fast > 0);
    Ok(Ports {
        main: bind(port)?,
        fast: fast.map(bind).transpose()?,
    })
}
