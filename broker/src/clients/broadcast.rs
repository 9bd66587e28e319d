// SPDX-License-Identifier: Apache-2.0
//! How far each client of a broadcasting group has pulled, so that one that moves between a proxy
//! and the broker goes on where it was. Apache: `BroadcastOffsetManager`.
//!
//! Every few seconds the smallest offset of a group's clients is committed for `<group>@broadcast`:
//! clients that are new at a proxy begin there.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// How often offsets are committed.
pub(crate) const PERIOD: Duration = Duration::from_secs(5);
/// Stands behind the name of a group whose committed offset is that of all its clients.
const SUFFIX: &str = "@broadcast";
/// Most clients of all groups and topics together; further ones are not known here.
const CLIENTS_MAX: usize = 200_000;

/// How long clients are remembered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// Of a client that is not connected. Java key: `broadcastOffsetExpireSecond`.
    pub(crate) offline: Duration,
    /// Of a client that is connected, but does not pull. Java key: `broadcastOffsetExpireMaxSecond`.
    pub(crate) idle: Duration,
}

#[derive(Debug)]
struct Client {
    seen: Instant,
    by_proxy: bool,
    offsets: BTreeMap<i32, i64>,
}

type Clients = HashMap<Box<str>, Client>;

#[derive(Debug, Default)]
struct Table {
    /// Group and topic.
    groups: HashMap<(Arc<str>, Arc<str>), Clients>,
    clients: usize,
}

/// Where the clients of broadcasting groups are.
#[derive(Debug, Default)]
pub struct Broadcast {
    table: Mutex<Table>,
}

/// A pull of a broadcasting client.
#[derive(Debug, Clone)]
pub(crate) struct Puller {
    pub(crate) group: Arc<str>,
    pub(crate) topic: Arc<str>,
    pub(crate) client: Box<str>,
    pub(crate) queue_id: i32,
    pub(crate) by_proxy: bool,
}

/// The group that the offset of all clients is committed for.
pub(crate) fn committed_group(group: &str) -> String {
    format!("{group}{SUFFIX}")
}

/// Whether the name is such a group: nobody consumes in it, so it is shown to nobody. Apache's tables have topic and
/// group in one key, and its lists leave out the keys that fall into more than two parts at `@`.
pub(crate) fn is_committed_group(group: &str) -> bool {
    group.ends_with(SUFFIX)
}

impl Broadcast {
    /// What a pull at `offset` is to be told before it reads: `Some(known)` when it has to begin
    /// elsewhere, with the offset that is known of the client, if any.
    pub(crate) fn begins_elsewhere(&self, puller: &Puller, offset: i64) -> Option<Option<i64>> {
        let table = self.table.lock();
        let key = (Arc::clone(&puller.group), Arc::clone(&puller.topic));
        let known = table
            .groups
            .get(&key)
            .and_then(|clients| clients.get(&puller.client));
        let is_new_at_proxy = puller.by_proxy && offset < 0;
        match known {
            Some(client) if is_new_at_proxy || client.by_proxy != puller.by_proxy => {
                Some(client.offsets.get(&puller.queue_id).copied())
            }
            None if is_new_at_proxy => Some(None),
            _ => None,
        }
    }

    /// A client pulls at `offset`: what is before it has been handed out.
    pub(crate) fn pulled(&self, puller: &Puller, offset: i64, now: Instant) {
        let mut table = self.table.lock();
        let Table { groups, clients } = &mut *table;
        let key = (Arc::clone(&puller.group), Arc::clone(&puller.topic));
        let of_group = groups.entry(key).or_default();
        if !of_group.contains_key(&puller.client) {
            if *clients >= CLIENTS_MAX {
                return;
            }
            *clients += 1;
        }
        let client = of_group
            .entry(puller.client.clone())
            .or_insert_with(|| Client {
                seen: now,
                by_proxy: puller.by_proxy,
                offsets: BTreeMap::new(),
            });
        client.seen = now;
        client.by_proxy = puller.by_proxy;
        let known = client.offsets.entry(puller.queue_id).or_insert(offset);
        *known = offset.max(*known);
    }

