// SPDX-License-Identifier: Apache-2.0
//! Subscriptions of the members of groups, and how far groups are behind.

use std::collections::BTreeMap;

use aerobee_message::topic::{RETRY_PREFIX, group_of_retry_topic, retry_topic};
use aerobee_remoting::{
    ResponseCode,
    body::{connection::ConsumerConnections, running::ConsumerRunningInfo, stats::ConsumeStats},
    header::client::GetConsumerRunningInfo,
};

use super::Findings;
use crate::{
    admin::{Admin, each, pick},
    error::Error,
    format,
};

/// A queue that is behind and from which nothing was consumed for so long is stuck.
const STUCK_MILLIS: i64 = 10 * 60 * 1_000;

/// What is known of a group.
struct Known {
    group: String,
    stats: Result<ConsumeStats, Error>,
    members: Result<ConsumerConnections, Error>,
    running: BTreeMap<String, ConsumerRunningInfo>,
}

/// Looks at every group; tells how many there are.
pub(super) async fn examine(admin: &Admin, lag: i64, findings: &mut Findings) -> usize {
    let Ok(topics) = admin.topic_list().await else {
        return 0;
    };
    let groups: Vec<_> = topics
        .iter()
        .filter(|topic| topic.starts_with(RETRY_PREFIX))
        .map(|topic| group_of_retry_topic(topic))
        .collect();
    let all = each(groups.iter(), |group| known(admin, group)).await;
    for known in &all {
        subscriptions(known, findings);
        behind(known, lag, format::now(), findings);
    }
    all.len()
}

async fn known(admin: &Admin, group: &str) -> Known {
    let stats = admin.consume_stats(None, group, None).await;
    let members = admin.connections(group).await;
    let mut running = BTreeMap::new();
    let route = admin.route(&retry_topic(group)).await;
    if let (Ok(members), Ok(route)) = (&members, route)
        && let Some(address) = route.broker_datas.iter().find_map(pick)
    {
        for member in &members.connection_set {
            let header = GetConsumerRunningInfo {
                consumer_group: group,
                client_id: &member.client_id,
                jstack_enable: false,
            };
            // Clients over gRPC do not tell, and others may be gone by now.
            if let Ok(info) = admin.read(address, &header).await {
                running.insert(member.client_id.clone(), info);
            }
        }
    }
    Known {
        group: group.to_owned(),
        stats,
        members,
        running,
    }
}

/// Members of a group have to want the same: the broker knows one subscription a group.
fn subscriptions(known: &Known, findings: &mut Findings) {
    let retry = retry_topic(&known.group);
    let mut by_wish = BTreeMap::<Vec<String>, Vec<&str>>::new();
    for (client, info) in &known.running {
        let wishes = info
            .subscriptions()
            .into_iter()
            .filter(|(topic, _)| *topic != retry)
            .map(|(topic, expression)| format!("{topic} {expression}"))
            .collect();
        by_wish.entry(wishes).or_default().push(client);
    }
    if by_wish.len() > 1 {
        let told: Vec<_> = by_wish
            .iter()
            .map(|(wishes, clients)| format!("{} wants {}", clients.join(", "), wishes.join("; ")))
            .collect();
        findings.error(
            format!("group {}", known.group),
            format!(
                "its members subscribe differently, so messages get lost: {}",
                told.join(" | ")
            ),
            "give each subscription a group of its own, or deploy the same code everywhere",
        );
    }
}

