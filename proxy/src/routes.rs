// SPDX-License-Identifier: Apache-2.0
//! Where topics are, and which messages they take; how groups are set up. Kept for a while, renewed
//! in the background (Apache: `proxy/service/route/TopicRouteService.java`,
//! `service/metadata/ClusterMetadataService.java`).

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aerobee_remoting::{
    ResponseCode,
    body::{
        group::SubscriptionGroupConfig,
        route::{QueueData, TopicRoute},
        topic::TopicConfig,
    },
    fastjson,
    header::{
        route::GetRoute,
        topic::{GetGroupConfig, GetTopicConfig},
    },
};
use arc_swap::ArcSwapOption;
use dashmap::DashMap;

use crate::{
    brokers::{Brokers, succeeded},
    config::Config,
    status::Failure,
    v2::{Code, MessageType},
};

/// Permission bit of a topic: clients may write.
pub(crate) const PERM_WRITE: i32 = 2;
/// Permission bit of a topic: clients may read.
pub(crate) const PERM_READ: i32 = 4;
/// What does not exist is asked for again after so long: it may have been made meanwhile.
const ABSENT: Duration = Duration::from_millis(500);

/// Which messages a topic takes: its attribute `message.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TopicType {
    /// Of one kind.
    One(MessageType),
    /// Normal, FIFO, delayed and transactional ones.
    Mixed,
}

impl TopicType {
    fn of(attribute: Option<&str>) -> Self {
        match attribute.map(str::to_ascii_uppercase).as_deref() {
            // A topic without the attribute counts as normal.
            None | Some("NORMAL") => Self::One(MessageType::Normal),
            Some("FIFO") => Self::One(MessageType::Fifo),
            Some("DELAY") => Self::One(MessageType::Delay),
            Some("TRANSACTION") => Self::One(MessageType::Transaction),
            Some("LITE") => Self::One(MessageType::Lite),
            Some("PRIORITY") => Self::One(MessageType::Priority),
            Some("MIXED") => Self::Mixed,
            Some(_) => Self::One(MessageType::Unspecified),
        }
    }

    /// The types to announce.
    pub(crate) fn accepts(self) -> Vec<i32> {
        match self {
            Self::One(kind) => vec![kind.into()],
            Self::Mixed => [
                MessageType::Normal,
                MessageType::Fifo,
                MessageType::Delay,
                MessageType::Transaction,
            ]
            .map(i32::from)
            .to_vec(),
        }
    }

    pub(crate) fn takes(self, kind: MessageType) -> bool {
        match self {
            Self::One(own) => own == kind,
            Self::Mixed => true,
        }
    }

    /// As the attribute is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::One(kind) => kind.as_str_name(),
            Self::Mixed => "MIXED",
        }
    }
}

/// A queue that takes messages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WriteQueue {
    pub(crate) broker: Arc<str>,
    pub(crate) id: i32,
}

/// Where a topic is.
#[derive(Debug)]
pub(crate) struct Route {
    /// Queues by broker, sorted by its name; only of brokers with a master or an acting one.
    pub(crate) queues: Vec<QueueData>,
    /// Broker name → address of its master, or of the slave that acts for it.
    pub(crate) masters: BTreeMap<String, Arc<str>>,
    /// Every queue that takes messages, sorted, as all proxies see it.
    pub(crate) write_queues: Vec<WriteQueue>,
    pub(crate) topic_type: TopicType,
    next: AtomicUsize,
}

