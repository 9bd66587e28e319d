// SPDX-License-Identifier: Apache-2.0
//! Rates of topics and groups.

use aerobee_message::topic::{DLQ_PREFIX, RETRY_PREFIX};
use aerobee_remoting::{
    body::{
        route::{MASTER_ID, TopicRoute},
        stats::BrokerStats,
    },
    header::stats::ViewBrokerStats,
};
use clap::Args;
use serde::Serialize;

use crate::{
    admin::{Admin, each},
    cli::Command,
    error::Error,
    format::front,
    out::{Out, line},
};

/// statsAll
#[derive(Debug, Args)]
pub(crate) struct StatsAll {
    /// Only what had messages within the last day
    #[arg(short = 'a', long = "activeTopic")]
    active_topic: bool,
    /// Only this topic
    #[arg(short = 't', long)]
    topic: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StatsRow {
    topic: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    accumulation: i64,
    in_tps: f64,
    out_tps: f64,
    in_msg_24_hour: i64,
    out_msg_24_hour: i64,
}

/// Rate of the last minute, and number of the last day.
async fn counts(admin: &Admin, route: &TopicRoute, name: &str, key: &str) -> (f64, i64) {
    let masters = route
        .broker_datas
        .iter()
        .filter_map(|broker| broker.broker_addrs.get(&MASTER_ID));
    let header = &ViewBrokerStats {
        stats_name: name,
        stats_key: key,
    };
    let answers = each(masters, |master| {
        admin.read::<_, BrokerStats>(master, header)
    })
    .await;
    let (mut tps, mut sum) = (0.0, 0);
    // What was never counted is refused.
    for stats in answers.into_iter().flatten() {
        tps += stats.stats_minute.tps;
        let spans = [
            stats.stats_day.sum,
            stats.stats_hour.sum,
            stats.stats_minute.sum,
        ];
        sum += spans.into_iter().find(|sum| *sum != 0).unwrap_or(0);
    }
    (tps, sum)
}

async fn rows_of(admin: &Admin, topic: &str) -> Result<Vec<StatsRow>, Error> {
    let route = admin.route(topic).await?;
    let groups = admin.groups_of_topic(&route, topic).await?.group_list;
    let (in_tps, in_sum) = counts(admin, &route, "TOPIC_PUT_NUMS", topic).await;
    let row = |group: Option<String>, accumulation, (out_tps, out_sum)| StatsRow {
        topic: topic.to_owned(),
        group,
        accumulation,
        in_tps,
        out_tps,
        in_msg_24_hour: in_sum,
        out_msg_24_hour: out_sum,
    };
    if groups.is_empty() {
        return Ok(vec![row(None, 0, (0.0, 0))]);
    }
    let mut rows = Vec::new();
    for group in groups {
        let key = format!("{topic}@{group}");
        let out = counts(admin, &route, "GROUP_GET_NUMS", &key).await;
        let behind = admin
            .consume_stats(None, &group, Some(topic))
            .await
            .map_or(0, |stats| {
                let diff = |offset: &aerobee_remoting::body::stats::GroupOffset| {
                    offset.broker_offset - offset.consumer_offset
                };
                stats.offset_table.values().map(diff).sum::<i64>()
            });
        rows.push(row(Some(group), behind.max(0), out));
    }
    Ok(rows)
}

impl Command for StatsAll {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let topics = admin.topic_list().await?;
        let wanted = topics.iter().filter(|topic| {
            !topic.starts_with(RETRY_PREFIX)
                && !topic.starts_with(DLQ_PREFIX)
                && self.topic.as_ref().is_none_or(|only| only == *topic)
        });
        // A topic that is deleted meanwhile has no rows.
        let rows: Vec<_> = each(wanted, |topic| rows_of(admin, topic))
            .await
            .into_iter()
            .flatten()
            .flatten()
            .filter(|row| !self.active_topic || row.in_msg_24_hour > 0 || row.out_msg_24_hour > 0)
            .collect();
        out.show(&rows, |text| {
            line!(
                text,
                "{:<64}  {:<64} {:>12} {:>11} {:>11} {:>14} {:>14}",
                "#Topic",
                "#Consumer Group",
                "#Accumulation",
                "#InTPS",
                "#OutTPS",
                "#InMsg24Hour",
                "#OutMsg24Hour"
            );
            for row in &rows {
                let (out_tps, out_sum) = match row.group {
                    Some(_) => (
                        format!("{:.2}", row.out_tps),
                        row.out_msg_24_hour.to_string(),
                    ),
                    None => (String::new(), "NO_CONSUMER".to_owned()),
                };
                line!(
                    text,
                    "{:<64}  {:<64} {:>12} {:>11.2} {out_tps:>11} {:>14} {out_sum:>14}",
                    front(&row.topic, 64),
                    front(row.group.as_deref().unwrap_or_default(), 64),
                    row.accumulation,
                    row.in_tps,
                    row.in_msg_24_hour
                );
            }
        })?;
        Ok(())
    }
}
