// SPDX-License-Identifier: Apache-2.0
//! Keys of `broker.conf`, with Apache's names and defaults (`BrokerConfig`, `MessageStoreConfig`,
//! `NettyServerConfig`). Keys of Apache that have no effect here are shown with Apache's defaults,
//! kept and read back, and named with the reason once at start if they are given (`absent`).

mod absent;
mod effect;
mod files;
mod identity;
mod metrics;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use aerobee_auth::config::AuthKeys;
use aerobee_daemon::{
    Config as Loaded, TlsKeys, config, config_enum, config_parts, flags::user_home,
    java_options::given,
};
use aerobee_store::{FlushMode, LogDirs, TransferLimits};
use arc_swap::{ArcSwap, Guard};

pub(crate) use self::absent::broken_promise;
use self::identity::parse_ip;
pub use self::{
    absent::{WITHOUT_EFFECT, without_effect},
    effect::{RESTART_KEYS, needs_restart},
    files::{IndexKeys, RetentionKeys},
    identity::Identity,
    metrics::{Exporter, MetricsKeys},
};
use crate::{
    error::StartError,
    pop::keys::PopKeys,
    schedule::levels::DelayLevels,
    topics::{PERM_READ, PERM_WRITE},
};

/// What a record may have beside its body. Apache: `MessageExtEncoder`.
const RECORD_EXTRA_BYTES: usize = 64 << 10;
/// Bytes of an entry of a consume queue; Apache rounds the size of a file up to whole entries.
const QUEUE_ENTRY_BYTES: u64 = 20;
const BATCH_QUEUE_ENTRY_BYTES: u64 = 46;

/// Apache's delays of the levels.
const DELAY_LEVELS: &str = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h";

config_enum! {
    /// Role of a broker. Only masters without a slave to wait for exist yet.
    pub enum BrokerRole {
        /// Answers without waiting for slaves.
        AsyncMaster = "ASYNC_MASTER",
        /// Waits for slaves, if `inSyncReplicas` asks for more than one replica.
        SyncMaster = "SYNC_MASTER",
        /// Copies a master.
        Slave = "SLAVE",
    }
}

config_enum! {
    /// When a message is acknowledged.
    pub enum FlushDiskType {
        /// When it is in the operating system's memory.
        AsyncFlush = "ASYNC_FLUSH",
        /// When it is on the disk.
        SyncFlush = "SYNC_FLUSH",
    }
}

