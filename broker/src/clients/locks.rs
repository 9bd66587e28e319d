// SPDX-License-Identifier: Apache-2.0
//! Queue locks of ordered consumers. A lock belongs to a client until it gives it back or has not
//! renewed it for [`LIFETIME`]. Apache: `RebalanceLockManager`.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// How long a lock lives without renewal; clients renew every 20 s.
pub const LIFETIME: Duration = Duration::from_secs(60);
/// Most locks of one group; one more is not given.
const LOCKS_PER_GROUP_MAX: usize = 100_000;
/// Most groups with locks; one more gets none.
const GROUPS_MAX: usize = 100_000;

/// A queue as clients name it when they lock it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LockedQueue {
    /// The topic.
    pub topic: String,
    /// The broker that the client believes to hold it; part of the name, as in Java.
    pub broker_name: String,
    /// The queue.
    pub queue_id: i32,
}

#[derive(Debug)]
struct Holder {
    client: Arc<str>,
    renewed: Instant,
}

impl Holder {
    fn is_expired(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.renewed) > LIFETIME
    }
}

/// All queue locks.
#[derive(Debug, Default)]
pub struct Locks {
    groups: Mutex<HashMap<Box<str>, HashMap<LockedQueue, Holder>>>,
}

impl Locks {
    /// Locks for `client` those of `queues` that are free, expired or its own already, and returns
    /// them.
    pub fn lock(
        &self,
        group: &str,
        client: &str,
        queues: Vec<LockedQueue>,
        now: Instant,
    ) -> Vec<LockedQueue> {
        let mut groups = self.groups.lock();
        if !groups.contains_key(group) {
            if queues.is_empty() || groups.len() >= GROUPS_MAX {
                return Vec::new();
            }
            groups.insert(group.into(), HashMap::new());
        }
        let Some(locks) = groups.get_mut(group) else {
            return Vec::new();
        };
        let client: Arc<str> = client.into();
        let mut locked = Vec::with_capacity(queues.len());
        for queue in queues {
            if try_lock(locks, &queue, &client, now) {
                locked.push(queue);
            }
        }
        locked
    }

    /// Gives back those of `queues` that `client` holds.
    pub fn unlock(&self, group: &str, client: &str, queues: &[LockedQueue]) {
        let mut groups = self.groups.lock();
        let Some(locks) = groups.get_mut(group) else {
            return;
        };
        for queue in queues {
            if locks.get(queue).is_some_and(|held| &*held.client == client) {
                locks.remove(queue);
            }
        }
        if locks.is_empty() {
            groups.remove(group);
        }
    }

    /// Whether any client of the group holds a lock, that is, whether the group consumes in order.
    pub fn has_any_lock(&self, group: &str, now: Instant) -> bool {
        let groups = self.groups.lock();
        groups
            .get(group)
            .is_some_and(|locks| locks.values().any(|held| !held.is_expired(now)))
    }

    /// Forgets the locks that nobody renewed.
    pub fn expire(&self, now: Instant) {
        self.groups.lock().retain(|_, locks| {
            locks.retain(|_, held| !held.is_expired(now));
            !locks.is_empty()
        });
    }
}

fn try_lock(
    locks: &mut HashMap<LockedQueue, Holder>,
    queue: &LockedQueue,
    client: &Arc<str>,
    now: Instant,
) -> bool {
    let taken = || Holder {
        client: Arc::clone(client),
        renewed: now,
    };
    if let Some(held) = locks.get_mut(queue) {
        if held.client != *client && !held.is_expired(now) {
            return false;
        }
        *held = taken();
        return true;
    }
    if locks.len() >= LOCKS_PER_GROUP_MAX {
        return false;
    }
    locks.insert(queue.clone(), taken());
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(queue_id: i32) -> LockedQueue {
        LockedQueue {
            topic: "orders".into(),
            broker_name: "broker-a".into(),
            queue_id,
        }
    }

    #[test]
    fn a_locked_queue_is_refused_to_others_and_renewed_by_its_holder() {
        let (locks, start) = (Locks::default(), Instant::now());
        assert_eq!(locks.lock("g", "one", vec![queue(0), queue(1)], start).len(), 2);
        assert_eq!(locks.lock("g", "two", vec![queue(0), queue(2)], start), [queue(2)]);
        let later = start + Duration::from_secs(40);
        assert_eq!(locks.lock("g", "one", vec![queue(0)], later), [queue(0)]);
        // Renewed at 40 s, so it outlives 60 s; queue 1 was not.
        let at_70 = start + Duration::from_secs(70);
        assert_eq!(locks.lock("g", "two", vec![queue(0), queue(1)], at_70), [queue(1)]);
    }

    #[test]
    fn groups_do_not_hinder_each_other() {
        let (locks, start) = (Locks::default(), Instant::now());
        assert_eq!(locks.lock("g", "one", vec![queue(0)], start).len(), 1);
        assert_eq!(locks.lock("h", "two", vec![queue(0)], start).len(), 1);
    }

    #[test]
    fn a_lock_lives_exactly_its_lifetime() {
        let (locks, start) = (Locks::default(), Instant::now());
        locks.lock("g", "one", vec![queue(0)], start);
        assert!(locks.lock("g", "two", vec![queue(0)], start + LIFETIME).is_empty());
        let past = start + LIFETIME + Duration::from_millis(1);
        assert_eq!(locks.lock("g", "two", vec![queue(0)], past), [queue(0)]);
    }

    #[test]
    fn only_the_holder_gives_back() {
        let (locks, start) = (Locks::default(), Instant::now());
        locks.lock("g", "one", vec![queue(0)], start);
        locks.unlock("g", "two", &[queue(0)]);
        assert!(locks.lock("g", "two", vec![queue(0)], start).is_empty());
        locks.unlock("g", "one", &[queue(0)]);
        assert_eq!(locks.lock("g", "two", vec![queue(0)], start), [queue(0)]);
    }

    #[test]
    fn a_group_has_a_lock_until_all_expire() {
        let (locks, start) = (Locks::default(), Instant::now());
        assert!(!locks.has_any_lock("g", start));
        locks.lock("g", "one", vec![queue(0)], start);
        assert!(locks.has_any_lock("g", start + LIFETIME));
        let past = start + LIFETIME + Duration::from_millis(1);
        assert!(!locks.has_any_lock("g", past));
        locks.expire(past);
        assert!(locks.groups.lock().is_empty());
    }
}
