// SPDX-License-Identifier: Apache-2.0
//! Topics: their configuration, kept in `config/topics.json`, and their queues.
//!
//! A request resolves its topic once to a [`Topic`]; the topic owns the slots of its queues, and a
//! slot the store's queue and the pulls that wait on it. Apache: `TopicConfigManager`.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering},
    },
};

use aerobee_daemon::persist;
use aerobee_message::{record::Record, topic as names};
use aerobee_remoting::{
    body::topic::{DataVersion, TopicConfig},
    fastjson,
};
use aerobee_store::{AppendError, Appended, Queue, Store};
use arc_swap::ArcSwap;
use dashmap::DashMap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{
    error::StartError,
    light::LightTopics,
    longpoll::pull::Waiters,
    put_counts::{Put, PutCounts},
    stats::Reading,
    table::{Generation, PersistError, Persisted, count_change},
};

/// Permission bit: consumers may read.
pub const PERM_READ: i32 = 4;
/// Permission bit: producers may write.
pub const PERM_WRITE: i32 = 2;
/// Permission bit: other topics may be created after this one.
pub const PERM_INHERIT: i32 = 1;

/// Flag of a topic whose producers run in unit mode. Apache: `TopicSysFlag.FLAG_UNIT`.
pub(crate) const UNIT: i32 = 1;
/// Flag of a topic whose consumers run in unit mode. Apache: `TopicSysFlag.FLAG_UNIT_SUB`.
pub(crate) const UNIT_SUBSCRIPTION: i32 = 2;
/// Most queues of a topic; Apache has no bound, but each queue costs a directory.
pub const QUEUES_MAX: i32 = 65_536;

/// One queue of a topic as the broker sees it.
#[derive(Debug)]
pub struct QueueSlot {
    topic: Arc<str>,
    id: i32,
    /// The store's queue, once it has messages: reading from a queue creates nothing.
    queue: OnceLock<Arc<Queue>>,
    waiters: Waiters,
    /// What was put in since the start.
    put: PutCounts,
}

impl QueueSlot {
    /// Whether this is the slot of that queue.
    #[inline]
    pub(crate) fn is(&self, topic: &Topic, queue_id: i32) -> bool {
        self.id == queue_id && Arc::ptr_eq(&self.topic, &topic.name)
    }

    /// Name of the topic.
    pub(crate) fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// Number of the queue.
    pub(crate) fn id(&self) -> i32 {
        self.id
    }

    /// The store's queue, if anything was ever stored in it.
    #[inline]
    pub fn queue(&self) -> Option<&Arc<Queue>> {
        self.queue.get()
    }

    /// The offset after the last message that consumers may see.
    pub(crate) fn max_offset(&self) -> i64 {
        self.queue().map_or(0, |queue| queue.max_offset())
    }

    /// The store's queue, created when missing. Creates files: not for a network thread.
    pub(crate) fn create_queue(&self, store: &Store) -> Result<&Arc<Queue>, AppendError> {
        if let Some(queue) = self.queue.get() {
            return Ok(queue);
        }
        let queue = store.create_queue(&self.topic, self.id)?;
        Ok(self.queue.get_or_init(|| queue))
    }

    /// Appends one message.
    pub(crate) fn append(
        &self,
        store: &Store,
        record: &Record<'_>,
    ) -> Result<Appended, AppendError> {
        self.append_as(store, record, false)
    }

    /// Appends one message, maybe one with a sharding key.
    pub(crate) fn append_as(
        &self,
        store: &Store,
        record: &Record<'_>,
        is_ordered: bool,
    ) -> Result<Appended, AppendError> {
        let appended = store.append(self.queue().ok_or(AppendError::QueueGone)?, record)?;
        self.count(1, is_ordered, &appended);
        Ok(appended)
    }

    /// Counts messages that went in together.
    #[inline]
    pub(crate) fn count(&self, messages: usize, is_ordered: bool, appended: &Appended) {
        let bytes = (appended.end - appended.physical).unsigned_abs();
        if is_ordered {
            self.put.add_ordered(messages, bytes);
        } else {
            self.put.add(messages, bytes);
        }
    }

    /// Appends one message that stands in the named light queues as well.
    pub(crate) fn append_to_light(
        &self,
        store: &Store,
        record: &Record<'_>,
        names: &str,
    ) -> Result<Appended, AppendError> {
        let queue = self.queue().ok_or(AppendError::QueueGone)?;
        let appended = store.append_to_light(queue, record, names)?;
        self.count(1, false, &appended);
        Ok(appended)
    }

