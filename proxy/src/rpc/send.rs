// SPDX-License-Identifier: Apache-2.0
//! SendMessage (Apache: `proxy/grpc/v2/producer/SendMessageActivity.java`). A batch goes out as one,
//! to one queue, and every message of it has its entry in the answer.

use aerobee_message::{batch, id as offset_id};
use aerobee_remoting::{
    RequestCode, Response, ResponseCode,
    header::send::{SendMessage, SendReply},
};

use super::Parts;
use crate::{
    caller::{Caller, topic_of},
    incoming::{self, Ready, given},
    routes::{Route, WriteQueue},
    status::{Failure, over, status},
    transaction_id::TransactionId,
    v2::{Code, Message, MessageType, SendMessageRequest, SendMessageResponse, SendResultEntry},
};

pub(crate) async fn answer(
    parts: &Parts,
    request: tonic::Request<SendMessageRequest>,
) -> Result<SendMessageResponse, Failure> {
    let caller = parts.caller(&request)?;
    let messages = request.into_inner().messages;
    let topic = common_topic(&messages)?;
    let ready = messages
        .iter()
        .map(|message| incoming::ready(message, topic, &caller, &parts.config))
        .collect::<Result<Vec<_>, _>>()?;
    let key = common_key(&messages, &ready)?;
    let route = parts.routes.topic(topic).await?;
    let route = check_type(parts, topic, route, &ready).await?;
    let Some(queue) = route.choose(key) else {
        return Err(Failure::new(
            Code::Forbidden,
            format_args!("no writable queue: topic {topic} has no write permission on any broker"),
        ));
    };
    let entries = send(parts, &caller, topic, &route, queue, &messages, &ready).await?;
    let statuses = entries.iter().filter_map(|entry| entry.status.as_ref());
    Ok(SendMessageResponse {
        status: Some(over(statuses)),
        entries,
    })
}

fn common_topic(messages: &[Message]) -> Result<&str, Failure> {
    let Some(first) = messages.first() else {
        return Err(Failure::new(Code::MessageCorrupted, "no message to send"));
    };
    let topic = topic_of(first.topic.as_ref())?;
    if messages.iter().any(|message| message.topic != first.topic) {
        return Err(Failure::new(
            Code::MessageCorrupted,
            "different message topic in one request: send the messages of each topic apart",
        ));
    }
    Ok(topic)
}

/// What chooses the queue. A batch is stored as one, so its messages must agree.
fn common_key<'a>(messages: &'a [Message], ready: &[Ready]) -> Result<Option<&'a str>, Failure> {
    let mut keys = messages.iter().map(key_of);
    let first = keys.next().flatten();
    if keys.any(|key| key != first) {
        return Err(Failure::new(
            Code::MessageCorrupted,
            "different message group or lite topic in one request: send them apart",
        ));
    }
    if ready
        .windows(2)
        .any(|pair| pair[0].sys_flag != pair[1].sys_flag)
    {
        return Err(Failure::new(
            Code::MessageCorrupted,
            "different body encoding in one request: send them apart",
        ));
    }
    if ready.len() > 1 && ready.iter().any(|ready| !may_be_batched(ready.kind)) {
        return Err(Failure::new(
            Code::MessageCorrupted,
            "delayed and transactional messages go one by one",
        ));
    }
    Ok(first)
}

fn key_of(message: &Message) -> Option<&str> {
    let system = message.system_properties.as_ref()?;
    given(system.message_group.as_deref()).or_else(|| given(system.lite_topic.as_deref()))
}

fn may_be_batched(kind: MessageType) -> bool {
    !matches!(kind, MessageType::Delay | MessageType::Transaction)
}

/// Checks each message against the topic's type. Before refusing, the type is asked for again: it may
/// have been changed a moment ago.
async fn check_type(
    parts: &Parts,
    topic: &str,
    route: std::sync::Arc<Route>,
    ready: &[Ready],
) -> Result<std::sync::Arc<Route>, Failure> {
    let misfit = |route: &Route| {
        let kinds = ready.iter().map(|ready| ready.kind);
        kinds
            .into_iter()
            .find(|kind| !route.topic_type.takes(*kind))
    };
    if !parts.config.enable_topic_message_type_check || misfit(&route).is_none() {
        return Ok(route);
    }
    let route = parts.routes.topic_again(topic).await?;
    let Some(kind) = misfit(&route) else {
        return Ok(route);
    };
    let (kind, accepts) = (kind.as_str_name(), route.topic_type.name());
    Err(Failure::new(
        Code::MessagePropertyConflictWithType,
        format_args!(
            "current message type not match with topic accept message types: the message is {kind}, topic {topic} accepts {accepts}; change the topic: mqadmin updateTopic -n <name server> -c <cluster> -t {topic} -a +message.type={kind}"
        ),
    ))
}

