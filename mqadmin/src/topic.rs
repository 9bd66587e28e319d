// SPDX-License-Identifier: Apache-2.0
//! Topics: create, change, delete.

use std::path::PathBuf;

use aerobee_remoting::{
    RequestCode,
    body::{
        route::MASTER_ID,
        topic::{TopicConfig, TopicConfigList},
    },
    fastjson,
    header::{
        Empty,
        route::{DeleteKv, DeleteTopicRoute, GetKv, KvReply, PutKv},
        topic::{DeleteTopic as DeleteTopicHeader, UpdateTopic as UpdateTopicHeader},
    },
};
use clap::Args;

use crate::{
    admin::{self, Admin, PATIENCE},
    cli::Command,
    error::Error,
    format,
    out::{Out, done},
    target::{Target, topic_name},
};

/// Namespace of the order of topics among the key-values.
const ORDER: &str = "ORDER_TOPIC_CONFIG";

/// Creates or changes a topic on one broker.
pub(crate) async fn update(admin: &Admin, address: &str, topic: &TopicConfig) -> Result<(), Error> {
    let attributes = format::attributes_text(&topic.attributes);
    let header = UpdateTopicHeader {
        topic: &topic.topic_name,
        default_topic: Some(aerobee_message::topic::AUTO_CREATE),
        read_queue_nums: topic.read_queue_nums,
        write_queue_nums: topic.write_queue_nums,
        perm: topic.perm,
        topic_filter_type: &topic.topic_filter_type,
        topic_sys_flag: Some(topic.topic_sys_flag),
        order: topic.order,
        attributes: Some(&attributes),
        force: None,
    };
    admin.call(address, &header).await?;
    Ok(())
}

/// updateTopic
#[derive(Debug, Args)]
pub(crate) struct UpdateTopic {
    #[command(flatten)]
    target: Target,
    /// Name of the topic
    #[arg(short = 't', long)]
    topic: String,
    /// Attributes to set and to remove: +key=value,-key
    #[arg(short = 'a', long, allow_hyphen_values = true)]
    attributes: Option<String>,
    /// Queues that consumers read
    #[arg(short = 'r', long = "readQueueNums", default_value_t = 8, value_parser = clap::value_parser!(i32).range(1..=65_536))]
    read_queue_nums: i32,
    /// Queues that producers write
    #[arg(short = 'w', long = "writeQueueNums", default_value_t = 8, value_parser = clap::value_parser!(i32).range(1..=65_536))]
    write_queue_nums: i32,
    /// Permission: 2 write, 4 read, 6 both
    #[arg(short = 'p', long, default_value_t = 6, value_parser = clap::value_parser!(i32).range(0..=7))]
    perm: i32,
    /// Whether the topic is ordered over its brokers
    #[arg(short = 'o', long, default_value_t = false, action = clap::ArgAction::Set)]
    order: bool,
    /// Whether the topic belongs to a unit
    #[arg(short = 'u', long, default_value_t = false, action = clap::ArgAction::Set)]
    unit: bool,
    /// Whether the topic has subscriptions of units
    #[arg(short = 's', long = "hasUnitSub", default_value_t = false, action = clap::ArgAction::Set)]
    has_unit_sub: bool,
}

impl Command for UpdateTopic {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        topic_name(&self.topic)?;
        let attributes = self.attributes.as_deref().unwrap_or_default();
        let config = TopicConfig {
            attributes: format::parse_attributes(attributes).map_err(|reason| Error::Flag {
                flag: "--attributes",
                value: attributes.to_owned(),
                reason,
            })?,
            order: self.order,
            perm: self.perm,
            read_queue_nums: self.read_queue_nums,
            topic_name: self.topic.clone(),
            topic_sys_flag: i32::from(self.unit) | i32::from(self.has_unit_sub) << 1,
            write_queue_nums: self.write_queue_nums,
            ..TopicConfig::default()
        };
        if let Some(address) = &self.target.broker_addr {
            update(admin, address, &config).await?;
            if self.order {
                let order = self.order_on_broker(admin, address).await?;
                done!(
                    out,
                    "set broker orderConf. isOrder=true, orderConf=[{order}]"
                );
            }
            done!(out, "create topic to {address} success.");
        } else {
            for address in self.target.masters(admin).await? {
                update(admin, &address, &config).await?;
                done!(out, "create topic to {address} success.");
            }
            if self.order {
                let order = self.order_in_cluster(admin).await?;
                done!(
                    out,
                    "set cluster orderConf. isOrder=true, orderConf=[{order}]"
                );
            }
        }
        done!(out, "{}", format::topic_config(&config));
        Ok(())
    }
}

