// SPDX-License-Identifier: Apache-2.0
//! Clients and groups: codes 34, 35, 38, 40, 203, 204.

use crate::Header;

/// Answer to a heartbeat; the heartbeat itself is a body.
#[derive(Debug, Clone, Header)]
pub struct HeartbeatReply {
    /// Whether the short heartbeat is understood.
    #[field(name = "IS_SUPPORT_HEART_BEAT_V2")]
    pub supports_v2: bool,
    /// Whether the client has to send its subscriptions again.
    #[field(name = "IS_SUB_CHANGE")]
    pub subscription_changed: bool,
}

/// A client leaves its groups.
#[derive(Debug, Clone, Header)]
#[request(code = UNREGISTER_CLIENT)]
pub struct UnregisterClient<'a> {
    /// Id of the client.
    #[field(name = "clientID")]
    pub client_id: &'a str,
    /// Group that it produced for.
    pub producer_group: Option<&'a str>,
    /// Group that it consumed for.
    pub consumer_group: Option<&'a str>,
}

/// Asks for the members of a group.
#[derive(Debug, Clone, Header)]
#[request(code = GET_CONSUMER_LIST_BY_GROUP)]
pub struct GetConsumerList<'a> {
    /// The group.
    pub consumer_group: &'a str,
}

/// Tells a client that its group has changed.
#[derive(Debug, Clone, Header)]
#[request(code = NOTIFY_CONSUMER_IDS_CHANGED)]
pub struct NotifyConsumerIdsChanged<'a> {
    /// The group.
    pub consumer_group: &'a str,
}

/// Asks for the connections of a consumer group.
#[derive(Debug, Clone, Header)]
#[request(code = GET_CONSUMER_CONNECTION_LIST)]
pub struct GetConsumerConnections<'a> {
    /// The group.
    pub consumer_group: &'a str,
}

/// Asks for the connections of a producer group.
#[derive(Debug, Clone, Header)]
#[request(code = GET_PRODUCER_CONNECTION_LIST)]
pub struct GetProducerConnections<'a> {
    /// The group.
    pub producer_group: &'a str,
}
