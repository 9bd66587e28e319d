// SPDX-License-Identifier: Apache-2.0

//! Apache's mqadmin and ours, for the same command lines against the same servers.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use aerobee_compat_tests::{ApacheAdmin, Cluster, Kind, Outcome, Plan, doctor, our_admin};
use libtest_mimic::{Failed, Trial};
use tempfile::TempDir;

use crate::{pending, world::World};

/// How long a change may take to be known.
const PATIENCE: Duration = Duration::from_secs(60);

/// What of the output has to be the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Same {
    /// All of it.
    Text,
    /// The lines, in any order: Java's maps have none.
    Lines,
    /// The lines in any order; words that hold a digit are times, rates, ids, sizes.
    Masked,
    /// The first word of each line: values come and go, and so do their units.
    Names,
    /// The first line, which names the columns, and the number of lines.
    Columns,
    /// Neither succeeds, and both tell the same code of the answer, if both tell one.
    Failure,
}

/// Command lines: `N` stands for the name server, `B` for the broker, `M` for the broker's name, `C` for the
/// cluster, `Z` for a port where nobody listens.
const LINES: &[(Same, &str)] = &[
    (Same::Text, "updateTopic -n N -c C -t Adm -r 4 -w 4"),
    (
        Same::Text,
        "updateTopic -n N -b B -t AdmOrder -r 2 -w 2 -o true",
    ),
    (
        Same::Text,
        "updateTopic -n N -b B -t AdmFifo -r 2 -w 2 -a +message.type=FIFO",
    ),
    (Same::Text, "updateTopicPerm -n N -c C -t Adm -p 6"),
    (Same::Text, "updateTopicPerm -n N -b B -t Adm -p 6"),
    (Same::Text, "updateSubGroup -n N -c C -g AdmG -r 3 -d true"),
    (
        Same::Text,
        "setConsumeMode -n N -c C -g AdmG -t Adm -m PULL",
    ),
    (
        Same::Masked,
        "sendMessage -n N -t Adm -p first -k key1 -c TagA -b M -i 0",
    ),
    (Same::Text, "topicRoute -n N -t Adm"),
    (Same::Text, "topicRoute -n N -t Adm -l"),
    (Same::Text, "topicClusterList -n N -t Adm"),
    (Same::Masked, "topicStatus -n N -t Adm"),
    (Same::Lines, "topicList -n N"),
    (Same::Lines, "topicList -n N -c"),
    (Same::Masked, "clusterList -n N"),
    (Same::Masked, "clusterList -n N -m"),
    (Same::Lines, "getConsumerConfig -n N -g AdmG"),
    (Same::Lines, "getBrokerConfig -n N -b B"),
    (Same::Lines, "getBrokerConfig -n N -c C"),
    (Same::Lines, "getNamesrvConfig -n N"),
    (
        Same::Text,
        "updateBrokerConfig -n N -b B -k fileReservedTime -v 48",
    ),
    (
        Same::Text,
        "updateBrokerConfig -n N -c C -k fileReservedTime -v 72",
    ),
    (
        Same::Text,
        "updateNamesrvConfig -n N -k orderMessageEnable -v true",
    ),
    (Same::Text, "updateKvConfig -n N -s AdmSpace -k a -v b"),
    (Same::Text, "deleteKvConfig -n N -s AdmSpace -k a"),
    (Same::Text, "updateOrderConf -n N -t Adm -m put -v M:4"),
    (Same::Text, "updateOrderConf -n N -t Adm -m get"),
    (Same::Text, "updateOrderConf -n N -t Adm -m delete"),
    (Same::Names, "brokerStatus -n N -b B"),
    (Same::Columns, "brokerConsumeStats -n N -b B"),
    (Same::Text, "queryMsgByKey -n N -t Adm -k key1"),
    (
        Same::Text,
        "queryMsgByOffset -n N -t Adm -b M -i 0 -o 0 -f UTF-8",
    ),
    (Same::Lines, "printMsg -n N -t Adm"),
    (
        Same::Text,
        "printMsgByQueue -n N -t Adm -a M -i 0 -p true -d true -f true",
    ),
    (Same::Text, "consumeMessage -n N -t Adm -b M -i 0"),
    (Same::Text, "queryCq -n N -t Adm -q 0 -i 0 -c 4"),
    (Same::Columns, "statsAll -n N -t Adm"),
    (Same::Masked, "resetOffsetByTime -n N -g AdmG -t Adm -s now"),
    (Same::Lines, "skipAccumulatedMessage -n N -g AdmG -t Adm"),
    (Same::Text, "cleanExpiredCQ -n N -c C"),
    (Same::Text, "cleanUnusedTopic -n N -c C"),
    (Same::Text, "deleteExpiredCommitLog -n N -c C"),
    (Same::Text, "wipeWritePerm -n N -b M"),
    (Same::Text, "addWritePerm -n N -b M"),
    (Same::Masked, "haStatus -n N -b B"),
    (Same::Columns, "checkMsgSendRT -n N -t Adm -a 3"),
    (Same::Masked, "getBrokerLiteInfo -n N -b B"),
    (Same::Text, "exportConfigs -n N -c C -f out"),
    (Same::Text, "exportMetadata -n N -c C -f out"),
    (Same::Text, "exportMetrics -n N -c C -f out"),
    (Same::Columns, "consumerProgress -n N"),
    (Same::Failure, "topicRoute -n N -t AdmNone"),
    (Same::Failure, "topicStatus -n N -t AdmNone"),
    (Same::Failure, "consumerConnection -n N -g AdmNone -b B"),
    (Same::Failure, "producerConnection -n N -g AdmNone -t Adm"),
    (Same::Failure, "updateTopic -n N -b B -t Ad/m"),
    (Same::Failure, "updateTopic -n N -b B -t TBW102"),
    (
        Same::Failure,
        "updateTopic -n N -b B -t AdmBad -a +message.type=NONE",
    ),
    (Same::Failure, "getBrokerEpoch -n N -b M"),
    (Same::Failure, "getControllerMetaData -n N -a Z"),
    (Same::Failure, "brokerStatus -n N -b Z"),
    (
        Same::Failure,
        "updateBrokerConfig -n N -b B -k brokerConfigPath -v x",
    ),
    // A name server is no controller, and a broker no container.
    (Same::Failure, "getControllerMetaData -a N"),
    (Same::Failure, "getControllerConfig -a N"),
    (Same::Failure, "updateControllerConfig -a N -k x -v y"),
    (Same::Failure, "getSyncStateSet -a N -b M"),
    (Same::Failure, "electMaster -a N -b 1 -bn M -c C"),
    (Same::Failure, "cleanBrokerMetadata -a N -b 1 -bn M -c C"),
    (Same::Failure, "addBroker -c B -b none.conf"),
    (Same::Failure, "removeBroker -c B -b C:M:0"),
    (Same::Failure, "switchTimerEngine -b B -e R"),
    (Same::Text, "switchTimerEngine -b B -e F"),
    (Same::Text, "deleteSubGroup -n N -b B -g AdmG -r true"),
    (Same::Text, "deleteTopic -n N -c C -t AdmOrder"),
];

