// SPDX-License-Identifier: Apache-2.0
//! VIEW_MESSAGE_BY_ID (33). Apache: `QueryMessageProcessor`.

use std::sync::Arc;

use aerobee_remoting::{ResponseCode, call::Call, header::query::ViewMessage};
use aerobee_store::Store;

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
        let refused = self
            .store
            .read_later(Box::new(move |store| match store.record_at(offset) {
                Some(record) => reply.body(record.as_slice()),
                None => reply.fail(
                    ResponseCode::SYSTEM_ERROR,
                    format_args!("can not find message by the offset, {offset}"),
                ),
            }));
        if refused.is_err() {
            // The dropped job has answered SYSTEM_ERROR.
            tracing::debug!("too many cold reads are waiting");
        }
    }
}
