// SPDX-License-Identifier: Apache-2.0
//! PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361). Apache: `PullMessageProcessor`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aerobee_message::topic::{RETRY_PREFIX, group_of_retry_topic};
use aerobee_remoting::{
    Corked, Reply, RequestCode, ResponseCode,
    body::heartbeat::ConsumeType,
    call::Call,
    header::pull::{COMMIT_OFFSET, PullMessage, PullReply, SUBSCRIPTION, SUSPEND},
};
use aerobee_store::{Access, Read, ReadLimits, ReadStatus, Store};
use smallvec::SmallVec;

use crate::{
    clients::broadcast::{Broadcast, Puller as BroadcastPuller, committed_group},
    clients::consumers::Consumers,
    config::{Identity, Switches},
    filter::{ByTopic, Filter, NO_PROPERTY_FILTER, is_tag_type},
    groups::{Group, Groups, is_system_group},
    longpoll::pull::{HeldPull, HeldPulls},
    offsets::Offsets,
    processor::Turn,
    runtime::Traffic,
    stats::{Consumption, Stats},
    topics::{PERM_READ, QueueSlot, Topic, Topics},
};

/// Longest time a pull is held, whatever the client asks for: below the 30 s that SDKs wait.
const SUSPEND_MAX: Duration = Duration::from_secs(29);
/// Source of a pull that a proxy makes for a broadcasting client. Apache: `RequestSource`.
const PROXY_FOR_BROADCAST: i32 = 1;

/// Answers pulls.
pub(crate) struct Pull {
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) consumers: Arc<Consumers>,
    pub(crate) offsets: Arc<Offsets>,
    pub(crate) switches: Arc<Switches>,
    pub(crate) puller: Arc<Puller>,
    pub(crate) held: Arc<HeldPulls>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) broadcast: Arc<Broadcast>,
    pub(crate) identity: Arc<Identity>,
}

/// Why a pull is refused before anything is read.
struct Refusal {
    code: ResponseCode,
    remark: String,
    forbidden: Option<i32>,
}

impl Refusal {
    #[cold]
    fn new(code: ResponseCode, remark: String) -> Self {
        Self {
            code,
            remark,
            forbidden: None,
        }
    }

    #[cold]
    fn forbidden(kind: i32, remark: String) -> Self {
        Self {
            code: ResponseCode::NO_PERMISSION,
            remark,
            forbidden: Some(kind),
        }
    }
}

/// What the checks found.
struct Allowed {
    asker: Asker,
    slot: Arc<QueueSlot>,
    filter: Filter,
    group: Arc<Group>,
    /// Whether the group's members get every message each.
    broadcasting: bool,
}

/// Who pulls from what.
#[derive(Debug)]
pub(crate) struct Asker {
    topic: Arc<Topic>,
    group_sys_flag: i32,
    consumption: Arc<Consumption>,
}

impl Asker {
    /// Whether it is of the group whose counts these are.
    pub(crate) fn is_of(&self, consumption: &Arc<Consumption>) -> bool {
        Arc::ptr_eq(&self.consumption, consumption)
    }
}

impl Pull {
    pub(crate) fn handle(&self, turn: &mut Turn, call: Call<'_, PullMessage<'_>>) {
        let Call {
            request,
            reply,
            command,
            ..
        } = call;
        let checked = self
            .check_lite(RequestCode(command.code))
            .and_then(|()| self.check(turn, &request))
            .and_then(|allowed| {
                self.check_active(&request, reply.connection().id())
                    .map(|()| allowed)
            });
        match checked {
            Ok(allowed) => self.pull(&request, allowed, reply),
            Err(refusal) => refuse(&refusal, reply),
        }
    }

