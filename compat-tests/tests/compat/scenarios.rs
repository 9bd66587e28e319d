// SPDX-License-Identifier: Apache-2.0

//! The scenarios that an SDK program performs and judges by itself.

use std::{collections::BTreeSet, sync::Arc};

use aerobee_compat_tests::{Cluster, Kind, Plan, Sdk};
use libtest_mimic::{Failed, Trial};

use crate::world::{GO, JAVA, JAVA_ROCKETMQ, OLD_JAVA, SCENARIO_LIMIT, Started, World};

const OF_JAVA: [&str; 65] = [
    "delay_by_level",
    "delay_by_time",
    "delay_recalled",
    "delay_too_long_is_refused",
    "fast_port_answers_questions_and_operators",
    "fast_port_serves_groups_and_their_offsets",
    "fast_port_takes_all_sends",
    "group_continues_after_restart",
    "group_members_split_queues_and_take_over",
    "groups_each_get_every_message",
    "litepull_assign_and_seek",
    "litepull_subscribe_and_continue",
    "namespace_has_transactions_of_its_own",
    "namespace_of_version_two_changes_no_name",
    "namespaces_do_not_see_each_other",
    "offsets_min_max_search",
    "operate_clients_are_asked",
    "operate_offsets_are_cloned",
    "operate_reset_by_time",
    "ordered_across_rebalancing",
    "ordered_queue_is_suspended",
    "pop_and_push_retry_what_sql_selects",
    "pop_failed_messages_come_again",
    "pop_higher_priority_comes_first",
    "pop_members_get_each_message_once",
    "pop_topic_of_batches",
    "pop_waiting_consumer_gets_message_at_once",
    "pull_offsets_are_kept",
    "pull_statuses_and_limits",
    "pull_waits_for_a_message",
    "push_broadcast_moves_between_broker_and_proxy",
    "push_broadcast_offsets_are_known_to_the_broker",
    "push_broadcast_reaches_all",
    "push_concurrent_backlog",
    "push_from_first_last_timestamp",
    "push_orderly_keeps_queue_order",
    "push_subscribes_many_topics",
    "push_sql_filter",
    "push_tag_filter",
    "push_waiting_consumer_gets_message_at_once",
    "request_gets_its_reply",
    "retry_by_level_whatever_the_policy",
    "retry_straight_to_dead_letters",
    "retry_until_dead_letter",
    "send_async",
    "send_batch",
    "send_batched_by_the_client",
    "send_bodies_of_all_sizes",
    "send_compressed_in_each_way",
    "send_oneway",
    "send_sync",
    "send_to_one_queue_keeps_order",
    "send_too_large_is_refused",
    "spring_template_and_listeners",
    "topic_created_by_first_send",
    "topic_created_by_request",
    "topic_unknown_has_no_route",
    "topic_with_illegal_name_is_refused",
    "topics_by_the_hundred",
    "trace_to_a_topic_of_ones_own",
    "trace_to_the_system_topic",
    "transaction_commit_rollback_and_check_back",
    "unit_mode_is_seen_in_topics",
    "unit_names_tell_clients_apart",
    "view_of_a_foreign_id_is_refused",
];

const OF_GO: [&str; 34] = [
    "delay_by_level",
    "delay_by_time",
    "group_continues_after_restart",
    "group_members_split_queues_and_take_over",
    "groups_each_get_every_message",
    "groups_slow_one_holds_back_nobody",
    "ordered_across_rebalancing",
    "ordered_queue_is_suspended",
    "pull_from_any_offset",
    "pull_poll_and_continue",
    "push_broadcast_continues_after_restart",
    "push_broadcast_reaches_all",
    "push_concurrent_backlog",
    "push_from_first_last_timestamp",
    "push_orderly_keeps_queue_order",
    "push_sql_filter",
    "push_subscribes_many_topics",
    "push_tag_filter",
    "push_waiting_consumer_gets_message_at_once",
    "request_gets_its_reply",
    "retry_straight_to_dead_letters",
    "retry_until_dead_letter",
    "send_async",
    "send_batch",
    "send_bodies_of_all_sizes",
    "send_oneway",
    "send_sync",
    "send_to_one_queue_keeps_order",
    "send_too_large_is_refused",
    "topic_created_by_first_send",
    "topic_created_by_request",
    "trace_to_a_topic_of_ones_own",
    "trace_to_the_system_topic",
    "transaction_commit_rollback_and_check_back",
];

const OF_OLD_JAVA: [&str; 10] = [
    "delay_by_level",
    "litepull_subscribe",
    "pull_from_any_offset_and_commit",
    "push_members_share_a_backlog",
    "push_orderly_keeps_queue_order",
    "retry_until_dead_letter",
    "send_async",
    "send_batch",
    "send_sync",
    "transaction_commit_rollback_and_check_back",
];

