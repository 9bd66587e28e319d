// SPDX-License-Identifier: Apache-2.0
//! QUERY_ASSIGNMENT (400) and SET_MESSAGE_REQUEST_MODE (401): which queues a client has, and whether
//! it pulls or pops. Apache: `QueryAssignmentProcessor`, `MessageRequestModeManager`,
//! `TopicRouteInfoManager`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use aerobee_daemon::persist;
use aerobee_message::topic::{LMQ_PREFIX, RETRY_PREFIX};
use aerobee_remoting::{
    Empty, Reply, ResponseCode,
    body::{
        MessageQueue,
        assignment::{
            Assignment as Assigned, Assignments, QueryAssignment, RequestMode, RequestModes,
            SetRequestMode,
        },
        heartbeat::MessageModel,
        route::TopicRoute,
    },
    call::Call,
    fastjson,
};
use parking_lot::Mutex;

use crate::{
    clients::consumers::Consumers,
    config::{Identity, Switches},
    error::StartError,
    groups::Groups,
    pop::keys::DefaultRequestMode,
    registration::Registration,
    table::{Generation, PersistError, Persisted},
    topics::{PERM_READ, Topics},
};

/// Most topics whose routes are kept; what is above is asked for each time.
const ROUTES_MAX: usize = 100_000;

/// How groups get the messages of topics, kept in `config/messageRequestMode.json`.
#[derive(Debug)]
pub(crate) struct Modes {
    table: Arc<Mutex<RequestModes>>,
    file: Persisted,
}

impl Modes {
    /// Reads the file. Needs a running runtime.
    pub(crate) fn open(path: PathBuf) -> Result<Arc<Self>, StartError> {
        let file: RequestModes = persist::load(&path, fastjson::from_slice)?.unwrap_or_default();
        let table = Arc::new(Mutex::new(file));
        let snapshot = {
            let table = Arc::clone(&table);
            move || fastjson::to_pretty(&*table.lock())
        };
        Ok(Arc::new(Self {
            table,
            file: Persisted::new(path, snapshot),
        }))
    }

    fn find(&self, topic: &str, group: &str) -> Option<SetRequestMode> {
        let table = self.table.lock();
        let groups = table.message_request_mode_map.get(topic)?;
        groups.get(group).cloned()
    }

    fn set(&self, mode: SetRequestMode) -> Generation {
        self.table
            .lock()
            .message_request_mode_map
            .entry(mode.topic.clone())
            .or_default()
            .insert(mode.consumer_group.clone(), mode);
        self.file.changed()
    }

    /// Writes what is not yet written.
    pub(crate) async fn close(&self) -> Result<(), PersistError> {
        self.file.close().await
    }
}

/// Shares out queues.
pub(crate) struct Assignment {
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) consumers: Arc<Consumers>,
    pub(crate) switches: Arc<Switches>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) registration: Arc<Registration>,
    pub(crate) modes: Arc<Modes>,
    pub(crate) routes: Routes,
}

/// Routes that name servers gave, with the time when they did.
#[derive(Debug, Default)]
pub(crate) struct Routes(Mutex<HashMap<String, (Instant, Arc<TopicRoute>)>>);

impl Assignment {
    /// Code 400.
    pub(crate) fn query(self: &Arc<Self>, call: Call<'_, Empty>) {
        let Call { body, reply, .. } = call;
        let request: QueryAssignment = match fastjson::from_slice(body) {
            Ok(request) => request,
            Err(error) => return reply.fail(ResponseCode::SYSTEM_ERROR, error),
        };
        if let Some(route) = self.known_route(&request.topic) {
            return self.answer(&request, Some(&route), reply);
        }
        let (this, reply) = (Arc::clone(self), reply.defer());
        tokio::spawn(async move {
            let route = this.fetch_route(&request.topic).await;
            this.answer(&request, route.as_deref(), reply);
        });
    }

    fn known_route(&self, topic: &str) -> Option<Arc<TopicRoute>> {
        let period = self
            .switches
            .config()
            .pop
            .load_balance_poll_name_server_interval;
        let routes = self.routes.0.lock();
        let (since, route) = routes.get(topic)?;
        let is_fresh = since.elapsed() < Duration::from_millis(period.unsigned_abs());
        is_fresh.then(|| Arc::clone(route))
    }

    async fn fetch_route(&self, topic: &str) -> Option<Arc<TopicRoute>> {
        let route = self.registration.route(topic).await.map(Arc::new);
        // A topic that nobody has is asked for again: it may be made at any time.
        if let Some(route) = &route {
            let mut routes = self.routes.0.lock();
            if routes.len() >= ROUTES_MAX && !routes.contains_key(topic) {
                routes.clear();
            }
            routes.insert(topic.to_owned(), (Instant::now(), Arc::clone(route)));
        }
        route
    }

