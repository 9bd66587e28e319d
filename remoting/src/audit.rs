// SPDX-License-Identifier: Apache-2.0
//! One line of the log for each act of an operator: who, which request, with which fields. Whether it
//! was allowed and done is told by the lines that follow; an act that was refused is worth a line, too.

use std::fmt::Write as _;

use crate::{
    Command, Connection, RequestCode,
    header::auth::{ACCESS_KEY, SECURITY_TOKEN, SIGNATURE},
};

/// Most bytes of one line's fields.
const FIELDS_MAX_BYTES: usize = 512;
/// Fields that prove who somebody is.
const PROOFS: [&str; 3] = [ACCESS_KEY, SIGNATURE, SECURITY_TOKEN];

/// Logs that somebody asked for a change. The body is not told: it may be large, or hold secrets.
pub fn note(command: &Command<'_>, connection: &Connection) {
    let code = RequestCode(command.code);
    tracing::info!(
        target: "aerobee::admin",
        peer = %connection.peer(),
        user = command.fields.get(ACCESS_KEY),
        code = command.code,
        request = code.name().unwrap_or("unknown"),
        fields = %fields(command),
        body_bytes = command.body.len(),
        "administrative request"
    );
}

fn fields(command: &Command<'_>) -> String {
    let mut text = String::new();
    for (name, value) in command.fields.iter() {
        if PROOFS.contains(&name) {
            continue;
        }
        let separator = if text.is_empty() { "" } else { " " };
        // Writing into a string cannot fail; a debugged value has no line ends.
        let _ = write!(text, "{separator}{name}={value:?}");
        if text.len() > FIELDS_MAX_BYTES {
            let end = text.floor_char_boundary(FIELDS_MAX_BYTES);
            text.truncate(end);
            text.push('…');
            break;
        }
    }
    text
}

/// Whether a request changes what operators own: topics, groups, offsets of groups, configuration,
/// permissions, files.
#[must_use]
pub fn is_administrative(code: RequestCode) -> bool {
    matches!(
        code,
        RequestCode::UPDATE_AND_CREATE_TOPIC
            | RequestCode::UPDATE_AND_CREATE_TOPIC_LIST
            | RequestCode::UPDATE_AND_CREATE_STATIC_TOPIC
            | RequestCode::DELETE_TOPIC_IN_BROKER
            | RequestCode::DELETE_TOPIC_IN_NAMESRV
            | RequestCode::REGISTER_TOPIC_IN_NAMESRV
            | RequestCode::UPDATE_BROKER_CONFIG
            | RequestCode::UPDATE_NAMESRV_CONFIG
            | RequestCode::PUT_KV_CONFIG
            | RequestCode::DELETE_KV_CONFIG
            | RequestCode::WIPE_WRITE_PERM_OF_BROKER
            | RequestCode::ADD_WRITE_PERM_OF_BROKER
            | RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP
            | RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST
            | RequestCode::DELETE_SUBSCRIPTIONGROUP
            | RequestCode::UPDATE_AND_GET_GROUP_FORBIDDEN
            | RequestCode::INVOKE_BROKER_TO_RESET_OFFSET
            | RequestCode::CLONE_GROUP_OFFSET
            | RequestCode::SET_MESSAGE_REQUEST_MODE
            | RequestCode::RESUME_CHECK_HALF_MESSAGE
            | RequestCode::CONSUME_MESSAGE_DIRECTLY
            | RequestCode::TRIGGER_DELETE_FILES
            | RequestCode::DELETE_EXPIRED_COMMITLOG
            | RequestCode::CLEAN_EXPIRED_CONSUMEQUEUE
            | RequestCode::CLEAN_UNUSED_TOPIC
            | RequestCode::TRIGGER_LITE_DISPATCH
            | RequestCode::AUTH_CREATE_USER
            | RequestCode::AUTH_UPDATE_USER
            | RequestCode::AUTH_DELETE_USER
            | RequestCode::AUTH_CREATE_ACL
            | RequestCode::AUTH_UPDATE_ACL
            | RequestCode::AUTH_DELETE_ACL
    )
}
