// SPDX-License-Identifier: Apache-2.0

//! The 5.x SDKs, over gRPC, at our proxy in front of our broker and of Apache's.

use std::{collections::BTreeSet, sync::Arc};

use aerobee_compat_tests::{Kind, Sdk};
use libtest_mimic::{Failed, Trial};

use crate::world::{JAVA, SCENARIO_LIMIT, World};

/// Scenarios of the Java program.
pub(crate) const OF_JAVA: [&str; 12] = [
    "grpc_and_remoting_meet",
    "grpc_delayed_message_comes_in_time",
    "grpc_failed_messages_become_dead_letters",
    "grpc_fifo_keeps_order",
    "grpc_invisible_duration_changes",
    "grpc_push_consumes_and_retries",
    "grpc_recalled_message_never_comes",
    "grpc_send_and_receive",
    "grpc_tags_and_sql_filter",
    "grpc_transactions_commit_rollback_and_check",
    "grpc_waiting_consumer_gets_message_at_once",
    "grpc_wrong_type_is_refused",
];

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for scenario in OF_JAVA {
        for tls in [false, true] {
            trials.push(trial(world, world.judged, JAVA, scenario, tls));
        }
    }
    trials
}

fn trial(world: &Arc<World>, kind: Kind, sdk: Sdk, scenario: &'static str, tls: bool) -> Trial {
    let how = if tls { "tls" } else { "plain" };
    let name = format!("{kind}_{sdk}_{scenario}_{how}");
    world.trial(name, move |world| perform(world, kind, sdk, scenario, tls))
}

fn perform(world: &World, kind: Kind, sdk: Sdk, scenario: &str, tls: bool) -> Result<(), Failed> {
    let (cluster, driver) = (world.proxied(kind)?, world.driver(sdk)?);
    let prefix = world.prefix();
    let ssl = tls.to_string();
    // Apache's broker filters by SQL92 only when told to.
    let sql = (kind == Kind::Aerobee).to_string();
    let with = [("prefix", &*prefix), ("ssl", &*ssl), ("sql", &*sql)];
    driver.perform(scenario, &cluster, &with, SCENARIO_LIMIT)?;
    Ok(())
}

/// The names above, for the trial that none is left out.
pub(crate) fn known() -> BTreeSet<&'static str> {
    OF_JAVA.into_iter().collect()
}
