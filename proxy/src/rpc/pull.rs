// SPDX-License-Identifier: Apache-2.0
//! PullMessage: declared by Apache, not served by its proxy. One queue, from an offset that the client
//! keeps; a status, messages, and the offset to go on with.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::Duration,
};

use aerobee_message::record::RecordView;
use aerobee_remoting::{
    ResponseCode,
    header::pull::{PullMessage, PullReply, SUBSCRIPTION, SUSPEND},
};

use super::{Frames, Parts, offsets::queue_of};
use crate::{
    brokers::succeeded,
    caller::group_of,
    outgoing::{self, About, records},
    status::{Failure, ok, status},
    time::{duration_ms, span_ms},
    v2::{
        Code, FilterType, PullMessageRequest, PullMessageResponse, pull_message_response::Content,
    },
};

/// Most messages of one pull.
const BATCH_MAX: i32 = 1024;
/// Longest wait for messages.
const HOLD_MAX: Duration = Duration::from_secs(30);

pub(crate) async fn answer(
    parts: &Arc<Parts>,
    request: tonic::Request<PullMessageRequest>,
) -> Frames<PullMessageResponse> {
    let contents = match pull(parts, request).await {
        Ok(contents) => contents,
        Err(failure) => vec![Content::Status(failure.status())],
    };
    Frames::new(contents.into_iter().map(|content| PullMessageResponse {
        content: Some(content),
    }))
}

async fn pull(
    parts: &Arc<Parts>,
    request: tonic::Request<PullMessageRequest>,
) -> Result<Vec<Content>, Failure> {
    parts.admit(&request).await?;
    let caller = parts.caller(&request)?;
    let request = request.into_inner();
    let group = group_of(request.group.as_ref())?;
    let queue = queue_of(parts, request.message_queue.as_ref()).await?;
    if request.offset < 0 {
        return Err(Failure::new(
            Code::IllegalOffset,
            format_args!("offset {} is below zero", request.offset),
        ));
    }
    let filter = request.filter_expression.unwrap_or_default();
    let sql = filter.r#type() == FilterType::Sql;
    let asked = request
        .long_polling_timeout
        .as_ref()
        .map(span_ms)
        .unwrap_or_default();
    let hold = duration_ms(asked).min(HOLD_MAX).min(
        caller
            .remaining()
            .unwrap_or(HOLD_MAX)
            .saturating_sub(Duration::from_millis(200)),
    );
    let header = PullMessage {
        consumer_group: group,
        topic: queue.topic,
        queue_id: queue.id,
        queue_offset: request.offset,
        max_msg_nums: request.batch_size.clamp(1, BATCH_MAX),
        sys_flag: SUBSCRIPTION | if hold.is_zero() { 0 } else { SUSPEND },
        commit_offset: 0,
        suspend_timeout_millis: i64::try_from(hold.as_millis()).unwrap_or_default(),
        subscription: Some(if filter.expression.is_empty() {
            "*"
        } else {
            &filter.expression
        }),
        sub_version: 0,
        expression_type: Some(if sql { "SQL92" } else { "TAG" }),
        max_msg_bytes: None,
        request_source: None,
        proxy_froward_client_id: None,
    };
    let mut hasher = DefaultHasher::new();
    caller.client_id.hash(&mut hasher);
    let response = parts
        .brokers
        .poll(&queue.address, hasher.finish(), &header, hold)
        .await?;
    let found = match response.code {
        ResponseCode::SUCCESS => true,
        ResponseCode::PULL_NOT_FOUND | ResponseCode::PULL_RETRY_IMMEDIATELY => false,
        ResponseCode::PULL_OFFSET_MOVED => {
            let next = response.header::<PullReply>()?.next_begin_offset;
            return Ok(vec![
                Content::Status(status(
                    Code::IllegalOffset,
                    format!(
                        "offset {} is outside the queue; go on with {next}",
                        request.offset
                    ),
                )),
                Content::NextOffset(next),
            ]);
        }
        _ => return succeeded(response).map(|_| Vec::new()),
    };
    let next = response.header::<PullReply>()?.next_begin_offset;
    let about = About {
        topic: queue.topic,
        sdk: caller.sdk,
        receipt: None,
        reconsume_times: None,
    };
    let mut contents = vec![Content::Status(if found {
        ok()
    } else {
        status(Code::MessageNotFound, "no new message")
    })];
    if found {
        for bytes in records(&response.body) {
            if let Ok(record) = RecordView::parse(&bytes) {
                contents.push(Content::Message(outgoing::message(&bytes, &record, about)));
            }
        }
    }
    contents.push(Content::NextOffset(next));
    Ok(contents)
}
