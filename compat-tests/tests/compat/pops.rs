// SPDX-License-Identifier: Apache-2.0
//! Messages that are popped while their directory goes from one broker to the other.

use std::{
    collections::HashMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use aerobee_compat_tests::{Cluster, Driver, Kind, Plan, Running};
use libtest_mimic::{Failed, Trial};

use crate::world::{JAVA, SCENARIO_LIMIT, World};

/// Messages of a round.
const SENT: usize = 120;
/// Popped before the change; the even half is acknowledged at once, the other half never.
const LEFT: usize = 40;
/// Popped before the change and acknowledged after it.
const HELD: usize = 20;
/// How long those that are left stay invisible, ms.
const LEFT_MILLIS: u64 = 25_000;
/// How long those that are held stay invisible, ms: a broker starts meanwhile.
const HELD_MILLIS: u64 = 60_000;
/// How late what is due comes at the latest: Apache's timer and its revive thread take seconds each.
const LATE: Duration = Duration::from_secs(60);
/// Time for what would come twice.
const MORE: Duration = Duration::from_secs(12);

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        world.trial("store_pop_apache_to_aerobee_and_back", |world| {
            popped(world, world.judged, Cluster::stop_broker, 0)
        }),
        world.trial("store_pop_after_kills", |world| {
            popped(world, world.judged, Cluster::kill_broker, 1)
        }),
    ]
}

struct Stage {
    cluster: Cluster,
    java: Arc<Driver>,
    prefix: String,
    topic: String,
    group: String,
}

impl Stage {
    fn new(world: &World) -> Result<Self, Failed> {
        let cluster = Cluster::start(Plan::of(Kind::Apache))?;
        let java = world.driver(JAVA)?;
        let prefix = world.prefix();
        let (topic, group) = (format!("{prefix}_popped"), format!("{prefix}_poppers"));
        let with = [("prefix", &*prefix), ("topic", &*topic), ("queues", "2")];
        java.perform("create", &cluster, &with, SCENARIO_LIMIT)?;
        Ok(Self {
            cluster,
            java,
            prefix,
            topic,
            group,
        })
    }

    fn produce(&self, word: &str) -> Result<(), Failed> {
        let with = [
            ("prefix", &*self.prefix),
            ("topic", &self.topic),
            ("word", word),
            ("count", &SENT.to_string()),
        ];
        let steps = self
            .java
            .perform("produce", &self.cluster, &with, SCENARIO_LIMIT)?;
        let acked = steps.iter().filter(|step| &*step.name == "acked").count();
        if acked == SENT {
            return Ok(());
        }
        Err(format!("{acked} of {SENT} acknowledged").into())
    }

    fn pop(&self, acks: &str, count: usize, invisible: u64) -> Result<Running, Failed> {
        let with = [
            ("prefix", &*self.prefix),
            ("topic", &self.topic),
            ("group", &self.group),
            ("acks", acks),
            ("count", &count.to_string()),
            ("invisible_ms", &invisible.to_string()),
            ("seconds", "600"),
        ];
        Ok(self.java.begin("pop", &self.cluster, &with)?)
    }
}

/// How often each message may come from the next broker: at least, at most.
type Expected = HashMap<String, (usize, usize)>;

/// What is popped and open at one broker comes from the next, what is acknowledged does not, and an acknowledgement
/// for what the first has handed out counts at the next.
fn popped(
    world: &World,
    judged: Kind,
    down: fn(&mut Cluster) -> aerobee_compat_tests::Result<()>,
    repeats: usize,
) -> Result<(), Failed> {
    let _slot = world.slot();
    let mut stage = Stage::new(world)?;
    for (round, next) in [judged, Kind::Apache, judged].into_iter().enumerate() {
        let word = format!("round{round}x");
        stage.produce(&word)?;
        let mut expected: Expected = (0..SENT)
            .map(|number| (format!("{word}0:{number}"), (1, 1)))
            .collect();
        let left = stage.pop("even", LEFT, LEFT_MILLIS)?;
        for step in left.finish(SCENARIO_LIMIT)? {
            let times = match &*step.name {
                "got" => (1, 1 + repeats),
                "done" => (0, repeats),
                _ => continue,
            };
            expected.insert(body(&step), times);
        }
        let held = stage.pop("late", HELD, HELD_MILLIS)?;
        held.wait_until(SCENARIO_LIMIT, |step| {
            if &*step.name == "got" {
                expected.insert(body(step), (0, repeats));
            }
            &*step.name == "popped"
        })?;
        down(&mut stage.cluster)?;
        stage.cluster.broker.kind = next;
        stage.cluster.broker.start()?;
        held.stop()?;
        let steps = held.finish(SCENARIO_LIMIT)?;
        let done = steps.iter().filter(|step| &*step.name == "done").count();
        if done != HELD {
            return Err(
                format!("{done} acknowledgements of {HELD} answered in round {round}").into(),
            );
        }
        let got = await_all(&stage, &expected)?;
        check(&expected, &got)
            .map_err(|wrong| format!("round {round}, from the broker of {next}: {wrong}"))?;
    }
    Ok(())
}

fn body(step: &aerobee_compat_tests::Step) -> String {
    if step.body.is_empty() {
        step.text("body")
    } else {
        step.body.to_string()
    }
}

/// Takes what there is until everything has come that has to, and a while longer.
fn await_all(stage: &Stage, expected: &Expected) -> Result<HashMap<String, usize>, Failed> {
    let start = Instant::now();
    let rest = stage.pop("all", 0, 120_000)?;
    let mut got: HashMap<String, usize> = HashMap::new();
    let mut missing: usize = expected.values().filter(|(least, _)| *least > 0).count();
    let arrived = rest.wait_until(Duration::from_millis(LEFT_MILLIS) + LATE, |step| {
        if &*step.name == "got" {
            let body = body(step);
            let wanted = expected.get(&body).is_some_and(|(least, _)| *least > 0);
            let times = got.entry(body).or_default();
            *times += 1;
            missing -= usize::from(wanted && *times == 1);
        }
        missing == 0
    });
    if let Err(error) = arrived {
        return Err(format!("{missing} messages did not come: {error}").into());
    }
    let held_until = Duration::from_millis(HELD_MILLIS).saturating_sub(start.elapsed());
    thread::sleep(held_until + MORE);
    rest.stop()?;
    let steps = rest.finish(SCENARIO_LIMIT)?;
    got.clear();
    for step in steps.iter().filter(|step| &*step.name == "got") {
        *got.entry(body(step)).or_default() += 1;
    }
    Ok(got)
}

fn check(expected: &Expected, got: &HashMap<String, usize>) -> Result<(), String> {
    let mut wrong = Vec::new();
    for (body, (least, most)) in expected {
        let times = got.get(body).copied().unwrap_or_default();
        if times < *least || times > *most {
            wrong.push(format!("{body} came {times} times, not {least} to {most}"));
        }
    }
    for body in got.keys().filter(|body| !expected.contains_key(*body)) {
        wrong.push(format!("{body} of an earlier round came"));
    }
    wrong.sort();
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("{}: {}", wrong.len(), wrong.join(", ")))
    }
}
