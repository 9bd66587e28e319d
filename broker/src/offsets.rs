// SPDX-License-Identifier: Apache-2.0
//! How far each group has consumed each queue, kept in `config/consumerOffset.json`. Apache:
//! `ConsumerOffsetManager`, `LmqConsumerOffsetManager`.
//!
//! A commit changes memory only; the file follows every few seconds when anything changed, and at
//! the end, never ahead of the log. After a crash consumers see again what they had committed since.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use aerobee_daemon::persist;
use aerobee_remoting::{body::DataVersion, fastjson};
use aerobee_store::Store;
use dashmap::{DashMap, Entry};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{
    error::StartError,
    pop,
    table::{Generation, PersistError, Persisted, count_change},
};

/// Queue ids that are kept lie below this; as many as a topic can have.
const QUEUE_ID_END: i32 = 65_536;
/// The version of the table counts on once in so many commits. Java key:
/// `consumerOffsetUpdateVersionStep`.
const COMMITS_PER_VERSION: u64 = 500;

/// Groups that say how far the journal of pops is done with.
const JOURNAL_GROUPS: [&str; 2] = [pop::REVIVE_GROUP, pop::SEEN_GROUP];

type QueueOffsets = BTreeMap<i32, i64>;
/// What a group has committed.
type Topics = HashMap<Box<str>, QueueOffsets>;
/// Group, topic, queue.
type ResetKey = (Box<str>, Box<str>, i32);

/// Most resets that wait for a read; groups that never read leave theirs behind.
const RESETS_MAX: usize = 1_000_000;

/// Committed offsets of all groups.
#[derive(Debug)]
pub struct Offsets {
    table: Arc<Table>,
    file: Persisted,
    /// Changes that the file has been told of.
    flushed: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    /// Group, then topic, then queue: no key is put together for a commit.
    groups: DashMap<Box<str>, Mutex<Topics>>,
    /// The groups of each topic, so that tools which ask for every topic do not have all groups
    /// looked at each time. Changed with the lock of the group held, which is taken first.
    groups_of: DashMap<Box<str>, Vec<Box<str>>>,
    /// Where groups are to go on whatever they commit meanwhile: taken by their next read.
    resets: Mutex<HashMap<ResetKey, i64>>,
    /// Whether there are any; spares reads the lock.
    any_reset: AtomicBool,
    /// Keys of the file that name no topic and group; they are only carried along.
    foreign: BTreeMap<String, QueueOffsets>,
    version: Mutex<DataVersion>,
    changes: AtomicU64,
}

/// `consumerOffset.json`. Java writes the getter `groupTopicMap` too, which says nothing new.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    data_version: DataVersion,
    offset_table: BTreeMap<String, QueueOffsets>,
    /// How far was pulled, not consumed: nothing that has to survive.
    #[serde(skip_deserializing)]
    pull_offset_table: BTreeMap<String, QueueOffsets>,
    /// Light queues, which have one queue each; only in `lmqConsumerOffset.json`.
    #[serde(skip_serializing)]
    lmq_offset_table: BTreeMap<String, i64>,
}

impl Offsets {
    /// Reads `consumerOffset.json` and, where an Apache broker with light queues has left one,
    /// `lmqConsumerOffset.json` from `directory`. Where both know a queue the newer file counts.
    ///
    /// # Errors
    /// A file exists but neither it nor its backup can be read.
    pub fn open(directory: &Path) -> Result<Arc<Self>, StartError> {
        Self::open_behind(directory, None)
    }

    /// As [`Offsets::open`]; the file is written when the log of `store` is durable up to what was
    /// consumed: an offset that outlives its message, or a popped batch that outlives its check
    /// point, would be a message that nobody gets.
    ///
    /// # Errors
    /// As there.
    pub fn open_behind(
        directory: &Path,
        store: Option<Arc<Store>>,
    ) -> Result<Arc<Self>, StartError> {
        let path = directory.join("consumerOffset.json");
        let read = |path: &Path| persist::load(path, fastjson::from_slice::<File>);
        let plain = read(&path)?.unwrap_or_default();
        let with_light = read(&directory.join("lmqConsumerOffset.json"))?;
        let merged = with_light.is_some();
        let table = Arc::new(Table::from_files(plain, with_light));
        let snapshot = {
            let table = Arc::clone(&table);
            move || table.to_json()
        };
        let offsets = Arc::new(Self {
            table,
            file: Persisted::behind(path, snapshot, store),
            flushed: AtomicU64::new(0),
        });
        if merged {
            offsets.touch();
        }
        Ok(offsets)
    }

