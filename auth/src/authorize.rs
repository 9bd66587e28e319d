// SPDX-License-Identifier: Apache-2.0
//! What each request of the remoting protocol is about: the table of codes, resources and actions.
//!
//! It is Apache's (`auth/authorization/builder/DefaultAuthorizationContextBuilder.java` and the
//! `@RocketMQAction` of its headers) where that says something. Codes of which Apache's says nothing are
//! let through there; here they stand in the table all the same, or are for super users. Two are let
//! through on purpose, as their requests may lack the topic: END_TRANSACTION and VIEW_MESSAGE_BY_ID.

use std::borrow::Cow;

use aerobee_remoting::{
    Command, RequestCode,
    body::{
        ack::BatchAckMessages,
        assignment::{QueryAssignment, SetRequestMode},
        group::{SubscriptionGroupConfig, SubscriptionGroupList},
        heartbeat::{CheckClientConfig, HeartbeatData},
        lite::LiteSubscriptions,
        lock::LockQueues,
        topic::TopicConfigList,
    },
    fastjson,
};
use serde::de::DeserializeOwned;
use smallvec::{SmallVec, smallvec};

use crate::policy::{
    Action::{Create, Delete, Get, List, Pub, Sub, Update},
    Actions, ResourceType,
};

/// Java: `MixAll.RETRY_GROUP_TOPIC_PREFIX`.
const RETRY_PREFIX: &str = "%RETRY%";
/// What answers to requests go to: this behind the cluster's name. Java: `MixAll.REPLY_TOPIC_POSTFIX`.
const REPLY_SUFFIX: &str = "_REPLY_TOPIC";

/// Something that a request is about, and what it does with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want<'a> {
    /// Type of the resource.
    pub kind: ResourceType,
    /// Its name.
    pub name: Cow<'a, str>,
    /// One of these is enough.
    pub actions: Actions,
}

/// What a request needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wants<'a> {
    /// All of these; without any it is free for every user.
    Each(SmallVec<[Want<'a>; 2]>),
    /// A super user.
    Super,
}

/// The request cannot be read, so nobody can say what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

type Found<'a> = Result<Wants<'a>, Unreadable>;

const PUB: Actions = Actions::of(&[Pub]);
const SUB: Actions = Actions::of(&[Sub]);
const CREATE: Actions = Actions::of(&[Create]);
const UPDATE: Actions = Actions::of(&[Update]);
const DELETE: Actions = Actions::of(&[Delete]);
const GET: Actions = Actions::of(&[Get]);
const SUB_OR_GET: Actions = Actions::of(&[Sub, Get]);
const SUB_OR_UPDATE: Actions = Actions::of(&[Sub, Update]);
const CREATE_OR_UPDATE: Actions = Actions::of(&[Create, Update]);
const LIST_OR_GET: Actions = Actions::of(&[List, Get]);
const PUB_SUB_OR_GET: Actions = Actions::of(&[Pub, Sub, Get]);

/// A topic.
pub fn topic<'a>(name: impl Into<Cow<'a, str>>, actions: Actions) -> Want<'a> {
    Want {
        kind: ResourceType::Topic,
        name: name.into(),
        actions,
    }
}

/// A group.
pub fn group<'a>(name: impl Into<Cow<'a, str>>, actions: Actions) -> Want<'a> {
    Want {
        kind: ResourceType::Group,
        name: name.into(),
        actions,
    }
}

/// A topic, or the group whose retry topic it is.
#[must_use]
pub fn topic_or_group(name: &str, of_topic: Actions, of_group: Actions) -> Want<'_> {
    match name.strip_prefix(RETRY_PREFIX) {
        Some(retried) => group(retried, of_group),
        None => topic(name, of_topic),
    }
}

/// What somebody who sends to a topic needs.
#[must_use]
pub fn send(name: &str) -> Want<'_> {
    topic_or_group(name, PUB, SUB)
}

