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

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use aerobee_daemon::exposition::Kind;

    use super::*;

    /// All names that a text may mean: words that begin as our metrics do.
    fn named(text: &str) -> BTreeSet<&str> {
        text.split(|letter: char| !(letter.is_ascii_lowercase() || letter == '_'))
            .filter(|word| {
                let prefixes = ["rocketmq_", "aerobee_", "process_"];
                prefixes.iter().any(|prefix| word.starts_with(prefix))
            })
            .collect()
    }

    #[test]
    fn rules_and_dashboard_name_metrics_that_exist() {
        let mut exported = BTreeSet::new();
        for metric in all_metrics() {
            exported.insert(metric.name.to_owned());
            if metric.kind == Kind::Histogram {
                let parts = ["bucket", "sum", "count"];
                exported.extend(parts.map(|part| format!("{}_{part}", metric.name)));
            }
        }
        let dist = concat!(env!("CARGO_MANIFEST_DIR"), "/../dist");
        for file in ["prometheus/alerts.yml", "grafana/aerobee.json"] {
            let text = fs::read_to_string(format!("{dist}/{file}")).unwrap();
            let names = named(&text);
            assert!(names.len() > 10, "{file}: {names:?}");
            for name in names {
                assert!(exported.contains(name), "{file} names {name}");
            }
        }
    }

    #[test]
    fn metrics_are_declared_once() {
        let all = all_metrics();
        let names: BTreeSet<_> = all.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), all.len());
        for metric in all {
            let is_total = metric.name.ends_with("_total");
            assert_eq!(is_total, metric.kind == Kind::Counter, "{}", metric.name);
        }
    }

    #[test]
    fn a_subject_is_ready_between_its_start_and_its_end() {
        let subject = Subject::default();
        assert_eq!(subject.unready(), ["the server is starting"]);
        assert!(subject.sources.set(Vec::new()).is_ok());
        assert!(subject.unready().is_empty());
        subject.drain();
        assert_eq!(subject.unready(), ["the server is stopping"]);
    }
}
