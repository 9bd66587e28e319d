// SPDX-License-Identifier: Apache-2.0

//! Messages between the remoting SDKs of version 4 and the gRPC SDKs of version 5, of any two languages: body, tag, keys
//! and property come as they were sent, and the order of a FIFO topic holds. And a proxy that ends between them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    thread,
    time::Duration,
};

use aerobee_compat_tests::{Cluster, Kind, Plan, Running, Sdk, Step};
use libtest_mimic::{Failed, Trial};

use crate::{
    grpc::prepare,
    world::{GO, JAVA, NODE, PYTHON, SCENARIO_LIMIT, World},
};

const ARRIVAL: Duration = Duration::from_secs(120);
const COUNT: usize = 20;
/// A proxy waits for calls that are under way before it ends.
const PROXY_STOP: Duration = Duration::from_secs(60);
/// Within this the SDK for Java has its telemetry stream again.
const RENEWAL: Duration = Duration::from_secs(4);

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    let mut trials = Vec::new();
    // Each sends once and receives once, and the types of messages go round.
    for (from, to, kind) in [
        (GO, PYTHON, "normal"),
        (PYTHON, NODE, "fifo"),
        (NODE, GO, "delay"),
        (GO, NODE, "fifo"),
        (NODE, PYTHON, "normal"),
        (PYTHON, GO, "delay"),
    ] {
        let name = format!("cross_grpc_{kind}_{from}_to_{to}");
        trials.push(world.scenario(name, move |world| between(world, from, to, kind)));
    }
    for grpc in [GO, PYTHON, NODE] {
        trials.push(world.scenario(
            format!("cross_grpc_remoting_java_to_{grpc}"),
            move |world| from_remoting(world, grpc),
        ));
        trials.push(world.scenario(
            format!("cross_grpc_{grpc}_to_remoting_java"),
            move |world| to_remoting(world, grpc),
        ));
    }
    trials.push(world.trial("grpc_java_outlives_a_proxy_that_ends", outlive));
    trials
}

/// A proxy ends under a consumer, tells it to connect elsewhere, and comes back: the consumer goes on by itself.
fn outlive(world: &World) -> Result<(), Failed> {
    let _slot = world.slot();
    let cluster = Cluster::start(Plan::of(Kind::Aerobee))?;
    let proxy = cluster.proxy(Kind::Aerobee)?;
    let (java, sender, prefix) = (world.driver(JAVA)?, world.driver(GO)?, world.prefix());
    prepare(&cluster, &prefix)?;
    let (topic, group) = (format!("{prefix}_normal"), format!("{prefix}_group"));
    let consumer = java.begin("grpc_consume", &cluster, &consuming(&topic, &group))?;
    let produce = |word: &str| -> Result<(), Failed> {
        let with = [
            ("topic", &*topic),
            ("word", word),
            ("count", "20"),
            ("ssl", "true"),
        ];
        sender.perform("grpc_produce", &cluster, &with, SCENARIO_LIMIT)?;
        Ok(())
    };
    produce("before")?;
    collect(&consumer, "message")?;
    let (status, _) = proxy.terminate(PROXY_STOP)?;
    if !status.success() {
        return Err(format!("the proxy ended with {status}").into());
    }
    let _proxy = cluster.proxy(Kind::Aerobee)?;
    produce("after")?;
    let mut after = BTreeSet::new();
    consumer.wait_until(ARRIVAL, |step| {
        if &*step.name == "message" && step.body.starts_with("after:") {
            after.insert(step.body.to_string());
        }
        after.len() >= COUNT
    })?;
    // The SDK opens its telemetry stream again a second after it broke. Closed in between it never ends.
    thread::sleep(RENEWAL);
    consumer.stop()?;
    consumer.finish(SCENARIO_LIMIT)?;
    Ok(())
}

fn between(world: &World, from: Sdk, to: Sdk, kind: &str) -> Result<(), Failed> {
    let cluster = world.proxied(world.judged)?;
    let (sender, receiver) = (world.driver(from)?, world.driver(to)?);
    let prefix = world.prefix();
    prepare(&cluster, &prefix)?;
    let topic = format!("{prefix}_{kind}");
    let group = format!(
        "{prefix}_{}",
        if kind == "fifo" {
            "fifo_group"
        } else {
            "group"
        }
    );
    let with = [
        ("topic", &*topic),
        ("group", &group),
        ("word", "cross"),
        ("count", "20"),
        ("type", kind),
        // Go speaks TLS in this process, the others as told.
        ("ssl", "true"),
    ];
    let consumer = receiver.begin("grpc_consume", &cluster, &with)?;
    let said = sender.perform("grpc_produce", &cluster, &with, SCENARIO_LIMIT)?;
    let sent: BTreeMap<String, String> = texts(&said, "sent", &["body", "msg"])
        .into_iter()
        .map(|mut parts| (parts.remove(0), parts.remove(0)))
        .collect();
    if sent.len() != COUNT {
        return Err(format!("{} of {COUNT} sent", sent.len()).into());
    }
    let got = collect(&consumer, "message")?;
    consumer.stop()?;
    consumer.finish(SCENARIO_LIMIT)?;
    let mut order = Vec::new();
    for parts in texts(&got, "message", &["body", "tag", "keys", "from", "msg"]) {
        let [body, tag, keys, property, id] = &parts[..] else {
            return Err(format!("a line of another form: {parts:?}").into());
        };
        check(body, tag, keys)?;
        if property != "cross" || sent.get(body) != Some(id) {
            return Err(format!("{parts:?} was sent with the id {:?}", sent.get(body)).into());
        }
        order.push(body.clone());
    }
    let in_order: Vec<String> = (0..COUNT).map(|i| format!("cross:{i}")).collect();
    if kind == "fifo" && order != in_order {
        return Err(format!("the order is {order:?}").into());
    }
    Ok(())
}

