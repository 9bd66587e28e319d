// SPDX-License-Identifier: Apache-2.0
//! Moves groups to other offsets.

use std::collections::BTreeMap;

use aerobee_remoting::{
    RequestCode, ResponseCode,
    body::{
        MessageQueue,
        reset::ResetOffsets,
        route::TopicRoute,
        stats::{ConsumeStats, GroupOffset},
    },
    header::client::ResetOffset,
};
use clap::Args;
use serde::Serialize;

use crate::{
    admin::{self, Admin, LONG_PATIENCE, pick},
    cli::Command,
    error::Error,
    format::{self, front},
    out::{Out, Text, done, line},
    target::{checked, group_name},
};

/// What is to be done to whom.
struct Move<'a> {
    cluster: Option<&'a str>,
    group: &'a str,
    topic: &'a str,
    timestamp: i64,
    force: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NewOffset {
    broker_name: String,
    queue_id: i32,
    offset: i64,
}

/// An offset that was set without the help of the broker.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rollback {
    broker_name: String,
    queue_id: i32,
    broker_offset: i64,
    consumer_offset: i64,
    timestamp_offset: i64,
    rollback_offset: i64,
}

/// How the offsets were set.
enum Moved {
    /// The brokers did it.
    ByBroker(Vec<NewOffset>),
    /// Nobody of the group was online, so this tool did it.
    ByTool(Vec<Rollback>),
}

impl Move<'_> {
    async fn route(&self, admin: &Admin) -> Result<TopicRoute, Error> {
        match self.cluster {
            Some(cluster) if self.topic.starts_with(aerobee_message::topic::LMQ_PREFIX) => {
                admin.route(cluster).await
            }
            _ => admin.route(self.topic).await,
        }
    }

    async fn run(&self, admin: &Admin) -> Result<Moved, Error> {
        group_name(self.group)?;
        let route = self.route(admin).await?;
        match self.by_brokers(admin, &route).await {
            Ok(offsets) => Ok(Moved::ByBroker(offsets)),
            Err(error) if error.code() == Some(ResponseCode::CONSUMER_NOT_ONLINE) => {
                Ok(Moved::ByTool(self.by_hand(admin, &route).await?))
            }
            Err(error) => Err(error),
        }
    }

    async fn by_brokers(&self, admin: &Admin, route: &TopicRoute) -> Result<Vec<NewOffset>, Error> {
        let header = ResetOffset {
            topic: self.topic,
            group: self.group,
            timestamp: self.timestamp,
            is_force: self.force,
            queue_id: -1,
            offset: -1,
        };
        let mut all = BTreeMap::new();
        for address in route.broker_datas.iter().filter_map(pick) {
            let request = RequestCode::INVOKE_BROKER_TO_RESET_OFFSET;
            let answer = admin
                .ask(address, request, &header, &[], LONG_PATIENCE)
                .await?;
            if !answer.body.is_empty() {
                let offsets: ResetOffsets = admin::body(address, request, &answer)?;
                all.extend(offsets.offset_table);
            }
        }
        Ok(all
            .into_iter()
            .map(|(queue, offset)| NewOffset {
                broker_name: queue.broker_name,
                queue_id: queue.queue_id,
                offset,
            })
            .collect())
    }

    async fn by_hand(&self, admin: &Admin, route: &TopicRoute) -> Result<Vec<Rollback>, Error> {
        let stats = admin
            .consume_stats(self.cluster, self.group, Some(self.topic))
            .await;
        let mut offsets = stats
            .unwrap_or_else(|_| ConsumeStats::default())
            .offset_table;
        if offsets.is_empty() {
            // The group has never consumed: it begins where it is told to.
            let topic = admin.topic_stats_by_route(route, self.topic).await?;
            offsets = topic
                .offset_table
                .into_iter()
                .map(|(queue, offset)| {
                    let known = GroupOffset {
                        broker_offset: offset.max_offset,
                        ..GroupOffset::default()
                    };
                    (queue, known)
                })
                .collect();
        }
        let mut all = Vec::new();
        for (queue, offset) in offsets {
            let broker = route
                .broker_datas
                .iter()
                .find(|broker| broker.broker_name == queue.broker_name);
            if let Some(address) = broker.and_then(pick) {
                all.push(self.one_by_hand(admin, address, queue, offset).await?);
            }
        }
        Ok(all)
    }

    async fn one_by_hand(
        &self,
        admin: &Admin,
        address: &str,
        queue: MessageQueue,
        known: GroupOffset,
    ) -> Result<Rollback, Error> {
        let wanted = if self.timestamp == -1 {
            admin
                .max_offset(address, self.topic, queue.queue_id)
                .await?
        } else {
            admin
                .offset_at(address, self.topic, queue.queue_id, self.timestamp)
                .await?
        };
        let mut rollback = known.consumer_offset;
        if self.force || wanted <= known.consumer_offset {
            rollback = wanted;
            admin
                .commit(address, self.group, self.topic, queue.queue_id, wanted)
                .await?;
        }
        Ok(Rollback {
            broker_name: queue.broker_name,
            queue_id: queue.queue_id,
            broker_offset: known.broker_offset,
            consumer_offset: known.consumer_offset,
            timestamp_offset: wanted,
            rollback_offset: rollback,
        })
    }
}