/// Of these those that want a proxy beside the broker.
const WITH_A_PROXY: [&str; 1] = ["push_broadcast_moves_between_broker_and_proxy"];

/// Parts that other trials put together.
pub(crate) const PARTS: [&str; 14] = [
    "access",
    "consume",
    "create",
    "fill",
    "fill_queues",
    "grpc_access",
    "grpc_consume",
    "grpc_produce",
    "look",
    "pop",
    "produce",
    "query",
    "read",
    "transact",
];

/// What Apache's servers must pass in every run, so that a mistake of the programs is not taken for one of ours.
const SMOKE: [&str; 8] = [
    "delay_by_level",
    "group_continues_after_restart",
    "groups_each_get_every_message",
    "push_tag_filter",
    "retry_until_dead_letter",
    "send_batch",
    "send_sync",
    "topic_created_by_first_send",
];

/// Apache's servers: they do much while they are asked nothing, so they end with the last trial that holds them.
type Control = Started<(), Cluster>;

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    let mut trials = Vec::new();
    let all = [
        (JAVA, &OF_JAVA[..]),
        (JAVA_ROCKETMQ, &OF_JAVA),
        (OLD_JAVA, &OF_OLD_JAVA),
        (GO, &OF_GO),
    ];
    if world.judged != Kind::Apache {
        let control = Arc::new(Control::new());
        for (sdk, scenarios) in all {
            let known = SMOKE.iter().filter(|smoke| scenarios.contains(smoke));
            trials.extend(known.map(|scenario| smoke(world, &control, sdk, scenario)));
        }
    }
    for (sdk, scenarios) in all {
        for scenario in scenarios {
            // The compact encoding has 16 bits for a request code, and Apache's broker does not know the pops by the
            // low half of theirs.
            let is_unknown = sdk == JAVA_ROCKETMQ && scenario.starts_with("pop_");
            if world.judged != Kind::Apache || !is_unknown {
                trials.push(trial(world, sdk, scenario));
            }
        }
    }
    for (sdk, scenarios) in [(JAVA, &OF_JAVA[..]), (OLD_JAVA, &OF_OLD_JAVA), (GO, &OF_GO)] {
        trials.push(
            world.trial(format!("every_scenario_of_{sdk}_is_tried"), move |_| {
                every_one_is_tried(sdk, scenarios)
            }),
        );
    }
    trials
}

fn smoke(world: &Arc<World>, control: &Arc<Control>, sdk: Sdk, scenario: &'static str) -> Trial {
    let control = Arc::clone(control);
    let name = format!("{}_{sdk}_{scenario}", Kind::Apache);
    world.scenario(name, move |world| {
        let plan = Plan::of(Kind::Apache);
        let cluster = control.get((), || Ok(Arc::new(Cluster::start(plan)?)))?;
        perform(world, &cluster, Kind::Apache, sdk, scenario)
    })
}

fn trial(world: &Arc<World>, sdk: Sdk, scenario: &'static str) -> Trial {
    let kind = world.judged;
    world.scenario(format!("{kind}_{sdk}_{scenario}"), move |world| {
        let cluster = if WITH_A_PROXY.contains(&scenario) {
            world.proxied(kind)?
        } else {
            world.cluster(kind)?
        };
        perform(world, &cluster, kind, sdk, scenario)
    })
}

fn perform(
    world: &World,
    cluster: &Cluster,
    kind: Kind,
    sdk: Sdk,
    scenario: &str,
) -> Result<(), Failed> {
    let (prefix, proxy) = (world.prefix(), cluster.remoting_proxy_addr(kind));
    let with = [("prefix", &*prefix), ("proxy", &proxy)];
    world
        .driver(sdk)?
        .perform(scenario, cluster, &with, SCENARIO_LIMIT)?;
    Ok(())
}

fn every_one_is_tried(sdk: Sdk, scenarios: &[&str]) -> Result<(), Failed> {
    let known = sdk.scenarios()?;
    let known: BTreeSet<&str> = known
        .iter()
        .map(String::as_str)
        .filter(|name| !PARTS.contains(name))
        .collect();
    let mut tried: BTreeSet<&str> = scenarios.iter().copied().collect();
    tried.extend(crate::grpc::known(sdk));
    tried.extend(crate::lite::known(sdk));
    tried.extend(crate::light::known(sdk));
    if known == tried {
        return Ok(());
    }
    Err(format!("the program knows {known:?}, tried are {tried:?}").into())
}
