// SPDX-License-Identifier: Apache-2.0
//! Who is connected.

use aerobee_remoting::{
    RequestCode,
    body::connection::{ClientConnection, ConsumerConnections, ProducerConnections, ProducerTable},
    code::version,
    header::client::{GetConsumerConnections, GetProducerConnections},
};
use clap::Args;

use crate::{
    admin::{Admin, PATIENCE, each, pick},
    cli::Command,
    error::Error,
    out::{Out, line},
    target::checked,
};

/// consumerConnection
#[derive(Debug, Args)]
pub(crate) struct ConsumerConnection {
    /// The group
    #[arg(short = 'g', long = "consumerGroup")]
    consumer_group: String,
    /// The broker to ask [else: one that the group reads from]
    #[arg(short = 'b', long = "brokerAddr", value_name = "HOST:PORT")]
    broker_addr: Option<String>,
}

/// The members of a group, of one broker or of whichever knows them.
pub(crate) async fn connections_at(
    admin: &Admin,
    group: &str,
    broker: Option<&str>,
) -> Result<ConsumerConnections, Error> {
    match broker {
        Some(address) => {
            let header = GetConsumerConnections {
                consumer_group: group,
            };
            admin.read(&checked(address)?, &header).await
        }
        None => admin.connections(group).await,
    }
}

impl Command for ConsumerConnection {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let found =
            connections_at(admin, &self.consumer_group, self.broker_addr.as_deref()).await?;
        out.show(&found, |text| {
            line!(
                text,
                "{:<36} {:<22} {:<10} {}",
                "#ClientId",
                "#ClientAddr",
                "#Language",
                "#Version"
            );
            for member in &found.connection_set {
                line!(
                    text,
                    "{:<36} {:<22} {:<10} {}",
                    member.client_id,
                    member.client_addr,
                    member.language.name(),
                    version::name(member.version)
                );
            }
            line!(text, "\nBelow is subscription:");
            line!(text, "{:<20} {}", "#Topic", "#SubExpression");
            for subscription in found.subscription_table.values() {
                line!(
                    text,
                    "{:<20} {}",
                    subscription.topic,
                    subscription.sub_string
                );
            }
            line!(text);
            line!(text, "ConsumeType: {}", found.consume_type);
            line!(text, "MessageModel: {}", found.message_model);
            line!(text, "ConsumeFromWhere: {}", found.consume_from_where);
        })?;
        Ok(())
    }
}

/// producerConnection
#[derive(Debug, Args)]
pub(crate) struct ProducerConnection {
    /// The group
    #[arg(short = 'g', long = "producerGroup")]
    producer_group: String,
    /// A topic that it sends to
    #[arg(short = 't', long)]
    topic: String,
}

impl Command for ProducerConnection {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let route = admin.route(&self.topic).await?;
        let header = GetProducerConnections {
            producer_group: &self.producer_group,
        };
        // A producer is known where it has sent, or had routes, so all brokers are asked.
        let mut members: Vec<ClientConnection> = Vec::new();
        let mut failed = None;
        let brokers = route.broker_datas.iter().filter_map(pick);
        let answers = each(brokers, |address| {
            admin.read::<_, ProducerConnections>(address, &header)
        });
        for answer in answers.await {
            match answer {
                Ok(found) => members.extend(found.connection_set),
                Err(error) => failed = Some(error),
            }
        }
        if members.is_empty() {
            return Err(failed.unwrap_or_else(|| Error::NoRoute(self.topic.clone())));
        }
        members.sort();
        members.dedup_by(|a, b| a.client_id == b.client_id);
        out.show(&members, |text| {
            for (at, member) in members.iter().enumerate() {
                line!(
                    text,
                    "{:04}  {:<32} {:<22} {:<8} {}",
                    at + 1,
                    member.client_id,
                    member.client_addr,
                    member.language.name(),
                    version::name(member.version)
                );
            }
        })?;
        Ok(())
    }
}

/// producer
#[derive(Debug, Args)]
pub(crate) struct Producer {
    /// The broker
    #[arg(short = 'b', long, value_name = "HOST:PORT")]
    broker: String,
}

impl Command for Producer {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let address = checked(&self.broker)?;
        let table: ProducerTable = admin
            .read_plain(&address, RequestCode::GET_ALL_PRODUCER_INFO, PATIENCE)
            .await?;
        out.show(&table, |text| {
            for (group, members) in &table.data {
                if members.is_empty() {
                    line!(text, "producer group ({group}) instances are empty");
                }
                for member in members {
                    line!(
                        text,
                        "producer group ({group}) instance : clientId={},remoteIP={}, language={}, version={}, lastUpdateTimestamp={}",
                        member.client_id,
                        member.remote_ip,
                        member.language.name(),
                        member.version,
                        member.last_update_timestamp
                    );
                }
            }
        })?;
        Ok(())
    }
}