fn one(want: Want<'_>) -> Found<'_> {
    Ok(Wants::Each(smallvec![want]))
}

fn free<'a>() -> Found<'a> {
    Ok(Wants::Each(SmallVec::new()))
}

fn body<T: DeserializeOwned>(command: &Command<'_>) -> Result<T, Unreadable> {
    fastjson::from_slice(command.body).map_err(|_| Unreadable)
}

/// Fields that name groups and topics; those that are missing or blank name nothing.
struct Named<'c, 'a> {
    command: &'c Command<'a>,
    wants: SmallVec<[Want<'a>; 2]>,
    actions: Actions,
}

impl<'a> Named<'_, 'a> {
    fn value(&self, field: &str) -> Option<&'a str> {
        let value = self.command.fields.get(field)?;
        (!value.trim().is_empty()).then_some(value)
    }

    fn group(mut self, field: &str) -> Self {
        if let Some(name) = self.value(field) {
            self.wants.push(group(name, self.actions));
        }
        self
    }

    fn topic(mut self, field: &str) -> Self {
        if let Some(name) = self.value(field) {
            self.wants
                .push(topic_or_group(name, self.actions, self.actions));
        }
        self
    }

    /// Names of topics with semicolons between them.
    fn topics(mut self, field: &str) -> Self {
        let names = self.value(field).unwrap_or_default().split(';');
        for name in names.filter(|name| !name.is_empty()) {
            self.wants
                .push(topic_or_group(name, self.actions, self.actions));
        }
        self
    }

    /// Names of groups with commas between them.
    fn groups(mut self, field: &str) -> Self {
        let names = self.value(field).unwrap_or_default().split(',');
        for name in names.filter(|name| !name.is_empty()) {
            self.wants.push(group(name, self.actions));
        }
        self
    }

    /// A request that names nothing cannot be checked.
    fn all(self) -> Found<'a> {
        if self.wants.is_empty() {
            return Err(Unreadable);
        }
        Ok(Wants::Each(self.wants))
    }
}

