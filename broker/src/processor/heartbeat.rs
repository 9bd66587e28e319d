// SPDX-License-Identifier: Apache-2.0
//! HEART_BEAT (34), UNREGISTER_CLIENT (35), CHECK_CLIENT_CONFIG (46). Apache:
//! `ClientManageProcessor`.

use std::{collections::HashMap, sync::Arc, time::Instant};

use aerobee_message::topic::retry_topic;
use aerobee_remoting::{
    Connection, Empty, Reply, ResponseCode,
    body::heartbeat::{CheckClientConfig, ConsumeType, ConsumerData, HeartbeatData},
    call::Call,
    fastjson,
    header::client::{HeartbeatReply, UnregisterClient},
};
use parking_lot::Mutex;

use crate::{
    clients::{
        Client, Clients,
        consumers::{Joining, Mode, Subscription},
    },
    config::Switches,
    filter::{Filter, NO_PROPERTY_FILTER, is_tag_type},
    groups::{Group, Groups},
    registration::Registration,
    topics::{PERM_READ, PERM_WRITE, Topics, UNIT_SUBSCRIPTION},
};

/// Most groups in one heartbeat; the rest is not looked at.
const GROUPS_MAX: usize = 10_000;
/// Most fingerprints kept.
const FINGERPRINTS_MAX: usize = 200_000;

/// Takes heartbeats and farewells of clients.
pub(crate) struct Heartbeat {
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) registration: Arc<Registration>,
    pub(crate) switches: Arc<Switches>,
    pub(crate) fingerprints: Fingerprints,
}

/// The last fingerprint of each group's subscriptions: tells clients when a short heartbeat will
/// not do.
#[derive(Debug, Default)]
pub(crate) struct Fingerprints(Mutex<HashMap<Arc<str>, i32>>);

impl Fingerprints {
    /// Takes the new fingerprint; whether there was another one.
    fn replace(&self, group: &Arc<str>, fingerprint: i32) -> bool {
        let mut known = self.0.lock();
        if known.len() >= FINGERPRINTS_MAX && !known.contains_key(group) {
            // Of groups deleted long ago, mostly; for the others one change goes unnoticed, which
            // the next full heartbeat makes good.
            known.clear();
        }
        let before = known.insert(Arc::clone(group), fingerprint);
        before.is_some_and(|before| before != fingerprint)
    }
}

impl Heartbeat {
    /// Code 34. Everything is in memory; what the group needs on disk follows by itself.
    pub(crate) fn beat(&self, call: Call<'_, Empty>) {
        let Call {
            body,
            command,
            reply,
            ..
        } = call;
        let beat: HeartbeatData = match fastjson::from_slice(body) {
            Ok(beat) => beat,
            Err(error) => return reply.fail(ResponseCode::SYSTEM_ERROR, error),
        };
        let client = Client {
            id: beat.client_id.as_str().into(),
            language: command.language,
            version: command.version,
        };
        let connection = reply.connection();
        let now = Instant::now();
        let config = self.switches.config();
        let rejects_pulls = config.broker.reject_pull_consumer_enable;
        let ignores_producers =
            !config.broker.enable_register_producer && config.broker.reject_transaction_message;
        let kept = beat.without_sub && beat.heartbeat_fingerprint != 0;
        let mut changed = false;
        for consumer in beat.consumer_data_set.into_iter().take(GROUPS_MAX) {
            if rejects_pulls && consumer.consume_type == ConsumeType::Actively {
                continue;
            }
            // Unknown groups are passed over, as in Java; pulls will say why.
            let Ok(group) = self.groups.find_or_create(&consumer.group_name) else {
                continue;
            };
            changed |= self
                .fingerprints
                .replace(group.name(), beat.heartbeat_fingerprint);
            self.ensure_retry_topic(&group, &consumer);
            changed |= self.register(connection, &client, &group, consumer, kept, now);
        }
        let producers = if ignores_producers { 0 } else { GROUPS_MAX };
        for producer in beat.producer_data_set.into_iter().take(producers) {
            self.clients.producers.register(
                &producer.group_name,
                connection.id(),
                connection,
                &client,
                now,
            );
        }
        reply.header(&HeartbeatReply {
            supports_v2: true,
            subscription_changed: changed || beat.heartbeat_fingerprint == 0,
        });
    }

