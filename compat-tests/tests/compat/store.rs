// SPDX-License-Identifier: Apache-2.0

//! One store directory, written by Apache's broker, then by ours, then by Apache's again.

use std::{sync::Arc, time::Duration};

use aerobee_compat_tests::{Cluster, Driver, Kind, Plan};
use libtest_mimic::{Failed, Trial};

use crate::{
    ledger::Ledger,
    world::{GO, JAVA, SCENARIO_LIMIT, World},
};

const TOPICS: usize = 3;
const ARRIVAL: Duration = Duration::from_secs(60);
/// Several commit log files from a few megabytes.
const CONF: [(&str, &str); 1] = [("mappedFileSizeCommitLog", "1048576")];

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        world.trial("store_apache_to_aerobee_and_back", |world| {
            and_back(world, Cluster::stop_broker, true)
        }),
        world.trial("store_apache_to_aerobee_and_back_after_kills", |world| {
            and_back(world, Cluster::kill_broker, false)
        }),
    ]
}

/// `apache_finds`: Apache's broker finds messages by key that it knew before; after a kill it forgets what its newest index
/// file has, and ours does not.
fn and_back(
    world: &World,
    down: fn(&mut Cluster) -> aerobee_compat_tests::Result<()>,
    apache_finds: bool,
) -> Result<(), Failed> {
    // A log file of 1 MiB has no room for the largest messages; nothing here sends them.
    let _slot = world.slot();
    let mut cluster = Cluster::start(Plan {
        conf: &CONF,
        ..Plan::of(Kind::Apache)
    })?;
    let java = world.driver(JAVA)?;
    let prefix = world.prefix();
    let mut topics: Vec<Topic> = (0..TOPICS)
        .map(|number| Topic::new(&prefix, number))
        .collect();
    for topic in &mut topics {
        let with = [
            ("prefix", &*prefix),
            ("topic", &topic.name),
            ("queues", "4"),
        ];
        java.perform("create", &cluster, &with, SCENARIO_LIMIT)?;
        topic.produce(&java, &cluster, "first", "500")?;
        topic.consume(&java, &cluster)?;
    }
    for kind in [world.judged, Kind::Apache, world.judged] {
        down(&mut cluster)?;
        check_directory(&cluster, &topics)?;
        cluster.broker.kind = kind;
        cluster.broker.start()?;
        for topic in &mut topics {
            topic.check(&java, &cluster)?;
            topic.produce(&java, &cluster, &format!("more{}x", topic.rounds), "200")?;
            topic.check(&java, &cluster)?;
            if apache_finds || kind == world.judged {
                topic.query(&java, &cluster)?;
            }
            // The group goes on behind what it had consumed from the broker before.
            topic.consume(&java, &cluster)?;
        }
        world.driver(GO)?.perform(
            "groups_each_get_every_message",
            &cluster,
            &[("prefix", &world.prefix())],
            SCENARIO_LIMIT,
        )?;
    }
    Ok(())
}

/// Our check finds nothing wrong with what either broker left behind, however it ended.
fn check_directory(cluster: &Cluster, topics: &[Topic]) -> Result<(), Failed> {
    let (code, said) = cluster.broker.check_store()?;
    let stored = said["messages"].as_u64().unwrap_or(0);
    let sent: usize = topics.iter().map(|topic| topic.ledger.len()).sum();
    let writer = said["writer"].as_str().unwrap_or_default();
    let is_ours = writer == "aerobee";
    if code != Some(0)
        || said["clean"] != true
        || stored < sent as u64
        || is_ours != (cluster.broker.kind == Kind::Aerobee)
        || said["start"].to_string().contains("refuse")
    {
        return Err(format!(
            "after {}: exit code {code:?}, {said:#}",
            cluster.broker.kind
        )
        .into());
    }
    Ok(())
}

struct Topic {
    name: String,
    prefix: String,
    ledger: Ledger,
    /// What the group has not consumed yet.
    fresh: Ledger,
    rounds: usize,
    /// What keys start with.
    words: Vec<String>,
}

impl Topic {
    fn new(prefix: &str, number: usize) -> Self {
        let name = format!("{prefix}_store{number}");
        Self {
            name,
            prefix: prefix.to_owned(),
            ledger: Ledger::default(),
            fresh: Ledger::default(),
            rounds: 0,
            words: Vec::new(),
        }
    }

    fn produce(
        &mut self,
        java: &Arc<Driver>,
        cluster: &Cluster,
        word: &str,
        count: &str,
    ) -> Result<(), Failed> {
        let with = [
            ("prefix", &*self.prefix),
            ("topic", &self.name),
            ("word", word),
            ("count", count),
            ("padding", "2000"),
        ];
        let steps = java.perform("produce", cluster, &with, SCENARIO_LIMIT)?;
        self.rounds += 1;
        self.words.push(word.to_owned());
        self.ledger.note(&steps)?;
        self.fresh.note(&steps)?;
        if self.fresh.len().to_string() == count {
            return Ok(());
        }
        let failed: Vec<_> = steps
            .iter()
            .filter(|step| &*step.name != "acked")
            .map(|step| step.text("error"))
            .collect();
        Err(format!("{} of {count} acknowledged: {failed:?}", self.fresh.len()).into())
    }

    fn check(&self, java: &Arc<Driver>, cluster: &Cluster) -> Result<(), Failed> {
        let with = [("prefix", &*self.prefix), ("topic", &self.name)];
        let read = java.perform("read", cluster, &with, SCENARIO_LIMIT)?;
        if read.len() != self.ledger.len() {
            return Err(format!(
                "{} of {} messages in {}",
                read.len(),
                self.ledger.len(),
                self.name
            )
            .into());
        }
        self.ledger.check_read(&read)
    }

    /// Looks messages up by key, those of earlier brokers too.
    fn query(&self, java: &Arc<Driver>, cluster: &Cluster) -> Result<(), Failed> {
        let words = self.words.join(",");
        let with = [
            ("prefix", &*self.prefix),
            ("topic", &self.name),
            ("words", &words),
        ];
        java.perform("query", cluster, &with, SCENARIO_LIMIT)?;
        Ok(())
    }

    fn consume(&mut self, java: &Arc<Driver>, cluster: &Cluster) -> Result<(), Failed> {
        let group = format!("{}_group", self.name);
        let with = [
            ("prefix", &*self.prefix),
            ("topic", &self.name),
            ("group", &group),
        ];
        let consumer = java.begin("consume", cluster, &with)?;
        self.fresh.await_all(&consumer, &self.name, ARRIVAL)?;
        consumer.stop()?;
        consumer.finish(SCENARIO_LIMIT)?;
        self.fresh = Ledger::default();
        Ok(())
    }
}
