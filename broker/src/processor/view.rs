// SPDX-License-Identifier: Apache-2.0
//! VIEW_MESSAGE_BY_ID (33). Apache: `QueryMessageProcessor`.

use std::sync::Arc;

use aerobee_remoting::{ResponseCode, call::Call, header::query::ViewMessage};
use aerobee_store::Store;

use crate::processor::READS_BUSY;

/// Looks single messages up.
pub(crate) struct View {
    pub(crate) store: Arc<Store>,
}

impl View {
    /// Answers with exactly one stored message. It may be of any age, so this runs on a thread that
    /// may wait for the disk.
    pub(crate) fn handle(&self, call: Call<'_, ViewMessage<'_>>) {
        let Call { request, reply, .. } = call;
        let (offset, reply) = (request.offset, reply.defer());
        self.store.read_or_refuse(move |store| {
            let Ok(store) = store else {
                return reply.fail(ResponseCode::SYSTEM_BUSY, READS_BUSY);
            };
            match store.record_at(offset) {
                Some(record) => reply.body(record.as_slice()),
                None => reply.fail(
                    ResponseCode::SYSTEM_ERROR,
                    format_args!("can not find message by the offset, {offset}"),
                ),
            }
        });
    }
}