config! {
    /// Who the broker is and what it allows.
    pub struct BrokerKeys {
        /// Name servers, separated by ';'.
        "namesrvAddr" important => namesrv_addr: Option<String> = None,
        /// Name of the broker; a master and its slaves share it.
        "brokerName" important => broker_name: String = default_broker_name(),
        /// Cluster that the broker belongs to.
        "brokerClusterName" important => broker_cluster_name: String = "DefaultCluster".to_owned(),
        /// 0 is the master.
        "brokerId" important => broker_id: i64 [0..=i64::MAX] = 0,
        /// Address at which clients reach the broker.
        "brokerIP1" important => broker_ip1: String = local_address().to_string(),
        /// Address at which slaves reach the broker.
        "brokerIP2" => broker_ip2: String = local_address().to_string(),
        /// The file that the broker was started with; changes made by tools are kept in it, else in
        /// `config/broker.properties` of the store.
        "brokerConfigPath" => broker_config_path: Option<String> = None,
        /// Permission of all topics together: 4 read, 2 write.
        "brokerPermission" => broker_permission: i32 [0..=7] = 6,
        /// Queues of topics that are created on their own.
        "defaultTopicQueueNums" => default_topic_queue_nums: i32 [1..=65_536] = 8,
        /// Whether a first message creates its topic.
        "autoCreateTopicEnable" important => auto_create_topic_enable: bool = true,
        /// Whether the cluster's name is a topic to create others after.
        "clusterTopicEnable" => cluster_topic_enable: bool = true,
        /// Whether the broker's name is a topic to create others after.
        "brokerTopicEnable" => broker_topic_enable: bool = true,
        /// Time between looks for clients of lite topics that do not poll, ms.
        "liteEventCheckInterval" => lite_event_check_interval: i64 [10..=i64::MAX] = 10_000,
        /// When all lite topics of a client whose line of events was full are looked at, ms.
        "liteEventFullDispatchDelayTime" => lite_event_full_dispatch_delay_time: i64 [0..=i64::MAX] = 10_000,
        /// Time between looks for lite topics to delete, ms.
        "liteTtlCheckInterval" => lite_ttl_check_interval: i64 [10..=i64::MAX] = 120_000,
        /// Lite topics live at least so long, ms.
        "minLiteTTl" => min_lite_ttl: i64 [0..=i64::MAX] = 900_000,
        /// Time between looks for clients that have not renewed their lite subscriptions, ms.
        "liteSubscriptionCheckInterval" => lite_subscription_check_interval: i64 [10..=i64::MAX] = 120_000,
        /// How long lite subscriptions live without being renewed, ms.
        "liteSubscriptionCheckTimeoutMills" => lite_subscription_check_timeout_mills: i64 [10..=i64::MAX] = 180_000,
        /// Most subscriptions of a client to a lite topic each.
        "maxLiteSubscriptionCount" => max_lite_subscription_count: i64 [0..=10_000_000] = 100_000,
        /// Most lite topics with news that wait for one client.
        "maxClientEventCount" => max_client_event_count: i32 [1..=1_000_000] = 100,
        /// Whether the number of light queues is bounded.
        "enableLmqQuota" => enable_lmq_quota: bool = false,
        /// Most light queues, if they are bounded.
        "maxLmqConsumeQueueNum" => max_lmq_consume_queue_num: i32 [0..=i32::MAX] = 20_000,
        /// Whether consumers may filter by properties, with SQL92 expressions (Apache: off).
        "enablePropertyFilter" => enable_property_filter: bool = true,
        /// Whether expressions of a subscription to a retry topic are those of the topics that the messages came from.
        "filterSupportRetry" => filter_support_retry: bool = false,
        /// Whether consumers that pull by themselves are refused.
        "rejectPullConsumerEnable" => reject_pull_consumer_enable: bool = false,
        /// Whether pulls of the lite pull consumer are served.
        "litePullMessageEnable" => lite_pull_message_enable: bool = true,
        /// Whether groups that are far behind are disabled, so that they do not read from the disk all the time.
        "disableConsumeIfConsumerReadSlowly" => disable_consume_if_consumer_read_slowly: bool = false,
        /// How far is far, bytes of the log.
        "consumerFallbehindThreshold" => consumer_fallbehind_threshold: i64 [0..=i64::MAX] = 16 << 30,
        /// Whether producers are known by their heartbeats; counts only together with `rejectTransactionMessage`, as
        /// else they could not be asked about transactions.
        "enableRegisterProducer" => enable_register_producer: bool = true,
        /// Whether topics of the system are protected from tools.
        "validateSystemTopicWhenUpdateTopic" => validate_system_topic_when_update_topic: bool = true,
        /// Whether the retry topics of popped messages are deleted with their topic.
        "clearRetryTopicWhenDeleteTopic" => clear_retry_topic_when_delete_topic: bool = true,
        /// Keys that cannot be changed from afar, separated by ';'.
        "configBlackList" => config_black_list: String = "configBlackList;brokerConfigPath".to_owned(),
        /// Whether consumers create their group by using it.
        "autoCreateSubscriptionGroup" important => auto_create_subscription_group: bool = true,
        /// Whether consumers of the system create their group by using it.
        "enableCreateSysGroup" => enable_create_sys_group: bool = true,
        /// Whether the topic of system traces exists.
        "traceTopicEnable" => trace_topic_enable: bool = false,
        /// Name of the topic of system traces.
        "msgTraceTopicName" => msg_trace_topic_name: String = "RMQ_SYS_TRACE_TOPIC".to_owned(),
        /// Whether clients are told to trace.
        "traceOn" => trace_on: bool = true,
        /// Region that messages are marked with.
        "regionId" => region_id: String = "DefaultRegion".to_owned(),
        /// Whether pulls are held as long as the client asks for.
        "longPollingEnable" => long_polling_enable: bool = true,
        /// How long pulls are held without long polling, ms.
        "shortPollingTimeMills" => short_polling_time_mills: i64 [0..=29_000] = 1_000,
        /// Whether members are told that their group has changed.
        "notifyConsumerIdsChangedEnable" => notify_consumer_ids_changed_enable: bool = true,
        /// Whether they are told at once.
        "realTimeNotifyConsumerChange" => real_time_notify_consumer_change: bool = true,
        /// How often committed offsets are written, ms.
        "flushConsumerOffsetInterval" => flush_consumer_offset_interval: i64 [100..=600_000] = 5_000,
        /// How often the broker registers with name servers, ms; at least 10 s, at most 60 s.
        "registerNameServerPeriod" => register_name_server_period: i64 [1_000..=600_000] = 30_000,
        /// Longest time for a registration, ms.
        "registerBrokerTimeoutMills" => register_broker_timeout_mills: i64 [100..=600_000] = 24_000,
        /// Sends are refused before this time, ms since 1970; 0 for never.
        "startAcceptSendRequestTimeStamp" => start_accept_send_request_time_stamp: i64 = 0,
        /// Whether answers to requests are stored as well as pushed to the client that waits.
        "storeReplyMessageEnable" => store_reply_message_enable: bool = true,
        /// Whether the broker moves groups to other offsets itself; else it tells the consumers.
        "useServerSideResetOffset" => use_server_side_reset_offset: bool = true,
        /// Whether it is known how far broadcasting clients have pulled.
        "enableBroadcastOffsetStore" => enable_broadcast_offset_store: bool = true,
        /// How long that is kept of a client that is gone, s.
        "broadcastOffsetExpireSecond" => broadcast_offset_expire_second: i64 [1..=86_400] = 120,
        /// How long that is kept of a client that is connected but does not pull, s.
        "broadcastOffsetExpireMaxSecond" => broadcast_offset_expire_max_second: i64 [1..=86_400] = 300,
        /// Whether a topic may be for messages of every kind (`message.type=MIXED`).
        "enableMixedMessageType" => enable_mixed_message_type: bool = false,
        /// Whether transactional messages are refused.
        "rejectTransactionMessage" => reject_transaction_message: bool = false,
        /// How old a transaction is before its producer is asked about it, ms.
        "transactionTimeOut" => transaction_time_out: i64 [0..=86_400_000] = 6_000,
        /// How often producers are asked about one transaction before it is given up.
        "transactionCheckMax" => transaction_check_max: i32 [1..=1_000_000] = 15,
        /// How often open transactions are looked at, ms.
        "transactionCheckInterval" => transaction_check_interval: i64 [50..=86_400_000] = 30_000,
        /// Whether a timer message may be recalled before it is due (Apache: off).
        "recallMessageEnable" => recall_message_enable: bool = true,
        /// Whether messages may be recalled while `brokerPermission` forbids writing.
        "allowRecallWhenBrokerNotWriteable" => allow_recall_when_broker_not_writeable: bool = true,
        /// Whether the mark that recalls a timer message names its topic too, as versions before
        /// 5.4 have it.
        "appendTopicForTimerDeleteKey" => append_topic_for_timer_delete_key: bool = false,
        /// Queues of the topic of the pop machinery.
        "reviveQueueNum" => revive_queue_num: i32 [1..=1024] = 8,
    }
}

