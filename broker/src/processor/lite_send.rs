// SPDX-License-Identifier: Apache-2.0
//! Sends to lite topics. The message is stored in the parent; its entry in the queue of the lite topic
//! is made by the store. Off the path of ordinary messages.

use std::sync::Arc;

use aerobee_message::{id, lite as names, properties::keys, topic::LMQ_PREFIX};
use aerobee_remoting::{Reply, ResponseCode};
use aerobee_store::FlushMode;

use crate::processor::{
    Turn,
    scan::Scan,
    send::{Incoming, PROPERTIES_MAX_BYTES, Send, Stored, Target, fail},
};

/// Room for `INNER_MULTI_QUEUE_OFFSET` with its offset, which the store adds.
const SPARE_BYTES: usize = 64;
/// Longest name of a queue: it is a directory.
const QUEUE_NAME_MAX_BYTES: usize = 255;

impl Send {
    /// Stores a message of a lite topic.
    #[cold]
    pub(super) fn store_lite(
        self: &Arc<Self>,
        turn: &mut Turn,
        incoming: &Incoming<'_>,
        target: &Target,
        (scan, lite): (&Scan<'_>, &str),
        mut reply: Reply<'_>,
    ) {
        // What came before has its place before.
        if let Some(mut replies) = reply.replies() {
            self.commit(turn, &mut replies);
        }
        let queue = names::queue_of(target.topic.name(), lite);
        if let Err(remark) = check_name(&queue) {
            return reply.fail(ResponseCode::MESSAGE_ILLEGAL, remark);
        }
        if !self.has_room_for(&queue) {
            let remark = "[LMQ_CONSUME_QUEUE_NUM_EXCEEDED]lmq consume queue num exceeded. Raise maxLmqConsumeQueueNum, or let lite topics expire";
            return reply.fail(ResponseCode::LMQ_QUOTA_EXCEEDED, remark);
        }
        let made_key;
        let unique_key = match scan.unique_key {
            Some(key) => key,
            None => {
                made_key = id::unique_key();
                made_key.as_str()
            }
        };
        let mut properties = self.editable_properties(incoming, unique_key);
        properties.remove(keys::INNER_MULTI_QUEUE_OFFSET);
        properties.set(keys::INNER_MULTI_DISPATCH, &queue);
        let text = properties.to_text();
        if text.len() + SPARE_BYTES > PROPERTIES_MAX_BYTES {
            return reply.fail(
                ResponseCode::MESSAGE_ILLEGAL,
                format_args!(
                    "message properties length is {}, the limit is {} bytes",
                    text.len(),
                    PROPERTIES_MAX_BYTES - SPARE_BYTES
                ),
            );
        }
        let pieces: [&[u8]; 1] = [&text];
        let record = self.record(incoming, target, &pieces, scan.tags_code());
        let slot = turn.slot_at(target.slot);
        match slot.append_to_light(&self.store, &record, &queue) {
            Ok(appended) => {
                let stored = Stored::new(&slot, target.queue_id, appended, unique_key, scan.waits);
                self.stored(turn, &stored, reply);
                match self.store.flush_mode() {
                    FlushMode::Async => self.lite.arrived(&queue),
                    FlushMode::Sync => self.arrived_when_flushed(appended.end, queue),
                }
            }
            Err(error) => fail(&error, reply),
        }
    }

    /// Consumers see a message when it is flushed.
    fn arrived_when_flushed(&self, end: i64, queue: String) {
        let lite = Arc::clone(&self.lite);
        let runtime = tokio::runtime::Handle::current();
        self.store.when_flushed(
            end,
            Box::new(move |_| {
                runtime.spawn(async move { lite.arrived(&queue) });
            }),
        );
    }

    /// Whether one more light queue is allowed, if this one is new.
    fn has_room_for(&self, queue: &str) -> bool {
        let keys = &self.switches.config().broker;
        if !keys.enable_lmq_quota || self.store.queue(queue, 0).is_some() {
            return true;
        }
        let most = usize::try_from(keys.max_lmq_consume_queue_num).unwrap_or(0);
        self.store.topics_with_prefix(LMQ_PREFIX).len() < most
    }
}

/// Whether a queue can have that name: it becomes a directory, and one of several in a list.
fn check_name(queue: &str) -> Result<(), String> {
    if names::parse(queue).is_none() || queue.contains([',', '/', '\0']) {
        return Err(format!(
            "the lite topic of queue [{queue}] has no valid name: letters, digits, '-' and '_' are safe"
        ));
    }
    if queue.len() > QUEUE_NAME_MAX_BYTES {
        return Err(format!(
            "the queue [{queue}] of the lite topic has {} bytes in its name, the limit is {QUEUE_NAME_MAX_BYTES}",
            queue.len()
        ));
    }
    Ok(())
}
