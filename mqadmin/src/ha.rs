// SPDX-License-Identifier: Apache-2.0
//! Replication of brokers.

use std::{collections::BTreeMap, time::Duration};

use aerobee_remoting::{
    RequestCode,
    body::{controller::Epochs, replication::HaRuntimeInfo},
};
use clap::Args;

use crate::{
    admin::{self, Admin, PATIENCE},
    cli::Command,
    error::Error,
    format,
    out::{Out, Text, line},
    target::Target,
};

/// Seconds between rounds when a blank is given.
const INTERVAL: u64 = 3;

/// Reads seconds; a blank means the default.
pub(crate) fn interval(text: &str) -> Result<u64, String> {
    match text.trim() {
        "" => Ok(INTERVAL),
        text => match text.parse() {
            Ok(seconds) if (1..=86_400).contains(&seconds) => Ok(seconds),
            _ => Err("an interval is 1 to 86400 seconds".to_owned()),
        },
    }
}

/// Waits for the next round; tells whether there is one.
pub(crate) async fn next_round(out: &mut Out, interval: Option<u64>) -> Result<bool, Error> {
    let Some(seconds) = interval else {
        return Ok(false);
    };
    out.flush()?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    Ok(true)
}

/// haStatus
#[derive(Debug, Args)]
pub(crate) struct HaStatus {
    #[command(flatten)]
    target: Target,
    /// Repeat after so many seconds
    #[arg(short = 'i', long, value_name = "SECONDS", value_parser = interval)]
    interval: Option<u64>,
}

impl Command for HaStatus {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        loop {
            let mut all = BTreeMap::new();
            for address in self.target.masters(admin).await? {
                let info: HaRuntimeInfo = admin
                    .read_plain(&address, RequestCode::GET_BROKER_HA_STATUS, PATIENCE)
                    .await?;
                all.insert(address, info);
            }
            out.show(&all, |text| {
                for (address, info) in &all {
                    if info.master {
                        print_master(text, address, info);
                    } else {
                        print_slave(text, info);
                    }
                }
            })?;
            if !next_round(out, self.interval).await? {
                return Ok(());
            }
        }
    }
}

fn kilobytes(bytes: i64) -> f64 {
    bytes as f64 / 1024.0
}

fn print_master(text: &mut Text, address: &str, info: &HaRuntimeInfo) {
    line!(
        text,
        "\n#MasterAddr\t{address}\n#MasterCommitLogMaxOffset\t{}\n#SlaveNum\t{}\n#InSyncSlaveNum\t{}",
        info.master_commit_log_max_offset,
        info.ha_connection_info.len(),
        info.in_sync_slave_nums
    );
    line!(
        text,
        "{:<32}  {:<16} {:>16} {:>16} {:>16} {:>16}",
        "#SlaveAddr",
        "#SlaveAckOffset",
        "#Diff",
        "#TransferSpeed(KB/s)",
        "#Status",
        "#TransferFromWhere"
    );
    for slave in &info.ha_connection_info {
        line!(
            text,
            "{:<32}  {:<16} {:>16} {:>16.2} {:>16} {:>16}",
            slave.addr,
            slave.slave_ack_offset,
            slave.diff,
            kilobytes(slave.transferred_byte_in_second),
            if slave.in_sync { "OK" } else { "Fall Behind" },
            slave.transfer_from_where
        );
    }
}

fn print_slave(text: &mut Text, info: &HaRuntimeInfo) {
    let slave = &info.ha_client_runtime_info;
    line!(
        text,
        "\n#MasterAddr\t{}",
        slave.master_addr.as_deref().unwrap_or("null")
    );
    line!(text, "#CommitLogMaxOffset\t{}", slave.max_offset);
    line!(
        text,
        "#TransferSpeed(KB/s)\t{:.2}",
        kilobytes(slave.transferred_byte_in_second)
    );
    line!(
        text,
        "#LastReadTime\t{}",
        format::time_millis(slave.last_read_timestamp)
    );
    line!(
        text,
        "#LastWriteTime\t{}",
        format::time_millis(slave.last_write_timestamp)
    );
    line!(text, "#MasterFlushOffset\t{}", slave.master_flush_offset);
}

/// getBrokerEpoch
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct GetBrokerEpoch {
    /// All brokers of this cluster
    #[arg(short = 'c', long = "clusterName")]
    cluster_name: Option<String>,
    /// Name of the broker
    #[arg(short = 'b', long = "brokerName")]
    broker_name: Option<String>,
    /// Repeat after so many seconds
    #[arg(short = 'i', long, value_name = "SECONDS", value_parser = interval)]
    interval: Option<u64>,
}

impl GetBrokerEpoch {
    async fn addresses(&self, admin: &Admin) -> Result<Vec<String>, Error> {
        match (&self.broker_name, &self.cluster_name) {
            (Some(name), _) => {
                let info = admin.cluster_info().await?;
                Ok(admin::broker(&info, name)?
                    .broker_addrs
                    .values()
                    .cloned()
                    .collect())
            }
            (None, Some(cluster)) => admin.members(cluster).await,
            (None, None) => Err(Error::Flag {
                flag: "--brokerName",
                value: String::new(),
                reason: "give it, or --clusterName".to_owned(),
            }),
        }
    }
}

impl Command for GetBrokerEpoch {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        loop {
            let mut all = BTreeMap::new();
            for address in self.addresses(admin).await? {
                let mut epochs: Epochs = admin
                    .read_plain(&address, RequestCode::GET_BROKER_EPOCH_CACHE, PATIENCE)
                    .await?;
                if let Some(last) = epochs.epoch_list.last_mut() {
                    last.end_offset = epochs.max_offset;
                }
                all.insert(address, epochs);
            }
            out.show(&all, |text| {
                for (address, epochs) in &all {
                    line!(
                        text,
                        "\n#clusterName\t{}\n#brokerName\t{}\n#brokerAddr\t{address}\n#brokerId\t{}",
                        epochs.cluster_name,
                        epochs.broker_name,
                        epochs.broker_id
                    );
                    for epoch in &epochs.epoch_list {
                        line!(
                            text,
                            "#Epoch: EpochEntry{{epoch={}, startOffset={}, endOffset={}}}",
                            epoch.epoch,
                            epoch.start_offset,
                            epoch.end_offset
                        );
                    }
                }
            })?;
            if !next_round(out, self.interval).await? {
                return Ok(());
            }
        }
    }
}
