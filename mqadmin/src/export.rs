// SPDX-License-Identifier: Apache-2.0
//! Writes what a cluster has into files.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use aerobee_message::topic::{DLQ_PREFIX, RETRY_PREFIX, SYSTEM_GROUP_PREFIX};
use aerobee_remoting::{
    RequestCode,
    body::{
        group::{SubscriptionGroupConfig, SubscriptionGroupTable},
        route::MASTER_ID,
        stats::BrokerStats,
        topic::{TopicConfig, TopicConfigTable, TopicList},
    },
    code::version,
    fastjson,
    header::stats::ViewBrokerStats,
};
use clap::Args;
use serde::Serialize;

use crate::{
    admin::{self, Admin, LONG_PATIENCE},
    broker_config::config_of,
    cli::Command,
    error::Error,
    format,
    out::{Out, done},
    target::{Target, checked},
};

/// Where files go unless told otherwise.
const FOLDER: &str = "/tmp/rocketmq/export";

/// Groups that every broker has.
const SYSTEM_GROUPS: [&str; 10] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "__MONITOR_CONSUMER",
    "SELF_TEST_P_GROUP",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_ONSAPI_PULL",
    "CID_RMQ_SYS_TRANS",
];

fn write<T: Serialize>(folder: &Path, name: &str, data: &T) -> Result<PathBuf, Error> {
    let path = folder.join(name);
    let file = |source| Error::File {
        path: path.clone(),
        source,
    };
    std::fs::create_dir_all(folder).map_err(file)?;
    std::fs::write(&path, fastjson::to_pretty(data)).map_err(file)?;
    Ok(path)
}

/// The topics of a broker that are not the system's; with or without those for retries.
async fn user_topics(
    admin: &Admin,
    address: &str,
    special: bool,
) -> Result<TopicConfigTable, Error> {
    let request = RequestCode::GET_ALL_TOPIC_CONFIG;
    let mut table: TopicConfigTable = admin.read_plain(address, request, LONG_PATIENCE).await?;
    let request = RequestCode::GET_SYSTEM_TOPIC_LIST_FROM_BROKER;
    let system: TopicList = admin.read_plain(address, request, LONG_PATIENCE).await?;
    table.topic_config_table.retain(|name, _| {
        !system.topic_list.contains(name)
            && !aerobee_message::topic::is_system(name)
            && (special || !(name.starts_with(RETRY_PREFIX) || name.starts_with(DLQ_PREFIX)))
    });
    Ok(table)
}

/// The groups of a broker that are not the system's.
async fn user_groups(admin: &Admin, address: &str) -> Result<SubscriptionGroupTable, Error> {
    let request = RequestCode::GET_ALL_SUBSCRIPTIONGROUP_CONFIG;
    let mut table: SubscriptionGroupTable =
        admin.read_plain(address, request, LONG_PATIENCE).await?;
    table.subscription_group_table.retain(|name, _| {
        !name.starts_with(SYSTEM_GROUP_PREFIX) && !SYSTEM_GROUPS.contains(&name.as_str())
    });
    Ok(table)
}

/// exportMetadata
#[derive(Debug, Args)]
pub(crate) struct ExportMetadata {
    #[command(flatten)]
    target: Target,
    /// Folder to write to
    #[arg(short = 'f', long = "filePath", default_value = FOLDER)]
    file_path: PathBuf,
    /// Only topics
    #[arg(short = 't', long)]
    topic: bool,
    /// Only groups
    #[arg(short = 'g', long = "subscriptionGroup")]
    subscription_group: bool,
    /// Topics for retries and dead letters too
    #[arg(short = 's', long = "specialTopic")]
    special_topic: bool,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    export_time: i64,
    subscription_group_table: Option<BTreeMap<String, SubscriptionGroupConfig>>,
    topic_config_table: Option<BTreeMap<String, TopicConfig>>,
}

impl Command for ExportMetadata {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        if let Some(address) = &self.target.broker_addr {
            let address = checked(address)?;
            let path = if self.topic {
                let topics = user_topics(admin, &address, self.special_topic).await?;
                write(&self.file_path, "topic.json", &topics)?
            } else if self.subscription_group {
                let groups = user_groups(admin, &address).await?;
                write(&self.file_path, "subscriptionGroup.json", &groups)?
            } else {
                return Err(Error::Flag {
                    flag: "--brokerAddr",
                    value: address,
                    reason: "with one broker, -t or -g tells what to export".to_owned(),
                });
            };
            done!(out, "export {} success", path.display());
            return Ok(());
        }
        let mut topics = BTreeMap::<String, TopicConfig>::new();
        let mut groups = BTreeMap::<String, SubscriptionGroupConfig>::new();
        for address in self.target.masters(admin).await? {
            for (name, mut topic) in user_topics(admin, &address, self.special_topic)
                .await?
                .topic_config_table
            {
                if let Some(known) = topics.get(&name) {
                    topic.read_queue_nums += known.read_queue_nums;
                    topic.write_queue_nums += known.write_queue_nums;
                }
                topics.insert(name, topic);
            }
            for (name, mut group) in user_groups(admin, &address).await?.subscription_group_table {
                if let Some(known) = groups.get(&name) {
                    group.retry_queue_nums += known.retry_queue_nums;
                }
                groups.insert(name, group);
            }
        }
        let name = match (self.topic, self.subscription_group) {
            (true, _) => "topic.json",
            (false, true) => "subscriptionGroup.json",
            (false, false) => "metadata.json",
        };
        let data = Metadata {
            export_time: format::now(),
            topic_config_table: (name != "subscriptionGroup.json").then_some(topics),
            subscription_group_table: (name != "topic.json").then_some(groups),
        };
        let path = write(&self.file_path, name, &data)?;
        done!(out, "export {} success", path.display());
        Ok(())
    }
}