impl UpdateTopic {
    /// Puts one broker into the order of the topic, beside those that are there.
    async fn order_on_broker(&self, admin: &Admin, address: &str) -> Result<String, Error> {
        let info = admin.cluster_info().await?;
        let broker = info
            .broker_addr_table
            .values()
            .find(|broker| broker.broker_addrs.values().any(|known| known == address))
            .ok_or_else(|| {
                Error::NotFound(format!("no name server knows a broker at {address}"))
            })?;
        let own = format!("{}:{}", broker.broker_name, self.write_queue_nums);
        let known = get_kv(admin, ORDER, &self.topic).await?.unwrap_or_default();
        let mut parts: Vec<_> = known
            .split(';')
            .filter(|part| {
                part.split(':')
                    .next()
                    .is_some_and(|name| !name.is_empty() && name != broker.broker_name)
            })
            .collect();
        parts.push(&own);
        put_kv(admin, ORDER, &self.topic, &parts.join(";")).await?;
        Ok(own)
    }

    async fn order_in_cluster(&self, admin: &Admin) -> Result<String, Error> {
        let cluster = self.target.cluster_name.as_deref().unwrap_or_default();
        let info = admin.cluster_info().await?;
        let parts: Vec<_> = admin::members(&info, cluster)?
            .iter()
            .map(|broker| format!("{}:{}", broker.broker_name, self.write_queue_nums))
            .collect();
        let order = parts.join(";");
        put_kv(admin, ORDER, &self.topic, &order).await?;
        Ok(order)
    }
}

/// Stores a key-value at every name server.
pub(crate) async fn put_kv(
    admin: &Admin,
    namespace: &str,
    key: &str,
    value: &str,
) -> Result<(), Error> {
    let header = PutKv {
        namespace: Some(namespace),
        key: Some(key),
        value: Some(value),
    };
    admin.tell_namesrvs(&header).await
}

/// Deletes a key-value at every name server.
pub(crate) async fn delete_kv(admin: &Admin, namespace: &str, key: &str) -> Result<(), Error> {
    admin.tell_namesrvs(&DeleteKv { namespace, key }).await
}

/// A key-value, if it is there.
pub(crate) async fn get_kv(
    admin: &Admin,
    namespace: &str,
    key: &str,
) -> Result<Option<String>, Error> {
    let request = RequestCode::GET_KV_CONFIG;
    match admin.ask_namesrv(request, &GetKv { namespace, key }).await {
        Ok((address, answer)) => {
            let reply: KvReply<'_> = admin::read_header(address, request, &answer)?;
            Ok(reply.value.map(str::to_owned))
        }
        Err(error) if error.code() == Some(aerobee_remoting::ResponseCode::QUERY_NOT_FOUND) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// updateTopicList
#[derive(Debug, Args)]
pub(crate) struct UpdateTopicList {
    #[command(flatten)]
    target: Target,
    /// JSON file with a list of topics: [{"topicName":"T","readQueueNums":8,"writeQueueNums":8,"perm":6}]
    #[arg(short = 'f', long)]
    filename: PathBuf,
}

/// Reads a file that holds JSON.
pub(crate) fn read_file<T: serde::de::DeserializeOwned>(
    path: &std::path::Path,
) -> Result<T, Error> {
    let bytes = std::fs::read(path).map_err(|source| {
        if source.kind() == std::io::ErrorKind::NotFound {
            Error::NotFound(format!("the file path {} does not exists", path.display()))
        } else {
            Error::File {
                path: path.to_owned(),
                source,
            }
        }
    })?;
    fastjson::from_slice(&bytes).map_err(|reason| Error::Flag {
        flag: "--filename",
        value: path.display().to_string(),
        reason: format!("it does not hold what it should: {reason}"),
    })
}

impl Command for UpdateTopicList {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let list = TopicConfigList {
            topic_config_list: read_file(&self.filename)?,
        };
        for topic in &list.topic_config_list {
            topic_name(&topic.topic_name)?;
        }
        let body = fastjson::to_vec(&list);
        for address in self.target.masters(admin).await? {
            let request = RequestCode::UPDATE_AND_CREATE_TOPIC_LIST;
            admin
                .ask(&address, request, &Empty, &body, PATIENCE)
                .await?;
            done!(
                out,
                "submit batch of topic config to {address} success, please check the result later."
            );
        }
        Ok(())
    }
}

/// deleteTopic
#[derive(Debug, Args)]
pub(crate) struct DeleteTopic {
    /// Name of the topic
    #[arg(short = 't', long)]
    topic: String,
    /// Cluster to delete it from
    #[arg(short = 'c', long = "clusterName")]
    cluster_name: String,
}

/// Deletes a topic at each of `brokers`.
pub(crate) async fn delete_on(admin: &Admin, brokers: &[String], topic: &str) -> Result<(), Error> {
    for address in brokers {
        admin.call(address, &DeleteTopicHeader { topic }).await?;
    }
    Ok(())
}

impl Command for DeleteTopic {
    fn would(&self) -> String {
        format!(
            "Topic {} of cluster {} and all its messages will be deleted.",
            self.topic, self.cluster_name
        )
    }

    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let topic = &self.topic;
        topic_name(topic)?;
        if aerobee_message::topic::is_system(topic) {
            return Err(Error::Flag {
                flag: "--topic",
                value: topic.clone(),
                reason: "system topics are not deleted".to_owned(),
            });
        }
        let masters = admin.masters(&self.cluster_name).await?;
        delete_on(admin, &masters, topic).await?;
        done!(
            out,
            "delete topic [{topic}] from cluster [{}] success.",
            self.cluster_name
        );
        let header = DeleteTopicRoute {
            topic,
            cluster_name: Some(&self.cluster_name),
        };
        admin.tell_namesrvs(&header).await?;
        done!(out, "delete topic [{topic}] from NameServer success.");
        Ok(())
    }
}

