// SPDX-License-Identifier: Apache-2.0
//! Keys of a name server, with Apache's names and defaults (`NamesrvConfig`, `NettyServerConfig`).
//! Those that size thread pools and buffers of Java are read back but do nothing here.

use std::{net::SocketAddr, sync::Arc};

use aerobee_daemon::{
    Config as Loaded, TlsKeys, config, config_parts,
    flags::{rocketmq_home, user_home},
    logging::Levels,
};
use arc_swap::{ArcSwap, Guard};

use crate::error::StartError;

config! {
    /// What a name server does.
    pub struct NamesrvKeys {
        /// Apache's installation directory; not needed here.
        "rocketmqHome" => rocketmq_home: Option<String> = rocketmq_home().map(|home| home.display().to_string()),
        /// File of the key-values.
        "kvConfigPath" important => kv_config_path: String = home_file("kvConfig.json"),
        /// File that changes of the configuration are written to.
        "configStorePath" important => config_store_path: String = home_file("namesrv.properties"),
        /// Environment that routes are looked up in with `clusterTest`; does nothing here.
        "productEnvName" => product_env_name: String = "center".to_owned(),
        /// Whether unknown topics are looked up in another environment; does nothing here.
        "clusterTest" => cluster_test: bool = false,
        /// Whether routes say which topics are ordered over brokers.
        "orderMessageEnable" important => order_message_enable: bool = false,
        /// Whether brokers learn which topics are ordered when they register.
        "returnOrderTopicConfigToBroker" => return_order_topic_config_to_broker: bool = true,
        /// Does nothing here.
        "clientRequestThreadPoolNums" => client_request_thread_pool_nums: i32 = 8,
        /// Does nothing here.
        "defaultThreadPoolNums" => default_thread_pool_nums: i32 = 16,
        /// Does nothing here.
        "clientRequestThreadPoolQueueCapacity" => client_request_thread_pool_queue_capacity: i32 = 50_000,
        /// Does nothing here.
        "defaultThreadPoolQueueCapacity" => default_thread_pool_queue_capacity: i32 = 10_000,
        /// How often silent brokers are looked for, ms.
        "scanNotActiveBrokerInterval" important => scan_not_active_broker_interval: i64 [100..=3_600_000] = 5_000,
        /// Does nothing here: a broker that leaves is gone when it is answered.
        "unRegisterBrokerQueueCapacity" => un_register_broker_queue_capacity: i32 = 3_000,
        /// Whether a slave is shown as master where the master is missing.
        "supportActingMaster" important => support_acting_master: bool = false,
        /// Whether all topics may be listed.
        "enableAllTopicList" => enable_all_topic_list: bool = true,
        /// Whether topics may be listed by cluster and unit.
        "enableTopicList" => enable_topic_list: bool = true,
        /// Whether brokers learn of a new smallest id of their name.
        "notifyMinBrokerIdChanged" => notify_min_broker_id_changed: bool = false,
        /// Whether a controller runs in the name server.
        "enableControllerInNamesrv" => enable_controller_in_namesrv: bool = false,
        /// Whether routes are refused until brokers had time to register.
        "needWaitForService" => need_wait_for_service: bool = false,
        /// For how long they are, s.
        "waitSecondsForService" => wait_seconds_for_service: i64 [0..=86_400] = 45,
        /// Whether topics that a broker no longer registers are removed.
        "deleteTopicWithBrokerRegistration" => delete_topic_with_broker_registration: bool = false,
        /// Keys that cannot be changed from afar, separated by ';'.
        "configBlackList" => config_black_list: String = "configBlackList;configStorePath;kvConfigPath".to_owned(),
    }
}