    fn check(&self, turn: &mut Turn, request: &PullMessage<'_>) -> Result<Allowed, Refusal> {
        if !self.switches.readable() {
            let remark = format!(
                "the broker[{}] pulling message is forbidden: its brokerPermission lacks 4 (read)",
                self.identity.address.ip()
            );
            return Err(Refusal::forbidden(1, remark));
        }
        let group = self
            .groups
            .find_or_create(request.consumer_group)
            .map_err(|error| {
                let remark = format!(
                    "subscription group [{}] does not exist, {error}",
                    request.consumer_group
                );
                Refusal::new(ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST, remark)
            })?;
        if !group.consume_enable() {
            let remark = format!(
                "subscription group no permission, {}: consumeEnable is false",
                request.consumer_group
            );
            return Err(Refusal::forbidden(2, remark));
        }
        let Some(topic) = turn.topic(&self.topics, request.topic) else {
            let remark = format!(
                "topic[{}] not exist, apply first please! Create it, or send a first message where autoCreateTopicEnable is on",
                request.topic
            );
            return Err(Refusal::new(ResponseCode::TOPIC_NOT_EXIST, remark));
        };
        let topic = Arc::clone(topic);
        if topic.perm() & PERM_READ == 0 {
            let remark = format!("the topic[{}] pulling message is forbidden", request.topic);
            return Err(Refusal::forbidden(3, remark));
        }
        let queues = topic.read_queues();
        let slot = (0..queues)
            .contains(&request.queue_id)
            .then(|| topic.queue(request.queue_id))
            .flatten()
            .ok_or_else(|| {
                let remark = format!(
                    "queueId[{}] is illegal, topic:[{}] topicConfig.readQueueNums:[{queues}]",
                    request.queue_id, request.topic
                );
                Refusal::new(ResponseCode::INVALID_PARAMETER, remark)
            })?;
        let (filter, broadcasting) = if request.sys_flag & SUBSCRIPTION != 0 {
            (self.filter_of_request(request)?, false)
        } else {
            self.filter_of_heartbeat(request, &group)?
        };
        Ok(Allowed {
            asker: Asker {
                topic,
                group_sys_flag: group.sys_flag(),
                consumption: self.stats.of(request.consumer_group, request.topic),
            },
            slot,
            filter: self.for_retries(request.topic, filter),
            group,
            broadcasting,
        })
    }

    /// Pulls of the lite pull consumer may be refused.
    #[inline]
    fn check_lite(&self, code: RequestCode) -> Result<(), Refusal> {
        if code != RequestCode::LITE_PULL_MESSAGE
            || self.switches.config().broker.lite_pull_message_enable
        {
            return Ok(());
        }
        let remark = format!(
            "the broker[{}] for lite pull consumer is forbidden: its litePullMessageEnable is false",
            self.identity.address.ip()
        );
        Err(Refusal::forbidden(1, remark))
    }

    /// Consumers that pull by themselves may be refused: those whose group nobody has joined by a
    /// heartbeat, tools apart.
    #[inline]
    fn check_active(&self, request: &PullMessage<'_>, connection: u64) -> Result<(), Refusal> {
        if !self.switches.config().broker.reject_pull_consumer_enable
            || is_system_group(request.consumer_group)
        {
            return Ok(());
        }
        let group = self.consumers.group(request.consumer_group);
        let joined = group.is_some_and(|group| {
            group.mode().consume_type != ConsumeType::Actively
                || group.client_id(connection).is_some()
        });
        if joined {
            return Ok(());
        }
        let remark = "the consumer's group info not exist, or the pull consumer is rejected by server: its rejectPullConsumerEnable is true, use a push consumer";
        Err(Refusal::new(
            ResponseCode::SUBSCRIPTION_NOT_EXIST,
            remark.to_owned(),
        ))
    }

    /// Expressions for a retry topic may be those of the topics that its messages were sent to.
    #[inline]
    fn for_retries(&self, topic: &str, filter: Filter) -> Filter {
        if !matches!(filter, Filter::Sql(_))
            || !topic.starts_with(RETRY_PREFIX)
            || !self.switches.config().broker.filter_support_retry
        {
            return filter;
        }
        let group = self.consumers.group(group_of_retry_topic(topic));
        let subscriptions = group.map_or_else(Vec::new, |group| group.subscriptions());
        let wanted = subscriptions
            .iter()
            .filter_map(|wanted| Some((wanted.topic(), wanted.filter()?)));
        Filter::Retried(Arc::new(ByTopic::new(wanted)))
    }

    fn check_expression_type(&self, kind: Option<&str>) -> Result<(), Refusal> {
        if is_tag_type(kind) || self.switches.filters_properties() {
            return Ok(());
        }
        Err(Refusal::new(
            ResponseCode::SYSTEM_ERROR,
            NO_PROPERTY_FILTER.to_owned(),
        ))
    }

    fn filter_of_request(&self, request: &PullMessage<'_>) -> Result<Filter, Refusal> {
        self.check_expression_type(request.expression_type)?;
        let expression = request.subscription.unwrap_or_default();
        Filter::parse(request.expression_type, expression).map_err(|error| {
            let remark = format!("parse the consumer's subscription failed: {error}");
            Refusal::new(ResponseCode::SUBSCRIPTION_PARSE_FAILED, remark)
        })
    }

