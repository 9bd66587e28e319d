// SPDX-License-Identifier: Apache-2.0
//! GET_CONSUMER_CONNECTION_LIST (203), GET_PRODUCER_CONNECTION_LIST (204), GET_ALL_PRODUCER_INFO (328).

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aerobee_remoting::{
    Connection, Empty, ResponseCode,
    body::connection::{
        ClientConnection, ConsumerConnections, ProducerConnections, ProducerInfo, ProducerTable,
    },
    call::Call,
    fastjson,
    header::client::{GetConsumerConnections, GetProducerConnections},
};

use crate::clients::{Clients, Member};

/// Shows operators who is connected.
pub(crate) struct ClientAdmin {
    pub(crate) clients: Arc<Clients>,
}

impl ClientAdmin {
    /// Code 203.
    pub(crate) fn consumers(&self, call: Call<'_, GetConsumerConnections<'_>>) {
        let Call { request, reply, .. } = call;
        let Some(group) = self.clients.consumers.group(request.consumer_group) else {
            return reply.fail(
                ResponseCode::CONSUMER_NOT_ONLINE,
                format_args!("the consumer group[{}] not online", request.consumer_group),
            );
        };
        let mode = group.mode();
        let subscriptions = group.subscriptions();
        let answer = ConsumerConnections {
            connection_set: connections(&group.members()),
            consume_from_where: mode.consume_from,
            consume_type: mode.consume_type,
            message_model: mode.message_model,
            subscription_table: subscriptions
                .iter()
                .map(|subscription| (subscription.topic().to_owned(), subscription.data().clone()))
                .collect(),
        };
        reply.body(&fastjson::to_vec(&answer));
    }

    /// Code 204.
    pub(crate) fn producers(&self, call: Call<'_, GetProducerConnections<'_>>) {
        let Call { request, reply, .. } = call;
        let Some(members) = self.clients.producers.members(request.producer_group) else {
            return reply.fail(
                ResponseCode::SYSTEM_ERROR,
                format_args!("the producer group[{}] not exist", request.producer_group),
            );
        };
        let answer = ProducerConnections {
            connection_set: connections(&members),
        };
        reply.body(&fastjson::to_vec(&answer));
    }

    /// Code 328.
    pub(crate) fn all_producers(&self, call: Call<'_, Empty>) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let info = |member: &Member<Arc<Connection>>| ProducerInfo {
            client_id: member.client.id.to_string(),
            language: member.client.language,
            last_update_timestamp: millis(now.saturating_sub(member.seen.elapsed())),
            remote_ip: format!("/{}", member.connection.peer()),
            version: member.client.version,
        };
        let groups = self.clients.producers.all();
        let data = groups
            .iter()
            .map(|(group, members)| (group.to_string(), members.iter().map(info).collect()))
            .collect();
        call.reply.body(&fastjson::to_vec(&ProducerTable { data }));
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn connections(members: &[Member<Arc<Connection>>]) -> Vec<ClientConnection> {
    let shown = |member: &Member<Arc<Connection>>| ClientConnection {
        client_addr: member.connection.peer().to_string(),
        client_id: member.client.id.to_string(),
        language: member.client.language,
        version: member.client.version,
    };
    members.iter().map(shown).collect()
}
