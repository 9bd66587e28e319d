// SPDX-License-Identifier: Apache-2.0
//! Which property names belong to the system (Apache: `common/message/MessageConst.java`).

use aerobee_message::properties::keys;

/// Names that clients may not send as user properties: Apache's `STRING_HASH_SET`.
fn is_reserved(name: &str) -> bool {
    matches!(
        name,
        keys::TRACE_ON
            | keys::MSG_REGION
            | keys::KEYS
            | keys::TAGS
            | keys::WAIT
            | keys::DELAY
            | keys::RETRY_TOPIC
            | keys::REAL_TOPIC
            | keys::REAL_QID
            | keys::TRAN_MSG
            | keys::PGROUP
            | keys::MIN_OFFSET
            | keys::MAX_OFFSET
            | keys::BUYER_ID
            | keys::ORIGIN_MESSAGE_ID
            | keys::TRANSFER_FLAG
            | keys::CORRECTION_FLAG
            | keys::MQ2_FLAG
            | keys::RECONSUME_TIME
            | keys::UNIQ_KEY
            | keys::MAX_RECONSUME_TIMES
            | keys::CONSUME_START_TIME
            | keys::POP_CK
            | keys::POP_CK_OFFSET
            | keys::FIRST_POP_TIME
            | keys::TRAN_PREPARED_QUEUE_OFFSET
            | keys::DUP_INFO
            | keys::EXTEND_UNIQ_INFO
            | keys::INSTANCE_ID
            | keys::CORRELATION_ID
            | keys::REPLY_TO_CLIENT
            | keys::TTL
            | keys::ARRIVE_TIME
            | keys::PUSH_REPLY_TIME
            | keys::CLUSTER
            | keys::MSG_TYPE
            | keys::INNER_MULTI_QUEUE_OFFSET
            | keys::TIMER_DELAY_MS
            | keys::TIMER_DELAY_SEC
            | keys::TIMER_DELIVER_MS
            | keys::TIMER_ENQUEUE_MS
            | keys::TIMER_DEQUEUE_MS
            | keys::TIMER_ROLL_TIMES
            | keys::TIMER_OUT_MS
            | keys::TIMER_DEL_UNIQKEY
            | keys::TIMER_DELAY_LEVEL
            | keys::BORN_HOST
            | keys::BORN_TIMESTAMP
            | keys::DLQ_ORIGIN_TOPIC
            | keys::DLQ_ORIGIN_MESSAGE_ID
            | keys::CRC32
    )
}

/// Names that Apache's set lacks although the system writes them: clients neither send nor see them.
fn is_internal(name: &str) -> bool {
    matches!(
        name,
        keys::SHARDING_KEY
            | keys::TRACE_CONTEXT
            | keys::CHECK_IMMUNITY_TIME_IN_SECONDS
            | keys::TRANSACTION_ID
            | keys::TRANSACTION_CHECK_TIMES
            | keys::INNER_NUM
            | keys::INNER_BASE
            | keys::INNER_MULTI_DISPATCH
            | keys::LITE_TOPIC
            | keys::PRIORITY
            | keys::ORIGIN_GROUP
            | keys::TIMER_ROLL_LABEL
            | keys::TRANS_OFFSET
            | keys::PROPERTY_FORWARD_QUEUE_ID
            | keys::REDIRECT
    ) || name.starts_with(keys::TRANSIENT_PREFIX)
}

/// Whether clients may not choose a name.
pub(crate) fn is_system(name: &str) -> bool {
    is_reserved(name) || is_internal(name)
}
