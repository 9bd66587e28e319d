// SPDX-License-Identifier: Apache-2.0
//! The clients of this proxy: their settings, the stream on which they take commands, the groups
//! that they are in (Apache: `proxy/grpc/v2/channel/GrpcChannelManager.java`,
//! `common/GrpcClientSettingsManager.java`).
//!
//! A client stays known for a while after its stream broke: its calls must not depend on it.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aerobee_remoting::body::heartbeat::{
    ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel, SubscriptionData,
};
use dashmap::DashMap;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::timeout,
};

use crate::{
    caller::{Caller, Sdk},
    lite::Subscribed,
    status::Failure,
    time::now_ms,
    v2::{ClientType, Code, FilterType, Settings, TelemetryCommand, settings::PubSub},
};

/// Most clients.
const CLIENTS_MAX: usize = 200_000;
/// Streams of one client at once. Broken ones may be half open for a while.
const STREAMS_MAX: usize = 128;
/// Bytes of the settings of one client: some thousand topics.
const SETTINGS_MAX: usize = 1 << 20;
/// Bytes of all settings.
const ALL_SETTINGS_MAX: usize = 1 << 29;
/// Commands that wait for a client to read them.
pub(crate) const COMMANDS_MAX: usize = 64;
/// Commands that wait for a client's answer.
const WAITING_MAX: usize = 64;

/// The way to a client. Boxed: a channel has room for many, though mostly none is on its way.
pub(crate) type Commands = mpsc::Sender<Box<Result<TelemetryCommand, tonic::Status>>>;

/// What a client is in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    /// The group is the topic's name.
    Producer,
    Consumer,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) sdk: Sdk,
    /// As the client sent them last, and when they changed, ms since 1970.
    settings: Mutex<Option<(Arc<Settings>, i64)>>,
    /// The newest telemetry stream and its number.
    stream: Mutex<Option<(u64, Commands)>>,
    /// How many streams it has, older ones included.
    streams: AtomicUsize,
    /// Milliseconds since the start of the process, of the last call or command.
    seen: AtomicU64,
    waiting: Mutex<HashMap<String, oneshot::Sender<TelemetryCommand>>>,
    /// The lite topics that it subscribes to, as far as brokers have agreed.
    pub(crate) lite: Mutex<Option<Subscribed>>,
}

impl Client {
    pub(crate) fn settings(&self) -> Option<Arc<Settings>> {
        self.settings
            .lock()
            .as_ref()
            .map(|(settings, _)| Arc::clone(settings))
    }

    pub(crate) fn has_stream(&self) -> bool {
        self.stream
            .lock()
            .as_ref()
            .is_some_and(|(_, commands)| !commands.is_closed())
    }

    /// Sends a command; `false` when there is no stream, or the client does not read it.
    pub(crate) fn send(&self, command: TelemetryCommand) -> bool {
        let stream = self.stream.lock();
        stream
            .as_ref()
            .is_some_and(|(_, commands)| commands.try_send(Box::new(Ok(command))).is_ok())
    }

    /// Sends a command that carries `nonce` and waits for the answer that repeats it.
    pub(crate) async fn ask(
        &self,
        nonce: String,
        command: TelemetryCommand,
        within: Duration,
    ) -> Option<TelemetryCommand> {
        let (sender, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            if waiting.len() >= WAITING_MAX {
                return None;
            }
            waiting.insert(nonce.clone(), sender);
        }
        let answer = if self.send(command) {
            timeout(within, answer).await.ok().and_then(Result::ok)
        } else {
            None
        };
        self.waiting.lock().remove(&nonce);
        answer
    }

    /// An answer of the client.
    pub(crate) fn answered(&self, nonce: &str, answer: TelemetryCommand) {
        if let Some(waiting) = self.waiting.lock().remove(nonce) {
            // The asker may have given up.
            let _ = waiting.send(answer);
        }
    }

    /// How long nothing was heard of the client.
    fn silent(&self, now: u64) -> Duration {
        Duration::from_millis(now.saturating_sub(self.seen.load(Ordering::Relaxed)))
    }

    /// Groups that settings put a client into.
    fn groups(settings: &Settings) -> Vec<(Side, String)> {
        match &settings.pub_sub {
            Some(PubSub::Publishing(publishing)) => publishing
                .topics
                .iter()
                .map(|topic| (Side::Producer, topic.name.clone()))
                .collect(),
            Some(PubSub::Subscription(subscription)) => subscription
                .group
                .iter()
                .map(|group| (Side::Consumer, group.name.clone()))
                .collect(),
            None => Vec::new(),
        }
    }
}

/// All clients.
#[derive(Debug)]
pub(crate) struct Clients {
    table: DashMap<String, Arc<Client>>,
    groups: DashMap<(Side, String), Vec<Arc<Client>>>,
    started: Instant,
    next: AtomicU64,
    expire: Duration,
    /// Bytes of all settings.
    settled: AtomicUsize,
    /// Something changed that brokers have to hear of.
    pub(crate) changed: Notify,
}

