// SPDX-License-Identifier: Apache-2.0
//! Access lists of brokers.

use aerobee_remoting::{
    RequestCode,
    body::auth::{Acl, Policy, PolicyEntry},
    fastjson,
    header::auth::{DeleteAcl as DeleteHeader, ListAcls, Subject},
};
use clap::Args;

use crate::{
    admin::{self, Admin, PATIENCE},
    cli::Command,
    error::Error,
    format,
    out::{Out, Text, done, line},
    target::{Target, checked},
};

async fn put(admin: &Admin, address: &str, request: RequestCode, acl: &Acl) -> Result<(), Error> {
    let header = Subject {
        subject: acl.subject.as_deref().unwrap_or_default(),
    };
    let body = fastjson::to_vec(acl);
    admin
        .ask(address, request, &header, &body, PATIENCE)
        .await?;
    Ok(())
}

async fn get(admin: &Admin, address: &str, subject: &str) -> Result<Option<Acl>, Error> {
    let request = RequestCode::AUTH_GET_ACL;
    let answer = admin
        .ask(address, request, &Subject { subject }, &[], PATIENCE)
        .await?;
    if answer.body.is_empty() {
        return Ok(None);
    }
    admin::body(address, request, &answer).map(Some)
}

async fn list(
    admin: &Admin,
    address: &str,
    subject: Option<&str>,
    resource: Option<&str>,
) -> Result<Vec<Acl>, Error> {
    let request = RequestCode::AUTH_LIST_ACL;
    let header = ListAcls {
        subject_filter: subject,
        resource_filter: resource,
    };
    let answer = admin.ask(address, request, &header, &[], PATIENCE).await?;
    if answer.body.is_empty() {
        return Ok(Vec::new());
    }
    admin::body(address, request, &answer)
}

fn print(text: &mut Text, acls: &[Acl]) {
    if acls.is_empty() {
        return;
    }
    let mut row = |cells: [&str; 6]| {
        let [subject, policy, resource, actions, ips, decision] = cells;
        line!(
            text,
            "{subject:<16}  {policy:<10}  {resource:<22}  {actions:<20}  {ips:<24}  {decision:<10}"
        );
    };
    row([
        "#Subject",
        "#PolicyType",
        "#Resource",
        "#Actions",
        "#SourceIp",
        "#Decision",
    ]);
    let cell = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
    let listed = |values: &Option<Vec<String>>| {
        values
            .as_ref()
            .map_or_else(|| "null".to_owned(), format::list)
    };
    for acl in acls {
        let subject = cell(&acl.subject);
        if acl.policies.is_empty() {
            row([&subject, "", "", "", "", ""]);
        }
        for policy in &acl.policies {
            for entry in &policy.entries {
                row([
                    &subject,
                    &cell(&policy.policy_type),
                    &cell(&entry.resource),
                    &listed(&entry.actions),
                    &listed(&entry.source_ips),
                    &cell(&entry.decision),
                ]);
            }
        }
    }
}

/// What an access list says.
#[derive(Debug, Args)]
pub(crate) struct Content {
    /// Whose list: User:name
    #[arg(short = 's', long)]
    subject: String,
    /// Resources, separated by commas: Topic:name, Group:name, Cluster:name
    #[arg(short = 'r', long, value_delimiter = ',', required = true)]
    resources: Vec<String>,
    /// Actions, separated by commas: All, Pub, Sub, Create, Update, Delete, Get, List
    #[arg(short = 'a', long, value_delimiter = ',', required = true)]
    actions: Vec<String>,
    /// Allow or Deny
    #[arg(short = 'd', long, ignore_case = true, value_parser = ["Allow", "Deny"])]
    decision: String,
    /// Addresses that it is for, separated by commas [else: all]
    #[arg(short = 'i', long = "sourceIp", value_delimiter = ',')]
    source_ip: Vec<String>,
}

impl Content {
    fn acl(&self) -> Acl {
        let entry = |resource: &String| PolicyEntry {
            actions: Some(self.actions.clone()),
            decision: Some(self.decision.clone()),
            resource: Some(resource.clone()),
            source_ips: (!self.source_ip.is_empty()).then(|| self.source_ip.clone()),
        };
        Acl {
            policies: vec![Policy {
                entries: self.resources.iter().map(entry).collect(),
                policy_type: None,
            }],
            subject: Some(self.subject.clone()),
        }
    }
}

