// SPDX-License-Identifier: Apache-2.0

//! One store directory, written by Apache's broker, then by ours, then by Apache's again.

use std::{collections::HashSet, sync::Arc, time::Duration};

use aerobee_compat_tests::{Cluster, Driver, Kind, Plan};
use libtest_mimic::{Failed, Trial};

use crate::{
    ledger::Ledger,
    world::{GO, JAVA, SCENARIO_LIMIT, World},
};

const TOPICS: usize = 3;
const ARRIVAL: Duration = Duration::from_secs(60);
/// Several commit log files from a few megabytes, several files of a queue of batches from a few dozen.
pub(crate) const CONF: [(&str, &str); 2] = [
    ("mappedFileSizeCommitLog", "1048576"),
    ("mapperFileSizeBatchConsumeQueue", "460"),
];
/// The log on several disks, of which one is to be emptied: it is read, and gets nothing.
const SEVERAL_PATHS: [(&str, &str); 2] = [
    (
        "storePathCommitLog",
        "{store}/one,{store}/two,{store}/three",
    ),
    ("readOnlyCommitLogStorePaths", "{store}/emptied"),
];

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        world.trial("store_apache_to_aerobee_and_back", |world| {
            and_back(world, Cluster::stop_broker, true, &CONF)
        }),
        world.trial("store_apache_to_aerobee_and_back_after_kills", |world| {
            and_back(world, Cluster::kill_broker, false, &CONF)
        }),
        world.trial("store_several_paths_and_back", |world| {
            and_back(
                world,
                Cluster::stop_broker,
                true,
                &[CONF, SEVERAL_PATHS].concat(),
            )
        }),
        world.trial("store_several_paths_and_back_after_kills", |world| {
            and_back(
                world,
                Cluster::kill_broker,
                false,
                &[CONF, SEVERAL_PATHS].concat(),
            )
        }),
        world.trial("store_every_form_of_message_and_back", |world| {
            every_form(world, Cluster::stop_broker, true, "SimpleCQ")
        }),
        world.trial(
            "store_every_form_of_message_and_back_after_kills",
            |world| {
                // What a group has committed is written every few seconds only.
                every_form(world, Cluster::kill_broker, false, "SimpleCQ")
            },
        ),
        world.trial("store_batches_that_stay_whole_and_back", |world| {
            every_form(world, Cluster::stop_broker, true, "BatchCQ")
        }),
        world.trial(
            "store_batches_that_stay_whole_and_back_after_kills",
            |world| every_form(world, Cluster::kill_broker, false, "BatchCQ"),
        ),
        world.trial("store_long_addresses_and_back", |world| {
            // Clients reach the broker by its IPv6 address, so that both hosts of a message are such.
            let conf = [&CONF[..], &[("brokerIP1", "::1"), ("bindAddress", "::")]].concat();
            every_form_as(world, Cluster::kill_broker, false, "SimpleCQ", &conf)
        }),
        world.trial("store_deleted_heads_and_empty_files", deleted_heads),
    ]
}

/// All that a client sees of a topic, and of a group in it.
pub(crate) fn look(
    java: &Arc<Driver>,
    cluster: &Cluster,
    topic: &str,
    group: &str,
) -> Result<Vec<String>, Failed> {
    let with = [("prefix", "look"), ("topic", topic), ("group", group)];
    let steps = java.perform("look", cluster, &with, SCENARIO_LIMIT)?;
    let seen = steps.iter().filter(|step| &*step.name == "seen");
    Ok(seen.map(|step| step.text("what")).collect())
}

pub(crate) fn same(before: &[String], after: &[String], kind: Kind) -> Result<(), Failed> {
    if before == after {
        return Ok(());
    }
    let differs = before
        .iter()
        .zip(after)
        .find(|(before, after)| before != after);
    Err(format!(
        "{} lines before, {} seen through the broker of {kind}; first difference: {differs:?}",
        before.len(),
        after.len()
    )
    .into())
}

fn every_form(
    world: &World,
    down: fn(&mut Cluster) -> aerobee_compat_tests::Result<()>,
    with_group: bool,
    queue_type: &str,
) -> Result<(), Failed> {
    every_form_as(world, down, with_group, queue_type, &CONF)
}