impl Clients {
    pub(crate) fn new(expire: Duration) -> Self {
        Self {
            table: DashMap::new(),
            groups: DashMap::new(),
            started: Instant::now(),
            next: AtomicU64::new(1),
            expire,
            settled: AtomicUsize::new(0),
            changed: Notify::new(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The client that makes a call, if it is known; it has been heard of.
    pub(crate) fn touch(&self, id: &str) -> Option<Arc<Client>> {
        let client = self.get(id)?;
        client.seen.store(self.now(), Ordering::Relaxed);
        Some(client)
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Client>> {
        self.table.get(id).map(|client| Arc::clone(&client))
    }

    /// The client that makes a call, made known if need be.
    pub(crate) fn enter(&self, caller: &Caller) -> Result<Arc<Client>, Failure> {
        if let Some(client) = self.touch(&caller.client_id) {
            return Ok(client);
        }
        if self.table.len() >= CLIENTS_MAX {
            return Err(Failure::new(
                Code::TooManyRequests,
                format_args!("this proxy serves {CLIENTS_MAX} clients already; use another one"),
            ));
        }
        let entry = self
            .table
            .entry(caller.client_id.clone())
            .or_insert_with(|| {
                Arc::new(Client {
                    id: caller.client_id.clone(),
                    sdk: caller.sdk,
                    settings: Mutex::default(),
                    stream: Mutex::default(),
                    streams: AtomicUsize::new(0),
                    seen: AtomicU64::new(self.now()),
                    waiting: Mutex::default(),
                    lite: Mutex::default(),
                })
            });
        Ok(Arc::clone(&entry))
    }

    /// A stream began; it takes the place of the one before.
    pub(crate) fn stream_began(&self, client: &Client, commands: Commands) -> Result<u64, Failure> {
        let one_more = |count: usize| (count < STREAMS_MAX).then_some(count + 1);
        let counted = client
            .streams
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        if counted.is_err() {
            return Err(Failure::new(
                Code::TooManyRequests,
                format_args!(
                    "client {} has {STREAMS_MAX} telemetry streams already: one is enough, or give each client an id of its own",
                    client.id
                ),
            ));
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        *client.stream.lock() = Some((number, commands));
        Ok(number)
    }

    /// A stream ended; a newer one stays.
    pub(crate) fn stream_ended(&self, client: &Client, number: u64) {
        client.streams.fetch_sub(1, Ordering::Relaxed);
        let mut stream = client.stream.lock();
        if stream.as_ref().is_some_and(|(newest, _)| *newest == number) {
            *stream = None;
            client.seen.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Takes settings over.
    pub(crate) fn settle(&self, client: &Arc<Client>, settings: Settings) -> Result<(), Failure> {
        let bytes = settings.encoded_len();
        if bytes > SETTINGS_MAX {
            return Err(Failure::new(
                Code::BadRequest,
                format_args!(
                    "settings have {bytes} bytes, at most {SETTINGS_MAX} are kept: use fewer topics, or several clients"
                ),
            ));
        }
        // Held to the end, so that a client that leaves takes its settings with it.
        let known = self.table.get(&client.id);
        if known.is_none_or(|known| !Arc::ptr_eq(&known, client)) {
            return Err(Failure::new(
                Code::UnrecognizedClientType,
                "the client has ended: open a new telemetry stream",
            ));
        }
        let mut place = client.settings.lock();
        if place.as_ref().is_some_and(|(old, _)| **old == settings) {
            return Ok(());
        }
        if self.settled.fetch_add(bytes, Ordering::Relaxed) + bytes > ALL_SETTINGS_MAX {
            self.settled.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Failure::new(
                Code::TooManyRequests,
                format_args!(
                    "this proxy keeps {ALL_SETTINGS_MAX} bytes of settings already; use another one"
                ),
            ));
        }
        let now = Client::groups(&settings);
        let before = place.replace((Arc::new(settings), now_ms()));
        drop(place);
        let before = before.map(|(before, _)| self.unsettle(&before));
        let stays: HashSet<_> = now.iter().collect();
        for gone in before.iter().flatten() {
            if !stays.contains(gone) {
                self.leave(gone, client);
            }
        }
        for group in now {
            let mut members = self.groups.entry(group).or_default();
            if !members.iter().any(|member| Arc::ptr_eq(member, client)) {
                members.push(Arc::clone(client));
            }
        }
        self.changed.notify_one();
        Ok(())
    }

    /// Settings are kept no more; returns the groups that they put their client into.
    fn unsettle(&self, settings: &Settings) -> Vec<(Side, String)> {
        self.settled
            .fetch_sub(settings.encoded_len(), Ordering::Relaxed);
        Client::groups(settings)
    }

    fn leave(&self, group: &(Side, String), client: &Arc<Client>) {
        self.groups.remove_if_mut(group, |_, members| {
            members.retain(|member| !Arc::ptr_eq(member, client));
            members.is_empty()
        });
    }

    /// Forgets a client.
    pub(crate) fn remove(&self, id: &str) -> Option<Arc<Client>> {
        let (_, client) = self.table.remove(id)?;
        if let Some(settings) = client.settings() {
            for group in self.unsettle(&settings) {
                self.leave(&group, &client);
            }
        }
        self.changed.notify_one();
        Some(client)
    }

    /// Forgets the clients that nothing was heard of; returns them.
    pub(crate) fn sweep(&self) -> Vec<Arc<Client>> {
        let now = self.now();
        let gone: Vec<String> = self
            .table
            .iter()
            .filter(|client| !client.has_stream() && client.silent(now) >= self.expire)
            .map(|client| client.id.clone())
            .collect();
        gone.iter().filter_map(|id| self.remove(id)).collect()
    }

    /// Whether a client is there: it has a stream, or made a call a short while ago.
    pub(crate) fn is_present(&self, id: &str, grace: Duration) -> bool {
        let grace = grace.min(self.expire);
        self.get(id)
            .is_some_and(|client| client.has_stream() || client.silent(self.now()) < grace)
    }

    /// A member of a group that takes commands; not always the same one.
    pub(crate) fn member(&self, side: Side, group: &str) -> Option<Arc<Client>> {
        let members = self.groups.get(&(side, group.to_owned()))?;
        let first = self.next.fetch_add(1, Ordering::Relaxed) as usize;
        (0..members.len())
            .map(|step| &members[(first.wrapping_add(step)) % members.len()])
            .find(|member| member.has_stream())
            .cloned()
    }

    /// The member of a group with an id, if it is one.
    pub(crate) fn member_by_id(&self, group: &str, id: &str) -> Option<Arc<Client>> {
        let members = self.groups.get(&(Side::Consumer, group.to_owned()))?;
        members.iter().find(|member| member.id == id).cloned()
    }

    /// All members of a consumer group.
    pub(crate) fn members(&self, group: &str) -> Vec<Arc<Client>> {
        self.groups
            .get(&(Side::Consumer, group.to_owned()))
            .map(|members| members.clone())
            .unwrap_or_default()
    }

    /// Producer groups, which are topics.
    pub(crate) fn producer_groups(&self) -> Vec<String> {
        self.group_names(Side::Producer)
    }

    /// Consumer groups by name.
    pub(crate) fn consumer_groups(&self) -> Vec<String> {
        self.group_names(Side::Consumer)
    }

    fn group_names(&self, side: Side) -> Vec<String> {
        let names: BTreeSet<String> = self
            .groups
            .iter()
            .filter(|entry| entry.key().0 == side)
            .map(|entry| entry.key().1.clone())
            .collect();
        names.into_iter().collect()
    }

    /// What a consumer group wants, for brokers: of each topic the newest subscription of a member.
    pub(crate) fn consumer_data(&self, group: &str) -> Option<ConsumerData> {
        let mut consume_type = ConsumeType::Passively;
        let mut message_model = MessageModel::Clustering;
        let mut wanted: HashMap<String, SubscriptionData> = HashMap::new();
        let members = self.members(group);
        if members.is_empty() {
            return None;
        }
        for member in members {
            let Some((settings, version)) = member.settings.lock().clone() else {
                continue;
            };
            let Some(PubSub::Subscription(subscription)) = &settings.pub_sub else {
                continue;
            };
            match settings.client_type() {
                ClientType::SimpleConsumer => consume_type = ConsumeType::Actively,
                ClientType::LitePushConsumer | ClientType::LiteSimpleConsumer => {
                    message_model = MessageModel::LiteSelective;
                }
                _ => {}
            }
            for entry in &subscription.subscriptions {
                let topic = entry
                    .topic
                    .as_ref()
                    .map(|topic| topic.name.clone())
                    .unwrap_or_default();
                let filter = entry.expression.clone().unwrap_or_default();
                let data = subscription_data(&topic, filter.r#type(), &filter.expression, version);
                let place = wanted.entry(topic).or_insert_with(|| data.clone());
                if place.sub_version < data.sub_version {
                    *place = data;
                }
            }
        }
        Some(ConsumerData {
            consume_from_where: ConsumeFromWhere::LastOffset,
            consume_type,
            group_name: group.to_owned(),
            message_model,
            subscription_data_set: wanted.into_values().collect(),
            unit_mode: false,
        })
    }
}

/// A subscription as brokers read it.
pub(crate) fn subscription_data(
    topic: &str,
    kind: FilterType,
    expression: &str,
    version: i64,
) -> SubscriptionData {
    let expression = if expression.is_empty() {
        "*"
    } else {
        expression
    };
    let sql = kind == FilterType::Sql;
    let tags = aerobee_message::tags::TagFilter::tags_of(expression)
        .filter(|tag| !sql && *tag != "*")
        .map(str::to_owned)
        .collect::<BTreeSet<_>>();
    SubscriptionData {
        code_set: tags
            .iter()
            .map(|tag| aerobee_message::tags::hash(tag))
            .collect(),
        expression_type: if sql { "SQL92" } else { "TAG" }.to_owned(),
        sub_string: expression.to_owned(),
        sub_version: version,
        tags_set: tags,
        topic: topic.to_owned(),
        ..SubscriptionData::default()
    }
}
