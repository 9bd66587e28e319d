// SPDX-License-Identifier: Apache-2.0
//! Topics: what there is, and where.

use std::collections::BTreeMap;

use aerobee_message::topic::{DLQ_PREFIX, RETRY_PREFIX};
use aerobee_remoting::{
    body::{MessageQueue, cluster::ClusterInfo, route::TopicRoute as Route, stats::TopicStats},
    fastjson,
    header::stats::GetTopicStats,
};
use clap::Args;
use serde::Serialize;

use crate::{
    admin::{Admin, PATIENCE, each},
    cli::Command,
    error::Error,
    format::{self, front},
    out::{Out, Text, line},
};

/// topicList
#[derive(Debug, Args)]
pub(crate) struct TopicList {
    /// Print the cluster and the groups of each topic too
    #[arg(short = 'c', long = "clusterModel")]
    cluster_model: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TopicRow {
    cluster: String,
    topic: String,
    groups: Vec<String>,
}

impl Command for TopicList {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let topics = admin.topic_list().await?;
        if !self.cluster_model {
            out.show(&topics, |text| {
                for topic in &topics {
                    line!(text, "{topic}");
                }
            })?;
            return Ok(());
        }
        let info = &admin.cluster_info().await?;
        let own = topics
            .into_iter()
            .filter(|topic| !topic.starts_with(RETRY_PREFIX) && !topic.starts_with(DLQ_PREFIX));
        let rows = each(own, |topic| topic_row(admin, info, topic)).await;
        out.show(&rows, |text| {
            line!(
                text,
                "{:<20}  {:<48}  {:<48}",
                "#Cluster Name",
                "#Topic",
                "#Consumer Group"
            );
            for row in &rows {
                let none = [String::new()];
                let groups = if row.groups.is_empty() {
                    &none[..]
                } else {
                    &row.groups
                };
                for group in groups {
                    line!(
                        text,
                        "{:<20}  {:<64}  {:<64}",
                        front(&row.cluster, 20),
                        front(&row.topic, 64),
                        front(group, 64)
                    );
                }
            }
        })?;
        Ok(())
    }
}

async fn topic_row(admin: &Admin, info: &ClusterInfo, topic: String) -> TopicRow {
    let mut row = TopicRow {
        cluster: String::new(),
        topic,
        groups: Vec::new(),
    };
    let Ok(route) = admin.route(&row.topic).await else {
        return row;
    };
    let first = route.broker_datas.first().map(|broker| &broker.broker_name);
    row.cluster = info
        .cluster_addr_table
        .iter()
        .find(|(_, brokers)| first.is_some_and(|first| brokers.contains(first)))
        .map(|(cluster, _)| cluster.clone())
        .unwrap_or_default();
    if let Ok(groups) = admin.groups_of_topic(&route, &row.topic).await {
        row.groups = groups.group_list.into_iter().collect();
    }
    row
}

/// topicRoute
#[derive(Debug, Args)]
pub(crate) struct TopicRoute {
    /// Name of the topic
    #[arg(short = 't', long)]
    topic: String,
    /// Print a table instead of JSON
    #[arg(short = 'l', long)]
    list: bool,
}

impl Command for TopicRoute {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let route = admin.route(&self.topic).await?;
        out.show(&route, |text| {
            if self.list {
                print_route(text, &route);
            } else {
                line!(text, "{}", as_java(&route));
            }
        })?;
        Ok(())
    }
}

