// SPDX-License-Identifier: Apache-2.0
//! The parts of a broker, built in order; each processor is handed just those that it uses. The only
//! place that knows all of them.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aerobee_auth::{config::Settings as AuthSettings, guard::Guard, tables::Tables};
use aerobee_daemon::StartError as ProcessError;
use aerobee_message::topic as names;
use aerobee_remoting::{Limits, latency::Latencies, tls::ClientTls};
use aerobee_store::Store;
use parking_lot::Mutex;
use tokio::task::{JoinSet, spawn_blocking};

use crate::{
    StartError,
    clients::{Clients, broadcast},
    config::{Config, Identity, Switches},
    delays::Delays,
    groups::Groups,
    lite::Lite,
    longpoll::pull::HeldPulls,
    metrics::{self, Metrics},
    offsets::Offsets,
    pop::{self, running::Popping},
    processor::{
        Access, Processors,
        ack::Ack,
        admin::{
            auth::AuthAdmin, cleaning::Cleaning, client::ClientAdmin, config::ConfigAdmin,
            forward::Forward, group::GroupAdmin, lite::LiteAdmin, progress::Progress, reset::Reset,
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
    system,
    timer::{Timer, recall::Recall},
    topics::Topics,
    transaction::{self, Transactions},
};
/// The parts that have state, before anything runs.
pub(crate) struct Parts {
    pub(crate) store: Arc<Store>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) switches: Arc<Switches>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) offsets: Arc<Offsets>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) registration: Arc<Registration>,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) levels: Arc<DelayLevels>,
    pub(crate) delays: Arc<Delays>,
    /// Whether the broker before ended without closing the store.
    pub(crate) crashed: bool,
    pub(crate) lite: Arc<Lite>,
    /// Users and access lists.
    pub(crate) tables: Arc<Tables>,
    /// Who may do what, where that is asked.
    pub(crate) guard: Option<Arc<Guard>>,
    /// Where changes of the configuration are kept.
    pub(crate) config_file: PathBuf,
    /// Where tables are kept.
    pub(crate) directory: PathBuf,
}

/// A store just opened, and what it was opened with.
pub(crate) struct Opened {
    pub(crate) store: Arc<Store>,
    pub(crate) levels: Arc<DelayLevels>,
    /// Whether the broker before ended without closing the store.
    pub(crate) crashed: bool,
}

