// SPDX-License-Identifier: Apache-2.0
//! Lite topics: very many small topics below one parent, each one light queue, made by its first
//! message and gone when nothing was sent for a time. A message goes to the parent and gets an entry
//! in the queue of its lite topic; clients name the lite topics that they want and pop, in order, what
//! comes to any of them. Apache: package `broker/lite`, `PopLiteMessageProcessor`,
//! `LiteSubscriptionCtlProcessor`.

mod expiry;
mod order;
mod pop;
mod registry;
mod subscribe;
mod upkeep;

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashMap, VecDeque},
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use aerobee_message::lite as names;
use aerobee_remoting::{Connection, Deferred, body::lite::ClientOfGroup};
use aerobee_store::{Clock, Store};
use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    config::Switches,
    groups::{Group, Groups},
    offsets::Offsets,
    topics::{Topic, Topics},
};

pub(crate) use self::{order::Acked, pop::REVIVE_QUEUE};
use self::{order::Order, registry::Registry};

/// Attribute of a topic that says what kind of messages it takes.
const MESSAGE_TYPE: &str = "message.type";
/// Attribute of a parent: minutes that its lite topics live without a message.
const EXPIRATION: &str = "lite.topic.expiration";
/// Attribute of a group: the parent that it is bound to.
pub(crate) const BIND_TOPIC: &str = "lite.bind.topic";
const SUB_MODEL: &str = "lite.sub.model";
const RESET_EXCLUSIVE: &str = "lite.sub.reset.offset.exclusive";
const RESET_UNSUBSCRIBE: &str = "lite.sub.reset.offset.unsubscribe";
const MAX_EVENTS: &str = "lite.sub.client.max.event.cnt";
const WILDCARD: &str = "lite.sub.wildcard";

/// Most pops that wait, of all clients and of one.
const HELD_MAX: usize = 100_000;
const HELD_PER_CLIENT_MAX: usize = 100;

/// A request for messages of lite topics, as it is kept while it waits.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) client: Arc<str>,
    pub(crate) group: Arc<str>,
    pub(crate) max_messages: u32,
    pub(crate) invisible_time: i64,
    pub(crate) attempt: Option<Box<str>>,
}

/// A pop that waits.
#[derive(Debug)]
struct Held {
    ask: Ask,
    reply: Deferred,
    deadline: Instant,
}

/// What is told of a client.
#[derive(Debug)]
pub(crate) struct KnownClient {
    /// When it last asked for messages, milliseconds since 1970.
    pub(crate) asked: i64,
    pub(crate) subscribed: usize,
    pub(crate) queues: BTreeSet<String>,
}

/// A queue of a lite topic, and a group.
type Line = (Arc<str>, Arc<str>);

/// All that is known of lite topics beside their queues.
#[derive(Debug)]
pub(crate) struct Lite {
    store: Arc<Store>,
    topics: Arc<Topics>,
    groups: Arc<Groups>,
    offsets: Arc<Offsets>,
    switches: Arc<Switches>,
    registry: Mutex<Registry<Arc<Connection>>>,
    /// What is out of each queue, for each group.
    orders: DashMap<Line, Arc<Mutex<Order>>>,
    /// When messages that are out come back, milliseconds since 1970: looked at when due.
    timers: Mutex<BinaryHeap<Reverse<(i64, Line)>>>,
    held: Mutex<HashMap<Arc<str>, VecDeque<Held>>>,
    waiting: AtomicUsize,
    /// Something is to be looked at earlier than before.
    earlier: Notify,
}

impl Lite {
    pub(crate) fn new(
        store: &Arc<Store>,
        topics: &Arc<Topics>,
        groups: &Arc<Groups>,
        offsets: &Arc<Offsets>,
        switches: &Arc<Switches>,
    ) -> Arc<Self> {
        Arc::new(Self {
            store: Arc::clone(store),
            topics: Arc::clone(topics),
            groups: Arc::clone(groups),
            offsets: Arc::clone(offsets),
            switches: Arc::clone(switches),
            registry: Mutex::default(),
            orders: DashMap::new(),
            timers: Mutex::default(),
            held: Mutex::default(),
            waiting: AtomicUsize::new(0),
            earlier: Notify::new(),
        })
    }

    fn clock(&self) -> &Clock {
        self.store.clock()
    }

    /// New messages in the queue of a lite topic: one client of each group hears of them.
    pub(crate) fn arrived(self: &Arc<Self>, queue: &str) {
        if let Some((parent, _)) = names::parse(queue) {
            self.offer(queue, parent, None);
        }
    }

