// SPDX-License-Identifier: Apache-2.0
//! Moves groups to other offsets: INVOKE_BROKER_TO_RESET_OFFSET (222), CLONE_GROUP_OFFSET (314).
//! Apache: `AdminBrokerProcessor`, `Broker2Client.resetOffset`.
//!
//! The broker keeps a reset until the next read of each queue, which then begins there, and lets no
//! commit undo it meanwhile (`useServerSideResetOffset`). Where that is off, the consumers that are
//! connected are told, as brokers before 5.0 did.

use std::{collections::BTreeMap, sync::Arc};

use aerobee_remoting::{
    Connection, Deferred, Language, RequestCode, ResponseCode,
    body::{
        MessageQueue,
        reset::{QueueOffset, ResetOffsets, ResetOffsetsForC},
    },
    call::Call,
    code::version,
    fastjson,
    header::client::{CloneGroupOffset, ResetOffset},
};
use aerobee_store::{Boundary, Store};
use tokio::runtime::Handle;

use super::Refusal;
use crate::{
    clients::{Member, consumers::Consumers},
    config::{Identity, Switches},
    groups::Groups,
    longpoll::pull::HeldPulls,
    offsets::Offsets,
    stats::Stats,
    topics::{Topic, Topics},
};

/// Moves groups.
pub(crate) struct Reset {
    pub(crate) store: Arc<Store>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) offsets: Arc<Offsets>,
    pub(crate) consumers: Arc<Consumers>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) switches: Arc<Switches>,
    pub(crate) held: Arc<HeldPulls>,
    pub(crate) stats: Arc<Stats>,
}

/// What an operator asks for.
struct Wanted {
    group: String,
    topic: Arc<Topic>,
    timestamp: i64,
    /// Whether a group that is behind may be moved forward, where consumers are told.
    force: bool,
    queue_id: i32,
    offset: i64,
}

fn refusal(code: ResponseCode, remark: String) -> Refusal {
    Refusal { code, remark }
}

impl Reset {
    /// Code 222. Times are looked up in the log, so on a thread that may wait for the disk.
    pub(crate) fn reset(self: &Arc<Self>, call: Call<'_, ResetOffset<'_>>) {
        let Call {
            request,
            command,
            reply,
            ..
        } = call;
        let by_broker = self.switches.config().broker.use_server_side_reset_offset;
        let Some(topic) = self.topics.find(request.topic) else {
            let remark = if by_broker {
                format!("Topic {} does not exist", request.topic)
            } else {
                format!(
                    "[reset-offset] reset offset failed, no topic in this broker. topic={}",
                    request.topic
                )
            };
            return reply.fail(ResponseCode::TOPIC_NOT_EXIST, remark);
        };
        if by_broker && self.groups.find(request.group).is_none() {
            return reply.fail(
                ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST,
                format_args!("Group {} does not exist", request.group),
            );
        }
        let wanted = Wanted {
            group: request.group.to_owned(),
            topic,
            timestamp: request.timestamp,
            force: request.is_force,
            queue_id: request.queue_id,
            offset: request.offset,
        };
        let (reset, language) = (Arc::clone(self), command.language);
        let (reply, runtime) = (reply.defer(), Handle::current());
        let refused = self.store.read_later(Box::new(move |store| {
            let moved = if by_broker {
                reset.targets(store, &wanted)
            } else {
                reset.targets_of_clients(store, &wanted)
            };
            match moved {
                Ok(moved) if by_broker => {
                    runtime.spawn(async move { reset.keep(&wanted, moved, reply).await });
                }
                Ok(moved) => reset.tell(&wanted, &moved, language, reply),
                Err(refusal) => refusal.answer(reply),
            }
        }));
        if refused.is_err() {
            // The dropped job has answered SYSTEM_ERROR.
            tracing::debug!("too many cold reads are waiting");
        }
    }