impl Parts {
    pub(crate) fn open(
        config: Config,
        port: u16,
        opened: Opened,
        tls: Option<Arc<ClientTls>>,
    ) -> Result<Self, StartError> {
        let identity = Identity::new(&config, port)?;
        let Opened {
            store,
            levels,
            crashed,
        } = opened;
        let directory = Path::new(&config.store.store_path_root_dir).join("config");
        std::fs::create_dir_all(&directory).map_err(|error| {
            ProcessError::directory(
                "configuration directory",
                &directory,
                "storePathRootDir",
                error,
            )
        })?;
        let auth = config.auth.settings()?;
        let tables = open_tables(&directory.join("auth.json"), &auth)?;
        let signer = auth.credentials.clone().map(|keys| Arc::new(keys) as _);
        let guard = Guard::new(auth, &config.broker.broker_cluster_name).map(Arc::new);
        let system = system::topics(&config.broker, &identity, levels.highest());
        let topics = Topics::open(&directory.join("topics.json"), &store, system)?;
        topics.light().enable(config.store.has_light_queues());
        topics.widen(names::SCHEDULE, levels.highest());
        let offsets = Offsets::open_behind(&directory, Some(Arc::clone(&store)))?;
        let groups = Groups::open_or_rebuild(&directory.join("subscriptionGroup.json"), || {
            known_groups(&topics, &offsets)
        })?;
        groups.configure(
            config.broker.auto_create_subscription_group,
            config.broker.enable_create_sys_group,
        );
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
            tls,
            signer,
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
            tables,
            guard,
            config_file,
            directory,
        })
    }

    /// Reads what is open; that may take a while.
    pub(crate) async fn transactions(
        &self,
        requeue: &Arc<Requeue>,
    ) -> Result<Arc<Transactions>, StartError> {
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
    pub(crate) async fn popping(&self, requeue: &Arc<Requeue>) -> Result<Popping, StartError> {
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

    pub(crate) fn processors(
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
            tables,
            guard,
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
            auth: AuthAdmin {
                tables: Arc::clone(tables),
                guarded: guard.is_some(),
            },
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
                identity: Arc::clone(identity),
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
                switches: Arc::clone(switches),
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
                switches: Arc::clone(switches),
                events: Arc::clone(requeue.events()),
                identity: Arc::clone(identity),
                held: Arc::clone(held),
                polls: Arc::clone(&popping.polls),
                changing: Mutex::default(),
            }),
            group: Arc::new(GroupAdmin {
                groups: Arc::clone(groups),
                offsets: Arc::clone(offsets),
                events: Arc::clone(requeue.events()),
                stats: Arc::clone(stats),
                held: Arc::clone(held),
                polls: Arc::clone(&popping.polls),
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

    pub(crate) fn metrics(
        &self,
        requeue: &Arc<Requeue>,
        transactions: &Arc<Transactions>,
        popping: &Popping,
        rpc: Vec<Arc<Latencies>>,
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
            rpc,
        })
    }

    pub(crate) fn schedule(&self, requeue: &Arc<Requeue>) -> Result<Schedule, StartError> {
        let config = self.switches.config();
        let directory = Path::new(&config.store.store_path_root_dir).join("config");
        let period = millis(config.store.flush_delay_offset_interval);
        let schedule = Schedule::start(&directory, requeue, &self.levels, period, self.crashed)?;
        self.runtime.show_levels(schedule.progress());
        Ok(schedule)
    }

    /// Recovers the wheel, which may take a while.
    pub(crate) async fn timer(&self, requeue: &Arc<Requeue>) -> Result<Option<Timer>, StartError> {
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

    /// Who lets requests in, if that is asked.
    pub(crate) fn access(&self) -> Option<Access> {
        self.guard.as_ref().map(|guard| Access {
            guard: Arc::clone(guard),
            tables: Arc::clone(&self.tables),
        })
    }

    pub(crate) fn limits(&self) -> Limits {
        let config = self.switches.config();
        let idle = config.server.server_channel_max_idle_time_seconds;
        Limits {
            idle: Duration::from_secs(u64::from(idle.unsigned_abs())),
            ..Limits::default()
        }
    }

    pub(crate) fn loops(&self, held: &Arc<HeldPulls>) -> JoinSet<()> {
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
        loops.spawn(Arc::clone(&self.stats).run(Arc::clone(&self.switches)));
        loops.spawn(Arc::clone(&self.lite).run());
        loops.spawn(Arc::clone(&self.lite).run_expiry());
        loops
    }
}

/// Users and access lists, with the users that the configuration wants.
fn open_tables(file: &Path, auth: &AuthSettings) -> Result<Arc<Tables>, StartError> {
    let tables = Tables::open(file).map_err(StartError::Users)?;
    let inner = auth
        .credentials
        .as_ref()
        .zip(auth.credentials_secret.as_ref());
    let inner = inner.map(|(keys, secret)| (keys.access_key(), secret.as_str()));
    let first = auth.first_user.as_ref();
    let first = first.map(|(name, password)| (name.as_str(), password.as_str()));
    for (name, password) in first.into_iter().chain(inner) {
        if tables
            .ensure_super(name, password)
            .map_err(StartError::FirstUser)?
        {
            tracing::info!(target: "aerobee::admin", user = name, "super user of the configuration made");
        }
    }
    if auth.authentication && tables.is_empty() {
        return Err(StartError::NoUsers);
    }
    Ok(Arc::new(tables))
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

fn millis(value: i64) -> Duration {
    Duration::from_millis(value.unsigned_abs())
}

/// Groups that positions and retry topics speak of.
fn known_groups(topics: &Topics, offsets: &Offsets) -> Vec<String> {
    let committed = offsets.groups().into_iter().map(String::from);
    let mut known: BTreeSet<String> = committed
        .filter(|group| !broadcast::is_committed_group(group))
        .collect();
    let all = topics.all();
    let retries = all
        .iter()
        .filter(|topic| topic.name().starts_with(names::RETRY_PREFIX));
    known.extend(retries.map(|topic| names::group_of_retry_topic(topic.name()).to_owned()));
    known.into_iter().collect()
}
