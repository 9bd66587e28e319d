// SPDX-License-Identifier: Apache-2.0
//! The broker: builds the parts, hands each processor its own, starts the loops, stops in order.
//!
//! This file is the only place that knows all parts; nobody holds it.

pub mod attributes;
pub mod clients;
pub mod config;
mod copies;
mod delays;
pub mod error;
mod events;
pub mod filter;
pub mod groups;
mod latency;
mod light;
mod lite;
mod longpoll;
pub mod metrics;
pub mod offsets;
pub mod pop;
mod processor;
mod pulse;
mod put_counts;
pub mod registration;
mod requeue;
pub mod run;
pub mod runtime;
mod schedule;
mod stats;
mod system;
pub mod table;
mod timer;
pub mod topics;
mod transaction;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aerobee_daemon::{StartError as ProcessError, flags::parse_addresses, logging::set_levels};
use aerobee_message::topic as names;
use aerobee_remoting::{Bound, Limits, Server};
use aerobee_store::{Env, Store};
use parking_lot::Mutex;
use tokio::task::{JoinSet, spawn_blocking};

use crate::{
    clients::{Clients, broadcast},
    config::{BrokerRole, Identity, Switches},
    delays::Delays,
    groups::Groups,
    lite::Lite,
    longpoll::pull::HeldPulls,
    metrics::Metrics,
    offsets::Offsets,
    pop::running::Popping,
    processor::{
        Listener, Port, Processors,
        ack::Ack,
        admin::{
            cleaning::Cleaning, client::ClientAdmin, config::ConfigAdmin, forward::Forward,
            group::GroupAdmin, lite::LiteAdmin, progress::Progress, reset::Reset,
            topic::TopicAdmin,
        },
        answer::Answer,
        assignment::{Assignment, Routes},
        consumer::Consumer,
        flushed::Flushing,
        heartbeat::{Fingerprints, Heartbeat},
        lite::LiteTopics,
        lock::Lock,
        pop::Pop,
        pull::{Pull, Puller},
        query::Query,
        queue_offset::QueueOffset,
        send::Send,
        send_back::SendBack,
        view::View,
    },
    registration::{Registration, Settings},
    requeue::Requeue,
    runtime::Runtime,
    schedule::{Schedule, levels::DelayLevels},
    stats::Stats,
    timer::{Timer, recall::Recall},
    topics::Topics,
    transaction::Transactions,
};
pub use crate::{
    config::{Config, Keys},
    error::{StartError, StopError},
    run::{Args, run},
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
    loops: JoinSet<()>,
    schedule: Schedule,
    timer: Option<Timer>,
}

