// SPDX-License-Identifier: Apache-2.0
//! Consumer groups that are connected: their members, and what they subscribe to. Apache:
//! `ConsumerManager`, `ConsumerGroupInfo`.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use aerobee_message::tags::TagFilter;
use aerobee_remoting::{
    Connection,
    body::heartbeat::{ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData},
};
use dashmap::DashMap;
use parking_lot::{Mutex, RwLock};

use super::{Client, MEMBERS_MAX, Member};
use crate::filter::{Filter, FilterError};

/// Most topics of one subscription; what is above is not taken.
pub const TOPICS_PER_GROUP_MAX: usize = 10_000;

/// What a group wants of a topic, ready to be matched.
#[derive(Debug, Clone)]
pub struct Subscription {
    data: SubscriptionData,
    /// `None` when the expression does not compile.
    filter: Option<Filter>,
}

impl Subscription {
    /// Prepares what a heartbeat says.
    pub fn new(data: SubscriptionData) -> Self {
        let filter = match Filter::parse(Some(&data.expression_type), &data.sub_string) {
            Ok(filter) => Some(filter),
            // Where the expression is none, what the client made of it counts, as in Java.
            Err(FilterError::Tags(_)) => {
                let codes = data.code_set.iter().copied();
                Some(Filter::Tags(TagFilter::of_codes(codes)))
            }
            Err(error) => {
                tracing::warn!(topic = %data.topic, %error, "a subscription cannot be matched");
                None
            }
        };
        Self { data, filter }
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.data.topic
    }

    /// Grows with each change that the client makes.
    #[inline]
    pub fn version(&self) -> i64 {
        self.data.sub_version
    }

    /// `TAG` or `SQL92`.
    #[inline]
    pub fn expression_type(&self) -> &str {
        &self.data.expression_type
    }

    /// Which messages are wanted; `None` when the expression does not compile.
    #[inline]
    pub fn filter(&self) -> Option<&Filter> {
        self.filter.as_ref()
    }

    /// As the client sent it.
    pub fn data(&self) -> &SubscriptionData {
        &self.data
    }
}

/// How a group consumes, as its last heartbeat said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// Pull, push or pop.
    pub consume_type: ConsumeType,
    /// Whether the members share the messages or each gets all.
    pub message_model: MessageModel,
    /// Where a new group starts.
    pub consume_from: ConsumeFromWhere,
}

/// What a heartbeat says about one consumer group.
#[derive(Debug)]
pub struct Joining<'a> {
    /// The group.
    pub group: &'a str,
    /// Who beats.
    pub client: &'a Client,
    /// How it consumes.
    pub mode: Mode,
    /// The whole subscription; `None` keeps the one known, as with the short heartbeat.
    pub subscriptions: Option<Vec<Subscription>>,
}

/// A consumer group with at least one member. `C` is a connection.
#[derive(Debug)]
pub struct ConsumerGroup<C = Arc<Connection>> {
    name: Arc<str>,
    mode: Mutex<Mode>,
    /// The message model of `mode`, for the pull path.
    broadcasting: AtomicBool,
    members: Mutex<HashMap<u64, Member<C>>>,
    subscriptions: RwLock<HashMap<Box<str>, Arc<Subscription>>>,
}

impl<C: Clone> ConsumerGroup<C> {
    fn new(name: Arc<str>, mode: Mode) -> Self {
        Self {
            name,
            mode: Mutex::new(mode),
            broadcasting: AtomicBool::new(false),
            members: Mutex::default(),
            subscriptions: RwLock::default(),
        }
    }

    /// The name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How it consumes.
    pub fn mode(&self) -> Mode {
        *self.mode.lock()
    }

    /// Whether each member gets every message.
    #[inline]
    pub fn is_broadcasting(&self) -> bool {
        self.broadcasting.load(Ordering::Relaxed)
    }

    /// What it wants of a topic.
    #[inline]
    pub fn subscription(&self, topic: &str) -> Option<Arc<Subscription>> {
        self.subscriptions.read().get(topic).cloned()
    }

    /// Its whole subscription.
    pub fn subscriptions(&self) -> Vec<Arc<Subscription>> {
        self.subscriptions.read().values().cloned().collect()
    }

    /// Its members.
    pub fn members(&self) -> Vec<Member<C>> {
        self.members.lock().values().cloned().collect()
    }

