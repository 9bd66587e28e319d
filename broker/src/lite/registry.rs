// SPDX-License-Identifier: Apache-2.0
//! Who subscribes to which lite topics, and which of them wait for whom. Apache:
//! `LiteSubscriptionRegistryImpl`, `LiteEventDispatcher`.
//!
//! A lite topic with new messages is an *event*: its queue's name, put to one client of each group
//! that subscribes. Each client has a bounded line of events, without duplicates, that its pops take
//! from. What finds the line full is found again by a later walk over all that the client subscribes.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

/// A client without a poll for so long does not take events.
const STUCK: Duration = Duration::from_secs(35);
/// The same for one that has events.
const STUCK_WITH_EVENTS: Duration = Duration::from_secs(10);
/// Such a client gets none for so long, unless nobody else can.
const BLACKLISTED: Duration = Duration::from_secs(10);

/// What a client gets events through. `C` is a connection.
#[derive(Debug)]
pub(crate) struct Client<C> {
    pub(crate) group: Arc<str>,
    pub(crate) parent: Arc<str>,
    /// Whether it gets all lite topics of the parent.
    pub(crate) wildcard: bool,
    pub(crate) queues: HashSet<Arc<str>>,
    pub(crate) connection: Option<C>,
    /// Last time that it subscribed to, or gave up, anything.
    pub(crate) updated: Instant,
    events: VecDeque<Arc<str>>,
    lined_up: HashSet<Arc<str>>,
    /// Most events in line.
    limit: usize,
    /// Last time that it took, or asked for, events.
    pub(crate) asked: Instant,
    blacklisted_until: Option<Instant>,
    /// When to walk over all that it subscribes to.
    walk_at: Option<Instant>,
}

impl<C> Client<C> {
    fn is_blacklisted(&self, now: Instant) -> bool {
        self.blacklisted_until.is_some_and(|until| now < until)
    }

    /// Puts an event into the line; `false` when that is full.
    fn accept(&mut self, queue: &Arc<str>) -> bool {
        if self.events.len() >= self.limit {
            return false;
        }
        if self.lined_up.insert(Arc::clone(queue)) {
            self.events.push_back(Arc::clone(queue));
        }
        true
    }

    /// Whether it gets what comes to a queue.
    fn wants(&self, queue: &str) -> bool {
        self.wildcard || self.queues.contains(queue)
    }

    /// Takes a queue out of the line; whether it stood there.
    fn leave_line(&mut self, queue: &str) -> bool {
        let stood = self.lined_up.remove(queue);
        if stood {
            self.events.retain(|event| **event != *queue);
        }
        stood
    }

    fn is_busy(&self) -> bool {
        self.events.len() * 5 >= self.limit
    }

    fn is_stuck(&self, now: Instant) -> bool {
        let silent = now.saturating_duration_since(self.asked);
        silent > STUCK || (!self.events.is_empty() && silent > STUCK_WITH_EVENTS)
    }

    fn walk_later(&mut self, at: Instant) {
        self.walk_at = Some(self.walk_at.map_or(at, |known| known.min(at)));
    }
}

/// What a registration says of a client.
#[derive(Debug, Clone)]
pub(crate) struct Joining<'a, C> {
    pub(crate) client: &'a str,
    pub(crate) group: &'a str,
    pub(crate) parent: &'a str,
    pub(crate) wildcard: bool,
    pub(crate) limit: usize,
    pub(crate) connection: Option<&'a C>,
}

/// A client of a group.
type Pair = (Arc<str>, Arc<str>);

/// All subscriptions to lite topics, in memory only: clients repeat them.
#[derive(Debug)]
pub(crate) struct Registry<C> {
    clients: HashMap<Arc<str>, Client<C>>,
    /// Queue → clients with their groups.
    subscribers: HashMap<Arc<str>, Vec<Pair>>,
    /// Parent → clients, with their groups, that get everything.
    wildcard: HashMap<Arc<str>, Vec<Pair>>,
    pairs: usize,
    turn: usize,
}

impl<C> Default for Registry<C> {
    fn default() -> Self {
        Self {
            clients: HashMap::new(),
            subscribers: HashMap::new(),
            wildcard: HashMap::new(),
            pairs: 0,
            turn: 0,
        }
    }
}

