// SPDX-License-Identifier: Apache-2.0
//! Queue locks of ordered consumers. A lock belongs to a client until it gives it back or has not
//! renewed it for [`LIFETIME`]. Apache: `RebalanceLockManager`.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use aerobee_remoting::body::MessageQueue;
use parking_lot::Mutex;

/// How long a lock lives without renewal; clients renew every 20 s.
pub const LIFETIME: Duration = Duration::from_secs(60);
/// Most locks of one group; one more is not given.
const LOCKS_PER_GROUP_MAX: usize = 100_000;
/// Most groups with locks; one more gets none.
const GROUPS_MAX: usize = 100_000;

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
    groups: Mutex<HashMap<Box<str>, HashMap<MessageQueue, Holder>>>,
}

impl Locks {
    /// Locks for `client` those of `queues` that are free, expired or its own already, and returns
    /// them.
    pub fn lock(
        &self,
        group: &str,
        client: &str,
        queues: BTreeSet<MessageQueue>,
        now: Instant,
    ) -> BTreeSet<MessageQueue> {
        let mut groups = self.groups.lock();
        if !groups.contains_key(group) {
            if queues.is_empty() || groups.len() >= GROUPS_MAX {
                return BTreeSet::new();
            }
            groups.insert(group.into(), HashMap::new());
        }
        let Some(locks) = groups.get_mut(group) else {
            return BTreeSet::new();
        };
        let client: Arc<str> = client.into();
        queues
            .into_iter()
            .filter(|queue| try_lock(locks, queue, &client, now))
            .collect()
    }

    /// Gives back those of `queues` that `client` holds.
    pub fn unlock(&self, group: &str, client: &str, queues: &BTreeSet<MessageQueue>) {
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

    /// Whether any client of the group holds a lock now, that is, whether it consumes in order.
    pub fn has_any(&self, group: &str) -> bool {
        self.has_any_at(group, Instant::now())
    }

    fn has_any_at(&self, group: &str, now: Instant) -> bool {
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
    locks: &mut HashMap<MessageQueue, Holder>,
    queue: &MessageQueue,
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

    fn queues<const N: usize>(ids: [i32; N]) -> BTreeSet<MessageQueue> {
        ids.map(|id| MessageQueue::new("orders", "broker-a", id))
            .into()
    }

    #[test]
    fn a_locked_queue_is_refused_to_others_and_renewed_by_its_holder() {
        let (locks, start) = (Locks::default(), Instant::now());
        assert_eq!(locks.lock("g", "one", queues([0, 1]), start).len(), 2);
        assert_eq!(locks.lock("g", "two", queues([0, 2]), start), queues([2]));
        let later = start + Duration::from_secs(40);
        assert_eq!(locks.lock("g", "one", queues([0]), later), queues([0]));
        // Renewed at 40 s, so it outlives 60 s; queue 1 was not.
        let at_70 = start + Duration::from_secs(70);
        assert_eq!(locks.lock("g", "two", queues([0, 1]), at_70), queues([1]));
    }

    #[test]
    fn groups_do_not_hinder_each_other() {
        let (locks, start) = (Locks::default(), Instant::now());
        assert_eq!(locks.lock("g", "one", queues([0]), start).len(), 1);
        assert_eq!(locks.lock("h", "two", queues([0]), start).len(), 1);
    }

    #[test]
    fn a_lock_lives_exactly_its_lifetime() {
        let (locks, start) = (Locks::default(), Instant::now());
        locks.lock("g", "one", queues([0]), start);
        assert!(
            locks
                .lock("g", "two", queues([0]), start + LIFETIME)
                .is_empty()
        );
        let past = start + LIFETIME + Duration::from_millis(1);
        assert_eq!(locks.lock("g", "two", queues([0]), past), queues([0]));
    }

    #[test]
    fn only_the_holder_gives_back() {
        let (locks, start) = (Locks::default(), Instant::now());
        locks.lock("g", "one", queues([0]), start);
        locks.unlock("g", "two", &queues([0]));
        assert!(locks.lock("g", "two", queues([0]), start).is_empty());
        locks.unlock("g", "one", &queues([0]));
        assert_eq!(locks.lock("g", "two", queues([0]), start), queues([0]));
    }

    #[test]
    fn a_group_has_a_lock_until_all_expire() {
        let (locks, start) = (Locks::default(), Instant::now());
        assert!(!locks.has_any_at("g", start));
        locks.lock("g", "one", queues([0]), start);
        assert!(locks.has_any_at("g", start + LIFETIME));
        let past = start + LIFETIME + Duration::from_millis(1);
        assert!(!locks.has_any_at("g", past));
        locks.expire(past);
        assert!(locks.groups.lock().is_empty());
    }
}
