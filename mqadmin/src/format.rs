// SPDX-License-Identifier: Apache-2.0
//! Values as Java prints them.

use std::{collections::BTreeMap, fmt::Display};

use aerobee_remoting::body::{group::SubscriptionGroupConfig, topic::TopicConfig};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

fn local(millis: i64) -> DateTime {
    let at = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH);
    TimeZone::system().to_datetime(at)
}

/// `2024-05-01 12:30:00,123`
pub(crate) fn time_millis(millis: i64) -> String {
    let at = local(millis);
    format!(
        "{},{:03}",
        at.strftime("%Y-%m-%d %H:%M:%S"),
        at.millisecond()
    )
}

/// `2024-05-01 12:30:00`
pub(crate) fn time(millis: i64) -> String {
    local(millis).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// `20240501123000123`
pub(crate) fn time_digits(millis: i64) -> String {
    let at = local(millis);
    format!("{}{:03}", at.strftime("%Y%m%d%H%M%S"), at.millisecond())
}

/// Reads `now`, milliseconds since 1970, or `yyyy-MM-dd#HH:mm:ss:SSS` in the local zone.
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    if text == "now" {
        return Some(now());
    }
    if let Ok(millis) = text.parse() {
        return Some(millis);
    }
    let (seconds, millis) = text.rsplit_once(':')?;
    if millis.is_empty() || millis.len() > 3 {
        return None;
    }
    let at = DateTime::strptime("%Y-%m-%d#%H:%M:%S", seconds).ok()?;
    let at = TimeZone::system().to_timestamp(at).ok()?;
    Some(at.as_millisecond() + millis.parse::<i64>().ok().filter(|ms| *ms >= 0)?)
}

/// Milliseconds since 1970.
pub(crate) fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

/// At most `chars` characters from the front.
pub(crate) fn front(text: &str, chars: usize) -> &str {
    match text.char_indices().nth(chars) {
        Some((at, _)) => &text[..at],
        None => text,
    }
}

/// A double as Java's `Double.toString`.
pub(crate) fn double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let size = value.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{value:?}");
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
    }
}

/// `{a=1, b=2}`
pub(crate) fn map<K: Display, V: Display>(entries: impl IntoIterator<Item = (K, V)>) -> String {
    let parts: Vec<_> = entries
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    format!("{{{}}}", parts.join(", "))
}

/// `[a, b]`
pub(crate) fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let parts: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    format!("[{}]", parts.join(", "))
}

/// `RW-`
pub(crate) fn perm(bits: i32) -> String {
    let letter = |bit, letter| if bits & bit != 0 { letter } else { '-' };
    [letter(4, 'R'), letter(2, 'W'), letter(1, 'X')]
        .iter()
        .collect()
}

/// A topic as the tools print it.
pub(crate) fn topic_config(topic: &TopicConfig) -> String {
    format!(
        "TopicConfig [topicName={}, readQueueNums={}, writeQueueNums={}, perm={}, topicFilterType={}, topicSysFlag={}, order={}, attributes={}]",
        topic.topic_name,
        topic.read_queue_nums,
        topic.write_queue_nums,
        perm(topic.perm),
        topic.topic_filter_type,
        topic.topic_sys_flag,
        topic.order,
        map(&topic.attributes),
    )
}