/// What Apache's broker does and ours refuses: the command, the code of the refusal, and words of its reason.
const ABSENT: &[(&str, &str, &str)] = &[
    (
        "updateStaticTopic -n N -b M -t AdmStatic -qn 4",
        "3",
        "static topics are not supported",
    ),
    (
        "updateColdDataFlowCtrGroupConfig -n N -b B -g AdmG -v 10",
        "3",
        "no control by group",
    ),
    (
        "removeColdDataFlowCtrGroupConfig -n N -b B -g AdmG",
        "3",
        "no control by group",
    ),
    (
        "setCommitLogReadAheadMode -n N -b B -m 1",
        "3",
        "not set by hand",
    ),
    ("getBrokerEpoch -n N -b M", "1", "no epochs"),
    ("switchTimerEngine -b B -e R", "29", "the only engine"),
    (
        "updateBrokerConfig -n N -b B -k authenticationEnabled -v true",
        "16",
        "black list",
    ),
    (
        "updateBrokerConfig -n N -b B -k aclEnable -v true",
        "29",
        "access lists of 4.x",
    ),
];

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    let judged = world.judged;
    vec![
        world.trial("mqadmin_doctor_finds_what_was_broken", move |world| {
            examined(world, judged)
        }),
        world.trial("mqadmin_what_is_absent_is_refused_with_its_reason", absent),
        world.trial(
            "mqadmin_apache_and_ours_print_the_same_on_our_servers",
            |world| compare(world, Kind::Aerobee),
        ),
        world.trial(
            "mqadmin_apache_and_ours_print_the_same_on_apache_servers",
            |world| compare(world, Kind::Apache),
        ),
        world.trial("mqadmin_configuration_has_apaches_keys", configured),
        world.trial(
            "mqadmin_stats_of_all_topics_agree_on_our_servers",
            |world| stats_of_all(world, Kind::Aerobee),
        ),
        world.trial(
            "mqadmin_stats_of_all_topics_agree_on_apache_servers",
            |world| stats_of_all(world, Kind::Apache),
        ),
    ]
}