/// exportConfigs
#[derive(Debug, Args)]
pub(crate) struct ExportConfigs {
    /// The cluster
    #[arg(short = 'c', long = "clusterName")]
    cluster_name: String,
    /// Folder to write to
    #[arg(short = 'f', long = "filePath", default_value = FOLDER)]
    file_path: PathBuf,
}

/// The keys that are exported.
const KEYS: [&str; 16] = [
    "brokerClusterName",
    "brokerId",
    "brokerName",
    "brokerRole",
    "fileReservedTime",
    "filterServerNums",
    "flushDiskType",
    "maxMessageSize",
    "messageDelayLevel",
    "msgTraceTopicName",
    "slaveReadEnable",
    "traceOn",
    "traceTopicEnable",
    "useTLS",
    "autoCreateTopicEnable",
    "autoCreateSubscriptionGroup",
];

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Configs {
    broker_configs: BTreeMap<String, BTreeMap<String, String>>,
    cluster_scale: Scale,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Scale {
    master_broker_size: usize,
    namesrv_size: usize,
    slave_broker_size: usize,
}

impl Command for ExportConfigs {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let info = admin.cluster_info().await?;
        let mut configs = Configs {
            broker_configs: BTreeMap::new(),
            cluster_scale: Scale {
                namesrv_size: admin.namesrvs()?.len(),
                ..Scale::default()
            },
        };
        for broker in admin::members(&info, &self.cluster_name)? {
            let slaves = broker
                .broker_addrs
                .keys()
                .filter(|id| **id != MASTER_ID)
                .count();
            configs.cluster_scale.slave_broker_size += slaves;
            let Some(master) = broker.broker_addrs.get(&MASTER_ID) else {
                continue;
            };
            configs.cluster_scale.master_broker_size += 1;
            let mut lines = config_of(admin, master).await?;
            lines.retain(|key, _| KEYS.contains(&key.as_str()));
            configs
                .broker_configs
                .insert(broker.broker_name.clone(), lines);
        }
        let path = write(&self.file_path, "configs.json", &configs)?;
        done!(out, "export {} success", path.display());
        Ok(())
    }
}