/// A group as the tools print it.
pub(crate) fn group_config(group: &SubscriptionGroupConfig) -> String {
    let null = || "null".to_owned();
    let policy = &group.group_retry_policy;
    let exponential = policy
        .exponential_retry_policy
        .as_ref()
        .map_or_else(null, |waits| {
            format!(
                "ExponentialRetryPolicy{{initial={}, max={}, multiplier={}}}",
                waits.initial, waits.max, waits.multiplier
            )
        });
    let customized = policy
        .customized_retry_policy
        .as_ref()
        .map_or_else(null, |waits| {
            format!("CustomizedRetryPolicy{{next={}}}", list(&waits.next))
        });
    let subscriptions = group
        .subscription_data_set
        .as_ref()
        .map_or_else(null, |set| {
            list(set.iter().map(|data| {
            format!(
                "SimpleSubscriptionData{{topic={}, expressionType={}, expression={}, version={}}}",
                data.topic, data.expression_type, data.expression, data.version
            )
        }))
        });
    format!(
        "SubscriptionGroupConfig{{groupName={}, consumeEnable={}, consumeFromMinEnable={}, consumeBroadcastEnable={}, consumeMessageOrderly={}, retryQueueNums={}, retryMaxTimes={}, groupRetryPolicy=GroupRetryPolicy{{type={}, exponentialRetryPolicy={exponential}, customizedRetryPolicy={customized}}}, brokerId={}, whichBrokerWhenConsumeSlowly={}, notifyConsumerIdsChangedEnable={}, groupSysFlag={}, consumeTimeoutMinute={}, subscriptionDataSet={subscriptions}, attributes={}}}",
        group.group_name,
        group.consume_enable,
        group.consume_from_min_enable,
        group.consume_broadcast_enable,
        group.consume_message_orderly,
        group.retry_queue_nums,
        group.retry_max_times,
        policy.policy_type,
        group.broker_id,
        group.which_broker_when_consume_slowly,
        group.notify_consumer_ids_changed_enable,
        group.group_sys_flag,
        group.consume_timeout_minute,
        map(&group.attributes),
    )
}

/// Reads `+key=value,-key`: attributes to set and to remove, signs kept.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse_attributes(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut attributes = BTreeMap::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (key, value) = match part.split_once('=') {
            Some((key, value)) if key.starts_with('+') => (key.trim(), value.trim()),
            Some(_) => return Err(format!("{part:?} has to begin with '+'")),
            None if part.starts_with('-') => (part, ""),
            None => return Err(format!("{part:?} is neither +key=value nor -key")),
        };
        if key.len() < 2 {
            return Err(format!("{part:?} names no attribute"));
        }
        if attributes
            .insert(key.to_owned(), value.to_owned())
            .is_some()
        {
            return Err(format!("{key:?} comes twice"));
        }
    }
    Ok(attributes)
}

/// The text of attributes to set and to remove, as it goes over the wire.
pub(crate) fn attributes_text(attributes: &BTreeMap<String, String>) -> String {
    let parts: Vec<_> = attributes
        .iter()
        .map(|(key, value)| {
            if value.is_empty() {
                key.clone()
            } else {
                format!("{key}={value}")
            }
        })
        .collect();
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_look_as_in_java() {
        for (value, text) in [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (0.016_666_666_666_666_666, "0.016666666666666666"),
            (1e-4, "1.0E-4"),
            (12_345_678.9, "1.23456789E7"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(double(value), text);
        }
    }

    #[test]
    fn times_are_read_in_three_forms() {
        assert_eq!(parse_time("1700000000000"), Some(1_700_000_000_000));
        assert_eq!(parse_time("-1"), Some(-1));
        let at = parse_time("2024-05-01#12:30:00:123").expect("a time");
        assert_eq!(time_millis(at), "2024-05-01 12:30:00,123");
        assert!(parse_time("now").is_some_and(|now| now > 1_700_000_000_000));
        for wrong in [
            "",
            "yesterday",
            "2024-05-01",
            "2024-13-01#12:30:00:123",
            "2024-05-01#12:30:00:-1",
        ] {
            assert_eq!(parse_time(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn attributes_keep_their_signs() {
        let read = parse_attributes("+message.type=FIFO,-reserve.time").expect("attributes");
        assert_eq!(attributes_text(&read), "+message.type=FIFO,-reserve.time");
        for wrong in ["message.type=FIFO", "message.type", "+=x", "+a=1,+a=2"] {
            assert!(parse_attributes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn permissions_are_three_letters() {
        assert_eq!(perm(6), "RW-");
        assert_eq!(perm(4), "R--");
        assert_eq!(perm(0), "---");
    }
}
