// SPDX-License-Identifier: Apache-2.0
//! The keys of Apache's `rmq-proxy.json` (Apache: `proxy/config/ProxyConfig.java`), and of the TLS
//! system properties, which may stand in the same file.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use aerobee_auth::{config::AuthKeys, sign::Credentials};
use aerobee_daemon::{TlsKeys, config::Keys as _, flags::rocketmq_home};
use serde::Deserialize;

use crate::error::StartError;

/// Whether the proxy stands in front of a cluster or in a broker's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Brokers are found through name servers.
    Cluster,
    /// The broker is in this process.
    Local,
}

/// What a connection may speak. Key: `tls.server.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Only plain text.
    Disabled,
    /// Whatever the client begins with.
    Permissive,
    /// Only TLS.
    Enforcing,
}

/// Keys of the proxy; names, units and defaults are Apache's unless said otherwise.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Config {
    /// `CLUSTER` or `LOCAL`, in any case.
    pub proxy_mode: String,
    /// Cluster whose brokers are served.
    #[serde(rename = "rocketMQClusterName")]
    pub rocketmq_cluster_name: String,
    /// Name of this proxy; empty is the host name.
    pub proxy_name: String,
    /// Name servers, `host:port;…`.
    pub namesrv_addr: String,
    /// Address to listen on. Ours; Apache listens on all.
    pub bind_address: String,
    /// Port for gRPC, with TLS or without, and for remoting.
    pub grpc_server_port: u16,
    /// A second port that speaks the same; 0 is none.
    pub remoting_listen_port: u16,
    /// Host that remoting clients are told to use; empty is the address they came to.
    pub remoting_access_addr: String,
    /// File of the broker in local mode.
    pub broker_config_path: String,
    /// Largest request in bytes.
    pub grpc_max_inbound_message_size: usize,
    /// A connection without an open call for so long is told to go, ms.
    pub grpc_client_idle_time_mills: u64,
    /// Calls at once on one connection.
    pub grpc_max_concurrent_calls_per_connection: u32,
    /// Longest wait for calls under way when the proxy stops, s.
    pub grpc_shutdown_time_seconds: u64,
    /// Whether routes repeat host and port that the client asked for (ours: on), or carry our port.
    pub use_endpoint_port_from_request: bool,
    /// Largest body in bytes; 0 and below is none.
    pub max_message_size: i64,
    /// Bytes of all properties of a message.
    pub max_user_property_size: i64,
    /// Number of user properties of a message.
    pub user_property_max_num: i64,
    /// Bytes of a message group.
    pub max_message_group_size: i64,
    /// Bytes of a lite topic's name.
    pub max_lite_topic_size: i64,
    /// Partial subscriptions to lite topics in a second; 0 and below is no limit.
    pub max_sync_lite_subscription_rate: i32,
    /// Messages of lite topics that are renewed here for a client of a group; one with more receives none.
    pub max_lite_renew_num_per_channel: i32,
    /// Invisible time of messages that are renewed here, ms.
    pub default_invisible_time_mills: i64,
    /// Bounds of the invisible time, ms.
    pub min_invisible_time_mills_for_recv: i64,
    /// Bounds of the invisible time, ms.
    pub max_invisible_time_mills: i64,
    /// Farthest delivery time, ms.
    pub max_delay_time_mills: i64,
    /// Longest wait before a transaction is asked about, s.
    pub max_transaction_recovery_second: i64,
    /// Whether a message must be of its topic's type.
    pub enable_topic_message_type_check: bool,
    /// Whether a body must not be empty.
    pub enable_message_body_empty_check: bool,
    /// Attempts of producers.
    pub grpc_client_producer_max_attempts: i32,
    /// First wait of producers, ms.
    pub grpc_client_producer_backoff_initial_millis: i64,
    /// Longest wait of producers, ms.
    pub grpc_client_producer_backoff_max_millis: i64,
    /// Factor of producers' waits.
    pub grpc_client_producer_backoff_multiplier: i32,
    /// Longest poll, ms.
    pub grpc_client_consumer_max_long_polling_timeout_millis: i64,
    /// Most messages of one poll.
    pub grpc_client_consumer_long_polling_batch_size: i32,
    /// How long an answer of a client is waited for, s.
    pub grpc_proxy_relay_request_timeout_in_seconds: u64,
    /// A client without a sign for so long is gone, ms.
    pub channel_expired_timeout: u64,
    /// Connections to each broker for polls.
    #[serde(rename = "rocketmqMQClientNum")]
    pub rocketmq_mq_client_num: usize,
    /// Routes are refreshed after so long, s.
    pub topic_route_service_cache_refresh_seconds: u64,
    /// Routes that were not refreshed for so long are not used, s.
    pub topic_route_service_cache_expired_seconds: u64,
    /// Most routes kept.
    pub topic_route_service_cache_max_num: usize,
    /// How often producers and consumers are announced to brokers, s.
    pub transaction_heartbeat_period_second: u64,
    /// Whether messages are renewed for clients that ask for it.
    pub enable_proxy_auto_renew: bool,
    /// Renewed when so little is left, ms.
    pub renew_ahead_time_millis: i64,
    /// Given up after so long, ms.
    pub renew_max_time_millis: i64,
    /// How often is looked, ms.
    pub renew_schedule_period_millis: u64,
    /// Given up after so many failures in a row.
    pub max_renew_retry_times: u32,
    /// Invisible time that is left to what a client leaves behind, ms.
    pub invisible_time_millis_when_clear: i64,
    /// Whether a self-signed certificate is made when none is configured.
    pub tls_test_mode_enable: bool,
    /// Key in PEM.
    pub tls_key_path: String,
    /// Password of the key, if it is encrypted (PKCS #8).
    pub tls_key_password: String,
    /// Certificate chain in PEM.
    pub tls_cert_path: String,
    /// How often both are looked at, ms.
    pub tls_cert_watch_interval_ms: u64,
    /// Where a certificate that we made is kept; empty is `conf/tls` of `ROCKETMQ_HOME`, or
    /// `rocketmqconf/tls` of the user's home. Ours.
    pub tls_directory: PathBuf,
    /// `disabled`, `permissive` or `enforcing`.
    #[serde(rename = "tls.server.mode")]
    pub tls_server_mode: String,
    /// Cipher suites that may be used, by Java's names, with commas; empty is all that are safe.
    #[serde(rename = "tls.ciphers")]
    pub tls_ciphers: String,
    /// Versions that may be used, of `TLSv1.2` and `TLSv1.3`, with commas; empty is both.
    #[serde(rename = "tls.protocols")]
    pub tls_protocols: String,
    /// TLS of connections to brokers and name servers; not of this file.
    #[serde(skip)]
    pub upstream: TlsKeys,
    /// Whether the PROXY protocol is understood in front of a connection.
    pub enable_proxy_protocol: bool,
    /// Where `/livez`, `/readyz` and `/metrics` are served, `ADDRESS:PORT`. Ours.
    pub http_listen_address: Option<SocketAddr>,
    /// `PROM` serves the metrics on `metricsPromExporterPort`; of Apache's others there is none here.
    pub metrics_exporter_type: String,
    /// Port of the metrics with `PROM`.
    pub metrics_prom_exporter_port: u16,
    /// Address of the metrics with `PROM`; empty is all interfaces.
    pub metrics_prom_exporter_host: String,
    /// Whether requests to brokers are signed with the keys of `conf/tools.yml` below `ROCKETMQ_HOME` where
    /// `innerClientAuthenticationCredentials` is not given; with that they always are.
    pub enable_acl_rpc_hook_for_cluster_mode: bool,
    /// A user is asked for again after so long, s.
    pub user_cache_refresh_seconds: u64,
    /// A user is believed for so long while no broker answers, s.
    pub user_cache_expired_seconds: u64,
    /// Most users kept.
    pub user_cache_max_num: usize,
    /// Users and access lists: keys of Apache's `AuthConfig`, which stand in the same file.
    #[serde(skip)]
    pub auth: AuthKeys,
    /// What we do not read.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, serde_json::Value>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            proxy_mode: "CLUSTER".to_owned(),
            rocketmq_cluster_name: "DefaultCluster".to_owned(),
            proxy_name: String::new(),
            namesrv_addr: String::new(),
            bind_address: "0.0.0.0".to_owned(),
            grpc_server_port: 8081,
            remoting_listen_port: 8080,
            remoting_access_addr: String::new(),
            broker_config_path: String::new(),
            grpc_max_inbound_message_size: 130 << 20,
            grpc_client_idle_time_mills: 120_000,
            grpc_max_concurrent_calls_per_connection: i32::MAX.cast_unsigned(),
            grpc_shutdown_time_seconds: 30,
            use_endpoint_port_from_request: true,
            max_message_size: 4 << 20,
            max_user_property_size: 16 << 10,
            user_property_max_num: 128,
            max_message_group_size: 64,
            max_lite_topic_size: 64,
            max_sync_lite_subscription_rate: 5000,
            max_lite_renew_num_per_channel: 100,
            default_invisible_time_mills: 60_000,
            min_invisible_time_mills_for_recv: 10_000,
            max_invisible_time_mills: 12 * 3_600_000,
            max_delay_time_mills: 24 * 3_600_000,
            max_transaction_recovery_second: 3600,
            enable_topic_message_type_check: true,
            enable_message_body_empty_check: true,
            grpc_client_producer_max_attempts: 3,
            grpc_client_producer_backoff_initial_millis: 10,
            grpc_client_producer_backoff_max_millis: 1000,
            grpc_client_producer_backoff_multiplier: 2,
            grpc_client_consumer_max_long_polling_timeout_millis: 20_000,
            grpc_client_consumer_long_polling_batch_size: 32,
            grpc_proxy_relay_request_timeout_in_seconds: 5,
            channel_expired_timeout: 120_000,
            rocketmq_mq_client_num: 6,
            topic_route_service_cache_refresh_seconds: 20,
            topic_route_service_cache_expired_seconds: 300,
            topic_route_service_cache_max_num: 20_000,
            transaction_heartbeat_period_second: 20,
            enable_proxy_auto_renew: true,
            renew_ahead_time_millis: 10_000,
            renew_max_time_millis: 3 * 3_600_000,
            renew_schedule_period_millis: 1000,
            max_renew_retry_times: 3,
            invisible_time_millis_when_clear: 1000,
            http_listen_address: None,
            metrics_exporter_type: "DISABLE".to_owned(),
            metrics_prom_exporter_port: 5557,
            metrics_prom_exporter_host: String::new(),
            tls_test_mode_enable: true,
            tls_key_path: String::new(),
            tls_key_password: String::new(),
            tls_cert_path: String::new(),
            tls_cert_watch_interval_ms: 3_600_000,
            tls_directory: PathBuf::new(),
            tls_server_mode: "permissive".to_owned(),
            tls_ciphers: String::new(),
            tls_protocols: String::new(),
            upstream: TlsKeys::default(),
            enable_proxy_protocol: true,
            enable_acl_rpc_hook_for_cluster_mode: false,
            user_cache_refresh_seconds: 20,
            user_cache_expired_seconds: 300,
            user_cache_max_num: 20_000,
            auth: AuthKeys::default(),
            unknown: BTreeMap::new(),
        }
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or is not JSON with values of the right kinds.
    pub fn load(path: &Path) -> Result<Self, StartError> {
        let text = fs::read(path).map_err(|source| StartError::ConfigFile {
            path: path.to_owned(),
            source,
        })?;
        let mut config: Self =
            serde_json::from_slice(&text).map_err(|source| StartError::ConfigText {
                path: path.to_owned(),
                source,
            })?;
        config.take_auth(path)?;
        if !config.unknown.is_empty() {
            let keys: Vec<_> = config.unknown.keys().map(String::as_str).collect();
            tracing::warn!(keys = keys.join(", "), file = %path.display(), "keys that the proxy does not read");
        }
        Ok(config)
    }

    /// Takes the keys of `AuthConfig` out of those that are not read yet.
    fn take_auth(&mut self, path: &Path) -> Result<(), StartError> {
        for key in AuthKeys::keys() {
            let text = match self.unknown.remove(key.name) {
                None | Some(serde_json::Value::Null) => continue,
                Some(serde_json::Value::String(text)) => text,
                Some(other) => other.to_string(),
            };
            let path = path.to_owned();
            self.auth
                .put(key.name, &text)
                .map_err(|bad| StartError::Value { path, bad })?;
        }
        Ok(())
    }

    /// What requests to brokers are signed with, if they are.
    ///
    /// # Errors
    /// They have to be, and there is nothing to sign with, or it cannot be read.
    pub(crate) fn credentials(&self) -> Result<Option<Credentials>, StartError> {
        if let Some((credentials, _)) = self.auth.credentials()? {
            return Ok(Some(credentials));
        }
        if !self.enable_acl_rpc_hook_for_cluster_mode {
            return Ok(None);
        }
        let home = rocketmq_home().ok_or(StartError::NoCredentials)?;
        let path = home.join("conf/tools.yml");
        let text = fs::read_to_string(&path).map_err(|_| StartError::NoCredentials)?;
        let credentials = Credentials::from_yaml(&text, &path);
        let why = |error: aerobee_auth::sign::CredentialsError| error.to_string();
        let failed = |error| StartError::CredentialsFile {
            path: path.clone(),
            why: why(error),
        };
        credentials.map(Some).map_err(failed)
    }

    /// The mode.
    ///
    /// # Errors
    /// It is neither `CLUSTER` nor `LOCAL`.
    pub fn mode(&self) -> Result<Mode, StartError> {
        match self.proxy_mode.to_ascii_uppercase().as_str() {
            "CLUSTER" => Ok(Mode::Cluster),
            "LOCAL" => Ok(Mode::Local),
            _ => Err(StartError::Mode(self.proxy_mode.clone())),
        }
    }

    /// What connections may speak.
    ///
    /// # Errors
    /// The word is unknown.
    pub fn tls_mode(&self) -> Result<TlsMode, StartError> {
        match self.tls_server_mode.to_ascii_lowercase().as_str() {
            "disabled" => Ok(TlsMode::Disabled),
            "permissive" => Ok(TlsMode::Permissive),
            "enforcing" => Ok(TlsMode::Enforcing),
            _ => Err(StartError::TlsMode(self.tls_server_mode.clone())),
        }
    }

    /// Where HTTP is to be served: with health, and with metrics alone as Apache's exporter does.
    ///
    /// # Errors
    /// An address is none.
    pub fn http_addresses(&self) -> Result<(Option<SocketAddr>, Option<SocketAddr>), StartError> {
        let exporter = match self.metrics_exporter_type.to_ascii_uppercase().as_str() {
            "PROM" => {
                let host = match self.metrics_prom_exporter_host.trim() {
                    "" => "0.0.0.0",
                    host => host,
                };
                let ip: IpAddr = host
                    .parse()
                    .map_err(|_| StartError::ExporterHost(host.to_owned()))?;
                Some(SocketAddr::new(ip, self.metrics_prom_exporter_port))
            }
            "DISABLE" => None,
            other => {
                tracing::warn!(
                    metricsExporterType = other,
                    "metrics are scraped here, not pushed or logged; set metricsExporterType to PROM, or set httpListenAddress and scrape /metrics"
                );
                None
            }
        };
        Ok((self.http_listen_address, exporter))
    }

    /// Its name, else that of the machine.
    pub(crate) fn node_name(&self) -> String {
        if !self.proxy_name.is_empty() {
            return self.proxy_name.clone();
        }
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        host.trim().to_owned()
    }

    pub(crate) fn relay_timeout(&self) -> Duration {
        Duration::from_secs(self.grpc_proxy_relay_request_timeout_in_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::absent::WITHOUT_EFFECT;

    #[test]
    fn apaches_file_is_read_and_unknown_keys_are_kept() {
        let text = r#"{"rocketMQClusterName":"C","grpcServerPort":18081,"tls.server.mode":"ENFORCING","nobodyKnows":1}"#;
        let config: Config = serde_json::from_str(text).unwrap();
        assert_eq!(config.rocketmq_cluster_name, "C");
        assert_eq!(config.grpc_server_port, 18081);
        assert_eq!(config.tls_mode().unwrap(), TlsMode::Enforcing);
        assert_eq!(config.unknown.len(), 1);
        assert_eq!(config.mode().unwrap(), Mode::Cluster);
    }

    #[test]
    fn keys_of_users_stand_in_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rmq-proxy.json");
        let text = r#"{"authenticationEnabled":true,"authorizationEnabled":"true","authenticationWhitelist":"10",
            "innerClientAuthenticationCredentials":"{\"accessKey\":\"in\",\"secretKey\":\"hidden\"}"}"#;
        fs::write(&file, text).unwrap();
        let config = Config::load(&file).unwrap();
        assert!(config.unknown.is_empty());
        let settings = config.auth.settings().unwrap();
        assert!(settings.authentication && settings.authorization);
        assert!(settings.unsigned.has_code(10));
        assert_eq!(config.credentials().unwrap().unwrap().access_key(), "in");
        assert!(!format!("{config:?}").contains("hidden"));
        fs::write(
            &file,
            r#"{"statefulAuthenticationCacheExpiredSecond":"soon"}"#,
        )
        .unwrap();
        let refused = Config::load(&file).unwrap_err();
        assert!(matches!(refused, StartError::Value { .. }), "{refused}");
    }

    #[test]
    fn keys_without_effect_are_none_that_are_read() {
        for key in WITHOUT_EFFECT.iter().flat_map(|(_, keys)| *keys) {
            // Those that are read refuse a value of the wrong kind.
            let text = format!(r#"{{"{key}":[[]]}}"#);
            let config: Config = serde_json::from_str(&text).unwrap();
            assert_eq!(config.unknown.len(), 1, "{key}");
        }
    }

    #[test]
    fn unknown_words_are_refused() {
        let config = Config {
            proxy_mode: "both".to_owned(),
            tls_server_mode: "maybe".to_owned(),
            ..Config::default()
        };
        assert!(matches!(config.mode(), Err(StartError::Mode(_))));
        assert!(matches!(config.tls_mode(), Err(StartError::TlsMode(_))));
    }
}