    /// Appends messages in a row, all or none.
    pub(crate) fn append_batch(
        &self,
        store: &Store,
        records: &[Record<'_>],
        out: &mut Vec<Appended>,
    ) -> Result<(), AppendError> {
        let before = out.len();
        store.append_batch(self.queue().ok_or(AppendError::QueueGone)?, records, out)?;
        if let Some(first) = out.get(before) {
            self.count(out.len() - before, false, first);
        }
        Ok(())
    }

    /// Appends a batch that stays one record.
    pub(crate) fn append_inner_batch(
        &self,
        store: &Store,
        record: &Record<'_>,
        messages: usize,
    ) -> Result<Appended, AppendError> {
        let queue = self.queue().ok_or(AppendError::QueueGone)?;
        let appended = store.append_inner_batch(queue, record, messages)?;
        self.count(messages, false, &appended);
        Ok(appended)
    }

    pub(crate) fn waiters(&self) -> &Waiters {
        &self.waiters
    }
}

/// A topic: its configuration and the slots of its queues.
#[derive(Debug)]
pub struct Topic {
    name: Arc<str>,
    config: ArcSwap<TopicConfig>,
    /// What every send asks for, apart from the rest: these are plain loads.
    most_queues: AtomicI32,
    multi_tag: AtomicBool,
    /// A cell for each queue id, once one of the queues is used; filled on first use of each.
    slots: ArcSwap<Vec<OnceLock<Arc<QueueSlot>>>>,
    /// Queue ids that were ever configured are smaller.
    ids: AtomicUsize,
    /// Held while cells are made or filled: a row that grows must not leave out a slot that is being made.
    making: Mutex<()>,
    /// Spreads messages whose sender leaves the queue to us.
    turn: AtomicU32,
    /// Clients may not send here.
    closed_to_clients: bool,
    /// Batches of its messages stay whole.
    is_batch: bool,
    store: Arc<Store>,
}

impl Topic {
    pub(crate) fn new(config: TopicConfig, store: &Arc<Store>) -> Self {
        let is_batch = has_batch_queues(&config);
        if is_batch {
            store.add_batch_topic(&config.topic_name);
        }
        Self {
            name: config.topic_name.as_str().into(),
            closed_to_clients: names::is_not_sendable(&config.topic_name),
            is_batch,
            most_queues: most_queues(&config).into(),
            multi_tag: is_multi_tag(&config).into(),
            ids: queue_count(&config).into(),
            config: ArcSwap::from_pointee(config),
            slots: ArcSwap::default(),
            making: Mutex::new(()),
            turn: AtomicU32::new(0),
            store: Arc::clone(store),
        }
    }

    /// The name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The configuration.
    pub fn config(&self) -> Arc<TopicConfig> {
        self.config.load_full()
    }

    #[inline]
    pub(crate) fn perm(&self) -> i32 {
        self.config.load().perm
    }

    #[inline]
    pub(crate) fn read_queues(&self) -> i32 {
        self.config.load().read_queue_nums
    }

    #[inline]
    pub(crate) fn write_queues(&self) -> i32 {
        self.config.load().write_queue_nums
    }

    pub(crate) fn sys_flag(&self) -> i32 {
        self.config.load().topic_sys_flag
    }

