// SPDX-License-Identifier: Apache-2.0

//! Lite topics by the 5.x SDKs, over gRPC, at our proxy in front of our broker.

use std::{collections::BTreeSet, sync::Arc};

use aerobee_compat_tests::Kind;
use libtest_mimic::{Failed, Trial};

use crate::world::{JAVA, SCENARIO_LIMIT, World};

/// Scenarios of the Java program.
const OF_JAVA: [&str; 5] = [
    "grpc_lite_exclusive_goes_to_the_last",
    "grpc_lite_push_keeps_order_and_retries",
    "grpc_lite_quotas_and_names",
    "grpc_lite_subscribers_come_and_go",
    "grpc_lite_topics_by_the_hundred",
];

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    let trial = |scenario: &'static str| {
        let name = format!("aerobee_{JAVA}_{scenario}");
        world.scenario(name, move |world| perform(world, scenario))
    };
    OF_JAVA.into_iter().map(trial).collect()
}

/// Apache's broker has lite topics only with switches that it does not start with.
fn perform(world: &World, scenario: &str) -> Result<(), Failed> {
    let (cluster, driver) = (world.proxied(Kind::Aerobee)?, world.driver(JAVA)?);
    let prefix = world.prefix();
    driver.perform(scenario, &cluster, &[("prefix", &*prefix)], SCENARIO_LIMIT)?;
    Ok(())
}

/// The names above, for the trial that none is left out.
pub(crate) fn known() -> BTreeSet<&'static str> {
    OF_JAVA.into_iter().collect()
}
