// SPDX-License-Identifier: Apache-2.0
//! Sends of messages that name light queues to stand in, beside their own (`INNER_MULTI_DISPATCH`).

use std::sync::Arc;

use aerobee_message::record::Record;
use aerobee_remoting::Reply;
use aerobee_store::FlushMode;

use crate::processor::{
    Turn,
    send::{Send, Stored, Target, fail},
};

/// A message that stands in light queues as well.
pub(super) struct LightMessage<'a> {
    pub(super) record: &'a Record<'a>,
    pub(super) names: &'a str,
    pub(super) unique_key: &'a str,
    pub(super) waits: bool,
}

impl Send {
    /// Stores a message that stands in light queues as well.
    #[cold]
    pub(super) fn store_light(
        self: &Arc<Self>,
        turn: &mut Turn,
        target: &Target,
        message: &LightMessage<'_>,
        mut reply: Reply<'_>,
    ) {
        // What came before has its place before.
        if let Some(mut replies) = reply.replies() {
            self.commit(turn, &mut replies);
        }
        let slot = turn.slot_at(target.slot);
        let appended = match slot.append_to_light(&self.store, message.record, message.names) {
            Ok(appended) => appended,
            Err(error) => return fail(&error, reply),
        };
        let stored = Stored::new(
            &slot,
            target.queue_id,
            appended,
            message.unique_key,
            message.waits,
        );
        self.stored(turn, &stored, reply);
        for name in message.names.split(',') {
            let Some(slot) = self.topics.light().slot_in_use(name, &self.store) else {
                continue;
            };
            match self.store.flush_mode() {
                FlushMode::Async => turn.arrived(&slot),
                FlushMode::Sync => self.flushing.wait_for(appended.end, &slot),
            }
        }
    }
}
