// SPDX-License-Identifier: Apache-2.0
//! Flags that several commands share.

use clap::Args;

use crate::{admin::Admin, error::Error};

/// One broker, or all of a cluster.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Target {
    /// The broker, host:port; goes before --clusterName
    #[arg(
        short = 'b',
        long = "brokerAddr",
        value_name = "HOST:PORT",
        help_heading = "Which brokers (one is required)"
    )]
    pub(crate) broker_addr: Option<String>,

    /// All brokers of this cluster
    #[arg(
        short = 'c',
        long = "clusterName",
        alias = "cluster",
        value_name = "CLUSTER",
        help_heading = "Which brokers (one is required)"
    )]
    pub(crate) cluster_name: Option<String>,
}

impl Target {
    /// The broker, or the masters of the cluster.
    ///
    /// # Errors
    /// There is no such cluster, or it has no master.
    pub(crate) async fn masters(&self, admin: &Admin) -> Result<Vec<String>, Error> {
        match (&self.broker_addr, &self.cluster_name) {
            (Some(address), _) => Ok(vec![checked(address)?]),
            (None, cluster) => admin.masters(cluster.as_deref().unwrap_or_default()).await,
        }
    }

    /// The broker, or all of the cluster, slaves too.
    ///
    /// # Errors
    /// There is no such cluster.
    pub(crate) async fn all(&self, admin: &Admin) -> Result<Vec<String>, Error> {
        match (&self.broker_addr, &self.cluster_name) {
            (Some(address), _) => Ok(vec![checked(address)?]),
            (None, cluster) => admin.members(cluster.as_deref().unwrap_or_default()).await,
        }
    }
}

/// An address that is one.
///
/// # Errors
/// It is not `host:port`.
pub(crate) fn checked(address: &str) -> Result<String, Error> {
    let address: aerobee_daemon::flags::Address = address.trim().parse()?;
    Ok(address.to_string())
}

/// Checks the name of a topic before anybody is asked to do something with it.
///
/// # Errors
/// It is none.
pub(crate) fn topic_name(topic: &str) -> Result<(), Error> {
    aerobee_message::topic::validate_topic(topic).map_err(|reason| Error::Flag {
        flag: "--topic",
        value: topic.to_owned(),
        reason: reason.to_string(),
    })
}

/// Checks the name of a group.
///
/// # Errors
/// It is none.
pub(crate) fn group_name(group: &str) -> Result<(), Error> {
    aerobee_message::topic::validate_group(group).map_err(|reason| Error::Flag {
        flag: "--groupName",
        value: group.to_owned(),
        reason: reason.to_string(),
    })
}
