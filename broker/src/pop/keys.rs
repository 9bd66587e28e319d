// SPDX-License-Identifier: Apache-2.0
//! Keys of `broker.conf` that concern popping, with Apache's names and defaults (`BrokerConfig`).

use aerobee_daemon::{config, config_enum};

config_enum! {
    /// How groups get the messages of a topic unless it is set for them.
    pub enum DefaultRequestMode {
        /// They pull.
        Pull = "PULL",
        /// They pop.
        Pop = "POP",
    }
}

config! {
    /// Popping.
    pub struct PopKeys {
        /// Percent of pops that look into the retry topic first.
        "popFromRetryProbability" => pop_from_retry_probability: i32 [0..=100] = 20,
        /// The same for topics of messages with priorities.
        "popFromRetryProbabilityForPriority" => pop_from_retry_probability_for_priority: i32 [0..=100] = 0,
        /// Percent of pops of such topics that go by priority.
        "priorityFactor" => priority_factor: i32 [0..=100] = 100,
        /// Whether 0 is the lowest priority.
        "priorityOrderAsc" => priority_order_asc: bool = true,
        /// Whether retry topics are named `%RETRY%group+topic`, which is never ambiguous.
        "enableRetryTopicV2" => enable_retry_topic_v2: bool = false,
        /// Whether retry topics of the older name are read as well then.
        "retrieveMessageFromPopRetryTopicV1" => retrieve_message_from_pop_retry_topic_v1: bool = true,
        /// Whether a retry topic has as many queues as its topic, and messages keep theirs.
        "useSeparateRetryQueue" => use_separate_retry_queue: bool = false,
        /// Whether retried messages are handed out under the name of the retry topic.
        "popResponseReturnActualRetryTopic" => pop_response_return_actual_retry_topic: bool = false,
        /// Whether a new group that starts at the end starts at the first message of a queue that is
        /// still in memory as a whole.
        "initPopOffsetByCheckMsgInMem" => init_pop_offset_by_check_msg_in_mem: bool = true,
        /// Most pops that wait.
        "maxPopPollingSize" => max_pop_polling_size: i32 [0..=10_000_000] = 100_000,
        /// Most pops of one group, topic and queue that wait.
        "popPollingSize" => pop_polling_size: i32 [0..=1_000_000] = 1_024,
        /// Whether a queue with too many unacknowledged messages is not popped from.
        "enablePopMessageThreshold" => enable_pop_message_threshold: bool = false,
        /// How many are too many.
        "popInflightMessageThreshold" => pop_inflight_message_threshold: i64 [0..=1_000_000_000] = 10_000,
        /// Whether notifications look at the filter.
        "useMessageFilterForNotification" => use_message_filter_for_notification: bool = true,
        /// Most entries that they look at.
        "maxMessageFilterNumForNotification" => max_message_filter_num_for_notification: i32 [1..=800] = 64,
        /// Whether the broker shares out queues to clients that ask.
        "serverLoadBalancerEnable" => server_load_balancer_enable: bool = true,
        /// How groups get the messages of a topic unless it is set for them.
        "defaultMessageRequestMode" => default_message_request_mode: DefaultRequestMode = DefaultRequestMode::Pull,
        /// How many more clients share a queue then when popping; none for all.
        "defaultPopShareQueueNum" => default_pop_share_queue_num: i32 [-1..=1_000_000] = -1,
        /// How long a route that the broker asked for counts, ms.
        "loadBalancePollNameServerInterval" => load_balance_poll_name_server_interval: i64 [1_000..=600_000] = 30_000,
    }
}