/// What a request needs; `cluster` is the name of the broker's cluster.
///
/// # Errors
/// What has to name it is missing or unreadable.
pub fn wants<'a>(command: &Command<'a>, cluster: &'a str) -> Found<'a> {
    type Code = RequestCode;
    let field = |name: &str| command.fields.get(name).unwrap_or_default();
    let named = |actions| Named {
        command,
        wants: SmallVec::new(),
        actions,
    };
    let of_cluster = |actions| {
        one(Want {
            kind: ResourceType::Cluster,
            name: cluster.into(),
            actions,
        })
    };
    match RequestCode(command.code) {
        Code::GET_ROUTEINFO_BY_TOPIC => {
            one(topic_or_group(field("topic"), PUB_SUB_OR_GET, SUB_OR_GET))
        }
        Code::SEND_MESSAGE | Code::SEND_MESSAGE_V2 | Code::SEND_BATCH_MESSAGE => {
            send_to(command, None)
        }
        Code::SEND_REPLY_MESSAGE | Code::SEND_REPLY_MESSAGE_V2 => send_to(command, Some(cluster)),
        Code::RECALL_MESSAGE => one(topic(field("topic"), PUB)),
        Code::END_TRANSACTION => match field("topic").trim() {
            "" => free(),
            _ => one(topic(field("topic"), PUB)),
        },
        Code::CONSUMER_SEND_MSG_BACK => one(group(field("group"), SUB)),
        Code::PULL_MESSAGE | Code::LITE_PULL_MESSAGE => {
            Ok(pull(field("topic"), field("consumerGroup")))
        }
        Code::QUERY_MESSAGE => one(topic(field("topic"), SUB_OR_GET)),
        Code::VIEW_MESSAGE_BY_ID => match field("topic").trim() {
            "" => free(),
            _ => named(GET).topic("topic").all(),
        },
        Code::HEART_BEAT => heartbeat(&body(command)?),
        Code::UNREGISTER_CLIENT => match field("consumerGroup").trim() {
            "" => free(),
            _ => one(group(field("consumerGroup"), SUB)),
        },
        Code::CHECK_CLIENT_CONFIG => check_client(body(command)?),
        Code::GET_CONSUMER_LIST_BY_GROUP => one(group(field("consumerGroup"), SUB_OR_GET)),
        Code::QUERY_CONSUMER_OFFSET => Ok(offset(command, SUB_OR_GET)),
        Code::UPDATE_CONSUMER_OFFSET => Ok(offset(command, SUB_OR_UPDATE)),
        Code::LOCK_BATCH_MQ | Code::UNLOCK_BATCH_MQ => Ok(lock(body(command)?)),
        Code::QUERY_ASSIGNMENT => Ok(assignment(body(command)?)),
        Code::SET_MESSAGE_REQUEST_MODE => {
            let mode: SetRequestMode = body(command)?;
            one(group(mode.consumer_group, UPDATE))
        }
        Code::BATCH_ACK_MESSAGE => batch_ack(body(command)?),
        Code::LITE_SUBSCRIPTION_CTL => lite(body(command)?),
        Code::POP_MESSAGE
        | Code::ACK_MESSAGE
        | Code::CHANGE_MESSAGE_INVISIBLETIME
        | Code::NOTIFICATION
        | Code::POP_LITE_MESSAGE
        | Code::ACK_LITE_MESSAGE
        | Code::CONSUME_MESSAGE_DIRECTLY => named(SUB).group("consumerGroup").topic("topic").all(),
        Code::PEEK_MESSAGE => named(SUB).topic("topic").group("consumerGroup").all(),
        Code::POLLING_INFO | Code::GET_CONSUME_STATS => named(GET)
            .group("consumerGroup")
            .topic("topic")
            .topics("topicList")
            .all(),
        Code::SEARCH_OFFSET_BY_TIMESTAMP
        | Code::GET_MAX_OFFSET
        | Code::GET_MIN_OFFSET
        | Code::GET_EARLIEST_MSG_STORETIME
        | Code::GET_TOPIC_CONFIG
        | Code::GET_TOPIC_STATS_INFO
        | Code::QUERY_TOPIC_CONSUME_BY_WHO
        | Code::GET_PARENT_TOPIC_INFO => named(GET).topic("topic").all(),
        Code::GET_LITE_TOPIC_INFO => named(GET).topic("parentTopic").all(),
        Code::GET_LITE_CLIENT_INFO => named(GET).group("group").topic("parentTopic").all(),
        Code::GET_LITE_GROUP_INFO
        | Code::GET_SUBSCRIPTIONGROUP_CONFIG
        | Code::QUERY_TOPICS_BY_CONSUMER => named(GET).group("group").all(),
        Code::GET_CONSUMER_CONNECTION_LIST | Code::GET_CONSUMER_RUNNING_INFO => {
            named(GET).group("consumerGroup").all()
        }
        Code::QUERY_CONSUME_QUEUE => named(GET).topic("topic").group("consumerGroup").all(),
        Code::QUERY_CONSUME_TIME_SPAN | Code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS => {
            named(GET).topic("topic").group("group").all()
        }
        Code::QUERY_SUBSCRIPTION_BY_CONSUMER => named(GET).group("group").topic("topic").all(),
        Code::QUERY_CORRECTION_OFFSET => named(GET)
            .groups("filterGroups")
            .group("compareGroup")
            .topic("topic")
            .all(),
        Code::UPDATE_AND_CREATE_TOPIC | Code::UPDATE_AND_CREATE_STATIC_TOPIC => {
            named(CREATE).topic("topic").all()
        }
        Code::UPDATE_AND_CREATE_TOPIC_LIST => create_topics(body(command)?),
        Code::DELETE_TOPIC_IN_BROKER => named(DELETE).topic("topic").all(),
        Code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => {
            let config: SubscriptionGroupConfig = body(command)?;
            one(group(config.group_name, CREATE_OR_UPDATE))
        }
        Code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => create_groups(body(command)?),
        Code::DELETE_SUBSCRIPTIONGROUP => named(DELETE).group("groupName").all(),
        Code::INVOKE_BROKER_TO_RESET_OFFSET | Code::UPDATE_AND_GET_GROUP_FORBIDDEN => {
            named(UPDATE).group("group").topic("topic").all()
        }
        Code::CLONE_GROUP_OFFSET => named(UPDATE).group("destGroup").topic("topic").all(),
        Code::TRIGGER_LITE_DISPATCH => named(UPDATE).group("group").all(),
        Code::RESUME_CHECK_HALF_MESSAGE => named(UPDATE).topic("topic").all(),
        Code::GET_ALL_TOPIC_CONFIG
        | Code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG
        | Code::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => of_cluster(LIST_OR_GET),
        Code::GET_BROKER_CONFIG
        | Code::GET_BROKER_RUNTIME_INFO
        | Code::GET_ALL_CONSUMER_OFFSET
        | Code::GET_ALL_DELAY_OFFSET
        | Code::GET_ALL_MESSAGE_REQUEST_MODE
        | Code::GET_TIMER_CHECK_POINT
        | Code::GET_TIMER_METRICS
        | Code::GET_PRODUCER_CONNECTION_LIST
        | Code::GET_ALL_PRODUCER_INFO
        | Code::GET_BROKER_CONSUME_STATS
        | Code::VIEW_BROKER_STATS_DATA
        | Code::GET_BROKER_HA_STATUS
        | Code::GET_BROKER_EPOCH_CACHE
        | Code::GET_BROKER_MEMBER_GROUP
        | Code::GET_BROKER_LITE_INFO
        | Code::GET_COLD_DATA_FLOW_CTR_INFO
        | Code::CHECK_ROCKSDB_CQ_WRITE_PROGRESS
        | Code::EXPORT_ROCKSDB_CONFIG_TO_JSON
        | Code::AUTH_GET_USER
        | Code::AUTH_LIST_USER
        | Code::AUTH_GET_ACL
        | Code::AUTH_LIST_ACL => of_cluster(GET),
        Code::UPDATE_BROKER_CONFIG
        | Code::SWITCH_TIMER_ENGINE
        | Code::TRIGGER_DELETE_FILES
        | Code::DELETE_EXPIRED_COMMITLOG
        | Code::CLEAN_EXPIRED_CONSUMEQUEUE
        | Code::CLEAN_UNUSED_TOPIC
        | Code::UPDATE_COLD_DATA_FLOW_CTR_CONFIG
        | Code::REMOVE_COLD_DATA_FLOW_CTR_CONFIG
        | Code::SET_COMMITLOG_READ_MODE
        | Code::RESET_MASTER_FLUSH_OFFSET
        | Code::AUTH_CREATE_USER
        | Code::AUTH_UPDATE_USER
        | Code::AUTH_DELETE_USER
        | Code::AUTH_CREATE_ACL
        | Code::AUTH_UPDATE_ACL
        | Code::AUTH_DELETE_ACL => of_cluster(UPDATE),
        _ => Ok(Wants::Super),
    }
}