impl<C: Clone> Registry<C> {
    /// Subscriptions, of a client to a queue each.
    pub(crate) fn pairs(&self) -> usize {
        self.pairs
    }

    /// Clients with a line of events.
    pub(crate) fn clients(&self) -> usize {
        self.clients.len()
    }

    pub(crate) fn client(&self, id: &str) -> Option<&Client<C>> {
        self.clients.get(id)
    }

    /// Clients, with their groups, of a lite topic; those that get everything not among them.
    pub(crate) fn subscribers(&self, queue: &str) -> &[Pair] {
        self.subscribers.get(queue).map_or(&[], Vec::as_slice)
    }

    /// Groups that get everything below a parent.
    pub(crate) fn wildcard_groups(&self, parent: &str) -> HashSet<Arc<str>> {
        let pairs = self.wildcard.get(parent).map_or(&[][..], Vec::as_slice);
        pairs.iter().map(|(_, group)| Arc::clone(group)).collect()
    }

    /// The client, made when it is new. It keeps the group and the parent that it came with first.
    pub(crate) fn join(&mut self, joining: &Joining<'_, C>, now: Instant) -> &mut Client<C> {
        if !self.clients.contains_key(joining.client) {
            let id: Arc<str> = joining.client.into();
            let (group, parent): (Arc<str>, Arc<str>) =
                (joining.group.into(), joining.parent.into());
            if joining.wildcard {
                let pairs = self.wildcard.entry(Arc::clone(&parent)).or_default();
                pairs.push((Arc::clone(&id), Arc::clone(&group)));
                self.pairs += 1;
            }
            self.clients.insert(
                Arc::clone(&id),
                Client {
                    group,
                    parent,
                    wildcard: joining.wildcard,
                    queues: HashSet::new(),
                    connection: None,
                    updated: now,
                    events: VecDeque::new(),
                    lined_up: HashSet::new(),
                    limit: joining.limit,
                    asked: now,
                    blacklisted_until: None,
                    walk_at: None,
                },
            );
        }
        #[expect(clippy::expect_used, reason = "it was inserted above")]
        let client = self.clients.get_mut(joining.client).expect("it is there");
        client.updated = now;
        client.limit = joining.limit;
        if let Some(connection) = joining.connection {
            client.connection = Some(connection.clone());
        }
        client
    }

    /// Subscribes a client to a queue; whether that is new.
    pub(crate) fn add(&mut self, id: &str, queue: &str) -> bool {
        let Some((id, client)) = self.clients.get_key_value(id) else {
            return false;
        };
        if client.wildcard || client.queues.contains(queue) {
            return false;
        }
        let (id, group) = (Arc::clone(id), Arc::clone(&client.group));
        let queue: Arc<str> = match self.subscribers.get_key_value(queue) {
            Some((known, _)) => Arc::clone(known),
            None => queue.into(),
        };
        let pairs = self.subscribers.entry(Arc::clone(&queue)).or_default();
        pairs.push((Arc::clone(&id), group));
        self.pairs += 1;
        if let Some(client) = self.clients.get_mut(&id) {
            client.queues.insert(queue);
        }
        true
    }

    /// Takes a queue from a client, if it had it; whether it stood in its line, for another one of the group then.
    pub(crate) fn remove(&mut self, id: &str, queue: &str, now: Instant) -> Option<bool> {
        let client = self.clients.get_mut(id)?;
        client.updated = now;
        if !client.queues.remove(queue) {
            return None;
        }
        let stood = client.leave_line(queue);
        self.unlink(id, queue);
        Some(stood)
    }

    fn unlink(&mut self, id: &str, queue: &str) {
        if let Some(pairs) = self.subscribers.get_mut(queue) {
            let before = pairs.len();
            pairs.retain(|(client, _)| **client != *id);
            self.pairs -= before - pairs.len();
            if pairs.is_empty() {
                self.subscribers.remove(queue);
            }
        }
    }

    /// Whether another client of a group has a queue.
    pub(crate) fn is_anothers(&self, id: &str, group: &str, queue: &str) -> bool {
        let mut pairs = self.subscribers(queue).iter();
        pairs.any(|(client, known)| **known == *group && **client != *id)
    }

