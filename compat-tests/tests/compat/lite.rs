// SPDX-License-Identifier: Apache-2.0

//! Lite topics by the 5.x SDKs, over gRPC, at our proxy in front of our broker: Apache's broker has them only with
//! switches that it does not start with.

use std::{collections::BTreeSet, sync::Arc};

use aerobee_compat_tests::{Kind, Sdk};
use libtest_mimic::{Failed, Trial};

use crate::world::{GO, GO_PLAIN, JAVA, NODE, PYTHON, SCENARIO_LIMIT, World};

/// Scenarios of the Java program, which makes parents and groups itself.
const OF_JAVA: [&str; 5] = [
    "grpc_lite_exclusive_goes_to_the_last",
    "grpc_lite_push_keeps_order_and_retries",
    "grpc_lite_quotas_and_names",
    "grpc_lite_subscribers_come_and_go",
    "grpc_lite_topics_by_the_hundred",
];

/// Scenarios of the other programs, and the SDKs that perform them, without TLS and with it. The Java SDK 5.2.0, the Go
/// SDK and the Node.js SDK have no lite simple consumer, the Rust SDK 5.0.0 nothing of lite topics.
const OF_OTHERS: [(&str, &[(Sdk, Sdk)]); 2] = [
    (
        "grpc_lite_push_subscribes_and_unsubscribes",
        &[(GO_PLAIN, GO), (NODE, NODE), (PYTHON, PYTHON)],
    ),
    ("grpc_lite_simple_receives_in_order", &[(PYTHON, PYTHON)]),
];

const RETRIES: u32 = 16;

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    let of_java = OF_JAVA.into_iter().map(|scenario| {
        let name = format!("aerobee_{JAVA}_{scenario}");
        world.scenario(name, move |world| {
            perform(world, JAVA, scenario, &world.prefix(), true)
        })
    });
    let of_others = OF_OTHERS.into_iter().flat_map(|(scenario, sdks)| {
        sdks.iter().flat_map(move |&(plain, tls)| {
            [(plain, "plain"), (tls, "tls")].map(|(sdk, how)| (scenario, sdk, tls, how))
        })
    });
    let of_others = of_others.map(|(scenario, sdk, language, how)| {
        let name = format!("aerobee_{language}_{scenario}_{how}");
        world.scenario(name, move |world| {
            let prefix = world.prefix();
            prepare(world, &prefix)?;
            perform(world, sdk, scenario, &prefix, how == "tls")
        })
    });
    of_java.chain(of_others).collect()
}

/// The parent `PREFIX_lite` and the group `PREFIX_lite_group`: most of the SDKs cannot make them.
fn prepare(world: &World, prefix: &str) -> Result<(), Failed> {
    let cluster = world.proxied(Kind::Aerobee)?;
    let parent = format!("{prefix}_lite");
    cluster.create_topic(&parent, "LITE", 4)?;
    cluster.create_lite_group(&format!("{prefix}_lite_group"), &parent, RETRIES)?;
    Ok(())
}

fn perform(world: &World, sdk: Sdk, scenario: &str, prefix: &str, tls: bool) -> Result<(), Failed> {
    let (cluster, driver) = (world.proxied(Kind::Aerobee)?, world.driver(sdk)?);
    let ssl = tls.to_string();
    let with = [("prefix", prefix), ("ssl", &*ssl)];
    driver.perform(scenario, &cluster, &with, SCENARIO_LIMIT)?;
    Ok(())
}

/// The names above that the program of this SDK should know.
pub(crate) fn known(sdk: Sdk) -> BTreeSet<&'static str> {
    if sdk == JAVA {
        return OF_JAVA.into_iter().collect();
    }
    let by_it = |sdks: &[(Sdk, Sdk)]| sdks.iter().any(|(_, tls)| *tls == sdk);
    OF_OTHERS
        .into_iter()
        .filter(|(_, sdks)| by_it(sdks))
        .map(|(scenario, _)| scenario)
        .collect()
}
