// SPDX-License-Identifier: Apache-2.0
//! Messages that the broker itself puts into a queue: copies of stored messages under another topic
//! (retries, delayed and transactional messages that become due, dead letters) and its own notes.
//! Apache: `EscapeBridge`, `MessageExtBrokerInner`.

use std::{net::SocketAddr, sync::Arc};

use aerobee_message::{
    RecordView,
    properties::{Properties, is_clean, keys},
    record::{Record, TagsCode},
    sysflag, tags,
};
use aerobee_store::{AppendError, Appended, FlushMode, Flushed, Store};
use tokio::runtime::Handle;

use crate::{
    config::Identity,
    events::Events,
    processor::flushed::Flushing,
    registration::Registration,
    table::PersistError,
    topics::{PERM_READ, PERM_WRITE, QueueSlot, Topic, Topics},
};

/// A message outside the log, every part of it open to change.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) queue_id: i32,
    pub(crate) flag: i32,
    /// Flag bits; those of address families are set when the message is stored.
    pub(crate) sys_flag: i32,
    pub(crate) born_timestamp: i64,
    pub(crate) born_host: SocketAddr,
    pub(crate) reconsume_times: i32,
    pub(crate) prepared_transaction_offset: i64,
    pub(crate) body: Vec<u8>,
    pub(crate) properties: PropertyList,
    /// Number of the queue entry; `None` for the hash of the tags.
    pub(crate) tags_code: Option<TagsCode>,
}

impl Message {
    /// A new message of the broker, born now at the broker.
    pub(crate) fn new(
        topic: String,
        queue_id: i32,
        body: Vec<u8>,
        born: (i64, SocketAddr),
    ) -> Self {
        Self {
            topic,
            queue_id,
            flag: 0,
            sys_flag: 0,
            born_timestamp: born.0,
            born_host: born.1,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties: PropertyList::default(),
            tags_code: None,
        }
    }

    /// A copy of a stored message.
    pub(crate) fn of(record: &RecordView<'_>) -> Self {
        Self {
            topic: record.topic().to_owned(),
            queue_id: record.queue_id(),
            flag: record.flag(),
            sys_flag: record.sys_flag() & !(sysflag::BORN_HOST_V6 | sysflag::STORE_HOST_V6),
            born_timestamp: record.born_timestamp(),
            born_host: record.born_host(),
            reconsume_times: record.reconsume_times(),
            prepared_transaction_offset: record.prepared_transaction_offset(),
            body: record.body().to_owned(),
            properties: PropertyList::of(record.properties()),
            tags_code: None,
        }
    }

    fn tags_code(&self) -> TagsCode {
        self.tags_code.unwrap_or_else(|| {
            let tags = self.properties.get(keys::TAGS);
            TagsCode::Hash(tags.map_or(0, tags::code_of))
        })
    }
}

/// Properties of a message, in order, each name once.
#[derive(Debug, Clone, Default)]
pub(crate) struct PropertyList(Vec<(String, String)>);

impl PropertyList {
    /// The properties of a text; of a name that comes twice the later value, as in Java's map.
    pub(crate) fn of(text: Properties<'_>) -> Self {
        let mut list = Self::default();
        for (name, value) in text.iter() {
            list.set(name, value);
        }
        list
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| known == name)?;
        Some(value)
    }

    /// A property that is a number.
    pub(crate) fn number<N: std::str::FromStr>(&self, name: &str) -> Option<N> {
        self.get(name)?.trim().parse().ok()
    }

    /// Sets a property. A value that holds a separator of the text is not taken: it would become
    /// other properties.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers hand over numbers and texts alike"
    )]
    pub(crate) fn set(&mut self, name: &str, value: impl ToString) {
        let value = value.to_string();
        if !is_clean(name) || !is_clean(&value) {
            return;
        }
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1)
    }

    pub(crate) fn to_text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for (name, value) in &self.0 {
            Properties::push(&mut text, name, value);
        }
        text
    }
}