/// The route as Apache's tools print it: JSON but for the broker ids, which stand without quotes.
fn as_java(route: &Route) -> String {
    let pretty = fastjson::to_pretty(route);
    let pretty = String::from_utf8_lossy(&pretty);
    let lines = pretty.lines().map(|line| {
        let bare = line.trim_start_matches('\t');
        let id = bare
            .strip_prefix('"')
            .and_then(|rest| rest.split_once("\":"));
        match id {
            Some((id, rest)) if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!("{}{id}:{rest}", &line[..line.len() - bare.len()])
            }
            _ => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn print_route(text: &mut Text, route: &Route) {
    let mut row = |cells: [&str; 6]| {
        let [cluster, broker, addresses, read, write, perm] = cells;
        line!(
            text,
            "{cluster:<45} {broker:<32} {addresses:<50} {read:<10} {write:<11} {perm:<5}"
        );
    };
    row([
        "#ClusterName",
        "#BrokerName",
        "#BrokerAddrs",
        "#ReadQueue",
        "#WriteQueue",
        "#Perm",
    ]);
    let queues: BTreeMap<_, _> = route
        .queue_datas
        .iter()
        .map(|queues| (&queues.broker_name, queues))
        .collect();
    let brokers: BTreeMap<_, _> = route
        .broker_datas
        .iter()
        .map(|broker| (&broker.broker_name, broker))
        .collect();
    let (mut reads, mut writes) = (0, 0);
    for (name, broker) in brokers {
        let Some(queues) = queues.get(name) else {
            continue;
        };
        reads += queues.read_queue_nums;
        writes += queues.write_queue_nums;
        row([
            &broker.cluster,
            name,
            &format::map(&broker.broker_addrs),
            &queues.read_queue_nums.to_string(),
            &queues.write_queue_nums.to_string(),
            &queues.perm.to_string(),
        ]);
    }
    line!(text, "{}", "-".repeat(158));
    let mut row = |cells: [&str; 6]| {
        let [cluster, broker, addresses, read, write, perm] = cells;
        line!(
            text,
            "{cluster:<45} {broker:<32} {addresses:<50} {read:<10} {write:<11} {perm:<5}"
        );
    };
    let count = queues.len().to_string();
    row([
        "Total:",
        &count,
        "",
        &reads.to_string(),
        &writes.to_string(),
        "",
    ]);
}

/// topicStatus
#[derive(Debug, Args)]
pub(crate) struct TopicStatus {
    /// Name of the topic
    #[arg(short = 't', long)]
    topic: String,
    /// Cluster, or parent of a light queue, whose route is taken
    #[arg(short = 'c', long = "cluster")]
    cluster: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TopicStatusRows {
    queues: Vec<QueueRow>,
    topic_put_tps: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct QueueRow {
    broker_name: String,
    queue_id: i32,
    min_offset: i64,
    max_offset: i64,
    last_update_timestamp: i64,
}

impl Command for TopicStatus {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let topic = self.topic.as_str();
        let stats = match &self.cluster {
            None => admin.topic_stats(topic).await?,
            Some(cluster) => {
                let mut all = TopicStats::default();
                let route = admin.route(cluster).await?;
                let header = GetTopicStats { topic };
                let parts: Vec<TopicStats> = admin.read_all(&route, &header, PATIENCE).await?;
                for part in parts {
                    all.offset_table.extend(part.offset_table);
                }
                all
            }
        };
        let rows = TopicStatusRows {
            queues: stats.offset_table.iter().map(queue_row).collect(),
            topic_put_tps: stats.topic_put_tps,
        };
        out.show(&rows, |text| {
            line!(
                text,
                "{:<32}  {:<4}  {:<20}  {:<20}    {}",
                "#Broker Name",
                "#QID",
                "#Min Offset",
                "#Max Offset",
                "#Last Updated"
            );
            for row in &rows.queues {
                let updated = match row.last_update_timestamp {
                    at if at > 0 => format::time_millis(at),
                    _ => String::new(),
                };
                line!(
                    text,
                    "{:<32}  {:<4}  {:<20}  {:<20}    {updated}",
                    front(&row.broker_name, 32),
                    row.queue_id,
                    row.min_offset,
                    row.max_offset
                );
            }
            line!(text);
            line!(
                text,
                "Topic Put TPS: {}",
                format::double(rows.topic_put_tps)
            );
        })?;
        Ok(())
    }
}

fn queue_row(
    (queue, offsets): (&MessageQueue, &aerobee_remoting::body::stats::TopicOffset),
) -> QueueRow {
    QueueRow {
        broker_name: queue.broker_name.clone(),
        queue_id: queue.queue_id,
        min_offset: offsets.min_offset,
        max_offset: offsets.max_offset,
        last_update_timestamp: offsets.last_update_timestamp,
    }
}

/// topicClusterList
#[derive(Debug, Args)]
pub(crate) struct TopicClusterList {
    /// Name of the topic
    #[arg(short = 't', long)]
    topic: String,
}

impl Command for TopicClusterList {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let info = admin.cluster_info().await?;
        let route = admin.route(&self.topic).await?;
        let first = route
            .broker_datas
            .first()
            .ok_or_else(|| Error::NoRoute(self.topic.clone()))?;
        let clusters: Vec<_> = info
            .cluster_addr_table
            .iter()
            .filter(|(_, brokers)| brokers.contains(&first.broker_name))
            .map(|(cluster, _)| cluster.as_str())
            .collect();
        out.show(&clusters, |text| {
            for cluster in &clusters {
                line!(text, "{cluster}");
            }
        })?;
        Ok(())
    }
}

/// allocateMQ
#[derive(Debug, Args)]
pub(crate) struct AllocateMq {
    /// Name of the topic
    #[arg(short = 't', long)]
    topic: String,
    /// Clients that share the queues, separated by commas
    #[arg(short = 'i', long = "ipList", value_delimiter = ',', required = true)]
    ip_list: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Shares {
    result: BTreeMap<String, Vec<MessageQueue>>,
}

impl Command for AllocateMq {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let route = admin.route(&self.topic).await?;
        let mut queues: Vec<_> = route
            .queue_datas
            .iter()
            .filter(|queues| queues.perm & 4 != 0)
            .flat_map(|queues| {
                (0..queues.read_queue_nums).map(|id| {
                    MessageQueue::new(self.topic.as_str(), queues.broker_name.as_str(), id)
                })
            })
            .collect();
        queues.sort();
        let clients = self.ip_list.len();
        let shares = Shares {
            result: self
                .ip_list
                .iter()
                .enumerate()
                .map(|(at, ip)| (ip.clone(), share(&queues, clients, at).to_vec()))
                .collect(),
        };
        out.show(&shares, |text| {
            line!(text, "{}", fastjson::to_string(&shares));
        })?;
        Ok(())
    }
}

/// The share of client `at` of `clients`: runs of equal length, the first ones longer by one.
fn share<T>(queues: &[T], clients: usize, at: usize) -> &[T] {
    let (each, rest) = (queues.len() / clients, queues.len() % clients);
    let start = at * each + at.min(rest);
    let end = start + each + usize::from(at < rest);
    queues.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_shared_in_runs() {
        let queues = [0, 1, 2, 3, 4, 5, 6, 7];
        let shares = |clients| {
            (0..clients)
                .map(|at| share(&queues, clients, at))
                .collect::<Vec<_>>()
        };
        assert_eq!(shares(3), [&[0, 1, 2][..], &[3, 4, 5], &[6, 7]]);
        assert_eq!(shares(1), [&queues[..]]);
        assert_eq!(shares(9)[8], [0; 0]);
    }
}
