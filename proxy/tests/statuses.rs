// SPDX-License-Identifier: Apache-2.0
//! What each bad call is answered, beside what Apache's proxy 5.5.0 answers to the same call.
//!
//! With `AEROBEE_STATUSES_OF=<proxy>,<broker>` the calls go to servers that run already, Apache's with
//! `autoCreateSubscriptionGroup=false` and `recallMessageEnable=true`, and the second column is judged.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{fmt::Debug, time::Duration};

use aerobee_proxy::v2::{
    self, AckMessageEntry, AckMessageRequest, ChangeInvisibleDurationRequest, ClientType, Code,
    EndTransactionRequest, FilterExpression, FilterType, ForwardMessageToDeadLetterQueueRequest,
    GetOffsetRequest, HeartbeatRequest, LiteSubscriptionAction, Message, MessageType,
    NotifyClientTerminationRequest, PullMessageRequest, QueryAssignmentRequest, QueryOffsetRequest,
    QueryRouteRequest, RecallMessageRequest, ReceiveMessageRequest, Resource, SendMessageRequest,
    Settings, SyncLiteSubscriptionRequest, SystemProperties, TelemetryCommand,
    TransactionResolution, UpdateOffsetRequest, receive_message_response::Content,
    telemetry_command::Command,
};
use aerobee_remoting::Client;
use tokio::time::{sleep, timeout};
use tonic::{Request, Streaming};

use Answer::{Grpc as G, Is as I};
use support::{
    Cluster, Grpc, PATIENCE, all, grpc_at, make_group, make_topic, message, of, queue, receipt,
    resource,
    telemetry::{publishing, settings, subscription},
};

/// What a call was answered: a status in the answer, or gRPC's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Is(Code),
    Grpc(tonic::Code),
}

/// The servers that are asked, and what they answered otherwise than they should.
struct Trial {
    own: Option<Cluster>,
    broker: String,
    remoting: Client,
    grpc: Grpc,
    wrong: Vec<String>,
}

impl Trial {
    async fn start() -> Self {
        let own = if let Ok(given) = std::env::var("AEROBEE_STATUSES_OF") {
            let (proxy, broker) = given.split_once(',').expect("<proxy>,<broker>");
            Err((proxy.to_owned(), broker.to_owned()))
        } else {
            let keys = [
                ("autoCreateSubscriptionGroup", "false"),
                ("recallMessageEnable", "true"),
            ];
            // Small, so that what is above it is quickly sent.
            let cluster = Cluster::start_on(&keys, |config| {
                config.grpc_max_inbound_message_size = 20 << 20;
            });
            Ok(cluster.await)
        };
        let (proxy, broker) = match &own {
            Ok(own) => (
                own.proxy.address().to_string(),
                own.broker.address().to_string(),
            ),
            Err(given) => given.clone(),
        };
        Self {
            own: own.ok(),
            grpc: grpc_at(&proxy).await,
            broker,
            remoting: Client::new(),
            wrong: Vec::new(),
        }
    }

    /// Makes a topic and waits until the proxy knows it.
    async fn topic(&mut self, topic: &str, kind: &str) {
        make_topic(&self.remoting, &self.broker, topic, kind).await;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.route(topic).await != I(Code::Ok) {
            assert!(
                tokio::time::Instant::now() < deadline,
                "no route of {topic}"
            );
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn group(&self, group: &str) {
        make_group(&self.remoting, &self.broker, group, |_| {}).await;
    }

    /// Compares one answer.
    fn is(&mut self, call: impl Debug, answer: Answer, ours: Answer, apache: Answer) {
        let expected = if self.own.is_some() { ours } else { apache };
        if answer != expected {
            self.wrong
                .push(format!("{call:?}: {answer:?}, expected {expected:?}"));
        }
    }

    async fn end(self) {
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
        if let Some(own) = self.own {
            own.stop().await;
        }
    }

    async fn route(&mut self, topic: &str) -> Answer {
        let request = QueryRouteRequest {
            topic: Some(resource(topic)),
            endpoints: Some(endpoints()),
        };
        let answer = self.grpc.query_route(of("c", request)).await;
        status(answer, |answer| answer.status)
    }

    async fn send(&mut self, messages: Vec<Message>) -> Answer {
        self.sent(messages).await.0
    }

    async fn sent(&mut self, messages: Vec<Message>) -> (Answer, v2::SendMessageResponse) {
        let request = of("producer", SendMessageRequest { messages });
        match self.grpc.send_message(request).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                (I(answer.status.as_ref().unwrap().code()), answer)
            }
            Err(status) => (G(status.code()), v2::SendMessageResponse::default()),
        }
    }

    async fn receive(&mut self, mut request: ReceiveMessageRequest) -> (Answer, Vec<Message>) {
        if self.own.is_some() {
            // Ours honours short ones.
            request.long_polling_timeout = span(100);
        }
        let stream = self.grpc.receive_message(of("consumer", request)).await;
        read(stream.map(tonic::Response::into_inner)).await
    }

    /// Receives until a message comes.
    async fn one(&mut self, topic: &str) -> Message {
        loop {
            let (answer, messages) = self.receive(receiving(topic)).await;
            if let Some(message) = messages.into_iter().next() {
                return message;
            }
            assert!(
                answer == I(Code::MessageNotFound) || answer == I(Code::Ok),
                "{answer:?}"
            );
        }
    }

