// SPDX-License-Identifier: Apache-2.0
//! What the process tells over HTTP: `/livez`, `/readyz`, `/metrics`.
//!
//! One server for all roles of the process: each role is a [`Source`]. Nothing can be changed here,
//! so there is nothing to protect but what is read; by default it listens where the roles do.

mod process;
mod scrape;
mod server;

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use aerobee_broker::metrics::Metrics as BrokerMetrics;
use aerobee_daemon::exposition::Exposition;
use aerobee_namesrv::metrics::Metrics as NamesrvMetrics;
use aerobee_proxy::metrics::Metrics as ProxyMetrics;

pub(crate) use self::server::{Door, Http, bind};

/// A role of this process.
pub(crate) trait Source: Send + Sync + 'static {
    /// Writes its metrics. Called on a thread of its own, one at a time.
    fn write(&self, out: &mut Exposition);

    /// Why it cannot be used now, if it cannot.
    fn unready(&self) -> Vec<String>;
}

impl Source for BrokerMetrics {
    fn write(&self, out: &mut Exposition) {
        BrokerMetrics::write(self, out);
    }

    fn unready(&self) -> Vec<String> {
        BrokerMetrics::unready(self)
    }
}

impl Source for ProxyMetrics {
    fn write(&self, out: &mut Exposition) {
        ProxyMetrics::write(self, out);
    }

    /// It listens from its start on, and finds brokers when they are needed.
    fn unready(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Source for NamesrvMetrics {
    fn write(&self, out: &mut Exposition) {
        NamesrvMetrics::write(self, out);
    }

    fn unready(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What is asked about: the roles that run, and whether they are about to end.
#[derive(Default)]
struct Subject {
    /// Empty until they have started: recovery may take a while, and the process is alive meanwhile.
    sources: OnceLock<Vec<Arc<dyn Source>>>,
    draining: AtomicBool,
}

impl Subject {
    fn sources(&self) -> &[Arc<dyn Source>] {
        self.sources.get().map_or(&[], Vec::as_slice)
    }

    fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Why the process cannot be used now.
    fn unready(&self) -> Vec<String> {
        if self.draining.load(Ordering::Acquire) {
            return vec!["the server is stopping".to_owned()];
        }
        let Some(sources) = self.sources.get() else {
            return vec!["the server is starting".to_owned()];
        };
        sources.iter().flat_map(|source| source.unready()).collect()
    }
}

/// All metrics of the program, whatever its roles.
#[cfg(test)]
pub(crate) fn all_metrics() -> Vec<aerobee_daemon::exposition::Metric> {
    [
        aerobee_broker::metrics::names::ALL,
        aerobee_namesrv::metrics::ALL,
        aerobee_proxy::metrics::ALL,
        process::ALL,
        scrape::ALL,
    ]
    .concat()
}

/// Where a process serves HTTP: with everything, and as Apache's exporter does, with metrics alone.
pub(crate) fn doors(
    everything: Option<SocketAddr>,
    exporter: Option<SocketAddr>,
) -> Vec<(SocketAddr, Door)> {
    let everything = everything.map(|address| (address, Door::Everything));
    let exporter = exporter.map(|address| (address, Door::Exporter));
    everything.into_iter().chain(exporter).collect()
}