/// Keys whose value is another here, though both servers are configured alike, and why. The plan has set
/// `enablePropertyFilter` and `recallMessageEnable`, which are on here by default.
const OTHER_VALUES: &[(&str, &str)] = &[
    ("haListenPort", "0 stands for the listen port and one"),
    ("rocketmqHome", "there is no installation directory"),
    ("listenPort", "of the cluster"),
    ("namesrvAddr", "of the cluster"),
    ("storePathRootDir", "of the cluster"),
    ("storePathCommitLog", "of the cluster"),
];

/// Every key that Apache's broker prints is printed by ours, with the same value.
fn configured(world: &World) -> Result<(), Failed> {
    let apache = configuration_of(world, Kind::Apache)?;
    let ours = configuration_of(world, Kind::Aerobee)?;
    let mut wrong = Vec::new();
    for (key, theirs) in &apache {
        let is_other = OTHER_VALUES.iter().any(|(other, _)| other == key);
        match ours.get(key) {
            None if is_other => {}
            None => wrong.push(format!("{key} = {theirs} is missing")),
            Some(value) if value == theirs && is_other => {
                wrong.push(format!("{key} = {value}: it is the same after all"));
            }
            Some(value) if value != theirs && !is_other => {
                wrong.push(format!("{key} = {value}, Apache's {theirs}"));
            }
            Some(_) => {}
        }
    }
    if apache.len() < 400 {
        wrong.push(format!("Apache's broker has only {} keys", apache.len()));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(wrong.join("\n").into())
}

fn configuration_of(world: &World, kind: Kind) -> Result<BTreeMap<String, String>, Failed> {
    let _slot = world.slot();
    let plan = Plan {
        conf: &pending::CONF,
        ..Plan::of(kind)
    };
    let cluster = Cluster::start(plan)?;
    let home = TempDir::with_prefix("aerobee-mqadmin-")?;
    let line = spelled(&cluster, "getBrokerConfig -n N -b B");
    let told = our_admin(home.path(), &spelled_refs(&line))?;
    let pairs = told.out.lines().filter_map(|line| line.split_once("=  "));
    let pairs = pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()));
    Ok(pairs.collect())
}

/// Topics, groups and backlogs for [`stats_of_all`]: group `StatG` in several topics, `StatH` in one.
const STATS: &[&str] = &[
    "updateTopic -n N -b B -t StatA -r 1 -w 1",
    "updateTopic -n N -b B -t StatB -r 4 -w 4",
    "updateTopic -n N -b B -t StatC -r 1 -w 2",
    "updateTopic -n N -b B -t StatD -r 1 -w 1",
    "updateSubGroup -n N -b B -g StatG",
    "updateSubGroup -n N -b B -g StatH",
    "sendMessage -n N -t StatA -p x -b M -i 0",
    "sendMessage -n N -t StatB -p x -b M -i 3",
    "sendMessage -n N -t StatC -p x -b M -i 0",
    "resetOffsetByTime -n N -g StatG -t StatA -s now",
    "resetOffsetByTime -n N -g StatG -t StatB -s now",
    "resetOffsetByTime -n N -g StatG -t StatC -s now",
    "sendMessage -n N -t StatA -p x -b M -i 0",
    "sendMessage -n N -t StatA -p x -b M -i 0",
    "sendMessage -n N -t StatB -p x -b M -i 0",
    "sendMessage -n N -t StatC -p x -b M -i 1",
    "resetOffsetByTime -n N -g StatH -t StatB -s now",
    "sendMessage -n N -t StatD -p x -b M -i 0",
];