    fn answer(&self, request: &QueryAssignment, route: Option<&TopicRoute>, reply: Reply<'_>) {
        let mode = self.mode(&request.topic, &request.consumer_group);
        let queues = self.queues_of(request, &mode, route);
        let assigned = |queue| Assigned {
            attachments: None,
            message_queue: queue,
            mode: mode.mode,
        };
        let answer = Assignments {
            message_queue_assignments: queues
                .map(|queues| queues.into_iter().map(assigned).collect()),
        };
        reply.body(&fastjson::to_vec(&answer));
    }

    fn mode(&self, topic: &str, group: &str) -> SetRequestMode {
        if let Some(mode) = self.modes.find(topic, group) {
            return mode;
        }
        let config = self.switches.config();
        let pops = config.pop.default_message_request_mode == DefaultRequestMode::Pop
            && !topic.starts_with(RETRY_PREFIX);
        SetRequestMode {
            consumer_group: group.to_owned(),
            topic: topic.to_owned(),
            mode: if pops {
                RequestMode::Pop
            } else {
                RequestMode::Pull
            },
            pop_share_queue_num: if pops {
                config.pop.default_pop_share_queue_num
            } else {
                0
            },
        }
    }

    /// The queues of the client; nothing when that cannot be told.
    fn queues_of(
        &self,
        request: &QueryAssignment,
        mode: &SetRequestMode,
        route: Option<&TopicRoute>,
    ) -> Option<BTreeSet<MessageQueue>> {
        let queues = if request.topic.starts_with(LMQ_PREFIX) {
            BTreeSet::from([MessageQueue::new(
                &request.topic,
                &self.identity.broker_name,
                0,
            )])
        } else {
            self.readable_queues(&request.topic, route)?
        };
        let shares = request.message_model == MessageModel::Clustering
            && self.switches.config().pop.server_load_balancer_enable;
        if !shares {
            return Some(queues);
        }
        let group = self.consumers.group(&request.consumer_group)?;
        let clients: BTreeSet<String> =
            group.client_ids().iter().map(ToString::to_string).collect();
        if clients.is_empty() {
            return None;
        }
        let share = Share {
            strategy: Strategy::named(&request.strategy_name)?,
            queues: queues.into_iter().collect(),
            clients: clients.into_iter().collect(),
        };
        let own = if mode.mode == RequestMode::Pop {
            share.to_pop(&request.client_id, mode.pop_share_queue_num)
        } else {
            share.of(&request.client_id)
        };
        Some(own.into_iter().collect())
    }

    fn readable_queues(
        &self,
        topic: &str,
        route: Option<&TopicRoute>,
    ) -> Option<BTreeSet<MessageQueue>> {
        let mut counts: BTreeMap<&str, i32> = BTreeMap::new();
        for queues in route.iter().flat_map(|route| &route.queue_datas) {
            if queues.perm & PERM_READ != 0 {
                counts.insert(&queues.broker_name, queues.read_queue_nums);
            }
        }
        if route.is_none() {
            // No name server knows it, or none can be reached: this broker knows its own queues.
            let topic = self.topics.find(topic)?;
            if topic.perm() & PERM_READ != 0 {
                counts.insert(&self.identity.broker_name, topic.read_queues());
            }
        }
        let queues = counts.into_iter().flat_map(|(broker, count)| {
            (0..count).map(move |id| MessageQueue::new(topic, broker, id))
        });
        Some(queues.collect())
    }

    /// Code 401.
    pub(crate) fn set_mode(self: &Arc<Self>, call: Call<'_, Empty>) {
        let Call { body, reply, .. } = call;
        let request: SetRequestMode = match fastjson::from_slice(body) {
            Ok(request) => request,
            Err(error) => return reply.fail(ResponseCode::SYSTEM_ERROR, error),
        };
        if request.topic.starts_with(RETRY_PREFIX) {
            return reply.fail(
                ResponseCode::NO_PERMISSION,
                "retry topic is not allowed to set mode: it follows the topic that it belongs to",
            );
        }
        if self.topics.find(&request.topic).is_none() {
            return reply.fail(
                ResponseCode::TOPIC_NOT_EXIST,
                format_args!("topic[{}] not exist", request.topic),
            );
        }
        // How a group gets a topic may be said before its first member comes.
        if let Err(error) = self.groups.find_or_create(&request.consumer_group) {
            return reply.fail(
                ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST,
                format_args!(
                    "subscription group does not exist: {}, {error}",
                    request.consumer_group
                ),
            );
        }
        let generation = self.modes.set(request);
        let (this, reply) = (Arc::clone(self), reply.defer());
        tokio::spawn(async move {
            match this.modes.file.durable(generation).await {
                Ok(()) => reply.ok(),
                Err(error) => reply.fail(ResponseCode::SYSTEM_ERROR, error),
            }
        });
    }
}