    /// Ids of its members.
    pub fn client_ids(&self) -> Vec<Arc<str>> {
        let members = self.members.lock();
        members
            .values()
            .map(|member| Arc::clone(&member.client.id))
            .collect()
    }

    /// Id of the client on a connection.
    pub fn client_id(&self, connection: u64) -> Option<Arc<str>> {
        let members = self.members.lock();
        let member = members.get(&connection)?;
        Some(Arc::clone(&member.client.id))
    }

    /// Whether a client of that id is a member.
    pub fn has_client(&self, id: &str) -> bool {
        let members = self.members.lock();
        members.values().any(|member| &*member.client.id == id)
    }

    /// Connections of its members.
    pub fn connections(&self) -> Vec<C> {
        let members = self.members.lock();
        members
            .values()
            .map(|member| member.connection.clone())
            .collect()
    }

    /// Whether `connection` is new here.
    fn join(&self, id: u64, connection: &C, client: &Client, now: Instant) -> Joined {
        let mut members = self.members.lock();
        if let Some(member) = members.get_mut(&id) {
            member.client.clone_from(client);
            member.seen = now;
            return Joined::Before;
        }
        if members.len() >= MEMBERS_MAX {
            return Joined::Refused;
        }
        let member = Member {
            client: client.clone(),
            connection: connection.clone(),
            seen: now,
        };
        members.insert(id, member);
        Joined::Now
    }

    /// Takes the new subscription. A topic that is known changes only with a greater version, which
    /// does not count as a change: no queue moves by it.
    fn subscribe(&self, wanted: Vec<Subscription>) -> Moved {
        let mut subscriptions = self.subscriptions.write();
        let mut moved = Moved::default();
        let mut topics = HashSet::with_capacity(wanted.len());
        for subscription in wanted.into_iter().take(TOPICS_PER_GROUP_MAX) {
            let topic: Box<str> = subscription.topic().into();
            match subscriptions.get_mut(&topic) {
                None => {
                    tracing::info!(group = %self.name, %topic, expression = %subscription.data.sub_string, "new subscription");
                    subscriptions.insert(topic.clone(), Arc::new(subscription));
                    moved.came.push(topic.clone());
                }
                Some(known) if subscription.version() > known.version() => {
                    *known = Arc::new(subscription);
                }
                Some(_) => {}
            }
            topics.insert(topic);
        }
        subscriptions.retain(|topic, _| {
            let stays = topics.contains(topic);
            if !stays {
                moved.went.push(topic.clone());
            }
            stays
        });
        moved
    }

    fn set_mode(&self, mode: Mode) {
        *self.mode.lock() = mode;
        self.broadcasting.store(
            mode.message_model == MessageModel::Broadcasting,
            Ordering::Relaxed,
        );
    }
}

/// Topics that a subscription has got, and those that it has no more.
#[derive(Debug, Default)]
struct Moved {
    came: Vec<Box<str>>,
    went: Vec<Box<str>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Joined {
    Now,
    Before,
    Refused,
}

/// What became of members that fell silent.
#[derive(Debug)]
pub struct Expired<C> {
    /// Their connections, which are to be closed.
    pub connections: Vec<C>,
    /// Groups whose members have to hear of it.
    pub changed: Vec<Arc<ConsumerGroup<C>>>,
}

/// All connected consumer groups. `C` is a connection.
#[derive(Debug)]
pub struct Consumers<C = Arc<Connection>> {
    groups: DashMap<Arc<str>, Arc<ConsumerGroup<C>>>,
    /// Groups of each connection. Its lock is held for every change of `groups`, so that a group
    /// is not dropped as empty while a member joins; readers take only the map's.
    of_connection: Mutex<HashMap<u64, Vec<Arc<str>>>>,
    /// Groups that subscribe to each topic: tools ask for one topic after the other. Changed with
    /// the lock of `of_connection` held.
    of_topic: RwLock<HashMap<Box<str>, Vec<Arc<str>>>>,
}

impl<C> Default for Consumers<C> {
    fn default() -> Self {
        Self {
            groups: DashMap::new(),
            of_connection: Mutex::default(),
            of_topic: RwLock::default(),
        }
    }
}

impl<C: Clone> Consumers<C> {
    /// The group, when anybody of it is connected.
    #[inline]
    pub fn group(&self, name: &str) -> Option<Arc<ConsumerGroup<C>>> {
        self.groups.get(name).map(|group| Arc::clone(&group))
    }