    /// Read or write queues, whichever are more.
    #[inline]
    pub(crate) fn most_queues(&self) -> i32 {
        self.most_queues.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn is_multi_tag(&self) -> bool {
        self.multi_tag.load(Ordering::Relaxed)
    }

    /// Whether clients may not send to it.
    #[inline]
    pub(crate) fn is_closed_to_clients(&self) -> bool {
        self.closed_to_clients
    }

    /// Whether batches of its messages stay whole, in queues of batches.
    pub(crate) fn is_batch(&self) -> bool {
        self.is_batch
    }

    /// Messages and bytes that were put into its queues since the start.
    pub(crate) fn put_counts(&self) -> (Reading, Reading) {
        let (plain, ordered) = self.puts();
        (
            plain.messages().plus(ordered.messages()),
            plain.bytes().plus(ordered.bytes()),
        )
    }

    /// What was put into its queues since the start: messages without and with a sharding key.
    pub(crate) fn puts(&self) -> (Put, Put) {
        let (mut plain, mut ordered) = (Put::default(), Put::default());
        for slot in self.slots.load().iter().filter_map(OnceLock::get) {
            slot.put.read_into(&mut plain, &mut ordered);
        }
        (plain, ordered)
    }

    /// One of the write queues, in turn.
    pub(crate) fn next_write_queue(&self) -> i32 {
        let queues = self.write_queues().max(1).unsigned_abs();
        (self.turn.fetch_add(1, Ordering::Relaxed) % queues).cast_signed()
    }

    /// The slot of a queue that is, or once was, configured.
    #[inline]
    pub fn queue(&self, id: i32) -> Option<Arc<QueueSlot>> {
        self.made_slot(id).or_else(|| self.make_slot(id))
    }

    /// The slot of a queue that was used since the start, or that has messages.
    pub(crate) fn used_queue(&self, id: i32) -> Option<Arc<QueueSlot>> {
        self.made_slot(id).or_else(|| {
            self.store.queue(&self.name, id)?;
            self.make_slot(id)
        })
    }

    #[inline]
    fn made_slot(&self, id: i32) -> Option<Arc<QueueSlot>> {
        let slots = self.slots.load();
        slots.get(usize::try_from(id).ok()?)?.get().cloned()
    }

    #[cold]
    fn make_slot(&self, id: i32) -> Option<Arc<QueueSlot>> {
        let at = usize::try_from(id).ok()?;
        let _nobody_else = self.making.lock();
        let ids = self.ids.load(Ordering::Acquire);
        if at >= ids {
            return None;
        }
        let mut slots = self.slots.load_full();
        if slots.len() < ids {
            let missing = (slots.len()..ids).map(|_| OnceLock::new());
            slots = Arc::new(slots.iter().cloned().chain(missing).collect());
            self.slots.store(Arc::clone(&slots));
        }
        let slot = slots.get(at)?.get_or_init(|| {
            let queue = OnceLock::new();
            if let Some(existing) = self.store.queue(&self.name, id) {
                let _ = queue.set(existing);
            }
            Arc::new(QueueSlot {
                topic: Arc::clone(&self.name),
                id,
                queue,
                waiters: Waiters::default(),
                put: PutCounts::default(),
            })
        });
        Some(Arc::clone(slot))
    }

    /// Takes a new configuration. Slots are never dropped: fewer queues hide them only.
    fn configure(&self, config: TopicConfig) {
        self.ids.fetch_max(queue_count(&config), Ordering::AcqRel);
        self.most_queues
            .store(most_queues(&config), Ordering::Relaxed);
        self.multi_tag
            .store(is_multi_tag(&config), Ordering::Relaxed);
        self.config.store(Arc::new(config));
    }
}

/// Attribute of topics that says which queues they have, and its value for such with queues of batches.
const QUEUE_TYPE: (&str, &str) = ("queue.type", "BatchCQ");

fn has_batch_queues(config: &TopicConfig) -> bool {
    let kind = config.attributes.get(QUEUE_TYPE.0);
    kind.is_some_and(|kind| kind == QUEUE_TYPE.1)
}

/// Topics with queues of batches, for the store, which is opened before the table. Changes nothing: a file that makes no
/// sense is dealt with when the table is opened.
pub(crate) fn batch_topics(path: &Path) -> Vec<String> {
    let read = |path: &Path| fastjson::from_slice::<File>(&std::fs::read(path).ok()?).ok();
    let file = read(path).or_else(|| read(&persist::backup_of(path)));
    let topics = file.unwrap_or_default().topic_config_table.into_iter();
    let batch = topics.filter(|(_, config)| has_batch_queues(config));
    batch.map(|(name, _)| name).collect()
}

fn most_queues(config: &TopicConfig) -> i32 {
    config.read_queue_nums.max(config.write_queue_nums)
}

fn is_multi_tag(config: &TopicConfig) -> bool {
    config.topic_filter_type == "MULTI_TAG"
}

fn queue_count(config: &TopicConfig) -> usize {
    let queues = most_queues(config);
    usize::try_from(queues.clamp(0, QUEUES_MAX)).unwrap_or(0)
}

/// What a topic that does not exist may be created after.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) template: &'a str,
    pub(crate) queues: i32,
    pub(crate) sys_flag: i32,
}

/// All topics of the broker.
#[derive(Debug)]
pub struct Topics {
    table: Arc<Table>,
    store: Arc<Store>,
    file: Persisted,
    light: LightTopics,
}

#[derive(Debug)]
struct Table {
    topics: DashMap<Arc<str>, Arc<Topic>>,
    version: Mutex<DataVersion>,
}

/// `config/topics.json`.
#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct File {
    data_version: DataVersion,
    topic_config_table: BTreeMap<String, TopicConfig>,
}

