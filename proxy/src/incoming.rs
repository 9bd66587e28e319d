// SPDX-License-Identifier: Apache-2.0
//! Messages of clients become what brokers take: checks, in Apache's order, and properties (Apache:
//! `proxy/grpc/v2/producer/SendMessageActivity.java`).

use std::fmt::Display;

use aerobee_message::{
    properties::{self as text, Properties, keys},
    sysflag,
};

use crate::{
    caller::Caller,
    config::Config,
    properties,
    status::Failure,
    time::{now_ms, span_ms, timestamp_ms},
    v2::{Code, Encoding, Message, MessageType, SystemProperties},
};

/// A message, checked and ready to be sent.
#[derive(Debug)]
pub(crate) struct Ready {
    /// Property text.
    pub(crate) properties: Vec<u8>,
    pub(crate) sys_flag: i32,
    pub(crate) born_timestamp: i64,
    pub(crate) kind: MessageType,
    /// Attempts so far.
    pub(crate) attempts: i32,
}

/// The type that a message's properties make it.
pub(crate) fn kind_of(system: &SystemProperties) -> MessageType {
    if system.message_type() == MessageType::Transaction {
        MessageType::Transaction
    } else if system.delivery_timestamp.is_some() {
        MessageType::Delay
    } else if given(system.message_group.as_deref()).is_some() {
        MessageType::Fifo
    } else if system.priority.is_some_and(|priority| priority >= 0) {
        MessageType::Priority
    } else if given(system.lite_topic.as_deref()).is_some() {
        MessageType::Lite
    } else {
        MessageType::Normal
    }
}

/// What is there and not empty.
pub(crate) fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

/// Checks a message and makes its properties.
pub(crate) fn ready(
    message: &Message,
    topic: &str,
    caller: &Caller,
    config: &Config,
) -> Result<Ready, Failure> {
    let none = SystemProperties::default();
    let system = message.system_properties.as_ref().unwrap_or(&none);
    check_body(message, config)?;
    check_user_properties(message, system, config)?;
    if system.message_id.trim().is_empty() {
        return Err(refuse(Code::IllegalMessageId, "message id cannot be empty"));
    }
    if controlled(&system.message_id) {
        return Err(refuse(
            Code::IllegalMessageId,
            "message id cannot contain control character",
        ));
    }
    let mut out = Vec::with_capacity(256);
    for (name, value) in &message.user_properties {
        Properties::push(&mut out, name, value);
    }
    push_given(&mut out, keys::TAGS, system.tag.as_deref());
    if !system.keys.is_empty() {
        Properties::push(&mut out, keys::KEYS, &system.keys.join(" "));
    }
    Properties::push(&mut out, keys::UNIQ_KEY, &system.message_id);
    push_transaction(&mut out, system, config)?;
    push_delivery(&mut out, system, config)?;
    push_group(&mut out, system, config)?;
    push_lite(&mut out, system, config)?;
    if let Some(priority) = system.priority.filter(|priority| *priority >= 0) {
        Properties::push(&mut out, keys::PRIORITY, &priority.to_string());
    }
    Properties::push(&mut out, keys::PGROUP, topic);
    push_clean(
        &mut out,
        keys::TRACE_CONTEXT,
        system.trace_context.as_deref(),
    )?;
    match (given(Some(system.born_host.trim())), caller.peer) {
        (Some(host), _) => push_clean(&mut out, keys::BORN_HOST, Some(host))?,
        (None, Some(peer)) => Properties::push(&mut out, keys::BORN_HOST, &peer.to_string()),
        (None, None) => {}
    }
    let born = system.born_timestamp.as_ref().map(timestamp_ms);
    if let Some(born) = born {
        Properties::push(&mut out, keys::BORN_TIMESTAMP, &born.to_string());
    }
    let attempts = system.delivery_attempt.unwrap_or_default().max(0);
    if attempts > 0 {
        Properties::push(&mut out, keys::RECONSUME_TIME, &attempts.to_string());
    }
    if out.len() > text::MAX_BYTES {
        return Err(refuse(
            Code::MessagePropertiesTooLarge,
            format_args!(
                "all properties take {} bytes, max is {}",
                out.len(),
                text::MAX_BYTES
            ),
        ));
    }
    let kind = kind_of(system);
    Ok(Ready {
        properties: out,
        sys_flag: sys_flag(system, kind),
        born_timestamp: born.unwrap_or_else(now_ms),
        kind,
        attempts,
    })
}

fn sys_flag(system: &SystemProperties, kind: MessageType) -> i32 {
    let mut flag = 0;
    if system.body_encoding() == Encoding::Gzip {
        flag |= sysflag::COMPRESSED;
    }
    if kind == MessageType::Transaction {
        flag |= sysflag::TRANSACTION_PREPARED;
    }
    flag
}

fn refuse(code: Code, why: impl Display) -> Failure {
    Failure::new(code, why)
}

/// Whether a text has a character that Java calls an ISO control character.
fn controlled(text: &str) -> bool {
    text.chars()
        .any(|letter| matches!(letter, '\0'..='\u{1F}' | '\u{7F}'..='\u{9F}'))
}

