// SPDX-License-Identifier: Apache-2.0
//! Topic and group configuration on a broker: codes 17, 21, 200, 201, 207, 215, 351, 352, 353.

use crate::Header;

/// Creates or changes a topic. Apache: `CreateTopicRequestHeader`.
#[derive(Debug, Clone, Header)]
#[request(code = UPDATE_AND_CREATE_TOPIC)]
pub struct UpdateTopic<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Template, unused by brokers.
    pub default_topic: Option<&'a str>,
    /// Queues that consumers see.
    pub read_queue_nums: i32,
    /// Queues that producers see.
    pub write_queue_nums: i32,
    /// 4 read, 2 write, 1 inherit.
    pub perm: i32,
    /// `SINGLE_TAG` or `MULTI_TAG`.
    #[field(default = "SINGLE_TAG")]
    pub topic_filter_type: &'a str,
    /// Unit flags.
    pub topic_sys_flag: Option<i32>,
    /// Whether messages are ordered by queue.
    #[field(default)]
    pub order: bool,
    /// `+name=value,-name`.
    pub attributes: Option<&'a str>,
    /// Ignored by Apache's broker as well.
    pub force: Option<bool>,
}

/// Deletes a topic of a broker.
#[derive(Debug, Clone, Header)]
#[request(code = DELETE_TOPIC_IN_BROKER)]
pub struct DeleteTopic<'a> {
    /// The topic.
    pub topic: &'a str,
}

/// Asks for the configuration of a topic.
#[derive(Debug, Clone, Header)]
#[request(code = GET_TOPIC_CONFIG)]
pub struct GetTopicConfig<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Whether the mapping of a static topic is wanted too.
    pub lo: Option<bool>,
}

/// Tells, or changes, whether a group may read a topic.
#[derive(Debug, Clone, Header)]
#[request(code = UPDATE_AND_GET_GROUP_FORBIDDEN)]
pub struct GroupForbidden<'a> {
    /// The group.
    pub group: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// What it is to be.
    pub readable: Option<bool>,
}

/// Deletes a group of a broker.
#[derive(Debug, Clone, Header)]
#[request(code = DELETE_SUBSCRIPTIONGROUP)]
pub struct DeleteGroup<'a> {
    /// The group.
    pub group_name: &'a str,
    /// Whether its offsets go too.
    #[field(default)]
    pub clean_offset: bool,
}

/// Asks for the configuration of a group.
#[derive(Debug, Clone, Header)]
#[request(code = GET_SUBSCRIPTIONGROUP_CONFIG)]
pub struct GetGroupConfig<'a> {
    /// The group.
    pub group: &'a str,
}

/// How many topics the answer to code 21 is a part of.
#[derive(Debug, Clone, Header)]
pub struct AllTopicsReply {
    /// Number of topics.
    pub total_topic_num: i32,
}

/// How many groups the answer to code 201 is a part of.
#[derive(Debug, Clone, Header)]
pub struct AllGroupsReply {
    /// Number of groups.
    pub total_group_num: i32,
}
