// SPDX-License-Identifier: Apache-2.0
//! Lite topics.

use aerobee_remoting::{
    Request, RequestCode,
    body::{
        lite::{
            BrokerLiteInfo, LiteClientInfo, LiteGroupInfo, LiteLag, LiteTopicInfo, ParentTopicInfo,
        },
        route::TopicRoute,
    },
    fastjson,
    header::lite::{
        GetLiteClient, GetLiteGroup, GetLiteTopic, GetParentTopic,
        TriggerLiteDispatch as TriggerHeader,
    },
};
use clap::Args;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    admin::{Admin, PATIENCE, each, pick},
    cli::Command,
    error::Error,
    format,
    out::{Out, Text, line, warn},
    target::Target,
};

/// An answer of a broker.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Of<T> {
    broker: String,
    #[serde(flatten)]
    info: T,
}

/// The brokers of a parent topic: name and address.
fn brokers(route: &TopicRoute) -> Vec<(&str, &str)> {
    route
        .broker_datas
        .iter()
        .filter_map(|broker| Some((broker.broker_name.as_str(), pick(broker)?)))
        .collect()
}

/// A time, or that there is none.
fn time(at: i64) -> String {
    if at > 0 {
        format::time_millis(at)
    } else {
        "N/A".to_owned()
    }
}

/// Asks every broker of a parent topic, all at a time. Who does not answer is warned of.
///
/// # Errors
/// The parent has no route, or no broker answered.
async fn each_broker<R: Request, T: DeserializeOwned>(
    admin: &Admin,
    parent: &str,
    header: &R,
) -> Result<Vec<Of<T>>, Error> {
    let route = admin.route(parent).await?;
    let answers = each(brokers(&route), |(name, address)| async move {
        let info = admin.read(address, header).await?;
        Ok(Of {
            broker: name.to_owned(),
            info,
        })
    });
    let (mut rows, mut failed) = (Vec::new(), None);
    for answer in answers.await {
        match answer {
            Ok(row) => rows.push(row),
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if rows.is_empty() => return Err(error),
        Some(error) => warn(format_args!("{error}")),
        None => {}
    }
    Ok(rows)
}

/// getBrokerLiteInfo
#[derive(Debug, Args)]
pub(crate) struct GetBrokerLiteInfo {
    #[command(flatten)]
    target: Target,
    /// Print parents and groups too
    #[arg(short = 'd', long = "showDetail")]
    show_detail: bool,
}

impl Command for GetBrokerLiteInfo {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let mut rows = Vec::new();
        for address in self.target.masters(admin).await? {
            let info: BrokerLiteInfo = admin
                .read_plain(&address, RequestCode::GET_BROKER_LITE_INFO, PATIENCE)
                .await?;
            rows.push(Of {
                broker: address,
                info,
            });
        }
        out.show(&rows, |text| {
            line!(
                text,
                "{:<30} {:<17} {:<10} {:<14} {:<20} {:<17} {:<15} {:<18} {:<15}",
                "#Broker",
                "#Store Type",
                "#Max LMQ",
                "#Current LMQ",
                "#SubscriptionCount",
                "#OrderInfoCount",
                "#CQTableSize",
                "#OffsetTableSize",
                "#eventMapSize"
            );
            for Of { broker, info } in &rows {
                line!(
                    text,
                    "{broker:<30} {:<17} {:<10} {:<14} {:<20} {:<17} {:<15} {:<18} {:<15}",
                    info.store_type,
                    info.max_lmq_num,
                    info.current_lmq_num,
                    info.lite_subscription_count,
                    info.order_info_count,
                    info.cq_table_size,
                    info.offset_table_size,
                    info.event_map_size
                );
                if self.show_detail {
                    line!(
                        text,
                        "Topic Meta: {}",
                        fastjson::to_string(&info.topic_meta)
                    );
                    line!(
                        text,
                        "Group Meta: {}",
                        fastjson::to_string(&info.group_meta)
                    );
                    line!(text);
                }
            }
        })?;
        Ok(())
    }
}

/// getParentTopicInfo
#[derive(Debug, Args)]
pub(crate) struct GetParentTopicInfo {
    /// The parent
    #[arg(short = 'p', long = "parentTopic")]
    parent_topic: String,
}

impl Command for GetParentTopicInfo {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let header = GetParentTopic {
            topic: &self.parent_topic,
        };
        let rows: Vec<Of<ParentTopicInfo>> =
            each_broker(admin, &self.parent_topic, &header).await?;
        out.show(&rows, |text| {
            line!(text, "Parent Topic Info: [{}]", self.parent_topic);
            line!(
                text,
                "{:<50} {:<8} {:<14} {:<14} {:<100} ",
                "#Broker Name",
                "#TTL",
                "#Lite Count",
                "#LMQ NUM",
                "#GROUPS"
            );
            for Of { broker, info } in &rows {
                line!(
                    text,
                    "{broker:<50} {:<8} {:<14} {:<14} {:<100} ",
                    info.ttl,
                    info.lite_topic_count,
                    info.lmq_num,
                    format::list(&info.groups)
                );
            }
        })?;
        Ok(())
    }
}