    /// Puts a queue up for one client of each group, or of one group, and serves who waits.
    fn offer(self: &Arc<Self>, queue: &str, parent: &str, only: Option<&str>) {
        let later = self.walk_delay();
        let accepted = self
            .registry
            .lock()
            .offer(queue, parent, only, later, Instant::now());
        for client in accepted {
            self.wake(&client);
        }
    }

    fn walk_delay(&self) -> Duration {
        let millis = self
            .switches
            .config()
            .broker
            .lite_event_full_dispatch_delay_time;
        Duration::from_millis(millis.unsigned_abs().max(50))
    }

    /// What is out of a queue, made when nothing is known.
    fn order(&self, queue: &Arc<str>, group: &Arc<str>) -> Arc<Mutex<Order>> {
        let line = (Arc::clone(queue), Arc::clone(group));
        Arc::clone(&self.orders.entry(line).or_default())
    }

    /// The order of a queue and group that something is known of.
    fn known_order(&self, queue: &str, group: &str) -> Option<Arc<Mutex<Order>>> {
        let line = (Arc::from(queue), Arc::from(group));
        self.orders.get(&line).map(|order| Arc::clone(&order))
    }

    /// Has a queue looked at again when what is out of it is back.
    fn set_timer(&self, order: &mut Order, queue: &Arc<str>, group: &Arc<str>) {
        let Some(at) = order.free_at() else {
            return;
        };
        if order.timer_at.is_some_and(|known| known <= at) {
            return;
        }
        order.timer_at = Some(at);
        let line = (Arc::clone(queue), Arc::clone(group));
        self.timers.lock().push(Reverse((at, line)));
        self.earlier.notify_one();
    }

    /// Subscriptions of a client to a lite topic each, for 200074.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        let registry = self.registry.lock();
        (registry.pairs(), registry.clients(), self.orders.len())
    }

    /// Who subscribes to a lite topic; a group that gets everything is shown once, as `*`.
    pub(crate) fn subscribers(&self, queue: &str, parent: &str) -> BTreeSet<ClientOfGroup> {
        let registry = self.registry.lock();
        let named = registry.subscribers(queue).iter();
        let named = named.map(|(client, group)| (client.to_string(), group.to_string()));
        let everything = registry.wildcard_groups(parent).into_iter();
        let everything = everything.map(|group| ("*".to_owned(), group.to_string()));
        named
            .chain(everything)
            .map(|(client_id, group)| ClientOfGroup { client_id, group })
            .collect()
    }

    /// What is known of a client, with at most so many of its queues.
    pub(crate) fn client(&self, id: &str, most: usize) -> Option<KnownClient> {
        let registry = self.registry.lock();
        let client = registry.client(id)?;
        let silent = i64::try_from(client.asked.elapsed().as_millis()).unwrap_or(i64::MAX);
        let queues = client.queues.iter().take(most);
        Some(KnownClient {
            asked: self.clock().millis() - silent,
            subscribed: client.queues.len(),
            queues: queues.map(ToString::to_string).collect(),
        })
    }

    /// Has all that the clients of a group subscribe to looked at.
    pub(crate) fn walk_group_soon(&self, group: &str) {
        let clients = self.registry.lock().clients_of(group);
        for client in clients {
            self.walk_soon(&client);
        }
    }
}

/// Whether a topic is a parent of lite topics.
pub(crate) fn is_parent(topic: &Topic) -> bool {
    let config = topic.config();
    config
        .attributes
        .get(MESSAGE_TYPE)
        .is_some_and(|kind| kind == "LITE")
}

/// Minutes that lite topics of a parent live without a message; −1 when they do not end.
pub(crate) fn expiration(topic: &Topic) -> i32 {
    if !is_parent(topic) {
        return -1;
    }
    let config = topic.config();
    let minutes = config.attributes.get(EXPIRATION);
    minutes
        .and_then(|minutes| minutes.parse().ok())
        .unwrap_or(-1)
}

/// The parent that a group is bound to.
pub(crate) fn bound_to(group: &Group) -> Option<&str> {
    let parent = group.config().attributes.get(BIND_TOPIC)?;
    Some(parent.as_str()).filter(|parent| !parent.is_empty())
}

fn is_set(group: &Group, attribute: &str) -> bool {
    let value = group.config().attributes.get(attribute);
    value.is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// Whether a group gets all lite topics of its parent.
pub(crate) fn is_wildcard(group: &Group) -> bool {
    group.config().attributes.contains_key(WILDCARD)
}

fn is_exclusive(group: &Group) -> bool {
    let model = group.config().attributes.get(SUB_MODEL);
    model.is_some_and(|model| model == "Exclusive")
}
