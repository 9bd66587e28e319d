// SPDX-License-Identifier: Apache-2.0
//! Permissions of topics, and transactions that do not end.

use aerobee_message::topic::{DLQ_PREFIX, RETRY_PREFIX, TRANS_HALF, is_system};
use aerobee_remoting::body::route::TopicRoute;

use super::Findings;
use crate::{
    admin::{Admin, each},
    format,
};

/// Group that the broker itself reads half messages as.
const TRANSACTIONS: &str = "CID_RMQ_SYS_TRANS";
/// A transaction that is open for longer is told of.
const OPEN_MILLIS: i64 = 10 * 60 * 1_000;

/// Looks at every topic of users; tells how many there are.
pub(super) async fn examine(admin: &Admin, findings: &mut Findings) -> usize {
    let topics = match admin.topic_list().await {
        Ok(topics) => topics,
        Err(error) => {
            findings.error(
                "topics",
                format!("the name server does not list them: {error}"),
                "`mqadmin updateNamesrvConfig -k enableAllTopicList -v true` allows it",
            );
            return 0;
        }
    };
    let own: Vec<_> = topics
        .iter()
        .filter(|topic| {
            !is_system(topic) && !topic.starts_with(RETRY_PREFIX) && !topic.starts_with(DLQ_PREFIX)
        })
        .collect();
    let routes = each(own.iter(), |topic| admin.route(topic)).await;
    for (topic, route) in own.iter().zip(routes) {
        match route {
            Ok(route) => examine_route(topic, &route, findings),
            Err(error) => findings.error(
                format!("topic {topic}"),
                format!("it is listed and has no route: {error}"),
                format!("`mqadmin updateTopic -c CLUSTER -t {topic}` creates it again"),
            ),
        }
    }
    let dead = topics.iter().filter(|topic| topic.starts_with(DLQ_PREFIX));
    dead_letters(admin, dead.map(String::as_str).collect(), findings).await;
    transactions(admin, findings).await;
    own.len()
}

fn examine_route(topic: &str, route: &TopicRoute, findings: &mut Findings) {
    let about = format!("topic {topic}");
    if route.broker_datas.is_empty() || route.queue_datas.is_empty() {
        findings.error(
            &about,
            "no broker serves it",
            format!("`mqadmin updateTopic -c CLUSTER -t {topic}` creates it again, `mqadmin deleteTopic` removes it"),
        );
    }
    for queues in route
        .queue_datas
        .iter()
        .filter(|queues| queues.perm & 6 != 6)
    {
        let lacks = match queues.perm & 6 {
            4 => "it cannot be written",
            2 => "it cannot be read",
            _ => "it can be neither read nor written",
        };
        findings.warning(
            &about,
            format!("{lacks} on broker {} (perm {})", queues.broker_name, queues.perm),
            format!(
                "`mqadmin updateTopicPerm -c CLUSTER -t {topic} -p 6`; after wipeWritePerm `mqadmin addWritePerm -b {}`",
                queues.broker_name
            ),
        );
    }
    for queues in &route.queue_datas {
        if queues.write_queue_nums > queues.read_queue_nums {
            findings.warning(
                &about,
                format!(
                    "on broker {} it has {} queues to write and {} to read: messages of the others are not consumed",
                    queues.broker_name, queues.write_queue_nums, queues.read_queue_nums
                ),
                format!(
                    "`mqadmin updateTopic -c CLUSTER -t {topic} -r {0} -w {0}`",
                    queues.write_queue_nums
                ),
            );
        }
    }
}

async fn dead_letters(admin: &Admin, topics: Vec<&str>, findings: &mut Findings) {
    let all = each(topics.iter(), |topic| admin.topic_stats(topic)).await;
    for (topic, stats) in topics.iter().zip(all) {
        let Ok(stats) = stats else {
            continue;
        };
        let held: i64 = stats
            .offset_table
            .values()
            .map(|queue| queue.max_offset - queue.min_offset)
            .sum();
        if held > 0 {
            let group = topic.strip_prefix(DLQ_PREFIX).unwrap_or(topic);
            findings.warning(
                format!("group {group}"),
                format!(
                    "{held} messages are dead letters: its consumers failed on them to the end"
                ),
                format!("look at them with `mqadmin printMsg -t {topic}`"),
            );
        }
    }
}

/// Half messages that nobody has ended for long.
async fn transactions(admin: &Admin, findings: &mut Findings) {
    let Ok(stats) = admin
        .consume_stats(None, TRANSACTIONS, Some(TRANS_HALF))
        .await
    else {
        return;
    };
    let now = format::now();
    for (queue, offset) in &stats.offset_table {
        let open = offset.broker_offset - offset.consumer_offset;
        if open > 0 && offset.last_timestamp > 0 && now - offset.last_timestamp > OPEN_MILLIS {
            findings.warning(
                format!("broker {}", queue.broker_name),
                format!(
                    "up to {open} transactions are open since {}: their producers are gone or do not answer the check",
                    format::time(offset.last_timestamp)
                ),
                "start a producer of the same group, so that the broker can ask it; after transactionCheckMax rounds they are given up",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use aerobee_remoting::body::route::{BrokerData, QueueData};

    use super::*;

    #[test]
    fn permissions_and_queues_that_nobody_reads_are_told_of() {
        let mut route = TopicRoute {
            broker_datas: vec![BrokerData::default()],
            queue_datas: vec![QueueData {
                broker_name: "a".to_owned(),
                perm: 6,
                read_queue_nums: 8,
                write_queue_nums: 8,
                ..QueueData::default()
            }],
            ..TopicRoute::default()
        };
        let count = |route: &TopicRoute| {
            let mut findings = Findings::default();
            examine_route("T", route, &mut findings);
            findings.0.len()
        };
        assert_eq!(count(&route), 0);
        route.queue_datas[0].perm = 4;
        assert_eq!(count(&route), 1);
        route.queue_datas[0].read_queue_nums = 4;
        assert_eq!(count(&route), 2);
        assert_eq!(count(&TopicRoute::default()), 1);
    }
}
