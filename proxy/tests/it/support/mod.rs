// SPDX-License-Identifier: Apache-2.0
//! A name server, a broker and a proxy in this process, and clients that speak to them.

pub(crate) mod statuses;
pub(crate) mod telemetry;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aerobee_broker::Broker;
use aerobee_namesrv::Namesrv;
use aerobee_proxy::{
    Config, Proxy,
    v2::{
        self, Code, FilterExpression, FilterType, Message, MessageQueue, MessageType,
        ReceiveMessageRequest, Resource, SendMessageRequest, SendMessageResponse, SystemProperties,
        messaging_service_client::MessagingServiceClient, receive_message_response::Content,
    },
};
use aerobee_remoting::{
    Client, RequestCode,
    body::group::SubscriptionGroupConfig,
    fastjson,
    header::{
        Empty,
        topic::{GetTopicConfig, UpdateTopic},
    },
};
use tempfile::TempDir;
use tonic::{
    Request,
    transport::{Channel, Endpoint},
};

/// Longest wait for anything that has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) type Grpc = MessagingServiceClient<Channel>;

/// The three servers.
pub(crate) struct Cluster {
    pub(crate) namesrv: Namesrv,
    pub(crate) broker: Broker,
    pub(crate) proxy: Proxy,
    pub(crate) remoting: Client,
    pub(crate) directory: TempDir,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_on(&[], change).await
    }

    /// The same with more keys of the broker.
    pub(crate) async fn start_on(
        broker_keys: &[(&str, &str)],
        change: impl FnOnce(&mut Config),
    ) -> Self {
        Self::start_as(true, broker_keys, change).await
    }

    /// The proxy speaks to the broker over sockets, as if it were another process.
    pub(crate) async fn start_apart() -> Self {
        Self::start_apart_on(&[], |_| {}).await
    }

    /// The same with more keys of the broker.
    pub(crate) async fn start_apart_on(
        broker_keys: &[(&str, &str)],
        change: impl FnOnce(&mut Config),
    ) -> Self {
        Self::start_as(false, broker_keys, change).await
    }

    async fn start_as(
        beside: bool,
        broker_keys: &[(&str, &str)],
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut namesrv = aerobee_namesrv::Config::default();
        namesrv.server.listen_port = 0;
        namesrv.server.bind_address = "127.0.0.1".to_owned();
        namesrv.namesrv.kv_config_path = directory.path().join("kv.json").display().to_string();
        let namesrv = Namesrv::start(namesrv).await.unwrap();
        let broker = broker(&namesrv, &directory, 0, broker_keys).await;
        let mut config = Config {
            namesrv_addr: namesrv.address().to_string(),
            bind_address: "127.0.0.1".to_owned(),
            grpc_server_port: 0,
            remoting_listen_port: 0,
            tls_directory: directory.path().join("tls"),
            grpc_shutdown_time_seconds: 1,
            ..Config::default()
        };
        change(&mut config);
        let beside = beside.then(|| aerobee_proxy::Beside {
            local: broker.local(),
            tables: Arc::clone(broker.tables()),
            guard: broker.guard().cloned(),
        });
        let proxy = Proxy::start(config, beside.as_ref()).unwrap();
        Self {
            namesrv,
            broker,
            proxy,
            remoting: Client::new(),
            directory,
        }
    }

    /// Stops the broker and starts it again, on its port and with its store.
    pub(crate) async fn restart_broker(self) -> Self {
        let port = self.broker.address().port();
        self.broker.stop().await.unwrap();
        let broker = broker(&self.namesrv, &self.directory, port, &[]).await;
        Self { broker, ..self }
    }

    pub(crate) async fn grpc(&self) -> Grpc {
        grpc_at(&self.proxy.address().to_string()).await
    }

    /// Makes a topic of a type, with two queues.
    pub(crate) async fn topic(&self, topic: &str, kind: &str) {
        make_topic(
            &self.remoting,
            &self.broker.address().to_string(),
            topic,
            kind,
        )
        .await;
    }

    /// Makes an ordinary topic and gives a client.
    pub(crate) async fn with_topic(&self, topic: &str) -> Grpc {
        self.topic(topic, "NORMAL").await;
        self.grpc().await
    }

    /// Makes or changes a group.
    pub(crate) async fn group(
        &self,
        group: &str,
        change: impl FnOnce(&mut SubscriptionGroupConfig),
    ) {
        make_group(
            &self.remoting,
            &self.broker.address().to_string(),
            group,
            change,
        )
        .await;
    }

    pub(crate) async fn stop(self) {
        self.proxy.stop().await;
        self.broker.stop().await.unwrap();
        self.namesrv.stop().await;
    }
}

/// A client of the proxy at an address.
pub(crate) async fn grpc_at(address: &str) -> Grpc {
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    MessagingServiceClient::new(channel).max_decoding_message_size(64 << 20)
}