    /// Takes a queue from all other clients of a group; returns those that had it.
    pub(crate) fn evict(&mut self, group: &str, queue: &str) -> Vec<(Arc<str>, Option<C>)> {
        let holders: Vec<Arc<str>> = self
            .subscribers(queue)
            .iter()
            .filter(|(_, known)| **known == *group)
            .map(|(client, _)| Arc::clone(client))
            .collect();
        let mut evicted = Vec::new();
        for id in holders {
            if let Some(client) = self.clients.get_mut(&id) {
                client.queues.remove(queue);
                client.leave_line(queue);
                evicted.push((Arc::clone(&id), client.connection.clone()));
            }
            self.unlink(&id, queue);
        }
        evicted
    }

    /// Forgets a client; returns its group and the events that it had in line.
    pub(crate) fn forget(&mut self, id: &str) -> Option<(Arc<str>, Vec<Arc<str>>)> {
        let client = self.clients.remove(id)?;
        for queue in &client.queues {
            self.unlink(id, queue);
        }
        if client.wildcard
            && let Some(pairs) = self.wildcard.get_mut(&client.parent)
        {
            let before = pairs.len();
            pairs.retain(|(known, _)| **known != *id);
            self.pairs -= before - pairs.len();
            if pairs.is_empty() {
                self.wildcard.remove(&client.parent);
            }
        }
        Some((client.group, client.events.into()))
    }

    /// Drops a queue that is deleted.
    pub(crate) fn drop_queue(&mut self, queue: &str) {
        for (id, _) in self.subscribers.remove(queue).unwrap_or_default() {
            self.pairs -= 1;
            if let Some(client) = self.clients.get_mut(&id) {
                client.queues.remove(queue);
                client.leave_line(queue);
            }
        }
    }

    /// Clients that have not renewed their subscriptions since.
    pub(crate) fn silent_since(&self, then: Instant) -> Vec<Arc<str>> {
        let silent = self
            .clients
            .iter()
            .filter(|(_, client)| client.updated < then);
        silent.map(|(id, _)| Arc::clone(id)).collect()
    }

    /// Clients of a group.
    pub(crate) fn clients_of(&self, group: &str) -> Vec<Arc<str>> {
        let members = self
            .clients
            .iter()
            .filter(|(_, client)| *client.group == *group);
        members.map(|(id, _)| Arc::clone(id)).collect()
    }

    /// A client asks for events; takes the first.
    pub(crate) fn take(&mut self, id: &str, now: Instant) -> Option<Arc<str>> {
        let client = self.clients.get_mut(id)?;
        client.asked = now;
        let event = client.events.pop_front()?;
        client.lined_up.remove(&event);
        Some(event)
    }

    /// Whether there are events for a client.
    pub(crate) fn has_event(&self, id: &str) -> bool {
        self.clients
            .get(id)
            .is_some_and(|client| !client.events.is_empty())
    }

    /// Puts an event back to the front of the line, unless the client has given it up meanwhile.
    pub(crate) fn put_back(&mut self, id: &str, queue: Arc<str>) {
        if let Some(client) = self.clients.get_mut(id)
            && client.wants(&queue)
            && client.lined_up.insert(Arc::clone(&queue))
        {
            client.events.push_front(queue);
        }
    }

    /// New messages in a queue: an event for one client of each group, or of one group only.
    /// Returns the clients that got it.
    pub(crate) fn offer(
        &mut self,
        queue: &str,
        parent: &str,
        only: Option<&str>,
        later: Duration,
        now: Instant,
    ) -> Vec<Arc<str>> {
        let wanted = |(_, group): &&Pair| only.is_none_or(|only| *only == **group);
        let everything = self.wildcard.get(parent).map_or(&[][..], Vec::as_slice);
        let mut pairs: Vec<Pair> = self
            .subscribers(queue)
            .iter()
            .chain(everything)
            .filter(wanted)
            .cloned()
            .collect();
        if pairs.is_empty() {
            return Vec::new();
        }
        pairs.sort_by(|one, other| one.1.cmp(&other.1));
        let queue: Arc<str> = match self.subscribers.get_key_value(queue) {
            Some((known, _)) => Arc::clone(known),
            None => queue.into(),
        };
        let mut accepted = Vec::new();
        for members in pairs.chunk_by(|one, other| one.1 == other.1) {
            accepted.extend(self.offer_to(&queue, members, later, now));
        }
        accepted
    }