config! {
    /// Listening.
    pub struct ServerKeys {
        /// Address to listen on.
        "bindAddress" important => bind_address: String = "0.0.0.0".to_owned(),
        /// Port of the name server.
        "listenPort" important => listen_port: u16 = 9876,
        /// Where `/livez`, `/readyz` and `/metrics` are served, ADDRESS:PORT; empty for nowhere.
        /// Ours.
        "httpListenAddress" => http_listen_address: Option<SocketAddr> = None,
        /// What is logged, instead of what the flag says. Ours.
        "logLevel" => log_level: Option<Levels> = None,
        /// A connection without a byte for so long is closed, s.
        "serverChannelMaxIdleTimeSeconds" => server_channel_max_idle_time_seconds: i32 [1..=86_400] = 120,
        /// Does nothing here.
        "serverWorkerThreads" => server_worker_threads: i32 = 8,
        /// Does nothing here.
        "serverCallbackExecutorThreads" => server_callback_executor_threads: i32 = 0,
        /// Does nothing here.
        "serverSelectorThreads" => server_selector_threads: i32 = 3,
        /// Does nothing here.
        "serverOnewaySemaphoreValue" => server_oneway_semaphore_value: i32 = 256,
        /// Does nothing here.
        "serverAsyncSemaphoreValue" => server_async_semaphore_value: i32 = 64,
        /// Does nothing here: the system sizes its buffers.
        "serverSocketSndBufSize" => server_socket_snd_buf_size: i32 = 0,
        /// Does nothing here: the system sizes its buffers.
        "serverSocketRcvBufSize" => server_socket_rcv_buf_size: i32 = 0,
        /// Does nothing here.
        "writeBufferHighWaterMark" => write_buffer_high_water_mark: i32 = 0,
        /// Does nothing here.
        "writeBufferLowWaterMark" => write_buffer_low_water_mark: i32 = 0,
        /// Does nothing here.
        "serverSocketBacklog" => server_socket_backlog: i32 = 1024,
        /// Does nothing here.
        "serverNettyWorkerGroupEnable" => server_netty_worker_group_enable: bool = true,
        /// Does nothing here.
        "serverPooledByteBufAllocatorEnable" => server_pooled_byte_buf_allocator_enable: bool = true,
        /// Does nothing here.
        "enableShutdownGracefully" => enable_shutdown_gracefully: bool = false,
        /// Does nothing here.
        "shutdownWaitTimeSeconds" => shutdown_wait_time_seconds: i32 = 30,
        /// Does nothing here.
        "useEpollNativeSelector" => use_epoll_native_selector: bool = false,
    }
}

config_parts! {
    /// All keys of a name server.
    pub struct Keys {
        /// What it does.
        pub namesrv: NamesrvKeys,
        /// Listening.
        pub server: ServerKeys,
        /// TLS.
        pub tls: TlsKeys,
    }
}

/// The configuration of a name server, unknown keys included.
pub type Config = Loaded<Keys>;

impl ServerKeys {
    /// Where to listen.
    ///
    /// # Errors
    /// `bindAddress` is no IP address.
    pub fn bind(&self) -> Result<SocketAddr, StartError> {
        match self.bind_address.parse() {
            Ok(ip) => Ok(SocketAddr::new(ip, self.listen_port)),
            Err(_) => Err(StartError::BindAddress(self.bind_address.clone())),
        }
    }
}

fn home_file(name: &str) -> String {
    user_home().join("namesrv").join(name).display().to_string()
}

/// The configuration as it is now, shared; changed at run time by code 318.
#[derive(Debug, Clone)]
pub struct Settings(Arc<ArcSwap<Config>>);

impl Settings {
    /// Begins with `config`.
    pub fn new(config: Config) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(config)))
    }

    /// The configuration as it is now.
    pub fn now(&self) -> Guard<Arc<Config>> {
        self.0.load()
    }

    pub(crate) fn replace(&self, config: Config) {
        self.0.store(Arc::new(config));
    }
}

#[cfg(test)]
mod tests {
    use aerobee_daemon::Properties;

    use super::*;

    #[test]
    fn every_key_of_apache_is_read_back_with_its_default() {
        let properties = Config::default().to_properties();
        for (key, value) in [
            ("orderMessageEnable", "false"),
            ("scanNotActiveBrokerInterval", "5000"),
            ("unRegisterBrokerQueueCapacity", "3000"),
            ("waitSecondsForService", "45"),
            (
                "configBlackList",
                "configBlackList;configStorePath;kvConfigPath",
            ),
            ("listenPort", "9876"),
            ("serverWorkerThreads", "8"),
        ] {
            assert_eq!(properties.get(key), Some(value), "{key}");
        }
        assert!(
            properties
                .get("kvConfigPath")
                .unwrap()
                .ends_with("namesrv/kvConfig.json")
        );
    }

    #[test]
    fn a_file_of_apache_is_taken() {
        let mut config = Config::default();
        let file = Properties::parse("listenPort=9999\nsupportActingMaster=true\nmine=1").unwrap();
        let report = config.apply(&file);
        assert_eq!(report.unknown, ["mine"]);
        assert_eq!(config.server.bind().unwrap().port(), 9999);
        assert!(config.namesrv.support_acting_master);
    }
}