config! {
    /// The store.
    pub struct StoreKeys {
        /// Directory of everything that is kept.
        "storePathRootDir" important => store_path_root_dir: String = user_home().join("store").display().to_string(),
        /// Directory of the commit log, else `commitlog` below the root; or several with commas between them, which get
        /// new files in turn.
        "storePathCommitLog" important => store_path_commit_log: Option<String> = None,
        /// Directories whose files of the commit log are read, with commas between them; they get no new ones.
        "readOnlyCommitLogStorePaths" => read_only_commit_log_store_paths: Option<String> = None,
        /// What stands between the paths of both, if no comma. Apache has only the system property
        /// `rocketmq.broker.multiPathSplitter` for it, which is read from `JAVA_OPT`.
        "multiPathSplitter" => multi_path_splitter: String = given("rocketmq.broker.multiPathSplitter", ","),
        /// Whether messages may be put in light queues, and those are topics.
        "enableLmq" => enable_lmq: bool = false,
        /// Whether messages get entries in the light queues that they name; both must be on.
        "enableMultiDispatch" => enable_multi_dispatch: bool = false,
        /// Size of a file of the commit log, bytes.
        "mappedFileSizeCommitLog" => mapped_file_size_commit_log: i64 [4_096..=2_147_479_552] = 1 << 30,
        /// Size of a file of a consume queue, bytes; rounded up to whole entries of 20.
        "mappedFileSizeConsumeQueue" => mapped_file_size_consume_queue: i64 [20..=2_147_479_552] = 6_000_000,
        /// Size of a file of a queue of batches (topics with `queue.type=BatchCQ`), bytes; rounded up to whole entries of 46.
        "mapperFileSizeBatchConsumeQueue" => mapper_file_size_batch_consume_queue: i64 [46..=2_116_000_000] = 13_800_000,
        /// When a message is acknowledged.
        "flushDiskType" important => flush_disk_type: FlushDiskType = FlushDiskType::AsyncFlush,
        /// Longest time that written bytes wait for a flush under asynchronous flush, ms.
        "flushIntervalCommitLog" => flush_interval_commit_log: i64 [1..=60_000] = 500,
        /// How often consume queues are flushed, ms.
        "flushIntervalConsumeQueue" => flush_interval_consume_queue: i64 [1..=3_600_000] = 1_000,
        /// Longest time that a producer waits for the disk under synchronous flush, ms.
        "syncFlushTimeout" => sync_flush_timeout: i64 [1..=600_000] = 5_000,
        /// Longest body, bytes; a batch counts as one.
        "maxMessageSize" => max_message_size: i32 [1..=16_000_000] = 4 << 20,
        /// Role of the broker.
        "brokerRole" important => broker_role: BrokerRole = BrokerRole::AsyncMaster,
        /// Replicas, the master included, that a message needs.
        "inSyncReplicas" => in_sync_replicas: i32 [1..=64] = 1,
        /// Longest time that the log may be locked before sends are refused, ms.
        "osPageCacheBusyTimeOutMills" => os_page_cache_busy_time_out_mills: i64 [1..=10_000_000] = 1_000,
        /// Most messages of a pull that are in memory.
        "maxTransferCountOnMessageInMemory" => max_transfer_count_on_message_in_memory: i32 [1..=100_000] = 32,
        /// Most bytes of a pull that are in memory.
        "maxTransferBytesOnMessageInMemory" => max_transfer_bytes_on_message_in_memory: i32 [1..=15_000_000] = 262_144,
        /// Most messages of a pull that have to be read from the disk.
        "maxTransferCountOnMessageInDisk" => max_transfer_count_on_message_in_disk: i32 [1..=100_000] = 8,
        /// Most bytes of a pull that have to be read from the disk.
        "maxTransferBytesOnMessageInDisk" => max_transfer_bytes_on_message_in_disk: i32 [1..=15_000_000] = 65_536,
        /// Messages farther from the end of the log than so many per cent of the memory count as being on
        /// the disk.
        "accessMessageInMemoryMaxRatio" => access_message_in_memory_max_ratio: i32 [1..=100] = 40,
        /// Port of replication; 0 is the listen port and one.
        "haListenPort" => ha_listen_port: u16 = 0,
        /// Hours that files of the commit log are kept.
        "fileReservedTime" important => file_reserved_time: i32 [1..=1_000_000] = 72,
        /// Hours of the day at which old files are deleted, separated by ';'.
        "deleteWhen" important => delete_when: String = "04".to_owned(),
        /// Delays of the levels from the first on, each a number and one of s, m, h, d, separated by
        /// single spaces.
        "messageDelayLevel" => message_delay_level: String = DELAY_LEVELS.to_owned(),
        /// How often it is written how far the delay levels are, ms.
        "flushDelayOffsetInterval" => flush_delay_offset_interval: i64 [1..=600_000] = 10_000,
        /// Whether messages may be delivered at any time.
        "timerWheelEnable" => timer_wheel_enable: bool = true,
        /// Distance between the times at which timer messages are delivered, ms: 100, 200, 500 or
        /// 1000. Fixed once there are timer messages.
        "timerPrecisionMs" => timer_precision_ms: i64 [1..=1_000_000] = 1_000,
        /// Timer messages further away than so many distances are put off by half that or more.
        "timerRollWindowSlot" => timer_roll_window_slot: i64 [i64::MIN..=i64::MAX] = 172_800,
        /// Furthest time of delivery, s from now.
        "timerMaxDelaySec" important => timer_max_delay_sec: i64 [1..=2_147_483_647] = 259_200,
        /// Messages due at one time above which new ones are refused at random; above twice as many
        /// all are.
        "timerCongestNumEachSlot" => timer_congest_num_each_slot: i32 [1..=i32::MAX] = i32::MAX,
        /// How often timer messages are made durable in their wheel, ms.
        "timerFlushIntervalMs" => timer_flush_interval_ms: i64 [10..=60_000] = 1_000,
        /// Size of a file of the timer log, bytes. Fixed once there are timer messages.
        "mappedFileSizeTimerLog" => mapped_file_size_timer_log: i64 [4_096..=2_147_479_552] = 100 << 20,
        /// Whether timer messages wait in their topic instead of being sorted by time.
        "timerStopEnqueue" => timer_stop_enqueue: bool = false,
        /// Whether timer messages that are due are kept back.
        "timerStopDequeue" => timer_stop_dequeue: bool = false,
    }
}

