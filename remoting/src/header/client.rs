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

/// Asks for the inner state of a consumer; passed on to it.
#[derive(Debug, Clone, Header)]
#[request(code = GET_CONSUMER_RUNNING_INFO)]
pub struct GetConsumerRunningInfo<'a> {
    /// The group.
    pub consumer_group: &'a str,
    /// The client.
    pub client_id: &'a str,
    /// Whether the stacks of its threads are wanted.
    #[field(default)]
    pub jstack_enable: bool,
}

/// Has a consumer consume one message now; passed on to it.
#[derive(Debug, Clone, Header)]
#[request(code = CONSUME_MESSAGE_DIRECTLY)]
pub struct ConsumeDirectly<'a> {
    /// The group.
    pub consumer_group: &'a str,
    /// The client.
    pub client_id: Option<&'a str>,
    /// Offset message id of the message.
    pub msg_id: Option<&'a str>,
    /// Name of the broker, for the client.
    pub broker_name: Option<&'a str>,
    /// The topic of the message.
    pub topic: Option<&'a str>,
}

/// Asks which offsets the consumers of a group have; asked of them one by one. Also the question to
/// each of them (221).
#[derive(Debug, Clone, Header)]
#[request(code = INVOKE_BROKER_TO_GET_CONSUMER_STATUS)]
pub struct GetConsumerStatus<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The group.
    pub group: &'a str,
    /// Id of the one client to ask; all when missing or blank.
    pub client_addr: Option<&'a str>,
}

/// Has a group go on elsewhere. Also what old consumers are told (220).
#[derive(Debug, Clone, Header)]
#[request(code = INVOKE_BROKER_TO_RESET_OFFSET)]
pub struct ResetOffset<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The group.
    pub group: &'a str,
    /// Store time to go on at, ms; below zero for the end.
    #[field(default = -1)]
    pub timestamp: i64,
    /// Whether offsets may also grow.
    #[field(default)]
    pub is_force: bool,
    /// The one queue; all when below zero.
    #[field(default = -1)]
    pub queue_id: i32,
    /// Offset for the one queue; −1 for that of the time.
    #[field(default = -1)]
    pub offset: i64,
}

/// Copies the offsets of one group to another.
#[derive(Debug, Clone, Header)]
#[request(code = CLONE_GROUP_OFFSET)]
pub struct CloneGroupOffset<'a> {
    /// Where the offsets come from.
    pub src_group: &'a str,
    /// Where they go.
    pub dest_group: &'a str,
    /// The one topic; all when missing or blank.
    pub topic: Option<&'a str>,
    /// Whether the subscription of the source does not count.
    #[field(default)]
    pub offline: bool,
}
