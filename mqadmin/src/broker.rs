// SPDX-License-Identifier: Apache-2.0
//! Brokers: state, cleaning, how far all groups are.

use std::{collections::BTreeMap, time::Duration};

use aerobee_remoting::{
    RequestCode,
    body::stats::{ConsumeStatsList, GroupOffset},
    header::{
        Empty, replication::ResetMasterFlushOffset as ResetHeader, stats::GetBrokerConsumeStats,
    },
};
use clap::Args;
use serde::Serialize;

use crate::{
    admin::{self, Admin, LONG_PATIENCE},
    cli::Command,
    error::Error,
    format::{self, front},
    out::{Out, done, line},
    target::{Target, checked},
};

/// brokerStatus
#[derive(Debug, Args)]
pub(crate) struct BrokerStatus {
    #[command(flatten)]
    target: Target,
}

impl Command for BrokerStatus {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let alone = self.target.broker_addr.is_some();
        let mut all = BTreeMap::new();
        for address in self.target.all(admin).await? {
            let info = admin.runtime_info(&address).await?;
            all.insert(address, info.table);
        }
        out.show(&all, |text| {
            for (address, table) in &all {
                for (key, value) in table {
                    if alone {
                        line!(text, "{key:<32}: {value}");
                    } else {
                        line!(text, "{address:<24} {key:<32}: {value}");
                    }
                }
            }
        })?;
        Ok(())
    }
}

/// brokerConsumeStats
#[derive(Debug, Args)]
pub(crate) struct BrokerConsumeStats {
    /// The broker
    #[arg(short = 'b', long = "brokerAddr", value_name = "HOST:PORT")]
    broker_addr: String,
    /// How long to wait
    #[arg(short = 't', long = "timeoutMillis", default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..))]
    timeout_millis: u64,
    /// Only queues that are at least so far behind
    #[arg(short = 'l', long, default_value_t = 0, allow_negative_numbers = true)]
    level: i64,
    /// Only ordered topics
    #[arg(short = 'o', long, default_value_t = false, action = clap::ArgAction::Set)]
    order: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ConsumeRow {
    topic: String,
    group: String,
    broker_name: String,
    queue_id: i32,
    #[serde(flatten)]
    offset: GroupOffset,
    diff: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ConsumeRows {
    queues: Vec<ConsumeRow>,
    total_diff: i64,
}

impl Command for BrokerConsumeStats {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let address = checked(&self.broker_addr)?;
        let request = RequestCode::GET_BROKER_CONSUME_STATS;
        let header = GetBrokerConsumeStats {
            is_order: self.order,
        };
        let within = Duration::from_millis(self.timeout_millis);
        let answer = admin.ask(&address, request, &header, &[], within).await?;
        let list: ConsumeStatsList = admin::body(&address, request, &answer)?;
        let rows = ConsumeRows {
            total_diff: list.total_diff,
            queues: consume_rows(list, self.level),
        };
        out.show(&rows, |text| {
            line!(
                text,
                "{:<64}  {:<64}  {:<32}  {:<4}  {:<20}  {:<20}  {:<20}  {}",
                "#Topic",
                "#Group",
                "#Broker Name",
                "#QID",
                "#Broker Offset",
                "#Consumer Offset",
                "#Diff",
                "#LastTime"
            );
            for row in &rows.queues {
                line!(
                    text,
                    "{:<64}  {:<64}  {:<32}  {:<4}  {:<20}  {:<20}  {:<20}  {}",
                    front(&row.topic, 64),
                    row.group,
                    front(&row.broker_name, 32),
                    row.queue_id,
                    row.offset.broker_offset,
                    row.offset.consumer_offset,
                    row.diff,
                    format::time(row.offset.last_timestamp)
                );
            }
            line!(text, "\nDiff Total: {}", rows.total_diff);
        })?;
        Ok(())
    }
}

/// The queues that are at least `level` behind and of which something was consumed.
fn consume_rows(list: ConsumeStatsList, level: i64) -> Vec<ConsumeRow> {
    let mut rows = Vec::new();
    for (group, all) in list.consume_stats_list.into_iter().flatten() {
        for (queue, offset) in all.into_iter().flat_map(|stats| stats.offset_table) {
            let diff = offset.broker_offset - offset.consumer_offset;
            if diff >= level && offset.last_timestamp > 0 {
                rows.push(ConsumeRow {
                    topic: queue.topic,
                    group: group.clone(),
                    broker_name: queue.broker_name,
                    queue_id: queue.queue_id,
                    offset,
                    diff,
                });
            }
        }
    }
    rows
}

/// Which brokers a cleaning is for: one, a cluster, or all.
#[derive(Debug, Args)]
pub(crate) struct CleaningTarget {
    /// The broker; goes before --cluster
    #[arg(short = 'b', long = "brokerAddr", value_name = "HOST:PORT")]
    broker_addr: Option<String>,
    /// The cluster [else: all clusters]
    #[arg(short = 'c', long = "cluster", alias = "clusterName")]
    cluster: Option<String>,
}

impl CleaningTarget {
    /// Asks each broker for the cleaning.
    async fn clean(&self, admin: &Admin, out: &mut Out, request: RequestCode) -> Result<(), Error> {
        let brokers = match (&self.broker_addr, &self.cluster) {
            (Some(address), _) => vec![checked(address)?],
            (None, Some(cluster)) => admin.members(cluster).await?,
            (None, None) => {
                let info = admin.cluster_info().await?;
                info.broker_addr_table
                    .values()
                    .flat_map(|broker| broker.broker_addrs.values().cloned())
                    .collect()
            }
        };
        for address in &brokers {
            admin
                .ask(address, request, &Empty, &[], LONG_PATIENCE)
                .await?;
        }
        done!(
            out,
            "{}",
            if brokers.is_empty() {
                "false"
            } else {
                "success"
            }
        );
        Ok(())
    }
}

/// cleanExpiredCQ
#[derive(Debug, Args)]
pub(crate) struct CleanExpiredCq {
    #[command(flatten)]
    target: CleaningTarget,
}

impl Command for CleanExpiredCq {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        self.target
            .clean(admin, out, RequestCode::CLEAN_EXPIRED_CONSUMEQUEUE)
            .await
    }
}