config! {
    /// Listening.
    pub struct ServerKeys {
        /// Port of the broker; the port two below is the fast port.
        "listenPort" important => listen_port: u16 = 10_911,
        /// Address to listen on.
        "bindAddress" => bind_address: String = "0.0.0.0".to_owned(),
        /// A connection without a byte for so long is closed, s.
        "serverChannelMaxIdleTimeSeconds" => server_channel_max_idle_time_seconds: i32 [1..=86_400] = 120,
    }
}

config_parts! {
    /// All keys of a broker.
    pub struct Keys {
        /// Who it is and what it allows.
        pub broker: BrokerKeys,
        /// The store.
        pub store: StoreKeys,
        /// The index by keys.
        pub index: IndexKeys,
        /// Removing old files.
        pub retention: RetentionKeys,
        /// Listening.
        pub server: ServerKeys,
        /// TLS.
        pub tls: TlsKeys,
        /// Users and access lists.
        pub auth: AuthKeys,
        /// Popping.
        pub pop: PopKeys,
        /// What is told of itself over HTTP.
        pub metrics: MetricsKeys,
    }
    idle = absent::idle;
}

/// The configuration of a broker, unknown keys included.
pub type Config = Loaded<Keys>;

impl StoreKeys {
    /// Whether messages are put in light queues.
    pub(crate) fn has_light_queues(&self) -> bool {
        self.enable_lmq && self.enable_multi_dispatch
    }

