// SPDX-License-Identifier: Apache-2.0
//! QueryRoute (Apache: `proxy/grpc/v2/route/RouteActivity.java`).
//!
//! Every broker is given the address that the client came by: any proxy reaches any broker. Only
//! masters, or those that act for them, are listed; queue ids are those of the broker.

use aerobee_remoting::body::route::QueueData;

use super::Parts;
use crate::{
    caller::topic_of,
    outgoing::resource,
    routes::{PERM_READ, PERM_WRITE, Route},
    status::{Failure, ok},
    v2::{Broker, Endpoints, MessageQueue, Permission, QueryRouteRequest, QueryRouteResponse},
};

pub(crate) async fn answer(
    parts: &Parts,
    request: tonic::Request<QueryRouteRequest>,
) -> Result<QueryRouteResponse, Failure> {
    parts.caller(&request)?;
    let request = request.into_inner();
    let topic = topic_of(request.topic.as_ref())?;
    let route = parts.routes.topic(topic).await?;
    let endpoints = endpoints(parts, request.endpoints);
    Ok(QueryRouteResponse {
        status: Some(ok()),
        message_queues: message_queues(topic, &route, &endpoints),
    })
}

/// The address that a client uses for every broker.
pub(crate) fn endpoints(parts: &Parts, asked: Option<Endpoints>) -> Endpoints {
    let mut endpoints = asked.unwrap_or_default();
    if !parts.config.use_endpoint_port_from_request {
        for address in &mut endpoints.addresses {
            address.port = parts.config.grpc_server_port.into();
        }
    }
    endpoints
}

fn message_queues(topic: &str, route: &Route, endpoints: &Endpoints) -> Vec<MessageQueue> {
    let accepts = route.topic_type.accepts();
    let mut queues = Vec::new();
    for data in &route.queues {
        for (id, permission) in permissions(data).into_iter().enumerate() {
            queues.push(MessageQueue {
                topic: Some(resource(topic)),
                id: id as i32,
                permission: permission.into(),
                broker: Some(master(&data.broker_name, endpoints)),
                accept_message_types: accepts.clone(),
            });
        }
    }
    let usable = |queue: &MessageQueue| queue.permission() != Permission::None;
    if queues.iter().any(usable) {
        // Some SDKs use whatever is listed.
        queues.retain(usable);
    }
    queues
}

/// A broker as clients see it.
pub(crate) fn master(name: &str, endpoints: &Endpoints) -> Broker {
    Broker {
        name: name.to_owned(),
        id: 0,
        endpoints: Some(endpoints.clone()),
    }
}

/// What may be done with each queue of a broker.
fn permissions(data: &QueueData) -> Vec<Permission> {
    let count = |bit, queues: i32| {
        if data.perm & bit != 0 {
            queues.max(0)
        } else {
            0
        }
    };
    let (read, write) = (
        count(PERM_READ, data.read_queue_nums),
        count(PERM_WRITE, data.write_queue_nums),
    );
    let most = read.max(write);
    if most == 0 {
        let named = data.read_queue_nums.max(data.write_queue_nums).max(1);
        return vec![Permission::None; named as usize];
    }
    (0..most)
        .map(|id| match (id < read, id < write) {
            (true, true) => Permission::ReadWrite,
            (true, false) => Permission::Read,
            _ => Permission::Write,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(perm: i32, read: i32, write: i32) -> QueueData {
        QueueData {
            perm,
            read_queue_nums: read,
            write_queue_nums: write,
            ..QueueData::default()
        }
    }

    #[test]
    fn queue_zero_takes_and_gives_whenever_the_topic_does() {
        use Permission as P;
        assert_eq!(
            permissions(&data(6, 3, 2)),
            [P::ReadWrite, P::ReadWrite, P::Read]
        );
        assert_eq!(permissions(&data(6, 1, 2)), [P::ReadWrite, P::Write]);
        assert_eq!(permissions(&data(4, 2, 2)), [P::Read, P::Read]);
        assert_eq!(permissions(&data(2, 2, 2)), [P::Write, P::Write]);
        assert_eq!(permissions(&data(1, 0, 0)), [P::None]);
    }
}
