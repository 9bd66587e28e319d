// SPDX-License-Identifier: Apache-2.0
//! Keys that Apache's broker prints and that change nothing here, each with Apache's default and the
//! reason. They are shown, kept and read back; a start names those that it is given.

use std::thread;

use aerobee_daemon::config::Idle;

/// Keys that have no effect, and why.
pub struct WithoutEffect {
    /// Why.
    pub reason: &'static str,
    /// The keys, each with the default that Apache's 5.5.0 prints. Those that depend on the machine
    /// are formulas, see [`value_of`].
    pub keys: &'static [(&'static str, &'static str)],
    /// Keys that Apache's broker has and does not print by itself (`null`), and those of its parts
    /// and plug-ins, where `*` stands for any letters.
    pub unset: &'static [&'static str],
}

const fn because(
    reason: &'static str,
    keys: &'static [(&'static str, &'static str)],
    unset: &'static [&'static str],
) -> WithoutEffect {
    WithoutEffect {
        reason,
        keys,
        unset,
    }
}

/// All of them.
pub const WITHOUT_EFFECT: &[WithoutEffect] = &[
    because(
        "requests run on the thread that read them; there are no pools and no queues to size, and nothing waits in one until it is too old",
        &[
            ("ackMessageThreadPoolNums", "16"),
            ("ackThreadPoolQueueCapacity", "100000"),
            ("adminBrokerThreadPoolNums", "16"),
            ("adminBrokerThreadPoolQueueCapacity", "10000"),
            ("asyncSendEnable", "true"),
            ("batchDispatchRequestThreadPoolNums", "16"),
            ("brokerFastFailureEnable", "true"),
            ("clientManageThreadPoolNums", "32"),
            ("clientManagerThreadPoolQueueCapacity", "1000000"),
            ("consumerManageThreadPoolNums", "32"),
            ("consumerManagerThreadPoolQueueCapacity", "1000000"),
            ("endTransactionPoolQueueCapacity", "100000"),
            ("endTransactionThreadPoolNums", "8 + 2 * processors"),
            ("heartbeatThreadPoolNums", "processors, at most 32"),
            ("heartbeatThreadPoolQueueCapacity", "50000"),
            ("litePullMessageThreadPoolNums", "16 + 2 * processors"),
            ("litePullThreadPoolQueueCapacity", "100000"),
            ("loadBalanceProcessorThreadPoolNums", "32"),
            ("loadBalanceThreadPoolQueueCapacity", "100000"),
            ("maxAsyncPutMessageRequests", "5000"),
            ("processReplyMessageThreadPoolNums", "16 + 2 * processors"),
            ("pullMessageThreadPoolNums", "16 + 2 * processors"),
            ("pullThreadPoolQueueCapacity", "100000"),
            ("putMessageFutureThreadPoolNums", "processors, at most 4"),
            ("putMessageTimeout", "8000"),
            ("putThreadPoolQueueCapacity", "10000"),
            ("queryMessageThreadPoolNums", "8 + processors"),
            ("queryThreadPoolQueueCapacity", "20000"),
            ("recoverThreadPoolNums", "32"),
            ("replyThreadPoolQueueCapacity", "10000"),
            ("sendMessageThreadPoolNums", "processors, at most 4"),
            ("sendThreadPoolQueueCapacity", "10000"),
            ("timerEnableDisruptor", "false"),
            ("timerGetMessageThreadNum", "3"),
            ("timerPutMessageThreadNum", "3"),
            ("timerReputServiceCorePoolSize", "6"),
            ("timerReputServiceMaxPoolSize", "6"),
            ("timerReputServiceQueueCapacity", "10000"),
            ("transactionCheckRocksdbCoreThreads", "2"),
            ("transactionCheckRocksdbMaxThreads", "5"),
            ("transactionCheckRocksdbQueueCapacity", "2000"),
            ("waitTimeMillsInAckQueue", "3000"),
            ("waitTimeMillsInAdminBrokerQueue", "5000"),
            ("waitTimeMillsInHeartbeatQueue", "31000"),
            ("waitTimeMillsInLitePullQueue", "5000"),
            ("waitTimeMillsInPullQueue", "5000"),
            ("waitTimeMillsInSendQueue", "200"),
            ("waitTimeMillsInTransactionQueue", "3000"),
        ],
        &[],
    ),
    because(
        "files are allocated ahead and written through their mapping; there is no pool to warm, no copy on the heap and nothing to swap",
        &[
            ("cleanSwapedMapInterval", "300000"),
            ("commitLogForceSwapMapInterval", "43200000"),
            ("commitLogSwapMapInterval", "3600000"),
            ("commitLogSwapMapReserveFileNum", "100"),
            ("dataReadAheadEnable", "true"),
            ("destroyMapedFileIntervalForcibly", "120000"),
            ("fastFailIfNoBufferInStorePool", "false"),
            ("flushLeastPagesWhenWarmMapedFile", "4096"),
            ("logicQueueForceSwapMapInterval", "43200000"),
            ("logicQueueSwapMapInterval", "3600000"),
            ("logicQueueSwapMapReserveFileNum", "20"),
            ("mappedFileSwapEnable", "true"),
            ("maxBatchDeleteFilesNum", "50"),
            ("putConsumeQueueDataByFileChannel", "true"),
            ("redeleteHangedFileInterval", "120000"),
            ("sharedByteBufferNum", "16"),
            ("timerWarmEnable", "false"),
            ("transferMsgByHeap", "true"),
            ("transientStorePoolEnable", "false"),
            ("transientStorePoolSize", "5"),
            ("warmMapedFileEnable", "false"),
            ("writeWithoutMmap", "false"),
        ],
        &[],
    ),
    because(
        "queue entries are written with the message, under one short lock",
        &[
            ("correctLogicMinOffsetForceInterval", "300000"),
            ("correctLogicMinOffsetSleepInterval", "1"),
            ("debugLockEnable", "false"),
            ("dispatchCqCacheNum", "4096"),
            ("dispatchCqThreads", "10"),
            ("dispatchFromSenderThread", "false"),
            ("enableAsyncReput", "true"),
            ("enableBuildConsumeQueueConcurrently", "false"),
            ("isolateLogEnable", "false"),
            ("putMsgIndexHightWater", "600000"),
            ("readUnCommitted", "false"),
            ("recheckReputOffsetFromCq", "false"),
            ("spinLockCollisionRetreatOptimalDegree", "1000"),
            ("topicQueueLockNum", "32"),
            ("travelCqFileNumWhenGetMessage", "1"),
            ("useABSLock", "false"),
            ("useReentrantLockWhenPutMessage", "true"),
        ],
        &[],
    ),
    because(
        "a flush takes whatever was written; there are no pages to count and no commit before it",
        &[
            ("commitCommitLogLeastPages", "4"),
            ("commitCommitLogThoroughInterval", "200"),
            ("commitIntervalCommitLog", "200"),
            ("consumerOffsetUpdateVersionStep", "500"),
            ("delayOffsetUpdateVersionStep", "200"),
            ("enableRunningFlagsInFlush", "false"),
            ("flushCommitLogLeastPages", "4"),
            ("flushCommitLogThoroughInterval", "10000"),
            ("flushCommitLogTimed", "true"),
            ("flushConsumeQueueLeastPages", "2"),
            ("flushConsumeQueueThoroughInterval", "60000"),
            ("flushConsumerOffsetHistoryInterval", "60000"),
            ("transactionMetricFlushInterval", "10000"),
            ("wakeCommitWhenPutMessage", "true"),
            ("wakeFlushWhenPutMessage", "false"),
        ],
        &[],
    ),
    because(
        "recovery reads the log from the last point that is known to be whole, and checks every record",
        &[
            ("checkCRCOnRecover", "true"),
            ("checkCommitLogOffsetOnRecover", "false"),
            ("commitLogRecoverMaxNum", "10"),
            ("deleteConsumeQueueFilesInterval", "100"),
            ("disappearTimeAfterStart", "-1"),
            ("duplicationEnable", "false"),
            ("enableAcceleratedRecovery", "false"),
            ("enableLogConsumeQueueRepeatedlyBuildWhenRecover", "false"),
            ("forceVerifyPropCRC", "false"),
            ("maxRecoveryCommitlogFiles", "30"),
            ("messageIndexSafe", "false"),
            ("recoverConcurrently", "false"),
        ],
        &[],
    ),
    because(
        "records carry the checksum of their body; a second one over the properties is neither written nor wanted",
        &[("enabledAppendPropCRC", "false")],
        &[],
    ),
    because(
        "a topic's name may have 127 bytes, and only names that need it get the longer record",
        &[
            ("autoMessageVersionOnTopicLen", "true"),
            ("maxTopicLength", "127"),
        ],
        &[],
    ),
    because(
        "there is no Netty; the system sizes its buffers, outboxes have fixed bounds",
        &[
            ("channelNotActiveInterval", "60000"),
            ("clientAsyncSemaphoreValue", "65535"),
            ("clientCallbackExecutorThreads", "2"),
            ("clientChannelMaxIdleTimeSeconds", "120"),
            ("clientCloseSocketIfTimeout", "true"),
            ("clientOnewaySemaphoreValue", "65535"),
            ("clientPooledByteBufAllocatorEnable", "false"),
            ("clientSocketRcvBufSize", "0"),
            ("clientSocketSndBufSize", "0"),
            ("clientWorkerThreads", "4"),
            ("connectTimeoutMillis", "3000"),
            ("disableCallbackExecutor", "false"),
            ("disableNettyWorkerGroup", "false"),
            ("enableFastChannelEventProcess", "false"),
            ("enableNetWorkFlowControl", "false"),
            ("enableReconnectForGoAway", "true"),
            ("enableShutdownGracefully", "false"),
            ("highSpeedMode", "false"),
            ("isScanAvailableNameSrv", "true"),
            ("maxReconnectIntervalTimeSeconds", "60"),
            ("printChannelGroups", "false"),
            ("printChannelGroupsMinNum", "5"),
            ("serverAsyncSemaphoreValue", "64"),
            ("serverCallbackExecutorThreads", "0"),
            ("serverNettyWorkerGroupEnable", "true"),
            ("serverOnewaySemaphoreValue", "256"),
            ("serverPooledByteBufAllocatorEnable", "true"),
            ("serverSelectorThreads", "3"),
            ("serverSocketBacklog", "1024"),
            ("serverSocketRcvBufSize", "0"),
            ("serverSocketSndBufSize", "0"),
            ("serverWorkerThreads", "8"),
            ("shutdownWaitTimeSeconds", "30"),
            ("socksProxyConfig", "{}"),
            ("useEpollNativeSelector", "false"),
            ("writeBufferHighWaterMark", "0"),
            ("writeBufferLowWaterMark", "0"),
        ],
        &[],
    ),
    because(
        "name servers are named by `namesrvAddr`, `-n` or `NAMESRV_ADDR`",
        &[
            ("fetchNameSrvAddrByDnsLookup", "false"),
            ("fetchNamesrvAddrByAddressServer", "false"),
            ("fetchNamesrvAddrInterval", "10000"),
            ("updateNameServerAddrPeriod", "120000"),
        ],
        &["rmqAddressServerDomain"],
    ),
    because(
        "a registration says all there is to say, to name servers of every version",
        &[
            ("brokerHeartbeatInterval", "1000"),
            ("compatibleWithOldNameSrv", "true"),
            ("compressedRegister", "false"),
            ("enableSingleTopicRegister", "false"),
            ("enableSplitMetadata", "true"),
            ("enableSplitRegistration", "false"),
            ("forceRegister", "true"),
            ("sendHeartbeatTimeoutMillis", "1000"),
            ("splitMetadataSize", "2000"),
            ("splitRegistrationSize", "800"),
        ],
        &[],
    ),
    because(
        "there is no replication yet; what would promise it is refused at start",
        &[
            ("allAckInSyncStateSet", "false"),
            ("asyncLearner", "false"),
            ("brokerNotActiveTimeoutMillis", "10000"),
            ("cleanOfflineBrokerInterval", "30000"),
            ("enableAutoInSyncReplicas", "false"),
            ("enableRemoteEscape", "false"),
            ("enableSlaveActingMaster", "false"),
            ("haFlowControlEnable", "false"),
            ("haHousekeepingInterval", "20000"),
            ("haMaxGapNotInSync", "268435456"),
            ("haMaxTimeSlaveNotCatchup", "15000"),
            ("haSendHeartbeatInterval", "5000"),
            ("haTransferBatchSize", "32768"),
            ("lockInStrictMode", "false"),
            ("maxChecksumRange", "1073741824"),
            ("maxHaTransferByteInSecond", "104857600"),
            ("maxSlaveResendLength", "268435456"),
            ("minInSyncReplicas", "1"),
            ("offsetCheckInSlave", "false"),
            ("skipPreOnline", "false"),
            ("slaveReadEnable", "false"),
            ("slaveTimeout", "3000"),
            ("syncBrokerMemberGroupPeriod", "1000"),
            ("syncBrokerMetadataPeriod", "5000"),
            ("syncControllerMetadataPeriod", "10000"),
            ("syncFromLastFile", "false"),
            ("syncMasterFlushOffsetWhenStartup", "false"),
            ("totalReplicas", "1"),
        ],
        &[
            "haMasterAddress",
            "storePathBrokerIdentity",
            "storePathEpochFile",
        ],
    ),
    because(
        "there is no controller yet",
        &[
            ("brokerElectionPriority", "2147483647"),
            ("checkSyncStateSetPeriod", "5000"),
            ("controllerAddr", ""),
            ("controllerHeartBeatTimeoutMills", "10000"),
            ("enableBatchPush", "false"),
            ("enableControllerMode", "false"),
            ("enableDLegerCommitLog", "false"),
            ("fetchControllerAddrByDnsLookup", "false"),
        ],
        &[
            "dLegerGroup",
            "dLegerPeers",
            "dLegerSelfId",
            "preferredLeaderId",
            "storePathDLedgerCommitLog",
        ],
    ),
    because(
        "the access lists of 4.x (plain_acl.yml) are gone: users and lists are made with createUser and createAcl, and switched on by authenticationEnabled",
        &[
            ("aclEnable", "false"),
            ("migrateAuthFromV1Enabled", "false"),
        ],
        &[],
    ),
    because(
        "users and access lists are in memory, in one small file below storePathRootDir; a connection remembers what it was allowed until its user changes",
        &[
            ("userCacheMaxNum", "1000"),
            ("userCacheExpiredSecond", "600"),
            ("userCacheRefreshSecond", "60"),
            ("aclCacheMaxNum", "1000"),
            ("aclCacheExpiredSecond", "600"),
            ("aclCacheRefreshSecond", "60"),
            ("statefulAuthenticationCacheMaxNum", "10000"),
            ("statefulAuthorizationCacheMaxNum", "10000"),
            ("statefulAuthorizationCacheExpiredSecond", "60"),
        ],
        &["authConfigPath"],
    ),
    because(
        "queues, index, timers and transactions are files; there is no RocksDB",
        &[
            ("bottomMostCompressionTypeForConsumeQueueStore", "zstd"),
            ("cleanRocksDBDirtyCQIntervalMin", "60"),
            ("combineAssignOffsetCQType", "default"),
            ("combineCQEnableCheckSelf", "false"),
            ("combineCQLoadingCQTypes", "default;defaultRocksDB"),
            ("combineCQMaxExtraSearchCommitLogFiles", "3"),
            ("combineCQPreferCQType", "default"),
            ("combineCQUseRocksdbForLmq", "false"),
            ("configManagerVersion", "v1"),
            ("enableRocksDBLog", "false"),
            ("indexRocksDBEnable", "false"),
            ("iteratorWhenUseRocksdbConsumeQueue", "true"),
            ("maxRocksDBIndexQueryDays", "7"),
            ("memTableFlushIntervalMs", "3600000"),
            ("persistConsumerOffsetIncrementally", "false"),
            ("realTimePersistRocksDBConfig", "true"),
            ("rocksdbCQDoubleWriteEnable", "false"),
            ("rocksdbCompressionType", "lz4"),
            ("rocksdbFlushWalFrequency", "1024"),
            ("rocksdbWalFileRollingThreshold", "1073741824"),
            ("statRocksDBCQIntervalSec", "10"),
            ("storeType", "default"),
            ("timerRecallToTimeWheelEnable", "true"),
            ("timerRecallToTimelineEnable", "true"),
            ("timerRocksDBEnable", "false"),
            ("timerRocksDBPrecisionMs", "1000"),
            ("timerRocksDBRollIntervalHours", "1"),
            ("timerRocksDBRollMaxTps", "8000.0"),
            ("timerRocksDBRollRangeHours", "2"),
            ("timerRocksDBStopScan", "false"),
            ("timerRocksDBTimeExpiredMaxTps", "200000.0"),
            ("timerWheelSnapshotFlush", "false"),
            ("timerWheelSnapshotIntervalMs", "10000"),
            ("transRocksDBEnable", "false"),
            ("transWriteOriginTransHalfEnable", "true"),
            ("useSeparateStorePathForRocksdbCQ", "false"),
            ("useSingleRocksDBForAllConfigs", "false"),
        ],
        &[],
    ),
    because(
        "there is no tiered storage yet",
        &[("messageStorePlugIn", "")],
        &["tiered*"],
    ),
    because(
        "topics are not compacted and have queues of single messages: what asks for others is refused",
        &[
            ("bitMapLengthConsumeQueueExt", "112"),
            ("compactionCqMappedFileSize", "10485760"),
            ("compactionMappedFileSize", "104857600"),
            ("compactionScheduleInternal", "900000"),
            ("compactionThreadNum", "6"),
            ("enableCompaction", "true"),
            ("enableConsumeQueueExt", "false"),
            ("mappedFileSizeConsumeQueueExt", "50331648"),
            ("maxOffsetMapSize", "104857600"),
            ("searchBcqByCacheEnable", "true"),
        ],
        &[],
    ),
    because(
        "reads of old messages have threads of their own and are bounded by themselves",
        &[
            ("accessMessageInMemoryHotRatio", "26"),
            ("cgColdReadThreshold", "3145728"),
            ("coldCtrStrategyEnable", "false"),
            ("coldDataFlowControlEnable", "false"),
            ("coldDataScanEnable", "false"),
            ("globalColdReadThreshold", "104857600"),
            ("pullBatchMaxMessageCount", "160"),
            ("timerColdDataCheckIntervalMs", "60000"),
            ("usePIDColdCtrStrategy", "true"),
        ],
        &[],
    ),
    because(
        "expressions are compiled once per subscription and matched against the properties; there are no bit maps",
        &[
            ("enableCalcFilterBitMap", "false"),
            ("expectConsumerNumUseFilter", "32"),
            ("filterDataCleanTimeSpan", "86400000"),
            ("maxErrorRateOfBloomFilter", "20"),
            ("maxFilterMessageSize", "16000"),
        ],
        &[],
    ),
    because(
        "check points and acknowledgements are in the journal and in memory at once; what is due is known to the millisecond, and nothing is scanned, merged or given up",
        &[
            ("appendAckAsync", "false"),
            ("appendCkAsync", "false"),
            ("enablePopBatchAck", "false"),
            ("enablePopBufferMerge", "false"),
            ("enablePopLog", "false"),
            ("enableSkipLongAwaitingAck", "false"),
            ("popCkMaxBufferSize", "200000"),
            ("popCkOffsetMaxQueueSize", "20000"),
            ("popCkStayBufferTime", "10000"),
            ("popCkStayBufferTimeOut", "3000"),
            ("popConsumerFSServiceInit", "true"),
            ("popConsumerKVServiceEnable", "false"),
            ("popConsumerKVServiceInit", "false"),
            ("popConsumerKVServiceLog", "false"),
            ("popReviveConcurrency", "32"),
            ("popReviveMaxAttemptTimes", "16"),
            ("popReviveMaxReturnSizePerRead", "16384"),
            ("popReviveSkipIfGroupAbsent", "true"),
            ("reviveAckWaitMs", "180000"),
            ("reviveInterval", "1000"),
            ("reviveMaxSlow", "3"),
            ("reviveScanTime", "10000"),
            ("skipWhenCKRePutReachMaxTimes", "false"),
        ],
        &[],
    ),
    because(
        "waiting pops are bounded by `maxPopPollingSize` and `popPollingSize`, and are woken when there is something or a queue becomes free",
        &[
            ("enableNotifyAfterPopOrderLockRelease", "true"),
            ("enableNotifyBeforePopCalculateLag", "true"),
            ("popLongPollingForceNotifyInterval", "800"),
            ("popPollingMapExpireTimeSeconds", "600"),
            ("popPollingMapSize", "100000"),
        ],
        &[],
    ),
    because(
        "each end of a transaction is noted at once, in a message of its own",
        &[
            ("transactionOpBatchInterval", "3000"),
            ("transactionOpMsgMaxSize", "4096"),
        ],
        &[],
    ),
    because(
        "delays by level and by time have a machinery each; what cannot be delivered is tried until it can",
        &[
            ("enableScheduleAsyncDeliver", "false"),
            ("scheduleAsyncDeliverMaxPendingLimit", "2000"),
            ("scheduleAsyncDeliverMaxResendNum2Blocked", "3"),
            ("timerCheckMetricsWhen", "05"),
            ("timerEnableCheckMetrics", "true"),
            ("timerEnableRetryUntilSuccess", "false"),
            ("timerInterceptDelayLevel", "false"),
            ("timerMetricSmallThreshold", "1000000"),
            ("timerProgressLogIntervalMs", "10000"),
            ("timerSkipUnknownError", "false"),
        ],
        &[],
    ),
    because(
        "a client is gone after 120 s without a sign, a subscription with its last client",
        &[
            ("channelExpiredTimeout", "120000"),
            ("subscriptionExpiredTimeout", "600000"),
        ],
        &[],
    ),
    because(
        "what groups want comes with heartbeats, and lags are counted from it",
        &[
            ("enableCleanExpiredOffset", "false"),
            ("estimateAccumulation", "true"),
            ("maxConsumeQueueScan", "20000"),
            ("sampleCountThreshold", "5000"),
            ("sampleSteps", "32"),
            ("useStaticSubscription", "false"),
        ],
        &[],
    ),
    because(
        "messages in and out are always counted, of what exists",
        &[
            ("accountStatsEnable", "true"),
            ("accountStatsPrintZeroValues", "true"),
            ("autoDeleteUnusedStats", "true"),
            ("commercialBaseCount", "1"),
            ("commercialSizePerMsg", "4096"),
            ("diskFallRecorded", "true"),
            ("enableDetailStat", "true"),
            ("enableLmqStats", "false"),
            ("enableScheduleMessageStats", "true"),
            ("maxStatsIdleTimeInMinutes", "-1"),
        ],
        &[],
    ),
    because(
        "metrics are read over HTTP; they are not sent anywhere",
        &[
            ("metricGrpcExporterIntervalInMills", "60000"),
            ("metricGrpcExporterTimeOutInMills", "3000"),
            ("metricLoggingExporterIntervalInMills", "10000"),
            ("metricsExportBatchMaxDataPoints", "1000"),
            ("metricsGrpcExporterHeader", ""),
            ("metricsGrpcExporterTarget", ""),
            ("metricsInDelta", "false"),
        ],
        &[],
    ),
    because(
        "lite topics are told of by events, always",
        &[
            ("enableLiteEventMode", "true"),
            ("enableLitePopLog", "false"),
            ("liteEventFullDispatchDelayTimeForWildcardGroup", "10000"),
            ("liteLagCountMetricsEnable", "false"),
            ("liteLagLatencyCollectEnable", "false"),
            ("liteLagLatencyMetricsEnable", "false"),
            ("liteLagLatencyTopK", "50"),
        ],
        &[],
    ),
    because(
        "nothing is forwarded to other brokers",
        &[("forwardTimeout", "3000")],
        &[],
    ),
    because(
        "there is no installation directory to find",
        &[],
        &["rocketmqHome"],
    ),
    because(
        "TLS is set by the keys that begin with `tls.`",
        &[("useTLS", "false")],
        &[],
    ),
    because(
        "a process runs one broker; there are no containers of brokers",
        &[
            ("isBrokerContainer", "false"),
            ("isInBrokerContainer", "false"),
        ],
        &[],
    ),
];