    /// Registers a consumer; whether its subscription is needed, because the short heartbeat came
    /// to a broker that has none of the group.
    fn register(
        &self,
        connection: &Arc<Connection>,
        client: &Client,
        group: &Group,
        consumer: ConsumerData,
        kept: bool,
        now: Instant,
    ) -> bool {
        let joining = Joining {
            group: group.name(),
            client,
            mode: Mode {
                consume_type: consumer.consume_type,
                message_model: consumer.message_model,
                consume_from: consumer.consume_from_where,
            },
            subscriptions: (!kept).then(|| {
                let wanted = consumer.subscription_data_set.into_iter();
                wanted.map(Subscription::new).collect()
            }),
        };
        let changed = self
            .clients
            .consumers
            .register(connection.id(), connection, joining, now);
        if let Some(changed) = changed
            && group.notifies_changes()
        {
            self.clients.notices.changed(&changed);
        }
        kept && self
            .clients
            .consumers
            .group(group.name())
            .is_none_or(|consumers| consumers.subscriptions().is_empty())
    }

    /// The group's retry topic, ordered when the group consumes an ordered topic.
    fn ensure_retry_topic(&self, group: &Group, consumer: &ConsumerData) {
        let order = consumer.subscription_data_set.iter().any(|subscription| {
            let topic = self.topics.find(&subscription.topic);
            topic.is_some_and(|topic| topic.config().order)
        });
        let sys_flag = if consumer.unit_mode {
            UNIT_SUBSCRIPTION
        } else {
            0
        };
        let (topic, created) = self.topics.ensure(
            &retry_topic(group.name()),
            group.retry_queues(),
            PERM_READ | PERM_WRITE,
            sys_flag,
        );
        let mut config = topic.config();
        let turned = config.order != order;
        if turned {
            Arc::make_mut(&mut config).order = order;
            self.topics.put((*config).clone());
        }
        if created.is_some() || turned {
            self.registration.announce_soon((*config).clone());
        }
    }

    /// Code 35.
    pub(crate) fn unregister(&self, call: Call<'_, UnregisterClient<'_>>) {
        let Call { request, reply, .. } = call;
        let id = reply.connection().id();
        if let Some(group) = request.producer_group {
            self.clients.producers.unregister(group, id);
        }
        if let Some(group) = request.consumer_group
            && let Some(changed) = self.clients.consumers.unregister(group, id)
        {
            let notifies = |group: Arc<Group>| group.notifies_changes();
            if self.groups.find(group).is_none_or(notifies) {
                self.clients.notices.changed(&changed);
            }
        }
        reply.ok();
    }
}

/// Code 46: whether the broker can filter as a consumer wants to.
pub(crate) fn check_client_config(switches: &Switches, body: &[u8], reply: Reply<'_>) {
    let check: CheckClientConfig = match fastjson::from_slice(body) {
        Ok(check) => check,
        Err(error) => return reply.fail(ResponseCode::SYSTEM_ERROR, error),
    };
    let subscription = check.subscription_data;
    let kind = Some(subscription.expression_type.as_str());
    if is_tag_type(kind) {
        return reply.ok();
    }
    if !switches.filters_properties() {
        return reply.fail(ResponseCode::SYSTEM_ERROR, NO_PROPERTY_FILTER);
    }
    match Filter::parse(kind, &subscription.sub_string) {
        Ok(_) => reply.ok(),
        Err(error) => reply.fail(ResponseCode::SUBSCRIPTION_PARSE_FAILED, error),
    }
}