/// Rows that [`STATS`] leaves: what was written to a queue that is not read is nobody's.
const STATS_ROWS: &[&str] = &[
    "StatA StatG 2",
    "StatB StatG 1",
    "StatB StatH 0",
    "StatC StatG 0",
    "StatD 0",
];

/// What groups are behind, which ours asks for all topics of a group at once and Apache's one by one.
fn stats_of_all(world: &World, kind: Kind) -> Result<(), Failed> {
    let _slot = world.slot();
    let cluster = Cluster::start(Plan::of(kind))?;
    let home = TempDir::with_prefix("aerobee-mqadmin-")?;
    let mut apache = ApacheAdmin::start(home.path())?;
    for line in STATS {
        let done = our_admin(home.path(), &spelled_refs(&spelled(&cluster, line)))?;
        if done.code != 0 {
            return Err(format!("mqadmin {line}: {done:?}").into());
        }
    }
    let line = spelled(&cluster, "statsAll -n N");
    let theirs = apache.run(&spelled_refs(&line))?;
    let ours = our_admin(home.path(), &spelled_refs(&line))?;
    let (left, right) = (backlogs(&theirs.out), backlogs(&ours.out));
    if left == STATS_ROWS && right == STATS_ROWS {
        return Ok(());
    }
    Err(format!("Apache's: {left:#?}\nours: {right:#?}").into())
}

/// Topic, group and backlog of each row, without the rates, which change.
fn backlogs(text: &str) -> Vec<String> {
    let of_row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let columns = if line.ends_with("NO_CONSUMER") { 2 } else { 3 };
        words
            .into_iter()
            .take(columns)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let rows = text.lines().filter(|line| line.starts_with("Stat"));
    let mut rows: Vec<String> = rows.map(of_row).collect();
    rows.sort();
    rows
}

/// Nothing that fails, then a topic that nobody can write, then a broker that is gone.
fn examined(world: &World, kind: Kind) -> Result<(), Failed> {
    let _slot = world.slot();
    let mut cluster = Cluster::start(Plan::of(kind))?;
    let home = TempDir::with_prefix("aerobee-doctor-")?;
    let namesrv = cluster.namesrv_addr();
    let told = |cluster: &Cluster, line: &str| {
        let args = spelled(cluster, line);
        our_admin(home.path(), &spelled_refs(&args))
    };
    let look = || doctor(home.path(), &["-n", &namesrv]);
    told(&cluster, "updateTopic -n N -b B -t DocTopic -r 1 -w 1 -p 6")?;
    let sound = look()?;
    if sound.out.contains("DocTopic") || sound.out.contains("does not answer") {
        return Err(format!("a sound cluster: {sound:?}").into());
    }
    told(&cluster, "updateTopic -n N -b B -t DocTopic -r 1 -w 1 -p 4")?;
    // The name server hears of the change in its time.
    let started = Instant::now();
    loop {
        let closed = look()?;
        if closed.code != 0 && closed.out.contains("topic DocTopic: it cannot be written") {
            break;
        }
        if started.elapsed() > PATIENCE {
            return Err(format!("a topic that cannot be written: {closed:?}").into());
        }
        thread::sleep(Duration::from_millis(200));
    }
    cluster.kill_broker()?;
    let broken = look()?;
    if broken.code != 2 || !broken.out.contains("ERROR") {
        return Err(format!("a broker that is gone: {broken:?}").into());
    }
    Ok(())
}

