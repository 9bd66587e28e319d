// SPDX-License-Identifier: Apache-2.0
//! ReceiveMessage (Apache: `proxy/grpc/v2/consumer/ReceiveMessageActivity.java`,
//! `ReceiveMessageResponseStreamWriter.java`).
//!
//! A client may go while its pop waits at the broker, or before it has read what came: then the
//! messages become visible again soon.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use aerobee_message::{properties::keys, record::RecordView, tags::TagFilter};
use aerobee_remoting::{Response, ResponseCode, body::group::SubscriptionGroupConfig};
use tonic::codegen::tokio_stream::Stream;

use super::Parts;
use crate::{
    brokers::succeeded,
    caller::{Caller, group_of, topic_of},
    outgoing::{self, About},
    pop::{Popped, popped},
    receipts::{Consumption, change_invisible},
    rpc::{ack::ack_handle, dead_letter::forward, receive_lite},
    status::{Failure, ok, status},
    time::{duration_ms, now_ms, span_ms, timestamp},
    v2::{
        Code, FilterExpression, FilterType, ReceiveMessageRequest, ReceiveMessageResponse, Status,
        receive_message_response::Content,
    },
    wire::PopMessage,
};

/// Most messages of one pop; brokers refuse more.
const BATCH_MAX: i32 = 32;
/// Timeout of requests of a client that has sent no settings, or none with one.
const PATIENCE_DEFAULT: Duration = Duration::from_secs(3);
/// Poll of a client that names neither a time nor a deadline.
const POLL_DEFAULT: Duration = Duration::from_secs(20);

/// What a receive asks for, checked.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) caller: Caller,
    pub(crate) topic: Arc<str>,
    pub(crate) group: Arc<str>,
    broker: String,
    pub(crate) address: Arc<str>,
    pub(crate) batch: i32,
    pub(crate) invisible_ms: i64,
    renew: bool,
    pub(crate) poll: Duration,
    /// Of a client of lite topics.
    lite: bool,
    filter: FilterExpression,
    /// Tags to compare by text; brokers compare hashes.
    tags: Option<Vec<String>>,
    pub(crate) attempt_id: Option<String>,
    config: Arc<SubscriptionGroupConfig>,
}

pub(crate) async fn answer(
    parts: &Arc<Parts>,
    request: tonic::Request<ReceiveMessageRequest>,
) -> Delivery {
    match receive(parts, request).await {
        Ok(delivery) => delivery,
        Err(failure) => Delivery::without_messages(failure.status()),
    }
}

async fn receive(
    parts: &Arc<Parts>,
    request: tonic::Request<ReceiveMessageRequest>,
) -> Result<Delivery, Failure> {
    parts.admit(&request).await?;
    // A client that only calls is one as well: its receipts are renewed as long as it does.
    let (caller, _) = parts.client(&request)?;
    let wanted = check(parts, caller, request.into_inner()).await?;
    let wanted = Arc::new(wanted);
    let mut flight = Flight::start(parts, &wanted);
    let response = tokio::select! {
        response = flight.land() => response?,
        // What arrives later is given back by the flight.
        () = parts.draining() => return Ok(Delivery::without_messages(nothing())),
    };
    match response.code {
        ResponseCode::SUCCESS => deliver(parts, &wanted, response).await,
        ResponseCode::POLLING_FULL => Ok(Delivery::without_messages(status(
            Code::TooManyRequests,
            "polling full: the broker holds as many polls as it may (popPollingSize, maxPopPollingSize)",
        ))),
        ResponseCode::POLLING_TIMEOUT | ResponseCode::PULL_NOT_FOUND => {
            Ok(Delivery::without_messages(nothing()))
        }
        _ => Err(succeeded(response).err().unwrap_or_else(|| {
            Failure::new(Code::InternalServerError, "unexpected answer of the broker")
        })),
    }
}

fn nothing() -> Status {
    status(Code::MessageNotFound, "no new message")
}