/// Keys that promise protection when they are on: a broker that ran without it would leave open, or
/// lose, what its operator believes to be closed, or kept.
const PROMISES: &[(&str, &str)] = &[
    ("aclEnable", NO_ACL_1),
    ("migrateAuthFromV1Enabled", NO_ACL_1),
    ("enableControllerMode", NO_REPLICAS),
    ("enableDLegerCommitLog", NO_REPLICAS),
];
const NO_ACL_1: &str = "the access lists of 4.x (plain_acl.yml) are not supported: start without the key, make the users with createUser and what they may do with createAcl, then set authenticationEnabled=true and authorizationEnabled=true (docs/operations.md)";
const NO_REPLICAS: &str =
    "replication is not supported by this version: start a single master, and remove the key";

/// The key, and why a broker must not run with this value of it.
pub(crate) fn broken_promise(key: &str, value: &str) -> Option<(&'static str, &'static str)> {
    let is_on = value.trim().eq_ignore_ascii_case("true");
    let promise = PROMISES.iter().find(|(name, _)| *name == key)?;
    is_on.then_some(*promise)
}

/// Whether `pattern`, in which each `*` stands for any letters, is the whole of `key`.
fn is_like(key: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|start| key.strip_prefix(start)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    true
}

/// Why a key of Apache's has no effect; `None` if it has, or is none of Apache's.
#[must_use]
pub fn without_effect(key: &str) -> Option<&'static str> {
    let listed = |group: &&WithoutEffect| {
        let mut keys = group.keys.iter();
        keys.any(|(name, _)| *name == key) || group.unset.iter().any(|name| is_like(key, name))
    };
    WITHOUT_EFFECT.iter().find(listed).map(|group| group.reason)
}

