// SPDX-License-Identifier: Apache-2.0
//! What calls are answered, beside what Apache's proxy answers to the same ones.

use std::{fmt::Debug, time::Duration};

use aerobee_proxy::v2::{
    self, AckMessageEntry, AckMessageRequest, ChangeInvisibleDurationRequest, Code,
    EndTransactionRequest, ForwardMessageToDeadLetterQueueRequest, Message, QueryRouteRequest,
    ReceiveMessageRequest, SendMessageRequest, SystemProperties, TelemetryCommand,
    TransactionResolution, receive_message_response::Content,
};
use aerobee_remoting::Client;
use tokio::time::{sleep, timeout};
use tonic::{Request, Streaming};

use super::{
    Cluster, Grpc, PATIENCE, all, grpc_at, make_group, make_topic, message, of, queue, resource,
    telemetry,
};
use Answer::{Grpc as G, Is as I};

/// What a call was answered: a status in the answer, or gRPC's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Is(Code),
    Grpc(tonic::Code),
}

/// The servers that are asked, and what they answered otherwise than they should.
pub(crate) struct Trial {
    pub(crate) own: Option<Cluster>,
    broker: String,
    remoting: Client,
    pub(crate) grpc: Grpc,
    wrong: Vec<String>,
}

impl Trial {
    pub(crate) async fn start() -> Self {
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
    pub(crate) async fn topic(&mut self, topic: &str, kind: &str) {
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

    pub(crate) async fn group(&self, group: &str) {
        make_group(&self.remoting, &self.broker, group, |_| {}).await;
    }

    /// Compares one answer.
    pub(crate) fn is(&mut self, call: impl Debug, answer: Answer, ours: Answer, apache: Answer) {
        let expected = if self.own.is_some() { ours } else { apache };
        if answer != expected {
            self.wrong
                .push(format!("{call:?}: {answer:?}, expected {expected:?}"));
        }
    }

    pub(crate) async fn end(self) {
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
        if let Some(own) = self.own {
            own.stop().await;
        }
    }

    pub(crate) async fn route(&mut self, topic: &str) -> Answer {
        let request = QueryRouteRequest {
            topic: Some(resource(topic)),
            endpoints: Some(endpoints()),
        };
        let answer = self.grpc.query_route(of("c", request)).await;
        status(answer, |answer| answer.status)
    }

    pub(crate) async fn send(&mut self, messages: Vec<Message>) -> Answer {
        self.sent(messages).await.0
    }

    pub(crate) async fn sent(
        &mut self,
        messages: Vec<Message>,
    ) -> (Answer, v2::SendMessageResponse) {
        let request = of("producer", SendMessageRequest { messages });
        match self.grpc.send_message(request).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                (I(answer.status.as_ref().unwrap().code()), answer)
            }
            Err(status) => (G(status.code()), v2::SendMessageResponse::default()),
        }
    }

    pub(crate) async fn receive(
        &mut self,
        mut request: ReceiveMessageRequest,
    ) -> (Answer, Vec<Message>) {
        if self.own.is_some() {
            // Ours honours short ones.
            request.long_polling_timeout = span(100);
        }
        let stream = self.grpc.receive_message(of("consumer", request)).await;
        read(stream.map(tonic::Response::into_inner)).await
    }

    /// Receives until a message comes.
    pub(crate) async fn one(&mut self, topic: &str) -> Message {
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

    pub(crate) async fn ack(&mut self, topic: &str, handles: &[&str]) -> (Answer, Vec<Answer>) {
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

    pub(crate) async fn change(
        &mut self,
        handle: &str,
        span: Option<prost_types::Duration>,
    ) -> Answer {
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

    pub(crate) async fn bury(&mut self, handle: &str) -> Answer {
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

    pub(crate) async fn end_transaction(
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
    pub(crate) async fn told(&mut self, client: &str, command: TelemetryCommand) -> Answer {
        let (_up, _down, answer) = self.connect(client, command).await;
        answer
    }

    /// The same, and the stream, which stays open.
    pub(crate) async fn connect(
        &mut self,
        client: &str,
        command: TelemetryCommand,
    ) -> (
        tokio::sync::mpsc::Sender<TelemetryCommand>,
        Option<Streaming<TelemetryCommand>>,
        Answer,
    ) {
        let (up, stream) = telemetry::commands();
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
pub(crate) async fn first(down: &mut Streaming<TelemetryCommand>) -> Answer {
    match timeout(PATIENCE, down.message()).await.unwrap() {
        Ok(Some(command)) => I(command.status.unwrap_or_default().code()),
        Ok(None) => G(tonic::Code::Ok),
        Err(status) => G(status.code()),
    }
}

pub(crate) fn endpoints() -> v2::Endpoints {
    v2::Endpoints {
        scheme: v2::AddressScheme::IPv4.into(),
        addresses: vec![v2::Address {
            host: "127.0.0.1".to_owned(),
            port: 8081,
        }],
    }
}

pub(crate) fn status<T>(
    answer: Result<tonic::Response<T>, tonic::Status>,
    of: impl FnOnce(T) -> Option<v2::Status>,
) -> Answer {
    match answer {
        Ok(answer) => I(of(answer.into_inner()).unwrap_or_default().code()),
        Err(status) => G(status.code()),
    }
}

pub(crate) async fn read(
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
pub(crate) fn both(code: Code) -> [Code; 2] {
    [code; 2]
}

pub(crate) fn span(ms: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration {
        seconds: ms / 1000,
        nanos: (ms % 1000 * 1_000_000) as i32,
    })
}

/// A receive that both proxies take: Apache's refuses polls below five seconds.
pub(crate) fn receiving(topic: &str) -> ReceiveMessageRequest {
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

pub(crate) fn with(
    topic: &str,
    change: impl FnOnce(&mut Message, &mut SystemProperties),
) -> Vec<Message> {
    let mut message = message(topic, "body");
    let mut system = message.system_properties.take().unwrap();
    change(&mut message, &mut system);
    message.system_properties = Some(system);
    vec![message]
}

pub(crate) fn at(ms_from_now: i64) -> prost_types::Timestamp {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let seconds = since.as_secs() as i64 + ms_from_now / 1000;
    prost_types::Timestamp { seconds, nanos: 0 }
}