async fn check(
    parts: &Parts,
    caller: Caller,
    request: ReceiveMessageRequest,
) -> Result<Wanted, Failure> {
    let queue = request.message_queue.unwrap_or_default();
    let topic = topic_of(queue.topic.as_ref())?;
    let group = group_of(request.group.as_ref())?;
    let config = &parts.config;
    let renew = request.auto_renew && config.enable_proxy_auto_renew;
    let invisible_ms = if renew {
        config.default_invisible_time_mills
    } else {
        let asked = request
            .invisible_duration
            .as_ref()
            .map(span_ms)
            .unwrap_or_default();
        check_invisible(
            asked,
            config.min_invisible_time_mills_for_recv,
            config.max_invisible_time_mills,
        )?;
        asked
    };
    let filter = request.filter_expression.unwrap_or_default();
    let tags = tags_of(&filter)?;
    let asked_poll = request
        .long_polling_timeout
        .as_ref()
        .map(|span| duration_ms(span_ms(span)));
    let client = parts.clients.get(&caller.client_id);
    let settings = client.and_then(|client| client.settings());
    let patience = settings.and_then(|settings| settings.request_timeout.as_ref().map(span_ms));
    let poll = poll_time(
        &caller,
        asked_poll,
        patience.map_or(PATIENCE_DEFAULT, duration_ms),
        config.grpc_client_consumer_max_long_polling_timeout_millis,
    );
    let route = parts.routes.topic(topic).await?;
    let named = queue.broker.map(|broker| broker.name).unwrap_or_default();
    let broker = route
        .readable()
        .find(|data| data.broker_name == named)
        .or_else(|| route.readable().next())
        .map(|data| data.broker_name.clone());
    let Some(broker) = broker else {
        return Err(Failure::new(
            Code::Forbidden,
            format_args!("no readable queue: topic {topic} has no read permission on any broker"),
        ));
    };
    let address = route.address(&broker).cloned().ok_or_else(|| {
        Failure::new(
            Code::InternalServerError,
            "the route names a broker without address",
        )
    })?;
    let group_config = parts.routes.group(group, &route).await?.unwrap_or_default();
    let lite = receive_lite::is_lite_client(parts, &caller.client_id);
    Ok(Wanted {
        caller,
        topic: Arc::from(topic),
        group: Arc::from(group),
        broker,
        address,
        batch: request.batch_size.clamp(1, BATCH_MAX),
        invisible_ms,
        renew,
        poll,
        lite,
        filter,
        tags: tags.filter(|_| !lite),
        attempt_id: request.attempt_id,
        config: group_config,
    })
}

/// Checks an invisible time.
pub(crate) fn check_invisible(asked: i64, min: i64, max: i64) -> Result<(), Failure> {
    let illegal = |why: String| Err(Failure::new(Code::IllegalInvisibleTime, why));
    if asked < min {
        return illegal(format!(
            "the invisibleTime is too small. min is {min} (milliseconds)"
        ));
    }
    if max > 0 && asked > max {
        return illegal(format!(
            "the invisibleTime is too large. max is {max} (milliseconds)"
        ));
    }
    Ok(())
}

/// How long to wait for messages: as asked, within the bound, and so that the client still waits.
///
/// The deadline of an older SDK is the time that it wants to wait and `patience`, its timeout of requests, but it
/// does not say what it wants: as Apache's proxy does, half of the timeout is left for the way back.
fn poll_time(
    caller: &Caller,
    asked: Option<Duration>,
    patience: Duration,
    max_ms: i64,
) -> Duration {
    let max = duration_ms(max_ms);
    let Some(remaining) = caller.remaining() else {
        return asked.unwrap_or(POLL_DEFAULT).min(max);
    };
    let longest = remaining.saturating_sub((patience / 2).min(remaining / 2));
    asked.unwrap_or(longest).min(longest).min(max)
}

fn tags_of(filter: &FilterExpression) -> Result<Option<Vec<String>>, Failure> {
    if filter.r#type() == FilterType::Sql {
        return Ok(None);
    }
    let expression = filter.expression.trim();
    let parsed = TagFilter::parse(expression)
        .map_err(|error| Failure::new(Code::IllegalFilterExpression, error))?;
    Ok((!parsed.is_all()).then(|| TagFilter::tags_of(expression).map(str::to_owned).collect()))
}

type Landing = Pin<Box<dyn Future<Output = Result<Response, Failure>> + Send>>;

/// A pop under way. When its client leaves, it is waited for by nobody but itself, and gives back
/// what it brings.
struct Flight {
    parts: Arc<Parts>,
    wanted: Arc<Wanted>,
    landing: Option<Landing>,
}

impl Flight {
    fn start(parts: &Arc<Parts>, wanted: &Arc<Wanted>) -> Self {
        let landing = pop(Arc::clone(parts), Arc::clone(wanted));
        Self {
            parts: Arc::clone(parts),
            wanted: Arc::clone(wanted),
            landing: Some(Box::pin(landing)),
        }
    }

    async fn land(&mut self) -> Result<Response, Failure> {
        let Some(landing) = &mut self.landing else {
            return Err(Failure::new(
                Code::InternalServerError,
                "the pop was awaited twice",
            ));
        };
        let landed = landing.await;
        self.landing = None;
        landed
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let Some(landing) = self.landing.take() else {
            return;
        };
        let (parts, wanted) = (Arc::clone(&self.parts), Arc::clone(&self.wanted));
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            let Ok(response) = landing.await else { return };
            if response.is_success()
                && let Ok(all) = wanted.popped(&response)
            {
                give_back(&parts, &wanted, all).await;
            }
        });
    }
}