    /// Remembers that `group` goes on at `offset`. A smaller offset than before counts as well.
    /// `false` when the queue id is none that a topic can have.
    #[inline]
    pub fn commit(&self, group: &str, topic: &str, queue_id: i32, offset: i64) -> bool {
        if !(0..QUEUE_ID_END).contains(&queue_id) {
            return false;
        }
        self.table.put(group, topic, queue_id, offset);
        let changes = self.table.changes.fetch_add(1, Ordering::AcqRel) + 1;
        if changes.is_multiple_of(COMMITS_PER_VERSION) {
            count_change(&mut self.table.version.lock());
        }
        true
    }

    /// Where `group` goes on.
    #[inline]
    pub fn query(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        let topics = self.table.groups.get(group)?;
        let topics = topics.lock();
        topics.get(topic)?.get(&queue_id).copied()
    }

    /// Has the group's next read of a queue begin at `offset`, which counts as committed already.
    /// Apache: `ConsumerOffsetManager.assignResetOffset`.
    pub fn assign_reset(&self, group: &str, topic: &str, queue_id: i32, offset: i64) -> bool {
        if !self.commit(group, topic, queue_id, offset) {
            return false;
        }
        let mut resets = self.table.resets.lock();
        if resets.len() < RESETS_MAX {
            resets.insert((group.into(), topic.into(), queue_id), offset);
            self.table.any_reset.store(true, Ordering::Release);
        }
        true
    }

    /// Whether a reset waits for the group's next read of a queue.
    #[inline]
    pub fn has_reset(&self, group: &str, topic: &str, queue_id: i32) -> bool {
        self.table.any_reset.load(Ordering::Acquire)
            && self
                .table
                .resets
                .lock()
                .contains_key(&(group.into(), topic.into(), queue_id))
    }

    /// Takes the reset that waits for the group's next read of a queue.
    #[inline]
    pub fn take_reset(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        if !self.table.any_reset.load(Ordering::Acquire) {
            return None;
        }
        let mut resets = self.table.resets.lock();
        let offset = resets.remove(&(group.into(), topic.into(), queue_id));
        self.table
            .any_reset
            .store(!resets.is_empty(), Ordering::Release);
        offset
    }

    /// Forgets what a group has committed of one topic.
    pub fn delete_topic_of(&self, group: &str, topic: &str) -> Option<Generation> {
        let topics = self.table.groups.get(group)?;
        let removed = self.table.forget(&mut topics.lock(), group, topic);
        drop(topics);
        removed.then(|| self.touch())
    }

    /// All queues of a topic that `group` has committed.
    pub fn queues(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        let topics = self.table.groups.get(group);
        topics
            .and_then(|topics| topics.lock().get(topic).cloned())
            .unwrap_or_default()
    }

    /// Topics that `group` has committed offsets of.
    pub fn topics_of(&self, group: &str) -> Vec<Box<str>> {
        let topics = self.table.groups.get(group);
        topics
            .map(|topics| topics.lock().keys().cloned().collect())
            .unwrap_or_default()
    }

    /// Topics of which any group has committed offsets, some more than once.
    pub fn topics(&self) -> Vec<Box<str>> {
        let groups = self.table.groups.iter();
        groups
            .flat_map(|group| group.value().lock().keys().cloned().collect::<Vec<_>>())
            .collect()
    }

    /// Groups that have committed offsets.
    pub fn groups(&self) -> Vec<Box<str>> {
        let groups = self.table.groups.iter();
        groups.map(|group| group.key().clone()).collect()
    }

    /// Groups that have committed offsets of `topic`.
    pub fn groups_of(&self, topic: &str) -> Vec<Box<str>> {
        let groups = self.table.groups_of.get(topic);
        groups.map(|groups| groups.clone()).unwrap_or_default()
    }

