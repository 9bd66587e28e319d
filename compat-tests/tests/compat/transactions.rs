// SPDX-License-Identifier: Apache-2.0

//! Transactions whose producer, or broker, goes away between the half message and its end.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use aerobee_compat_tests::{Cluster, Driver, Kind, Plan, Running};
use libtest_mimic::{Failed, Trial};

use crate::world::{JAVA, SCENARIO_LIMIT, World};

/// A first check comes with the second, and consumers need a moment.
const ARRIVAL: Duration = Duration::from_secs(90);
const COUNT: &str = "30";
const CONF: [(&str, &str); 4] = [
    ("mappedFileSizeCommitLog", "67108864"),
    ("mappedFileSizeConsumeQueue", "200000"),
    ("transactionCheckInterval", "2000"),
    ("transactionTimeOut", "2000"),
];

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        world.trial("transactions_of_a_killed_producer", producer_killed),
        world.trial("transactions_over_kills_of_the_broker", broker_killed),
        world.trial("transactions_apache_to_aerobee_and_back", |world| {
            and_back(world, Cluster::stop_broker)
        }),
        world.trial(
            "transactions_apache_to_aerobee_and_back_after_kills",
            |world| and_back(world, Cluster::kill_broker),
        ),
    ]
}

/// What one trial needs.
struct Stage {
    cluster: Cluster,
    java: Arc<Driver>,
    prefix: String,
    topic: String,
    producers: String,
}

impl Stage {
    fn new(world: &World, kind: Kind) -> Result<Self, Failed> {
        let plan = Plan {
            conf: &CONF,
            ..Plan::of(kind)
        };
        let cluster = Cluster::start(plan)?;
        let java = world.driver(JAVA)?;
        let prefix = world.prefix();
        let (topic, producers) = (format!("{prefix}_topic"), format!("{prefix}_producers"));
        let with = [("prefix", &*prefix), ("topic", &*topic), ("queues", "2")];
        java.perform("create", &cluster, &with, SCENARIO_LIMIT)?;
        Ok(Self {
            cluster,
            java,
            prefix,
            topic,
            producers,
        })
    }

    /// A producer that leaves `count` transactions open and answers checks with `checks`.
    fn transact(
        &self,
        driver: &Arc<Driver>,
        word: &str,
        count: &str,
        checks: &str,
    ) -> Result<Running, Failed> {
        let with = [
            ("prefix", &*self.prefix),
            ("topic", &self.topic),
            ("group", &self.producers),
            ("word", word),
            ("count", count),
            ("says", "unknown"),
            ("checks", checks),
        ];
        let running = driver.begin("transact", &self.cluster, &with)?;
        running.wait_until(SCENARIO_LIMIT, |step| &*step.name == "started")?;
        Ok(running)
    }

    fn consume(&self) -> Result<Running, Failed> {
        let group = format!("{}_group", self.prefix);
        let with = [
            ("prefix", &*self.prefix),
            ("topic", &self.topic),
            ("group", &group),
        ];
        Ok(self.java.begin("consume", &self.cluster, &with)?)
    }
}

/// Waits until all messages of these words have come to the consumer.
fn await_words(consumer: &Running, words: &[&str]) -> Result<(), Failed> {
    let mut wanted: BTreeSet<String> = bodies(words)?.into_iter().collect();
    consumer
        .wait_until(ARRIVAL, |step| {
            if &*step.name == "got" {
                wanted.remove(&*step.body);
            }
            wanted.is_empty()
        })
        .map_err(|error| format!("{error}; still missing: {wanted:?}").into())
}

/// The topic holds all messages of these words, each once.
fn check_each_once(stage: &Stage, words: &[&str]) -> Result<(), Failed> {
    let with = [("prefix", &*stage.prefix), ("topic", &*stage.topic)];
    let steps = stage
        .java
        .perform("read", &stage.cluster, &with, SCENARIO_LIMIT)?;
    let mut stored: Vec<String> = steps.iter().map(|step| step.body.to_string()).collect();
    stored.sort();
    let mut wanted = bodies(words)?;
    wanted.sort();
    if stored == wanted {
        return Ok(());
    }
    Err(format!(
        "{} messages are stored, wanted are {}: {stored:?}",
        stored.len(),
        wanted.len()
    )
    .into())
}

fn bodies(words: &[&str]) -> Result<Vec<String>, Failed> {
    let count: usize = COUNT.parse()?;
    Ok(words
        .iter()
        .flat_map(|word| (0..count).map(move |number| format!("{word}:{number}")))
        .collect())
}

fn producer_killed(world: &World) -> Result<(), Failed> {
    let _slot = world.slot();
    let stage = Stage::new(world, world.judged)?;
    let doomed = world.own_driver(JAVA)?;
    let consumer = stage.consume()?;
    let left = stage.transact(&doomed, "left", COUNT, "unknown")?;
    doomed.kill()?;
    drop(left);
    let other = stage.transact(&stage.java, "other", "0", "commit")?;
    await_words(&consumer, &["left"])?;
    for running in [other, consumer] {
        running.stop()?;
        running.finish(SCENARIO_LIMIT)?;
    }
    if world.judged == Kind::Apache {
        // Apache asks again about what was committed in the last 3 s, and stores it again.
        return Ok(());
    }
    check_each_once(&stage, &["left"])
}

/// The broker is killed with transactions open, and again right after they were committed.
fn broker_killed(world: &World) -> Result<(), Failed> {
    let _slot = world.slot();
    let mut stage = Stage::new(world, world.judged)?;
    let consumer = stage.consume()?;
    let open = stage.transact(&stage.java, "open", COUNT, "commit")?;
    stage.cluster.kill_broker()?;
    stage.cluster.broker.start()?;
    await_words(&consumer, &["open"])?;
    let more = stage.transact(&stage.java, "more", COUNT, "commit")?;
    await_words(&consumer, &["open", "more"])?;
    stage.cluster.kill_broker()?;
    stage.cluster.broker.start()?;
    // Time for checks of what would wrongly be open.
    std::thread::sleep(Duration::from_secs(8));
    for running in [open, more, consumer] {
        running.stop()?;
        running.finish(SCENARIO_LIMIT)?;
    }
    if world.judged == Kind::Apache {
        return Ok(());
    }
    check_each_once(&stage, &["more", "open"])
}

/// What is open at one broker is ended at the other, on the same directory.
fn and_back(
    world: &World,
    down: fn(&mut Cluster) -> aerobee_compat_tests::Result<()>,
) -> Result<(), Failed> {
    let _slot = world.slot();
    let mut stage = Stage::new(world, Kind::Apache)?;
    let consumer = stage.consume()?;
    let mut words = Vec::new();
    for (word, kind) in [
        ("apache", world.judged),
        ("ours", Kind::Apache),
        ("again", world.judged),
    ] {
        let left = stage.transact(&stage.java, word, COUNT, "unknown")?;
        left.stop()?;
        left.finish(SCENARIO_LIMIT)?;
        down(&mut stage.cluster)?;
        stage.cluster.broker.kind = kind;
        stage.cluster.broker.start()?;
        let other = stage.transact(&stage.java, "none", "0", "commit")?;
        words.push(word);
        await_words(&consumer, &words)?;
        other.stop()?;
        other.finish(SCENARIO_LIMIT)?;
        // The next broker is to find what this one ended noted as such: Apache notes it within 3 s.
        std::thread::sleep(Duration::from_secs(5));
    }
    consumer.stop()?;
    consumer.finish(SCENARIO_LIMIT)?;
    Ok(())
}
