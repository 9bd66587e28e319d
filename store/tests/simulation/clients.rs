// SPDX-License-Identifier: Apache-2.0
//! The clients of the store, with their ledger.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, Ordering},
};

use aerobee_message::{Record, TagsCode, keys, sysflag};
use aerobee_store::{AppendError, Flushed, Queue, Store};
use parking_lot::Mutex;

use crate::{
    disk::Disk,
    model::{Model, QueueId, body},
    random::Random,
};

pub const TOPICS: [&str; 3] = ["orders", "audit", "%RETRY%billing"];

/// What the callbacks of a store share with the rest.
pub struct Shared {
    pub disk: Arc<Disk>,
    pub model: Mutex<Model>,
    /// Chooses what happens while a sync is under way.
    pub random: Mutex<Random>,
    pub largest_body: u64,
    pub may_meet: AtomicBool,
}

impl Shared {
    pub fn body_len(&self, random: &mut Random) -> usize {
        usize::try_from(random.below(self.largest_body) + 8).unwrap()
    }

    pub fn queue(&self, store: &Arc<Store>, (topic, id): QueueId) -> Option<Arc<Queue>> {
        match store.create_queue(TOPICS[topic], id) {
            Ok(queue) => Some(queue),
            Err(error) => {
                self.refused(&error);
                None
            }
        }
    }

    pub fn append(
        self: &Arc<Self>,
        store: &Arc<Store>,
        queue: &Arc<Queue>,
        id: QueueId,
        len: usize,
        messages: usize,
    ) {
        let number = self.model.lock().next_number();
        let body = body(number, len);
        let was_dead = self.disk.is_dead();
        let properties = properties(number);
        let appended = if messages == 1 {
            store.append(queue, &record(id, &body, &[&properties]))
        } else {
            let count = format!("{}\u{1}{messages}\u{2}", keys::INNER_NUM);
            let properties: [&[u8]; 2] = [&properties, count.as_bytes()];
            let batch = Record {
                sys_flag: sysflag::INNER_BATCH | sysflag::NEED_UNWRAP,
                ..record(id, &body, &properties)
            };
            store.append_inner_batch(queue, &batch, messages)
        };
        match appended {
            Ok(place) => {
                let mut model = self.model.lock();
                let (len, end) = (body.len(), place.end);
                model.add(id, number, len, messages, place, end, was_dead);
                drop(model);
                self.wait(store, place.end);
            }
            Err(error) => self.refused(&error),
        }
    }

    /// A client waits for the disk; when it is told that its message is durable, that is a promise.
    pub fn wait(self: &Arc<Self>, store: &Arc<Store>, end: i64) {
        let shared = Arc::clone(self);
        store.when_flushed(
            end,
            Box::new(move |outcome| {
                if outcome != Flushed::Durable || shared.disk.is_dead() {
                    return;
                }
                let mut model = shared.model.lock();
                if let Some(limit) = model.final_flushed {
                    assert!(end <= limit, "acknowledged after a failed sync");
                }
                model.durable_until(end);
                model.acknowledged += 1;
            }),
        );
    }

    /// A client was refused: there must be a reason.
    pub fn refused(&self, error: &AppendError) {
        assert!(
            matches!(error, AppendError::ReadOnly(_) | AppendError::Io(_)),
            "{error}"
        );
    }

    /// Other clients go on while the disk works.
    pub fn meanwhile(self: &Arc<Self>, store: &Weak<Store>, queues: i32) {
        if !self.may_meet.load(Ordering::Relaxed) {
            return;
        }
        let Some(store) = store.upgrade() else { return };
        // Not locked while the store works: it may call back.
        let appends: Vec<(QueueId, usize, u64)> = {
            let mut random = self.random.lock();
            (0..random.below(4))
                .map(|_| {
                    let id = choose_queue(&mut random, queues);
                    (id, self.body_len(&mut random), random.below(1 << 32))
                })
                .collect()
        };
        // Making files syncs too: not again from there.
        self.may_meet.store(false, Ordering::Relaxed);
        for (id, len, seed) in appends {
            if let Some(queue) = self.queue(&store, id) {
                let messages = messages_for(&queue, &mut Random::new(seed));
                self.append(&store, &queue, id, len, messages);
            }
        }
        self.may_meet.store(true, Ordering::Relaxed);
    }
}

pub fn choose_queue(random: &mut Random, queues: i32) -> QueueId {
    let topic = usize::try_from(random.below(TOPICS.len() as u64)).unwrap();
    let id = i32::try_from(random.below(u64::from(queues.unsigned_abs()))).unwrap();
    (topic, id)
}

/// How many messages a record for a queue has: more than one only where a batch may stay one record.
pub fn messages_for(queue: &Queue, random: &mut Random) -> usize {
    if !queue.is_batch() || random.percent(50) {
        return 1;
    }
    let most = *random.one_of(&[3, 12, 400]);
    usize::try_from(random.range(2..most)).unwrap()
}

/// The key of a message.
pub fn key(number: u64) -> String {
    format!("k{number}")
}

/// The text of a message's properties.
pub fn properties(number: u64) -> Vec<u8> {
    format!("KEYS\u{1}{}\u{2}", key(number)).into_bytes()
}

pub fn record<'a>(id: QueueId, body: &'a [u8], properties: &'a [&'a [u8]]) -> Record<'a> {
    Record {
        topic: TOPICS[id.0],
        queue_id: id.1,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: "127.0.0.1:1".parse().unwrap(),
        store_host: "127.0.0.1:10911".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties,
        tags_code: TagsCode::Hash(0),
    }
}