/// Lag, with its likely cause.
fn behind(known: &Known, lag: i64, now: i64, findings: &mut Findings) {
    let about = format!("group {}", known.group);
    let Ok(stats) = &known.stats else {
        return;
    };
    let mut total = 0;
    for (queue, offset) in &stats.offset_table {
        let diff = offset.broker_offset - offset.consumer_offset;
        total += diff.max(0);
        let idle = now - offset.last_timestamp;
        let online = known
            .members
            .as_ref()
            .is_ok_and(|members| !members.connection_set.is_empty());
        if online && diff > 0 && offset.last_timestamp > 0 && idle > STUCK_MILLIS {
            let owner = known
                .running
                .iter()
                .find(|(_, info)| info.mq_table.contains_key(queue));
            let cause = match owner {
                Some((client, info)) if info.mq_table[queue].cached_msg_count > 0 => {
                    format!(
                        "{client} has its messages and does not get on: a listener that blocks or keeps failing"
                    )
                }
                Some((client, _)) => format!("{client} owns it and pulls nothing"),
                None => "no member owns it".to_owned(),
            };
            findings.warning(
                &about,
                format!(
                    "queue {} of topic {} on {} is stuck: {diff} messages wait, the last one consumed was stored at {}; {cause}",
                    queue.queue_id,
                    queue.topic,
                    queue.broker_name,
                    format::time(offset.last_timestamp)
                ),
                format!("`mqadmin consumerStatus -g {} -s` shows what its threads do", known.group),
            );
        }
    }
    if total < lag.max(1) {
        return;
    }
    let what = format!("it is {total} messages behind");
    match &known.members {
        Err(error) if error.code() == Some(ResponseCode::CONSUMER_NOT_ONLINE) => findings.warning(
            &about,
            format!("{what} and no member is online"),
            format!(
                "start its consumers; if nobody needs it: `mqadmin deleteSubGroup -c CLUSTER -g {} -r true`",
                known.group
            ),
        ),
        Err(error) => findings.warning(&about, format!("{what}; its members are not known: {error}"), "look at the brokers first"),
        Ok(members) => {
            let queues = stats.offset_table.len();
            let members = members.connection_set.len();
            let fix = if members < queues {
                format!("start more members (up to {queues}, one a queue), or make the listener faster; `mqadmin consumerProgress -g {}`", known.group)
            } else {
                format!("each queue has a member already: make the listener faster or add queues; to drop what waits: `mqadmin skipAccumulatedMessage -g {} -t TOPIC`", known.group)
            };
            findings.warning(
                &about,
                format!("{what} with {members} members for {queues} queues at {:.1} messages a second", stats.consume_tps),
                fix,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use aerobee_remoting::{
        RequestCode,
        body::{
            MessageQueue, connection::ClientConnection, heartbeat::SubscriptionData,
            stats::GroupOffset,
        },
    };

    use super::*;

    fn offline() -> Error {
        Error::Refused {
            address: "b:1".to_owned(),
            request: RequestCode::GET_CONSUMER_CONNECTION_LIST,
            code: ResponseCode::CONSUMER_NOT_ONLINE,
            remark: String::new(),
        }
    }

    fn group(behind: i64, members: Result<ConsumerConnections, Error>) -> Known {
        let mut stats = ConsumeStats::default();
        let offset = GroupOffset {
            broker_offset: behind,
            ..GroupOffset::default()
        };
        stats
            .offset_table
            .insert(MessageQueue::new("T", "a", 0), offset);
        Known {
            group: "G".to_owned(),
            stats: Ok(stats),
            members,
            running: BTreeMap::new(),
        }
    }

    fn texts(known: &Known, now: i64) -> Vec<String> {
        let mut findings = Findings::default();
        subscriptions(known, &mut findings);
        behind(known, 100, now, &mut findings);
        findings.0.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn lag_is_told_of_with_its_cause() {
        assert!(texts(&group(99, Err(offline())), 0).is_empty());
        let told = texts(&group(100, Err(offline())), 0);
        assert!(
            told[0].contains("100 messages behind and no member is online"),
            "{told:?}"
        );
        let members = ConsumerConnections {
            connection_set: vec![ClientConnection::default()],
            ..ConsumerConnections::default()
        };
        let mut known = group(500, Ok(members));
        let told = texts(&known, 0);
        assert!(told[0].contains("1 members for 1 queues"), "{told:?}");
        if let Ok(stats) = &mut known.stats {
            for offset in stats.offset_table.values_mut() {
                offset.last_timestamp = 1;
            }
        }
        let told = texts(&known, STUCK_MILLIS + 2);
        assert!(told[0].contains("is stuck"), "{told:?}");
    }

    #[test]
    fn members_that_want_different_things_are_an_error() {
        let wants = |expression: &str| ConsumerRunningInfo {
            subscription_set: vec![SubscriptionData {
                topic: "T".to_owned(),
                sub_string: expression.to_owned(),
                ..SubscriptionData::default()
            }],
            ..ConsumerRunningInfo::default()
        };
        let mut known = group(0, Err(offline()));
        known.running.insert("one".to_owned(), wants("*"));
        known.running.insert("two".to_owned(), wants("*"));
        assert!(texts(&known, 0).is_empty());
        known.running.insert("three".to_owned(), wants("TagA"));
        assert!(texts(&known, 0)[0].contains("subscribe differently"));
    }
}