/// getLiteTopicInfo
#[derive(Debug, Args)]
pub(crate) struct GetLiteTopicInfo {
    /// The parent
    #[arg(short = 'p', long = "parentTopic")]
    parent_topic: String,
    /// The lite topic
    #[arg(short = 'l', long = "liteTopic")]
    lite_topic: String,
    /// Print who subscribes too
    #[arg(short = 's', long = "showClientId")]
    show_client_id: bool,
}

impl Command for GetLiteTopicInfo {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let header = GetLiteTopic {
            parent_topic: &self.parent_topic,
            lite_topic: &self.lite_topic,
        };
        let rows: Vec<Of<LiteTopicInfo>> = each_broker(admin, &self.parent_topic, &header).await?;
        out.show(&rows, |text| {
            line!(
                text,
                "Lite Topic Info: [{}] [{}] [{}]",
                self.parent_topic,
                self.lite_topic,
                aerobee_message::lite::queue_of(&self.parent_topic, &self.lite_topic)
            );
            line!(
                text,
                "{:<50} {:<14} {:<14} {:<30} {:<12} {:<18} ",
                "#Broker Name",
                "#MinOffset",
                "#MaxOffset",
                "#LastUpdate",
                "#Sharding",
                "#SubClientCount"
            );
            for Of { broker, info } in &rows {
                line!(
                    text,
                    "{broker:<50} {:<14} {:<14} {:<30} {:<12} {:<18} ",
                    info.topic_offset.min_offset,
                    info.topic_offset.max_offset,
                    time(info.topic_offset.last_update_timestamp),
                    info.sharding_to_broker,
                    info.subscriber.len()
                );
                if self.show_client_id {
                    let clients = info
                        .subscriber
                        .iter()
                        .map(|client| format!("{}@{}", client.client_id, client.group));
                    line!(text, "{}", format::list(clients));
                }
            }
        })?;
        Ok(())
    }
}

/// getLiteClientInfo
#[derive(Debug, Args)]
pub(crate) struct GetLiteClientInfo {
    /// The parent
    #[arg(short = 'p', long = "parentTopic")]
    parent_topic: String,
    /// The group
    #[arg(short = 'g', long)]
    group: String,
    /// The client
    #[arg(short = 'c', long = "clientId")]
    client_id: String,
    /// Print its lite topics too
    #[arg(short = 's', long = "showDetail")]
    show_detail: bool,
}

impl Command for GetLiteClientInfo {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let header = GetLiteClient {
            parent_topic: &self.parent_topic,
            group: &self.group,
            client_id: &self.client_id,
            max_count: Some(1_000),
        };
        let rows: Vec<Of<LiteClientInfo>> = each_broker(admin, &self.parent_topic, &header).await?;
        out.show(&rows, |text| {
            line!(
                text,
                "Lite Client Info: [{}] [{}] [{}]",
                self.parent_topic,
                self.group,
                self.client_id
            );
            line!(
                text,
                "{:<30} {:<20} {:<30} {:<30} ",
                "#Broker",
                "#LiteTopicCount",
                "#LastAccessTime",
                "#LastConsumeTime"
            );
            for Of { broker, info } in &rows {
                line!(
                    text,
                    "{broker:<30} {:<20} {:<30} {:<30} ",
                    info.lite_topic_count,
                    time(info.last_access_time),
                    time(info.last_consume_time)
                );
                if let Some(topics) = info.lite_topic_set.as_ref().filter(|_| self.show_detail) {
                    line!(text, "Lite Topics: {}\n", format::list(topics));
                }
            }
        })?;
        Ok(())
    }
}

/// getLiteGroupInfo
#[derive(Debug, Args)]
pub(crate) struct GetLiteGroupInfo {
    /// The parent
    #[arg(short = 'p', long = "parentTopic")]
    parent_topic: String,
    /// The group
    #[arg(short = 'g', long)]
    group: String,
    /// One lite topic [else: those furthest behind]
    #[arg(short = 'l', long = "liteTopic")]
    lite_topic: Option<String>,
    /// How many of those
    #[arg(short = 'k', long = "topK", default_value_t = 20, value_parser = clap::value_parser!(i32).range(1..=1_000))]
    top_k: i32,
}

impl Command for GetLiteGroupInfo {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let header = GetLiteGroup {
            group: &self.group,
            lite_topic: self.lite_topic.as_deref(),
            top_k: self.top_k,
        };
        let rows: Vec<Of<LiteGroupInfo>> = each_broker(admin, &self.parent_topic, &header).await?;
        out.show(&rows, |text| self.print(text, &rows))?;
        Ok(())
    }
}

