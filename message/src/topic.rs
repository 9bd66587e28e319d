// SPDX-License-Identifier: Apache-2.0
//! Reserved and derived topic names, and the rules for names (Apache: `common/topic/TopicValidator.java`,
//! `common/MixAll.java`).

/// Starts the retry topic of a consumer group.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// Starts the dead-letter topic of a consumer group.
pub const DLQ_PREFIX: &str = "%DLQ%";
/// Starts the name of a light queue.
pub const LMQ_PREFIX: &str = "%LMQ%";
/// Topics that start so are system topics.
pub const SYSTEM_PREFIX: &str = "rmq_sys_";
/// Groups that start so are system groups.
pub const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";
/// Ends the request–reply topic of a cluster.
pub const REPLY_SUFFIX: &str = "REPLY_TOPIC";
/// Starts the topic that a broker's pop state is kept in.
pub const REVIVE_LOG_PREFIX: &str = "rmq_sys_REVIVE_LOG_";
/// Starts the topic in which slaves of a broker group talk.
pub const SYNC_BROKER_MEMBER_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";

/// The template for topics made on first use.
pub const AUTO_CREATE: &str = "TBW102";
/// Messages of the delay levels.
pub const SCHEDULE: &str = "SCHEDULE_TOPIC_XXXX";
/// For load tests.
pub const BENCHMARK: &str = "BenchmarkTest";
/// Half messages of transactions.
pub const TRANS_HALF: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Which half messages are done.
pub const TRANS_OP_HALF: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
/// Half messages of Apache's `RocksDB` engine, 5.5.
pub const ROCKSDB_TRANS_HALF: &str = "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC";
/// The op topic of Apache's `RocksDB` engine, 5.5.
pub const ROCKSDB_TRANS_OP_HALF: &str = "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC";
/// Message traces.
pub const TRACE: &str = "RMQ_SYS_TRACE_TOPIC";
/// Half messages that nobody could decide.
pub const TRANS_CHECK_MAX_TIME: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// Self test.
pub const SELF_TEST: &str = "SELF_TEST_TOPIC";
/// Offset moved events.
pub const OFFSET_MOVED_EVENT: &str = "OFFSET_MOVED_EVENT";
/// Consumer offsets of Apache's `RocksDB` engine.
pub const CHECKPOINT: &str = "CHECKPOINT_TOPIC";
/// Timer messages.
pub const WHEEL_TIMER: &str = "rmq_sys_wheel_timer";

/// Longest topic name, in UTF-16 units; longer ones need the second record version.
pub const TOPIC_MAX_BYTES: usize = 127;
/// Longest retry or dead-letter topic name.
pub const RETRY_TOPIC_MAX_BYTES: usize = 255;
/// Longest group name: two of it and a topic have to fit into a retry topic.
pub const GROUP_MAX_BYTES: usize = 120;

/// Topics reserved by name, whatever the cluster is called.
pub const SYSTEM_TOPICS: [&str; 12] = [
    AUTO_CREATE,
    SCHEDULE,
    BENCHMARK,
    TRANS_HALF,
    TRACE,
    TRANS_OP_HALF,
    TRANS_CHECK_MAX_TIME,
    SELF_TEST,
    OFFSET_MOVED_EVENT,
    CHECKPOINT,
    ROCKSDB_TRANS_HALF,
    ROCKSDB_TRANS_OP_HALF,
];

/// Topics that clients may not send to.
pub const NOT_SENDABLE_TOPICS: [&str; 8] = [
    SCHEDULE,
    TRANS_HALF,
    TRANS_OP_HALF,
    TRANS_CHECK_MAX_TIME,
    SELF_TEST,
    OFFSET_MOVED_EVENT,
    ROCKSDB_TRANS_HALF,
    ROCKSDB_TRANS_OP_HALF,
];

/// Why a name was refused, in the words that Apache's broker answers with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty, or nothing but white space.
    #[error("The specified {0} is blank.")]
    Blank(&'static str),
    /// A character outside `% | a-z A-Z 0-9 _ -`.
    #[error(
        "The specified {kind}: {name}, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"
    )]
    Illegal {
        /// `topic` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// Longer than such a name may be.
    #[error("The specified {kind}: {name}, is longer than {kind} max length: {max}")]
    TooLong {
        /// `topic` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
        /// The limit.
        max: usize,
    },
    /// A retry or dead-letter topic that is longer than such a name may be.
    #[error(
        "The specified topic is DLQ or Retry topic: {name}, and it's longer than topic max length: {max}"
    )]
    RetryTooLong {
        /// The name.
        name: String,
        /// The limit.
        max: usize,
    },
}

