// SPDX-License-Identifier: Apache-2.0

//! The remoting SDK with TLS on all its connections, at servers that take plain ones as well.

use std::sync::Arc;

use libtest_mimic::{Failed, Trial};

use crate::world::{JAVA_TLS, SCENARIO_LIMIT, World};

/// Scenarios of every kind: small and large frames, long polls, requests of the broker to the client.
const SCENARIOS: [&str; 7] = [
    "group_members_split_queues_and_take_over",
    "pull_waits_for_a_message",
    "push_concurrent_backlog",
    "push_orderly_keeps_queue_order",
    "send_bodies_of_all_sizes",
    "send_sync",
    "transaction_commit_rollback_and_check_back",
];

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    let trial = |scenario: &'static str| {
        let name = format!("{}_{JAVA_TLS}_{scenario}", world.judged);
        world.scenario(name, move |world| perform(world, scenario))
    };
    SCENARIOS.into_iter().map(trial).collect()
}

fn perform(world: &World, scenario: &str) -> Result<(), Failed> {
    let (cluster, driver) = (world.cluster(world.judged)?, world.driver(JAVA_TLS)?);
    let prefix = world.prefix();
    driver.perform(scenario, &cluster, &[("prefix", &*prefix)], SCENARIO_LIMIT)?;
    Ok(())
}