/// How queues are shared out to clients. Apache: `AllocateMessageQueueStrategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strategy {
    /// Neighbouring queues.
    Average,
    /// In turn.
    ByCircle,
}

impl Strategy {
    fn named(name: &str) -> Option<Self> {
        match name {
            "AVG" => Some(Self::Average),
            "AVG_BY_CIRCLE" => Some(Self::ByCircle),
            _ => None,
        }
    }
}

/// Queues and clients, both in order.
struct Share {
    strategy: Strategy,
    queues: Vec<MessageQueue>,
    clients: Vec<String>,
}

impl Share {
    /// The share of a client; nothing when it is none of them.
    fn of(&self, client: &str) -> Vec<MessageQueue> {
        let index = self.clients.iter().position(|known| known == client);
        index.map(|index| self.at(index)).unwrap_or_default()
    }

    fn at(&self, index: usize) -> Vec<MessageQueue> {
        let (queues, clients) = (self.queues.len(), self.clients.len());
        match self.strategy {
            Strategy::Average => {
                let (each, over) = (queues / clients, queues % clients);
                let count = each + usize::from(index < over);
                let start = index * each + index.min(over);
                self.queues
                    .iter()
                    .skip(start)
                    .take(count)
                    .cloned()
                    .collect()
            }
            Strategy::ByCircle => self
                .queues
                .iter()
                .skip(index)
                .step_by(clients)
                .cloned()
                .collect(),
        }
    }

    /// What a client pops from: `shared` more clients, those that follow it, have their share with it.
    fn to_pop(&self, client: &str, shared: i32) -> Vec<MessageQueue> {
        let clients = self.clients.len();
        let shared = usize::try_from(shared).unwrap_or(0);
        if shared == 0 || shared + 1 >= clients {
            let any = |queue: &MessageQueue| {
                MessageQueue::new(queue.topic.clone(), queue.broker_name.clone(), -1)
            };
            return self.queues.iter().map(any).collect();
        }
        let Some(index) = self.clients.iter().position(|known| known == client) else {
            return Vec::new();
        };
        if clients <= self.queues.len() {
            return (0..=shared)
                .flat_map(|next| self.at((index + next) % clients))
                .collect();
        }
        let queues = self.queues.len().max(1);
        self.queues
            .get(index % queues)
            .cloned()
            .into_iter()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(strategy: &str, queues: i32, clients: usize) -> Share {
        Share {
            strategy: Strategy::named(strategy).unwrap(),
            queues: (0..queues)
                .map(|id| MessageQueue::new("t", "b", id))
                .collect(),
            clients: (0..clients).map(|client| format!("c{client}")).collect(),
        }
    }

    fn ids(queues: &[MessageQueue]) -> Vec<i32> {
        queues.iter().map(|queue| queue.queue_id).collect()
    }

    #[test]
    fn queues_are_shared_as_by_java() {
        let average = share("AVG", 8, 3);
        let all = ["c0", "c1", "c2"].map(|client| ids(&average.of(client)));
        assert_eq!(all, [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]]);
        let circle = share("AVG_BY_CIRCLE", 8, 3);
        let all = ["c0", "c1", "c2"].map(|client| ids(&circle.of(client)));
        assert_eq!(all, [vec![0, 3, 6], vec![1, 4, 7], vec![2, 5]]);
        assert!(average.of("stranger").is_empty());
        // More clients than queues: the last have none.
        let few = share("AVG", 2, 3);
        assert_eq!(ids(&few.of("c1")), [1]);
        assert!(few.of("c2").is_empty());
        assert!(Strategy::named("MINE").is_none());
    }

    #[test]
    fn pops_share_queues() {
        let few = share("AVG", 4, 4);
        // Nobody, or everybody: all queues.
        for shared in [-1, 0, 3, 9] {
            assert_eq!(ids(&few.to_pop("c1", shared)), [-1, -1, -1, -1]);
        }
        assert_eq!(ids(&few.to_pop("c3", 1)), [3, 0]);
        assert_eq!(ids(&few.to_pop("c0", 2)), [0, 1, 2]);
        let crowd = share("AVG", 2, 5);
        assert_eq!(ids(&crowd.to_pop("c3", 2)), [1]);
        assert!(crowd.to_pop("stranger", 2).is_empty());
    }
}
