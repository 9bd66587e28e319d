// SPDX-License-Identifier: Apache-2.0
//! Subscription groups: what consumer groups may do, kept in `config/subscriptionGroup.json`.
//! Apache: `SubscriptionGroupManager`.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use aerobee_daemon::persist;
use aerobee_message::topic::{NameError, validate_group};
use aerobee_remoting::{
    body::{
        DataVersion,
        group::{SubscriptionGroupConfig, SubscriptionGroupTable},
    },
    fastjson,
};
use dashmap::{DashMap, mapref::entry::Entry};
use parking_lot::{Mutex, RwLock};

use crate::{
    attributes::{self, AttributeError},
    error::StartError,
    table::{Generation, PersistError, Persisted, count_change},
};

/// Groups of the system begin so; they are created even where others are not.
const SYSTEM_PREFIX: &str = "CID_RMQ_SYS_";
/// Groups that are there without being created.
const SYSTEM_GROUPS: [&str; 8] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
];
/// Groups of the system that tools pull with. Apache: `MixAll.isSysConsumerGroupPullMessage`.
const PULLING_GROUPS: [&str; 3] = [
    "DEFAULT_CONSUMER",
    "SCHEDULE_CONSUMER",
    "__MONITOR_CONSUMER",
];
/// Most groups that come into being by being used; names are whatever clients send.
const CREATED_BY_USE_MAX: usize = 100_000;
/// Bit of the forbidden table that forbids reading. Apache: `PermName.INDEX_PERM_READ`.
const FORBIDDEN_READ: i32 = 1 << 2;

/// Whether a group is of the system or its tools.
pub(crate) fn is_system_group(name: &str) -> bool {
    name.starts_with(SYSTEM_PREFIX)
        || SYSTEM_GROUPS.contains(&name)
        || PULLING_GROUPS.contains(&name)
}

/// Why there is no such group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// It is not known and is not created by being used.
    #[error("create it first, or switch autoCreateSubscriptionGroup on")]
    Unknown,
    /// No group can have this name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// So many groups were created by use that clients are suspected of making names up.
    #[error(
        "there are too many groups already ({CREATED_BY_USE_MAX}): delete some, or create it by an admin command"
    )]
    TooMany,
}

/// Why a group was not changed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// No group can have this name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Its attributes cannot be changed so.
    #[error(transparent)]
    Attribute(#[from] AttributeError),
}

/// A subscription group as it was when it was looked up.
#[derive(Debug)]
pub struct Group {
    name: Arc<str>,
    config: SubscriptionGroupConfig,
}

impl Group {
    fn new(config: SubscriptionGroupConfig) -> Arc<Self> {
        Arc::new(Self {
            name: config.group_name.as_str().into(),
            config,
        })
    }

    /// The name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The configuration.
    pub fn config(&self) -> &SubscriptionGroupConfig {
        &self.config
    }

    /// Whether it may consume.
    #[inline]
    pub fn consume_enable(&self) -> bool {
        self.config.consume_enable
    }

    /// Whether it may consume so that each member gets all.
    #[inline]
    pub fn consume_broadcast_enable(&self) -> bool {
        self.config.consume_broadcast_enable
    }

    /// Whether its members are told when it changes.
    pub fn notifies_changes(&self) -> bool {
        self.config.notify_consumer_ids_changed_enable
    }

    /// Queues of its retry topic.
    pub fn retry_queues(&self) -> i32 {
        self.config.retry_queue_nums
    }

    /// How often a message is tried again before it is a dead letter.
    pub fn retry_max_times(&self) -> i32 {
        self.config.retry_max_times
    }

    /// Flags: 1 for unit mode.
    #[inline]
    pub fn sys_flag(&self) -> i32 {
        self.config.group_sys_flag
    }
}

/// Topics that a group may not use: group, then topic, then a bit for each permission.
type Forbidden = BTreeMap<String, BTreeMap<String, i32>>;

/// All subscription groups.
#[derive(Debug)]
pub struct Groups {
    table: Arc<Table>,
    file: Persisted,
    /// Java key: `autoCreateSubscriptionGroup`.
    create_any: AtomicBool,
    /// Java key: `enableCreateSysGroup`.
    create_system: AtomicBool,
}

#[derive(Debug, Default)]
struct Table {
    groups: DashMap<Arc<str>, Arc<Group>>,
    forbidden: RwLock<Forbidden>,
    /// Whether `forbidden` has entries; spares the pull path its lock.
    any_forbidden: AtomicBool,
    version: Mutex<DataVersion>,
    /// Held while a group is changed, so that changes do not overwrite each other. Readers and
    /// creation by use do not take it.
    changing: Mutex<()>,
}