/// deleteExpiredCommitLog
#[derive(Debug, Args)]
pub(crate) struct DeleteExpiredCommitLog {
    #[command(flatten)]
    target: CleaningTarget,
}

impl Command for DeleteExpiredCommitLog {
    fn would(&self) -> String {
        "Log files whose time is over will be deleted.".to_owned()
    }

    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        self.target
            .clean(admin, out, RequestCode::DELETE_EXPIRED_COMMITLOG)
            .await
    }
}

/// cleanUnusedTopic
#[derive(Debug, Args)]
pub(crate) struct CleanUnusedTopic {
    #[command(flatten)]
    target: CleaningTarget,
}

impl Command for CleanUnusedTopic {
    fn would(&self) -> String {
        "Queues of topics that no longer exist will be deleted.".to_owned()
    }

    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        self.target
            .clean(admin, out, RequestCode::CLEAN_UNUSED_TOPIC)
            .await
    }
}

/// resetMasterFlushOffset
#[derive(Debug, Args)]
pub(crate) struct ResetMasterFlushOffset {
    /// The slave
    #[arg(short = 'b', long = "brokerAddr", value_name = "HOST:PORT")]
    broker_addr: String,
    /// Up to where its master has flushed
    #[arg(short = 'o', long, allow_negative_numbers = true)]
    offset: i64,
}

impl Command for ResetMasterFlushOffset {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let address = checked(&self.broker_addr)?;
        let header = ResetHeader {
            master_flush_offset: Some(self.offset),
        };
        admin.call(&address, &header).await?;
        done!(out, "reset master flush offset to {} success", self.offset);
        Ok(())
    }
}