impl Wanted {
    fn popped(&self, response: &Response) -> Result<Vec<Popped>, Failure> {
        if self.lite {
            return receive_lite::popped(response, &self.broker);
        }
        let order = self.config.consume_message_orderly;
        popped(response, (&self.group, &self.broker, order))
    }
}

async fn pop(parts: Arc<Parts>, wanted: Arc<Wanted>) -> Result<Response, Failure> {
    if wanted.lite {
        return receive_lite::pop(&parts, &wanted).await;
    }
    let sql = wanted.filter.r#type() == FilterType::Sql;
    let expression = match wanted.filter.expression.trim() {
        "" => "*",
        given => given,
    };
    let header = PopMessage {
        consumer_group: &wanted.group,
        topic: &wanted.topic,
        queue_id: -1,
        max_msg_nums: wanted.batch,
        invisible_time: wanted.invisible_ms,
        poll_time: i64::try_from(wanted.poll.as_millis()).unwrap_or(i64::MAX),
        born_time: now_ms(),
        init_mode: 1,
        exp_type: Some(if sql { "SQL92" } else { "TAG" }),
        exp: Some(expression),
        order: Some(wanted.config.consume_message_orderly),
        attempt_id: wanted.attempt_id.as_deref(),
        broker_name: Some(&wanted.broker),
    };
    let mut hasher = DefaultHasher::new();
    wanted.caller.client_id.hash(&mut hasher);
    parts
        .brokers
        .poll(&wanted.address, hasher.finish(), &header, wanted.poll)
        .await
}

/// Makes messages visible again soon, without counting an attempt.
async fn give_back(parts: &Parts, wanted: &Wanted, all: impl IntoIterator<Item = Popped>) {
    let soon = parts.config.invisible_time_millis_when_clear;
    let mut led: Option<String> = None;
    for message in all {
        let suspend = match &message.handle.lite_topic {
            None => Some(true),
            // All that is out of a lite topic comes back at once, unless the client has a part of it.
            name @ Some(_) if message.leads_lite => {
                led.clone_from(name);
                Some(true)
            }
            name if *name == led => continue,
            Some(_) => None,
        };
        let changed = change_invisible(
            &parts.brokers,
            &parts.routes,
            (&wanted.group, &wanted.topic),
            &message.handle,
            (soon, suspend),
        );
        if let Err(error) = changed.await {
            tracing::debug!(%error, "a message comes back at the end of its invisible time");
        }
    }
}

async fn deliver(
    parts: &Arc<Parts>,
    wanted: &Arc<Wanted>,
    response: Response,
) -> Result<Delivery, Failure> {
    let max_attempts = wanted.config.retry_max_times.saturating_add(1);
    let all = wanted.popped(&response)?;
    let client: Arc<str> = Arc::from(&*wanted.caller.client_id);
    let mut ready = VecDeque::with_capacity(all.len());
    for message in all {
        let Ok(record) = RecordView::parse(&message.bytes) else {
            continue;
        };
        if !wants(wanted, &record) {
            // Another tag with the same hash.
            if let Err(error) =
                ack_handle(parts, (&wanted.group, &wanted.topic), &message.handle).await
            {
                tracing::debug!(%error, "a message of another tag could not be acknowledged");
            }
            continue;
        }
        let attempts = message
            .reconsume_times
            .unwrap_or_else(|| record.reconsume_times());
        if attempts >= max_attempts {
            let id = record.properties().get(keys::UNIQ_KEY).unwrap_or_default();
            let forwarded = forward(parts, (&wanted.group, &wanted.topic), &message.handle, id);
            match forwarded.await {
                Ok(()) => continue,
                // Better one time too often than never.
                Err(error) => {
                    tracing::warn!(%error, "a message stays out of the dead letter topic");
                }
            }
        }
        let receipt = message.handle.text();
        let about = About {
            topic: &wanted.topic,
            sdk: wanted.caller.sdk,
            receipt: Some(&receipt),
            reconsume_times: message.reconsume_times,
        };
        let frame = outgoing::message(&message.bytes, &record, about);
        let last_wait_ms = wait_after(&wanted.config, attempts);
        ready.push_back(Ready {
            frame: Some(frame),
            receipt,
            message,
            last_wait_ms,
        });
    }
    if ready.is_empty() {
        return Ok(Delivery::without_messages(nothing()));
    }
    Ok(Delivery {
        status: Some(ok()),
        ready,
        finished: false,
        origin: Some((Arc::clone(parts), Arc::clone(wanted), client)),
    })
}

