// SPDX-License-Identifier: Apache-2.0
//! What a running broker tells Prometheus. Apache: `BrokerMetricsManager` and what it starts.
//!
//! Nothing is counted for it but the answers of each turn (`remoting/src/latency.rs`): names, offsets and counts that exist are read when somebody asks, on a
//! thread of the asker's. Each lock is taken for one name or for a copy of a list, so that requests
//! do not wait for a scrape.

mod clients;
mod lag;
mod messages;
pub mod names;
mod pop;
mod rpc;
mod store;

use std::{
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use aerobee_daemon::exposition::{Exposition, Samples};
use aerobee_remoting::latency::Latencies;
use aerobee_store::Store;

pub(crate) use self::lag::Times;
use crate::{
    clients::Clients,
    config::{Identity, Switches},
    delays::Delays,
    events::{Events, Sizes, Spread},
    groups::Groups,
    offsets::Offsets,
    pop::Pops,
    registration::Registration,
    runtime::Traffic,
    stats::Stats,
    topics::Topics,
    transaction::Transactions,
};

/// Groups of the system begin so, in any case.
const SYSTEM_GROUPS: &str = "cid_rmq_sys_";

/// The parts that metrics are read from.
pub struct Metrics {
    pub(crate) identity: Arc<Identity>,
    pub(crate) switches: Arc<Switches>,
    pub(crate) store: Arc<Store>,
    pub(crate) directory: PathBuf,
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) offsets: Arc<Offsets>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) events: Arc<Events>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) delays: Arc<Delays>,
    pub(crate) registration: Arc<Registration>,
    pub(crate) transactions: Weak<Transactions>,
    pub(crate) pops: Arc<Pops>,
    pub(crate) times: Times,
    /// Of each port.
    pub(crate) rpc: Vec<Arc<Latencies>>,
}

impl Metrics {
    fn is_system(&self, topic: &str, group: &str) -> bool {
        self.identity.is_system_topic(topic) || is_system_group(group)
    }

    /// Writes all metrics. Reads the disk, so not on a thread of the network.
    pub fn write(&self, out: &mut Exposition) {
        let config = self.switches.config();
        let keys = &config.metrics;
        let mut labels = vec![
            ("cluster", self.identity.cluster.as_str()),
            ("node_type", "broker"),
            ("node_id", self.identity.broker_name.as_str()),
        ];
        labels.extend(keys.labels());
        out.set_common(&labels);
        let limit = keys.metrics_otel_cardinality_limit.unsigned_abs();
        out.set_series_max(usize::try_from(limit).unwrap_or(usize::MAX));
        self.events
            .forget(|topic| !topic.is_empty() && self.topics.find(topic).is_none());
        if keys.enable_stats_metrics {
            let permission = config.broker.broker_permission;
            out.single(&names::BROKER_PERMISSION, permission);
            out.single(&names::TOPIC_NUMBER, self.topics.len());
            out.single(&names::GROUP_NUMBER, self.groups.all().len());
        }
        if keys.enable_request_metrics {
            self.write_messages(out);
            self.write_changes(out);
        }
        if keys.enable_remoting_metrics {
            self.write_rpc(out);
        }
        if keys.enable_connection_metrics {
            self.write_clients(out);
        }
        if keys.enable_lag_and_dlq_metrics {
            self.write_lag(out);
        }
        if keys.enable_transaction_metrics {
            self.write_transactions(out);
        }
        if keys.enable_message_store_metrics {
            self.write_store(out);
        }
        if keys.enable_pop_metrics {
            self.write_pop(out);
        }
        out.set_common(&[]);
    }

    /// Why the broker cannot be used, if it cannot.
    pub fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if let Err(reason) = self.store.writable() {
            reasons.push(format!("the store takes no messages: {reason}"));
        }
        if !self.registration.is_known() {
            reasons.push("no name server has registered the broker".to_owned());
        }
        reasons
    }

    fn write_changes(&self, out: &mut Exposition) {
        let labels = ["invocation_status", "is_system"];
        for (metric, spread) in [
            (&names::TOPIC_CREATE_TIME, &self.events.topic_changes),
            (&names::GROUP_CREATE_TIME, &self.events.group_changes),
        ] {
            write_spread(out.metric(metric), spread, labels);
        }
    }

    fn write_transactions(&self, out: &mut Exposition) {
        if let Some(transactions) = self.transactions.upgrade() {
            let mut samples = out.metric(&names::HALF_MESSAGES);
            for (topic, count) in transactions.open_by_topic() {
                samples.add(&[("topic", &topic)], count);
            }
        }
        for (metric, tally) in [
            (&names::COMMITS, &self.events.committed),
            (&names::ROLLBACKS, &self.events.rolled_back),
        ] {
            let mut samples = out.metric(metric);
            for ((_, topic), count) in tally.read() {
                samples.add(&[("topic", &topic)], count);
            }
        }
        let samples = out.metric(&names::FINISH_LATENCY);
        write_spread(samples, &self.events.commit_age, ["", "topic"]);
    }
}

/// Writes a histogram of each name; a label without a name is left out.
fn write_spread<const N: usize>(mut samples: Samples<'_>, spread: &Spread<N>, labels: [&str; 2]) {
    let bounds = spread.bounds();
    let bounds: Vec<&str> = bounds.iter().map(String::as_str).collect();
    for ((first, second), sizes) in spread.read() {
        let Sizes {
            by_span,
            above,
            sum,
        } = sizes;
        let all = [(labels[0], &*first), (labels[1], &*second)];
        let used = if labels[0].is_empty() {
            &all[1..]
        } else {
            &all
        };
        let counts = by_span.into_iter().chain([above]);
        samples.histogram(used, &bounds, counts, sum);
    }
}

/// How long the timer's thread may take to count what waits.
const CENSUS: Duration = Duration::from_millis(100);

fn flag(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

fn is_system_group(group: &str) -> bool {
    group
        .get(..SYSTEM_GROUPS.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(SYSTEM_GROUPS))
}
