// SPDX-License-Identifier: Apache-2.0

//! One store directory with very many queues, written by Apache's broker and by ours in turns.

use std::{fs, path::Path, sync::Arc};

use aerobee_compat_tests::{Cluster, Driver, Kind, Plan, Step};
use libtest_mimic::{Failed, Trial};

use crate::{
    ledger::Ledger,
    store::{look, same},
    world::{JAVA, SCENARIO_LIMIT, World},
};

/// Changed queues whose files our broker still writes at its end; of more it leaves them to the next start.
const WRITTEN_AT_END: usize = 4096;
/// Together more queues than that.
const TOPICS: usize = 5;
const QUEUES_OF_A_TOPIC: usize = 1000;
/// An hour between two times that our broker writes what queues have got: what a fill changes is unwritten when the
/// broker ends right after it, however slow the machine is.
const SELDOM_WRITTEN: [(&str, &str); 2] = [
    ("mappedFileSizeConsumeQueue", "20000"),
    ("flushIntervalConsumeQueue", "3600000"),
];

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        world.trial("store_a_thousand_queues_and_back", |world| {
            filled_queues(world, "1000")
        }),
        world.trial("store_one_queue_and_back", |world| {
            filled_queues(world, "1")
        }),
        world.trial("store_early_end_with_unwritten_queues_and_back", |world| {
            unwritten_queues(world, Cluster::stop_broker)
        }),
        world.trial("store_unwritten_queues_after_kills_and_back", |world| {
            unwritten_queues(world, Cluster::kill_broker)
        }),
    ]
}

/// One message in each queue from each broker.
fn filled_queues(world: &World, queues: &str) -> Result<(), Failed> {
    let _slot = world.slot();
    let conf = [("mappedFileSizeConsumeQueue", "20000")];
    let mut cluster = Cluster::start(Plan {
        conf: &conf,
        ..Plan::of(Kind::Apache)
    })?;
    let java = world.driver(JAVA)?;
    let prefix = world.prefix();
    let topic = format!("{prefix}_many");
    for (number, kind) in [world.judged, Kind::Apache, world.judged]
        .into_iter()
        .enumerate()
    {
        let word = format!("word{number}");
        let with = [
            ("prefix", &*prefix),
            ("topic", &topic),
            ("queues", queues),
            ("word", &word),
        ];
        if number == 0 {
            java.perform("create", &cluster, &with, SCENARIO_LIMIT)?;
        }
        java.perform("fill_queues", &cluster, &with, SCENARIO_LIMIT)?;
        let before = look(&java, &cluster, &topic, "")?;
        if number % 2 == 0 {
            cluster.stop_broker()?;
        } else {
            cluster.kill_broker()?;
        }
        cluster.broker.kind = kind;
        cluster.broker.start()?;
        same(&before, &look(&java, &cluster, &topic, "")?, kind)?;
    }
    Ok(())
}

/// Our broker goes while the files of most queues lack what came last, or are not there: by an orderly end that does
/// not wait for them, or by a kill. Apache's broker reads from the log what they lack, and ours goes on behind it.
fn unwritten_queues(
    world: &World,
    down: fn(&mut Cluster) -> aerobee_compat_tests::Result<()>,
) -> Result<(), Failed> {
    let _slot = world.slot();
    let mut cluster = Cluster::start(Plan {
        conf: &SELDOM_WRITTEN,
        ..Plan::of(world.judged)
    })?;
    let mut topics = Topics::create(world, &cluster)?;
    // The first time there are no files; the second time there are files of before.
    for round in 0..2 {
        topics.fill(&cluster, &format!("first{round}x"))?;
        down(&mut cluster)?;
        if cluster.broker.kind == Kind::Aerobee {
            let missing = if round == 0 { WRITTEN_AT_END } else { 0 };
            check_unwritten(&cluster, missing)?;
        }
        cluster.broker.kind = Kind::Apache;
        cluster.broker.start()?;
        topics.check(&cluster)?;
        topics.fill(&cluster, &format!("second{round}x"))?;
        let seen = topics.look(&cluster)?;
        if round == 0 {
            cluster.stop_broker()?;
        } else {
            cluster.kill_broker()?;
        }
        cluster.broker.kind = world.judged;
        cluster.broker.start()?;
        same(&seen, &topics.look(&cluster)?, world.judged)?;
        topics.check(&cluster)?;
    }
    Ok(())
}

