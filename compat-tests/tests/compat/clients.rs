// SPDX-License-Identifier: Apache-2.0

//! Several SDK programs together: one language sends and the other receives, and a member of a group dies.

use std::{collections::HashSet, sync::Arc, time::Duration};

use aerobee_compat_tests::{Cluster, Driver, Kind, Plan, Running, Sdk};
use libtest_mimic::{Failed, Trial};

use crate::{
    ledger::Ledger,
    world::{GO, JAVA, JAVA_ROCKETMQ, SCENARIO_LIMIT, World},
};

/// A consumer's first rebalance may come only with the timer of 20 s.
const ARRIVAL: Duration = Duration::from_secs(60);
/// The bound for SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(3);

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (from, to) in [
        (JAVA, GO),
        (GO, JAVA),
        (JAVA_ROCKETMQ, GO),
        (GO, JAVA_ROCKETMQ),
    ] {
        trials.push(
            world.scenario(format!("cross_{from}_to_{to}"), move |world| {
                cross(world, from, to)
            }),
        );
    }
    for sdk in [JAVA, GO] {
        trials.push(world.trial(
            format!("group_replaces_killed_member_{sdk}"),
            move |world| member_killed(world, sdk),
        ));
    }
    if world.judged == Kind::Aerobee {
        trials.push(world.trial("standalone_serves_and_stops_and_goes_on", standalone));
    }
    trials
}

/// Bodies of 5 KiB, which both SDKs compress, with tags and keys.
fn cross(world: &World, from: Sdk, to: Sdk) -> Result<(), Failed> {
    let cluster = world.cluster(world.judged)?;
    let (sender, receiver) = (world.driver(from)?, world.driver(to)?);
    let prefix = world.prefix();
    let (topic, group) = (format!("{prefix}_cross"), format!("{prefix}_group"));
    create(&sender, &cluster, &prefix, &topic, "4")?;
    let consumer = receiver.begin(
        "consume",
        &cluster,
        &[("prefix", &prefix), ("topic", &topic), ("group", &group)],
    )?;
    let with = [
        ("prefix", &*prefix),
        ("topic", &topic),
        ("word", "cross"),
        ("count", "200"),
        ("padding", "5000"),
    ];
    let mut ledger = Ledger::default();
    ledger.note(&sender.perform("produce", &cluster, &with, SCENARIO_LIMIT)?)?;
    if ledger.len() != 200 {
        return Err(format!("{} of 200 acknowledged", ledger.len()).into());
    }
    ledger.await_all(&consumer, "the other language", ARRIVAL)?;
    consumer.stop()?;
    consumer.finish(SCENARIO_LIMIT)?;
    Ok(())
}

fn create(
    driver: &Arc<Driver>,
    cluster: &Cluster,
    prefix: &str,
    topic: &str,
    queues: &str,
) -> Result<(), Failed> {
    let with = [("prefix", prefix), ("topic", topic), ("queues", queues)];
    driver.perform("create", cluster, &with, SCENARIO_LIMIT)?;
    Ok(())
}

/// Two processes share a group; one is killed without a word, and the other gets everything from then on.
fn member_killed(world: &World, sdk: Sdk) -> Result<(), Failed> {
    let cluster = world.cluster(world.judged)?;
    let (sender, first, second) = (
        world.driver(JAVA)?,
        world.own_driver(sdk)?,
        world.own_driver(sdk)?,
    );
    let prefix = world.prefix();
    let (topic, group) = (format!("{prefix}_killed"), format!("{prefix}_group"));
    create(&sender, &cluster, &prefix, &topic, "8")?;
    let consume = |driver: &Arc<Driver>| {
        driver.begin(
            "consume",
            &cluster,
            &[("prefix", &prefix), ("topic", &topic), ("group", &group)],
        )
    };
    let (one, two) = (consume(&first)?, consume(&second)?);
    let produce = |word: &str, count: &str| -> Result<Ledger, Failed> {
        let with = [
            ("prefix", &*prefix),
            ("topic", &topic),
            ("word", word),
            ("count", count),
        ];
        let mut ledger = Ledger::default();
        ledger.note(&sender.perform("produce", &cluster, &with, SCENARIO_LIMIT)?)?;
        Ok(ledger)
    };
    let mut round = 0;
    loop {
        let (from_one, from_two) = (one.count(), two.count());
        produce(&format!("round{round}x"), "40")?;
        round += 1;
        let both_serve = queues_of(&one, from_one, Duration::from_secs(3))
            && queues_of(&two, from_two, Duration::from_secs(3));
        if both_serve {
            break;
        }
        if round > 20 {
            return Err("the two never shared the queues".into());
        }
    }
    second.kill()?;
    let rest = produce("alone", "80")?;
    rest.await_all(&one, "the one left", ARRIVAL)?;
    one.stop()?;
    one.finish(SCENARIO_LIMIT)?;
    Ok(())
}

/// Whether the steps from that number on are of four queues and no more, once they come.
fn queues_of(consumer: &Running, from: usize, limit: Duration) -> bool {
    let mut queues = HashSet::new();
    let four = consumer.wait_until_from(from, limit, |step| {
        if &*step.name == "got" {
            queues.insert(step.queue);
        }
        queues.len() >= 4
    });
    four.is_ok() && queues.len() == 4
}

/// Our own server of one process: both SDKs, an orderly stop in its time, and everything there after the next start.
fn standalone(world: &World) -> Result<(), Failed> {
    let _slot = world.slot();
    let cluster = Cluster::prepare(Plan::of(Kind::Aerobee))?;
    let (java, go) = (world.driver(JAVA)?, world.driver(GO)?);
    let server = cluster.standalone()?;
    for driver in [&java, &go] {
        for scenario in ["send_sync", "groups_each_get_every_message"] {
            driver.perform(
                scenario,
                &cluster,
                &[("prefix", &world.prefix())],
                SCENARIO_LIMIT,
            )?;
        }
    }
    let prefix = world.prefix();
    let topic = format!("{prefix}_kept");
    create(&java, &cluster, &prefix, &topic, "4")?;
    let with = [
        ("prefix", &*prefix),
        ("topic", &topic),
        ("word", "kept"),
        ("count", "500"),
    ];
    let mut ledger = Ledger::default();
    ledger.note(&java.perform("produce", &cluster, &with, SCENARIO_LIMIT)?)?;
    let (status, took) = server.terminate(Duration::from_secs(10))?;
    if !status.success() || took > STOP_LIMIT {
        return Err(format!("SIGTERM: {status} after {took:?}").into());
    }
    let server = cluster.standalone()?;
    ledger.check_read(&java.perform(
        "read",
        &cluster,
        &[("prefix", &prefix), ("topic", &topic)],
        SCENARIO_LIMIT,
    )?)?;
    server.kill()?;
    let server = cluster.standalone()?;
    ledger.check_read(&java.perform(
        "read",
        &cluster,
        &[("prefix", &prefix), ("topic", &topic)],
        SCENARIO_LIMIT,
    )?)?;
    drop(server);
    Ok(())
}
