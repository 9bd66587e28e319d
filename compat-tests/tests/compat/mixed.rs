// SPDX-License-Identifier: Apache-2.0

//! Clusters of one server of Apache's and one of ours, unmodified on both sides.

use std::sync::Arc;

use aerobee_compat_tests::{Cluster, Kind, Plan};
use libtest_mimic::{Failed, Trial};

use crate::world::{GO, JAVA, JAVA_ROCKETMQ, SCENARIO_LIMIT, World};

const SCENARIOS: [&str; 5] = [
    "groups_each_get_every_message",
    "push_waiting_consumer_gets_message_at_once",
    "send_sync",
    "topic_created_by_first_send",
    "topic_created_by_request",
];

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    let judged = world.judged;
    vec![
        world.trial("mixed_apache_broker_with_our_name_server", move |world| {
            mixed(world, judged, Kind::Apache)
        }),
        world.trial("mixed_our_broker_with_apache_name_server", move |world| {
            mixed(world, Kind::Apache, judged)
        }),
    ]
}

fn mixed(world: &World, namesrv: Kind, broker: Kind) -> Result<(), Failed> {
    let _slot = world.slot();
    let mut cluster = Cluster::start(Plan::mixed(namesrv, broker))?;
    perform_all(world, &cluster)?;
    // A broker that leaves and comes back is found again, and so is one whose name server was away.
    cluster.broker.stop()?;
    cluster.broker.start()?;
    perform_all(world, &cluster)?;
    cluster.namesrv.kill()?;
    cluster.namesrv.start()?;
    cluster.await_broker()?;
    perform_all(world, &cluster)
}

fn perform_all(world: &World, cluster: &Cluster) -> Result<(), Failed> {
    for sdk in [JAVA, JAVA_ROCKETMQ, GO] {
        for scenario in SCENARIOS {
            world.driver(sdk)?.perform(
                scenario,
                cluster,
                &[("prefix", &world.prefix())],
                SCENARIO_LIMIT,
            )?;
        }
    }
    Ok(())
}
