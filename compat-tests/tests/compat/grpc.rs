// SPDX-License-Identifier: Apache-2.0

//! The 5.x SDKs, over gRPC, at a proxy in front of the broker: plain and with TLS.

use std::{collections::BTreeSet, sync::Arc};

use aerobee_compat_tests::{Cluster, Kind, Sdk};
use libtest_mimic::{Failed, Trial};

use crate::world::{GO, GO_PLAIN, JAVA, NODE, PYTHON, RUST, SCENARIO_LIMIT, World};

/// Scenarios of the Java program.
const OF_JAVA: [&str; 17] = [
    "grpc_and_remoting_meet",
    "grpc_delayed_message_comes_in_time",
    "grpc_failed_messages_become_dead_letters",
    "grpc_fifo_keeps_order",
    "grpc_higher_priority_comes_first",
    "grpc_invisible_duration_changes",
    "grpc_push_consumer_is_asked",
    "grpc_push_consumes_and_retries",
    "grpc_recalled_message_never_comes",
    "grpc_retries_wait_as_the_groups_policy_says",
    "grpc_send_and_receive",
    "grpc_spring_template_and_listeners",
    "grpc_tags_and_sql_filter",
    "grpc_topic_of_batches",
    "grpc_transactions_commit_rollback_and_check",
    "grpc_waiting_consumer_gets_message_at_once",
    "grpc_wrong_type_is_refused",
];

/// Of these the one that Apache's proxy in front of a broker cannot pass: its broker knows no consumer behind it.
const OURS_ALONE: &str = "grpc_push_consumer_is_asked";

/// Scenarios of the Go program.
const OF_GO: [&str; 10] = [
    "grpc_delayed_message_comes_in_time",
    "grpc_fifo_keeps_order",
    "grpc_higher_priority_comes_first",
    "grpc_invisible_duration_changes",
    "grpc_push_consumes_and_retries",
    "grpc_recalled_message_never_comes",
    "grpc_send_and_receive",
    "grpc_tags_and_sql_filter",
    "grpc_transactions_commit_rollback_and_check",
    "grpc_wrong_type_is_refused",
];

/// Scenarios of the Python and Node.js programs.
const OF_PYTHON_AND_NODE: [&str; 10] = [
    "grpc_delayed_message_comes_in_time",
    "grpc_fifo_keeps_order",
    "grpc_higher_priority_comes_first",
    "grpc_invisible_duration_changes",
    "grpc_push_consumes_and_retries",
    "grpc_recalled_message_never_comes",
    "grpc_send_and_receive",
    "grpc_tags_and_sql_filter",
    "grpc_transactions_commit_rollback_and_check",
    "grpc_wrong_type_is_refused",
];

/// Scenarios of the Rust program: its SDK 5.0.0 has only the simple consumer, and changes no invisible duration.
const OF_RUST: [&str; 7] = [
    "grpc_delayed_message_comes_in_time",
    "grpc_fifo_keeps_order",
    "grpc_send_and_receive",
    "grpc_tags_and_sql_filter",
    "grpc_transactions_commit_rollback_and_check",
    "grpc_unacknowledged_message_comes_again",
    "grpc_wrong_type_is_refused",
];

/// An SDK with the scenarios of its program.
struct Language {
    name: &'static str,
    plain: Sdk,
    tls: Sdk,
    scenarios: &'static [&'static str],
}

const LANGUAGES: [Language; 5] = [
    Language::of("java", JAVA, JAVA, &OF_JAVA),
    Language::of("go", GO_PLAIN, GO, &OF_GO),
    Language::of("python", PYTHON, PYTHON, &OF_PYTHON_AND_NODE),
    Language::of("node", NODE, NODE, &OF_PYTHON_AND_NODE),
    Language::of("rust", RUST, RUST, &OF_RUST),
];

impl Language {
    const fn of(
        name: &'static str,
        plain: Sdk,
        tls: Sdk,
        scenarios: &'static [&'static str],
    ) -> Self {
        Self {
            name,
            plain,
            tls,
            scenarios,
        }
    }
}

/// Topics that the programs expect, by what comes after the prefix: type and queues.
const TOPICS: [(&str, &str, u32); 5] = [
    ("normal", "NORMAL", 2),
    ("fifo", "FIFO", 4),
    ("delay", "DELAY", 2),
    ("priority", "PRIORITY", 3),
    ("transaction", "TRANSACTION", 2),
];

/// Groups that they expect, and whether these are orderly.
const GROUPS: [(&str, bool); 3] = [("group", false), ("group2", false), ("fifo_group", true)];

const RETRIES: u32 = 16;

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for language in &LANGUAGES {
        let of_judged =
            |scenario: &&&str| world.judged == Kind::Aerobee || **scenario != OURS_ALONE;
        for scenario in language.scenarios.iter().filter(of_judged) {
            for tls in [false, true] {
                trials.push(trial(world, language, scenario, tls));
            }
        }
    }
    for language in &LANGUAGES[2..] {
        let name = format!("every_scenario_of_{}_is_tried", language.name);
        trials.push(world.trial(name, |_| every_one_is_tried(language)));
    }
    trials
}

fn trial(
    world: &Arc<World>,
    language: &'static Language,
    scenario: &'static str,
    tls: bool,
) -> Trial {
    let how = if tls { "tls" } else { "plain" };
    let name = format!("{}_{}_{scenario}_{how}", world.judged, language.name);
    world.scenario(name, move |world| perform(world, language, scenario, tls))
}

fn perform(world: &World, language: &Language, scenario: &str, tls: bool) -> Result<(), Failed> {
    let sdk = if tls { language.tls } else { language.plain };
    let (cluster, driver) = (world.proxied(world.judged)?, world.driver(sdk)?);
    let prefix = world.prefix();
    if language.name != "java" {
        prepare(&cluster, &prefix)?;
    }
    let ssl = tls.to_string();
    // Apache's broker filters by SQL92 only when told to.
    let sql = (world.judged == Kind::Aerobee).to_string();
    let with = [("prefix", &*prefix), ("ssl", &*ssl), ("sql", &*sql)];
    driver.perform(scenario, &cluster, &with, SCENARIO_LIMIT)?;
    Ok(())
}

/// Makes the topics and groups: most of the SDKs cannot.
pub(crate) fn prepare(cluster: &Cluster, prefix: &str) -> Result<(), Failed> {
    for (suffix, kind, queues) in TOPICS {
        cluster.create_topic(&format!("{prefix}_{suffix}"), kind, queues)?;
    }
    for (suffix, orderly) in GROUPS {
        cluster.create_group(&format!("{prefix}_{suffix}"), orderly, RETRIES)?;
    }
    Ok(())
}

/// The names above that the program of this SDK should know.
pub(crate) fn known(sdk: Sdk) -> BTreeSet<&'static str> {
    LANGUAGES
        .iter()
        .filter(|language| language.tls == sdk)
        .flat_map(|language| language.scenarios.iter().copied())
        .collect()
}

fn every_one_is_tried(language: &Language) -> Result<(), Failed> {
    let known = language.tls.scenarios()?;
    let known: BTreeSet<&str> = known
        .iter()
        .map(String::as_str)
        .filter(|name| !crate::scenarios::PARTS.contains(name))
        .collect();
    let mut tried: BTreeSet<&str> = language.scenarios.iter().copied().collect();
    tried.extend(crate::lite::known(language.tls));
    if known == tried {
        return Ok(());
    }
    Err(format!("the program knows {known:?}, tried are {tried:?}").into())
}
