// SPDX-License-Identifier: Apache-2.0
//! Topic configurations.

use std::{collections::BTreeMap, str::FromStr};

use serde::{Deserialize, Serialize};

pub use super::data_version::DataVersion;
use super::static_topic::{TopicQueueMapping, TopicQueueMappingDetail};
use crate::fastjson;

/// How a topic is set up on one broker. Apache: `TopicConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfig {
    /// Attributes such as `message.type`; in requests that change them the keys begin with `+` or
    /// `-`.
    pub attributes: BTreeMap<String, String>,
    /// Whether clients keep to an ordered set of queues.
    pub order: bool,
    /// Permission bits: 1 inherit, 2 write, 4 read, 8 priority.
    pub perm: i32,
    /// Queues that consumers read.
    pub read_queue_nums: i32,
    /// `SINGLE_TAG` or `MULTI_TAG`.
    pub topic_filter_type: String,
    /// The name.
    pub topic_name: String,
    /// 1 unit, 2 unit subscription.
    pub topic_sys_flag: i32,
    /// Queues that producers write.
    pub write_queue_nums: i32,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            order: false,
            perm: 6,
            read_queue_nums: 16,
            topic_filter_type: "SINGLE_TAG".to_owned(),
            topic_name: String::new(),
            topic_sys_flag: 0,
            write_queue_nums: 16,
        }
    }
}

impl TopicConfig {
    /// The line of this topic in a compressed registration (`TopicConfig.encode` of Apache):
    /// name, read queues, write queues, permission, filter type, attributes, single blanks between
    /// them. `order` and `topic_sys_flag` are lost.
    pub fn to_line(&self) -> String {
        format!(
            "{} {} {} {} {} {}",
            self.topic_name,
            self.read_queue_nums,
            self.write_queue_nums,
            self.perm,
            self.topic_filter_type,
            fastjson::to_string(&self.attributes)
        )
    }

    /// Reads such a line; `None` when there are fewer than five words or a number is none.
    /// Attributes that do not parse are ignored, as by Apache.
    pub fn from_line(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let topic_name = words.next()?.to_owned();
        let mut number = || words.next().and_then(|word| i32::from_str(word).ok());
        let (read_queue_nums, write_queue_nums, perm) = (number()?, number()?, number()?);
        let topic_filter_type = words.next()?.to_owned();
        let attributes = words.next().and_then(|word| fastjson::from_str(word).ok());
        Some(Self {
            attributes: attributes.unwrap_or_default(),
            order: false,
            perm,
            read_queue_nums,
            topic_filter_type,
            topic_name,
            topic_sys_flag: 0,
            write_queue_nums,
        })
    }
}

/// A topic and, when it is static, where its queues live. Body of 351. Apache:
/// `TopicConfigAndQueueMapping`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfigAndMapping {
    /// See [`TopicConfig::attributes`].
    pub attributes: BTreeMap<String, String>,
    /// The mapping of a static topic.
    pub mapping_detail: Option<TopicQueueMappingDetail>,
    /// See [`TopicConfig::order`].
    pub order: bool,
    /// See [`TopicConfig::perm`].
    pub perm: i32,
    /// See [`TopicConfig::read_queue_nums`].
    pub read_queue_nums: i32,
    /// See [`TopicConfig::topic_filter_type`].
    pub topic_filter_type: String,
    /// See [`TopicConfig::topic_name`].
    pub topic_name: String,
    /// See [`TopicConfig::topic_sys_flag`].
    pub topic_sys_flag: i32,
    /// See [`TopicConfig::write_queue_nums`].
    pub write_queue_nums: i32,
}

impl TopicConfigAndMapping {
    /// `config` with its mapping.
    pub fn new(config: TopicConfig, mapping_detail: Option<TopicQueueMappingDetail>) -> Self {
        Self {
            attributes: config.attributes,
            mapping_detail,
            order: config.order,
            perm: config.perm,
            read_queue_nums: config.read_queue_nums,
            topic_filter_type: config.topic_filter_type,
            topic_name: config.topic_name,
            topic_sys_flag: config.topic_sys_flag,
            write_queue_nums: config.write_queue_nums,
        }
    }
}

impl Default for TopicConfigAndMapping {
    fn default() -> Self {
        Self::new(TopicConfig::default(), None)
    }
}

/// The topics of a broker: answer to 21, part of a registration, content of `topics.json`. Apache:
/// `TopicConfigSerializeWrapper` and `TopicConfigAndMappingSerializeWrapper`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfigTable {
    /// Version of the topics.
    pub data_version: DataVersion,
    /// Version of the mappings. Brokers before 5.0 and `topics.json` lack it and the two mapping
    /// tables.
    pub mapping_data_version: Option<DataVersion>,
    /// Topics by name.
    pub topic_config_table: BTreeMap<String, TopicConfig>,
    /// Mappings of static topics by name.
    pub topic_queue_mapping_detail_map: Option<BTreeMap<String, TopicQueueMappingDetail>>,
    /// Outlines of these mappings by name.
    pub topic_queue_mapping_info_map: Option<BTreeMap<String, TopicQueueMapping>>,
}

/// Body of 18: topics to create or change. Apache: `CreateTopicListRequestBody`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfigList {
    /// The topics.
    pub topic_config_list: Vec<TopicConfig>,
}

/// Names of topics. Apache: `TopicList`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicList {
    /// Address of some broker, only in answers to 304 and 343.
    pub broker_addr: Option<String>,
    /// The names.
    pub topic_list: Vec<String>,
}
