// SPDX-License-Identifier: Apache-2.0
//! Name servers: key-values, write permission, configuration.

use std::collections::BTreeMap;

use aerobee_remoting::{
    Request, RequestCode,
    header::{
        Empty,
        route::{
            AddWritePerm as AddHeader, AddWritePermReply, WipeWritePerm as WipeHeader,
            WipeWritePermReply,
        },
    },
};
use clap::Args;

use crate::{
    admin::{self, Admin, PATIENCE},
    broker_config::{Change, partly, print_configs, read_config},
    cli::Command,
    error::Error,
    format,
    out::{Out, done, warn},
    topic::{delete_kv, put_kv},
};

/// updateKvConfig
#[derive(Debug, Args)]
pub(crate) struct UpdateKvConfig {
    /// Namespace of the key
    #[arg(short = 's', long)]
    namespace: String,
    /// The key
    #[arg(short = 'k', long)]
    key: String,
    /// The value
    #[arg(short = 'v', long, allow_hyphen_values = true)]
    value: String,
}

impl Command for UpdateKvConfig {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        put_kv(admin, &self.namespace, &self.key, &self.value).await?;
        done!(out, "create or update kv config to namespace success.");
        Ok(())
    }
}

/// deleteKvConfig
#[derive(Debug, Args)]
pub(crate) struct DeleteKvConfig {
    /// Namespace of the key
    #[arg(short = 's', long)]
    namespace: String,
    /// The key
    #[arg(short = 'k', long)]
    key: String,
}

impl Command for DeleteKvConfig {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        delete_kv(admin, &self.namespace, &self.key).await?;
        done!(out, "delete kv config from namespace success.");
        Ok(())
    }
}

/// wipeWritePerm
#[derive(Debug, Args)]
pub(crate) struct WipeWritePerm {
    /// Name of the broker
    #[arg(short = 'b', long = "brokerName")]
    broker_name: String,
}

impl Command for WipeWritePerm {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let header = WipeHeader {
            broker_name: &self.broker_name,
        };
        change_perm(
            admin,
            out,
            "wipe",
            &self.broker_name,
            &header,
            |address, answer| {
                let reply: WipeWritePermReply =
                    admin::read_header(address, RequestCode::WIPE_WRITE_PERM_OF_BROKER, answer)?;
                Ok(reply.wipe_topic_count)
            },
        )
        .await
    }
}

/// addWritePerm
#[derive(Debug, Args)]
pub(crate) struct AddWritePerm {
    /// Name of the broker
    #[arg(short = 'b', long = "brokerName")]
    broker_name: String,
}

impl Command for AddWritePerm {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let header = AddHeader {
            broker_name: &self.broker_name,
        };
        change_perm(
            admin,
            out,
            "add",
            &self.broker_name,
            &header,
            |address, answer| {
                let reply: AddWritePermReply =
                    admin::read_header(address, RequestCode::ADD_WRITE_PERM_OF_BROKER, answer)?;
                Ok(reply.add_topic_count)
            },
        )
        .await
    }
}

async fn change_perm<R: Request>(
    admin: &Admin,
    out: &mut Out,
    what: &str,
    broker: &str,
    header: &R,
    count: impl Fn(&str, &aerobee_remoting::Response) -> Result<i32, Error>,
) -> Result<(), Error> {
    let namesrvs = admin.namesrvs()?;
    let mut failed = 0;
    for address in namesrvs {
        let outcome = admin.call(address, header).await;
        match outcome.and_then(|answer| count(address, &answer)) {
            Ok(topics) => done!(
                out,
                "{what} write perm of broker[{broker}] in name server[{address}] OK, {topics}"
            ),
            Err(error) => {
                failed += 1;
                done!(
                    out,
                    "{what} write perm of broker[{broker}] in name server[{address}] Failed"
                );
                warn(format_args!("{address}: {error}"));
            }
        }
    }
    partly(failed, namesrvs.len())
}

/// getNamesrvConfig
#[derive(Debug, Args)]
pub(crate) struct GetNamesrvConfig {}

impl Command for GetNamesrvConfig {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let request = RequestCode::GET_NAMESRV_CONFIG;
        let mut all = BTreeMap::new();
        for address in admin.namesrvs()? {
            let answer = admin.ask(address, request, &Empty, &[], PATIENCE).await?;
            all.insert(address.clone(), read_config(address, request, &answer)?);
        }
        out.show(&all, |text| print_configs(text, &all))?;
        Ok(())
    }
}

/// updateNamesrvConfig
#[derive(Debug, Args)]
pub(crate) struct UpdateNamesrvConfig {
    /// The key
    #[arg(short = 'k', long)]
    key: String,
    /// Its new value
    #[arg(short = 'v', long, allow_hyphen_values = true)]
    value: String,
}

impl Command for UpdateNamesrvConfig {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let codes = (
            RequestCode::UPDATE_NAMESRV_CONFIG,
            RequestCode::GET_NAMESRV_CONFIG,
        );
        let change = Change::new(codes, &self.key, &self.value)?;
        let namesrvs = admin.namesrvs()?;
        for address in namesrvs {
            change.make(admin, address).await?;
        }
        done!(
            out,
            "update name server config success!{}\n{} : {}",
            format::list(namesrvs),
            self.key,
            self.value
        );
        Ok(())
    }
}