    /// Forgets a topic; with the generation that makes it last when there was anything to forget.
    pub fn delete_topic(&self, topic: &str) -> Option<Generation> {
        let mut deleted = false;
        for group in self.groups_of(topic) {
            if let Some(topics) = self.table.groups.get(&group) {
                deleted |= self.table.forget(&mut topics.lock(), &group, topic);
            }
        }
        self.table
            .groups
            .retain(|_, topics| !topics.get_mut().is_empty());
        deleted.then(|| self.touch())
    }

    /// Forgets a group.
    pub fn delete_group(&self, group: &str) -> Option<Generation> {
        // Nobody else gets at the group while the entry is held.
        let Entry::Occupied(entry) = self.table.groups.entry(group.into()) else {
            return None;
        };
        for topic in entry.get().lock().keys() {
            self.table.leave(group, topic);
        }
        entry.remove();
        Some(self.touch())
    }

    /// The whole table as JSON: the answer to code 43.
    pub fn to_body(&self) -> Vec<u8> {
        fastjson::to_vec(&self.table.to_file())
    }

    /// How many offsets are committed: topics, over all groups.
    pub fn len(&self) -> usize {
        self.table
            .groups
            .iter()
            .map(|group| group.lock().len())
            .sum()
    }

    /// Whether nothing was ever committed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Version of the table.
    pub fn data_version(&self) -> DataVersion {
        *self.table.version.lock()
    }

    /// Waits until the file holds what was changed up to `generation`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn durable(&self, generation: Generation) -> Result<(), PersistError> {
        self.file.durable(generation).await
    }

    /// Has the file written when there were commits since the last time.
    pub fn flush(&self) -> Option<Generation> {
        let changes = self.table.changes.load(Ordering::Acquire);
        let flushed = self.flushed.swap(changes, Ordering::AcqRel);
        (flushed != changes).then(|| self.file.changed())
    }

    /// Has the file written now, for those who wait until it is.
    pub fn write_now(&self) -> Generation {
        self.touch()
    }

    /// Flushes every `period`. Ends with the task that runs it.
    pub async fn run(self: Arc<Self>, period: Duration) {
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.flush();
        }
    }

    /// Writes what is not yet written, as on a clean stop.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn close(&self) -> Result<(), PersistError> {
        self.flush();
        self.file.close().await
    }

    /// Counts a change that is more than a commit, and has the file written at once.
    fn touch(&self) -> Generation {
        count_change(&mut self.table.version.lock());
        let changes = self.table.changes.fetch_add(1, Ordering::AcqRel) + 1;
        self.flushed.store(changes, Ordering::Release);
        self.file.changed()
    }
}

impl Table {
    fn from_files(plain: File, with_light: Option<File>) -> Self {
        let mut table = Self::default();
        let mut files = vec![plain];
        files.extend(with_light);
        // The newer one last, so that it prevails.
        files.sort_by_key(|file| file.data_version.timestamp);
        for file in files {
            for (key, queues) in file.offset_table {
                table.take(key, queues);
            }
            for (key, offset) in file.lmq_offset_table {
                table.take(key, QueueOffsets::from([(0, offset)]));
            }
            *table.version.get_mut() = file.data_version;
        }
        table
    }

    /// Takes an entry of a file; its key is `topic@group`, where the group may contain more `@`.
    fn take(&mut self, key: String, queues: QueueOffsets) {
        match key.split_once('@') {
            Some((topic, group)) => {
                for (queue_id, offset) in queues {
                    self.put(group, topic, queue_id, offset);
                }
            }
            None => {
                self.foreign.insert(key, queues);
            }
        }
    }

    #[inline]
    fn put(&self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        if let Some(topics) = self.groups.get(group) {
            self.put_queue(&mut topics.lock(), group, topic, queue_id, offset);
            return;
        }
        let topics = self.groups.entry(group.into()).or_default();
        self.put_queue(&mut topics.lock(), group, topic, queue_id, offset);
    }

