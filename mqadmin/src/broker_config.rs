// SPDX-License-Identifier: Apache-2.0
//! Configuration of brokers.

use std::collections::BTreeMap;

use aerobee_daemon::Properties;
use aerobee_remoting::{RequestCode, Response, body::route::MASTER_ID, header::Empty};
use clap::Args;
use serde::Serialize;

use crate::{
    admin::{self, Admin, PATIENCE},
    cli::Command,
    error::Error,
    out::{Out, Text, done, line, warn},
    target::{Target, checked},
};

/// The lines of an answer that holds a configuration.
pub(crate) fn read_config(
    address: &str,
    request: RequestCode,
    answer: &Response,
) -> Result<BTreeMap<String, String>, Error> {
    if answer.body.is_empty() {
        return Err(Error::NoBody {
            address: address.to_owned(),
            request,
        });
    }
    let lines = Properties::from_bytes(&answer.body).map_err(|reason| {
        Error::NotFound(format!(
            "the configuration of {address} cannot be read: {reason}"
        ))
    })?;
    Ok(lines
        .iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect())
}

/// A key with its value, as it goes over the wire.
pub(crate) fn config_line(key: &str, value: &str) -> Result<Vec<u8>, Error> {
    let clean = |text: &str| !text.contains(['\n', '\r']);
    let is_comment = key.starts_with(['#', '!']);
    if key.is_empty() || is_comment || key.contains(['=', ' ', '\t', ':']) || !clean(key) {
        return Err(Error::Flag {
            flag: "--key",
            value: key.to_owned(),
            reason: "that is no key of a configuration".to_owned(),
        });
    }
    if !clean(value) {
        return Err(Error::Flag {
            flag: "--value",
            value: value.to_owned(),
            reason: "a value is one line".to_owned(),
        });
    }
    Ok(format!("{key}={value}\n").into_bytes())
}

pub(crate) fn print_lines(text: &mut Text, lines: &BTreeMap<String, String>) {
    for (key, value) in lines {
        line!(text, "{key:<50}=  {value}");
    }
}

/// The codes that change and show the configuration of one kind of server.
type Codes = (RequestCode, RequestCode);
const BROKER_CONFIG: Codes = (
    RequestCode::UPDATE_BROKER_CONFIG,
    RequestCode::GET_BROKER_CONFIG,
);

/// A key and its new value.
pub(crate) struct Change<'a> {
    codes: Codes,
    key: &'a str,
    line: Vec<u8>,
}

impl<'a> Change<'a> {
    /// # Errors
    /// The key or the value cannot stand in a line.
    pub(crate) fn new(codes: Codes, key: &'a str, value: &str) -> Result<Self, Error> {
        let line = config_line(key, value)?;
        Ok(Self { codes, key, line })
    }

    /// Has a server make the change, and looks whether it did: servers answer a success to keys that
    /// they do not have. What the server remarks is passed on.
    ///
    /// # Errors
    /// The server refuses, or has no such key.
    pub(crate) async fn make(&self, admin: &Admin, address: &str) -> Result<(), Error> {
        let (update, get) = self.codes;
        let done = admin
            .ask(address, update, &Empty, &self.line, PATIENCE)
            .await?;
        if !done.remark.is_empty() {
            warn(format_args!("{address}: {}", done.remark));
        }
        let answer = admin.ask(address, get, &Empty, &[], PATIENCE).await?;
        if read_config(address, get, &answer)?.contains_key(self.key) {
            return Ok(());
        }
        Err(Error::NotFound(format!(
            "{address} has no configuration key {}: nothing was changed there",
            self.key
        )))
    }
}

/// Prints the configurations of several servers, each below its address.
pub(crate) fn print_configs(text: &mut Text, all: &BTreeMap<String, BTreeMap<String, String>>) {
    for (address, lines) in all {
        line!(text, "============{address}============");
        print_lines(text, lines);
    }
}

/// The configuration of a broker.
pub(crate) async fn config_of(
    admin: &Admin,
    address: &str,
) -> Result<BTreeMap<String, String>, Error> {
    let request = RequestCode::GET_BROKER_CONFIG;
    let answer = admin.ask(address, request, &Empty, &[], PATIENCE).await?;
    read_config(address, request, &answer)
}