    fn filter_of_heartbeat(
        &self,
        request: &PullMessage<'_>,
        group: &Group,
    ) -> Result<(Filter, bool), Refusal> {
        let missing = |what: &str| {
            let remark = format!(
                "the consumer's {what} not exist: group {}, topic {}; the next heartbeat of the consumer brings it",
                request.consumer_group, request.topic
            );
            Refusal::new(ResponseCode::SUBSCRIPTION_NOT_EXIST, remark)
        };
        let Some(consumers) = self.consumers.group(request.consumer_group) else {
            return Err(missing("group info"));
        };
        if consumers.is_broadcasting() && !group.consume_broadcast_enable() {
            let remark = format!(
                "the consumer group[{}] can not consume by broadcast way",
                request.consumer_group
            );
            return Err(Refusal::forbidden(4, remark));
        }
        if self
            .groups
            .is_read_forbidden(request.consumer_group, request.topic)
        {
            let remark = format!(
                "the consumer group[{}] is forbidden for topic[{}]",
                request.consumer_group, request.topic
            );
            return Err(Refusal::forbidden(5, remark));
        }
        let Some(subscription) = consumers.subscription(request.topic) else {
            return Err(missing("subscription"));
        };
        if subscription.version() < request.sub_version {
            let remark = format!(
                "subscription not latest, {} {}",
                request.consumer_group, request.topic
            );
            return Err(Refusal::new(ResponseCode::SUBSCRIPTION_NOT_LATEST, remark));
        }
        self.check_expression_type(Some(subscription.expression_type()))?;
        let filter = subscription.filter().cloned().ok_or_else(|| {
            let remark = format!(
                "the consumer's consumer filter data not exist: the expression of group {} for topic {} does not compile: {}",
                request.consumer_group,
                request.topic,
                subscription.data().sub_string
            );
            Refusal::new(ResponseCode::FILTER_DATA_NOT_EXIST, remark)
        })?;
        Ok((filter, consumers.is_broadcasting()))
    }

    /// Where a pull has to begin instead: the group was moved, or a broadcasting client has been
    /// served by somebody else.
    #[inline]
    fn begins_elsewhere(
        &self,
        request: &PullMessage<'_>,
        allowed: &Allowed,
        reply: &Reply<'_>,
    ) -> Option<i64> {
        let reset =
            self.offsets
                .take_reset(request.consumer_group, request.topic, request.queue_id);
        if let Some(offset) = reset {
            // A client that begins there already need not hear of it.
            return (offset != request.queue_offset).then_some(offset);
        }
        let by_proxy = request.request_source == Some(PROXY_FOR_BROADCAST);
        if allowed.broadcasting || by_proxy {
            return self.broadcast_offset(request, allowed, reply, by_proxy);
        }
        None
    }

    #[cold]
    fn broadcast_offset(
        &self,
        request: &PullMessage<'_>,
        allowed: &Allowed,
        reply: &Reply<'_>,
        by_proxy: bool,
    ) -> Option<i64> {
        if !self.switches.config().broker.enable_broadcast_offset_store {
            return None;
        }
        let client: Box<str> = if by_proxy {
            request.proxy_froward_client_id?.into()
        } else {
            let group = self.consumers.group(request.consumer_group)?;
            if group.mode().consume_type != ConsumeType::Passively {
                return None;
            }
            (*group.client_id(reply.connection().id())?).into()
        };
        let puller = BroadcastPuller {
            group: Arc::clone(allowed.group.name()),
            topic: Arc::clone(allowed.asker.topic.name()),
            client,
            queue_id: request.queue_id,
            by_proxy,
        };
        let elsewhere = self
            .broadcast
            .begins_elsewhere(&puller, request.queue_offset);
        let offset = elsewhere
            .map(|known| known.unwrap_or_else(|| self.first_broadcast_offset(request, allowed)));
        let pulled = offset.unwrap_or(request.queue_offset);
        self.broadcast.pulled(&puller, pulled, Instant::now());
        offset
    }

    /// Where a client of which nothing is known begins.
    fn first_broadcast_offset(&self, request: &PullMessage<'_>, allowed: &Allowed) -> i64 {
        let group = committed_group(request.consumer_group);
        let committed = self.offsets.query(&group, request.topic, request.queue_id);
        if let Some(offset) = committed.filter(|offset| *offset >= 0) {
            return offset;
        }
        let Some(queue) = allowed.slot.queue() else {
            return 0;
        };
        if self.puller.store.is_in_memory(queue, 0) {
            0
        } else {
            queue.max_offset()
        }
    }

