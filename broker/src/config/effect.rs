// SPDX-License-Identifier: Apache-2.0
//! Which keys count only from the next start on. All others are read anew wherever they matter, so
//! that a change by `updateBrokerConfig` counts at once.

/// Keys whose change is kept and read back, and counts from the next start on.
pub const RESTART_KEYS: &[&str] = &[
    "accessMessageInMemoryMaxRatio",
    "authenticationEnabled",
    "authenticationMetadataProvider",
    "authenticationProvider",
    "authenticationStrategy",
    "authenticationWhitelist",
    "authorizationEnabled",
    "authorizationMetadataProvider",
    "authorizationProvider",
    "authorizationStrategy",
    "authorizationWhitelist",
    "autoCreateTopicEnable",
    "bindAddress",
    "brokerClusterName",
    "brokerConfigPath",
    "brokerIP1",
    "brokerIP2",
    "brokerId",
    "brokerName",
    "brokerRole",
    "brokerTopicEnable",
    "clusterTopicEnable",
    "defaultTopicQueueNums",
    "enableLmq",
    "enableMultiDispatch",
    "flushConsumerOffsetInterval",
    "flushDelayOffsetInterval",
    "flushDiskType",
    "flushIntervalCommitLog",
    "flushIntervalConsumeQueue",
    "haListenPort",
    "httpListenAddress",
    "inSyncReplicas",
    "indexFileReadEnable",
    "indexFileWriteEnable",
    "initAuthenticationUser",
    "innerClientAuthenticationCredentials",
    "listenPort",
    "liteEventCheckInterval",
    "liteSubscriptionCheckInterval",
    "liteTtlCheckInterval",
    "mappedFileSizeCommitLog",
    "mappedFileSizeConsumeQueue",
    "mappedFileSizeTimerLog",
    "mapperFileSizeBatchConsumeQueue",
    "maxHashSlotNum",
    "maxIndexNum",
    "maxTransferBytesOnMessageInDisk",
    "maxTransferBytesOnMessageInMemory",
    "maxTransferCountOnMessageInDisk",
    "maxTransferCountOnMessageInMemory",
    "messageDelayLevel",
    "messageIndexEnable",
    "metricsExporterType",
    "metricsPromExporterHost",
    "metricsPromExporterPort",
    "msgTraceTopicName",
    "multiPathSplitter",
    "readOnlyCommitLogStorePaths",
    "regionId",
    "registerBrokerTimeoutMills",
    "registerNameServerPeriod",
    "reviveQueueNum",
    "serverChannelMaxIdleTimeSeconds",
    "statefulAuthenticationCacheExpiredSecond",
    "storePathCommitLog",
    "storePathRootDir",
    "syncFlushTimeout",
    "timerFlushIntervalMs",
    "timerPrecisionMs",
    "timerRollWindowSlot",
    "timerWheelEnable",
    "traceOn",
    "traceTopicEnable",
];

/// Whether a change of a key counts only from the next start on.
pub fn needs_restart(key: &str) -> bool {
    RESTART_KEYS.binary_search(&key).is_ok()
}

#[cfg(test)]
mod tests {
    use aerobee_daemon::config::Keys as _;

    use super::*;
    use crate::config::Keys;

    #[test]
    fn the_list_is_sorted_and_names_keys_that_exist() {
        assert!(RESTART_KEYS.is_sorted());
        let known = Keys::keys();
        for key in RESTART_KEYS {
            assert!(known.iter().any(|known| known.name == *key), "{key}");
        }
    }
}
