// SPDX-License-Identifier: Apache-2.0
//! Members of producer groups. Apache: `ProducerManager`.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use aerobee_remoting::Connection;
use parking_lot::Mutex;

use super::{Client, MEMBERS_MAX, Member};

/// Most producer groups; their names are whatever clients send.
const GROUPS_MAX: usize = 100_000;
/// Longest name of a producer group in bytes.
const NAME_MAX_BYTES: usize = 512;

/// Producer groups and their members. `C` is a connection.
#[derive(Debug)]
pub struct Producers<C = Arc<Connection>> {
    tables: Mutex<Tables<C>>,
    /// Spreads what is asked of a group over its members.
    turn: AtomicUsize,
}

#[derive(Debug)]
struct Tables<C> {
    groups: HashMap<Arc<str>, HashMap<u64, Member<C>>>,
    /// Groups of each connection, so that its end costs no walk through all groups.
    of_connection: HashMap<u64, Vec<Arc<str>>>,
    /// Client id → the connection that it used last.
    of_client: HashMap<Arc<str>, (u64, C)>,
}

impl<C> Default for Producers<C> {
    fn default() -> Self {
        Self {
            tables: Mutex::new(Tables {
                groups: HashMap::new(),
                of_connection: HashMap::new(),
                of_client: HashMap::new(),
            }),
            turn: AtomicUsize::new(0),
        }
    }
}

impl<C: Clone> Producers<C> {
    /// Adds, or refreshes, the client on connection `id`. Nothing happens beyond the bounds.
    pub fn register(&self, group: &str, id: u64, connection: &C, client: &Client, now: Instant) {
        let mut tables = self.tables.lock();
        let Tables {
            groups,
            of_connection,
            of_client,
        } = &mut *tables;
        let name = match groups.get_key_value(group) {
            Some((name, _)) => Arc::clone(name),
            None if groups.len() >= GROUPS_MAX || group.len() > NAME_MAX_BYTES => return,
            None => group.into(),
        };
        let members = groups.entry(Arc::clone(&name)).or_default();
        let found = (id, connection.clone());
        if let Some(member) = members.get_mut(&id) {
            if member.client.id != client.id {
                let is_own = |(known, _): &(u64, C)| *known == id;
                if of_client.get(&member.client.id).is_some_and(is_own) {
                    of_client.remove(&member.client.id);
                }
            }
            member.client.clone_from(client);
            member.seen = now;
            of_client.insert(Arc::clone(&client.id), found);
            return;
        }
        if members.len() >= MEMBERS_MAX {
            return;
        }
        of_client.insert(Arc::clone(&client.id), found);
        tracing::info!(group, client = %client.id, language = ?client.language, "new producer");
        members.insert(
            id,
            Member {
                client: client.clone(),
                connection: connection.clone(),
                seen: now,
            },
        );
        of_connection.entry(id).or_default().push(name);
    }

    /// Takes the client on connection `id` out of one group.
    pub fn unregister(&self, group: &str, id: u64) {
        self.tables.lock().remove(group, id);
    }

    /// Takes a connection that has ended out of all its groups.
    pub fn closed(&self, id: u64) {
        let mut tables = self.tables.lock();
        for group in tables.of_connection.get(&id).cloned().unwrap_or_default() {
            tables.remove(&group, id);
        }
    }

    /// Removes the members that fell silent and returns their connections, which are to be closed.
    pub fn expire(&self, now: Instant) -> Vec<C> {
        let mut tables = self.tables.lock();
        let silent: Vec<(Arc<str>, u64, C)> = tables
            .groups
            .iter()
            .flat_map(|(group, members)| {
                members
                    .iter()
                    .filter(|(_, member)| member.is_expired(now))
                    .map(|(id, member)| (Arc::clone(group), *id, member.connection.clone()))
            })
            .collect();
        for (group, id, _) in &silent {
            tracing::info!(%group, "a producer fell silent");
            tables.remove(group, *id);
        }
        silent
            .into_iter()
            .map(|(_, _, connection)| connection)
            .collect()
    }

    /// The members of a group; nothing when there is no such group.
    pub fn members(&self, group: &str) -> Option<Vec<Member<C>>> {
        let tables = self.tables.lock();
        Some(tables.groups.get(group)?.values().cloned().collect())
    }

    /// A usable connection of a group, another one each time.
    pub fn pick(&self, group: &str, usable: impl Fn(&C) -> bool) -> Option<C> {
        let tables = self.tables.lock();
        let members = tables.groups.get(group)?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % members.len().max(1);
        let (before, from) = (members.values().take(turn), members.values().skip(turn));
        let mut connections = from.chain(before).map(|member| &member.connection);
        connections.find(|connection| usable(connection)).cloned()
    }

    /// The connection of a client, whatever its groups. Of several connections with the same client
    /// id the one that it used last.
    pub fn connection_of(&self, client_id: &str) -> Option<C> {
        let tables = self.tables.lock();
        let (_, connection) = tables.of_client.get(client_id)?;
        Some(connection.clone())
    }