    #[inline]
    fn put_queue(&self, topics: &mut Topics, group: &str, topic: &str, queue_id: i32, offset: i64) {
        match topics.get_mut(topic) {
            Some(queues) => {
                queues.insert(queue_id, offset);
            }
            None => {
                topics.insert(topic.into(), QueueOffsets::from([(queue_id, offset)]));
                let mut groups = self.groups_of.entry(topic.into()).or_default();
                groups.push(group.into());
            }
        }
    }

    /// Forgets what a group has committed of a topic; whether it had.
    fn forget(&self, topics: &mut Topics, group: &str, topic: &str) -> bool {
        let had = topics.remove(topic).is_some();
        if had {
            self.leave(group, topic);
        }
        had
    }

    /// The group has nothing committed of the topic any more.
    fn leave(&self, group: &str, topic: &str) {
        if let Entry::Occupied(mut groups) = self.groups_of.entry(topic.into()) {
            groups.get_mut().retain(|known| &**known != group);
            if groups.get().is_empty() {
                groups.remove();
            }
        }
    }

    fn to_json(&self) -> Vec<u8> {
        fastjson::to_pretty(&self.to_file())
    }

    fn to_file(&self) -> File {
        let mut offset_table = self.foreign.clone();
        // How far the journal of pops is done with is taken down first: what it vouches for is then
        // among the rest.
        for group in JOURNAL_GROUPS {
            if let Some(topics) = self.groups.get(group) {
                for (topic, queues) in topics.lock().iter() {
                    offset_table.insert(format!("{topic}@{group}"), queues.clone());
                }
            }
        }
        for group in &self.groups {
            if JOURNAL_GROUPS.contains(&&**group.key()) {
                continue;
            }
            for (topic, queues) in group.value().lock().iter() {
                offset_table.insert(format!("{topic}@{}", group.key()), queues.clone());
            }
        }
        File {
            data_version: *self.version.lock(),
            offset_table,
            ..File::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// As Apache 5.5.0 writes it: tabs, bare numeric keys, the getters beside the table.
    const JAVA: &str = "{\n\t\"dataVersion\":{\n\t\t\"counter\":3,\n\t\t\"stateVersion\":0,\n\t\t\"timestamp\":1700000000000\n\t},\n\t\"groupTopicMap\":{\n\t\t\"g1\":[\"TopicTest\"]\n\t},\n\t\"offsetTable\":{\n\t\t\"TopicTest@g1\":{0:12,1:7,10:1},\n\t\t\"%RETRY%g1@g1\":{0:3},\n\t\t\"TopicTest@g1@broadcast\":{0:99}\n\t},\n\t\"pullOffsetTable\":{\n\t\t\"TopicTest@g1\":{0:13}\n\t}\n}";

    #[tokio::test]
    async fn reads_the_file_of_apache() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("consumerOffset.json"), JAVA).unwrap();
        let offsets = Offsets::open(dir.path()).unwrap();
        assert_eq!(offsets.query("g1", "TopicTest", 0), Some(12));
        assert_eq!(offsets.query("g1", "TopicTest", 10), Some(1));
        assert_eq!(offsets.query("g1", "%RETRY%g1", 0), Some(3));
        assert_eq!(offsets.query("g1@broadcast", "TopicTest", 0), Some(99));
        assert_eq!(offsets.query("g1", "TopicTest", 2), None);
        assert_eq!(offsets.query("g2", "TopicTest", 0), None);
        assert_eq!(offsets.data_version().counter, 3);
    }

