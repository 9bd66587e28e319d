// SPDX-License-Identifier: Apache-2.0
//! UPDATE_NAMESRV_CONFIG (318), GET_NAMESRV_CONFIG (319).

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use aerobee_daemon::{Properties, config::BadValues, logging::set_levels, persist, properties};
use aerobee_remoting::{Reply, ResponseCode};

use crate::config::{Config, Settings};

/// Keys that cannot be changed from afar: they say where files are, or who may change what.
const FIXED_KEYS: [&str; 4] = [
    "configBlackList",
    "configStorePath",
    "kvConfigPath",
    "rocketmqHome",
];

/// Shows and changes the configuration.
#[derive(Debug)]
pub(crate) struct ConfigAdmin {
    settings: Settings,
    /// `configBlackList` as it was at the start, like Apache.
    listed: Vec<String>,
    /// One change after the other.
    changing: tokio::sync::Mutex<()>,
}

/// Why a configuration was not changed.
#[derive(Debug, thiserror::Error)]
enum ChangeError {
    #[error("Can not update config in black list.")]
    Fixed,
    #[error("string2Properties error: {0}")]
    Text(properties::Error),
    #[error(transparent)]
    Values(#[from] BadValues),
    #[error(transparent)]
    File(#[from] properties::Error),
    #[error(transparent)]
    Persist(#[from] persist::Error),
    #[error("the name server is stopping")]
    Stopping(#[from] tokio::task::JoinError),
}

impl ChangeError {
    fn code(&self) -> ResponseCode {
        match self {
            Self::Fixed => ResponseCode::NO_PERMISSION,
            Self::Values(_) => ResponseCode::INVALID_PARAMETER,
            _ => ResponseCode::SYSTEM_ERROR,
        }
    }
}

impl ConfigAdmin {
    pub(crate) fn new(settings: Settings) -> Self {
        let listed = settings.now().namesrv.config_black_list.clone();
        Self {
            settings,
            listed: listed.split(';').map(|key| key.trim().to_owned()).collect(),
            changing: tokio::sync::Mutex::default(),
        }
    }

    /// Code 318. Keys that do not exist are ignored, as in Apache; a value that its key does not
    /// take is an error here. Answered when the change is on the disk.
    pub(crate) fn update(self: &Arc<Self>, body: &[u8], reply: Reply<'_>) {
        if body.is_empty() {
            return reply.ok();
        }
        let changes = match Properties::from_bytes(body).map_err(ChangeError::Text) {
            Ok(changes) => changes,
            Err(error) => return reply.fail(error.code(), error),
        };
        let (admin, reply) = (Arc::clone(self), reply.defer());
        let peer = reply.connection().peer();
        tokio::spawn(async move {
            match admin.change(&changes, peer).await {
                Ok(()) => reply.ok(),
                Err(error) => reply.fail(error.code(), error),
            }
        });
    }

    async fn change(&self, changes: &Properties, peer: SocketAddr) -> Result<(), ChangeError> {
        let _changing = self.changing.lock().await;
        if changes.iter().any(|(key, _)| self.is_fixed(key)) {
            return Err(ChangeError::Fixed);
        }
        let now = Config::clone(&self.settings.now());
        let update = now.updated(changes)?;
        for (key, value) in update.changed.iter() {
            let before = now.get(key).unwrap_or_default();
            tracing::info!(target: "aerobee::admin", %peer, key, before, now = value, "configuration changed");
        }
        if !update.changed.is_empty() {
            let file = PathBuf::from(&now.namesrv.config_store_path);
            let changed = update.changed;
            tokio::task::spawn_blocking(move || keep(&file, &changed)).await??;
        }
        if let Some(levels) = &update.config.server.log_level
            && now.server.log_level.as_ref() != Some(levels)
        {
            set_levels(levels);
        }
        self.settings.replace(update.config);
        Ok(())
    }

    fn is_fixed(&self, key: &str) -> bool {
        FIXED_KEYS.contains(&key) || self.listed.iter().any(|listed| listed == key)
    }

    /// Code 319: every key, sorted, without any escape: tools read them as they stand.
    pub(crate) fn get(&self, reply: Reply<'_>) {
        let mut text = String::new();
        for (key, value) in self.settings.now().to_properties().sorted().iter() {
            text.extend([key, "=", value, "\n"]);
        }
        reply.body(text.as_bytes());
    }
}

/// Writes changes into the file, which keeps its comments and its order.
fn keep(file: &Path, changed: &Properties) -> Result<(), ChangeError> {
    let text = match properties::read_file(file) {
        Ok(text) => text,
        Err(properties::Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            String::new()
        }
        Err(error) => return Err(error.into()),
    };
    persist::save(file, properties::edit(&text, changed)?.as_bytes())?;
    Ok(())
}
