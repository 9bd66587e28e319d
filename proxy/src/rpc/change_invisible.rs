// SPDX-License-Identifier: Apache-2.0
//! ChangeInvisibleDuration (Apache: `proxy/grpc/v2/consumer/ChangeInvisibleDurationActivity.java`). A
//! message that was renewed here is renewed no more: its client has said when it comes back.

use super::{
    Parts,
    ack::{check_current, parse},
    receive::check_invisible,
};
use crate::{
    caller::{group_of, topic_of},
    receipts::change_invisible,
    status::{Failure, ok},
    time::span_ms,
    v2::{ChangeInvisibleDurationRequest, ChangeInvisibleDurationResponse, Code},
};

pub(crate) async fn answer(
    parts: &Parts,
    request: tonic::Request<ChangeInvisibleDurationRequest>,
) -> Result<ChangeInvisibleDurationResponse, Failure> {
    parts.caller(&request)?;
    let request = request.into_inner();
    let topic = topic_of(request.topic.as_ref())?;
    let group = group_of(request.group.as_ref())?;
    let invisible = request
        .invisible_duration
        .as_ref()
        .map(span_ms)
        .unwrap_or_default();
    check_invisible(invisible, 0, parts.config.max_invisible_time_mills)?;
    let handle = parse(&request.receipt_handle)?.of_lite(request.lite_topic.as_deref());
    let kept = parts.receipts.take(group, &request.receipt_handle).await;
    let current = kept.as_ref().map_or(&handle, |kept| &kept.current);
    let changed = match check_current(current) {
        Ok(()) => {
            let wanted = (invisible, request.suspend);
            change_invisible(
                &parts.brokers,
                &parts.routes,
                (group, topic),
                current,
                wanted,
            )
            .await
        }
        Err(failure) => Err(failure),
    };
    match changed {
        Ok(handle) => Ok(ChangeInvisibleDurationResponse {
            status: Some(ok()),
            receipt_handle: handle.text(),
        }),
        Err(failure) => {
            if let Some(kept) = kept.filter(|_| failure.code() != Code::InvalidReceiptHandle) {
                parts.receipts.put_back(&request.receipt_handle, kept);
            }
            Err(failure)
        }
    }
}
