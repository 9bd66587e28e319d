// SPDX-License-Identifier: Apache-2.0
//! Consumer groups: create, change, delete, print.

use std::path::PathBuf;

use aerobee_message::topic::{dead_letter_topic, retry_topic};
use aerobee_remoting::{
    RequestCode, ResponseCode,
    body::{
        assignment::SetRequestMode,
        group::{RetryPolicy, SubscriptionGroupConfig, SubscriptionGroupList},
    },
    fastjson,
    header::{
        Empty,
        route::{DeleteKv, DeleteTopicRoute},
        topic::{DeleteGroup, GetGroupConfig},
    },
};
use clap::Args;
use serde::Serialize;

use crate::{
    admin::{Admin, PATIENCE, pick},
    cli::Command,
    error::Error,
    format,
    out::{Out, Text, done, line, warn},
    target::{Target, group_name},
    topic::{delete_on, read_file},
};

/// updateSubGroup
#[derive(Debug, Args)]
pub(crate) struct UpdateSubGroup {
    #[command(flatten)]
    target: Target,
    /// Name of the group
    #[arg(short = 'g', long = "groupName")]
    group_name: String,
    /// Whether consumers may read at all
    #[arg(short = 's', long = "consumeEnable", default_value_t = true, action = clap::ArgAction::Set)]
    consume_enable: bool,
    /// Whether consumers may begin at the smallest offset
    #[arg(short = 'm', long = "consumeFromMinEnable", default_value_t = false, action = clap::ArgAction::Set)]
    consume_from_min_enable: bool,
    /// Whether broadcasting consumers may read
    #[arg(short = 'd', long = "consumeBroadcastEnable", default_value_t = false, action = clap::ArgAction::Set)]
    consume_broadcast_enable: bool,
    /// Whether pop keeps the order of queues
    #[arg(short = 'o', long = "consumeMessageOrderly", default_value_t = false, action = clap::ArgAction::Set)]
    consume_message_orderly: bool,
    /// Queues of the retry topic
    #[arg(short = 'q', long = "retryQueueNums", default_value_t = 1, value_parser = clap::value_parser!(i32).range(0..=65_536))]
    retry_queue_nums: i32,
    /// Retries before a message becomes a dead letter
    #[arg(
        short = 'r',
        long = "retryMaxTimes",
        default_value_t = 16,
        allow_negative_numbers = true
    )]
    retry_max_times: i32,
    /// JSON of how long messages wait between retries: {"type":"CUSTOMIZED","customizedRetryPolicy":{"next":[1000,5000]}}
    #[arg(short = 'p', long = "groupRetryPolicy")]
    group_retry_policy: Option<String>,
    /// Broker that consumers are told to read from
    #[arg(short = 'i', long = "brokerId", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    broker_id: i64,
    /// Broker to read from when this one is slow
    #[arg(short = 'w', long = "whichBrokerWhenConsumeSlowly", default_value_t = 1, value_parser = clap::value_parser!(i64).range(0..))]
    which_broker_when_consume_slowly: i64,
    /// Whether members are told when others come or go
    #[arg(short = 'a', long = "notifyConsumerIdsChanged", default_value_t = true, action = clap::ArgAction::Set)]
    notify_consumer_ids_changed: bool,
    /// Attributes to set and to remove: +key=value,-key
    #[arg(long, allow_hyphen_values = true)]
    attributes: Option<String>,
}

impl UpdateSubGroup {
    fn config(&self) -> Result<SubscriptionGroupConfig, Error> {
        group_name(&self.group_name)?;
        let attributes = self.attributes.as_deref().unwrap_or_default();
        let attributes = format::parse_attributes(attributes).map_err(|reason| Error::Flag {
            flag: "--attributes",
            value: attributes.to_owned(),
            reason,
        })?;
        let policy: Option<RetryPolicy> = match self.group_retry_policy.as_deref() {
            None => None,
            Some(text) => Some(fastjson::from_str(text).map_err(|reason| Error::Flag {
                flag: "--groupRetryPolicy",
                value: text.to_owned(),
                reason: reason.to_string(),
            })?),
        };
        Ok(SubscriptionGroupConfig {
            attributes,
            broker_id: self.broker_id,
            consume_broadcast_enable: self.consume_broadcast_enable,
            consume_enable: self.consume_enable,
            consume_from_min_enable: self.consume_from_min_enable,
            consume_message_orderly: self.consume_message_orderly,
            group_name: self.group_name.clone(),
            group_retry_policy: policy.unwrap_or_default(),
            notify_consumer_ids_changed_enable: self.notify_consumer_ids_changed,
            retry_max_times: self.retry_max_times,
            retry_queue_nums: self.retry_queue_nums,
            which_broker_when_consume_slowly: self.which_broker_when_consume_slowly,
            ..SubscriptionGroupConfig::default()
        })
    }
}

