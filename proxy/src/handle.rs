// SPDX-License-Identifier: Apache-2.0
//! Receipt handles: where a popped message is, and until when it is invisible.
//!
//! Nine fields separated by single blanks: offset of the check point, time of the pop (ms), invisible
//! time (ms), revive queue (999: kept in order), kind of topic, broker, queue, queue offset, position
//! in the log. The first eight are the broker's (`POP_CK`), the last one is ours; messages of lite topics
//! have one more, the name of their lite topic, as not every SDK sends it back. Apache:
//! `common/consumer/ReceiptHandle.java`.

use std::borrow::Cow;

use aerobee_message::topic::RETRY_PREFIX;

/// Which topic a message was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// The topic itself.
    Normal,
    /// `%RETRY%group_topic`.
    RetryV1,
    /// `%RETRY%group+topic`.
    RetryV2,
}

impl Kind {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "0" => Some(Self::Normal),
            "1" => Some(Self::RetryV1),
            "2" => Some(Self::RetryV2),
            _ => None,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Normal => "0",
            Self::RetryV1 => "1",
            Self::RetryV2 => "2",
        }
    }

    /// The kind of a record's topic.
    pub(crate) fn of(topic: &str, group: &str) -> Self {
        match topic
            .strip_prefix(RETRY_PREFIX)
            .and_then(|rest| rest.strip_prefix(group))
        {
            Some(rest) if rest.starts_with('+') => Self::RetryV2,
            Some(_) => Self::RetryV1,
            None => Self::Normal,
        }
    }

    /// The topic that the broker knows the message by.
    pub(crate) fn topic<'a>(self, topic: &'a str, group: &str) -> Cow<'a, str> {
        match self {
            Self::Normal => Cow::Borrowed(topic),
            Self::RetryV1 => Cow::Owned(format!("{RETRY_PREFIX}{group}_{topic}")),
            Self::RetryV2 => Cow::Owned(format!("{RETRY_PREFIX}{group}+{topic}")),
        }
    }
}

/// A receipt handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handle {
    pub(crate) start_offset: i64,
    pub(crate) pop_time: i64,
    pub(crate) invisible_time: i64,
    pub(crate) revive_queue: i32,
    pub(crate) kind: Kind,
    pub(crate) broker: String,
    pub(crate) queue_id: i32,
    pub(crate) offset: i64,
    /// Position in the log; −1 is unknown.
    pub(crate) log_offset: i64,
    /// The lite topic below the topic.
    pub(crate) lite_topic: Option<String>,
}

impl Handle {
    /// Reads a handle; it comes from a client, who may have made it up.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split(' ');
        let mut number = || fields.next()?.parse::<i64>().ok();
        let (start_offset, pop_time, invisible_time) = (number()?, number()?, number()?);
        let revive_queue = i32::try_from(number()?).ok()?;
        let kind = Kind::parse(fields.next()?)?;
        let broker = fields.next().filter(|name| !name.is_empty())?;
        let queue_id = fields.next()?.parse().ok().filter(|id| *id >= 0)?;
        let offset = fields.next()?.parse().ok().filter(|offset| *offset >= 0)?;
        let log_offset = match fields.next() {
            Some(text) => text.parse().ok()?,
            None => -1,
        };
        let lite_topic = fields.next().filter(|name| !name.is_empty());
        Some(Self {
            start_offset,
            pop_time,
            invisible_time,
            revive_queue,
            kind,
            broker: broker.to_owned(),
            queue_id,
            offset,
            log_offset,
            lite_topic: lite_topic.map(str::to_owned),
        })
    }

    /// The handle of a message whose lite topic the client names, unless the handle does.
    pub(crate) fn of_lite(mut self, lite_topic: Option<&str>) -> Self {
        if self.lite_topic.is_none() {
            self.lite_topic = lite_topic
                .filter(|name| !name.is_empty())
                .map(str::to_owned);
        }
        self
    }

    /// When the message is visible again, ms since 1970.
    pub(crate) fn visible_at(&self) -> i64 {
        self.pop_time.saturating_add(self.invisible_time)
    }

    /// What the broker calls the handle: all but our last field.
    pub(crate) fn extra_info(&self) -> String {
        let mut out = String::with_capacity(128);
        // Each message has one: formatting by digits is several times faster than by format!.
        let number = |out: &mut String, number: i64| {
            out.push_str(itoa::Buffer::new().format(number));
            out.push(' ');
        };
        number(&mut out, self.start_offset);
        number(&mut out, self.pop_time);
        number(&mut out, self.invisible_time);
        number(&mut out, self.revive_queue.into());
        for text in [self.kind.text(), &self.broker] {
            out.push_str(text);
            out.push(' ');
        }
        number(&mut out, self.queue_id.into());
        out.push_str(itoa::Buffer::new().format(self.offset));
        out
    }

    /// The handle as clients get it.
    pub(crate) fn text(&self) -> String {
        let mut out = self.extra_info();
        out.push(' ');
        out.push_str(itoa::Buffer::new().format(self.log_offset));
        if let Some(name) = &self.lite_topic {
            out.push(' ');
            out.push_str(name);
        }
        out
    }

    /// The handle after its times have changed.
    pub(crate) fn with_times(&self, pop_time: i64, invisible_time: i64, revive_queue: i32) -> Self {
        Self {
            // The check point of the changed message begins with itself.
            start_offset: self.offset,
            pop_time,
            invisible_time,
            revive_queue,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "7 1700000000000 60000 3 2 broker-a 0 12 4096";

    #[test]
    fn handles_are_read_and_written() {
        let handle = Handle::parse(TEXT).unwrap();
        assert_eq!(handle.text(), TEXT);
        assert_eq!(handle.visible_at(), 1_700_000_060_000);
        assert_eq!(handle.kind.topic("t", "g"), "%RETRY%g+t");
        let of_broker = Handle::parse(&handle.extra_info()).unwrap();
        assert_eq!(of_broker.log_offset, -1);
        let changed = handle.with_times(1, 2, 999);
        assert_eq!(changed.extra_info(), "12 1 2 999 2 broker-a 0 12");
    }

    #[test]
    fn handles_of_lite_topics_name_them() {
        let handle = Handle::parse("0 1 2 999 0 b 0 7 4096 news-1").unwrap();
        assert_eq!(handle.lite_topic.as_deref(), Some("news-1"));
        assert_eq!(handle.text(), "0 1 2 999 0 b 0 7 4096 news-1");
        assert_eq!(handle.extra_info(), "0 1 2 999 0 b 0 7");
        assert_eq!(
            handle.of_lite(Some("x")).lite_topic.as_deref(),
            Some("news-1")
        );
        let plain = Handle::parse(TEXT).unwrap();
        assert_eq!(plain.clone().of_lite(Some("")), plain);
        assert_eq!(plain.of_lite(Some("x")).lite_topic.as_deref(), Some("x"));
    }

    #[test]
    fn made_up_handles_are_refused() {
        for bad in [
            "",
            "x",
            "1 2 3",
            "a b c d e f g h",
            "1 2 3 4 9 b 0 0",
            "1 2 3 4 0 b -1 0",
            "1 2 3 4 0  0 0",
        ] {
            assert_eq!(Handle::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn retry_topics_tell_their_kind() {
        assert_eq!(Kind::of("t", "g"), Kind::Normal);
        assert_eq!(Kind::of("%RETRY%g_t", "g"), Kind::RetryV1);
        assert_eq!(Kind::of("%RETRY%g+t", "g"), Kind::RetryV2);
    }
}
