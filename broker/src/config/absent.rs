// SPDX-License-Identifier: Apache-2.0
//! Keys of Apache's `BrokerConfig` and `MessageStoreConfig` that change nothing here, each with the
//! reason. They are kept and read back; a start names those that it meets.

/// Keys, where `*` stands for any letters, and why they have no effect.
pub struct WithoutEffect {
    /// The keys.
    pub keys: &'static [&'static str],
    /// Why.
    pub reason: &'static str,
}

const fn because(reason: &'static str, keys: &'static [&'static str]) -> WithoutEffect {
    WithoutEffect { keys, reason }
}

/// All of them.
pub const WITHOUT_EFFECT: &[WithoutEffect] = &[
    because(
        "requests run on the thread that read them; there are no pools and no queues to size, and nothing waits in one until it is too old",
        &[
            "*ThreadPoolNums",
            "*ThreadPoolQueueCapacity",
            "*PoolQueueCapacity",
            "waitTimeMillsIn*",
            "brokerFastFailureEnable",
            "timer*ThreadNum",
            "timerEnableDisruptor",
            "timerReputService*",
            "transactionCheckRocksdb*",
            "batchDispatchRequest*",
            "asyncSendEnable",
            "maxAsyncPutMessageRequests",
            "putMessageTimeout",
        ],
    ),
    because(
        "files are allocated ahead and written through their mapping; there is no pool to warm, no copy on the heap and nothing to swap",
        &[
            "transientStorePool*",
            "fastFailIfNoBufferInStorePool",
            "warmMapedFileEnable",
            "flushLeastPagesWhenWarmMapedFile",
            "timerWarmEnable",
            "writeWithoutMmap",
            "transferMsgByHeap",
            "sharedByteBufferNum",
            "mappedFileSwapEnable",
            "*SwapMap*",
            "cleanSwapedMapInterval",
            "dataReadAheadEnable",
            "putConsumeQueueDataByFileChannel",
            "destroyMapedFileIntervalForcibly",
            "redeleteHangedFileInterval",
            "maxBatchDeleteFilesNum",
        ],
    ),
    because(
        "queue entries are written with the message, under one short lock",
        &[
            "useReentrantLockWhenPutMessage",
            "useABSLock",
            "spinLockCollisionRetreatOptimalDegree",
            "topicQueueLockNum",
            "debugLockEnable",
            "putMsgIndexHightWater",
            "dispatch*",
            "enableAsyncReput",
            "recheckReputOffsetFromCq",
            "readUnCommitted",
            "enableBuildConsumeQueueConcurrently",
            "travelCqFileNumWhenGetMessage",
            "correctLogicMinOffset*",
            "isolateLogEnable",
        ],
    ),
    because(
        "a flush takes whatever was written; there are no pages to count and no commit before it",
        &[
            "flush*LeastPages",
            "flush*ThoroughInterval",
            "flushCommitLogTimed",
            "commit*CommitLog*",
            "wakeCommitWhenPutMessage",
            "wakeFlushWhenPutMessage",
            "enableRunningFlagsInFlush",
            "flushConsumerOffsetHistoryInterval",
            "transactionMetricFlushInterval",
            "*UpdateVersionStep",
        ],
    ),
    because(
        "recovery reads the log from the last point that is known to be whole, and checks every record",
        &[
            "maxRecoveryCommitlogFiles",
            "commitLogRecoverMaxNum",
            "checkCRCOnRecover",
            "checkCommitLogOffsetOnRecover",
            "forceVerifyPropCRC",
            "enableAcceleratedRecovery",
            "recoverConcurrently",
            "messageIndexSafe",
            "duplicationEnable",
            "enableLogConsumeQueueRepeatedlyBuildWhenRecover",
            "deleteConsumeQueueFilesInterval",
            "disappearTimeAfterStart",
        ],
    ),
    because(
        "records carry the checksum of their body; a second one over the properties is neither written nor wanted",
        &["enabledAppendPropCRC"],
    ),
    because(
        "a topic's name may have 127 bytes, and only names that need it get the longer record",
        &["maxTopicLength", "autoMessageVersionOnTopicLen"],
    ),
    because(
        "there is no Netty; the system sizes its buffers, outboxes have fixed bounds",
        &[
            "server*Threads",
            "server*SemaphoreValue",
            "serverSocket*",
            "serverNettyWorkerGroupEnable",
            "serverPooledByteBufAllocatorEnable",
            "writeBuffer*WaterMark",
            "useEpollNativeSelector",
            "enableNetWorkFlowControl",
            "enableFastChannelEventProcess",
            "printChannelGroups*",
            "highSpeedMode",
        ],
    ),
    because(
        "name servers are named by `namesrvAddr`, `-n` or `NAMESRV_ADDR`",
        &[
            "fetchNam*",
            "rmqAddressServerDomain",
            "updateNameServerAddrPeriod",
        ],
    ),
    because(
        "a registration says all there is to say, to name servers of every version",
        &[
            "compressedRegister",
            "forceRegister",
            "compatibleWithOldNameSrv",
            "enableSingleTopicRegister",
            "enableSplit*",
            "split*Size",
            "sendHeartbeatTimeoutMillis",
            "brokerHeartbeatInterval",
        ],
    ),
    because(
        "there is no replication yet; what would promise it is refused at start",
        &[
            "ha*",
            "slave*",
            "inSyncReplicas",
            "minInSyncReplicas",
            "totalReplicas",
            "allAckInSyncStateSet",
            "enableAutoInSyncReplicas",
            "offsetCheckInSlave",
            "sync*",
            "asyncLearner",
            "max*SlaveResendLength",
            "maxSlaveResendLength",
            "maxHa*",
            "maxChecksumRange",
            "enableSlaveActingMaster",
            "enableRemoteEscape",
            "skipPreOnline",
            "lockInStrictMode",
            "cleanOfflineBrokerInterval",
            "brokerNotActiveTimeoutMillis",
            "storePathEpochFile",
            "storePathBrokerIdentity",
        ],
    ),
    because(
        "there is no controller yet",
        &[
            "*ontroller*",
            "checkSyncStateSetPeriod",
            "brokerElectionPriority",
            "enableDLegerCommitLog",
            "dLeger*",
            "storePathDLedgerCommitLog",
            "preferredLeaderId",
            "enableBatchPush",
        ],
    ),
    because(
        "users and access lists are not supported yet: keep the ports closed to strangers",
        &["authenticationEnabled", "authorizationEnabled", "aclEnable"],
    ),
    because(
        "queues, index, timers and transactions are files; there is no RocksDB",
        &[
            "storeType",
            "*ocksdb*",
            "*RocksDB*",
            "combine*",
            "bottomMostCompressionTypeForConsumeQueueStore",
            "memTableFlushIntervalMs",
            "configManagerVersion",
            "persistConsumerOffsetIncrementally",
            "transWriteOriginTransHalfEnable",
            "timerRecallTo*",
            "timerWheelSnapshot*",
        ],
    ),
    because(
        "there is no tiered storage yet",
        &["tiered*", "messageStorePlugIn"],
    ),
    because(
        "topics are not compacted and have queues of single messages: what asks for others is refused",
        &[
            "compaction*",
            "enableCompaction",
            "maxOffsetMapSize",
            "mapperFileSizeBatchConsumeQueue",
            "searchBcqByCacheEnable",
            "enableConsumeQueueExt",
            "mappedFileSizeConsumeQueueExt",
            "bitMapLengthConsumeQueueExt",
        ],
    ),
    because(
        "reads of old messages have threads of their own and are bounded by themselves",
        &[
            "cold*",
            "*ColdCtr*",
            "*ColdReadThreshold",
            "timerCold*",
            "accessMessageInMemoryHotRatio",
            "pullBatchMaxMessageCount",
        ],
    ),
    because(
        "expressions are compiled once per subscription and matched against the properties; there are no bit maps",
        &[
            "enableCalcFilterBitMap",
            "expectConsumerNumUseFilter",
            "maxErrorRateOfBloomFilter",
            "filterDataCleanTimeSpan",
            "maxFilterMessageSize",
        ],
    ),
    because(
        "check points and acknowledgements are in the journal and in memory at once; what is due is known to the millisecond, and nothing is scanned, merged or given up",
        &[
            "revive*Ms",
            "reviveInterval",
            "reviveMaxSlow",
            "reviveScanTime",
            "enableSkipLongAwaitingAck",
            "skipWhenCKRePutReachMaxTimes",
            "enablePopBufferMerge",
            "popCk*",
            "enablePopBatchAck",
            "append*Async",
            "popRevive*",
            "popConsumer*",
            "enablePopLog",
        ],
    ),
    because(
        "waiting pops are bounded by `maxPopPollingSize` and `popPollingSize`, and are woken when there is something or a queue becomes free",
        &[
            "popPollingMap*",
            "popLongPollingForceNotifyInterval",
            "enableNotifyBeforePopCalculateLag",
            "enableNotifyAfterPopOrderLockRelease",
        ],
    ),
    because(
        "each end of a transaction is noted at once, in a message of its own",
        &["transactionOp*"],
    ),
    because(
        "delays by level and by time have a machinery each; what cannot be delivered is tried until it can",
        &[
            "timerInterceptDelayLevel",
            "enableScheduleAsyncDeliver",
            "scheduleAsync*",
            "timerEnableRetryUntilSuccess",
            "timerSkipUnknownError",
            "timer*CheckMetrics*",
            "timerMetricSmallThreshold",
            "timerProgressLogIntervalMs",
        ],
    ),
    because(
        "a client is gone after 120 s without a sign, a subscription with its last client",
        &["channelExpiredTimeout", "subscriptionExpiredTimeout"],
    ),
    because(
        "what groups want comes with heartbeats, and lags are counted from it",
        &[
            "useStaticSubscription",
            "estimateAccumulation",
            "maxConsumeQueueScan",
            "sample*",
            "enableCleanExpiredOffset",
        ],
    ),
    because(
        "messages in and out are always counted, of what exists",
        &[
            "account*",
            "commercial*",
            "enableDetailStat",
            "autoDeleteUnusedStats",
            "maxStatsIdleTimeInMinutes",
            "enableLmqStats",
            "enableScheduleMessageStats",
            "diskFallRecorded",
        ],
    ),
    because(
        "metrics are read over HTTP; they are not sent anywhere",
        &[
            "metricsGrpc*",
            "metricGrpc*",
            "metricLogging*",
            "metricsInDelta",
            "metricsExportBatchMaxDataPoints",
        ],
    ),
    because(
        "lite topics are told of by events, always",
        &[
            "enableLiteEventMode",
            "enableLitePopLog",
            "liteLag*",
            "liteEventFullDispatchDelayTimeForWildcardGroup",
        ],
    ),
    because("nothing is forwarded to other brokers", &["forwardTimeout"]),
    because(
        "there is no installation directory to find",
        &["rocketmqHome"],
    ),
];

/// Keys that promise protection when they are on: a broker that ran without it would leave open, or
/// lose, what its operator believes to be closed, or kept.
const PROMISES: &[(&str, &str)] = &[
    ("aclEnable", NO_USERS),
    ("authenticationEnabled", NO_USERS),
    ("authorizationEnabled", NO_USERS),
    ("enableControllerMode", NO_REPLICAS),
    ("enableDLegerCommitLog", NO_REPLICAS),
];
const NO_USERS: &str = "users and access lists are not supported by this version: keep the ports closed to strangers (firewall, or tls.server.need.client.auth=require), and remove the key";
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
    let listed = |group: &&WithoutEffect| group.keys.iter().any(|pattern| is_like(key, pattern));
    WITHOUT_EFFECT.iter().find(listed).map(|group| group.reason)
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

    #[test]
    fn every_key_of_apache_has_an_effect_or_a_reason() {
        let known: BTreeSet<&str> = Keys::keys().iter().map(|key| key.name).collect();
        let apache = include_str!("apache-keys.txt").lines();
        let silent: Vec<&str> = apache
            .filter(|key| !known.contains(key) && without_effect(key).is_none())
            .collect();
        assert!(silent.is_empty(), "{silent:?}");
    }

    #[test]
    fn every_reason_is_of_keys_that_exist() {
        let apache: Vec<&str> = include_str!("apache-keys.txt").lines().collect();
        // Of other configurations of Apache's: NettyServerConfig, AuthConfig, plug-ins.
        let elsewhere = |pattern: &str| {
            [
                "server",
                "writeBuffer",
                "useEpoll",
                "rmqAddress",
                "auth",
                "tiered",
                "fetchNam",
            ]
            .iter()
            .any(|start| pattern.starts_with(start))
        };
        for pattern in WITHOUT_EFFECT.iter().flat_map(|group| group.keys) {
            let exists = apache.iter().any(|key| is_like(key, pattern));
            assert!(exists || elsewhere(pattern), "{pattern}");
        }
    }
}