    /// All groups and their members.
    pub fn all(&self) -> Vec<(Arc<str>, Vec<Member<C>>)> {
        let tables = self.tables.lock();
        let groups = tables.groups.iter();
        groups
            .map(|(group, members)| (Arc::clone(group), members.values().cloned().collect()))
            .collect()
    }

    /// Number of groups.
    pub fn len(&self) -> usize {
        self.tables.lock().groups.len()
    }

    /// Whether no producer is connected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<C> Tables<C> {
    fn remove(&mut self, group: &str, id: u64) {
        let Some(members) = self.groups.get_mut(group) else {
            return;
        };
        let removed = members.remove(&id);
        if members.is_empty() {
            self.groups.remove(group);
        }
        let Some(groups) = self.of_connection.get_mut(&id) else {
            return;
        };
        groups.retain(|name| &**name != group);
        let is_last = groups.is_empty();
        if is_last {
            self.of_connection.remove(&id);
        }
        let Some(Member { client, .. }) = removed else {
            return;
        };
        tracing::info!(group, client = %client.id, "producer left");
        let is_known = self
            .of_client
            .get(&client.id)
            .is_some_and(|(known, _)| *known == id);
        if is_last && is_known {
            self.of_client.remove(&client.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aerobee_remoting::Language;

    use super::*;
    use crate::clients::EXPIRY;

    fn client(id: &str) -> Client {
        Client {
            id: id.into(),
            language: Language::Java,
            version: 1,
        }
    }

    fn ids(producers: &Producers<u64>, group: &str) -> Option<Vec<String>> {
        let mut ids: Vec<String> = producers
            .members(group)?
            .iter()
            .map(|member| member.client.id.to_string())
            .collect();
        ids.sort();
        Some(ids)
    }

    #[test]
    fn the_end_of_a_connection_empties_its_groups_only() {
        let (producers, now) = (Producers::<u64>::default(), Instant::now());
        producers.register("a", 1, &1, &client("x"), now);
        producers.register("b", 1, &1, &client("x"), now);
        producers.register("b", 2, &2, &client("y"), now);
        producers.closed(1);
        assert_eq!(ids(&producers, "a"), None);
        assert_eq!(ids(&producers, "b").unwrap(), ["y"]);
        producers.unregister("b", 2);
        assert!(producers.is_empty());
        assert!(producers.tables.lock().of_connection.is_empty());
    }

    #[test]
    fn a_second_id_on_a_connection_replaces_the_first() {
        let (producers, now) = (Producers::<u64>::default(), Instant::now());
        producers.register("a", 1, &1, &client("x"), now);
        producers.register("a", 1, &1, &client("z"), now);
        assert_eq!(ids(&producers, "a").unwrap(), ["z"]);
    }

    #[test]
    fn a_client_is_found_by_its_id_while_it_is_connected() {
        let (producers, now) = (Producers::<u64>::default(), Instant::now());
        producers.register("a", 1, &1, &client("x"), now);
        producers.register("b", 1, &1, &client("x"), now);
        producers.register("a", 2, &2, &client("y"), now);
        assert_eq!(producers.connection_of("x"), Some(1));
        producers.unregister("a", 1);
        assert_eq!(producers.connection_of("x"), Some(1));
        // It comes again before its old connection is seen to end.
        producers.register("a", 3, &3, &client("x"), now);
        producers.closed(1);
        assert_eq!(producers.connection_of("x"), Some(3));
        producers.register("a", 3, &3, &client("z"), now);
        assert_eq!(producers.connection_of("x"), None);
        producers.closed(2);
        producers.closed(3);
        assert!(producers.tables.lock().of_client.is_empty());
    }

    #[test]
    fn members_are_picked_in_turn_and_only_usable_ones() {
        let (producers, now) = (Producers::<u64>::default(), Instant::now());
        assert_eq!(producers.pick("a", |_| true), None);
        for id in 1..=3 {
            producers.register("a", id, &id, &client("x"), now);
        }
        let mut picked = Vec::from_iter((0..3).filter_map(|_| producers.pick("a", |_| true)));
        picked.sort_unstable();
        assert_eq!(picked, [1, 2, 3]);
        for _ in 0..3 {
            assert_eq!(producers.pick("a", |id| *id == 2), Some(2));
        }
        assert_eq!(producers.pick("a", |_| false), None);
    }

    #[test]
    fn silent_members_expire_and_are_named() {
        let (producers, start) = (Producers::<u64>::default(), Instant::now());
        producers.register("a", 1, &1, &client("x"), start);
        producers.register("a", 2, &2, &client("y"), start + Duration::from_secs(1));
        assert!(producers.expire(start + EXPIRY).is_empty());
        assert_eq!(
            producers.expire(start + EXPIRY + Duration::from_millis(1)),
            [1]
        );
        assert_eq!(ids(&producers, "a").unwrap(), ["y"]);
    }
}