/// The topic has a long name and a short one, and readers differ in which they take with which code: every
/// topic that is named counts.
///
/// An answer to a request goes to whoever waits for it, and into the topic of answers of the cluster, whose
/// name comes with such codes: every user may give one. Its header may name another topic, which is a send
/// like any other.
fn send_to<'a>(command: &Command<'a>, answers_of: Option<&str>) -> Found<'a> {
    let mut wants: SmallVec<[Want<'_>; 2]> = SmallVec::new();
    let mut named = false;
    for (_, name) in command
        .fields
        .iter()
        .filter(|(field, _)| matches!(*field, "topic" | "b"))
    {
        named = true;
        let cluster = name.strip_suffix(REPLY_SUFFIX);
        if cluster.is_some() && cluster == answers_of {
            continue;
        }
        let want = send(name);
        if !wants.contains(&want) {
            wants.push(want);
        }
    }
    if named {
        Ok(Wants::Each(wants))
    } else {
        Err(Unreadable)
    }
}

/// Of a retry topic both groups count: the one that it belongs to, and the one that asks.
fn pull<'a>(from: &'a str, asking: &'a str) -> Wants<'a> {
    let mut wants = SmallVec::new();
    match from.strip_prefix(RETRY_PREFIX) {
        Some(retried) if retried == asking => {}
        Some(retried) => wants.push(group(retried, SUB)),
        None => wants.push(topic(from, SUB)),
    }
    wants.push(group(asking, SUB));
    Wants::Each(wants)
}

