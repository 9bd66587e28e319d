// SPDX-License-Identifier: Apache-2.0
//! GetOffset, UpdateOffset, QueryOffset: declared by Apache, not served by its proxy. Queue ids are
//! those of QueryRoute.

use std::sync::Arc;

use aerobee_remoting::{
    RequestCode, ResponseCode,
    header::offset::{
        GetMaxOffset, GetMinOffset, OffsetReply, QueryConsumerOffset, SearchOffset,
        UpdateConsumerOffset,
    },
};

use super::Parts;
use crate::{
    brokers::succeeded,
    caller::{group_of, topic_of},
    status::{Failure, ok},
    time::timestamp_ms,
    v2::{
        Code, GetOffsetRequest, GetOffsetResponse, MessageQueue, QueryOffsetPolicy,
        QueryOffsetRequest, QueryOffsetResponse, UpdateOffsetRequest, UpdateOffsetResponse,
    },
};

/// A queue that a client names, and the broker that has it.
#[derive(Debug)]
pub(crate) struct Queue<'a> {
    pub(crate) topic: &'a str,
    pub(crate) id: i32,
    pub(crate) address: Arc<str>,
}

/// The queue that is named.
pub(crate) async fn queue_of<'a>(
    parts: &Parts,
    named: Option<&'a MessageQueue>,
) -> Result<Queue<'a>, Failure> {
    let missing = || Failure::new(Code::BadRequest, "message queue is missing");
    let named = named.ok_or_else(missing)?;
    let topic = topic_of(named.topic.as_ref())?;
    let route = parts.routes.topic(topic).await?;
    let broker = named
        .broker
        .as_ref()
        .map(|broker| broker.name.as_str())
        .unwrap_or_default();
    let known = route.queues.iter().find(|data| data.broker_name == broker);
    let (Some(data), Some(address)) = (known, route.address(broker)) else {
        return Err(Failure::new(
            Code::BadRequest,
            format_args!("broker {broker} is not in the route of topic {topic}"),
        ));
    };
    if named.id < 0 || named.id >= data.read_queue_nums.max(data.write_queue_nums) {
        return Err(Failure::new(
            Code::BadRequest,
            format_args!("topic {topic} has no queue {} on broker {broker}", named.id),
        ));
    }
    Ok(Queue {
        topic,
        id: named.id,
        address: Arc::clone(address),
    })
}

pub(crate) async fn get(
    parts: &Parts,
    request: tonic::Request<GetOffsetRequest>,
) -> Result<GetOffsetResponse, Failure> {
    parts.caller(&request)?;
    let request = request.into_inner();
    let group = group_of(request.group.as_ref())?;
    let queue = queue_of(parts, request.message_queue.as_ref()).await?;
    let header = QueryConsumerOffset {
        consumer_group: group,
        topic: queue.topic,
        queue_id: queue.id,
        set_zero_if_not_found: Some(false),
    };
    let response = parts
        .brokers
        .ask(
            &queue.address,
            RequestCode::QUERY_CONSUMER_OFFSET,
            &header,
            &[],
        )
        .await?;
    if response.code == ResponseCode::QUERY_NOT_FOUND {
        return Err(Failure::new(
            Code::OffsetNotFound,
            format_args!(
                "group {group} has no offset of queue {} of topic {}",
                queue.id, queue.topic
            ),
        ));
    }
    let response = succeeded(response)?;
    Ok(GetOffsetResponse {
        status: Some(ok()),
        offset: response.header::<OffsetReply>()?.offset,
    })
}

pub(crate) async fn update(
    parts: &Parts,
    request: tonic::Request<UpdateOffsetRequest>,
) -> Result<UpdateOffsetResponse, Failure> {
    parts.caller(&request)?;
    let request = request.into_inner();
    let group = group_of(request.group.as_ref())?;
    let queue = queue_of(parts, request.message_queue.as_ref()).await?;
    if request.offset < 0 {
        return Err(Failure::new(
            Code::IllegalOffset,
            format_args!("offset {} is below zero", request.offset),
        ));
    }
    let header = UpdateConsumerOffset {
        consumer_group: group,
        topic: queue.topic,
        queue_id: Some(queue.id),
        commit_offset: Some(request.offset),
    };
    parts.brokers.call(&queue.address, &header, &[]).await?;
    Ok(UpdateOffsetResponse { status: Some(ok()) })
}

pub(crate) async fn query(
    parts: &Parts,
    request: tonic::Request<QueryOffsetRequest>,
) -> Result<QueryOffsetResponse, Failure> {
    parts.caller(&request)?;
    let request = request.into_inner();
    let queue = queue_of(parts, request.message_queue.as_ref()).await?;
    let (topic, queue_id) = (queue.topic, queue.id);
    let response = match request.query_offset_policy() {
        QueryOffsetPolicy::Beginning => {
            let header = GetMinOffset { topic, queue_id };
            parts.brokers.call(&queue.address, &header, &[]).await?
        }
        QueryOffsetPolicy::End => {
            let header = GetMaxOffset {
                topic,
                queue_id,
                committed: Some(true),
            };
            parts.brokers.call(&queue.address, &header, &[]).await?
        }
        QueryOffsetPolicy::Timestamp => {
            let Some(time) = &request.timestamp else {
                return Err(Failure::new(
                    Code::BadRequest,
                    "policy TIMESTAMP needs a timestamp",
                ));
            };
            let header = SearchOffset {
                topic,
                queue_id,
                timestamp: timestamp_ms(time),
                boundary_type: None,
            };
            parts.brokers.call(&queue.address, &header, &[]).await?
        }
    };
    Ok(QueryOffsetResponse {
        status: Some(ok()),
        offset: response.header::<OffsetReply>()?.offset,
    })
}
