// SPDX-License-Identifier: Apache-2.0
//! UPDATE_AND_CREATE_SUBSCRIPTIONGROUP (200) and its list (225), GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201),
//! DELETE_SUBSCRIPTIONGROUP (207), GET_SUBSCRIPTIONGROUP_CONFIG (352), UPDATE_AND_GET_GROUP_FORBIDDEN
//! (353), GET_ALL_CONSUMER_OFFSET (43).

use std::{sync::Arc, time::Instant};

use aerobee_message::topic::validate_group;
use aerobee_remoting::{
    Empty, ResponseCode,
    body::group::{GroupForbiddenBody, SubscriptionGroupConfig, SubscriptionGroupList},
    call::Call,
    fastjson,
    header::topic::{AllGroupsReply, DeleteGroup, GetGroupConfig, GroupForbidden},
};

use super::Refusal;
use crate::{
    events::Events,
    groups::{Groups, UpdateError},
    longpoll::{pop::Polls, pull::HeldPulls},
    offsets::Offsets,
    stats::Stats,
    table::{Generation, PersistError},
};

/// Changes subscription groups for operators.
pub(crate) struct GroupAdmin {
    pub(crate) groups: Arc<Groups>,
    pub(crate) offsets: Arc<Offsets>,
    pub(crate) events: Arc<Events>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) held: Arc<HeldPulls>,
    pub(crate) polls: Arc<Polls>,
}

impl GroupAdmin {
    /// Code 200. Without a body nothing is asked for, and that is a success.
    pub(crate) fn update(self: &Arc<Self>, call: Call<'_, Empty>) {
        let Call { body, reply, .. } = call;
        if body.is_empty() {
            return reply.ok();
        }
        let started = Instant::now();
        let generation = match self.change(body) {
            Ok(generation) => generation,
            Err(refusal) => {
                self.events.group_changed(false, false, started.elapsed());
                return refusal.answer(reply);
            }
        };
        let (admin, reply) = (Arc::clone(self), reply.defer());
        tokio::spawn(async move {
            let durable = admin.groups.durable(generation).await;
            let took = started.elapsed();
            admin.events.group_changed(durable.is_ok(), false, took);
            match durable {
                Ok(()) => reply.ok(),
                Err(error) => reply.fail(ResponseCode::SYSTEM_ERROR, error),
            }
        });
    }

    /// Code 225.
    pub(crate) fn update_list(self: &Arc<Self>, call: Call<'_, Empty>) {
        let Call { body, reply, .. } = call;
        let list: SubscriptionGroupList = match fastjson::from_slice(body) {
            Ok(list) => list,
            Err(error) => return reply.fail(ResponseCode::SYSTEM_ERROR, error),
        };
        for config in &list.group_config_list {
            if let Err(error) = validate_group(&config.group_name) {
                return reply.fail(ResponseCode::INVALID_PARAMETER, error);
            }
        }
        let mut last = None;
        for config in list.group_config_list {
            match self.put(config) {
                Ok(generation) => last = Some(generation),
                Err(refusal) => return refusal.answer(reply),
            }
        }
        let (admin, reply) = (Arc::clone(self), reply.defer());
        tokio::spawn(async move {
            match admin.durable(last, None).await {
                Ok(()) => reply.ok(),
                Err(error) => reply.fail(ResponseCode::SYSTEM_ERROR, error),
            }
        });
    }

    /// Code 353: without `readable` it only tells.
    pub(crate) fn forbidden(self: &Arc<Self>, call: Call<'_, GroupForbidden<'_>>) {
        let Call { request, reply, .. } = call;
        let GroupForbidden {
            group,
            topic,
            readable,
        } = request;
        let changed = readable.map(|readable| {
            tracing::info!(group, topic, readable, peer = %reply.connection().peer(), "right to read changed by an operator");
            let generation = self.groups.set_readable(group, topic, readable);
            if !readable {
                self.release(group);
            }
            generation
        });
        let body = fastjson::to_vec(&GroupForbiddenBody {
            group: group.to_owned(),
            readable: !self.groups.is_read_forbidden(group, topic),
            topic: topic.to_owned(),
        });
        let (admin, reply) = (Arc::clone(self), reply.defer());
        tokio::spawn(async move {
            match admin.durable(changed, None).await {
                Ok(()) => reply.body(&body),
                Err(error) => reply.fail(ResponseCode::SYSTEM_ERROR, error),
            }
        });
    }

