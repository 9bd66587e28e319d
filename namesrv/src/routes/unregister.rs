// SPDX-License-Identifier: Apache-2.0
//! Brokers leave: they say so, fall silent, or lose their connection.

use std::collections::{BTreeMap, BTreeSet};

use aerobee_remoting::body::route::MASTER_ID;

use super::{BrokerKey, Notice, PERM_WRITE, Tables};

/// A broker that leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// The process.
    pub broker: BrokerKey,
    /// Its broker name.
    pub name: String,
    /// Its id, as far as whoever says it leaves knows.
    pub id: i64,
}

impl Tables {
    /// Removes brokers, all in one pass over the topics. The notices are those for names whose
    /// smallest id has left; none unless `notify`.
    pub fn unregister(&mut self, departures: &[Departure], notify: bool) -> Vec<Notice> {
        let mut gone = BTreeSet::new();
        let mut reduced = BTreeSet::new();
        // Broker name → the address that had its smallest id.
        let mut lost_min = BTreeMap::new();
        for departure in departures {
            let Departure { broker, name, id } = departure;
            let known = self.live.remove(broker).is_some();
            self.filter_servers.remove(broker);
            tracing::info!(%broker, name, id, known, "broker leaves");
            let Some(data) = self.brokers.get_mut(name) else {
                continue;
            };
            let was_min = data.broker_addrs.keys().next() == Some(id);
            data.broker_addrs
                .retain(|_, address| *address != broker.address);
            if data.broker_addrs.is_empty() {
                self.brokers.remove(name);
                self.forget_in_cluster(&broker.cluster, name);
                gone.insert(name.clone());
            } else {
                reduced.insert(name.clone());
                if was_min {
                    lost_min.insert(name.clone(), broker.address.clone());
                }
            }
        }
        self.remove_queues(&gone);
        for name in &reduced {
            self.close_for_writes(name);
        }
        if !notify {
            return Vec::new();
        }
        let acting = |name: &str| {
            self.brokers
                .get(name)
                .is_some_and(|broker| broker.enable_acting_master)
        };
        lost_min
            .into_iter()
            .filter(|(name, _)| acting(name))
            .filter_map(|(name, address)| self.notice(&name, Some(address), None))
            .collect()
    }

    /// Without a master nobody can write, if a slave acts for it.
    fn close_for_writes(&mut self, name: &str) {
        let without_master = self.brokers.get(name).is_some_and(|broker| {
            broker.enable_acting_master && broker.broker_addrs.keys().next() > Some(&MASTER_ID)
        });
        if without_master {
            self.change_queues(name, |queues| queues.perm &= !PERM_WRITE);
        }
    }

    /// Brokers that have been silent for too long, with the numbers of their connections.
    pub fn expired(&self, now_ms: i64) -> Vec<(BrokerKey, u64)> {
        self.live
            .iter()
            .filter(|(_, live)| live.seen_ms.saturating_add(live.timeout_ms) < now_ms)
            .map(|(key, live)| (key.clone(), live.connection))
            .collect()
    }

    /// The broker that registered on a connection. Of several, as in a broker container, one is
    /// given; the others leave when they have been silent for too long.
    pub fn on_connection(&self, connection: u64) -> Option<BrokerKey> {
        self.live
            .iter()
            .find(|(_, live)| live.connection == connection)
            .map(|(key, _)| key.clone())
    }

    /// What leaves with a broker of which only cluster and address are known.
    pub fn departure(&self, broker: BrokerKey) -> Departure {
        let of_cluster = self
            .brokers
            .values()
            .filter(|data| data.cluster == broker.cluster);
        let found = of_cluster.flat_map(|data| {
            let addresses = data.broker_addrs.iter();
            addresses.map(move |(id, address)| (&data.broker_name, *id, address))
        });
        let found = found
            .filter(|(_, _, address)| **address == broker.address)
            .map(|(name, id, _)| (name.clone(), id))
            .next();
        // Under no name: what is left of it goes all the same.
        let (name, id) = found.unwrap_or_default();
        Departure { broker, name, id }
    }
}
