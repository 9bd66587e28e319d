// SPDX-License-Identifier: Apache-2.0
//! Controllers.

use std::collections::BTreeMap;

use aerobee_daemon::flags::parse_addresses;
use aerobee_remoting::{
    RequestCode,
    body::{
        cluster::BrokerMembers,
        controller::{AllReplicas, Replica},
    },
    fastjson,
    header::{
        Empty,
        controller::{
            CleanBrokerData, ControllerMetadataReply, ElectMaster as ElectHeader, ElectMasterReply,
        },
    },
};
use clap::Args;
use serde::Serialize;

use crate::{
    admin::{self, Admin, PATIENCE},
    broker_config::{Change, print_configs, read_config},
    cli::Command,
    error::Error,
    format,
    ha::{interval, next_round},
    out::{Out, Text, done, line},
};

/// The controllers to ask.
#[derive(Debug, Args)]
pub(crate) struct Controllers {
    /// Controllers, separated by ';'
    #[arg(short = 'a', long = "controllerAddress", value_name = "HOST:PORT;…")]
    controller_address: String,
}

impl Controllers {
    fn all(&self) -> Result<Vec<String>, Error> {
        let all = parse_addresses(&self.controller_address)?;
        if all.is_empty() {
            return Err(Error::Flag {
                flag: "--controllerAddress",
                value: self.controller_address.clone(),
                reason: "it names no controller".to_owned(),
            });
        }
        Ok(all.iter().map(ToString::to_string).collect())
    }

    fn first(&self) -> Result<String, Error> {
        Ok(self.all()?.swap_remove(0))
    }

    async fn metadata(&self, admin: &Admin) -> Result<Metadata, Error> {
        let address = self.first()?;
        let request = RequestCode::CONTROLLER_GET_METADATA_INFO;
        let answer = admin.ask(&address, request, &Empty, &[], PATIENCE).await?;
        let reply: ControllerMetadataReply<'_> = admin::read_header(&address, request, &answer)?;
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Ok(Metadata {
            group: owned(reply.group),
            controller_leader_id: owned(reply.controller_leader_id),
            controller_leader_address: owned(reply.controller_leader_address),
            peers: reply
                .peers
                .unwrap_or_default()
                .split(';')
                .filter(|peer| !peer.is_empty())
                .map(str::to_owned)
                .collect(),
        })
    }

    /// The controller that leads, which alone answers most requests.
    async fn leader(&self, admin: &Admin) -> Result<String, Error> {
        let address = self.metadata(admin).await?.controller_leader_address;
        address
            .filter(|address| !address.is_empty())
            .ok_or_else(|| {
                Error::NotFound(
                    "no controller leads at the moment: most of them have to be up".to_owned(),
                )
            })
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    group: Option<String>,
    controller_leader_id: Option<String>,
    controller_leader_address: Option<String>,
    peers: Vec<String>,
}

fn or_null(text: Option<&String>) -> &str {
    text.map_or("null", String::as_str)
}

/// getControllerMetaData
#[derive(Debug, Args)]
pub(crate) struct GetControllerMetaData {
    #[command(flatten)]
    controllers: Controllers,
}

impl Command for GetControllerMetaData {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let data = self.controllers.metadata(admin).await?;
        out.show(&data, |text| {
            line!(text, "\n#ControllerGroup\t{}", or_null(data.group.as_ref()));
            line!(
                text,
                "#ControllerLeaderId\t{}",
                or_null(data.controller_leader_id.as_ref())
            );
            line!(
                text,
                "#ControllerLeaderAddress\t{}",
                or_null(data.controller_leader_address.as_ref())
            );
            for peer in &data.peers {
                line!(text, "#Peer:\t{peer}");
            }
        })?;
        Ok(())
    }
}

/// getControllerConfig
#[derive(Debug, Args)]
pub(crate) struct GetControllerConfig {
    #[command(flatten)]
    controllers: Controllers,
}

impl Command for GetControllerConfig {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let request = RequestCode::GET_CONTROLLER_CONFIG;
        let mut all = BTreeMap::new();
        for address in self.controllers.all()? {
            let answer = admin.ask(&address, request, &Empty, &[], PATIENCE).await?;
            let lines = read_config(&address, request, &answer)?;
            all.insert(address, lines);
        }
        out.show(&all, |text| print_configs(text, &all))?;
        Ok(())
    }
}

