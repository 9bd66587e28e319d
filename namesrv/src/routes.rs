// SPDX-License-Identifier: Apache-2.0
//! Which brokers there are, and which topics they have: all tables of a name server under one lock.
//!
//! [`Tables`] is pure: no socket, no clock; times are milliseconds on any clock that only goes
//! forward. Apache: `RouteInfoManager`.

mod query;
mod queues;
mod register;
mod unregister;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use aerobee_remoting::body::{
    DataVersion,
    route::{BrokerData, QueueData},
    static_topic::TopicQueueMapping,
};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use queues::Queues;

pub use query::{UnitList, keep_zone};
pub use register::{RegisterError, Registered, Rules};
pub use unregister::Departure;

/// Permission bit of topics: clients may write.
pub const PERM_WRITE: i32 = 2;
/// Permission bit of topics: clients may read.
pub const PERM_READ: i32 = 4;

/// Most broker addresses, broker names and clusters, each.
pub const BROKERS_MAX: usize = 65_536;
/// Most topics.
pub const TOPICS_MAX: usize = 1 << 20;

/// A broker that has not said how long it may be silent is gone after so long, in milliseconds.
const DEFAULT_TIMEOUT_MS: i64 = 120_000;

/// The tables, shared.
#[derive(Debug, Default)]
pub struct Routes(RwLock<Tables>);

impl Routes {
    /// To look something up.
    pub fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.0.read()
    }

    /// To change something.
    pub fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.0.write()
    }
}

/// One process of a broker. Two clusters may use an address each for their own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BrokerKey {
    /// Its cluster.
    pub cluster: String,
    /// Its address, `host:port`.
    pub address: String,
}

impl BrokerKey {
    /// The broker at `address` in `cluster`.
    pub fn new(cluster: &str, address: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            address: address.to_owned(),
        }
    }
}

impl fmt::Display for BrokerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.address, self.cluster)
    }
}

/// What is known of a broker that has registered.
#[derive(Debug, Clone)]
struct LiveBroker {
    /// When it last gave a sign.
    seen_ms: i64,
    /// After so long without a sign it is gone.
    timeout_ms: i64,
    /// State of its topics.
    version: DataVersion,
    /// Number of the connection that it registered on.
    connection: u64,
    /// Where slaves reach it.
    ha_address: String,
}

/// Brokers that have to learn that the smallest id of their name has changed (905).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Addresses to send to.
    pub receivers: Vec<String>,
    /// The smallest id now.
    pub min_broker_id: i64,
    /// Address of the smallest id.
    pub min_broker_address: String,
    /// The address that has left.
    pub offline_address: Option<String>,
    /// Where slaves reach the new smallest id.
    pub ha_address: Option<String>,
}

/// All tables.
#[derive(Debug, Default)]
pub struct Tables {
    /// Topic → broker name → queues.
    topics: HashMap<String, Queues>,
    /// Broker name → addresses. Keyed by name alone: clusters must not share broker names.
    brokers: BTreeMap<String, BrokerData>,
    /// Cluster → broker names.
    clusters: BTreeMap<String, BTreeSet<String>>,
    live: HashMap<BrokerKey, LiveBroker>,
    /// Always empty with today's brokers.
    filter_servers: HashMap<BrokerKey, Vec<String>>,
    /// Topic → broker name → outline of a static topic. Never shrinks, as with Apache: a topic that
    /// comes back without a new version of its broker's topics would otherwise lack it.
    mappings: HashMap<String, BTreeMap<String, TopicQueueMapping>>,
}

impl Tables {
    /// Brokers that are registered, slaves included.
    pub fn broker_count(&self) -> usize {
        self.live.len()
    }

    /// Topics that have a route.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// Removes the queues of one broker name from all topics; topics without queues vanish.
    fn remove_queues(&mut self, broker_names: &BTreeSet<String>) {
        if broker_names.is_empty() {
            return;
        }
        self.topics.retain(|_, queues| {
            queues.retain(|name| !broker_names.contains(name));
            !queues.is_empty()
        });
    }

    /// Runs `change` on the queues of one broker name in every topic; returns how many there were.
    fn change_queues(&mut self, broker_name: &str, change: impl Fn(&mut QueueData)) -> usize {
        let queues = self.topics.values_mut();
        let mut count = 0;
        for queue_data in queues.filter_map(|queues| queues.get_mut(broker_name)) {
            change(queue_data);
            count += 1;
        }
        count
    }

    /// Takes the write permission from all topics of a broker; how many there are.
    pub fn wipe_write_permission(&mut self, broker_name: &str) -> usize {
        self.change_queues(broker_name, |queues| queues.perm &= !PERM_WRITE)
    }

    /// Sets the permission of all topics of a broker to reading and writing; how many there are.
    pub fn add_write_permission(&mut self, broker_name: &str) -> usize {
        self.change_queues(broker_name, |queues| queues.perm = PERM_READ | PERM_WRITE)
    }

    /// A sign of life (904, 322).
    pub fn seen(&mut self, broker: &BrokerKey, now_ms: i64) {
        if let Some(live) = self.live.get_mut(broker) {
            live.seen_ms = now_ms;
        }
    }
}

#[cfg(test)]
mod tests;