    /// Code 43.
    pub(crate) fn all_offsets(self: &Arc<Self>, call: Call<'_, Empty>) {
        let (admin, reply) = (Arc::clone(self), call.reply.defer());
        // The table may be large.
        tokio::task::spawn_blocking(move || reply.body(&admin.offsets.to_body()));
    }

    fn change(&self, body: &[u8]) -> Result<Generation, Refusal> {
        let config: SubscriptionGroupConfig = fastjson::from_slice(body)
            .map_err(|error| Refusal::new(ResponseCode::SYSTEM_ERROR, &error))?;
        self.put(config)
    }

    fn put(&self, config: SubscriptionGroupConfig) -> Result<Generation, Refusal> {
        let disabled = (!config.consume_enable).then(|| config.group_name.clone());
        let generation = self.groups.update(config).map_err(|error| {
            let code = match error {
                UpdateError::Name(_) => ResponseCode::INVALID_PARAMETER,
                UpdateError::Attribute(_) => ResponseCode::SYSTEM_ERROR,
            };
            Refusal::new(code, &error)
        })?;
        if let Some(group) = disabled {
            self.release(&group);
        }
        Ok(generation)
    }

    /// Who waits for messages was let in before, and would get the next ones.
    fn release(&self, group: &str) {
        self.held.release_group(&self.stats.of_group(group));
        self.polls.release_group(group);
    }

    /// Code 201. All of them, whatever page was asked for: the total says that there are no more.
    pub(crate) fn all(self: &Arc<Self>, call: Call<'_, Empty>) {
        let (admin, reply) = (Arc::clone(self), call.reply.defer());
        // The table may be large.
        tokio::task::spawn_blocking(move || {
            let (body, groups) = admin.groups.to_body();
            let header = AllGroupsReply {
                total_group_num: i32::try_from(groups).unwrap_or(i32::MAX),
            };
            reply.respond(ResponseCode::SUCCESS, "", &header, &[&body]);
        });
    }

    /// Code 207. A group that does not exist is deleted already.
    pub(crate) fn delete(self: &Arc<Self>, call: Call<'_, DeleteGroup<'_>>) {
        let Call { request, reply, .. } = call;
        let group = request.group_name;
        tracing::info!(group, peer = %reply.connection().peer(), "subscription group deleted by an operator");
        let deleted = self.groups.delete(group);
        let forgotten = request
            .clean_offset
            .then(|| self.offsets.delete_group(group))
            .flatten();
        let (admin, reply) = (Arc::clone(self), reply.defer());
        tokio::spawn(async move {
            match admin.durable(deleted, forgotten).await {
                Ok(()) => reply.ok(),
                Err(error) => reply.fail(ResponseCode::SYSTEM_ERROR, error),
            }
        });
    }

    async fn durable(
        &self,
        group: Option<Generation>,
        offsets: Option<Generation>,
    ) -> Result<(), PersistError> {
        if let Some(generation) = group {
            self.groups.durable(generation).await?;
        }
        if let Some(generation) = offsets {
            self.offsets.durable(generation).await?;
        }
        Ok(())
    }

    /// Code 352. Looking a group up creates it where that is allowed, as in Java.
    pub(crate) fn get(&self, call: Call<'_, GetGroupConfig<'_>>) {
        let Call { request, reply, .. } = call;
        match self.groups.find_or_create(request.group) {
            Ok(group) => reply.body(&fastjson::to_vec(group.config())),
            Err(error) => reply.fail(
                ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST,
                format_args!("No group in this broker: {error}"),
            ),
        }
    }
}