/// updateControllerConfig
#[derive(Debug, Args)]
pub(crate) struct UpdateControllerConfig {
    #[command(flatten)]
    controllers: Controllers,
    /// The key
    #[arg(short = 'k', long)]
    key: String,
    /// Its new value
    #[arg(short = 'v', long, allow_hyphen_values = true)]
    value: String,
}

impl Command for UpdateControllerConfig {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let codes = (
            RequestCode::UPDATE_CONTROLLER_CONFIG,
            RequestCode::GET_CONTROLLER_CONFIG,
        );
        let change = Change::new(codes, &self.key, &self.value)?;
        let all = self.controllers.all()?;
        for address in &all {
            change.make(admin, address).await?;
        }
        done!(
            out,
            "update controller config success!{}\n{} : {}",
            format::list(&all),
            self.key,
            self.value
        );
        Ok(())
    }
}

/// getSyncStateSet
#[derive(Debug, Args)]
pub(crate) struct GetSyncStateSet {
    #[command(flatten)]
    controllers: Controllers,
    /// All brokers of this cluster
    #[arg(
        short = 'c',
        long = "clusterName",
        required_unless_present = "broker_name"
    )]
    cluster_name: Option<String>,
    /// Name of the broker
    #[arg(short = 'b', long = "brokerName")]
    broker_name: Option<String>,
    /// Repeat after so many seconds
    #[arg(short = 'i', long, value_name = "SECONDS", value_parser = interval)]
    interval: Option<u64>,
}

impl Command for GetSyncStateSet {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        loop {
            let names = match (&self.broker_name, &self.cluster_name) {
                (Some(name), _) => vec![name.clone()],
                (None, cluster) => {
                    let info = admin.cluster_info().await?;
                    admin::members(&info, cluster.as_deref().unwrap_or_default())?
                        .iter()
                        .map(|broker| broker.broker_name.clone())
                        .collect()
                }
            };
            let leader = self.controllers.leader(admin).await?;
            let request = RequestCode::CONTROLLER_GET_SYNC_STATE_DATA;
            let body = fastjson::to_vec(&names);
            let answer = admin.ask(&leader, request, &Empty, &body, PATIENCE).await?;
            let all: AllReplicas = admin::body(&leader, request, &answer)?;
            out.show(&all, |text| print_replicas(text, &all))?;
            if !next_round(out, self.interval).await? {
                return Ok(());
            }
        }
    }
}

fn print_replicas(text: &mut Text, all: &AllReplicas) {
    for (name, replicas) in &all.replicas_info_table {
        line!(
            text,
            "\n#brokerName\t{name}\n#MasterBrokerId\t{}\n#MasterAddr\t{}\n#MasterEpoch\t{}\n#SyncStateSetEpoch\t{}\n#SyncStateSetNums\t{}",
            replicas
                .master_broker_id
                .map_or_else(|| "null".to_owned(), |id| id.to_string()),
            or_null(replicas.master_address.as_ref()),
            replicas.master_epoch,
            replicas.sync_state_set_epoch,
            replicas.in_sync_replicas.len()
        );
        for replica in &replicas.in_sync_replicas {
            line!(text, "\nInSyncReplica:\t{}", replica_text(replica));
        }
        for replica in &replicas.not_in_sync_replicas {
            line!(text, "\nNotInSyncReplica:\t{}", replica_text(replica));
        }
    }
}

fn replica_text(replica: &Replica) -> String {
    format!(
        "ReplicaIdentity{{brokerName='{}', brokerId={}, brokerAddress='{}', alive={}}}",
        replica.broker_name,
        replica.broker_id,
        replica.broker_address,
        replica
            .alive
            .map_or_else(|| "null".to_owned(), |alive| alive.to_string())
    )
}