fn print_offsets(text: &mut Text, offsets: &[NewOffset]) {
    line!(
        text,
        "{:<40}  {:<40}  {:<40}",
        "#brokerName",
        "#queueId",
        "#offset"
    );
    for row in offsets {
        line!(
            text,
            "{:<40}  {:<40}  {:<40}",
            front(&row.broker_name, 32),
            row.queue_id,
            row.offset
        );
    }
}

fn print_rollbacks(text: &mut Text, rollbacks: &[Rollback], last: &str) {
    line!(
        text,
        "{:<20}  {:<20}  {:<20}  {:<20}  {:<20}  {:<20}",
        "#brokerName",
        "#queueId",
        "#brokerOffset",
        "#consumerOffset",
        "#timestampOffset",
        last
    );
    for row in rollbacks {
        line!(
            text,
            "{:<20}  {:<20}  {:<20}  {:<20}  {:<20}  {:<20}",
            front(&row.broker_name, 32),
            row.queue_id,
            row.broker_offset,
            row.consumer_offset,
            row.timestamp_offset,
            row.rollback_offset
        );
    }
}

/// resetOffsetByTime
#[derive(Debug, Args)]
pub(crate) struct ResetOffsetByTime {
    /// The group
    #[arg(short = 'g', long)]
    group: String,
    /// The topic
    #[arg(short = 't', long)]
    topic: String,
    /// Store time to go to: now, ms since 1970, or yyyy-MM-dd#HH:mm:ss:SSS; -1 the end
    #[arg(short = 's', long, allow_hyphen_values = true)]
    timestamp: String,
    /// Whether offsets may grow too
    #[arg(short = 'f', long, default_value_t = true, action = clap::ArgAction::Set)]
    force: bool,
    /// Cluster, or parent of a light queue, whose route is taken
    #[arg(short = 'c', long)]
    cluster: Option<String>,
    /// With --queue: address of the one broker
    #[arg(short = 'b', long, value_name = "HOST:PORT", requires = "queue")]
    broker: Option<String>,
    /// With --broker: the one queue
    #[arg(short = 'q', long, requires = "broker", value_parser = clap::value_parser!(i32).range(0..))]
    queue: Option<i32>,
    /// With --queue: offset to go to, instead of the time
    #[arg(short = 'o', long, requires = "queue", value_parser = clap::value_parser!(i64).range(0..))]
    offset: Option<i64>,
}

impl ResetOffsetByTime {
    async fn one_queue(
        &self,
        admin: &Admin,
        out: &mut Out,
        (broker, queue, timestamp): (&str, i32, i64),
    ) -> Result<(), Error> {
        let address = checked(broker)?;
        done!(
            out,
            "start reset consumer offset by specified, group[{}], topic[{}], queueId[{queue}], broker[{address}], timestamp(string)[{}], timestamp(long)[{timestamp}]",
            self.group,
            self.topic,
            self.timestamp
        );
        let offset = match self.offset {
            Some(offset) => offset,
            None => {
                admin
                    .offset_at(&address, &self.topic, queue, timestamp)
                    .await?
            }
        };
        if offset > 0 {
            let header = ResetOffset {
                topic: &self.topic,
                group: &self.group,
                timestamp,
                is_force: self.force,
                queue_id: queue,
                offset,
            };
            admin
                .commit(&address, &self.group, &self.topic, queue, offset)
                .await?;
            admin.call(&address, &header).await?;
        }
        done!(out, "reset consumer offset to {offset}");
        Ok(())
    }
}

