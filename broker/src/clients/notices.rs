// SPDX-License-Identifier: Apache-2.0
//! Tells the members of a consumer group that it has changed (code 40), so that they share the
//! queues anew at once instead of at their next turn.
//!
//! A group that changes again before its members were told is told once, of the latest state: when
//! a thousand consumers join together, it is not a million notices. Apache:
//! `DefaultConsumerIdsChangeListener`.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aerobee_remoting::{Connection, RequestCode, header::client::NotifyConsumerIdsChanged};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::consumers::ConsumerGroup;

/// How long changes are collected when they are not told in real time.
const COLLECTED_FOR: Duration = Duration::from_secs(15);
/// Members told before other work of the runtime gets its turn.
const TOLD_AT_ONCE: usize = 256;

/// Changed groups whose members are still to be told.
#[derive(Debug)]
pub struct Notices {
    pending: Mutex<HashSet<Arc<str>>>,
    wake: Notify,
    /// Whether members are told at all. Java key: `notifyConsumerIdsChangedEnable`.
    enabled: AtomicBool,
    /// Whether they are told at once. Java key: `realTimeNotifyConsumerChange`.
    real_time: AtomicBool,
}

impl Default for Notices {
    fn default() -> Self {
        Self {
            pending: Mutex::default(),
            wake: Notify::new(),
            enabled: AtomicBool::new(true),
            real_time: AtomicBool::new(true),
        }
    }
}

impl Notices {
    /// Takes the two switches, also while running.
    pub fn configure(&self, enabled: bool, real_time: bool) {
        self.enabled.store(enabled, Ordering::Relaxed);
        self.real_time.store(real_time, Ordering::Relaxed);
    }

    /// The members of a group are to be told.
    pub fn changed(&self, group: &ConsumerGroup) {
        if self.enabled.load(Ordering::Relaxed)
            && self.pending.lock().insert(Arc::clone(group.name()))
        {
            self.wake.notify_one();
        }
    }

    /// Tells the members; `connections` looks the present ones of a group up. Ends with the task
    /// that runs it.
    pub async fn run(&self, connections: impl Fn(&str) -> Vec<Arc<Connection>>) {
        loop {
            self.wake.notified().await;
            if !self.real_time.load(Ordering::Relaxed) {
                tokio::time::sleep(COLLECTED_FOR).await;
            }
            let groups = std::mem::take(&mut *self.pending.lock());
            for group in groups {
                for members in connections(&group).chunks(TOLD_AT_ONCE) {
                    tell(&group, members);
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

fn tell(group: &str, members: &[Arc<Connection>]) {
    let header = NotifyConsumerIdsChanged {
        consumer_group: group,
    };
    for connection in members {
        let told = connection.oneway(RequestCode::NOTIFY_CONSUMER_IDS_CHANGED, &header, &[]);
        if let Err(error) = told {
            // It is about to be removed, or will find out at its next rebalance.
            tracing::debug!(group, %error, "a consumer could not be told");
        }
    }
}
