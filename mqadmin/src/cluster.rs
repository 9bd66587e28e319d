// SPDX-License-Identifier: Apache-2.0
//! Clusters: their brokers and what these do.

use std::collections::BTreeMap;

use aerobee_remoting::body::cluster::ClusterInfo;
use clap::Args;
use serde::Serialize;

use crate::{
    admin::{Admin, each},
    cli::Command,
    error::Error,
    format,
    out::{Out, Text, line, warn},
};

/// clusterList
#[derive(Debug, Args)]
pub(crate) struct ClusterList {
    /// Print how many messages went in and out today and yesterday
    #[arg(short = 'm', long = "moreStats")]
    more_stats: bool,
    /// Repeat after so many seconds
    #[arg(short = 'i', long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    interval: Option<u64>,
    /// Only this cluster
    #[arg(short = 'c', long = "clusterName")]
    cluster_name: Option<String>,
}

/// A broker as the name server and the broker itself know it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BrokerRow {
    cluster: String,
    broker: String,
    id: i64,
    address: String,
    /// Why it did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// What it says of itself.
    runtime: BTreeMap<String, String>,
}

impl Command for ClusterList {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        loop {
            let info = admin.cluster_info().await?;
            let rows = self.rows(admin, &info).await;
            out.show(&rows, |text| {
                if self.more_stats {
                    print_more(text, &rows);
                } else {
                    print_base(text, &rows);
                }
            })?;
            for row in &rows {
                if let Some(error) = &row.error {
                    warn(format_args!("{}: {error}", row.address));
                }
            }
            let Some(seconds) = self.interval else {
                return Ok(());
            };
            out.pause(seconds).await?;
        }
    }
}

impl ClusterList {
    async fn rows(&self, admin: &Admin, info: &ClusterInfo) -> Vec<BrokerRow> {
        let wanted = |cluster: &str| {
            self.cluster_name
                .as_deref()
                .is_none_or(|only| only == cluster)
        };
        let brokers = info
            .cluster_addr_table
            .iter()
            .filter(|(cluster, _)| wanted(cluster))
            .flat_map(|(cluster, names)| names.iter().map(move |name| (cluster, name)))
            .filter_map(|(cluster, name)| Some((cluster, name, info.broker_addr_table.get(name)?)))
            .flat_map(|(cluster, name, broker)| {
                broker
                    .broker_addrs
                    .iter()
                    .map(move |(id, address)| (cluster, name, *id, address))
            });
        each(brokers, |(cluster, broker, id, address)| async move {
            let (runtime, error) = match admin.runtime_info(address).await {
                Ok(info) => (info.table, None),
                Err(error) => (BTreeMap::new(), Some(error.to_string())),
            };
            BrokerRow {
                cluster: cluster.clone(),
                broker: broker.clone(),
                id,
                address: address.clone(),
                error,
                runtime,
            }
        })
        .await
    }
}

impl BrokerRow {
    /// A value; nothing when the broker did not answer, `null` when it left the key out, as in Java.
    fn get(&self, key: &str) -> &str {
        match self.runtime.get(key) {
            Some(value) => value,
            None if self.error.is_some() => "",
            None => "null",
        }
    }

    fn or_n(&self, key: &str) -> &str {
        match self.runtime.get(key) {
            Some(value) => value,
            None if self.error.is_some() => "",
            None => "N",
        }
    }

    fn number<T: std::str::FromStr + Default>(&self, key: &str) -> T {
        self.runtime
            .get(key)
            .and_then(|value| value.parse().ok())
            .unwrap_or_default()
    }

    /// The first of three rates.
    fn rate(&self, key: &str) -> f64 {
        self.runtime
            .get(key)
            .and_then(|value| value.split(' ').next()?.parse().ok())
            .unwrap_or_default()
    }
}

fn print_base(text: &mut Text, rows: &[BrokerRow]) {
    line!(
        text,
        "{:<22}  {:<22}  {:<4}  {:<22} {:<16}  {:>16}  {:>30}  {:<22}  {:<11}  {:<12}  {:<8}  {:<10}",
        "#Cluster Name",
        "#Broker Name",
        "#BID",
        "#Addr",
        "#Version",
        "#InTPS(LOAD)",
        "#OutTPS(LOAD)",
        "#Timer(Progress)",
        "#PCWait(ms)",
        "#Hour",
        "#SPACE",
        "#ACTIVATED"
    );
    for row in rows {
        let load_in = format!(
            "{:9.2}({},{}ms)",
            row.rate("putTps"),
            row.get("sendThreadPoolQueueSize"),
            row.get("sendThreadPoolQueueHeadWaitTimeMills")
        );
        let load_out = format!(
            "{:9.2}({},{}ms|{},{}ms)",
            row.rate("getTransferredTps"),
            row.get("pullThreadPoolQueueSize"),
            row.get("pullThreadPoolQueueHeadWaitTimeMills"),
            row.or_n("ackThreadPoolQueueSize"),
            row.or_n("ackThreadPoolQueueHeadWaitTimeMills")
        );
        let timer = format!(
            "{}-{}({:.1}w, {:.1}, {:.1})",
            row.number::<i64>("timerReadBehind"),
            row.number::<i64>("timerOffsetBehind"),
            row.number::<i64>("timerCongestNum") as f32 / 10_000.0,
            row.number::<f32>("timerEnqueueTps"),
            row.number::<f32>("timerDequeueTps")
        );
        let hours = row
            .runtime
            .get("earliestMessageTimeStamp")
            .and_then(|at| at.parse::<i64>().ok())
            .map_or(0.0, |at| (format::now() - at) as f64 / 3_600_000.0);
        line!(
            text,
            "{:<22}  {:<22}  {:<4}  {:<22} {:<16}  {load_in:>16}  {load_out:>30}  {timer:<22}  {:>11}  {:<12}  {:<8}  {:>10}",
            row.cluster,
            row.broker,
            row.id,
            row.address,
            row.get("brokerVersionDesc"),
            row.get("pageCacheLockTimeMills"),
            format!("{hours:.2}"),
            format!("{:.4}", row.number::<f64>("commitLogDiskRatio")),
            row.runtime
                .get("brokerActive")
                .is_some_and(|active| active.eq_ignore_ascii_case("true")),
        );
    }
}

fn print_more(text: &mut Text, rows: &[BrokerRow]) {
    line!(
        text,
        "{:<16}  {:<32} {:>14} {:>14} {:>14} {:>14}",
        "#Cluster Name",
        "#Broker Name",
        "#InTotalYest",
        "#OutTotalYest",
        "#InTotalToday",
        "#OutTotalToday"
    );
    for row in rows {
        let between =
            |later: &str, earlier: &str| row.number::<i64>(later) - row.number::<i64>(earlier);
        line!(
            text,
            "{:<16}  {:<32} {:>14} {:>14} {:>14} {:>14}",
            row.cluster,
            row.broker,
            between("msgPutTotalTodayMorning", "msgPutTotalYesterdayMorning"),
            between("msgGetTotalTodayMorning", "msgGetTotalYesterdayMorning"),
            between("msgPutTotalTodayNow", "msgPutTotalTodayMorning"),
            between("msgGetTotalTodayNow", "msgGetTotalTodayMorning")
        );
    }
}
