// SPDX-License-Identifier: Apache-2.0
//! Cold reads, reading ahead, and what keeps timer messages.

use std::collections::BTreeMap;

use aerobee_remoting::{
    RequestCode,
    body::cold::ColdDataFlow,
    header::{
        Empty,
        broker::{SetReadAhead, SwitchTimerEngine as SwitchHeader},
    },
};
use clap::Args;
use serde::Serialize;

use crate::{
    admin::{Admin, PATIENCE},
    broker_config::{config_line, partly},
    cli::Command,
    error::Error,
    format,
    out::{Out, done, line, warn},
    target::{Target, group_name},
};

/// getColdDataFlowCtrInfo
#[derive(Debug, Args)]
pub(crate) struct GetColdDataFlowCtrInfo {
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    cg_cold_read_threshold: i64,
    config_table: BTreeMap<String, i64>,
    global_acc: i64,
    global_cold_read_threshold: i64,
    runtime_table: BTreeMap<String, GroupRow>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupRow {
    cold_acc: i64,
    create_time_format: String,
    last_cold_read_time_format: String,
}

impl From<ColdDataFlow> for Row {
    fn from(flow: ColdDataFlow) -> Self {
        let groups = flow.runtime_table.into_iter().map(|(group, reads)| {
            let row = GroupRow {
                cold_acc: reads.cold_acc,
                create_time_format: format::time(reads.create_time_mills),
                last_cold_read_time_format: format::time(reads.last_cold_read_time_mills),
            };
            (group, row)
        });
        Self {
            cg_cold_read_threshold: flow.cg_cold_read_threshold,
            config_table: flow.config_table,
            global_acc: flow.global_acc,
            global_cold_read_threshold: flow.global_cold_read_threshold,
            runtime_table: groups.collect(),
        }
    }
}

impl Command for GetColdDataFlowCtrInfo {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let alone = self.target.broker_addr.is_some();
        let mut rows = BTreeMap::new();
        for address in self.target.all(admin).await? {
            let request = RequestCode::GET_COLD_DATA_FLOW_CTR_INFO;
            let flow: ColdDataFlow = admin.read_plain(&address, request, PATIENCE).await?;
            rows.insert(address, Row::from(flow));
        }
        out.show(&rows, |text| {
            for (address, row) in &rows {
                let master = if alone { "" } else { "Master: " };
                line!(text, " ============{master}{address}============");
                let pretty = aerobee_remoting::fastjson::to_pretty(row);
                line!(text, "{}", String::from_utf8_lossy(&pretty));
            }
        })?;
        Ok(())
    }
}

/// Asks each master of a target.
async fn tell(
    admin: &Admin,
    out: &mut Out,
    target: &Target,
    request: RequestCode,
    (body, success): (&[u8], &str),
) -> Result<(), Error> {
    let brokers = target.masters(admin).await?;
    let mut failed = 0;
    for address in &brokers {
        match admin.ask(address, request, &Empty, body, PATIENCE).await {
            Ok(_) => done!(out, "{success}, {address}"),
            Err(error) if brokers.len() == 1 => return Err(error),
            Err(error) => {
                failed += 1;
                warn(format_args!("{address}: {error}"));
            }
        }
    }
    partly(failed, brokers.len())
}

/// updateColdDataFlowCtrGroupConfig
#[derive(Debug, Args)]
pub(crate) struct UpdateColdDataFlowCtrGroupConfig {
    #[command(flatten)]
    target: Target,
    /// The group
    #[arg(short = 'g', long = "consumerGroup")]
    consumer_group: String,
    /// Bytes that it may read
    #[arg(short = 'v', long, value_parser = clap::value_parser!(i64).range(0..))]
    threshold: i64,
}

impl Command for UpdateColdDataFlowCtrGroupConfig {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        group_name(&self.consumer_group)?;
        let body = config_line(&self.consumer_group, &self.threshold.to_string())?;
        let request = RequestCode::UPDATE_COLD_DATA_FLOW_CTR_CONFIG;
        tell(
            admin,
            out,
            &self.target,
            request,
            (&body, "updateColdDataFlowCtrGroupConfig success"),
        )
        .await
    }
}

/// removeColdDataFlowCtrGroupConfig
#[derive(Debug, Args)]
pub(crate) struct RemoveColdDataFlowCtrGroupConfig {
    #[command(flatten)]
    target: Target,
    /// The group
    #[arg(short = 'g', long = "consumerGroup")]
    consumer_group: String,
}

impl Command for RemoveColdDataFlowCtrGroupConfig {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        group_name(&self.consumer_group)?;
        let body = self.consumer_group.as_bytes();
        let request = RequestCode::REMOVE_COLD_DATA_FLOW_CTR_CONFIG;
        tell(
            admin,
            out,
            &self.target,
            request,
            (body, "remove broker cold read threshold success"),
        )
        .await
    }
}

/// setCommitLogReadAheadMode
#[derive(Debug, Args)]
pub(crate) struct SetCommitLogReadAheadMode {
    #[command(flatten)]
    target: Target,
    /// 0 normal, 1 random
    #[arg(short = 'm', long = "commitLogReadAheadMode", value_parser = ["0", "1"])]
    commit_log_read_ahead_mode: String,
}

impl Command for SetCommitLogReadAheadMode {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let alone = self.target.broker_addr.is_some();
        for address in self.target.all(admin).await? {
            let header = SetReadAhead {
                mode: &self.commit_log_read_ahead_mode,
            };
            let answer = admin.call(&address, &header).await?;
            let master = if alone { "" } else { "Master: " };
            done!(out, " ============{master}{address}============");
            done!(out, "commitLog set readAhead mode rstStr{}", answer.remark);
        }
        Ok(())
    }
}

/// switchTimerEngine
#[derive(Debug, Args)]
pub(crate) struct SwitchTimerEngine {
    #[command(flatten)]
    target: Target,
    /// R the time line in RocksDB, F the wheel in files
    #[arg(short = 'e', long = "engineType", value_parser = ["R", "F"])]
    engine_type: String,
}

impl Command for SwitchTimerEngine {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let engine = if self.engine_type == "R" {
            "ROCKSDB_TIMELINE"
        } else {
            "FILE_TIME_WHEEL"
        };
        for address in self.target.masters(admin).await? {
            let header = SwitchHeader {
                engine: Some(&self.engine_type),
            };
            admin.call(&address, &header).await?;
            done!(out, "switchTimerEngine to {engine} success, {address}");
        }
        Ok(())
    }
}
