// SPDX-License-Identifier: Apache-2.0
//! Containers, which hold several brokers in one process.

use std::time::Duration;

use aerobee_remoting::{
    Request as _,
    header::broker::{AddBroker as AddHeader, RemoveBroker as RemoveHeader},
};
use clap::Args;

use crate::{
    admin::Admin,
    cli::Command,
    error::Error,
    out::{Out, done},
    target::checked,
};

/// How long to wait for a broker to start or stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// addBroker
#[derive(Debug, Args)]
pub(crate) struct AddBroker {
    /// The container
    #[arg(short = 'c', long = "brokerContainerAddr", value_name = "HOST:PORT")]
    broker_container_addr: String,
    /// File with the broker's configuration, on the host of the container
    #[arg(short = 'b', long = "brokerConfigPath", value_name = "FILE")]
    broker_config_path: String,
}

impl Command for AddBroker {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let address = checked(&self.broker_container_addr)?;
        let header = AddHeader {
            config_path: &self.broker_config_path,
        };
        admin
            .ask(&address, AddHeader::CODE, &header, &[], PATIENCE)
            .await?;
        done!(out, "add broker to {address} success");
        Ok(())
    }
}

/// removeBroker
#[derive(Debug, Args)]
pub(crate) struct RemoveBroker {
    /// The container
    #[arg(short = 'c', long = "brokerContainerAddr", value_name = "HOST:PORT")]
    broker_container_addr: String,
    /// The broker: cluster:name:id
    #[arg(short = 'b', long = "brokerIdentity")]
    broker_identity: String,
}

impl Command for RemoveBroker {
    fn would(&self) -> String {
        format!(
            "Broker {} will be stopped and taken out of its container.",
            self.broker_identity
        )
    }

    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let address = checked(&self.broker_container_addr)?;
        let parts: Vec<_> = self.broker_identity.split(':').map(str::trim).collect();
        let wrong = || Error::Flag {
            flag: "--brokerIdentity",
            value: self.broker_identity.clone(),
            reason: "write it as cluster:name:id".to_owned(),
        };
        let [cluster, name, id] = parts.as_slice() else {
            return Err(wrong());
        };
        let header = RemoveHeader {
            broker_name: name,
            broker_cluster_name: cluster,
            broker_id: id.parse().ok().filter(|id| *id >= 0).ok_or_else(wrong)?,
        };
        admin
            .ask(&address, RemoveHeader::CODE, &header, &[], PATIENCE)
            .await?;
        done!(out, "remove broker from {address} success");
        Ok(())
    }
}