/// The wait of a group after an attempt, for messages whose renewal ends, ms.
fn wait_after(config: &SubscriptionGroupConfig, attempts: i32) -> i64 {
    let list = config
        .group_retry_policy
        .customized_retry_policy
        .clone()
        .unwrap_or_default();
    let at = usize::try_from(attempts).unwrap_or_default() + 2;
    list.next
        .get(at)
        .or(list.next.last())
        .copied()
        .unwrap_or(10_000)
}

fn wants(wanted: &Wanted, record: &RecordView<'_>) -> bool {
    let Some(tags) = &wanted.tags else {
        return true;
    };
    let tag = record.properties().get(keys::TAGS).unwrap_or_default();
    tags.iter().any(|wanted| wanted == tag)
}

/// A message on its way to the client.
#[derive(Debug)]
struct Ready {
    frame: Option<crate::v2::Message>,
    receipt: String,
    message: Popped,
    last_wait_ms: i64,
}

/// The frames of an answer: a status, messages, the time of delivery. Messages that were not taken
/// when it is dropped are given back.
#[derive(Debug)]
pub(crate) struct Delivery {
    status: Option<Status>,
    ready: VecDeque<Ready>,
    finished: bool,
    origin: Option<(Arc<Parts>, Arc<Wanted>, Arc<str>)>,
}

impl Delivery {
    pub(crate) fn without_messages(status: Status) -> Self {
        Self {
            status: Some(status),
            ready: VecDeque::new(),
            finished: false,
            origin: None,
        }
    }

    /// The next frame.
    pub(crate) fn next(&mut self) -> Option<Content> {
        if let Some(status) = self.status.take() {
            return Some(Content::Status(status));
        }
        if let Some(mut ready) = self.ready.pop_front() {
            if let Some((parts, wanted, client)) = &self.origin
                && wanted.renew
            {
                let of = Consumption {
                    client,
                    group: &wanted.group,
                    topic: &wanted.topic,
                    last_wait_ms: ready.last_wait_ms,
                };
                parts
                    .receipts
                    .keep(ready.receipt, ready.message.handle, &of);
            }
            return ready.frame.take().map(Content::Message);
        }
        if self.finished {
            return None;
        }
        self.finished = true;
        Some(Content::DeliveryTimestamp(timestamp(now_ms())))
    }
}

impl Stream for Delivery {
    type Item = Result<ReceiveMessageResponse, tonic::Status>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.next();
        Poll::Ready(next.map(|content| {
            Ok(ReceiveMessageResponse {
                content: Some(content),
            })
        }))
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let left = std::mem::take(&mut self.ready);
        let Some((parts, wanted, _)) = self.origin.take().filter(|_| !left.is_empty()) else {
            return;
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                give_back(&parts, &wanted, left.into_iter().map(|ready| ready.message)).await;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::caller::Sdk;

    fn caller(remaining: Option<Duration>) -> Caller {
        Caller {
            client_id: "c".to_owned(),
            sdk: Sdk::Java,
            peer: None,
            deadline: remaining.map(|remaining| Instant::now() + remaining),
        }
    }

    #[test]
    fn polls_end_before_their_client_gives_up() {
        let seconds = Duration::from_secs;
        let poll = |remaining: Option<u64>, asked: Option<u64>, patience| {
            let caller = caller(remaining.map(seconds));
            poll_time(&caller, asked.map(seconds), seconds(patience), 20_000)
        };
        assert_eq!(poll(None, None, 3), seconds(20));
        assert_eq!(poll(None, Some(40), 3), seconds(20));
        assert_eq!(poll(Some(60), Some(2), 3), seconds(2));
        assert_eq!(poll(Some(0), None, 3), Duration::ZERO);
        // Time runs: what is left is less than what was given.
        let about = |poll: Duration, most: f64| {
            poll.as_secs_f64() <= most && poll.as_secs_f64() > most / 2.0
        };
        assert!(about(poll(Some(20), None, 10), 15.0));
        assert!(about(poll(Some(13), None, 3), 11.5));
        assert!(about(poll(Some(5), Some(30), 3), 3.5));
        assert!(about(poll(Some(2), None, 10), 1.0));
    }

    #[test]
    fn tags_are_compared_by_text() {
        let filter = |text: &str| FilterExpression {
            r#type: FilterType::Tag.into(),
            expression: text.to_owned(),
        };
        assert_eq!(tags_of(&filter("*")).unwrap(), None);
        assert_eq!(tags_of(&filter("")).unwrap(), None);
        assert_eq!(tags_of(&filter("a || b")).unwrap().unwrap(), ["a", "b"]);
        assert_eq!(
            tags_of(&filter("||")).unwrap_err().code(),
            Code::IllegalFilterExpression
        );
    }
}
