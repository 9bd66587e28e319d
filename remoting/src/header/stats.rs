// SPDX-License-Identifier: Apache-2.0
//! What topics hold and how far groups are: codes 202, 208, 300, 303, 308, 315, 317, 321, 343, 345.

use crate::Header;

/// Asks for the offsets of a topic.
#[derive(Debug, Clone, Header)]
#[request(code = GET_TOPIC_STATS_INFO)]
pub struct GetTopicStats<'a> {
    /// The topic.
    pub topic: &'a str,
}

/// Asks how far a group is.
#[derive(Debug, Clone, Header)]
#[request(code = GET_CONSUME_STATS)]
pub struct GetConsumeStats<'a> {
    /// The group.
    pub consumer_group: &'a str,
    /// One topic; all that the group has offsets of when it is missing.
    pub topic: Option<&'a str>,
    /// Topics, separated by `;`; goes before `topic`.
    pub topic_list: Option<&'a str>,
}

/// Asks how far all groups are.
#[derive(Debug, Clone, Header)]
#[request(code = GET_BROKER_CONSUME_STATS)]
pub struct GetBrokerConsumeStats {
    /// Whether only ordered topics count.
    #[field(default)]
    pub is_order: bool,
}

/// Asks for the groups that consume a topic.
#[derive(Debug, Clone, Header)]
#[request(code = QUERY_TOPIC_CONSUME_BY_WHO)]
pub struct QueryGroupsOfTopic<'a> {
    /// The topic.
    pub topic: &'a str,
}

/// Asks for the topics that a group consumes.
#[derive(Debug, Clone, Header)]
#[request(code = QUERY_TOPICS_BY_CONSUMER)]
pub struct QueryTopicsOfGroup<'a> {
    /// The group.
    pub group: &'a str,
}

/// Asks what a group wants of a topic.
#[derive(Debug, Clone, Header)]
#[request(code = QUERY_SUBSCRIPTION_BY_CONSUMER)]
pub struct QuerySubscription<'a> {
    /// The group.
    pub group: &'a str,
    /// The topic.
    pub topic: &'a str,
}

/// Asks between which times a group consumes.
#[derive(Debug, Clone, Header)]
#[request(code = QUERY_CONSUME_TIME_SPAN)]
pub struct QueryTimeSpan<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The group.
    pub group: &'a str,
}

/// Asks for offsets that groups can be set back to.
#[derive(Debug, Clone, Header)]
#[request(code = QUERY_CORRECTION_OFFSET)]
pub struct QueryCorrectionOffset<'a> {
    /// Groups that do not count, separated by `,`.
    pub filter_groups: Option<&'a str>,
    /// The group to compare with.
    pub compare_group: &'a str,
    /// The topic.
    pub topic: &'a str,
}

/// Asks for entries of a queue.
#[derive(Debug, Clone, Header)]
#[request(code = QUERY_CONSUME_QUEUE)]
pub struct QueryConsumeQueue<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The queue.
    pub queue_id: i32,
    /// Offset of the first entry.
    pub index: i64,
    /// Number of entries.
    pub count: i32,
    /// The group whose filter is tried on the messages.
    pub consumer_group: Option<&'a str>,
}

/// Asks for counts of a kind.
#[derive(Debug, Clone, Header)]
#[request(code = VIEW_BROKER_STATS_DATA)]
pub struct ViewBrokerStats<'a> {
    /// The kind, such as `TOPIC_PUT_NUMS`.
    pub stats_name: &'a str,
    /// What is counted: a topic, `topic@group`, …
    pub stats_key: &'a str,
}
