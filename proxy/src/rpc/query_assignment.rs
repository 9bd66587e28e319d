// SPDX-License-Identifier: Apache-2.0
//! QueryAssignment: every client of a group gets every broker; pop does the sharing (Apache:
//! `proxy/grpc/v2/route/RouteActivity.java`).

use super::{
    Parts,
    query_route::{endpoints, master},
};
use crate::{
    caller::{group_of, topic_of},
    outgoing::resource,
    status::{Failure, ok},
    v2::{
        Assignment, Code, MessageQueue, Permission, QueryAssignmentRequest, QueryAssignmentResponse,
    },
};

pub(crate) async fn answer(
    parts: &Parts,
    request: tonic::Request<QueryAssignmentRequest>,
) -> Result<QueryAssignmentResponse, Failure> {
    parts.caller(&request)?;
    let request = request.into_inner();
    let topic = topic_of(request.topic.as_ref())?;
    let group = group_of(request.group.as_ref())?;
    let route = parts.routes.topic(topic).await?;
    let config = parts.routes.group(group, &route).await?;
    let lite = config
        .as_ref()
        .is_some_and(|config| config.attributes.contains_key("lite.bind.topic"));
    let orderly = !lite && config.is_some_and(|config| config.consume_message_orderly);
    let endpoints = endpoints(parts, request.endpoints);
    let mut assignments = Vec::new();
    for data in route.readable() {
        // In order one receive a queue runs at once, else one a broker for all its queues.
        let ids = if orderly {
            0..data.read_queue_nums
        } else {
            -1..0
        };
        assignments.extend(ids.map(|id| Assignment {
            message_queue: Some(MessageQueue {
                topic: Some(resource(topic)),
                id,
                permission: Permission::Read.into(),
                broker: Some(master(&data.broker_name, &endpoints)),
                accept_message_types: Vec::new(),
            }),
        }));
    }
    if assignments.is_empty() {
        return Err(Failure::new(
            Code::Forbidden,
            format_args!("no readable queue: topic {topic} has no read permission on any broker"),
        ));
    }
    Ok(QueryAssignmentResponse {
        status: Some(ok()),
        assignments,
    })
}
