// SPDX-License-Identifier: Apache-2.0
//! Handles of popped messages, the texts that clients make them of, and the names of pop retry
//! topics. Apache: `ExtraInfoUtil`, `KeyBuilder`.

use std::fmt::Write as _;

use aerobee_message::topic::RETRY_PREFIX;

/// Stands for a queue of the revive topic in handles of ordered pops, which have no check point.
pub(crate) const ORDER_QUEUE: i32 = 999;

/// Which of the topics of a pop a message comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The topic itself.
    Normal,
    /// `%RETRY%group_topic`.
    RetryV1,
    /// `%RETRY%group+topic`.
    RetryV2,
}

impl Kind {
    /// Of a topic by its name.
    pub(crate) fn of(topic: &str) -> Self {
        match topic.strip_prefix(RETRY_PREFIX) {
            None => Self::Normal,
            Some(rest) if rest.contains('+') => Self::RetryV2,
            Some(_) => Self::RetryV1,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "0" => Some(Self::Normal),
            "1" => Some(Self::RetryV1),
            "2" => Some(Self::RetryV2),
            _ => None,
        }
    }

    const fn digit(self) -> char {
        match self {
            Self::Normal => '0',
            Self::RetryV1 => '1',
            Self::RetryV2 => '2',
        }
    }
}

/// The pop retry topic of a group and topic.
pub(crate) fn retry_topic(group: &str, topic: &str, v2: bool) -> String {
    let between = if v2 { '+' } else { '_' };
    format!("{RETRY_PREFIX}{group}{between}{topic}")
}

/// The topic that messages of this kind are in; `None` when the kind is none.
pub(crate) fn real_topic(group: &str, topic: &str, kind: &str) -> Option<String> {
    Some(match Kind::parse(kind)? {
        Kind::Normal => topic.to_owned(),
        Kind::RetryV1 => retry_topic(group, topic, false),
        Kind::RetryV2 => retry_topic(group, topic, true),
    })
}

/// The topic that a pop retry topic of a group belongs to; any other name is returned as it is.
pub(crate) fn normal_topic<'a>(topic: &'a str, group: &str) -> &'a str {
    topic
        .strip_prefix(RETRY_PREFIX)
        .and_then(|rest| rest.strip_prefix(group))
        .and_then(|rest| rest.strip_prefix(['_', '+']))
        .unwrap_or(topic)
}

/// Why a text is no handle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the handle [{text}] is not one of a popped message: {fields} fields")]
pub(crate) struct HandleError {
    text: String,
    fields: usize,
}

/// A handle: `startOffset popTime invisibleTime reviveQueue kind broker [queueId [offset]]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle<'a> {
    pub(crate) start: i64,
    pub(crate) pop_time: i64,
    pub(crate) invisible_time: i64,
    pub(crate) revive_queue: i32,
    pub(crate) broker: &'a str,
}

impl<'a> Handle<'a> {
    /// Reads a handle.
    pub(crate) fn parse(text: &'a str) -> Result<Self, HandleError> {
        Self::read(text).ok_or_else(|| HandleError {
            text: text.chars().take(128).collect(),
            fields: text.split(' ').count(),
        })
    }

    fn read(text: &'a str) -> Option<Self> {
        let mut fields = text.split(' ');
        let handle = Self {
            start: fields.next()?.parse().ok()?,
            pop_time: fields.next()?.parse().ok()?,
            invisible_time: fields.next()?.parse().ok()?,
            revive_queue: fields.next()?.parse().ok()?,
            broker: {
                Kind::parse(fields.next()?)?;
                fields.next()?
            },
        };
        Some(handle)
    }

    /// When the message becomes visible again.
    pub(crate) fn due(&self) -> i64 {
        self.pop_time.saturating_add(self.invisible_time)
    }

