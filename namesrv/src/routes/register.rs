// SPDX-License-Identifier: Apache-2.0
//! Brokers announce themselves and their topics.

use std::collections::{BTreeMap, BTreeSet};

use aerobee_remoting::{
    body::{
        DataVersion,
        registration::BrokerRegistration,
        route::{BrokerData, MASTER_ID, QueueData},
        topic::{TopicConfig, TopicConfigTable},
    },
    header::register::RegisterBroker,
};

use super::{
    BROKERS_MAX, BrokerKey, DEFAULT_TIMEOUT_MS, LiveBroker, Notice, PERM_WRITE, TOPICS_MAX, Tables,
};

/// What of the configuration decides how a registration is taken.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// Topics that a broker no longer registers are removed.
    pub delete_missing_topics: bool,
    /// Brokers learn of a new smallest id of their name.
    pub notify_min_broker_id: bool,
}

/// What a registered broker is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registered {
    /// To a slave: where its master can be copied from.
    pub ha_server_addr: Option<String>,
    /// To a slave: where its master is.
    pub master_addr: Option<String>,
    /// Whom else to tell.
    pub notice: Option<Notice>,
}

/// Why a broker is not registered.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RegisterError {
    /// One topic came before all of them did. Apache: any answer without a result.
    #[error("register broker failed")]
    NotYetKnown,
    /// The bound of [`BROKERS_MAX`] is reached.
    #[error("register broker failed: this name server knows {BROKERS_MAX} brokers already")]
    TooManyBrokers,
    /// The bound of [`TOPICS_MAX`] is reached.
    #[error("register broker failed: this name server has room for {TOPICS_MAX} topics only")]
    TooManyTopics,
}

impl Tables {
    /// Takes a registration that came on the connection with number `connection`.
    ///
    /// # Errors
    /// See [`RegisterError`]; then nothing new is known of the broker.
    pub fn register(
        &mut self,
        header: &RegisterBroker<'_>,
        registration: BrokerRegistration,
        connection: u64,
        rules: Rules,
        now_ms: i64,
    ) -> Result<Registered, RegisterError> {
        let key = BrokerKey::new(header.cluster_name, header.broker_addr);
        self.check_room(header, &key, &registration.topics)?;
        let topics = registration.topics;
        let min_before = self.min_broker_id(header.broker_name).unwrap_or(MASTER_ID);
        let mut first = self.introduce(header);
        if self.is_stale(header, &topics.data_version) {
            tracing::warn!(broker = %key, name = header.broker_name, id = header.broker_id,
                "registration ignored: another address has registered this id with a newer state version");
            self.live.remove(&key);
            return Ok(Registered::default());
        }
        if !self.knows_id(header) && topics.topic_config_table.len() == 1 {
            self.forget_empty(header);
            return Err(RegisterError::NotYetKnown);
        }
        first |= self.put_address(header);
        self.take_topics(header, &key, topics, first, rules, now_ms, connection);
        match registration.filter_server_list {
            Some(list) if list.is_empty() => {
                self.filter_servers.remove(&key);
            }
            Some(list) => {
                self.filter_servers.insert(key, list);
            }
            None => {}
        }
        let mut registered = self.master_for(header);
        if header.broker_id < min_before && rules.notify_min_broker_id {
            registered.notice = self.notice(
                header.broker_name,
                None,
                Some(header.ha_server_addr.to_owned()),
            );
        }
        Ok(registered)
    }

    fn check_room(
        &self,
        header: &RegisterBroker<'_>,
        key: &BrokerKey,
        topics: &TopicConfigTable,
    ) -> Result<(), RegisterError> {
        // One address can go by many names, and in many clusters, so each table has its bound.
        let full = self.live.len() >= BROKERS_MAX && !self.live.contains_key(key)
            || self.brokers.len() >= BROKERS_MAX && !self.brokers.contains_key(header.broker_name)
            || self.clusters.len() >= BROKERS_MAX
                && !self.clusters.contains_key(header.cluster_name);
        if full {
            return Err(RegisterError::TooManyBrokers);
        }
        // Counting what is new costs a look-up a topic: only when it matters.
        if self.topics.len() + topics.topic_config_table.len() > TOPICS_MAX {
            let names = topics.topic_config_table.keys();
            let new = names
                .filter(|name| !self.topics.contains_key(*name))
                .count();
            if self.topics.len() + new > TOPICS_MAX {
                return Err(RegisterError::TooManyTopics);
            }
        }
        Ok(())
    }