/// createAcl
#[derive(Debug, Args)]
pub(crate) struct CreateAcl {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    content: Content,
}

impl Command for CreateAcl {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        for address in self.target.all(admin).await? {
            put(
                admin,
                &address,
                RequestCode::AUTH_CREATE_ACL,
                &self.content.acl(),
            )
            .await?;
            done!(out, "create acl to {address} success.");
        }
        Ok(())
    }
}

/// updateAcl
#[derive(Debug, Args)]
pub(crate) struct UpdateAcl {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    content: Content,
}

impl Command for UpdateAcl {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        for address in self.target.all(admin).await? {
            put(
                admin,
                &address,
                RequestCode::AUTH_UPDATE_ACL,
                &self.content.acl(),
            )
            .await?;
            done!(out, "update acl to {address} success.");
        }
        Ok(())
    }
}

/// deleteAcl
#[derive(Debug, Args)]
pub(crate) struct DeleteAcl {
    #[command(flatten)]
    target: Target,
    /// Whose list: User:name
    #[arg(short = 's', long)]
    subject: String,
    /// Only what it says of this resource
    #[arg(short = 'r', long)]
    resources: Option<String>,
}

impl Command for DeleteAcl {
    fn would(&self) -> String {
        format!("The access list of {} will be deleted.", self.subject)
    }

    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let header = DeleteHeader {
            subject: &self.subject,
            policy_type: None,
            resource: self.resources.as_deref(),
        };
        for address in self.target.all(admin).await? {
            admin.call(&address, &header).await?;
            done!(out, "delete acl to {address} success.");
        }
        Ok(())
    }
}

/// getAcl
#[derive(Debug, Args)]
pub(crate) struct GetAcl {
    #[command(flatten)]
    target: Target,
    /// Whose list: User:name
    #[arg(short = 's', long)]
    subject: String,
}

impl Command for GetAcl {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        for address in self.target.masters(admin).await? {
            let found: Vec<_> = get(admin, &address, &self.subject)
                .await?
                .into_iter()
                .collect();
            out.show(&found, |text| print(text, &found))?;
        }
        Ok(())
    }
}

/// listAcl
#[derive(Debug, Args)]
pub(crate) struct ListAcl {
    #[command(flatten)]
    target: Target,
    /// Text that the subjects hold
    #[arg(short = 's', long)]
    subject: Option<String>,
    /// Text that the resources hold
    #[arg(short = 'r', long)]
    resource: Option<String>,
}

impl Command for ListAcl {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        for address in self.target.masters(admin).await? {
            let (subject, resource) = (self.subject.as_deref(), self.resource.as_deref());
            let found = list(admin, &address, subject, resource).await?;
            out.show(&found, |text| print(text, &found))?;
        }
        Ok(())
    }
}

/// copyAcl
#[derive(Debug, Args)]
pub(crate) struct CopyAcl {
    /// Broker to read from
    #[arg(short = 'f', long = "fromBroker", value_name = "HOST:PORT")]
    from_broker: String,
    /// Broker to write to
    #[arg(short = 't', long = "toBroker", value_name = "HOST:PORT")]
    to_broker: String,
    /// Whose lists, separated by commas [else: all]
    #[arg(short = 's', long, value_delimiter = ',')]
    subjects: Vec<String>,
}

impl Command for CopyAcl {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let (from, to) = (checked(&self.from_broker)?, checked(&self.to_broker)?);
        let mut acls = Vec::new();
        if self.subjects.is_empty() {
            acls = list(admin, &from, None, None).await?;
        }
        for subject in &self.subjects {
            acls.extend(get(admin, &from, subject).await?);
        }
        for acl in &acls {
            let subject = acl.subject.as_deref().unwrap_or_default();
            let request = match get(admin, &to, subject).await? {
                Some(_) => RequestCode::AUTH_UPDATE_ACL,
                None => RequestCode::AUTH_CREATE_ACL,
            };
            put(admin, &to, request, acl).await?;
            done!(out, "copy acl of {subject} from {from} to {to} success.");
        }
        Ok(())
    }
}