    fn offer_to(
        &mut self,
        queue: &Arc<str>,
        members: &[Pair],
        later: Duration,
        now: Instant,
    ) -> Option<Arc<str>> {
        self.turn = self.turn.wrapping_add(1);
        let start = self.turn % members.len();
        let (ahead, behind) = members.split_at(start);
        let in_turn = || behind.iter().chain(ahead);
        // Those that do not poll come last.
        for blacklisted in [false, true] {
            for (id, _) in in_turn() {
                if let Some(client) = self.clients.get_mut(id)
                    && client.is_blacklisted(now) == blacklisted
                    && client.accept(queue)
                {
                    return Some(Arc::clone(id));
                }
            }
        }
        for (id, _) in in_turn() {
            if let Some(client) = self.clients.get_mut(id) {
                client.walk_later(now + later);
            }
        }
        None
    }

    /// Has all that a client subscribes to looked at, at that time.
    pub(crate) fn walk_at(&mut self, id: &str, at: Instant) {
        if let Some(client) = self.clients.get_mut(id) {
            client.walk_later(at);
        }
    }

    /// A walk that waits for room in a client's line is due once there is some; whether that is so.
    pub(crate) fn hurry(&mut self, id: &str, now: Instant) -> bool {
        match self.clients.get_mut(id) {
            Some(client) if client.walk_at.is_some() && !client.is_busy() => {
                client.walk_later(now);
                true
            }
            _ => false,
        }
    }

    /// Clients whose walk is due and that have room in their lines; a walk that has to wait is put
    /// off by `later`.
    pub(crate) fn due(&mut self, now: Instant, later: Duration) -> Vec<Arc<str>> {
        let mut due = Vec::new();
        for (id, client) in &mut self.clients {
            if client.walk_at.is_none_or(|at| now < at) {
                continue;
            }
            if client.is_stuck(now) || client.is_busy() {
                client.walk_at = Some(now + later);
            } else {
                client.walk_at = None;
                due.push(Arc::clone(id));
            }
        }
        due
    }

    /// When the next walk is due.
    pub(crate) fn next_walk(&self) -> Option<Instant> {
        self.clients
            .values()
            .filter_map(|client| client.walk_at)
            .min()
    }