/// updateTopicPerm
#[derive(Debug, Args)]
pub(crate) struct UpdateTopicPerm {
    #[command(flatten)]
    target: Target,
    /// Name of the topic
    #[arg(short = 't', long)]
    topic: String,
    /// Permission: 2 write, 4 read, 6 both
    #[arg(short = 'p', long, value_parser = clap::value_parser!(i32).range(0..=7))]
    perm: i32,
}

impl Command for UpdateTopicPerm {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        topic_name(&self.topic)?;
        let route = admin.route(&self.topic).await?;
        let first = route
            .queue_datas
            .first()
            .ok_or_else(|| Error::NoRoute(self.topic.clone()))?;
        let config = TopicConfig {
            perm: self.perm,
            read_queue_nums: first.read_queue_nums,
            topic_name: self.topic.clone(),
            topic_sys_flag: first.topic_sys_flag,
            write_queue_nums: first.write_queue_nums,
            ..TopicConfig::default()
        };
        let Some(address) = &self.target.broker_addr else {
            for address in self.target.masters(admin).await? {
                update(admin, &address, &config).await?;
                done!(
                    out,
                    "update topic perm from {} to {} in {address} success.",
                    first.perm,
                    self.perm
                );
            }
            return Ok(());
        };
        let master = route
            .broker_datas
            .iter()
            .find(|broker| broker.broker_addrs.get(&MASTER_ID) == Some(address));
        let Some(master) = master else {
            return Err(Error::NotFound(
                "updateTopicPerm error broker not exit or broker is not master!.".to_owned(),
            ));
        };
        let old = route
            .queue_datas
            .iter()
            .find(|queues| queues.broker_name == master.broker_name)
            .map_or(0, |queues| queues.perm);
        if old == self.perm {
            done!(out, "new perm equals to the old one!");
            return Ok(());
        }
        update(admin, address, &config).await?;
        done!(
            out,
            "update topic perm from {old} to {} in {address} success.",
            self.perm
        );
        done!(out, "{}.", format::topic_config(&config));
        Ok(())
    }
}

/// updateOrderConf
#[derive(Debug, Args)]
pub(crate) struct UpdateOrderConf {
    /// Name of the topic
    #[arg(short = 't', long)]
    topic: String,
    /// Queues of each broker: broker-a:4;broker-b:4
    #[arg(short = 'v', long = "orderConf")]
    order_conf: Option<String>,
    /// What to do with it
    #[arg(short = 'm', long, value_enum)]
    method: OrderMethod,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum OrderMethod {
    /// Set it
    Put,
    /// Print it
    Get,
    /// Remove it
    Delete,
}

impl Command for UpdateOrderConf {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let topic = &self.topic;
        match self.method {
            OrderMethod::Get => {
                let order = get_kv(admin, ORDER, topic).await?.ok_or_else(|| {
                    Error::NotFound(format!("No config item, Namespace: {ORDER} Key: {topic}"))
                })?;
                done!(
                    out,
                    "get orderConf success. topic=[{topic}], orderConf=[{order}] "
                );
            }
            OrderMethod::Put => {
                let order = self.order_conf.as_deref().unwrap_or_default();
                check_order(order)?;
                put_kv(admin, ORDER, topic, order).await?;
                done!(
                    out,
                    "update orderConf success. topic=[{topic}], orderConf=[{order}]"
                );
            }
            OrderMethod::Delete => {
                delete_kv(admin, ORDER, topic).await?;
                done!(out, "delete orderConf success. topic=[{topic}]");
            }
        }
        Ok(())
    }
}

/// Checks `broker:queues;…`.
fn check_order(order: &str) -> Result<(), Error> {
    let fits = |part: &str| {
        part.split_once(':').is_some_and(|(broker, queues)| {
            !broker.is_empty() && queues.parse::<u32>().is_ok_and(|queues| queues > 0)
        })
    };
    if !order.is_empty() && order.split(';').all(fits) {
        return Ok(());
    }
    Err(Error::Flag {
        flag: "--orderConf",
        value: order.to_owned(),
        reason: "please set orderConf with option -v as broker-a:4;broker-b:4".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_names_brokers_and_queues() {
        assert!(check_order("broker-a:4").is_ok());
        assert!(check_order("broker-a:4;broker-b:8").is_ok());
        for wrong in [
            "",
            "broker-a",
            "broker-a:",
            ":4",
            "broker-a:0",
            "broker-a:x",
            "broker-a:4;",
        ] {
            assert!(check_order(wrong).is_err(), "{wrong:?}");
        }
    }
}