    /// The delays of the levels.
    ///
    /// # Errors
    /// `messageDelayLevel` cannot be read.
    pub fn delay_levels(&self) -> Result<DelayLevels, StartError> {
        DelayLevels::parse(&self.message_delay_level).map_err(|source| StartError::DelayLevels {
            value: self.message_delay_level.clone(),
            source,
        })
    }

    /// The distance between times of delivery that counts, ms. Apache:
    /// `MessageStoreConfig.setTimerPrecisionMs`.
    pub fn timer_precision(&self) -> i64 {
        match self.timer_precision_ms {
            ..200 => 100,
            200..500 => 200,
            500..1_000 => 500,
            _ => 1_000,
        }
    }

    /// Settings of the store, as far as these keys say.
    fn to_store(&self, levels: &DelayLevels) -> aerobee_store::Config {
        let count = |value: i32| value.unsigned_abs();
        let millis = |value: i64| Duration::from_millis(value.unsigned_abs());
        let entries = |bytes: i64, width: u64| {
            u32::try_from(bytes.unsigned_abs().div_ceil(width)).unwrap_or(u32::MAX)
        };
        aerobee_store::Config {
            commit_log_file_bytes: self.mapped_file_size_commit_log.unsigned_abs(),
            queue_file_entries: entries(self.mapped_file_size_consume_queue, QUEUE_ENTRY_BYTES),
            batch_queue_file_entries: entries(
                self.mapper_file_size_batch_consume_queue,
                BATCH_QUEUE_ENTRY_BYTES,
            ),
            flush_mode: match self.flush_disk_type {
                FlushDiskType::AsyncFlush => FlushMode::Async,
                FlushDiskType::SyncFlush => FlushMode::Sync,
            },
            flush_interval: millis(self.flush_interval_commit_log),
            queue_flush_interval: millis(self.flush_interval_consume_queue),
            sync_flush_timeout: millis(self.sync_flush_timeout),
            max_record_bytes: count(self.max_message_size) as usize + RECORD_EXTRA_BYTES,
            transfer: TransferLimits {
                memory_messages: count(self.max_transfer_count_on_message_in_memory),
                memory_bytes: count(self.max_transfer_bytes_on_message_in_memory) as usize,
                disk_messages: count(self.max_transfer_count_on_message_in_disk),
                disk_bytes: count(self.max_transfer_bytes_on_message_in_disk) as usize,
            },
            memory_percent: count(self.access_message_in_memory_max_ratio),
            delay_levels: levels.all().to_vec(),
            log_dirs: self.log_dirs(),
            ..aerobee_store::Config::new(&self.store_path_root_dir)
        }
    }

