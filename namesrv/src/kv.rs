// SPDX-License-Identifier: Apache-2.0
//! Key-values by namespace, kept in a file.
//!
//! A change counts when it is on the disk: it is written first and seen afterwards. Apache:
//! `KVConfigManager`, whose file this is.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use aerobee_daemon::persist;
use aerobee_remoting::{body::kv::KvTable, fastjson};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::task::{JoinError, spawn_blocking};

/// Namespace of topics that are ordered over brokers: topic → `broker:queues;…`.
pub const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// Longest file; whoever can reach the name server can fill it.
const FILE_BYTES_MAX: usize = 64 << 20;

/// Why a key-value was not changed.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// The file cannot be written; the values are as before.
    #[error(transparent)]
    Persist(#[from] persist::Error),
    /// The file would be too long; the values are as before.
    #[error("the key-values would take more than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    /// The process ends.
    #[error("the name server is stopping")]
    Stopping(#[from] JoinError),
}

/// The file's content. Apache: `KVConfigSerializeWrapper`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Table {
    /// Namespace → key → value.
    config_table: BTreeMap<String, BTreeMap<String, String>>,
}

/// The key-values.
#[derive(Debug)]
pub struct Kv {
    path: PathBuf,
    table: RwLock<Arc<Table>>,
    /// One change after the other.
    changing: tokio::sync::Mutex<()>,
}

impl Kv {
    /// Reads the file; without one there are no key-values.
    ///
    /// # Errors
    /// The file cannot be read or makes no sense.
    pub fn open(path: PathBuf) -> Result<Self, persist::Error> {
        let table = persist::load(&path, fastjson::from_slice::<Table>)?.unwrap_or_default();
        Ok(Self {
            path,
            table: RwLock::new(Arc::new(table)),
            changing: tokio::sync::Mutex::default(),
        })
    }

    /// The value of a key.
    pub fn get(&self, namespace: &str, key: &str) -> Option<String> {
        let table = self.table.read();
        table.config_table.get(namespace)?.get(key).cloned()
    }

    /// All keys of a namespace; none when it has never had one.
    pub fn namespace(&self, namespace: &str) -> Option<KvTable> {
        let table = self.table.read();
        let table = table.config_table.get(namespace)?.clone();
        Some(KvTable { table })
    }

    /// Sets a key; without a value it has none afterwards.
    ///
    /// # Errors
    /// See [`KvError`].
    pub async fn put(
        &self,
        namespace: &str,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), KvError> {
        self.change(|table| {
            let keys = table.config_table.entry(namespace.to_owned()).or_default();
            match value {
                Some(value) => keys.insert(key.to_owned(), value.to_owned()),
                None => keys.remove(key),
            };
        })
        .await
    }

    /// Removes a key. Its namespace stays, as with Apache.
    ///
    /// # Errors
    /// See [`KvError`].
    pub async fn delete(&self, namespace: &str, key: &str) -> Result<(), KvError> {
        self.change(|table| {
            if let Some(keys) = table.config_table.get_mut(namespace) {
                keys.remove(key);
            }
        })
        .await
    }

    async fn change(&self, change: impl FnOnce(&mut Table)) -> Result<(), KvError> {
        let _changing = self.changing.lock().await;
        let before = Arc::clone(&self.table.read());
        let mut table = Table::clone(&before);
        change(&mut table);
        let bytes = fastjson::to_pretty(&table);
        if bytes.len() > FILE_BYTES_MAX {
            return Err(KvError::TooLarge);
        }
        let path = self.path.clone();
        spawn_blocking(move || persist::save(&path, &bytes)).await??;
        *self.table.write() = Arc::new(table);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn changes_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("namesrv/kvConfig.json");
        let kv = Kv::open(path.clone()).unwrap();
        assert_eq!(kv.namespace("n"), None);
        kv.put("n", "a", Some("1")).await.unwrap();
        kv.put("n", "b", Some("2")).await.unwrap();
        kv.delete("n", "a").await.unwrap();
        kv.delete("unknown", "a").await.unwrap();
        let kv = Kv::open(path).unwrap();
        assert_eq!(kv.get("n", "a"), None);
        assert_eq!(kv.get("n", "b").as_deref(), Some("2"));
        kv.put("n", "b", None).await.unwrap();
        assert_eq!(kv.namespace("n"), Some(KvTable::default()));
    }

    #[tokio::test]
    async fn a_file_of_apache_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kvConfig.json");
        let java = r#"{"configTable":{"ORDER_TOPIC_CONFIG":{"T":"broker-a:8"}}}"#;
        std::fs::write(&path, java).unwrap();
        let kv = Kv::open(path).unwrap();
        assert_eq!(
            kv.get(ORDER_TOPIC_CONFIG, "T").as_deref(),
            Some("broker-a:8")
        );
    }

    #[tokio::test]
    async fn what_cannot_be_written_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kvConfig.json");
        let kv = Kv::open(path.clone()).unwrap();
        std::fs::create_dir(path.with_extension("json.tmp")).unwrap();
        assert!(kv.put("n", "a", Some("1")).await.is_err());
        assert_eq!(kv.get("n", "a"), None);
    }

    #[test]
    fn a_broken_file_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kvConfig.json");
        std::fs::write(&path, "{\"configTable\":").unwrap();
        assert!(Kv::open(path).is_err());
    }
}