    async fn ack(&mut self, topic: &str, handles: &[&str]) -> (Answer, Vec<Answer>) {
        let request = AckMessageRequest {
            group: Some(resource("g")),
            topic: Some(resource(topic)),
            entries: handles
                .iter()
                .map(|handle| AckMessageEntry {
                    message_id: "id".to_owned(),
                    receipt_handle: (*handle).to_owned(),
                    lite_topic: None,
                })
                .collect(),
        };
        match self.grpc.ack_message(of("consumer", request)).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                let entries = answer.entries.iter();
                (
                    I(answer.status.as_ref().unwrap().code()),
                    entries
                        .map(|entry| I(entry.status.as_ref().unwrap().code()))
                        .collect(),
                )
            }
            Err(status) => (G(status.code()), Vec::new()),
        }
    }

    async fn change(&mut self, handle: &str, span: Option<prost_types::Duration>) -> Answer {
        let request = ChangeInvisibleDurationRequest {
            group: Some(resource("g")),
            topic: Some(resource("normal")),
            receipt_handle: handle.to_owned(),
            invisible_duration: span,
            message_id: "id".to_owned(),
            lite_topic: None,
            suspend: None,
        };
        let request = of("consumer", request);
        let answer = self.grpc.change_invisible_duration(request).await;
        status(answer, |answer| answer.status)
    }

    async fn bury(&mut self, handle: &str) -> Answer {
        let request = ForwardMessageToDeadLetterQueueRequest {
            group: Some(resource("g")),
            topic: Some(resource("normal")),
            receipt_handle: handle.to_owned(),
            message_id: "id".to_owned(),
            delivery_attempt: 1,
            max_delivery_attempts: 1,
            lite_topic: None,
        };
        let request = of("consumer", request);
        let answer = self.grpc.forward_message_to_dead_letter_queue(request);
        status(answer.await, |answer| answer.status)
    }

    async fn end_transaction(
        &mut self,
        topic: &str,
        id: &str,
        resolution: TransactionResolution,
    ) -> Answer {
        let request = EndTransactionRequest {
            topic: Some(resource(topic)),
            message_id: "id".to_owned(),
            transaction_id: id.to_owned(),
            resolution: resolution.into(),
            ..EndTransactionRequest::default()
        };
        let answer = self.grpc.end_transaction(of("producer", request)).await;
        status(answer, |answer| answer.status)
    }

    /// What a telemetry stream brings first after a command.
    async fn told(&mut self, client: &str, command: TelemetryCommand) -> Answer {
        let (_up, _down, answer) = self.connect(client, command).await;
        answer
    }

    /// The same, and the stream, which stays open.
    async fn connect(
        &mut self,
        client: &str,
        command: TelemetryCommand,
    ) -> (
        tokio::sync::mpsc::Sender<TelemetryCommand>,
        Option<Streaming<TelemetryCommand>>,
        Answer,
    ) {
        let (up, stream) = support::telemetry::commands();
        // Apache's proxy sends no headers before it has something to say.
        up.send(command).await.unwrap();
        let mut request = Request::new(stream);
        let metadata = request.metadata_mut();
        metadata.insert("x-mq-client-id", client.parse().unwrap());
        metadata.insert("x-mq-language", "JAVA".parse().unwrap());
        match timeout(PATIENCE, self.grpc.telemetry(request))
            .await
            .unwrap()
        {
            Ok(down) => {
                let mut down = down.into_inner();
                let answer = first(&mut down).await;
                (up, Some(down), answer)
            }
            Err(status) => (up, None, G(status.code())),
        }
    }
}

/// What a telemetry stream brings next.
async fn first(down: &mut Streaming<TelemetryCommand>) -> Answer {
    match timeout(PATIENCE, down.message()).await.unwrap() {
        Ok(Some(command)) => I(command.status.unwrap_or_default().code()),
        Ok(None) => G(tonic::Code::Ok),
        Err(status) => G(status.code()),
    }
}

fn endpoints() -> v2::Endpoints {
    v2::Endpoints {
        scheme: v2::AddressScheme::IPv4.into(),
        addresses: vec![v2::Address {
            host: "127.0.0.1".to_owned(),
            port: 8081,
        }],
    }
}

fn status<T>(
    answer: Result<tonic::Response<T>, tonic::Status>,
    of: impl FnOnce(T) -> Option<v2::Status>,
) -> Answer {
    match answer {
        Ok(answer) => I(of(answer.into_inner()).unwrap_or_default().code()),
        Err(status) => G(status.code()),
    }
}

async fn read(
    stream: Result<Streaming<v2::ReceiveMessageResponse>, tonic::Status>,
) -> (Answer, Vec<Message>) {
    let mut stream = match stream {
        Ok(stream) => stream,
        Err(status) => return (G(status.code()), Vec::new()),
    };
    let (mut answer, mut messages) = (I(Code::Unspecified), Vec::new());
    loop {
        match stream.message().await {
            Ok(Some(frame)) => match frame.content {
                Some(Content::Status(status)) => answer = I(status.code()),
                Some(Content::Message(message)) => messages.push(message),
                _ => {}
            },
            Ok(None) => return (answer, messages),
            Err(status) => return (G(status.code()), messages),
        }
    }
}