impl Groups {
    /// Reads the file and adds the system's groups.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open(path: &Path) -> Result<Arc<Self>, StartError> {
        Self::open_or_rebuild(path, Vec::new)
    }

    /// As [`Groups::open`]. Where neither the file nor its backup makes sense the groups are those of `names`, with the
    /// usual settings.
    ///
    /// # Errors
    /// As there.
    pub fn open_or_rebuild(
        path: &Path,
        names: impl FnOnce() -> Vec<String>,
    ) -> Result<Arc<Self>, StartError> {
        let rebuild = || {
            let names = names();
            tracing::error!(
                groups = names.join(", "),
                "groups are made again from their positions and retry topics, with the usual settings"
            );
            let config = |name: String| SubscriptionGroupConfig {
                group_name: name,
                ..SubscriptionGroupConfig::default()
            };
            SubscriptionGroupTable {
                subscription_group_table: names
                    .into_iter()
                    .map(|name| (name.clone(), config(name)))
                    .collect(),
                ..SubscriptionGroupTable::default()
            }
        };
        let file =
            persist::load_or_rebuild(path, fastjson::from_slice, rebuild, fastjson::to_pretty)?;
        let table = Arc::new(Table::from_file(file.unwrap_or_default()));
        let snapshot = {
            let table = Arc::clone(&table);
            move || fastjson::to_pretty(&table.to_file())
        };
        Ok(Arc::new(Self {
            table,
            file: Persisted::new(path.to_owned(), snapshot),
            create_any: AtomicBool::new(true),
            create_system: AtomicBool::new(true),
        }))
    }

    /// Says which unknown groups come into being by being used, also while running.
    pub fn configure(&self, create_any: bool, create_system: bool) {
        self.create_any.store(create_any, Ordering::Relaxed);
        self.create_system.store(create_system, Ordering::Relaxed);
    }

    /// The group, if there is one.
    #[inline]
    pub fn find(&self, name: &str) -> Option<Arc<Group>> {
        self.table.groups.get(name).map(|group| Arc::clone(&group))
    }

    /// The group; an unknown one is created where that is allowed. The file follows by itself: if
    /// it is lost in a crash, the next use creates it again.
    ///
    /// # Errors
    /// There is no such group and none is created.
    #[inline]
    pub fn find_or_create(&self, name: &str) -> Result<Arc<Group>, GroupError> {
        match self.find(name) {
            Some(group) => Ok(group),
            None => self.create(name),
        }
    }

    #[cold]
    fn create(&self, name: &str) -> Result<Arc<Group>, GroupError> {
        let allowed = self.create_any.load(Ordering::Relaxed)
            || (self.create_system.load(Ordering::Relaxed) && name.starts_with(SYSTEM_PREFIX));
        if !allowed {
            return Err(GroupError::Unknown);
        }
        validate_group(name)?;
        if self.table.groups.len() >= CREATED_BY_USE_MAX {
            return Err(GroupError::TooMany);
        }
        let (group, created) = match self.table.groups.entry(name.into()) {
            Entry::Occupied(entry) => (Arc::clone(entry.get()), false),
            Entry::Vacant(entry) => {
                let group = Group::new(SubscriptionGroupConfig {
                    group_name: name.to_owned(),
                    ..SubscriptionGroupConfig::default()
                });
                (Arc::clone(&entry.insert(group)), true)
            }
        };
        if created {
            tracing::info!(group = name, "subscription group created by its first use");
            self.changed();
        }
        Ok(group)
    }

    /// Creates or changes a group; its attributes are changes to those it has.
    ///
    /// # Errors
    /// The name or an attribute is not allowed; then nothing has changed.
    pub fn update(&self, mut config: SubscriptionGroupConfig) -> Result<Generation, UpdateError> {
        validate_group(&config.group_name)?;
        {
            let _changing = self.table.changing.lock();
            let known = self.find(&config.group_name);
            let current = known.as_ref().map(|group| &group.config.attributes);
            config.attributes = attributes::alter(attributes::GROUP, current, &config.attributes)?;
            let group = Group::new(config);
            tracing::info!(group = %group.name, created = known.is_none(), "subscription group changed");
            self.table.groups.insert(Arc::clone(&group.name), group);
        }
        Ok(self.changed())
    }

    /// Deletes a group; nothing when there is none.
    pub fn delete(&self, name: &str) -> Option<Generation> {
        let removed = {
            let _changing = self.table.changing.lock();
            self.table.forbid(name, None);
            self.table.groups.remove(name)
        };
        removed?;
        tracing::info!(group = name, "subscription group deleted");
        Some(self.changed())
    }

    /// Allows or forbids a group to read a topic.
    pub fn set_readable(&self, group: &str, topic: &str, readable: bool) -> Generation {
        {
            let _changing = self.table.changing.lock();
            let mut topics = self
                .table
                .forbidden
                .read()
                .get(group)
                .cloned()
                .unwrap_or_default();
            let bits = topics.get(topic).copied().unwrap_or(0).max(0);
            let bits = if readable {
                bits & !FORBIDDEN_READ
            } else {
                bits | FORBIDDEN_READ
            };
            if bits == 0 {
                topics.remove(topic);
            } else {
                topics.insert(topic.to_owned(), bits);
            }
            self.table
                .forbid(group, (!topics.is_empty()).then_some(topics));
        }
        self.changed()
    }

    /// Whether a group may not read a topic.
    #[inline]
    pub fn is_read_forbidden(&self, group: &str, topic: &str) -> bool {
        self.table.any_forbidden.load(Ordering::Relaxed)
            && self.table.forbidden_bits(group, topic) & FORBIDDEN_READ != 0
    }

    /// All groups, in no order.
    pub fn all(&self) -> Vec<Arc<Group>> {
        self.table
            .groups
            .iter()
            .map(|group| Arc::clone(&group))
            .collect()
    }

    /// Version of the table.
    pub fn data_version(&self) -> DataVersion {
        *self.table.version.lock()
    }

    /// The whole table as JSON, and how many groups it holds: the answer to code 201.
    pub fn to_body(&self) -> (Vec<u8>, usize) {
        let file = self.table.to_file();
        (fastjson::to_vec(&file), file.subscription_group_table.len())
    }

    /// Waits until the file holds what was changed up to `generation`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn durable(&self, generation: Generation) -> Result<(), PersistError> {
        self.file.durable(generation).await
    }

    /// Writes what is not yet written, as on a clean stop.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn close(&self) -> Result<(), PersistError> {
        self.file.close().await
    }

    fn changed(&self) -> Generation {
        count_change(&mut self.table.version.lock());
        self.file.changed()
    }
}

