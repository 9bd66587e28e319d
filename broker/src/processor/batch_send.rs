// SPDX-License-Identifier: Apache-2.0
//! Sends of several messages in one request (320): stored in a row, all or none.

use aerobee_message::{
    batch, id,
    properties::{Properties, keys, pairs},
    record::Record,
    sysflag,
};
use aerobee_remoting::{Reply, ResponseCode};
use aerobee_store::Appended;
use smallvec::SmallVec;

use crate::processor::{
    Turn,
    scan::Scan,
    send::{Incoming, Send, Stored, Target, fail},
};

/// Remark to a batch with such messages.
const DELAYED_BATCH: &str =
    "the message is illegal: a batch holds no delayed and no transactional messages";

impl Send {
    /// Stores the messages of a batch.
    pub(super) fn store_batch(
        &self,
        turn: &mut Turn,
        incoming: &Incoming<'_>,
        target: &Target,
        mut reply: Reply<'_>,
    ) {
        // What came before has its place before.
        if let Some(mut replies) = reply.replies() {
            self.commit(turn, &mut replies);
        }
        let request = incoming.request;
        let outer = Scan::of(pairs(request.properties));
        if let Err(refusal) = self.check_message(incoming) {
            return reply.fail(refusal.code, refusal.remark);
        }
        if outer.is_delayed || outer.is_timer {
            return reply.fail(ResponseCode::MESSAGE_ILLEGAL, DELAYED_BATCH);
        }
        if target.topic.is_batch()
            && let Some(key) = outer.unique_key
        {
            return self.store_inner_batch(turn, incoming, target, (&outer, key), reply);
        }
        let mut items: SmallVec<[batch::Item<'_>; 32]> = SmallVec::new();
        for item in batch::items(incoming.body) {
            match item {
                Ok(item) => items.push(item),
                Err(error) => {
                    return reply.fail(
                        ResponseCode::MESSAGE_ILLEGAL,
                        format_args!("the message is illegal: {error}"),
                    );
                }
            }
        }
        let pieces: SmallVec<[[&[u8]; 1]; 32]> =
            items.iter().map(|item| [item.properties]).collect();
        let mut records: SmallVec<[Record<'_>; 32]> = SmallVec::new();
        for (item, properties) in items.iter().zip(&pieces) {
            let scan = Scan::of(Properties(item.properties).iter());
            if scan.is_delayed || scan.is_timer || scan.is_transaction {
                return reply.fail(ResponseCode::MESSAGE_ILLEGAL, DELAYED_BATCH);
            }
            records.push(Record {
                flag: item.flag,
                body: item.body,
                ..self.record(incoming, target, properties, scan.tags_code())
            });
        }
        let mut appended = Vec::with_capacity(records.len());
        let slot = turn.slot_at(target.slot);
        if let Err(error) = slot.append_batch(&self.store, &records, &mut appended) {
            return fail(&error, reply);
        }
        let (Some(first), Some(last)) = (appended.first(), appended.last()) else {
            return reply.fail(
                ResponseCode::MESSAGE_ILLEGAL,
                "the message is illegal: the batch is empty",
            );
        };
        let made_key;
        let transaction_id = match outer.unique_key {
            Some(key) => key,
            None => {
                made_key = id::unique_key();
                made_key.as_str()
            }
        };
        let stored = Stored {
            slot: &slot,
            queue_id: target.queue_id,
            first: Appended {
                end: last.end,
                ..*first
            },
            transaction_id,
            recall_handle: None,
            batch_key: None,
            waits: outer.waits,
        };
        self.answer(&stored, &appended, reply);
        self.arrived(turn, &slot);
    }

    /// Stores a batch as one record, which consumers take apart.
    fn store_inner_batch(
        &self,
        turn: &mut Turn,
        incoming: &Incoming<'_>,
        target: &Target,
        (outer, key): (&Scan<'_>, &str),
        reply: Reply<'_>,
    ) {
        let messages = match batch::count(incoming.body) {
            Ok(messages) => messages,
            Err(error) => {
                return reply.fail(
                    ResponseCode::MESSAGE_ILLEGAL,
                    format_args!("the message is illegal: {error}"),
                );
            }
        };
        let mut properties = Vec::with_capacity(incoming.request.properties.len() + 64);
        for (name, value) in Properties(incoming.request.properties.as_bytes()).iter() {
            if !matches!(name, keys::CLUSTER | keys::INNER_NUM | keys::INNER_BASE) {
                Properties::push(&mut properties, name, value);
            }
        }
        Properties::push(&mut properties, keys::CLUSTER, &self.identity.cluster);
        Properties::push(&mut properties, keys::INNER_NUM, &messages.to_string());
        let pieces: [&[u8]; 1] = [&properties];
        let mut record = self.record(incoming, target, &pieces, outer.tags_code());
        record.sys_flag |= sysflag::INNER_BATCH | sysflag::NEED_UNWRAP;
        let slot = turn.slot_at(target.slot);
        let appended = match slot.append_inner_batch(&self.store, &record, messages) {
            Ok(appended) => appended,
            Err(error) => return fail(&error, reply),
        };
        let stored = Stored {
            batch_key: Some(key),
            ..Stored::new(&slot, target.queue_id, appended, key, outer.waits)
        };
        self.stored(turn, &stored, reply);
    }
}