/// electMaster
#[derive(Debug, Args)]
pub(crate) struct ElectMaster {
    #[command(flatten)]
    controllers: Controllers,
    /// Id of the broker that is to be master
    #[arg(short = 'b', long = "brokerId", value_parser = clap::value_parser!(i64).range(0..))]
    broker_id: i64,
    /// Name of the broker; -bn for short
    #[arg(long = "brokerName")]
    broker_name: String,
    /// Its cluster
    #[arg(short = 'c', long = "clusterName")]
    cluster_name: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Elected {
    cluster_name: String,
    broker_name: String,
    master_address: Option<String>,
    master_epoch: Option<i32>,
    sync_state_set_epoch: Option<i32>,
    members: BTreeMap<i64, String>,
}

impl Command for ElectMaster {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let leader = self.controllers.leader(admin).await?;
        let header = ElectHeader {
            cluster_name: &self.cluster_name,
            broker_name: &self.broker_name,
            broker_id: self.broker_id,
            designate_elect: true,
            invoke_time: Some(format::now()),
        };
        let request = RequestCode::CONTROLLER_ELECT_MASTER;
        let answer = admin.call(&leader, &header).await?;
        let reply: ElectMasterReply<'_> = admin::read_header(&leader, request, &answer)?;
        let members = if answer.body.is_empty() {
            BrokerMembers::default()
        } else {
            admin::body(&leader, request, &answer)?
        };
        let elected = Elected {
            cluster_name: self.cluster_name.clone(),
            broker_name: self.broker_name.clone(),
            master_address: reply.master_address.map(str::to_owned),
            master_epoch: reply.master_epoch,
            sync_state_set_epoch: reply.sync_state_set_epoch,
            members: members.broker_addrs,
        };
        let number =
            |epoch: Option<i32>| epoch.map_or_else(|| "null".to_owned(), |epoch| epoch.to_string());
        out.show(&elected, |text| {
            line!(text, "\n#ClusterName\t{}", elected.cluster_name);
            line!(text, "#BrokerName\t{}", elected.broker_name);
            line!(
                text,
                "#BrokerMasterAddr\t{}",
                or_null(elected.master_address.as_ref())
            );
            line!(text, "#MasterEpoch\t{}", number(elected.master_epoch));
            line!(
                text,
                "#SyncStateSetEpoch\t{}",
                number(elected.sync_state_set_epoch)
            );
            for (id, address) in &elected.members {
                line!(text, "\t#Broker\t{id}\t{address}");
            }
        })?;
        Ok(())
    }
}

/// cleanBrokerMetadata
#[derive(Debug, Args)]
pub(crate) struct CleanBrokerMetadata {
    #[command(flatten)]
    controllers: Controllers,
    /// Ids of brokers, separated by ';' [else: all of the name]
    #[arg(short = 'b', long = "brokerControllerIdsToClean")]
    broker_controller_ids_to_clean: Option<String>,
    /// Name of the brokers; -bn for short
    #[arg(long = "brokerName")]
    broker_name: String,
    /// Their cluster
    #[arg(
        short = 'c',
        long = "clusterName",
        required_unless_present = "clean_living_broker"
    )]
    cluster_name: Option<String>,
    /// Brokers that are alive too
    #[arg(short = 'l', long = "cleanLivingBroker")]
    clean_living_broker: bool,
}

impl Command for CleanBrokerMetadata {
    fn would(&self) -> String {
        format!("The controller will forget broker {}.", self.broker_name)
    }

    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        if let Some(ids) = &self.broker_controller_ids_to_clean
            && !ids.split(';').all(|id| id.trim().parse::<u64>().is_ok())
        {
            return Err(Error::Flag {
                flag: "--brokerControllerIdsToClean",
                value: ids.clone(),
                reason: "please set the option <brokerControllerIdsToClean> according to the format 1;2;3".to_owned(),
            });
        }
        let leader = self.controllers.leader(admin).await?;
        let header = CleanBrokerData {
            cluster_name: self.cluster_name.as_deref(),
            broker_name: &self.broker_name,
            broker_controller_ids_to_clean: self.broker_controller_ids_to_clean.as_deref(),
            clean_living_broker: self.clean_living_broker,
            invoke_time: Some(format::now()),
        };
        admin.call(&leader, &header).await?;
        done!(
            out,
            "clear broker {} metadata from controller success! ",
            self.broker_name
        );
        Ok(())
    }
}