/// The parts that have state, before anything runs.
struct Parts {
    store: Arc<Store>,
    identity: Arc<Identity>,
    switches: Arc<Switches>,
    topics: Arc<Topics>,
    groups: Arc<Groups>,
    offsets: Arc<Offsets>,
    clients: Arc<Clients>,
    registration: Arc<Registration>,
    runtime: Arc<Runtime>,
    stats: Arc<Stats>,
    levels: Arc<DelayLevels>,
    delays: Arc<Delays>,
    /// Whether the broker before ended without closing the store.
    crashed: bool,
    lite: Arc<Lite>,
    /// Where changes of the configuration are kept.
    config_file: PathBuf,
    /// Where tables are kept.
    directory: PathBuf,
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
        let parts = Parts::open(config, ports.port(), env).await?;
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
            });
            let address = bound.address().unwrap_or(NOWHERE);
            bound
                .serve(listener, limits.clone())
                .map_err(|error| ProcessError::listen("broker", address, CHOOSE_PORT, error))
        };
        let main = serve(Port::Main, ports.main)?;
        let fast = ports.fast.map(|fast| serve(Port::Fast, fast)).transpose()?;
        let mut loops = parts.loops(&held);
        loops.spawn(Arc::clone(&transactions).run());
        let schedule = parts.schedule(&requeue)?;
        loops.spawn(Arc::clone(&popping.polls).sweep());
        let timer = parts.timer(&requeue).await?;
        let metrics = parts.metrics(&requeue, &transactions, &popping);
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
            loops,
            schedule,
            timer,
        })
    }

    /// Where the broker listens.
    pub fn address(&self) -> SocketAddr {
        self.main.address()
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

impl Parts {
    async fn open(config: Config, port: u16, env: Env) -> Result<Self, StartError> {
        let identity = Identity::new(&config, port)?;
        let levels = Arc::new(config.store.delay_levels()?);
        let store_config = config.to_store(&levels);
        let crashed = Path::new(&config.store.store_path_root_dir)
            .join("abort")
            .exists();
        let store = spawn_blocking(move || Store::open(store_config, env))
            .await
            .map_err(|_| StartError::Interrupted)??;
        let directory = Path::new(&config.store.store_path_root_dir).join("config");
        std::fs::create_dir_all(&directory).map_err(|error| {
            ProcessError::directory(
                "configuration directory",
                &directory,
                "storePathRootDir",
                error,
            )
        })?;
        let system = system::topics(&config.broker, &identity, levels.highest());
        let topics = Topics::open(&directory.join("topics.json"), &store, system)?;
        topics.light().enable(config.store.has_light_queues());
        topics.widen(names::SCHEDULE, levels.highest());
        let groups = Groups::open(&directory.join("subscriptionGroup.json"))?;
        groups.configure(
            config.broker.auto_create_subscription_group,
            config.broker.enable_create_sys_group,
        );
        let offsets = Offsets::open_behind(&directory, Some(Arc::clone(&store)))?;
        let clients = Arc::new(Clients::default());
        clients.notices.configure(
            config.broker.notify_consumer_ids_changed_enable,
            config.broker.real_time_notify_consumer_change,
        );
        let runtime = Runtime::new(
            Arc::clone(&store),
            PathBuf::from(&config.store.store_path_root_dir),
        );
        let config_file = config
            .broker
            .broker_config_path
            .as_ref()
            .map_or_else(|| directory.join("broker.properties"), PathBuf::from);
        let settings = Settings {
            period: millis(config.broker.register_name_server_period),
            timeout: millis(config.broker.register_broker_timeout_mills),
            permission: config.broker.broker_permission,
        };
        let clock = store.clock().clone();
        let switches = Switches::new(config);
        Ok(Self {
            delays: Delays::new(&levels, &switches, clock.clone()),
            lite: Lite::new(&store, &topics, &groups, &offsets, &switches),
            levels,
            crashed,
            stats: Stats::new(&identity.cluster, clock, &topics, &groups),
            registration: Registration::new(identity.clone(), Arc::clone(&topics), &settings),
            store,
            identity: Arc::new(identity),
            switches,
            topics,
            groups,
            offsets,
            clients,
            runtime,
            config_file,
            directory,
        })
    }

    /// Reads what is open; that may take a while.
    async fn transactions(&self, requeue: &Arc<Requeue>) -> Result<Arc<Transactions>, StartError> {
        let (store, topics) = (Arc::clone(&self.store), Arc::clone(&self.topics));
        let (offsets, clients) = (Arc::clone(&self.offsets), Arc::clone(&self.clients));
        let (identity, switches) = (Arc::clone(&self.identity), Arc::clone(&self.switches));
        let (requeue, directory) = (Arc::clone(requeue), self.directory.clone());
        let delays = Arc::clone(&self.delays);
        let open = move || {
            let parts = transaction::Parts {
                store: &store,
                topics: &topics,
                offsets: &offsets,
                clients: &clients,
                requeue: &requeue,
                delays: &delays,
                identity: &identity,
                switches: &switches,
            };
            Transactions::open(&parts, &directory)
        };
        spawn_blocking(open)
            .await
            .map_err(|_| StartError::Interrupted)
    }

    /// Reads what is popped back, and starts the thread that puts messages back.
    async fn popping(&self, requeue: &Arc<Requeue>) -> Result<Popping, StartError> {
        let parts = pop::Parts {
            store: Arc::clone(&self.store),
            topics: Arc::clone(&self.topics),
            groups: Arc::clone(&self.groups),
            offsets: Arc::clone(&self.offsets),
            switches: Arc::clone(&self.switches),
            identity: Arc::clone(&self.identity),
            requeue: Arc::clone(requeue),
        };
        let root = self.switches.config().store.store_path_root_dir.clone();
        Popping::start(parts, &Path::new(&root).join("config")).await
    }

    fn processors(
        &self,
        puller: Arc<Puller>,
        flushing: &Arc<Flushing>,
        requeue: &Arc<Requeue>,
        transactions: &Arc<Transactions>,
        popping: &Popping,
    ) -> Processors {
        let held = flushing.held();
        let Self {
            store,
            identity,
            switches,
            topics,
            groups,
            offsets,
            clients,
            registration,
            runtime,
            stats,
            delays,
            lite,
            config_file,
            ..
        } = self;
        let send = Arc::new(Send {
            store: Arc::clone(store),
            topics: Arc::clone(topics),
            groups: Arc::clone(groups),
            locks: Arc::clone(&clients.locks),
            identity: Arc::clone(identity),
            switches: Arc::clone(switches),
            registration: Arc::clone(registration),
            flushing: Arc::clone(flushing),
            traffic: Arc::clone(runtime.traffic()),
            transactions: Arc::clone(transactions),
            delays: Arc::clone(delays),
            lite: Arc::clone(lite),
        });
        Processors {
            send_back: Arc::new(SendBack {
                store: Arc::clone(store),
                groups: Arc::clone(groups),
                identity: Arc::clone(identity),
                switches: Arc::clone(switches),
                requeue: Arc::clone(requeue),
                delays: Arc::clone(delays),
                stats: Arc::clone(stats),
            }),
            answer: Arc::new(Answer {
                send: Arc::clone(&send),
                clients: Arc::clone(clients),
            }),
            send,
            recall: Arc::new(Recall {
                store: Arc::clone(store),
                topics: Arc::clone(topics),
                identity: Arc::clone(identity),
                switches: Arc::clone(switches),
                requeue: Arc::clone(requeue),
                delays: Arc::clone(delays),
            }),
            pull: Pull {
                topics: Arc::clone(topics),
                groups: Arc::clone(groups),
                consumers: Arc::clone(&clients.consumers),
                offsets: Arc::clone(offsets),
                switches: Arc::clone(switches),
                puller,
                held: Arc::clone(held),
                stats: Arc::clone(stats),
                broadcast: Arc::clone(&clients.broadcast),
            },
            pop: Pop {
                pops: Arc::clone(&popping.pops),
                polls: Arc::clone(&popping.polls),
                stats: Arc::clone(stats),
            },
            ack: Ack {
                pops: Arc::clone(&popping.pops),
                stats: Arc::clone(stats),
            },
            assignment: Arc::new(Assignment {
                topics: Arc::clone(topics),
                groups: Arc::clone(groups),
                consumers: Arc::clone(&clients.consumers),
                switches: Arc::clone(switches),
                identity: Arc::clone(identity),
                registration: Arc::clone(registration),
                modes: Arc::clone(&popping.modes),
                routes: Routes::default(),
            }),
            heartbeat: Arc::new(Heartbeat {
                topics: Arc::clone(topics),
                groups: Arc::clone(groups),
                clients: Arc::clone(clients),
                registration: Arc::clone(registration),
                fingerprints: Fingerprints::default(),
            }),
            consumer: Consumer {
                topics: Arc::clone(topics),
                groups: Arc::clone(groups),
                consumers: Arc::clone(&clients.consumers),
                offsets: Arc::clone(offsets),
                store: Arc::clone(store),
            },
            queue_offset: QueueOffset {
                store: Arc::clone(store),
            },
            lock: Lock {
                locks: Arc::clone(&clients.locks),
            },
            query: Query {
                store: Arc::clone(store),
                switches: Arc::clone(switches),
            },
            view: View {
                store: Arc::clone(store),
            },
            topic: Arc::new(TopicAdmin {
                topics: Arc::clone(topics),
                offsets: Arc::clone(offsets),
                store: Arc::clone(store),
                registration: Arc::clone(registration),
                events: Arc::clone(requeue.events()),
                reserved: vec![
                    identity.cluster.clone(),
                    identity.broker_name.clone(),
                    format!("{}_{}", identity.cluster, names::REPLY_SUFFIX),
                ],
                changing: Mutex::default(),
            }),
            group: Arc::new(GroupAdmin {
                groups: Arc::clone(groups),
                offsets: Arc::clone(offsets),
                events: Arc::clone(requeue.events()),
            }),
            client: ClientAdmin {
                clients: Arc::clone(clients),
            },
            cleaning: Arc::new(Cleaning {
                store: Arc::clone(store),
                topics: Arc::clone(topics),
                offsets: Arc::clone(offsets),
            }),
            config: Arc::new(ConfigAdmin {
                store: Arc::clone(store),
                switches: Arc::clone(switches),
                clients: Arc::clone(clients),
                groups: Arc::clone(groups),
                registration: Arc::clone(registration),
                runtime: Arc::clone(runtime),
                file: config_file.clone(),
                version: Mutex::default(),
                changing: tokio::sync::Mutex::default(),
            }),
            progress: Arc::new(Progress {
                store: Arc::clone(store),
                topics: Arc::clone(topics),
                groups: Arc::clone(groups),
                offsets: Arc::clone(offsets),
                consumers: Arc::clone(&clients.consumers),
                identity: Arc::clone(identity),
                stats: Arc::clone(stats),
            }),
            lite: LiteTopics {
                lite: Arc::clone(lite),
                topics: Arc::clone(topics),
                groups: Arc::clone(groups),
                switches: Arc::clone(switches),
                clock: store.clock().clone(),
            },
            lite_admin: Arc::new(LiteAdmin {
                lite: Arc::clone(lite),
                store: Arc::clone(store),
                topics: Arc::clone(topics),
                groups: Arc::clone(groups),
                offsets: Arc::clone(offsets),
                switches: Arc::clone(switches),
            }),
            forward: Forward {
                store: Arc::clone(store),
                topics: Arc::clone(topics),
                groups: Arc::clone(groups),
                consumers: Arc::clone(&clients.consumers),
                identity: Arc::clone(identity),
            },
            reset: Arc::new(Reset {
                store: Arc::clone(store),
                topics: Arc::clone(topics),
                groups: Arc::clone(groups),
                offsets: Arc::clone(offsets),
                consumers: Arc::clone(&clients.consumers),
                identity: Arc::clone(identity),
                switches: Arc::clone(switches),
                held: Arc::clone(held),
                stats: Arc::clone(stats),
            }),
            transactions: Arc::clone(transactions),
            held: Arc::clone(held),
            clients: Arc::clone(clients),
        }
    }

    fn metrics(
        &self,
        requeue: &Arc<Requeue>,
        transactions: &Arc<Transactions>,
        popping: &Popping,
    ) -> Arc<Metrics> {
        let root = &self.switches.config().store.store_path_root_dir;
        Arc::new(Metrics {
            identity: Arc::clone(&self.identity),
            switches: Arc::clone(&self.switches),
            store: Arc::clone(&self.store),
            directory: PathBuf::from(root),
            topics: Arc::clone(&self.topics),
            groups: Arc::clone(&self.groups),
            offsets: Arc::clone(&self.offsets),
            clients: Arc::clone(&self.clients),
            stats: Arc::clone(&self.stats),
            events: Arc::clone(requeue.events()),
            traffic: Arc::clone(self.runtime.traffic()),
            delays: Arc::clone(&self.delays),
            registration: Arc::clone(&self.registration),
            transactions: Arc::downgrade(transactions),
            pops: Arc::clone(&popping.pops),
            times: metrics::Times::default(),
        })
    }

    fn schedule(&self, requeue: &Arc<Requeue>) -> Result<Schedule, StartError> {
        let config = self.switches.config();
        let directory = Path::new(&config.store.store_path_root_dir).join("config");
        let period = millis(config.store.flush_delay_offset_interval);
        Schedule::start(&directory, requeue, &self.levels, period, self.crashed)
    }

    /// Recovers the wheel, which may take a while.
    async fn timer(&self, requeue: &Arc<Requeue>) -> Result<Option<Timer>, StartError> {
        if !self.delays.timer_enabled() {
            return Ok(None);
        }
        let root = PathBuf::from(&self.switches.config().store.store_path_root_dir);
        let (requeue, switches) = (Arc::clone(requeue), Arc::clone(&self.switches));
        let gate = Arc::clone(self.delays.timer());
        self.runtime.show_timer(&gate);
        let crashed = self.crashed;
        let start = move || Timer::start(&root, &requeue, &switches, &gate, crashed);
        let timer = spawn_blocking(start)
            .await
            .map_err(|_| StartError::Interrupted)??;
        Ok(Some(timer))
    }

    fn limits(&self) -> Limits {
        let config = self.switches.config();
        let idle = config.server.server_channel_max_idle_time_seconds;
        Limits {
            idle: Duration::from_secs(u64::from(idle.unsigned_abs())),
            ..Limits::default()
        }
    }

    fn loops(&self, held: &Arc<HeldPulls>) -> JoinSet<()> {
        let config = self.switches.config();
        let mut loops = JoinSet::new();
        loops.spawn(Arc::clone(held).sweep());
        loops.spawn(Arc::clone(&self.clients).run());
        let period = millis(config.broker.flush_consumer_offset_interval);
        loops.spawn(Arc::clone(&self.offsets).run(period));
        loops.spawn(commit_broadcast(
            Arc::clone(&self.clients),
            Arc::clone(&self.offsets),
            Arc::clone(&self.switches),
        ));
        loops.spawn(Arc::clone(&self.registration).run());
        loops.spawn(Arc::clone(&self.runtime).run());
        loops.spawn(Arc::clone(&self.stats).run());
        loops.spawn(Arc::clone(&self.lite).run());
        loops.spawn(Arc::clone(&self.lite).run_expiry());
        loops
    }
}

/// Commits how far broadcasting clients are, for those that are new at a proxy.
async fn commit_broadcast(clients: Arc<Clients>, offsets: Arc<Offsets>, switches: Arc<Switches>) {
    let seconds = |value: i64| Duration::from_secs(value.unsigned_abs());
    let is_online = |group: &str, client: &str| {
        let group = clients.consumers.group(group);
        group.is_some_and(|group| group.has_client(client))
    };
    let mut ticks = tokio::time::interval(broadcast::PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let memory = {
            let config = switches.config();
            broadcast::Memory {
                offline: seconds(config.broker.broadcast_offset_expire_second),
                idle: seconds(config.broker.broadcast_offset_expire_max_second),
            }
        };
        let smallest = clients
            .broadcast
            .smallest(memory, std::time::Instant::now(), is_online);
        for (group, topic, queue_id, offset) in smallest {
            if offsets.query(&group, &topic, queue_id) != Some(offset) {
                offsets.commit(&group, &topic, queue_id, offset);
            }
        }
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

fn millis(value: i64) -> Duration {
    Duration::from_millis(value.unsigned_abs())
}