impl File {
    /// A topic of the usual kind for each that has queues in the store, but for those of `known`. Permissions, kinds and
    /// other settings are not in the store.
    fn of_queues(store: &Store, known: &[TopicConfig]) -> Self {
        let mut table: BTreeMap<String, TopicConfig> = BTreeMap::new();
        for queue in store.queues() {
            let name = &**queue.topic();
            if name.starts_with(names::LMQ_PREFIX) || known.iter().any(|one| one.topic_name == name)
            {
                continue;
            }
            let config = table.entry(name.to_owned()).or_insert_with(|| TopicConfig {
                topic_name: name.to_owned(),
                read_queue_nums: 0,
                write_queue_nums: 0,
                ..TopicConfig::default()
            });
            if queue.is_batch() {
                let (name, value) = QUEUE_TYPE;
                config.attributes.insert(name.to_owned(), value.to_owned());
            }
            let count = queue.id().saturating_add(1);
            config.read_queue_nums = config.read_queue_nums.max(count);
            config.write_queue_nums = config.write_queue_nums.max(count);
        }
        let names: Vec<&str> = table.keys().map(String::as_str).collect();
        tracing::error!(
            topics = names.join(", "),
            "topics are made again from the queues of the store, with permission to read and write and no other attributes than queue.type"
        );
        Self {
            topic_config_table: table,
            ..Self::default()
        }
    }
}

impl Topics {
    /// Reads the file and adds `system` topics that are missing from it. Where neither it nor its backup makes sense
    /// the topics are those of which the store has queues.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn open(
        path: &Path,
        store: &Arc<Store>,
        system: Vec<TopicConfig>,
    ) -> Result<Arc<Self>, StartError> {
        let file: File = persist::load_or_rebuild(
            path,
            fastjson::from_slice,
            || File::of_queues(store, &system),
            fastjson::to_pretty,
        )?
        .unwrap_or_default();
        let topics = DashMap::new();
        for (name, mut config) in file.topic_config_table {
            config.topic_name.clone_from(&name);
            let topic = Topic::new(config, store);
            topics.insert(Arc::clone(topic.name()), Arc::new(topic));
        }
        let table = Arc::new(Table {
            topics,
            version: Mutex::new(file.data_version),
        });
        let snapshot = {
            let table = Arc::clone(&table);
            move || table.to_json()
        };
        let topics = Arc::new(Self {
            table,
            store: Arc::clone(store),
            file: Persisted::new(path.to_owned(), snapshot),
            light: LightTopics::default(),
        });
        let mut added = false;
        for config in system {
            if topics.find(&config.topic_name).is_none() {
                topics.insert(config);
                added = true;
            }
        }
        if added {
            topics.changed();
        }
        Ok(topics)
    }

    /// The topic of that name.
    #[inline]
    pub fn find(&self, name: &str) -> Option<Arc<Topic>> {
        match self.table.topics.get(name) {
            Some(topic) => Some(Arc::clone(&topic)),
            None => self.light.find(name, &self.store),
        }
    }

    /// Topics of light queues.
    pub(crate) fn light(&self) -> &LightTopics {
        &self.light
    }

    /// All topics, in no order.
    pub fn all(&self) -> Vec<Arc<Topic>> {
        self.table
            .topics
            .iter()
            .map(|topic| Arc::clone(&topic))
            .collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.table.topics.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.table.topics.is_empty()
    }

    /// Version of the table.
    pub fn data_version(&self) -> DataVersion {
        *self.table.version.lock()
    }

    /// Creates or changes a topic. It is in the file when [`Topics::durable`] says so.
    pub fn put(&self, config: TopicConfig) -> Generation {
        self.insert(config);
        self.changed()
    }

    fn insert(&self, config: TopicConfig) {
        let name: Arc<str> = config.topic_name.as_str().into();
        let mut fresh = false;
        let topic = Arc::clone(&*self.table.topics.entry(name).or_insert_with(|| {
            fresh = true;
            Arc::new(Topic::new(config.clone(), &self.store))
        }));
        if !fresh {
            topic.configure(config);
        }
    }

    /// Gives a topic at least so many queues.
    pub(crate) fn widen(&self, name: &str, queues: i32) {
        let Some(topic) = self.find(name) else {
            return;
        };
        let mut config = TopicConfig::clone(&topic.config());
        if config.read_queue_nums >= queues && config.write_queue_nums >= queues {
            return;
        }
        config.read_queue_nums = config.read_queue_nums.max(queues);
        config.write_queue_nums = config.write_queue_nums.max(queues);
        self.put(config);
    }

    /// Forgets a topic; nothing when there is none.
    pub fn remove(&self, name: &str) -> Option<Generation> {
        self.table.topics.remove(name)?;
        Some(self.changed())
    }

    /// The topic `name`, created with these queues when it is missing; then with the generation that
    /// makes it durable.
    pub fn ensure(
        &self,
        name: &str,
        queues: i32,
        perm: i32,
        topic_sys_flag: i32,
    ) -> (Arc<Topic>, Option<Generation>) {
        let mut created = false;
        let topic = Arc::clone(&*self.table.topics.entry(name.into()).or_insert_with(|| {
            created = true;
            let config = TopicConfig {
                topic_name: name.to_owned(),
                read_queue_nums: queues,
                write_queue_nums: queues,
                perm,
                topic_sys_flag,
                ..TopicConfig::default()
            };
            Arc::new(Topic::new(config, &self.store))
        }));
        let generation = created.then(|| self.changed());
        (topic, generation)
    }

    /// Creates a topic after its template, as a send to an unknown topic asks for. Nothing when the
    /// template does not exist or may not be inherited from.
    pub(crate) fn create_from_template(
        &self,
        name: &str,
        wanted: Wanted<'_>,
    ) -> Option<(Arc<Topic>, Option<Generation>)> {
        let template = self.find(wanted.template)?.config();
        if template.perm & PERM_INHERIT == 0 {
            return None;
        }
        let queues = wanted.queues.min(template.write_queue_nums).max(0);
        let mut created = false;
        let topic = Arc::clone(&*self.table.topics.entry(name.into()).or_insert_with(|| {
            created = true;
            let config = TopicConfig {
                topic_name: name.to_owned(),
                read_queue_nums: queues,
                write_queue_nums: queues,
                perm: template.perm & !PERM_INHERIT,
                topic_filter_type: template.topic_filter_type.clone(),
                topic_sys_flag: wanted.sys_flag,
                ..TopicConfig::default()
            };
            Arc::new(Topic::new(config, &self.store))
        }));
        Some((topic, created.then(|| self.changed())))
    }

    fn changed(&self) -> Generation {
        count_change(&mut self.table.version.lock());
        self.file.changed()
    }

    /// Waits until the file holds what was changed up to `generation`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn durable(&self, generation: Generation) -> Result<(), PersistError> {
        self.file.durable(generation).await
    }

    /// The last version of the file, as on a clean stop.
    pub(crate) async fn close(&self) -> Result<(), PersistError> {
        self.file.close().await
    }
}

