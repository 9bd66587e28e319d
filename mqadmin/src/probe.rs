// SPDX-License-Identifier: Apache-2.0
//! Sends messages to see how long that takes.

use std::time::Instant;

use clap::Args;
use serde::Serialize;

use crate::{
    admin::Admin,
    cli::Command,
    error::Error,
    format,
    out::{Out, done, line},
    send::{Outgoing, Place, places_of, send},
};

fn body_of(size: u32) -> Vec<u8> {
    vec![b'a'; size as usize]
}

/// sendMsgStatus
#[derive(Debug, Args)]
pub(crate) struct SendMsgStatus {
    /// Name of the broker; it has a topic of that name
    #[arg(short = 'b', long = "brokerName")]
    broker_name: String,
    /// Bytes of a message
    #[arg(short = 's', long = "messageSize", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=4_194_304))]
    message_size: u32,
    /// Number of messages
    #[arg(short = 'c', long, default_value_t = 50)]
    count: u32,
}

impl Command for SendMsgStatus {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let places = places_of(admin, &self.broker_name).await?;
        let first = body_of(16);
        let body = body_of(self.message_size);
        let outgoing = |body| Outgoing {
            topic: &self.broker_name,
            body,
            ..Outgoing::default()
        };
        // The first one also makes the connection.
        send(admin, &places[0], &outgoing(&first)).await?;
        for place in places.iter().cycle().take(self.count as usize) {
            let begin = Instant::now();
            let sent = send(admin, place, &outgoing(&body)).await?;
            done!(
                out,
                "rt={}ms, SendResult={}",
                begin.elapsed().as_millis(),
                sent.as_java()
            );
        }
        Ok(())
    }
}

/// checkMsgSendRT
#[derive(Debug, Args)]
pub(crate) struct CheckMsgSendRt {
    /// The topic
    #[arg(short = 't', long)]
    topic: String,
    /// Number of messages
    #[arg(short = 'a', long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    amount: u32,
    /// Bytes of a message
    #[arg(short = 's', long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=4_194_304))]
    size: u32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    broker_name: String,
    queue_id: i32,
    sent: bool,
    millis: u128,
}

async fn probe(admin: &Admin, place: &Place, outgoing: &Outgoing<'_>) -> Probe {
    let begin = Instant::now();
    let sent = send(admin, place, outgoing).await.is_ok();
    Probe {
        broker_name: place.broker.clone(),
        queue_id: place.queue_id,
        sent,
        millis: begin.elapsed().as_millis(),
    }
}

impl Command for CheckMsgSendRt {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let places = places_of(admin, &self.topic).await?;
        let body = body_of(self.size);
        let outgoing = Outgoing {
            topic: &self.topic,
            body: &body,
            ..Outgoing::default()
        };
        let mut probes = Vec::new();
        for place in places.iter().cycle().take(self.amount as usize) {
            probes.push(probe(admin, place, &outgoing).await);
        }
        // The first one also makes the connection.
        let total: u128 = probes.iter().skip(1).map(|probe| probe.millis).sum();
        let average = total as f64 / (f64::from(self.amount) - 1.0);
        out.show(&probes, |text| {
            line!(
                text,
                "{:<32}  {:<4}  {:<20}    {}",
                "#Broker Name",
                "#QID",
                "#Send Result",
                "#RT"
            );
            for probe in &probes {
                line!(
                    text,
                    "{:<32}  {:<4}  {:<20}    {}",
                    probe.broker_name,
                    probe.queue_id,
                    probe.sent,
                    probe.millis
                );
            }
            line!(text, "Avg RT: {average:.2}");
        })?;
        if probes.iter().all(|probe| !probe.sent) {
            return Err(Error::Partly {
                failed: probes.len(),
                asked: probes.len(),
            });
        }
        Ok(())
    }
}

/// clusterRT
#[derive(Debug, Args)]
pub(crate) struct ClusterRt {
    /// Messages of a round for each broker
    #[arg(short = 'a', long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    amount: u32,
    /// Bytes of a message
    #[arg(short = 's', long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=4_194_304))]
    size: u32,
    /// Only this cluster
    #[arg(short = 'c', long)]
    cluster: Option<String>,
    /// Whether to print lines for a log: time|room|cluster|broker|rt
    #[arg(short = 'p', long = "print", alias = "print log", default_value_t = false, action = clap::ArgAction::Set)]
    print_log: bool,
    /// Name of the room in these lines
    #[arg(
        short = 'm',
        long = "machine",
        alias = "machine room",
        default_value = "noname"
    )]
    machine_room: String,
    /// Seconds between rounds
    #[arg(short = 'i', long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    interval: u64,
    /// Number of rounds [else: until interrupted]
    #[arg(long)]
    rounds: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClusterRtRow {
    cluster: String,
    broker: String,
    rt: f64,
    success_count: usize,
    fail_count: usize,
}

impl Command for ClusterRt {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let mut rounds = 0;
        loop {
            let rows = self.round(admin).await?;
            out.show(&rows, |text| {
                if !self.print_log {
                    line!(
                        text,
                        "{:<24}  {:<24}  {:<4}  {:<8}  {:<8}",
                        "#Cluster Name",
                        "#Broker Name",
                        "#RT",
                        "#successCount",
                        "#failCount"
                    );
                }
                for row in &rows {
                    if self.print_log {
                        line!(
                            text,
                            "{}|{}|{}|{}|{:.0}",
                            format::time(format::now()),
                            self.machine_room,
                            row.cluster,
                            row.broker,
                            row.rt
                        );
                    } else {
                        line!(
                            text,
                            "{:<24}  {:<24}  {:<8}  {:<16}  {:<16}",
                            row.cluster,
                            row.broker,
                            format!("{:.2}", row.rt),
                            row.success_count,
                            row.fail_count
                        );
                    }
                }
            })?;
            rounds += 1;
            if self.rounds.is_some_and(|most| rounds >= most) {
                return Ok(());
            }
            out.pause(self.interval).await?;
        }
    }
}

impl ClusterRt {
    async fn round(&self, admin: &Admin) -> Result<Vec<ClusterRtRow>, Error> {
        let info = admin.cluster_info().await?;
        if let Some(cluster) = &self.cluster {
            crate::admin::members(&info, cluster)?;
        }
        let body = body_of(self.size);
        let mut rows = Vec::new();
        for (cluster, brokers) in &info.cluster_addr_table {
            if self.cluster.as_ref().is_some_and(|only| only != cluster) {
                continue;
            }
            for broker in brokers {
                let mut places = places_of(admin, broker).await?;
                places.retain(|place| place.broker == *broker);
                let outgoing = Outgoing {
                    topic: broker,
                    body: &body,
                    ..Outgoing::default()
                };
                let mut probes = Vec::new();
                for place in places.iter().cycle().take(self.amount as usize) {
                    probes.push(probe(admin, place, &outgoing).await);
                }
                let sent = probes.iter().filter(|probe| probe.sent).count();
                let total: u128 = probes.iter().skip(1).map(|probe| probe.millis).sum();
                let counted = probes.len().saturating_sub(1).max(1);
                rows.push(ClusterRtRow {
                    cluster: cluster.clone(),
                    broker: broker.clone(),
                    rt: total as f64 / counted as f64,
                    success_count: sent,
                    fail_count: probes.len() - sent,
                });
            }
        }
        Ok(rows)
    }
}