    fn min_broker_id(&self, broker_name: &str) -> Option<i64> {
        let broker = self.brokers.get(broker_name)?;
        broker.broker_addrs.keys().next().copied()
    }

    /// Makes cluster and broker name known, renews what the name says of itself, and removes the
    /// address where it stands under another id (a slave has become master). True when the name is
    /// new.
    fn introduce(&mut self, header: &RegisterBroker<'_>) -> bool {
        let names = self.clusters.entry(header.cluster_name.to_owned());
        names.or_default().insert(header.broker_name.to_owned());
        let mut first = false;
        let broker = self
            .brokers
            .entry(header.broker_name.to_owned())
            .or_insert_with(|| {
                first = true;
                BrokerData {
                    broker_name: header.broker_name.to_owned(),
                    cluster: header.cluster_name.to_owned(),
                    ..BrokerData::default()
                }
            });
        broker.enable_acting_master = header.enable_acting_master.unwrap_or(false);
        broker.zone_name = header.zone_name.map(str::to_owned);
        broker
            .broker_addrs
            .retain(|id, address| *id == header.broker_id || address != header.broker_addr);
        first
    }

    fn known_address(&self, header: &RegisterBroker<'_>) -> Option<&String> {
        let broker = self.brokers.get(header.broker_name)?;
        broker.broker_addrs.get(&header.broker_id)
    }

    fn knows_id(&self, header: &RegisterBroker<'_>) -> bool {
        self.known_address(header).is_some()
    }

    /// Whether another address holds the id under a newer master epoch: a deposed master must not
    /// come back through a late registration.
    fn is_stale(&self, header: &RegisterBroker<'_>, version: &DataVersion) -> bool {
        let holder = self
            .known_address(header)
            .filter(|address| *address != header.broker_addr)
            .and_then(|address| self.live.get(&BrokerKey::new(header.cluster_name, address)));
        holder.is_some_and(|live| live.version.state_version > version.state_version)
    }

    /// Undoes [`Self::introduce`] where it has left a name without an address.
    fn forget_empty(&mut self, header: &RegisterBroker<'_>) {
        let empty = self
            .brokers
            .get(header.broker_name)
            .is_some_and(|broker| broker.broker_addrs.is_empty());
        if empty {
            self.brokers.remove(header.broker_name);
            self.forget_in_cluster(header.cluster_name, header.broker_name);
        }
    }

    pub(super) fn forget_in_cluster(&mut self, cluster: &str, broker_name: &str) {
        if let Some(names) = self.clusters.get_mut(cluster) {
            names.remove(broker_name);
            if names.is_empty() {
                self.clusters.remove(cluster);
            }
        }
    }

    /// True when the id was unknown.
    fn put_address(&mut self, header: &RegisterBroker<'_>) -> bool {
        let Some(broker) = self.brokers.get_mut(header.broker_name) else {
            return true;
        };
        let address = header.broker_addr.to_owned();
        let before = broker.broker_addrs.insert(header.broker_id, address);
        before.is_none_or(|address| address.is_empty())
    }

    #[expect(clippy::too_many_arguments, reason = "one step of a registration")]
    fn take_topics(
        &mut self,
        header: &RegisterBroker<'_>,
        key: &BrokerKey,
        topics: TopicConfigTable,
        first: bool,
        rules: Rules,
        now_ms: i64,
        connection: u64,
    ) {
        let version = topics.data_version;
        let known = self.live.get(key).map(|live| live.version);
        let changed = first || known != Some(version);
        let is_master = header.broker_id == MASTER_ID;
        // Brokers before 5.0 do not send the field: their slaves never speak for the name.
        let is_prime_slave = !is_master
            && header.enable_acting_master.is_some()
            && self.min_broker_id(header.broker_name) == Some(header.broker_id);
        if is_master || is_prime_slave {
            let read_only = is_prime_slave && header.enable_acting_master == Some(true);
            self.put_topics(header.broker_name, topics, changed, read_only, rules);
        }
        let live = LiveBroker {
            seen_ms: now_ms,
            timeout_ms: header
                .heartbeat_timeout_millis
                .unwrap_or(DEFAULT_TIMEOUT_MS),
            version,
            connection,
            ha_address: header.ha_server_addr.to_owned(),
        };
        if self.live.insert(key.clone(), live).is_none() {
            tracing::info!(broker = %key, name = header.broker_name, id = header.broker_id, "broker registered");
        }
    }