    /// Forgets clients that are gone, and tells the smallest offset of each queue: group, topic,
    /// queue, offset.
    pub(crate) fn smallest(
        &self,
        memory: Memory,
        now: Instant,
        is_online: impl Fn(&str, &str) -> bool,
    ) -> Vec<(String, Arc<str>, i32, i64)> {
        let mut table = self.table.lock();
        let Table { groups, clients } = &mut *table;
        let mut smallest = Vec::new();
        groups.retain(|(group, topic), of_group| {
            let mut queues: BTreeMap<i32, i64> = BTreeMap::new();
            of_group.retain(|id, client| {
                let silent = now.saturating_duration_since(client.seen);
                let online = is_online(group, id);
                if online || silent < memory.offline {
                    for (queue_id, offset) in &client.offsets {
                        let known = queues.entry(*queue_id).or_insert(*offset);
                        *known = (*known).min(*offset);
                    }
                }
                let kept = silent < if online { memory.idle } else { memory.offline };
                *clients -= usize::from(!kept);
                kept
            });
            let name = committed_group(group);
            for (queue_id, offset) in queues {
                smallest.push((name.clone(), Arc::clone(topic), queue_id, offset));
            }
            !of_group.is_empty()
        });
        smallest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Memory = Memory {
        offline: Duration::from_secs(120),
        idle: Duration::from_secs(300),
    };

    fn puller(client: &str, by_proxy: bool) -> Puller {
        Puller {
            group: "g".into(),
            topic: "t".into(),
            client: client.into(),
            queue_id: 0,
            by_proxy,
        }
    }

    fn smallest(broadcast: &Broadcast, now: Instant, online: bool) -> Vec<i64> {
        let all = broadcast.smallest(MEMORY, now, |_, _| online);
        all.into_iter().map(|(_, _, _, offset)| offset).collect()
    }

    #[test]
    fn the_smallest_offset_of_all_clients_counts() {
        let (broadcast, now) = (Broadcast::default(), Instant::now());
        broadcast.pulled(&puller("a", false), 7, now);
        broadcast.pulled(&puller("b", false), 5, now);
        broadcast.pulled(&puller("b", false), 4, now);
        let all = broadcast.smallest(MEMORY, now, |_, _| true);
        assert_eq!(all, [("g@broadcast".to_owned(), "t".into(), 0, 5)]);
    }

    #[test]
    fn clients_are_forgotten_in_time() {
        let (broadcast, now) = (Broadcast::default(), Instant::now());
        broadcast.pulled(&puller("a", false), 7, now);
        assert_eq!(smallest(&broadcast, now + MEMORY.offline, true), [7]);
        assert!(smallest(&broadcast, now + MEMORY.offline, false).is_empty());
        assert!(broadcast.table.lock().groups.is_empty());
        assert_eq!(broadcast.table.lock().clients, 0);
        broadcast.pulled(&puller("a", false), 7, now);
        assert_eq!(smallest(&broadcast, now + MEMORY.idle, true), [7]);
        assert!(smallest(&broadcast, now + MEMORY.idle, true).is_empty());
    }

    #[test]
    fn a_client_that_changes_its_way_goes_on_where_it_was() {
        let (broadcast, now) = (Broadcast::default(), Instant::now());
        let (direct, by_proxy) = (puller("a", false), puller("a", true));
        assert_eq!(broadcast.begins_elsewhere(&direct, 0), None);
        assert_eq!(broadcast.begins_elsewhere(&by_proxy, -1), Some(None));
        assert_eq!(broadcast.begins_elsewhere(&by_proxy, 3), None);
        broadcast.pulled(&direct, 9, now);
        assert_eq!(broadcast.begins_elsewhere(&direct, 9), None);
        assert_eq!(broadcast.begins_elsewhere(&by_proxy, 0), Some(Some(9)));
        broadcast.pulled(&by_proxy, 9, now);
        assert_eq!(broadcast.begins_elsewhere(&by_proxy, 10), None);
        assert_eq!(broadcast.begins_elsewhere(&by_proxy, -1), Some(Some(9)));
        assert_eq!(broadcast.begins_elsewhere(&direct, 2), Some(Some(9)));
    }
}
