// SPDX-License-Identifier: Apache-2.0
//! Topics that every broker has. Apache: `TopicConfigManager.init`.

use aerobee_message::topic as names;
use aerobee_remoting::body::topic::TopicConfig;

use crate::{
    config::{BrokerKeys, Identity},
    topics::{PERM_INHERIT, PERM_READ, PERM_WRITE},
};

const READ_WRITE: i32 = PERM_READ | PERM_WRITE;
/// Queues of the topic that Apache's benchmark sends to.
const BENCHMARK_QUEUES: i32 = 1024;
/// Queues of the topic that is named after the cluster.
const CLUSTER_QUEUES: i32 = 16;

/// The topics that exist before any client asks for one.
pub(crate) fn topics(
    keys: &BrokerKeys,
    identity: &Identity,
    delay_levels: i32,
) -> Vec<TopicConfig> {
    let template = |enabled| PERM_INHERIT | if enabled { READ_WRITE } else { 0 };
    let mut topics = vec![
        topic(names::SELF_TEST, 1, READ_WRITE),
        topic(names::BENCHMARK, BENCHMARK_QUEUES, READ_WRITE),
        topic(
            &identity.cluster,
            CLUSTER_QUEUES,
            template(keys.cluster_topic_enable),
        ),
        topic(&identity.broker_name, 1, template(keys.broker_topic_enable)),
        topic(names::OFFSET_MOVED_EVENT, 1, READ_WRITE),
        topic(names::SCHEDULE, delay_levels, READ_WRITE),
        topic(
            &format!("{}_{}", identity.cluster, names::REPLY_SUFFIX),
            1,
            READ_WRITE,
        ),
        topic(
            &format!("{}{}", names::REVIVE_LOG_PREFIX, identity.cluster),
            keys.revive_queue_num,
            READ_WRITE,
        ),
        topic(
            &format!(
                "{}{}",
                names::SYNC_BROKER_MEMBER_PREFIX,
                identity.broker_name
            ),
            1,
            PERM_INHERIT,
        ),
        topic(names::TRANS_HALF, 1, READ_WRITE),
        topic(names::TRANS_OP_HALF, 1, READ_WRITE),
        topic(names::ROCKSDB_TRANS_HALF, 1, READ_WRITE),
        topic(names::ROCKSDB_TRANS_OP_HALF, 1, READ_WRITE),
        topic(names::WHEEL_TIMER, 1, READ_WRITE),
    ];
    if keys.auto_create_topic_enable {
        let queues = keys.default_topic_queue_nums;
        topics.push(topic(names::AUTO_CREATE, queues, template(true)));
    }
    if keys.trace_topic_enable {
        topics.push(topic(&keys.msg_trace_topic_name, 1, READ_WRITE));
    }
    topics
}

fn topic(name: &str, queues: i32, perm: i32) -> TopicConfig {
    TopicConfig {
        topic_name: name.to_owned(),
        read_queue_nums: queues,
        write_queue_nums: queues,
        perm,
        ..TopicConfig::default()
    }
}