fn is_legal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'-' | b'_')
}

fn check_characters(kind: &'static str, name: &str) -> Result<(), NameError> {
    if name.chars().all(char::is_whitespace) {
        return Err(NameError::Blank(kind));
    }
    if !name.bytes().all(is_legal) {
        return Err(NameError::Illegal {
            kind,
            name: name.to_owned(),
        });
    }
    Ok(())
}

/// Checks a topic name by Apache's rules.
///
/// # Errors
/// The reason, worded as Apache words it.
pub fn validate_topic(topic: &str) -> Result<(), NameError> {
    check_characters("topic", topic)?;
    if topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX) {
        if topic.len() > RETRY_TOPIC_MAX_BYTES {
            return Err(NameError::RetryTooLong {
                name: topic.to_owned(),
                max: RETRY_TOPIC_MAX_BYTES,
            });
        }
    } else if topic.len() > TOPIC_MAX_BYTES {
        return Err(NameError::TooLong {
            kind: "topic",
            name: topic.to_owned(),
            max: TOPIC_MAX_BYTES,
        });
    }
    Ok(())
}

/// Checks a group name by Apache's rules.
///
/// # Errors
/// The reason, worded as Apache words it.
pub fn validate_group(group: &str) -> Result<(), NameError> {
    check_characters("group", group)?;
    if group.len() > GROUP_MAX_BYTES {
        return Err(NameError::TooLong {
            kind: "group",
            name: group.to_owned(),
            max: GROUP_MAX_BYTES,
        });
    }
    Ok(())
}

/// Whether a topic is reserved: by name, or by its prefix. Topics named after a cluster or broker are known only to
/// the broker.
#[must_use]
pub fn is_system(topic: &str) -> bool {
    topic.starts_with(SYSTEM_PREFIX) || SYSTEM_TOPICS.contains(&topic)
}

/// Whether clients are refused to send to a topic.
#[must_use]
pub fn is_not_sendable(topic: &str) -> bool {
    NOT_SENDABLE_TOPICS.contains(&topic)
}

/// The retry topic of a group.
#[must_use]
pub fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

/// The dead-letter topic of a group.
#[must_use]
pub fn dead_letter_topic(group: &str) -> String {
    format!("{DLQ_PREFIX}{group}")
}

/// The group that a retry topic belongs to. Of a pop retry topic of the second kind, `%RETRY%group+topic`, it is the
/// part before the plus; a name without the prefix is returned as it is.
#[must_use]
pub fn group_of_retry_topic(topic: &str) -> &str {
    let rest = topic.strip_prefix(RETRY_PREFIX).unwrap_or(topic);
    rest.split_once('+').map_or(rest, |(group, _)| group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        assert_eq!(validate_topic(&"a".repeat(127)), Ok(()));
        assert_eq!(
            validate_topic(&"a".repeat(128)).unwrap_err().to_string(),
            format!(
                "The specified topic: {}, is longer than topic max length: 127",
                "a".repeat(128)
            )
        );
        assert_eq!(validate_topic(&retry_topic(&"a".repeat(248))), Ok(()));
        assert!(
            validate_topic(&retry_topic(&"a".repeat(249)))
                .unwrap_err()
                .to_string()
                .contains("DLQ or Retry")
        );
        assert_eq!(validate_group(&"g".repeat(120)), Ok(()));
        assert!(validate_group(&"g".repeat(121)).is_err());
    }

    #[test]
    fn characters() {
        assert_eq!(
            validate_topic(" ").unwrap_err().to_string(),
            "The specified topic is blank."
        );
        assert_eq!(
            validate_group("").unwrap_err().to_string(),
            "The specified group is blank."
        );
        for bad in ["a b", "../x", "a+b", "ä", "a\0", "a/b", "."] {
            assert!(validate_topic(bad).is_err(), "{bad}");
        }
        assert_eq!(validate_topic("%a|B-9_z"), Ok(()));
    }

    #[test]
    fn reserved() {
        assert!(is_system("rmq_sys_x") && is_system(AUTO_CREATE) && !is_system("mine"));
        assert!(
            is_not_sendable(SCHEDULE)
                && !is_not_sendable(AUTO_CREATE)
                && !is_not_sendable(CHECKPOINT)
        );
        assert_eq!(group_of_retry_topic("%RETRY%g+t"), "g");
        assert_eq!(group_of_retry_topic("%RETRY%g_t"), "g_t");
    }
}
