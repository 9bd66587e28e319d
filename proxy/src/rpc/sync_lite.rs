// SPDX-License-Identifier: Apache-2.0
//! SyncLiteSubscription: the lite topics that a client wants, told to every broker of their parent
//! (Apache: `proxy/grpc/v2/consumer/LiteSubscriptionActivity`).

use std::{sync::Arc, time::Instant};

use aerobee_remoting::body::{
    group::SubscriptionGroupConfig,
    lite::{LiteAction, OffsetOption, OffsetOptionType},
};
use tokio::task::JoinSet;

use super::Parts;
use crate::{
    caller::{group_of, topic_of},
    clients::Client,
    incoming::check_lite,
    lite::{change, check_bound, check_quota, tell},
    status::{Failure, ok},
    v2::{
        Code, LiteSubscriptionAction, OffsetOption as Wanted, SyncLiteSubscriptionRequest,
        SyncLiteSubscriptionResponse, offset_option::OffsetType,
    },
};

pub(crate) async fn answer(
    parts: &Parts,
    request: tonic::Request<SyncLiteSubscriptionRequest>,
) -> Result<SyncLiteSubscriptionResponse, Failure> {
    let (_, client) = parts.client(&request)?;
    let request = request.into_inner();
    let topic = topic_of(request.topic.as_ref())?;
    let group = group_of(request.group.as_ref())?;
    let action = action_of(request.action)?;
    let adds = matches!(action, LiteAction::PartialAdd | LiteAction::CompleteAdd);
    if adds {
        for name in &request.lite_topic_set {
            check_lite(name, &parts.config)?;
        }
    }
    let config = bound_group(parts, group, topic).await?;
    if adds {
        check_quota(&config, request.lite_topic_set.len())?;
    }
    if action == LiteAction::PartialAdd && !parts.lite_rate.admit(Instant::now()) {
        return Err(Failure::new(
            Code::TooManyRequests,
            format_args!(
                "too many lite subscriptions in this second, the limit is {} (maxSyncLiteSubscriptionRate)",
                parts.config.max_sync_lite_subscription_rate
            ),
        ));
    }
    let offset_option = request
        .offset_option
        .filter(|_| action == LiteAction::PartialAdd)
        .and_then(|wanted| option_of(&wanted));
    let names = request.lite_topic_set;
    let place = (topic, group);
    let told = spread(parts, &client, place, action, &names, offset_option).await?;
    let mut lite = client.lite.lock();
    let known = lite.get_or_insert_default();
    known.apply(topic, group, action, &names);
    // What a partial change leaves out, a broker that was away does not know.
    if action == LiteAction::CompleteAdd || known.is_new() {
        for (address, connection) in told {
            known.told(address, connection);
        }
    }
    drop(lite);
    Ok(SyncLiteSubscriptionResponse { status: Some(ok()) })
}

fn action_of(number: i32) -> Result<LiteAction, Failure> {
    match LiteSubscriptionAction::try_from(number) {
        Ok(LiteSubscriptionAction::PartialAdd) => Ok(LiteAction::PartialAdd),
        Ok(LiteSubscriptionAction::PartialRemove) => Ok(LiteAction::PartialRemove),
        Ok(LiteSubscriptionAction::CompleteAdd) => Ok(LiteAction::CompleteAdd),
        Ok(LiteSubscriptionAction::CompleteRemove) => Ok(LiteAction::CompleteRemove),
        Err(_) => Err(Failure::new(
            Code::BadRequest,
            format_args!("unknown action {number} of a lite subscription"),
        )),
    }
}

fn option_of(wanted: &Wanted) -> Option<OffsetOption> {
    let (kind, value) = match wanted.offset_type? {
        OffsetType::Policy(policy) => (OffsetOptionType::Policy, policy.into()),
        OffsetType::Offset(offset) => (OffsetOptionType::Offset, offset),
        OffsetType::TailN(messages) => (OffsetOptionType::TailN, messages),
        OffsetType::Timestamp(time) => (OffsetOptionType::Timestamp, time),
    };
    Some(OffsetOption { kind, value })
}

/// How a group of lite consumers is set up. Before it is refused it is asked for again: it may have
/// been bound a moment ago.
async fn bound_group(
    parts: &Parts,
    group: &str,
    topic: &str,
) -> Result<Arc<SubscriptionGroupConfig>, Failure> {
    let route = parts.routes.topic(topic).await?;
    let known = parts.routes.group(group, &route).await?;
    if let Some(config) = known.filter(|config| check_bound(config, topic).is_ok()) {
        return Ok(config);
    }
    let config = parts.routes.group_again(group, &route).await?;
    let config = config.ok_or_else(|| {
        Failure::new(
            Code::IllegalConsumerGroup,
            format_args!(
                "group not found: {group}; create it: mqadmin updateSubGroup -n <name server> -c <cluster> -g {group} -a +lite.bind.topic={topic}"
            ),
        )
    })?;
    check_bound(&config, topic)?;
    Ok(config)
}

/// Tells every broker that has queues of the parent to read; all of them have to agree. Returns over
/// which connection each of them was told.
async fn spread(
    parts: &Parts,
    client: &Client,
    (topic, group): (&str, &str),
    action: LiteAction,
    names: &[String],
    offset_option: Option<OffsetOption>,
) -> Result<Vec<(Arc<str>, u64)>, Failure> {
    let route = parts.routes.topic(topic).await?;
    let mut telling = JoinSet::new();
    for data in route.readable() {
        let Some(address) = route.address(&data.broker_name).cloned() else {
            continue;
        };
        let brokers = Arc::clone(&parts.brokers);
        let change = change(
            &client.id,
            (topic, group),
            action,
            names.iter().cloned(),
            offset_option,
        );
        telling.spawn(async move {
            let connection = brokers.connected(&address).await?;
            tell(&brokers, &address, change).await?;
            Ok((address, connection))
        });
    }
    let mut outcome = Ok(Vec::new());
    while let Some(told) = telling.join_next().await {
        let told = told.unwrap_or_else(|error| {
            Err(Failure::new(
                Code::InternalServerError,
                format_args!("a subscription was interrupted: {error}"),
            ))
        });
        outcome = outcome.and_then(|mut all: Vec<_>| {
            all.push(told?);
            Ok(all)
        });
    }
    outcome
}

/// A client is gone: its lite topics, and what was about to be delivered to it, go to others.
pub(crate) async fn leave(parts: &Parts, client: &Client) {
    let Some(known) = client.lite.lock().take() else {
        return;
    };
    let place = (&*known.topic, &*known.group);
    if let Err(error) = spread(parts, client, place, LiteAction::CompleteRemove, &[], None).await {
        tracing::debug!(client = client.id, %error, "a broker forgets the lite topics of a client by itself, later");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_actions_are_refused_and_options_are_passed_on() {
        assert_eq!(action_of(9).unwrap_err().code(), Code::BadRequest);
        assert_eq!(action_of(2).unwrap(), LiteAction::CompleteAdd);
        let option = |offset_type| option_of(&Wanted { offset_type });
        assert_eq!(option(None), None);
        let tail = option(Some(OffsetType::TailN(3))).unwrap();
        assert_eq!((tail.kind, tail.value), (OffsetOptionType::TailN, 3));
        let end = option(Some(OffsetType::Policy(2))).unwrap();
        assert_eq!((end.kind, end.value), (OffsetOptionType::Policy, 2));
    }
}