/// A limit that counts: zero and below is none.
fn limit(value: i64) -> usize {
    if value <= 0 {
        usize::MAX
    } else {
        usize::try_from(value).unwrap_or(usize::MAX)
    }
}

fn check_body(message: &Message, config: &Config) -> Result<(), Failure> {
    if config.enable_message_body_empty_check && message.body.is_empty() {
        return Err(refuse(
            Code::MessageBodyEmpty,
            "message body cannot be empty",
        ));
    }
    let max = limit(config.max_message_size);
    if message.body.len() > max {
        return Err(refuse(
            Code::MessageBodyTooLarge,
            format_args!(
                "message body cannot exceed the max {max}: it has {} bytes; raise maxMessageSize of proxy and broker for larger ones",
                message.body.len()
            ),
        ));
    }
    Ok(())
}

fn check_user_properties(
    message: &Message,
    system: &SystemProperties,
    config: &Config,
) -> Result<(), Failure> {
    let max = limit(config.user_property_max_num);
    if message.user_properties.len() > max {
        return Err(refuse(
            Code::MessagePropertiesTooLarge,
            format_args!("too many user properties, max is {max}"),
        ));
    }
    let mut bytes = 0;
    for (name, value) in &message.user_properties {
        let illegal = |why: &str| refuse(Code::IllegalMessagePropertyKey, why);
        if properties::is_system(name) {
            return Err(illegal(&format!(
                "property is used by system: {name}; choose another name"
            )));
        }
        if name.is_empty() {
            return Err(illegal("the key of property cannot be empty"));
        }
        if controlled(name) {
            return Err(illegal(
                "the key of property cannot contain control character",
            ));
        }
        if controlled(value) {
            return Err(illegal(
                "the value of property cannot contain control character",
            ));
        }
        bytes += name.len() + value.len();
    }
    if let Some(tag) = given(system.tag.as_deref()) {
        check_tag(tag)?;
        bytes += tag.len();
    }
    for key in &system.keys {
        if !key.is_empty() && key.trim().is_empty() {
            return Err(refuse(
                Code::IllegalMessageKey,
                "key cannot be the char sequence of whitespace",
            ));
        }
        if controlled(key) {
            return Err(refuse(
                Code::IllegalMessageKey,
                "key cannot contain control character",
            ));
        }
        bytes += key.len();
    }
    let max = limit(config.max_user_property_size);
    if bytes > max {
        return Err(refuse(
            Code::MessagePropertiesTooLarge,
            format_args!("the total size of user property is too large, max is {max}"),
        ));
    }
    Ok(())
}

fn check_tag(tag: &str) -> Result<(), Failure> {
    let why = if tag.trim().is_empty() {
        "tag cannot be the char sequence of whitespace"
    } else if tag.contains('|') {
        "tag cannot contain '|'"
    } else if controlled(tag) {
        "tag cannot contain control character"
    } else {
        return Ok(());
    };
    Err(refuse(Code::IllegalMessageTag, why))
}

fn push_given(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    if let Some(value) = given(value) {
        Properties::push(out, name, value);
    }
}

fn push_clean(out: &mut Vec<u8>, name: &str, value: Option<&str>) -> Result<(), Failure> {
    if value.is_some_and(|value| !text::is_clean(value)) {
        return Err(refuse(
            Code::BadRequest,
            format_args!("{name} cannot contain control character"),
        ));
    }
    push_given(out, name, value);
    Ok(())
}

fn push_transaction(
    out: &mut Vec<u8>,
    system: &SystemProperties,
    config: &Config,
) -> Result<(), Failure> {
    if system.message_type() != MessageType::Transaction {
        return Ok(());
    }
    Properties::push(out, keys::TRAN_MSG, "true");
    let Some(wait) = &system.orphaned_transaction_recovery_duration else {
        return Ok(());
    };
    let seconds = span_ms(wait) / 1000;
    let max = config.max_transaction_recovery_second;
    if max > 0 && seconds > max {
        return Err(refuse(
            Code::BadRequest,
            format_args!("the max transaction recovery time of message is too large, max is {max}"),
        ));
    }
    Properties::push(
        out,
        keys::CHECK_IMMUNITY_TIME_IN_SECONDS,
        &seconds.to_string(),
    );
    Ok(())
}

fn push_delivery(
    out: &mut Vec<u8>,
    system: &SystemProperties,
    config: &Config,
) -> Result<(), Failure> {
    let Some(delivery) = &system.delivery_timestamp else {
        return Ok(());
    };
    let at = timestamp_ms(delivery);
    let max = config.max_delay_time_mills;
    if max > 0 && at.saturating_sub(now_ms()) > max {
        return Err(refuse(
            Code::IllegalDeliveryTime,
            format_args!("the max delay time of message is too large, max is {max}"),
        ));
    }
    Properties::push(out, keys::TIMER_DELIVER_MS, &at.to_string());
    Ok(())
}