/// exportMetrics
#[derive(Debug, Args)]
pub(crate) struct ExportMetrics {
    /// The cluster
    #[arg(short = 'c', long = "clusterName")]
    cluster_name: String,
    /// Folder to write to
    #[arg(short = 'f', long = "filePath", default_value = FOLDER)]
    file_path: PathBuf,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metrics {
    evaluate_report: BTreeMap<String, BrokerMetrics>,
    total_data: Totals,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct BrokerMetrics {
    runtime_env: RuntimeEnv,
    runtime_quota: RuntimeQuota,
    runtime_version: RuntimeVersion,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct RuntimeEnv {
    cpu_num: Option<String>,
    #[serde(rename = "totalMemKBytes")]
    total_mem_kbytes: Option<String>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct RuntimeQuota {
    disk_ratio: BTreeMap<String, String>,
    group_size: usize,
    message_average_size: Option<String>,
    one_day_num: OneDay,
    topic_size: usize,
    tps: Tps,
}

#[derive(Debug, Default, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct OneDay {
    normal_one_day_in_num: i64,
    normal_one_day_out_num: i64,
    schedule_one_day_in_num: i64,
    trans_one_day_in_num: i64,
}

#[derive(Debug, Default, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tps {
    normal_in_tps: f64,
    normal_out_tps: f64,
    schedule_in_tps: f64,
    trans_in_tps: f64,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct RuntimeVersion {
    client_info: BTreeSet<String>,
    rocketmq_version: String,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Totals {
    total_one_day_num: OneDay,
    total_tps: TotalTps,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct TotalTps {
    total_normal_in_tps: f64,
    total_normal_out_tps: f64,
    total_schedule_in_tps: f64,
    total_trans_in_tps: f64,
}

/// Rate of the last minute and number of the last day of what goes into a topic.
async fn put_nums(admin: &Admin, address: &str, topic: &str) -> (f64, i64) {
    let header = ViewBrokerStats {
        stats_name: "TOPIC_PUT_NUMS",
        stats_key: topic,
    };
    match admin.read::<_, BrokerStats>(address, &header).await {
        Ok(stats) => {
            let spans = [
                stats.stats_day.sum,
                stats.stats_hour.sum,
                stats.stats_minute.sum,
            ];
            (
                stats.stats_minute.tps,
                spans.into_iter().find(|sum| *sum != 0).unwrap_or(0),
            )
        }
        // What was never counted is refused.
        Err(_) => (0.0, 0),
    }
}

async fn clients(admin: &Admin, groups: &SubscriptionGroupTable) -> BTreeSet<String> {
    let mut clients = BTreeSet::new();
    for group in groups.subscription_group_table.keys() {
        if let Ok(members) = admin.connections(group).await {
            clients.extend(
                members
                    .connection_set
                    .iter()
                    .map(|one| format!("{}%{}", one.language.name(), version::name(one.version))),
            );
        }
    }
    clients
}

impl ExportMetrics {
    async fn of_broker(&self, admin: &Admin, address: &str) -> Result<BrokerMetrics, Error> {
        let info = admin.runtime_info(address).await?.table;
        let config = config_of(admin, address).await?;
        let groups = user_groups(admin, address).await?;
        let topics = user_topics(admin, address, false).await?;
        let first = |key: &str| {
            info.get(key)
                .and_then(|rates| rates.split(' ').next()?.parse::<f64>().ok())
                .unwrap_or(0.0)
        };
        let number = |key: &str| {
            info.get(key)
                .and_then(|value| value.parse::<i64>().ok())
                .unwrap_or(0)
        };
        let (trans_tps, trans_sum) =
            put_nums(admin, address, aerobee_message::topic::TRANS_HALF).await;
        let (schedule_tps, schedule_sum) =
            put_nums(admin, address, aerobee_message::topic::SCHEDULE).await;
        let disk = ["commitLogDiskRatio", "consumeQueueDiskRatio"];
        Ok(BrokerMetrics {
            runtime_env: RuntimeEnv {
                cpu_num: config.get("clientCallbackExecutorThreads").cloned(),
                total_mem_kbytes: info.get("totalMemKBytes").cloned(),
            },
            runtime_quota: RuntimeQuota {
                disk_ratio: disk
                    .iter()
                    .filter_map(|key| Some(((*key).to_owned(), info.get(*key)?.clone())))
                    .collect(),
                group_size: groups.subscription_group_table.len(),
                message_average_size: info.get("putMessageAverageSize").cloned(),
                one_day_num: OneDay {
                    normal_one_day_in_num: number("msgPutTotalTodayMorning")
                        - number("msgPutTotalYesterdayMorning"),
                    normal_one_day_out_num: number("msgGetTotalTodayMorning")
                        - number("msgGetTotalYesterdayMorning"),
                    schedule_one_day_in_num: schedule_sum,
                    trans_one_day_in_num: trans_sum,
                },
                topic_size: topics.topic_config_table.len(),
                tps: Tps {
                    normal_in_tps: first("putTps"),
                    normal_out_tps: first("getTransferredTps"),
                    schedule_in_tps: schedule_tps,
                    trans_in_tps: trans_tps,
                },
            },
            runtime_version: RuntimeVersion {
                client_info: clients(admin, &groups).await,
                rocketmq_version: version::name(version::V5_5_0),
            },
        })
    }
}

impl Command for ExportMetrics {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let info = admin.cluster_info().await?;
        let mut metrics = Metrics::default();
        for broker in admin::members(&info, &self.cluster_name)? {
            let Some(master) = broker.broker_addrs.get(&MASTER_ID) else {
                continue;
            };
            let one = self.of_broker(admin, master).await?;
            let (day, tps) = (&one.runtime_quota.one_day_num, &one.runtime_quota.tps);
            let total = &mut metrics.total_data;
            total.total_one_day_num.normal_one_day_in_num += day.normal_one_day_in_num;
            total.total_one_day_num.normal_one_day_out_num += day.normal_one_day_out_num;
            total.total_one_day_num.schedule_one_day_in_num += day.schedule_one_day_in_num;
            total.total_one_day_num.trans_one_day_in_num += day.trans_one_day_in_num;
            total.total_tps.total_normal_in_tps += tps.normal_in_tps;
            total.total_tps.total_normal_out_tps += tps.normal_out_tps;
            total.total_tps.total_schedule_in_tps += tps.schedule_in_tps;
            total.total_tps.total_trans_in_tps += tps.trans_in_tps;
            metrics
                .evaluate_report
                .insert(broker.broker_name.clone(), one);
        }
        let path = write(&self.file_path, "metrics.json", &metrics)?;
        done!(out, "export {} success", path.display());
        Ok(())
    }
}
