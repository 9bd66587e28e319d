// SPDX-License-Identifier: Apache-2.0
//! UPDATE_BROKER_CONFIG (25), GET_BROKER_CONFIG (26), GET_BROKER_RUNTIME_INFO (28), SWITCH_TIMER_ENGINE (5001).

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use aerobee_auth::config::AuthKeys;
use aerobee_daemon::{
    Properties,
    config::{BadValues, Keys as _},
    flags::parse_addresses,
    logging::set_levels,
    persist, properties,
};
use aerobee_remoting::{
    Empty, ResponseCode,
    body::{DataVersion, kv::KvTable},
    call::Call,
    fastjson,
    header::{broker::SwitchTimerEngine, config::ConfigReply},
};
use aerobee_store::Store;
use parking_lot::Mutex;

use super::Refusal;
use crate::{
    clients::Clients,
    config::{Config, Switches, broken_promise, needs_restart, without_effect},
    groups::Groups,
    registration::Registration,
    runtime::Runtime,
    table::count_change,
};

/// Keys that cannot be changed from afar: they say where files are, or who may change what.
const FIXED_KEYS: [&str; 3] = ["brokerConfigPath", "rocketmqHome", "configBlackList"];

/// Shows and changes the configuration.
pub(crate) struct ConfigAdmin {
    pub(crate) store: Arc<Store>,
    pub(crate) switches: Arc<Switches>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) registration: Arc<Registration>,
    pub(crate) runtime: Arc<Runtime>,
    /// Where changes are kept: the file that the broker was started with, or the one it finds by
    /// itself.
    pub(crate) file: PathBuf,
    pub(crate) version: Mutex<DataVersion>,
    /// Held from reading the configuration until the changed one counts.
    pub(crate) changing: tokio::sync::Mutex<()>,
}