impl Table {
    fn from_file(file: SubscriptionGroupTable) -> Self {
        let table = Self::default();
        for (name, mut config) in file.subscription_group_table {
            config.group_name = name;
            table.add(config);
        }
        for name in SYSTEM_GROUPS {
            if !table.groups.contains_key(name) {
                table.add(SubscriptionGroupConfig {
                    group_name: name.to_owned(),
                    ..SubscriptionGroupConfig::default()
                });
            }
        }
        for (group, topics) in file.forbidden_table {
            table.forbid(&group, Some(topics));
        }
        *table.version.lock() = file.data_version;
        table
    }

    fn add(&self, config: SubscriptionGroupConfig) {
        let group = Group::new(config);
        self.groups.insert(Arc::clone(&group.name), group);
    }

    fn forbid(&self, group: &str, topics: Option<BTreeMap<String, i32>>) {
        let mut forbidden = self.forbidden.write();
        match topics {
            Some(topics) => forbidden.insert(group.to_owned(), topics),
            None => forbidden.remove(group),
        };
        self.any_forbidden
            .store(!forbidden.is_empty(), Ordering::Relaxed);
    }

    fn forbidden_bits(&self, group: &str, topic: &str) -> i32 {
        let forbidden = self.forbidden.read();
        let bits = forbidden.get(group).and_then(|topics| topics.get(topic));
        // A negative number stands for nothing forbidden, as in Java.
        bits.copied().unwrap_or(0).max(0)
    }

