// SPDX-License-Identifier: Apache-2.0
//! Sends of half messages: stored where consumers do not see them until their producer commits them.

use std::sync::Arc;

use aerobee_message::{
    properties::{Properties, keys},
    record::Record,
    topic as names,
};
use aerobee_remoting::{Reply, ResponseCode};
use smallvec::SmallVec;

use crate::{
    processor::{
        Turn,
        scan::Scan,
        send::{Incoming, Refusal, Send, Stored, Target, fail},
    },
    transaction::HalfRefusal,
};

/// A transactional message, its properties in pieces.
pub(super) struct Half<'a> {
    pub(super) scan: &'a Scan<'a>,
    pub(super) unique_key: &'a str,
    pub(super) pieces: SmallVec<[&'a [u8]; 6]>,
}

impl Send {
    /// Stores a transactional message where consumers do not see it until its producer commits it.
    /// Apache: `TransactionalMessageBridge.parseHalfMessageInner`.
    #[cold]
    pub(super) fn store_half(
        self: &Arc<Self>,
        turn: &mut Turn,
        incoming: &Incoming<'_>,
        target: &Target,
        half: Half<'_>,
        mut reply: Reply<'_>,
    ) {
        if let Some(refusal) = self.refuse_half() {
            return reply.fail(refusal.code, refusal.remark);
        }
        let Half {
            scan,
            unique_key,
            pieces,
        } = half;
        let request = incoming.request;
        let Some(slot) = self
            .transactions
            .slot()
            .filter(|slot| slot.queue().is_some())
        else {
            if reply.replies().is_none() {
                let remark = "the queue of half messages was deleted while it was created";
                return reply.fail(ResponseCode::SYSTEM_ERROR, remark);
            }
            return self.prepare_later(incoming, target.queue_id, reply);
        };
        // What came before has its place before.
        if let Some(mut replies) = reply.replies() {
            self.commit(turn, &mut replies);
        }
        let mut added = Vec::with_capacity(128);
        let queue_id = target.queue_id.to_string();
        for (name, value) in [
            (keys::TRANSACTION_ID, unique_key),
            (keys::REAL_TOPIC, target.topic.name()),
            (keys::REAL_QID, &queue_id),
        ] {
            Properties::push(&mut added, name, value);
        }
        let mut all: SmallVec<[&[u8]; 8]> = SmallVec::new();
        for piece in &pieces {
            all.push(piece);
        }
        all.push(&added);
        let record = Record {
            topic: names::TRANS_HALF,
            queue_id: 0,
            ..self.record(incoming, target, &all, scan.tags_code())
        };
        let immunity =
            Properties(request.properties.as_bytes()).get(keys::CHECK_IMMUNITY_TIME_IN_SECONDS);
        let topic = target.topic.name();
        match self.transactions.prepare(&slot, &record, topic, immunity) {
            Ok(appended) => {
                let stored = Stored::new(&slot, target.queue_id, appended, unique_key, scan.waits);
                self.stored(turn, &stored, reply);
            }
            Err(error) => fail(&error, reply),
        }
    }

    fn refuse_half(&self) -> Option<Refusal> {
        let (code, remark) = match self.transactions.refusal()? {
            HalfRefusal::Rejected => (
                ResponseCode::NO_PERMISSION,
                format!(
                    "the broker[{}] sending transaction message is forbidden: rejectTransactionMessage is on",
                    self.identity.address
                ),
            ),
            HalfRefusal::TooMany(open) => (
                ResponseCode::SYSTEM_BUSY,
                format!(
                    "{open} transactions are open: the producers have to commit or roll back before there may be more"
                ),
            ),
        };
        Some(Refusal { code, remark })
    }
}
