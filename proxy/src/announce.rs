// SPDX-License-Identifier: Apache-2.0
//! Heartbeats to brokers in the name of our clients: brokers ask the producers of a topic about
//! transactions, and show who consumes (Apache: `proxy/service/transaction/ClusterTransactionService.java`;
//! that one announces producers only).

use std::{collections::HashMap, sync::Arc, time::Duration};

use aerobee_remoting::{
    RequestCode,
    body::heartbeat::{ConsumerData, HeartbeatData, ProducerData},
    fastjson,
    header::Empty,
};
use tokio::time::{sleep, timeout};

use crate::{brokers::Brokers, clients::Clients, routes::Routes};

/// Groups in one heartbeat.
const GROUPS_MAX: usize = 100;
/// Shortest time between two rounds, so that many new clients make few of them.
const PAUSE: Duration = Duration::from_millis(50);

/// Tells brokers who is here.
#[derive(Debug)]
pub(crate) struct Announcer {
    pub(crate) brokers: Arc<Brokers>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) period: Duration,
    /// Id of the proxy as a client.
    pub(crate) client_id: String,
}

/// What one broker is told.
#[derive(Debug, Default)]
struct Told {
    producers: Vec<ProducerData>,
    consumers: Vec<ConsumerData>,
}

impl Announcer {
    /// Tells everything when something changed, and now and then, for ever.
    pub(crate) async fn run(self) {
        loop {
            // Either way it is time.
            let _ = timeout(self.period, self.clients.changed.notified()).await;
            self.tell_all().await;
            sleep(PAUSE).await;
        }
    }

    async fn tell_all(&self) {
        let mut told: HashMap<Arc<str>, Told> = HashMap::new();
        for topic in self.clients.producer_groups() {
            for address in self.masters(&topic).await {
                let group_name = topic.clone();
                told.entry(address)
                    .or_default()
                    .producers
                    .push(ProducerData { group_name });
            }
        }
        for group in self.clients.consumer_groups() {
            let Some(data) = self.clients.consumer_data(&group) else {
                continue;
            };
            let mut addresses = Vec::new();
            for subscription in &data.subscription_data_set {
                addresses.extend(self.masters(&subscription.topic).await);
            }
            addresses.sort();
            addresses.dedup();
            for address in addresses {
                told.entry(address)
                    .or_default()
                    .consumers
                    .push(data.clone());
            }
        }
        for (address, told) in told {
            self.tell(&address, told).await;
        }
    }

    async fn masters(&self, topic: &str) -> Vec<Arc<str>> {
        match self.routes.topic(topic).await {
            Ok(route) => route.masters.values().cloned().collect(),
            Err(_) => Vec::new(),
        }
    }

    async fn tell(&self, address: &str, mut told: Told) {
        while !told.producers.is_empty() || !told.consumers.is_empty() {
            let producers = split(&mut told.producers);
            let consumers = split(&mut told.consumers);
            let heartbeat = HeartbeatData {
                client_id: self.client_id.clone(),
                consumer_data_set: consumers,
                producer_data_set: producers,
                ..HeartbeatData::default()
            };
            let body = fastjson::to_vec(&heartbeat);
            let sent = self
                .brokers
                .ask(address, RequestCode::HEART_BEAT, &Empty, &body)
                .await;
            if let Err(error) = sent {
                tracing::debug!(%error, address, "a broker takes no heartbeat");
                return;
            }
        }
    }
}

fn split<T>(all: &mut Vec<T>) -> Vec<T> {
    let rest = all.len().saturating_sub(GROUPS_MAX);
    all.split_off(rest)
}