impl Route {
    fn new(route: TopicRoute, topic_type: TopicType) -> Self {
        let masters: BTreeMap<String, Arc<str>> = route
            .broker_datas
            .iter()
            .filter_map(|broker| {
                let (id, address) = broker.broker_addrs.first_key_value()?;
                (*id == 0 || broker.enable_acting_master)
                    .then(|| (broker.broker_name.clone(), Arc::from(address.as_str())))
            })
            .collect();
        let mut queues: Vec<QueueData> = route
            .queue_datas
            .into_iter()
            .filter(|queue| masters.contains_key(&queue.broker_name))
            .collect();
        queues.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
        queues.dedup_by(|a, b| a.broker_name == b.broker_name);
        let mut write_queues = Vec::new();
        for queue in queues.iter().filter(|queue| queue.perm & PERM_WRITE != 0) {
            let broker: Arc<str> = Arc::from(queue.broker_name.as_str());
            write_queues.extend((0..queue.write_queue_nums).map(|id| WriteQueue {
                broker: Arc::clone(&broker),
                id,
            }));
        }
        Self {
            queues,
            masters,
            write_queues,
            topic_type,
            next: AtomicUsize::new(0),
        }
    }

    /// A queue that takes messages: by a key always the same one, else in turn. As in Apache, all
    /// keys of a group hash by Java's `hashCode`.
    pub(crate) fn choose(&self, key: Option<&str>) -> Option<&WriteQueue> {
        let count = self.write_queues.len();
        if count == 0 {
            return None;
        }
        let at = match key {
            Some(key) => consistent_hash(aerobee_message::tags::hash(key).into(), count),
            None => self.next.fetch_add(1, Ordering::Relaxed) % count,
        };
        self.write_queues.get(at)
    }

    /// The address of a broker's master.
    pub(crate) fn address(&self, broker: &str) -> Option<&Arc<str>> {
        self.masters.get(broker)
    }

    /// Brokers whose queues may be read.
    pub(crate) fn readable(&self) -> impl Iterator<Item = &QueueData> {
        self.queues
            .iter()
            .filter(|queue| queue.perm & PERM_READ != 0 && queue.read_queue_nums > 0)
    }
}

/// Guava's `Hashing.consistentHash(long, int)`: a linear congruential generator jumps ahead through
/// the buckets, so that few inputs move when a bucket is added.
fn consistent_hash(input: i64, buckets: usize) -> usize {
    let mut state = input;
    let mut candidate = 0usize;
    loop {
        state = state
            .wrapping_mul(2_862_933_555_777_941_757)
            .wrapping_add(1);
        let draw = ((state.cast_unsigned() >> 33) as i32).wrapping_add(1);
        let next = (candidate + 1) as f64 / (f64::from(draw) / f64::from(1u32 << 31));
        // Java's cast saturates; far beyond the buckets both end here.
        if next >= 0.0 && next < buckets as f64 {
            candidate = next as usize;
        } else {
            return candidate;
        }
    }
}

/// Something fetched, and when.
#[derive(Debug)]
struct Kept<T> {
    value: Option<Arc<T>>,
    at: Instant,
}

/// The place of one name in a cache.
#[derive(Debug)]
struct Slot<T> {
    kept: ArcSwapOption<Kept<T>>,
    renewing: AtomicBool,
    /// Held while the first value is fetched, so that one request is made.
    fetching: tokio::sync::Mutex<()>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self {
            kept: ArcSwapOption::empty(),
            renewing: AtomicBool::new(false),
            fetching: tokio::sync::Mutex::default(),
        }
    }
}

/// Routes of topics and set-ups of groups.
#[derive(Debug)]
pub(crate) struct Routes {
    brokers: Arc<Brokers>,
    topics: DashMap<String, Arc<Slot<Route>>>,
    groups: DashMap<String, Arc<Slot<SubscriptionGroupConfig>>>,
    /// Every broker seen in a route, for receipts whose topic's route is not known yet.
    known: DashMap<String, Arc<str>>,
    refresh: Duration,
    expire: Duration,
    max: usize,
}

impl Routes {
    pub(crate) fn new(brokers: Arc<Brokers>, config: &Config) -> Self {
        Self {
            brokers,
            topics: DashMap::new(),
            groups: DashMap::new(),
            known: DashMap::new(),
            refresh: Duration::from_secs(config.topic_route_service_cache_refresh_seconds),
            expire: Duration::from_secs(config.topic_route_service_cache_expired_seconds),
            max: config.topic_route_service_cache_max_num.max(1),
        }
    }