/// As [`every_form`], with these lines in both configurations.
fn every_form_as(
    world: &World,
    down: fn(&mut Cluster) -> aerobee_compat_tests::Result<()>,
    with_group: bool,
    queue_type: &str,
    conf: &[(&str, &str)],
) -> Result<(), Failed> {
    let _slot = world.slot();
    let mut cluster = Cluster::start(Plan {
        conf,
        ..Plan::of(Kind::Apache)
    })?;
    let java = world.driver(JAVA)?;
    let prefix = world.prefix();
    let topic = format!("{prefix}_forms");
    let fill = |cluster: &Cluster, word: &str| -> Result<(), Failed> {
        let with = [
            ("prefix", &*prefix),
            ("topic", &topic),
            ("word", word),
            ("rounds", "15"),
        ];
        java.perform("fill", cluster, &with, SCENARIO_LIMIT)?;
        Ok(())
    };
    let mut consumed = Topic::new(&prefix, 9);
    let group = if with_group {
        format!("{}_group", consumed.name)
    } else {
        String::new()
    };
    // Once: the kind of a topic's queues cannot be set again.
    for name in [&topic, &consumed.name] {
        let with = [
            ("prefix", &*prefix),
            ("topic", name),
            ("queues", "4"),
            ("queue_type", queue_type),
        ];
        java.perform("create", &cluster, &with, SCENARIO_LIMIT)?;
    }
    let advance = |consumed: &mut Topic, cluster: &Cluster| -> Result<(), Failed> {
        let word = format!("part{}x", consumed.rounds);
        consumed.produce(&java, cluster, &word, "600")?;
        consumed.consume(&java, cluster)
    };
    for (number, kind) in [world.judged, Kind::Apache, world.judged, Kind::Apache]
        .into_iter()
        .enumerate()
    {
        fill(&cluster, &format!("round{number}x"))?;
        advance(&mut consumed, &cluster)?;
        let forms = look(&java, &cluster, &topic, "")?;
        // The messages of a record that is a batch have its position in the log, which their identifiers tell.
        let mut records = HashSet::new();
        let mut ids = forms.iter().filter_map(|line| line.split('|').nth(2));
        let has_batches = !ids.all(|id| records.insert(id));
        if has_batches != (queue_type == "BatchCQ") {
            return Err(format!("batches stay whole in {queue_type}: {has_batches}").into());
        }
        let place = look(&java, &cluster, &consumed.name, &group)?;
        down(&mut cluster)?;
        cluster.broker.kind = kind;
        cluster.broker.start()?;
        same(&forms, &look(&java, &cluster, &topic, "")?, kind)?;
        let after = look(&java, &cluster, &consumed.name, &group)?;
        same(&place, &after, kind)?;
    }
    Ok(())
}

/// The first files of the log are gone, and a start that was cut short has left an empty one behind the last.
fn deleted_heads(world: &World) -> Result<(), Failed> {
    let _slot = world.slot();
    let mut cluster = Cluster::start(Plan {
        conf: &CONF,
        ..Plan::of(Kind::Apache)
    })?;
    let java = world.driver(JAVA)?;
    let mut topic = Topic::new(&world.prefix(), 0);
    let with = [
        ("prefix", &*topic.prefix),
        ("topic", &topic.name),
        ("queues", "4"),
    ];
    java.perform("create", &cluster, &with, SCENARIO_LIMIT)?;
    topic.produce(&java, &cluster, "head", "2500")?;
    let log = cluster.broker.dir().join("store/commitlog");
    for first in [world.judged, Kind::Apache, world.judged] {
        cluster.stop_broker()?;
        let mut files: Vec<_> = std::fs::read_dir(&log)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        files.sort();
        let (Some(head), Some(last)) = (files.first(), files.last()) else {
            return Err("no files of the log".into());
        };
        let base: u64 = last
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default()
            .parse()?;
        std::fs::write(log.join(format!("{:020}", base + (1 << 20))), b"")?;
        std::fs::remove_file(head)?;
        cluster.broker.kind = first;
        cluster.broker.start()?;
        let seen = look(&java, &cluster, &topic.name, "")?;
        if seen.len() < 100 {
            return Err(format!("only {} lines are left", seen.len()).into());
        }
        cluster.stop_broker()?;
        let second = if first == Kind::Apache {
            world.judged
        } else {
            Kind::Apache
        };
        cluster.broker.kind = second;
        cluster.broker.start()?;
        same(&seen, &look(&java, &cluster, &topic.name, "")?, second)?;
        topic.fresh = Ledger::default();
        topic.produce(&java, &cluster, &format!("more{}x", topic.rounds), "300")?;
    }
    Ok(())
}

/// `apache_finds`: Apache's broker finds messages by key that it knew before; after a kill it forgets what its newest index
/// file has, and ours does not.
fn and_back(
    world: &World,
    down: fn(&mut Cluster) -> aerobee_compat_tests::Result<()>,
    apache_finds: bool,
    conf: &[(&str, &str)],
) -> Result<(), Failed> {
    // A log file of 1 MiB has no room for the largest messages; nothing here sends them.
    let _slot = world.slot();
    let mut cluster = Cluster::start(Plan {
        conf,
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
