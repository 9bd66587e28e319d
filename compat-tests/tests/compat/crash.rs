// SPDX-License-Identifier: Apache-2.0

//! Servers that are stopped and killed under load: what was acknowledged is there, at its place, for every group.

use std::{
    env,
    sync::Arc,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aerobee_compat_tests::{Cluster, Kind, Plan, Running};
use libtest_mimic::{Failed, Trial};

use crate::{
    ledger::{Ledger, check_orderly},
    world::{GO, JAVA, SCENARIO_LIMIT, World},
};

/// How long clients may need to find a server again.
const BACK: Duration = Duration::from_secs(90);
const CAUGHT_UP: Duration = Duration::from_secs(180);
/// The bound for SIGTERM, for our servers.
const STOP_LIMIT: Duration = Duration::from_secs(3);
/// Acknowledged messages of each SDK between two crashes.
const BETWEEN: usize = 100;

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        world.trial("crash_broker_killed_under_load_loses_nothing", |world| {
            let kills = env::var("AEROBEE_KILLS").map_or(Ok(10), |kills| kills.parse())?;
            under_load(world, kills, |cluster| Ok(cluster.kill_broker()?))
        }),
        world.trial("crash_broker_stopped_under_load_loses_nothing", |world| {
            under_load(world, 3, stop_in_time)
        }),
        world.trial("crash_name_server_away_stops_nobody", name_server_away),
    ]
}

fn stop_in_time(cluster: &mut Cluster) -> Result<(), Failed> {
    let took = cluster.broker.stop()?;
    if cluster.broker.kind == Kind::Aerobee && took > STOP_LIMIT {
        return Err(format!("the broker ended {took:?} after SIGTERM").into());
    }
    Ok(())
}

/// Producers of both SDKs, and a group of each kind of consumer that runs all the while.
struct Load {
    producers: Vec<Running>,
    java: Running,
    go: Running,
    orderly: Running,
    topic: String,
    prefix: String,
}

impl Load {
    fn start(world: &World, cluster: &Cluster) -> Result<Self, Failed> {
        let (java, go) = (world.driver(JAVA)?, world.driver(GO)?);
        let prefix = world.prefix();
        let topic = format!("{prefix}_load");
        java.perform(
            "create",
            cluster,
            &[("prefix", &prefix), ("topic", &topic), ("queues", "4")],
            SCENARIO_LIMIT,
        )?;
        let mut producers = Vec::new();
        for (driver, word) in [(&java, "java"), (&go, "go")] {
            let with = [
                ("prefix", &*prefix),
                ("topic", &topic),
                ("word", word),
                ("threads", "2"),
                ("padding", "500"),
                ("pause_ms", "2"),
            ];
            producers.push(driver.begin("produce", cluster, &with)?);
        }
        let consume = |driver: &Arc<_>, group: &str, orderly: &str| {
            let group = format!("{prefix}_{group}");
            let with = [
                ("prefix", &*prefix),
                ("topic", &topic),
                ("group", &group),
                ("orderly", orderly),
            ];
            aerobee_compat_tests::Driver::begin(driver, "consume", cluster, &with)
        };
        Ok(Self {
            java: consume(&java, "java", "false")?,
            go: consume(&go, "go", "false")?,
            orderly: consume(&java, "orderly", "true")?,
            producers,
            topic,
            prefix,
        })
    }

    /// Waits until each producer has that many more messages acknowledged.
    fn acknowledged(&self, more: usize) -> Result<(), Failed> {
        for producer in &self.producers {
            let mut missing = more;
            producer.wait_until_from(producer.count(), BACK, |step| {
                missing -= usize::from(&*step.name == "acked").min(missing);
                missing == 0
            })?;
        }
        Ok(())
    }

    /// Ends the load and holds everything against what was acknowledged.
    fn check(self, world: &World, cluster: &Cluster) -> Result<(), Failed> {
        let mut ledger = Ledger::default();
        for producer in self.producers {
            producer.stop()?;
            ledger.note(&producer.finish(SCENARIO_LIMIT)?)?;
        }
        let java = world.driver(JAVA)?;
        let with = [("prefix", &*self.prefix), ("topic", &self.topic)];
        ledger.check_read(&java.perform("read", cluster, &with, SCENARIO_LIMIT)?)?;
        for (consumer, what) in [
            (&self.java, "group of Java"),
            (&self.go, "group of Go"),
            (&self.orderly, "orderly group"),
        ] {
            ledger.await_all(consumer, what, CAUGHT_UP)?;
            consumer.stop()?;
        }
        self.java.finish(SCENARIO_LIMIT)?;
        self.go.finish(SCENARIO_LIMIT)?;
        check_orderly(&self.orderly.finish(SCENARIO_LIMIT)?)?;
        // A group that comes only now finds the same.
        let group = format!("{}_late", self.prefix);
        let late = [
            ("prefix", &*self.prefix),
            ("topic", &self.topic),
            ("group", &group),
        ];
        let late = world.driver(GO)?.begin("consume", cluster, &late)?;
        ledger.await_all(&late, "late group", CAUGHT_UP)?;
        late.stop()?;
        late.finish(SCENARIO_LIMIT)?;
        Ok(())
    }
}

fn under_load(
    world: &World,
    crashes: usize,
    crash: impl Fn(&mut Cluster) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let _slot = world.slot();
    let mut cluster = Cluster::start(Plan::of(world.judged))?;
    let load = Load::start(world, &cluster)?;
    let mut moment = Moments::new();
    for number in 0..crashes {
        load.acknowledged(BETWEEN)
            .map_err(|failed| told(&failed, &format!("before crash {number} of {crashes}")))?;
        // At any moment of a send, a flush or a file's end.
        thread::sleep(moment.next());
        crash(&mut cluster)?;
        cluster.broker.start()?;
    }
    load.acknowledged(BETWEEN)
        .map_err(|failed| told(&failed, "after the last crash"))?;
    load.check(world, &cluster)
}

fn told(failed: &Failed, at: &str) -> Failed {
    format!("{at}: {}", failed.message().unwrap_or_default()).into()
}

fn name_server_away(world: &World) -> Result<(), Failed> {
    let _slot = world.slot();
    let mut cluster = Cluster::start(Plan::of(world.judged))?;
    let load = Load::start(world, &cluster)?;
    load.acknowledged(BETWEEN)?;
    cluster.namesrv.kill()?;
    load.acknowledged(BETWEEN)
        .map_err(|failed| told(&failed, "without a name server"))?;
    cluster.namesrv.start()?;
    cluster.await_broker()?;
    load.acknowledged(BETWEEN)?;
    cluster.namesrv.stop()?;
    cluster.namesrv.start()?;
    cluster.await_broker()?;
    load.check(world, &cluster)
}

/// Moments of less than half a second, other ones in each run.
struct Moments(u64);

impl Moments {
    fn new() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self(since.subsec_nanos().into())
    }

    fn next(&mut self) -> Duration {
        // A step of a linear congruential generator; its high bits are random enough.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        Duration::from_micros((self.0 >> 33) % 500_000)
    }
}
