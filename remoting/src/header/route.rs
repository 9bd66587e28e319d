// SPDX-License-Identifier: Apache-2.0
//! What clients and tools ask a name server: routes, topic lists, key-values.

use crate::Header;

/// Asks where a topic is.
#[derive(Debug, Clone, Header)]
#[request(code = GET_ROUTEINFO_BY_TOPIC)]
pub struct GetRoute<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Whether map keys have to be quoted.
    pub accept_standard_json_only: Option<bool>,
    /// Whether brokers of other zones are unwanted.
    #[field(name = "__ZONE_MODE")]
    pub zone_mode: Option<bool>,
    /// Zone of the client.
    #[field(name = "__ZONE_NAME")]
    pub zone_name: Option<&'a str>,
}

/// Stores a key-value.
#[derive(Debug, Clone, Header)]
#[request(code = PUT_KV_CONFIG)]
pub struct PutKv<'a> {
    /// Namespace of the key.
    pub namespace: Option<&'a str>,
    /// The key.
    pub key: Option<&'a str>,
    /// The value.
    pub value: Option<&'a str>,
}

/// Asks for a key-value.
#[derive(Debug, Clone, Header)]
#[request(code = GET_KV_CONFIG)]
pub struct GetKv<'a> {
    /// Namespace of the key.
    pub namespace: &'a str,
    /// The key.
    pub key: &'a str,
}

/// The value asked for.
#[derive(Debug, Clone, Header)]
pub struct KvReply<'a> {
    /// The value.
    pub value: Option<&'a str>,
}

/// Deletes a key-value.
#[derive(Debug, Clone, Header)]
#[request(code = DELETE_KV_CONFIG)]
pub struct DeleteKv<'a> {
    /// Namespace of the key.
    pub namespace: &'a str,
    /// The key.
    pub key: &'a str,
}

/// Asks for all key-values of a namespace.
#[derive(Debug, Clone, Header)]
#[request(code = GET_KVLIST_BY_NAMESPACE)]
pub struct GetKvList<'a> {
    /// The namespace.
    pub namespace: &'a str,
}

/// Asks for the topics of a cluster.
#[derive(Debug, Clone, Header)]
#[request(code = GET_TOPICS_BY_CLUSTER)]
pub struct GetTopicsByCluster<'a> {
    /// The cluster.
    pub cluster: &'a str,
}

/// Removes a topic's routes.
#[derive(Debug, Clone, Header)]
#[request(code = DELETE_TOPIC_IN_NAMESRV)]
pub struct DeleteTopicRoute<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Only of this cluster.
    pub cluster_name: Option<&'a str>,
}

/// Adds a topic's routes.
#[derive(Debug, Clone, Header)]
#[request(code = REGISTER_TOPIC_IN_NAMESRV)]
pub struct RegisterTopic<'a> {
    /// The topic.
    pub topic: &'a str,
}

/// Takes the write permission from all topics of a broker.
#[derive(Debug, Clone, Header)]
#[request(code = WIPE_WRITE_PERM_OF_BROKER)]
pub struct WipeWritePerm<'a> {
    /// The broker.
    pub broker_name: &'a str,
}

/// How many topics lost it.
#[derive(Debug, Clone, Header)]
pub struct WipeWritePermReply {
    /// Number of topics.
    pub wipe_topic_count: i32,
}

/// Gives the write permission back.
#[derive(Debug, Clone, Header)]
#[request(code = ADD_WRITE_PERM_OF_BROKER)]
pub struct AddWritePerm<'a> {
    /// The broker.
    pub broker_name: &'a str,
}

/// How many topics got it.
#[derive(Debug, Clone, Header)]
pub struct AddWritePermReply {
    /// Number of topics.
    pub add_topic_count: i32,
}
