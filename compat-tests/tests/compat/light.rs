// SPDX-License-Identifier: Apache-2.0

//! Light queues by the remoting SDK for Java: each kind of broker has them only with switches that it does not start
//! with, so these have servers of their own.

use std::{collections::BTreeSet, sync::Arc};

use aerobee_compat_tests::{Cluster, Kind, Plan, Sdk};
use libtest_mimic::{Failed, Trial};

use crate::world::{JAVA, SCENARIO_LIMIT, World};

const OF_JAVA: [&str; 1] = ["light_queues_get_what_is_dispatched_to_them"];

const SWITCHES: [(&str, &str); 4] = [
    ("enableLmq", "true"),
    ("enableMultiDispatch", "true"),
    ("mappedFileSizeCommitLog", "67108864"),
    ("mappedFileSizeConsumeQueue", "200000"),
];

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    let kinds = [Kind::Aerobee, Kind::Apache];
    let all = kinds
        .into_iter()
        .flat_map(|kind| OF_JAVA.map(|scenario| (kind, scenario)));
    all.map(|(kind, scenario)| {
        let name = format!("{kind}_{JAVA}_{scenario}");
        world.trial(name, move |world| perform(world, kind, scenario))
    })
    .collect()
}

fn perform(world: &World, kind: Kind, scenario: &str) -> Result<(), Failed> {
    let _slot = world.slot();
    let plan = Plan {
        conf: &SWITCHES,
        ..Plan::of(kind)
    };
    let (cluster, driver) = (Cluster::start(plan)?, world.driver(JAVA)?);
    let prefix = world.prefix();
    driver.perform(scenario, &cluster, &[("prefix", &prefix)], SCENARIO_LIMIT)?;
    Ok(())
}

/// The names above that the program of this SDK should know.
pub(crate) fn known(sdk: Sdk) -> BTreeSet<&'static str> {
    OF_JAVA.into_iter().filter(|_| sdk == JAVA).collect()
}