/// Why a message was not stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PutError {
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Persist(#[from] PersistError),
    #[error("topic {topic} has no queue {queue_id}")]
    NoQueue { topic: String, queue_id: i32 },
    #[error("the broker is stopping")]
    Stopping,
}

/// Puts messages of the broker into queues.
pub(crate) struct Requeue {
    store: Arc<Store>,
    topics: Arc<Topics>,
    flushing: Arc<Flushing>,
    registration: Arc<Registration>,
    store_host: SocketAddr,
    runtime: Handle,
    events: Arc<Events>,
}

impl Requeue {
    /// Needs a running runtime.
    pub(crate) fn new(
        store: &Arc<Store>,
        topics: &Arc<Topics>,
        flushing: &Arc<Flushing>,
        registration: &Arc<Registration>,
        identity: &Identity,
    ) -> Arc<Self> {
        Arc::new(Self {
            store: Arc::clone(store),
            topics: Arc::clone(topics),
            flushing: Arc::clone(flushing),
            registration: Arc::clone(registration),
            store_host: identity.address,
            runtime: Handle::current(),
            events: Arc::default(),
        })
    }

    /// Where it is counted what becomes of some messages.
    pub(crate) fn events(&self) -> &Arc<Events> {
        &self.events
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Where consumers reach the broker.
    pub(crate) fn store_host(&self) -> SocketAddr {
        self.store_host
    }

    /// The topic, if there is one.
    pub(crate) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.find(name)
    }

    /// The topic; created, made durable and announced when it is missing.
    ///
    /// # Errors
    /// The table of topics cannot be written.
    pub(crate) async fn ensure_topic(
        &self,
        name: &str,
        queues: i32,
        topic_sys_flag: i32,
    ) -> Result<Arc<Topic>, PutError> {
        if let Some(topic) = self.topics.find(name) {
            return Ok(topic);
        }
        let perm = PERM_READ | PERM_WRITE;
        let (topic, created) = self.topics.ensure(name, queues, perm, topic_sys_flag);
        if let Some(generation) = created {
            self.topics.durable(generation).await?;
            self.registration
                .announce(vec![(*topic.config()).clone()])
                .await;
        }
        Ok(topic)
    }

    /// Gives a topic, made when it is missing, `queues` queues at least. For threads that may block;
    /// not for those of the runtime.
    ///
    /// # Errors
    /// The table of topics cannot be written.
    pub(crate) fn widen_blocking(&self, name: &str, queues: i32) -> Result<(), PutError> {
        if self
            .topics
            .find(name)
            .is_some_and(|topic| topic.read_queues() >= queues)
        {
            return Ok(());
        }
        self.runtime.block_on(async {
            let topic = self.ensure_topic(name, queues, 0).await?;
            if topic.read_queues() < queues {
                let mut config = (*topic.config()).clone();
                config.read_queue_nums = queues;
                config.write_queue_nums = queues;
                let generation = self.topics.put(config.clone());
                self.topics.durable(generation).await?;
                self.registration.announce(vec![config]).await;
            }
            Ok(())
        })
    }

    /// A queue of a topic, both made when they are missing.
    ///
    /// # Errors
    /// Why it cannot be made.
    pub(crate) async fn ensure_queue(
        &self,
        topic: &str,
        queue_id: i32,
    ) -> Result<Arc<QueueSlot>, PutError> {
        let queues = queue_id.saturating_add(1).max(1);
        let topic = self.ensure_topic(topic, queues, 0).await?;
        let slot = slot_of(&topic, queue_id)?;
        let (store, created) = (Arc::clone(&self.store), Arc::clone(&slot));
        let job = move || created.create_queue(&store).map(|_| ());
        tokio::task::spawn_blocking(job)
            .await
            .map_err(|_| PutError::Stopping)??;
        Ok(slot)
    }