/// The tag and the keys that belong to a body.
fn check(body: &str, tag: &str, keys: &str) -> Result<(), Failed> {
    let number: usize = body
        .strip_prefix("cross:")
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| format!("a strange body: {body}"))?;
    let expected = BTreeSet::from([format!("cross{number}"), "all".to_owned()]);
    let keys: BTreeSet<String> = keys.split(' ').map(str::to_owned).collect();
    if tag != ["even", "odd"][number % 2] || keys != expected {
        return Err(format!("{body} has the tag {tag} and the keys {keys:?}").into());
    }
    Ok(())
}

/// What the remoting SDK sends, large enough to be compressed, in the hands of a gRPC consumer.
fn from_remoting(world: &World, grpc: Sdk) -> Result<(), Failed> {
    let (cluster, prefix) = (world.proxied(world.judged)?, world.prefix());
    prepare(&cluster, &prefix)?;
    let (java, receiver) = (world.driver(JAVA)?, world.driver(grpc)?);
    let (topic, group) = (format!("{prefix}_normal"), format!("{prefix}_group"));
    let consumer = receiver.begin("grpc_consume", &cluster, &consuming(&topic, &group))?;
    let with = [
        ("prefix", &*prefix),
        ("topic", &topic),
        ("word", "cross"),
        ("count", "20"),
        ("padding", "5000"),
    ];
    let said = java.perform("produce", &cluster, &with, SCENARIO_LIMIT)?;
    let sent: BTreeSet<String> = said
        .iter()
        .filter(|step| &*step.name == "acked")
        .map(|step| step.body.to_string())
        .collect();
    let got = collect(&consumer, "message")?;
    consumer.stop()?;
    consumer.finish(SCENARIO_LIMIT)?;
    let got: BTreeSet<String> = texts(&got, "message", &["body"])
        .into_iter()
        .flatten()
        .map(|body| body.trim_end().to_owned())
        .collect();
    same(&sent, &got)
}

fn to_remoting(world: &World, grpc: Sdk) -> Result<(), Failed> {
    let (cluster, prefix) = (world.proxied(world.judged)?, world.prefix());
    prepare(&cluster, &prefix)?;
    let (java, sender) = (world.driver(JAVA)?, world.driver(grpc)?);
    let (topic, group) = (format!("{prefix}_normal"), format!("{prefix}_group2"));
    let with = [("prefix", &*prefix), ("topic", &topic), ("group", &group)];
    let consumer = java.begin("consume", &cluster, &with)?;
    let with = [
        ("topic", &*topic),
        ("word", "cross"),
        ("count", "20"),
        ("ssl", "true"),
    ];
    let said = sender.perform("grpc_produce", &cluster, &with, SCENARIO_LIMIT)?;
    let sent = texts(&said, "sent", &["body"])
        .into_iter()
        .flatten()
        .collect();
    let mut got = BTreeSet::new();
    consumer.wait_until(ARRIVAL, |step| {
        if &*step.name == "got" {
            got.insert(step.body.to_string());
        }
        got.len() >= COUNT
    })?;
    consumer.stop()?;
    consumer.finish(SCENARIO_LIMIT)?;
    same(&sent, &got)
}

fn consuming<'a>(topic: &'a str, group: &'a str) -> [(&'a str, &'a str); 3] {
    [("topic", topic), ("group", group), ("ssl", "true")]
}

fn same(sent: &BTreeSet<String>, got: &BTreeSet<String>) -> Result<(), Failed> {
    if sent.len() == COUNT && sent == got {
        return Ok(());
    }
    Err(format!("sent were {sent:?}, got were {got:?}").into())
}

/// Waits for as many messages as are sent, each counted once.
fn collect(consumer: &Running, name: &str) -> Result<Vec<Step>, Failed> {
    let (mut bodies, mut got) = (BTreeSet::new(), Vec::new());
    consumer.wait_until(ARRIVAL, |step| {
        if &*step.name == name && bodies.insert(step.body.to_string()) {
            got.push(step.clone());
        }
        got.len() >= COUNT
    })?;
    Ok(got)
}

/// Those properties of each line of that name.
fn texts(steps: &[Step], name: &str, keys: &[&str]) -> Vec<Vec<String>> {
    steps
        .iter()
        .filter(|step| &*step.name == name)
        .map(|step| keys.iter().map(|key| step.text(key)).collect())
        .collect()
}