fn push_group(
    out: &mut Vec<u8>,
    system: &SystemProperties,
    config: &Config,
) -> Result<(), Failure> {
    let Some(group) = given(system.message_group.as_deref()) else {
        return Ok(());
    };
    let max = limit(config.max_message_group_size);
    let illegal = |why: &dyn Display| Err(refuse(Code::IllegalMessageGroup, why));
    if group.trim().is_empty() {
        return illegal(&"message group cannot be the char sequence of whitespace");
    }
    if group.len() >= max {
        return illegal(&format_args!("message group exceed the max size {max}"));
    }
    if controlled(group) {
        return illegal(&"message group cannot contain control character");
    }
    Properties::push(out, keys::SHARDING_KEY, group);
    Ok(())
}

fn push_lite(out: &mut Vec<u8>, system: &SystemProperties, config: &Config) -> Result<(), Failure> {
    if let Some(lite) = system.lite_topic.as_deref().filter(|lite| !lite.is_empty()) {
        check_lite(lite, config)?;
        Properties::push(out, keys::LITE_TOPIC, lite);
    }
    Ok(())
}

/// Checks the name of a lite topic.
pub(crate) fn check_lite(lite: &str, config: &Config) -> Result<(), Failure> {
    let max = limit(config.max_lite_topic_size);
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if lite.is_empty() || lite.len() > max || !lite.bytes().all(legal) {
        return Err(refuse(
            Code::IllegalLiteTopic,
            format_args!("lite topic {lite:?} is illegal: 1 to {max} of a-z A-Z 0-9 _ -"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{caller::Sdk, time::timestamp};

    fn caller() -> Caller {
        Caller {
            client_id: "c".to_owned(),
            sdk: Sdk::Java,
            peer: None,
            deadline: None,
        }
    }

    fn message(change: impl FnOnce(&mut Message, &mut SystemProperties)) -> Message {
        let mut message = Message {
            body: bytes::Bytes::from_static(b"x"),
            ..Message::default()
        };
        let mut system = SystemProperties {
            message_id: "id".to_owned(),
            ..SystemProperties::default()
        };
        change(&mut message, &mut system);
        message.system_properties = Some(system);
        message
    }

    fn code(change: impl FnOnce(&mut Message, &mut SystemProperties)) -> Code {
        ready(&message(change), "t", &caller(), &Config::default())
            .map_or_else(|failure| failure.code(), |_| Code::Ok)
    }

    #[test]
    fn each_bad_field_has_its_code() {
        use Code as C;
        assert_eq!(code(|_, _| {}), C::Ok);
        assert_eq!(code(|m, _| m.body.clear()), C::MessageBodyEmpty);
        assert_eq!(
            code(|m, _| m.body = vec![0; (4 << 20) + 1].into()),
            C::MessageBodyTooLarge
        );
        assert_eq!(code(|_, s| s.message_id = " ".into()), C::IllegalMessageId);
        for tag in [" ", "a|b", "a\u{1}"] {
            assert_eq!(code(|_, s| s.tag = Some(tag.into())), C::IllegalMessageTag);
        }
        assert_eq!(
            code(|_, s| s.keys = vec!["\u{2}".into()]),
            C::IllegalMessageKey
        );
        for name in ["KEYS", "__LITE_TOPIC", "", "a\u{1}"] {
            let insert = |m: &mut Message, _: &mut SystemProperties| {
                m.user_properties.insert(name.into(), "v".into());
            };
            assert_eq!(code(insert), C::IllegalMessagePropertyKey, "{name}");
        }
        let many = |m: &mut Message, _: &mut SystemProperties| {
            m.user_properties
                .extend((0..129).map(|n| (n.to_string(), "v".into())));
        };
        assert_eq!(code(many), C::MessagePropertiesTooLarge);
        let large = |m: &mut Message, _: &mut SystemProperties| {
            m.user_properties.insert("k".into(), "v".repeat(16 << 10));
        };
        assert_eq!(code(large), C::MessagePropertiesTooLarge);
        assert_eq!(
            code(|_, s| s.message_group = Some("g".repeat(64))),
            C::IllegalMessageGroup
        );
        assert_eq!(
            code(|_, s| s.lite_topic = Some("a b".into())),
            C::IllegalLiteTopic
        );
        let far = timestamp(now_ms() + 25 * 3_600_000);
        assert_eq!(
            code(|_, s| s.delivery_timestamp = Some(far)),
            C::IllegalDeliveryTime
        );
    }

    #[test]
    fn properties_carry_what_the_client_said() {
        let message = message(|m, s| {
            m.user_properties.insert("k".into(), "v".into());
            s.tag = Some("tag".into());
            s.keys = vec!["a".into(), "b".into()];
            s.message_group = Some("g".into());
        });
        let ready = ready(&message, "topic", &caller(), &Config::default()).unwrap();
        let properties = Properties(&ready.properties);
        for (name, value) in [
            ("k", "v"),
            (keys::TAGS, "tag"),
            (keys::KEYS, "a b"),
            (keys::UNIQ_KEY, "id"),
            (keys::SHARDING_KEY, "g"),
            (keys::PGROUP, "topic"),
        ] {
            assert_eq!(properties.get(name), Some(value));
        }
        assert_eq!(ready.kind, MessageType::Fifo);
    }
}
