// SPDX-License-Identifier: Apache-2.0
//! What brokers tell name servers, and the reverse: codes 103, 104, 322, 901, 904, 905.

use crate::Header;

/// A broker announces itself; its topics are the body. Apache: `RegisterBrokerRequestHeader`.
#[derive(Debug, Clone, Header)]
#[request(code = REGISTER_BROKER)]
pub struct RegisterBroker<'a> {
    /// Name shared by a master and its slaves.
    pub broker_name: &'a str,
    /// Where clients reach it.
    pub broker_addr: &'a str,
    /// Its cluster.
    pub cluster_name: &'a str,
    /// Where slaves reach it.
    #[field(default)]
    pub ha_server_addr: &'a str,
    /// 0 is the master.
    pub broker_id: i64,
    /// After so long without a sign the broker is gone.
    pub heartbeat_timeout_millis: Option<i64>,
    /// Whether the smallest slave id acts for a missing master.
    pub enable_acting_master: Option<bool>,
    /// Whether the body is compressed.
    #[field(default)]
    pub compressed: bool,
    /// CRC-32 of the body as sent, sign bit cleared; 0 is not checked.
    #[field(default)]
    pub body_crc32: i32,
    /// Zone of the broker.
    #[field(name = "__ZONE_NAME")]
    pub zone_name: Option<&'a str>,
}

/// Who the master is.
#[derive(Debug, Clone, Default, Header)]
pub struct RegisterBrokerReply<'a> {
    /// Where slaves reach the master.
    pub ha_server_addr: Option<&'a str>,
    /// Where clients reach the master.
    pub master_addr: Option<&'a str>,
}

/// A broker leaves.
#[derive(Debug, Clone, Header)]
#[request(code = UNREGISTER_BROKER)]
pub struct UnregisterBroker<'a> {
    /// Its name.
    pub broker_name: &'a str,
    /// Its address.
    pub broker_addr: &'a str,
    /// Its cluster.
    pub cluster_name: &'a str,
    /// Its id.
    pub broker_id: i64,
}

/// Asks whether a data version is still the one known; the version is the body.
#[derive(Debug, Clone, Header)]
#[request(code = QUERY_DATA_VERSION)]
pub struct QueryDataVersion<'a> {
    /// Its name.
    pub broker_name: &'a str,
    /// Its address.
    pub broker_addr: &'a str,
    /// Its cluster.
    pub cluster_name: &'a str,
    /// Its id.
    pub broker_id: i64,
}

/// Whether it is not.
#[derive(Debug, Clone, Header)]
pub struct QueryDataVersionReply {
    /// True when unknown or different.
    pub changed: bool,
}

/// Asks who shares a broker name.
#[derive(Debug, Clone, Header)]
#[request(code = GET_BROKER_MEMBER_GROUP)]
pub struct GetBrokerMemberGroup<'a> {
    /// The cluster.
    pub cluster_name: &'a str,
    /// The name.
    pub broker_name: &'a str,
}

/// A broker is alive.
#[derive(Debug, Clone, Header)]
#[request(code = BROKER_HEARTBEAT)]
pub struct BrokerHeartbeat<'a> {
    /// Its cluster.
    pub cluster_name: &'a str,
    /// Its address.
    pub broker_addr: &'a str,
    /// Its name.
    pub broker_name: &'a str,
    /// Its id.
    pub broker_id: Option<i64>,
    /// Master epoch.
    pub epoch: Option<i32>,
    /// End of its log.
    pub max_offset: Option<i64>,
    /// Confirmed end of its log.
    pub confirm_offset: Option<i64>,
    /// After so long without a sign it is gone.
    pub heartbeat_timeout_mills: Option<i64>,
    /// Preference in elections.
    pub election_priority: Option<i32>,
}

/// The smallest id of a broker name has changed.
#[derive(Debug, Clone, Header)]
#[request(code = NOTIFY_MIN_BROKER_ID_CHANGE)]
pub struct NotifyMinBrokerIdChange<'a> {
    /// The new smallest id.
    pub min_broker_id: Option<i64>,
    /// The name; Apache never sets it.
    pub broker_name: Option<&'a str>,
    /// Address of the new smallest id.
    pub min_broker_addr: Option<&'a str>,
    /// The address that left.
    pub offline_broker_addr: Option<&'a str>,
    /// Where slaves reach the new one.
    pub ha_broker_addr: Option<&'a str>,
}
