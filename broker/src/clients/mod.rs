// SPDX-License-Identifier: Apache-2.0
//! Who is connected: the members of producer and consumer groups, and which queues they locked.
//!
//! The tables are told the time and the connection's id, so that tests need neither. They send
//! nothing themselves, but say whom a change concerns. A client that falls silent without closing
//! its connection is removed after [`EXPIRY`].

pub mod broadcast;
pub mod consumers;
pub mod locks;
pub mod notices;
pub mod producers;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aerobee_remoting::{Connection, Language};
use tokio::time::{MissedTickBehavior, interval};

use self::{
    broadcast::Broadcast, consumers::Consumers, locks::Locks, notices::Notices,
    producers::Producers,
};

/// A client whose last heartbeat is older is gone; clients beat every 30 s. Java key:
/// `channelExpiredTimeout`.
pub const EXPIRY: Duration = Duration::from_secs(120);
/// How often silent clients are looked for. Apache: `ClientHousekeepingService`.
const EXPIRY_PERIOD: Duration = Duration::from_secs(10);
/// Most members of one group.
pub const MEMBERS_MAX: usize = 100_000;

/// What a client says about itself.
#[derive(Debug, Clone)]
pub struct Client {
    /// The id it chose.
    pub id: Arc<str>,
    /// Language of its SDK.
    pub language: Language,
    /// Version ordinal of its SDK.
    pub version: i32,
}

/// A client in a group. `C` is the connection it came on.
#[derive(Debug, Clone)]
pub struct Member<C> {
    /// Who it is.
    pub client: Client,
    /// How to reach it.
    pub connection: C,
    /// When it last sent a heartbeat.
    pub seen: Instant,
}

impl<C> Member<C> {
    fn is_expired(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.seen) > EXPIRY
    }
}

/// All that is known of connected clients.
#[derive(Debug, Default)]
pub struct Clients {
    /// Who produces.
    pub producers: Producers,
    /// Who consumes.
    pub consumers: Arc<Consumers>,
    /// How far clients of broadcasting groups are.
    pub broadcast: Arc<Broadcast>,
    /// Which queues are locked.
    pub locks: Arc<Locks>,
    /// Whom to tell that their group has changed.
    pub notices: Arc<Notices>,
}

impl Clients {
    /// A connection has ended: its clients leave all their groups.
    pub fn closed(&self, connection: &Connection) {
        self.producers.closed(connection.id());
        for changed in self.consumers.closed(connection.id()) {
            self.notices.changed(&changed);
        }
    }

    /// Removes clients that fell silent and forgets locks that nobody renewed.
    pub fn expire(&self, now: Instant) {
        let silent = self.producers.expire(now);
        let expired = self.consumers.expire(now);
        for connection in silent.iter().chain(&expired.connections) {
            connection.close();
        }
        for changed in expired.changed {
            self.notices.changed(&changed);
        }
        self.locks.expire(now);
    }

    /// Expires clients and tells groups that they have changed. Ends with the task that runs it.
    pub async fn run(self: Arc<Self>) {
        let expiring = async {
            let mut ticks = interval(EXPIRY_PERIOD);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                self.expire(Instant::now());
            }
        };
        let telling = self.notices.run(|group| {
            let group = self.consumers.group(group);
            group.map(|group| group.connections()).unwrap_or_default()
        });
        tokio::join!(expiring, telling);
    }
}