    /// Takes the events from clients that do not poll: queue, its group, and whose it was.
    pub(crate) fn take_from_stuck(&mut self, now: Instant) -> Vec<(Arc<str>, Arc<str>)> {
        let mut taken = Vec::new();
        for client in self.clients.values_mut() {
            if client.events.is_empty() || !client.is_stuck(now) {
                continue;
            }
            client.blacklisted_until = Some(now + BLACKLISTED);
            client.lined_up.clear();
            for event in client.events.drain(..) {
                taken.push((event, Arc::clone(&client.group)));
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joining<'a>(client: &'a str, group: &'a str, wildcard: bool) -> Joining<'a, u64> {
        Joining {
            client,
            group,
            parent: "p",
            wildcard,
            limit: 2,
            connection: None,
        }
    }

    const LATER: Duration = Duration::from_secs(10);

    fn ids(list: &[Arc<str>]) -> Vec<String> {
        let mut ids: Vec<String> = list.iter().map(ToString::to_string).collect();
        ids.sort();
        ids
    }

    #[test]
    fn one_client_of_each_group_gets_an_event() {
        let now = Instant::now();
        let mut registry = Registry::default();
        for (client, group) in [("a", "g"), ("b", "g"), ("c", "h")] {
            registry.join(&joining(client, group, false), now);
            assert!(registry.add(client, "%LMQ%$p$x"));
            assert!(!registry.add(client, "%LMQ%$p$x"));
        }
        registry.join(&joining("w", "all", true), now);
        assert_eq!(registry.pairs(), 4);
        let got = ids(&registry.offer("%LMQ%$p$x", "p", None, LATER, now));
        assert_eq!(got.len(), 3);
        assert_eq!(&got[1..], ["c", "w"]);
        // In line already: accepted without a second place.
        assert_eq!(
            registry
                .offer("%LMQ%$p$x", "p", Some("h"), LATER, now)
                .len(),
            1
        );
        assert_eq!(registry.take("c", now).as_deref(), Some("%LMQ%$p$x"));
        assert_eq!(registry.take("c", now), None);
        assert!(
            registry
                .offer("%LMQ%$q$x", "q", None, LATER, now)
                .is_empty()
        );
    }

    #[test]
    fn a_full_line_is_walked_later() {
        let now = Instant::now();
        let mut registry = Registry::default();
        registry.join(&joining("a", "g", false), now);
        for queue in ["1", "2", "3"] {
            registry.add("a", queue);
        }
        for (queue, accepted) in [("1", 1), ("2", 1), ("3", 0)] {
            assert_eq!(registry.offer(queue, "p", None, LATER, now).len(), accepted);
        }
        assert_eq!(registry.next_walk(), Some(now + LATER));
        assert!(registry.due(now, LATER).is_empty());
        // Still busy: put off.
        assert!(registry.due(now + LATER, LATER).is_empty());
        registry.take("a", now + LATER);
        registry.take("a", now + LATER);
        assert!(!registry.hurry("nobody", now));
        assert!(registry.hurry("a", now + LATER));
        assert_eq!(ids(&registry.due(now + LATER, LATER)), ["a"]);
        assert!(
            !registry.hurry("a", now + LATER),
            "nothing is left to walk for"
        );
        assert_eq!(registry.next_walk(), None);
    }

    #[test]
    fn who_does_not_poll_loses_its_events() {
        let now = Instant::now();
        let mut registry = Registry::default();
        for client in ["a", "b"] {
            registry.join(&joining(client, "g", false), now);
            registry.add(client, "1");
        }
        let first = ids(&registry.offer("1", "p", None, LATER, now)).remove(0);
        let other = if first == "a" { "b" } else { "a" };
        let then = now + STUCK_WITH_EVENTS + Duration::from_secs(1);
        registry.take(other, then);
        let taken = registry.take_from_stuck(then);
        assert_eq!(taken, [("1".into(), "g".into())]);
        for _ in 0..4 {
            let got = ids(&registry.offer("1", "p", Some("g"), LATER, then));
            assert_eq!(got, [other]);
            registry.take(other, then);
        }
    }

    #[test]
    fn what_is_given_up_is_not_in_line_any_more() {
        let now = Instant::now();
        let mut registry = Registry::default();
        registry.join(&joining("a", "g", false), now);
        for queue in ["1", "2"] {
            registry.add("a", queue);
            registry.offer(queue, "p", None, LATER, now);
        }
        assert_eq!(registry.remove("a", "1", now), Some(true));
        assert_eq!(registry.take("a", now).as_deref(), Some("2"));
        assert_eq!(registry.remove("a", "2", now), Some(false));
        // A pop that was under way meanwhile.
        registry.put_back("a", "2".into());
        assert_eq!(registry.take("a", now), None);
    }

    #[test]
    fn leaving_takes_all_pairs_along() {
        let now = Instant::now();
        let mut registry = Registry::default();
        registry.join(&joining("a", "g", false), now);
        registry.join(&joining("b", "g", false), now);
        registry.add("a", "1");
        registry.add("a", "2");
        registry.add("b", "2");
        registry.offer("1", "p", None, LATER, now);
        assert_eq!(registry.evict("g", "2").len(), 2);
        assert_eq!(registry.remove("a", "1", now), Some(true));
        assert_eq!(registry.remove("a", "1", now), None);
        registry.add("a", "3");
        registry.drop_queue("3");
        assert_eq!(registry.pairs(), 0);
        let (group, events) = registry.forget("a").unwrap();
        assert_eq!((&*group, events.len()), ("g", 0));
        assert!(registry.silent_since(now + LATER) == ["b".into()]);
        assert!(registry.forget("a").is_none());
    }
}
