// SPDX-License-Identifier: Apache-2.0
//! What servers ask of clients over their telemetry streams, and what becomes of the answers.

use aerobee_proxy::v2::{
    ClientType, Code, EndTransactionRequest, MessageType, Status, TelemetryCommand,
    ThreadStackTrace, TransactionResolution, TransactionSource, VerifyMessageResult,
    telemetry_command::Command,
};
use aerobee_remoting::{
    RequestCode, Response, ResponseCode,
    header::{
        client::{ConsumeDirectly, GetConsumerList, GetConsumerRunningInfo},
        send::{SendMessage, SendReply},
    },
};
use serde_json::Value;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tonic::Streaming;

use crate::support::{
    Cluster, Grpc, PATIENCE, message, of, receive, receiving, resource, send,
    telemetry::{greet, publishing, settings, subscription},
};

/// A client with its stream, whose settings were answered.
struct Client {
    up: mpsc::Sender<TelemetryCommand>,
    down: Streaming<TelemetryCommand>,
}

impl Client {
    async fn consumer(grpc: &mut Grpc, id: &str) -> Self {
        let hello = settings(ClientType::PushConsumer, subscription("g", "t"));
        Self::start(grpc, id, hello).await
    }

    async fn start(grpc: &mut Grpc, id: &str, hello: TelemetryCommand) -> Self {
        let (up, down) = greet(grpc, id, hello).await;
        Self { up, down }
    }

    async fn say(&self, status: Option<Status>, command: Command) {
        let command = Some(command);
        self.up
            .send(TelemetryCommand { status, command })
            .await
            .unwrap();
    }

    async fn hear(&mut self) -> Command {
        let told = timeout(PATIENCE, self.down.message()).await.unwrap();
        told.unwrap().unwrap().command.unwrap()
    }
}

fn code(code: Code, text: &str) -> Option<Status> {
    Some(Status {
        code: code.into(),
        message: text.to_owned(),
    })
}