/// Makes a topic of a type at a broker, with two queues.
pub(crate) async fn make_topic(remoting: &Client, broker: &str, topic: &str, kind: &str) {
    let attributes = format!("+message.type={kind}");
    let header = UpdateTopic {
        topic,
        default_topic: Some("TBW102"),
        read_queue_nums: 2,
        write_queue_nums: 2,
        perm: 6,
        topic_filter_type: "SINGLE_TAG",
        topic_sys_flag: Some(0),
        order: false,
        attributes: Some(&attributes),
        force: None,
    };
    let code = RequestCode::UPDATE_AND_CREATE_TOPIC;
    let made = remoting
        .request(broker, code, &header, &[], PATIENCE)
        .await
        .unwrap();
    assert!(made.is_success(), "{made:?}");
    let asked = GetTopicConfig { topic, lo: None };
    let code = RequestCode::GET_TOPIC_CONFIG;
    let known = remoting
        .request(broker, code, &asked, &[], PATIENCE)
        .await
        .unwrap();
    assert!(known.is_success());
}

/// Makes or changes a group at a broker.
pub(crate) async fn make_group(
    remoting: &Client,
    broker: &str,
    group: &str,
    change: impl FnOnce(&mut SubscriptionGroupConfig),
) {
    let mut config = SubscriptionGroupConfig {
        group_name: group.to_owned(),
        ..SubscriptionGroupConfig::default()
    };
    change(&mut config);
    let code = RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
    let body = fastjson::to_vec(&config);
    let made = remoting
        .request(broker, code, &Empty, &body, PATIENCE)
        .await
        .unwrap();
    assert!(made.is_success(), "{made:?}");
}

async fn broker(
    namesrv: &Namesrv,
    directory: &TempDir,
    port: u16,
    keys: &[(&str, &str)],
) -> Broker {
    let mut broker = aerobee_broker::Config::default();
    let (namesrv_addr, store) = (
        namesrv.address().to_string(),
        directory.path().join("store").display().to_string(),
    );
    let port = port.to_string();
    for (key, value) in [
        ("namesrvAddr", &*namesrv_addr),
        ("listenPort", &*port),
        ("bindAddress", "127.0.0.1"),
        ("brokerIP1", "127.0.0.1"),
        ("brokerIP2", "127.0.0.1"),
        ("brokerName", "broker-a"),
        ("storePathRootDir", &store),
        ("mappedFileSizeCommitLog", "16777216"),
    ] {
        broker.set(key, value).unwrap();
    }
    for (key, value) in keys {
        broker.set(key, value).unwrap();
    }
    Broker::start(broker).await.unwrap()
}

/// A request of a client.
pub(crate) fn of<T>(client: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("x-mq-client-id", client.parse().unwrap());
    metadata.insert("x-mq-language", "JAVA".parse().unwrap());
    metadata.insert("x-mq-protocol", "v2".parse().unwrap());
    request.set_timeout(PATIENCE);
    request
}

pub(crate) fn resource(name: &str) -> Resource {
    Resource {
        resource_namespace: String::new(),
        name: name.to_owned(),
    }
}

/// A message with an id of its own.
pub(crate) fn message(topic: &str, body: &str) -> Message {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Message {
        topic: Some(resource(topic)),
        body: body.as_bytes().to_vec().into(),
        system_properties: Some(SystemProperties {
            message_id: format!("01{:032X}", NEXT.fetch_add(1, Ordering::Relaxed)),
            message_type: MessageType::Normal.into(),
            ..SystemProperties::default()
        }),
        ..Message::default()
    }
}

pub(crate) async fn send(grpc: &mut Grpc, messages: Vec<Message>) -> SendMessageResponse {
    grpc.send_message(of("producer", SendMessageRequest { messages }))
        .await
        .unwrap()
        .into_inner()
}

pub(crate) fn queue(topic: &str, id: i32) -> MessageQueue {
    MessageQueue {
        topic: Some(resource(topic)),
        id,
        broker: Some(v2::Broker {
            name: "broker-a".to_owned(),
            id: 0,
            endpoints: None,
        }),
        ..MessageQueue::default()
    }
}

pub(crate) fn all() -> FilterExpression {
    FilterExpression {
        r#type: FilterType::Tag.into(),
        expression: "*".to_owned(),
    }
}

pub(crate) fn span(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// What group `g` asks for: messages of any tag, away from others for half a minute.
pub(crate) fn receiving(topic: &str, poll_seconds: i64) -> ReceiveMessageRequest {
    ReceiveMessageRequest {
        group: Some(resource("g")),
        message_queue: Some(queue(topic, -1)),
        filter_expression: Some(all()),
        batch_size: 32,
        invisible_duration: span(30),
        auto_renew: false,
        long_polling_timeout: span(poll_seconds),
        attempt_id: None,
    }
}

/// The status and the messages of one receive; the frames stand in their order.
pub(crate) async fn receive(
    grpc: &mut Grpc,
    client: &str,
    request: ReceiveMessageRequest,
) -> (Code, Vec<Message>) {
    let mut stream = grpc
        .receive_message(of(client, request))
        .await
        .unwrap()
        .into_inner();
    let (mut code, mut messages, mut ended) = (None, Vec::new(), false);
    while let Some(frame) = stream.message().await.unwrap() {
        assert!(!ended, "nothing comes after the time of delivery");
        match frame.content.unwrap() {
            Content::Status(status) => {
                assert!(code.replace(status.code()).is_none() && messages.is_empty());
            }
            Content::Message(message) => messages.push(message),
            Content::DeliveryTimestamp(_) => ended = true,
        }
    }
    assert!(ended);
    (code.unwrap(), messages)
}

/// The receipt handle of a message.
pub(crate) fn receipt(message: &Message) -> String {
    let system = message.system_properties.as_ref().unwrap();
    system.receipt_handle.clone().unwrap()
}
