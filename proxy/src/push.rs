// SPDX-License-Identifier: Apache-2.0
//! Changes of groups are pushed to their members: order, attempts and waits count at once, not with
//! the next settings of the client minutes later. Also forgets clients that are gone.

use std::{collections::HashMap, sync::Arc, time::Duration};

use aerobee_remoting::body::group::SubscriptionGroupConfig;

use crate::{
    rpc::{Parts, sync_lite},
    settings,
    status::ok,
    v2::{TelemetryCommand, settings::PubSub, telemetry_command::Command},
};

/// How often is looked; what is known of groups is renewed less often than that.
const PERIOD: Duration = Duration::from_secs(5);

/// Looks now and then, for ever.
pub(crate) async fn run(parts: Arc<Parts>) {
    let mut pushed: HashMap<String, Arc<SubscriptionGroupConfig>> = HashMap::new();
    loop {
        tokio::time::sleep(PERIOD).await;
        for client in parts.clients.sweep() {
            parts.receipts.release(&client.id, None).await;
            sync_lite::leave(&parts, &client).await;
        }
        let groups = parts.clients.consumer_groups();
        pushed.retain(|group, _| groups.contains(group));
        for group in groups {
            let Some(now) = current(&parts, &group).await else {
                continue;
            };
            let before = pushed.insert(group.clone(), Arc::clone(&now));
            if before.is_some_and(|before| before != now) {
                push(&parts, &group, &now);
            }
        }
    }
}

/// How a group is set up, by a topic of one of its members.
async fn current(parts: &Parts, group: &str) -> Option<Arc<SubscriptionGroupConfig>> {
    let data = parts.clients.consumer_data(group)?;
    let topic = &data.subscription_data_set.first()?.topic;
    let route = parts.routes.topic(topic).await.ok()?;
    parts.routes.group(group, &route).await.ok()?
}

fn push(parts: &Parts, group: &str, config: &SubscriptionGroupConfig) {
    for member in parts.clients.members(group) {
        let Some(known) = member.settings() else {
            continue;
        };
        if !matches!(known.pub_sub, Some(PubSub::Subscription(_))) {
            continue;
        }
        let answer = settings::answer((*known).clone(), member.sdk, &parts.config, Some(config));
        member.send(TelemetryCommand {
            status: Some(ok()),
            command: Some(Command::Settings(answer)),
        });
    }
}