/// Neither tool reports a success of what was not done, and nothing of it is there afterwards.
fn absent(world: &World) -> Result<(), Failed> {
    let _slot = world.slot();
    let cluster = Cluster::start(Plan::of(Kind::Aerobee))?;
    let home = TempDir::with_prefix("aerobee-mqadmin-")?;
    let mut apache = ApacheAdmin::start(home.path())?;
    let before = our_admin(home.path(), &["topicList", "-n", &cluster.namesrv_addr()])?;
    let mut wrong = String::new();
    for (line, code, reason) in ABSENT {
        let args = spelled(&cluster, line);
        let args = spelled_refs(&args);
        let theirs = apache.run(&args)?;
        let ours = our_admin(home.path(), &args)?;
        let refused = |told: &str| code_of(told) == Some(code) && told.contains(reason);
        let theirs_told = format!("{}{}", theirs.out, theirs.err);
        if ours.code == 0 || !refused(&ours.err) || !refused(&theirs_told) {
            writeln!(
                wrong,
                "{line}\n--- Apache's: {theirs:?}\n--- ours: {ours:?}"
            )?;
        }
    }
    let after = our_admin(home.path(), &["topicList", "-n", &cluster.namesrv_addr()])?;
    if after != before {
        writeln!(wrong, "before {before:?}\nafter {after:?}")?;
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.into())
    }
}

fn compare(world: &World, kind: Kind) -> Result<(), Failed> {
    let _slot = world.slot();
    let cluster = Cluster::start(Plan::of(kind))?;
    let home = TempDir::with_prefix("aerobee-mqadmin-")?;
    let mut apache = ApacheAdmin::start(home.path())?;
    // The first command of a JVM also prints how its logging starts.
    apache.run(&spelled_refs(&spelled(&cluster, "topicList -n N")))?;
    let mut wrong = String::new();
    for (same, line) in LINES {
        let args = spelled(&cluster, line);
        let args = spelled_refs(&args);
        let theirs = apache.run(&args)?;
        let ours = our_admin(home.path(), &args)?;
        if let Some(difference) = difference(*same, &theirs, &ours) {
            writeln!(wrong, "mqadmin {}\n{difference}", args.join(" ")).map_err(Failed::from)?;
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.into())
    }
}

fn spelled(cluster: &Cluster, line: &str) -> Vec<String> {
    let word = |word: &str| match word {
        "N" => cluster.namesrv_addr(),
        "B" => cluster.broker_addr(),
        "M" => "broker-a".to_owned(),
        "C" => "DefaultCluster".to_owned(),
        "Z" => "127.0.0.1:1".to_owned(),
        word => word.replace("M:", "broker-a:"),
    };
    line.split(' ').map(word).collect()
}

fn spelled_refs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// What differs that has to be the same.
fn difference(same: Same, theirs: &Outcome, ours: &Outcome) -> Option<String> {
    let told = format!(
        "--- Apache's\n{}{}--- ours ({})\n{}{}",
        theirs.out, theirs.err, ours.code, ours.out, ours.err
    );
    if same == Same::Failure {
        let fits = ours.code != 0 && same_code(theirs, ours);
        let both =
            fits && (theirs.code != 0 || !theirs.err.is_empty() || theirs.out.contains("error"));
        return (!both).then_some(told);
    }
    if ours.code != 0 {
        return Some(told);
    }
    let (left, right) = (reduced(same, &theirs.out), reduced(same, &ours.out));
    (left != right).then_some(told)
}

/// Whether both were refused with the same code; what ours refuses by itself has none.
fn same_code(theirs: &Outcome, ours: &Outcome) -> bool {
    let (theirs, ours) = (code_of(&theirs.err), code_of(&ours.err));
    ours.is_none() || theirs.is_none() || ours == theirs
}

/// The code of the answer that a failure tells.
fn code_of(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("CODE: ")?;
    rest.split_whitespace().next()
}

fn reduced(same: Same, text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text
        .trim()
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    match same {
        Same::Text | Same::Failure => {}
        Same::Lines => lines.sort(),
        Same::Masked => {
            for line in &mut lines {
                let masked = |word: &str| {
                    let variable = word.contains(|letter: char| letter.is_ascii_digit());
                    if variable {
                        "#".to_owned()
                    } else {
                        word.to_owned()
                    }
                };
                *line = line
                    .split_whitespace()
                    .map(masked)
                    .collect::<Vec<_>>()
                    .join(" ");
            }
            lines.sort();
        }
        Same::Names => {
            for line in &mut lines {
                line.truncate(line.find(' ').unwrap_or(line.len()));
            }
            lines.sort();
        }
        Same::Columns => {
            let count = lines.len();
            lines.truncate(1);
            lines.push(count.to_string());
        }
    }
    lines
}
