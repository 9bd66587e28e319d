// SPDX-License-Identifier: Apache-2.0
//! Who is connected: the members of producer and consumer groups, and which queues they locked.
//!
//! The tables are told the time and the connection's id, so that tests need neither. They send
//! nothing themselves, but say whom a change concerns. A client that falls silent without closing
//! its connection is removed by [`EXPIRY`].

pub mod consumers;
pub mod locks;
pub mod notices;
pub mod producers;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aerobee_remoting::Language;

/// A client whose last heartbeat is older is gone; clients beat every 30 s. Java key:
/// `channelExpiredTimeout`.
pub const EXPIRY: Duration = Duration::from_secs(120);
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