impl Table {
    fn to_json(&self) -> Vec<u8> {
        let data_version = *self.version.lock();
        let topic_config_table = self
            .topics
            .iter()
            .map(|topic| {
                (
                    topic.name().to_string(),
                    TopicConfig::clone(&topic.config()),
                )
            })
            .collect();
        fastjson::to_pretty(&File {
            data_version,
            topic_config_table,
        })
    }
}

#[cfg(test)]
mod tests {
    use aerobee_store::{Config, Env};

    use super::*;

    fn config(queues: i32) -> TopicConfig {
        TopicConfig {
            topic_name: "T".to_owned(),
            read_queue_nums: queues,
            write_queue_nums: queues,
            ..TopicConfig::default()
        }
    }

    /// Pulls wait at a slot, and appends wake those who wait at it: two slots of one queue would never meet.
    #[test]
    fn a_queue_has_one_slot_however_its_topic_grows_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(Config::new(dir.path()), Env::real()).unwrap();
        for _ in 0..300 {
            let topic = Topic::new(config(8), &store);
            let slots: Vec<_> = std::thread::scope(|scope| {
                scope.spawn(|| {
                    for queues in 9..40 {
                        topic.configure(config(queues));
                    }
                });
                (0..8).map(|id| topic.queue(id).unwrap()).collect()
            });
            for (id, slot) in (0..).zip(slots) {
                assert!(Arc::ptr_eq(&slot, &topic.queue(id).unwrap()), "{id}");
            }
            assert!(topic.queue(38).is_some() && topic.queue(39).is_none());
            assert!(topic.queue(-1).is_none());
        }
        store.close().unwrap();
    }

    #[test]
    fn queues_that_are_no_longer_configured_keep_their_slots() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(Config::new(dir.path()), Env::real()).unwrap();
        let topic = Topic::new(config(2), &store);
        let slot = topic.queue(1).unwrap();
        topic.configure(config(1));
        assert!(Arc::ptr_eq(&slot, &topic.queue(1).unwrap()));
        assert!(topic.used_queue(0).is_none(), "nothing was put in");
        store.close().unwrap();
    }
}
