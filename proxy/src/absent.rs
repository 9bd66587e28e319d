// SPDX-License-Identifier: Apache-2.0
//! Keys that Apache's proxy reads and this one does not, with the reason.

/// Every key of `ProxyConfig` 5.5.0 that has no effect, by the reason why.
pub const WITHOUT_EFFECT: &[(&str, &[&str])] = &[
    (
        "calls are tasks of one runtime; there are no pools and no queues to size",
        &[
            "consumerProcessorThreadPoolNums",
            "consumerProcessorThreadPoolQueueCapacity",
            "enableGrpcEpoll",
            "grpcBossLoopNum",
            "grpcClientManagerThreadPoolNums",
            "grpcClientManagerThreadQueueCapacity",
            "grpcConsumerThreadPoolNums",
            "grpcConsumerThreadQueueCapacity",
            "grpcProducerThreadPoolNums",
            "grpcProducerThreadQueueCapacity",
            "grpcRouteThreadPoolNums",
            "grpcRouteThreadQueueCapacity",
            "grpcThreadPoolNums",
            "grpcThreadPoolQueueCapacity",
            "grpcTransactionThreadPoolNums",
            "grpcTransactionThreadQueueCapacity",
            "grpcWorkerLoopNum",
            "heartbeatSyncerThreadPoolNums",
            "heartbeatSyncerThreadPoolQueueCapacity",
            "metadataThreadPoolNums",
            "metadataThreadPoolQueueCapacity",
            "producerProcessorThreadPoolNums",
            "producerProcessorThreadPoolQueueCapacity",
            "remotingDefaultThreadPoolNums",
            "remotingDefaultThreadPoolQueueCapacity",
            "remotingHeartbeatThreadPoolNums",
            "remotingHeartbeatThreadPoolQueueCapacity",
            "remotingPullMessageThreadPoolNums",
            "remotingPullThreadPoolQueueCapacity",
            "remotingSendMessageThreadPoolNums",
            "remotingSendThreadPoolQueueCapacity",
            "remotingTopicRouteThreadPoolNums",
            "remotingTopicRouteThreadPoolQueueCapacity",
            "remotingUpdateOffsetThreadPoolNums",
            "remotingUpdateOffsetThreadPoolQueueCapacity",
            "remotingWaitTimeMillsInDefaultQueue",
            "remotingWaitTimeMillsInHeartbeatQueue",
            "remotingWaitTimeMillsInPullQueue",
            "remotingWaitTimeMillsInSendQueue",
            "remotingWaitTimeMillsInTopicRouteQueue",
            "remotingWaitTimeMillsInUpdateOffsetQueue",
            "renewMaxThreadPoolNums",
            "renewThreadPoolNums",
            "renewThreadPoolQueueCapacity",
            "returnHandleGroupThreadPoolNums",
            "topicRouteServiceThreadPoolNums",
            "topicRouteServiceThreadPoolQueueCapacity",
            "transactionHeartbeatThreadPoolNums",
            "transactionHeartbeatThreadPoolQueueCapacity",
        ],
    ),
    (
        "the time or bound is fixed",
        &[
            "channelExpiredInSeconds",
            "contextExpiredInSeconds",
            "enableBatchAck",
            "grpcClientConsumerMinLongPollingTimeoutMillis",
            "lockTimeoutMsInHandleGroup",
            "longPollingReserveTimeInMillis",
        ],
    ),
    (
        "the broker decides it",
        &[
            "delayLevelTable",
            "messageDelayLevel",
            "regionId",
            "traceOn",
            "useDelayLevel",
        ],
    ),
    (
        "types of topics and settings of groups are kept as long as routes are",
        &[
            "subscriptionGroupConfigCacheExpiredSeconds",
            "subscriptionGroupConfigCacheMaxNum",
            "subscriptionGroupConfigCacheRefreshSeconds",
            "topicConfigCacheExpiredSeconds",
            "topicConfigCacheMaxNum",
            "topicConfigCacheRefreshSeconds",
        ],
    ),
    (
        "name servers are named by `namesrvAddr`, and a call goes to the broker that has the queue",
        &[
            "detectInterval",
            "detectTimeout",
            "enableRemotingLocalProxyGrpc",
            "localProxyConnectTimeoutMs",
            "localServeAddr",
            "namesrvDomain",
            "namesrvDomainSubgroup",
            "sendLatencyEnable",
            "startDetectorEnable",
        ],
    ),
    (
        "what ends a transaction stands in its id",
        &[
            "transactionDataExpireMillis",
            "transactionDataExpireScanPeriodMillis",
            "transactionDataMaxNum",
            "transactionDataMaxWaitClearMillis",
            "transactionHeartbeatBatchNum",
        ],
    ),
    (
        "proxies of a cluster do not tell each other of their clients",
        &[
            "heartbeatSyncerTopicClusterName",
            "heartbeatSyncerTopicName",
            "proxyClusterName",
        ],
    ),
    (
        "users and access lists are not supported by this version; what would switch them on is refused",
        &[
            "aclCacheExpiredSeconds",
            "aclCacheMaxNum",
            "aclCacheRefreshSeconds",
            "enableAclRpcHookForClusterMode",
            "userCacheExpiredSeconds",
            "userCacheMaxNum",
            "userCacheRefreshSeconds",
        ],
    ),
    (
        "metrics are scraped, not pushed; nothing is printed into a log at intervals",
        &[
            "enablePrintJstack",
            "metricCollectorAddress",
            "metricCollectorMode",
            "metricGrpcExporterIntervalInMills",
            "metricGrpcExporterTimeOutInMills",
            "metricLoggingExporterIntervalInMills",
            "metricsGrpcExporterHeader",
            "metricsGrpcExporterTarget",
            "metricsInDelta",
            "printJstackInMillis",
            "printThreadPoolStatusInMillis",
        ],
    ),
    (
        "metrics of the proxy carry no labels of the operator",
        &["metricsLabel"],
    ),
];

/// Keys that promise that nobody gets in without being known: they are refused when they are on. The
/// proxy reads the keys of `AuthConfig` from the same file.
const PROMISES: [&str; 3] = [
    "authenticationEnabled",
    "authorizationEnabled",
    "enableAclRpcHookForClusterMode",
];

/// Whether a proxy must not run with this value of a key that it does not know.
pub(crate) fn is_broken_promise(key: &str, value: &serde_json::Value) -> bool {
    let is_on = match value {
        serde_json::Value::Bool(on) => *on,
        serde_json::Value::String(text) => text.trim().eq_ignore_ascii_case("true"),
        _ => false,
    };
    is_on && PROMISES.contains(&key)
}