    /// As [`Requeue::ensure_queue`], for threads that may block; not for those of the runtime.
    ///
    /// # Errors
    /// Why it cannot be made.
    pub(crate) fn queue_blocking(
        &self,
        topic: &str,
        queue_id: i32,
    ) -> Result<Arc<QueueSlot>, PutError> {
        if let Some(topic) = self.topics.find(topic) {
            let slot = slot_of(&topic, queue_id)?;
            if slot.queue().is_some() {
                return Ok(slot);
            }
        }
        self.runtime.block_on(self.ensure_queue(topic, queue_id))
    }

    /// Serves the consumers of a queue into which messages were stored up to `end`: under synchronous
    /// flush when they are durable.
    pub(crate) fn arrived(&self, slot: &Arc<QueueSlot>, end: i64) {
        self.flushing.arrived(slot, end);
    }

    /// Stores a message, in a topic and queue made for it when they are missing, and serves the
    /// consumers that wait for it: under synchronous flush when it is durable. That it is durable is
    /// not waited for: see [`Requeue::when_durable`].
    ///
    /// # Errors
    /// Why it is not stored.
    pub(crate) async fn put(&self, message: &Message) -> Result<Appended, PutError> {
        if let Some(result) = self.try_put(message) {
            return result;
        }
        let slot = self.ensure_queue(&message.topic, message.queue_id).await?;
        self.append(&slot, message)
    }

    /// As [`Requeue::put`], for threads that may block; not for those of the runtime.
    ///
    /// # Errors
    /// Why it is not stored.
    pub(crate) fn put_blocking(&self, message: &Message) -> Result<Appended, PutError> {
        match self.try_put(message) {
            Some(result) => result,
            None => self.runtime.block_on(self.put(message)),
        }
    }

    /// Stores a message if its topic and queue exist, which never blocks; `None` when they do not.
    pub(crate) fn try_put(&self, message: &Message) -> Option<Result<Appended, PutError>> {
        let topic = self.topics.find(&message.topic)?;
        let slot = match slot_of(&topic, message.queue_id) {
            Ok(slot) => slot,
            Err(error) => return Some(Err(error)),
        };
        slot.queue()?;
        Some(self.append(&slot, message))
    }

    fn append(&self, slot: &Arc<QueueSlot>, message: &Message) -> Result<Appended, PutError> {
        let properties = message.properties.to_text();
        let appended = slot.append(
            &self.store,
            &Record {
                topic: &message.topic,
                queue_id: message.queue_id,
                flag: message.flag,
                sys_flag: message.sys_flag,
                born_timestamp: message.born_timestamp,
                born_host: message.born_host,
                store_host: self.store_host,
                reconsume_times: message.reconsume_times,
                prepared_transaction_offset: message.prepared_transaction_offset,
                body: &message.body,
                properties: &[&properties],
                tags_code: message.tags_code(),
            },
        )?;
        self.flushing.arrived(slot, appended.end);
        Ok(appended)
    }

    /// Calls `done` when a message stored up to `end` counts as safe in this mode of flushing: at
    /// once, or when the disk has it. `done` must not block.
    pub(crate) fn when_durable(&self, end: i64, done: impl FnOnce(Flushed) + Send + 'static) {
        match self.store.flush_mode() {
            FlushMode::Async => done(Flushed::Durable),
            FlushMode::Sync => self.store.when_flushed(end, Box::new(done)),
        }
    }
}

fn slot_of(topic: &Topic, queue_id: i32) -> Result<Arc<QueueSlot>, PutError> {
    topic.queue(queue_id).ok_or_else(|| PutError::NoQueue {
        topic: topic.name().to_string(),
        queue_id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_keep_their_order_and_their_last_value() {
        let mut list = PropertyList::of(Properties(b"a\x011\x02b\x012\x02a\x013\x02"));
        assert_eq!(list.to_text(), b"a\x013\x02b\x012\x02");
        list.set("c", 7);
        list.set("bad", "x\u{2}y");
        assert_eq!(list.number::<i32>("c"), Some(7));
        assert_eq!(list.remove("a").as_deref(), Some("3"));
        assert_eq!(list.remove("bad"), None);
        assert_eq!(list.to_text(), b"b\x012\x02c\x017\x02");
    }
}
