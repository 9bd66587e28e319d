// SPDX-License-Identifier: Apache-2.0
//! What a running proxy tells Prometheus. Apache: `ProxyMetricsManager`.

use std::sync::{Arc, atomic::Ordering};

use aerobee_daemon::exposition::{Exposition, Metric};

use crate::listen::Door;

const UP: Metric = Metric::gauge("rocketmq_proxy_up", "1 while the proxy runs.");
const CONNECTIONS: Metric = Metric::gauge(
    "aerobee_proxy_connections",
    "Connections of clients to the proxy.",
);

/// All of them.
pub const ALL: &[Metric] = &[UP, CONNECTIONS];

/// The parts that metrics are read from.
#[derive(Debug)]
pub struct Metrics {
    pub(crate) door: Arc<Door>,
    pub(crate) name: String,
}

impl Metrics {
    /// Writes all metrics.
    pub fn write(&self, out: &mut Exposition) {
        let config = &self.door.config;
        let mode = config.proxy_mode.to_lowercase();
        out.set_common(&[
            ("cluster", &config.rocketmq_cluster_name),
            ("node_type", "proxy"),
            ("node_id", &self.name),
            ("proxy_mode", &mode),
        ]);
        out.single(&UP, 1);
        let mut samples = out.metric(&CONNECTIONS);
        for (protocol, count) in [
            ("grpc", self.door.open.load(Ordering::Relaxed)),
            ("remoting", self.door.remoting.connections()),
        ] {
            samples.add(&[("protocol_type", protocol)], count);
        }
        drop(samples);
        out.set_common(&[]);
    }
}