    fn pull(&self, request: &PullMessage<'_>, allowed: Allowed, reply: Reply<'_>) {
        if let Some(offset) = self.begins_elsewhere(request, &allowed, &reply) {
            return begin_at(offset, &allowed, reply);
        }
        let Allowed {
            asker,
            slot,
            filter,
            ..
        } = allowed;
        if request.sys_flag & COMMIT_OFFSET != 0 && request.commit_offset >= 0 {
            self.offsets.commit(
                request.consumer_group,
                request.topic,
                request.queue_id,
                request.commit_offset,
            );
        }
        let offset = request.queue_offset;
        let max_messages = u32::try_from(request.max_msg_nums).unwrap_or(0).max(1);
        let read = self
            .puller
            .read(&slot, offset, max_messages, &filter, Access::HotOnly);
        let may_wait = is_waitable(read.status, offset) && request.sys_flag & SUSPEND != 0;
        if !may_wait && read.status != ReadStatus::Cold {
            if read.is_old {
                // Whoever catches up asks for the next messages at once, again and again. Others come first.
                std::thread::yield_now();
            }
            return self.puller.answer(&read, offset, &asker, reply);
        }
        let held = HeldPull {
            reply: if may_wait {
                reply.hold()
            } else {
                reply.defer()
            },
            asker,
            offset,
            max_messages,
            filter,
            deadline: Instant::now() + suspend_time(request, &self.switches),
        };
        if may_wait {
            self.held.hold(&slot, held);
        } else {
            self.puller.read_later(&slot, held);
        }
    }
}

/// Tells a client to go on elsewhere.
#[cold]
fn begin_at(offset: i64, allowed: &Allowed, reply: Reply<'_>) {
    let queue = allowed.slot.queue();
    let header = PullReply {
        next_begin_offset: offset,
        min_offset: queue.map_or(0, |queue| queue.min_offset()),
        max_offset: queue.map_or(0, |queue| queue.max_offset()),
        topic_sys_flag: Some(allowed.asker.topic.sys_flag()),
        group_sys_flag: Some(allowed.asker.group_sys_flag),
        ..PullReply::default()
    };
    reply.respond(
        ResponseCode::PULL_OFFSET_MOVED,
        "OFFSET_RESET",
        &header,
        &[],
    );
}

fn suspend_time(request: &PullMessage<'_>, switches: &Switches) -> Duration {
    let millis = if switches.long_polling() {
        u64::try_from(request.suspend_timeout_millis).unwrap_or(0)
    } else {
        switches.short_polling_millis()
    };
    Duration::from_millis(millis).min(SUSPEND_MAX)
}

#[cold]
fn refuse(refusal: &Refusal, reply: Reply<'_>) {
    let header = PullReply {
        forbidden_type: refusal.forbidden,
        ..PullReply::default()
    };
    reply.respond(refusal.code, &refusal.remark, &header, &[]);
}

/// Whether the answer would be PULL_NOT_FOUND, which a client may want to wait for.
fn is_waitable(status: ReadStatus, offset: i64) -> bool {
    response_code(status, offset) == ResponseCode::PULL_NOT_FOUND
}

fn response_code(status: ReadStatus, offset: i64) -> ResponseCode {
    match status {
        ReadStatus::Found => ResponseCode::SUCCESS,
        ReadStatus::MessageWasRemoving | ReadStatus::NoMatchedMessage | ReadStatus::Cold => {
            ResponseCode::PULL_RETRY_IMMEDIATELY
        }
        ReadStatus::NoMatchedLogicQueue | ReadStatus::NoMessageInQueue => {
            if offset == 0 {
                ResponseCode::PULL_NOT_FOUND
            } else {
                ResponseCode::PULL_OFFSET_MOVED
            }
        }
        ReadStatus::OffsetFoundNull | ReadStatus::OffsetOverflowOne => ResponseCode::PULL_NOT_FOUND,
        ReadStatus::OffsetOverflowBadly | ReadStatus::OffsetTooSmall => {
            ResponseCode::PULL_OFFSET_MOVED
        }
    }
}

/// The answer to a pull that could not be looked at: as far as before.
fn not_now(slot: &QueueSlot, offset: i64) -> Read {
    let (min, max) = slot
        .queue()
        .map_or((0, 0), |queue| (queue.min_offset(), queue.max_offset()));
    Read {
        next: offset,
        min,
        max,
        ..Read::none(ReadStatus::Cold)
    }
}