impl Command for UpdateSubGroup {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let config = self.config()?;
        let body = fastjson::to_vec(&config);
        let request = RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
        for address in self.target.masters(admin).await? {
            admin
                .ask(&address, request, &Empty, &body, PATIENCE)
                .await?;
            done!(out, "create subscription group to {address} success.");
        }
        done!(out, "{}", format::group_config(&config));
        Ok(())
    }
}

/// updateSubGroupList
#[derive(Debug, Args)]
pub(crate) struct UpdateSubGroupList {
    #[command(flatten)]
    target: Target,
    /// JSON file with a list of groups: [{"groupName":"G","retryMaxTimes":16}]
    #[arg(short = 'f', long)]
    filename: PathBuf,
}

impl Command for UpdateSubGroupList {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let list = SubscriptionGroupList {
            group_config_list: read_file(&self.filename)?,
        };
        for group in &list.group_config_list {
            group_name(&group.group_name)?;
        }
        let body = fastjson::to_vec(&list);
        let what = if self.target.broker_addr.is_some() {
            "group"
        } else {
            "subscription group"
        };
        for address in self.target.masters(admin).await? {
            let request = RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST;
            admin
                .ask(&address, request, &Empty, &body, PATIENCE)
                .await?;
            done!(
                out,
                "submit batch of {what} config to {address} success, please check the result later."
            );
        }
        Ok(())
    }
}

/// deleteSubGroup
#[derive(Debug, Args)]
pub(crate) struct DeleteSubGroup {
    #[command(flatten)]
    target: Target,
    /// Name of the group
    #[arg(short = 'g', long = "groupName")]
    group_name: String,
    /// Whether its offsets go too
    #[arg(short = 'r', long = "removeOffset", default_value_t = false, action = clap::ArgAction::Set)]
    remove_offset: bool,
}

impl Command for DeleteSubGroup {
    fn would(&self) -> String {
        let offsets = if self.remove_offset {
            ", and how far it is,"
        } else {
            ""
        };
        format!("Group {}{offsets} will be deleted.", self.group_name)
    }

    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let group = &self.group_name;
        group_name(group)?;
        let header = DeleteGroup {
            group_name: group,
            clean_offset: self.remove_offset,
        };
        if let Some(address) = &self.target.broker_addr {
            admin.call(address, &header).await?;
            done!(
                out,
                "delete subscription group [{group}] from broker [{address}] success."
            );
            return Ok(());
        }
        let cluster = self.target.cluster_name.as_deref().unwrap_or_default();
        for address in admin.masters(cluster).await? {
            admin.call(&address, &header).await?;
            done!(
                out,
                "delete subscription group [{group}] from broker [{address}] in cluster [{cluster}] success."
            );
        }
        let members = admin.members(cluster).await?;
        for topic in [retry_topic(group), dead_letter_topic(group)] {
            if let Err(error) = delete_everywhere(admin, &members, &topic).await {
                warn(format_args!("topic {topic} of the group stays: {error}"));
            }
        }
        Ok(())
    }
}

/// Deletes a topic of a group at brokers and name servers.
async fn delete_everywhere(admin: &Admin, brokers: &[String], topic: &str) -> Result<(), Error> {
    delete_on(admin, brokers, topic).await?;
    let header = DeleteTopicRoute {
        topic,
        cluster_name: None,
    };
    admin.tell_namesrvs(&header).await?;
    let order = DeleteKv {
        namespace: "ORDER_TOPIC_CONFIG",
        key: topic,
    };
    admin.tell_namesrvs(&order).await
}