    fn to_file(&self) -> SubscriptionGroupTable {
        let subscription_group_table = self
            .groups
            .iter()
            .map(|group| (group.name.to_string(), group.config.clone()))
            .collect();
        SubscriptionGroupTable {
            data_version: *self.version.lock(),
            forbidden_table: self.forbidden.read().clone(),
            subscription_group_table,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// As Apache 5.5.0 writes it, with a field of a later version.
    const JAVA: &str = "{\n\t\"dataVersion\":{\n\t\t\"counter\":2,\n\t\t\"stateVersion\":0,\n\t\t\"timestamp\":1700000000000\n\t},\n\t\"forbiddenTable\":{\n\t\t\"g1\":{\n\t\t\t\"TopicTest\":4\n\t\t}\n\t},\n\t\"subscriptionGroupTable\":{\n\t\t\"g1\":{\n\t\t\t\"attributes\":{},\n\t\t\t\"brokerId\":0,\n\t\t\t\"consumeBroadcastEnable\":false,\n\t\t\t\"consumeEnable\":true,\n\t\t\t\"consumeFromMinEnable\":true,\n\t\t\t\"consumeMessageOrderly\":false,\n\t\t\t\"consumeTimeoutMinute\":15,\n\t\t\t\"fromTheFuture\":{\"a\":[1]},\n\t\t\t\"groupName\":\"g1\",\n\t\t\t\"groupRetryPolicy\":{\n\t\t\t\t\"type\":\"CUSTOMIZED\"\n\t\t\t},\n\t\t\t\"groupSysFlag\":1,\n\t\t\t\"notifyConsumerIdsChangedEnable\":true,\n\t\t\t\"retryMaxTimes\":3,\n\t\t\t\"retryQueueNums\":2,\n\t\t\t\"whichBrokerWhenConsumeSlowly\":1\n\t\t}\n\t}\n}";

    fn config(name: &str) -> SubscriptionGroupConfig {
        SubscriptionGroupConfig {
            group_name: name.to_owned(),
            ..SubscriptionGroupConfig::default()
        }
    }

    #[tokio::test]
    async fn reads_the_file_of_apache() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("subscriptionGroup.json");
        fs::write(&path, JAVA).unwrap();
        let groups = Groups::open(&path).unwrap();
        let group = groups.find("g1").unwrap();
        assert!(group.consume_enable());
        assert!(!group.consume_broadcast_enable());
        assert_eq!((group.retry_max_times(), group.retry_queues()), (3, 2));
        assert_eq!(group.sys_flag(), 1);
        assert!(groups.is_read_forbidden("g1", "TopicTest"));
        assert!(!groups.is_read_forbidden("g1", "other"));
        assert_eq!(groups.data_version().counter, 2);
        for name in SYSTEM_GROUPS {
            assert!(groups.find(name).is_some(), "{name}");
        }
    }

    #[tokio::test]
    async fn a_change_is_durable_when_said_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("subscriptionGroup.json");
        let groups = Groups::open(&path).unwrap();
        let generation = groups
            .update(SubscriptionGroupConfig {
                retry_max_times: 5,
                ..config("g")
            })
            .unwrap();
        groups.durable(generation).await.unwrap();
        drop(groups);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("\t\"subscriptionGroupTable\":{"), "{text}");
        assert!(text.contains("\"retryMaxTimes\":5"), "{text}");
        let groups = Groups::open(&path).unwrap();
        assert_eq!(groups.find("g").unwrap().retry_max_times(), 5);
        let generation = groups.delete("g").unwrap();
        assert!(groups.delete("g").is_none());
        groups.durable(generation).await.unwrap();
        drop(groups);
        assert!(Groups::open(&path).unwrap().find("g").is_none());
    }

    #[tokio::test]
    async fn use_creates_where_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("subscriptionGroup.json");
        let groups = Groups::open(&path).unwrap();
        let before = groups.data_version().counter;
        assert_eq!(groups.find_or_create("g").unwrap().retry_max_times(), 16);
        groups.find_or_create("g").unwrap();
        assert_eq!(groups.data_version().counter, before + 1);
        assert!(matches!(
            groups.find_or_create("a b"),
            Err(GroupError::Name(_))
        ));
        assert!(matches!(
            groups.find_or_create(""),
            Err(GroupError::Name(_))
        ));
        groups.configure(false, true);
        assert_eq!(groups.find_or_create("h").unwrap_err(), GroupError::Unknown);
        assert!(groups.find_or_create("CID_RMQ_SYS_x").is_ok());
        groups.configure(false, false);
        assert_eq!(
            groups.find_or_create("CID_RMQ_SYS_y").unwrap_err(),
            GroupError::Unknown
        );
        groups.close().await.unwrap();
        drop(groups);
        assert!(Groups::open(&path).unwrap().find("g").is_some());
    }

    #[tokio::test]
    async fn attributes_are_changed_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let groups = Groups::open(&dir.path().join("subscriptionGroup.json")).unwrap();
        let with = |key: &str, value: &str| {
            let mut config = config("g");
            config.attributes.insert(key.to_owned(), value.to_owned());
            groups.update(config)
        };
        with("+priority.factor", "50").unwrap();
        with("+lite.bind.topic", "t").unwrap();
        let group = groups.find("g").unwrap();
        assert_eq!(group.config().attributes.len(), 2);
        assert!(matches!(
            with("+priority.factor", "101"),
            Err(UpdateError::Attribute(_))
        ));
        with("-priority.factor", "").unwrap();
        assert_eq!(groups.find("g").unwrap().config().attributes.len(), 1);
        assert!(matches!(
            groups.update(config("a/b")),
            Err(UpdateError::Name(_))
        ));
    }

    #[tokio::test]
    async fn the_body_of_201_is_the_whole_table() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("subscriptionGroup.json");
        fs::write(&path, JAVA).unwrap();
        let (body, total) = Groups::open(&path).unwrap().to_body();
        assert_eq!(total, SYSTEM_GROUPS.len() + 1);
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["subscriptionGroupTable"]["g1"]["retryMaxTimes"], 3);
        assert_eq!(body["forbiddenTable"]["g1"]["TopicTest"], 4);
    }
}