/// What became of a held pull that was tried again.
pub(crate) enum Pulled {
    Answered,
    /// Still nothing for it.
    Nothing(HeldPull),
}

/// Reads for pulls, held or not.
#[derive(Debug)]
pub(crate) struct Puller {
    store: Arc<Store>,
    traffic: Arc<Traffic>,
}

impl Puller {
    pub(crate) fn new(store: Arc<Store>, traffic: Arc<Traffic>) -> Arc<Self> {
        Arc::new(Self { store, traffic })
    }

    fn answer(&self, read: &Read, offset: i64, asker: &Asker, reply: Reply<'_>) {
        self.traffic.count(read.messages);
        if read.messages > 0 {
            asker.consumption.got(read.messages, read.bytes);
            if let Some(run) = read.runs.last() {
                asker
                    .consumption
                    .is_behind(self.store.max_physical() - run.physical());
            }
        }
        let header = PullReply {
            // A master answers for itself; reading from slaves has to be switched on.
            suggest_which_broker_id: 0,
            next_begin_offset: read.next,
            min_offset: read.min,
            max_offset: read.max,
            offset_delta: None,
            topic_sys_flag: Some(asker.topic.sys_flag()),
            group_sys_flag: Some(asker.group_sys_flag),
            forbidden_type: None,
        };
        let body: SmallVec<[&[u8]; 32]> = read.runs.iter().map(|run| run.as_slice()).collect();
        let code = response_code(read.status, offset);
        reply.respond(code, read.status.name(), &header, &body);
    }

    fn read(
        &self,
        slot: &QueueSlot,
        offset: i64,
        max_messages: u32,
        filter: &Filter,
        access: Access,
    ) -> Read {
        let limits = ReadLimits {
            max_messages,
            max_bytes: usize::MAX,
        };
        match slot.queue() {
            Some(queue) => {
                let started = Instant::now();
                let read = self.store.read(queue, offset, limits, access, filter);
                self.traffic.get.record(started.elapsed(), 1);
                read
            }
            None => Read {
                min: self.store.first_offset(slot.topic(), slot.id()),
                ..Read::none(ReadStatus::NoMatchedLogicQueue)
            },
        }
    }

    /// Tries a held pull again because something arrived.
    pub(crate) fn retry(
        self: &Arc<Self>,
        slot: &Arc<QueueSlot>,
        mut pull: HeldPull,
        corked: &mut Corked,
    ) -> Pulled {
        let read = self.read(
            slot,
            pull.offset,
            pull.max_messages,
            &pull.filter,
            Access::HotOnly,
        );
        match read.status {
            ReadStatus::Cold => {
                self.read_later(slot, pull);
                return Pulled::Answered;
            }
            ReadStatus::NoMatchedMessage => {
                // The filter refused what came: wait on, but do not look at it again.
                pull.offset = read.next;
                return Pulled::Nothing(pull);
            }
            status if is_waitable(status, pull.offset) => return Pulled::Nothing(pull),
            _ => {}
        }
        let reply = corked.attach(pull.reply);
        self.answer(&read, pull.offset, &pull.asker, reply);
        Pulled::Answered
    }

    /// Answers a held pull with whatever there is, as at its deadline.
    pub(crate) fn answer_held(
        self: &Arc<Self>,
        slot: &Arc<QueueSlot>,
        pull: HeldPull,
        corked: &mut Corked,
    ) {
        if pull.reply.connection().is_closed() {
            return pull.reply.discard();
        }
        let read = self.read(
            slot,
            pull.offset,
            pull.max_messages,
            &pull.filter,
            Access::HotOnly,
        );
        if read.status == ReadStatus::Cold {
            return self.read_later(slot, pull);
        }
        let reply = corked.attach(pull.reply);
        self.answer(&read, pull.offset, &pull.asker, reply);
    }

    /// Reads on a thread that may wait for the disk.
    pub(crate) fn read_later(self: &Arc<Self>, slot: &Arc<QueueSlot>, pull: HeldPull) {
        let (puller, slot_of_job) = (Arc::clone(self), Arc::clone(slot));
        self.store.read_or_refuse(move |store| {
            let slot = slot_of_job;
            let read = match store {
                Ok(_) => puller.read(
                    &slot,
                    pull.offset,
                    pull.max_messages,
                    &pull.filter,
                    Access::Any,
                ),
                // No thread is free: the client asks again.
                Err(_) => not_now(&slot, pull.offset),
            };
            puller.answer(&read, pull.offset, &pull.asker, pull.reply);
        });
    }
}