fn offset<'a>(command: &Command<'a>, actions: Actions) -> Wants<'a> {
    let field = |name: &str| command.fields.get(name).unwrap_or_default();
    let mut wants = SmallVec::new();
    if !field("topic").starts_with(RETRY_PREFIX) {
        wants.push(topic(field("topic"), actions));
    }
    wants.push(group(field("consumerGroup"), actions));
    Wants::Each(wants)
}

/// A group that consumes, and its topics.
fn consume<'a>(name: String, topics: impl IntoIterator<Item = String>) -> SmallVec<[Want<'a>; 2]> {
    let mut wants = smallvec![group(name, SUB)];
    let topics = topics.into_iter();
    let topics = topics.filter(|topic| !topic.starts_with(RETRY_PREFIX));
    for name in topics {
        let want = topic(name, SUB);
        // Locks name a topic once for each of its queues.
        if !wants.contains(&want) {
            wants.push(want);
        }
    }
    wants
}

fn heartbeat<'a>(beat: &HeartbeatData) -> Found<'a> {
    let mut wants = SmallVec::new();
    for consumer in &beat.consumer_data_set {
        let topics = consumer.subscription_data_set.iter();
        let topics = topics.map(|subscription| subscription.topic.clone());
        wants.extend(consume(consumer.group_name.clone(), topics));
    }
    Ok(Wants::Each(wants))
}

fn check_client<'a>(check: CheckClientConfig) -> Found<'a> {
    Ok(Wants::Each(consume(
        check.group,
        [check.subscription_data.topic],
    )))
}

fn lock<'a>(lock: LockQueues) -> Wants<'a> {
    let topics = lock.mq_set.into_iter().map(|queue| queue.topic);
    Wants::Each(consume(lock.consumer_group, topics))
}

fn assignment<'a>(asked: QueryAssignment) -> Wants<'a> {
    Wants::Each(consume(asked.consumer_group, [asked.topic]))
}

fn batch_ack<'a>(batch: BatchAckMessages) -> Found<'a> {
    let mut wants: SmallVec<[Want<'_>; 2]> = SmallVec::new();
    for ack in batch.acks {
        for want in consume(ack.consumer_group, [ack.topic]) {
            if !wants.contains(&want) {
                wants.push(want);
            }
        }
    }
    Ok(Wants::Each(wants))
}

fn lite<'a>(changes: LiteSubscriptions) -> Found<'a> {
    let changes = changes.subscription_set.into_iter();
    let wants = changes.flat_map(|change| consume(change.group, [change.topic]));
    Ok(Wants::Each(wants.collect()))
}

fn create_topics<'a>(list: TopicConfigList) -> Found<'a> {
    let configs = list.topic_config_list.into_iter();
    let wants = configs.map(|config| topic(config.topic_name, CREATE));
    Ok(Wants::Each(wants.collect()))
}

fn create_groups<'a>(list: SubscriptionGroupList) -> Found<'a> {
    let configs = list.group_config_list.into_iter();
    let wants = configs.map(|config| group(config.group_name, CREATE_OR_UPDATE));
    Ok(Wants::Each(wants.collect()))
}

#[cfg(test)]
mod tests;