/// The keys, for those who show and change the configuration.
pub(crate) fn idle() -> Vec<Idle> {
    let with_default = |group: &WithoutEffect| {
        group.keys.iter().map(|(name, default)| Idle {
            name,
            default: Some(value_of(default)),
        })
    };
    let without = |group: &WithoutEffect| {
        let names = group.unset.iter().filter(|name| !name.contains('*'));
        names.map(|name| Idle {
            name,
            default: None,
        })
    };
    let groups = WITHOUT_EFFECT.iter();
    groups
        .flat_map(|group| with_default(group).chain(without(group)))
        .collect()
}

/// The value of a default on this machine: a few of Apache's depend on the number of processors.
fn value_of(default: &str) -> String {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let number = |text: &str| text.parse().unwrap_or(0);
    if let Some(most) = default.strip_prefix("processors, at most ") {
        processors.min(number(most)).to_string()
    } else if let Some(base) = default.strip_suffix(" + 2 * processors") {
        (number(base) + 2 * processors).to_string()
    } else if let Some(base) = default.strip_suffix(" + processors") {
        (number(base) + processors).to_string()
    } else {
        default.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use aerobee_daemon::config::Keys as _;

    use super::*;
    use crate::config::Keys;

    #[test]
    fn stars_stand_for_any_letters() {
        for (key, pattern) in [
            ("haListenPort", "ha*"),
            ("ackThreadPoolNums", "*ThreadPoolNums"),
            ("aBcD", "a*c*"),
            ("x", "x"),
        ] {
            assert!(is_like(key, pattern), "{key} {pattern}");
        }
        for (key, pattern) in [("aha", "ha*"), ("xy", "x"), ("aBc", "a*d*"), ("ab", "a*c")] {
            assert!(!is_like(key, pattern), "{key} {pattern}");
        }
    }

    /// A key that is listed here and declared as well would be told to have no effect although it has.
    #[test]
    fn every_key_stands_in_one_place() {
        let mut seen: BTreeSet<&str> = Keys::keys().iter().map(|key| key.name).collect();
        for key in idle() {
            assert!(seen.insert(key.name), "{}", key.name);
            assert!(without_effect(key.name).is_some(), "{}", key.name);
        }
        for key in Keys::keys() {
            assert_eq!(without_effect(key.name), None, "{}", key.name);
        }
    }

    #[test]
    fn defaults_that_depend_on_the_machine_are_numbers() {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        assert_eq!(
            value_of("16 + 2 * processors"),
            (16 + 2 * processors).to_string()
        );
        assert_eq!(value_of("8 + processors"), (8 + processors).to_string());
        assert_eq!(value_of("processors, at most 1"), "1");
        assert_eq!(value_of("1 2h"), "1 2h");
        let formulas = WITHOUT_EFFECT.iter().flat_map(|group| group.keys);
        let formulas = formulas.filter(|(_, default)| default.contains("processors"));
        for (key, default) in formulas {
            assert!(value_of(default).parse::<u32>().is_ok(), "{key}: {default}");
        }
    }
}
