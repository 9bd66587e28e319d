// SPDX-License-Identifier: Apache-2.0
//! The name server: brokers register their topics, clients ask where topics are.
//!
//! Everything but key-values and configuration is in memory and comes back with the next
//! registration of each broker. [`routes`] has the tables and their rules, `liveness` decides who is
//! gone, `processor` answers requests. Name servers do not talk to each other.

pub mod config;
pub mod error;
pub mod kv;
mod liveness;
pub mod metrics;
mod processor;
pub mod routes;
pub mod run;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use aerobee_daemon::{StartError as ProcessError, logging::set_levels};
use aerobee_remoting::{
    Bound, Limits, Server,
    tls::{ClientTls, Secure},
};
use tokio::task::JoinHandle;

use crate::{
    config::Settings,
    kv::Kv,
    liveness::{Clock, Liveness},
    metrics::Metrics,
    processor::{Brokers, ConfigAdmin, KvAdmin, Processors, RouteQueries, Topics},
    routes::Routes,
};
pub use crate::{
    config::{Config, Keys},
    error::StartError,
    run::{Args, run},
};

/// How to choose another port.
const CHOOSE_PORT: &str = "listenPort, or --namesrv-port of the standalone server";

/// Longest wait for requests that are under way when the name server stops.
const DRAIN: Duration = Duration::from_secs(1);

/// A running name server.
#[derive(Debug)]
pub struct Namesrv {
    server: Server,
    metrics: Arc<Metrics>,
    watch: JoinHandle<()>,
}

impl Namesrv {
    /// Reads the key-values and listens.
    ///
    /// # Errors
    /// The file of key-values makes no sense, or the port cannot be bound; the error names the fix.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        refuse_unsupported(&config)?;
        if let Some(levels) = &config.server.log_level {
            set_levels(levels);
        }
        let address = config.server.bind()?;
        let limits = limits(&config);
        let values = config.tls.values().map_err(ProcessError::from)?;
        let secure = Secure::read(values)?;
        let path = PathBuf::from(&config.namesrv.kv_config_path);
        let kv = tokio::task::spawn_blocking(move || Kv::open(path))
            .await
            .map_err(|_| StartError::Interrupted)??;
        let (processors, liveness, metrics) =
            assemble(Settings::new(config), Arc::new(kv), secure.client);
        let server = Bound::new(address)
            .and_then(|bound| bound.serve(Arc::new(processors), limits, secure.server))
            .map_err(|error| ProcessError::listen("name server", address, CHOOSE_PORT, error))?;
        Ok(Self {
            server,
            metrics: Arc::new(metrics),
            watch: tokio::spawn(liveness.watch()),
        })
    }

    /// Where the name server listens, with its real port.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// What it tells Prometheus.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Answers what is under way and ends.
    pub async fn stop(self) {
        self.watch.abort();
        self.server.close(DRAIN).await;
    }
}

fn refuse_unsupported(config: &Config) -> Result<(), StartError> {
    if config.namesrv.enable_controller_in_namesrv {
        return Err(StartError::Unsupported {
            key: "enableControllerInNamesrv",
            instead: "there is no controller here yet; run Apache's beside this name server",
        });
    }
    if config.namesrv.cluster_test {
        tracing::warn!("clusterTest does nothing here: unknown topics stay unknown");
    }
    Ok(())
}

fn limits(config: &Config) -> Limits {
    let idle = config.server.server_channel_max_idle_time_seconds;
    Limits {
        idle: Duration::from_secs(u64::from(idle.unsigned_abs())),
        ..Limits::default()
    }
}

fn assemble(
    settings: Settings,
    kv: Arc<Kv>,
    tls: Option<Arc<ClientTls>>,
) -> (Processors, Arc<Liveness>, Metrics) {
    let clock = Clock::start();
    let routes = Arc::new(Routes::default());
    let metrics = Metrics {
        routes: Arc::clone(&routes),
    };
    let liveness = Arc::new(Liveness::new(
        Arc::clone(&routes),
        settings.clone(),
        clock,
        tls,
    ));
    let processors = Processors {
        route: RouteQueries {
            routes: Arc::clone(&routes),
            kv: Arc::clone(&kv),
            settings: settings.clone(),
            clock,
        },
        brokers: Arc::new(Brokers {
            routes: Arc::clone(&routes),
            kv: Arc::clone(&kv),
            liveness: Arc::clone(&liveness),
            settings: settings.clone(),
            clock,
        }),
        topics: Topics {
            routes,
            settings: settings.clone(),
        },
        kv: KvAdmin { kv },
        config: Arc::new(ConfigAdmin::new(settings)),
        liveness: Arc::clone(&liveness),
    };
    (processors, liveness, metrics)
}