    /// Where a topic is.
    pub(crate) async fn topic(self: &Arc<Self>, topic: &str) -> Result<Arc<Route>, Failure> {
        let slot = self.slot(&self.topics, topic);
        let found = match self.look(&slot) {
            Look::Fresh(value) => value,
            Look::Stale(value) => {
                let (routes, topic, slot) = (Arc::clone(self), topic.to_owned(), Arc::clone(&slot));
                renew(slot, async move { routes.fetch_topic(&topic).await });
                value
            }
            Look::Nothing => fill(&slot, self.refresh, self.fetch_topic(topic)).await?,
        };
        found.ok_or_else(|| no_topic(topic))
    }

    /// Where a topic is, asked for now, unless that was done a moment ago.
    pub(crate) async fn topic_again(self: &Arc<Self>, topic: &str) -> Result<Arc<Route>, Failure> {
        let slot = self.slot(&self.topics, topic);
        let found = fill(&slot, ABSENT, self.fetch_topic(topic)).await?;
        found.ok_or_else(|| no_topic(topic))
    }

    /// How a group is set up on a broker of `route`; `None` when it is not there.
    pub(crate) async fn group(
        self: &Arc<Self>,
        group: &str,
        route: &Route,
    ) -> Result<Option<Arc<SubscriptionGroupConfig>>, Failure> {
        let slot = self.slot(&self.groups, group);
        let Some(address) = route.masters.values().next().cloned() else {
            return Ok(None);
        };
        match self.look(&slot) {
            Look::Fresh(value) => Ok(value),
            Look::Stale(value) => {
                let (routes, group, slot) = (Arc::clone(self), group.to_owned(), Arc::clone(&slot));
                renew(
                    slot,
                    async move { routes.fetch_group(&group, &address).await },
                );
                Ok(value)
            }
            Look::Nothing => fill(&slot, self.refresh, self.fetch_group(group, &address)).await,
        }
    }

    /// The same, asked for now, unless that was done a moment ago.
    pub(crate) async fn group_again(
        self: &Arc<Self>,
        group: &str,
        route: &Route,
    ) -> Result<Option<Arc<SubscriptionGroupConfig>>, Failure> {
        let slot = self.slot(&self.groups, group);
        let Some(address) = route.masters.values().next().cloned() else {
            return Ok(None);
        };
        fill(&slot, ABSENT, self.fetch_group(group, &address)).await
    }

    /// What is kept of a group, without asking.
    pub(crate) fn known_group(&self, group: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        let slot = self.groups.get(group)?;
        let kept = slot.kept.load();
        kept.as_ref()?.value.clone()
    }

    /// The address of a broker, by the route of a topic or, failing that, by any route seen.
    pub(crate) async fn address(
        self: &Arc<Self>,
        topic: &str,
        broker: &str,
    ) -> Result<Arc<str>, Failure> {
        if let Some(address) = self.topic(topic).await?.address(broker) {
            return Ok(Arc::clone(address));
        }
        if let Some(address) = self.known.get(broker) {
            return Ok(Arc::clone(&address));
        }
        Err(Failure::new(
            Code::BadRequest,
            format_args!(
                "broker {broker} of the receipt or handle is not in the route of topic {topic}"
            ),
        ))
    }

    /// The address of a broker, by any route seen.
    pub(crate) fn broker_seen(&self, broker: &str) -> Option<Arc<str>> {
        self.known.get(broker).map(|address| Arc::clone(&address))
    }

    /// Addresses of all brokers seen.
    pub(crate) fn brokers_seen(&self) -> Vec<Arc<str>> {
        let mut seen: Vec<_> = self
            .known
            .iter()
            .map(|entry| Arc::clone(entry.value()))
            .collect();
        seen.sort();
        seen.dedup();
        seen
    }

