// SPDX-License-Identifier: Apache-2.0
//! Who a broker is: its names and its addresses.

use std::net::{IpAddr, SocketAddr};

use aerobee_message::{
    properties::{Properties, keys},
    topic as names,
};
use aerobee_remoting::header::send::SendReply;

use crate::{config::Keys, error::StartError};

/// Who the broker is; fixed while it runs.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its cluster.
    pub cluster: String,
    /// Its name.
    pub broker_name: String,
    /// 0 is the master.
    pub broker_id: i64,
    /// Where clients reach it; messages carry it as their store host. Its text, which is registered, has an address of
    /// IPv6 in brackets. Apache's broker registers `::1:10911` where `brokerIP1` is `::1`, which only the SDK of Java can
    /// take apart: Go's dials it in vain ("too many colons"), Apache's own proxy (`ProxyTopicRouteData.java`) takes it for
    /// a host without a port. With brackets all of them understand it.
    pub address: SocketAddr,
    /// Where slaves reach it.
    pub ha_address: SocketAddr,
    /// Region that messages are marked with.
    pub region: String,
    /// Whether clients are told to trace.
    pub trace_on: bool,
    /// The properties that every message gets, in their stored form.
    pub properties: Vec<u8>,
}

impl Identity {
    /// Of a broker that listens on `port`.
    ///
    /// # Errors
    /// An address to advertise is none.
    pub fn new(keys: &Keys, port: u16) -> Result<Self, StartError> {
        let address = |key: &'static str, ip: &str, port: u16| {
            parse_ip(key, ip).map(|ip| SocketAddr::new(ip, port))
        };
        let ha_port = match keys.store.ha_listen_port {
            0 => port.saturating_add(1),
            port => port,
        };
        let broker = &keys.broker;
        let mut properties = Vec::new();
        let trace_on = if broker.trace_on { "true" } else { "false" };
        Properties::push(&mut properties, keys::MSG_REGION, &broker.region_id);
        Properties::push(&mut properties, keys::TRACE_ON, trace_on);
        Properties::push(&mut properties, keys::CLUSTER, &broker.broker_cluster_name);
        Ok(Self {
            cluster: broker.broker_cluster_name.clone(),
            broker_name: broker.broker_name.clone(),
            broker_id: broker.broker_id,
            address: address("brokerIP1", &broker.broker_ip1, port)?,
            ha_address: address("brokerIP2", &broker.broker_ip2, ha_port)?,
            region: broker.region_id.clone(),
            trace_on: broker.trace_on,
            properties,
        })
    }

    /// The answer to a send of a single message that has no unique key and cannot be recalled.
    #[inline]
    pub(crate) fn send_reply<'a>(
        &'a self,
        message_id: &'a str,
        queue_id: i32,
        queue_offset: i64,
    ) -> SendReply<'a> {
        SendReply {
            msg_id: message_id,
            queue_id,
            queue_offset,
            transaction_id: None,
            batch_uniq_id: None,
            recall_handle: None,
            region: Some(&self.region),
            trace_on: Some(self.trace_on),
        }
    }

    /// Whether a topic is the system's on this broker: reserved everywhere, or named after the cluster or the broker.
    /// Apache: `TopicValidator.addSystemTopic`.
    #[must_use]
    pub(crate) fn is_system_topic(&self, topic: &str) -> bool {
        let reply = || {
            topic
                .strip_suffix(names::REPLY_SUFFIX)
                .and_then(|start| start.strip_suffix('_'))
        };
        names::is_system(topic)
            || topic == self.broker_name
            || topic == self.cluster
            || reply() == Some(&*self.cluster)
    }
}

/// An IP address. One of IPv6 may stand in brackets: what Apache's broker registers is this text and the port.
pub(super) fn parse_ip(key: &'static str, text: &str) -> Result<IpAddr, StartError> {
    let bracketed = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .filter(|text| text.contains(':'));
    bracketed
        .unwrap_or(text)
        .parse()
        .map_err(|_| StartError::NotAnIp {
            key,
            value: text.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_named_after_cluster_and_broker_are_the_systems() {
        let mut keys = Keys::default();
        keys.broker.broker_cluster_name = "east".to_owned();
        keys.broker.broker_name = "e1".to_owned();
        let identity = Identity::new(&keys, 10_911).unwrap();
        for name in ["east", "e1", "east_REPLY_TOPIC", "TBW102", "rmq_sys_x"] {
            assert!(identity.is_system_topic(name), "{name}");
        }
        for name in [
            "e",
            "west_REPLY_TOPIC",
            "_REPLY_TOPIC",
            "eastREPLY_TOPIC",
            "e1_REPLY_TOPIC",
            "orders",
        ] {
            assert!(!identity.is_system_topic(name), "{name}");
        }
    }
}