    /// Where the commit log is, if not where it usually is.
    fn log_dirs(&self) -> LogDirs {
        let list = |paths: &Option<String>| paths.clone().unwrap_or_default();
        let mut dirs = LogDirs::of_lists(
            &list(&self.store_path_commit_log),
            &list(&self.read_only_commit_log_store_paths),
            &self.multi_path_splitter,
        );
        if dirs.writable == [Path::new(&self.store_path_root_dir).join("commitlog")] {
            dirs.writable.clear();
        }
        dirs
    }
}

impl Keys {
    /// Settings of the store.
    pub fn to_store(&self, levels: &DelayLevels) -> aerobee_store::Config {
        aerobee_store::Config {
            index: self.index.to_store(),
            retention: self.retention.to_store(&self.store),
            ..self.store.to_store(levels)
        }
    }
}

impl ServerKeys {
    /// Where to listen on `port`.
    ///
    /// # Errors
    /// `bindAddress` is no IP address.
    pub fn bind(&self, port: u16) -> Result<SocketAddr, StartError> {
        parse_ip("bindAddress", &self.bind_address).map(|ip| SocketAddr::new(ip, port))
    }
}

fn default_broker_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "DEFAULT_BROKER".to_owned())
}

/// The address of this machine that others most likely reach: the one from which a packet would
/// leave. Nothing is sent.
fn local_address() -> IpAddr {
    let outward = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    };
    match outward() {
        Ok(address) if !address.ip().is_unspecified() => address.ip(),
        _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
    }
}

fn is_writable(config: &Config) -> bool {
    config.broker.broker_permission & PERM_WRITE != 0
}

fn max_message_bytes(config: &Config) -> usize {
    config.store.max_message_size.unsigned_abs() as usize
}

/// What may change while the broker runs; read anew for each request.
#[derive(Debug)]
pub struct Switches {
    config: ArcSwap<Config>,
    /// What every send asks for, apart from the rest: these are plain loads.
    writable: AtomicBool,
    max_message_bytes: AtomicUsize,
}

impl Switches {
    /// Starts with this configuration.
    pub fn new(config: Config) -> Arc<Self> {
        Arc::new(Self {
            writable: is_writable(&config).into(),
            max_message_bytes: max_message_bytes(&config).into(),
            config: ArcSwap::from_pointee(config),
        })
    }

    /// The configuration as it is now.
    pub fn config(&self) -> Guard<Arc<Config>> {
        self.config.load()
    }

    /// Takes a new configuration.
    pub fn replace(&self, config: Config) {
        self.writable.store(is_writable(&config), Ordering::Relaxed);
        self.max_message_bytes
            .store(max_message_bytes(&config), Ordering::Relaxed);
        self.config.store(Arc::new(config));
    }

    pub(crate) fn readable(&self) -> bool {
        self.config().broker.broker_permission & PERM_READ != 0
    }

    /// Whether consumers may filter by properties.
    pub(crate) fn filters_properties(&self) -> bool {
        self.config().broker.enable_property_filter
    }

    /// Whether messages are put in light queues.
    pub(crate) fn light_queues(&self) -> bool {
        self.config().store.has_light_queues()
    }

    #[inline]
    pub(crate) fn writable(&self) -> bool {
        self.writable.load(Ordering::Relaxed)
    }

    pub(crate) fn long_polling(&self) -> bool {
        self.config().broker.long_polling_enable
    }

    pub(crate) fn short_polling_millis(&self) -> u64 {
        self.config().broker.short_polling_time_mills.unsigned_abs()
    }

    #[inline]
    pub(crate) fn max_message_bytes(&self) -> usize {
        self.max_message_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn page_cache_busy_millis(&self) -> i64 {
        self.config().store.os_page_cache_busy_time_out_mills
    }

    pub(crate) fn accepts_sends_from(&self) -> i64 {
        self.config().broker.start_accept_send_request_time_stamp
    }
}