async fn send(
    parts: &Parts,
    caller: &Caller,
    topic: &str,
    route: &Route,
    queue: &WriteQueue,
    messages: &[Message],
    ready: &[Ready],
) -> Result<Vec<SendResultEntry>, Failure> {
    let address = route.address(&queue.broker).ok_or_else(|| {
        Failure::new(
            Code::InternalServerError,
            "the route names a broker without address",
        )
    })?;
    let batched = messages.len() > 1;
    let mut body = Vec::new();
    if batched {
        for (message, ready) in messages.iter().zip(ready) {
            batch::push(&mut body, 0, &message.body, &ready.properties);
        }
    }
    let (message, first) = (&messages[0], &ready[0]);
    let properties = if batched {
        ""
    } else {
        std::str::from_utf8(&first.properties).unwrap_or_default()
    };
    let retry = topic.starts_with(aerobee_message::topic::RETRY_PREFIX);
    let header = SendMessage {
        // As with Apache, the group of producers is named after their topic.
        producer_group: topic,
        topic,
        default_topic: aerobee_message::topic::AUTO_CREATE,
        default_topic_queue_nums: 4,
        queue_id: queue.id,
        sys_flag: first.sys_flag,
        born_timestamp: first.born_timestamp,
        flag: 0,
        properties,
        reconsume_times: if retry { first.attempts } else { 0 },
        unit_mode: false,
        max_reconsume_times: None,
        batch: batched,
        broker_name: Some(&queue.broker),
    };
    let (code, body) = if batched {
        (RequestCode::SEND_BATCH_MESSAGE, &body[..])
    } else {
        (RequestCode::SEND_MESSAGE_V2, &message.body[..])
    };
    tracing::trace!(client = caller.client_id, topic, queue = queue.id, "send");
    let response = parts.brokers.ask(address, code, &header, body).await?;
    entries(&response, &queue.broker, messages, ready)
}

/// An entry for each message. What a broker has stored keeps its id even when it is not as safe as
/// was asked for.
fn entries(
    response: &Response,
    broker: &str,
    messages: &[Message],
    ready: &[Ready],
) -> Result<Vec<SendResultEntry>, Failure> {
    let outcome = match response.code {
        ResponseCode::SUCCESS => status(Code::Ok, "OK"),
        ResponseCode::FLUSH_DISK_TIMEOUT => status(
            Code::MasterPersistenceTimeout,
            "send message failed, sendStatus=FLUSH_DISK_TIMEOUT: stored, but not on the disk in time",
        ),
        ResponseCode::FLUSH_SLAVE_TIMEOUT => status(
            Code::SlavePersistenceTimeout,
            "send message failed, sendStatus=FLUSH_SLAVE_TIMEOUT: stored, but not on a slave in time",
        ),
        ResponseCode::SLAVE_NOT_AVAILABLE => status(
            Code::HaNotAvailable,
            "send message failed, sendStatus=SLAVE_NOT_AVAILABLE: stored, but there is no slave",
        ),
        code => {
            return Err(Failure::Broker {
                code,
                remark: response.remark.clone(),
            });
        }
    };
    let stored: SendReply<'_> = response.header()?;
    let recall_handle = response
        .fields
        .fields()
        .get("recallHandle")
        .unwrap_or_default();
    let entry = |at: usize, message: &Message| {
        let message_id = message
            .system_properties
            .as_ref()
            .map(|system| system.message_id.clone())
            .unwrap_or_default();
        let transaction_id = if ready[at].kind == MessageType::Transaction {
            transaction_id(&stored, broker, &message_id)
        } else {
            stored.transaction_id.unwrap_or_default().to_owned()
        };
        SendResultEntry {
            status: Some(outcome.clone()),
            message_id,
            transaction_id,
            offset: stored.queue_offset.saturating_add(at as i64),
            recall_handle: recall_handle.to_owned(),
        }
    };
    Ok(messages
        .iter()
        .enumerate()
        .map(|(at, message)| entry(at, message))
        .collect())
}

fn transaction_id(stored: &SendReply<'_>, broker: &str, message_id: &str) -> String {
    let Some((_, log_offset)) = offset_id::parse(stored.msg_id) else {
        return stored.transaction_id.unwrap_or_default().to_owned();
    };
    TransactionId {
        message_id,
        broker,
        queue_offset: stored.queue_offset,
        log_offset,
    }
    .to_string()
}