impl GetLiteGroupInfo {
    fn print(&self, text: &mut Text, rows: &[Of<LiteGroupInfo>]) {
        line!(
            text,
            "Lite Group Info: [{}] [{}]",
            self.group,
            self.parent_topic
        );
        let total: i64 = rows.iter().map(|row| row.info.total_lag_count.max(0)).sum();
        let earliest = rows
            .iter()
            .map(|row| row.info.earliest_unconsumed_timestamp)
            .filter(|at| *at > 0)
            .min()
            .unwrap_or(0);
        if self.lite_topic.is_some() {
            line!(
                text,
                "{:<50} {:<16} {:<16} {:<16} {:<30}",
                "#Broker Name",
                "#BrokerOffset",
                "#ConsumeOffset",
                "#LagCount",
                "#LastUpdate"
            );
            for Of { broker, info } in rows {
                let offset = info.lite_topic_offset_wrapper.unwrap_or_default();
                line!(
                    text,
                    "{broker:<50} {:<16} {:<16} {:<16} {:<30}",
                    offset.broker_offset,
                    offset.consumer_offset,
                    info.total_lag_count,
                    time(offset.last_timestamp)
                );
            }
            line!(text, "Total Lag Count: {total}");
            return;
        }
        line!(text, "Total Lag Count: {total}");
        line!(text, "Earliest Unconsumed Timestamp: {}", time(earliest));
        let mut by_count: Vec<_> = rows
            .iter()
            .filter_map(|row| row.info.lag_count_top_k.as_ref())
            .flatten()
            .collect();
        by_count.sort_by_key(|lag| -lag.lag_count);
        self.print_lags(text, "TopK by lag count", &by_count);
        let mut by_time: Vec<_> = rows
            .iter()
            .filter_map(|row| row.info.lag_timestamp_top_k.as_ref())
            .flatten()
            .collect();
        by_time.sort_by_key(|lag| lag.earliest_unconsumed_timestamp);
        self.print_lags(text, "TopK by lag time", &by_time);
    }

    fn print_lags(&self, text: &mut Text, title: &str, lags: &[&LiteLag]) {
        line!(text, "\n{title}");
        line!(
            text,
            "{:<6} {:<40} {:<12} {:<30}",
            "NO",
            "Lite Topic",
            "Lag Count",
            "UnconsumedTimestamp"
        );
        let most = usize::try_from(self.top_k).unwrap_or_default();
        for (at, lag) in lags.iter().take(most).enumerate() {
            line!(
                text,
                "{:<6} {:<40} {:<12} {:<30}",
                at + 1,
                lag.lite_topic,
                lag.lag_count,
                time(lag.earliest_unconsumed_timestamp)
            );
        }
    }
}

/// triggerLiteDispatch
#[derive(Debug, Args)]
pub(crate) struct TriggerLiteDispatch {
    /// The parent
    #[arg(short = 'p', long = "parentTopic")]
    parent_topic: String,
    /// The group
    #[arg(short = 'g', long)]
    group: String,
    /// The client [else: all of the group]
    #[arg(short = 'c', long = "clientId")]
    client_id: Option<String>,
    /// Only this broker
    #[arg(short = 'b', long = "brokerName")]
    broker_name: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Dispatched {
    status: &'static str,
}

impl Command for TriggerLiteDispatch {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let route = admin.route(&self.parent_topic).await?;
        let header = &TriggerHeader {
            group: &self.group,
            client_id: self.client_id.as_deref(),
        };
        let mut wanted = brokers(&route);
        wanted.retain(|(name, _)| self.broker_name.as_deref().is_none_or(|only| only == *name));
        let answers = each(wanted, |(name, address)| async move {
            (name, admin.call(address, header).await)
        });
        let (mut rows, mut failed) = (Vec::new(), None);
        for (name, answer) in answers.await {
            let status = match answer {
                Ok(_) => "dispatched",
                Err(error) => {
                    failed = Some(error);
                    "error"
                }
            };
            rows.push(Of {
                broker: name.to_owned(),
                info: Dispatched { status },
            });
        }
        out.show(&rows, |text| {
            line!(
                text,
                "Lite Group Info: [{}] [{}] [{}]",
                self.group,
                self.parent_topic,
                self.client_id.as_deref().unwrap_or("null")
            );
            line!(text, "{:<30} {:<12}", "#Broker Name", "#Result");
            for row in &rows {
                line!(text, "{:<30} {:<12}", row.broker, row.info.status);
            }
        })?;
        match failed {
            Some(error) => Err(error),
            None if rows.is_empty() => Err(Error::NoRoute(self.parent_topic.clone())),
            None => Ok(()),
        }
    }
}
