// SPDX-License-Identifier: Apache-2.0
//! The metrics of a broker: Apache's names, with the units that its exporter appends
//! (`BrokerMetricsConstant`, `DefaultStoreMetricsConstant`, `PopMetricsConstant`,
//! `RemotingMetricsConstant`), and few of ours.

use aerobee_daemon::exposition::Metric;

macro_rules! metrics {
    ($($(#[$meta:meta])* $name:ident = $kind:ident($text:literal, $help:literal);)+) => {
        $($(#[$meta])* pub(crate) const $name: Metric = Metric::$kind($text, $help);)+

        /// All of them.
        pub const ALL: &[Metric] = &[$($name),+];
    };
}

metrics! {
    BROKER_PERMISSION = gauge("rocketmq_broker_permission", "Permission of all topics together: 4 read, 2 write.");
    TOPIC_NUMBER = gauge("rocketmq_topic_number", "Topics.");
    GROUP_NUMBER = gauge("rocketmq_consumer_group_number", "Subscription groups.");
    MESSAGES_IN = counter("rocketmq_messages_in_total", "Messages stored.");
    BYTES_IN = counter("rocketmq_throughput_in_total", "Bytes that stored messages take of the log.");
    MESSAGE_SIZE = histogram("rocketmq_message_size", "Bytes that a stored message takes of the log.");
    MESSAGES_OUT = counter("rocketmq_messages_out_total", "Messages handed to consumers.");
    BYTES_OUT = counter("rocketmq_throughput_out_total", "Bytes of messages handed to consumers.");
    TOPIC_CREATE_TIME = histogram("rocketmq_topic_create_execution_time_milliseconds", "Time to create or change topics on request.");
    GROUP_CREATE_TIME = histogram("rocketmq_consumer_group_create_execution_time_milliseconds", "Time to create or change groups on request.");
    RPC_LATENCY = histogram("rocketmq_rpc_latency_milliseconds", "Time from reading a request to its answer, which is that of all requests read at once; held ones until they were answered.");
    PRODUCER_CONNECTIONS = gauge("rocketmq_producer_connections", "Producers that are connected, one for each of their groups.");
    CONSUMER_CONNECTIONS = gauge("rocketmq_consumer_connections", "Consumers that are connected.");
    LAG_MESSAGES = gauge("rocketmq_consumer_lag_messages", "Messages that a group has not consumed.");
    LAG_LATENCY = gauge("rocketmq_consumer_lag_latency_milliseconds", "Age of the oldest message that a group has not consumed.");
    INFLIGHT_MESSAGES = gauge("rocketmq_consumer_inflight_messages", "Messages that a popping group holds and has not acknowledged.");
    QUEUEING_LATENCY = gauge("rocketmq_consumer_queueing_latency_milliseconds", "Age of the oldest message that a popping group has not got.");
    READY_MESSAGES = gauge("rocketmq_consumer_ready_messages", "Messages that a popping group has not got.");
    DEAD_LETTERS = counter("rocketmq_send_to_dlq_messages_total", "Messages that have become dead letters.");
    HALF_MESSAGES = gauge("rocketmq_half_messages", "Open transactions.");
    COMMITS = counter("rocketmq_commit_messages_total", "Transactions committed.");
    ROLLBACKS = counter("rocketmq_rollback_messages_total", "Transactions rolled back.");
    FINISH_LATENCY = histogram("rocketmq_finish_message_latency_milliseconds", "Age of transactions when they are committed, in seconds as in Apache's broker.");
    STORAGE_SIZE = gauge("rocketmq_storage_size_bytes", "Used bytes of the disk that holds the store.");
    FLUSH_BEHIND = gauge("rocketmq_storage_flush_behind_bytes", "Bytes of the log that are not on the disk yet.");
    DISPATCH_BEHIND = gauge("rocketmq_storage_dispatch_behind_bytes", "Bytes of the log whose keys are not in the index yet.");
    RESERVE_TIME = gauge("rocketmq_storage_message_reserve_time_milliseconds", "Age of the oldest message.");
    TIMER_ENQUEUE_LAG = gauge("rocketmq_timer_enqueue_lag", "Timer messages that are not in the wheel yet.");
    TIMER_ENQUEUE_LATENCY = gauge("rocketmq_timer_enqueue_latency_milliseconds", "Age of the oldest timer message that is not in the wheel yet.");
    TIMER_DEQUEUE_LAG = gauge("rocketmq_timer_dequeue_lag", "Timer messages that are due and not delivered, as far as the wheel knows.");
    TIMER_DEQUEUE_LATENCY = gauge("rocketmq_timer_dequeue_latency_milliseconds", "How late timer messages are delivered.");
    TIMING_MESSAGES = gauge("rocketmq_timing_messages", "Timer messages that wait.");
    TIMER_ENQUEUED = counter("rocketmq_timer_enqueue_total", "Timer messages sorted into the wheel.");
    TIMER_DEQUEUED = counter("rocketmq_timer_dequeue_total", "Timer messages delivered.");
    TIMER_SNAPSHOT = gauge("rocketmq_timer_message_snapshot", "Timer messages due within so many seconds, without those of the bound before.");
    DELAY = histogram("rocketmq_delay_message_latency_seconds", "How long timer messages are to wait.");
    REVIVE_IN = counter("rocketmq_pop_revive_in_message_total", "Check points written into the revive topic, and messages acknowledged.");
    REVIVE_RETRY = counter("rocketmq_pop_revive_retry_messages_total", "Messages put into retry topics because no acknowledgement came in time.");
    REVIVE_LAG = gauge("rocketmq_pop_revive_lag_milliseconds", "Entries of a queue of the revive topic that are still needed; Apache names messages so, too.");
    REVIVE_LATENCY = gauge("rocketmq_pop_revive_latency_milliseconds", "How late a queue of the revive topic puts messages back.");
    CHECKPOINTS = gauge("rocketmq_pop_checkpoint_buffer_size", "Check points that are open.");
    STORE_WRITABLE = gauge("aerobee_store_writable", "1 while the store takes messages; 0 after a failed sync or a full disk.");
    PUT_FAILED = counter("aerobee_put_failed_total", "Messages that could not be stored.");
}