/// getBrokerConfig
#[derive(Debug, Args)]
pub(crate) struct GetBrokerConfig {
    #[command(flatten)]
    target: Target,
    /// Only this key, its value alone
    #[arg(long)]
    key: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ConfigRow {
    address: String,
    /// Nothing for a master, and for a slave without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    master: Option<String>,
    #[serde(skip)]
    heading: String,
    config: BTreeMap<String, String>,
}

impl Command for GetBrokerConfig {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let mut rows = self.brokers(admin).await?;
        for row in &mut rows {
            row.config = config_of(admin, &row.address).await?;
        }
        if let Some(key) = &self.key {
            let missing = || Error::NotFound(format!("no broker has the key {key:?}"));
            let values: BTreeMap<_, _> = rows
                .iter()
                .filter_map(|row| Some((&row.address, row.config.get(key)?)))
                .collect();
            if values.is_empty() {
                return Err(missing());
            }
            out.show(&values, |text| {
                for value in values.values() {
                    line!(text, "{value}");
                }
            })?;
            return Ok(());
        }
        out.show(&rows, |text| {
            for row in &rows {
                line!(text, "{}", row.heading);
                print_lines(text, &row.config);
                line!(text);
            }
        })?;
        Ok(())
    }
}

impl GetBrokerConfig {
    async fn brokers(&self, admin: &Admin) -> Result<Vec<ConfigRow>, Error> {
        let row = |address: String, master: Option<&String>, heading: String| ConfigRow {
            address,
            master: master.cloned(),
            heading,
            config: BTreeMap::new(),
        };
        if let Some(address) = &self.target.broker_addr {
            let address = checked(address)?;
            let heading = format!("============{address}============");
            return Ok(vec![row(address, None, heading)]);
        }
        let info = admin.cluster_info().await?;
        let cluster = self.target.cluster_name.as_deref().unwrap_or_default();
        let mut rows = Vec::new();
        for broker in admin::members(&info, cluster)? {
            let master = broker.broker_addrs.get(&MASTER_ID);
            for (id, address) in &broker.broker_addrs {
                let heading = match master {
                    Some(address) if *id == MASTER_ID => {
                        format!("============Master: {address}============")
                    }
                    master => format!(
                        "============My Master: {}=====Slave: {address}============",
                        master.map_or("NO_MASTER", String::as_str)
                    ),
                };
                let above = master.filter(|_| *id != MASTER_ID);
                rows.push(row(address.clone(), above, heading));
            }
        }
        Ok(rows)
    }
}

/// updateBrokerConfig
#[derive(Debug, Args)]
pub(crate) struct UpdateBrokerConfig {
    #[command(flatten)]
    target: Target,
    /// With --clusterName: slaves too
    #[arg(short = 'a', long = "updateAllBroker", value_name = "ANY")]
    update_all_broker: Option<String>,
    /// The key
    #[arg(short = 'k', long)]
    key: String,
    /// Its new value
    #[arg(short = 'v', long, allow_hyphen_values = true)]
    value: String,
}

impl Command for UpdateBrokerConfig {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let change = Change::new(BROKER_CONFIG, &self.key, &self.value)?;
        let brokers = if self.update_all_broker.is_some() {
            self.target.all(admin).await?
        } else {
            self.target.masters(admin).await?
        };
        let mut failed = 0;
        for address in &brokers {
            match change.make(admin, address).await {
                Ok(()) => done!(out, "update broker config success, {address}"),
                Err(error) if brokers.len() == 1 => return Err(error),
                Err(error) => {
                    failed += 1;
                    warn(format_args!("{address}: {error}"));
                }
            }
        }
        partly(failed, brokers.len())
    }
}

/// Fails when some of several failed.
pub(crate) fn partly(failed: usize, asked: usize) -> Result<(), Error> {
    if failed == 0 {
        return Ok(());
    }
    Err(Error::Partly { failed, asked })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_its_value_is_one_line() {
        assert_eq!(
            config_line("flushDiskType", "SYNC_FLUSH").expect("a line"),
            b"flushDiskType=SYNC_FLUSH\n"
        );
        for (key, value) in [
            ("", "x"),
            ("a=b", "x"),
            ("a b", "x"),
            ("a\nb", "x"),
            ("a", "x\ny=1"),
        ] {
            assert!(config_line(key, value).is_err(), "{key:?} {value:?}");
        }
    }
}