/// Waits until the broker knows the proxy as a member of the group; by that name it can be asked.
async fn known_as(cluster: &Cluster) -> String {
    let broker = cluster.broker.address().to_string();
    let asked = GetConsumerList {
        consumer_group: "g",
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let code = RequestCode::GET_CONSUMER_LIST_BY_GROUP;
        let answer = cluster
            .remoting
            .request(&broker, code, &asked, &[], PATIENCE)
            .await
            .unwrap();
        if answer.is_success() {
            let list: Value = serde_json::from_slice(&answer.body).unwrap();
            if let Some(id) = list["consumerIdList"][0].as_str() {
                return id.to_owned();
            }
        }
        assert!(Instant::now() < deadline, "{answer:?}");
        sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Sends a message and returns the id that names its place.
async fn stored(cluster: &Cluster) -> String {
    let header = SendMessage {
        producer_group: "p",
        topic: "t",
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id: 0,
        sys_flag: 0,
        born_timestamp: 0,
        flag: 0,
        properties: "",
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
        broker_name: None,
    };
    let broker = cluster.broker.address().to_string();
    let code = RequestCode::SEND_MESSAGE_V2;
    let sent = cluster
        .remoting
        .request(&broker, code, &header, b"look at me", PATIENCE)
        .await
        .unwrap();
    sent.header::<SendReply<'_>>().unwrap().msg_id.to_owned()
}

/// An operator asks through the broker for one message to be consumed; the answer comes later.
async fn consume_directly(cluster: &Cluster) -> JoinHandle<Response> {
    let (client, id) = (known_as(cluster).await, stored(cluster).await);
    let (remoting, broker) = (
        aerobee_remoting::Client::new(),
        cluster.broker.address().to_string(),
    );
    tokio::spawn(async move {
        let header = ConsumeDirectly {
            consumer_group: "g",
            client_id: Some(&client),
            msg_id: Some(&id),
            broker_name: None,
            topic: Some("t"),
        };
        let code = RequestCode::CONSUME_MESSAGE_DIRECTLY;
        remoting
            .request(&broker, code, &header, &[], PATIENCE)
            .await
            .unwrap()
    })
}

async fn running_info(cluster: &Cluster, jstack_enable: bool) -> JoinHandle<Response> {
    let client = known_as(cluster).await;
    let (remoting, broker) = (
        aerobee_remoting::Client::new(),
        cluster.broker.address().to_string(),
    );
    tokio::spawn(async move {
        let header = GetConsumerRunningInfo {
            consumer_group: "g",
            client_id: &client,
            jstack_enable,
        };
        let code = RequestCode::GET_CONSUMER_RUNNING_INFO;
        remoting
            .request(&broker, code, &header, &[], PATIENCE)
            .await
            .unwrap()
    })
}

/// Servers with topic `t`; the proxy waits so many seconds for what a client is asked.
async fn start(relay_seconds: u64) -> (Cluster, Grpc) {
    let cluster = Cluster::start_with(|config| {
        config.grpc_proxy_relay_request_timeout_in_seconds = relay_seconds;
    })
    .await;
    let grpc = cluster.with_topic("t").await;
    (cluster, grpc)
}

/// For a client that answers: it has the time that the test has.
async fn start_patient() -> (Cluster, Grpc) {
    start(60).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_verified_by_a_client_and_the_operator_hears_how_it_went() {
    let (cluster, mut grpc) = start_patient().await;
    let mut client = Client::consumer(&mut grpc, "c").await;
    for (status, result) in [
        (code(Code::Ok, ""), Some("CR_SUCCESS")),
        (code(Code::FailedToConsumeMessage, ""), Some("CR_LATER")),
        (code(Code::MessageCorrupted, ""), Some("CR_RETURN_NULL")),
        (code(Code::Unsupported, "a simple consumer"), None),
    ] {
        let answer = consume_directly(&cluster).await;
        let Command::VerifyMessageCommand(command) = client.hear().await else {
            panic!("another command")
        };
        let message = command.message.unwrap();
        assert_eq!(&message.body[..], b"look at me");
        assert_eq!(message.topic.unwrap().name, "t");
        // An answer to another question is nobody's.
        for nonce in ["nonsense".to_owned(), command.nonce] {
            let result = VerifyMessageResult { nonce };
            client
                .say(status.clone(), Command::VerifyMessageResult(result))
                .await;
        }
        let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
        match result {
            Some(result) => {
                assert!(answer.is_success(), "{answer:?}");
                let body: Value = serde_json::from_slice(&answer.body).unwrap();
                assert_eq!(body["consumeResult"], result);
            }
            None => {
                assert_eq!(answer.code, ResponseCode::SYSTEM_ERROR);
                assert!(answer.remark.contains("a simple consumer"), "{answer:?}");
            }
        }
    }
    // Node.js repeats the command.
    let answer = consume_directly(&cluster).await;
    let command = client.hear().await;
    client.say(code(Code::Ok, ""), command).await;
    let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
    assert!(answer.is_success(), "{answer:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_answer_is_given_up_with_its_name() {
    let (cluster, mut grpc) = start(2).await;
    let _client = Client::consumer(&mut grpc, "mute").await;
    for answer in [
        consume_directly(&cluster).await,
        running_info(&cluster, true).await,
    ] {
        let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
        assert_eq!(answer.code, ResponseCode::SYSTEM_BUSY);
        assert!(answer.remark.contains("mute"), "{answer:?}");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stacks_of_a_client_are_printed() {
    let (cluster, mut grpc) = start_patient().await;
    let mut client = Client::consumer(&mut grpc, "c").await;
    let answer = running_info(&cluster, true).await;
    let Command::PrintThreadStackTraceCommand(command) = client.hear().await else {
        panic!("another command")
    };
    let trace = ThreadStackTrace {
        nonce: command.nonce,
        thread_stack_trace: Some("main: in the sun".to_owned()),
    };
    // C++ answers without a status.
    client.say(None, Command::ThreadStackTrace(trace)).await;
    let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
    assert!(answer.is_success(), "{answer:?}");
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["jstack"], "main: in the sun");
    assert_eq!(body["subscriptionSet"][0]["topic"], "t");
    // Without the stacks the client need not be asked.
    let answer = running_info(&cluster, false).await;
    let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
    assert!(answer.is_success(), "{answer:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_go_to_the_newest_stream_of_a_client_also_when_the_older_one_ends() {
    let (cluster, mut one) = start_patient().await;
    let mut two = cluster.grpc().await;
    let older = Client::consumer(&mut one, "c").await;
    let mut newer = Client::consumer(&mut two, "c").await;
    drop(older);
    drop(one);
    for _ in 0..3 {
        let answer = consume_directly(&cluster).await;
        let Command::VerifyMessageCommand(command) = newer.hear().await else {
            panic!("another command")
        };
        let nonce = command.nonce;
        let result = Command::VerifyMessageResult(VerifyMessageResult { nonce });
        newer.say(code(Code::Ok, ""), result).await;
        let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
        assert!(answer.is_success(), "{answer:?}");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphaned_transaction_is_asked_about_and_ended_by_another_producer() {
    let keys = [
        ("transactionTimeOut", "100"),
        ("transactionCheckInterval", "100"),
    ];
    let cluster = Cluster::start_on(&keys, |_| {}).await;
    cluster.topic("tx", "TRANSACTION").await;
    let mut grpc = cluster.grpc().await;
    // Its sender is not there any more when the broker asks.
    let mut half = message("tx", "orphan");
    half.system_properties.as_mut().unwrap().message_type = MessageType::Transaction.into();
    let sent = send(&mut grpc, vec![half]).await;
    assert_eq!(sent.status.unwrap().code(), Code::Ok);
    let hello = settings(ClientType::Producer, publishing("tx"));
    let mut other = Client::start(&mut grpc, "other", hello).await;
    let Command::RecoverOrphanedTransactionCommand(asked) = other.hear().await else {
        panic!("another command")
    };
    let orphan = asked.message.unwrap();
    assert_eq!(&orphan.body[..], b"orphan");
    assert_eq!(orphan.topic.unwrap().name, "tx");
    let system = orphan.system_properties.unwrap();
    assert_eq!(system.message_type(), MessageType::Transaction);
    assert_eq!(system.message_id, sent.entries[0].message_id);
    let request = EndTransactionRequest {
        topic: Some(resource("tx")),
        message_id: system.message_id,
        transaction_id: asked.transaction_id,
        resolution: TransactionResolution::Commit.into(),
        source: TransactionSource::SourceServerCheck.into(),
        trace_context: String::new(),
    };
    let ended = grpc.end_transaction(of("other", request)).await.unwrap();
    assert_eq!(ended.into_inner().status.unwrap().code(), Code::Ok);
    let (answer, messages) = receive(&mut grpc, "reader", receiving("tx", 20)).await;
    assert_eq!((answer, messages.len()), (Code::Ok, 1));
    assert_eq!(&messages[0].body[..], b"orphan");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_ends_sends_its_clients_elsewhere() {
    let (cluster, mut grpc) = start(2).await;
    let mut client = Client::consumer(&mut grpc, "c").await;
    let Cluster {
        proxy,
        broker,
        namesrv,
        ..
    } = cluster;
    let ending = tokio::spawn(proxy.stop());
    let told = client.hear().await;
    assert!(
        matches!(told, Command::ReconnectEndpointsCommand(_)),
        "{told:?}"
    );
    let end = timeout(PATIENCE, client.down.message()).await.unwrap();
    assert!(!matches!(end, Ok(Some(_))), "{end:?}");
    drop((client, grpc));
    timeout(PATIENCE, ending).await.unwrap().unwrap();
    broker.stop().await.unwrap();
    namesrv.stop().await;
}