/// The file by which Apache's broker knows that it has to read the log is there, and more than that many queues have no
/// files.
fn check_unwritten(cluster: &Cluster, missing: usize) -> Result<(), Failed> {
    let store = cluster.broker.dir().join("store");
    if !store.join("abort").exists() {
        return Err("our broker has written all queues at its end".into());
    }
    let all = TOPICS * QUEUES_OF_A_TOPIC;
    let there = queues_on_disk(&store.join("consumequeue"))?;
    if missing > 0 && there + missing > all {
        return Err(format!("{there} of {all} queues have files").into());
    }
    Ok(())
}

fn queues_on_disk(root: &Path) -> Result<usize, Failed> {
    let mut count = 0;
    for topic in fs::read_dir(root)? {
        count += fs::read_dir(topic?.path())?.count();
    }
    Ok(count)
}

/// The topics of a trial, and what was acknowledged in each.
struct Topics {
    java: Arc<Driver>,
    prefix: String,
    ledgers: Vec<(String, Ledger)>,
}

impl Topics {
    fn create(world: &World, cluster: &Cluster) -> Result<Self, Failed> {
        let prefix = world.prefix();
        let ledgers = (0..TOPICS)
            .map(|number| (format!("{prefix}_many{number}"), Ledger::default()))
            .collect();
        let topics = Self {
            java: world.driver(JAVA)?,
            prefix,
            ledgers,
        };
        let queues = QUEUES_OF_A_TOPIC.to_string();
        topics.each("create", cluster, &[("queues", &queues)])?;
        Ok(topics)
    }

    /// The steps of a part that is performed for every topic at once.
    fn each(
        &self,
        part: &str,
        cluster: &Cluster,
        more: &[(&str, &str)],
    ) -> Result<Vec<Vec<Step>>, Failed> {
        let mut running = Vec::new();
        for (topic, _) in &self.ledgers {
            let with = [&[("prefix", &*self.prefix), ("topic", topic)][..], more].concat();
            running.push(self.java.begin(part, cluster, &with)?);
        }
        let steps = running
            .into_iter()
            .map(|part| Ok(part.finish(SCENARIO_LIMIT)?));
        steps.collect()
    }

    /// One message more in each queue.
    fn fill(&mut self, cluster: &Cluster, word: &str) -> Result<(), Failed> {
        let filled = self.each("fill_queues", cluster, &[("word", word)])?;
        for ((topic, ledger), steps) in self.ledgers.iter_mut().zip(filled) {
            let before = ledger.len();
            ledger.note(&steps)?;
            let fresh = ledger.len() - before;
            if fresh != QUEUES_OF_A_TOPIC {
                return Err(format!("{fresh} messages acknowledged in {topic}").into());
            }
        }
        Ok(())
    }

    /// Everything acknowledged is at its place, and nothing else is there.
    fn check(&self, cluster: &Cluster) -> Result<(), Failed> {
        let read = self.each("read", cluster, &[])?;
        for ((topic, ledger), read) in self.ledgers.iter().zip(read) {
            if read.len() != ledger.len() {
                let (there, sent) = (read.len(), ledger.len());
                return Err(format!("{there} of {sent} messages in {topic}").into());
            }
            ledger.check_read(&read)?;
        }
        Ok(())
    }

    fn look(&self, cluster: &Cluster) -> Result<Vec<String>, Failed> {
        let mut seen = Vec::new();
        for (topic, _) in &self.ledgers {
            seen.extend(look(&self.java, cluster, topic, "")?);
        }
        Ok(seen)
    }
}