/// setConsumeMode
#[derive(Debug, Args)]
pub(crate) struct SetConsumeMode {
    #[command(flatten)]
    target: Target,
    /// Name of the topic
    #[arg(short = 't', long = "topicName")]
    topic_name: String,
    /// Name of the group
    #[arg(short = 'g', long = "groupName")]
    group_name: String,
    /// How its members get messages
    #[arg(short = 'm', long, value_parser = ["PULL", "POP"])]
    mode: String,
    /// With POP: queues that a member shares; 0 all
    #[arg(
        short = 'q',
        long = "popShareQueueNum",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    pop_share_queue_num: i32,
}

impl Command for SetConsumeMode {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        group_name(&self.group_name)?;
        let body = fastjson::to_vec(&SetRequestMode {
            consumer_group: self.group_name.clone(),
            mode: aerobee_remoting::body::assignment::RequestMode::from_name(&self.mode)
                .unwrap_or_default(),
            pop_share_queue_num: self.pop_share_queue_num,
            topic: self.topic_name.clone(),
        });
        for address in self.target.masters(admin).await? {
            let request = RequestCode::SET_MESSAGE_REQUEST_MODE;
            admin
                .ask(&address, request, &Empty, &body, PATIENCE)
                .await?;
            done!(out, "set consume mode to {address} success.");
        }
        done!(
            out,
            "topic[{}] group[{}] consume mode[{}] popShareQueueNum[{}]",
            self.topic_name,
            self.group_name,
            self.mode,
            self.pop_share_queue_num
        );
        Ok(())
    }
}

/// getConsumerConfig
#[derive(Debug, Args)]
pub(crate) struct GetConsumerConfig {
    /// Name of the group
    #[arg(short = 'g', long = "groupName")]
    group_name: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupRow {
    cluster: String,
    broker: String,
    config: SubscriptionGroupConfig,
}

impl Command for GetConsumerConfig {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let info = admin.cluster_info().await?;
        let mut rows = Vec::new();
        for (name, broker) in &info.broker_addr_table {
            let Some(address) = pick(broker) else {
                continue;
            };
            let header = GetGroupConfig {
                group: &self.group_name,
            };
            match admin.read(address, &header).await {
                Ok(config) => rows.push(GroupRow {
                    cluster: broker.cluster.clone(),
                    broker: name.clone(),
                    config,
                }),
                Err(error) if error.code() == Some(ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST) => {}
                Err(error) => return Err(error),
            }
        }
        out.show(&rows, |text| {
            for row in &rows {
                line!(
                    text,
                    "============================={}:{}=============================",
                    row.cluster,
                    row.broker
                );
                print_config(text, &row.config);
            }
        })?;
        Ok(())
    }
}

fn print_config(text: &mut Text, config: &SubscriptionGroupConfig) {
    let policy = format::group_config(config);
    // The policy stands in the text of the group, between these two.
    let policy = policy
        .split_once("groupRetryPolicy=")
        .and_then(|(_, rest)| rest.split_once(", brokerId="))
        .map_or("", |(policy, _)| policy);
    let set = config
        .subscription_data_set
        .as_ref()
        .map_or_else(String::new, |set| {
            format::list(set.iter().map(|data| format!("{data:?}")))
        });
    let mut field = |name: &str, value: &dyn std::fmt::Display| line!(text, "{name:<40}=  {value}");
    field("groupName", &config.group_name);
    field("consumeEnable", &config.consume_enable);
    field("consumeFromMinEnable", &config.consume_from_min_enable);
    field("consumeBroadcastEnable", &config.consume_broadcast_enable);
    field("consumeMessageOrderly", &config.consume_message_orderly);
    field("retryQueueNums", &config.retry_queue_nums);
    field("retryMaxTimes", &config.retry_max_times);
    field("groupRetryPolicy", &policy);
    field("brokerId", &config.broker_id);
    field(
        "whichBrokerWhenConsumeSlowly",
        &config.which_broker_when_consume_slowly,
    );
    field(
        "notifyConsumerIdsChangedEnable",
        &config.notify_consumer_ids_changed_enable,
    );
    field("groupSysFlag", &config.group_sys_flag);
    field("consumeTimeoutMinute", &config.consume_timeout_minute);
    field("subscriptionDataSet", &set);
    field("attributes", &format::map::<_, _>(&config.attributes));
}