/// What both proxies answer.
fn both(code: Code) -> [Code; 2] {
    [code; 2]
}

fn span(ms: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration {
        seconds: ms / 1000,
        nanos: (ms % 1000 * 1_000_000) as i32,
    })
}

/// A receive that both proxies take: Apache's refuses polls below five seconds.
fn receiving(topic: &str) -> ReceiveMessageRequest {
    ReceiveMessageRequest {
        group: Some(resource("g")),
        message_queue: Some(queue(topic, -1)),
        filter_expression: Some(all()),
        batch_size: 1,
        invisible_duration: span(43_200_000),
        auto_renew: false,
        long_polling_timeout: span(5000),
        attempt_id: None,
    }
}

fn with(topic: &str, change: impl FnOnce(&mut Message, &mut SystemProperties)) -> Vec<Message> {
    let mut message = message(topic, "body");
    let mut system = message.system_properties.take().unwrap();
    change(&mut message, &mut system);
    message.system_properties = Some(system);
    vec![message]
}

fn at(ms_from_now: i64) -> prost_types::Timestamp {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let seconds = since.as_secs() as i64 + ms_from_now / 1000;
    prost_types::Timestamp { seconds, nanos: 0 }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_nobody_may_use_and_what_nobody_made() {
    let mut trial = Trial::start().await;
    trial.topic("normal", "NORMAL").await;
    trial.group("g").await;
    let long = "x".repeat(128);
    for (topic, ours, apache) in [
        ("nowhere", Code::TopicNotFound, Code::TopicNotFound),
        ("", Code::IllegalTopic, Code::IllegalTopic),
        ("a b", Code::IllegalTopic, Code::IllegalTopic),
        ("a/b", Code::IllegalTopic, Code::IllegalTopic),
        (&*long, Code::IllegalTopic, Code::IllegalTopic),
        ("TBW102", Code::IllegalTopic, Code::IllegalTopic),
        ("rmq_sys_x", Code::IllegalTopic, Code::IllegalTopic),
    ] {
        let (ours, apache) = (I(ours), I(apache));
        let answer = trial.route(topic).await;
        trial.is(("QueryRoute", topic), answer, ours, apache);
        let answer = trial.send(vec![message(topic, "x")]).await;
        // Apache's proxy asks for the type of the topic first, and it has none.
        let sent = match apache {
            I(Code::TopicNotFound) => I(Code::MessagePropertyConflictWithType),
            same => same,
        };
        trial.is(("SendMessage", topic), answer, ours, sent);
        let request = QueryAssignmentRequest {
            topic: Some(resource(topic)),
            group: Some(resource("g")),
            endpoints: Some(endpoints()),
        };
        let answer = trial.grpc.query_assignment(of("c", request)).await;
        let answer = status(answer, |answer| answer.status);
        trial.is(("QueryAssignment", topic), answer, ours, apache);
    }
    let long = "x".repeat(121);
    for (group, ours, apache) in [
        ("", Code::IllegalConsumerGroup, Code::IllegalConsumerGroup),
        (
            "a b",
            Code::IllegalConsumerGroup,
            Code::IllegalConsumerGroup,
        ),
        (
            &*long,
            Code::IllegalConsumerGroup,
            Code::IllegalConsumerGroup,
        ),
        (
            "CID_RMQ_SYS_x",
            Code::IllegalConsumerGroup,
            Code::IllegalConsumerGroup,
        ),
        ("nobody", Code::Ok, Code::Ok),
    ] {
        let request = QueryAssignmentRequest {
            topic: Some(resource("normal")),
            group: Some(resource(group)),
            endpoints: Some(endpoints()),
        };
        let answer = trial.grpc.query_assignment(of("c", request)).await;
        let answer = status(answer, |answer| answer.status);
        trial.is(("QueryAssignment of", group), answer, I(ours), I(apache));
    }
    let nameless = QueryRouteRequest::default();
    let answer = trial.grpc.query_route(of("c", nameless)).await;
    let answer = status(answer, |answer| answer.status);
    let illegal = I(Code::IllegalTopic);
    trial.is("QueryRoute without topic", answer, illegal, illegal);
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_nobody_made_when_groups_are_not_made_by_use() {
    let mut trial = Trial::start().await;
    trial.topic("normal", "NORMAL").await;
    let told = trial
        .told(
            "stranger",
            settings(ClientType::PushConsumer, subscription("nobody", "normal")),
        )
        .await;
    let refused = G(tonic::Code::InvalidArgument);
    trial.is("settings", told, refused, refused);
    let mut request = receiving("normal");
    request.group = Some(resource("nobody"));
    let answer = trial.grpc.receive_message(of("stranger", request)).await;
    let (answer, _) = read(answer.map(tonic::Response::into_inner)).await;
    // Apache's proxy has no settings of the client.
    let (missing, failed) = (I(Code::ConsumerGroupNotFound), I(Code::InternalServerError));
    trial.is("ReceiveMessage", answer, missing, failed);
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_without_the_headers_that_name_the_client() {
    let mut trial = Trial::start().await;
    trial.topic("normal", "NORMAL").await;
    let route = || {
        Request::new(QueryRouteRequest {
            topic: Some(resource("normal")),
            endpoints: Some(endpoints()),
        })
    };
    let required = I(Code::ClientIdRequired);
    let answer = trial.grpc.query_route(route()).await;
    let answer = status(answer, |answer| answer.status);
    trial.is("no header at all", answer, required, required);
    for (client, language, ours, apache) in [
        ("", Some("JAVA"), required, required),
        (" ", Some("JAVA"), required, required),
        ("c", None, I(Code::Ok), I(Code::Ok)),
        ("c", Some("COBOL"), I(Code::Ok), I(Code::Ok)),
    ] {
        let mut request = route();
        let metadata = request.metadata_mut();
        metadata.insert("x-mq-client-id", client.parse().unwrap());
        if let Some(language) = language {
            metadata.insert("x-mq-language", language.parse().unwrap());
        }
        let answer = trial.grpc.query_route(request).await;
        let answer = status(answer, |answer| answer.status);
        trial.is((client, language), answer, ours, apache);
    }
    let (up, stream) = support::telemetry::commands();
    up.send(settings(ClientType::Producer, publishing("normal")))
        .await
        .unwrap();
    let stream = trial.grpc.telemetry(Request::new(stream)).await;
    let answer = match stream {
        Ok(stream) => first(&mut stream.into_inner()).await,
        Err(status) => G(status.code()),
    };
    trial.is("Telemetry", answer, required, required);
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_cannot_be_sent() {
    let mut trial = Trial::start().await;
    for (topic, kind) in [
        ("normal", "NORMAL"),
        ("fifo", "FIFO"),
        ("delay", "DELAY"),
        ("transaction", "TRANSACTION"),
    ] {
        trial.topic(topic, kind).await;
    }
    let body = |bytes: usize| with("normal", |m, _| m.body = vec![b'x'; bytes].into());
    let property = |name: &str, value: &str| {
        with("normal", |m, _| {
            m.user_properties.insert(name.to_owned(), value.to_owned());
        })
    };
    let properties = |count: usize| {
        with("normal", |m, _| {
            m.user_properties
                .extend((0..count).map(|n| (n.to_string(), "v".to_owned())));
        })
    };
    let system = |change: fn(&mut SystemProperties)| with("normal", |_, system| change(system));
    let fifo = |group: &str| with("fifo", |_, s| s.message_group = Some(group.to_owned()));
    let delay = |ms: i64| with("delay", |_, s| s.delivery_timestamp = Some(at(ms)));
    let epoch = |seconds: i64, nanos: i32| {
        with("delay", |_, s| {
            s.delivery_timestamp = Some(prost_types::Timestamp { seconds, nanos });
        })
    };
    let transaction = |seconds: i64| {
        with("transaction", |_, s| {
            s.message_type = MessageType::Transaction.into();
            s.orphaned_transaction_recovery_duration =
                Some(prost_types::Duration { seconds, nanos: 0 });
        })
    };
    let two = |mut one: Vec<Message>, other: Vec<Message>| {
        one.extend(other);
        one
    };
    let none = with("normal", |m, _| m.topic = None);
    let mut bare = vec![message("normal", "x")];
    bare[0].system_properties = None;
    use Code as C;
    let wrong_type = C::MessagePropertyConflictWithType;
    for (name, messages, [ours, apache]) in [
        ("nothing", vec![], both(C::MessageCorrupted)),
        ("no topic", none, both(C::IllegalTopic)),
        (
            "two topics",
            vec![message("normal", "x"), message("fifo", "x")],
            both(C::MessageCorrupted),
        ),
        ("no system properties", bare, both(C::IllegalMessageId)),
        (
            "blank id",
            system(|s| s.message_id = " ".to_owned()),
            both(C::IllegalMessageId),
        ),
        ("empty body", body(0), both(C::MessageBodyEmpty)),
        ("largest body", body(4 << 20), both(C::Ok)),
        (
            "body too large",
            body((4 << 20) + 1),
            both(C::MessageBodyTooLarge),
        ),
        (
            "batch that the broker finds too large",
            two(body(3 << 20), body(3 << 20)),
            [C::BadRequest, C::InternalServerError],
        ),
        ("most properties", properties(128), both(C::Ok)),
        (
            "too many properties",
            properties(129),
            both(C::MessagePropertiesTooLarge),
        ),
        (
            "properties too large",
            property("k", &"v".repeat(16 << 10)),
            both(C::MessagePropertiesTooLarge),
        ),
        (
            "reserved property",
            property("KEYS", "v"),
            both(C::IllegalMessagePropertyKey),
        ),
        (
            "control character in a name",
            property("a\u{1}", "v"),
            both(C::IllegalMessagePropertyKey),
        ),
        (
            "control character in a value",
            property("a", "\u{2}"),
            both(C::IllegalMessagePropertyKey),
        ),
        (
            "nameless property",
            property("", "v"),
            [C::IllegalMessagePropertyKey, C::Ok],
        ),
        (
            "blank tag",
            system(|s| s.tag = Some(" ".to_owned())),
            both(C::IllegalMessageTag),
        ),
        (
            "tag of two",
            system(|s| s.tag = Some("a|b".to_owned())),
            both(C::IllegalMessageTag),
        ),
        (
            "control character in a key",
            system(|s| s.keys = vec!["a\u{2}".to_owned()]),
            both(C::IllegalMessageKey),
        ),
        (
            "blank key",
            system(|s| s.keys = vec![" ".to_owned()]),
            both(C::IllegalMessageKey),
        ),
        (
            "blank message group",
            fifo(" "),
            both(C::IllegalMessageGroup),
        ),
        (
            "message group too long",
            fifo(&"g".repeat(64)),
            both(C::IllegalMessageGroup),
        ),
        ("longest message group", fifo(&"g".repeat(63)), both(C::Ok)),
        (
            "delay too long",
            delay(25 * 3_600_000),
            both(C::IllegalDeliveryTime),
        ),
        ("delay into the past", delay(-60_000), both(C::Ok)),
        ("delay to 1970", epoch(0, 0), both(C::Ok)),
        ("delay to before 1970", epoch(-1, 0), both(C::Ok)),
        (
            "delay to the end of time",
            epoch(i64::MAX, 0),
            [C::IllegalDeliveryTime, C::InternalServerError],
        ),
        ("recovery after an hour", transaction(3600), both(C::Ok)),
        ("recovery too late", transaction(3601), both(C::BadRequest)),
        ("recovery before the send", transaction(-1), both(C::Ok)),
        ("normal to FIFO", with("fifo", |_, _| {}), both(wrong_type)),
        (
            "FIFO to normal",
            system(|s| s.message_group = Some("g".to_owned())),
            both(wrong_type),
        ),
        (
            "delay to normal",
            system(|s| s.delivery_timestamp = Some(at(1000))),
            both(wrong_type),
        ),
        (
            "transaction to normal",
            system(|s| s.message_type = MessageType::Transaction.into()),
            both(wrong_type),
        ),
        (
            "priority to normal",
            system(|s| s.priority = Some(3)),
            both(wrong_type),
        ),
        (
            "lite to normal",
            system(|s| s.lite_topic = Some("l".to_owned())),
            both(wrong_type),
        ),
        (
            "lite topic with a bad name",
            system(|s| s.lite_topic = Some("a b".to_owned())),
            both(C::IllegalLiteTopic),
        ),
        (
            "two groups in a batch",
            two(fifo("a"), fifo("b")),
            [C::MessageCorrupted, C::Ok],
        ),
        (
            "two delays in a batch",
            two(delay(1000), delay(1000)),
            [C::MessageCorrupted, C::InternalServerError],
        ),
        (
            "two transactions in a batch",
            two(transaction(30), transaction(30)),
            [C::MessageCorrupted, C::InternalServerError],
        ),
    ] {
        let answer = trial.send(messages).await;
        trial.is(name, answer, I(ours), I(apache));
    }
    // More than one call may carry at all: gRPC's own status.
    let limit = if trial.own.is_some() { 20 } else { 130 };
    let large = body(1 << 20).remove(0);
    let answer = trial.send(vec![large; limit + 1]).await;
    // Apache's proxy resets the stream.
    let (ours, apache) = (G(tonic::Code::OutOfRange), G(tonic::Code::Unknown));
    trial.is("larger than a call may be", answer, ours, apache);
    // And the connection serves on.
    let answer = trial.send(vec![message("normal", "x")]).await;
    trial.is("a good one after all", answer, I(C::Ok), I(C::Ok));
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receives_that_cannot_be() {
    let mut trial = Trial::start().await;
    trial.topic("empty", "NORMAL").await;
    trial.group("g").await;
    // Apache's proxy serves nobody whose settings it has not.
    let hello = settings(ClientType::SimpleConsumer, subscription("g", "empty"));
    let (_up, _down, told) = trial.connect("consumer", hello).await;
    trial.is("settings", told, I(Code::Ok), I(Code::Ok));
    let changed = |change: &dyn Fn(&mut ReceiveMessageRequest)| {
        let mut request = receiving("empty");
        change(&mut request);
        request
    };
    let invisible = |ms: i64| changed(&|r| r.invisible_duration = span(ms));
    let filter = |kind: FilterType, expression: &str| {
        changed(&|r| {
            r.filter_expression = Some(FilterExpression {
                r#type: kind.into(),
                expression: expression.to_owned(),
            });
        })
    };
    use Code as C;
    for (name, request, [ours, apache]) in [
        (
            "nothing there",
            receiving("empty"),
            both(C::MessageNotFound),
        ),
        (
            "unknown topic",
            receiving("nowhere"),
            both(C::TopicNotFound),
        ),
        ("illegal topic", receiving("a b"), both(C::IllegalTopic)),
        (
            "illegal group",
            changed(&|r| r.group = Some(resource("a b"))),
            both(C::IllegalConsumerGroup),
        ),
        (
            "no queue",
            changed(&|r| r.message_queue = None),
            both(C::IllegalTopic),
        ),
        ("too short", invisible(9999), both(C::IllegalInvisibleTime)),
        ("shortest", invisible(10_000), both(C::MessageNotFound)),
        ("longest", invisible(43_200_000), both(C::MessageNotFound)),
        (
            "too long",
            invisible(43_200_001),
            both(C::IllegalInvisibleTime),
        ),
        ("negative", invisible(-1), both(C::IllegalInvisibleTime)),
        (
            "no invisible time",
            changed(&|r| r.invisible_duration = None),
            both(C::IllegalInvisibleTime),
        ),
        (
            "bad SQL",
            filter(FilterType::Sql, "a >"),
            [C::IllegalFilterExpression, C::InternalServerError],
        ),
        (
            "tags that are none",
            filter(FilterType::Tag, "||"),
            both(C::IllegalFilterExpression),
        ),
        (
            "no filter",
            changed(&|r| r.filter_expression = None),
            both(C::MessageNotFound),
        ),
        (
            "batch of nothing",
            changed(&|r| r.batch_size = 0),
            both(C::MessageNotFound),
        ),
        (
            "negative batch",
            changed(&|r| r.batch_size = -1),
            [C::MessageNotFound, C::InternalServerError],
        ),
        (
            "batch too large",
            changed(&|r| r.batch_size = 33),
            both(C::MessageNotFound),
        ),
        (
            "broker that is none",
            changed(&|r| {
                r.message_queue
                    .as_mut()
                    .unwrap()
                    .broker
                    .as_mut()
                    .unwrap()
                    .name = "x".to_owned();
            }),
            both(C::MessageNotFound),
        ),
    ] {
        let (answer, _) = trial.receive(request).await;
        trial.is(name, answer, I(ours), I(apache));
    }
    // No deadline.
    let mut endless = Request::new(changed(&|r| {
        r.long_polling_timeout = span(1000);
    }));
    let metadata = endless.metadata_mut();
    metadata.insert("x-mq-client-id", "consumer".parse().unwrap());
    let answer = trial.grpc.receive_message(endless).await;
    let (answer, _) = read(answer.map(tonic::Response::into_inner)).await;
    trial.is(
        "no deadline",
        answer,
        I(C::MessageNotFound),
        I(C::InternalServerError),
    );
    // A client of which nothing is known.
    let request = of("unheard", receiving("empty"));
    let answer = trial.grpc.receive_message(request).await;
    let (answer, _) = read(answer.map(tonic::Response::into_inner)).await;
    trial.is(
        "no settings",
        answer,
        I(C::MessageNotFound),
        I(C::InternalServerError),
    );
    trial.end().await;
}

/// A handle with one of its fields exchanged.
fn forged(handle: &str, field: usize, text: &str) -> String {
    let mut fields: Vec<&str> = handle.split(' ').collect();
    fields[field] = text;
    fields.join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_forged_cut_and_expired() {
    let mut trial = Trial::start().await;
    trial.topic("normal", "NORMAL").await;
    trial.group("g").await;
    let hello = settings(ClientType::SimpleConsumer, subscription("g", "normal"));
    let (_up, _down, told) = trial.connect("consumer", hello).await;
    trial.is("settings", told, I(Code::Ok), I(Code::Ok));
    let sent = trial
        .send(vec![message("normal", "a"), message("normal", "b")])
        .await;
    trial.is("send", sent, I(Code::Ok), I(Code::Ok));
    let good = receipt(&trial.one("normal").await);
    let cut = good.rsplit_once(' ').unwrap().0.rsplit_once(' ').unwrap().0;
    use Code as C;
    let (invalid, failed) = (I(C::InvalidReceiptHandle), I(C::InternalServerError));
    for (name, handle, ours, apache) in [
        ("empty", String::new(), [invalid; 3], [failed; 3]),
        ("nonsense", "nonsense".to_owned(), [invalid; 3], [failed; 3]),
        ("cut", cut.to_owned(), [invalid; 3], [failed; 3]),
        (
            "letters for numbers",
            forged(&good, 1, "x"),
            [invalid; 3],
            [failed; 3],
        ),
        (
            "another broker",
            forged(&good, 5, "elsewhere"),
            [invalid; 3],
            [invalid; 3],
        ),
        (
            "a queue that is not there",
            forged(&good, 6, "99"),
            [invalid; 3],
            [failed, failed, I(C::Ok)],
        ),
        (
            "an offset that is not there",
            forged(&good, 7, "4096"),
            [invalid; 3],
            [failed, failed, I(C::Ok)],
        ),
        (
            "expired long ago",
            forged(&good, 1, "1700000000000"),
            [invalid; 3],
            [invalid; 3],
        ),
    ] {
        let (all, entries) = trial.ack("normal", &[&handle]).await;
        trial.is(("ack", name), all, ours[0], apache[0]);
        for entry in entries {
            trial.is(("entry", name), entry, ours[0], apache[0]);
        }
        let answer = trial.change(&handle, span(20_000)).await;
        trial.is(("change", name), answer, ours[1], apache[1]);
        if name != "expired long ago" {
            let answer = trial.bury(&handle).await;
            trial.is(("dead letter", name), answer, ours[2], apache[2]);
        }
    }
    // Each entry has its own status.
    let other = forged(&good, 5, "elsewhere");
    let (all, entries) = trial.ack("normal", &["nonsense", &good, &other]).await;
    let several = I(C::MultipleResults);
    trial.is("several", all, several, several);
    for (entry, (ours, apache)) in
        entries
            .into_iter()
            .zip([(invalid, failed), (I(C::Ok), I(C::Ok)), (invalid, invalid)])
    {
        trial.is("one of several", entry, ours, apache);
    }
    let (none, entries) = trial.ack("normal", &[]).await;
    assert!(entries.is_empty());
    trial.is("none", none, I(C::Ok), failed);
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invisible_times_that_cannot_be() {
    let mut trial = Trial::start().await;
    trial.topic("normal", "NORMAL").await;
    trial.group("g").await;
    let hello = settings(ClientType::SimpleConsumer, subscription("g", "normal"));
    let (_up, _down, told) = trial.connect("consumer", hello).await;
    trial.is("settings", told, I(Code::Ok), I(Code::Ok));
    trial.send(vec![message("normal", "a")]).await;
    let good = receipt(&trial.one("normal").await);
    let illegal = I(Code::IllegalInvisibleTime);
    for (time, ours, apache) in [
        (span(-1), illegal, illegal),
        (span(43_200_001), illegal, illegal),
        (
            Some(prost_types::Duration {
                seconds: i64::MAX,
                nanos: i32::MAX,
            }),
            illegal,
            I(Code::InternalServerError),
        ),
        (span(20_000), I(Code::Ok), I(Code::Ok)),
    ] {
        let answer = trial.change(&good, time).await;
        trial.is(("ChangeInvisibleDuration", time), answer, ours, apache);
    }
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_are_nobodys_or_over() {
    let mut trial = Trial::start().await;
    trial.topic("transaction", "TRANSACTION").await;
    trial.topic("other", "TRANSACTION").await;
    let hello = settings(ClientType::Producer, publishing("transaction"));
    let (_up, _down, told) = trial.connect("producer", hello).await;
    trial.is("settings", told, I(Code::Ok), I(Code::Ok));
    let half = || {
        with("transaction", |_, s| {
            s.message_type = MessageType::Transaction.into();
        })
    };
    use Code as C;
    use TransactionResolution as R;
    let (invalid, failed, ok) = (
        I(C::InvalidTransactionId),
        I(C::InternalServerError),
        I(C::Ok),
    );
    for (name, id, ours, apache) in [
        ("blank", " ", invalid, invalid),
        ("nonsense", "nonsense", invalid, failed),
        ("made up", "id#broker-a#99#99", invalid, failed),
        (
            "of another broker",
            "id#elsewhere#0#0",
            I(C::BadRequest),
            failed,
        ),
    ] {
        let answer = trial.end_transaction("transaction", id, R::Commit).await;
        trial.is(name, answer, ours, apache);
    }
    let (sent, answer) = trial.sent(half()).await;
    trial.is("half message", sent, ok, ok);
    let id = answer.entries[0].transaction_id.clone();
    let answer = trial.end_transaction("other", &id, R::Commit).await;
    trial.is("of another topic", answer, invalid, failed);
    let answer = trial
        .end_transaction("transaction", &id, R::Unspecified)
        .await;
    trial.is("undecided", answer, ok, ok);
    let (_, answer) = trial.sent(half()).await;
    let id = answer.entries[0].transaction_id.clone();
    let answer = trial.end_transaction("transaction", &id, R::Commit).await;
    trial.is("commit", answer, ok, ok);
    let answer = trial.end_transaction("transaction", &id, R::Rollback).await;
    // It is over, and the broker remembers no more of it.
    trial.is("rollback after the commit", answer, ok, failed);
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recalls_that_cannot_be() {
    let mut trial = Trial::start().await;
    trial.topic("delay", "DELAY").await;
    trial.topic("normal", "NORMAL").await;
    let (_, answer) = trial
        .sent(with("delay", |_, s| {
            s.delivery_timestamp = Some(at(3_600_000));
        }))
        .await;
    let good = answer.entries[0].recall_handle.clone();
    assert!(!good.is_empty(), "{answer:?}");
    use Code as C;
    let (bad, failed) = (I(C::BadRequest), I(C::InternalServerError));
    for (name, topic, handle, ours, apache) in [
        ("empty", "delay", "", bad, failed),
        ("nonsense", "delay", "nonsense", bad, failed),
        (
            "of a normal topic",
            "normal",
            &*good,
            I(C::MessagePropertyConflictWithType),
            I(C::MessagePropertyConflictWithType),
        ),
        (
            "of a topic that nobody made",
            "nowhere",
            &*good,
            I(C::TopicNotFound),
            I(C::MessagePropertyConflictWithType),
        ),
        ("good", "delay", &*good, I(C::Ok), I(C::Ok)),
    ] {
        let request = RecallMessageRequest {
            topic: Some(resource(topic)),
            recall_handle: handle.to_owned(),
        };
        let answer = trial.grpc.recall_message(of("producer", request)).await;
        let answer = status(answer, |answer| answer.status);
        trial.is(name, answer, ours, apache);
    }
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_contradict_themselves_or_name_what_is_not_there() {
    let mut trial = Trial::start().await;
    trial.topic("normal", "NORMAL").await;
    trial.group("g").await;
    let nothing = TelemetryCommand {
        status: None,
        command: Some(Command::Settings(Settings::default())),
    };
    let ok = I(Code::Ok);
    let invalid = G(tonic::Code::InvalidArgument);
    use ClientType as T;
    for (name, command, ours, apache) in [
        ("neither side", nothing, invalid, invalid),
        (
            "producer that subscribes",
            settings(T::Producer, subscription("g", "normal")),
            invalid,
            G(tonic::Code::Internal),
        ),
        (
            "consumer that publishes",
            settings(T::PushConsumer, publishing("normal")),
            invalid,
            ok,
        ),
        (
            "illegal topic to publish to",
            settings(T::Producer, publishing("a b")),
            invalid,
            invalid,
        ),
        (
            "unknown topic to publish to",
            settings(T::Producer, publishing("nowhere")),
            ok,
            ok,
        ),
        (
            "illegal group",
            settings(T::PushConsumer, subscription("a b", "normal")),
            invalid,
            invalid,
        ),
        (
            "illegal topic to subscribe to",
            settings(T::PushConsumer, subscription("g", "a b")),
            invalid,
            ok,
        ),
        (
            "unknown topic to subscribe to",
            settings(T::PushConsumer, subscription("g", "nowhere")),
            ok,
            ok,
        ),
        (
            "lite consumer of a plain group",
            settings(T::LitePushConsumer, subscription("g", "normal")),
            invalid,
            invalid,
        ),
    ] {
        let told = trial.told(&name.replace(' ', "-"), command).await;
        trial.is(name, told, ours, apache);
    }
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_which_nothing_is_known() {
    let mut trial = Trial::start().await;
    trial.topic("normal", "NORMAL").await;
    trial.group("g").await;
    let unknown = I(Code::UnrecognizedClientType);
    let illegal = I(Code::IllegalConsumerGroup);
    let heartbeat = |group: Option<&str>, kind: ClientType| HeartbeatRequest {
        group: group.map(resource),
        client_type: kind.into(),
    };
    for (client, request, ours, apache) in [
        (
            "h1",
            heartbeat(None, ClientType::Unspecified),
            unknown,
            unknown,
        ),
        (
            "h2",
            heartbeat(Some("g"), ClientType::PushConsumer),
            I(Code::Ok),
            unknown,
        ),
        (
            "h3",
            heartbeat(Some("a b"), ClientType::PushConsumer),
            illegal,
            unknown,
        ),
        (
            "h4",
            heartbeat(None, ClientType::Producer),
            I(Code::Ok),
            unknown,
        ),
    ] {
        let answer = trial.grpc.heartbeat(of(client, request)).await;
        let answer = status(answer, |answer| answer.status);
        trial.is(("Heartbeat", client), answer, ours, apache);
    }
    for group in [Some(resource("g")), Some(Resource::default()), None] {
        let request = NotifyClientTerminationRequest { group };
        let request = of("never-seen", request);
        let answer = trial.grpc.notify_client_termination(request).await;
        let answer = status(answer, |answer| answer.status);
        trial.is("NotifyClientTermination", answer, unknown, unknown);
    }
    let request = SyncLiteSubscriptionRequest {
        action: LiteSubscriptionAction::PartialAdd.into(),
        topic: Some(resource("normal")),
        group: Some(resource("g")),
        lite_topic_set: vec!["l".to_owned()],
        ..SyncLiteSubscriptionRequest::default()
    };
    let answer = trial.grpc.sync_lite_subscription(of("h5", request)).await;
    let answer = status(answer, |answer| answer.status);
    trial.is(
        "SyncLiteSubscription of a plain group",
        answer,
        I(Code::IllegalTopic),
        I(Code::IllegalTopic),
    );
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_apaches_proxy_does_not_have() {
    let mut trial = Trial::start().await;
    trial.topic("normal", "NORMAL").await;
    trial.group("g").await;
    let missing = G(tonic::Code::Unimplemented);
    let group = Some(resource("g"));
    let place = Some(queue("normal", 0));
    let update = UpdateOffsetRequest {
        group: group.clone(),
        message_queue: place.clone(),
        offset: 0,
    };
    let answer = trial.grpc.update_offset(of("c", update)).await;
    let answer = status(answer, |answer| answer.status);
    trial.is("UpdateOffset", answer, I(Code::Ok), missing);
    let get = GetOffsetRequest {
        group: group.clone(),
        message_queue: place.clone(),
    };
    let answer = trial.grpc.get_offset(of("c", get)).await;
    let answer = status(answer, |answer| answer.status);
    trial.is("GetOffset", answer, I(Code::Ok), missing);
    let query = QueryOffsetRequest {
        message_queue: place.clone(),
        ..QueryOffsetRequest::default()
    };
    let answer = trial.grpc.query_offset(of("c", query)).await;
    let answer = status(answer, |answer| answer.status);
    trial.is("QueryOffset", answer, I(Code::Ok), missing);
    let pull = PullMessageRequest {
        group,
        message_queue: place,
        offset: 0,
        batch_size: 1,
        filter_expression: Some(all()),
        long_polling_timeout: None,
    };
    let answer = match trial.grpc.pull_message(of("c", pull)).await {
        Ok(stream) => match stream.into_inner().message().await {
            Ok(Some(frame)) => match frame.content.unwrap() {
                v2::pull_message_response::Content::Status(status) => I(status.code()),
                other => panic!("{other:?}"),
            },
            Ok(None) => G(tonic::Code::Ok),
            Err(status) => G(status.code()),
        },
        Err(status) => G(status.code()),
    };
    trial.is("PullMessage", answer, I(Code::MessageNotFound), missing);
    trial.end().await;
}
