// SPDX-License-Identifier: Apache-2.0
//! What a running name server tells Prometheus. Apache's tells nothing, so the names are ours.

use std::{fmt, sync::Arc};

use aerobee_daemon::exposition::{Exposition, Metric};

use crate::routes::Routes;

const BROKERS: Metric = Metric::gauge("aerobee_namesrv_brokers", "Brokers that are registered.");
const TOPICS: Metric = Metric::gauge("aerobee_namesrv_topics", "Topics that have a route.");

/// All of them.
pub const ALL: &[Metric] = &[BROKERS, TOPICS];

/// The parts that metrics are read from.
pub struct Metrics {
    pub(crate) routes: Arc<Routes>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Metrics")
    }
}

impl Metrics {
    /// Writes all metrics.
    pub fn write(&self, out: &mut Exposition) {
        let (brokers, topics) = {
            let tables = self.routes.read();
            (tables.broker_count(), tables.topic_count())
        };
        out.single(&BROKERS, brokers);
        out.single(&TOPICS, topics);
    }
}