    /// What a group wants of a topic.
    pub fn subscription(&self, group: &str, topic: &str) -> Option<Arc<Subscription>> {
        self.groups.get(group)?.subscription(topic)
    }

    /// All groups.
    pub fn groups(&self) -> Vec<Arc<ConsumerGroup<C>>> {
        self.groups.iter().map(|group| Arc::clone(&group)).collect()
    }

    /// Names of the groups that subscribe to a topic.
    pub fn groups_of(&self, topic: &str) -> Vec<Arc<str>> {
        self.of_topic.read().get(topic).cloned().unwrap_or_default()
    }

    /// Takes a heartbeat; returns the group when its members have to hear that it changed.
    pub fn register(
        &self,
        id: u64,
        connection: &C,
        joining: Joining<'_>,
        now: Instant,
    ) -> Option<Arc<ConsumerGroup<C>>> {
        let Joining {
            group: name,
            client,
            mode,
            subscriptions,
        } = joining;
        let mut of_connection = self.of_connection.lock();
        let group = Arc::clone(
            &*self
                .groups
                .entry(name.into())
                .or_insert_with(|| Arc::new(ConsumerGroup::new(name.into(), mode))),
        );
        let joined = group.join(id, connection, client, now);
        if joined == Joined::Refused {
            tracing::warn!(
                group = name,
                limit = MEMBERS_MAX,
                "the group has too many members"
            );
            return None;
        }
        group.set_mode(mode);
        if joined == Joined::Now {
            tracing::info!(group = name, client = %client.id, language = ?client.language, ?mode, "new consumer");
            of_connection
                .entry(id)
                .or_default()
                .push(Arc::clone(&group.name));
        }
        let moved = subscriptions.map(|wanted| group.subscribe(wanted));
        let moved = moved.unwrap_or_default();
        let subscribed = !(moved.came.is_empty() && moved.went.is_empty());
        if subscribed {
            self.list(&group.name, moved);
        }
        let changed = joined == Joined::Now || subscribed;
        (changed && !group.is_broadcasting()).then_some(group)
    }

    /// Takes the client on connection `id` out of a group; returns the group when the members that
    /// are left have to hear that it changed.
    pub fn unregister(&self, group: &str, id: u64) -> Option<Arc<ConsumerGroup<C>>> {
        self.remove(&mut self.of_connection.lock(), group, id)
    }

    /// Takes a connection that has ended out of all its groups; returns those whose members have to
    /// hear of it.
    pub fn closed(&self, id: u64) -> Vec<Arc<ConsumerGroup<C>>> {
        let mut of_connection = self.of_connection.lock();
        let groups = of_connection.get(&id).cloned().unwrap_or_default();
        groups
            .iter()
            .filter_map(|group| self.remove(&mut of_connection, group, id))
            .collect()
    }

    /// Removes members that fell silent.
    pub fn expire(&self, now: Instant) -> Expired<C> {
        let mut of_connection = self.of_connection.lock();
        let mut expired = Expired {
            connections: Vec::new(),
            changed: Vec::new(),
        };
        for group in self.groups() {
            let silent: Vec<(u64, C)> = {
                let members = group.members.lock();
                let silent = members.iter().filter(|(_, member)| member.is_expired(now));
                silent
                    .map(|(id, member)| (*id, member.connection.clone()))
                    .collect()
            };
            let mut changed = None;
            for (id, connection) in silent {
                tracing::info!(group = %group.name, connection = id, "a consumer fell silent");
                changed = self.remove(&mut of_connection, &group.name, id);
                expired.connections.push(connection);
            }
            expired.changed.extend(changed);
        }
        expired
    }

    /// Keeps `of_topic` as the subscriptions are.
    fn list(&self, group: &Arc<str>, moved: Moved) {
        let mut of_topic = self.of_topic.write();
        for topic in moved.came {
            of_topic.entry(topic).or_default().push(Arc::clone(group));
        }
        for topic in moved.went {
            if let Some(groups) = of_topic.get_mut(&topic) {
                groups.retain(|known| known != group);
                if groups.is_empty() {
                    of_topic.remove(&topic);
                }
            }
        }
    }