/// Why a configuration was not changed.
#[derive(Debug, thiserror::Error)]
enum ChangeError {
    #[error("Can not update config in black list.")]
    Fixed,
    /// The next start would be refused.
    #[error("{key}: {reason}")]
    Unsupported {
        key: &'static str,
        reason: &'static str,
    },
    #[error(transparent)]
    Text(#[from] properties::Error),
    #[error(transparent)]
    Values(#[from] BadValues),
    #[error("namesrvAddr: {0}")]
    Addresses(#[from] aerobee_daemon::flags::AddressError),
    #[error(transparent)]
    Persist(#[from] persist::Error),
    #[error("the broker is stopping")]
    Stopping(#[from] tokio::task::JoinError),
}

impl ConfigAdmin {
    /// Code 5001. Messages for any time are kept in the wheel of files and nowhere else: it can be
    /// switched to, as it runs. Apache: `AdminBrokerProcessor.switchTimerEngine`.
    pub(crate) fn switch_timer_engine(&self, call: Call<'_, SwitchTimerEngine<'_>>) {
        let Call { request, reply, .. } = call;
        let config = self.switches.config();
        let invalid = ResponseCode::INVALID_PARAMETER;
        if !config.store.timer_wheel_enable {
            return reply.fail(invalid, "broker timerWheelEnable is false");
        }
        match request.engine {
            Some("F") if config.store.timer_stop_enqueue => reply.fail(
                ResponseCode::SYSTEM_ERROR,
                "switch timer engine failed: the wheel takes no messages; set timerStopEnqueue=false",
            ),
            Some("F") => {
                let remark = "switch timer engine success";
                reply.respond(ResponseCode::SUCCESS, remark, &Empty, &[]);
            }
            Some("R") => reply.fail(
                invalid,
                "timerRocksDBEnable must be configured true when broker start; this broker has no RocksDB: the file time wheel is the only engine",
            ),
            _ => reply.fail(invalid, "param error: E_T is neither F nor R"),
        }
    }

    /// Code 25. Keys that do not exist are ignored, as in Java; a value that its key does not take
    /// is an error here.
    pub(crate) fn update(self: &Arc<Self>, call: Call<'_, Empty>) {
        let Call { body, reply, .. } = call;
        if body.is_empty() {
            return reply.ok();
        }
        let changes = match Properties::from_bytes(body) {
            Ok(changes) => changes,
            Err(error) => return reply.fail(ResponseCode::SYSTEM_ERROR, error),
        };
        let (admin, reply) = (Arc::clone(self), reply.defer());
        let peer = reply.connection().peer();
        tokio::spawn(async move {
            match admin.change(&changes, peer).await {
                Ok(remark) => reply.respond(ResponseCode::SUCCESS, &remark, &Empty, &[]),
                Err(error) => refusal(&error).answer(reply),
            }
        });
    }

    /// The file first: what was answered survives. Returns what there is to say of keys that change
    /// nothing; Apache's tools do not print it.
    async fn change(&self, changes: &Properties, peer: SocketAddr) -> Result<String, ChangeError> {
        let _changing = self.changing.lock().await;
        let now = Config::clone(&self.switches.config());
        if changes.iter().any(|(key, _)| is_fixed(&now, key)) {
            return Err(ChangeError::Fixed);
        }
        for (key, value) in changes.iter() {
            if let Some((key, reason)) = broken_promise(key, value) {
                return Err(ChangeError::Unsupported { key, reason });
            }
        }
        let update = now.updated(changes)?;
        let servers = addresses(&update.config)?;
        for (key, value) in update.changed.iter() {
            let before = now.get(key).unwrap_or_default();
            let counts = match without_effect(key) {
                Some(_) => "never: it has no effect here",
                None if needs_restart(key) => "from the next start on",
                None => "at once",
            };
            tracing::info!(target: "aerobee::admin", %peer, key, before, now = value, counts, "configuration changed");
        }
        if !update.changed.is_empty() {
            let (file, changed) = (self.file.clone(), update.changed);
            tokio::task::spawn_blocking(move || keep(&file, &changed)).await??;
            count_change(&mut self.version.lock());
        }
        if let Some(levels) = &update.config.metrics.log_level
            && now.metrics.log_level.as_ref() != Some(levels)
        {
            set_levels(levels);
        }
        let permission = update.config.broker.broker_permission;
        self.take_effect(&update.config);
        self.switches.replace(update.config);
        self.registration.set_servers(&servers);
        if changes.get("brokerPermission").is_some() {
            self.registration.set_permission(permission).await;
        }
        let vain = changes.iter().filter_map(|(key, _)| {
            let reason = without_effect(key)?;
            Some(format!("{key} is kept and has no effect here: {reason}"))
        });
        Ok(vain.collect::<Vec<_>>().join("; "))
    }

    /// Hands the parts what they keep of a configuration.
    pub(crate) fn take_effect(&self, config: &Config) {
        self.store
            .set_retention(config.retention.to_store(&config.store));
        let broker = &config.broker;
        self.groups.configure(
            broker.auto_create_subscription_group,
            broker.enable_create_sys_group,
        );
        self.clients.notices.configure(
            broker.notify_consumer_ids_changed_enable,
            broker.real_time_notify_consumer_change,
        );
    }

    /// Code 26: every key that is known, every other of Apache's with the default that it has there,
    /// and what else the file has, without any escape: tools read them as they stand.
    pub(crate) fn get(&self, call: Call<'_, Empty>) {
        let mut text = String::new();
        for (key, value) in self.switches.config().to_properties().sorted().iter() {
            text.extend([key, "=", value, "\n"]);
        }
        let version = fastjson::to_string(&*self.version.lock());
        let header = ConfigReply {
            version: Some(&version),
        };
        call.reply
            .respond(ResponseCode::SUCCESS, "", &header, &[text.as_bytes()]);
    }

    /// Code 28.
    pub(crate) fn runtime_info(&self, call: Call<'_, Empty>) {
        let (runtime, switches) = (Arc::clone(&self.runtime), Arc::clone(&self.switches));
        let reply = call.reply.defer();
        // It looks at the disk.
        tokio::task::spawn_blocking(move || {
            let table = runtime.table(&switches.config());
            reply.body(&fastjson::to_vec(&KvTable { table }));
        });
    }
}

/// The name servers that a configuration names.
///
/// # Errors
/// One of them is no address.
pub(crate) fn addresses(
    config: &Config,
) -> Result<Vec<String>, aerobee_daemon::flags::AddressError> {
    let list = config.broker.namesrv_addr.as_deref().unwrap_or_default();
    if list.trim().is_empty() {
        return Ok(Vec::new());
    }
    Ok(parse_addresses(list)?
        .iter()
        .map(ToString::to_string)
        .collect())
}

fn is_fixed(config: &Config, key: &str) -> bool {
    let listed = &config.broker.config_black_list;
    let says_who_may = || AuthKeys::keys().iter().any(|known| known.name == key);
    FIXED_KEYS.contains(&key)
        || says_who_may()
        || listed.split(';').any(|fixed| fixed.trim() == key)
}

/// Writes changes into the file, which keeps its comments and its order.
fn keep(file: &std::path::Path, changed: &Properties) -> Result<(), ChangeError> {
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

fn refusal(error: &ChangeError) -> Refusal {
    let code = match error {
        ChangeError::Fixed => ResponseCode::NO_PERMISSION,
        ChangeError::Unsupported { .. } | ChangeError::Values(_) | ChangeError::Addresses(_) => {
            ResponseCode::INVALID_PARAMETER
        }
        ChangeError::Text(_) | ChangeError::Persist(_) | ChangeError::Stopping(_) => {
            ResponseCode::SYSTEM_ERROR
        }
    };
    Refusal::new(code, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_kept_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("broker.conf");
        std::fs::write(&file, "# mine\nbrokerName = a\n").unwrap();
        let changed = Properties::parse("brokerName=b\nlongPollingEnable=false").unwrap();
        keep(&file, &changed).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, "# mine\nbrokerName=b\nlongPollingEnable=false\n");
        let fresh = dir.path().join("fresh.properties");
        keep(&fresh, &changed).unwrap();
        assert_eq!(
            Properties::load(&fresh).unwrap().get("brokerName"),
            Some("b")
        );
    }

    #[test]
    fn some_keys_are_fixed() {
        let mut config = Config::default();
        assert!(is_fixed(&config, "rocketmqHome"));
        assert!(!is_fixed(&config, "brokerName"));
        config.apply(&Properties::parse("configBlackList=brokerName; listenPort").unwrap());
        assert!(is_fixed(&config, "brokerName"));
        assert!(is_fixed(&config, "listenPort"));
    }

    #[test]
    fn name_servers_are_listed_with_semicolons() {
        let mut config = Config::default();
        assert!(addresses(&config).unwrap().is_empty());
        config.apply(&Properties::parse("namesrvAddr=127.0.0.1:9876;10.0.0.1:9877").unwrap());
        assert_eq!(
            addresses(&config).unwrap(),
            ["127.0.0.1:9876", "10.0.0.1:9877"]
        );
    }
}
