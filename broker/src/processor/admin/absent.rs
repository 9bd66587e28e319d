// SPDX-License-Identifier: Apache-2.0
//! Requests for parts that Apache's broker has and this one has not: each is refused with the reason,
//! so that whoever asks knows what to do instead.

use aerobee_remoting::{Reply, RequestCode, ResponseCode};

/// Why a code is not served, if it is one of those.
fn reason(code: RequestCode) -> Option<(ResponseCode, &'static str)> {
    let unsupported = ResponseCode::REQUEST_CODE_NOT_SUPPORTED;
    let failed = ResponseCode::SYSTEM_ERROR;
    Some(match code {
        RequestCode::UPDATE_COLD_DATA_FLOW_CTR_CONFIG
        | RequestCode::REMOVE_COLD_DATA_FLOW_CTR_CONFIG
        | RequestCode::GET_COLD_DATA_FLOW_CTR_INFO => (
            unsupported,
            "cold reads run beside the rest and are bounded by themselves: there is no control by group to set",
        ),
        RequestCode::SET_COMMITLOG_READ_MODE => (
            unsupported,
            "how far the system reads ahead in the log follows the way it is read and is not set by hand",
        ),
        RequestCode::CHECK_ROCKSDB_CQ_WRITE_PROGRESS
        | RequestCode::EXPORT_ROCKSDB_CONFIG_TO_JSON => (
            unsupported,
            "this broker keeps nothing in RocksDB: queues are files, tables are JSON files in the store's config folder",
        ),
        RequestCode::UPDATE_AND_CREATE_STATIC_TOPIC => (
            unsupported,
            "static topics are not supported by this version: create an ordinary topic with as many queues on each broker",
        ),
        RequestCode::RESET_MASTER_FLUSH_OFFSET => (
            unsupported,
            "there are no slaves: a master knows by itself how far its log is flushed",
        ),
        RequestCode::POP_ROLLBACK => (
            unsupported,
            "popped messages are kept track of in the log only: there are no key-value records to roll back",
        ),
        RequestCode::GET_BROKER_EPOCH_CACHE => (
            failed,
            "the broker runs without a controller (enableControllerMode=false) and has no epochs",
        ),
        _ => return None,
    })
}

/// Why the broker does not serve a code of Apache's, if it is one of those that it refuses with a
/// reason.
#[must_use]
pub fn absent_reason(code: RequestCode) -> Option<&'static str> {
    reason(code).map(|(_, reason)| reason)
}

/// Refuses a request that nobody serves.
#[cold]
pub(crate) fn refuse(code: RequestCode, reply: Reply<'_>) {
    match reason(code) {
        Some((answer, reason)) if answer == ResponseCode::REQUEST_CODE_NOT_SUPPORTED => {
            reply.fail(
                answer,
                format_args!(" request type {} not supported: {reason}", code.0),
            );
        }
        Some((answer, reason)) => reply.fail(answer, reason),
        None => reply.unsupported(code.0),
    }
}