    /// Where each queue goes on.
    fn targets(&self, store: &Store, wanted: &Wanted) -> Result<BTreeMap<i32, i64>, Refusal> {
        let queue_id = wanted.queue_id;
        if queue_id < 0 {
            let queues = 0..wanted.topic.read_queues();
            if queues.is_empty() {
                return Err(refusal(
                    ResponseCode::SYSTEM_ERROR,
                    "No queues to reset.".to_owned(),
                ));
            }
            return Ok(queues.map(|id| (id, self.at(store, wanted, id))).collect());
        }
        if wanted.topic.queue(queue_id).is_none() {
            return Err(refusal(
                ResponseCode::INVALID_PARAMETER,
                format!(
                    "queueId[{queue_id}] is illegal, topic[{}] has {} read queues",
                    wanted.topic.name(),
                    wanted.topic.read_queues()
                ),
            ));
        }
        if wanted.offset == -1 {
            return Ok([(queue_id, self.at(store, wanted, queue_id))].into());
        }
        let queue = store.queue(wanted.topic.name(), queue_id);
        let min = queue.as_ref().map_or(0, |queue| queue.min_offset());
        let max = queue.as_ref().map_or(0, |queue| queue.max_offset());
        if wanted.offset < min || wanted.offset > max + 1 {
            return Err(refusal(
                ResponseCode::SYSTEM_ERROR,
                format!(
                    "Target offset {} not in consume queue range [{min}-{max}]",
                    wanted.offset
                ),
            ));
        }
        Ok([(queue_id, wanted.offset)].into())
    }

    /// The offset of the time, or the end.
    #[expect(clippy::unused_self, reason = "it stands with those that use it")]
    fn at(&self, store: &Store, wanted: &Wanted, queue_id: i32) -> i64 {
        let Some(queue) = store.queue(wanted.topic.name(), queue_id) else {
            return 0;
        };
        if wanted.timestamp < 0 {
            return queue.max_offset();
        }
        store.offset_by_time(&queue, wanted.timestamp, Boundary::Lower)
    }

    /// Keeps the reset for the next read of each queue.
    async fn keep(&self, wanted: &Wanted, moved: BTreeMap<i32, i64>, reply: Deferred) {
        let name = wanted.topic.name();
        for (queue_id, offset) in &moved {
            self.offsets
                .assign_reset(&wanted.group, name, *queue_id, *offset);
        }
        let generation = self.offsets.write_now();
        if let Err(error) = self.offsets.durable(generation).await {
            return reply.fail(ResponseCode::SYSTEM_ERROR, error);
        }
        // Who waits for new messages comes again at once, and goes on where the reset says.
        let consumption = self.stats.of(&wanted.group, name);
        for queue_id in moved.keys() {
            if let Some(slot) = wanted.topic.queue(*queue_id) {
                self.held.release_of(&slot, &consumption);
            }
        }
        tracing::info!(group = wanted.group, topic = %name, ?moved, "offsets are reset");
        let offset_table = self.by_queue(name, moved);
        reply.body(&fastjson::to_vec(&ResetOffsets { offset_table }));
    }

    fn by_queue(&self, topic: &str, moved: BTreeMap<i32, i64>) -> BTreeMap<MessageQueue, i64> {
        let broker = &self.identity.broker_name;
        let queue = |id| MessageQueue::new(topic, broker, id);
        moved
            .into_iter()
            .map(|(id, offset)| (queue(id), offset))
            .collect()
    }

    /// Where consumers are told to go on: of the committed offset and that of the time the smaller
    /// one, unless forced.
    fn targets_of_clients(
        &self,
        store: &Store,
        wanted: &Wanted,
    ) -> Result<BTreeMap<i32, i64>, Refusal> {
        let mut moved = BTreeMap::new();
        for queue_id in 0..wanted.topic.write_queues() {
            let name = wanted.topic.name();
            let committed = self.offsets.query(&wanted.group, name, queue_id);
            let Some(committed) = committed.filter(|committed| *committed >= 0) else {
                return Err(refusal(
                    ResponseCode::SYSTEM_ERROR,
                    format!("THe consumer group <{}> not exist", wanted.group),
                ));
            };
            let offset = self.at(store, wanted, queue_id).max(0);
            let offset = if wanted.force {
                offset
            } else {
                offset.min(committed)
            };
            moved.insert(queue_id, offset);
        }
        Ok(moved)
    }