    fn remove(
        &self,
        of_connection: &mut HashMap<u64, Vec<Arc<str>>>,
        name: &str,
        id: u64,
    ) -> Option<Arc<ConsumerGroup<C>>> {
        let group = self.group(name)?;
        let (removed, is_empty) = {
            let mut members = group.members.lock();
            (members.remove(&id), members.is_empty())
        };
        if is_empty {
            self.groups.remove(name);
            let topics = group.subscriptions.read();
            let went = topics.keys().cloned().collect();
            let came = Vec::new();
            self.list(&group.name, Moved { came, went });
        }
        let removed = removed?;
        tracing::info!(group = name, client = %removed.client.id, "consumer left");
        if let Some(groups) = of_connection.get_mut(&id) {
            groups.retain(|known| &**known != name);
            if groups.is_empty() {
                of_connection.remove(&id);
            }
        }
        (!is_empty && !group.is_broadcasting()).then_some(group)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aerobee_remoting::Language;

    use super::*;
    use crate::clients::EXPIRY;

    const MODE: Mode = Mode {
        consume_type: ConsumeType::Passively,
        message_model: MessageModel::Clustering,
        consume_from: ConsumeFromWhere::LastOffset,
    };

    fn subscription(topic: &str, expression: &str, version: i64) -> Subscription {
        Subscription::new(SubscriptionData {
            topic: topic.into(),
            sub_string: expression.into(),
            sub_version: version,
            expression_type: "TAG".into(),
            ..SubscriptionData::default()
        })
    }

    /// A table, and a beat of client `c<id>` on connection `id`.
    struct Bench {
        consumers: Consumers<u64>,
        start: Instant,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                consumers: Consumers::default(),
                start: Instant::now(),
            }
        }

        fn beat(
            &self,
            id: u64,
            group: &str,
            wanted: Option<Vec<Subscription>>,
        ) -> Option<Vec<u64>> {
            self.beat_as(id, group, wanted, MODE, 0)
        }

        fn beat_as(
            &self,
            id: u64,
            group: &str,
            subscriptions: Option<Vec<Subscription>>,
            mode: Mode,
            second: u64,
        ) -> Option<Vec<u64>> {
            let client = Client {
                id: format!("c{id}").into(),
                language: Language::Java,
                version: 1,
            };
            let joining = Joining {
                group,
                client: &client,
                mode,
                subscriptions,
            };
            let now = self.start + Duration::from_secs(second);
            let changed = self.consumers.register(id, &id, joining, now)?;
            Some(sorted(changed.connections()))
        }

        fn ids(&self, group: &str) -> Vec<String> {
            let group = self.consumers.group(group);
            let ids = group.map(|group| group.client_ids()).unwrap_or_default();
            sorted(ids.iter().map(ToString::to_string).collect())
        }
    }

    fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
        list.sort();
        list
    }

    #[test]
    fn joining_concerns_all_members_and_a_repeated_beat_nobody() {
        let bench = Bench::new();
        let wanted = || Some(vec![subscription("t", "*", 1)]);
        assert_eq!(bench.beat(1, "g", wanted()).unwrap(), [1]);
        assert_eq!(bench.beat(2, "g", wanted()).unwrap(), [1, 2]);
        assert_eq!(bench.beat(2, "g", wanted()), None);
        assert_eq!(bench.ids("g"), ["c1", "c2"]);
    }

    #[test]
    fn topics_that_come_or_go_are_a_change() {
        let bench = Bench::new();
        bench.beat(1, "g", Some(vec![subscription("t", "*", 1)]));
        let both = vec![subscription("t", "*", 1), subscription("u", "*", 1)];
        assert!(bench.beat(1, "g", Some(both)).is_some());
        assert!(
            bench
                .beat(1, "g", Some(vec![subscription("u", "*", 1)]))
                .is_some()
        );
        assert!(bench.consumers.subscription("g", "t").is_none());
        assert!(bench.consumers.subscription("g", "u").is_some());
    }

    #[test]
    fn the_groups_of_a_topic_are_those_that_subscribe_now() {
        let bench = Bench::new();
        let groups = |topic: &str| {
            let names = bench.consumers.groups_of(topic);
            sorted(names.iter().map(ToString::to_string).collect())
        };
        let both = || vec![subscription("t", "*", 1), subscription("u", "*", 1)];
        bench.beat(1, "g", Some(both()));
        bench.beat(1, "h", Some(both()));
        bench.beat(2, "h", Some(both()));
        assert_eq!(groups("t"), ["g", "h"]);
        bench.beat(1, "g", Some(vec![subscription("t", "a", 2)]));
        assert_eq!((groups("t").len(), groups("u")), (2, vec!["h".to_owned()]));
        bench.consumers.closed(1);
        assert_eq!(groups("t"), ["h"]);
        bench.consumers.unregister("h", 2);
        assert!(bench.consumers.of_topic.read().is_empty());
    }

    #[test]
    fn a_subscription_is_replaced_by_a_newer_one_only() {
        let bench = Bench::new();
        bench.beat(1, "g", Some(vec![subscription("t", "new", 5)]));
        assert_eq!(
            bench.beat(1, "g", Some(vec![subscription("t", "old", 4)])),
            None
        );
        let known = || bench.consumers.subscription("g", "t").unwrap();
        assert_eq!(known().data().sub_string, "new");
        assert_eq!(
            bench.beat(1, "g", Some(vec![subscription("t", "newer", 6)])),
            None
        );
        assert_eq!(known().data().sub_string, "newer");
        assert_eq!(known().version(), 6);
    }

    #[test]
    fn the_short_heartbeat_keeps_the_subscription() {
        let bench = Bench::new();
        bench.beat(1, "g", Some(vec![subscription("t", "*", 1)]));
        assert_eq!(bench.beat(1, "g", None), None);
        assert!(bench.consumers.subscription("g", "t").is_some());
    }

    #[test]
    fn broadcasting_members_do_not_hear_of_each_other() {
        let bench = Bench::new();
        let mode = Mode {
            message_model: MessageModel::Broadcasting,
            ..MODE
        };
        let wanted = || Some(vec![subscription("t", "*", 1)]);
        assert_eq!(bench.beat_as(1, "g", wanted(), mode, 0), None);
        assert_eq!(bench.beat_as(2, "g", wanted(), mode, 0), None);
        assert!(bench.consumers.group("g").unwrap().is_broadcasting());
        assert!(bench.consumers.closed(1).is_empty());
        assert_eq!(bench.ids("g"), ["c2"]);
    }

    #[test]
    fn the_end_of_a_connection_concerns_the_rest_of_its_groups() {
        let bench = Bench::new();
        for (id, group) in [(1, "g"), (2, "g"), (1, "h"), (2, "i")] {
            bench.beat(id, group, Some(vec![subscription("t", "*", 1)]));
        }
        let changed = bench.consumers.closed(1);
        let names: Vec<&str> = changed.iter().map(|group| &**group.name()).collect();
        assert_eq!(names, ["g"]);
        assert_eq!(changed[0].connections(), [2]);
        assert!(bench.consumers.group("h").is_none());
        assert_eq!(bench.ids("i"), ["c2"]);
        assert_eq!(bench.consumers.of_connection.lock().len(), 1);
    }

    #[test]
    fn leaving_a_group_keeps_the_others() {
        let bench = Bench::new();
        bench.beat(1, "g", Some(vec![subscription("t", "*", 1)]));
        bench.beat(1, "h", Some(vec![subscription("t", "*", 1)]));
        assert!(bench.consumers.unregister("g", 1).is_none());
        assert!(bench.consumers.unregister("g", 1).is_none());
        assert!(bench.consumers.group("g").is_none());
        assert_eq!(bench.ids("h"), ["c1"]);
    }

    #[test]
    fn silent_members_expire() {
        let bench = Bench::new();
        bench.beat(1, "g", Some(vec![subscription("t", "*", 1)]));
        bench.beat_as(2, "g", None, MODE, 1);
        let end = bench.start + EXPIRY;
        assert!(bench.consumers.expire(end).connections.is_empty());
        let expired = bench.consumers.expire(end + Duration::from_millis(1));
        assert_eq!(expired.connections, [1]);
        assert_eq!(expired.changed[0].connections(), [2]);
        assert_eq!(bench.ids("g"), ["c2"]);
    }

    #[test]
    fn tags_are_matched_by_their_code() {
        let wanted = subscription("t", "a || b", 1);
        let code = aerobee_message::tags::code_of;
        assert!(wanted.filter().unwrap().accepts_code(code("a")));
        assert!(wanted.filter().unwrap().accepts_code(code("b")));
        assert!(!wanted.filter().unwrap().accepts_code(code("c")));
    }
}
