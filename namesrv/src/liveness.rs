// SPDX-License-Identifier: Apache-2.0
//! Brokers are gone when they say so, when their connection ends, or when they have been silent for
//! too long; those that remain may have to learn of it (905).
//!
//! Apache: `BrokerHousekeepingService`, `RouteInfoManager.scanNotActiveBroker`.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use aerobee_remoting::{
    Client, Connection, RequestCode, header::register::NotifyMinBrokerIdChange, tls::ClientTls,
};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::{
    config::Settings,
    routes::{Departure, Notice, Routes},
};

/// Longest time to reach a broker for a notice.
const NOTICE_TIMEOUT: Duration = Duration::from_millis(300);

/// Milliseconds since the start. It does not jump when somebody sets the clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now_ms(self) -> i64 {
        i64::try_from(self.0.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

/// Watches over registered brokers.
#[derive(Debug)]
pub(crate) struct Liveness {
    routes: Arc<Routes>,
    settings: Settings,
    clock: Clock,
    client: Arc<Client>,
    /// Connections that brokers have registered on, by number. Bounded by the connections there are.
    connections: Mutex<HashMap<u64, Weak<Connection>>>,
}

impl Liveness {
    pub(crate) fn new(
        routes: Arc<Routes>,
        settings: Settings,
        clock: Clock,
        tls: Option<Arc<ClientTls>>,
    ) -> Self {
        Self {
            routes,
            settings,
            clock,
            client: Arc::new(Client::new().secured(tls)),
            connections: Mutex::default(),
        }
    }

    /// A broker has registered on `connection`.
    pub(crate) fn registered(&self, connection: &Arc<Connection>) {
        self.connections
            .lock()
            .insert(connection.id(), Arc::downgrade(connection));
        // A connection that ended while its registration was being read has been reported already.
        if connection.is_closed() {
            self.closed(connection);
        }
    }

    /// A connection has ended.
    pub(crate) fn closed(&self, connection: &Connection) {
        let registered = self.connections.lock().remove(&connection.id());
        if registered.is_none() {
            return;
        }
        let mut tables = self.routes.write();
        let Some(broker) = tables.on_connection(connection.id()) else {
            return;
        };
        let departure = tables.departure(broker);
        let notices = tables.unregister(&[departure], self.notifies());
        drop(tables);
        self.send(notices);
    }

    /// A broker leaves by its own will.
    pub(crate) fn leave(&self, departure: Departure) {
        let notify = self.notifies();
        let notices = self.routes.write().unregister(&[departure], notify);
        self.send(notices);
    }

    /// Looks for silent brokers until the task is aborted.
    pub(crate) async fn watch(self: Arc<Self>) {
        loop {
            let interval = self.settings.now().namesrv.scan_not_active_broker_interval;
            sleep(Duration::from_millis(interval.unsigned_abs())).await;
            self.expire();
        }
    }

    fn expire(&self) {
        let now_ms = self.clock.now_ms();
        // Mostly there are none, and routes can be read meanwhile.
        if self.routes.read().expired(now_ms).is_empty() {
            return;
        }
        let mut tables = self.routes.write();
        let expired = tables.expired(now_ms);
        let departures: Vec<_> = expired
            .iter()
            .map(|(broker, _)| tables.departure(broker.clone()))
            .collect();
        let notices = tables.unregister(&departures, self.notifies());
        drop(tables);
        for (broker, connection) in expired {
            tracing::warn!(%broker, "broker has been silent for too long");
            let connection = self.connections.lock().remove(&connection);
            if let Some(connection) = connection.and_then(|weak| weak.upgrade()) {
                connection.close();
            }
        }
        self.send(notices);
    }

    fn notifies(&self) -> bool {
        self.settings.now().namesrv.notify_min_broker_id_changed
    }

    /// Sends notices; nobody waits for them.
    pub(crate) fn send(&self, notices: impl IntoIterator<Item = Notice>) {
        for notice in notices {
            let client = Arc::clone(&self.client);
            tokio::spawn(async move { send(&client, &notice).await });
        }
    }
}

async fn send(client: &Client, notice: &Notice) {
    let header = NotifyMinBrokerIdChange {
        min_broker_id: Some(notice.min_broker_id),
        broker_name: None,
        min_broker_addr: Some(&notice.min_broker_address),
        offline_broker_addr: notice.offline_address.as_deref(),
        ha_broker_addr: notice.ha_address.as_deref(),
    };
    let code = RequestCode::NOTIFY_MIN_BROKER_ID_CHANGE;
    for receiver in &notice.receivers {
        let sent = client
            .oneway(receiver, code, &header, &[], NOTICE_TIMEOUT)
            .await;
        if let Err(error) = sent {
            tracing::warn!(%receiver, %error, "broker not told of the new smallest id of its name");
        }
    }
}
