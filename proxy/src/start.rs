// SPDX-License-Identifier: Apache-2.0
//! A running proxy: puts the parts together, starts and ends them.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aerobee_auth::{guard::Guard, tables::Tables};
use aerobee_daemon::{StartError as ProcessError, flags::parse_addresses};
use aerobee_remoting::{
    Adopter, Limits, Local,
    client::Signer,
    tls::{ClientTls, Secure},
};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    access::{self, Access, Users},
    announce::Announcer,
    brokers::Brokers,
    clients::Clients,
    config::Config,
    error::StartError,
    forward::Forward,
    http::Front,
    listen::{self, Door},
    lite::Rate,
    metrics::Metrics,
    push,
    receipts::Receipts,
    relay::Relay,
    routes::Routes,
    rpc::Parts,
    tls::Tls,
};

/// The broker of this process.
#[derive(Debug, Clone)]
pub struct Beside {
    /// Takes requests.
    pub local: Local,
    /// Its users and access lists.
    pub tables: Arc<Tables>,
    /// Who lets requests in there; none if everybody may do everything.
    pub guard: Option<Arc<Guard>>,
}

/// How to choose another port.
const CHOOSE_PORT: &str =
    "grpcServerPort or remotingListenPort, or --proxy-port of the standalone server";
/// Longest wait for messages to be given back when the proxy ends.
const RELEASE: Duration = Duration::from_secs(3);

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    remoting_address: Option<SocketAddr>,
    door: Arc<Door>,
    metrics: Arc<Metrics>,
    parts: Arc<Parts>,
    drain: watch::Sender<bool>,
    loops: JoinSet<()>,
    grace: Duration,
}

impl Proxy {
    /// Listens. Brokers are found when they are needed; `beside` is the one of this process, if there is
    /// one.
    ///
    /// # Errors
    /// A port cannot be bound, the certificate cannot be used, or no name server is given; the error
    /// names the fix.
    pub fn start(config: Config, beside: Option<&Beside>) -> Result<Self, StartError> {
        let name_servers: Vec<String> = parse_addresses(&config.namesrv_addr)?
            .iter()
            .map(ToString::to_string)
            .collect();
        if name_servers.is_empty() {
            return Err(StartError::NoNameServer);
        }
        let ip: IpAddr = config
            .bind_address
            .parse()
            .map_err(|_| StartError::BindAddress(config.bind_address.clone()))?;
        let mode = config.tls_mode()?;
        let tls = Tls::open(&config, mode)?;
        let listener = bind(SocketAddr::new(ip, config.grpc_server_port))?;
        let second = match config.remoting_listen_port {
            0 => None,
            port if port == config.grpc_server_port => None,
            port => Some(bind(SocketAddr::new(ip, port))?),
        };
        let address = address_of(&listener)?;
        let remoting_address = second.as_ref().map(address_of).transpose()?;
        let config = Arc::new(config);
        let (drain, drained) = watch::channel(false);
        let upstream = config.upstream.values().map_err(ProcessError::from)?;
        let upstream = Secure::read(upstream).map_err(StartError::Upstream)?.client;
        let signer = config.credentials()?.map(|keys| Arc::new(keys) as _);
        let guard = guard(&config, beside)?;
        let upstream = Upstream {
            name_servers,
            tls: upstream,
            signer,
            beside,
        };
        let (parts, relay_client) = assemble(&config, upstream, guard, drained.clone());
        let forward = Forward::new(
            Arc::clone(&parts.brokers),
            Arc::clone(&parts.routes),
            Arc::clone(&config),
            parts.access.clone(),
        );
        let door = Arc::new(Door {
            front: Front::new(&parts, config.grpc_max_inbound_message_size),
            remoting: Adopter::new(Arc::new(forward), Limits::default()),
            tls: tls.clone(),
            mode,
            config: Arc::clone(&config),
            drain: drained,
            open: AtomicUsize::new(0),
        });
        let mut loops = JoinSet::new();
        loops.spawn(listen::accept(listener, Arc::clone(&door)));
        if let Some(second) = second {
            loops.spawn(listen::accept(second, Arc::clone(&door)));
        }
        if let Some(tls) = tls {
            let period = Duration::from_millis(config.tls_cert_watch_interval_ms.max(100));
            loops.spawn(tls.watch(period));
        }
        loops.spawn(Arc::clone(&parts.receipts).run());
        loops.spawn(push::run(Arc::clone(&parts)));
        loops.spawn(relay_client.run());
        Ok(Self {
            address,
            remoting_address,
            metrics: Arc::new(Metrics {
                door: Arc::clone(&door),
                name: config.node_name(),
            }),
            door,
            parts,
            drain,
            loops,
            grace: Duration::from_secs(config.grpc_shutdown_time_seconds),
        })
    }