    #[tokio::test]
    async fn a_reset_is_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = Offsets::open(dir.path()).unwrap();
        offsets.commit("g", "t", 0, 9);
        assert!(offsets.assign_reset("g", "t", 0, 4));
        assert_eq!(offsets.query("g", "t", 0), Some(4));
        assert!(offsets.has_reset("g", "t", 0) && !offsets.has_reset("g", "t", 1));
        assert_eq!(offsets.take_reset("g", "t", 1), None);
        assert_eq!(offsets.take_reset("g", "t", 0), Some(4));
        assert_eq!(offsets.take_reset("g", "t", 0), None);
        assert!(!offsets.assign_reset("g", "t", -1, 4));
    }

    #[tokio::test]
    async fn the_file_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = Offsets::open(dir.path()).unwrap();
        assert!(offsets.commit("g", "t", 3, 5));
        assert!(offsets.commit("g", "t", 3, 4));
        assert!(offsets.commit("g", "u", 0, 9));
        offsets.close().await.unwrap();
        drop(offsets);
        let text = fs::read_to_string(dir.path().join("consumerOffset.json")).unwrap();
        assert!(text.contains("\"t@g\":{"), "{text}");
        assert!(text.contains("\"3\":4"), "{text}");
        assert!(text.contains("\"pullOffsetTable\":{}"), "{text}");
        let offsets = Offsets::open(dir.path()).unwrap();
        assert_eq!(offsets.query("g", "t", 3), Some(4));
        assert_eq!(offsets.query("g", "u", 0), Some(9));
    }

    #[tokio::test]
    async fn impossible_queues_are_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = Offsets::open(dir.path()).unwrap();
        assert!(!offsets.commit("g", "t", -1, 5));
        assert!(!offsets.commit("g", "t", QUEUE_ID_END, 5));
        assert_eq!(offsets.query("g", "t", -1), None);
    }

    #[tokio::test]
    async fn nothing_is_written_when_nothing_changed() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = Offsets::open(dir.path()).unwrap();
        assert!(offsets.flush().is_none());
        offsets.commit("g", "t", 0, 1);
        let generation = offsets.flush().unwrap();
        offsets.durable(generation).await.unwrap();
        assert!(offsets.flush().is_none());
    }

    #[tokio::test]
    async fn a_crash_loses_no_offset_that_was_flushed() {
        let dir = tempfile::tempdir().unwrap();
        let mut flushed = 0;
        for round in 0..20 {
            let offsets = Offsets::open(dir.path()).unwrap();
            let seen = offsets.query("g", "t", 0).unwrap_or(0);
            assert!(seen >= flushed, "round {round}: {seen} < {flushed}");
            for offset in 1..=round * 7 {
                offsets.commit("g", "t", 0, seen + offset);
            }
            if round % 3 != 0
                && let Some(generation) = offsets.flush()
            {
                offsets.durable(generation).await.unwrap();
                flushed = seen + round * 7;
            }
            offsets.commit("g", "t", 0, seen + round * 7 + 1);
            // Dropped without close: as if the process had been killed.
        }
        assert!(flushed > 0);
    }

    #[tokio::test]
    async fn a_crash_between_the_steps_of_a_write_leaves_the_backup() {
        let dir = tempfile::tempdir().unwrap();
        let (path, backup) = (
            dir.path().join("consumerOffset.json"),
            dir.path().join("consumerOffset.json.bak"),
        );
        fs::write(&backup, JAVA).unwrap();
        fs::write(dir.path().join("consumerOffset.json.tmp"), "{\"offsetT").unwrap();
        let offsets = Offsets::open(dir.path()).unwrap();
        assert_eq!(offsets.query("g1", "TopicTest", 0), Some(12));
        drop(offsets);
        // Torn, as Java's write in place leaves it.
        fs::write(&path, &JAVA[..40]).unwrap();
        let offsets = Offsets::open(dir.path()).unwrap();
        assert_eq!(offsets.query("g1", "TopicTest", 0), Some(12));
        drop(offsets);
        // Neither can be read: starting empty would consume everything again.
        fs::write(&backup, "{").unwrap();
        assert!(Offsets::open(dir.path()).is_err());
    }

    #[tokio::test]
    async fn the_newer_of_two_files_prevails() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("consumerOffset.json"), JAVA).unwrap();
        let light = |timestamp: i64| {
            format!(
                "{{\"dataVersion\":{{\"counter\":1,\"stateVersion\":0,\"timestamp\":{timestamp}}},\"lmqOffsetTable\":{{\"%LMQ%a@%LMQ%g\":5}},\"offsetTable\":{{\"TopicTest@g1\":{{0:20}}}}}}"
            )
        };
        let path = dir.path().join("lmqConsumerOffset.json");
        fs::write(&path, light(1_600_000_000_000)).unwrap();
        let offsets = Offsets::open(dir.path()).unwrap();
        assert_eq!(offsets.query("g1", "TopicTest", 0), Some(12));
        assert_eq!(offsets.query("%LMQ%g", "%LMQ%a", 0), Some(5));
        drop(offsets);
        fs::write(dir.path().join("consumerOffset.json"), JAVA).unwrap();
        fs::write(&path, light(1_800_000_000_000)).unwrap();
        let offsets = Offsets::open(dir.path()).unwrap();
        assert_eq!(offsets.query("g1", "TopicTest", 0), Some(20));
        assert_eq!(offsets.query("g1", "TopicTest", 1), Some(7));
    }

    #[tokio::test]
    async fn deleting_is_by_topic_and_by_group() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = Offsets::open(dir.path()).unwrap();
        for (group, topic) in [("g", "t"), ("g", "u"), ("h", "t"), ("i", "u")] {
            offsets.commit(group, topic, 0, 1);
        }
        let mut groups = offsets.groups_of("t");
        groups.sort();
        assert_eq!(groups, ["g".into(), "h".into()]);
        offsets.delete_topic("t").unwrap();
        assert!(offsets.delete_topic("t").is_none());
        assert_eq!(offsets.query("g", "t", 0), None);
        assert_eq!(offsets.query("h", "t", 0), None);
        assert_eq!(offsets.query("g", "u", 0), Some(1));
        let generation = offsets.delete_group("g").unwrap();
        offsets.durable(generation).await.unwrap();
        drop(offsets);
        let offsets = Offsets::open(dir.path()).unwrap();
        assert_eq!(offsets.query("g", "u", 0), None);
        assert_eq!(offsets.query("i", "u", 0), Some(1));
    }

    /// The groups of each topic, as the offsets themselves say.
    fn counted(offsets: &Offsets) -> BTreeMap<Box<str>, Vec<Box<str>>> {
        let mut counted: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for group in offsets.groups() {
            for topic in offsets.topics_of(&group) {
                counted.entry(topic).or_default().push(group.clone());
            }
        }
        counted.values_mut().for_each(|groups| groups.sort());
        counted
    }

    fn listed(offsets: &Offsets) -> BTreeMap<Box<str>, Vec<Box<str>>> {
        let lists = offsets.table.groups_of.iter();
        let mut listed: BTreeMap<_, Vec<_>> = lists
            .map(|list| (list.key().clone(), list.value().clone()))
            .collect();
        listed.values_mut().for_each(|groups| groups.sort());
        listed
    }

    #[tokio::test]
    async fn the_groups_of_a_topic_are_those_that_have_committed() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = Offsets::open(dir.path()).unwrap();
        // Each thread makes and deletes its own topics and groups, and shares some with the others.
        std::thread::scope(|scope| {
            for seed in 0..4_u32 {
                let offsets = &offsets;
                scope.spawn(move || {
                    for step in 0..2_000_u32 {
                        let random = (step * 4 + seed).wrapping_mul(2_654_435_761) >> 16;
                        let topic = format!("t{}", random % 7);
                        let group = format!("g{}", random / 7 % 5);
                        match random / 35 % 8 {
                            0 => {
                                offsets.delete_topic(&topic);
                            }
                            1 => {
                                offsets.delete_group(&group);
                            }
                            2 => {
                                offsets.delete_topic_of(&group, &topic);
                            }
                            _ => {
                                offsets.commit(&group, &topic, 0, i64::from(step));
                            }
                        }
                    }
                });
            }
        });
        assert_eq!(listed(&offsets), counted(&offsets));
        for number in 0..3 {
            offsets.commit("last", &format!("t{number}"), 1, 5);
        }
        assert_eq!(listed(&offsets), counted(&offsets));
        offsets.close().await.unwrap();
        let again = Offsets::open(dir.path()).unwrap();
        assert_eq!(listed(&again), counted(&offsets));
        for group in again.groups() {
            again.delete_group(&group);
        }
        assert!(again.table.groups_of.is_empty());
    }

    #[tokio::test]
    async fn the_version_counts_once_in_500_commits() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = Offsets::open(dir.path()).unwrap();
        let before = offsets.data_version().counter;
        for offset in 0..1000 {
            offsets.commit("g", "t", 0, offset);
        }
        assert_eq!(offsets.data_version().counter, before + 2);
    }
}
