// SPDX-License-Identifier: Apache-2.0
//! What clients, brokers and tools ask.

use std::collections::{BTreeMap, BTreeSet};

use aerobee_remoting::body::{
    DataVersion,
    cluster::{BrokerMembers, ClusterInfo},
    route::{BrokerData, MASTER_ID, TopicRoute},
    topic::TopicList,
};

use super::{BrokerKey, PERM_WRITE, Tables, queues::Queues};

/// Topics by which the brokers of a name find each other: they want to see who is really there.
const MEMBER_TOPIC_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";

/// `topicSysFlag`: the topic belongs to a unit.
const FLAG_UNIT: i32 = 1;
/// `topicSysFlag`: consumers of the topic belong to a unit.
const FLAG_UNIT_SUB: i32 = 2;

/// Which topics to list by their unit flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitList {
    /// Of a unit (311).
    Unit,
    /// With consumers of a unit (312).
    UnitSub,
    /// With consumers of a unit, without being of one (313).
    UnitSubWithoutUnit,
}

impl UnitList {
    fn has(self, flags: i32) -> bool {
        let (unit, sub) = (flags & FLAG_UNIT != 0, flags & FLAG_UNIT_SUB != 0);
        match self {
            Self::Unit => unit,
            Self::UnitSub => sub,
            Self::UnitSubWithoutUnit => sub && !unit,
        }
    }
}

impl Tables {
    /// Where a topic is (105), without `order_topic_conf`; `None` when no broker has it. With
    /// `acting_master` the smallest slave stands in for a missing master of a topic that cannot be
    /// written.
    pub fn route(&self, topic: &str, acting_master: bool) -> Option<TopicRoute> {
        let queues = self.topics.get(topic)?;
        let mut broker_datas: Vec<BrokerData> = queues
            .iter()
            .filter_map(|queues| self.brokers.get(&queues.broker_name))
            .cloned()
            .collect();
        if broker_datas.is_empty() {
            return None;
        }
        let filter_server_table = self.filter_servers_of(&broker_datas);
        if acting_master && !topic.starts_with(MEMBER_TOPIC_PREFIX) {
            for broker in &mut broker_datas {
                put_acting_master(broker, queues);
            }
        }
        Some(TopicRoute {
            broker_datas,
            filter_server_table,
            order_topic_conf: None,
            queue_datas: queues.iter().cloned().collect(),
            topic_queue_mapping_by_broker: self.mappings.get(topic).cloned(),
        })
    }

    /// Empty without any filter server, else an entry for each address.
    fn filter_servers_of(&self, brokers: &[BrokerData]) -> BTreeMap<String, Option<Vec<String>>> {
        if self.filter_servers.is_empty() {
            return BTreeMap::new();
        }
        let addresses = brokers.iter().flat_map(|broker| {
            broker
                .broker_addrs
                .values()
                .map(move |address| (broker, address))
        });
        addresses
            .map(|(broker, address)| {
                let key = BrokerKey::new(&broker.cluster, address);
                (address.clone(), self.filter_servers.get(&key).cloned())
            })
            .collect()
    }

    /// All brokers and clusters (106).
    pub fn cluster_info(&self) -> ClusterInfo {
        ClusterInfo {
            broker_addr_table: self.brokers.clone(),
            cluster_addr_table: self.clusters.clone(),
        }
    }

    /// Who shares a broker name (901).
    pub fn members(&self, cluster: &str, broker_name: &str) -> BrokerMembers {
        let broker = self.brokers.get(broker_name);
        BrokerMembers {
            broker_addrs: broker
                .map(|broker| broker.broker_addrs.clone())
                .unwrap_or_default(),
            broker_name: broker_name.to_owned(),
            cluster: cluster.to_owned(),
        }
    }

    /// The state of its topics that a broker has registered (322).
    pub fn version(&self, broker: &BrokerKey) -> Option<DataVersion> {
        self.live.get(broker).map(|live| live.version)
    }

    /// All topics (206).
    pub fn topics(&self) -> TopicList {
        list(self.topics.keys().cloned().collect())
    }

    /// The topics of a cluster (224).
    pub fn topics_of_cluster(&self, cluster: &str) -> TopicList {
        let none = BTreeSet::new();
        let names = self.clusters.get(cluster).unwrap_or(&none);
        let of_cluster = |queues: &Queues| {
            queues
                .iter()
                .any(|queues| names.contains(&queues.broker_name))
        };
        let topics = self.topics.iter().filter(|(_, queues)| of_cluster(queues));
        list(topics.map(|(topic, _)| topic.clone()).collect())
    }

    /// Names of clusters and brokers, which are topics too, and some broker (304).
    pub fn system_topics(&self) -> TopicList {
        let mut topic_list = Vec::new();
        for (cluster, names) in &self.clusters {
            topic_list.push(cluster.clone());
            topic_list.extend(names.iter().cloned());
        }
        let mut addresses = self
            .brokers
            .values()
            .flat_map(|broker| broker.broker_addrs.values());
        TopicList {
            broker_addr: addresses.next().cloned(),
            topic_list,
        }
    }

    /// Topics by their unit flags (311 to 313); the flags are those on any one broker.
    pub fn unit_topics(&self, which: UnitList) -> TopicList {
        let wanted = self.topics.iter().filter(|(_, queues)| {
            let any = queues.iter().next();
            any.is_some_and(|queues| which.has(queues.topic_sys_flag))
        });
        list(wanted.map(|(topic, _)| topic.clone()).collect())
    }
}

fn list(topics: BTreeSet<String>) -> TopicList {
    TopicList {
        broker_addr: None,
        topic_list: topics.into_iter().collect(),
    }
}

fn put_acting_master(broker: &mut BrokerData, queues: &Queues) {
    if !broker.enable_acting_master || broker.broker_addrs.contains_key(&MASTER_ID) {
        return;
    }
    let writable = queues
        .get(&broker.broker_name)
        .is_none_or(|queues| queues.perm & PERM_WRITE != 0);
    if writable {
        return;
    }
    if let Some((_, address)) = broker.broker_addrs.pop_first() {
        broker.broker_addrs.insert(MASTER_ID, address);
    }
}

/// Removes the brokers of other zones, unless their master is missing: those whose zone is far but
/// whose master is gone serve everybody. Apache: `ZoneRouteRPCHook`.
pub fn keep_zone(route: &mut TopicRoute, zone: &str) {
    let is_kept = |broker: &BrokerData| {
        let same = broker
            .zone_name
            .as_deref()
            .is_some_and(|name| name.eq_ignore_ascii_case(zone));
        same || !broker.broker_addrs.contains_key(&MASTER_ID)
    };
    let removed: Vec<BrokerData> = route
        .broker_datas
        .extract_if(.., |broker| !is_kept(broker))
        .collect();
    for broker in removed {
        route
            .queue_datas
            .retain(|queues| queues.broker_name != broker.broker_name);
        for address in broker.broker_addrs.values() {
            route.filter_server_table.remove(address);
        }
    }
}