    /// Where the proxy listens, with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens besides.
    pub fn remoting_address(&self) -> Option<SocketAddr> {
        self.remoting_address
    }

    /// What it tells Prometheus.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Takes no new connections, lets calls under way end, gives back what clients have not
    /// acknowledged, and ends.
    pub async fn stop(mut self) {
        self.drain.send_replace(true);
        let deadline = Instant::now() + self.grace;
        while self.door.open.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(5)).await;
        }
        self.door.remoting.close(Duration::from_secs(1)).await;
        if timeout(RELEASE, self.parts.receipts.release_all())
            .await
            .is_err()
        {
            tracing::warn!("some messages come back only at the end of their invisible time");
        }
        self.loops.shutdown().await;
        self.parts.brokers.close();
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    let failed = |error| ProcessError::listen("proxy", address, CHOOSE_PORT, error);
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    };
    let socket = socket.map_err(failed)?;
    socket.set_reuseaddr(true).map_err(failed)?;
    socket.bind(address).map_err(failed)?;
    Ok(socket.listen(1024).map_err(failed)?)
}

fn address_of(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|source| {
        ProcessError::System {
            action: "read the address of a listener",
            source,
        }
        .into()
    })
}

/// Who lets calls in: as the proxy's own keys say, else as the broker of this process does. Requests to that
/// broker are not asked again who makes them, so a proxy beside a broker that asks has to ask.
fn guard(config: &Config, beside: Option<&Beside>) -> Result<Option<Arc<Guard>>, StartError> {
    let settings = config.auth.settings()?;
    let own = Guard::new(settings, &config.rocketmq_cluster_name).map(Arc::new);
    Ok(own.or_else(|| beside?.guard.clone()))
}

/// Where requests go, and how.
struct Upstream<'a> {
    name_servers: Vec<String>,
    tls: Option<Arc<ClientTls>>,
    signer: Option<Arc<dyn Signer>>,
    beside: Option<&'a Beside>,
}

fn assemble(
    config: &Arc<Config>,
    upstream: Upstream<'_>,
    guard: Option<Arc<Guard>>,
    drain: watch::Receiver<bool>,
) -> (Arc<Parts>, Announcer) {
    let clients = Arc::new(Clients::new(Duration::from_millis(
        config.channel_expired_timeout,
    )));
    let relay = Arc::new(Relay::new(Arc::clone(&clients), config.relay_timeout()));
    let brokers = Arc::new(Brokers::new(
        upstream.name_servers,
        config.rocketmq_mq_client_num,
        &relay,
        upstream.tls,
        upstream.signer,
        upstream.beside.map(|beside| &beside.local),
    ));
    let routes = Arc::new(Routes::new(Arc::clone(&brokers), config));
    let access = guard.map(|guard| {
        let users = match upstream.beside {
            Some(beside) => Users::Local(Arc::clone(&beside.tables)),
            None => Users::Cluster(access::Cluster::new(&brokers, &routes, config)),
        };
        Arc::new(Access { guard, users })
    });
    let receipts = Arc::new(Receipts::new(
        Arc::clone(&brokers),
        Arc::clone(&routes),
        Arc::clone(&clients),
        Arc::clone(config),
    ));
    let announcer = Announcer {
        brokers: Arc::clone(&brokers),
        routes: Arc::clone(&routes),
        clients: Arc::clone(&clients),
        period: Duration::from_secs(config.transaction_heartbeat_period_second.max(1)),
        client_id: format!("aerobee-proxy@{}", std::process::id()),
    };
    let parts = Arc::new(Parts {
        config: Arc::clone(config),
        brokers,
        routes,
        clients,
        receipts,
        lite_rate: Rate::new(config.max_sync_lite_subscription_rate),
        access,
        drain,
    });
    (parts, announcer)
}
