// SPDX-License-Identifier: Apache-2.0
//! How far groups are.

use std::collections::BTreeMap;

use aerobee_message::topic::{RETRY_PREFIX, group_of_retry_topic};
use aerobee_remoting::{
    body::{
        MessageQueue,
        connection::ConsumerConnections,
        heartbeat::{ConsumeType, MessageModel},
        running::ConsumerRunningInfo,
        stats::{ConsumeStats, GroupOffset},
    },
    code::version,
    header::client::GetConsumerRunningInfo,
};
use clap::Args;
use serde::Serialize;

use crate::{
    admin::{Admin, each, pick},
    cli::Command,
    error::Error,
    format::{self, front},
    out::{Out, Text, line},
};

/// consumerProgress
#[derive(Debug, Args)]
pub(crate) struct ConsumerProgress {
    /// The group [else: a line for each group]
    #[arg(short = 'g', long = "groupName")]
    group_name: Option<String>,
    /// Only this topic
    #[arg(short = 't', long = "topicName")]
    topic_name: Option<String>,
    /// Whether to print which client has which queue
    #[arg(short = 's', long = "showClientIP", default_value_t = false, action = clap::ArgAction::Set)]
    show_client_ip: bool,
    /// Cluster, or parent of a light queue, whose route is taken
    #[arg(short = 'c', long)]
    cluster: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct QueueProgress {
    topic: String,
    broker_name: String,
    queue_id: i32,
    #[serde(flatten)]
    offset: GroupOffset,
    diff: i64,
    inflight: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ip: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupProgress {
    group: String,
    queues: Vec<QueueProgress>,
    consume_tps: f64,
    diff_total: i64,
    inflight_total: i64,
}

impl Command for ConsumerProgress {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        match &self.group_name {
            Some(group) => self.one(admin, out, group).await,
            None => all(admin, out).await,
        }
    }
}

impl ConsumerProgress {
    async fn one(&self, admin: &Admin, out: &mut Out, group: &str) -> Result<(), Error> {
        let stats = admin
            .consume_stats(self.cluster.as_deref(), group, self.topic_name.as_deref())
            .await?;
        if stats.offset_table.is_empty() {
            return Err(why_empty(admin, group).await);
        }
        let clients = if self.show_client_ip {
            owners(admin, group).await?
        } else {
            BTreeMap::new()
        };
        let progress = progress(group, stats, &clients);
        out.show(&progress, |text| {
            print_progress(text, &progress, self.show_client_ip);
        })?;
        Ok(())
    }
}

/// Why nothing is known of a group.
async fn why_empty(admin: &Admin, group: &str) -> Error {
    const NOTHING: &str =
        "Not found the consumer group consume stats, because return offset table is empty";
    Error::NotFound(match admin.connections(group).await {
        Ok(members) if members.message_model == MessageModel::Broadcasting => {
            format!("CODE: 213  DESC: {NOTHING}, the consumer is under the broadcast mode")
        }
        Ok(_) => {
            format!("CODE: 206  DESC: {NOTHING}: group {group} has not committed any offset yet")
        }
        Err(_) => format!("CODE: 206  DESC: {NOTHING}, maybe the consumer not online"),
    })
}

fn progress(
    group: &str,
    stats: ConsumeStats,
    clients: &BTreeMap<MessageQueue, String>,
) -> GroupProgress {
    let queues: Vec<_> = stats
        .offset_table
        .into_iter()
        .map(|(queue, offset)| QueueProgress {
            client_ip: clients.get(&queue).cloned(),
            topic: queue.topic,
            broker_name: queue.broker_name,
            queue_id: queue.queue_id,
            offset,
            diff: offset.broker_offset - offset.consumer_offset,
            inflight: offset.pull_offset - offset.consumer_offset,
        })
        .collect();
    let mut progress = GroupProgress {
        group: group.to_owned(),
        consume_tps: stats.consume_tps,
        diff_total: queues.iter().map(|queue| queue.diff).sum(),
        inflight_total: queues.iter().map(|queue| queue.inflight).sum(),
        queues,
    };
    // Java sorts by topic first.
    progress.queues.sort_by(|a, b| {
        (&a.topic, &a.broker_name, a.queue_id).cmp(&(&b.topic, &b.broker_name, b.queue_id))
    });
    progress
}

/// Which client has which queue.
async fn owners(admin: &Admin, group: &str) -> Result<BTreeMap<MessageQueue, String>, Error> {
    let members = admin.connections(group).await?;
    let retry = aerobee_message::topic::retry_topic(group);
    let route = admin.route(&retry).await?;
    let address = route
        .broker_datas
        .iter()
        .find_map(pick)
        .ok_or(Error::NoRoute(retry))?;
    let mut owners = BTreeMap::new();
    for member in members.connection_set {
        let header = GetConsumerRunningInfo {
            consumer_group: group,
            client_id: &member.client_id,
            jstack_enable: false,
        };
        // A client may be gone by now.
        if let Ok(info) = admin.read::<_, ConsumerRunningInfo>(address, &header).await {
            let ip = member.client_id.split('@').next().unwrap_or_default();
            owners.extend(
                info.mq_table
                    .into_keys()
                    .map(|queue| (queue, ip.to_owned())),
            );
        }
    }
    Ok(owners)
}

fn print_progress(text: &mut Text, progress: &GroupProgress, with_ip: bool) {
    let mut row = |cells: [&str; 8], ip: &str| {
        let [topic, broker, queue, end, at, diff, inflight, last] = cells;
        let ip = if with_ip {
            format!("{ip:<20} ")
        } else {
            String::new()
        };
        line!(
            text,
            "{topic:<64}  {broker:<32}  {queue:<4}  {end:<20}  {at:<20}  {ip}{diff:<20} {inflight:<20}{last}"
        );
    };
    let heads = [
        "#Topic",
        "#Broker Name",
        "#QID",
        "#Broker Offset",
        "#Consumer Offset",
        "#Diff",
        "#Inflight",
        "#LastTime",
    ];
    row(heads, "#Client IP");
    for queue in &progress.queues {
        let last = match queue.offset.last_timestamp {
            0 => " N/A".to_owned(),
            at => format!(" {}", format::time(at)),
        };
        row(
            [
                front(&queue.topic, 64),
                front(&queue.broker_name, 32),
                &queue.queue_id.to_string(),
                &queue.offset.broker_offset.to_string(),
                &queue.offset.consumer_offset.to_string(),
                &queue.diff.to_string(),
                &queue.inflight.to_string(),
                &last,
            ],
            queue.client_ip.as_deref().unwrap_or("N/A"),
        );
    }
    line!(text);
    line!(text, "Consume TPS: {:.2}", progress.consume_tps);
    line!(text, "Consume Diff Total: {}", progress.diff_total);
    line!(text, "Consume Inflight Total: {}", progress.inflight_total);
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupLine {
    group: String,
    count: usize,
    version: String,
    #[serde(rename = "type")]
    kind: &'static str,
    model: &'static str,
    tps: f64,
    diff_total: i64,
}

async fn all(admin: &Admin, out: &mut Out) -> Result<(), Error> {
    let topics = admin.topic_list().await?;
    let groups = topics
        .iter()
        .filter(|topic| topic.starts_with(RETRY_PREFIX))
        .map(|topic| group_of_retry_topic(topic));
    let rows = each(groups, |group| async move {
        let (stats, members) = tokio::join!(
            admin.consume_stats(None, group, None),
            admin.connections(group)
        );
        group_line(group, stats.ok(), members.ok())
    })
    .await;
    out.show(&rows, |text| {
        line!(
            text,
            "{:<64}  {:<6}  {:<24} {:<5}  {:<14}  {:<7}  {}",
            "#Group",
            "#Count",
            "#Version",
            "#Type",
            "#Model",
            "#TPS",
            "#Diff Total"
        );
        for row in &rows {
            line!(
                text,
                "{:<64}  {:<6}  {:<24} {:<5}  {:<14}  {:<7}  {}",
                front(&row.group, 64),
                row.count,
                row.version,
                row.kind,
                row.model,
                row.tps as i64,
                row.diff_total
            );
        }
    })?;
    Ok(())
}

fn group_line(
    group: &str,
    stats: Option<ConsumeStats>,
    members: Option<ConsumerConnections>,
) -> GroupLine {
    let mut line = GroupLine {
        group: group.to_owned(),
        count: 0,
        version: "OFFLINE".to_owned(),
        kind: "",
        model: "",
        tps: 0.0,
        diff_total: 0,
    };
    if let Some(stats) = stats {
        line.tps = stats.consume_tps;
        line.diff_total = stats
            .offset_table
            .values()
            .map(|offset| offset.broker_offset - offset.consumer_offset)
            .sum();
    }
    if let Some(members) = members.filter(|members| !members.connection_set.is_empty()) {
        line.count = members.connection_set.len();
        let oldest = members
            .connection_set
            .iter()
            .map(|member| member.version)
            .min();
        line.version = version::name(oldest.unwrap_or_default());
        line.kind = if members.consume_type == ConsumeType::Actively {
            "PULL"
        } else {
            "PUSH"
        };
        if members.consume_type == ConsumeType::Passively {
            line.model = members.message_model.name();
        }
    }
    line
}