    /// Tells the consumers that are connected (220).
    fn tell(
        &self,
        wanted: &Wanted,
        moved: &BTreeMap<i32, i64>,
        language: Language,
        reply: Deferred,
    ) {
        let (group, topic) = (&*wanted.group, &**wanted.topic.name());
        let members = self.consumers.group(group);
        let members = members.map(|group| group.members()).unwrap_or_default();
        if members.is_empty() {
            return reply.fail(
                ResponseCode::CONSUMER_NOT_ONLINE,
                format_args!(
                    "Consumer not online, so can not reset offset, Group: {group} Topic: {topic} Timestamp: {}",
                    wanted.timestamp
                ),
            );
        }
        let old =
            |member: &&Member<Arc<Connection>>| member.client.version < version::V3_0_7_SNAPSHOT;
        if let Some(member) = members.iter().find(old) {
            return reply.fail(
                ResponseCode::SYSTEM_ERROR,
                format_args!(
                    "the client does not support this feature. version={}",
                    member.client.version
                ),
            );
        }
        let offsets = ResetOffsets {
            offset_table: self.by_queue(topic, moved.clone()),
        };
        let told = if language == Language::Cpp {
            fastjson::to_vec(&self.for_c(topic, moved))
        } else {
            fastjson::to_vec(&offsets)
        };
        let header = ResetOffset {
            topic,
            group,
            timestamp: wanted.timestamp,
            is_force: wanted.force,
            queue_id: -1,
            offset: -1,
        };
        for member in members {
            let code = RequestCode::RESET_CONSUMER_CLIENT_OFFSET;
            if let Err(error) = member.connection.oneway(code, &header, &told) {
                tracing::info!(group, %error, "a consumer could not be told of a reset");
            }
        }
        reply.body(&fastjson::to_vec(&offsets));
    }

    fn for_c(&self, topic: &str, moved: &BTreeMap<i32, i64>) -> ResetOffsetsForC {
        let one = |(queue_id, offset): (&i32, &i64)| QueueOffset {
            broker_name: self.identity.broker_name.clone(),
            offset: *offset,
            queue_id: *queue_id,
            topic: topic.to_owned(),
        };
        ResetOffsetsForC {
            offset_table: moved.iter().map(one).collect(),
        }
    }

    /// Code 314.
    pub(crate) fn clone_offsets(self: &Arc<Self>, call: Call<'_, CloneGroupOffset<'_>>) {
        let Call { request, reply, .. } = call;
        let source = request.src_group;
        let topics = match request.topic.map(str::trim) {
            Some(topic) if !topic.is_empty() => vec![topic.into()],
            _ => self.offsets.topics_of(source),
        };
        let subscribed = self.consumers.group(source);
        for topic in topics {
            if self.topics.find(&topic).is_none() {
                continue;
            }
            // A connected group that consumes other topics has left this one behind.
            let is_left = subscribed.as_ref().is_some_and(|group| {
                !group.subscriptions().is_empty() && group.subscription(&topic).is_none()
            });
            if is_left && !request.offline {
                continue;
            }
            for (queue_id, offset) in self.offsets.queues(source, &topic) {
                self.offsets
                    .commit(request.dest_group, &topic, queue_id, offset);
            }
        }
        let (reset, reply) = (Arc::clone(self), reply.defer());
        tokio::spawn(async move {
            let generation = reset.offsets.write_now();
            match reset.offsets.durable(generation).await {
                Ok(()) => reply.ok(),
                Err(error) => reply.fail(ResponseCode::SYSTEM_ERROR, error),
            }
        });
    }
}