    fn put_topics(
        &mut self,
        broker_name: &str,
        topics: TopicConfigTable,
        changed: bool,
        read_only: bool,
        rules: Rules,
    ) {
        let mappings = topics.topic_queue_mapping_info_map.unwrap_or_default();
        if rules.delete_missing_topics && mappings.is_empty() {
            self.keep_only(broker_name, &topics.topic_config_table);
        }
        for (name, config) in topics.topic_config_table {
            let name = if config.topic_name.is_empty() {
                name
            } else {
                config.topic_name.clone()
            };
            let queues = self.topics.entry(name).or_default();
            if !changed && queues.contains(broker_name) {
                continue;
            }
            queues.put(queue_data(broker_name, &config, read_only));
        }
        if changed {
            for (topic, mapping) in mappings {
                if self.mappings.len() >= TOPICS_MAX && !self.mappings.contains_key(&topic) {
                    continue;
                }
                let owner = mapping.bname.clone().unwrap_or_default();
                self.mappings
                    .entry(topic)
                    .or_default()
                    .insert(owner, mapping);
            }
        }
    }

    fn keep_only(&mut self, broker_name: &str, topics: &BTreeMap<String, TopicConfig>) {
        self.topics.retain(|topic, queues| {
            if !topics.contains_key(topic) {
                queues.retain(|name| name != broker_name);
            }
            !queues.is_empty()
        });
    }

    fn master_for(&self, header: &RegisterBroker<'_>) -> Registered {
        if header.broker_id == MASTER_ID {
            return Registered::default();
        }
        let master = self.brokers.get(header.broker_name);
        let Some(address) = master.and_then(|broker| broker.broker_addrs.get(&MASTER_ID)) else {
            return Registered::default();
        };
        match self.live.get(&BrokerKey::new(header.cluster_name, address)) {
            Some(live) => Registered {
                ha_server_addr: Some(live.ha_address.clone()),
                master_addr: Some(address.clone()),
                notice: None,
            },
            None => Registered::default(),
        }
    }

    /// The notice that the smallest id of a name is what it is now. When an address has left, or
    /// there is only one, all learn of it, else all but the smallest.
    pub(super) fn notice(
        &self,
        broker_name: &str,
        offline_address: Option<String>,
        ha_address: Option<String>,
    ) -> Option<Notice> {
        let addresses = &self.brokers.get(broker_name)?.broker_addrs;
        let (min_broker_id, min_broker_address) = addresses.first_key_value()?;
        let all = offline_address.is_some() || addresses.len() == 1;
        Some(Notice {
            receivers: addresses
                .values()
                .skip(usize::from(!all))
                .cloned()
                .collect(),
            min_broker_id: *min_broker_id,
            min_broker_address: min_broker_address.clone(),
            offline_address,
            ha_address,
        })
    }

    /// Adds queues of a topic (217). Stops at the first broker name that is unknown; a topic that
    /// is new appears only when all are known.
    pub fn register_topic(&mut self, topic: &str, queue_datas: Vec<QueueData>) {
        let mut added = Vec::new();
        let mut all_known = true;
        for queues in queue_datas {
            if !self.brokers.contains_key(&queues.broker_name) {
                tracing::warn!(
                    topic,
                    broker = queues.broker_name,
                    "topic registered for an unknown broker"
                );
                all_known = false;
                break;
            }
            added.push(queues);
        }
        let is_known = self.topics.contains_key(topic);
        let may_appear = all_known && !added.is_empty() && self.topics.len() < TOPICS_MAX;
        if is_known || may_appear {
            let queues = self.topics.entry(topic.to_owned()).or_default();
            added.into_iter().for_each(|added| queues.put(added));
        }
    }

    /// Removes a topic, or only its queues in one cluster (216).
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let Some(cluster) = cluster else {
            self.topics.remove(topic);
            return;
        };
        let none = BTreeSet::new();
        let names = self.clusters.get(cluster).unwrap_or(&none);
        if let Some(queues) = self.topics.get_mut(topic) {
            queues.retain(|name| !names.contains(name));
            if queues.is_empty() {
                self.topics.remove(topic);
            }
        }
    }
}

fn queue_data(broker_name: &str, config: &TopicConfig, read_only: bool) -> QueueData {
    QueueData {
        broker_name: broker_name.to_owned(),
        perm: if read_only {
            config.perm & !PERM_WRITE
        } else {
            config.perm
        },
        read_queue_nums: config.read_queue_nums,
        topic_sys_flag: config.topic_sys_flag,
        write_queue_nums: config.write_queue_nums,
    }
}