    /// The handle of a message, as the client would make it.
    pub(crate) fn text(&self, kind: Kind, queue_id: i32, offset: i64) -> String {
        format!(
            "{} {} {} {} {} {} {queue_id} {offset}",
            self.start,
            self.pop_time,
            self.invisible_time,
            self.revive_queue,
            kind.digit(),
            self.broker
        )
    }
}

/// Adds a queue to `startOffsetInfo`. Writing into a text cannot fail, here and below.
pub(crate) fn push_start(info: &mut String, kind: Kind, queue_id: i32, start: i64) {
    separate(info);
    let _ = write!(info, "{} {queue_id} {start}", kind.digit());
}

/// Adds a queue to `msgOffsetInfo`.
pub(crate) fn push_offsets(info: &mut String, kind: Kind, queue_id: i32, offsets: &[i64]) {
    separate(info);
    let _ = write!(info, "{} {queue_id} ", kind.digit());
    let mut digits = itoa::Buffer::new();
    for (index, offset) in offsets.iter().enumerate() {
        if index > 0 {
            info.push(',');
        }
        info.push_str(digits.format(*offset));
    }
}

/// Adds a message to `orderCountInfo`.
pub(crate) fn push_count(info: &mut String, kind: Kind, queue_id: i32, offset: i64, count: i32) {
    separate(info);
    let _ = write!(info, "{} qo{queue_id}%{offset} {count}", kind.digit());
}

/// Adds a queue to `orderCountInfo`.
pub(crate) fn push_least_count(info: &mut String, kind: Kind, queue_id: i32, count: i32) {
    separate(info);
    let _ = write!(info, "{} {queue_id} {count}", kind.digit());
}

fn separate(info: &mut String) {
    if !info.is_empty() {
        info.push(';');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_read_back() {
        let text = "12 1700000000000 60000 3 1 broker-a 0 15";
        let handle = Handle::parse(text).unwrap();
        assert_eq!((handle.start, handle.revive_queue), (12, 3));
        assert_eq!(handle.due(), 1_700_000_060_000);
        assert_eq!(handle.text(Kind::RetryV1, 0, 15), text);
        for bad in ["", "1 2 3", "a 1 2 3 0 b", "1 2 3 4 7 b", "1 2 3 4 0"] {
            assert!(Handle::parse(bad).is_err(), "{bad}");
        }
        let huge = format!("0 {} {} 3 0 b", i64::MAX, i64::MAX);
        assert_eq!(Handle::parse(&huge).unwrap().due(), i64::MAX);
    }

    #[test]
    fn retry_topics_have_two_forms() {
        assert_eq!(retry_topic("g", "t", false), "%RETRY%g_t");
        assert_eq!(retry_topic("g", "t", true), "%RETRY%g+t");
        assert_eq!(Kind::of("%RETRY%g+t"), Kind::RetryV2);
        assert_eq!(Kind::of("%RETRY%g_t"), Kind::RetryV1);
        assert_eq!(normal_topic("%RETRY%g_x_t_u", "g_x"), "t_u");
        assert_eq!(normal_topic("%RETRY%g+t", "g"), "t");
        assert_eq!(normal_topic("t", "g"), "t");
        assert_eq!(real_topic("g", "t", "2").as_deref(), Some("%RETRY%g+t"));
        assert_eq!(real_topic("g", "t", "x"), None);
    }

    #[test]
    fn texts_for_clients() {
        let mut info = String::new();
        push_offsets(&mut info, Kind::Normal, 3, &[1200, 1201, 1203]);
        push_offsets(&mut info, Kind::RetryV1, 0, &[15]);
        assert_eq!(info, "0 3 1200,1201,1203;1 0 15");
        let mut info = String::new();
        push_start(&mut info, Kind::Normal, 3, 1200);
        assert_eq!(info, "0 3 1200");
        let mut info = String::new();
        push_count(&mut info, Kind::Normal, 3, 1200, 2);
        push_least_count(&mut info, Kind::Normal, 3, 0);
        assert_eq!(info, "0 qo3%1200 2;0 3 0");
    }
}