impl Command for ResetOffsetByTime {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let timestamp = format::parse_time(&self.timestamp).ok_or_else(|| Error::Flag {
            flag: "--timestamp",
            value: self.timestamp.clone(),
            reason: "a time is now, milliseconds since 1970 or yyyy-MM-dd#HH:mm:ss:SSS".to_owned(),
        })?;
        if let (Some(broker), Some(queue)) = (&self.broker, self.queue) {
            return self.one_queue(admin, out, (broker, queue, timestamp)).await;
        }
        let change = Move {
            cluster: self.cluster.as_deref(),
            group: &self.group,
            topic: &self.topic,
            timestamp,
            force: self.force,
        };
        let what = |who: &str| {
            format!(
                "{who}[{}], topic[{}], force[{}], timestamp(string)[{}], timestamp(long)[{timestamp}]",
                self.group, self.topic, self.force, self.timestamp
            )
        };
        match change.run(admin).await? {
            Moved::ByBroker(offsets) => out.show(&offsets, |text| {
                line!(
                    text,
                    "start reset consumer offset by specified, {}",
                    what("group")
                );
                print_offsets(text, &offsets);
            })?,
            Moved::ByTool(rollbacks) => out.show(&rollbacks, |text| {
                line!(
                    text,
                    "reset consumer offset by specified {}",
                    what("consumerGroup")
                );
                print_rollbacks(text, &rollbacks, "#resetOffset");
            })?,
        }
        Ok(())
    }
}

/// skipAccumulatedMessage
#[derive(Debug, Args)]
pub(crate) struct SkipAccumulated {
    /// The group
    #[arg(short = 'g', long)]
    group: String,
    /// The topic
    #[arg(short = 't', long)]
    topic: String,
    /// Whether offsets may grow too
    #[arg(short = 'f', long, default_value_t = true, action = clap::ArgAction::Set)]
    force: bool,
    /// Cluster, or parent of a light queue, whose route is taken
    #[arg(short = 'c', long)]
    cluster: Option<String>,
}

impl Command for SkipAccumulated {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let change = Move {
            cluster: self.cluster.as_deref(),
            group: &self.group,
            topic: &self.topic,
            timestamp: -1,
            force: self.force,
        };
        match change.run(admin).await? {
            Moved::ByBroker(offsets) => out.show(&offsets, |text| print_offsets(text, &offsets))?,
            Moved::ByTool(rollbacks) => {
                out.show(&rollbacks, |text| {
                    print_rollbacks(text, &rollbacks, "#rollbackOffset");
                })?;
            }
        }
        Ok(())
    }
}

/// cloneGroupOffset
#[derive(Debug, Args)]
pub(crate) struct CloneGroupOffset {
    /// Group whose offsets are taken
    #[arg(short = 's', long = "srcGroup")]
    src_group: String,
    /// Group that gets them
    #[arg(short = 'd', long = "destGroup")]
    dest_group: String,
    /// A topic of both
    #[arg(short = 't', long)]
    topic: String,
    /// Has no meaning
    #[arg(short = 'o', long)]
    offline: Option<String>,
}

impl Command for CloneGroupOffset {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        group_name(&self.dest_group)?;
        let stats = admin.consume_stats(None, &self.src_group, None).await?;
        if stats.offset_table.is_empty() {
            return Err(Error::NotFound(format!(
                "group {} has not committed any offset, so there is nothing to clone",
                self.src_group
            )));
        }
        let route = admin.route(&self.topic).await?;
        for (queue, offset) in &stats.offset_table {
            let broker = route
                .broker_datas
                .iter()
                .find(|broker| broker.broker_name == queue.broker_name);
            let Some(address) = broker.and_then(pick) else {
                continue;
            };
            if offset.consumer_offset >= 0 {
                let group = &self.dest_group;
                admin
                    .commit(
                        address,
                        group,
                        &queue.topic,
                        queue.queue_id,
                        offset.consumer_offset,
                    )
                    .await?;
            }
        }
        done!(
            out,
            "clone group offset success. srcGroup[{}], destGroup=[{}], topic[{}]",
            self.src_group,
            self.dest_group,
            self.topic
        );
        Ok(())
    }
}