    fn slot<T>(&self, cache: &DashMap<String, Arc<Slot<T>>>, name: &str) -> Arc<Slot<T>> {
        if let Some(slot) = cache.get(name) {
            return Arc::clone(&slot);
        }
        if cache.len() >= self.max {
            self.make_room(cache);
        }
        Arc::clone(&cache.entry(name.to_owned()).or_default())
    }

    /// A client may ask for any number of names: those that lead to nothing go first, then the old.
    fn make_room<T>(&self, cache: &DashMap<String, Arc<Slot<T>>>) {
        let max = self.max;
        cache.retain(|_, slot| {
            slot.kept
                .load()
                .as_ref()
                .is_some_and(|kept| kept.value.is_some() && kept.at.elapsed() < self.expire)
        });
        if cache.len() >= max {
            cache.clear();
        }
    }

    fn look<T>(&self, slot: &Slot<T>) -> Look<T> {
        let kept = slot.kept.load();
        let Some(kept) = kept.as_ref() else {
            return Look::Nothing;
        };
        let age = kept.at.elapsed();
        match &kept.value {
            None if age < ABSENT => Look::Fresh(None),
            None => Look::Nothing,
            Some(value) if age < self.refresh => Look::Fresh(Some(Arc::clone(value))),
            Some(value) if age < self.expire => Look::Stale(Some(Arc::clone(value))),
            Some(_) => Look::Nothing,
        }
    }

    async fn fetch_topic(&self, topic: &str) -> Result<Option<Route>, Failure> {
        let asked = GetRoute {
            topic,
            accept_standard_json_only: Some(true),
            zone_mode: None,
            zone_name: None,
        };
        let response = self.brokers.ask_name_server(&asked).await?;
        if response.code == ResponseCode::TOPIC_NOT_EXIST {
            return Ok(None);
        }
        let route: TopicRoute = fastjson::from_slice(&succeeded(response)?.body)?;
        let mut built = Route::new(route, TopicType::One(MessageType::Normal));
        for (broker, address) in &built.masters {
            self.known.insert(broker.clone(), Arc::clone(address));
        }
        built.topic_type = self.fetch_type(topic, &built).await?;
        Ok(Some(built))
    }

    /// The first broker that answers tells the type; a topic that no broker knows has none.
    async fn fetch_type(&self, topic: &str, route: &Route) -> Result<TopicType, Failure> {
        let mut outcome = Ok(TopicType::One(MessageType::Unspecified));
        for address in route.masters.values() {
            let asked = GetTopicConfig { topic, lo: None };
            match self.brokers.call(address, &asked, &[]).await {
                Ok(response) => {
                    let config: TopicConfig = fastjson::from_slice(&response.body)?;
                    let attribute = config.attributes.get("message.type");
                    return Ok(TopicType::of(attribute.map(String::as_str)));
                }
                Err(Failure::Broker { .. }) => {}
                Err(failure) => outcome = Err(failure),
            }
        }
        outcome
    }

