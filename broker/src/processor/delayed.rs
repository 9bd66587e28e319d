// SPDX-License-Identifier: Apache-2.0
//! Sends of messages that are not to be delivered at once. Off the path of ordinary messages.

use std::sync::Arc;

use aerobee_message::{
    id,
    properties::{Properties, keys},
    record::Record,
};
use aerobee_remoting::{Reply, ResponseCode};

use crate::{
    processor::{
        Turn,
        scan::Scan,
        send::{Incoming, PROPERTIES_MAX_BYTES, Refusal, Send, Stored, Target, fail, refusal_of},
    },
    requeue::PropertyList,
};

impl Send {
    /// Stores a message that asks for a delay, where it waits; one whose time has come goes to its
    /// own queue.
    #[cold]
    pub(super) fn store_delayed(
        self: &Arc<Self>,
        turn: &mut Turn,
        incoming: &Incoming<'_>,
        target: &Target,
        scan: &Scan<'_>,
        mut reply: Reply<'_>,
    ) {
        // What came before has its place before.
        if let Some(mut replies) = reply.replies() {
            self.commit(turn, &mut replies);
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
        if target.is_dead_letter {
            properties.remove(keys::DELAY);
        }
        if scan.loses_priority {
            properties.remove(keys::PRIORITY);
        }
        let detour = self
            .delays
            .detour(target.topic.name(), target.queue_id, &mut properties);
        let detour = match detour {
            Ok(detour) => detour,
            Err(error) => return reply.fail(error.code(), error),
        };
        let slot = match &detour {
            None => turn.slot_at(target.slot),
            Some(detour) => {
                let topic = self.topics.find(detour.topic);
                let slot = topic.and_then(|topic| turn.slot(&topic, detour.queue_id));
                let Some(slot) = slot else {
                    if reply.replies().is_none() {
                        let remark =
                            "the queue of delayed messages was deleted while it was created";
                        return reply.fail(ResponseCode::SYSTEM_ERROR, remark);
                    }
                    return self.prepare_later(incoming, target.queue_id, reply);
                };
                turn.slot_at(slot)
            }
        };
        let properties_text = properties.to_text();
        let spare = if detour.is_some() {
            crate::delays::SPARE_BYTES
        } else {
            0
        };
        if properties_text.len() + spare > PROPERTIES_MAX_BYTES {
            return reply.fail(
                ResponseCode::MESSAGE_ILLEGAL,
                format_args!(
                    "message properties length is {} with those for the delay, the limit is {} bytes",
                    properties_text.len(), PROPERTIES_MAX_BYTES - spare
                ),
            );
        }
        let hash = scan.tags_code();
        let (topic, queue_id, tags_code) = match &detour {
            None => (&**target.topic.name(), target.queue_id, hash),
            Some(detour) => (
                detour.topic,
                detour.queue_id,
                detour.tags_code.unwrap_or(hash),
            ),
        };
        let pieces: [&[u8]; 1] = [&properties_text];
        let record = Record {
            topic,
            queue_id,
            ..self.record(incoming, target, &pieces, tags_code)
        };
        match slot.append(&self.store, &record) {
            Ok(appended) => {
                let handle = detour.as_ref().and_then(|detour| {
                    self.delays.stored(detour);
                    self.delays
                        .recall_handle(detour, target.topic.name(), unique_key)
                });
                let stored = Stored {
                    slot: &slot,
                    queue_id: target.queue_id,
                    first: appended,
                    transaction_id: unique_key,
                    recall_handle: handle.as_deref(),
                    batch_key: None,
                    waits: scan.waits,
                };
                self.stored(turn, &stored, reply);
            }
            Err(error) => fail(&error, reply),
        }
    }

    /// Creates the queue in which a message with these properties waits, if it does.
    pub(super) async fn create_waiting_queue(&self, properties: &str) -> Result<(), Refusal> {
        let mut properties = PropertyList::of(Properties(properties.as_bytes()));
        // A message that asks for an impossible time is refused when it is stored.
        let Ok(Some(detour)) = self.delays.detour("", 0, &mut properties) else {
            return Ok(());
        };
        let slot = self
            .topics
            .find(detour.topic)
            .and_then(|topic| topic.queue(detour.queue_id));
        let Some(slot) = slot else {
            return Err(Refusal {
                code: ResponseCode::SYSTEM_ERROR,
                remark: format!(
                    "topic[{}] has no queue {}: restart the broker to have it created",
                    detour.topic, detour.queue_id
                ),
            });
        };
        let store = Arc::clone(&self.store);
        let job = move || slot.create_queue(&store).map(|_| ());
        match tokio::task::spawn_blocking(job).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(refusal_of(&error)),
            Err(_) => Err(Refusal {
                code: ResponseCode::SYSTEM_ERROR,
                remark: "creating the queue was interrupted".to_owned(),
            }),
        }
    }
}
