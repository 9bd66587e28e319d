// SPDX-License-Identifier: Apache-2.0
//! Messages that wait while their directory goes from one broker to the other.

use std::{
    collections::HashSet,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use aerobee_compat_tests::{Cluster, Kind, Plan};
use libtest_mimic::{Failed, Trial};

use crate::world::{JAVA, SCENARIO_LIMIT, World};

/// Small files; and the wheel is written once a second, as by default.
pub(crate) const CONF: [(&str, &str); 3] = [
    ("mappedFileSizeCommitLog", "67108864"),
    ("mappedFileSizeConsumeQueue", "200000"),
    ("timerFlushIntervalMs", "1000"),
];

/// The longest delay of a pending message and the start of a broker.
const PENDING_ARRIVAL: Duration = Duration::from_secs(150);

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        world.trial("store_pending_delays_apache_to_aerobee_and_back", |world| {
            pending(world, world.judged, Cluster::stop_broker)
        }),
        world.trial("store_pending_delays_after_kills", |world| {
            pending(world, world.judged, Cluster::kill_broker)
        }),
    ]
}

/// Messages that wait in one broker come from the next one, each once: from levels and from the wheel, from
/// Apache's to ours and from ours to Apache's.
fn pending(
    world: &World,
    judged: Kind,
    down: fn(&mut Cluster) -> aerobee_compat_tests::Result<()>,
) -> Result<(), Failed> {
    let _slot = world.slot();
    let plan = Plan {
        conf: &CONF,
        ..Plan::of(Kind::Apache)
    };
    let mut cluster = Cluster::start(plan)?;
    let java = world.driver(JAVA)?;
    let prefix = world.prefix();
    let topic = format!("{prefix}_pending");
    let with = [("prefix", &*prefix), ("topic", &topic), ("queues", "2")];
    java.perform("create", &cluster, &with, SCENARIO_LIMIT)?;
    let mut sent: HashSet<Box<str>> = HashSet::new();
    for (round, next) in [judged, Kind::Apache, judged].into_iter().enumerate() {
        for (word, key, value) in [("level", "level", "5"), ("time", "deliver_in_ms", "55000")] {
            let word = format!("{word}{round}x");
            let with = [
                ("prefix", &*prefix),
                ("topic", &topic),
                ("word", &word),
                ("count", "100"),
                (key, value),
            ];
            // The answer names the place where they wait, not the one where they come.
            let steps = java.perform("produce", &cluster, &with, SCENARIO_LIMIT)?;
            let acked = steps.into_iter().filter(|step| &*step.name == "acked");
            sent.extend(acked.map(|step| step.body));
        }
        let total = sent.len();
        if total != (round + 1) * 200 {
            return Err(format!("{total} acknowledged in round {round}").into());
        }
        // Both brokers make durable once a second what the wheel has.
        thread::sleep(Duration::from_secs(3));
        down(&mut cluster)?;
        // Wheel and log of the timer fit each other and the messages, whoever wrote them.
        let (code, said) = cluster.broker.check_store()?;
        if code != Some(0) {
            let kind = cluster.broker.kind;
            return Err(format!("after {kind}: exit code {code:?}, {said:#}").into());
        }
        cluster.broker.kind = next;
        cluster.broker.start()?;
        let deadline = Instant::now() + PENDING_ARRIVAL;
        let with = [("prefix", &*prefix), ("topic", &topic)];
        let read = || java.perform("read", &cluster, &with, SCENARIO_LIMIT);
        while read()?.len() < total && Instant::now() < deadline {
            thread::sleep(Duration::from_secs(1));
        }
        // Time for what would come twice.
        thread::sleep(Duration::from_secs(2));
        let read = read()?;
        let got: HashSet<Box<str>> = read.iter().map(|step| step.body.clone()).collect();
        if read.len() != total || got != sent {
            return Err(format!(
                "{} messages, {} of them different, of {total} from the broker of {next}",
                read.len(),
                got.len()
            )
            .into());
        }
    }
    Ok(())
}