    async fn fetch_group(
        &self,
        group: &str,
        address: &str,
    ) -> Result<Option<SubscriptionGroupConfig>, Failure> {
        let asked = GetGroupConfig { group };
        match self.brokers.call(address, &asked, &[]).await {
            Ok(response) => Ok(Some(fastjson::from_slice(&response.body)?)),
            // Whatever the broker says about it, it has no such group.
            Err(Failure::Broker { code, .. }) if code != ResponseCode::SYSTEM_BUSY => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

enum Look<T> {
    Fresh(Option<Arc<T>>),
    /// Good enough, but to be renewed.
    Stale(Option<Arc<T>>),
    Nothing,
}

fn keep<T>(slot: &Slot<T>, value: Option<T>) -> Option<Arc<T>> {
    let value = value.map(Arc::new);
    slot.kept.store(Some(Arc::new(Kept {
        value: value.clone(),
        at: Instant::now(),
    })));
    value
}

fn renew<T: Send + Sync + 'static>(
    slot: Arc<Slot<T>>,
    fetch: impl Future<Output = Result<Option<T>, Failure>> + Send + 'static,
) {
    if slot.renewing.swap(true, Ordering::AcqRel) {
        return;
    }
    tokio::spawn(async move {
        match fetch.await {
            Ok(value) => drop(keep(&slot, value)),
            // The old value serves on until it expires.
            Err(error) => tracing::debug!(%error, "a route could not be renewed"),
        }
        slot.renewing.store(false, Ordering::Release);
    });
}

/// Fetches, unless another one has done so within `fresh`.
async fn fill<T>(
    slot: &Slot<T>,
    fresh: Duration,
    fetch: impl Future<Output = Result<Option<T>, Failure>>,
) -> Result<Option<Arc<T>>, Failure> {
    let _one = slot.fetching.lock().await;
    if let Some(kept) = slot.kept.load().as_ref() {
        let limit = if kept.value.is_some() { fresh } else { ABSENT };
        if kept.at.elapsed() < limit {
            return Ok(kept.value.clone());
        }
    }
    Ok(keep(slot, fetch.await?))
}

fn no_topic(topic: &str) -> Failure {
    Failure::new(
        Code::TopicNotFound,
        format_args!(
            "No topic route info in name server for the topic: {topic}; create it: mqadmin updateTopic -n <name server> -c <cluster> -t {topic} -a +message.type=NORMAL"
        ),
    )
}

#[cfg(test)]
mod tests {
    use aerobee_remoting::body::route::BrokerData;

    use super::*;

    #[test]
    fn guavas_consistent_hash_is_repeated() {
        // Values of Guava's own tests (HashingTest, golden values).
        assert_eq!(consistent_hash(10_863_919_174_838_991, 11), 6);
        assert_eq!(consistent_hash(2_016_238_256_797_177_309, 11), 3);
        assert_eq!(consistent_hash(1_673_758_223_894_951_030, 11), 5);
        assert_eq!(consistent_hash(2, 100_001), 80_343);
        assert_eq!(consistent_hash(2201, 100_001), 22_152);
        assert_eq!(consistent_hash(2202, 100_001), 15_018);
    }

    fn route() -> Route {
        let broker = |name: &str, id| BrokerData {
            broker_name: name.to_owned(),
            broker_addrs: BTreeMap::from([(id, format!("{name}:10911"))]),
            ..BrokerData::default()
        };
        let queues = |name: &str, perm| QueueData {
            broker_name: name.to_owned(),
            perm,
            read_queue_nums: 4,
            write_queue_nums: 2,
            ..QueueData::default()
        };
        let data = TopicRoute {
            broker_datas: vec![broker("b", 0), broker("a", 0), broker("slave", 1)],
            queue_datas: vec![
                queues("b", 6),
                queues("a", 4),
                queues("slave", 6),
                queues("gone", 6),
            ],
            ..TopicRoute::default()
        };
        Route::new(data, TopicType::Mixed)
    }

    #[test]
    fn only_queues_of_masters_count() {
        let route = route();
        let names: Vec<_> = route
            .queues
            .iter()
            .map(|queue| &queue.broker_name)
            .collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(route.write_queues.len(), 2);
        assert_eq!(route.readable().count(), 2);
    }

    #[test]
    fn without_a_key_queues_take_turns_with_one_they_do_not() {
        let route = route();
        let turns: Vec<_> = (0..4).map(|_| route.choose(None).unwrap().id).collect();
        assert_eq!(turns, [0, 1, 0, 1]);
        let first = route.choose(Some("order-7")).unwrap();
        assert!((0..9).all(|_| route.choose(Some("order-7")).unwrap() == first));
    }
}
