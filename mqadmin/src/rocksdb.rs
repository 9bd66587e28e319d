// SPDX-License-Identifier: Apache-2.0
//! Brokers that keep their tables in RocksDB.

use std::{path::PathBuf, time::Duration};

use aerobee_remoting::{
    Request as _, RequestCode,
    body::cold::RocksDbQueueCheck,
    header::{
        Empty,
        broker::{CheckRocksDbQueues, ExportRocksDb},
    },
};
use clap::Args;

use crate::{
    admin::{self, Admin},
    cli::Command,
    error::Error,
    format,
    out::{Out, done},
    target::{Target, checked},
};

/// How long to wait for what a broker writes out.
const PATIENCE: Duration = Duration::from_secs(30);
const DAY: i64 = 24 * 3600 * 1000;

/// Tables in RocksDB are read by the broker that has them.
fn local(what: &'static str) -> Error {
    Error::Unsupported {
        what,
        reason: "this tool reads no RocksDB folder by itself; the broker that owns it does: `mqadmin rocksDBConfigToJson -t topics -b HOST:PORT` has it write its tables out as JSON",
    }
}

/// exportMetadataInRocksDB
#[derive(Debug, Args)]
pub(crate) struct ExportMetadataInRocksDb {
    /// Folder of the tables
    #[arg(short = 'p', long)]
    path: PathBuf,
    /// Which table
    #[arg(short = 't', long = "configType", value_parser = ["topics", "subscriptionGroups"])]
    config_type: String,
    /// Whether to print JSON
    #[arg(short = 'j', long = "jsonEnable", default_value_t = true, action = clap::ArgAction::Set)]
    json_enable: bool,
}

impl Command for ExportMetadataInRocksDb {
    async fn run(&self, _: &Admin, _: &mut Out) -> Result<(), Error> {
        if !self.path.is_dir() {
            return Err(Error::NotFound(format!(
                "RocksDB path {} is invalid: there is no such folder ({}, json {})",
                self.path.display(),
                self.config_type,
                self.json_enable
            )));
        }
        Err(local("exportMetadataInRocksDB"))
    }
}

/// rocksDBConfigToJson
#[derive(Debug, Args)]
pub(crate) struct RocksDbConfigToJson {
    /// Which tables: topics, subscriptionGroups, consumerOffsets, separated by ';' [else: all]
    #[arg(short = 't', long = "configType")]
    config_type: Option<String>,
    /// Folder of the tables, to read them without their broker
    #[arg(short = 'p', long = "configPath")]
    config_path: Option<PathBuf>,
    /// File to write to, with --configPath
    #[arg(short = 'e', long = "exportFile")]
    export_file: Option<PathBuf>,
    /// Whether to print JSON, with --configPath
    #[arg(short = 'j', long = "jsonEnable", action = clap::ArgAction::Set)]
    json_enable: Option<bool>,
    /// All brokers of this cluster
    #[arg(short = 'c', long = "cluster", alias = "clusterName")]
    cluster: Option<String>,
    /// The broker; goes before --cluster
    #[arg(short = 'b', long = "brokerAddr", value_name = "HOST:PORT")]
    broker_addr: Option<String>,
}

const TABLES: [&str; 3] = ["topics", "subscriptionGroups", "consumerOffsets"];

impl Command for RocksDbConfigToJson {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        if self.config_path.is_some() || self.export_file.is_some() || self.json_enable.is_some() {
            return Err(local("rocksDBConfigToJson --configPath"));
        }
        let all = TABLES.join(";");
        let tables = self.config_type.as_deref().unwrap_or(&all);
        if let Some(wrong) = tables.split(';').find(|table| !TABLES.contains(table)) {
            return Err(Error::Flag {
                flag: "--configType",
                value: wrong.to_owned(),
                reason: format!("known are {}", TABLES.join(", ")),
            });
        }
        let brokers = match (&self.broker_addr, &self.cluster) {
            (Some(address), _) => vec![checked(address)?],
            (None, Some(cluster)) => admin.masters(cluster).await?,
            (None, None) => {
                return Err(Error::Flag {
                    flag: "--brokerAddr",
                    value: String::new(),
                    reason: "give it, or --cluster".to_owned(),
                });
            }
        };
        let header = ExportRocksDb {
            config_type: tables,
        };
        for address in brokers {
            admin
                .ask(&address, ExportRocksDb::CODE, &header, &[], PATIENCE)
                .await?;
            done!(out, "{address}: broker export done.");
        }
        Ok(())
    }
}

/// exportPopRecord
#[derive(Debug, Args)]
pub(crate) struct ExportPopRecord {
    #[command(flatten)]
    target: Target,
    /// Only tell what would be done; Apache's tool does it when this is true, and so does this one
    #[arg(short = 'd', long = "dryRun", action = clap::ArgAction::Set)]
    dry_run: Option<bool>,
}

impl Command for ExportPopRecord {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        // Apache's tool reads the flag the wrong way round; scripts count on it.
        let dry = self.dry_run == Some(false);
        for address in self.target.all(admin).await? {
            if !dry {
                admin
                    .ask(&address, RequestCode::POP_ROLLBACK, &Empty, &[], PATIENCE)
                    .await?;
            }
            done!(
                out,
                "Export broker records, brokerAddr={address}, dryRun={dry}"
            );
        }
        Ok(())
    }
}

/// checkRocksdbCqWriteProgress
#[derive(Debug, Args)]
pub(crate) struct CheckRocksDbCqWriteProgress {
    /// The cluster
    #[arg(short = 'c', long = "cluster", alias = "clusterName")]
    cluster: String,
    /// Only this topic
    #[arg(short = 't', long)]
    topic: Option<String>,
    /// Earliest store time, ms since 1970; -cf for short [else: 30 days ago]
    #[arg(long = "checkFrom")]
    check_from: Option<i64>,
}

impl Command for CheckRocksDbCqWriteProgress {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let info = admin.cluster_info().await?;
        let header = CheckRocksDbQueues {
            topic: self.topic.as_deref(),
            check_store_time: self.check_from.unwrap_or_else(|| format::now() - 30 * DAY),
        };
        let mut failed = 0;
        let brokers = admin::members(&info, &self.cluster)?;
        for broker in &brokers {
            let Some(address) = admin::pick(broker) else {
                continue;
            };
            let request = RequestCode::CHECK_ROCKSDB_CQ_WRITE_PROGRESS;
            let answer = admin.ask(address, request, &header, &[], PATIENCE).await?;
            let check: RocksDbQueueCheck = admin::body(address, request, &answer)?;
            let name = &broker.broker_name;
            if check.check_status == 3 {
                failed += 1;
                done!(
                    out,
                    "{name} check error, please check log... errInfo: {}",
                    check.check_result.unwrap_or_default()
                );
            } else {
                done!(
                    out,
                    "{name} check doing, please wait and get the result from log... "
                );
            }
        }
        crate::broker_config::partly(failed, brokers.len())
    }
}
