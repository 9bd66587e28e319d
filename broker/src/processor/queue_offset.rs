// SPDX-License-Identifier: Apache-2.0
//! SEARCH_OFFSET_BY_TIMESTAMP (29), GET_MAX_OFFSET (30), GET_MIN_OFFSET (31),
//! GET_EARLIEST_MSG_STORETIME (32). Apache: `AdminBrokerProcessor`.
//!
//! An unknown queue has the offsets of an empty one; no topic is checked.

use std::sync::Arc;

use aerobee_remoting::{
    ResponseCode,
    call::Call,
    header::offset::{
        GetEarliestStoreTime, GetMaxOffset, GetMinOffset, OffsetReply, SearchOffset, TimestampReply,
    },
};
use aerobee_store::{Boundary, Store};

use crate::processor::READS_BUSY;

/// Offsets of queues, whoever consumes them.
pub(crate) struct QueueOffset {
    pub(crate) store: Arc<Store>,
}

impl QueueOffset {
    /// Code 29. Looks into old files, so on a thread that may wait for the disk.
    pub(crate) fn search(&self, call: Call<'_, SearchOffset<'_>>) {
        let Call { request, reply, .. } = call;
        // Apache's broker fails on a queue of batches that never had a message (a null pointer); a client that wants to
        // begin at a time can use 0.
        let Some(queue) = self.store.queue(request.topic, request.queue_id) else {
            return reply.header(&OffsetReply { offset: 0 });
        };
        let upper = request
            .boundary_type
            .is_some_and(|kind| kind.eq_ignore_ascii_case("UPPER"));
        let boundary = if upper {
            Boundary::Upper
        } else {
            Boundary::Lower
        };
        let (timestamp, reply) = (request.timestamp, reply.defer());
        self.store.read_or_refuse(move |store| match store {
            Ok(store) => {
                let offset = store.offset_by_time(&queue, timestamp, boundary);
                reply.header(&OffsetReply { offset });
            }
            Err(_) => reply.fail(ResponseCode::SYSTEM_BUSY, READS_BUSY),
        });
    }

    /// Code 30.
    pub(crate) fn max(&self, call: Call<'_, GetMaxOffset<'_>>) {
        let Call { request, reply, .. } = call;
        let queue = self.store.queue(request.topic, request.queue_id);
        let offset = queue.map_or(0, |queue| queue.max_offset());
        reply.header(&OffsetReply { offset });
    }

    /// Code 31.
    pub(crate) fn min(&self, call: Call<'_, GetMinOffset<'_>>) {
        let Call { request, reply, .. } = call;
        let offset = self.store.first_offset(request.topic, request.queue_id);
        reply.header(&OffsetReply { offset });
    }

    /// Code 32. The first message is the coldest of all.
    pub(crate) fn earliest(&self, call: Call<'_, GetEarliestStoreTime<'_>>) {
        let Call { request, reply, .. } = call;
        let Some(queue) = self.store.queue(request.topic, request.queue_id) else {
            return reply.header(&TimestampReply { timestamp: -1 });
        };
        let reply = reply.defer();
        self.store.read_or_refuse(move |store| match store {
            Ok(store) => {
                let timestamp = store
                    .store_time_of(&queue, queue.min_offset())
                    .unwrap_or(-1);
                reply.header(&TimestampReply { timestamp });
            }
            Err(_) => reply.fail(ResponseCode::SYSTEM_BUSY, READS_BUSY),
        });
    }
}
